//! From a statement's text to what a session runs.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde_json::json;
use weir_engine::graph::Graph;
use weir_engine::relation::RelationId;
use weir_sql::catalog::{Definition, Relation};
use weir_sql::dml::{self, Dml};
use weir_sql::opaque::Opaque;
use weir_sql::plan::sorted::SortedBy;
use weir_sql::read::{self, ReadPlan};
use weir_sql::statement::{Query, RelationKind, Statement, Subscribe};
use weir_sql::{parse, plan};
use weir_state::Epoch;

use crate::answer::{EPOCH_COLUMN, ORDER_METADATA, PUSH_METADATA, Prepared, PreparedKind, PushKind, WEIGHT_COLUMN};
use crate::error::ErrorKind;
use crate::instance::Known;
use crate::{Error, Result, show};

/// What a session runs.
#[derive(Clone)]
pub enum Plan {
    /// Changes the catalog or the session.
    Command(Opaque<Statement>),
    /// Changes a table; with its verb.
    Dml(Dml, String),
    /// Reads what is there.
    Read(ReadPlan),
    /// Rows about relations: SHOW, DESCRIBE, EXPLAIN.
    Table(Opaque<Statement>),
    /// Rows as they change.
    Push(Push),
}

/// A push, planned.
#[derive(Clone)]
pub struct Push {
    /// Where its rows come from.
    pub from: PushInput,
    /// Which columns stand behind the rows.
    pub kind: PushKind,
    /// All its columns.
    pub schema: SchemaRef,
    /// It ends after so many rows.
    pub limit: Option<u64>,
    /// Also send epochs that changed nothing.
    pub progress: bool,
    /// Relations that it reads: it ends when one is dropped.
    pub reads: Vec<RelationId>,
}

/// Where a push's rows come from.
#[derive(Clone)]
pub enum PushInput {
    /// A query of its own.
    Query(Arc<Graph>),
    /// A materialized view.
    View {
        relation: RelationId,
        after: Option<Epoch>,
        snapshot: bool,
    },
}

/// Plans one statement.
///
/// # Errors
/// If it makes no sense.
pub fn prepare(sql: &str, known: &Known) -> Result<Prepared> {
    let place = |error: weir_sql::Error| Error::of_sql(&error, sql);
    let statement = parse::parse_one(sql).map_err(place)?;
    let mut parameters = Vec::new();
    let (kind, schema, plan) = match statement {
        Statement::Query(query) if query.emit.is_some() => {
            let push = push_query(&query, known).map_err(place)?;
            (PreparedKind::Push, Some(push.schema.clone()), Plan::Push(push))
        }
        Statement::Query(query) => {
            let plan = read::plan(&query, &known.catalog).map_err(place)?;
            parameters = plan.parameters().map_err(place)?;
            (PreparedKind::Query, Some(plan.schema()), Plan::Read(plan))
        }
        Statement::Dml(statement) => {
            let plan = dml::plan(&statement, &known.catalog).map_err(place)?;
            parameters = plan.parameters().map_err(place)?;
            let verb = statement.to_string();
            let verb = verb.split_whitespace().next().unwrap_or_default().to_uppercase();
            (PreparedKind::Update, None, Plan::Dml(plan, verb))
        }
        Statement::Subscribe(statement) => {
            let push = subscribe(&statement, known, sql)?;
            (PreparedKind::Push, Some(push.schema.clone()), Plan::Push(push))
        }
        statement => match show::schema(&statement, known, sql)? {
            Some(schema) => (PreparedKind::Query, Some(schema), Plan::Table(statement.into())),
            None => (PreparedKind::Command, None, Plan::Command(statement.into())),
        },
    };
    Ok(Prepared {
        sql: sql.into(),
        kind,
        schema,
        parameters: parameters.into(),
        plan,
        version: known.version,
    })
}

