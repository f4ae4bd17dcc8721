//! Pushes: rows as they change, until the client goes.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, UInt32Array, new_null_array};
use arrow::datatypes::SchemaRef;
use futures::StreamExt;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use weir_engine::change::{self, ChangeBatch};
use weir_engine::pipeline::{Batches, Delivery, Engine, Subscription};
use weir_engine::relation::{Storage, ViewOptions, ViewSpec};
use weir_state::Epoch;

use crate::answer::{Answer, Body, LateNotices, PushKind, RowStream};
use crate::error::ErrorKind;
use crate::plan::{Push, PushInput};
use crate::session::Context;
use crate::{Error, Result, stack};

/// How long it waits for changes before it looks whether anybody is still there.
const POLL: Duration = Duration::from_millis(100);
/// Batches that may wait for a slow client.
const WAITING_BATCHES: usize = 4;

/// Starts a push.
pub async fn run(context: Context, push: Push) -> Result<Answer> {
    let (opened, open) = oneshot::channel();
    let (send, receive) = mpsc::channel(WAITING_BATCHES);
    let (schema, kind) = (push.schema.clone(), push.kind);
    stack::spawn(move || {
        let mut follower = match stack::guarded(|| Follower::open(context, push, send.clone())) {
            Ok(follower) => follower,
            Err(error) => {
                let _ = opened.send(Err(error));
                return;
            }
        };
        if opened.send(Ok(())).is_ok()
            && let Err(error) = stack::guarded(|| follower.follow())
        {
            let _ = send.blocking_send(Err(error));
        }
    })?;
    open.await
        .unwrap_or_else(|_| Err(Error::internal("a push ended before it began")))?;
    let stream = ReceiverStream::new(receive).boxed();
    Ok(Answer {
        notices: Vec::new(),
        body: Body::Push(
            RowStream {
                schema,
                stream,
                late: LateNotices::default(),
            },
            kind,
        ),
    })
}

/// Follows changes and sends them as rows.
struct Follower {
    context: Context,
    push: Push,
    subscription: Subscription,
    send: mpsc::Sender<Result<RecordBatch>>,
    /// Rows that may still be sent.
    left: u64,
    /// The catalog's version under which everything that is read was there.
    version: u64,
    /// Rows of the snapshot were sent.
    began: bool,
}

impl Follower {
    fn open(context: Context, push: Push, send: mpsc::Sender<Result<RecordBatch>>) -> Result<Follower> {
        let engine = context.instance.engine();
        let subscription = match &push.from {
            PushInput::View {
                relation,
                after,
                snapshot,
            } => engine.subscribe(*relation, *after, *snapshot)?,
            PushInput::Query(graph) => engine.push_query(ViewSpec {
                relation: Engine::next_query(),
                name: "a push query".to_string(),
                graph: graph.clone(),
                storage: Storage::Changes,
                options: ViewOptions::default(),
            })?,
        };
        Ok(Follower {
            version: context.instance.known().version,
            left: push.limit.unwrap_or(u64::MAX),
            context,
            push,
            subscription,
            send,
            began: false,
        })
    }

    /// Sends until the client is gone, the limit is reached, or nothing more can come.
    fn follow(&mut self) -> Result<()> {
        if matches!(
            self.push.from,
            PushInput::View {
                after: None,
                snapshot: false,
                ..
            }
        ) {
            // Where it begins, the client can't know otherwise.
            self.tell_progress(self.subscription.delivered())?;
        }
        while self.left > 0 && !self.send.is_closed() {
            self.check_relations()?;
            match self.subscription.next(POLL)? {
                None => {}
                Some(Delivery::Ended) => return Ok(()),
                // The end of the snapshot: a client learns its epoch even without rows.
                Some(Delivery::Snapshot { epoch, changes }) if changes.is_empty() && !self.began => {
                    self.tell_progress(epoch)?;
                }
                Some(Delivery::Snapshot { epoch, changes }) => {
                    self.began = true;
                    self.tell(epoch, &changes)?;
                }
                Some(Delivery::Changes { epoch, changes }) => {
                    let changes = change::consolidate(&changes)?;
                    if changes.is_empty() {
                        self.tell_progress(epoch)?;
                    } else {
                        self.tell(epoch, &[changes])?;
                    }
                }
                Some(Delivery::Progress { epoch }) => self.tell_progress(epoch)?,
            }
        }
        Ok(())
    }

    /// Ends the push when something that it reads was dropped.
    fn check_relations(&mut self) -> Result<()> {
        let known = self.context.instance.known();
        if known.version == self.version {
            return Ok(());
        }
        self.version = known.version;
        if self.push.reads.iter().all(|id| known.catalog.by_id(*id).is_some()) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::NotFound,
            "a relation that this reads was dropped, so nothing more will come",
        ))
    }

    fn tell(&mut self, epoch: Epoch, changes: &[ChangeBatch]) -> Result<()> {
        for changes in changes {
            for rows in rows(changes, epoch, self.push.kind, &self.push.schema)? {
                let rows = rows?;
                let count = rows.num_rows().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= count as u64;
                let gone = count > 0 && self.send.blocking_send(Ok(rows.slice(0, count))).is_err();
                if gone || self.left == 0 {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// A row of NULLs with the epoch.
    fn tell_progress(&mut self, epoch: Epoch) -> Result<()> {
        if !self.push.progress {
            return Ok(());
        }
        let fields = self.push.schema.fields();
        let mut columns: Vec<ArrayRef> = fields[..fields.len() - 2]
            .iter()
            .map(|field| new_null_array(field.data_type(), 1))
            .collect();
        columns.push(Arc::new(Int64Array::from(vec![epoch.0 as i64])));
        columns.push(Arc::new(Int64Array::from(vec![0])));
        let row = RecordBatch::try_new(self.push.schema.clone(), columns).map_err(Error::internal)?;
        let _ = self.send.blocking_send(Ok(row));
        Ok(())
    }
}

/// Changes as rows with the columns of their kind behind them, in parts.
fn rows(changes: &ChangeBatch, epoch: Epoch, kind: PushKind, schema: &SchemaRef) -> Result<Batches> {
    let schema = schema.clone();
    if kind == PushKind::Append {
        // No column says how often a row is added, so it comes as often.
        let parts = change::repeated(changes.clone());
        return Ok(Box::new(parts.map(move |rows| Ok(rows?.with_schema(schema.clone())?))));
    }
    // What is taken away comes before what is added: an update reads as such.
    let changes = changes.take(&removals_first(changes))?;
    let parts = (0..changes.num_rows()).step_by(change::BATCH_ROWS);
    Ok(Box::new(parts.map(move |from| {
        let part = changes.slice(from, change::BATCH_ROWS.min(changes.num_rows() - from));
        let mut columns = part.rows().columns().to_vec();
        if kind == PushKind::Subscription {
            columns.push(Arc::new(Int64Array::from_value(epoch.0 as i64, part.num_rows())));
        }
        columns.push(Arc::new(part.weights_array()));
        Ok(RecordBatch::try_new(schema.clone(), columns)?)
    })))
}

fn removals_first(changes: &ChangeBatch) -> UInt32Array {
    let (added, removed): (Vec<u32>, Vec<u32>) =
        (0..changes.num_rows() as u32).partition(|row| changes.weight(*row as usize) > 0);
    removed.into_iter().chain(added).collect::<Vec<u32>>().into()
}
