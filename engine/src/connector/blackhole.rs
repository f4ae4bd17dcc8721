//! The blackhole sink: counts what it gets and keeps nothing, for benches and tests.
//!
//! With `checksum = 'true'` it also sums a hash of each row times its weight, wrapping. The sum
//! doesn't depend on the order or the batches rows came in, and a row that is taken back leaves no
//! trace: equal results have equal checksums.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{SinkConnector, SinkSpec};
use crate::change::ChangeBatch;
use crate::row::RowCodec;
use crate::shard::hash_rows;
use crate::{Error, Result};

/// What a blackhole has swallowed since the process began, or since it was reset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sum of the positive weights.
    pub inserts: u64,
    /// Sum of the negative weights, without their sign.
    pub deletes: u64,
    /// Sum of each row's hash times its weight, wrapping; 0 without `checksum = 'true'`.
    pub checksum: u64,
}

/// Counts by sink name, for the whole process: a sink is opened anew whenever its pipeline is.
static COUNTS: Mutex<BTreeMap<String, Arc<Mutex<Stats>>>> = Mutex::new(BTreeMap::new());

/// What the blackhole of this name has swallowed; none if there never was one.
pub fn stats(name: &str) -> Option<Stats> {
    let counts = COUNTS.lock().get(name).cloned();
    counts.map(|stats| *stats.lock())
}

/// Sets the counts of the blackhole of this name back to zero.
pub fn reset(name: &str) {
    if let Some(stats) = COUNTS.lock().get(name) {
        *stats.lock() = Stats::default();
    }
}

struct Blackhole {
    stats: Arc<Mutex<Stats>>,
    checksum: Option<RowCodec>,
    rows: u64,
}

/// Makes a blackhole. Option: `checksum` (`true` or `false`, the default). Its format isn't used.
///
/// # Errors
/// If an option is unknown or wrong.
pub fn sink(spec: &SinkSpec) -> Result<Box<dyn SinkConnector>> {
    let mut checksum = None;
    for (name, value) in &spec.connector.options {
        match (name.as_str(), value.as_str()) {
            ("checksum", "true") => checksum = Some(RowCodec::for_schema(&spec.schema)?),
            ("checksum", "false") | ("snapshot" | "key", _) => {}
            ("checksum", other) => {
                return Err(Error::Config(format!(
                    "checksum = '{other}' is neither 'true' nor 'false'"
                )));
            }
            (other, _) => {
                return Err(Error::Config(format!(
                    "unknown option '{other}' of a blackhole sink; known is checksum"
                )));
            }
        }
    }
    let stats = COUNTS.lock().entry(spec.name.clone()).or_default().clone();
    Ok(Box::new(Blackhole {
        stats,
        checksum,
        rows: 0,
    }))
}

impl SinkConnector for Blackhole {
    fn deliver(&mut self, _epoch: u64, changes: &[ChangeBatch]) -> Result<()> {
        let mut delivered = Stats::default();
        for batch in changes {
            for row in 0..batch.num_rows() {
                let weight = batch.weight(row);
                let count = if weight > 0 {
                    &mut delivered.inserts
                } else {
                    &mut delivered.deletes
                };
                *count += weight.unsigned_abs();
            }
            if let Some(codec) = &self.checksum {
                let rows = codec.encode(batch.rows().columns(), batch.num_rows())?;
                for (row, hash) in hash_rows(&rows).into_iter().enumerate() {
                    let term = hash.wrapping_mul(batch.weight(row) as u64);
                    delivered.checksum = delivered.checksum.wrapping_add(term);
                }
            }
        }
        let mut stats = self.stats.lock();
        stats.inserts += delivered.inserts;
        stats.deletes += delivered.deletes;
        stats.checksum = stats.checksum.wrapping_add(delivered.checksum);
        self.rows += delivered.inserts + delivered.deletes;
        Ok(())
    }

    fn rows_delivered(&self) -> u64 {
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::change::Weights;
    use crate::connector::ConnectorSpec;
    use crate::format::{Encoding, EncodingKind, Envelope, SinkFormat};

    fn spec(name: &str, options: &[(&str, &str)]) -> SinkSpec {
        let options = options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let value = Encoding {
            kind: EncodingKind::Json,
            options: Default::default(),
        };
        SinkSpec {
            name: name.to_string(),
            connector: ConnectorSpec {
                connector: "blackhole".to_string(),
                options,
            },
            format: SinkFormat {
                envelope: Envelope::Plain,
                value,
                key: None,
            },
            schema: Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)])),
            key: Vec::new(),
        }
    }

    fn batch(rows: &[(i64, i64)]) -> ChangeBatch {
        let values = Int64Array::from_iter_values(rows.iter().map(|(value, _)| *value));
        let rows_only = RecordBatch::try_new(spec("", &[]).schema, vec![Arc::new(values)]).unwrap();
        ChangeBatch::new(
            rows_only,
            Weights::Each(rows.iter().map(|(_, weight)| *weight).collect()),
        )
    }

    #[test]
    fn counts_weights_and_sums_without_order() {
        let name = "blackhole-test-sums";
        let mut one = sink(&spec(name, &[("checksum", "true")])).unwrap();
        one.deliver(1, &[batch(&[(1, 1), (2, 2), (3, 1)]), batch(&[(3, -1)])])
            .unwrap();
        let first = stats(name).unwrap();
        assert_eq!((first.inserts, first.deletes), (4, 1));
        assert_ne!(first.checksum, 0);
        assert_eq!(one.rows_delivered(), 5);

        reset(name);
        assert_eq!(stats(name), Some(Stats::default()));
        let mut other = sink(&spec(name, &[("checksum", "true")])).unwrap();
        other.deliver(1, &[batch(&[(2, 1)])]).unwrap();
        other.deliver(2, &[batch(&[(2, 1), (1, 1)])]).unwrap();
        assert_eq!(stats(name).unwrap().checksum, first.checksum);
        other.deliver(3, &[batch(&[(1, -1), (4, 1)])]).unwrap();
        assert_ne!(stats(name).unwrap().checksum, first.checksum);
    }

    #[test]
    fn options_are_checked() {
        assert_eq!(stats("blackhole-test-never-made"), None);
        let unknown = sink(&spec("b", &[("path", "x")])).err().unwrap().to_string();
        assert!(unknown.contains("'path'") && unknown.contains("checksum"), "{unknown}");
        assert!(sink(&spec("b", &[("checksum", "yes")])).is_err());
    }
}
