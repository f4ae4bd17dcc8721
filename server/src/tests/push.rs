//! SELECT … EMIT CHANGES and SUBSCRIBE.

use weir_engine::connector::memory;

use super::rig::Rig;
use crate::{ErrorKind, PushKind};

fn record(topic: &str, json: &str) {
    memory::append(topic, 0, None, Some(json.as_bytes()), 0);
}

#[test]
fn rows_of_a_source_come_as_they_are_appended() {
    let topic = "push: append";
    memory::create(topic, 1);
    record(topic, "{\"n\": 1}");
    let rig = Rig::new();
    rig.all(&format!(
        "CREATE SOURCE s (n BIGINT) WITH (connector = 'memory', topic = '{topic}');\n"
    ));
    let mut push = rig.push("SELECT n * 10 AS x FROM s WHERE n <> 2 EMIT CHANGES");
    assert_eq!((push.kind, push.columns()), (PushKind::Append, vec!["x".to_string()]));
    assert_eq!(push.next(1), ["10"]);
    record(topic, "{\"n\": 2}");
    record(topic, "{\"n\": 3}");
    assert_eq!(push.next(1), ["30"]);
    // LIMIT ends it; both places of LIMIT are the same.
    let mut limited = rig.push("SELECT n FROM s EMIT CHANGES LIMIT 2");
    assert_eq!(limited.rest(), ["1", "2"]);
    let mut limited = rig.push("SELECT n FROM s LIMIT 2 EMIT CHANGES");
    assert_eq!(limited.rest(), ["1", "2"]);
    memory::end(topic);
    assert!(push.rest().is_empty());
    // Nothing of a push outlives it.
    drop((push, limited));
    let gone = (0..1000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        rig.instance.engine().lag().is_empty()
    });
    assert!(gone, "{:?}", rig.instance.engine().lag());
}

#[test]
fn an_updating_query_takes_rows_back() {
    let rig = Rig::new();
    rig.all("CREATE TABLE t (id INT PRIMARY KEY, g TEXT);\n INSERT INTO t VALUES (1, 'a'), (2, 'a');\n");
    let mut push = rig.push("SELECT g, count(*) AS n FROM t GROUP BY g EMIT CHANGES");
    assert_eq!(push.kind, PushKind::Updating);
    assert_eq!(push.columns(), ["g", "n", "weir_weight"]);
    assert_eq!(push.next(1), ["a|2|1"]);
    rig.done("INSERT INTO t VALUES (3, 'a')");
    assert_eq!(push.next(2), ["a|2|-1", "a|3|1"]);
    rig.done("DELETE FROM t");
    assert_eq!(push.next(1), ["a|3|-1"]);
    rig.done("DROP TABLE t");
    let error = push.batch().unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(push.batch().is_none());
}

/// Epoch and the rest of a subscription's row.
fn epoch_of(row: &str) -> (u64, String) {
    let cells: Vec<&str> = row.split('|').collect();
    let [columns @ .., epoch, weight] = &cells[..] else {
        panic!("{row}");
    };
    (epoch.parse().unwrap(), format!("{}|{weight}", columns.join("|")))
}

#[test]
fn a_subscription_goes_on_where_the_client_was() {
    let rig = Rig::new();
    rig.all(
        "CREATE TABLE t (id INT PRIMARY KEY, n INT);
         CREATE MATERIALIZED VIEW m AS SELECT sum(n) AS s FROM t;
         INSERT INTO t VALUES (1, 1);\n",
    );
    assert_eq!(rig.rows("SELECT s FROM m"), ["1"]);
    let mut push = rig.push("SUBSCRIBE TO m");
    assert_eq!(push.kind, PushKind::Subscription);
    assert_eq!(push.columns(), ["s", "weir_epoch", "weir_weight"]);
    let (first, row) = epoch_of(&push.next(1)[0]);
    assert_eq!(row, "1|1");
    rig.done("INSERT INTO t VALUES (2, 10)");
    let rows = push.next(2);
    let (second, row) = epoch_of(&rows[0]);
    assert!(second > first);
    assert_eq!(row, "1|-1");
    assert_eq!(epoch_of(&rows[1]), (second, "11|1".to_string()));
    drop(push);

    // What came while the client was away, without gap or repeat.
    rig.done("INSERT INTO t VALUES (3, 100)");
    rig.done("FLUSH");
    let mut again = rig.push(&format!("SUBSCRIBE TO m AS OF {second}"));
    let rows: Vec<String> = again.next(2).iter().map(|row| epoch_of(row).1).collect();
    assert_eq!(rows, ["11|-1", "111|1"]);
    let mut from_first = rig.push(&format!("SUBSCRIBE TO m AS OF {first}"));
    let mut sum = 1;
    while sum != 111 {
        let (_, row) = epoch_of(&from_first.next(1)[0]);
        let (value, weight) = row.split_once('|').unwrap();
        sum += value.parse::<i64>().unwrap() * weight.parse::<i64>().unwrap();
    }
    let future = rig.error(&format!("SUBSCRIBE TO m AS OF {}", u32::MAX));
    assert!(future.message.contains("beyond the last one"), "{}", future.message);
}

