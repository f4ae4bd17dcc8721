//! Relations that come and go: what the catalog knows is started, paused, resumed and dropped.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, bounded};
use weir_state::changelog::{self, Follower};
use weir_state::pipelines::{self, PipelineRecord};
use weir_state::{Epoch, RelationId, WriteBatch, history, unborn};

use super::delivery::{self, DeliveryHandle, SinkRun};
use super::errors;
use super::record::{self, follower_name};
use super::runtime::Command;
use super::standing::Standing;
use super::{Engine, spawn, supervisor};
use crate::connector::{self, Bound, SinkSpec, Start};
use crate::relation::{SourceSpec, TableSpec, ViewSpec};
use crate::{Error, Result};

/// How long a pipeline may take to let a view go.
const DETACH: Duration = Duration::from_secs(60);

/// How long a source is asked how it stands.
const LOOK: Duration = Duration::from_secs(1);

/// True for a sink that is handed each epoch as it is committed, past the changelog: it keeps nothing
/// outside, and its own query has nothing to show from before it was there.
fn is_volatile(sink: &SinkRun) -> bool {
    sink.follow == sink.relation && connector::is_volatile(&sink.spec.connector)
}

impl Engine {
    /// Starts views and sinks at their last epochs, after all sources and tables were added.
    /// `paused` stay stopped. `broken` are relations that the catalog holds and that can't run:
    /// what is stored of them stays.
    pub fn restore(
        &self,
        views: Vec<ViewSpec>,
        sinks: Vec<SinkRun>,
        paused: &BTreeSet<RelationId>,
        broken: &BTreeSet<RelationId>,
    ) -> Result<()> {
        let records = pipelines::load(self.shared.store.as_ref())?;
        // All who follow a changelog are known before anything is cut off.
        let keeping = views.iter().filter(|view| view.options.history_us.is_some());
        let histories: BTreeSet<RelationId> = keeping
            .map(|view| view.relation)
            .chain(broken.iter().copied())
            .collect();
        self.restore_followers(&records, &sinks, broken, &histories)?;
        {
            let mut relations = self.shared.relations.write();
            for view in views {
                let id = view.relation;
                self.shared
                    .publication
                    .set_limit(id, view.options.changelog_limit_bytes);
                relations.add_view(view);
                if let (true, Some(entry)) = (paused.contains(&id), relations.views.get_mut(&id)) {
                    entry.standing = Standing::Paused;
                }
            }
        }
        let (volatile, kept): (Vec<SinkRun>, Vec<SinkRun>) = sinks.into_iter().partition(is_volatile);
        self.restore_sinks(volatile, paused)?;
        self.park_all(records, broken)?;
        supervisor::start_stopped(&self.shared)?;
        self.restore_sinks(kept, paused)?;
        if let Some(ear) = self.supervise.lock().take() {
            let shared = self.shared.clone();
            let supervise = spawn("supervisor", move || supervisor::run(&shared, &ear))?;
            self.shared.threads.lock().push(supervise);
        }
        Ok(())
    }

    fn restore_followers(
        &self,
        records: &[PipelineRecord],
        sinks: &[SinkRun],
        broken: &BTreeSet<RelationId>,
        histories: &BTreeSet<RelationId>,
    ) -> Result<()> {
        let known = sinks.iter().map(|sink| sink.relation).chain(broken.iter().copied());
        let known: BTreeSet<String> = known.map(delivery::follower_name).collect();
        let mut gone = WriteBatch::new();
        for follower in Follower::load(self.shared.store.as_ref())? {
            let is_history = follower.name == history::FOLLOWER && histories.contains(&follower.relation);
            if is_history || known.contains(&follower.name) {
                let delivered = Some(follower.delivered);
                let publication = &self.shared.publication;
                publication.follow(follower.relation, &follower.name, delivered, None);
            } else {
                follower.remove(&mut gone);
            }
        }
        for record in records {
            for (view, epoch) in &record.changelogs {
                let name = follower_name(record.id);
                self.shared.publication.follow(*view, &name, Some(*epoch), None);
            }
        }
        sinks
            .iter()
            .filter(|sink| sink.follow == sink.relation)
            .for_each(|sink| self.follow_own_query(sink));
        if !gone.is_empty() {
            self.shared.store.commit(gone)?;
        }
        Ok(())
    }

    fn restore_sinks(&self, sinks: Vec<SinkRun>, paused: &BTreeSet<RelationId>) -> Result<()> {
        for sink in sinks {
            self.sinks.lock().insert(sink.relation, sink.clone());
            if !paused.contains(&sink.relation) {
                self.start_sink(sink)?;
            }
        }
        Ok(())
    }

