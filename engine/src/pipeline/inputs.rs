//! What a dataflow reads from outside, and where its Input nodes find their columns in that.

use std::collections::{BTreeMap, BTreeSet};

use weir_state::RelationId;

use super::dataflow::{Dataflow, NodeRef, Projections};
use super::decode::Layout;
use super::source::SourceInput;
use crate::Result;
use crate::graph::{InputSpec, NodeId, NodeKind};
use crate::relation::ViewSpec;

/// Relations that the views read and that aren't among them.
pub fn outside(dataflow: &Dataflow) -> BTreeSet<RelationId> {
    let views = dataflow.views();
    let read = views.values().flat_map(|view| view.graph.relations());
    read.filter(|relation| !views.contains_key(relation)).collect()
}

/// Plans the dataflow for its present views. Each source decodes the columns that some of them
/// need; those that none of them reads are given up.
pub fn plan(dataflow: &mut Dataflow, sources: &mut BTreeMap<RelationId, SourceInput>, step_rows: usize) -> Result<()> {
    let views: Vec<ViewSpec> = dataflow.views().values().cloned().collect();
    let mut layouts: BTreeMap<RelationId, Layout> = BTreeMap::new();
    for (_, input) in inputs_of(&views) {
        if sources.contains_key(&input.relation) {
            let layout = layouts.entry(input.relation).or_default();
            layout.widen(&input.columns, input.with_watermark);
        }
    }
    let mut projections = Projections::new();
    for (at, input) in inputs_of(&views) {
        let projection = match sources.get(&input.relation) {
            Some(source) => {
                let layout = &layouts[&input.relation];
                layout.projection(&source.spec, &input.columns, input.with_watermark)?
            }
            None => input.columns.clone(),
        };
        projections.insert(at, projection);
    }
    let tasks = dataflow.num_tasks();
    sources.retain(|relation, _| layouts.contains_key(relation));
    for (relation, layout) in layouts {
        let source = sources.get_mut(&relation);
        source.expect("it has a layout").configure(layout, tasks, step_rows)?;
    }
    dataflow.plan(&projections)
}

/// The Input nodes of views.
fn inputs_of(views: &[ViewSpec]) -> impl Iterator<Item = (NodeRef, &InputSpec)> {
    views.iter().flat_map(|view| {
        let nodes = view.graph.nodes.iter().enumerate();
        nodes.filter_map(|(index, node)| match &node.kind {
            NodeKind::Input(input) => {
                let node = NodeId(index as u32);
                Some((
                    NodeRef {
                        view: view.relation,
                        node,
                    },
                    input,
                ))
            }
            _ => None,
        })
    })
}
