//! How an instance stands at a moment: what `/healthz` and `/metrics` are made from.

use std::sync::Arc;

use weir_engine::pipeline::{LagRow, OperatorRow, PipelineRow, SinkStatus};
use weir_sql::statement::RelationKind;

use crate::Result;
use crate::flight::connection::Connections;
use crate::system::{Standing, standing_among};

/// How an instance stands.
pub struct Observation {
    /// The views of the catalog, and the queries of its sinks.
    pub views: Vec<ViewRow>,
    /// Push queries that run.
    pub pushes: usize,
    /// Splits that pipelines read.
    pub lag: Vec<LagRow>,
    /// Nodes of the views.
    pub operators: Vec<OperatorRow>,
    /// Sinks.
    pub sinks: Vec<SinkRow>,
    /// Relations that could not be restored: name and cause.
    pub broken: Vec<(String, String)>,
    /// Stored relations, with the bytes they take in the store.
    pub stored: Vec<(String, u64)>,
    /// gRPC connections.
    pub connections: usize,
}

/// A view.
pub struct ViewRow {
    /// What its pipeline says.
    pub row: PipelineRow,
    /// How it stands.
    pub standing: Standing,
}

/// A sink.
pub struct SinkRow {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub standing: Standing,
    /// What it has delivered; `None` if it isn't running.
    pub status: Option<SinkStatus>,
}

/// Something that has failed.
pub struct Failure<'a> {
    /// Its name.
    pub name: &'a str,
    /// What happened.
    pub cause: &'a str,
    /// It will be tried again after this many milliseconds; `None`: it waits for someone.
    pub retry_in_ms: Option<u64>,
}

impl Observation {
    /// Looks at the instance. May block.
    ///
    /// # Errors
    /// If the store doesn't answer.
    pub fn of(connections: &Arc<Connections>) -> Result<Observation> {
        let instance = connections.instance()?;
        let engine = instance.engine();
        // Proves that the store can be read.
        engine.snapshot()?;
        let known = instance.known();
        let is_known = |id| known.catalog.by_id(id).is_some();
        let rows = engine.pipelines();
        let view = |row: &PipelineRow| {
            let relation = known.catalog.by_id(row.view)?;
            Some(ViewRow {
                row: row.clone(),
                standing: standing_among(&rows, &instance, &known, relation),
            })
        };
        let sinks = known.catalog.list(RelationKind::Sink).map(|sink| SinkRow {
            name: sink.name.clone(),
            standing: standing_among(&rows, &instance, &known, sink),
            status: engine.sink_status(sink.id),
        });
        let stored = known.catalog.iter().filter(|relation| relation.stored().is_some());
        Ok(Observation {
            views: rows.iter().filter_map(view).collect(),
            pushes: engine.push_queries(),
            lag: engine.lag(),
            operators: engine
                .operators()
                .into_iter()
                .filter(|row| is_known(row.view))
                .collect(),
            sinks: sinks.collect(),
            broken: known
                .broken
                .values()
                .map(|broken| (broken.name.clone(), broken.cause.clone()))
                .collect(),
            stored: stored
                .map(|relation| (relation.name.clone(), engine.stored_bytes(relation.id)))
                .collect(),
            connections: connections.count(),
        })
    }

    /// What has failed.
    pub fn failures(&self) -> impl Iterator<Item = Failure<'_>> {
        let failed = self.views.iter().filter(|view| view.standing.state == "FAILED");
        let views = failed.map(|view| Failure {
            name: &view.row.name,
            cause: view.standing.detail.as_deref().unwrap_or_default(),
            retry_in_ms: view.standing.retry_in_ms,
        });
        let broken = self.broken.iter().map(|(name, cause)| Failure {
            name,
            cause,
            retry_in_ms: None,
        });
        views.chain(broken)
    }
}
