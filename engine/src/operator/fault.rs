//! Rows that can't be computed: an overflow, a division by zero, a bad cast.
//!
//! Expressions are computed over whole batches, and one bad row fails its batch. Then, and only
//! then, the batch is halved until the bad rows stand alone. So whether a row is bad is a fact of
//! the row, whatever it came together with, and good rows cost nothing more.
//!
//! An operator leaves a bad row out and says so. When the row is deleted, that fails as its insert
//! did, and is left out too: what comes out is as if the row had never been. Whether the view may go
//! on without it isn't the operator's to say; that is judged when the epoch is made.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::change::ChangeBatch;
use crate::error::BadRecord;
use crate::format::sql_timestamp;
use crate::row::RowCodec;
use crate::{Error, Result};

/// Hidden columns begin so: ours, and those that DataFusion makes.
const HIDDEN: [&str; 2] = ["weir_", "__"];
/// Characters of one value that are shown.
const VALUE_CHARS: usize = 200;

/// A row that an operator left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Why it can't be computed.
    pub cause: String,
    /// Its values, encoded: the same row has the same.
    pub key: Vec<u8>,
    /// Its values in words, cut.
    pub row: String,
    /// How often it was to be added, or taken back.
    pub weight: i64,
    /// Where it stood in the operator's only input: which batch, and which row of it.
    pub at: Option<(usize, usize)>,
}

/// Computes something of a batch's rows: at once, or, where that fails, of its halves, down to
/// single rows. Rows that fail alone go to `faults`, and give `None` in their place. `at` is where
/// the batch stands in the operator's input.
///
/// # Errors
/// What `run` fails with that is no row's fault: anything but [`Error::Data`].
pub(super) fn by_row<T>(
    batch: &ChangeBatch,
    at: Option<(usize, usize)>,
    faults: &mut Vec<Fault>,
    mut run: impl FnMut(&ChangeBatch) -> Result<T>,
) -> Result<Vec<Option<T>>> {
    let mut parts = Vec::with_capacity(1);
    halve(batch, at, faults, &mut run, &mut parts)?;
    Ok(parts)
}

fn halve<T>(
    batch: &ChangeBatch,
    at: Option<(usize, usize)>,
    faults: &mut Vec<Fault>,
    run: &mut impl FnMut(&ChangeBatch) -> Result<T>,
    parts: &mut Vec<Option<T>>,
) -> Result<()> {
    match (run(batch), batch.num_rows()) {
        (Ok(part), _) => parts.push(Some(part)),
        (Err(Error::Data(cause)), 1) => {
            parts.push(None);
            faults.push(Fault::new(cause, batch, at)?);
        }
        (Err(Error::Data(_)), rows @ 2..) => {
            let half = rows / 2;
            let behind = at.map(|(nth, row)| (nth, row + half));
            halve(&batch.slice(0, half), at, faults, run, parts)?;
            halve(&batch.slice(half, rows - half), behind, faults, run, parts)?;
        }
        (Err(error), _) => return Err(error),
    }
    Ok(())
}

/// The rows of a batch that pass a check; those that fail it go to `faults`.
///
/// # Errors
/// As [`by_row`].
pub(super) fn passing(
    batch: ChangeBatch,
    faults: &mut Vec<Fault>,
    mut check: impl FnMut(&ChangeBatch) -> Result<()>,
) -> Result<ChangeBatch> {
    let parts = by_row(&batch, None, faults, |part| {
        check(part)?;
        Ok(part.num_rows())
    })?;
    if matches!(parts[..], [Some(_)]) {
        return Ok(batch);
    }
    let mut kept: Vec<u32> = Vec::with_capacity(batch.num_rows());
    let mut next = 0;
    for part in parts {
        let rows = part.unwrap_or(1) as u32;
        kept.extend(part.is_some().then_some(next..next + rows).into_iter().flatten());
        next += rows;
    }
    batch.take(&UInt32Array::from(kept))
}

