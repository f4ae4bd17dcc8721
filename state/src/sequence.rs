//! Ids that are never given out twice, also not after a restart.

use std::marker::PhantomData;

use crate::document::decode_number;
use crate::error::{Error, Result};
use crate::ids::{PipelineId, RelationId};
use crate::keys;
use crate::store::{Keyspace, Reader, WriteBatch};

/// Gives out ids of one kind, in rising order from 1. One such value per instance: two would give
/// out the same ids.
#[derive(Debug)]
pub struct Sequence<Id> {
    next: u32,
    ids: PhantomData<Id>,
}

pub type RelationIds = Sequence<RelationId>;
pub type PipelineIds = Sequence<PipelineId>;

/// A kind of id that is given out in sequence.
pub trait Numbered {
    const KIND: &'static str;
    const NEXT_KEY: &'static [u8];
    fn from_number(number: u32) -> Self;
}

impl<Id: Numbered> Sequence<Id> {
    pub fn load(reader: &dyn Reader) -> Result<Sequence<Id>> {
        let next = match reader.get(Keyspace::Meta, Id::NEXT_KEY)? {
            None => 1,
            Some(bytes) => {
                let what = format!("the next {} id", Id::KIND);
                let next = decode_number(&bytes, &what)?;
                next.try_into()
                    .map_err(|_| Error::corrupt(what, format_args!("it is {next}")))?
            }
        };
        let ids = PhantomData;
        Ok(Sequence { next, ids })
    }

    /// The next id. It is taken for good once `batch` is committed; if that fails, the id is
    /// skipped in this run and may be given out in the next.
    pub fn allocate(&mut self, batch: &mut WriteBatch) -> Result<Id> {
        let id = self.next;
        // The last number stays unused: ranges of keys need one above every id.
        self.next = id.checked_add(1).ok_or(Error::IdsExhausted { kind: Id::KIND })?;
        let next = u64::from(self.next).to_le_bytes();
        batch.put(Keyspace::Meta, Id::NEXT_KEY, &next);
        Ok(Id::from_number(id))
    }
}

impl Numbered for RelationId {
    const KIND: &'static str = "relation";
    const NEXT_KEY: &'static [u8] = keys::NEXT_RELATION;

    fn from_number(number: u32) -> RelationId {
        RelationId(number)
    }
}

impl Numbered for PipelineId {
    const KIND: &'static str = "pipeline";
    const NEXT_KEY: &'static [u8] = keys::NEXT_PIPELINE;

    fn from_number(number: u32) -> PipelineId {
        PipelineId(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, Store};

    #[test]
    fn ids_rise_over_reopening_and_several_may_share_a_batch() {
        let store = MemoryStore::new();
        let mut batch = WriteBatch::new();
        let mut ids = RelationIds::load(&store).unwrap();
        assert_eq!(ids.allocate(&mut batch).unwrap(), RelationId(1));
        assert_eq!(ids.allocate(&mut batch).unwrap(), RelationId(2));
        store.commit(batch).unwrap();

        let mut ids = RelationIds::load(&store).unwrap();
        assert_eq!(ids.allocate(&mut WriteBatch::new()).unwrap(), RelationId(3));
        // A batch that never was committed costs an id in this run only.
        let mut batch = WriteBatch::new();
        assert_eq!(ids.allocate(&mut batch).unwrap(), RelationId(4));
        store.commit(batch).unwrap();
        let mut pipelines = PipelineIds::load(&store).unwrap();
        assert_eq!(pipelines.allocate(&mut WriteBatch::new()).unwrap(), PipelineId(1));
    }

    #[test]
    fn the_last_number_is_never_given_out() {
        let store = MemoryStore::new();
        let mut batch = WriteBatch::new();
        let last = u64::from(u32::MAX - 1).to_le_bytes();
        batch.put(Keyspace::Meta, keys::NEXT_RELATION, &last);
        store.commit(batch).unwrap();
        let mut ids = RelationIds::load(&store).unwrap();
        let mut batch = WriteBatch::new();
        assert_eq!(ids.allocate(&mut batch).unwrap(), RelationId(u32::MAX - 1));
        let error = ids.allocate(&mut batch).unwrap_err();
        assert!(matches!(error, Error::IdsExhausted { .. }), "{error}");
    }
}
