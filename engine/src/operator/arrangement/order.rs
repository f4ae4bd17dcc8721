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

    /// The rows' numbers. In order if they were always put in with [`Order::insert_at`].
    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        let (few, chunks) = match self {
            Order::Few { len, ids } => (&ids[..usize::from(*len)], &[][..]),
            Order::Many(many) => (&[][..], &many.chunks[..]),
        };
        few.iter().chain(chunks.iter().flatten()).copied()
    }

    /// The rows' numbers from a spot on. In order as with [`Order::iter`].
    pub(super) fn iter_from(&self, spot: Spot) -> impl Iterator<Item = u32> {
        let (few, first, chunks) = match self {
            Order::Few { len, ids } => (&ids[spot.at..usize::from(*len)], &[][..], &[][..]),
            Order::Many(many) => {
                let first = many.chunks.get(spot.chunk).map_or(&[][..], |chunk| &chunk[spot.at..]);
                (&[][..], first, many.chunks.get(spot.chunk + 1..).unwrap_or_default())
            }
        };
        few.iter().chain(first).chain(chunks.iter().flatten()).copied()
    }

    /// The rows' numbers before a spot, backwards.
    pub(super) fn iter_before(&self, spot: Spot) -> impl Iterator<Item = u32> {
        let (last, chunks) = match self {
            Order::Few { ids, .. } => (&ids[..spot.at], &[][..]),
            Order::Many(many) => {
                let last = many.chunks.get(spot.chunk).map_or(&[][..], |chunk| &chunk[..spot.at]);
                (last, &many.chunks[..spot.chunk])
            }
        };
        let chunks = chunks.iter().rev().flat_map(|chunk| chunk.iter().rev());
        last.iter().rev().chain(chunks).copied()
    }

    /// Whether rows may be appended: they are few, or not in order.
    #[inline]
    pub(super) fn may_append(&self) -> bool {
        match self {
            Order::Few { .. } => true,
            Order::Many(many) => !many.sorted,
        }
    }

    /// Whether [`Order::spot`] would go through many rows one by one.
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

    /// Where a row is, or belongs; `compare` says how another row compares to it.
    pub(super) fn spot(&self, mut compare: impl FnMut(u32) -> Ordering) -> Spot {
        match self {
            Order::Few { len, ids } => {
                let count = usize::from(*len);
                let mut at = count;
                for (place, id) in ids[..count].iter().enumerate() {
                    match compare(*id) {
                        Ordering::Less => {}
                        Ordering::Equal => return Spot::found(0, place, *id),
                        Ordering::Greater => at = at.min(place),
                    }
                }
                Spot {
                    chunk: 0,
                    at,
                    found: None,
                }
            }
            Order::Many(many) if many.sorted => many.spot(compare),
            Order::Many(many) => many.search(compare),
        }
    }

    /// Puts a row where it belongs, among rows that are in order.
    pub(super) fn insert_at(&mut self, spot: Spot, id: u32) {
        debug_assert!(spot.found.is_none());
        match self {
            Order::Few { len, ids } if usize::from(*len) < FEW => {
                ids.copy_within(spot.at..usize::from(*len), spot.at + 1);
                ids[spot.at] = id;
                *len += 1;
            }
            Order::Few { ids, .. } => {
                let mut chunk = Vec::with_capacity(2 * FEW + 2);
                chunk.extend_from_slice(ids);
                chunk.insert(spot.at, id);
                *self = Order::Many(Box::new(Many {
                    len: chunk.len(),
                    chunks: vec![chunk],
                    sorted: true,
                }));
            }
            Order::Many(many) => many.insert_at(spot, id),
        }
    }

    /// Takes out the row that was found.
    pub(super) fn remove_at(&mut self, spot: Spot) {
        debug_assert!(spot.found.is_some());
        match self {
            Order::Few { len, ids } => {
                ids.copy_within(spot.at + 1..usize::from(*len), spot.at);
                *len -= 1;
            }
            Order::Many(many) => {
                many.remove_at(spot);
                if many.len < FEW {
                    let mut few = Order::default();
                    self.iter().for_each(|id| few.append(id));
                    *self = few;
                }
            }
        }
    }
}

