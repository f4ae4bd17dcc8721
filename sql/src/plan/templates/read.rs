//! Text as times, by a template.
//!
//! As in PostgreSQL blanks around fields are passed over, a separator in the template stands for any, text
//! that ends early leaves the rest at its first value, and what follows the last field is not looked at.

use super::calendar::{self, Date, JULIAN_EPOCH};
use super::show::{DAYS, MONTHS, ROMAN};
use super::{Field, Part};

/// The microseconds of a moment that a text spells, from 1970 on; an error says what stands in the way.
pub fn read(parts: &[Part], text: &str) -> Result<i64, String> {
    let mut found = Found::default();
    let mut rest = text;
    for (place, part) in parts.iter().enumerate() {
        match part {
            Part::Text(separators) => {
                let signed = matches!(
                    parts.get(place + 1),
                    Some(Part::Field {
                        field: Field::ZoneHours | Field::Zone(_) | Field::Offset,
                        ..
                    })
                );
                rest = passed(separators, signed, rest);
            }
            Part::Field { field, ordinal, .. } => {
                rest = rest.trim_start();
                if rest.is_empty() {
                    break;
                }
                let next_is_number =
                    matches!(parts.get(place + 1), Some(Part::Field { field, .. }) if digits(*field).is_some());
                rest = found.take(*field, next_is_number, rest)?;
                if ordinal.is_some() {
                    rest = rest.get(2..).unwrap_or("");
                }
            }
        }
    }
    found.micros()
}

/// Whether text can be read by a template; an error names the field that can't.
pub fn can_read(parts: &[Part]) -> Result<(), String> {
    for part in parts {
        if let Part::Field { field, .. } = part {
            let word = match field {
                Field::WeekOfMonth => "W",
                Field::WeekOfYear => "WW",
                Field::Century => "CC",
                Field::Quarter => "Q",
                Field::DayOfWeek => "D",
                _ => continue,
            };
            return Err(format!(
                "no time can be read by {word}; YYYY with MM and DD, DDD, or IYYY with IW and ID tell a day"
            ));
        }
    }
    Ok(())
}

/// What is left behind text of the template; a sign may belong to what comes.
fn passed<'a>(template: &str, signed: bool, mut rest: &'a str) -> &'a str {
    for expected in template.chars() {
        if expected.is_alphanumeric() {
            let mut characters = rest.chars();
            characters.next();
            rest = characters.as_str();
            continue;
        }
        rest = rest.trim_start();
        let is_separator = |c: char| !(c.is_alphanumeric() || signed && matches!(c, '+' | '-'));
        rest = rest.strip_prefix(is_separator).unwrap_or(rest);
    }
    rest
}

/// The most digits of a field that is a number.
fn digits(field: Field) -> Option<usize> {
    use Field::*;
    Some(match field {
        Hour12 | Hour24 | Minute | Second | Month | Day | IsoWeek => 2,
        Fraction(digits) => digits as usize,
        SecondOfDay => 5,
        Year(digits) | IsoYear(digits) => digits as usize,
        DayOfYear | IsoDayOfYear => 3,
        IsoDayOfWeek => 1,
        JulianDay => 7,
        _ => return None,
    })
}

#[derive(Default)]
struct Found {
    hour: i64,
    /// Whether it is after noon, of an hour up to 12.
    afternoon: Option<bool>,
    short_hour: bool,
    minute: i64,
    second: i64,
    micros: i64,
    second_of_day: Option<i64>,
    year: Option<i64>,
    before_christ: bool,
    iso_year: Option<i64>,
    iso_week: Option<i64>,
    iso_weekday: Option<i64>,
    iso_day: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    julian: Option<i64>,
    /// Minutes east of UTC.
    zone: i64,
    zone_is_west: bool,
}

