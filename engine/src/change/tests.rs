//! Change batches against plain models of them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, DictionaryArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions,
    StringArray, UInt32Array,
};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef};
use proptest::prelude::*;

use super::{BATCH_ROWS, ChangeBatch, Weights, consolidate, from_bytes, repeated, to_bytes};
use crate::Error;

type Row = (Option<i64>, Option<String>);

fn schema() -> SchemaRef {
    let number = Field::new("number", DataType::Int64, true);
    Arc::new(Schema::new(vec![number, Field::new("text", DataType::Utf8, true)]))
}

fn batch(rows: &[(Row, i64)]) -> ChangeBatch {
    let numbers: Int64Array = rows.iter().map(|((number, _), _)| *number).collect();
    let texts: StringArray = rows.iter().map(|((_, text), _)| text.clone()).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(numbers), Arc::new(texts)];
    let weights = rows.iter().map(|(_, weight)| *weight).collect();
    ChangeBatch::new(RecordBatch::try_new(schema(), columns).unwrap(), Weights::Each(weights))
}

fn rows_of(batch: &ChangeBatch) -> Vec<(Row, i64)> {
    let numbers = batch.column(0).as_primitive::<Int64Type>().iter();
    let texts = batch.column(1).as_string::<i32>().iter();
    let rows = numbers.zip(texts.map(|text| text.map(str::to_string)));
    rows.enumerate()
        .map(|(index, row)| (row, batch.weight(index)))
        .collect()
}

fn row() -> impl Strategy<Value = Row> {
    (proptest::option::of(0..3_i64), proptest::option::of("[a\0]{0,2}"))
}

fn changes() -> impl Strategy<Value = Vec<(Row, i64)>> {
    proptest::collection::vec((row(), -2..3_i64), 0..20)
}

/// A batch with no columns, as `count(*)` leaves them.
fn bare(num_rows: usize, weights: Weights) -> ChangeBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(num_rows));
    let rows = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options);
    ChangeBatch::new(rows.unwrap(), weights)
}

#[test]
fn weights_that_are_all_one_are_not_kept() {
    let row = |weight| ((Some(1), None), weight);
    assert!(matches!(batch(&[row(1), row(1)]).weights(), Weights::Ones));
    assert!(matches!(batch(&[]).weights(), Weights::Ones));
    let mixed = batch(&[row(1), row(2)]);
    assert!(matches!(mixed.weights(), Weights::Each(_)));
    assert!(mixed.is_append_only());
    assert!(matches!(mixed.slice(0, 1).weights(), Weights::Ones));
    assert!(!batch(&[row(1), row(0)]).is_append_only());
    let inserts = ChangeBatch::inserts(mixed.rows().clone());
    assert_eq!(inserts.weights_array(), Int64Array::from(vec![1, 1]));
    assert_eq!(
        ChangeBatch::deletes(mixed.rows().clone()).weights_array().values(),
        &[-1, -1]
    );
}

#[test]
#[should_panic(expected = "a weight per row")]
fn other_numbers_of_weights_are_refused() {
    ChangeBatch::new(batch(&[((None, None), 1)]).rows, Weights::Each(vec![1, 2].into()));
}

#[test]
#[should_panic(expected = "as many rows")]
fn other_numbers_of_rows_are_refused() {
    let _ = batch(&[((None, None), 1)]).with_rows(RecordBatch::new_empty(schema()));
}

#[test]
fn wrong_indices_and_filters_are_errors() {
    let one = batch(&[((None, None), 1)]);
    assert!(one.take(&UInt32Array::from(vec![1])).is_err());
    assert!(one.take(&UInt32Array::from(vec![None])).is_err());
    assert!(one.filter(&BooleanArray::from(vec![true, true])).is_err());
    let other = Arc::new(Schema::new(vec![Field::new("other", DataType::Utf8, true)]));
    assert!(ChangeBatch::concat(&other, &[one.clone(), one]).is_err());
}

#[test]
fn equal_means_equal_in_sql() {
    let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::Float64, true)]));
    let values = vec![Some(0.0), Some(-0.0), Some(f64::NAN), Some(-f64::NAN), None, None];
    let rows = RecordBatch::try_new(schema, vec![Arc::new(Float64Array::from(values))]).unwrap();
    let weights = Weights::Each(vec![1, 1, 1, -1, 2, 3].into());
    let sum = consolidate(&[ChangeBatch::new(rows, weights)]).unwrap();
    assert_eq!(sum.weights_array().values(), &[2, 5]);
}

