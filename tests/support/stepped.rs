//! A script on a pipeline that goes by hand: thousands of times cheaper to wait for than a whole
//! instance, and the same each time.
//!
//! Of a script's entries it knows those that the oracle draws: CREATE, what changes tables and topics,
//! `clock`, `crash`, `tasks`, `settle`, `verify` and `equal`. Statements are planned by the real planner, tables and
//! views lie in a real store, and the views' graphs run in the engine's own dataflow
//! ([`weir_engine::pipeline::Stepped`]). Between the entries a [`Pace`] draws what a running engine leaves to
//! chance: how much each step takes, when a checkpoint is made and when it is durable, what is loaded, and
//! where it crashes.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch};
use futures::TryStreamExt;
use tokio::runtime::Runtime;
use weir_engine::change::ChangeBatch;
use weir_engine::connector::memory;
use weir_engine::pipeline::{Batches, EngineOptions, Known, Pending, Snapshot, Stepped};
use weir_engine::relation::RelationId;
use weir_sql::catalog::{Catalog, Definition, Relation};
use weir_sql::dml::{self, Dml};
use weir_sql::read::{self, ReadPlan, Rows};
use weir_sql::statement::{Query, Statement};
use weir_sql::{parse, plan};
use weir_state::{Instance, MemoryStore, PipelineId, Store};

use crate::random::Random;
use crate::rows::{self, Bag, Row};
use crate::script::{Expect, Script, Verb};

/// How long nothing comes where a topic is idle.
const REST: Duration = Duration::from_secs(3600);

/// How a script is run by hand.
#[derive(Debug, Clone, PartialEq)]
pub struct Pace {
    /// Tasks per stage.
    pub tasks: usize,
    /// Rows that a step takes of a source or a snapshot.
    pub step_rows: usize,
    /// Entries that each state table of a task keeps in memory.
    pub entry_budget: Option<usize>,
    /// Draws all else.
    pub seed: u64,
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tasks={},step={},seed={}", self.tasks, self.step_rows, self.seed)?;
        self.entry_budget
            .iter()
            .try_for_each(|budget| write!(f, ",budget={budget}"))
    }
}

impl FromStr for Pace {
    type Err = String;

    fn from_str(text: &str) -> Result<Pace, String> {
        let mut pace = Pace {
            tasks: 1,
            step_rows: 50_000,
            entry_budget: None,
            seed: 0,
        };
        for part in text.split(',') {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let number = value.parse().map_err(|_| format!("'{part}' has no number"))?;
            match name {
                "tasks" => pace.tasks = number as usize,
                "step" => pace.step_rows = number as usize,
                "budget" => pace.entry_budget = Some(number as usize),
                "seed" => pace.seed = number,
                _ => return Err(format!("'{part}' is no part of a pace")),
            }
        }
        Ok(pace)
    }
}

/// The pipeline that all views are brought into.
const HOST: PipelineId = PipelineId(1);
/// The clock at the beginning of a script: 2024-01-01, as the events that the oracle draws.
const BEGINNING_US: i64 = 1_704_067_200_000_000;
const MINUTE_US: i64 = 60_000_000;
/// One thing of so many that happen is a crash.
const CRASH_EVERY: u64 = 24;

/// Runs all entries.
///
/// # Errors
/// The first entry that went wrong, as `file:line: cause`.
pub fn run(script: &Script, pace: &Pace) -> Result<Desk, String> {
    let mut desk = Desk::new(pace)?;
    for entry in &script.entries {
        let done = desk.perform(&entry.verb);
        done.map_err(|cause| format!("{}: {cause}", script.place(entry.line)))?;
    }
    Ok(desk)
}

