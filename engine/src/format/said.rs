//! What Arrow and DataFusion say of a value that can't be computed, in the words of Weir's other errors.

/// The message in those words, if it begins with one that is known. What stands behind it stays.
pub(super) fn reworded(text: &str) -> Option<String> {
    not_of_a_type(text)
        .or_else(|| out_of_range(text))
        .or_else(|| pattern(text))
        .or_else(|| {
            text.strip_prefix("Divide by zero error")
                .map(|rest| format!("division by zero{rest}"))
        })
        .or_else(|| {
            let (encoding, why) = text.strip_prefix("Failed to decode value using ")?.split_once(": ")?;
            Some(format!("this is no text of {encoding}: {why}"))
        })
        .or_else(|| {
            let number = text.strip_prefix("invalid Unicode scalar value: ")?;
            Some(format!("there is no character {number}"))
        })
}

/// A value that is none of another type.
fn not_of_a_type(text: &str) -> Option<String> {
    for begin in ["Cannot cast string '", "Cannot cast value '"] {
        if let Some(rest) = text.strip_prefix(begin) {
            let (value, rest) = rest.split_once("' to value of ")?;
            let (kind, rest) = rest.split_once(" type")?;
            return Some(format!("'{value}' is no {kind}{rest}"));
        }
    }
    if let Some(rest) = text.strip_prefix("Can't cast value ") {
        let (value, rest) = rest.split_once(" to type ")?;
        let (kind, rest) = at_place(rest);
        return Some(format!("{value} is no {kind}: it is out of range{rest}"));
    }
    let (value, why) = text.strip_prefix("Error parsing timestamp from '")?.split_once("': ")?;
    Some(format!("'{value}' is no TIMESTAMP: {why}"))
}

/// A number that its type can't hold.
fn out_of_range(text: &str) -> Option<String> {
    let begins = [
        "Overflow happened on: ",
        "Overflow happened on ",
        "Signed integer overflow in ",
        "Unsigned integer overflow in ",
    ];
    let rest = match begins.iter().find_map(|begin| text.strip_prefix(begin)) {
        Some(rest) => rest,
        None => {
            let (array, rest) = text.split_once(" overflow on ")?;
            array
                .strip_suffix("Array")
                .filter(|kind| !kind.contains(' '))
                .map(|_| rest)?
        }
    };
    let (operation, rest) = at_place(rest);
    Some(format!("{} is out of range{rest}", operation.to_ascii_lowercase()))
}

/// A regular expression that is none.
fn pattern(text: &str) -> Option<String> {
    let rest = text.strip_prefix("Regular expression did not compile: Syntax(")?;
    let (_, rest) = rest.split_once("regex parse error:")?;
    let pattern = rest.lines().find(|line| !line.trim().is_empty())?.trim();
    let why = rest.split("error: ").nth(1)?.lines().next()?;
    let behind = rest.rfind("~\n)").map_or("", |end| &rest[end + 3..]);
    Some(format!("'{pattern}' is no regular expression: {why}{behind}"))
}

/// What is said, and behind it where that is.
fn at_place(text: &str) -> (&str, &str) {
    text.split_at(text.find(", in ").unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::super::sql_words;

    #[test]
    fn failures_are_told_in_plain_words() {
        for (said, meant) in [
            (
                "Arrow error: Divide by zero error, in a / b",
                "division by zero, in a / b",
            ),
            (
                "Arrow error: Arithmetic overflow: Overflow happened on: 1 + 2, in a + b, of it",
                "1 + 2 is out of range, in a + b, of it",
            ),
            (
                "Arithmetic overflow: the result is out of range",
                "the result is out of range",
            ),
            ("Int64Array overflow on abs(-8)", "abs(-8) is out of range"),
            ("Signed integer overflow in LCM(7, 6)", "lcm(7, 6) is out of range"),
            (
                "Cast error: Cannot cast string 'a b' to value of Int32 type, in x",
                "'a b' is no INT, in x",
            ),
            (
                "Cast error: Can't cast value 99 to type Int8",
                "99 is no TINYINT: it is out of range",
            ),
            (
                "Regular expression did not compile: Syntax(\n~~~\nregex parse error:\n    x(\n     ^\nerror: unclosed group\n~~~\n)",
                "'x(' is no regular expression: unclosed group",
            ),
        ] {
            assert_eq!(sql_words(said), meant);
        }
    }
}
