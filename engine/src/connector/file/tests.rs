//! The file connector on files of a temporary folder.

use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

use super::*;
use crate::change::{ChangeBatch, Weights};
use crate::connector::Payload;
use crate::connector::conformance::{Contents, read_all, source_conformance, texts};
use crate::format::{Encoding, EncodingKind, Envelope, SinkFormat};

const SOON: Duration = Duration::from_millis(150);

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_string()
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn append(&self, name: &str, text: &str) {
        let mut file = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.path(name))
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn gzip(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        let mut gzip = GzEncoder::new(fs::File::create(&path).unwrap(), Compression::fast());
        gzip.write_all(text.as_bytes()).unwrap();
        gzip.finish().unwrap();
        path
    }

    fn source(&self, path: &str, more: &[(&str, &str)]) -> Arc<dyn SourceConnector> {
        source(&spec(&self.path(path), more)).unwrap()
    }
}

fn spec(path: &str, more: &[(&str, &str)]) -> ConnectorSpec {
    let mut options: BTreeMap<String, String> = more.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    options.insert("path".to_string(), path.to_string());
    ConnectorSpec {
        connector: "file".to_string(),
        options,
    }
}

/// Values and positions of a whole source, without the folder's name.
fn lines_of(source: &dyn SourceConnector) -> Vec<(String, i64, String)> {
    let from = source.resolve(&Start::Earliest).unwrap();
    let contents = read_all(source, &from, None, &Wanted::default(), 1000);
    let mut lines = Vec::new();
    for (id, records) in contents {
        let name = Path::new(&*id.0).file_name().unwrap().to_str().unwrap().to_string();
        for (position, text) in records {
            let value = text.strip_prefix("None Some(\"").and_then(|t| t.split_once("\") -1 "));
            lines.push((name.clone(), position, value.expect(&text).0.to_string()));
        }
    }
    lines
}

fn line(name: &str, position: i64, text: &str) -> (String, i64, String) {
    (name.to_string(), position, text.to_string())
}

fn numbered(range: std::ops::Range<usize>) -> String {
    range.map(|i| format!("{{\"n\":{i}}}\n")).collect()
}

#[test]
fn the_end_is_behind_a_last_line_without_end_unless_it_may_go_on() {
    let folder = Folder::new();
    folder.write("a.csv", "1,10\n2,20");
    folder.gzip("b.csv.gz", "1,10\n2,20");
    let ends = |path: &str, follow: &str| {
        let source = folder.source(path, &[("follow", follow)]);
        let until = source.resolve_bound(&Bound::Latest).unwrap().unwrap();
        let from = source.resolve(&Start::Earliest).unwrap();
        let read = read_all(source.as_ref(), &from, Some(&until), &Wanted::default(), 1000);
        let lines: usize = read.values().map(Vec::len).sum();
        (until.into_values().next(), lines)
    };
    assert_eq!(ends("a.csv", "false"), (Some(9), 2));
    assert_eq!(ends("b.csv.gz", "false"), (Some(9), 2));
    assert_eq!(ends("a.csv", "true"), (Some(5), 1));
}

#[test]
fn conforms() {
    let folder = Folder::new();
    folder.write("a.ndjson", &numbered(0..50));
    folder.write("b.ndjson", &(numbered(50..80) + "\r\n" + "no end"));
    folder.write("c.ndjson", "");
    folder.gzip("d.ndjson.gz", &numbered(100..200));
    let source = folder.source("*.ndjson*", &[]);
    assert_eq!(source.splits().unwrap().len(), 4);
    source_conformance(source.as_ref(), None, &Wanted::default());
    let until = source.resolve_bound(&Bound::Latest).unwrap().unwrap();
    source_conformance(source.as_ref(), Some(&until), &Wanted::default());

    let folder = Folder::new();
    folder.write("a.ndjson", &numbered(0..50));
    folder.write("b.ndjson", &numbered(50..80));
    let source = folder.source("*.ndjson", &[("follow", "true")]);
    source_conformance(source.as_ref(), None, &Wanted::default());
}

