//! INSERT, UPDATE and DELETE: from a statement to the changes of a table.
//!
//! Each is planned as a query ([`crate::read`]) that gives the rows concerned: of an INSERT the new ones, of a DELETE
//! the old ones, of an UPDATE the old ones with the new values of the columns that it sets; other relations may be
//! joined to these ([`matched`]), and new rows whose key is there may become updates ([`conflict`]). What comes is
//! brought to the table's types ([`assign`]), checked against NOT NULL and the key ([`key`]), and becomes one change
//! batch. Nothing is changed here: the server commits it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Schema};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::collect;
use sqlparser::ast::{self, Spanned};
use weir_engine::change::ChangeBatch;
use weir_engine::relation::RelationId;

use crate::catalog::{Catalog, Definition, Relation, TableDefinition};
use crate::plan::{errors, names, session};
use crate::read::{self, ReadPlan, Rows};
use crate::statement::Name;
use crate::{Error, Result};

mod assign;
mod conflict;
mod key;
mod matched;
mod values;

pub use values::check_defaults;

use conflict::Conflict;

/// A planned statement.
#[derive(Clone, Debug)]
pub struct Dml {
    table: Arc<Relation>,
    action: Action,
    read: ReadPlan,
}

/// The rows that a statement's query has given.
pub struct Found(Option<RecordBatch>);

#[derive(Clone, Debug)]
enum Action {
    /// The query gives the table's columns.
    Insert(Option<Conflict>),
    /// The query gives the table's columns, the row's number where others are joined to it, and then
    /// these columns' new values.
    Update { set: Vec<usize>, joined: bool },
    /// The query gives the table's columns, and the row's number where others are joined to it.
    Delete { joined: bool },
}

/// Plans an INSERT, UPDATE or DELETE.
pub fn plan(statement: &ast::Statement, catalog: &Catalog) -> Result<Dml> {
    match statement {
        ast::Statement::Insert(statement) => insert(statement, catalog),
        ast::Statement::Update(statement) => update(statement, catalog),
        ast::Statement::Delete(statement) => delete(statement, catalog),
        _ => Err(Error::new("only INSERT, UPDATE and DELETE change a table")),
    }
}

impl Dml {
    /// The table that changes.
    pub fn table(&self) -> &Arc<Relation> {
        &self.table
    }

    /// The relations that the statement reads to know its rows.
    pub fn reads(&self) -> Vec<RelationId> {
        let mut reads = self.read.reads();
        reads.extend(self.conflict_update().into_iter().flat_map(conflict::Update::reads));
        reads
    }

    fn conflict_update(&self) -> Option<&conflict::Update> {
        match &self.action {
            Action::Insert(Some(Conflict::Update(update))) => Some(update),
            _ => None,
        }
    }

    /// Its parameters, `$1` first. One whose type nothing tells is TEXT.
    pub fn parameters(&self) -> Result<Vec<Field>> {
        let mut known = self.read.parameter_types()?;
        if let Some(update) = self.conflict_update() {
            for (number, kind) in update.read.parameter_types()? {
                let both = known.entry(number).or_default();
                *both = both.take().or(kind);
            }
        }
        Ok(read::parameter_fields(&known))
    }

    /// The statement with values for its parameters, as many as there are.
    pub fn bind(&self, values: Vec<ScalarValue>) -> Result<Dml> {
        let Some(update) = self.conflict_update() else {
            return Ok(Dml {
                read: self.read.bind(values)?,
                ..self.clone()
            });
        };
        let wanted = self.parameters()?.len();
        if values.len() != wanted {
            return Err(Error::new(format!(
                "the statement has {wanted} parameters, and {} values were given",
                values.len()
            )));
        }
        let bound = |read: &ReadPlan| {
            let own = read::parameter_count(&read.parameter_types()?);
            read.bind(values[..own].to_vec())
        };
        let update = conflict::Update {
            read: bound(&update.read)?,
            ..update.clone()
        };
        Ok(Dml {
            read: bound(&self.read)?,
            action: Action::Insert(Some(Conflict::Update(update))),
            ..self.clone()
        })
    }

