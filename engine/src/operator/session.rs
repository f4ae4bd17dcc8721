//! Session: gives each row the session that it belongs to, and follows what becomes of sessions.
//!
//! A session is a run of a partition's rows, ordered by time, in which each follows the one before
//! by less than the gap. It begins with its first row's time and ends a gap after its last one's: a
//! row at just that time is of another session. So one row can move the bounds of many others: it
//! lengthens a session or makes one of two, and a delete cuts one in two. A partition's rows are
//! kept in an [`Arrangement`], ordered by time. Changes concern the sessions near them only
//! ([`runs`]): their rows are read before and after the changes, and the difference is emitted.
//!
//! **Groups.** A session that grows gives all its rows anew, with its new end. Where nobody wants the rows but
//! what a grouping says of them, and they only come, a session is kept as its partial results
//! ([`grouped`]) in place of its rows, and a row costs what it changes.
//!
//! **Closing.** A session is closed when the watermark reaches its end (and, without EMIT ON WINDOW
//! CLOSE, the allowed lateness behind it). With EMIT ON WINDOW CLOSE its rows come out then, once.
//! Either way its rows go, and a [mark](layout) of the closed session that was last stays for
//! another gap. [`Timers`] remember when to look at a partition.
//!
//! **Late** is a row below the watermark that its own split had before it. It counts as long as its
//! session is open as of that watermark: if it lies between two rows of an open one, or if it alone
//! would not be closed and is not near one that is. To see the latter is what the mark is for. So the
//! verdict is the same however the rows of a split are cut into steps.

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use weir_state::WriteBatch;

use crate::change::ChangeBatch;
use crate::graph::{Node, SessionSpec};
use crate::operator::arrangement::{Arrangement, Keep, closed_through, gathered};
use crate::operator::fault::{Fault, passing};
use crate::operator::timers::Timers;
use crate::operator::window::{Time, microseconds};
use crate::operator::{Operator, OperatorStats, Step, TaskContext, Watermark};
use crate::row::Rows;
use crate::shard::hash_rows;
use crate::table::{Keys, Slot};
use crate::{Error, Result};

mod closing;
mod grouped;
mod layout;
mod runs;
#[cfg(test)]
mod tests;

use grouped::Grouped;
use layout::{Emit, Layout};
use runs::{Gap, Region};

/// One task's part of a [`SessionSpec`] node.
pub struct Session {
    spec: SessionSpec,
    gap: Gap,
    content: Content,
    state: Arrangement,
    /// Where sessions close.
    timers: Option<Timers>,
    /// As of the last step.
    watermark: Watermark,
    late_applied: u64,
    late_dropped: u64,
    without_event_time: u64,
    faults: Vec<Fault>,
}

/// What is kept of sessions, and given.
enum Content {
    Rows(Layout),
    Groups(Box<Grouped>),
}

/// A batch's changes, to be put into the state.
struct Changes {
    batch: ChangeBatch,
    slots: Vec<Slot>,
    /// As they are kept; of groups, what of their key isn't the partition's.
    rows: Rows,
    times: Vec<i64>,
    /// Each row's split's watermark before it.
    watermarks: Vec<Watermark>,
}

/// One of them.
#[derive(Clone, Copy)]
struct Change<'a> {
    slot: Slot,
    row: &'a [u8],
    time: i64,
    weight: i64,
    watermark: Watermark,
    /// Which of the batches, and which of its rows.
    place: (usize, usize),
}

impl Session {
    /// An operator over `input` whose output has the columns of `node.schema`: the input's without
    /// the watermark, then the bounds of the session; or groups' keys and calls.
    ///
    /// # Errors
    /// If the plan doesn't fit together, a column can't be kept in state, or the store can't be
    /// read.
    pub fn new(spec: &SessionSpec, node: &Node, input: &Node, context: &TaskContext) -> Result<Self> {
        check(spec, node, input)?;
        let timers = match spec.close {
            Some(_) => Some(Timers::open(context, 1, input.append_only)?),
            None => None,
        };
        let content = match &spec.groups {
            None => Content::Rows(Layout::of_rows(spec, node)?),
            Some(groups) => Content::Groups(Box::new(Grouped::new(spec, groups, node, input)?)),
        };
        Ok(Self {
            gap: Gap {
                us: spec.gap_us,
                between_entries: spec.groups.is_some(),
            },
            content,
            state: Arrangement::open(context, 0, Keep::Ordered, false)?,
            timers,
            spec: spec.clone(),
            watermark: Watermark::MIN,
            late_applied: 0,
            late_dropped: 0,
            without_event_time: 0,
            faults: Vec::new(),
        })
    }

