//! Groups of sessions, in place of the sessions' rows.
//!
//! An entry is a group of a session: its bytes are the session's first and last time, as [`layout`] writes
//! them, the columns that it is grouped by beside the partition's, and the partial results of the
//! calls. Rows that come are added to the entries of their session; where they join two, the entries of
//! both are put together.
//!
//! [`layout`]: super::layout

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute;

use super::layout::{Emit, Layout, Part, TIME_BYTES, time_bytes};
use super::runs::{Gap, Region};
use super::{Change, Changes};
use crate::change::{ChangeBatch, record_batch};
use crate::graph::{Node, SessionGroups, SessionKey, SessionSpec};
use crate::operator::aggregate::Partials;
use crate::operator::arrangement::{Arrangement, RowId};
use crate::operator::fault::in_words;
use crate::table::Slot;
use crate::{Error, Result};

pub(super) struct Grouped {
    layout: Layout,
    keys: Vec<SessionKey>,
    partials: Partials,
}

/// What a settling makes of entries.
#[derive(Default)]
struct Work {
    leaving: Vec<(Slot, RowId, (i64, i64))>,
    coming: Vec<Coming>,
}

struct Coming {
    slot: Slot,
    session: (i64, i64),
    /// The columns beside the partition's, as bytes.
    key: Vec<u8>,
    part: Slot,
}

impl Grouped {
    /// # Errors
    /// If the plan doesn't fit together, or a column can't be kept in state.
    pub(super) fn new(spec: &SessionSpec, groups: &SessionGroups, node: &Node, input: &Node) -> Result<Self> {
        let mut rest = Vec::new();
        for key in &groups.keys {
            if let SessionKey::Column(column) = key
                && !spec.partition.contains(column)
                && !rest.contains(column)
            {
                rest.push(*column);
            }
        }
        let has = |key: SessionKey| groups.keys.contains(&key);
        let whole = spec.partition.iter().all(|column| has(SessionKey::Column(*column)));
        if !whole || !has(SessionKey::Start) && !has(SessionKey::End) {
            return Err(Error::internal("groups are not within sessions"));
        }
        Ok(Self {
            layout: Layout::new(spec, rest, &input.schema, &node.schema)?,
            keys: groups.keys.clone(),
            partials: Partials::new(&groups.calls, &input.schema)?,
        })
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Adds changes, sorted by slot and time, to the sessions of their regions.
    pub(super) fn settle(
        &mut self,
        state: &mut Arrangement,
        gap: Gap,
        (batches, changes): (&[Changes], &[Change]),
        regions: &[Region],
        emit: Option<&mut Emit>,
    ) -> Result<()> {
        self.partials.clear();
        let mut work = Work::default();
        let mut parts: Vec<Vec<Option<Slot>>> = batches.iter().map(|batch| vec![None; batch.slots.len()]).collect();
        let mut left = changes;
        for region in regions {
            let count = left.partition_point(|change| (change.slot, change.time) <= (region.slot, region.through));
            let (own, rest) = left.split_at(count);
            left = rest;
            self.gather(state, gap, region, own, &mut parts, &mut work)?;
        }
        for (batch, parts) in batches.iter().zip(parts) {
            self.add_rows(&batch.batch, parts)?;
        }
        self.write(state, gap, work, emit)
    }

    /// Finds the entries that the changes of a region concern.
    fn gather(
        &mut self,
        state: &Arrangement,
        gap: Gap,
        region: &Region,
        changes: &[Change],
        parts: &mut [Vec<Option<Slot>>],
        work: &mut Work,
    ) -> Result<()> {
        let mut found: BTreeMap<&[u8], Slot> = BTreeMap::new();
        for change in changes {
            let part = *found.entry(change.row).or_insert_with(|| self.partials.begin());
            parts[change.place.0][change.place.1] = Some(part);
        }
        // Rows only come, so what was several sessions, or none, is one.
        let session = (region.from, region.through);
        let bounds = gap.bounds(session);
        let moves = region.old.iter().any(|member| member.bounds != bounds);
        for member in &region.old {
            let (key, saved) = self.entry(state.rows.bytes_of(member.row))?;
            let part = match found.get(key) {
                Some(part) => *part,
                None if moves => *found.entry(key).or_insert_with(|| self.partials.begin()),
                None => continue,
            };
            self.partials.add_saved(part, saved)?;
            work.leaving.push((region.slot, member.row, member.bounds));
        }
        let coming = found.into_iter().map(|(key, part)| Coming {
            slot: region.slot,
            session,
            key: key.to_vec(),
            part,
        });
        work.coming.extend(coming);
        Ok(())
    }

    /// Adds a batch's rows to their parts; those without one are not for now.
    fn add_rows(&mut self, batch: &ChangeBatch, parts: Vec<Option<Slot>>) -> Result<()> {
        let rows: Vec<u32> = (0..parts.len() as u32)
            .filter(|row| parts[*row as usize].is_some())
            .collect();
        let slots: Vec<Slot> = parts.into_iter().flatten().collect();
        match rows.len() == batch.num_rows() {
            true => self.partials.add_rows(batch, &slots),
            false if rows.is_empty() => Ok(()),
            false => self.partials.add_rows(&batch.take(&UInt32Array::from(rows))?, &slots),
        }
    }

    fn write(&mut self, state: &mut Arrangement, gap: Gap, work: Work, emit: Option<&mut Emit>) -> Result<()> {
        let mut unheard = Emit::default();
        let emit = emit.unwrap_or(&mut unheard);
        for (slot, row, bounds) in work.leaving {
            state.rows.remove(slot, row);
            state.table.mark_dirty(slot);
            emit.push(slot, row, -1, bounds);
        }
        let mut bytes = Vec::new();
        for Coming {
            slot,
            session,
            key,
            part,
        } in work.coming
        {
            bytes.clear();
            bytes.extend_from_slice(&time_bytes(session.0));
            bytes.extend_from_slice(&time_bytes(session.1));
            bytes.extend_from_slice(&key);
            self.partials.save(part, &mut bytes)?;
            let row = state.add(slot, &bytes, 1)?;
            emit.push(slot, row, 1, gap.bounds(session));
        }
        Ok(())
    }

    /// What an entry is grouped by beside its partition, and its partial results.
    fn entry<'a>(&self, bytes: &'a [u8]) -> Result<(&'a [u8], &'a [u8])> {
        let behind = &bytes[2 * TIME_BYTES..];
        Ok(behind.split_at(self.layout.rest_len(behind)?))
    }

