//! Views that fail, and what the user is told.

use weir_engine::connector::memory;
use weir_state::{WriteBatch, pipelines};

use super::rig::{Rig, lines};
use crate::{Body, ErrorKind};

#[test]
fn a_failed_view_says_why_and_disturbs_no_other() {
    let topic = "failures: bad record";
    memory::create(topic, 1);
    let append = |value: &str| {
        memory::append(topic, 0, None, Some(value.as_bytes()), 0);
    };
    append("{\"n\": 1}");
    let rig = Rig::new();
    rig.all(&format!(
        "CREATE SOURCE s (n BIGINT) WITH (connector = 'memory', topic = '{topic}');
         CREATE SOURCE lenient (n BIGINT) WITH (connector = 'memory', topic = '{topic}', on_error = 'skip');
         CREATE TABLE t (a INT);
         CREATE MATERIALIZED VIEW strict AS SELECT count(n) AS c FROM s;
         CREATE MATERIALIZED VIEW skipping AS SELECT count(n) AS c FROM lenient;
         CREATE MATERIALIZED VIEW other AS SELECT count(*) AS c FROM t;\n"
    ));
    rig.until("SELECT c FROM strict", &["1"]);
    append("{\"n\": \"no number\"}");
    append("{\"n\": 3}");
    rig.until("SELECT c FROM skipping", &["2"]);
    rig.until("SELECT state FROM weir.pipelines WHERE name = 'strict'", &["FAILED"]);
    let detail = rig.rows("SELECT detail FROM weir.pipelines WHERE name = 'strict'");
    assert!(detail[0].contains(&format!("{topic}:0@1")), "{detail:?}");
    let notices = rig.notices("SELECT c FROM strict");
    assert!(
        notices[0].contains("has failed") && notices[0].contains("@1"),
        "{notices:?}"
    );
    assert_eq!(rig.rows("SELECT c FROM strict"), ["1"]);
    let errors = rig.rows("SELECT source, topic, \"partition\", \"offset\" FROM weir.errors");
    assert_eq!(errors, [format!("lenient|{topic}|0|1")]);
    rig.until(
        "SELECT source, skipped FROM weir.lag WHERE source = 'lenient'",
        &["lenient|1"],
    );
    rig.done("INSERT INTO t VALUES (1)");
    assert_eq!(rig.rows("SELECT c FROM other"), ["1"]);
    assert_eq!(rig.error("SELECT count(n) FROM s").kind, ErrorKind::Data);
}

/// A key that is no text is no other such key; where it is only looked at, it is shown as well as it can be.
#[test]
fn keys_that_are_no_text_are_not_mixed_up() {
    let topic = "failures: keys";
    memory::create(topic, 1);
    for (key, value) in [(&b"a\xff"[..], "1"), (b"a\xfe", "2"), (b"b", "3")] {
        memory::append(topic, 0, Some(key), Some(format!("{{\"n\": {value}}}").as_bytes()), 0);
    }
    let rig = Rig::new();
    rig.all(&format!(
        "CREATE SOURCE rows (k TEXT METADATA FROM 'key', n BIGINT)
         WITH (connector = 'memory', topic = '{topic}', on_error = 'skip') FORMAT UPSERT ENCODE JSON;
         CREATE SOURCE shown (k TEXT METADATA FROM 'key', n BIGINT) WITH (connector = 'memory', topic = '{topic}');
         CREATE MATERIALIZED VIEW m AS SELECT k, n FROM rows;
         CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM rows;\n"
    ));
    rig.until("SELECT * FROM m", &["b|3"]);
    rig.until("SELECT * FROM counted", &["1"]);
    assert_eq!(rig.rows("SELECT n FROM shown WHERE k LIKE 'a_' ORDER BY n"), ["1", "2"]);
    let errors = rig.rows("SELECT \"offset\", cause FROM weir.errors ORDER BY 1");
    let cause = "metadata column 'k': the value is no TEXT";
    assert_eq!(errors, [format!("0|{cause}"), format!("1|{cause}")]);
}

