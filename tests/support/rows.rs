//! Rows as text: how scripts show results, and how tests compare them.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use weir_engine::format::uuid::{self, UUID};

/// A row, a text for each column.
pub type Row = Vec<String>;

/// Rows and how often each is there: the sum of any changes. No weight is 0.
pub type Bag = BTreeMap<Row, i64>;

const TIMESTAMP: &str = "%Y-%m-%d %H:%M:%S%.f";

/// The rows of a batch.
pub fn of_batch(batch: &RecordBatch) -> Vec<Row> {
    let options = FormatOptions::new()
        .with_null("NULL")
        .with_timestamp_format(Some(TIMESTAMP))
        .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f%:z"));
    let columns: Vec<_> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).expect("every type has a text"))
        .collect();
    let cell = |column: usize, row: usize| {
        let values = batch.column(column);
        if let Some(uuids) = values
            .as_fixed_size_binary_opt()
            .filter(|_| *values.data_type() == UUID)
            && uuids.is_valid(row)
        {
            return uuid::text(uuids.value(row));
        }
        let text = columns[column].value(row).to_string().replace('\n', "\\n");
        if text.is_empty() && values.is_valid(row) {
            "(empty)".to_string()
        } else {
            text
        }
    };
    (0..batch.num_rows())
        .map(|row| (0..columns.len()).map(|column| cell(column, row)).collect())
        .collect()
}

/// The letter of a column's type in a script: `I` whole numbers, `R` others, `T` text, `B` boolean,
/// `D` dates and times, `?` the rest.
pub fn letter(kind: &DataType) -> char {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => 'T',
        DataType::Boolean => 'B',
        kind if kind.is_integer() => 'I',
        kind if kind.is_numeric() => 'R',
        kind if kind.is_temporal() => 'D',
        _ => '?',
    }
}

/// Adds a row to a bag so many times.
pub fn add(bag: &mut Bag, row: Row, weight: i64) {
    use std::collections::btree_map::Entry;
    match bag.entry(row) {
        Entry::Vacant(place) => {
            if weight != 0 {
                place.insert(weight);
            }
        }
        Entry::Occupied(mut place) => {
            *place.get_mut() += weight;
            if *place.get() == 0 {
                place.remove();
            }
        }
    }
}

/// The bag of some rows.
pub fn bag(rows: impl IntoIterator<Item = Row>) -> Bag {
    let mut bag = Bag::new();
    rows.into_iter().for_each(|row| add(&mut bag, row, 1));
    bag
}

/// What must be added to `from` to have `to`.
pub fn difference(to: &Bag, from: &Bag) -> Bag {
    let mut difference = to.clone();
    for (row, weight) in from {
        add(&mut difference, row.clone(), -weight);
    }
    difference
}

/// Differences without the pairs of rows that are equal but for the last digits of floats: these depend
/// on the order in which rows were added up.
pub fn without_roundings(difference: Bag) -> Bag {
    type Rows = Vec<(Row, i64)>;
    let (mut left, mut lacking): (Rows, Rows) = difference.into_iter().partition(|(_, weight)| *weight > 0);
    for (row, weight) in &mut left {
        for (other, missing) in lacking.iter_mut().filter(|(other, _)| is_rounded(row, other)) {
            let both = (*weight).min(-*missing);
            *weight -= both;
            *missing += both;
            debug_assert!(row.len() == other.len());
        }
    }
    left.append(&mut lacking);
    left.into_iter().filter(|(_, weight)| *weight != 0).collect()
}

/// Whether two rows are equal but for one part in 10^9 of their floats.
fn is_rounded(row: &Row, other: &Row) -> bool {
    let float = |cell: &str| match cell.contains(['.', 'e', 'N']) {
        true => cell.parse::<f64>().ok(),
        false => None,
    };
    let same = |(a, b): (&String, &String)| match (float(a), float(b)) {
        (Some(x), Some(y)) => a == b || (x - y).abs() <= 1e-9 * x.abs().max(y.abs()).max(1.0),
        _ => a == b,
    };
    row.len() == other.len() && row.iter().zip(other).all(same)
}

/// Rows as lines whose columns stand below each other.
pub fn lines(rows: &[Row]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Row| {
        let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_string()
    };
    rows.iter().map(line).collect()
}

/// Changes as lines, `-1` and `+1` before the rows.
pub fn change_lines(changes: &Bag) -> Vec<String> {
    let signed = |(row, weight): (&Row, &i64)| {
        let mut signed = vec![format!("{weight:+}")];
        signed.extend(row.iter().cloned());
        signed
    };
    let rows: Vec<Row> = changes.iter().map(signed).collect();
    lines(&rows)
}
