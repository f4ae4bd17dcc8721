//! Scripts: statements out of text that comes line by line, carried out one after the other until
//! the first error.
//!
//! A statement runs as soon as its line is complete, so another program may write statements into
//! the shell's standard input and read the answers.

use std::collections::VecDeque;
use std::io::{self, BufRead};

use weir_server::split;

use crate::failure::Failure;
use crate::shell::{Flow, Shell};

/// Runs all of a text. `name` is that of the file it comes from, for errors.
pub async fn run(shell: &mut Shell, text: impl BufRead, name: Option<&str>) -> Result<Flow, Failure> {
    let failed = |line: usize, message: String| match name {
        Some(name) => Failure::Message(format!("{name}:{line}: {message}")),
        None => Failure::Message(message),
    };
    let mut pieces = Pieces::new(text);
    while let Some(piece) = pieces.next() {
        let piece = piece.map_err(|error| failed(pieces.line, unreadable(&error)))?;
        let result = match piece.kind {
            Kind::Statement => shell.statement(&piece.text).await.map(|()| Flow::Continue),
            Kind::Command => shell.command(&piece.text).await,
        };
        match result {
            Ok(Flow::Continue) => {}
            Ok(Flow::Quit) => return Ok(Flow::Quit),
            Err(Failure::Message(message)) => {
                let line = piece.line + line_at_fault(&piece.text, &message);
                return Err(failed(line, message));
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(Flow::Continue)
}

/// Which line of a statement an error shows with a caret below it, from 0; the first where it shows none.
fn line_at_fault(statement: &str, message: &str) -> usize {
    let shown: Vec<&str> = message.lines().rev().take(2).collect();
    let [caret, source] = shown[..] else {
        return 0;
    };
    if caret.trim() != "^" {
        return 0;
    }
    let source = source.strip_prefix("  ").unwrap_or(source);
    let mut lines = statement.lines().enumerate().filter(|(_, line)| *line == source);
    match (lines.next(), lines.next()) {
        (Some((number, _)), None) => number,
        _ => 0,
    }
}

fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::InvalidData => "this line is not text in UTF-8".to_owned(),
        _ => error.to_string(),
    }
}

/// Whether a line behind `begun` can be a command: no string and no comment is open there.
pub fn takes_command(begun: &str) -> bool {
    split::complete(&format!("{begun}\n;"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Statement,
    /// A line that begins with a backslash, but within a string or comment. The statement that it
    /// interrupts goes on behind it.
    Command,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    kind: Kind,
    text: String,
    /// The line it begins on, from 1.
    line: usize,
}

/// Statements and commands of a text in order.
struct Pieces<R> {
    text: R,
    /// Lines read.
    line: usize,
    /// Text of statements that are not complete, and the line it begins on.
    begun: String,
    begun_at: usize,
    ready: VecDeque<Piece>,
    ended: bool,
}

impl<R: BufRead> Pieces<R> {
    fn new(text: R) -> Pieces<R> {
        Pieces {
            text,
            line: 0,
            begun: String::new(),
            begun_at: 1,
            ready: VecDeque::new(),
            ended: false,
        }
    }

    /// Takes one more line.
    fn read(&mut self) -> io::Result<()> {
        let mut line = String::new();
        self.line += 1;
        if self.text.read_line(&mut line)? == 0 {
            self.ended = true;
            self.take_begun();
            return Ok(());
        }
        if self.line == 1 && line.starts_with('\u{feff}') {
            line.remove(0);
        }
        // `#!` lets a script be a program.
        if self.line == 1 && line.starts_with("#!") {
            return Ok(());
        }
        let nothing_begun = self.begun.trim().is_empty();
        if nothing_begun {
            self.begun.clear();
            self.begun_at = self.line;
        }
        if line.trim_start().starts_with('\\') && (nothing_begun || takes_command(&self.begun)) {
            self.ready.push_back(Piece {
                kind: Kind::Command,
                text: line.trim().to_owned(),
                line: self.line,
            });
            return Ok(());
        }
        self.begun.push_str(&line);
        // Only a line with a semicolon can complete a statement; only a blank or a comment can be
        // complete without one, and is then done with.
        let may_be_complete = line.contains(';') || nothing_begun;
        if may_be_complete && split::complete(&self.begun) {
            self.take_begun();
        }
        Ok(())
    }

    fn take_begun(&mut self) {
        let text = std::mem::take(&mut self.begun);
        for range in split::split(&text) {
            let line = self.begun_at + text[..range.start].matches('\n').count();
            self.ready.push_back(Piece {
                kind: Kind::Statement,
                text: text[range].to_owned(),
                line,
            });
        }
    }
}

impl<R: BufRead> Iterator for Pieces<R> {
    type Item = io::Result<Piece>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Some(Ok(piece));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.read() {
                self.ended = true;
                return Some(Err(error));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<(usize, String)> {
        Pieces::new(text.as_bytes())
            .map(|piece| piece.expect("text"))
            .map(|piece| (piece.line, piece.text))
            .collect()
    }

    fn expect(text: &str, expected: &[(usize, &str)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(line, text)| (*line, (*text).to_owned()))
            .collect();
        assert_eq!(pieces(text), expected, "{text:?}");
    }

    #[test]
    fn statements_know_their_lines() {
        expect(
            "-- a file\nSELECT 1;\n\n/* two\n lines */ SELECT\n 2; SELECT 3;\nSELECT 4",
            &[(2, "SELECT 1"), (5, "SELECT\n 2"), (6, "SELECT 3"), (7, "SELECT 4")],
        );
        expect("", &[]);
        expect("-- nothing\n;;\n", &[]);
        expect("\u{feff}SELECT 1", &[(1, "SELECT 1")]);
        expect("#!/usr/bin/env weir -f\nSELECT 1", &[(2, "SELECT 1")]);
    }

    #[test]
    fn an_error_is_in_the_line_that_it_shows() {
        let statement = "INSERT INTO t VALUES\n  (1),\n  (nope)";
        assert_eq!(line_at_fault(statement, "no such column\n    (nope)\n     ^"), 2);
        assert_eq!(line_at_fault(statement, "no such column"), 0);
        assert_eq!(line_at_fault("SELECT\n a,\n a,\n b", "wrong\n   a,\n   ^"), 0);
    }

    #[test]
    fn text_inside_strings_ends_nothing() {
        expect(
            "SELECT ';\n\\q\n';\nSELECT 2;",
            &[(1, "SELECT ';\n\\q\n'"), (4, "SELECT 2")],
        );
        expect("SELECT 'open;\n", &[(1, "SELECT 'open;\n")]);
    }

    #[test]
    fn commands_stand_between_statements() {
        expect(
            "\\x on\nSELECT 1;\n  \\q  \n",
            &[(1, "\\x on"), (2, "SELECT 1"), (3, "\\q")],
        );
        expect("-- why\n\\x\n", &[(2, "\\x")]);
        expect("SELECT 1\n\\x\n+ 1;", &[(2, "\\x"), (1, "SELECT 1\n+ 1")]);
        expect("SELECT /*\n\\x\n*/ 1;", &[(1, "SELECT /*\n\\x\n*/ 1")]);
    }

    /// A reader that fails a test when it is asked for more than was needed.
    struct Lines(VecDeque<&'static str>);

    impl io::Read for Lines {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let line = self.0.pop_front().expect("nobody should wait for more input yet");
            buffer[..line.len()].copy_from_slice(line.as_bytes());
            Ok(line.len())
        }
    }

    #[test]
    fn a_statement_is_there_when_its_line_is() {
        let mut pieces = Pieces::new(io::BufReader::new(Lines(["SELECT\n", "1;\n", "\\x\n"].into())));
        assert_eq!(pieces.next().expect("a piece").expect("text").text, "SELECT\n1");
        assert_eq!(pieces.next().expect("a piece").expect("text").kind, Kind::Command);
    }

    #[test]
    fn bytes_that_are_no_text_are_an_error_with_a_line() {
        let mut pieces = Pieces::new(b"SELECT 1;\n\xff;\nSELECT 2;".as_slice());
        assert!(pieces.next().expect("a piece").is_ok());
        let error = pieces.next().expect("a piece").expect_err("no text");
        assert_eq!(
            (unreadable(&error).as_str(), pieces.line),
            ("this line is not text in UTF-8", 2)
        );
        assert!(pieces.next().is_none());
    }
}
