//! Which types may be compared, and what text that stands in a query is read as.
//!
//! DataFusion compares TEXT with numbers and times by reading the text, in every row, and so fails for
//! the first row in which it spells none. As in PostgreSQL there is no such operator here; but a string
//! in the query has no type of its own, takes the other side's, and has to spell one of it.
//!
//! A DECIMAL divided by a number is made longer here ([`longer_quotient`]), before types are made to fit.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::{DataType, Field};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue, Spans, plan_err};
use datafusion::logical_expr::expr::{ScalarFunction, WindowFunction};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, Cast, Expr, ExprSchemable, LogicalPlan, Operator, WindowFrame, WindowFrameBound, WindowFrameUnits,
};
use datafusion::optimizer::AnalyzerRule;
use weir_engine::float;
use weir_engine::format::json::value::{self, JSON};
use weir_engine::format::uuid::{self, UUID};
use weir_engine::format::{interval, sql_type, without_origin};

use super::scalars::incomparable;
use super::{checked, floats, json, rewrite, times};
use crate::Error;

/// Holds comparisons to their types, before these are made to fit.
#[derive(Debug)]
pub struct Kinds;

impl AnalyzerRule for Kinds {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| {
            let schema = merge_schema(&node.inputs());
            if let LogicalPlan::Join(join) = &node {
                for (left, right) in &join.on {
                    if let (Ok(one), Ok(other)) = (left.get_type(&schema), right.get_type(&schema)) {
                        comparable(&one, Operator::Eq, &other)?;
                    }
                }
            }
            let done = rewrite::expressions(node, |expr| meant(expr, &schema))?;
            // What is below may have changed its types.
            let done = done.map_data(LogicalPlan::recompute_schema)?;
            done.transform_data(floats::of_node)
        })
        .map(|done| done.data)
    }

    fn name(&self) -> &str {
        "kinds"
    }
}

/// An expression over `schema`, held to its types.
pub fn held(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    expr.transform_up(|expr| meant(expr, schema)).map(|done| done.data)
}

fn meant(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    json::typed(expr, schema)?
        .transform_data(|expr| fitted(expr, schema))?
        .transform_data(|expr| floats::beside(expr, schema))?
        .transform_data(|expr| Ok(times::meant(expr, schema)))
}

