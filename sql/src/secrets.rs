//! Statements as they may be shown: without the passwords that stand in them.
//!
//! A statement is kept as it was written, because it is planned anew at each start. Whatever shows
//! it to somebody (SHOW CREATE, the line of an error) shows it by this.

use std::ops::Range;

use weir_engine::connector::is_secret;

use crate::split::{Kind, Pieces};

/// What stands in a secret's place.
const HIDDEN: &str = "'****'";

/// The text with `'****'` for the values of options that are secrets.
pub fn hidden(text: &str) -> String {
    hidden_before(text, text.len()).0
}

/// The same, and where the byte `at` of the text has come to stand.
pub(crate) fn hidden_before(text: &str, at: usize) -> (String, usize) {
    let (mut shown, mut from, mut moved) = (String::with_capacity(text.len()), 0, at);
    for secret in secrets(text) {
        shown.push_str(&text[from..secret.start]);
        if secret.contains(&at) {
            moved = shown.len();
        }
        shown.push_str(HIDDEN);
        if secret.end <= at {
            moved = shown.len() + (at - secret.end);
        }
        from = secret.end;
    }
    shown.push_str(&text[from..]);
    (shown, moved)
}

/// Where the values of secrets stand: what follows `properties.<name> =` up to a blank, a comma or a
/// parenthesis. The text need not be a statement that works.
fn secrets(text: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut name = String::new();
    let mut after_point = false;
    // Behind the = of a secret, and then within its value.
    let (mut awaited, mut within) = (false, false);
    for piece in Pieces::new(text) {
        let part = &text[piece.range.clone()];
        if piece.kind != Kind::Text || matches!(part, "," | ")") {
            within = false;
            if piece.kind != Kind::Blank && piece.kind != Kind::LineComment {
                awaited = false;
                name.clear();
            }
            continue;
        }
        if awaited {
            found.push(piece.range);
            (awaited, within) = (false, true);
            name.clear();
        } else if within {
            found.last_mut().expect("a value that has begun").end = piece.range.end;
        } else if part == "=" {
            awaited = is_secret(&name);
        } else if part == "." {
            name.push('.');
            after_point = true;
        } else {
            if !std::mem::take(&mut after_point) {
                name.clear();
            }
            name.push_str(&unquoted(part));
        }
    }
    found
}

/// A part of an option's name: lower case unless it stands in quotes of either kind.
fn unquoted(part: &str) -> String {
    let between = |quote: char| part.strip_prefix(quote)?.strip_suffix(quote);
    match between('\'').or_else(|| between('"')) {
        Some(quoted) => quoted.to_string(),
        None => part.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_secrets_are_hidden_however_they_are_written() {
        for (text, shown) in [
            (
                "CREATE SOURCE s (a INT) WITH (connector = 'kafka', properties.sasl.password = 'it''s', topic = 't')",
                "CREATE SOURCE s (a INT) WITH (connector = 'kafka', properties.sasl.password = '****', topic = 't')",
            ),
            (
                "WITH (Properties.SASL.password='x')",
                "WITH (Properties.SASL.password='****')",
            ),
            (
                "WITH ('properties.ssl.key.pem' = E'a\\'b')",
                "WITH ('properties.ssl.key.pem' = '****')",
            ),
            (
                "(\"properties.ssl.key.password\" = /* here */ $$a'b$$)",
                "(\"properties.ssl.key.password\" = /* here */ '****')",
            ),
            (
                "(properties.sasl.password = -12, a = 1)",
                "(properties.sasl.password = '****', a = 1)",
            ),
            (
                "(properties.sasl.password = hunter2!x)",
                "(properties.sasl.password = '****')",
            ),
            (
                "(properties.sasl.password = 'open",
                "(properties.sasl.password = '****'",
            ),
            (
                "(properties.sasl.password =\n -- why\n 'x')",
                "(properties.sasl.password =\n -- why\n '****')",
            ),
            (
                "(properties.sasl.password = 'a', properties.sasl.oauthbearer.client.secret = 'b')",
                "(properties.sasl.password = '****', properties.sasl.oauthbearer.client.secret = '****')",
            ),
        ] {
            assert_eq!(hidden(text), shown);
        }
    }

    #[test]
    fn all_else_is_shown() {
        for text in [
            "SELECT * FROM users WHERE password = 'x' AND users.password = 'y'",
            "WITH (properties.sasl.username = 'me', properties.ssl.key.location = '/key')",
            "properties.sasl.password",
            "properties.sasl.password = ",
            "",
            "'; = .",
        ] {
            assert_eq!(hidden(text), text);
        }
    }

    #[test]
    fn a_place_in_the_text_moves_along() {
        let text = "(properties.sasl.password = 'long password', topic = 1x)";
        let at = |part: &str| text.find(part).expect("a part of the text");
        for (part, there) in [
            ("(prop", "(prop"),
            ("topic", "topic"),
            ("1x", "1x"),
            ("'long", HIDDEN),
            ("word'", HIDDEN),
        ] {
            let (shown, moved) = hidden_before(text, at(part));
            assert!(shown[moved..].starts_with(there), "{part}: {shown}, {moved}");
        }
    }
}
