//! A continuous query as data: nodes, schemas, keys, exchanges.
//!
//! `sql` builds a graph, `EXPLAIN` prints it, a pipeline runs it. Nodes stand in topological order.
//! The graph of a view begins at [`NodeKind::Input`] nodes, which name relations (sources, tables,
//! other views), and at rows that stand in the query, and ends at its last node, whose changes are
//! the view's. Each node runs as one operator per task; an input edge says how rows are dealt to the
//! tasks.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use serde::{Deserialize, Serialize};
use weir_state::RelationId;

mod drawn;
mod join;
mod over;

pub use drawn::{DrawSpec, Drawn};
pub use join::{AsOfClose, AsOfSpec, IntervalSpec, JoinKind, JoinSpec, Nearest};
pub use over::{Far, OverCall, OverSpec, Reach};

/// Index of a node in its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u32);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Nodes that a graph may have: their state tables, eight of each, are numbered in 16 bits.
pub const MOST_NODES: usize = 1 << 13;

/// A continuous query, of at most [`MOST_NODES`].
#[derive(Debug, Clone, Default)]
pub struct Graph {
    /// Nodes, inputs before those who read them; the last one is the result.
    pub nodes: Vec<Node>,
}

/// How rows on an edge find their task.
///
/// State lies in the shard of its key, so the edge into a node with state deals by exactly the node's key columns, in
/// their order: an aggregate's and an upsert's keys, a join's and an as-of join's keys of that side, a session's and a
/// top-N's partition, a gate's column ([`Exchange::Single`] where they are none, and for a recursion). `Local` there
/// only if the rows are already dealt by just these values in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exchange {
    /// They stay in the task that made them.
    Local,
    /// By the shard of these columns.
    Hash(Vec<usize>),
    /// All to task 0.
    Single,
}

/// An edge into a node.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// The node read.
    pub node: NodeId,
    /// How its rows are dealt.
    pub exchange: Exchange,
}

/// A vertex of the graph, with the facts that the planner proved of its output.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it does.
    pub kind: NodeKind,
    /// What it reads; the order is the operator's (left, right).
    pub inputs: Vec<Input>,
    /// Columns of its output.
    pub schema: SchemaRef,
    /// Its output never deletes.
    pub append_only: bool,
    /// Columns that are unique in its output, if any.
    pub key: Option<Vec<usize>>,
    /// Its output's event time is bounded by the minimum of its inputs' watermarks. Where false,
    /// it has none (tables, global aggregates of them).
    pub has_watermark: bool,
    /// For nodes with state: what bounds it, in words for EXPLAIN.
    pub state_bound: Option<String>,
}

/// What a node does. Columns are indexes into the input's schema.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeKind {
    /// Reads a relation: a source, a table or another view.
    Input(InputSpec),
    /// Filters, then projects, row by row.
    Map(MapSpec),
    /// Assigns rows to windows, and judges late ones.
    Window(WindowSpec),
    /// Sums rows up that are in the same windows.
    Slice(SliceSpec),
    /// Assigns rows to sessions, and judges late ones.
    Session(SessionSpec),
    /// All rows of all inputs; schemas are equal.
    Union,
    /// A row for each element of lists.
    Unnest(UnnestSpec),
    /// Groups.
    Aggregate(AggregateSpec),
    /// Joins two inputs on equal keys and a residual condition.
    Join(JoinSpec),
    /// Joins each left row with the nearest right row of its key.
    AsOf(AsOfSpec),
    /// The first rows of each partition.
    TopN(TopNSpec),
    /// Window functions over each partition.
    Over(OverSpec),
    /// Holds rows back until the watermark passes a column.
    Gate(GateSpec),
    /// Rows whose time it is, by the clock.
    Present(PresentSpec),
    /// Gives rows values that are made once.
    Draw(DrawSpec),
    /// Turns keyed records into changes of the last row by key.
    Upsert(UpsertSpec),
    /// The rows that follow from others by a term that reads them again.
    Recurse(RecurseSpec),
    /// Inside a recursion: its own rows (0), or those of its input of this number.
    Port(usize),
    /// Rows that are there from the start. Reads nothing.
    Values(ValuesSpec),
    /// Rows as often as a column says.
    Repeat(RepeatSpec),
}

