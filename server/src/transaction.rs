//! Transactions: several changes of a session's that commit as one, or not at all.
//!
//! A transaction's first change takes a snapshot. From there to the end the session reads from that,
//! tables with its own changes on top, and nobody else sees these. COMMIT makes them one DML commit,
//! and so one epoch of every view, if no table that the transaction has read or changed since then was
//! changed by others meanwhile. So nobody is held up by a transaction that is open, and what was
//! checked when its statements ran holds when it commits.
//!
//! A view that had no answer yet at that moment is waited for, as by any query, and then the
//! transaction moves on to the present: as if it had begun now, which nobody can tell, since all that
//! it has read is as it was.
//!
//! Before its first change a transaction is nothing: drivers keep one open all the time where
//! autocommit is off, and whoever only looks wants to see the present.

use std::collections::{BTreeMap, BTreeSet};

use tokio::runtime::Handle;
use weir_engine::change::ChangeBatch;
use weir_engine::pipeline::{Pending, Snapshot};
use weir_engine::relation::RelationId;
use weir_sql::catalog::Definition;
use weir_sql::dml::Dml;
use weir_state::Epoch;

use crate::answer::Answer;
use crate::read::{Moment, SnapshotRows};
use crate::session::Context;
use crate::stack::Wanted;
use crate::{Error, Result, write};

/// A session's open transaction.
#[derive(Default)]
pub struct Transaction {
    /// What was committed before its first change.
    moment: Option<Moment>,
    changes: Pending,
    /// Tables that it has read or changed since.
    touched: BTreeSet<RelationId>,
    /// Views that it has read since, as of which epoch.
    seen: BTreeMap<RelationId, Epoch>,
    /// One of its changes has failed, so it can only be rolled back.
    failed: bool,
}

/// BEGIN.
pub fn begin(context: &Context) -> Result<Answer> {
    let mut open = context.state.transaction.lock();
    if open.is_some() {
        return Err(Error::conflict(
            "a transaction is open already: COMMIT or ROLLBACK ends it",
        ));
    }
    *open = Some(Transaction::default());
    Ok(Answer::done("BEGIN"))
}

/// COMMIT.
pub fn commit(context: &Context) -> Result<Answer> {
    let Some(transaction) = context.state.transaction.lock().take() else {
        return Ok(Answer::done("COMMIT").with_notices(vec![NONE.to_string()]));
    };
    if transaction.failed {
        return Err(Error::conflict(
            "one of the transaction's changes had failed, so it was rolled back: nothing was changed",
        ));
    }
    let Some(moment) = &transaction.moment else {
        return Ok(Answer::done("COMMIT"));
    };
    let write = context.instance.engine().begin_write();
    // Nobody drops a table while it is held.
    let known = context.instance.known();
    let rolled_back = |what: String| {
        Error::conflict(format!(
            "{what} since its first change, so the transaction was rolled back: nothing was changed; run it again"
        ))
    };
    for id in &transaction.touched {
        let table = known.catalog.by_id(*id);
        let Some(table) = table.filter(|relation| matches!(relation.definition, Definition::Table(_))) else {
            return Err(rolled_back("a table of the transaction was dropped".to_string()));
        };
        if write.last_change(*id) > moment.snapshot.dml() {
            return Err(rolled_back(format!(
                "another session has changed table '{}'",
                table.name
            )));
        }
    }
    let mut changes = Vec::with_capacity(transaction.changes.len());
    for (table, batches) in &transaction.changes {
        if let Some(first) = batches.first() {
            changes.push((*table, ChangeBatch::concat(&first.schema(), batches)?));
        }
    }
    let commit = write.commit(&changes)?;
    let mut written = context.state.written.lock();
    written.extend(changes.iter().map(|(table, _)| (*table, commit)));
    Ok(Answer::done("COMMIT"))
}

/// ROLLBACK.
pub fn rollback(context: &Context) -> Answer {
    let answer = Answer::done("ROLLBACK");
    match context.state.transaction.lock().take() {
        Some(_) => answer,
        None => answer.with_notices(vec![NONE.to_string()]),
    }
}

const NONE: &str = "there was no transaction";

