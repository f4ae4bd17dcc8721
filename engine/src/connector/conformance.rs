//! What every source keeps, as one test: order within splits, cuts at any position, bounds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::{Payload, Position, Positions, SourceConnector, SourceReader, SplitId, Start, Wanted};

/// The records of each split with their positions, as text.
pub type Contents = BTreeMap<SplitId, Vec<(Position, String)>>;

/// How long a read of everything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Checks a source that holds some records: reads them whole, in small pieces, from every kind of
/// position, and up to bounds, and compares. An endless source needs `until`.
///
/// # Panics
/// Where the source breaks a promise.
pub fn source_conformance(source: &dyn SourceConnector, until: Option<&Positions>, wanted: &Wanted) {
    let first = source.resolve(&Start::Earliest).expect("the oldest positions");
    let splits = source.splits().expect("splits");
    assert!(!splits.is_empty(), "a source to test needs splits");
    for split in &splits {
        assert!(first.contains_key(&split.id), "no first position of '{}'", split.id);
    }

    let whole = read_all(source, &first, until, wanted, 1 << 20);
    assert!(
        whole.values().any(|records| records.len() > 2),
        "a source to test needs records"
    );
    assert_same(&whole, &read_all(source, &first, until, wanted, 3), "in small reads");

    if source.holds() {
        assert_same(
            &whole,
            &read_held(source, &first, until, wanted),
            "with splits held in turn",
        );
    }

    for (numerator, denominator) in [(1, 3), (1, 2), (9, 10)] {
        let cut: Positions = whole
            .iter()
            .filter_map(|(id, records)| Some((id, records.get(records.len() * numerator / denominator)?)))
            .map(|(id, (position, _))| (id.clone(), *position))
            .collect();
        let mut from = first.clone();
        from.extend(cut.clone());
        let rest = read_all(source, &from, until, wanted, 1 << 20);
        assert_same(&part(&whole, &cut, true), &rest, "from positions on");
        let begin = read_all(source, &first, Some(&bound(&whole, &cut)), wanted, 7);
        assert_same(&part(&whole, &cut, false), &begin, "up to positions");
    }

    // The position that a read gives is where the next one begins, whatever lies between.
    let mut reader = source.open(&first, until, wanted).expect("a reader");
    let (mut from, mut begin) = (first.clone(), Contents::new());
    let deadline = Instant::now() + PATIENCE;
    while begin.values().map(Vec::len).sum::<usize>() == 0 {
        assert!(Instant::now() < deadline, "nothing was read");
        read_once(reader.as_mut(), 2, &mut begin, &mut from, &mut BTreeMap::new());
    }
    drop(reader);
    let rest = read_all(source, &from, until, wanted, 1 << 20);
    for (id, records) in rest {
        begin.entry(id).or_default().extend(records);
    }
    assert_same(&whole, &begin, "begun in one reader, ended in another");
}

/// Positions for every split: those of `cut`, or the end of what there is.
fn bound(whole: &Contents, cut: &Positions) -> Positions {
    whole
        .iter()
        .map(|(id, records)| {
            let end = records.last().map_or(0, |(position, _)| position + 1);
            (id.clone(), cut.get(id).copied().unwrap_or(end))
        })
        .collect()
}

fn part(whole: &Contents, cut: &Positions, behind: bool) -> Contents {
    let mut part = whole.clone();
    for (id, records) in &mut part {
        if let Some(cut) = cut.get(id) {
            records.retain(|(position, _)| (position >= cut) == behind);
        } else if !behind {
            continue;
        }
    }
    part
}

fn assert_same(expected: &Contents, found: &Contents, how: &str) {
    for (id, records) in expected {
        let other = found.get(id).map_or(&[][..], Vec::as_slice);
        let differs = records.iter().zip(other).position(|(a, b)| a != b);
        if let Some(i) = differs {
            panic!(
                "'{id}', read {how}, differs at record {i}: {:?} became {:?}",
                records[i], other[i]
            );
        }
        assert_eq!(records.len(), other.len(), "records of '{id}', read {how}");
    }
    let extra: Vec<_> = found
        .iter()
        .filter(|(id, r)| !r.is_empty() && !expected.contains_key(id))
        .collect();
    assert!(extra.is_empty(), "read {how}, there are splits more: {extra:?}");
}

