//! The committer: one thread per engine that makes epochs durable, in the order in which
//! pipelines hand them over, and then publishes them.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
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

/// Runs until all senders are gone. Every job has an outcome, also one that panics: who waits for it
/// would wait for ever.
pub fn run(jobs: &Receiver<CommitJob>, publication: &Publication, sinks: &VolatileSinks) {
    let mut errors = ErrorLog::default();
    for job in jobs {
        let (epoch, done, bell) = (job.epoch, job.done.clone(), job.bell.clone());
        let work = AssertUnwindSafe(|| make_durable(job, &mut errors, publication, sinks));
        let outcome = catch_unwind(work).unwrap_or_else(|panic| Err(Error::panicked("the committer", &*panic)));
        if outcome.is_err() {
            errors.forget_stored();
        }
        // A pipeline that was stopped meanwhile no longer listens.
        let _ = done.send((epoch, outcome));
        bell.ring();
    }
}

fn make_durable(
    mut job: CommitJob,
    errors: &mut ErrorLog,
    publication: &Publication,
    sinks: &VolatileSinks,
) -> Result<(), Error> {
    let noted = Noted {
        epoch: job.epoch,
        pipeline: job.pipeline,
        now_us: job.now_us,
    };
    errors.write(&*job.store, job.passed, noted, &mut job.batch)?;
    job.store.commit(job.batch)?;
    let mut sinks = sinks.lock();
    for (relation, changes) in &job.changes {
        for (_, sink) in sinks.get_mut(relation).into_iter().flatten() {
            // The epoch is durable, whatever becomes of these.
            let deliver = AssertUnwindSafe(|| sink.deliver(job.epoch.0, changes));
            let delivered = catch_unwind(deliver).unwrap_or_else(|panic| Err(Error::panicked("a sink", &*panic)));
            if let Err(error) = delivered {
                tracing::error!("{error}");
            }
        }
    }
    drop(sinks);
    if let Some(news) = job.news {
        publication.publish(job.pipeline, news);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::unbounded;
    use weir_state::{Guarded, MemoryStore};

    use super::*;

    struct Panics;

    impl SinkConnector for Panics {
        fn deliver(&mut self, _: u64, _: &[ChangeBatch]) -> Result<(), Error> {
            panic!("the sink's")
        }

        fn rows_delivered(&self) -> u64 {
            0
        }
    }

    #[test]
    fn a_job_that_panics_has_an_outcome_and_the_next_ones_are_committed() {
        let panics: Arc<dyn Store> = Arc::new(Guarded::new(Arc::new(MemoryStore::new()), |_: &dyn Store, _| {
            panic!("the store's")
        }));
        let sound: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let view = RelationId(7);
        let sinks = VolatileSinks::default();
        sinks
            .lock()
            .insert(view, vec![(view, Box::new(Panics) as Box<dyn SinkConnector>)]);
        let (send, jobs) = unbounded();
        let (done, outcomes) = unbounded();
        let (bell, _ear) = Bell::new();
        for (number, store) in [(1, &panics), (2, &sound)] {
            let epoch = (PipelineId(1), Epoch(number));
            let mut job = CommitJob::unseen(store.clone(), WriteBatch::new(), epoch, done.clone(), bell.clone());
            job.changes.insert(view, Vec::new());
            send.send(job).unwrap();
        }
        drop(send);
        run(&jobs, &Publication::new(0), &sinks);
        let (epoch, outcome) = outcomes.try_recv().unwrap();
        assert_eq!(epoch, Epoch(1));
        let why = outcome.unwrap_err().to_string();
        assert!(why.contains("the committer panicked: the store's"), "{why}");
        // What a volatile sink does is no matter of the epoch.
        let (epoch, outcome) = outcomes.try_recv().unwrap();
        assert_eq!((epoch, outcome.is_ok()), (Epoch(2), true));
    }
}
