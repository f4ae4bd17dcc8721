//! An instance: a catalog and an engine over one data directory.
//!
//! What is known of the relations is one value, [`Known`], that statements are planned under and
//! that DDL replaces as a whole. Durably it is the catalog journal; what can't be restored from it
//! is kept there, shown as FAILED, and doesn't take the rest down.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard, RwLock};
use weir_engine::pipeline::{Engine, EngineOptions, SinkRun};
use weir_engine::relation::{RelationId, ViewSpec};
use weir_sql::catalog::{Catalog, Definition, Relation};
use weir_sql::read::Memory;
use weir_sql::statement::RelationKind;
use weir_state::{DataDir, RelationIds, RocksOptions};

use crate::error::ErrorKind;
use crate::session::Session;
use crate::{Error, Result, journal, memory, stack, system};

/// How an instance runs.
#[derive(Debug, Clone, Default)]
pub struct InstanceOptions {
    /// The data directory; `None` keeps everything in memory, and nothing beyond the process.
    pub data: Option<PathBuf>,
    /// Of the engine.
    pub engine: EngineOptions,
    /// Of the store in the data directory.
    pub store: RocksOptions,
    /// Bytes that all queries may take together; `None`: a quarter of the machine's memory.
    pub query_memory: Option<u64>,
}

impl InstanceOptions {
    /// Bytes that all queries may take together.
    pub fn query_memory(&self) -> u64 {
        self.query_memory.unwrap_or_else(memory::for_queries)
    }
}

/// A catalog and an engine over one data directory.
pub struct Instance {
    durable: Arc<weir_state::Instance>,
    engine: Arc<Engine>,
    known: RwLock<Arc<Known>>,
    /// Held by whoever changes the catalog.
    ids: Mutex<RelationIds>,
    /// Nothing more will happen.
    closed: AtomicBool,
    options: InstanceOptions,
    /// What queries take their memory from.
    memory: Memory,
}

/// What is known of the relations at one time.
#[derive(Clone, Default)]
pub(crate) struct Known {
    /// Relations that work, and the system's.
    pub catalog: Catalog,
    /// Relations that could not be restored, by name.
    pub broken: BTreeMap<String, Broken>,
    /// Rises with each change.
    pub version: u64,
}

/// A relation that could not be restored.
#[derive(Clone)]
pub(crate) struct Broken {
    pub id: RelationId,
    pub name: String,
    pub kind: RelationKind,
    pub sql: String,
    pub comment: Option<String>,
    pub reads: Vec<RelationId>,
    pub cause: String,
}

impl Instance {
    /// Opens the instance in the data directory, or one in memory, restores its catalog and starts
    /// its pipelines.
    ///
    /// # Errors
    /// If another process has the directory, if it is none of Weir's, or if it can't be read.
    pub fn open(options: InstanceOptions) -> Result<Arc<Instance>> {
        let durable = match &options.data {
            Some(path) => DataDir::open(path, options.store)?,
            None => weir_state::Instance::memory(),
        };
        Instance::on(durable, options)
    }