#[test]
fn weights_that_overflow_are_an_error() {
    let row = (Some(1), None);
    let error = consolidate(&[batch(&[(row.clone(), i64::MAX), (row, 1)])]).unwrap_err();
    assert!(matches!(error, Error::Data(_)), "{error}");
    assert!(consolidate(&[]).is_err());
}

#[test]
fn rows_without_columns_are_counted() {
    let bare_rows = bare(4, Weights::Each(vec![2, 1, -1, 0].into()));
    assert_eq!(
        bare_rows
            .take(&UInt32Array::from(vec![3, 0]))
            .unwrap()
            .weights_array()
            .values(),
        &[0, 2]
    );
    assert_eq!(
        bare_rows
            .filter(&BooleanArray::from(vec![true, false, true, false]))
            .unwrap()
            .num_rows(),
        2
    );
    assert_eq!(bare_rows.slice(1, 2).num_rows(), 2);
    let whole = ChangeBatch::concat(&bare_rows.schema(), &[bare_rows.clone(), bare(2, Weights::Ones)]);
    let whole = whole.unwrap();
    assert_eq!(whole.weights_array().values(), &[2, 1, -1, 0, 1, 1]);
    let sum = consolidate(std::slice::from_ref(&whole)).unwrap();
    assert_eq!((sum.num_rows(), sum.weight(0)), (1, 4));
    let stored = to_bytes(&[whole.clone(), bare(3, Weights::Ones)]).unwrap();
    let loaded = from_bytes(&stored, &whole.schema()).unwrap();
    assert_eq!(loaded[0].weights_array(), whole.weights_array());
    assert_eq!(loaded[1].num_rows(), 3);
}

#[test]
fn stored_bytes_need_version_and_types() {
    let mut stored = to_bytes(&[batch(&[((Some(1), None), -1)])]).unwrap();
    let other = Arc::new(Schema::new(vec![Field::new("number", DataType::Int64, true)]));
    assert!(matches!(from_bytes(&stored, &other), Err(Error::State(_))));
    assert!(from_bytes(&[], &schema()).is_err());
    assert!(from_bytes(&stored[..5], &schema()).is_err());
    stored[0] = 9;
    let error = from_bytes(&stored, &schema()).unwrap_err();
    assert!(error.to_string().contains("version 9"), "{error}");
}

#[test]
fn stored_dictionaries_may_differ_by_batch() {
    let of = |texts: [&str; 2]| {
        let column: DictionaryArray<Int32Type> = texts.into_iter().collect();
        let field = Field::new(
            "d",
            DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
            true,
        );
        let rows = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![Arc::new(column)]);
        ChangeBatch::inserts(rows.unwrap())
    };
    let batches = [of(["a", "b"]), of(["c", "a"])];
    let loaded = from_bytes(&to_bytes(&batches).unwrap(), &batches[0].schema()).unwrap();
    for (batch, loaded) in batches.iter().zip(&loaded) {
        assert_eq!(batch.rows(), loaded.rows());
    }
}

