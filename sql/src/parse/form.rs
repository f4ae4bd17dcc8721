//! A tree as sqlparser read it, brought into the dialect's form: types are canonical, windows are
//! derived tables, and what the planner would pass over without a word is refused.

use sqlparser::ast::{
    DataType, Expr, Function, FunctionArguments, GroupByExpr, Query, Select, SetExpr, Spanned, TableAlias, TableFactor,
    TypedString, VisitMut,
};
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan};

use super::source::{error_at, is_word};
use super::types::canonical;
use super::window::{self, TakenOut};
use crate::error::{Error, Result};
use crate::walk::{Flow, Visitor, done, flow, walk};

/// Whether expressions may hold queries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Subqueries {
    /// In queries.
    Allowed,
    /// In a column's definition.
    Refused,
}

/// Brings a tree read from `tokens` into the dialect's form.
pub(super) fn bring_into_form<T: VisitMut>(
    tree: &mut T,
    tokens: &[TokenWithSpan],
    taken: &TakenOut,
    subqueries: Subqueries,
) -> Result<()> {
    let mut form = Form {
        tokens,
        taken,
        subqueries,
    };
    done(walk(tree, &mut form))
}

struct Form<'a> {
    tokens: &'a [TokenWithSpan],
    taken: &'a TakenOut,
    subqueries: Subqueries,
}

impl Visitor for Form<'_> {
    fn enter_query(&mut self, query: &mut Query) -> Flow {
        flow(self.check_query(query))
    }

    fn enter_select(&mut self, select: &mut Select) -> Flow {
        flow(self.check_select(select))
    }

    fn enter_table_factor(&mut self, factor: &mut TableFactor) -> Flow {
        flow(self.check_relation(factor))
    }

    fn leave_table_factor(&mut self, factor: &mut TableFactor) -> Flow {
        flow(window::rewrite(factor, self.taken))
    }

    fn enter_expr(&mut self, expr: &mut Expr) -> Flow {
        flow(self.expression(expr))
    }
}

impl Form<'_> {
    /// An error where `span` begins, or at the first token where a tree has no span.
    fn error(&self, span: Span, message: impl Into<String>) -> Error {
        match (span.start, self.tokens.first()) {
            (Location { line: 0, .. }, Some(first)) => error_at(message, first),
            (Location { line: 0, .. }, None) => Error::new(message),
            (at, _) => Error::at(message, at.line, at.column),
        }
    }

    fn check_query(&self, query: &Query) -> Result<()> {
        if self.subqueries == Subqueries::Refused {
            return Err(self.error(
                query.span(),
                "a query can't stand in a column's definition: it sees only the row's own columns",
            ));
        }
        let changes = matches!(
            *query.body,
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_)
        );
        if changes {
            return Err(self.error(
                query.span(),
                "INSERT, UPDATE and DELETE stand alone, not in a query or behind WITH",
            ));
        }
        if !query.locks.is_empty() || query.for_clause.is_some() {
            return Err(self.error(query.span(), "a query has no FOR clause"));
        }
        Ok(())
    }

    fn check_select(&self, select: &Select) -> Result<()> {
        if let Some(into) = &select.into {
            return Err(self.error(
                into.name.span(),
                "SELECT INTO is not there: CREATE TABLE, then INSERT INTO … SELECT",
            ));
        }
        if select.projection.is_empty() {
            return Err(self.error(select.span(), "this SELECT has no columns"));
        }
        let GroupByExpr::Expressions(_, modifiers) = &select.group_by else {
            return Ok(());
        };
        if !modifiers.is_empty() {
            return Err(self.error(
                select.span(),
                "GROUP BY … WITH is not there: write ROLLUP (…), CUBE (…) or GROUPING SETS (…)",
            ));
        }
        Ok(())
    }

    fn check_relation(&self, factor: &TableFactor) -> Result<()> {
        match factor {
            TableFactor::Table {
                name,
                alias,
                with_hints,
                sample,
                ..
            } => {
                check_alias(alias)?;
                if !with_hints.is_empty() {
                    return Err(self.error(
                        name.span(),
                        "a relation in a query takes no WITH (…): a view's options stand before AS",
                    ));
                }
                if sample.is_some() {
                    return Err(self.error(name.span(), "TABLESAMPLE is not there"));
                }
                Ok(())
            }
            TableFactor::Derived { alias, .. }
            | TableFactor::NestedJoin { alias, .. }
            | TableFactor::Function { alias, .. }
            | TableFactor::UNNEST { alias, .. } => check_alias(alias),
            TableFactor::TableFunction { expr, .. } => Err(self.error(
                expr.span(),
                "TABLE(…) holds TUMBLE(…), HOP(…), CUMULATE(…) or SESSION(…); other functions go without it",
            )),
            other => Err(self.error(
                other.span(),
                "this kind of relation is not there: tables, views, sources, queries in \
                 parentheses, UNNEST, TUMBLE, HOP, CUMULATE and SESSION are",
            )),
        }
    }

    fn expression(&self, expr: &mut Expr) -> Result<()> {
        match expr {
            Expr::Cast { expr, data_type, .. } => {
                let operand = expr.span();
                self.data_type(data_type, || self.cast_type_place(operand))
            }
            Expr::TypedString(TypedString { data_type, value, .. }) => {
                let literal = value.span;
                self.data_type(data_type, || literal)
            }
            Expr::Function(function) => self.check_function(function),
            _ => Ok(()),
        }
    }

    fn data_type(&self, data_type: &mut DataType, place: impl FnOnce() -> Span) -> Result<()> {
        let written = std::mem::replace(data_type, DataType::Boolean);
        *data_type = canonical(written).map_err(|message| self.error(place(), message))?;
        Ok(())
    }

    /// The type behind `::` or AS that follows the operand of a cast.
    fn cast_type_place(&self, operand: Span) -> Span {
        self.tokens
            .iter()
            .skip_while(|token| token.span.start < operand.end)
            .skip_while(|token| token.token != Token::DoubleColon && !is_word(&token.token, "AS"))
            .nth(1)
            .map_or(operand, |token| token.span)
    }

    fn check_function(&self, function: &Function) -> Result<()> {
        if let Some(error) = window::not_an_expression(&function.name) {
            return Err(error);
        }
        if matches!(function.args, FunctionArguments::Subquery(_)) {
            return Err(self.error(
                function.name.span(),
                format!("{}(SELECT …) is not there: aggregate with array_agg", function.name),
            ));
        }
        if function.uses_odbc_syntax || function.parameters != FunctionArguments::None {
            return Err(self.error(
                function.name.span(),
                format!("{} is called with one list of arguments", function.name),
            ));
        }
        Ok(())
    }
}

/// The planner takes names from an alias's columns, and would pass over their types.
fn check_alias(alias: &Option<TableAlias>) -> Result<()> {
    let typed = alias
        .iter()
        .flat_map(|alias| &alias.columns)
        .find(|column| column.data_type.is_some());
    match typed {
        Some(column) => {
            let at = column.name.span.start;
            Err(Error::at(
                "the columns of an alias take no types: cast in SELECT",
                at.line,
                at.column,
            ))
        }
        None => Ok(()),
    }
}
