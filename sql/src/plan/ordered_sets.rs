//! Aggregates of a group in order: `percentile_disc`, `mode`, and `percentile_cont` at several places.
//!
//! `percentile_disc(0.5) WITHIN GROUP (ORDER BY x)` is a place in `array_agg(x ORDER BY x)` of what isn't NULL, and is
//! written so ([`spelled`]). So it is kept up to date as that is, and right when rows are deleted. What takes the value
//! out of the array are functions.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt32Array, make_comparator};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{SortOptions, take};
use arrow::datatypes::{DataType, Field, Float64Type};
use datafusion::common::{Result as PlanResult, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use sqlparser::ast::{self, BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident};
use weir_engine::format::sql_type;

use crate::parse::syntax::call;
use crate::{Error, Result};

const AT_PART: &str = "weir_at_part";
const BETWEEN: &str = "weir_between_parts";
const MOST_FREQUENT: &str = "weir_most_frequent";

/// What such an aggregate is called, how many arguments it has, whether that is one array of places, and the function
/// of an array that it becomes.
const AGGREGATES: [(&str, usize, bool, &str); 4] = [
    ("percentile_disc", 1, false, AT_PART),
    ("percentile_disc", 1, true, AT_PART),
    ("percentile_cont", 1, true, BETWEEN),
    ("mode", 0, false, MOST_FREQUENT),
];

/// These aggregates' names, each with how it is called and what it gives.
pub fn listed() -> impl Iterator<Item = (&'static str, String, &'static str)> {
    AGGREGATES
        .iter()
        .filter(|(_, _, several, _)| !several)
        .map(|(name, arguments, _, reader)| {
            let part = if *arguments == 0 { "" } else { "part" };
            let gives = match *reader {
                MOST_FREQUENT => "The most frequent value; of several the first in order.",
                _ => "The first value in order that has this part of all values, from 0 to 1, at or before it.",
            };
            (*name, format!("{name}({part}) WITHIN GROUP (ORDER BY value)"), gives)
        })
}

/// Such an aggregate as a function of an array.
pub fn spelled(function: &Function) -> Result<Option<Expr>> {
    let FunctionArguments::List(list) = &function.args else {
        return Ok(None);
    };
    let name = function.name.to_string().to_ascii_lowercase();
    let argument = match &list.args[..] {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))] => Some(expr.clone()),
        _ => None,
    };
    let of_several = matches!(argument, Some(Expr::Array(_)));
    let called = (name.as_str(), list.args.len(), of_several);
    let found = AGGREGATES
        .iter()
        .find(|(name, args, several, _)| (*name, *args, *several) == called);
    let Some((_, _, _, reader)) = found else {
        return Ok(None);
    };
    let reader = *reader;
    let ([order], None) = (&function.within_group[..], &function.over) else {
        return Err(Error::new(format!(
            "{name}() takes rows in an order, and has no OVER: {name}({}) WITHIN GROUP (ORDER BY x)",
            if reader == MOST_FREQUENT { "" } else { "0.5" }
        )));
    };
    let mut value = order.expr.clone();
    if reader == BETWEEN {
        value = Expr::Cast {
            kind: ast::CastKind::Cast,
            expr: Box::new(value),
            data_type: ast::DataType::DoublePrecision,
            array: false,
            format: None,
        };
    }
    let known = Expr::IsNotNull(Box::new(Expr::Nested(Box::new(value.clone()))));
    let filter = match &function.filter {
        Some(filter) => Expr::BinaryOp {
            left: Box::new(known),
            op: BinaryOperator::And,
            right: Box::new(Expr::Nested(filter.clone())),
        },
        None => known,
    };
    let mut order = order.clone();
    order.expr = value.clone();
    let mut all = function.clone();
    all.name = ast::ObjectName::from(vec![Ident::new("array_agg")]);
    all.within_group.clear();
    all.filter = Some(Box::new(filter));
    all.args = FunctionArguments::List(ast::FunctionArgumentList {
        duplicate_treatment: None,
        args: vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(value))],
        clauses: vec![ast::FunctionArgumentClause::OrderBy(vec![order])],
    });
    let args = std::iter::once(Expr::Function(all)).chain(argument);
    Ok(Some(call(reader, args.collect())))
}

/// The functions, to be registered with the session.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    let function = |name| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(ScalarUDF::from(Read { name, signature }))
    };
    [AT_PART, BETWEEN, MOST_FREQUENT].map(function).to_vec()
}

/// Takes a value out of values in order.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Read {
    name: &'static str,
    signature: Signature,
}

impl ScalarUDFImpl for Read {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> PlanResult<Vec<DataType>> {
        let doubles = DataType::List(Arc::new(Field::new_list_field(DataType::Float64, true)));
        match given {
            [values] => Ok(vec![values.clone()]),
            [values, DataType::List(_)] => Ok(vec![values.clone(), doubles]),
            [values, part] if part.is_numeric() || part.is_null() => Ok(vec![values.clone(), DataType::Float64]),
            [_, part] => plan_err!("a percentile is a number from 0 to 1, and not {}", sql_type(part)),
            _ => plan_err!("{}() takes values in order", self.name),
        }
    }

