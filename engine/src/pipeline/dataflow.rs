//! The graphs of a pipeline's views as one dataflow, and the step that moves changes through it.
//!
//! All nodes of all views stand in one plan. A node's *level* is the number of exchanges above it;
//! the nodes of one level are a stage. Every task runs the nodes of a level in topological order
//! over its own operators and outputs, without locks; between levels the rows on exchange edges
//! are handed to the tasks that own their shards. With one task there are no exchanges at all, and
//! a step runs inline; so it does where a pipeline goes by hand.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use weir_state::{Epoch, RelationId, Store, WriteBatch};

use super::output::ViewOutput;
use crate::change::ChangeBatch;
use crate::graph::{Exchange, Graph, NodeId, NodeKind};
use crate::operator::{self, Moment, Operator, TaskContext, Watermark};
use crate::relation::ViewSpec;
use crate::row::RowCodec;
use crate::{Error, Result, shard};

mod counts;
mod faults;
mod meeting;
mod quiet;
mod task;
#[cfg(test)]
mod tests;

use faults::Faults;
pub use faults::{BatchOrigin, Records};
use meeting::Meetings;
use quiet::Quiet;
use task::{Checkpoint, Task};

/// A node of a view's graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeRef {
    /// The view.
    pub view: RelationId,
    /// The node in its graph.
    pub node: NodeId,
}

/// What a relation outside the dataflow gives in a step.
#[derive(Default)]
pub struct RelationInput {
    /// Changes by task.
    pub batches: Vec<Vec<ChangeBatch>>,
    /// Where they come from, batch by batch, if they are a source's.
    pub origins: Vec<Vec<BatchOrigin>>,
    /// Its watermark; `None` where it has no event time.
    pub watermark: Option<Watermark>,
    /// The same, of a source, as it was before these changes.
    pub before: Option<Watermark>,
}

impl RelationInput {
    /// Rows of all tasks.
    pub fn rows(&self) -> usize {
        self.batches.iter().flatten().map(ChangeBatch::num_rows).sum()
    }
}

/// Where an [`NodeKind::Input`] node of a view finds its columns in the relation's batches.
pub type Projections = HashMap<NodeRef, Vec<usize>>;

/// What a checkpoint writes.
#[derive(Default)]
pub struct Written {
    /// All of it.
    pub batch: WriteBatch,
    /// The changes of the views that were asked for.
    pub changes: HashMap<RelationId, Vec<ChangeBatch>>,
    /// How many bytes each changelog was given.
    pub logged: BTreeMap<RelationId, u64>,
    /// Views that can't be written, and why. Nothing of them, or of what rests on them, is in the rest.
    pub failed: BTreeMap<RelationId, Option<Error>>,
}

impl Written {
    fn whole(parts: Vec<(RelationId, Checkpoint)>, failed: BTreeMap<RelationId, Option<Error>>) -> Written {
        let mut whole = Written {
            failed,
            ..Written::default()
        };
        let mut rows = WriteBatch::new();
        for (view, part) in parts {
            whole.batch.append(part.first);
            rows.append(part.rows);
            if let Some(batches) = part.changes {
                whole.changes.entry(view).or_default().extend(batches);
            }
            *whole.logged.entry(view).or_default() += part.logged;
        }
        whole.batch.append(rows);
        whole
    }
}

/// Rows and time of one node over all tasks, since the view was started here.
#[derive(Debug, Clone, Copy, Default)]
pub struct NodeCounters {
    /// Rows taken.
    pub rows_in: u64,
    /// Rows given.
    pub rows_out: u64,
    /// Rows left out, because something of them can't be computed.
    pub skipped: u64,
    /// Time spent, microseconds, summed over tasks.
    pub busy_us: u64,
}

struct PlanNode {
    at: NodeRef,
    graph: Arc<Graph>,
    inputs: Vec<PlanInput>,
    level: usize,
    /// For Input nodes of relations that are views of this dataflow, the index of their output;
    /// such nodes read it as an input edge instead.
    relation: Option<RelationId>,
    projection: Option<Vec<usize>>,
    watermark: Watermark,
    /// As it was before the present step.
    before: Watermark,
    /// Of an Input, that of the relation by itself, as it was before the present step.
    own: Watermark,
    is_output: bool,
    outgoing: Vec<Outgoing>,
}

