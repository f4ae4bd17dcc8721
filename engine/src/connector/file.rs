//! The file connector: lines of files as records.
//!
//! A split is a file, by the path it was given or matched with; a position is the byte offset of
//! the next line, in `.gz` files of the decompressed text. A line ends with LF or CRLF, which are
//! no part of the record; a CSV record is one line, so its quoted fields hold no line breaks.
//!
//! A file is read once to its end, where its split ends; or, with `follow = 'true'`, for ever: lines
//! that are appended and new files that match are read as they come, and a line counts when it has
//! its end. Files may only grow: where one is truncated, written over or replaced, that is an error ([`tail`]).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{
    Bound, ConnectorSpec, Marks, Positions, SinkConnector, SinkSpec, SourceConnector, SourceReader, Split, SplitId,
    Start, Wanted, check_named,
};
use crate::near::unknown_option;
use crate::{Error, Result};

mod lines;
mod reader;
mod sink;
mod tail;
#[cfg(test)]
mod tests;

/// Makes a file source. Options: `path` (a file, or a pattern with `*`, `?`, `[…]`, `**`), `follow`
/// (`true`: go on when the end is reached), `file.skip_header` (`true`: the first line of each file is
/// no record), `file.skip_blank` (`true` by default: empty lines are no records).
///
/// # Errors
/// If an option is unknown, missing or wrong.
pub fn source(spec: &ConnectorSpec) -> Result<Arc<dyn SourceConnector>> {
    known_options(
        spec,
        "source",
        &["path", "follow", "file.skip_header", "file.skip_blank"],
    )?;
    let path = path(spec)?;
    glob::Pattern::new(path).map_err(|error| Error::Config(format!("path = '{path}' is no file pattern: {error}")))?;
    Ok(Arc::new(FileSource {
        path: path.to_string(),
        follow: flag(&spec.options, "follow", false)?,
        skip_header: flag(&spec.options, "file.skip_header", false)?,
        skip_blank: flag(&spec.options, "file.skip_blank", true)?,
        ended: BTreeSet::new(),
    }))
}

/// Makes a file sink: appends a line for each insert and syncs the file. Options: `path` and what
/// the envelope takes.
///
/// # Errors
/// If an option is unknown, missing or wrong, the format isn't PLAIN JSON or CSV, or the file can't
/// be opened.
pub fn sink(spec: &SinkSpec) -> Result<Box<dyn SinkConnector>> {
    known_options(
        &spec.connector,
        "sink",
        &["path", "key", "force_append_only", "snapshot"],
    )?;
    Ok(Box::new(sink::FileSink::new(spec, path(&spec.connector)?)?))
}

/// Checks that the file of a sink that is to be created has nothing in it yet and is no other sink's.
/// What is no regular file (a pipe, a terminal) may be anybody's.
///
/// # Errors
/// If it isn't so.
pub fn check_place(spec: &SinkSpec, others: &[SinkSpec]) -> Result<()> {
    let path = path(&spec.connector)?;
    let found = std::fs::metadata(path);
    if found.as_ref().is_ok_and(|found| !found.is_file()) {
        return Ok(());
    }
    let mut others = others.iter().filter(|other| other.connector.connector == "file");
    let same = |other: &&SinkSpec| self::path(&other.connector).is_ok_and(|other| place(other) == place(path));
    if let Some(other) = others.find(same) {
        return Err(Error::Config(format!(
            "sink '{}' writes the file '{path}' already, and a sink's file is its own; choose another path",
            other.name
        )));
    }
    if found.is_ok_and(|found| found.len() > 0) {
        return Err(Error::Config(format!(
            "the file '{path}' has something in it already, and a sink's file is its own from the beginning; choose \
             another path, or move the file away"
        )));
    }
    Ok(())
}

/// One path for all the ways to write it, whether the file is there or not.
fn place(path: &str) -> PathBuf {
    let path = Path::new(path);
    let folder = || {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = std::fs::canonicalize(folder.unwrap_or(Path::new("."))).ok()?;
        Some(folder.join(path.file_name()?))
    };
    let found = std::fs::canonicalize(path).ok();
    found.or_else(folder).unwrap_or_else(|| path.to_path_buf())
}

fn path(spec: &ConnectorSpec) -> Result<&str> {
    match spec.options.get("path") {
        Some(path) if !path.is_empty() => Ok(path),
        _ => Err(Error::Config("the file connector needs path = '…'".to_string())),
    }
}

fn known_options(spec: &ConnectorSpec, role: &str, known: &[&str]) -> Result<()> {
    match spec.options.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(Error::Config(unknown_option(
            name,
            &format!("a file {role}"),
            known,
            "",
        ))),
    }
}

fn flag(options: &BTreeMap<String, String>, name: &str, otherwise: bool) -> Result<bool> {
    match options.get(name).map(String::as_str) {
        None => Ok(otherwise),
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(other) => Err(Error::Config(format!(
            "{name} = '{other}' is neither 'true' nor 'false'"
        ))),
    }
}

/// The path from the root, as whoever reads of it may be in another folder.
fn in_full(path: &str) -> String {
    std::path::absolute(path).map_or_else(|_| path.to_string(), |path| path.display().to_string())
}

fn at_file(path: &str, cause: impl Into<String>) -> Error {
    Error::Connector {
        place: format!("file '{}'", in_full(path)),
        cause: cause.into(),
    }
}

