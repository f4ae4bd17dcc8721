//! Times as text, by a template.

use std::fmt::Write;

use weir_engine::format::calendar::US_PER_DAY;

use super::calendar::{self, Date, JULIAN_EPOCH};
use super::{Field, Letters, Part};

pub(super) const HOUR_US: i64 = 3_600_000_000;
pub(super) const MINUTE_US: i64 = 60_000_000;
pub(super) const SECOND_US: i64 = 1_000_000;
pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
pub(super) const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
pub(super) const ROMAN: [&str; 12] = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];
/// The longest name of a month or day.
const NAME_WIDTH: usize = 9;

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Microseconds of a TIMESTAMP.
    Local,
    /// Microseconds of a TIMESTAMPTZ, in UTC.
    Moment,
    /// Microseconds of a day.
    TimeOfDay,
}

/// Whether a template asks for what a time of day has not.
pub fn needs_date(parts: &[Part]) -> bool {
    use Field::*;
    let of_the_clock = |field: &Field| {
        matches!(
            field,
            Hour12 | Hour24 | Minute | Second | Fraction(_) | SecondOfDay | Meridiem { .. }
        )
    };
    parts.iter().any(|part| match part {
        Part::Field { field, .. } => !of_the_clock(field),
        Part::Text(_) => false,
    })
}

/// Writes a time.
pub fn write(parts: &[Part], micros: i64, kind: Kind, out: &mut String) {
    let time = Time {
        day: micros.div_euclid(US_PER_DAY),
        of_day: micros.rem_euclid(US_PER_DAY),
        date: calendar::date(micros.div_euclid(US_PER_DAY)),
        kind,
    };
    part_by_part(parts, out, |field, bare, out| time.field(field, bare, out));
}

/// Writes a template's text and fields, the latter by `show`: the field, and whether it isn't filled up.
pub(super) fn part_by_part(parts: &[Part], out: &mut String, show: impl Fn(Field, bool, &mut String)) {
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Field { field, bare, ordinal } => {
                let from = out.len();
                show(*field, *bare, out);
                if let Some(letters) = ordinal
                    && out[from..].ends_with(|c: char| c.is_ascii_digit())
                {
                    let ending = ending(&out[from..]);
                    out.push_str(&lettered(ending, *letters));
                }
            }
        }
    }
}

struct Time {
    day: i64,
    of_day: i64,
    date: Date,
    kind: Kind,
}

impl Time {
    fn field(&self, field: Field, bare: bool, out: &mut String) {
        use Field::*;
        let Date { year, month, day } = self.date;
        let weekday = calendar::weekday(self.day);
        let of_year = self.day - calendar::new_year(year) + 1;
        let hour = self.of_day / HOUR_US;
        let mut number = |value: i64, width: usize| match bare {
            true => drop(write!(out, "{value}")),
            false => drop(write!(out, "{value:0width$}")),
        };
        // Years before 1 are counted backwards: 0 is 1 BC.
        let counted = |year: i64| if year > 0 { year } else { 1 - year };
        let last = |year: i64, digits: u32| match digits {
            4 => counted(year),
            digits => counted(year) % 10i64.pow(digits),
        };
        match field {
            Hour12 => number((hour + 11) % 12 + 1, 2),
            Hour24 => number(hour, 2),
            Minute => number(self.of_day / MINUTE_US % 60, 2),
            Second => number(self.of_day / SECOND_US % 60, 2),
            Fraction(digits) => fraction(self.of_day, digits, out),
            SecondOfDay => drop(write!(out, "{}", self.of_day / SECOND_US)),
            Year(digits) => number(last(year, digits), digits as usize),
            YearWithComma => with_comma(counted(year), out),
            IsoYear(digits) => number(last(calendar::iso_week(self.day).0, digits), digits as usize),
            Month => number(month, 2),
            DayOfYear => number(of_year, 3),
            IsoDayOfYear => {
                let iso_year = calendar::iso_week(self.day).0;
                number(self.day - calendar::first_iso_week(iso_year) + 1, 3);
            }
            Day => number(day, 2),
            DayOfWeek => number(weekday % 7 + 1, 1),
            IsoDayOfWeek => number(weekday, 1),
            WeekOfMonth => number((day - 1) / 7 + 1, 1),
            WeekOfYear => number((of_year - 1) / 7 + 1, 2),
            IsoWeek => number(calendar::iso_week(self.day).1, 2),
            Century => number(
                if year > 0 {
                    (year + 99) / 100
                } else {
                    -(100 - year) / 100
                },
                2,
            ),
            JulianDay => number(self.day + JULIAN_EPOCH, 1),
            Quarter => number((month - 1) / 3 + 1, 1),
            other => self.word(other, bare, out),
        }
    }

