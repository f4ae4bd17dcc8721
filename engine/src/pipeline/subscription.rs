//! Subscriptions: a view's present rows, then its changes, epoch by epoch.
//!
//! A subscription follows the view's changelog at the client's own pace; a slow client holds nobody up, and one for
//! which too much waits is told so and has to begin anew. For a push query the view is a pipeline of its own that lives
//! as long as the subscription.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use weir_state::{Epoch, PipelineId, RelationId, Store, WriteBatch, changelog};

use super::output::read_changes;
use super::resumable::Given;
use super::runtime::Command;
use super::shared::Shared;
use super::snapshot::Batches;
use super::standing::Standing;
use crate::change::ChangeBatch;
use crate::relation::StoredRelation;
use crate::{Error, Result};

/// How long a running pipeline may take to begin a changelog.
const BEGIN: Duration = Duration::from_secs(10);

static NUMBER: AtomicU64 = AtomicU64::new(1);

/// What a subscription gives.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// Rows of the snapshot, which is as of `epoch`. Several may come; then changes after it.
    Snapshot { epoch: Epoch, changes: Vec<ChangeBatch> },
    /// All changes up to `epoch` that had not been given.
    Changes { epoch: Epoch, changes: Vec<ChangeBatch> },
    /// Nothing changed up to `epoch`.
    Progress { epoch: Epoch },
    /// Every input has ended: nothing more will come.
    Ended,
}

/// An open subscription. Dropping it ends it.
pub struct Subscription {
    shared: Arc<Shared>,
    store: Arc<dyn Store>,
    relation: StoredRelation,
    follower: String,
    delivered: Epoch,
    snapshot: Option<(Epoch, Batches)>,
    /// The pipeline of a push query.
    query: Option<PipelineId>,
    trimmed: Epoch,
    given: Given,
}

impl Subscription {
    /// Follows a view: with its present rows first, from now on, or after an epoch that the client
    /// has.
    pub(super) fn open(
        shared: Arc<Shared>,
        relation: StoredRelation,
        after: Option<Epoch>,
        snapshot: bool,
    ) -> Result<Subscription> {
        let id = relation.relation;
        let follower = format!("subscription {}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let (delivered, rows) = match after {
            Some(after) => {
                resume(&shared, id, &follower, after)?;
                (after, None)
            }
            None => {
                let (present, epoch) = shared.follow_from_snapshot(id, &follower, || false)?;
                let rows = snapshot.then(|| present.scan(&relation, &relation.all_columns()));
                (epoch, rows.transpose()?)
            }
        };
        shared.publication.has_read(id, &follower, delivered);
        let mut given = Given::default();
        given.note(delivered, Instant::now());
        Ok(Subscription {
            store: shared.store.clone(),
            shared,
            relation,
            follower,
            delivered,
            snapshot: rows.map(|rows| (delivered, rows)),
            query: None,
            trimmed: Epoch::ZERO,
            given,
        })
    }

    /// Follows a push query whose pipeline keeps its changelog in `store`.
    pub(super) fn of_query(
        shared: Arc<Shared>,
        relation: StoredRelation,
        store: Arc<dyn Store>,
        follower: String,
        pipeline: PipelineId,
    ) -> Subscription {
        let query = Some(pipeline);
        Subscription {
            shared,
            store,
            relation,
            follower,
            delivered: Epoch::ZERO,
            snapshot: None,
            query,
            trimmed: Epoch::ZERO,
            given: Given::default(),
        }
    }

