//! A source as an input of a pipeline: its splits, their positions and watermarks.
//!
//! **Alignment.** While a source's history is read, a split that is further ahead in event time than
//! a bound waits for those behind ([`align`]).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_state::pipelines::SplitProgress;

use super::dataflow::{BatchOrigin, Records, RelationInput};
use super::decode::{DecodedRead, Layout, SourceDecoder};
use super::event_time::{self, Standing};
use super::reader::{Opening, Place, READ_ROWS, Reader, ReaderEvent};
use crate::connector::{Bound, Mark, Marks, Payload, Position, Positions, SplitId, SplitRead, Wanted};
use crate::error::BadRecord;
use crate::operator::Watermark;
use crate::relation::SourceSpec;
use crate::{Error, Result};

mod align;
#[cfg(test)]
mod tests;

/// One split's progress.
#[derive(Debug, Clone)]
pub struct SplitState {
    /// The next place to read, all before it taken in.
    pub position: Position,
    /// What stood in it at or before that position, if it may be changed.
    pub mark: Option<Mark>,
    /// Its watermark; `None` before its first row with event time.
    pub watermark: Option<Watermark>,
    /// Its bounded input has ended.
    pub ended: bool,
    /// Once, it was read to its end.
    pub caught_up: bool,
    /// Records taken since start.
    pub rows: u64,
    /// Of these, bad ones that were passed over.
    pub skipped: u64,
    /// Since when it is read to its end without a new record; `None` while it isn't.
    quiet_since: Option<Instant>,
    /// It is read to its end, as was told since the source could last not be read.
    at_end: bool,
    /// It has been quiet for the idle timeout and doesn't hold the watermark.
    pub idle: bool,
    /// It was read to its end since the reader was opened: its history is in.
    live: bool,
    /// It waits for others, which are behind in event time.
    pub waits: bool,
}

impl SplitState {
    fn at(position: Position) -> SplitState {
        SplitState {
            position,
            mark: None,
            watermark: None,
            ended: false,
            caught_up: false,
            rows: 0,
            skipped: 0,
            quiet_since: None,
            at_end: false,
            idle: false,
            live: false,
            waits: false,
        }
    }

    fn standing(&self) -> Standing {
        match (self.ended, self.idle) {
            (true, _) => Standing::Ended,
            (false, true) => Standing::Idle,
            (false, false) => Standing::Read,
        }
    }
}

/// Progress of a source, apart from its reader.
#[derive(Debug, Clone, Default)]
pub struct SourceProgress {
    /// By split.
    pub splits: BTreeMap<SplitId, SplitState>,
    /// The source's watermark. It never falls.
    pub watermark: Option<Watermark>,
}

impl SourceProgress {
    /// As it was stored with an epoch.
    pub fn restore(stored: &BTreeMap<String, SplitProgress>, watermark: Option<Watermark>) -> SourceProgress {
        let split = |progress: &SplitProgress| SplitState {
            mark: progress.mark,
            watermark: progress.max_event_time,
            ended: progress.ended,
            caught_up: progress.caught_up,
            ..SplitState::at(progress.position)
        };
        let splits = stored
            .iter()
            .map(|(id, p)| (SplitId(Arc::from(id.as_str())), split(p)))
            .collect();
        SourceProgress { splits, watermark }
    }

    /// As it is stored with an epoch.
    pub fn stored(&self) -> BTreeMap<String, SplitProgress> {
        let progress = |split: &SplitState| SplitProgress {
            position: split.position,
            max_event_time: split.watermark,
            mark: split.mark,
            ended: split.ended,
            caught_up: split.caught_up,
        };
        self.splits
            .iter()
            .map(|(id, split)| (id.to_string(), progress(split)))
            .collect()
    }

    /// Positions by split.
    pub fn positions(&self) -> Positions {
        self.splits
            .iter()
            .map(|(id, split)| (id.clone(), split.position))
            .collect()
    }

    /// Splits of which nothing more comes.
    fn ended(&self) -> BTreeSet<SplitId> {
        let ended = self.splits.iter().filter(|(_, split)| split.ended);
        ended.map(|(id, _)| id.clone()).collect()
    }

    /// What the splits are known again by.
    fn marks(&self) -> Marks {
        let splits = self.splits.iter();
        splits
            .filter_map(|(id, split)| Some((id.clone(), split.mark?)))
            .collect()
    }

