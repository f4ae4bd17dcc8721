//! Sources that meet by event time: joins with what was valid, or near, and windows over both.

use super::super::case::Kind;
use super::super::values::of_kind;
use super::{Known, Query, pick};

/// A query over two sources, what it emits, and its options.
pub fn closing(
    (base, at): (&Known, usize),
    known: &[Known],
    kind: u8,
    number: u8,
) -> (Query, &'static str, &'static str) {
    let timed: Vec<&Known> = known.iter().filter(|known| known.event_time.is_some()).collect();
    let other = *pick(&timed, number);
    let other_at = other.event_time.unwrap_or_default();
    let a = usize::from(number / 4) % base.kinds.len();
    // The first columns are both whole numbers.
    let (a, b) = of_kind(&other.kinds, number / 3, &[base.kinds[a]]).map_or((0, 0), |b| (a, b));
    let left = if number.is_multiple_of(3) { "LEFT " } else { "" };
    let key = format!("a.c{a} = b.c{b}");
    let (from, emit, with) = match kind % 5 {
        0 | 1 => (
            format!(
                "{} a {left}JOIN {} FOR SYSTEM_TIME AS OF a.c{at} AS b ON {key}",
                base.name, other.name
            ),
            if number.is_multiple_of(2) {
                "\nEMIT ON WINDOW CLOSE"
            } else {
                ""
            },
            "",
        ),
        2 => {
            let op = pick(&[">=", ">", "<=", "<"], number / 2);
            let on = format!("MATCH_CONDITION (a.c{at} {op} b.c{other_at}) ON {key}");
            let from = format!("{} a ASOF {left}JOIN {} b {on}", base.name, other.name);
            match number % 2 {
                0 => (from, "\nEMIT ON WINDOW CLOSE", ""),
                _ => (from, "", " WITH (allowed_lateness = '1 hour')"),
            }
        }
        3 => {
            let apart = format!("b.c{other_at} - INTERVAL '1' HOUR AND b.c{other_at} + INTERVAL '30' MINUTE");
            let on = format!("{key} AND a.c{at} BETWEEN {apart}");
            (format!("{} a {left}JOIN {} b ON {on}", base.name, other.name), "", "")
        }
        _ => return windows_over_both((base, at), (other, other_at), number),
    };
    let sides = [("a", base.kinds.len()), ("b", other.kinds.len())];
    let columns = sides
        .iter()
        .flat_map(|(side, count)| (0..*count).map(move |c| format!("{side}.c{c}")));
    let parts: Vec<String> = columns
        .enumerate()
        .map(|(place, column)| format!("{column} AS c{place}"))
        .collect();
    let kinds = [base.kinds.clone(), other.kinds.clone()].concat();
    let sql = format!("SELECT {} FROM {from}", parts.join(", "));
    (Query { sql, kinds }, emit, with)
}

/// How many rows of both are in each window.
fn windows_over_both(
    (base, at): (&Known, usize),
    (other, other_at): (&Known, usize),
    number: u8,
) -> (Query, &'static str, &'static str) {
    let union = format!(
        "(SELECT c{at} AS c0 FROM {} UNION ALL SELECT c{other_at} FROM {}) u",
        base.name, other.name
    );
    let call = match number / 2 % 2 {
        0 => format!("TUMBLE({union}, u.c0, INTERVAL '1' HOUR)"),
        _ => format!("HOP({union}, u.c0, INTERVAL '30' MINUTE, INTERVAL '2' HOUR)"),
    };
    let sql = format!("SELECT window_end AS c0, count(*) AS c1 FROM {call}\nGROUP BY window_end");
    let kinds = vec![Kind::Time, Kind::Int];
    match number % 2 {
        0 => (Query { sql, kinds }, "\nEMIT ON WINDOW CLOSE", ""),
        _ => (Query { sql, kinds }, "", " WITH (allowed_lateness = '1 hour')"),
    }
}
