//! A pipeline that goes by hand: without threads, clock and committer.
//!
//! Its holder says when it steps and how much it takes, when it makes a checkpoint, when that is
//! durable, and when it crashes (by dropping it). Operators, dataflow, decoding, stored state and
//! record are those of a pipeline that runs by itself ([`super::runtime`]); what is left out is all that
//! waits. So a test can draw thousands of courses that a pipeline may take, and take each again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_state::pipelines::{self, PipelineRecord};
use weir_state::{DmlCommit, Instance, PipelineId, RelationId, Store, WriteBatch, dml};

use super::dataflow::{Dataflow, RelationInput, Written};
use super::publication::NO_TABLES;
use super::reader::Place;
use super::snapshot::{Batches, Snapshot};
use super::source::SourceInput;
use super::{EngineOptions, inputs, record, scan, tables};
use crate::change::ChangeBatch;
use crate::operator::{Moment, Watermark};
use crate::relation::{SourceSpec, StoredRelation, TableSpec, ViewSpec};
use crate::{Error, Result};

/// Relations that views may read.
#[derive(Clone, Default)]
pub struct Known {
    /// Sources, which are read inline.
    pub sources: HashMap<RelationId, Arc<SourceSpec>>,
    /// Tables.
    pub tables: HashMap<RelationId, Arc<TableSpec>>,
    /// Views.
    pub views: HashMap<RelationId, ViewSpec>,
}

impl Known {
    /// Makes changes of tables durable as one commit.
    pub fn write(&self, store: &Arc<dyn Store>, changes: &[(RelationId, ChangeBatch)]) -> Result<DmlCommit> {
        tables::write(store, &self.tables, changes).map(|(commit, _)| commit)
    }

    /// The rows of a source from its start to the end of now.
    pub fn read_source(&self, source: RelationId, columns: &[usize]) -> Result<Batches> {
        let spec = self.sources.get(&source);
        scan::source(
            spec.ok_or_else(|| Error::internal("a read of an unknown source"))?,
            columns,
            // What is bad in a record is nothing that a read by hand tells.
            Arc::default(),
        )
    }
}

/// A pipeline that goes by hand.
pub struct Stepped {
    instance: Arc<Instance>,
    id: PipelineId,
    /// What a step takes of a source or a snapshot.
    rows: usize,
    dataflow: Dataflow,
    sources: BTreeMap<RelationId, SourceInput>,
    reads_tables: BTreeMap<RelationId, StoredRelation>,
    dml: DmlCommit,
    /// Steps so far.
    steps: u128,
    /// Snapshots that are being read.
    loading: Vec<(RelationId, Batches)>,
    /// Pipelines whose records go with the next checkpoint.
    absorbed: Vec<PipelineId>,
    /// A checkpoint that is not durable yet.
    written: Option<WriteBatch>,
    /// By which splits become idle; it stands unless it is moved.
    rested: Instant,
}

impl Stepped {
    /// Opens a pipeline where its record says, or, if there is none, at the start of all that its
    /// views read: tables, and views of other pipelines, are then loaded as they stand in the store.
    pub fn open(
        instance: &Arc<Instance>,
        id: PipelineId,
        views: Vec<ViewSpec>,
        known: &Known,
        options: &EngineOptions,
        now_us: i64,
    ) -> Result<Stepped> {
        let store = instance.store();
        let stored = pipelines::load(store.as_ref())?;
        let stored = stored.iter().find(|record| record.id == id);
        let mut dataflow = Dataflow::new(options.tasks, store.clone(), options.entry_budget).inline();
        dataflow.restore_watermarks(stored.map(record::watermarks).unwrap_or_default());
        dataflow.restore_last_inputs(stored.map(record::last_inputs).unwrap_or_default());
        views.into_iter().try_for_each(|view| dataflow.add(view))?;
        let mut stepped = Stepped {
            instance: instance.clone(),
            id,
            rows: options.step_rows,
            dataflow,
            sources: BTreeMap::new(),
            reads_tables: BTreeMap::new(),
            dml: stored.map_or(NO_TABLES, record::dml_read),
            steps: 0,
            loading: Vec::new(),
            absorbed: Vec::new(),
            written: None,
            rested: Instant::now(),
        };
        stepped.open_inputs(known, stored)?;
        inputs::plan(&mut stepped.dataflow, &mut stepped.sources, options.step_rows)?;
        // What was closed at the committed watermark stays closed.
        stepped.run(now_us, HashMap::new())?;
        Ok(stepped)
    }

