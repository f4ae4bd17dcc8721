//! Watermarks of nodes, and where inputs meet.
//!
//! A node's watermark is the least of its inputs'. So an input of a view that stands still would hold back what it
//! meets in a join or union. Where nothing comes of it, it is not waited for
//! ([`event_time`](crate::pipeline::event_time)): as soon as a relation is idle, the view's Input node of it is raised
//! to where the inputs that it meets are together. What is below is the view's own watermark from then on, as with a
//! timeout ([`super::quiet`]): it is stored with the epoch, so a decision that is committed stands, and rows of the
//! relation that come later are judged by it.
//!
//! Inputs meet that are above a common node by nodes with event time; those of a view are few, and mostly all
//! meet.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use weir_state::RelationId;

use super::{Dataflow, PlanNode, RelationInput};
use crate::graph::NodeKind;
use crate::operator::Watermark;
use crate::pipeline::event_time::{Standing, standing, together};

/// Which inputs meet, and which of them are idle.
#[derive(Default)]
pub(super) struct Meetings {
    views: Vec<View>,
    /// Relations outside of which nothing comes at present.
    idle: BTreeSet<RelationId>,
    /// Of each node of the plan.
    standings: Vec<Standing>,
}

/// A view's part of the plan.
struct View {
    nodes: Range<usize>,
    /// Its Input nodes that meet.
    groups: Vec<Vec<usize>>,
}

impl Meetings {
    /// Finds what meets in a plan, in which each view's nodes stand together.
    pub(super) fn plan(&mut self, plan: &[PlanNode]) {
        self.views.clear();
        self.standings = vec![Standing::Read; plan.len()];
        let mut begin = 0;
        for of_view in plan.chunk_by(|one, next| one.at.view == next.at.view) {
            let nodes = begin..begin + of_view.len();
            begin = nodes.end;
            self.views.push(View {
                groups: groups(plan, nodes.clone()),
                nodes,
            });
        }
    }
}

/// The Input nodes that meet.
fn groups(plan: &[PlanNode], nodes: Range<usize>) -> Vec<Vec<usize>> {
    let begin = nodes.start;
    // By node, the group that its event time comes from.
    let mut of: Vec<Option<usize>> = Vec::with_capacity(nodes.len());
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for place in nodes {
        if is_input(&plan[place]) {
            of.push(Some(groups.len()));
            groups.push(vec![place]);
            continue;
        }
        let met: BTreeSet<usize> = timed(plan, place).filter_map(|from| of[from - begin]).collect();
        let mut met = met.into_iter();
        let first = met.next();
        for other in met {
            let inputs = std::mem::take(&mut groups[other]);
            groups[first.unwrap_or(other)].extend(inputs);
            of.iter_mut()
                .filter(|group| **group == Some(other))
                .for_each(|group| *group = first);
        }
        of.push(first);
    }
    groups.retain(|inputs| inputs.len() > 1);
    groups
}

fn is_input(node: &PlanNode) -> bool {
    matches!(node.graph.node(node.at.node).kind, NodeKind::Input(_))
}

fn has_watermark(node: &PlanNode) -> bool {
    node.graph.node(node.at.node).has_watermark
}

/// The nodes with event time that a node reads.
fn timed(plan: &[PlanNode], place: usize) -> impl Iterator<Item = usize> {
    let inputs = plan[place].inputs.iter().map(|input| input.from);
    inputs.filter(|from| has_watermark(&plan[*from]))
}

impl Dataflow {
    /// Notes whether nothing has come of a relation outside for a while.
    pub fn set_idle(&mut self, relation: RelationId, idle: bool) {
        match idle {
            true => self.meetings.idle.insert(relation),
            false => self.meetings.idle.remove(&relation),
        };
    }

    /// Whether nothing has come of all that a view's event time hangs on.
    pub fn is_idle(&self, view: RelationId) -> bool {
        let place = self.plan.iter().position(|node| node.at.view == view && node.is_output);
        place.is_some_and(|place| has_watermark(&self.plan[place]) && self.meetings.standings[place] == Standing::Idle)
    }

