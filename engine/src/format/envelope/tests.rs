//! PLAIN and UPSERT, case by case.

use arrow::array::{Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema};

use super::*;
use crate::change::Weights;
use crate::connector::ConnectorSpec;
use crate::format::SinkFormat;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Utf8, true),
        Field::new("n", DataType::Int64, true),
    ]))
}

fn encoding(kind: EncodingKind) -> Encoding {
    Encoding {
        kind,
        options: Default::default(),
    }
}

fn spec(envelope: Envelope, key: &[usize], key_encoding: Option<EncodingKind>, options: &[(&str, &str)]) -> SinkSpec {
    let options = options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    SinkSpec {
        name: "out".to_string(),
        connector: ConnectorSpec {
            connector: "kafka".to_string(),
            options,
        },
        format: SinkFormat {
            envelope,
            value: encoding(EncodingKind::Json),
            key: key_encoding.map(encoding),
        },
        schema: schema(),
        key: key.to_vec(),
    }
}

fn changes(rows: &[(Option<&str>, i64, i64)]) -> ChangeBatch {
    let keys: StringArray = rows.iter().map(|(key, _, _)| *key).collect();
    let numbers = Int64Array::from_iter_values(rows.iter().map(|(_, number, _)| *number));
    let batch = RecordBatch::try_new(schema(), vec![Arc::new(keys), Arc::new(numbers)]).unwrap();
    ChangeBatch::new(
        batch,
        Weights::Each(rows.iter().map(|(_, _, weight)| *weight).collect()),
    )
}

fn written(writer: &mut dyn EnvelopeWriter, changes: &[ChangeBatch]) -> Vec<String> {
    let mut out = Vec::new();
    writer.write(changes, &mut out).unwrap();
    let text = |bytes: Option<Vec<u8>>| bytes.map_or("-".to_string(), |b| String::from_utf8(b).unwrap());
    out.into_iter()
        .map(|record| format!("{} {}", text(record.key), text(record.value)))
        .collect()
}

#[test]
fn plain_writes_each_insert_in_order() {
    let mut writer = writer(&spec(Envelope::Plain, &[], None, &[])).unwrap();
    let batches = [
        changes(&[(Some("b"), 1, 1), (Some("a"), 2, 2)]),
        changes(&[(None, 3, 1)]),
    ];
    assert_eq!(
        written(writer.as_mut(), &batches),
        [
            r#"- {"k":"b","n":1}"#,
            r#"- {"k":"a","n":2}"#,
            r#"- {"k":"a","n":2}"#,
            r#"- {"k":null,"n":3}"#,
        ]
    );
    assert!(written(writer.as_mut(), &[]).is_empty());
}

