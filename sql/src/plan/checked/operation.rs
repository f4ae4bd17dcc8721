//! What is checked, and how it is computed.
//!
//! - Whole numbers and decimals never wrap: a result that its type can't hold is an error. A decimal
//!   is held against its digits, too, since 128 bits hold more than 38 of them.
//! - Dividing by zero is an error, of floats as well.
//! - A float is computed into its one form ([`weir_engine::float`]).
//! - Text and floats become each other as PostgreSQL spells them, and a number that its type comes
//!   only infinitely near is an error.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, Datum, PrimitiveArray, StringArray};
use arrow::compute::kernels::numeric;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, Decimal128Type, Decimal256Type, Float32Type,
    Float64Type,
};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{ColumnarValue, Operator};
use weir_engine::float;
use weir_engine::format::sql_type;

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

const STRICT: CastOptions<'static> = CastOptions {
    safe: false,
    format_options: FormatOptions::new(),
};

/// An operation on one or two values.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `+`, `-`, `*`, `/` or `%` of two numbers of a kind.
    Arithmetic(Operator),
    /// `-` of one.
    Negation,
    /// From floats to text and back, and to shorter floats.
    Cast(DataType),
    /// Nothing but the one form of what a function gave.
    Form,
}

impl Operation {
    /// What stands for an operator between these types, if it is to be checked.
    pub fn binary(op: Operator, left: &DataType, right: &DataType) -> Option<Operation> {
        use Operator::*;
        let of_a_kind = (left.is_decimal() && right.is_decimal()) || (left == right && is_number(left));
        (matches!(op, Plus | Minus | Multiply | Divide | Modulo) && of_a_kind).then_some(Operation::Arithmetic(op))
    }

    /// What stands for the negation of a type.
    pub fn negation(of: &DataType) -> Option<Operation> {
        is_number(of).then_some(Operation::Negation)
    }

    /// What stands for a cast.
    pub fn cast(from: &DataType, to: &DataType) -> Option<Operation> {
        let ours = (from.is_floating() && *to == DataType::Utf8)
            || (matches!(from, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) && is_float(to))
            || (*from == DataType::Float64 && *to == DataType::Float32);
        ours.then(|| Operation::Cast(to.clone()))
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
            Operator::Divide => no_zero_below(left, right).and_then(|()| numeric::div(left, right)),
            _ => no_zero_below(left, right).and_then(|()| numeric::rem(left, right)),
        };
        match (computed, left.get().0.data_type()) {
            // The library shows numbers without their points.
            (Err(ArrowError::ArithmeticOverflow(_)), kind) if kind.is_decimal() => Err(too_long(kind)),
            (Ok(computed), _) => within_its_digits(computed),
            (failed, _) => failed,
        }
    }

    fn one(&self, value: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        match self {
            Operation::Negation => numeric::neg(value),
            Operation::Form => Ok(value.clone()),
            Operation::Cast(to) => converted(value, to),
            Operation::Arithmetic(op) => Err(ArrowError::InvalidArgumentError(format!("{op} of one value"))),
        }
    }
}

fn is_float(kind: &DataType) -> bool {
    matches!(kind, DataType::Float32 | DataType::Float64)
}

fn is_number(kind: &DataType) -> bool {
    kind.is_integer() || is_float(kind) || kind.is_decimal()
}

fn too_long(kind: &DataType) -> ArrowError {
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

fn converted(value: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    match (value.data_type(), to) {
        (from, DataType::Utf8) if from.is_floating() => spelled(value),
        (DataType::Float64, DataType::Float32) => {
            let column = value.as_primitive::<Float64Type>();
            let narrow = |wide: f64| match wide as f32 {
                narrow if narrow.is_infinite() && wide.is_finite() => {
                    Err(misfit(&format!("{wide:?}"), to, "it is out of range"))
                }
                narrow => Ok(narrow),
            };
            Ok(Arc::new(column.try_unary::<_, Float32Type, _>(narrow)?))
        }
        _ => read(value, to),
    }
}

/// Floats as text.
fn spelled(value: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let options = FormatOptions::new();
    let formatter = ArrayFormatter::try_new(value.as_ref(), &options)?;
    let wide = cast_with_options(value, &DataType::Float64, &STRICT)?;
    let wide = wide.as_primitive::<Float64Type>();
    let text = |row: usize| -> Result<Option<String>, ArrowError> {
        if value.is_null(row) {
            return Ok(None);
        }
        match float::word(wide.value(row)) {
            Some(word) => Ok(Some(word.to_string())),
            None => formatter.value(row).try_to_string().map(Some),
        }
    };
    let texts = (0..value.len())
        .map(text)
        .collect::<Result<StringArray, ArrowError>>()?;
    Ok(Arc::new(texts))
}

/// Text as floats.
fn read(value: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let text = cast_with_options(value, &DataType::Utf8, &STRICT)?;
    let texts = text.as_string::<i32>();
    let parse = |text: &str| float::parse(text).map_err(|why| misfit(text, to, why));
    let wide = texts.iter().map(|text| text.map(parse).transpose());
    let wide: ArrayRef = Arc::new(wide.collect::<Result<PrimitiveArray<Float64Type>, ArrowError>>()?);
    match to {
        DataType::Float64 => Ok(wide),
        _ => converted(&wide, to),
    }
}

fn misfit(value: &str, to: &DataType, why: &str) -> ArrowError {
    ArrowError::CastError(format!("'{value}' is no {}: {why}", sql_type(to)))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Decimal128Array, Float64Array};

    use super::*;

    fn text(of: f64) -> String {
        let array: ArrayRef = Arc::new(Float64Array::from(vec![of]));
        converted(&array, &DataType::Utf8)
            .unwrap()
            .as_string::<i32>()
            .value(0)
            .to_string()
    }

    #[test]
    fn floats_are_spelled_and_read_as_postgres_does() {
        assert_eq!(
            [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 0.5].map(text),
            ["Infinity", "-Infinity", "NaN", "0.5"]
        );
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("-Infinity"), None, Some(" 2.5 ")]));
        let read = converted(&texts, &DataType::Float32).unwrap();
        let read: Vec<Option<f32>> = read.as_primitive::<Float32Type>().iter().collect();
        assert_eq!(read, [Some(f32::NEG_INFINITY), None, Some(2.5)]);
        for (text, to) in [
            ("1e400", DataType::Float64),
            ("1e39", DataType::Float32),
            ("x", DataType::Float64),
        ] {
            let texts: ArrayRef = Arc::new(StringArray::from(vec![text]));
            assert!(converted(&texts, &to).is_err(), "{text}");
        }
    }

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