    /// Parks all registered views, under the records that the store has of them.
    fn park_all(&self, records: Vec<PipelineRecord>, broken: &BTreeSet<RelationId>) -> Result<()> {
        let mut left: BTreeSet<RelationId> = self.shared.relations.read().views.keys().copied().collect();
        for record in records {
            let known: BTreeSet<RelationId> = record.views.iter().copied().filter(|view| left.remove(view)).collect();
            let stuck: BTreeSet<RelationId> = record.views.iter().copied().filter(|v| broken.contains(v)).collect();
            let reads = self.shared.relations.read().reads(&known);
            let record = match (known.is_empty(), stuck.is_empty()) {
                (true, true) => {
                    let mut batch = WriteBatch::new();
                    pipelines::remove(&mut batch, record.id);
                    self.shared.store.commit(batch)?;
                    self.shared.publication.unfollow_all(&follower_name(record.id));
                    continue;
                }
                (true, false) => continue,
                (false, true) => record::restrict(&record, record.id, &known, &reads),
                (false, false) => {
                    // What broken views read is not known any more: all that they may need is kept.
                    let needs = record.changelogs.keys().chain(&known).copied();
                    let sources = record.positions.keys().filter_map(|id| id.parse().ok()).map(RelationId);
                    let needs = needs.chain(sources).collect();
                    supervisor::part(&self.shared, &record, (&known, &reads), (&stuck, &needs))?.0
                }
            };
            self.shared.relations.write().park(known, Some(record), None);
        }
        let mut relations = self.shared.relations.write();
        left.into_iter()
            .for_each(|view| relations.park(BTreeSet::from([view]), None, None));
        Ok(())
    }

    /// Makes a source known. Nothing is read until a view needs it.
    pub fn add_source(&self, spec: SourceSpec) {
        let mut relations = self.shared.relations.write();
        relations.sources.insert(spec.relation, Arc::new(spec));
    }

    /// Resolves what is to be fixed at CREATE SOURCE: `latest`, `timestamp` and `group` starts and
    /// the bound become positions; positions that were named are checked. Talks to the source.
    pub fn fix_start(&self, spec: &mut SourceSpec) -> Result<()> {
        let connector = connector::source(&spec.connector, &spec.value_schema())?;
        match &spec.start {
            Start::Earliest => {}
            Start::Offsets(_) => drop(connector.resolve(&spec.start)?),
            _ => spec.start = Start::Offsets(connector.resolve(&spec.start)?),
        }
        if spec.bound != Bound::Unbounded
            && let Some(positions) = connector.resolve_bound(&spec.bound)?
        {
            spec.bound = Bound::Offsets(positions);
        }
        Ok(())
    }

    /// Why a source can't be read at present, as far as it tells within a short time.
    pub fn source_trouble(&self, spec: &SourceSpec) -> Option<String> {
        let connector = connector::source(&spec.connector, &spec.value_schema());
        match connector.and_then(|connector| connector.look(LOOK)) {
            Ok(splits) if splits.is_empty() => Some("nothing is there to be read yet".to_string()),
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        }
    }

    /// Makes a table known.
    pub fn add_table(&self, spec: TableSpec) {
        let mut relations = self.shared.relations.write();
        relations.tables.insert(spec.relation, Arc::new(spec));
    }

    /// Forgets a source or table that no view reads, and deletes what is stored of it.
    pub fn drop_relation(&self, id: RelationId) -> Result<()> {
        let mut relations = self.shared.relations.write();
        let known = relations.sources.remove(&id).is_some() | relations.tables.remove(&id).is_some();
        drop(relations);
        if known { self.delete_data(id) } else { Ok(()) }
    }

    /// Starts a new view. It catches up and is attached in the background.
    pub fn create_view(&self, spec: ViewSpec) -> Result<()> {
        let id = self.shared.allocate_pipeline()?;
        let limit = spec.options.changelog_limit_bytes;
        self.shared.publication.set_limit(spec.relation, limit);
        self.shared.relations.write().add_view(spec.clone());
        self.shared.start_pipeline(id, vec![spec], None, None)
    }

    /// Ends a view that nothing reads and deletes what it stored.
    pub fn drop_view(&self, view: RelationId) -> Result<()> {
        let one = self.shared.moves.lock();
        self.detach(view, false)?;
        self.forget_parked(view)?;
        self.shared.relations.write().views.remove(&view);
        drop(one);
        self.shared.publication.forget(view);
        self.delete_data(view)
    }

