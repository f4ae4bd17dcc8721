//! Views that leave a pipeline, and views that come from another.

use std::collections::{BTreeMap, BTreeSet};

use weir_state::RelationId;
use weir_state::pipelines::PipelineRecord;

use super::{HandedOver, Runtime};
use crate::pipeline::reader::Place;
use crate::pipeline::record::{self, follower_name};
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
        let position = self.failure_position();
        let parked = self.detach(&views, true)?;
        let pipeline = (self.start.id, self.start.durable);
        self.shared.tell_failed(pipeline, causes, parked, &position);
        Ok(())
    }

    /// Where this pipeline stands, as text: the same failure at the same place is no new failure.
    fn failure_position(&self) -> String {
        let positions = self.last_record.as_ref().map(|record| &record.positions);
        serde_json::to_string(&positions).unwrap_or_default()
    }

    /// Takes views out. Returns the record under which they are parked, which the next checkpoint
    /// stores; none if they are not to be kept, or have no epoch yet.
    pub(super) fn detach(&mut self, views: &BTreeSet<RelationId>, keep: bool) -> Result<Option<PipelineRecord>> {
        let parked = if keep && self.start.durable {
            self.park(views)?
        } else {
            None
        };
        for view in views {
            drop(self.dataflow.take(*view));
        }
        self.skipped.forget(views);
        self.leave_inputs();
        if let Some(record) = &mut self.last_record {
            record.views.retain(|view| !views.contains(view));
        }
        self.dirty = true;
        self.untold = true;
        self.plan()?;
        Ok(parked)
    }

    fn park(&mut self, views: &BTreeSet<RelationId>) -> Result<Option<PipelineRecord>> {
        let Some(record) = &self.last_record else {
            return Ok(None);
        };
        if !record.views.iter().any(|view| views.contains(view)) {
            return Ok(None);
        }
        let reads = self.shared.relations.read().reads(views);
        let parked = record::restrict(record, self.shared.allocate_pipeline()?, views, &reads);
        // From here on what they read is kept for them.
        for (view, epoch) in &parked.changelogs {
            let follower = follower_name(parked.id);
            self.shared.publication.follow(*view, &follower, Some(*epoch), None);
        }
        self.parked.push(parked.clone());
        Ok(Some(parked))
    }

    /// Gives up what no view here reads any more.
    fn leave_inputs(&mut self) {
        let outside = self.outside_relations();
        let left = self
            .follows
            .keys()
            .chain(&self.unopened)
            .filter(|view| !outside.contains(view));
        let follower = follower_name(self.start.id);
        for view in left {
            self.shared.publication.unfollow(*view, &follower);
        }
        self.follows.retain(|view, _| outside.contains(view));
        self.unopened.retain(|relation| outside.contains(relation));
        self.tables.retain(|relation, _| outside.contains(relation));
        self.sources.retain(|relation, _| outside.contains(relation));
        self.loading.retain(|(relation, _)| outside.contains(relation));
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
            tables: std::mem::take(&mut self.tables),
            dml: self.dml,
            right: self.right.clone(),
        }
    }

    /// Takes in what another pipeline gave that stands where this one does.
    pub(super) fn adopt(&mut self, given: HandedOver) -> Result<()> {
        if self.tables.is_empty() {
            self.dml = given.dml;
        }
        self.tables.extend(given.tables);
        self.right.extend(given.right);
        for parts in given.views {
            self.dataflow.put(parts);
        }
        for (relation, progress) in given.sources {
            match self.sources.get_mut(&relation) {
                Some(source) => source.progress.merge(&progress),
                None => {
                    let spec = self.shared.source(relation);
                    let spec = spec.ok_or_else(|| Error::internal("a source is gone"))?;
                    let source = SourceInput::new(spec, progress, Place::Apart(self.start.bell.clone()));
                    self.sources.insert(relation, source);
                }
            }
        }
        let (ours, theirs) = (follower_name(self.start.id), follower_name(given.id));
        for (relation, follow) in given.follows {
            let bell = Some(self.start.bell.clone());
            let taken = Some(follow.taken);
            self.follows.entry(relation).or_insert_with(|| {
                self.shared.publication.follow(relation, &ours, taken, bell);
                follow
            });
        }
        self.leave_inputs();
        self.absorbed.push(given.id);
        self.stored_all = false;
        self.dirty = true;
        self.untold = true;
        self.plan()?;
        // Until this commit, readers see the newcomers in their old pipeline.
        self.commit_and_wait()?;
        self.shared.publication.unfollow_all(&theirs);
        self.tell(true);
        Ok(())
    }
}
