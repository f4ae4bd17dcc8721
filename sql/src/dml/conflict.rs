//! ON CONFLICT: what becomes of an INSERT's rows whose key is there already.
//!
//! DO NOTHING leaves them out. DO UPDATE is planned as a query over two relations that hold only the
//! rows concerned: those that are there, under the table's name, and the new ones as `excluded`. What
//! it gives is changed as by an UPDATE.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::filter_record_batch;
use sqlparser::ast::{self, Spanned};
use weir_engine::pipeline::Batches;
use weir_engine::relation::RelationId;

use super::{assignments, column, found, only_grows, parsed, quoted, set_plan};
use crate::catalog::{Catalog, Relation};
use crate::plan::errors;
use crate::read::{ReadPlan, Rows};
use crate::{Error, Result};

/// What the new rows are called in SET and WHERE.
const EXCLUDED: &str = "excluded";
/// What holds the rows that are there; the query calls it like the table.
const PRESENT: &str = "weir_present";
/// Their ids, which no relation of the catalog ever gets.
const EXCLUDED_ID: RelationId = RelationId(u32::MAX);
const PRESENT_ID: RelationId = RelationId(u32::MAX - 1);

/// ON CONFLICT, planned.
#[derive(Clone, Debug)]
pub enum Conflict {
    /// DO NOTHING.
    Skip,
    /// DO UPDATE.
    Update(Update),
}

/// DO UPDATE SET … [WHERE …].
#[derive(Clone, Debug)]
pub struct Update {
    /// The columns that are set.
    pub set: Vec<usize>,
    /// The query: the table's columns, whether WHERE holds, the new values.
    pub read: ReadPlan,
}

/// Plans what stands behind an INSERT into `table`.
pub fn plan(on: &ast::OnConflict, table: &Arc<Relation>, catalog: &Catalog) -> Result<Conflict> {
    let Some(key) = &table.key else {
        return Err(Error::new(format!(
            "table '{}' has no PRIMARY KEY, so no row of an INSERT is in conflict with another",
            table.name
        )));
    };
    if let Some(ast::ConflictTarget::Columns(names)) = &on.conflict_target {
        let target = names.iter().map(|name| column(&name.clone().into(), table));
        let mut target = target.collect::<Result<Vec<usize>>>()?;
        let mut wanted = key.clone();
        target.sort_unstable();
        wanted.sort_unstable();
        if target != wanted {
            let names: Vec<&str> = key.iter().map(|c| table.schema.field(*c).name().as_str()).collect();
            return Err(Error::new(format!(
                "what is unique in table '{}' is its PRIMARY KEY: write ON CONFLICT ({})",
                table.name,
                names.join(", ")
            )));
        }
    }
    match &on.action {
        ast::OnConflictAction::DoNothing => Ok(Conflict::Skip),
        ast::OnConflictAction::DoUpdate(_) if table.append_only() => Err(Error::new(only_grows(table))),
        ast::OnConflictAction::DoUpdate(update) => Ok(Conflict::Update(do_update(update, table, key, catalog)?)),
    }
}

fn do_update(update: &ast::DoUpdate, table: &Arc<Relation>, key: &[usize], catalog: &Catalog) -> Result<Update> {
    let (set, items) = assignments(&update.assignments, table)?;
    if let Some(place) = set.iter().position(|column| key.contains(column)) {
        let at = update.assignments[place].target.span().start;
        let message = "the row keeps its key in ON CONFLICT DO UPDATE: UPDATE changes keys";
        return Err(errors::at(message, at));
    }
    if catalog.find(EXCLUDED).is_some() {
        return Err(Error::new(
            "'excluded' is a relation here, and in ON CONFLICT DO UPDATE the name of the new rows; rename the relation",
        ));
    }
    let mut with_both = catalog.clone();
    for (name, id) in [(EXCLUDED, EXCLUDED_ID), (PRESENT, PRESENT_ID)] {
        with_both.insert(Relation {
            id,
            name: name.to_string(),
            key: None,
            ..table.as_ref().clone()
        });
    }
    let called = quoted(&table.name);
    let same = key.iter().map(|column| {
        let column = quoted(table.schema.field(*column).name());
        format!("{called}.{column} = {EXCLUDED}.{column}")
    });
    let same = same.collect::<Vec<_>>().join(" AND ");
    let mut query = parsed(&format!(
        "SELECT {called}.* FROM {PRESENT} AS {called}, {EXCLUDED} WHERE {same}"
    ))?;
    if let ast::SetExpr::Select(select) = query.body.as_mut() {
        let always = ast::Expr::Value(ast::Value::Boolean(true).into());
        let holds = update.selection.clone().unwrap_or(always);
        select.projection.push(ast::SelectItem::ExprWithAlias {
            expr: ast::Expr::IsTrue(Box::new(ast::Expr::Nested(Box::new(holds)))),
            alias: ast::Ident::new("weir_holds"),
        });
        select.projection.extend(items);
    }
    let read = set_plan(&query, table, &set, &update.assignments, &with_both)?;
    Ok(Update { set, read })
}

impl Update {
    /// The relations that its expressions read.
    pub fn reads(&self) -> Vec<RelationId> {
        let mut reads = self.read.reads();
        reads.retain(|id| ![EXCLUDED_ID, PRESENT_ID].contains(id));
        reads
    }

    /// The rows that it changes, as they are, with their new values behind them.
    pub async fn rows(&self, present: RecordBatch, new: RecordBatch, rows: Arc<dyn Rows>) -> Result<RecordBatch> {
        let count = present.num_rows();
        let width = present.num_columns();
        let both = WithBoth { rows, present, new };
        let found = found(&self.read, Arc::new(both)).await?;
        let Some(found) = found.filter(|found| found.num_rows() == count) else {
            return Err(Error::new(
                "internal error (please report): a row's key is not equal to itself",
            ));
        };
        filter_record_batch(&found, found.column(width).as_boolean()).map_err(|error| Error::new(error.to_string()))
    }
}

/// Rows of relations, and of the two that hold what is in conflict.
struct WithBoth {
    rows: Arc<dyn Rows>,
    present: RecordBatch,
    new: RecordBatch,
}

impl Rows for WithBoth {
    fn scan(&self, relation: &Arc<Relation>, columns: &[usize]) -> Result<Batches> {
        let held = match relation.id {
            EXCLUDED_ID => &self.new,
            PRESENT_ID => &self.present,
            _ => return self.rows.scan(relation, columns),
        };
        let held = held.project(columns).map_err(weir_engine::Error::from)?;
        Ok(Box::new(std::iter::once(Ok(held))))
    }

    fn get(&self, relation: &Arc<Relation>, keys: &[ArrayRef]) -> Result<Vec<RecordBatch>> {
        self.rows.get(relation, keys)
    }

    fn at(&self, at_us: i64) -> Result<Arc<dyn Rows>> {
        self.rows.at(at_us)
    }
}
