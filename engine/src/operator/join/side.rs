//! One side of a join: what is known of an input, and its rows.

use super::interval::Reach;
use super::*;

/// How rows of a side show in the output beside their pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// Not at all.
    InPairs,
    /// While they have no partner.
    Alone,
    /// While they have one.
    Paired,
    /// Always, with a mark that says whether they have one.
    Marked,
}

/// What is known of an input, and its rows.
pub(super) struct Side {
    pub(super) shown: Shown,
    /// Its rows have the numbers of their partners with them.
    pub(super) counts_partners: bool,
    pub(super) types: Vec<DataType>,
    pub(super) keys: Vec<usize>,
    /// The columns that are no keys: what is kept of a row.
    rest: Vec<usize>,
    codec: RowCodec,
    pub(super) state: Arrangement,
    close: Option<CloseSpec>,
    reach: Option<Reach>,
}

/// A kept row that has got its first partner or lost its last.
pub(super) struct Turned {
    pub(super) slot: Slot,
    pub(super) row: RowId,
    pub(super) weight: i64,
    pub(super) has_partner: bool,
}

/// Changes of one input that take part, with their keys.
pub(super) struct Changes {
    pub(super) batch: ChangeBatch,
    pub(super) keys: Rows,
    pub(super) hashes: Vec<u64>,
    /// Empty where nothing closes.
    pub(super) buckets: Vec<i64>,
    /// Later rows of the other side may need them.
    pub(super) kept: bool,
}

impl Changes {
    pub(super) fn keys(&self) -> Keys<'_> {
        Keys {
            rows: &self.keys,
            hashes: &self.hashes,
            buckets: &self.buckets,
        }
    }
}

/// Places of one side's rows that the other side's changes may meet.
pub(super) struct Found {
    /// The change's row; all of them in order, unless event time parts the state.
    pub(super) rows: Vec<u32>,
    pub(super) slots: Vec<Option<Slot>>,
}

/// Changes of the side's own state: slots and rows.
pub(super) struct Update<'a> {
    changes: &'a Changes,
    pub(super) slots: Vec<Slot>,
    pub(super) rest: Rows,
    /// By row, where partners are counted.
    partners: Vec<i64>,
}

/// An input's columns without the hidden watermark column of an interval join.
pub(super) fn visible(spec: &JoinSpec, input: &Node) -> Result<SchemaRef> {
    let columns = input.schema.fields().len();
    match spec.interval {
        Some(_) if columns == 0 => Err(Error::internal("an interval join's input has no watermark column")),
        Some(_) => Ok(Arc::new(input.schema.project(&(0..columns - 1).collect::<Vec<_>>())?)),
        None => Ok(input.schema.clone()),
    }
}

pub(super) fn types(schema: &Schema) -> Vec<DataType> {
    schema.fields().iter().map(|field| field.data_type().clone()).collect()
}

/// A key that begins with its time bucket.
fn push_key(bucket: i64, key: &[u8], keys: &mut Rows) {
    keys.push(&[&bucket.to_be_bytes()[..], key].concat());
}

/// Whether having a partner is a fact of the row, and not of its key.
pub(super) fn counts_partners(spec: &JoinSpec) -> bool {
    spec.residual.is_some() || spec.interval.is_some()
}

impl Side {
    /// A side whose rows have the columns of `schema`, with what is stored of it.
    pub(super) fn new(spec: &JoinSpec, is_left: bool, schema: &Schema, context: &TaskContext) -> Result<Self> {
        let keys = if is_left { &spec.left_keys } else { &spec.right_keys };
        let shown = match (spec.kind, is_left) {
            (JoinKind::Left | JoinKind::Full | JoinKind::Anti, true) | (JoinKind::Full, false) => Shown::Alone,
            (JoinKind::Semi, true) => Shown::Paired,
            (JoinKind::Mark, true) => Shown::Marked,
            _ => Shown::InPairs,
        };
        let types = types(schema);
        let rest: Vec<usize> = (0..types.len()).filter(|column| !keys.contains(column)).collect();
        // By schema, so that a column that can't be kept is named.
        let codec = RowCodec::for_schema(&schema.project(&rest)?)?;
        let counts_partners = shown != Shown::InPairs && counts_partners(spec);
        let counts_partners = counts_partners && !spec.at_once;
        let keep = match (counts_partners, rest.is_empty()) {
            (true, _) => Keep::WithPartners,
            // To be found by the begin of their bytes.
            _ if spec.at_once && is_left => Keep::Ordered,
            // All rows of a key are equal: one says how many there are.
            (_, true) => Keep::Ordered,
            (_, false) => Keep::Unordered,
        };
        let table = u16::from(!is_left);
        let state = match spec.interval {
            Some(_) => Arrangement::open_by_time(context, table, keep)?,
            None => Arrangement::open(context, table, keep, spec.close.is_some())?,
        };
        Ok(Self {
            shown,
            counts_partners,
            close: spec.close,
            reach: spec.interval.map(|interval| Reach::new(interval, is_left)),
            types,
            keys: keys.to_vec(),
            rest,
            codec,
            state,
        })
    }

