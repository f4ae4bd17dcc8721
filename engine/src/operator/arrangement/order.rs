//! The numbers of a key's rows: few or many, in the order of the rows' bytes or as they came.
//!
//! Most keys have few rows, and they need no memory of their own. Many are kept in chunks, so that
//! one can be put in its place without moving all behind it. What only grows is not put in order
//! before a row has to be found in it.

use std::cmp::Ordering;

/// A chunk of twice this many rows is cut in two.
const HALF_CHUNK: usize = 128;
/// Up to this many rows are searched one by one.
const SEARCHED_THROUGH: usize = 8;
/// Rows that need no memory of their own.
const FEW: usize = 3;

/// The numbers of one key's rows.
pub(super) enum Order {
    Few { len: u8, ids: [u32; FEW] },
    Many(Box<Many>),
}

pub(super) struct Many {
    /// None is empty.
    chunks: Vec<Vec<u32>>,
    len: usize,
    sorted: bool,
}

impl Default for Order {
    fn default() -> Self {
        Order::Few { len: 0, ids: [0; FEW] }
    }
}

impl Order {
    #[cfg(test)]
    fn len(&self) -> usize {
        match self {
            Order::Few { len, .. } => usize::from(*len),
            Order::Many(many) => many.len,
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Order::Few { len: 0, .. })
    }

    /// The rows' numbers. In order if they were always put in with [`Order::insert`].
    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        let (few, chunks) = match self {
            Order::Few { len, ids } => (&ids[..usize::from(*len)], &[][..]),
            Order::Many(many) => (&[][..], &many.chunks[..]),
        };
        few.iter().chain(chunks.iter().flatten()).copied()
    }

    /// Whether rows may be appended: they are few, or not in order.
    #[inline]
    pub(super) fn may_append(&self) -> bool {
        match self {
            Order::Few { .. } => true,
            Order::Many(many) => !many.sorted,
        }
    }

    /// Whether [`Order::find`] would go through many rows one by one.
    pub(super) fn wants_sorting(&self) -> bool {
        match self {
            Order::Few { .. } => false,
            Order::Many(many) => !many.sorted && many.len > SEARCHED_THROUGH,
        }
    }

    /// Puts a row last, whatever its place.
    #[inline]
    pub(super) fn append(&mut self, id: u32) {
        match self {
            Order::Few { len, ids } if usize::from(*len) < FEW => {
                ids[usize::from(*len)] = id;
                *len += 1;
            }
            Order::Few { ids, .. } => {
                let mut chunk = Vec::with_capacity(2 * FEW + 2);
                chunk.extend_from_slice(ids);
                chunk.push(id);
                *self = Order::Many(Box::new(Many {
                    len: chunk.len(),
                    chunks: vec![chunk],
                    sorted: false,
                }));
            }
            Order::Many(many) => {
                many.len += 1;
                match many.chunks.last_mut() {
                    Some(last) if last.len() < 2 * HALF_CHUNK => last.push(id),
                    _ => many.chunks.push(vec![id]),
                }
            }
        }
    }

    /// Puts all rows in order; `compare` compares two.
    pub(super) fn sort(&mut self, mut compare: impl FnMut(u32, u32) -> Ordering) {
        let Order::Many(many) = self else { return };
        let mut all: Vec<u32> = many.chunks.iter().flatten().copied().collect();
        all.sort_unstable_by(|one, other| compare(*one, *other));
        many.chunks = all.chunks(HALF_CHUNK).map(<[u32]>::to_vec).collect();
        many.sorted = true;
    }

    /// Puts a row in its place among rows that are in order. `compare` says how a row compares to
    /// the new one.
    pub(super) fn insert(&mut self, id: u32, mut compare: impl FnMut(u32) -> Ordering) {
        match self {
            Order::Few { len, ids } if usize::from(*len) < FEW => {
                let count = usize::from(*len);
                let at = ids[..count].iter().take_while(|other| compare(**other).is_lt()).count();
                ids.copy_within(at..count, at + 1);
                ids[at] = id;
                *len += 1;
            }
            Order::Few { ids, .. } => {
                let mut chunk = ids.to_vec();
                let at = chunk.partition_point(|other| compare(*other).is_lt());
                chunk.insert(at, id);
                *self = Order::Many(Box::new(Many {
                    len: chunk.len(),
                    chunks: vec![chunk],
                    sorted: true,
                }));
            }
            Order::Many(many) => many.insert(id, compare),
        }
    }

    /// A row that `compare` finds equal.
    pub(super) fn find(&self, mut compare: impl FnMut(u32) -> Ordering) -> Option<u32> {
        match self {
            Order::Many(many) if many.sorted => {
                let (chunk, at) = many.place(&mut compare);
                let found = *many.chunks.get(chunk)?.get(at)?;
                compare(found).is_eq().then_some(found)
            }
            _ => self.iter().find(|id| compare(*id).is_eq()),
        }
    }

    /// Takes out row `id`, which `compare` finds equal.
    pub(super) fn remove(&mut self, id: u32, mut compare: impl FnMut(u32) -> Ordering) {
        match self {
            Order::Few { len, ids } => {
                let count = usize::from(*len);
                if let Some(at) = ids[..count].iter().position(|other| *other == id) {
                    ids.copy_within(at + 1..count, at);
                    *len -= 1;
                }
            }
            Order::Many(many) => {
                many.remove(id, &mut compare);
                if many.len <= FEW - 1 {
                    let mut few = Order::default();
                    self.iter().for_each(|id| few.append(id));
                    *self = few;
                }
            }
        }
    }
}

