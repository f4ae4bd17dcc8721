//! Any text is read or refused in time, without a panic, at a place in the text.

use proptest::prelude::*;

use super::super::parse;

/// Deep trees are dropped, compared and planned by recursion, so they are refused before; the
/// longest that are read must be safe on a thread's ordinary stack.
#[test]
fn depth_is_bounded() {
    let too_long = |text: &str| parse(text).unwrap_err().message.contains("this is chained too long");
    let sum = |first: &str, terms: usize| format!("{first}{}", " + 1".repeat(terms));
    assert!(parse(&format!("SELECT {}", sum("1", 390))).is_ok());
    assert!(too_long(&format!("SELECT {}", sum("1", 500))));
    let union = |arms: usize| format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(arms));
    assert!(parse(&union(190)).is_ok());
    assert!(too_long(&union(500)));
    let sum_of_sums = (0..10).fold("1".to_string(), |inner, _| format!("({})", sum(&inner, 50)));
    assert!(too_long(&format!("SELECT {sum_of_sums}")));
    let sum_of_cases = (0..10).fold("1".to_string(), |inner, _| {
        sum(&format!("CASE WHEN true THEN ({inner}) END"), 50)
    });
    assert!(too_long(&format!("SELECT {sum_of_cases}")));
    // What stands beside each other adds nothing.
    let columns = vec![sum("1", 100); 500].join(", ");
    assert!(parse(&format!("SELECT {columns} FROM t")).is_ok());
    let branches = " WHEN a = 1 AND b = 2 THEN 'x'".repeat(500);
    assert!(parse(&format!("SELECT CASE {branches} ELSE 'y' END FROM t")).is_ok());
    let joins: String = (0..100)
        .map(|n| format!(" JOIN t{n} ON t{n}.a = t.a AND t{n}.b = 1"))
        .collect();
    assert!(parse(&format!("SELECT 1 FROM t{joins}")).is_ok());
    let values = vec!["(1, 'a')"; 20_000].join(", ");
    assert!(parse(&format!("INSERT INTO t VALUES {values}")).is_ok());
    let nested =
        |open: &str, close: &str, depth: usize| format!("SELECT {}1{}", open.repeat(depth), close.repeat(depth));
    for (open, close) in [
        ("(", ")"),
        ("CAST(", " AS INT)"),
        ("CASE WHEN ", " THEN 1 END"),
        ("- ", ""),
    ] {
        let error = parse(&nested(open, close, 200)).unwrap_err();
        assert!(error.message.contains("nested too deeply"), "{open}: {error}");
    }
}

/// sqlparser reads some words twice when they fail; nested, that would take for ever.
#[test]
fn a_mistake_in_nested_calls_is_found_in_time() {
    for open in [
        "CAST(",
        "CASE WHEN ",
        "NOT (",
        "EXTRACT(",
        "TRIM(",
        "SUBSTRING(",
        "INTERVAL (",
    ] {
        let depth = 24;
        let close = ")".repeat(open.matches('(').count() * depth);
        let text = format!("SELECT {}x x{close}", open.repeat(depth));
        let begun = std::time::Instant::now();
        assert!(parse(&text).is_err(), "{text}");
        assert!(begun.elapsed().as_secs() < 5, "{open} took {:?}", begun.elapsed());
    }
}

