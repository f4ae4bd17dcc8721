//! Which relations are read before others begin.
//!
//! What a left row of a join at once (`FOR SYSTEM_TIME AS OF PROCTIME()`) has met stays, so the right side has to
//! be in before the left side begins: a table or a view of another pipeline is loaded (a view when its own
//! sources have been read to where they ended when it was opened), and a source is read to its end. What is on
//! the left side waits for that. Once it has been in it is a relation like any other.
//!
//! A relation on both sides can't wait for itself, nor can two for each other: then nobody waits.

use std::collections::{BTreeMap, BTreeSet};

use weir_state::RelationId;

use crate::graph::{Graph, NodeId, NodeKind};
use crate::relation::ViewSpec;

/// By relation, those that are read to their end before it begins.
pub type Precedence = BTreeMap<RelationId, BTreeSet<RelationId>>;

/// What the joins of these views ask for.
pub fn of(views: &BTreeMap<RelationId, ViewSpec>) -> Precedence {
    let mut found = Precedence::new();
    for view in views.values() {
        for node in &view.graph.nodes {
            let NodeKind::Join(join) = &node.kind else { continue };
            if !join.at_once {
                continue;
            }
            let side = |input: usize| {
                let mut relations = BTreeSet::new();
                collect(views, &view.graph, node.inputs[input].node, &mut relations);
                relations
            };
            let (left, right) = (side(0), side(1));
            for later in left.difference(&right) {
                for first in right.difference(&left) {
                    if !goes_before(&found, *later, *first) {
                        found.entry(*later).or_default().insert(*first);
                    }
                }
            }
        }
    }
    found
}

/// Whether `one` is read before `other` begins, also by way of others.
fn goes_before(found: &Precedence, one: RelationId, other: RelationId) -> bool {
    let before = found.get(&other).into_iter().flatten();
    before
        .into_iter()
        .any(|first| *first == one || goes_before(found, one, *first))
}

/// The relations that a node's rows come from, through the views that are at hand.
fn collect(views: &BTreeMap<RelationId, ViewSpec>, graph: &Graph, node: NodeId, relations: &mut BTreeSet<RelationId>) {
    if let NodeKind::Input(input) = &graph.node(node).kind {
        match views.get(&input.relation) {
            Some(view) => {
                let last = NodeId(view.graph.nodes.len() as u32 - 1);
                collect(views, &view.graph, last, relations);
            }
            None => {
                relations.insert(input.relation);
            }
        }
    }
    for input in &graph.node(node).inputs {
        collect(views, graph, input.node, relations);
    }
}
