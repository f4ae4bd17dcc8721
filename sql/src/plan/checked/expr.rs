//! Checked operations as physical expressions, for graphs.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, NegativeExpr};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_expr_common::physical_expr::fmt_sql;
use weir_engine::format::sql_type;

use super::operation::Operation;

/// An operation on what other expressions give.
#[derive(Debug, Eq)]
pub struct Checked {
    operation: Operation,
    args: Vec<Arc<dyn PhysicalExpr>>,
}

impl Checked {
    /// What it does.
    pub fn operation(&self) -> &Operation {
        &self.operation
    }

    /// What it does it to.
    pub fn args(&self) -> &[Arc<dyn PhysicalExpr>] {
        &self.args
    }
}

/// The expression over rows of `schema` with checked operations in the place of DataFusion's.
pub fn checked(expr: Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
    expr.transform_up(|expr| {
        let kind = |expr: &Arc<dyn PhysicalExpr>| expr.data_type(schema);
        let found = if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
            let (left, right) = (binary.left(), binary.right());
            let operation = Operation::binary(*binary.op(), &kind(left)?, &kind(right)?);
            operation.map(|operation| (operation, vec![left.clone(), right.clone()]))
        } else if let Some(negative) = expr.downcast_ref::<NegativeExpr>() {
            let operation = Operation::negation(&kind(negative.arg())?);
            operation.map(|operation| (operation, vec![negative.arg().clone()]))
        } else if let Some(cast) = expr.downcast_ref::<CastExpr>() {
            // A cast that gives NULL where it fails is TRY_CAST's.
            let operation = match cast.cast_options().safe {
                true => None,
                false => Operation::cast(&kind(cast.expr())?, cast.cast_type()),
            };
            operation.map(|operation| (operation, vec![cast.expr().clone()]))
        } else if let Some(call) = expr.downcast_ref::<ScalarFunctionExpr>() {
            let operation = Operation::form(call.name(), call.return_type());
            operation.map(|operation| (operation, vec![expr.clone()]))
        } else {
            None
        };
        Ok(match found {
            Some((operation, args)) => {
                let checked: Arc<dyn PhysicalExpr> = Arc::new(Checked { operation, args });
                Transformed::yes(checked)
            }
            None => Transformed::no(expr),
        })
    })
    .map(|done| done.data)
}

impl PartialEq for Checked {
    fn eq(&self, other: &Checked) -> bool {
        self.operation == other.operation && self.args == other.args
    }
}

impl Hash for Checked {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.operation.hash(state);
        self.args.hash(state);
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_sql(f)
    }
}

impl PhysicalExpr for Checked {
    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        let given: Vec<DataType> = self
            .args
            .iter()
            .map(|arg| arg.data_type(schema))
            .collect::<Result<_>>()?;
        self.operation.result_type(&given)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        for arg in &self.args {
            if arg.nullable(schema)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn evaluate(&self, rows: &RecordBatch) -> Result<ColumnarValue> {
        let args: Vec<ColumnarValue> = self.args.iter().map(|arg| arg.evaluate(rows)).collect::<Result<_>>()?;
        self.operation.evaluate(&args)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        self.args.iter().collect()
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        let operation = self.operation.clone();
        Ok(Arc::new(Checked {
            operation,
            args: children,
        }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operand = |arg: &Arc<dyn PhysicalExpr>| match arg.is::<BinaryExpr>() || is_arithmetic(arg) {
            true => format!("({})", fmt_sql(arg.as_ref())),
            false => fmt_sql(arg.as_ref()).to_string(),
        };
        match (&self.operation, &self.args[..]) {
            (Operation::Arithmetic(op), [left, right]) => write!(f, "{} {op} {}", operand(left), operand(right)),
            (Operation::Negation, [only]) => write!(f, "-{}", operand(only)),
            (Operation::Cast(to), [only]) => write!(f, "CAST({} AS {})", fmt_sql(only.as_ref()), sql_type(to)),
            (_, args) => args.iter().try_for_each(|arg| arg.fmt_sql(f)),
        }
    }
}

/// Whether an expression is `left operator right`, or merely the form of one.
pub fn is_arithmetic(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let checked = expr.downcast_ref::<Checked>();
    checked.is_some_and(|checked| matches!(checked.operation, Operation::Arithmetic(_)))
}
