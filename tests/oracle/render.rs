//! A case as a script, which the script runner runs and a reader can read.

use std::fmt::Write;

use super::aggregates::{Grouping, group};
use super::case::{Action, Case, Closing, Kind, Origin, Relation, Step, View};
use super::values::{literal, of_kind, predicate, sql_type, tied};

#[path = "actions.rs"]
mod actions;
#[path = "arrivals.rs"]
mod arrivals;
#[path = "casts.rs"]
mod casts;
#[path = "closing.rs"]
mod closing;
#[path = "history.rs"]
mod history;
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
use closing::Told;
pub use windows::Speech;

/// A relation or view that queries may read: its columns are c0, c1, ….
struct Known {
    name: String,
    kinds: Vec<Kind>,
    /// What it reads, and what that reads.
    rests_on: Vec<String>,
    /// Of a source with a watermark, or what keeps it.
    event_time: Option<usize>,
    /// Of a source whose records are versions of its rows.
    versions: Option<usize>,
    is_source: bool,
    /// Its records tell how far their partition was.
    is_marked: bool,
    /// Its answer is whole only when its sources have ended.
    is_late: bool,
    /// It closes only when its sources have ended.
    needs_end: bool,
    /// It closes by the clock.
    has_timeout: bool,
    /// What it is in the end, where its own query doesn't tell.
    in_the_end: Option<String>,
    /// Its rows may be many more than those that it reads.
    spreads: bool,
}

impl Known {
    fn is_timed_source(&self) -> bool {
        self.is_source && self.event_time.is_some()
    }
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
    let has_timeouts = case
        .views
        .iter()
        .any(|view| view.closing.as_ref().is_some_and(|closing| closing.timeout));
    if has_timeouts {
        script.push_str("clock 2024-01-01 00:00:00\n\n");
    }
    for (number, relation) in case.relations.iter().enumerate() {
        let name = actions::name(number, relation);
        let mut kinds = vec![Kind::Int];
        kinds.extend(&relation.kinds);
        create(&mut script, &name, relation, &kinds, case);
        let is_plain = relation.origin == Origin::Source;
        known.push(Known {
            name,
            kinds,
            rests_on: Vec::new(),
            event_time: relation.event_time().filter(|_| is_plain),
            versions: relation.event_time().filter(|_| !is_plain),
            is_source: !relation.is_table(),
            is_marked: case.is_wild && !relation.is_table(),
            is_late: false,
            needs_end: false,
            has_timeout: false,
            in_the_end: None,
            spreads: false,
        });
    }
    if case.tells_arrival {
        known.iter().for_each(|known| arrivals::remember(&mut script, known, 0));
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
            let done = acts.arrivals.unwrap_or_default();
            views.push(create_one(&mut script, case, view, &mut known, done, speech));
        }
        if let Some(arrivals) = &mut acts.arrivals {
            *arrivals += 1;
        }
        match action {
            Action::Verify => verify(&mut script, &known, case.relations.len()),
            action => acts.write(&mut script, action),
        }
        if let Some(done) = acts.arrivals {
            arrivals::after(&mut script, &known, done);
        }
    }
    let done = acts.arrivals.unwrap_or_default();
    for view in waiting {
        views.push(create_one(&mut script, case, view, &mut known, done, speech));
    }
    finish(&mut script, case, &known, &acts);
    Rendered {
        script,
        views,
        relations,
    }
}

/// The end: nothing more comes, or for a long time, and all views are compared.
fn finish(script: &mut String, case: &Case, known: &[Known], acts: &Acts<'_>) {
    let views = &known[case.relations.len()..];
    if views.iter().any(|view| view.is_late) {
        if views.iter().any(|view| view.needs_end) {
            let timed = |known: &&Known| known.is_source && (known.event_time.is_some() || known.versions.is_some());
            for source in known.iter().filter(timed) {
                let _ = write!(script, "end {}\n\n", source.name);
            }
        } else {
            // The time in which nothing comes begins when all is there: over a view that closes so, when that has.
            script.push_str("settle\n\n");
            let timed = views.iter().filter(|view| view.has_timeout).count();
            for month in 6..6 + timed.clamp(1, 6) {
                let _ = write!(script, "clock 2024-{month:02}-01 00:00:00\n\n");
            }
        }
    }
    for source in known.iter().filter(|known| known.versions.is_some() && known.is_marked) {
        if let Some(history) = acts.histories.get(&source.name) {
            script.push_str(&history.table(&format!("h{}", source.name), &source.kinds));
        } else {
            let none = history::History::new(1);
            script.push_str(&none.table(&format!("h{}", source.name), &source.kinds));
        }
    }
    let by_themselves: Vec<&str> = views
        .iter()
        .filter(|view| view.in_the_end.is_none())
        .map(|view| view.name.as_str())
        .collect();
    if by_themselves.len() == views.len() {
        script.push_str("verify\n\n");
    } else if !by_themselves.is_empty() {
        let _ = write!(script, "verify {}\n\n", by_themselves.join(" "));
    }
    views.iter().for_each(|view| equal(script, view));
}

