//! The groups: how many rows each has, and what its calls have made of them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::compute;
use arrow::datatypes::{DataType, SchemaRef};

use super::accumulator::{
    Accumulator, Selected, accumulator, add_weights, counts_of, filter_of, mask, merge_counts, of_type,
};
use super::collection::{Collections, Transitions};
use super::fold::Fold;
use crate::change::{ChangeBatch, Weights};
use crate::graph::{AggregateCall, AggregateFunction};
use crate::operator::codec::{Reader, damaged, write_i64};
use crate::table::{Save, Slot, Slots};
use crate::{Error, Result};

/// Version of the stored form.
const VERSION: u8 = 1;

/// How a call is kept up to date.
enum Call {
    /// `count(*)`: the group's number of rows.
    Rows(DataType),
    /// From the rows.
    Plain {
        accumulator: Box<dyn Accumulator>,
        argument: Option<usize>,
        filter: Option<usize>,
    },
    /// From the values that enter and leave a set.
    Distinct {
        accumulator: Box<dyn Accumulator>,
        collection: usize,
    },
    /// From the order of a set.
    Extreme {
        collection: usize,
        largest: bool,
        output_type: DataType,
    },
    /// Anew from all rows of a set.
    Fold(Fold),
}

/// All groups in memory, by slot.
pub(super) struct Groups {
    calls: Vec<Call>,
    counts: Vec<i64>,
    /// For grouping by nothing: whether the one group has given its row. It has one from then on.
    pub emitted: Option<bool>,
}

/// The groups of a batch's rows, and of each row's sets where there are any.
pub(super) struct Targets<'a> {
    pub groups: &'a [Slot],
    pub collections: &'a [Slot],
}

impl Groups {
    /// Groups (or the one of a grouping by nothing), and the sets of values that their calls need.
    ///
    /// # Errors
    /// If a call can't be kept up to date over its argument's type.
    pub fn new(
        calls: &[AggregateCall],
        by_nothing: bool,
        input: &SchemaRef,
        append_only: bool,
    ) -> Result<(Self, Collections)> {
        let mut collections = Collections::default();
        let planned = calls
            .iter()
            .map(|call| Self::plan(call, input, append_only, &mut collections))
            .collect::<Result<_>>()?;
        let emitted = by_nothing.then_some(false);
        Ok((
            Self {
                calls: planned,
                counts: Vec::new(),
                emitted,
            },
            collections,
        ))
    }

    fn plan(call: &AggregateCall, input: &SchemaRef, append_only: bool, collections: &mut Collections) -> Result<Call> {
        if let AggregateFunction::Fold(spec) = &call.function {
            return Ok(Call::Fold(Fold::new(call, spec, input, append_only, collections)?));
        }
        let is_extreme = matches!(call.function, AggregateFunction::Min | AggregateFunction::Max);
        let output_type = call.output_type.clone();
        let argument_type = call.argument.map(|column| input.field(column).data_type());
        let mut collect = |argument: usize| {
            let data_type = input.field(argument).data_type();
            collections.index_of(argument, call.filter, append_only, data_type)
        };
        Ok(match call.argument {
            None if call.filter.is_none() && call.function == AggregateFunction::Count => Call::Rows(output_type),
            Some(argument) if is_extreme && !append_only => Call::Extreme {
                collection: collect(argument)?,
                largest: call.function == AggregateFunction::Max,
                output_type,
            },
            Some(argument) if call.distinct && !is_extreme => Call::Distinct {
                collection: collect(argument)?,
                accumulator: accumulator(call, &name(call, input), argument_type)?,
            },
            argument => Call::Plain {
                accumulator: accumulator(call, &name(call, input), argument_type)?,
                argument,
                filter: call.filter,
            },
        })
    }

    /// Number of calls.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Whether the group has a row in the output.
    pub fn has_row(&self, slot: Slot) -> bool {
        self.emitted.unwrap_or(self.counts[slot.index()] > 0)
    }

    /// Takes a batch's rows.
    pub fn update(&mut self, batch: &ChangeBatch, targets: &Targets<'_>, collections: &mut Collections) -> Result<()> {
        let weights = match batch.weights() {
            Weights::Ones => None,
            Weights::Each(weights) => Some(&weights[..]),
        };
        let all = Selected {
            slots: targets.groups,
            weights,
            mask: None,
        };
        if !add_weights(&mut self.counts, &all) {
            return Err(too_many());
        }
        let mut transitions = Vec::with_capacity(collections.each.len());
        for collection in &mut collections.each {
            transitions.push(collection.update(batch, targets.collections, weights)?);
        }
        for call in &mut self.calls {
            match call {
                Call::Rows(_) | Call::Extreme { .. } => {}
                Call::Fold(fold) => fold.forget(targets.groups),
                Call::Plain {
                    accumulator,
                    argument,
                    filter,
                } => {
                    let argument = argument.map(|column| batch.column(column));
                    let mask = mask(filter_of(batch, *filter), argument);
                    let rows = Selected {
                        slots: targets.groups,
                        weights,
                        mask,
                    };
                    accumulator.update(&rows, argument)?;
                }
                Call::Distinct {
                    accumulator,
                    collection,
                } => {
                    let argument = collections.each[*collection].argument();
                    let argument = argument.ok_or_else(|| Error::internal("a set without an argument"))?;
                    let changed = &transitions[*collection];
                    update_distinct(accumulator.as_mut(), changed, batch.column(argument), targets.groups)?;
                }
            }
        }
        Ok(())
    }