proptest! {
    #[test]
    fn consolidate_sums_equal_rows(batches in proptest::collection::vec(changes(), 1..4)) {
        let mut sums: HashMap<Row, i64> = HashMap::new();
        let mut order = Vec::new();
        for (row, weight) in batches.iter().flatten() {
            if !sums.contains_key(row) {
                order.push(row.clone());
            }
            *sums.entry(row.clone()).or_default() += weight;
        }
        let expected: Vec<(Row, i64)> =
            order.into_iter().map(|row| (row.clone(), sums[&row])).filter(|(_, sum)| *sum != 0).collect();
        let inputs: Vec<ChangeBatch> = batches.iter().map(|rows| batch(rows)).collect();
        prop_assert_eq!(rows_of(&consolidate(&inputs).unwrap()), expected);
    }

    #[test]
    fn batches_behave_like_lists(rows in changes(), more in changes(), picks: Vec<prop::sample::Index>) {
        let one = batch(&rows);
        prop_assert_eq!(rows_of(&one), rows.clone());
        prop_assert_eq!(one.weights_array().values().to_vec(), rows.iter().map(|row| row.1).collect::<Vec<_>>());

        let both = ChangeBatch::concat(&schema(), &[one.clone(), batch(&more)]).unwrap();
        prop_assert_eq!(rows_of(&both), [rows.clone(), more].concat());
        prop_assert!(ChangeBatch::concat(&schema(), &[]).unwrap().is_empty());

        let negative: Vec<_> = rows.iter().cloned().map(|(row, weight)| (row, -weight)).collect();
        prop_assert_eq!(rows_of(&one.negate()), negative);
        prop_assert!(consolidate(&[one.clone(), one.negate()]).unwrap().is_empty());

        let keep: BooleanArray = rows.iter().map(|((number, _), _)| number.map(|n| n > 0)).collect();
        let kept: Vec<_> = rows.iter().filter(|((number, _), _)| number.is_some_and(|n| n > 0)).cloned().collect();
        prop_assert_eq!(rows_of(&one.filter(&keep).unwrap()), kept);

        if !rows.is_empty() {
            let picks: Vec<usize> = picks.iter().map(|pick| pick.index(rows.len())).collect();
            let indices = UInt32Array::from_iter_values(picks.iter().map(|pick| *pick as u32));
            let taken: Vec<_> = picks.iter().map(|pick| rows[*pick].clone()).collect();
            prop_assert_eq!(rows_of(&one.take(&indices).unwrap()), taken);
            let (from, to) = (rows.len() / 3, rows.len() / 2);
            prop_assert_eq!(rows_of(&one.slice(from, to - from)), rows[from..to].to_vec());
        }
    }

    #[test]
    fn stored_batches_come_back(batches in proptest::collection::vec(changes(), 0..4)) {
        let inputs: Vec<ChangeBatch> = batches.iter().map(|rows| batch(rows)).collect();
        let loaded = from_bytes(&to_bytes(&inputs).unwrap(), &schema()).unwrap();
        prop_assert_eq!(loaded.iter().map(rows_of).collect::<Vec<_>>(), batches);
    }

    #[test]
    fn damaged_stores_are_errors(rows in changes(), at: prop::sample::Index, bit in 0..8_u32, cut: bool) {
        let mut stored = to_bytes(&[batch(&rows)]).unwrap();
        let at = at.index(stored.len());
        match cut {
            true => stored.truncate(at),
            false => stored[at] ^= 1_u8 << bit,
        }
        prop_assert!(from_bytes(&stored, &schema()).is_err());
    }
}

#[test]
fn rows_are_repeated_part_by_part() {
    let part = BATCH_ROWS as i64;
    let row = |number, weight| ((Some(number), None), weight);
    for weights in [
        vec![3 * part + 5],
        vec![part],
        vec![1, part, 0, 2 * part - 1, 2],
        vec![0, 0],
        vec![1; 3 * BATCH_ROWS + 1],
        vec![2; BATCH_ROWS],
    ] {
        let rows: Vec<_> = (0..)
            .zip(&weights)
            .map(|(number, weight)| row(number, *weight))
            .collect();
        let parts: Vec<RecordBatch> = repeated(batch(&rows)).map(Result::unwrap).collect();
        let sizes: Vec<usize> = parts.iter().map(RecordBatch::num_rows).collect();
        let all = weights.iter().sum::<i64>() as usize;
        assert_eq!(sizes.iter().sum::<usize>(), all);
        if let Some((last, full)) = sizes.split_last() {
            assert!(*last > 0 && *last <= BATCH_ROWS && full.iter().all(|size| *size == BATCH_ROWS));
        }
        let numbers = parts
            .iter()
            .flat_map(|part| part.column(0).as_primitive::<Int64Type>().values().to_vec());
        let expected = (0..)
            .zip(&weights)
            .flat_map(|(number, weight)| std::iter::repeat_n(number, *weight as usize));
        assert!(numbers.eq(expected));
    }
    // More than anybody has room for is no trouble before it is asked for.
    let endless = batch(&[row(1, i64::MAX), row(2, 1)]);
    assert!(
        repeated(endless)
            .take(3)
            .all(|part| part.unwrap().num_rows() == BATCH_ROWS)
    );
    let without_columns = bare(1, Weights::Each(vec![part + 1].into()));
    let sizes: Vec<usize> = repeated(without_columns).map(|part| part.unwrap().num_rows()).collect();
    assert_eq!(sizes, [BATCH_ROWS, 1]);
    // What was taken back can't be shown, and nothing follows.
    let mut wrong = repeated(batch(&[row(1, -1), row(2, 1)]));
    assert!(matches!(wrong.next(), Some(Err(Error::Internal(_)))));
    assert!(wrong.next().is_none());
}
