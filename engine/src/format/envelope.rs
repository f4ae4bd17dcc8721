//! What the records of a sink mean: PLAIN or UPSERT.
//!
//! PLAIN writes each insert as a record; who reads it can't take anything back. UPSERT writes one
//! record per key and delivery, the last state of it: the row, or no value where it was deleted.
//! So an upsert delivery may be repeated, or follow another one that got stuck half-way, and the
//! reader by key still ends with the right rows. That holds for keys that came and went within the
//! delivery too: part of it may have been delivered before, with the key's row. So changes are not
//! summed up over epochs, which would leave no trace of such a key.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::datatypes::SchemaRef;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::{Encoder, Encoding, EncodingKind, Envelope, EnvelopeWriter, OutRecord, encoder};
use crate::change::{self, ChangeBatch};
use crate::connector::SinkSpec;
use crate::row::RowCodec;
use crate::shard::hash_rows;
use crate::{Error, Result};

/// Makes the envelope writer of a sink. The key is encoded as `KEY ENCODE` says, else as text
/// where it is one column, else as a JSON object of its columns. Of the connector's options it
/// reads `force_append_only`.
///
/// # Errors
/// If the envelope and the key don't go together, or an encoding refuses a column.
pub fn writer(spec: &SinkSpec) -> Result<Box<dyn EnvelopeWriter>> {
    let name = &spec.name;
    let force_append_only = flag(spec, "force_append_only")?;
    let values = encoder(&spec.format.value, &spec.schema)?;
    let key = Key::of(spec)?;
    match spec.format.envelope {
        Envelope::Plain => Ok(Box::new(Plain {
            name: name.clone(),
            force_append_only,
            values,
            key,
            dropped: 0,
        })),
        Envelope::Upsert => {
            if force_append_only {
                return Err(Error::Config(format!(
                    "sink '{name}': force_append_only goes with FORMAT PLAIN; FORMAT UPSERT writes deletes"
                )));
            }
            let key =
                key.ok_or_else(|| Error::Config(format!("sink '{name}': FORMAT UPSERT needs key = 'column, …'")))?;
            Ok(Box::new(Upsert {
                name: name.clone(),
                values,
                key,
            }))
        }
    }
}

fn flag(spec: &SinkSpec, option: &str) -> Result<bool> {
    match spec.connector.options.get(option).map(String::as_str) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(Error::Config(format!(
            "sink '{}': {option} = '{other}' is neither 'true' nor 'false'",
            spec.name
        ))),
    }
}

/// A sink's key and how it becomes bytes.
struct Key {
    columns: Vec<usize>,
    schema: SchemaRef,
    codec: RowCodec,
    encoder: Box<dyn Encoder>,
    /// Why no column may be NULL, where none may.
    needs_values: Option<&'static str>,
}

impl Key {
    fn of(spec: &SinkSpec) -> Result<Option<Self>> {
        let name = &spec.name;
        if spec.key.is_empty() {
            return match spec.format.key {
                None => Ok(None),
                Some(_) => Err(Error::Config(format!(
                    "sink '{name}': KEY ENCODE needs key = 'column, …'"
                ))),
            };
        }
        let schema = Arc::new(spec.schema.project(&spec.key)?);
        let single = spec.key.len() == 1;
        let kind = if single { EncodingKind::Text } else { EncodingKind::Json };
        let by_default = Encoding {
            kind,
            options: Default::default(),
        };
        let encoding = spec.format.key.as_ref().unwrap_or(&by_default);
        let without_null = matches!(encoding.kind, EncodingKind::Text | EncodingKind::Bytes);
        if without_null && !single {
            return Err(Error::Config(format!(
                "sink '{name}': a key of {} columns can't be TEXT or BYTES; use KEY ENCODE JSON",
                spec.key.len()
            )));
        }
        // NULL equals nothing, itself included, so it tells no rows apart: a table and an UPSERT
        // source refuse it in a key too.
        let needs_values = if spec.format.envelope == Envelope::Upsert {
            Some("FORMAT UPSERT tells rows apart by it: filter such rows out, or give it a value with coalesce")
        } else {
            without_null.then_some("use KEY ENCODE JSON, or filter such rows out")
        };
        Ok(Some(Self {
            columns: spec.key.clone(),
            codec: RowCodec::for_schema(&schema)?,
            encoder: encoder(encoding, &schema)?,
            schema,
            needs_values,
        }))
    }

    fn of_rows(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.columns.iter().map(|column| rows.column(*column).clone()).collect();
        change::record_batch(self.schema.clone(), columns, rows.num_rows())
    }

    fn encode(&mut self, rows: &RecordBatch, sink: &str) -> Result<Encoded> {
        let keys = self.of_rows(rows)?;
        if let Some(why) = self.needs_values
            && let Some(column) = keys.columns().iter().position(|column| column.null_count() > 0)
        {
            let name = self.schema.field(column).name();
            return Err(Error::Data(format!(
                "sink '{sink}': the key column '{name}' is NULL in a row; {why}"
            )));
        }
        Encoded::of(self.encoder.as_mut(), &keys)
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        names.join(", ")
    }
}

/// Rows as bytes, one after the other.
struct Encoded {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Encoded {
    fn of(encoder: &mut dyn Encoder, rows: &RecordBatch) -> Result<Self> {
        let mut encoded = Self {
            bytes: Vec::new(),
            ends: Vec::with_capacity(rows.num_rows()),
        };
        encoder.encode(rows, &mut encoded.bytes, &mut encoded.ends)?;
        if encoded.ends.len() != rows.num_rows() {
            return Err(Error::internal(format!(
                "{} rows were encoded as {}",
                rows.num_rows(),
                encoded.ends.len()
            )));
        }
        Ok(encoded)
    }

