//! What the threads of an engine share: relations, running pipelines, and how each view stands.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, unbounded};
use parking_lot::{Mutex, RwLock};
use weir_state::pipelines::PipelineRecord;
use weir_state::{Epoch, Instance, PipelineId, PipelineIds, RelationId, Store, WriteBatch};

use super::EngineOptions;
use super::committer::{CommitJob, VolatileSinks};
use super::dataflow::{NodeCounters, NodeRef};
use super::publication::Publication;
use super::reader::Bell;
use super::runtime::{Command, Exit, Runtime, Start};
use super::snapshot::Snapshot;
use super::source::SplitState;
use super::status::ViewState;
use crate::connector::{Positions, SplitId};
use crate::operator::OperatorStats;
use crate::relation::{SourceSpec, StoredRelation, TableSpec, ViewSpec};
use crate::{Error, Result};

/// How long a failed view waits before it is tried again: first and longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// The same failure at the same position this often waits for RESUME.
const SAME_FAILURES: u32 = 3;

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
    /// It agrees with all that it shares inputs with.
    pub attached: bool,
    /// Snapshots are still being read, or no step has run.
    pub loading: bool,
    /// All its sources have told their splits.
    pub opened: bool,
    pub views: BTreeSet<RelationId>,
    pub positions: BTreeMap<RelationId, Positions>,
    pub last_progress_us: i64,
    pub trouble: Option<String>,
    pub watermarks: HashMap<RelationId, Option<i64>>,
    pub operators: Vec<(NodeRef, &'static str, NodeCounters, OperatorStats)>,
    pub sources: BTreeMap<RelationId, SourceStatus>,
}

/// A source in a pipeline's status.
pub struct SourceStatus {
    pub name: String,
    pub splits: BTreeMap<SplitId, SplitState>,
    pub committed: Positions,
    pub ends: Positions,
    pub rows: u64,
    pub skipped: u64,
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
}

/// A registered view.
pub struct ViewEntry {
    pub spec: ViewSpec,
    pub standing: Standing,
    failures: Failures,
}

/// Where a view is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    Running(PipelineId),
    Paused,
    Failed { cause: String, retry_at: Option<Instant> },
    Waiting,
}

#[derive(Default)]
struct Failures {
    same: u32,
    last: Option<(String, String)>,
}

/// Views that stopped together and will start together.
pub struct Parked {
    pub views: BTreeSet<RelationId>,
    /// The record under which they stopped; `None` if they had no epoch yet.
    pub record: Option<PipelineRecord>,
}

#[derive(Default)]
pub struct Relations {
    pub sources: HashMap<RelationId, Arc<SourceSpec>>,
    pub tables: HashMap<RelationId, Arc<TableSpec>>,
    pub views: HashMap<RelationId, ViewEntry>,
    pub parked: Vec<Parked>,
}

/// What the threads of an engine share.
pub struct Shared {
    pub instance: Arc<Instance>,
    pub options: EngineOptions,
    pub publication: Publication,
    pub committer: Sender<CommitJob>,
    pub sinks: VolatileSinks,
    pub relations: RwLock<Relations>,
    pub pipelines: RwLock<BTreeMap<PipelineId, PipelineHandle>>,
    pub dml_lock: Mutex<()>,
    pub stopping: AtomicBool,
    ids: Mutex<PipelineIds>,
}

impl Shared {
    pub fn new(
        instance: Arc<Instance>,
        options: EngineOptions,
        committer: Sender<CommitJob>,
        sinks: VolatileSinks,
    ) -> Result<Shared> {
        let ids = PipelineIds::load(instance.store().as_ref())?;
        Ok(Shared {
            instance,
            options,
            publication: Publication::default(),
            committer,
            sinks,
            relations: RwLock::default(),
            pipelines: RwLock::default(),
            dml_lock: Mutex::default(),
            stopping: AtomicBool::new(false),
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

    /// A pipeline id that was never used before.
    pub fn allocate_pipeline(&self) -> Result<PipelineId> {
        let mut batch = WriteBatch::new();
        let id = self.ids.lock().allocate(&mut batch)?;
        self.instance.store().commit(batch)?;
        Ok(id)
    }

    /// Wakes all pipelines.
    pub fn ring_all(&self) {
        self.pipelines.read().values().for_each(|pipeline| pipeline.bell.ring());
    }

    /// Starts a pipeline on a thread of its own.
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
        let status = Arc::new(Mutex::new(PipelineStatus {
            loading: true,
            attached: !durable,
            ..PipelineStatus::default()
        }));
        let handle = PipelineHandle {
            commands,
            bell: bell.clone(),
            status: status.clone(),
            name: views.iter().find_map(|view| view.options.pipeline.clone()),
            durable,
        };
        status.lock().views = views.iter().map(|view| view.relation).collect();
        if durable {
            let alone = !self
                .pipelines
                .read()
                .values()
                .any(|other| other.durable && self.related(&handle, other));
            status.lock().attached = alone;
        }
        {
            let mut relations = self.relations.write();
            for view in &views {
                if let Some(entry) = relations.views.get_mut(&view.relation) {
                    entry.standing = Standing::Running(id);
                }
            }
        }
        self.pipelines.write().insert(id, handle);
        let home = home.unwrap_or_else(|| self.instance.store().clone());
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
        std::thread::Builder::new()
            .name(format!("pipeline-{id}"))
            .spawn(move || {
                let ids: Vec<RelationId> = start.views.iter().map(|view| view.relation).collect();
                let exit =
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| Runtime::run(shared.clone(), start)));
                match exit {
                    Ok(Exit::Done) => {}
                    Ok(Exit::Failed(error)) => shared.tell_down(id, &ids, error),
                    Err(_) => shared.tell_down(id, &ids, Error::internal("the pipeline panicked")),
                }
                shared.pipelines.write().remove(&id);
                shared.publication.nudge();
            })
            .map_err(Error::internal)?;
        Ok(())
    }

