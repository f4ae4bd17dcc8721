//! Window: gives each row the windows its event time lies in, and judges which are late for it.
//!
//! A window begins at `offset + n * slide` for any integer n, before 1970 too, and holds times
//! `start <= t < start + size`. TUMBLE has slide = size and each time lies in one window; with HOP
//! it lies in several, or in none where the slide is longer than the size. With CUMULATE slide =
//! size, and windows of one start end at `start + step`, `start + 2 * step`, … `start + size`: a time
//! lies in all that end after it.
//!
//! **Late** is a matter of one row and one window: the window had ended by the watermark that the
//! row's own split had before it. So what is counted here are pairs of a row and a window, which
//! for TUMBLE are rows; and rows without event time, which lie in no window.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, TimestampMicrosecondArray, UInt32Array};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, SchemaRef, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow::temporal_conversions::as_datetime;

use crate::change::{ChangeBatch, record_batch};
use crate::graph::WindowSpec;
use crate::operator::fault::{Fault, by_row};
use crate::operator::{Operator, OperatorStats, Step, Watermark};
use crate::{Error, Result};

/// Output rows per batch, about, where a row lies in several windows.
const OUTPUT_ROWS: usize = 16 * 1024;

/// One task's part of a [`WindowSpec`] node.
pub struct Window {
    spec: WindowSpec,
    schema: SchemaRef,
    /// As of the last step.
    watermark: Watermark,
    stats: OperatorStats,
    faults: Vec<Fault>,
}

/// The pairs of a row and a window that go on.
#[derive(Default)]
struct Pairs {
    rows: Vec<u32>,
    starts: Vec<i64>,
    ends: Vec<i64>,
}

impl Window {
    /// An operator whose output has the columns of `schema`: the input's, then the window's bounds.
    pub fn new(spec: &WindowSpec, schema: &SchemaRef) -> Self {
        Self {
            spec: spec.clone(),
            schema: schema.clone(),
            watermark: Watermark::MIN,
            stats: OperatorStats::default(),
            faults: Vec::new(),
        }
    }

    fn assign(&mut self, batch: &ChangeBatch) -> Result<Option<ChangeBatch>> {
        let times = microseconds(batch.column(self.spec.time)).map_err(|value| {
            self.out_of_range(batch, format!("{value} ({})", batch.column(self.spec.time).data_type()))
        })?;
        let watermarks = match self.spec.watermark {
            Some(column) => Some(
                batch
                    .column(column)
                    .as_primitive_opt::<TimestampMicrosecondType>()
                    .ok_or_else(|| Error::internal("the watermark column isn't TIMESTAMP(6)"))?,
            ),
            None => None,
        };
        let pairs = self.pairs(batch, &times, watermarks)?;
        if pairs.rows.is_empty() {
            return Ok(None);
        }
        // One window for each row, and none missing: the rows are what they were.
        let each_once = self.windows_per_row() == 1
            && self.spec.slide_us == self.spec.size_us
            && pairs.rows.len() == batch.num_rows();
        let rows = match each_once {
            true => batch.clone(),
            false => batch.take(&UInt32Array::from(pairs.rows))?,
        };
        self.with_bounds(rows, pairs.starts, pairs.ends).map(Some)
    }

