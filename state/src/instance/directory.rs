//! A data directory on disk, before its store is opened: whose is it, and is it free?
//!
//! ```text
//! weir.json    the marker: format, id of the instance, and whether the store was made
//! weir.lock    locked while a process works here; holds that process's id
//! store/       RocksDB
//! ```
//!
//! The marker is written before the store exists, and again, as ready, when the store holds the
//! instance's id. A crash while a directory is first made leaves one that can be made anew, and a
//! directory that was ready once and has lost its store is noticed, instead of starting empty
//! under the old id.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{Error, Result};

const FORMAT: u64 = 1;
const MARKER: &str = "weir.json";
const MARKER_DRAFT: &str = "weir.json.new";
const LOCK: &str = "weir.lock";
const STORE: &str = "store";

/// What may lie in a directory that isn't Weir's yet: traces of a first start that was cut short,
/// and what a file system keeps at its root.
const HARMLESS: [&str; 3] = [MARKER_DRAFT, LOCK, "lost+found"];

/// A data directory that this process has for itself.
pub(super) struct Directory {
    path: PathBuf,
    marker: Marker,
    lock: Lock,
}

/// Given up when dropped.
pub(super) struct Lock {
    _file: File,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Marker {
    format: u64,
    #[serde(with = "id_text")]
    id: Uuid,
    ready: bool,
}

/// The part of a marker that every format has.
#[derive(Deserialize)]
struct AnyMarker {
    format: u64,
}

mod id_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use uuid::Uuid;

    pub(super) fn serialize<S: Serializer>(id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<Uuid, D::Error> {
        let text = String::deserialize(source)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl Directory {
    pub(super) fn open(path: &Path) -> Result<Directory> {
        fs::create_dir_all(path).map_err(|error| Error::io("create", path, error))?;
        // Before anything is written, and again when nobody else can be doing the same.
        read_marker(path)?;
        let lock = Lock::take(path)?;
        let marker = match read_marker(path)? {
            Some(marker) => marker,
            None => {
                let marker = Marker {
                    format: FORMAT,
                    id: Uuid::new_v4(),
                    ready: false,
                };
                marker.write(path)?;
                marker
            }
        };
        let path = path.to_owned();
        Ok(Directory { path, marker, lock })
    }

    pub(super) fn id(&self) -> Uuid {
        self.marker.id
    }

    pub(super) fn store_path(&self) -> PathBuf {
        self.path.join(STORE)
    }

    /// Whether the store has been made, so that it must be there.
    pub(super) fn is_ready(&self) -> bool {
        self.marker.ready
    }

    pub(super) fn make_ready(mut self) -> Result<Lock> {
        if !self.marker.ready {
            self.marker.ready = true;
            self.marker.write(&self.path)?;
        }
        Ok(self.lock)
    }
}

impl Lock {
    fn take(directory: &Path) -> Result<Lock> {
        let path = directory.join(LOCK);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(|error| Error::io("open", &path, error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Whoever holds the lock may be just about to write its id; the refusal stands
                // without it.
                let read = file.read_to_string(&mut holder);
                return Err(Error::Locked {
                    directory: directory.to_owned(),
                    pid: read.ok().and_then(|_| holder.trim().parse().ok()),
                });
            }
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path, error)),
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(|error| Error::io("write", &path, error))?;
        Ok(Lock { _file: file })
    }
}

impl Marker {
    /// Replaces the marker as a whole, durably.
    fn write(&self, directory: &Path) -> Result<()> {
        let draft = directory.join(MARKER_DRAFT);
        let path = directory.join(MARKER);
        let failed = |error| Error::io("write", &path, error);
        let text = serde_json::to_string(self).expect("a marker is plain JSON") + "\n";
        let mut file = File::create(&draft).map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        fs::rename(&draft, &path).map_err(failed)?;
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(failed)
    }
}

/// The marker; `None` in a directory that may become Weir's.
fn read_marker(directory: &Path) -> Result<Option<Marker>> {
    let path = directory.join(MARKER);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return refuse_foreign(directory).map(|()| None);
        }
        Err(error) => return Err(Error::io("read", &path, error)),
    };
    let what = || format!("data directory {}", directory.display());
    let damaged = |error| Error::corrupt(what(), format_args!("{MARKER}: {error}"));
    let AnyMarker { format } = serde_json::from_slice(&text).map_err(damaged)?;
    if format != FORMAT {
        return Err(Error::FormatVersion {
            what: what(),
            found: format,
            supported: FORMAT,
        });
    }
    serde_json::from_slice(&text).map(Some).map_err(damaged)
}

fn refuse_foreign(directory: &Path) -> Result<()> {
    let failed = |error| Error::io("read", directory, error);
    for entry in fs::read_dir(directory).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if !HARMLESS.iter().any(|harmless| name == OsStr::new(harmless)) {
            return Err(Error::ForeignDirectory {
                directory: directory.to_owned(),
                found: name.to_string_lossy().into_owned(),
            });
        }
    }
    Ok(())
}