    fn emits_on_close(&self) -> bool {
        self.spec.close.is_some_and(|close| close.emit_on_close)
    }

    /// The time up to which sessions have closed at a watermark.
    fn limit(&self, watermark: Watermark) -> Option<i64> {
        closed_through(watermark, self.spec.close?.lateness_us)
    }

    /// Finds the partitions of a batch's rows. Rows without time are counted, and those of a time that
    /// has no session left out.
    fn changes(&mut self, batch: ChangeBatch) -> Result<Option<Changes>> {
        let mut batch = batch;
        let nulls = batch.column(self.spec.time).logical_null_count();
        if nulls > 0 {
            self.without_event_time += nulls as u64;
            let time = batch.column(self.spec.time);
            let keep: BooleanArray = (0..batch.num_rows()).map(|row| Some(time.is_valid(row))).collect();
            batch = batch.filter(&keep)?;
        }
        let mut faults = std::mem::take(&mut self.faults);
        batch = passing(batch, &mut faults, |part| self.times(part).map(drop))?;
        self.faults = faults;
        if batch.is_empty() {
            return Ok(None);
        }
        let times = self.times(&batch)?;
        let keys = self.content.layout().keys(&batch)?;
        let hashes = hash_rows(&keys);
        let slots = self.state.resolve(Keys::new(&keys, &hashes))?;
        let rows = match &self.content {
            Content::Rows(layout) => layout.rows(&batch, &times)?,
            Content::Groups(grouped) => grouped.layout().rest(&batch)?,
        };
        let watermarks = match self.spec.watermark {
            Some(column) => {
                let watermarks = batch.column(column).as_primitive::<TimestampMicrosecondType>();
                watermarks.iter().map(|time| time.unwrap_or(Watermark::MIN)).collect()
            }
            None => vec![self.watermark; batch.num_rows()],
        };
        Ok(Some(Changes {
            batch,
            slots,
            rows,
            times,
            watermarks,
        }))
    }

    /// Each row's time in microseconds; a session of it alone can be written.
    fn times(&self, batch: &ChangeBatch) -> Result<Vec<i64>> {
        let out_of_range = |time: String| {
            let schema = batch.schema();
            let name = schema.field(self.spec.time).name();
            Error::Data(format!(
                "the time {time} in column '{name}' has no session: its end would be outside TIMESTAMP's range; filter \
                 such rows out first"
            ))
        };
        let times = microseconds(batch.column(self.spec.time)).map_err(out_of_range)?;
        let latest = i64::MAX - 1 - self.spec.gap_us;
        match times.values().iter().find(|time| **time > latest) {
            Some(time) => Err(out_of_range(Time(*time).to_string())),
            None => Ok(times.values().to_vec()),
        }
    }

    /// Puts changes into the state. Late rows are judged by what came before them, so what has been
    /// collected is settled first.
    fn apply(&mut self, changes: &[Changes], emit: &mut Emit) -> Result<()> {
        let mut collected: Vec<Change> = Vec::new();
        for change in changes.iter().enumerate().flat_map(|(nth, batch)| batch.each(nth)) {
            if self.limit(change.watermark).is_some_and(|limit| change.time < limit) {
                self.settle(changes, &mut collected, emit)?;
                if self.is_closed(&change) {
                    self.late_dropped += 1;
                    continue;
                }
            }
            if self.gap.after(change.time) <= change.watermark {
                self.late_applied += 1;
            }
            collected.push(change);
        }
        self.settle(changes, &mut collected, emit)
    }

    /// Puts collected changes of these batches into the state.
    fn settle(&mut self, batches: &[Changes], changes: &mut Vec<Change>, emit: &mut Emit) -> Result<()> {
        let is_silent = self.emits_on_close();
        let mut regions = Vec::new();
        if !is_silent || self.spec.groups.is_some() {
            changes.sort_by_key(|change| (change.slot, change.time));
            for of_slot in changes.chunk_by(|one, other| one.slot == other.slot) {
                let times = of_slot.iter().map(|change| change.time);
                Region::around(&self.state, of_slot[0].slot, times, self.gap, &mut regions);
            }
        }
        if let Content::Groups(grouped) = &mut self.content {
            let emit = (!is_silent).then_some(emit);
            grouped.settle(&mut self.state, self.gap, (batches, changes), &regions, emit)?;
            changes.iter().for_each(|change| self.set_timer(change));
            changes.clear();
            return Ok(());
        }
        // First inserts, so that deletes find their rows.
        for wanted in [1, -1] {
            for change in changes.iter().filter(|change| change.weight.signum() == wanted) {
                self.state.add(change.slot, change.row, change.weight)?;
                self.set_timer(change);
            }
        }
        for region in &regions {
            region.difference(&self.state, self.gap, emit);
        }
        changes.clear();
        Ok(())
    }
}

