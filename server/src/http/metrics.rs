//! Metrics in Prometheus' text format, version 0.0.4.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write};

use weir_engine::pipeline::{LagRow, OperatorRow};

use super::observation::{Observation, ViewRow};

/// What the text is, for HTTP.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics of an instance.
pub fn exposition(observation: &Observation) -> String {
    let mut page = Page::default();
    instance(&mut page, observation);
    views(&mut page, observation);
    sources(&mut page, &observation.lag);
    operators(&mut page, &observation.operators);
    sinks(&mut page, observation);
    page.text
}

fn instance(page: &mut Page, observation: &Observation) {
    page.gauge("weir_info", "Weir itself; always 1.")
        .row(&[("version", &env!("CARGO_PKG_VERSION"))], 1);
    page.gauge("weir_connections", "Open gRPC connections, each a session.")
        .row(&[], observation.connections);
    page.gauge("weir_push_queries", "Push queries that keep a pipeline of their own.")
        .row(&[], observation.pushes);
    let pipelines: BTreeSet<u32> = observation
        .views
        .iter()
        .filter_map(|view| view.row.pipeline.map(|id| id.0))
        .collect();
    page.gauge("weir_pipelines", "Pipelines that run views or sinks.")
        .row(&[], pipelines.len());
    let mut states: BTreeMap<String, usize> = ["ATTACHING", "RUNNING", "PAUSED", "FAILED", "WAITING"]
        .into_iter()
        .map(|word| (word.to_lowercase(), 0))
        .collect();
    for view in &observation.views {
        *states.entry(view.standing.state.to_lowercase()).or_default() += 1;
    }
    *states.entry("failed".into()).or_default() += observation.broken.len();
    let mut family = page.gauge(
        "weir_views",
        "Views and sinks' queries by their state in weir.pipelines.",
    );
    for (state, count) in &states {
        family.row(&[("state", state)], count);
    }
    let mut family = page.gauge(
        "weir_stored_bytes",
        "Bytes of a view or table in the store, about: rows, changelog, state.",
    );
    for (name, bytes) in &observation.stored {
        family.row(&[("relation", name)], bytes);
    }
}

fn views(page: &mut Page, observation: &Observation) {
    let views = &observation.views;
    let mut family = page.gauge(
        "weir_view_up",
        "1 while a view is kept up to date or catches up; 0 when it is paused, failed, or waits for something.",
    );
    for view in views {
        family.row(&[("view", &view.row.name)], u8::from(view.standing.is_up()));
    }
    for (name, _) in &observation.broken {
        family.row(&[("view", name)], 0);
    }
    let mut family = page.gauge("weir_view_epoch", "A view's last committed epoch.");
    for ViewRow { row, .. } in views {
        family.row(&[("view", &row.name)], row.epoch);
    }
    let mut family = page.gauge(
        "weir_view_watermark_seconds",
        "The watermark of a view's result, as Unix time.",
    );
    for ViewRow { row, .. } in views {
        // Where all inputs have ended, it is no time.
        if let Some(us) = row.watermark_us.filter(|us| *us < i64::MAX) {
            family.row(&[("view", &row.name)], us as f64 / 1e6);
        }
    }
    let mut family = page.gauge(
        "weir_view_last_progress_seconds",
        "When a view's pipeline last took in a row or committed, as Unix time.",
    );
    for row in views
        .iter()
        .map(|view| &view.row)
        .filter(|row| row.last_progress_us > 0)
    {
        family.row(&[("view", &row.name)], row.last_progress_us as f64 / 1e6);
    }
    let mut family = page.gauge(
        "weir_view_trouble",
        "1 while a source of a view keeps it waiting: a broker that doesn't answer, for example.",
    );
    for ViewRow { row, .. } in views {
        family.row(&[("view", &row.name)], u8::from(row.trouble.is_some()));
    }
}