    fn pairs(
        &mut self,
        batch: &ChangeBatch,
        times: &TimestampMicrosecondArray,
        watermarks: Option<&TimestampMicrosecondArray>,
    ) -> Result<Pairs> {
        let expected = times.len().saturating_mul(self.windows_per_row()).min(1 << 20);
        let mut pairs = Pairs {
            rows: Vec::with_capacity(expected),
            starts: Vec::with_capacity(expected),
            ends: Vec::with_capacity(expected),
        };
        let mut starts = Starts::new(&self.spec);
        for (row, time) in times.values().iter().copied().enumerate() {
            if times.is_null(row) {
                self.stats.without_event_time += 1;
                continue;
            }
            let (first, count) = starts
                .of(time)
                .ok_or_else(|| self.out_of_range(batch, format!("{}", Time(time))))?;
            let watermark = match watermarks {
                Some(watermarks) => watermarks.is_valid(row).then(|| watermarks.value(row)),
                // What closes must not be given late rows, wherever they come from.
                None => self.spec.drop_late_after_us.map(|_| self.watermark),
            };
            for nth in 0..count {
                // `Starts::of` has seen to it that the last window's end can be written.
                let start = first + nth * self.spec.slide_us;
                let last = start + self.spec.size_us;
                let mut end = self.first_end(start, time);
                loop {
                    if !watermark.is_some_and(|watermark| end <= watermark && self.drop_late(end, watermark)) {
                        pairs.rows.push(row as u32);
                        pairs.starts.push(start);
                        pairs.ends.push(end);
                    }
                    if end == last {
                        break;
                    }
                    end += self.spec.step_us;
                }
            }
        }
        Ok(pairs)
    }

    /// The first end behind `time` of the windows that begin at `start`.
    fn first_end(&self, start: i64, time: i64) -> i64 {
        let step = self.spec.step_us;
        match step == self.spec.size_us {
            true => start + step,
            false => start + ((time - start) / step + 1) * step,
        }
    }

    /// Counts a late pair; true if it is to be dropped.
    fn drop_late(&mut self, end: i64, watermark: i64) -> bool {
        let dropped = self
            .spec
            .drop_late_after_us
            .is_some_and(|lateness| end.saturating_add(lateness) <= watermark);
        match dropped {
            true => self.stats.late_dropped += 1,
            false => self.stats.late_applied += 1,
        }
        dropped
    }

    fn with_bounds(&self, batch: ChangeBatch, starts: Vec<i64>, ends: Vec<i64>) -> Result<ChangeBatch> {
        let fields = self.schema.fields();
        let width = batch.rows().num_columns();
        if fields.len() != width + 2 {
            return Err(Error::internal(format!(
                "a window over {width} columns is planned with {} columns",
                fields.len()
            )));
        }
        let mut columns = batch.rows().columns().to_vec();
        for (field, values) in fields[width..].iter().zip([starts, ends]) {
            let DataType::Timestamp(TimeUnit::Microsecond, zone) = field.data_type() else {
                return Err(Error::internal(format!("column '{}' isn't TIMESTAMP(6)", field.name())));
            };
            let bounds = TimestampMicrosecondArray::from(values).with_timezone_opt(zone.clone());
            columns.push(Arc::new(bounds) as ArrayRef);
        }
        let rows = record_batch(self.schema.clone(), columns, batch.num_rows())?;
        Ok(batch.with_rows(rows))
    }

    fn windows_per_row(&self) -> usize {
        let [size, slide, step] =
            [self.spec.size_us, self.spec.slide_us, self.spec.step_us].map(|length| length.unsigned_abs());
        usize::try_from(size.div_ceil(slide).saturating_mul(size / step)).unwrap_or(usize::MAX)
    }

    fn out_of_range(&self, batch: &ChangeBatch, time: String) -> Error {
        let schema = batch.schema();
        let name = schema.field(self.spec.time).name();
        Error::Data(format!(
            "the time {time} in column '{name}' has no window: its bounds would be outside TIMESTAMP's range; \
             filter such rows out first"
        ))
    }
}

impl Operator for Window {
    fn step(&mut self, step: &Step, inputs: Vec<Vec<ChangeBatch>>) -> Result<Vec<ChangeBatch>> {
        let spec = &self.spec;
        if spec.size_us <= 0 || spec.slide_us <= 0 || spec.step_us <= 0 || spec.size_us % spec.step_us != 0 {
            return Err(Error::internal(
                "a window without length, or without distance of its starts or ends",
            ));
        }
        let per_batch = match self.windows_per_row() {
            1 => usize::MAX,
            several => (OUTPUT_ROWS / several).max(1),
        };
        let mut output = Vec::new();
        let mut faults = Vec::new();
        for (nth, batch) in inputs.into_iter().flatten().enumerate() {
            let mut from = 0;
            while from < batch.num_rows() {
                let rows = per_batch.min(batch.num_rows() - from);
                let part = batch.slice(from, rows);
                let parts = by_row(&part, Some((nth, from)), &mut faults, |part| {
                    let before = self.stats;
                    self.assign(part).inspect_err(|_| self.stats = before)
                })?;
                output.extend(parts.into_iter().flatten().flatten());
                from += rows;
            }
        }
        self.faults.extend(faults);
        self.watermark = self.watermark.max(step.watermark);
        Ok(output)
    }

