//! System relations: what Weir says of itself, readable with SELECT.
//!
//! They are relations of the catalog whose rows are made when they are read.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use weir_engine::pipeline::{Snapshot, errors_relation};
use weir_engine::relation::RelationId;
use weir_sql::catalog::{Definition, Relation};
use weir_sql::statement::RelationKind;

use crate::cells::{self, Cell, Kind};
use crate::session::Context;
use crate::{Error, Result};

mod information;
mod live;

/// A system relation.
struct System {
    name: &'static str,
    columns: &'static [(&'static str, Kind)],
    rows: fn(&Context) -> Vec<Vec<Cell>>,
}

const ALL: [System; 7] = [
    System {
        name: "weir.pipelines",
        columns: live::PIPELINES,
        rows: live::pipelines,
    },
    System {
        name: "weir.lag",
        columns: live::LAG,
        rows: live::lag,
    },
    System {
        name: "weir.operators",
        columns: live::OPERATORS,
        rows: live::operators,
    },
    System {
        name: "weir.sinks",
        columns: live::SINKS,
        rows: live::sinks,
    },
    System {
        name: "weir.settings",
        columns: live::SETTINGS,
        rows: live::settings,
    },
    System {
        name: "information_schema.tables",
        columns: information::TABLES,
        rows: information::tables,
    },
    System {
        name: "information_schema.columns",
        columns: information::COLUMNS,
        rows: information::columns,
    },
];

/// Bad records, which pipelines write down.
const ERRORS: &str = "weir.errors";

/// Their ids lie above all that are given out.
const FIRST_ID: u32 = u32::MAX - 1 - ALL.len() as u32;

/// True for the id of a system relation.
pub fn is_system(id: RelationId) -> bool {
    id.0 >= FIRST_ID
}

/// All system relations, for the catalog.
pub fn relations() -> Vec<Relation> {
    let errors = errors_relation();
    let mut relations = vec![relation(errors.relation, ERRORS, errors.schema)];
    for (number, system) in ALL.iter().enumerate() {
        let id = RelationId(FIRST_ID + number as u32);
        relations.push(relation(id, system.name, cells::schema(system.columns)));
    }
    relations
}

fn relation(id: RelationId, name: &str, schema: SchemaRef) -> Relation {
    Relation {
        id,
        name: name.to_string(),
        kind: RelationKind::View,
        sql: String::new(),
        schema,
        key: None,
        event_times: Vec::new(),
        depends_on: Vec::new(),
        comment: None,
        paused: false,
        definition: Definition::System,
    }
}

/// The rows of a system relation.
///
/// # Errors
/// If the store can't be read.
pub fn rows(context: &Context, snapshot: &Snapshot, relation: &Relation) -> weir_sql::Result<RecordBatch> {
    if relation.name == ERRORS {
        let errors = errors_relation();
        return Ok(concat_batches(&errors.schema, &snapshot.errors()?).map_err(weir_engine::Error::from)?);
    }
    let system = find(&relation.name).map_err(|error| weir_sql::Error::new(error.message))?;
    cells::batch(&relation.schema, &(system.rows)(context)).map_err(|error| weir_sql::Error::new(error.message))
}

fn find(name: &str) -> Result<&'static System> {
    ALL.iter()
        .find(|system| system.name == name)
        .ok_or_else(|| Error::internal(format!("'{name}' is no system relation")))
}

/// A system relation whole, for SHOW.
pub fn whole(context: &Context, name: &str) -> Result<RecordBatch> {
    let system = find(name)?;
    cells::batch(&cells::schema(system.columns), &(system.rows)(context))
}

/// The columns of a system relation, for SHOW.
pub fn columns(name: &str) -> Result<SchemaRef> {
    Ok(cells::schema(find(name)?.columns))
}

pub use information::{default_of, is_nullable};
pub use live::{Standing, delivers, standing, standing_among, waits_for};
