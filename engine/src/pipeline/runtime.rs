//! A pipeline's thread: takes input, runs steps, makes checkpoints, and lets views come and go
//! between them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, unbounded};
use serde_json::json;
use weir_state::pipelines::{self, PipelineRecord};
use weir_state::{DmlCommit, Epoch, Keyspace, PipelineId, RelationId, Store, WriteBatch, keys};

use super::committer::CommitJob;
use super::dataflow::{Dataflow, NodeRef, Projections, RelationInput, ViewParts};
use super::decode::Layout;
use super::reader::Bell;
use super::shared::{PipelineStatus, Shared};
use super::snapshot::{self, Batches, Snapshot};
use super::source::{SourceInput, SourceProgress};
use crate::change::{self, ChangeBatch};
use crate::connector::Positions;
use crate::error::BadRecord;
use crate::graph::{NodeId, NodeKind};
use crate::relation::{StoredRelation, ViewSpec};
use crate::{Error, Result};

mod intake;
mod telling;
mod views;

/// Longest sleep of a pipeline without anything to do.
const NAP: Duration = Duration::from_secs(1);
/// Shortest time between two checkpoints.
const CHECKPOINT_PAUSE: Duration = Duration::from_millis(5);
/// Rows collected for a checkpoint at most, so that memory stays bounded between two.
const CHECKPOINT_ROWS: usize = 2_000_000;

/// What a pipeline may be told.
pub enum Command {
    /// Take no more input; answers where it stands.
    Hold(Sender<Held>),
    /// Go on after a hold.
    Release,
    /// Read to exactly these targets, commit, answer, and hold.
    RunTo(Targets, Sender<Epoch>),
    /// Give everything away and end. Only while held at a committed epoch.
    HandOver(Sender<HandedOver>),
    /// Take in what another pipeline gave, and go on.
    Adopt(Box<HandedOver>, Sender<Result<()>>),
    /// Take views (and what rests on them) out. They keep state and positions in a record of their
    /// own, unless they are dropped.
    Detach {
        views: Vec<RelationId>,
        keep: bool,
        done: Sender<()>,
    },
    /// Commit what there is and end.
    Stop(Sender<()>),
}

/// Where a held pipeline stands.
#[derive(Debug, Clone)]
pub struct Held {
    /// Positions by source.
    pub positions: BTreeMap<RelationId, Positions>,
    /// The DML commit that it has taken in.
    pub dml: DmlCommit,
}

/// Where a pipeline is to read to.
#[derive(Debug, Clone, Default)]
pub struct Targets {
    /// Positions by source; sources not named are not read.
    pub positions: BTreeMap<RelationId, Positions>,
    /// DML commit.
    pub dml: DmlCommit,
    /// Changelogs of these views up to these epochs.
    pub changelogs: BTreeMap<RelationId, Epoch>,
}

/// A pipeline's content on its way into another.
pub struct HandedOver {
    id: PipelineId,
    views: Vec<ViewParts>,
    sources: BTreeMap<RelationId, SourceProgress>,
    follows: BTreeMap<RelationId, Follow>,
    dml: DmlCommit,
}

/// A view of another pipeline, read by its changelog.
#[derive(Clone)]
struct Follow {
    relation: StoredRelation,
    taken: Epoch,
}

/// How a pipeline ended.
pub enum Exit {
    /// Stopped or handed over.
    Done,
    /// A commit failed, or the store: all its views are to be started again from their last epoch.
    Failed(Error),
}

enum Mode {
    Running,
    Held,
    RunningTo(Targets, Sender<Epoch>),
}

/// What a pipeline starts with.
pub struct Start {
    /// Its id.
    pub id: PipelineId,
    /// Its views.
    pub views: Vec<ViewSpec>,
    /// Its last epoch's record; `None` for a new pipeline.
    pub record: Option<PipelineRecord>,
    /// Where it keeps its state.
    pub home: Arc<dyn Store>,
    /// False for push queries: nothing of it survives, and it has no record.
    pub durable: bool,
    /// Commands.
    pub commands: Receiver<Command>,
    /// Its bell.
    pub bell: Bell,
    /// The bell's ear.
    pub ear: Receiver<()>,
    /// Where it says how it is.
    pub status: Arc<parking_lot::Mutex<PipelineStatus>>,
}

