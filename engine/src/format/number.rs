//! Numbers as text, both ways: exact, or an error.
//!
//! Integers and decimals go through one reader that keeps every digit; floats are rounded
//! correctly by the standard library and written as the shortest text that reads back the same.

/// Why a text is not the wanted number.
pub(crate) type Why = &'static str;

pub(crate) const NOT_A_NUMBER: Why = "it is not a number";
pub(crate) const OUT_OF_RANGE: Why = "it is out of range";
pub(crate) const NOT_EXACT: Why = "it has more digits after the point than the type";

/// What to do with digits below the wanted scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excess {
    /// They must be zeros.
    Refuse,
    /// Round towards minus infinity.
    Floor,
}

/// Reads an integer: `12`, `-3`, also `1e3` or `4.0`, which are whole numbers.
#[inline]
pub(crate) fn integer<T: TryFrom<i64> + TryFrom<i128>>(text: &[u8]) -> Result<T, Why> {
    match small_integer(text) {
        Some(value) => T::try_from(value).map_err(|_| OUT_OF_RANGE),
        None => match scaled(text, 0, Excess::Refuse) {
            Ok(value) => T::try_from(value).map_err(|_| OUT_OF_RANGE),
            Err(NOT_EXACT) => Err("it is not a whole number"),
            Err(why) => Err(why),
        },
    }
}

/// Reads up to 18 plain digits with an optional minus; `None` for everything else.
#[inline]
fn small_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let mut value = 0i64;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(if negative { -value } else { value })
}

/// Reads a decimal number as an integer count of `10^-scale`. The grammar is
/// `[+-] digits [. digits] [e [+-] digits]`, with a digit before or after the point.
pub(crate) fn scaled(text: &[u8], scale: i32, excess: Excess) -> Result<i128, Why> {
    let (negative, mut rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let mut mantissa = 0i128;
    // Zeros are held back until a digit follows, so that trailing ones can't overflow.
    let (mut held_zeros, mut after_point, mut digits) = (0i64, 0i64, 0usize);
    let mut in_fraction = false;
    let mut overflow = false;
    while let [byte, tail @ ..] = rest {
        match byte {
            b'0'..=b'9' => {
                digits += 1;
                after_point += i64::from(in_fraction);
                let digit = i128::from(byte - b'0');
                if digit == 0 {
                    held_zeros += 1;
                } else if mantissa == 0 {
                    (mantissa, held_zeros) = (digit, 0);
                } else {
                    match power_of_ten(held_zeros + 1).and_then(|p| mantissa.checked_mul(p)?.checked_add(digit)) {
                        Some(more) => mantissa = more,
                        None => overflow = true,
                    }
                    held_zeros = 0;
                }
            }
            b'.' if !in_fraction => in_fraction = true,
            b'e' | b'E' if digits > 0 => break,
            _ => return Err(NOT_A_NUMBER),
        }
        rest = tail;
    }
    let exponent = match rest {
        [] => 0,
        [_, exponent @ ..] => read_exponent(exponent)?,
    };
    if digits == 0 {
        return Err(NOT_A_NUMBER);
    }
    if mantissa == 0 {
        return Ok(0);
    }
    if overflow {
        return Err(OUT_OF_RANGE);
    }
    let mantissa = if negative { -mantissa } else { mantissa };
    let shift = held_zeros - after_point + exponent + i64::from(scale);
    if shift >= 0 {
        return power_of_ten(shift)
            .and_then(|p| mantissa.checked_mul(p))
            .ok_or(OUT_OF_RANGE);
    }
    match excess {
        // The mantissa's last digit is not zero, so digits would be lost.
        Excess::Refuse => Err(NOT_EXACT),
        Excess::Floor => Ok(match power_of_ten(-shift) {
            Some(divisor) => mantissa.div_euclid(divisor),
            None if negative => -1,
            None => 0,
        }),
    }
}

/// Reads an exponent; absurd ones are cut to ±10,000, which is as absurd.
fn read_exponent(text: &[u8]) -> Result<i64, Why> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(NOT_A_NUMBER);
    }
    let value = digits
        .iter()
        .fold(0i64, |value, digit| (value * 10 + i64::from(digit - b'0')).min(10_000));
    Ok(if negative { -value } else { value })
}

