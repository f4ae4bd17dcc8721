//! The committer: one thread per engine that makes epochs durable, in the order in which
//! pipelines hand them over, and then publishes them.

use std::collections::HashMap;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;
use weir_state::{Epoch, PipelineId, RelationId, Store, WriteBatch};

use super::errors::{ErrorLog, Noted, PassedRows};
use super::publication::{News, Publication};
use super::reader::Bell;
use crate::Error;
use crate::change::ChangeBatch;
use crate::connector::SinkConnector;

/// Sinks that keep nothing outside: they get their changes from memory, right after the commit.
pub type VolatileSinks = Arc<Mutex<HashMap<RelationId, Vec<(RelationId, Box<dyn SinkConnector>)>>>>;

/// One epoch to be made durable.
pub struct CommitJob {
    /// Where to.
    pub store: Arc<dyn Store>,
    /// Everything that the epoch changes, but for what it passed over.
    pub batch: WriteBatch,
    /// Records and rows that it passed over.
    pub passed: PassedRows,
    /// What the clock says.
    pub now_us: i64,
    /// Whose epoch it is.
    pub pipeline: PipelineId,
    /// Its number.
    pub epoch: Epoch,
    /// What is published once it is durable; `None` for what nobody may see.
    pub news: Option<News>,
    /// Changes for volatile sinks, by the relation that they follow.
    pub changes: HashMap<RelationId, Vec<ChangeBatch>>,
    /// Where the outcome goes.
    pub done: Sender<(Epoch, Result<(), Error>)>,
    /// Rung after that.
    pub bell: Bell,
}

impl CommitJob {
    /// A batch that is no epoch, and of which nobody is told but who asked.
    pub fn unseen(
        store: Arc<dyn Store>,
        batch: WriteBatch,
        (pipeline, epoch): (PipelineId, Epoch),
        done: Sender<(Epoch, Result<(), Error>)>,
        bell: Bell,
    ) -> CommitJob {
        CommitJob {
            store,
            batch,
            passed: PassedRows::default(),
            now_us: 0,
            pipeline,
            epoch,
            news: None,
            changes: HashMap::new(),
            done,
            bell,
        }
    }
}

/// Runs until all senders are gone.
pub fn run(jobs: &Receiver<CommitJob>, publication: &Publication, sinks: &VolatileSinks) {
    let mut errors = ErrorLog::default();
    for mut job in jobs {
        let epoch = job.epoch;
        let noted = Noted {
            epoch,
            pipeline: job.pipeline,
            now_us: job.now_us,
        };
        let outcome = errors
            .write(&*job.store, job.passed, noted, &mut job.batch)
            .and_then(|()| job.store.commit(job.batch).map_err(Error::from));
        if outcome.is_err() {
            errors.forget_stored();
        } else {
            let mut sinks = sinks.lock();
            for (relation, changes) in &job.changes {
                for (_, sink) in sinks.get_mut(relation).into_iter().flatten() {
                    if let Err(error) = sink.deliver(epoch.0, changes) {
                        tracing::error!("{error}");
                    }
                }
            }
            drop(sinks);
            if let Some(news) = job.news {
                publication.publish(job.pipeline, news);
            }
        }
        // A pipeline that was stopped meanwhile no longer listens.
        let _ = job.done.send((epoch, outcome));
        job.bell.ring();
    }
}