#[test]
fn lines_end_with_lf_or_crlf_or_the_file() {
    let folder = Folder::new();
    folder.write("a.csv", "h\r\n\r\none\r\ntwo\n\nthree");
    let lines = lines_of(folder.source("a.csv", &[]).as_ref());
    assert_eq!(
        lines,
        [
            line("a.csv", 0, "h"),
            line("a.csv", 5, "one"),
            line("a.csv", 10, "two"),
            line("a.csv", 15, "three")
        ]
    );
    let lines = lines_of(folder.source("a.csv", &[("file.skip_header", "true")]).as_ref());
    assert_eq!(lines.len(), 3);
    let lines = lines_of(folder.source("a.csv", &[("file.skip_blank", "false")]).as_ref());
    let texts: Vec<&str> = lines.iter().map(|(_, _, text)| text.as_str()).collect();
    assert_eq!(texts, ["h", "", "one", "two", "", "three"]);
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_line() {
    let folder = Folder::new();
    folder.write("a.csv", "\u{feff}one\n\u{feff}two\n");
    folder.gzip("b.csv.gz", "\u{feff}\n\u{feff}three\n");
    let lines = lines_of(folder.source("*.csv*", &[]).as_ref());
    assert_eq!(
        lines,
        [
            line("a.csv", 0, "one"),
            line("a.csv", 7, "\\u{feff}two"),
            line("b.csv.gz", 4, "\\u{feff}three")
        ]
    );
}

#[test]
fn a_header_is_skipped_in_every_file_and_only_at_its_beginning() {
    let folder = Folder::new();
    folder.write("a.csv", "name\n1\n2\n3\n");
    folder.gzip("b.csv.gz", "name\n4\n5\n6\n");
    let source = folder.source("*.csv*", &[("file.skip_header", "true")]);
    let texts: Vec<String> = lines_of(source.as_ref()).into_iter().map(|(_, _, text)| text).collect();
    assert_eq!(texts, ["1", "2", "3", "4", "5", "6"]);
    source_conformance(source.as_ref(), None, &Wanted::default());
}

#[test]
fn gzip_positions_are_those_of_the_text() {
    let folder = Folder::new();
    folder.gzip("a.ndjson.GZ", "one\ntwo\nthree\n");
    let source = folder.source("a.ndjson.GZ", &[]);
    assert_eq!(
        lines_of(source.as_ref()),
        [
            line("a.ndjson.GZ", 0, "one"),
            line("a.ndjson.GZ", 4, "two"),
            line("a.ndjson.GZ", 8, "three")
        ]
    );
    let id = source.splits().unwrap()[0].id.clone();
    assert_eq!(source.resolve(&Start::Latest).unwrap()[&id], 14);
    let error = folder
        .source("a.ndjson.GZ", &[("follow", "true")])
        .splits()
        .unwrap_err()
        .to_string();
    assert!(error.contains("compressed") && error.contains("follow"), "{error}");
    folder.write("broken.gz", "this is no gzip\n");
    let source = folder.source("broken.gz", &[]);
    let from = source.resolve(&Start::Earliest).unwrap();
    let mut reader = source.open(&from, None, &Wanted::default()).unwrap();
    assert!(reader.read(10, SOON).unwrap_err().to_string().contains("broken.gz"));
}

#[test]
fn lines_before_an_error_are_not_lost() {
    let folder = Folder::new();
    folder.write("a.ndjson", &numbered(0..20));
    // A compressed file whose end was cut off, and one that is whole.
    let text = numbered(0..20_000);
    let path = folder.gzip("b.ndjson.gz", &text);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    folder.write("c.ndjson", &numbered(0..20));
    let source = folder.source("*.ndjson*", &[]);
    let from = source.resolve(&Start::Earliest).unwrap();
    let mut reader = source.open(&from, None, &Wanted::default()).unwrap();
    let (mut next, mut rows) = (Positions::new(), 0);
    let error = loop {
        match reader.read(1000, SOON) {
            Ok(reads) => {
                for read in reads {
                    rows += read.payload.len();
                    assert!(
                        next.get(&read.split.id)
                            .is_none_or(|next| read.payload.position(0) >= *next)
                    );
                    next.insert(read.split.id.clone(), read.next);
                }
            }
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("b.ndjson.gz") && error.may_pass(), "{error}");
    assert_eq!(next[&split(&folder.path("a.ndjson")).id], numbered(0..20).len() as i64);
    // Once the file is whole again, it goes on where it stood.
    fs::write(&path, &bytes).unwrap();
    let at = next[&split(&path).id];
    assert!(
        rows > 5000 && text.as_bytes()[at as usize - 1] == b'\n',
        "{rows} rows, {next:?}"
    );
    while next.len() < 3 || next.values().sum::<i64>() < 2 * numbered(0..20).len() as i64 + text.len() as i64 {
        for read in reader.read(1000, SOON).unwrap() {
            rows += read.payload.len();
            next.insert(read.split.id.clone(), read.next);
        }
    }
    assert_eq!(rows, 20_040);
}

/// Reads a followed source until it has as many records.
fn read_until(reader: &mut dyn SourceReader, contents: &mut Contents, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while contents.values().map(Vec::len).sum::<usize>() < count {
        assert!(Instant::now() < deadline, "not in time: {contents:?}");
        for read in reader.read(100, SOON).unwrap() {
            assert!(!read.ended);
            let records = contents.entry(read.split.id.clone()).or_default();
            for (i, text) in texts(&read.payload).into_iter().enumerate() {
                records.push((read.payload.position(i), text));
            }
        }
    }
}

#[test]
fn followed_files_grow() {
    let folder = Folder::new();
    folder.write("a.log", "one\ntw");
    let source = folder.source("*.log", &[("follow", "true")]);
    let from = source.resolve(&Start::Earliest).unwrap();
    let mut reader = source.open(&from, None, &Wanted::default()).unwrap();
    let reads = reader.read(10, SOON).unwrap();
    assert_eq!(reads.len(), 1);
    assert_eq!((reads[0].payload.len(), reads[0].next), (1, 4));
    assert!(reads[0].at_end && !reads[0].ended);
    assert!(
        reader.read(10, SOON).unwrap().is_empty(),
        "an unfinished line is no record"
    );
    folder.append("a.log", "o\nthree\n");
    let mut contents = Contents::new();
    read_until(reader.as_mut(), &mut contents, 2);
    let a = split(&folder.path("a.log")).id;
    assert_eq!(
        contents[&a].iter().map(|(position, _)| *position).collect::<Vec<_>>(),
        [4, 8]
    );
    assert!(contents[&a][0].1.contains("\"two\""), "{contents:?}");

    folder.write("b.log", "new\n");
    read_until(reader.as_mut(), &mut contents, 3);
    assert!(contents.contains_key(&split(&folder.path("b.log")).id));
    let ends = reader.ends();
    assert_eq!(ends[&a], 14);
}

#[test]
fn followed_files_may_only_grow() {
    let folder = Folder::new();
    let path = folder.write("a.log", "one\ntwo\n");
    let source = folder.source("a.log", &[("follow", "true")]);
    let from = source.resolve(&Start::Earliest).unwrap();
    let open = |from: &Positions| source.open(from, None, &Wanted::default()).unwrap();
    let mut reader = open(&from);
    reader.read(10, SOON).unwrap();
    fs::write(&path, "one\n").unwrap();
    let error = reader.read(10, SOON).unwrap_err();
    assert!(
        error.to_string().contains("was truncated") && !error.may_pass(),
        "{error}"
    );
    assert!(reader.read(10, SOON).is_err(), "it stays so");

    // The same found when it is opened again.
    let behind = Positions::from([(split(&path).id, 8)]);
    let error = open(&behind).read(10, SOON).unwrap_err();
    assert!(error.to_string().contains("was truncated"), "{error}");

    let mut reader = open(&from);
    reader.read(10, SOON).unwrap();
    fs::remove_file(&path).unwrap();
    folder.write("other", "one\ntwo\nthree\n");
    fs::rename(folder.path("other"), &path).unwrap();
    let error = reader.read(10, SOON).unwrap_err();
    assert!(error.to_string().contains("was replaced"), "{error}");
}

#[test]
fn a_followed_file_is_known_again() {
    let folder = Folder::new();
    let path = folder.write("a.log", "one\ntwo\nth");
    let source = folder.source("a.log", &[("follow", "true")]);
    let from = source.resolve(&Start::Earliest).unwrap();
    let open = |from: &Positions| source.open(from, None, &Wanted::default()).unwrap();
    let changed = |reader: &mut dyn SourceReader| {
        let error = reader.read(10, SOON).unwrap_err();
        assert!(!error.may_pass(), "{error}");
        error.to_string()
    };

    // It was truncated and has grown again, beyond what was read of it, before it is looked at.
    let mut reader = open(&from);
    let read = reader.read(10, SOON).unwrap().remove(0);
    assert_eq!(read.next, 8);
    let marks = Marks::from([(split(&path).id, read.mark.unwrap())]);
    source.recognise(&marks).unwrap();
    fs::write(&path, "won\ntoo\nthree\n").unwrap();
    let words = changed(reader.as_mut());
    assert!(
        words.contains("a.log' was changed") && words.contains("may only grow"),
        "{words}"
    );
    // Who opens it again knows it too, though lines begin at the same places.
    let words = source.recognise(&marks).unwrap_err().to_string();
    assert!(words.contains("was changed") && words.contains("byte 8"), "{words}");
    fs::write(&path, "one\n").unwrap();
    assert!(
        source
            .recognise(&marks)
            .unwrap_err()
            .to_string()
            .contains("was truncated")
    );

    // What is read of an unfinished line counts too.
    fs::write(&path, "one\ntwo\nthr").unwrap();
    source.recognise(&marks).unwrap();
    let mut reader = open(&from);
    reader.read(10, SOON).unwrap();
    fs::write(&path, "one\ntwo\nfour and five\n").unwrap();
    source.recognise(&marks).unwrap();
    assert!(changed(reader.as_mut()).contains("was changed"));

    // Where nothing is known of what was read, at least a line has to begin there.
    let behind = Positions::from([(split(&path).id, 6)]);
    let words = changed(open(&behind).as_mut());
    assert!(
        words.contains("byte 6") && words.contains("middle of a line"),
        "{words}"
    );
}

#[test]
fn a_long_line_is_an_error_with_its_place() {
    let folder = Folder::new();
    let mut text = "short\n".to_string();
    text.push_str(&"x".repeat(lines::MAX_LINE));
    folder.write("a.txt", &(text.clone() + "\n"));
    let source = folder.source("a.txt", &[]);
    let from = source.resolve(&Start::Earliest).unwrap();
    let mut reader = source.open(&from, None, &Wanted::default()).unwrap();
    let reads = reader.read(10, SOON).unwrap();
    let Payload::Records(records) = &reads[0].payload else {
        panic!("rows from a file")
    };
    assert_eq!(records.values.value(1).len(), lines::MAX_LINE);

    text.push_str("yy\nlast\n");
    folder.write("b.txt", &text);
    let source = folder.source("b.txt", &[]);
    let from = source.resolve(&Start::Earliest).unwrap();
    let mut reader = source.open(&from, None, &Wanted::default()).unwrap();
    let error = loop {
        match reader.read(1, SOON) {
            Ok(reads) => assert!(reads.iter().all(|read| !read.ended)),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("byte 6") && error.contains("64 MiB"), "{error}");
}

#[test]
fn what_cannot_be_read_is_named() {
    let folder = Folder::new();
    let error = |path: &str, more: &[(&str, &str)]| folder.source(path, more).splits().unwrap_err().to_string();
    assert!(error("missing.csv", &[]).contains("missing.csv"));
    assert!(error("*.csv", &[]).contains("no file matches"));
    assert!(
        folder
            .source("*.csv", &[("follow", "true")])
            .splits()
            .unwrap()
            .is_empty()
    );
    let words = error("", &[]);
    assert!(words.contains("is a directory") && words.contains("/*'"), "{words}");
    let refused = |more: &[(&str, &str)]| source(&spec("x", more)).err().unwrap().to_string();
    let words = refused(&[("folow", "true")]);
    assert!(words.contains("'folow'") && words.contains("follow"), "{words}");
    assert!(refused(&[("follow", "yes")]).contains("neither"));
    assert!(source(&spec("", &[])).err().unwrap().to_string().contains("path"));
    let file = folder.write("a.csv", "1\n2\n");
    let source = folder.source("a.csv", &[]);
    assert!(
        source
            .resolve(&Start::Group)
            .unwrap_err()
            .to_string()
            .contains("not supported")
    );
    assert!(source.resolve_bound(&Bound::Timestamp(1)).is_err());
    let wrong = BTreeMap::from([(split("other").id, 0)]);
    assert!(source.resolve(&Start::Offsets(wrong)).is_err());
    let beyond = Positions::from([(split(&file).id, 9)]);
    let mut reader = source
        .open(&Positions::new(), Some(&beyond), &Wanted::default())
        .unwrap();
    assert_eq!(reader.read(10, SOON).unwrap()[0].payload.len(), 2);
    assert!(
        reader
            .read(10, SOON)
            .unwrap_err()
            .to_string()
            .contains("ends before byte 9")
    );
}

fn sink_spec(path: &str, kind: EncodingKind, envelope: Envelope, more: &[(&str, &str)]) -> SinkSpec {
    let options = match kind {
        EncodingKind::Csv => BTreeMap::from([("header".to_string(), "true".to_string())]),
        _ => BTreeMap::new(),
    };
    SinkSpec {
        name: "s".to_string(),
        connector: spec(path, more),
        format: SinkFormat {
            envelope,
            value: Encoding { kind, options },
            key: None,
        },
        schema: schema(),
        key: vec![0],
    }
}

fn schema() -> arrow::datatypes::SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Utf8, true),
        Field::new("n", DataType::Int64, true),
    ]))
}

