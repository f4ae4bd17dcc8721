//! An exact sum of floats: a long integer in units of the smallest float.
//!
//! Every finite float is an integer multiple of 2^-1074, so a sum of floats is a long integer in
//! that unit, and adding a float is adding an integer: nothing is rounded, the order doesn't matter,
//! and what was added can be taken away without trace (U. Kulisch's long accumulator, "Grundlagen
//! des numerischen Rechnens", 1976). Of its 2,100 bits and more only the 64-bit limbs are kept that
//! say something, which for data of one magnitude are two or three. Compared with an expansion
//! (Shewchuk 1997) a sum has one form only, can't overflow on its way, and takes whole weights.
//!
//! Infinities and NaN are counted apart.

use crate::Result;
use crate::operator::codec::{Reader, damaged, write_i64, write_u128, write_usize};

/// Exponent of the unit.
const UNIT: i32 = -1074;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExactSum {
    /// Two's complement, the lowest limb first; what lies above is the last one's sign, and
    /// nothing below them. No limbs mean 0.
    limbs: Vec<u64>,
    /// How many limbs lie below the first.
    offset: usize,
    special: Option<Box<Special>>,
}

/// Values that are no numbers, counted by weight.
#[derive(Debug, Clone, Default, PartialEq)]
struct Special {
    nans: i64,
    infinities: i64,
    negative_infinities: i64,
}

impl ExactSum {
    /// Memory that a sum of data of one magnitude takes beyond the struct itself.
    pub const USUAL_BYTES: usize = 32;

    /// The sum of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `value * weight`.
    pub fn add(&mut self, value: f64, weight: i64) {
        if !value.is_finite() {
            return self.add_special(value, weight);
        }
        let bits = value.to_bits();
        let fraction = bits & ((1 << 52) - 1);
        let exponent = ((bits >> 52) & 0x7ff) as usize;
        let (mantissa, position) = match exponent {
            0 => (fraction, 0),
            _ => (fraction | 1 << 52, exponent - 1),
        };
        let product = i128::from(mantissa) * i128::from(weight);
        if product != 0 {
            self.add_shifted(if value < 0.0 { -product } else { product }, position);
        }
    }

    /// Adds `number * 2^position` units. `number` has at most 117 bits.
    fn add_shifted(&mut self, number: i128, position: usize) {
        let (limb, shift) = (position / 64, position % 64);
        // 117 bits moved by up to 63 take three limbs with their sign.
        let low = (number << shift) as u128;
        let high = if shift == 0 {
            number >> 127
        } else {
            number >> (128 - shift)
        };
        self.cover(limb, limb + 3);
        let added = [low as u64, (low >> 64) as u64, high as u64];
        let sign = if number < 0 { u64::MAX } else { 0 };
        let mut carry = false;
        for (place, target) in self.limbs[limb - self.offset..].iter_mut().enumerate() {
            let addend = added.get(place).copied().unwrap_or(sign);
            if place >= added.len() && addend.wrapping_add(u64::from(carry)) == 0 {
                // Nothing more to add, or a borrow that a carry has met.
                return self.trim();
            }
            let (sum, over) = target.overflowing_add(addend);
            let (sum, over_carry) = sum.overflowing_add(u64::from(carry));
            *target = sum;
            carry = over || over_carry;
        }
        self.trim();
    }

    /// Makes limbs `start .. end` present, with one more of sign above the sum and above `end`.
    fn cover(&mut self, start: usize, end: usize) {
        if self.limbs.is_empty() {
            self.offset = start;
        }
        if start < self.offset {
            self.limbs.splice(0..0, std::iter::repeat_n(0, self.offset - start));
            self.offset = start;
        }
        let sign = self.sign();
        let present = self.offset + self.limbs.len();
        let needed = end.max(present) + 1;
        self.limbs.resize(needed - self.offset, sign);
    }

    /// Takes away limbs that say nothing: signs above, zeros below.
    fn trim(&mut self) {
        while let [.., below, top] = self.limbs[..] {
            if top != sign_of(below) {
                break;
            }
            self.limbs.pop();
        }
        let zeros = self.limbs.iter().take_while(|limb| **limb == 0).count();
        if zeros > 0 {
            self.limbs.drain(..zeros);
            self.offset = if self.limbs.is_empty() { 0 } else { self.offset + zeros };
        }
    }

    fn sign(&self) -> u64 {
        self.limbs.last().map_or(0, |top| sign_of(*top))
    }

    fn add_special(&mut self, value: f64, weight: i64) {
        let special = self.special.get_or_insert_default();
        let count = if value.is_nan() {
            &mut special.nans
        } else if value > 0.0 {
            &mut special.infinities
        } else {
            &mut special.negative_infinities
        };
        *count = count.wrapping_add(weight);
        if **special == Special::default() {
            self.special = None;
        }
    }

