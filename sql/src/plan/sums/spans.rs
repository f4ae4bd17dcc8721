//! `sum` and `avg` of intervals: months, days and time each by itself. What the mean leaves of months goes on as days,
//! and of days as time, as in PostgreSQL.

use std::collections::HashSet;
use std::mem::size_of_val;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Field, FieldRef, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::Accumulator;
use datafusion::logical_expr::function::StateFieldsArgs;

use crate::plan::scalars::{divided_span, span};

/// The one type of intervals.
pub const SPAN: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// What is kept of a group between steps of a query that is read once.
pub fn state_fields(args: &StateFieldsArgs) -> Vec<FieldRef> {
    if args.is_distinct {
        let value = Field::new_list_field(SPAN, true);
        return vec![Arc::new(Field::new("values", DataType::List(Arc::new(value)), true))];
    }
    let field = |name| Arc::new(Field::new(name, DataType::Int64, true));
    ["months", "days", "nanoseconds", "count"].map(field).to_vec()
}

/// The sum of a group.
#[derive(Debug)]
pub struct Total {
    pub is_mean: bool,
    /// Months, days, nanoseconds, and how many there are.
    parts: [i128; 4],
}

impl Total {
    pub fn new(is_mean: bool) -> Total {
        Total { is_mean, parts: [0; 4] }
    }

    fn add(&mut self, columns: &[ArrayRef], sign: i128) -> Result<()> {
        let spans = cast(&columns[0], &SPAN)?;
        let spans = spans.as_primitive::<IntervalMonthDayNanoType>();
        spans.iter().flatten().for_each(|span| self.add_one(span, sign));
        Ok(())
    }

    fn add_one(&mut self, span: IntervalMonthDayNano, sign: i128) {
        let parts = [span.months.into(), span.days.into(), span.nanoseconds.into(), 1];
        for (sum, part) in self.parts.iter_mut().zip::<[i128; 4]>(parts) {
            *sum += sign * part;
        }
    }
}

impl Accumulator for Total {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        self.add(columns, 1)
    }

    fn retract_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        self.add(columns, -1)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let [months, days, ns, count] = self.parts;
        if count == 0 {
            return Ok(ScalarValue::IntervalMonthDayNano(None));
        }
        let (Ok(months), Ok(days)) = (i64::try_from(months), i64::try_from(days)) else {
            return exec_err!("INTERVAL out of range");
        };
        let sum = span(months, days, ns)?;
        let value = match self.is_mean {
            true => divided_span(sum, count as f64)?,
            false => sum,
        };
        Ok(ScalarValue::IntervalMonthDayNano(Some(value)))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let part = |part: &i128| match i64::try_from(*part) {
            Ok(part) => Ok(ScalarValue::Int64(Some(part))),
            Err(_) => exec_err!("INTERVAL out of range"),
        };
        self.parts.iter().map(part).collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for (sum, parts) in self.parts.iter_mut().zip(states) {
            for part in parts.as_primitive::<Int64Type>().iter().flatten() {
                *sum += i128::from(part);
            }
        }
        Ok(())
    }
}

/// The sum of a group's different intervals, each of which comes in its one form.
#[derive(Debug)]
pub struct DistinctTotal {
    is_mean: bool,
    spans: HashSet<IntervalMonthDayNano>,
}

impl DistinctTotal {
    pub fn new(is_mean: bool) -> DistinctTotal {
        DistinctTotal {
            is_mean,
            spans: HashSet::new(),
        }
    }

    fn take(&mut self, column: &ArrayRef) -> Result<()> {
        let spans = cast(column, &SPAN)?;
        let spans = spans.as_primitive::<IntervalMonthDayNanoType>();
        self.spans.extend(spans.iter().flatten());
        Ok(())
    }
}

impl Accumulator for DistinctTotal {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        self.take(&columns[0])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut total = Total::new(self.is_mean);
        self.spans.iter().for_each(|span| total.add_one(*span, 1));
        total.evaluate()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.spans.capacity() * size_of::<IntervalMonthDayNano>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let spans = self.spans.iter();
        let spans: Vec<ScalarValue> = spans
            .map(|span| ScalarValue::IntervalMonthDayNano(Some(*span)))
            .collect();
        Ok(vec![ScalarValue::List(ScalarValue::new_list_nullable(&spans, &SPAN))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let mut lists = states[0].as_list::<i32>().iter().flatten();
        lists.try_for_each(|spans| self.take(&spans))
    }
}
