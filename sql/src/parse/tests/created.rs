//! CREATE SOURCE, TABLE, VIEW and SINK.

use sqlparser::ast;
use weir_engine::format::{EncodingKind, Envelope};
use weir_engine::relation::Metadata;

use super::{name, one, refuse, sql};
use crate::statement::*;

fn source(text: &str) -> CreateSource {
    match one(text) {
        Statement::CreateSource(source) => *source,
        other => panic!("{other:?}"),
    }
}

pub(super) fn table(text: &str) -> CreateTable {
    match one(text) {
        Statement::CreateTable(table) => table,
        other => panic!("{other:?}"),
    }
}

fn view(text: &str) -> CreateView {
    match one(text) {
        Statement::CreateView(view) | Statement::CreateMaterializedView(view) => view,
        other => panic!("{other:?}"),
    }
}

fn sink(text: &str) -> CreateSink {
    match one(text) {
        Statement::CreateSink(sink) => sink,
        other => panic!("{other:?}"),
    }
}

const BIDS: &str = "CREATE SOURCE IF NOT EXISTS Bids (
  auction     BIGINT NOT NULL,
  price       DECIMAL(10, 2),
  \"Channel\"   TEXT,
  date_time   TIMESTAMP,
  region      TEXT      METADATA FROM 'header:Region',      -- a header
  received    TIMESTAMP METADATA FROM 'timestamp',
  day         DATE      GENERATED ALWAYS AS (CAST(date_time AS DATE)),
  PRIMARY KEY (auction),
  WATERMARK FOR date_time AS date_time - INTERVAL '5' SECOND
)
INCLUDE offset INCLUDE key AS record_key INCLUDE header 'Trace' INCLUDE headers AS all_headers
WITH (
  connector = 'kafka', topic = 'bids',
  properties.bootstrap.servers = 'localhost:9092',
  'properties.Queued.min' = 20000, idle_timeout = '30s', a_flag = TRUE, less = -1.5
) FORMAT UPSERT ENCODE CSV (delimiter = ';', header = 'true') KEY ENCODE BYTES";

#[test]
fn a_source_has_columns_of_every_origin() {
    let source = source(BIDS);
    assert_eq!(source.name, name("bids", 1, 29));
    assert!(source.if_not_exists);
    assert_eq!(source.text, BIDS);
    let columns: Vec<_> = source
        .columns
        .iter()
        .map(|column| format!("{} {}", column.name, column.data_type))
        .collect();
    assert_eq!(
        columns,
        [
            "auction BIGINT",
            "price DECIMAL(10,2)",
            "\"Channel\" TEXT",
            "date_time TIMESTAMP(6)",
            "region TEXT",
            "received TIMESTAMP(6)",
            "day DATE",
            "offset BIGINT",
            "record_key BYTEA",
            "\"Trace\" TEXT",
            "all_headers Map(TEXT, BYTEA)",
        ]
    );
    let origins: Vec<_> = source.columns.iter().map(|column| column.metadata.clone()).collect();
    assert_eq!(
        origins[4..],
        [
            Some(Metadata::Header("Region".into())),
            Some(Metadata::Timestamp),
            None,
            Some(Metadata::Offset),
            Some(Metadata::Key),
            Some(Metadata::Header("Trace".into())),
            Some(Metadata::Headers),
        ]
    );
    assert_eq!(origins[..4], [None, None, None, None]);
    assert!(source.columns[0].not_null && !source.columns[1].not_null);
    let day = source.columns[6].generated.as_ref().unwrap();
    assert_eq!(day.to_string(), "CAST(date_time AS DATE)");
    let (time, bound) = source.watermark.unwrap();
    assert_eq!(time.value, "date_time");
    assert_eq!(bound.to_string(), "date_time - INTERVAL '5' SECOND");
    assert_eq!(source.primary_key, [ast::Ident::new("auction")]);
}

