//! Where in a query that is read once a value can't be computed.
//!
//! What computes doesn't know the query's text, but says what it did: divide, add, cast to a type. Where one
//! place of the query does that, the error is there; where a few do, they are named.

use std::ops::ControlFlow;

use sqlparser::ast::{self, BinaryOperator, Expr, Spanned, Value};
use sqlparser::tokenizer::Location;
use weir_engine::format::sql_type;

use super::at;
use crate::Error;
use crate::catalog::{Catalog, Definition};
use crate::parse::history;
use crate::plan::{bind, names};
use crate::walk::{Flow, Visitor, walk};

/// As many places are named where it may have been any of them.
const NAMED: usize = 3;

/// What a query computes that may fail.
#[derive(Debug, Clone, Default)]
pub struct Computations {
    steps: Vec<Step>,
    /// Texts that stand in it but in a CAST, and those that do.
    texts: Vec<String>,
    cast_texts: Vec<String>,
    /// There are others that its text doesn't show.
    more: bool,
}

#[derive(Debug, Clone)]
struct Step {
    does: Does,
    text: String,
    place: Location,
}

#[derive(Debug, Clone, PartialEq)]
enum Does {
    Arithmetic(String),
    /// Its type.
    Cast(String),
    /// A function that computes; its name.
    Call(String),
}

/// Functions that divide, or add up, by themselves.
const DIVIDING: [&str; 4] = ["mod", "div", "gcd", "lcm"];
const ADDING: [&str; 6] = ["sum", "avg", "abs", "factorial", "power", "pow"];

impl Computations {
    /// Those of a query.
    pub fn of(query: &ast::Query, catalog: &Catalog) -> Computations {
        let read = names::named_relations(query, catalog);
        let mut relations = read.iter().filter_map(|id| catalog.by_id(*id));
        let mut found = Computations {
            more: relations.any(|relation| matches!(relation.definition, Definition::View(_))),
            ..Computations::default()
        };
        let _ = walk(&mut query.clone(), &mut found);
        found
    }

    /// The error with what it is about, if that is known.
    pub fn placed(&self, error: Error) -> Error {
        if error.place.is_some() || self.more {
            return error;
        }
        let Some(wanted) = Failure::of(&error.message) else {
            return error;
        };
        if wanted
            .value
            .is_some_and(|value| self.texts.iter().any(|text| text == value))
        {
            // A text that stands in the query may be read as another type without a CAST.
            return error;
        }
        let steps: Vec<&Step> = self.steps.iter().filter(|step| wanted.is_by(&step.does)).collect();
        let texts: Vec<&str> = steps.iter().map(|step| step.text.as_str()).collect();
        match &steps[..] {
            [] => error,
            [one] => at(format!("{}, in {}", error.message, one.text), one.place),
            few if few.len() <= NAMED => Error::new(format!("{}, in {}", error.message, texts.join(" or "))),
            _ => error,
        }
    }
}

impl Visitor for Computations {
    /// What stands there for a clause is not what was written.
    fn enter_table_factor(&mut self, factor: &mut ast::TableFactor) -> Flow {
        if let Some(written) = history::as_written(factor) {
            *factor = written;
        }
        ControlFlow::Continue(())
    }

    fn enter_expr(&mut self, expr: &mut Expr) -> Flow {
        let does = match &*expr {
            Expr::BinaryOp { op, right, .. } => match op {
                BinaryOperator::Divide | BinaryOperator::Modulo if is_nonzero(right) => None,
                BinaryOperator::Plus
                | BinaryOperator::Minus
                | BinaryOperator::Multiply
                | BinaryOperator::Divide
                | BinaryOperator::Modulo => Some(Does::Arithmetic(op.to_string())),
                _ => None,
            },
            Expr::Cast {
                data_type, expr: value, ..
            } => {
                // It comes next.
                self.cast_texts.extend(literal(value).map(str::to_string));
                let kind = bind::data_type(data_type, &Catalog::default());
                kind.ok().map(|kind| Does::Cast(sql_type(&kind)))
            }
            Expr::Function(call) => {
                let name = call.name.0.last().and_then(|part| part.as_ident()).map(names::folded);
                name.map(Does::Call)
            }
            other => {
                if let Some(text) = literal(other) {
                    match self.cast_texts.iter().position(|cast| cast == text) {
                        Some(cast) => drop(self.cast_texts.remove(cast)),
                        None => self.texts.push(text.to_string()),
                    }
                }
                None
            }
        };
        if let Some(does) = does {
            self.steps.push(Step {
                does,
                text: names::text(expr),
                place: expr.span().start,
            });
        }
        ControlFlow::Continue(())
    }
}

fn literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

fn is_nonzero(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.parse::<f64>().is_ok_and(|number| number != 0.0),
            _ => false,
        },
        _ => false,
    }
}

/// What a message says has failed.
struct Failure<'a> {
    operators: &'a [&'a str],
    functions: &'a [&'a str],
    cast: Option<&'a str>,
    /// The text that can't be cast.
    value: Option<&'a str>,
}

impl<'a> Failure<'a> {
    fn of(message: &'a str) -> Option<Failure<'a>> {
        let none = Failure {
            operators: &[],
            functions: &[],
            cast: None,
            value: None,
        };
        if message.contains("division by zero") {
            return Some(Failure {
                operators: &["/", "%"],
                functions: &DIVIDING,
                ..none
            });
        }
        if let Some((value, kind)) = message.split_once(" is no ") {
            let kind = kind.split_once(':').map_or(kind, |(kind, _)| kind);
            let text = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\''));
            return Some(Failure {
                cast: Some(kind),
                value: text,
                ..none
            });
        }
        if let Some(numbers) = message.strip_suffix(" is out of range") {
            let operators: &[&str] = match numbers.split(' ').nth(1)? {
                "+" => &["+"],
                "-" => &["-"],
                "*" => &["*"],
                _ => return None,
            };
            return Some(Failure {
                operators,
                functions: &ADDING,
                ..none
            });
        }
        None
    }

    fn is_by(&self, does: &Does) -> bool {
        match does {
            Does::Arithmetic(op) => self.operators.contains(&op.as_str()),
            Does::Call(name) => self.functions.contains(&name.as_str()),
            Does::Cast(kind) => self.cast == Some(kind.as_str()),
        }
    }
}