    fn row(&self, index: usize) -> Vec<u8> {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        self.bytes[start..self.ends[index]].to_vec()
    }
}

/// Each insert is a record.
struct Plain {
    name: String,
    force_append_only: bool,
    values: Box<dyn Encoder>,
    key: Option<Key>,
    dropped: u64,
}

impl Plain {
    fn write_inserts(&mut self, changes: &ChangeBatch, out: &mut Vec<OutRecord>) -> Result<()> {
        let values = Encoded::of(self.values.as_mut(), changes.rows())?;
        let keys = match &mut self.key {
            Some(key) => Some(key.encode(changes.rows(), &self.name)?),
            None => None,
        };
        out.reserve(changes.num_rows());
        for row in 0..changes.num_rows() {
            for _ in 0..changes.weight(row).max(0) {
                let key = keys.as_ref().map(|keys| keys.row(row));
                out.push(OutRecord {
                    key,
                    value: Some(values.row(row)),
                });
            }
        }
        Ok(())
    }
}

impl EnvelopeWriter for Plain {
    fn write(&mut self, changes: &[ChangeBatch], out: &mut Vec<OutRecord>) -> Result<()> {
        self.dropped = 0;
        if changes.iter().all(ChangeBatch::is_append_only) {
            return changes.iter().try_for_each(|batch| self.write_inserts(batch, out));
        }
        let changes = change::consolidate(changes)?;
        let deletes = (0..changes.num_rows())
            .map(|row| changes.weight(row).min(0).unsigned_abs())
            .sum::<u64>();
        if deletes > 0 && !self.force_append_only {
            return Err(Error::Data(format!(
                "sink '{}': FORMAT PLAIN can't write deletes, and the input has {deletes}; use FORMAT UPSERT \
                 with a key, or force_append_only = 'true' to leave deletes out",
                self.name
            )));
        }
        self.dropped = deletes;
        self.write_inserts(&inserts_of(&changes)?, out)
    }

    fn deletes_dropped(&self) -> u64 {
        self.dropped
    }
}

fn inserts_of(changes: &ChangeBatch) -> Result<ChangeBatch> {
    let rows = (0..changes.num_rows()).filter(|row| changes.weight(*row) > 0);
    changes.take(&UInt32Array::from_iter_values(rows.map(|row| row as u32)))
}

/// One record per key: the last state of it.
struct Upsert {
    name: String,
    values: Box<dyn Encoder>,
    key: Key,
}

impl EnvelopeWriter for Upsert {
    fn write(&mut self, changes: &[ChangeBatch], out: &mut Vec<OutRecord>) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let changes = ChangeBatch::concat(&changes[0].schema(), changes)?;
        let last = self.last_states(&changes)?;
        let rows: UInt32Array = last.iter().map(|state| state.row).collect::<Vec<_>>().into();
        let rows = changes.take(&rows)?;
        let keys = self.key.encode(rows.rows(), &self.name)?;
        let kept: Vec<u32> = (0..last.len())
            .filter(|i| last[*i].inserted)
            .map(|i| i as u32)
            .collect();
        let values = Encoded::of(self.values.as_mut(), rows.take(&kept.into())?.rows())?;
        let mut value = 0;
        out.reserve(last.len());
        for (i, state) in last.iter().enumerate() {
            let record = OutRecord {
                key: Some(keys.row(i)),
                value: state.inserted.then(|| values.row(value)),
            };
            value += usize::from(state.inserted);
            out.push(record);
        }
        Ok(())
    }
}

/// What becomes of a key: the row it has now, or one of those it had.
struct LastState {
    row: u32,
    inserted: bool,
}

impl Upsert {
    /// For each key of the changes its last state, in order of first appearance.
    fn last_states(&self, changes: &ChangeBatch) -> Result<Vec<LastState>> {
        let key_columns: Vec<ArrayRef> = self
            .key
            .columns
            .iter()
            .map(|column| changes.column(*column).clone())
            .collect();
        let keys = self.key.codec.encode(&key_columns, changes.num_rows())?;
        let hashes = hash_rows(&keys);
        let mut states: Vec<LastState> = Vec::new();
        let mut places: HashTable<u32> = HashTable::new();
        for row in 0..changes.num_rows() {
            let inserted = changes.weight(row) > 0;
            let same = |place: &u32| keys.row(states[*place as usize].row as usize) == keys.row(row);
            let rehash = |place: &u32| hashes[states[*place as usize].row as usize];
            let twice = match places.entry(hashes[row], same, rehash) {
                Entry::Vacant(entry) => {
                    entry.insert(states.len() as u32);
                    states.push(LastState {
                        row: row as u32,
                        inserted,
                    });
                    changes.weight(row) > 1
                }
                Entry::Occupied(entry) => {
                    let state = &mut states[*entry.get() as usize];
                    let twice = inserted && (state.inserted || changes.weight(row) > 1);
                    *state = LastState {
                        row: row as u32,
                        inserted,
                    };
                    twice
                }
            };
            if twice {
                return Err(Error::Data(format!(
                    "sink '{}': the key '{}' is not unique: two rows have the same one; choose a key that \
                     tells all rows apart",
                    self.name,
                    self.key.names()
                )));
            }
        }
        // Its row was never written, so there is nothing to take back.
        let is_null = |row: u32| key_columns.iter().any(|column| column.is_null(row as usize));
        states.retain(|state| state.inserted || !is_null(state.row));
        Ok(states)
    }
}

#[cfg(test)]
mod tests;
