//! The engine: pipelines, their epochs, and what may be asked of them.
//!
//! A *pipeline* is a set of views (and sinks) that share their sources' readers, their epochs and
//! one commit. Each pipeline has one thread that takes input, runs steps and makes checkpoints;
//! one committer thread per engine makes epochs durable, in order, and then publishes them. Views
//! come and go between epochs: a new view starts as a pipeline of its own, catches up, and is
//! *attached* to the pipelines that it shares sources or views with; a view that fails or is
//! paused is *detached*.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use parking_lot::Mutex;
use weir_state::changelog::{self, Follower};
use weir_state::pipelines;
use weir_state::{DmlCommit, Epoch, Instance, Keyspace, MemoryStore, PipelineId, RelationId, Store, WriteBatch, keys};

use crate::connector;
use crate::connector::{Bound, Start};
use crate::relation::{SourceSpec, Storage, TableSpec, ViewSpec};
use crate::{Error, Result};

mod attach;
mod committer;
mod dataflow;
mod decode;
mod delivery;
mod output;
mod publication;
mod reader;
mod runtime;
mod scan;
mod shared;
mod snapshot;
mod source;
mod status;
mod subscription;
mod supervisor;
mod tables;

pub use delivery::{SinkRun, SinkStatus};
pub use output::moved_rows;
pub use snapshot::{Batches, Snapshot, errors_relation};
pub use status::{LagRow, OperatorRow, PipelineRow, ViewState};
pub use subscription::{Delivery, Subscription};
pub use tables::TableWrite;

use delivery::DeliveryHandle;
use runtime::Command;
use shared::{Shared, Standing};

/// How an engine runs.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Tasks per stage of each pipeline, at least 1. May change at restart.
    pub tasks: usize,
    /// Longest time between two checkpoints under load. A pipeline that has caught up with its
    /// input checkpoints at once.
    pub checkpoint_interval: Duration,
    /// Rows that one step takes from one source, about.
    pub step_rows: usize,
    /// Entries that each state table of a task may keep in memory; `None`: no bound.
    pub entry_budget: Option<usize>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions {
            tasks: 1,
            checkpoint_interval: Duration::from_millis(500),
            step_rows: 50_000,
            entry_budget: None,
        }
    }
}

/// Push queries are no relations of the catalog; their ids come from this range, and mean nothing
/// after a restart.
static NEXT_QUERY: AtomicU32 = AtomicU32::new(1 << 31);