impl Content {
    fn layout(&self) -> &Layout {
        match self {
            Content::Rows(layout) => layout,
            Content::Groups(grouped) => grouped.layout(),
        }
    }

    /// The rows of `emit`.
    fn batches(&mut self, state: &Arrangement, emit: &Emit) -> Result<Vec<ChangeBatch>> {
        let parts = emit.parts();
        match self {
            Content::Rows(layout) => parts.map(|part| layout.batch(state, &part)).collect(),
            Content::Groups(grouped) => parts.map(|part| grouped.batch(state, &part)).collect(),
        }
    }
}

impl Changes {
    /// Of the batch of this number.
    fn each(&self, nth: usize) -> impl Iterator<Item = Change<'_>> {
        let rows = (0..self.slots.len()).filter(|row| self.batch.weight(*row) != 0);
        rows.map(move |row| Change {
            slot: self.slots[row],
            row: self.rows.row(row),
            time: self.times[row],
            weight: self.batch.weight(row),
            watermark: self.watermarks[row],
            place: (nth, row),
        })
    }
}

impl Operator for Session {
    fn step(&mut self, step: &Step, inputs: Vec<Vec<ChangeBatch>>) -> Result<Vec<ChangeBatch>> {
        let mut changes = Vec::new();
        for batch in gathered(inputs.into_iter().flatten().collect())? {
            changes.extend(self.changes(batch)?);
        }
        let mut emit = Emit::default();
        self.apply(&changes, &mut emit)?;
        self.watermark = self.watermark.max(step.watermark);
        self.close(&mut emit)?;
        self.content.batches(&self.state, &emit)
    }

    fn open_until(&self) -> Option<Watermark> {
        self.timers.as_ref().filter(|_| self.emits_on_close())?.last()
    }

    fn checkpoint(&mut self, batch: &mut WriteBatch) -> Result<()> {
        self.state.checkpoint(batch)?;
        self.timers.as_mut().map_or(Ok(()), |timers| timers.checkpoint(batch))
    }

    fn committed(&mut self) -> Result<()> {
        self.state.committed()?;
        self.timers.as_mut().map_or(Ok(()), Timers::committed)
    }

    fn complete(&mut self, entries: usize) -> Result<bool> {
        let mut done = self.state.complete(entries)?;
        if let Some(timers) = &mut self.timers {
            done &= timers.complete(entries)?;
        }
        Ok(done)
    }

    fn take_faults(&mut self) -> Vec<Fault> {
        std::mem::take(&mut self.faults)
    }

    fn stats(&self) -> OperatorStats {
        let mut stats = OperatorStats {
            late_applied: self.late_applied,
            late_dropped: self.late_dropped,
            without_event_time: self.without_event_time,
            ..Default::default()
        };
        self.state.count_into(&mut stats);
        if let Some(timers) = &self.timers {
            timers.count_into(&mut stats);
        }
        if let Content::Groups(grouped) = &self.content {
            stats.state_bytes += grouped.bytes() as u64;
        }
        stats
    }
}

/// What the planner has to have seen to.
fn check(spec: &SessionSpec, node: &Node, input: &Node) -> Result<()> {
    let columns = input.schema.fields();
    let visible = spec.watermark.unwrap_or(columns.len());
    let bound = DataType::Timestamp(TimeUnit::Microsecond, None);
    let columns_fit = match &spec.groups {
        None => super::extends(node, input, visible, [&bound, &bound]),
        Some(groups) => input.append_only && node.schema.fields().len() == groups.keys.len() + groups.calls.len(),
    };
    let in_range = spec
        .partition
        .iter()
        .chain([&spec.time])
        .all(|column| *column < visible);
    let watermark_fits = spec
        .watermark
        .is_none_or(|column| column + 1 == columns.len() && *columns[column].data_type() == bound);
    let close_fits = spec.groups.is_some() || spec.close.is_none_or(|close| close.column == visible + 1);
    match columns_fit && in_range && watermark_fits && close_fits && spec.gap_us > 0 {
        true => Ok(()),
        false => Err(Error::internal(
            "a session's columns are not those of its input, or it has no gap",
        )),
    }
}
