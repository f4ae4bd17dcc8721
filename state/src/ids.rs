//! The numbers by which an instance names things, each a type of its own.
//!
//! All are plain numbers when displayed and in JSON (where they may be map keys); a [`TableId`]
//! is `relation.ordinal`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($number:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $number);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// Which commit. One counter per instance, so for any view epochs only rise, with gaps.
    /// 0 is before the first.
    Epoch(u64)
}
id! {
    /// A source, table, view or sink of the catalog. Never used again after a drop;
    /// `u32::MAX` is never given out.
    RelationId(u32)
}
id! {
    /// A pipeline. Never used again after it ended.
    PipelineId(u32)
}
id! {
    /// One of the 256 fixed ranges of the key hash by which state is dealt to tasks.
    Shard(u8)
}
id! {
    /// A place in the instance-wide log of DML commits. 0 is before the first.
    DmlCommit(u64)
}

impl Epoch {
    /// Before the first epoch.
    pub const ZERO: Epoch = Epoch(0);

    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

impl DmlCommit {
    /// Before the first DML commit.
    pub const ZERO: DmlCommit = DmlCommit(0);

    pub fn next(self) -> DmlCommit {
        DmlCommit(self.0 + 1)
    }
}

impl Shard {
    /// How many shards there are, in every instance and for ever.
    pub const COUNT: usize = 256;

    pub fn all() -> impl Iterator<Item = Shard> {
        (0..=u8::MAX).map(Shard)
    }
}

/// One state table of a relation's operators: the relation, and which of its tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(into = "String", try_from = "String")]
pub struct TableId {
    pub relation: RelationId,
    pub ordinal: u16,
}

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.relation, self.ordinal)
    }
}

/// A text that is no `relation.ordinal`.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a table id (expected relation.ordinal)")]
pub struct ParseIdError(String);

impl FromStr for TableId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<TableId, ParseIdError> {
        let parsed = text.split_once('.').and_then(|(relation, ordinal)| {
            Some(TableId {
                relation: RelationId(relation.parse().ok()?),
                ordinal: ordinal.parse().ok()?,
            })
        });
        parsed.ok_or_else(|| ParseIdError(text.to_owned()))
    }
}

impl TryFrom<String> for TableId {
    type Error = ParseIdError;

    fn try_from(text: String) -> Result<TableId, ParseIdError> {
        text.parse()
    }
}

impl From<TableId> for String {
    fn from(id: TableId) -> String {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn ids_are_numbers_in_json_and_may_be_map_keys() {
        let table = TableId {
            relation: RelationId(7),
            ordinal: 2,
        };
        let by_table = BTreeMap::from([(table, Epoch(u64::MAX))]);
        let json = serde_json::to_string(&by_table).unwrap();
        assert_eq!(json, r#"{"7.2":18446744073709551615}"#);
        let read: BTreeMap<TableId, Epoch> = serde_json::from_str(&json).unwrap();
        assert_eq!(read, by_table);

        let by_relation = BTreeMap::from([(RelationId(3), DmlCommit(4))]);
        let json = serde_json::to_string(&by_relation).unwrap();
        assert_eq!(json, r#"{"3":4}"#);
        let read: BTreeMap<RelationId, DmlCommit> = serde_json::from_str(&json).unwrap();
        assert_eq!(read, by_relation);
    }

    #[test]
    fn a_malformed_table_id_is_refused() {
        for text in ["", "7", "7.", ".2", "7.70000", "a.b", "7.2.1"] {
            assert!(text.parse::<TableId>().is_err(), "{text:?} was taken");
        }
    }
}
