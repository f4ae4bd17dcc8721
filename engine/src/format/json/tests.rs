//! What the JSON format promises, by example and by generated documents.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::util::display::array_value_to_string;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::format::options::Options;
use crate::format::samples::{self, Draw, schema};
use crate::format::{Decoded, Others, json};

fn decode(schema: &SchemaRef, records: &[&str]) -> Decoded {
    let mut decoder = json::decoder(&Options::new(), schema, schema, Others::Passed).unwrap();
    decoder.decode(&BinaryArray::from_iter_values(records)).unwrap()
}

/// The only value of a column of `data_type` made from `value`, as text; or the error.
fn one(data_type: DataType, value: &str) -> Result<String, String> {
    one_with(&[], data_type, value)
}

fn one_with(options: &[(&str, &str)], data_type: DataType, value: &str) -> Result<String, String> {
    let schema = schema(&[("v", data_type)]);
    let options = options
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let mut decoder = json::decoder(&options, &schema, &schema, Others::Passed).unwrap();
    let record = format!("{{\"v\":{value}}}");
    let decoded = decoder.decode(&BinaryArray::from_iter_values([&record])).unwrap();
    match decoded.errors.first() {
        Some(error) => {
            assert!(decoded.columns[0].is_null(0));
            Err(error.cause.clone())
        }
        None if decoded.columns[0].is_null(0) => Ok("NULL".to_owned()),
        None => Ok(array_value_to_string(&decoded.columns[0], 0).unwrap()),
    }
}

fn struct_of(columns: &[(&str, DataType)]) -> DataType {
    DataType::Struct(schema(columns).fields().clone())
}

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, true)))
}

fn map_of(value: DataType) -> DataType {
    let pair = vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", value, true),
    ];
    DataType::Map(
        Arc::new(Field::new("entries", DataType::Struct(pair.into()), false)),
        false,
    )
}

fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

#[test]
fn records_fill_columns_by_name() {
    let columns = schema(&[("id", DataType::Int64), ("name", DataType::Utf8), ("at", timestamp())]);
    let decoded = decode(
        &columns,
        &[
            r#"{"id":1,"name":"a\n","at":"2024-01-01T00:00:00Z"}"#,
            r#" { "at" : 1704067200000 , "other":[1,{"id":9}], "id" : 2 } "#,
            r#"{"name":null,"id":3,"new":"x"}"#,
            r#"{}"#,
        ],
    );
    assert!(decoded.errors.is_empty(), "{:?}", decoded.errors);
    assert_eq!(
        decoded.columns[0]
            .as_primitive::<Int64Type>()
            .iter()
            .collect::<Vec<_>>(),
        [Some(1), Some(2), Some(3), None]
    );
    assert_eq!(
        decoded.columns[1].as_string::<i32>(),
        &StringArray::from(vec![Some("a\n"), None, None, None])
    );
    let day = 1_704_067_200_000_000;
    let at = decoded.columns[2].as_primitive::<TimestampMicrosecondType>();
    assert_eq!(at.iter().collect::<Vec<_>>(), [Some(day), Some(day), None, None]);
}

#[test]
fn a_bad_record_disturbs_no_other() {
    let columns = schema(&[
        ("a", DataType::Int64),
        (
            "s",
            struct_of(&[("x", list_of(DataType::Int64)), ("y", DataType::Utf8)]),
        ),
        ("m", map_of(DataType::Int64)),
    ]);
    let good = r#"{"a":1,"s":{"x":[1,2],"y":"q"},"m":{"k":5}}"#;
    let bad = [
        r#"{"a":7,"s":{"x":[1,"z"],"y":"q"}}"#,
        r#"{"a":7,"s":{"x":[1,2],"y":"q"},"m":{"k":5,"l":true}}"#,
        r#"{"a":7,"m":{"k":5}"#,
        r#"{"a":7} {}"#,
    ];
    let records: Vec<_> = bad.iter().flat_map(|bad| [good, bad]).chain([good]).collect();
    let decoded = decode(&columns, &records);
    let causes: Vec<_> = decoded.errors.iter().map(|error| error.cause.as_str()).collect();
    assert_eq!(
        causes,
        [
            "not the JSON declared: field 's.x[1]', byte 20: 'z' is no BIGINT: it is not a number",
            "not the JSON declared: field 'm.l', byte 46: expected BIGINT, found true",
            "not the JSON declared: byte 18: expected ',' or '}', found the end",
            "not the JSON declared: byte 8: expected nothing after the value, found '{'",
        ]
    );
    assert_eq!(
        decoded.errors.iter().map(|error| error.index).collect::<Vec<_>>(),
        [1, 3, 5, 7]
    );
    let alone = decode(&columns, &[good]);
    for (column, expected) in decoded.columns.iter().zip(&alone.columns) {
        for row in 0..records.len() {
            if row % 2 == 0 {
                assert_eq!(&column.slice(row, 1), expected);
            } else {
                assert!(column.is_null(row));
            }
        }
    }
}

