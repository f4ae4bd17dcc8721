//! Has a view taken in what was there when it was created?
//!
//! A new view reads its sources' history, epoch by epoch, and each epoch would be an answer: to a
//! part of the data. So it is first read when each split of its sources was read to its end once.
//! That is noted with every epoch, so it is asked of the store, and outlives a restart.

use std::collections::{BTreeMap, BTreeSet};

use weir_engine::pipeline::Snapshot;
use weir_engine::relation::RelationId;
use weir_sql::statement::RelationKind;
use weir_state::{Epoch, changelog};

use crate::Result;
use crate::instance::Known;

/// Follows views on their way through the history of their sources.
#[derive(Default)]
pub struct CatchUp {
    /// The epoch at which a view of another pipeline was first seen to have caught up.
    seen: BTreeMap<RelationId, Epoch>,
}

impl CatchUp {
    /// Whether a view has caught up in this snapshot.
    pub fn is_done(&mut self, snapshot: &Snapshot, known: &Known, view: RelationId) -> Result<bool> {
        let Some(record) = snapshot.pipeline_of(view)? else {
            return Ok(false);
        };
        let below = below(known, view);
        for source in &below {
            let Some(splits) = record.positions.get(&source.to_string()) else {
                continue;
            };
            // Which splits there are is known when the source was first reached.
            if splits.is_empty() || splits.values().any(|split| !split.caught_up && !split.ended) {
                return Ok(false);
            }
        }
        for (other, taken) in &record.changelogs {
            if !below.contains(other) || record.views.contains(other) {
                continue;
            }
            if !self.seen.contains_key(other) && self.is_done(snapshot, known, *other)? {
                let epoch = snapshot.pipeline_of(*other)?.map_or(Epoch::ZERO, |record| record.epoch);
                self.seen.insert(*other, epoch);
            }
            let Some(needed) = self.seen.get(other) else {
                return Ok(false);
            };
            // Epochs in which that view did not change are no reason for one here.
            let mut lacking = changelog::read(snapshot.reader(), *other, *taken, *needed)?;
            if taken < needed && lacking.next().is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// All that a relation rests on.
pub fn below(known: &Known, view: RelationId) -> BTreeSet<RelationId> {
    let mut found = BTreeSet::new();
    let mut left = vec![view];
    while let Some(id) = left.pop() {
        if let Some(relation) = known.catalog.by_id(id)
            && (id == view || found.insert(id))
            && relation.kind != RelationKind::Source
        {
            left.extend(relation.depends_on.iter().filter(|read| **read != view));
        }
    }
    found
}
