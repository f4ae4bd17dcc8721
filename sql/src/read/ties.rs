//! Ties of a query that is read once, broken as in a kept answer: by the rest of the row.
//!
//! Where rows are equal in the order that is asked for, some answers depend on which comes first:
//! ROW_NUMBER, frames of ROWS, which rows a LIMIT leaves. A kept answer puts them in the order of
//! their other columns, each ascending with NULLs last. So here every LIMIT sorts by these as well,
//! and every window function is over rows that are sorted by them.
//!
//! A window function's own ORDER BY stays as it is, since it also says which rows are peers; only its
//! input is sorted further, when all of the plan is settled. DataFusion might turn a window round
//! where rows are already in the opposite order, and with them their ties. So what a window is
//! ordered by goes through a function that does nothing, and that no other order has. (Of arrays and rows it gives
//! the places, by which a kept answer orders them.)

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, SortExpr,
    Volatility, Window, lit,
};
use datafusion::physical_expr::window::WindowExpr;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr, expressions as physical_exprs};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};

use crate::plan::places::{has_places, places};

/// The optimized plan with the ties of its LIMITs broken, and its windows' orders made their own.
pub fn broken(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut serial = 0;
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Window(window) => {
            serial += 1;
            with_own_order(window, serial).map(Transformed::yes)
        }
        LogicalPlan::Sort(mut sort) => {
            if sort.fetch.is_some() {
                let rest = rest(&sort.input, sort.expr.iter().map(|by| &by.expr));
                sort.expr.extend(rest);
            }
            for by in &mut sort.expr {
                if has_places(&by.expr.get_type(sort.input.schema())?) {
                    *by = by.with_expr(in_order(by.expr.clone(), 0));
                }
            }
            Ok(Transformed::yes(LogicalPlan::Sort(sort)))
        }
        other => Ok(Transformed::no(other)),
    })
    .map(|done| done.data)
}

/// A physical plan whose windows are over rows that are sorted to the last, and computed a partition
/// as a whole, as kept ones are.
pub fn over_sorted(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let (functions, input) = if let Some(window) = node.downcast_ref::<BoundedWindowAggExec>() {
            (window.window_expr(), window.input())
        } else if let Some(window) = node.downcast_ref::<WindowAggExec>() {
            (window.window_expr(), window.input())
        } else {
            return Ok(Transformed::no(node));
        };
        let sorted = sorted(functions, input);
        let window = WindowAggExec::try_new(functions.to_vec(), sorted, false)?;
        Ok(Transformed::yes(Arc::new(window) as Arc<dyn ExecutionPlan>))
    })
    .map(|done| done.data)
}

fn sorted(functions: &[Arc<dyn WindowExpr>], input: &Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    // The sort that is there may be a part of the one that is wanted.
    let below = match input.downcast_ref::<SortExec>() {
        Some(sort) if sort.fetch().is_none() => sort.input(),
        _ => input,
    };
    let ascending = SortOptions {
        descending: false,
        nulls_first: false,
    };
    let mut by: Vec<PhysicalSortExpr> = Vec::new();
    if let Some(function) = functions.first() {
        let partition = function.partition_by().iter().cloned();
        by.extend(partition.map(|expr| PhysicalSortExpr::new(expr, ascending)));
        by.extend(function.order_by().iter().cloned());
    }
    for (column, field) in below.schema().fields().iter().enumerate() {
        if is_sortable(field.data_type()) {
            let column = Arc::new(physical_exprs::Column::new(field.name(), column));
            by.push(PhysicalSortExpr::new(column, ascending));
        }
    }
    match LexOrdering::new(by) {
        Some(by) => Arc::new(SortExec::new(by, below.clone())),
        // Rows without columns are all the same.
        None => input.clone(),
    }
}

/// A window whose order no other has.
fn with_own_order(window: Window, serial: i64) -> Result<LogicalPlan> {
    let Window {
        input,
        window_expr,
        schema,
    } = window;
    let columns = input.schema().fields().len();
    let mut own = Vec::with_capacity(window_expr.len());
    for (nth, expr) in window_expr.into_iter().enumerate() {
        let name = schema.field(columns + nth).name().clone();
        let Expr::WindowFunction(mut call) = expr.unalias() else {
            return datafusion::common::internal_err!("a window has something else than a window function");
        };
        for by in &mut call.params.order_by {
            *by = by.with_expr(in_order(by.expr.clone(), serial));
        }
        own.push(Expr::WindowFunction(call).alias(name));
    }
    Window::try_new_with_schema(own, input, schema).map(LogicalPlan::Window)
}

/// The columns that rows are not yet sorted by.
fn rest<'a>(input: &LogicalPlan, given: impl Iterator<Item = &'a Expr>) -> Vec<SortExpr> {
    let given: BTreeSet<&Column> = given
        .filter_map(|expr| match expr {
            Expr::Column(column) => Some(column),
            _ => None,
        })
        .collect();
    let schema = input.schema();
    let columns = schema.columns().into_iter().zip(schema.fields());
    let rest = columns.filter(|(column, field)| !given.contains(column) && is_sortable(field.data_type()));
    rest.map(|(column, _)| Expr::Column(column).sort(true, false)).collect()
}

/// Whether Arrow can sort by a type.
fn is_sortable(kind: &DataType) -> bool {
    match kind {
        DataType::Map(..) | DataType::Union(..) => false,
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            is_sortable(field.data_type())
        }
        DataType::Struct(fields) => fields.iter().all(|field| is_sortable(field.data_type())),
        _ => true,
    }
}

fn in_order(expr: Expr, serial: i64) -> Expr {
    let function = ScalarUDF::from(InOrder {
        signature: Signature::any(2, Volatility::Immutable),
    });
    function.call(vec![expr, lit(serial)])
}

/// Its first argument, or the place of it; the second tells one order from another.
#[derive(Debug, PartialEq, Eq, Hash)]
struct InOrder {
    signature: Signature,
}

impl ScalarUDFImpl for InOrder {
    fn name(&self) -> &str {
        "weir_in_order"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        Ok(match has_places(&given[0]) {
            true => DataType::Binary,
            false => given[0].clone(),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let given = &args.args[0];
        match has_places(&given.data_type()) {
            true => places(&given.to_array(args.number_rows)?).map(ColumnarValue::Array),
            false => Ok(given.clone()),
        }
    }
}