/// Reads a relation.
#[derive(Debug, Clone, PartialEq)]
pub struct InputSpec {
    /// Which one.
    pub relation: RelationId,
    /// Its name, for EXPLAIN.
    pub name: String,
    /// The columns needed, by index in the relation's schema, in order.
    pub columns: Vec<usize>,
    /// Append the hidden column [`crate::relation::WATERMARK_COLUMN`] (sources with a watermark
    /// only): TIMESTAMP(6), the row's split's watermark before it.
    pub with_watermark: bool,
    /// What is open in the view closes when nothing has come to it for so long, microseconds by the
    /// clock, and all is in that may come to it. (Relations with event time only.)
    pub timeout_us: Option<i64>,
}

/// Filter and projection.
#[derive(Debug, Clone, PartialEq)]
pub struct MapSpec {
    /// Rows where this is true pass; over the input.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// Output columns; over the input.
    pub exprs: Vec<Arc<dyn PhysicalExpr>>,
}

/// Window assignment: appends `window_start` and `window_end` (TIMESTAMP(6), end exclusive). A row
/// of NULL event time enters no window and is counted.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowSpec {
    /// The event-time column.
    pub time: usize,
    /// Length, microseconds.
    pub size_us: i64,
    /// Distance of starts, microseconds; equal to the size for TUMBLE and CUMULATE.
    pub slide_us: i64,
    /// Distance of the ends of windows with one start, microseconds; divides the size. Smaller than
    /// it for CUMULATE only.
    pub step_us: i64,
    /// Shift of starts from the epoch, microseconds.
    pub offset_us: i64,
    /// The hidden watermark column, where the input has one. A row is late in a window that ends
    /// at or before it.
    pub watermark: Option<usize>,
    /// Late rows are dropped this long after the window's end (microseconds of event time; 0 at
    /// once); `None` lets them correct the result for ever. Without a watermark column they are
    /// judged by the input's watermark.
    pub drop_late_after_us: Option<i64>,
}

/// Partial results of the rows of a step by keys and slice of time, before windows that overlap. Output:
/// the key columns, the slice's start (TIMESTAMP(6), as event time), a column for each call, the
/// watermark column. The input only adds rows.
#[derive(Debug, Clone, PartialEq)]
pub struct SliceSpec {
    /// Group columns.
    pub keys: Vec<usize>,
    /// The event-time column, TIMESTAMP(6).
    pub time: usize,
    /// Length of a slice, microseconds: no window begins or ends within one.
    pub slice_us: i64,
    /// Distance of the windows' starts, microseconds.
    pub slide_us: i64,
    /// Their length, microseconds.
    pub size_us: i64,
    /// Shift of starts from the epoch, microseconds.
    pub offset_us: i64,
    /// What is computed of each slice. The results of parts can be put together to that of all.
    pub calls: Vec<AggregateCall>,
    /// The hidden watermark column. A row that is late for one of its windows comes alone, with its
    /// watermark; others come with NULL.
    pub watermark: usize,
}

/// A row for each element of a row's lists, which stand side by side: the shorter ones are followed
/// by NULLs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnnestSpec {
    /// List columns.
    pub lists: Vec<usize>,
    /// The output's columns.
    pub outputs: Vec<Unnested>,
    /// A row without elements gives a row, with NULL as element.
    pub keeps_empty: bool,
}

/// A column of an unnested row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unnested {
    /// A column of the input.
    Column(usize),
    /// The element of a list, by its place in [`UnnestSpec::lists`].
    Element(usize),
}

