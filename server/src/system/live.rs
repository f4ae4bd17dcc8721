//! What runs, and how it is.

use weir_engine::pipeline::{PipelineRow, ViewState};
use weir_engine::relation::RelationId;
use weir_sql::catalog::{Definition, Relation, SinkDefinition};
use weir_sql::statement::RelationKind;

use crate::cells::{Cell, Kind};
use crate::instance::{Instance, Known, kind_word};
use crate::session::Context;

/// Pipelines of push queries have ids from here on; they belong to sessions and are not shown.
const FIRST_QUERY: u32 = 1 << 31;

pub const PIPELINES: &[(&str, Kind)] = &[
    ("name", Kind::Text),
    ("kind", Kind::Text),
    ("pipeline", Kind::Number),
    ("state", Kind::Text),
    ("epoch", Kind::Number),
    ("watermark", Kind::Time),
    ("last_progress", Kind::Time),
    ("ended", Kind::Flag),
    ("detail", Kind::Text),
    ("retry_in_ms", Kind::Number),
    ("waits_for", Kind::Text),
];

/// Materialized views and sinks: how each stands.
pub fn pipelines(context: &Context) -> Vec<Vec<Cell>> {
    let known = context.instance.known();
    let rows = context.instance.engine().pipelines();
    let mut cells = Vec::new();
    for relation in known.catalog.iter().filter(|relation| runs(relation)) {
        let standing = standing_among(&rows, &context.instance, &known, relation);
        let reads = kept_by(relation);
        let row = rows.iter().find(|row| row.view == reads);
        let delivered = context.instance.engine().sink_status(relation.id);
        let epoch = match (relation.kind, delivered) {
            (RelationKind::Sink, Some(status)) => Some(status.delivered.0),
            (RelationKind::Sink, None) => None,
            _ => row.map(|row| row.epoch.0),
        };
        let progress = row.map(|row| row.last_progress_us).filter(|us| *us > 0);
        cells.push(vec![
            relation.name.as_str().into(),
            kind_word(relation.kind).into(),
            row.and_then(|row| row.pipeline).map(|id| i64::from(id.0)).into(),
            standing.state.into(),
            epoch.filter(|epoch| *epoch > 0).into(),
            Cell::watermark(row.and_then(|row| row.watermark_us)),
            progress.map_or(Cell::Null, Cell::Time),
            row.is_some_and(|row| row.ended).into(),
            standing.detail.into(),
            standing.retry_in_ms.into(),
            row.and_then(|row| waits_for(row, &known)).into(),
        ]);
    }
    for broken in known.broken.values() {
        let mut row = vec![Cell::Null; PIPELINES.len()];
        row[0] = broken.name.as_str().into();
        row[1] = kind_word(broken.kind).into();
        row[3] = "FAILED".into();
        row[8] = broken.cause.as_str().into();
        cells.push(row);
    }
    cells
}

