//! Operators that DataFusion reads otherwise than PostgreSQL, in words that it reads right.
//!
//! - `x = ANY (array)` and `x <> ALL (array)` are calls of our own ([`super::scalars::quantified`]), which
//!   know what a NULL in the array means.
//! - Rows are compared by their values ([`row_values`]).
//! - `x SIMILAR TO 'pattern'` is `x ~ 'regular expression'` ([`similar`]).
//! - `'5' + 3` is a sum of numbers.
//! - `ts AT TIME ZONE zone` is a call of our own ([`zones`]), and `date_trunc(unit, ts, zone)` cuts between two of
//!   them.
//! - `(VALUES …)` that stands for a value, or behind IN, is `(SELECT * FROM (VALUES …))`, and `ROW(a, b)` a struct with
//!   the fields `f1` and `f2`.
//! - An interval in the text is read as PostgreSQL reads it, with the fields behind it.
//! - `(s).field` is the field of a struct, and `doc['name']` and `doc[0]` are parts of JSON.
//! - An array's element is NULL where its number is below 1, and a slice `a[m:n]` is cut to what there is.

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result as PlanResult, ScalarValue};
use datafusion::functions_nested::expr_fn::{array_element, array_slice};
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr, RawFieldAccessExpr};
use datafusion::logical_expr::{Expr as Planned, ExprSchemable, GetFieldAccess, lit};
use sqlparser::ast::{self, AccessExpr, BinaryOperator, Expr, Subscript, UnaryOperator, VisitMut};
use weir_engine::format::interval::{self, Field};
use weir_engine::format::json::value::JSON;

use super::names::folded;
use super::{json, kinds, row_values, similar, zones};
use crate::parse::syntax::{derived, select};
use crate::walk::{Flow, Visitor, done, flow, walk};
use crate::{Error, Result};

/// Replaces these operators in a syntax tree.
pub fn as_meant<T: VisitMut>(tree: &mut T) -> Result<()> {
    done(walk(tree, &mut Operators))
}

struct Operators;

impl Visitor for Operators {
    fn enter_expr(&mut self, expr: &mut Expr) -> Flow {
        flow(replace(expr))
    }
}

fn replace(expr: &mut Expr) -> Result<()> {
    if let Some(replaced) = row_values::taken_apart(expr)? {
        *expr = replaced;
        return Ok(());
    }
    if let Some(row) = row_values::with_names(expr) {
        *expr = row;
        return Ok(());
    }
    if let Expr::Subquery(query) | Expr::InSubquery { subquery: query, .. } = expr {
        selected(query);
        return Ok(());
    }
    let replaced = match expr {
        Expr::AnyOp {
            left,
            compare_op,
            right,
            ..
        } if !is_query(right) => quantified("weir_any", left, compare_op, right)?,
        Expr::AllOp {
            left,
            compare_op,
            right,
        } if !is_query(right) => quantified("weir_all", left, compare_op, right)?,
        Expr::SimilarTo {
            negated,
            expr,
            pattern,
            escape_char,
        } => similar_to(*negated, expr, pattern, escape_char.as_ref())?,
        Expr::Interval(interval) => return read(interval),
        // DataFusion takes the sign for that of the first unit alone.
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } if matches!(expr.as_ref(), Expr::Interval(_)) => {
            let interval = expr.as_ref().clone();
            **expr = Expr::Nested(Box::new(interval));
            return Ok(());
        }
        Expr::AtTimeZone { timestamp, time_zone } => {
            call(zones::FUNCTION, vec![(**time_zone).clone(), (**timestamp).clone()])
        }
        Expr::Function(function) => match cut_in_zone(function) {
            Some(cut) => cut,
            None => return Ok(()),
        },
        Expr::CompoundFieldAccess { root, access_chain } => {
            access_chain.iter_mut().for_each(with_bounds);
            let names = column_names(root, access_chain);
            access_chain.iter_mut().skip(names).for_each(by_its_name);
            return Ok(());
        }
        _ => return Ok(()),
    };
    *expr = replaced;
    Ok(())
}

/// VALUES as a SELECT of their columns.
fn selected(query: &mut ast::Query) {
    if let ast::SetExpr::Values(_) = *query.body {
        let rows = derived(query.clone(), None);
        let all = ast::SelectItem::Wildcard(ast::WildcardAdditionalOptions::default());
        *query = select(vec![all], vec![rows], None);
    }
}

fn is_query(expr: &Expr) -> bool {
    match expr {
        Expr::Subquery(_) => true,
        Expr::Nested(inner) => is_query(inner),
        _ => false,
    }
}

