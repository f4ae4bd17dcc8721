//! A case as a script, which the script runner runs and a reader can read.

use std::fmt::Write;

use super::aggregates::{Grouping, group};
use super::case::{Action, Case, Kind, Origin, Relation, Step, View};
use super::values::{literal, of_kind, predicate, sql_type};

#[path = "actions.rs"]
mod actions;
#[path = "joins.rs"]
mod joins;
#[path = "meetings.rs"]
mod meetings;
#[path = "nested.rs"]
mod nested;
#[path = "orders.rs"]
mod orders;
#[path = "spread.rs"]
mod spread;
#[path = "windows.rs"]
mod windows;

use actions::Acts;
pub use windows::Speech;

/// A relation or view that queries may read: its columns are c0, c1, ….
struct Known {
    name: String,
    kinds: Vec<Kind>,
    /// Of a source with a watermark.
    event_time: Option<usize>,
    /// Its answer is whole only when its sources have ended.
    is_late: bool,
}

/// A query that is being built.
pub struct Query {
    pub sql: String,
    pub kinds: Vec<Kind>,
}

/// The SQL of a case.
pub struct Rendered {
    pub script: String,
    /// Name and query of each view.
    pub views: Vec<(String, String)>,
    /// Names of tables and sources, with their columns' kinds.
    pub relations: Vec<(String, Vec<Kind>)>,
}

/// A view with more columns than this isn't widened.
const WIDE: usize = 8;

pub fn render(case: &Case) -> Rendered {
    render_in(case, Speech::Weir)
}

/// With the views' queries in the SQL of some engine.
pub fn render_in(case: &Case, speech: Speech) -> Rendered {
    let mut known: Vec<Known> = Vec::new();
    let mut script = String::new();
    for (number, relation) in case.relations.iter().enumerate() {
        let name = actions::name(number, relation);
        let mut kinds = vec![Kind::Int];
        kinds.extend(&relation.kinds);
        create(&mut script, &name, relation, &kinds);
        known.push(Known {
            name,
            kinds,
            event_time: relation.event_time(),
            is_late: false,
        });
    }
    let relations = known
        .iter()
        .map(|known| (known.name.clone(), known.kinds.clone()))
        .collect();
    let mut views = Vec::new();
    let mut waiting = case.views.iter().peekable();
    let mut acts = Acts::new(case);
    for (number, action) in case.actions.iter().enumerate() {
        while let Some(view) = waiting.next_if(|view| usize::from(view.at) <= number) {
            views.push(create_view(&mut script, view, &mut known, views.len(), speech));
        }
        match action {
            Action::Verify => verify(&mut script, &known, case.relations.len()),
            action => acts.write(&mut script, action),
        }
    }
    for view in waiting {
        views.push(create_view(&mut script, view, &mut known, views.len(), speech));
    }
    if known.iter().any(|known| known.is_late) {
        for source in known.iter().filter(|known| known.event_time.is_some()) {
            let _ = write!(script, "end {}\n\n", source.name);
        }
    }
    script.push_str("verify\n");
    Rendered {
        script,
        views,
        relations,
    }
}

/// Compares the views whose answer is whole.
fn verify(script: &mut String, known: &[Known], relations: usize) {
    let views = &known[relations..];
    let whole: Vec<&str> = views
        .iter()
        .filter(|view| !view.is_late)
        .map(|view| view.name.as_str())
        .collect();
    if whole.len() == views.len() {
        script.push_str("verify\n\n");
    } else if !whole.is_empty() {
        let _ = write!(script, "verify {}\n\n", whole.join(" "));
    }
}

fn create(script: &mut String, name: &str, relation: &Relation, kinds: &[Kind]) {
    let mut columns = Vec::new();
    for (number, kind) in kinds.iter().enumerate() {
        let key = number == 0 && relation.origin == Origin::KeyedTable;
        columns.push(format!(
            "c{number} {}{}",
            sql_type(*kind),
            if key { " PRIMARY KEY" } else { "" }
        ));
    }
    if let Some(column) = relation.event_time() {
        columns.push(format!("WATERMARK FOR c{column} AS c{column} - INTERVAL '2 hours'"));
    }
    let columns = columns.join(", ");
    let partitions = relation.partitions();
    let _ = match relation.origin {
        Origin::Source => write!(
            script,
            "topic {name} partitions {partitions}\n\nstatement ok\nCREATE SOURCE {name} ({columns})\n\
             WITH (connector = 'memory', topic = '{name}', idle_timeout = '1 minute')\n\n"
        ),
        _ => write!(script, "statement ok\nCREATE TABLE {name} ({columns})\n\n"),
    };
}

