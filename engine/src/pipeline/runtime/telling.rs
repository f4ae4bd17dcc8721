//! What a pipeline says of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_state::{DmlCommit, Epoch, RelationId};

use super::Runtime;
use crate::connector;
use crate::pipeline::publication::{News, ViewNews};
use crate::pipeline::shared::SourceStatus;
use crate::pipeline::source::SourceInput;

/// How often news are told when there is nothing else to do, and under load.
pub(super) const OFTEN: Duration = Duration::from_millis(20);
const SELDOM: Duration = Duration::from_millis(200);

/// What others are to know though no row has moved.
#[derive(Default, PartialEq)]
pub(super) struct Told {
    /// The DML commit up to which tables are in.
    dml: DmlCommit,
    /// Views that have ended.
    ended: BTreeSet<RelationId>,
    /// Views whose event time nothing moves at present.
    idle: BTreeSet<RelationId>,
    /// Views of which all is in at present.
    at_end: BTreeSet<RelationId>,
}

impl Runtime {
    pub(super) fn told(&self) -> Told {
        let views = self.dataflow.views().keys().copied();
        Told {
            dml: self.tables_upto(),
            ended: self.ended(),
            idle: views.filter(|view| self.dataflow.is_idle(*view)).collect(),
            at_end: self.dataflow.at_end(),
        }
    }

    pub(super) fn news(&self, epoch: Epoch) -> News {
        let (ended, at_end) = (self.ended(), self.dataflow.at_end());
        let view_news = |(view, right)| {
            let news = ViewNews {
                right,
                watermark: self.dataflow.watermark(view),
                idle: self.dataflow.is_idle(view),
                at_end: at_end.contains(&view),
                ended: ended.contains(&view),
            };
            (view, news)
        };
        News {
            logged: BTreeMap::new(),
            epoch,
            dml: self.tables_upto(),
            dml_read: self.dml_read(),
            views: self.rights().into_iter().map(view_news).collect(),
            absorbed: self.absorbed.clone(),
            positions: Arc::new(
                self.sources
                    .iter()
                    .map(|(id, s)| (*id, s.progress.positions()))
                    .collect(),
            ),
        }
    }

    /// The views that nothing more will change: every input was bounded, has ended, and is in, and no
    /// row waits for its time.
    pub(super) fn ended(&self) -> BTreeSet<RelationId> {
        if !self.started || !self.loading.is_empty() || !self.unopened.is_empty() {
            return BTreeSet::new();
        }
        let sources = self.sources.iter();
        let sources = sources.filter(|(_, source)| !source.ended() || !source.drained());
        let follows = self.follows.iter().filter(|(_, follow)| !follow.ended);
        let mut open: BTreeSet<RelationId> = sources.map(|(id, _)| *id).collect();
        open.extend(follows.map(|(id, _)| *id));
        open.extend(self.tables.keys());
        open.extend(self.dataflow.awaiting_time());
        let open = self.dataflow.with_dependents(open);
        let views = self.dataflow.views().keys().copied();
        views.filter(|view| !open.contains(view)).collect()
    }

    pub(super) fn publish_present(&mut self) {
        let news = self.news(self.last_epoch);
        self.published = self.told();
        self.shared.publication.publish(self.start.id, news);
    }

    /// Says what is new, not more often than is of use.
    pub(super) fn tell(&mut self, idle: bool) {
        let settled = !self.dirty && self.committing.is_none() && self.last_epoch > Epoch::ZERO;
        if settled && self.published != self.told() {
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
        let loading = !self.loading.is_empty() || !self.unopened.is_empty() || !self.waiting().is_empty();
        status.loading = loading || !self.started;
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
        status.waits_for = status
            .views
            .iter()
            .map(|view| (*view, self.dataflow.waits_for(*view)))
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