fn sources(page: &mut Page, lag: &[LagRow]) {
    fn of_split(row: &LagRow) -> [(&'static str, &dyn Display); 3] {
        [
            ("source", &row.name),
            ("split", &row.split),
            ("pipeline", &row.pipeline),
        ]
    }
    let of_lag = [
        (
            "records",
            "weir_source_lag_records",
            "Records between a split's committed position and its end, as far as it is known.",
        ),
        (
            "bytes",
            "weir_source_lag_bytes",
            "Bytes between a file's committed position and its end, as far as it is known.",
        ),
    ];
    for (unit, name, help) in of_lag {
        let mut family = page.gauge(name, help);
        for row in lag.iter().filter(|row| row.unit == unit) {
            if let Some(end) = row.end {
                family.row(&of_split(row), (end - row.position).max(0));
            }
        }
    }
    let mut family = page.gauge(
        "weir_source_lag_seconds",
        "How far a split's watermark is behind the clock.",
    );
    for row in lag {
        if let Some(seconds) = row.lag_seconds {
            family.row(&of_split(row), seconds);
        }
    }
    let mut family = page.gauge("weir_source_position", "A split's committed position.");
    for row in lag {
        family.row(&of_split(row), row.position);
    }
    let mut family = page.counter("weir_source_rows_total", "Records taken from a split since start.");
    for row in lag {
        family.row(&of_split(row), row.rows);
    }
    let mut family = page.counter(
        "weir_source_skipped_total",
        "Bad records of a split passed over since start (on_error = 'skip').",
    );
    for row in lag {
        family.row(&of_split(row), row.skipped);
    }
}

fn operators(page: &mut Page, rows: &[OperatorRow]) {
    let mut of_all = |name: &str, kind: Kind, help: &str, value: fn(&OperatorRow) -> f64| {
        let mut family = page.family(name, kind, help);
        for row in rows {
            let labels: [(&str, &dyn Display); 3] =
                [("view", &row.name), ("node", &row.node), ("operator", &row.operator)];
            family.row(&labels, value(row));
        }
    };
    let counter = Kind::Counter;
    of_all(
        "weir_operator_rows_in_total",
        counter,
        "Rows into an operator.",
        |row| row.rows_in as f64,
    );
    of_all(
        "weir_operator_rows_out_total",
        counter,
        "Rows out of an operator.",
        |row| row.rows_out as f64,
    );
    of_all(
        "weir_operator_skipped_total",
        counter,
        "Rows left out because something of them can't be computed (on_error = 'skip').",
        |row| row.skipped as f64,
    );
    of_all(
        "weir_operator_late_applied_total",
        counter,
        "Late rows that corrected a result.",
        |row| row.late_applied as f64,
    );
    of_all(
        "weir_operator_late_dropped_total",
        counter,
        "Late rows that were dropped.",
        |row| row.late_dropped as f64,
    );
    of_all(
        "weir_operator_without_event_time_total",
        counter,
        "Rows dropped because their event time is NULL.",
        |row| row.without_event_time as f64,
    );
    of_all(
        "weir_operator_busy_seconds_total",
        counter,
        "Time spent in an operator, over all tasks.",
        |row| row.busy_us as f64 / 1e6,
    );
    of_all(
        "weir_operator_state_bytes",
        Kind::Gauge,
        "An operator's state in memory, about.",
        |row| row.state_bytes as f64,
    );
    of_all(
        "weir_operator_state_entries",
        Kind::Gauge,
        "Entries of an operator's state in memory.",
        |row| row.state_entries as f64,
    );
}

fn sinks(page: &mut Page, observation: &Observation) {
    let sinks = &observation.sinks;
    let mut family = page.gauge(
        "weir_sink_up",
        "1 while a sink delivers; 0 when it is paused, failed, or waits for something.",
    );
    for sink in sinks {
        family.row(&[("sink", &sink.name)], u8::from(sink.standing.is_up()));
    }
    let running = || {
        sinks
            .iter()
            .filter_map(|sink| Some((&sink.name, sink.status.as_ref()?)))
    };
    let mut family = page.counter("weir_sink_rows_total", "Rows delivered by a sink since start.");
    for (name, status) in running() {
        family.row(&[("sink", name)], status.rows);
    }
    let mut family = page.gauge("weir_sink_epoch", "The last epoch that a sink delivered.");
    for (name, status) in running() {
        family.row(&[("sink", name)], status.delivered);
    }
}

/// The text as it grows.
#[derive(Default)]
struct Page {
    text: String,
}

#[derive(Clone, Copy)]
enum Kind {
    Gauge,
    Counter,
}

impl Page {
    fn gauge(&mut self, name: &str, help: &str) -> Family<'_> {
        self.family(name, Kind::Gauge, help)
    }

    fn counter(&mut self, name: &str, help: &str) -> Family<'_> {
        self.family(name, Kind::Counter, help)
    }

    /// A family of samples. Its header stands there even if it has none.
    fn family(&mut self, name: &str, kind: Kind, help: &str) -> Family<'_> {
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        };
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family {
            name: name.to_string(),
            text: &mut self.text,
        }
    }
}

/// Samples of one name.
struct Family<'a> {
    name: String,
    text: &'a mut String,
}

impl Family<'_> {
    fn row(&mut self, labels: &[(&str, &dyn Display)], value: impl Display) {
        self.text.push_str(&self.name);
        for (at, (label, content)) in labels.iter().enumerate() {
            let opening = if at == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{opening}{label}=\"{}\"", escaped(&content.to_string()));
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}

/// A label's content between its quotes.
fn escaped(content: &str) -> String {
    content.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
