//! Bytes of many rows in few pieces of memory, with room of rows that went given back.
//!
//! Rows are appended to *segments* of up to a megabyte. A row that goes leaves a hole; a segment
//! without rows is dropped at once, and when holes are more than half of everything, the rows of
//! the emptiest segments move to a new one. Each row is preceded by its owner's number, so that
//! whoever holds the rows can be told where they have gone.

use crate::{Error, Result};

/// Segments begin small, for most state is small, and double up to this.
const SEGMENT_BYTES: usize = 1 << 20;
const FIRST_SEGMENT_BYTES: usize = 1 << 12;
/// Holes of less than this are not worth moving rows for.
const SLACK_BYTES: usize = 1 << 16;
/// Segments emptied by one [`Arena::compact`]: a bound on the time it takes.
const SEGMENTS_AT_ONCE: usize = 32;

/// Before each row: its owner, or [`HOLE`], and its length.
const HEADER_BYTES: usize = 8;
const HOLE: u32 = u32::MAX;
const NO_SEGMENT: u32 = u32::MAX;

/// Where a row's bytes begin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    segment: u32,
    start: u32,
}

#[derive(Default)]
struct Segment {
    data: Vec<u8>,
    /// Bytes of rows that are still there, headers included.
    live: usize,
}

/// The rows' memory.
pub(super) struct Arena {
    segments: Vec<Segment>,
    /// Segments without data, to be used again.
    unused: Vec<u32>,
    /// The one that grows.
    current: u32,
    live: usize,
    used: usize,
}

impl Arena {
    pub(super) fn new() -> Self {
        Self {
            segments: Vec::new(),
            unused: Vec::new(),
            current: NO_SEGMENT,
            live: 0,
            used: 0,
        }
    }

    /// Keeps a row's bytes for `owner`.
    pub(super) fn push(&mut self, owner: u32, row: &[u8]) -> Result<Place> {
        let needed = HEADER_BYTES + row.len();
        let fits = self
            .segments
            .get(self.current as usize)
            .is_some_and(|segment| segment.data.capacity() - segment.data.len() >= needed);
        if !fits {
            self.begin_segment(needed)?;
        }
        let segment = &mut self.segments[self.current as usize];
        segment.data.extend_from_slice(&owner.to_le_bytes());
        segment.data.extend_from_slice(&(row.len() as u32).to_le_bytes());
        let start = segment.data.len() as u32;
        segment.data.extend_from_slice(row);
        segment.live += needed;
        self.live += needed;
        self.used += needed;
        Ok(Place {
            segment: self.current,
            start,
        })
    }

    fn begin_segment(&mut self, needed: usize) -> Result<()> {
        if u32::try_from(needed).is_err() {
            return Err(Error::Data(format!(
                "a row of {needed} bytes is too long to be kept in state"
            )));
        }
        let size = self.used.clamp(FIRST_SEGMENT_BYTES, SEGMENT_BYTES).max(needed);
        let full = self.current;
        self.current = match self.unused.pop() {
            Some(segment) => segment,
            None => {
                self.segments.push(Segment::default());
                self.segments.len() as u32 - 1
            }
        };
        self.segments[self.current as usize].data = Vec::with_capacity(size);
        if full != NO_SEGMENT && self.segments[full as usize].live == 0 {
            self.release(full);
        }
        Ok(())
    }

    /// The `bytes` bytes at a place.
    #[inline]
    pub(super) fn get(&self, place: Place, bytes: u32) -> &[u8] {
        let start = place.start as usize;
        &self.segments[place.segment as usize].data[start..start + bytes as usize]
    }

    /// The row at a place has gone.
    pub(super) fn free(&mut self, place: Place, bytes: u32) {
        let size = HEADER_BYTES + bytes as usize;
        let segment = &mut self.segments[place.segment as usize];
        let header = place.start as usize - HEADER_BYTES;
        segment.data[header..header + 4].copy_from_slice(&HOLE.to_le_bytes());
        segment.live -= size;
        self.live -= size;
        if segment.live == 0 && place.segment != self.current {
            self.release(place.segment);
        }
    }

    fn release(&mut self, segment: u32) {
        let data = std::mem::take(&mut self.segments[segment as usize].data);
        self.used -= data.len();
        self.unused.push(segment);
    }

    /// Gives memory back where holes take more than rows, and tells `moved` of each row's owner
    /// where its row is now.
    pub(super) fn compact(&mut self, mut moved: impl FnMut(u32, Place)) -> Result<()> {
        let holes = self.used - self.live;
        if holes < SLACK_BYTES || holes < self.live {
            return Ok(());
        }
        let sparse = |segment: &Segment| !segment.data.is_empty() && segment.live < segment.data.len() / 2;
        let victims: Vec<u32> = (0..self.segments.len() as u32)
            .filter(|segment| *segment != self.current && sparse(&self.segments[*segment as usize]))
            .take(SEGMENTS_AT_ONCE)
            .collect();
        for victim in victims {
            let segment = std::mem::take(&mut self.segments[victim as usize]);
            self.used -= segment.data.len();
            self.live -= segment.live;
            let mut rest = &segment.data[..];
            while let Some((owner, row, next)) = first_row(rest) {
                if owner != HOLE {
                    moved(owner, self.push(owner, row)?);
                }
                rest = next;
            }
            self.unused.push(victim);
        }
        Ok(())
    }

    /// Bytes of memory taken.
    pub(super) fn bytes(&self) -> usize {
        self.segments
            .iter()
            .map(|segment| size_of::<Segment>() + segment.data.capacity())
            .sum()
    }
}

/// The first row of a segment's rest with its owner, and what follows it.
fn first_row(rest: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let (owner, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (row, next) = rest.split_at(u32::from_le_bytes(*length) as usize);
    Some((u32::from_le_bytes(*owner), row, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_survive_those_that_go_around_them() {
        let mut arena = Arena::new();
        let row = |n: u32| n.to_string().repeat(1 + n as usize % 40).into_bytes();
        let mut places: Vec<Option<Place>> = Vec::new();
        for round in 0..20u32 {
            for n in round * 5000..(round + 1) * 5000 {
                places.push(Some(arena.push(n, &row(n)).unwrap()));
            }
            for n in 0..places.len() as u32 {
                if n % 7 != 0
                    && let Some(place) = places[n as usize].take()
                {
                    arena.free(place, row(n).len() as u32);
                }
            }
            arena
                .compact(|owner, place| places[owner as usize] = Some(place))
                .unwrap();
        }
        let mut live = 0;
        for (n, place) in places.iter().enumerate() {
            assert_eq!(place.is_some(), n % 7 == 0);
            if let Some(place) = place {
                let row = row(n as u32);
                assert_eq!(arena.get(*place, row.len() as u32), row);
                live += row.len() + HEADER_BYTES;
            }
        }
        assert_eq!(arena.live, live);
        assert!(
            arena.bytes() < 3 * live + 2 * SEGMENT_BYTES,
            "{} for {live}",
            arena.bytes()
        );
    }

    #[test]
    fn what_is_empty_takes_no_room() {
        let mut arena = Arena::new();
        let large = vec![7; 3 << 20];
        let place = arena.push(0, &large).unwrap();
        assert_eq!(arena.get(place, large.len() as u32), large);
        arena.free(place, large.len() as u32);
        let small = arena.push(1, b"x").unwrap();
        assert!(arena.bytes() < 2 * SEGMENT_BYTES);
        assert_eq!(arena.get(small, 1), b"x");
    }
}
