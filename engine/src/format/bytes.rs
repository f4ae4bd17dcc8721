//! BYTES: the whole record is one BYTEA column, as it is. NULL is written as no bytes.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};

use super::options::{self, Options};
use super::text::one_column;
use super::{Decoded, Decoder, Encoder};
use crate::Result;

/// Makes a decoder of `columns`, a subset of `declared`, which is one BYTEA column.
pub fn decoder(options: &Options, declared: &SchemaRef, columns: &SchemaRef) -> Result<Box<dyn Decoder>> {
    options::known("BYTES", options, &[])?;
    one_column("BYTES", declared, Some((&DataType::Binary, "BYTEA")))?;
    Ok(Box::new(Whole {
        wanted: !columns.fields().is_empty(),
    }))
}

/// Makes an encoder for rows of `schema`, which is one BYTEA column.
pub fn encoder(options: &Options, schema: &SchemaRef) -> Result<Box<dyn Encoder>> {
    options::known("BYTES", options, &[])?;
    one_column("BYTES", schema, Some((&DataType::Binary, "BYTEA")))?;
    Ok(Box::new(Whole { wanted: true }))
}

struct Whole {
    wanted: bool,
}

impl Decoder for Whole {
    fn decode(&mut self, records: &BinaryArray) -> Result<Decoded> {
        let columns = if self.wanted {
            vec![Arc::new(records.clone()) as ArrayRef]
        } else {
            Vec::new()
        };
        Ok(Decoded {
            columns,
            errors: Vec::new(),
        })
    }
}

impl Encoder for Whole {
    fn encode(&mut self, rows: &RecordBatch, out: &mut Vec<u8>, ends: &mut Vec<usize>) -> Result<()> {
        let values: &BinaryArray = rows.column(0).as_binary();
        for row in 0..values.len() {
            if values.is_valid(row) {
                out.extend_from_slice(values.value(row));
            }
            ends.push(out.len());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{Field, Schema};

    #[test]
    fn bytes_go_through_untouched() {
        let columns: SchemaRef = Arc::new(Schema::new(vec![Field::new("b", DataType::Binary, true)]));
        let records = BinaryArray::from_opt_vec(vec![Some(b"\xff\x00"), None, Some(b"")]);
        let decoded = decoder(&Options::new(), &columns, &columns)
            .unwrap()
            .decode(&records)
            .unwrap();
        assert_eq!(decoded.columns[0].as_binary::<i32>(), &records);
        let rows = RecordBatch::try_new(columns.clone(), decoded.columns).unwrap();
        let (mut out, mut ends) = (Vec::new(), Vec::new());
        encoder(&Options::new(), &columns)
            .unwrap()
            .encode(&rows, &mut out, &mut ends)
            .unwrap();
        assert_eq!((out.as_slice(), ends.as_slice()), (&b"\xff\x00"[..], &[2, 2, 2][..]));

        let none: SchemaRef = Arc::new(Schema::empty());
        assert!(decoder(&Options::new(), &none, &none).is_err());
    }
}
