//! GROUP BY and DISTINCT.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::DFSchema;
use datafusion::logical_expr::expr::AggregateFunction as Call;
use datafusion::logical_expr::{Aggregate, AggregateUDF, Expr, ExprSchemable, SortExpr};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion::physical_expr::expressions::Column;
use weir_engine::graph::{
    AggregateCall, AggregateFunction, AggregateSpec, FoldRows, FoldSpec, Input, NodeKind, OrderKey,
};

use super::expr::physical;
use super::folds::Folded;
use super::query::{Builder, Built, Closing, Facts, TimeBound, bin_of, exchange_by, order_keys, single, until};
use super::{errors, folds, refuse};
use crate::{Error, Result, explain};

mod grouping_sets;

/// One aggregate call, with the expressions it needs as columns.
struct Wanted {
    function: Function,
    filter: Option<Expr>,
    distinct: bool,
}

enum Function {
    /// One with an incremental form, and its argument.
    Kept(AggregateFunction, Option<Expr>),
    /// Any other.
    Folded(Fold),
}

struct Fold {
    function: Arc<AggregateUDF>,
    arguments: Vec<Expr>,
    /// The arguments that are columns: all but constants behind the first.
    columns: Vec<Expr>,
    order: Vec<SortExpr>,
    distinct: bool,
    name: String,
}

impl Wanted {
    fn exprs(&self) -> impl Iterator<Item = &Expr> {
        let (kept, columns, order) = match &self.function {
            Function::Kept(_, argument) => (argument.as_ref(), &[][..], &[][..]),
            Function::Folded(folded) => (None, &folded.columns[..], &folded.order[..]),
        };
        let order = order.iter().map(|sort| &sort.expr);
        kept.into_iter().chain(columns).chain(order).chain(&self.filter)
    }
}

impl Builder {
    pub(super) fn aggregate(&mut self, aggregate: &Aggregate) -> Result<Built> {
        if let [Expr::GroupingSet(sets)] = &aggregate.group_expr[..] {
            return self.grouping_sets(aggregate, sets);
        }
        // Bins of event time close as windows do, and so judge late rows.
        let binned = self.closing == Closing::Emit && aggregate.group_expr.iter().any(|expr| bin_of(expr).is_some());
        let mut input = self.build(&aggregate.input, binned)?;
        if self.closing == Closing::Emit && !binned && self.groups_moments(&input, &aggregate.group_expr) {
            input = self.build(&aggregate.input, true)?;
        }
        let (input, bin) = self.binned(input, &aggregate.group_expr)?;
        refuse::subqueries(aggregate.group_expr.iter().chain(&aggregate.aggr_expr))?;
        let rows = aggregate.input.schema();
        let calls = aggregate.aggr_expr.iter().map(|call| wanted(call, rows));
        let calls = calls.collect::<Result<Vec<_>>>()?;
        let mut exprs: Vec<&Expr> = aggregate.group_expr.iter().collect();
        if let Some((group, start)) = &bin {
            exprs[*group] = start;
        }
        exprs.extend(calls.iter().flat_map(Wanted::exprs));
        let (input, places) = self.with_columns(input, &exprs)?;
        let groups = aggregate.group_expr.len();
        let (keys, mut rest) = (places[..groups].to_vec(), places[groups..].iter().copied());
        let below = self.graph.node(input.node).schema.clone();
        let mut specs = Vec::with_capacity(calls.len());
        for (index, call) in calls.into_iter().enumerate() {
            let mut next = |count: usize| -> Vec<usize> { rest.by_ref().take(count).collect() };
            let (function, argument) = match call.function {
                Function::Kept(function, argument) => {
                    (function, next(usize::from(argument.is_some())).first().copied())
                }
                Function::Folded(folded) => {
                    let columns = next(folded.columns.len());
                    let order = order_keys(&folded.order, &next(folded.order.len()));
                    let fold = fold(&folded, columns, order, &below)?;
                    (AggregateFunction::Fold(Arc::new(fold)), None)
                }
            };
            specs.push(AggregateCall {
                function,
                argument,
                distinct: call.distinct,
                filter: call.filter.as_ref().and_then(|_| next(1).first().copied()),
                output_type: aggregate.schema.field(groups + index).data_type().clone(),
            });
        }
        if let Some(built) = self.session_groups(&input, &keys, &specs, aggregate)? {
            return Ok(built);
        }
        let (input, keys, specs) = self.sliced(input, keys, specs);
        self.push_aggregate(input, keys, specs, aggregate)
    }

