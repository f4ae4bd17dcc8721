//! Reading intervals.
//!
//! As in PostgreSQL words are taken from the right, since what stands behind a number says what it counts.

use arrow::datatypes::IntervalMonthDayNano;

use super::NS_PER_SECOND;
use crate::format::calendar::fraction;
use crate::format::number::Why;

const NS_PER_MINUTE: i64 = 60 * NS_PER_SECOND;
const NS_PER_HOUR: i64 = 60 * NS_PER_MINUTE;
const NS_PER_DAY: i128 = 24 * NS_PER_HOUR as i128;
/// Digits of a fraction that count, and how many of the last make one.
const FRACTION_DIGITS: usize = 18;
const FRACTION_ONE: i128 = 1_000_000_000_000_000_000;

const NO_INTERVAL: Why = "it is not an interval such as '1 day 02:00:00' or P1DT2H";
const OUT_OF_RANGE: Why = "it is out of range";

/// What stands behind a literal, `INTERVAL '5' MINUTE`: what a number without a unit counts, and the smallest
/// unit that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// Years.
    Year,
    /// Months.
    Month,
    /// Days.
    Day,
    /// Hours.
    Hour,
    /// Minutes.
    Minute,
    /// Seconds.
    Second,
}

/// Reads an INTERVAL. A number without a unit counts seconds.
///
/// # Errors
/// Why it is none.
pub fn parse(text: &str) -> Result<IntervalMonthDayNano, Why> {
    let text = text.trim();
    match text.strip_prefix('P') {
        Some(parts) => iso(parts.as_bytes())?.done(),
        None => words(text, Field::Second, Field::Second),
    }
}

/// Reads an INTERVAL with fields behind it, `first TO last` or one that is both. Smaller units are left out.
///
/// # Errors
/// Why it is none.
pub fn parse_as(text: &str, first: Field, last: Field) -> Result<IntervalMonthDayNano, Why> {
    let text = text.trim();
    let IntervalMonthDayNano {
        months,
        days,
        nanoseconds,
    } = match text.strip_prefix('P') {
        Some(parts) => iso(parts.as_bytes())?.done()?,
        None => words(text, first, last)?,
    };
    let of = IntervalMonthDayNano::new;
    Ok(match last {
        Field::Year => of(months / 12 * 12, 0, 0),
        Field::Month => of(months, 0, 0),
        Field::Day => of(months, days, 0),
        Field::Hour => of(months, days, nanoseconds / NS_PER_HOUR * NS_PER_HOUR),
        Field::Minute => of(months, days, nanoseconds / NS_PER_MINUTE * NS_PER_MINUTE),
        Field::Second => of(months, days, nanoseconds),
    })
}

/// What a number counts. Each is summed up on its own, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// So many months, a part of which is rounded to months.
    Years(i64),
    Month,
    /// So many days.
    Days(i64),
    /// So many nanoseconds.
    Time(i64),
}

const HOUR: Unit = Unit::Time(NS_PER_HOUR);
const MINUTE: Unit = Unit::Time(NS_PER_MINUTE);
const SECOND: Unit = Unit::Time(NS_PER_SECOND);
const DAY: Unit = Unit::Days(1);

impl Unit {
    fn of_word(word: &str) -> Option<Unit> {
        Some(match word {
            "millennium" | "millennia" | "mil" | "mils" => Unit::Years(12_000),
            "century" | "centuries" | "cent" | "c" => Unit::Years(1_200),
            "decade" | "decades" | "dec" | "decs" => Unit::Years(120),
            "year" | "years" | "yr" | "yrs" | "y" => Unit::Years(12),
            "month" | "months" | "mon" | "mons" => Unit::Month,
            "week" | "weeks" | "w" => Unit::Days(7),
            "day" | "days" | "d" => DAY,
            "hour" | "hours" | "hr" | "hrs" | "h" => HOUR,
            "minute" | "minutes" | "min" | "mins" | "m" => MINUTE,
            "second" | "seconds" | "sec" | "secs" | "s" => SECOND,
            "millisecond" | "milliseconds" | "msecond" | "mseconds" | "msec" | "msecs" | "ms" => Unit::Time(1_000_000),
            "microsecond" | "microseconds" | "usecond" | "useconds" | "usec" | "usecs" | "us" => Unit::Time(1_000),
            "nanosecond" | "nanoseconds" | "nsec" | "nsecs" | "ns" => Unit::Time(1),
            _ => return None,
        })
    }

