//! What the threads of an engine share: relations, running pipelines, the publication, the store.
//!
//! Locks are taken one at a time, or in this order: relations, pipelines, a pipeline's status, the
//! publication.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded, unbounded};
use parking_lot::{Mutex, RwLock};
use weir_state::pipelines::{self, PipelineRecord};
use weir_state::{DmlCommit, Epoch, Instance, PipelineId, PipelineIds, RelationId, Store, WriteBatch, unborn};

use super::EngineOptions;
use super::committer::{CommitJob, VolatileSinks};
use super::dataflow::{NodeCounters, NodeRef};
use super::publication::Publication;
use super::reader::Bell;
use super::record;
use super::resumable::Away;
use super::runtime::{Command, Exit, Runtime, Start};
use super::snapshot::Snapshot;
use super::source::SplitState;
use super::standing::{Relations, Standing};
use super::status::ViewState;
use super::store::{self, Closer};
use crate::connector::{Positions, SplitId};
use crate::operator::OperatorStats;
use crate::relation::{SourceSpec, StoredRelation, TableSpec, ViewSpec};
use crate::{Error, Result};

impl ViewSpec {
    /// How its rows are read.
    pub fn stored(&self) -> StoredRelation {
        let schema = self.graph.output().schema.clone();
        StoredRelation {
            relation: self.relation,
            schema,
            storage: self.storage.clone(),
        }
    }
}

/// What a pipeline last said of itself.
#[derive(Default)]
pub struct PipelineStatus {
    /// Snapshots are still being read, or no step has run.
    pub loading: bool,
    pub views: BTreeSet<RelationId>,
    pub positions: BTreeMap<RelationId, Positions>,
    pub last_progress_us: i64,
    pub trouble: Option<String>,
    pub watermarks: HashMap<RelationId, Option<i64>>,
    /// What holds back each view's event time.
    pub waits_for: HashMap<RelationId, Vec<RelationId>>,
    pub operators: Vec<(NodeRef, &'static str, NodeCounters, OperatorStats)>,
    pub sources: BTreeMap<RelationId, SourceStatus>,
}

/// A source in a pipeline's status.
pub struct SourceStatus {
    pub name: String,
    pub splits: BTreeMap<SplitId, SplitState>,
    pub ends: Positions,
    /// What positions count.
    pub unit: &'static str,
    pub trouble: Option<String>,
}

/// A running pipeline, seen from outside.
#[derive(Clone)]
pub struct PipelineHandle {
    pub commands: Sender<Command>,
    pub bell: Bell,
    pub status: Arc<Mutex<PipelineStatus>>,
    /// `pipeline = '…'` of its views.
    pub name: Option<String>,
    /// Push queries never attach.
    pub durable: bool,
}

impl PipelineHandle {
    /// Sends a command and rings.
    pub fn send(&self, command: Command) {
        let _ = self.commands.send(command);
        self.bell.ring();
    }

    /// Whether its first step and all snapshots are in.
    pub fn has_loaded(&self) -> bool {
        !self.status.lock().loading
    }

    /// Whether one of these sources can't be read at present.
    pub fn lacks(&self, sources: &BTreeSet<RelationId>) -> bool {
        let status = self.status.lock();
        let mut sources = sources.iter().filter_map(|source| status.sources.get(source));
        sources.any(|source| source.trouble.is_some())
    }
}

/// What the threads of an engine share.
pub struct Shared {
    pub store: Arc<dyn Store>,
    pub closer: Closer,
    pub options: EngineOptions,
    pub publication: Arc<Publication>,
    /// Rung when the supervisor may have something to do.
    pub supervisor: Bell,
    pub sinks: VolatileSinks,
    pub relations: RwLock<Relations>,
    pub pipelines: RwLock<BTreeMap<PipelineId, PipelineHandle>>,
    pub dml_lock: Mutex<()>,
    /// The last DML commit of each table that was changed since the engine was opened.
    pub table_changes: Mutex<HashMap<RelationId, DmlCommit>>,
    /// Held while views move between pipelines: one cut, pause or drop at a time.
    pub moves: Mutex<()>,
    pub stopping: AtomicBool,
    pub threads: Mutex<Vec<JoinHandle<()>>>,
    pub committer: Mutex<Option<Sender<CommitJob>>>,
    pub away: Away,
    instance: Arc<Instance>,
    ids: Mutex<PipelineIds>,
}

impl Shared {
    pub fn new(
        instance: Arc<Instance>,
        options: EngineOptions,
        publication: Arc<Publication>,
        committer: Sender<CommitJob>,
        supervisor: Bell,
        sinks: VolatileSinks,
    ) -> Result<Shared> {
        let (store, closer) = store::closable(instance.store().clone());
        let ids = PipelineIds::load(store.as_ref())?;
        Ok(Shared {
            store,
            closer,
            options,
            publication,
            supervisor,
            sinks,
            relations: RwLock::default(),
            pipelines: RwLock::default(),
            dml_lock: Mutex::default(),
            table_changes: Mutex::default(),
            moves: Mutex::default(),
            stopping: AtomicBool::new(false),
            threads: Mutex::default(),
            committer: Mutex::new(Some(committer)),
            away: Away::default(),
            instance,
            ids: Mutex::new(ids),
        })
    }

