//! Randomness as a function of place: the same (stream, number) gives the same bits for ever.
//!
//! The mixing is the 64 × 64 → 128 bit multiply and fold of wyrand (Wang Yi, "wyhash", 2019), with
//! the number of the draw in place of a running state.

const STRIDE: u64 = 0xa076_1d64_78bd_642f;
const TWIST: u64 = 0xe703_7ed1_a0b4_28db;

/// The 64 bits of draw `number` in a stream.
#[inline]
pub(in crate::connector) fn bits(stream: u64, number: u64) -> u64 {
    let place = stream.wrapping_add(number.wrapping_mul(STRIDE));
    let product = u128::from(place) * u128::from(place ^ TWIST);
    (product as u64) ^ ((product >> 64) as u64)
}

/// A stream of its own for a purpose.
pub(in crate::connector) fn stream(seed: u64, purpose: u64) -> u64 {
    bits(bits(seed, purpose), seed)
}

/// Uniform in `0 .. limit` by the lower half of `bits`; `limit` ≤ 2^32.
#[inline]
pub(in crate::connector) fn below(bits: u64, limit: u64) -> u64 {
    ((bits & 0xffff_ffff) * limit) >> 32
}

/// Eight letters a–z, one of each byte of `bits`.
#[inline]
fn letters(bits: u64) -> [u8; 8] {
    const EVEN: u64 = 0x00ff_00ff_00ff_00ff;
    // Each byte times 26, its upper half, in lanes of 16 bits.
    let even = (((bits & EVEN) * 26) >> 8) & EVEN;
    let odd = (((bits >> 8) & EVEN) * 26) & !EVEN;
    ((even | odd) + 0x6161_6161_6161_6161).to_le_bytes()
}

/// Appends `count` letters, drawn from `stream`.
#[inline]
pub(in crate::connector) fn push_letters(out: &mut Vec<u8>, stream: u64, count: usize) {
    let start = out.len();
    out.resize(start + count.next_multiple_of(8), 0);
    for (number, place) in (0u64..).zip(out[start..].chunks_exact_mut(8)) {
        place.copy_from_slice(&letters(bits(stream, number)));
    }
    out.truncate(start + count);
}

/// Appends `count` letters among which every 13th or so is a space, never at an end.
pub(in crate::connector) fn push_words(out: &mut Vec<u8>, stream: u64, count: usize) {
    let start = out.len();
    push_letters(out, stream, count);
    for place in 1..count.saturating_sub(1) {
        if below(bits(stream, u64::MAX - place as u64), 13) == 0 {
            out[start + place] = b' ';
        }
    }
}

/// `round(100 · 10^(6u))` for u uniform in 0 … 1, by multiplying three factors from tables. Tables and
/// factors are made by multiplication alone, so the prices are the same on every machine.
pub(super) struct Prices([Vec<f64>; 3]);

impl Prices {
    /// 10^(6 / 2^10), 10^(6 / 2^20), 10^(6 / 2^30).
    const STEPS: [f64; 3] = [1.013_583_133_334_066, 1.000_013_175_584_384_4, 1.000_000_012_866_697];

    pub(super) fn new() -> Prices {
        let table = |step: f64| {
            std::iter::successors(Some(1.0), |value| Some(value * step))
                .take(1_024)
                .collect()
        };
        Prices(Prices::STEPS.map(table))
    }

    #[inline]
    pub(super) fn at(&self, draw: u64) -> u64 {
        let factor = |table: usize, shift: u32| self.0[table][(draw >> shift & 1_023) as usize];
        (100.0 * factor(0, 54) * factor(1, 44) * factor(2, 34)).round() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_letters_and_even() {
        let mut text = Vec::new();
        push_letters(&mut text, 7, 260_003);
        assert_eq!(text.len(), 260_003);
        let mut counts = [0u32; 26];
        text.iter().for_each(|letter| counts[usize::from(letter - b'a')] += 1);
        assert!(counts.iter().all(|count| (8_500..11_500).contains(count)), "{counts:?}");
        let mut words = Vec::new();
        push_words(&mut words, 7, 1_000);
        let spaces = words.iter().filter(|byte| **byte == b' ').count();
        assert!((50..110).contains(&spaces), "{spaces}");
    }

    #[test]
    fn draws_are_uniform_and_streams_differ() {
        let mut counts = [0u32; 100];
        for number in 0..100_000 {
            counts[below(bits(stream(1, 2), number), 100) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (850..1_150).contains(count)), "{counts:?}");
        let same = (0..1_000)
            .filter(|n| bits(stream(1, 2), *n) == bits(stream(1, 3), *n))
            .count();
        assert_eq!(same, 0);
    }
}
