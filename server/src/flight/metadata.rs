//! What Weir says of an answer beside its rows: metadata of the Arrow schema, and gRPC status codes.
//!
//! Flight SQL knows rows and a number of changed rows, but neither notices nor what kind of answer
//! this is. Both travel as metadata of the schema, which every client gets and may ignore. Notices that
//! are known at the end only come with a last message, as its metadata.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::FlightData;
use arrow_flight::utils::batches_to_flight_data;
use serde::{Deserialize, Serialize};
use tonic::{Code, Status};

use crate::{Error, ErrorKind, PUSH_METADATA, PreparedKind, PushKind};

/// Key of the schema metadata that says what the statement was: `command`, `update`, `query`, `push`.
pub const KIND_METADATA: &str = "weir.kind";
/// Key of the schema metadata with the answer's notices, a JSON list of strings.
pub const NOTICES_METADATA: &str = "weir.notices";
/// Key of the schema metadata with what a command or an update did, in words: `INSERT 3`.
pub const TAG_METADATA: &str = "weir.tag";
/// Key of the schema metadata with the number of rows that an update changed.
pub const ROWS_METADATA: &str = "weir.rows";

/// Longest message of a status. It travels as a header, each byte of it as up to three, and
/// clients refuse headers of more than 16 KiB.
const LONGEST_MESSAGE: usize = 4000;

/// The word for a kind of statement under [`KIND_METADATA`].
pub fn kind_word(kind: PreparedKind) -> &'static str {
    match kind {
        PreparedKind::Command => "command",
        PreparedKind::Update => "update",
        PreparedKind::Query => "query",
        PreparedKind::Push => "push",
    }
}

/// What a command or an update did. It stands whole in the ticket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// In words: `CREATE SOURCE`, `INSERT 3`.
    pub tag: String,
    /// How many rows an update changed; `None` for commands.
    pub rows: Option<u64>,
    /// What the user should know besides.
    pub notices: Vec<String>,
}

impl Outcome {
    /// A schema without columns that says it all.
    pub fn schema(&self) -> SchemaRef {
        let kind = match self.rows {
            Some(_) => PreparedKind::Update,
            None => PreparedKind::Command,
        };
        let mut metadata = answer_metadata(kind, &self.notices);
        metadata.insert(TAG_METADATA.into(), self.tag.clone());
        if let Some(rows) = self.rows {
            metadata.insert(ROWS_METADATA.into(), rows.to_string());
        }
        Arc::new(Schema::empty().with_metadata(metadata))
    }
}

/// The schema of rows that a statement answers.
pub fn rows_schema(schema: &Schema, kind: PreparedKind, push: Option<PushKind>, notices: &[String]) -> SchemaRef {
    let mut metadata = schema.metadata().clone();
    metadata.extend(answer_metadata(kind, notices));
    if let Some(push) = push {
        metadata.insert(PUSH_METADATA.into(), push.word().into());
    }
    Arc::new(schema.clone().with_metadata(metadata))
}

/// The message with what is known only when all rows were read: one without rows, whose metadata is
/// as the schema's under [`NOTICES_METADATA`]. Clients that don't know of it pass it over.
pub fn late_message(schema: &Schema, notices: Vec<String>) -> Result<Option<FlightData>, Status> {
    if notices.is_empty() {
        return Ok(None);
    }
    let empty = RecordBatch::new_empty(Arc::new(schema.clone()));
    let messages = batches_to_flight_data(schema, vec![empty]).map_err(internal)?;
    let text = serde_json::json!({ NOTICES_METADATA: notices }).to_string();
    Ok(messages.into_iter().last().map(|last| last.with_app_metadata(text)))
}

/// The notices of such a message; none of any other.
pub fn late_notices(metadata: &[u8]) -> Vec<String> {
    let said: Option<HashMap<String, Vec<String>>> = serde_json::from_slice(metadata).ok();
    said.and_then(|mut said| said.remove(NOTICES_METADATA))
        .unwrap_or_default()
}

fn answer_metadata(kind: PreparedKind, notices: &[String]) -> HashMap<String, String> {
    let mut metadata = HashMap::from([(KIND_METADATA.to_string(), kind_word(kind).to_string())]);
    if !notices.is_empty() {
        metadata.insert(NOTICES_METADATA.into(), serde_json::json!(notices).to_string());
    }
    metadata
}

/// The status of an error, with its message.
pub fn status(error: Error) -> Status {
    let code = match error.kind {
        ErrorKind::Invalid => Code::InvalidArgument,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Conflict => Code::FailedPrecondition,
        ErrorKind::Data => Code::OutOfRange,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::Internal => Code::Internal,
        ErrorKind::Cancelled => Code::Cancelled,
    };
    Status::new(code, shortened(error.message))
}

fn shortened(message: String) -> String {
    if message.len() <= LONGEST_MESSAGE {
        return message;
    }
    let mut end = LONGEST_MESSAGE;
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &message[..end])
}

/// An internal error, as a status.
pub fn internal(error: impl std::fmt::Display) -> Status {
    status(Error::internal(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_cut_between_characters() {
        let status = status(Error::new(ErrorKind::Invalid, "é".repeat(5000)));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().len() <= LONGEST_MESSAGE + '…'.len_utf8());
        assert!(status.message().ends_with("é…"));
    }

    #[test]
    fn an_outcome_says_its_kind_and_rows() {
        let update = Outcome {
            tag: "INSERT 3".into(),
            rows: Some(3),
            notices: vec!["a \"b\"".into()],
        };
        let schema = update.schema();
        assert_eq!(schema.metadata[KIND_METADATA], "update");
        assert_eq!(schema.metadata[TAG_METADATA], "INSERT 3");
        assert_eq!(schema.metadata[ROWS_METADATA], "3");
        assert_eq!(schema.metadata[NOTICES_METADATA], r#"["a \"b\""]"#);
        let command = Outcome {
            tag: "DROP VIEW".into(),
            rows: None,
            notices: vec![],
        };
        assert_eq!(command.schema().metadata[KIND_METADATA], "command");
    }
}
