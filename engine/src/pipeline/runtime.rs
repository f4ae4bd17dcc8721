//! A pipeline's thread: takes input, runs steps, makes checkpoints, and lets views come and go
//! between them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use weir_state::pipelines::PipelineRecord;
use weir_state::{DmlCommit, Epoch, PipelineId, RelationId, Store};

use super::clock;
use super::dataflow::{Dataflow, RelationInput, ViewParts};
use super::errors::PassedRows;
use super::precedence::Precedence;
use super::publication::NO_TABLES;
use super::reader::Bell;
use super::record;
use super::shared::{PipelineStatus, Shared};
use super::size::Size;
use super::snapshot::Batches;
use super::source::{SourceInput, SourceProgress};
use crate::connector::Positions;
use crate::operator::{Moment, Watermark};
use crate::relation::{StoredRelation, ViewSpec};
use crate::{Error, Result};

mod checkpoint;
mod history;
mod intake;
mod open;
mod orders;
mod parts;
mod telling;
mod views;

/// Longest sleep of a pipeline without anything to do.
const NAP: Duration = Duration::from_secs(5);
/// Shortest time between two checkpoints.
const CHECKPOINT_PAUSE: Duration = Duration::from_millis(5);
/// Rows collected for a checkpoint at most, so that memory stays bounded between two.
const CHECKPOINT_ROWS: usize = 2_000_000;
/// Stored entries that are loaded in one go while there is nothing else to do.
const LOAD_ENTRIES: usize = 4096;

/// What a pipeline may be told.
pub enum Command {
    /// Take no more input; answers where it stands.
    Hold(Sender<Held>),
    /// Go on after a hold.
    Release,
    /// Read to exactly these targets, commit, answer with the last epoch, and hold.
    RunTo(Targets, Sender<Epoch>),
    /// Give everything away and end. Only while held at a committed epoch.
    HandOver(Sender<HandedOver>),
    /// Take in what another pipeline gave, commit, answer, and go on.
    Adopt(Box<HandedOver>, Sender<()>),
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
    /// The DML commit that it has taken in, if it reads tables.
    pub dml: Option<DmlCommit>,
    /// Views of other pipelines that it follows, and the epochs it has taken in.
    pub changelogs: BTreeMap<RelationId, Epoch>,
}

/// Where a pipeline is to read to.
#[derive(Debug, Clone, Default)]
pub struct Targets {
    /// Positions by source; sources not named are not read.
    pub positions: BTreeMap<RelationId, Positions>,
    /// DML commit.
    pub dml: Option<DmlCommit>,
    /// Changelogs of these views up to these epochs; others are not read.
    pub changelogs: BTreeMap<RelationId, Epoch>,
}

/// A pipeline's content on its way into another.
pub struct HandedOver {
    id: PipelineId,
    views: Vec<ViewParts>,
    sources: BTreeMap<RelationId, SourceProgress>,
    follows: BTreeMap<RelationId, Follow>,
    tables: BTreeMap<RelationId, StoredRelation>,
    dml: DmlCommit,
    right: BTreeMap<RelationId, Epoch>,
}

/// A view of another pipeline, read by its changelog.
#[derive(Clone)]
struct Follow {
    relation: StoredRelation,
    /// The epoch up to which its changes were taken in, and what held at that epoch.
    taken: Epoch,
    dml: DmlCommit,
    /// There was more than what was taken.
    behind: bool,
    watermark: Option<Watermark>,
    /// Nothing has come of all that its event time hangs on.
    idle: bool,
    ended: bool,
    /// The view's pipeline is one that this one is to be attached to.
    to_meet: bool,
}