    /// Two pipelines that must become one: they read the same source, or one reads the other's
    /// views, and neither asks for a pipeline of its own.
    pub fn related(&self, a: &PipelineHandle, b: &PipelineHandle) -> bool {
        if a.name != b.name {
            return false;
        }
        // One lock at a time, and a read that may stand inside another.
        let a = a.status.lock().views.clone();
        let b = b.status.lock().views.clone();
        let relations = self.relations.read_recursive();
        let reads = |views: &BTreeSet<RelationId>| -> BTreeSet<RelationId> {
            let graphs = views
                .iter()
                .filter_map(|view| relations.views.get(view))
                .map(|entry| &entry.spec.graph);
            graphs.flat_map(|graph| graph.relations()).collect()
        };
        let (a_reads, b_reads) = (reads(&a), reads(&b));
        let share = a_reads
            .intersection(&b_reads)
            .any(|id| relations.sources.contains_key(id));
        share || a_reads.intersection(&b).next().is_some() || b_reads.intersection(&a).next().is_some()
    }

    /// Views failed in a running pipeline, which goes on without them.
    pub fn tell_failed(
        &self,
        causes: BTreeMap<RelationId, Option<Error>>,
        parked: Option<PipelineRecord>,
        position: String,
    ) {
        let mut relations = self.relations.write();
        let views: BTreeSet<RelationId> = causes.keys().copied().collect();
        for (view, cause) in causes {
            let Some(entry) = relations.views.get_mut(&view) else {
                continue;
            };
            entry.standing = match cause {
                Some(error) => {
                    tracing::error!(view = entry.spec.name, "{error}");
                    entry.failures.next(error.to_string(), position.clone())
                }
                None => Standing::Waiting,
            };
        }
        relations.park(views, parked);
        drop(relations);
        self.publication.nudge();
    }

    /// Views were paused or dropped.
    pub fn tell_detached(&self, views: &BTreeSet<RelationId>, parked: Option<PipelineRecord>) {
        let mut relations = self.relations.write();
        for view in views {
            if let Some(entry) = relations.views.get_mut(view)
                && matches!(entry.standing, Standing::Running(_))
            {
                entry.standing = Standing::Waiting;
            }
        }
        relations.park(views.clone(), parked);
    }

    /// A whole pipeline is down, at its last committed epoch.
    fn tell_down(&self, id: PipelineId, started_with: &[RelationId], error: Error) {
        tracing::error!(pipeline = %id, "{error}");
        self.publication.withdraw(id);
        let record = weir_state::pipelines::load(self.instance.store().as_ref())
            .ok()
            .and_then(|records| records.into_iter().find(|record| record.id == id));
        let position = record
            .as_ref()
            .map(|r| serde_json::to_string(&r.positions).unwrap_or_default());
        let mut relations = self.relations.write();
        let mut views: BTreeSet<RelationId> = started_with.iter().copied().collect();
        views.extend(record.iter().flat_map(|record| record.views.iter().copied()));
        views.retain(|view| {
            relations
                .views
                .get(view)
                .is_some_and(|entry| entry.standing == Standing::Running(id))
        });
        for view in &views {
            if let Some(entry) = relations.views.get_mut(view) {
                entry.standing = entry
                    .failures
                    .next(error.to_string(), position.clone().unwrap_or_default());
            }
        }
        relations.park(views, record);
    }

