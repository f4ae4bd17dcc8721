//! Recursion: `x = start UNION [ALL] next(x, …)`, kept up to date.
//!
//! The node has a small graph inside, the recursive term, whose ports are the node's own result
//! (port 0) and its other inputs. A step runs that graph in rounds: what a round brings that is
//! new is the next one's port 0, until nothing is. The rest of the engine sees one operator.
//!
//! `UNION ALL` is linear: a change of an input goes through the rounds as it is, deletes too, and
//! each derivation of a row counts (Budiu et al., "DBSP", VLDB 2023). `UNION` keeps a set, and new
//! rows are found semi-naively: only they are looked at in the next round (Bancilhon and
//! Ramakrishnan, SIGMOD 1986). There a delete could leave rows behind that only support each
//! other; so the set is derived anew, from the inputs, and the difference is given.
//!
//! Stored are the inputs alone. What is derived lives in memory, is lost in a crash, and is derived
//! again before the first change that comes after it.

use arrow::array::UInt32Array;
use arrow::datatypes::SchemaRef;
use hashbrown::HashSet;
use weir_state::WriteBatch;

use crate::change::{ChangeBatch, Weights, consolidate, record_batch};
use crate::graph::{Node, RecurseSpec};
use crate::operator::arrangement::{Arrangement, Keep};
use crate::operator::fault::{Fault, Sums};
use crate::operator::{Operator, OperatorStats, Step, TaskContext};
use crate::row::{RowCodec, Rows};
use crate::shard::hash_rows;
use crate::table::{Keys, Slot};
use crate::{Error, Result};

mod rounds;
#[cfg(test)]
mod tests;

use rounds::Rounds;

/// Rows of one output batch at most.
const BATCH_ROWS: usize = 8192;

/// One task's part of a [`RecurseSpec`] node: all of it is in task 0.
pub struct Recurse {
    spec: RecurseSpec,
    context: TaskContext,
    schema: SchemaRef,
    row: RowCodec,
    inputs: Vec<Kept>,
    /// `None` until it is derived from the inputs.
    derived: Option<Derived>,
    faults: Vec<Fault>,
}

/// An input's rows, all under the empty key.
struct Kept {
    schema: SchemaRef,
    row: RowCodec,
    rows: Arrangement,
}

/// What follows from the inputs.
struct Derived {
    rounds: Rounds,
    /// The rows of the result, where they are a set.
    known: HashSet<Box<[u8]>>,
    /// Rows that were left out on the way, because they can't be computed.
    left_out: Sums,
}

impl Recurse {
    /// An operator over `inputs`: where it starts, then what the recursive term reads beside.
    ///
    /// # Errors
    /// If the plan doesn't fit together, a column can't be kept in state, or the store can't be
    /// read.
    pub fn new(spec: &RecurseSpec, node: &Node, inputs: &[&Node], context: &TaskContext) -> Result<Self> {
        let keep = |(n, input): (usize, &&Node)| {
            Ok(Kept {
                schema: input.schema.clone(),
                row: RowCodec::for_schema(&input.schema)?,
                rows: Arrangement::open(context, n as u16, Keep::Ordered, false)?,
            })
        };
        Ok(Self {
            spec: spec.clone(),
            context: context.clone(),
            schema: node.schema.clone(),
            row: RowCodec::for_schema(&node.schema)?,
            inputs: inputs.iter().enumerate().map(keep).collect::<Result<_>>()?,
            derived: None,
            faults: Vec::new(),
        })
    }

    /// What follows from the inputs as they are kept.
    fn derive(&mut self, step: &Step) -> Result<Derived> {
        let mut derived = Derived {
            rounds: Rounds::new(&self.spec.inner, &self.context)?,
            known: HashSet::new(),
            left_out: Sums::default(),
        };
        let inputs = self.inputs.iter_mut().map(Kept::all).collect::<Result<Vec<_>>>()?;
        self.follow(&mut derived, step, inputs)?
            .ok_or_else(|| Error::internal("a recursion over inserts alone takes rows back"))?;
        derived.note_faults();
        Ok(derived)
    }

