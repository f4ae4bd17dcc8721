//! Edges of the engine: where records come from and where changes go.
//!
//! A source is a set of *splits* (Kafka partitions, files) addressed by *position*. A reader gives
//! the records of a split in order, each with its position, so that a read can be cut at any
//! position and repeated from any position. Formats turn the bytes into rows and know nothing of
//! where they came from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{BinaryArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};
pub use weir_state::pipelines::Mark;

use crate::change::ChangeBatch;
use crate::near::nearest;
use crate::{Error, Result};

pub mod blackhole;
#[cfg(test)]
pub mod conformance;
pub mod datagen;
pub mod file;
mod generated;
pub mod kafka;
pub mod memory;
pub mod nexmark;
pub mod print;

/// Name of a split, stable over restarts: `topic:partition`, a file's path, `0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SplitId(pub Arc<str>);

impl fmt::Display for SplitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The next place to read in a split: a Kafka offset, a byte offset of a file, a row number.
pub type Position = i64;

/// Positions by split.
pub type Positions = BTreeMap<SplitId, Position>;

/// By what splits are known again that may be changed where they were read.
pub type Marks = BTreeMap<SplitId, Mark>;

/// A split and what METADATA columns say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Its stable name.
    pub id: SplitId,
    /// Kafka topic or file path.
    pub topic: Arc<str>,
    /// Kafka partition, 0 elsewhere.
    pub partition: i32,
}

/// A record's headers, in their order: a name may come again.
pub type Headers = Vec<(String, Option<Vec<u8>>)>;

/// Raw records of one split, in order; all columns have the same length.
#[derive(Debug, Clone)]
pub struct Records {
    /// Record keys, null where a record has none.
    pub keys: BinaryArray,
    /// Record values; null is a tombstone.
    pub values: BinaryArray,
    /// Position of each record, rising, not always without gaps.
    pub positions: Vec<Position>,
    /// Record timestamps, milliseconds since the epoch; -1 where unknown.
    pub timestamps_ms: Vec<i64>,
    /// Headers of each record in order, only when the reader was asked for them.
    pub headers: Option<Vec<Headers>>,
}

/// What a read of a split gave.
#[derive(Debug, Clone)]
pub enum Payload {
    /// Bytes, for a format to decode.
    Records(Records),
    /// Columns made by a generator: the columns asked for, row `i` at position `first + i`.
    Rows {
        /// Position of the first row.
        first: Position,
        /// The rows.
        rows: RecordBatch,
        /// How many events they are a part of: the rows themselves, or with those of other kinds
        /// that a generator deals to other sources.
        events: usize,
    },
}

impl Payload {
    /// Number of records.
    pub fn len(&self) -> usize {
        match self {
            Payload::Records(records) => records.positions.len(),
            Payload::Rows { rows, .. } => rows.num_rows(),
        }
    }

    /// True where there is no record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it counts for in a step, of which it takes its share whether it has rows or not.
    pub fn events(&self) -> usize {
        match self {
            Payload::Records(records) => records.positions.len(),
            Payload::Rows { events, .. } => *events,
        }
    }

    /// Position of record `i`.
    pub fn position(&self, i: usize) -> Position {
        match self {
            Payload::Records(records) => records.positions[i],
            Payload::Rows { first, .. } => first + i as i64,
        }
    }

    /// Records `offset .. offset + len`, without copying bytes.
    pub fn slice(&self, offset: usize, len: usize) -> Payload {
        match self {
            Payload::Records(r) => Payload::Records(Records {
                keys: r.keys.slice(offset, len),
                values: r.values.slice(offset, len),
                positions: r.positions[offset..offset + len].to_vec(),
                timestamps_ms: r.timestamps_ms[offset..offset + len].to_vec(),
                headers: r.headers.as_ref().map(|h| h[offset..offset + len].to_vec()),
            }),
            Payload::Rows { first, rows, events } => Payload::Rows {
                first: first + offset as i64,
                rows: rows.slice(offset, len),
                events: events * len / rows.num_rows().max(1),
            },
        }
    }
}

/// One read of one split.
#[derive(Debug, Clone)]
pub struct SplitRead {
    /// Which split.
    pub split: Split,
    /// What was read; may be empty (then `next`, `ended` and `at_end` are the news).
    pub payload: Payload,
    /// Where the next read goes on.
    pub next: Position,
    /// By what the split is known again, if it may be changed.
    pub mark: Option<Mark>,
    /// True when the split is read to its present end (its clock for idleness may run).
    pub at_end: bool,
    /// True when a bounded split has given its last record.
    pub ended: bool,
}

/// Where a source begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// The oldest record still there, looked up at each attach.
    Earliest,
    /// The end at CREATE SOURCE.
    Latest,
    /// The first record at or after this time, milliseconds since the epoch.
    Timestamp(i64),
    /// Named positions; splits not named begin at their oldest record.
    Offsets(BTreeMap<SplitId, Position>),
    /// The committed offsets of the consumer group.
    Group,
}

