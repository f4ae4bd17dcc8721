//! A source read once, from its start to the end of now: ad-hoc SELECT over sources.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use parking_lot::Mutex;

use super::decode::{Layout, SourceDecoder};
use super::snapshot::Batches;
use crate::connector::{self, Bound, Positions, SourceReader, SplitId};
use crate::error::BadRecord;
use crate::format::Envelope;
use crate::relation::SourceSpec;
use crate::{Error, Result};

/// Bad records that a read passes over (policy `skip`).
#[derive(Debug, Default)]
pub struct PassedOver {
    /// How many by now.
    pub count: u64,
    /// The first of them.
    pub first: Option<BadRecord>,
}

/// How long a source may give nothing before the read is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// The rows of a source as a SELECT sees them: `columns` by index of the declared schema. What is
/// passed over is counted.
pub fn source(spec: &Arc<SourceSpec>, columns: &[usize], passed_over: Arc<Mutex<PassedOver>>) -> Result<Batches> {
    if spec.envelope == Envelope::Upsert {
        return Err(Error::Config(format!(
            "source '{}' is FORMAT UPSERT: its rows are known only to a view; create a materialized view over it and \
             select from that",
            spec.name
        )));
    }
    let connector = connector::source(&spec.connector, &spec.value_schema())?;
    let mut layout = Layout::default();
    layout.widen(columns, false);
    let projection = layout.projection(spec, columns, false)?;
    let decoder = SourceDecoder::new(spec.clone(), layout.clone())?;
    let from = connector.resolve(&spec.start)?;
    let bound = if spec.bound == Bound::Unbounded {
        Bound::Latest
    } else {
        spec.bound.clone()
    };
    let until = connector.resolve_bound(&bound)?.unwrap_or_default();
    let reader = connector.open(&from, Some(&until), &SourceDecoder::wanted(spec, &layout))?;
    let open = from
        .iter()
        .filter(|(id, at)| until.get(*id).is_none_or(|end| end > at))
        .map(|(id, _)| id.clone());
    let scan = Scan {
        spec: spec.clone(),
        decoder,
        projection,
        reader,
        open: open.collect(),
        until,
        ready: VecDeque::new(),
        passed_over,
        last: Instant::now(),
    };
    Ok(Box::new(scan))
}

struct Scan {
    spec: Arc<SourceSpec>,
    decoder: SourceDecoder,
    projection: Vec<usize>,
    reader: Box<dyn SourceReader>,
    open: Vec<SplitId>,
    until: Positions,
    ready: VecDeque<RecordBatch>,
    passed_over: Arc<Mutex<PassedOver>>,
    last: Instant,
}

impl Scan {
    fn advance(&mut self) -> Result<()> {
        let reads = self.reader.read(8192, Duration::from_millis(200))?;
        if reads.is_empty() && self.last.elapsed() > PATIENCE {
            let cause = "nothing came for 30 s before the end that was asked for was reached".to_string();
            return Err(Error::Connector {
                place: format!("source '{}'", self.spec.name),
                cause,
            });
        }
        for mut read in reads {
            self.last = Instant::now();
            let end = self.until.get(&read.split.id).copied();
            if let Some(end) = end {
                let count = (0..read.payload.len())
                    .take_while(|i| read.payload.position(*i) < end)
                    .count();
                read.payload = read.payload.slice(0, count);
            }
            if read.ended || end.is_some_and(|end| read.next >= end) || (end.is_none() && read.at_end) {
                self.open.retain(|id| *id != read.split.id);
            }
            let decoded = self.decoder.decode(&read, &mut None)?;
            if !decoded.skipped.is_empty() {
                let mut passed_over = self.passed_over.lock();
                passed_over.count += decoded.skipped.len() as u64;
                passed_over.first = passed_over.first.take().or(decoded.skipped.into_iter().next());
            }
            self.ready.push_back(decoded.rows.rows().project(&self.projection)?);
        }
        Ok(())
    }
}

impl Iterator for Scan {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Some(Ok(batch));
            }
            if self.open.is_empty() {
                return None;
            }
            if let Err(error) = self.advance() {
                self.open.clear();
                return Some(Err(error));
            }
        }
    }
}