fn quantified(function: &str, left: &Expr, op: &BinaryOperator, right: &Expr) -> Result<Expr> {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    if !matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq) {
        return Err(Error::new(format!(
            "ANY and ALL of an array go with =, <>, <, <=, > and >=, not with {op}; unnest() gives its elements as rows"
        )));
    }
    let op = string(&op.to_string());
    Ok(call(function, vec![left.clone(), right.clone(), op]))
}

fn similar_to(negated: bool, expr: &Expr, pattern: &Expr, escape: Option<&ast::ValueWithSpan>) -> Result<Expr> {
    let text = |value: &ast::ValueWithSpan| value.value.clone().into_string();
    let pattern = match pattern {
        Expr::Value(value) => text(value),
        _ => None,
    };
    let pattern =
        pattern.ok_or_else(|| Error::new("SIMILAR TO takes a pattern in single quotes; for any other there is ~"))?;
    let escape = match escape.map(text) {
        None => Some('\\'),
        Some(written) => {
            let mut characters = written.as_deref().unwrap_or("").chars();
            match (characters.next(), characters.next()) {
                (one, None) => one,
                _ => return Err(Error::new("ESCAPE takes one character in single quotes, or none")),
            }
        }
    };
    let regex = similar::regex(&pattern, escape)
        .map_err(|why| Error::new(format!("the pattern '{pattern}' of SIMILAR TO {why}")))?;
    Ok(Expr::Nested(Box::new(Expr::BinaryOp {
        left: Box::new(Expr::Nested(Box::new(expr.clone()))),
        op: match negated {
            true => BinaryOperator::PGRegexNotMatch,
            false => BinaryOperator::PGRegexMatch,
        },
        right: Box::new(string(&regex)),
    })))
}

