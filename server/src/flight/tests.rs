//! The service through an in-process channel, with arrow-flight's own client.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Int64Type, Schema};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{
    CommandGetPrimaryKeys, CommandGetTables, CommandGetXdbcTypeInfo, CommandStatementQuery, EndTransaction,
    ProstMessageExt, SqlInfo, XdbcDataType,
};
use arrow_flight::{
    Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightDescriptor, FlightInfo,
};
use arrow_flight::{IpcMessage, Ticket};
use futures::{StreamExt, TryStreamExt};
use prost::Message;
use tonic::transport::Channel;
use tonic::{Code, Status};
use weir_engine::format::sql_type;

use super::connection::Connections;
use super::{KIND_METADATA, NOTICES_METADATA, ROWS_METADATA, TAG_METADATA};
use crate::{Instance, InstanceOptions, PUSH_METADATA, embedded};

/// Longer than anything here takes, so that a test fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(60);

type Client = FlightSqlServiceClient<Channel>;

struct Server {
    connections: Arc<Connections>,
}

impl Server {
    fn start() -> Server {
        let instance = Instance::open(InstanceOptions::default()).expect("an instance in memory");
        Server {
            connections: Connections::new(instance),
        }
    }

    async fn client(&self) -> Client {
        let channel = embedded::channel(self.connections.clone()).await.expect("a channel");
        Client::new(channel)
    }

