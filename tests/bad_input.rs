//! What can go wrong outside: brokers that are away, topics that don't exist, a disk that is full,
//! directories that are no one's or someone else's. Each is a clear error while it lasts, and when
//! it is over nothing is lost. (Records and statements that make no sense have scripts, in
//! `tests/slt/bad_input` and `tests/slt/refused`.)

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use weir_engine::connector::kafka::Properties;
use weir_engine::connector::kafka::admin::Admin;
use weir_engine::connector::kafka::mock::EmbeddedBroker;
use weir_engine::connector::kafka::producer::{Producer, Record};
use weir_engine::connector::memory;
use weir_suite::program;
use weir_suite::server;

#[path = "bad_input/disk.rs"]
mod disk;
#[path = "bad_input/weir.rs"]
mod weir;

use disk::{FullDisk, OutOfReach};
use weir::Weir;

const TOPIC: &str = "numbers";

fn source(name: &str, topic: &str, brokers: &str) -> String {
    format!(
        "CREATE SOURCE {name} (n BIGINT) WITH (connector = 'kafka', topic = '{topic}', \
         properties.bootstrap.servers = '{brokers}') ENCODE JSON"
    )
}

/// Produces the numbers of a range, each as a record.
fn produce(brokers: &str, topic: &str, numbers: std::ops::Range<i64>) {
    let producer = Producer::new(&Properties::new(brokers)).expect("a producer");
    for number in numbers {
        let value = format!(r#"{{"n":{number}}}"#);
        let record = Record {
            value: Some(value.as_bytes()),
            ..Record::default()
        };
        producer.send(topic, &record).expect("a record");
    }
    producer.flush(Duration::from_secs(30)).expect("records in Kafka");
}

#[test]
fn a_broker_that_is_away_is_waited_for() {
    let broker = EmbeddedBroker::start(1).expect("a broker");
    broker.create_topic(TOPIC, 2).expect("a topic");
    let brokers = broker.bootstrap_servers();
    produce(&brokers, TOPIC, 0..100);

    // Away from the start: a source that has to ask it is refused, and a view waits, saying why.
    broker.take_down(-1).expect("a broker that runs");
    let weir = Weir::in_memory();
    let latest = source("latest", TOPIC, &brokers).replace("ENCODE", "FORMAT PLAIN ENCODE");
    let latest = latest.replace("topic =", "scan.startup.mode = 'latest', topic =");
    let refused = weir.refused(&latest);
    assert!(refused.contains("kafka"), "{refused}");
    weir.run(&source(TOPIC, TOPIC, &brokers));
    weir.run("CREATE MATERIALIZED VIEW summed AS SELECT count(*) AS n, sum(n) AS s FROM numbers");
    server::until("the view tells of the broker", || {
        weir.detail("summed").contains("kafka")
    });

    broker.bring_up(-1).expect("a broker that is down");
    weir.comes_to("SELECT n, s FROM summed", "100,4950");

    // Away in the middle.
    broker.take_down(-1).expect("a broker that runs");
    server::until("the view tells of the broker", || {
        weir.detail("summed").contains("kafka")
    });
    weir.run("SET wait = 'off'");
    assert_eq!(weir.csv("SELECT n, s FROM summed"), "100,4950");
    broker.bring_up(-1).expect("a broker that is down");
    produce(&brokers, TOPIC, 100..200);
    weir.comes_to("SELECT n, s FROM summed", "200,19900");
    server::until("the trouble is over", || weir.detail("summed").is_empty());
    weir.close();
}

#[test]
fn an_unknown_topic_is_named_until_it_is_there() {
    let Some(kafka) = program::kafka("an_unknown_topic_is_named_until_it_is_there") else {
        return;
    };
    let topic = format!("later-{}", std::process::id());
    let weir = Weir::in_memory();
    weir.run(&source("later", &topic, &kafka));
    weir.run("CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM later");
    server::until("the view names the topic", || {
        let detail = weir.detail("counted");
        detail.contains(&topic) && detail.contains("no such topic")
    });
    let latest = source("latest", &topic, &kafka).replace("topic =", "scan.startup.mode = 'latest', topic =");
    let refused = weir.refused(&latest);
    assert!(
        refused.contains(&topic) && refused.contains("no such topic"),
        "{refused}"
    );

    let admin = Admin::new(&Properties::new(&kafka)).expect("an admin client");
    admin.create_topic(&topic, Some(1), &[]).expect("a topic");
    produce(&kafka, &topic, 0..10);
    weir.comes_to("SELECT n FROM counted", "10");
    weir.close();
    admin.delete_topic(&topic).expect("the topic of this test");
}

#[test]
fn a_broker_that_stops_and_starts_again_loses_nothing() {
    // Its own broker: others may be in use by other tests.
    if program::kafka("a_broker_that_stops_and_starts_again_loses_nothing").is_none() {
        return;
    }
    let files = tempfile::tempdir().expect("a folder");
    let kafka_sh = |verb: &str| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/kafka.sh");
        let mut command = Command::new(script);
        command.args([verb, "--dir"]).arg(files.path().join("kafka"));
        if verb == "start" || verb == "restart" {
            command.args(["--max-minutes", "10"]);
        }
        let outcome = program::run(&mut command, Duration::from_secs(120));
        assert!(outcome.success, "kafka.sh {verb}: {outcome:?}");
        outcome.stdout.trim().to_string()
    };
    let brokers = kafka_sh("start");
    let admin = Admin::new(&Properties::new(&brokers)).expect("an admin client");
    admin.create_topic(TOPIC, Some(2), &[]).expect("a topic");
    produce(&brokers, TOPIC, 0..1000);

    let weir = Weir::in_memory();
    weir.run(&source(TOPIC, TOPIC, &brokers));
    weir.run("CREATE MATERIALIZED VIEW summed AS SELECT count(*) AS n, sum(n) AS s FROM numbers");
    weir.run(&format!(
        "CREATE SINK copied AS SELECT n FROM numbers WITH (connector = 'kafka', topic = 'copy', \
         properties.bootstrap.servers = '{brokers}', properties.message.timeout.ms = 3000) ENCODE JSON"
    ));
    weir.run(&source("copies", "copy", &brokers));
    weir.comes_to("SELECT n, s FROM summed", "1000,499500");
    kafka_sh("kill");
    server::until("the view tells of the broker", || {
        weir.detail("summed").contains("kafka")
    });
    let again = kafka_sh("restart");
    assert_eq!(again, brokers);
    produce(&brokers, TOPIC, 1000..2000);
    weir.comes_to("SELECT n, s FROM summed", "2000,1999000");
    // At least once: each number, some perhaps twice.
    weir.comes_to("SELECT count(DISTINCT n), sum(DISTINCT n) FROM copies", "2000,1999000");
    weir.close();
    kafka_sh("remove");
}

