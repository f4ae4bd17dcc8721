//! Checkpoints: what became dirty, on its way to the committer, and back as an outcome.

use std::collections::{BTreeMap, BTreeSet};

use weir_state::pipelines::{self, PipelineRecord};
use weir_state::{DmlCommit, Epoch, RelationId, WriteBatch, changelog, unborn};

use super::{CHECKPOINT_PAUSE, Runtime};
use crate::pipeline::committer::CommitJob;
use crate::pipeline::errors::PassedRows;
use crate::pipeline::publication::{NO_TABLES, News};
use crate::pipeline::record::{self, follower_name};
use crate::pipeline::source::SourceInput;
use crate::{Error, Result};

impl Runtime {
    pub(super) fn checkpoint_if_due(&mut self, idle: bool) -> Result<()> {
        if self.committing.is_some() {
            return Ok(());
        }
        if !self.may_checkpoint() {
            return self.write_part_if_due();
        }
        if self.may_be_corrected() {
            return Ok(());
        }
        let since = self.last_checkpoint.elapsed();
        let due =
            since >= self.shared.options.checkpoint_interval || (idle && since >= CHECKPOINT_PAUSE) || self.is_full();
        if due { self.checkpoint() } else { Ok(()) }
    }

    /// Something that was read can't be computed, and a view would fail for it; but what is yet to be
    /// read may correct it. So a pipeline that catches up makes no epoch before it has, as long as
    /// that fits into one; nor while it is held for a cut, which ends, or is given up, without one.
    fn may_be_corrected(&mut self) -> bool {
        let is_in = self.sources.values().all(SourceInput::at_end)
            && self.tables_upto() >= self.began_dml
            && !self.follows.values().any(|follow| follow.behind);
        self.catching_up &= !is_in;
        self.catching_up && !self.is_full() && self.dataflow.would_fail()
    }

    /// What the epoch can't have computed is passed over, or its view fails here.
    fn judge(&mut self) -> Result<()> {
        let verdict = self.dataflow.judge();
        for (view, rows) in verdict.passed {
            self.skipped.extend(view, rows);
        }
        match verdict.failed.is_empty() {
            true => Ok(()),
            false => self.detach_failed(verdict.failed),
        }
    }

    /// A new view's first epoch comes when all that was there before it is in.
    pub(super) fn may_checkpoint(&self) -> bool {
        self.dirty && self.started && self.loading.is_empty() && self.unopened.is_empty()
    }

    /// Hands the present epoch to the committer.
    fn checkpoint(&mut self) -> Result<()> {
        self.judge()?;
        if self.dataflow.views().is_empty() {
            // It ends, and writes what there is to be written then.
            return Ok(());
        }
        let epoch = self.shared.next_epoch();
        let views: BTreeSet<RelationId> = self.dataflow.views().keys().copied().collect();
        let logged = self
            .shared
            .publication
            .logged(views.iter().copied(), self.logged_from());
        let volatile = self.shared.sinks.lock();
        let wanted: BTreeSet<RelationId> = volatile.keys().copied().filter(|view| views.contains(view)).collect();
        drop(volatile);
        let written = self.dataflow.checkpoint(epoch, &logged, &wanted)?;
        let (mut batch, changes, logged) = (written.batch, written.changes, written.logged);
        self.leave_unwritten(written.failed)?;
        let views: BTreeSet<RelationId> = self.dataflow.views().keys().copied().collect();
        if views.is_empty() {
            return Ok(());
        }
        let unmet = self.follows.iter().filter(|(_, follow)| follow.to_meet);
        let mixed = self.dataflow.with_dependents(unmet.map(|(view, _)| *view).collect());
        for view in logged
            .iter()
            .filter(|(view, bytes)| mixed.contains(view) && **bytes > 0)
        {
            changelog::mark_mixed(&mut batch, *view.0, epoch);
        }
        self.note_history(epoch, &logged, &mixed, &mut batch)?;
        let right = views.iter().filter(|view| !mixed.contains(view));
        self.right.extend(right.map(|view| (*view, epoch)));
        let record = self.record(epoch);
        let news = News {
            logged,
            ..self.news(epoch)
        };
        if self.start.durable {
            self.write_records(&record, &mut batch);
        }
        if self.last_part.take().is_some() {
            views.iter().for_each(|view| unborn::unmark(&mut batch, *view));
        }
        self.size.wrote(batch.bytes());
        let passed = std::mem::take(&mut self.skipped);
        self.last_record = Some(record);
        self.last_epoch = epoch;
        self.last_checkpoint = std::time::Instant::now();
        self.committing = Some(epoch);
        self.dirty = false;
        self.absorbed.clear();
        self.published = self.told();
        // Who sees the epoch sees what it did.
        self.tell_status();
        self.shared.commit(CommitJob {
            store: self.start.home.clone(),
            batch,
            passed: if self.start.durable {
                passed
            } else {
                PassedRows::default()
            },
            now_us: self.clock_us(),
            pipeline: self.start.id,
            epoch,
            news: Some(news),
            changes,
            done: self.outcomes.0.clone(),
            bell: self.start.bell.clone(),
        })
    }