/// A running pipeline.
pub struct Runtime {
    shared: Arc<Shared>,
    start: Start,
    dataflow: Dataflow,
    sources: BTreeMap<RelationId, SourceInput>,
    tables: BTreeMap<RelationId, StoredRelation>,
    follows: BTreeMap<RelationId, Follow>,
    dml: DmlCommit,
    loading: Vec<(RelationId, Batches)>,
    mode: Mode,
    started: bool,
    /// Something moved since the last checkpoint.
    dirty: bool,
    last_epoch: Epoch,
    last_record: Option<PipelineRecord>,
    last_checkpoint: Instant,
    committing: Option<Epoch>,
    outcomes: (Sender<(Epoch, Result<(), Error>)>, Receiver<(Epoch, Result<(), Error>)>),
    /// Written with the next checkpoint.
    parked: Vec<PipelineRecord>,
    absorbed: Vec<PipelineId>,
    skipped: Vec<BadRecord>,
    stored_all: bool,
    last_progress_us: i64,
    last_status: Instant,
}

/// Microseconds since the epoch, by the clock.
pub fn clock_us() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_micros() as i64)
}

impl Runtime {
    /// Runs a pipeline until it ends. Called on its own thread.
    pub fn run(shared: Arc<Shared>, start: Start) -> Exit {
        let mut runtime = match Runtime::new(shared, start) {
            Ok(runtime) => runtime,
            Err(error) => return Exit::Failed(error),
        };
        match runtime.serve() {
            Ok(()) => Exit::Done,
            Err(error) => Exit::Failed(error),
        }
    }

    fn new(shared: Arc<Shared>, start: Start) -> Result<Runtime> {
        let options = &shared.options;
        let mut dataflow = Dataflow::new(options.tasks, start.home.clone(), options.entry_budget);
        if let Some(record) = &start.record {
            dataflow.restore_watermarks(stored_watermarks(record));
        }
        for view in &start.views {
            dataflow.add(view.clone())?;
        }
        let record = start.record.clone();
        let mut runtime = Runtime {
            dataflow,
            sources: BTreeMap::new(),
            tables: BTreeMap::new(),
            follows: BTreeMap::new(),
            dml: record.as_ref().map_or(DmlCommit::ZERO, |record| record.dml),
            loading: Vec::new(),
            mode: Mode::Running,
            started: false,
            dirty: false,
            last_epoch: record.as_ref().map_or(Epoch::ZERO, |record| record.epoch),
            last_record: record,
            last_checkpoint: Instant::now(),
            committing: None,
            outcomes: unbounded(),
            parked: Vec::new(),
            absorbed: Vec::new(),
            skipped: Vec::new(),
            stored_all: false,
            last_progress_us: clock_us(),
            last_status: Instant::now(),
            shared,
            start,
        };
        runtime.open_inputs()?;
        runtime.plan()?;
        if runtime.start.record.is_some() {
            runtime.publish_present();
        }
        Ok(runtime)
    }

    /// Finds what the views read outside this pipeline and opens it: sources at their positions,
    /// tables and views of other pipelines from a snapshot or from where the record says.
    fn open_inputs(&mut self) -> Result<()> {
        let mut fresh_tables = Vec::new();
        for relation in self.outside_relations() {
            if self.sources.contains_key(&relation)
                || self.tables.contains_key(&relation)
                || self.follows.contains_key(&relation)
            {
                continue;
            }
            if let Some(spec) = self.shared.source(relation) {
                let progress = self
                    .last_record
                    .as_ref()
                    .map(|record| stored_progress(record, relation));
                let source = SourceInput::new(spec, progress.unwrap_or_default(), self.start.bell.clone());
                self.sources.insert(relation, source);
            } else if let Some(table) = self.shared.table(relation) {
                if self.start.record.is_none() {
                    fresh_tables.push(table.stored());
                }
                self.tables.insert(relation, table.stored());
            } else if let Some(view) = self.shared.view(relation) {
                self.open_follow(view.stored())?;
            } else {
                return Err(Error::internal(format!("nobody knows relation {relation}")));
            }
        }
        if !fresh_tables.is_empty() {
            let snapshot = Snapshot::new(self.shared.instance.store().snapshot())?;
            self.dml = snapshot.dml();
            for table in fresh_tables {
                self.loading
                    .push((table.relation, snapshot.scan(&table, &table.all_columns())?));
            }
        } else if self.tables.is_empty() && self.start.record.is_none() {
            self.dml = self.shared.publication.dml();
        }
        Ok(())
    }

