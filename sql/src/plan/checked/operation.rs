//! What is checked, and how it is computed.
//!
//! - Whole numbers and decimals never wrap: a result that its type can't hold is an error. A decimal
//!   is held against its digits, too, since 128 bits hold more than 38 of them.
//! - Dividing by zero is an error, of floats as well.
//! - A float is computed into its one form ([`weir_engine::float`]).
//! - A quotient of decimals is rounded ([`quotients`]), and so is a fraction that becomes a whole number
//!   ([`casts`]).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, Datum, PrimitiveArray};
use arrow::compute::kernels::concat_elements::concat_elements_utf8;
use arrow::compute::kernels::numeric;
use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, Decimal128Type, Decimal256Type, Float32Type,
    Float64Type,
};
use arrow::error::ArrowError;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{ColumnarValue, Operator};
use weir_engine::float;

use super::{casts, quotients};
use crate::plan::scalars::size;

/// Functions that give one of their arguments as it is, or a part of it.
const SELECTING: [&str; 13] = [
    "coalesce",
    "nullif",
    "nvl",
    "nvl2",
    "greatest",
    "least",
    "get_field",
    "array_element",
    "array_max",
    "array_min",
    "array_first",
    "array_any_value",
    "map_extract",
];

/// An operation on one or two values.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `+`, `-`, `*`, `/` or `%` of two numbers of a kind; `||` of texts.
    Arithmetic(Operator),
    /// `-` of one.
    Negation,
    /// One that is done otherwise than in DataFusion ([`casts`]).
    Cast(DataType),
    /// Nothing but the one form of what a function gave.
    Form,
}

impl Operation {
    /// What stands for an operator between these types, if it is to be checked.
    pub fn binary(op: Operator, left: &DataType, right: &DataType) -> Option<Operation> {
        use Operator::*;
        let of_a_kind = (left.is_decimal() && right.is_decimal()) || (left == right && is_number(left));
        let texts = *left == DataType::Utf8 && *right == DataType::Utf8;
        let ours = match op {
            Plus | Minus | Multiply | Divide | Modulo => of_a_kind,
            StringConcat => texts,
            _ => false,
        };
        ours.then_some(Operation::Arithmetic(op))
    }

    /// What stands for the negation of a type.
    pub fn negation(of: &DataType) -> Option<Operation> {
        is_number(of).then_some(Operation::Negation)
    }

    /// What stands for a cast.
    pub fn cast(from: &DataType, to: &DataType) -> Option<Operation> {
        casts::is_ours(from, to).then(|| Operation::Cast(to.clone()))
    }

    /// What stands around a function that gives values of this type.
    pub fn form(function: &str, made: &DataType) -> Option<Operation> {
        (is_float(made) && !SELECTING.contains(&function)).then_some(Operation::Form)
    }

    /// As functions are called.
    pub fn name(&self) -> &'static str {
        match self {
            Operation::Arithmetic(Operator::Plus) => "+",
            Operation::Arithmetic(Operator::Minus) | Operation::Negation => "-",
            Operation::Arithmetic(Operator::Multiply) => "*",
            Operation::Arithmetic(Operator::Divide) => "/",
            Operation::Arithmetic(Operator::StringConcat) => "||",
            Operation::Arithmetic(_) => "%",
            Operation::Cast(_) => "weir_cast",
            Operation::Form => "weir_form",
        }
    }

    /// The type of its result.
    pub fn result_type(&self, given: &[DataType]) -> Result<DataType> {
        match (self, given) {
            (Operation::Arithmetic(op), [left, right]) => BinaryTypeCoercer::new(left, op, right).get_result_type(),
            (Operation::Negation | Operation::Form, [only]) => Ok(only.clone()),
            (Operation::Cast(to), [_]) => Ok(to.clone()),
            _ => internal_err!("{} of {} values", self.name(), given.len()),
        }
    }

    /// Its result; a single value where all arguments are.
    pub fn evaluate(&self, args: &[ColumnarValue]) -> Result<ColumnarValue> {
        if let (Operation::Arithmetic(Operator::StringConcat), [left, right]) = (self, args) {
            return joined(left, right);
        }
        let all_scalars = args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let computed = match args {
            [ColumnarValue::Array(left), ColumnarValue::Array(right)] => self.two(left, right),
            [ColumnarValue::Array(left), ColumnarValue::Scalar(right)] => self.two(left, &right.to_scalar()?),
            [ColumnarValue::Scalar(left), ColumnarValue::Array(right)] => self.two(&left.to_scalar()?, right),
            [ColumnarValue::Scalar(left), ColumnarValue::Scalar(right)] => {
                self.two(&left.to_array()?, &right.to_array()?)
            }
            [ColumnarValue::Array(only)] => self.one(only),
            [ColumnarValue::Scalar(only)] => self.one(&only.to_array()?),
            _ => return internal_err!("{} of {} values", self.name(), args.len()),
        }?;
        let computed = float::one_form(&computed);
        if all_scalars {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&computed, 0)?));
        }
        Ok(ColumnarValue::Array(computed))
    }

    fn two(&self, left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef, ArrowError> {
        let Operation::Arithmetic(op) = self else {
            return Err(ArrowError::InvalidArgumentError(format!(
                "{} of two values",
                self.name()
            )));
        };
        let computed = match op {
            Operator::Plus => numeric::add(left, right),
            Operator::Minus => numeric::sub(left, right),
            Operator::Multiply => numeric::mul(left, right),
            Operator::Divide if left.get().0.data_type().is_decimal() => quotients::divided(left, right),
            Operator::Divide => no_zero_below(left, right).and_then(|()| numeric::div(left, right)),
            _ => no_zero_below(left, right).and_then(|()| numeric::rem(left, right)),
        };
        match (computed, left.get().0.data_type()) {
            // The library shows numbers without their points.
            (Err(ArrowError::ArithmeticOverflow(_)), kind) if kind.is_decimal() => Err(too_long(kind)),
            (Ok(computed), kind) if is_float(kind) => no_overflow(left, right, computed),
            (Ok(computed), _) => within_its_digits(computed),
            (failed, _) => failed,
        }
    }

    fn one(&self, value: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        match self {
            Operation::Negation => numeric::neg(value),
            Operation::Form => Ok(value.clone()),
            Operation::Cast(to) => casts::converted(value, to),
            Operation::Arithmetic(op) => Err(ArrowError::InvalidArgumentError(format!("{op} of one value"))),
        }
    }
}

