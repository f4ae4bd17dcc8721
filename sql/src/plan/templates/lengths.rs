//! Intervals as text, by a template of times.
//!
//! As in PostgreSQL an interval shows years and what months are left, its days, and its hours however many they are; of
//! what belongs to a day of the calendar it has nothing. Each part has its own sign.

use std::fmt::Write;

use arrow::datatypes::IntervalMonthDayNano;

use super::show::{HOUR_US, MINUTE_US, SECOND_US, fraction, lettered, meridiem, part_by_part, with_comma};
use super::{Field, Part};

/// Days of a year and of a month, where they are counted together.
const YEAR_DAYS: i64 = 360;
const MONTH_DAYS: i64 = 30;

/// Whether a template asks for what belongs to a day of the calendar.
pub fn needs_calendar(parts: &[Part]) -> bool {
    use Field::*;
    let of_a_length = |field: &Field| {
        matches!(
            field,
            Hour12
                | Hour24
                | Minute
                | Second
                | Fraction(_)
                | SecondOfDay
                | Meridiem { .. }
                | Year(_)
                | YearWithComma
                | Month
                | Day
                | DayOfYear
                | Century
        )
    };
    parts.iter().any(|part| match part {
        Part::Field { field, .. } => !of_a_length(field),
        Part::Text(_) => false,
    })
}

/// Writes an interval.
pub fn write(parts: &[Part], interval: IntervalMonthDayNano, out: &mut String) {
    let length = Length {
        years: i64::from(interval.months) / 12,
        months: i64::from(interval.months) % 12,
        days: i64::from(interval.days),
        micros: interval.nanoseconds / 1000,
    };
    part_by_part(parts, out, |field, bare, out| length.field(field, bare, out));
}

struct Length {
    years: i64,
    months: i64,
    days: i64,
    micros: i64,
}

impl Length {
    fn field(&self, field: Field, bare: bool, out: &mut String) {
        use Field::*;
        let hours = self.micros / HOUR_US;
        // A sign stands before as many digits.
        let mut number = |value: i64, digits: usize| {
            let width = if bare { 0 } else { digits + usize::from(value < 0) };
            let _ = write!(out, "{value:0width$}");
        };
        match field {
            Hour12 if hours % 12 == 0 => number(12, 2),
            Hour12 => number(hours % 12, 2),
            Hour24 => number(hours, 2),
            Minute => number(self.micros / MINUTE_US % 60, 2),
            Second => number(self.micros / SECOND_US % 60, 2),
            Fraction(digits) => fraction(self.micros, digits, out),
            SecondOfDay => number(self.micros / SECOND_US, 1),
            Meridiem { letters, points } => out.push_str(&lettered(meridiem(hours % 24 < 12, points), letters)),
            Year(4) => number(self.years, 4),
            Year(digits) => number(self.years % 10i64.pow(digits), digits as usize),
            YearWithComma => with_comma(self.years, out),
            Month => number(self.months, 2),
            Day => number(self.days, 2),
            DayOfYear => number(self.years * YEAR_DAYS + self.months * MONTH_DAYS + self.days, 3),
            Century => number(self.years / 100, 2),
            // Those of the calendar are refused before.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::templates::parse;

    fn shown(template: &str, months: i32, days: i32, micros: i64) -> String {
        let mut out = String::new();
        let interval = IntervalMonthDayNano::new(months, days, micros * 1000);
        write(&parse(template).unwrap(), interval, &mut out);
        out
    }

    #[test]
    fn intervals_are_shown_as_postgres_does() {
        let time = 2 * HOUR_US + 3 * MINUTE_US + 4 * SECOND_US + 50_000;
        for (template, expected) in [
            ("HH24:MI:SS.MS", "02:03:04.050"),
            ("DD HH24h", "05 02h"),
            ("YYYY-MM-DD", "0001-02-05"),
            ("FMDD FMHH24 YY Y", "5 2 01 1"),
            ("HH12 AM SSSS US", "02 AM 7384 050000"),
            ("DDD CC Y,YYY", "425 00 0,001"),
        ] {
            assert_eq!(shown(template, 14, 5, time), expected, "{template}");
        }
        assert_eq!(shown("HH24:MI", 0, 0, 100 * HOUR_US), "100:00");
        assert_eq!(shown("HH24:MI:SS", 0, 0, -(HOUR_US + MINUTE_US)), "-01:-01:00");
        assert_eq!(shown("HH12 PM", 0, 0, 36 * HOUR_US), "12 PM");
        assert!(needs_calendar(&parse("Day").unwrap()) && !needs_calendar(&parse("DD").unwrap()));
    }
}
