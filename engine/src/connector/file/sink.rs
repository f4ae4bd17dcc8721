//! The file sink: a line for each insert, appended and synced.
//!
//! A file that a sink writes is its own (CREATE SINK sees to that). A crash in the middle of a delivery can leave a
//! line without its end, and that delivery is repeated; so what stands behind the last line end is cut off when the
//! file is opened. A delivery that fails is taken back as a whole.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::{at_file, refused};
use crate::change::ChangeBatch;
use crate::connector::{SinkConnector, SinkSpec};
use crate::format::{self, Encoding, EncodingKind, Envelope, EnvelopeWriter, envelope};
use crate::{Error, Result};

/// A sink into one file.
pub(super) struct FileSink {
    path: String,
    file: File,
    /// Bytes that are whole deliveries.
    length: u64,
    /// A delivery failed and could not be taken back yet.
    torn: bool,
    /// The first line of a new file, if it is to have one.
    header: Option<Vec<u8>>,
    writer: Box<dyn EnvelopeWriter>,
    rows: u64,
    dropped: u64,
}

impl FileSink {
    pub(super) fn new(spec: &SinkSpec, path: &str) -> Result<Self> {
        if spec.format.envelope != Envelope::Plain {
            return Err(Error::Config(format!(
                "sink '{}': a file can only be appended to; use FORMAT PLAIN, with force_append_only = 'true' \
                 where the input has deletes",
                spec.name
            )));
        }
        if spec.format.key.is_some() {
            return Err(Error::Config(format!(
                "sink '{}': a file has no keys; leave KEY ENCODE out",
                spec.name
            )));
        }
        let value = &spec.format.value;
        let header = match value.kind {
            EncodingKind::Json => None,
            EncodingKind::Csv if value.options.get("header").is_some_and(|v| v == "true") => {
                Some(header(value, &spec.schema)?)
            }
            EncodingKind::Csv => None,
            EncodingKind::Text | EncodingKind::Bytes => {
                return Err(Error::Config(format!(
                    "sink '{}': a file takes ENCODE JSON or CSV",
                    spec.name
                )));
            }
        };
        // The key names columns for other sinks; a file's lines have none.
        let keyless = SinkSpec {
            key: Vec::new(),
            ..spec.clone()
        };
        let writer = envelope::writer(&keyless)?;
        let failed = |error: std::io::Error| refused(path, &error);
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        let length = whole_lines(&mut file).map_err(failed)?;
        let found = file.metadata().map_err(failed)?.len();
        if found > length {
            tracing::warn!(
                "file '{path}': cutting off an unfinished line of {} bytes",
                found - length
            );
        }
        file.set_len(length).map_err(failed)?;
        let path = path.to_string();
        Ok(Self {
            path,
            file,
            length,
            torn: false,
            header,
            writer,
            rows: 0,
            dropped: 0,
        })
    }

    fn append(&mut self, lines: &[u8]) -> std::io::Result<()> {
        if self.torn {
            self.file.set_len(self.length)?;
            self.torn = false;
        }
        self.file.seek(SeekFrom::Start(self.length))?;
        let written = self.file.write_all(lines).and_then(|()| self.file.sync_data());
        if written.is_err() {
            self.torn = true;
            // Where this fails too, it is tried again before the next write.
            self.torn = self.file.set_len(self.length).is_err();
        } else {
            self.length += lines.len() as u64;
        }
        written
    }
}

/// The line of column names, as the encoding writes text.
fn header(encoding: &Encoding, schema: &SchemaRef) -> Result<Vec<u8>> {
    let names = schema.fields().iter().map(|field| field.name().as_str());
    let text: SchemaRef = Arc::new(Schema::new(
        names
            .clone()
            .map(|n| Field::new(n, DataType::Utf8, false))
            .collect::<Vec<_>>(),
    ));
    let columns: Vec<ArrayRef> = names
        .map(|name| Arc::new(StringArray::from(vec![name])) as ArrayRef)
        .collect();
    let (mut line, mut ends) = (Vec::new(), Vec::new());
    let rows = RecordBatch::try_new(text.clone(), columns)?;
    format::encoder(encoding, &text)?.encode(&rows, &mut line, &mut ends)?;
    line.push(b'\n');
    Ok(line)
}

/// How many bytes of a file are lines with their ends.
fn whole_lines(file: &mut File) -> std::io::Result<u64> {
    const BLOCK: u64 = 64 << 10;
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        block.clear();
        file.take(end - start).read_to_end(&mut block)?;
        if let Some(last) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

impl SinkConnector for FileSink {
    fn deliver(&mut self, _epoch: u64, changes: &[ChangeBatch]) -> Result<()> {
        let mut records = Vec::new();
        self.writer.write(changes, &mut records)?;
        let mut lines = match &self.header {
            Some(header) if self.length == 0 && !records.is_empty() => header.clone(),
            _ => Vec::new(),
        };
        for value in records.iter().filter_map(|record| record.value.as_deref()) {
            if value.contains(&b'\n') {
                return Err(Error::Data(format!(
                    "file '{}': a text with a line break in it can't be written as CSV, where a record is one \
                     line; use ENCODE JSON",
                    self.path
                )));
            }
            lines.extend_from_slice(value);
            lines.push(b'\n');
        }
        if !lines.is_empty() {
            self.append(&lines)
                .map_err(|error| at_file(&self.path, error.to_string()))?;
        }
        self.rows += records.len() as u64;
        self.dropped += self.writer.deletes_dropped();
        Ok(())
    }

    fn rows_delivered(&self) -> u64 {
        self.rows
    }

    fn deletes_dropped(&self) -> u64 {
        self.dropped
    }
}
