//! EMIT ON WINDOW CLOSE WITH TIMEOUT: what is open closes by the clock when nothing comes.
//!
//! Noted of each such view is when something came to it last. When that is as long ago as the view
//! says, and all is in that may come to it, its watermark rises to where all that
//! its operators hold back comes out. That watermark is the view's own: others over the same relations
//! know nothing of it. It is stored with the epoch as every watermark is, so what has closed stays
//! closed; and so is the time, so that a restart neither begins it anew nor cuts it short.
//!
//! All is in when the sources are known to be read to their ends that its event time comes from, and no view in between
//! holds something back: what such a view closes later would be late. A view of another pipeline is told with
//! its epochs to be in.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use weir_state::RelationId;

use super::{Dataflow, PlanNode, RelationInput};
use crate::graph::NodeKind;
use crate::operator::Watermark;

/// What is known of views that close by the clock.
#[derive(Default)]
pub(super) struct Quiet {
    /// When something came to them last, microseconds since the epoch.
    last_us: HashMap<RelationId, i64>,
    /// Relations outside of which all is in at present: sources that are read to their ends, and views.
    at_end: BTreeSet<RelationId>,
    /// Of each view, where its event time comes from.
    origins: BTreeMap<RelationId, Origins>,
    views: BTreeMap<RelationId, Timed>,
}

/// What a view's event time comes from.
#[derive(Clone, Default)]
struct Origins {
    /// Relations outside.
    outside: BTreeSet<RelationId>,
    /// The views of this dataflow in between.
    between: BTreeSet<RelationId>,
}

/// A view with a timeout.
#[derive(Default)]
struct Timed {
    timeout_us: i64,
    /// Its Input nodes with event time, by place in the plan.
    inputs: Vec<usize>,
}

impl Quiet {
    /// Finds the views of a plan that have a timeout, and what each view's event time comes from. Views stand
    /// behind those that they read.
    pub(super) fn plan(&mut self, plan: &[PlanNode]) {
        self.views.clear();
        self.origins.clear();
        for (place, node) in plan.iter().enumerate() {
            let graph = node.graph.node(node.at.node);
            let NodeKind::Input(input) = &graph.kind else {
                continue;
            };
            if let Some(timeout_us) = input.timeout_us {
                let timed = self.views.entry(node.at.view).or_default();
                timed.timeout_us = timeout_us;
                timed.inputs.push(place);
            }
            if graph.has_watermark {
                let below = match node.relation {
                    Some(_) => None,
                    None => Some(self.origins.get(&input.relation).cloned().unwrap_or_default()),
                };
                let origins = self.origins.entry(node.at.view).or_default();
                match below {
                    Some(below) => {
                        origins.between.insert(input.relation);
                        origins.between.extend(below.between);
                        origins.outside.extend(below.outside);
                    }
                    None => {
                        origins.outside.insert(input.relation);
                    }
                }
            }
        }
    }

    pub(super) fn take(&mut self, view: RelationId) -> Option<i64> {
        self.last_us.remove(&view)
    }

    pub(super) fn put(&mut self, view: RelationId, last_us: Option<i64>) {
        self.last_us.extend(last_us.map(|us| (view, us)));
    }

    fn origins(&self, view: RelationId) -> impl Iterator<Item = &Origins> {
        self.origins.get(&view).into_iter()
    }

    /// Whether all is in of the relations outside that a view's event time comes from.
    fn is_read(&self, view: RelationId) -> bool {
        self.origins(view)
            .all(|origins| origins.outside.is_subset(&self.at_end))
    }

    /// Whether none of the views in between holds something back.
    fn is_let_through(&self, view: RelationId, holding: &BTreeSet<RelationId>) -> bool {
        self.origins(view).all(|origins| origins.between.is_disjoint(holding))
    }
}

impl Dataflow {
    /// Notes whether all is in of a relation outside, as far as is known.
    pub fn set_at_end(&mut self, relation: RelationId, at_end: bool) {
        match at_end {
            true => self.quiet.at_end.insert(relation),
            false => self.quiet.at_end.remove(&relation),
        };
    }