fn fitted(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_comparison(op) => {
            let (left, right) = pair(*left, op, *right, schema)?;
            let (left, right) = (Box::new(left), Box::new(right));
            Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right })))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if op == Operator::Divide => {
            let left = longer_quotient(*left, &right, schema);
            let changed = left.transformed;
            let left = Box::new(left.data);
            let whole = Expr::BinaryExpr(BinaryExpr { left, op, right });
            Ok(if changed {
                Transformed::yes(whole)
            } else {
                Transformed::no(whole)
            })
        }
        Expr::Between(mut between) => {
            let value = (*between.expr).clone();
            let (_, low) = pair(value.clone(), Operator::GtEq, *between.low, schema)?;
            let (value, high) = pair(value, Operator::LtEq, *between.high, schema)?;
            (between.expr, between.low, between.high) = (Box::new(value), Box::new(low), Box::new(high));
            Ok(Transformed::yes(Expr::Between(between)))
        }
        Expr::InList(mut list) => {
            for item in &mut list.list {
                *item = pair((*list.expr).clone(), Operator::Eq, item.clone(), schema)?.1;
            }
            Ok(Transformed::yes(Expr::InList(list)))
        }
        Expr::InSubquery(subquery) => {
            let inner = subquery.subquery.subquery.schema().field(0).data_type().clone();
            if let (false, Ok(outer)) = (is_untyped(&subquery.expr), subquery.expr.get_type(schema)) {
                comparable(&outer, Operator::Eq, &inner)?;
            }
            Ok(Transformed::no(Expr::InSubquery(subquery)))
        }
        Expr::Case(case) => {
            for (when, _) in &case.when_then_expr {
                match &case.expr {
                    Some(value) => {
                        pair((**value).clone(), Operator::Eq, (**when).clone(), schema)?;
                    }
                    None => condition(when, schema)?,
                }
            }
            Ok(Transformed::no(Expr::Case(case)))
        }
        Expr::ScalarFunction(call) if matches!(call.func.name(), "weir_any" | "weir_all") => beside_array(call, schema),
        Expr::Cast(cast) => {
            let (from, to) = (cast.expr.get_type(schema), cast.field.data_type());
            if let (Ok(from), true) = (from, to.is_list())
                && !(from.is_list() || from.is_string() || from.is_null())
            {
                return plan_err!(
                    "there is no CAST from {} to {}; ARRAY[…] makes an array of values",
                    sql_type(&from),
                    sql_type(to)
                );
            }
            Ok(Transformed::no(Expr::Cast(cast)))
        }
        Expr::Like(like) => {
            let pattern = match like.pattern.as_ref() {
                Expr::Literal(pattern, _) => pattern.try_as_str().flatten().unwrap_or_default(),
                _ => "",
            };
            let escapes = pattern.len() - pattern.trim_end_matches('\\').len();
            if escapes % 2 == 1 && like.escape_char.is_none_or(|escape| escape == '\\') {
                return plan_err!("the pattern '{pattern}' of LIKE ends with the character that escapes the next one");
            }
            Ok(Transformed::no(Expr::Like(like)))
        }
        Expr::WindowFunction(call) => {
            if let ("nth_value", Some(place)) = (call.fun.name(), call.params.args.get(1).and_then(whole_number))
                && place < 1
            {
                return plan_err!("nth_value() counts rows from 1 on, and {place} is none");
            }
            let is_null = |distance: &Expr| matches!(distance, Expr::Literal(value, _) if value.is_null());
            if let ("lag" | "lead", Some(true)) = (call.fun.name(), call.params.args.get(1).map(is_null)) {
                return plan_err!("how far {}() looks is a number, and not NULL", call.fun.name());
            }
            Ok(framed_by_peers(call, schema))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// Fails where a condition is no BOOLEAN.
fn condition(expr: &Expr, schema: &DFSchema) -> Result<()> {
    match expr.get_type(schema) {
        Ok(kind) if kind != DataType::Boolean && !kind.is_null() && !kind.is_string() => plan_err!(
            "a condition is true or false, and one behind WHEN is {}; compare it with something",
            sql_type(&kind)
        ),
        _ => Ok(()),
    }
}

/// A whole number that stands in the query.
fn whole_number(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Negative(inner) => whole_number(inner).map(|number| -number),
        Expr::Literal(value, _) => match value.cast_to(&DataType::Int64) {
            Ok(ScalarValue::Int64(number)) => number,
            _ => None,
        },
        _ => None,
    }
}

/// A string that stands in the query beside a number, as one: `'5' + 3`.
pub fn beside_number(left: Expr, right: Expr, schema: &DFSchema) -> Result<(Expr, Expr)> {
    let number = |expr: &Expr| expr.get_type(schema).ok().filter(DataType::is_numeric);
    match (is_untyped(&left), number(&left), number(&right)) {
        (true, _, Some(other)) => Ok((as_short(spelled(left, &other)?), right)),
        (false, Some(other), _) => Ok((left, as_short(spelled(right, &other)?))),
        _ => Ok((left, right)),
    }
}

/// A string that stands in the query beside what DataFusion compares with no text.
pub fn beside_other(left: Expr, right: Expr, schema: &DFSchema) -> Result<(Expr, Expr)> {
    let other = |expr: &Expr| {
        let kind = expr.get_type(schema).ok();
        kind.filter(|kind| *kind == UUID || kind.is_list())
    };
    match (is_untyped(&left), other(&left), other(&right)) {
        (true, _, Some(other)) => Ok((spelled(left, &other)?, right)),
        (false, Some(other), _) => Ok((left, spelled(right, &other)?)),
        _ => Ok((left, right)),
    }
}

