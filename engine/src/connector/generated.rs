//! Sources that make their rows: splits, positions, bounds and pace, whatever the rows are.
//!
//! Row `p` of a split is a pure function of the options and `p`, and `p` is its position. So any
//! position can be opened at any time and gives the same rows again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::{
    Bound, Payload, Position, Positions, SourceConnector, SourceReader, Split, SplitId, SplitRead, Start, Wanted,
};
use crate::{Error, Result};

mod clock;

use clock::{Clock, Rows};

/// A paced reader gives rows in portions no more often than this, or rows would come singly.
const PORTION: Duration = Duration::from_millis(10);

/// What differs between sources of this kind.
pub(super) trait RowMaker: Send + Sync {
    /// The connector's name.
    fn name(&self) -> &'static str;

    /// Number of splits, at least 1.
    fn splits(&self) -> u32;

    /// Number of rows of a split; none: endless.
    fn end(&self, split: u32) -> Option<Position>;

    /// The declared columns.
    fn declared(&self) -> &SchemaRef;

    /// Rows `first .. first + count` of a split, with these columns.
    fn rows(&self, split: u32, first: Position, count: usize, columns: &SchemaRef) -> Result<RecordBatch>;

    /// How many rows from `first` on go into a read of `budget` events.
    fn portion(&self, first: Position, budget: usize) -> usize {
        let _ = first;
        budget
    }

    /// How many events so many rows are a part of.
    fn events(&self, rows: usize) -> usize {
        rows
    }

    /// Rows a second and split by the clock; none: as fast as they are read.
    fn pace(&self) -> Option<f64> {
        None
    }
}

/// The source connector of a [`RowMaker`].
pub(super) struct Generated<M> {
    maker: Arc<M>,
    rows: Rows,
}

impl<M: RowMaker> Generated<M> {
    /// The source of what `maker` makes by these options, of which every row is a function.
    pub(super) fn new(maker: M, options: &BTreeMap<String, String>) -> Self {
        Generated {
            rows: (maker.name(), options.clone()),
            maker: Arc::new(maker),
        }
    }

    fn split(&self, number: u32) -> Split {
        Split {
            id: SplitId(number.to_string().into()),
            topic: self.maker.name().into(),
            partition: i32::try_from(number).unwrap_or(i32::MAX),
        }
    }

    fn all(&self) -> impl Iterator<Item = (u32, Split)> + '_ {
        (0..self.maker.splits()).map(|number| (number, self.split(number)))
    }

    /// Checks that positions are of splits there are.
    fn check(&self, positions: &Positions) -> Result<()> {
        let bad = |id: &SplitId, position: Position| position < 0 || !self.all().any(|(_, split)| split.id == *id);
        match positions.iter().find(|(id, position)| bad(id, **position)) {
            None => Ok(()),
            Some((id, position)) => Err(Error::Config(format!(
                "connector '{}' has no position {position} in a split '{id}'; its splits are 0 to {}, \
                 positions are row numbers from 0",
                self.maker.name(),
                self.maker.splits() - 1
            ))),
        }
    }

    fn refuse(&self, what: &str, instead: &str) -> Error {
        Error::Config(format!(
            "connector '{}' makes its rows and has no {what}; use {instead}",
            self.maker.name()
        ))
    }
}

impl<M: RowMaker + 'static> SourceConnector for Generated<M> {
    fn splits(&self) -> Result<Vec<Split>> {
        Ok(self.all().map(|(_, split)| split).collect())
    }

    fn resolve(&self, start: &Start) -> Result<Positions> {
        let mut positions: Positions = self.all().map(|(_, split)| (split.id, 0)).collect();
        match start {
            Start::Earliest => {}
            Start::Offsets(given) => {
                self.check(given)?;
                positions.extend(given.iter().map(|(id, position)| (id.clone(), *position)));
            }
            Start::Latest => return Err(self.refuse("latest row", "earliest or offsets")),
            Start::Timestamp(_) => {
                return Err(self.refuse("timestamps to start at", "earliest or offsets"));
            }
            Start::Group => return Err(self.refuse("consumer groups", "earliest or offsets")),
        }
        Ok(positions)
    }

    fn resolve_bound(&self, bound: &Bound) -> Result<Option<Positions>> {
        match bound {
            Bound::Unbounded => Ok(None),
            Bound::Offsets(given) => {
                self.check(given)?;
                Ok(Some(given.clone()))
            }
            Bound::Latest => self
                .all()
                .map(|(number, split)| Some((split.id, self.maker.end(number)?)))
                .collect::<Option<Positions>>()
                .map(Some)
                .ok_or_else(|| {
                    Error::Config(format!(
                        "connector '{}' makes rows without end here, so there is no end to read to; its first rows come \
                         with SELECT … EMIT CHANGES LIMIT 10",
                        self.maker.name()
                    ))
                }),
            Bound::Timestamp(_) => Err(self.refuse("timestamps to end at", "offsets")),
        }
    }

    fn open(&self, from: &Positions, until: Option<&Positions>, wanted: &Wanted) -> Result<Box<dyn SourceReader>> {
        self.check(from)?;
        let splits = self.all().map(|(number, split)| {
            let at = from.get(&split.id).copied().unwrap_or(0);
            let bound = until.and_then(|until| until.get(&split.id)).copied();
            let end = match (self.maker.end(number), bound) {
                (Some(own), Some(bound)) => Some(own.min(bound)),
                (own, bound) => own.or(bound),
            };
            OpenSplit {
                number,
                split,
                at,
                end,
                ended: false,
            }
        });
        let splits: Vec<OpenSplit> = splits.collect();
        let at: Vec<Position> = splits.iter().map(|open| open.at).collect();
        Ok(Box::new(GeneratedReader {
            clock: self.maker.pace().map(|pace| Clock::of(&self.rows, pace, &at)),
            splits,
            columns: wanted.columns.clone().unwrap_or_else(|| self.maker.declared().clone()),
            maker: Arc::clone(&self.maker),
            last_read: None,
        }))
    }

    fn makes_rows(&self) -> bool {
        true
    }
}

