//! What the oracle draws: relations, views and what happens, in numbers that mean something whatever
//! they are.
//!
//! A number stands for a choice among what there is at that place (a column, a value, a relation),
//! by its remainder. So every case makes sense, also one of which proptest has taken a part away,
//! and a failure shrinks to the few statements that it needs. (`draw.rs` says how often what is drawn.)

use weir_suite::rig::Settings;
use weir_suite::stepped::Pace;

/// A whole case.
#[derive(Debug, Clone)]
pub struct Case {
    pub relations: Vec<Relation>,
    pub views: Vec<View>,
    pub actions: Vec<Action>,
    /// Event times are out of order by more than watermarks wait for.
    pub is_wild: bool,
    /// Rows tell after how many actions they came.
    pub tells_arrival: bool,
    pub run: Run,
}

/// A table, or a source over a topic.
#[derive(Debug, Clone)]
pub struct Relation {
    pub origin: Origin,
    /// A kind for each column behind the first, which counts the rows.
    pub kinds: Vec<Kind>,
    /// A source with a watermark for its first time, where it has one.
    pub watermark: bool,
}

impl Relation {
    /// The column of event time.
    pub fn event_time(&self) -> Option<usize> {
        let time = self.kinds.iter().position(|kind| *kind == Kind::Time)?;
        (self.watermark && !self.is_table()).then_some(1 + time)
    }

    /// Whether statements change it, and no records.
    pub fn is_table(&self) -> bool {
        matches!(self.origin, Origin::KeyedTable | Origin::Table)
    }

