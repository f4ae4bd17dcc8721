//! Joins as data: on equal keys with what is left of the condition, and as of a place in an order.

use std::sync::Arc;

use datafusion::physical_expr::PhysicalExpr;
use serde::{Deserialize, Serialize};

use super::CloseSpec;

/// Kinds of join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinKind {
    /// Pairs only.
    Inner,
    /// Pairs, and left rows without partner with NULLs.
    Left,
    /// Pairs, and rows of either side without partner with NULLs.
    Full,
    /// Left rows that have a partner.
    Semi,
    /// Left rows that have none.
    Anti,
    /// Left rows, each with a BOOLEAN that says whether it has a partner.
    Mark,
}

impl JoinKind {
    /// Whether a row of the output has columns of both sides.
    pub fn pairs(self) -> bool {
        matches!(self, JoinKind::Inner | JoinKind::Left | JoinKind::Full)
    }

    /// Whether the output only grows where both inputs do.
    pub fn only_adds(self) -> bool {
        matches!(self, JoinKind::Inner | JoinKind::Semi)
    }
}

/// A join. Output: left columns, then right columns; of the kinds that give no pairs, left columns,
/// and with [`JoinKind::Mark`] the mark.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinSpec {
    /// Its kind.
    pub kind: JoinKind,
    /// Key columns of the left input. Empty: every pair meets (inputs go to one task).
    pub left_keys: Vec<usize>,
    /// Key columns of the right input, same types.
    pub right_keys: Vec<usize>,
    /// By key: NULL equals NULL (`IS NOT DISTINCT FROM`); else a NULL there meets nothing.
    pub null_equals_null: Vec<bool>,
    /// A condition on a pair, over left columns then right columns.
    pub residual: Option<Arc<dyn PhysicalExpr>>,
    /// Window join: a key position whose TIMESTAMP(6) lets both sides' state go when the watermark
    /// passes it.
    pub close: Option<CloseSpec>,
    /// Interval join: partners' event times lie near each other. Both inputs only add rows, and
    /// have the hidden watermark column behind all others, which is no part of the output.
    pub interval: Option<IntervalSpec>,
    /// Left rows meet the right rows that are there when they come, and later changes of those don't
    /// touch them ([`JoinKind::Inner`] and [`JoinKind::Left`] only).
    pub at_once: bool,
}

/// How near to each other the event times of an interval join's partners lie: the right one minus
/// the left one is from `from_us` to `to_us`. The condition itself is in the residual, or the times
/// are keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntervalSpec {
    /// TIMESTAMP(6) column of the left input.
    pub left_time: usize,
    /// TIMESTAMP(6) column of the right input.
    pub right_time: usize,
    /// Microseconds.
    pub from_us: i64,
    /// Microseconds, not less.
    pub to_us: i64,
    /// Allowed lateness, microseconds.
    pub lateness_us: i64,
}

/// Where the right row that a left one is joined with lies in some order, seen from the left one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nearest {
    /// The last one before it, or at the same place.
    AtOrBefore,
    /// The last one before it.
    Before,
    /// The first one behind it, or at the same place.
    AtOrAfter,
    /// The first one behind it.
    After,
}

/// An as-of join: each left row with the one right row of its key that is nearest to it. Of several
/// right rows at one place it is the first by their other columns, ascending, NULLs last. A NULL in
/// a key or place meets nothing. Output: left columns, then right columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AsOfSpec {
    /// Key columns of the left input. Empty: all rows have one key (inputs go to one task).
    pub left_keys: Vec<usize>,
    /// Key columns of the right input, same types.
    pub right_keys: Vec<usize>,
    /// Column of the left input by which it lies somewhere.
    pub left_order: usize,
    /// Column of the right input, same type.
    pub right_order: usize,
    /// Which right row it is.
    pub nearest: Nearest,
    /// Left rows without one are joined with NULLs.
    pub outer: bool,
    /// The right input is the records of an upsert relation, each of which is a version of its key's
    /// row: behind all other columns it has its split's watermark before the record, and a BOOLEAN
    /// that is true for a tombstone (whose row has only its key columns). Of several records at one
    /// place the last one counts. A tombstone counts from that watermark on, and not before the version
    /// that it ends.
    pub records: bool,
    /// Closing by the watermark, where the places are event times.
    pub close: Option<AsOfClose>,
}

/// What becomes of rows that event time has passed. Both inputs of such a join only add rows, and have
/// the hidden watermark column, the left one behind all others, the right one too but for a tombstone
/// column. Rows below it are late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsOfClose {
    /// True: emit each row once, when no other right row can be nearer. False: emit changes.
    pub emit_final: bool,
    /// Allowed lateness, microseconds.
    pub lateness_us: i64,
}
