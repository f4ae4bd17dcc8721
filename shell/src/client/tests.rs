//! The client against an instance of this process, and against what is no Weir server.

use std::pin::pin;
use std::time::{Duration, Instant};

use arrow::datatypes::Int64Type;
use tokio::net::TcpListener;
use weir_server::InstanceOptions;

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

struct Engine {
    instance: Arc<Instance>,
    client: Client,
}

impl Engine {
    async fn start() -> Engine {
        let instance = Instance::open(InstanceOptions::default()).expect("an instance in memory");
        let client = Client::embedded(instance.clone()).await.expect("a client");
        Engine { instance, client }
    }

    async fn run(&self, sql: &str) -> ReplyBody {
        match self.client.run(sql).await {
            Ok(reply) => reply.body,
            Err(error) => panic!("{sql}: {error}"),
        }
    }

    async fn number(&self, sql: &str) -> i64 {
        match self.run(sql).await {
            ReplyBody::Rows(mut rows) => {
                let batch = rows.stream.next().await.expect("a batch").expect("rows");
                batch.column(0).as_primitive::<Int64Type>().value(0)
            }
            _ => panic!("{sql} gives no rows"),
        }
    }

    /// Waits until so many push queries run.
    async fn until_pushes(&self, count: usize) {
        let start = Instant::now();
        while self.instance.engine().push_queries() != count {
            assert!(start.elapsed() < PATIENCE, "{count} push queries");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.instance.shutdown();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_statement_has_its_reply() {
    let engine = Engine::start().await;
    match engine.run("CREATE TABLE t (id BIGINT PRIMARY KEY, name TEXT)").await {
        ReplyBody::Done(tag) => assert_eq!(tag, "CREATE TABLE"),
        _ => panic!("CREATE TABLE is a command"),
    }
    match engine.run("INSERT INTO t VALUES (1, 'a'), (2, 'b')").await {
        ReplyBody::Done(tag) => assert_eq!(tag, "INSERT 2"),
        _ => panic!("INSERT is an update"),
    }
    assert_eq!(engine.number("SELECT max(id) FROM t").await, 2);
    match engine.run("SELECT id FROM t WHERE id > 5").await {
        ReplyBody::Rows(mut rows) => {
            // The columns are known without a row.
            assert_eq!(rows.schema.field(0).name(), "id");
            while let Some(batch) = rows.stream.next().await {
                assert_eq!(batch.expect("a batch").num_rows(), 0);
            }
        }
        _ => panic!("SELECT is a query"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_the_servers_words() {
    let engine = Engine::start().await;
    let error = engine
        .client
        .run("SELECT 1\nFROM nowhere")
        .await
        .err()
        .expect("an error");
    assert!(error.message.contains("'nowhere' does not exist"), "{error}");
    assert!(error.message.ends_with("FROM nowhere\n       ^"), "{error}");
    // The connection is as good as before.
    assert_eq!(engine.number("SELECT CAST(1 AS BIGINT)").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_push_is_cancelled() {
    let engine = Engine::start().await;
    engine.run("CREATE TABLE t (id BIGINT PRIMARY KEY)").await;
    let reply = engine.run("SELECT id + 1 AS next FROM t EMIT CHANGES").await;
    let ReplyBody::Push(mut rows, kind) = reply else {
        panic!("a push query");
    };
    assert_eq!(kind, PushKind::Updating);
    engine.run("INSERT INTO t VALUES (1)").await;
    let next = tokio::time::timeout(PATIENCE, rows.stream.next())
        .await
        .expect("in time");
    let batch = next.expect("a batch").expect("rows");
    assert_eq!(batch.column(0).as_primitive::<Int64Type>().value(0), 2);
    engine.until_pushes(1).await;
    drop(rows);
    engine.until_pushes(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_change_is_cancelled() {
    let engine = Engine::start().await;
    engine.run("CREATE TABLE t (n BIGINT)").await;
    let before = Arc::strong_count(&engine.instance);
    engine.run("INSERT INTO t SELECT unnest(range(0, 20000))").await;
    let hours = "INSERT INTO t SELECT count(*) FROM t a CROSS JOIN t b CROSS JOIN t c";
    {
        let mut running = pin!(engine.client.run(hours));
        let start = Instant::now();
        // Its thread holds the instance, and the rows that it reads do.
        while Arc::strong_count(&engine.instance) < before + 2 {
            assert!(futures::poll!(running.as_mut()).is_pending() && start.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    // It has let go of the tables, and changed nothing.
    engine.run("INSERT INTO t VALUES (-1)").await;
    assert_eq!(engine.number("SELECT count(*) FROM t").await, 20001);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_those_of_relations_and_columns() {
    let engine = Engine::start().await;
    engine
        .run("CREATE TABLE orders (id BIGINT PRIMARY KEY, customer TEXT)")
        .await;
    let names = engine.client.names().await;
    for name in ["orders", "customer", "weir.pipelines"] {
        assert!(names.iter().any(|other| other == name), "{name} in {names:?}");
    }
    assert_eq!(engine.client.waiting().await, None);
}

#[tokio::test]
async fn addresses_that_make_no_sense_are_refused() {
    for (url, word) in [
        ("https://localhost:50051", "http://localhost:50051"),
        ("kafka://localhost:9092", "'kafka'"),
        ("http://localhost", "http://127.0.0.1:50051"),
        ("not an address", "http://127.0.0.1:50051"),
    ] {
        let error = Client::connect(url).await.err().expect(url);
        assert!(error.message.contains(word), "{url}: {error}");
    }
}

#[tokio::test]
async fn who_does_not_answer_as_weir_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    drop(listener);
    let nobody = Client::connect(&format!("http://{address}"))
        .await
        .err()
        .expect("nobody");
    assert!(nobody.message.contains(&address.to_string()), "{nobody}");
    assert!(nobody.message.contains("is `weir serve` running there?"), "{nobody}");

    // Somebody who hangs up.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let hangs_up = tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let stranger = Client::connect(&format!("http://{address}"))
        .await
        .err()
        .expect("a stranger");
    assert!(stranger.message.contains("is not Weir's"), "{stranger}");
    hangs_up.abort();
}