/// A place among the rows of an [`Order`]; good until it changes.
#[derive(Clone, Copy)]
pub(super) struct Spot {
    chunk: usize,
    at: usize,
    /// The row that stands there, if it is equal to the one that was looked for.
    pub(super) found: Option<u32>,
}

impl Spot {
    fn found(chunk: usize, at: usize, id: u32) -> Self {
        Self {
            chunk,
            at,
            found: Some(id),
        }
    }
}

impl Many {
    /// Of rows in order; what is behind all of them belongs to the last chunk.
    fn spot(&self, mut compare: impl FnMut(u32) -> Ordering) -> Spot {
        let after = self
            .chunks
            .partition_point(|chunk| compare(chunk[chunk.len() - 1]).is_lt());
        let Some(chunk) = self.chunks.get(after) else {
            return Spot {
                chunk: after - 1,
                at: self.chunks[after - 1].len(),
                found: None,
            };
        };
        let at = chunk.partition_point(|id| compare(*id).is_lt());
        Spot {
            chunk: after,
            at,
            found: chunk.get(at).copied().filter(|id| compare(*id).is_eq()),
        }
    }

    /// Of rows in any order: only whether and where the row is.
    fn search(&self, mut compare: impl FnMut(u32) -> Ordering) -> Spot {
        for (place, chunk) in self.chunks.iter().enumerate() {
            if let Some(at) = chunk.iter().position(|id| compare(*id).is_eq()) {
                return Spot::found(place, at, chunk[at]);
            }
        }
        Spot {
            chunk: self.chunks.len(),
            at: 0,
            found: None,
        }
    }

    fn insert_at(&mut self, spot: Spot, id: u32) {
        self.len += 1;
        let rows = &mut self.chunks[spot.chunk];
        rows.insert(spot.at, id);
        if rows.len() >= 2 * HALF_CHUNK {
            // Rows that come in order leave full chunks behind.
            let keep = match spot.at + 1 == rows.len() {
                true => rows.len() - 1,
                false => HALF_CHUNK,
            };
            let tail = rows.split_off(keep);
            self.chunks.insert(spot.chunk + 1, tail);
        }
    }

    fn remove_at(&mut self, spot: Spot) {
        let rows = &mut self.chunks[spot.chunk];
        rows.remove(spot.at);
        self.len -= 1;
        let left = rows.len();
        let next = self.chunks.get(spot.chunk + 1).map_or(HALF_CHUNK, Vec::len);
        if left == 0 {
            self.chunks.remove(spot.chunk);
        } else if left < HALF_CHUNK / 4 && left + next <= HALF_CHUNK {
            let next = self.chunks.remove(spot.chunk + 1);
            self.chunks[spot.chunk].extend(next);
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
                let has = model.iter().any(|other| row(*other) == row(id));
                let spot = order.spot(compare);
                prop_assert_eq!(spot.found.is_some(), has);
                if inserts && !has {
                    order.insert_at(spot, id);
                    model.push(id);
                } else if !inserts && has {
                    order.remove_at(spot);
                    model.retain(|other| row(*other) != row(id));
                }
                prop_assert_eq!(order.len(), model.len());
                prop_assert_eq!(order.is_empty(), model.is_empty());
            }
            let found: Vec<u32> = order.iter().collect();
            prop_assert!(found.is_sorted_by_key(|id| row(*id)));
            for id in [0, 700, 1300, 2000] {
                let spot = order.spot(|other| row(other).cmp(&row(id)));
                let (before, from): (Vec<u32>, Vec<u32>) = found.iter().partition(|other| row(**other) < row(id));
                prop_assert_eq!(order.iter_from(spot).collect::<Vec<_>>(), from);
                prop_assert!(order.iter_before(spot).eq(before.into_iter().rev()));
            }
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
                let spot = order.spot(|other| other.cmp(id));
                prop_assert_eq!(spot.found, Some(*id));
                order.remove_at(spot);
                prop_assert_eq!(order.spot(|other| other.cmp(id)).found, None);
            }
            prop_assert!(order.is_empty());
        }
    }
}
