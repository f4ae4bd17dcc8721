//! `weir serve` as a process: one per data directory, a clean end on SIGTERM, health and metrics.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use weir_suite::program::{self, weir};
use weir_suite::server::{self, Server, await_line, lines};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_second_process_on_the_directory_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let first = Server::start(&data);
    first.sql("CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t VALUES (1)");

    let second = program::run(&mut server::command(&data), PATIENCE);
    assert!(!second.success, "{second:?}");
    for word in [data.to_str().expect("a path"), "process"] {
        assert!(second.stderr.contains(word), "{second:?}");
    }
    let mut shell = Command::new(weir());
    let shell = program::run(shell.arg("--data").arg(&data).args(["-c", "SELECT 1"]), PATIENCE);
    assert!(!shell.success && shell.stderr.contains("process"), "{shell:?}");

    // The first has not noticed, and once it is gone, the directory is free.
    assert_eq!(first.sql("SELECT id FROM t"), "id\n1\n");
    drop(first);
    assert_eq!(Server::start(&data).sql("SELECT id FROM t"), "id\n1\n");
}

#[test]
fn sigterm_commits_and_ends_open_streams() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let server = Server::start(&data);
    server.sql(
        "CREATE TABLE t (id INT PRIMARY KEY);
         CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM t;
         INSERT INTO t VALUES (1), (2), (3);
         SELECT n FROM v",
    );
    let mut push = Command::new(weir())
        .args([
            "--connect",
            &server.url(),
            "--format",
            "csv",
            "-c",
            "SELECT id + 1 AS next FROM t EMIT CHANGES",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("weir");
    let rows = lines(push.stdout.take().expect("a pipe"));
    let complaints = lines(push.stderr.take().expect("a pipe"));
    await_line(&rows, "next");
    await_line(&rows, "2");

    let ended = server.terminate();
    assert!(ended.status.success(), "{ended:?}");
    let told: Vec<String> = complaints.iter().collect();
    assert!(
        told.iter().any(|line| line.contains("the server is stopping")),
        "{told:?}"
    );
    assert_eq!(push.wait().expect("a child").code(), Some(1));

    let again = Server::start(&data);
    assert_eq!(again.sql("SELECT n FROM v"), "n\n3\n");
}

#[test]
fn health_and_metrics_tell_of_the_views() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("numbers.ndjson");
    std::fs::write(&file, "{\"n\": 3}\n{\"n\": 5}\n{\"n\": 0}\n").expect("a file");
    let server = Server::start(&folder.path().join("data"));
    let (code, body) = server.get("/healthz");
    let health: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((code, &health["status"]), (200, &serde_json::json!("ok")), "{body}");
    assert_eq!(health["failed"], serde_json::json!([]));

    server.sql(&format!(
        "CREATE SOURCE numbers (n BIGINT) WITH (connector = 'file', path = '{}') FORMAT PLAIN ENCODE JSON;
         CREATE MATERIALIZED VIEW sums AS SELECT sum(n) AS total FROM numbers;
         SELECT total FROM sums;
         CREATE MATERIALIZED VIEW shares AS SELECT 15 / n AS share FROM numbers",
        file.display()
    ));
    assert_eq!(server.metric(r#"weir_view_up{view="sums"}"#), 1.0);
    server::until("the view that divides by zero fails", || {
        server.metric(r#"weir_view_up{view="shares"}"#) == 0.0
    });
    let (code, body) = server.get("/healthz");
    let health: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(code, 200, "{body}");
    assert_eq!(health["failed"][0]["name"], "shares", "{body}");
    assert!(
        health["failed"][0]["cause"].as_str().expect("a cause").contains("zero"),
        "{body}"
    );
    assert_eq!(server.get("/nothing").0, 404);
}

#[test]
fn addresses_that_can_not_be_had_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    for option in ["--listen", "--http"] {
        let mut command = Command::new(weir());
        command.arg("serve").arg("--data").arg(folder.path().join("data"));
        let outcome = match option {
            "--listen" => program::run(command.args([option, &address]), PATIENCE),
            _ => program::run(command.args(["--listen", "127.0.0.1:0", option, &address]), PATIENCE),
        };
        assert!(!outcome.success, "{outcome:?}");
        for word in [&address, option] {
            assert!(outcome.stderr.contains(word), "{outcome:?}");
        }
    }
    // Nobody there; somebody else there.
    let connect = |address: &str| {
        let mut command = Command::new(weir());
        program::run(command.args(["--connect", address, "-c", "SELECT 1"]), PATIENCE)
    };
    let free = {
        std::net::TcpListener::bind("127.0.0.1:0")
            .expect("a port")
            .local_addr()
            .expect("its address")
    };
    let nobody = connect(&format!("http://{free}"));
    assert!(!nobody.success && nobody.stderr.contains("weir serve"), "{nobody:?}");
    let server = Server::start(&folder.path().join("data"));
    let http = connect(&format!("http://{}", server.http));
    assert!(!http.success && http.stderr.contains("gRPC"), "{http:?}");
}

#[test]
fn who_does_not_read_what_is_printed_holds_up_no_view() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = server::command(&folder.path().join("data"));
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a server");
    let mut printed = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut next = || printed.next().expect("a line").expect("a line");
    let address = loop {
        let line = next();
        if let Some(address) = line.strip_prefix("gRPC").and_then(|line| line.split_once(" on ")) {
            break address.1.trim().to_string();
        }
    };
    let sql = |sql: &str| {
        let mut shell = Command::new(weir());
        let outcome = program::run(
            shell.args(["--connect", &address, "--format", "csv", "-c", sql]),
            PATIENCE,
        );
        assert!(outcome.success, "{sql}: {outcome:?}");
        outcome.stdout
    };
    sql("CREATE TABLE t (n BIGINT PRIMARY KEY);
         CREATE SINK shown AS SELECT n FROM t WITH (connector = 'print') FORMAT PLAIN ENCODE JSON;
         CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM t");
    // Far more than a pipe takes.
    sql("INSERT INTO t SELECT unnest(range(0, 20000))");
    sql("INSERT INTO t VALUES (-1)");
    assert_eq!(sql("SELECT n FROM v"), "n\n20001\n");
    sql("CREATE MATERIALIZED VIEW later AS SELECT max(n) AS n FROM t");
    assert_eq!(sql("SELECT n FROM later"), "n\n19999\n");

    let mut rows = BTreeSet::new();
    while rows.len() < 20_001 {
        let line = next();
        if let Some((_, row)) = line.split_once("\"weir_weight\":1,") {
            rows.insert(row.to_string());
        }
    }
    child.kill().expect("a server that runs");
    child.wait().expect("its end");
}