#[test]
fn a_subscription_may_tell_its_progress() {
    let rig = Rig::new();
    rig.all(
        "CREATE TABLE t (n INT);
         CREATE MATERIALIZED VIEW m AS SELECT n FROM t WHERE n > 10;
         INSERT INTO t VALUES (11);\n",
    );
    assert_eq!(rig.rows("SELECT n FROM m"), ["11"]);
    let mut push = rig.push("SUBSCRIBE TO m WITH (snapshot = 'false', progress = 'true')");
    let (begin, row) = epoch_of(&push.next(1)[0]);
    assert_eq!(row, "NULL|0");
    rig.done("INSERT INTO t VALUES (1)");
    let (epoch, row) = epoch_of(&push.next(1)[0]);
    assert!(epoch > begin);
    assert_eq!(row, "NULL|0");
    rig.done("INSERT INTO t VALUES (12)");
    // Epochs that changed nothing may lie between.
    let row = loop {
        let (_, row) = epoch_of(&push.next(1)[0]);
        if row != "NULL|0" {
            break row;
        }
    };
    assert_eq!(row, "12|1");
}

#[test]
fn a_subscription_ends_with_the_inputs_of_its_view() {
    let (ends, goes_on) = ("push: ends", "push: goes on");
    memory::create(ends, 1);
    memory::create(goes_on, 1);
    let rig = Rig::new();
    rig.all(&format!(
        "CREATE SOURCE a (n BIGINT) WITH (connector = 'memory', topic = '{ends}');
         CREATE SOURCE b (n BIGINT) WITH (connector = 'memory', topic = '{goes_on}');
         CREATE MATERIALIZED VIEW of_a AS SELECT sum(n) AS n FROM a;
         CREATE MATERIALIZED VIEW on_it AS SELECT n + 1 AS n FROM of_a;
         CREATE MATERIALIZED VIEW of_both AS SELECT n FROM a UNION ALL SELECT n FROM b;\n"
    ));
    record(ends, "{\"n\": 7}");
    let mut both = rig.push("SUBSCRIBE TO of_both");
    let mut pushes = ["of_a", "on_it"].map(|view| rig.push(&format!("SUBSCRIBE TO {view}")));
    assert_eq!(epoch_of(&both.next(1)[0]).1, "7|1");
    memory::end(ends);
    for push in &mut pushes {
        push.rest();
    }
    // Views of one pipeline, of which one goes on.
    assert_eq!(
        rig.sorted("SELECT name, ended FROM weir.pipelines"),
        ["of_a|true", "of_both|false", "on_it|true"]
    );
    record(goes_on, "{\"n\": 8}");
    assert_eq!(epoch_of(&both.next(1)[0]).1, "8|1");
    // Whoever comes later, or comes back, has it whole and is told the end.
    let mut late = rig.push("SUBSCRIBE TO on_it");
    let (epoch, row) = epoch_of(&late.next(1)[0]);
    assert_eq!(row, "8|1");
    assert!(late.rest().is_empty());
    assert!(rig.push(&format!("SUBSCRIBE TO on_it AS OF {epoch}")).rest().is_empty());
}