/// `x = ANY (array)`: a string that stands in the query is an array of what the value is, or an element of the array.
fn beside_array(mut call: ScalarFunction, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let word = if call.func.name() == "weir_all" { "ALL" } else { "ANY" };
    if let [value, array, ..] = &mut call.args[..] {
        let (one, many) = (value.get_type(schema)?, array.get_type(schema)?);
        match (&many, is_untyped(value), is_untyped(array)) {
            (_, _, true) => *array = spelled_list(array.clone(), &one)?,
            (DataType::List(element), true, _) => *value = spelled(value.clone(), element.data_type())?,
            (DataType::List(element), ..) if is_text(&one) && !element.data_type().is_string() => {
                return incomparable(&one, &many);
            }
            (kind, ..) if is_text(kind) => return plan_err!("{word} takes an array, not TEXT"),
            _ => {}
        }
    }
    Ok(Transformed::yes(Expr::ScalarFunction(call)))
}

/// A string that stands in the query as an array; one of decimals has all digits that are written.
fn spelled_list(literal: Expr, element: &DataType) -> Result<Expr> {
    let element = match (element, &literal) {
        (DataType::Null, _) => DataType::Utf8,
        (DataType::Decimal128(..), Expr::Literal(text, _)) => {
            let fractions = text.try_as_str().flatten().unwrap_or_default().split('.').skip(1);
            let digits = fractions.map(|behind| behind.bytes().take_while(u8::is_ascii_digit).count());
            let most = digits.max().and_then(|digits| i8::try_from(digits).ok()).unwrap_or(0);
            DataType::Decimal128(38, most.min(38))
        }
        (kind, _) => kind.clone(),
    };
    spelled(literal, &DataType::List(Arc::new(Field::new_list_field(element, true))))
}

/// Fails for times of day that are added up, which DataFusion takes for lengths.
pub fn added(left: &Expr, right: &Expr, schema: &DFSchema) -> Result<()> {
    let is_time = |expr: &Expr| matches!(expr.get_type(schema), Ok(DataType::Time64(_) | DataType::Time32(_)));
    if !(is_time(left) && is_time(right)) {
        return Ok(());
    }
    let message = "there is no TIME + TIME: a time of day is moved by an INTERVAL";
    let span = left.spans().and_then(Spans::first);
    let error = span.map_or(Error::new(message), |span| {
        Error::at(message, span.start.line, span.start.column)
    });
    Err(DataFusionError::External(Box::new(error)))
}

/// Both sides of `||`: bytes go with bytes, and what is no text with text, as that.
pub fn joined(left: Expr, right: Expr, schema: &DFSchema) -> Result<(Expr, Expr)> {
    let (Ok(one), Ok(other)) = (left.get_type(schema), right.get_type(schema)) else {
        return Ok((left, right));
    };
    let as_text = |expr: Expr| Expr::Cast(Cast::new(Box::new(expr), DataType::Utf8));
    match (&one, &other) {
        (DataType::Binary, _) if is_untyped(&right) => Ok((left, spelled(right, &one)?)),
        (_, DataType::Binary) if is_untyped(&left) => Ok((spelled(left, &other)?, right)),
        (one, other) if one.is_nested() || other.is_nested() || one.is_null() || other.is_null() => Ok((left, right)),
        (DataType::Binary, DataType::Binary) => Ok((left, right)),
        (&UUID, kind) if is_text(kind) => Ok((as_text(left), right)),
        (kind, &UUID) if is_text(kind) => Ok((left, as_text(right))),
        (one, other)
            if *one == DataType::Binary || *other == DataType::Binary || !(one.is_string() || other.is_string()) =>
        {
            no_operator(one, "||", other)
        }
        (&JSON, other) if *other != JSON && !is_text(other) => no_operator(&one, "||", other),
        (one, &JSON) if *one != JSON && !is_text(one) => no_operator(one, "||", &other),
        _ => Ok((left, right)),
    }
}

fn no_operator<T>(left: &DataType, op: &str, right: &DataType) -> Result<T> {
    plan_err!(
        "operator does not exist: {} {op} {}; CAST one side to the type of the other",
        sql_type(left),
        sql_type(right)
    )
}

fn is_text(kind: &DataType) -> bool {
    kind.is_string() && *kind != JSON
}