fn power_of_ten(exponent: i64) -> Option<i128> {
    10i128.checked_pow(u32::try_from(exponent).ok()?)
}

/// Reads a DOUBLE, correctly rounded; `NaN`, `Infinity` and `-Infinity` in any case.
pub(crate) fn float64(text: &str) -> Result<f64, Why> {
    let value: f64 = text.parse().map_err(|_| NOT_A_NUMBER)?;
    if value.is_infinite() && !spells_infinity(text) {
        Err(OUT_OF_RANGE)
    } else {
        Ok(value)
    }
}

/// Reads a REAL, correctly rounded (not by way of a DOUBLE).
pub(crate) fn float32(text: &str) -> Result<f32, Why> {
    let value: f32 = text.parse().map_err(|_| NOT_A_NUMBER)?;
    if value.is_infinite() && !spells_infinity(text) {
        Err(OUT_OF_RANGE)
    } else {
        Ok(value)
    }
}

fn spells_infinity(text: &str) -> bool {
    text.bytes().any(|byte| byte.eq_ignore_ascii_case(&b'i'))
}

/// Reads a BOOLEAN as PostgreSQL spells it: true, yes, on, 1 and their opposites.
pub(crate) fn boolean(text: &str) -> Result<bool, Why> {
    const YES: [&str; 6] = ["true", "t", "yes", "y", "on", "1"];
    const NO: [&str; 6] = ["false", "f", "no", "n", "off", "0"];
    let is = |word: &&str| word.eq_ignore_ascii_case(text);
    if YES.iter().any(is) {
        Ok(true)
    } else if NO.iter().any(is) {
        Ok(false)
    } else {
        Err("it is neither true nor false")
    }
}