    /// Takes a stopped view out of the group that it is parked with. Only for who holds the moves.
    fn forget_parked(&self, view: RelationId) -> Result<()> {
        let relations = self.shared.relations.read();
        let group = relations.parked.iter().find(|parked| parked.views.contains(&view));
        let Some((record, mut rest, is_stored)) = group.and_then(|group| {
            let record = group.record.clone()?;
            Some((record, group.views.clone(), group.stored_by.is_none()))
        }) else {
            drop(relations);
            self.shared.relations.write().unpark(&BTreeSet::from([view]));
            return Ok(());
        };
        rest.remove(&view);
        let restricted = record::restrict(&record, record.id, &rest, &relations.reads(&rest));
        drop(relations);
        // That the record is in the store says that its epoch is. So one that is yet to come stays as its
        // pipeline will write it: who reads it passes over views that nobody knows.
        let is_there = |stored: Vec<PipelineRecord>| stored.iter().any(|stored| stored.id == record.id);
        if is_stored || is_there(pipelines::load(self.shared.store.as_ref())?) {
            let mut batch = WriteBatch::new();
            if rest.is_empty() {
                pipelines::remove(&mut batch, record.id);
            } else {
                pipelines::put(&mut batch, &restricted);
            }
            self.shared.store.commit(batch)?;
        }
        if rest.is_empty() {
            self.shared.publication.unfollow_all(&follower_name(record.id));
        }
        // Its pipeline may have gone down meanwhile, and the group be parked under another record.
        let mut relations = self.shared.relations.write();
        let mut groups = relations.parked.iter_mut().filter_map(|parked| {
            let same = parked.views.contains(&view) && parked.record.as_ref()?.id == record.id;
            same.then_some(&mut parked.record)
        });
        groups.next().into_iter().for_each(|of| *of = Some(restricted.clone()));
        relations.unpark(&BTreeSet::from([view]));
        Ok(())
    }

    fn delete_data(&self, relation: RelationId) -> Result<()> {
        let mut batch = WriteBatch::new();
        unborn::clear(&mut batch, relation);
        changelog::remove(&mut batch, relation);
        errors::remove(&mut batch, relation);
        Ok(self.shared.store.commit(batch)?)
    }

    /// Stops a view at its last epoch; what reads it waits.
    pub fn pause(&self, view: RelationId) -> Result<()> {
        self.stop_sink(view);
        if self.shared.view(view).is_none() {
            return Ok(());
        }
        // Held to the end, so that nobody starts it again in between.
        let _one = self.shared.moves.lock();
        self.detach(view, true)?;
        if let Some(entry) = self.shared.relations.write().views.get_mut(&view) {
            entry.standing = Standing::Paused;
        }
        self.shared.wake_all();
        Ok(())
    }