    fn open_inputs(&mut self, known: &Known, stored: Option<&PipelineRecord>) -> Result<()> {
        let snapshot = Snapshot::new(self.instance.store().snapshot())?;
        for relation in inputs::outside(&self.dataflow) {
            if let Some(spec) = known.sources.get(&relation) {
                let progress = stored.map(|record| record::source_progress(record, relation));
                let source = SourceInput::new(spec.clone(), progress.unwrap_or_default(), Place::Inline);
                self.sources.insert(relation, source);
                continue;
            }
            let table = known.tables.get(&relation).map(|table| table.stored());
            let view = known.views.get(&relation).map(ViewSpec::stored);
            let rows = table
                .clone()
                .or(view)
                .ok_or_else(|| Error::internal("nobody knows a relation"))?;
            if stored.is_none() {
                let rows = snapshot.scan(&rows, &rows.all_columns())?;
                self.loading.push((relation, rows));
            }
            if let Some(table) = table {
                self.reads_tables.insert(relation, table);
                if stored.is_none() {
                    self.dml = snapshot.dml();
                }
            }
        }
        Ok(())
    }

    /// Its views.
    pub fn views(&self) -> impl Iterator<Item = &ViewSpec> {
        self.dataflow.views().values()
    }

    /// Takes in a part of a snapshot, or what each source gives and so many commits of the log of
    /// tables. False if there is nothing to take in.
    ///
    /// # Errors
    /// If a view fails. Then it is of no more use.
    pub fn step(&mut self, now_us: i64, commits: u64) -> Result<bool> {
        if let Some(inputs) = self.load()? {
            self.run(now_us, inputs)?;
            return Ok(true);
        }
        let mut inputs = HashMap::new();
        let mut any = self.take_dml(commits, &mut inputs)?;
        for (relation, source) in &mut self.sources {
            let step = source.step(self.rows, None, self.rested)?;
            self.dataflow.set_at_end(*relation, source.at_end());
            any |= step.any;
            inputs.insert(*relation, step.input);
        }
        any |= self.dataflow.due_us().is_some_and(|due_us| due_us <= now_us);
        if any {
            self.run(now_us, inputs)?;
        }
        Ok(any)
    }

    /// So much time passes for splits that are read to their ends: some may be idle with the next step.
    pub fn rest(&mut self, length: Duration) {
        self.rested += length;
    }

    fn load(&mut self) -> Result<Option<HashMap<RelationId, RelationInput>>> {
        while let Some((relation, left)) = self.loading.last_mut() {
            let relation = *relation;
            let Some(batch) = left.next().transpose()? else {
                self.loading.pop();
                continue;
            };
            let first = batch.slice(0, self.rows.min(batch.num_rows()));
            let rest = batch.slice(first.num_rows(), batch.num_rows() - first.num_rows());
            if rest.num_rows() > 0 {
                let later = std::mem::replace(left, Box::new(std::iter::empty()));
                *left = Box::new(std::iter::once(Ok(rest)).chain(later));
            }
            let input = inputs::in_task_0(&self.dataflow, vec![ChangeBatch::inserts(first)]);
            return Ok(Some(HashMap::from([(relation, input)])));
        }
        Ok(None)
    }

    fn take_dml(&mut self, commits: u64, inputs: &mut HashMap<RelationId, RelationInput>) -> Result<bool> {
        if self.reads_tables.is_empty() {
            return Ok(false);
        }
        let store = self.instance.store();
        let upto = dml::last(store.as_ref())?.min(DmlCommit(self.dml.0.saturating_add(commits)));
        if upto <= self.dml {
            return Ok(false);
        }
        let found = inputs::of_tables(store.as_ref(), &self.reads_tables, (self.dml, upto))?;
        self.dml = upto;
        for (relation, batches) in found {
            inputs.insert(relation, inputs::in_task_0(&self.dataflow, batches));
        }
        Ok(true)
    }

