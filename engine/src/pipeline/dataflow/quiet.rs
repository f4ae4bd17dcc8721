//! EMIT ON WINDOW CLOSE WITH TIMEOUT: what is open closes by the clock when nothing comes.
//!
//! Noted of each such view is when something came to it last. When that is as long ago as the view
//! says, and its sources are known to be read to their ends, its watermark rises to where all that
//! its operators hold back comes out. That watermark is the view's own: others over the same sources
//! know nothing of it. It is stored with the epoch as every watermark is, so what has closed stays
//! closed; and so is the time, so that a restart neither begins it anew nor cuts it short.

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
    /// Sources that are read to their ends at present.
    at_end: BTreeSet<RelationId>,
    views: BTreeMap<RelationId, Timed>,
}

/// A view with a timeout.
#[derive(Default)]
struct Timed {
    timeout_us: i64,
    sources: BTreeSet<RelationId>,
    /// Its Input nodes of these, by place in the plan.
    inputs: Vec<usize>,
}

impl Quiet {
    /// Finds the views of a plan that have a timeout.
    pub(super) fn plan(&mut self, plan: &[PlanNode]) {
        self.views.clear();
        for (place, node) in plan.iter().enumerate() {
            let NodeKind::Input(input) = &node.graph.node(node.at.node).kind else {
                continue;
            };
            if let Some(timeout_us) = input.timeout_us {
                let timed = self.views.entry(node.at.view).or_default();
                timed.timeout_us = timeout_us;
                timed.sources.insert(input.relation);
                timed.inputs.push(place);
            }
        }
    }

    pub(super) fn take(&mut self, view: RelationId) -> Option<i64> {
        self.last_us.remove(&view)
    }

    pub(super) fn put(&mut self, view: RelationId, last_us: Option<i64>) {
        self.last_us.extend(last_us.map(|us| (view, us)));
    }

    fn is_read(&self, timed: &Timed) -> bool {
        timed.sources.iter().all(|source| self.at_end.contains(source))
    }
}

impl Dataflow {
    /// Notes whether a source is read to its end, as far as is known.
    pub fn set_at_end(&mut self, source: RelationId, at_end: bool) {
        match at_end {
            true => self.quiet.at_end.insert(source),
            false => self.quiet.at_end.remove(&source),
        };
    }

    /// When something came last to each view, to be stored with the epoch.
    pub fn last_inputs(&self) -> &HashMap<RelationId, i64> {
        &self.quiet.last_us
    }

    /// Sets what was read with the epoch.
    pub fn restore_last_inputs(&mut self, last_us: HashMap<RelationId, i64>) {
        self.quiet.last_us = last_us;
    }

    /// When some view closes what is open if nothing comes. `for_certain`: only of views whose sources
    /// are read to their ends.
    pub(super) fn times_out_us(&self, for_certain: bool) -> Option<i64> {
        let times = self.quiet.views.iter().filter_map(|(view, timed)| {
            if for_certain && !self.quiet.is_read(timed) {
                return None;
            }
            let last_us = self.quiet.last_us.get(view)?;
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

    /// Notes what comes in a step; gives the watermarks of the Input nodes of views to which nothing
    /// has come for too long.
    pub(super) fn timed_out(
        &mut self,
        now_us: i64,
        inputs: &HashMap<RelationId, RelationInput>,
    ) -> HashMap<usize, Watermark> {
        let mut raised = HashMap::new();
        let mut came = Vec::new();
        for (view, timed) in &self.quiet.views {
            let rows = |source: &RelationId| inputs.get(source).map_or(0, RelationInput::rows);
            if timed.sources.iter().any(|source| rows(source) > 0) {
                came.push((*view, now_us));
                continue;
            }
            let Some(last_us) = self.quiet.last_us.get(view) else {
                continue;
            };
            if self.quiet.is_read(timed)
                && now_us >= last_us.saturating_add(timed.timeout_us)
                && let Some(until) = self.held_until(*view, timed)
            {
                raised.extend(timed.inputs.iter().map(|input| (*input, until)));
            }
        }
        self.quiet.last_us.extend(came);
        raised
    }
}
