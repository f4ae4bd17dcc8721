//! Arrow Flight SQL as others speak it: Python's ADBC driver against `weir serve`.
//!
//! Each test is a server of its own and a script in `tests/adbc/`, which gets the server's address.
//! The scripts check by `assert`; what has to hold in the server afterwards is checked here.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use weir_suite::program::{self, Outcome};
use weir_suite::server::{Server, await_line, lines, until};

const PATIENCE: Duration = Duration::from_secs(120);

/// A Python with the driver; where there is none, `test` is noted as skipped.
fn python(test: &str) -> Option<String> {
    program::variable("WEIR_PYTHON", test, "there is no Python with an ADBC driver")
}

fn script(python: &str, name: &str, server: &Server) -> Command {
    let mut command = Command::new(python);
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/adbc");
    command
        .arg("-B")
        .arg(scripts.join(name))
        .arg(format!("grpc://{}", server.grpc));
    command
}

fn run(python: &str, name: &str, server: &Server) -> Outcome {
    let outcome = program::run(&mut script(python, name, server), PATIENCE);
    assert!(outcome.success, "{name}: {}\n{}", outcome.stderr, outcome.stdout);
    outcome
}

#[test]
fn statements_parameters_and_errors() {
    let Some(python) = python("statements_parameters_and_errors") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"));
    run(&python, "statements.py", &server);
    // What the driver wrote is there for others.
    assert_eq!(server.sql("SELECT count(*) AS n FROM people"), "n\n1003\n");
}

#[test]
fn the_catalog() {
    let Some(python) = python("the_catalog") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"));
    run(&python, "catalog.py", &server);
}

#[test]
fn a_push_query_read_batch_by_batch_and_cancelled() {
    let Some(python) = python("a_push_query_read_batch_by_batch_and_cancelled") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"));
    run(&python, "push.py", &server);
    until("the server drops the queries", || {
        server.metric("weir_push_queries") == 0.0
    });
}

/// Kills a program when the test ends, however it ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_client_that_is_killed_leaves_nothing_behind() {
    let Some(python) = python("a_client_that_is_killed_leaves_nothing_behind") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"));
    server.sql("CREATE SOURCE ticks (n BIGINT) WITH (connector = 'datagen', rows_per_second = '100')");
    let mut command = script(&python, "endless.py", &server);
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python");
    let mut client = Killed(child);
    let said = lines(client.0.stdout.take().expect("a pipe"));
    await_line(&said, "reading");
    assert_eq!(server.metric("weir_push_queries"), 1.0);
    assert_eq!(server.metric("weir_connections"), 1.0);
    drop(client);
    until("the server drops the query", || {
        server.metric("weir_push_queries") == 0.0
    });
    until("the server ends the session", || {
        server.metric("weir_connections") == 0.0
    });
}
