//! The order of arrays and rows: as in PostgreSQL by their elements, of which NULL is the greatest, and then by how
//! many there are.
//!
//! Arrow puts NULLs inside by where those outside are put. So what compares such values, or orders by them, has their
//! *places* instead: bytes that are in order as they are, by the codec that keeps rows in order in a kept answer.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray};
use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DataFusionError, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;
use weir_engine::row::RowCodec;

/// Whether a type's values have places.
pub fn has_places(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) | DataType::Struct(_)
    )
}

/// The places of a column's values.
pub fn places(column: &ArrayRef) -> Result<ArrayRef> {
    let codec = RowCodec::for_types(&[column.data_type().clone()]).map_err(outside)?;
    let rows = codec
        .encode(std::slice::from_ref(column), column.len())
        .map_err(outside)?;
    let place = |row: usize| column.is_valid(row).then(|| rows.row(row));
    Ok(Arc::new((0..column.len()).map(place).collect::<BinaryArray>()))
}

/// The values of a type that have these places.
pub fn values(places: &ArrayRef, kind: &DataType) -> Result<ArrayRef> {
    let codec = RowCodec::for_types(std::slice::from_ref(kind)).map_err(outside)?;
    let nothing = codec
        .encode(&[arrow::array::new_null_array(kind, 1)], 1)
        .map_err(outside)?;
    let places = places.as_binary::<i32>();
    let rows = places.iter().map(|place| place.unwrap_or(nothing.row(0)));
    Ok(codec.decode(rows).map_err(outside)?.remove(0))
}

fn outside(error: weir_engine::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// Compares the places of values, where one of them is to be less than the other.
#[derive(Debug)]
pub struct Places;

impl AnalyzerRule for Places {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let done = plan.transform_up_with_subqueries(|node| {
            let schema = merge_schema(&node.inputs());
            let names = NamePreserver::new(&node);
            node.map_expressions(|expr| {
                let name = names.save(&expr);
                let done = expr.transform_up(|expr| Ok(compared(expr, &schema)))?;
                Ok(done.update_data(|expr| name.restore(expr)))
            })
        })?;
        Ok(done.data)
    }

    fn name(&self) -> &str {
        "places"
    }
}

fn compared(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let placed = |expr: &Expr| expr.get_type(schema).is_ok_and(|kind| has_places(&kind));
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_order(op) && placed(&left) && placed(&right) => {
            let place = |expr: Box<Expr>| Box::new(function().call(vec![*expr]));
            Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(place(left), op, place(right))))
        }
        Expr::Between(mut between) if placed(&between.expr) && placed(&between.low) && placed(&between.high) => {
            for part in [&mut between.expr, &mut between.low, &mut between.high] {
                **part = function().call(vec![std::mem::take(&mut **part)]);
            }
            Transformed::yes(Expr::Between(between))
        }
        other => Transformed::no(other),
    }
}

fn is_order(op: Operator) -> bool {
    matches!(op, Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq)
}

/// The function that gives a value's place.
fn function() -> ScalarUDF {
    ScalarUDF::from(Place {
        signature: Signature::any(1, Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Place {
    signature: Signature,
}

impl ScalarUDFImpl for Place {
    fn name(&self) -> &str {
        "weir_place"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Binary)
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let column = args.args[0].to_array(args.number_rows)?;
        Ok(ColumnarValue::Array(places(&column)?))
    }
}
