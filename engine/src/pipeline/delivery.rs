//! Delivery: one thread per sink that reads a relation's changelog and hands it outside.
//!
//! At least once: what is delivered is noted after it has arrived, so a crash in between repeats
//! it, together with what has come since. An upsert sink then writes the last state of every key
//! that occurs in it, also of one that came and went: its record may be outside from before the
//! crash. A sink that can't deliver goes on trying; its relation's changelog waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use weir_state::changelog::Follower;
use weir_state::{Epoch, RelationId, WriteBatch};

use super::output::some_epochs;
use super::shared::Shared;
use crate::change::ChangeBatch;
use crate::connector::{self, SinkConnector, SinkSpec};
use crate::relation::StoredRelation;
use crate::{Error, Result};

/// Rows of one delivery, about.
const DELIVERY_ROWS: usize = 100_000;
/// How often progress is written while a backlog is delivered.
const NOTE_EVERY: Duration = Duration::from_millis(200);
/// Longest sleep of a delivery without anything to do.
const NAP: Duration = Duration::from_secs(60);
/// First and longest pause after a failed delivery.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// A sink, ready to run.
#[derive(Clone)]
pub struct SinkRun {
    /// The sink's id.
    pub relation: RelationId,
    /// Whose changes it delivers: a view, or itself where it has a query of its own.
    pub follow: RelationId,
    /// Where to and how.
    pub spec: SinkSpec,
    /// Begin with the present content of the view.
    pub snapshot: bool,
}

/// How a sink stands.
#[derive(Debug, Clone, Default)]
pub struct SinkStatus {
    /// The last epoch delivered.
    pub delivered: Epoch,
    /// Rows delivered since start, those of the snapshot included.
    pub rows: u64,
    /// Why it can't deliver at present.
    pub trouble: Option<String>,
}