    pub fn source(&self, id: RelationId) -> Option<Arc<SourceSpec>> {
        self.relations.read().sources.get(&id).cloned()
    }

    pub fn table(&self, id: RelationId) -> Option<Arc<TableSpec>> {
        self.relations.read().tables.get(&id).cloned()
    }

    pub fn view(&self, id: RelationId) -> Option<ViewSpec> {
        self.relations.read().views.get(&id).map(|entry| entry.spec.clone())
    }

    pub fn next_epoch(&self) -> Epoch {
        self.instance.next_epoch()
    }

    /// A pipeline id that was never used before.
    pub fn allocate_pipeline(&self) -> Result<PipelineId> {
        // Held until it is durable: of two numbers the lower must not be written last.
        let mut ids = self.ids.lock();
        let mut batch = WriteBatch::new();
        let id = ids.allocate(&mut batch)?;
        self.store.commit(batch)?;
        Ok(id)
    }

    pub fn commit(&self, job: CommitJob) -> Result<()> {
        let committer = self.committer.lock().clone();
        let sent = committer.is_some_and(|committer| committer.send(job).is_ok());
        if sent {
            Ok(())
        } else {
            Err(Error::State("the engine has stopped".to_string()))
        }
    }

    /// Deletes what is stored of views that have no epoch, behind whatever an earlier life of theirs has
    /// yet to commit.
    pub fn clear_unborn(&self, views: &BTreeSet<RelationId>) -> Result<()> {
        let mut batch = WriteBatch::new();
        views.iter().for_each(|view| unborn::clear(&mut batch, *view));
        let (done, outcome) = bounded(1);
        let nobody = (PipelineId(0), Epoch::ZERO);
        let job = CommitJob::unseen(self.store.clone(), batch, nobody, done, self.supervisor.clone());
        self.commit(job)?;
        outcome.recv().map_err(Error::internal)?.1
    }

    pub fn pipeline(&self, id: PipelineId) -> Option<PipelineHandle> {
        self.pipelines.read().get(&id).cloned()
    }

    /// All pipelines that keep something.
    pub fn durable_pipelines(&self) -> Vec<(PipelineId, PipelineHandle)> {
        let pipelines = self.pipelines.read();
        let durable = pipelines.iter().filter(|(_, pipeline)| pipeline.durable);
        durable.map(|(id, pipeline)| (*id, pipeline.clone())).collect()
    }

    /// Wakes all pipelines.
    pub fn ring_all(&self) {
        self.pipelines.read().values().for_each(|pipeline| pipeline.bell.ring());
    }

    /// Wakes all that wait for something, to look again.
    pub fn wake_all(&self) {
        self.supervisor.ring();
        self.publication.nudge();
    }

