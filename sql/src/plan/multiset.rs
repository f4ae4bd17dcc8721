//! INTERSECT ALL and EXCEPT ALL: by counting.
//!
//! DataFusion plans them as semi- and anti-joins, which forget how often a row is there. Here the
//! rows of both sides are put together with a mark of where they come from and counted by their
//! values; a row is in the result as often as the lesser of both counts says, or their difference.
//! In a kept query [`RepeatNode`] repeats it; one that is read once unnests a list of that length.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, DFSchemaRef, JoinType, NullEquality, Result, internal_err};
use datafusion::functions::core::expr_fn::{greatest, least};
use datafusion::functions_aggregate::sum::sum;
use datafusion::functions_nested::repeat::array_repeat;
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, Extension, Join, LogicalPlan, LogicalPlanBuilder, UserDefinedLogicalNodeCore, lit,
};

use super::subquery::Use;

const LEFT: &str = "weir_left";
const RIGHT: &str = "weir_right";
const TIMES: &str = "weir_times";

/// The plan with INTERSECT ALL and EXCEPT ALL as SQL has them.
pub fn explicit(plan: LogicalPlan, purpose: Use) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join) if is_all(&join) => counted(&join, purpose).map(Transformed::yes),
        other => Ok(Transformed::no(other)),
    })?
    .data
    .transform_up_with_subqueries(grouped)
    .map(|done| done.data)
}

/// DISTINCT over lists that are unnested as a grouping: DataFusion takes what was unique before for
/// unique behind, and would leave DISTINCT out.
fn grouped(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Distinct(Distinct::All(input))
            if input.exists(|node| Ok(matches!(node, LogicalPlan::Unnest(_))))? =>
        {
            let columns = input.schema().columns().into_iter().map(Expr::Column).collect();
            let grouping = Aggregate::try_new(input, columns, Vec::new())?;
            Ok(Transformed::yes(LogicalPlan::Aggregate(grouping)))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// As written, only a set operation makes such a join. Where its left side is distinct, it is right
/// as it is.
fn is_all(join: &Join) -> bool {
    let distinct = matches!(join.left.as_ref(), LogicalPlan::Distinct(Distinct::All(_)));
    let kind = matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti);
    kind && join.null_equality == NullEquality::NullEqualsNull && join.filter.is_none() && !distinct
}

fn counted(join: &Join, purpose: Use) -> Result<LogicalPlan> {
    let width = join.left.schema().fields().len();
    let name = |column: usize| format!("c{column}");
    let side = |plan: &LogicalPlan, left: i64, right: i64| {
        let columns = plan.schema().columns().into_iter().enumerate();
        let mut exprs: Vec<Expr> = columns
            .map(|(place, column)| Expr::Column(column).alias(name(place)))
            .collect();
        exprs.push(lit(left).alias(LEFT));
        exprs.push(lit(right).alias(RIGHT));
        LogicalPlanBuilder::from(plan.clone()).project(exprs)?.build()
    };
    let of = |name: &str| Expr::Column(Column::from_name(name));
    let times = match join.join_type {
        JoinType::LeftSemi => least(vec![of(LEFT), of(RIGHT)]),
        _ => greatest(vec![of(LEFT) - of(RIGHT), lit(0i64)]),
    };
    let columns: Vec<Expr> = (0..width).map(|column| of(&name(column))).collect();
    let counted = LogicalPlanBuilder::from(side(&join.left, 1, 0)?)
        .union(side(&join.right, 0, 1)?)?
        .aggregate(
            columns.clone(),
            vec![sum(of(LEFT)).alias(LEFT), sum(of(RIGHT)).alias(RIGHT)],
        )?
        .project(columns.iter().cloned().chain([times.alias(TIMES)]))?
        .filter(of(TIMES).gt(lit(0i64)))?;
    let repeated = match purpose {
        Use::Kept => {
            let node = RepeatNode::new(counted.build()?)?;
            LogicalPlanBuilder::from(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
        }
        Use::Read => {
            let list = array_repeat(lit(true), of(TIMES)).alias(TIMES);
            counted
                .project(columns.iter().cloned().chain([list]))?
                .unnest_column(TIMES)?
        }
    };
    let named = join.schema.iter().enumerate().map(|(place, (qualifier, field))| {
        let column = of(&name(place));
        column.alias_qualified(qualifier.cloned(), field.name())
    });
    repeated.project(named.collect::<Vec<_>>())?.build()
}

/// Rows as often as their last column says, without it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RepeatNode {
    /// The rows.
    pub input: LogicalPlan,
    schema: DFSchemaRef,
}

impl PartialOrd for RepeatNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.input.partial_cmp(&other.input)
    }
}

impl RepeatNode {
    /// Rows whose last column says how often.
    pub fn new(input: LogicalPlan) -> Result<RepeatNode> {
        let fields = input.schema().iter().map(|(q, field)| (q.cloned(), field.clone()));
        let width = input.schema().fields().len();
        let fields = fields.take(width.saturating_sub(1)).collect();
        let schema = DFSchema::new_with_metadata(fields, input.schema().metadata().clone())?;
        Ok(RepeatNode {
            input,
            schema: Arc::new(schema),
        })
    }
}

impl UserDefinedLogicalNodeCore for RepeatNode {
    fn name(&self) -> &str {
        "Repeat"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Repeat")
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match inputs.pop() {
            Some(input) => RepeatNode::new(input),
            None => internal_err!("rows to be repeated have one input"),
        }
    }

    /// All columns: rows that differ only in one that is left out would become two of a key.
    fn necessary_children_exprs(&self, _: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![(0..self.input.schema().fields().len()).collect()])
    }
}
