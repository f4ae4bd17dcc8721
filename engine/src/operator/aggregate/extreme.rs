//! Minima and maxima over append-only input: the best value so far is all there is to keep.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;

use super::accumulator::{Accumulator, Selected, of_type, set};
use super::ordered::{Form, Ordered, OrderedForm, Thing};
use crate::operator::codec::Reader;
use crate::table::Slot;
use crate::{Error, Result};

pub(super) struct Extreme {
    form: OrderedForm,
    output_type: DataType,
    /// How a value compares to the one it replaces.
    better: Ordering,
    best: Best,
    /// Memory of values beyond the columns.
    extra_bytes: usize,
}

enum Best {
    Words(Vec<Option<i64>>),
    Wides(Vec<Option<i128>>),
    Bytes(Vec<Option<Arc<[u8]>>>),
}

impl Extreme {
    /// # Errors
    /// If values of the type have no order that state can keep.
    pub fn new(argument: &DataType, output_type: DataType, largest: bool) -> Result<Self> {
        let form = OrderedForm::new(argument)?;
        let best = match form.form() {
            Form::Words => Best::Words(Vec::new()),
            Form::Wides => Best::Wides(Vec::new()),
            Form::Bytes(_) => Best::Bytes(Vec::new()),
        };
        let better = if largest { Ordering::Greater } else { Ordering::Less };
        Ok(Self {
            form,
            output_type,
            better,
            best,
            extra_bytes: 0,
        })
    }
}

impl Accumulator for Extreme {
    fn reset(&mut self, slot: Slot) {
        match &mut self.best {
            Best::Words(best) => set(best, slot, None),
            Best::Wides(best) => set(best, slot, None),
            Best::Bytes(best) => {
                self.extra_bytes -= best.get(slot.index()).map_or(0, extra_bytes);
                set(best, slot, None);
            }
        }
    }

    fn update(&mut self, rows: &Selected<'_>, argument: Option<&ArrayRef>) -> Result<()> {
        let argument = argument.ok_or_else(|| Error::internal("an extreme of nothing"))?;
        let (better, extra) = (self.better, &mut self.extra_bytes);
        match (&mut self.best, self.form.encode(argument)?) {
            (Best::Words(best), Ordered::Words(words)) => {
                improve(best, rows, better, extra, |row| &words[row]);
            }
            (Best::Wides(best), Ordered::Wides(wides)) => {
                improve(best, rows, better, extra, |row| &wides[row]);
            }
            (Best::Bytes(best), Ordered::Bytes(bytes)) => {
                improve(best, rows, better, extra, |row| bytes.row(row));
            }
            _ => return Err(Error::internal("an extreme in another form")),
        }
        Ok(())
    }

    fn merge(&mut self, into: Slot, from: Slot) -> Result<()> {
        let (better, extra) = (self.better, &mut self.extra_bytes);
        match &mut self.best {
            Best::Words(best) => merge(best, into, from, better, extra),
            Best::Wides(best) => merge(best, into, from, better, extra),
            Best::Bytes(best) => merge(best, into, from, better, extra),
        }
        Ok(())
    }

    fn finish(&self, slots: &[Slot]) -> Result<ArrayRef> {
        let array = match (&self.best, self.form.form()) {
            (Best::Words(best), _) => {
                let values: Vec<_> = slots.iter().map(|slot| best[slot.index()]).collect();
                self.form.decode_words(&values)?
            }
            (Best::Wides(best), _) => {
                let values: Vec<_> = slots.iter().map(|slot| best[slot.index()]).collect();
                self.form.decode_wides(&values)?
            }
            (Best::Bytes(best), Form::Bytes(codec)) => {
                let values: Vec<_> = slots.iter().map(|slot| best[slot.index()].as_deref()).collect();
                self.form.decode_bytes(codec, &values)?
            }
            _ => return Err(Error::internal("an extreme in another form")),
        };
        of_type(array, &self.output_type)
    }

    fn save(&self, slot: Slot, out: &mut Vec<u8>) {
        match &self.best {
            Best::Words(best) => save(&best[slot.index()], out),
            Best::Wides(best) => save(&best[slot.index()], out),
            Best::Bytes(best) => save(&best[slot.index()], out),
        }
    }

    fn load(&mut self, slot: Slot, saved: &mut Reader<'_>) -> Result<()> {
        match &mut self.best {
            Best::Words(best) => best[slot.index()] = load(saved)?,
            Best::Wides(best) => best[slot.index()] = load(saved)?,
            Best::Bytes(best) => {
                best[slot.index()] = load(saved)?;
                self.extra_bytes += extra_bytes(&best[slot.index()]);
            }
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        match &self.best {
            Best::Words(best) => best.capacity() * size_of::<Option<i64>>(),
            Best::Wides(best) => best.capacity() * size_of::<Option<i128>>(),
            Best::Bytes(best) => best.capacity() * size_of::<Option<Arc<[u8]>>>() + self.extra_bytes,
        }
    }
}

fn extra_bytes<T: Thing>(value: &Option<T>) -> usize {
    value.as_ref().map_or(0, Thing::extra_bytes)
}

#[inline(always)]
fn improve<'a, T: Thing>(
    best: &mut [Option<T>],
    rows: &Selected<'_>,
    better: Ordering,
    extra: &mut usize,
    value: impl Fn(usize) -> &'a T::Borrowed,
) where
    T::Borrowed: 'a,
{
    rows.each(|row, slot, _| {
        let value = value(row);
        let best = &mut best[slot];
        let improves = match best {
            None => true,
            Some(best) => best.compare(value) == better.reverse(),
        };
        if improves {
            *extra -= extra_bytes(best);
            *best = Some(T::from_borrowed(value));
            *extra += extra_bytes(best);
        }
    });
}

fn merge<T: Thing>(best: &mut [Option<T>], into: Slot, from: Slot, better: Ordering, extra: &mut usize) {
    let Some(other) = best[from.index()].clone() else {
        return;
    };
    let best = &mut best[into.index()];
    if best.as_ref().is_none_or(|best| other.cmp(best) == better) {
        *extra -= extra_bytes(best);
        *best = Some(other);
        *extra += extra_bytes(best);
    }
}

fn save<T: Thing>(value: &Option<T>, out: &mut Vec<u8>) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        value.write(out);
    }
}

fn load<T: Thing>(saved: &mut Reader<'_>) -> Result<Option<T>> {
    match saved.byte()? {
        0 => Ok(None),
        _ => T::read(saved).map(Some),
    }
}