/// Session assignment: rows of a partition that follow each other by less than the gap are a
/// session, from its first row's time to the gap past its last. Appends `window_start` and
/// `window_end`, and leaves the watermark column out; or, with groups, gives theirs alone. A row of
/// NULL event time is in no session and is counted.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionSpec {
    /// The event-time column.
    pub time: usize,
    /// Sessions are of rows that are equal in these columns.
    pub partition: Vec<usize>,
    /// Rows this far apart or farther are of different sessions, microseconds.
    pub gap_us: i64,
    /// The hidden watermark column, where the input has one; then it is its last. A row is late if
    /// it is below it, and dropped if its session had ended by then.
    pub watermark: Option<usize>,
    /// Closing by the watermark (its `column` is the output's `window_end`, if rows are given);
    /// `None` lets rows of any time change the sessions for ever.
    pub close: Option<CloseSpec>,
    /// What is said of each session in place of its rows.
    pub groups: Option<SessionGroups>,
}

/// Grouping within sessions. Output: the keys, then one column per call. The input is append-only.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionGroups {
    /// What rows are grouped by: all columns of the partition, a bound of the session, and maybe more.
    pub keys: Vec<SessionKey>,
    /// Aggregate calls, over the input.
    pub calls: Vec<AggregateCall>,
}

/// What rows of sessions are grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionKey {
    /// A column of the input.
    Column(usize),
    /// `window_start`.
    Start,
    /// `window_end`.
    End,
}

/// Grouping. Output: the key columns, then one column per call. Distinct is a grouping without
/// calls. Without keys there is one group, and it has a row over empty input.
#[derive(Debug, Clone, PartialEq)]
pub struct AggregateSpec {
    /// Group columns.
    pub keys: Vec<usize>,
    /// Aggregate calls.
    pub calls: Vec<AggregateCall>,
    /// Closing by the watermark, where a key column bounds event time.
    pub close: Option<CloseSpec>,
}

/// When groups end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseSpec {
    /// Position in `keys` (aggregates), or column (sessions, top-N), of the TIMESTAMP(6) that closes
    /// the group when the watermark reaches it.
    pub column: usize,
    /// True: emit each row once, at the close. False: emit changes; the group's state is dropped
    /// `lateness_us` after.
    pub emit_on_close: bool,
    /// Allowed lateness, microseconds.
    pub lateness_us: i64,
}

/// One aggregate call.
#[derive(Debug, Clone, PartialEq)]
pub struct AggregateCall {
    /// The function.
    pub function: AggregateFunction,
    /// Argument column; `None` for `count(*)` and folds.
    pub argument: Option<usize>,
    /// Only distinct arguments count.
    pub distinct: bool,
    /// BOOLEAN column: only rows where it is true count.
    pub filter: Option<usize>,
    /// Type of the result, as the logical plan says.
    pub output_type: DataType,
}

impl AggregateCall {
    /// The columns that it reads; one may be there twice.
    pub fn columns(&self) -> impl Iterator<Item = usize> {
        let (columns, order) = match &self.function {
            AggregateFunction::Fold(fold) => (&fold.columns[..], &fold.order[..]),
            _ => Default::default(),
        };
        let order = order.iter().map(|key| key.column);
        let folded = columns.iter().copied().chain(order);
        self.argument.into_iter().chain(folded).chain(self.filter)
    }

    /// The call with other columns in the places of [`AggregateCall::columns`].
    pub fn with_columns(mut self, columns: impl IntoIterator<Item = usize>) -> Self {
        let mut columns = columns.into_iter();
        let mut put = |place: &mut usize| *place = columns.next().unwrap_or(*place);
        self.argument.as_mut().into_iter().for_each(&mut put);
        if let AggregateFunction::Fold(fold) = &mut self.function {
            let fold = Arc::make_mut(fold);
            fold.columns.iter_mut().for_each(&mut put);
            fold.order.iter_mut().for_each(|key| put(&mut key.column));
        }
        self.filter.as_mut().into_iter().for_each(&mut put);
        self
    }
}

