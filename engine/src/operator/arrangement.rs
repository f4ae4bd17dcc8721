//! Arrangements: by key, rows and their weights. What nearly every operator with rows remembers.
//!
//! An [`Arrangement`] is a [`KeyedTable`] (which keys there are, what of them is in memory, what
//! has to be written) and [`WeightedRows`] (their rows). A row here is the bytes that the row codec
//! gives its columns, without those of the key. The rows of a key are kept as they came, or in the
//! order of their bytes where the operator needs that; a key with many rows is put in order when
//! a row of it has to be found.
//!
//! All weights are positive: a row that is deleted more often than it was inserted means that the
//! input is no relation. Within a step inserts are to be applied before deletes.

use std::cmp::Ordering;

use weir_state::WriteBatch;

use crate::change::ChangeBatch;
use crate::operator::{OperatorStats, TaskContext, Watermark};
use crate::table::{KeyedTable, Keys, Layout, NEVER, Slot, TableOptions};
use crate::{Error, Result};

mod arena;
mod order;
mod saved;
#[cfg(test)]
mod tests;

use arena::{Arena, Place};
use order::{Order, Spot};

/// Number of a row. Good until the next checkpoint even if the row goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RowId(pub(super) u32);

/// In which order a key's rows are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// In any; equal rows may be kept apart.
    Unordered,
    /// By their bytes; equal rows are one with the sum of their weights.
    Ordered,
    /// As `Ordered`, and each row has a number of partners with it: a function of the row.
    WithPartners,
}

/// Batches of together up to this many rows are made one.
const GATHERED_ROWS: usize = 16 * 1024;

/// Of the time bucket that keys may begin with.
pub(super) const BUCKET_BYTES: usize = size_of::<i64>();

/// The end of a chain of changed rows.
const END: u32 = u32::MAX;
/// Not in the chain.
const UNCHANGED: u32 = u32::MAX - 1;

struct Row {
    place: Place,
    bytes: u32,
    /// The next row of the same key that changed since the key was last saved.
    next_changed: u32,
    /// 0: the row has gone, and its number is free as soon as that is saved.
    weight: i64,
    /// Of its weight, what is not saved.
    unsaved: i64,
}

/// The rows of one key.
struct Bag {
    order: Order,
    /// The chain's first.
    changed: u32,
    /// The operator's.
    note: u32,
    /// The sum of the weights.
    total: i64,
}

impl Default for Bag {
    fn default() -> Self {
        Self {
            order: Order::default(),
            changed: END,
            note: 0,
            total: 0,
        }
    }
}

/// Rows and weights by slot.
pub(super) struct WeightedRows {
    keep: Keep,
    arena: Arena,
    rows: Vec<Row>,
    /// By row; empty unless [`Keep::WithPartners`].
    partners: Vec<i64>,
    unused: Vec<u32>,
    bags: Vec<Bag>,
    live_rows: usize,
}

impl WeightedRows {
    pub(super) fn new(keep: Keep) -> Self {
        Self {
            keep,
            arena: Arena::new(),
            rows: Vec::new(),
            partners: Vec::new(),
            unused: Vec::new(),
            bags: Vec::new(),
            live_rows: 0,
        }
    }

    /// Adds `weight` (not 0) of a row to a slot.
    ///
    /// # Errors
    /// If the row's weight would become negative, or exceed an i64.
    pub(super) fn add(&mut self, slot: Slot, row: &[u8], weight: i64) -> Result<RowId> {
        let bag = &mut self.bags[slot.index()];
        bag.total = bag.total.checked_add(weight).ok_or_else(too_often)?;
        if weight > 0 {
            self.insert(slot, row, weight, true)
        } else {
            self.delete(slot, row, weight, true)
        }
    }

