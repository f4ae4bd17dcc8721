//! Window functions, and which rows their values rest on.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::physical_expr::window::WindowExpr;

use super::{CloseSpec, OrderKey};

/// Window functions over partitions in order; ties are broken as in [`TopNSpec`](super::TopNSpec). Output: the
/// input's columns, then one for each call.
#[derive(Debug, Clone, PartialEq)]
pub struct OverSpec {
    /// Partition columns; empty for one partition.
    pub partition: Vec<usize>,
    /// Order.
    pub order: Vec<OrderKey>,
    /// The functions.
    pub calls: Vec<OverCall>,
    /// The partition's event time, where it has one.
    pub close: Option<CloseSpec>,
    /// The first key of the order is ascending event time and the input a gate on it that lets no
    /// more rows of a time out once it has let out some, and no call looks at all later rows. So rows
    /// only come behind those that are there, and each is emitted once, when its values are final.
    pub in_order: bool,
}

impl OverSpec {
    /// Which rows all values of a row together rest on.
    pub fn reach(&self) -> Reach {
        let reaches = self.calls.iter().map(|call| call.reach.clone());
        reaches.reduce(Reach::with).unwrap_or(Reach {
            before: Some(Far::rows(0)),
            behind: Some(Far::rows(0)),
        })
    }

    /// How far behind a row in order those are that it waits for, if it waits: its peers come with it.
    pub fn waits_for(&self) -> Option<Far> {
        let behind = self.reach().behind.filter(|_| self.in_order)?;
        behind.passes_peers().then_some(behind)
    }
}

/// A window function with its frame.
#[derive(Debug, Clone)]
pub struct OverCall {
    /// As SQL writes it, without OVER.
    pub text: String,
    /// What computes it over a whole partition in order: over the input's columns.
    pub function: Arc<dyn WindowExpr>,
    /// Type of the result.
    pub output_type: DataType,
    /// Which rows its value for a row rests on.
    pub reach: Reach,
}

impl PartialEq for OverCall {
    /// Window functions tell what they are only in their debugging form, which names all of it.
    fn eq(&self, other: &Self) -> bool {
        (&self.text, &self.output_type, &self.reach) == (&other.text, &other.output_type, &other.reach)
            && format!("{:?}", self.function) == format!("{:?}", other.function)
    }
}

/// How far before and behind a row those are that a value for it rests on; `None`: on all there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Before it.
    pub before: Option<Far>,
    /// Behind it.
    pub behind: Option<Far>,
}

/// A bounded reach to one side: as far as each of these goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Far {
    /// So many rows.
    pub rows: usize,
    /// The row's peers, and so many groups of peers more.
    pub groups: Option<usize>,
    /// Rows whose one column of the order is no more than this away. Adding it to a value of the column and
    /// taking it off again gives the value.
    pub range: Option<ScalarValue>,
}

impl Reach {
    /// All rows of the partition.
    pub const ALL: Self = Self {
        before: None,
        behind: None,
    };

    /// What two values rest on together.
    pub fn with(self, other: Self) -> Self {
        let further = |one: Option<Far>, other: Option<Far>| one?.with(other?);
        Self {
            before: further(self.before, other.before),
            behind: further(self.behind, other.behind),
        }
    }
}

impl Far {
    /// A number of rows.
    pub fn rows(rows: usize) -> Self {
        Self {
            rows,
            ..Self::default()
        }
    }

    /// A row's peers, and a number of groups more.
    pub fn groups(groups: usize) -> Self {
        Self {
            groups: Some(groups),
            ..Self::default()
        }
    }

    /// A distance in the order.
    pub fn range(distance: ScalarValue) -> Self {
        Self {
            range: Some(distance),
            ..Self::groups(0)
        }
    }

    /// Whether it goes further than to the row's peers.
    pub fn passes_peers(&self) -> bool {
        self.rows > 0 || self.groups > Some(0) || self.range.is_some()
    }

    /// The distance in the order, microseconds, if that is a length of time.
    pub fn range_us(&self) -> Option<i64> {
        let length_ns = self.range.as_ref().and_then(length_ns)?;
        i64::try_from(length_ns / 1000).ok()
    }

    /// As far as either goes; none if nobody knows which of two distances that is.
    fn with(self, other: Self) -> Option<Self> {
        let range = match (self.range, other.range) {
            (Some(one), Some(other)) => Some(match compare(&one, &other)? {
                Ordering::Less => other,
                _ => one,
            }),
            (one, other) => one.or(other),
        };
        Some(Self {
            rows: self.rows.max(other.rows),
            groups: self.groups.max(other.groups),
            range,
        })
    }
}

/// Which of two distances is longer. By its fields an interval of a day would be longer than one of 25 hours.
fn compare(one: &ScalarValue, other: &ScalarValue) -> Option<Ordering> {
    match (length_ns(one), length_ns(other)) {
        (Some(one), Some(other)) => Some(one.cmp(&other)),
        _ => one.partial_cmp(other),
    }
}

/// How long an interval without months is.
fn length_ns(value: &ScalarValue) -> Option<i128> {
    match value {
        ScalarValue::IntervalMonthDayNano(Some(interval)) if interval.months == 0 => {
            Some(i128::from(interval.days) * 86_400_000_000_000 + i128::from(interval.nanoseconds))
        }
        _ => None,
    }
}
