//! CSV, JSON and NDJSON. Each takes rows as they come and needs no memory of them.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use weir_server::format::{Encoder, csv, json};

use super::{Format, cells};

/// Writes rows for programs.
pub struct MachinePrinter {
    format: Format,
    encoder: Box<dyn Encoder>,
    /// Columns whose type the encoder doesn't know; they are written as their text.
    as_text: Vec<bool>,
    schema: SchemaRef,
    /// What the first line needs has been written.
    begun: bool,
    /// A row has been written.
    any: bool,
}

impl MachinePrinter {
    pub(super) fn new(format: Format, schema: &SchemaRef) -> Result<MachinePrinter, String> {
        let options = Default::default();
        let make = |schema: &SchemaRef| match format {
            Format::Csv => csv::encoder(&options, schema),
            _ => json::encoder(&options, schema),
        };
        if format != Format::Csv {
            refuse_equal_names(schema)?;
        }
        let known = |field: &Arc<Field>| make(&Arc::new(Schema::new(vec![field.clone()]))).is_ok();
        let as_text: Vec<bool> = schema.fields().iter().map(|field| !known(field)).collect();
        let fields: Vec<_> = schema
            .fields()
            .iter()
            .zip(&as_text)
            .map(|(field, as_text)| match as_text {
                true => Arc::new(Field::new(field.name(), DataType::Utf8, true)),
                false => field.clone(),
            })
            .collect();
        let schema = Arc::new(Schema::new(fields));
        Ok(MachinePrinter {
            format,
            encoder: make(&schema).map_err(|error| error.to_string())?,
            as_text,
            schema,
            begun: false,
            any: false,
        })
    }

    pub(super) fn rows(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), String> {
        self.begin(out);
        let batch = self.readable(batch)?;
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        self.encoder
            .encode(&batch, &mut bytes, &mut ends)
            .map_err(|error| error.to_string())?;
        let mut start = 0;
        for end in ends {
            if self.format == Format::Json {
                out.extend_from_slice(if self.any { b",\n" } else { b"\n" });
            }
            out.extend_from_slice(&bytes[start..end]);
            if self.format != Format::Json {
                out.push(b'\n');
            }
            start = end;
            self.any = true;
        }
        Ok(())
    }

    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        self.begin(out);
        if self.format == Format::Json {
            out.extend_from_slice(if self.any { b"\n]\n" } else { b"]\n" });
        }
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        match self.format {
            Format::Csv => {
                let names: Vec<String> = self
                    .schema
                    .fields()
                    .iter()
                    .map(|field| csv_name(field.name()))
                    .collect();
                out.extend_from_slice(names.join(",").as_bytes());
                out.push(b'\n');
            }
            Format::Json => out.push(b'['),
            Format::Ndjson | Format::Table => {}
        }
    }

    /// The batch with its unknown columns as text.
    fn readable(&self, batch: &RecordBatch) -> Result<RecordBatch, String> {
        if !self.as_text.contains(&true) {
            return Ok(batch.clone());
        }
        let column = |(array, as_text): (&ArrayRef, &bool)| -> Result<ArrayRef, String> {
            match as_text {
                true => Ok(Arc::new(StringArray::from(cells::texts(array)?))),
                false => Ok(array.clone()),
            }
        };
        let columns: Result<Vec<_>, String> = batch.columns().iter().zip(&self.as_text).map(column).collect();
        RecordBatch::try_new(self.schema.clone(), columns?).map_err(|error| error.to_string())
    }
}

/// An object with two fields of one name has lost one of them in most readers.
fn refuse_equal_names(schema: &SchemaRef) -> Result<(), String> {
    for (at, field) in schema.fields().iter().enumerate() {
        if schema.fields()[..at].iter().any(|other| other.name() == field.name()) {
            let name = field.name();
            return Err(format!(
                "two columns are called \"{name}\", which JSON can't tell apart: name one of them with AS"
            ));
        }
    }
    Ok(())
}