    /// Begins to follow a view of another pipeline.
    fn open_follow(&mut self, relation: StoredRelation) -> Result<()> {
        let id = relation.relation;
        let name = follower_name(self.start.id);
        let known = self
            .last_record
            .as_ref()
            .and_then(|record| record.changelogs.get(&id))
            .copied();
        let taken = match known {
            Some(epoch) => {
                self.shared.publication.follow(id, &name, Some(epoch));
                epoch
            }
            None => {
                let (snapshot, epoch) = self.shared.follow_from_snapshot(id, &name)?;
                self.loading
                    .push((id, snapshot.scan(&relation, &relation.all_columns())?));
                epoch
            }
        };
        self.follows.insert(id, Follow { relation, taken });
        Ok(())
    }

    /// Relations that the views read and that aren't views of this pipeline.
    fn outside_relations(&self) -> BTreeSet<RelationId> {
        let views = self.dataflow.views();
        views
            .values()
            .flat_map(|view| view.graph.relations())
            .filter(|read| !views.contains_key(read))
            .collect()
    }

    /// Plans the dataflow for the present views and inputs.
    fn plan(&mut self) -> Result<()> {
        let mut layouts: BTreeMap<RelationId, Layout> = BTreeMap::new();
        let views: Vec<ViewSpec> = self.dataflow.views().values().cloned().collect();
        let each_input = |act: &mut dyn FnMut(NodeRef, &crate::graph::InputSpec) -> Result<()>| -> Result<()> {
            for view in &views {
                for (index, node) in view.graph.nodes.iter().enumerate() {
                    if let NodeKind::Input(input) = &node.kind {
                        act(
                            NodeRef {
                                view: view.relation,
                                node: NodeId(index as u32),
                            },
                            input,
                        )?;
                    }
                }
            }
            Ok(())
        };
        each_input(&mut |_, input| {
            if self.sources.contains_key(&input.relation) {
                layouts
                    .entry(input.relation)
                    .or_default()
                    .widen(&input.columns, input.with_watermark);
            }
            Ok(())
        })?;
        let tasks = self.dataflow.num_tasks();
        let mut projections = Projections::new();
        each_input(&mut |at, input| {
            if let Some(source) = self.sources.get(&input.relation) {
                let layout = &layouts[&input.relation];
                projections.insert(
                    at,
                    layout.projection(&source.spec, &input.columns, input.with_watermark)?,
                );
            } else {
                projections.insert(at, input.columns.clone());
            }
            Ok(())
        })?;
        self.sources.retain(|relation, _| layouts.contains_key(relation));
        for (relation, layout) in layouts {
            self.sources
                .get_mut(&relation)
                .expect("it has a layout")
                .configure(layout, tasks)?;
        }
        self.dataflow.plan(&projections)
    }

    fn serve(&mut self) -> Result<()> {
        loop {
            while let Ok(command) = self.start.commands.try_recv() {
                if !self.obey(command)? {
                    return Ok(());
                }
            }
            self.take_outcomes()?;
            let worked = self.step()?;
            if self.dataflow.views().is_empty() {
                return self.end_empty();
            }
            self.shared
                .publication
                .logged(self.dataflow.views().keys().copied(), self.last_epoch);
            self.checkpoint_if_due(!worked)?;
            self.answer_run_to()?;
            self.tell_status(!worked);
            if !worked {
                self.rest()?;
            }
        }
    }

    /// Waits for the bell, or for the next timer; loads stored state meanwhile.
    fn rest(&mut self) -> Result<()> {
        if !self.stored_all {
            self.stored_all = self.dataflow.complete(4096)?;
            if !self.stored_all {
                return Ok(());
            }
        }
        let now = Instant::now();
        let timer = self.sources.values().filter_map(SourceInput::next_timer).min();
        let mut nap = timer
            .map_or(NAP, |at| at.saturating_duration_since(now))
            .clamp(Duration::from_millis(1), NAP);
        if self.dirty && self.committing.is_none() {
            nap = nap.min(CHECKPOINT_PAUSE);
        }
        let _ = self.start.ear.recv_timeout(nap);
        Ok(())
    }

    /// One step, if there is anything to do.
    fn step(&mut self) -> Result<bool> {
        if let Some(inputs) = self.load()? {
            self.run_step(inputs)?;
            return Ok(true);
        }
        if matches!(self.mode, Mode::Held) {
            return Ok(false);
        }
        let mut inputs: HashMap<RelationId, RelationInput> = HashMap::new();
        let mut any = !self.started;
        any |= self.take_dml(&mut inputs)?;
        any |= self.take_changelogs(&mut inputs)?;
        any |= self.take_sources(&mut inputs)?;
        if !any {
            return Ok(false);
        }
        self.run_step(inputs)?;
        Ok(true)
    }

