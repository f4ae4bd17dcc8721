//! `AT TIME ZONE`, which is a call of `timezone(zone, time)`: a moment as a clock on the wall in that zone shows
//! it, and what a clock showed as the moment.
//!
//! A zone is a name of the IANA database, an abbreviation of a fixed offset, an offset, or an INTERVAL. As in
//! PostgreSQL an offset in a string counts to the west (`'+02:00'`, `'UTC+2'`), which is POSIX's way, and an
//! INTERVAL to the east. Where clocks were set forward, a time that none showed is read by the offset before;
//! where they were set back, one that was shown twice is the later.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{
    DataType, Field, FieldRef, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
    TimestampMicrosecondType,
};
use arrow::temporal_conversions::as_datetime_with_timezone;
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, exec_err, plan_datafusion_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use weir_engine::format::calendar::US_PER_DAY;
use weir_engine::format::sql_type;

use super::clock::moment;

/// What the function is called.
pub const FUNCTION: &str = "timezone";

const LOCAL: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);
const HOUR_S: i64 = 3_600;

/// Abbreviations, and the hours by which they are east of Greenwich.
const ABBREVIATIONS: [(&str, i64); 24] = [
    ("UTC", 0),
    ("GMT", 0),
    ("Z", 0),
    ("UT", 0),
    ("WET", 0),
    ("WEST", 1),
    ("BST", 1),
    ("CET", 1),
    ("CEST", 2),
    ("EET", 2),
    ("EEST", 3),
    ("MSK", 3),
    ("JST", 9),
    ("KST", 9),
    ("EST", -5),
    ("EDT", -4),
    ("CST", -6),
    ("CDT", -5),
    ("MST", -7),
    ("MDT", -6),
    ("PST", -8),
    ("PDT", -7),
    ("HST", -10),
    ("NZST", 12),
];

/// The function, to be registered with the session.
pub fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(TimeZone {
        signature: Signature::user_defined(Volatility::Immutable),
    }))
}

/// How far clocks are from UTC.
#[derive(Debug, Clone, Copy)]
enum Zone {
    /// Microseconds to the east.
    Fixed(i64),
    Named(Tz),
}

impl Zone {
    fn of_text(text: &str) -> Result<Zone, String> {
        let name = text.trim();
        let upper = name.to_ascii_uppercase();
        if let Some((_, hours)) = ABBREVIATIONS.iter().find(|(short, _)| *short == upper) {
            return Ok(Zone::Fixed(hours * HOUR_S * 1_000_000));
        }
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic());
        let spellings = [name.to_string(), upper, capitalized(name)];
        if let Some(zone) = spellings.iter().filter(|_| is_name).find_map(|name| name.parse().ok()) {
            return Ok(Zone::Named(zone));
        }
        let offset = name.trim_start_matches(|c: char| c.is_ascii_alphabetic());
        match west(offset) {
            Some(seconds) => Ok(Zone::Fixed(-seconds * 1_000_000)),
            None => Err(format!(
                "time zone '{text}' is not known; write a name such as 'Europe/Berlin', 'UTC', or an offset from \
                 UTC as an INTERVAL '2 hours'"
            )),
        }
    }

    fn of_interval(interval: IntervalMonthDayNano) -> Result<Zone, String> {
        match interval {
            IntervalMonthDayNano {
                months: 0,
                days: 0,
                nanoseconds,
            } if nanoseconds.abs() <= 15 * 60 * 60 * 1_000_000_000 => Ok(Zone::Fixed(nanoseconds / 1_000)),
            _ => Err("a time zone's INTERVAL is of hours and minutes, from -15 to 15 hours".to_string()),
        }
    }

    /// What a clock shows at a moment.
    fn local(&self, moment_us: i64) -> Option<i64> {
        match self {
            Zone::Fixed(east_us) => moment_us.checked_add(*east_us),
            Zone::Named(zone) => {
                let shown = as_datetime_with_timezone::<TimestampMicrosecondType>(moment_us, *zone)?;
                Some(shown.naive_local().and_utc().timestamp_micros())
            }
        }
    }

    /// The moment at which a clock shows this.
    fn moment(&self, local_us: i64) -> Option<i64> {
        let at = |offset_us: i64| local_us.checked_sub(offset_us);
        let offset = |moment_us: i64| self.local(moment_us).map(|shown| shown - moment_us);
        if let Zone::Fixed(east_us) = self {
            return at(*east_us);
        }
        let before = offset(local_us.checked_sub(US_PER_DAY)?)?;
        let after = offset(local_us.checked_add(US_PER_DAY)?)?;
        let (earlier, later) = (at(before)?, at(after)?);
        let is_shown = |moment_us: i64| self.local(moment_us) == Some(local_us);
        match (is_shown(earlier), is_shown(later)) {
            (true, false) => Some(earlier),
            (false, true) => Some(later),
            _ => Some(earlier.max(later)),
        }
    }
}