    /// Takes over what another pipeline, at the same positions, knows: the higher watermarks.
    pub fn merge(&mut self, other: &SourceProgress) {
        for (id, theirs) in &other.splits {
            let ours = self.splits.entry(id.clone()).or_insert_with(|| theirs.clone());
            ours.watermark = ours.watermark.max(theirs.watermark);
            ours.ended |= theirs.ended;
            ours.caught_up |= theirs.caught_up;
        }
        self.watermark = self.watermark.max(other.watermark);
    }

    /// Where the splits end is not known any more.
    fn forget_ends(&mut self) {
        self.splits.values_mut().for_each(|split| split.at_end = false);
    }

    /// Whether nothing has come of any split for a while.
    pub fn is_idle(&self) -> bool {
        event_time::standing(self.splits.values().map(SplitState::standing)) == Some(Standing::Idle)
    }

    /// Moves the source's watermark; true if it rose.
    fn raise(&mut self) -> bool {
        let splits = self.splits.values();
        let known = event_time::together(splits.map(|split| (split.watermark, split.standing())));
        let rose = known.is_some() && known > self.watermark;
        if rose {
            self.watermark = known;
        }
        rose
    }
}

/// What a source gave for one step.
#[derive(Default)]
pub struct SourceStep {
    /// Its changes and watermark.
    pub input: RelationInput,
    /// Rows, or at least news of positions.
    pub any: bool,
    /// The source has just told its splits.
    pub opened: bool,
    /// Records passed over.
    pub skipped: Vec<BadRecord>,
}

/// A source that a pipeline reads.
pub struct SourceInput {
    /// What it is.
    pub spec: Arc<SourceSpec>,
    /// How far it has come.
    pub progress: SourceProgress,
    layout: Layout,
    wanted: Wanted,
    decoders: Vec<SourceDecoder>,
    reader: Option<Reader>,
    opened: bool,
    pending: VecDeque<SplitRead>,
    /// The read that could last not be decoded. It is pending again.
    faulty: Option<SplitRead>,
    /// Splits that the reader holds back.
    held: BTreeSet<SplitId>,
    place: Place,
}

impl SourceInput {
    /// A source at `progress`, not yet read.
    pub fn new(spec: Arc<SourceSpec>, progress: SourceProgress, place: Place) -> SourceInput {
        SourceInput {
            spec,
            progress,
            layout: Layout::default(),
            wanted: Wanted::default(),
            decoders: Vec::new(),
            reader: None,
            opened: false,
            pending: VecDeque::new(),
            faulty: None,
            held: BTreeSet::new(),
            place,
        }
    }

    /// Makes it give `layout` from here on. Where that asks something else of the reader, what was
    /// read ahead is read again. A step will take about `step_rows` rows.
    pub fn configure(&mut self, layout: Layout, tasks: usize, step_rows: usize) -> Result<()> {
        if self.layout == layout && self.reader.is_some() {
            return Ok(());
        }
        let decoder = || SourceDecoder::new(self.spec.clone(), layout.clone());
        self.decoders = (0..tasks).map(|_| decoder()).collect::<Result<_>>()?;
        let wanted = SourceDecoder::wanted(&self.spec, &layout);
        self.layout = layout;
        if self.wanted == wanted && self.reader.is_some() {
            return Ok(());
        }
        self.pending.clear();
        self.held.clear();
        for split in self.progress.splits.values_mut() {
            (split.at_end, split.live) = (false, false);
        }
        self.opened = false;
        self.reader = None;
        self.wanted = wanted.clone();
        let opening = Opening {
            spec: self.spec.clone(),
            from: self.progress.positions(),
            marks: self.progress.marks(),
            ended: self.progress.ended(),
            wanted,
            read_rows: step_rows.clamp(1, READ_ROWS),
        };
        self.reader = Some(Reader::open(opening, &self.place)?);
        Ok(())
    }

