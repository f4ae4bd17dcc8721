//! How the event times of several inputs become one: of a source's splits, and of the inputs of a view that
//! meet.
//!
//! The watermark is the least of those that are read. An input that is idle (read to its end, and quiet for
//! as long as its source's `idle_timeout`) is not waited for, nor is one that has ended. Where the rest is idle
//! altogether, it is the highest of theirs: each has come so far, and none goes on.

use crate::operator::Watermark;

/// How an input stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// More of it may come at any time.
    Read,
    /// Nothing has come of it for a while.
    Idle,
    /// Nothing will come of it any more.
    Ended,
}

/// The watermark of several inputs together; each has its own, if it is known.
pub fn together(inputs: impl Iterator<Item = (Option<Watermark>, Standing)>) -> Option<Watermark> {
    let (mut read, mut idle, mut ended): (Option<Option<Watermark>>, Option<Option<Watermark>>, _) =
        (None, None, false);
    for (watermark, standing) in inputs {
        match standing {
            Standing::Read => read = Some(read.map_or(watermark, |least| least.min(watermark))),
            Standing::Idle => idle = idle.max(Some(watermark)),
            Standing::Ended => ended = true,
        }
    }
    match read.or(idle) {
        Some(open) => open,
        None => ended.then_some(Watermark::MAX),
    }
}

/// How several inputs together stand.
pub fn standing(inputs: impl Iterator<Item = Standing>) -> Option<Standing> {
    inputs.reduce(|one, other| match (one, other) {
        (Standing::Read, _) | (_, Standing::Read) => Standing::Read,
        (Standing::Idle, _) | (_, Standing::Idle) => Standing::Idle,
        _ => Standing::Ended,
    })
}

#[cfg(test)]
mod tests {
    use super::Standing::{Ended, Idle, Read};
    use super::{Watermark, standing, together};

    fn of(inputs: &[(i64, super::Standing)]) -> Option<Watermark> {
        // Below all time: nothing has come yet.
        let known = |watermark: i64| (watermark != i64::MIN).then_some(watermark);
        together(
            inputs
                .iter()
                .map(|(watermark, standing)| (known(*watermark), *standing)),
        )
    }

    #[test]
    fn those_that_are_read_hold_it_back() {
        assert_eq!(of(&[(5, Read), (3, Read)]), Some(3));
        assert_eq!(of(&[(5, Read), (3, Idle)]), Some(5));
        assert_eq!(of(&[(5, Read), (i64::MAX, Ended)]), Some(5));
        assert_eq!(of(&[(5, Read), (i64::MIN, Read)]), None);
        assert_eq!(of(&[(5, Read), (i64::MIN, Idle)]), Some(5));
    }

    #[test]
    fn of_idle_ones_the_furthest_counts() {
        assert_eq!(of(&[(5, Idle), (3, Idle)]), Some(5));
        assert_eq!(of(&[(5, Idle), (i64::MAX, Ended)]), Some(5));
        assert_eq!(of(&[(i64::MIN, Idle)]), None);
        assert_eq!(of(&[(7, Ended), (9, Ended)]), Some(i64::MAX));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn together_they_are_idle_if_the_rest_has_ended() {
        let of = |standings: &[super::Standing]| standing(standings.iter().copied());
        assert_eq!(of(&[Idle, Ended]), Some(Idle));
        assert_eq!(of(&[Idle, Read]), Some(Read));
        assert_eq!(of(&[Ended, Ended]), Some(Ended));
        assert_eq!(of(&[]), None);
    }
}
