//! When a view changed: moments of time beside its changelog, so that it can be shown as it was.
//!
//! What a view held at a time is what it holds now, without the epochs that came later. So for each
//! moment at which it changed the first of the epochs is kept that brought the change; the changes
//! themselves are in the [`crate::changelog`]. Moments are microseconds since 1970 and only rise; before the one at
//! which the history begins nothing is known.

use crate::changelog::Follower;
use crate::document;
use crate::error::Result;
use crate::ids::{Epoch, RelationId};
use crate::keys;
use crate::store::{Keyspace, Reader, WriteBatch};

/// The name by which a view's history follows its changelog.
pub const FOLLOWER: &str = "history";

/// From this moment on the view's history is kept, or no longer from before it: it has the changelog up to
/// `delivered`, and the moments before it are deleted.
pub fn begin(batch: &mut WriteBatch, view: RelationId, at_us: i64, delivered: Epoch) {
    let past = keys::history_range(view);
    batch.delete_range(Keyspace::Meta, &past.start, &keys::history_key(view, at_us));
    batch.put(Keyspace::Meta, &keys::history_begin_key(view), &at_us.to_le_bytes());
    let follower = Follower {
        name: FOLLOWER.to_string(),
        relation: view,
        delivered,
    };
    follower.put(batch);
}

/// The moment from which on the view's history is kept, if it is.
pub fn begins(reader: &dyn Reader, view: RelationId) -> Result<Option<i64>> {
    let stored = reader.get(Keyspace::Meta, &keys::history_begin_key(view))?;
    let number = |bytes: Vec<u8>| document::decode_number(&bytes, &name(view)).map(|number| number as i64);
    stored.map(number).transpose()
}

/// At this moment the view changed, by the epochs from `first` on.
pub fn note(batch: &mut WriteBatch, view: RelationId, at_us: i64, first: Epoch) {
    let key = keys::history_key(view, at_us);
    batch.put(Keyspace::Meta, &key, &first.0.to_le_bytes());
}

/// The first change after a moment: when it was, and its first epoch.
pub fn next(reader: &dyn Reader, view: RelationId, after_us: i64) -> Result<Option<(i64, Epoch)>> {
    let Some(from) = after_us.checked_add(1) else {
        return Ok(None);
    };
    from_on(reader, view, from)?.next().transpose()
}

/// The last change at a moment or after it.
pub fn last(reader: &dyn Reader, view: RelationId, from_us: i64) -> Result<Option<(i64, Epoch)>> {
    from_on(reader, view, from_us)?.last().transpose()
}

/// Deletes all that is known of a view's past.
pub fn remove(batch: &mut WriteBatch, view: RelationId) {
    let moments = keys::history_range(view);
    batch.delete_range(Keyspace::Meta, &moments.start, &moments.end);
    batch.delete(Keyspace::Meta, &keys::history_begin_key(view));
}

fn from_on(
    reader: &dyn Reader,
    view: RelationId,
    from_us: i64,
) -> Result<impl Iterator<Item = Result<(i64, Epoch)>> + '_> {
    let start = keys::history_key(view, from_us);
    let entries = reader.scan(Keyspace::Meta, &start, Some(&keys::history_range(view).end));
    Ok(entries.map(move |entry| {
        let (key, first) = entry?;
        let first = document::decode_number(&first, &name(view))?;
        Ok((keys::split_history_key(&key)?, Epoch(first)))
    }))
}

fn name(view: RelationId) -> String {
    format!("the history of relation {view}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, Store};

    const VIEW: RelationId = RelationId(5);

    fn change(store: &MemoryStore, fill: impl FnOnce(&mut WriteBatch)) {
        let mut batch = WriteBatch::new();
        fill(&mut batch);
        store.commit(batch).unwrap();
    }

    #[test]
    fn changes_are_found_by_the_moment_before_them() {
        let store = MemoryStore::new();
        assert_eq!(begins(&store, VIEW).unwrap(), None);
        change(&store, |batch| {
            for view in [RelationId(4), VIEW, RelationId(6)] {
                begin(batch, view, -10, Epoch(1));
                note(batch, view, -5, Epoch(2));
                note(batch, view, 20, Epoch(7));
            }
        });
        assert_eq!(begins(&store, VIEW).unwrap(), Some(-10));
        let first = |after| next(&store, VIEW, after).unwrap();
        assert_eq!(first(-10), Some((-5, Epoch(2))));
        assert_eq!(first(-5), Some((20, Epoch(7))));
        assert_eq!(first(19), Some((20, Epoch(7))));
        assert_eq!(first(20), None);
        assert_eq!(first(i64::MAX), None);
        assert_eq!(last(&store, VIEW, -5).unwrap(), Some((20, Epoch(7))));
        assert_eq!(last(&store, VIEW, 21).unwrap(), None);
    }

    #[test]
    fn what_is_no_longer_kept_is_gone_and_the_rest_stays() {
        let store = MemoryStore::new();
        change(&store, |batch| {
            begin(batch, VIEW, 0, Epoch(1));
            (1..=9).for_each(|at| note(batch, VIEW, at * 10, Epoch(at as u64)));
        });
        change(&store, |batch| begin(batch, VIEW, 30, Epoch(3)));
        assert_eq!(begins(&store, VIEW).unwrap(), Some(30));
        assert_eq!(next(&store, VIEW, i64::MIN).unwrap(), Some((30, Epoch(3))));
        assert_eq!(next(&store, VIEW, 30).unwrap(), Some((40, Epoch(4))));
        change(&store, |batch| remove(batch, VIEW));
        assert_eq!(begins(&store, VIEW).unwrap(), None);
        assert_eq!(next(&store, VIEW, i64::MIN).unwrap(), None);
    }
}