/// Runs pipelines over one data directory.
pub struct Engine {
    shared: Arc<Shared>,
    deliveries: Mutex<HashMap<RelationId, DeliveryHandle>>,
    sinks: Mutex<HashMap<RelationId, SinkRun>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Engine {
    /// An engine without relations. [`Engine::restore`] starts what the catalog knows.
    pub fn open(instance: Arc<Instance>, options: EngineOptions) -> Result<Arc<Engine>> {
        let (committer, jobs) = bounded(64);
        let sinks = committer::VolatileSinks::default();
        let shared = Arc::new(Shared::new(instance, options, committer, sinks.clone())?);
        let last = weir_state::dml::last(shared.instance.store().as_ref())?;
        shared.publication.publish_dml(last);
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.to_string())
                .spawn(work)
                .map_err(Error::internal)
        };
        let commit = {
            let shared = shared.clone();
            spawn(
                "committer",
                Box::new(move || committer::run(&jobs, &shared.publication, &sinks)),
            )?
        };
        let supervise = {
            let shared = shared.clone();
            spawn("supervisor", Box::new(move || supervisor::run(&shared)))?
        };
        // The committer ends with the last sender, which the engine itself holds: only the
        // supervisor is waited for.
        drop(commit);
        Ok(Arc::new(Engine {
            shared,
            deliveries: Mutex::default(),
            sinks: Mutex::default(),
            threads: Mutex::new(vec![supervise]),
        }))
    }

    /// Starts views and sinks at their last epochs, after all sources and tables were added.
    /// `paused` stay stopped.
    pub fn restore(&self, views: Vec<ViewSpec>, sinks: Vec<SinkRun>, paused: &BTreeSet<RelationId>) -> Result<()> {
        let store = self.shared.instance.store().clone();
        for follower in Follower::load(store.as_ref())? {
            self.shared
                .publication
                .follow(follower.relation, &follower.name, Some(follower.delivered));
        }
        let mut left: HashMap<RelationId, ViewSpec> = views.into_iter().map(|view| (view.relation, view)).collect();
        {
            let mut relations = self.shared.relations.write();
            left.values().for_each(|view| relations.add_view(view.clone()));
        }
        for sink in sinks.iter().filter(|sink| sink.follow == sink.relation) {
            self.follow_own_query(sink);
        }
        for mut record in pipelines::load(store.as_ref())? {
            for (view, epoch) in &record.changelogs {
                let name = runtime::follower_name(record.id);
                self.shared.publication.follow(*view, &name, Some(*epoch));
            }
            let known: Vec<ViewSpec> = record.views.iter().filter_map(|view| left.remove(view)).collect();
            record.views = known.iter().map(|view| view.relation).collect();
            if known.is_empty() {
                let mut batch = WriteBatch::new();
                pipelines::remove(&mut batch, record.id);
                store.commit(batch)?;
            } else {
                self.start_or_park(known, Some(record), paused)?;
            }
        }
        let mut fresh: Vec<ViewSpec> = left.into_values().collect();
        fresh.sort_by_key(|view| view.relation);
        for view in fresh {
            self.start_or_park(vec![view], None, paused)?;
        }
        for sink in sinks {
            let stopped = paused.contains(&sink.relation);
            self.sinks.lock().insert(sink.relation, sink.clone());
            if !stopped {
                self.start_sink(sink)?;
            }
        }
        Ok(())
    }

    fn start_or_park(
        &self,
        views: Vec<ViewSpec>,
        record: Option<pipelines::PipelineRecord>,
        paused: &BTreeSet<RelationId>,
    ) -> Result<()> {
        let ids: BTreeSet<RelationId> = views.iter().map(|view| view.relation).collect();
        if ids.is_disjoint(paused) {
            let id = match &record {
                Some(record) => record.id,
                None => self.shared.allocate_pipeline()?,
            };
            return self.shared.start_pipeline(id, views, record, None);
        }
        let mut relations = self.shared.relations.write();
        for id in ids.intersection(paused) {
            if let Some(entry) = relations.views.get_mut(id) {
                entry.standing = Standing::Paused;
            }
        }
        relations.park(ids, record);
        Ok(())
    }

    /// Makes a source known. Nothing is read until a view needs it.
    pub fn add_source(&self, spec: SourceSpec) {
        self.shared
            .relations
            .write()
            .sources
            .insert(spec.relation, Arc::new(spec));
    }

    /// Resolves what is to be fixed at CREATE SOURCE: `latest`, `timestamp` and `group` starts and
    /// the bound become positions. Talks to the source.
    pub fn fix_start(&self, spec: &mut SourceSpec) -> Result<()> {
        let connector = connector::source(&spec.connector, &spec.value_schema())?;
        if !matches!(spec.start, Start::Earliest | Start::Offsets(_)) {
            spec.start = Start::Offsets(connector.resolve(&spec.start)?);
        }
        if !matches!(spec.bound, Bound::Unbounded | Bound::Offsets(_))
            && let Some(positions) = connector.resolve_bound(&spec.bound)?
        {
            spec.bound = Bound::Offsets(positions);
        }
        Ok(())
    }

    /// Makes a table known.
    pub fn add_table(&self, spec: TableSpec) {
        self.shared
            .relations
            .write()
            .tables
            .insert(spec.relation, Arc::new(spec));
    }

    /// Forgets a source or table that no view reads, and deletes a table's rows.
    pub fn drop_relation(&self, id: RelationId) -> Result<()> {
        let mut relations = self.shared.relations.write();
        relations.sources.remove(&id);
        let table = relations.tables.remove(&id).is_some();
        drop(relations);
        if table { self.delete_data(id) } else { Ok(()) }
    }

    /// Starts a new view. It catches up and is attached in the background.
    pub fn create_view(&self, spec: ViewSpec) -> Result<()> {
        self.shared.relations.write().add_view(spec.clone());
        let id = self.shared.allocate_pipeline()?;
        self.shared.start_pipeline(id, vec![spec], None, None)
    }

    /// Ends a view that nothing reads and deletes what it stored.
    pub fn drop_view(&self, view: RelationId) -> Result<()> {
        self.detach(view, false)?;
        let mut relations = self.shared.relations.write();
        relations.views.remove(&view);
        let parked = relations.parked.iter().position(|parked| parked.views.contains(&view));
        if let Some(at) = parked {
            let parked = &mut relations.parked[at];
            parked.views.remove(&view);
            let empty = parked.views.is_empty();
            if let Some(record) = &mut parked.record {
                record.views.retain(|other| *other != view);
                let mut batch = WriteBatch::new();
                if empty {
                    pipelines::remove(&mut batch, record.id);
                } else {
                    pipelines::put(&mut batch, record);
                }
                self.shared.instance.store().commit(batch)?;
            }
            if empty {
                relations.parked.remove(at);
            }
        }
        drop(relations);
        self.delete_data(view)
    }

    fn delete_data(&self, relation: RelationId) -> Result<()> {
        let mut batch = WriteBatch::new();
        let state = keys::relation_state_range(relation);
        batch.delete_range(Keyspace::State, &state.start, &state.end);
        let rows = keys::view_range(relation);
        batch.delete_range(Keyspace::View, &rows.start, &rows.end);
        changelog::remove(&mut batch, relation);
        Ok(self.shared.instance.store().commit(batch)?)
    }

    /// Stops a view at its last epoch; what reads it waits.
    pub fn pause(&self, view: RelationId) -> Result<()> {
        if let Some(delivery) = self.deliveries.lock().remove(&view) {
            delivery.stop();
        }
        if self.shared.view(view).is_none() {
            return Ok(());
        }
        self.detach(view, true)?;
        if let Some(entry) = self.shared.relations.write().views.get_mut(&view) {
            entry.standing = Standing::Paused;
        }
        Ok(())
    }

    fn detach(&self, view: RelationId, keep: bool) -> Result<()> {
        let running = match self
            .shared
            .relations
            .read()
            .views
            .get(&view)
            .map(|entry| entry.standing.clone())
        {
            Some(Standing::Running(id)) => self.shared.pipelines.read().get(&id).cloned(),
            _ => None,
        };
        let Some(pipeline) = running else {
            return Ok(());
        };
        let (done, wait) = bounded(1);
        pipeline.send(Command::Detach {
            views: vec![view],
            keep,
            done,
        });
        wait.recv_timeout(Duration::from_secs(60))
            .map_err(|_| Error::internal("the pipeline did not answer within a minute"))
    }

    /// Starts a paused or failed view, or a paused sink, again.
    pub fn resume(&self, view: RelationId) -> Result<()> {
        let mut relations = self.shared.relations.write();
        relations.forgive(view);
        if let Some(entry) = relations.views.get_mut(&view)
            && !matches!(entry.standing, Standing::Running(_))
        {
            entry.standing = Standing::Waiting;
        }
        drop(relations);
        let sink = self.sinks.lock().get(&view).cloned();
        match sink {
            Some(sink) if !self.deliveries.lock().contains_key(&view) => self.start_sink(sink),
            _ => Ok(()),
        }
    }

    /// Starts a new sink; a query of its own is started with it.
    pub fn create_sink(&self, sink: SinkRun, query: Option<ViewSpec>) -> Result<()> {
        self.sinks.lock().insert(sink.relation, sink.clone());
        if let Some(view) = query {
            self.follow_own_query(&sink);
            self.create_view(view)?;
        }
        self.start_sink(sink)
    }

    /// The changelog of a sink's own query must be whole from the first epoch.
    fn follow_own_query(&self, sink: &SinkRun) {
        if connector::is_volatile(&sink.spec.connector) {
            return;
        }
        let store = self.shared.instance.store();
        let name = delivery::follower_name(sink.relation);
        let noted = Follower::load(store.as_ref()).unwrap_or_default();
        if !noted.iter().any(|follower| follower.name == name) {
            self.shared.publication.follow(sink.follow, &name, Some(Epoch::ZERO));
        }
    }

    fn start_sink(&self, sink: SinkRun) -> Result<()> {
        if connector::is_volatile(&sink.spec.connector) {
            let connector = connector::sink(&sink.spec)?;
            self.shared
                .sinks
                .lock()
                .entry(sink.follow)
                .or_default()
                .push((sink.relation, connector));
            return Ok(());
        }
        let id = sink.relation;
        let delivery = DeliveryHandle::spawn(self.shared.clone(), sink)?;
        self.deliveries.lock().insert(id, delivery);
        Ok(())
    }

    /// Ends a sink, and its own query.
    pub fn drop_sink(&self, sink: RelationId) -> Result<()> {
        let Some(run) = self.sinks.lock().remove(&sink) else {
            return Ok(());
        };
        if let Some(delivery) = self.deliveries.lock().remove(&sink) {
            delivery.stop();
        }
        if let Some(sinks) = self.shared.sinks.lock().get_mut(&run.follow) {
            sinks.retain(|(id, _)| *id != sink);
        }
        let name = delivery::follower_name(sink);
        self.shared.publication.unfollow(run.follow, &name);
        let mut batch = WriteBatch::new();
        Follower {
            name,
            relation: run.follow,
            delivered: Epoch::ZERO,
        }
        .remove(&mut batch);
        self.shared.instance.store().commit(batch)?;
        if run.follow == sink {
            self.drop_view(sink)
        } else {
            Ok(())
        }
    }

    /// Takes hold of the tables for one DML statement or transaction.
    pub fn begin_write(&self) -> TableWrite<'_> {
        TableWrite {
            _lock: self.shared.dml_lock.lock(),
            store: self.shared.instance.store().clone(),
            tables: self.shared.relations.read().tables.clone(),
            shared: &self.shared,
        }
    }

    /// What is committed now.
    pub fn snapshot(&self) -> Result<Snapshot> {
        Snapshot::new(self.shared.instance.store().snapshot())
    }

    /// Reads a source from its start to the end of now, without a pipeline.
    pub fn read_source(&self, source: RelationId, columns: &[usize]) -> Result<Batches> {
        let spec = self
            .shared
            .source(source)
            .ok_or_else(|| Error::internal("a read of an unknown source"))?;
        scan::source(&spec, columns)
    }

    /// The rows of a source's schema that decoding gives, for `columns`.
    pub fn source(&self, source: RelationId) -> Option<Arc<SourceSpec>> {
        self.shared.source(source)
    }

    /// How a view stands.
    pub fn view_state(&self, view: RelationId) -> Option<ViewState> {
        self.shared.view_state(view)
    }

    /// Waits until a view has taken in a DML commit and is attached; false when `patience` is over.
    pub fn wait_for(&self, view: RelationId, commit: DmlCommit, patience: Duration) -> bool {
        let ready = |publication: &publication::Publication| {
            let (_, host) = publication.host(view)?;
            (host.attached && host.epoch > Epoch::ZERO && host.dml >= commit).then_some(())
        };
        self.shared.publication.wait(Instant::now() + patience, ready).is_some()
    }

    /// The last DML commit.
    pub fn last_dml(&self) -> DmlCommit {
        self.shared.publication.dml()
    }

    /// Follows a view: its present rows (unless `snapshot` is false), then its changes; or, with
    /// `after`, the changes after an epoch that the client has.
    pub fn subscribe(&self, view: RelationId, after: Option<Epoch>, snapshot: bool) -> Result<Subscription> {
        let spec = self
            .shared
            .view(view)
            .ok_or_else(|| Error::internal("a subscription to an unknown view"))?;
        let deadline = Instant::now() + Duration::from_secs(30);
        self.shared.publication.wait(deadline, |publication| {
            publication
                .host(view)
                .filter(|(_, host)| host.epoch > Epoch::ZERO)
                .map(|_| ())
        });
        Subscription::open(self.shared.clone(), spec.stored(), after, snapshot)
    }

    /// Runs a push query: nothing of it outlives the subscription.
    pub fn push_query(&self, mut spec: ViewSpec) -> Result<Subscription> {
        spec.relation = Engine::next_query();
        spec.storage = Storage::Changes;
        let id = spec.relation;
        let pipeline = PipelineId(id.0);
        let home: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let follower = format!("query {id}");
        self.shared.publication.follow(id, &follower, Some(Epoch::ZERO));
        self.shared.relations.write().add_view(spec.clone());
        let stored = spec.stored();
        self.shared
            .start_pipeline(pipeline, vec![spec], None, Some(home.clone()))?;
        Ok(Subscription::of_query(
            self.shared.clone(),
            stored,
            home,
            follower,
            pipeline,
        ))
    }

    /// An id for a push query, for planning it.
    pub fn next_query() -> RelationId {
        RelationId(NEXT_QUERY.fetch_add(1, Ordering::Relaxed))
    }

    /// Every view and how it stands.
    pub fn pipelines(&self) -> Vec<PipelineRow> {
        let relations = self.shared.relations.read();
        let views: Vec<(RelationId, String)> = relations
            .views
            .iter()
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

    fn pipeline_row(&self, view: RelationId, name: String) -> Option<PipelineRow> {
        let state = self.shared.view_state(view)?;
        let host = self.shared.publication.host(view);
        let pipeline = host.as_ref().map(|(id, _)| *id);
        let handle = pipeline.and_then(|id| self.shared.pipelines.read().get(&id).cloned());
        let status = handle.as_ref().map(|handle| handle.status.lock());
        Some(PipelineRow {
            pipeline,
            view,
            name,
            state,
            epoch: host.map(|(_, host)| host.epoch).unwrap_or_default(),
            watermark_us: status
                .as_ref()
                .and_then(|status| status.watermarks.get(&view).copied().flatten()),
            last_progress_us: status.as_ref().map_or(0, |status| status.last_progress_us),
            trouble: status.as_ref().and_then(|status| status.trouble.clone()),
        })
    }

    /// Every split that a pipeline reads.
    pub fn lag(&self) -> Vec<LagRow> {
        let now_us = runtime::clock_us();
        let mut rows = Vec::new();
        for (pipeline, handle) in self.shared.pipelines.read().iter() {
            let status = handle.status.lock();
            for (source, state) in &status.sources {
                for (split, progress) in &state.splits {
                    let behind = |us: i64| (now_us - us) as f64 / 1e6;
                    rows.push(LagRow {
                        pipeline: *pipeline,
                        source: *source,
                        name: state.name.clone(),
                        split: split.to_string(),
                        position: state.committed.get(split).copied().unwrap_or(progress.position),
                        end: state.ends.get(split).copied(),
                        watermark_us: progress.watermark,
                        lag_seconds: progress.watermark.map(behind),
                        rows: state.rows,
                        skipped: state.skipped,
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

    /// How a running sink stands; `None` for those that are stopped, or keep nothing outside.
    pub fn sink_status(&self, sink: RelationId) -> Option<SinkStatus> {
        self.deliveries
            .lock()
            .get(&sink)
            .map(|delivery| delivery.status.lock().clone())
    }

    /// The store, for the catalog.
    pub fn store(&self) -> &Arc<dyn Store> {
        self.shared.instance.store()
    }

    /// The options it runs with.
    pub fn options(&self) -> &EngineOptions {
        &self.shared.options
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

    /// Commits and stops everything. The engine is of no use after it.
    pub fn shutdown(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        for thread in self.threads.lock().drain(..) {
            let _ = thread.join();
        }
        for (_, delivery) in self.deliveries.lock().drain() {
            delivery.stop();
        }
        let pipelines: Vec<_> = self.shared.pipelines.read().values().cloned().collect();
        let waits: Vec<_> = pipelines
            .iter()
            .map(|pipeline| {
                let (done, wait) = bounded(1);
                pipeline.send(Command::Stop(done));
                wait
            })
            .collect();
        for wait in waits {
            let _ = wait.recv_timeout(Duration::from_secs(30));
        }
        let _ = self.store().flush();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if !self.shared.is_stopping() {
            self.shutdown();
        }
    }
}
