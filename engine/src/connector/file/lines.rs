//! One file's lines, read on from a byte offset.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::tail::Tail;
use super::{at_file, refused};
use crate::connector::{Mark, Position};
use crate::{Error, Result};

/// The longest line that may be a record.
pub(super) const MAX_LINE: usize = 64 << 20;

const BUFFER: usize = 256 << 10;

/// True if the file holds gzip, which its name tells.
fn is_gzip(path: &str) -> bool {
    Path::new(path)
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("gz"))
}

/// Checks that the file can be opened and, to be followed, is no compressed one.
pub(super) fn check(path: &str, follow: bool) -> Result<()> {
    if follow && is_gzip(path) {
        return Err(Error::Config(format!(
            "file '{path}': a compressed file can't be followed; leave follow out to read it once"
        )));
    }
    if Path::new(path).is_dir() {
        return Err(refused(path, &io::Error::other("is a directory")));
    }
    File::open(path).map(drop).map_err(|error| refused(path, &error))
}

/// The offset behind the last line; of a file that is followed, behind the last one that has its end.
pub(super) fn end(path: &str, follow: bool) -> Result<Position> {
    let mut lines = Lines::open(path, 0)?;
    let (mut sink, mut end) = (Vec::new(), 0);
    loop {
        sink.clear();
        match lines.next_into(&mut sink)? {
            Line::Whole { next, .. } => end = next,
            Line::Unfinished if !follow => {
                if let Line::Whole { next, .. } = lines.take_unfinished(&mut sink) {
                    end = next;
                }
                return Ok(end);
            }
            Line::Unfinished | Line::None => return Ok(end),
        }
    }
}

/// What was read.
pub(super) enum Line {
    /// A line with its end; the bytes appended are without it. Offsets of this line and the next.
    Whole { at: Position, next: Position },
    /// Bytes without a line end, then the end of the file. They are kept for the next try.
    Unfinished,
    /// Nothing: the end of the file, or of the last line.
    None,
}

/// A file, open at some line.
pub(super) struct Lines {
    path: String,
    input: Box<dyn BufRead + Send>,
    /// Offset of the next line, or of the unfinished one.
    position: Position,
    /// The beginning of a line whose end was not there yet.
    unfinished: Vec<u8>,
    inode: u64,
    watched: Option<Watched>,
}

/// What is known of a file that may only grow.
struct Watched {
    file: File,
    /// What stands before `position`.
    tail: Tail,
}

impl Lines {
    /// Opens a file at the beginning of a line.
    pub(super) fn open(path: &str, position: Position) -> Result<Self> {
        if Path::new(path).is_dir() {
            return Err(refused(path, &io::Error::other("is a directory")));
        }
        let failed = |error: io::Error| refused(path, &error);
        let mut file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let offset =
            u64::try_from(position).map_err(|_| Error::internal(format!("position {position} in file '{path}'")))?;
        let input: Box<dyn BufRead + Send> = if is_gzip(path) {
            let mut text =
                BufReader::with_capacity(BUFFER, MultiGzDecoder::new(BufReader::with_capacity(BUFFER, file)));
            let skipped = io::copy(&mut (&mut text).take(offset), &mut io::sink()).map_err(failed)?;
            if skipped < offset {
                return Err(shorter(path, skipped, position));
            }
            Box::new(text)
        } else {
            if metadata.len() < offset {
                return Err(shorter(path, metadata.len(), position));
            }
            file.seek(SeekFrom::Start(offset)).map_err(failed)?;
            Box::new(BufReader::with_capacity(BUFFER, file))
        };
        let inode = metadata.ino();
        Ok(Self {
            path: path.to_string(),
            input,
            position,
            unfinished: Vec::new(),
            inode,
            watched: None,
        })
    }

    /// Has it remember what it reads, and know of each change of that, from here on.
    pub(super) fn watch(&mut self) -> Result<()> {
        let file = File::open(&self.path).map_err(|error| refused(&self.path, &error))?;
        let tail = tail_at(&self.path, &file, self.position)?;
        if !tail.ends_line() {
            return Err(Error::Data(format!(
                "file '{}': byte {}, up to which it was read, is in the middle of a line; it was changed since, and a \
                 followed file may only grow; create the source anew to read what it holds now",
                self.path, self.position
            )));
        }
        self.watched = Some(Watched { file, tail });
        Ok(())
    }

    /// By what the file is known again.
    pub(super) fn mark(&self) -> Option<Mark> {
        let watched = self.watched.as_ref()?;
        Some(watched.tail.mark(self.position))
    }