    /// Runs the rounds that changes of the inputs cause, and gives the changes of the result. `None`
    /// if it is a set and rows would have to be taken out of it: then it must be derived anew.
    fn follow(
        &self,
        derived: &mut Derived,
        step: &Step,
        mut inputs: Vec<Vec<ChangeBatch>>,
    ) -> Result<Option<Vec<ChangeBatch>>> {
        let start = std::mem::take(&mut inputs[0]);
        let mut output: Vec<ChangeBatch> = Vec::new();
        let mut came = derived.rounds.run(step, inputs)?;
        came.extend(start);
        for round in 0.. {
            let mut new = self.as_result(came)?;
            if self.spec.distinct {
                if !new.is_append_only() {
                    self.forget(&mut derived.known, &output)?;
                    return Ok(None);
                }
                new = self.unknown(&mut derived.known, new)?;
            }
            if new.is_empty() {
                break;
            }
            if round >= self.spec.max_iterations {
                return Err(endless(self.spec.max_iterations));
            }
            output.push(new.clone());
            came = derived.rounds.run(step, vec![vec![new]])?;
        }
        Ok(Some(output))
    }

    /// Batches with the result's columns as one, summed.
    fn as_result(&self, batches: Vec<ChangeBatch>) -> Result<ChangeBatch> {
        let mut named = vec![ChangeBatch::empty(self.schema.clone())];
        for batch in batches {
            let rows = record_batch(self.schema.clone(), batch.rows().columns().to_vec(), batch.num_rows())?;
            named.push(batch.with_rows(rows));
        }
        consolidate(&named)
    }

    /// Takes rows out of the set that were put in.
    fn forget(&self, known: &mut HashSet<Box<[u8]>>, batches: &[ChangeBatch]) -> Result<()> {
        for batch in batches {
            let rows = self.row.encode(batch.rows().columns(), batch.num_rows())?;
            for row in rows.iter() {
                known.remove(row);
            }
        }
        Ok(())
    }

    /// The rows that are not in the set yet, each once; now they are.
    fn unknown(&self, known: &mut HashSet<Box<[u8]>>, batch: ChangeBatch) -> Result<ChangeBatch> {
        let rows = self.row.encode(batch.rows().columns(), batch.num_rows())?;
        let mut new = Vec::new();
        for (nth, row) in rows.iter().enumerate() {
            if !known.contains(row) {
                known.insert(row.into());
                new.push(nth as u32);
            }
        }
        let (new, _) = batch.take(&UInt32Array::from(new))?.into_parts();
        Ok(ChangeBatch::inserts(new))
    }

    /// What is in one set and not in the other.
    fn difference(&self, before: &HashSet<Box<[u8]>>, after: &HashSet<Box<[u8]>>) -> Result<Vec<ChangeBatch>> {
        let gone: Vec<&[u8]> = before.difference(after).map(AsRef::as_ref).collect();
        let come: Vec<&[u8]> = after.difference(before).map(AsRef::as_ref).collect();
        let mut output = Vec::new();
        for (rows, weight) in [(gone, -1), (come, 1)] {
            for part in rows.chunks(BATCH_ROWS) {
                output.push(batch(&self.schema, &self.row, part, vec![weight; part.len()])?);
            }
        }
        Ok(output)
    }
}

impl Derived {
    /// Takes down which rows the last rounds left out, and gives them.
    fn note_faults(&mut self) -> Vec<Fault> {
        let new = std::mem::take(&mut self.rounds.faults);
        new.iter().for_each(|fault| self.left_out.add(fault.clone(), ()));
        new
    }
}

impl Kept {
    fn slot(&mut self) -> Result<Slot> {
        let mut key = Rows::new();
        key.push(&[]);
        let hashes = hash_rows(&key);
        let slots = self.rows.resolve(Keys {
            rows: &key,
            hashes: &hashes,
            buckets: &[],
        })?;
        Ok(slots[0])
    }

