//! Views that are not born yet: parts of what they begin with are stored, and they have no epoch.
//!
//! A view is marked with its first part. Until the mark is taken away, with its first epoch, nobody may
//! see what is stored of it; and if nobody goes on with it, all of that is deleted.

use crate::error::Result;
use crate::history;
use crate::ids::RelationId;
use crate::keys;
use crate::store::{Keyspace, Reader, WriteBatch};

/// The batch holds a part of what the view begins with.
pub fn mark(batch: &mut WriteBatch, view: RelationId) {
    batch.put(Keyspace::Meta, &keys::unborn_key(view), &[]);
}

/// The batch is the view's first epoch.
pub fn unmark(batch: &mut WriteBatch, view: RelationId) {
    batch.delete(Keyspace::Meta, &keys::unborn_key(view));
}

/// Whether what is stored of a relation is not to be seen.
pub fn is_unborn(reader: &dyn Reader, view: RelationId) -> Result<bool> {
    Ok(reader.get(Keyspace::Meta, &keys::unborn_key(view))?.is_some())
}

/// Deletes a relation's state, rows, changes and history, and the mark.
pub fn clear(batch: &mut WriteBatch, view: RelationId) {
    let state = keys::relation_state_range(view);
    batch.delete_range(Keyspace::State, &state.start, &state.end);
    let rows = keys::view_range(view);
    batch.delete_range(Keyspace::View, &rows.start, &rows.end);
    batch.delete_range(Keyspace::Log, &rows.start, &rows.end);
    history::remove(batch, view);
    unmark(batch, view);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Epoch, Shard, TableId};
    use crate::store::{MemoryStore, Store};
    use crate::{changelog, decode_counter};

    #[test]
    fn what_is_stored_of_an_unborn_view_goes_without_a_trace() {
        let store = MemoryStore::new();
        let views = [RelationId(1), RelationId(2)];
        let mut batch = WriteBatch::new();
        for view in views {
            let table = TableId {
                relation: view,
                ordinal: 0,
            };
            batch.put(Keyspace::State, &keys::state_key(table, Shard(3), b"k"), b"v");
            batch.add(Keyspace::View, &keys::view_key(view, b"row"), 2);
            changelog::append(&mut batch, view, Epoch(7), 0, b"chunk");
            mark(&mut batch, view);
        }
        store.commit(batch).unwrap();
        assert!(views.iter().all(|view| is_unborn(&store, *view).unwrap()));
        let mut batch = WriteBatch::new();
        clear(&mut batch, views[0]);
        unmark(&mut batch, views[1]);
        store.commit(batch).unwrap();
        assert!(views.iter().all(|view| !is_unborn(&store, *view).unwrap()));
        let row = |view| store.get(Keyspace::View, &keys::view_key(view, b"row")).unwrap();
        assert_eq!(row(views[0]), None);
        assert_eq!(decode_counter(&row(views[1]).unwrap()).unwrap(), 2);
        let chunks = |view| changelog::bytes(&store, view).unwrap();
        assert_eq!(chunks(views[0]), 0);
        assert!(chunks(views[1]) > 0);
    }
}