#[test]
fn options_have_keys_with_points_and_plain_values() {
    let source = source(BIDS);
    let options: Vec<_> = source.options.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(
        options,
        [
            ("a_flag", "true"),
            ("connector", "kafka"),
            ("idle_timeout", "30s"),
            ("less", "-1.5"),
            ("properties.Queued.min", "20000"),
            ("properties.bootstrap.servers", "localhost:9092"),
            ("topic", "bids"),
        ]
    );
    assert_eq!(source.envelope, Envelope::Upsert);
    assert_eq!(source.value.kind, EncodingKind::Csv);
    assert_eq!(source.value.options["delimiter"], ";");
    assert_eq!(source.value.options["header"], "true");
    assert_eq!(source.key.unwrap().kind, EncodingKind::Bytes);
}

#[test]
fn a_source_is_plain_json_unless_it_says_otherwise() {
    let plain = source("CREATE SOURCE s (a INT)");
    assert_eq!(
        (plain.envelope, plain.value.kind),
        (Envelope::Plain, EncodingKind::Json)
    );
    assert!(plain.key.is_none() && plain.options.is_empty() && plain.watermark.is_none());
    let text = source("CREATE SOURCE s (a TEXT) WITH (connector = 'file') ENCODE TEXT");
    assert_eq!((text.envelope, text.value.kind), (Envelope::Plain, EncodingKind::Text));
    let keyed = source("CREATE SOURCE s (k TEXT PRIMARY KEY, v INT) FORMAT UPSERT ENCODE JSON KEY ENCODE JSON");
    assert_eq!(keyed.primary_key, [ast::Ident::new("k")]);
}

#[test]
fn key_and_header_are_text_by_default() {
    let source =
        source("CREATE SOURCE s (a INT) INCLUDE key INCLUDE partition INCLUDE topic INCLUDE timestamp KEY ENCODE TEXT");
    let columns: Vec<_> = source.columns[1..]
        .iter()
        .map(|column| format!("{} {}", column.name, column.data_type))
        .collect();
    assert_eq!(
        columns,
        ["key TEXT", "partition INT", "topic TEXT", "timestamp TIMESTAMP(6)"]
    );
}

#[test]
fn words_of_the_dialect_may_name_columns() {
    let source = source(
        "CREATE SOURCE s (key TEXT, offset INT, timestamp TIMESTAMP, watermark INT, value INT, format TEXT, \"select\" INT)",
    );
    assert_eq!(source.columns.len(), 7);
    assert_eq!(source.columns[2].data_type.to_string(), "TIMESTAMP(6)");
}

#[test]
fn mistakes_in_a_source_have_places() {
    refuse("CREATE SOURCE ¦(a INT)", "expected the source's name, found (");
    refuse(
        "CREATE SOURCE s ¦WITH (a = 1)",
        "expected the source's columns in parentheses",
    );
    refuse("CREATE SOURCE s (¦)", "expected a column's name, found )");
    refuse("CREATE SOURCE s (a¦)", "expected a data type name, found )");
    refuse(
        "CREATE SOURCE s (a ¦FOO)",
        "there is no type FOO; the types are BOOLEAN",
    );
    refuse(
        "CREATE SOURCE s (a INT ¦b INT)",
        "expected METADATA FROM, GENERATED ALWAYS AS, NOT NULL",
    );
    refuse("CREATE SOURCE s (a INT, ¦A INT)", "the column a is there twice");
    refuse(
        "CREATE SOURCE s (a INT) INCLUDE offset AS ¦a",
        "the column a is there twice",
    );
    refuse(
        "CREATE SOURCE s (a INT, PRIMARY KEY (¦b))",
        "b is none of the columns declared here",
    );
    refuse(
        "CREATE SOURCE s (a INT PRIMARY KEY, b INT ¦PRIMARY KEY)",
        "there is a second PRIMARY KEY",
    );
    refuse(
        "CREATE SOURCE s (a INT, WATERMARK FOR ¦b AS b)",
        "b is none of the columns declared here",
    );
    refuse(
        "CREATE SOURCE s (a INT, WATERMARK FOR a AS a, ¦WATERMARK FOR a AS a)",
        "one watermark",
    );
    refuse(
        "CREATE SOURCE s (a INT, WATERMARK FOR a AS a - (¦SELECT 1))",
        "a query can't stand in a column's definition",
    );
    refuse("CREATE SOURCE s (a TEXT METADATA ¦'key')", "expected FROM, found 'key'");
    refuse(
        "CREATE SOURCE s (a TEXT METADATA FROM ¦'keys')",
        "expected 'key', 'header:<name>'",
    );
    refuse(
        "CREATE SOURCE s (a TEXT METADATA FROM ¦'header:')",
        "expected 'key', 'header:<name>'",
    );
    refuse(
        "CREATE SOURCE s (a TEXT METADATA FROM 'key' ¦METADATA FROM 'topic')",
        "one origin",
    );
    refuse("CREATE SOURCE s (a INT ¦DEFAULT 1)", "a source's column has no DEFAULT");
    refuse("CREATE SOURCE s (a INT GENERATED ALWAYS AS ¦1)", "expected (, found 1");
    refuse(
        "CREATE SOURCE s (a INT) INCLUDE ¦keys",
        "INCLUDE takes key, header 'name'",
    );
    refuse(
        "CREATE SOURCE s (a INT) INCLUDE header¦",
        "expected the header's name in quotes",
    );
    refuse(
        "CREATE SOURCE s (a INT) ¦FOO",
        "expected the end of the statement, found FOO",
    );
}