fn changes(rows: &[(&str, i64, i64)]) -> ChangeBatch {
    let keys = StringArray::from_iter_values(rows.iter().map(|(key, _, _)| *key));
    let numbers = Int64Array::from_iter_values(rows.iter().map(|(_, number, _)| *number));
    let batch = RecordBatch::try_new(schema(), vec![Arc::new(keys), Arc::new(numbers)]).unwrap();
    ChangeBatch::new(
        batch,
        Weights::Each(rows.iter().map(|(_, _, weight)| *weight).collect()),
    )
}

#[test]
fn a_sink_appends_lines() {
    let folder = Folder::new();
    let path = folder.path("out.ndjson");
    let open = || sink(&sink_spec(&path, EncodingKind::Json, Envelope::Plain, &[])).unwrap();
    let mut sink = open();
    sink.deliver(1, &[changes(&[("a", 1, 1), ("b", 2, 2)])]).unwrap();
    assert_eq!(sink.rows_delivered(), 3);
    let error = sink
        .deliver(2, &[changes(&[("c", 1, 1), ("a", 1, -1)])])
        .unwrap_err()
        .to_string();
    assert!(error.contains("force_append_only"), "{error}");
    drop(sink);
    let three = "{\"k\":\"a\",\"n\":1}\n{\"k\":\"b\",\"n\":2}\n{\"k\":\"b\",\"n\":2}\n";
    assert_eq!(fs::read_to_string(&path).unwrap(), three);
    // What a crash left of a delivery is cut off; the delivery comes again.
    folder.append("out.ndjson", "{\"k\":\"c\",\"n");
    open().deliver(2, &[changes(&[("c", 3, 1)])]).unwrap();
    let four = format!("{three}{{\"k\":\"c\",\"n\":3}}\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), four);
}

#[test]
fn a_csv_sink_writes_its_header_once() {
    let folder = Folder::new();
    let path = folder.path("out.csv");
    let options = [("force_append_only", "true")];
    let open = || sink(&sink_spec(&path, EncodingKind::Csv, Envelope::Plain, &options)).unwrap();
    open().deliver(1, &[]).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "");
    let mut sink = open();
    sink.deliver(1, &[changes(&[("a,b", 1, 1), ("gone", 1, -1)])]).unwrap();
    assert_eq!((sink.rows_delivered(), sink.deletes_dropped()), (1, 1));
    open().deliver(2, &[changes(&[("c", 2, 1)])]).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "k,n\n\"a,b\",1\nc,2\n");
    let error = open()
        .deliver(3, &[changes(&[("two\nlines", 2, 1)])])
        .unwrap_err()
        .to_string();
    assert!(error.contains("line break") && error.contains("JSON"), "{error}");
}

#[test]
fn a_sink_refuses_what_a_file_cannot_be() {
    let folder = Folder::new();
    let refused = |path: &str, kind, envelope, more: &[(&str, &str)]| {
        sink(&sink_spec(&folder.path(path), kind, envelope, more))
            .err()
            .expect("an error")
            .to_string()
    };
    let words = refused("x", EncodingKind::Json, Envelope::Upsert, &[]);
    assert!(words.contains("FORMAT PLAIN"), "{words}");
    assert!(refused("x", EncodingKind::Text, Envelope::Plain, &[]).contains("JSON or CSV"));
    assert!(refused("no/such/folder", EncodingKind::Json, Envelope::Plain, &[]).contains("no/such/folder"));
    assert!(refused("", EncodingKind::Json, Envelope::Plain, &[]).contains("directory"));
    assert!(refused("x", EncodingKind::Json, Envelope::Plain, &[("pth", "x")]).contains("'pth'"));
}