/// Where a source ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Never.
    Unbounded,
    /// At the end found when the source was created.
    Latest,
    /// At the first record at or after this time, milliseconds since the epoch.
    Timestamp(i64),
    /// At these positions (exclusive).
    Offsets(BTreeMap<SplitId, Position>),
}

/// What a reader must deliver besides values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Record keys are used.
    pub keys: bool,
    /// Headers are used.
    pub headers: bool,
    /// For connectors that make columns: which ones, in the order of the schema asked for.
    pub columns: Option<SchemaRef>,
}

/// A configured source: finds splits, resolves positions, opens readers. Cheap to keep.
pub trait SourceConnector: Send + Sync {
    /// The splits that exist now. May block up to a few seconds; errors name the place.
    fn splits(&self) -> Result<Vec<Split>>;

    /// The same, asked no longer than about `patience`: for a word on how the source stands.
    fn look(&self, patience: Duration) -> Result<Vec<Split>> {
        let _ = patience;
        self.splits()
    }

    /// Positions for a start mode, for the splits that exist now.
    fn resolve(&self, start: &Start) -> Result<Positions>;

    /// End positions (exclusive) for a bound, for the splits that exist now; `None` if unbounded.
    fn resolve_bound(&self, bound: &Bound) -> Result<Option<Positions>>;

    /// Opens a reader at `from`. Splits found later (new partitions, new files) begin at their
    /// oldest record and are reported by reads. `until` ends each named split.
    fn open(&self, from: &Positions, until: Option<&Positions>, wanted: &Wanted) -> Result<Box<dyn SourceReader>>;

    /// The source without splits that have been read to their end, if it makes a difference to it that nothing is
    /// asked of these any more: they may be gone.
    fn without(&self, ended: &BTreeSet<SplitId>) -> Option<Arc<dyn SourceConnector>> {
        let _ = ended;
        None
    }

    /// Checks that splits hold what was read of them before.
    ///
    /// # Errors
    /// If one doesn't, or can't be read.
    fn recognise(&self, marks: &Marks) -> Result<()> {
        let _ = marks;
        Ok(())
    }

    /// Whether records carry columns already (`Payload::Rows`), so that no format is used.
    fn makes_rows(&self) -> bool {
        false
    }

    /// Whether its readers can hold splits back.
    fn holds(&self) -> bool {
        false
    }
}

/// An open reader. Used by one thread.
pub trait SourceReader: Send {
    /// Waits up to `timeout` for records and returns at most about `max_rows` of them. Records of
    /// one split come in order over all calls. An error that may pass (broker away) is returned
    /// once per call and the reader stays usable; nothing is lost by calling again.
    fn read(&mut self, max_rows: usize, timeout: Duration) -> Result<Vec<SplitRead>>;

    /// Known end positions (exclusive) of the splits, for lag.
    fn ends(&mut self) -> Positions;

    /// Gives no more of these splits, and goes on with those held before that are not among them.
    /// What was read ahead of them may still come.
    fn hold(&mut self, splits: &BTreeSet<SplitId>) {
        let _ = splits;
    }

    /// Told after a checkpoint: positions that are durable. Kafka commits them to the group.
    fn committed(&mut self, positions: &Positions) {
        let _ = positions;
    }
}

/// How to reach a source's data: connector name and its options, as given in `WITH (…)`, with
/// connection properties resolved. Values of secrets are already filled in; they are not among what
/// is shown of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectorSpec {
    /// `kafka`, `file`, `datagen`, `nexmark`, `memory`, `blackhole`, `print`.
    pub connector: String,
    /// Options of the connector, lower-case keys.
    pub options: BTreeMap<String, String>,
}

impl fmt::Debug for ConnectorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |(name, value): (&'_ String, &'_ String)| match is_secret(name) {
            true => (name.clone(), "****".to_string()),
            false => (name.clone(), value.clone()),
        };
        let options: BTreeMap<String, String> = self.options.iter().map(shown).collect();
        f.debug_struct("ConnectorSpec")
            .field("connector", &self.connector)
            .field("options", &options)
            .finish()
    }
}

/// Whether the value of an option of this name (`properties.sasl.password`) must not be shown:
/// passwords, tokens and keys themselves. Where they can be found, as a file or an address, is no secret.
pub fn is_secret(option: &str) -> bool {
    const PARTS: [&str; 7] = [
        "password",
        "passphrase",
        "secret",
        "token",
        "key.pem",
        "jaas",
        "oauthbearer.config",
    ];
    const PLACES: [&str; 4] = [".location", ".file", ".url", ".path"];
    let Some(name) = option.strip_prefix("properties.") else {
        return false;
    };
    PARTS.iter().any(|part| name.contains(part)) && !PLACES.iter().any(|place| name.ends_with(place))
}

