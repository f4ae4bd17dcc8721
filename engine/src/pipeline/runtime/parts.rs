//! A new view's first epoch, written in parts.
//!
//! What a view begins with may be much more than a commit should hold. So while it is loaded, what has
//! become dirty is written whenever it comes to as much as a commit should be. Nobody sees a part: the view
//! is marked as [unborn], its pipeline has no record, and nothing is published. The first epoch takes the
//! mark away. There is no way to go on from a part, since the snapshot is gone with the process: then what is
//! stored of the view is deleted, and it begins anew.

use std::collections::BTreeSet;

use weir_state::{Epoch, RelationId, changelog, unborn};

use super::{CHECKPOINT_ROWS, Runtime};
use crate::Result;
use crate::pipeline::committer::CommitJob;

impl Runtime {
    /// Writes a part of the first epoch, if there is as much as a commit should hold.
    pub(super) fn write_part_if_due(&mut self) -> Result<()> {
        let is_loading = self.started && self.last_record.is_none() && !self.loading.is_empty();
        let is_full =
            || self.size.reaches(self.shared.options.load_bytes) || self.dataflow.pending_rows() >= CHECKPOINT_ROWS;
        if !self.start.durable || !is_loading || !is_full() {
            return Ok(());
        }
        let mut views: BTreeSet<RelationId> = self.dataflow.views().keys().copied().collect();
        // A sink that is handed epochs as they are committed would be handed what is none.
        if self.shared.sinks.lock().keys().any(|view| views.contains(view)) {
            return Ok(());
        }
        let logged = self
            .shared
            .publication
            .logged(views.iter().copied(), self.logged_from());
        let epoch = self.shared.next_epoch();
        let written = self.dataflow.checkpoint(epoch, &logged, &BTreeSet::new())?;
        let mut batch = written.batch;
        views.retain(|view| !written.failed.contains_key(view));
        self.leave_unwritten(written.failed)?;
        if views.is_empty() {
            return Ok(());
        }
        views.iter().for_each(|view| unborn::mark(&mut batch, *view));
        for (view, bytes) in written.logged {
            if bytes > 0 {
                // Whoever reads it later goes on to the first epoch.
                changelog::mark_mixed(&mut batch, view, epoch);
            }
        }
        self.size.wrote(batch.bytes());
        self.last_part = Some(epoch);
        self.committing = Some(epoch);
        self.shared.commit(CommitJob::unseen(
            self.start.home.clone(),
            batch,
            (self.start.id, epoch),
            self.outcomes.0.clone(),
            self.start.bell.clone(),
        ))
    }

    /// The last commit: a changelog that begins now holds all that comes after it.
    pub(super) fn logged_from(&self) -> Epoch {
        self.last_part.map_or(self.last_epoch, |part| part.max(self.last_epoch))
    }
}