    /// Starts a pipeline on a thread of its own. Without a `home` it keeps its state in the store.
    pub fn start_pipeline(
        self: &Arc<Shared>,
        id: PipelineId,
        views: Vec<ViewSpec>,
        record: Option<PipelineRecord>,
        home: Option<Arc<dyn Store>>,
    ) -> Result<()> {
        let (commands, receiver) = unbounded();
        let (bell, ear) = Bell::new();
        let durable = home.is_none();
        let ids: BTreeSet<RelationId> = views.iter().map(|view| view.relation).collect();
        let status = Arc::new(Mutex::new(PipelineStatus {
            loading: true,
            views: ids.clone(),
            ..PipelineStatus::default()
        }));
        let handle = PipelineHandle {
            commands,
            bell: bell.clone(),
            status: status.clone(),
            name: views.iter().find_map(|view| view.options.pipeline.clone()),
            durable,
        };
        if record.is_none() {
            self.publication.hold_dml(id);
        }
        if !durable {
            self.publication.attach(id);
        }
        {
            let mut relations = self.relations.write();
            for view in &ids {
                if let Some(entry) = relations.views.get_mut(view) {
                    entry.standing = Standing::Running(id);
                }
            }
            relations.unpark(&ids);
        }
        self.pipelines.write().insert(id, handle);
        let home: Arc<dyn Store> = home.unwrap_or_else(|| self.store.clone());
        let start = Start {
            id,
            views,
            record,
            home,
            durable,
            commands: receiver,
            bell,
            ear,
            status,
        };
        let shared = self.clone();
        let thread = std::thread::Builder::new()
            .name(format!("pipeline-{id}"))
            .spawn(move || shared.host_pipeline(start))
            .map_err(Error::internal)?;
        let mut threads = self.threads.lock();
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
        drop(threads);
        self.wake_all();
        Ok(())
    }

    /// A pipeline's thread: runs it to its end, and tells of that.
    fn host_pipeline(self: &Arc<Shared>, start: Start) {
        let (id, durable) = (start.id, start.durable);
        let run = std::panic::AssertUnwindSafe(|| Runtime::run(self.clone(), start));
        let exit = std::panic::catch_unwind(run)
            .unwrap_or_else(|_| Exit::Failed(Error::internal("the pipeline panicked; the log says where")));
        // First gone, then told: whoever hears of it may start the same pipeline again.
        self.pipelines.write().remove(&id);
        if !durable {
            self.publication.unfollow_all(&record::follower_name(id));
        }
        if let Exit::Failed(error) = exit {
            self.tell_down(id, durable, error);
        }
        self.wake_all();
    }

    /// Two pipelines that must become one: they read the same source, or one reads the other's
    /// views, and neither asks for a pipeline of its own.
    pub fn related(&self, a: &PipelineHandle, b: &PipelineHandle) -> bool {
        if a.name != b.name {
            return false;
        }
        let a = a.status.lock().views.clone();
        let b = b.status.lock().views.clone();
        let relations = self.relations.read();
        let (a_reads, b_reads) = (relations.reads(&a), relations.reads(&b));
        let share = a_reads
            .intersection(&b_reads)
            .any(|id| relations.sources.contains_key(id));
        share || a_reads.intersection(&b).next().is_some() || b_reads.intersection(&a).next().is_some()
    }

    /// Views failed in a running pipeline, which goes on without them; `None` for those that only
    /// rest on one that failed. Its next commit stores the record under which they are parked.
    pub fn tell_failed(
        &self,
        (pipeline, durable): (PipelineId, bool),
        causes: BTreeMap<RelationId, Option<Error>>,
        parked: Option<PipelineRecord>,
        position: &str,
    ) {
        let mut relations = self.relations.write();
        let views: BTreeSet<RelationId> = causes.keys().copied().collect();
        for (view, cause) in causes {
            let Some(entry) = relations.views.get_mut(&view) else {
                continue;
            };
            match cause {
                Some(error) => {
                    tracing::error!(view = entry.spec.name, "{error}");
                    entry.fail(&error, position);
                }
                None => entry.standing = Standing::Waiting,
            }
        }
        if durable {
            relations.park(views, parked, Some(pipeline));
        }
        drop(relations);
        self.wake_all();
    }

    /// Views were paused or dropped, and the record under which they are parked is stored.
    pub fn tell_detached(&self, views: &BTreeSet<RelationId>, parked: Option<PipelineRecord>) {
        let mut relations = self.relations.write();
        for view in views {
            if let Some(entry) = relations.views.get_mut(view) {
                entry.standing = Standing::Waiting;
            }
        }
        relations.park(views.clone(), parked, None);
        drop(relations);
        self.wake_all();
    }

