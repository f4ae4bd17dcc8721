//! JSON from a real broker into a durable view, beside a bare reader of the same topic.
//!
//! `scripts/with-kafka.sh cargo bench --bench kafka -- [--rows 5000000] [--rounds 3] [--tasks 1]
//! [--emit changes|close]`. Nexmark's bids (all columns, JSON, 4 partitions) are written once. Then,
//! turn by turn and each in a process of its own: a *bare* reader takes every record from librdkafka
//! and drops it; *Weir* counts bids per auction in 10-s windows, in RocksDB, to the commit of the
//! last record. Each prints one JSON object; `share_of_bare` compares the two of a round by the
//! clock.

use std::error::Error;
use std::hint::black_box;
use std::process::{Command, ExitCode, Stdio};
use std::ptr;
use std::time::{Duration, Instant};

use rdkafka::bindings as native;
use rdkafka::client::{Client, DefaultClientContext};
use rdkafka::types::{RDKafkaRespErr, RDKafkaType};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value, json};
use weir_engine::connector::kafka::Properties;
use weir_engine::connector::kafka::admin::Admin;
use weir_engine::connector::kafka::producer::{Producer, Record};
use weir_engine::connector::nexmark::{Config, Generator, Kind, schema};
use weir_engine::format::{Encoding, EncodingKind, encoder};
use weir_engine::pipeline::EngineOptions;
use weir_server::{Instance, InstanceOptions};
use weir_suite::{nexmark, process};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PARTITIONS: i32 = 4;
/// Events a second of event time: windows of 10 s hold a million events.
const EVENT_RATE: u64 = 100_000;
/// Rows encoded at once.
const BLOCK: u64 = 16_384;
/// How long a broker may be silent.
const PATIENCE: Duration = Duration::from_secs(60);

const USAGE: &str = "\
scripts/with-kafka.sh cargo bench --bench kafka -- [OPTIONS]
  --rows N           records of the topic (5000000)
  --rounds N         how often each reads them (3)
  --tasks N          Weir's tasks (1)
  --emit WHEN        changes: every epoch's, or close: once, when a window ends (changes)";

type Outcome<T> = Result<T, Box<dyn Error>>;

#[derive(Clone)]
struct Options {
    rows: u64,
    rounds: u64,
    tasks: u64,
    on_close: bool,
    /// This is a reader's process, of the named kind and topic.
    reader: Option<(String, String)>,
}