/// The aggregate functions: those that have an incremental form, and all others.
#[derive(Debug, Clone, PartialEq)]
pub enum AggregateFunction {
    /// Rows, or non-null arguments.
    Count,
    /// Sum; integers and decimals are checked, floats over updating input are exact.
    Sum,
    /// Mean; of integers kept as an exact sum and a count.
    Avg,
    /// Smallest.
    Min,
    /// Largest.
    Max,
    /// One that is computed anew from all rows of a group that has changed.
    Fold(Arc<FoldSpec>),
}

/// An aggregate function without an incremental form, over the kept rows of its group.
#[derive(Debug, Clone, PartialEq)]
pub struct FoldSpec {
    /// Columns that the arguments are computed from.
    pub columns: Vec<usize>,
    /// The order in which the function is given the rows. Ties are broken by `columns`, ascending,
    /// NULLs last, so that the answer is determined.
    pub order: Vec<OrderKey>,
    /// The function, over rows of `columns`. It knows nothing of DISTINCT, FILTER and ORDER BY.
    pub function: Arc<AggregateFunctionExpr>,
    /// Which rows it needs to be given.
    pub reads: FoldRows,
}

/// The rows of a group, in order, that a fold looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoldRows {
    /// Each of them, as often as it is there.
    All,
    /// Each of them, once: those of DISTINCT, or of a function that doesn't mind.
    Once,
    /// Only the first.
    First,
    /// Only the last.
    Last,
}

/// One ordering column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderKey {
    /// Column.
    pub column: usize,
    /// Largest first.
    pub descending: bool,
    /// NULLs first.
    pub nulls_first: bool,
}

/// What is counted of rows in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ranking {
    /// Rows.
    RowNumber,
    /// Rows before the row's peers, and one.
    Rank,
    /// Different values of the order, up to the row's.
    DenseRank,
}

/// Top-N: of each partition the rows in order from place `offset` on whose number or rank is no more
/// than `offset + limit`; ties are broken by the rest of the row, ascending, so that the answer is
/// determined.
#[derive(Debug, Clone, PartialEq)]
pub struct TopNSpec {
    /// Partition columns; empty for one partition.
    pub partition: Vec<usize>,
    /// Order.
    pub order: Vec<OrderKey>,
    /// Rows passed over.
    pub offset: u64,
    /// Rows or ranks kept.
    pub limit: u64,
    /// Which of the two.
    pub ranking: Ranking,
    /// Append it, 1-based, as Int64 or UInt64.
    pub number: Option<DataType>,
    /// The partition's event time, where it has one.
    pub close: Option<CloseSpec>,
}

/// Holds changes of a row until the watermark reaches its column, then emits what is left of them
/// once. Output is append-only.
/// Its input is dealt by that column ([`Exchange::Hash`] of it alone).
#[derive(Debug, Clone, PartialEq)]
pub struct GateSpec {
    /// TIMESTAMP(6) column.
    pub column: usize,
    /// Rows wait until the watermark is above their time, when no more of that time come, and not
    /// only until it is there.
    pub whole_times: bool,
    /// The hidden watermark column, where the input has one; then it is its last, and no column of
    /// the output. A row below it is late.
    pub watermark: Option<usize>,
}

/// Rows that enter when the clock reaches the time in one column and leave when it reaches that in
/// another, both TIMESTAMP(6); at least one is given. A row without a time that it needs never
/// enters. Its input is dealt by these columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresentSpec {
    /// From when on; `None`: from the start.
    pub enters: Option<usize>,
    /// Until just before; `None`: for ever.
    pub leaves: Option<usize>,
}

/// The last row by key. Input: the rows, and as last column a BOOLEAN that is true for a
/// tombstone (whose row has only its key columns). Output: changes of rows without that column.
#[derive(Debug, Clone, PartialEq)]
pub struct UpsertSpec {
    /// Key columns.
    pub keys: Vec<usize>,
}

