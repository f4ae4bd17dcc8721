//! The store on disk: RocksDB, one column family per keyspace.
//!
//! A commit is one RocksDB write batch over all families, with one synced write to the log of
//! commits. How each family is tuned is in [`tuning`], how counters are stored in [`counters`], and
//! how that log is kept short, on whose length a start after a crash depends, in [`log`].

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::{
    ColumnFamily, DB, DBPinnableSlice, DBRawIterator, ErrorKind, Range, ReadOptions, Snapshot, WriteOptions,
};

use super::{Keyspace, Op, Reader, Scan, Store, WriteBatch};
use crate::error::{Error, Result};

mod counters;
mod log;
#[cfg(test)]
mod tests;
mod tuning;

use log::Log;
pub use tuning::RocksOptions;

/// A store in a directory that belongs to it alone.
pub struct RocksStore {
    rocks: Arc<Rocks>,
}

struct Rocks {
    db: DB,
    path: PathBuf,
    log: Log,
}

/// The snapshot's lifetime is that of `rocks`, which Rust can't say.
struct RocksSnapshot {
    /// Declared, and so dropped, before the database it belongs to.
    snapshot: Snapshot<'static>,
    rocks: Arc<Rocks>,
}

impl RocksStore {
    /// Opens the store in `dir`, which is created if it isn't there.
    pub fn open(dir: &Path, options: RocksOptions) -> Result<RocksStore> {
        RocksStore::open_or(dir, options, true)
    }

    /// Opens a store that must exist.
    pub(crate) fn open_existing(dir: &Path, options: RocksOptions) -> Result<RocksStore> {
        RocksStore::open_or(dir, options, false)
    }

    fn open_or(dir: &Path, options: RocksOptions, create: bool) -> Result<RocksStore> {
        let path = dir.to_owned();
        fs::create_dir_all(dir).map_err(|error| Error::io("create", dir, error))?;
        match DB::open_cf_descriptors(&tuning::database(&options, create), dir, tuning::families(&options)) {
            Ok(db) => {
                let log = Log::new(&options);
                let rocks = Rocks { db, path, log };
                rocks.shorten_log();
                Ok(RocksStore { rocks: Arc::new(rocks) })
            }
            Err(error) => Err(classify(&path, error)),
        }
    }

    #[cfg(test)]
    pub(super) fn compact(&self) {
        for ks in Keyspace::ALL {
            self.rocks
                .db
                .compact_range_cf(self.rocks.family(ks), None::<&[u8]>, None::<&[u8]>);
        }
    }
}

impl Reader for RocksStore {
    fn get(&self, ks: Keyspace, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.rocks.get(ks, key, ReadOptions::default())
    }

    fn multi_get(&self, ks: Keyspace, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        self.rocks.multi_get(ks, keys, ReadOptions::default())
    }

    fn scan(&self, ks: Keyspace, start: &[u8], end: Option<&[u8]>) -> Scan<'_> {
        self.rocks.scan(ks, start, end, ReadOptions::default())
    }
}

impl Store for RocksStore {
    fn commit(&self, batch: WriteBatch) -> Result<()> {
        batch.check()?;
        if batch.is_empty() {
            return Ok(());
        }
        self.rocks.write(&batch)?;
        self.rocks.bound_log(batch.bytes());
        Ok(())
    }

    fn snapshot(&self) -> Arc<dyn Reader> {
        let rocks = self.rocks.clone();
        let snapshot = rocks.db.snapshot();
        // SAFETY: the snapshot borrows the database inside `rocks`, whose address is fixed by the
        // `Arc` and which lives as long as the struct that gets both; the struct's field order
        // drops the snapshot first, and the snapshot is never moved out of it.
        let snapshot = unsafe { std::mem::transmute::<Snapshot<'_>, Snapshot<'static>>(snapshot) };
        Arc::new(RocksSnapshot { snapshot, rocks })
    }

    fn approximate_bytes(&self, ks: Keyspace, start: &[u8], end: &[u8]) -> u64 {
        if start >= end {
            return 0;
        }
        let family = self.rocks.family(ks);
        let ranges = [Range::new(start, end)];
        self.rocks.db.get_approximate_sizes_cf(family, &ranges)[0]
    }

    fn flush(&self) -> Result<()> {
        self.rocks.write_out(true)
    }

    /// RocksDB's threads must not outlive what they lock, which the end of the process takes away.
    fn close(&self) {
        self.rocks.db.cancel_all_background_work(true);
    }
}

impl Reader for RocksSnapshot {
    fn get(&self, ks: Keyspace, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.rocks.get(ks, key, self.options())
    }

    fn multi_get(&self, ks: Keyspace, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        self.rocks.multi_get(ks, keys, self.options())
    }

    fn scan(&self, ks: Keyspace, start: &[u8], end: Option<&[u8]>) -> Scan<'_> {
        self.rocks.scan(ks, start, end, self.options())
    }
}

impl RocksSnapshot {
    fn options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        options.set_snapshot(&self.snapshot);
        options
    }
}

impl Rocks {
    fn family(&self, ks: Keyspace) -> &ColumnFamily {
        let family = self.db.cf_handle(ks.name());
        family.expect("the database was opened with every family")
    }

