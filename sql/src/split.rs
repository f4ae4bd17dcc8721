//! Text into statements for the shell, before anything is parsed: where one ends, whether the last
//! one is finished, and which words complete what is being typed.
//!
//! The scan is by hand and takes any text, because the text is still being written: it knows
//! strings (`'…'`, `E'…'`, `$tag$…$tag$`), quoted names, comments (nested ones too), and that a
//! semicolon outside of them ends a statement.

use std::ops::Range;

use crate::parse::dialect::{is_name_part, is_name_start};

mod ending;

pub use ending::{Ending, ending};

/// Whether nothing in `text` is left unfinished: every statement ends with a semicolon, every
/// string, quoted name and comment is closed. Blank text is complete.
pub fn complete(text: &str) -> bool {
    let mut begun = false;
    for piece in Pieces::new(text) {
        match piece.kind {
            Kind::Blank | Kind::LineComment => {}
            Kind::Semicolon => begun = false,
            Kind::Text => begun = true,
        }
        if piece.open {
            return false;
        }
    }
    !begun
}

/// Byte ranges of the statements in `text`, without their semicolons and the blanks and comments
/// around them. The last one may be unfinished. Ranges rise and don't overlap.
pub fn split(text: &str) -> Vec<Range<usize>> {
    let mut statements = Vec::new();
    let mut current: Option<Range<usize>> = None;
    for piece in Pieces::new(text) {
        match piece.kind {
            Kind::Blank | Kind::LineComment => {}
            Kind::Semicolon => statements.extend(current.take()),
            Kind::Text => {
                let start = current.map_or(piece.range.start, |range| range.start);
                current = Some(start..piece.range.end);
            }
        }
    }
    statements.extend(current);
    statements
}

/// Words that complete what is typed, upper case and sorted.
pub fn keywords() -> &'static [&'static str] {
    KEYWORDS
}

/// What a piece of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// White space and `/* … */`.
    Blank,
    /// `-- …` up to the end of its line.
    LineComment,
    Semicolon,
    /// Anything else.
    Text,
}

/// A word, a string, a sign or what stands between them.
#[derive(Debug)]
pub(crate) struct Piece {
    pub kind: Kind,
    pub range: Range<usize>,
    /// A string, a quoted name or a comment that the text ends in.
    open: bool,
}

/// Pieces of a text that follow each other without gaps.
pub(crate) struct Pieces<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Pieces<'a> {
    pub fn new(text: &'a str) -> Self {
        Pieces { text, at: 0 }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Length and openness of the piece that begins here.
    fn measure(&self, first: char) -> (Kind, usize, bool) {
        let rest = self.rest();
        let closed = |kind, length| (kind, length, false);
        match first {
            ';' => closed(Kind::Semicolon, 1),
            '\'' => text(quoted(rest, 1, '\'', false)),
            '"' => text(quoted(rest, 1, '"', false)),
            '$' => match dollar_tag(rest) {
                Some(tag) => text(dollar_quoted(rest, tag)),
                None => closed(Kind::Text, 1),
            },
            '-' if rest.starts_with("--") => {
                let end = rest.find(['\n', '\r']).unwrap_or(rest.len());
                closed(Kind::LineComment, end)
            }
            '/' if rest.starts_with("/*") => {
                let (length, open) = comment(rest);
                (Kind::Blank, length, open)
            }
            first if first.is_ascii_digit() => closed(Kind::Text, number(rest)),
            first if is_name_start(first) => {
                let word = rest.find(|ch| !is_name_part(ch)).unwrap_or(rest.len());
                let escapes = matches!(&rest[..word], "E" | "e" | "X" | "x");
                if escapes && rest[word..].starts_with('\'') {
                    text(quoted(rest, word + 1, '\'', true))
                } else {
                    closed(Kind::Text, word)
                }
            }
            first if first.is_whitespace() => closed(Kind::Blank, first.len_utf8()),
            first => closed(Kind::Text, first.len_utf8()),
        }
    }
}

impl Iterator for Pieces<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let first = self.rest().chars().next()?;
        let (kind, length, open) = self.measure(first);
        let range = self.at..self.at + length;
        self.at = range.end;
        Some(Piece { kind, range, open })
    }
}

fn text((length, open): (usize, bool)) -> (Kind, usize, bool) {
    (Kind::Text, length, open)
}

/// Length of the number at the beginning of `text`, so that `1E'…'` is a number and a string.
fn number(text: &str) -> usize {
    let digits = |text: &str, digit: fn(char) -> bool| text.find(|ch| !digit(ch) && ch != '_').unwrap_or(text.len());
    if let Some(hex) = text.strip_prefix("0x") {
        return 2 + digits(hex, |ch| ch.is_ascii_hexdigit());
    }
    let mantissa = digits(text, |ch| ch.is_ascii_digit() || ch == '.');
    let Some(exponent) = text[mantissa..].strip_prefix(['e', 'E']) else {
        return mantissa;
    };
    let sign = usize::from(exponent.starts_with(['+', '-']));
    match digits(&exponent[sign..], |ch| ch.is_ascii_digit()) {
        0 => mantissa,
        length => mantissa + 1 + sign + length,
    }
}

