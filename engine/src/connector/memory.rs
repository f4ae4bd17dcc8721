//! The memory source: a log by topic name inside the process, for tests and for programs that embed
//! Weir.
//!
//! It is what Kafka is to a pipeline, without a broker: partitions of records with key, value,
//! headers and timestamp, addressed by offset, that outlive every engine of the process. So a test
//! can crash an engine, delete what was committed ([`delete_before`]), and start the next one on
//! the same log. A reader that finds nothing sleeps until something is appended.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{BinaryArray, BinaryBuilder};
use parking_lot::{Condvar, Mutex};

use super::{
    Bound, ConnectorSpec, Payload, Position, Positions, Records, SourceConnector, SourceReader, Split, SplitId,
    SplitRead, Start, Wanted, check_named,
};
use crate::{Error, Result};

#[cfg(test)]
mod tests;

/// How many bytes a read of one partition takes before it returns, but for the last record.
const READ_BYTES: usize = 16 << 20;

/// All topics of the process.
static TOPICS: Mutex<BTreeMap<String, Arc<Topic>>> = Mutex::new(BTreeMap::new());

/// A record as it is appended.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// Its key, if it has one.
    pub key: Option<Vec<u8>>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Its timestamp, milliseconds since the epoch; -1 where it has none.
    pub timestamp_ms: i64,
}

struct Topic {
    name: Arc<str>,
    log: Mutex<Log>,
    grown: Condvar,
}

struct Log {
    partitions: Vec<Partition>,
    /// Nothing will be appended any more.
    ended: bool,
    /// Reads fail, as if the log were out of reach.
    away: bool,
}

#[derive(Default)]
struct Partition {
    /// Offset of the first record that is kept.
    first: Position,
    records: VecDeque<Record>,
}

impl Partition {
    fn end(&self) -> Position {
        self.first + self.records.len() as Position
    }
}

/// Makes a topic of so many partitions, empty; one of that name is forgotten.
pub fn create(topic: &str, partitions: usize) {
    let made = Topic {
        name: topic.into(),
        log: Mutex::new(Log {
            partitions: (0..partitions.max(1)).map(|_| Partition::default()).collect(),
            ended: false,
            away: false,
        }),
        grown: Condvar::new(),
    };
    TOPICS.lock().insert(topic.to_string(), Arc::new(made));
}

/// Forgets a topic. Readers that are open keep it.
pub fn remove(topic: &str) {
    TOPICS.lock().remove(topic);
}

/// Appends a record; returns its offset.
///
/// # Panics
/// If there is no such topic or partition, or the topic was ended.
pub fn append(topic: &str, partition: usize, key: Option<&[u8]>, value: Option<&[u8]>, timestamp_ms: i64) -> Position {
    let record = Record {
        key: key.map(<[u8]>::to_vec),
        value: value.map(<[u8]>::to_vec),
        headers: Vec::new(),
        timestamp_ms,
    };
    append_all(topic, partition, [record])
}

/// Appends records at once; returns the offset of the first.
///
/// # Panics
/// As [`append`].
pub fn append_all(topic: &str, partition: usize, records: impl IntoIterator<Item = Record>) -> Position {
    let topic = existing(topic);
    let mut log = topic.log.lock();
    assert!(!log.ended, "memory topic '{}' was ended", topic.name);
    let partition = &mut log.partitions[partition];
    let first = partition.end();
    partition.records.extend(records);
    drop(log);
    topic.grown.notify_all();
    first
}

/// Nothing will be appended any more: sources that read to here have ended.
///
/// # Panics
/// If there is no such topic.
pub fn end(topic: &str) {
    let topic = existing(topic);
    topic.log.lock().ended = true;
    topic.grown.notify_all();
}

/// Deletes the records below an offset, as retention does.
///
/// # Panics
/// If there is no such topic or partition, or the offset lies beyond its end.
pub fn delete_before(topic: &str, partition: usize, offset: Position) {
    let topic = existing(topic);
    let mut log = topic.log.lock();
    let partition = &mut log.partitions[partition];
    assert!(offset <= partition.end(), "offset {offset} is beyond the end");
    let gone = usize::try_from(offset - partition.first).unwrap_or(0);
    partition.records.drain(..gone);
    partition.first = partition.first.max(offset);
}

/// Puts a topic out of reach, or back: reads of it fail meanwhile, as of a broker that is down.
///
/// # Panics
/// If there is no such topic.
pub fn set_away(topic: &str, away: bool) {
    let topic = existing(topic);
    topic.log.lock().away = away;
    topic.grown.notify_all();
}

fn existing(topic: &str) -> Arc<Topic> {
    let found = TOPICS.lock().get(topic).cloned();
    found.unwrap_or_else(|| panic!("there is no memory topic '{topic}'; create it first"))
}

