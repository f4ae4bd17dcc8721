//! Sinks: what arrives outside, from where, and what is refused.

use std::path::Path;
use std::time::Duration;

use weir_state::changelog::Follower;
use weir_state::{Store, WriteBatch};

use super::rig::Rig;
use crate::broker::Broker;

fn followers(store: &dyn Store) -> Vec<Follower> {
    Follower::load(store).unwrap()
}

/// A crash between a delivery and its note: the note is older than what has arrived, and the key
/// that had arrived is gone again when the sink goes on.
#[test]
fn a_key_that_went_around_a_crash_leaves_no_record_behind() {
    let broker = Broker::embedded().unwrap();
    broker.create_topic("ghosts", 1).unwrap();
    let kafka = format!(
        "connector = 'kafka', topic = 'ghosts', properties.bootstrap.servers = '{}'",
        broker.bootstrap()
    );
    let mut rig = Rig::new();
    rig.all(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, n INT);
         INSERT INTO t VALUES (1, 10);
         CREATE MATERIALIZED VIEW m AS SELECT id, n FROM t;
         CREATE SINK keeps_the_changelog FROM m WITH (connector = 'blackhole', snapshot = 'false');
         PAUSE keeps_the_changelog;
         CREATE SINK out FROM m WITH ({kafka}, key = 'id') FORMAT UPSERT ENCODE JSON KEY ENCODE JSON;
         CREATE SOURCE outside (id INT PRIMARY KEY, n INT) WITH ({kafka}) FORMAT UPSERT ENCODE JSON KEY ENCODE JSON;
         CREATE MATERIALIZED VIEW seen AS SELECT id, n FROM outside;\n"
    ));
    rig.until("SELECT * FROM seen", &["1|10"]);
    rig.until(
        "SELECT delivered_epoch > 0 FROM weir.sinks WHERE name = 'out'",
        &["true"],
    );
    let mut notes = Vec::new();
    rig = rig.restart_over(|store| notes = followers(store));
    assert_eq!(notes.len(), 2);

    rig.done("INSERT INTO t VALUES (2, 20), (3, 30)");
    rig.until("SELECT * FROM seen", &["1|10", "2|20", "3|30"]);
    rig.done("PAUSE out");
    rig.done("DELETE FROM t WHERE id = 2");
    rig.done("UPDATE t SET n = 31 WHERE id = 3");
    assert_eq!(rig.sorted("SELECT * FROM m"), ["1|10", "3|31"]);
    rig = rig.restart_over(|store| {
        let mut batch = WriteBatch::new();
        notes.iter().for_each(|note| note.put(&mut batch));
        store.commit(batch).unwrap();
    });
    rig.done("RESUME out");
    rig.until("SELECT * FROM seen", &["1|10", "3|31"]);
}

fn written(path: &Path, expected: &str) {
    let found = (0..1000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        std::fs::read_to_string(path).is_ok_and(|text| text == expected)
    });
    assert!(found, "{expected:?}, not {:?}", std::fs::read_to_string(path));
}

/// What is there when CREATE SINK returns is left out, and whatever changes after that is not.
#[test]
fn without_a_snapshot_a_sink_begins_where_create_returned() {
    let files = std::env::temp_dir().join(format!("weir-sinks-{}", std::process::id()));
    std::fs::create_dir_all(&files).unwrap();
    let rig = Rig::new();
    rig.all("CREATE TABLE t (a INT);\n CREATE MATERIALIZED VIEW m AS SELECT a FROM t;\n");
    let create = |number: i32| {
        let path = files.join(format!("{number}.csv"));
        rig.done(&format!(
            "CREATE SINK s{number} FROM m WITH (connector = 'file', path = '{}', snapshot = 'false',
               force_append_only = 'true') FORMAT PLAIN ENCODE CSV",
            path.display()
        ));
        path
    };
    for round in 0..10 {
        rig.done("INSERT INTO t VALUES (0)");
        let path = create(round);
        rig.done("INSERT INTO t VALUES (1)");
        written(&path, "1\n");
        rig.done(&format!("DROP SINK s{round}"));
    }
    // A view that stands still has its content too.
    rig.done("PAUSE m");
    let path = create(10);
    rig.done("RESUME m");
    rig.done("INSERT INTO t VALUES (2)");
    written(&path, "2\n");
    let refused = rig.error(
        "CREATE SINK own AS SELECT a FROM t WITH (connector = 'blackhole', snapshot = 'false') FORMAT PLAIN ENCODE JSON",
    );
    assert!(refused.message.contains("a sink FROM it"), "{}", refused.message);
    drop(rig);
    let _ = std::fs::remove_dir_all(&files);
}

