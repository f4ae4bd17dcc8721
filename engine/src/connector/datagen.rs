//! Made-up rows: `connector = 'datagen'`, for trying things out and for load.
//!
//! Row `i` is a pure function of the options, the seed and `i`. Options:
//!
//! | option | |
//! |---|---|
//! | `rows_per_second` | by the clock, all splits together; 10 unless said, `0`: as fast as they are read |
//! | `number_of_rows` | how many in all; endless unless said (or a sequence ends) |
//! | `seed`, `splits` | 0 and 1 unless said; split `k` of `s` has the rows `k`, `k + s`, `k + 2s` … |
//! | `start_time` | event time of row 0, 2024-01-01T00:00:00Z unless said |
//! | `fields.<column>.kind` | `sequence`: start, start + 1 …; `random`; unless said a TIMESTAMP is the event time, all else random |
//! | `fields.<column>.start`, `.end` | of a sequence (numbers, DATE); the rows end with it; 0 and no end unless said |
//! | `fields.<column>.min`, `.max` | of random values, both included; unless said 0 to 1000, of REAL and DOUBLE 0 to 1 (less one) |
//! | `fields.<column>.length` | of random TEXT (letters) and BYTEA, 10 unless said |
//! | `fields.<column>.values` | `a,b,c`: one of these, evenly |
//! | `fields.<column>.null_rate` | share of NULLs, 0 to 1 |
//!
//! The event time of row `i` is `start_time` + `i` / `rows_per_second` (1000 a second where that is 0): it
//! goes with the rows, not with the clock, so a replay gives the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch, RecordBatchOptions, make_array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::SchemaRef;

use self::field::Field;
use super::generated::{Generated, RowMaker, number};
use super::nexmark::random::bits;
use super::{ConnectorSpec, Position, SourceConnector};
use crate::format::calendar;
use crate::near::unknown_option;
use crate::{Error, Result};

mod field;
#[cfg(test)]
mod tests;

const OPTIONS: [&str; 5] = ["rows_per_second", "number_of_rows", "seed", "splits", "start_time"];
const DEFAULT_PACE: u64 = 10;
/// Rows a second of event time where the clock sets no pace.
const UNPACED_RATE: u64 = 1_000;
/// 2024-01-01T00:00:00Z.
const START_TIME_US: i64 = 1_704_067_200_000_000;

/// Makes the source connector of `spec` for the `declared` columns.
///
/// # Errors
/// If an option is unknown or wrong, or a column has a type that can't be made up.
pub fn source(spec: &ConnectorSpec, declared: &SchemaRef) -> Result<Arc<dyn SourceConnector>> {
    let options = &spec.options;
    let whole = |name: &str| number::<u64>("datagen", options, name, "a whole number");
    let pace = whole("rows_per_second")?.unwrap_or(DEFAULT_PACE);
    if pace > 1_000_000_000 {
        return Err(Error::Config(
            "option 'rows_per_second' of connector 'datagen' is at most 1000000000".to_owned(),
        ));
    }
    let splits = whole("splits")?.unwrap_or(1);
    if !(1..=4_096).contains(&splits) {
        return Err(Error::Config(format!(
            "option 'splits' of connector 'datagen' is 1 to 4096, not {splits}"
        )));
    }
    let start_time_us = match options.get("start_time") {
        None => START_TIME_US,
        Some(text) => calendar::timestamp(text.as_bytes())
            .map_err(|why| Error::Config(format!("option 'start_time' of connector 'datagen', '{text}': {why}")))?,
    };
    let event_time = EventTime {
        start_us: start_time_us,
        rate: if pace == 0 { UNPACED_RATE } else { pace },
    };
    let mut by_field = split_by_field(options, declared)?;
    let seed = whole("seed")?.unwrap_or(0);
    let field = |(i, field): (usize, &arrow::datatypes::FieldRef)| {
        Field::new(
            field,
            by_field.remove(field.name().as_str()).unwrap_or_default(),
            seed,
            i as u64,
            event_time,
        )
    };
    let fields = declared
        .fields()
        .iter()
        .enumerate()
        .map(field)
        .collect::<Result<Vec<_>>>()?;
    let rows = fields
        .iter()
        .filter_map(Field::end)
        .chain(whole("number_of_rows")?)
        .min();
    Ok(Arc::new(Generated::new(
        Datagen {
            rows,
            pace,
            splits,
            fields,
            declared: declared.clone(),
        },
        options,
    )))
}