    /// Columns of the rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.relation.schema
    }

    /// The epoch up to which everything was given.
    pub fn delivered(&self) -> Epoch {
        self.delivered
    }

    /// Waits up to `timeout` for what comes next; `None` if nothing did.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Delivery>> {
        if let Some((epoch, rows)) = &mut self.snapshot {
            let epoch = *epoch;
            if let Some(batch) = rows.next() {
                return Ok(Some(Delivery::Snapshot {
                    epoch,
                    changes: vec![ChangeBatch::inserts(batch?)],
                }));
            }
            self.snapshot = None;
            return Ok(Some(Delivery::Snapshot {
                epoch,
                changes: Vec::new(),
            }));
        }
        self.advance();
        let view = self.relation.relation;
        let delivered = self.delivered;
        let deadline = Instant::now() + timeout;
        let news = self.shared.publication.wait(deadline, |publication| {
            if let Some(error) = self.failure() {
                return Some(Err(error));
            }
            let host = publication.host(view)?;
            let is_all = host.ended && host.right == host.epoch;
            (host.right > delivered || is_all).then_some(Ok(host.right))
        });
        let Some(news) = news else { return Ok(None) };
        let last = news?;
        if last <= delivered {
            return Ok(Some(Delivery::Ended));
        }
        let epoch = self.shared.publication.read_upto(view, delivered, last);
        let changes = read_changes(self.store.as_ref(), &self.relation, delivered, epoch)?;
        self.delivered = epoch;
        self.shared.publication.has_read(view, &self.follower, epoch);
        self.given.note(epoch, Instant::now());
        self.advance();
        self.trim()?;
        Ok(Some(if changes.is_empty() {
            Delivery::Progress { epoch }
        } else {
            Delivery::Changes { epoch, changes }
        }))
    }

    /// Lets go of what nobody comes back to: nobody can at all to a push query.
    fn advance(&mut self) {
        let done = match self.query {
            Some(_) => Some(self.delivered),
            None => self.given.outlived(Instant::now()),
        };
        if let Some(epoch) = done {
            self.shared
                .publication
                .advance(self.relation.relation, &self.follower, epoch);
        }
    }

    /// The error that ended a push query, a dropped view, or that the client was too slow.
    fn failure(&self) -> Option<Error> {
        if let Some(limit) = self.shared.publication.outran(&self.follower) {
            let again = match self.query {
                Some(_) => "run the query again",
                None => "subscribe anew without AS OF",
            };
            return Some(Error::Data(format!(
                "the client reads too slowly: more changes waited for it than {limit} bytes (changelog_limit), so it \
                 gets no more of them; {again}, and read faster or ask for less"
            )));
        }
        if self.shared.is_stopping() {
            return Some(Error::State("the engine is stopping".to_string()));
        }
        let relations = self.shared.relations.read();
        match relations.views.get(&self.relation.relation) {
            None => Some(Error::Data("the view was dropped".to_string())),
            Some(entry) if self.query.is_some() => match &entry.standing {
                Standing::Failed { cause, .. } => Some(Error::Data(cause.clone())),
                _ => None,
            },
            Some(_) => None,
        }
    }

    /// A push query's changelog is read by nobody else.
    fn trim(&mut self) -> Result<()> {
        if self.query.is_some() && self.delivered.0 > self.trimmed.0 {
            let mut batch = WriteBatch::new();
            changelog::trim(&mut batch, self.relation.relation, self.delivered);
            self.store.commit(batch)?;
            self.trimmed = self.delivered;
        }
        Ok(())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let view = self.relation.relation;
        let follower = std::mem::take(&mut self.follower);
        if let Some(pipeline) = self.query {
            self.shared.publication.unfollow(view, &follower);
            if let Some(handle) = self.shared.pipeline(pipeline) {
                let (done, _) = crossbeam_channel::bounded(1);
                handle.send(Command::Stop(done));
            }
            self.shared.relations.write().views.remove(&view);
        } else {
            self.shared.away.add(view, follower);
        }
    }
}

/// A client may go on after an epoch if the changelog is whole from there, and if that epoch has
/// been.
fn resume(shared: &Shared, view: RelationId, follower: &str, after: Epoch) -> Result<()> {
    let host = shared.publication.host(view).ok_or_else(|| Error::Connector {
        place: format!("view {view}"),
        cause: "it is not running; see SHOW PIPELINES".to_string(),
    })?;
    if after > host.epoch {
        return Err(Error::Data(format!(
            "epoch {after} lies beyond the last one committed here ({}): this may be an older copy of the data \
             directory; subscribe anew without AS OF",
            host.epoch
        )));
    }
    if shared.publication.resume(view, follower, after) {
        return Ok(());
    }
    // Nobody follows it, so the changelog begins now. That is early enough for who has the last epoch.
    shared.publication.follow(view, follower, None, None);
    shared.ring_all();
    let begun = shared
        .publication
        .wait(Instant::now() + BEGIN, |publication| publication.logged_after(view));
    if begun.is_some_and(|begun| begun <= after) {
        shared.publication.advance(view, follower, after);
        return Ok(());
    }
    shared.publication.unfollow(view, follower);
    Err(Error::Data(format!(
        "the changes after epoch {after} are no longer kept; subscribe anew without AS OF to begin with the present rows"
    )))
}