/// NULL is no key: the sink says so, delivers nothing, and goes on when the row is gone.
#[test]
fn a_row_without_its_key_stops_an_upsert_sink_visibly() {
    let broker = Broker::embedded().unwrap();
    broker.create_topic("keys", 1).unwrap();
    let kafka = format!(
        "connector = 'kafka', topic = 'keys', properties.bootstrap.servers = '{}'",
        broker.bootstrap()
    );
    let rig = Rig::new();
    rig.all(&format!(
        "CREATE TABLE t (k TEXT);
         CREATE MATERIALIZED VIEW m AS SELECT k, count(*) AS n FROM t GROUP BY k;
         CREATE SINK out FROM m WITH ({kafka}, key = 'k') FORMAT UPSERT ENCODE JSON KEY ENCODE JSON;
         CREATE SOURCE outside (k TEXT PRIMARY KEY, n INT) WITH ({kafka}) FORMAT UPSERT ENCODE JSON KEY ENCODE JSON;
         CREATE MATERIALIZED VIEW seen AS SELECT k, n FROM outside;
         INSERT INTO t VALUES ('a'), (NULL);\n"
    ));
    rig.until(
        "SELECT state, trouble LIKE '%the key column ''k'' is NULL%coalesce%' FROM weir.sinks",
        &["WAITING|true"],
    );
    rig.done("DELETE FROM t WHERE k IS NULL");
    rig.until("SELECT * FROM seen", &["a|1"]);
    rig.until("SELECT state, trouble FROM weir.sinks", &["RUNNING|NULL"]);
}

/// A file belongs to the sink that writes it, from its first byte on.
#[test]
fn a_sinks_file_is_its_own() {
    let files = std::env::temp_dir().join(format!("weir-own-files-{}", std::process::id()));
    std::fs::create_dir_all(&files).unwrap();
    let rig = Rig::new();
    rig.all(
        "CREATE TABLE t (a INT);
         CREATE MATERIALIZED VIEW m AS SELECT a FROM t;
         INSERT INTO t VALUES (1), (2);\n",
    );
    let create = |name: &str, file: &str| {
        format!(
            "CREATE SINK {name} FROM m WITH (connector = 'file', path = '{}', force_append_only = 'true')
             FORMAT PLAIN ENCODE CSV",
            files.join(file).display()
        )
    };
    std::fs::write(files.join("foreign"), "no line of mine").unwrap();
    let refused = rig.error(&create("s", "foreign"));
    assert!(
        refused.message.contains("has something in it already"),
        "{}",
        refused.message
    );
    assert_eq!(
        std::fs::read_to_string(files.join("foreign")).unwrap(),
        "no line of mine"
    );

    rig.done(&create("s", "own"));
    written(&files.join("own"), "1\n2\n");
    // The rows that were there when it began were delivered like all others.
    rig.until("SELECT rows FROM weir.sinks", &["2"]);
    for same in ["own", "../own-link/own"] {
        let link = files.with_file_name("own-link");
        let _ = std::os::unix::fs::symlink(&files, &link);
        let refused = rig.error(&create("two", same));
        let _ = std::fs::remove_file(&link);
        assert!(
            refused.message.contains("sink 's' writes the file"),
            "{}",
            refused.message
        );
    }
    rig.done("INSERT INTO t VALUES (3)");
    rig.until("SELECT rows FROM weir.sinks", &["3"]);

    // It goes on with it after a restart.
    let rig = rig.restart();
    rig.done("INSERT INTO t VALUES (4)");
    written(&files.join("own"), "1\n2\n3\n4\n");
    drop(rig);
    let _ = std::fs::remove_dir_all(&files);
}
