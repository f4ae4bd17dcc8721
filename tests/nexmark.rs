//! Nexmark's queries give what batch queries over the same events give: in one task and in two, on
//! memory and on RocksDB, as changes to a sink and as a view.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::runtime::Runtime;
use weir_engine::pipeline::{Clock, EngineOptions};
use weir_server::{Instance, InstanceOptions};
use weir_suite::nexmark::{self, Events, Output};

const EVENTS: u64 = 100_000;
/// Where the clock stands, for windows of processing time; and in microseconds since the epoch.
const TIME: (&str, i64) = ("2024-03-01 10:00:07", 1_709_287_207_000_000);

/// An instance, and its directory where it has one.
struct Running {
    runtime: Runtime,
    instance: Arc<Instance>,
    _directory: Option<TempDir>,
}

impl Running {
    fn start(tasks: usize, on_disk: bool) -> Running {
        let directory = on_disk.then(|| tempfile::tempdir().expect("a directory"));
        let runtime = Runtime::new().expect("a runtime");
        let options = InstanceOptions {
            data: directory.as_ref().map(|directory| directory.path().to_owned()),
            engine: EngineOptions {
                tasks,
                clock: Clock::fixed(TIME.1),
                ..EngineOptions::default()
            },
            ..InstanceOptions::default()
        };
        let _inside = runtime.enter();
        let instance = Instance::open(options).unwrap_or_else(|error| panic!("{}", error.message));
        drop(_inside);
        Running {
            runtime,
            instance,
            _directory: directory,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.instance.shutdown();
    }
}

/// Runs all queries and compares each with its batch answer.
fn compare(tasks: usize, on_disk: bool, output: Output) {
    let running = Running::start(tasks, on_disk);
    running.runtime.block_on(async {
        let session = running.instance.session();
        // 25 s of event time: windows that the watermark closes, and some that only the end does.
        let events = Events {
            count: EVENTS,
            rate: Some(4_000),
            splits: tasks,
        };
        nexmark::create_sources(&session, events).await;
        for query in nexmark::QUERIES {
            let name = format!("{query}_{tasks}_{}_{output:?}", if on_disk { "disk" } else { "memory" }).to_lowercase();
            let got = nexmark::run_query(&running.instance, &session, query, &name, output, true).await;
            let expected = nexmark::rows(&session, &nexmark::batch_sql_at(query, TIME.0)).await;
            let count: usize = expected.iter().map(|batch| batch.num_rows()).sum();
            assert!(count > 0, "{query}: a batch answer without rows shows nothing");
            assert!(
                got.rows_out >= count as u64,
                "{query}: {} rows came out, the answer has {count}",
                got.rows_out
            );
            assert_eq!(
                got.checksum,
                Some(nexmark::checksum(&expected)),
                "{query}, {tasks} tasks, {output:?}: not the rows of the batch answer"
            );
            let drop = match output {
                Output::Blackhole => format!("DROP SINK {name}"),
                Output::View => format!("DROP MATERIALIZED VIEW {name}"),
            };
            nexmark::run(&session, &drop).await;
        }
    });
}

#[test]
fn one_task_in_memory() {
    compare(1, false, Output::Blackhole);
}

#[test]
fn two_tasks_in_memory() {
    compare(2, false, Output::Blackhole);
}

#[test]
fn one_task_on_disk() {
    compare(1, true, Output::Blackhole);
}

#[test]
fn two_tasks_on_disk() {
    compare(2, true, Output::View);
}

/// What a sink of query 10 has written to a file, read back, is what the query answers.
#[test]
fn the_log_is_written_to_a_file() {
    let running = Running::start(1, false);
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("bids.ndjson");
    running.runtime.block_on(async {
        let session = running.instance.session();
        let events = Events {
            count: EVENTS / 5,
            rate: Some(4_000),
            splits: 1,
        };
        nexmark::create_sources(&session, events).await;
        let file = format!("WITH (connector = 'file', path = '{}')", path.display());
        let query = nexmark::batch_sql("q10");
        nexmark::run(
            &session,
            &format!("CREATE SINK log AS {query} {file} FORMAT PLAIN ENCODE JSON"),
        )
        .await;
        nexmark::end_of(&running.instance, "log").await;
        let expected = nexmark::rows(&session, query).await;
        let lines: usize = expected.iter().map(|batch| batch.num_rows()).sum();
        let begun = Instant::now();
        let written = || std::fs::read_to_string(&path).map_or(0, |text| text.matches('\n').count());
        while written() < lines {
            assert!(
                begun.elapsed() < Duration::from_secs(120),
                "{} of {lines} lines",
                written()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let columns =
            "auction BIGINT, bidder BIGINT, price BIGINT, date_time TIMESTAMP, extra TEXT, day TEXT, minute TEXT";
        nexmark::run(
            &session,
            &format!("CREATE SOURCE log_back ({columns}) {file} ENCODE JSON"),
        )
        .await;
        let got = nexmark::rows(&session, "SELECT * FROM log_back").await;
        assert_eq!(nexmark::checksum(&got), nexmark::checksum(&expected));
    });
}