/// Makes a memory source. Option: `topic`. The topic is looked for when it is read.
///
/// # Errors
/// If an option is unknown or missing.
pub fn source(spec: &ConnectorSpec) -> Result<Arc<dyn SourceConnector>> {
    if let Some(name) = spec.options.keys().find(|name| *name != "topic") {
        return Err(Error::Config(format!(
            "unknown option '{name}' of a memory source; known is topic"
        )));
    }
    let topic = spec.options.get("topic").cloned();
    let topic = topic.ok_or_else(|| Error::Config("a memory source needs topic = '…'".to_string()))?;
    Ok(Arc::new(MemorySource { topic }))
}

struct MemorySource {
    topic: String,
}

impl Topic {
    fn split(&self, partition: usize) -> Split {
        Split {
            id: SplitId(partition.to_string().into()),
            topic: self.name.clone(),
            partition: i32::try_from(partition).unwrap_or(i32::MAX),
        }
    }

    fn error(&self, cause: impl Into<String>) -> Error {
        at_topic(&self.name, cause)
    }

    fn positions(&self, log: &Log, of: impl Fn(&Partition) -> Position) -> Positions {
        let numbered = log.partitions.iter().enumerate();
        numbered.map(|(number, p)| (self.split(number).id, of(p))).collect()
    }
}

fn at_topic(topic: &str, cause: impl Into<String>) -> Error {
    Error::Connector {
        place: format!("memory topic '{topic}'"),
        cause: cause.into(),
    }
}

impl MemorySource {
    fn topic(&self) -> Result<Arc<Topic>> {
        let found = TOPICS.lock().get(&self.topic).cloned();
        let topic =
            found.ok_or_else(|| at_topic(&self.topic, "there is no such topic; create it, or correct the name"))?;
        if topic.log.lock().away {
            return Err(topic.error("it is out of reach"));
        }
        Ok(topic)
    }

    fn named(&self, topic: &Topic, log: &Log, named: &Positions, ends: Option<&Positions>) -> Result<()> {
        let splits: Vec<Split> = (0..log.partitions.len()).map(|number| topic.split(number)).collect();
        check_named(named, &splits, ends, "partition")
    }
}

/// The offset of the first record that is no older than a time.
fn since(time_ms: i64) -> impl Fn(&Partition) -> Position {
    move |partition| {
        let older = partition
            .records
            .iter()
            .take_while(|record| record.timestamp_ms < time_ms);
        partition.first + older.count() as Position
    }
}

impl SourceConnector for MemorySource {
    fn splits(&self) -> Result<Vec<Split>> {
        let topic = self.topic()?;
        let count = topic.log.lock().partitions.len();
        Ok((0..count).map(|number| topic.split(number)).collect())
    }

    fn resolve(&self, start: &Start) -> Result<Positions> {
        let topic = self.topic()?;
        let log = topic.log.lock();
        Ok(match start {
            Start::Earliest => topic.positions(&log, |partition| partition.first),
            Start::Latest => topic.positions(&log, Partition::end),
            Start::Timestamp(time_ms) => topic.positions(&log, since(*time_ms)),
            Start::Offsets(named) => {
                let ends = topic.positions(&log, Partition::end);
                self.named(&topic, &log, named, Some(&ends))?;
                let mut positions = topic.positions(&log, |partition| partition.first);
                positions.extend(named.clone());
                positions
            }
            Start::Group => {
                return Err(Error::Config(
                    "a memory source has no consumer groups; use earliest, latest, timestamp or offsets".to_string(),
                ));
            }
        })
    }

    fn resolve_bound(&self, bound: &Bound) -> Result<Option<Positions>> {
        let topic = self.topic()?;
        let log = topic.log.lock();
        Ok(match bound {
            Bound::Unbounded => None,
            Bound::Latest => Some(topic.positions(&log, Partition::end)),
            Bound::Timestamp(time_ms) => Some(topic.positions(&log, since(*time_ms))),
            Bound::Offsets(named) => {
                self.named(&topic, &log, named, None)?;
                Some(named.clone())
            }
        })
    }

    fn holds(&self) -> bool {
        true
    }

    fn open(&self, from: &Positions, until: Option<&Positions>, wanted: &Wanted) -> Result<Box<dyn SourceReader>> {
        let topic = self.topic()?;
        let log = topic.log.lock();
        self.named(&topic, &log, from, None)?;
        let cursor = |number: usize| {
            let split = topic.split(number);
            Cursor {
                next: from.get(&split.id).copied().unwrap_or(log.partitions[number].first),
                until: until.and_then(|until| until.get(&split.id)).copied(),
                split,
                told_end: false,
                ended: false,
                held: false,
            }
        };
        let cursors = (0..log.partitions.len()).map(cursor).collect();
        drop(log);
        Ok(Box::new(Reader {
            topic,
            cursors,
            wanted: wanted.clone(),
            turn: 0,
        }))
    }
}

struct Reader {
    topic: Arc<Topic>,
    cursors: Vec<Cursor>,
    wanted: Wanted,
    /// The partition to begin the next read with, so that a long one doesn't keep others waiting.
    turn: usize,
}

