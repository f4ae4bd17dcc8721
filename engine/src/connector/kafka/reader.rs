//! Reading partitions: from the consumer's queue into Arrow columns, split by split.
//!
//! librdkafka fetches in the background and puts the records of all partitions on one queue. A
//! read takes what is there, copies every payload once into its split's column, and returns one
//! [`SplitRead`] for each split that has news. A read that finds nothing blocks on the queue.
//!
//! **Where a split stands.** `next` is behind the last record, or at the offset of an end-of-
//! partition event, which lies beyond transactions' control records and compacted ones. A split is
//! at its end if it is as far as the last fetch saw the partition go.
//!
//! **Holding back.** A split that is held is taken out of what the consumer fetches, and assigned
//! again where it stands: so there is no gap, nor a repeat.
//!
//! **Trouble.** An error event makes the reader doubt: no split is at its end any more, and as soon
//! as nothing comes in, the leaders of all partitions are asked for an answer. With it all is well
//! again; without it the read is an error, in the event's words. librdkafka goes on by itself when
//! the brokers are back, behind the last record that it gave.
//!
//! **What can't pass**, such as records that were deleted before they were read, or a damaged one,
//! ends the reader: every further read gives the same error, so that nothing is ever skipped.

use std::collections::{BTreeSet, HashMap};
use std::ffi::CString;
use std::time::{Duration, Instant};

use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;

use super::client::{Consumer, Message, c_name};
use super::columns::Columns;
use super::{KafkaSource, answers, at_topic, list, parse_split};
use crate::connector::{Payload, Position, Positions, Records, SourceReader, Split, SplitId, SplitRead, Wanted};
use crate::{Error, Result};

/// How often new partitions and topics are looked for, unless the user says
/// `properties.topic.metadata.refresh.interval.ms`.
const DISCOVERY: Duration = Duration::from_secs(30);
/// How soon that is tried again after it failed.
const DISCOVERY_AGAIN: Duration = Duration::from_secs(1);
/// How long an answer from the brokers may take, whatever a read's own time.
const ANSWER: Duration = Duration::from_secs(2);
/// How often the brokers are asked for an answer while records come in spite of an error.
const PROBE: Duration = Duration::from_secs(5);
/// How many bytes a read takes before it returns, whatever the number of rows.
const READ_BYTES: usize = 16 << 20;

/// A reader of Kafka partitions.
pub(super) struct Reader {
    source: KafkaSource,
    consumer: Consumer,
    splits: Vec<State>,
    /// Places in `splits` by what a message says of its partition.
    places: HashMap<(usize, i32), usize>,
    wanted: Wanted,
    /// True if the source ends, so that partitions found later are none of its.
    bounded: bool,
    discovered: bool,
    discovery: Duration,
    next_discovery: Instant,
    last_probe: Instant,
    doubtful: bool,
    /// An error for the next read.
    pending: Option<Error>,
    /// An error for every read.
    ended_by: Option<Error>,
    group_positions: Positions,
}

/// A split and what a read has of it.
struct State {
    split: Split,
    topic: CString,
    /// Unknown until the first news of a split found later.
    next: Option<Position>,
    until: Option<Position>,
    end: Option<Position>,
    at_end: bool,
    ended: bool,
    assigned: bool,
    /// Not to be read for now.
    held: bool,
    /// Something to tell, be it without records.
    news: bool,
    columns: Columns,
    /// Full columns of the same read.
    full: Vec<Records>,
}

impl State {
    fn new(split: Split, next: Option<Position>, until: Option<Position>, wanted: &Wanted) -> Result<Self> {
        let topic = c_name(&split.topic)?;
        let columns = Columns::new(wanted, 0, 0);
        Ok(Self {
            split,
            topic,
            next,
            until,
            end: None,
            at_end: false,
            ended: false,
            assigned: false,
            held: false,
            news: false,
            columns,
            full: Vec::new(),
        })
    }

    /// True if every record up to the bound was given.
    fn is_through(&self) -> bool {
        matches!((self.next, self.until), (Some(next), Some(until)) if next >= until)
    }