#[test]
fn a_pipeline_that_cannot_reach_its_source_is_waited_for_with_its_trouble() {
    let topic = "failures: away";
    memory::create(topic, 1);
    memory::append(topic, 0, None, Some(b"{\"n\": 1}"), 0);
    memory::set_away(topic, true);
    let rig = Rig::new();
    rig.all(&format!(
        "CREATE SOURCE s (n BIGINT) WITH (connector = 'memory', topic = '{topic}');
         CREATE MATERIALIZED VIEW m AS SELECT sum(n) AS n FROM s;\n"
    ));
    let session = rig.session.clone();
    let handle = rig.block_on(async { tokio::runtime::Handle::current() });
    let asked = std::thread::spawn(move || {
        handle
            .block_on(session.run("SELECT n FROM m"))
            .map(|answer| answer.notices)
    });
    let told = (0..1000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        rig.session.waiting().is_some_and(|what| what.starts_with("view 'm': "))
    });
    assert!(told);
    let trouble = format!("memory topic '{topic}': it is out of reach");
    rig.until("SELECT state FROM weir.pipelines WHERE name = 'm'", &["WAITING"]);
    assert_eq!(
        rig.notices("RESUME m"),
        [format!(
            "'m' is not paused: what it waits for is tried again now ({trouble})"
        )]
    );
    assert_eq!(
        rig.notices(&format!(
            "CREATE SOURCE s2 (n BIGINT) WITH (connector = 'memory', topic = '{topic}')"
        )),
        [format!(
            "source 's2' is created, and what reads it waits, for at present it can't be read: {trouble}"
        )]
    );
    assert!(
        rig.notices("CREATE SOURCE f (n BIGINT) WITH (connector = 'file', path = '/nowhere/*.json', follow = 'true')")
            [0]
        .ends_with("file '/nowhere/*.json': no file matches yet")
    );
    memory::set_away(topic, false);
    assert!(asked.join().unwrap().unwrap().is_empty());
    assert_eq!(rig.session.waiting(), None);
    assert_eq!(rig.rows("SELECT n FROM m"), ["1"]);
}

#[test]
fn a_dropped_client_is_waited_for_by_nobody() {
    let topic = "failures: gone";
    memory::create(topic, 1);
    memory::set_away(topic, true);
    let rig = Rig::new();
    rig.all(&format!(
        "CREATE SOURCE s (n BIGINT) WITH (connector = 'memory', topic = '{topic}');
         CREATE MATERIALIZED VIEW m AS SELECT sum(n) AS n FROM s;\n"
    ));
    let asked = rig.session.run("SELECT n FROM m");
    let patience = std::time::Duration::from_millis(200);
    assert!(
        rig.block_on(async { tokio::time::timeout(patience, asked).await })
            .is_err()
    );
    let told = (0..1000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        rig.session.waiting().is_none()
    });
    assert!(told, "it still waits: {:?}", rig.session.waiting());
}

#[test]
fn settings_are_known_or_refused() {
    let rig = Rig::new();
    assert_eq!(rig.rows("SHOW wait"), ["on"]);
    assert_eq!(rig.done("SET wait = off"), "SET");
    assert_eq!(rig.rows("SHOW wait"), ["off"]);
    assert!(rig.error("SET wait = 'perhaps'").message.contains("'on' or 'off'"));
    let error = rig.error("SET speed = 11");
    assert_eq!(
        (error.kind, error.message.contains("wait")),
        (ErrorKind::NotFound, true)
    );
    assert!(
        rig.error("SET tasks = 3")
            .message
            .contains("chosen when Weir is started")
    );
    assert!(
        rig.error("SHOW speed")
            .message
            .contains("there are: wait, state, changelog_limit, checkpoint_interval")
    );
    assert_eq!(rig.rows("SELECT value FROM weir.settings WHERE name = 'wait'"), ["off"]);
    // A setting is of its session.
    let answer = rig.elsewhere("SHOW wait");
    let Body::Rows(rows) = answer.body else { panic!() };
    let batches = rig.block_on(rows.collect()).unwrap();
    assert_eq!(lines(&batches[0]), ["on"]);
}

