//! Computing with INTERVALs as PostgreSQL does: `interval * 1.5`, `interval / 2`, `age`, `justify_days`,
//! `justify_hours` and `justify_interval`.
//!
//! What a factor leaves of months goes on as days, 30 to a month, and what it leaves of days as time, 24
//! hours to a day.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
    TimestampMicrosecondType,
};
use datafusion::common::{DFSchema, Result, exec_datafusion_err, exec_err, plan_err};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, DocSection, Documentation, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use sqlparser::ast::BinaryOperator;
use weir_engine::format::calendar::US_PER_DAY;
use weir_engine::format::sql_type;

use crate::plan::templates::calendar::{self, Date};

const SPAN: DataType = DataType::Interval(IntervalUnit::MonthDayNano);
const MICROS: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);
const DAYS_OF_A_MONTH: i64 = 30;
const DAY_NS: i64 = 1_000 * US_PER_DAY;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum What {
    Times,
    Over,
    Age,
    Days,
    Hours,
    Both,
}

const FUNCTIONS: [(&str, What, &str); 6] = [
    ("weir_interval_times", What::Times, ""),
    ("weir_interval_over", What::Over, ""),
    (
        "age",
        What::Age,
        "From the second time to the first, or to today, in years, months, days and time.",
    ),
    (
        "justify_days",
        What::Days,
        "The interval with every 30 days as a month.",
    ),
    (
        "justify_hours",
        What::Hours,
        "The interval with every 24 hours as a day.",
    ),
    (
        "justify_interval",
        What::Both,
        "The interval with 24 hours as a day, 30 days as a month, and one sign.",
    ),
];

/// The functions.
pub fn functions() -> impl Iterator<Item = Arc<ScalarUDF>> {
    FUNCTIONS.into_iter().map(|(_, what, _)| function(what))
}

fn function(what: What) -> Arc<ScalarUDF> {
    let arguments = match what {
        What::Age => "time[, time]",
        _ => "interval",
    };
    let of = |(name, _, description): (&'static str, What, &str)| {
        let documentation = Documentation::builder(DocSection::default(), description, format!("{name}({arguments})"));
        Spans {
            what,
            name,
            signature: Signature::user_defined(Volatility::Immutable),
            documentation: documentation.build(),
        }
    };
    let found = FUNCTIONS.into_iter().find(|(_, other, _)| *other == what);
    Arc::new(ScalarUDF::from(of(found.unwrap_or(FUNCTIONS[0]))))
}

/// Plans `*` and `/` of an interval and a number.
#[derive(Debug)]
pub struct Scaled;

impl ExprPlanner for Scaled {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let is = |expr: &datafusion::logical_expr::Expr, kind: fn(&DataType) -> bool| {
            expr.get_type(schema).is_ok_and(|found| kind(&found))
        };
        let number = |kind: &DataType| kind.is_numeric();
        let (what, args) = match expr.op {
            BinaryOperator::Multiply if is(&expr.left, is_span) && is(&expr.right, number) => {
                (What::Times, vec![expr.left, expr.right])
            }
            BinaryOperator::Multiply if is(&expr.left, number) && is(&expr.right, is_span) => {
                (What::Times, vec![expr.right, expr.left])
            }
            BinaryOperator::Divide if is(&expr.left, is_span) && is(&expr.right, number) => {
                (What::Over, vec![expr.left, expr.right])
            }
            _ => return Ok(PlannerResult::Original(expr)),
        };
        Ok(PlannerResult::Planned(function(what).call(args)))
    }
}

