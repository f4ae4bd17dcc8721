//! What the line editor knows of SQL: when a statement is complete, and which words may follow.

use std::borrow::Cow;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::{Hint, Hinter};
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper, Result};
use weir_server::split;

use crate::command;
use crate::screen::Style;

/// How long a completion waits for names that are on their way.
const PATIENCE: Duration = Duration::from_secs(2);

/// Names of relations and columns, as they were when last asked for.
#[derive(Clone, Default)]
pub struct Names(Arc<(Mutex<Known>, Condvar)>);

#[derive(Default)]
struct Known {
    names: Vec<String>,
    /// Questions that are not answered yet.
    asked: usize,
}

impl Names {
    /// New names will follow.
    pub fn ask(&self) {
        self.known().asked += 1;
    }

    /// The answer: replaces all names.
    pub fn set(&self, mut names: Vec<String>) {
        names.sort();
        names.dedup();
        let mut known = self.known();
        known.names = names;
        known.asked = known.asked.saturating_sub(1);
        self.0.1.notify_all();
    }

    /// The names. What was created a moment ago is among them, unless the server is slow to tell.
    fn get(&self) -> Vec<String> {
        let known = self
            .0
            .1
            .wait_timeout_while(self.known(), PATIENCE, |known| known.asked > 0);
        known.unwrap_or_else(PoisonError::into_inner).0.names.clone()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Helps the line editor.
pub struct SqlHelper {
    names: Names,
    files: FilenameCompleter,
    style: Style,
}

impl SqlHelper {
    /// Completes with `names`, besides keywords.
    pub fn new(names: Names, style: Style) -> SqlHelper {
        SqlHelper {
            names,
            files: FilenameCompleter::new(),
            style,
        }
    }
}

impl Helper for SqlHelper {}

/// Whether a text can be carried out: commands are one line, `quit` and its like are forgiven.
pub fn is_complete(text: &str) -> bool {
    text.trim_start().starts_with('\\') || plain_word(text).is_some() || split::complete(text)
}

/// The command that someone means who types a word other shells know.
pub fn plain_word(text: &str) -> Option<&'static str> {
    let word = text.trim().trim_end_matches(';').trim_end();
    match word.to_ascii_lowercase().as_str() {
        "quit" | "exit" => Some("\\q"),
        "help" => Some("\\?"),
        _ => None,
    }
}

impl Validator for SqlHelper {
    fn validate(&self, context: &mut ValidationContext) -> Result<ValidationResult> {
        Ok(match is_complete(context.input()) {
            true => ValidationResult::Valid(None),
            false => ValidationResult::Incomplete,
        })
    }
}

/// A hint that is only to be read.
pub struct Remark(&'static str);

impl Hint for Remark {
    fn display(&self) -> &str {
        self.0
    }

    fn completion(&self) -> Option<&str> {
        None
    }
}

impl Hinter for SqlHelper {
    type Hint = Remark;

    /// Someone who pressed Enter and sees nothing happen has forgotten the semicolon.
    fn hint(&self, line: &str, position: usize, _context: &Context<'_>) -> Option<Remark> {
        let waits = position == line.len() && line.ends_with('\n') && !line.trim().is_empty();
        waits.then_some(Remark(" ; ends the statement"))
    }
}

impl Highlighter for SqlHelper {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Owned(self.style.dim(hint))
    }
}

impl Completer for SqlHelper {
    type Candidate = Pair;

