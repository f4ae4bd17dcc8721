//! The bank: its views over the topic of transfers, and who fills the topic.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use weir_engine::connector::memory::{self, Record};
use weir_engine::pipeline::EngineOptions;
use weir_server::{Body, Instance, InstanceOptions, Session};
use weir_state::Store;
use weir_suite::random::Random;

pub const ACCOUNTS: u64 = 1000;
const TOPIC: &str = "transfers";
const PARTITIONS: usize = 3;
/// How many transfers wait to be taken in.
const AHEAD: i64 = 30_000;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub const BALANCES: &str = "CREATE MATERIALIZED VIEW balances AS
    SELECT a.id, coalesce(c.amount, 0) - coalesce(d.amount, 0) AS balance
    FROM accounts a LEFT JOIN credits c ON a.id = c.account LEFT JOIN debits d ON a.id = d.account";
pub const TOTAL: &str = "CREATE MATERIALIZED VIEW total AS SELECT sum(balance) AS total FROM balances";
/// Reads the source and a view of it: a newcomer that is right nowhere before it is attached.
pub const ANOTHER: &str = "CREATE MATERIALIZED VIEW another AS
    SELECT t.credit AS id, count(*) AS transfers FROM transfers t JOIN credits c ON t.credit = c.account
    GROUP BY t.credit";

const CREATE: [&str; 5] = [
    "CREATE SOURCE transfers (debit INT, credit INT, amount BIGINT)
     WITH (connector = 'memory', topic = 'transfers') FORMAT PLAIN ENCODE JSON",
    "CREATE TABLE accounts (id INT PRIMARY KEY)",
    "CREATE MATERIALIZED VIEW credits AS
     SELECT credit AS account, sum(amount) AS amount, count(*) AS n FROM transfers GROUP BY credit",
    "CREATE MATERIALIZED VIEW debits AS
     SELECT debit AS account, sum(amount) AS amount, count(*) AS n FROM transfers GROUP BY debit",
    "CREATE MATERIALIZED VIEW transfer_count AS SELECT count(*) AS n FROM transfers",
];

/// One life of the engine.
#[derive(Clone)]
pub struct Bank {
    pub instance: Arc<Instance>,
    session: Arc<Session>,
}

impl Bank {
    pub async fn open(store: Arc<dyn Store>, tasks: usize) -> Bank {
        let options = InstanceOptions {
            engine: EngineOptions {
                tasks,
                step_rows: 2000,
                checkpoint_interval: Duration::from_millis(20),
                ..EngineOptions::default()
            },
            ..InstanceOptions::default()
        };
        let opened = tokio::task::spawn_blocking(move || {
            let durable = weir_state::Instance::on(store).expect("the store");
            Instance::on(durable, options).expect("an instance")
        });
        let instance = opened.await.expect("an instance");
        let session = instance.session();
        Bank { instance, session }
    }

    pub async fn create(&self) {
        memory::create(TOPIC, PARTITIONS);
        for statement in CREATE {
            self.run(statement).await;
        }
        let ids: Vec<String> = (0..ACCOUNTS).map(|id| format!("({id})")).collect();
        self.run(&format!("INSERT INTO accounts VALUES {}", ids.join(", ")))
            .await;
        self.run(BALANCES).await;
        self.run(TOTAL).await;
    }

    pub async fn run(&self, sql: &str) {
        if let Err(error) = self.session.run(sql).await {
            panic!("{sql}: {error}");
        }
    }

    /// The rows of a query, if its answer came without a notice.
    pub async fn rows(&self, sql: &str) -> Result<Option<Vec<RecordBatch>>, weir_server::Error> {
        let answer = self.session.run(sql).await?;
        let Body::Rows(rows) = answer.body else {
            panic!("{sql} gives no rows");
        };
        let rows = rows.collect().await?;
        Ok(answer.notices.is_empty().then_some(rows))
    }

    pub async fn number(&self, sql: &str) -> Option<i64> {
        let rows = self.rows(sql).await.expect(sql).expect("views that run");
        numbers(&rows)[0][0]
    }

    /// Waits until so many transfers are in the view that counts them, and no more.
    pub async fn has_counted(&self, transfers: i64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let counted = self.number("SELECT n FROM transfer_count").await.expect("a count");
            if counted == transfers {
                return;
            }
            assert!(
                counted < transfers,
                "{counted} transfers were counted, {transfers} made"
            );
            assert!(Instant::now() < deadline, "only {counted} of {transfers} were counted");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn balances(&self) -> BTreeMap<i64, i64> {
        let rows = self.rows("SELECT id, balance FROM balances").await;
        let rows = numbers(&rows.expect("balances").expect("views that run"));
        rows.iter()
            .map(|row| (row[0].expect("an id"), row[1].expect("a balance")))
            .collect()
    }

    pub async fn crash(&self) {
        let instance = self.instance.clone();
        let crash = tokio::task::spawn_blocking(move || instance.crash());
        crash.await.expect("a crash");
    }

    pub async fn close_in_good_order(&self) {
        let instance = self.instance.clone();
        let shutdown = tokio::task::spawn_blocking(move || instance.shutdown());
        shutdown.await.expect("a shutdown");
    }
}

/// Rows of numbers.
pub fn numbers(rows: &[RecordBatch]) -> Vec<Vec<Option<i64>>> {
    let mut all = Vec::new();
    for batch in rows {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| cast(column, &DataType::Int64).expect("numbers"))
            .collect();
        for row in 0..batch.num_rows() {
            let number = |column: &arrow::array::ArrayRef| {
                column
                    .is_valid(row)
                    .then(|| column.as_primitive::<Int64Type>().value(row))
            };
            all.push(columns.iter().map(number).collect());
        }
    }
    all
}

/// What was really transferred.
pub struct Ledger {
    pub transfers: i64,
    pub balances: BTreeMap<i64, i64>,
}

/// Fills the topic, always ahead of the views.
pub struct Producer {
    /// How many transfers the watchers have seen counted.
    pub counted: Arc<AtomicI64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Ledger>,
}

impl Producer {
    pub fn start(seed: u64) -> Producer {
        let (stop, counted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
        let thread = std::thread::spawn({
            let (stop, counted) = (stop.clone(), counted.clone());
            move || produce(&mut Random::new(seed ^ 0x5eed), &stop, &counted)
        });
        Producer { counted, stop, thread }
    }

    pub fn stop(self) -> Ledger {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("the producer")
    }
}

fn produce(random: &mut Random, stop: &AtomicBool, counted: &AtomicI64) -> Ledger {
    let mut ledger = Ledger {
        transfers: 0,
        balances: (0..ACCOUNTS as i64).map(|id| (id, 0)).collect(),
    };
    while !stop.load(Ordering::Acquire) {
        let mut records = Vec::new();
        for _ in 0..1 + random.below(500) {
            let (debit, credit) = (random.below(ACCOUNTS) as i64, random.below(ACCOUNTS) as i64);
            let amount = random.below(1000) as i64;
            *ledger.balances.entry(debit).or_default() -= amount;
            *ledger.balances.entry(credit).or_default() += amount;
            ledger.transfers += 1;
            let value = format!(r#"{{"debit":{debit},"credit":{credit},"amount":{amount}}}"#);
            records.push(Record {
                value: Some(value.into_bytes()),
                timestamp_ms: ledger.transfers,
                ..Record::default()
            });
        }
        memory::append_all(TOPIC, random.below(PARTITIONS as u64) as usize, records);
        while ledger.transfers > counted.load(Ordering::Acquire) + AHEAD && !stop.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    ledger
}
