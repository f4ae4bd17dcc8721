//! The catalog journal: relations as documents that survive, and back.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use weir_engine::pipeline::Engine;
use weir_engine::relation::RelationId;
use weir_sql::catalog::{self, Relation};
use weir_sql::statement::RelationKind;
use weir_state::catalog::{Catalog as Journal, Entry};
use weir_state::{Keyspace, Reader, RelationIds, WriteBatch, keys};

use crate::Result;
use crate::instance::{Broken, Known};

/// Writes a relation, in place of what stood there for it.
pub fn put(batch: &mut WriteBatch, relation: &Relation) {
    Journal::put(batch, relation.id, &catalog::document(relation));
}

/// Removes a relation.
pub fn remove(batch: &mut WriteBatch, id: RelationId) {
    Journal::remove(batch, id);
}

/// What the journal holds: relations that work, and those that don't with the cause.
///
/// # Errors
/// If the journal itself can't be read.
pub fn load(store: &dyn Reader) -> Result<Known> {
    let mut known = Known::default();
    for entry in in_order(Journal::load(store)?) {
        match restore(&entry, &known) {
            Ok(relation) => known.catalog.insert(relation),
            Err(cause) => {
                let broken = broken(&entry, cause);
                tracing::error!("{} could not be restored: {}", broken.name, broken.cause);
                known.catalog.note_broken(&broken.name, &broken.cause);
                known.broken.insert(broken.name.clone(), broken);
            }
        }
    }
    Ok(known)
}

fn restore(entry: &Entry, known: &Known) -> Result<Relation, String> {
    let read = reads(&entry.document);
    let below = known.broken.values().find(|broken| read.contains(&broken.id));
    if let Some(below) = below {
        return Err(format!("it reads '{}', which could not be restored", below.name));
    }
    catalog::restore(&entry.document, entry.id, &known.catalog).map_err(|error| {
        let sql = entry.document.get("sql").and_then(Value::as_str).unwrap_or_default();
        error.render(sql)
    })
}

fn broken(entry: &Entry, cause: String) -> Broken {
    let text = |field: &str| entry.document.get(field).and_then(Value::as_str).map(str::to_string);
    let kind = entry.document.get("kind").cloned().unwrap_or_default();
    Broken {
        id: entry.id,
        name: text("name").unwrap_or_else(|| format!("relation {}", entry.id)),
        kind: serde_json::from_value(kind).unwrap_or(RelationKind::View),
        sql: text("sql").unwrap_or_default(),
        comment: text("comment"),
        reads: reads(&entry.document),
        cause,
    }
}

fn reads(document: &Value) -> Vec<RelationId> {
    let ids = document.get("depends_on").and_then(Value::as_array);
    let id = |value: &Value| Some(RelationId(value.as_u64()?.try_into().ok()?));
    ids.into_iter().flatten().filter_map(id).collect()
}

/// The entries, each behind those that it reads. A replaced view may read relations that are
/// younger than itself.
fn in_order(entries: Vec<Entry>) -> Vec<Entry> {
    let mut left: BTreeMap<RelationId, Entry> = entries.into_iter().map(|entry| (entry.id, entry)).collect();
    let mut ordered = Vec::new();
    while let Some(id) = left.keys().next().copied() {
        take(id, &mut left, &mut ordered);
    }
    ordered
}

fn take(id: RelationId, left: &mut BTreeMap<RelationId, Entry>, ordered: &mut Vec<Entry>) {
    let Some(entry) = left.remove(&id) else {
        return;
    };
    for read in reads(&entry.document) {
        take(read, left, ordered);
    }
    ordered.push(entry);
}

/// Deletes what dropped relations left behind, where a crash came between.
///
/// # Errors
/// If the store can't be read or written.
pub fn sweep(engine: &Engine, known: &Known) -> Result<()> {
    let store = engine.store();
    let mut batch = WriteBatch::new();
    let next = RelationIds::load(store.as_ref())?.allocate(&mut batch)?;
    let there: BTreeSet<RelationId> = known
        .catalog
        .iter()
        .map(|relation| relation.id)
        .chain(known.broken.values().map(|broken| broken.id))
        .collect();
    for id in (1..next.0).map(RelationId).filter(|id| !there.contains(id)) {
        let rows = keys::view_range(id);
        let state = keys::relation_state_range(id);
        let found = store
            .scan(Keyspace::View, &rows.start, Some(&rows.end))
            .next()
            .is_some()
            || store
                .scan(Keyspace::State, &state.start, Some(&state.end))
                .next()
                .is_some();
        if found {
            tracing::info!("relation {id} was dropped: deleting what it left");
            engine.drop_view(id)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn entries_come_behind_what_they_read() {
        let entry = |id: u32, reads: &[u32]| Entry {
            id: RelationId(id),
            document: json!({ "name": id.to_string(), "depends_on": reads }),
        };
        let ordered = in_order(vec![entry(1, &[]), entry(2, &[1, 5]), entry(3, &[2]), entry(5, &[1])]);
        let ids: Vec<u32> = ordered.iter().map(|entry| entry.id.0).collect();
        assert_eq!(ids, [1, 5, 2, 3]);
    }
}
