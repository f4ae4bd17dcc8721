//! SHOW, DESCRIBE, EXPLAIN and the system relations.

use weir_sql::catalog::Definition;

use super::rig::Rig;
use crate::{Body, PreparedKind};

fn rig() -> Rig {
    let rig = Rig::new();
    rig.all(
        "CREATE SOURCE load (id BIGINT NOT NULL, kind TEXT, at TIMESTAMP, place BIGINT METADATA FROM 'offset',
           twice BIGINT GENERATED ALWAYS AS (id * 2), WATERMARK FOR at AS at - INTERVAL '1' SECOND)
         WITH (connector = 'datagen', rows_per_second = 0, number_of_rows = 1000, seed = 7,
           fields.id.kind = 'sequence', fields.kind.values = 'a,b');
         CREATE TABLE t (id INT PRIMARY KEY, note TEXT DEFAULT 'none', tags TEXT[]);
         CREATE VIEW v AS SELECT id FROM t;
         CREATE MATERIALIZED VIEW kinds AS SELECT kind, count(*) AS n FROM load GROUP BY kind;
         CREATE SINK out FROM kinds WITH (connector = 'blackhole');
         CREATE SINK own AS SELECT id FROM load WHERE id < 10 WITH (connector = 'blackhole');\n",
    );
    assert_eq!(rig.rows("SELECT sum(n) FROM kinds"), ["1000"]);
    rig
}

#[test]
fn lists_name_what_there_is() {
    let rig = rig();
    assert_eq!(rig.rows("SHOW SOURCES"), ["load|datagen|PLAIN|JSON|at|NULL"]);
    assert_eq!(rig.rows("SHOW TABLES"), ["t|id|NULL"]);
    assert_eq!(rig.rows("SHOW VIEWS"), ["v|NULL"]);
    assert_eq!(rig.rows("SHOW MATERIALIZED VIEWS"), ["kinds|RUNNING|kind|NULL|NULL"]);
    let sinks = rig.rows("SHOW SINKS");
    assert!(sinks[0].starts_with("out|kinds|blackhole|"), "{sinks:?}");
    assert!(sinks[1].starts_with("own|a query of its own|blackhole|"), "{sinks:?}");
    assert_eq!(rig.rows("SHOW PIPELINES").len(), 3);
    assert!(
        rig.rows("SHOW FUNCTIONS")
            .iter()
            .any(|row| row.starts_with("abs|scalar|abs("))
    );
    assert!(
        rig.rows("SHOW SETTINGS")
            .iter()
            .any(|row| row.starts_with("wait|on|true|"))
    );
    assert!(rig.error("SHOW TOPICS").message.contains("connector = 'kafka'"));
}

#[test]
fn columns_are_described() {
    let rig = rig();
    let columns = rig.rows("DESCRIBE load");
    assert_eq!(columns[0], "id|BIGINT|false|false|NULL");
    assert!(
        columns[2].starts_with("at|TIMESTAMP|true|false|event time"),
        "{columns:?}"
    );
    assert_eq!(columns[3], "place|BIGINT|true|false|METADATA FROM 'offset'");
    assert!(columns[4].contains("GENERATED AS"), "{columns:?}");
    assert_eq!(
        rig.rows("DESCRIBE t"),
        [
            "id|INT|false|true|NULL",
            "note|TEXT|true|false|DEFAULT 'none'",
            "tags|TEXT[]|true|false|NULL"
        ]
    );
    assert_eq!(rig.rows("DESCRIBE weir.lag").len(), 13);
    assert_eq!(rig.rows("SHOW CREATE v"), ["CREATE VIEW v AS SELECT id FROM t"]);
    assert!(rig.error("SHOW CREATE weir.lag").message.contains("system relation"));
}

#[test]
fn plans_are_explained_and_measured() {
    let rig = rig();
    let plan = rig
        .rows("EXPLAIN SELECT kind, count(*) FROM load GROUP BY kind")
        .join("\n");
    assert!(
        plan.contains("Aggregate by kind") && plan.contains("Input load"),
        "{plan}"
    );
    assert_eq!(
        plan,
        rig.rows("EXPLAIN CREATE MATERIALIZED VIEW x AS SELECT kind, count(*) FROM load GROUP BY kind")
            .join("\n")
    );
    assert!(
        rig.error("EXPLAIN SELECT * FROM weir.lag")
            .message
            .contains("system relation")
    );
    rig.until(
        "SELECT rows_out FROM weir.operators WHERE view = 'kinds' AND operator = 'Input'",
        &["1000"],
    );
    let live = rig.rows("EXPLAIN ANALYZE kinds").join("\n");
    assert!(live.starts_with("materialized view 'kinds' RUNNING"), "{live}");
    assert!(live.contains("rows in 1000 out"), "{live}");
    assert!(rig.rows("EXPLAIN ANALYZE own").join("\n").contains("rows in"));
    assert!(
        rig.error("EXPLAIN ANALYZE out")
            .message
            .contains("EXPLAIN ANALYZE kinds")
    );
    assert!(rig.error("EXPLAIN ANALYZE t").message.contains("is a table"));
}