/// A DECIMAL with no more digits than it needs, so that there is room in what is computed with it.
fn as_short(literal: Expr) -> Expr {
    match literal {
        Expr::Literal(ScalarValue::Decimal128(Some(value), _, scale), metadata) => {
            let digits = value.unsigned_abs().to_string().len();
            let digits = u8::try_from(digits).unwrap_or(38).max(scale.unsigned_abs()).min(38);
            Expr::Literal(ScalarValue::Decimal128(Some(value), digits, scale), metadata)
        }
        other => other,
    }
}

/// The call, with a frame of RANGE that says no distance as one of GROUPS, which is the same. DataFusion has the
/// former for some types only.
fn framed_by_peers(mut call: Box<WindowFunction>, schema: &DFSchema) -> Transformed<Expr> {
    let frame = &call.params.window_frame;
    let has_distance = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::Preceding(value) | WindowFrameBound::Following(value) => !value.is_null(),
        WindowFrameBound::CurrentRow => false,
    };
    let by_itself = |kind: DataType| {
        matches!(
            kind,
            DataType::Interval(_)
                | DataType::Duration(_)
                | DataType::Time64(_)
                | DataType::Binary
                | DataType::FixedSizeBinary(_)
                | DataType::Struct(_)
        )
    };
    let order = &call.params.order_by;
    let is_changed = frame.units == WindowFrameUnits::Range
        && !has_distance(&frame.start_bound)
        && !has_distance(&frame.end_bound)
        && order.iter().any(|sort| sort.expr.get_type(schema).is_ok_and(by_itself));
    if is_changed {
        let unbounded = |bound: &WindowFrameBound| match bound {
            WindowFrameBound::Preceding(_) => WindowFrameBound::Preceding(ScalarValue::UInt64(None)),
            WindowFrameBound::Following(_) => WindowFrameBound::Following(ScalarValue::UInt64(None)),
            WindowFrameBound::CurrentRow => WindowFrameBound::CurrentRow,
        };
        let (start, end) = (unbounded(&frame.start_bound), unbounded(&frame.end_bound));
        call.params.window_frame = WindowFrame::new_bounds(WindowFrameUnits::Groups, start, end);
    }
    match is_changed {
        true => Transformed::yes(Expr::WindowFunction(call)),
        false => Transformed::no(Expr::WindowFunction(call)),
    }
}

/// Whether an operator compares.
pub fn is_comparison(op: Operator) -> bool {
    use Operator::*;
    matches!(
        op,
        Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom
    )
}

/// Both sides of a comparison, a string that stands in the query as a value of the other's type.
fn pair(left: Expr, op: Operator, right: Expr, schema: &DFSchema) -> Result<(Expr, Expr)> {
    let (Ok(one), Ok(other)) = (left.get_type(schema), right.get_type(schema)) else {
        return Ok((left, right));
    };
    match (is_untyped(&left), is_untyped(&right)) {
        (true, true) => Ok((left, right)),
        (true, false) => Ok((spelled(left, &other)?, right)),
        (false, true) => {
            let right = spelled(right, &one)?;
            Ok((left, right))
        }
        (false, false) => {
            comparable(&one, op, &other)?;
            Ok((left, right))
        }
    }
}

/// Whether it is a string in the query, which may be of any type.
fn is_untyped(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if value.data_type().is_string() && value.data_type() != JSON)
}

fn comparable(left: &DataType, op: Operator, right: &DataType) -> Result<()> {
    let fits = match (is_text(left), is_text(right)) {
        (false, false) if (*left == JSON) != (*right == JSON) => is_text_like(left) || is_text_like(right),
        (true, true) | (false, false) => true,
        (true, false) => is_text_like(right),
        (false, true) => is_text_like(left),
    };
    match fits {
        true => Ok(()),
        false => no_operator(left, &op.to_string(), right),
    }
}

fn is_text_like(kind: &DataType) -> bool {
    matches!(kind, DataType::Null | DataType::Dictionary(..))
}

/// A string that stands in the query as a value of another branch's type, or why not.
pub fn in_branch(expr: Expr, kind: &DataType) -> Result<Expr> {
    match expr {
        Expr::Alias(mut alias) => {
            alias.expr = Box::new(in_branch(*alias.expr, kind)?);
            Ok(Expr::Alias(alias))
        }
        expr if is_untyped(&expr) => spelled(expr, kind),
        _ => plan_err!("a UNION of {} and TEXT has no type; CAST one side", sql_type(kind)),
    }
}

