//! Functions without an incremental form: computed anew over all rows of a group that has changed.
//!
//! A group's rows (as far as the function looks at them) are kept as a counted set in the order that
//! the call asks for, so the function is given the same rows in the same order whenever the group is
//! the same; what it gave last is remembered only to be spared the work. The function is DataFusion's,
//! each time with a fresh accumulator, since few can take back what they were given, and of floats
//! none without a trace.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, new_empty_array};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use super::accumulator::of_type;
use super::collection::{Collections, Keeps, RowsSpec};
use crate::Result;
use crate::change::record_batch;
use crate::graph::{AggregateCall, FoldRows, FoldSpec};
use crate::row::RowField;
use crate::table::Slot;

/// One call.
pub(super) struct Fold {
    function: Arc<AggregateFunctionExpr>,
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    /// The columns that the arguments are computed from.
    schema: SchemaRef,
    /// Where each of them stands in a kept row.
    places: Vec<usize>,
    collection: usize,
    reads: FoldRows,
    output_type: DataType,
    /// By slot of the group, the result if it is known.
    results: Vec<Option<ScalarValue>>,
    /// Memory of the results beyond the column.
    bytes: usize,
}

impl Fold {
    /// A call over rows of `input`, and the set that it needs.
    ///
    /// # Errors
    /// If a column can't be kept in state.
    pub fn new(
        call: &AggregateCall,
        spec: &FoldSpec,
        input: &Schema,
        append_only: bool,
        collections: &mut Collections,
    ) -> Result<Self> {
        let kind = |column: usize| input.field(column).data_type().clone();
        let (mut columns, mut fields) = (Vec::new(), Vec::new());
        for key in &spec.order {
            if !columns.contains(&key.column) {
                columns.push(key.column);
                fields.push(RowField {
                    data_type: kind(key.column),
                    descending: key.descending,
                    nulls_first: key.nulls_first,
                });
            }
        }
        for column in &spec.columns {
            if !columns.contains(column) {
                columns.push(*column);
                fields.push(RowField::ascending(kind(*column)));
            }
        }
        let place = |column: &usize| columns.iter().position(|other| other == column);
        let places = spec.columns.iter().filter_map(place).collect();
        let keeps = match (append_only, spec.reads) {
            (true, FoldRows::First) => Keeps::First,
            (true, FoldRows::Last) => Keeps::Last,
            (true, FoldRows::Once) => Keeps::Once,
            (true, FoldRows::All) | (false, _) => Keeps::All,
        };
        let rows = RowsSpec { columns, fields };
        Ok(Self {
            function: spec.function.clone(),
            arguments: spec.function.expressions(),
            schema: Arc::new(input.project(&spec.columns)?),
            places,
            collection: collections.index_of_rows(rows, call.filter, keeps)?,
            reads: spec.reads,
            output_type: call.output_type.clone(),
            results: Vec::new(),
            bytes: 0,
        })
    }

    /// The slot's group begins anew.
    pub fn reset(&mut self, slot: Slot) {
        if slot.index() >= self.results.len() {
            self.results.resize(slot.index() + 1, None);
        }
        self.set(slot, None);
    }

    /// The rows of these groups have changed.
    pub fn forget(&mut self, slots: &[Slot]) {
        for slot in slots {
            self.set(*slot, None);
        }
    }

    fn set(&mut self, slot: Slot, result: Option<ScalarValue>) {
        let beyond = |result: &Option<ScalarValue>| result.as_ref().map_or(0, |r| r.size() - size_of::<ScalarValue>());
        self.bytes += beyond(&result);
        let old = std::mem::replace(&mut self.results[slot.index()], result);
        self.bytes -= beyond(&old);
    }

    /// The results of these groups, which have these sets.
    pub fn finish(&mut self, slots: &[Slot], sets: &[Slot], collections: &Collections) -> Result<ArrayRef> {
        let unknown = |slot: &Slot| self.results[slot.index()].is_none();
        let (slots_left, sets_left): (Vec<Slot>, Vec<Slot>) =
            slots.iter().zip(sets).filter(|(slot, _)| unknown(slot)).unzip();
        if !slots_left.is_empty() {
            let results = self.compute(&sets_left, collections)?;
            for (slot, result) in slots_left.into_iter().zip(results) {
                self.set(slot, Some(result));
            }
        }
        let results = slots.iter().filter_map(|slot| self.results[slot.index()].clone());
        match slots.is_empty() {
            true => Ok(new_empty_array(&self.output_type)),
            false => of_type(ScalarValue::iter_to_array(results)?, &self.output_type),
        }
    }

    fn compute(&self, sets: &[Slot], collections: &Collections) -> Result<Vec<ScalarValue>> {
        let kept = &collections.each[self.collection];
        let (columns, groups) = kept.rows(sets, self.reads)?;
        let total = groups.last().map_or(0, |group| group.end);
        let columns = self.places.iter().map(|place| columns[*place].clone()).collect();
        let rows = record_batch(self.schema.clone(), columns, total)?;
        let arguments = self
            .arguments
            .iter()
            .map(|argument| Ok(argument.evaluate(&rows)?.into_array(total)?))
            .collect::<Result<Vec<ArrayRef>>>()?;
        groups.into_iter().map(|group| self.result(&arguments, group)).collect()
    }

    /// Memory, about.
    pub fn bytes(&self) -> usize {
        self.results.capacity() * size_of::<Option<ScalarValue>>() + self.bytes
    }

    fn result(&self, arguments: &[ArrayRef], group: Range<usize>) -> Result<ScalarValue> {
        let mut accumulator = self.function.create_accumulator()?;
        if !group.is_empty() {
            let slice = |argument: &ArrayRef| argument.slice(group.start, group.len());
            let arguments: Vec<ArrayRef> = arguments.iter().map(slice).collect();
            accumulator.update_batch(&arguments)?;
        }
        let result = accumulator.evaluate()?;
        match result.data_type() == self.output_type {
            true => Ok(result),
            false => Ok(result.cast_to(&self.output_type)?),
        }
    }
}