    /// Takes a record; returns its bytes.
    fn take(&mut self, message: &Message<'_>, wanted: &Wanted) -> usize {
        let offset = message.offset();
        if self.ended || self.next.is_some_and(|next| offset < next) {
            return 0;
        }
        self.news = true;
        self.at_end = false;
        if self.until.is_some_and(|until| offset >= until) {
            self.next = self.until;
            return 0;
        }
        self.next = Some(offset + 1);
        let coming = message.value().map_or(0, <[u8]>::len) + message.key().map_or(0, <[u8]>::len);
        if !self.columns.has_room(coming) {
            self.full.push(self.columns.finish(wanted));
        }
        self.columns.push(message)
    }

    /// Notes that the partition ends at `offset` for now.
    fn reaches_end(&mut self, offset: Position, certain: bool) {
        if self.ended {
            return;
        }
        self.next = Some(self.next.unwrap_or(offset).max(offset));
        self.end = self.end.max(Some(offset));
        self.at_end = certain;
        self.news = true;
    }

    fn set_at_end(&mut self, at_end: bool) {
        if !self.ended && self.at_end != at_end {
            self.at_end = at_end;
            self.news = true;
        }
    }
}

impl Reader {
    pub(super) fn open(
        source: KafkaSource,
        from: &Positions,
        until: Option<&Positions>,
        wanted: &Wanted,
    ) -> Result<Self> {
        let consumer = source.consumer()?;
        let now = Instant::now();
        let discovery = source
            .properties
            .get("topic.metadata.refresh.interval.ms")
            .and_then(|ms| ms.parse().ok())
            .map_or(DISCOVERY, Duration::from_millis);
        let mut reader = Self {
            source,
            consumer,
            splits: Vec::new(),
            places: HashMap::new(),
            wanted: Wanted {
                keys: wanted.keys,
                headers: wanted.headers,
                columns: None,
            },
            bounded: until.is_some(),
            discovered: until.is_some(),
            discovery,
            next_discovery: now,
            last_probe: now,
            doubtful: false,
            pending: None,
            ended_by: None,
            group_positions: Positions::new(),
        };
        let none = Positions::new();
        let until = until.unwrap_or(&none);
        let mut states = Vec::new();
        for id in from.keys().chain(until.keys().filter(|id| !from.contains_key(*id))) {
            let (next, until) = (from.get(id).copied(), until.get(id).copied());
            states.push(State::new(parse_split(id)?, next, until, &reader.wanted)?);
        }
        reader.add(states)?;
        Ok(reader)
    }

    /// Begins to read more splits.
    fn add(&mut self, states: Vec<State>) -> Result<()> {
        let mut assignment = TopicPartitionList::new();
        for mut state in states {
            if !state.is_through() {
                state.assigned = true;
                let offset = state.next.map_or(Offset::Beginning, Offset::Offset);
                assignment
                    .add_partition_offset(&state.split.topic, state.split.partition, offset)
                    .map_err(|error| Error::internal(format!("position of '{}': {error}", state.split.id)))?;
            }
            self.splits.push(state);
        }
        if assignment.count() > 0 {
            self.consumer.assign(&assignment)
        } else {
            Ok(())
        }
    }

    /// Looks for partitions and topics that are new.
    fn discover(&mut self) {
        self.next_discovery = Instant::now() + DISCOVERY_AGAIN;
        let found = self.source.partitions(&self.consumer, ANSWER).and_then(|found| {
            let new = found
                .into_iter()
                .filter(|split| !self.splits.iter().any(|known| known.split.id == split.id));
            new.map(|split| State::new(split, None, None, &self.wanted))
                .collect::<Result<Vec<_>>>()
        });
        match found.and_then(|states| self.add(states)) {
            Ok(()) => {
                self.discovered = true;
                self.next_discovery = Instant::now() + self.discovery;
            }
            Err(error) => self.pending = Some(error),
        }
    }