/// Fails where a float has become infinite of finite ones.
fn no_overflow(left: &dyn Datum, right: &dyn Datum, computed: ArrayRef) -> Result<ArrayRef, ArrowError> {
    fn check<T: ArrowPrimitiveType>(
        sides: [(&dyn Array, bool); 2],
        computed: &dyn Array,
        is_infinite: fn(T::Native) -> bool,
    ) -> Result<(), ArrowError> {
        let computed = computed.as_primitive::<T>();
        let at = |(side, single): (&dyn Array, bool), row: usize| {
            side.as_primitive::<T>().value(if single { 0 } else { row })
        };
        let overflows = |row: usize| {
            computed.is_valid(row)
                && is_infinite(computed.value(row))
                && !sides.into_iter().any(|side| is_infinite(at(side, row)))
        };
        match computed.values().iter().any(|value| is_infinite(*value)) && (0..computed.len()).any(overflows) {
            true => Err(ArrowError::ArithmeticOverflow("the result is out of range".to_string())),
            false => Ok(()),
        }
    }
    let sides = [left.get(), right.get()];
    match computed.data_type() {
        DataType::Float64 => check::<Float64Type>(sides, computed.as_ref(), f64::is_infinite)?,
        _ => check::<Float32Type>(sides, computed.as_ref(), f32::is_infinite)?,
    }
    Ok(computed)
}

/// Texts, one behind the other, of no more bytes than a value may have.
fn joined(left: &ColumnarValue, right: &ColumnarValue) -> Result<ColumnarValue> {
    // A rule of the optimizer tries what comes of NULLs that have no type.
    if [left, right].iter().any(|side| side.data_type() != DataType::Utf8) {
        return internal_err!("|| of {} and {}", left.data_type(), right.data_type());
    }
    let rows = [left, right].map(|side| match side {
        ColumnarValue::Array(column) => Some(column.len()),
        ColumnarValue::Scalar(_) => None,
    });
    let rows = rows.into_iter().flatten().next();
    size::check_joined(left, right, rows.unwrap_or(1))?;
    let (first, second) = (left.to_array(rows.unwrap_or(1))?, right.to_array(rows.unwrap_or(1))?);
    let texts = concat_elements_utf8(first.as_string::<i32>(), second.as_string::<i32>())?;
    let texts: ArrayRef = Arc::new(texts);
    Ok(match rows {
        Some(_) => ColumnarValue::Array(texts),
        None => ColumnarValue::Scalar(ScalarValue::try_from_array(&texts, 0)?),
    })
}

pub(super) fn is_float(kind: &DataType) -> bool {
    matches!(kind, DataType::Float32 | DataType::Float64)
}

fn is_number(kind: &DataType) -> bool {
    kind.is_integer() || is_float(kind) || kind.is_decimal()
}

