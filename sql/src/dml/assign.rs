//! Values into a column of a table: which types fit, and the conversion.
//!
//! As in PostgreSQL an assignment converts more than an expression does: numbers into each other,
//! text into whatever it spells. It never loses anything but digits behind a decimal's scale: a
//! value that doesn't fit is an error that names it.

use arrow::array::{Array, ArrayRef};
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{DataType, Field};
use arrow::util::display::array_value_to_string;
use sqlparser::tokenizer::Location;
use weir_engine::format::json::value::JSON;
use weir_engine::format::sql_type;

use crate::catalog::Relation;
use crate::plan::{checked, errors};
use crate::{Error, Result};

const STRICT: CastOptions<'static> = CastOptions {
    safe: false,
    format_options: arrow::util::display::FormatOptions::new(),
};

/// Fails if values of type `from` don't go into the column.
pub fn check(table: &Relation, column: usize, from: &DataType, at: Option<Location>) -> Result<()> {
    let field = table.schema.field(column);
    if fits(from, field.data_type()) {
        return Ok(());
    }
    let kind = sql_type(field.data_type());
    let remedy = match field.data_type() {
        &JSON => "to_jsonb(…) makes JSON of it".to_string(),
        _ => format!("write CAST(… AS {kind}) where that makes sense"),
    };
    let message = format!(
        "column '{}' of table '{}' is {kind}, and the value is {}; {remedy}",
        field.name(),
        table.name,
        sql_type(from)
    );
    Err(match at {
        Some(at) => errors::at(message, at),
        None => Error::new(message),
    })
}

fn fits(from: &DataType, to: &DataType) -> bool {
    use DataType::*;
    let text = |kind: &DataType| matches!(kind, Utf8 | Utf8View);
    let nested = |kind: &DataType| kind.is_nested();
    match (from, to) {
        _ if from == to => true,
        (Null, _) => true,
        (&JSON, to) => text(to),
        (from, &JSON) => text(from),
        (from, to) if from.is_numeric() && to.is_numeric() => true,
        (from, to) if text(from) || text(to) => {
            checked::is_ours(from, to) || (!nested(from) && !nested(to) && can_cast_types(from, to))
        }
        (Date32 | Date64 | Timestamp(..), Timestamp(..)) => true,
        (Date64, Date32) | (Time32(_) | Time64(_), Time64(_)) | (Duration(_) | Interval(_), Interval(_)) => true,
        (LargeBinary | BinaryView | FixedSizeBinary(_), Binary) => true,
        (from, to) if nested(from) && nested(to) => checked::is_ours(from, to) || can_cast_types(from, to),
        _ => false,
    }
}

/// The values as the column holds them.
pub fn assign(table: &Relation, column: usize, values: &ArrayRef) -> Result<ArrayRef> {
    let field = table.schema.field(column);
    let (from, to) = (values.data_type(), field.data_type());
    if from == to {
        return Ok(values.clone());
    }
    check(table, column, from, None)?;
    let Ok(converted) = checked::column_as(values, to) else {
        return Err(first_failure(table, field, values));
    };
    if to.is_integer() && (from.is_floating() || from.is_decimal()) {
        check_whole(table, field, values, &converted)?;
    }
    Ok(converted)
}

/// The error for the first value that can't be converted.
fn first_failure(table: &Relation, field: &Field, values: &ArrayRef) -> Error {
    let fails = |row: &usize| checked::column_as(&values.slice(*row, 1), field.data_type()).is_err();
    match (0..values.len()).find(fails) {
        Some(row) => misfit(table, field, &shown(values, row)),
        None => misfit(table, field, "a value"),
    }
}

/// A number with a fraction doesn't go into a column of whole numbers.
fn check_whole(table: &Relation, field: &Field, values: &ArrayRef, converted: &ArrayRef) -> Result<()> {
    let back = cast_with_options(converted, values.data_type(), &STRICT).map_err(weir_engine::Error::from)?;
    let differs = distinct(&back, values).map_err(weir_engine::Error::from)?;
    match (0..differs.len()).find(|row| differs.value(*row)) {
        Some(row) => Err(misfit(table, field, &shown(values, row))),
        None => Ok(()),
    }
}

/// The error for a value that the column can't hold.
pub fn misfit(table: &Relation, field: &Field, value: &str) -> Error {
    Error::new(format!(
        "column '{}' of table '{}' is {}, and {value} doesn't fit",
        field.name(),
        table.name,
        sql_type(field.data_type())
    ))
}

/// A value as SQL would write it, cut where it is long.
pub fn shown(values: &ArrayRef, row: usize) -> String {
    if values.is_null(row) {
        return "NULL".to_string();
    }
    let text = array_value_to_string(values, row).unwrap_or_else(|_| "a value".to_string());
    let mut cut: String = text.chars().take(100).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    if values.data_type().is_numeric() || values.data_type() == &DataType::Boolean {
        cut
    } else {
        format!("'{cut}'")
    }
}