    /// Takes what has been read, whole reads of together at most `budget` events (or one), none at
    /// or beyond `limits`, and decodes it. On an error nothing has moved: what was taken is taken again by
    /// the next step, for the views that have [no part](Self::fault_of) in it.
    pub fn step(&mut self, budget: usize, limits: Option<&Positions>, now: Instant) -> Result<SourceStep> {
        self.faulty = None;
        let ahead = self.align(limits.is_none());
        // Reads beyond a limit wait in front of others that may go on.
        let opened = self.pump(if limits.is_some() { budget * 64 } else { budget }, &ahead)?;
        let mut share = self.share(&ahead, if limits.is_some() { usize::MAX } else { budget });
        let tasks = self.decoders.len();
        let mut taken: Vec<Vec<SplitRead>> = vec![Vec::new(); tasks];
        let mut events = 0;
        let mut held = VecDeque::new();
        while events < budget {
            let Some(place) = self.pending.iter().position(|read| share.is_left(read)) else {
                break;
            };
            let fits = events == 0 || events + self.pending[place].payload.events() <= budget;
            if !fits {
                break;
            }
            let Some(read) = self.pending.remove(place) else {
                break;
            };
            share.take(&read);
            let (now_part, later) = cut(read, limits);
            if let Some(later) = later {
                held.push_back(later);
            }
            if let Some(read) = now_part {
                events += read.payload.events();
                let place = self
                    .progress
                    .splits
                    .keys()
                    .position(|id| *id == read.split.id)
                    .unwrap_or(0);
                taken[place % tasks].push(read);
            }
        }
        while let Some(read) = held.pop_back() {
            self.pending.push_front(read);
        }
        let any = taken.iter().any(|reads| !reads.is_empty());
        let mut step = SourceStep {
            any,
            opened,
            ..SourceStep::default()
        };
        step.input.before = self.progress.watermark;
        let was_idle = self.progress.is_idle();
        if any {
            self.decode(taken, now, &mut step)?;
        }
        self.rest(now, &ahead);
        let rose = self.progress.raise();
        // Who reads other inputs beside it doesn't wait for it then.
        let falls_idle = self.spec.watermark.is_some() && self.progress.is_idle() && !was_idle;
        step.any |= rose || falls_idle || self.may_go_on(&ahead);
        step.input.watermark = if self.spec.watermark.is_some() {
            self.progress.watermark
        } else {
            None
        };
        Ok(step)
    }

    /// Moves what the reader thread has into `pending`, as far as a step may need it. True when the
    /// splits were told.
    fn pump(&mut self, budget: usize, ahead: &BTreeSet<SplitId>) -> Result<bool> {
        let mut opened = false;
        let Some(reader) = &self.reader else {
            return Ok(opened);
        };
        let of_use = |read: &SplitRead| match ahead.contains(&read.split.id) {
            true => 0,
            false => read.payload.events(),
        };
        let mut waiting: usize = self.pending.iter().map(of_use).sum();
        while waiting < budget {
            match reader.try_next() {
                None => break,
                Some(ReaderEvent::Failed(error)) => return Err(error),
                // Only what is told behind it is true again.
                Some(ReaderEvent::Away) => {
                    self.progress.forget_ends();
                    self.pending.iter_mut().for_each(|read| read.at_end = false);
                }
                Some(ReaderEvent::Opened(positions)) => {
                    self.opened = true;
                    opened = true;
                    for (id, position) in positions {
                        self.progress
                            .splits
                            .entry(id)
                            .or_insert_with(|| SplitState::at(position));
                    }
                }
                Some(ReaderEvent::Read(read)) => {
                    waiting += of_use(&read);
                    let first = if read.payload.is_empty() {
                        read.next
                    } else {
                        read.payload.position(0)
                    };
                    self.progress
                        .splits
                        .entry(read.split.id.clone())
                        .or_insert_with(|| SplitState::at(first));
                    self.pending.push_back(read);
                }
            }
        }
        Ok(opened)
    }

    /// Decodes the reads of each task and moves positions and watermarks. On an error nothing has
    /// moved, and all of them are pending again.
    fn decode(&mut self, taken: Vec<Vec<SplitRead>>, now: Instant, step: &mut SourceStep) -> Result<()> {
        for read in taken.iter().flatten() {
            let relation_watermark = self.progress.watermark;
            let split = self.progress.splits.get_mut(&read.split.id);
            let split = split.expect("pump has made an entry");
            if !read.payload.is_empty() && split.idle {
                split.idle = false;
                split.watermark = split.watermark.max(relation_watermark);
            }
        }
        let decoded = match self.decode_all(&taken) {
            Ok(decoded) => decoded,
            Err(fault) => {
                let (faulty, error) = *fault;
                self.faulty = faulty;
                // Those of a split are in one task, in their order.
                taken
                    .into_iter()
                    .flatten()
                    .rev()
                    .for_each(|read| self.pending.push_front(read));
                return Err(error);
            }
        };
        for read in taken.iter().flatten() {
            let split = self.progress.splits.get_mut(&read.split.id).expect("it was there");
            split.position = read.next;
            split.mark = read.mark.or(split.mark);
            split.ended |= read.ended;
            split.caught_up |= read.at_end || read.ended;
            split.live |= read.at_end || read.ended;
            split.quiet_since = read.at_end.then_some(now);
            split.at_end = read.at_end;
            split.rows += read.payload.len() as u64;
        }
        self.take_decoded(decoded, taken, step);
        Ok(())
    }