/// A column's name as a field of CSV.
fn csv_name(name: &str) -> String {
    if name.is_empty() || name.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", name.replace('"', "\"\""))
    } else {
        name.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        BinaryArray, Decimal128Array, DurationSecondArray, Float64Array, Int64Array, ListArray, StructArray,
        TimestampMicrosecondArray,
    };
    use arrow::datatypes::Int64Type;

    use super::*;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
            .expect("a batch")
    }

    fn print(format: Format, batches: &[RecordBatch]) -> String {
        let mut printer = MachinePrinter::new(format, &batches[0].schema()).expect("a printer");
        let mut out = Vec::new();
        for batch in batches {
            printer.rows(batch, &mut out).expect("rows");
        }
        printer.end(&mut out);
        String::from_utf8(out).expect("text")
    }

    fn sample() -> RecordBatch {
        let price = Decimal128Array::from(vec![Some(108), None]).with_precision_and_scale(38, 2);
        batch(vec![
            ("id", Arc::new(Int64Array::from(vec![Some(i64::MAX), Some(i64::MIN)]))),
            ("price, net", Arc::new(price.expect("a decimal"))),
            ("name", Arc::new(StringArray::from(vec![Some("a,\"b\"\nc"), Some("")]))),
        ])
    }

    #[test]
    fn csv_is_quoted_and_tells_null_from_empty() {
        assert_eq!(
            print(Format::Csv, &[sample()]),
            "id,\"price, net\",name\n9223372036854775807,1.08,\"a,\"\"b\"\"\nc\"\n-9223372036854775808,,\"\"\n"
        );
    }

    #[test]
    fn json_numbers_keep_all_digits() {
        let row = r#"{"id":9223372036854775807,"price, net":1.08,"name":"a,\"b\"\nc"}"#;
        let other = r#"{"id":-9223372036854775808,"price, net":null,"name":""}"#;
        assert_eq!(print(Format::Ndjson, &[sample()]), format!("{row}\n{other}\n"));
        assert_eq!(print(Format::Json, &[sample()]), format!("[\n{row},\n{other}\n]\n"));
    }

    #[test]
    fn batches_make_one_array_and_one_header() {
        let one = batch(vec![("n", Arc::new(Int64Array::from(vec![1])))]);
        let none = one.slice(0, 0);
        assert_eq!(
            print(Format::Json, &[one.clone(), none.clone(), one.clone()]),
            "[\n{\"n\":1},\n{\"n\":1}\n]\n"
        );
        assert_eq!(print(Format::Csv, &[one.clone(), one]), "n\n1\n1\n");
        assert_eq!(print(Format::Json, std::slice::from_ref(&none)), "[]\n");
        assert_eq!(print(Format::Csv, std::slice::from_ref(&none)), "n\n");
        assert_eq!(print(Format::Ndjson, &[none]), "");
    }

    #[test]
    fn nested_values_bytes_and_times_are_as_sinks_write_them() {
        let list = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(1), None])]);
        let fields = vec![Arc::new(Field::new("x", DataType::Float64, true))];
        let point = StructArray::new(fields.into(), vec![Arc::new(Float64Array::from(vec![0.5]))], None);
        let rows = batch(vec![
            ("l", Arc::new(list)),
            ("p", Arc::new(point)),
            ("b", Arc::new(BinaryArray::from(vec![b"\xff\x00".as_slice()]))),
            (
                "t",
                Arc::new(TimestampMicrosecondArray::from(vec![1_700_000_000_500_000])),
            ),
            ("d", Arc::new(DurationSecondArray::from(vec![90]))),
        ]);
        let json = print(Format::Ndjson, std::slice::from_ref(&rows));
        assert!(
            json.starts_with(r#"{"l":[1,null],"p":{"x":0.5},"b":"/wA=","t":"2023-11-14T22:13:20.5Z","d":"PT1M30S"}"#),
            "{json}"
        );
        let csv = print(Format::Csv, &[rows]);
        assert!(
            csv.starts_with("l,p,b,t,d\n\"[1,null]\",\"{\"\"x\"\":0.5}\",/wA=,"),
            "{csv}"
        );
    }

    #[test]
    fn equal_names_are_refused_where_they_would_lose_a_column() {
        let fields = vec![
            Field::new("a", DataType::Int64, true),
            Field::new("a", DataType::Int64, true),
        ];
        let schema = Arc::new(Schema::new(fields));
        assert!(MachinePrinter::new(Format::Json, &schema).is_err_and(|error| error.contains("AS")));
        assert!(MachinePrinter::new(Format::Csv, &schema).is_ok());
    }
}
