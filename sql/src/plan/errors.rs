//! DataFusion's planning errors in the dialect's words, with the place where it is known.

use datafusion::common::{DataFusionError, SchemaError};
use sqlparser::tokenizer::Location;

use weir_engine::format::{sql_words, without_origin};
use weir_engine::near::{nearest, nearest_function};

use crate::Error;
use crate::plan::functions;
use crate::plan::json::rewritten;

mod computed;
mod elsewhere;
mod placed;
mod wording;

pub use computed::Computations;
pub use placed::{placed, placed_in};

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
    let message = sql_words(&message(&error));
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
        DataFusionError::ResourcesExhausted(_) => {
            "the query needs more memory than is left for queries: let it keep fewer rows (of a join the side that is \
             named first, of a sort or GROUP BY the rows themselves), or start Weir with a larger --query-memory (SHOW \
             query_memory)"
                .to_string()
        }
        DataFusionError::NotImplemented(text) => match wording::reworded(text) {
            Some(message) => message,
            None => format!("not supported: {}", tidy(text)),
        },
        DataFusionError::Collection(errors) => errors.first().map(message).unwrap_or_default(),
        DataFusionError::Shared(inner) => message(inner),
        other => tidy(&other.strip_backtrace()),
    }
}

fn schema_message(error: &SchemaError) -> String {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            match nearest(&field.name, valid_fields.iter().map(|other| other.name.as_str())) {
                Some(name) => format!("column '{}' does not exist; did you mean '{name}'?", field.flat_name()),
                None if valid_fields.is_empty() => format!(
                    "column '{0}' does not exist: there are no columns here; text stands in single quotes, '{0}'",
                    field.flat_name()
                ),
                None => {
                    let mut names: Vec<String> = Vec::new();
                    for other in valid_fields.iter().map(|other| other.flat_name()) {
                        if !names.contains(&other) {
                            names.push(other);
                        }
                    }
                    names.truncate(12);
                    format!(
                        "column '{}' does not exist; there are: {}",
                        field.flat_name(),
                        names.join(", ")
                    )
                }
            }
        }
        SchemaError::DuplicateQualifiedField { qualifier, .. } => {
            format!("relation '{qualifier}' is there twice; give one of them another name with AS")
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

/// The first lines of a message, without its library's prefixes, and in the dialect's words where
/// users meet it often.
fn tidy(text: &str) -> String {
    // What DataFusion's internal errors ask of its own users.
    let text = text
        .split("\nThis issue was likely caused by a bug")
        .next()
        .unwrap_or(text)
        .trim();
    let text = without_origin(text);
    let quoted: Vec<&str> = text.split('"').skip(1).step_by(2).collect();
    match quoted[..] {
        [one, other, ..] if text.starts_with("Projections require unique expression names") => {
            format!("two columns have the same name, {one} and {other}; give one another name with AS")
        }
        [column, ..] if text.contains("must appear in the GROUP BY clause") => {
            format!("column '{column}' must be in GROUP BY, or inside an aggregate such as max({column})")
        }
        _ => wording::reworded(text)
            .or_else(|| function_message(text))
            .or_else(|| operator_message(text))
            .unwrap_or_else(|| sql_words(text)),
    }
}

/// A call that doesn't work: why, and which calls do.
fn function_message(text: &str) -> Option<String> {
    if text.contains("failed to match any signature") {
        let function = text.split('\'').nth(1)?;
        let mut received = text.split("but received ").filter(|part| part.contains(" (DataType"));
        let (_, given) = received.next()?.split_once(" (DataType: ")?;
        let given = given.split(").").next()?;
        return Some(sql_words(&format!(
            "{function}() does not take {given}; CAST it to a type that it takes"
        )));
    }
    if let Some((_, rest)) = text.split_once("Unavailable default cast for native type ") {
        let (taken, given) = rest.split_once(" from physical type ")?;
        return Some(sql_words(&format!(
            "a function takes {taken} and is given {given}; CAST it"
        )));
    }
    if let Some(rest) = text.strip_prefix("Invalid function '") {
        let (name, _) = rest.split_once('\'')?;
        if rewritten::is_set(name) {
            return Some(format!(
                "{name}() gives rows: it stands in FROM, as in FROM t, {name}(t.doc) AS e, or is a column of the SELECT list \
                 by itself"
            ));
        }
        if name == "mode" {
            return Some("mode() takes rows in an order: mode() WITHIN GROUP (ORDER BY x)".to_string());
        }
        if let Some(instead) = elsewhere::instead_of(name) {
            return Some(format!("function {name}() does not exist; write {instead}"));
        }
        let known = functions::all();
        let near = nearest_function(name, known.iter().map(|function| function.name.as_str()));
        let hint = near.map_or("SHOW FUNCTIONS lists those that do".to_string(), |near| {
            format!("did you mean {near}()?")
        });
        return Some(format!("function {name}() does not exist; {hint}"));
    }
    let (cause, rest) = text.split_once(" No function matches the given name and argument types ")?;
    if let Some((_, own)) = cause.split_once("Error during planning: ") {
        return Some(own.trim_end_matches('.').to_string());
    }
    let called = rest.split('\'').nth(1)?;
    let (_, candidates) = rest.split_once("Candidate functions:")?;
    let foreign = |line: &str| {
        ["LargeUtf8", "Utf8View", "Null", "LargeBinary"]
            .iter()
            .any(|kind| line.contains(kind))
    };
    let mut calls: Vec<String> = Vec::new();
    for line in candidates.lines().map(str::trim) {
        // Signatures that name no types.
        let line = line
            .replace("UserDefined", "…")
            .replace("Comparable(2)", "value, value");
        let call = sql_words(&line);
        if !line.is_empty() && !foreign(&line) && !calls.contains(&call) {
            calls.push(call);
        }
    }
    if calls.is_empty() {
        return Some(format!("no function fits {}; it takes nothing", sql_words(called)));
    }
    Some(format!(
        "no function fits {}; there is {}",
        sql_words(called),
        calls.join(", ")
    ))
}

/// An operator between types that it doesn't go with.
fn operator_message(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("Cannot coerce arithmetic expression ")?;
    let operation = rest.strip_suffix(" to valid types")?;
    Some(format!(
        "there is no {}; CAST one side to the other's type",
        sql_words(operation)
    ))
}