    /// A field that is no number.
    fn word(&self, field: Field, bare: bool, out: &mut String) {
        use Field::*;
        let month = MONTHS[self.date.month as usize - 1];
        let weekday = DAYS[calendar::weekday(self.day) as usize - 1];
        let mut word = |word: &str, letters: Letters, width: usize| {
            let word = lettered(word, letters);
            match bare {
                true => out.push_str(&word),
                false => drop(write!(out, "{word:<width$}")),
            }
        };
        let is_moment = self.kind == Kind::Moment;
        match field {
            MonthName(letters) => word(month, letters, NAME_WIDTH),
            MonthShort(letters) => word(&month[..3], letters, 0),
            MonthRoman(letters) => word(ROMAN[self.date.month as usize - 1], letters, 4),
            DayName(letters) => word(weekday, letters, NAME_WIDTH),
            DayShort(letters) => word(&weekday[..3], letters, 0),
            Meridiem { letters, points } => word(meridiem(self.of_day < 12 * HOUR_US, points), letters, 0),
            Era { letters, points } => word(
                match (self.date.year > 0, points) {
                    (true, false) => "AD",
                    (false, false) => "BC",
                    (true, true) => "A.D.",
                    (false, true) => "B.C.",
                },
                letters,
                0,
            ),
            Zone(letters) if is_moment => word("UTC", letters, 0),
            ZoneHours | Offset => out.push_str("+00"),
            ZoneMinutes => out.push_str("00"),
            _ => {}
        }
    }
}

/// The first digits of a fraction of a second, of which none is a filling.
pub(super) fn fraction(micros: i64, digits: u32, out: &mut String) {
    let (fraction, width) = (micros % SECOND_US / 10i64.pow(6 - digits), digits as usize);
    let _ = write!(out, "{fraction:0width$}");
}

pub(super) fn with_comma(year: i64, out: &mut String) {
    let _ = write!(out, "{},{:03}", year / 1000, year % 1000);
}

/// What half of a day it is.
pub(super) fn meridiem(is_first: bool, points: bool) -> &'static str {
    match (is_first, points) {
        (true, false) => "AM",
        (false, false) => "PM",
        (true, true) => "A.M.",
        (false, true) => "P.M.",
    }
}

pub(super) fn lettered(word: &str, letters: Letters) -> String {
    match letters {
        Letters::Upper => word.to_ascii_uppercase(),
        Letters::Title => word.to_string(),
        Letters::Lower => word.to_ascii_lowercase(),
    }
}

/// The ending of an ordinal number.
fn ending(number: &str) -> &'static str {
    let teen = number.len() > 1 && number.as_bytes()[number.len() - 2] == b'1';
    match number.as_bytes()[number.len() - 1] {
        b'1' if !teen => "ST",
        b'2' if !teen => "ND",
        b'3' if !teen => "RD",
        _ => "TH",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::templates::parse;

    /// 2024-02-29 13:05:06.789012, a Thursday.
    const TIME: i64 = 19_782 * US_PER_DAY + 13 * HOUR_US + 5 * MINUTE_US + 6 * SECOND_US + 789_012;

    fn shown(template: &str, micros: i64) -> String {
        let mut out = String::new();
        write(&parse(template).unwrap(), micros, Kind::Moment, &mut out);
        out
    }

    #[test]
    fn times_are_shown_as_postgres_does() {
        let cases = [
            ("YYYY-MM-DD HH24:MI:SS.MS", "2024-02-29 13:05:06.789"),
            ("HH12:MI:SS.US am", "01:05:06.789012 pm"),
            ("FMDay, FMDDth FMMonth YYYY", "Thursday, 29th February 2024"),
            ("Day|Month|DAY|mon|Dy", "Thursday |February |THURSDAY |feb|Thu"),
            ("DDD D ID W WW IW IYYY Q CC J", "060 5 4 5 09 09 2024 1 21 2460370"),
            ("YYY YY Y Y,YYY", "024 24 4 2,024"),
            (
                "SSSSS RM|rm BC TZ tz TZH:TZM OF",
                "47106 II  |ii   AD UTC utc +00:00 +00",
            ),
            ("FMMM FMHH12 FMMI", "2 1 5"),
            ("FF1 FF3 FF6", "7 789 789012"),
            ("\"T\"HH24\"h\"", "T13h"),
        ];
        for (template, expected) in cases {
            assert_eq!(shown(template, TIME), expected, "{template}");
        }
        assert_eq!(shown("HH12 AM", 0), "12 AM");
        assert_eq!(shown("HH12 AM", 12 * HOUR_US), "12 PM");
        assert_eq!(shown("YYYY BC", -719_529 * US_PER_DAY), "0002 BC");
    }
}
