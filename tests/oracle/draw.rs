//! How often what is drawn.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::case::{
    Action, Call, Case, Closing, Kind, Meeting, Origin, Over, Relation, Run, Sessions, Sets, Step, View,
};

/// All cases.
pub fn cases() -> impl Strategy<Value = Case> {
    let relations = vec(relation(), 1..4);
    let views = vec(view(), 1..5);
    let actions = vec(action(), 1..14);
    (relations, views, actions, how()).prop_map(|(relations, views, actions, run)| Case {
        relations,
        views,
        actions,
        is_wild: false,
        tells_arrival: false,
        run,
    })
}

/// Cases of rows that meet what is there when they come.
pub fn meeting_cases() -> impl Strategy<Value = Case> {
    let kinds = vec(
        prop_oneof![2 => Just(Kind::Int), 1 => Just(Kind::Text), 1 => kind()],
        1..3,
    );
    let origin = prop_oneof![Just(Origin::KeyedTable), Just(Origin::Table), Just(Origin::Source)];
    let relation = (origin, kinds).prop_map(|(origin, kinds)| Relation {
        origin,
        kinds,
        watermark: false,
    });
    let meeting = (
        any::<(u8, u8)>(),
        any::<(u8, u8)>(),
        any::<bool>(),
        option::weighted(0.3, any::<(u8, u8, u8)>()),
    );
    let meeting = meeting.prop_map(|((other, compare), on, outer, residual)| Meeting {
        other,
        on,
        compare,
        outer,
        residual,
    });
    let call = (prop::sample::select(vec![0, 1, 4, 5]), call()).prop_map(|(function, call)| Call { function, ..call });
    // What is looked at may be a view.
    let step = prop_oneof![
        any::<(u8, u8, u8)>().prop_map(|(column, test, value)| Step::Filter { column, test, value }),
        (vec(any::<u8>(), 1..2), vec(call, 1..3)).prop_map(|(keys, calls)| Step::Group {
            keys,
            sets: None,
            calls,
            having: None
        }),
    ];
    let what = prop_oneof![
        3 => meeting.prop_map(|meeting| (Vec::new(), Some(meeting))),
        1 => step.prop_map(|step| (vec![step], None)),
    ];
    let view = (any::<u8>(), what).prop_map(|(base, (steps, meeting))| View {
        base,
        steps,
        // By hand both sides are loaded in any order: what there is before the view meets anything.
        at: 0,
        apart: false,
        closing: None,
        meeting,
    });
    let drawn = (vec(relation, 2..4), vec(view, 1..4), vec(action(), 1..14), how());
    drawn.prop_map(|(relations, views, actions, run)| Case {
        relations,
        views,
        actions,
        is_wild: false,
        tells_arrival: true,
        run,
    })
}

/// Cases of sources with event time and of what is closed by it: while some of them are idle, or with late rows.
pub fn timed_cases() -> impl Strategy<Value = Case> {
    let kind = prop_oneof![3 => Just(Kind::Int), 2 => Just(Kind::Text), 1 => Just(Kind::Time), 1 => Just(Kind::Float),
        1 => Just(Kind::Decimal), 1 => Just(Kind::Uuid)];
    let origin = prop_oneof![4 => Just(Origin::Source), 1 => Just(Origin::Upsert)];
    let relation = (vec(kind, 0..3), origin).prop_map(|(mut kinds, origin)| {
        kinds.push(Kind::Time);
        Relation {
            origin,
            kinds,
            watermark: true,
        }
    });
    let what = prop_oneof![
        8 => closing().prop_map(|closing| (Vec::new(), Some(closing))),
        1 => sessions().prop_map(|step| (vec![Step::Sessions(step)], None)),
    ];
    let action = prop_oneof![
        8 => (any::<u8>(), vec(vec(any::<u8>(), 5), 1..5)).prop_map(|(relation, rows)| Action::Insert { relation, rows }),
        1 => any::<u8>().prop_map(|relation| Action::Idle { relation }),
        1 => Just(Action::Verify),
        1 => Just(Action::Crash),
        1 => (0u8..3).prop_map(|tasks| Action::Restart { tasks }),
    ];
    let drawn = (
        vec(relation, 1..4),
        vec(view_of(what), 1..4),
        vec(action, 2..16),
        any::<bool>(),
        how(),
    );
    drawn.prop_map(|(mut relations, views, actions, is_wild, run)| {
        // Something has to have the event time by which versions are looked for.
        relations[0].origin = Origin::Source;
        Case {
            relations,
            views,
            // What has been decided while something was idle holds for what comes later, and is told of no row.
            tells_arrival: false,
            is_wild: is_wild && !actions.iter().any(|action| matches!(action, Action::Idle { .. })),
            actions,
            run,
        }
    })
}