struct PlanInput {
    from: usize,
    dealt: bool,
}

/// An exchange edge, seen from the node whose rows are dealt.
struct Outgoing {
    to: usize,
    port: usize,
    /// Key columns and their codec; `None` sends everything to the task that owns the empty key.
    key: Option<(Vec<usize>, RowCodec)>,
    /// The tasks that share the keys.
    tasks: usize,
}

/// A view and all that its tasks hold of it, taken out of one dataflow to be put into another.
pub struct ViewParts {
    spec: ViewSpec,
    tasks: Vec<TaskParts>,
    watermarks: HashMap<NodeRef, Watermark>,
    last_input_us: Option<i64>,
}

struct TaskParts {
    operators: Vec<(NodeRef, Box<dyn Operator>)>,
    counters: Vec<(NodeRef, NodeCounters)>,
    output: ViewOutput,
}

/// The views of a pipeline, running.
pub struct Dataflow {
    specs: BTreeMap<RelationId, ViewSpec>,
    plan: Vec<PlanNode>,
    levels: usize,
    tasks: Vec<Task>,
    store: Arc<dyn Store>,
    entry_budget: Option<usize>,
    watermarks: HashMap<NodeRef, Watermark>,
    quiet: Quiet,
    meetings: Meetings,
    faults: Faults,
    /// Tasks run one after the other, on the thread that steps.
    inline: bool,
}

impl Dataflow {
    /// An empty dataflow of `tasks` tasks whose operators keep their state in `store`.
    pub fn new(tasks: usize, store: Arc<dyn Store>, entry_budget: Option<usize>) -> Dataflow {
        let of = tasks.clamp(1, shard::SHARDS);
        let tasks = (0..of).map(Task::new).collect();
        Dataflow {
            specs: BTreeMap::new(),
            plan: Vec::new(),
            levels: 1,
            tasks,
            store,
            entry_budget,
            watermarks: HashMap::new(),
            quiet: Quiet::default(),
            meetings: Meetings::default(),
            faults: Faults::default(),
            inline: of == 1,
        }
    }

    /// Has tasks run one after the other on the thread that steps, which changes nothing but the time
    /// that it takes.
    pub fn inline(self) -> Dataflow {
        Dataflow { inline: true, ..self }
    }

    /// Number of tasks.
    pub fn num_tasks(&self) -> usize {
        self.tasks.len()
    }

    /// The views, by id.
    pub fn views(&self) -> &BTreeMap<RelationId, ViewSpec> {
        &self.specs
    }

    /// Adds a view with operators built from the store. [`Dataflow::plan`] must follow.
    pub fn add(&mut self, spec: ViewSpec) -> Result<()> {
        let graph = spec.graph.clone();
        let count = self.tasks_of(&spec);
        for task in &mut self.tasks {
            // Others than these only have what needs no key.
            let shards = match task.number < count {
                true => shard::shards_of(task.number, count),
                false => 0..0,
            };
            for (index, node) in graph.nodes.iter().enumerate() {
                let at = NodeRef {
                    view: spec.relation,
                    node: NodeId(index as u32),
                };
                let inputs: Vec<_> = node.inputs.iter().map(|input| graph.node(input.node)).collect();
                let context = TaskContext {
                    relation: spec.relation,
                    node: at.node,
                    task: task.number,
                    tasks: count,
                    shards: shards.clone(),
                    store: self.store.clone(),
                    entry_budget: self.entry_budget,
                };
                if let Some(operator) = operator::build(node, &inputs, &context)? {
                    task.operators.insert(at, operator);
                    task.fresh.insert(at);
                }
            }
            task.views.insert(
                spec.relation,
                ViewOutput::new(&spec, graph.output().schema.clone(), task.number)?,
            );
        }
        self.specs.insert(spec.relation, spec);
        Ok(())
    }

    /// The tasks that share a view's keys.
    fn tasks_of(&self, spec: &ViewSpec) -> usize {
        let all = self.tasks.len();
        spec.options.parallelism.map_or(all, |wanted| wanted.clamp(1, all))
    }

