//! The table that an updating query has come to, kept for drawing it again and again.
//!
//! Rows are counted by their weights. They are ordered as the query says (`ORDER BY … LIMIT`), then by
//! their values, column after column, times with the newest first: so a row keeps its place while
//! its numbers change, and of many windows the present ones are seen.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Int64Type, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use weir_server::ORDER_METADATA;

/// Rows and how often each is there.
pub struct Watch {
    schema: SchemaRef,
    /// The columns in the order in which they are compared.
    compared: Vec<usize>,
    converter: RowConverter,
    /// Encoded rows. Within an epoch a row may be taken away before it is added, so weights may be
    /// negative for a moment; rows of weight 0 are not kept.
    rows: BTreeMap<Box<[u8]>, i64>,
    /// Sum of the positive weights.
    count: i64,
    changes: u64,
}

impl Watch {
    /// An empty table. `schema` ends with the weight; none where rows of it can't be ordered.
    pub fn new(schema: &SchemaRef) -> Option<Watch> {
        let (_, fields) = schema.fields().split_last()?;
        let by = order(schema, fields.len());
        let compared: Vec<usize> = by.iter().map(|(column, _)| *column).collect();
        let sort: Vec<SortField> = by
            .into_iter()
            .map(|(column, options)| SortField::new_with_options(fields[column].data_type().clone(), options))
            .collect();
        if !RowConverter::supports_fields(&sort) {
            return None;
        }
        Some(Watch {
            schema: Arc::new(Schema::new(fields.to_vec())),
            compared,
            converter: RowConverter::new(sort).ok()?,
            rows: BTreeMap::new(),
            count: 0,
            changes: 0,
        })
    }

    /// The columns, without the weight.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// How many rows there are.
    pub fn count(&self) -> i64 {
        self.count
    }

    /// Changes applied so far.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Applies changes.
    pub fn apply(&mut self, batch: &RecordBatch) -> Result<(), String> {
        let Some((weights, columns)) = batch.columns().split_last() else {
            return Ok(());
        };
        let weights = weights.as_primitive::<Int64Type>();
        let columns: Vec<ArrayRef> = self.compared.iter().map(|column| columns[*column].clone()).collect();
        let rows = self
            .converter
            .convert_columns(&columns)
            .map_err(|error| error.to_string())?;
        for (row, weight) in rows.iter().zip(weights.values()) {
            self.add(row.data(), *weight);
        }
        self.changes += batch.num_rows() as u64;
        Ok(())
    }

    fn add(&mut self, row: &[u8], weight: i64) {
        let before = self.rows.get(row).copied().unwrap_or(0);
        let after = before + weight;
        self.count += after.max(0) - before.max(0);
        if after == 0 {
            self.rows.remove(row);
        } else if let Some(kept) = self.rows.get_mut(row) {
            *kept = after;
        } else {
            self.rows.insert(row.into(), after);
        }
    }

    /// The first rows in order, at most `limit`; a row that is there several times is repeated.
    pub fn first(&self, limit: usize) -> Result<RecordBatch, String> {
        let parser = self.converter.parser();
        let present = self.rows.iter().filter(|(_, weight)| **weight > 0);
        let repeated = present.flat_map(|(row, weight)| std::iter::repeat_n(row, (*weight as usize).min(limit)));
        let rows: Vec<_> = repeated.take(limit).map(|row| parser.parse(row)).collect();
        let compared = self.converter.convert_rows(rows).map_err(|error| error.to_string())?;
        let place = |column: usize| self.compared.iter().position(|compared| *compared == column);
        let columns: Vec<ArrayRef> = (0..compared.len())
            .filter_map(|column| place(column).map(|place| compared[place].clone()))
            .collect();
        // The converter unpacks dictionaries and views, so the types are those of its arrays.
        let fields: Vec<_> = self
            .schema
            .fields()
            .iter()
            .zip(&columns)
            .map(|(field, column)| {
                field
                    .as_ref()
                    .clone()
                    .with_data_type(column.data_type().clone())
                    .with_nullable(true)
            })
            .collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|error| error.to_string())
    }
}

