//! What is closed by the watermark of a source, or of a view that has one: groups in windows, rows, first rows and
//! window functions, each once when the watermark has passed it, or final a while later.
//!
//! Each is written as a view, and as a query that tells which rows are late by the `mark` that each record has of
//! its partition's watermark: what the view has to be in the end.

use super::super::aggregates::aggregate;
use super::super::case::{Closing, Kind};
use super::super::values::predicate;
use super::{Known, Query, Speech, columns};

/// A query that is closed.
pub struct Closed {
    pub query: Query,
    /// Behind it.
    pub emit: String,
    /// Its options.
    pub with: &'static str,
    /// The column that is event time for who reads it.
    pub event_time: Option<usize>,
}

/// Who decides which rows are late.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Told {
    ByWatermarks,
    ByMarks,
}

/// When groups are final: once, or after corrections for an hour.
pub struct Finality {
    pub emit: String,
    pub with: &'static str,
    pub told: Told,
}

impl Finality {
    pub fn once(closing: &Closing, told: Told) -> Finality {
        let timeout = match closing.timeout {
            true => " WITH TIMEOUT INTERVAL '30' DAY",
            false => "",
        };
        Finality {
            emit: format!("\nEMIT ON WINDOW CLOSE{timeout}"),
            with: "",
            told,
        }
    }

    pub fn corrected(told: Told) -> Finality {
        Finality {
            emit: String::new(),
            with: " WITH (allowed_lateness = '1 hour')",
            told,
        }
    }

    pub fn drawn(closing: &Closing, told: Told) -> Finality {
        match closing.number % 2 {
            0 => Finality::once(closing, told),
            _ => Finality::corrected(told),
        }
    }

    /// The query that is final so.
    fn closes(self, sql: String, kinds: Vec<Kind>, event_time: Option<usize>) -> Closed {
        Closed {
            query: Query { sql, kinds },
            emit: self.emit,
            with: self.with,
            event_time,
        }
    }

    fn later(&self) -> &'static str {
        if self.with.is_empty() {
            ""
        } else {
            " + INTERVAL '1' HOUR"
        }
    }

    /// The condition that a row's window had not ended.
    pub fn is_open(&self, end: &str) -> String {
        match self.told {
            Told::ByWatermarks => "true".to_string(),
            Told::ByMarks => format!("(mark IS NULL OR {end}{} > mark)", self.later()),
        }
    }

    /// The condition that a row is not late itself.
    pub fn is_in_time(&self, at: &str) -> String {
        match self.told {
            Told::ByWatermarks => "true".to_string(),
            // Nor is one without a time or before any other.
            Told::ByMarks => format!("coalesce({at}{} >= mark, true)", self.later()),
        }
    }
}

/// Windows over a relation's column.
pub fn fixed_windows(from: &str, at: &str, number: u8) -> String {
    let size = 1 + number % 3;
    match number / 3 % 3 {
        0 => format!("TUMBLE({from}, {at}, INTERVAL '{size}' HOUR)"),
        1 => format!("HOP({from}, {at}, INTERVAL '30' MINUTE, INTERVAL '{size}' HOUR)"),
        _ => format!("CUMULATE({from}, {at}, INTERVAL '1' HOUR, INTERVAL '{size}' HOUR)"),
    }
}

/// Something over one relation.
pub fn of_one(base: &Known, event_time: usize, closing: &Closing, told: Told) -> Closed {
    let number = closing.number / 2;
    let at = format!("c{event_time}");
    let key = usize::from(closing.value) % base.kinds.len();
    let one = One {
        base,
        at,
        event_time,
        key,
        number,
    };
    match closing.kind / 2 % 9 {
        // Which session a late row is of hangs on what is open.
        2 if base.is_source && !base.is_marked => one.sessions(closing),
        // Functions and rows look for the event time of a source.
        8 if !base.is_source => one.windows_of_windows(closing, told),
        _ if !base.is_source => one.windows(closing, told),
        3 => one.bins(closing, told),
        4 => one.rows(closing, told),
        5 => one.over(closing, told),
        6 => one.first(closing, told),
        7 => one.first_of_windows(closing, told),
        8 => one.windows_of_windows(closing, told),
        _ => one.windows(closing, told),
    }
}

struct One<'a> {
    base: &'a Known,
    at: String,
    event_time: usize,
    key: usize,
    number: u8,
}

