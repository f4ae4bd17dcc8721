//! DataFusion's planning errors in the dialect's words, with the place where it is known.

use datafusion::common::{DataFusionError, SchemaError};

use crate::Error;

/// Translates an error; keeps the place that a diagnostic carries.
pub fn translate(error: DataFusionError) -> Error {
    let place = place(&error);
    let message = message(&error);
    Error { message, place }
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