    /// Adds what another slot has: as if its rows had been given to this one. The sets are those of the same slots,
    /// and the other one's are empty then.
    pub fn merge(&mut self, into: Slot, from: Slot, collections: &mut Collections) -> Result<()> {
        if !merge_counts(&mut self.counts, into, from) {
            return Err(too_many());
        }
        collections.merge(into, from)?;
        for call in &mut self.calls {
            match call {
                Call::Rows(_) | Call::Extreme { .. } => {}
                Call::Plain { accumulator, .. } => accumulator.merge(into, from)?,
                Call::Fold(fold) => fold.forget(&[into]),
                // What is in both sets counts once.
                Call::Distinct {
                    accumulator,
                    collection,
                } => {
                    let values = collections.each[*collection].values(into)?;
                    let rows = Selected {
                        slots: &vec![into; values.len()],
                        weights: None,
                        mask: None,
                    };
                    accumulator.reset(into);
                    accumulator.update(&rows, Some(&values))?;
                }
            }
        }
        Ok(())
    }

    /// The results of one call for some groups; `sets` are the slots of their sets, where there
    /// are any.
    pub fn finish(
        &mut self,
        call: usize,
        slots: &[Slot],
        sets: &[Slot],
        collections: &Collections,
    ) -> Result<ArrayRef> {
        match &mut self.calls[call] {
            Call::Rows(output_type) => of_type(counts_of(&self.counts, slots), output_type),
            Call::Plain { accumulator, .. } | Call::Distinct { accumulator, .. } => accumulator.finish(slots),
            Call::Extreme {
                collection,
                largest,
                output_type,
            } => of_type(collections.each[*collection].extremes(sets, *largest)?, output_type),
            Call::Fold(fold) => fold.finish(slots, sets, collections),
        }
    }

    /// More was taken back from a group than was put in?
    pub fn check(&self, slot: Slot) -> Result<()> {
        match self.counts[slot.index()] {
            0.. => Ok(()),
            count => Err(Error::internal(format!("a group has {count} rows"))),
        }
    }

    /// Memory, about.
    pub fn bytes(&self) -> usize {
        let accumulators: usize = self.accumulators().map(|accumulator| accumulator.bytes()).sum();
        let folds = self.calls.iter().map(|call| match call {
            Call::Fold(fold) => fold.bytes(),
            _ => 0,
        });
        self.counts.capacity() * 8 + accumulators + folds.sum::<usize>()
    }

    fn accumulators(&self) -> impl Iterator<Item = &dyn Accumulator> {
        self.calls.iter().filter_map(|call| match call {
            Call::Plain { accumulator, .. } | Call::Distinct { accumulator, .. } => Some(accumulator.as_ref()),
            Call::Rows(_) | Call::Extreme { .. } | Call::Fold(_) => None,
        })
    }

    fn accumulators_mut(&mut self) -> impl Iterator<Item = &mut Box<dyn Accumulator>> {
        self.calls.iter_mut().filter_map(|call| match call {
            Call::Plain { accumulator, .. } | Call::Distinct { accumulator, .. } => Some(accumulator),
            Call::Rows(_) | Call::Extreme { .. } | Call::Fold(_) => None,
        })
    }
}

impl Slots for Groups {
    fn reset(&mut self, slot: Slot) {
        super::accumulator::set(&mut self.counts, slot, 0);
        for call in &mut self.calls {
            if let Call::Fold(fold) = call {
                fold.reset(slot);
            }
        }
        for accumulator in self.accumulators_mut() {
            accumulator.reset(slot);
        }
    }

    fn load(&mut self, slot: Slot, bytes: &[u8]) -> Result<()> {
        let mut saved = Reader::new(bytes);
        if saved.byte()? != VERSION {
            return Err(damaged());
        }
        self.counts[slot.index()] = saved.i64()?;
        for accumulator in self.accumulators_mut() {
            accumulator.load(slot, &mut saved)?;
        }
        if let Some(emitted) = &mut self.emitted {
            *emitted = true;
        }
        if saved.is_at_end() { Ok(()) } else { Err(damaged()) }
    }

    fn save(&mut self, slot: Slot, _save: Save, out: &mut Vec<u8>) -> Result<()> {
        out.push(VERSION);
        write_i64(self.counts[slot.index()], out);
        for accumulator in self.accumulators() {
            accumulator.save(slot, out);
        }
        Ok(())
    }

    fn is_empty(&self, slot: Slot) -> bool {
        match self.emitted {
            Some(emitted) => !emitted,
            None => self.counts[slot.index()] == 0,
        }
    }
}

fn too_many() -> Error {
    Error::Data("a group has more than 2^63 rows".to_string())
}

/// The call as a user knows it, for errors.
fn name(call: &AggregateCall, input: &SchemaRef) -> Arc<str> {
    let function = match &call.function {
        AggregateFunction::Count => "count",
        AggregateFunction::Sum => "sum",
        AggregateFunction::Avg => "avg",
        AggregateFunction::Min => "min",
        AggregateFunction::Max => "max",
        AggregateFunction::Fold(fold) => fold.function.fun().name(),
    };
    let argument = call.argument.map_or("*", |column| input.field(column).name());
    let distinct = if call.distinct { "DISTINCT " } else { "" };
    format!("{function}({distinct}{argument})").into()
}

fn update_distinct(
    accumulator: &mut dyn Accumulator,
    changed: &Transitions,
    argument: &ArrayRef,
    groups: &[Slot],
) -> Result<()> {
    if changed.rows.is_empty() {
        return Ok(());
    }
    let slots: Vec<Slot> = changed.rows.iter().map(|row| groups[*row as usize]).collect();
    let values = compute::take(argument, &UInt32Array::from(changed.rows.clone()), None)?;
    let rows = Selected {
        slots: &slots,
        weights: Some(&changed.weights),
        mask: None,
    };
    accumulator.update(&rows, Some(&values))
}
