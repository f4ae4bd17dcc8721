//! Partial results by slice come, in windows, to what the rows come to.

use arrow::array::ArrayRef;
use proptest::prelude::*;

use super::*;
use crate::graph::{AggregateCall, AggregateFunction, WindowSpec};
use crate::operator::build;
use crate::operator::trial::{Bag, Row, TIMESTAMP, add_batches, batch, context, input, node};

const INPUT: [DataType; 4] = [DataType::Int64, TIMESTAMP, DataType::Int64, TIMESTAMP];

fn call(function: AggregateFunction, argument: Option<usize>) -> AggregateCall {
    AggregateCall {
        function,
        argument,
        distinct: false,
        filter: None,
        output_type: DataType::Int64,
    }
}

fn operator(kind: NodeKind, types: &[DataType], below: &[DataType]) -> Box<dyn Operator> {
    let context = context(&Arc::new(MemoryStore::new()), 0, 1);
    let node = node(kind, types, true);
    build(&node, &[&input(below, true)], &context).unwrap().unwrap()
}

struct Windows {
    size_us: i64,
    slide_us: i64,
    offset_us: i64,
}

impl Windows {
    fn window(&self, time: usize, watermark: usize) -> NodeKind {
        NodeKind::Window(WindowSpec {
            time,
            size_us: self.size_us,
            slide_us: self.slide_us,
            step_us: self.size_us,
            offset_us: self.offset_us,
            watermark: Some(watermark),
            drop_late_after_us: Some(0),
        })
    }

    /// Groups by key and window of the rows as they are, and what was dropped.
    fn plainly(&self, rows: &[(Row, i64)]) -> (Bag, u64) {
        let with_bounds: Vec<DataType> = INPUT.into_iter().chain([TIMESTAMP, TIMESTAMP]).collect();
        let mut window = operator(self.window(1, 3), &with_bounds, &INPUT);
        let given = batch(&input(&INPUT, true).schema, rows);
        let windowed = window.step(&Step::default(), vec![vec![given]]).unwrap();
        let calls = [
            call(AggregateFunction::Count, None),
            call(AggregateFunction::Count, Some(2)),
            call(AggregateFunction::Max, Some(2)),
        ];
        (
            grouped(vec![0, 4, 5], &calls, &with_bounds, windowed),
            window.stats().late_dropped,
        )
    }

    /// The same by way of slices.
    fn sliced(&self, rows: &[(Row, i64)]) -> (Bag, u64) {
        fn divisor(a: i64, b: i64) -> i64 {
            if b == 0 { a } else { divisor(b, a % b) }
        }
        let calls = vec![
            call(AggregateFunction::Count, None),
            call(AggregateFunction::Count, Some(2)),
            call(AggregateFunction::Max, Some(2)),
        ];
        let spec = SliceSpec {
            keys: vec![0],
            time: 1,
            slice_us: divisor(self.size_us, self.slide_us),
            slide_us: self.slide_us,
            size_us: self.size_us,
            offset_us: self.offset_us,
            calls,
            watermark: 3,
        };
        let number = DataType::Int64;
        let types = [
            number.clone(),
            TIMESTAMP,
            number.clone(),
            number.clone(),
            number,
            TIMESTAMP,
        ];
        let mut slice = operator(NodeKind::Slice(spec), &types, &INPUT);
        let given = batch(&input(&INPUT, true).schema, rows);
        let partial = slice.step(&Step::default(), vec![vec![given]]).unwrap();
        let with_bounds: Vec<DataType> = types.iter().cloned().chain([TIMESTAMP, TIMESTAMP]).collect();
        let mut window = operator(self.window(1, 5), &with_bounds, &types);
        let windowed = window.step(&Step::default(), vec![partial]).unwrap();
        let calls = [
            call(AggregateFunction::Sum, Some(2)),
            call(AggregateFunction::Sum, Some(3)),
            call(AggregateFunction::Max, Some(4)),
        ];
        (
            grouped(vec![0, 6, 7], &calls, &with_bounds, windowed),
            window.stats().late_dropped,
        )
    }
}

fn grouped(keys: Vec<usize>, calls: &[AggregateCall], below: &[DataType], rows: Vec<ChangeBatch>) -> Bag {
    let types: Vec<DataType> = keys
        .iter()
        .map(|key| below[*key].clone())
        .chain(calls.iter().map(|call| call.output_type.clone()))
        .collect();
    let spec = AggregateSpec {
        keys,
        calls: calls.to_vec(),
        close: None,
    };
    let mut aggregate = operator(NodeKind::Aggregate(spec), &types, below);
    let mut bag = Bag::new();
    add_batches(&mut bag, &aggregate.step(&Step::default(), vec![rows]).unwrap());
    bag
}

proptest! {
    #[test]
    fn windows_are_the_same(
        slide in 1i64..7,
        times in 1i64..5,
        odd in 0i64..3,
        offset in -9i64..9,
        rows in prop::collection::vec(
            (0i64..3, prop::option::weighted(0.9, -40i64..40), prop::option::of(0i64..9), prop::option::of(-40i64..40), 1i64..3),
            0..60,
        ),
    ) {
        let windows = Windows { size_us: slide * times + odd, slide_us: slide, offset_us: offset };
        let rows: Vec<(Row, i64)> = rows
            .into_iter()
            .map(|(key, time, value, watermark, weight)| (vec![Some(key), time, value, watermark], weight))
            .collect();
        let (plain, plain_late) = windows.plainly(&rows);
        let (sliced, sliced_late) = windows.sliced(&rows);
        prop_assert_eq!(plain, sliced);
        prop_assert_eq!(plain_late, sliced_late);
    }
}

#[test]
fn rows_of_one_slice_are_one() {
    let windows = Windows {
        size_us: 10,
        slide_us: 4,
        offset_us: 0,
    };
    let rows: Vec<(Row, i64)> = (0..100)
        .map(|n| (vec![Some(1), Some(n % 2), Some(n), None], 1))
        .collect();
    let spec = SliceSpec {
        keys: vec![0],
        time: 1,
        slice_us: 2,
        slide_us: windows.slide_us,
        size_us: windows.size_us,
        offset_us: windows.offset_us,
        calls: vec![call(AggregateFunction::Count, None)],
        watermark: 3,
    };
    let types = [DataType::Int64, TIMESTAMP, DataType::Int64, TIMESTAMP];
    let mut slice = operator(NodeKind::Slice(spec), &types, &INPUT);
    let given = batch(&input(&INPUT, true).schema, &rows);
    let output = slice.step(&Step::default(), vec![vec![given]]).unwrap();
    let columns: &[ArrayRef] = output[0].rows().columns();
    assert_eq!((output.len(), output[0].num_rows(), columns.len()), (1, 1, 4));
    assert_eq!(columns[2].as_primitive::<arrow::datatypes::Int64Type>().value(0), 100);
}