    /// `counted` changes are unsaved ones; others come from the store.
    fn insert(&mut self, slot: Slot, row: &[u8], weight: i64, counted: bool) -> Result<RowId> {
        let may_append = self.keep == Keep::Unordered && self.bags[slot.index()].order.may_append();
        let id = if may_append {
            let id = self.new_row(row, weight, counted)?;
            self.bags[slot.index()].order.append(id);
            id
        } else {
            let spot = self.spot(slot, row);
            match spot.found {
                Some(id) => {
                    let found = &mut self.rows[id as usize];
                    found.weight = found.weight.checked_add(weight).ok_or_else(too_often)?;
                    found.unsaved += if counted { weight } else { 0 };
                    id
                }
                None => {
                    let id = self.new_row(row, weight, counted)?;
                    self.bags[slot.index()].order.insert_at(spot, id);
                    id
                }
            }
        };
        if counted {
            self.note_change(slot, id);
        }
        Ok(RowId(id))
    }

    fn delete(&mut self, slot: Slot, row: &[u8], weight: i64, counted: bool) -> Result<RowId> {
        if self.bags[slot.index()].order.wants_sorting() {
            let Self { bags, rows, arena, .. } = self;
            bags[slot.index()]
                .order
                .sort(|one, other| bytes_of(rows, arena, one).cmp(bytes_of(rows, arena, other)));
        }
        // Equal rows may be kept apart.
        let mut left = weight;
        loop {
            let spot = self.spot(slot, row);
            let Some(id) = spot.found else {
                return Err(Error::internal("a row is deleted more often than it was inserted"));
            };
            let found = &mut self.rows[id as usize];
            let taken = left.max(-found.weight);
            found.weight += taken;
            left -= taken;
            let has_gone = found.weight == 0;
            if counted {
                found.unsaved += taken;
                self.note_change(slot, id);
            }
            if has_gone {
                self.bags[slot.index()].order.remove_at(spot);
                self.live_rows -= 1;
                if !counted {
                    self.free_row(id);
                }
            }
            if left == 0 {
                return Ok(RowId(id));
            }
        }
    }

    fn spot(&self, slot: Slot, row: &[u8]) -> Spot {
        let order = &self.bags[slot.index()].order;
        order.spot(|id| bytes_of(&self.rows, &self.arena, id).cmp(row))
    }

    fn new_row(&mut self, row: &[u8], weight: i64, counted: bool) -> Result<u32> {
        let id = match self.unused.last() {
            Some(id) => *id,
            None => self.rows.len() as u32,
        };
        if id >= UNCHANGED {
            return Err(Error::Data("more than 2^32 rows of state in one task".to_string()));
        }
        let new = Row {
            place: self.arena.push(id, row)?,
            bytes: row.len() as u32,
            next_changed: UNCHANGED,
            weight,
            unsaved: if counted { weight } else { 0 },
        };
        let with_partners = self.keep == Keep::WithPartners;
        if self.unused.pop().is_some() {
            self.rows[id as usize] = new;
            if with_partners {
                self.partners[id as usize] = 0;
            }
        } else {
            self.rows.push(new);
            if with_partners {
                self.partners.push(0);
            }
        }
        self.live_rows += 1;
        Ok(id)
    }

    fn free_row(&mut self, id: u32) {
        let row = &self.rows[id as usize];
        self.arena.free(row.place, row.bytes);
        self.unused.push(id);
    }

    #[inline]
    fn note_change(&mut self, slot: Slot, id: u32) {
        let row = &mut self.rows[id as usize];
        if row.next_changed == UNCHANGED {
            let bag = &mut self.bags[slot.index()];
            row.next_changed = bag.changed;
            bag.changed = id;
        }
    }

    /// A row of a slot.
    pub(super) fn find(&self, slot: Slot, row: &[u8]) -> Option<RowId> {
        self.spot(slot, row).found.map(RowId)
    }

    /// Takes a row out of its slot, whatever its weight.
    pub(super) fn remove(&mut self, slot: Slot, id: RowId) {
        let spot = self.spot(slot, self.bytes_of(id));
        debug_assert_eq!(spot.found, Some(id.0), "rows that are kept apart aren't removed");
        let row = &mut self.rows[id.0 as usize];
        let weight = std::mem::take(&mut row.weight);
        row.unsaved -= weight;
        let bag = &mut self.bags[slot.index()];
        bag.total -= weight;
        bag.order.remove_at(spot);
        self.live_rows -= 1;
        self.note_change(slot, id.0);
    }

    /// A slot's rows.
    #[inline]
    pub(super) fn of(&self, slot: Slot) -> impl Iterator<Item = RowId> {
        self.bags[slot.index()].order.iter().map(RowId)
    }

