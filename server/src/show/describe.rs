//! DESCRIBE: a relation's columns.

use weir_engine::relation::{ColumnOrigin, Metadata};
use weir_sql::catalog::{Definition, Relation};
use weir_sql::explain;
use weir_sql::statement::Name;

use crate::cells::{Cell, Kind};
use crate::error::ErrorKind;
use crate::instance::Known;
use crate::{Error, Result, system};
use weir_engine::format::sql_type;

pub const COLUMNS: &[(&str, Kind)] = &[
    ("column", Kind::Text),
    ("type", Kind::Text),
    ("nullable", Kind::Flag),
    ("key", Kind::Flag),
    ("detail", Kind::Text),
];

/// A row per column.
pub fn rows(known: &Known, name: &Name, sql: &str) -> Result<Vec<Vec<Cell>>> {
    if let Some(broken) = known.broken.get(&name.value) {
        let message = format!("'{}' could not be restored: {}", broken.name, broken.cause);
        return Err(Error::at(ErrorKind::Unavailable, message, name.place, sql));
    }
    let relation = known
        .catalog
        .get(name)
        .map_err(|error| Error::new(ErrorKind::NotFound, error.render(sql)))?;
    let fields = relation.schema.fields().iter().enumerate();
    let rows = fields.map(|(index, field)| {
        let in_key = relation.key.as_ref().is_some_and(|key| key.contains(&index));
        vec![
            field.name().as_str().into(),
            sql_type(field.data_type()).into(),
            system::is_nullable(relation, index).into(),
            in_key.into(),
            detail(relation, index).into(),
        ]
    });
    Ok(rows.collect())
}

/// Where a column comes from, if not simply from the record or the query.
fn detail(relation: &Relation, column: usize) -> Option<String> {
    if let Some(default) = system::default_of(relation, column) {
        return Some(format!("DEFAULT {default}"));
    }
    let Definition::Source(source) = &relation.definition else {
        return None;
    };
    let mut facts = Vec::new();
    match source.origins.get(column) {
        Some(ColumnOrigin::Key) => facts.push("from the record's key".to_string()),
        Some(ColumnOrigin::Metadata(metadata)) => facts.push(format!("METADATA FROM '{}'", metadata_word(metadata))),
        Some(ColumnOrigin::Generated(expression)) => {
            facts.push(format!(
                "GENERATED AS ({})",
                explain::expression(expression, &source.schema)
            ));
        }
        Some(ColumnOrigin::Value) | None => {}
    }
    if let Some(watermark) = source.watermark.as_ref().filter(|watermark| watermark.column == column) {
        let bound = explain::expression(&watermark.bound, &source.schema);
        facts.push(format!("event time, WATERMARK AS ({bound})"));
    }
    (!facts.is_empty()).then(|| facts.join(", "))
}

fn metadata_word(metadata: &Metadata) -> String {
    match metadata {
        Metadata::Key => "key".to_string(),
        Metadata::Header(name) => format!("header:{name}"),
        Metadata::Headers => "headers".to_string(),
        Metadata::Topic => "topic".to_string(),
        Metadata::Partition => "partition".to_string(),
        Metadata::Offset => "offset".to_string(),
        Metadata::Timestamp => "timestamp".to_string(),
    }
}
