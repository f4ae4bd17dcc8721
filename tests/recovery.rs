//! Killed at any moment, a server goes on as if nothing had been.
//!
//! `weir serve` reads a Kafka topic under load and is killed with -9 again and again, at random
//! moments: while it starts, while it commits, while views come and go. After each kill the records
//! below the positions in its data directory are deleted from the topic, so that nothing can be read
//! a second time to hide a loss, nor be counted twice unseen. In the end every view must equal the
//! batch answer over all that was produced, and so must the sink topic, read by key.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use weir_suite::program;
use weir_suite::random::Random;
use weir_suite::server::{self, Server};

#[path = "recovery/directory.rs"]
mod directory;
#[path = "recovery/orders.rs"]
mod orders;

use orders::Orders;

const KILLS: usize = 24;

const VIEWS: [&str; 5] = [
    "CREATE MATERIALIZED VIEW IF NOT EXISTS by_customer AS
     SELECT customer, count(*) AS n, sum(amount) AS amount, min(amount) AS least, max(amount) AS most
     FROM orders GROUP BY customer",
    "CREATE MATERIALIZED VIEW IF NOT EXISTS named AS
     SELECT c.name, b.n, b.amount FROM customers c LEFT JOIN by_customer b ON c.id = b.customer",
    "CREATE MATERIALIZED VIEW IF NOT EXISTS by_window AS
     SELECT window_start, count(*) AS n, sum(amount) AS amount
     FROM TUMBLE(orders, at, INTERVAL '10' SECOND) GROUP BY window_start, window_end EMIT ON WINDOW CLOSE",
    "CREATE MATERIALIZED VIEW IF NOT EXISTS dearest AS SELECT id, amount FROM orders ORDER BY amount DESC, id LIMIT 10",
    "CREATE MATERIALIZED VIEW IF NOT EXISTS levels AS SELECT n, count(*) AS customers FROM by_customer GROUP BY n",
];

#[test]
fn killed_at_any_moment() {
    let Some(kafka) = program::kafka("killed_at_any_moment") else {
        return;
    };
    let seed = Random::seed();
    let mut random = Random::new(seed);
    let (topic, out) = (format!("recovery-{seed}"), format!("recovery-{seed}-out"));
    let orders = Orders::begin(&kafka, &topic, seed);

    let files = tempfile::tempdir().expect("a folder");
    let data = files.path().join("data");
    let server = Server::start(&data);
    create(&server, &kafka, &topic, &out);
    drop(server);

    let mut deleted = BTreeMap::new();
    for kill in 0..KILLS {
        let after = Duration::from_millis(random.below(1200));
        if kill.is_multiple_of(4) {
            let server = Server::start(&data);
            change_something(&server, &mut random);
            std::thread::sleep(after / 4);
            drop(server);
        } else {
            live_for(&data, after);
        }
        let copy = files.path().join("copy");
        directory::copy(&data, &copy);
        let committed = directory::positions(&copy);
        orders.delete_below(&committed);
        deleted = committed;
        if kill == KILLS / 2 {
            // What was copied opens as well, and is as good.
            std::fs::remove_dir_all(&data).expect("the folder is there");
            std::fs::rename(&copy, &data).expect("a copy");
        } else {
            std::fs::remove_dir_all(&copy).expect("the copy is there");
        }
    }
    assert!(
        deleted.values().any(|offset| *offset > 0),
        "no life has committed anything"
    );

    let made = orders.finish();
    let server = Server::start(&data);
    // A kill may have come between two statements.
    server.sql(VIEWS[1]);
    ["by_customer", "by_window", "dearest", "levels"]
        .iter()
        .for_each(|view| drop(server.sql(&format!("RESUME {view}"))));
    orders::equal_batch(&server, &made);
    server::until("the sink topic holds the same rows", || made.is_in_topic(&kafka, &out));
    println!("{} orders, {KILLS} kills", made.count());
    assert!(server.terminate().status.success());
    made.remove_topics(&kafka, &[&topic, &out]);
}

fn create(server: &Server, kafka: &str, topic: &str, out: &str) {
    server.sql("CREATE TABLE customers (id INT PRIMARY KEY, name TEXT NOT NULL)");
    let names: Vec<String> = (0..orders::CUSTOMERS).map(|id| format!("({id}, 'c{id}')")).collect();
    server.sql(&format!("INSERT INTO customers VALUES {}", names.join(", ")));
    server.sql(&format!(
        "CREATE SOURCE orders (id BIGINT, customer INT, amount BIGINT, at TIMESTAMP,
           WATERMARK FOR at AS at - INTERVAL '5' SECOND)
         WITH (connector = 'kafka', topic = '{topic}', properties.bootstrap.servers = '{kafka}') ENCODE JSON"
    ));
    VIEWS.iter().for_each(|view| drop(server.sql(view)));
    // From here on each of them has its positions in the directory.
    let running = "SELECT count(*) FROM weir.pipelines WHERE state = 'RUNNING' AND kind = 'materialized view'";
    server::until("all views are running", || {
        server.sql(running).lines().nth(1) == Some("5")
    });
    server.sql(&format!(
        "CREATE SINK by_customer_out FROM by_customer
         WITH (connector = 'kafka', topic = '{out}', properties.bootstrap.servers = '{kafka}', key = 'customer')
         FORMAT UPSERT ENCODE JSON"
    ));
}

/// A server that is killed a while after its start, ready or not.
fn live_for(data: &Path, time: Duration) {
    let mut command: Command = server::command(data);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut child = child.expect("a server");
    let killed_at = Instant::now() + time;
    while Instant::now() < killed_at {
        let ended = child.try_wait().expect("a child");
        assert!(ended.is_none(), "the server ended by itself: {ended:?}");
        std::thread::sleep(Duration::from_millis(1).min(killed_at - Instant::now()));
    }
    child.kill().expect("a child that runs");
    child.wait().expect("a killed child");
}

/// Views leave their pipeline and come back, and the kill may come before they are back.
fn change_something(server: &Server, random: &mut Random) {
    let view = ["by_customer", "by_window", "dearest", "levels"][random.below(4) as usize];
    match random.below(3) {
        0 => {
            server.sql(&format!("PAUSE {view}"));
            server.sql(&format!("RESUME {view}"));
        }
        1 => {
            server.sql("DROP MATERIALIZED VIEW IF EXISTS named");
            server.sql(VIEWS[1]);
        }
        _ => {
            server.sql("CREATE MATERIALIZED VIEW IF NOT EXISTS passing AS SELECT customer, amount FROM orders WHERE amount > 990");
            server.sql("DROP MATERIALIZED VIEW IF EXISTS passing");
        }
    }
}