    /// A whole pipeline is down. Its views are parked under the records that are in the store: its
    /// own, and those of views that it took in or let go without having committed that.
    fn tell_down(&self, id: PipelineId, durable: bool, error: Error) {
        tracing::error!(pipeline = %id, "{error}");
        self.publication.withdraw(id);
        let records = pipelines::load(self.store.as_ref());
        let known = records.as_deref().unwrap_or_default();
        let own = known.iter().find(|record| record.id == id);
        let position = own.and_then(|record| serde_json::to_string(&record.positions).ok());
        let position = position.unwrap_or_default();
        let mut relations = self.relations.write();
        let mut views: BTreeSet<RelationId> = BTreeSet::new();
        for (view, entry) in &mut relations.views {
            if entry.standing == Standing::Running(id) {
                entry.fail(&error, &position);
                views.insert(*view);
            }
        }
        if !durable {
            return;
        }
        let stored = |record: &PipelineRecord| known.iter().any(|stored| stored.id == record.id);
        let unstored: Vec<BTreeSet<RelationId>> = relations
            .parked
            .iter()
            .filter(|parked| parked.stored_by == Some(id))
            .filter(|parked| !parked.record.as_ref().is_some_and(stored))
            .map(|parked| parked.views.clone())
            .collect();
        views.extend(unstored.into_iter().flatten());
        match records {
            Ok(records) => self.park_as_stored(&mut relations, id, views, records),
            Err(error) => {
                tracing::error!(pipeline = %id, "where its views stand can't be read: {error}");
                relations.park_unread(views, id);
            }
        }
    }

    /// Parks views of a pipeline that went down under the records that the store has of them. Those of which
    /// it has none have no epoch.
    fn park_as_stored(
        &self,
        relations: &mut Relations,
        down: PipelineId,
        mut views: BTreeSet<RelationId>,
        records: Vec<PipelineRecord>,
    ) {
        for record in records {
            let group: BTreeSet<RelationId> = record.views.iter().copied().filter(|v| views.remove(v)).collect();
            relations.park(group, Some(record), None);
        }
        if !views.is_empty() {
            self.publication.unfollow_all(&record::follower_name(down));
        }
        for view in views {
            relations.park(BTreeSet::from([view]), None, None);
        }
    }

    /// Asks the store again for the records of views that stopped when it could not be read. While it can't,
    /// they have failed for that.
    pub fn read_again(&self, down: PipelineId, views: &BTreeSet<RelationId>) {
        let records = pipelines::load(self.store.as_ref());
        let mut relations = self.relations.write();
        match records {
            Ok(records) => self.park_as_stored(&mut relations, down, views.clone(), records),
            Err(error) => relations.fail(views, &Error::from(error)),
        }
    }

    /// Registers a follower of a view and gives a snapshot at a right epoch of the view after which
    /// its changelog is complete. Waits for one; `leave` says when to give up.
    pub fn follow_from_snapshot(
        &self,
        view: RelationId,
        follower: &str,
        leave: impl Fn() -> bool,
    ) -> Result<(Snapshot, Epoch)> {
        self.publication.follow(view, follower, None, None);
        self.ring_all();
        let deadline = Instant::now() + Duration::from_secs(30);
        let found = self.publication.wait(deadline, |publication| {
            if leave() || self.is_stopping() {
                return Some(Err(Error::State("the engine is stopping".to_string())));
            }
            let after = publication.logged_after(view)?;
            let host = publication.host(view)?;
            if host.right < host.epoch || host.epoch < after || host.epoch == Epoch::ZERO {
                return None;
            }
            // What is in the store may be an epoch further, and that one not right.
            self.right_snapshot(view).transpose()
        });
        let outcome = found.unwrap_or_else(|| {
            let name = self.view(view).map(|view| view.name).unwrap_or_default();
            Err(Error::Connector {
                place: format!("view '{name}'"),
                cause: "it is not running, so its changes can't be followed; see SHOW PIPELINES".to_string(),
            })
        });
        match &outcome {
            Ok((_, epoch)) => self.publication.advance(view, follower, *epoch),
            Err(_) => self.publication.unfollow(view, follower),
        }
        outcome
    }

