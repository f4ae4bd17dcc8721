//! Checked values in logical plans: arithmetic and casts that fail where DataFusion's wrap, cut or
//! spell otherwise, and floats in their one form.
//!
//! The analyzer's last rule ([`CheckedValues`]) puts functions ([`function`]) in the place of
//! operators and casts, before any constant is folded. In a query that is read once they stay; in a
//! continuous one [`as_operators`] turns them back, so that what looks at expressions sees those it
//! knows, and [`super::expr`] makes each expression of the graph checked ([`expr`]). What both do
//! stands once, in [`operation`].

use arrow::compute::can_cast_types;
use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, ExprSchemable, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;

use super::rewrite;

mod arrays;
mod bytes;
mod casts;
mod expr;
mod function;
mod json;
mod moments;
mod operation;
mod quotients;
mod structs;

pub use arrays::items as array_items;
pub use casts::{column_as, is_ours};
pub use expr::{Checked, checked};
pub use function::operation;
pub use json::is_target as json_becomes;
pub use moments::is_read as is_time;
pub use operation::Operation;

/// Puts checked functions in the place of operators and casts.
#[derive(Debug)]
pub struct CheckedValues;

impl AnalyzerRule for CheckedValues {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        rewrite(plan, &as_function)
    }

    fn name(&self) -> &str {
        "checked_values"
    }
}

/// The plan with operators and casts where [`CheckedValues`] put functions.
pub fn as_operators(plan: LogicalPlan) -> Result<LogicalPlan> {
    rewrite(plan, &as_operator)
}

/// An expression over `schema` with checked functions in the place of operators and casts.
pub fn functions(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    expr.transform_up(|expr| as_function(expr, schema))
        .map(|done| done.data)
}

type Rewrite<'a> = &'a dyn Fn(Expr, &DFSchema) -> Result<Transformed<Expr>>;

fn rewrite(plan: LogicalPlan, replace: Rewrite<'_>) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| {
        let mut schema = merge_schema(&node.inputs());
        if let LogicalPlan::TableScan(scan) = &node {
            let source = DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())?;
            schema.merge(&source);
        }
        rewrite::expressions(node, |expr| replace(expr, &schema))
    })
    .map(|done| done.data)
}

fn as_function(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let kind = |expr: &Expr| expr.get_type(schema).ok();
    let (operation, args) = match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let kinds = kind(&left).zip(kind(&right));
            match kinds.and_then(|(left, right)| Operation::binary(op, &left, &right)) {
                Some(operation) => (operation, vec![*left, *right]),
                None => return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right }))),
            }
        }
        Expr::Negative(inner) => match kind(&inner).and_then(|inner| Operation::negation(&inner)) {
            Some(operation) => (operation, vec![*inner]),
            None => return Ok(Transformed::no(Expr::Negative(inner))),
        },
        Expr::Cast(Cast { expr, field }) => {
            match kind(&expr).and_then(|from| Operation::cast(&from, field.data_type())) {
                Some(operation) => (operation, vec![*expr]),
                None => return Ok(Transformed::no(Expr::Cast(Cast { expr, field }))),
            }
        }
        Expr::ScalarFunction(call) if function::operation(&call.func).is_none() => {
            let expr = Expr::ScalarFunction(call);
            let Expr::ScalarFunction(call) = &expr else {
                unreachable!("it was made one line above");
            };
            match kind(&expr).and_then(|made| Operation::form(call.func.name(), &made)) {
                Some(operation) => (operation, vec![expr]),
                None => return Ok(Transformed::no(expr)),
            }
        }
        Expr::Literal(value, metadata) => return Ok(literal(value, metadata)),
        other => return Ok(Transformed::no(other)),
    };
    Ok(Transformed::yes(function::of(operation).call(args)))
}

/// A constant, floats in their one form. (The pattern 0.0 takes -0.0 too.)
fn literal(value: ScalarValue, metadata: Option<FieldMetadata>) -> Transformed<Expr> {
    let formed = match value {
        ScalarValue::Float64(Some(0.0)) => ScalarValue::Float64(Some(0.0)),
        ScalarValue::Float64(Some(float)) if float.is_nan() => ScalarValue::Float64(Some(f64::NAN)),
        ScalarValue::Float32(Some(0.0)) => ScalarValue::Float32(Some(0.0)),
        ScalarValue::Float32(Some(float)) if float.is_nan() => ScalarValue::Float32(Some(f32::NAN)),
        other => return Transformed::no(Expr::Literal(other, metadata)),
    };
    Transformed::yes(Expr::Literal(formed, metadata))
}

fn as_operator(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::ScalarFunction(call) = &expr else {
        return Ok(Transformed::no(expr));
    };
    let one = |arg: &Expr| Box::new(arg.clone());
    let plain = match (function::operation(&call.func), &call.args[..]) {
        (Some(Operation::Arithmetic(op)), [left, right]) => {
            Expr::BinaryExpr(BinaryExpr::new(one(left), *op, one(right)))
        }
        (Some(Operation::Negation), [only]) => Expr::Negative(one(only)),
        // Of others DataFusion has no cast, and of structs one by the names of the fields.
        (Some(Operation::Cast(to)), [only])
            if !matches!(to, DataType::Struct(_)) && can_cast_types(&only.get_type(schema)?, to) =>
        {
            Expr::Cast(Cast::new(one(only), to.clone()))
        }
        (Some(Operation::Form), [only]) => only.clone(),
        _ => return Ok(Transformed::no(expr)),
    };
    Ok(Transformed::yes(plain))
}