/// Writes an unsigned integer.
pub(crate) fn push_unsigned(out: &mut Vec<u8>, mut value: u64) {
    let mut text = [0u8; 20];
    let mut at = text.len();
    loop {
        at -= 1;
        text[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&text[at..]);
}

/// Writes an integer.
pub(crate) fn push_integer(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    push_unsigned(out, value.unsigned_abs());
}

/// Writes `value` with exactly `digits` digits, zeros in front.
pub(crate) fn push_padded(out: &mut Vec<u8>, mut value: u64, digits: usize) {
    let start = out.len();
    out.resize(start + digits, b'0');
    for place in out[start..].iter_mut().rev() {
        *place = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Writes a DOUBLE as the shortest text that reads back the same; `NaN`, `Infinity`, `-Infinity`.
pub(crate) fn push_float64(out: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        // Writing a number into memory can't fail.
        let _ = serde_json::to_writer(out, &value);
    } else {
        out.extend_from_slice(not_finite(value));
    }
}

/// Writes a REAL, as [`push_float64`].
pub(crate) fn push_float32(out: &mut Vec<u8>, value: f32) {
    if value.is_finite() {
        let _ = serde_json::to_writer(out, &value);
    } else {
        out.extend_from_slice(not_finite(value.into()));
    }
}

fn not_finite(value: f64) -> &'static [u8] {
    if value.is_nan() {
        b"NaN"
    } else if value > 0.0 {
        b"Infinity"
    } else {
        b"-Infinity"
    }
}

/// Writes a decimal of `scale` with all its digits; a negative scale means zeros before the point.
pub(crate) fn push_decimal(out: &mut Vec<u8>, value: i128, scale: i8) {
    if value < 0 {
        out.push(b'-');
    }
    let digits = value.unsigned_abs().to_string();
    if scale <= 0 {
        out.extend_from_slice(digits.as_bytes());
        if value != 0 {
            out.resize(out.len() + usize::from(scale.unsigned_abs()), b'0');
        }
        return;
    }
    let scale = usize::from(scale.unsigned_abs());
    let (whole, fraction) = digits.split_at(digits.len().saturating_sub(scale));
    out.extend_from_slice(if whole.is_empty() { b"0" } else { whole.as_bytes() });
    out.push(b'.');
    out.resize(out.len() + scale - fraction.len(), b'0');
    out.extend_from_slice(fraction.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers() {
        assert_eq!(integer::<i64>(b"-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(integer::<i64>(b"9223372036854775808"), Err(OUT_OF_RANGE));
        assert_eq!(integer::<u64>(b"18446744073709551615"), Ok(u64::MAX));
        assert_eq!(integer::<u64>(b"-1"), Err(OUT_OF_RANGE));
        assert_eq!(integer::<i16>(b"32768"), Err(OUT_OF_RANGE));
        assert_eq!(integer::<i32>(b"1e3"), Ok(1000));
        assert_eq!(integer::<i32>(b"40.00"), Ok(40));
        assert_eq!(integer::<i32>(b"4.5"), Err("it is not a whole number"));
        assert_eq!(integer::<i32>(b"007"), Ok(7));
        for bad in ["", "-", "+", "1x", "x", "1e", "1e+", ".", "--1", "1 ", "1.2.3", "e5"] {
            assert_eq!(integer::<i32>(bad.as_bytes()), Err(NOT_A_NUMBER), "{bad:?}");
        }
    }

    #[test]
    fn decimals() {
        let exact = |text: &str, scale| scaled(text.as_bytes(), scale, Excess::Refuse);
        assert_eq!(exact("12.34", 2), Ok(1234));
        assert_eq!(exact("-12.3", 2), Ok(-1230));
        assert_eq!(exact("0.001", 2), Err(NOT_EXACT));
        assert_eq!(exact("0.0010", 3), Ok(1));
        assert_eq!(exact("1000", -3), Ok(1));
        assert_eq!(exact("1100", -3), Err(NOT_EXACT));
        assert_eq!(exact("1.5e3", 0), Ok(1500));
        assert_eq!(exact("1500e-2", 0), Ok(15));
        assert_eq!(exact("0e999999999999", 0), Ok(0));
        assert_eq!(exact("1e99", 0), Err(OUT_OF_RANGE));
        assert_eq!(exact(".5", 1), Ok(5));
        assert_eq!(exact("5.", 1), Ok(50));
        assert_eq!(exact(&format!("7.{}", "0".repeat(99)), 2), Ok(700));
        assert_eq!(exact(&"9".repeat(40), 0), Err(OUT_OF_RANGE));
        assert_eq!(scaled(b"-1.5", 0, Excess::Floor), Ok(-2));
        assert_eq!(scaled(b"-1e-99", 0, Excess::Floor), Ok(-1));
        assert_eq!(scaled(b"1e-99", 0, Excess::Floor), Ok(0));
    }

    #[test]
    fn floats() {
        assert_eq!(float64("1e999"), Err(OUT_OF_RANGE));
        assert_eq!(float64("-Infinity"), Ok(f64::NEG_INFINITY));
        assert!(float64("NaN").is_ok_and(f64::is_nan));
        // Halfway between two REALs when read as a DOUBLE first.
        assert_eq!(float32("0.5000000298023224"), Ok("0.5000000298023224".parse().unwrap()));
        assert_eq!(float32("1e39"), Err(OUT_OF_RANGE));
    }

    proptest! {
        #[test]
        fn decimal_reads_back(value: i128, scale in -5i8..=38) {
            let value = value / 1_000_000;
            let mut text = Vec::new();
            push_decimal(&mut text, value, scale);
            prop_assert_eq!(scaled(&text, i32::from(scale), Excess::Refuse), Ok(value));
        }

        #[test]
        fn floats_read_back(value: f64, small: f32) {
            let mut text = Vec::new();
            push_float64(&mut text, value);
            let again = float64(std::str::from_utf8(&text).unwrap()).unwrap();
            prop_assert!(again == value || again.is_nan() && value.is_nan());
            text.clear();
            push_float32(&mut text, small);
            let again = float32(std::str::from_utf8(&text).unwrap()).unwrap();
            prop_assert!(again == small || again.is_nan() && small.is_nan());
        }

        #[test]
        fn integer_reads_back(value: i64) {
            let mut text = Vec::new();
            push_integer(&mut text, value);
            prop_assert_eq!(String::from_utf8_lossy(&text), value.to_string());
            prop_assert_eq!(integer::<i64>(&text), Ok(value));
        }

        #[test]
        fn any_bytes(text: Vec<u8>, scale in -40i32..40) {
            let _ = scaled(&text, scale, Excess::Floor);
            let _ = integer::<u8>(&text);
        }
    }
}