fn relation() -> impl Strategy<Value = Relation> {
    let origin = prop_oneof![
        4 => Just(Origin::KeyedTable),
        4 => Just(Origin::Table),
        2 => Just(Origin::Source),
        1 => Just(Origin::Upsert)
    ];
    (origin, vec(kind(), 1..5), prop::bool::weighted(0.7)).prop_map(|(origin, kinds, watermark)| Relation {
        origin,
        kinds,
        watermark: watermark && origin == Origin::Source,
    })
}

/// Half of the columns are of the few kinds of which much is computed.
fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        10 => Just(Kind::Int),
        8 => Just(Kind::Text),
        6 => Just(Kind::Time),
        4 => Just(Kind::Decimal),
        4 => Just(Kind::Float),
        10 => prop::sample::select(vec![
            Kind::Small,
            Kind::Short,
            Kind::Unsigned,
            Kind::Real,
            Kind::Bool,
            Kind::Date,
            Kind::Moment,
            Kind::Clock,
            Kind::Span,
            Kind::Uuid,
            Kind::Bytes,
            Kind::Json,
            Kind::List,
            Kind::Struct,
        ])
    ]
}

fn closing() -> impl Strategy<Value = Closing> {
    let drawn = (any::<(u8, u8, u8)>(), call(), prop::bool::weighted(0.2));
    drawn.prop_map(|((kind, number, value), call, timeout)| Closing {
        kind,
        number,
        call,
        value,
        timeout,
    })
}

fn view() -> impl Strategy<Value = View> {
    view_of((vec(step(), 0..4), option::weighted(0.2, closing())))
}

/// A view of such steps, and what closes it.
fn view_of(what: impl Strategy<Value = (Vec<Step>, Option<Closing>)>) -> impl Strategy<Value = View> {
    let drawn = (any::<u8>(), 0u8..8, prop::bool::weighted(0.15), what);
    drawn.prop_map(|(base, at, apart, (steps, closing))| View {
        base,
        steps,
        at,
        apart,
        closing,
        meeting: None,
    })
}

fn call() -> impl Strategy<Value = Call> {
    let drawn = (
        any::<u8>(),
        any::<(u8, u8)>(),
        prop::bool::weighted(0.25),
        option::weighted(0.25, any::<(u8, u8)>()),
    );
    drawn.prop_map(|(function, (column, other), distinct, filter)| Call {
        function,
        column,
        other,
        distinct,
        filter,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => any::<(u8, u8, u8)>().prop_map(|(column, test, value)| Step::Filter { column, test, value }),
        2 => vec(any::<(u8, u8)>(), 1..4).prop_map(|columns| Step::Project { columns }),
        4 => (vec(any::<u8>(), 0..3), option::weighted(0.15, sets()), vec(call(), 1..4), option::weighted(0.2, any::<u8>()))
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
        3 => sessions().prop_map(Step::Sessions),
        1 => any::<u8>().prop_map(|form| Step::Drawn { form }),
        1 => any::<u8>().prop_map(|other| Step::Union { other }),
        1 => (vec(any::<u8>(), 1..4), any::<u8>()).prop_map(|(columns, form)| Step::Unnest { columns, form }),
        1 => (any::<(u8, u8)>(), any::<u8>()).prop_map(|(ends, form)| Step::Recursive { ends, form }),
        1 => any::<(u8, u8)>().prop_map(|(column, form)| Step::Now { column, form }),
    ]
}

/// Half of them say what can be put together without the rows.
fn sessions() -> impl Strategy<Value = Sessions> {
    let calls = (vec(call(), 1..4), any::<bool>()).prop_map(|(mut calls, merge)| {
        for call in calls.iter_mut().filter(|_| merge) {
            call.function %= 12;
            call.distinct = false;
        }
        calls
    });
    let drawn = (
        any::<(u8, u8, u8)>(),
        vec(any::<u8>(), 0..3),
        calls,
        option::weighted(0.2, any::<u8>()),
        option::weighted(0.3, any::<(u8, u8, u8, u8)>()),
    );
    drawn.prop_map(|((column, gap, keys), partition, calls, having, filter)| Sessions {
        column,
        gap,
        partition,
        keys,
        calls,
        having,
        filter,
    })
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
    let together = (vec(change(), 1..5), prop::bool::weighted(0.2))
        .prop_map(|(actions, rolled_back)| Action::Together { actions, rolled_back });
    prop_oneof![
        15 => change(),
        1 => together,
        3 => Just(Action::Verify),
        1 => Just(Action::Crash),
        1 => (0u8..3).prop_map(|tasks| Action::Restart { tasks }),
    ]
}

/// A change of a relation.
fn change() -> impl Strategy<Value = Action> {
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