/// A partition as far as it was read.
struct Cursor {
    split: Split,
    next: Position,
    until: Option<Position>,
    /// That it is read to its present end was told.
    told_end: bool,
    ended: bool,
    held: bool,
}

impl Cursor {
    /// What there is to tell of the partition.
    fn read(&mut self, partition: &Partition, log_ended: bool, max_rows: usize, wanted: &Wanted) -> Option<SplitRead> {
        if self.ended || self.held {
            return None;
        }
        let end = self.until.map_or(partition.end(), |until| until.min(partition.end()));
        let from = usize::try_from(self.next - partition.first).unwrap_or(0);
        let left = usize::try_from(end - self.next).unwrap_or(0).min(max_rows);
        let records = collect(partition, from, left, wanted);
        self.next += records.positions.len() as Position;
        let at_end = self.next >= partition.end();
        self.ended = self.until.is_some_and(|until| self.next >= until) || (log_ended && at_end);
        let news = !records.positions.is_empty() || self.ended || (at_end && !self.told_end);
        self.told_end = at_end;
        news.then(|| SplitRead {
            split: self.split.clone(),
            payload: Payload::Records(records),
            next: self.next,
            mark: None,
            at_end: at_end || self.ended,
            ended: self.ended,
        })
    }
}

/// Up to `count` records of a partition, from the `from`th kept one on.
fn collect(partition: &Partition, from: usize, count: usize, wanted: &Wanted) -> Records {
    let mut keys = wanted.keys.then(BinaryBuilder::new);
    let mut values = BinaryBuilder::new();
    let mut headers = wanted.headers.then(Vec::new);
    let (mut positions, mut timestamps_ms) = (Vec::new(), Vec::new());
    let mut bytes = 0;
    for (index, record) in partition.records.iter().enumerate().skip(from).take(count) {
        if bytes >= READ_BYTES {
            break;
        }
        let size = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        bytes += size(&record.key) + size(&record.value);
        values.append_option(record.value.as_deref());
        if let Some(keys) = &mut keys {
            keys.append_option(record.key.as_deref());
        }
        if let Some(headers) = &mut headers {
            headers.push(record.headers.clone());
        }
        positions.push(partition.first + index as Position);
        timestamps_ms.push(record.timestamp_ms);
    }
    Records {
        keys: keys.map_or_else(|| BinaryArray::new_null(positions.len()), |mut keys| keys.finish()),
        values: values.finish(),
        positions,
        timestamps_ms,
        headers,
    }
}

impl SourceReader for Reader {
    fn read(&mut self, max_rows: usize, timeout: Duration) -> Result<Vec<SplitRead>> {
        let deadline = Instant::now() + timeout;
        let mut log = self.topic.log.lock();
        loop {
            if log.away {
                // Where it ends is not known any more.
                self.cursors.iter_mut().for_each(|cursor| cursor.told_end = false);
                return Err(self.topic.error("it is out of reach"));
            }
            let mut reads = Vec::new();
            let mut left = max_rows.max(1);
            for step in 0..self.cursors.len() {
                let number = (self.turn + step) % self.cursors.len();
                let (cursor, partition) = (&mut self.cursors[number], &log.partitions[number]);
                check(&self.topic, cursor, partition)?;
                if left == 0 {
                    continue;
                }
                if let Some(read) = cursor.read(partition, log.ended, left, &self.wanted) {
                    left -= read.payload.len();
                    reads.push(read);
                }
            }
            if !reads.is_empty() {
                self.turn = (self.turn + 1) % self.cursors.len();
                return Ok(reads);
            }
            if self.topic.grown.wait_until(&mut log, deadline).timed_out() {
                return Ok(reads);
            }
        }
    }

    fn hold(&mut self, splits: &BTreeSet<SplitId>) {
        for cursor in &mut self.cursors {
            let held = splits.contains(&cursor.split.id);
            // Meanwhile nobody knows whether it is at its end; that is told again.
            cursor.told_end &= held || !cursor.held;
            cursor.held = held;
        }
    }

    fn ends(&mut self) -> Positions {
        let log = self.topic.log.lock();
        self.topic.positions(&log, Partition::end)
    }
}

/// A position must be one of a record that is kept, or the end: what was deleted unread is lost,
/// and that must not pass unseen.
fn check(topic: &Topic, cursor: &Cursor, partition: &Partition) -> Result<()> {
    let (next, first, end) = (cursor.next, partition.first, partition.end());
    if cursor.ended || cursor.until.is_some_and(|until| next >= until) || (first..=end).contains(&next) {
        return Ok(());
    }
    let what = if next < first {
        format!("offsets {next} to {} are gone: it now begins at {first}", first - 1)
    } else {
        format!("position {next} is beyond its end {end}: was the topic made anew?")
    };
    Err(Error::Data(format!(
        "memory topic '{}', partition {}: {what}; create the source anew to read what is left",
        topic.name, cursor.split.partition
    )))
}