    fn complete(&self, line: &str, position: usize, context: &Context<'_>) -> Result<(usize, Vec<Pair>)> {
        if line.trim_start().starts_with("\\i ") {
            return self.files.complete(line, position, context);
        }
        let (start, words) = candidates(&line[..position], &self.names.get());
        let pair = |word: String| Pair {
            display: word.clone(),
            replacement: word,
        };
        Ok((start, words.into_iter().map(pair).collect()))
    }
}

/// Words that complete the last word of `before`, and where that begins.
fn candidates(before: &str, names: &[String]) -> (usize, Vec<String>) {
    let start = before
        .rfind(|ch: char| !(ch.is_alphanumeric() || "_.\"\\?".contains(ch)))
        .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
    let word = &before[start..];
    if word.starts_with('\\') {
        let commands = command::NAMES.iter().filter(|name| name.starts_with(word));
        return (start, commands.map(|name| (*name).to_owned()).collect());
    }
    let begins = |name: &str| {
        name.get(..word.len())
            .is_some_and(|part| part.eq_ignore_ascii_case(word))
    };
    let mut words: Vec<String> = Vec::new();
    if !word.is_empty() || wants_name(&before[..start]) {
        words.extend(names.iter().filter(|name| begins(name)).cloned());
    }
    if !word.is_empty() {
        let lower = word.chars().all(|ch| !ch.is_uppercase());
        let keywords = split::keywords().iter().filter(|keyword| begins(keyword));
        words.extend(keywords.map(|keyword| match lower {
            true => format!("{} ", keyword.to_lowercase()),
            false => format!("{keyword} "),
        }));
    }
    words.dedup();
    (start, words)
}

/// Whether a relation must stand next, so that all of them are worth showing.
fn wants_name(before: &str) -> bool {
    const BEFORE_NAMES: &[&str] = &[
        "FROM", "JOIN", "INTO", "UPDATE", "DESCRIBE", "TO", "PAUSE", "RESUME", "\\D",
    ];
    let last = before.split_whitespace().next_back().unwrap_or_default().to_uppercase();
    BEFORE_NAMES.contains(&last.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(before: &str) -> (usize, Vec<String>) {
        let names = ["auction", "bids", "bidder", "weir.lag", "Ärger"].map(str::to_owned);
        candidates(before, &names)
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn names_come_before_keywords_which_take_the_case_of_what_is_typed() {
        assert_eq!(
            complete("select * from bi"),
            (14, words(&["bids", "bidder", "bigint "]))
        );
        assert_eq!(complete("SEL"), (0, words(&["SELECT "])));
        assert_eq!(complete("SELECT 1; sel"), (10, words(&["select "])));
        assert_eq!(complete("SELECT weir.l"), (7, words(&["weir.lag"])));
        assert_eq!(complete("SELECT Är"), (7, words(&["Ärger"])));
        assert_eq!(complete("é(bi").0, 3);
    }

    #[test]
    fn all_names_are_shown_only_where_one_must_stand() {
        assert_eq!(complete("SELECT * FROM ").1.len(), 5);
        assert_eq!(complete("").1.len(), 0);
        assert_eq!(complete("SELECT ").1.len(), 0);
    }

    #[test]
    fn a_completion_waits_for_names_that_are_on_their_way() {
        let names = Names::default();
        names.ask();
        let later = names.clone();
        let answer = std::thread::spawn(move || later.set(words(&["b", "a", "b"])));
        assert_eq!(names.get(), ["a", "b"]);
        answer.join().expect("an answer");
    }

    #[test]
    fn commands_are_completed() {
        assert_eq!(complete("\\ti"), (0, words(&["\\timing"])));
        assert_eq!(complete("\\d bi").1, words(&["bids", "bidder", "bigint "]));
    }

    #[test]
    fn enter_runs_what_is_complete() {
        for text in [
            "",
            "  ",
            "\\d",
            "\\x on",
            "SELECT 1;",
            "quit",
            "exit ;",
            "help",
            "-- nothing",
        ] {
            assert!(is_complete(text), "{text:?}");
        }
        for text in ["SELECT 1", "SELECT ';", "quit now", "/* open"] {
            assert!(!is_complete(text), "{text:?}");
        }
        assert_eq!(plain_word("EXIT;"), Some("\\q"));
        assert_eq!(plain_word("select"), None);
    }
}
