//! What happens to relations, as entries of a script.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use super::super::case::{Action, Case, Kind, Origin, Relation};
use super::super::values::{json, literal, sql_type};
use super::history::{History, text};

/// Writes actions down, and counts rows.
pub struct Acts<'a> {
    case: &'a Case,
    /// Rows that were there so far: the first column of most.
    serial: u64,
    /// Something was idle: what comes is taken in at once, so that nothing that comes later is late.
    rested: bool,
    /// Actions so far, where rows tell it.
    pub arrivals: Option<u64>,
    /// What has come to sources with event time.
    pub histories: BTreeMap<String, History>,
    /// Rows of upsert sources, by name and key.
    pub upserted: BTreeMap<String, BTreeMap<u64, String>>,
}

impl<'a> Acts<'a> {
    pub fn new(case: &'a Case) -> Acts<'a> {
        Acts {
            case,
            serial: 0,
            rested: false,
            arrivals: case.tells_arrival.then_some(0),
            histories: BTreeMap::new(),
            upserted: BTreeMap::new(),
        }
    }

    pub fn write(&mut self, script: &mut String, action: &Action) {
        self.act(script, action).expect("a text can be written");
    }

    fn relation(&self, number: u8) -> (String, &'a Relation) {
        let number = usize::from(number) % self.case.relations.len();
        let relation = &self.case.relations[number];
        (name(number, relation), relation)
    }

    /// The relation of a number if it is a table, or else the next that is one.
    fn table(&self, number: u8) -> Option<(String, &'a Relation)> {
        let count = self.case.relations.len() as u8;
        let all = (0..count).map(|later| self.relation(number.wrapping_add(later)));
        let mut tables = all.filter(|(_, relation)| relation.is_table());
        tables.next()
    }

    /// The relation of a number, or the next one, that is a source.
    fn source(&self, number: u8) -> Option<String> {
        let count = self.case.relations.len() as u8;
        let mut all = (0..count).map(|later| self.relation(number.wrapping_add(later)));
        all.find(|(_, relation)| !relation.is_table()).map(|(name, _)| name)
    }

    fn act(&mut self, script: &mut String, action: &Action) -> fmt::Result {
        match action {
            Action::Insert { relation: to, rows } => {
                let (name, to) = self.relation(*to);
                match to.origin {
                    Origin::Source | Origin::Upsert => self.feed(script, &name, to, rows),
                    _ => self.insert(script, &name, to, rows),
                }
            }
            Action::Conflict { relation, rows, form } => {
                let Some((name, to)) = self.table(*relation) else {
                    return Ok(());
                };
                self.conflict(script, &name, to, rows, *form)
            }
            Action::Delete {
                relation,
                column,
                value,
            } => {
                let Some((name, from)) = self.table(*relation) else {
                    return Ok(());
                };
                let condition = condition(from, *column, *value);
                write!(script, "statement ok\nDELETE FROM {name} WHERE {condition}\n\n")
            }
            Action::Update {
                relation,
                column,
                value,
                to: (set, number),
            } => {
                let Some((name, of)) = self.table(*relation) else {
                    return Ok(());
                };
                let condition = condition(of, *column, *value);
                let set = self.assignment(of, *set, *number);
                write!(script, "statement ok\nUPDATE {name} SET {set} WHERE {condition}\n\n")
            }
            Action::Matched {
                relation,
                other,
                columns,
                to,
            } => self.matched(script, *relation, *other, *columns, *to),
            Action::Copy {
                relation,
                other,
                column,
                value,
            } => self.copy(script, *relation, *other, *column, *value),
            Action::Together { actions, rolled_back } => {
                write!(script, "statement ok\nBEGIN\n\n")?;
                let mut changes = actions.iter().filter(|action| self.is_of_table(action));
                let changes: Vec<&Action> = changes.by_ref().collect();
                changes.into_iter().try_for_each(|action| self.act(script, action))?;
                let end = if *rolled_back { "ROLLBACK" } else { "COMMIT" };
                write!(script, "statement ok\n{end}\n\n")
            }
            Action::Idle { relation } => match self.source(*relation) {
                Some(name) => {
                    self.rested = true;
                    write!(script, "idle {name}\n\n")
                }
                None => Ok(()),
            },
            Action::Verify => write!(script, "verify\n\n"),
            Action::Crash => write!(script, "crash\n\n"),
            Action::Restart { tasks } => write!(script, "tasks {}\n\n", 1 + tasks % 3),
        }
    }

    /// The first column of a new row; without a key rows may be there twice.
    fn first(&mut self, keyed: bool) -> u64 {
        self.serial += 1;
        if keyed { self.serial } else { self.serial % 3 }
    }

    fn insert(&mut self, script: &mut String, name: &str, to: &Relation, rows: &[Vec<u8>]) -> fmt::Result {
        let lines: Vec<String> = rows
            .iter()
            .map(|row| {
                let first = self.first(to.origin == Origin::KeyedTable);
                self.values(first, to, row)
            })
            .collect();
        write!(
            script,
            "statement ok\nINSERT INTO {name} VALUES {}\n\n",
            lines.join(", ")
        )
    }

    /// New rows, some of which have a key that is there.
    fn conflict(&mut self, script: &mut String, name: &str, to: &Relation, rows: &[Vec<u8>], form: u8) -> fmt::Result {
        if to.origin != Origin::KeyedTable {
            return self.insert(script, name, to, rows);
        }
        let mut lines = Vec::new();
        let mut keys = Vec::new();
        for row in rows {
            let again = self.serial > 0 && row[0] % 3 > 0;
            let key = match again {
                true => 1 + u64::from(row[row.len() - 1]) % self.serial,
                false => self.first(true),
            };
            if !keys.contains(&key) {
                keys.push(key);
                lines.push(self.values(key, to, row));
            }
        }
        let came = self.arrivals.map_or("", |_| ", came = excluded.came");
        let set = match form % 3 {
            0 => "NOTHING".to_string(),
            1 => format!("UPDATE SET c1 = excluded.c1{came}"),
            _ => format!("UPDATE SET c1 = excluded.c1{came} WHERE {name}.c1 IS DISTINCT FROM excluded.c1"),
        };
        write!(
            script,
            "statement ok\nINSERT INTO {name} VALUES {} ON CONFLICT (c0) DO {set}\n\n",
            lines.join(", ")
        )
    }

    /// UPDATE … FROM and DELETE … USING.
    fn matched(&self, script: &mut String, relation: u8, other: u8, columns: (u8, u8), to: (u8, u8)) -> fmt::Result {
        let (Some((name, of)), Some((other, by))) = (self.table(relation), self.table(other)) else {
            return Ok(());
        };
        // Column 0 is a number in each.
        let a = usize::from(columns.0) % (1 + of.kinds.len());
        let kind = |relation: &Relation, column: usize| column.checked_sub(1).map_or(Kind::Int, |c| relation.kinds[c]);
        let fits = |column: &usize| kind(by, *column) == kind(of, a);
        let all: Vec<usize> = (0..=by.kinds.len()).filter(fits).collect();
        let Some(b) = all.get(usize::from(columns.1) % all.len().max(1)) else {
            return Ok(());
        };
        let tie = format!("{name}.c{a} = o.c{b}");
        match columns.1 % 2 {
            0 => write!(
                script,
                "statement ok\nDELETE FROM {name} USING {other} o WHERE {tie}\n\n"
            ),
            _ => {
                let set = self.assignment(of, to.0, to.1);
                write!(
                    script,
                    "statement ok\nUPDATE {name} SET {set} FROM {other} o WHERE {tie}\n\n"
                )
            }
        }
    }

    /// INSERT … SELECT, of a table without a key.
    fn copy(&self, script: &mut String, relation: u8, other: u8, column: u8, value: u8) -> fmt::Result {
        let (Some((name, to)), Some((other, from))) = (self.table(relation), self.table(other)) else {
            return Ok(());
        };
        if to.origin == Origin::KeyedTable {
            return Ok(());
        }
        let mut taken = vec![false; from.kinds.len()];
        let mut parts = vec!["c0".to_string()];
        for kind in &to.kinds {
            let found = (0..from.kinds.len()).find(|c| !taken[*c] && from.kinds[*c] == *kind);
            parts.push(match found {
                Some(c) => {
                    taken[c] = true;
                    format!("c{}", c + 1)
                }
                None => format!("CAST(NULL AS {})", sql_type(*kind)),
            });
        }
        parts.extend(self.arrivals.map(|came| came.to_string()));
        let condition = condition(from, column, value);
        write!(
            script,
            "statement ok\nINSERT INTO {name} SELECT {} FROM {other} WHERE {condition}\n\n",
            parts.join(", ")
        )
    }

    fn values(&self, first: u64, to: &Relation, row: &[u8]) -> String {
        let cells = to
            .kinds
            .iter()
            .zip(row)
            .map(|(kind, number)| literal(*kind, *number, true));
        let cells: Vec<String> = cells.chain(self.arrivals.map(|came| came.to_string())).collect();
        format!("({first}, {})", cells.join(", "))
    }

    /// A changed row has come anew.
    fn assignment(&self, of: &Relation, column: u8, number: u8) -> String {
        let set = usize::from(column) % of.kinds.len();
        let came = self.arrivals.map_or(String::new(), |came| format!(", came = {came}"));
        format!("c{} = {}{came}", set + 1, literal(of.kinds[set], number, true))
    }

    /// Whether an action is a statement.
    fn is_of_table(&self, action: &Action) -> bool {
        match action {
            Action::Insert { relation, .. } => self.relation(*relation).1.is_table(),
            _ => true,
        }
    }

    fn feed(&mut self, script: &mut String, name: &str, to: &Relation, rows: &[Vec<u8>]) -> fmt::Result {
        let mut lines: Vec<Vec<String>> = vec![Vec::new(); to.partitions()];
        let history = self.histories.remove(name);
        let mut history = history.unwrap_or_else(|| History::new(to.partitions()));
        let mut upserted = self.upserted.remove(name).unwrap_or_default();
        for row in rows {
            let last = row[row.len() - 1];
            let upserts = to.origin == Origin::Upsert;
            // A record's key says its partition.
            let (first, partition) = match upserts {
                true => (u64::from(last / 8 % 4), last / 8 % 4),
                false => (self.first(false), last),
            };
            self.serial += u64::from(upserts);
            let partition = usize::from(partition) % lines.len();
            let key = if upserts {
                format!("@key={{\"c0\":{first}}} ")
            } else {
                String::new()
            };
            if upserts && last % 8 == 7 {
                history.end(partition, first);
                upserted.remove(&first);
                lines[partition].push(format!("{key}@null"));
                continue;
            }
            let at = to.event_time().and_then(|column| {
                let number = row[column - 1];
                (number % 6 < 5).then(|| event(self.serial, number, self.case.is_wild))
            });
            let mut fields = match upserts {
                true => Vec::new(),
                false => vec![format!("\"c0\": {first}")],
            };
            let mut cells = vec![first.to_string()];
            for (c, (kind, number)) in to.kinds.iter().zip(row).enumerate() {
                let (value, cell) = match (to.event_time() == Some(c + 1), at) {
                    (true, Some(at)) => (format!("\"{}\"", text(at)), format!("TIMESTAMP '{}'", text(at))),
                    (true, None) => ("null".to_string(), "NULL".to_string()),
                    _ => (json(*kind, *number), literal(*kind, *number, true)),
                };
                fields.push(format!("\"c{}\": {value}", c + 1));
                cells.push(cell);
            }
            fields.extend(self.arrivals.map(|came| format!("\"came\": {came}")));
            let mark = history.mark(partition);
            if let (true, Some(mark)) = (self.case.is_wild, mark) {
                fields.push(format!("\"mark\": \"{}\"", text(mark)));
            }
            if upserts {
                let mark = match (mark, self.case.is_wild && to.event_time().is_some()) {
                    (Some(mark), true) => format!(", TIMESTAMP '{}'", text(mark)),
                    (None, true) => ", NULL".to_string(),
                    _ => String::new(),
                };
                upserted.insert(first, format!("({}{mark})", cells.join(", ")));
            }
            if let Some(at) = at {
                history.version(partition, first, at, cells);
            }
            lines[partition].push(format!("{key}{{{}}}", fields.join(", ")));
        }
        self.histories.insert(name.to_string(), history);
        if to.origin == Origin::Upsert {
            write!(script, "statement ok\nDELETE FROM m{name}\n\n")?;
            if !upserted.is_empty() {
                let rows: Vec<&str> = upserted.values().map(String::as_str).collect();
                write!(
                    script,
                    "statement ok\nINSERT INTO m{name} VALUES {}\n\n",
                    rows.join(", ")
                )?;
            }
            self.upserted.insert(name.to_string(), upserted);
        }
        for (partition, lines) in lines.iter().enumerate().filter(|(_, lines)| !lines.is_empty()) {
            write!(script, "feed {name} partition {partition}\n{}\n\n", lines.join("\n"))?;
            if self.rested {
                write!(script, "settle\n\n")?;
            }
        }
        Ok(())
    }
}

pub fn name(number: usize, relation: &Relation) -> String {
    let letter = match relation.origin {
        Origin::Source => 's',
        Origin::Upsert => 'u',
        _ => 't',
    };
    format!("{letter}{number}")
}

/// Event times, in minutes, go on with the rows, up to 50 minutes out of order; of an action's rows those of one
/// partition come before those of another. All of that is within what the watermark waits for. Wild ones are beyond it,
/// or far ahead.
fn event(serial: u64, number: u8, is_wild: bool) -> i64 {
    let minutes = 60 + serial as i64 * 12 - i64::from(number % 6) * 10;
    match number / 6 % 8 {
        0 | 1 if is_wild => (minutes - 90 * i64::from(number / 48)).max(0),
        2 if is_wild => minutes + 60 * i64::from(number / 48),
        _ => minutes,
    }
}

/// Which rows a DELETE or UPDATE means.
fn condition(relation: &Relation, column: u8, value: u8) -> String {
    let column = usize::from(column) % relation.kinds.len();
    let kind = relation.kinds[column];
    let name = format!("c{}", column + 1);
    match literal(kind, value, true).as_str() {
        "NULL" => format!("{name} IS NULL"),
        value => format!("{name} = {value}"),
    }
}
