//! `array_remove` as in PostgreSQL: without all elements that are equal to a value, of which NULL is one.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt64Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{cast, take};
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result};
use weir_engine::row::RowCodec;

/// The lists without the value beside each; `None` if they are of another kind of list.
pub fn removed(lists: &ArrayRef, values: &ArrayRef) -> Result<Option<ArrayRef>> {
    let DataType::List(field) = lists.data_type() else {
        return Ok(None);
    };
    let outside = |error| DataFusionError::External(Box::new(error));
    let codec = RowCodec::for_types(&[field.data_type().clone()]).map_err(outside)?;
    let encoded = |column: &ArrayRef| {
        let column = std::slice::from_ref(column);
        codec.encode(column, column[0].len()).map_err(outside)
    };
    let lists = lists.as_list::<i32>();
    let (elements, gone) = (encoded(lists.values())?, encoded(&cast(values, field.data_type())?)?);
    let (mut kept, mut lengths) = (Vec::new(), Vec::with_capacity(lists.len()));
    for (row, bounds) in lists.value_offsets().windows(2).enumerate() {
        let before = kept.len();
        if lists.is_valid(row) {
            let all = bounds[0] as usize..bounds[1] as usize;
            let stays = all.filter(|element| elements.row(*element) != gone.row(row));
            kept.extend(stays.map(|element| element as u64));
        }
        lengths.push(kept.len() - before);
    }
    let elements = take(lists.values(), &UInt64Array::from(kept), None)?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    let lists = ListArray::try_new(field.clone(), offsets, elements, lists.nulls().cloned())?;
    Ok(Some(Arc::new(lists)))
}