#[test]
fn mistakes_in_options_have_places() {
    refuse(
        "CREATE SOURCE s (a INT) WITH ¦connector = 'x'",
        "expected (, found connector",
    );
    refuse("CREATE SOURCE s (a INT) WITH (connector ¦'x')", "expected =, found 'x'");
    refuse(
        "CREATE SOURCE s (a INT) WITH (connector = ¦kafka)",
        "the value of connector needs quotes: 'kafka'",
    );
    refuse(
        "CREATE SOURCE s (a INT) WITH (idle = 30¦s)",
        "the value of idle needs quotes: '30s'",
    );
    refuse(
        "CREATE SOURCE s (a INT) WITH (a-b = ¦1)"
            .replace("a-b = ¦", "a¦-b = ")
            .as_str(),
        "put a name with a hyphen in quotes",
    );
    refuse(
        "CREATE SOURCE s (a INT) WITH (a = 1, ¦A = 2)",
        "the option a is given twice",
    );
    refuse("CREATE SOURCE s (a INT) WITH (a = 1,¦)", "expected an option's name");
    refuse("CREATE SOURCE s (a INT) WITH (a = 1 ¦= 2)", "expected , or ), found =");
    refuse(
        "CREATE SOURCE s (a INT) FORMAT ¦DEBEZIUM",
        "FORMAT DEBEZIUM is not there yet",
    );
    refuse(
        "CREATE SOURCE s (a INT) FORMAT ¦JSON",
        "expected PLAIN or UPSERT after FORMAT, found JSON",
    );
    refuse(
        "CREATE SOURCE s (a INT) FORMAT PLAIN ENCODE ¦AVRO",
        "ENCODE AVRO is not there yet",
    );
    refuse(
        "CREATE SOURCE s (a INT) FORMAT PLAIN ENCODE ¦protobuf",
        "ENCODE PROTOBUF is not there yet",
    );
    refuse(
        "CREATE SOURCE s (a INT) ENCODE ¦PARQUET",
        "ENCODE PARQUET is not there yet",
    );
    refuse(
        "CREATE SOURCE s (a INT) ENCODE ¦XML",
        "expected JSON, CSV, TEXT or BYTES after ENCODE, found XML",
    );
    refuse(
        "CREATE SOURCE s (a INT) ENCODE JSON ¦FORMAT PLAIN",
        "the clauses have an order and each stands once: INCLUDE, WITH, FORMAT, ENCODE, KEY ENCODE",
    );
    refuse(
        "CREATE SOURCE s (a INT) WITH (b = 1) ¦INCLUDE key",
        "the clauses have an order",
    );
}