#[test]
fn a_shutdown_ends_what_waits() {
    let topic = "failures: shutdown";
    memory::create(topic, 1);
    memory::set_away(topic, true);
    let rig = Rig::new();
    rig.all(&format!(
        "CREATE SOURCE s (n BIGINT) WITH (connector = 'memory', topic = '{topic}');
         CREATE MATERIALIZED VIEW m AS SELECT sum(n) AS n FROM s;\n"
    ));
    let mut push = rig.push("SELECT n FROM s EMIT CHANGES");
    let session = rig.session.clone();
    let handle = rig.block_on(async { tokio::runtime::Handle::current() });
    let asked = std::thread::spawn(move || handle.block_on(session.run("SELECT n FROM m")).map(drop));
    while rig.session.waiting().is_none() {
        std::thread::yield_now();
    }
    rig.instance.shutdown();
    let error = asked.join().unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(push.batch().unwrap().is_err());
}

/// What was read of a file is known again after a restart, so a file that was written anew meanwhile is not read on.
#[test]
fn a_followed_file_that_was_changed_fails_its_view() {
    let path = std::env::temp_dir().join(format!("weir-followed-{}.ndjson", std::process::id()));
    let write = |first: i64| {
        let lines: String = (first..first + 3).map(|n| format!("{{\"n\": {n}}}\n")).collect();
        std::fs::write(&path, lines).unwrap();
    };
    write(1);
    let rig = Rig::new();
    rig.all(&format!(
        "CREATE SOURCE s (n BIGINT) WITH (connector = 'file', path = '{}', follow = 'true');
         CREATE MATERIALIZED VIEW m AS SELECT sum(n) AS n FROM s;\n",
        path.display()
    ));
    rig.until("SELECT * FROM m", &["6"]);
    let rig = rig.restart_over(|_| write(4));
    rig.until(
        "SELECT state, detail LIKE '%was changed%byte 27%' FROM weir.pipelines",
        &["FAILED|true"],
    );
    assert_eq!(rig.rows("SELECT * FROM m"), ["6"]);
    // What it was is read on.
    write(1);
    rig.done("RESUME m");
    rig.until("SELECT state FROM weir.pipelines", &["RUNNING"]);
    std::fs::remove_file(&path).unwrap();
}

