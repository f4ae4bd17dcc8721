//! SHOW, DESCRIBE and EXPLAIN: rows about relations.

use arrow::datatypes::SchemaRef;
use weir_sql::secrets;
use weir_sql::statement::{Name, RelationKind, Show, Statement};

use crate::answer::{Answer, RowStream};
use crate::cells::{self, Cell, Kind};
use crate::error::ErrorKind;
use crate::instance::{Known, kind_word};
use crate::session::Context;
use crate::settings::Settings;
use crate::{Error, Result, system};

mod describe;
mod explain;
mod lists;

/// The columns of a statement that answers rows about relations; `None` for other statements.
///
/// # Errors
/// If it names something that isn't there.
pub fn schema(statement: &Statement, known: &Known, sql: &str) -> Result<Option<SchemaRef>> {
    let schema = match statement {
        Statement::Show(Show::Pipelines) => system::columns("weir.pipelines")?,
        Statement::Show(Show::Settings) => system::columns("weir.settings")?,
        Statement::Show(list) => cells::schema(lists::columns(*list)),
        Statement::Describe(name) => {
            exists(known, name, sql)?;
            cells::schema(describe::COLUMNS)
        }
        Statement::ShowCreate(name) => {
            exists(known, name, sql)?;
            cells::schema(&[("create", Kind::Text)])
        }
        Statement::ShowSetting(name) => cells::schema(&[(name.as_str(), Kind::Text)]),
        Statement::Explain(_) => cells::schema(explain::COLUMNS),
        Statement::ExplainAnalyze(name) => {
            exists(known, name, sql)?;
            cells::schema(explain::COLUMNS)
        }
        _ => return Ok(None),
    };
    Ok(Some(schema))
}

/// Fails for a name that nothing has.
fn exists(known: &Known, name: &Name, sql: &str) -> Result<()> {
    if known.broken.contains_key(&name.value) {
        return Ok(());
    }
    known
        .catalog
        .get(name)
        .map(drop)
        .map_err(|error| Error::new(ErrorKind::NotFound, error.render(sql)))
}

/// Runs such a statement; its columns are `schema`.
pub fn run(context: &Context, statement: &Statement, sql: &str, schema: Option<SchemaRef>) -> Result<Answer> {
    let schema = schema.ok_or_else(|| Error::internal("rows without columns"))?;
    let known = context.instance.known();
    let rows = match statement {
        Statement::Show(Show::Pipelines) => return whole(context, "weir.pipelines"),
        Statement::Show(Show::Settings) => return whole(context, "weir.settings"),
        Statement::Show(list) => {
            let rows = lists::rows(context, &known, *list)?;
            let rows = RowStream::of(cells::batch(&schema, &rows)?);
            return Ok(Answer::rows(rows).with_notices(broken_notices(&known, *list)));
        }
        Statement::Describe(name) => describe::rows(&known, name, sql)?,
        Statement::ShowCreate(name) => vec![vec![create_statement(&known, name, sql)?.into()]],
        Statement::ShowSetting(name) => vec![vec![setting(context, name)?]],
        Statement::Explain(query) => explain::query(&known, query, sql)?,
        Statement::ExplainAnalyze(name) => explain::live(context, &known, name, sql)?,
        _ => return Err(Error::internal("a statement that isn't run here")),
    };
    Ok(Answer::rows(RowStream::of(cells::batch(&schema, &rows)?)))
}

fn whole(context: &Context, name: &str) -> Result<Answer> {
    Ok(Answer::rows(RowStream::of(system::whole(context, name)?)))
}

/// Relations that could not be restored, where they are no rows of the list.
fn broken_notices(known: &Known, list: Show) -> Vec<String> {
    let kind = match list {
        Show::Sources => RelationKind::Source,
        Show::Tables => RelationKind::Table,
        Show::Views => RelationKind::View,
        _ => return Vec::new(),
    };
    known
        .broken
        .values()
        .filter(|broken| broken.kind == kind)
        .map(|broken| {
            format!(
                "{} '{}' could not be restored: {}",
                kind_word(kind),
                broken.name,
                broken.cause
            )
        })
        .collect()
}

/// SHOW CREATE, of what could not be restored, too. It hides secrets, which are stored all the same.
fn create_statement(known: &Known, name: &Name, sql: &str) -> Result<String> {
    if let Some(broken) = known.broken.get(&name.value) {
        return Ok(secrets::hidden(&broken.sql));
    }
    let relation = known
        .catalog
        .get(name)
        .map_err(|error| Error::new(ErrorKind::NotFound, error.render(sql)))?;
    if system::is_system(relation.id) {
        let message = format!("'{}' is a system relation, which no statement made", name.value);
        return Err(Error::at(ErrorKind::Invalid, message, name.place, sql));
    }
    Ok(secrets::hidden(&relation.sql))
}

/// SHOW name, of a setting.
fn setting(context: &Context, name: &str) -> Result<Cell> {
    let settings: Settings = context.state.settings.lock().clone();
    let all = settings.list(&context.instance);
    let names: Vec<&str> = all.iter().map(|setting| setting.name).collect();
    let found = all.iter().find(|setting| setting.name == name);
    found
        .map(|setting| setting.value.as_str().into())
        .ok_or_else(|| Error::not_found(format!("there is no setting '{name}'; there are: {}", names.join(", "))))
}