fn create_view(
    script: &mut String,
    view: &View,
    known: &mut Vec<Known>,
    number: usize,
    speech: Speech,
) -> (String, String) {
    let name = format!("v{number}");
    let base = pick(known, view.base);
    let closing = view.closing.zip(base.event_time);
    let closed = closing.map(|((kind, number), column)| match kind % 2 {
        0 => windows::closing(base, column, number),
        _ => meetings::closing((base, column), known, kind / 2, number),
    });
    let (query, emit, mut with) = closed.unwrap_or_else(|| (stepped(view, base, known, speech), "", ""));
    let waits = emit.is_empty() && query.sql.contains("FOR SYSTEM_TIME");
    if view.apart && with.is_empty() {
        with = " WITH (pipeline = 'apart')";
    }
    let _ = write!(
        script,
        "statement ok\nCREATE MATERIALIZED VIEW {name}{with} AS\n{}{emit}\n\n",
        query.sql
    );
    // Whatever it reads may be late, by name.
    let reads_late = known.iter().any(|known| {
        known.is_late
            && query
                .sql
                .split(|c: char| !c.is_alphanumeric())
                .any(|word| word == known.name)
    });
    known.push(Known {
        name: name.clone(),
        kinds: query.kinds,
        event_time: None,
        is_late: !emit.is_empty() || waits || reads_late,
    });
    (name, query.sql)
}

/// The steps of a view, one upon the other.
fn stepped(view: &View, base: &Known, known: &[Known], speech: Speech) -> Query {
    let mut query = Query {
        sql: format!("SELECT {} FROM {}", columns("", base.kinds.len()), base.name),
        kinds: base.kinds.clone(),
    };
    for (number, step) in view.steps.iter().enumerate() {
        query = apply(query, step, known, number + 1 == view.steps.len(), speech);
    }
    query
}

fn pick<T>(among: &[T], number: u8) -> &T {
    &among[usize::from(number) % among.len()]
}

