//! The bytes of the keys in memory, by slot.
//!
//! Keys of numbers and times all have one length; then a key lies at slot times length, and finding
//! it costs no look at where it lies. The first key of another length ends that, for good.

use super::Slot;

/// Unused bytes are given back when they are more than this, and more than those in use.
const SLACK_BYTES: usize = 1 << 16;

pub(super) enum KeyBytes {
    /// All keys so far have had this length.
    Fixed { width: usize, bytes: Vec<u8> },
    /// Keys lie where they came, with gaps where others were.
    Any {
        places: Vec<(usize, u32)>,
        bytes: Vec<u8>,
        unused: usize,
    },
}

impl KeyBytes {
    pub(super) fn new() -> Self {
        KeyBytes::Fixed {
            width: 0,
            bytes: Vec::new(),
        }
    }

    #[inline(always)]
    pub(super) fn get(&self, slot: Slot) -> &[u8] {
        match self {
            KeyBytes::Fixed { width, bytes } => &bytes[slot.index() * width..][..*width],
            KeyBytes::Any { places, bytes, .. } => {
                let (start, length) = places[slot.index()];
                &bytes[start..start + length as usize]
            }
        }
    }

    /// Gives a slot a key, shorter than 2^32 bytes; `slots` is the number of slots that there were
    /// before.
    pub(super) fn put(&mut self, slot: Slot, key: &[u8], slots: usize) {
        match self {
            KeyBytes::Fixed { width, bytes } if slots == 0 => {
                *width = key.len();
                bytes.clear();
                bytes.extend_from_slice(key);
            }
            KeyBytes::Fixed { width, bytes } if *width == key.len() => {
                if slot.index() == slots {
                    bytes.extend_from_slice(key);
                } else {
                    bytes[slot.index() * *width..][..*width].copy_from_slice(key);
                }
            }
            KeyBytes::Fixed { width, bytes } => {
                let places = (0..slots).map(|slot| (slot * *width, *width as u32)).collect();
                *self = KeyBytes::Any {
                    places,
                    bytes: std::mem::take(bytes),
                    unused: 0,
                };
                self.put(slot, key, slots);
            }
            KeyBytes::Any { places, bytes, .. } => {
                let place = (bytes.len(), key.len() as u32);
                if slot.index() == places.len() {
                    places.push(place);
                } else {
                    places[slot.index()] = place;
                }
                bytes.extend_from_slice(key);
            }
        }
    }

    /// The slot's key isn't needed any more.
    pub(super) fn remove(&mut self, slot: Slot) {
        if let KeyBytes::Any { places, unused, .. } = self {
            let (_, length) = std::mem::take(&mut places[slot.index()]);
            *unused += length as usize;
        }
    }

    /// Gives back the memory of keys that have gone, where it is worth it.
    pub(super) fn shrink(&mut self) {
        let KeyBytes::Any { places, bytes, unused } = self else {
            return;
        };
        let in_use = bytes.len().saturating_sub(*unused);
        if *unused < SLACK_BYTES || *unused < in_use {
            return;
        }
        let mut kept = Vec::with_capacity(in_use + in_use / 4);
        for (start, length) in places {
            let key = &bytes[*start..*start + *length as usize];
            *start = kept.len();
            kept.extend_from_slice(key);
        }
        *bytes = kept;
        *unused = 0;
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            KeyBytes::Fixed { bytes, .. } => bytes.capacity(),
            KeyBytes::Any { places, bytes, .. } => bytes.capacity() + places.capacity() * size_of::<(usize, u32)>(),
        }
    }
}

/// Whether two keys are equal. Inlined for short ones, which most are: the call costs more than
/// the work.
#[inline(always)]
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    let length = a.len();
    if length != b.len() {
        return false;
    }
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    match length {
        8..=16 => (word(a, 0) ^ word(b, 0)) | (word(a, length - 8) ^ word(b, length - 8)) == 0,
        _ => a == b,
    }
}