impl Found {
    /// Takes a field from the text; what is left of that.
    fn take<'a>(&mut self, field: Field, fixed: bool, text: &'a str) -> Result<&'a str, String> {
        use Field::*;
        if let Some(most) = digits(field) {
            let (number, written, rest) = number(field, if fixed { most } else { usize::MAX }, text)?;
            self.number(field, number, written);
            return Ok(rest);
        }
        match field {
            YearWithComma => {
                let (thousands, behind) = text.split_once(',').ok_or_else(|| misfit(text, "a year as Y,YYY"))?;
                let (rest_of_year, _, rest) = number(Year(3), 3, behind)?;
                let thousands: i64 = thousands.trim().parse().map_err(|_| misfit(text, "a year as Y,YYY"))?;
                self.year = Some(thousands * 1000 + rest_of_year);
                Ok(rest)
            }
            MonthName(_) => self.month(text, MONTHS.map(str::to_string)),
            MonthShort(_) => self.month(text, MONTHS.map(|name| name[..3].to_string())),
            MonthRoman(_) => self.month(text, ROMAN.map(str::to_string)),
            DayName(_) => Ok(one_of(text, &DAYS.map(str::to_string), "a day's name")?.1),
            DayShort(_) => Ok(one_of(text, &DAYS.map(|name| name[..3].to_string()), "a day's name")?.1),
            Meridiem { .. } => {
                let words = ["AM", "PM", "A.M.", "P.M."].map(str::to_string);
                let (word, rest) = one_of(text, &words, "AM or PM")?;
                self.afternoon = Some(word % 2 == 1);
                Ok(rest)
            }
            Era { .. } => {
                let words = ["AD", "BC", "A.D.", "B.C."].map(str::to_string);
                let (word, rest) = one_of(text, &words, "AD or BC")?;
                self.before_christ = word % 2 == 1;
                Ok(rest)
            }
            ZoneHours | ZoneMinutes | Offset | Zone(_) => self.zone(field, text),
            _ => Err(format!("no time can be read by {field:?}")),
        }
    }

    fn number(&mut self, field: Field, number: i64, written: usize) {
        use Field::*;
        // Years of less than four digits are near 2020.
        let near = |year: i64, digits: u32| match year {
            year if digits == 4 || written > 3 => year,
            year if year < 70 => year + 2000,
            year if year < 100 => year + 1900,
            year if year < 520 => year + 2000,
            year => year + 1000,
        };
        match field {
            Hour12 => (self.hour, self.short_hour) = (number, true),
            Hour24 => self.hour = number,
            Minute => self.minute = number,
            Second => self.second = number,
            Fraction(_) => {
                let digits = written.min(6) as u32;
                self.micros = number * 10i64.pow(6 - digits);
            }
            SecondOfDay => self.second_of_day = Some(number),
            Year(digits) => self.year = Some(near(number, digits)),
            IsoYear(digits) => self.iso_year = Some(near(number, digits)),
            Month => self.month = Some(number),
            Day => self.day = Some(number),
            DayOfYear => self.day_of_year = Some(number),
            IsoDayOfYear => self.iso_day = Some(number),
            IsoWeek => self.iso_week = Some(number),
            IsoDayOfWeek => self.iso_weekday = Some(number),
            JulianDay => self.julian = Some(number),
            _ => {}
        }
    }

    fn month<'a>(&mut self, text: &'a str, names: [String; 12]) -> Result<&'a str, String> {
        let (place, rest) = one_of(text, &names, "a month's name")?;
        self.month = Some(place as i64 + 1);
        Ok(rest)
    }

    fn zone<'a>(&mut self, field: Field, text: &'a str) -> Result<&'a str, String> {
        if field == Field::ZoneMinutes {
            let (minutes, _, rest) = number(Field::Minute, 2, text)?;
            self.zone += if self.zone_is_west { -minutes } else { minutes };
            return Ok(rest);
        }
        for utc in ["UTC", "GMT", "Z"] {
            if let Some(start) = text.get(..utc.len())
                && start.eq_ignore_ascii_case(utc)
                && field != Field::ZoneHours
            {
                return Ok(&text[utc.len()..]);
            }
        }
        let (west, behind) = match (text.strip_prefix('-'), text.strip_prefix('+')) {
            (Some(behind), _) => (true, behind),
            (_, Some(behind)) => (false, behind),
            _ if field == Field::ZoneHours => (false, text),
            _ => return Err(misfit(text, "UTC or an offset such as +01:30")),
        };
        let (hours, _, mut rest) = number(Field::Hour24, 2, behind)?;
        let mut minutes = 0;
        if field != Field::ZoneHours
            && let Some(behind) = rest.strip_prefix(':')
        {
            (minutes, _, rest) = number(Field::Minute, 2, behind)?;
        }
        self.zone_is_west = west;
        let offset = hours * 60 + minutes;
        self.zone = if west { -offset } else { offset };
        Ok(rest)
    }

    fn micros(&self) -> Result<i64, String> {
        let within = |name: &str, value: i64, least: i64, most: i64| match (least..=most).contains(&value) {
            true => Ok(value),
            false => Err(format!("{name} {value} is out of range")),
        };
        let mut hour = within("hour", self.hour, 0, 24)?;
        if self.short_hour {
            within("hour", hour, 1, 12)?;
            hour = hour % 12 + if self.afternoon == Some(true) { 12 } else { 0 };
        }
        let minute = within("minute", self.minute, 0, 59)?;
        let second = within("second", self.second, 0, 59)?;
        let of_day = match self.second_of_day {
            Some(second) => within("second of the day", second, 0, 86_400)?,
            None => within("second of the day", hour * 3600 + minute * 60 + second, 0, 86_400)?,
        };
        let zone = within("time zone of minutes", self.zone, -960, 960)?;
        let seconds = self.day()?.checked_mul(86_400);
        let seconds = seconds.and_then(|day| day.checked_add(of_day - zone * 60));
        let micros = seconds.and_then(|seconds| seconds.checked_mul(1_000_000)?.checked_add(self.micros));
        micros.ok_or_else(|| "it is out of range".to_string())
    }

    fn day(&self) -> Result<i64, String> {
        if let Some(julian) = self.julian {
            return Ok(julian - JULIAN_EPOCH);
        }
        if let Some(year) = self.iso_year {
            let monday = calendar::first_iso_week(year);
            return match (self.iso_day, self.iso_week) {
                (Some(day @ 1..=371), _) => Ok(monday + day - 1),
                (None, Some(week @ 1..=53)) => match self.iso_weekday.unwrap_or(1) {
                    weekday @ 1..=7 => Ok(monday + (week - 1) * 7 + weekday - 1),
                    other => Err(format!("day {other} of a week is out of range")),
                },
                (None, None) => Ok(monday),
                _ => Err("the week or day of the year is out of range".to_string()),
            };
        }
        let year = match (self.year, self.before_christ) {
            (Some(year), true) => 1 - year,
            (Some(0), false) => return Err("there is no year 0".to_string()),
            (Some(year), false) => year,
            // As PostgreSQL has it.
            (None, _) => 0,
        };
        if !(-290_000..=290_000).contains(&year) {
            return Err(format!("year {year} is out of range"));
        }
        if let Some(day) = self.day_of_year {
            let first = calendar::new_year(year);
            let days = calendar::new_year(year + 1) - first;
            return match (1..=days).contains(&day) {
                true => Ok(first + day - 1),
                false => Err(format!("day {day} of the year is out of range")),
            };
        }
        let month = self.month.unwrap_or(1);
        if !(1..=12).contains(&month) {
            return Err(format!("month {month} is out of range"));
        }
        let day = self.day.unwrap_or(1);
        match (1..=calendar::days_of(year, month)).contains(&day) {
            true => Ok(calendar::day(Date { year, month, day })),
            false => Err(format!("day {day} of the month is out of range")),
        }
    }
}

