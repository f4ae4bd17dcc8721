//! A struct as another: as with PostgreSQL's rows, the first field becomes the first, whatever they are called.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StructArray};
use arrow::compute::can_cast_types;
use arrow::datatypes::{DataType, Fields};
use arrow::error::ArrowError;

use super::casts::{column_as, is_ours};

/// Whether structs of the fields become the type.
pub fn are_taken(fields: &Fields, to: &DataType) -> bool {
    let DataType::Struct(others) = to else { return false };
    fields.len() == others.len()
        && fields.iter().zip(others).all(|(from, to)| {
            let (from, to) = (from.data_type(), to.data_type());
            from == to || is_ours(from, to) || can_cast_types(from, to)
        })
}

/// Structs as those of other fields.
///
/// # Errors
/// Where a field's value has no such type.
pub fn taken(value: &ArrayRef, fields: &Fields) -> Result<ArrayRef, ArrowError> {
    let given = value.as_struct();
    let columns = given.columns().iter().zip(fields);
    let columns = columns.map(|(column, field)| column_as(column, field.data_type()));
    let columns = columns.collect::<Result<Vec<ArrayRef>, ArrowError>>()?;
    Ok(Arc::new(StructArray::try_new_with_length(
        fields.clone(),
        columns,
        given.nulls().cloned(),
        given.len(),
    )?))
}