    /// Asks the leaders of all partitions for an answer and ends the doubt if all give one.
    fn probe(&mut self) {
        self.last_probe = Instant::now();
        let live: Vec<Split> = self
            .splits
            .iter()
            .filter(|s| !s.ended)
            .map(|s| s.split.clone())
            .collect();
        if !self.discovered || live.is_empty() {
            self.discover();
        } else {
            match self.ends_now(&live) {
                Ok(ends) => {
                    for state in self.splits.iter_mut().filter(|state| !state.ended) {
                        if let Some(end) = ends.get(&state.split.id) {
                            state.end = Some(*end);
                            state.set_at_end(state.next.is_some_and(|next| next >= *end));
                        }
                    }
                }
                Err(error) => self.pending = Some(error),
            }
        }
        self.doubtful = self.pending.is_some();
    }

    fn ends_now(&self, splits: &[Split]) -> Result<Positions> {
        let answer = self
            .consumer
            .offsets_for_times(&list(splits, |_| Offset::End)?, ANSWER)?;
        let mut ends = Positions::new();
        for (split, offset) in answers(splits, &answer)? {
            if let Offset::Offset(end) = offset {
                ends.insert(split.id.clone(), end);
            }
        }
        Ok(ends)
    }

    /// Notes new trouble and errors that wait to be told.
    fn heed_events(&mut self) {
        let context = self.consumer.context();
        if let Some(words) = context.fatal() {
            let brokers = self.source.properties.brokers();
            self.ended_by = Some(Error::Data(format!("kafka at {brokers}: {words}")));
        }
        if (context.in_trouble() || self.pending.is_some()) && !self.doubtful {
            // Nothing is known to be read to its end any more.
            self.doubtful = true;
            for state in &mut self.splits {
                state.set_at_end(false);
            }
        }
    }

    /// Takes what the queue holds, or waits up to `timeout` for something. Returns how much.
    fn take(&mut self, max_rows: usize, timeout: Duration) -> usize {
        let (mut messages, mut rows, mut bytes) = (0, 0, 0);
        let mut gone = Vec::new();
        let mut wait = timeout;
        while rows < max_rows && bytes < READ_BYTES {
            // The queue would wait for a full batch: wait for one message, then take the rest.
            let most = if wait.is_zero() { max_rows - rows } else { 1 };
            let Self {
                consumer,
                splits,
                places,
                wanted,
                doubtful,
                pending,
                ended_by,
                ..
            } = self;
            let taken = consumer.consume(wait, most, |message| {
                let Some(place) = place(splits, places, message) else {
                    if let Some((_, words)) = message.error() {
                        let topic = message.topic().unwrap_or_default();
                        *pending = Some(at_topic(&topic, words));
                    }
                    return;
                };
                let state = &mut splits[place];
                match message.error() {
                    None => {
                        bytes += state.take(message, wanted);
                        rows += 1;
                    }
                    Some((code, words)) => match verdict(code) {
                        Verdict::End => state.reaches_end(message.offset(), !*doubtful),
                        Verdict::Gone => gone.push((place, words)),
                        Verdict::Damaged => {
                            let error = partition_error(&state.split, &words);
                            ended_by.get_or_insert(Error::Data(error.to_string()));
                        }
                        Verdict::Passing => *pending = Some(partition_error(&state.split, &words)),
                    },
                }
            });
            messages += taken;
            if taken == 0 {
                break;
            }
            wait = Duration::ZERO;
        }
        for (place, words) in gone {
            match self.gone(place) {
                Some(error) => {
                    self.ended_by.get_or_insert(error);
                }
                None => self.begin_again(place, &words),
            }
        }
        messages
    }

    /// The error of a split whose next records are not there, if that is so. It can't pass: only the
    /// user can decide to go on without them.
    fn gone(&self, place: usize) -> Option<Error> {
        let State { split, next, .. } = &self.splits[place];
        let next = (*next)?;
        let (low, high) = self
            .consumer
            .watermarks(&split.topic, split.partition, DISCOVERY_AGAIN)
            .ok()?;
        let what = if next < low {
            let last = low - 1;
            format!("offsets {next} to {last} are gone: it now begins at {low} (retention, or deleted records)")
        } else if next > high {
            format!("position {next} is beyond its end {high}: was the topic deleted and made anew?")
        } else {
            return None;
        };
        Some(Error::Data(format!(
            "kafka topic '{}', partition {}: {what}; create the source anew to read what is left, or \
             set properties.auto.offset.reset = 'earliest' to go on behind the gap",
            split.topic, split.partition
        )))
    }