    /// Views of which a checkpoint can't be written fail, and the epoch comes without them.
    pub(super) fn leave_unwritten(&mut self, mut failed: BTreeMap<RelationId, Option<Error>>) -> Result<()> {
        if failed.is_empty() {
            return Ok(());
        }
        if !self.absorbed.is_empty() {
            // Views that have just come have a last epoch in the record of the pipeline that they came from only.
            let cause = failed.values_mut().find_map(Option::take);
            return Err(cause.unwrap_or_else(|| Error::internal("a view failed without a cause")));
        }
        self.detach_failed(failed)
    }

    /// This pipeline's record, and those of views that it let go.
    fn write_records(&mut self, record: &PipelineRecord, batch: &mut WriteBatch) {
        pipelines::put(batch, record);
        for parked in self.parked.drain(..) {
            pipelines::put(batch, &parked);
        }
        for id in &self.absorbed {
            pipelines::remove(batch, *id);
        }
    }

    fn record(&self, epoch: Epoch) -> PipelineRecord {
        let sources = self.sources.iter().map(|(id, source)| (*id, source.progress.watermark));
        PipelineRecord {
            id: self.start.id,
            views: self.dataflow.views().keys().copied().collect(),
            positions: self
                .sources
                .iter()
                .map(|(id, source)| (id.to_string(), source.progress.stored()))
                .collect(),
            dml: self.tables_upto(),
            epoch,
            changelogs: self.follows.iter().map(|(id, follow)| (*id, follow.taken)).collect(),
            extra: record::extra(
                self.dataflow.watermarks(),
                sources,
                &self.rights(),
                self.dml_read(),
                self.dataflow.last_inputs(),
                self.dataflow.timer_us(),
            ),
        }
    }

    /// The last right epoch of each present view.
    pub(super) fn rights(&self) -> BTreeMap<RelationId, Epoch> {
        let views = self.dataflow.views().keys();
        let right = |view: &RelationId| self.right.get(view).copied().unwrap_or(Epoch::ZERO);
        views.map(|view| (*view, right(view))).collect()
    }

    /// Up to where it has read the DML log.
    pub(super) fn dml_read(&self) -> DmlCommit {
        if self.tables.is_empty() { NO_TABLES } else { self.dml }
    }

    /// The DML commit up to which tables are in its views, directly or through those it follows.
    pub(super) fn tables_upto(&self) -> DmlCommit {
        let followed = self.follows.values().map(|follow| follow.dml).min();
        self.dml_read().min(followed.unwrap_or(NO_TABLES))
    }

    pub(super) fn take_outcomes(&mut self) -> Result<()> {
        while let Ok((epoch, outcome)) = self.outcomes.1.try_recv() {
            self.settle(epoch, outcome)?;
        }
        Ok(())
    }

    fn settle(&mut self, epoch: Epoch, outcome: Result<(), Error>) -> Result<()> {
        outcome?;
        if self.committing == Some(epoch) {
            self.committing = None;
        }
        self.untold = true;
        self.dataflow.committed()?;
        let follower = follower_name(self.start.id);
        if let Some(record) = &self.last_record {
            for (relation, taken) in &record.changelogs {
                self.shared.publication.advance(*relation, &follower, *taken);
            }
            if self.start.durable {
                for (relation, source) in &self.sources {
                    source.committed(record::source_progress(record, *relation).positions());
                }
            }
        }
        Ok(())
    }

    /// Commits all there is and waits until it is durable.
    pub(super) fn commit_and_wait(&mut self) -> Result<()> {
        self.wait_committed()?;
        if self.may_checkpoint() {
            self.checkpoint()?;
            self.wait_committed()?;
        }
        Ok(())
    }

    pub(super) fn wait_committed(&mut self) -> Result<()> {
        while self.committing.is_some() {
            let (epoch, outcome) = self.outcomes.1.recv().map_err(Error::internal)?;
            self.settle(epoch, outcome)?;
        }
        Ok(())
    }

    /// The last view has left: removes the pipeline's record.
    pub(super) fn end_empty(&mut self) -> Result<()> {
        self.wait_committed()?;
        if self.start.durable {
            let mut batch = WriteBatch::new();
            let record = self.record(self.last_epoch);
            self.write_records(&record, &mut batch);
            pipelines::remove(&mut batch, self.start.id);
            self.start.home.commit(batch)?;
            self.shared.publication.unfollow_all(&follower_name(self.start.id));
        }
        self.shared.publication.withdraw(self.start.id);
        Ok(())
    }
}
