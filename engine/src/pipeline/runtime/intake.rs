//! What a step takes in: snapshots first, then other pipelines' changelogs, DML and sources, of which
//! some wait for others.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use weir_state::{DmlCommit, Epoch, RelationId};

use super::{Mode, Runtime};
use crate::change::ChangeBatch;
use crate::pipeline::dataflow::RelationInput;
use crate::pipeline::inputs;
use crate::pipeline::output::some_epochs;
use crate::pipeline::publication::Host;
use crate::relation::ViewSpec;
use crate::{Error, Result};

impl Runtime {
    /// The next part of the snapshots that must be in before anything else is read; `None` also where
    /// what is left of them waits for sources.
    pub(super) fn load(&mut self) -> Result<Option<HashMap<RelationId, RelationInput>>> {
        let budget = self.shared.options.step_rows;
        loop {
            let waiting = self.waiting();
            let next = |(relation, _): &(RelationId, _)| !waiting.contains(relation);
            let Some(place) = self.loading.iter().rposition(next) else {
                return Ok(None);
            };
            let (relation, rows) = &mut self.loading[place];
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
            if count > 0 {
                return Ok(Some(HashMap::from([(
                    relation,
                    inputs::in_task_0(&self.dataflow, batches),
                )])));
            }
            drop(self.loading.remove(place));
            self.untold = true;
        }
    }

    /// Changelogs and DML, as of one moment: views of one pipeline are read to the same epoch, and
    /// tables no further than the views that rest on them too.
    pub(super) fn take_logs(&mut self, inputs: &mut HashMap<RelationId, RelationInput>) -> Result<bool> {
        let (hosts, last_dml) = self.shared.publication.hosts(self.follows.keys().copied());
        for relation in self.follows.keys().filter(|relation| !hosts.contains_key(relation)) {
            self.dataflow.set_at_end(*relation, false);
        }
        let any = self.take_changelogs(&hosts, inputs)?;
        Ok(self.take_dml(last_dml, inputs)? || any)
    }

    fn take_changelogs(
        &mut self,
        hosts: &BTreeMap<RelationId, Host>,
        inputs: &mut HashMap<RelationId, RelationInput>,
    ) -> Result<bool> {
        let mut any = false;
        // What was missed is read in parts, unless others must be read to the same moment.
        let in_parts = self.tables.is_empty() && self.follows.len() == 1;
        let rows = if in_parts {
            self.shared.options.step_rows
        } else {
            usize::MAX
        };
        for (relation, host) in hosts {
            let mut upto = match &self.mode {
                Mode::RunningTo(targets, _) => {
                    let target = targets.changelogs.get(relation).copied();
                    host.epoch.min(target.unwrap_or(Epoch::ZERO))
                }
                _ => host.right,
            };
            let Some(follow) = self.follows.get(relation) else {
                continue;
            };
            let is_in = host.at_end && follow.taken == upto && upto == host.epoch;
            self.dataflow.set_at_end(*relation, is_in);
            if upto < follow.taken {
                continue;
            }
            let mut batches = Vec::new();
            let last = upto;
            if upto > follow.taken {
                let store = self.shared.store.as_ref();
                (upto, batches) = some_epochs(store, &follow.relation, follow.taken, last, rows)?;
            }
            let mut input = inputs::in_task_0(&self.dataflow, batches);
            let follow = self.follows.get_mut(relation).expect("it was there");
            follow.taken = upto;
            follow.behind = upto < last;
            any |= follow.behind;
            let was_idle = follow.idle;
            if upto == host.epoch {
                follow.idle = host.idle;
                follow.dml = host.dml;
                follow.ended = host.ended;
                if host.watermark > follow.watermark {
                    follow.watermark = host.watermark;
                    input.watermark = host.watermark;
                }
            }
            // An epoch in which the view did not change is no reason for one here.
            if input.watermark.is_some() || follow.idle != was_idle || !input.batches[0].is_empty() {
                any = true;
                inputs.insert(*relation, input);
            }
        }
        Ok(any)
    }

    fn take_dml(&mut self, last: DmlCommit, inputs: &mut HashMap<RelationId, RelationInput>) -> Result<bool> {
        if self.tables.is_empty() {
            return Ok(false);
        }
        let upto = match &self.mode {
            Mode::RunningTo(targets, _) => last.min(targets.dml.unwrap_or(DmlCommit::ZERO)),
            _ => self.follows.values().fold(last, |upto, follow| upto.min(follow.dml)),
        };
        if upto <= self.dml {
            return Ok(false);
        }
        let found = inputs::of_tables(self.shared.store.as_ref(), &self.tables, (self.dml, upto))?;
        self.dml = upto;
        for (relation, batches) in found {
            inputs.insert(relation, inputs::in_task_0(&self.dataflow, batches));
        }
        // Also where none of these tables changed: somebody may wait until the commit is in.
        Ok(true)
    }

    /// Reads the sources. Where a record can't be read, the views for which it can't are noted in `failed`;
    /// the others read it in the next step. Where the source fails otherwise, all of its views are.
    pub(super) fn take_sources(
        &mut self,
        inputs: &mut HashMap<RelationId, RelationInput>,
        failed: &mut BTreeMap<RelationId, Option<Error>>,
    ) -> bool {
        let mut any = false;
        let now = self.shared.options.clock.instant();
        let waiting = self.waiting();
        for (relation, source) in &mut self.sources {
            if waiting.contains(relation) {
                continue;
            }
            let limits = match &self.mode {
                Mode::RunningTo(targets, _) => match targets.positions.get(relation) {
                    Some(limits) => Some(limits),
                    None => continue,
                },
                _ => None,
            };
            match source.step(self.shared.options.step_rows, limits, now) {
                Ok(step) => {
                    self.dataflow.set_at_end(*relation, source.at_end());
                    any |= step.any;
                    self.untold |= step.opened;
                    self.skipped.extend(*relation, step.skipped);
                    inputs.insert(*relation, step.input);
                }
                Err(error) => {
                    any = true;
                    let views = self.dataflow.views().values();
                    let readers = views.filter(|view| view.graph.relations().contains(relation));
                    let readers: Vec<&ViewSpec> = readers.collect();
                    let own = |view: &&ViewSpec| {
                        let error = source.fault_of(inputs::layout_of(view, *relation))?;
                        Some((view.relation, Some(error)))
                    };
                    let before = failed.len();
                    failed.extend(readers.iter().filter_map(own));
                    if failed.len() == before {
                        failed.extend(readers.iter().map(|view| (view.relation, Some(error.clone()))));
                    }
                }
            }
        }
        any
    }

    /// What begins when other relations are in: loaded, or read to their end, or to where they are to be read.
    pub(super) fn waiting(&self) -> BTreeSet<RelationId> {
        let is_in = |relation: &RelationId| {
            let is_loading = self.loading.iter().any(|(loading, _)| loading == relation);
            match (&self.mode, self.sources.get(relation)) {
                (_, None) => !is_loading && !self.unopened.contains(relation),
                (Mode::RunningTo(targets, _), Some(source)) => {
                    let limits = targets.positions.get(relation);
                    limits.is_none_or(|limits| source.reached(limits))
                }
                (_, Some(source)) => source.is_in(),
            }
        };
        let waits = self.precedence.iter().filter(|(_, first)| !first.iter().all(is_in));
        waits.map(|(relation, _)| *relation).collect()
    }
}
