//! Guarding operators as functions, for plans that DataFusion runs. An operand is a lambda, so that the
//! function says over which rows it is computed.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{ArrayRef, NullArray, UInt32Array};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::expr::{HigherOrderFunction, Lambda};
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, HigherOrderFunctionArgs, HigherOrderReturnFieldArgs, HigherOrderSignature,
    HigherOrderUDF, HigherOrderUDFImpl, LambdaArgument, LambdaParametersProgress, ValueOrLambda, Volatility,
};

use super::Connective;
use super::deciding::{Operand, decide, holds_or_fails, of_rows};

/// The operands of a chain of one connective, in order; those of guarding calls too.
pub fn flatten(expr: Expr, connective: Connective, operands: &mut Vec<Expr>) {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if Connective::of(op) == Some(connective) => {
            flatten(*left, connective, operands);
            flatten(*right, connective, operands);
        }
        Expr::HigherOrderFunction(call) if connective_of(&call) == Some(connective) => {
            operands.extend(call.args.into_iter().map(|arg| match arg {
                Expr::Lambda(lambda) => *lambda.body,
                other => other,
            }));
        }
        other => operands.push(other),
    }
}

fn connective_of(call: &HigherOrderFunction) -> Option<Connective> {
    match own(call)?.what {
        What::Decides(connective) => Some(connective),
        What::HoldsOrFails => None,
    }
}

fn own(call: &HigherOrderFunction) -> Option<&Function> {
    let function: &dyn Any = call.func.inner().as_ref();
    function.downcast_ref()
}

/// A guarding call.
pub fn call(connective: Connective, operands: Vec<Expr>) -> Expr {
    of(What::Decides(connective), operands)
}

/// The condition, true also where it fails.
pub fn passing_errors(condition: Expr) -> Expr {
    of(What::HoldsOrFails, vec![condition])
}

/// Whether an expression is a condition that is true where it fails.
pub fn is_passing_errors(expr: &Expr) -> bool {
    let Expr::HigherOrderFunction(call) = expr else {
        return false;
    };
    own(call).is_some_and(|function| function.what == What::HoldsOrFails)
}

fn of(what: What, operands: Vec<Expr>) -> Expr {
    let function = Function {
        what,
        signature: HigherOrderSignature::variadic_any(Volatility::Immutable),
    };
    let lambda = |operand: Expr| Expr::Lambda(Lambda::new(Vec::new(), operand));
    Expr::HigherOrderFunction(HigherOrderFunction::new(
        Arc::new(HigherOrderUDF::new_from_impl(function)),
        operands.into_iter().map(lambda).collect(),
    ))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum What {
    Decides(Connective),
    HoldsOrFails,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Function {
    what: What,
    signature: HigherOrderSignature,
}

impl HigherOrderUDFImpl for Function {
    fn name(&self) -> &str {
        match self.what {
            What::Decides(Connective::And) => "weir_and",
            What::Decides(Connective::Or) => "weir_or",
            What::HoldsOrFails => "weir_holds_or_fails",
        }
    }

    fn signature(&self) -> &HigherOrderSignature {
        &self.signature
    }

    fn lambda_parameters(
        &self,
        _: usize,
        fields: &[ValueOrLambda<FieldRef, Option<FieldRef>>],
    ) -> Result<LambdaParametersProgress> {
        Ok(LambdaParametersProgress::Complete(vec![Vec::new(); fields.len()]))
    }

    fn return_field_from_args(&self, _: HigherOrderReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new("", DataType::Boolean, true)))
    }

    fn short_circuits(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: HigherOrderFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let mut operands = Vec::with_capacity(args.args.len());
        for arg in &args.args {
            let ValueOrLambda::Lambda(lambda) = arg else {
                return internal_err!("an operand of {} that is no lambda", self.name());
            };
            operands.push(move |some: Option<&UInt32Array>| over(lambda, some, rows));
        }
        let operands: Vec<&Operand> = operands.iter().map(|operand| operand as &Operand).collect();
        let truth = match (self.what, &operands[..]) {
            (What::Decides(connective), operands) => decide(connective, operands, rows)?,
            (What::HoldsOrFails, [condition]) => holds_or_fails(condition, rows)?,
            _ => return internal_err!("{} of {} conditions", self.name(), operands.len()),
        };
        Ok(ColumnarValue::Array(Arc::new(truth)))
    }
}

fn over(operand: &LambdaArgument, some: Option<&UInt32Array>, rows: usize) -> Result<ArrayRef> {
    let many = some.map_or(rows, |some| some.len());
    // Says how many rows there are, where the operand reads no column.
    let count = || Ok(Arc::new(NullArray::new(many)) as ArrayRef);
    let spread = |columns: &[ArrayRef]| columns.iter().map(|column| of_rows(column, some)).collect();
    operand.evaluate(&[&count], spread)?.into_array(many)
}
