//! What an idle engine costs: ten views on Kafka, and nothing arrives.
//!
//! `scripts/with-kafka.sh cargo bench --bench idle -- [--seconds 60] [--sources 10]`. A server of its
//! own process, `weir serve` on a data directory, reads topics of 1,000 records each into ten views.
//! When all are counted it is left alone for ten seconds and then watched. Prints one JSON object
//! with its share of a core and its memory. The views are dealt to the sources: with one source they
//! share a pipeline and a reader, with ten each has its own.

use std::error::Error;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use weir_engine::connector::kafka::Properties;
use weir_engine::connector::kafka::admin::Admin;
use weir_engine::connector::kafka::producer::{Producer, Record};
use weir_suite::process;
use weir_suite::server::Server;

const VIEWS: u64 = 10;
const RECORDS: u64 = 1_000;
/// How long the views may take to count.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it is left alone before it is watched.
const REST: Duration = Duration::from_secs(10);

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let Some(brokers) = std::env::var("WEIR_KAFKA").ok().filter(|name| !name.is_empty()) else {
        eprintln!("skipped: WEIR_KAFKA names no broker; run it under scripts/with-kafka.sh");
        return ExitCode::SUCCESS;
    };
    let (mut seconds, mut sources) = (60, VIEWS);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .and_then(|text| text.parse::<u64>().ok())
                .filter(|n| *n > 0)
        };
        let given = match argument.as_str() {
            "--seconds" => value().map(|value| seconds = value),
            "--sources" => value().filter(|n| *n <= VIEWS).map(|value| sources = value),
            "--bench" => Some(()),
            _ => None,
        };
        if given.is_none() {
            eprintln!("cargo bench --bench idle -- [--seconds N] [--sources 1 to {VIEWS}]; not '{argument}'");
            return ExitCode::from(2);
        }
    }
    match run(&brokers, seconds, sources) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(brokers: &str, seconds: u64, sources: u64) -> Outcome<()> {
    let properties = Properties::new(brokers);
    let admin = Admin::new(&properties)?;
    let topic = |source: u64| format!("weir-idle-{}-{source}", std::process::id());
    let producer = Producer::new(&properties)?;
    for source in 0..sources {
        admin.create_topic(&topic(source), Some(4), &[])?;
        for number in 0..RECORDS {
            let value = format!("{{\"k\": {}, \"v\": {number}}}", number % 100);
            let value = Some(value.as_bytes());
            producer.send(
                &topic(source),
                &Record {
                    value,
                    ..Record::default()
                },
            )?;
        }
    }
    producer.flush(PATIENCE)?;
    let outcome = watch(brokers, seconds, sources, topic);
    for source in 0..sources {
        admin.delete_topic(&topic(source))?;
    }
    outcome
}

fn watch(brokers: &str, seconds: u64, sources: u64, topic: impl Fn(u64) -> String) -> Outcome<()> {
    let data = tempfile::tempdir()?;
    let server = Server::start(&data.path().join("data"));
    for source in 0..sources {
        server.sql(&format!(
            "CREATE SOURCE s{source} (k BIGINT, v BIGINT) WITH (connector = 'kafka', topic = '{}',
               properties.bootstrap.servers = '{brokers}', scan.startup.mode = 'earliest')
             FORMAT PLAIN ENCODE JSON;",
            topic(source)
        ));
    }
    for view in 0..VIEWS {
        server.sql(&format!(
            "CREATE MATERIALIZED VIEW v{view} AS SELECT k, count(*) AS n, sum(v) AS total FROM s{} GROUP BY k;",
            view % sources
        ));
    }
    let begin = Instant::now();
    for view in 0..VIEWS {
        let counted = format!("SELECT sum(n)::BIGINT AS n FROM v{view}");
        while server.sql(&counted).lines().last() != Some(&RECORDS.to_string()) {
            if begin.elapsed() > PATIENCE {
                return Err(format!("view v{view} does not get to {RECORDS} records").into());
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
    thread::sleep(REST);
    let pid = server.pid().to_string();
    let (begin, before) = (Instant::now(), process::cpu_seconds_of(&pid));
    thread::sleep(Duration::from_secs(seconds));
    let cpu_seconds = process::cpu_seconds_of(&pid) - before;
    let line = json!({
        "views": VIEWS,
        "sources": sources,
        "seconds": seconds,
        "cpu_percent": (cpu_seconds / begin.elapsed().as_secs_f64() * 1e4).round() / 1e2,
        "rss_bytes": process::rss_bytes_of(&pid),
    });
    println!("{line}");
    Ok(())
}