impl Many {
    /// Where the first row stands that is not less: chunk, and place in it; the place behind the
    /// last row of a chunk stands for the next chunk's first.
    fn place(&self, compare: &mut impl FnMut(u32) -> Ordering) -> (usize, usize) {
        let after = self
            .chunks
            .partition_point(|chunk| compare(chunk[chunk.len() - 1]).is_lt());
        match self.chunks.get(after) {
            Some(chunk) => (after, chunk.partition_point(|id| compare(*id).is_lt())),
            None => (after, 0),
        }
    }

    fn insert(&mut self, id: u32, mut compare: impl FnMut(u32) -> Ordering) {
        let (mut chunk, mut at) = self.place(&mut compare);
        if chunk == self.chunks.len() {
            chunk -= 1;
            at = self.chunks[chunk].len();
        }
        self.len += 1;
        let rows = &mut self.chunks[chunk];
        rows.insert(at, id);
        if rows.len() >= 2 * HALF_CHUNK {
            // Rows that come in order leave full chunks behind.
            let keep = if at + 1 == rows.len() {
                rows.len() - 1
            } else {
                HALF_CHUNK
            };
            let tail = rows.split_off(keep);
            self.chunks.insert(chunk + 1, tail);
        }
    }

    fn remove(&mut self, id: u32, compare: &mut impl FnMut(u32) -> Ordering) {
        let (mut chunk, mut at) = if self.sorted { self.place(compare) } else { (0, 0) };
        // Equal rows may stand before it.
        while chunk < self.chunks.len() {
            if let Some(found) = self.chunks[chunk][at..].iter().position(|other| *other == id) {
                at += found;
                break;
            }
            (chunk, at) = (chunk + 1, 0);
        }
        let Some(rows) = self.chunks.get_mut(chunk) else {
            return;
        };
        rows.remove(at);
        self.len -= 1;
        let left = rows.len();
        if left == 0 {
            self.chunks.remove(chunk);
        } else if left < HALF_CHUNK / 4
            && self
                .chunks
                .get(chunk + 1)
                .is_some_and(|next| left + next.len() <= HALF_CHUNK)
        {
            let next = self.chunks.remove(chunk + 1);
            self.chunks[chunk].extend(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Row numbers are the rows; several numbers may be equal as rows.
        #[test]
        fn in_order_it_is_a_sorted_list(
            steps in prop::collection::vec((any::<bool>(), 0u32..2000), 0..3000),
            row_of in 1u32..4,
        ) {
            let row = |id: u32| id / row_of;
            let mut order = Order::default();
            let mut model: Vec<u32> = Vec::new();
            for (inserts, id) in steps {
                let compare = |other: u32| row(other).cmp(&row(id));
                let has = model.contains(&id);
                if inserts && !has {
                    order.insert(id, compare);
                    model.push(id);
                } else if !inserts && has {
                    order.remove(id, compare);
                    model.retain(|other| *other != id);
                }
                prop_assert_eq!(order.len(), model.len());
                prop_assert_eq!(order.is_empty(), model.is_empty());
                prop_assert_eq!(
                    order.find(compare).map(row),
                    model.iter().map(|other| row(*other)).find(|other| *other == row(id))
                );
            }
            let found: Vec<u32> = order.iter().collect();
            prop_assert!(found.is_sorted_by_key(|id| row(*id)));
            let mut sorted = found;
            sorted.sort_unstable();
            model.sort_unstable();
            prop_assert_eq!(sorted, model);
        }

        #[test]
        fn appended_rows_can_be_sorted_when_needed(ids in prop::collection::hash_set(0u32..5000, 0..1500)) {
            let mut order = Order::default();
            for id in &ids {
                prop_assert!(order.may_append());
                order.append(*id);
            }
            let appended: Vec<u32> = ids.iter().copied().collect();
            prop_assert_eq!(order.iter().collect::<Vec<_>>(), appended);
            if order.wants_sorting() {
                order.sort(|one, other| one.cmp(&other));
                prop_assert!(order.iter().is_sorted());
            }
            for id in &ids {
                prop_assert_eq!(order.find(|other| other.cmp(id)), Some(*id));
                order.remove(*id, |other| other.cmp(id));
                prop_assert_eq!(order.find(|other| other.cmp(id)), None);
            }
            prop_assert!(order.is_empty());
        }
    }
}