    /// Registers a follower of a view that has stopped at a right epoch, which it gives: nothing
    /// changes until the view starts again, and its changelog begins with that. `None` if the view
    /// runs, or has no such epoch.
    pub fn follow_stopped(&self, view: RelationId, follower: &str) -> Option<Epoch> {
        // Held meanwhile, so that the view doesn't start in between.
        let relations = self.relations.read();
        let parked = relations.parked.iter().find(|parked| parked.views.contains(&view))?;
        let record = parked.record.as_ref()?;
        let right = record::right(record, view) == record.epoch;
        let epoch = record.epoch;
        (right && epoch > Epoch::ZERO).then(|| {
            self.publication.follow(view, follower, Some(epoch), None);
            epoch
        })
    }

    /// A snapshot in which the view is right, with its epoch.
    fn right_snapshot(&self, view: RelationId) -> Result<Option<(Snapshot, Epoch)>> {
        let snapshot = Snapshot::new(self.store.snapshot())?;
        let record = snapshot.pipeline_of(view)?;
        let right = record.filter(|record| record::right(record, view) == record.epoch);
        Ok(right.map(|record| (snapshot, record.epoch)))
    }

    /// How a view stands, for users.
    pub fn view_state(&self, view: RelationId) -> Option<ViewState> {
        let relations = self.relations.read();
        let entry = relations.views.get(&view)?;
        let id = match &entry.standing {
            Standing::Running(id) => *id,
            Standing::Paused => return Some(ViewState::Paused),
            Standing::Failed { cause, retry_at } => {
                let left = |at: Instant| at.saturating_duration_since(Instant::now()).as_millis() as u64;
                return Some(ViewState::Failed {
                    cause: cause.clone(),
                    retry_in_ms: retry_at.map(left),
                });
            }
            Standing::Waiting => {
                let below = relations.stopped_below(view, &BTreeSet::new());
                let on = below.map(|below| below.spec.name.clone()).unwrap_or_default();
                return Some(ViewState::Waiting { on });
            }
        };
        drop(relations);
        if self.publication.host(view).is_some_and(|host| host.attached) {
            return Some(ViewState::Running);
        }
        let loading = self.pipeline(id).is_none_or(|pipeline| pipeline.status.lock().loading);
        let progress = if loading {
            "loading".to_string()
        } else {
            format!("{} records behind", self.behind(id))
        };
        Some(ViewState::Attaching { progress })
    }

    /// Records by which a pipeline is behind those that it is to be attached to.
    fn behind(&self, id: PipelineId) -> i64 {
        let Some(own) = self.pipeline(id) else {
            return 0;
        };
        let others = self.durable_pipelines();
        let hosts = others
            .iter()
            .filter(|(other, host)| *other != id && self.related(&own, host));
        hosts.map(|(_, host)| lag(host, &own).0).sum()
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

/// Records of shared sources by which `newcomer` is behind `host`, and those by which it is ahead.
pub fn lag(host: &PipelineHandle, newcomer: &PipelineHandle) -> (i64, i64) {
    let host = host.status.lock().positions.clone();
    let newcomer = newcomer.status.lock().positions.clone();
    let (mut behind, mut ahead) = (0, 0);
    for (source, positions) in &host {
        let Some(own) = newcomer.get(source) else {
            continue;
        };
        for (split, position) in positions {
            let distance = position - own.get(split).copied().unwrap_or(0);
            behind += distance.max(0);
            ahead += (-distance).max(0);
        }
    }
    (behind, ahead)
}

/// The sources that two pipelines share, if they know the same splits of each.
pub fn shared_sources(a: &PipelineHandle, b: &PipelineHandle) -> Option<BTreeSet<RelationId>> {
    let a = a.status.lock().positions.clone();
    let b = b.status.lock().positions.clone();
    let mut shared = BTreeSet::new();
    for (source, splits) in &a {
        if let Some(others) = b.get(source) {
            if !splits.keys().eq(others.keys()) {
                return None;
            }
            shared.insert(*source);
        }
    }
    Some(shared)
}