#[test]
fn tombstones_are_null_without_error() {
    let columns = schema(&[("a", DataType::Int64)]);
    let mut decoder = json::decoder(&Options::new(), &columns, &columns, Others::Passed).unwrap();
    let decoded = decoder
        .decode(&BinaryArray::from_opt_vec(vec![None, Some(b"{\"a\":1}"), Some(b"")]))
        .unwrap();
    assert_eq!(decoded.columns[0].null_count(), 2);
    assert_eq!(decoded.errors.len(), 1);
    assert_eq!(
        decoded.errors[0].cause,
        "not the JSON declared: byte 0: expected an object, found the end"
    );
}

#[test]
fn names_match_exactly_first_then_in_any_case() {
    let columns = schema(&[
        ("userid", DataType::Int64),
        ("Id", DataType::Int64),
        ("id", DataType::Int64),
    ]);
    let decoded = decode(
        &columns,
        &[
            r#"{"userId":1,"id":2,"Id":3,"ID":4}"#,
            r#"{"userid":1,"USERID":2}"#,
            r#"{"USERID":2,"userid":1}"#,
            r#"{"USERID":1,"userID":2,"us\u0065rId":3}"#,
            r#"{"userid":1,"us\u0065rid":2}"#,
        ],
    );
    let values = |i: usize| {
        decoded.columns[i]
            .as_primitive::<Int64Type>()
            .iter()
            .collect::<Vec<_>>()
    };
    assert_eq!(values(0), [Some(1), Some(1), Some(1), Some(3), Some(2)]);
    assert_eq!(values(1)[0], Some(3));
    assert_eq!(values(2)[0], Some(2));

    // Which columns are wanted must not change what they hold.
    let wanted = schema(&[("Id", DataType::Int64)]);
    let mut decoder = json::decoder(&Options::new(), &columns, &wanted, Others::Passed).unwrap();
    let decoded = decoder
        .decode(&BinaryArray::from_iter_values([r#"{"id":2}"#, r#"{"ID":4}"#]))
        .unwrap();
    assert_eq!(
        decoded.columns[0]
            .as_primitive::<Int64Type>()
            .iter()
            .collect::<Vec<_>>(),
        [None, Some(4)]
    );
}

#[test]
fn of_equal_names_the_last_wins() {
    let columns = schema(&[("v", list_of(DataType::Utf8)), ("n", DataType::Int64)]);
    let decoded = decode(
        &columns,
        &[r#"{"v":["a","b"],"n":1,"v":["c"],"n":null}"#, r#"{"v":["d"]}"#],
    );
    assert_eq!(array_value_to_string(&decoded.columns[0], 0).unwrap(), "[c]");
    assert_eq!(array_value_to_string(&decoded.columns[0], 1).unwrap(), "[d]");
    assert!(decoded.columns[1].is_null(0));

    let columns = schema(&[("m", map_of(DataType::Int64))]);
    let many: Vec<_> = (0..40).map(|i| format!("\"k{}\":{i}", i % 20)).collect();
    let decoded = decode(
        &columns,
        &[
            r#"{"m":{"a":1,"\u0061":2,"b":3}}"#,
            &format!("{{\"m\":{{{}}}}}", many.join(",")),
        ],
    );
    assert_eq!(array_value_to_string(&decoded.columns[0], 0).unwrap(), "{a: 2, b: 3}");
    let large = decoded.columns[0].as_map().value(1);
    assert_eq!(large.len(), 20);
    assert_eq!(
        large.column(1).as_primitive::<Int64Type>().values()[..],
        (20..40).collect::<Vec<_>>()
    );
}

#[test]
fn field_order_may_change_and_keys_may_be_many() {
    let columns = schema(&[("a", DataType::Int64), ("b", DataType::Int64)]);
    let records: Vec<String> = (0..3_000)
        .map(|i| match i % 3 {
            0 => format!("{{\"a\":{i},\"unknown{i}\":[],\"b\":1}}"),
            1 => format!("{{\"b\":1,\"a\":{i}}}"),
            _ => format!("{{\"b\":1,\"x\":{{\"a\":0}},\"a\":{i}}}"),
        })
        .collect();
    let decoded = decode(&columns, &records.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(decoded.errors.is_empty());
    assert!(
        decoded.columns[0]
            .as_primitive::<Int64Type>()
            .values()
            .iter()
            .copied()
            .eq(0..3_000)
    );
    assert_eq!(decoded.columns[1].null_count(), 0);
}

#[test]
fn numbers() {
    assert_eq!(
        one(DataType::Int64, "-9223372036854775808"),
        Ok("-9223372036854775808".into())
    );
    assert_eq!(one(DataType::Int16, "\" 12 \""), Ok("12".into()));
    assert_eq!(one(DataType::Int32, "4.0"), Ok("4".into()));
    assert_eq!(
        one(DataType::Int16, "40000"),
        Err("not the JSON declared: field 'v', byte 5: '40000' is no SMALLINT: it is out of range".into())
    );
    assert_eq!(
        one(DataType::Int64, "9223372036854775808"),
        Err("not the JSON declared: field 'v', byte 5: '9223372036854775808' is no BIGINT: it is out of range".into())
    );
    assert_eq!(one(DataType::Float64, "0.1"), Ok("0.1".into()));
    assert_eq!(one(DataType::Float64, "\"-Infinity\""), Ok("-inf".into()));
    assert!(one(DataType::Float64, "1e400").is_err());
    assert_eq!(one(DataType::Decimal128(5, 2), "123.450"), Ok("123.45".into()));
    assert_eq!(one(DataType::Decimal128(38, 0), &"9".repeat(38)), Ok("9".repeat(38)));
    let refused = one(DataType::Decimal128(5, 2), "1.234").unwrap_err();
    assert!(refused.ends_with("'1.234' is no DECIMAL(5,2): it has more digits after the point than the type"));
    assert!(
        one(DataType::Decimal128(5, 2), "1000")
            .unwrap_err()
            .ends_with("it is out of range")
    );
    for bad in [
        "01", "1.", "0x10", "+1", "1_000", "--1", "\"\"", "\"1x\"", "[]", "{}", "true", "NaN",
    ] {
        for data_type in [
            DataType::Int64,
            DataType::Float64,
            DataType::Decimal128(9, 2),
            DataType::UInt8,
        ] {
            assert!(one(data_type, bad).is_err(), "{bad}");
        }
    }
}

#[test]
fn text_takes_anything() {
    for (given, text) in [
        ("\"a\\u0000\\ud83d\\ude00\"", "a\u{0}😀"),
        ("1.50", "1.50"),
        ("false", "false"),
        ("{ \"a\": [1, \"\\n\"]}", "{ \"a\": [1, \"\\n\"]}"),
        ("[]", "[]"),
        ("null", "NULL"),
    ] {
        assert_eq!(one(DataType::Utf8, given), Ok(text.to_owned()));
    }
    assert!(one(DataType::Utf8, "\"\\ud83d\"").is_err());
    assert!(one(DataType::Utf8, "[1,]").is_err());
}

#[test]
fn other_types() {
    assert_eq!(one(DataType::Boolean, "true"), Ok("true".into()));
    assert_eq!(one(DataType::Boolean, "\"No\""), Ok("false".into()));
    assert!(one(DataType::Boolean, "1").is_err());
    assert_eq!(one(DataType::Binary, "\"AP8=\""), Ok("00ff".into()));
    assert!(one(DataType::Binary, "\"AP8!\"").is_err());
    assert_eq!(one(DataType::Date32, "\"2024-02-29\""), Ok("2024-02-29".into()));
    assert!(
        one(DataType::Date32, "19782")
            .unwrap_err()
            .ends_with("a date is written 'YYYY-MM-DD'")
    );
    assert_eq!(
        one(DataType::Time64(TimeUnit::Microsecond), "\"07:30:00.5\""),
        Ok("07:30:00.500".into())
    );
    let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    assert_eq!(
        one(zoned, "\"2024-02-29T12:00:00+02:00\""),
        Ok("2024-02-29T10:00:00Z".into())
    );
    assert_eq!(
        one(timestamp(), "\"2024-02-29 12:00:00.123\""),
        Ok("2024-02-29T12:00:00.123".into())
    );
    for (unit, number) in [
        ("s", "1704067200.5"),
        ("ms", "1704067200500"),
        ("us", "1704067200500000"),
        ("ns", "1704067200500000999"),
    ] {
        assert_eq!(
            one_with(&[("timestamp.unit", unit)], timestamp(), number),
            Ok("2024-01-01T00:00:00.500".into())
        );
    }
    assert!(one(timestamp(), "1e40").is_err());
    assert_eq!(
        one(list_of(struct_of(&[("a", DataType::Int64)])), "[{\"a\":1},null,{}]"),
        Ok("[{a: 1}, , {a: }]".into())
    );
    assert!(
        one(list_of(DataType::Int64), "{}")
            .unwrap_err()
            .ends_with("expected BIGINT[], found an object")
    );
    assert!(
        one(map_of(DataType::Int64), "[]")
            .unwrap_err()
            .ends_with("expected MAP(TEXT, BIGINT), found an array")
    );
}

#[test]
fn what_is_not_null_inside_a_column_is_checked() {
    let strict = DataType::Struct(vec![Field::new("a", DataType::Int64, false)].into());
    assert_eq!(one(strict.clone(), "{\"a\":1}"), Ok("{a: 1}".into()));
    assert_eq!(one(strict.clone(), "null"), Ok("NULL".into()));
    for bad in ["{}", "{\"a\":null}"] {
        assert!(one(strict.clone(), bad).unwrap_err().contains("field 'v.a'"));
    }
    let list = DataType::List(Arc::new(Field::new("item", DataType::Int64, false)));
    assert!(one(list, "[1,null]").unwrap_err().contains("field 'v[1]'"));
}

#[test]
fn bad_utf_8_is_found() {
    let columns = schema(&[("a", DataType::Utf8)]);
    let mut decoder = json::decoder(&Options::new(), &columns, &columns, Others::Passed).unwrap();
    let decoded = decoder
        .decode(&BinaryArray::from_iter_values([&b"{\"a\":\"x\xff\"}"[..]]))
        .unwrap();
    assert_eq!(
        decoded.errors[0].cause,
        "not the JSON declared: byte 7: the record is not valid UTF-8"
    );
}

#[test]
fn options_are_known_or_refused() {
    let columns = schema(&[("a", DataType::Int64)]);
    let with = |name: &str, value: &str| Options::from([(name.to_owned(), value.to_owned())]);
    let error = |options: &Options| {
        json::decoder(options, &columns, &columns, Others::Passed)
            .err()
            .unwrap()
            .to_string()
    };
    assert_eq!(
        error(&with("delimiter", ",")),
        "unknown option 'delimiter' of ENCODE JSON; known: timestamp.unit"
    );
    assert_eq!(
        error(&with("timestamp.unit", "h")),
        "option 'timestamp.unit' of ENCODE JSON is 's', 'ms', 'us' or 'ns', not 'h'"
    );
    let odd = schema(&[("a", DataType::Decimal256(40, 2))]);
    assert!(
        json::decoder(&Options::new(), &odd, &odd, Others::Passed)
            .err()
            .unwrap()
            .to_string()
            .contains("column 'a'")
    );
    assert!(
        json::encoder(&Options::new(), &odd)
            .err()
            .unwrap()
            .to_string()
            .contains("column 'a'")
    );
}

fn encode(rows: &RecordBatch) -> Vec<String> {
    let (mut out, mut ends) = (b"kept".to_vec(), Vec::new());
    json::encoder(&Options::new(), &rows.schema())
        .unwrap()
        .encode(rows, &mut out, &mut ends)
        .unwrap();
    assert_eq!(ends.len(), rows.num_rows());
    let mut start = 4;
    let record = |end| String::from_utf8(out[std::mem::replace(&mut start, end)..end].to_vec()).unwrap();
    ends.into_iter().map(record).collect()
}

#[test]
fn rows_are_written_as_objects() {
    let columns = schema(&[
        ("i", DataType::Int64),
        ("f", DataType::Float64),
        ("d", DataType::Decimal128(9, 2)),
        ("t", DataType::Utf8),
        ("b", DataType::Binary),
        ("at", timestamp()),
        ("l", list_of(struct_of(&[("a", DataType::Int64)]))),
        ("m", map_of(DataType::Boolean)),
    ]);
    let text = r#"{"i":-5,"f":0.1,"d":1.50,"t":"é\"\\\n\u0001\u007f","b":"AP8=","at":"2024-01-01T00:00:00.25Z","l":[{"a":1},null],"m":{"k\"":true}}"#;
    let text = text.replace("\\u007f", "\u{7f}");
    let nulls = r#"{"i":null,"f":"NaN","d":null,"t":null,"b":null,"at":null,"l":null,"m":null}"#;
    let decoded = decode(&columns, &[&text, nulls]);
    assert!(decoded.errors.is_empty(), "{:?}", decoded.errors);
    assert_eq!(
        encode(&RecordBatch::try_new(columns, decoded.columns).unwrap()),
        [text.as_str(), nulls]
    );
}

#[test]
fn kindred_types_are_written_too() {
    let text = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let columns: Vec<ArrayRef> = vec![
        arrow::compute::cast(&StringArray::from(vec!["x"]), &text).unwrap(),
        arrow::compute::cast(&StringArray::from(vec!["y"]), &DataType::Utf8View).unwrap(),
        Arc::new(arrow::array::TimestampNanosecondArray::from(vec![1_999])),
        Arc::new(arrow::array::NullArray::new(1)),
    ];
    let rows = RecordBatch::try_from_iter(["a", "b", "c", "d"].into_iter().zip(columns)).unwrap();
    assert_eq!(
        encode(&rows),
        [r#"{"a":"x","b":"y","c":"1970-01-01T00:00:00.000001Z","d":null}"#]
    );
}

/// A JSON value for one of the columns of [`agreement_schema`], mostly of the right type.
fn field() -> impl Strategy<Value = (String, Value)> {
    let anything = || {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((".{0,3}", inner), 0..4).prop_map(|pairs| pairs.into_iter().collect()),
            ]
        })
    };
    prop_oneof![
        any::<i64>().prop_map(|value| ("int".to_owned(), value.into())),
        any::<f64>().prop_map(|value| ("float".to_owned(), value.into())),
        any::<String>().prop_map(|value| ("text".to_owned(), value.into())),
        (
            any::<Option<i64>>(),
            proptest::collection::vec(any::<Option<String>>(), 0..4)
        )
            .prop_map(|(x, y)| ("nest".to_owned(), json!({"z": 1, "y": y, "x": x}))),
        anything().prop_map(|value| ("text".to_owned(), value)),
        anything().prop_map(|value| ("int".to_owned(), value)),
        (".{0,6}", anything()),
    ]
}

fn agreement_schema() -> SchemaRef {
    let nest = struct_of(&[("x", DataType::Int64), ("y", list_of(DataType::Utf8))]);
    schema(&[
        ("int", DataType::Int64),
        ("float", DataType::Float64),
        ("text", DataType::Utf8),
        ("nest", nest),
    ])
}

/// What the columns must hold for a document, worked out on serde_json's tree; `None`: an error.
fn expected(document: &Value) -> Option<[Value; 4]> {
    let field = |name: &str| document.get(name).cloned().unwrap_or(Value::Null);
    let int = match field("int") {
        Value::Null => Value::Null,
        Value::Number(n) if n.is_i64() => n.into(),
        Value::Number(n) => {
            let f = n.as_f64()?;
            // Every float this large is whole; below 2^63 it is an exact i64.
            if f.fract() == 0.0 && f.abs() < 9.2e18 {
                (f as i64).into()
            } else {
                return None;
            }
        }
        Value::String(text) => text.trim().parse::<i64>().ok()?.into(),
        _ => return None,
    };
    let text = match field("text") {
        value @ (Value::Null | Value::String(_)) => value,
        other => serde_json::to_string(&other).ok()?.into(),
    };
    let nest = match field("nest") {
        Value::Null => Value::Null,
        nest => json!({"x": nest["x"], "y": nest["y"]}),
    };
    Some([int, field("float"), text, nest])
}

proptest! {
    #[test]
    fn agrees_with_serde_json(fields in proptest::collection::vec(field(), 0..8), pretty: bool) {
        let document: Value = fields.into_iter().collect();
        // Text keeps nested values as they stand, so only the compact form compares.
        let spaced = pretty && !document.get("text").is_some_and(|text| text.is_object() || text.is_array());
        let record = if spaced { serde_json::to_string_pretty(&document) } else { serde_json::to_string(&document) }.unwrap();
        let columns = agreement_schema();
        let decoded = decode(&columns, &[&record]);
        match expected(&document) {
            None => prop_assert_eq!(decoded.errors.len(), 1, "{}", record),
            Some([int, float, text, nest]) => {
                // A string may spell a number in ways Rust does not read; that is tested elsewhere.
                if document.get("int").is_some_and(Value::is_string) && decoded.errors.len() == 1 {
                    return Ok(());
                }
                prop_assert!(decoded.errors.is_empty(), "{:?} {}", decoded.errors, record);
                let rows = RecordBatch::try_new(columns, decoded.columns).unwrap();
                if let Some(float) = float.as_f64() {
                    prop_assert_eq!(rows.column(1).as_primitive::<Float64Type>().value(0), float);
                }
                let again: Value = serde_json::from_str(&encode(&rows)[0]).unwrap();
                prop_assert_eq!(&again["int"], &int);
                prop_assert_eq!(&again["text"], &text);
                prop_assert_eq!(&again["nest"], &nest);
            }
        }
    }

    #[test]
    fn rows_read_back(seed: u64, kinds in proptest::collection::vec(0usize..samples::TYPES, 1..6), rows in 0usize..20) {
        let mut draw = Draw::new(seed);
        let batch = samples::batch(&mut draw, &kinds, rows);
        let records = encode(&batch);
        for record in &records {
            prop_assert!(serde_json::from_str::<Value>(record).is_ok(), "{}", record);
        }
        let decoded = decode(&batch.schema(), &records.iter().map(String::as_str).collect::<Vec<_>>());
        prop_assert!(decoded.errors.is_empty(), "{:?} {:?}", decoded.errors, records);
        for (column, given) in decoded.columns.iter().zip(batch.columns()) {
            prop_assert_eq!(column, given);
        }
    }

    #[test]
    fn damaged_records_are_errors_or_json(
        seed: u64,
        kinds in proptest::collection::vec(0usize..samples::TYPES, 1..4),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let batch = samples::batch(&mut Draw::new(seed), &kinds, 1);
        let mut record = encode(&batch).remove(0).into_bytes();
        for (place, byte) in damage {
            let place = place.index(record.len());
            record[place] = byte;
        }
        let schema = batch.schema();
        let mut decoder = json::decoder(&Options::new(), &schema, &schema, Others::Passed).unwrap();
        let decoded = decoder.decode(&BinaryArray::from_iter_values([&record])).unwrap();
        if serde_json::from_slice::<serde::de::IgnoredAny>(&record).is_err() {
            prop_assert_eq!(decoded.errors.len(), 1);
        }
    }

    #[test]
    fn random_bytes_do_no_harm(records in proptest::collection::vec(any::<Vec<u8>>(), 0..8)) {
        let schema = agreement_schema();
        let mut decoder = json::decoder(&Options::new(), &schema, &schema, Others::Passed).unwrap();
        let decoded = decoder.decode(&BinaryArray::from_iter_values(&records)).unwrap();
        prop_assert!(decoded.columns.iter().all(|column| column.len() == records.len()));
        let broken = records.iter().filter(|r| serde_json::from_slice::<serde::de::IgnoredAny>(r).is_err());
        prop_assert!(decoded.errors.len() >= broken.count());
    }
}