fn main() -> ExitCode {
    let Some(brokers) = std::env::var("WEIR_KAFKA").ok().filter(|name| !name.is_empty()) else {
        eprintln!("skipped: WEIR_KAFKA names no broker; run it under scripts/with-kafka.sh");
        return ExitCode::SUCCESS;
    };
    let run = || -> Outcome<()> {
        let options = options(std::env::args().skip(1))?;
        match &options.reader {
            None => rounds(&brokers, &options),
            Some((kind, topic)) => {
                let line = match kind.as_str() {
                    "bare" => bare(&brokers, topic, &options)?,
                    _ => weir(&brokers, topic, &options)?,
                };
                println!("{line}");
                Ok(())
            }
        }
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Outcome<Options> {
    let mut options = Options {
        rows: 5_000_000,
        rounds: 3,
        tasks: 1,
        on_close: false,
        reader: None,
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--rows" => options.rows = value()?.parse()?,
            "--rounds" => options.rounds = value()?.parse()?,
            "--tasks" => options.tasks = value()?.parse()?,
            "--emit" => options.on_close = value()? == "close",
            "--reader" => options.reader = Some((value()?, value()?)),
            // What cargo itself gives to a benchmark.
            "--bench" => {}
            other => return Err(format!("unknown argument '{other}'").into()),
        }
    }
    Ok(options)
}

/// Fills a topic, has it read turn by turn, and deletes it.
fn rounds(brokers: &str, options: &Options) -> Outcome<()> {
    let properties = Properties::new(brokers);
    let admin = Admin::new(&properties)?;
    let topic = format!("weir-bench-{}", std::process::id());
    // Event times are long past; so might be the records', for a broker.
    admin.create_topic(&topic, Some(PARTITIONS), &[("retention.ms", "-1")])?;
    let outcome = fill(&properties, &topic, options.rows).and_then(|bytes| {
        for round in 1..=options.rounds {
            let mut bare = reader("bare", &topic)?;
            bare["round"] = round.into();
            bare["bytes_per_record"] = (bytes / options.rows).into();
            println!("{bare}");
            let mut weir = reader("weir", &topic)?;
            weir["round"] = round.into();
            let share = weir["rows_per_second"].as_f64().zip(bare["rows_per_second"].as_f64());
            weir["share_of_bare"] = share.map(|(weir, bare)| (weir / bare * 1e3).round() / 1e3).into();
            println!("{weir}");
        }
        Ok(())
    });
    admin.delete_topic(&topic)?;
    outcome
}

/// Writes bids to the topic, dealt to its partitions in turn. Returns the bytes of their values.
fn fill(properties: &Properties, topic: &str, rows: u64) -> Outcome<u64> {
    let generator = Generator::new(Config {
        rate: EVENT_RATE,
        ..Config::of_events(rows)
    })?;
    let columns = schema(Kind::Bid);
    let json = Encoding {
        kind: EncodingKind::Json,
        options: Default::default(),
    };
    let mut encoder = encoder(&json, &columns)?;
    let producer = Producer::new(&properties.clone().with("linger.ms", "20"))?;
    let mut bytes = 0;
    for first in (0..rows).step_by(BLOCK as usize) {
        let batch = generator.rows(Kind::Bid, first, BLOCK.min(rows - first) as usize, &columns)?;
        let (mut values, mut ends) = (Vec::new(), Vec::new());
        encoder.encode(&batch, &mut values, &mut ends)?;
        let mut start = 0;
        for (row, end) in ends.into_iter().enumerate() {
            let record = Record {
                partition: Some((row as i32) % PARTITIONS),
                value: Some(&values[start..end]),
                ..Record::default()
            };
            producer.send(topic, &record)?;
            start = end;
        }
        bytes += values.len() as u64;
    }
    producer.flush(PATIENCE)?;
    Ok(bytes)
}

/// Runs this program as a reader and gives what it says.
fn reader(kind: &str, topic: &str) -> Outcome<Value> {
    let output = Command::new(std::env::current_exe()?)
        .args(std::env::args().skip(1))
        .args(["--reader", kind, topic])
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("the reader '{kind}' did not end well").into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What every reader says. CPU time is that of the whole process.
fn measured(reader: &str, options: &Options, seconds: f64, cpu_seconds: f64) -> Value {
    json!({
        "reader": reader,
        "rows": options.rows,
        "seconds": (seconds * 1e3).round() / 1e3,
        "rows_per_second": (options.rows as f64 / seconds) as u64,
        "cpu_seconds": cpu_seconds,
        "rows_per_core_second": (options.rows as f64 / cpu_seconds) as u64,
        "peak_rss_bytes": process::peak_rss_bytes(),
    })
}

/// Counts bids per auction and window in RocksDB.
fn weir(brokers: &str, topic: &str, options: &Options) -> Outcome<Value> {
    let directory = tempfile::tempdir()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let emit = if options.on_close {
        "EMIT ON WINDOW CLOSE"
    } else {
        "EMIT CHANGES"
    };
    runtime.block_on(async {
        let instance = Instance::open(InstanceOptions {
            data: Some(directory.path().to_owned()),
            engine: EngineOptions {
                tasks: options.tasks as usize,
                ..EngineOptions::default()
            },
            ..InstanceOptions::default()
        })
        .map_err(|error| error.message)?;
        let session = instance.session();
        let source = format!(
            "CREATE SOURCE bid (
               auction BIGINT, bidder BIGINT, price BIGINT, channel TEXT, url TEXT, date_time TIMESTAMP(6), extra TEXT,
               WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
             ) WITH (
               connector = 'kafka', topic = '{topic}', properties.bootstrap.servers = '{brokers}',
               scan.startup.mode = 'earliest', scan.bounded.mode = 'latest'
             ) FORMAT PLAIN ENCODE JSON"
        );
        nexmark::run(&session, &source).await;
        let view = format!(
            "CREATE MATERIALIZED VIEW counts AS
             SELECT auction, window_start, window_end, count(*) AS bids
             FROM TUMBLE(bid, date_time, INTERVAL '10' SECOND)
             GROUP BY auction, window_start, window_end
             {emit}"
        );
        let begin = Instant::now();
        nexmark::run(&session, &view).await;
        let (last, state_bytes) = nexmark::end_of(&instance, "counts").await;
        let (seconds, cpu_seconds) = (begin.elapsed().as_secs_f64(), process::cpu_seconds());
        let counted = nexmark::rows(&session, "SELECT sum(bids)::BIGINT AS bids FROM counts").await;
        let counted = counted.first().map(|batch| batch.column(0).clone());
        let counted = counted.as_ref().and_then(|column| {
            let numbers = column.as_any().downcast_ref::<arrow::array::Int64Array>()?;
            numbers.iter().next()?
        });
        if counted != Some(options.rows as i64) {
            return Err(format!("{counted:?} bids were counted, {} were written", options.rows).into());
        }
        instance.shutdown();
        let mut line = measured("weir", options, seconds, cpu_seconds);
        line["tasks"] = options.tasks.into();
        line["emit"] = if options.on_close { "close" } else { "changes" }.into();
        line["epochs"] = last.epoch.0.into();
        line["state_bytes"] = state_bytes.into();
        Ok(line)
    })
}

/// Takes every record from librdkafka in batches, with the settings that were found to be fastest.
fn bare(brokers: &str, topic: &str, options: &Options) -> Outcome<Value> {
    let mut config = ClientConfig::new();
    config.extend(
        [
            ("bootstrap.servers", brokers),
            ("group.id", "weir-bench"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("check.crcs", "true"),
            ("queued.min.messages", "20000"),
            ("fetch.message.max.bytes", "262144"),
            ("fetch.queue.backoff.ms", "10"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let settings = config.create_native_config()?;
    let begin = Instant::now();
    let client = Client::new(&config, settings, RDKafkaType::RD_KAFKA_CONSUMER, DefaultClientContext)?;
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    let (mut rows, mut bytes) = (0, 0);
    let mut batch: Vec<*mut native::rd_kafka_message_t> = vec![ptr::null_mut(); 1024];
    let mut heard = Instant::now();
    // SAFETY: client, list and queue are alive for the whole block; librdkafka writes at most as many
    // pointers as `batch` has, and each message is read and freed exactly once.
    unsafe {
        if native::rd_kafka_assign(client.native_ptr(), partitions.ptr()) != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            return Err("the topic's partitions can't be assigned".into());
        }
        let queue = native::rd_kafka_queue_get_consumer(client.native_ptr());
        while rows < options.rows {
            let taken = native::rd_kafka_consume_batch_queue(queue, 10, batch.as_mut_ptr(), batch.len());
            let taken = usize::try_from(taken).unwrap_or(0);
            for message in &batch[..taken] {
                if (**message).err == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                    rows += 1;
                    bytes += (**message).len;
                }
                native::rd_kafka_message_destroy(*message);
            }
            if taken > 0 {
                heard = Instant::now();
            } else if heard.elapsed() > PATIENCE {
                return Err("the broker gives no more records".into());
            }
        }
        native::rd_kafka_queue_destroy(queue);
    }
    black_box(bytes);
    Ok(measured(
        "bare",
        options,
        begin.elapsed().as_secs_f64(),
        process::cpu_seconds(),
    ))
}