/// Words with a capital each: `america/new_york` as `America/New_York`.
fn capitalized(name: &str) -> String {
    let mut begins = true;
    let letter = |letter: char| {
        let made = if begins {
            letter.to_ascii_uppercase()
        } else {
            letter.to_ascii_lowercase()
        };
        begins = !letter.is_ascii_alphabetic();
        made
    };
    name.chars().map(letter).collect()
}

/// Seconds of `[+-]H[H][[:]MM[[:]SS]]`.
fn west(text: &str) -> Option<i64> {
    let (sign, digits) = match text.as_bytes() {
        [b'+', ..] => (1, &text[1..]),
        [b'-', ..] => (-1, &text[1..]),
        [b'0'..=b'9', ..] => (1, text),
        _ => return None,
    };
    let parts: Vec<&str> = match digits.contains(':') {
        true => digits.split(':').collect(),
        false if digits.len() == 4 => vec![digits.get(..2)?, digits.get(2..)?],
        false => vec![digits],
    };
    let number = |part: &&str| -> Option<i64> {
        let fits = (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        fits.then(|| part.parse().ok())?
    };
    let numbers: Vec<i64> = parts.iter().map(number).collect::<Option<_>>()?;
    let (hours, minutes, seconds) = match numbers[..] {
        [hours] => (hours, 0, 0),
        [hours, minutes] => (hours, minutes, 0),
        [hours, minutes, seconds] => (hours, minutes, seconds),
        _ => return None,
    };
    (hours <= 24 && minutes < 60 && seconds < 60).then(|| sign * (hours * HOUR_S + minutes * 60 + seconds))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TimeZone {
    signature: Signature,
}

impl ScalarUDFImpl for TimeZone {
    fn name(&self) -> &str {
        FUNCTION
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let [zone, time] = given else {
            return plan_err!("timezone() takes a time zone and a time: timezone('Europe/Berlin', ts)");
        };
        let zone = match zone {
            kind if kind.is_string() || kind.is_null() => DataType::Utf8,
            DataType::Interval(_) => DataType::Interval(IntervalUnit::MonthDayNano),
            kind => return plan_err!("a time zone is a TEXT or an INTERVAL, not {}", sql_type(kind)),
        };
        let time = match time {
            DataType::Timestamp(_, None) => LOCAL,
            DataType::Timestamp(..) | DataType::Date32 | DataType::Null => moment(),
            kind if kind.is_string() => moment(),
            kind => {
                return plan_err!(
                    "AT TIME ZONE is for a TIMESTAMP or TIMESTAMPTZ, not for {}",
                    sql_type(kind)
                );
            }
        };
        Ok(vec![zone, time])
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        match given.get(1) {
            Some(DataType::Timestamp(_, None)) => Ok(moment()),
            _ => Ok(LOCAL),
        }
    }

    /// A zone that stands in the query is known before there are rows.
    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let wrong = match args.scalar_arguments.first() {
            Some(Some(ScalarValue::IntervalMonthDayNano(Some(interval)))) => Zone::of_interval(*interval).err(),
            Some(Some(value)) => match value.try_as_str() {
                Some(Some(text)) => Zone::of_text(text).err(),
                _ => None,
            },
            _ => None,
        };
        if let Some(wrong) = wrong {
            return Err(plan_datafusion_err!("{wrong}"));
        }
        let kinds: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        Ok(Arc::new(Field::new(self.name(), self.return_type(&kinds)?, true)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [zone, time] = &args.args[..] else {
            return exec_err!("timezone() takes a time zone and a time");
        };
        let rows = args.number_rows;
        let times = time.to_array(rows)?;
        let is_local = *times.data_type() == LOCAL;
        let column = times.as_primitive::<TimestampMicrosecondType>();
        let mut zones = Zones::new(zone, rows)?;
        let one = |row: usize| -> Result<Option<i64>> {
            let (true, Some(zone)) = (column.is_valid(row), zones.of(row)?) else {
                return Ok(None);
            };
            let given = column.value(row);
            let made = match is_local {
                true => zone.moment(given),
                false => zone.local(given),
            };
            made.map(Some)
                .ok_or_else(|| exec_datafusion_err!("a time at a time zone is out of range"))
        };
        let made = (0..rows)
            .map(one)
            .collect::<Result<PrimitiveArray<TimestampMicrosecondType>>>()?;
        let made: ArrayRef = match is_local {
            true => Arc::new(made.with_timezone("+00:00")),
            false => Arc::new(made),
        };
        let all_scalars = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        match all_scalars && !made.is_empty() {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&made, 0)?)),
            false => Ok(ColumnarValue::Array(made)),
        }
    }
}

