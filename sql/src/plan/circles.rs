//! Pipelines that would follow each other.
//!
//! Views that share a source, or of which one reads another, run in one pipeline, unless their
//! `pipeline` option says otherwise; across pipelines a view follows another's changelog. A pipeline that
//! followed one that follows it could never say how far the tables are in it. So a view that would
//! close such a circle is refused, and told how to stand beside it.

use std::collections::{BTreeMap, BTreeSet};

use weir_engine::relation::{RelationId, ViewSpec};

use crate::catalog::{Catalog, Definition, Relation, SinkDefinition};
use crate::statement::RelationKind;
use crate::{Error, Result};

/// Refuses a relation by which pipelines would follow each other.
pub fn refuse(newcomer: &Relation, catalog: &Catalog) -> Result<()> {
    let Some(newcomer) = spec(&newcomer.definition) else {
        return Ok(());
    };
    let mut views: Vec<&ViewSpec> = catalog
        .iter()
        .filter_map(|relation| spec(&relation.definition))
        .collect();
    views.retain(|view| view.relation != newcomer.relation);
    views.push(newcomer);
    let pipelines = Pipelines::of(&views, catalog);
    let Some(through) = pipelines.circle(newcomer.relation) else {
        return Ok(());
    };
    let through = catalog
        .by_id(through)
        .map_or("another view", |relation| relation.name.as_str());
    Err(Error::new(format!(
        "'{}' reads '{through}', whose pipeline follows the one that this view would run in, and two pipelines can't \
         follow each other; give it one of its own: CREATE MATERIALIZED VIEW … WITH (pipeline = 'another name') (for a \
         sink, make its query such a view)",
        newcomer.name
    )))
}

/// What runs in a pipeline for a relation.
fn spec(definition: &Definition) -> Option<&ViewSpec> {
    match definition {
        Definition::MaterializedView(view) => Some(view),
        Definition::Sink(SinkDefinition { query, .. }) => query.as_ref(),
        _ => None,
    }
}

/// Views by pipeline, and which pipelines follow which.
struct Pipelines {
    /// Of each view, a view that stands for its pipeline.
    of: BTreeMap<RelationId, RelationId>,
    /// What each pipeline follows: a view of another, and that one's pipeline.
    follows: BTreeMap<RelationId, BTreeSet<(RelationId, RelationId)>>,
}

impl Pipelines {
    fn of(views: &[&ViewSpec], catalog: &Catalog) -> Pipelines {
        let mut of: BTreeMap<RelationId, RelationId> =
            views.iter().map(|view| (view.relation, view.relation)).collect();
        let mut unite = |one: RelationId, other: RelationId| {
            let (from, to) = (of[&one], of[&other]);
            of.values_mut()
                .filter(|pipeline| **pipeline == from)
                .for_each(|pipeline| *pipeline = to);
        };
        let names: BTreeMap<RelationId, &Option<String>> = views
            .iter()
            .map(|view| (view.relation, &view.options.pipeline))
            .collect();
        let mut readers: BTreeMap<(RelationId, &Option<String>), RelationId> = BTreeMap::new();
        for view in views {
            for read in view.graph.relations() {
                let name = &view.options.pipeline;
                if names.get(&read) == Some(&name) {
                    unite(view.relation, read);
                }
                let is_source = catalog
                    .by_id(read)
                    .is_some_and(|read| read.kind == RelationKind::Source);
                if is_source && let Some(other) = readers.insert((read, name), view.relation) {
                    unite(view.relation, other);
                }
            }
        }
        let mut follows: BTreeMap<RelationId, BTreeSet<(RelationId, RelationId)>> = BTreeMap::new();
        for view in views {
            let own = of[&view.relation];
            let others = view
                .graph
                .relations()
                .into_iter()
                .filter_map(|read| Some((read, *of.get(&read)?)));
            follows
                .entry(own)
                .or_default()
                .extend(others.filter(|(_, pipeline)| *pipeline != own));
        }
        Pipelines { of, follows }
    }

    /// A view that the pipeline of `view` follows, and whose pipeline follows that one, if any.
    fn circle(&self, view: RelationId) -> Option<RelationId> {
        let own = self.of[&view];
        let followed = self.follows.get(&own)?;
        followed
            .iter()
            .find(|(_, pipeline)| self.leads_to(*pipeline, own))
            .map(|(read, _)| *read)
    }

    fn leads_to(&self, from: RelationId, to: RelationId) -> bool {
        let mut seen = BTreeSet::from([from]);
        let mut next = vec![from];
        while let Some(pipeline) = next.pop() {
            for (_, followed) in self.follows.get(&pipeline).into_iter().flatten() {
                if *followed == to {
                    return true;
                }
                if seen.insert(*followed) {
                    next.push(*followed);
                }
            }
        }
        false
    }
}
