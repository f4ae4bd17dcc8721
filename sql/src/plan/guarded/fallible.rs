//! Which expressions may fail in a row.
//!
//! Whatever is not known to be safe may. Times moved by an interval are taken to be safe, though they
//! fail some 290,000 years from now.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator};

use super::function::is_passing_errors;
use crate::plan::checked::{self, Operation};

/// Functions that have a value for all arguments of their types.
const SAFE: [&str; 30] = [
    "ascii",
    "bit_length",
    "btrim",
    "cardinality",
    "character_length",
    "coalesce",
    "concat",
    "concat_ws",
    "date_part",
    "date_trunc",
    "get_field",
    "greatest",
    "initcap",
    "isnan",
    "least",
    "left",
    "length",
    "lower",
    "ltrim",
    "named_struct",
    "nullif",
    "octet_length",
    "right",
    "rtrim",
    "starts_with",
    "ends_with",
    "strpos",
    "struct",
    "upper",
    "md5",
];

/// Whether the expression over rows of `schema` may fail.
pub fn can_fail(expr: &Expr, schema: &DFSchema) -> bool {
    let mut found = false;
    let _ = expr.apply(|expr| {
        if is_passing_errors(expr) {
            return Ok(TreeNodeRecursion::Jump);
        }
        found = !is_safe(expr, schema);
        Ok(match found {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    });
    found
}

/// Whether an expression has a value whenever its parts have one.
fn is_safe(expr: &Expr, schema: &DFSchema) -> bool {
    let kind = |expr: &Expr| expr.get_type(schema).unwrap_or(DataType::Null);
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::Plus | Operator::Minus => moves_a_time(&kind(left), &kind(right)),
            op => is_safe_operator(*op),
        },
        Expr::Cast(cast) => is_safe_cast(&kind(&cast.expr), cast.field.data_type()),
        Expr::ScalarFunction(call) => is_safe_call(call, &kind),
        Expr::Like(like) => matches!(*like.pattern, Expr::Literal(..)),
        Expr::Alias(_)
        | Expr::Column(_)
        | Expr::Literal(..)
        | Expr::OuterReferenceColumn(..)
        | Expr::LambdaVariable(_)
        | Expr::Not(_)
        | Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::IsTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotTrue(_)
        | Expr::IsNotFalse(_)
        | Expr::IsNotUnknown(_)
        | Expr::Between(_)
        | Expr::InList(_)
        | Expr::Case(_)
        | Expr::TryCast(_)
        | Expr::Placeholder(_) => true,
        _ => false,
    }
}

/// Whether an operator has a value for all operands.
pub fn is_safe_operator(op: Operator) -> bool {
    use Operator::*;
    matches!(
        op,
        Eq | NotEq | Lt | LtEq | Gt | GtEq | And | Or | IsDistinctFrom | IsNotDistinctFrom | StringConcat
    )
}

fn is_safe_call(call: &ScalarFunction, kind: &dyn Fn(&Expr) -> DataType) -> bool {
    match checked::operation(&call.func) {
        Some(Operation::Form | Operation::Arithmetic(Operator::StringConcat)) => true,
        Some(Operation::Cast(to)) => call.args.first().is_some_and(|from| is_safe_cast(&kind(from), to)),
        Some(_) => false,
        None => SAFE.contains(&call.func.name()),
    }
}

fn moves_a_time(left: &DataType, right: &DataType) -> bool {
    let is_interval = |kind: &DataType| matches!(kind, DataType::Interval(_) | DataType::Duration(_));
    (left.is_temporal() && is_interval(right)) || (is_interval(left) && right.is_temporal())
}

fn is_safe_cast(from: &DataType, to: &DataType) -> bool {
    let bits = |kind: &DataType| kind.primitive_width().unwrap_or(0);
    match (from, to) {
        (from, to) if from == to => true,
        (DataType::Null, _) => true,
        (from, DataType::Utf8) => !from.is_nested(),
        (from, DataType::Float64) => from.is_numeric(),
        (from, to) if from.is_signed_integer() && to.is_signed_integer() => bits(from) <= bits(to),
        (from, to) if from.is_unsigned_integer() && to.is_integer() => {
            bits(from) + usize::from(to.is_signed_integer()) <= bits(to)
        }
        (from, DataType::Decimal128(digits, scale)) if from.is_integer() => {
            let needed = match bits(from) {
                1 => 3,
                2 => 5,
                4 => 10,
                _ => 20,
            };
            i16::from(*digits) - i16::from(*scale) >= needed
        }
        (DataType::Decimal128(p, s), DataType::Decimal128(digits, scale)) => {
            scale >= s && i16::from(*digits) - i16::from(*scale) >= i16::from(*p) - i16::from(*s)
        }
        (DataType::Date32, DataType::Timestamp(..)) | (DataType::Timestamp(..), DataType::Date32) => true,
        _ => false,
    }
}