    /// Adds to rows' numbers of partners, and gives those that got their first or lost their last.
    pub(super) fn count_partners(&mut self, mut hits: Vec<(RowId, Slot, i64)>) -> Result<Vec<Turned>> {
        hits.sort_unstable();
        let mut turned = Vec::new();
        for hits in hits.chunk_by(|one, other| one.0 == other.0) {
            let (row, slot, _) = hits[0];
            let rows = &mut self.state.rows;
            let before = rows.partners(row);
            let after = hits
                .iter()
                .try_fold(before, |sum, hit| sum.checked_add(hit.2))
                .filter(|after| *after >= 0)
                .ok_or_else(|| Error::internal("a row has lost more partners than it had"))?;
            if after == before {
                continue;
            }
            self.state.table.mark_dirty(slot);
            rows.set_partners(slot, row, after);
            if (before == 0) != (after == 0) {
                turned.push(Turned {
                    slot,
                    row,
                    weight: rows.weight(row),
                    has_partner: after != 0,
                });
            }
        }
        Ok(turned)
    }

    pub(super) fn key_columns(&self, batch: &ChangeBatch) -> Vec<ArrayRef> {
        self.keys.iter().map(|key| batch.column(*key).clone()).collect()
    }

    /// All columns of rows in the state, given those of their keys.
    pub(super) fn columns(&self, keys: &[ArrayRef], rows: impl Iterator<Item = RowId>) -> Result<Vec<ArrayRef>> {
        self.columns_of(keys, rows.map(|row| self.state.rows.bytes_of(row)))
    }

    /// How many of these bytes are those of the kept row that they begin with.
    pub(super) fn kept_len(&self, bytes: &[u8]) -> Result<usize> {
        self.codec.prefix_len(bytes, self.rest.len())
    }

    /// The same, of rows that are given by their bytes.
    pub(super) fn columns_of<'a>(
        &self,
        keys: &[ArrayRef],
        rows: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Vec<ArrayRef>> {
        let mut rest = self.codec.decode(rows)?.into_iter();
        let mut columns = Vec::with_capacity(self.types.len());
        for column in 0..self.types.len() {
            let found = match self.keys.iter().position(|key| *key == column) {
                Some(key) => keys.get(key).cloned(),
                None => rest.next(),
            };
            columns.push(found.ok_or_else(|| Error::internal("a kept row lacks a column"))?);
        }
        Ok(columns)
    }

    /// Which rows are on time; `None` if all are.
    pub(super) fn on_time(&self, batch: &ChangeBatch, watermark: Watermark) -> Result<Option<BooleanArray>> {
        if let Some(reach) = &self.reach {
            return reach.on_time(batch, self.types.len());
        }
        let Some(closed) = self.closed_through(watermark) else {
            return Ok(None);
        };
        let buckets = self.buckets(batch);
        let is_late = |bucket: &i64| *bucket <= closed;
        Ok(buckets
            .iter()
            .any(is_late)
            .then(|| buckets.iter().map(|bucket| Some(!is_late(bucket))).collect()))
    }

    /// The batch without the hidden watermark column.
    pub(super) fn without_watermark(&self, batch: ChangeBatch) -> Result<ChangeBatch> {
        if self.reach.is_none() {
            return Ok(batch);
        }
        let columns: Vec<usize> = (0..self.types.len()).collect();
        let rows = batch.rows().project(&columns)?;
        Ok(batch.with_rows(rows))
    }

    /// Parts of a batch, and whether they have to be kept: rows whose partners have all come only
    /// meet those.
    pub(super) fn needed(&self, batch: ChangeBatch, watermark: Watermark) -> Result<Vec<(ChangeBatch, bool)>> {
        let closed = self.reach.as_ref().and_then(|_| self.closed_through(watermark));
        let parts = match closed {
            Some(closed) => {
                let buckets = self.buckets(&batch);
                let kept: BooleanArray = buckets.iter().map(|bucket| Some(*bucket > closed)).collect();
                vec![
                    (batch.filter(&kept)?, true),
                    (batch.filter(&compute::not(&kept)?)?, false),
                ]
            }
            None => vec![(batch, true)],
        };
        Ok(parts.into_iter().filter(|(batch, _)| !batch.is_empty()).collect())
    }