fn is_span(kind: &DataType) -> bool {
    matches!(kind, DataType::Interval(_) | DataType::Duration(_))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Spans {
    what: What,
    name: &'static str,
    signature: Signature,
    documentation: Documentation,
}

impl ScalarUDFImpl for Spans {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let span = |kind: &DataType| match kind {
            DataType::Duration(_) | DataType::Interval(_) | DataType::Null => Some(SPAN),
            kind if kind.is_string() => Some(SPAN),
            _ => None,
        };
        let is_time = |kind: &DataType| {
            matches!(kind, DataType::Timestamp(..) | DataType::Date32 | DataType::Null) || kind.is_string()
        };
        let kinds = || given.iter().map(sql_type).collect::<Vec<_>>().join(", ");
        match (self.what, given) {
            (What::Age, [later, earlier]) if is_time(later) && is_time(earlier) => Ok(vec![MICROS, MICROS]),
            (What::Age, _) => plan_err!("age() takes a time, or two, not ({})", kinds()),
            (What::Times | What::Over, [one, _]) => match span(one) {
                Some(span) => Ok(vec![span, DataType::Float64]),
                None => plan_err!("there is no interval in {}", kinds()),
            },
            (_, [one]) if span(one).is_some() => Ok(span(one).into_iter().collect()),
            _ => plan_err!("{}() takes an INTERVAL, not ({})", self.name, kinds()),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(SPAN)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let made: PrimitiveArray<IntervalMonthDayNanoType> = match (self.what, &arrays[..]) {
            (What::Age, [later, earlier]) => {
                let pairs = micros(later)?.into_iter().zip(micros(earlier)?);
                pairs
                    .map(|(later, earlier)| {
                        later
                            .zip(earlier)
                            .map(|(later, earlier)| age(later, earlier))
                            .transpose()
                    })
                    .collect::<Result<_>>()?
            }
            (what @ (What::Times | What::Over), [spans, numbers]) => {
                let pairs = intervals(spans).iter().zip(numbers.as_primitive::<Float64Type>());
                let scaled = |(span, by): (IntervalMonthDayNano, f64)| match what {
                    What::Over if by == 0.0 => exec_err!("division by zero"),
                    What::Over => scaled(span, |part| part / by),
                    _ => scaled(span, |part| part * by),
                };
                pairs
                    .map(|(span, by)| span.zip(by).map(scaled).transpose())
                    .collect::<Result<_>>()?
            }
            (what, [spans]) => {
                let justified = |span: Option<IntervalMonthDayNano>| span.map(|span| justified(span, what)).transpose();
                intervals(spans).iter().map(justified).collect::<Result<_>>()?
            }
            _ => return exec_err!("{}() has other arguments", self.name),
        };
        Ok(ColumnarValue::Array(Arc::new(made)))
    }
}

fn micros(times: &ArrayRef) -> Result<Vec<Option<i64>>> {
    let times = cast(times, &MICROS)?;
    Ok(times.as_primitive::<TimestampMicrosecondType>().iter().collect())
}

fn intervals(spans: &ArrayRef) -> &PrimitiveArray<IntervalMonthDayNanoType> {
    spans.as_primitive()
}

/// An interval of these parts.
pub fn span(months: i64, days: i64, nanoseconds: i128) -> Result<IntervalMonthDayNano> {
    match (i32::try_from(months), i32::try_from(days), i64::try_from(nanoseconds)) {
        (Ok(months), Ok(days), Ok(nanoseconds)) => Ok(IntervalMonthDayNano::new(months, days, nanoseconds)),
        _ => Err(out_of_range()),
    }
}

fn out_of_range() -> datafusion::error::DataFusionError {
    exec_datafusion_err!("INTERVAL out of range")
}

/// To whole microseconds of what is left of a day or a month.
fn to_micros(part: f64) -> f64 {
    (part * 1e6).round_ties_even() / 1e6
}

fn scaled(of: IntervalMonthDayNano, by: impl Fn(f64) -> f64) -> Result<IntervalMonthDayNano> {
    const DAY_SECONDS: f64 = 86_400.0;
    let (all_months, all_days) = (by(of.months.into()), by(of.days.into()));
    let (months, days) = (all_months.trunc(), all_days.trunc());
    let days_of_months = to_micros((all_months - months) * DAYS_OF_A_MONTH as f64);
    let mut seconds = to_micros((all_days - days + days_of_months - days_of_months.trunc()) * DAY_SECONDS);
    let mut days = days + days_of_months.trunc();
    if seconds.abs() >= DAY_SECONDS {
        let whole = (seconds / DAY_SECONDS).trunc();
        days += whole;
        seconds -= whole * DAY_SECONDS;
    }
    let us = (by(of.nanoseconds as f64 / 1e3) + seconds * 1e6).round_ties_even();
    if ![months, days, us].iter().all(|part| part.is_finite()) {
        return Err(out_of_range());
    }
    // Floats beyond a type's range become its bounds, which are no interval's.
    span(months as i64, days as i64, us as i128 * 1_000)
}

/// Fails where a length of `date_bin` is not above zero.
pub fn goes_forward(stride: &ColumnarValue) -> Result<()> {
    let strides = stride.to_array(1)?;
    let Some(strides) = strides.as_primitive_opt::<IntervalMonthDayNanoType>() else {
        return Ok(());
    };
    let length = |of: IntervalMonthDayNano| {
        let days = i128::from(of.months) * i128::from(DAYS_OF_A_MONTH) + i128::from(of.days);
        days * i128::from(DAY_NS) + i128::from(of.nanoseconds)
    };
    match strides.iter().flatten().any(|stride| length(stride) <= 0) {
        true => exec_err!("the length of date_bin() must be greater than zero"),
        false => Ok(()),
    }
}

/// A part of an interval, such as a mean is of a sum.
pub fn divided_span(of: IntervalMonthDayNano, by: f64) -> Result<IntervalMonthDayNano> {
    scaled(of, |part| part / by)
}

fn justified(of: IntervalMonthDayNano, what: What) -> Result<IntervalMonthDayNano> {
    let (mut months, mut days, mut ns) = (i64::from(of.months), i64::from(of.days), of.nanoseconds);
    if what != What::Days {
        days += ns / DAY_NS;
        ns %= DAY_NS;
    }
    if what != What::Hours {
        months += days / DAYS_OF_A_MONTH;
        days %= DAYS_OF_A_MONTH;
    }
    match what {
        What::Days => (months, days) = one_sign(months, days, DAYS_OF_A_MONTH),
        What::Hours => (days, ns) = one_sign(days, ns, DAY_NS),
        _ => {
            (months, days) = one_sign_of_days(months, days, ns);
            (days, ns) = one_sign(days, ns, DAY_NS);
        }
    }
    span(months, days, ns.into())
}

/// Months and days with the same sign, where time decides for no days.
fn one_sign_of_days(months: i64, days: i64, ns: i64) -> (i64, i64) {
    match (months.signum(), days, ns.signum()) {
        (0, ..) => (months, days),
        (1, days, sign) if days < 0 || (days == 0 && sign < 0) => (months - 1, days + DAYS_OF_A_MONTH),
        (-1, days, sign) if days > 0 || (days == 0 && sign > 0) => (months + 1, days - DAYS_OF_A_MONTH),
        _ => (months, days),
    }
}

/// A count of units and a rest below one, with the same sign.
fn one_sign(count: i64, rest: i64, unit: i64) -> (i64, i64) {
    match (count.signum(), rest.signum()) {
        (1, -1) => (count - 1, rest + unit),
        (-1, 1) => (count + 1, rest - unit),
        _ => (count, rest),
    }
}

/// From one time to another, in the units of the calendar.
fn age(later: i64, earlier: i64) -> Result<IntervalMonthDayNano> {
    if later < earlier {
        let back = age(earlier, later)?;
        return span(
            -i64::from(back.months),
            -i64::from(back.days),
            -i128::from(back.nanoseconds),
        );
    }
    let parts = |us: i64| (calendar::date(us.div_euclid(US_PER_DAY)), us.rem_euclid(US_PER_DAY));
    let ((to, to_us), (from, from_us)) = (parts(later), parts(earlier));
    let mut months = (to.year - from.year) * 12 + to.month - from.month;
    let mut days = to.day - from.day;
    let mut us = to_us - from_us;
    if us < 0 {
        us += US_PER_DAY;
        days -= 1;
    }
    if days < 0 {
        let Date { year, month, .. } = from;
        days += calendar::days_of(year, month);
        months -= 1;
    }
    span(months, days, i128::from(us) * 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(months: i32, days: i32, seconds: f64) -> IntervalMonthDayNano {
        IntervalMonthDayNano::new(months, days, (seconds * 1e9) as i64)
    }

    #[test]
    fn intervals_are_scaled_as_postgres_does() {
        let times = |span, by: f64| scaled(span, |part| part * by).unwrap();
        assert_eq!(times(of(1, 0, 0.0), 1.5), of(1, 15, 0.0));
        assert_eq!(times(of(0, 1, 7_200.0), 2.0), of(0, 2, 14_400.0));
        assert_eq!(times(of(0, 1, 0.0), 0.5), of(0, 0, 43_200.0));
        assert_eq!(times(of(1, 1, 1.0), -1.0), of(-1, -1, -1.0));
        assert_eq!(
            scaled(of(1, 0, 0.0), |part| part / 7.0).unwrap(),
            of(0, 4, 24_685.689_6)
        );
        assert!(scaled(of(i32::MAX, 0, 0.0), |part| part * 2.0).is_err());
        assert!(scaled(of(1, 0, 0.0), |_| f64::NAN).is_err());
    }

    #[test]
    fn intervals_are_justified() {
        assert_eq!(justified(of(0, 35, 0.0), What::Days).unwrap(), of(1, 5, 0.0));
        assert_eq!(
            justified(of(0, 0, 27.0 * 3_600.0), What::Hours).unwrap(),
            of(0, 1, 3.0 * 3_600.0)
        );
        assert_eq!(
            justified(of(1, 0, -3_600.0), What::Both).unwrap(),
            of(0, 29, 23.0 * 3_600.0)
        );
        assert_eq!(
            justified(of(0, -1, 3_600.0), What::Both).unwrap(),
            of(0, 0, -23.0 * 3_600.0)
        );
    }

    #[test]
    fn ages_count_in_the_calendar() {
        let at = |year, month, day| calendar::day(Date { year, month, day }) * US_PER_DAY;
        assert_eq!(age(at(2001, 4, 10), at(1957, 6, 13)).unwrap(), of(43 * 12 + 9, 27, 0.0));
        assert_eq!(
            age(at(1957, 6, 13), at(2001, 4, 10)).unwrap(),
            of(-(43 * 12 + 9), -27, 0.0)
        );
        assert_eq!(
            age(at(2024, 3, 1) - 1, at(2024, 2, 1)).unwrap(),
            of(0, 28, 86_399.999_999)
        );
    }
}
