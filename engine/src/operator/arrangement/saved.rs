//! Weighted rows as bytes in the store.
//!
//! A chunk is a version byte, then one record for each row: its length, its bytes, the weight
//! added (zigzag), and with [`Keep::WithPartners`] its number of partners plus one; 0 there says
//! that the row had gone.

use super::{END, Keep, RowId, UNCHANGED, WeightedRows};
use crate::operator::codec::{Reader, damaged, write_bytes, write_i64, write_u64};
use crate::table::{Save, Slot, Slots};
use crate::{Error, Result};

/// Version of the format.
const VERSION: u8 = 1;

impl Slots for WeightedRows {
    fn reset(&mut self, slot: Slot) {
        if slot.index() >= self.bags.len() {
            // Many at once: a step makes new slots by the thousand.
            self.bags.reserve(slot.index() + 1 - self.bags.len());
            self.bags.resize_with(self.bags.capacity(), Default::default);
            return;
        }
        let bag = &mut self.bags[slot.index()];
        if bag.order.is_empty() && bag.changed == END {
            (bag.note, bag.total) = (0, 0);
            return;
        }
        let bag = std::mem::take(&mut self.bags[slot.index()]);
        // Rows that have gone are in the chain only, all others in the order.
        self.clear_chain(bag.changed);
        for id in bag.order.iter() {
            self.free_row(id);
            self.live_rows -= 1;
        }
    }

    fn clear(&mut self, _slots: usize) {
        *self = Self::new(self.keep);
    }

    fn load(&mut self, slot: Slot, bytes: &[u8]) -> Result<()> {
        let (version, rest) = bytes.split_first().ok_or_else(damaged)?;
        if *version != VERSION {
            return Err(Error::State(format!(
                "a stored collection of rows has version {version}, this program reads {VERSION}; \
                 use the program that wrote the data directory, or a newer one"
            )));
        }
        let mut rest = Reader::new(rest);
        while !rest.is_at_end() {
            let (row, weight) = (rest.bytes()?, rest.i64()?);
            let partners = match self.keep {
                Keep::WithPartners => rest.u64()?.checked_sub(1),
                _ => None,
            };
            self.load_row(slot, row, weight, partners)?;
        }
        Ok(())
    }

    fn save(&mut self, slot: Slot, save: Save, out: &mut Vec<u8>) -> Result<()> {
        let bag = &mut self.bags[slot.index()];
        let chain = std::mem::replace(&mut bag.changed, END);
        match save {
            Save::Whole => {
                out.push(VERSION);
                for id in self.bags[slot.index()].order.iter() {
                    self.save_row(id, self.rows[id as usize].weight, out);
                }
            }
            Save::Delta => {
                let begin = out.len();
                out.push(VERSION);
                let mut next = chain;
                while next != END {
                    let row = &self.rows[next as usize];
                    let has_partners = self.keep == Keep::WithPartners && row.weight != 0;
                    if row.unsaved != 0 || has_partners {
                        self.save_row(next, row.unsaved, out);
                    }
                    next = row.next_changed;
                }
                if out.len() == begin + 1 {
                    out.truncate(begin);
                }
            }
        }
        self.clear_chain(chain);
        Ok(())
    }

    fn is_empty(&self, slot: Slot) -> bool {
        self.bags[slot.index()].order.is_empty()
    }
}

impl WeightedRows {
    /// The rows of a chain count as saved; those that have gone are free.
    fn clear_chain(&mut self, first: u32) {
        let mut next = first;
        while next != END {
            let row = &mut self.rows[next as usize];
            let id = std::mem::replace(&mut next, row.next_changed);
            row.next_changed = UNCHANGED;
            row.unsaved = 0;
            if row.weight == 0 {
                self.free_row(id);
            }
        }
    }

    fn save_row(&self, id: u32, weight: i64, out: &mut Vec<u8>) {
        let bytes = self.bytes_of(RowId(id));
        write_bytes(bytes, out);
        write_i64(weight, out);
        if self.keep == Keep::WithPartners {
            let has_gone = self.rows[id as usize].weight == 0;
            write_u64(
                if has_gone {
                    0
                } else {
                    self.partners[id as usize] as u64 + 1
                },
                out,
            );
        }
    }

    /// Takes in what was saved: none of it is a change.
    fn load_row(&mut self, slot: Slot, row: &[u8], weight: i64, partners: Option<u64>) -> Result<()> {
        let total = &mut self.bags[slot.index()].total;
        *total = total.checked_add(weight).ok_or_else(damaged)?;
        let id = match weight {
            0 => self.spot(slot, row).found.ok_or_else(damaged)?,
            1.. => self.insert(slot, row, weight, false)?.0,
            _ => self.delete(slot, row, weight, false).map_err(|_| damaged())?.0,
        };
        if let Some(partners) = partners {
            self.partners[id as usize] = i64::try_from(partners).map_err(|_| damaged())?;
        }
        Ok(())
    }
}
