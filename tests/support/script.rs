//! Scripts: sessions with Weir, written down with what they answer (sqllogictest's syntax), and with
//! verbs for what happens around a session: records that arrive, crashes, a change of parallelism.
//!
//! A script is a list of *entries*, each a block of lines that ends at an empty line. The first line
//! says what it is, `----` stands before what is expected:
//!
//! ```text
//! statement ok                        a statement that succeeds
//! statement count 3                   … and changes so many rows
//! statement error no such .* there    … and fails with this text; `.*` stands for anything
//! statement notice paused             … and succeeds with such a notice
//! query IT rowsort                    a query: a letter for each column, and how to sort the rows
//! topic bids partitions 2             makes a memory topic
//! feed bids partition 1               records for it, one a line: [@key=…] [@ts=ms] [@header:k=v] value
//! end bids                            nothing more comes to it
//! idle bids                           the clock goes on until its partitions are idle, which it then stays
//! away bids | back bids               it is out of reach, or back
//! delete bids partition 0 before 3    deletes records, as retention does
//! settle                              waits until everything is taken in, committed and delivered
//! changes hot                         settles; what has changed in a view since the last time
//! verify [view …]                     settles; views equal the batch answers of their queries
//! equal hot                           settles; a view equals the batch answer of the query below
//! failed hot                          waits until a view has failed: the cause
//! write in.csv | file out.csv         a file of the folder $DIR: its lines
//! clock 2024-01-01 10:00:00           sets what now() is; it stands there from the start, and until the next
//! crash | restart                     … and opens again over the same store
//! tasks 3                             restarts with so many tasks
//! once …                              the rest is not repeated with crashes, for the reason given
//! halt                                ends the script
//! ```
//!
//! A `statement error` without text has the whole message below `----`. `@null` as a value is a
//! tombstone. Lines that begin with `#` are comments.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use weir_engine::connector::memory;

/// 2024-01-01.
const BEGINNING_US: i64 = 1_704_067_200_000_000;

mod entry;
mod run;

pub use entry::{Entry, Expect, Verb};
pub use run::{Came, Failure, Passed, observe, run, run_on};

/// A script as read.
#[derive(Debug, Clone)]
pub struct Script {
    pub path: PathBuf,
    /// Its lines as written.
    pub lines: Vec<String>,
    pub entries: Vec<Entry>,
}

impl Script {
    /// Reads a file.
    pub fn open(path: &Path) -> Result<Script, String> {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Script::parse(path, &text)
    }

    /// Reads a text; `path` is its name in messages.
    pub fn parse(path: &Path, text: &str) -> Result<Script, String> {
        let lines: Vec<String> = text.lines().map(str::to_string).collect();
        let entries = blocks(&lines)
            .into_iter()
            .map(|block| {
                entry::parse(&lines, block.clone())
                    .map_err(|error| format!("{}:{}: {error}", path.display(), block.start + 1))
            })
            .collect::<Result<Vec<Entry>, String>>()?;
        Ok(Script {
            path: path.to_path_buf(),
            lines,
            entries,
        })
    }

    /// `file:line` of an entry.
    pub fn place(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }

    /// Whether a part of it is only run without crashes.
    pub fn is_once(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry.verb, Verb::Once))
    }

    /// Where the clock stands at first, if the script sets it.
    pub fn clock_us(&self) -> Option<i64> {
        self.entries.iter().find_map(|entry| match entry.verb {
            Verb::Clock(us) => Some(us),
            // Any will do, if it stands.
            Verb::Idle(_) => Some(BEGINNING_US),
            _ => None,
        })
    }

    /// Writes the script anew with other expectations.
    pub fn rewrite(&self, expectations: &Came) -> Result<(), String> {
        let mut text = String::new();
        let mut next = 0;
        for (range, expected) in expectations {
            for line in self.lines[next..range.start].iter().chain(expected) {
                text.push_str(line);
                text.push('\n');
            }
            next = range.end;
        }
        for line in &self.lines[next..] {
            text.push_str(line);
            text.push('\n');
        }
        fs::write(&self.path, text).map_err(|error| format!("{}: {error}", self.path.display()))
    }
}

/// Ranges of lines between empty lines and comments.
fn blocks(lines: &[String]) -> Vec<Range<usize>> {
    let mut blocks = Vec::new();
    let mut begin = None;
    for (index, line) in lines.iter().enumerate() {
        let apart = line.trim().is_empty() || (begin.is_none() && line.starts_with('#'));
        match (apart, begin) {
            (true, Some(start)) => {
                blocks.push(start..index);
                begin = None;
            }
            (false, None) => begin = Some(index),
            _ => {}
        }
    }
    blocks.extend(begin.map(|start| start..lines.len()));
    blocks
}

/// Whether `text` has the pieces of `pattern`, which `.*` divides, in their order.
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut rest = text;
    pattern.split(".*").all(|piece| match rest.find(piece) {
        Some(at) => {
            rest = &rest[at + piece.len()..];
            true
        }
        None => false,
    })
}

/// A record as a line of `feed` says it.
fn record(line: &str) -> Result<memory::Record, String> {
    let mut record = memory::Record {
        timestamp_ms: -1,
        ..memory::Record::default()
    };
    let mut rest = line.trim();
    while let Some(tagged) = rest.strip_prefix('@') {
        let (tag, behind) = tagged.split_once(' ').unwrap_or((tagged, ""));
        let value = |at: usize| tag.as_bytes()[at..].to_vec();
        if tag == "null" {
            return Ok(record);
        } else if tag.starts_with("key=") {
            record.key = Some(value("key=".len()));
        } else if let Some(ms) = tag.strip_prefix("ts=") {
            record.timestamp_ms = ms
                .parse()
                .map_err(|_| format!("@ts={ms} is no number of milliseconds"))?;
        } else if let Some((name, text)) = tag.strip_prefix("header:").and_then(|header| header.split_once('=')) {
            record.headers.push((name.to_string(), Some(text.as_bytes().to_vec())));
        } else {
            return Err(format!(
                "@{tag} is not known; there are @key=, @ts=, @header:name= and @null"
            ));
        }
        rest = behind.trim_start();
    }
    record.value = Some(rest.as_bytes().to_vec());
    Ok(record)
}