    /// Takes a view out with everything its tasks hold. [`Dataflow::plan`] must follow.
    pub fn take(&mut self, view: RelationId) -> Option<ViewParts> {
        let spec = self.specs.remove(&view)?;
        self.faults.forget(view);
        let tasks = self
            .tasks
            .iter_mut()
            .map(|task| {
                task.failed.remove(&view);
                task.written_bytes.remove(&view);
                TaskParts {
                    operators: drain_view(&mut task.operators, view),
                    counters: drain_view(&mut task.counters, view),
                    output: task.views.remove(&view).expect("each task holds each view's output"),
                }
            })
            .collect();
        let watermarks = drain_view(&mut self.watermarks, view).into_iter().collect();
        Some(ViewParts {
            spec,
            tasks,
            watermarks,
            last_input_us: self.quiet.take(view),
        })
    }

    /// Puts a view in that another dataflow of as many tasks gave. [`Dataflow::plan`] must follow.
    pub fn put(&mut self, parts: ViewParts) {
        assert_eq!(
            parts.tasks.len(),
            self.tasks.len(),
            "dataflows of one engine have equally many tasks"
        );
        for (task, part) in self.tasks.iter_mut().zip(parts.tasks) {
            task.operators.extend(part.operators);
            task.counters.extend(part.counters);
            task.views.insert(parts.spec.relation, part.output);
        }
        self.watermarks.extend(parts.watermarks);
        self.quiet.put(parts.spec.relation, parts.last_input_us);
        self.specs.insert(parts.spec.relation, parts.spec);
    }

    /// Makes the plan anew from the views present. `projections` places the columns of Input nodes
    /// whose relation isn't a view of this dataflow.
    pub fn plan(&mut self, projections: &Projections) -> Result<()> {
        let order = self.view_order()?;
        let mut places: HashMap<NodeRef, usize> = HashMap::new();
        let mut plan: Vec<PlanNode> = Vec::new();
        for view in order {
            let graph = self.specs[&view].graph.clone();
            for index in 0..graph.nodes.len() {
                let at = NodeRef {
                    view,
                    node: NodeId(index as u32),
                };
                let node = self.plan_node(at, &graph, &places, projections, &mut plan)?;
                places.insert(at, plan.len());
                plan.push(node);
            }
        }
        self.levels = plan.iter().map(|node| node.level + 1).max().unwrap_or(1);
        self.plan = plan;
        self.quiet.plan(&self.plan);
        self.meetings.plan(&self.plan);
        for task in &mut self.tasks {
            task.outputs = vec![Vec::new(); self.plan.len()];
            task.inbox.clear();
        }
        Ok(())
    }

    fn plan_node(
        &self,
        at: NodeRef,
        graph: &Arc<Graph>,
        places: &HashMap<NodeRef, usize>,
        projections: &Projections,
        plan: &mut [PlanNode],
    ) -> Result<PlanNode> {
        let place = plan.len();
        let node = graph.node(at.node);
        let mut planned = PlanNode {
            at,
            graph: graph.clone(),
            inputs: Vec::new(),
            level: 0,
            relation: None,
            projection: None,
            watermark: self.watermarks.get(&at).copied().unwrap_or(i64::MIN),
            before: i64::MIN,
            own: i64::MIN,
            is_output: at.node.0 as usize + 1 == graph.nodes.len(),
            outgoing: Vec::new(),
        };
        if let NodeKind::Input(input) = &node.kind {
            if let Some(upstream) = self.specs.get(&input.relation) {
                let output = NodeRef {
                    view: input.relation,
                    node: NodeId(upstream.graph.nodes.len() as u32 - 1),
                };
                let from = places[&output];
                planned.level = plan[from].level;
                planned.inputs.push(PlanInput { from, dealt: false });
                planned.projection = Some(input.columns.clone());
            } else {
                planned.relation = Some(input.relation);
                let projection = projections.get(&at).cloned();
                planned.projection = Some(projection.ok_or_else(|| Error::internal("an input without projection"))?);
            }
            return Ok(planned);
        }
        for (port, input) in node.inputs.iter().enumerate() {
            let from = places[&NodeRef {
                view: at.view,
                node: input.node,
            }];
            let dealt = self.tasks.len() > 1 && input.exchange != Exchange::Local;
            if dealt {
                let key = match &input.exchange {
                    Exchange::Hash(columns) => {
                        let schema = &graph.node(input.node).schema;
                        let types: Vec<_> = columns.iter().map(|c| schema.field(*c).data_type().clone()).collect();
                        Some((columns.clone(), RowCodec::for_types(&types)?))
                    }
                    _ => None,
                };
                let tasks = self.tasks_of(&self.specs[&at.view]);
                plan[from].outgoing.push(Outgoing {
                    to: place,
                    port,
                    key,
                    tasks,
                });
            }
            planned.level = planned.level.max(plan[from].level + usize::from(dealt));
            planned.inputs.push(PlanInput { from, dealt });
        }
        Ok(planned)
    }

