//! The store in memory: a persistent ordered map per keyspace.
//!
//! Persistent maps share what they have in common, so a snapshot is a clone that copies nothing,
//! and a commit copies only the nodes that a living snapshot still sees.

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;
use parking_lot::RwLock;

use super::{Keyspace, Op, Reader, Scan, Store, WriteBatch, encode_counter};
use crate::error::Result;

type Map = OrdMap<Arc<[u8]>, Stored>;

#[derive(Clone)]
enum Stored {
    Value(Arc<[u8]>),
    /// Never 0: a counter that comes to 0 is removed.
    Counter(i64),
}

/// A store that keeps nothing beyond the process.
#[derive(Default)]
pub struct MemoryStore {
    current: RwLock<Maps>,
}

/// All keyspaces at one time.
#[derive(Clone, Default)]
struct Maps([Map; Keyspace::ALL.len()]);

impl MemoryStore {
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// A second store that begins with what this one holds now: what a crash at this moment would
    /// leave behind. Costs nothing until the two differ.
    pub fn fork(&self) -> MemoryStore {
        MemoryStore {
            current: RwLock::new(self.current.read().clone()),
        }
    }
}

impl Reader for MemoryStore {
    fn get(&self, ks: Keyspace, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.current.read().get(ks, key)
    }

    fn multi_get(&self, ks: Keyspace, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        self.current.read().multi_get(ks, keys)
    }

    fn scan(&self, ks: Keyspace, start: &[u8], end: Option<&[u8]>) -> Scan<'_> {
        let map = self.current.read().map(ks).clone();
        Box::new(Cursor::new(map, start, end))
    }
}

impl Store for MemoryStore {
    fn commit(&self, batch: WriteBatch) -> Result<()> {
        batch.check()?;
        let mut maps = self.current.write();
        for op in batch.ops() {
            maps.apply(op);
        }
        Ok(())
    }

    fn snapshot(&self) -> Arc<dyn Reader> {
        Arc::new(self.current.read().clone())
    }

    fn approximate_bytes(&self, ks: Keyspace, start: &[u8], end: &[u8]) -> u64 {
        if start >= end {
            return 0;
        }
        let map = self.current.read().map(ks).clone();
        let entries = map.range::<_, [u8]>((Bound::Included(start), Bound::Excluded(end)));
        entries.map(|(key, stored)| (key.len() + stored.len()) as u64).sum()
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn close(&self) {}
}

impl Reader for Maps {
    fn get(&self, ks: Keyspace, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.map(ks).get(key).map(Stored::to_vec))
    }

    fn multi_get(&self, ks: Keyspace, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        keys.iter().map(|key| self.get(ks, key)).collect()
    }

    fn scan(&self, ks: Keyspace, start: &[u8], end: Option<&[u8]>) -> Scan<'_> {
        Box::new(Cursor::new(self.map(ks).clone(), start, end))
    }
}

impl Maps {
    fn map(&self, ks: Keyspace) -> &Map {
        &self.0[ks as usize]
    }

    fn apply(&mut self, op: Op<'_>) {
        match op {
            Op::Put(ks, key, value) => {
                self.0[ks as usize].insert(key.into(), Stored::Value(value.into()));
            }
            Op::Delete(ks, key) => {
                self.0[ks as usize].remove(key);
            }
            Op::DeleteRange(ks, start, end) => {
                let map = &mut self.0[ks as usize];
                let doomed = map.range::<_, [u8]>((Bound::Included(start), Bound::Excluded(end)));
                let doomed: Vec<Arc<[u8]>> = doomed.map(|(key, _)| key.clone()).collect();
                for key in doomed {
                    map.remove(&key);
                }
            }
            Op::Add(ks, key, delta) => add(&mut self.0[ks as usize], key, delta),
        }
    }
}

fn add(map: &mut Map, key: &[u8], delta: i64) {
    let before = match map.get(key) {
        None => 0,
        Some(Stored::Counter(sum)) => *sum,
        Some(Stored::Value(_)) => return,
    };
    match before.wrapping_add(delta) {
        0 => map.remove(key),
        sum => map.insert(key.into(), Stored::Counter(sum)),
    };
}

impl Stored {
    fn to_vec(&self) -> Vec<u8> {
        match self {
            Stored::Value(value) => value.to_vec(),
            Stored::Counter(sum) => encode_counter(*sum).to_vec(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Stored::Value(value) => value.len(),
            Stored::Counter(_) => 8,
        }
    }
}

/// Walks a map that it owns, taking a run of entries at a time: the map's own iterator would
/// borrow from its neighbour.
struct Cursor {
    map: Map,
    /// Where the next run begins; `None` at the end.
    from: Option<Bound<Arc<[u8]>>>,
    end: Option<Vec<u8>>,
    run: std::vec::IntoIter<(Arc<[u8]>, Stored)>,
}

const RUN: usize = 128;

impl Cursor {
    fn new(map: Map, start: &[u8], end: Option<&[u8]>) -> Cursor {
        let empty = end.is_some_and(|end| start >= end);
        Cursor {
            map,
            from: (!empty).then(|| Bound::Included(start.into())),
            end: end.map(<[u8]>::to_vec),
            run: Vec::new().into_iter(),
        }
    }

    fn fetch(&mut self) {
        let Some(from) = self.from.take() else { return };
        let end = match &self.end {
            Some(end) => Bound::Excluded(&end[..]),
            None => Bound::Unbounded,
        };
        let run: Vec<_> = self
            .map
            .range::<_, [u8]>((from.as_ref().map(|key| &key[..]), end))
            .take(RUN)
            .map(|(key, stored)| (key.clone(), stored.clone()))
            .collect();
        if run.len() == RUN {
            self.from = run.last().map(|(key, _)| Bound::Excluded(key.clone()));
        }
        self.run = run.into_iter();
    }
}

impl Iterator for Cursor {
    type Item = Result<(Vec<u8>, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.run.len() == 0 {
            self.fetch();
        }
        let (key, stored) = self.run.next()?;
        Some(Ok((key.to_vec(), stored.to_vec())))
    }
}