    /// Registers a follower of a view and gives the view's rows as of an epoch after which its
    /// changelog is complete.
    pub fn follow_from_snapshot(&self, view: RelationId, follower: &str) -> Result<(Snapshot, Epoch)> {
        self.publication.follow(view, follower, None);
        let deadline = Instant::now() + Duration::from_secs(30);
        let begun = self.publication.wait(deadline, |publication| {
            self.ring_all();
            let after = publication.logged_after(view)?;
            let (_, host) = publication.host(view)?;
            (host.epoch >= after).then_some(())
        });
        if begun.is_none() {
            self.publication.unfollow(view, follower);
            let name = self.view(view).map(|view| view.name).unwrap_or_default();
            return Err(Error::Connector {
                place: format!("view '{name}'"),
                cause: "it is not running, so its changes can't be followed; see SHOW PIPELINES".to_string(),
            });
        }
        let snapshot = Snapshot::new(self.instance.store().snapshot())?;
        let epoch = snapshot.pipeline_of(view)?.map_or(Epoch::ZERO, |record| record.epoch);
        self.publication.advance(view, follower, epoch);
        Ok((snapshot, epoch))
    }

    /// How a view stands, for users.
    pub fn view_state(&self, view: RelationId) -> Option<ViewState> {
        let relations = self.relations.read();
        let entry = relations.views.get(&view)?;
        Some(match &entry.standing {
            Standing::Paused => ViewState::Paused,
            Standing::Failed { cause, retry_at } => ViewState::Failed {
                cause: cause.clone(),
                retry_in_ms: retry_at.map(|at| at.saturating_duration_since(Instant::now()).as_millis() as u64),
            },
            Standing::Waiting => {
                let stopped = |id: &RelationId| {
                    relations
                        .views
                        .get(id)
                        .filter(|e| !matches!(e.standing, Standing::Running(_)))
                };
                let on = entry
                    .spec
                    .graph
                    .relations()
                    .iter()
                    .find_map(|id| Some(stopped(id)?.spec.name.clone()));
                ViewState::Waiting {
                    on: on.unwrap_or_default(),
                }
            }
            Standing::Running(id) => {
                let pipelines = self.pipelines.read();
                match pipelines.get(id).map(|handle| handle.status.lock()) {
                    Some(status) if status.attached && !status.loading => ViewState::Running,
                    Some(status) if status.loading => ViewState::Attaching {
                        progress: "loading".to_string(),
                    },
                    _ => ViewState::Attaching {
                        progress: self.progress(*id, &pipelines),
                    },
                }
            }
        })
    }

    fn progress(&self, id: PipelineId, pipelines: &BTreeMap<PipelineId, PipelineHandle>) -> String {
        let Some(own) = pipelines.get(&id) else {
            return "starting".to_string();
        };
        let hosts = pipelines
            .iter()
            .filter(|(other, handle)| **other != id && handle.durable);
        let behind: i64 = hosts
            .filter(|(_, handle)| self.related(own, handle))
            .map(|(_, host)| lag(host, own))
            .sum();
        format!("{behind} records behind")
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

/// Records of shared sources by which `newcomer` is behind `host`.
pub fn lag(host: &PipelineHandle, newcomer: &PipelineHandle) -> i64 {
    let host = host.status.lock().positions.clone();
    let newcomer = newcomer.status.lock().positions.clone();
    let mut lag = 0;
    for (source, positions) in &host {
        let Some(own) = newcomer.get(source) else {
            continue;
        };
        for (split, position) in positions {
            lag += (position - own.get(split).copied().unwrap_or(0)).max(0);
        }
    }
    lag
}

impl Failures {
    /// Counts a failure and says when to try again.
    fn next(&mut self, cause: String, position: String) -> Standing {
        let same = self
            .last
            .as_ref()
            .is_some_and(|last| last.0 == cause && last.1 == position);
        self.same = if same { self.same + 1 } else { 1 };
        self.last = Some((cause.clone(), position));
        let pause = RETRY.0 * 2u32.saturating_pow(self.same.saturating_sub(1).min(6));
        let retry_at = (self.same < SAME_FAILURES).then(|| Instant::now() + pause.min(RETRY.1));
        Standing::Failed { cause, retry_at }
    }
}

impl Relations {
    /// Registers a view that isn't running yet.
    pub fn add_view(&mut self, spec: ViewSpec) {
        let entry = ViewEntry {
            standing: Standing::Waiting,
            failures: Failures::default(),
            spec,
        };
        self.views.insert(entry.spec.relation, entry);
    }

    /// Notes views that stopped together.
    pub fn park(&mut self, views: BTreeSet<RelationId>, record: Option<PipelineRecord>) {
        for parked in &mut self.parked {
            parked.views.retain(|view| !views.contains(view));
        }
        self.parked.retain(|parked| !parked.views.is_empty());
        if !views.is_empty() {
            self.parked.push(Parked { views, record });
        }
    }

    /// Forgets past failures of a view.
    pub fn forgive(&mut self, view: RelationId) {
        if let Some(entry) = self.views.get_mut(&view) {
            entry.failures = Failures::default();
        }
    }
}