/// Takes `fields.<column>.<option>` apart and refuses what is not known.
fn split_by_field<'a>(
    options: &'a BTreeMap<String, String>,
    declared: &'a SchemaRef,
) -> Result<BTreeMap<&'a str, BTreeMap<&'a str, &'a str>>> {
    let mut by_field: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for (name, value) in options {
        if OPTIONS.contains(&name.as_str()) {
            continue;
        }
        let parts = name.strip_prefix("fields.").and_then(|rest| rest.rsplit_once('.'));
        let Some((column, option)) = parts.filter(|(_, option)| field::OPTIONS.contains(option)) else {
            let of_columns = format!(", and for a column fields.<column>.{}", field::OPTIONS.join(", ."));
            return Err(Error::Config(unknown_option(
                name,
                "connector 'datagen'",
                &OPTIONS,
                &of_columns,
            )));
        };
        // Names of options are folded to lower case, those of columns may be quoted.
        let fields = declared.fields();
        let exact = fields.iter().find(|field| field.name() == column);
        let Some(field) = exact.or_else(|| fields.iter().find(|f| f.name().eq_ignore_ascii_case(column))) else {
            return Err(Error::Config(format!(
                "option '{name}' of connector 'datagen': there is no column '{column}'"
            )));
        };
        by_field.entry(field.name()).or_default().insert(option, value);
    }
    Ok(by_field)
}

/// The rule for event times.
#[derive(Debug, Clone, Copy)]
struct EventTime {
    start_us: i64,
    rate: u64,
}

impl EventTime {
    /// Microseconds since the epoch of row `i`.
    fn of(self, i: u64) -> i64 {
        let (seconds, rest) = (i / self.rate, i % self.rate);
        let us = seconds
            .saturating_mul(1_000_000)
            .saturating_add(rest * 1_000_000 / self.rate);
        self.start_us.saturating_add(i64::try_from(us).unwrap_or(i64::MAX))
    }
}

struct Datagen {
    /// Rows of all splits together.
    rows: Option<u64>,
    /// Rows a second of all splits together; 0: no pace.
    pace: u64,
    splits: u64,
    fields: Vec<Field>,
    declared: SchemaRef,
}

impl RowMaker for Datagen {
    fn name(&self) -> &'static str {
        "datagen"
    }

    fn splits(&self) -> u32 {
        self.splits as u32
    }

    fn end(&self, split: u32) -> Option<Position> {
        let rows = self.rows?;
        let count = rows / self.splits + u64::from(u64::from(split) < rows % self.splits);
        Some(i64::try_from(count).unwrap_or(i64::MAX))
    }

    fn declared(&self) -> &SchemaRef {
        &self.declared
    }

    fn rows(&self, split: u32, first: Position, count: usize, columns: &SchemaRef) -> Result<RecordBatch> {
        let numbers: Vec<u64> = (first as u64..)
            .take(count)
            .map(|p| p.wrapping_mul(self.splits).wrapping_add(split.into()))
            .collect();
        let column = |wanted: &arrow::datatypes::FieldRef| {
            let index = self.declared.index_of(wanted.name())?;
            self.fields[index].make(&numbers)
        };
        let arrays = columns.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(columns.clone(), arrays, &options)?)
    }

    fn pace(&self) -> Option<f64> {
        (self.pace > 0).then(|| self.pace as f64 / self.splits as f64)
    }
}

/// Makes some of the values NULL.
fn with_nulls(
    array: arrow::array::ArrayRef,
    rate: f64,
    stream: u64,
    numbers: &[u64],
) -> Result<arrow::array::ArrayRef> {
    if rate <= 0.0 {
        return Ok(array);
    }
    let nulls: NullBuffer = numbers.iter().map(|n| field::unit(bits(stream, *n)) >= rate).collect();
    Ok(make_array(array.to_data().into_builder().nulls(Some(nulls)).build()?))
}
