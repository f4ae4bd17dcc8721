//! Flight SQL's catalog calls, answered from the catalog.
//!
//! Drivers think in catalogs, schemas and tables. Weir has one catalog, `weir`; relations of the user
//! are in the schema `public`, those that Weir provides in `weir` and `information_schema`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, RecordBatchOptions, StringArray, UInt8Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::error::FlightError;
use arrow_flight::sql::{CommandGetDbSchemas, CommandGetPrimaryKeys, CommandGetTables};
use weir_sql::catalog::{Catalog, Definition, Relation};
use weir_sql::statement::RelationKind;

/// The one catalog.
pub const CATALOG: &str = "weir";
/// The schema of the user's relations.
const PUBLIC: &str = "public";
const TABLE_TYPES: [&str; 6] = ["MATERIALIZED VIEW", "SINK", "SOURCE", "SYSTEM TABLE", "TABLE", "VIEW"];

type Result<T> = std::result::Result<T, FlightError>;

/// A relation's schema and its name in it.
fn place(relation: &Relation) -> (&str, &str) {
    match (&relation.definition, relation.name.split_once('.')) {
        (Definition::System, Some(place)) => place,
        _ => (PUBLIC, &relation.name),
    }
}

fn table_type(relation: &Relation) -> &'static str {
    match (&relation.definition, relation.kind) {
        (Definition::System, _) => "SYSTEM TABLE",
        (_, RelationKind::Source) => "SOURCE",
        (_, RelationKind::Table) => "TABLE",
        (_, RelationKind::View) => "VIEW",
        (_, RelationKind::MaterializedView) => "MATERIALIZED VIEW",
        (_, RelationKind::Sink) => "SINK",
    }
}

/// GetCatalogs.
pub fn catalogs() -> Result<RecordBatch> {
    let mut builder = arrow_flight::sql::CommandGetCatalogs {}.into_builder();
    builder.append(CATALOG);
    builder.build()
}

/// GetDbSchemas.
pub fn schemas(command: CommandGetDbSchemas, catalog: &Catalog) -> Result<RecordBatch> {
    let mut builder = command.into_builder();
    let mut names: Vec<&str> = catalog.iter().map(|relation| place(relation).0).collect();
    names.push(PUBLIC);
    names.sort_unstable();
    names.dedup();
    for name in names {
        builder.append(CATALOG, name);
    }
    builder.build()
}

/// GetTables.
pub fn tables(command: CommandGetTables, catalog: &Catalog) -> Result<RecordBatch> {
    let mut builder = command.into_builder();
    for relation in catalog.iter() {
        let (schema, name) = place(relation);
        builder.append(CATALOG, schema, name, table_type(relation), &relation.schema)?;
    }
    builder.build()
}

/// GetTableTypes.
pub fn table_types() -> Result<RecordBatch> {
    let schema = Schema::new(vec![Field::new("table_type", DataType::Utf8, false)]);
    let types = Arc::new(StringArray::from(TABLE_TYPES.to_vec()));
    Ok(RecordBatch::try_new(Arc::new(schema), vec![types])?)
}

/// GetPrimaryKeys: of tables, the only relations that declare one.
pub fn primary_keys(command: &CommandGetPrimaryKeys, catalog: &Catalog) -> Result<RecordBatch> {
    let is_or_any = |asked: &Option<String>, name: &str| asked.as_deref().is_none_or(|asked| asked == name);
    let relation = catalog.find(&command.table).filter(|relation| {
        matches!(relation.definition, Definition::Table(_))
            && is_or_any(&command.catalog, CATALOG)
            && is_or_any(&command.db_schema, PUBLIC)
    });
    let key: Vec<&str> = relation
        .map(|relation| {
            let columns = relation.key.iter().flatten();
            columns
                .map(|column| relation.schema.field(*column).name().as_str())
                .collect()
        })
        .unwrap_or_default();
    let all = |text: &str| Arc::new(StringArray::from(vec![text; key.len()])) as ArrayRef;
    let schema = primary_keys_schema();
    let columns = vec![
        all(CATALOG),
        all(PUBLIC),
        all(&command.table),
        Arc::new(StringArray::from(key.clone())),
        Arc::new(Int32Array::from_iter_values(1..=key.len() as i32)),
        all("primary"),
    ];
    Ok(RecordBatch::try_new(schema, columns)?)
}

/// Columns of GetPrimaryKeys.
pub fn primary_keys_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("catalog_name", DataType::Utf8, true),
        Field::new("db_schema_name", DataType::Utf8, true),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("column_name", DataType::Utf8, false),
        Field::new("key_sequence", DataType::Int32, false),
        Field::new("key_name", DataType::Utf8, true),
    ]))
}

/// GetExportedKeys, GetImportedKeys and GetCrossReference: there are no foreign keys.
pub fn foreign_keys() -> Result<RecordBatch> {
    let mut fields = Vec::new();
    for side in ["pk", "fk"] {
        for (part, nullable) in [
            ("catalog_name", true),
            ("db_schema_name", true),
            ("table_name", false),
            ("column_name", false),
        ] {
            fields.push(Field::new(format!("{side}_{part}"), DataType::Utf8, nullable));
        }
    }
    fields.push(Field::new("key_sequence", DataType::Int32, false));
    fields.push(Field::new("fk_key_name", DataType::Utf8, true));
    fields.push(Field::new("pk_key_name", DataType::Utf8, true));
    fields.push(Field::new("update_rule", DataType::UInt8, false));
    fields.push(Field::new("delete_rule", DataType::UInt8, false));
    let columns = fields
        .iter()
        .map(|field| match field.data_type() {
            DataType::Int32 => Arc::new(Int32Array::from(Vec::<i32>::new())) as ArrayRef,
            DataType::UInt8 => Arc::new(UInt8Array::from(Vec::<u8>::new())),
            _ => Arc::new(StringArray::from(Vec::<&str>::new())),
        })
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(0));
    Ok(RecordBatch::try_new_with_options(
        Arc::new(Schema::new(fields)),
        columns,
        &options,
    )?)
}
