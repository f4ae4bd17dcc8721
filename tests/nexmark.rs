//! Nexmark's queries give what batch queries over the same events give: in one task and in two, on
//! memory and on RocksDB, as changes to a sink and as a view.

use std::sync::Arc;

use tempfile::TempDir;
use tokio::runtime::Runtime;
use weir_engine::pipeline::EngineOptions;
use weir_server::{Instance, InstanceOptions};
use weir_suite::nexmark::{self, Events, Output};

const EVENTS: u64 = 100_000;

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
            let expected = nexmark::rows(&session, nexmark::batch_sql(query)).await;
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