/// Where a script is run by hand: what would be an instance.
pub struct Desk {
    pace: Pace,
    random: Random,
    store: Arc<dyn Store>,
    instance: Arc<Instance>,
    catalog: Catalog,
    known: Known,
    relations: u32,
    pipelines: u32,
    host: Option<Stepped>,
    now_us: i64,
    /// The sum of each view's changes that are durable, and of those that are not.
    sums: BTreeMap<RelationId, Bag>,
    written: BTreeMap<RelationId, Vec<ChangeBatch>>,
    queries: BTreeMap<RelationId, Asked>,
    /// What an open transaction has changed.
    transaction: Option<Pending>,
    topics: Vec<String>,
    suffix: String,
}

/// The batch answer of a view's query.
enum Asked {
    Planned(ReadPlan),
    /// It has the clock in it, and is planned for each moment.
    AtNow(String),
    /// It can't be read once, for this reason.
    Refused(String),
}

impl Desk {
    fn new(pace: &Pace) -> Result<Desk, String> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        Ok(Desk {
            pace: pace.clone(),
            random: Random::new(pace.seed),
            instance: Instance::on(store.clone()).map_err(text)?,
            store,
            catalog: Catalog::new(),
            known: Known::default(),
            relations: 1,
            pipelines: HOST.0,
            host: None,
            now_us: BEGINNING_US,
            sums: BTreeMap::new(),
            written: BTreeMap::new(),
            queries: BTreeMap::new(),
            transaction: None,
            topics: Vec::new(),
            suffix: format!("~stepped{:06}", NEXT.fetch_add(1, Ordering::Relaxed)),
        })
    }

    fn perform(&mut self, verb: &Verb) -> Result<(), String> {
        match verb {
            Verb::Statement {
                expect: Expect::Ok,
                sql,
            } => self.statement(sql)?,
            Verb::Topic { name, partitions } => {
                memory::create(&self.local(name), *partitions);
                self.topics.push(name.clone());
            }
            Verb::Feed {
                topic,
                partition,
                records,
            } => {
                memory::append_all(&self.local(topic), *partition, records.clone());
            }
            Verb::End(topic) => memory::end(&self.local(topic)),
            // All are idle then that may be within this time.
            Verb::Idle(_) => {
                self.settle()?;
                self.host.iter_mut().for_each(|host| host.rest(REST));
                self.settle()?;
            }
            Verb::Crash => self.crash()?,
            Verb::Restart => {
                self.settle()?;
                self.crash()?;
            }
            Verb::Tasks(tasks) => {
                self.pace.tasks = *tasks;
                self.crash()?;
            }
            Verb::Settle => self.settle()?,
            Verb::Clock(us) => {
                self.settle()?;
                self.now_us = self.now_us.max(*us);
                self.settle()?;
            }
            Verb::Verify(names) => self.verify(names)?,
            Verb::Equal { view, sql } => self.equal(view, sql)?,
            _ => return Err("by hand no such entry can be run".to_string()),
        }
        match verb {
            Verb::Verify(_) | Verb::Equal { .. } => Ok(()),
            _ => self.stir(),
        }
    }

    fn local(&self, topic: &str) -> String {
        format!("{topic}{}", self.suffix)
    }

    // ---- statements --------------------------------------------------------------------------

    fn statement(&mut self, sql: &str) -> Result<(), String> {
        let refused = |error: weir_sql::Error| error.render(sql);
        let id = RelationId(self.relations);
        let relation = match parse::parse_one(sql).map_err(refused)? {
            Statement::Dml(statement) => {
                let planned = dml::plan(&statement, &self.catalog).map_err(refused)?;
                return self.change(&planned).map_err(refused);
            }
            Statement::Begin => {
                self.transaction = Some(Pending::new());
                return Ok(());
            }
            Statement::Rollback => {
                self.transaction = None;
                return Ok(());
            }
            Statement::Commit => return self.commit_changes().map_err(refused),
            Statement::CreateTable(statement) => plan::table(&statement, id, &self.catalog),
            Statement::CreateView(statement) => plan::view(&statement, id, &self.catalog),
            Statement::CreateSource(mut statement) => {
                let topic = statement.options.get_mut("topic");
                topic.into_iter().for_each(|topic| topic.push_str(&self.suffix));
                plan::source(&statement, id, &self.catalog)
            }
            Statement::CreateMaterializedView(statement) => {
                let planned = plan::materialized_view(&statement, id, &self.catalog);
                let query = match statement.query.text.contains("now()") {
                    true => Asked::AtNow(statement.query.text.clone()),
                    false => {
                        let asked = Query {
                            emit: None,
                            ..statement.query.clone()
                        };
                        match read::plan(&asked, &self.catalog) {
                            Ok(plan) => Asked::Planned(plan),
                            Err(error) => Asked::Refused(error.render(sql)),
                        }
                    }
                };
                self.queries.insert(id, query);
                planned
            }
            _ => return Err("by hand no such statement can be run".to_string()),
        };
        let relation = relation.map_err(refused)?;
        self.relations += 1;
        self.catalog.insert(relation.clone());
        match relation.definition {
            Definition::Table(table) => drop(self.known.tables.insert(id, Arc::new(table.spec))),
            Definition::Source(source) => drop(self.known.sources.insert(id, Arc::new(source))),
            Definition::MaterializedView(view) => {
                self.known.views.insert(id, view);
                self.attach(id)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn change(&mut self, planned: &Dml) -> weir_sql::Result<()> {
        let rows = self.present()?;
        let (changes, _) = answered(planned.changes(rows))?;
        let table = planned.table().id;
        match &mut self.transaction {
            Some(pending) => pending.entry(table).or_default().push(changes),
            None => drop(self.known.write(self.instance.store(), &[(table, changes)])?),
        }
        Ok(())
    }

    /// COMMIT.
    fn commit_changes(&mut self) -> weir_sql::Result<()> {
        let mut changes = Vec::new();
        for (table, batches) in self.transaction.take().unwrap_or_default() {
            if let Some(first) = batches.first() {
                changes.push((table, ChangeBatch::concat(&first.schema(), &batches)?));
            }
        }
        self.known.write(self.instance.store(), &changes)?;
        Ok(())
    }

    fn present(&self) -> weir_sql::Result<Arc<dyn Rows>> {
        let mut snapshot = Snapshot::new(self.instance.store().snapshot())?;
        if let Some(pending) = &self.transaction {
            snapshot = snapshot.with_pending(pending.clone());
        }
        Ok(Arc::new(Present {
            snapshot,
            known: self.known.clone(),
        }))
    }

    // ---- the course of a pipeline --------------------------------------------------------------

    fn open(&self, id: PipelineId, views: Vec<RelationId>) -> Result<Stepped, String> {
        let views = views.iter().map(|view| self.known.views[view].clone()).collect();
        let options = EngineOptions {
            tasks: self.pace.tasks,
            step_rows: self.pace.step_rows,
            entry_budget: self.pace.entry_budget,
            ..EngineOptions::default()
        };
        Stepped::open(&self.instance, id, views, &self.known, &options, self.now_us).map_err(text)
    }

    /// A new view begins as a pipeline of its own, and is brought into the first one when both have
    /// taken in all there is.
    fn attach(&mut self, view: RelationId) -> Result<(), String> {
        self.settle()?;
        let first = self.host.is_none();
        self.pipelines += u32::from(!first);
        let id = PipelineId(self.pipelines);
        let mut own = self.open(id, vec![view])?;
        if self.random.below(8) == 0 {
            // It crashes before its first epoch, and begins anew.
            own.step(self.now_us, 1).map_err(text)?;
            own = self.open(id, vec![view])?;
        }
        while own.step(self.now_us, u64::MAX).map_err(text)? {}
        self.written = own.checkpoint().map_err(text)?;
        own.commit().map_err(text)?;
        self.count();
        if self.random.below(4) == 0 {
            own = self.open(id, vec![view])?;
        }
        let Some(host) = &mut self.host else {
            self.host = Some(own);
            return Ok(());
        };
        host.adopt(own).map_err(text)?;
        self.checkpoint()?;
        self.commit()
    }

    /// Something happens, or nothing.
    fn stir(&mut self) -> Result<(), String> {
        for _ in 0..self.random.below(4) {
            match self.random.below(8) {
                0..4 => {
                    self.now_us += self.random.below(40) as i64 * MINUTE_US;
                    let commits = 1 + self.random.below(3);
                    self.step(commits)?;
                }
                4 | 5 => self.checkpoint()?,
                6 => self.commit()?,
                _ => {
                    let entries = 1 + self.random.below(4) as usize;
                    if let Some(host) = &mut self.host {
                        host.complete(entries).map_err(text)?;
                    }
                }
            }
            if self.random.below(CRASH_EVERY) == 0 {
                self.crash()?;
            }
        }
        Ok(())
    }

    fn step(&mut self, commits: u64) -> Result<bool, String> {
        let now_us = self.now_us;
        let Some(host) = &mut self.host else { return Ok(false) };
        host.step(now_us, commits).map_err(text)
    }

    fn checkpoint(&mut self) -> Result<(), String> {
        if let Some(host) = self.host.as_mut().filter(|host| host.may_checkpoint()) {
            self.written = host.checkpoint().map_err(text)?;
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), String> {
        if let Some(host) = &mut self.host
            && host.commit().map_err(text)?
        {
            self.count();
        }
        Ok(())
    }

    /// What was written is durable.
    fn count(&mut self) {
        for (view, changes) in std::mem::take(&mut self.written) {
            let sum = self.sums.entry(view).or_default();
            for batch in changes {
                for (number, row) in rows::of_batch(batch.rows()).into_iter().enumerate() {
                    rows::add(sum, row, batch.weight(number));
                }
            }
        }
    }

    /// All that is not durable is lost.
    fn crash(&mut self) -> Result<(), String> {
        self.written.clear();
        self.instance = Instance::on(self.store.clone()).map_err(text)?;
        if let Some(host) = self.host.take() {
            let views = host.views().map(|view| view.relation).collect();
            drop(host);
            self.host = Some(self.open(HOST, views)?);
        }
        Ok(())
    }

    /// Everything is taken in, and durable.
    fn settle(&mut self) -> Result<(), String> {
        let commits = 1 + self.random.below(3);
        while self.step(commits)? {}
        self.commit()?;
        self.checkpoint()?;
        self.commit()
    }

    // ---- what is looked at ---------------------------------------------------------------------

    fn verify(&mut self, names: &[String]) -> Result<(), String> {
        self.settle()?;
        let views: Vec<Arc<Relation>> = self.catalog.iter().cloned().collect();
        for view in views {
            let asked_for = names.is_empty() || names.contains(&view.name);
            let Definition::MaterializedView(spec) = &view.definition else {
                continue;
            };
            if !asked_for {
                continue;
            }
            let asked = self.answer(spec.relation)?;
            self.compare(&view.name, spec.relation, asked)?;
        }
        Ok(())
    }

    fn equal(&mut self, view: &str, sql: &str) -> Result<(), String> {
        self.settle()?;
        let relation = self.catalog.find(view).ok_or_else(|| format!("there is no {view}"))?;
        let asked = self.answer_now(&sql.replace("now()", &self.now()))?;
        self.compare(view, relation.id, asked)
    }

    fn compare(&self, name: &str, view: RelationId, asked: Vec<Row>) -> Result<(), String> {
        let kept = rows::bag(self.rows(name)?);
        let wrong = rows::without_roundings(rows::difference(&kept, &rows::bag(asked)));
        complain(
            name,
            "is not the answer of its query; it has too much (+) or lacks (-)",
            &wrong,
        )?;
        let sum = self.sums.get(&view).cloned().unwrap_or_default();
        let wrong = rows::difference(&sum, &kept);
        complain(
            name,
            "has changes that don't sum up to its rows; they have too much (+) or lack (-)",
            &wrong,
        )
    }

    /// The rows of a relation.
    pub fn rows(&self, name: &str) -> Result<Vec<Row>, String> {
        let relation = self.catalog.find(name).ok_or_else(|| format!("there is no {name}"))?;
        let columns: Vec<usize> = (0..relation.schema.fields().len()).collect();
        let scanned = self.present().and_then(|rows| rows.scan(relation, &columns));
        let batches = scanned.map_err(|error| error.message)?.collect::<Result<Vec<_>, _>>();
        Ok(batches.map_err(text)?.iter().flat_map(rows::of_batch).collect())
    }

    fn answer(&self, view: RelationId) -> Result<Vec<Row>, String> {
        match &self.queries[&view] {
            Asked::Planned(plan) => self.answer_of(plan),
            Asked::AtNow(text) => self.answer_now(&text.replace("now()", &self.now())),
            Asked::Refused(why) => Err(why.clone()),
        }
    }

    /// The time that it is, in SQL.
    pub fn now(&self) -> String {
        let minutes = (self.now_us - BEGINNING_US) / MINUTE_US;
        format!("(TIMESTAMP '2024-01-01 00:00:00' + INTERVAL '{minutes} minutes')")
    }

    fn answer_now(&self, sql: &str) -> Result<Vec<Row>, String> {
        let Statement::Query(query) = parse::parse_one(sql).map_err(said)? else {
            return Err(format!("{sql} is no query"));
        };
        self.answer_of(&read::plan(&query, &self.catalog).map_err(said)?)
    }

    fn answer_of(&self, plan: &ReadPlan) -> Result<Vec<Row>, String> {
        let rows = self.present().map_err(said)?;
        let batches: Vec<RecordBatch> = answered(async {
            let stream = plan.execute(rows).await.map_err(said)?;
            let collected = stream.try_collect().await;
            collected.map_err(|error| said(read::error(error)))
        })?;
        Ok(batches.iter().flat_map(rows::of_batch).collect())
    }
}

fn said(error: weir_sql::Error) -> String {
    format!("the query alone: {}", error.message)
}

impl Drop for Desk {
    fn drop(&mut self) {
        for topic in &self.topics {
            memory::remove(&self.local(topic));
        }
    }
}

fn complain(view: &str, what: &str, wrong: &Bag) -> Result<(), String> {
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!("{view} {what}:\n{}", rows::change_lines(wrong).join("\n")))
}

thread_local! {
    /// For what DataFusion answers; its threads outlive a script.
    static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a tokio runtime");
}

fn answered<T>(work: impl Future<Output = T>) -> T {
    RUNTIME.with(|runtime| runtime.block_on(work))
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

/// All relations as they stand in the store.
struct Present {
    snapshot: Snapshot,
    known: Known,
}

impl Rows for Present {
    fn scan(&self, relation: &Arc<Relation>, columns: &[usize]) -> weir_sql::Result<Batches> {
        Ok(match relation.stored() {
            // With what an open transaction has changed.
            Some(stored) if self.known.tables.contains_key(&relation.id) => {
                self.snapshot.scan_table_at(&stored, columns, self.snapshot.dml())?
            }
            Some(stored) => self.snapshot.scan(&stored, columns)?,
            None => self.known.read_source(relation.id, columns)?,
        })
    }

    fn get(&self, relation: &Arc<Relation>, keys: &[ArrayRef]) -> weir_sql::Result<Vec<RecordBatch>> {
        let stored = relation.stored();
        let stored = stored.ok_or_else(|| weir_sql::Error::new("a source has no keys"))?;
        match self.known.tables.contains_key(&relation.id) {
            true => Ok(self.snapshot.get_table_at(&stored, keys, self.snapshot.dml())?),
            false => Ok(self.snapshot.get(&stored, keys)?),
        }
    }
}