    fn of_field(field: Field) -> Unit {
        match field {
            Field::Year => Unit::Years(12),
            Field::Month => Unit::Month,
            Field::Day => DAY,
            Field::Hour => HOUR,
            Field::Minute => MINUTE,
            Field::Second => SECOND,
        }
    }
}

/// A number of units, with its sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Number {
    whole: i64,
    /// In units of [`FRACTION_ONE`].
    part: i128,
}

/// What has been read.
#[derive(Debug, Default)]
struct Sum {
    months: i64,
    days: i64,
    nanos: i64,
    seen: Vec<Unit>,
}

impl Sum {
    fn add(&mut self, Number { whole, part }: Number, unit: Unit) -> Result<(), Why> {
        if self.seen.contains(&unit) {
            return Err("it names a unit twice");
        }
        self.seen.push(unit);
        self.count(whole, part, unit).ok_or(OUT_OF_RANGE)
    }

    fn count(&mut self, whole: i64, part: i128, unit: Unit) -> Option<()> {
        match unit {
            Unit::Years(months) => {
                let some = rounded(part.checked_mul(i128::from(months))?, FRACTION_ONE)?;
                self.months = self.months.checked_add(whole.checked_mul(months)?)?.checked_add(some)?;
            }
            Unit::Month => {
                self.months = self.months.checked_add(whole)?;
                self.add_days(part * 30)?;
            }
            Unit::Days(days) => {
                self.days = self.days.checked_add(whole.checked_mul(days)?)?;
                self.add_days(part * i128::from(days))?;
            }
            Unit::Time(nanos) => {
                let some = rounded(part * i128::from(nanos), FRACTION_ONE)?;
                self.nanos = self.nanos.checked_add(whole.checked_mul(nanos)?)?.checked_add(some)?;
            }
        }
        Some(())
    }

    /// Parts of days.
    fn add_days(&mut self, parts: i128) -> Option<()> {
        self.days = self.days.checked_add(i64::try_from(parts / FRACTION_ONE).ok()?)?;
        // The nanoseconds of a day are 47 bits, and the parts of one 60.
        let nanos = rounded(parts % FRACTION_ONE * NS_PER_DAY, FRACTION_ONE)?;
        self.nanos = self.nanos.checked_add(nanos)?;
        Some(())
    }

    /// Hours, minutes and seconds of a clock.
    fn add_clock(&mut self, clock: Clock) -> Result<(), Why> {
        let sign = if clock.is_negative { -1 } else { 1 };
        let whole = |number: i64| Number {
            whole: sign * number,
            part: 0,
        };
        self.add(whole(clock.hours), HOUR)?;
        self.add(whole(clock.minutes), MINUTE)?;
        let part = i128::from(sign) * clock.part;
        self.add(
            Number {
                part,
                ..whole(clock.seconds)
            },
            SECOND,
        )
    }

    fn negated(self) -> Option<Sum> {
        Some(Sum {
            months: self.months.checked_neg()?,
            days: self.days.checked_neg()?,
            nanos: self.nanos.checked_neg()?,
            seen: self.seen,
        })
    }

    fn done(self) -> Result<IntervalMonthDayNano, Why> {
        let months = i32::try_from(self.months).map_err(|_| OUT_OF_RANGE)?;
        let days = i32::try_from(self.days).map_err(|_| OUT_OF_RANGE)?;
        Ok(IntervalMonthDayNano::new(months, days, self.nanos))
    }
}