impl One<'_> {
    fn windows(&self, closing: &Closing, told: Told) -> Closed {
        let finality = Finality::drawn(closing, told);
        let (key, kinds) = (self.key, &self.base.kinds);
        let call = fixed_windows(&self.base.name, &self.at, self.number);
        let (value, kind) = aggregate(kinds, &closing.call, true, Speech::Weir);
        let sql = format!(
            "SELECT window_start AS c0, window_end AS c1, c{key} AS c2, {value} AS c3 FROM {call}\nWHERE {}\nGROUP BY \
             window_start, window_end, c{key}",
            finality.is_open("window_end")
        );
        finality.closes(sql, vec![Kind::Time, Kind::Time, kinds[key], kind], Some(1))
    }

    fn sessions(&self, closing: &Closing) -> Closed {
        let finality = Finality::drawn(closing, Told::ByWatermarks);
        let (key, kinds, gap) = (self.key, &self.base.kinds, 1 + self.number % 3);
        let (value, kind) = aggregate(kinds, &closing.call, true, Speech::Weir);
        let sql = format!(
            "SELECT window_start AS c0, window_end AS c1, c{key} AS c2, {value} AS c3\nFROM SESSION({} PARTITION BY \
             c{key}, {}, INTERVAL '{gap}' HOUR)\nGROUP BY window_start, window_end, c{key}",
            self.base.name, self.at
        );
        finality.closes(sql, vec![Kind::Time, Kind::Time, kinds[key], kind], None)
    }

    fn bins(&self, closing: &Closing, told: Told) -> Closed {
        let finality = Finality::once(closing, told);
        let at = &self.at;
        let (bin, length) = match self.number % 2 {
            0 => (format!("date_trunc('hour', {at})"), "1 hour"),
            _ => (format!("date_bin(INTERVAL '90 minutes', {at})"), "90 minutes"),
        };
        let (value, kind) = aggregate(&self.base.kinds, &closing.call, true, Speech::Weir);
        let open = finality.is_open(&format!("{bin} + INTERVAL '{length}'"));
        let sql = format!(
            "SELECT {bin} AS c0, {value} AS c1 FROM {}\nWHERE {at} IS NOT NULL AND {open}\nGROUP BY {bin}",
            self.base.name
        );
        finality.closes(sql, vec![Kind::Time, kind], None)
    }

    fn rows(&self, closing: &Closing, told: Told) -> Closed {
        let finality = Finality::once(closing, told);
        let kinds = self.base.kinds.clone();
        let filter = predicate("", &kinds, self.number, closing.value, closing.value / 8);
        let (at, in_time) = (&self.at, finality.is_in_time(&self.at));
        let sql = format!(
            "SELECT {} FROM {} WHERE {at} IS NOT NULL AND {filter} AND {in_time}",
            columns("", kinds.len()),
            self.base.name
        );
        finality.closes(sql, kinds, Some(self.event_time))
    }

    fn over(&self, closing: &Closing, told: Told) -> Closed {
        let (at, key, n, number) = (&self.at, self.key, self.number % 3, self.number / 3 % 14);
        let mut kinds = self.base.kinds.clone();
        let any = usize::from(closing.value / 8) % kinds.len();
        let partition = match closing.value % 8 {
            0 => String::new(),
            _ => format!("PARTITION BY c{key} "),
        };
        let (function, kind, frame) = match number {
            0 => (format!("LAG(c{any}, {n})"), kinds[any], String::new()),
            1 => ("RANK()".to_string(), Kind::Int, String::new()),
            2 => ("DENSE_RANK()".to_string(), Kind::Int, String::new()),
            3 => (format!("COUNT(c{any})"), Kind::Int, String::new()),
            4 => (format!("MIN(c{any})"), kinds[any], format!(" ROWS {n} PRECEDING")),
            5 => (
                format!("MAX(c{any})"),
                kinds[any],
                format!(" RANGE INTERVAL '{n}' HOUR PRECEDING"),
            ),
            6 => (
                "SUM(c0)".to_string(),
                Kind::Int,
                format!(" GROUPS BETWEEN {n} PRECEDING AND CURRENT ROW"),
            ),
            7 => ("ROW_NUMBER()".to_string(), Kind::Int, String::new()),
            8 => (format!("LEAD(c{any}, {n})"), kinds[any], String::new()),
            9 => (
                format!("LAST_VALUE(c{any})"),
                kinds[any],
                format!(" RANGE BETWEEN INTERVAL '30' MINUTE PRECEDING AND INTERVAL '{n}' HOUR FOLLOWING"),
            ),
            10 => (
                "SUM(c0)".to_string(),
                Kind::Int,
                format!(" GROUPS BETWEEN CURRENT ROW AND {n} FOLLOWING"),
            ),
            11 => (
                format!("MIN(c{any})"),
                kinds[any],
                format!(" ROWS BETWEEN 1 PRECEDING AND {n} FOLLOWING"),
            ),
            12 => (
                format!("COUNT(c{any})"),
                Kind::Int,
                format!(" RANGE BETWEEN INTERVAL '{n}' HOUR FOLLOWING AND INTERVAL '150' MINUTE FOLLOWING"),
            ),
            // With another that waits for something else.
            _ => (
                format!(
                    "{n} * COUNT(*) OVER ({partition}ORDER BY {at} ROWS BETWEEN 1 FOLLOWING AND 2 FOLLOWING) + COUNT(*)"
                ),
                Kind::Int,
                " RANGE BETWEEN CURRENT ROW AND INTERVAL '1' HOUR FOLLOWING".to_string(),
            ),
        };
        // No time says that no row will come that is looked at by number.
        let waits_for_rows = matches!(number, 8 | 10 | 11 | 13);
        let closing = Closing {
            timeout: closing.timeout && !waits_for_rows,
            ..closing.clone()
        };
        let finality = Finality::once(&closing, told);
        let value = format!("{function} OVER ({partition}ORDER BY {at}{frame})");
        let value = match kind {
            Kind::Int => format!("CAST({value} AS BIGINT)"),
            _ => value,
        };
        let sql = format!(
            "SELECT {}, {value} AS c{} FROM {} WHERE {at} IS NOT NULL AND {}",
            columns("", kinds.len()),
            kinds.len(),
            self.base.name,
            finality.is_in_time(at)
        );
        kinds.push(kind);
        finality.closes(sql, kinds, None)
    }

    fn first(&self, closing: &Closing, told: Told) -> Closed {
        let finality = Finality::once(closing, told);
        let (at, key) = (&self.at, self.key);
        let kinds = self.base.kinds.clone();
        let all = columns("", kinds.len());
        let sql = format!(
            "SELECT {all} FROM (\n  SELECT {all}, ROW_NUMBER() OVER (PARTITION BY c{key} ORDER BY {at}) AS n FROM {} \
             WHERE {at} IS NOT NULL AND {}\n) r WHERE n <= {}",
            self.base.name,
            finality.is_in_time(at),
            1 + self.number % 2
        );
        finality.closes(sql, kinds, Some(self.event_time))
    }

    fn first_of_windows(&self, closing: &Closing, told: Told) -> Closed {
        let finality = Finality::once(closing, told);
        let mut kinds = self.base.kinds.clone();
        let all = columns("", kinds.len());
        let call = fixed_windows(&self.base.name, &self.at, self.number);
        let sql = format!(
            "SELECT {all}, window_end AS c{} FROM (\n  SELECT {all}, window_end, ROW_NUMBER() OVER (PARTITION BY \
             window_start, window_end ORDER BY c{} DESC) AS n FROM {call} WHERE {}\n) r WHERE n <= {}",
            kinds.len(),
            self.key,
            finality.is_open("window_end"),
            1 + closing.value % 2
        );
        kinds.push(Kind::Time);
        let event_time = Some(kinds.len() - 1);
        Closed {
            query: Query { sql, kinds },
            emit: finality.emit,
            with: finality.with,
            event_time,
        }
    }

    fn windows_of_windows(&self, closing: &Closing, told: Told) -> Closed {
        let finality = Finality::drawn(closing, told);
        let inner = format!(
            "(SELECT window_end AS e, count(*) AS n FROM TUMBLE({}, {}, INTERVAL '30' MINUTE) WHERE {} GROUP BY \
             window_end) w",
            self.base.name,
            self.at,
            finality.is_open("window_end")
        );
        let sql = format!(
            "SELECT window_start AS c0, window_end AS c1, sum(n) AS c2, CAST(count(*) AS BIGINT) AS c3 FROM {}\nGROUP \
             BY window_start, window_end",
            fixed_windows(&inner, "w.e", self.number)
        );
        finality.closes(sql, vec![Kind::Time, Kind::Time, Kind::Int, Kind::Int], Some(1))
    }
}