/// Length of what begins with a quote before `from`, and whether its end is missing. A doubled
/// quote stands for itself; a backslash takes the next character with it if it `escapes`.
fn quoted(text: &str, from: usize, quote: char, escapes: bool) -> (usize, bool) {
    let mut chars = text[from..].char_indices().peekable();
    while let Some((offset, ch)) = chars.next() {
        if escapes && ch == '\\' {
            chars.next();
        } else if ch == quote {
            if chars.peek().is_some_and(|&(_, next)| next == quote) {
                chars.next();
            } else {
                return (from + offset + ch.len_utf8(), false);
            }
        }
    }
    (text.len(), true)
}

/// `$$` or `$tag$` at the beginning of `text`.
fn dollar_tag(text: &str) -> Option<&str> {
    let end = text[1..].find(|ch: char| !ch.is_alphanumeric() && ch != '_')? + 1;
    text[end..].starts_with('$').then(|| &text[..=end])
}

fn dollar_quoted(text: &str, tag: &str) -> (usize, bool) {
    match text[tag.len()..].find(tag) {
        Some(end) => (end + 2 * tag.len(), false),
        None => (text.len(), true),
    }
}

/// Length of a comment that may hold others, and whether its end is missing.
fn comment(text: &str) -> (usize, bool) {
    let bytes = text.as_bytes();
    let (mut depth, mut at) = (0, 0);
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => {
                depth += 1;
                at += 2;
            }
            b"*/" => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return (at, false);
                }
            }
            _ => at += 1,
        }
    }
    (text.len(), true)
}