fn equal(script: &mut String, view: &Known) {
    if let Some(query) = &view.in_the_end {
        let _ = write!(script, "equal {}\n{query}\n\n", view.name);
    }
}

/// Compares the views whose answer is whole.
fn verify(script: &mut String, known: &[Known], relations: usize) {
    let views = &known[relations..];
    let whole: Vec<&str> = views
        .iter()
        .filter(|view| !view.is_late && view.in_the_end.is_none())
        .map(|view| view.name.as_str())
        .collect();
    let told = views.iter().filter(|view| !view.is_late);
    told.for_each(|view| equal(script, view));
    if whole.len() == views.len() {
        script.push_str("verify\n\n");
    } else if !whole.is_empty() {
        let _ = write!(script, "verify {}\n\n", whole.join(" "));
    }
}

fn create(script: &mut String, name: &str, relation: &Relation, kinds: &[Kind], case: &Case) {
    let is_wild = case.is_wild;
    let mut columns = Vec::new();
    for (number, kind) in kinds.iter().enumerate() {
        let key = number == 0 && matches!(relation.origin, Origin::KeyedTable | Origin::Upsert);
        columns.push(format!(
            "c{number} {}{}",
            sql_type(*kind),
            if key { " PRIMARY KEY" } else { "" }
        ));
    }
    if case.tells_arrival {
        columns.push("came BIGINT".to_string());
    }
    if let Some(column) = relation.event_time() {
        if is_wild {
            columns.push("mark TIMESTAMP".to_string());
        }
        columns.push(format!(
            "WATERMARK FOR c{column} AS c{column} - INTERVAL '{} minutes'",
            history::DELAY
        ));
    }
    if relation.origin == Origin::Upsert {
        // What its rows are is known to views only: a table tells them.
        let plain = columns.iter().filter(|column| !column.starts_with("WATERMARK"));
        let plain: Vec<&str> = plain.map(String::as_str).collect();
        let _ = write!(script, "statement ok\nCREATE TABLE m{name} ({})\n\n", plain.join(", "));
    }
    let columns = columns.join(", ");
    let partitions = relation.partitions();
    let format = match relation.origin {
        Origin::Upsert => " FORMAT UPSERT ENCODE JSON KEY ENCODE JSON",
        _ => "",
    };
    let idle = if is_wild { "10000 days" } else { "1 minute" };
    let _ = match relation.is_table() {
        false => write!(
            script,
            "topic {name} partitions {partitions}\n\nstatement ok\nCREATE SOURCE {name} ({columns})\n\
             WITH (connector = 'memory', topic = '{name}', idle_timeout = '{idle}'){format}\n\n"
        ),
        true => write!(script, "statement ok\nCREATE TABLE {name} ({columns})\n\n"),
    };
}