pub(super) fn too_long(kind: &DataType) -> ArrowError {
    let digits = match kind {
        DataType::Decimal256(..) => DECIMAL256_MAX_PRECISION,
        _ => DECIMAL128_MAX_PRECISION,
    };
    ArrowError::ArithmeticOverflow(format!("the result has more than the {digits} digits of a DECIMAL"))
}

/// The column, if no decimal has more digits than its type says. Only a type of the most digits there
/// are can be too short for a result; the others were made as long as it takes.
fn within_its_digits(column: ArrayRef) -> Result<ArrayRef, ArrowError> {
    let kind = column.data_type();
    let fits = match kind {
        DataType::Decimal128(DECIMAL128_MAX_PRECISION, _) => column
            .as_primitive::<Decimal128Type>()
            .validate_decimal_precision(DECIMAL128_MAX_PRECISION),
        DataType::Decimal256(DECIMAL256_MAX_PRECISION, _) => column
            .as_primitive::<Decimal256Type>()
            .validate_decimal_precision(DECIMAL256_MAX_PRECISION),
        _ => Ok(()),
    };
    match fits {
        Ok(()) => Ok(column),
        Err(_) => Err(too_long(kind)),
    }
}

/// Fails where a float is divided by zero; of other numbers the library sees to it.
fn no_zero_below(left: &dyn Datum, right: &dyn Datum) -> Result<(), ArrowError> {
    fn check<T: ArrowPrimitiveType>(
        left: (&PrimitiveArray<T>, bool),
        right: (&PrimitiveArray<T>, bool),
        is_nan: fn(T::Native) -> bool,
    ) -> Result<(), ArrowError> {
        let zero = T::Native::default();
        if right.0.values().iter().all(|value| *value != zero) {
            return Ok(());
        }
        let rows = left.0.len().max(right.0.len());
        let at = |(array, single): (&PrimitiveArray<T>, bool), row: usize| {
            let row = if single { 0 } else { row };
            array.is_valid(row).then(|| array.value(row))
        };
        let divides =
            |row: usize| matches!((at(left, row), at(right, row)), (Some(l), Some(r)) if r == zero && !is_nan(l));
        let rows = if left.1 && !right.1 { right.0.len() } else { rows };
        match (0..rows).any(divides) {
            true => Err(ArrowError::DivideByZero),
            false => Ok(()),
        }
    }
    let ((left, left_single), (right, right_single)) = (left.get(), right.get());
    if left.is_empty() || right.is_empty() {
        return Ok(());
    }
    match right.data_type() {
        DataType::Float64 => check::<Float64Type>(
            (left.as_primitive(), left_single),
            (right.as_primitive(), right_single),
            f64::is_nan,
        ),
        DataType::Float32 => check::<Float32Type>(
            (left.as_primitive(), left_single),
            (right.as_primitive(), right_single),
            f32::is_nan,
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Decimal128Array, Float64Array};

    use super::*;

    #[test]
    fn decimals_keep_to_their_digits() {
        let most: i128 = 10i128.pow(38) - 1;
        let column = |value: i128, scale| {
            let array = Decimal128Array::from(vec![value]).with_precision_and_scale(38, scale);
            ColumnarValue::Array(Arc::new(array.unwrap()))
        };
        let add = Operation::Arithmetic(Operator::Plus);
        assert!(add.evaluate(&[column(most - 1, 0), column(1, 0)]).is_ok());
        let refused = add.evaluate(&[column(most, 0), column(1, 0)]).unwrap_err();
        assert!(refused.to_string().contains("38 digits"), "{refused}");
        let product = Operation::Arithmetic(Operator::Multiply);
        let refused = product.evaluate(&[column(most, 2), column(most, 2)]).unwrap_err();
        assert!(refused.to_string().contains("38 digits"), "{refused}");
    }

    #[test]
    fn floats_are_not_divided_by_zero() {
        let column = |values: Vec<Option<f64>>| ColumnarValue::Array(Arc::new(Float64Array::from(values)));
        let single = |value: f64| ColumnarValue::Scalar(ScalarValue::Float64(Some(value)));
        let divide = Operation::Arithmetic(Operator::Divide);
        let fine = divide.evaluate(&[
            column(vec![None, Some(f64::NAN), Some(1.0)]),
            column(vec![Some(0.0), Some(0.0), None]),
        ]);
        assert!(fine.is_ok());
        assert!(
            divide
                .evaluate(&[single(1.0), column(vec![Some(1.0), Some(-0.0)])])
                .is_err()
        );
        assert!(divide.evaluate(&[column(vec![Some(1.0)]), single(0.0)]).is_err());
        assert!(divide.evaluate(&[single(1.0), single(0.0)]).is_err());
    }
}