#[test]
fn a_table_has_keys_and_defaults() {
    let created = table(
        "CREATE TABLE accounts (id INT PRIMARY KEY, name TEXT NOT NULL DEFAULT 'x' || 'y', since TIMESTAMP DEFAULT now() NOT NULL, n INT NULL)",
    );
    assert_eq!(created.name, name("accounts", 1, 14));
    let columns: Vec<_> = created
        .columns
        .iter()
        .map(|(name, data_type, not_null, default)| {
            let default = default.as_ref().map(ToString::to_string).unwrap_or_default();
            format!("{name} {data_type} {not_null} {default}")
        })
        .collect();
    assert_eq!(
        columns,
        [
            "id INT false ",
            "name TEXT true 'x' || 'y'",
            "since TIMESTAMP(6) true now()",
            "n INT false ",
        ]
    );
    assert_eq!(created.primary_key, [ast::Ident::new("id")]);
    let keyed = table("CREATE TABLE IF NOT EXISTS t (a INT, b INT, CONSTRAINT k PRIMARY KEY (b, a))");
    assert_eq!(keyed.primary_key, [ast::Ident::new("b"), ast::Ident::new("a")]);
    assert!(keyed.if_not_exists);
}

#[test]
fn what_a_table_has_not_is_refused() {
    refuse("CREATE TABLE t ¦AS SELECT 1", "CREATE TABLE … AS is not there");
    refuse(
        "CREATE TABLE t (a INT ¦UNIQUE)",
        "UNIQUE, REFERENCES and CHECK are not there",
    );
    refuse(
        "CREATE TABLE t (a INT ¦REFERENCES u)",
        "UNIQUE, REFERENCES and CHECK are not there",
    );
    refuse(
        "CREATE TABLE t (a INT ¦GENERATED ALWAYS AS (1))",
        "belong to CREATE SOURCE",
    );
    refuse(
        "CREATE TABLE t (a INT) ¦WITH (connector = 'kafka')",
        "is not there yet: CREATE SOURCE",
    );
    refuse(
        "CREATE TABLE t (a INT) ¦APPENDED",
        "expected APPEND ONLY or the end of the statement",
    );
    refuse(
        "CREATE TABLE t (a INT DEFAULT (¦SELECT 1))",
        "a query can't stand in a column's definition",
    );
    refuse(
        "CREATE TABLE t (a INT, PRIMARY KEY (a, ¦a))",
        "the key column a is there twice",
    );
    refuse("CREATE ¦TEMP TABLE t (a INT)", "temporary relations are not there");
    refuse(
        "CREATE OR ¦REPLACE TABLE t (a INT)"
            .replace("OR ¦REPLACE", "¦OR REPLACE")
            .as_str(),
        "OR REPLACE is there for plain views only",
    );
}

#[test]
fn views_have_options_columns_and_a_query() {
    let kept = view(
        "CREATE MATERIALIZED VIEW IF NOT EXISTS v (a, \"B\") WITH (pipeline = 'heavy', allowed_lateness = '1 minute') AS\nSELECT x, y FROM t\nEMIT ON WINDOW CLOSE",
    );
    assert_eq!(kept.name, name("v", 1, 40));
    assert_eq!(kept.columns, [ast::Ident::new("a"), ast::Ident::with_quote('"', "B")]);
    assert_eq!(kept.options["pipeline"], "heavy");
    assert_eq!(kept.query.text, "SELECT x, y FROM t");
    assert_eq!(kept.query.emit, Some(Emit::OnWindowClose { timeout_ms: None }));
    assert!(kept.text.ends_with("EMIT ON WINDOW CLOSE") && kept.text.starts_with("CREATE"));
    let plain = view("CREATE OR REPLACE VIEW v AS WITH x AS (SELECT 1 AS a) SELECT a FROM x");
    assert!(plain.or_replace);
    assert!(matches!(
        one("CREATE VIEW v AS VALUES (1), (2)"),
        Statement::CreateView(_)
    ));
    refuse("CREATE ¦OR REPLACE MATERIALIZED VIEW v AS SELECT 1", "plain views only");
    refuse(
        "CREATE VIEW v AS SELECT 1 ¦EMIT CHANGES",
        "a plain view is a named query without EMIT",
    );
    refuse(
        "CREATE VIEW v ¦WITH (a = 1) AS SELECT 1",
        "a plain view takes no options",
    );
    refuse(
        "CREATE MATERIALIZED VIEW v AS¦",
        "expected a query, found the end of the statement",
    );
    refuse("CREATE MATERIALIZED VIEW v ¦SELECT 1", "expected AS, found SELECT");
    refuse(
        "CREATE MATERIALIZED VIEW v (a, ¦A) AS SELECT 1, 2",
        "the column a is there twice",
    );
    refuse(
        "CREATE MATERIALIZED VIEW v AS SELECT a FROM ¦t WITH (pipeline = 'x')",
        "stand before AS",
    );
    refuse(
        "CREATE MATERIALIZED VIEW v AS SELECT a FROM t EMIT CHANGES ¦LIMIT 3",
        "expected the end of the query after EMIT",
    );
}