#[test]
fn a_full_disk_is_waited_out() {
    memory::create("full", 1);
    let disk = FullDisk::new();
    let weir = Weir::on(disk.store.clone());
    weir.run("CREATE SOURCE full (n BIGINT) WITH (connector = 'memory', topic = 'full') ENCODE JSON");
    weir.run("CREATE TABLE kept (n BIGINT PRIMARY KEY)");
    weir.run("CREATE MATERIALIZED VIEW summed AS SELECT count(*) AS n, sum(n) AS s FROM full");
    let append = |numbers: std::ops::Range<i64>| {
        for number in numbers {
            memory::append("full", 0, None, Some(format!(r#"{{"n":{number}}}"#).as_bytes()), 0);
        }
    };
    append(0..100);
    weir.comes_to("SELECT n, s FROM summed", "100,4950");

    disk.is_full.store(true, Ordering::Release);
    append(100..200);
    server::until("the view tells of the disk", || {
        weir.detail("summed").contains("disk full")
    });
    let refused = weir.refused("INSERT INTO kept VALUES (1)");
    assert!(
        refused.contains("disk full") && refused.contains("free some space"),
        "{refused}"
    );
    let refused = weir.refused("CREATE TABLE another (n BIGINT)");
    assert!(refused.contains("disk full"), "{refused}");
    // What was committed can be read.
    assert_eq!(weir.csv("SELECT n, s FROM summed"), "100,4950");

    disk.is_full.store(false, Ordering::Release);
    weir.comes_to("SELECT n, s FROM summed", "200,19900");
    weir.run("INSERT INTO kept VALUES (1)");
    assert_eq!(weir.csv("SELECT n FROM kept"), "1");
    append(200..300);
    weir.comes_to("SELECT n, s FROM summed", "300,44850");
    weir.close();
}

#[test]
fn views_whose_records_cannot_be_read_keep_what_they_have() {
    memory::create("away", 1);
    let (store, is_away) = OutOfReach::store();
    let weir = Weir::on(store);
    weir.run("CREATE SOURCE away (n BIGINT) WITH (connector = 'memory', topic = 'away') ENCODE JSON");
    // One that started anew would draw other numbers.
    weir.run("CREATE MATERIALIZED VIEW drawn AS SELECT n, uuid() AS u FROM away");
    weir.run("CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM drawn");
    weir.run("CREATE MATERIALIZED VIEW dropped AS SELECT max(n) AS n FROM away");
    let append = |number: i64| {
        memory::append("away", 0, None, Some(format!(r#"{{"n":{number}}}"#).as_bytes()), 0);
    };
    (0..100).for_each(append);
    weir.comes_to("SELECT n FROM counted", "100");
    weir.comes_to("SELECT n FROM dropped", "99");
    let drawn = "SELECT n, u FROM drawn WHERE n < 100 ORDER BY n";
    let before = weir.csv(drawn);

    is_away.store(true, Ordering::Release);
    append(100);
    for view in ["drawn", "counted", "dropped"] {
        // Tried again, it could still not be read.
        server::until("the view tells of the store", || {
            weir.detail(view).contains("can't be read")
        });
    }
    is_away.store(false, Ordering::Release);
    weir.run("DROP MATERIALIZED VIEW dropped");
    weir.comes_to("SELECT n FROM counted", "101");
    assert_eq!(weir.csv(drawn), before);
    weir.close();
}

#[test]
fn directories_that_cannot_be_had_are_refused() {
    let files = tempfile::tempdir().expect("a folder");
    let foreign = files.path().join("foreign");
    fs::create_dir(&foreign).expect("a folder");
    fs::write(foreign.join("letter.txt"), "dear").expect("a file");
    let complaint = serving(&foreign);
    assert!(
        complaint.contains("is not a Weir data directory") && complaint.contains("letter.txt"),
        "{complaint}"
    );
    assert_eq!(
        fs::read_dir(&foreign).expect("the folder").count(),
        1,
        "nothing was touched"
    );

    let below_a_file = foreign.join("letter.txt").join("data");
    let complaint = serving(&below_a_file);
    assert!(
        complaint.contains("letter.txt") && !complaint.contains("panic"),
        "{complaint}"
    );

    let mine = files.path().join("mine");
    let running = server::Server::start(&mine);
    let complaint = serving(&mine);
    assert!(complaint.contains("in use by another process"), "{complaint}");
    assert_eq!(running.sql("SELECT 1 AS one"), "one\n1\n");
    assert!(running.terminate().status.success());

    // A file of the store is gone: damaged, and said so.
    let mut inside = fs::read_dir(&mine)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path());
    let store = inside.find(|path| path.is_dir()).expect("the store's folder");
    for entry in fs::read_dir(&store).expect("the store") {
        let path = entry.expect("an entry").path();
        if path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("MANIFEST"))
        {
            fs::write(&path, "no manifest").expect("a file");
        }
    }
    let complaint = serving(&mine);
    assert!(!complaint.is_empty() && !complaint.contains("panic"), "{complaint}");
}

/// What `weir serve` says of a directory that it does not take.
fn serving(data: &Path) -> String {
    let mut command = server::command(data);
    let outcome = program::run(command.stdout(Stdio::piped()), Duration::from_secs(60));
    assert!(!outcome.success, "it serves: {outcome:?}");
    outcome.stderr
}
