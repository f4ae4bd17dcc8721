//! Dates, times and timestamps as text, both ways.
//!
//! Days are counted from 1970-01-01 in the proleptic Gregorian calendar. Written are RFC 3339
//! timestamps in UTC; read are these and PostgreSQL's spelling of them.
//! Digits finer than a microsecond are cut off. Years beyond 0–9999 carry a sign.

use super::number::{Why, push_padded};

pub(crate) const US_PER_SECOND: i64 = 1_000_000;
/// Microseconds of a day.
pub const US_PER_DAY: i64 = 86_400 * US_PER_SECOND;

const NO_DATE: Why = "it is not a date YYYY-MM-DD";
const NO_TIME: Why = "it is not a time HH:MM:SS[.ffffff]";
const DAY_END: Why = "the last TIME of a day is 23:59:59.999999, and its end is the next day's 00:00:00";
const NO_TIMESTAMP: Why = "it is not a timestamp YYYY-MM-DD HH:MM:SS[.ffffff][offset]";
const OUT_OF_RANGE: Why = "it is out of range";

/// Days since 1970-01-01 of a day in the Gregorian calendar (Howard Hinnant, "chrono-compatible
/// low-level date algorithms": years begin in March, 400 years are an era).
pub fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`]: year, month, day.
pub fn civil_from_days(days: i64) -> (i64, u64, u64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month as u64, day as u64)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Reads two digits.
#[inline]
fn two_digits(text: &[u8]) -> Option<i64> {
    match text {
        [a @ b'0'..=b'9', b @ b'0'..=b'9', ..] => Some(i64::from(a - b'0') * 10 + i64::from(b - b'0')),
        _ => None,
    }
}

/// Reads a year of four digits, or of four to seven after a sign; gives what follows.
fn year(text: &[u8]) -> Option<(i64, &[u8])> {
    let (sign, digits, most) = match text {
        [b'+', rest @ ..] => (1, rest, 7),
        [b'-', rest @ ..] => (-1, rest, 7),
        _ => (1, text, 4),
    };
    let count = digits
        .iter()
        .take(most)
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    if count < 4 {
        return None;
    }
    let value = digits[..count]
        .iter()
        .fold(0i64, |value, digit| value * 10 + i64::from(digit - b'0'));
    Some((sign * value, &digits[count..]))
}

/// Reads a date at the start of `text`: days since the epoch and what follows.
#[inline]
fn leading_date(text: &[u8]) -> Option<(i64, &[u8])> {
    let (year, rest) = year(text)?;
    let [b'-', a, b, b'-', c, d, rest @ ..] = rest else {
        return None;
    };
    let (month, day) = (two_digits(&[*a, *b])?, two_digits(&[*c, *d])?);
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    Some((days_from_civil(year, month, day), rest))
}

/// Reads `HH:MM[:SS[.f…]]` at the start of `text`: microseconds since midnight and what follows.
/// Second 60 is read as the next minute's first.
#[inline]
fn leading_time(text: &[u8]) -> Option<(i64, &[u8])> {
    let [a, b, b':', c, d, rest @ ..] = text else {
        return None;
    };
    let (hour, minute) = (two_digits(&[*a, *b])?, two_digits(&[*c, *d])?);
    if hour > 23 || minute > 59 {
        return None;
    }
    let minutes_us = (hour * 3_600 + minute * 60) * US_PER_SECOND;
    let [b':', rest @ ..] = rest else {
        return Some((minutes_us, rest));
    };
    let second = two_digits(rest)?;
    if second > 60 {
        return None;
    }
    let rest = &rest[2..];
    let whole_us = minutes_us + second * US_PER_SECOND;
    let [b'.', digits @ ..] = rest else {
        return Some((whole_us, rest));
    };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 {
        return None;
    }
    Some((whole_us + fraction(&digits[..count], 6), &digits[count..]))
}

/// The digits behind a point as a whole number of so many places; further digits are left out.
pub(super) fn fraction(digits: &[u8], places: usize) -> i64 {
    (0..places).fold(0, |number, place| {
        number * 10 + digits.get(place).map_or(0, |digit| i64::from(digit - b'0'))
    })
}

/// Reads a whole offset from UTC: nothing, `Z`, `±HH`, `±HHMM` or `±HH:MM`; in microseconds.
fn offset(text: &[u8]) -> Option<i64> {
    let (sign, rest) = match text {
        [] | [b'Z' | b'z'] => return Some(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let hours = two_digits(rest)?;
    let minutes = match &rest[2..] {
        [] => 0,
        [b':', minutes @ ..] | minutes if minutes.len() == 2 => two_digits(minutes)?,
        _ => return None,
    };
    if hours > 23 || minutes > 59 {
        return None;
    }
    Some(sign * (hours * 3_600 + minutes * 60) * US_PER_SECOND)
}

/// Reads a DATE: days since the epoch.
///
/// # Errors
/// Says what a date looks like.
pub fn date(text: &[u8]) -> Result<i32, Why> {
    match leading_date(text) {
        Some((days, [])) => i32::try_from(days).map_err(|_| OUT_OF_RANGE),
        _ => Err(NO_DATE),
    }
}

/// Reads a TIME: microseconds since midnight.
///
/// # Errors
/// Says what a time looks like.
pub fn time(text: &[u8]) -> Result<i64, Why> {
    match leading_time(text) {
        Some((us, [])) if us < US_PER_DAY => Ok(us),
        None if text.starts_with(b"24:00") => Err(DAY_END),
        _ => Err(NO_TIME),
    }
}

/// Reads a TIMESTAMP: microseconds since the epoch, in UTC where an offset is given. The time may
/// be left out (midnight), the date may not.
///
/// # Errors
/// Says what a timestamp looks like.
pub fn timestamp(text: &[u8]) -> Result<i64, Why> {
    let (days, rest) = leading_date(text).ok_or(NO_TIMESTAMP)?;
    let (time_us, rest) = match rest {
        [] => (0, rest),
        [b'T' | b't' | b' ', rest @ ..] => leading_time(rest).ok_or(NO_TIMESTAMP)?,
        _ => return Err(NO_TIMESTAMP),
    };
    let offset_us = offset(rest).ok_or(NO_TIMESTAMP)?;
    // The day and what is within it may have opposite signs at the edge of the range.
    let us = i128::from(days) * i128::from(US_PER_DAY) + i128::from(time_us - offset_us);
    i64::try_from(us).map_err(|_| OUT_OF_RANGE)
}

/// Writes a DATE.
pub(crate) fn push_date(out: &mut Vec<u8>, days: i64) {
    let (year, month, day) = civil_from_days(days);
    if (0..=9_999).contains(&year) {
        push_padded(out, year as u64, 4);
    } else {
        out.push(if year < 0 { b'-' } else { b'+' });
        let digits = year.unsigned_abs().checked_ilog10().map_or(1, |log| log as usize + 1);
        push_padded(out, year.unsigned_abs(), digits.max(4));
    }
    out.push(b'-');
    push_padded(out, month, 2);
    out.push(b'-');
    push_padded(out, day, 2);
}

/// A TIME as text.
pub fn time_text(us: i64) -> String {
    let mut text = Vec::with_capacity(15);
    push_time(&mut text, us);
    String::from_utf8_lossy(&text).into_owned()
}

/// Writes a TIME, without needless zeros after the point.
pub(crate) fn push_time(out: &mut Vec<u8>, us: i64) {
    let seconds = (us / US_PER_SECOND) as u64;
    push_padded(out, seconds / 3_600, 2);
    out.push(b':');
    push_padded(out, seconds / 60 % 60, 2);
    out.push(b':');
    push_padded(out, seconds % 60, 2);
    push_fraction(out, (us % US_PER_SECOND) as u64, 6);
}

/// Writes `.` and the digits of `value / 10^digits` without trailing zeros; nothing for 0.
pub(super) fn push_fraction(out: &mut Vec<u8>, value: u64, digits: usize) {
    if value == 0 {
        return;
    }
    out.push(b'.');
    push_padded(out, value, digits);
    while out.last() == Some(&b'0') {
        out.pop();
    }
}

/// Writes a TIMESTAMP as RFC 3339 in UTC.
pub(crate) fn push_timestamp(out: &mut Vec<u8>, us: i64) {
    push_date(out, us.div_euclid(US_PER_DAY));
    out.push(b'T');
    push_time(out, us.rem_euclid(US_PER_DAY));
    out.push(b'Z');
}

/// Writes a TIMESTAMP, or a TIMESTAMPTZ in UTC, as PostgreSQL does: `2024-01-01 12:30:00.5+00`.
pub(crate) fn push_sql_timestamp(out: &mut Vec<u8>, us: i64, is_moment: bool) {
    push_date(out, us.div_euclid(US_PER_DAY));
    out.push(b' ');
    push_time(out, us.rem_euclid(US_PER_DAY));
    if is_moment {
        out.extend_from_slice(b"+00");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(push: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn timestamps() {
        let at = |text: &str| timestamp(text.as_bytes());
        assert_eq!(at("1970-01-01T00:00:00Z"), Ok(0));
        assert_eq!(at("2024-02-29 12:34:56.789"), Ok(1_709_210_096_789_000));
        assert_eq!(at("2024-02-29T12:34:56.789123999+02:00"), Ok(1_709_202_896_789_123));
        assert_eq!(at("2024-02-29t12:34:56-0530"), Ok(1_709_229_896_000_000));
        assert_eq!(at("2024-02-29 12:34+01"), Ok(1_709_206_440_000_000));
        assert_eq!(at("2024-02-29"), Ok(1_709_164_800_000_000));
        assert_eq!(at("1969-12-31T23:59:59.999999Z"), Ok(-1));
        assert_eq!(at("2016-12-31T23:59:60Z"), Ok(1_483_228_800_000_000));
        assert_eq!(at("+300000-01-01T00:00:00Z"), Err(OUT_OF_RANGE));
        for bad in [
            "",
            "2024",
            "2024-13-01",
            "2023-02-29",
            "2024-02-30T00:00:00Z",
            "2024-02-29T24:00:00Z",
            "2024-02-29T12",
            "2024-02-29T12:60:00Z",
            "2024-02-29T12:00:61Z",
            "2024-02-29T12:00:00.Z",
            "2024-02-29T12:00:00+1",
            "2024-02-29T12:00:00+24:00",
            "2024-02-29T12:00:00Zx",
            "2024-2-29",
            "20240229",
            "1709210096789",
        ] {
            assert_eq!(at(bad), Err(NO_TIMESTAMP), "{bad:?}");
        }
    }

    #[test]
    fn dates_and_times() {
        assert_eq!(date(b"1970-01-01"), Ok(0));
        assert_eq!(date(b"2000-03-01"), Ok(11_017));
        assert_eq!(date(b"0000-02-29"), Ok(-719_469));
        assert_eq!(date(b"2024-01-01T00:00:00Z"), Err(NO_DATE));
        assert_eq!(date(b"+9999999-01-01"), Err(OUT_OF_RANGE));
        assert_eq!(time(b"23:59:59.5"), Ok(86_399_500_000));
        assert_eq!(time(b"07:30"), Ok(27_000_000_000));
        assert_eq!(time(b"23:59:60"), Err(NO_TIME));
        assert_eq!(time(b"24:00:00"), Err(DAY_END));
    }

    #[test]
    fn written_forms() {
        assert_eq!(
            written(|out| push_timestamp(out, 1_709_210_096_780_000)),
            "2024-02-29T12:34:56.78Z"
        );
        assert_eq!(
            written(|out| push_timestamp(out, 1_709_210_096_000_000)),
            "2024-02-29T12:34:56Z"
        );
        assert_eq!(written(|out| push_date(out, -719_529)), "-0001-12-31");
        assert_eq!(written(|out| push_date(out, 2_932_897)), "+10000-01-01");
        assert_eq!(written(|out| push_time(out, 1)), "00:00:00.000001");
    }

    proptest! {
        #[test]
        fn timestamps_read_back(us: i64) {
            let text = written(|out| push_timestamp(out, us));
            prop_assert_eq!(timestamp(text.as_bytes()), Ok(us), "{}", text);
        }

        #[test]
        fn dates_read_back(days: i32) {
            let text = written(|out| push_date(out, i64::from(days)));
            prop_assert_eq!(date(text.as_bytes()), Ok(days), "{}", text);
        }

        #[test]
        fn times_read_back(us in 0..US_PER_DAY) {
            prop_assert_eq!(time(written(|out| push_time(out, us)).as_bytes()), Ok(us));
        }

        #[test]
        fn any_text(text: String) {
            let _ = (timestamp(text.as_bytes()), date(text.as_bytes()), time(text.as_bytes()));
        }
    }
}
