//! Where a text that is still being typed ends, as far as completion has to know.

use super::{Kind, Pieces};

/// Where a text ends.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Ending {
    /// The quote of a string or quoted name that is open, and where it begins; `-` of a comment.
    pub open: Option<(char, usize)>,
    /// Where the name of an option begins that is being typed, or is to come: `WITH (…, sca`.
    pub option: Option<usize>,
    /// The option whose value is being typed: `WITH (connector = 'ka`.
    pub value_of: Option<String>,
    /// The first words of the statement, upper case, at most three.
    pub statement: Vec<String>,
}

/// Looks at how a text ends.
pub fn ending(text: &str) -> Ending {
    let mut found = Ending::default();
    // For each parenthesis that is open, whether options stand in it.
    let mut lists: Vec<bool> = Vec::new();
    // Of the option at hand: where its name begins, the name, and whether its = has come.
    let (mut begins, mut name, mut has_value) = (0, String::new(), false);
    let (mut last, mut before_last) = (String::new(), String::new());
    for piece in Pieces::new(text) {
        let part = &text[piece.range.clone()];
        found.open = None;
        match piece.kind {
            Kind::Blank | Kind::LineComment => {
                let is_comment = piece.open || (piece.kind == Kind::LineComment && piece.range.end == text.len());
                found.open = is_comment.then_some(('-', piece.range.start));
                if name.is_empty() {
                    begins = piece.range.end;
                }
                continue;
            }
            Kind::Semicolon => {
                found = Ending::default();
                lists.clear();
                (last, before_last) = (String::new(), String::new());
                continue;
            }
            Kind::Text => {}
        }
        if piece.open {
            let quote = part.chars().find(|ch| matches!(ch, '\'' | '"' | '$'));
            found.open = quote.map(|quote| (quote, piece.range.start));
        }
        let upper = part.to_uppercase();
        if found.statement.len() < 3 && part.starts_with(char::is_alphabetic) {
            found.statement.push(upper.clone());
        }
        match part {
            "(" => lists.push(last == "WITH" || before_last == "ENCODE"),
            ")" => _ = lists.pop(),
            _ => {}
        }
        match part {
            "(" | ")" | "," => (begins, name, has_value) = (piece.range.end, String::new(), false),
            "=" => has_value = true,
            _ if !has_value => name.push_str(part),
            _ => {}
        }
        before_last = std::mem::replace(&mut last, upper);
    }
    if lists.last() == Some(&true) {
        match has_value {
            true => found.value_of = Some(name.trim_matches(['\'', '"']).to_lowercase()),
            false => found.option = Some(begins),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_strings_names_and_comments_are_seen() {
        let open = |text: &str| ending(text).open;
        assert_eq!(open("SELECT 'a"), Some(('\'', 7)));
        assert_eq!(open("SELECT 'it''s' || \"B"), Some(('"', 18)));
        assert_eq!(open("SELECT $$a"), Some(('$', 7)));
        assert_eq!(open("SELECT 1 -- why"), Some(('-', 9)));
        assert_eq!(open("SELECT 1 /* why"), Some(('-', 9)));
        for closed in ["", "SELECT 'a'", "SELECT 'a'; ", "-- why\nSEL"] {
            assert_eq!(open(closed), None, "{closed}");
        }
    }

    #[test]
    fn options_are_seen_in_their_lists() {
        let option = |text: &str| ending(text).option.map(|at| text[at..].to_string());
        for (text, typed) in [
            ("CREATE SOURCE s (a INT) WITH (", Some("")),
            ("CREATE SOURCE s (a INT) WITH ( con", Some("con")),
            (
                "CREATE SOURCE s (a INT) with (connector = 'kafka',\n  properties.boot",
                Some("properties.boot"),
            ),
            ("x WITH (a = 1) ENCODE CSV (hea", Some("hea")),
            ("CREATE SOURCE s (a I", None),
            ("CREATE SOURCE s (a INT) WITH (connector = 'kafka'", None),
            ("CREATE SOURCE s WITH (a = 'b') FOR", None),
            ("CREATE SOURCE s WITH (a = 'b'); SELECT (", None),
            ("WITH x AS (SEL", None),
        ] {
            assert_eq!(option(text).as_deref(), typed, "{text}");
        }
    }

    #[test]
    fn the_option_of_a_value_is_known() {
        let value_of = |text: &str| ending(text).value_of;
        assert_eq!(value_of("x WITH (connector = 'ka").as_deref(), Some("connector"));
        assert_eq!(
            value_of("x WITH (a = 'b', scan.Startup.mode =").as_deref(),
            Some("scan.startup.mode")
        );
        assert_eq!(value_of("SELECT (a = 'ka"), None);
        let of = ending("; create  materialized view v WITH (");
        assert_eq!(of.statement, ["CREATE", "MATERIALIZED", "VIEW"]);
    }
}
