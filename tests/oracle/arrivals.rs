//! Joins with what is there when a row comes, FOR SYSTEM_TIME AS OF PROCTIME(), told without Weir: each row says after
//! how many actions it came, and of each relation a table has what it was after each action.

use std::fmt::Write;

use super::super::case::{Case, Meeting};
use super::super::values::{of_kind, predicate, sql_type};
use super::joins::COMPARISONS;
use super::{Known, Query, columns, pick};

/// A table for what a relation is after each action, and what it is now.
pub fn remember(script: &mut String, known: &Known, done: u64) {
    let columns: Vec<String> = known
        .kinds
        .iter()
        .enumerate()
        .map(|(c, kind)| format!("c{c} {}", sql_type(*kind)))
        .collect();
    let _ = write!(
        script,
        "statement ok\nCREATE TABLE f{} ({}, at BIGINT)\n\n",
        known.name,
        columns.join(", ")
    );
    note(script, known, done);
}

/// Writes down what a relation is.
fn note(script: &mut String, known: &Known, done: u64) {
    let (name, all) = (&known.name, columns("", known.kinds.len()));
    let _ = write!(
        script,
        "statement ok\nINSERT INTO f{name} SELECT {all}, {done} FROM {name}\n\n"
    );
}

/// After an action: all of it is taken in, and what there is now is written down.
pub fn after(script: &mut String, known: &[Known], done: u64) {
    script.push_str("settle\n\n");
    let may_be_met = known.iter().filter(|known| known.in_the_end.is_none());
    may_be_met.for_each(|known| note(script, known, done));
}

/// The join as a view, and as the query that tells its rows; none where there is nothing to join.
pub fn met(case: &Case, base: u8, meeting: &Meeting, known: &[Known], done: u64) -> Option<(Query, String)> {
    let base = pick(&known[..case.relations.len()], base);
    // Which rows of a source come in one step is for the step to say.
    let is_of_base = |other: &&Known| other.name == base.name || other.rests_on.contains(&base.name);
    let others: Vec<&Known> = known
        .iter()
        .filter(|other| other.in_the_end.is_none() && !(base.is_source && is_of_base(other)))
        .collect();
    let other = others.get(usize::from(meeting.other) % others.len().max(1))?;
    let a = usize::from(meeting.on.0) % base.kinds.len();
    let b = of_kind(&other.kinds, meeting.on.1, &[base.kinds[a]])?;
    let mut condition = format!("a.c{a} {} b.c{b}", pick(&COMPARISONS, meeting.compare));
    if let Some((column, test, value)) = meeting.residual {
        let extra = match test % 2 {
            0 => predicate("b.", &other.kinds, column, test / 2, value),
            _ => predicate("a.", &base.kinds, column, test / 2, value),
        };
        let _ = write!(condition, " AND {extra}");
    }
    let sides = [("a", base.kinds.len()), ("b", other.kinds.len())];
    let shown = sides
        .iter()
        .flat_map(|(side, count)| (0..*count).map(move |c| format!("{side}.c{c}")));
    // Without it a row that is changed in other columns would not come anew.
    let shown = shown.chain(["a.came".to_string()]);
    let shown: Vec<String> = shown
        .enumerate()
        .map(|(place, column)| format!("{column} AS c{place}"))
        .collect();
    let word = if meeting.outer { "LEFT JOIN" } else { "JOIN" };
    let select = format!("SELECT {} FROM {} a {word}", shown.join(", "), base.name);
    let sql = format!(
        "{select} {} FOR SYSTEM_TIME AS OF PROCTIME() AS b ON {condition}",
        other.name
    );
    // What was there before the view met what was there at its creation.
    let told = format!(
        "{select} f{} b ON b.at = greatest(a.came, {done}) AND {condition}",
        other.name
    );
    let kinds = [&base.kinds[..], &other.kinds[..], &[super::Kind::Int]].concat();
    Some((Query { sql, kinds }, told))
}