/// Refuses a statement that can't be part of a transaction, while one has changed something.
pub fn refuse_within(context: &Context, what: &str) -> Result<()> {
    match &*context.state.transaction.lock() {
        Some(transaction) if transaction.moment.is_some() => Err(Error::invalid(format!(
            "{what} can't be part of a transaction, which takes SELECT, INSERT, UPDATE and DELETE: COMMIT or ROLLBACK \
             it first"
        ))),
        _ => Ok(()),
    }
}

/// What is to be said of a statement that is no part of the transaction in which it stands.
pub fn is_beside(context: &Context) -> Vec<String> {
    let said = "this is no part of the transaction, and ROLLBACK does not undo it";
    let open = context.state.transaction.lock().is_some();
    open.then(|| said.to_string()).into_iter().collect()
}

/// What a query of `reads` sees in the session's transaction; `None` without one that has changed
/// something. They have been waited for.
pub fn snapshot(context: &Context, reads: &[RelationId]) -> Result<Option<Snapshot>> {
    let mut open = context.state.transaction.lock();
    let Some(transaction) = open.as_mut() else {
        return Ok(None);
    };
    transaction.check()?;
    if transaction.moment.is_none() {
        return Ok(None);
    }
    transaction.read(context, reads).map(Some)
}

impl Transaction {
    fn check(&self) -> Result<()> {
        match self.failed {
            true => Err(Error::conflict(
                "one of the transaction's changes has failed, so all that is left is ROLLBACK",
            )),
            false => Ok(()),
        }
    }

    /// The transaction's moment with its own changes on top, for reading `reads`.
    fn read(&mut self, context: &Context, reads: &[RelationId]) -> Result<Snapshot> {
        let other = match &self.moment {
            None => Some(Moment::now(context)?),
            Some(moment) => match moment.lacks(context, reads)? {
                Some(view) => Some(self.later(context, &moment.snapshot, &view)?),
                None => None,
            },
        };
        let moment = other.or_else(|| self.moment.take());
        let moment = self
            .moment
            .insert(moment.ok_or_else(|| Error::internal("a transaction without a moment"))?);
        let known = context.instance.known();
        for id in reads {
            match known.catalog.by_id(*id).map(|relation| &relation.definition) {
                Some(Definition::Table(_)) => _ = self.touched.insert(*id),
                Some(Definition::MaterializedView(_)) => _ = self.seen.insert(*id, epoch_in(&moment.snapshot, *id)?),
                _ => {}
            }
        }
        Ok(moment.snapshot.with_pending(self.changes.clone()))
    }

    /// The present, for a transaction that reads a view which has its answer only now; if all that it
    /// has read since its first change is still as it was.
    fn later(&self, context: &Context, from: &Snapshot, view: &str) -> Result<Moment> {
        // Nobody changes a table while it is held.
        let write = context.instance.engine().begin_write();
        let present = Moment::now(context)?;
        let mut same = self.touched.iter().all(|table| write.last_change(*table) <= from.dml());
        for (seen, epoch) in &self.seen {
            same &= epoch_in(&present.snapshot, *seen)? == *epoch;
        }
        match same {
            true => Ok(present),
            false => Err(Error::conflict(format!(
                "view '{view}' had no answer yet when the transaction made its first change, and something else that \
                 the transaction has read has changed since: ROLLBACK, and run it again"
            ))),
        }
    }

    /// Takes in what a statement changes; how many rows those are, and what is to be said besides. What
    /// it reads has been waited for.
    pub fn change(
        &mut self,
        context: &Context,
        plan: &Dml,
        handle: &Handle,
        sql: &str,
        wanted: &Wanted,
    ) -> Result<(u64, Vec<String>)> {
        self.check()?;
        let table = plan.table();
        let mut reads = plan.reads();
        reads.push(table.id);
        let rows = SnapshotRows::present(context, self.read(context, &reads)?);
        match write::evaluate(plan, rows, handle, sql, wanted) {
            Ok((changes, count, notices)) => {
                if !changes.is_empty() {
                    self.changes.entry(table.id).or_default().push(changes);
                }
                Ok((count, notices))
            }
            Err(error) => {
                self.failed = true;
                Err(error)
            }
        }
    }
}

/// The epoch that a view has in a snapshot; zero where it has none.
fn epoch_in(snapshot: &Snapshot, view: RelationId) -> Result<Epoch> {
    Ok(snapshot.pipeline_of(view)?.map_or(Epoch::ZERO, |record| record.epoch))
}