    /// The sum as the nearest float (ties to even): infinite if it is beyond them all, NaN of
    /// NaNs and of opposite infinities.
    pub fn value(&self) -> f64 {
        if let Some(special) = &self.special {
            let (up, down) = (special.infinities != 0, special.negative_infinities != 0);
            return match (special.nans != 0, up, down) {
                (true, _, _) | (_, true, true) => f64::NAN,
                (_, true, _) => f64::INFINITY,
                _ => f64::NEG_INFINITY,
            };
        }
        let is_negative = self.sign() != 0;
        let size = self.rounded_size(is_negative);
        if is_negative { -size } else { size }
    }

    /// The sum without its sign, rounded.
    fn rounded_size(&self, is_negative: bool) -> f64 {
        // The lowest limb isn't 0, so the 1 that turns a complement into an opposite stays in it.
        let limb = |place: usize| match (is_negative, place) {
            (false, _) => self.limbs[place],
            (true, 0) => self.limbs[0].wrapping_neg(),
            (true, _) => !self.limbs[place],
        };
        let Some(top) = (0..self.limbs.len()).rev().find(|place| limb(*place) != 0) else {
            return 0.0;
        };
        let high = limb(top);
        let low = top.checked_sub(1).map_or(0, limb);
        let zeros = high.leading_zeros();
        // The 64 highest bits; the lowest of them also tells whether anything lies below.
        let head = ((u128::from(high) << 64 | u128::from(low)) << zeros) >> 64;
        let more = low << zeros != 0 || top >= 2;
        let position = (self.offset + top) * 64;
        scale(head as u64 | u64::from(more), position as i32 - zeros as i32)
    }

    /// The sum, or the mean of so many values; none where it is beyond all floats.
    pub fn result(&self, is_mean: bool, count: i64) -> Option<f64> {
        let sum = self.value();
        match sum.is_infinite() && self.special.is_none() {
            true => None,
            false if is_mean => Some(sum / count as f64),
            false => Some(sum),
        }
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &ExactSum) {
        let is_negative = other.sign() != 0;
        for (place, limb) in other.limbs.iter().enumerate() {
            self.add_shifted(i128::from(*limb), (other.offset + place) * 64);
        }
        if is_negative {
            // What lies above the last limb is all ones: one less of the next.
            self.add_shifted(-1, (other.offset + other.limbs.len()) * 64);
        }
        if let Some(special) = &other.special {
            self.add_special(f64::NAN, special.nans);
            self.add_special(f64::INFINITY, special.infinities);
            self.add_special(f64::NEG_INFINITY, special.negative_infinities);
        }
    }

    /// The sum as bytes, from which [`ExactSum::from_bytes`] makes it again.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.save(&mut bytes);
        bytes
    }

    /// The sum that was saved as these bytes.
    ///
    /// # Errors
    /// If they are no sum.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::load(&mut Reader::new(bytes))
    }

    pub(super) fn save(&self, out: &mut Vec<u8>) {
        write_usize(self.limbs.len(), out);
        write_usize(self.offset, out);
        for limb in &self.limbs {
            out.extend_from_slice(&limb.to_le_bytes());
        }
        let special = self.special.as_deref().cloned().unwrap_or_default();
        write_u128(u128::from(self.special.is_some()), out);
        if self.special.is_some() {
            write_i64(special.nans, out);
            write_i64(special.infinities, out);
            write_i64(special.negative_infinities, out);
        }
    }

    pub(super) fn load(saved: &mut Reader<'_>) -> Result<Self> {
        let (length, offset) = (saved.usize()?, saved.usize()?);
        if length > 64 || offset > 64 {
            return Err(damaged());
        }
        let limbs = (0..length).map(|_| saved.u64_le()).collect::<Result<_>>()?;
        let special = match saved.byte()? {
            0 => None,
            _ => Some(Box::new(Special {
                nans: saved.i64()?,
                infinities: saved.i64()?,
                negative_infinities: saved.i64()?,
            })),
        };
        Ok(Self { limbs, offset, special })
    }
}

fn sign_of(limb: u64) -> u64 {
    (limb as i64 >> 63) as u64
}

/// `head * 2^position` units as the nearest float. The top bit of `head` is set, its lowest says
/// whether bits were cut off; `position` is above -64, and no bit of `head` below the unit is set.
fn scale(head: u64, position: i32) -> f64 {
    // A float has 53 bits from its top one on, but none below the unit. So 11 to 63 are cut.
    let top = position + 63;
    let lowest = (top - 52).max(0);
    let cut = lowest - position;
    let (kept, rest) = (head >> cut, head << (64 - cut));
    let half = 1 << 63;
    let up = rest > half || (rest == half && kept & 1 == 1);
    let kept = kept + u64::from(up);
    if lowest + 64 - kept.leading_zeros() as i32 > 1024 - UNIT {
        return f64::INFINITY;
    }
    kept as f64 * power(lowest)
}

