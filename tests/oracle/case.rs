//! What the oracle draws: relations, views and what happens, in numbers that mean something whatever
//! they are.
//!
//! A number stands for a choice among what there is at that place (a column, a value, a relation),
//! by its remainder. So every case makes sense, also one of which proptest has taken a part away,
//! and a failure shrinks to the few statements that it needs.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use weir_suite::rig::Settings;
use weir_suite::stepped::Pace;

/// A whole case.
#[derive(Debug, Clone)]
pub struct Case {
    pub relations: Vec<Relation>,
    pub views: Vec<View>,
    pub actions: Vec<Action>,
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
        (self.watermark && self.origin == Origin::Source).then_some(1 + time)
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
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Int,
    Small,
    Unsigned,
    Text,
    Decimal,
    Float,
    Bool,
    Date,
    Time,
    Span,
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
    /// Where its base has event time: instead of the steps, something that is closed by the watermark, of which kind
    /// and which.
    pub closing: Option<(u8, u8)>,
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

/// All cases.
pub fn cases() -> impl Strategy<Value = Case> {
    let relations = vec(relation(), 1..4);
    let views = vec(view(), 1..5);
    let actions = vec(action(), 1..14);
    (relations, views, actions, how()).prop_map(|(relations, views, actions, run)| Case {
        relations,
        views,
        actions,
        run,
    })
}

/// Cases of sources with event time and of what they give together, while some of them are idle.
pub fn timed_cases() -> impl Strategy<Value = Case> {
    let kind = prop_oneof![2 => Just(Kind::Int), 2 => Just(Kind::Text), 1 => Just(Kind::Time), 1 => Just(Kind::Float)];
    let relation = vec(kind, 0..3).prop_map(|mut kinds| {
        kinds.push(Kind::Time);
        Relation {
            origin: Origin::Source,
            kinds,
            watermark: true,
        }
    });
    let view = (any::<u8>(), 0u8..8, prop::bool::weighted(0.15), any::<(u8, u8)>());
    let view = view.prop_map(|(base, at, apart, (kind, number))| View {
        base,
        steps: Vec::new(),
        at,
        apart,
        closing: Some((kind | 1, number)),
    });
    let action = prop_oneof![
        8 => (any::<u8>(), vec(vec(any::<u8>(), 5), 1..5)).prop_map(|(relation, rows)| Action::Insert { relation, rows }),
        3 => any::<u8>().prop_map(|relation| Action::Idle { relation }),
        1 => Just(Action::Verify),
        1 => Just(Action::Crash),
        1 => (0u8..3).prop_map(|tasks| Action::Restart { tasks }),
    ];
    (vec(relation, 1..3), vec(view, 1..4), vec(action, 2..16), how()).prop_map(|(relations, views, actions, run)| {
        Case {
            relations,
            views,
            actions,
            run,
        }
    })
}

fn relation() -> impl Strategy<Value = Relation> {
    let origin = prop_oneof![
        2 => Just(Origin::KeyedTable),
        2 => Just(Origin::Table),
        1 => Just(Origin::Source)
    ];
    let kind = prop_oneof![
        5 => Just(Kind::Int),
        4 => Just(Kind::Text),
        3 => Just(Kind::Time),
        2 => Just(Kind::Decimal),
        2 => Just(Kind::Float),
        1 => Just(Kind::Small),
        1 => Just(Kind::Unsigned),
        1 => Just(Kind::Bool),
        1 => Just(Kind::Date)
    ];
    (origin, vec(kind, 1..5), prop::bool::weighted(0.7)).prop_map(|(origin, mut kinds, watermark)| {
        if origin == Origin::Source {
            // Records have no lengths of time.
            kinds
                .iter_mut()
                .filter(|kind| **kind == Kind::Span)
                .for_each(|kind| *kind = Kind::Time);
        }
        Relation {
            origin,
            kinds,
            watermark,
        }
    })
}

fn view() -> impl Strategy<Value = View> {
    let closing = option::weighted(0.2, any::<(u8, u8)>());
    let drawn = (
        any::<u8>(),
        vec(step(), 0..4),
        0u8..8,
        prop::bool::weighted(0.15),
        closing,
    );
    drawn.prop_map(|(base, steps, at, apart, closing)| View {
        base,
        steps,
        at,
        apart,
        closing,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let call = (
        any::<u8>(),
        any::<(u8, u8)>(),
        prop::bool::weighted(0.25),
        option::weighted(0.25, any::<(u8, u8)>()),
    );
    let call = call.prop_map(|(function, (column, other), distinct, filter)| Call {
        function,
        column,
        other,
        distinct,
        filter,
    });
    prop_oneof![
        2 => any::<(u8, u8, u8)>().prop_map(|(column, test, value)| Step::Filter { column, test, value }),
        2 => vec(any::<(u8, u8)>(), 1..4).prop_map(|columns| Step::Project { columns }),
        4 => (vec(any::<u8>(), 0..3), option::weighted(0.15, sets()), vec(call, 1..4), option::weighted(0.2, any::<u8>()))
            .prop_map(|(keys, sets, calls, having)| Step::Group { keys, sets, calls, having }),
        1 => Just(Step::Distinct),
        5 => (any::<(u8, u8, u8)>(), any::<(u8, u8)>(), option::weighted(0.3, any::<(u8, u8, u8)>()))
            .prop_map(|((other, kind, compare), on, residual)| Step::Join { other, kind, on, compare, residual }),
        2 => (any::<(u8, u8)>(), any::<(u8, u8)>(), any::<(u8, u8)>(), any::<bool>())
            .prop_map(|((other, compare), on, by, outer)| Step::AsOf { other, on, by, compare, outer }),
        4 => (any::<(u8, u8)>(), any::<(u8, u8)>(), option::weighted(0.6, any::<(u8, u8)>()), any::<bool>())
            .prop_map(|((other, form), columns, correlated, negated)| {
                Step::Subquery { other, form, columns, correlated, negated }
            }),
        3 => (any::<(u8, u8)>(), any::<u8>(), any::<(u8, u8)>(), any::<(u8, u8)>(), option::weighted(0.6, any::<(u8, u8)>()))
            .prop_map(|(relations, form, columns, outer, middle)| {
                Step::Nested { relations, form, columns, outer, middle }
            }),
        2 => (any::<(u8, u8)>(), any::<((u8, u8), (u8, u8))>(), option::weighted(0.4, any::<(u8, u8)>()), any::<bool>())
            .prop_map(|((other, form), pair, correlated, negated)| {
                Step::Rows { other, form, pair, correlated, negated }
            }),
        2 => any::<(u8, u8)>().prop_map(|(other, operator)| Step::Set { other, operator }),
        1 => (any::<u8>(), any::<bool>(), vec(any::<u8>(), 1..4))
            .prop_map(|(column, among, values)| Step::Constants { column, among, values }),
        2 => (vec(any::<u8>(), 0..2), vec(any::<(u8, bool, bool)>(), 0..3), 0u8..4, any::<bool>(), 0u8..8)
            .prop_map(|(partition, order, rows, number, by)| Step::First { partition, order, rows, number, by }),
        4 => (vec(over(), 1..4), vec(any::<u8>(), 0..2), vec(any::<(u8, bool, bool)>(), 0..3), any::<bool>(),
            option::weighted(0.2, any::<(u8, u8, u8)>()))
            .prop_map(|(calls, partition, order, is_total, filter)| {
                Step::Over { calls, partition, order, is_total, filter }
            }),
        1 => (vec(any::<u8>(), 1..3), vec(any::<(u8, bool, bool)>(), 0..3))
            .prop_map(|(on, order)| Step::FirstOn { on, order }),
        2 => any::<(u8, u8, u8)>().prop_map(|(column, size, slide)| Step::Window { column, size, slide }),
        1 => any::<u8>().prop_map(|form| Step::Drawn { form }),
        1 => any::<u8>().prop_map(|other| Step::Union { other }),
        1 => (vec(any::<u8>(), 1..4), any::<u8>()).prop_map(|(columns, form)| Step::Unnest { columns, form }),
        1 => (any::<(u8, u8)>(), any::<u8>()).prop_map(|(ends, form)| Step::Recursive { ends, form }),
        1 => any::<(u8, u8)>().prop_map(|(column, form)| Step::Now { column, form }),
    ]
}

fn over() -> impl Strategy<Value = Over> {
    let drawn = (
        any::<u8>(),
        any::<u8>(),
        any::<u8>(),
        any::<(u8, u8)>(),
        prop::bool::weighted(0.2),
    );
    drawn.prop_map(|(function, column, frame, bounds, nulls)| Over {
        function,
        column,
        frame,
        bounds,
        nulls,
    })
}

fn sets() -> impl Strategy<Value = Sets> {
    prop_oneof![
        Just(Sets::Rollup),
        Just(Sets::Cube),
        Just(Sets::Listed),
        Just(Sets::Mixed)
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (any::<u8>(), vec(vec(any::<u8>(), 5), 1..7)).prop_map(|(relation, rows)| Action::Insert { relation, rows }),
        3 => any::<(u8, u8, u8)>().prop_map(|(relation, column, value)| Action::Delete { relation, column, value }),
        3 => any::<(u8, u8, u8, (u8, u8))>()
            .prop_map(|(relation, column, value, to)| Action::Update { relation, column, value, to }),
        1 => (any::<u8>(), vec(vec(any::<u8>(), 5), 1..5), any::<u8>())
            .prop_map(|(relation, rows, form)| Action::Conflict { relation, rows, form }),
        1 => any::<((u8, u8), (u8, u8), (u8, u8))>()
            .prop_map(|((relation, other), columns, to)| Action::Matched { relation, other, columns, to }),
        1 => any::<(u8, u8, u8, u8)>()
            .prop_map(|(relation, other, column, value)| Action::Copy { relation, other, column, value }),
        3 => Just(Action::Verify),
        1 => Just(Action::Crash),
        1 => (0u8..3).prop_map(|tasks| Action::Restart { tasks }),
    ]
}

fn how() -> impl Strategy<Value = Run> {
    let lives = vec(any::<u8>(), 0..3);
    let drawn = (0u8..3, 0u8..4, option::of(0u8..4), any::<bool>(), lives, any::<u16>());
    drawn.prop_map(|(tasks, step_rows, budget, quick, lives, course)| Run {
        tasks,
        step_rows,
        budget,
        quick,
        lives,
        course,
    })
}