/// What became of an epoch that was handed to the committer.
type Outcome = (Epoch, Result<(), Error>);

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
    /// Which relations wait for others.
    precedence: Precedence,
    tables: BTreeMap<RelationId, StoredRelation>,
    follows: BTreeMap<RelationId, Follow>,
    /// Tables and views of other pipelines that are yet to be read from a snapshot.
    unopened: BTreeSet<RelationId>,
    /// Where it stands in the DML log, if it reads tables.
    dml: DmlCommit,
    /// Snapshots that are being read.
    loading: Vec<(RelationId, Batches)>,
    mode: Mode,
    started: bool,
    /// It has yet to read to the end of what was there when it began.
    catching_up: bool,
    /// The last DML commit when it began.
    began_dml: DmlCommit,
    /// Something moved since the last checkpoint.
    dirty: bool,
    last_epoch: Epoch,
    /// The last part of a first epoch.
    last_part: Option<Epoch>,
    /// The last right epoch of each view that had one.
    right: BTreeMap<RelationId, Epoch>,
    histories: history::Histories,
    last_record: Option<PipelineRecord>,
    last_checkpoint: Instant,
    /// Of the next checkpoint.
    size: Size,
    committing: Option<Epoch>,
    outcomes: (Sender<Outcome>, Receiver<Outcome>),
    /// Written with the next checkpoint.
    parked: Vec<PipelineRecord>,
    absorbed: Vec<PipelineId>,
    skipped: PassedRows,
    /// All stored state is in memory, as far as there is room.
    stored_all: bool,
    last_progress_us: i64,
    /// Something is to be told, and since when nothing was.
    untold: bool,
    last_status: Instant,
    /// What was last published that no row tells.
    published: telling::Told,
}

impl Runtime {
    /// Runs a pipeline until it ends. Called on its own thread.
    pub fn run(shared: Arc<Shared>, start: Start) -> Exit {
        let outcome = Runtime::new(shared, start).and_then(|mut runtime| runtime.serve());
        match outcome {
            Ok(()) => Exit::Done,
            Err(error) => Exit::Failed(error),
        }
    }