    /// A slot's rows from these bytes on, in order. Only of rows that are kept in order.
    pub(super) fn from<'a>(&'a self, slot: Slot, bytes: &[u8]) -> impl Iterator<Item = RowId> + use<'a> {
        let spot = self.spot(slot, bytes);
        self.bags[slot.index()].order.iter_from(spot).map(RowId)
    }

    /// A slot's rows below these bytes, the greatest first. Only of rows that are kept in order.
    pub(super) fn below<'a>(&'a self, slot: Slot, bytes: &[u8]) -> impl Iterator<Item = RowId> + use<'a> {
        let spot = self.spot(slot, bytes);
        self.bags[slot.index()].order.iter_before(spot).map(RowId)
    }

    /// The sum of the weights of a slot's rows.
    #[inline]
    pub(super) fn total(&self, slot: Slot) -> i64 {
        self.bags[slot.index()].total
    }

    /// What the operator has set for the slot; 0 if it hasn't since the slot began, or was loaded.
    pub(super) fn note(&self, slot: Slot) -> u32 {
        self.bags[slot.index()].note
    }

    /// Sets what [`WeightedRows::note`] gives.
    pub(super) fn set_note(&mut self, slot: Slot, note: u32) {
        self.bags[slot.index()].note = note;
    }

    /// A row's bytes.
    #[inline]
    pub(super) fn bytes_of(&self, id: RowId) -> &[u8] {
        bytes_of(&self.rows, &self.arena, id.0)
    }

    /// A row's weight; 0 if it has gone.
    #[inline]
    pub(super) fn weight(&self, id: RowId) -> i64 {
        self.rows[id.0 as usize].weight
    }

    /// A row's number of partners.
    pub(super) fn partners(&self, id: RowId) -> i64 {
        self.partners[id.0 as usize]
    }

    /// Sets a row's number of partners.
    pub(super) fn set_partners(&mut self, slot: Slot, id: RowId, partners: i64) {
        self.partners[id.0 as usize] = partners;
        self.note_change(slot, id.0);
    }

    /// Gives `each` two runs of rows, both in the order of their bytes, side by side: what stands for a
    /// row in the one, in the other, or in both. `row` is the row that an element stands for.
    pub(super) fn side_by_side<T>(
        &self,
        old: impl Iterator<Item = T>,
        new: impl Iterator<Item = T>,
        row: impl Fn(&T) -> RowId,
        mut each: impl FnMut(Option<T>, Option<T>),
    ) {
        let (mut old, mut new) = (old.peekable(), new.peekable());
        loop {
            let order = match (old.peek().map(&row), new.peek().map(&row)) {
                (None, None) => return,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(one), Some(other)) if one == other => Ordering::Equal,
                // A row that went and came again has another number.
                (Some(one), Some(other)) => self.bytes_of(one).cmp(self.bytes_of(other)),
            };
            let leaves = if order.is_le() { old.next() } else { None };
            let comes = if order.is_ge() { new.next() } else { None };
            each(leaves, comes);
        }
    }

    /// Gives back memory of rows that have gone.
    fn compact(&mut self) -> Result<()> {
        let Self { arena, rows, .. } = self;
        arena.compact(|owner, place| rows[owner as usize].place = place)
    }

    fn bytes(&self) -> usize {
        // Most keys have few rows; those with many take four bytes each in chunks.
        self.arena.bytes()
            + self.rows.capacity() * size_of::<Row>()
            + self.partners.capacity() * 8
            + self.unused.capacity() * 4
            + self.bags.capacity() * size_of::<Bag>()
            + self.live_rows * 4
    }
}

#[inline]
fn bytes_of<'a>(rows: &[Row], arena: &'a Arena, id: u32) -> &'a [u8] {
    let row = &rows[id as usize];
    arena.get(row.place, row.bytes)
}

fn too_often() -> Error {
    Error::Data("a row is repeated more than 2^63 times".to_string())
}

/// A state table of weighted rows by key.
pub(super) struct Arrangement {
    /// The keys.
    pub(super) table: KeyedTable,
    /// Their rows.
    pub(super) rows: WeightedRows,
    bucketed: bool,
}