    /// The relations that hold back a view's event time: they are read, and others that they meet are further.
    pub fn waits_for(&self, view: RelationId) -> Vec<RelationId> {
        let of_view = |part: &&View| self.plan[part.nodes.start].at.view == view;
        let groups = self.meetings.views.iter().filter(of_view).flat_map(|part| &part.groups);
        let mut held = BTreeSet::new();
        for group in groups {
            let at = |place: &usize| self.plan[*place].watermark;
            let timed = || group.iter().filter(|place| has_watermark(&self.plan[**place]));
            let (least, most) = (timed().map(at).min(), timed().map(at).max());
            let holds = |place: &&usize| Some(at(place)) == least && self.meetings.standings[**place] == Standing::Read;
            let relations = timed().filter(holds).filter_map(|place| self.relation_of(*place));
            held.extend(relations.filter(|_| least < most));
        }
        held.into_iter().collect()
    }

    fn relation_of(&self, place: usize) -> Option<RelationId> {
        let node = &self.plan[place];
        match &node.graph.node(node.at.node).kind {
            NodeKind::Input(input) => Some(input.relation),
            _ => None,
        }
    }

    /// Sets each node's watermark for this step; says whose moved.
    pub(super) fn move_watermarks(
        &mut self,
        inputs: &HashMap<RelationId, RelationInput>,
        raised: &HashMap<usize, Watermark>,
    ) -> Vec<bool> {
        let mut moved = vec![false; self.plan.len()];
        self.plan.iter_mut().for_each(|node| node.before = node.watermark);
        for part in 0..self.meetings.views.len() {
            let nodes = self.meetings.views[part].nodes.clone();
            for place in nodes
                .clone()
                .filter(|place| is_input(&self.plan[*place]))
                .collect::<Vec<_>>()
            {
                self.move_input(place, inputs, raised, &mut moved);
            }
            for group in 0..self.meetings.views[part].groups.len() {
                self.meet(part, group, &mut moved);
            }
            for place in nodes {
                if !is_input(&self.plan[place]) {
                    let from = timed(&self.plan, place);
                    let bound = from.map(|from| self.plan[from].watermark).min();
                    self.raise(place, bound, &mut moved);
                    let from = timed(&self.plan, place).map(|from| self.meetings.standings[from]);
                    self.meetings.standings[place] = standing(from).unwrap_or(Standing::Read);
                }
            }
        }
        moved
    }

    /// An Input node, by its relation alone.
    fn move_input(
        &mut self,
        place: usize,
        inputs: &HashMap<RelationId, RelationInput>,
        raised: &HashMap<usize, Watermark>,
        moved: &mut [bool],
    ) {
        let raised = raised.get(&place).copied();
        let (bound, own) = match self.plan[place].relation {
            Some(relation) => {
                let input = inputs.get(&relation);
                let told = input.and_then(|input| input.watermark);
                self.plan[place].own = input.and_then(|input| input.before).unwrap_or(Watermark::MIN);
                let own = match self.meetings.idle.contains(&relation) {
                    true => Standing::Idle,
                    false => Standing::Read,
                };
                (told.max(raised), own)
            }
            None => {
                let from = self.plan[place].inputs[0].from;
                (
                    Some(self.plan[from].watermark).max(raised),
                    self.meetings.standings[from],
                )
            }
        };
        self.raise(place, bound, moved);
        let has_ended = self.plan[place].watermark == Watermark::MAX;
        self.meetings.standings[place] = if has_ended { Standing::Ended } else { own };
    }

    /// Raises the idle ones of inputs that meet to where these are together.
    fn meet(&mut self, part: usize, group: usize, moved: &mut [bool]) {
        let group = self.meetings.views[part].groups[group].iter().copied();
        let group: Vec<usize> = group.filter(|place| has_watermark(&self.plan[*place])).collect();
        let known = |watermark: Watermark| (watermark > Watermark::MIN).then_some(watermark);
        let all = group
            .iter()
            .map(|place| (known(self.plan[*place].watermark), self.meetings.standings[*place]));
        let bound = together(all);
        for place in group {
            if self.meetings.standings[place] == Standing::Idle {
                self.raise(place, bound, moved);
            }
        }
    }

    fn raise(&mut self, place: usize, bound: Option<Watermark>, moved: &mut [bool]) {
        let node = &mut self.plan[place];
        if let Some(bound) = bound.filter(|bound| *bound > node.watermark) {
            node.watermark = bound;
            self.watermarks.insert(node.at, bound);
            moved[place] = true;
        }
    }
}
