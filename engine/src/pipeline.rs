//! The engine: pipelines, their epochs, and what may be asked of them.
//!
//! A *pipeline* is a set of views (and sinks) that share their sources' readers, their epochs and
//! one commit. Each pipeline has one thread that takes input, runs steps and makes checkpoints;
//! one committer thread per engine makes epochs durable, in order, and then publishes them. Views
//! come and go between epochs: a new view starts as a pipeline of its own, catches up, and is
//! *attached* to the pipelines that it shares sources or views with; a view that fails or is
//! paused is *detached*.
//!
//! - [`lifecycle`]: views and sinks that come, pause and go; [`standing`]: how each stands
//! - [`runtime`]: a pipeline's thread; [`dataflow`]: its graphs, and the step; [`source`],
//!   [`reader`], [`decode`], [`inputs`]: what it reads, [`precedence`]: and what first; [`output`]: what
//!   it leaves
//! - [`stepped`]: a pipeline that its holder steps by hand, for tests
//! - [`committer`], [`publication`], [`record`]: epochs made durable, and shown
//! - [`supervisor`], [`attach`]: pipelines that become one; [`shared`]: what all threads share
//! - [`logs`], [`backlog`], [`resumable`]: changelogs kept short; [`size`]: commits kept small
//! - [`status`], [`report`]: what an engine says of itself; [`clock`]: its time
//! - [`snapshot`], [`subscription`], [`delivery`], [`tables`], [`scan`]: who reads and writes;
//!   [`errors`]: what was passed over

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use parking_lot::Mutex;
use weir_state::pipelines::PipelineRecord;
use weir_state::{DmlCommit, Epoch, Instance, MemoryStore, PipelineId, RelationId, Store};

use crate::relation::{SourceSpec, Storage, ViewSpec};
use crate::{Error, Result};

mod attach;
mod backlog;
mod clock;
mod committer;
mod dataflow;
mod decode;
mod delivery;
mod errors;
mod event_time;
mod inputs;
mod lifecycle;
mod logs;
mod output;
mod precedence;
mod publication;
mod reader;
mod record;
mod report;
mod resumable;
mod runtime;
mod scan;
mod shared;
mod size;
mod snapshot;
mod source;
mod standing;
mod status;
mod stepped;
mod store;
mod subscription;
mod supervisor;
mod tables;

pub use clock::Clock;
pub use delivery::{SinkRun, SinkStatus};
pub use errors::errors_relation;
pub use output::moved_rows;
pub use record::{dml_read, due_us};
pub use scan::PassedOver;
pub use snapshot::{Batches, Pending, Snapshot};
pub use status::{LagRow, OperatorRow, PipelineRow, ViewState};
pub use stepped::{Known, Stepped};
pub use subscription::{Delivery, Subscription};
pub use tables::TableWrite;

use delivery::DeliveryHandle;
use publication::Publication;
use reader::Bell;
use runtime::Command;
use shared::Shared;

/// How an engine runs.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Tasks per stage of each pipeline, at least 1. May change at restart.
    pub tasks: usize,
    /// Longest time between two checkpoints under load. A pipeline that has caught up with its
    /// input checkpoints at once.
    pub checkpoint_interval: Duration,
    /// Rows that one step takes from one source at most (but one read in any case).
    pub step_rows: usize,
    /// Entries that each state table of a task may keep in memory; `None`: no bound.
    pub entry_budget: Option<usize>,
    /// Bytes of changes that may wait for a client that follows a view or a query. One that is
    /// further behind is told so, and its subscription ends.
    pub changelog_limit: u64,
    /// What a new view begins with is written in parts of about so many bytes while it is loaded.
    pub load_bytes: usize,
    /// What `now()` is.
    pub clock: Clock,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions {
            tasks: 1,
            checkpoint_interval: Duration::from_millis(500),
            step_rows: 50_000,
            entry_budget: None,
            changelog_limit: 256 << 20,
            load_bytes: size::FULL_BYTES,
            clock: Clock::default(),
        }
    }
}

/// Push queries are no relations of the catalog; their ids come from here on, and mean nothing
/// after a restart.
const FIRST_QUERY: u32 = 1 << 31;

static NEXT_QUERY: AtomicU32 = AtomicU32::new(FIRST_QUERY);

/// Runs pipelines over one data directory.
pub struct Engine {
    shared: Arc<Shared>,
    deliveries: Mutex<HashMap<RelationId, DeliveryHandle>>,
    sinks: Mutex<HashMap<RelationId, SinkRun>>,
    committer: Mutex<Option<JoinHandle<()>>>,
    /// What the supervisor hears, until it is started.
    supervise: Mutex<Option<Receiver<()>>>,
}

