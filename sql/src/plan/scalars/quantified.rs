//! `x = ANY (array)` and `x <> ALL (array)`: whether a comparison holds for an element, or for all.
//!
//! As with OR and AND of the elements, one that is NULL leaves open what no other decides.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Datum, UInt32Array};
use arrow::compute::kernels::cmp;
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Field};
use arrow::error::ArrowError;
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use weir_engine::float;
use weir_engine::format::json::value::JSON;
use weir_engine::format::sql_type;

use crate::plan::intervals;

/// Both functions, of a value, an array and the name of an operator.
pub fn functions() -> [Arc<ScalarUDF>; 2] {
    [false, true].map(|all| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(ScalarUDF::from(Quantified { all, signature }))
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Quantified {
    /// For all elements, not for any.
    all: bool,
    signature: Signature,
}

impl ScalarUDFImpl for Quantified {
    fn name(&self) -> &str {
        if self.all { "weir_all" } else { "weir_any" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let word = if self.all { "ALL" } else { "ANY" };
        let [value, array, operator] = given else {
            return plan_err!("{word} takes a value and an array");
        };
        if array.is_string() && *array != JSON {
            // One that stands in the query is read as an array; others are refused as types are held
            // ([`crate::plan::kinds`]).
            let element = if value.is_null() { array } else { value };
            let list = DataType::List(Arc::new(Field::new_list_field(element.clone(), true)));
            return Ok(vec![element.clone(), list, operator.clone()]);
        }
        let (DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _)) = array
        else {
            return plan_err!("{word} takes an array, not {}", sql_type(array));
        };
        let element = element.data_type();
        let known = |kind: &DataType| !kind.is_null();
        let mixed = known(value) && known(element) && value.is_string() != element.is_string();
        let kind = match mixed {
            // It may be one that stands in the query, too.
            true => Some(element.clone()).filter(|_| value.is_string() && *value != JSON),
            false => comparison_coercion(value, element),
        };
        match kind {
            Some(kind) => {
                let list = DataType::List(Arc::new(Field::new_list_field(kind.clone(), true)));
                Ok(vec![kind, list, operator.clone()])
            }
            None => incomparable(value, array),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value, array, ColumnarValue::Scalar(operator)] = &args.args[..] else {
            return exec_err!("{}() takes a value, an array and an operator", self.name());
        };
        let Some(Some(operator)) = operator.try_as_str() else {
            return exec_err!("{}() takes the name of an operator", self.name());
        };
        let rows = args.number_rows;
        let truth = self.over(&value.to_array(rows)?, &array.to_array(rows)?, operator)?;
        let all_scalars = matches!((value, array), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)));
        let truth: ArrayRef = Arc::new(truth);
        Ok(match all_scalars && rows > 0 {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&truth, 0)?),
            false => ColumnarValue::Array(truth),
        })
    }
}

/// The error for a value and an array of others.
pub fn incomparable<T>(value: &DataType, array: &DataType) -> Result<T> {
    plan_err!(
        "{} can't be compared with the elements of {}; CAST one side to the type of the other",
        sql_type(value),
        sql_type(array)
    )
}

impl Quantified {
    fn over(&self, values: &ArrayRef, arrays: &ArrayRef, operator: &str) -> Result<BooleanArray> {
        let lists = arrays.as_list::<i32>();
        let offsets = lists.value_offsets();
        let (first, last) = (offsets[0] as usize, offsets[lists.len()] as usize);
        let elements = lists.values().slice(first, last - first);
        let rows = offsets.windows(2).enumerate();
        let rows = rows.flat_map(|(row, pair)| std::iter::repeat_n(row as u32, (pair[1] - pair[0]) as usize));
        let values = take(values.as_ref(), &UInt32Array::from_iter_values(rows), None)?;
        let compared = compared(&in_form(values)?, &in_form(elements)?, operator)?;
        let mut next = compared.iter();
        let verdict = offsets.windows(2).enumerate().map(|(row, pair)| {
            let mut verdict = Some(self.all);
            for one in next.by_ref().take((pair[1] - pair[0]) as usize) {
                verdict = match (verdict, one) {
                    (Some(decided), _) if decided != self.all => verdict,
                    (_, Some(holds)) if holds != self.all => Some(holds),
                    (_, None) => None,
                    _ => verdict,
                };
            }
            verdict.filter(|_| lists.is_valid(row))
        });
        Ok(verdict.collect())
    }
}

/// Values that are equal in a form in which they are the same.
fn in_form(column: ArrayRef) -> Result<ArrayRef> {
    match column.data_type() {
        DataType::Interval(_) => intervals::all_formed(&column),
        DataType::Null => Ok(cast(&column, &DataType::Boolean)?),
        _ => Ok(float::one_form(&column)),
    }
}

fn compared(left: &dyn Datum, right: &dyn Datum, operator: &str) -> Result<BooleanArray, ArrowError> {
    match operator {
        "=" => cmp::eq(left, right),
        "<>" => cmp::neq(left, right),
        "<" => cmp::lt(left, right),
        "<=" => cmp::lt_eq(left, right),
        ">" => cmp::gt(left, right),
        ">=" => cmp::gt_eq(left, right),
        other => Err(ArrowError::InvalidArgumentError(format!("{other} is no comparison"))),
    }
}
