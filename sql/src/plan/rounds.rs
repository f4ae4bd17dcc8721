//! The columns of a recursion may be NULL, whatever its start says.
//!
//! DataFusion takes the columns of `WITH RECURSIVE` for those of its first term. Where that counts rows,
//! they would never be NULL, though the recursive term may well give NULLs; and conditions on them would be
//! decided before there is a row.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, Projection, RecursiveQuery, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};

/// The columns by which a recursive term reads the rows so far.
pub fn rows_so_far(start: &SchemaRef) -> SchemaRef {
    let nullable = |field: &Arc<Field>| field.as_ref().clone().with_nullable(true);
    Arc::new(Schema::new(start.fields().iter().map(nullable).collect::<Vec<_>>()))
}

/// The plan with recursions whose columns may all be NULL.
pub fn may_be_null(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut any = false;
    let done = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::RecursiveQuery(query)
            if query
                .static_term
                .schema()
                .fields()
                .iter()
                .any(|field| !field.is_nullable()) =>
        {
            any = true;
            let columns = query.static_term.schema().iter().map(|(qualifier, field)| {
                let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
                match field.is_nullable() {
                    true => column,
                    false => maybe()
                        .call(vec![column])
                        .alias_qualified(qualifier.cloned(), field.name()),
                }
            });
            let start = Projection::try_new(columns.collect(), query.static_term.clone())?;
            Ok(Transformed::yes(LogicalPlan::RecursiveQuery(RecursiveQuery {
                static_term: Arc::new(LogicalPlan::Projection(start)),
                ..query
            })))
        }
        // What is above says so too.
        node if any => node.recompute_schema().map(Transformed::yes),
        node => Ok(Transformed::no(node)),
    })?;
    Ok(done.data)
}

/// `weir_maybe(value)`: the value, of which nobody knows that it is never NULL.
fn maybe() -> Arc<ScalarUDF> {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        Arc::new(ScalarUDF::from(Maybe {
            signature: Signature::any(1, Volatility::Immutable),
        }))
    });
    FUNCTION.clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Maybe {
    signature: Signature,
}

impl ScalarUDFImpl for Maybe {
    fn name(&self) -> &str {
        "weir_maybe"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        match given {
            [value] => Ok(value.clone()),
            _ => internal_err!("weir_maybe takes one argument"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match &args.args[..] {
            [value] => Ok(value.clone()),
            _ => internal_err!("weir_maybe takes one argument"),
        }
    }
}