    /// Reads a split again from where it stands, after a broker denied a record that is there, as
    /// one may that has just become the leader.
    fn begin_again(&mut self, place: usize, words: &str) {
        let State { split, next, held, .. } = &self.splits[place];
        if *held {
            // It will be begun again when it is let go on.
            return;
        }
        let at = next.map_or(Offset::Beginning, Offset::Offset);
        let assigned = list(std::slice::from_ref(split), |_| at)
            .and_then(|list| self.consumer.unassign(&list).and_then(|()| self.consumer.assign(&list)));
        self.pending = Some(assigned.err().unwrap_or_else(|| partition_error(split, words)));
    }

    /// Ends the splits that have reached their bound.
    fn end_splits(&mut self) -> Result<()> {
        let mut through = TopicPartitionList::new();
        for state in self
            .splits
            .iter_mut()
            .filter(|state| !state.ended && state.is_through())
        {
            state.ended = true;
            state.at_end = true;
            state.news = true;
            if std::mem::take(&mut state.assigned) {
                through.add_partition(&state.split.topic, state.split.partition);
            }
        }
        if through.count() > 0 {
            self.consumer.unassign(&through)
        } else {
            Ok(())
        }
    }

    /// One read for each split with news.
    fn collect(&mut self) -> Vec<SplitRead> {
        let mut reads = Vec::new();
        let Self {
            splits,
            wanted,
            consumer,
            doubtful,
            ..
        } = self;
        for state in splits.iter_mut().filter(|state| state.news) {
            state.news = false;
            let last = state.columns.finish(wanted);
            let has_records = !last.positions.is_empty();
            if has_records && !state.ended {
                state.end = consumer.known_end(&state.topic, state.split.partition).max(state.end);
                let is_there = matches!((state.next, state.end), (Some(next), Some(end)) if next >= end);
                state.at_end |= !*doubtful && is_there;
            }
            let mut parts = std::mem::take(&mut state.full);
            if has_records || parts.is_empty() {
                parts.push(last);
            }
            // A split found later, of which nothing is known but that it is there.
            let Some(next) = state.next else { continue };
            let count = parts.len();
            for (i, records) in parts.into_iter().enumerate() {
                let is_last = i + 1 == count;
                reads.push(SplitRead {
                    split: state.split.clone(),
                    next: if is_last {
                        next
                    } else {
                        records.positions.last().map_or(next, |p| p + 1)
                    },
                    payload: Payload::Records(records),
                    mark: None,
                    at_end: is_last && state.at_end,
                    ended: is_last && state.ended,
                });
            }
        }
        reads
    }
}

impl SourceReader for Reader {
    fn read(&mut self, max_rows: usize, timeout: Duration) -> Result<Vec<SplitRead>> {
        if let Some(error) = self.ended_by.clone().or_else(|| self.pending.take()) {
            return Err(error);
        }
        let deadline = Instant::now() + timeout;
        self.heed_events();
        if !self.bounded && !self.doubtful && Instant::now() >= self.next_discovery {
            self.discover();
        }
        let mut taken = self.take(max_rows, Duration::ZERO);
        let quiet = taken == 0
            && !self
                .splits
                .iter()
                .any(|state| state.news || state.is_through() != state.ended);
        if quiet && self.pending.is_none() && !self.doubtful {
            // Events are heard between reads only, so never sleep for long.
            taken = self.take(max_rows, timeout.min(Duration::from_secs(1)));
        }
        self.heed_events();
        if self.doubtful && (taken == 0 || self.last_probe.elapsed() >= PROBE) {
            self.probe();
        }
        if self.pending.is_some() && taken == 0 {
            // An error may come at once; a caller that tries again shall not spin.
            self.take(max_rows, deadline.saturating_duration_since(Instant::now()));
        }
        self.end_splits()?;
        let reads = self.collect();
        if !reads.is_empty() {
            return Ok(reads);
        }
        match self.ended_by.clone().or_else(|| self.pending.take()) {
            Some(error) => Err(error),
            None => Ok(reads),
        }
    }