/// The quotient, from halfway away from zero.
fn rounded(number: i128, by: i128) -> Option<i64> {
    let half = if number < 0 { -by / 2 } else { by / 2 };
    i64::try_from((number + half) / by).ok()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Clock {
    is_negative: bool,
    hours: i64,
    minutes: i64,
    seconds: i64,
    part: i128,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Number(Number),
    /// `04:05:06`
    Clock(Clock),
    /// `1-2`
    Months(i64),
    Word(String),
}

/// An interval in words.
fn words(text: &str, first: Field, last: Field) -> Result<IntervalMonthDayNano, Why> {
    let tokens = tokens(text.as_bytes(), (first, last) == (Field::Minute, Field::Second))?;
    let mut sum = Sum::default();
    // What a number counts, as the words behind it say.
    let mut unit = None;
    let (mut is_named, mut is_ago, mut parts) = (true, false, 0);
    for (place, token) in tokens.iter().enumerate().rev() {
        let number = match token {
            Token::Word(word) => {
                if word == "ago" && place + 1 == tokens.len() && place > 0 {
                    is_ago = true;
                    continue;
                }
                unit = Some(Unit::of_word(word).ok_or(NO_INTERVAL)?);
                if !std::mem::replace(&mut is_named, false) {
                    return Err(NO_INTERVAL);
                }
                continue;
            }
            Token::Clock(_) | Token::Months(_) if !is_named => return Err(NO_INTERVAL),
            Token::Clock(clock) => {
                sum.add_clock(*clock)?;
                // In front of a clock, or of hours, are days.
                unit = Some(DAY);
                parts += 1;
                continue;
            }
            Token::Months(months) => {
                let part = 0;
                sum.add(Number { whole: *months, part }, Unit::Month)?;
                parts += 1;
                continue;
            }
            Token::Number(number) => *number,
        };
        let counted = unit.unwrap_or_else(|| Unit::of_field(last));
        sum.add(number, counted)?;
        unit = Some(if counted == HOUR { DAY } else { counted });
        (is_named, parts) = (true, parts + 1);
    }
    if parts == 0 || !is_named {
        return Err(NO_INTERVAL);
    }
    match is_ago {
        true => sum.negated().ok_or(OUT_OF_RANGE)?.done(),
        false => sum.done(),
    }
}

/// The words and numbers of a text. Of two numbers of a clock the first is hours, or minutes where `in_minutes`.
fn tokens(text: &[u8], in_minutes: bool) -> Result<Vec<Token>, Why> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let [next, behind @ ..] = rest {
        match next {
            b' ' | b'\t' | b'\n' | b'\r' | b',' | b'@' => rest = behind,
            b'a'..=b'z' | b'A'..=b'Z' => {
                let end = rest.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
                let word = String::from_utf8_lossy(&rest[..end]).to_ascii_lowercase();
                tokens.push(Token::Word(word));
                rest = &rest[end..];
            }
            _ => {
                let (token, behind) = number(rest, in_minutes)?;
                tokens.push(token);
                rest = behind;
            }
        }
    }
    Ok(tokens)
}

/// A number, a clock, or years and months, at the start of the text; and what follows.
fn number(text: &[u8], in_minutes: bool) -> Result<(Token, &[u8]), Why> {
    let (is_negative, text) = signed(text);
    let text = text.trim_ascii_start();
    let (digits, rest) = leading_digits(text);
    let whole = || -> Result<i64, Why> {
        match digits {
            [] => Ok(0),
            digits => whole_number(digits),
        }
    };
    let sign = if is_negative { -1 } else { 1 };
    match rest {
        [b':', ..] if !digits.is_empty() => {
            let (clock, rest) = clock(is_negative, digits, rest, in_minutes)?;
            Ok((Token::Clock(clock), rest))
        }
        [b'-', behind @ ..] if !digits.is_empty() && matches!(behind, [b'0'..=b'9', ..]) => {
            let (months, rest) = leading_digits(behind);
            let months = whole_number(months)?;
            if months > 11 {
                return Err("behind the years are 11 months at most");
            }
            let all = whole()?.checked_mul(12).and_then(|years| years.checked_add(months));
            Ok((Token::Months(sign * all.ok_or(OUT_OF_RANGE)?), rest))
        }
        _ => {
            let (part, behind) = part(rest);
            if digits.is_empty() && behind.len() + 2 > rest.len() {
                return Err(NO_INTERVAL);
            }
            let number = Number {
                whole: sign * whole()?,
                part: i128::from(sign) * part,
            };
            Ok((Token::Number(number), behind))
        }
    }
}

fn signed(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    }
}

fn leading_digits(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().take_while(|byte| byte.is_ascii_digit()).count())
}

fn whole_number(digits: &[u8]) -> Result<i64, Why> {
    let text = std::str::from_utf8(digits).map_err(|_| NO_INTERVAL)?;
    match text {
        "" => Err(NO_INTERVAL),
        text => text.parse().map_err(|_| OUT_OF_RANGE),
    }
}