impl Arrangement {
    /// Opens the node's state table `n`.
    pub(super) fn open(context: &TaskContext, n: u16, keep: Keep, bucketed: bool) -> Result<Self> {
        let table = KeyedTable::open(TableOptions {
            id: context.table(n),
            layout: Layout::Deltas,
            shards: context.shards.clone(),
            store: context.store.clone(),
            entry_budget: context.entry_budget,
            bucketed,
        })?;
        Ok(Self {
            table,
            rows: WeightedRows::new(keep),
            bucketed,
        })
    }

    /// The same, of keys that begin with their time bucket ([`BUCKET_BYTES`]): one that is else the
    /// same may be in several.
    pub(super) fn open_by_time(context: &TaskContext, n: u16, keep: Keep) -> Result<Self> {
        let mut opened = Self::open(context, n, keep, true)?;
        opened.table.set_leading_bytes(BUCKET_BYTES);
        Ok(opened)
    }

    /// The slot of each key, made where there is none.
    pub(super) fn resolve(&mut self, keys: Keys<'_>) -> Result<Vec<Slot>> {
        let mut slots = Vec::new();
        self.table.resolve(keys, &mut self.rows, &mut slots)?;
        Ok(slots)
    }

    /// The slot of each key that has one.
    pub(super) fn lookup(&mut self, keys: Keys<'_>) -> Result<Vec<Option<Slot>>> {
        let mut slots = Vec::new();
        self.table.lookup(keys, &mut self.rows, &mut slots)?;
        Ok(slots)
    }

    /// Adds `weight` (not 0) of a row to a slot, to be saved.
    pub(super) fn add(&mut self, slot: Slot, row: &[u8], weight: i64) -> Result<RowId> {
        self.table.mark_dirty(slot);
        self.rows.add(slot, row, weight)
    }

    /// Drops all rows of the buckets up to and with `through`.
    pub(super) fn close_through(&mut self, through: i64) {
        debug_assert!(self.bucketed);
        self.table.close_through(through, &mut self.rows);
    }

    /// The slots of a bucket that have rows.
    pub(super) fn load_bucket(&mut self, bucket: i64) -> Result<Vec<Slot>> {
        let mut slots = Vec::new();
        self.table.load_bucket(bucket, &mut self.rows, &mut slots)?;
        Ok(slots)
    }

    pub(super) fn checkpoint(&mut self, batch: &mut WriteBatch) -> Result<()> {
        self.table.checkpoint(&mut self.rows, batch)
    }

    pub(super) fn committed(&mut self) -> Result<()> {
        self.table.committed(&mut self.rows);
        self.rows.compact()
    }

    pub(super) fn complete(&mut self, entries: usize) -> Result<bool> {
        self.table.complete(entries, &mut self.rows)
    }

    pub(super) fn count_into(&self, stats: &mut OperatorStats) {
        stats.state_entries += self.table.entries() as u64;
        stats.state_bytes += (self.table.bytes() + self.rows.bytes()) as u64;
    }
}

/// The bucket of a time, or of none. The extremes of time are no buckets of their own.
pub(super) fn bucket_of(time: Option<i64>) -> i64 {
    time.map_or(NEVER, |time| time.clamp(i64::MIN + 1, NEVER - 1))
}

/// The last bucket that is closed at a watermark, if any.
pub(super) fn closed_through(watermark: Watermark, lateness_us: i64) -> Option<i64> {
    match watermark {
        Watermark::MIN => None,
        Watermark::MAX => Some(Watermark::MAX - 1),
        _ => Some(watermark.saturating_sub(lateness_us)),
    }
}

/// Drops empty batches, and makes one of several small ones: each costs something as such.
pub(super) fn gathered(batches: Vec<ChangeBatch>) -> Result<Vec<ChangeBatch>> {
    let mut batches = batches;
    batches.retain(|batch| !batch.is_empty());
    let rows: usize = batches.iter().map(ChangeBatch::num_rows).sum();
    match batches.first() {
        Some(first) if batches.len() > 1 && rows <= GATHERED_ROWS => {
            Ok(vec![ChangeBatch::concat(&first.schema(), &batches)?])
        }
        _ => Ok(batches),
    }
}