    fn write(&self, batch: &WriteBatch) -> Result<()> {
        let families = Keyspace::ALL.map(|ks| self.family(ks));
        let mut out = rocksdb::WriteBatch::with_capacity_bytes(batch.bytes());
        let mut tagged = Vec::new();
        for op in batch.ops() {
            match op {
                Op::Put(Keyspace::View, key, value) => {
                    counters::tag_value(value, &mut tagged);
                    out.put_cf(families[Keyspace::View as usize], key, &tagged);
                }
                Op::Put(ks, key, value) => out.put_cf(families[ks as usize], key, value),
                Op::Delete(ks, key) => out.delete_cf(families[ks as usize], key),
                Op::DeleteRange(ks, start, end) => {
                    out.delete_range_cf(families[ks as usize], start, end);
                }
                Op::Add(ks, key, delta) => {
                    out.merge_cf(families[ks as usize], key, counters::tag_counter(delta));
                }
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(true);
        let written = self.db.write_opt(out, &options);
        written.map_err(|error| match classify(&self.path, error) {
            Error::Io { path, source, .. } => Error::Closed {
                path,
                detail: source.to_string(),
            },
            other => other,
        })
    }

    fn get(&self, ks: Keyspace, key: &[u8], options: ReadOptions) -> Result<Option<Vec<u8>>> {
        let found = self.db.get_pinned_cf_opt(self.family(ks), key, &options);
        self.found(ks, found)
    }

    fn multi_get(&self, ks: Keyspace, keys: &[&[u8]], options: ReadOptions) -> Result<Vec<Option<Vec<u8>>>> {
        let family = self.family(ks);
        let sorted = keys.is_sorted();
        let found = self.db.batched_multi_get_cf_opt(family, keys, sorted, &options);
        found.into_iter().map(|found| self.found(ks, found)).collect()
    }

    fn found(
        &self,
        ks: Keyspace,
        found: Result<Option<DBPinnableSlice<'_>>, rocksdb::Error>,
    ) -> Result<Option<Vec<u8>>> {
        match found.map_err(|error| classify(&self.path, error))? {
            Some(stored) => read_value(ks, &stored),
            None => Ok(None),
        }
    }

    fn scan(&self, ks: Keyspace, start: &[u8], end: Option<&[u8]>, mut options: ReadOptions) -> Scan<'_> {
        if end.is_some_and(|end| start >= end) {
            return Box::new(std::iter::empty());
        }
        if let Some(end) = end {
            options.set_iterate_upper_bound(end);
        }
        // State is scanned once, to be kept in memory, so its blocks would only push out others.
        options.fill_cache(ks != Keyspace::State);
        let mut raw = self.db.raw_iterator_cf_opt(self.family(ks), options);
        raw.seek(start);
        Box::new(RocksScan {
            raw,
            path: &self.path,
            keyspace: ks,
            ended: false,
        })
    }
}

struct RocksScan<'a> {
    raw: DBRawIterator<'a>,
    path: &'a Path,
    keyspace: Keyspace,
    ended: bool,
}

impl Iterator for RocksScan<'_> {
    type Item = Result<(Vec<u8>, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            let Some((key, stored)) = self.raw.item() else {
                self.ended = true;
                let failure = self.raw.status().err()?;
                return Some(Err(classify(self.path, failure)));
            };
            let entry = match read_value(self.keyspace, stored) {
                Ok(value) => value.map(|value| Ok((key.to_vec(), value))),
                Err(error) => {
                    self.ended = true;
                    Some(Err(error))
                }
            };
            self.raw.next();
            if entry.is_some() {
                return entry;
            }
        }
        None
    }
}

fn read_value(ks: Keyspace, stored: &[u8]) -> Result<Option<Vec<u8>>> {
    match ks {
        Keyspace::View => counters::read(stored),
        _ => Ok(Some(stored.to_vec())),
    }
}

/// Whose fault a failure is. RocksDB keeps the operating system's reason in its text only.
fn classify(path: &Path, error: rocksdb::Error) -> Error {
    let kind = error.kind();
    let detail = error.into_string();
    let says = |text: &str| detail.contains(text);
    let path = path.to_owned();
    if says("No space left on device") {
        return Error::DiskFull { path, detail };
    }
    match kind {
        ErrorKind::IOError if says("lock ") && says("LOCK") => Error::Locked {
            directory: path,
            pid: None,
        },
        ErrorKind::IOError => {
            let reason = match () {
                _ if says("Permission denied") => io::ErrorKind::PermissionDenied,
                _ if says("Not a directory") => io::ErrorKind::NotADirectory,
                _ if says("No such file or directory") => io::ErrorKind::NotFound,
                _ => io::ErrorKind::Other,
            };
            Error::Io {
                doing: "use the store in",
                path,
                source: io::Error::new(reason, detail),
            }
        }
        ErrorKind::Corruption => Error::corrupt(format!("the store in {}", path.display()), detail),
        ErrorKind::InvalidArgument if says("create_if_missing is false") => {
            Error::corrupt(format!("the store in {}", path.display()), "its files are missing")
        }
        _ => Error::Store { path, detail },
    }
}