#[test]
fn tables_and_plain_views_are_subscribed_from_their_rows_on() {
    let rig = Rig::new();
    rig.all(
        "CREATE TABLE t (n INT);
         CREATE VIEW v AS SELECT n + 1 AS x FROM t;
         INSERT INTO t VALUES (1);\n",
    );
    let mut table = rig.push("SUBSCRIBE TO t");
    let mut view = rig.push("SUBSCRIBE TO v");
    assert_eq!(epoch_of(&table.next(1)[0]).1, "1|1");
    assert_eq!(epoch_of(&view.next(1)[0]).1, "2|1");
    rig.done("DELETE FROM t");
    assert_eq!(epoch_of(&table.next(1)[0]).1, "1|-1");
    assert_eq!(epoch_of(&view.next(1)[0]).1, "2|-1");
    assert!(
        rig.error("SUBSCRIBE TO t AS OF 3")
            .message
            .contains("keeps no changelog")
    );
    assert!(rig.error("SUBSCRIBE TO weir.lag").message.contains("system relation"));
}

#[test]
fn a_client_that_stops_reading_is_ended_at_the_limit_and_nobody_else() {
    let topic = "push: stalled";
    memory::create(topic, 1);
    let rig = Rig::new();
    rig.all(&format!(
        "CREATE SOURCE s (n BIGINT, text TEXT) WITH (connector = 'memory', topic = '{topic}');
         CREATE MATERIALIZED VIEW m AS SELECT n, text FROM s;
         CREATE MATERIALIZED VIEW c AS SELECT count(*) AS n FROM s;\n"
    ));
    let mut query = rig.push("SELECT n, text FROM s EMIT CHANGES");
    let mut stalled = rig.push("SUBSCRIBE TO m");
    let mut reading = rig.push("SUBSCRIBE TO c");
    let mut counted = 0;
    let mut count_to = |count: i64, push: &mut super::rig::Push| {
        while counted < count {
            let (_, row) = epoch_of(&push.next(1)[0]);
            let (value, weight) = row.split_once('|').unwrap();
            counted += value.parse::<i64>().unwrap() * weight.parse::<i64>().unwrap();
        }
    };
    // Ten times the limit: more than lies between the changelog and a client.
    let text = "x".repeat(1000);
    for n in 0..6000 {
        record(topic, &format!("{{\"n\": {n}, \"text\": \"{text}\"}}"));
        if n % 100 == 99 {
            count_to(n + 1, &mut reading);
        }
    }
    // The query's pipeline has ended, that of the views runs on.
    let ended = (0..1000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        rig.instance.engine().lag().len() == 1
    });
    assert!(ended, "{:?}", rig.instance.engine().lag());
    for (push, advice) in [(&mut query, "run the query again"), (&mut stalled, "subscribe anew")] {
        let error = loop {
            match push.batch().expect("an error at its end") {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert!(
            error.message.contains("524288 bytes (changelog_limit)") && error.message.contains(advice),
            "{}",
            error.message
        );
        assert!(push.batch().is_none());
    }
    record(topic, "{\"n\": 6000, \"text\": \"\"}");
    count_to(6001, &mut reading);
    assert_eq!(rig.rows("SELECT count(*), count(DISTINCT n) FROM m"), ["6001|6001"]);
    let mut again = rig.push("SUBSCRIBE TO m");
    assert_eq!(again.next(6001).len(), 6001);
}

/// `changelog_limit` of a view holds for its clients, also after a restart, in place of the engine's.
#[test]
fn a_view_may_have_a_limit_of_its_own() {
    let topic = "push: own limit";
    memory::create(topic, 1);
    let rig = Rig::new();
    rig.all(&format!(
        "CREATE SOURCE s (n BIGINT, text TEXT) WITH (connector = 'memory', topic = '{topic}');
         CREATE MATERIALIZED VIEW small WITH (changelog_limit = '64KB') AS SELECT n, text FROM s;
         CREATE MATERIALIZED VIEW usual AS SELECT n, text FROM s;\n"
    ));
    let refused = rig.error("CREATE MATERIALIZED VIEW v WITH (changelog_limit = 'much') AS SELECT n FROM s");
    assert!(refused.message.contains("'much' is no size"), "{}", refused.message);
    let rig = rig.restart();
    let mut stalled = rig.push("SUBSCRIBE TO small");
    let mut reading = rig.push("SUBSCRIBE TO usual");
    let text = "x".repeat(1000);
    for n in 0..3000 {
        record(topic, &format!("{{\"n\": {n}, \"text\": \"{text}\"}}"));
        if n % 100 == 99 {
            assert_eq!(reading.next(100).len(), 100);
        }
    }
    let error = loop {
        match stalled.batch().expect("an error at its end") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(
        error.message.contains("65536 bytes (changelog_limit)"),
        "{}",
        error.message
    );
}