    /// Decodes the reads of each task. An error comes with the read at fault.
    fn decode_all(&mut self, taken: &[Vec<SplitRead>]) -> Result<Vec<DecodedReads>, Fault> {
        let reached: Vec<Reached> = taken.iter().map(|reads| self.reached_by(reads)).collect();
        let mut work: Vec<_> = self.decoders.iter_mut().zip(taken).zip(reached).collect();
        let results: Vec<Result<_, Fault>> = if work.len() == 1 || matches!(self.place, Place::Inline) {
            work.drain(..)
                .map(|((decoder, reads), marks)| decode_reads(decoder, reads, marks))
                .collect()
        } else {
            std::thread::scope(|scope| {
                let mut handles = Vec::with_capacity(work.len());
                for ((decoder, reads), marks) in work {
                    handles.push(scope.spawn(move || decode_reads(decoder, reads, marks)));
                }
                let panicked = |_| Err(Box::new((None, Error::internal("decoding panicked"))));
                handles
                    .into_iter()
                    .map(|handle| handle.join().unwrap_or_else(panicked))
                    .collect()
            })
        };
        results.into_iter().collect()
    }

    fn take_decoded(&mut self, decoded: Vec<DecodedReads>, taken: Vec<Vec<SplitRead>>, step: &mut SourceStep) {
        let source: Arc<str> = self.spec.name.as_str().into();
        for ((decoded, marks), reads) in decoded.into_iter().zip(taken) {
            for (id, mark) in marks {
                self.progress.splits.get_mut(&id).expect("it was there").watermark = mark;
            }
            let mut rows = Vec::with_capacity(decoded.len());
            let mut origins = Vec::with_capacity(decoded.len());
            let reads = reads.into_iter().filter(|read| !read.payload.is_empty());
            for (decoded, read) in decoded.into_iter().zip(reads) {
                let split = self.progress.splits.get_mut(&read.split.id).expect("it was there");
                split.skipped += decoded.skipped.len() as u64;
                origins.push(origin(&source, read, &decoded.skipped));
                step.skipped.extend(decoded.skipped);
                rows.push(decoded.rows);
            }
            step.input.batches.push(rows);
            step.input.origins.push(origins);
        }
    }

    /// Why the read that could last not be decoded can't be for a view that needs `layout`; `None` if it
    /// can, or if nothing is known of a read.
    pub fn fault_of(&self, layout: Layout) -> Option<Error> {
        let read = self.faulty.as_ref()?;
        let decoder = SourceDecoder::new(self.spec.clone(), layout);
        decoder.and_then(|mut decoder| decoder.decode(read, &mut None)).err()
    }

    /// The watermarks of the splits that are read.
    fn reached_by(&self, reads: &[SplitRead]) -> Reached {
        let mark = |read: &SplitRead| (read.split.id.clone(), self.progress.splits[&read.split.id].watermark);
        reads.iter().map(mark).collect()
    }

    /// Marks splits idle that have been quiet long enough.
    fn rest(&mut self, now: Instant, ahead: &BTreeSet<SplitId>) {
        let timeout = Duration::from_millis(self.spec.idle_timeout_ms);
        let readable = self.is_readable();
        let waiting: Vec<SplitId> = self.pending.iter().map(|read| read.split.id.clone()).collect();
        for (id, split) in &mut self.progress.splits {
            split.at_end &= readable && !self.held.contains(id);
            if !readable || waiting.contains(id) || ahead.contains(id) {
                split.quiet_since = split.quiet_since.map(|_| now);
            } else if !split.idle
                && split
                    .quiet_since
                    .is_some_and(|since| now.duration_since(since) >= timeout)
            {
                split.idle = true;
            }
        }
    }

    fn is_readable(&self) -> bool {
        self.opened && self.reader.as_ref().is_some_and(|reader| reader.trouble().is_none())
    }

    /// All that is there is taken in, as far as is known.
    pub fn at_end(&self) -> bool {
        let splits = &self.progress.splits;
        let all_read = || splits.values().all(|split| split.at_end || split.ended);
        let waits = || self.reader.as_ref().is_some_and(Reader::has_more);
        self.is_readable() && self.pending.is_empty() && !waits() && !splits.is_empty() && all_read()
    }

