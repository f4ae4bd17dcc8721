//! Windows against their definition, at ordinary and at extreme times.

use arrow::array::{
    Date32Array, Int64Array, RecordBatch, TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray,
};
use arrow::datatypes::{Field, Int64Type, Schema};
use proptest::prelude::*;

use super::*;
use crate::change::Weights;

const STEP: Step = Step {
    now_us: 0,
    seed: 0,
    watermark: i64::MIN,
};
const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

fn spec(size_us: i64, slide_us: i64, offset_us: i64) -> WindowSpec {
    WindowSpec {
        time: 0,
        size_us,
        slide_us,
        step_us: size_us,
        offset_us,
        watermark: None,
        drop_late_after_us: None,
    }
}

/// A batch of times, row numbers and watermarks, and the schema of its windows.
fn batch(times: ArrayRef, watermarks: Vec<Option<i64>>) -> (ChangeBatch, SchemaRef) {
    let fields = vec![
        Field::new("ts", times.data_type().clone(), true),
        Field::new("row", DataType::Int64, false),
        Field::new("weir_watermark", TIMESTAMP, true),
    ];
    let rows = Int64Array::from_iter_values(0..times.len() as i64);
    let columns: Vec<ArrayRef> = vec![
        times,
        Arc::new(rows),
        Arc::new(TimestampMicrosecondArray::from(watermarks)),
    ];
    let mut all = fields.clone();
    all.push(Field::new("window_start", TIMESTAMP, false));
    all.push(Field::new("window_end", TIMESTAMP, false));
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let weights = (0..rows.num_rows())
        .map(|row| if row % 3 == 2 { -1 } else { 1 })
        .collect();
    (
        ChangeBatch::new(rows, Weights::Each(weights)),
        Arc::new(Schema::new(all)),
    )
}

/// Row, start, end and weight of an output row.
type Found = (i64, i64, i64, i64);

/// The output rows, and the counters.
fn run(spec: WindowSpec, times: ArrayRef, watermarks: Vec<Option<i64>>) -> Result<(Vec<Found>, OperatorStats)> {
    let (batch, schema) = batch(times, watermarks);
    let mut window = Window::new(&spec, &schema);
    let mut found = Vec::new();
    for batch in window.step(&STEP, vec![vec![batch]])? {
        assert_eq!(batch.schema(), schema);
        for row in 0..batch.num_rows() {
            found.push((
                batch.column(1).as_primitive::<Int64Type>().value(row),
                batch.column(3).as_primitive::<TimestampMicrosecondType>().value(row),
                batch.column(4).as_primitive::<TimestampMicrosecondType>().value(row),
                batch.weight(row),
            ));
        }
    }
    Ok((found, window.stats()))
}

fn times(values: &[i64]) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(values.to_vec()))
}

#[test]
fn tumbling_windows_before_and_after_1970() {
    let (found, stats) = run(spec(10, 10, 0), times(&[0, 9, 10, -1, -10, -11]), vec![None; 6]).unwrap();
    let starts: Vec<i64> = found.iter().map(|pair| pair.1).collect();
    assert_eq!(starts, [0, 0, 10, -10, -10, -20]);
    assert_eq!(found[2], (2, 10, 20, -1));
    assert_eq!(stats, OperatorStats::default());
}

#[test]
fn an_offset_of_any_size_and_sign_shifts_the_starts() {
    for offset in [3, 13, -7, -27] {
        let (found, _) = run(spec(10, 10, offset), times(&[0, 3, 12]), vec![None; 3]).unwrap();
        let starts: Vec<i64> = found.iter().map(|pair| pair.1).collect();
        assert_eq!(starts, [-7, 3, 3], "offset {offset}");
    }
}

#[test]
fn hopping_windows_come_in_order_and_may_leave_gaps() {
    let (found, _) = run(spec(25, 10, 0), times(&[21]), vec![None]).unwrap();
    assert_eq!(found, [(0, 0, 25, 1), (0, 10, 35, 1), (0, 20, 45, 1)]);
    let (found, _) = run(spec(4, 10, 0), times(&[3, 4]), vec![None; 2]).unwrap();
    assert_eq!(found, [(0, 0, 4, 1)]);
}

#[test]
fn cumulating_windows_share_a_start_and_end_one_step_after_the_other() {
    let spec = WindowSpec {
        step_us: 10,
        ..spec(30, 30, 5)
    };
    let (found, _) = run(spec.clone(), times(&[5, 14, 15, 34, -1]), vec![None; 5]).unwrap();
    let expected = [
        (0, 5, 15, 1),
        (0, 5, 25, 1),
        (0, 5, 35, 1),
        (1, 5, 15, 1),
        (1, 5, 25, 1),
        (1, 5, 35, 1),
        (2, 5, 25, -1),
        (2, 5, 35, -1),
        (3, 5, 35, 1),
        (4, -25, 5, 1),
    ];
    assert_eq!(found, expected);
    // Late in the first two only.
    let late = WindowSpec {
        watermark: Some(2),
        drop_late_after_us: Some(0),
        ..spec
    };
    let (found, stats) = run(late, times(&[5]), vec![Some(25)]).unwrap();
    assert_eq!(found, [(0, 5, 35, 1)]);
    assert_eq!(stats.late_dropped, 2);
}

