//! Views that leave a pipeline, and views that come from another.

use std::collections::{BTreeMap, BTreeSet};

use weir_state::pipelines::PipelineRecord;
use weir_state::{Epoch, RelationId};

use super::{HandedOver, Held, Runtime, follower_name};
use crate::pipeline::source::SourceInput;
use crate::{Error, Result};

impl Runtime {
    /// Takes failed views, and those that rest on them, out. What they hold in memory is dropped;
    /// their state and positions as of the last checkpoint go into a record of their own.
    pub(super) fn detach_failed(&mut self, mut causes: BTreeMap<RelationId, Option<Error>>) -> Result<()> {
        for view in self.dataflow.with_dependents(causes.keys().copied().collect()) {
            causes.entry(view).or_insert(None);
        }
        let views: BTreeSet<RelationId> = causes.keys().copied().collect();
        let parked = self.detach(&views, true)?;
        self.shared.tell_failed(causes, parked, self.failure_position());
        Ok(())
    }

    /// Where this pipeline stands, as text: the same failure at the same place is no new failure.
    pub(super) fn failure_position(&self) -> String {
        let positions = self.last_record.as_ref().map(|record| &record.positions);
        serde_json::to_string(&positions).unwrap_or_default()
    }

    /// Takes views out. Returns the record under which they were parked.
    pub(super) fn detach(&mut self, views: &BTreeSet<RelationId>, keep: bool) -> Result<Option<PipelineRecord>> {
        for view in views {
            drop(self.dataflow.take(*view));
        }
        let outside = self.outside_relations();
        let unfollowed: Vec<RelationId> = self.follows.keys().copied().filter(|r| !outside.contains(r)).collect();
        let taken: BTreeMap<RelationId, Epoch> = self
            .last_record
            .as_ref()
            .map(|record| record.changelogs.clone())
            .unwrap_or_default();
        let parked = match (&self.last_record, keep && self.start.durable) {
            (Some(record), true) => {
                let mut parked = PipelineRecord {
                    id: self.shared.allocate_pipeline()?,
                    views: record
                        .views
                        .iter()
                        .copied()
                        .filter(|view| views.contains(view))
                        .collect(),
                    ..record.clone()
                };
                parked.changelogs = taken;
                for view in self.dataflow.views().keys() {
                    parked.changelogs.insert(*view, record.epoch);
                }
                let follower = follower_name(parked.id);
                for (view, epoch) in &parked.changelogs {
                    self.shared.publication.follow(*view, &follower, Some(*epoch));
                }
                (!parked.views.is_empty()).then_some(parked)
            }
            _ => None,
        };
        if let Some(parked) = &parked {
            self.parked.push(parked.clone());
        }
        for relation in unfollowed {
            self.shared
                .publication
                .unfollow(relation, &follower_name(self.start.id));
            self.follows.remove(&relation);
        }
        self.tables.retain(|relation, _| outside.contains(relation));
        self.sources.retain(|relation, _| outside.contains(relation));
        self.loading.retain(|(relation, _)| outside.contains(relation));
        if let Some(record) = &mut self.last_record {
            record.views.retain(|view| !views.contains(view));
        }
        self.dirty = true;
        self.plan()?;
        self.tell_status(true);
        Ok(parked)
    }

    pub(super) fn held(&self) -> Held {
        Held {
            positions: self
                .sources
                .iter()
                .map(|(id, source)| (*id, source.progress.positions()))
                .collect(),
            dml: self.dml,
        }
    }

    pub(super) fn hand_over(&mut self) -> HandedOver {
        let views: Vec<RelationId> = self.dataflow.views().keys().copied().collect();
        HandedOver {
            id: self.start.id,
            views: views.into_iter().filter_map(|view| self.dataflow.take(view)).collect(),
            sources: std::mem::take(&mut self.sources)
                .into_iter()
                .map(|(id, s)| (id, s.progress.clone()))
                .collect(),
            follows: std::mem::take(&mut self.follows),
            dml: self.dml,
        }
    }

    pub(super) fn adopt(&mut self, given: HandedOver) -> Result<()> {
        self.dml = self.dml.max(given.dml);
        for parts in given.views {
            self.dataflow.put(parts);
        }
        for (relation, progress) in given.sources {
            match self.sources.get_mut(&relation) {
                Some(source) => source.progress.merge(&progress),
                None => {
                    let spec = self
                        .shared
                        .source(relation)
                        .ok_or_else(|| Error::internal("a source is gone"))?;
                    let source = SourceInput::new(spec, progress, self.start.bell.clone());
                    self.sources.insert(relation, source);
                }
            }
        }
        let (ours, theirs) = (follower_name(self.start.id), follower_name(given.id));
        let outside = self.outside_relations();
        for (relation, follow) in given.follows {
            if outside.contains(&relation) && !self.follows.contains_key(&relation) {
                self.shared.publication.follow(relation, &ours, Some(follow.taken));
                self.follows.insert(relation, follow);
            }
            self.shared.publication.unfollow(relation, &theirs);
        }
        for relation in self
            .follows
            .keys()
            .copied()
            .filter(|r| !outside.contains(r))
            .collect::<Vec<_>>()
        {
            self.follows.remove(&relation);
            self.shared.publication.unfollow(relation, &ours);
        }
        for relation in outside {
            if let Some(table) = self.shared.table(relation) {
                self.tables.entry(relation).or_insert_with(|| table.stored());
            }
        }
        self.absorbed.push(given.id);
        self.stored_all = false;
        self.dirty = true;
        self.plan()?;
        // Until this commit, readers would see the newcomers in the old pipeline's past.
        self.commit_and_wait()
    }
}
