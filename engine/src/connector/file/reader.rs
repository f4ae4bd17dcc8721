//! Reading files, split by split.
//!
//! Files that are read once are read one after the other, by name, so that files cut by time come
//! in the order of time and few are open at once. Followed files take turns.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use arrow::array::BinaryArray;
use arrow::buffer::{Buffer, OffsetBuffer};

use super::lines::{Line, Lines};
use super::{FileSource, lines, split};
use crate::connector::{Mark, Payload, Position, Positions, Records, SourceReader, Split, SplitId, SplitRead};
use crate::{Error, Result};

/// How often followed files are looked at when there is nothing to read.
const PAUSE: Duration = Duration::from_millis(100);
/// How often files that are new are looked for.
const DISCOVERY: Duration = Duration::from_secs(1);
/// How many bytes a read takes at most before it returns, but for the last line.
const READ_BYTES: usize = 16 << 20;

/// What some programs write at the beginning of a file in UTF-8. It is no part of the first line.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A reader of files.
pub(super) struct Reader {
    source: FileSource,
    files: Vec<State>,
    /// The file to begin the next read with.
    turn: usize,
    bounded: bool,
    next_discovery: Instant,
    ended_by: Option<Error>,
}

struct State {
    split: Split,
    from: Position,
    until: Option<Position>,
    lines: Option<Lines>,
    /// What stood before `from`, where that is known.
    mark: Option<Mark>,
    at_end: bool,
    ended: bool,
}

/// Lines on their way into Arrow.
#[derive(Default)]
struct Column {
    bytes: Vec<u8>,
    ends: Vec<i32>,
    positions: Vec<Position>,
}

impl Column {
    fn push(&mut self, at: Position) -> Result<()> {
        self.ends
            .push(i32::try_from(self.bytes.len()).map_err(Error::internal)?);
        self.positions.push(at);
        Ok(())
    }

    fn finish(self) -> Records {
        let rows = self.positions.len();
        let offsets = std::iter::once(0).chain(self.ends).collect::<Vec<i32>>();
        Records {
            keys: BinaryArray::new_null(rows),
            values: BinaryArray::new(OffsetBuffer::new(offsets.into()), Buffer::from_vec(self.bytes), None),
            positions: self.positions,
            timestamps_ms: vec![-1; rows],
            headers: Some(vec![Vec::new(); rows]),
        }
    }
}

impl Reader {
    pub(super) fn open(source: FileSource, from: &Positions, until: Option<&Positions>) -> Result<Self> {
        let mut positions: BTreeMap<SplitId, Position> = from.clone();
        match until {
            Some(until) => until.keys().for_each(|id| {
                positions.entry(id.clone()).or_insert(0);
            }),
            None => source.files()?.iter().for_each(|file| {
                positions.entry(split(file).id).or_insert(0);
            }),
        }
        let files = positions
            .into_iter()
            .map(|(id, from)| State {
                split: split(&id.0),
                from,
                until: until.and_then(|until| until.get(&id).copied()),
                lines: None,
                mark: None,
                at_end: false,
                ended: false,
            })
            .collect();
        Ok(Self {
            source,
            files,
            turn: 0,
            bounded: until.is_some(),
            next_discovery: Instant::now() + DISCOVERY,
            ended_by: None,
        })
    }

    fn discover(&mut self) -> Result<()> {
        self.next_discovery = Instant::now() + DISCOVERY;
        for file in self.source.files()? {
            if !self.files.iter().any(|known| *known.split.topic == *file) {
                lines::check(&file, true)?;
                let (lines, until, from, mark) = (None, None, 0, None);
                self.files.push(State {
                    split: split(&file),
                    from,
                    until,
                    lines,
                    mark,
                    at_end: false,
                    ended: false,
                });
            }
        }
        Ok(())
    }

    /// One look at the files that are not ended, until one read is full.
    fn pass(&mut self, max_rows: usize) -> Result<Vec<SplitRead>> {
        let mut reads = Vec::new();
        let (mut rows, mut bytes) = (0, 0);
        for step in 0..self.files.len() {
            let place = (self.turn + step) % self.files.len();
            let state = &mut self.files[place];
            if state.ended {
                continue;
            }
            let was_at_end = state.at_end;
            let column = match state.read(&self.source, max_rows - rows, READ_BYTES - bytes) {
                Ok(column) => column,
                Err(error) if reads.is_empty() => return Err(error),
                Err(_) => {
                    // What other files gave goes first; this one says the same next time.
                    self.turn = place;
                    break;
                }
            };
            rows += column.positions.len();
            bytes = (bytes + column.bytes.len()).min(READ_BYTES);
            if !column.positions.is_empty() || state.at_end != was_at_end || state.ended {
                reads.push(SplitRead {
                    split: state.split.clone(),
                    next: state.position(),
                    mark: state.mark(),
                    payload: Payload::Records(column.finish()),
                    at_end: state.at_end,
                    ended: state.ended,
                });
            }
            if rows >= max_rows || bytes >= READ_BYTES {
                // Followed files take turns; others are read to their end first.
                self.turn = if self.source.follow { place + 1 } else { place };
                break;
            }
        }
        Ok(reads)
    }
}

