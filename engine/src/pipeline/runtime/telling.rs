//! What a pipeline says of itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_state::Epoch;

use super::Runtime;
use crate::connector;
use crate::pipeline::publication::{News, ViewNews};
use crate::pipeline::shared::SourceStatus;
use crate::pipeline::source::SourceInput;

/// How often news are told when there is nothing else to do, and under load.
pub(super) const OFTEN: Duration = Duration::from_millis(20);
const SELDOM: Duration = Duration::from_millis(200);

impl Runtime {
    pub(super) fn news(&self, epoch: Epoch) -> News {
        let view_news = |(view, right)| {
            let watermark = self.dataflow.watermark(view);
            (view, ViewNews { right, watermark })
        };
        News {
            logged: BTreeMap::new(),
            epoch,
            dml: self.tables_upto(),
            dml_read: self.dml_read(),
            views: self.rights().into_iter().map(view_news).collect(),
            ended: self.has_ended(),
            absorbed: self.absorbed.clone(),
            positions: Arc::new(
                self.sources
                    .iter()
                    .map(|(id, s)| (*id, s.progress.positions()))
                    .collect(),
            ),
        }
    }

    /// Every input was bounded, has ended, and is in.
    fn has_ended(&self) -> bool {
        self.started
            && self.loading.is_empty()
            && self.unopened.is_empty()
            && self.tables.is_empty()
            && self.follows.values().all(|follow| follow.ended)
            && self.sources.values().all(|source| source.ended() && source.drained())
    }

    pub(super) fn publish_present(&mut self) {
        let news = self.news(self.last_epoch);
        self.published = (news.dml, news.ended);
        self.shared.publication.publish(self.start.id, news);
    }

    /// Says what is new, not more often than is of use.
    pub(super) fn tell(&mut self, idle: bool) {
        let settled = !self.dirty && self.committing.is_none() && self.last_epoch > Epoch::ZERO;
        if settled && self.published != (self.tables_upto(), self.has_ended()) {
            // No row has moved, so there is no epoch that would tell it.
            self.publish_present();
        }
        self.untold |= self.start.status.lock().trouble != self.trouble();
        if !self.untold || self.last_status.elapsed() < if idle { OFTEN } else { SELDOM } {
            return;
        }
        self.untold = false;
        self.last_status = Instant::now();
        self.tell_status();
        if self.start.durable && !self.shared.publication.is_attached(self.start.id) {
            self.shared.supervisor.ring();
        }
    }

    fn trouble(&self) -> Option<String> {
        self.sources.values().find_map(SourceInput::trouble)
    }

    pub(super) fn tell_status(&self) {
        let sources = self
            .sources
            .iter()
            .map(|(id, source)| (*id, self.source_status(source)));
        let mut status = self.start.status.lock();
        status.loading = !self.loading.is_empty() || !self.unopened.is_empty() || !self.started;
        status.views = self.dataflow.views().keys().copied().collect();
        status.positions = self
            .sources
            .iter()
            .map(|(id, s)| (*id, s.progress.positions()))
            .collect();
        status.last_progress_us = self.last_progress_us;
        status.trouble = self.trouble();
        status.watermarks = status
            .views
            .iter()
            .map(|view| (*view, self.dataflow.watermark(*view)))
            .collect();
        status.operators = self.dataflow.node_stats();
        status.sources = sources.collect();
    }

    fn source_status(&self, source: &SourceInput) -> SourceStatus {
        SourceStatus {
            name: source.spec.name.clone(),
            splits: source.progress.splits.clone(),
            ends: source.ends(),
            unit: connector::position_unit(&source.spec.connector),
            trouble: source.trouble(),
        }
    }
}
