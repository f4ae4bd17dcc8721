//! What has come to a source with event time, told without Weir: how far the watermark of each partition
//! was before each record, and which versions the records of a key make.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::super::case::Kind;
use super::super::values::sql_type;

/// How far behind the newest event time a watermark is, in minutes.
pub const DELAY: i64 = 120;

/// Versions of a key by the time from which on they are valid; none where the key has no row.
type Versions = BTreeMap<i64, Option<Vec<String>>>;

/// A source's records so far. Times are minutes.
pub struct History {
    /// The newest time of each partition.
    newest: Vec<Option<i64>>,
    versions: BTreeMap<u64, Versions>,
}

impl History {
    pub fn new(partitions: usize) -> History {
        History {
            newest: vec![None; partitions],
            versions: BTreeMap::new(),
        }
    }

    /// The watermark of a partition.
    pub fn mark(&self, partition: usize) -> Option<i64> {
        self.newest[partition].map(|newest| newest - DELAY)
    }

    /// A record with a time. One that is late is no version.
    pub fn version(&mut self, partition: usize, key: u64, at: i64, cells: Vec<String>) {
        if self.mark(partition).is_none_or(|mark| at >= mark) {
            self.versions.entry(key).or_default().insert(at, Some(cells));
        }
        self.newest[partition] = self.newest[partition].max(Some(at));
    }

    /// A tombstone: the last version ends where the partition stands, and not before it begins.
    pub fn end(&mut self, partition: usize, key: u64) {
        let mark = self.mark(partition);
        if let Some(versions) = self.versions.get_mut(&key)
            && let Some((last, _)) = versions.last_key_value()
        {
            versions.insert(mark.map_or(*last, |mark| mark.max(*last)), None);
        }
    }

    /// A table of the versions, with when they begin and end.
    pub fn table(&self, name: &str, kinds: &[Kind]) -> String {
        let columns: Vec<String> = kinds
            .iter()
            .enumerate()
            .map(|(c, kind)| format!("c{c} {}", sql_type(*kind)))
            .collect();
        let mut script = format!(
            "statement ok\nCREATE TABLE {name} ({}, begins TIMESTAMP, ends TIMESTAMP)\n\n",
            columns.join(", ")
        );
        let rows: Vec<String> = self.versions.values().flat_map(rows).collect();
        if !rows.is_empty() {
            let _ = write!(
                script,
                "statement ok\nINSERT INTO {name} VALUES {}\n\n",
                rows.join(", ")
            );
        }
        script
    }
}

/// The versions of a key as rows.
fn rows(versions: &Versions) -> Vec<String> {
    let ends = versions.keys().skip(1).map(|at| format!("TIMESTAMP '{}'", text(*at)));
    let ends = ends.chain(std::iter::once("NULL".to_string()));
    let row = |((at, cells), end): ((&i64, &Option<Vec<String>>), String)| {
        let cells = cells.as_ref()?.join(", ");
        Some(format!("({cells}, TIMESTAMP '{}', {end})", text(*at)))
    };
    versions.iter().zip(ends).filter_map(row).collect()
}

/// Minutes of a day in 2024 as a time.
pub fn text(minutes: i64) -> String {
    // What is before 2024 is of its last days before.
    let (day, of_day) = (minutes.div_euclid(1440), minutes.rem_euclid(1440));
    let (year_month, day) = match day {
        0.. => ("2024-01", day + 1),
        _ => ("2023-12", day + 32),
    };
    format!("{year_month}-{day:02} {:02}:{:02}:00", of_day / 60, of_day % 60)
}
