//! Which column a field of an object belongs to, found by remembering the order of fields.
//!
//! The records of a topic mostly have the same fields in the same order. So each key seen
//! remembers the key that followed it last time, and the next key is first compared with that one:
//! one `memcmp`, no scan for the closing quote, no hash. A wrong guess costs a look-up.

use arrow::datatypes::{Fields, Schema};
use hashbrown::HashMap;

use super::scan::{Reader, Scan, unescape};

/// Unknown keys beyond this are looked up each time: an object used as a map must not grow this.
const MAX_KEYS: usize = 1_024;
const MAX_KEY_BYTES: usize = 128;

/// The fields of one object type.
pub(crate) struct Keys {
    /// Declared names, with the index of the column they fill where it is wanted.
    names: Vec<(String, Option<usize>)>,
    /// Keys seen, the first a place holder for the beginning of an object.
    seen: Vec<Key>,
    by_text: HashMap<Box<[u8]>, usize>,
    /// The key passed last, in `seen`.
    last: usize,
    /// Counts objects.
    object: u64,
    /// Per column the last object in which a key that differs in case filled it.
    folded: Vec<u64>,
}

struct Key {
    /// Its text and the closing quote, as they stand in the record.
    quoted: Box<[u8]>,
    target: Target,
    /// The key that followed last time, in `seen`; 0 where none did.
    follower: usize,
}

/// What to do with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    /// The column it fills; none: skip it.
    pub(crate) column: Option<usize>,
    /// False where the names differ in case.
    exact: bool,
}

impl Keys {
    /// All fields of a struct.
    pub(crate) fn of_all(fields: &Fields) -> Keys {
        let names = fields
            .iter()
            .enumerate()
            .map(|(i, field)| (field.name().clone(), Some(i)));
        Keys::new(names.collect(), fields.len())
    }

    /// The wanted `columns` among those `declared`.
    pub(crate) fn of_wanted(declared: &Schema, columns: &Schema) -> Keys {
        let mut names: Vec<_> = declared
            .fields()
            .iter()
            .map(|field| (field.name().clone(), columns.index_of(field.name()).ok()))
            .collect();
        for (i, field) in columns.fields().iter().enumerate() {
            if !names.iter().any(|(name, _)| name == field.name()) {
                names.push((field.name().clone(), Some(i)));
            }
        }
        Keys::new(names, columns.fields().len())
    }

    fn new(names: Vec<(String, Option<usize>)>, columns: usize) -> Keys {
        // No UTF-8 text contains byte 255, so nothing matches the place holder.
        let beginning = Key {
            quoted: [255].into(),
            target: Target {
                column: None,
                exact: true,
            },
            follower: 0,
        };
        Keys {
            names,
            seen: vec![beginning],
            by_text: HashMap::new(),
            last: 0,
            object: 0,
            folded: vec![0; columns],
        }
    }

    /// Name of the field that fills `column`.
    pub(crate) fn name(&self, column: usize) -> &str {
        self.names
            .iter()
            .find(|(_, c)| *c == Some(column))
            .map_or("", |(name, _)| name)
    }

    /// Starts with an object.
    #[inline]
    pub(crate) fn begin(&mut self) {
        self.last = 0;
        self.object += 1;
    }

    /// Passes a key whose opening quote is passed already.
    #[inline]
    pub(crate) fn pass(&mut self, reader: &mut Reader<'_>) -> Scan<Target> {
        let guess = self.seen[self.last].follower;
        let key = &self.seen[guess];
        if reader.rest().starts_with(&key.quoted) {
            reader.at += key.quoted.len();
            self.last = guess;
            return Ok(key.target);
        }
        self.look_up(reader)
    }

    #[cold]
    fn look_up(&mut self, reader: &mut Reader<'_>) -> Scan<Target> {
        let start = reader.at;
        let key = reader.string()?;
        if key.escaped {
            let mut name = Vec::new();
            unescape(key.raw, start, &mut name)?;
            return Ok(self.target(&name));
        }
        let quoted = reader.since(start).as_bytes();
        let index = match self.by_text.get(quoted) {
            Some(index) => *index,
            None => {
                let target = self.target(key.raw.as_bytes());
                if self.seen.len() > MAX_KEYS || quoted.len() > MAX_KEY_BYTES {
                    return Ok(target);
                }
                self.seen.push(Key {
                    quoted: quoted.into(),
                    target,
                    follower: 0,
                });
                self.by_text.insert(quoted.into(), self.seen.len() - 1);
                self.seen.len() - 1
            }
        };
        self.seen[self.last].follower = index;
        self.last = index;
        Ok(self.seen[index].target)
    }

    /// Finds the column of a name: the same name, else one that differs in ASCII case only.
    fn target(&self, name: &[u8]) -> Target {
        let exact = self.names.iter().find(|(declared, _)| declared.as_bytes() == name);
        let found = exact.or_else(|| self.names.iter().find(|(n, _)| n.as_bytes().eq_ignore_ascii_case(name)));
        Target {
            column: found.and_then(|(_, column)| *column),
            exact: exact.is_some(),
        }
    }

    /// Notes that `target` fills `column`.
    #[inline]
    pub(crate) fn fills(&mut self, target: Target, column: usize) {
        if !target.exact {
            self.folded[column] = self.object;
        }
    }

    /// A field for a `column` this object has filled already: true where it takes the place of the
    /// earlier one. The last of equal names wins, and a name in the declared case always.
    pub(crate) fn replaces(&self, target: Target, column: usize) -> bool {
        target.exact || self.folded[column] == self.object
    }
}