    /// A batch of groups: their keys, and what the calls say of them.
    pub(super) fn batch(&mut self, state: &Arrangement, part: &Part<'_>) -> Result<ChangeBatch> {
        self.partials.clear();
        let (mut keys, mut slots) = (Vec::new(), Vec::new());
        for row in part.rows {
            let (key, saved) = self.entry(state.rows.bytes_of(*row))?;
            let slot = self.partials.begin();
            self.partials.add_saved(slot, saved)?;
            keys.push(key);
            slots.push(slot);
        }
        let found = self.layout.columns(state, part, keys.into_iter())?;
        let [starts, ends] = part.bounds();
        let column = |key: &SessionKey| match key {
            SessionKey::Start => Some(starts.clone()),
            SessionKey::End => Some(ends.clone()),
            SessionKey::Column(column) => {
                let of = |(place, array): &(usize, ArrayRef)| (place == column).then(|| array.clone());
                found.iter().find_map(of)
            }
        };
        let columns = self.keys.iter().map(column).collect::<Option<Vec<_>>>();
        let mut columns = columns.ok_or_else(|| Error::internal("a group lacks a column"))?;
        for call in 0..self.partials.calls() {
            let results = self.results(call, &slots, &columns)?;
            columns.push(results);
        }
        part.batch(&self.layout.schema, columns)
    }

    /// What a call says of these groups; where it can't be computed, the group is named.
    fn results(&mut self, call: usize, slots: &[Slot], columns: &[ArrayRef]) -> Result<ArrayRef> {
        let error = match self.partials.results(call, slots) {
            Err(error @ Error::Data(_)) => error,
            done => return done,
        };
        for (nth, slot) in slots.iter().enumerate() {
            if let Err(Error::Data(cause)) = self.partials.results(call, &[*slot]) {
                let nth = UInt32Array::from(vec![nth as u32]);
                let keys = columns[..self.keys.len()].iter();
                let keys = keys
                    .map(|key| compute::take(key, &nth, None))
                    .collect::<Result<_, _>>()?;
                let places: Vec<usize> = (0..self.keys.len()).collect();
                let schema = self.layout.schema.project(&places)?;
                let key = record_batch(schema.into(), keys, 1)?;
                return Err(Error::Data(format!("{cause}, in the group ({})", in_words(&key, 0))));
            }
        }
        Err(error)
    }

    /// Memory beside the state, about.
    pub(super) fn bytes(&self) -> usize {
        self.partials.bytes()
    }
}
