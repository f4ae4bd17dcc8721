//! Checked arithmetic in logical plans: `+`, `-` and `*` of integers and decimals fail on overflow.
//!
//! DataFusion's operators wrap. The analyzer's last rule ([`CheckedArithmetic`]) therefore puts
//! functions in their place, before any constant is folded. In a query that is read once they stay;
//! in a continuous one [`as_operators`] turns them back, and [`super::expr`] makes each expression
//! of the graph checked.

use arrow::array::{ArrayRef, Datum};
use arrow::compute::kernels::numeric;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;

/// Puts checked functions in the place of operators.
#[derive(Debug)]
pub struct CheckedArithmetic;

impl AnalyzerRule for CheckedArithmetic {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        rewrite(plan, &as_function)
    }

    fn name(&self) -> &str {
        "checked_arithmetic"
    }
}

/// The plan with operators where [`CheckedArithmetic`] put functions.
pub fn as_operators(plan: LogicalPlan) -> Result<LogicalPlan> {
    rewrite(plan, &|expr, _| as_operator(expr))
}

/// An expression over `schema` with checked functions in the place of operators.
pub fn arithmetic(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    expr.transform_up(|expr| as_function(expr, schema))
        .map(|done| done.data)
}

/// An expression over `schema` whose negations are checked.
pub fn negations(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let rewrite = |expr: Expr| match &expr {
        Expr::Negative(_) => as_function(expr, schema),
        _ => Ok(Transformed::no(expr)),
    };
    expr.transform_up(rewrite).map(|done| done.data)
}

type Rewrite<'a> = &'a dyn Fn(Expr, &DFSchema) -> Result<Transformed<Expr>>;

fn rewrite(plan: LogicalPlan, replace: Rewrite<'_>) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| {
        let mut schema = merge_schema(&node.inputs());
        if let LogicalPlan::TableScan(scan) = &node {
            let source = DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())?;
            schema.merge(&source);
        }
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            let done = expr.transform_up(|expr| replace(expr, &schema))?;
            Ok(done.update_data(|expr| name.restore(expr)))
        })
    })
    .map(|done| done.data)
}

fn as_function(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let exact = |expr: &Expr| expr.get_type(schema).is_ok_and(|kind| is_exact(&kind));
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply) && exact(&left) && exact(&right) =>
        {
            Ok(Transformed::yes(function(op).call(vec![*left, *right])))
        }
        Expr::Negative(inner) if exact(&inner) => Ok(Transformed::yes(function(Operator::Minus).call(vec![*inner]))),
        other => Ok(Transformed::no(other)),
    }
}

fn as_operator(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::ScalarFunction(call) = &expr else {
        return Ok(Transformed::no(expr));
    };
    let Some(checked) = call.func.inner().downcast_ref::<Checked>() else {
        return Ok(Transformed::no(expr));
    };
    match &call.args[..] {
        [only] => Ok(Transformed::yes(Expr::Negative(Box::new(only.clone())))),
        [left, right] => Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(
            Box::new(left.clone()),
            checked.op,
            Box::new(right.clone()),
        )))),
        _ => Ok(Transformed::no(expr)),
    }
}

/// Types whose arithmetic is exact or fails.
fn is_exact(kind: &DataType) -> bool {
    kind.is_integer() || matches!(kind, DataType::Decimal128(..) | DataType::Decimal256(..))
}

fn function(op: Operator) -> ScalarUDF {
    ScalarUDF::from(Checked {
        op,
        signature: Signature::user_defined(Volatility::Immutable),
    })
}

/// `+`, `-` and `*`; `-` of one argument negates.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    op: Operator,
    signature: Signature,
}

impl Checked {
    fn compute(&self, args: &[&dyn Datum]) -> Result<ArrayRef, ArrowError> {
        match (self.op, args) {
            (Operator::Plus, [left, right]) => numeric::add(*left, *right),
            (Operator::Minus, [left, right]) => numeric::sub(*left, *right),
            (Operator::Multiply, [left, right]) => numeric::mul(*left, *right),
            (Operator::Minus, [only]) => numeric::neg(only.get().0),
            (op, _) => Err(ArrowError::InvalidArgumentError(format!("no checked {op}"))),
        }
    }
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        match self.op {
            Operator::Plus => "+",
            Operator::Minus => "-",
            _ => "*",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        Ok(given.to_vec())
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        match given {
            [only] => Ok(only.clone()),
            [left, right] => BinaryTypeCoercer::new(left, &self.op, right).get_result_type(),
            _ => datafusion::common::internal_err!("{} takes one or two arguments", self.op),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let all_scalars = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let computed = match &args.args[..] {
            [ColumnarValue::Array(left), ColumnarValue::Array(right)] => self.compute(&[left, right]),
            [ColumnarValue::Array(left), ColumnarValue::Scalar(right)] => self.compute(&[left, &right.to_scalar()?]),
            [ColumnarValue::Scalar(left), ColumnarValue::Array(right)] => self.compute(&[&left.to_scalar()?, right]),
            [ColumnarValue::Scalar(left), ColumnarValue::Scalar(right)] => {
                self.compute(&[&left.to_array()?, &right.to_array()?])
            }
            [ColumnarValue::Array(only)] => self.compute(&[only]),
            [ColumnarValue::Scalar(only)] => self.compute(&[&only.to_array()?]),
            _ => self.compute(&[]),
        }?;
        if all_scalars {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&computed, 0)?));
        }
        Ok(ColumnarValue::Array(computed))
    }
}