/// What the operating system said, and for a directory what to do.
fn refused(path: &str, error: &std::io::Error) -> Error {
    if Path::new(path).is_dir() {
        let path = path.trim_end_matches('/');
        return at_file(path, format!("is a directory; use a pattern such as '{path}/*'"));
    }
    at_file(path, error.to_string())
}

/// Which files, and how their lines are read.
#[derive(Debug, Clone)]
struct FileSource {
    path: String,
    follow: bool,
    skip_header: bool,
    skip_blank: bool,
    /// Files that were read to their end before.
    ended: BTreeSet<SplitId>,
}

impl FileSource {
    fn is_pattern(&self) -> bool {
        self.path.contains(['*', '?', '['])
    }

    /// The files that match now, by name.
    fn files(&self) -> Result<Vec<String>> {
        let is_left = |name: &str| !self.ended.contains(&split(name).id);
        if !self.is_pattern() || Path::new(&self.path).is_file() {
            return Ok(Vec::from_iter(is_left(&self.path).then(|| self.path.clone())));
        }
        let matches = glob::glob(&self.path)
            .map_err(|error| Error::Config(format!("path = '{}' is no file pattern: {error}", self.path)))?;
        let mut files = Vec::new();
        for found in matches {
            let found = found.map_err(|error| at_file(&error.path().to_string_lossy(), error.error().to_string()))?;
            if !found.is_file() {
                continue;
            }
            match found.to_str() {
                Some(name) if is_left(name) => files.push(name.to_string()),
                Some(_) => {}
                None => {
                    return Err(at_file(&found.to_string_lossy(), "the name is not valid UTF-8"));
                }
            }
        }
        files.sort();
        if files.is_empty() && !self.follow && self.ended.is_empty() {
            return Err(at_file(&self.path, "no file matches"));
        }
        Ok(files)
    }

    /// Positions of files that are yet to be read.
    fn left_of(&self, positions: &Positions) -> Positions {
        let left = positions.iter().filter(|(file, _)| !self.ended.contains(*file));
        left.map(|(file, at)| (file.clone(), *at)).collect()
    }

    fn ends(&self, splits: &[Split]) -> Result<Positions> {
        splits
            .iter()
            .map(|split| Ok((split.id.clone(), lines::end(&split.topic, self.follow)?)))
            .collect()
    }
}

fn split(path: &str) -> Split {
    let path: Arc<str> = path.into();
    Split {
        id: SplitId(path.clone()),
        topic: path,
        partition: 0,
    }
}

impl SourceConnector for FileSource {
    fn splits(&self) -> Result<Vec<Split>> {
        let files = self.files()?;
        for file in &files {
            lines::check(file, self.follow)?;
        }
        Ok(files.iter().map(|file| split(file)).collect())
    }

    fn look(&self, _: Duration) -> Result<Vec<Split>> {
        let splits = self.splits()?;
        let missing = splits.iter().find(|split| !Path::new(&*split.topic).exists());
        match (missing, &splits[..]) {
            (Some(split), _) => Err(at_file(&split.topic, "there is no such file yet")),
            (None, []) => Err(at_file(&self.path, "no file matches yet")),
            _ => Ok(splits),
        }
    }

    fn resolve(&self, start: &Start) -> Result<Positions> {
        let splits = self.splits()?;
        let mut positions: Positions = splits.iter().map(|split| (split.id.clone(), 0)).collect();
        match start {
            Start::Earliest => {}
            Start::Latest => positions = self.ends(&splits)?,
            Start::Offsets(named) => {
                let named = self.left_of(named);
                check_named(&named, &splits, Some(&self.ends(&splits)?), "file")?;
                positions.extend(named);
            }
            Start::Timestamp(_) => return Err(unsupported("scan.startup.mode = 'timestamp'")),
            Start::Group => return Err(unsupported("scan.startup.mode = 'group'")),
        }
        Ok(positions)
    }

    fn resolve_bound(&self, bound: &Bound) -> Result<Option<Positions>> {
        match bound {
            Bound::Unbounded => Ok(None),
            Bound::Latest => Ok(Some(self.ends(&self.splits()?)?)),
            Bound::Offsets(named) => {
                let named = self.left_of(named);
                check_named(&named, &self.splits()?, None, "file")?;
                Ok(Some(named))
            }
            Bound::Timestamp(_) => Err(unsupported("scan.bounded.mode = 'timestamp'")),
        }
    }

    fn open(&self, from: &Positions, until: Option<&Positions>, _wanted: &Wanted) -> Result<Box<dyn SourceReader>> {
        let (from, until) = (self.left_of(from), until.map(|until| self.left_of(until)));
        Ok(Box::new(reader::Reader::open(self.clone(), &from, until.as_ref())?))
    }

    fn without(&self, ended: &BTreeSet<SplitId>) -> Option<Arc<dyn SourceConnector>> {
        if self.follow || ended.is_empty() {
            return None;
        }
        Some(Arc::new(FileSource {
            ended: ended.clone(),
            ..self.clone()
        }))
    }

    fn recognise(&self, marks: &Marks) -> Result<()> {
        marks.iter().try_for_each(|(id, mark)| lines::recognise(&id.0, *mark))
    }
}

fn unsupported(option: &str) -> Error {
    Error::Config(format!(
        "{option} is not supported by the file connector; use 'earliest', 'latest' or 'offsets'"
    ))
}
