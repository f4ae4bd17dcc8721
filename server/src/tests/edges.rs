//! What lies outside: data directories, brokers, sinks.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::StreamExt;

use super::rig::{Rig, lines};
use crate::broker::Broker;
use crate::{Body, ErrorKind, Instance, InstanceOptions};

/// A path that nothing else has, removed in the end.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("weir-server-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Place(path)
    }

    fn options(&self) -> InstanceOptions {
        InstanceOptions {
            data: Some(self.0.clone()),
            ..InstanceOptions::default()
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_data_directory_keeps_everything_and_has_one_owner() {
    let place = Place::new();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let instance = Instance::open(place.options()).unwrap();
    let session = instance.session();
    for sql in [
        "CREATE TABLE t (a INT PRIMARY KEY)",
        "CREATE MATERIALIZED VIEW m AS SELECT sum(a) AS s FROM t",
        "INSERT INTO t VALUES (1), (2)",
        "SELECT * FROM m",
    ] {
        runtime.block_on(session.run(sql)).unwrap();
    }
    let error = Instance::open(place.options()).err().unwrap();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.message.contains("in use by another process"), "{}", error.message);
    let id = instance.id();
    instance.shutdown();
    drop((session, instance));

    let instance = Instance::open(place.options()).unwrap();
    assert_eq!(instance.id(), id);
    let answer = runtime
        .block_on(instance.session().run("SELECT s, (SELECT count(*) FROM t) FROM m"))
        .unwrap();
    let Body::Rows(rows) = answer.body else { panic!() };
    let batches = runtime.block_on(rows.collect()).unwrap();
    assert_eq!(batches.iter().flat_map(lines).collect::<Vec<_>>(), ["3|2"]);
    instance.shutdown();
}

#[test]
fn a_directory_of_others_is_left_alone() {
    let place = Place::new();
    std::fs::create_dir_all(&place.0).unwrap();
    std::fs::write(place.0.join("letters.txt"), "dear").unwrap();
    let error = Instance::open(place.options()).err().unwrap();
    assert!(error.message.contains("not a Weir data directory"), "{}", error.message);
    assert_eq!(std::fs::read_dir(&place.0).unwrap().count(), 1);
}

#[test]
fn topics_are_those_of_the_brokers_that_sources_name() {
    let broker = Broker::embedded().unwrap();
    broker.create_topic("bids", 3).unwrap();
    let rig = Rig::new();
    let servers = broker.bootstrap().to_string();
    rig.all(&format!(
        "CREATE SOURCE bids (n BIGINT) WITH (connector = 'kafka', topic = 'bids',
           properties.bootstrap.servers = '{servers}', scan.startup.mode = 'latest');
         CREATE SOURCE again (n BIGINT) WITH (connector = 'kafka', topic = 'bids',
           properties.bootstrap.servers = '{servers}');\n"
    ));
    assert_eq!(rig.rows("SHOW TOPICS"), [format!("bids|3|{servers}")]);
    assert_eq!(rig.rows("SELECT count(*) FROM again"), ["0"]);
}

#[test]
fn a_file_gets_what_a_view_changes_once() {
    let place = Place::new();
    std::fs::create_dir_all(&place.0).unwrap();
    let path = place.0.join("out.csv");
    let mut rig = Rig::new();
    rig.all("CREATE TABLE t (a INT);\n INSERT INTO t VALUES (1);\n");
    rig.done(&format!(
        "CREATE SINK s AS SELECT a * 10 AS x FROM t WITH (connector = 'file', path = '{}', force_append_only = 'true') \
         FORMAT PLAIN ENCODE CSV",
        path.display()
    ));
    let written = |expected: &str| {
        let found = (0..1000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            std::fs::read_to_string(&path).is_ok_and(|text| text == expected)
        });
        assert!(found, "{:?}", std::fs::read_to_string(&path));
    };
    written("10\n");
    rig.until("SELECT state, delivered_epoch > 0 FROM weir.sinks", &["RUNNING|true"]);
    rig.done("PAUSE s");
    rig.done("INSERT INTO t VALUES (2)");
    rig = rig.restart();
    assert_eq!(rig.rows("SELECT state FROM weir.sinks"), ["PAUSED"]);
    rig.done("RESUME s");
    written("10\n20\n");
    rig.done("DROP SINK s");
    rig.done("INSERT INTO t VALUES (3)");
    assert_eq!(rig.rows("SELECT count(*) FROM t"), ["3"]);
    written("10\n20\n");
}

#[test]
fn queries_share_a_limited_memory() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let options = InstanceOptions {
        query_memory: Some(32 << 20),
        ..InstanceOptions::default()
    };
    let instance = Instance::open(options).unwrap();
    let session = instance.session();
    let rows = |sql: &str| -> Result<usize, crate::Error> {
        runtime.block_on(async {
            let Body::Rows(mut rows) = session.run(sql).await?.body else {
                panic!("{sql} gives no rows");
            };
            let mut count = 0;
            while let Some(batch) = rows.stream.next().await {
                count += batch?.num_rows();
            }
            Ok(count)
        })
    };
    let large = "SELECT count(*) FROM generate_series(1, 3000000) a JOIN generate_series(1, 3000000) b ON a.a = b.b";
    let error = rows(large).unwrap_err();
    assert!(error.message.contains("--query-memory"), "{}", error.message);
    assert_eq!(
        rows("SELECT * FROM generate_series(1, 100) a ORDER BY a DESC").unwrap(),
        100
    );
    let shown = "SELECT * FROM weir.settings WHERE name = 'query_memory' AND value = '32 MiB'";
    assert_eq!(rows(shown).unwrap(), 1);
}
