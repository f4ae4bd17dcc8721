//! Sources that meet by event time: joins with what was valid, or near, and windows over both.

use super::super::case::{Closing, Kind};
use super::super::values::{of_kind, predicate};
use super::closing::{Closed, Finality, Told};
use super::{Known, Query, pick};

/// Something over two sources.
pub fn of_two(base: &Known, at: usize, known: &[Known], closing: &Closing, told: Told) -> Closed {
    let number = closing.number;
    let sources: Vec<&Known> = known.iter().filter(|known| known.is_timed_source()).collect();
    let other = *pick(&sources, number);
    let a = usize::from(number / 4) % base.kinds.len();
    // The first columns are both whole numbers.
    let (a, b) = of_kind(&other.kinds, number / 3, &[base.kinds[a]]).map_or((0, 0), |b| (a, b));
    let two = Two {
        base,
        at: format!("a.c{at}"),
        other,
        other_at: format!("b.c{}", other.event_time.unwrap_or_default()),
        left: if number.is_multiple_of(3) { "LEFT " } else { "" },
        key: format!("a.c{a} = b.c{b}"),
        number,
        told,
    };
    match closing.kind / 2 % 7 {
        0 => two.versions(closing),
        1 => match known
            .iter()
            .filter(|known| known.versions.is_some())
            .collect::<Vec<_>>()
        {
            // Which versions there were can't be asked for.
            upserts if !upserts.is_empty() && known.iter().any(|known| known.is_marked) => Two {
                other: pick::<&Known>(&upserts, number),
                key: "a.c0 = b.c0".to_string(),
                ..two
            }
            .upserts(closing),
            _ => two.versions(closing),
        },
        2 => two.nearest(closing),
        3 | 4 => two.apart(closing),
        5 => two.in_windows(closing),
        _ => two.windows_over_both(closing),
    }
}

struct Two<'a> {
    base: &'a Known,
    at: String,
    other: &'a Known,
    other_at: String,
    left: &'static str,
    key: String,
    number: u8,
    told: Told,
}