/// `SELECT … EMIT …`.
fn push_query(query: &Query, known: &Known) -> weir_sql::Result<Push> {
    let planned = plan::push_query(query, &known.catalog)?;
    let kind = if planned.append_only {
        PushKind::Append
    } else {
        PushKind::Updating
    };
    Ok(Push {
        from: PushInput::Query(planned.graph),
        schema: push_schema(&planned.schema, kind, &planned.order),
        kind,
        limit: planned.limit,
        progress: false,
        reads: planned.depends_on,
    })
}

/// `SUBSCRIBE TO`. A materialized view has a changelog to go on in; the changes of anything else
/// are found by a query that lives as long as the subscription.
fn subscribe(statement: &Subscribe, known: &Known, sql: &str) -> Result<Push> {
    let place = |error: weir_sql::Error| Error::of_sql(&error, sql);
    let relation = known.catalog.get(&statement.name).map_err(place)?;
    let refuse = |message: String| Error::at(ErrorKind::Invalid, message, statement.name.place, sql);
    let kind = PushKind::Subscription;
    let from = match relation.kind {
        _ if matches!(relation.definition, Definition::System) => {
            let message = format!(
                "'{}' is a system relation, which has no changes: read it with SELECT",
                relation.name
            );
            return Err(refuse(message));
        }
        RelationKind::Sink => {
            let message = format!("'{}' is a sink: subscribe to what it delivers", relation.name);
            return Err(refuse(message));
        }
        RelationKind::MaterializedView => PushInput::View {
            relation: relation.id,
            after: statement.after.map(Epoch),
            snapshot: statement.snapshot,
        },
        _ if statement.after.is_some() || !statement.snapshot => {
            return Err(refuse(format!(
                "'{}' keeps no changelog, so a subscription to it begins with its present rows: leave out AS OF and \
                 snapshot, or create a materialized view of it",
                relation.name
            )));
        }
        _ => PushInput::Query(whole(relation, known).map_err(place)?),
    };
    Ok(Push {
        from,
        kind,
        schema: push_schema(&relation.schema, kind, &[]),
        limit: None,
        progress: statement.progress,
        reads: vec![relation.id],
    })
}

/// The query for all rows of a relation.
fn whole(relation: &Relation, known: &Known) -> weir_sql::Result<Arc<Graph>> {
    let text = format!("SELECT * FROM \"{}\" EMIT CHANGES", relation.name.replace('"', "\"\""));
    let Statement::Query(query) = parse::parse_one(&text)? else {
        return Err(weir_sql::Error::new("a query was expected"));
    };
    Ok(plan::push_query(&query, &known.catalog)?.graph)
}

/// The columns of a push, with its word and its order in the metadata.
fn push_schema(rows: &Schema, kind: PushKind, order: &[SortedBy]) -> SchemaRef {
    // A subscription's progress is a row of NULLs.
    let may_be_null = |field: &Arc<Field>| match kind {
        PushKind::Subscription => Arc::new(field.as_ref().clone().with_nullable(true)),
        _ => field.clone(),
    };
    let mut fields: Vec<Arc<Field>> = rows.fields().iter().map(may_be_null).collect();
    let number = |name: &str| Arc::new(Field::new(name, DataType::Int64, false));
    match kind {
        PushKind::Append => {}
        PushKind::Updating => fields.push(number(WEIGHT_COLUMN)),
        PushKind::Subscription => fields.extend([number(EPOCH_COLUMN), number(WEIGHT_COLUMN)]),
    }
    let mut metadata: HashMap<String, String> = [(PUSH_METADATA.to_string(), kind.word().to_string())].into();
    if !order.is_empty() {
        let order: Vec<_> = order
            .iter()
            .map(|by| (by.column, by.descending, by.nulls_first))
            .collect();
        metadata.insert(ORDER_METADATA.to_string(), json!(order).to_string());
    }
    Arc::new(Schema::new_with_metadata(fields, metadata))
}