impl Fault {
    /// The only row of a batch.
    fn new(cause: String, batch: &ChangeBatch, at: Option<(usize, usize)>) -> Result<Self> {
        let codec = RowCodec::for_schema(&batch.schema())?;
        let rows = codec.encode(batch.rows().columns(), 1)?;
        Ok(Self {
            cause,
            key: rows.row(0).to_vec(),
            row: in_words(batch.rows(), 0),
            weight: batch.weight(0),
            at,
        })
    }
}

/// A row's values for messages, as `id = 2, name = 'a'`, cut to [`BadRecord::MAX_BYTES`].
pub fn in_words(rows: &RecordBatch, row: usize) -> String {
    let schema = rows.schema();
    let columns = schema.fields().iter().zip(rows.columns());
    let shown = columns.filter(|(field, _)| !HIDDEN.iter().any(|begin| field.name().starts_with(begin)));
    let values = shown.map(|(field, column)| format!("{} = {}", field.name(), value_in_words(column, row)));
    let mut text = values.collect::<Vec<_>>().join(", ");
    if text.len() > BadRecord::MAX_BYTES {
        text.truncate(text.floor_char_boundary(BadRecord::MAX_BYTES - '…'.len_utf8()));
        text.push('…');
    }
    text
}

fn value_in_words(column: &dyn Array, row: usize) -> String {
    if let (DataType::Timestamp(TimeUnit::Microsecond, zone), true) = (column.data_type(), column.is_valid(row)) {
        let us = column.as_primitive::<TimestampMicrosecondType>().value(row);
        return sql_timestamp(us, zone.is_some());
    }
    let options = FormatOptions::new().with_null("NULL");
    let value = ArrayFormatter::try_new(column, &options).and_then(|formatter| formatter.value(row).try_to_string());
    let Ok(value) = value else {
        return "?".to_string();
    };
    let mut shown: String = value.chars().take(VALUE_CHARS).collect();
    if shown.len() < value.len() {
        shown.push('…');
    }
    let is_text = matches!(
        column.data_type(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    );
    match is_text && column.is_valid(row) {
        true => format!("'{shown}'"),
        false => shown,
    }
}

/// Rows left out, summed: one that was taken back is as if it had not been.
#[derive(Debug, Default)]
pub(crate) struct Sums<P = ()> {
    by_row: BTreeMap<(Vec<u8>, String), (Fault, P)>,
}

impl<P> Sums<P> {
    /// Adds a row, and what is known of it.
    pub fn add(&mut self, fault: Fault, known: P) {
        if fault.weight == 0 {
            return;
        }
        let key = (fault.key.clone(), fault.cause.clone());
        match self.by_row.get_mut(&key) {
            None => {
                self.by_row.insert(key, (fault, known));
            }
            Some((sum, _)) => {
                sum.weight = sum.weight.saturating_add(fault.weight);
                if sum.weight == 0 {
                    self.by_row.remove(&key);
                }
            }
        }
    }

    /// How many different rows are left out.
    pub fn len(&self) -> usize {
        self.by_row.len()
    }

    /// Whether a row is among them.
    pub fn has(&self, fault: &Fault) -> bool {
        self.by_row.contains_key(&(fault.key.clone(), fault.cause.clone()))
    }

    /// The rows, in the order of their values.
    pub fn into_rows(self) -> impl Iterator<Item = (Fault, P)> {
        self.by_row.into_values()
    }
}

impl Sums {
    /// What has changed since `before`.
    pub fn since(&self, before: Sums) -> Vec<Fault> {
        let mut changed = Sums::default();
        for (fault, ()) in before.into_rows() {
            let weight = fault.weight.saturating_neg();
            changed.add(Fault { weight, ..fault }, ());
        }
        self.by_row
            .values()
            .for_each(|(fault, ())| changed.add(fault.clone(), ()));
        changed.into_rows().map(|(fault, ())| fault).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray};
    use arrow::datatypes::Int64Type;

    use super::*;
    use crate::change::Weights;

    fn numbers(values: &[i64]) -> ChangeBatch {
        let column: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
        let rows = RecordBatch::try_from_iter([("n", column)]).unwrap();
        let weights = (0..values.len() as i64).map(|row| 1 - row % 2 * 3).collect();
        ChangeBatch::new(rows, Weights::Each(weights))
    }

    fn positive(batch: &ChangeBatch) -> Result<Vec<i64>> {
        let values = batch.column(0).as_primitive::<Int64Type>().values();
        match values.iter().find(|value| **value < 0) {
            Some(value) => Err(Error::Data(format!("{value} is negative"))),
            None => Ok(values.to_vec()),
        }
    }

    #[test]
    fn bad_rows_are_found_wherever_they_stand_and_the_others_computed() {
        for bad in [vec![], vec![0], vec![9], vec![4, 5], (0..10).collect::<Vec<usize>>()] {
            let value = |row: usize| {
                if bad.contains(&row) {
                    -(row as i64) - 1
                } else {
                    row as i64
                }
            };
            let values: Vec<i64> = (0..10).map(value).collect();
            let batch = numbers(&values);
            let mut faults = Vec::new();
            let parts = by_row(&batch, Some((3, 100)), &mut faults, positive).unwrap();
            let good: Vec<i64> = parts.iter().flatten().flatten().copied().collect();
            assert_eq!(good, values.iter().copied().filter(|v| *v >= 0).collect::<Vec<_>>());
            let found: Vec<_> = faults.iter().map(|f| (f.at, f.row.clone(), f.weight)).collect();
            let wanted = bad.iter().map(|row| {
                let (value, weight) = (values[*row], batch.weight(*row));
                (Some((3, 100 + row)), format!("n = {value}"), weight)
            });
            assert_eq!(found, wanted.collect::<Vec<_>>());
            let kept = passing(batch, &mut Vec::new(), |part| positive(part).map(drop)).unwrap();
            assert_eq!(positive(&kept).unwrap(), good);
        }
    }

    #[test]
    fn what_is_no_rows_fault_is_an_error() {
        let broken = |_: &ChangeBatch| -> Result<()> { Err(Error::internal("a promise was broken")) };
        let failed = by_row(&numbers(&[1, 2]), None, &mut Vec::new(), broken);
        assert!(matches!(failed, Err(Error::Internal(_))));
    }

    #[test]
    fn a_row_that_is_taken_back_is_forgotten() {
        let fault = |value: i64, weight: i64| {
            let mut found = Vec::new();
            by_row(&numbers(&[value]), None, &mut found, positive).unwrap();
            Fault {
                weight,
                ..found.pop().unwrap()
            }
        };
        let mut sums = Sums::default();
        for (value, weight) in [(-1, 2), (-2, 1), (-1, -1), (-2, -1), (-1, -1), (-3, 1)] {
            sums.add(fault(value, weight), ());
        }
        let mut later = Sums::default();
        later.add(fault(-4, 1), ());
        // In the order of their values.
        assert_eq!(later.since(sums), [fault(-4, 1), fault(-3, -1)]);
    }

    #[test]
    fn rows_are_shown_with_names_and_cut() {
        let columns: [(&str, ArrayRef); 5] = [
            ("id", Arc::new(Int64Array::from(vec![None, Some(7)]))),
            (
                "name",
                Arc::new(StringArray::from(vec!["x".repeat(300), "it's".to_string()])),
            ),
            ("at", Arc::new(TimestampMicrosecondArray::from(vec![0, 1_500_000]))),
            ("weir_watermark", Arc::new(Int64Array::from(vec![1, 2]))),
            (
                "long",
                Arc::new(StringArray::from(vec!["ü".repeat(300), "ü".repeat(3)])),
            ),
        ];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        assert_eq!(
            in_words(&rows, 1),
            "id = 7, name = 'it's', at = 1970-01-01 00:00:01.5, long = 'üüü'"
        );
        let first = in_words(&rows, 0);
        assert!(
            first.starts_with(&format!("id = NULL, name = '{}…', at", "x".repeat(200))),
            "{first}"
        );
        let wide: Vec<(String, ArrayRef)> = (0..9)
            .map(|n| {
                (
                    format!("c{n}"),
                    Arc::new(StringArray::from(vec!["ü".repeat(300)])) as ArrayRef,
                )
            })
            .collect();
        let cut = in_words(&RecordBatch::try_from_iter(wide).unwrap(), 0);
        assert!(cut.len() <= BadRecord::MAX_BYTES && cut.ends_with('…'), "{cut}");
    }
}
