//! `min` and `max` of the dialect: of floats they follow SQL's order, in which NaN is greater than
//! all numbers, and of arrays and rows that of their [`places`](super::places).
//!
//! DataFusion's compare floats so that the answer hangs on the order of rows as soon as there is a
//! NaN. Here each float goes in as the whole number that stands at its place in the order of bits,
//! and comes out as a float again. Of other types the functions are DataFusion's.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray};
use arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type, Int32Type, Int64Type};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, ReversedUDAF, Signature,
};
use weir_engine::float;
use weir_engine::format::sql_type;

use super::places;

/// Both functions, to be registered with the session.
pub fn functions() -> [Arc<AggregateUDF>; 2] {
    [min_udaf(), max_udaf()].map(|plain| Arc::new(AggregateUDF::from(Extreme { plain })))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Extreme {
    /// DataFusion's function of the name.
    plain: Arc<AggregateUDF>,
}

fn has_map(kind: &DataType) -> bool {
    match kind {
        DataType::Map(..) => true,
        DataType::List(item) => has_map(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_map(field.data_type())),
        _ => false,
    }
}

/// The type of what stands for values of this one.
fn places_of(kind: &DataType) -> Option<DataType> {
    match kind {
        kind if places::has_places(kind) => Some(DataType::Binary),
        DataType::Float64 => Some(DataType::Int64),
        DataType::Float32 => Some(DataType::Int32),
        _ => None,
    }
}

/// The same arguments for places, if values have some.
fn placed<'a>(args: &AccumulatorArgs<'a>) -> Option<AccumulatorArgs<'a>> {
    let kind = places_of(args.return_field.data_type())?;
    Some(AccumulatorArgs {
        return_field: Arc::new(Field::new(args.return_field.name(), kind, true)),
        schema: args.schema,
        ignore_nulls: args.ignore_nulls,
        order_bys: args.order_bys,
        is_reversed: args.is_reversed,
        name: args.name,
        is_distinct: args.is_distinct,
        exprs: args.exprs,
        expr_fields: args.expr_fields,
    })
}

impl AggregateUDFImpl for Extreme {
    fn name(&self) -> &str {
        self.plain.name()
    }

    fn aliases(&self) -> &[String] {
        self.plain.aliases()
    }

    fn signature(&self) -> &Signature {
        self.plain.signature()
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        self.plain.coerce_types(given)
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        if given.iter().any(has_map) {
            return plan_err!(
                "{0}() does not take {1}: entries of a MAP are in no order that could decide; take {0}() of a value, m['key']",
                self.name(),
                sql_type(&given[0])
            );
        }
        self.plain.return_type(given)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match placed(&args) {
            Some(places) => Ok(Box::new(OfPlaces::new(self.plain.accumulator(places)?, &args))),
            None => self.plain.accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match placed(&args) {
            Some(places) => Ok(Box::new(OfPlaces::new(
                self.plain.create_sliding_accumulator(places)?,
                &args,
            ))),
            None => self.plain.create_sliding_accumulator(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        match placed(&args) {
            Some(places) => self.plain.groups_accumulator_supported(places),
            None => self.plain.groups_accumulator_supported(args),
        }
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        match placed(&args) {
            Some(places) => Ok(Box::new(OfPlaces::new(
                self.plain.create_groups_accumulator(places)?,
                &args,
            ))),
            None => self.plain.create_groups_accumulator(args),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        match places_of(args.return_type()) {
            Some(kind) => self.plain.state_fields(StateFieldsArgs {
                return_field: Arc::new(Field::new(args.return_field.name(), kind, true)),
                ..args
            }),
            None => self.plain.state_fields(args),
        }
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

/// An accumulator of places that is fed with values. Its state is places.
#[derive(Debug)]
struct OfPlaces<A> {
    inner: A,
    /// The type of the values.
    kind: DataType,
}

impl<A> OfPlaces<A> {
    fn new(inner: A, args: &AccumulatorArgs) -> OfPlaces<A> {
        let kind = args.return_field.data_type().clone();
        OfPlaces { inner, kind }
    }

    fn values(&self, places: &ArrayRef) -> Result<ArrayRef> {
        match places::has_places(&self.kind) {
            true => places::values(places, &self.kind),
            false => Ok(floats(places)),
        }
    }
}

fn places(values: &ArrayRef) -> Result<ArrayRef> {
    match places::has_places(values.data_type()) {
        true => places::places(values),
        false => Ok(places_of_floats(values)),
    }
}

/// Floats as numbers that are ordered as they are; and back, since it is its own inverse.
fn turned(bits: i64) -> i64 {
    bits ^ ((bits >> 63) as u64 >> 1) as i64
}

fn turned_32(bits: i32) -> i32 {
    bits ^ ((bits >> 31) as u32 >> 1) as i32
}

fn places_of_floats(floats: &ArrayRef) -> ArrayRef {
    let floats = float::one_form(floats);
    match floats.as_primitive_opt::<Float64Type>() {
        Some(wide) => Arc::new(wide.unary::<_, Int64Type>(|value| turned(value.to_bits() as i64))),
        None => {
            let short = floats.as_primitive::<Float32Type>();
            Arc::new(short.unary::<_, Int32Type>(|value| turned_32(value.to_bits() as i32)))
        }
    }
}

fn floats(places: &ArrayRef) -> ArrayRef {
    match places.as_primitive_opt::<Int64Type>() {
        Some(wide) => Arc::new(wide.unary::<_, Float64Type>(|place| f64::from_bits(turned(place) as u64))),
        None => {
            let short = places.as_primitive::<Int32Type>();
            Arc::new(short.unary::<_, Float32Type>(|place| f32::from_bits(turned_32(place) as u32)))
        }
    }
}

impl Accumulator for OfPlaces<Box<dyn Accumulator>> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(&[places(&values[0])?])
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(&[places(&values[0])?])
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let place = self.inner.evaluate()?.to_array()?;
        ScalarValue::try_from_array(&self.values(&place)?, 0)
    }

    fn size(&self) -> usize {
        self.inner.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }
}

impl GroupsAccumulator for OfPlaces<Box<dyn GroupsAccumulator>> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.inner.update_batch(&[places(&values[0])?], groups, filter, total)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let places = self.inner.evaluate(emit_to)?;
        self.values(&places)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(emit_to)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.inner.merge_batch(states, groups, total)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(&[places(&values[0])?], filter)
    }

    fn size(&self) -> usize {
        self.inner.size()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float32Array, Float64Array};

    use super::*;

    #[test]
    fn places_are_in_the_order_of_floats() {
        let ordered = [
            f64::NEG_INFINITY,
            f64::MIN,
            -1.5,
            -f64::MIN_POSITIVE,
            0.0,
            f64::MIN_POSITIVE,
            1.5,
            f64::MAX,
            f64::INFINITY,
            f64::NAN,
        ];
        let wide: ArrayRef = Arc::new(Float64Array::from(ordered.to_vec()));
        let placed = places_of_floats(&wide);
        assert!(placed.as_primitive::<Int64Type>().values().is_sorted_by(|a, b| a < b));
        assert_eq!(format!("{:?}", floats(&placed)), format!("{wide:?}"));
        let short: ArrayRef = Arc::new(Float32Array::from(vec![f32::NEG_INFINITY, -2.0, 0.0, 1e-40, f32::NAN]));
        let placed = places_of_floats(&short);
        assert!(placed.as_primitive::<Int32Type>().values().is_sorted_by(|a, b| a < b));
        assert_eq!(format!("{:?}", floats(&placed)), format!("{short:?}"));
    }
}
