//! Exact sums and means of floats, by the accumulator that the engine keeps ([`ExactSum`]): the order of rows
//! doesn't show in them, and what leaves a frame leaves nothing behind.

use std::collections::HashSet;
use std::mem::size_of_val;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, BooleanArray, Float64Array, Int64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_datafusion_err};
use datafusion::logical_expr::function::StateFieldsArgs;
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};
use weir_engine::operator::aggregate::ExactSum;

use super::{counted, each_alone};

/// How a result is made of a sum.
#[derive(Debug, Clone)]
pub struct Finish {
    /// What the call is called.
    pub name: String,
    /// Whether it is a mean.
    pub is_mean: bool,
}

impl Finish {
    fn result(&self, Sum { sum, count }: &Sum) -> Result<Option<f64>> {
        match count {
            0 => Ok(None),
            count => sum
                .result(self.is_mean, *count)
                .map(Some)
                .ok_or_else(|| exec_datafusion_err!("{}: DOUBLE PRECISION out of range", self.name)),
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Sum {
    sum: ExactSum,
    count: i64,
}

impl Sum {
    fn add(&mut self, value: f64, times: i64) {
        self.sum.add(value, times);
        self.count += times;
    }

    fn merge(&mut self, bytes: &[u8], count: i64) -> Result<()> {
        let other = ExactSum::from_bytes(bytes).map_err(|error| DataFusionError::External(Box::new(error)))?;
        self.sum.merge(&other);
        self.count += count;
        Ok(())
    }
}

/// What is kept between two steps of an aggregation.
pub fn state_fields(args: &StateFieldsArgs) -> Vec<FieldRef> {
    let value = Field::new_list_field(DataType::Float64, true);
    match args.is_distinct {
        true => vec![Arc::new(Field::new("values", DataType::List(Arc::new(value)), true))],
        false => vec![
            Arc::new(Field::new("sum", DataType::Binary, true)),
            Arc::new(Field::new("count", DataType::Int64, true)),
        ],
    }
}

fn states_of(states: &[ArrayRef]) -> (&BinaryArray, &Int64Array) {
    (states[0].as_binary(), states[1].as_primitive::<Int64Type>())
}

/// One sum.
#[derive(Debug)]
pub struct OneSum {
    finish: Finish,
    sum: Sum,
}

impl OneSum {
    /// Of nothing.
    pub fn new(finish: Finish) -> OneSum {
        let sum = Sum::default();
        OneSum { finish, sum }
    }

    fn take(&mut self, values: &[ArrayRef], times: i64) {
        let values = values[0].as_primitive::<Float64Type>().iter().flatten();
        values.for_each(|value| self.sum.add(value, times));
    }
}

impl Accumulator for OneSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.take(values, 1);
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.take(values, -1);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.finish.result(&self.sum)?))
    }

    fn size(&self) -> usize {
        size_of_val(self) + ExactSum::USUAL_BYTES
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![
            ScalarValue::Binary(Some(self.sum.sum.to_bytes())),
            ScalarValue::Int64(Some(self.sum.count)),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (sums, counts) = states_of(states);
        let mut states = sums.iter().flatten().zip(counts.iter().flatten());
        states.try_for_each(|(sum, count)| self.sum.merge(sum, count))
    }
}

/// One sum per group.
#[derive(Debug)]
pub struct GroupSums {
    finish: Finish,
    sums: Vec<Sum>,
}

impl GroupSums {
    /// Of no groups.
    pub fn new(finish: Finish) -> GroupSums {
        let sums = Vec::new();
        GroupSums { finish, sums }
    }
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
        let values = values[0].as_primitive::<Float64Type>();
        for (row, group) in counted(groups, filter, values) {
            self.sums[group].add(values.value(row), 1);
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sums = emit_to.take_needed(&mut self.sums);
        let results = sums.iter().map(|sum| self.finish.result(sum));
        Ok(Arc::new(results.collect::<Result<Float64Array>>()?))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let sums = emit_to.take_needed(&mut self.sums);
        Ok(vec![
            Arc::new(BinaryArray::from_iter_values(sums.iter().map(|sum| sum.sum.to_bytes()))),
            Arc::new(Int64Array::from_iter_values(sums.iter().map(|sum| sum.count))),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.sums.resize(total, Sum::default());
        let (sums, counts) = states_of(states);
        for (row, group) in groups.iter().enumerate() {
            self.sums[*group].merge(sums.value(row), counts.value(row))?;
        }
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        each_alone(GroupSums::new(self.finish.clone()), values, filter)
    }

    fn size(&self) -> usize {
        self.sums.capacity() * (size_of::<Sum>() + ExactSum::USUAL_BYTES)
    }
}

/// The different values of one group, by their bits: each float is in its one form.
#[derive(Debug)]
pub struct DistinctValues {
    finish: Finish,
    values: HashSet<u64>,
}

impl DistinctValues {
    /// None.
    pub fn new(finish: Finish) -> DistinctValues {
        let values = HashSet::new();
        DistinctValues { finish, values }
    }

    fn take(&mut self, values: &ArrayRef) {
        let values = values.as_primitive::<Float64Type>().iter().flatten();
        self.values.extend(values.map(f64::to_bits));
    }
}

impl Accumulator for DistinctValues {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.take(&values[0]);
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut sum = Sum::default();
        self.values.iter().for_each(|bits| sum.add(f64::from_bits(*bits), 1));
        Ok(ScalarValue::Float64(self.finish.result(&sum)?))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.capacity() * size_of::<u64>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = self
            .values
            .iter()
            .map(|bits| ScalarValue::Float64(Some(f64::from_bits(*bits))));
        let values: Vec<ScalarValue> = values.collect();
        Ok(vec![ScalarValue::List(ScalarValue::new_list_nullable(
            &values,
            &DataType::Float64,
        ))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        states[0]
            .as_list::<i32>()
            .iter()
            .flatten()
            .for_each(|values| self.take(&values));
        Ok(())
    }
}
