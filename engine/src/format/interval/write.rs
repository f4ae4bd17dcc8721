//! Writing intervals.

use arrow::datatypes::IntervalMonthDayNano;

use super::NS_PER_SECOND;
use crate::format::calendar::push_fraction;
use crate::format::number::{push_integer, push_padded, push_unsigned};

/// An INTERVAL as PostgreSQL writes it: `1 year 2 mons -3 days +04:05:06.5`.
pub fn text(interval: IntervalMonthDayNano) -> String {
    let (months, days, nanos) = (
        i64::from(interval.months),
        i64::from(interval.days),
        interval.nanoseconds,
    );
    let mut out = Vec::new();
    let mut was_negative = false;
    for (value, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if value == 0 {
            continue;
        }
        let space = if out.is_empty() { "" } else { " " };
        let plus = if was_negative && value > 0 { "+" } else { "" };
        let plural = if value == 1 { "" } else { "s" };
        out.extend_from_slice(format!("{space}{plus}{value} {unit}{plural}").as_bytes());
        was_negative = value < 0;
    }
    if nanos != 0 || out.is_empty() {
        if !out.is_empty() {
            out.push(b' ');
        }
        match nanos < 0 {
            true => out.push(b'-'),
            false if was_negative => out.push(b'+'),
            false => {}
        }
        let (seconds, fraction) = (
            nanos.unsigned_abs() / NS_PER_SECOND as u64,
            nanos.unsigned_abs() % NS_PER_SECOND as u64,
        );
        let hours = seconds / 3_600;
        push_padded(
            &mut out,
            hours,
            hours.checked_ilog10().map_or(2, |log| log as usize + 1).max(2),
        );
        out.push(b':');
        push_padded(&mut out, seconds / 60 % 60, 2);
        out.push(b':');
        push_padded(&mut out, seconds % 60, 2);
        push_fraction(&mut out, fraction, 9);
    }
    String::from_utf8(out).unwrap_or_default()
}

/// Writes an INTERVAL as an ISO 8601 duration; `PT0S` for none.
pub(crate) fn push(out: &mut Vec<u8>, interval: IntervalMonthDayNano) {
    let (months, days, ns) = (
        i64::from(interval.months),
        i64::from(interval.days),
        interval.nanoseconds,
    );
    out.push(b'P');
    let part = |out: &mut Vec<u8>, value: i64, unit: u8| {
        if value != 0 {
            push_integer(out, value);
            out.push(unit);
        }
    };
    part(out, months / 12, b'Y');
    part(out, months % 12, b'M');
    part(out, days, b'D');
    if ns == 0 && (months, days) != (0, 0) {
        return;
    }
    out.push(b'T');
    let seconds = ns / NS_PER_SECOND;
    part(out, seconds / 3_600, b'H');
    part(out, seconds / 60 % 60, b'M');
    let (second, fraction) = (seconds % 60, ns % NS_PER_SECOND);
    if (second, fraction) != (0, 0) || ns == 0 {
        if ns < 0 {
            out.push(b'-');
        }
        push_unsigned(out, second.unsigned_abs());
        push_fraction(out, fraction.unsigned_abs(), 9);
        out.push(b'S');
    }
}
