//! Casts between JSONB and other types, as PostgreSQL has them: text is read, and of JSON its own text, its number
//! or its boolean is taken.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, LargeStringArray, StringArray};
use arrow::compute::cast_with_options;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use weir_engine::format::json::value::{self, JSON, Json};
use weir_engine::format::sql_type;

use super::casts::{STRICT, column_as};

/// Whether JSONB can be cast to a type.
pub fn is_target(to: &DataType) -> bool {
    *to == JSON || *to == DataType::Utf8 || *to == DataType::Boolean || to.is_numeric()
}

/// Text as JSON.
pub(super) fn read(texts: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let texts = cast_with_options(texts, &DataType::Utf8, &STRICT)?;
    let read = |text: &str| {
        value::canonical(text).map_err(|why| {
            let shown: String = text.chars().take(100).collect();
            ArrowError::CastError(format!("'{shown}' is no JSON: {why}"))
        })
    };
    let made = texts.as_string::<i32>().iter().map(|text| text.map(read).transpose());
    Ok(Arc::new(made.collect::<Result<LargeStringArray, ArrowError>>()?))
}

/// JSON as another type.
pub(super) fn taken(documents: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    if *to == DataType::Utf8 {
        return cast_with_options(documents, to, &STRICT);
    }
    let wanted = if *to == DataType::Boolean { "boolean" } else { "number" };
    let part = |text: &str| {
        let read = value::parse(text).map_err(ArrowError::CastError)?;
        match read {
            Json::Boolean(_) if wanted == "boolean" => Ok(text.to_string()),
            Json::Number(digits) if wanted == "number" => Ok(digits),
            other => Err(ArrowError::CastError(format!(
                "JSON's {} can't become {}",
                other.kind(),
                sql_type(to)
            ))),
        }
    };
    let parts = documents
        .as_string::<i64>()
        .iter()
        .map(|text| text.map(part).transpose());
    let parts: ArrayRef = Arc::new(parts.collect::<Result<StringArray, ArrowError>>()?);
    if wanted == "boolean" {
        let known = parts.as_string::<i32>().iter();
        return Ok(Arc::new(
            known
                .map(|text| text.map(|text| text == "true"))
                .collect::<BooleanArray>(),
        ));
    }
    if to.is_decimal() || to.is_floating() {
        return column_as(&parts, to);
    }
    // Whole numbers are rounded, as of a DECIMAL.
    match column_as(&parts, &DataType::Decimal128(38, 10)) {
        Ok(decimals) => column_as(&decimals, to),
        Err(_) => column_as(&column_as(&parts, &DataType::Float64)?, to),
    }
}