/// Words and signs of the dialect, in any order.
fn soup() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "SELECT",
        "FROM",
        "WHERE",
        "GROUP",
        "BY",
        "ORDER",
        "LIMIT",
        "UNION",
        "ALL",
        "WITH",
        "AS",
        "(",
        ")",
        "(",
        ")",
        ",",
        ";",
        ".",
        "=",
        "+",
        "-",
        "*",
        "::",
        "[",
        "]",
        "'a'",
        "1",
        "1.5",
        "a",
        "b",
        "\"C\"",
        "t",
        "CREATE",
        "SOURCE",
        "TABLE",
        "MATERIALIZED",
        "VIEW",
        "SINK",
        "DROP",
        "ALTER",
        "RENAME",
        "TO",
        "IF",
        "NOT",
        "EXISTS",
        "NULL",
        "INT",
        "TIMESTAMP",
        "TEXT",
        "VARCHAR",
        "MAP",
        "<",
        ">",
        "STRUCT",
        "ARRAY",
        "WATERMARK",
        "FOR",
        "METADATA",
        "GENERATED",
        "ALWAYS",
        "PRIMARY",
        "KEY",
        "INCLUDE",
        "header",
        "offset",
        "FORMAT",
        "ENCODE",
        "PLAIN",
        "JSON",
        "EMIT",
        "CHANGES",
        "ON",
        "WINDOW",
        "CLOSE",
        "TUMBLE",
        "HOP",
        "CUMULATE",
        "SESSION",
        "PARTITION",
        "DESCRIPTOR",
        "INTERVAL",
        "SECOND",
        "CAST",
        "CASE",
        "WHEN",
        "THEN",
        "END",
        "INSERT",
        "INTO",
        "VALUES",
        "UPDATE",
        "SET",
        "DELETE",
        "DEFAULT",
        "SHOW",
        "EXPLAIN",
        "ANALYZE",
        "SUBSCRIBE",
        "OF",
        "COMMENT",
        "IS",
        "JOIN",
        "LEFT",
        "USING",
        "EXTRACT",
        "YEAR",
        "TRIM",
        "INTERSECT",
        "LATERAL",
        "UNNEST",
        "OVER",
        "PARTITION",
        "FILTER",
    ]);
    prop::collection::vec(words, 0..30).prop_map(|words| words.join(" "))
}

/// Statements that are read, to be cut and mixed.
const SAMPLES: &[&str] = &[
    "CREATE SOURCE s (a INT, t TIMESTAMP METADATA FROM 'timestamp', WATERMARK FOR t AS t) WITH (a.b = 'c') FORMAT PLAIN ENCODE JSON",
    "CREATE MATERIALIZED VIEW v WITH (pipeline = 'x') AS SELECT a, count(*) FROM TUMBLE(TABLE b, DESCRIPTOR(t), INTERVAL '1' HOUR) GROUP BY a EMIT ON WINDOW CLOSE",
    "CREATE SINK s AS SELECT * FROM HOP((SELECT 1) x, x.a, INTERVAL '1 s', INTERVAL '2 s') WITH (connector = 'kafka') FORMAT UPSERT ENCODE CSV (delimiter = ';') KEY ENCODE TEXT",
    "INSERT INTO t (a, b) SELECT CASE WHEN a THEN TIMESTAMP '2026-01-01' ELSE b::date END FROM u LEFT JOIN w USING (x)",
    "SELECT a[1], (b).c, ARRAY[1, 2], EXTRACT(YEAR FROM t) FROM x, LATERAL (SELECT 1) y ORDER BY 1 LIMIT 3",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_words_are_read_or_refused_with_a_place_in_the_text(text in soup()) {
        check_place(&text)?;
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        check_place(&text)?;
    }

    #[test]
    fn parts_of_statements_are_read_or_refused(
        first in prop::sample::select(SAMPLES),
        second in prop::sample::select(SAMPLES),
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
    ) {
        let first: Vec<&str> = first.split(' ').collect();
        let second: Vec<&str> = second.split(' ').collect();
        let mixed = [&first[..from.index(first.len() + 1)], &second[to.index(second.len() + 1)..]].concat();
        check_place(&mixed.join("\n"))?;
    }
}

/// Where parsing fails, the error has a place that is in the text or right behind a line of it.
fn check_place(text: &str) -> Result<(), TestCaseError> {
    let Err(error) = parse(text) else {
        return Ok(());
    };
    prop_assert!(!error.message.is_empty());
    let Some((line, column)) = error.place else {
        return Err(TestCaseError::fail(format!("{error} has no place")));
    };
    let lines: Vec<&str> = text.split('\n').collect();
    prop_assert!((1..=lines.len() as u64).contains(&line), "{error}");
    let length = lines[line as usize - 1].chars().count() as u64;
    prop_assert!((1..=length + 1).contains(&column), "{error}");
    Ok(())
}