/// A string as a number, where the other side is one. (Times and others are read as they are made to fit.)
fn spelled(literal: Expr, kind: &DataType) -> Result<Expr> {
    let Expr::Literal(value, metadata) = &literal else {
        return Ok(literal);
    };
    let Some(Some(text)) = value.try_as_str() else {
        return Ok(literal);
    };
    let text = text.trim();
    let read = match kind {
        DataType::Float32 | DataType::Float64 => float::parse(text).ok().map(|read| ScalarValue::Float64(Some(read))),
        DataType::Decimal128(..) | DataType::Decimal256(..) => decimal(text),
        kind if kind.is_integer() => ScalarValue::from(text)
            .cast_to(kind)
            .ok()
            .filter(|read| !read.is_null()),
        &UUID => uuid::parse(text)
            .ok()
            .map(|value| ScalarValue::FixedSizeBinary(16, Some(value.to_vec()))),
        DataType::Interval(_) => interval::parse(text)
            .ok()
            .map(|read| ScalarValue::IntervalMonthDayNano(Some(read))),
        &JSON => match value::canonical(text) {
            Ok(text) => Some(ScalarValue::LargeUtf8(Some(text))),
            Err(why) => return plan_err!("'{text}' is no JSON: {why}"),
        },
        DataType::Boolean => boolean(text).map(|read| ScalarValue::Boolean(Some(read))),
        kind if checked::is_time(kind) || kind.is_list() || *kind == DataType::Binary => {
            let text: ArrayRef = Arc::new(StringArray::from(vec![text]));
            match checked::column_as(&text, kind) {
                Ok(read) => Some(ScalarValue::try_from_array(&read, 0)?),
                Err(error) => return plan_err!("{}", without_origin(&error.to_string())),
            }
        }
        _ => return Ok(literal),
    };
    match read {
        Some(read) => Ok(Expr::Literal(read, metadata.clone())),
        None => plan_err!("'{text}' is no {}", sql_type(kind)),
    }
}

/// A number with all digits that are written.
fn decimal(text: &str) -> Option<ScalarValue> {
    let digits = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let kind = DataType::Decimal128(38, i8::try_from(digits).ok().filter(|digits| *digits <= 38)?);
    ScalarValue::from(text)
        .cast_to(&kind)
        .ok()
        .filter(|read| !read.is_null())
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "t" | "true" | "y" | "yes" | "on" | "1" => Some(true),
        "f" | "false" | "n" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Digits behind the point that a quotient has, if there is room for them.
pub const QUOTIENT_SCALE: i16 = 16;
/// Digits that DataFusion gives a quotient beyond those of what is divided.
const MORE_DIGITS: i16 = 4;

/// What is divided, with zeros behind its last digit, so that the quotient has 16 digits behind its point
/// where 38 in all leave room for them.
fn longer_quotient(left: Expr, right: &Expr, schema: &DFSchema) -> Transformed<Expr> {
    let digits = |expr: &Expr| match expr.get_type(schema) {
        Ok(DataType::Decimal128(precision, scale)) => Some((i16::from(precision), i16::from(scale), true)),
        Ok(kind) if kind.is_integer() => Some(match kind.primitive_width() {
            Some(1) => (3, 0, false),
            Some(2) => (5, 0, false),
            Some(4) => (10, 0, false),
            _ => (20, 0, false),
        }),
        _ => None,
    };
    let (Some((precision, scale, one)), Some((_, below, other))) = (digits(&left), digits(right)) else {
        return Transformed::no(left);
    };
    let whole = precision - scale;
    let room = 38 - whole - below;
    let wanted = QUOTIENT_SCALE.min(room) - MORE_DIGITS;
    if !(one || other) || wanted <= scale {
        return Transformed::no(left);
    }
    let (Ok(digits), Ok(scale)) = (u8::try_from(whole + wanted), i8::try_from(wanted)) else {
        return Transformed::no(left);
    };
    let longer = DataType::Decimal128(digits, scale);
    Transformed::yes(Expr::Cast(Cast::new(Box::new(left), longer)))
}