/// 2^n units, for products that are floats.
fn power(n: i32) -> f64 {
    let exponent = n + UNIT;
    if exponent >= -1022 {
        f64::from_bits(((exponent + 1023) as u64) << 52)
    } else {
        f64::from_bits(1 << n)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum_of(values: &[f64]) -> ExactSum {
        let mut sum = ExactSum::default();
        for value in values {
            sum.add(*value, 1);
        }
        sum
    }

    #[test]
    fn small_parts_survive_large_ones() {
        assert_eq!(sum_of(&[1e16, 1.0, -1e16]).value(), 1.0);
        assert_eq!(sum_of(&[1e308, 5e-324, 1e308, -1e308, -1e308]).value(), 5e-324);
        assert_eq!(sum_of(&[0.1; 10]).value(), 1.0);
        assert_eq!(sum_of(&[f64::MAX, f64::MAX]).value(), f64::INFINITY);
        assert_eq!(sum_of(&[f64::MAX, f64::MAX, -f64::MAX]).value(), f64::MAX);
        assert_eq!(sum_of(&[-f64::MAX, -f64::MAX]).value(), f64::NEG_INFINITY);
        assert_eq!(sum_of(&[-0.0]).value().to_bits(), 0);
    }

    #[test]
    fn rounding_is_to_the_nearest_even() {
        let two_53 = 9_007_199_254_740_992.0;
        assert_eq!(sum_of(&[two_53, 1.0]).value(), two_53);
        assert_eq!(sum_of(&[two_53, 1.0, 5e-324]).value(), two_53 + 2.0);
        assert_eq!(sum_of(&[two_53, 1.0, -5e-324]).value(), two_53);
        assert_eq!(sum_of(&[two_53 + 2.0, 1.0]).value(), two_53 + 4.0);
        let half_an_ulp = 2f64.powi(970);
        assert_eq!(sum_of(&[f64::MAX, half_an_ulp]).value(), f64::INFINITY);
        assert_eq!(sum_of(&[f64::MAX, half_an_ulp, -1.0]).value(), f64::MAX);
    }

    #[test]
    fn what_is_no_number_leaves_no_trace() {
        let mut sum = sum_of(&[1.5, f64::NAN, f64::INFINITY]);
        assert!(sum.value().is_nan());
        sum.add(f64::NAN, -1);
        assert_eq!(sum.value(), f64::INFINITY);
        sum.add(f64::NEG_INFINITY, 1);
        assert!(sum.value().is_nan());
        sum.add(f64::NEG_INFINITY, -1);
        sum.add(f64::INFINITY, -1);
        assert_eq!(sum, sum_of(&[1.5]));
    }

    /// Floats of all sizes, not only those that uniform bits make likely.
    fn float() -> impl Strategy<Value = f64> {
        let close = (-1_000_000i64..1_000_000).prop_map(|number| number as f64 / 1000.0);
        let any = any::<u64>()
            .prop_map(f64::from_bits)
            .prop_filter("finite", |f| f.is_finite());
        let tiny = (0u64..1 << 53).prop_map(f64::from_bits);
        prop_oneof![close, any, tiny]
    }

    proptest! {
        #[test]
        fn one_value_comes_back(value in float(), weight in 1i64..4) {
            let mut sum = ExactSum::default();
            sum.add(value, 1);
            prop_assert_eq!(sum.value(), value);
            sum.add(value, weight);
            sum.add(value, -weight);
            prop_assert_eq!(sum.value(), value);
        }

        #[test]
        fn two_values_add_like_the_machine(a in float(), b in float()) {
            prop_assert_eq!(sum_of(&[a, b]).value(), a + b);
        }

        #[test]
        fn the_order_and_what_was_deleted_leave_no_trace(
            mut kept in prop::collection::vec(float(), 0..8),
            gone in prop::collection::vec((float(), any::<i64>()), 0..8),
        ) {
            let expected = sum_of(&kept);
            let mut sum = ExactSum::default();
            for (value, weight) in &gone {
                sum.add(*value, *weight);
            }
            kept.reverse();
            for value in &kept {
                sum.add(*value, 1);
            }
            for (value, weight) in gone.iter().rev() {
                // In two parts, for i64::MIN has no opposite.
                sum.add(*value, -1 - *weight);
                sum.add(*value, 1);
            }
            prop_assert_eq!(&sum, &expected);
            prop_assert_eq!(ExactSum::from_bytes(&sum.to_bytes()).unwrap(), expected);
        }

        #[test]
        fn sums_add_like_their_values(
            one in prop::collection::vec((float(), -3i64..3), 0..6),
            other in prop::collection::vec((float(), -3i64..3), 0..6),
        ) {
            let weighted = |values: &[(f64, i64)]| {
                let mut sum = ExactSum::new();
                values.iter().for_each(|(value, weight)| sum.add(*value, *weight));
                sum
            };
            let mut merged = weighted(&one);
            merged.merge(&weighted(&other));
            prop_assert_eq!(merged, weighted(&[one, other].concat()));
        }
    }
}