/// The zone of each row.
enum Zones {
    One(Option<Zone>),
    Names(ArrayRef, HashMap<String, Zone>),
    Intervals(ArrayRef),
}

impl Zones {
    fn new(zone: &ColumnarValue, rows: usize) -> Result<Zones> {
        let column = |rows| zone.to_array(rows);
        let all = match zone.data_type() {
            DataType::Interval(_) => |column| Zones::Intervals(column),
            _ => |column| Zones::Names(column, HashMap::new()),
        };
        match zone {
            ColumnarValue::Scalar(_) => Ok(Zones::One(all(column(1)?).of(0)?)),
            ColumnarValue::Array(_) => Ok(all(column(rows)?)),
        }
    }

    fn of(&mut self, row: usize) -> Result<Option<Zone>> {
        let found = match self {
            Zones::One(zone) => return Ok(*zone),
            Zones::Names(column, _) | Zones::Intervals(column) if column.is_null(row) => return Ok(None),
            Zones::Intervals(column) => Zone::of_interval(column.as_primitive::<IntervalMonthDayNanoType>().value(row)),
            Zones::Names(column, known) => {
                let name = column.as_string::<i32>().value(row);
                match known.get(name) {
                    Some(zone) => Ok(*zone),
                    None => Zone::of_text(name).inspect(|zone| {
                        known.insert(name.to_string(), *zone);
                    }),
                }
            }
        };
        found.map(Some).map_err(|why| exec_datafusion_err!("{why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_US: i64 = 3_600_000_000;
    /// 2024-03-31 00:00 and 2024-10-27 00:00, days on which clocks are set in Europe.
    const SPRING: i64 = 1_711_843_200_000_000;
    const AUTUMN: i64 = 1_729_987_200_000_000;

    #[test]
    fn zones_are_spelled_in_many_ways() {
        let at = |text: &str| Zone::of_text(text).unwrap().local(SPRING).unwrap() - SPRING;
        for (text, hours) in [
            ("Europe/Berlin", 1),
            ("europe/berlin", 1),
            ("america/new_york", -4),
            ("utc", 0),
            ("CEST", 2),
            ("+02:00", -2),
            ("-0330", 3),
            ("UTC+3", -3),
            ("EST5EDT", -4),
            ("Etc/GMT-5", 5),
        ] {
            assert_eq!(at(text) / HOUR_US, hours, "{text}");
        }
        for bad in ["", "Mars/Olympus", "+25:00", "+1:60", "Europe/Berlin2x"] {
            assert!(Zone::of_text(bad).unwrap_err().contains("Europe/Berlin"), "{bad}");
        }
        let east = Zone::of_interval(IntervalMonthDayNano::new(0, 0, 7_200_000_000_000)).unwrap();
        assert_eq!(east.local(0), Some(2 * HOUR_US));
        assert!(Zone::of_interval(IntervalMonthDayNano::new(0, 1, 0)).is_err());
    }

    #[test]
    fn clocks_that_are_set() {
        let berlin = Zone::of_text("Europe/Berlin").unwrap();
        let half = HOUR_US / 2;
        // At 2:00 they go to 3:00: half past two is one hour after half past one.
        assert_eq!(berlin.moment(SPRING + HOUR_US + half), Some(SPRING + half));
        assert_eq!(
            berlin.moment(SPRING + 2 * HOUR_US + half),
            Some(SPRING + HOUR_US + half)
        );
        assert_eq!(
            berlin.moment(SPRING + 3 * HOUR_US + half),
            Some(SPRING + HOUR_US + half)
        );
        // At 3:00 they go to 2:00: of the two the later.
        assert_eq!(
            berlin.moment(AUTUMN + 2 * HOUR_US + half),
            Some(AUTUMN + HOUR_US + half)
        );
        assert_eq!(berlin.moment(AUTUMN + HOUR_US + half), Some(AUTUMN - half));
        assert_eq!(berlin.moment(AUTUMN + 3 * HOUR_US), Some(AUTUMN + 2 * HOUR_US));
        for moment in (SPRING..SPRING + 30 * US_PER_DAY).step_by(HOUR_US as usize) {
            assert_eq!(berlin.moment(berlin.local(moment).unwrap()), Some(moment));
        }
        assert_eq!(berlin.local(i64::MAX), None);
        assert_eq!(berlin.moment(i64::MIN), None);
    }
}
