//! Days and dates of the Gregorian calendar, counted from 1970-01-01.

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

/// Years begin in March here, so that the leap day is their last, and 400 of them are an era.
const ERA_DAYS: i64 = 146_097;
const DAYS_BEFORE_1970: i64 = 719_468;

/// The date of a day.
pub fn date(day: i64) -> Date {
    let shifted = day + DAYS_BEFORE_1970;
    let era = shifted.div_euclid(ERA_DAYS);
    let of_era = shifted.rem_euclid(ERA_DAYS);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    Date {
        year: year_of_era + era * 400 + i64::from(month <= 2),
        month,
        day: of_year - (153 * from_march + 2) / 5 + 1,
    }
}

/// The day of a date.
pub fn day(Date { year, month, day }: Date) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let from_march = (month + 9) % 12;
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    era * ERA_DAYS + of_era - DAYS_BEFORE_1970
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
