//! GROUP BY date_trunc(…), date_bin(…) or an event time itself: windows by another name.
//!
//! With EMIT ON WINDOW CLOSE a grouping by bins of event time closes as one by windows does. So a
//! window operator puts each row into its bin, judges late ones, and gives the bin's start, which is
//! what the function would give.

use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::Expr;

use super::{Builder, Built, Closing, TimeBound, column_of};
use crate::Result;
use crate::plan::errors;
use crate::plan::window::{Lengths, interval_us};

const SECOND_US: i64 = 1_000_000;
const DAY_US: i64 = 86_400 * SECOND_US;

/// The expression that is put into bins, and the bins, if all of them are of one length. With an
/// origin date_bin gives nanoseconds, which close nothing.
pub(in crate::plan) fn bin_of(expr: &Expr) -> Option<(&Expr, Lengths)> {
    let call = match expr {
        Expr::Alias(alias) => return bin_of(&alias.expr),
        Expr::ScalarFunction(call) => call,
        _ => return None,
    };
    let (binned, size_us, offset_us) = match (call.func.name(), &call.args[..]) {
        ("date_trunc", [Expr::Literal(unit, _), binned]) => {
            let (size_us, offset_us) = unit_us(unit.try_as_str()??)?;
            (binned, size_us, offset_us)
        }
        ("date_bin", [size, binned]) => (binned, interval_us(size).ok()?, 0),
        _ => return None,
    };
    let lengths = Lengths {
        size_us,
        slide_us: size_us,
        step_us: size_us,
        offset_us,
    };
    (size_us > 0).then_some((binned, lengths))
}

/// Length and shift of a unit that is always as long. Weeks begin on Mondays, and 1970 on a Thursday.
fn unit_us(unit: &str) -> Option<(i64, i64)> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "microsecond" => (1, 0),
        "millisecond" => (1000, 0),
        "second" => (SECOND_US, 0),
        "minute" => (60 * SECOND_US, 0),
        "hour" => (3600 * SECOND_US, 0),
        "day" => (DAY_US, 0),
        "week" => (7 * DAY_US, 4 * DAY_US),
        _ => return None,
    })
}

/// A group of one event time is a bin of a microsecond.
const MOMENTS: Lengths = Lengths {
    size_us: 1,
    slide_us: 1,
    step_us: 1,
    offset_us: 0,
};

impl Builder {
    /// Whether some group is a bound of a window, by which it closes.
    pub(in crate::plan) fn is_windowed(&self, input: &Built, groups: &[Expr]) -> bool {
        let mut columns = groups.iter().filter_map(|group| column_of(group, &input.schema));
        columns.any(|column| input.time[column].is_some_and(|bound| bound != TimeBound::Event))
    }

    /// Whether event time itself is a group, and nothing closes earlier.
    pub(in crate::plan) fn groups_moments(&self, input: &Built, groups: &[Expr]) -> bool {
        let mut columns = groups.iter().filter_map(|group| column_of(group, &input.schema));
        !self.is_windowed(input, groups) && columns.any(|column| input.time[column] == Some(TimeBound::Event))
    }

    /// Puts rows into the smallest bins of event time among the groups. Returns which group these
    /// are, and the column that stands for it. The result has no hidden column.
    pub(in crate::plan) fn binned(&mut self, input: Built, groups: &[Expr]) -> Result<(Built, Option<(usize, Expr)>)> {
        if self.closing != Closing::Emit || !self.graph.node(input.node).has_watermark {
            return Ok((self.visible(input)?, None));
        }
        let windowed = self.is_windowed(&input, groups);
        let bins = groups.iter().enumerate().filter_map(|(group, expr)| {
            let (binned, lengths) = bin_of(expr).or(match windowed {
                true => None,
                false => Some((expr, MOMENTS)),
            })?;
            let time = column_of(binned, &input.schema)?;
            let field = input.schema.field(time);
            let bounds = match input.time[time] {
                Some(TimeBound::Event) => true,
                // The end of a window is the event time of what is in it.
                Some(TimeBound::WindowEnd) => !windowed,
                _ => false,
            };
            let fits = bounds && *field.data_type() == DataType::Timestamp(TimeUnit::Microsecond, None);
            fits.then_some((lengths, time, group))
        });
        let Some((lengths, time, group)) = bins.min() else {
            return Ok((self.visible(input)?, None));
        };
        let mut fields: Vec<_> = input.schema.iter().map(|(q, f)| (q.cloned(), f.clone())).collect();
        for name in ["weir_bin_start", "weir_bin_end"] {
            let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
            fields.push((None, Field::new(name, timestamp, true).into()));
        }
        let schema = DFSchema::new_with_metadata(fields, Default::default()).map_err(errors::translate)?;
        let input = self.fixed_window(input, time, true, lengths, &schema, false)?;
        let start = Expr::Column(Column::new_unqualified("weir_bin_start"));
        Ok((input, Some((group, start))))
    }
}