/// A number of at most so many digits, how many it has, and what is left of the text.
fn number(field: Field, most: usize, text: &str) -> Result<(i64, usize, &str), String> {
    let length = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at(length);
    // Of a fraction the digits that are kept.
    let kept = match field {
        Field::Fraction(_) => &digits[..length.min(6)],
        _ => digits,
    };
    match kept.parse() {
        Ok(number) => Ok((number, kept.len(), rest)),
        Err(_) if length == 0 => Err(misfit(text, "a number")),
        Err(_) => Err(format!("{digits} is out of range")),
    }
}

/// Which of the words the text begins with, and what is left of it. Longer words are preferred.
fn one_of<'a>(text: &'a str, words: &[String], what: &str) -> Result<(usize, &'a str), String> {
    let begins = |word: &String| {
        text.get(..word.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(word))
    };
    let found = words.iter().enumerate().filter(|(_, word)| begins(word));
    match found.max_by_key(|(_, word)| word.len()) {
        Some((place, word)) => Ok((place, &text[word.len()..])),
        None => Err(misfit(text, what)),
    }
}

fn misfit(text: &str, what: &str) -> String {
    let shown: String = text.chars().take(20).collect();
    format!("'{shown}' is not {what}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::templates::parse;
    use crate::plan::templates::show::{Kind, write};

    fn again(text: &str, template: &str) -> Result<String, String> {
        let micros = read(&parse(template).unwrap(), text)?;
        let mut out = String::new();
        let whole = parse("YYYY-MM-DD HH24:MI:SS.US").unwrap();
        write(&whole, micros, Kind::Local, &mut out);
        Ok(out)
    }

    #[test]
    fn times_are_read_as_postgres_does() {
        let cases = [
            ("2024-02-29", "YYYY-MM-DD", "2024-02-29 00:00:00.000000"),
            ("20240229130506", "YYYYMMDDHH24MISS", "2024-02-29 13:05:06.000000"),
            ("29 Feb 2024", "DD Mon YYYY", "2024-02-29 00:00:00.000000"),
            (
                "29th February, 2024 1:05 pm",
                "DDth Month, YYYY HH12:MI am",
                "2024-02-29 13:05:00.000000",
            ),
            ("2024/2/9", "YYYY-MM-DD", "2024-02-09 00:00:00.000000"),
            ("  2024  02  29", "YYYY-MM-DD", "2024-02-29 00:00:00.000000"),
            ("24-2-9", "YY-MM-DD", "2024-02-09 00:00:00.000000"),
            ("99-2-9", "YY-MM-DD", "1999-02-09 00:00:00.000000"),
            ("12:34:56.7", "HH24:MI:SS.MS", "0001-01-01 12:34:56.700000"),
            ("2024 060", "YYYY DDD", "2024-02-29 00:00:00.000000"),
            ("2020-53-7", "IYYY-IW-ID", "2021-01-03 00:00:00.000000"),
            ("2024", "YYYY-MM-DD", "2024-01-01 00:00:00.000000"),
            ("2024-02-29 xyz", "YYYY-MM-DD", "2024-02-29 00:00:00.000000"),
            (
                "2024-02-29T13:05:06.789012+01:30",
                "YYYY-MM-DD\"T\"HH24:MI:SS.USOF",
                "2024-02-29 11:35:06.789012",
            ),
            ("2024-02-29 13 -02", "YYYY-MM-DD HH24 TZH", "2024-02-29 15:00:00.000000"),
            ("2460370", "J", "2024-02-29 00:00:00.000000"),
            ("2024JUN", "YYYY MON", "2024-06-01 00:00:00.000000"),
        ];
        for (text, template, expected) in cases {
            assert_eq!(again(text, template).as_deref(), Ok(expected), "{text} {template}");
        }
        for (text, template) in [
            ("2023-02-29", "YYYY-MM-DD"),
            ("2024-13-01", "YYYY-MM-DD"),
            ("x", "YYYY"),
            ("2024 Foo", "YYYY Mon"),
            ("13", "HH12"),
            ("25", "HH24"),
            ("99999999999999999999", "YYYY"),
        ] {
            assert!(again(text, template).is_err(), "{text} {template}");
        }
    }
}
