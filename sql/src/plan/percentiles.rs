//! `percentile_cont` and `median`, computed in doubles as PostgreSQL does.
//!
//! DataFusion's keep six digits of how far a percentile lies between two values, and cut the median of
//! whole numbers to one. The median of decimals is DataFusion's.

use std::mem::size_of_val;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::functions_aggregate::median::median_udaf;
use datafusion::functions_aggregate::percentile_cont::percentile_cont_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, Signature, Volatility};
use datafusion::physical_expr::expressions::Literal;
use weir_engine::format::sql_type;

/// Both functions, to be registered with the session.
pub fn functions() -> [Arc<AggregateUDF>; 2] {
    [percentile_cont_udaf(), median_udaf()].map(|plain| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(AggregateUDF::from(Percentile { plain, signature }))
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Percentile {
    /// DataFusion's function of the name.
    plain: Arc<AggregateUDF>,
    signature: Signature,
}

impl Percentile {
    fn is_median(&self) -> bool {
        self.plain.name() == "median"
    }

    /// Whether it is a median that DataFusion computes.
    fn is_plain(&self, argument: Option<&DataType>) -> bool {
        self.is_median() && !matches!(argument, Some(DataType::Float64))
    }
}

impl AggregateUDFImpl for Percentile {
    fn name(&self) -> &str {
        self.plain.name()
    }

    fn aliases(&self) -> &[String] {
        self.plain.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let number = |kind: &DataType| kind.is_numeric() || kind.is_null();
        match given {
            [kind] if self.is_median() && matches!(kind, DataType::Decimal128(..) | DataType::Decimal256(..)) => {
                Ok(vec![kind.clone()])
            }
            [kind] if self.is_median() && number(kind) => Ok(vec![DataType::Float64]),
            [kind, at] if !self.is_median() && number(kind) && number(at) => {
                Ok(vec![DataType::Float64, DataType::Float64])
            }
            [kind, ..] if !number(kind) => {
                plan_err!("{}() takes numbers, not {}", self.name(), sql_type(kind))
            }
            _ if self.is_median() => plan_err!("median() takes one argument"),
            _ => plan_err!(
                "percentile_cont() takes a number from 0 to 1: percentile_cont(0.9) WITHIN GROUP (ORDER BY x)"
            ),
        }
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        match self.is_plain(given.first()) {
            true => self.plain.return_type(given),
            false => Ok(DataType::Float64),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if self.is_plain(args.expr_fields.first().map(|field| field.data_type())) {
            return self.plain.accumulator(args);
        }
        let at = match args
            .exprs
            .get(1)
            .map(|at| at.downcast_ref::<Literal>().map(Literal::value))
        {
            None => Some(0.5),
            Some(Some(ScalarValue::Float64(Some(at)))) => Some(*at),
            Some(_) => None,
        };
        match at.filter(|at| (0.0..=1.0).contains(at)) {
            Some(at) => Ok(Box::new(Values { at, values: Vec::new() })),
            None => exec_err!("{}() takes a constant from 0 to 1", self.name()),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if self.is_plain(args.input_fields.first().map(|field| field.data_type())) {
            return self.plain.state_fields(args);
        }
        let value = Field::new_list_field(DataType::Float64, true);
        Ok(vec![Arc::new(Field::new(
            format!("{}[values]", args.name),
            DataType::List(Arc::new(value)),
            true,
        ))])
    }

    fn supports_within_group_clause(&self) -> bool {
        !self.is_median()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.plain.documentation()
    }
}

/// All values of one group.
#[derive(Debug)]
struct Values {
    at: f64,
    values: Vec<f64>,
}

impl Accumulator for Values {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let values = cast(&columns[0], &DataType::Float64)?;
        self.values
            .extend(values.as_primitive::<Float64Type>().iter().flatten());
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(percentile(&mut self.values, self.at)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.capacity() * size_of::<f64>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values: Vec<ScalarValue> = self.values.iter().map(|value| ScalarValue::from(*value)).collect();
        let list = ScalarValue::new_list_nullable(&values, &DataType::Float64);
        Ok(vec![ScalarValue::List(list)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for values in states[0].as_list::<i32>().iter().flatten() {
            self.values
                .extend(values.as_primitive::<Float64Type>().iter().flatten());
        }
        Ok(())
    }
}

/// The value at a part of the way through all, in order; between two it lies on the line between them.
fn percentile(values: &mut [f64], at: f64) -> Option<f64> {
    values.sort_unstable_by(|one, other| one.total_cmp(other));
    between(values, at)
}

/// The same of values in order.
pub fn between(values: &[f64], at: f64) -> Option<f64> {
    let place = at * (values.len().checked_sub(1)? as f64);
    let below = values[place.floor() as usize];
    let above = values[place.ceil() as usize];
    let part = place - place.floor();
    Some(match below == above || part == 0.0 {
        true => below,
        false => below + part * (above - below),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_between_values() {
        assert_eq!(percentile(&mut [], 0.5), None);
        assert_eq!(percentile(&mut [3.0], 0.9), Some(3.0));
        assert_eq!(percentile(&mut [2.0, 1.0], 0.5), Some(1.5));
        assert_eq!(percentile(&mut [10.0, 20.0, 40.0, 30.0], 1.0 / 3.0), Some(20.0));
        assert_eq!(percentile(&mut [0.0, 1e9], 0.123_456_789), Some(123_456_789.0));
        assert_eq!(
            percentile(&mut [f64::INFINITY, f64::INFINITY], 0.5),
            Some(f64::INFINITY)
        );
        assert!(percentile(&mut [1.0, f64::NAN], 1.0).unwrap().is_nan());
    }
}
