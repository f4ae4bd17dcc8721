//! Statements that are read, statements that are refused, and the places of errors.

use super::{parse, parse_one};
use crate::statement::*;

mod any;
mod created;
mod dml;
mod queries;
mod refused;
mod types;

/// The statement in `text`.
fn one(text: &str) -> Statement {
    parse_one(text).unwrap_or_else(|error| panic!("{}", error.render(text)))
}

/// `marked` is refused with `message` (or a part of it) at the place of its `¦`.
#[track_caller]
fn refuse(marked: &str, message: &str) {
    let text = marked.replacen('¦', "", 1);
    let error = match parse(&text) {
        Ok(statements) => panic!("{text}\nis read as {statements:?}"),
        Err(error) => error,
    };
    assert!(
        error.message.contains(message),
        "{text}\n{}\ndoes not say: {message}",
        error.message
    );
    let before = marked.split_once('¦').map(|(before, _)| before);
    let place = before.map(|before| {
        let line = before.matches('\n').count() as u64 + 1;
        let column = before.chars().rev().take_while(|ch| *ch != '\n').count() as u64 + 1;
        (line, column)
    });
    assert_eq!(error.place, place, "{}", error.render(&text));
}

/// A query's tree as SQL.
fn sql(query: &Query) -> String {
    query.ast.to_string()
}

fn query(text: &str) -> Query {
    match one(text) {
        Statement::Query(query) => query,
        other => panic!("{text}\nis read as {other:?}"),
    }
}

fn name(value: &str, line: u64, column: u64) -> Name {
    Name {
        value: value.into(),
        place: (line, column),
    }
}

#[test]
fn statements_are_separated_by_semicolons() {
    assert_eq!(parse("").unwrap().len(), 0);
    assert_eq!(parse(" ; -- nothing\n;").unwrap().len(), 0);
    assert_eq!(parse("SELECT 1; FLUSH;").unwrap().len(), 2);
    assert_eq!(parse("FLUSH; FLUSH").unwrap().len(), 2);
    assert!(parse_one("FLUSH;;").is_ok());
    assert_eq!(parse_one("-- nothing").unwrap_err().message, "there is no statement");
    assert_eq!(parse_one("FLUSH;\n  FLUSH").unwrap_err().place, Some((2, 3)));
}

#[test]
fn places_count_from_the_beginning_of_the_whole_text() {
    refuse(
        "FLUSH;\nSELECT 'é', a b ¦c;",
        "expected the end of the statement, found c",
    );
    refuse("FLUSH;\n\n  ¦SELET 1", "there is no statement that begins with SELET");
}

#[test]
fn drop_names_a_kind() {
    let cases = [
        ("DROP SOURCE s", RelationKind::Source, false, false),
        ("DROP TABLE IF EXISTS s", RelationKind::Table, true, false),
        ("drop view s cascade", RelationKind::View, false, true),
        (
            "DROP MATERIALIZED VIEW IF EXISTS s CASCADE",
            RelationKind::MaterializedView,
            true,
            true,
        ),
        ("DROP SINK s RESTRICT", RelationKind::Sink, false, false),
    ];
    for (text, expected, exists, cascades) in cases {
        let Statement::Drop {
            kind,
            name,
            if_exists,
            cascade,
        } = one(text)
        else {
            panic!("{text}");
        };
        assert_eq!(name.value, "s", "{text}");
        assert_eq!((kind, if_exists, cascade), (expected, exists, cascades), "{text}");
    }
    refuse(
        "DROP ¦s",
        "expected SOURCE, TABLE, VIEW, MATERIALIZED VIEW or SINK after DROP, found s",
    );
    refuse("DROP MATERIALIZED ¦s", "expected VIEW, found s");
    refuse("DROP TABLE a¦, b", "DROP takes one name");
    refuse(
        "DROP TABLE a ¦CASCAD",
        "expected CASCADE or the end of the statement, found CASCAD",
    );
    refuse(
        "DROP TABLE¦",
        "expected a relation's name, found the end of the statement",
    );
}

#[test]
fn names_fold_unless_quoted() {
    let described = |text| match one(text) {
        Statement::Describe(name) => name,
        other => panic!("{other:?}"),
    };
    assert_eq!(described("DESCRIBE Bids"), name("bids", 1, 10));
    assert_eq!(described("desc \"Bids\""), name("Bids", 1, 6));
    assert_eq!(described("DESCRIBE weir . Lag"), name("weir.lag", 1, 10));
    assert_eq!(described("DESCRIBE offset"), name("offset", 1, 10));
    refuse("DESCRIBE ¦select", "a name only in quotes: \"select\"");
    refuse("DESCRIBE ¦\"\"", "a name can't be empty");
    refuse("DESCRIBE ¦\"a.b\"", "a name can't contain a point");
    refuse("DESCRIBE a.b.¦c", "at most two parts");
    refuse("DESCRIBE ¦'a'", "expected a relation's name, found 'a'");
    refuse("DESCRIBE a ¦b", "expected the end of the statement, found b");
}

