//! What a step takes in: snapshots first, then DML, other pipelines' changelogs and sources.

use std::collections::HashMap;
use std::time::Instant;

use weir_state::{Epoch, RelationId, dml};

use super::{Mode, Runtime};
use crate::Result;
use crate::change::{self, ChangeBatch};
use crate::pipeline::dataflow::RelationInput;
use crate::pipeline::output::read_changes;

impl Runtime {
    /// The next part of the snapshots that must be in before anything else is read.
    pub(super) fn load(&mut self) -> Result<Option<HashMap<RelationId, RelationInput>>> {
        let budget = self.shared.options.step_rows;
        while let Some((relation, rows)) = self.loading.last_mut() {
            let relation = *relation;
            let mut batches = Vec::new();
            let mut count = 0;
            while count < budget
                && let Some(batch) = rows.next()
            {
                let batch = batch?;
                count += batch.num_rows();
                batches.push(ChangeBatch::inserts(batch));
            }
            if count == 0 {
                self.loading.pop();
                continue;
            }
            return Ok(Some(HashMap::from([(relation, self.in_task_0(batches))])));
        }
        Ok(None)
    }

    /// Changes of one origin stay in order in one task; exchanges deal them further.
    pub(super) fn in_task_0(&self, batches: Vec<ChangeBatch>) -> RelationInput {
        let mut by_task = vec![Vec::new(); self.dataflow.num_tasks()];
        by_task[0] = batches;
        RelationInput {
            batches: by_task,
            watermark: None,
        }
    }

    pub(super) fn take_dml(&mut self, inputs: &mut HashMap<RelationId, RelationInput>) -> Result<bool> {
        let mut upto = self.shared.publication.dml();
        if let Mode::RunningTo(targets, _) = &self.mode {
            upto = upto.min(targets.dml);
        }
        if upto <= self.dml {
            return Ok(false);
        }
        let mut found: HashMap<RelationId, Vec<ChangeBatch>> = HashMap::new();
        if !self.tables.is_empty() {
            let store = self.shared.instance.store().clone();
            for entry in dml::read(store.as_ref(), self.dml, upto)? {
                let (_, relation, _, bytes) = entry?;
                if let Some(table) = self.tables.get(&relation) {
                    found
                        .entry(relation)
                        .or_default()
                        .extend(change::from_bytes(&bytes, &table.schema)?);
                }
            }
        }
        self.dml = upto;
        for (relation, batches) in found {
            inputs.insert(relation, self.in_task_0(batches));
        }
        Ok(true)
    }

    pub(super) fn take_changelogs(&mut self, inputs: &mut HashMap<RelationId, RelationInput>) -> Result<bool> {
        let mut any = false;
        let store = self.shared.instance.store().clone();
        let relations: Vec<RelationId> = self.follows.keys().copied().collect();
        for relation in relations {
            let Some((_, host)) = self.shared.publication.host(relation) else {
                continue;
            };
            let mut upto = host.epoch;
            if let Mode::RunningTo(targets, _) = &self.mode {
                upto = upto.min(targets.changelogs.get(&relation).copied().unwrap_or(Epoch::ZERO));
            }
            let follow = self.follows.get_mut(&relation).expect("it is among the keys");
            if upto <= follow.taken {
                continue;
            }
            let batches = read_changes(store.as_ref(), &follow.relation, follow.taken, upto)?;
            follow.taken = upto;
            any = true;
            inputs.insert(relation, self.in_task_0(batches));
        }
        Ok(any)
    }

    pub(super) fn take_sources(&mut self, inputs: &mut HashMap<RelationId, RelationInput>) -> Result<bool> {
        let mut any = false;
        let now = Instant::now();
        let mut failed = Vec::new();
        for (relation, source) in &mut self.sources {
            let limits = match &self.mode {
                Mode::RunningTo(targets, _) => match targets.positions.get(relation) {
                    Some(limits) => Some(limits),
                    None => continue,
                },
                _ => None,
            };
            match source.step(self.shared.options.step_rows, limits, now) {
                Ok(step) => {
                    any |= step.any;
                    self.skipped.extend(step.skipped);
                    inputs.insert(*relation, step.input);
                }
                Err(error) => failed.push((*relation, error)),
            }
        }
        for (relation, error) in failed {
            any = true;
            let readers = self.readers_of(relation);
            let causes = readers.into_iter().map(|view| (view, Some(error.clone()))).collect();
            self.detach_failed(causes)?;
        }
        Ok(any)
    }

    pub(super) fn readers_of(&self, relation: RelationId) -> Vec<RelationId> {
        let views = self.dataflow.views().values();
        views
            .filter(|view| view.graph.relations().contains(&relation))
            .map(|view| view.relation)
            .collect()
    }
}