/// Makes a source connector. Options that no connector knows are an error naming the known ones.
/// `declared` are the physical (non-metadata, non-generated) columns.
pub fn source(spec: &ConnectorSpec, declared: &SchemaRef) -> Result<Arc<dyn SourceConnector>> {
    match spec.connector.as_str() {
        "kafka" => kafka::source(spec),
        "file" => file::source(spec),
        "datagen" => datagen::source(spec, declared),
        "nexmark" => nexmark::source(spec, declared),
        "memory" => memory::source(spec),
        other => Err(unknown_connector(other, "source", &SOURCES)),
    }
}

/// Connectors that read, and those that write.
pub const SOURCES: [&str; 4] = ["kafka", "file", "datagen", "nexmark"];
pub const SINKS: [&str; 4] = ["kafka", "file", "print", "blackhole"];

fn unknown_connector(name: &str, role: &str, known: &[&str]) -> Error {
    let hint = nearest(name, known.iter().copied()).map(|near| format!("did you mean '{near}'? "));
    let known = known.iter().map(|known| format!("'{known}'")).collect::<Vec<_>>();
    Error::Config(format!(
        "unknown {role} connector '{name}'; {}there are {}",
        hint.unwrap_or_default(),
        known.join(", ")
    ))
}

/// Refuses a sink whose connector nobody knows, before what it is to deliver is looked at.
pub fn check_sink_name(connector: &str) -> Result<()> {
    match SINKS.contains(&connector) {
        true => Ok(()),
        false => Err(unknown_connector(connector, "sink", &SINKS)),
    }
}

/// Checks positions that a user has named: each is of a split that exists, and lies in it, not
/// beyond its end where `ends` are given. `noun` is what the connector calls a split.
fn check_named(named: &Positions, splits: &[Split], ends: Option<&Positions>, noun: &str) -> Result<()> {
    for (id, position) in named {
        if !splits.iter().any(|split| split.id == *id) {
            let known: Vec<&str> = splits.iter().map(|split| &*split.id.0).collect();
            return Err(Error::Config(format!(
                "there is no {noun} '{id}'; there are {}",
                known.join(", ")
            )));
        }
        if *position < 0 {
            return Err(Error::Config(format!("offset {position} of '{id}' is below zero")));
        }
        if let Some(end) = ends.and_then(|ends| ends.get(id)).filter(|end| position > *end) {
            return Err(Error::Config(format!(
                "offset {position} of '{id}' lies beyond its end, which is {end}: nothing is there to begin with"
            )));
        }
    }
    Ok(())
}

/// What positions of a connector's splits count: `records`, or `bytes`.
pub fn position_unit(spec: &ConnectorSpec) -> &'static str {
    match spec.connector.as_str() {
        "file" => "bytes",
        _ => "records",
    }
}

/// Delivers a relation's changes outside. Used by one thread, epoch after epoch.
pub trait SinkConnector: Send {
    /// Delivers the changes of the epochs after the last delivered one, up to and including
    /// `epoch`, and returns when they are safely there. The changes are those of one epoch after
    /// the other, within each the deletes first. A repeat of the same epochs, with more behind
    /// them, must be harmless for an upsert sink and at most duplicates for an append sink
    /// (at-least-once).
    fn deliver(&mut self, epoch: u64, changes: &[ChangeBatch]) -> Result<()>;

    /// Rows delivered since opening.
    fn rows_delivered(&self) -> u64;

    /// Deletes left out since opening, because the sink only appends (`force_append_only`).
    fn deletes_dropped(&self) -> u64 {
        0
    }
}

/// True for sinks that keep nothing outside and wait for nobody: they are given changes as they are
/// committed, by the thread that commits, and nothing is logged for redelivery.
pub fn is_volatile(spec: &ConnectorSpec) -> bool {
    spec.connector == "blackhole"
}

/// True for sinks that take each change with its weight, whatever the format: deletes too.
pub fn takes_weights(spec: &ConnectorSpec) -> bool {
    matches!(spec.connector.as_str(), "blackhole" | "print")
}

/// What a sink needs to know of the rows it gets.
#[derive(Debug, Clone)]
pub struct SinkSpec {
    /// The sink's name, for errors.
    pub name: String,
    /// Connector and its options.
    pub connector: ConnectorSpec,
    /// How rows become bytes.
    pub format: crate::format::SinkFormat,
    /// The rows' schema.
    pub schema: SchemaRef,
    /// Columns of the key (`key = '…'`), by index; empty where none.
    pub key: Vec<usize>,
}

/// Checks where a sink that is to be created would write: a file must be its own from the beginning.
/// `others` are the sinks that there are. Nothing is changed there.
pub fn check_place(spec: &SinkSpec, others: &[SinkSpec]) -> Result<()> {
    match spec.connector.connector.as_str() {
        "file" => file::check_place(spec, others),
        _ => Ok(()),
    }
}

/// Makes a sink connector.
pub fn sink(spec: &SinkSpec) -> Result<Box<dyn SinkConnector>> {
    match spec.connector.connector.as_str() {
        "kafka" => kafka::sink(spec),
        "file" => file::sink(spec),
        "blackhole" => blackhole::sink(spec),
        "print" => print::sink(spec),
        other => Err(unknown_connector(other, "sink", &SINKS)),
    }
}
