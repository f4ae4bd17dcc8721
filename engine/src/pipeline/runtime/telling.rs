//! What a pipeline says of itself.

use std::time::{Duration, Instant};

use weir_state::Epoch;

use super::{Runtime, stored_progress};
use crate::pipeline::publication::PublishedPipeline;
use crate::pipeline::shared::SourceStatus;
use crate::pipeline::source::SourceInput;

impl Runtime {
    pub(super) fn news(&self, epoch: Epoch) -> PublishedPipeline {
        let ended = self.loading.is_empty()
            && self.follows.is_empty()
            && self.tables.is_empty()
            && self.sources.values().all(|source| source.ended() && source.drained());
        let attached = self.start.status.lock().attached;
        PublishedPipeline {
            epoch,
            dml: self.dml,
            views: self.dataflow.views().keys().copied().collect(),
            ended,
            attached,
        }
    }

    pub(super) fn publish_present(&self) {
        self.shared
            .publication
            .publish(self.start.id, self.news(self.last_epoch));
    }

    /// Says how it is, not more often than is of use.
    pub(super) fn tell_status(&mut self, idle: bool) {
        if !idle && self.last_status.elapsed() < Duration::from_millis(200) {
            return;
        }
        self.last_status = Instant::now();
        let mut status = self.start.status.lock();
        status.loading = !self.loading.is_empty() || !self.started;
        status.views = self.dataflow.views().keys().copied().collect();
        status.positions = self
            .sources
            .iter()
            .map(|(id, s)| (*id, s.progress.positions()))
            .collect();
        status.opened = self.sources.values().all(SourceInput::opened);
        status.last_progress_us = self.last_progress_us;
        status.trouble = self.sources.values().find_map(SourceInput::trouble);
        status.watermarks = status
            .views
            .iter()
            .map(|view| (*view, self.dataflow.watermark(*view)))
            .collect();
        status.operators = self.dataflow.node_stats();
        status.sources = self
            .sources
            .iter()
            .map(|(id, s)| {
                (
                    *id,
                    SourceStatus {
                        name: s.spec.name.clone(),
                        splits: s.progress.splits.clone(),
                        committed: self
                            .last_record
                            .as_ref()
                            .map(|record| stored_progress(record, *id).positions())
                            .unwrap_or_default(),
                        ends: s.ends(),
                        rows: s.rows,
                        skipped: s.skipped,
                    },
                )
            })
            .collect();
    }
}
