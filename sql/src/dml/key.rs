//! A table's key stays unique.

use std::collections::HashSet;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, filter_record_batch, take};
use weir_engine::row::{RowCodec, Rows as EncodedRows};

use super::assign::shown;
use crate::catalog::Relation;
use crate::read::Rows;
use crate::{Error, Result};
use std::sync::Arc;

/// Keys of rows, as columns and as bytes that are equal where the keys are.
struct Keys {
    columns: Vec<ArrayRef>,
    bytes: EncodedRows,
}

impl Keys {
    fn of(rows: &RecordBatch, key: &[usize]) -> Result<Keys> {
        let columns: Vec<ArrayRef> = key.iter().map(|column| rows.column(*column).clone()).collect();
        let types: Vec<_> = columns.iter().map(|column| column.data_type().clone()).collect();
        let bytes = RowCodec::for_types(&types)?.encode(&columns, rows.num_rows())?;
        Ok(Keys { columns, bytes })
    }

    /// Those at some places.
    fn at(&self, places: Vec<u32>) -> Result<Vec<ArrayRef>> {
        let places = UInt32Array::from(places);
        let taken = self.columns.iter().map(|column| take(column, &places, None));
        Ok(taken.collect::<Result<_, _>>().map_err(weir_engine::Error::from)?)
    }
}

/// Fails if a new row's key is there already, in the table or among the new rows.
pub fn check_insert(table: &Arc<Relation>, key: &[usize], new: &RecordBatch, rows: &dyn Rows) -> Result<()> {
    let keys = Keys::of(new, key)?;
    check_once(table, key, &keys)?;
    for found in rows.get(table, &keys.columns)? {
        if found.num_rows() > 0 {
            let instead = match table.append_only() {
                true => "ON CONFLICT DO NOTHING leaves such rows out",
                false => "UPDATE changes its row, and so does ON CONFLICT",
            };
            return Err(Error::new(format!(
                "key {} exists already in table '{}'; {instead}",
                pair(table, key, &Keys::of(&found, key)?, 0),
                table.name
            )));
        }
    }
    Ok(())
}

/// New rows by whether their key is there.
pub struct Parted {
    /// Those whose key is not there.
    pub fresh: RecordBatch,
    /// Those whose key is.
    pub conflicting: RecordBatch,
    /// The rows that are there with these keys.
    pub present: RecordBatch,
}

/// Parts new rows by whether the table has their keys. Of rows with the same key the first counts
/// where `first_counts`; else they are an error.
pub fn part(
    table: &Arc<Relation>,
    key: &[usize],
    new: &RecordBatch,
    rows: &dyn Rows,
    first_counts: bool,
) -> Result<Parted> {
    let keys = Keys::of(new, key)?;
    if !first_counts {
        check_once(table, key, &keys)?;
    }
    let found = rows.get(table, &keys.columns)?;
    let present = concat_batches(&table.schema, &found).map_err(weir_engine::Error::from)?;
    let mut seen = HashSet::new();
    let first: Vec<bool> = keys.bytes.iter().map(|bytes| seen.insert(bytes)).collect();
    let known = Keys::of(&present, key)?;
    let known: HashSet<&[u8]> = known.bytes.iter().collect();
    let there: Vec<bool> = keys.bytes.iter().map(|bytes| known.contains(bytes)).collect();
    let those = |wanted: bool| {
        let mask = there
            .iter()
            .zip(&first)
            .map(|(there, first)| *first && *there == wanted);
        let mask: BooleanArray = mask.map(Some).collect();
        filter_record_batch(new, &mask).map_err(weir_engine::Error::from)
    };
    Ok(Parted {
        fresh: those(false)?,
        conflicting: those(true)?,
        present,
    })
}

/// Fails if the keys would not be unique after the update. Rows may swap their keys.
pub fn check_update(
    table: &Arc<Relation>,
    key: &[usize],
    old: &RecordBatch,
    new: &RecordBatch,
    rows: &dyn Rows,
) -> Result<()> {
    let (old, new) = (Keys::of(old, key)?, Keys::of(new, key)?);
    check_once(table, key, &new)?;
    let leaving: HashSet<&[u8]> = old.bytes.iter().collect();
    let coming = new.bytes.iter().enumerate();
    let places: Vec<u32> = coming
        .filter(|(_, bytes)| !leaving.contains(bytes))
        .map(|(place, _)| place as u32)
        .collect();
    if places.is_empty() {
        return Ok(());
    }
    for found in rows.get(table, &new.at(places)?)? {
        if found.num_rows() > 0 {
            return Err(Error::new(format!(
                "the UPDATE would give a second row the key {} of table '{}'",
                pair(table, key, &Keys::of(&found, key)?, 0),
                table.name
            )));
        }
    }
    Ok(())
}

fn check_once(table: &Relation, key: &[usize], keys: &Keys) -> Result<()> {
    let mut seen = HashSet::with_capacity(keys.bytes.len());
    for (row, bytes) in keys.bytes.iter().enumerate() {
        if !seen.insert(bytes) {
            return Err(Error::new(format!(
                "two rows of the statement have the key {} of table '{}'",
                pair(table, key, keys, row),
                table.name
            )));
        }
    }
    Ok(())
}

/// `(id, day) = (5, '2024-01-01')`.
fn pair(table: &Relation, key: &[usize], keys: &Keys, row: usize) -> String {
    let names: Vec<&str> = key
        .iter()
        .map(|column| table.schema.field(*column).name().as_str())
        .collect();
    let values: Vec<String> = keys.columns.iter().map(|column| shown(column, row)).collect();
    format!("({}) = ({})", names.join(", "), values.join(", "))
}
