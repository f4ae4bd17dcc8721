//! Splits read side by side: how many windows their rows keep open.

use std::collections::BTreeSet;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit, TimestampMicrosecondType};
use crossbeam_channel::Receiver;
use datafusion::physical_expr::expressions::Column;

use super::*;
use crate::connector::memory::{self, Record};
use crate::connector::{ConnectorSpec, Start};
use crate::format::{Encoding, EncodingKind, Envelope};
use crate::pipeline::reader::{Bell, Place};
use crate::relation::{ColumnOrigin, OnError, WatermarkSpec};

/// Rows of a read, and of a step.
const ROWS: usize = 20;
/// Length of the windows, seconds.
const WINDOW: i64 = 10;

fn input(topic: &str, alignment_ms: Option<u64>) -> (SourceInput, Receiver<()>) {
    let time = Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true);
    let spec = SourceSpec {
        relation: crate::relation::RelationId(1),
        name: "s".to_string(),
        schema: Arc::new(Schema::new(vec![time])),
        origins: vec![ColumnOrigin::Value],
        not_null: Vec::new(),
        connector: ConnectorSpec {
            connector: "memory".to_string(),
            options: BTreeMap::from([("topic".to_string(), topic.to_string())]),
        },
        envelope: Envelope::Plain,
        value_encoding: Encoding {
            kind: EncodingKind::Json,
            options: BTreeMap::from([("timestamp.unit".to_string(), "s".to_string())]),
        },
        key_encoding: None,
        key: Vec::new(),
        watermark: Some(WatermarkSpec {
            column: 0,
            bound: Arc::new(Column::new("at", 0)),
        }),
        start: Start::Earliest,
        bound: Bound::Unbounded,
        idle_timeout_ms: 1 << 40,
        alignment_ms,
        on_error: OnError::Fail,
    };
    let (bell, ear) = Bell::new();
    let mut input = SourceInput::new(Arc::new(spec), SourceProgress::default(), Place::Apart(bell));
    let mut layout = Layout::default();
    layout.widen(&[0], false);
    input.configure(layout, 1, ROWS).unwrap();
    (input, ear)
}

/// A topic whose partitions' rows have these times, seconds.
fn topic(name: &str, partitions: &[Vec<i64>]) {
    memory::create(name, partitions.len());
    for (partition, times) in partitions.iter().enumerate() {
        memory::append_all(name, partition, times.iter().copied().map(at));
    }
}

fn at(seconds: i64) -> Record {
    Record {
        value: Some(format!("{{\"at\": {seconds}}}").into_bytes()),
        ..Record::default()
    }
}

/// What a windowed view keeps while the source is read.
#[derive(Default)]
struct Windows {
    open: BTreeSet<i64>,
    most: usize,
    rows: usize,
}

impl Windows {
    fn take(&mut self, step: &SourceStep) {
        for batch in step.input.batches.iter().flatten() {
            let times = batch.column(0).as_primitive::<TimestampMicrosecondType>();
            self.rows += times.len();
            let end = |us: &i64| (us / 1_000_000).div_euclid(WINDOW) * WINDOW + WINDOW;
            self.open.extend(times.values().iter().map(end));
        }
        if let Some(watermark) = step.input.watermark {
            self.open.retain(|end| end * 1_000_000 > watermark);
        }
        self.most = self.most.max(self.open.len());
    }
}

/// Takes steps until `done`; sleeps where there is nothing to do.
fn read(
    input: &mut SourceInput,
    ear: &Receiver<()>,
    windows: &mut Windows,
    done: impl Fn(&SourceInput, &Windows) -> bool,
) {
    while !done(input, windows) {
        let step = input.step(ROWS, None, Instant::now()).unwrap();
        windows.take(&step);
        if !step.any {
            let _ = ear.recv_timeout(Duration::from_secs(1));
        }
    }
}

/// The same 2,000 seconds in four partitions: one is a hundred times as dense as another, and one
/// begins in the middle.
fn history() -> Vec<Vec<i64>> {
    vec![
        (0..4000).map(|n| n / 2).collect(),
        (0..20).map(|n| n * 100).collect(),
        (0..200).map(|n| n * 10).collect(),
        (0..1000).map(|n| 1000 + n).collect(),
    ]
}

fn most_open(name: &str, alignment_ms: Option<u64>) -> usize {
    let partitions = history();
    topic(name, &partitions);
    let (mut input, ear) = input(name, alignment_ms);
    let mut windows = Windows::default();
    read(&mut input, &ear, &mut windows, |input, _| input.at_end());
    assert_eq!(windows.rows, partitions.iter().map(Vec::len).sum::<usize>());
    memory::remove(name);
    windows.most
}