    /// An INSERT … VALUES with many rows of values for its parameters, as one statement; `None` for
    /// any other, which has to run once for each row.
    pub fn bind_rows(&self, rows: &[Vec<ScalarValue>]) -> Result<Option<Dml>> {
        let Action::Insert(None | Some(Conflict::Skip)) = self.action else {
            return Ok(None);
        };
        let read = self.read.bind_rows(rows)?;
        Ok(read.map(|read| Dml { read, ..self.clone() }))
    }

    /// The table's changes, and how many rows are inserted, updated or deleted. Needs a tokio
    /// runtime around it. `rows` must stay true until the changes are committed.
    ///
    /// # Errors
    /// If a value doesn't fit its column, a NOT NULL column would be NULL, or a key would not be
    /// unique.
    pub async fn changes(&self, rows: Arc<dyn Rows>) -> Result<(ChangeBatch, u64)> {
        let found = self.found(rows.clone()).await?;
        self.changes_of(found, rows).await
    }

    /// It only adds rows: what it reads need not hold any more when these are committed.
    pub fn is_insert(&self) -> bool {
        matches!(self.action, Action::Insert(_))
    }

    /// What the statement's query gives. For an INSERT that may be read before the table is held.
    pub async fn found(&self, rows: Arc<dyn Rows>) -> Result<Found> {
        found(&self.read, rows).await.map(Found)
    }

    /// The same as [`Dml::changes`], for what was found before.
    pub async fn changes_of(&self, Found(found): Found, rows: Arc<dyn Rows>) -> Result<(ChangeBatch, u64)> {
        let Some(found) = found else {
            return Ok((ChangeBatch::empty(self.table.schema.clone()), 0));
        };
        let width = self.table.schema.fields().len();
        match &self.action {
            Action::Insert(conflict) => self.inserted(found, conflict.as_ref(), rows).await,
            Action::Update { set, joined } => {
                let found = match joined {
                    true => matched::update_once(&self.table, found)?,
                    false => found,
                };
                Ok((self.updated(&found, set, rows.as_ref())?, found.num_rows() as u64))
            }
            Action::Delete { joined } => {
                let found = match joined {
                    true => matched::once(&self.table, found)?,
                    false => found,
                };
                let old = self.rows(found.columns()[..width].to_vec())?;
                Ok((ChangeBatch::deletes(old), found.num_rows() as u64))
            }
        }
    }

    async fn inserted(
        &self,
        found: RecordBatch,
        conflict: Option<&Conflict>,
        rows: Arc<dyn Rows>,
    ) -> Result<(ChangeBatch, u64)> {
        let columns: Vec<usize> = (0..found.num_columns()).collect();
        let new = self.rows(self.assigned(&columns, found.columns())?)?;
        self.check_not_null(&columns, &new, "INSERT")?;
        let count = new.num_rows() as u64;
        let Some(key) = &self.table.key else {
            return Ok((ChangeBatch::inserts(new), count));
        };
        let Some(conflict) = conflict else {
            key::check_insert(&self.table, key, &new, rows.as_ref())?;
            return Ok((ChangeBatch::inserts(new), count));
        };
        let parted = key::part(
            &self.table,
            key,
            &new,
            rows.as_ref(),
            matches!(conflict, Conflict::Skip),
        )?;
        let count = parted.fresh.num_rows() as u64;
        let fresh = ChangeBatch::inserts(parted.fresh);
        match conflict {
            Conflict::Update(update) if parted.present.num_rows() > 0 => {
                let found = update.rows(parted.present, parted.conflicting, rows.clone()).await?;
                let updated = self.updated(&found, &update.set, rows.as_ref())?;
                let changes = ChangeBatch::concat(&self.table.schema, &[updated, fresh])?;
                Ok((changes, count + found.num_rows() as u64))
            }
            _ => Ok((fresh, count)),
        }
    }

    /// The changes of rows that come as they are, with the new values of `set` in the last columns.
    fn updated(&self, found: &RecordBatch, set: &[usize], rows: &dyn Rows) -> Result<ChangeBatch> {
        let width = self.table.schema.fields().len();
        let old = found.columns()[..width].to_vec();
        let values = self.assigned(set, &found.columns()[found.num_columns() - set.len()..])?;
        let mut new = old.clone();
        for (column, value) in set.iter().zip(values) {
            new[*column] = value;
        }
        let (old, new) = (self.rows(old)?, self.rows(new)?);
        self.check_not_null(set, &new, "UPDATE")?;
        if let Some(key) = &self.table.key
            && key.iter().any(|column| set.contains(column))
        {
            key::check_update(&self.table, key, &old, &new, rows)?;
        }
        let schema = self.table.schema.clone();
        let changes = [ChangeBatch::deletes(old), ChangeBatch::inserts(new)];
        Ok(ChangeBatch::concat(&schema, &changes)?)
    }

