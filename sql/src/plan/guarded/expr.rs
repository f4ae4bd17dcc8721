//! Guarding operators as physical expressions, for graphs.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::UInt32Array;
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{ColumnarValue, Operator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, Literal, NotExpr,
};
use datafusion::physical_expr_common::physical_expr::fmt_sql;

use super::Connective;
use super::deciding::{Operand, decide};
use super::fallible::is_safe_operator;

/// AND or OR of conditions that may fail.
#[derive(Debug, Eq)]
pub struct Guarded {
    connective: Connective,
    operands: Vec<Arc<dyn PhysicalExpr>>,
}

impl Guarded {
    /// Which operator it is.
    pub fn connective(&self) -> Connective {
        self.connective
    }

    /// The conditions.
    pub fn operands(&self) -> &[Arc<dyn PhysicalExpr>] {
        &self.operands
    }
}

/// The expression with guarding operators where operands may fail.
pub fn guarded(expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
    expr.transform_up(|expr| {
        let Some(binary) = expr.downcast_ref::<BinaryExpr>() else {
            return Ok(Transformed::no(expr));
        };
        let Some(connective) = Connective::of(*binary.op()).filter(|_| can_fail(&expr)) else {
            return Ok(Transformed::no(expr));
        };
        let mut operands = Vec::new();
        flatten(&expr, connective, &mut operands);
        let guarded: Arc<dyn PhysicalExpr> = Arc::new(Guarded { connective, operands });
        Ok(Transformed::yes(guarded))
    })
    .map(|done| done.data)
}

fn flatten(expr: &Arc<dyn PhysicalExpr>, connective: Connective, operands: &mut Vec<Arc<dyn PhysicalExpr>>) {
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>()
        && Connective::of(*binary.op()) == Some(connective)
    {
        flatten(binary.left(), connective, operands);
        flatten(binary.right(), connective, operands);
    } else if let Some(guarded) = expr.downcast_ref::<Guarded>()
        && guarded.connective == connective
    {
        operands.extend(guarded.operands.iter().cloned());
    } else {
        operands.push(expr.clone());
    }
}

/// Whether it may fail: all but what is known not to.
fn can_fail(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let safe = match expr.downcast_ref::<BinaryExpr>() {
        // What is left of sums are times moved by an interval; numbers have become checked operations.
        Some(binary) => is_safe_operator(*binary.op()) || matches!(binary.op(), Operator::Plus | Operator::Minus),
        None => {
            expr.is::<Column>()
                || expr.is::<Literal>()
                || expr.is::<NotExpr>()
                || expr.is::<IsNullExpr>()
                || expr.is::<IsNotNullExpr>()
                || expr.is::<InListExpr>()
                || expr.is::<CaseExpr>()
        }
    };
    !safe || expr.children().into_iter().any(can_fail)
}

impl PartialEq for Guarded {
    fn eq(&self, other: &Guarded) -> bool {
        self.connective == other.connective && self.operands == other.operands
    }
}

impl Hash for Guarded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.connective.hash(state);
        self.operands.hash(state);
    }
}

impl fmt::Display for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_sql(f)
    }
}

impl PhysicalExpr for Guarded {
    fn data_type(&self, _: &Schema) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        for operand in &self.operands {
            if operand.nullable(schema)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn evaluate(&self, rows: &RecordBatch) -> Result<ColumnarValue> {
        let operand = |operand: &Arc<dyn PhysicalExpr>| {
            let operand = operand.clone();
            move |some: Option<&UInt32Array>| match some {
                Some(some) => {
                    let rows = take_record_batch(rows, some)?;
                    operand.evaluate(&rows)?.into_array(rows.num_rows())
                }
                None => operand.evaluate(rows)?.into_array(rows.num_rows()),
            }
        };
        let operands: Vec<_> = self.operands.iter().map(operand).collect();
        let operands: Vec<&Operand> = operands.iter().map(|operand| operand as &Operand).collect();
        let truth = decide(self.connective, &operands, rows.num_rows())?;
        Ok(ColumnarValue::Array(Arc::new(truth)))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        self.operands.iter().collect()
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        Ok(Arc::new(Guarded {
            connective: self.connective,
            operands: children,
        }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, operand) in self.operands.iter().enumerate() {
            if number > 0 {
                write!(f, " {} ", self.connective.word())?;
            }
            match operand.is::<Guarded>() {
                true => write!(f, "({})", fmt_sql(operand.as_ref()))?,
                false => operand.fmt_sql(f)?,
            }
        }
        Ok(())
    }
}
