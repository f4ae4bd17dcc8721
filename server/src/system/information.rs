//! `information_schema`: relations and their columns, as the SQL standard names them.

use weir_sql::catalog::{Definition, Relation};
use weir_sql::statement::RelationKind;

use crate::cells::{Cell, Kind};
use crate::session::Context;
use weir_engine::format::sql_type;

/// The one database.
const DATABASE: &str = "weir";
/// The schema of all relations that aren't the system's.
const SCHEMA: &str = "public";

pub const TABLES: &[(&str, Kind)] = &[
    ("table_catalog", Kind::Text),
    ("table_schema", Kind::Text),
    ("table_name", Kind::Text),
    ("table_type", Kind::Text),
    ("is_insertable_into", Kind::Text),
    ("comment", Kind::Text),
];

/// All relations.
pub fn tables(context: &Context) -> Vec<Vec<Cell>> {
    let known = context.instance.known();
    let row = |relation: &Relation| -> Vec<Cell> {
        let (schema, name) = split(relation);
        vec![
            DATABASE.into(),
            schema.into(),
            name.into(),
            table_type(relation).into(),
            yes_no(relation.kind == RelationKind::Table).into(),
            relation.comment.clone().into(),
        ]
    };
    known.catalog.iter().map(|relation| row(relation)).collect()
}

pub const COLUMNS: &[(&str, Kind)] = &[
    ("table_catalog", Kind::Text),
    ("table_schema", Kind::Text),
    ("table_name", Kind::Text),
    ("column_name", Kind::Text),
    ("ordinal_position", Kind::Number),
    ("column_default", Kind::Text),
    ("is_nullable", Kind::Text),
    ("data_type", Kind::Text),
];

/// All columns of all relations.
pub fn columns(context: &Context) -> Vec<Vec<Cell>> {
    let known = context.instance.known();
    let mut rows = Vec::new();
    for relation in known.catalog.iter() {
        let (schema, name) = split(relation);
        for (index, field) in relation.schema.fields().iter().enumerate() {
            rows.push(vec![
                DATABASE.into(),
                schema.into(),
                name.into(),
                field.name().as_str().into(),
                (index as i64 + 1).into(),
                default_of(relation, index).into(),
                yes_no(is_nullable(relation, index)).into(),
                sql_type(field.data_type()).into(),
            ]);
        }
    }
    rows
}

fn split(relation: &Relation) -> (&str, &str) {
    match relation.definition {
        Definition::System => relation.name.split_once('.').unwrap_or((SCHEMA, &relation.name)),
        _ => (SCHEMA, &relation.name),
    }
}

/// What kind of table a relation is, in the standard's words where it has them.
fn table_type(relation: &Relation) -> &'static str {
    match (&relation.definition, relation.kind) {
        (Definition::System, _) => "SYSTEM VIEW",
        (_, RelationKind::Table) => "BASE TABLE",
        (_, RelationKind::View) => "VIEW",
        (_, RelationKind::MaterializedView) => "MATERIALIZED VIEW",
        (_, RelationKind::Source) => "SOURCE",
        (_, RelationKind::Sink) => "SINK",
    }
}

fn yes_no(yes: bool) -> &'static str {
    if yes { "YES" } else { "NO" }
}

/// The DEFAULT of a table's column.
pub fn default_of(relation: &Relation, column: usize) -> Option<String> {
    match &relation.definition {
        Definition::Table(table) => table.defaults.get(column)?.as_ref().map(ToString::to_string),
        _ => None,
    }
}

/// Whether a column may be NULL, as far as it was declared. What a view groups by may be.
pub fn is_nullable(relation: &Relation, column: usize) -> bool {
    match &relation.definition {
        Definition::Table(table) => !table.not_null.contains(&column),
        Definition::Source(source) => {
            let in_key = relation.key.as_ref().is_some_and(|key| key.contains(&column));
            !in_key && !source.not_null.contains(&column)
        }
        _ => true,
    }
}