impl Engine {
    /// An engine without relations. [`Engine::restore`] starts what the catalog knows, be it
    /// nothing, and must be called once.
    pub fn open(instance: Arc<Instance>, options: EngineOptions) -> Result<Arc<Engine>> {
        let (committer, jobs) = bounded(64);
        let sinks = committer::VolatileSinks::default();
        let publication = Arc::new(Publication::new(options.changelog_limit));
        publication.publish_dml(weir_state::dml::last(instance.store().as_ref())?);
        let (supervisor, ear) = Bell::new();
        let shared = Shared::new(
            instance,
            options,
            publication.clone(),
            committer,
            supervisor,
            sinks.clone(),
        )?;
        let commit = spawn("committer", move || committer::run(&jobs, &publication, &sinks))?;
        Ok(Arc::new(Engine {
            shared: Arc::new(shared),
            deliveries: Mutex::default(),
            sinks: Mutex::default(),
            committer: Mutex::new(Some(commit)),
            supervise: Mutex::new(Some(ear)),
        }))
    }

    /// Takes hold of the tables for one DML statement or transaction.
    pub fn begin_write(&self) -> TableWrite<'_> {
        TableWrite {
            _lock: self.shared.dml_lock.lock(),
            store: self.shared.store.clone(),
            tables: self.shared.relations.read().tables.clone(),
            shared: &self.shared,
        }
    }

    /// What its clock says: microseconds since 1970.
    pub fn now_us(&self) -> i64 {
        self.shared.options.clock.now_us()
    }

    /// What is committed now.
    pub fn snapshot(&self) -> Result<Snapshot> {
        Snapshot::new(self.shared.store.snapshot())
    }

    /// Reads a source from its start to the end of now, without a pipeline. Bad records that are passed
    /// over are counted while it is read.
    pub fn read_source(
        &self,
        source: RelationId,
        columns: &[usize],
        passed_over: Arc<Mutex<PassedOver>>,
    ) -> Result<Batches> {
        let spec = self
            .shared
            .source(source)
            .ok_or_else(|| Error::internal("a read of an unknown source"))?;
        scan::source(&spec, columns, passed_over)
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
        let ready = |publication: &Publication| {
            let host = publication.host(view)?;
            (host.answers() && host.dml >= commit).then_some(())
        };
        self.shared.publication.wait(Instant::now() + patience, ready).is_some()
    }

    /// The views that are attached now, and the DML commit up to which tables are in each.
    pub fn attached(&self) -> BTreeMap<RelationId, DmlCommit> {
        self.shared.publication.attached()
    }

    /// The DML commit up to which tables are in a view as its pipeline's record has it. That may be
    /// later than what is stored with the epoch: commits that change nothing in the pipeline are no
    /// reason for another.
    pub fn dml_in(&self, view: RelationId, record: &PipelineRecord) -> DmlCommit {
        match self.shared.publication.host(view) {
            Some(host) if host.epoch == record.epoch => host.dml.max(record.dml),
            _ => record.dml,
        }
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
        let begin = Some(Epoch::ZERO);
        self.shared.publication.follow(id, &follower, begin, None);
        self.shared.publication.has_read(id, &follower, Epoch::ZERO);
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

    /// Has every pipeline look whether there is something to do, as a fixed clock that was set needs.
    pub fn wake(&self) {
        self.shared.ring_all();
    }

    /// An id for a push query, for planning it.
    pub fn next_query() -> RelationId {
        RelationId(NEXT_QUERY.fetch_add(1, Ordering::Relaxed))
    }

    /// The store, for the catalog.
    pub fn store(&self) -> Arc<dyn Store> {
        self.shared.store.clone()
    }

    /// The options it runs with.
    pub fn options(&self) -> &EngineOptions {
        &self.shared.options
    }

    /// Commits and stops everything. The engine is of no use after it.
    pub fn shutdown(&self) {
        self.stop();
        let _ = self.shared.store.flush();
        self.shared.store.close();
    }

    /// Stops everything as a crash of the process would, but for the threads' own ends: from now on
    /// nothing more is committed.
    pub fn crash(&self) {
        self.shared.closer.close();
        self.stop();
    }

    fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.wake_all();
        let deliveries: Vec<DeliveryHandle> = self.deliveries.lock().drain().map(|(_, d)| d).collect();
        deliveries.into_iter().for_each(DeliveryHandle::stop);
        let pipelines: Vec<_> = self.shared.pipelines.read().values().cloned().collect();
        for pipeline in pipelines {
            let (done, _) = bounded(1);
            pipeline.send(Command::Stop(done));
        }
        let threads = std::mem::take(&mut *self.shared.threads.lock());
        for thread in threads {
            let _ = thread.join();
        }
        // It ends when nobody can send to it any more.
        drop(self.shared.committer.lock().take());
        if let Some(committer) = self.committer.lock().take() {
            let _ = committer.join();
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name(name.to_string()).spawn(work);
    thread.map_err(Error::internal)
}

impl Drop for Engine {
    fn drop(&mut self) {
        if !self.shared.is_stopping() {
            self.shutdown();
        }
    }
}