impl State {
    fn position(&self) -> Position {
        self.lines.as_ref().map_or(self.from, Lines::position).max(self.from)
    }

    fn mark(&self) -> Option<Mark> {
        self.lines.as_ref().map_or(self.mark, Lines::mark)
    }

    /// Closes the file; the next read goes on where this one was.
    fn close(&mut self) {
        (self.from, self.mark) = (self.position(), self.mark());
        self.lines = None;
    }

    /// Reads lines until the end, the bound, or so many rows or bytes. Lines before an error are given without it; the
    /// next read finds it again. Of a file that was changed in what was read before, nothing is given.
    fn read(&mut self, source: &FileSource, max_rows: usize, max_bytes: usize) -> Result<Column> {
        let mut column = Column::default();
        self.open(source)?;
        let before = (self.position(), self.mark());
        let seen = self.lines.as_ref().and_then(Lines::read_mark);
        let read = self.read_into(&mut column, source, max_rows, max_bytes);
        // The look comes after the read: so what was read is from before any change that it can miss.
        if let (Some(lines), Some(seen)) = (&self.lines, seen)
            && let Err(error) = lines.check_mark(seen)
        {
            self.lines = None;
            (self.from, self.mark) = before;
            return Err(error);
        }
        if self.ended {
            self.close();
        }
        if let Err(error) = read {
            self.close();
            if column.positions.is_empty() {
                return Err(error);
            }
            column.bytes.truncate(column.ends.last().map_or(0, |end| *end as usize));
        }
        Ok(column)
    }

    /// Opens the file where it is to be read on, unless it is read as far as it is to be.
    fn open(&mut self, source: &FileSource) -> Result<()> {
        if self.lines.is_some() || self.until.is_some_and(|until| self.from >= until) {
            return Ok(());
        }
        let mut lines = Lines::open(&self.split.topic, self.from)?;
        if source.follow {
            lines.watch()?;
            self.mark.map_or(Ok(()), |mark| lines.check_mark(mark))?;
        }
        self.lines = Some(lines);
        Ok(())
    }

    fn read_into(&mut self, column: &mut Column, source: &FileSource, max_rows: usize, max_bytes: usize) -> Result<()> {
        let Some(lines) = &mut self.lines else {
            self.end();
            return Ok(());
        };
        while column.positions.len() < max_rows && column.bytes.len() < max_bytes {
            let start = column.bytes.len();
            let mut line = lines.next_into(&mut column.bytes)?;
            if matches!(line, Line::Unfinished) && !source.follow {
                line = lines.take_unfinished(&mut column.bytes);
            }
            let Line::Whole { at, next } = line else {
                return self.reach_end(source);
            };
            self.at_end = false;
            if at == 0 && column.bytes[start..].starts_with(BYTE_ORDER_MARK) {
                column.bytes.drain(start..start + BYTE_ORDER_MARK.len());
            }
            let blank = source.skip_blank && column.bytes.len() == start;
            if blank || (source.skip_header && at == 0) {
                column.bytes.truncate(start);
            } else {
                column.push(at)?;
            }
            if self.until.is_some_and(|until| next >= until) {
                self.end();
                return Ok(());
            }
        }
        Ok(())
    }

    /// There is no further line now: never will be, unless the file is followed.
    fn reach_end(&mut self, source: &FileSource) -> Result<()> {
        match self.until {
            _ if source.follow => self.at_end = true,
            None => self.end(),
            Some(until) => {
                return Err(Error::Data(format!(
                    "file '{}' ends before byte {until}, up to which it was to be read",
                    self.split.id
                )));
            }
        }
        Ok(())
    }

    /// No more is read of it.
    fn end(&mut self) {
        self.at_end = true;
        self.ended = true;
    }
}

impl SourceReader for Reader {
    fn read(&mut self, max_rows: usize, timeout: Duration) -> Result<Vec<SplitRead>> {
        if let Some(error) = &self.ended_by {
            return Err(error.clone());
        }
        let deadline = Instant::now() + timeout;
        loop {
            let follows = self.source.follow && !self.bounded;
            if follows && Instant::now() >= self.next_discovery {
                self.discover()?;
            }
            let reads = self.pass(max_rows.max(1)).inspect_err(|error| {
                if !error.may_pass() {
                    self.ended_by = Some(error.clone());
                }
            })?;
            if !reads.is_empty() {
                return Ok(reads);
            }
            for lines in self.files.iter().filter_map(|state| state.lines.as_ref()) {
                if let Err(error) = lines.check_grown() {
                    self.ended_by = (!error.may_pass()).then(|| error.clone());
                    return Err(error);
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(reads);
            }
            std::thread::sleep(left.min(PAUSE));
        }
    }

    fn ends(&mut self) -> Positions {
        let mut ends = Positions::new();
        for state in &self.files {
            if state.ended {
                ends.insert(state.split.id.clone(), state.from);
            } else if let Some(end) = lines::length(&state.split.topic) {
                ends.insert(state.split.id.clone(), end);
            }
        }
        ends
    }
}
