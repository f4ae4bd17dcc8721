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

use super::options;
use crate::command;
use crate::screen::Style;
use crate::script::takes_command;

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
    text.trim_start().starts_with('\\')
        || plain_word(text).is_some()
        || split::complete(text)
        || interrupted(text).is_some()
}

/// A statement that is not complete yet, and the command on the line behind it.
pub fn interrupted(text: &str) -> Option<(&str, &str)> {
    let (begun, line) = text.trim_end().rsplit_once('\n')?;
    let is_open = !begun.trim().is_empty() && !split::complete(begun);
    let is_command = line.trim_start().starts_with('\\');
    (is_open && is_command && takes_command(begun)).then_some((begun, line))
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

/// Words that complete what `before` ends with, and where that begins.
fn candidates(before: &str, names: &[String]) -> (usize, Vec<String>) {
    let ending = split::ending(before);
    match ending.open {
        Some(('\'', start)) => return (start + 1, values(&ending, &before[start + 1..], "", "'")),
        Some(('"', start)) => {
            let typed = &before[start + 1..];
            let near = names.iter().filter(|name| begins(name, typed));
            return (start, near.map(|name| in_quotes(name)).collect());
        }
        Some(_) => return (before.len(), Vec::new()),
        None => {}
    }
    if let Some(start) = ending.option {
        let all = options::of(&ending.statement);
        let near = all.iter().filter(|name| begins(name, &before[start..]));
        return (start, near.map(|name| format!("{name} = ")).collect());
    }
    let start = before
        .rfind(|ch: char| !(ch.is_alphanumeric() || "_.\"\\?".contains(ch)))
        .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
    let word = &before[start..];
    if ending.value_of.is_some() {
        return (start, values(&ending, word, "'", "'"));
    }
    if word.starts_with('\\') {
        let commands = command::NAMES.iter().filter(|name| name.starts_with(word));
        return (start, commands.map(|name| (*name).to_owned()).collect());
    }
    let known: Vec<String> = names
        .iter()
        .filter(|name| begins(name, word))
        .map(|name| written(name))
        .collect();
    if let (true, Some((of, column))) = (known.is_empty(), word.rsplit_once('.')) {
        // Behind a relation's name or alias there is a column.
        let columns = names.iter().filter(|name| !name.contains('.') && begins(name, column));
        return (start + of.len() + 1, columns.map(|name| written(name)).collect());
    }
    let mut words: Vec<String> = Vec::new();
    if !word.is_empty() || wants_name(&before[..start]) {
        words.extend(known);
    }
    if !word.is_empty() {
        let lower = word.chars().all(|ch| !ch.is_uppercase());
        let keywords = split::keywords().iter().filter(|keyword| begins(keyword, word));
        words.extend(keywords.map(|keyword| match lower {
            true => format!("{} ", keyword.to_lowercase()),
            false => format!("{keyword} "),
        }));
    }
    words.dedup();
    (start, words)
}

/// Whether a name begins with what is typed, in either case.
fn begins(name: &str, typed: &str) -> bool {
    name.get(..typed.len())
        .is_some_and(|part| part.eq_ignore_ascii_case(typed))
}

/// The values of the option at hand that begin with what is typed.
fn values(ending: &split::Ending, typed: &str, before: &str, behind: &str) -> Vec<String> {
    let all = ending.value_of.as_deref().map_or(&[][..], options::values);
    let near = all.iter().filter(|value| begins(value, typed));
    near.map(|value| format!("{before}{value}{behind}")).collect()
}

/// A name as it has to be written: in quotes where it wouldn't be that name without.
fn written(name: &str) -> String {
    let is_plain = |part: &str| {
        part.starts_with(|ch: char| ch.is_lowercase() || ch == '_')
            && part.chars().all(|ch| ch == '_' || ch.is_numeric() || ch.is_lowercase())
    };
    match name.split('.').all(is_plain) {
        true => name.to_owned(),
        false => in_quotes(name),
    }
}

fn in_quotes(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
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
        assert_eq!(complete("SELECT Är"), (7, words(&["\"Ärger\""])));
        assert_eq!(complete("é(bi").0, 3);
    }

    #[test]
    fn columns_stand_behind_the_name_of_a_relation() {
        assert_eq!(complete("SELECT b.au"), (9, words(&["auction"])));
        assert_eq!(complete("SELECT b.").1.len(), 4);
        assert_eq!(complete("SELECT weir.").1, words(&["weir.lag"]));
        assert_eq!(complete("SELECT weir.x").1, words(&[]));
    }

    #[test]
    fn in_quotes_there_are_names_of_that_kind_only() {
        assert_eq!(complete("SELECT \"Är"), (7, words(&["\"Ärger\""])));
        assert_eq!(complete("SELECT \"bi"), (7, words(&["\"bids\"", "\"bidder\""])));
        for text in ["SELECT 'sel", "SELECT 1 -- sel", "/* sel", "SELECT $$sel"] {
            assert_eq!(complete(text).1, words(&[]), "{text}");
        }
        assert_eq!(written("count(*)"), "\"count(*)\"");
        assert_eq!(written("a\"b"), "\"a\"\"b\"");
    }

    #[test]
    fn options_and_their_values_are_completed() {
        let source = "CREATE SOURCE s (a INT) WITH (";
        assert_eq!(
            complete(&format!("{source}conn")),
            (source.len(), words(&["connector = "]))
        );
        assert!(complete(source).1.len() > 15);
        assert_eq!(
            complete(&format!("{source}connector = 'kafka', topic.")).1,
            words(&["topic.pattern = "])
        );
        let (start, found) = complete(&format!("{source}connector = 'ka"));
        assert_eq!((start, found), (source.len() + 13, words(&["kafka'"])));
        assert_eq!(
            complete(&format!("{source}on_error = ")).1,
            words(&["'fail'", "'skip'"])
        );
        assert_eq!(
            complete("CREATE MATERIALIZED VIEW v WITH (p").1,
            words(&["pipeline = "])
        );
        assert!(complete("SUBSCRIBE TO v WITH (").1.contains(&"snapshot = ".to_owned()));
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
    fn a_command_interrupts_a_statement() {
        assert_eq!(interrupted("SELECT 1\n  \\d t\n"), Some(("SELECT 1", "  \\d t")));
        for text in [
            "SELECT '\n\\d\n",
            "SELECT 1;\n\\d",
            "\\d",
            "SELECT /*\n\\d",
            "SELECT \\d",
        ] {
            assert_eq!(interrupted(text), None, "{text:?}");
        }
        assert!(is_complete("SELECT 1\n\\d"));
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