#[test]
fn pause_resume_flush() {
    assert!(matches!(one("PAUSE v"), Statement::Pause(v) if v == name("v", 1, 7)));
    assert!(matches!(one("RESUME v;"), Statement::Resume(v) if v == name("v", 1, 8)));
    assert!(matches!(one("flush"), Statement::Flush));
    assert!(matches!(one("PAUSE view"), Statement::Pause(v) if v.value == "view"));
    refuse(
        "PAUSE ¦MATERIALIZED VIEW v",
        "leave out the kind, the name is enough: v",
    );
    refuse("RESUME ¦SINK s", "leave out the kind");
    refuse("FLUSH ¦v", "expected the end of the statement, found v");
}

#[test]
fn show_lists_settings_and_statements() {
    let cases = [
        ("SHOW SOURCES", Show::Sources),
        ("show tables", Show::Tables),
        ("SHOW VIEWS", Show::Views),
        ("SHOW MATERIALIZED VIEWS", Show::MaterializedViews),
        ("SHOW SINKS", Show::Sinks),
        ("SHOW PIPELINES", Show::Pipelines),
        ("SHOW FUNCTIONS", Show::Functions),
        ("SHOW TOPICS", Show::Topics),
        ("SHOW SETTINGS", Show::Settings),
        ("SHOW ALL", Show::Settings),
    ];
    for (text, expected) in cases {
        assert!(matches!(one(text), Statement::Show(show) if show == expected), "{text}");
    }
    assert!(matches!(one("SHOW CREATE v"), Statement::ShowCreate(v) if v == name("v", 1, 13)));
    assert!(matches!(one("SHOW Wait"), Statement::ShowSetting(setting) if setting == "wait"));
    refuse("SHOW ¦TABLE", "expected SOURCES, TABLES, VIEWS");
    refuse("SHOW ¦DATABASES", "expected SOURCES, TABLES, VIEWS");
    refuse("SHOW¦", "expected SOURCES, TABLES, VIEWS");
    refuse("SHOW CREATE ¦VIEW v", "leave out the kind, the name is enough: v");
    refuse(
        "SHOW TABLES ¦LIKE 'a'",
        "expected the end of the statement after SHOW TABLES",
    );
}

#[test]
fn explain_takes_a_query_or_a_name() {
    for text in [
        "EXPLAIN SELECT a FROM t",
        "EXPLAIN WITH x AS (SELECT a FROM t) SELECT a FROM t",
        "EXPLAIN (SELECT a FROM t)",
        "EXPLAIN CREATE MATERIALIZED VIEW v AS SELECT a FROM t",
        "EXPLAIN CREATE VIEW v AS SELECT a FROM t",
        "EXPLAIN CREATE SINK s AS SELECT a FROM t WITH (connector = 'print')",
    ] {
        let Statement::Explain(query) = one(text) else {
            panic!("{text}");
        };
        assert!(query.text.contains("SELECT a FROM t"), "{text}");
    }
    let Statement::Explain(query) = one("EXPLAIN SELECT a FROM t EMIT FINAL") else {
        panic!();
    };
    assert_eq!(query.emit, Some(Emit::OnWindowClose { timeout_ms: None }));
    assert!(matches!(one("EXPLAIN ANALYZE v"), Statement::ExplainAnalyze(v) if v == name("v", 1, 17)));
    refuse("EXPLAIN ¦v", "write EXPLAIN SELECT * FROM v, or EXPLAIN ANALYZE v");
    refuse("EXPLAIN ANALYZE ¦SELECT 1", "takes the name of a running view or sink");
    refuse("EXPLAIN ¦(FORMAT JSON) SELECT 1", "EXPLAIN takes no options");
    refuse("EXPLAIN ¦CREATE TABLE t (a INT)", "EXPLAIN takes a query");
    refuse(
        "EXPLAIN ¦DELETE FROM t",
        "expected a query, CREATE MATERIALIZED VIEW or ANALYZE",
    );
    refuse("EXPLAIN CREATE VIEW v AS SELECT ¦FROM t", "found FROM");
}