/// `date_trunc(unit, ts, zone)`, of what the zone's clocks show.
fn cut_in_zone(function: &ast::Function) -> Option<Expr> {
    let ast::FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let is_cut = function.name.to_string().eq_ignore_ascii_case("date_trunc");
    let plain = |arg: &ast::FunctionArg| match arg {
        ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    let args: Vec<Expr> = list.args.iter().filter_map(plain).collect();
    let (true, [unit, time, zone]) = (is_cut, &args[..]) else {
        return None;
    };
    let moment = Expr::Cast {
        kind: ast::CastKind::Cast,
        expr: Box::new(time.clone()),
        data_type: ast::DataType::Timestamp(None, ast::TimezoneInfo::Tz),
        array: false,
        format: None,
    };
    let local = call(zones::FUNCTION, vec![zone.clone(), moment]);
    let cut = call("date_trunc", vec![unit.clone(), local]);
    Some(call(zones::FUNCTION, vec![zone.clone(), cut]))
}

/// Writes an interval in units that everyone reads alike.
fn read(interval: &mut ast::Interval) -> Result<()> {
    let Some(text) = written(&interval.value) else {
        return Ok(());
    };
    if interval.leading_precision.is_some() || interval.fractional_seconds_precision.is_some() {
        return Err(Error::new(
            "digits of an INTERVAL's fields are not there yet; write INTERVAL '…' SECOND without them",
        ));
    }
    let behind = [&interval.leading_field, &interval.last_field].map(|unit| unit.as_ref().map(ToString::to_string));
    let fields = behind.each_ref().map(|unit| unit.as_deref().and_then(field));
    let read = match (&behind, fields) {
        ([None, _], _) => interval::parse(&text),
        ([Some(_), None], [Some(only), _]) => interval::parse_as(&text, only, only),
        ([Some(_), Some(_)], [Some(first), Some(last)]) if first < last => interval::parse_as(&text, first, last),
        ([Some(unit), None], _) => interval::parse(&format!("{text} {unit}")),
        ([Some(first), Some(last)], _) => {
            return Err(Error::new(format!("there is no INTERVAL of {first} TO {last}")));
        }
    };
    let read = read.map_err(|why| Error::new(format!("'{text}' is no INTERVAL: {why}")))?;
    let units = format!(
        "{} months {} days {} nanoseconds",
        read.months, read.days, read.nanoseconds
    );
    *interval.value = string(&units);
    (interval.leading_field, interval.last_field) = (None, None);
    Ok(())
}

/// A text or number, maybe with a sign.
fn written(value: &Expr) -> Option<String> {
    match value {
        Expr::Value(value) => match &value.value {
            ast::Value::Number(number, _) => Some(number.to_string()),
            text => text.clone().into_string(),
        },
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => written(expr).map(|text| format!("-{text}")),
        _ => None,
    }
}

fn field(word: &str) -> Option<Field> {
    let word = word.to_ascii_uppercase();
    Some(match word.strip_suffix('S').unwrap_or(&word) {
        "YEAR" => Field::Year,
        "MONTH" => Field::Month,
        "DAY" => Field::Day,
        "HOUR" => Field::Hour,
        "MINUTE" => Field::Minute,
        "SECOND" => Field::Second,
        _ => return None,
    })
}

/// Bounds of a slice that are left out.
fn with_bounds(access: &mut AccessExpr) {
    if let AccessExpr::Subscript(Subscript::Slice {
        lower_bound,
        upper_bound,
        ..
    }) = access
    {
        lower_bound.get_or_insert_with(|| number(1));
        upper_bound.get_or_insert_with(|| number(i32::MAX));
    }
}

/// How many of the first accesses say which column it is, as the first of `t.tags[1]` does.
fn column_names(root: &Expr, access_chain: &[AccessExpr]) -> usize {
    let is_name = |access: &&AccessExpr| matches!(access, AccessExpr::Dot(Expr::Identifier(_)));
    match root {
        Expr::Identifier(_) => access_chain.iter().take_while(is_name).count(),
        _ => 0,
    }
}

/// `(s).field`, the name as DataFusion takes it.
fn by_its_name(access: &mut AccessExpr) {
    if let AccessExpr::Dot(field) = access
        && let Expr::Identifier(name) = field
    {
        *field = string(&folded(name));
    }
}

fn number(value: i32) -> Expr {
    Expr::Value(ast::Value::Number(value.to_string(), false).into())
}

/// A string constant.
pub(super) fn string(text: &str) -> Expr {
    Expr::Value(ast::Value::SingleQuotedString(text.to_string()).into())
}

/// A call of a function.
pub(super) fn call(function: &str, args: Vec<Expr>) -> Expr {
    let arg = |arg| ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(arg));
    Expr::Function(ast::Function {
        name: ast::ObjectName::from(vec![ast::Ident::new(function)]),
        uses_odbc_syntax: false,
        parameters: ast::FunctionArguments::None,
        args: ast::FunctionArguments::List(ast::FunctionArgumentList {
            duplicate_treatment: None,
            args: args.into_iter().map(arg).collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// Plans elements and slices of arrays by numbers from 1 on, and strings beside numbers as such.
#[derive(Debug)]
pub struct Meanings;

impl ExprPlanner for Meanings {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> PlanResult<PlannerResult<RawBinaryExpr>> {
        use BinaryOperator::*;
        let RawBinaryExpr { op, left, right } = expr;
        if op == Plus {
            kinds::added(&left, &right, schema)?;
        }
        let (left, right) = match op {
            Plus | Minus | Multiply | Divide | Modulo => kinds::beside_number(left, right, schema)?,
            Eq | NotEq | Lt | LtEq | Gt | GtEq | AtArrow | ArrowAt => kinds::beside_other(left, right, schema)?,
            StringConcat => kinds::joined(left, right, schema)?,
            _ => (left, right),
        };
        Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }))
    }

    fn plan_field_access(
        &self,
        access: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> PlanResult<PlannerResult<RawFieldAccessExpr>> {
        let RawFieldAccessExpr { expr, field_access } = access;
        let kind = expr.get_type(schema).ok();
        let is_list = kind.as_ref().is_some_and(DataType::is_list);
        Ok(match field_access {
            GetFieldAccess::NamedStructField { name } if kind == Some(JSON) => {
                PlannerResult::Planned(json::part(expr, Planned::Literal(name, None))?)
            }
            GetFieldAccess::ListIndex { key } if kind == Some(JSON) => PlannerResult::Planned(json::part(expr, *key)?),
            GetFieldAccess::ListIndex { key } if is_list => {
                PlannerResult::Planned(array_element(expr, at_least(*key, 0)))
            }
            GetFieldAccess::ListRange { start, stop, stride } if is_list && *stride == lit(1i64) => {
                let slice = array_slice(expr, at_least(*start, 1), at_least(*stop, 0), None);
                PlannerResult::Planned(slice)
            }
            field_access => PlannerResult::Original(RawFieldAccessExpr { expr, field_access }),
        })
    }
}

/// A number that counts from `least` on.
fn at_least(number: Planned, least: i64) -> Planned {
    match &number {
        Planned::Literal(value, _) => match value.cast_to(&DataType::Int64) {
            Ok(ScalarValue::Int64(Some(value))) => lit(value.max(least)),
            _ => number,
        },
        _ => Planned::Case(Case::new(
            None,
            vec![(Box::new(number.clone().lt(lit(least))), Box::new(lit(least)))],
            Some(Box::new(number)),
        )),
    }
}
