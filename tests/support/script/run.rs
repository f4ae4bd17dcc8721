//! Runs a script on a rig. When the store dies in the midst of an entry, the entry is done again in
//! the next life: as a client does that lost its server.

use std::fs;
use std::ops::Range;

use weir_engine::pipeline::Clock;

use super::{Entry, Expect, Script, Verb, matches};
use crate::rig::{Outcome, Reply, Rig, Settings, Trouble, is_done_already};
use crate::rows;

/// A script that went through.
#[derive(Debug, Default)]
pub struct Passed {
    /// Commits that the store took: so many crashes can be tried.
    pub commits: u64,
    /// The store has died so many times.
    pub deaths: usize,
}

/// Lines that came, and the lines of the script in whose place they stand: for [`Script::rewrite`].
pub type Came = Vec<(Range<usize>, Vec<String>)>;

/// The first entry that went wrong.
#[derive(Debug)]
pub struct Failure {
    /// `file:line`.
    pub place: String,
    pub message: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Runs all entries.
pub fn run(script: &Script, settings: &Settings) -> Result<Passed, Failure> {
    run_on(script, settings).map(|(_, passed)| passed)
}

/// Runs all entries and gives the rig as they left it.
pub fn run_on(script: &Script, settings: &Settings) -> Result<(Rig, Passed), Failure> {
    perform_all(script, settings, None)
}

/// Runs all entries and notes what comes of them: that it differs from what is expected is no
/// failure.
pub fn observe(script: &Script, came: &mut Came) -> Result<Passed, Failure> {
    perform_all(script, &Settings::default(), Some(came)).map(|(_, passed)| passed)
}

fn perform_all(script: &Script, settings: &Settings, mut came: Option<&mut Came>) -> Result<(Rig, Passed), Failure> {
    let at = |line: usize, message: String| Failure {
        place: script.place(line),
        message,
    };
    let mut passed = Passed::default();
    let mut settings = settings.clone();
    if let Some(us) = script.clock_us() {
        settings.clock = Clock::fixed(us);
    }
    let mut rig = Rig::new(settings.clone()).map_err(|error| at(1, error))?;
    let mut settled = false;
    for entry in &script.entries {
        match entry.verb {
            Verb::Halt => break,
            Verb::Once if !settings.lives.is_empty() => break,
            _ => {}
        }
        let looks = settles(&entry.verb) || (settled && changes_nothing(&entry.verb));
        let mut again = false;
        let writes = rig.writes();
        loop {
            // A crash swallowed the answer to a write that is durable.
            if again && matches!(entry.verb, Verb::Statement { .. }) && rig.writes() > writes {
                break;
            }
            let outcome = perform(&mut rig, entry, again, came.as_deref_mut());
            let died = rig.has_died();
            if died {
                passed.deaths += revive(&mut rig, looks).map_err(|error| at(entry.line, error))?;
                again = true;
            }
            match outcome {
                Err(_) if died => continue,
                outcome => outcome.map_err(|message| at(entry.line, message))?,
            }
            break;
        }
        settled = looks;
    }
    passed.commits = rig.commits();
    Ok((rig, passed))
}

/// Opens the next life, and gives the number of those that it took. For an entry that looks at what
/// has settled it settles again.
fn revive(rig: &mut Rig, looks: bool) -> Result<usize, String> {
    let mut deaths = 0;
    loop {
        deaths += 1;
        rig.crash()?;
        let settles = if looks { rig.settle() } else { Ok(()) };
        match settles {
            Err(_) if rig.has_died() => continue,
            settles => return settles.map(|()| deaths).map_err(text),
        }
    }
}

/// Whether an entry waits until all is taken in.
fn settles(verb: &Verb) -> bool {
    matches!(
        verb,
        Verb::Settle | Verb::Idle(_) | Verb::Changes(_) | Verb::Verify(_) | Verb::Equal { .. }
    )
}

/// Whether nothing has to be taken in because of an entry.
fn changes_nothing(verb: &Verb) -> bool {
    match verb {
        Verb::Query { .. } | Verb::Failed(_) | Verb::File(_) => true,
        Verb::Statement { expect, .. } => matches!(expect, Expect::Error(_)),
        _ => false,
    }
}

/// Does one entry, and compares what comes with what is expected, or notes it.
fn perform(rig: &mut Rig, entry: &Entry, again: bool, came: Option<&mut Came>) -> Result<(), String> {
    let mut types_came = None;
    let lines = match &entry.verb {
        Verb::Statement { expect, sql } => match statement(rig, expect, sql, again)? {
            Some(lines) => lines,
            None => return Ok(()),
        },
        Verb::Query { types, sorted, sql } => {
            let (letters, lines) = query(rig, *sorted, sql)?;
            if letters != *types {
                types_came = Some(letters);
            }
            lines
        }
        Verb::Changes(view) => {
            rig.settle().map_err(text)?;
            rows::change_lines(&rig.changes(view).map_err(text)?)
        }
        Verb::Failed(view) => rig.failure(view).map_err(text)?.lines().map(str::to_string).collect(),
        Verb::File(file) => {
            rig.settle().map_err(text)?;
            let path = rig.folder().join(file);
            let text = fs::read_to_string(&path).map_err(|error| format!("$DIR/{file}: {error}"))?;
            text.lines().map(str::to_string).collect()
        }
        _ => return act(rig, &entry.verb),
    };
    if let Some(came) = came {
        let head = entry.line - 1;
        came.extend(types_came.map(|letters| (head..head + 1, vec![entry.head_with(&letters)])));
        let divided = std::iter::once("----".to_string()).chain(lines).collect();
        came.push((entry.place.clone(), divided));
        return Ok(());
    }
    if let Some(letters) = types_came {
        let Verb::Query { types, .. } = &entry.verb else {
            return Ok(());
        };
        return Err(differs(&[format!("columns {types}")], &[format!("columns {letters}")]));
    }
    let exact = matches!(entry.verb, Verb::Statement { .. } | Verb::File(_) | Verb::Failed(_));
    if same(&entry.expected, &lines, exact) {
        return Ok(());
    }
    Err(differs(&entry.expected, &lines))
}

/// Entries of which nothing is expected but success.
fn act(rig: &mut Rig, verb: &Verb) -> Result<(), String> {
    match verb {
        Verb::Topic { name, partitions } => rig.create_topic(name, *partitions),
        Verb::Feed {
            topic,
            partition,
            records,
        } => rig.feed(topic, *partition, records.clone())?,
        Verb::End(topic) => rig.end_topic(topic),
        Verb::Idle(topic) => rig.idle_topic(topic).map_err(text)?,
        Verb::Away(topic, away) => rig.set_away(topic, *away).map_err(text)?,
        Verb::Delete {
            topic,
            partition,
            before,
        } => rig.delete_before(topic, *partition, *before),
        Verb::Settle => rig.settle().map_err(text)?,
        Verb::Verify(views) => rig.verify(views).map_err(text)?,
        Verb::Equal { view, sql } => rig.equal(view, sql).map_err(text)?,
        Verb::Write { file, lines } => {
            let path = rig.folder().join(file);
            fs::write(&path, lines.join("\n") + "\n").map_err(|error| format!("$DIR/{file}: {error}"))?;
        }
        Verb::Clock(us) => rig.set_clock(*us),
        Verb::Crash => rig.crash()?,
        Verb::Restart => rig.restart()?,
        Verb::Tasks(tasks) => {
            rig.settings.tasks = *tasks;
            rig.restart()?;
        }
        _ => {}
    }
    Ok(())
}

/// Runs a statement; gives the whole message of an error where that is expected.
fn statement(rig: &mut Rig, expect: &Expect, sql: &str, again: bool) -> Result<Option<Vec<String>>, String> {
    let outcome = rig.run(sql);
    match (expect, outcome) {
        (Expect::Error(pattern), Err(Trouble::Refused(error))) => {
            if pattern.is_empty() {
                let lines = error.message.lines().map(|line| line.trim_end().to_string());
                return Ok(Some(lines.filter(|line| !line.is_empty()).collect()));
            }
            if matches(pattern, &error.message) {
                return Ok(None);
            }
            Err(differs(&[format!("an error with: {pattern}")], &[error.message]))
        }
        (Expect::Error(_), Ok(reply)) => Err(differs(&["an error".to_string()], &[format!("{:?}", reply.outcome)])),
        // A crash swallowed the first answer: that it is done already is a success.
        (_, Err(Trouble::Refused(error))) if again && is_done_already(&error) => Ok(None),
        (_, Err(trouble)) => Err(trouble.to_string()),
        (expect, Ok(reply)) => {
            if sql.trim_start().to_uppercase().starts_with("SET ") {
                rig.keep_setting(sql);
            }
            answered(expect, &reply).map(|()| None)
        }
    }
}

fn answered(expect: &Expect, reply: &Reply) -> Result<(), String> {
    match (expect, &reply.outcome) {
        (Expect::Count(count), Outcome::Changed(rows)) if count == rows => Ok(()),
        (Expect::Count(count), came) => Err(differs(&[format!("{count} rows changed")], &[format!("{came:?}")])),
        (Expect::Notice(pattern), _) if !reply.notices.iter().any(|notice| matches(pattern, notice)) => {
            Err(differs(&[format!("a notice with: {pattern}")], &reply.notices))
        }
        _ => Ok(()),
    }
}

/// The letters of a query's columns, and its rows.
fn query(rig: &mut Rig, sorted: bool, sql: &str) -> Result<(String, Vec<String>), String> {
    let reply = rig.run(sql).map_err(text)?;
    let Outcome::Rows { types, mut rows } = reply.outcome else {
        return Err(format!("it answered {:?} and no rows", reply.outcome));
    };
    if sorted {
        rows.sort();
    }
    Ok((types.iter().map(rows::letter).collect(), rows::lines(&rows)))
}

/// Whether lines are those that are expected: of rows, up to the width of gaps.
fn same(expected: &[String], came: &[String], exact: bool) -> bool {
    let normal = |line: &String| {
        if exact {
            line.trim_end().to_string()
        } else {
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        }
    };
    expected.iter().map(normal).eq(came.iter().map(normal))
}

fn differs(expected: &[String], came: &[String]) -> String {
    format!(
        "expected\n    {}\n  got\n    {}",
        expected.join("\n    "),
        came.join("\n    ")
    )
}

fn text(trouble: Trouble) -> String {
    trouble.to_string()
}
