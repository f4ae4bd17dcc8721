//! What a dataflow reads from outside, and where its Input nodes find their columns in that.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use weir_state::{DmlCommit, RelationId, Store, dml};

use super::dataflow::{Dataflow, NodeRef, Projections, RelationInput};
use super::decode::Layout;
use super::source::SourceInput;
use crate::Result;
use crate::change::{self, ChangeBatch};
use crate::graph::{InputSpec, NodeId, NodeKind};
use crate::relation::{StoredRelation, ViewSpec};

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

/// What a view needs of a source.
pub fn layout_of(view: &ViewSpec, source: RelationId) -> Layout {
    let mut layout = Layout::default();
    for (_, input) in inputs_of(std::slice::from_ref(view)) {
        if input.relation == source {
            layout.widen(&input.columns, input.with_watermark);
        }
    }
    layout
}

/// The changes of these tables in the log of DML, after one commit and up to another.
pub fn of_tables(
    store: &dyn Store,
    tables: &BTreeMap<RelationId, StoredRelation>,
    (after, upto): (DmlCommit, DmlCommit),
) -> Result<HashMap<RelationId, Vec<ChangeBatch>>> {
    let mut found: HashMap<RelationId, Vec<ChangeBatch>> = HashMap::new();
    for entry in dml::read(store, after, upto)? {
        let (_, relation, _, bytes) = entry?;
        if let Some(table) = tables.get(&relation) {
            let batches = change::from_bytes(&bytes, &table.schema)?;
            found.entry(relation).or_default().extend(batches);
        }
    }
    Ok(found)
}

/// Changes of one origin, which stay in order in one task; exchanges deal them further.
pub fn in_task_0(dataflow: &Dataflow, batches: Vec<ChangeBatch>) -> RelationInput {
    let mut by_task = vec![Vec::new(); dataflow.num_tasks()];
    by_task[0] = batches;
    RelationInput {
        batches: by_task,
        ..RelationInput::default()
    }
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