    /// Values as the table's columns of these indexes hold them.
    fn assigned(&self, columns: &[usize], values: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        let assign = |(column, values): (&usize, &ArrayRef)| assign::assign(&self.table, *column, values);
        columns.iter().zip(values).map(assign).collect()
    }

    fn rows(&self, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
        RecordBatch::try_new(self.table.schema.clone(), columns).map_err(|error| Error::new(error.to_string()))
    }

    fn check_not_null(&self, columns: &[usize], rows: &RecordBatch, what: &str) -> Result<()> {
        let Definition::Table(TableDefinition { not_null, .. }) = &self.table.definition else {
            return Ok(());
        };
        for column in columns.iter().filter(|column| not_null.contains(column)) {
            let values = rows.column(*column);
            let Some(row) = (0..values.len()).find(|row| values.is_null(*row)) else {
                continue;
            };
            return Err(Error::new(format!(
                "column '{}' of table '{}' is NOT NULL, and row {} of the {what} would have NULL there",
                self.table.schema.field(*column).name(),
                self.table.name,
                row + 1
            )));
        }
        Ok(())
    }
}

/// What a query gives, as one batch; `None` where it is no row at all.
async fn found(query: &ReadPlan, rows: Arc<dyn Rows>) -> Result<Option<RecordBatch>> {
    let (physical, context) = query.physical(rows).await?;
    let found = collect(physical, context).await.map_err(read::error)?;
    let Some(schema) = found.first().map(RecordBatch::schema) else {
        return Ok(None);
    };
    let found = concat_batches(&schema, &found).map_err(|error| Error::new(error.to_string()))?;
    Ok(Some(found))
}

fn insert(statement: &ast::Insert, catalog: &Catalog) -> Result<Dml> {
    let ast::TableObject::TableName(name) = &statement.table else {
        return Err(Error::new("INSERT INTO takes a table's name"));
    };
    let table = table(name, catalog)?;
    let columns = insert_columns(statement, &table)?;
    let Some(source) = &statement.source else {
        return Err(Error::new("INSERT needs VALUES (…) or a SELECT"));
    };
    let at = source.span().start;
    let (source, kinds) = match values::of(source) {
        Some(values) => {
            let source = values::plan(values, &table, &columns, catalog)?;
            let kinds = source.schema().as_arrow().clone();
            (source, kinds)
        }
        None => {
            let (query, _) = names::unique(source);
            let source = session::read_plan(&query, catalog)?;
            let kinds = session::analyzed(source.clone())?.schema().as_arrow().clone();
            (source, kinds)
        }
    };
    if kinds.fields().len() != columns.len() {
        let message = format!(
            "the query gives {} columns, and INSERT INTO '{}' wants {}: {}",
            kinds.fields().len(),
            table.name,
            columns.len(),
            listed(&table.schema, &columns)
        );
        return Err(errors::at(message, at));
    }
    for (column, kind) in columns.iter().zip(kinds.fields()) {
        assign::check(&table, *column, kind.data_type(), None)?;
    }
    let plan = with_defaults(source, &table, &columns, catalog)?;
    let conflict = match &statement.on {
        Some(ast::OnInsert::OnConflict(on)) => Some(conflict::plan(on, &table, catalog)?),
        _ => None,
    };
    Ok(Dml {
        table,
        action: Action::Insert(conflict),
        read: ReadPlan::new(plan, BTreeMap::new())?,
    })
}

/// The columns that an INSERT gives values for.
fn insert_columns(statement: &ast::Insert, table: &Relation) -> Result<Vec<usize>> {
    if statement.columns.is_empty() {
        return Ok((0..table.schema.fields().len()).collect());
    }
    let mut columns = Vec::with_capacity(statement.columns.len());
    for name in &statement.columns {
        let column = column(name, table)?;
        if columns.contains(&column) {
            let message = format!("column '{}' is listed twice", table.schema.field(column).name());
            return Err(errors::at(message, name.span().start));
        }
        columns.push(column);
    }
    Ok(columns)
}