const KEYWORDS: &[&str] = &[
    "ALL",
    "ALTER",
    "ALWAYS",
    "ANALYZE",
    "AND",
    "ARRAY",
    "AS",
    "ASC",
    "BEGIN",
    "BETWEEN",
    "BIGINT",
    "BOOLEAN",
    "BY",
    "BYTEA",
    "BYTES",
    "CASCADE",
    "CASE",
    "CAST",
    "CHANGES",
    "CLOSE",
    "COALESCE",
    "COMMENT",
    "COMMIT",
    "CONFLICT",
    "COUNT",
    "CREATE",
    "CROSS",
    "CSV",
    "CUMULATE",
    "CURRENT_DATE",
    "CURRENT_TIMESTAMP",
    "DATE",
    "DAY",
    "DECIMAL",
    "DEFAULT",
    "DELETE",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "DO",
    "DOUBLE",
    "DROP",
    "ELSE",
    "EMIT",
    "ENCODE",
    "END",
    "EXCEPT",
    "EXISTS",
    "EXPLAIN",
    "EXTRACT",
    "FALSE",
    "FILTER",
    "FINAL",
    "FLUSH",
    "FOR",
    "FORMAT",
    "FROM",
    "FULL",
    "FUNCTIONS",
    "GENERATED",
    "GROUP",
    "HAVING",
    "HOP",
    "HOUR",
    "IF",
    "ILIKE",
    "IN",
    "INCLUDE",
    "INNER",
    "INSERT",
    "INT",
    "INTERSECT",
    "INTERVAL",
    "INTO",
    "IS",
    "JOIN",
    "JSON",
    "KEY",
    "LATERAL",
    "LEFT",
    "LIKE",
    "LIMIT",
    "MATERIALIZED",
    "MAX",
    "METADATA",
    "MIN",
    "MINUTE",
    "MONTH",
    "NOT",
    "NOTHING",
    "NULL",
    "NULLS",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "PAUSE",
    "PIPELINES",
    "PLAIN",
    "PRECISION",
    "PRIMARY",
    "QUALIFY",
    "REAL",
    "RENAME",
    "REPLACE",
    "RESUME",
    "RIGHT",
    "ROLLBACK",
    "ROWS",
    "ROW_NUMBER",
    "SECOND",
    "SELECT",
    "SESSION",
    "SET",
    "SETTINGS",
    "SHOW",
    "SINK",
    "SINKS",
    "SMALLINT",
    "SOURCE",
    "SOURCES",
    "SUBSCRIBE",
    "SUM",
    "TABLE",
    "TABLES",
    "TEXT",
    "THEN",
    "TIMESTAMP",
    "TIMESTAMPTZ",
    "TO",
    "TOPICS",
    "TRUE",
    "TUMBLE",
    "UNION",
    "UNNEST",
    "UPDATE",
    "UPSERT",
    "USING",
    "VALUES",
    "VIEW",
    "VIEWS",
    "WATERMARK",
    "WHEN",
    "WHERE",
    "WINDOW",
    "WITH",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pieces(text: &str) -> Vec<&str> {
        split(text).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn semicolons_end_statements() {
        assert_eq!(pieces("SELECT 1; SELECT 2;"), ["SELECT 1", "SELECT 2"]);
        assert_eq!(pieces("SELECT 1; SELECT 2"), ["SELECT 1", "SELECT 2"]);
        assert_eq!(pieces(" ;;  ; "), Vec::<&str>::new());
        assert_eq!(pieces(""), Vec::<&str>::new());
    }

    #[test]
    fn semicolons_in_literals_names_and_comments_do_not() {
        for whole in [
            "SELECT ';'",
            "SELECT 'it''s;'",
            r"SELECT E'\';'",
            r"SELECT 'a\'",
            "SELECT \"a;\"\"b\"",
            "SELECT $$;$$",
            "SELECT $x$;$$;$x$",
            "SELECT a$b, 1",
            "SELECT 1 /* ; /* ; */ ; */ + 2",
            "SELECT 1 -- ;\n + 2",
            "SELECT E'\u{e9};'",
            "SELECT namE, ';'",
        ] {
            assert_eq!(pieces(whole), [whole], "{whole}");
            let terminated = format!("{whole};");
            assert_eq!(pieces(&terminated), [whole], "{terminated}");
            assert!(complete(&terminated), "{terminated}");
            assert!(!complete(whole), "{whole}");
        }
    }

    #[test]
    fn comments_around_statements_are_left_out() {
        assert_eq!(
            pieces("-- first\nSELECT 1 /* one */; /* nothing */ ;\n-- end\n"),
            ["SELECT 1"]
        );
        assert!(complete("-- only a comment"));
        assert!(complete("SELECT 1; -- done"));
        assert!(complete("  \n "));
    }

    #[test]
    fn unfinished_text_is_not_complete() {
        for text in [
            "SELECT 1",
            "SELECT ';",
            "SELECT 1; SELECT",
            "SELECT \"a;",
            "SELECT $$;",
            "SELECT $t$ ; $$",
            "/* ;",
            "/* /* */ ;",
            r"SELECT E'\';",
            "SELECT 1; /*",
        ] {
            assert!(!complete(text), "{text}");
        }
    }

    #[test]
    fn keywords_are_sorted_and_upper_case() {
        assert!(keywords().is_sorted());
        assert!(keywords().iter().all(|word| word.to_uppercase() == *word));
    }

    /// Texts made of what the scan cares about.
    fn soup() -> impl Strategy<Value = String> {
        let parts = prop::sample::select(vec![
            "'", "\"", ";", "$", "$$", "$a$", "--", "/*", "*/", "\n", "\\", "E'", "e", "x", " ", "é", "1", "a",
            "SELECT", "(", ",", "\r",
        ]);
        prop::collection::vec(parts, 0..40).prop_map(|parts| parts.concat())
    }

    /// Texts in which everything is closed, full of semicolons that end nothing.
    fn finished() -> impl Strategy<Value = String> {
        let parts = prop::sample::select(vec![
            "'a;'",
            "'it'';s'",
            "\";\"",
            "$$;$$",
            "$t$;$$;$t$",
            "-- ;\n",
            "/* ; /* ; */ */",
            "E'\\';'",
            ";",
            ";",
            "SELECT",
            "1e3",
            "é",
            "(",
            ",",
        ]);
        prop::collection::vec(parts, 0..40).prop_map(|parts| parts.join(" "))
    }

    proptest! {
        #[test]
        fn pieces_follow_each_other_without_gaps(text in soup()) {
            let mut at = 0;
            for piece in Pieces::new(&text) {
                prop_assert_eq!(piece.range.start, at);
                prop_assert!(piece.range.end > at);
                at = piece.range.end;
            }
            prop_assert_eq!(at, text.len());
        }

        #[test]
        fn each_statement_alone_is_one_statement(text in soup()) {
            for range in split(&text) {
                let statement = &text[range];
                prop_assert_eq!(split(statement), vec![0..statement.len()]);
            }
        }

        #[test]
        fn statements_put_together_again_are_the_same(text in finished()) {
            let terminated = format!("{text};");
            prop_assert!(complete(&terminated), "{}", terminated);
            let statements = pieces(&text);
            let joined = statements.iter().fold(String::new(), |text, statement| text + statement + "\n;");
            prop_assert_eq!(pieces(&joined), statements);
        }

        #[test]
        fn the_parser_sees_the_same_statements(text in soup()) {
            if let Ok(count) = crate::parse::count_statements(&text) {
                let terminated = format!("{text}\n;");
                prop_assert!(complete(&terminated), "{}", terminated);
                prop_assert_eq!(split(&text).len(), count);
            }
        }

        #[test]
        fn any_text_can_be_split(text in any::<String>()) {
            complete(&text);
            split(&text);
        }
    }
}