/// `c0, c1, …` with a prefix.
fn columns(prefix: &str, count: usize) -> String {
    (0..count)
        .map(|c| format!("{prefix}c{c}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Does a step to a query; `last` if it is the view's last.
fn apply(query: Query, step: &Step, known: &[Known], last: bool, speech: Speech) -> Query {
    let from = format!("(\n{}\n) q", indented(&query.sql));
    let kinds = query.kinds.clone();
    let all = columns("", kinds.len());
    match step {
        Step::Filter { column, test, value } => Query {
            sql: format!(
                "SELECT {all} FROM {from} WHERE {}",
                predicate("", &kinds, *column, *test, *value)
            ),
            kinds,
        },
        Step::Project { columns } => project(&from, &kinds, columns),
        Step::Group {
            keys,
            sets,
            calls,
            having,
        } => {
            let grouping = Grouping {
                keys,
                sets: *sets,
                calls,
                having: *having,
            };
            group(&from, &kinds, &grouping, last)
        }
        Step::FirstOn { on, order } => orders::first_on(&from, kinds, on, order),
        Step::Distinct => Query {
            sql: format!("SELECT DISTINCT {all} FROM {from}"),
            kinds,
        },
        Step::Join {
            other,
            kind,
            on,
            compare,
            residual,
        } => joins::join(query, pick(known, *other), *kind, *on, *compare, *residual),
        Step::AsOf {
            other,
            on,
            by,
            compare,
            outer,
        } => joins::as_of(query, pick(known, *other), *on, *by, *compare, *outer),
        Step::Subquery {
            other,
            form,
            columns,
            correlated,
            negated,
        } => joins::subquery(query, pick(known, *other), *form, *columns, *correlated, *negated),
        Step::Nested {
            relations,
            form,
            columns,
            outer,
            middle,
        } => {
            let links = nested::Links {
                outer: *outer,
                middle: *middle,
            };
            let (other, third) = (pick(known, relations.0), pick(known, relations.1));
            nested::nested(query, other, third, *form, *columns, &links)
        }
        Step::Rows {
            other,
            form,
            pair,
            correlated,
            negated,
        } => {
            let pair = nested::Pair {
                first: pair.0,
                second: pair.1,
            };
            nested::rows(query, pick(known, *other), *form, &pair, *correlated, *negated, speech)
        }
        Step::Set { other, operator } => joins::set(query, pick(known, *other), *operator),
        Step::Constants { column, among, values } => joins::constants(query, *column, *among, values),
        Step::First {
            partition,
            order,
            rows,
            number,
            by,
        } => {
            let is_total = by % 4 < 2;
            let sorted = orders::sorted(&kinds, partition, order, is_total);
            orders::first(&from, kinds, &sorted, 1 + rows % 3, *number, *by)
        }
        Step::Over {
            calls,
            partition,
            order,
            is_total,
            filter,
        } => orders::over(
            &from,
            kinds,
            calls,
            &orders::sorted(&query.kinds, partition, order, *is_total),
            *filter,
        ),
        Step::Window { column, size, slide } => {
            let column = of_kind(&kinds, *column, &[Kind::Time]);
            windows::step(query, column, *size, *slide, speech)
        }
        Step::Unnest { columns, form } => spread::unnest(query, columns, *form),
        Step::Recursive { ends, form } => spread::recursive(query, *ends, *form),
        Step::Now { column, form } => spread::now(query, of_kind(&kinds, *column, &[Kind::Time]), *form),
        Step::Drawn { form } if kinds.len() < WIDE => spread::drawn(&from, kinds, *form),
        Step::Drawn { .. } => query,
        Step::Union { other } => union(query, pick(known, *other)),
    }
}

pub fn indented(sql: &str) -> String {
    sql.lines()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn project(from: &str, kinds: &[Kind], chosen: &[(u8, u8)]) -> Query {
    let mut parts = Vec::new();
    let mut result = Vec::new();
    for (number, (column, how)) in chosen.iter().enumerate() {
        let column = usize::from(*column) % kinds.len();
        let kind = kinds[column];
        let name = format!("c{column}");
        let (expr, kind) = computed(kind, &name, *how);
        parts.push(format!("{expr} AS c{number}"));
        result.push(kind);
    }
    Query {
        sql: format!("SELECT {} FROM {from}", parts.join(", ")),
        kinds: result,
    }
}

/// Something computed of a column.
fn computed(kind: Kind, name: &str, how: u8) -> (String, Kind) {
    let same = |expr: String| (expr, kind);
    match (kind, how % 6) {
        (Kind::Int, 1) => same(format!("{name} + 1")),
        (Kind::Int, 2) => same(format!("CASE WHEN {name} > 1 THEN {name} END")),
        (Kind::Int, 3) => same(format!("coalesce({name}, 0)")),
        (Kind::Int, 4) => (format!("CAST({name} AS TEXT)"), Kind::Text),
        (Kind::Int, 5) => (format!("{name} > 1"), Kind::Bool),
        (Kind::Small, 1 | 2) => (format!("CAST({name} AS BIGINT) * 2"), Kind::Int),
        (Kind::Small, 3) => same(format!("-{name}")),
        (Kind::Unsigned, 1 | 2) => (format!("CAST({name} AS BIGINT) - 2"), Kind::Int),
        (Kind::Text, 1) => same(format!("{name} || 'x'")),
        (Kind::Text, 2) => same(format!("upper({name})")),
        (Kind::Text, 3) => same(format!("coalesce({name}, 'none')")),
        (Kind::Text, 4) => (format!("CAST(length({name}) AS BIGINT)"), Kind::Int),
        (Kind::Decimal, 1) => (format!("CAST({name} * 2 AS DECIMAL(12, 2))"), Kind::Decimal),
        (Kind::Decimal, 2) => (format!("CAST({name} AS DOUBLE)"), Kind::Float),
        (Kind::Float, 1) => same(format!("{name} * 2")),
        (Kind::Float, 2) => same(format!("{name} - 1")),
        (Kind::Bool, 1) => same(format!("NOT {name}")),
        (Kind::Bool, 2) => same(format!("{name} IS TRUE")),
        (Kind::Date, 1) => (format!("CAST({name} AS TIMESTAMP)"), Kind::Time),
        (Kind::Time, 1) => same(format!("{name} + INTERVAL '1' HOUR")),
        (Kind::Time, 2) => same(format!("date_trunc('hour', {name})")),
        (Kind::Time, 3) => (format!("CAST({name} AS DATE)"), Kind::Date),
        (Kind::Span, 1) => (format!("TIMESTAMP '2024-01-01 00:00:00' + {name}"), Kind::Time),
        _ => same(name.to_string()),
    }
}

/// The query with the rows of another relation.
fn union(query: Query, other: &Known) -> Query {
    Query {
        sql: format!(
            "SELECT {} FROM (\n{}\n) u\nUNION ALL\n{}",
            columns("", query.kinds.len()),
            indented(&query.sql),
            like(&query.kinds, other)
        ),
        kinds: query.kinds,
    }
}

/// Another relation's rows with columns of these kinds: those that it has, pairwise; where it has
/// none, NULL.
fn like(kinds: &[Kind], other: &Known) -> String {
    let mut taken = vec![false; other.kinds.len()];
    let mut parts = Vec::new();
    for (column, kind) in kinds.iter().enumerate() {
        let found = (0..other.kinds.len()).find(|c| !taken[*c] && other.kinds[*c] == *kind);
        parts.push(match found {
            Some(c) => {
                taken[c] = true;
                format!("c{c} AS c{column}")
            }
            None => format!("CAST(NULL AS {}) AS c{column}", sql_type(*kind)),
        });
    }
    format!("SELECT {} FROM {}", parts.join(", "), other.name)
}
