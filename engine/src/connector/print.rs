//! The print sink: each change as one line of JSON on standard output, with epoch and weight. A reader that
//! pauses holds up the sink's own thread, and nobody else.

use std::io::Write;

use super::{SinkConnector, SinkSpec};
use crate::change::ChangeBatch;
use crate::format::{self, Encoder, Encoding, EncodingKind};
use crate::{Error, Result};

struct Print {
    encoder: Box<dyn Encoder>,
    rows: u64,
}

/// Makes a print sink. It has no options; rows are written as `ENCODE JSON` does, after
/// `weir_epoch` and `weir_weight`.
///
/// # Errors
/// If an option or another encoding is given, or JSON has no form for a column.
pub fn sink(spec: &SinkSpec) -> Result<Box<dyn SinkConnector>> {
    if let Some(name) = spec
        .connector
        .options
        .keys()
        .find(|name| !["snapshot", "key"].contains(&name.as_str()))
    {
        return Err(Error::Config(format!("unknown option '{name}': a print sink has none")));
    }
    let value = &spec.format.value;
    if value.kind != EncodingKind::Json {
        return Err(Error::Config("a print sink writes JSON; use ENCODE JSON".to_string()));
    }
    let json = Encoding {
        kind: EncodingKind::Json,
        options: value.options.clone(),
    };
    Ok(Box::new(Print {
        encoder: format::encoder(&json, &spec.schema)?,
        rows: 0,
    }))
}

impl Print {
    /// Lines for every change of a batch.
    fn lines(&mut self, epoch: u64, batch: &ChangeBatch, out: &mut Vec<u8>) -> Result<()> {
        let (mut rows, mut ends) = (Vec::new(), Vec::with_capacity(batch.num_rows()));
        self.encoder.encode(batch.rows(), &mut rows, &mut ends)?;
        let mut start = 0;
        for (row, end) in ends.into_iter().enumerate() {
            let fields = rows[start..end]
                .strip_prefix(b"{")
                .ok_or_else(|| Error::internal("a row that was encoded as something else than a JSON object"))?;
            let weight = batch.weight(row);
            let comma = if fields == b"}" { "" } else { "," };
            out.extend(format!("{{\"weir_epoch\":{epoch},\"weir_weight\":{weight}{comma}").bytes());
            out.extend(fields);
            out.push(b'\n');
            start = end;
        }
        Ok(())
    }
}

impl SinkConnector for Print {
    fn deliver(&mut self, epoch: u64, changes: &[ChangeBatch]) -> Result<()> {
        let mut lines = Vec::new();
        for batch in changes {
            self.lines(epoch, batch, &mut lines)?;
        }
        let mut stdout = std::io::stdout().lock();
        stdout
            .write_all(&lines)
            .and_then(|()| stdout.flush())
            .map_err(|error| Error::Connector {
                place: "standard output".to_string(),
                cause: error.to_string(),
            })?;
        self.rows += changes.iter().map(|batch| batch.num_rows() as u64).sum::<u64>();
        Ok(())
    }

    fn rows_delivered(&self) -> u64 {
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    #[test]
    fn lines_begin_with_epoch_and_weight() {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        let json = Encoding {
            kind: EncodingKind::Json,
            options: Default::default(),
        };
        let mut print = Print {
            encoder: format::encoder(&json, &schema).unwrap(),
            rows: 0,
        };
        let column = Arc::new(Int64Array::from(vec![Some(1), None]));
        let rows = RecordBatch::try_new(schema, vec![column]).unwrap();
        let mut out = Vec::new();
        print.lines(7, &ChangeBatch::deletes(rows), &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"weir_epoch\":7,\"weir_weight\":-1,\"a\":1}\n{\"weir_epoch\":7,\"weir_weight\":-1,\"a\":null}\n"
        );
    }
}
