//! Days and dates of the Gregorian calendar, counted from 1970-01-01.

use weir_engine::format::calendar::{civil_from_days, days_from_civil};

/// A date; the year before 1 is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date {
    pub year: i64,
    /// From 1 on.
    pub month: i64,
    /// From 1 on.
    pub day: i64,
}

/// Days of the Julian calendar's count before 1970-01-01.
pub const JULIAN_EPOCH: i64 = 2_440_588;

/// The date of a day.
pub fn date(day: i64) -> Date {
    let (year, month, day) = civil_from_days(day);
    Date {
        year,
        month: month as i64,
        day: day as i64,
    }
}

/// The day of a date.
pub fn day(Date { year, month, day }: Date) -> i64 {
    days_from_civil(year, month, day)
}

/// The first day of a year.
pub fn new_year(year: i64) -> i64 {
    day(Date { year, month: 1, day: 1 })
}

/// Days of a month.
pub fn days_of(year: i64, month: i64) -> i64 {
    let next = match month {
        12 => Date {
            year: year + 1,
            month: 1,
            day: 1,
        },
        _ => Date {
            year,
            month: month + 1,
            day: 1,
        },
    };
    day(next) - day(Date { year, month, day: 1 })
}

/// 1 is Monday, 7 Sunday.
pub fn weekday(day: i64) -> i64 {
    (day + 3).rem_euclid(7) + 1
}

/// The Monday with which the first ISO week of a year begins.
pub fn first_iso_week(year: i64) -> i64 {
    let fourth = new_year(year) + 3;
    fourth - (weekday(fourth) - 1)
}

/// The ISO year and week of a day.
pub fn iso_week(of: i64) -> (i64, i64) {
    let year = date(of - weekday(of) + 4).year;
    (year, (of - first_iso_week(year)) / 7 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_are_each_others() {
        for (number, expected) in [
            (0, (1970, 1, 1)),
            (19_782, (2024, 2, 29)),
            (-719_528, (0, 1, 1)),
            (-1, (1969, 12, 31)),
        ] {
            let Date {
                year,
                month,
                day: of_month,
            } = date(number);
            assert_eq!((year, month, of_month), expected);
        }
        for number in (-1_000_000..1_000_000).step_by(37) {
            assert_eq!(day(date(number)), number);
        }
        assert_eq!((days_of(2024, 2), days_of(2023, 2), days_of(2023, 12)), (29, 28, 31));
        assert_eq!(weekday(0), 4);
        // 2021-01-03 is a Sunday of 2020's last week.
        assert_eq!(iso_week(18_630), (2020, 53));
        assert_eq!(iso_week(18_631), (2021, 1));
    }
}
