//! `sum` and `avg` of the dialect: of numbers they are exact, and fail where the result's type can't hold the
//! sum.
//!
//! DataFusion's own wrap, and take the mean of whole numbers as floats. Continuous queries are kept
//! by the engine, which sums exactly; these are what a query that is read once runs, so that both
//! give the same answers. Floats are summed in [`floats`], intervals in [`spans`].

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, Field, FieldRef, Int64Type, i256};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err, plan_err};
use datafusion::functions_aggregate::{average::avg_udaf, sum::sum_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, ReversedUDAF, Signature,
    Volatility,
};
use weir_engine::decimal::{self, limit_of, mean};
use weir_engine::format::sql_type;

use super::kinds::QUOTIENT_SCALE;

mod floats;
mod spans;

/// Both functions, to be registered with the session.
pub fn functions() -> [Arc<AggregateUDF>; 2] {
    let sum = Exact {
        is_mean: false,
        plain: sum_udaf(),
        signature: sum_udaf().signature().clone(),
    };
    let avg = Exact {
        is_mean: true,
        plain: avg_udaf(),
        signature: Signature::user_defined(Volatility::Immutable),
    };
    [sum, avg].map(|function| Arc::new(AggregateUDF::from(function)))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Exact {
    is_mean: bool,
    /// DataFusion's function of the name.
    plain: Arc<AggregateUDF>,
    signature: Signature,
}

impl Exact {
    fn of_floats(&self, args: &AccumulatorArgs) -> Option<floats::Finish> {
        let is_float = |field: &FieldRef| *field.data_type() == DataType::Float64;
        args.expr_fields.first().filter(|field| is_float(field))?;
        Some(floats::Finish {
            name: args.name.to_string(),
            is_mean: self.is_mean,
        })
    }

    fn finish(&self, args: &AccumulatorArgs) -> Option<Finish> {
        let argument = args.expr_fields.first()?.data_type();
        let digits = |kind: &DataType| match kind {
            DataType::Decimal128(precision, scale) => Some((*precision, *scale)),
            _ => None,
        };
        let how = match (self.is_mean, argument, args.return_type()) {
            (false, DataType::Int64, DataType::Int64) => How::Sum(i128::from(i64::MIN), i128::from(i64::MAX)),
            (false, DataType::UInt64, DataType::UInt64) => How::Sum(0, i128::from(u64::MAX)),
            (false, DataType::Decimal128(..), output) => {
                let limit = limit_of(digits(output)?.0);
                How::Sum(-limit, limit)
            }
            (true, DataType::Int64 | DataType::UInt64, DataType::Float64) => How::FloatMean,
            (true, DataType::Decimal128(_, scale), output) => {
                let (precision, output_scale) = digits(output)?;
                let more = u32::try_from(i16::from(output_scale) - i16::from(*scale)).ok()?;
                How::DecimalMean(10i128.checked_pow(more)?, limit_of(precision))
            }
            _ => return None,
        };
        Some(Finish {
            name: args.name.to_string(),
            output: args.return_type().clone(),
            how,
        })
    }
}

impl AggregateUDFImpl for Exact {
    fn name(&self) -> &str {
        self.plain.name()
    }

    fn aliases(&self) -> &[String] {
        self.plain.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The mean of whole numbers takes them as they are.
    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let [kind] = given else {
            return plan_err!("avg() takes one argument");
        };
        Ok(vec![match kind {
            kind if kind.is_signed_integer() => DataType::Int64,
            kind if kind.is_unsigned_integer() => DataType::UInt64,
            kind if kind.is_floating() || kind.is_null() => DataType::Float64,
            kind if kind.is_numeric() || matches!(kind, DataType::Duration(_)) => kind.clone(),
            DataType::Interval(_) => spans::SPAN,
            kind => return plan_err!("avg() takes numbers and intervals, not {}", sql_type(kind)),
        }])
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        if let [DataType::Interval(_)] = given {
            return Ok(spans::SPAN);
        }
        match (self.plain.return_type(given)?, given) {
            (plain, [DataType::Decimal128(precision, scale)]) if self.is_mean => {
                Ok(mean_type(*precision, *scale).unwrap_or(plain))
            }
            (plain, _) => Ok(plain),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if let Some(finish) = self.of_floats(&args) {
            return Ok(match args.is_distinct {
                true => Box::new(floats::DistinctValues::new(finish)),
                false => Box::new(floats::OneSum::new(finish)),
            });
        }
        if is_span(&args) {
            return Ok(match args.is_distinct {
                true => Box::new(spans::DistinctTotal::new(self.is_mean)),
                false => Box::new(spans::Total::new(self.is_mean)),
            });
        }
        match self.finish(&args) {
            Some(finish) if args.is_distinct => Ok(Box::new(DistinctValues {
                finish,
                values: HashSet::new(),
            })),
            Some(finish) => Ok(Box::new(OneSum {
                finish,
                sum: Sum::default(),
            })),
            None => self.plain.accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let is_ours = self.of_floats(&args).is_some() || self.finish(&args).is_some() || is_span(&args);
        match is_ours {
            true if args.is_distinct => exec_err!("{} DISTINCT has no sliding frame", self.name()),
            true => self.accumulator(args),
            false => self.plain.create_sliding_accumulator(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        match self.of_floats(&args).is_some() || self.finish(&args).is_some() {
            true => !args.is_distinct,
            false => !is_span(&args) && self.plain.groups_accumulator_supported(args),
        }
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        if let Some(finish) = self.of_floats(&args) {
            return Ok(Box::new(floats::GroupSums::new(finish)));
        }
        match self.finish(&args) {
            Some(finish) => Ok(Box::new(GroupSums {
                finish,
                sums: Vec::new(),
            })),
            None => self.plain.create_groups_accumulator(args),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        match args.input_fields.first().map(|field| field.data_type()) {
            Some(DataType::Float64) => return Ok(floats::state_fields(&args)),
            Some(DataType::Interval(_)) => return Ok(spans::state_fields(&args)),
            Some(DataType::Int64 | DataType::UInt64 | DataType::Decimal128(..)) => {}
            _ => return self.plain.state_fields(args),
        }
        let value = Field::new_list_field(wide(), true);
        Ok(match args.is_distinct {
            true => vec![Arc::new(Field::new("values", DataType::List(Arc::new(value)), true))],
            false => vec![
                Arc::new(Field::new("sum", wide(), true)),
                Arc::new(Field::new("count", DataType::Int64, true)),
            ],
        })
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.plain.documentation()
    }
}

/// Whether intervals are summed.
fn is_span(args: &AccumulatorArgs) -> bool {
    let argument = args.expr_fields.first().map(|field| field.data_type());
    matches!(argument, Some(DataType::Interval(_)))
}

/// The type of a mean of decimals: as many digits behind the point as a quotient has
/// ([`QUOTIENT_SCALE`]), where there is room for more than DataFusion's own type has.
fn mean_type(precision: u8, scale: i8) -> Option<DataType> {
    let most = i16::from(DECIMAL128_MAX_PRECISION);
    let whole = i16::from(precision) - i16::from(scale);
    let wanted = QUOTIENT_SCALE.min(most - whole);
    if wanted <= i16::from(scale) + 4 {
        return None;
    }
    let digits = u8::try_from(whole + wanted).ok()?;
    Some(DataType::Decimal128(digits, i8::try_from(wanted).ok()?))
}

/// What values are summed as: all of them are numbers of their last digit.
fn wide() -> DataType {
    DataType::Decimal128(38, 0)
}

/// The values of an argument column, in units of their last digit.
fn numbers(values: &ArrayRef) -> Result<Decimal128Array> {
    match values.data_type() {
        DataType::Decimal128(..) => Ok(values.as_primitive::<Decimal128Type>().clone()),
        _ => Ok(cast(values, &wide())?.as_primitive::<Decimal128Type>().clone()),
    }
}

/// How a result is made of a sum and a count.
#[derive(Debug, Clone)]
struct Finish {
    name: String,
    output: DataType,
    how: How,
}

#[derive(Debug, Clone)]
enum How {
    /// The sum, within limits.
    Sum(i128, i128),
    FloatMean,
    /// The mean in units of the output's last digit, of which the first says how many make one of
    /// the argument's; rounded, and within a limit.
    DecimalMean(i128, i128),
}

impl Finish {
    fn out_of_range(&self) -> DataFusionError {
        DataFusionError::Execution(format!(
            "{}: {} out of range; cast the argument to a wider type",
            self.name,
            sql_type(&self.output)
        ))
    }

    fn scalar(&self, sum: Sum) -> Result<ScalarValue> {
        ScalarValue::try_from_array(&self.array(&[sum])?, 0)
    }

    fn array(&self, sums: &[Sum]) -> Result<ArrayRef> {
        if let How::FloatMean = self.how {
            let means = sums
                .iter()
                .map(|sum| (sum.count != 0).then(|| mean(sum.sum, sum.count)));
            return Ok(Arc::new(arrow::array::Float64Array::from_iter(means)));
        }
        let values: Vec<Option<i128>> = sums
            .iter()
            .map(|sum| match sum.count {
                0 => Ok(None),
                _ => self.whole(*sum).map(Some).ok_or_else(|| self.out_of_range()),
            })
            .collect::<Result<_>>()?;
        match self.output {
            DataType::Decimal128(precision, scale) => {
                let values = Decimal128Array::from(values).with_precision_and_scale(precision, scale)?;
                Ok(Arc::new(values))
            }
            ref output => {
                let values = Decimal128Array::from(values).with_precision_and_scale(38, 0)?;
                Ok(cast(&values, output)?)
            }
        }
    }

    fn whole(&self, Sum { sum, count }: Sum) -> Option<i128> {
        match self.how {
            How::Sum(least, most) => (least..=most).contains(&sum).then_some(sum),
            How::DecimalMean(factor, limit) => {
                let scaled = i256::from_i128(sum).checked_mul(i256::from_i128(factor))?;
                let mean = decimal::quotient(scaled, i256::from_i128(i128::from(count)))?.to_i128()?;
                (-limit..=limit).contains(&mean).then_some(mean)
            }
            How::FloatMean => None,
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    sum: i128,
    count: i64,
}

impl Sum {
    /// Adds a value `times` times, which may be negative.
    fn add(&mut self, value: i128, times: i64) -> Option<()> {
        let change = if times < 0 { value.checked_neg()? } else { value };
        self.sum = self.sum.checked_add(change)?;
        self.count += times.signum();
        Some(())
    }
}

#[derive(Debug)]
struct OneSum {
    finish: Finish,
    sum: Sum,
}

impl OneSum {
    fn take(&mut self, values: &[ArrayRef], times: i64) -> Result<()> {
        for value in numbers(&values[0])?.iter().flatten() {
            self.sum.add(value, times).ok_or_else(|| self.finish.out_of_range())?;
        }
        Ok(())
    }
}

impl Accumulator for OneSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.take(values, 1)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.take(values, -1)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.finish.scalar(self.sum)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![
            ScalarValue::Decimal128(Some(self.sum.sum), 38, 0),
            ScalarValue::Int64(Some(self.sum.count)),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (sums, counts) = states_of(states);
        for (sum, count) in sums.iter().flatten().zip(counts.iter().flatten()) {
            let total = self.sum.sum.checked_add(sum);
            self.sum.sum = total.ok_or_else(|| self.finish.out_of_range())?;
            self.sum.count += count;
        }
        Ok(())
    }
}

fn states_of(states: &[ArrayRef]) -> (&Decimal128Array, &Int64Array) {
    (
        states[0].as_primitive::<Decimal128Type>(),
        states[1].as_primitive::<Int64Type>(),
    )
}

/// The rows that count, those with a value that pass the filter, and the group of each.
fn counted<'a>(
    groups: &'a [usize],
    filter: Option<&'a BooleanArray>,
    values: &'a dyn Array,
) -> impl Iterator<Item = (usize, usize)> + 'a {
    let passes = move |row: usize| filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
    let rows = groups.iter().copied().enumerate();
    rows.filter(move |(row, _)| passes(*row) && values.is_valid(*row))
}

/// What [`GroupsAccumulator::convert_to_state`] gives: each row as a group of its own, in an accumulator of none.
fn each_alone(
    mut of_none: impl GroupsAccumulator,
    values: &[ArrayRef],
    filter: Option<&BooleanArray>,
) -> Result<Vec<ArrayRef>> {
    let rows = values[0].len();
    of_none.update_batch(values, &(0..rows).collect::<Vec<_>>(), filter, rows)?;
    of_none.state(EmitTo::All)
}

/// One sum per group.
#[derive(Debug)]
struct GroupSums {
    finish: Finish,
    sums: Vec<Sum>,
}

impl GroupsAccumulator for GroupSums {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.sums.resize(total, Sum::default());
        let values = numbers(&values[0])?;
        for (row, group) in counted(groups, filter, &values) {
            let added = self.sums[group].add(values.value(row), 1);
            added.ok_or_else(|| self.finish.out_of_range())?;
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sums = emit_to.take_needed(&mut self.sums);
        self.finish.array(&sums)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let sums = emit_to.take_needed(&mut self.sums);
        let totals = Decimal128Array::from_iter_values(sums.iter().map(|sum| sum.sum));
        Ok(vec![
            Arc::new(totals.with_precision_and_scale(38, 0)?),
            Arc::new(Int64Array::from_iter_values(sums.iter().map(|sum| sum.count))),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.sums.resize(total, Sum::default());
        let (sums, counts) = states_of(states);
        for (row, group) in groups.iter().enumerate() {
            let of_group = &mut self.sums[*group];
            let total = of_group.sum.checked_add(sums.value(row));
            of_group.sum = total.ok_or_else(|| self.finish.out_of_range())?;
            of_group.count += counts.value(row);
        }
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let of_none = GroupSums {
            finish: self.finish.clone(),
            sums: Vec::new(),
        };
        each_alone(of_none, values, filter)
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<Sum>()
    }
}

/// The different values of one group.
#[derive(Debug)]
struct DistinctValues {
    finish: Finish,
    values: HashSet<i128>,
}

impl Accumulator for DistinctValues {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.values.extend(numbers(&values[0])?.iter().flatten());
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut sum = Sum::default();
        for value in &self.values {
            sum.add(*value, 1).ok_or_else(|| self.finish.out_of_range())?;
        }
        self.finish.scalar(sum)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.capacity() * size_of::<i128>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values: Vec<ScalarValue> = self
            .values
            .iter()
            .map(|value| ScalarValue::Decimal128(Some(*value), 38, 0))
            .collect();
        Ok(vec![ScalarValue::List(ScalarValue::new_list_nullable(
            &values,
            &wide(),
        ))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for values in states[0].as_list::<i32>().iter().flatten() {
            self.values
                .extend(values.as_primitive::<Decimal128Type>().iter().flatten());
        }
        Ok(())
    }
}