    fn push_aggregate(
        &mut self,
        input: Built,
        keys: Vec<usize>,
        calls: Vec<AggregateCall>,
        aggregate: &Aggregate,
    ) -> Result<Built> {
        let below = self.graph.node(input.node);
        // The start of a window says as well as its end which one it is.
        let to_the_end_us = |column: &usize| match input.time[*column]? {
            TimeBound::WindowEnd => Some(0),
            TimeBound::WindowStart { size_us } => Some(size_us),
            TimeBound::Event => None,
        };
        let bounds = keys.iter().enumerate();
        let bounds = bounds.filter_map(|(position, column)| Some((to_the_end_us(column)?, position)));
        let window = bounds.min();
        let close = window.and_then(|(us, position)| self.closing.spec_after(position, us));
        // Only a grouping by the window as a whole stays bounded: of other columns an old value may
        // come again.
        let time = keys.iter().map(|column| match input.time[*column] {
            Some(TimeBound::Event) | None => None,
            bound => bound,
        });
        let time: Vec<_> = time.chain(calls.iter().map(|_| None)).collect();
        let names: Vec<String> = keys.iter().map(|c| below.schema.field(*c).name().clone()).collect();
        let rows = match keeps_rows(&calls, below.append_only) {
            true => "; keeps the rows of each",
            false => "",
        };
        let bound = match (&close, window) {
            _ if names.is_empty() && !rows.is_empty() => "one group; keeps its rows".to_string(),
            _ if names.is_empty() => "one group".to_string(),
            (Some(close), _) => until(&names[close.column], close.lateness_us),
            (None, Some(_)) => format!(
                "grows with distinct {}; every window stays correctable{rows}",
                names.join(", ")
            ),
            (None, None) => format!("grows with distinct {}{rows}", names.join(", ")),
        };
        let facts = Facts {
            append_only: calls.is_empty() && below.append_only && !keys.is_empty(),
            key: Some((0..keys.len()).collect()),
            has_watermark: below.has_watermark && !keys.is_empty(),
            bound: Some(bound),
        };
        let exchange = if keys.is_empty() {
            single(&input)
        } else {
            exchange_by(&keys, &input)
        };
        let dealt = Some((0..keys.len()).collect());
        let key_fields = keys
            .iter()
            .map(|column| below.schema.field(*column).clone().with_nullable(true));
        let call_fields = calls.iter().map(|call| {
            let name = explain::call_text(call, &below.schema);
            Field::new(name, call.output_type.clone(), true)
        });
        let schema = Arc::new(Schema::new(key_fields.chain(call_fields).collect::<Vec<_>>()));
        let node = self.push(
            NodeKind::Aggregate(AggregateSpec { keys, calls, close }),
            vec![Input {
                node: input.node,
                exchange,
            }],
            schema,
            facts,
        );
        Ok(Built {
            node,
            schema: aggregate.schema.as_ref().clone(),
            hidden: false,
            time,
            dealt,
        })
    }
}

/// Whether some call remembers the rows of its groups.
pub(super) fn keeps_rows(calls: &[AggregateCall], append_only: bool) -> bool {
    calls.iter().any(|call| match &call.function {
        AggregateFunction::Fold(fold) => !append_only || matches!(fold.reads, FoldRows::All | FoldRows::Once),
        _ => false,
    })
}

