//! Whole numbers behind decimals and means, for operators and for queries that are read once.

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
}
