//! Floating point numbers as SQL sees them: one zero, one NaN, and how they are spelled.
//!
//! IEEE 754 has -0.0 beside 0.0 and NaNs without end; to SQL the two zeros are equal, and NaN equals
//! itself and is greater than all numbers. Keys, stored rows, comparisons and hashes go by bits, so
//! a float gets its one form where it comes into being: where rows enter (sources, tables) and where
//! an expression computes it. From there on the order of bits is the order of SQL.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, RecordBatch, make_array};
use arrow::datatypes::{DataType, Float16Type, Float32Type, Float64Type};

use crate::Result;
use crate::change::ChangeBatch;

type Half = <Float16Type as ArrowPrimitiveType>::Native;

/// Whether values of a type are floats or hold some.
pub fn has_floats(kind: &DataType) -> bool {
    use DataType::*;
    match kind {
        Float16 | Float32 | Float64 => true,
        List(item) | LargeList(item) | FixedSizeList(item, _) | Map(item, _) => has_floats(item.data_type()),
        Struct(fields) => fields.iter().any(|field| has_floats(field.data_type())),
        Dictionary(_, value) => has_floats(value),
        _ => false,
    }
}

/// The column with each float in its one form; the column itself where all are.
pub fn one_form(array: &ArrayRef) -> ArrayRef {
    changed(array).unwrap_or_else(|| array.clone())
}

/// The rows with each float in its one form.
pub fn one_form_of_rows(rows: &RecordBatch) -> Result<RecordBatch> {
    if !rows
        .schema_ref()
        .fields()
        .iter()
        .any(|field| has_floats(field.data_type()))
    {
        return Ok(rows.clone());
    }
    let columns = rows.columns().iter().map(one_form).collect();
    crate::change::record_batch(rows.schema(), columns, rows.num_rows())
}

/// The changes with each float of their rows in its one form.
pub fn one_form_of_changes(changes: ChangeBatch) -> Result<ChangeBatch> {
    let rows = one_form_of_rows(changes.rows())?;
    Ok(changes.with_rows(rows))
}

/// The column in that form, if it isn't yet.
fn changed(array: &ArrayRef) -> Option<ArrayRef> {
    match array.data_type() {
        DataType::Float64 => changed_floats::<Float64Type>(array, |value| value.is_nan(), 0.0, f64::NAN, f64::to_bits),
        DataType::Float16 => {
            let bits = |value: Half| u64::from(value.to_bits());
            changed_floats::<Float16Type>(array, |value| value.is_nan(), Half::from_bits(0), Half::NAN, bits)
        }
        DataType::Float32 => {
            let bits = |value: f32| u64::from(value.to_bits());
            changed_floats::<Float32Type>(array, |value| value.is_nan(), 0.0, f32::NAN, bits)
        }
        kind if has_floats(kind) => {
            let data = array.to_data();
            let parts: Vec<ArrayRef> = data.child_data().iter().cloned().map(make_array).collect();
            let new: Vec<Option<ArrayRef>> = parts.iter().map(changed).collect();
            if new.iter().all(Option::is_none) {
                return None;
            }
            let children = new.into_iter().zip(parts);
            let children = children.map(|(new, old)| new.unwrap_or(old).to_data()).collect();
            let data = data.into_builder().child_data(children).build();
            Some(make_array(data.expect("the children keep their types and lengths")))
        }
        _ => None,
    }
}

fn changed_floats<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    is_nan: fn(T::Native) -> bool,
    zero: T::Native,
    nan: T::Native,
    bits: fn(T::Native) -> u64,
) -> Option<ArrayRef> {
    let form = |value: T::Native| {
        if is_nan(value) {
            nan
        } else if value == zero {
            zero
        } else {
            value
        }
    };
    let column: &PrimitiveArray<T> = array.as_primitive();
    let fine = column.values().iter().all(|value| bits(form(*value)) == bits(*value));
    (!fine).then(|| Arc::new(column.unary::<_, T>(form)) as ArrayRef)
}

/// The number that a text spells, as PostgreSQL reads it: `1.5`, `-2e3`, `Infinity`, `NaN`, with
/// spaces around.
///
/// # Errors
/// Why it spells none: it is no number, or one that only infinity comes near.
pub fn parse(text: &str) -> Result<f64, &'static str> {
    let text = text.trim();
    let value: f64 = text.parse().map_err(|_| "it is not a number")?;
    let spelled = text.bytes().any(|byte| byte.is_ascii_digit());
    match value.is_infinite() && spelled {
        true => Err("it is out of range"),
        false => Ok(value),
    }
}

/// How a number that has no digits is spelled.
pub fn word(value: f64) -> Option<&'static str> {
    match value {
        value if value.is_nan() => Some("NaN"),
        f64::INFINITY => Some("Infinity"),
        f64::NEG_INFINITY => Some("-Infinity"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float32Array, Float64Array, Int64Array, ListArray, StructArray};
    use arrow::datatypes::{Field, Float64Type};

    use super::*;

    fn bits(array: &ArrayRef) -> Vec<u64> {
        let values = array.as_primitive::<Float64Type>().values();
        values.iter().map(|value| value.to_bits()).collect()
    }

    #[test]
    fn zeros_and_nans_are_one_each() {
        let array: ArrayRef = Arc::new(Float64Array::from(vec![-0.0, 0.0, -f64::NAN, 1.5, f64::NEG_INFINITY]));
        let wanted = [0.0, 0.0, f64::NAN, 1.5, f64::NEG_INFINITY].map(f64::to_bits);
        assert_eq!(bits(&one_form(&array)), wanted);
        let array: ArrayRef = Arc::new(Float32Array::from(vec![-0.0f32, -f32::NAN]));
        let got = one_form(&array);
        let got = got.as_primitive::<Float32Type>().values();
        assert_eq!((got[0].to_bits(), got[1].to_bits()), (0, f32::NAN.to_bits()));
    }

    #[test]
    fn what_is_in_form_is_not_copied() {
        let array: ArrayRef = Arc::new(Float64Array::from(vec![Some(0.0), None, Some(f64::NAN)]));
        assert!(Arc::ptr_eq(&one_form(&array), &array));
        let array: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        assert!(Arc::ptr_eq(&one_form(&array), &array));
        assert!(!has_floats(&DataType::Utf8));
    }

    #[test]
    fn nested_floats_too() {
        let lists = vec![Some(vec![Some(-0.0), None]), None, Some(vec![Some(1.0)])];
        let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(lists));
        let field = Arc::new(Field::new("l", list.data_type().clone(), true));
        let outer: ArrayRef = Arc::new(StructArray::from(vec![(field, list)]));
        assert!(has_floats(outer.data_type()));
        let got = one_form(&outer.slice(0, 2));
        assert_eq!((got.len(), got.data_type()), (2, outer.data_type()));
        let list = got.as_struct().column(0).as_list::<i32>().clone();
        assert!(list.is_null(1));
        assert_eq!(bits(&list.value(0))[0], 0);
    }

    #[test]
    fn numbers_are_read_as_they_are_spelled() {
        assert_eq!(parse(" 1.5 "), Ok(1.5));
        assert_eq!(parse("-infinity"), Ok(f64::NEG_INFINITY));
        assert_eq!(parse("Infinity"), Ok(f64::INFINITY));
        assert!(parse("nan").unwrap().is_nan());
        assert_eq!(parse("1e400"), Err("it is out of range"));
        assert_eq!(parse("one"), Err("it is not a number"));
        assert_eq!(word(f64::NEG_INFINITY), Some("-Infinity"));
        assert_eq!(word(1.0), None);
    }
}