    /// The views with event time of which all is in: what that comes from is, and nothing of it is held back.
    pub fn at_end(&self) -> BTreeSet<RelationId> {
        let holding = self.holding();
        let views = self.quiet.origins.keys().copied();
        let is_in = |view: &RelationId| {
            !holding.contains(view) && self.quiet.is_read(*view) && self.quiet.is_let_through(*view, &holding)
        };
        views.filter(is_in).collect()
    }

    /// The views whose operators hold something back until the watermark is higher.
    fn holding(&self) -> BTreeSet<RelationId> {
        let operators = self.tasks.iter().flat_map(|task| &task.operators);
        let waits = operators.filter(|(at, operator)| operator.open_until() > self.watermarks.get(at).copied());
        waits.map(|(at, _)| at.view).collect()
    }

    /// When something came last to each view, to be stored with the epoch.
    pub fn last_inputs(&self) -> &HashMap<RelationId, i64> {
        &self.quiet.last_us
    }

    /// Sets what was read with the epoch.
    pub fn restore_last_inputs(&mut self, last_us: HashMap<RelationId, i64>) {
        self.quiet.last_us = last_us;
    }

    /// When some view closes what is open if nothing comes. `for_certain`: only of views of which all is known
    /// to be in.
    pub(super) fn times_out_us(&self, for_certain: bool) -> Option<i64> {
        if self.quiet.views.is_empty() {
            return None;
        }
        let holding = self.holding();
        let times = self.quiet.views.iter().filter_map(|(view, timed)| {
            let is_in = self.quiet.is_let_through(*view, &holding) && (!for_certain || self.quiet.is_read(*view));
            let last_us = self.quiet.last_us.get(view).filter(|_| is_in)?;
            self.held_until(*view, timed)?;
            Some(last_us.saturating_add(timed.timeout_us))
        });
        times.min()
    }

    /// The watermark at which all that a view holds back would be out, if it holds something back.
    fn held_until(&self, view: RelationId, timed: &Timed) -> Option<Watermark> {
        let operators = self.tasks.iter().flat_map(|task| &task.operators);
        let of_view = operators.filter(|(at, _)| at.view == view);
        let until = of_view.filter_map(|(_, operator)| operator.open_until()).max()?;
        let reached = timed.inputs.iter().map(|input| self.plan[*input].watermark).min();
        reached.is_some_and(|reached| reached < until).then_some(until)
    }

    /// The watermarks of the Input nodes of views to which nothing has come for too long.
    pub(super) fn timed_out(
        &self,
        now_us: i64,
        inputs: &HashMap<RelationId, RelationInput>,
    ) -> HashMap<usize, Watermark> {
        let mut raised = HashMap::new();
        if self.quiet.views.is_empty() {
            return raised;
        }
        let holding = self.holding();
        let comes = |relation: &RelationId| inputs.get(relation).is_some_and(|input| input.rows() > 0);
        for (view, timed) in &self.quiet.views {
            let Some(last_us) = self.quiet.last_us.get(view) else {
                continue;
            };
            if now_us >= last_us.saturating_add(timed.timeout_us)
                && !self
                    .quiet
                    .origins(*view)
                    .any(|origins| origins.outside.iter().any(comes))
                && self.quiet.is_read(*view)
                && self.quiet.is_let_through(*view, &holding)
                && let Some(until) = self.held_until(*view, timed)
            {
                raised.extend(timed.inputs.iter().map(|input| (*input, until)));
            }
        }
        raised
    }

    /// Notes to which views something came in the step that was just taken.
    pub(super) fn note_arrivals(&mut self, now_us: i64) {
        let came = |place: &usize| self.tasks.iter().any(|task| !task.outputs[*place].is_empty());
        let views = self.quiet.views.iter();
        let arrived = views.filter(|(_, timed)| timed.inputs.iter().any(came));
        self.quiet.last_us.extend(arrived.map(|(view, _)| (*view, now_us)));
    }
}
