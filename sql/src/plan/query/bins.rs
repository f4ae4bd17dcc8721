//! GROUP BY date_trunc(…) and date_bin(…): windows by another name.
//!
//! With EMIT ON WINDOW CLOSE a grouping by bins of event time closes as one by windows does. So a
//! window operator puts each row into its bin, judges late ones, and gives the bin's start, which is
//! what the function would give.

use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::Expr;

use super::{Builder, Built, TimeBound, column_of};
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

impl Builder {
    /// Puts rows into the smallest bins of event time among the groups. Returns which group these
    /// are, and the column that stands for it. The result has no hidden column.
    pub(in crate::plan) fn binned(&mut self, input: Built, groups: &[Expr]) -> Result<(Built, Option<(usize, Expr)>)> {
        if !input.hidden {
            return Ok((input, None));
        }
        let bins = groups.iter().enumerate().filter_map(|(group, expr)| {
            let (binned, lengths) = bin_of(expr)?;
            let time = column_of(binned, &input.schema)?;
            let field = input.schema.field(time);
            let fits = *field.data_type() == DataType::Timestamp(TimeUnit::Microsecond, None)
                && input.time[time] == Some(TimeBound::Event);
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