#[test]
fn the_system_tells_of_itself() {
    let rig = rig();
    rig.until(
        "SELECT source, position, \"end\", lag, rows, skipped FROM weir.lag",
        &["load|1000|1000|0|1000|0"],
    );
    assert_eq!(
        rig.rows("SELECT name, kind, state, ended, epoch > 0 FROM weir.pipelines WHERE name = 'kinds'"),
        ["kinds|materialized view|RUNNING|true|true"]
    );
    rig.until(
        "SELECT sum(rows_in) FROM weir.operators WHERE view = 'kinds' AND operator = 'Aggregate'",
        &["1000"],
    );
    rig.until(
        "SELECT name, delivers, connector, rows > 0, delivered_epoch > 0 FROM weir.sinks",
        &["out|kinds|blackhole|true|true", "own|NULL|blackhole|true|true"],
    );
    assert!(rig.rows("SELECT * FROM weir.errors").is_empty());
    assert_eq!(
        rig.sorted("SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = 'public'"),
        [
            "kinds|MATERIALIZED VIEW",
            "load|SOURCE",
            "out|SINK",
            "own|SINK",
            "t|BASE TABLE",
            "v|VIEW"
        ]
    );
    assert_eq!(
        rig.rows(
            "SELECT column_name, ordinal_position, column_default, is_nullable, data_type
             FROM information_schema.columns WHERE table_name = 't' ORDER BY 2"
        ),
        ["id|1|NULL|NO|INT", "note|2|'none'|YES|TEXT", "tags|3|NULL|YES|TEXT[]"]
    );
    // They join with what they tell of.
    assert_eq!(
        rig.rows("SELECT k.kind FROM kinds k, weir.pipelines p WHERE p.name = 'kinds' AND k.kind = 'a'"),
        ["a"]
    );
}

#[test]
fn what_a_statement_answers_is_known_before_it_runs() {
    let rig = rig();
    for (sql, kind, columns) in [
        ("CREATE TABLE x (a INT)", PreparedKind::Command, 0),
        ("INSERT INTO t (id) VALUES (1)", PreparedKind::Update, 0),
        ("SELECT * FROM t", PreparedKind::Query, 3),
        ("SHOW SINKS", PreparedKind::Query, 6),
        ("SHOW wait", PreparedKind::Query, 1),
        ("EXPLAIN SELECT * FROM t", PreparedKind::Query, 1),
        ("SELECT * FROM t EMIT CHANGES", PreparedKind::Push, 4),
        ("SUBSCRIBE TO kinds", PreparedKind::Push, 4),
        ("FLUSH", PreparedKind::Command, 0),
    ] {
        let prepared = rig.session.prepare(sql).unwrap();
        let found = prepared.schema().map_or(0, |schema| schema.fields().len());
        assert_eq!((prepared.kind(), found, prepared.sql()), (kind, columns, sql));
    }
    // Preparing does nothing.
    assert_eq!(rig.rows("SHOW TABLES").len(), 1);
    assert!(matches!(rig.run("SHOW wait").body, Body::Rows(_)));
}

/// Passwords are kept for the connection and shown to nobody.
#[test]
fn secrets_are_hidden_and_still_there_after_a_restart() {
    let rig = Rig::new();
    let statement = |password: &str, more: &str| {
        format!(
            "CREATE SOURCE s (a INT) WITH (connector = 'kafka', topic = 't', properties.bootstrap.servers = '127.0.0.1:1', \
             properties.sasl.password = {password}, \"properties.ssl.key.password\" = {password}{more})"
        )
    };
    let error = rig.error(&statement("'hunter2'", ", on_error = skip"));
    assert!(
        error.message.contains("properties.sasl.password = '****'"),
        "{}",
        error.message
    );
    assert!(!error.message.contains("hunter2"), "{}", error.message);
    let caret = error.message.lines().last().unwrap().find('^').unwrap();
    assert!(
        error.message.lines().nth(1).unwrap()[caret..].starts_with("skip"),
        "{}",
        error.message
    );
    let error = rig.error(&statement("hunter2", ""));
    assert!(
        error.message.contains("needs quotes") && !error.message.contains("hunter2"),
        "{}",
        error.message
    );

    rig.done(&statement("'hunter2'", ""));
    let password = |rig: &Rig| {
        let catalog = rig.instance.catalog();
        let Definition::Source(source) = &catalog.find("s").unwrap().definition else {
            panic!("not a source");
        };
        assert!(!format!("{:?}", source.connector).contains("hunter2"));
        source.connector.options["properties.sasl.password"].clone()
    };
    assert_eq!(password(&rig), "hunter2");
    let rig = rig.restart();
    assert_eq!(password(&rig), "hunter2");
    assert_eq!(rig.rows("SHOW CREATE s"), [statement("'****'", "")]);
}
