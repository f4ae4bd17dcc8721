//! The orders: who produces them, and the batch answers over all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arrow::array::{Array, BinaryArray};
use arrow::datatypes::Schema;
use weir_engine::connector::kafka::Properties;
use weir_engine::connector::kafka::admin::Admin;
use weir_engine::connector::kafka::producer::{Producer, Record};
use weir_engine::connector::{self, Bound, ConnectorSpec, Payload, Start, Wanted};
use weir_suite::random::Random;
use weir_suite::server::{self, Server};

pub const CUSTOMERS: u64 = 2000;
const PARTITIONS: usize = 3;
/// Milliseconds since the epoch at which the orders begin: 2024-01-01.
const BEGIN_MS: i64 = 1_704_067_200_000;
/// Event time between two orders.
const APART_MS: i64 = 3;
/// By how much orders of a partition are out of order, less than the watermark's 5 seconds.
const DISORDER_MS: u64 = 3000;
/// The customer of the records that move the watermark past everything.
const NOBODY: i64 = -1;

#[derive(Debug, Clone, Copy)]
struct Order {
    id: i64,
    customer: i64,
    amount: i64,
    at_ms: i64,
}

/// Orders on their way into a topic.
pub struct Orders {
    admin: Admin,
    topic: String,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Order>>,
}

impl Orders {
    /// Makes the topic and begins to fill it.
    pub fn begin(kafka: &str, topic: &str, seed: u64) -> Orders {
        let properties = Properties::new(kafka);
        let admin = Admin::new(&properties).expect("an admin client");
        admin
            .create_topic(topic, Some(PARTITIONS as i32), &[])
            .expect("a topic");
        let producer = Producer::new(&properties).expect("a producer");
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (topic, stop) = (topic.to_string(), stop.clone());
            move || produce(&producer, &topic, &mut Random::new(seed ^ 0x5eed), &stop)
        });
        Orders {
            admin,
            topic: topic.to_string(),
            stop,
            thread,
        }
    }

    /// Deletes what was committed.
    pub fn delete_below(&self, committed: &BTreeMap<i32, i64>) {
        if !committed.is_empty() {
            self.admin
                .delete_records(&self.topic, committed)
                .expect("records deleted");
        }
    }

    /// Ends the topic with records that move the watermark past all others.
    pub fn finish(self) -> Made {
        self.stop.store(true, Ordering::Release);
        Made(self.thread.join().expect("the producer"))
    }
}

fn produce(producer: &Producer, topic: &str, random: &mut Random, stop: &AtomicBool) -> Vec<Order> {
    let mut orders: Vec<Order> = Vec::new();
    while !stop.load(Ordering::Acquire) {
        for _ in 0..100 {
            let id = orders.len() as i64;
            let order = Order {
                id,
                customer: random.below(CUSTOMERS) as i64,
                amount: random.below(1000) as i64,
                at_ms: BEGIN_MS + id * APART_MS + random.below(DISORDER_MS) as i64,
            };
            send(producer, topic, &order, random.below(PARTITIONS as u64) as i32);
            orders.push(order);
        }
        producer.flush(Duration::from_secs(30)).expect("records in Kafka");
        std::thread::sleep(Duration::from_millis(4));
    }
    let end_ms = BEGIN_MS + orders.len() as i64 * APART_MS + 86_400_000;
    for partition in 0..PARTITIONS {
        let last = Order {
            id: orders.len() as i64,
            customer: NOBODY,
            amount: 0,
            at_ms: end_ms,
        };
        send(producer, topic, &last, partition as i32);
        orders.push(last);
    }
    producer.flush(Duration::from_secs(30)).expect("records in Kafka");
    orders
}

