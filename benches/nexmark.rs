//! Nexmark end to end: the generator in process, SQL, epochs and commits as in production.
//!
//! `cargo bench --bench nexmark -- --query q0 --events 10000000 [--tasks 2] [--state memory|rocksdb]
//! [--event-rate R] [--output blackhole|view] [--check]`. Several queries are listed with commas,
//! `all` are all, and `none` is the generator alone: all columns of all kinds, built and dropped.
//! Each query runs in a process of its own, so that CPU time and memory are its own, and prints one
//! JSON object.

use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::time::Instant;

use serde_json::{Value, json};
use weir_engine::connector::nexmark::{Columns, Config, Generator};
use weir_engine::pipeline::EngineOptions;
use weir_server::{Instance, InstanceOptions};
use weir_suite::nexmark::{self, Events, Output};
use weir_suite::process;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As the server's default; a step takes so many events of each source at most.
const STEP_EVENTS: usize = 50_000;
/// Events that the generator makes at once when it runs alone, as a reader asks for.
const BLOCK: u64 = 16_350;

const USAGE: &str = "\
cargo bench --bench nexmark -- [OPTIONS]
  --query Q,…        q0 … q12, q14 … q22, all, or none for the generator alone (all)
  --events N         events of all kinds together (1000000)
  --tasks N          tasks, and splits of each source (1)
  --state WHERE      rocksdb, or memory (rocksdb)
  --event-rate R     events a second of event time (events / 10)
  --output WHERE     blackhole, or view (blackhole)
  --check            the checksum of the answer as well";

#[derive(Clone)]
struct Options {
    queries: Vec<String>,
    events: u64,
    tasks: usize,
    on_disk: bool,
    rate: Option<u64>,
    output: Output,
    check: bool,
    /// This is the process of one query.
    alone: bool,
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("{wrong}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if !options.alone {
        return each_in_its_process(&options.queries);
    }
    let line = match options.queries[0].as_str() {
        "none" => generator_alone(&options),
        query => one(query, &options),
    };
    println!("{line}");
    ExitCode::SUCCESS
}

fn options(arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        queries: nexmark::QUERIES.map(str::to_owned).to_vec(),
        events: 1_000_000,
        tasks: 1,
        on_disk: true,
        rate: None,
        output: Output::Blackhole,
        check: false,
        alone: false,
    };
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--query" => options.queries = queries(&value()?)?,
            "--events" => options.events = number(&argument, &value()?)?,
            "--tasks" => options.tasks = number(&argument, &value()?)? as usize,
            "--event-rate" => options.rate = Some(number(&argument, &value()?)?),
            "--state" => {
                options.on_disk = match value()?.as_str() {
                    "rocksdb" => true,
                    "memory" => false,
                    other => return Err(format!("--state is memory or rocksdb, not '{other}'")),
                }
            }
            "--output" => {
                options.output = match value()?.as_str() {
                    "blackhole" => Output::Blackhole,
                    "view" => Output::View,
                    other => return Err(format!("--output is blackhole or view, not '{other}'")),
                }
            }
            "--check" => options.check = true,
            "--alone" => options.alone = true,
            // What cargo itself gives to a benchmark.
            "--bench" => {}
            other => return Err(format!("unknown argument '{other}'")),
        }
    }
    Ok(options)
}

fn queries(list: &str) -> Result<Vec<String>, String> {
    if list == "all" {
        return Ok(nexmark::QUERIES.map(str::to_owned).to_vec());
    }
    let known = |query: &str| query == "none" || nexmark::QUERIES.contains(&query);
    match list.split(',').find(|query| !known(query)) {
        Some(unknown) => Err(format!("there is no query '{unknown}'")),
        None => Ok(list.split(',').map(str::to_owned).collect()),
    }
}

fn number(name: &str, text: &str) -> Result<u64, String> {
    match text.replace('_', "").parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("{name} is a whole number from 1 on, not '{text}'")),
    }
}

/// Runs this program once for each query. The last one given counts.
fn each_in_its_process(queries: &[String]) -> ExitCode {
    let program = std::env::current_exe().expect("the path of this program");
    for query in queries {
        let arguments = std::env::args().skip(1).chain(["--alone".to_owned()]);
        let status = Command::new(&program)
            .args(arguments)
            .args(["--query", query])
            .status()
            .expect("a process for a query");
        if !status.success() {
            eprintln!("{query} did not end well");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Runs one query and says what it took.
fn one(query: &str, options: &Options) -> Value {
    let directory = options.on_disk.then(|| tempfile::tempdir().expect("a directory"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let instance = runtime.block_on(async {
        Instance::open(InstanceOptions {
            data: directory.as_ref().map(|directory| directory.path().to_owned()),
            engine: EngineOptions {
                tasks: options.tasks,
                step_rows: STEP_EVENTS,
                ..EngineOptions::default()
            },
            ..InstanceOptions::default()
        })
        .unwrap_or_else(|error| panic!("{}", error.message))
    });
    let outcome = runtime.block_on(async {
        let session = instance.session();
        let events = Events {
            count: options.events,
            rate: options.rate,
            splits: options.tasks,
        };
        nexmark::create_sources(&session, events).await;
        nexmark::run_query(&instance, &session, query, "answer", options.output, options.check).await
    });
    let mut line = measured(query, options, outcome.seconds, outcome.cpu_seconds);
    line["rows_out"] = outcome.rows_out.into();
    line["epochs"] = outcome.epochs.into();
    line["state_bytes"] = outcome.state_bytes.into();
    if let Some(checksum) = outcome.checksum {
        line["checksum"] = format!("{checksum:016x}").into();
    }
    instance.shutdown();
    line
}

/// Makes all columns of all kinds and drops them.
fn generator_alone(options: &Options) -> Value {
    let mut config = Config::of_events(options.events);
    config.rate = options.rate.unwrap_or(config.rate);
    let mut generator = Generator::new(config).expect("a generator");
    let columns = Columns::all();
    let begin = Instant::now();
    let mut left = options.events;
    while left > 0 {
        let events = left.min(BLOCK);
        black_box(generator.next(events, &columns).expect("events"));
        left -= events;
    }
    measured("none", options, begin.elapsed().as_secs_f64(), process::cpu_seconds())
}

/// What every run says. CPU time and memory are those of the whole process, planning included.
fn measured(query: &str, options: &Options, seconds: f64, cpu_seconds: f64) -> Value {
    json!({
        "query": query,
        "events": options.events,
        "tasks": options.tasks,
        "state": if options.on_disk { "rocksdb" } else { "memory" },
        "output": if options.output == Output::View { "view" } else { "blackhole" },
        "event_rate": options.rate.unwrap_or((options.events / 10).max(1)),
        "seconds": (seconds * 1e3).round() / 1e3,
        "cpu_seconds": cpu_seconds,
        "events_per_second": (options.events as f64 / seconds) as u64,
        "events_per_core_second": (options.events as f64 / cpu_seconds) as u64,
        "peak_rss_bytes": process::peak_rss_bytes(),
    })
}
