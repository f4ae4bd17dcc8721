//! The catalog journal: what each relation was declared as, a JSON document per relation.
//!
//! What the documents say is the business of their writer; here they are kept under the
//! relation's id and change in the same batch as everything else. Ids come from
//! [`crate::RelationIds`].

use serde_json::Value;

use crate::document;
use crate::error::Result;
use crate::ids::RelationId;
use crate::keys;
use crate::store::{Keyspace, Reader, WriteBatch};

/// The catalog journal; a name for its functions.
pub struct Catalog;

/// One relation's document.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    pub id: RelationId,
    pub document: Value,
}

impl Catalog {
    /// All entries, by rising id, which is the order of creation.
    pub fn load(reader: &dyn Reader) -> Result<Vec<Entry>> {
        let entries = reader.scan(Keyspace::Catalog, &[], None);
        entries
            .map(|entry| {
                let (key, value) = entry?;
                let id = keys::split_catalog_key(&key)?;
                let document =
                    document::decode(&value, || format!("the catalog entry of relation {id}"))?;
                Ok(Entry { id, document })
            })
            .collect()
    }

    /// Writes the document of `id`, in place of the one it had.
    pub fn put(batch: &mut WriteBatch, id: RelationId, document: &Value) {
        let value = document::encode(document);
        batch.put(Keyspace::Catalog, &keys::catalog_key(id), &value);
    }

    pub fn remove(batch: &mut WriteBatch, id: RelationId) {
        batch.delete(Keyspace::Catalog, &keys::catalog_key(id));
    }
}