    fn return_type(&self, given: &[DataType]) -> PlanResult<DataType> {
        match given {
            [DataType::List(value), DataType::List(_)] => Ok(DataType::List(Arc::new(Field::new_list_field(
                value.data_type().clone(),
                true,
            )))),
            [DataType::List(value), ..] => Ok(value.data_type().clone()),
            _ => plan_err!("{}() takes values in order", self.name),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&args.args)?;
        let lists = columns[0].as_list::<i32>();
        let made = match columns.get(1) {
            None => most_frequent(lists)?,
            Some(parts) => match parts.as_list_opt::<i32>() {
                None => self.at(lists, parts.as_primitive::<Float64Type>().iter())?,
                Some(several) => self.at_several(lists, several)?,
            },
        };
        Ok(ColumnarValue::Array(made))
    }
}

impl Read {
    /// A value of each list.
    fn at(&self, lists: &ListArray, parts: impl Iterator<Item = Option<f64>>) -> PlanResult<ArrayRef> {
        let mut places = Vec::with_capacity(lists.len());
        for (row, part) in parts.enumerate() {
            places.push(match part {
                Some(part) if !(0.0..=1.0).contains(&part) => {
                    return exec_err!("percentile {part} is not between 0 and 1");
                }
                Some(part) if lists.is_valid(row) => place(part, lists.value_offsets()[row], lists.value_length(row)),
                _ => None,
            });
        }
        Ok(take(lists.values(), &UInt32Array::from(places), None)?)
    }

    /// An array of values of each list.
    fn at_several(&self, lists: &ListArray, parts: &ListArray) -> PlanResult<ArrayRef> {
        let ends = parts.value_offsets().windows(2).enumerate();
        let rows: Vec<u32> = ends
            .flat_map(|(row, ends)| std::iter::repeat_n(row as u32, (ends[1] - ends[0]) as usize))
            .collect();
        let first = parts.value_offsets()[0] as usize;
        let wanted = parts.values().slice(first, rows.len());
        let wanted = wanted.as_primitive::<Float64Type>();
        let repeated = take(lists, &UInt32Array::from(rows), None)?;
        let repeated = repeated.as_list::<i32>();
        let values = match self.name {
            BETWEEN => between(repeated, wanted.iter())?,
            _ => self.at(repeated, wanted.iter())?,
        };
        let lengths = parts
            .value_offsets()
            .windows(2)
            .map(|ends| (ends[1] - ends[0]) as usize);
        let nulls = arrow::buffer::NullBuffer::union(lists.nulls(), parts.nulls());
        let item = Arc::new(Field::new_list_field(values.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths(lengths);
        Ok(Arc::new(ListArray::try_new(item, offsets, values, nulls)?))
    }
}

/// The first place at which so large a part of the values has come.
fn place(part: f64, begin: i32, length: i32) -> Option<u32> {
    let nth = (part * f64::from(length)).ceil().max(1.0) as i32;
    (length > 0).then(|| (begin + nth.min(length) - 1) as u32)
}

/// Values that lie between two, on the line between them.
fn between(lists: &ListArray, parts: impl Iterator<Item = Option<f64>>) -> PlanResult<ArrayRef> {
    let mut made = Vec::with_capacity(lists.len());
    for (row, part) in parts.enumerate() {
        made.push(match part {
            Some(part) if !(0.0..=1.0).contains(&part) => {
                return exec_err!("percentile {part} is not between 0 and 1");
            }
            Some(part) if lists.is_valid(row) => {
                let values = lists.value(row);
                super::percentiles::between(values.as_primitive::<Float64Type>().values(), part)
            }
            _ => None,
        });
    }
    Ok(Arc::new(arrow::array::Float64Array::from(made)))
}

/// The value that each list has most often, the first of several.
fn most_frequent(lists: &ListArray) -> PlanResult<ArrayRef> {
    let values = lists.values();
    let compare = make_comparator(values, values, SortOptions::default())?;
    let best = |row: usize| {
        let (begin, end) = (
            lists.value_offsets()[row] as usize,
            lists.value_offsets()[row + 1] as usize,
        );
        let (mut best, mut most, mut first) = (None, 0, begin);
        for at in begin..end {
            if compare(first, at).is_ne() {
                first = at;
            }
            if at + 1 - first > most {
                (best, most) = (Some(first as u32), at + 1 - first);
            }
        }
        best.filter(|_| lists.is_valid(row))
    };
    let places: UInt32Array = (0..lists.len()).map(best).collect();
    Ok(take(values, &places, None)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_as_in_postgres() {
        let places: Vec<Option<u32>> = [0.0, 0.25, 0.26, 0.5, 1.0].map(|part| place(part, 10, 4)).to_vec();
        assert_eq!(places, [Some(10), Some(10), Some(11), Some(11), Some(13)]);
        assert_eq!(place(0.5, 0, 0), None);
    }
}