    /// Views, those that are read before those that read them.
    fn view_order(&self) -> Result<Vec<RelationId>> {
        let mut order: Vec<RelationId> = Vec::new();
        let mut left: BTreeSet<RelationId> = self.specs.keys().copied().collect();
        while !left.is_empty() {
            let ready = left.iter().copied().find(|view| {
                self.specs[view]
                    .graph
                    .relations()
                    .iter()
                    .all(|read| read == view || !left.contains(read))
            });
            let view = ready.ok_or_else(|| Error::internal("views read each other in a circle"))?;
            left.remove(&view);
            order.push(view);
        }
        Ok(order)
    }

    /// When some operator has something to do though nothing comes, microseconds since the epoch.
    pub fn due_us(&self) -> Option<i64> {
        let operators = self.tasks.iter().flat_map(|task| task.operators.values());
        let due = operators.filter_map(|operator| operator.due_us()).min();
        due.into_iter().chain(self.times_out_us(true)).min()
    }

    /// The same, also of what can't be done before sources are read to their ends.
    pub fn timer_us(&self) -> Option<i64> {
        self.due_us().into_iter().chain(self.times_out_us(false)).min()
    }

    /// The views in which some operator has something to do when its time comes.
    pub fn awaiting_time(&self) -> BTreeSet<RelationId> {
        let operators = self.tasks.iter().flat_map(|task| &task.operators);
        let due = operators.filter(|(_, operator)| operator.due_us().is_some());
        due.map(|(at, _)| at.view).collect()
    }

    /// Moves one step's input through the dataflow. `failed` are views whose input has failed
    /// already. Returns the views that failed, with the cause, and those that rest on them
    /// (without); what they hold is no longer of use.
    pub fn step(
        &mut self,
        moment: Moment,
        mut inputs: HashMap<RelationId, RelationInput>,
        mut failed: BTreeMap<RelationId, Option<Error>>,
    ) -> BTreeMap<RelationId, Option<Error>> {
        let raised = self.timed_out(moment.now_us, &inputs);
        let moved = self.move_watermarks(&inputs, &raised);
        for task in &mut self.tasks {
            task.outputs.iter_mut().for_each(Vec::clear);
        }
        let mut by_task: Vec<HashMap<RelationId, Vec<ChangeBatch>>> = vec![HashMap::new(); self.tasks.len()];
        for (relation, input) in &mut inputs {
            for (task, batches) in std::mem::take(&mut input.batches).into_iter().enumerate() {
                by_task[task].insert(*relation, batches);
            }
        }
        self.collect_failures(&mut failed);
        for level in 0..self.levels {
            let (plan, moved, out) = (&self.plan, &moved, &failed);
            if self.inline {
                for (task, input) in self.tasks.iter_mut().zip(&by_task) {
                    task.run_level(level, moment, plan, moved, input, out);
                }
            } else {
                std::thread::scope(|scope| {
                    let mut tasks = self.tasks.iter_mut().zip(&by_task);
                    let first = tasks.next();
                    for (task, input) in tasks {
                        scope.spawn(move || task.run_level(level, moment, plan, moved, input, out));
                    }
                    if let Some((task, input)) = first {
                        task.run_level(level, moment, plan, moved, input, out);
                    }
                });
            }
            self.hand_over();
            self.collect_failures(&mut failed);
        }
        self.note_arrivals(moment.now_us);
        self.collect_faults(&inputs);
        for view in self.hopeless() {
            if let Some(error) = self.condemn(view) {
                failed.entry(view).or_insert(Some(error));
            }
        }
        self.collect_failures(&mut failed);
        failed
    }

    /// Moves dealt rows to the tasks that own them.
    fn hand_over(&mut self) {
        for from in 0..self.tasks.len() {
            for (to_task, node, port, batches) in std::mem::take(&mut self.tasks[from].sent) {
                self.tasks[to_task]
                    .inbox
                    .entry((node, port))
                    .or_default()
                    .extend(batches);
            }
        }
    }