/// A view of a case, after so many actions.
fn create_one(
    script: &mut String,
    case: &Case,
    view: &View,
    known: &mut Vec<Known>,
    done: u64,
    speech: Speech,
) -> (String, String) {
    let number = known.len() - case.relations.len();
    let met = view.meeting.as_ref();
    let met = met.and_then(|meeting| arrivals::met(case, view.base, meeting, known, done));
    let Some((query, told)) = met else {
        let created = create_view(script, view, known, number, speech);
        if case.tells_arrival {
            script.push_str("settle\n\n");
            known
                .last()
                .into_iter()
                .for_each(|view| arrivals::remember(script, view, done));
        }
        return created;
    };
    let name = format!("v{number}");
    let _ = write!(
        script,
        "statement ok\nCREATE MATERIALIZED VIEW {name} AS\n{}\n\n",
        query.sql
    );
    known.push(Known {
        name: name.clone(),
        kinds: query.kinds,
        rests_on: rests_on(&query.sql, known),
        event_time: None,
        versions: None,
        is_source: false,
        is_marked: false,
        is_late: false,
        needs_end: false,
        has_timeout: false,
        in_the_end: Some(told),
        spreads: true,
    });
    (name, query.sql)
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
    // What is late of a view's rows no record tells.
    let event_time = base
        .event_time
        .filter(|_| base.is_source || !known.iter().any(|known| known.is_marked));
    let closing = view.closing.as_ref().zip(event_time);
    let closed = |told: Told| {
        closing.map(|(closing, column)| {
            // The clock closes what is over sources, and over views that hold nothing back for longer.
            let waits = |known: &Known| known.needs_end && reads_or_is(base, known);
            let closing = Closing {
                timeout: closing.timeout && !known.iter().any(waits),
                ..closing.clone()
            };
            match closing.kind % 2 == 1 && base.is_source {
                true => meetings::of_two(base, column, known, &closing, told),
                false => closing::of_one(base, column, &closing, told),
            }
        })
    };
    let in_the_end = closed(Told::ByMarks).filter(|_| base.is_marked);
    let tells_late = in_the_end.is_some();
    let (query, emit, mut with, keeps) = match closed(Told::ByWatermarks) {
        Some(closed) => (closed.query, closed.emit, closed.with, closed.event_time),
        None => {
            let keeps = base.event_time.filter(|_| view.steps.is_empty());
            (stepped(view, base, known, speech), String::new(), "", keeps)
        }
    };
    let told = known
        .iter()
        .filter(|known| known.is_source && known.name.starts_with('u'));
    let told = told.fold(query.sql.clone(), |sql, upserts| {
        words_replaced(&sql, &upserts.name, &format!("m{}", upserts.name))
    });
    let told = (told != query.sql).then_some(told);
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
    let reads_late = known.iter().any(|known| known.is_late && reads(&query.sql, known));
    let spreads = spreads(&query.sql, known);
    known.push(Known {
        name: name.clone(),
        kinds: query.kinds,
        rests_on: rests_on(&query.sql, known),
        event_time: keeps,
        versions: None,
        is_source: false,
        is_marked: false,
        is_late: !emit.is_empty() || waits || reads_late || tells_late,
        needs_end: waits || !(emit.is_empty() || emit.contains("TIMEOUT")),
        has_timeout: emit.contains("TIMEOUT"),
        spreads,
        in_the_end: in_the_end.map(|closed| closed.query.sql).or(told),
    });
    (name, query.sql)
}

/// The relations that a query reads, and those that they read.
fn rests_on(sql: &str, known: &[Known]) -> Vec<String> {
    let read = known.iter().filter(|known| reads(sql, known));
    read.flat_map(|known| known.rests_on.iter().chain([&known.name]).cloned())
        .collect()
}

/// Whether a relation is another, or rests on it.
fn reads_or_is(base: &Known, other: &Known) -> bool {
    base.name == other.name || base.rests_on.contains(&other.name)
}

/// Whether a query reads a relation.
fn reads(sql: &str, known: &Known) -> bool {
    sql.split(|c: char| !c.is_alphanumeric()).any(|word| word == known.name)
}

/// Whether a query may have many more rows than what it reads.
fn spreads(sql: &str, known: &[Known]) -> bool {
    sql.contains(" JOIN ") || sql.contains("RECURSIVE") || known.iter().any(|known| known.spreads && reads(sql, known))
}

/// A text with another word in the place of a word.
fn words_replaced(text: &str, word: &str, by: &str) -> String {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut out = String::new();
    for part in text.split_inclusive(|c| !is_word(c)) {
        let bare = part.trim_end_matches(|c| !is_word(c));
        match bare == word {
            true => out.extend([by, &part[bare.len()..]]),
            false => out.push_str(part),
        }
    }
    out
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
                speech,
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
        } => joins::as_of(query, pick(known, *other), *on, *by, *compare, *outer, speech),
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
            speech,
        ),
        Step::Window { column, size, slide } => {
            let column = of_kind(&kinds, *column, &[Kind::Time]);
            windows::step(query, column, *size, *slide, speech)
        }
        Step::Sessions(step) => windows::sessions(query, step, last, speech),
        Step::Unnest { columns, form } => spread::unnest(query, columns, *form, speech),
        Step::Recursive { ends, form } => {
            // Ways are counted over few edges.
            let form = if spreads(&query.sql, known) { form % 2 } else { *form };
            spread::recursive(query, *ends, form)
        }
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
        let (expr, kind) = casts::computed(kind, &name, *how);
        parts.push(format!("{expr} AS c{number}"));
        result.push(kind);
    }
    Query {
        sql: format!("SELECT {} FROM {from}", parts.join(", ")),
        kinds: result,
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
