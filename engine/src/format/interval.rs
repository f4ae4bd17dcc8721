//! Intervals as text: the one place that reads and writes them.
//!
//! Read is whatever PostgreSQL reads: words (`1 year 2 mons -3 days`), a clock (`04:05:06`), years and
//! months (`1-2`), all of these together, and ISO 8601 (`P1Y2M3DT4H5M6S`). A part of a unit goes down to the
//! smaller ones: half a month is 15 days, half a day 12 hours.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, DurationMicrosecondType, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
};
use arrow::error::ArrowError;

use super::calendar::US_PER_DAY;

mod read;
mod write;

pub use read::{Field, parse, parse_as};
pub(crate) use write::push;
pub use write::text;

const NS_PER_SECOND: i64 = 1_000_000_000;

/// A column of INTERVALs, or of differences of times, as months, days and time. A difference has days and time.
///
/// # Errors
/// If a difference has more days than an INTERVAL may have.
pub fn of(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    if !matches!(column.data_type(), DataType::Duration(_)) {
        return cast_with_options(column, &DataType::Interval(IntervalUnit::MonthDayNano), &strict);
    }
    let micros = cast_with_options(column, &DataType::Duration(TimeUnit::Microsecond), &strict)?;
    let interval = |us: i64| {
        let days =
            i32::try_from(us / US_PER_DAY).map_err(|_| ArrowError::ComputeError("INTERVAL out of range".into()))?;
        Ok(IntervalMonthDayNano::new(0, days, us % US_PER_DAY * 1_000))
    };
    let micros = micros.as_primitive::<DurationMicrosecondType>();
    Ok(Arc::new(
        micros.try_unary::<_, IntervalMonthDayNanoType, ArrowError>(interval)?,
    ))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::IntervalMonthDayNano;
    use proptest::prelude::*;

    use super::*;

    const S: i64 = NS_PER_SECOND;
    const M: i64 = 60 * S;
    const H: i64 = 60 * M;

    fn of(months: i32, days: i32, nanos: i64) -> IntervalMonthDayNano {
        IntervalMonthDayNano::new(months, days, nanos)
    }

    fn written(interval: IntervalMonthDayNano) -> String {
        let mut out = Vec::new();
        push(&mut out, interval);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn words_are_read_as_postgres_does() {
        let read = [
            ("04:05:06", of(0, 0, 4 * H + 5 * M + 6 * S)),
            ("1 day 02:00:00", of(0, 1, 2 * H)),
            ("1 02:00", of(0, 1, 2 * H)),
            ("-1 days +02:03:00", of(0, -1, 2 * H + 3 * M)),
            ("-00:00:01.5", of(0, 0, -S - S / 2)),
            ("1 year 2 mons", of(14, 0, 0)),
            ("1-2", of(14, 0, 0)),
            ("-1-2 3 -4:05", of(-14, 3, -4 * H - 5 * M)),
            ("1.5 hours", of(0, 0, H + 30 * M)),
            ("1.5 days", of(0, 1, 12 * H)),
            ("-1.5 days", of(0, -1, -12 * H)),
            ("1.5 weeks", of(0, 10, 12 * H)),
            ("1.5 mons", of(1, 15, 0)),
            ("1.5 years", of(18, 0, 0)),
            ("1.04 years", of(12, 0, 0)),
            ("2 weeks", of(0, 14, 0)),
            ("@ 1 minute 5 secs ago", of(0, 0, -M - 5 * S)),
            ("1 day, 2 hours", of(0, 1, 2 * H)),
            ("1h30m", of(0, 0, H + 30 * M)),
            ("1 2 hours", of(0, 1, 2 * H)),
            ("5", of(0, 0, 5 * S)),
            (".5", of(0, 0, S / 2)),
            ("1:30.5", of(0, 0, M + 30 * S + S / 2)),
            ("100:00:00", of(0, 0, 100 * H)),
            ("3 ms 4 us 5 ns", of(0, 0, 3_004_005)),
            (
                "1 mons 2 days -3 hours 4.500000000 secs",
                of(1, 2, -3 * H + 4 * S + S / 2),
            ),
            ("1 century", of(1200, 0, 0)),
        ];
        for (text, interval) in read {
            assert_eq!(parse(text), Ok(interval), "{text}");
        }
        for bad in [
            "",
            "soon",
            "1 day 2 days",
            "day",
            "1 day hours",
            "1:60",
            "1:00:61",
            "1-12",
            "ago",
            "1 ago day",
            "- days",
            ".",
            "1:",
            "é 1",
            "1 day 04:05 2 hours",
            "99999999999 years",
            "9999999999999999999 s",
            "1e3 s",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn durations_of_iso_8601() {
        let read = [
            ("P1Y2M3DT4H5M6.5S", of(14, 3, 4 * H + 5 * M + 6 * S + S / 2)),
            ("P-1Y3DT-0.25S", of(-12, 3, -S / 4)),
            ("P2W", of(0, 14, 0)),
            ("P1.5D", of(0, 1, 12 * H)),
            ("P0001-02-03T04:05:06", of(14, 3, 4 * H + 5 * M + 6 * S)),
        ];
        for (text, interval) in read {
            assert_eq!(parse(text), Ok(interval), "{text}");
        }
        for bad in [
            "P",
            "PT",
            "P1",
            "P1H",
            "PT1D",
            "P99999999999Y",
            "P1Y1Y",
            "PTT1S",
            "P1-2",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(written(of(0, 0, 0)), "PT0S");
        assert_eq!(written(of(14, 3, 14_706_500_000_000)), "P1Y2M3DT4H5M6.5S");
        assert_eq!(written(of(-1, 0, -1)), "P-1MT-0.000000001S");
    }

    #[test]
    fn fields_say_what_numbers_count() {
        use Field::*;
        let read = [
            ("5", Minute, Minute, of(0, 0, 5 * M)),
            ("1:30", Minute, Second, of(0, 0, M + 30 * S)),
            ("1:30", Hour, Minute, of(0, 0, H + 30 * M)),
            ("1:30", Minute, Minute, of(0, 0, H + 30 * M)),
            ("1-2", Year, Month, of(14, 0, 0)),
            ("2", Year, Month, of(2, 0, 0)),
            ("1 2", Day, Hour, of(0, 1, 2 * H)),
            ("1 2:03:04", Day, Minute, of(0, 1, 2 * H + 3 * M)),
            ("90 seconds", Minute, Minute, of(0, 0, M)),
            ("-1.5", Hour, Hour, of(0, 0, -H)),
            ("14 months 3 days", Year, Year, of(12, 0, 0)),
        ];
        for (text, first, last, interval) in read {
            assert_eq!(
                parse_as(text, first, last),
                Ok(interval),
                "{text} {first:?} TO {last:?}"
            );
        }
    }

    #[test]
    fn written_as_postgres_does() {
        assert_eq!(text(of(0, 0, 0)), "00:00:00");
        assert_eq!(
            text(of(14, 3, 4 * H + 5 * M + 6 * S + S / 2)),
            "1 year 2 mons 3 days 04:05:06.5"
        );
        assert_eq!(text(of(0, -1, 2 * H + 3 * M)), "-1 days +02:03:00");
        assert_eq!(text(of(1, -1, -H)), "1 mon -1 days -01:00:00");
        assert_eq!(text(of(-1, 1, 0)), "-1 mons +1 day");
        assert_eq!(text(of(0, 0, -150 * H)), "-150:00:00");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(months: i32, days: i32, nanos in -i64::MAX..=i64::MAX) {
            let interval = of(months, days, nanos);
            prop_assert_eq!(parse(&written(interval)), Ok(interval));
            prop_assert_eq!(parse(&text(interval)), Ok(interval));
        }

        #[test]
        fn any_text(text: String) {
            let _ = parse(&text);
        }
    }
}