struct GeneratedReader<M> {
    maker: Arc<M>,
    columns: SchemaRef,
    splits: Vec<OpenSplit>,
    /// Of rows that come by the clock.
    clock: Option<Arc<Clock>>,
    last_read: Option<Instant>,
}

struct OpenSplit {
    number: u32,
    split: Split,
    at: Position,
    end: Option<Position>,
    /// The end was reported.
    ended: bool,
}

impl<M: RowMaker> GeneratedReader<M> {
    /// One portion of every split that has one now.
    fn portions(&mut self, max_rows: usize) -> Result<Vec<SplitRead>> {
        let budget = (max_rows / self.splits.len()).max(1);
        let mut reads = Vec::new();
        for open in self.splits.iter_mut().filter(|open| !open.ended) {
            let left = open.end.map_or(i64::MAX, |end| (end - open.at).max(0));
            let due = self
                .clock
                .as_ref()
                .map_or(i64::MAX, |clock| clock.due(open.number as usize) - open.at);
            let portion = self.maker.portion(open.at, budget);
            let count = left.min(due).clamp(0, i64::try_from(portion).unwrap_or(i64::MAX)) as usize;
            open.ended = count as i64 == left;
            if count == 0 && !open.ended {
                continue;
            }
            let rows = self.maker.rows(open.number, open.at, count, &self.columns)?;
            let first = open.at;
            open.at += count as Position;
            reads.push(SplitRead {
                split: open.split.clone(),
                payload: Payload::Rows {
                    first,
                    rows,
                    events: self.maker.events(count),
                },
                next: open.at,
                mark: None,
                at_end: open.ended || count as i64 == due,
                ended: open.ended,
            });
        }
        Ok(reads)
    }

    /// How long until a paced split has a row, or for ever.
    fn pause(&self) -> Duration {
        let Some(clock) = &self.clock else {
            return Duration::ZERO;
        };
        let open = self.splits.iter().filter(|open| !open.ended);
        let until = open.map(|open| clock.until(open.number as usize, open.at));
        until.min().unwrap_or(Duration::MAX)
    }
}

impl<M: RowMaker> SourceReader for GeneratedReader<M> {
    fn read(&mut self, max_rows: usize, timeout: Duration) -> Result<Vec<SplitRead>> {
        let mut left = timeout;
        if let (Some(_), Some(last)) = (&self.clock, self.last_read) {
            let pause = PORTION.saturating_sub(last.elapsed()).min(left);
            std::thread::sleep(pause);
            left -= pause;
        }
        let mut reads = self.portions(max_rows)?;
        if reads.is_empty() && !left.is_zero() {
            let ended = self.splits.iter().all(|open| open.ended);
            std::thread::sleep(if ended { left } else { self.pause().min(left) });
            reads = self.portions(max_rows)?;
        }
        if !reads.is_empty() {
            self.last_read = Some(Instant::now());
        }
        Ok(reads)
    }

    fn ends(&mut self) -> Positions {
        let end = |open: &OpenSplit| match &self.clock {
            Some(clock) => {
                let due = clock.due(open.number as usize);
                Some(open.end.map_or(due, |end| due.min(end)))
            }
            None => open.end,
        };
        self.splits
            .iter()
            .filter_map(|open| Some((open.split.id.clone(), end(open)?)))
            .collect()
    }
}

/// An option that is a number.
pub(super) fn number<T: std::str::FromStr>(
    connector: &str,
    options: &BTreeMap<String, String>,
    name: &str,
    what: &str,
) -> Result<Option<T>> {
    let Some(text) = options.get(name) else {
        return Ok(None);
    };
    match text.trim().parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(Error::Config(format!(
            "option '{name}' of connector '{connector}' is {what}, not '{text}'"
        ))),
    }
}