/// Each column once, with how it is compared: those of the query's order first.
fn order(schema: &SchemaRef, columns: usize) -> Vec<(usize, SortOptions)> {
    let text = schema.metadata().get(ORDER_METADATA);
    let said: Vec<(usize, bool, bool)> = text
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let said = said.into_iter().map(|(column, descending, nulls_first)| {
        let options = SortOptions {
            descending,
            nulls_first,
        };
        (column, options)
    });
    let unsaid = (0..columns).map(|column| {
        let newest_first = matches!(
            schema.field(column).data_type(),
            DataType::Timestamp(..) | DataType::Date32
        );
        let options = SortOptions {
            descending: newest_first,
            nulls_first: false,
        };
        (column, options)
    });
    let mut order: Vec<(usize, SortOptions)> = Vec::with_capacity(columns);
    for (column, options) in said.chain(unsaid) {
        if column < columns && order.iter().all(|(other, _)| *other != column) {
            order.push((column, options));
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray, TimestampMicrosecondArray};
    use arrow::datatypes::TimestampMicrosecondType;

    use super::*;

    fn changes(rows: &[(Option<&str>, i64, i64)]) -> RecordBatch {
        let names: StringArray = rows.iter().map(|row| row.0).collect();
        let counts: Int64Array = rows.iter().map(|row| Some(row.1)).collect();
        let weights: Int64Array = rows.iter().map(|row| Some(row.2)).collect();
        let columns: [(_, ArrayRef, _); 3] = [
            ("name", Arc::new(names), true),
            ("count", Arc::new(counts), true),
            ("weir_weight", Arc::new(weights), false),
        ];
        RecordBatch::try_from_iter_with_nullable(columns).expect("a batch")
    }

    fn shown(watch: &Watch, limit: usize) -> Vec<(Option<String>, i64)> {
        let batch = watch.first(limit).expect("rows");
        let names = batch.column(0).as_string::<i32>();
        let counts = batch.column(1).as_primitive::<Int64Type>();
        names
            .iter()
            .zip(counts.values())
            .map(|(name, count)| (name.map(str::to_owned), *count))
            .collect()
    }

    fn row(name: &str, count: i64) -> (Option<String>, i64) {
        (Some(name.to_owned()), count)
    }

    #[test]
    fn an_update_keeps_the_place_of_its_row() {
        let first = changes(&[(Some("b"), 1, 1), (Some("a"), 1, 1), (None, 1, 1)]);
        let mut watch = Watch::new(&first.schema()).expect("a watch");
        watch.apply(&first).expect("changes");
        assert_eq!(shown(&watch, 10), [row("a", 1), row("b", 1), (None, 1)]);
        watch
            .apply(&changes(&[(Some("a"), 1, -1), (Some("a"), 5, 1)]))
            .expect("changes");
        assert_eq!(shown(&watch, 10), [row("a", 5), row("b", 1), (None, 1)]);
        assert_eq!((watch.count(), watch.changes()), (3, 5));
        assert_eq!(shown(&watch, 1), [row("a", 5)]);
    }

    #[test]
    fn the_order_of_the_query_holds_first() {
        let rows = changes(&[
            (Some("a"), 1, 1),
            (Some("b"), 3, 1),
            (Some("c"), 3, 1),
            (Some("d"), 2, 1),
        ]);
        let metadata = [(ORDER_METADATA.to_owned(), "[[1,true,false]]".to_owned())].into();
        let schema = Arc::new(rows.schema().as_ref().clone().with_metadata(metadata));
        let mut watch = Watch::new(&schema).expect("a watch");
        watch.apply(&rows).expect("changes");
        assert_eq!(shown(&watch, 3), [row("b", 3), row("c", 3), row("d", 2)]);
    }

    #[test]
    fn weights_are_summed_whatever_their_order() {
        let early = changes(&[(Some("a"), 1, -1)]);
        let mut watch = Watch::new(&early.schema()).expect("a watch");
        watch.apply(&early).expect("changes");
        assert_eq!((watch.count(), shown(&watch, 10).len()), (0, 0));
        watch.apply(&changes(&[(Some("a"), 1, 1)])).expect("changes");
        assert!(watch.rows.is_empty());
        watch.apply(&changes(&[(Some("a"), 1, 3)])).expect("changes");
        assert_eq!(watch.count(), 3);
        assert_eq!(shown(&watch, 2), [row("a", 1), row("a", 1)]);
        watch.apply(&changes(&[(Some("a"), 1, -3)])).expect("changes");
        assert_eq!((watch.count(), shown(&watch, 10).len()), (0, 0));
    }

    #[test]
    fn the_newest_times_come_first() {
        let columns: [(_, ArrayRef); 2] = [
            (
                "at",
                Arc::new(TimestampMicrosecondArray::from(vec![
                    Some(1_000_000),
                    None,
                    Some(2_000_000),
                ])),
            ),
            ("weir_weight", Arc::new(Int64Array::from(vec![1, 1, 1]))),
        ];
        let batch = RecordBatch::try_from_iter(columns).expect("a batch");
        let mut watch = Watch::new(&batch.schema()).expect("a watch");
        watch.apply(&batch).expect("changes");
        let shown = watch.first(10).expect("rows");
        let times: Vec<_> = shown
            .column(0)
            .as_primitive::<TimestampMicrosecondType>()
            .iter()
            .collect();
        assert_eq!(times, [Some(2_000_000), Some(1_000_000), None]);
    }
}