impl Two<'_> {
    /// All columns of both sides.
    fn closed(&self, from: &str, finality: Finality) -> Closed {
        let sides = [("a", self.base.kinds.len()), ("b", self.other.kinds.len())];
        let columns = sides
            .iter()
            .flat_map(|(side, count)| (0..*count).map(move |c| format!("{side}.c{c}")));
        let parts: Vec<String> = columns
            .enumerate()
            .map(|(place, column)| format!("{column} AS c{place}"))
            .collect();
        Closed {
            query: Query {
                sql: format!("SELECT {} FROM {from}", parts.join(", ")),
                kinds: [self.base.kinds.clone(), self.other.kinds.clone()].concat(),
            },
            emit: finality.emit,
            with: finality.with,
            event_time: None,
        }
    }

    /// A source's rows that are not late.
    fn in_time(&self, source: &Known, finality: &Finality) -> String {
        match self.told {
            Told::ByWatermarks => source.name.clone(),
            Told::ByMarks => {
                let at = format!("c{}", source.event_time.unwrap_or_default());
                format!("(SELECT * FROM {} WHERE {})", source.name, finality.is_in_time(&at))
            }
        }
    }

    /// When its rows come makes no difference to what is late.
    fn finality(&self, closing: &Closing) -> Finality {
        let once = Finality::once(closing, self.told);
        match self.number % 2 {
            0 => once,
            _ => Finality {
                emit: String::new(),
                ..once
            },
        }
    }

    fn versions(&self, closing: &Closing) -> Closed {
        let finality = self.finality(closing);
        let (left, key, at) = (self.left, &self.key, &self.at);
        let base = self.in_time(self.base, &finality);
        let from = match (self.told, self.base.is_marked) {
            (Told::ByMarks, _) => {
                let other = self.in_time(self.other, &finality);
                format!(
                    "{base} a ASOF {left}JOIN {other} b MATCH_CONDITION ({at} >= {}) ON {key}",
                    self.other_at
                )
            }
            (_, is_marked) => {
                let judged = match is_marked || closing.value.is_multiple_of(2) {
                    true => String::new(),
                    false => {
                        let kinds = &self.other.kinds;
                        format!(
                            " AND {}",
                            predicate("b.", kinds, closing.value, closing.value / 8, self.number)
                        )
                    }
                };
                format!(
                    "{base} a {left}JOIN {} FOR SYSTEM_TIME AS OF {at} AS b ON {key}{judged}",
                    self.other.name
                )
            }
        };
        self.closed(&from, finality)
    }

    /// Versions of an upsert source, which the script tells in a table at its end.
    fn upserts(&self, closing: &Closing) -> Closed {
        let finality = self.finality(closing);
        let (left, key, at, other) = (self.left, &self.key, &self.at, &self.other.name);
        let base = self.in_time(self.base, &finality);
        let from = match self.told {
            Told::ByWatermarks => {
                format!("{base} a {left}JOIN {other} FOR SYSTEM_TIME AS OF {at} AS b ON {key}")
            }
            Told::ByMarks => format!(
                "{base} a {left}JOIN h{other} b ON {key} AND {at} >= b.begins AND (b.ends IS NULL OR {at} < b.ends)"
            ),
        };
        self.closed(&from, finality)
    }

    fn nearest(&self, closing: &Closing) -> Closed {
        let op = pick(&[">=", ">", "<=", "<"], self.number / 2);
        // What may still come later is not told by the clock.
        let closing = Closing {
            timeout: closing.timeout && op.starts_with('>'),
            ..closing.clone()
        };
        let finality = Finality::drawn(&closing, self.told);
        let from = format!(
            "{} a ASOF {}JOIN {} b MATCH_CONDITION ({} {op} {}) ON {}",
            self.in_time(self.base, &finality),
            self.left,
            self.in_time(self.other, &finality),
            self.at,
            self.other_at,
            self.key
        );
        self.closed(&from, finality)
    }

    fn any_join(&self) -> &'static str {
        ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"][usize::from(self.number / 2 % 4)]
    }

    fn apart(&self, closing: &Closing) -> Closed {
        let mut finality = Finality::once(closing, self.told);
        finality.emit.clear();
        if self.number % 2 == 1 {
            finality = Finality::corrected(self.told);
        }
        let from = format!(
            "{} a {} {} b ON {} AND {} BETWEEN {other_at} - INTERVAL '1' HOUR AND {other_at} + INTERVAL '30' MINUTE",
            self.in_time(self.base, &finality),
            self.any_join(),
            self.in_time(self.other, &finality),
            self.key,
            self.at,
            other_at = self.other_at
        );
        self.closed(&from, finality)
    }

    /// Pairs of one window.
    fn in_windows(&self, closing: &Closing) -> Closed {
        let finality = Finality::corrected(self.told);
        let size = 1 + closing.value % 2;
        let side = |source: &Known| {
            let at = source.event_time.unwrap_or_default();
            let call = format!("TUMBLE({}, c{at}, INTERVAL '{size}' HOUR)", source.name);
            match self.told {
                Told::ByWatermarks => call,
                Told::ByMarks => format!("(SELECT * FROM {call} WHERE {})", finality.is_open("window_end")),
            }
        };
        let from = format!(
            "{} a {} {} b ON a.window_end = b.window_end AND {}",
            side(self.base),
            self.any_join(),
            side(self.other),
            self.key
        );
        self.closed(&from, finality)
    }

    /// How many rows of both are in each window.
    fn windows_over_both(&self, closing: &Closing) -> Closed {
        let finality = Finality::drawn(closing, self.told);
        let mark = match self.told {
            Told::ByMarks => ", mark",
            Told::ByWatermarks => "",
        };
        let (at, other_at) = (
            self.base.event_time.unwrap_or_default(),
            self.other.event_time.unwrap_or_default(),
        );
        let union = format!(
            "(SELECT c{at} AS c0{mark} FROM {} UNION ALL SELECT c{other_at}{mark} FROM {}) u",
            self.base.name, self.other.name
        );
        let call = super::closing::fixed_windows(&union, "u.c0", closing.value);
        let sql = format!(
            "SELECT window_start AS c0, window_end AS c1, count(*) AS c2 FROM {call}\nWHERE {}\nGROUP BY window_start, \
             window_end",
            finality.is_open("window_end")
        );
        Closed {
            query: Query {
                sql,
                kinds: vec![Kind::Time, Kind::Time, Kind::Int],
            },
            emit: finality.emit,
            with: finality.with,
            event_time: Some(1),
        }
    }
}