fn wanted(expr: &Expr, rows: &DFSchema) -> Result<Wanted> {
    let call = match expr {
        Expr::Alias(alias) => return wanted(&alias.expr, rows),
        Expr::AggregateFunction(call) => call,
        other => return Err(Error::new(format!("{other} is no aggregate"))),
    };
    let (function, distinct) = match kept(call, rows) {
        Some((function, argument)) => (Function::Kept(function, argument), call.params.distinct),
        None => {
            let folded = folded(call)?;
            let distinct = folded.distinct;
            (Function::Folded(folded), distinct)
        }
    };
    Ok(Wanted {
        function,
        filter: call.params.filter.as_deref().cloned(),
        distinct,
    })
}

/// The incremental form of a call, if it has one, and its argument. No order changes its answer.
fn kept(call: &Call, rows: &DFSchema) -> Option<(AggregateFunction, Option<Expr>)> {
    let is_interval = |expr: &Expr| matches!(expr.get_type(rows), Ok(DataType::Interval(_)));
    let function = match call.func.name() {
        "count" => AggregateFunction::Count,
        "sum" if !call.params.args.iter().any(is_interval) => AggregateFunction::Sum,
        "avg" | "mean" if !call.params.args.iter().any(is_interval) => AggregateFunction::Avg,
        "min" => AggregateFunction::Min,
        "max" => AggregateFunction::Max,
        _ => return None,
    };
    let counts = function == AggregateFunction::Count;
    match &call.params.args[..] {
        // count(*) is planned as a count of a constant.
        [Expr::Literal(value, _)] if counts && !call.params.distinct && !value.is_null() => Some((function, None)),
        [] if counts => Some((function, None)),
        [argument] => Some((function, Some(argument.clone()))),
        _ => None,
    }
}

fn folded(call: &Call) -> Result<Fold> {
    let (function, arguments, order, distinct) = Folded::parts(call);
    let is_column = |(place, expr): (usize, &Expr)| (place == 0 || !is_constant(expr)).then(|| expr.clone());
    let columns: Vec<Expr> = arguments.iter().enumerate().filter_map(is_column).collect();
    if columns.is_empty() {
        return Err(Error::new(format!(
            "{}() needs an argument in a continuous query",
            function.name()
        )));
    }
    Ok(Fold {
        function: function.clone(),
        arguments: arguments.to_vec(),
        columns,
        order,
        distinct,
        name: Expr::AggregateFunction(call.clone()).schema_name().to_string(),
    })
}

fn is_constant(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(..))
}

fn fold(fold: &Fold, columns: Vec<usize>, order: Vec<OrderKey>, below: &Schema) -> Result<FoldSpec> {
    let function = function(fold, &columns, below)?;
    // Some refuse their arguments only here.
    function.create_accumulator().map_err(errors::translate)?;
    Ok(FoldSpec {
        columns,
        order,
        function: Arc::new(function),
        reads: folds::reads(&fold.function, fold.distinct),
    })
}

/// The function over rows of `columns`.
fn function(fold: &Fold, columns: &[usize], below: &Schema) -> Result<AggregateFunctionExpr> {
    let schema = below.project(columns).map_err(|error| Error::new(error.to_string()))?;
    let mut places = 0..;
    let mut argument = |(number, expr): (usize, &Expr)| -> Result<Arc<dyn PhysicalExpr>> {
        if number > 0 && is_constant(expr) {
            return physical(expr, &DFSchema::empty());
        }
        let place = places.next().unwrap_or_default();
        Ok(Arc::new(Column::new(schema.field(place).name(), place)))
    };
    let arguments: Vec<_> = fold
        .arguments
        .iter()
        .enumerate()
        .map(&mut argument)
        .collect::<Result<_>>()?;
    AggregateExprBuilder::new(fold.function.clone(), arguments)
        .schema(Arc::new(schema))
        .alias(&fold.name)
        .build()
        .map_err(errors::translate)
}