/// The names of what holds back a view's event time.
pub fn waits_for(row: &PipelineRow, known: &Known) -> Option<String> {
    let names: Vec<&str> = row.waits_for.iter().filter_map(|id| known.name_of(*id)).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

fn runs(relation: &Relation) -> bool {
    matches!(relation.kind, RelationKind::MaterializedView | RelationKind::Sink)
        && !matches!(relation.definition, Definition::System)
}

/// The relation whose pipeline keeps it: a sink's is that which it follows.
fn kept_by(relation: &Relation) -> RelationId {
    match &relation.definition {
        Definition::Sink(sink) => sink.follow,
        _ => relation.id,
    }
}

/// How a materialized view or sink stands.
pub struct Standing {
    /// Its word: RUNNING and the like.
    pub state: &'static str,
    /// Progress, a cause, or what it waits for.
    pub detail: Option<String>,
    pub retry_in_ms: Option<u64>,
}

/// How a materialized view or sink stands. Whoever tells it, tells this.
pub fn standing(instance: &Instance, known: &Known, relation: &Relation) -> Standing {
    standing_among(&instance.engine().pipelines(), instance, known, relation)
}

/// The same, where the engine was asked for its views already.
pub fn standing_among(rows: &[PipelineRow], instance: &Instance, known: &Known, relation: &Relation) -> Standing {
    let engine = instance.engine();
    let of_sink = match &relation.definition {
        Definition::Sink(sink) => Some(sink),
        _ => None,
    };
    if relation.paused {
        return simple("PAUSED", None);
    }
    let Some(state) = engine.view_state(kept_by(relation)) else {
        return simple("WAITING", None);
    };
    // A sink that can't deliver, or a source that can't be read.
    let of_delivery = of_sink
        .and_then(|_| engine.sink_status(relation.id))
        .and_then(|status| status.trouble);
    let of_source = rows
        .iter()
        .find(|row| row.view == kept_by(relation))
        .and_then(|row| row.trouble.clone());
    let trouble = of_delivery.or(of_source);
    match (state, of_sink) {
        (ViewState::Running | ViewState::Attaching { .. }, _) if trouble.is_some() => simple("WAITING", trouble),
        (ViewState::Running, _) => simple("RUNNING", None),
        (ViewState::Attaching { progress }, _) => simple("ATTACHING", Some(progress)),
        (_, Some(sink)) if sink.follow != relation.id => {
            let name = known.name_of(sink.follow).unwrap_or_default();
            simple("WAITING", Some(format!("'{name}', which it delivers, is stopped")))
        }
        (ViewState::Paused, _) => simple("PAUSED", None),
        (ViewState::Failed { cause, retry_in_ms }, _) => Standing {
            state: "FAILED",
            detail: Some(cause),
            retry_in_ms,
        },
        (ViewState::Waiting { on }, _) if on.is_empty() => simple("WAITING", None),
        (ViewState::Waiting { on }, _) => simple("WAITING", Some(format!("'{on}', which it reads, is stopped"))),
    }
}

impl Standing {
    /// It is kept up to date, or delivers, or is on its way there.
    pub fn is_up(&self) -> bool {
        matches!(self.state, "RUNNING" | "ATTACHING")
    }
}

fn simple(state: &'static str, detail: Option<String>) -> Standing {
    Standing {
        state,
        detail,
        retry_in_ms: None,
    }
}

pub const LAG: &[(&str, Kind)] = &[
    ("source", Kind::Text),
    ("split", Kind::Text),
    ("pipeline", Kind::Number),
    ("position", Kind::Number),
    ("end", Kind::Number),
    ("lag", Kind::Number),
    ("unit", Kind::Text),
    ("lag_seconds", Kind::Float),
    ("watermark", Kind::Time),
    ("waits", Kind::Flag),
    ("idle", Kind::Flag),
    ("rows", Kind::Number),
    ("skipped", Kind::Number),
];

/// Every split that a pipeline reads.
pub fn lag(context: &Context) -> Vec<Vec<Cell>> {
    let known = context.instance.known();
    let rows = context.instance.engine().lag().into_iter();
    let durable = rows.filter(|row| row.pipeline.0 < FIRST_QUERY);
    durable
        .map(|row| {
            let ended = row.watermark_us == Some(i64::MAX);
            vec![
                known.name_of(row.source).unwrap_or(&row.name).into(),
                row.split.into(),
                i64::from(row.pipeline.0).into(),
                row.position.into(),
                row.end.into(),
                row.end.map(|end| (end - row.position).max(0)).into(),
                row.unit.into(),
                row.lag_seconds.filter(|_| !ended).into(),
                Cell::watermark(row.watermark_us),
                row.waits.into(),
                row.idle.into(),
                row.rows.into(),
                row.skipped.into(),
            ]
        })
        .collect()
}

pub const OPERATORS: &[(&str, Kind)] = &[
    ("view", Kind::Text),
    ("node", Kind::Number),
    ("operator", Kind::Text),
    ("rows_in", Kind::Number),
    ("rows_out", Kind::Number),
    ("skipped", Kind::Number),
    ("late_applied", Kind::Number),
    ("late_dropped", Kind::Number),
    ("without_event_time", Kind::Number),
    ("state_entries", Kind::Number),
    ("state_bytes", Kind::Number),
    ("busy_ms", Kind::Float),
];

/// Every node of every running view.
pub fn operators(context: &Context) -> Vec<Vec<Cell>> {
    let known = context.instance.known();
    let mut rows = context.instance.engine().operators();
    rows.retain(|row| row.view.0 < FIRST_QUERY);
    rows.sort_by_key(|row| (row.view, row.node));
    rows.into_iter()
        .map(|row| {
            vec![
                known.name_of(row.view).unwrap_or(&row.name).into(),
                i64::from(row.node).into(),
                row.operator.into(),
                row.rows_in.into(),
                row.rows_out.into(),
                row.skipped.into(),
                row.late_applied.into(),
                row.late_dropped.into(),
                row.without_event_time.into(),
                row.state_entries.into(),
                row.state_bytes.into(),
                (row.busy_us as f64 / 1e3).into(),
            ]
        })
        .collect()
}

pub const SINKS: &[(&str, Kind)] = &[
    ("name", Kind::Text),
    ("delivers", Kind::Text),
    ("connector", Kind::Text),
    ("state", Kind::Text),
    ("delivered_epoch", Kind::Number),
    ("rows", Kind::Number),
    ("trouble", Kind::Text),
];

/// Every sink and what it has delivered.
pub fn sinks(context: &Context) -> Vec<Vec<Cell>> {
    let known = context.instance.known();
    let sink = |relation: &Relation| -> Option<Vec<Cell>> {
        let Definition::Sink(sink) = &relation.definition else {
            return None;
        };
        let standing = standing(&context.instance, &known, relation);
        let status = context.instance.engine().sink_status(relation.id);
        Some(vec![
            relation.name.as_str().into(),
            delivers(&known, relation, sink).into(),
            sink.sink.connector.connector.as_str().into(),
            standing.state.into(),
            status
                .as_ref()
                .map(|status| status.delivered.0)
                .filter(|epoch| *epoch > 0)
                .into(),
            status.as_ref().map(|status| status.rows).into(),
            standing.detail.into(),
        ])
    };
    known.catalog.iter().filter_map(|relation| sink(relation)).collect()
}

/// The name of the view that a sink delivers; none where it has a query of its own.
pub fn delivers(known: &Known, relation: &Relation, sink: &SinkDefinition) -> Option<String> {
    (sink.follow != relation.id)
        .then(|| known.name_of(sink.follow).map(str::to_string))
        .flatten()
}

pub const SETTINGS: &[(&str, Kind)] = &[
    ("name", Kind::Text),
    ("value", Kind::Text),
    ("changeable", Kind::Flag),
    ("description", Kind::Text),
];

/// The session's settings, and what Weir was started with.
pub fn settings(context: &Context) -> Vec<Vec<Cell>> {
    let settings = context.state.settings.lock().clone();
    settings
        .list(&context.instance)
        .into_iter()
        .map(|setting| {
            vec![
                setting.name.into(),
                setting.value.into(),
                setting.changeable.into(),
                setting.description.into(),
            ]
        })
        .collect()
}
