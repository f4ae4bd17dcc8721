//! One entry of a script.

use std::ops::Range;

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use weir_engine::connector::memory::Record;

use super::record;

/// A block of lines: what is to be done, and what must come of it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Line of its first word, from 1.
    pub line: usize,
    pub verb: Verb,
    /// What must come of it, where that is rows, lines or a text.
    pub expected: Vec<String>,
    /// Where that stands, by line from 0, with the `----` before it.
    pub place: Range<usize>,
}

impl Entry {
    /// The first line of a query with other types.
    pub fn head_with(&self, types: &str) -> String {
        let sorted = matches!(self.verb, Verb::Query { sorted: true, .. });
        format!("query {types}{}", if sorted { " rowsort" } else { "" })
    }
}

/// What must come of a statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Expect {
    Ok,
    Count(u64),
    /// A notice with this pattern.
    Notice(String),
    /// An error with this pattern; empty: exactly the text below `----`.
    Error(String),
}

/// What an entry does.
#[derive(Debug, Clone)]
pub enum Verb {
    Statement {
        expect: Expect,
        sql: String,
    },
    Query {
        types: String,
        sorted: bool,
        sql: String,
    },
    Topic {
        name: String,
        partitions: usize,
    },
    Feed {
        topic: String,
        partition: usize,
        records: Vec<Record>,
    },
    End(String),
    Idle(String),
    Away(String, bool),
    Delete {
        topic: String,
        partition: usize,
        before: i64,
    },
    Settle,
    Changes(String),
    Verify(Vec<String>),
    Equal {
        view: String,
        sql: String,
    },
    Failed(String),
    Write {
        file: String,
        lines: Vec<String>,
    },
    File(String),
    /// Microseconds since the epoch.
    Clock(i64),
    Crash,
    Restart,
    Tasks(usize),
    Once,
    Halt,
}

/// Reads the block of `lines`.
pub fn parse(lines: &[String], block: Range<usize>) -> Result<Entry, String> {
    let head = &lines[block.start];
    let words: Vec<&str> = head.split_whitespace().collect();
    let body = block.start + 1..block.end;
    let divider = body.clone().find(|line| lines[*line] == "----");
    let asked = body.start..divider.unwrap_or(body.end);
    let text = lines[asked.clone()].join("\n");
    let verb = match &words[..] {
        ["statement", rest @ ..] => Verb::Statement {
            expect: expect(head, rest)?,
            sql: some(text)?,
        },
        ["query", types, rest @ ..] => Verb::Query {
            types: types.to_string(),
            sorted: sorting(rest)?,
            sql: some(text)?,
        },
        ["feed", topic, rest @ ..] => Verb::Feed {
            topic: topic.to_string(),
            partition: option(rest, "partition", 0)?,
            records: lines[asked.clone()]
                .iter()
                .map(|line| record(line))
                .collect::<Result<_, _>>()?,
        },
        ["equal", view] => Verb::Equal {
            view: view.to_string(),
            sql: some(text)?,
        },
        ["write", file] => Verb::Write {
            file: file.to_string(),
            lines: lines[asked.clone()].to_vec(),
        },
        _ if !asked.is_empty() => return Err(format!("'{head}' has nothing below it; is it one of the verbs?")),
        words => word(words)?,
    };
    let place = divider.unwrap_or(block.end)..block.end;
    Ok(Entry {
        line: block.start + 1,
        verb,
        expected: lines[(place.start + 1).min(place.end)..place.end].to_vec(),
        place,
    })
}

/// Verbs of one line.
fn word(words: &[&str]) -> Result<Verb, String> {
    let name = |name: &&str| name.to_string();
    Ok(match words {
        ["topic", topic, rest @ ..] => Verb::Topic {
            name: name(topic),
            partitions: option(rest, "partitions", 1)?,
        },
        ["end", topic] => Verb::End(name(topic)),
        ["idle", topic] => Verb::Idle(name(topic)),
        ["away", topic] => Verb::Away(name(topic), true),
        ["back", topic] => Verb::Away(name(topic), false),
        ["delete", topic, "partition", partition, "before", offset] => Verb::Delete {
            topic: name(topic),
            partition: number(partition)?,
            before: number(offset)? as i64,
        },
        ["settle"] => Verb::Settle,
        ["changes", view] => Verb::Changes(name(view)),
        ["verify", views @ ..] => Verb::Verify(views.iter().map(name).collect()),
        ["failed", view] => Verb::Failed(name(view)),
        ["file", file] => Verb::File(name(file)),
        ["clock", time @ ..] if !time.is_empty() => Verb::Clock(time_us(&time.join(" "))?),
        ["crash"] => Verb::Crash,
        ["restart"] => Verb::Restart,
        ["tasks", tasks] => Verb::Tasks(number(tasks)?),
        ["once", ..] => Verb::Once,
        ["halt"] => Verb::Halt,
        _ => return Err(format!("'{}' is no entry of a script", words.join(" "))),
    })
}

fn expect(head: &str, words: &[&str]) -> Result<Expect, String> {
    let behind = |word: &str| head.split_once(word).map_or("", |(_, rest)| rest.trim()).to_string();
    Ok(match words {
        ["ok"] => Expect::Ok,
        ["count", count] => Expect::Count(number(count)? as u64),
        ["notice", ..] => Expect::Notice(behind("notice")),
        ["error", ..] => Expect::Error(behind("error")),
        _ => return Err("a statement is 'ok', 'count n', 'notice text' or 'error text'".to_string()),
    })
}

fn sorting(words: &[&str]) -> Result<bool, String> {
    match words {
        [] | ["nosort"] => Ok(false),
        ["rowsort"] => Ok(true),
        _ => Err(format!(
            "'{}' is no way to sort; there are rowsort and nosort",
            words.join(" ")
        )),
    }
}

fn some(text: String) -> Result<String, String> {
    if text.is_empty() {
        return Err("a statement or query stands below its first line".to_string());
    }
    Ok(text)
}

fn option(words: &[&str], name: &str, default: usize) -> Result<usize, String> {
    match words {
        [] => Ok(default),
        [word, value] if *word == name => number(value),
        _ => Err(format!(
            "'{}' is not understood; it could be '{name} n'",
            words.join(" ")
        )),
    }
}

fn time_us(text: &str) -> Result<i64, String> {
    let nanos = string_to_timestamp_nanos(text).map_err(|error| format!("'{text}' is no time: {error}"))?;
    Ok(nanos / 1000)
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("'{text}' is no number"))
}