    /// When a quiet split becomes idle next.
    pub fn next_timer(&self) -> Option<Instant> {
        let timeout = Duration::from_millis(self.spec.idle_timeout_ms);
        self.spec.watermark.as_ref()?;
        let quiet = self
            .progress
            .splits
            .values()
            .filter(|split| !split.idle && !split.ended);
        quiet
            .filter_map(|split| split.quiet_since)
            .map(|since| since + timeout)
            .min()
    }

    /// Nothing more waits to be taken.
    pub fn drained(&self) -> bool {
        self.pending.is_empty()
    }

    /// Each split has been read to its end, once.
    pub fn is_in(&self) -> bool {
        let mut splits = self.progress.splits.values();
        (self.opened || splits.len() > 0) && splits.all(|split| split.caught_up)
    }

    /// All splits are bounded and have ended.
    pub fn ended(&self) -> bool {
        self.opened && !self.progress.splits.is_empty() && self.progress.splits.values().all(|split| split.ended)
    }

    /// True when each limited split has reached its limit.
    pub fn reached(&self, limits: &Positions) -> bool {
        limits.iter().all(|(id, limit)| {
            self.progress
                .splits
                .get(id)
                .is_some_and(|split| split.position >= *limit)
        })
    }

    /// Hands durable positions to the connector (Kafka's group offsets).
    pub fn committed(&self, positions: Positions) {
        if let Some(reader) = &self.reader {
            reader.committed(positions);
        }
    }

    /// Known ends of the splits, not beyond what is read of them.
    pub fn ends(&self) -> Positions {
        let mut ends = self.reader.as_ref().map(Reader::ends).unwrap_or_default();
        if let Bound::Offsets(bound) = &self.spec.bound {
            for (split, end) in &mut ends {
                *end = bound.get(split).map_or(*end, |bound| (*end).min(*bound));
            }
        }
        ends
    }

    /// What keeps it from being read, if anything.
    pub fn trouble(&self) -> Option<String> {
        self.reader.as_ref().and_then(Reader::trouble)
    }

    /// Has its reader end, without waiting for that.
    pub fn end(&mut self) {
        if let Some(reader) = &self.reader {
            reader.end();
        }
    }

    /// Ends its reader and waits for that.
    pub fn close(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.close();
        }
    }
}

type Reached = BTreeMap<SplitId, Option<Watermark>>;
/// What became of a task's reads, and where it left their watermarks.
type DecodedReads = (Vec<DecodedRead>, Reached);
/// Why reads could not be decoded, and which of them, where that is known.
type Fault = Box<(Option<SplitRead>, Error)>;

fn decode_reads(decoder: &mut SourceDecoder, reads: &[SplitRead], mut marks: Reached) -> Result<DecodedReads, Fault> {
    let mut decoded = Vec::with_capacity(reads.len());
    for read in reads.iter().filter(|read| !read.payload.is_empty()) {
        let mark = marks.get_mut(&read.split.id).expect("each read's split has a mark");
        let rows = decoder.decode(read, mark);
        decoded.push(rows.map_err(|error| Box::new((Some(read.clone()), error)))?);
    }
    Ok((decoded, marks))
}

/// Where the rows of a read come from.
fn origin(source: &Arc<str>, read: SplitRead, skipped: &[BadRecord]) -> BatchOrigin {
    BatchOrigin {
        source: source.clone(),
        topic: read.split.topic,
        partition: read.split.partition,
        records: match read.payload {
            Payload::Records(records) => Records::At(records.positions),
            Payload::Rows { first, .. } => Records::From(first),
        },
        without_row: skipped.iter().map(|record| record.offset).collect(),
    }
}

/// Cuts a read at its split's limit: what may be taken now, what must wait.
fn cut(read: SplitRead, limits: Option<&Positions>) -> (Option<SplitRead>, Option<SplitRead>) {
    let Some(limits) = limits else {
        return (Some(read), None);
    };
    let Some(limit) = limits.get(&read.split.id).copied() else {
        return (None, Some(read));
    };
    if read.next <= limit {
        return (Some(read), None);
    }
    let count = (0..read.payload.len())
        .take_while(|i| read.payload.position(*i) < limit)
        .count();
    let rest = SplitRead {
        payload: read.payload.slice(count, read.payload.len() - count),
        ..read.clone()
    };
    if count == 0 {
        return (None, Some(rest));
    }
    let head = SplitRead {
        payload: read.payload.slice(0, count),
        next: limit,
        mark: None,
        at_end: false,
        ended: false,
        ..read
    };
    (Some(head), Some(rest))
}