#[test]
fn state_follows_the_bound_and_not_the_order_of_reading() {
    // Of the bound's 60 seconds, of what a read of each split reaches beyond it (of the sparse ones 20
    // rows are their whole history: they come in one), and of the rows in between.
    let free = most_open("alignment: free", None);
    let aligned = most_open("alignment: a minute", Some(60_000));
    // The sparse partitions have windows of their own, 20 and 40 of them, whatever is done.
    assert!(free > 90, "{free} windows");
    assert!(aligned < 60, "{aligned} windows, {free} without alignment");
}

#[test]
fn a_split_that_is_ahead_waits_and_is_read_in_the_end() {
    let name = "alignment: ahead";
    topic(name, &[(0..1000).collect(), (100_000..101_000).collect()]);
    let (mut input, ear) = input(name, Some(10_000));
    let mut windows = Windows::default();
    read(&mut input, &ear, &mut windows, |_, windows| windows.rows >= 500);
    let split = |input: &SourceInput, at: usize| input.progress.splits.values().nth(at).unwrap().clone();
    assert!(split(&input, 1).rows <= 2 * ROWS as u64, "{:?}", split(&input, 1));
    assert!(split(&input, 1).waits && !split(&input, 0).waits);
    // What was read ahead of it is bounded, too.
    let reads = input.pending.iter().filter(|read| read.split.partition == 1).count();
    assert!(reads <= 40, "{reads} reads");
    read(&mut input, &ear, &mut windows, |input, _| input.at_end());
    assert_eq!(windows.rows, 2000);
    assert!(!split(&input, 1).waits);
    memory::remove(name);
}

#[test]
fn nobody_waits_for_a_split_that_has_nothing_to_read() {
    let name = "alignment: empty";
    topic(name, &[(0..1000).collect(), Vec::new(), vec![5]]);
    let (mut input, ear) = input(name, Some(10_000));
    let mut windows = Windows::default();
    read(&mut input, &ear, &mut windows, |input, _| input.at_end());
    assert_eq!(windows.rows, 1001);
    // At the end of the log nothing waits, however far apart rows are.
    memory::append_all(name, 2, [at(1_000_000)]);
    read(&mut input, &ear, &mut windows, |_, windows| windows.rows == 1002);
    memory::append_all(name, 2, [at(1_000_001)]);
    memory::append_all(name, 1, [at(7)]);
    read(&mut input, &ear, &mut windows, |_, windows| windows.rows == 1004);
    memory::remove(name);
}

#[test]
fn a_cut_reads_what_waits_as_well() {
    let name = "alignment: a cut";
    topic(name, &[(0..1000).collect(), (100_000..101_000).collect()]);
    let (mut input, ear) = input(name, Some(10_000));
    let mut windows = Windows::default();
    read(&mut input, &ear, &mut windows, |_, windows| windows.rows >= 300);
    let limits: Positions = input.progress.splits.keys().map(|id| (id.clone(), 900)).collect();
    while !input.reached(&limits) {
        let step = input.step(ROWS, Some(&limits), Instant::now()).unwrap();
        windows.take(&step);
        if !step.any {
            let _ = ear.recv_timeout(Duration::from_secs(1));
        }
    }
    assert_eq!(windows.rows, 1800);
    memory::remove(name);
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(24))]

    /// Records are appended to partitions (which, how many), and steps of so many rows taken in between.
    #[test]
    fn no_read_overtakes_an_earlier_one_of_its_split(
        moves in proptest::collection::vec((0usize..3, 0usize..8, 1usize..40), 20..80),
    ) {
        let name = "alignment: order";
        topic(name, &vec![Vec::new(); 3]);
        let (mut input, _ear) = input(name, Some(1 << 40));
        let (mut fed, mut taken) = ([0; 3], [0; 3]);
        let mut take = |budget: usize| {
            let step = input.step(budget, None, Instant::now()).unwrap();
            for batch in step.input.batches.iter().flatten() {
                let times = batch.column(0).as_primitive::<TimestampMicrosecondType>();
                for second in times.values().iter().map(|us| *us / 1_000_000) {
                    let split = (second % 3) as usize;
                    assert_eq!(second / 3, taken[split], "the next row of split {split}");
                    taken[split] += 1;
                }
            }
            for (split, state) in input.progress.splits.values().enumerate() {
                assert_eq!(state.position, taken[split], "where split {split} stands");
            }
            taken
        };
        for (split, rows, budget) in moves {
            let times = (fed[split]..fed[split] + rows as i64).map(|n| at(n * 3 + split as i64));
            memory::append_all(name, split, times);
            fed[split] += rows as i64;
            // So that the reader gives it as a read of its own.
            std::thread::sleep(Duration::from_millis(1));
            // Not after each, so that several reads wait.
            if budget < 12 {
                take(budget);
            }
        }
        memory::end(name);
        let deadline = Instant::now() + Duration::from_secs(60);
        while take(5) != fed {
            assert!(Instant::now() < deadline, "{fed:?} were fed");
        }
        memory::remove(name);
    }
}