    /// Partitions of a source's topic.
    pub fn partitions(&self) -> usize {
        1 + self.kinds.len() % 2
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Origin {
    KeyedTable,
    Table,
    Source,
    /// A source whose records replace each other by their key.
    Upsert,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Int,
    Small,
    Short,
    Unsigned,
    Text,
    Decimal,
    Float,
    Real,
    Bool,
    Date,
    /// TIMESTAMP.
    Time,
    /// TIMESTAMPTZ.
    Moment,
    /// TIME.
    Clock,
    Span,
    Uuid,
    Bytes,
    Json,
    List,
    Struct,
}

/// A view: a relation or an earlier view, and what is done to it.
#[derive(Debug, Clone)]
pub struct View {
    pub base: u8,
    pub steps: Vec<Step>,
    /// It is created before the action of this number.
    pub at: u8,
    /// In a pipeline of its own.
    pub apart: bool,
    /// Where its base has event time: instead of the steps, something that is closed by the watermark.
    pub closing: Option<Closing>,
    /// Where rows tell when they came: instead of the steps, a join of a relation with what is there then.
    pub meeting: Option<Meeting>,
}

/// A join FOR SYSTEM_TIME AS OF PROCTIME().
#[derive(Debug, Clone)]
pub struct Meeting {
    pub other: u8,
    pub on: (u8, u8),
    pub compare: u8,
    pub outer: bool,
    pub residual: Option<(u8, u8, u8)>,
}

/// What is closed by the watermark.
#[derive(Debug, Clone)]
pub struct Closing {
    pub kind: u8,
    pub number: u8,
    /// What is computed of groups.
    pub call: Call,
    /// Of a filter or a bound.
    pub value: u8,
    /// It also closes by the clock.
    pub timeout: bool,
}

/// One thing done to rows.
#[derive(Debug, Clone)]
pub enum Step {
    Filter {
        column: u8,
        test: u8,
        value: u8,
    },
    Project {
        columns: Vec<(u8, u8)>,
    },
    Group {
        keys: Vec<u8>,
        sets: Option<Sets>,
        calls: Vec<Call>,
        having: Option<u8>,
    },
    Distinct,
    Join {
        other: u8,
        kind: u8,
        on: (u8, u8),
        /// How the two columns are compared.
        compare: u8,
        residual: Option<(u8, u8, u8)>,
    },
    /// ASOF JOIN.
    AsOf {
        other: u8,
        on: (u8, u8),
        /// The columns that say which row is nearest, and how they are compared.
        by: (u8, u8),
        compare: u8,
        outer: bool,
    },
    /// A subquery over another relation, in WHERE, in the SELECT list or beside the rows.
    Subquery {
        other: u8,
        form: u8,
        columns: (u8, u8),
        /// A column of each that is equal.
        correlated: Option<(u8, u8)>,
        negated: bool,
    },
    /// A subquery in a subquery that looks out over both.
    Nested {
        relations: (u8, u8),
        form: u8,
        columns: (u8, u8),
        outer: (u8, u8),
        middle: Option<(u8, u8)>,
    },
    /// Rows of two values.
    Rows {
        other: u8,
        form: u8,
        pair: ((u8, u8), (u8, u8)),
        correlated: Option<(u8, u8)>,
        negated: bool,
    },
    /// INTERSECT, EXCEPT or UNION with another relation.
    Set {
        other: u8,
        operator: u8,
    },
    /// Rows that stand in the query, put beside others or among them.
    Constants {
        column: u8,
        among: bool,
        values: Vec<u8>,
    },
    First {
        partition: Vec<u8>,
        order: Vec<(u8, bool, bool)>,
        rows: u8,
        number: bool,
        /// Rows are numbered, or ranked; and whether some are passed over.
        by: u8,
    },
    Over {
        calls: Vec<Over>,
        partition: Vec<u8>,
        order: Vec<(u8, bool, bool)>,
        /// All other columns break ties in so many words.
        is_total: bool,
        filter: Option<(u8, u8, u8)>,
    },
    /// DISTINCT ON.
    FirstOn {
        on: Vec<u8>,
        order: Vec<(u8, bool, bool)>,
    },
    Window {
        column: u8,
        size: u8,
        slide: u8,
    },
    Sessions(Sessions),
    /// A value that is made once for each row. What it is nobody knows, but something of it.
    Drawn {
        form: u8,
    },
    Union {
        other: u8,
    },
    /// A row for each element of an array.
    Unnest {
        columns: Vec<u8>,
        form: u8,
    },
    /// WITH RECURSIVE.
    Recursive {
        ends: (u8, u8),
        form: u8,
    },
    /// now() in a filter.
    Now {
        column: u8,
        form: u8,
    },
}

/// More than one grouping in one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sets {
    Rollup,
    Cube,
    Listed,
    Mixed,
}

/// What is said of sessions, or of parts of them.
#[derive(Debug, Clone)]
pub struct Sessions {
    pub column: u8,
    pub gap: u8,
    pub partition: Vec<u8>,
    /// Which bounds and which other columns are grouped by.
    pub keys: u8,
    pub calls: Vec<Call>,
    pub having: Option<u8>,
    /// A condition below the sessions, on their rows, or on what is said of them.
    pub filter: Option<(u8, u8, u8, u8)>,
}

/// An aggregate.
#[derive(Debug, Clone)]
pub struct Call {
    pub function: u8,
    pub column: u8,
    /// Another column, and how it is used.
    pub other: u8,
    pub distinct: bool,
    pub filter: Option<(u8, u8)>,
}

/// A window function.
#[derive(Debug, Clone)]
pub struct Over {
    pub function: u8,
    pub column: u8,
    pub frame: u8,
    pub bounds: (u8, u8),
    pub nulls: bool,
}

/// Something that happens.
#[derive(Debug, Clone)]
pub enum Action {
    /// Rows for a relation, a number for each column.
    Insert {
        relation: u8,
        rows: Vec<Vec<u8>>,
    },
    Delete {
        relation: u8,
        column: u8,
        value: u8,
    },
    Update {
        relation: u8,
        column: u8,
        value: u8,
        to: (u8, u8),
    },
    /// INSERT … ON CONFLICT.
    Conflict {
        relation: u8,
        rows: Vec<Vec<u8>>,
        form: u8,
    },
    /// UPDATE … FROM or DELETE … USING another table.
    Matched {
        relation: u8,
        other: u8,
        columns: (u8, u8),
        to: (u8, u8),
    },
    /// INSERT … SELECT.
    Copy {
        relation: u8,
        other: u8,
        column: u8,
        value: u8,
    },
    /// Several changes as one commit, or as none.
    Together {
        actions: Vec<Action>,
        rolled_back: bool,
    },
    /// Nothing comes of a source for a while.
    Idle {
        relation: u8,
    },
    Verify,
    Crash,
    Restart {
        tasks: u8,
    },
}

/// How it is run.
#[derive(Debug, Clone)]
pub struct Run {
    pub tasks: u8,
    pub step_rows: u8,
    pub budget: Option<u8>,
    pub quick: bool,
    pub lives: Vec<u8>,
    /// Draws the rest where it goes by hand.
    pub course: u16,
}

impl Run {
    /// By hand.
    pub fn pace(&self) -> Pace {
        Pace {
            tasks: 1 + usize::from(self.tasks % 3),
            step_rows: [50_000, 1, 2, 5][usize::from(self.step_rows % 4)],
            entry_budget: self.budget.map(|budget| 1 + usize::from(budget % 4)),
            seed: u64::from(self.course),
        }
    }

    /// In an instance.
    pub fn settings(&self) -> Settings {
        Settings {
            tasks: 1 + usize::from(self.tasks % 3),
            step_rows: [50_000, 1, 2, 5][usize::from(self.step_rows % 4)],
            entry_budget: self.budget.map(|budget| 1 + usize::from(budget % 4)),
            checkpoint_interval: std::time::Duration::from_millis(if self.quick { 1 } else { 500 }),
            lives: self.lives.iter().map(|life| 2 + u64::from(*life) % 40).collect(),
            // A case that hangs is run again and again to shrink it.
            patience: std::time::Duration::from_secs(20),
            ..Settings::default()
        }
    }
}
