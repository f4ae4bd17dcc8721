//! Statements on their way: planned, run, and their rows streamed.
//!
//! Commands and updates run once, when a client asks for their flight info: drivers send every
//! statement that way, and not all of them fetch the rows of a statement that has none. Queries run
//! when their rows are fetched, so that nothing runs for a client that never comes back.

use std::sync::Arc;

use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::{FlightData, FlightEndpoint, FlightInfo};
use datafusion::scalar::ScalarValue;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::connection::{Connection, Running, Statement};
use super::handle::{Handle, Place};
use super::metadata::{self, Outcome, internal, status};
use crate::{Answer, Body, Prepared, PreparedKind, RowStream};

/// Bytes of one message of rows, about. Drivers commonly refuse messages of more than 4 MiB.
const MESSAGE_BYTES: usize = 2 << 20;

/// Messages to a client.
pub type FlightStream = BoxStream<'static, Result<FlightData, Status>>;

/// Plans a statement.
pub async fn prepare(connection: &Connection, sql: String) -> Result<Prepared, Status> {
    let session = connection.session.clone();
    let planned = tokio::task::spawn_blocking(move || session.prepare(&sql)).await;
    planned.map_err(internal)?.map_err(status)
}

/// Runs a command or an update, or keeps a query for its rows to be fetched; says how to go on.
/// `rows` are the rows of parameters: an update runs once for each.
pub async fn info(
    connection: &Arc<Connection>,
    prepared: Prepared,
    rows: &[Vec<ScalarValue>],
) -> Result<FlightInfo, Status> {
    let kind = prepared.kind();
    match kind {
        PreparedKind::Command | PreparedKind::Update => {
            let outcome = run(connection, &prepared, rows).await?;
            let records = outcome.rows.unwrap_or(0) as i64;
            let schema = outcome.schema();
            flight_info(&schema, Handle::Outcome(outcome)).map(|info| info.with_total_records(records))
        }
        PreparedKind::Query | PreparedKind::Push => {
            let values = only_row(&prepared, rows)?;
            let schema = prepared.schema().ok_or_else(|| internal("a query without columns"))?;
            let schema = metadata::rows_schema(&schema, kind, None, &[]);
            let place = connection.plan(Statement { prepared, values });
            flight_info(&schema, Handle::Statement(place))
        }
    }
}

fn flight_info(schema: &arrow::datatypes::Schema, handle: Handle) -> Result<FlightInfo, Status> {
    let endpoint = FlightEndpoint::new().with_ticket(handle.ticket());
    Ok(FlightInfo::new()
        .try_with_schema(schema)
        .map_err(internal)?
        .with_endpoint(endpoint))
}

/// Runs a command, or an update with each row of parameters: an INSERT of many as one statement.
pub async fn run(connection: &Connection, prepared: &Prepared, rows: &[Vec<ScalarValue>]) -> Result<Outcome, Status> {
    if rows.len() == 1 || prepared.parameters().is_empty() && rows.is_empty() {
        return run_once(connection, prepared, only_row(prepared, rows)?).await;
    }
    require_bound(prepared, rows)?;
    let together = connection.session.execute_rows(prepared, rows.to_vec()).await;
    if let Some(answer) = together.map_err(status)? {
        return outcome(answer);
    }
    let mut sum = 0;
    let mut notices = Vec::new();
    let mut tag = String::new();
    for (at, row) in rows.iter().enumerate() {
        let outcome = run_once(connection, prepared, row.clone()).await.map_err(|error| {
            let before = match at {
                0 => "nothing was changed".to_string(),
                _ => format!("the {at} before it are done"),
            };
            let message = format!(
                "row {} of {} of parameters: {} ({before})",
                at + 1,
                rows.len(),
                error.message()
            );
            Status::new(error.code(), message)
        })?;
        sum += outcome.rows.unwrap_or(0);
        notices.extend(outcome.notices);
        tag = outcome.tag;
    }
    // `UPDATE 1` of the last row becomes `UPDATE 5` of all.
    let verb = tag.split(' ').next().unwrap_or_default();
    Ok(Outcome {
        tag: format!("{verb} {sum}"),
        rows: Some(sum),
        notices,
    })
}

async fn run_once(connection: &Connection, prepared: &Prepared, values: Vec<ScalarValue>) -> Result<Outcome, Status> {
    let answer = connection.session.execute(prepared, values).await;
    outcome(answer.map_err(status)?)
}