    /// Waits until something holds that only has to come about.
    async fn until(&self, what: &str, holds: impl Fn(&Connections) -> bool) {
        let start = Instant::now();
        while !holds(&self.connections) {
            assert!(start.elapsed() < PATIENCE, "{what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until so many push queries run.
    async fn until_pushes(&self, count: usize) {
        self.until(&format!("{count} push queries"), |connections| {
            connections.instance().unwrap().engine().push_queries() == count
        })
        .await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.connections.instance().unwrap().shutdown();
    }
}

async fn info(client: &mut Client, sql: &str) -> FlightInfo {
    let info = client.execute(sql.to_string(), None).await;
    info.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

async fn refusal(client: &mut Client, sql: &str) -> Status {
    let error = client.execute(sql.to_string(), None).await.err();
    tonic_status(error.unwrap_or_else(|| panic!("{sql} should be refused")))
}

fn tonic_status(error: FlightError) -> Status {
    match error {
        FlightError::Tonic(status) => *status,
        other => panic!("no status: {other}"),
    }
}

fn ticket(info: &FlightInfo) -> Ticket {
    info.endpoint[0].ticket.clone().expect("a ticket")
}

fn schema(info: &FlightInfo) -> Schema {
    info.clone().try_decode_schema().expect("a schema")
}

async fn rows(client: &mut Client, info: &FlightInfo) -> Vec<RecordBatch> {
    let stream = client.do_get(ticket(info)).await.expect("a stream");
    stream.try_collect().await.expect("rows")
}

async fn query(client: &mut Client, sql: &str) -> Vec<RecordBatch> {
    let info = info(client, sql).await;
    rows(client, &info).await
}

async fn number(client: &mut Client, sql: &str) -> i64 {
    let batches = query(client, sql).await;
    batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

async fn next(stream: &mut FlightRecordBatchStream) -> Option<Result<RecordBatch, FlightError>> {
    let next = tokio::time::timeout(PATIENCE, stream.next()).await;
    next.expect("the stream goes on, or ends")
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_and_updates_run_once_when_their_info_is_asked_for() {
    let server = Server::start();
    let mut client = server.client().await;

    let created = info(&mut client, "CREATE TABLE t (id INT PRIMARY KEY, name TEXT)").await;
    assert_eq!(schema(&created).metadata[KIND_METADATA], "command");
    assert_eq!(schema(&created).metadata[TAG_METADATA], "CREATE TABLE");
    assert_eq!(
        refusal(&mut client, "CREATE TABLE t (id INT)").await.code(),
        Code::FailedPrecondition
    );

    let inserted = info(&mut client, "INSERT INTO t VALUES (1, 'a'), (2, 'b')").await;
    assert_eq!(inserted.total_records, 2);
    assert_eq!(schema(&inserted).metadata[KIND_METADATA], "update");
    assert_eq!(schema(&inserted).metadata[ROWS_METADATA], "2");
    // Fetching its rows, as drivers do, changes nothing more: there are none.
    for _ in 0..2 {
        assert_eq!(rows(&mut client, &inserted).await, []);
    }
    assert_eq!(number(&mut client, "SELECT count(*) FROM t").await, 2);
    let changed = client
        .execute_update("UPDATE t SET name = 'c'".to_string(), None)
        .await
        .unwrap();
    assert_eq!(changed, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_runs_when_its_rows_are_fetched() {
    let server = Server::start();
    let mut client = server.client().await;
    info(&mut client, "CREATE TABLE t (id INT PRIMARY KEY, name TEXT)").await;
    let planned = info(&mut client, "SELECT id, name FROM t ORDER BY id").await;
    let columns: Vec<String> = schema(&planned)
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    assert_eq!(columns, ["id", "name"]);
    assert_eq!(schema(&planned).metadata[KIND_METADATA], "query");

    info(&mut client, "INSERT INTO t VALUES (1, 'a'), (2, NULL)").await;
    let batches = rows(&mut client, &planned).await;
    let expected = RecordBatch::try_from_iter([
        ("id", Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef),
        ("name", Arc::new(StringArray::from(vec![Some("a"), None])) as ArrayRef),
    ])
    .unwrap();
    assert_eq!(batches.len(), 1);
    assert_eq!(batches[0].columns(), expected.columns());

    let again = client
        .do_get(ticket(&planned))
        .await
        .err()
        .map(tonic_status)
        .expect("once");
    assert_eq!(again.code(), Code::NotFound);
    assert!(again.message().contains("run the statement again"), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_good_for_others_while_its_session_lives() {
    let server = Server::start();
    let (mut first, mut second) = (server.client().await, server.client().await);
    let planned = info(&mut first, "SELECT 1 + 1 AS two").await;
    assert_eq!(rows(&mut second, &planned).await[0].num_rows(), 1);

    let planned = info(&mut first, "SELECT 1 + 1 AS two").await;
    let open = server.connections.count();
    drop(first);
    server
        .until("the session ends", |connections| connections.count() < open)
        .await;
    let gone = second
        .do_get(ticket(&planned))
        .await
        .err()
        .map(tonic_status)
        .expect("gone");
    assert_eq!(gone.code(), Code::NotFound);
    assert!(gone.message().contains("session"), "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_belong_to_a_connection() {
    let server = Server::start();
    let (mut first, mut second) = (server.client().await, server.client().await);
    info(&mut first, "SET wait = 'off'").await;
    let shown = async |client: &mut Client| {
        let batches = query(client, "SHOW wait").await;
        batches[0].column(0).as_string::<i32>().value(0).to_string()
    };
    assert_eq!(shown(&mut first).await, "off");
    assert_eq!(shown(&mut second).await, "on");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_say_what_and_where() {
    let server = Server::start();
    let mut client = server.client().await;
    let status = refusal(&mut client, "SELECT nothing\nFROM nowhere").await;
    assert!(
        matches!(status.code(), Code::InvalidArgument | Code::NotFound),
        "{status:?}"
    );
    assert!(status.message().contains("nowhere"), "{}", status.message());
    assert!(
        status.message().ends_with("FROM nowhere\n       ^"),
        "{}",
        status.message()
    );

    info(&mut client, "CREATE TABLE t (id INT PRIMARY KEY)").await;
    info(&mut client, "INSERT INTO t VALUES (1)").await;
    let twice = refusal(&mut client, "INSERT INTO t VALUES (1)").await;
    assert_eq!(twice.code(), Code::OutOfRange, "{twice:?}");

    // An error in the middle of the rows comes with them.
    let planned = info(&mut client, "SELECT 1 / (id - 1) FROM t").await;
    let failed = match client.do_get(ticket(&planned)).await {
        Err(error) => tonic_status(error),
        Ok(stream) => tonic_status(stream.try_collect::<Vec<_>>().await.unwrap_err()),
    };
    assert_eq!(failed.code(), Code::OutOfRange, "{failed:?}");

    let unprepared = refusal(&mut client, "SELECT id FROM t WHERE id = $1").await;
    assert_eq!(unprepared.code(), Code::InvalidArgument);
    assert!(unprepared.message().contains("prepare"), "{unprepared}");
    let update = client
        .execute_update("SELECT 1".to_string(), None)
        .await
        .err()
        .map(tonic_status);
    assert_eq!(update.expect("a query is no update").code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_begun_and_ended_by_calls() {
    let server = Server::start();
    let (mut client, mut other) = (server.client().await, server.client().await);
    info(&mut client, "CREATE TABLE t (id BIGINT PRIMARY KEY)").await;
    let first = client.begin_transaction().await.unwrap();
    let insert = |id: i64| format!("INSERT INTO t VALUES ({id})");
    assert_eq!(client.execute_update(insert(1), Some(first.clone())).await.unwrap(), 1);
    assert_eq!(client.execute_update(insert(2), Some(first.clone())).await.unwrap(), 1);
    let count = "SELECT count(*) AS n FROM t";
    assert_eq!(number(&mut client, count).await, 2);
    assert_eq!(number(&mut other, count).await, 0);
    client
        .end_transaction(first.clone(), EndTransaction::Commit)
        .await
        .unwrap();
    assert_eq!(number(&mut other, count).await, 2);

    let ended = client.execute_update(insert(3), Some(first)).await;
    assert_eq!(ended.err().map(tonic_status).unwrap().code(), Code::FailedPrecondition);
    let second = client.begin_transaction().await.unwrap();
    client.execute_update(insert(3), Some(second.clone())).await.unwrap();
    client.end_transaction(second, EndTransaction::Rollback).await.unwrap();
    assert_eq!(number(&mut client, count).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_fails_leaves_the_connection_good() {
    let server = Server::start();
    let (mut client, mut other) = (server.client().await, server.client().await);
    info(&mut client, "CREATE TABLE t (id BIGINT PRIMARY KEY)").await;
    let insert = |id: i64| format!("INSERT INTO t VALUES ({id})");
    for (round, id) in [(0, 10), (1, 20), (2, 30)] {
        let transaction = client.begin_transaction().await.unwrap();
        client
            .execute_update(insert(id), Some(transaction.clone()))
            .await
            .unwrap();
        other.execute_update(insert(id + 1), None).await.unwrap();
        let failed = client
            .end_transaction(transaction.clone(), EndTransaction::Commit)
            .await;
        let failed = failed.err().map(tonic_status).unwrap();
        assert!(failed.message().contains("run it again"), "{failed}");
        let transaction = match round {
            0 => client.begin_transaction().await.unwrap(),
            1 => {
                client
                    .end_transaction(transaction, EndTransaction::Rollback)
                    .await
                    .unwrap();
                client.begin_transaction().await.unwrap()
            }
            _ => transaction,
        };
        client
            .execute_update(insert(id), Some(transaction.clone()))
            .await
            .unwrap();
        client
            .end_transaction(transaction, EndTransaction::Commit)
            .await
            .unwrap();
    }
    assert_eq!(number(&mut other, "SELECT sum(id) AS s FROM t").await, 2 * 60 + 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_have_the_types_that_their_places_tell() {
    let server = Server::start();
    let mut client = server.client().await;
    info(&mut client, "CREATE TABLE t (code TEXT PRIMARY KEY, id UUID)").await;
    for (sql, types, columns) in [
        ("SELECT $1", "TEXT", "TEXT"),
        ("SELECT $1 AS a UNION ALL SELECT $2", "TEXT, TEXT", "TEXT"),
        ("SELECT * FROM (VALUES ($1, 1)) AS v (a, b)", "TEXT", "TEXT, BIGINT"),
        ("SELECT CAST($1 AS TEXT[]) AS a", "TEXT[]", "TEXT[]"),
        ("SELECT id FROM t WHERE code = ANY ($1)", "TEXT[]", "UUID"),
        (
            "SELECT id FROM t WHERE id <> ALL ($1) AND $2 = ANY (ARRAY[1, 2])",
            "UUID[], BIGINT",
            "UUID",
        ),
        ("INSERT INTO t VALUES (CAST($1 AS TEXT), $2)", "TEXT, UUID", ""),
    ] {
        let prepared = client.prepare(sql.to_string(), None).await.unwrap();
        let names = |schema: &Schema| {
            let fields = schema.fields().iter().map(|field| sql_type(field.data_type()));
            fields.collect::<Vec<_>>().join(", ")
        };
        assert_eq!(names(prepared.parameter_schema().unwrap()), types, "{sql}");
        assert_eq!(names(prepared.dataset_schema().unwrap()), columns, "{sql}");
    }
    for sql in [
        "CREATE MATERIALIZED VIEW v AS SELECT code FROM t WHERE code = $1",
        "SELECT code FROM t WHERE code = ? EMIT CHANGES",
    ] {
        let refused = client
            .prepare(sql.to_string(), None)
            .await
            .err()
            .map(tonic_status)
            .unwrap();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(
            refused.message().starts_with("parameters stand in SELECT, INSERT,"),
            "{refused}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_bind_rows_of_parameters() {
    let server = Server::start();
    let mut client = server.client().await;
    info(&mut client, "CREATE TABLE t (id INT PRIMARY KEY, name TEXT)").await;

    let mut insert = client
        .prepare("INSERT INTO t VALUES ($1, $2)".to_string(), None)
        .await
        .unwrap();
    let types: Vec<DataType> = insert
        .parameter_schema()
        .unwrap()
        .fields()
        .iter()
        .map(|field| field.data_type().clone())
        .collect();
    assert_eq!(types, [DataType::Int32, DataType::Utf8]);
    assert_eq!(insert.dataset_schema().unwrap().fields().len(), 0);
    let bound = |ids: Vec<i64>, names: Vec<&str>| {
        RecordBatch::try_from_iter([
            ("1", Arc::new(Int64Array::from(ids)) as ArrayRef),
            ("2", Arc::new(StringArray::from(names)) as ArrayRef),
        ])
        .unwrap()
    };
    let unbound = insert
        .execute_update()
        .await
        .err()
        .map(tonic_status)
        .expect("nothing is bound");
    assert_eq!(unbound.code(), Code::InvalidArgument);
    insert
        .set_parameters(bound(vec![1, 2, 3], vec!["a", "b", "c"]))
        .unwrap();
    assert_eq!(insert.execute_update().await.unwrap(), 3);

    // An INSERT of many rows is one statement: all of them or none.
    insert
        .set_parameters(bound(vec![4, 1, 5], vec!["d", "a", "e"]))
        .unwrap();
    let failed = insert.execute_update().await.err().map(tonic_status);
    let failed = failed.expect("1 is there");
    assert!(failed.message().contains("(id) = (1)"), "{failed}");
    assert_eq!(number(&mut client, "SELECT count(*) FROM t").await, 3);

    // Any other statement runs for one row after the other, and says how far it came.
    let mut update = client
        .prepare("UPDATE t SET id = id + $1, name = $2 WHERE id = 1".to_string(), None)
        .await
        .unwrap();
    update
        .set_parameters(bound(vec![0, 1, 0], vec!["z", "y", "x"]))
        .unwrap();
    let failed = update.execute_update().await.err().map(tonic_status);
    let failed = failed.expect("2 is there");
    assert!(failed.message().starts_with("row 2 of 3"), "{failed}");
    assert!(failed.message().contains("the 1 before it are done"), "{failed}");
    update.set_parameters(bound(vec![0, 0], vec!["y", "a"])).unwrap();
    assert_eq!(update.execute_update().await.unwrap(), 2);

    let mut select = client
        .prepare("SELECT name FROM t WHERE id = $1".to_string(), None)
        .await
        .unwrap();
    assert_eq!(select.dataset_schema().unwrap().field(0).name(), "name");
    let id = |ids: Vec<i64>| RecordBatch::try_from_iter([("1", Arc::new(Int64Array::from(ids)) as ArrayRef)]).unwrap();
    for (key, name) in [(1, "a"), (3, "c")] {
        select.set_parameters(id(vec![key])).unwrap();
        let found = select.execute().await.unwrap();
        let batches = rows(&mut client, &found).await;
        assert_eq!(batches[0].column(0).as_string::<i32>().value(0), name);
    }
    select.set_parameters(id(vec![1, 2])).unwrap();
    let several = select.execute().await.err().map(tonic_status).expect("one row only");
    assert_eq!(several.code(), Code::InvalidArgument);

    let mut closed = select.clone();
    select.close().await.unwrap();
    closed.set_parameters(id(vec![1])).unwrap();
    let gone = closed.execute().await.err().map(tonic_status).expect("closed");
    assert_eq!(gone.code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_query_ends_when_its_stream_is_dropped() {
    let server = Server::start();
    let mut client = server.client().await;
    info(&mut client, "CREATE TABLE t (id INT PRIMARY KEY, name TEXT)").await;
    let pushed = info(
        &mut client,
        "SELECT name, count(*) AS n FROM t GROUP BY name EMIT CHANGES",
    )
    .await;
    assert_eq!(schema(&pushed).metadata[KIND_METADATA], "push");
    let columns: Vec<String> = schema(&pushed)
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    assert_eq!(columns, ["name", "n", crate::WEIGHT_COLUMN]);
    let mut stream = client.do_get(ticket(&pushed)).await.unwrap();

    let mut other = server.client().await;
    info(&mut other, "INSERT INTO t VALUES (1, 'a'), (2, 'a')").await;
    let batch = next(&mut stream).await.expect("rows").unwrap();
    assert_eq!(batch.schema().metadata()[PUSH_METADATA], "updating");
    assert_eq!(batch.column(1).as_primitive::<Int64Type>().value(0), 2);
    assert_eq!(batch.column(2).as_primitive::<Int64Type>().value(0), 1);
    info(&mut other, "DELETE FROM t WHERE id = 1").await;
    assert!(next(&mut stream).await.expect("rows").is_ok());

    server.until_pushes(1).await;
    drop(stream);
    server.until_pushes(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_query_ends_with_its_connection() {
    let server = Server::start();
    let mut client = server.client().await;
    info(&mut client, "CREATE TABLE t (id INT PRIMARY KEY)").await;
    let pushed = info(&mut client, "SELECT id + 1 AS next FROM t EMIT CHANGES").await;
    let stream = client.do_get(ticket(&pushed)).await.unwrap();
    info(&mut client, "INSERT INTO t VALUES (1)").await;
    server.until_pushes(1).await;
    drop((stream, client));
    server
        .until("the session ends", |connections| connections.count() == 0)
        .await;
    server.until_pushes(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_can_be_cancelled_by_its_flight_info() {
    let server = Server::start();
    let mut client = server.client().await;
    info(&mut client, "CREATE TABLE t (id INT PRIMARY KEY)").await;
    let pushed = info(&mut client, "SELECT id + 1 AS next FROM t EMIT CHANGES").await;
    let mut stream = client.do_get(ticket(&pushed)).await.unwrap();
    server.until_pushes(1).await;
    let mut cancel = async |info: &FlightInfo| {
        let command = CancelFlightInfoRequest::new(info.clone()).encode_to_vec();
        let mut results = client
            .do_action(Action::new("CancelFlightInfo", command))
            .await
            .unwrap();
        let result = results.message().await.unwrap().expect("a result");
        CancelFlightInfoResult::decode(result.body).unwrap().status()
    };
    assert_eq!(cancel(&pushed).await, CancelStatus::Cancelled);
    let ended = next(&mut stream).await.expect("a status").err().map(tonic_status);
    assert_eq!(ended.expect("cancelled").code(), Code::Cancelled);
    assert_eq!(cancel(&pushed).await, CancelStatus::NotCancellable);
    server.until_pushes(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_ends_at_once_though_its_client_reads_nothing() {
    let server = Server::start();
    let mut client = server.client().await;
    let fast = "CREATE SOURCE fast (n BIGINT, s TEXT) WITH (connector = 'datagen', rows_per_second = '100000')";
    info(&mut client, fast).await;
    let pushed = info(&mut client, "SELECT n + 1 AS next, s FROM fast EMIT CHANGES").await;
    let _unread = client.do_get(ticket(&pushed)).await.unwrap();
    server.until_pushes(1).await;
    server.connections.stop();
    server.until_pushes(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_with_a_status_when_the_server_stops() {
    let server = Server::start();
    let mut client = server.client().await;
    info(&mut client, "CREATE TABLE t (id INT PRIMARY KEY)").await;
    let pushed = info(&mut client, "SELECT id + 1 AS next FROM t EMIT CHANGES").await;
    let late = info(&mut client, "SELECT id FROM t").await;
    let mut stream = client.do_get(ticket(&pushed)).await.unwrap();
    server.connections.stop();
    let ended = next(&mut stream)
        .await
        .expect("a status")
        .err()
        .map(tonic_status)
        .expect("an error");
    assert_eq!(
        (ended.code(), ended.message().contains("stopping")),
        (Code::Unavailable, true)
    );
    let refused = client
        .do_get(ticket(&late))
        .await
        .err()
        .map(tonic_status)
        .expect("too late");
    assert_eq!(refused.code(), Code::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_come_in_messages_that_clients_take() {
    let server = Server::start();
    let mut client = server.client().await;
    info(&mut client, "CREATE TABLE t (id INT PRIMARY KEY)").await;
    let values: Vec<String> = (0..100).map(|id| format!("({id})")).collect();
    info(&mut client, &format!("INSERT INTO t VALUES {}", values.join(", "))).await;
    // 10 MB in one batch or few; this client refuses messages of more than 4 MiB.
    let batches = query(
        &mut client,
        "SELECT repeat('x', 1000) AS text FROM t AS a CROSS JOIN t AS b",
    )
    .await;
    assert!(batches.len() > 1);
    let bytes: usize = batches
        .iter()
        .map(|batch| batch.column(0).as_string::<i32>().value_data().len())
        .sum();
    assert_eq!(bytes, 10_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalog_is_told_in_drivers_words() {
    let server = Server::start();
    let mut client = server.client().await;
    info(
        &mut client,
        "CREATE TABLE t (a INT, b TEXT, c BIGINT, PRIMARY KEY (c, a))",
    )
    .await;
    info(
        &mut client,
        "CREATE MATERIALIZED VIEW v AS SELECT b, count(*) AS n FROM t GROUP BY b",
    )
    .await;

    let asked = client.get_catalogs().await.unwrap();
    assert_eq!(
        rows(&mut client, &asked).await[0].column(0).as_string::<i32>().value(0),
        "weir"
    );
    let asked = client.get_db_schemas(Default::default()).await.unwrap();
    let batches = rows(&mut client, &asked).await;
    let names: Vec<_> = batches[0].column(1).as_string::<i32>().iter().flatten().collect();
    assert!(names.contains(&"public") && names.contains(&"weir"), "{names:?}");

    let asked = client
        .get_tables(CommandGetTables {
            db_schema_filter_pattern: Some("public".into()),
            include_schema: true,
            ..Default::default()
        })
        .await
        .unwrap();
    let batches = rows(&mut client, &asked).await;
    let text = |column: usize| {
        batches[0]
            .column(column)
            .as_string::<i32>()
            .iter()
            .flatten()
            .collect::<Vec<_>>()
    };
    assert_eq!(text(2), ["t", "v"]);
    assert_eq!(text(3), ["TABLE", "MATERIALIZED VIEW"]);
    let columns = batches[0].column(4).as_binary::<i32>().value(0);
    let columns = Schema::try_from(IpcMessage(columns.to_vec().into())).unwrap();
    assert_eq!(columns.field(2).data_type(), &DataType::Int64);

    let asked = client
        .get_primary_keys(CommandGetPrimaryKeys {
            table: "t".into(),
            ..Default::default()
        })
        .await
        .unwrap();
    let batches = rows(&mut client, &asked).await;
    let key: Vec<_> = batches[0].column(3).as_string::<i32>().iter().flatten().collect();
    assert_eq!(key, ["c", "a"]);

    let asked = client.get_sql_info(vec![SqlInfo::FlightSqlServerName]).await.unwrap();
    let batches = rows(&mut client, &asked).await;
    assert_eq!(batches[0].num_rows(), 1);
    let value = batches[0].column(1).as_union().value(0);
    assert_eq!(value.as_string::<i32>().value(0), "Weir");
    let asked = client
        .get_xdbc_type_info(CommandGetXdbcTypeInfo {
            data_type: Some(XdbcDataType::XdbcBigint as i32),
        })
        .await
        .unwrap();
    let batches = rows(&mut client, &asked).await;
    assert_eq!(batches[0].column(0).as_string::<i32>().value(0), "BIGINT");
    let asked = client.get_exported_keys(Default::default()).await.unwrap();
    assert_eq!(
        rows(&mut client, &asked)
            .await
            .iter()
            .map(RecordBatch::num_rows)
            .sum::<usize>(),
        0
    );
    assert_eq!(schema(&asked).fields().len(), 13);
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_can_be_asked_for_alone() {
    let server = Server::start();
    let mut client = server.client().await;
    let command = CommandStatementQuery {
        query: "SELECT 1 AS one, 'a' AS letter".into(),
        transaction_id: None,
    };
    let descriptor = FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
    let answer = client.inner_mut().get_schema(descriptor).await.unwrap().into_inner();
    let schema = Schema::try_from(IpcMessage(answer.schema)).unwrap();
    assert_eq!(schema.field(1).name(), "letter");
    assert!(!schema.metadata().contains_key(NOTICES_METADATA));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_needs_no_credentials() {
    let server = Server::start();
    let mut client = server.client().await;
    client.handshake("anyone", "anything").await.unwrap();
    assert_eq!(client.token().map(String::as_str), Some("anonymous"));
    assert_eq!(number(&mut client, "SELECT CAST(7 AS BIGINT)").await, 7);
    // Nothing is waited for.
    let mut results = client.do_action(Action::new(super::WAITING, "")).await.unwrap();
    assert!(results.message().await.unwrap().is_none());
}