    /// Takes a view out of the pipeline in which it runs, if it runs. Only for who holds the moves.
    fn detach(&self, view: RelationId, keep: bool) -> Result<()> {
        let deadline = Instant::now() + DETACH;
        loop {
            let running = self.shared.relations.read().running(view);
            let Some(id) = running else {
                return Ok(());
            };
            if let Some(pipeline) = self.shared.pipeline(id) {
                let (done, wait) = bounded(1);
                let views = vec![view];
                pipeline.send(Command::Detach { views, keep, done });
                match wait.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                    Ok(()) => return Ok(()),
                    // It went down; the view has stopped, or is about to.
                    Err(RecvTimeoutError::Disconnected) => {}
                    Err(RecvTimeoutError::Timeout) => {
                        return Err(Error::internal("the pipeline did not answer within a minute"));
                    }
                }
            }
            if Instant::now() >= deadline {
                return Err(Error::internal("the pipeline did not end within a minute"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts a paused or failed view, or a paused sink, again. One that runs, but waits for a source or
    /// a sink that is out of reach, tries that again at once.
    pub fn resume(&self, view: RelationId) -> Result<()> {
        self.hurry(view);
        let mut relations = self.shared.relations.write();
        relations.forgive(view);
        if let Some(entry) = relations.views.get_mut(&view)
            && !matches!(entry.standing, Standing::Running(_))
        {
            entry.standing = Standing::Waiting;
        }
        drop(relations);
        let sink = self.sinks.lock().get(&view).cloned();
        if let Some(sink) = sink
            && !self.sink_runs(&sink)
        {
            self.start_sink(sink)?;
        }
        supervisor::start_stopped(&self.shared)
    }

    /// Who waits out a failure of what this view or sink needs waits no longer.
    fn hurry(&self, view: RelationId) {
        let running = self.shared.relations.read().running(view);
        if let Some(pipeline) = running.and_then(|id| self.shared.pipeline(id)) {
            pipeline.bell.hurry();
        }
        if let Some(delivery) = self.deliveries.lock().get(&view) {
            delivery.hurry();
        }
    }

    /// Has a relation go by another name in what is said of it.
    pub fn rename(&self, relation: RelationId, name: &str) -> Result<()> {
        if let Some(entry) = self.shared.relations.write().views.get_mut(&relation) {
            entry.spec.name = name.to_string();
        }
        let mut sinks = self.sinks.lock();
        let Some(sink) = sinks.get_mut(&relation) else {
            return Ok(());
        };
        sink.spec.name = name.to_string();
        let sink = sink.clone();
        drop(sinks);
        // A running delivery names its sink in its own words.
        if !is_volatile(&sink) && self.sink_runs(&sink) {
            self.stop_sink(relation);
            self.start_sink(sink)?;
        }
        Ok(())
    }

    /// Opens a sink that is to be created, and closes it again: what can't be opened for its options
    /// or its place is refused, and not tried for ever. So is a place that is another's.
    pub fn check_sink(&self, spec: &SinkSpec) -> Result<()> {
        let others: Vec<SinkSpec> = self.sinks.lock().values().map(|run| run.spec.clone()).collect();
        connector::check_place(spec, &others)?;
        connector::sink(spec).map(drop)
    }

    /// Starts a new sink; a query of its own is started with it.
    pub fn create_sink(&self, sink: SinkRun, query: Option<ViewSpec>) -> Result<()> {
        let volatile = is_volatile(&sink);
        if !sink.snapshot && sink.follow != sink.relation {
            delivery::begin_behind(&self.shared, &sink)?;
        }
        self.sinks.lock().insert(sink.relation, sink.clone());
        // Nothing of its own query may pass a sink by.
        if volatile {
            self.start_sink(sink.clone())?;
        }
        if let Some(view) = query {
            self.follow_own_query(&sink);
            self.create_view(view)?;
        }
        if volatile { Ok(()) } else { self.start_sink(sink) }
    }

    /// The changelog of a sink's own query must be whole from the first epoch.
    fn follow_own_query(&self, sink: &SinkRun) {
        if is_volatile(sink) {
            return;
        }
        let name = delivery::follower_name(sink.relation);
        let publication = &self.shared.publication;
        if publication
            .followers(sink.follow)
            .iter()
            .all(|(other, _)| *other != name)
        {
            publication.follow(sink.follow, &name, Some(Epoch::ZERO), None);
        }
    }

    fn sink_runs(&self, sink: &SinkRun) -> bool {
        let volatile = self.shared.sinks.lock();
        let delivered = volatile.get(&sink.follow).into_iter().flatten();
        self.deliveries.lock().contains_key(&sink.relation) || delivered.into_iter().any(|(id, _)| *id == sink.relation)
    }

    fn start_sink(&self, sink: SinkRun) -> Result<()> {
        if is_volatile(&sink) {
            let connector = connector::sink(&sink.spec)?;
            let mut volatile = self.shared.sinks.lock();
            volatile
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

    /// Stops a sink, if it is one and runs.
    fn stop_sink(&self, sink: RelationId) {
        let delivery = self.deliveries.lock().remove(&sink);
        if let Some(delivery) = delivery {
            delivery.stop();
        }
        let mut volatile = self.shared.sinks.lock();
        volatile
            .values_mut()
            .for_each(|sinks| sinks.retain(|(id, _)| *id != sink));
        volatile.retain(|_, sinks| !sinks.is_empty());
    }

    /// Ends a sink, and its own query.
    pub fn drop_sink(&self, sink: RelationId) -> Result<()> {
        let Some(run) = self.sinks.lock().remove(&sink) else {
            // One that could not be restored: what is stored of it goes.
            return self.drop_view(sink);
        };
        self.stop_sink(sink);
        let name = delivery::follower_name(sink);
        self.shared.publication.unfollow(run.follow, &name);
        let mut batch = WriteBatch::new();
        let follower = Follower {
            name,
            relation: run.follow,
            delivered: Epoch::ZERO,
        };
        follower.remove(&mut batch);
        self.shared.store.commit(batch)?;
        if run.follow == sink {
            self.drop_view(sink)
        } else {
            Ok(())
        }
    }
}