/// A point and its digits, if they stand there.
fn part(text: &[u8]) -> (i128, &[u8]) {
    match text {
        [b'.', behind @ ..] => {
            let (digits, rest) = leading_digits(behind);
            (i128::from(fraction(digits, FRACTION_DIGITS)), rest)
        }
        _ => (0, text),
    }
}

/// A clock of which the first digits are read: `H:MM`, `H:MM:SS`, `M:SS.fff`, or `M:SS` where `in_minutes`.
fn clock<'a>(is_negative: bool, first: &[u8], rest: &'a [u8], in_minutes: bool) -> Result<(Clock, &'a [u8]), Why> {
    let first = whole_number(first)?;
    let (second, rest) = leading_digits(&rest[1..]);
    let second = whole_number(second)?;
    let (hours, minutes, seconds, part, rest) = match rest {
        [b':', behind @ ..] => {
            let (third, behind) = leading_digits(behind);
            let (part, behind) = part(behind);
            (first, second, whole_number(third)?, part, behind)
        }
        [b'.', ..] => {
            let (part, behind) = part(rest);
            (0, first, second, part, behind)
        }
        _ if in_minutes => (0, first, second, 0, rest),
        _ => (first, second, 0, 0, rest),
    };
    if minutes > 59 || seconds > 60 {
        return Err("its minutes go to 59, and its seconds to 60");
    }
    let clock = Clock {
        is_negative,
        hours,
        minutes,
        seconds,
        part,
    };
    Ok((clock, rest))
}

/// An ISO 8601 duration behind its P. Each part may have a sign and a fraction.
fn iso(text: &[u8]) -> Result<Sum, Why> {
    let (mut sum, mut rest, mut in_time, mut parts) = (Sum::default(), text, false, 0);
    while let [first, tail @ ..] = rest {
        if *first == b'T' && !in_time {
            (in_time, rest) = (true, tail);
            continue;
        }
        let (is_negative, number) = signed(rest);
        let (digits, tail) = leading_digits(number);
        parts += 1;
        if let ([b':', ..], true) = (tail, in_time) {
            let (clock, tail) = clock(is_negative, digits, tail, false)?;
            sum.add_clock(clock)?;
            rest = tail;
            continue;
        }
        if let ([b'-', ..], false) = (tail, in_time) {
            rest = dashed(&mut sum, digits, tail)?;
            continue;
        }
        let (part, tail) = match tail {
            [b'.' | b',', behind @ ..] => {
                let (digits, tail) = leading_digits(behind);
                (i128::from(fraction(digits, FRACTION_DIGITS)), tail)
            }
            _ => (0, tail),
        };
        let [unit, tail @ ..] = tail else {
            return Err(NO_INTERVAL);
        };
        let sign = if is_negative { -1 } else { 1 };
        let number = Number {
            whole: sign * whole_number(digits)?,
            part: i128::from(sign) * part,
        };
        let unit = match (unit, in_time) {
            (b'Y', false) => Unit::Years(12),
            (b'M', false) => Unit::Month,
            (b'W', false) => Unit::Days(7),
            (b'D', false) => DAY,
            (b'H', true) => HOUR,
            (b'M', true) => MINUTE,
            (b'S', true) => SECOND,
            _ => return Err(NO_INTERVAL),
        };
        sum.add(number, unit)?;
        rest = tail;
    }
    if parts == 0 {
        return Err(NO_INTERVAL);
    }
    Ok(sum)
}

/// Years, months and days with dashes between them, `0001-02-03`, of which the years are read.
fn dashed<'a>(sum: &mut Sum, years: &[u8], rest: &'a [u8]) -> Result<&'a [u8], Why> {
    let (months, rest) = leading_digits(&rest[1..]);
    let [b'-', rest @ ..] = rest else {
        return Err(NO_INTERVAL);
    };
    let (days, rest) = leading_digits(rest);
    for (digits, unit) in [(years, Unit::Years(12)), (months, Unit::Month), (days, DAY)] {
        let whole = whole_number(digits)?;
        sum.add(Number { whole, part: 0 }, unit)?;
    }
    Ok(rest)
}