    /// Each row's bucket; empty where nothing closes.
    pub(super) fn buckets(&self, batch: &ChangeBatch) -> Vec<i64> {
        let times = |column: usize| batch.column(column).as_primitive::<TimestampMicrosecondType>();
        match (&self.reach, self.close) {
            (Some(reach), _) => times(reach.time).iter().map(|time| reach.bucket(time)).collect(),
            (None, Some(close)) => times(self.keys[close.column]).iter().map(bucket_of).collect(),
            (None, None) => Vec::new(),
        }
    }

    /// The last bucket that nothing needs any more at a watermark.
    fn closed_through(&self, watermark: Watermark) -> Option<i64> {
        match (&self.reach, self.close) {
            (Some(reach), _) => reach.closed_through(watermark),
            (None, Some(close)) => closed_through(watermark, close.lateness_us),
            (None, None) => None,
        }
    }

    /// Lets go what nothing needs any more.
    pub(super) fn close(&mut self, watermark: Watermark) {
        if let Some(through) = self.closed_through(watermark) {
            self.state.close_through(through);
        }
    }

    /// The keys as they are kept, given those that the join is on.
    pub(super) fn kept_keys(&self, keys: Rows, buckets: &[i64]) -> Rows {
        if self.reach.is_none() {
            return keys;
        }
        let mut kept = Rows::new();
        for (key, bucket) in keys.iter().zip(buckets) {
            push_key(*bucket, key, &mut kept);
        }
        kept
    }

    /// The key that the join is on, of a key as it is kept.
    pub(super) fn join_key<'a>(&self, key: &'a [u8]) -> &'a [u8] {
        match self.reach {
            Some(_) => &key[BUCKET_BYTES..],
            None => key,
        }
    }

    /// The places of this side's rows that the changes of the `other` may meet.
    pub(super) fn find_partners(&mut self, changes: &Changes, other: &Side) -> Result<Found> {
        let Some(reach) = &other.reach else {
            return Ok(Found {
                rows: (0..changes.batch.num_rows() as u32).collect(),
                slots: self.state.lookup(changes.keys())?,
            });
        };
        let times = changes.batch.column(reach.time);
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let (mut rows, mut buckets) = (Vec::new(), Vec::new());
        let (mut keys, mut hashes) = (Rows::new(), Vec::new());
        for row in 0..changes.batch.num_rows() {
            for bucket in reach.partner_buckets(times.value(row)) {
                rows.push(row as u32);
                buckets.push(bucket);
                push_key(bucket, self.join_key(changes.keys.row(row)), &mut keys);
                hashes.push(changes.hashes[row]);
            }
        }
        let slots = self.state.lookup(Keys {
            rows: &keys,
            hashes: &hashes,
            buckets: &buckets,
        })?;
        Ok(Found { rows, slots })
    }

    /// Which rows have a NULL in their key that equals none; `None` if no row has.
    pub(super) fn has_null_key(&self, batch: &ChangeBatch, null_equals_null: &[bool]) -> Result<Option<BooleanArray>> {
        let mut found: Option<BooleanArray> = None;
        let keys = self.keys.iter().zip(null_equals_null).filter(|(_, equal)| !**equal);
        let keys = keys
            .map(|(key, _)| key)
            .chain(self.reach.as_ref().map(|reach| &reach.time));
        for key in keys {
            let column = batch.column(*key);
            if column.logical_null_count() > 0 {
                let is_null = compute::is_null(column)?;
                found = Some(match found {
                    Some(found) => compute::or(&found, &is_null)?,
                    None => is_null,
                });
            }
        }
        Ok(found)
    }

    pub(super) fn update<'a>(&self, changes: &'a Changes, slots: Vec<Slot>, partners: Vec<i64>) -> Result<Update<'a>> {
        let columns: Vec<ArrayRef> = self
            .rest
            .iter()
            .map(|column| changes.batch.column(*column).clone())
            .collect();
        let rest = self.codec.encode(&columns, changes.batch.num_rows())?;
        Ok(Update {
            changes,
            slots,
            rest,
            partners,
        })
    }

    /// Adds changes to the state: first inserts, so that deletes find their rows.
    pub(super) fn apply(&mut self, updates: &[Update<'_>]) -> Result<()> {
        for update in updates {
            for (row, slot) in update.slots.iter().enumerate() {
                let weight = update.changes.batch.weight(row);
                if weight > 0 {
                    let id = self.state.add(*slot, update.rest.row(row), weight)?;
                    if let Some(partners) = update.partners.get(row) {
                        self.state.rows.set_partners(*slot, id, *partners);
                    }
                }
            }
        }
        for update in updates.iter().filter(|update| !update.changes.batch.is_append_only()) {
            for (row, slot) in update.slots.iter().enumerate() {
                let weight = update.changes.batch.weight(row);
                if weight < 0 {
                    self.state.add(*slot, update.rest.row(row), weight)?;
                }
            }
        }
        Ok(())
    }
}