    /// The last bytes that were read, those of an unfinished line among them, as a mark.
    pub(super) fn read_mark(&self) -> Option<Mark> {
        let mut tail = self.watched.as_ref()?.tail.clone();
        tail.push(&self.unfinished);
        Some(tail.mark(self.position + self.unfinished.len() as Position))
    }

    /// Checks that the file still has what was read of it.
    pub(super) fn check_mark(&self, mark: Mark) -> Result<()> {
        match &self.watched {
            Some(watched) => known(&self.path, &watched.file, mark),
            None => Ok(()),
        }
    }

    /// Offset of the next line.
    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// Appends the next line to `out`.
    pub(super) fn next_into(&mut self, out: &mut Vec<u8>) -> Result<Line> {
        let start = out.len();
        out.append(&mut self.unfinished);
        let room = MAX_LINE + 2 - (out.len() - start).min(MAX_LINE + 1);
        (&mut self.input)
            .take(room as u64)
            .read_until(b'\n', out)
            .map_err(|error| at_file(&self.path, error.to_string()))?;
        let length = out.len() - start;
        if length == 0 {
            return Ok(Line::None);
        }
        if out.last() != Some(&b'\n') {
            if length > MAX_LINE {
                out.truncate(start);
                return Err(self.too_long());
            }
            self.unfinished = out.split_off(start);
            return Ok(Line::Unfinished);
        }
        if let Some(watched) = &mut self.watched {
            watched.tail.push(&out[start..]);
        }
        out.pop();
        if out.len() > start && out.last() == Some(&b'\r') {
            out.pop();
        }
        let at = self.position;
        self.position += length as i64;
        Ok(Line::Whole {
            at,
            next: self.position,
        })
    }

    /// Takes an unfinished line as if it had its end.
    pub(super) fn take_unfinished(&mut self, out: &mut Vec<u8>) -> Line {
        if self.unfinished.is_empty() {
            return Line::None;
        }
        let at = self.position;
        self.position += self.unfinished.len() as i64;
        if self.unfinished.last() == Some(&b'\r') {
            self.unfinished.pop();
        }
        out.append(&mut self.unfinished);
        Line::Whole {
            at,
            next: self.position,
        }
    }

    /// Checks that the file has only grown since it was opened. Returns its length.
    pub(super) fn check_grown(&self) -> Result<u64> {
        let metadata = std::fs::metadata(&self.path).map_err(|error| refused(&self.path, &error))?;
        let read = self.position as u64 + self.unfinished.len() as u64;
        if metadata.ino() != self.inode {
            return Err(Error::Data(format!(
                "file '{}' was replaced by another one while it was followed (read up to byte {read}); \
                 a followed file may only grow",
                self.path
            )));
        }
        if metadata.len() < read {
            return Err(shorter(&self.path, metadata.len(), read as i64));
        }
        Ok(metadata.len())
    }

    fn too_long(&self) -> Error {
        Error::Data(format!(
            "file '{}': the line at byte {} is longer than {} MiB, the most that a record may have",
            self.path,
            self.position,
            MAX_LINE >> 20
        ))
    }
}

/// Checks that a file has what was read of it before.
pub(super) fn recognise(path: &str, mark: Mark) -> Result<()> {
    let file = File::open(path).map_err(|error| refused(path, &error))?;
    known(path, &file, mark)
}

fn known(path: &str, file: &File, mark: Mark) -> Result<()> {
    if tail_at(path, file, mark.at)?.mark(mark.at) == mark {
        return Ok(());
    }
    Err(Error::Data(format!(
        "file '{path}' was changed: what stands before byte {} is not what was read there; a followed file may only \
         grow; create the source anew to read what it holds now",
        mark.at
    )))
}

/// What stands before a position of a file.
fn tail_at(path: &str, file: &File, at: Position) -> Result<Tail> {
    let failed = |error: io::Error| refused(path, &error);
    let length = file.metadata().map_err(failed)?.len();
    let offset = u64::try_from(at).map_err(|_| Error::internal(format!("position {at} in file '{path}'")))?;
    if length < offset {
        return Err(shorter(path, length, at));
    }
    Tail::read(file, offset).map_err(failed)
}

/// The error of a file that ends before the place that was read already.
fn shorter(path: &str, length: u64, position: Position) -> Error {
    Error::Data(format!(
        "file '{path}' was truncated: it has {length} bytes, and was read up to byte {position} before; \
         create the source anew to read what it holds now"
    ))
}

/// How long an uncompressed file is now; none for compressed ones and those that can't be looked at.
pub(super) fn length(path: &str) -> Option<Position> {
    if is_gzip(path) {
        return None;
    }
    Position::try_from(std::fs::metadata(path).ok()?.len()).ok()
}
