//! INSERT, UPDATE and DELETE: one statement, one commit, but where a transaction is open.
//!
//! The statement holds all tables from its first read to its commit, so that what it has checked still holds when it
//! commits. (An INSERT of what a source has reads that before.) One whose client has gone ends, and changes nothing;
//! only one that commits already is done.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use tokio::runtime::Handle;
use weir_engine::change::ChangeBatch;
use weir_sql::catalog::Definition;
use weir_sql::dml::Dml;

use crate::answer::{Answer, Body};
use crate::error::ErrorKind;
use crate::read::{SnapshotRows, until_ready};
use crate::session::Context;
use crate::stack::{self, Wanted};
use crate::{Error, Result};

/// Runs a statement.
pub async fn run(context: Context, plan: Dml, verb: String, values: Vec<ScalarValue>, sql: Arc<str>) -> Result<Answer> {
    let handle = Handle::current();
    stack::call_wanted(move |wanted| {
        let plan = if values.is_empty() {
            plan
        } else {
            plan.bind(values).map_err(|error| Error::of_sql(&error, &sql))?
        };
        let (rows, notices) = change(&context, &plan, &handle, &sql, wanted)?;
        let tag = format!("{verb} {rows}");
        Ok(Answer {
            notices,
            body: Body::Changed { rows, tag },
        })
    })
    .await
}

fn change(context: &Context, plan: &Dml, handle: &Handle, sql: &str, wanted: &Wanted) -> Result<(u64, Vec<String>)> {
    let table = plan.table();
    let mut notices = until_ready(context, &plan.reads(), &|| wanted.is_over())?;
    if let Some(transaction) = context.state.transaction.lock().as_mut() {
        let (count, more) = transaction.change(context, plan, handle, sql, wanted)?;
        notices.extend(more);
        return Ok((count, notices));
    }
    let ahead = match reads_source(context, plan) {
        true => {
            let rows = Arc::new(asked_by(SnapshotRows::consistent(context, &plan.reads())?, wanted));
            let found = handle.block_on(wanted.unless_over(plan.found(rows.clone())))?;
            wanted.check()?;
            notices.extend(rows.notices());
            Some(found.map_err(|error| failed(&error, sql))?)
        }
        false => None,
    };
    let write = context.instance.engine().begin_write();
    // Nobody drops a table while it is held: either it is gone by now, or it stays.
    let known = context.instance.known();
    let there = known
        .catalog
        .by_id(table.id)
        .is_some_and(|relation| matches!(relation.definition, Definition::Table(_)));
    if !there {
        return Err(Error::not_found(format!("table '{}' was dropped", table.name)));
    }
    let rows = SnapshotRows::present(context, write.snapshot()?);
    let (changes, count, more) = match ahead {
        Some(found) => {
            let outcome = handle.block_on(plan.changes_of(found, Arc::new(rows)));
            let (changes, count) = outcome.map_err(|error| failed(&error, sql))?;
            (changes, count, Vec::new())
        }
        None => evaluate(plan, rows, handle, sql, wanted)?,
    };
    notices.extend(more);
    if changes.is_empty() {
        return Ok((count, notices));
    }
    let commit = write.commit(&[(table.id, changes)])?;
    context.state.written.lock().insert(table.id, commit);
    Ok((count, notices))
}

/// An INSERT that reads a source is as slow as that, and reads it before it holds the tables. It then sees tables and
/// views as of when it began.
fn reads_source(context: &Context, plan: &Dml) -> bool {
    let known = context.instance.known();
    let is_source = |id| {
        let relation = known.catalog.by_id(id);
        relation.is_some_and(|relation| matches!(relation.definition, Definition::Source(_)))
    };
    plan.is_insert() && plan.reads().into_iter().any(is_source)
}

fn asked_by(rows: SnapshotRows, wanted: &Wanted) -> SnapshotRows {
    let asked = wanted.clone();
    rows.unless(move || asked.is_over())
}

fn failed(error: &weir_sql::Error, sql: &str) -> Error {
    Error::new(ErrorKind::Data, error.render(sql))
}

/// What a statement changes over these rows, how many of them, and what is to be said besides; an error
/// if its client goes before that is known.
pub fn evaluate(
    plan: &Dml,
    rows: SnapshotRows,
    handle: &Handle,
    sql: &str,
    wanted: &Wanted,
) -> Result<(ChangeBatch, u64, Vec<String>)> {
    let rows = Arc::new(asked_by(rows, wanted));
    let outcome = handle.block_on(wanted.unless_over(plan.changes(rows.clone())))?;
    wanted.check()?;
    let (changes, count) = outcome.map_err(|error| failed(&error, sql))?;
    Ok((changes, count, rows.notices()))
}