    fn hold(&mut self, splits: &BTreeSet<SplitId>) {
        let (mut held, mut released) = (TopicPartitionList::new(), TopicPartitionList::new());
        for state in self.splits.iter_mut().filter(|state| !state.ended) {
            let hold = splits.contains(&state.split.id);
            if hold == state.held || (hold && !state.assigned) {
                continue;
            }
            (state.held, state.assigned) = (hold, !hold);
            let at = state.next.map_or(Offset::Beginning, Offset::Offset);
            let list = if hold { &mut held } else { &mut released };
            let added = list.add_partition_offset(&state.split.topic, state.split.partition, at);
            if let Err(error) = added {
                self.pending = Some(Error::internal(format!("position of '{}': {error}", state.split.id)));
            }
        }
        if held.count() > 0
            && let Err(error) = self.consumer.unassign(&held)
        {
            self.pending = Some(error);
        }
        if released.count() > 0
            && let Err(error) = self.consumer.assign(&released)
        {
            self.pending = Some(error);
        }
    }

    fn ends(&mut self) -> Positions {
        let mut ends = Positions::new();
        for state in &mut self.splits {
            if !state.ended {
                let known = self.consumer.known_end(&state.topic, state.split.partition);
                state.end = known.max(state.end);
            }
            if let Some(end) = state.end {
                ends.insert(state.split.id.clone(), end);
            }
        }
        ends
    }

    fn committed(&mut self, positions: &Positions) {
        if !self.source.properties.has_group() {
            return;
        }
        let mut changed = TopicPartitionList::new();
        for state in &self.splits {
            let id: &SplitId = &state.split.id;
            let Some(position) = positions.get(id) else {
                continue;
            };
            if self.group_positions.get(id) == Some(position) {
                continue;
            }
            let (topic, partition) = (&state.split.topic, state.split.partition);
            match changed.add_partition_offset(topic, partition, Offset::Offset(*position)) {
                Ok(()) => {
                    self.group_positions.insert(id.clone(), *position);
                }
                Err(error) => tracing::warn!(target: "kafka", "group offset of '{id}': {error}"),
            }
        }
        if changed.count() > 0 {
            self.consumer.commit(&changed);
        }
    }
}

/// Where a message's split is.
fn place(splits: &[State], places: &mut HashMap<(usize, i32), usize>, message: &Message<'_>) -> Option<usize> {
    let handle = (message.topic_handle(), message.partition());
    if let Some(place) = places.get(&handle) {
        return Some(*place);
    }
    let topic = message.topic()?;
    let place = splits
        .iter()
        .position(|state| state.split.partition == message.partition() && *state.split.topic == *topic)?;
    // An error may carry a handle of its own, which goes with it.
    if message.error().is_none() {
        places.insert(handle, place);
    }
    Some(place)
}

/// What an error of a partition means.
enum Verdict {
    End,
    Gone,
    Damaged,
    Passing,
}

fn verdict(code: RDKafkaRespErr) -> Verdict {
    use RDKafkaRespErr::*;
    match code {
        RD_KAFKA_RESP_ERR__PARTITION_EOF => Verdict::End,
        RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET | RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE => Verdict::Gone,
        // librdkafka would go on behind these.
        RD_KAFKA_RESP_ERR__BAD_MSG
        | RD_KAFKA_RESP_ERR__BAD_COMPRESSION
        | RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED
        | RD_KAFKA_RESP_ERR__UNDERFLOW
        | RD_KAFKA_RESP_ERR__INCONSISTENT
        | RD_KAFKA_RESP_ERR__LOG_TRUNCATION
        | RD_KAFKA_RESP_ERR_INVALID_MSG
        | RD_KAFKA_RESP_ERR_INVALID_RECORD => Verdict::Damaged,
        _ => Verdict::Passing,
    }
}

fn partition_error(split: &Split, words: &str) -> Error {
    at_topic(&split.topic, format!("partition {}: {words}", split.partition))
}
