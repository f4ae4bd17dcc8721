//! How views stand, and the rows of `weir.pipelines`, `weir.lag` and `weir.operators` as data.

use serde::{Deserialize, Serialize};
use weir_state::{Epoch, PipelineId, RelationId};

/// How a view stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ViewState {
    /// Loads what it reads, or reads its sources' history; `progress` says how far.
    Attaching {
        /// In words: `1,200,000 records behind`.
        progress: String,
    },
    /// Kept up to date.
    Running,
    /// Stopped by PAUSE, at its last epoch.
    Paused,
    /// Stopped by an error, at its last epoch.
    Failed {
        /// What happened.
        cause: String,
        /// It will be tried again after this many milliseconds; `None`: it waits for RESUME.
        retry_in_ms: Option<u64>,
    },
    /// It reads a view that is paused or failed.
    Waiting {
        /// That view's name.
        on: String,
    },
}

impl ViewState {
    /// The state's word, as shown in `weir.pipelines`.
    pub fn word(&self) -> &'static str {
        match self {
            ViewState::Attaching { .. } => "ATTACHING",
            ViewState::Running => "RUNNING",
            ViewState::Paused => "PAUSED",
            ViewState::Failed { .. } => "FAILED",
            ViewState::Waiting { .. } => "WAITING",
        }
    }
}

/// A view or sink in its pipeline: one row of `weir.pipelines`.
#[derive(Debug, Clone)]
pub struct PipelineRow {
    /// Its pipeline; `None` while it is stopped.
    pub pipeline: Option<PipelineId>,
    /// The view.
    pub view: RelationId,
    /// Its name.
    pub name: String,
    /// How it stands.
    pub state: ViewState,
    /// Its last committed epoch.
    pub epoch: Epoch,
    /// All its inputs were bounded, have ended, and are in that epoch: nothing more will change it.
    pub ended: bool,
    /// Its result's watermark, microseconds.
    pub watermark_us: Option<i64>,
    /// The relations that hold it back: others that they meet in the view are further.
    pub waits_for: Vec<RelationId>,
    /// When it last took in a row or committed, microseconds since the epoch.
    pub last_progress_us: i64,
    /// A source's trouble that does not stop it, but keeps it waiting.
    pub trouble: Option<String>,
}

/// A split in a pipeline: one row of `weir.lag`.
#[derive(Debug, Clone)]
pub struct LagRow {
    /// The pipeline.
    pub pipeline: PipelineId,
    /// The source.
    pub source: RelationId,
    /// Its name.
    pub name: String,
    /// The split.
    pub split: String,
    /// Committed position.
    pub position: i64,
    /// Known end.
    pub end: Option<i64>,
    /// What position and end count: `records`, or `bytes` of a file.
    pub unit: &'static str,
    /// The split's watermark, microseconds.
    pub watermark_us: Option<i64>,
    /// How far the watermark is behind the clock, seconds.
    pub lag_seconds: Option<f64>,
    /// It waits for other splits, which are behind in event time.
    pub waits: bool,
    /// It is read to its end, and quiet for `idle_timeout`: it holds no watermark back.
    pub idle: bool,
    /// Records taken from the split since start.
    pub rows: u64,
    /// Of these, bad ones that were passed over.
    pub skipped: u64,
}

/// A node of a running view: one row of `weir.operators`.
#[derive(Debug, Clone)]
pub struct OperatorRow {
    /// The view.
    pub view: RelationId,
    /// Its name.
    pub name: String,
    /// The node's number in EXPLAIN.
    pub node: u32,
    /// What it is.
    pub operator: &'static str,
    /// Rows in, since start.
    pub rows_in: u64,
    /// Rows out, since start.
    pub rows_out: u64,
    /// Rows left out since start, because something of them can't be computed.
    pub skipped: u64,
    /// Late rows applied.
    pub late_applied: u64,
    /// Late rows dropped.
    pub late_dropped: u64,
    /// Rows without event time.
    pub without_event_time: u64,
    /// Bytes of state in memory, about.
    pub state_bytes: u64,
    /// Entries of state in memory.
    pub state_entries: u64,
    /// Time spent, microseconds, over all tasks.
    pub busy_us: u64,
}
