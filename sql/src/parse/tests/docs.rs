//! The SQL reference keeps its word: every example in it is read, every statement is in it.

use super::parse;

const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/sql.md");

/// The examples of a Markdown text: what stands between "```sql" and "```", with its first line's number.
fn examples(markdown: &str) -> Vec<(usize, String)> {
    let mut examples = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in markdown.lines().enumerate() {
        match (line.trim_end(), &mut open) {
            ("```sql", None) => open = Some((number + 2, String::new())),
            ("```", Some(_)) => examples.extend(open.take()),
            (line, Some((_, text))) => {
                text.push_str(line);
                text.push('\n');
            }
            _ => {}
        }
    }
    examples
}

#[test]
fn every_example_of_the_reference_is_read() {
    let reference = std::fs::read_to_string(REFERENCE).unwrap();
    let examples = examples(&reference);
    assert!(examples.len() > 10, "only {} examples", examples.len());
    for (line, text) in &examples {
        if let Err(error) = parse(text) {
            panic!("docs/sql.md, example at line {line}: {}", error.render(text));
        }
    }
    let all: String = examples.into_iter().map(|(_, text)| text).collect();
    let begin = |statement: &str| all.lines().any(|line| line.starts_with(statement));
    for statement in super::super::STATEMENTS.split(", ").map(str::trim) {
        assert!(begin(statement), "docs/sql.md has no example of {statement}");
    }
}