    fn new(shared: Arc<Shared>, start: Start) -> Result<Runtime> {
        let options = &shared.options;
        let mut dataflow = Dataflow::new(options.tasks, start.home.clone(), options.entry_budget);
        if let Some(record) = &start.record {
            dataflow.restore_watermarks(record::watermarks(record));
            dataflow.restore_last_inputs(record::last_inputs(record));
        }
        for view in &start.views {
            dataflow.add(view.clone())?;
        }
        let record = start.record.clone();
        let mut runtime = Runtime {
            dataflow,
            sources: BTreeMap::new(),
            precedence: Precedence::new(),
            tables: BTreeMap::new(),
            follows: BTreeMap::new(),
            unopened: BTreeSet::new(),
            dml: record.as_ref().map_or(NO_TABLES, record::dml_read),
            loading: Vec::new(),
            mode: Mode::Running,
            started: false,
            catching_up: true,
            began_dml: shared.publication.dml(),
            dirty: false,
            last_epoch: record.as_ref().map_or(Epoch::ZERO, |record| record.epoch),
            last_part: None,
            right: record.as_ref().map(record::rights).unwrap_or_default(),
            histories: BTreeMap::new(),
            last_record: record,
            last_checkpoint: Instant::now(),
            size: Size::new(),
            committing: None,
            outcomes: unbounded(),
            parked: Vec::new(),
            absorbed: Vec::new(),
            skipped: PassedRows::default(),
            stored_all: false,
            last_progress_us: shared.options.clock.now_us(),
            untold: true,
            last_status: Instant::now(),
            published: telling::Told::default(),
            shared,
            start,
        };
        runtime.open_inputs()?;
        runtime.plan()?;
        if runtime.start.record.is_some() {
            // Who sees a view again sees how far its sources are read.
            runtime.tell_status();
            runtime.publish_present();
        }
        Ok(runtime)
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
            let views = self.dataflow.views().keys().copied();
            self.shared.publication.logged(views, self.logged_from());
            if self.is_abandoned() {
                return self.stop(&bounded(1).0);
            }
            self.checkpoint_if_due(!worked)?;
            self.answer_run_to()?;
            self.tell(!worked);
            if !worked {
                self.rest()?;
            }
        }
    }

    /// A push query whose client has gone, or reads too slowly.
    fn is_abandoned(&self) -> bool {
        let publication = &self.shared.publication;
        let mut views = self.dataflow.views().keys();
        !self.start.durable && !views.any(|view| publication.is_followed(*view))
    }

    /// Waits for the bell, or for the next timer; loads stored state meanwhile.
    fn rest(&mut self) -> Result<()> {
        if !self.stored_all {
            self.stored_all = self.dataflow.complete(LOAD_ENTRIES)?;
            if !self.stored_all {
                return Ok(());
            }
        }
        let now = self.shared.options.clock.instant();
        let timer = self.sources.values().filter_map(SourceInput::next_timer).min();
        let mut nap = timer
            .map_or(NAP, |at| at.saturating_duration_since(now))
            .clamp(Duration::from_millis(1), NAP);
        if self.dirty && self.committing.is_none() {
            nap = nap.min(CHECKPOINT_PAUSE);
        }
        if self.untold {
            nap = nap.min(telling::OFTEN);
        }
        if let Some(due_us) = self.dataflow.due_us() {
            let left_us = due_us.saturating_sub(self.clock_us()).max(1000);
            nap = nap.min(Duration::from_micros(left_us as u64));
        }
        let _ = self.start.ear.recv_timeout(nap);
        Ok(())
    }

    /// One step, if there is anything to do.
    fn step(&mut self) -> Result<bool> {
        if !self.open_from_snapshot()? {
            return Ok(false);
        }
        if !self.started {
            // Without rows: operators over committed state must see the committed watermark before
            // any row, so that what was closed stays closed.
            self.run_step(HashMap::new(), BTreeMap::new())?;
            self.dirty = self.last_record.is_none() || self.dataflow.pending_rows() > 0;
            return Ok(true);
        }
        if self.is_full() {
            // The disk is slower than the input.
            self.wait_committed()?;
        }
        if let Some(inputs) = self.load()? {
            self.run_step(inputs, BTreeMap::new())?;
            return Ok(true);
        }
        if matches!(self.mode, Mode::Held) {
            return Ok(false);
        }
        let mut inputs: HashMap<RelationId, RelationInput> = HashMap::new();
        let mut failed = BTreeMap::new();
        // What is still being loaded can't be changed yet.
        let mut any = self.loading.is_empty() && self.take_logs(&mut inputs)?;
        any |= self.take_sources(&mut inputs, &mut failed);
        let due_us = self.dataflow.due_us().filter(|_| matches!(self.mode, Mode::Running));
        any |= due_us.is_some_and(|due_us| due_us <= self.clock_us());
        if any {
            self.run_step(inputs, failed)?;
        }
        Ok(any)
    }

    /// Microseconds since the epoch.
    fn clock_us(&self) -> i64 {
        self.shared.options.clock.now_us()
    }

    /// Whether the next checkpoint is as large as one may get.
    fn is_full(&self) -> bool {
        self.size.is_full() || self.dataflow.pending_rows() >= CHECKPOINT_ROWS
    }

    /// Moves inputs through the dataflow. `failed` are views whose input failed already.
    fn run_step(
        &mut self,
        inputs: HashMap<RelationId, RelationInput>,
        failed: BTreeMap<RelationId, Option<Error>>,
    ) -> Result<()> {
        self.started = true;
        self.dirty = true;
        self.untold = true;
        self.last_progress_us = self.clock_us();
        self.size.take(inputs.values().map(RelationInput::rows).sum());
        let moment = Moment {
            now_us: self.last_progress_us,
            seed: clock::seed(),
        };
        for (relation, source) in &self.sources {
            self.dataflow.set_idle(*relation, source.progress.is_idle());
        }
        for (relation, follow) in &self.follows {
            self.dataflow.set_idle(*relation, follow.idle);
        }
        let failed = self.dataflow.step(moment, inputs, failed);
        if failed.is_empty() {
            Ok(())
        } else {
            self.detach_failed(failed)
        }
    }
}
