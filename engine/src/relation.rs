//! Relations as the engine knows them: what a source, a table, a view and a sink are to run.
//!
//! `sql` makes these from statements and keeps the statements; the engine keeps none of it beyond
//! a process.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Fields, Schema, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;
use serde::{Deserialize, Serialize};
pub use weir_state::RelationId;

use crate::connector::{Bound, ConnectorSpec, Position, SplitId, Start};
use crate::format::{Encoding, Envelope};

/// Name of the hidden column that carries, for each row of a source, its split's watermark as
/// the rows before it left it (TIMESTAMP, null before the first).
pub const WATERMARK_COLUMN: &str = "weir_watermark";

/// What a METADATA column takes from a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metadata {
    /// The record's key: TEXT or BYTEA.
    Key,
    /// One header's last value: TEXT or BYTEA.
    Header(String),
    /// All headers: `MAP<TEXT, BYTEA>`.
    Headers,
    /// Topic or path: TEXT.
    Topic,
    /// Partition: INT.
    Partition,
    /// Offset: BIGINT.
    Offset,
    /// The record's timestamp: TIMESTAMP.
    Timestamp,
}

/// Where a declared column of a source comes from.
#[derive(Debug, Clone)]
pub enum ColumnOrigin {
    /// Decoded from the record's value.
    Value,
    /// Decoded from the record's key (`KEY ENCODE …`).
    Key,
    /// Taken from the record's surroundings.
    Metadata(Metadata),
    /// Computed from the columns before it (an expression over the declared schema).
    Generated(Arc<dyn PhysicalExpr>),
}

/// `WATERMARK FOR column AS expression`.
#[derive(Debug, Clone)]
pub struct WatermarkSpec {
    /// Index of the event-time column in the declared schema.
    pub column: usize,
    /// The bound that a row sets for the rows after it, over the declared schema; TIMESTAMP(6).
    pub bound: Arc<dyn PhysicalExpr>,
}

/// What happens to a record that can't be decoded, and to a row that a view can't compute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The views that read the source, or the view, fail; the record or row is named.
    #[default]
    Fail,
    /// It is counted, kept readable in `weir.errors`, and passed over.
    Skip,
}

/// A source, ready to run.
#[derive(Clone)]
pub struct SourceSpec {
    /// Its id.
    pub relation: RelationId,
    /// Its name, for errors and metrics.
    pub name: String,
    /// All declared columns in order.
    pub schema: SchemaRef,
    /// Origin of each declared column.
    pub origins: Vec<ColumnOrigin>,
    /// Columns declared NOT NULL (a null there is a bad record).
    pub not_null: Vec<usize>,
    /// Where bytes come from.
    pub connector: ConnectorSpec,
    /// What a record means.
    pub envelope: Envelope,
    /// How values are read.
    pub value_encoding: Encoding,
    /// How keys are read, where the columns need it.
    pub key_encoding: Option<Encoding>,
    /// UPSERT: the key columns, by index in the declared schema.
    pub key: Vec<usize>,
    /// Event time, if declared.
    pub watermark: Option<WatermarkSpec>,
    /// Start, resolved at CREATE SOURCE where the dialect says so.
    pub start: Start,
    /// End.
    pub bound: Bound,
    /// A split read to its end that stays quiet this long no longer holds the watermark, ms.
    pub idle_timeout_ms: u64,
    /// While history is read, a split whose event time is further ahead of the slowest than this waits,
    /// ms; `None`: none does.
    pub alignment_ms: Option<u64>,
    /// Policy for bad records.
    pub on_error: OnError,
}

impl SourceSpec {
    /// The columns decoded from record values, in declared order.
    pub fn value_schema(&self) -> SchemaRef {
        self.schema_of(|origin| matches!(origin, ColumnOrigin::Value))
    }

    /// The columns decoded from record keys, in declared order.
    pub fn key_schema(&self) -> SchemaRef {
        self.schema_of(|origin| matches!(origin, ColumnOrigin::Key))
    }

    fn schema_of(&self, is_of: impl Fn(&ColumnOrigin) -> bool) -> SchemaRef {
        let columns = self.schema.fields().iter().zip(&self.origins);
        let columns = columns.filter(|(_, origin)| is_of(origin));
        Arc::new(Schema::new(columns.map(|(field, _)| field.clone()).collect::<Fields>()))
    }
}

/// A table that DML changes.
#[derive(Debug, Clone)]
pub struct TableSpec {
    /// Its id.
    pub relation: RelationId,
    /// Its name.
    pub name: String,
    /// Its columns.
    pub schema: SchemaRef,
    /// Primary key columns by index; empty where none (then rows are a bag).
    pub key: Vec<usize>,
}

/// How a view's rows are stored for reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Storage {
    /// One row per key; the columns by index.
    Keyed(Vec<usize>),
    /// Whole rows with a count.
    Bag,
    /// The same, in the order of some columns by which they are looked up; by index.
    By(Vec<usize>),
    /// Append-only: chunks of rows, never changed.
    Append,
    /// Nothing is stored: only the changes matter (sinks, push queries).
    Changes,
}

/// How a stored relation is read.
#[derive(Debug, Clone)]
pub struct StoredRelation {
    /// Its id.
    pub relation: RelationId,
    /// Its columns.
    pub schema: SchemaRef,
    /// Its layout.
    pub storage: Storage,
}

impl Storage {
    /// The columns by which rows can be looked up, if there are any.
    pub fn look_up(&self) -> Option<&[usize]> {
        match self {
            Storage::Keyed(key) | Storage::By(key) => Some(key),
            Storage::Bag | Storage::Append | Storage::Changes => None,
        }
    }

    /// Of a relation with so many columns, those in the order in which whole rows with a count are stored.
    pub(crate) fn order(&self, columns: usize) -> Vec<usize> {
        let first = match self {
            Storage::By(key) => &key[..],
            _ => &[],
        };
        let rest = (0..columns).filter(|column| !first.contains(column));
        first.iter().copied().chain(rest).collect()
    }
}

impl StoredRelation {
    /// All its columns, as scans take them.
    pub fn all_columns(&self) -> Vec<usize> {
        (0..self.schema.fields().len()).collect()
    }
}

/// Options of a view that concern running it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewOptions {
    /// `pipeline = 'name'`: keep it in a pipeline of that name.
    pub pipeline: Option<String>,
    /// `changelog_limit`: bytes of changes that may wait for a client, in place of the engine's.
    pub changelog_limit_bytes: Option<u64>,
    /// `history`: how long the view can be read as it was.
    #[serde(default)]
    pub history_us: Option<i64>,
    /// `parallelism`: tasks that share the view's keys, if not all of the engine's.
    #[serde(default)]
    pub parallelism: Option<usize>,
    /// `on_error`: policy for rows of which something can't be computed.
    pub on_error: OnError,
}

/// A view or a sink's query, ready to run.
#[derive(Clone)]
pub struct ViewSpec {
    /// Its id.
    pub relation: RelationId,
    /// Its name.
    pub name: String,
    /// The query.
    pub graph: Arc<crate::graph::Graph>,
    /// Its rows' layout.
    pub storage: Storage,
    /// Options.
    pub options: ViewOptions,
}

/// Splits and positions fixed for a source at CREATE SOURCE.
pub type FixedStart = BTreeMap<SplitId, Position>;