/// A source that stays away is waited for, but not for ever; what is read then comes with the reason.
#[test]
fn what_cannot_be_caught_up_with_is_read_as_it_is() {
    let (late, away) = ("failures: late", "failures: stays away");
    memory::create(away, 1);
    memory::append(away, 0, None, Some(b"{\"n\": 1}"), 0);
    let rig = Rig::new();
    rig.all(&format!(
        "CREATE SOURCE late (n BIGINT) WITH (connector = 'memory', topic = '{late}');
         CREATE SOURCE s (n BIGINT) WITH (connector = 'memory', topic = '{away}');
         CREATE TABLE t (n BIGINT);
         CREATE MATERIALIZED VIEW of_late AS SELECT count(n) AS n FROM late;
         CREATE MATERIALIZED VIEW m AS SELECT count(n) AS n FROM s UNION ALL SELECT n FROM t;\n"
    ));
    rig.until("SELECT * FROM m", &["1"]);
    // As if no epoch had noted it.
    let rig = rig.restart_over(|store| {
        memory::set_away(away, true);
        let mut batch = WriteBatch::new();
        for mut record in pipelines::load(store).unwrap() {
            record
                .positions
                .values_mut()
                .flat_map(|splits| splits.values_mut())
                .for_each(|split| split.caught_up = false);
            pipelines::put(&mut batch, &record);
        }
        store.commit(batch).unwrap();
    });
    rig.until(
        "SELECT name, state, detail FROM weir.pipelines",
        &[
            &format!("m|WAITING|memory topic '{away}': it is out of reach"),
            &format!("of_late|WAITING|memory topic '{late}': there is no such topic; create it, or correct the name"),
        ],
    );
    rig.done("INSERT INTO t VALUES (7)");
    let answer = rig.run("SELECT m.n, of_late.n FROM m, of_late ORDER BY 1");
    let [of_m, of_late] = &answer.notices[..] else {
        panic!("{:?}", answer.notices)
    };
    assert!(
        of_m.contains("'m' waits") && of_m.contains("out of reach") && of_m.contains("last epoch"),
        "{of_m}"
    );
    assert!(
        of_late.contains("'of_late' waits") && of_late.contains("no such topic"),
        "{of_late}"
    );
    let Body::Rows(rows) = answer.body else { panic!() };
    let rows = rig.block_on(rows.collect()).unwrap();
    assert_eq!(rows.iter().flat_map(lines).collect::<Vec<_>>(), ["1|0", "7|0"]);

    memory::set_away(away, false);
    memory::append(away, 0, None, Some(b"{\"n\": 1}"), 0);
    memory::create(late, 1);
    rig.until("SELECT * FROM m", &["2", "7"]);
    rig.until(
        "SELECT state, detail FROM weir.pipelines",
        &["RUNNING|NULL", "RUNNING|NULL"],
    );
    assert!(rig.notices("SELECT m.n, of_late.n FROM m, of_late").is_empty());
}

/// A file that was read to its end is asked for no more, also after a restart; others of the pattern are.
#[test]
fn a_file_that_was_read_may_be_deleted() {
    let folder = std::env::temp_dir().join(format!("weir-read-once-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = |name: &str| folder.join(name).display().to_string();
    std::fs::write(path("a.ndjson"), "{\"n\": 1}\n{\"n\": 2}\n").unwrap();
    let rig = Rig::new();
    rig.all(&format!(
        "CREATE SOURCE one (n BIGINT) WITH (connector = 'file', path = '{}');
         CREATE SOURCE some (n BIGINT) WITH (connector = 'file', path = '{}');
         CREATE TABLE t (n BIGINT);
         CREATE MATERIALIZED VIEW m AS SELECT sum(one.n) AS n FROM one, t;
         CREATE MATERIALIZED VIEW some_sum AS SELECT sum(n) AS n FROM some;
         INSERT INTO t VALUES (0);\n",
        path("a.ndjson"),
        path("*.ndjson")
    ));
    let ended = "SELECT bool_and(ended) FROM weir.pipelines WHERE name = 'some_sum'";
    rig.until("SELECT m.n, some_sum.n FROM m, some_sum", &["3|3"]);
    rig.until(ended, &["true"]);
    let rig = rig.restart_over(|_| {
        std::fs::remove_file(path("a.ndjson")).unwrap();
        std::fs::write(path("b.ndjson"), "{\"n\": 4}\n").unwrap();
    });
    rig.done("INSERT INTO t VALUES (0)");
    rig.until("SELECT m.n, some_sum.n FROM m, some_sum", &["6|7"]);
    assert_eq!(
        rig.rows("SELECT DISTINCT state, detail FROM weir.pipelines"),
        ["RUNNING|NULL"]
    );
    // All that there were are gone.
    let rig = rig.restart_over(|_| std::fs::remove_file(path("b.ndjson")).unwrap());
    rig.done("INSERT INTO t VALUES (0)");
    rig.until("SELECT m.n, some_sum.n FROM m, some_sum", &["9|7"]);
    rig.until(ended, &["true"]);
    assert!(rig.error("SELECT * FROM one").message.contains(&path("a.ndjson")));
    std::fs::remove_dir_all(&folder).unwrap();
}
