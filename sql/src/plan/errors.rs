//! DataFusion's planning errors in the dialect's words, with the place where it is known.

use datafusion::common::{DataFusionError, SchemaError};
use sqlparser::tokenizer::Location;

use crate::Error;

/// An error at a token's place, if it has one.
pub fn at(message: impl Into<String>, place: Location) -> Error {
    match place {
        Location { line: 0, .. } => Error::new(message),
        Location { line, column } => Error::at(message, line, column),
    }
}

/// Translates an error; keeps the place that a diagnostic carries.
pub fn translate(error: DataFusionError) -> Error {
    if let Some(own) = own(&error) {
        return own;
    }
    let place = place(&error);
    let message = message(&error);
    Error { message, place }
}

/// Weir's own error, where one went through DataFusion.
fn own(error: &DataFusionError) -> Option<Error> {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => own(inner),
        DataFusionError::Shared(inner) => own(inner),
        DataFusionError::External(inner) => match inner.downcast_ref::<Error>() {
            Some(error) => Some(error.clone()),
            None => Some(inner.downcast_ref::<weir_engine::Error>()?.clone().into()),
        },
        _ => None,
    }
}

fn place(error: &DataFusionError) -> Option<(u64, u64)> {
    error
        .diagnostic()
        .and_then(|diagnostic| diagnostic.span)
        .map(|span| (span.start.line, span.start.column))
}

fn message(error: &DataFusionError) -> String {
    match error {
        DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => message(inner),
        DataFusionError::SchemaError(schema, _) => schema_message(schema),
        DataFusionError::Plan(text) | DataFusionError::Execution(text) => tidy(text),
        DataFusionError::NotImplemented(text) => format!("not supported: {}", tidy(text)),
        DataFusionError::Collection(errors) => errors.first().map(message).unwrap_or_default(),
        DataFusionError::Shared(inner) => message(inner),
        other => tidy(&other.strip_backtrace()),
    }
}

fn schema_message(error: &SchemaError) -> String {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let near = valid_fields
                .iter()
                .map(|other| (crate::catalog::distance(&field.name, &other.name), &other.name))
                .filter(|(distance, _)| *distance <= (field.name.len() / 3).max(1))
                .min();
            match near {
                Some((_, name)) => format!("column '{}' does not exist; did you mean '{name}'?", field.flat_name()),
                None if valid_fields.is_empty() => format!(
                    "column '{0}' does not exist: there are no columns here; text stands in single quotes, '{0}'",
                    field.flat_name()
                ),
                None => {
                    let mut names: Vec<String> = valid_fields.iter().map(|other| other.flat_name()).collect();
                    names.truncate(12);
                    format!(
                        "column '{}' does not exist; there are: {}",
                        field.flat_name(),
                        names.join(", ")
                    )
                }
            }
        }
        SchemaError::AmbiguousReference { field } => {
            format!(
                "column '{}' is ambiguous; write the relation's name before it",
                field.flat_name()
            )
        }
        other => tidy(&other.to_string()),
    }
}

/// The first lines of a message, without its library's prefixes.
fn tidy(text: &str) -> String {
    let mut text = text.trim();
    for prefix in ["Error during planning: ", "External error: ", "Execution error: "] {
        text = text.strip_prefix(prefix).unwrap_or(text);
    }
    text.to_string()
}
