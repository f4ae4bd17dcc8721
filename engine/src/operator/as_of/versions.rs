//! Versions: the records of an upsert relation, each of which says what its key's row is from its
//! time on.
//!
//! They are kept as they come, so that no answer depends on how many of them a step had. A record
//! takes the place of one with the same key and time that came before it: a correction, where both have
//! come in order, as all records of a key do. A tombstone has no time. It counts from the watermark that its
//! split had before it, which says how far the split has come, and ends the last version even if that is
//! from later. It is kept as an *end*, a place without a row.

use std::collections::HashMap;

use super::*;

impl AsOf {
    /// Gives tombstones their places, and drops those of keys without a version.
    pub(super) fn versions(&self, changes: Changes, batch: &ChangeBatch) -> Result<Changes> {
        let (tombstone, watermark) = (self.right.is_tombstone(batch), self.right.watermark_of(batch));
        let mut versions = Changes {
            slots: Vec::with_capacity(changes.slots.len()),
            others: Vec::with_capacity(changes.slots.len()),
            rows: Rows::new(),
            weights: Vec::new(),
        };
        // The last place of a key, with the records before the one that is looked at.
        let mut last: HashMap<Slot, Vec<u8>> = HashMap::new();
        for (nth, slot) in changes.slots.iter().enumerate() {
            let known = match last.remove(slot) {
                Some(place) => Some(place),
                None => self.last_place(*slot)?,
            };
            let row = changes.rows.row(nth);
            let (place, row) = match (tombstone(nth), known) {
                (true, None) => continue,
                (true, Some(known)) => {
                    let told = watermark(nth).map(|time| self.places.of_time(time).to_vec());
                    let place = told.map_or(known.clone(), |told| told.max(known));
                    (place.clone(), Side::end_at(&place))
                }
                (false, known) => {
                    let place = row[..self.right.place_len(row)?].to_vec();
                    (known.map_or(place.clone(), |known| known.max(place)), row.to_vec())
                }
            };
            last.insert(*slot, place);
            versions.slots.push(*slot);
            versions.others.push(changes.others[nth]);
            versions.rows.push(&row);
            versions.weights.push(1);
        }
        Ok(versions)
    }

    fn last_place(&self, slot: Slot) -> Result<Option<Vec<u8>>> {
        let last = self.right.state.rows.below(slot, &[u8::MAX]).next();
        last.map(|row| Ok(self.right.place_of(row)?.to_vec())).transpose()
    }

    /// Puts versions into the state, in their order.
    pub(super) fn apply_versions(&mut self, changes: &[Changes]) -> Result<()> {
        for changes in changes {
            for (nth, slot) in changes.slots.iter().enumerate() {
                let row = changes.rows.row(nth);
                let place = &row[..self.right.place_len(row)?];
                let there = self.right.state.rows.from(*slot, place).next();
                let there = there.filter(|there| self.right.state.rows.bytes_of(*there).starts_with(place));
                if let Some(there) = there {
                    self.right.state.rows.remove(*slot, there);
                }
                self.right.state.add(*slot, row, 1)?;
            }
        }
        Ok(())
    }
}