fn send(producer: &Producer, topic: &str, order: &Order, partition: i32) {
    let Order {
        id,
        customer,
        amount,
        at_ms,
    } = order;
    let value = format!(r#"{{"id":{id},"customer":{customer},"amount":{amount},"at":{at_ms}}}"#);
    let record = Record {
        value: Some(value.as_bytes()),
        partition: Some(partition),
        ..Record::default()
    };
    producer.send(topic, &record).expect("a record");
}

/// All orders that were made.
pub struct Made(Vec<Order>);

/// Number, sum, least and most of a customer's orders.
type Sums = (i64, i64, i64, i64);

impl Made {
    pub fn count(&self) -> usize {
        self.0.len()
    }

    fn by_customer(&self) -> BTreeMap<i64, Sums> {
        let mut sums: BTreeMap<i64, Sums> = BTreeMap::new();
        for order in &self.0 {
            let (n, sum, least, most) = sums.entry(order.customer).or_insert((0, 0, i64::MAX, i64::MIN));
            *n += 1;
            *sum += order.amount;
            *least = order.amount.min(*least);
            *most = order.amount.max(*most);
        }
        sums
    }

    /// Number and sum of the orders by the start of their window of ten seconds, in seconds.
    fn by_window(&self) -> BTreeMap<i64, (i64, i64)> {
        let mut windows: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
        for order in self.0.iter().filter(|order| order.customer != NOBODY) {
            let (n, sum) = windows.entry(order.at_ms.div_euclid(10_000) * 10).or_default();
            *n += 1;
            *sum += order.amount;
        }
        windows
    }

    fn dearest(&self) -> Vec<(i64, i64)> {
        let mut all: Vec<(i64, i64)> = self.0.iter().map(|order| (-order.amount, order.id)).collect();
        all.sort_unstable();
        all.iter().take(10).map(|(amount, id)| (*id, -amount)).collect()
    }

    /// Whether the sink topic, read by key to its end, holds the customers' sums.
    pub fn is_in_topic(&self, kafka: &str, topic: &str) -> bool {
        let last = last_by_key(kafka, topic);
        let expected = self.by_customer();
        let shown = |(customer, (n, amount, least, most)): (&i64, &Sums)| {
            let row = serde_json::json!({"customer": customer, "n": n, "amount": amount, "least": least, "most": most});
            (customer.to_string(), row)
        };
        last == expected.iter().map(shown).collect()
    }

    pub fn remove_topics(&self, kafka: &str, topics: &[&str]) {
        let admin = Admin::new(&Properties::new(kafka)).expect("an admin client");
        for topic in topics {
            admin.delete_topic(topic).expect("a topic of this test");
        }
    }
}

fn last_by_key(kafka: &str, topic: &str) -> BTreeMap<String, serde_json::Value> {
    let spec = ConnectorSpec {
        connector: "kafka".to_string(),
        options: BTreeMap::from([
            ("topic".to_string(), topic.to_string()),
            ("properties.bootstrap.servers".to_string(), kafka.to_string()),
        ]),
    };
    let source = connector::source(&spec, &Arc::new(Schema::empty())).expect("a source");
    let from = source.resolve(&Start::Earliest).expect("positions");
    let until = source
        .resolve_bound(&Bound::Latest)
        .expect("positions")
        .expect("an end");
    let wanted = Wanted {
        keys: true,
        ..Wanted::default()
    };
    let mut reader = source.open(&from, Some(&until), &wanted).expect("a reader");
    let mut open: BTreeSet<_> = from.keys().cloned().collect();
    let mut last = BTreeMap::new();
    while !open.is_empty() {
        for read in reader.read(10_000, Duration::from_secs(1)).expect("a read") {
            if read.ended {
                open.remove(&read.split.id);
            }
            let Payload::Records(records) = read.payload else {
                panic!("Kafka gives records");
            };
            for index in 0..records.positions.len() {
                let key = text(&records.keys, index).expect("a key");
                match text(&records.values, index) {
                    Some(value) => last.insert(key, serde_json::from_str(&value).expect("JSON")),
                    None => last.remove(&key),
                };
            }
        }
    }
    last
}

fn text(column: &BinaryArray, index: usize) -> Option<String> {
    let bytes = column.is_valid(index).then(|| column.value(index).to_vec());
    bytes.map(|bytes| String::from_utf8(bytes).expect("text"))
}

/// Waits until all orders are in, and compares every view.
pub fn equal_batch(server: &Server, made: &Made) {
    let counted = || {
        server
            .sql("SELECT sum(n) FROM by_customer")
            .lines()
            .nth(1)
            .map(str::to_string)
    };
    let all = made.count().to_string();
    server::until("all orders are counted", || {
        let counted = counted().unwrap_or_default();
        let number = counted.parse::<usize>().unwrap_or(0);
        assert!(number <= made.count(), "{counted} orders were counted, {all} made");
        counted == all
    });
    let rows = |sql: &str| -> Vec<String> { server.sql(sql).lines().skip(1).map(str::to_string).collect() };
    let sums = made.by_customer();
    let expected: Vec<String> = sums
        .iter()
        .map(|(customer, (n, amount, least, most))| format!("{customer},{n},{amount},{least},{most}"))
        .collect();
    assert_eq!(
        rows("SELECT * FROM by_customer ORDER BY customer"),
        expected,
        "by_customer"
    );

    let named: Vec<String> = (0..CUSTOMERS as i64)
        .map(|id| match sums.get(&id) {
            Some((n, amount, ..)) => format!("c{id},{n},{amount}"),
            None => format!("c{id},,"),
        })
        .collect();
    assert_eq!(
        sorted(rows("SELECT name, n, amount FROM named")),
        sorted(named),
        "named"
    );

    let mut levels: BTreeMap<i64, i64> = BTreeMap::new();
    sums.values().for_each(|(n, ..)| *levels.entry(*n).or_default() += 1);
    let levels: Vec<String> = levels.iter().map(|(n, customers)| format!("{n},{customers}")).collect();
    assert_eq!(rows("SELECT n, customers FROM levels ORDER BY n"), levels, "levels");

    let dearest: Vec<String> = made
        .dearest()
        .iter()
        .map(|(id, amount)| format!("{id},{amount}"))
        .collect();
    assert_eq!(
        sorted(rows("SELECT id, amount FROM dearest")),
        sorted(dearest),
        "dearest"
    );

    let windows = made.by_window();
    let windows: Vec<String> = windows
        .iter()
        .map(|(start, (n, sum))| format!("{start},{n},{sum}"))
        .collect();
    let closed = "SELECT CAST(date_part('epoch', window_start) AS BIGINT) AS s, n, amount FROM by_window ORDER BY s";
    assert_eq!(rows(closed), windows, "by_window");
}

fn sorted(mut rows: Vec<String>) -> Vec<String> {
    rows.sort_unstable();
    rows
}
