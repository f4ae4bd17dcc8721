//! What an engine says of itself: rows of `weir.pipelines`, `weir.lag`, `weir.operators`.

use weir_state::{Epoch, Keyspace, RelationId, keys};

use super::delivery::SinkStatus;
use super::status::{LagRow, OperatorRow, PipelineRow};
use super::{Engine, FIRST_QUERY};

impl Engine {
    /// Every view and how it stands.
    pub fn pipelines(&self) -> Vec<PipelineRow> {
        let relations = self.shared.relations.read();
        let views: Vec<(RelationId, String)> = relations
            .views
            .iter()
            .filter(|(id, _)| id.0 < FIRST_QUERY)
            .map(|(id, entry)| (*id, entry.spec.name.clone()))
            .collect();
        drop(relations);
        let mut rows: Vec<PipelineRow> = views
            .into_iter()
            .filter_map(|(id, name)| self.pipeline_row(id, name))
            .collect();
        rows.sort_by_key(|row| row.view);
        rows
    }

    /// How many push queries keep a pipeline; they are no views, and not among [`Engine::pipelines`].
    pub fn push_queries(&self) -> usize {
        let relations = self.shared.relations.read();
        relations.views.keys().filter(|id| id.0 >= FIRST_QUERY).count()
    }

    fn pipeline_row(&self, view: RelationId, name: String) -> Option<PipelineRow> {
        let state = self.shared.view_state(view)?;
        let host = self.shared.publication.host(view);
        let handle = host.as_ref().and_then(|host| self.shared.pipeline(host.pipeline));
        let status = handle.as_ref().map(|handle| handle.status.lock());
        Some(PipelineRow {
            pipeline: host.as_ref().map(|host| host.pipeline),
            view,
            name,
            state,
            ended: host.as_ref().is_some_and(|host| host.ended),
            epoch: host.map_or_else(|| self.parked_epoch(view), |host| host.epoch),
            watermark_us: status
                .as_ref()
                .and_then(|status| status.watermarks.get(&view).copied().flatten()),
            waits_for: status
                .as_ref()
                .and_then(|status| status.waits_for.get(&view).cloned())
                .unwrap_or_default(),
            last_progress_us: status.as_ref().map_or(0, |status| status.last_progress_us),
            trouble: status.as_ref().and_then(|status| status.trouble.clone()),
        })
    }

    /// The epoch at which a view has stopped.
    fn parked_epoch(&self, view: RelationId) -> Epoch {
        let relations = self.shared.relations.read();
        let parked = relations.parked.iter().find(|parked| parked.views.contains(&view));
        let record = parked.and_then(|parked| parked.record.as_ref());
        record.map_or(Epoch::ZERO, |record| record.epoch)
    }

    /// Every split that a pipeline reads.
    pub fn lag(&self) -> Vec<LagRow> {
        let now_us = self.shared.options.clock.now_us();
        let mut rows = Vec::new();
        let pipelines = self.shared.pipelines.read().clone();
        for (pipeline, handle) in &pipelines {
            let committed = self.shared.publication.positions(*pipeline).unwrap_or_default();
            let status = handle.status.lock();
            for (source, state) in &status.sources {
                let committed = committed.get(source);
                for (split, progress) in &state.splits {
                    let behind = |us: i64| (now_us - us) as f64 / 1e6;
                    rows.push(LagRow {
                        pipeline: *pipeline,
                        source: *source,
                        name: state.name.clone(),
                        split: split.to_string(),
                        position: committed
                            .and_then(|c| c.get(split))
                            .copied()
                            .unwrap_or(progress.position),
                        end: state.ends.get(split).copied(),
                        unit: state.unit,
                        watermark_us: progress.watermark,
                        lag_seconds: progress.watermark.map(behind),
                        waits: progress.waits,
                        idle: progress.idle,
                        rows: progress.rows,
                        skipped: progress.skipped,
                    });
                }
            }
        }
        rows
    }

    /// Every node of every running view.
    pub fn operators(&self) -> Vec<OperatorRow> {
        let mut rows = Vec::new();
        for handle in self.shared.pipelines.read().values() {
            for (at, operator, counters, stats) in &handle.status.lock().operators {
                rows.push(OperatorRow {
                    view: at.view,
                    name: self.shared.view(at.view).map(|view| view.name).unwrap_or_default(),
                    node: at.node.0,
                    operator,
                    rows_in: counters.rows_in,
                    rows_out: counters.rows_out,
                    skipped: counters.skipped,
                    late_applied: stats.late_applied,
                    late_dropped: stats.late_dropped,
                    without_event_time: stats.without_event_time,
                    state_bytes: stats.state_bytes,
                    state_entries: stats.state_entries,
                    busy_us: counters.busy_us,
                });
            }
        }
        rows
    }

    /// How a running sink stands; `None` for those that are stopped.
    pub fn sink_status(&self, sink: RelationId) -> Option<SinkStatus> {
        let deliveries = self.deliveries.lock();
        let status = deliveries.get(&sink).map(|delivery| delivery.status.lock().clone());
        drop(deliveries);
        status.or_else(|| self.volatile_status(sink))
    }

    /// The last epoch of a view that others are shown; `None` while the view is stopped.
    pub fn right_epoch(&self, view: RelationId) -> Option<Epoch> {
        self.shared.publication.host(view).map(|host| host.right)
    }

    /// How a sink stands that keeps nothing outside: it is given each epoch as it is committed.
    fn volatile_status(&self, sink: RelationId) -> Option<SinkStatus> {
        let sinks = self.shared.sinks.lock();
        let given = sinks.iter().find_map(|(follow, sinks)| {
            let (_, connector) = sinks.iter().find(|(id, _)| *id == sink)?;
            Some((*follow, connector.rows_delivered()))
        });
        drop(sinks);
        let (follow, rows) = given?;
        let host = self.shared.publication.host(follow);
        Some(SinkStatus {
            delivered: host.map_or(Epoch::ZERO, |host| host.epoch),
            rows,
            trouble: None,
        })
    }

    /// Bytes that a relation takes in the store, about: operator state, rows and changelog.
    pub fn stored_bytes(&self, relation: RelationId) -> u64 {
        let store = self.store();
        let state = keys::relation_state_range(relation);
        let rows = keys::view_range(relation);
        store.approximate_bytes(Keyspace::State, &state.start, &state.end)
            + store.approximate_bytes(Keyspace::View, &rows.start, &rows.end)
            + store.approximate_bytes(Keyspace::Log, &rows.start, &rows.end)
    }
}