/// `x = start UNION [ALL] next(x, …)`. The first input is the start; the others, numbered from 1, are
/// what the recursive term reads beside. All go to one task ([`Exchange::Single`]).
#[derive(Debug, Clone)]
pub struct RecurseSpec {
    /// The recursive term, over [`NodeKind::Port`]s. It is linear in port 0, which it reads once: no
    /// aggregate, top-N or the like above it.
    pub inner: Arc<Graph>,
    /// UNION: the result is a set.
    pub distinct: bool,
    /// Rounds after which a step fails.
    pub max_iterations: u32,
}

impl PartialEq for RecurseSpec {
    fn eq(&self, other: &RecurseSpec) -> bool {
        self.inner.nodes == other.inner.nodes
            && (self.distinct, self.max_iterations) == (other.distinct, other.max_iterations)
    }
}

/// Rows that are in the query itself: given once, in the first step of all.
#[derive(Debug, Clone, PartialEq)]
pub struct ValuesSpec {
    /// With the columns of the node's schema.
    pub rows: RecordBatch,
}

/// Repeats rows. Output: the input's columns without this one.
#[derive(Debug, Clone, PartialEq)]
pub struct RepeatSpec {
    /// BIGINT column: how often the row is there; not at all if it is NULL or less than 1.
    pub times: usize,
}

impl Graph {
    /// The node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// Appends a node and returns its id.
    pub fn push(&mut self, node: Node) -> NodeId {
        debug_assert!(
            node.inputs
                .iter()
                .all(|input| (input.node.0 as usize) < self.nodes.len())
        );
        self.nodes.push(node);
        NodeId(self.nodes.len() as u32 - 1)
    }

    /// The result: the last node.
    pub fn output(&self) -> &Node {
        self.nodes.last().expect("a graph has at least one node")
    }

    /// Relations that the graph reads, each once, in order of appearance.
    pub fn relations(&self) -> Vec<RelationId> {
        let mut found = Vec::new();
        for node in &self.nodes {
            if let NodeKind::Input(input) = &node.kind
                && !found.contains(&input.relation)
            {
                found.push(input.relation);
            }
        }
        found
    }
}

impl NodeKind {
    /// The node's name in EXPLAIN, metrics and errors.
    pub fn name(&self) -> &'static str {
        match self {
            NodeKind::Input(_) => "Input",
            NodeKind::Map(_) => "Map",
            NodeKind::Window(_) => "Window",
            NodeKind::Slice(_) => "Slice",
            NodeKind::Session(_) => "Session",
            NodeKind::Union => "Union",
            NodeKind::Unnest(_) => "Unnest",
            NodeKind::Aggregate(_) => "Aggregate",
            NodeKind::Join(_) => "Join",
            NodeKind::AsOf(_) => "AsOf",
            NodeKind::TopN(_) => "TopN",
            NodeKind::Over(_) => "Over",
            NodeKind::Gate(_) => "Gate",
            NodeKind::Present(_) => "Present",
            NodeKind::Draw(_) => "Draw",
            NodeKind::Upsert(_) => "Upsert",
            NodeKind::Recurse(_) => "Recurse",
            NodeKind::Port(_) => "Port",
            NodeKind::Values(_) => "Values",
            NodeKind::Repeat(_) => "Repeat",
        }
    }

    /// How many state tables the node may use (ordinals `node * 8 ..`); 0 for none.
    pub fn has_state(&self) -> bool {
        matches!(
            self,
            NodeKind::Session(_)
                | NodeKind::Aggregate(_)
                | NodeKind::Join(_)
                | NodeKind::AsOf(_)
                | NodeKind::TopN(_)
                | NodeKind::Over(_)
                | NodeKind::Gate(_)
                | NodeKind::Present(_)
                | NodeKind::Draw(DrawSpec { keeps: true, .. })
                | NodeKind::Upsert(_)
                | NodeKind::Recurse(_)
                | NodeKind::Values(_)
        )
    }
}
