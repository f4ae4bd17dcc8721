//! The SQL reference keeps its word: its examples are run, one after the other, as a reader would who
//! has its topics and files. Each query among them is also made a materialized view, which must come
//! to the same rows. Every statement that exists has an example.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use weir_engine::connector::kafka::Properties;
use weir_engine::connector::kafka::mock::EmbeddedBroker;
use weir_engine::connector::kafka::producer::{Producer, Record};
use weir_server::{Body, Instance, InstanceOptions, Session};
use weir_sql::parse::STATEMENTS;
use weir_suite::rows::{Bag, bag, of_batch};

const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/sql.md");
/// What the examples read beyond what they make.
const MORE: &str = "
CREATE TABLE towns (id BIGINT PRIMARY KEY, name TEXT);
CREATE TABLE roads (a BIGINT, b BIGINT);
INSERT INTO towns VALUES (1, 'Ulm'), (2, 'Memmingen'), (3, 'Lindau'), (4, 'Kiel');
INSERT INTO roads VALUES (1, 2), (2, 3), (4, 4);
CREATE SOURCE auctions (id BIGINT, seller TEXT, opened TIMESTAMP, WATERMARK FOR opened AS opened)
WITH (connector = 'kafka', topic = 'auctions', properties.bootstrap.servers = 'localhost:9092') ENCODE JSON;
";
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A statement of the reference.
struct Example {
    line: usize,
    sql: String,
}

/// The statements between "```sql" and "```", each of which ends at the end of a line.
fn examples(markdown: &str) -> Vec<Example> {
    let mut examples = Vec::new();
    let mut open: Option<Example> = None;
    let mut inside = false;
    for (number, line) in markdown.lines().enumerate() {
        match line.trim_end() {
            "```sql" => inside = true,
            "```" => {
                assert!(open.is_none(), "line {}: an example lacks its semicolon", number + 1);
                inside = false;
            }
            line if inside && !(line.is_empty() && open.is_none()) => {
                let example = open.get_or_insert_with(|| Example {
                    line: number + 1,
                    sql: String::new(),
                });
                example.sql.push_str(line);
                example.sql.push('\n');
                if line.ends_with(';') {
                    examples.extend(open.take());
                }
            }
            _ => {}
        }
    }
    examples
}

/// An instance, and the topics and files that the examples name.
struct Reader {
    runtime: Runtime,
    instance: Arc<Instance>,
    session: Arc<Session>,
    brokers: String,
    folder: tempfile::TempDir,
    _broker: EmbeddedBroker,
}

impl Reader {
    fn new() -> Reader {
        let broker = EmbeddedBroker::start(1).expect("a broker");
        let brokers = broker.bootstrap_servers();
        for topic in ["bids", "accounts", "auctions", "hot", "prices"] {
            broker.create_topic(topic, 1).expect("a topic");
        }
        fill(&brokers);
        let folder = tempfile::tempdir().expect("a folder");
        write_flights(folder.path());
        let options = InstanceOptions {
            data: Some(folder.path().join("weir-data")),
            ..InstanceOptions::default()
        };
        let instance = Instance::open(options).expect("an instance");
        Reader {
            runtime: Runtime::new().expect("a runtime"),
            session: instance.session(),
            instance,
            brokers,
            folder,
            _broker: broker,
        }
    }

    /// A statement with the addresses and paths of this test.
    fn localized(&self, sql: &str) -> String {
        let here = |name: &str| self.folder.path().join(name).display().to_string();
        sql.trim_end()
            .trim_end_matches(';')
            .replace("localhost:9092", &self.brokers)
            .replace("path = 'data/", &format!("path = '{}/", here("data")))
            .replace("path = 'dear.csv'", &format!("path = '{}'", here("dear.csv")))
    }

    /// Runs a statement. Rows that end are read to their end, of others the first ones.
    fn run(&self, sql: &str) -> Result<Option<Bag>, String> {
        let sql = self.localized(sql);
        let work = async {
            let answer = self.session.run(&sql).await?;
            match answer.body {
                Body::Done(_) | Body::Changed { .. } => Ok(None),
                Body::Rows(rows) => {
                    let batches = rows.collect().await?;
                    Ok(Some(bag(batches.iter().flat_map(of_batch))))
                }
                // SUBSCRIBE and EMIT CHANGES end at their LIMIT, or not at all.
                Body::Push(rows, _) if sql.contains("LIMIT") => rows.collect().await.map(|_| None),
                Body::Push(..) => Ok(None),
            }
        };
        let outcome = self
            .runtime
            .block_on(async { tokio::time::timeout(PATIENCE, work).await });
        let outcome: Result<_, weir_server::Error> = outcome.map_err(|_| format!("no answer within {PATIENCE:?}"))?;
        outcome.map_err(|error| error.to_string())
    }