    fn run(&mut self, now_us: i64, inputs: HashMap<RelationId, RelationInput>) -> Result<()> {
        self.steps += 1;
        // Epochs of a later life have higher numbers.
        let seed = u128::from(self.instance.last_epoch().0) << 64 | self.steps;
        for (relation, source) in &self.sources {
            self.dataflow.set_idle(*relation, source.progress.is_idle());
        }
        let failed = self.dataflow.step(Moment { now_us, seed }, inputs, BTreeMap::new());
        let cause = failed.into_values().flatten().next();
        cause.map_or(Ok(()), Err)
    }

    /// Makes a checkpoint, and gives the changes of each view since the last one. There may be one at
    /// a time that is not durable yet, and none before all snapshots are in.
    pub fn checkpoint(&mut self) -> Result<BTreeMap<RelationId, Vec<ChangeBatch>>> {
        if self.written.is_some() || !self.loading.is_empty() {
            return Err(Error::internal("a checkpoint before its time"));
        }
        // What the epoch can't have computed: here all views are such as fail for it.
        if let Some(cause) = self.dataflow.judge().failed.into_values().flatten().next() {
            return Err(cause);
        }
        let epoch = self.instance.next_epoch();
        let views: BTreeSet<RelationId> = self.dataflow.views().keys().copied().collect();
        let written = self.dataflow.checkpoint(epoch, &views, &views)?;
        if let Some(cause) = written.failed.into_values().flatten().next() {
            return Err(cause);
        }
        let Written { mut batch, changes, .. } = written;
        let sources = self.sources.iter().map(|(id, source)| (*id, source.progress.watermark));
        let right = views.iter().map(|view| (*view, epoch)).collect();
        let record = PipelineRecord {
            id: self.id,
            views: views.into_iter().collect(),
            positions: self
                .sources
                .iter()
                .map(|(id, source)| (id.to_string(), source.progress.stored()))
                .collect(),
            dml: self.dml,
            epoch,
            changelogs: BTreeMap::new(),
            extra: record::extra(
                self.dataflow.watermarks(),
                sources,
                &right,
                self.dml,
                self.dataflow.last_inputs(),
                self.dataflow.timer_us(),
            ),
        };
        pipelines::put(&mut batch, &record);
        for id in self.absorbed.drain(..) {
            pipelines::remove(&mut batch, id);
        }
        self.written = Some(batch);
        Ok(changes.into_iter().collect())
    }

    /// Whether a checkpoint can be made: all snapshots are in, and the last one is durable.
    pub fn may_checkpoint(&self) -> bool {
        self.written.is_none() && self.loading.is_empty()
    }

    /// Makes the last checkpoint durable; false if it is.
    pub fn commit(&mut self) -> Result<bool> {
        let Some(batch) = self.written.take() else {
            return Ok(false);
        };
        self.instance.store().commit(batch)?;
        self.dataflow.committed()?;
        Ok(true)
    }

    /// Loads stored state, as a pipeline does while it has nothing else to do.
    pub fn complete(&mut self, entries: usize) -> Result<bool> {
        self.dataflow.complete(entries)
    }

    /// The watermark of a view's result; `None` if it has no event time.
    pub fn watermark(&self, view: RelationId) -> Option<Watermark> {
        self.dataflow.watermark(view)
    }

    /// Takes in the views of another one, with what they hold in memory. Both must stand at the same place,
    /// with nothing left to commit. The next checkpoint is of both.
    pub fn adopt(&mut self, mut other: Stepped) -> Result<()> {
        let views: Vec<RelationId> = other.dataflow.views().keys().copied().collect();
        for parts in views.into_iter().filter_map(|view| other.dataflow.take(view)) {
            self.dataflow.put(parts);
        }
        if self.reads_tables.is_empty() {
            self.dml = other.dml;
        }
        let outside = inputs::outside(&self.dataflow);
        other.reads_tables.retain(|table, _| outside.contains(table));
        self.reads_tables.extend(other.reads_tables);
        for (relation, theirs) in other.sources {
            match self.sources.get_mut(&relation) {
                Some(source) => source.progress.merge(&theirs.progress),
                None => {
                    let source = SourceInput::new(theirs.spec.clone(), theirs.progress.clone(), Place::Inline);
                    self.sources.insert(relation, source);
                }
            }
        }
        self.absorbed.push(other.id);
        inputs::plan(&mut self.dataflow, &mut self.sources, self.rows)
    }
}
