//! Whole numbers behind decimals and means, for operators and for queries that are read once.

use arrow::datatypes::i256;

/// `sum / count`, rounded once to the nearest float (ties to even). `count` is not 0.
pub fn mean(sum: i128, count: i64) -> f64 {
    const EXACT: u128 = 1 << f64::MANTISSA_DIGITS;
    let (size, parts) = (sum.unsigned_abs(), u128::from(count.unsigned_abs()));
    let is_negative = (sum < 0) != (count < 0);
    let size = if size == 0 || (size <= EXACT && parts <= EXACT) {
        size as f64 / parts as f64
    } else {
        // At least 64 bits of the quotient, and whether there are more.
        let shift = size.leading_zeros();
        let size = size << shift;
        let quotient = (size / parts) | u128::from(size % parts != 0);
        quotient as f64 * 2f64.powi(-(shift as i32))
    };
    if is_negative { -size } else { size }
}

/// The largest decimal of this many digits, in units of its last one.
pub fn limit_of(precision: u8) -> i128 {
    10i128
        .checked_pow(u32::from(precision))
        .map_or(i128::MAX, |power| power - 1)
}

/// The quotient of decimals, rounded to the nearest, and from halfway away from zero, as PostgreSQL does; `None` for
/// a divisor of zero, or one that 256 bits can't hold.
pub fn quotient(dividend: i256, divisor: i256) -> Option<i256> {
    let whole = dividend.checked_div(divisor)?;
    let rest = dividend.checked_rem(divisor)?.wrapping_abs();
    let size = divisor.wrapping_abs();
    // rest >= size - rest is 2 * rest >= size, without leaving the range.
    if rest < size.wrapping_sub(rest) {
        return Some(whole);
    }
    let one = match dividend.is_negative() == divisor.is_negative() {
        true => i256::ONE,
        false => i256::MINUS_ONE,
    };
    whole.checked_add(one)
}

/// The rounded quotient of numbers of 128 bits.
pub fn quotient_128(dividend: i128, divisor: i128) -> Option<i128> {
    let whole = dividend.checked_div(divisor)?;
    let rest = dividend.checked_rem(divisor)?.unsigned_abs();
    if rest < divisor.unsigned_abs() - rest {
        return Some(whole);
    }
    match (dividend < 0) == (divisor < 0) {
        true => whole.checked_add(1),
        false => whole.checked_sub(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_rounded_once() {
        assert_eq!(mean(7, 2), 3.5);
        assert_eq!(mean(-7, 2), -3.5);
        assert_eq!(mean(0, 3), 0.0);
        // 2^53 + 1 isn't a float; its half lies between two and rounds to the even one.
        let sum = (1i128 << 54) + 2;
        assert_eq!(mean(sum, 2), 9_007_199_254_740_992.0);
        assert_eq!(mean(sum + 2, 2), 9_007_199_254_740_994.0);
        // A little more than the tie rounds up, though the rest is far below the last bit kept.
        let sum = ((1i128 << 53) + 1) * 3 + 1;
        assert_eq!(mean(sum, 3), 9_007_199_254_740_994.0);
        assert_eq!(mean(i128::MAX, 1), 2f64.powi(127));
        assert_eq!(mean(i128::from(i64::MAX) * 3, 3), 2f64.powi(63));
    }

    #[test]
    fn limits_have_only_nines() {
        assert_eq!(limit_of(3), 999);
        assert_eq!(limit_of(38), 10i128.pow(38) - 1);
    }

    #[test]
    fn quotients_are_rounded_away_from_zero() {
        let cases = [
            (7, 2, 4),
            (-7, 2, -4),
            (7, -2, -4),
            (-7, -2, 4),
            (1, 3, 0),
            (2, 3, 1),
            (-2, 3, -1),
            (0, 5, 0),
            (1, 2, 1),
            (-1, 2, -1),
            (4, 9, 0),
            (5, 9, 1),
        ];
        for (dividend, divisor, expected) in cases {
            assert_eq!(
                quotient_128(dividend, divisor),
                Some(expected),
                "{dividend} / {divisor}"
            );
            let wide = quotient(i256::from_i128(dividend), i256::from_i128(divisor));
            assert_eq!(wide, Some(i256::from_i128(expected)), "{dividend} / {divisor}");
        }
        assert_eq!(quotient_128(1, 0), None);
        assert_eq!(quotient_128(i128::MIN, -1), None);
        assert_eq!(quotient(i256::MAX, i256::ONE), Some(i256::MAX));
        assert_eq!(quotient(i256::ONE, i256::ZERO), None);
    }
}