/// All of the table's columns: those that `source` gives, and of the others the defaults.
fn with_defaults(
    source: LogicalPlan,
    table: &Arc<Relation>,
    columns: &[usize],
    catalog: &Catalog,
) -> Result<LogicalPlan> {
    let Definition::Table(TableDefinition { defaults, .. }) = &table.definition else {
        return Err(Error::new(format!("'{}' is no table", table.name)));
    };
    let given: Vec<Column> = source.schema().columns();
    let mut exprs = Vec::with_capacity(table.schema.fields().len());
    for (index, field) in table.schema.fields().iter().enumerate() {
        let expr = match (columns.iter().position(|column| *column == index), &defaults[index]) {
            (Some(place), _) => Expr::Column(given[place].clone()),
            (None, Some(default)) => values::default(table, index, default, catalog)?,
            (None, None) => Expr::Literal(ScalarValue::try_from(field.data_type()).map_err(read::error)?, None),
        };
        exprs.push(expr.alias(field.name()));
    }
    let builder = LogicalPlanBuilder::from(source).project(exprs).map_err(read::error)?;
    builder.build().map_err(read::error)
}

fn update(statement: &ast::Update, catalog: &Catalog) -> Result<Dml> {
    let table = target(&statement.table, catalog)?;
    let (set, items) = assignments(&statement.assignments, &table)?;
    let condition = statement.selection.clone();
    let (query, joined) = match &statement.from {
        Some(ast::UpdateTableFromKind::AfterSet(others)) => {
            let query = matched::query(&table, &statement.table, others, items, condition)?;
            (query, true)
        }
        _ => {
            let all = ast::SelectItem::Wildcard(ast::WildcardAdditionalOptions::default());
            let items = std::iter::once(all).chain(items).collect();
            (rows_of(&statement.table, items, condition)?, false)
        }
    };
    let read = set_plan(&query, &table, &set, &statement.assignments, catalog)?;
    Ok(Dml {
        table,
        action: Action::Update { set, joined },
        read,
    })
}

/// The columns that assignments set, and their values as the last columns of a query.
fn assignments(assignments: &[ast::Assignment], table: &Relation) -> Result<(Vec<usize>, Vec<ast::SelectItem>)> {
    let mut set = Vec::with_capacity(assignments.len());
    let mut items = Vec::with_capacity(assignments.len());
    for (number, assignment) in assignments.iter().enumerate() {
        let ast::AssignmentTarget::ColumnName(name) = &assignment.target else {
            return Err(Error::new("assign one column at a time: SET a = 1, b = 2"));
        };
        let column = column(name, table)?;
        if set.contains(&column) {
            let message = format!("column '{}' is assigned twice", table.schema.field(column).name());
            return Err(errors::at(message, name.span().start));
        }
        set.push(column);
        items.push(ast::SelectItem::ExprWithAlias {
            expr: values::exact_literal(
                &values::meant(&assignment.value, table, column),
                table.schema.field(column).data_type(),
            ),
            alias: ast::Ident::with_quote('"', format!("weir_set_{number}")),
        });
    }
    Ok((set, items))
}

/// Plans a query whose last columns are the new values of `set`.
fn set_plan(
    query: &ast::Query,
    table: &Relation,
    set: &[usize],
    assignments: &[ast::Assignment],
    catalog: &Catalog,
) -> Result<ReadPlan> {
    let plan = typed_parameters(session::read_plan(query, catalog)?, table, set)?;
    let analyzed = session::analyzed(plan.clone())?;
    let first = analyzed.schema().fields().len() - set.len();
    for (number, (column, assignment)) in set.iter().zip(assignments).enumerate() {
        let kind = analyzed.schema().field(first + number).data_type();
        assign::check(table, *column, kind, Some(assignment.value.span().start))?;
    }
    ReadPlan::new(plan, BTreeMap::new())
}