#[test]
fn subscribe_resumes_after_an_epoch() {
    let subscribed = |text| match one(text) {
        Statement::Subscribe(subscribe) => subscribe,
        other => panic!("{other:?}"),
    };
    let plain = subscribed("SUBSCRIBE TO v");
    assert_eq!(plain.name, name("v", 1, 14));
    assert_eq!((plain.after, plain.snapshot, plain.progress), (None, true, false));
    let full = subscribed("SUBSCRIBE TO v AS OF 42 WITH (snapshot = 'false', progress = true)");
    assert_eq!((full.after, full.snapshot, full.progress), (Some(42), false, true));
    refuse("SUBSCRIBE ¦v", "expected TO, found v");
    refuse("SUBSCRIBE TO ¦(SELECT 1)", "write SELECT … EMIT CHANGES");
    refuse("SUBSCRIBE TO v AS OF ¦'now'", "expected an epoch's number");
    refuse("SUBSCRIBE TO v AS OF ¦1.5", "expected an epoch's number");
    refuse(
        "SUBSCRIBE TO v ¦WITH (speed = 1)",
        "has the options snapshot and progress, not speed",
    );
    refuse(
        "SUBSCRIBE TO v ¦WITH (snapshot = 'maybe')",
        "'true' or 'false', not 'maybe'",
    );
}

#[test]
fn set_and_comment() {
    let cases = [
        ("SET wait = 'Off'", "wait", "Off"),
        ("SET Parallelism TO 4", "parallelism", "4"),
        ("SET x = -1", "x", "-1"),
        ("SET wait = OFF", "wait", "off"),
        ("SET session = true", "session", "true"),
    ];
    for (text, expected_name, expected_value) in cases {
        let Statement::Set { name, value } = one(text) else {
            panic!("{text}");
        };
        assert_eq!((name.as_str(), value.as_str()), (expected_name, expected_value));
    }
    refuse("SET wait ¦'off'", "expected = or TO, found 'off'");
    refuse("SET wait =¦", "expected a value, found the end of the statement");
    refuse("SET x = -¦'a'", "expected a value");
    refuse("SET ¦LOCAL wait = 1", "write SET name = value");

    let Statement::Comment { kind, name, text } = one("COMMENT ON MATERIALIZED VIEW v IS 'it''s'") else {
        panic!();
    };
    assert_eq!((kind, name.value.as_str()), (RelationKind::MaterializedView, "v"));
    assert_eq!(text.as_deref(), Some("it's"));
    assert!(matches!(
        one("COMMENT ON TABLE v IS NULL"),
        Statement::Comment { text: None, .. }
    ));
    refuse("COMMENT ON ¦COLUMN t.a IS 'x'", "COMMENT ON COLUMN is not there yet");
    refuse(
        "COMMENT ON TABLE t IS ¦x",
        "expected the comment in quotes, or NULL, found x",
    );
}

#[test]
fn alter_renames() {
    let Statement::Rename { kind, name, to } = one("ALTER SOURCE a RENAME TO b") else {
        panic!();
    };
    assert_eq!(
        (kind, name.value.as_str(), to.value.as_str()),
        (RelationKind::Source, "a", "b")
    );
    refuse("ALTER SOURCE a ¦SET (x = 1)", "ALTER … SET is not there yet");
    refuse("ALTER TABLE a ¦ADD COLUMN b INT", "ADD COLUMN is not there yet");
    refuse("ALTER TABLE a ¦RENAME COLUMN b TO c", "RENAME COLUMN is not there");
    refuse("ALTER TABLE a ¦OWNER TO b", "expected RENAME TO, found OWNER");
    refuse("ALTER ¦CONNECTION c SET (x = 1)", "only relations can be altered");
}

#[test]
fn literals_and_parentheses_that_do_not_match_have_places() {
    refuse("SELECT\n  ¦'abc", "this string is never closed");
    refuse("SELECT ¦\"abc", "this quoted name is never closed");
    refuse("SELECT ¦E'abc", "this E'…' string is never closed");
    refuse("SELECT ¦(1, 2", "this ( is never closed");
    refuse("SELECT 1¦) FROM t", "this ) has no ( that it closes");
    refuse("SELECT (1¦] FROM t", "this ] has no [ that it closes");
    refuse("SELECT ¦`a` FROM t", "names stand in double quotes");
    refuse("SELECT ¦‘a’", "strings stand in straight quotes");
    refuse("SELECT ¦“a”", "names stand in straight quotes");
    let error = parse("SELECT 1 /* never").unwrap_err();
    assert!(error.message.contains("this comment is never closed"));
    let error = parse("SELECT $$never").unwrap_err();
    assert!(error.message.contains("this dollar-quoted string is never closed"));
}