/// A running delivery.
pub struct DeliveryHandle {
    shared: Arc<Shared>,
    stop: Arc<AtomicBool>,
    /// How it stands.
    pub status: Arc<Mutex<SinkStatus>>,
    hurry: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl DeliveryHandle {
    /// Starts delivering.
    pub fn spawn(shared: Arc<Shared>, run: SinkRun) -> Result<DeliveryHandle> {
        let stop = Arc::new(AtomicBool::new(false));
        let status = Arc::new(Mutex::new(SinkStatus::default()));
        let hurry = Arc::new(AtomicBool::new(false));
        let work = Work {
            shared: shared.clone(),
            run: run.clone(),
            stop: stop.clone(),
            status: status.clone(),
            hurry: hurry.clone(),
        };
        let thread = std::thread::Builder::new()
            .name(format!("sink-{}", run.spec.name))
            .spawn(move || work.run())
            .map_err(Error::internal)?;
        Ok(DeliveryHandle {
            shared,
            stop,
            status,
            hurry,
            thread: Some(thread),
        })
    }

    /// Has it try again at once if it waits out a failure.
    pub fn hurry(&self) {
        self.hurry.store(true, Ordering::Release);
    }

    /// Ends it after the delivery at hand.
    pub fn stop(mut self) {
        self.stop.store(true, Ordering::Release);
        self.shared.publication.nudge();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The name under which a sink follows its relation.
pub fn follower_name(sink: RelationId) -> String {
    format!("sink {sink}")
}

/// Has a new sink begin behind the present content of what it delivers: whatever changes once this
/// has returned is delivered. Waits for a right epoch of the relation.
pub fn begin_behind(shared: &Shared, run: &SinkRun) -> Result<()> {
    let name = follower_name(run.relation);
    let epoch = match shared.follow_stopped(run.follow, &name) {
        Some(epoch) => epoch,
        None => shared.follow_from_snapshot(run.follow, &name, || false)?.1,
    };
    note(shared, run, epoch)
}

/// Notes how far a sink has delivered.
fn note(shared: &Shared, run: &SinkRun, delivered: Epoch) -> Result<()> {
    let name = follower_name(run.relation);
    let mut batch = WriteBatch::new();
    Follower {
        name: name.clone(),
        relation: run.follow,
        delivered,
    }
    .put(&mut batch);
    shared.store.commit(batch)?;
    shared.publication.advance(run.follow, &name, delivered);
    Ok(())
}

struct Work {
    shared: Arc<Shared>,
    run: SinkRun,
    stop: Arc<AtomicBool>,
    status: Arc<Mutex<SinkStatus>>,
    hurry: Arc<AtomicBool>,
}

impl Work {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire) || self.shared.is_stopping()
    }

    fn run(self) {
        let mut pause = PAUSE.0;
        while !self.stopped() {
            let Err(error) = self.deliver_all(&mut pause) else {
                return;
            };
            let text = error.to_string();
            let old = self.status.lock().trouble.replace(text.clone());
            if old.is_none_or(|old| old != text) {
                tracing::warn!(sink = self.run.spec.name, "{text}; trying again");
            }
            let until = Instant::now() + pause;
            pause = (pause * 2).min(PAUSE.1);
            while Instant::now() < until && !self.stopped() {
                if self.hurry.swap(false, Ordering::AcqRel) {
                    pause = PAUSE.0;
                    break;
                }
                std::thread::sleep(Duration::from_millis(25));
            }
        }
    }

    /// Opens the sink and delivers until stopped, or until an error.
    fn deliver_all(&self, pause: &mut Duration) -> Result<()> {
        let mut sink = connector::sink(&self.run.spec)?;
        let before = self.status.lock().rows;
        let outcome = self.deliver_by(sink.as_mut(), before, pause);
        self.status.lock().rows = before + sink.rows_delivered();
        outcome
    }

    /// Delivers until stopped, or until an error. `before` rows were delivered when the sink was
    /// opened.
    fn deliver_by(&self, sink: &mut dyn SinkConnector, before: u64, pause: &mut Duration) -> Result<()> {
        let relation = self.followed()?;
        let mut delivered = self.begin(sink, &relation)?;
        let is_up_to_date = self.next_upto(delivered, Duration::ZERO).is_none();
        {
            let mut status = self.status.lock();
            status.delivered = delivered;
            status.rows = before + sink.rows_delivered();
            if is_up_to_date {
                // The present content was all that could not be delivered before.
                status.trouble = None;
            }
        }
        let mut noted = Instant::now();
        let mut noted_epoch = delivered;
        while !self.stopped() {
            let nap = if delivered > noted_epoch { NOTE_EVERY } else { NAP };
            let upto = self.next_upto(delivered, nap);
            if let Some(upto) = upto {
                delivered = self.deliver(sink, &relation, delivered, upto)?;
                *pause = PAUSE.0;
                let mut status = self.status.lock();
                status.delivered = delivered;
                status.rows = before + sink.rows_delivered();
                status.trouble = None;
            }
            if delivered > noted_epoch && (upto.is_none() || noted.elapsed() >= NOTE_EVERY) {
                self.note(delivered)?;
                noted = Instant::now();
                noted_epoch = delivered;
            }
        }
        if delivered > noted_epoch {
            self.note(delivered)
        } else {
            Ok(())
        }
    }

    /// The epoch to deliver up to: the followed relation's last right one, waited for as long as
    /// `nap` where that is delivered already.
    fn next_upto(&self, delivered: Epoch, nap: Duration) -> Option<Epoch> {
        let found = self.shared.publication.wait(Instant::now() + nap, |publication| {
            if self.stopped() {
                return Some(None);
            }
            let host = publication.host(self.run.follow)?;
            (host.right > delivered).then_some(Some(host.right))
        });
        found.flatten()
    }

    fn followed(&self) -> Result<StoredRelation> {
        let view = self.shared.view(self.run.follow);
        Ok(view
            .ok_or_else(|| Error::internal("a sink of a relation that is gone"))?
            .stored())
    }

    /// Where delivery goes on: after what is noted; for a new sink, after the present content.
    fn begin(&self, sink: &mut dyn SinkConnector, relation: &StoredRelation) -> Result<Epoch> {
        let name = follower_name(self.run.relation);
        let store = &self.shared.store;
        let noted = Follower::load(store.as_ref())?
            .into_iter()
            .find(|f| f.name == name && f.relation == self.run.follow);
        if let Some(follower) = noted {
            self.shared
                .publication
                .follow(self.run.follow, &name, Some(follower.delivered), None);
            return Ok(follower.delivered);
        }
        if self.run.follow == self.run.relation {
            // Its own query: everything since the first epoch is in the changelog.
            self.shared
                .publication
                .follow(self.run.follow, &name, Some(Epoch::ZERO), None);
            return Ok(Epoch::ZERO);
        }
        let follow = self.run.follow;
        let (snapshot, epoch) = self.shared.follow_from_snapshot(follow, &name, || self.stopped())?;
        // Without it, CREATE noted where to begin, unless it was cut short.
        if self.run.snapshot {
            let mut part = Vec::new();
            for batch in snapshot.scan(relation, &relation.all_columns())? {
                part.push(ChangeBatch::inserts(batch?));
                if part.iter().map(ChangeBatch::num_rows).sum::<usize>() >= DELIVERY_ROWS {
                    sink.deliver(epoch.0, &std::mem::take(&mut part))?;
                }
            }
            sink.deliver(epoch.0, &part)?;
        }
        self.note(epoch)?;
        Ok(epoch)
    }

    /// Delivers epochs after `delivered` until there are enough rows.
    fn deliver(
        &self,
        sink: &mut dyn SinkConnector,
        relation: &StoredRelation,
        delivered: Epoch,
        upto: Epoch,
    ) -> Result<Epoch> {
        let store = self.shared.store.as_ref();
        let (reached, changes) = some_epochs(store, relation, delivered, upto, DELIVERY_ROWS)?;
        if !changes.is_empty() {
            sink.deliver(reached.0, &changes)?;
        }
        Ok(reached)
    }

    fn note(&self, delivered: Epoch) -> Result<()> {
        note(&self.shared, &self.run, delivered)
    }
}