    fn collect_failures(&mut self, failed: &mut BTreeMap<RelationId, Option<Error>>) {
        for task in &mut self.tasks {
            for (view, error) in std::mem::take(&mut task.failed) {
                failed.insert(view, Some(error));
            }
        }
        if failed.is_empty() {
            return;
        }
        for view in self.with_dependents(failed.keys().copied().collect()) {
            failed.entry(view).or_insert(None);
        }
    }

    /// These views, and all that rest on them.
    pub fn with_dependents(&self, mut views: BTreeSet<RelationId>) -> BTreeSet<RelationId> {
        loop {
            let before = views.len();
            for view in self.specs.values() {
                if view.graph.relations().iter().any(|read| views.contains(read)) {
                    views.insert(view.relation);
                }
            }
            if views.len() == before {
                return views;
            }
        }
    }

    /// Writes what became dirty since the last checkpoint: operator state, view rows, and the
    /// changelogs of `logged` views. Views that have failed in it hold what is nowhere else any more, and must
    /// be taken out.
    pub fn checkpoint(
        &mut self,
        epoch: Epoch,
        logged: &BTreeSet<RelationId>,
        wanted: &BTreeSet<RelationId>,
    ) -> Result<Written> {
        let specs = &self.specs;
        let run = |task: &mut Task| task.checkpoint(epoch, specs, logged, wanted);
        let results: Vec<Result<Vec<_>>> = if self.inline {
            self.tasks.iter_mut().map(|task| Ok(run(task))).collect()
        } else {
            std::thread::scope(|scope| {
                let spawn = |task| scope.spawn(move || run(task));
                let handles: Vec<_> = self.tasks.iter_mut().map(spawn).collect();
                let panicked = |_| Error::internal("a checkpoint panicked");
                let join = |handle: std::thread::ScopedJoinHandle<'_, _>| handle.join().map_err(panicked);
                handles.into_iter().map(join).collect()
            })
        };
        let mut parts = Vec::new();
        let mut failed = BTreeMap::new();
        for (view, outcome) in results.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten() {
            match outcome {
                Ok(part) => parts.push((view, part)),
                Err(error) => drop(failed.entry(view).or_insert(Some(error))),
            }
        }
        for view in self.with_dependents(failed.keys().copied().collect()) {
            failed.entry(view).or_insert(None);
        }
        parts.retain(|(view, _)| !failed.contains_key(view));
        Ok(Written::whole(parts, failed))
    }

    /// The last checkpoint is durable.
    pub fn committed(&mut self) -> Result<()> {
        self.tasks
            .iter_mut()
            .flat_map(|task| task.operators.values_mut())
            .try_for_each(|o| o.committed())
    }

    /// Loads stored state in the background; true when all of it is in memory (or there is no more
    /// room).
    pub fn complete(&mut self, entries: usize) -> Result<bool> {
        for operator in self.tasks.iter_mut().flat_map(|task| task.operators.values_mut()) {
            if !operator.complete(entries)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Rows waiting for the next checkpoint.
    pub fn pending_rows(&self) -> usize {
        self.tasks
            .iter()
            .flat_map(|task| task.views.values())
            .map(ViewOutput::rows)
            .sum()
    }

    /// The watermark of a view's result; `None` if it has no event time.
    pub fn watermark(&self, view: RelationId) -> Option<Watermark> {
        let node = self.plan.iter().find(|node| node.at.view == view && node.is_output)?;
        let has_watermark = node.graph.node(node.at.node).has_watermark;
        // Below all time: no row has moved it yet.
        (has_watermark && node.watermark > i64::MIN).then_some(node.watermark)
    }

    /// All nodes' watermarks, to be stored with the epoch.
    pub fn watermarks(&self) -> &HashMap<NodeRef, Watermark> {
        &self.watermarks
    }

    /// Sets watermarks read with the epoch, before planning.
    pub fn restore_watermarks(&mut self, watermarks: HashMap<NodeRef, Watermark>) {
        self.watermarks = watermarks;
    }
}

fn drain_view<T>(map: &mut HashMap<NodeRef, T>, view: RelationId) -> Vec<(NodeRef, T)> {
    map.extract_if(|at, _| at.view == view).collect()
}
