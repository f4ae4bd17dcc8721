//! A Weir in this process for tests: over a store that may die at any commit, with memory topics of
//! its own, and a way to wait until everything is taken in.
//!
//! What a test does here it does as a client: it runs SQL in a session. When the store has died, the
//! rig crashes the instance and opens the next one over what survived, as often as it has lives.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::future::Future;
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arrow::datatypes::DataType;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use weir_engine::connector::memory;
use weir_engine::pipeline::{Clock, EngineOptions};
use weir_server::{Body, ErrorKind, Instance, InstanceOptions, Session};
use weir_state::{DmlCommit, MemoryStore, RocksOptions, RocksStore, Store};

use crate::mortal::MortalStore;
use crate::rows::{self, Row};

mod settled;
mod watch;

pub use watch::Watch;

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(1);

/// How a rig runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Tasks per stage.
    pub tasks: usize,
    /// Rows that a step takes of a source.
    pub step_rows: usize,
    /// Entries that each state table of a task keeps in memory.
    pub entry_budget: Option<usize>,
    /// Longest time between two checkpoints under load.
    pub checkpoint_interval: Duration,
    /// Each life ends after so many commits; those that are not named don't end.
    pub lives: Vec<u64>,
    /// On RocksDB instead of in memory.
    pub rocks: bool,
    /// What `now()` is.
    pub clock: Clock,
    /// How long anything may take before the test fails with what it waits for.
    pub patience: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            tasks: 1,
            step_rows: 50_000,
            entry_budget: None,
            checkpoint_interval: Duration::from_millis(500),
            lives: Vec::new(),
            rocks: false,
            clock: Clock::default(),
            patience: Duration::from_secs(60),
        }
    }
}

/// As `WEIR_SLT_RUN` takes it: `tasks=2,step=1,budget=3,interval=1,lives=7+3,rocks`.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interval = self.checkpoint_interval.as_millis();
        write!(f, "tasks={},step={},interval={interval}", self.tasks, self.step_rows)?;
        self.entry_budget
            .iter()
            .try_for_each(|budget| write!(f, ",budget={budget}"))?;
        if !self.lives.is_empty() {
            let lives: Vec<String> = self.lives.iter().map(u64::to_string).collect();
            write!(f, ",lives={}", lives.join("+"))?;
        }
        if self.rocks { f.write_str(",rocks") } else { Ok(()) }
    }
}

impl FromStr for Settings {
    type Err = String;

    fn from_str(text: &str) -> Result<Settings, String> {
        let mut settings = Settings::default();
        for part in text.split(',') {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let number = |value: &str| value.parse::<u64>().map_err(|_| format!("'{part}' has no number"));
            match name {
                "tasks" => settings.tasks = number(value)? as usize,
                "step" => settings.step_rows = number(value)? as usize,
                "interval" => settings.checkpoint_interval = Duration::from_millis(number(value)?),
                "budget" => settings.entry_budget = Some(number(value)? as usize),
                "lives" => settings.lives = value.split('+').map(number).collect::<Result<_, _>>()?,
                "rocks" => settings.rocks = true,
                _ => return Err(format!("'{part}' is no setting of a run")),
            }
        }
        Ok(settings)
    }
}

/// Why something could not be done.
#[derive(Debug)]
pub enum Trouble {
    /// The answer was an error.
    Refused(weir_server::Error),
    /// The store has died: open the next life and try again.
    Died,
    /// It took too long, or what was promised doesn't hold.
    Wrong(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Refused(error) => write!(f, "{}", error.message),
            Trouble::Died => write!(f, "the store has died"),
            Trouble::Wrong(what) => write!(f, "{what}"),
        }
    }
}

/// What a statement answered, read to its end.
#[derive(Debug, Clone)]
pub struct Reply {
    pub notices: Vec<String>,
    pub outcome: Outcome,
}

/// The answer itself.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// A command was carried out.
    Done,
    /// So many rows were changed.
    Changed(u64),
    /// Rows.
    Rows { types: Vec<DataType>, rows: Vec<Row> },
}

