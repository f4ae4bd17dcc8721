//! How soon a server goes on after a kill, with a large state.
//!
//! `cargo bench --bench restart -- [--keys 2000000] [--note 200]`. `weir serve` groups so many keys,
//! each with a note of so many characters (two million of 200 are about 1 GB), while rows keep
//! coming that touch keys at random. It is killed with -9 and started again. Prints one JSON object:
//! the bytes stored, the milliseconds from the start of the process until it listens, and until its
//! first new epoch is committed. That epoch needs none of the state but the keys that it touches.

use std::error::Error;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use weir_suite::process;
use weir_suite::server::Server;

const EPOCH: &str = r#"weir_view_epoch{view="by_id"}"#;
const STORED: &str = r#"weir_stored_bytes{relation="by_id"}"#;
/// Rows a second that keep coming.
const PACE: u64 = 5_000;
/// How long reading the keys may take.
const PATIENCE: Duration = Duration::from_secs(900);

fn main() -> ExitCode {
    let (mut keys, mut note) = (2_000_000, 200);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || {
            let text = arguments.next()?;
            text.parse::<u64>().ok().filter(|n| *n > 0)
        };
        let given = match argument.as_str() {
            "--keys" => value().map(|value| keys = value),
            "--note" => value().map(|value| note = value),
            "--bench" => Some(()),
            _ => None,
        };
        if given.is_none() {
            eprintln!("cargo bench --bench restart -- [--keys N] [--note CHARACTERS]; not '{argument}'");
            return ExitCode::from(2);
        }
    }
    match run(keys, note) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(keys: u64, note: u64) -> Result<(), Box<dyn Error>> {
    let files = tempfile::tempdir()?;
    let data = files.path().join("data");
    let server = Server::start(&data);
    let last = keys - 1;
    server.sql(&format!(
        "CREATE SOURCE load (id BIGINT, note TEXT) WITH (connector = 'datagen', rows_per_second = 0,
           number_of_rows = {keys}, fields.id.kind = 'sequence', fields.id.start = 0, fields.id.\"end\" = {last},
           fields.note.kind = 'random', fields.note.length = {note})"
    ));
    server.sql(&format!(
        "CREATE SOURCE touches (id BIGINT, note TEXT) WITH (connector = 'datagen', rows_per_second = {PACE},
           fields.id.kind = 'random', fields.id.min = 0, fields.id.max = {last},
           fields.note.kind = 'random', fields.note.length = {note})"
    ));
    server.sql(
        "CREATE MATERIALIZED VIEW by_id AS SELECT id, count(*) AS n, max(note) AS note
         FROM (SELECT * FROM load UNION ALL SELECT * FROM touches) GROUP BY id",
    );
    let begin = Instant::now();
    let loaded = "SELECT position FROM weir.lag WHERE source = 'load'";
    while server.sql(loaded).lines().last() != Some(&keys.to_string()) {
        if begin.elapsed() > PATIENCE {
            return Err("the keys are not read in time".into());
        }
        thread::sleep(Duration::from_millis(500));
    }
    thread::sleep(Duration::from_secs(2));
    let stored_bytes = server.metric(STORED);
    let rss_bytes = process::rss_bytes_of(&server.pid().to_string());
    // Killed by this.
    drop(server);

    let started = Instant::now();
    let server = Server::start(&data);
    let listens_ms = started.elapsed().as_millis() as u64;
    // What is shown first is the last epoch of before, or else a new one, and then this waits too long.
    let first = server.metric(EPOCH);
    while server.metric(EPOCH) <= first {
        thread::sleep(Duration::from_millis(5));
    }
    let first_epoch_ms = started.elapsed().as_millis() as u64;
    let line = json!({
        "keys": keys,
        "stored_bytes": stored_bytes,
        "rss_bytes_before": rss_bytes,
        "listens_ms": listens_ms,
        "first_epoch_ms": first_epoch_ms,
    });
    println!("{line}");
    Ok(())
}