#[test]
fn a_row_without_event_time_is_counted_and_goes_nowhere() {
    let some: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![Some(1), None, Some(2), None]));
    let (found, stats) = run(spec(10, 10, 0), some, vec![None; 4]).unwrap();
    assert_eq!(
        found.iter().map(|pair| (pair.0, pair.3)).collect::<Vec<_>>(),
        [(0, 1), (2, -1)]
    );
    assert_eq!(stats.without_event_time, 2);
}

#[test]
fn late_is_judged_by_row_and_window() {
    let judged = |drop_late_after_us| {
        let spec = WindowSpec {
            watermark: Some(2),
            drop_late_after_us,
            ..spec(20, 10, 0)
        };
        // Windows of 5 end at 10 and 20, those of 25 at 30 and 40.
        run(spec, times(&[5, 5, 5, 25]), vec![None, Some(10), Some(25), Some(29)]).unwrap()
    };
    let late = |stats: OperatorStats| (stats.late_applied, stats.late_dropped);
    let (found, stats) = judged(None);
    assert_eq!((found.len(), late(stats)), (8, (3, 0)));
    let (found, stats) = judged(Some(0));
    assert_eq!((found.len(), late(stats)), (5, (0, 3)));
    assert!(found.contains(&(1, 0, 20, 1)) && !found.contains(&(1, -10, 10, 1)));
    let (found, stats) = judged(Some(5));
    assert_eq!((found.len(), late(stats)), (6, (1, 2)));
    let (found, stats) = judged(Some(i64::MAX));
    assert_eq!((found.len(), late(stats)), (8, (3, 0)));
}

#[test]
fn other_types_of_time_are_exact() {
    let day = 86_400_000_000;
    let cases: [(ArrayRef, i64); 5] = [
        (Arc::new(Date32Array::from(vec![-1])), -day),
        (Arc::new(TimestampSecondArray::from(vec![-1])), -1_000_000),
        (Arc::new(TimestampMillisecondArray::from(vec![-1])), -1000),
        (Arc::new(TimestampNanosecondArray::from(vec![-1])), -1),
        (
            Arc::new(TimestampMicrosecondArray::from(vec![-1]).with_timezone("+02:00")),
            -1,
        ),
    ];
    for (times, expected) in cases {
        let name = times.data_type().to_string();
        let (found, _) = run(spec(1, 1, 0), times, vec![None]).unwrap();
        assert_eq!(found, [(0, expected, expected + 1, 1)], "{name}");
    }
}

#[test]
fn times_whose_window_cannot_be_written_are_named() {
    let cases: [(WindowSpec, ArrayRef, &str); 4] = [
        (spec(10, 10, 0), times(&[i64::MAX]), "9223372036854775807"),
        (spec(10, 10, 0), times(&[i64::MIN]), "-9223372036854775808"),
        (
            spec(10, 10, 0),
            Arc::new(TimestampSecondArray::from(vec![i64::MAX / 10])),
            "922337203685477580",
        ),
        (spec(i64::MAX, 1 << 60, 0), times(&[1 << 60]), "µs"),
    ];
    for (spec, times, value) in cases {
        let (batch, schema) = batch(times, vec![None]);
        let mut window = Window::new(&spec, &schema);
        let output = window.step(&STEP, vec![vec![batch]]).unwrap();
        assert!(output.iter().all(|batch| batch.num_rows() == 0));
        let [fault] = &window.take_faults()[..] else {
            panic!("one row is left out");
        };
        let message = &fault.cause;
        assert!(
            message.contains("'ts'") && (message.contains(value) || value == "µs"),
            "{message}"
        );
    }
}

proptest! {
    #[test]
    fn windows_are_those_that_hold_the_time(
        size in 1i64..40,
        slide in 1i64..40,
        offset in -50i64..50,
        values in prop::collection::vec(-200i64..200, 0..30),
    ) {
        let (found, _) = run(spec(size, slide, offset), times(&values), vec![None; values.len()]).unwrap();
        let mut expected = Vec::new();
        for (row, time) in values.iter().enumerate() {
            for start in time - size + 1..=*time {
                if (start - offset).rem_euclid(slide) == 0 {
                    expected.push((row as i64, start, start + size, if row % 3 == 2 { -1 } else { 1 }));
                }
            }
        }
        prop_assert_eq!(found, expected);
    }
}
