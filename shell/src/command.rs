//! Commands of the shell itself: a backslash and a word.

use crate::format::Format;

/// What `\?` prints.
pub const HELP: &str = "\
Statements end with ; and may take several lines. Tab completes, arrows go through the history.
Ctrl-C cancels what runs or what is being typed, Ctrl-D leaves.

  \\d            sources, tables, views and sinks
  \\d NAME       columns of a relation
  \\ds \\dt \\dm   only sources, tables, materialized views
  \\dv \\dk \\dp   only views, sinks, pipelines
  \\lag          how far each source is read
  \\x            one column a line, and back
  \\format F     table, csv, json or ndjson
  \\timing       say how long statements take, or not
  \\i FILE       run the statements of a file
  \\q            leave

  SELECT * FROM v;                  what a view or table holds now
  SELECT * FROM v EMIT CHANGES;     and as it changes, until Ctrl-C
  EXPLAIN SELECT …;                 how a query is kept up to date
";

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `\?`
    Help,
    /// `\q`
    Quit,
    /// `\timing`; without a word, the other way round.
    Timing(Option<bool>),
    /// `\x`; without a word, the other way round.
    Expanded(Option<bool>),
    /// `\format`; without a word, it is told.
    Format(Option<Format>),
    /// `\i`
    Include(String),
    /// Short for a statement.
    Sql(String),
}

/// Commands, for completion.
pub const NAMES: &[&str] = &[
    "\\?", "\\d", "\\dk", "\\dm", "\\dp", "\\ds", "\\dt", "\\dv", "\\format", "\\i", "\\lag", "\\q", "\\timing", "\\x",
];

const LIST: &str = "SELECT table_name AS name, lower(replace(table_type, 'BASE ', '')) AS kind, comment FROM information_schema.tables \
                    WHERE table_schema NOT IN ('information_schema', 'weir') ORDER BY kind, name";

/// Reads a command. A semicolon at its end is forgiven.
pub fn parse(line: &str) -> Result<Command, String> {
    let line = line.trim().trim_end_matches(';').trim_end();
    let (word, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let argument = argument.trim();
    let alone = |command: Command| match argument {
        "" => Ok(command),
        _ => Err(format!("{word} takes nothing behind it, not {argument:?}")),
    };
    let show = |what: &str| alone(Command::Sql(format!("SHOW {what}")));
    match word {
        "\\?" | "\\h" | "\\help" => Ok(Command::Help),
        "\\q" | "\\quit" | "\\exit" => alone(Command::Quit),
        "\\timing" => Ok(Command::Timing(switch(word, argument)?)),
        "\\x" => Ok(Command::Expanded(switch(word, argument)?)),
        "\\format" if argument.is_empty() => Ok(Command::Format(None)),
        "\\format" => match Format::of_name(argument) {
            Some(format) => Ok(Command::Format(Some(format))),
            None => Err(format!("there is no format {argument:?}: table, csv, json or ndjson")),
        },
        "\\i" if argument.is_empty() => Err("\\i needs the name of a file".to_owned()),
        "\\i" => Ok(Command::Include(unquoted(argument).to_owned())),
        "\\d" if argument.is_empty() => Ok(Command::Sql(LIST.to_owned())),
        "\\d" => Ok(Command::Sql(format!("DESCRIBE {argument}"))),
        "\\ds" => show("SOURCES"),
        "\\dt" => show("TABLES"),
        "\\dm" => show("MATERIALIZED VIEWS"),
        "\\dv" => show("VIEWS"),
        "\\dk" => show("SINKS"),
        "\\dp" => show("PIPELINES"),
        "\\lag" => alone(Command::Sql("SELECT * FROM weir.lag".to_owned())),
        _ => Err(format!("there is no command {word}; \\? lists those there are")),
    }
}

fn switch(word: &str, argument: &str) -> Result<Option<bool>, String> {
    match argument {
        "" => Ok(None),
        "on" => Ok(Some(true)),
        "off" => Ok(Some(false)),
        _ => Err(format!("{word} is on or off, not {argument:?}")),
    }
}

/// A file's name may stand in quotes.
fn unquoted(name: &str) -> &str {
    let between = |quote: char| name.strip_prefix(quote)?.strip_suffix(quote);
    between('\'').or_else(|| between('"')).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read() {
        assert_eq!(parse("\\q"), Ok(Command::Quit));
        assert_eq!(parse("  \\x on ; "), Ok(Command::Expanded(Some(true))));
        assert_eq!(parse("\\timing"), Ok(Command::Timing(None)));
        assert_eq!(parse("\\format json"), Ok(Command::Format(Some(Format::Json))));
        assert_eq!(parse("\\i 'a file.sql'"), Ok(Command::Include("a file.sql".to_owned())));
        assert_eq!(parse("\\d \"Bids\""), Ok(Command::Sql("DESCRIBE \"Bids\"".to_owned())));
        assert_eq!(parse("\\dm"), Ok(Command::Sql("SHOW MATERIALIZED VIEWS".to_owned())));
    }

    #[test]
    fn what_is_no_command_is_refused() {
        for (line, part) in [
            ("\\w", "\\?"),
            ("\\x maybe", "on or off"),
            ("\\format xml", "ndjson"),
            ("\\i", "file"),
            ("\\q now", "nothing"),
            ("\\dt x", "nothing"),
        ] {
            let error = parse(line).expect_err(line);
            assert!(error.contains(part), "{line}: {error}");
        }
    }

    #[test]
    fn help_and_completion_know_every_command() {
        for name in NAMES {
            assert!(
                !matches!(parse(name), Err(error) if error.contains("no command")),
                "{name}"
            );
            assert!(*name == "\\?" || HELP.contains(name), "{name}");
        }
        assert!(NAMES.is_sorted());
    }
}