    /// Puts changes in, first inserts, so that deletes find their rows.
    fn add(&mut self, batches: &[ChangeBatch]) -> Result<()> {
        let slot = self.slot()?;
        for wanted in [1, -1] {
            for batch in batches {
                let rows = self.row.encode(batch.rows().columns(), batch.num_rows())?;
                for (nth, row) in rows.iter().enumerate() {
                    if batch.weight(nth).signum() == wanted {
                        self.rows.add(slot, row, batch.weight(nth))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// All rows.
    fn all(&mut self) -> Result<Vec<ChangeBatch>> {
        let slot = self.slot()?;
        let ids: Vec<_> = self.rows.rows.of(slot).collect();
        let part = |ids: &[_]| {
            let rows: Vec<&[u8]> = ids.iter().map(|id| self.rows.rows.bytes_of(*id)).collect();
            let weights = ids.iter().map(|id| self.rows.rows.weight(*id)).collect();
            batch(&self.schema, &self.row, &rows, weights)
        };
        ids.chunks(BATCH_ROWS).map(part).collect()
    }
}

fn batch(schema: &SchemaRef, codec: &RowCodec, rows: &[&[u8]], weights: Vec<i64>) -> Result<ChangeBatch> {
    let columns = codec.decode(rows.iter().copied())?;
    let rows = record_batch(schema.clone(), columns, rows.len())?;
    Ok(ChangeBatch::new(rows, Weights::Each(weights.into())))
}

/// Batches as one, summed.
fn together(batches: Vec<ChangeBatch>) -> Result<Vec<ChangeBatch>> {
    match batches.is_empty() {
        true => Ok(batches),
        false => Ok(vec![consolidate(&batches)?]),
    }
}

fn endless(rounds: u32) -> Error {
    Error::Data(format!(
        "the recursion has not come to its end after {rounds} rounds; give its condition a bound (such as a depth), \
         use UNION instead of UNION ALL where rows may lead back to themselves, or allow more with WITH \
         (max_iterations = '…')"
    ))
}

impl Operator for Recurse {
    fn step(&mut self, step: &Step, inputs: Vec<Vec<ChangeBatch>>) -> Result<Vec<ChangeBatch>> {
        if inputs.iter().flatten().all(ChangeBatch::is_empty) {
            return Ok(Vec::new());
        }
        let mut derived = match self.derived.take() {
            Some(derived) => derived,
            None => self.derive(step)?,
        };
        let inputs = inputs.into_iter().map(together).collect::<Result<Vec<_>>>()?;
        for (kept, batches) in self.inputs.iter_mut().zip(&inputs) {
            kept.add(batches)?;
        }
        let only_adds = inputs.iter().flatten().all(ChangeBatch::is_append_only);
        let followed = match self.spec.distinct && !only_adds {
            true => None,
            false => self.follow(&mut derived, step, inputs)?,
        };
        let output = match followed {
            Some(output) => {
                self.faults.extend(derived.note_faults());
                output
            }
            None => {
                let anew = self.derive(step)?;
                let output = self.difference(&derived.known, &anew.known)?;
                self.faults.extend(anew.left_out.since(derived.left_out));
                derived = anew;
                output
            }
        };
        self.derived = Some(derived);
        Ok(output)
    }

    fn checkpoint(&mut self, batch: &mut WriteBatch) -> Result<()> {
        if let Some(derived) = &mut self.derived {
            derived.rounds.checkpoint()?;
        }
        self.inputs.iter_mut().try_for_each(|kept| kept.rows.checkpoint(batch))
    }

    fn committed(&mut self) -> Result<()> {
        self.inputs.iter_mut().try_for_each(|kept| kept.rows.committed())
    }

    fn complete(&mut self, entries: usize) -> Result<bool> {
        for kept in &mut self.inputs {
            if !kept.rows.complete(entries)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn take_faults(&mut self) -> Vec<Fault> {
        std::mem::take(&mut self.faults)
    }

    fn stats(&self) -> OperatorStats {
        let mut stats = OperatorStats::default();
        for kept in &self.inputs {
            kept.rows.count_into(&mut stats);
        }
        if let Some(derived) = &self.derived {
            derived.rounds.count_into(&mut stats);
            stats.state_entries += derived.known.len() as u64;
            stats.state_bytes += derived.known.iter().map(|row| row.len() as u64 + 32).sum::<u64>();
        }
        stats
    }
}
