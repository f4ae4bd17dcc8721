//! What happens to relations, as entries of a script.

use std::fmt::{self, Write};

use super::super::case::{Action, Case, Kind, Origin, Relation};
use super::super::values::{json, literal, sql_type};

/// Writes actions down, and counts rows.
pub struct Acts<'a> {
    case: &'a Case,
    /// Rows that were there so far: the first column of most.
    serial: u64,
    /// Something was idle: what comes is taken in at once, so that nothing that comes later is late.
    rested: bool,
}

impl<'a> Acts<'a> {
    pub fn new(case: &'a Case) -> Acts<'a> {
        Acts {
            case,
            serial: 0,
            rested: false,
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
        let mut tables = all.filter(|(_, relation)| relation.origin != Origin::Source);
        tables.next()
    }

    /// The relation of a number, or the next one, that is a source.
    fn source(&self, number: u8) -> Option<String> {
        let count = self.case.relations.len() as u8;
        let mut all = (0..count).map(|later| self.relation(number.wrapping_add(later)));
        all.find(|(_, relation)| relation.origin == Origin::Source)
            .map(|(name, _)| name)
    }

    fn act(&mut self, script: &mut String, action: &Action) -> fmt::Result {
        match action {
            Action::Insert { relation: to, rows } => {
                let (name, to) = self.relation(*to);
                match to.origin {
                    Origin::Source => self.feed(script, &name, to, rows),
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
                let set = assignment(of, *set, *number);
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
            .map(|row| values(self.first(to.origin == Origin::KeyedTable), to, row))
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
                lines.push(values(key, to, row));
            }
        }
        let set = match form % 3 {
            0 => "NOTHING".to_string(),
            1 => "UPDATE SET c1 = excluded.c1".to_string(),
            _ => format!("UPDATE SET c1 = excluded.c1 WHERE {name}.c1 IS DISTINCT FROM excluded.c1"),
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
                let set = assignment(of, to.0, to.1);
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
        let condition = condition(from, column, value);
        write!(
            script,
            "statement ok\nINSERT INTO {name} SELECT {} FROM {other} WHERE {condition}\n\n",
            parts.join(", ")
        )
    }

    fn feed(&mut self, script: &mut String, name: &str, to: &Relation, rows: &[Vec<u8>]) -> fmt::Result {
        let event_time = to.event_time();
        let mut lines: Vec<Vec<String>> = vec![Vec::new(); to.partitions()];
        for row in rows {
            let mut fields = vec![format!("\"c0\": {}", self.first(false))];
            for (c, (kind, number)) in to.kinds.iter().zip(row).enumerate() {
                let value = match event_time == Some(c + 1) && number % 6 < 5 {
                    true => event(self.serial, *number),
                    false => json(*kind, *number),
                };
                fields.push(format!("\"c{}\": {value}", c + 1));
            }
            let count = lines.len();
            lines[usize::from(row[row.len() - 1]) % count].push(format!("{{{}}}", fields.join(", ")));
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
    let letter = if relation.origin == Origin::Source { 's' } else { 't' };
    format!("{letter}{number}")
}

/// Event times go on with the rows, up to 50 minutes out of order; of an action's rows those of one partition come before
/// those of another. All of that is within what the watermark waits for.
fn event(serial: u64, number: u8) -> String {
    let minutes = 60 + serial * 12 - u64::from(number % 6) * 10;
    format!(
        "\"2024-01-0{} {:02}:{:02}:00\"",
        1 + minutes / 1440,
        minutes / 60 % 24,
        minutes % 60
    )
}

fn values(first: u64, to: &Relation, row: &[u8]) -> String {
    let cells = to.kinds.iter().zip(row);
    let cells: Vec<String> = cells.map(|(kind, number)| literal(*kind, *number, true)).collect();
    format!("({first}, {})", cells.join(", "))
}

fn assignment(of: &Relation, column: u8, number: u8) -> String {
    let set = usize::from(column) % of.kinds.len();
    format!("c{} = {}", set + 1, literal(of.kinds[set], number, true))
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
