//! Options of an ENCODE clause: every name is known and every value means something, or the
//! statement is refused.

use std::collections::BTreeMap;

use crate::near::unknown_option;
use crate::{Error, Result};

/// Options as written in `ENCODE … ( … )`, lower-case keys.
pub(crate) type Options = BTreeMap<String, String>;

/// Refuses options that `encode` does not know, naming those it knows.
pub(crate) fn known(encode: &str, options: &Options, known: &[&str]) -> Result<()> {
    let Some(unknown) = options.keys().find(|key| !known.contains(&key.as_str())) else {
        return Ok(());
    };
    let of = format!("ENCODE {encode}");
    Err(Error::Config(match known {
        [] => format!("unknown option '{unknown}' of {of}; it has none"),
        known => unknown_option(unknown, &of, known, ""),
    }))
}

/// An option that is one ASCII character, `\t` for a tab.
pub(crate) fn character(encode: &str, options: &Options, name: &str, default: u8) -> Result<u8> {
    match options.get(name).map(|value| value.as_bytes()) {
        None => Ok(default),
        Some(b"\\t") => Ok(b'\t'),
        Some(&[byte]) if byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | 0) => Ok(byte),
        Some(_) => Err(Error::Config(format!(
            "option '{name}' of ENCODE {encode} is one ASCII character (or \\t for a tab), not '{}'",
            options[name]
        ))),
    }
}

/// An option that is `true` or `false`.
pub(crate) fn flag(encode: &str, options: &Options, name: &str, default: bool) -> Result<bool> {
    match options.get(name).map(String::as_str) {
        None => Ok(default),
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(other) => Err(Error::Config(format!(
            "option '{name}' of ENCODE {encode} is 'true' or 'false', not '{other}'"
        ))),
    }
}

/// What a number means where a TIMESTAMP is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EpochUnit {
    Seconds,
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

impl EpochUnit {
    /// Reads `timestamp.unit`; milliseconds, as Kafka has them, unless said.
    pub(crate) fn of(encode: &str, options: &Options) -> Result<EpochUnit> {
        match options.get("timestamp.unit").map(String::as_str) {
            None | Some("ms") => Ok(EpochUnit::Milliseconds),
            Some("s") => Ok(EpochUnit::Seconds),
            Some("us") => Ok(EpochUnit::Microseconds),
            Some("ns") => Ok(EpochUnit::Nanoseconds),
            Some(other) => Err(Error::Config(format!(
                "option 'timestamp.unit' of ENCODE {encode} is 's', 'ms', 'us' or 'ns', not '{other}'"
            ))),
        }
    }

    /// Power of ten that turns a number of this unit into microseconds.
    pub(crate) fn to_us_scale(self) -> i32 {
        match self {
            EpochUnit::Seconds => 6,
            EpochUnit::Milliseconds => 3,
            EpochUnit::Microseconds => 0,
            EpochUnit::Nanoseconds => -3,
        }
    }
}
