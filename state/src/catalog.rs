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
                let document = document::decode(&value, || format!("the catalog entry of relation {id}"))?;
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::Error;
    use crate::store::{MemoryStore, Store};

    #[test]
    fn entries_come_back_by_id_with_their_documents_as_written() {
        let store = MemoryStore::new();
        let documents = [
            (
                RelationId(300),
                json!({"sql": "CREATE …", "nested": [1, null, {"b": 1, "a": 2}]}),
            ),
            (RelationId(2), json!(null)),
            (RelationId(1), json!("text")),
        ];
        let mut batch = WriteBatch::new();
        for (id, document) in &documents {
            Catalog::put(&mut batch, *id, document);
        }
        store.commit(batch).unwrap();
        let mut batch = WriteBatch::new();
        Catalog::put(&mut batch, RelationId(2), &json!({"new": true}));
        Catalog::remove(&mut batch, RelationId(1));
        Catalog::remove(&mut batch, RelationId(7));
        store.commit(batch).unwrap();

        let [changed, first] = &Catalog::load(&store).unwrap()[..] else {
            panic!("two entries were expected");
        };
        assert_eq!((changed.id, &changed.document), (RelationId(2), &json!({"new": true})));
        assert_eq!((first.id, &first.document), (RelationId(300), &documents[0].1));
        // Also the order of fields, which is the writer's.
        let text = first.document.to_string();
        assert_eq!(text, documents[0].1.to_string());
    }

    #[test]
    fn damage_is_named() {
        let store = MemoryStore::new();
        for (value, format) in [(&b"\x01{"[..], false), (b"", false), (b"\x02{}", true)] {
            let mut batch = WriteBatch::new();
            batch.put(Keyspace::Catalog, &keys::catalog_key(RelationId(5)), value);
            store.commit(batch).unwrap();
            let error = Catalog::load(&store).unwrap_err();
            let known = match error {
                Error::FormatVersion { .. } => format,
                Error::Corrupt { .. } => !format,
                _ => false,
            };
            assert!(known, "{error:?}");
            assert!(error.to_string().contains("relation 5"), "{error}");
        }
    }
}
