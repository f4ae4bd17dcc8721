//! SQL's regular expressions, of SIMILAR TO, as the ones that `~` takes.
//!
//! A pattern is about the whole text. `%` is any text and `_` any character; `|`, `*`, `+`, `?`, `{m,n}`,
//! parentheses and brackets mean what they mean elsewhere; all other characters are themselves.

/// The regular expression of a pattern; an error says why there is none.
pub fn regex(pattern: &str, escape: Option<char>) -> Result<String, String> {
    let mut out = String::from("^(?s:");
    let mut rest = pattern.chars().peekable();
    let mut depth = 0usize;
    while let Some(next) = rest.next() {
        match next {
            c if Some(c) == escape => match rest.next() {
                Some(escaped) => literal(escaped, &mut out),
                None => return Err("ends with its escape character".to_string()),
            },
            '%' => out.push_str(".*"),
            '_' => out.push('.'),
            '(' => {
                depth += 1;
                out.push_str("(?:");
            }
            ')' => {
                depth = depth.checked_sub(1).ok_or("has a ) without its (")?;
                out.push(')');
            }
            '{' => repetition(&mut rest, &mut out)?,
            '|' | '*' | '+' | '?' => out.push(next),
            '[' => bracket(&mut rest, escape, &mut out)?,
            other => literal(other, &mut out),
        }
    }
    if depth > 0 {
        return Err("has a ( without its )".to_string());
    }
    out.push_str(")$");
    Ok(out)
}

fn literal(character: char, out: &mut String) {
    if character.is_ascii_punctuation() {
        out.push('\\');
    }
    out.push(character);
}

/// How often, up to the closing brace.
fn repetition(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) -> Result<(), String> {
    out.push('{');
    loop {
        match rest.next() {
            Some(next @ ('0'..='9' | ',')) => out.push(next),
            Some('}') => break,
            _ => return Err("has a { that no numbers and } follow".to_string()),
        }
    }
    out.push('}');
    Ok(())
}

/// What stands in brackets, up to their end.
fn bracket(
    rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
    escape: Option<char>,
    out: &mut String,
) -> Result<(), String> {
    out.push('[');
    if rest.next_if_eq(&'^').is_some() {
        out.push('^');
    }
    let mut first = true;
    loop {
        let next = rest.next().ok_or("has a [ without its ]")?;
        match next {
            ']' if !first => break,
            '[' if rest.peek() == Some(&':') => {
                let mut class = String::from("[");
                while !class.ends_with(":]") {
                    class.push(rest.next().ok_or("has a [: without its :]")?);
                }
                out.push_str(&class);
            }
            c if Some(c) == escape => {
                let escaped = rest.next().ok_or("ends with its escape character")?;
                literal(escaped, out);
            }
            '-' => out.push('-'),
            other => literal(other, out),
        }
        first = false;
    }
    out.push(']');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_become_regular_expressions() {
        let cases = [
            ("abc", "^(?s:abc)$"),
            ("a%_c", "^(?s:a.*.c)$"),
            ("(b|d){2,3}+", "^(?s:(?:b|d){2,3}+)$"),
            ("a.c^$", r"^(?s:a\.c\^\$)$"),
            (r"50\%", r"^(?s:50\%)$"),
            ("[^a-c.]", r"^(?s:[^a-c\.])$"),
            ("[[:digit:]x]", "^(?s:[[:digit:]x])$"),
            ("[]a]", r"^(?s:[\]a])$"),
        ];
        for (pattern, expected) in cases {
            assert_eq!(regex(pattern, Some('\\')).as_deref(), Ok(expected), "{pattern}");
        }
        assert_eq!(regex("50#%", Some('#')).as_deref(), Ok(r"^(?s:50\%)$"));
        assert_eq!(regex(r"a\b", None).as_deref(), Ok(r"^(?s:a\\b)$"));
        for bad in ["(a", "a)", "[a", r"a\"] {
            assert!(regex(bad, Some('\\')).is_err(), "{bad}");
        }
    }
}
