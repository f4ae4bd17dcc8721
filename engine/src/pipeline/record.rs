//! A pipeline's record: what of a pipeline, beside the state of its views, is stored with each
//! epoch, and how it is read back and cut in two.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Value, json};
use weir_state::pipelines::PipelineRecord;
use weir_state::{DmlCommit, Epoch, PipelineId, RelationId};

use super::dataflow::NodeRef;
use super::publication::NO_TABLES;
use super::source::SourceProgress;
use crate::graph::NodeId;
use crate::operator::Watermark;

/// The name under which a pipeline follows views of others.
pub fn follower_name(pipeline: PipelineId) -> String {
    format!("pipeline {pipeline}")
}

/// What a record holds in the form that only this module knows.
pub fn extra(
    watermarks: &HashMap<NodeRef, Watermark>,
    sources: impl Iterator<Item = (RelationId, Option<Watermark>)>,
    right: &BTreeMap<RelationId, Epoch>,
    dml_read: DmlCommit,
    last_inputs: &HashMap<RelationId, i64>,
    due_us: Option<i64>,
) -> Value {
    let watermarks: BTreeMap<String, Watermark> = watermarks
        .iter()
        .map(|(at, us)| (format!("{}:{}", at.view, at.node), *us))
        .collect();
    let sources: BTreeMap<String, Watermark> = sources
        .filter_map(|(id, watermark)| Some((id.to_string(), watermark?)))
        .collect();
    let inputs: BTreeMap<String, i64> = last_inputs.iter().map(|(view, us)| (view.to_string(), *us)).collect();
    json!({
        "watermarks": watermarks,
        "inputs": inputs,
        "sources": sources,
        "right": right,
        "dml_read": dml_read,
        "due_us": due_us,
    })
}

/// When something came last to each view that closes by the clock, microseconds since the epoch.
pub fn last_inputs(record: &PipelineRecord) -> HashMap<RelationId, i64> {
    let stored = record.extra.get("inputs").and_then(Value::as_object);
    let parse = |(view, us): (&String, &Value)| Some((RelationId(view.parse().ok()?), us.as_i64()?));
    stored.into_iter().flatten().filter_map(parse).collect()
}

/// When it has something to do next though nothing comes, microseconds since the epoch.
pub fn due_us(record: &PipelineRecord) -> Option<i64> {
    record.extra.get("due_us").and_then(Value::as_i64)
}

/// The watermarks of its nodes.
pub fn watermarks(record: &PipelineRecord) -> HashMap<NodeRef, Watermark> {
    let stored = record.extra.get("watermarks").and_then(Value::as_object);
    let parse = |(at, us): (&String, &Value)| {
        let (view, node) = at.split_once(':')?;
        let at = NodeRef {
            view: RelationId(view.parse().ok()?),
            node: NodeId(node.parse().ok()?),
        };
        Some((at, us.as_i64()?))
    };
    stored.into_iter().flatten().filter_map(parse).collect()
}

/// How far it has read a source.
pub fn source_progress(record: &PipelineRecord, source: RelationId) -> SourceProgress {
    let id = source.to_string();
    let watermark = record.extra.get("sources").and_then(|sources| sources.get(&id));
    let stored = record.positions.get(&id);
    stored
        .map(|stored| SourceProgress::restore(stored, watermark.and_then(Value::as_i64)))
        .unwrap_or_default()
}

/// Whether what stood in its sources when they were opened is in.
pub fn is_caught_up(record: &PipelineRecord) -> bool {
    let mut sources = record.positions.values();
    sources.all(|splits| !splits.is_empty() && splits.values().all(|split| split.caught_up))
}

/// The last epoch at which one of its views was right (see [`super::publication`]).
pub fn right(record: &PipelineRecord, view: RelationId) -> Epoch {
    let right = record.extra.get("right").and_then(|right| right.get(view.to_string()));
    right.and_then(Value::as_u64).map_or(record.epoch, Epoch)
}

/// The same for all its views.
pub fn rights(record: &PipelineRecord) -> BTreeMap<RelationId, Epoch> {
    let views = record.views.iter();
    views.map(|view| (*view, right(record, *view))).collect()
}

/// Up to where it has read the DML log.
pub fn dml_read(record: &PipelineRecord) -> DmlCommit {
    let read = record.extra.get("dml_read").and_then(Value::as_u64);
    read.map_or(NO_TABLES, DmlCommit)
}

/// The record of some of its views alone, which read `reads`: what they read of the others they
/// follow from this epoch on.
pub fn restrict(
    record: &PipelineRecord,
    id: PipelineId,
    views: &BTreeSet<RelationId>,
    reads: &BTreeSet<RelationId>,
) -> PipelineRecord {
    let (views, others): (Vec<RelationId>, Vec<RelationId>) =
        record.views.iter().partition(|view| views.contains(view));
    let left = others.into_iter().map(|other| (other, record.epoch));
    let mut changelogs: BTreeMap<RelationId, Epoch> = record.changelogs.clone();
    changelogs.extend(left);
    changelogs.retain(|view, _| reads.contains(view));
    let source = |id: &String| id.parse().is_ok_and(|id| reads.contains(&RelationId(id)));
    let mut extra = record.extra.clone();
    // All are by view, the watermarks by node besides.
    for of_views in ["watermarks", "right", "inputs"] {
        if let Some(of_views) = extra.get_mut(of_views).and_then(Value::as_object_mut) {
            let mine = |at: &String| views.iter().any(|view| at.split(':').next() == Some(&view.to_string()));
            of_views.retain(|at, _| mine(at));
        }
    }
    PipelineRecord {
        id,
        views,
        positions: record
            .positions
            .iter()
            .filter(|(id, _)| source(id))
            .map(|(id, splits)| (id.clone(), splits.clone()))
            .collect(),
        changelogs,
        extra,
        ..record.clone()
    }
}