    fn take_faults(&mut self) -> Vec<Fault> {
        std::mem::take(&mut self.faults)
    }

    fn stats(&self) -> OperatorStats {
        self.stats
    }
}

/// Finds the windows of times. Times near each other share windows, so the last answer is tried
/// before dividing anew.
struct Starts {
    size_us: i64,
    slide_us: i64,
    offset_us: i64,
    /// A start of windows such that those of the time asked for last begin there or before.
    latest: Option<i64>,
}

impl Starts {
    fn new(spec: &WindowSpec) -> Self {
        Self {
            size_us: spec.size_us,
            slide_us: spec.slide_us,
            offset_us: spec.offset_us.rem_euclid(spec.slide_us),
            latest: None,
        }
    }

    /// The first start of a window with `time` in it, and the number of such windows, each a slide
    /// after the one before. `None` if a bound is no i64.
    fn of(&mut self, time: i64) -> Option<(i64, i64)> {
        let latest = match self.latest {
            // As unsigned the difference can't overflow.
            Some(start) if start <= time && time.abs_diff(start) < self.slide_us as u64 => start,
            _ => {
                let behind = (i128::from(time) - i128::from(self.offset_us)).rem_euclid(i128::from(self.slide_us));
                let start = i64::try_from(i128::from(time) - behind).ok()?;
                self.latest = Some(start);
                start
            }
        };
        let beyond = self.size_us - (time - latest);
        if beyond <= 0 {
            return Some((latest, 0));
        }
        latest.checked_add(self.size_us)?;
        let count = beyond.unsigned_abs().div_ceil(self.slide_us.unsigned_abs()) as i64;
        let first = (count - 1)
            .checked_mul(self.slide_us)
            .and_then(|back| latest.checked_sub(back))?;
        Some((first, count))
    }
}

/// A time for messages: as a date where a calendar reaches, else in microseconds.
pub(super) struct Time(pub(super) i64);

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match as_datetime::<TimestampMicrosecondType>(self.0) {
            Some(time) => write!(f, "{time}"),
            None => write!(f, "{} µs from 1970", self.0),
        }
    }
}

/// A column of event times in microseconds since the epoch. Windows have whole microseconds, so a
/// nanosecond's fraction is cut off (towards the past) without changing its window. The error is a
/// value that microseconds can't hold.
pub(super) fn microseconds(column: &ArrayRef) -> std::result::Result<TimestampMicrosecondArray, String> {
    match column.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => Ok(column.as_primitive().clone()),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => Ok(column
            .as_primitive::<TimestampNanosecondType>()
            .unary(|time| time.div_euclid(1000))),
        DataType::Timestamp(TimeUnit::Millisecond, _) => scaled::<TimestampMillisecondType>(column, 1000),
        DataType::Timestamp(TimeUnit::Second, _) => scaled::<TimestampSecondType>(column, 1_000_000),
        DataType::Date32 => scaled::<Date32Type>(column, 86_400_000_000),
        DataType::Date64 => scaled::<Date64Type>(column, 1000),
        _ => Err("of a type that has no windows".to_string()),
    }
}

fn scaled<T>(column: &ArrayRef, unit_us: i64) -> std::result::Result<TimestampMicrosecondArray, String>
where
    T: ArrowPrimitiveType,
    T::Native: Into<i64>,
{
    let values: &PrimitiveArray<T> = column.as_primitive();
    values.try_unary(|value| {
        let value: i64 = value.into();
        value.checked_mul(unit_us).ok_or_else(|| value.to_string())
    })
}

#[cfg(test)]
mod tests;