#[test]
fn plain_refuses_deletes_that_remain() {
    let mut writer = writer(&spec(Envelope::Plain, &[], None, &[])).unwrap();
    // What is inserted and deleted within one delivery never was.
    let batches = [
        changes(&[(Some("a"), 1, 1), (Some("b"), 1, 1)]),
        changes(&[(Some("a"), 1, -1)]),
    ];
    assert_eq!(written(writer.as_mut(), &batches), [r#"- {"k":"b","n":1}"#]);
    let error = writer
        .write(&[changes(&[(Some("a"), 1, -2)])], &mut Vec::new())
        .unwrap_err();
    let words = error.to_string();
    assert!(words.contains("'out'") && words.contains("FORMAT UPSERT") && words.contains("force_append_only"));
    assert!(!error.may_pass());
}

#[test]
fn force_append_only_counts_what_it_drops() {
    let options = [("force_append_only", "true")];
    let mut writer = writer(&spec(Envelope::Plain, &[0], None, &options)).unwrap();
    let batch = changes(&[(Some("a"), 1, -1), (Some("a"), 2, 1), (Some("b"), 1, -2)]);
    assert_eq!(written(writer.as_mut(), &[batch]), [r#"a {"k":"a","n":2}"#]);
    assert_eq!(writer.deletes_dropped(), 3);
    assert_eq!(written(writer.as_mut(), &[changes(&[(Some("c"), 1, 1)])]).len(), 1);
    assert_eq!(writer.deletes_dropped(), 0);
}

#[test]
fn upsert_writes_the_last_state_of_each_key_also_of_those_that_came_and_went() {
    let mut writer = writer(&spec(Envelope::Upsert, &[0], None, &[])).unwrap();
    let batches = [
        changes(&[(Some("new"), 1, 1), (Some("changed"), 1, -1), (Some("gone"), 5, -1)]),
        changes(&[(Some("changed"), 2, 1), (Some("brief"), 1, 1)]),
        changes(&[
            (Some("brief"), 1, -1),
            (Some("changed"), 2, -1),
            (Some("changed"), 3, 1),
        ]),
    ];
    assert_eq!(
        written(writer.as_mut(), &batches),
        [
            r#"new {"k":"new","n":1}"#,
            r#"changed {"k":"changed","n":3}"#,
            "gone -",
            "brief -"
        ]
    );
    assert!(written(writer.as_mut(), &[]).is_empty());
}

#[test]
fn upsert_refuses_a_key_that_is_not_unique() {
    for rows in [
        &[(Some("a"), 1, 1), (Some("a"), 2, 1)][..],
        &[(Some("a"), 1, 2)],
        &[(Some("a"), 0, -1), (Some("a"), 1, 1), (Some("a"), 2, 1)],
    ] {
        let mut writer = writer(&spec(Envelope::Upsert, &[0], None, &[])).unwrap();
        let words = writer.write(&[changes(rows)], &mut Vec::new()).unwrap_err().to_string();
        assert!(words.contains("'k' is not unique"), "{words}");
    }
}

#[test]
fn keys_are_text_or_json() {
    let batch = || [changes(&[(Some("a"), 1, 1)])];
    let mut one = writer(&spec(Envelope::Upsert, &[1], None, &[])).unwrap();
    assert_eq!(written(one.as_mut(), &batch()), [r#"1 {"k":"a","n":1}"#]);
    let mut two = writer(&spec(Envelope::Upsert, &[1, 0], None, &[])).unwrap();
    assert_eq!(written(two.as_mut(), &batch()), [r#"{"n":1,"k":"a"} {"k":"a","n":1}"#]);
    let json = Some(EncodingKind::Json);
    let mut json = writer(&spec(Envelope::Plain, &[0], json, &[])).unwrap();
    let batch = [changes(&[(Some("a"), 1, 1), (None, 2, 1)])];
    assert_eq!(
        written(json.as_mut(), &batch),
        [r#"{"k":"a"} {"k":"a","n":1}"#, r#"{"k":null} {"k":null,"n":2}"#]
    );
    let mut text = writer(&spec(Envelope::Plain, &[0], None, &[])).unwrap();
    let words = text.write(&batch, &mut Vec::new()).unwrap_err().to_string();
    assert!(
        words.contains("'k' is NULL") && words.contains("KEY ENCODE JSON"),
        "{words}"
    );
}

/// What it would write, an UPSERT source would not take.
#[test]
fn upsert_refuses_a_key_that_is_null() {
    for encoding in [EncodingKind::Json, EncodingKind::Text] {
        let mut writer = writer(&spec(Envelope::Upsert, &[0], Some(encoding), &[])).unwrap();
        let batch = [changes(&[(Some("a"), 1, 1), (None, 2, 1)])];
        let mut out = Vec::new();
        let words = writer.write(&batch, &mut out).unwrap_err().to_string();
        assert!(words.contains("'k' is NULL") && words.contains("coalesce"), "{words}");
        assert!(out.is_empty());
        // With the row gone again it goes on.
        let batch = [batch[0].clone(), changes(&[(None, 2, -1)])];
        assert_eq!(written(writer.as_mut(), &batch).len(), 1);
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    let refused = |spec: SinkSpec| writer(&spec).err().expect("an error").to_string();
    assert!(refused(spec(Envelope::Upsert, &[], None, &[])).contains("needs key"));
    let force = [("force_append_only", "true")];
    assert!(refused(spec(Envelope::Upsert, &[0], None, &force)).contains("FORMAT PLAIN"));
    let text = Some(EncodingKind::Text);
    assert!(refused(spec(Envelope::Upsert, &[0, 1], text, &[])).contains("KEY ENCODE JSON"));
    assert!(refused(spec(Envelope::Plain, &[], text, &[])).contains("needs key"));
    let wrong = [("force_append_only", "yes")];
    assert!(refused(spec(Envelope::Plain, &[], None, &wrong)).contains("neither"));
}