    /// Keeps a query as a view, and fails unless that comes to the query's rows.
    fn keep(&self, name: &str, sql: &str, asked: &Bag) -> Result<(), String> {
        self.run(&format!("CREATE MATERIALIZED VIEW {name} AS {sql}"))?;
        let begun = Instant::now();
        loop {
            let kept = self.run(&format!("SELECT * FROM {name}"))?.unwrap_or_default();
            if kept == *asked {
                return self.run(&format!("DROP MATERIALIZED VIEW {name}")).map(|_| ());
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("the view has\n{kept:?}\nand not\n{asked:?}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.instance.shutdown();
    }
}

/// Bids of 50 seconds, and the auctions that they are for.
fn fill(brokers: &str) {
    let producer = Producer::new(&Properties::new(brokers)).expect("a producer");
    let send = |topic: &str, value: String| {
        let record = Record {
            value: Some(value.as_bytes()),
            ..Record::default()
        };
        producer.send(topic, &record).expect("a record");
    };
    for n in 0..50 {
        let channel = ["web", "EUR", "w", "web shop"][n % 4];
        let (auction, bidder, price) = (n % 5, n % 7, 500 + 31 * n * n % 4000);
        send(
            "bids",
            format!(
                r#"{{"auction":{auction},"bidder":{bidder},"price":{price},"channel":"{channel}","date_time":"2024-01-01 00:00:{n:02}"}}"#
            ),
        );
    }
    for n in 0..5 {
        let seller = ["Ada", "Bo"][n % 2];
        send(
            "auctions",
            format!(r#"{{"id":{n},"seller":"{seller}","opened":"2024-01-01 00:00:0{n}"}}"#),
        );
    }
    producer.flush(Duration::from_secs(30)).expect("records in Kafka");
}

fn write_flights(folder: &Path) {
    let data = folder.join("data");
    fs::create_dir(&data).expect("a folder");
    fs::write(
        data.join("flights-1.csv"),
        "carrier,dep_time,delay\nAA,2024-01-01 06:00:00,5\nUA,2024-01-01 07:00:00,NA\n",
    )
    .expect("a file");
    let status = Command::new("gzip").arg(data.join("flights-1.csv")).status();
    assert!(status.is_ok_and(|status| status.success()), "gzip does not run");
}

#[test]
fn every_example_of_the_reference_runs() {
    let reference = fs::read_to_string(REFERENCE).expect("the reference");
    let examples = examples(&reference);
    assert!(examples.len() > 60, "only {} examples", examples.len());
    let reader = Reader::new();
    for sql in MORE.trim().split_inclusive(";\n") {
        reader.run(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    let mut kept = 0;
    for Example { line, sql } in &examples {
        let fail = |error: String| -> ! { panic!("docs/sql.md, line {line}: {error}") };
        // Any epoch does as one to go on from, if it is one that is there.
        let epoch = reader
            .run("SELECT max(epoch) FROM weir.pipelines")
            .unwrap_or_else(|error| fail(error));
        let epoch = epoch
            .and_then(|rows| rows.into_keys().next())
            .unwrap_or_default()
            .concat();
        let answer = reader
            .run(&sql.replace("4711", &epoch))
            .unwrap_or_else(|error| fail(error));
        let is_query = sql.starts_with("SELECT")
            && !["EMIT", "weir.", "FROM (VALUES", "AS OF now()"]
                .iter()
                .any(|word| sql.contains(word));
        if let (true, Some(asked)) = (is_query, answer) {
            let name = format!("of_line_{line}");
            let view = reader.keep(&name, &reader.localized(sql), &asked);
            view.unwrap_or_else(|error| fail(format!("as a view: {error}")));
            kept += 1;
        }
    }
    assert!(kept > 20, "only {kept} queries are kept as views");
    for statement in STATEMENTS.split(", ").map(str::trim) {
        let shown = examples.iter().any(|example| example.sql.starts_with(statement));
        assert!(shown, "docs/sql.md has no example of {statement}");
    }
}
