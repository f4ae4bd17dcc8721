//! Values that are made once for each row of a continuous query: `now()` outside of conditions,
//! `random()`, `uuid()`.
//!
//! Below whatever computes with such a function a [`DrawNode`] gives each row a column with its
//! value, and the function becomes that column. What is above is then a function of its rows, which
//! may be computed again for their deletes.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::Field;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef, DataFusionError, Result};
use datafusion::logical_expr::{
    Expr, Extension, LogicalPlan, LogicalPlanBuilder, UserDefinedLogicalNodeCore, Volatility,
};
use weir_engine::graph::Drawn;

use super::session::RelationSource;
use super::{clock, rewrite};

/// What of a function's value is made once, if it is one of these.
pub fn value(function: &str) -> Option<Drawn> {
    match function {
        "random" => Some(Drawn::Random),
        "uuid" => Some(Drawn::Uuid),
        other => clock::tells(other).then_some(Drawn::Now),
    }
}

/// The volatile functions of a node's expressions, without those of subqueries.
pub fn functions(node: &LogicalPlan) -> Result<Vec<String>> {
    let mut found = Vec::new();
    node.apply_expressions(|expr| {
        expr.apply(|expr| {
            if let Expr::ScalarFunction(call) = expr
                && call.func.signature().volatility != Volatility::Immutable
            {
                found.push(call.func.name().to_string());
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(found)
}

/// The plan with such values made below what computes with them.
pub fn made_once(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut number = 0;
    plan.transform_up_with_subqueries(|node| {
        if functions(&node)?.is_empty() {
            return Ok(Transformed::no(node));
        }
        number += 1;
        over_draw(node, number).map(Transformed::yes)
    })
    .map(|done| done.data)
}

/// A node over a [`DrawNode`] that makes what it computes with.
fn over_draw(node: LogicalPlan, number: usize) -> Result<LogicalPlan> {
    let [input] = node.inputs()[..] else {
        return Err(DataFusionError::Internal("values are made for one input".to_string()));
    };
    let (input, schema) = (input.clone(), node.schema().clone());
    let mut values = Vec::new();
    let computed = rewrite::expressions(node, |expr| Ok(Transformed::yes(as_column(expr, number, &mut values))))?;
    let draw = DrawNode::new(input, values, number)?;
    let draw = LogicalPlan::Extension(Extension { node: Arc::new(draw) });
    let node = computed.data.with_new_exprs(computed.data.expressions(), vec![draw])?;
    // A filter shows its input's columns; these are none of its own.
    match node.schema().fields().len() == schema.fields().len() {
        true => Ok(node),
        false => {
            let shown = schema.columns().into_iter().map(Expr::Column);
            LogicalPlanBuilder::from(node).project(shown)?.build()
        }
    }
}

/// The column in the place of a function.
fn as_column(expr: Expr, number: usize, values: &mut Vec<Drawn>) -> Expr {
    let Expr::ScalarFunction(call) = &expr else {
        return expr;
    };
    let function = call.func.name();
    let Some(value) = value(function) else { return expr };
    // All functions of the clock tell the same time.
    let known = values.iter().position(|known| value == Drawn::Now && *known == value);
    let place = known.unwrap_or_else(|| {
        values.push(value);
        values.len() - 1
    });
    let column = Expr::Column(Column::new_unqualified(column_name(number, place)));
    match value {
        Drawn::Now => clock::told(function, column),
        _ => column,
    }
}

fn column_name(number: usize, place: usize) -> String {
    format!("weir_drawn_{number}_{place}")
}

/// Gives rows a column for each value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrawNode {
    /// The rows.
    pub input: LogicalPlan,
    /// The values.
    pub values: Vec<Drawn>,
    /// Tells it from others of the plan.
    pub number: usize,
    schema: DFSchemaRef,
}

impl DrawNode {
    fn new(input: LogicalPlan, values: Vec<Drawn>, number: usize) -> Result<DrawNode> {
        let mut fields: Vec<_> = input.schema().iter().map(|(q, f)| (q.cloned(), f.clone())).collect();
        for (place, value) in values.iter().enumerate() {
            let field = Field::new(column_name(number, place), value.data_type(), false);
            fields.push((None, Arc::new(field)));
        }
        let schema = DFSchema::new_with_metadata(fields, input.schema().metadata().clone())?;
        Ok(DrawNode {
            input,
            values,
            number,
            schema: Arc::new(schema),
        })
    }
}

/// Columns that tell rows apart: a table's or view's key, and none where no row is ever taken away.
/// `None` where nothing less than all columns does.
fn told_apart_by(plan: &LogicalPlan) -> Option<Vec<usize>> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let relation = &scan.source.downcast_ref::<RelationSource>()?.relation;
            if relation.append_only() {
                return Some(Vec::new());
            }
            let place = |column: &usize| match &scan.projection {
                Some(columns) => columns.iter().position(|shown| shown == column),
                None => Some(*column),
            };
            relation.key.as_ref()?.iter().map(place).collect()
        }
        LogicalPlan::Filter(filter) => told_apart_by(&filter.input),
        LogicalPlan::SubqueryAlias(alias) => told_apart_by(&alias.input),
        LogicalPlan::Projection(projection) => {
            let schema = projection.input.schema();
            let place = |column: usize| {
                let is_it = |expr: &Expr| match expr {
                    Expr::Column(shown) => schema.maybe_index_of_column(shown) == Some(column),
                    _ => false,
                };
                projection.expr.iter().position(is_it)
            };
            told_apart_by(&projection.input)?.into_iter().map(place).collect()
        }
        _ => None,
    }
}

impl Hash for DrawNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.input, &self.values, self.number).hash(state);
    }
}

impl PartialOrd for DrawNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (&self.input, &self.values, self.number).partial_cmp(&(&other.input, &other.values, other.number))
    }
}

impl UserDefinedLogicalNodeCore for DrawNode {
    fn name(&self) -> &str {
        "Draw"
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

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        (0..self.values.len())
            .map(|place| column_name(self.number, place))
            .collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Draw: {:?}", self.values)
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let input = inputs.pop();
        let input = input.ok_or_else(|| DataFusionError::Internal("values are made for an input".to_string()))?;
        DrawNode::new(input, self.values.clone(), self.number)
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.input.schema().fields().len();
        // Rows that differ only in what isn't needed have values of their own.
        let mut needed = told_apart_by(&self.input)?;
        needed.extend(output_columns.iter().copied().filter(|column| *column < width));
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}