#[test]
fn sinks_take_a_relation_or_a_query() {
    let from = sink(
        "CREATE SINK hot_out FROM hot WITH (connector = 'kafka', key = 'a, b', create.partitions = '6') FORMAT UPSERT ENCODE JSON KEY ENCODE JSON",
    );
    assert!(matches!(&from.input, SinkInput::From(hot) if *hot == name("hot", 1, 26)));
    assert_eq!(from.envelope, Envelope::Upsert);
    assert_eq!(from.options["create.partitions"], "6");
    assert_eq!(from.key.unwrap().kind, EncodingKind::Json);

    let queried = sink(
        "CREATE SINK s AS WITH x AS (SELECT a FROM t) SELECT a, max(b) AS format FROM x GROUP BY a EMIT CHANGES WITH (connector = 'print') FORMAT PLAIN ENCODE CSV",
    );
    let SinkInput::As(query) = &queried.input else {
        panic!("{queried:?}");
    };
    assert_eq!(
        query.text,
        "WITH x AS (SELECT a FROM t) SELECT a, max(b) AS format FROM x GROUP BY a"
    );
    assert_eq!(query.emit, Some(Emit::Changes));
    assert_eq!(queried.value.kind, EncodingKind::Csv);

    refuse(
        "CREATE SINK s ¦WITH (connector = 'print')",
        "expected FROM a view or AS a query",
    );
    refuse(
        "CREATE SINK s FROM v¦",
        "expected WITH (connector = …), found the end of the statement",
    );
    refuse(
        "CREATE SINK s AS SELECT a FROM t¦",
        "a sink needs WITH (connector = …) behind its query",
    );
    refuse(
        "CREATE SINK s AS SELECT a FROM ¦WITH (connector = 'print')",
        "found WITH",
    );
    refuse(
        "CREATE SINK s AS SELECT a ¦b c FROM t WITH (connector = 'print')"
            .replace("¦b c", "b ¦c")
            .as_str(),
        "found c",
    );
    refuse(
        "CREATE SINK s AS ¦WITH (connector = 'print')",
        "expected a query, found WITH (",
    );
    refuse(
        "CREATE SINK s FROM v WITH (connector = 'print') FORMAT ¦DEBEZIUM",
        "not there yet",
    );
    refuse(
        "CREATE SINK s FROM v WITH (connector = 'print') ¦EMIT CHANGES",
        "expected the end of the statement, found EMIT",
    );
}

#[test]
fn other_things_are_not_created() {
    refuse("CREATE ¦SECRET x", "CREATE SECRET is not there yet");
    refuse(
        "CREATE ¦CONNECTION c TO KAFKA (a = 1)",
        "CREATE CONNECTION is not there yet",
    );
    refuse("CREATE ¦STREAM s (a INT)", "CREATE SOURCE reads a topic");
    refuse("CREATE ¦INDEX i ON t (a)", "CREATE INDEX is not there");
    refuse("CREATE ¦FUNCTION f() RETURNS INT", "CREATE FUNCTION is not there yet");
    refuse(
        "CREATE ¦FOO",
        "expected SOURCE, TABLE, VIEW, MATERIALIZED VIEW or SINK after CREATE, found FOO",
    );
}

#[test]
fn text_is_kept_as_written() {
    let created = view("  CREATE MATERIALIZED VIEW v AS -- why\n  SELECT 'é' AS a, /* b */ 1 FROM t EMIT CHANGES ; ");
    assert_eq!(
        created.text,
        "CREATE MATERIALIZED VIEW v AS -- why\n  SELECT 'é' AS a, /* b */ 1 FROM t EMIT CHANGES"
    );
    assert_eq!(created.query.text, "SELECT 'é' AS a, /* b */ 1 FROM t");
    assert_eq!(sql(&created.query), "SELECT 'é' AS a, 1 FROM t");
}