    fn run_step(&mut self, inputs: HashMap<RelationId, RelationInput>) -> Result<()> {
        self.started = true;
        self.dirty = true;
        self.last_progress_us = clock_us();
        let failed = self.dataflow.step(self.last_progress_us, inputs);
        if !failed.is_empty() {
            self.detach_failed(failed)?;
        }
        Ok(())
    }

    fn obey(&mut self, command: Command) -> Result<bool> {
        match command {
            Command::Hold(reply) => {
                self.mode = Mode::Held;
                let _ = reply.send(self.held());
            }
            Command::Release => self.mode = Mode::Running,
            Command::RunTo(targets, reply) => self.mode = Mode::RunningTo(targets, reply),
            Command::HandOver(reply) => {
                let _ = reply.send(self.hand_over());
                return Ok(false);
            }
            Command::Adopt(given, reply) => {
                let outcome = self.adopt(*given);
                self.mode = Mode::Running;
                let _ = reply.send(outcome);
            }
            Command::Detach { views, keep, done } => {
                let views = self.dataflow.with_dependents(views.into_iter().collect());
                let parked = self.detach(&views, keep)?;
                self.shared.tell_detached(&views, parked);
                if self.dataflow.views().is_empty() {
                    self.end_empty()?;
                    let _ = done.send(());
                    return Ok(false);
                }
                self.commit_and_wait()?;
                let _ = done.send(());
            }
            Command::Stop(done) => {
                let outcome = if self.loading.is_empty() && self.started {
                    self.commit_and_wait()
                } else {
                    Ok(())
                };
                self.sources.values_mut().for_each(SourceInput::close);
                self.shared.publication.withdraw(self.start.id);
                let _ = done.send(());
                outcome?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn checkpoint_if_due(&mut self, idle: bool) -> Result<()> {
        if !self.dirty || self.committing.is_some() || !self.loading.is_empty() || !self.started {
            return Ok(());
        }
        let since = self.last_checkpoint.elapsed();
        let due = since >= self.shared.options.checkpoint_interval
            || (idle && since >= CHECKPOINT_PAUSE)
            || self.dataflow.pending_rows() >= CHECKPOINT_ROWS;
        if due { self.checkpoint() } else { Ok(()) }
    }

    /// Hands the present epoch to the committer.
    fn checkpoint(&mut self) -> Result<()> {
        let epoch = self.shared.instance.next_epoch();
        let views: BTreeSet<RelationId> = self.dataflow.views().keys().copied().collect();
        let logged = self.shared.publication.logged(views.iter().copied(), self.last_epoch);
        let wanted: BTreeSet<RelationId> = self
            .shared
            .sinks
            .lock()
            .keys()
            .copied()
            .filter(|relation| views.contains(relation))
            .collect();
        let (mut batch, changes) = self.dataflow.checkpoint(epoch, &logged, &wanted)?;
        let record = self.record(epoch);
        if self.start.durable {
            self.write_records(&record, &mut batch)?;
        }
        self.last_record = Some(record);
        self.last_epoch = epoch;
        self.last_checkpoint = Instant::now();
        self.committing = Some(epoch);
        self.dirty = false;
        let job = CommitJob {
            store: self.start.home.clone(),
            batch,
            pipeline: self.start.id,
            news: self.news(epoch),
            changes,
            done: self.outcomes.0.clone(),
            bell: self.start.bell.clone(),
        };
        self.shared
            .committer
            .send(job)
            .map_err(|_| Error::State("the engine is stopping".to_string()))
    }

    fn write_records(&mut self, record: &PipelineRecord, batch: &mut WriteBatch) -> Result<()> {
        pipelines::put(batch, record);
        for parked in self.parked.drain(..) {
            pipelines::put(batch, &parked);
        }
        for id in self.absorbed.drain(..) {
            pipelines::remove(batch, id);
        }
        if !self.skipped.is_empty() {
            let rows = snapshot::error_rows(&self.skipped, clock_us())?;
            let mut key = record.epoch.0.to_be_bytes().to_vec();
            key.extend(record.id.0.to_be_bytes());
            let bytes = change::to_bytes(&[ChangeBatch::inserts(rows)])?;
            batch.put(Keyspace::View, &keys::view_key(snapshot::ERRORS, &key), &bytes);
            self.skipped.clear();
        }
        Ok(())
    }

    fn record(&self, epoch: Epoch) -> PipelineRecord {
        let watermarks: BTreeMap<String, i64> = self
            .dataflow
            .watermarks()
            .iter()
            .map(|(at, us)| (format!("{}:{}", at.view, at.node), *us))
            .collect();
        let sources: BTreeMap<String, i64> = self
            .sources
            .iter()
            .filter_map(|(id, source)| Some((id.to_string(), source.progress.watermark?)))
            .collect();
        PipelineRecord {
            id: self.start.id,
            views: self.dataflow.views().keys().copied().collect(),
            positions: self
                .sources
                .iter()
                .map(|(id, source)| (id.to_string(), source.progress.stored()))
                .collect(),
            dml: self.dml,
            epoch,
            changelogs: self.follows.iter().map(|(id, follow)| (*id, follow.taken)).collect(),
            extra: json!({ "watermarks": watermarks, "sources": sources }),
        }
    }

    fn take_outcomes(&mut self) -> Result<()> {
        while let Ok((epoch, outcome)) = self.outcomes.1.try_recv() {
            self.settle(epoch, outcome)?;
        }
        Ok(())
    }

    fn settle(&mut self, epoch: Epoch, outcome: Result<(), Error>) -> Result<()> {
        outcome?;
        if self.committing == Some(epoch) {
            self.committing = None;
        }
        self.dataflow.committed()?;
        let follower = follower_name(self.start.id);
        if let Some(record) = &self.last_record {
            for (relation, taken) in &record.changelogs {
                self.shared.publication.advance(*relation, &follower, *taken);
            }
            if self.start.durable {
                for (relation, source) in &self.sources {
                    if let Some(stored) = record.positions.get(&relation.to_string()) {
                        source.committed(SourceProgress::restore(stored, None).positions());
                    }
                }
            }
        }
        Ok(())
    }

    /// Commits all there is and waits until it is durable.
    fn commit_and_wait(&mut self) -> Result<()> {
        self.wait_committed()?;
        if self.dirty && self.loading.is_empty() && self.started {
            self.checkpoint()?;
            self.wait_committed()?;
        }
        Ok(())
    }

    fn wait_committed(&mut self) -> Result<()> {
        while self.committing.is_some() {
            let (epoch, outcome) = self.outcomes.1.recv().map_err(Error::internal)?;
            self.settle(epoch, outcome)?;
        }
        Ok(())
    }

    /// The last view has left: removes the pipeline's record.
    fn end_empty(&mut self) -> Result<()> {
        self.wait_committed()?;
        if self.start.durable {
            let mut batch = WriteBatch::new();
            let record = self.record(self.last_epoch);
            self.write_records(&record, &mut batch)?;
            pipelines::remove(&mut batch, self.start.id);
            self.start.home.commit(batch)?;
        }
        self.shared.publication.withdraw(self.start.id);
        Ok(())
    }

    /// Answers a RunTo once its targets are reached and durable.
    fn answer_run_to(&mut self) -> Result<()> {
        let Mode::RunningTo(targets, _) = &self.mode else {
            return Ok(());
        };
        let sources = targets
            .positions
            .iter()
            .all(|(relation, limits)| self.sources.get(relation).is_none_or(|source| source.reached(limits)));
        let logs = targets
            .changelogs
            .iter()
            .all(|(relation, epoch)| self.follows.get(relation).is_none_or(|follow| follow.taken >= *epoch));
        let dml = self.dml >= targets.dml;
        if sources && logs && dml && self.loading.is_empty() {
            self.commit_and_wait()?;
            if let Mode::RunningTo(_, reply) = std::mem::replace(&mut self.mode, Mode::Held) {
                let _ = reply.send(self.last_epoch);
            }
        }
        Ok(())
    }
}

/// The name under which a pipeline follows views of others.
pub fn follower_name(pipeline: PipelineId) -> String {
    format!("pipeline {pipeline}")
}

fn stored_progress(record: &PipelineRecord, source: RelationId) -> SourceProgress {
    let id = source.to_string();
    let watermark = record
        .extra
        .get("sources")
        .and_then(|sources| sources.get(&id))
        .and_then(|us| us.as_i64());
    record
        .positions
        .get(&id)
        .map(|stored| SourceProgress::restore(stored, watermark))
        .unwrap_or_default()
}

fn stored_watermarks(record: &PipelineRecord) -> HashMap<NodeRef, i64> {
    let stored = record
        .extra
        .get("watermarks")
        .and_then(|watermarks| watermarks.as_object());
    let parse = |(at, us): (&String, &serde_json::Value)| {
        let (view, node) = at.split_once(':')?;
        let at = NodeRef {
            view: RelationId(view.parse().ok()?),
            node: NodeId(node.parse().ok()?),
        };
        Some((at, us.as_i64()?))
    };
    stored.into_iter().flatten().filter_map(parse).collect()
}
