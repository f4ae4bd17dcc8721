//! SELECT: the present, committed answer.
//!
//! A query is read from one snapshot of the store, after the views that it reads have taken in the
//! session's own writes. It runs on a thread of its own and stops when its rows' stream is dropped.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use weir_engine::relation::RelationId;
use weir_sql::read::ReadPlan;
use weir_sql::statement::RelationKind;

use crate::answer::{Answer, LateNotices, RowStream};
use crate::error::ErrorKind;
use crate::session::Context;
use crate::{Error, Result, stack, transaction};

mod catch_up;
mod rows;
mod wait;

pub use rows::SnapshotRows;
pub use wait::{Moment, until_ready};

/// Batches that may wait for a slow client.
const WAITING_BATCHES: usize = 2;

/// Runs a query.
pub async fn run(context: Context, plan: ReadPlan, sql: Arc<str>) -> Result<Answer> {
    let handle = Handle::current();
    let (opened, open) = oneshot::channel();
    let (send, receive) = mpsc::channel(WAITING_BATCHES);
    let schema = plan.schema();
    let late = LateNotices::default();
    let said = late.clone();
    stack::spawn(move || {
        let started = stack::guarded(|| {
            let notices = wait::until_ready(&context, &plan.reads(), &|| opened.is_closed())?;
            let reads = plan.reads();
            let rows = match transaction::snapshot(&context, &reads)? {
                Some(snapshot) => SnapshotRows::present(&context, snapshot),
                None => SnapshotRows::consistent(&context, &reads)?,
            };
            // Weak, for the rows end when the last sender goes.
            let taken = send.downgrade();
            let rows = rows.unless(move || taken.upgrade().is_none_or(|taken| taken.is_closed()));
            let rows = Arc::new(rows);
            let stream = handle
                .block_on(plan.execute(rows.clone()))
                .map_err(|error| Error::new(ErrorKind::Data, error.render(&sql)))?;
            Ok((notices, rows, stream))
        });
        let (rows, stream) = match started {
            Ok((notices, rows, stream)) => {
                if opened.send(Ok(notices)).is_err() {
                    return;
                }
                (rows, stream)
            }
            Err(error) => {
                let _ = opened.send(Err(error));
                return;
            }
        };
        let outcome = stack::guarded(|| handle.block_on(forward(stream, (&plan, &sql), &send)));
        // Before `send` goes: who has all rows finds what is said of them.
        said.add(rows.notices());
        if let Err(error) = outcome {
            let _ = send.blocking_send(Err(error));
        }
    })?;
    let notices = open
        .await
        .unwrap_or_else(|_| Err(Error::internal("a query ended before it began")))?;
    let stream = ReceiverStream::new(receive).boxed();
    Ok(Answer::rows(RowStream { schema, stream, late }).with_notices(notices))
}

/// Sends batches, all with the columns of `schema`, until there are no more or nobody takes them.
async fn forward(
    mut stream: SendableRecordBatchStream,
    (plan, sql): (&ReadPlan, &str),
    send: &mpsc::Sender<Result<RecordBatch>>,
) -> Result<()> {
    let schema = plan.schema();
    loop {
        let batch = tokio::select! {
            batch = stream.next() => batch,
            () = send.closed() => return Ok(()),
        };
        let Some(batch) = batch else { return Ok(()) };
        let batch = batch.map_err(|error| Error::new(ErrorKind::Data, plan.error(error).render(sql)))?;
        // What is found of a column may be less than what was promised: that it is never NULL.
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(schema.clone(), batch.columns().to_vec(), &options)
            .map_err(Error::internal)?;
        if send.send(Ok(batch)).await.is_err() {
            return Ok(());
        }
    }
}

/// FLUSH: waits until every running view has taken in the session's writes, and sinks have delivered
/// it.
pub async fn flush(context: Context) -> Result<Answer> {
    let (answered, answer) = oneshot::channel();
    stack::spawn(move || {
        let known = context.instance.known();
        let ids = |kind| known.catalog.list(kind).map(|relation| relation.id).collect();
        let (views, sinks): (Vec<RelationId>, Vec<RelationId>) =
            (ids(RelationKind::MaterializedView), ids(RelationKind::Sink));
        let outcome = stack::guarded(|| wait::flush(&context, &views, &sinks, &|| answered.is_closed()));
        let _ = answered.send(outcome);
    })?;
    let notices = answer
        .await
        .unwrap_or_else(|_| Err(Error::internal("FLUSH ended without an answer")))?;
    Ok(Answer::done("FLUSH").with_notices(notices))
}

/// How long a wait sleeps before it looks whether anybody still wants the answer.
const LOOK: Duration = Duration::from_millis(50);