/// An instance, its topics and files.
pub struct Rig {
    pub settings: Settings,
    /// Replaces `$DIR` in statements: a folder of this rig's own.
    files: TempDir,
    beneath: Arc<dyn Store>,
    store: MortalStore,
    /// `None` only while one life ends and the next begins.
    alive: Option<(Arc<Instance>, Arc<Session>)>,
    /// Lives begun, and commits in those that ended.
    lives: usize,
    past_commits: u64,
    /// Memory topics are the process's: this, behind its name, makes one the rig's own.
    suffix: String,
    /// End offsets of each topic's partitions.
    topics: BTreeMap<String, Vec<i64>>,
    ended: BTreeSet<String>,
    /// Topics whose partitions are idle, until something comes.
    idle: BTreeSet<String>,
    /// Topics out of reach.
    away: BTreeSet<String>,
    /// Views that a test saw fail: no others may.
    failed: BTreeSet<String>,
    /// `SET` statements, which a new session needs again.
    session_settings: Vec<String>,
    watches: BTreeMap<String, Watch>,
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a tokio runtime")
    })
}

impl Rig {
    /// A new, empty instance.
    pub fn new(settings: Settings) -> Result<Rig, String> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let files = tempfile::tempdir().map_err(|error| error.to_string())?;
        let beneath: Arc<dyn Store> = if settings.rocks {
            let path = files.path().join("store");
            Arc::new(RocksStore::open(&path, RocksOptions::default()).map_err(|error| error.to_string())?)
        } else {
            Arc::new(MemoryStore::new())
        };
        let mut rig = Rig {
            store: MortalStore::new(beneath.clone(), None),
            beneath,
            files,
            alive: None,
            lives: 0,
            past_commits: 0,
            suffix: format!("~{:05}", NEXT.fetch_add(1, Ordering::Relaxed)),
            topics: BTreeMap::new(),
            ended: BTreeSet::new(),
            idle: BTreeSet::new(),
            away: BTreeSet::new(),
            failed: BTreeSet::new(),
            session_settings: Vec::new(),
            watches: BTreeMap::new(),
            settings,
        };
        rig.open()?;
        Ok(rig)
    }

    /// Begins the next life, over what the last one left.
    fn open(&mut self) -> Result<(), String> {
        loop {
            self.past_commits += self.store.commits();
            let life = self.settings.lives.get(self.lives).copied();
            self.lives += 1;
            self.store = MortalStore::new(self.beneath.clone(), life);
            let usual = EngineOptions::default();
            let engine = EngineOptions {
                tasks: self.settings.tasks,
                step_rows: self.settings.step_rows,
                // Where steps are small, each step of a load is a part of its own.
                load_bytes: if self.settings.step_rows < usual.step_rows {
                    1
                } else {
                    usual.load_bytes
                },
                entry_budget: self.settings.entry_budget,
                checkpoint_interval: self.settings.checkpoint_interval,
                clock: self.settings.clock.clone(),
                ..usual
            };
            let options = InstanceOptions {
                engine,
                ..InstanceOptions::default()
            };
            let opened = weir_state::Instance::on(self.store.store())
                .map_err(|error| error.to_string())
                .and_then(|durable| Instance::on(durable, options).map_err(|error| error.message));
            match opened {
                Ok(instance) => {
                    let session = instance.session();
                    self.alive = Some((instance, session));
                }
                Err(_) if self.store.is_dead() => continue,
                Err(error) => return Err(format!("the instance does not open: {error}")),
            }
            let settings = self.session_settings.clone();
            let set = settings.iter().try_for_each(|sql| self.run(sql).map(|_| ()));
            let went_on = set
                .and_then(|()| self.fail_again())
                .and_then(|()| self.take_in_dml())
                .and_then(|()| self.be_idle());
            match went_on {
                Ok(()) => return Ok(()),
                Err(_) if self.store.is_dead() => self.bury(),
                Err(trouble) => return Err(format!("a new life: {trouble}")),
            }
        }
    }

    /// Ends this life without another commit.
    fn bury(&mut self) {
        self.store.kill();
        if let Some((instance, session)) = self.alive.take() {
            self.watches.values_mut().for_each(Watch::interrupt);
            drop(session);
            instance.crash();
        }
    }

    /// Crashes and opens again.
    pub fn crash(&mut self) -> Result<(), String> {
        self.bury();
        self.open()
    }

    /// Stops in good order and opens again.
    pub fn restart(&mut self) -> Result<(), String> {
        if let Some((instance, session)) = self.alive.take() {
            self.watches.values_mut().for_each(Watch::interrupt);
            drop(session);
            instance.shutdown();
        }
        self.store.kill();
        self.open()
    }

    /// Whether this life has ended and [`Rig::crash`] is due.
    pub fn has_died(&self) -> bool {
        self.store.is_dead()
    }

    /// Commits in all lives.
    pub fn commits(&self) -> u64 {
        self.past_commits + self.store.commits()
    }

    /// Statements that changed tables, and are durable.
    pub fn writes(&self) -> DmlCommit {
        weir_state::dml::last(self.beneath.as_ref()).expect("the log of DML can be read")
    }

    pub fn instance(&self) -> &Arc<Instance> {
        &self.alive.as_ref().expect("it is open").0
    }

    fn session(&self) -> &Arc<Session> {
        &self.alive.as_ref().expect("it is open").1
    }

    /// Runs one statement and reads its answer to the end.
    pub fn run(&mut self, sql: &str) -> Result<Reply, Trouble> {
        let sql = self.localized(sql);
        let session = self.session().clone();
        let work = async move {
            let answer = session.run(&sql).await?;
            let outcome = match answer.body {
                Body::Done(_) => Outcome::Done,
                Body::Changed { rows, .. } => Outcome::Changed(rows),
                Body::Rows(rows) | Body::Push(rows, _) => {
                    let types = rows.schema.fields().iter().map(|f| f.data_type().clone()).collect();
                    let batches = rows.collect().await?;
                    let rows = batches.iter().flat_map(rows::of_batch).collect();
                    Outcome::Rows { types, rows }
                }
            };
            Ok::<_, weir_server::Error>(Reply {
                notices: answer.notices,
                outcome,
            })
        };
        let reply = self.wait(work)?;
        reply.map(|reply| self.cleaned(reply)).map_err(|error| {
            Trouble::Refused(weir_server::Error {
                message: self.clean(&error.message),
                ..error
            })
        })
    }

    /// Runs a query and gives its rows.
    pub fn rows(&mut self, sql: &str) -> Result<Vec<Row>, Trouble> {
        match self.run(sql)?.outcome {
            Outcome::Rows { rows, .. } => Ok(rows),
            other => Err(Trouble::Wrong(format!("{sql} answered {other:?} and no rows"))),
        }
    }

    /// Remembers a `SET` for later lives.
    pub fn keep_setting(&mut self, sql: &str) {
        self.session_settings.push(sql.to_string());
    }

    /// Waits for `work`, but not beyond death or patience.
    fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, Trouble> {
        let watchman = async {
            let begun = Instant::now();
            while !self.store.is_dead() && begun.elapsed() < self.settings.patience {
                tokio::time::sleep(LOOK).await;
            }
        };
        runtime().block_on(async {
            tokio::select! {
                done = work => Ok(done),
                () = watchman => Err(self.gave_up("an answer")),
            }
        })
    }

    /// Waits until `ready` says nothing that is awaited.
    fn wait_until(&self, mut ready: impl FnMut() -> Result<(), String>) -> Result<(), Trouble> {
        let begun = Instant::now();
        loop {
            let Err(awaited) = ready() else { return Ok(()) };
            if self.store.is_dead() || begun.elapsed() > self.settings.patience {
                return Err(self.gave_up(&awaited));
            }
            std::thread::sleep(LOOK);
        }
    }

    fn gave_up(&self, awaited: &str) -> Trouble {
        if self.store.is_dead() {
            return Trouble::Died;
        }
        let mut text = format!("waited {:?} for: {awaited}", self.settings.patience);
        for row in self.instance().engine().pipelines() {
            let _ = write!(text, "\n  {}: {:?} at epoch {}", row.name, row.state, row.epoch);
            let _ = row.trouble.iter().try_for_each(|trouble| write!(text, " ({trouble})"));
        }
        Trouble::Wrong(self.clean(&text))
    }

    /// Makes a memory topic.
    pub fn create_topic(&mut self, topic: &str, partitions: usize) {
        memory::create(&self.local_topic(topic), partitions);
        self.topics.insert(topic.to_string(), vec![0; partitions.max(1)]);
    }

    /// Appends records to a memory topic, which is made if there is none.
    pub fn feed(&mut self, topic: &str, partition: usize, records: Vec<memory::Record>) -> Result<(), String> {
        if !self.topics.contains_key(topic) {
            self.create_topic(topic, 1);
        }
        self.idle.remove(topic);
        let local = self.local_topic(topic);
        let ends = self.topics.get_mut(topic).expect("it was just made");
        let end = ends
            .get_mut(partition)
            .ok_or_else(|| format!("topic {topic} has no partition {partition}"))?;
        *end += records.len() as i64;
        memory::append_all(&local, partition, records);
        Ok(())
    }

    /// Nothing more comes to a topic.
    pub fn end_topic(&mut self, topic: &str) {
        memory::end(&self.local_topic(topic));
        self.ended.insert(topic.to_string());
    }

    /// Has the partitions of a topic become idle, by the clock; and again in each later life.
    pub fn idle_topic(&mut self, topic: &str) -> Result<(), Trouble> {
        self.settle()?;
        self.idle.insert(topic.to_string());
        self.be_idle()?;
        self.settle()
    }

    /// Deletes a topic's records below an offset.
    pub fn delete_before(&mut self, topic: &str, partition: usize, offset: i64) {
        memory::delete_before(&self.local_topic(topic), partition, offset);
    }

    /// Puts a topic out of reach, or back.
    pub fn set_away(&mut self, topic: &str, away: bool) -> Result<(), Trouble> {
        if away {
            self.away.insert(topic.to_string());
        } else {
            self.away.remove(topic);
        }
        memory::set_away(&self.local_topic(topic), away);
        if !away {
            return Ok(());
        }
        // Who reads it notices when it reads next.
        self.wait_until(|| self.is_missed(topic))
    }

    /// Moves the clock, which must be a fixed one.
    pub fn set_clock(&mut self, us: i64) {
        self.settings.clock.set(us);
        self.instance().engine().wake();
    }

    /// This rig's own folder.
    pub fn folder(&self) -> &Path {
        self.files.path()
    }

    fn local_topic(&self, topic: &str) -> String {
        format!("{topic}{}", self.suffix)
    }

    /// A statement as this rig runs it: with its own topics and its own folder.
    fn localized(&self, sql: &str) -> String {
        const TOPIC: &str = "topic = '";
        let mut text = sql.replace("$DIR", &self.files.path().to_string_lossy());
        if !text.contains("'memory'") {
            return text;
        }
        let mut from = 0;
        while let Some(at) = text[from..].find(TOPIC) {
            let begin = from + at + TOPIC.len();
            let Some(length) = text[begin..].find('\'') else { break };
            text.insert_str(begin + length, &self.suffix);
            from = begin + length;
        }
        text
    }

    /// A text of Weir's without what [`Rig::localized`] put in.
    fn clean(&self, text: &str) -> String {
        let folder = self.files.path().to_string_lossy().to_string();
        text.replace(&self.suffix, "").replace(&folder, "$DIR")
    }

    fn cleaned(&self, mut reply: Reply) -> Reply {
        let notices = reply.notices.iter().map(|notice| self.clean(notice)).collect();
        reply.notices = notices;
        if let Outcome::Rows { rows, .. } = &mut reply.outcome {
            for cell in rows.iter_mut().flatten() {
                *cell = self.clean(cell);
            }
        }
        reply
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.bury();
        for topic in self.topics.keys() {
            memory::remove(&self.local_topic(topic));
        }
    }
}

/// Whether an error only says that what was asked for is already so: the answer to a statement that
/// is repeated because a crash swallowed its first answer.
pub fn is_done_already(error: &weir_server::Error) -> bool {
    matches!(error.kind, ErrorKind::Conflict | ErrorKind::NotFound)
}