    /// An instance over a store that is given: with the same memory store as before, a restart
    /// without a disk.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn on(durable: Arc<weir_state::Instance>, options: InstanceOptions) -> Result<Arc<Instance>> {
        let store = durable.store().clone();
        let ids = RelationIds::load(store.as_ref())?;
        // Every relation is planned anew, which goes as deep as when it was made.
        let mut known = stack::wait_for(|| journal::load(store.as_ref()))?;
        for relation in system::relations() {
            known.catalog.insert(relation);
        }
        let engine = Engine::open(durable.clone(), options.engine.clone())?;
        let memory = usize::try_from(options.query_memory()).unwrap_or(usize::MAX);
        journal::sweep(&engine, &known)?;
        let instance = Arc::new(Instance {
            durable,
            engine,
            known: RwLock::new(Arc::new(known)),
            ids: Mutex::new(ids),
            closed: AtomicBool::new(false),
            options,
            memory: Memory::limited(memory).map_err(|error| Error::new(ErrorKind::Internal, error.message))?,
        });
        instance.start()?;
        Ok(instance)
    }

    /// Tells the engine of all relations.
    fn start(&self) -> Result<()> {
        let known = self.known();
        let mut views: Vec<ViewSpec> = Vec::new();
        let mut sinks: Vec<SinkRun> = Vec::new();
        let mut paused: BTreeSet<RelationId> = BTreeSet::new();
        for relation in known.catalog.iter() {
            if relation.paused {
                paused.insert(relation.id);
            }
            match &relation.definition {
                Definition::Source(source) => self.engine.add_source(source.clone()),
                Definition::Table(table) => self.engine.add_table(table.spec.clone()),
                Definition::MaterializedView(view) => views.push(view.clone()),
                Definition::Sink(sink) => {
                    views.extend(sink.query.clone());
                    sinks.extend(sink_run(relation));
                }
                Definition::View(_) | Definition::System => {}
            }
        }
        views.sort_by_key(|view| view.relation);
        let broken = known.broken.values().map(|broken| broken.id).collect();
        Ok(self.engine.restore(views, sinks, &paused, &broken)?)
    }

    /// A new session.
    pub fn session(self: &Arc<Instance>) -> Arc<Session> {
        Session::new(self.clone())
    }

    /// The engine.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The relations as they are now. Relations that could not be restored are not among them.
    pub fn catalog(&self) -> Catalog {
        self.known().catalog.clone()
    }

    /// Names this data directory for ever: progress that a client keeps is of this id.
    pub fn id(&self) -> String {
        self.durable.id().to_string()
    }

    /// The options it was opened with.
    pub fn options(&self) -> &InstanceOptions {
        &self.options
    }

    /// What queries take their memory from.
    pub(crate) fn memory(&self) -> Memory {
        self.memory.clone()
    }

    /// Commits and stops everything. Statements fail after it.
    pub fn shutdown(&self) {
        self.closed.store(true, Ordering::Release);
        self.engine.shutdown();
    }

    /// Stops every thread as a crash would: nothing more is committed. For tests.
    pub fn crash(&self) {
        self.closed.store(true, Ordering::Release);
        self.engine.crash();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn known(&self) -> Arc<Known> {
        self.known.read().clone()
    }

    /// Takes hold of the catalog, to change it.
    pub(crate) fn hold_catalog(&self) -> MutexGuard<'_, RelationIds> {
        self.ids.lock()
    }

    /// Shows a changed catalog to everyone. Only for the holder of the catalog.
    pub(crate) fn publish(&self, change: impl FnOnce(&mut Known)) {
        let mut known = self.known().as_ref().clone();
        change(&mut known);
        known.version += 1;
        *self.known.write() = Arc::new(known);
    }
}

/// What the engine needs to run a sink.
pub(crate) fn sink_run(relation: &Relation) -> Option<SinkRun> {
    let Definition::Sink(sink) = &relation.definition else {
        return None;
    };
    Some(SinkRun {
        relation: relation.id,
        follow: sink.follow,
        spec: sink.sink.clone(),
        snapshot: sink.snapshot,
    })
}

/// A relation in the words of the dialect.
pub(crate) fn kind_word(kind: RelationKind) -> &'static str {
    match kind {
        RelationKind::Source => "source",
        RelationKind::Table => "table",
        RelationKind::View => "view",
        RelationKind::MaterializedView => "materialized view",
        RelationKind::Sink => "sink",
    }
}

impl Known {
    /// The tables that a relation rests on, itself included, through whatever is between.
    pub fn tables_below(&self, id: RelationId) -> BTreeSet<RelationId> {
        let mut found = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut left = vec![id];
        while let Some(id) = left.pop() {
            if !seen.insert(id) {
                continue;
            }
            let Some(relation) = self.catalog.by_id(id) else {
                continue;
            };
            if relation.kind == RelationKind::Table {
                found.insert(id);
            }
            left.extend(&relation.depends_on);
        }
        found
    }

    /// The name of a relation, working or not.
    pub fn name_of(&self, id: RelationId) -> Option<&str> {
        let broken = || self.broken.values().find(|broken| broken.id == id);
        self.catalog
            .by_id(id)
            .map(|relation| relation.name.as_str())
            .or_else(|| broken().map(|broken| broken.name.as_str()))
    }
}