/// `SET column = $1`: the parameter has the column's type.
fn typed_parameters(plan: LogicalPlan, table: &Relation, set: &[usize]) -> Result<LogicalPlan> {
    let LogicalPlan::Projection(mut projection) = plan else {
        return Ok(plan);
    };
    let width = projection.expr.len() - set.len();
    for (expr, column) in projection.expr[width..].iter_mut().zip(set) {
        if let Expr::Alias(alias) = expr {
            values::type_parameter(&mut alias.expr, table.schema.field(*column));
        }
    }
    let typed = datafusion::logical_expr::Projection::try_new(projection.expr, projection.input);
    Ok(LogicalPlan::Projection(typed.map_err(read::error)?))
}

fn delete(statement: &ast::Delete, catalog: &Catalog) -> Result<Dml> {
    let from = match &statement.from {
        ast::FromTable::WithFromKeyword(from) | ast::FromTable::WithoutKeyword(from) => from,
    };
    let [from] = &from[..] else {
        return Err(Error::new(
            "write DELETE FROM table [USING relation, …] [WHERE condition]",
        ));
    };
    let table = target(from, catalog)?;
    let condition = statement.selection.clone();
    let query = match &statement.using {
        Some(others) => matched::query(&table, from, others, Vec::new(), condition)?,
        None => {
            let all = vec![ast::SelectItem::Wildcard(ast::WildcardAdditionalOptions::default())];
            rows_of(from, all, condition)?
        }
    };
    Ok(Dml {
        table,
        action: Action::Delete {
            joined: statement.using.is_some(),
        },
        read: ReadPlan::new(session::read_plan(&query, catalog)?, BTreeMap::new())?,
    })
}

/// `SELECT items FROM table WHERE condition`.
fn rows_of(
    table: &ast::TableWithJoins,
    items: Vec<ast::SelectItem>,
    condition: Option<ast::Expr>,
) -> Result<ast::Query> {
    let mut query = parsed("SELECT * FROM skeleton")?;
    if let ast::SetExpr::Select(select) = query.body.as_mut() {
        select.projection = items;
        select.from = vec![table.clone()];
        select.selection = condition;
    }
    Ok(query)
}

/// A query from its text.
fn parsed(text: &str) -> Result<ast::Query> {
    match crate::parse::parse_one(text)? {
        crate::statement::Statement::Query(query) => Ok(*query.ast),
        _ => Err(Error::new("internal error (please report): a SELECT is no query")),
    }
}

/// A name in quotes, so that it is read as it stands.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The table of UPDATE and DELETE.
/// The table that an UPDATE or DELETE changes.
fn target(from: &ast::TableWithJoins, catalog: &Catalog) -> Result<Arc<Relation>> {
    let ast::TableFactor::Table { name, .. } = &from.relation else {
        return Err(Error::new("UPDATE and DELETE take a table's name"));
    };
    let found = table(name, catalog)?;
    match found.append_only() {
        true => Err(errors::at(only_grows(&found), name.span().start)),
        false => Ok(found),
    }
}

/// What is to be said where rows of an APPEND ONLY table would be changed.
fn only_grows(table: &Relation) -> String {
    format!(
        "table '{}' is APPEND ONLY: INSERT adds rows to it, and none is changed or deleted",
        table.name
    )
}

fn table(name: &ast::ObjectName, catalog: &Catalog) -> Result<Arc<Relation>> {
    let at = name.span().start;
    let found = catalog.get(&Name {
        value: names::relation_name(name),
        place: (at.line, at.column),
    })?;
    match &found.definition {
        Definition::Table(_) => Ok(found.clone()),
        _ => Err(errors::at(
            format!(
                "'{}' is no table: INSERT, UPDATE and DELETE change tables only",
                found.name
            ),
            at,
        )),
    }
}

/// The table's column of a name.
fn column(name: &ast::ObjectName, table: &Relation) -> Result<usize> {
    let at = name.span().start;
    let [ast::ObjectNamePart::Identifier(ident)] = &name.0[..] else {
        return Err(errors::at("write the column's name alone", at));
    };
    let rows = DFSchema::try_from(table.schema.as_ref().clone()).map_err(read::error)?;
    let column = Column::from_name(names::folded(ident));
    rows.index_of_column(&column).map_err(|error| {
        let message = read::error(error).message;
        errors::at(
            message.replacen("does not exist", &format!("is not in table '{}'", table.name), 1),
            at,
        )
    })
}

fn listed(schema: &Schema, columns: &[usize]) -> String {
    let names = columns.iter().map(|column| schema.field(*column).name().as_str());
    names.collect::<Vec<_>>().join(", ")
}