fn outcome(answer: Answer) -> Result<Outcome, Status> {
    let (tag, rows) = match answer.body {
        Body::Done(tag) => (tag, None),
        Body::Changed { rows, tag } => (tag, Some(rows)),
        Body::Rows(_) | Body::Push(..) => return Err(internal("a command answered rows")),
    };
    Ok(Outcome {
        tag,
        rows,
        notices: answer.notices,
    })
}

fn require_bound(prepared: &Prepared, rows: &[Vec<ScalarValue>]) -> Result<(), Status> {
    let wanted = prepared.parameters().len();
    match rows {
        [] if wanted > 0 => Err(Status::invalid_argument(format!(
            "the statement has {wanted} parameters and none are bound: prepare it, and bind a value to each"
        ))),
        _ => Ok(()),
    }
}

/// The one row of parameters that a query takes.
fn only_row(prepared: &Prepared, rows: &[Vec<ScalarValue>]) -> Result<Vec<ScalarValue>, Status> {
    require_bound(prepared, rows)?;
    match rows {
        [] => Ok(Vec::new()),
        [row] => Ok(row.clone()),
        _ => Err(Status::invalid_argument(format!(
            "{} rows of parameters are bound to a query, which takes one",
            rows.len()
        ))),
    }
}

/// Runs a query and streams its rows, until they end, the client goes, or the statement is ended.
pub async fn fetch(connection: &Arc<Connection>, place: Place, statement: Statement) -> Result<FlightStream, Status> {
    let mut running = connection.run(place.number);
    let executed = tokio::select! {
        biased;
        status = running.ended() => return Err(status),
        answer = connection.session.execute(&statement.prepared, statement.values) => answer,
    };
    let answer = executed.map_err(status)?;
    let (rows, kind, push) = match answer.body {
        Body::Rows(rows) => (rows, PreparedKind::Query, None),
        Body::Push(rows, push) => (rows, PreparedKind::Push, Some(push)),
        Body::Done(_) | Body::Changed { .. } => return Err(internal("a query answered no rows")),
    };
    let schema = metadata::rows_schema(&rows.schema, kind, push, &answer.notices);
    Ok(until_ended(encode(rows, schema), running))
}

/// The message of an outcome: a schema without columns.
pub fn outcome_stream(outcome: &Outcome) -> FlightStream {
    encode_batches(outcome.schema(), stream::empty().boxed())
}

fn encode(rows: RowStream, schema: arrow::datatypes::SchemaRef) -> FlightStream {
    let batches = rows.stream.map_err(|error| FlightError::from(status(error)));
    let (last, late) = (schema.clone(), rows.late);
    let said = stream::once(async move { metadata::late_message(&last, late.take()) });
    let said = said.filter_map(async |message| message.transpose());
    encode_batches(schema, batches.boxed()).chain(said).boxed()
}

/// Batches as messages, large ones split.
pub fn encode_batches(
    schema: arrow::datatypes::SchemaRef,
    batches: BoxStream<'static, Result<arrow::array::RecordBatch, FlightError>>,
) -> FlightStream {
    FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .with_max_flight_data_size(MESSAGE_BYTES)
        .build(batches)
        .map_err(Status::from)
        .boxed()
}

/// `messages`, ending early with a status if the statement has to end.
///
/// They are handed on by a task of their own: a client that reads nothing stops its stream, but not
/// the task, so that the query ends at once however full the way to the client is.
fn until_ended(mut messages: FlightStream, mut running: Running) -> FlightStream {
    let (send, receive) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let (place, message) = tokio::select! {
                biased;
                status = running.ended() => {
                    drop((messages, running));
                    _ = send.send(Err(status)).await;
                    return;
                }
                () = send.closed() => return,
                next = next(&send, &mut messages) => match next {
                    Some(next) => next,
                    None => return,
                },
            };
            let last = message.is_err();
            place.send(message);
            if last {
                return;
            }
        }
    });
    ReceiverStream::new(receive).boxed()
}

/// The next message, taken only when there is a place for it.
async fn next<'a>(
    send: &'a mpsc::Sender<Result<FlightData, Status>>,
    messages: &mut FlightStream,
) -> Option<(mpsc::Permit<'a, Result<FlightData, Status>>, Result<FlightData, Status>)> {
    let place = send.reserve().await.ok()?;
    Some((place, messages.next().await?))
}