/// Reads every split to its end (its present one, without `until`), checking each read.
pub fn read_all(
    source: &dyn SourceConnector,
    from: &Positions,
    until: Option<&Positions>,
    wanted: &Wanted,
    max_rows: usize,
) -> Contents {
    let mut reader = source.open(from, until, wanted).expect("a reader");
    let (mut contents, mut next) = (Contents::new(), from.clone());
    let mut ends: BTreeMap<SplitId, (bool, bool)> = BTreeMap::new();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let done = from.keys().all(|id| match (ends.get(id), until) {
            (Some((_, ended)), Some(until)) if until.contains_key(id) => *ended,
            (Some((at_end, ended)), _) => *at_end || *ended,
            (None, _) => false,
        });
        if done {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "not at the end in time: {ends:?}, next {next:?}"
        );
        read_once(reader.as_mut(), max_rows, &mut contents, &mut next, &mut ends);
    }
    for (id, records) in &contents {
        for (position, _) in records {
            let end = until.and_then(|until| until.get(id)).copied().unwrap_or(i64::MAX);
            assert!(*position < end, "'{id}' gave position {position}, its bound is {end}");
        }
    }
    contents
}

/// Reads every split to its end, while one after the other is held for a few reads.
fn read_held(source: &dyn SourceConnector, from: &Positions, until: Option<&Positions>, wanted: &Wanted) -> Contents {
    let mut reader = source.open(from, until, wanted).expect("a reader");
    let (mut contents, mut next) = (Contents::new(), from.clone());
    let mut ends: BTreeMap<SplitId, (bool, bool)> = BTreeMap::new();
    let deadline = Instant::now() + PATIENCE;
    for held in from.keys().cycle() {
        if from
            .keys()
            .all(|id| ends.get(id).is_some_and(|(at_end, ended)| *at_end || *ended))
        {
            break;
        }
        assert!(Instant::now() < deadline, "not at the end in time: {ends:?}");
        reader.hold(&BTreeSet::from([held.clone()]));
        for _ in 0..3 {
            read_once(reader.as_mut(), 7, &mut contents, &mut next, &mut ends);
        }
    }
    contents
}

/// One read, added to `contents`; checks order and positions.
pub fn read_once(
    reader: &mut dyn SourceReader,
    max_rows: usize,
    contents: &mut Contents,
    next: &mut Positions,
    ends: &mut BTreeMap<SplitId, (bool, bool)>,
) {
    for read in reader.read(max_rows, Duration::from_millis(200)).expect("a read") {
        let id = &read.split.id;
        let (_, ended) = ends.insert(id.clone(), (read.at_end, read.ended)).unwrap_or_default();
        assert!(!ended, "'{id}' was read behind its end");
        let records = contents.entry(id.clone()).or_default();
        let at = next.entry(id.clone()).or_insert(read.next.min(0));
        for (i, text) in texts(&read.payload).into_iter().enumerate() {
            let position = read.payload.position(i);
            assert!(
                position >= *at,
                "'{id}' gave position {position}, expected {at} or more"
            );
            *at = position + 1;
            records.push((position, text));
        }
        assert!(read.next >= *at, "'{id}' goes on at {}, behind it is {at}", read.next);
        *at = read.next;
    }
}

/// Each record as text, all that is known of it.
pub fn texts(payload: &Payload) -> Vec<String> {
    use arrow::array::Array;
    let shown = |bytes: &arrow::array::BinaryArray, i: usize| {
        bytes
            .is_valid(i)
            .then(|| String::from_utf8_lossy(bytes.value(i)).into_owned())
    };
    (0..payload.len())
        .map(|i| match payload {
            Payload::Records(records) => {
                let headers = records.headers.as_ref().map(|headers| &headers[i]);
                let (key, value) = (shown(&records.keys, i), shown(&records.values, i));
                format!("{key:?} {value:?} {} {headers:?}", records.timestamps_ms[i])
            }
            Payload::Rows { rows, .. } => format!("{:?}", rows.slice(i, 1).columns()),
        })
        .collect()
}
