//! CREATE SOURCE, TABLE and SINK: names into indexes, types into Arrow's, options into settings.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::DFSchema;
use datafusion::logical_expr::{ExprSchemable, cast};
use sqlparser::ast::{self, Spanned};
use weir_engine::connector::{self, Bound, ConnectorSpec, SinkSpec, Start};
use weir_engine::format::{self, Encoding, EncodingKind, Envelope, Others, SinkFormat, sql_type};
use weir_engine::near::nearest;
use weir_engine::relation::{
    ColumnOrigin, Metadata, OnError, RelationId, SourceSpec, TableSpec, ViewSpec, WatermarkSpec,
};

use super::names::folded;
use super::{errors, expr, origin, session};
use crate::catalog::{Catalog, Definition, Relation, SinkDefinition, TableDefinition};
use crate::parse::duration_ms;
use crate::statement::{CreateSink, CreateSource, CreateTable, Name, RelationKind, SinkInput, SourceColumn};
use crate::{Error, Result};

/// How far splits may be apart in event time while history is read, unless an option says otherwise.
const ALIGNMENT_MS: u64 = 60_000;

/// `512KB`, `64MB`, `1GB`: bytes.
pub(super) fn size_bytes(option: &str, text: &str) -> Result<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().to_lowercase().as_str() {
        "kb" | "kib" => 1 << 10,
        "mb" | "mib" => 1 << 20,
        "gb" | "gib" => 1 << 30,
        _ => 0,
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    bytes.filter(|bytes| *bytes > 0).ok_or_else(|| {
        Error::new(format!(
            "{option} = '{text}' is no size; write for example '64MB' or '1GB'"
        ))
    })
}

/// The Arrow type of a type as written.
pub fn data_type(kind: &ast::DataType, catalog: &Catalog) -> Result<DataType> {
    let inner = |kind: &ast::DataType| data_type(kind, catalog);
    match kind {
        // DataFusion's planner knows no maps.
        ast::DataType::Map(key, value) => {
            let pair = vec![
                Field::new("key", inner(key)?, false),
                Field::new("value", inner(value)?, true),
            ];
            let entries = Field::new("entries", DataType::Struct(pair.into()), false);
            Ok(DataType::Map(Arc::new(entries), false))
        }
        ast::DataType::Array(ast::ArrayElemTypeDef::SquareBracket(item, None)) => {
            Ok(DataType::List(Arc::new(Field::new_list_field(inner(item)?, true))))
        }
        ast::DataType::Struct(fields, _) => {
            let field = |field: &ast::StructField| {
                let name = field.field_name.as_ref().map(folded).unwrap_or_default();
                Ok(Field::new(name, inner(&field.field_type)?, true))
            };
            let fields = fields.iter().map(field).collect::<Result<Vec<Field>>>()?;
            Ok(DataType::Struct(fields.into()))
        }
        // The planner's has nanoseconds.
        ast::DataType::Time(..) => Ok(DataType::Time64(TimeUnit::Microsecond)),
        simple => session::data_type(simple, catalog),
    }
}

fn names_once<'a>(idents: impl Iterator<Item = &'a ast::Ident>) -> Result<()> {
    let mut seen = std::collections::BTreeSet::new();
    for ident in idents {
        if !seen.insert(folded(ident)) {
            let start = ident.span.start;
            return Err(Error::at(
                format!("column '{}' is declared twice", folded(ident)),
                start.line,
                start.column,
            ));
        }
    }
    Ok(())
}

fn find(schema: &Schema, ident: &ast::Ident) -> Result<usize> {
    schema.index_of(&folded(ident)).map_err(|_| {
        let start = ident.span.start;
        Error::at(
            format!("column '{}' is not declared", folded(ident)),
            start.line,
            start.column,
        )
    })
}

/// Plans `CREATE SOURCE`.
pub fn source(statement: &CreateSource, id: RelationId, catalog: &Catalog) -> Result<Relation> {
    let name = statement.name.value.clone();
    if statement.columns.is_empty() {
        return Err(Error::new(format!("source '{name}' needs a column list")));
    }
    names_once(statement.columns.iter().map(|column| &column.name))?;
    let mut fields = Vec::new();
    for column in &statement.columns {
        fields.push(Field::new(
            folded(&column.name),
            data_type(&column.data_type, catalog)?,
            !column.not_null,
        ));
    }
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    let rows = DFSchema::try_from(schema.as_ref().clone()).map_err(errors::translate)?;
    let key = source_key(statement, &schema)?;
    let mut origins = Vec::new();
    for (index, column) in statement.columns.iter().enumerate() {
        origins.push(match (&column.metadata, &column.generated) {
            (Some(metadata), _) => {
                as_it_comes(metadata, schema.field(index)).map_err(|error| at_column(error, statement))?;
                ColumnOrigin::Metadata(metadata.clone())
            }
            (None, Some(generated)) => {
                let planned = session::scalar(generated, &rows, catalog)
                    .and_then(|planned| session::computed(planned, &rows))
                    .and_then(|planned| expr::physical(&planned, &rows));
                ColumnOrigin::Generated(planned.map_err(|error| errors::placed_in(error, generated))?)
            }
            (None, None) if statement.key.is_some() && key.contains(&index) => ColumnOrigin::Key,
            (None, None) => ColumnOrigin::Value,
        });
    }
    let watermark = statement.watermark.as_ref();
    let watermark = watermark.map(|(column, bound)| watermark_spec(column, bound, &rows, catalog));
    let not_null = (0..statement.columns.len())
        .filter(|i| statement.columns[*i].not_null)
        .collect();
    let at_option = |error: Error| statement.option_places.placed_or_at_connector(error);
    let options = SourceOptions::take(statement).map_err(at_option)?;
    let spec = SourceSpec {
        relation: id,
        name: name.clone(),
        schema: schema.clone(),
        origins,
        not_null,
        connector: options.connector,
        envelope: statement.envelope,
        value_encoding: options.value,
        key_encoding: statement.key.clone(),
        key: key.clone(),
        watermark: watermark.transpose()?,
        start: options.start,
        bound: options.bound,
        idle_timeout_ms: options.idle_timeout_ms,
        alignment_ms: options.alignment_ms,
        on_error: options.on_error,
    };
    let values = spec.value_schema();
    let connector = connector::source(&spec.connector, &values).map_err(|error| at_option(error.into()))?;
    if !connector.makes_rows() {
        // What the encoding has no values for is refused here, not when records come.
        let in_values = |error: weir_engine::Error| at_option(at_column(error.into(), statement));
        format::decoder(&spec.value_encoding, &values, &values, Others::Passed).map_err(in_values)?;
        let keys = spec.key_schema();
        if let Some(encoding) = spec.key_encoding.as_ref().filter(|_| !keys.fields().is_empty()) {
            format::decoder(encoding, &keys, &keys, Others::Passed).map_err(in_values)?;
        }
    }
    Ok(Relation {
        id,
        name,
        kind: RelationKind::Source,
        sql: statement.text.clone(),
        schema,
        key: (spec.envelope == Envelope::Upsert).then_some(key),
        event_times: Vec::new(),
        depends_on: Vec::new(),
        comment: None,
        paused: false,
        definition: Definition::Source(spec),
    })
}

/// Refuses a METADATA column of a type that its values never are.
fn as_it_comes(metadata: &Metadata, field: &Field) -> Result<()> {
    let kind = field.data_type();
    let (comes, fits) = match metadata {
        Metadata::Key | Metadata::Header(_) => ("TEXT or BYTEA", matches!(kind, DataType::Utf8 | DataType::Binary)),
        Metadata::Headers => ("MAP<TEXT, BYTEA>", matches!(kind, DataType::Map(_, _))),
        Metadata::Topic => ("TEXT", *kind == DataType::Utf8),
        Metadata::Partition => ("INT", kind.is_integer()),
        Metadata::Offset => ("BIGINT", kind.is_integer()),
        Metadata::Timestamp => ("TIMESTAMP", matches!(kind, DataType::Timestamp(_, _))),
    };
    match fits {
        true => Ok(()),
        false => Err(Error::new(format!(
            "column '{name}' can't be {}: its METADATA comes as {comes}; declare it so, and have a GENERATED column compute \
             what you need, as GENERATED ALWAYS AS (CAST({name} AS …))",
            sql_type(kind),
            name = field.name(),
        ))),
    }
}

/// `WATERMARK FOR column AS bound`.
fn watermark_spec(column: &ast::Ident, bound: &ast::Expr, rows: &DFSchema, catalog: &Catalog) -> Result<WatermarkSpec> {
    let in_bound = |error: Error| errors::placed_in(error, bound);
    let schema = rows.as_arrow();
    let index = find(schema, column)?;
    let planned = session::scalar(bound, rows, catalog).and_then(|planned| session::computed(planned, rows));
    let planned = planned.map_err(in_bound)?;
    let bound_type = planned.get_type(rows).map_err(errors::translate).map_err(in_bound)?;
    let column_type = schema.field(index).data_type();
    for (kind, at) in [(column_type, column.span.start), (&bound_type, bound.span().start)] {
        if !matches!(kind, DataType::Timestamp(_, _) | DataType::Date32) {
            let message = format!(
                "WATERMARK FOR '{}' needs a TIMESTAMP or DATE and a bound of that kind, but found {}; a GENERATED \
                 column can compute it, for example to_timestamp_millis(number)",
                schema.field(index).name(),
                sql_type(kind)
            );
            return Err(errors::at(message, at));
        }
    }
    let planned = cast(planned, DataType::Timestamp(TimeUnit::Microsecond, None));
    Ok(WatermarkSpec {
        column: index,
        bound: expr::physical(&planned, rows).map_err(in_bound)?,
    })
}

/// The error at the declared column that it names, if it names one.
fn at_column(error: Error, statement: &CreateSource) -> Error {
    let names = |column: &&SourceColumn| error.message.starts_with(&format!("column '{}'", folded(&column.name)));
    match statement.columns.iter().find(names) {
        Some(column) => errors::at(error.message, column.name.span.start),
        None => error,
    }
}

/// The columns that `key = 'a, b'` names, or the first name that is none of `schema`'s.
pub fn key_columns<'a>(key: &'a str, schema: &Schema) -> std::result::Result<Vec<usize>, &'a str> {
    let names = key.split(',').map(str::trim);
    names.map(|name| schema.index_of(name).map_err(|_| name)).collect()
}

/// Rows are told apart by the bytes of their key, and INTERVALs that are equal may have other parts.
fn no_interval_key(key: &[usize], schema: &Schema) -> Result<()> {
    let is_interval = |column: &&usize| matches!(schema.field(**column).data_type(), DataType::Interval(_));
    match key.iter().find(is_interval) {
        None => Ok(()),
        Some(column) => Err(Error::new(format!(
            "column '{}' of the PRIMARY KEY is an INTERVAL, and '1 day' and '24 hours' are equal; make its length the key, \
             as a BIGINT of seconds",
            schema.field(*column).name()
        ))),
    }
}

/// The key of an UPSERT source: its PRIMARY KEY, or its METADATA key column.
fn source_key(statement: &CreateSource, schema: &Schema) -> Result<Vec<usize>> {
    let declared = statement
        .primary_key
        .iter()
        .map(|ident| find(schema, ident))
        .collect::<Result<Vec<_>>>()?;
    if statement.envelope != Envelope::Upsert || !declared.is_empty() {
        no_interval_key(&declared, schema)?;
        return Ok(declared);
    }
    let metadata = statement
        .columns
        .iter()
        .position(|column| matches!(column.metadata, Some(Metadata::Key)));
    metadata.map(|column| vec![column]).ok_or_else(|| {
        Error::new(
            "FORMAT UPSERT needs to know the key: declare PRIMARY KEY (…) with KEY ENCODE …, or a column METADATA \
             FROM 'key'",
        )
    })
}

/// Options of a source, sorted by who needs them.
struct SourceOptions {
    connector: ConnectorSpec,
    value: Encoding,
    start: Start,
    bound: Bound,
    idle_timeout_ms: u64,
    alignment_ms: Option<u64>,
    on_error: OnError,
}

impl SourceOptions {
    fn take(statement: &CreateSource) -> Result<SourceOptions> {
        let mut options = statement.options.clone();
        let connector = options.remove("connector");
        let connector = connector.ok_or_else(|| no_connector("source", &statement.name, &options, &connector::SOURCES));
        let connector = connector?;
        let start = start(&mut options)?;
        let bound = bound(&mut options)?;
        let idle = options.remove("idle_timeout").unwrap_or_else(|| "30s".to_string());
        let alignment = options.remove("watermark.alignment");
        if alignment.is_some() && statement.watermark.is_none() {
            return Err(Error::new(
                "watermark.alignment is for sources with a WATERMARK: splits are held together in event time",
            ));
        }
        let alignment_ms = match alignment.as_deref() {
            Some("off") => None,
            Some(bound) => Some(duration_ms("watermark.alignment", bound)?),
            None => Some(ALIGNMENT_MS),
        };
        let on_error = options.remove("on_error");
        let on_error = on_error.map_or(Ok(OnError::Fail), |policy| self::on_error(&policy))?;
        let mut value = statement.value.clone();
        if value.kind == EncodingKind::Csv
            && connector == "file"
            && let Some(header) = value.options.remove("header")
        {
            options.insert("file.skip_header".to_string(), header);
        }
        // An empty line is a text like any other, but no JSON and no row of CSV.
        if connector == "file" && matches!(value.kind, EncodingKind::Text | EncodingKind::Bytes) {
            let skip_blank = options.entry("file.skip_blank".to_string());
            skip_blank.or_insert_with(|| "false".to_string());
        }
        Ok(SourceOptions {
            connector: ConnectorSpec { connector, options },
            value,
            start,
            bound,
            idle_timeout_ms: duration_ms("idle_timeout", &idle)?,
            alignment_ms,
            on_error,
        })
    }
}

/// What happens to what can't be read or computed.
pub fn on_error(policy: &str) -> Result<OnError> {
    match policy {
        "fail" => Ok(OnError::Fail),
        "skip" => Ok(OnError::Skip),
        other => Err(Error::new(format!(
            "on_error = '{other}' is not supported; use 'fail' or 'skip'"
        ))),
    }
}

fn start(options: &mut BTreeMap<String, String>) -> Result<Start> {
    let timestamp = options.remove("scan.startup.timestamp");
    let offsets = options.remove("scan.startup.offsets");
    match (options.remove("scan.startup.mode").as_deref(), timestamp, offsets) {
        (None | Some("earliest"), None, None) => Ok(Start::Earliest),
        (Some("latest"), None, None) => Ok(Start::Latest),
        (Some("group"), None, None) => Ok(Start::Group),
        (Some("timestamp"), Some(text), None) => Ok(Start::Timestamp(millis("scan.startup.timestamp", &text)?)),
        (Some("offsets"), None, Some(text)) => Ok(Start::Offsets(positions("scan.startup.offsets", &text)?)),
        _ => Err(Error::new(
            "scan.startup.mode is 'earliest', 'latest', 'group', 'timestamp' (with scan.startup.timestamp, \
             milliseconds) or 'offsets' (with scan.startup.offsets = 'topic:0@42,topic:1@7')",
        )),
    }
}

fn bound(options: &mut BTreeMap<String, String>) -> Result<Bound> {
    let timestamp = options.remove("scan.bounded.timestamp");
    let offsets = options.remove("scan.bounded.offsets");
    match (options.remove("scan.bounded.mode").as_deref(), timestamp, offsets) {
        (None | Some("unbounded"), None, None) => Ok(Bound::Unbounded),
        (Some("latest"), None, None) => Ok(Bound::Latest),
        (Some("timestamp"), Some(text), None) => Ok(Bound::Timestamp(millis("scan.bounded.timestamp", &text)?)),
        (Some("offsets"), None, Some(text)) => Ok(Bound::Offsets(positions("scan.bounded.offsets", &text)?)),
        _ => Err(Error::new(
            "scan.bounded.mode is 'unbounded', 'latest', 'timestamp' (with scan.bounded.timestamp, milliseconds) or \
             'offsets' (with scan.bounded.offsets = 'topic:0@42')",
        )),
    }
}

fn millis(option: &str, text: &str) -> Result<i64> {
    text.trim()
        .parse()
        .map_err(|_| Error::new(format!("{option} = '{text}' is no number of milliseconds")))
}

fn positions(option: &str, text: &str) -> Result<connector::Positions> {
    let parse = |part: &str| {
        let (split, position) = part.trim().rsplit_once('@')?;
        Some((connector::SplitId(Arc::from(split)), position.parse().ok()?))
    };
    let parsed: Option<connector::Positions> = text.split(',').map(parse).collect();
    parsed.ok_or_else(|| {
        Error::new(format!(
            "{option} = '{text}' is not understood; write 'topic:0@42,topic:1@7'"
        ))
    })
}

/// Plans `CREATE TABLE`.
pub fn table(statement: &CreateTable, id: RelationId, catalog: &Catalog) -> Result<Relation> {
    names_once(statement.columns.iter().map(|(name, ..)| name))?;
    let mut fields = Vec::new();
    for (name, kind, _, _) in &statement.columns {
        fields.push(Field::new(folded(name), data_type(kind, catalog)?, true));
    }
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    let key = statement
        .primary_key
        .iter()
        .map(|ident| find(&schema, ident))
        .collect::<Result<Vec<_>>>()?;
    no_interval_key(&key, &schema)?;
    let declared = (0..statement.columns.len()).filter(|i| statement.columns[*i].2 || key.contains(i));
    let name = statement.name.value.clone();
    Ok(Relation {
        id,
        name: name.clone(),
        kind: RelationKind::Table,
        sql: statement.text.clone(),
        schema: schema.clone(),
        key: (!key.is_empty()).then(|| key.clone()),
        event_times: Vec::new(),
        depends_on: Vec::new(),
        comment: None,
        paused: false,
        definition: Definition::Table(TableDefinition {
            not_null: declared.collect(),
            append_only: statement.append_only,
            defaults: statement
                .columns
                .iter()
                .map(|column| column.3.clone())
                .collect::<Vec<_>>()
                .into(),
            spec: TableSpec {
                relation: id,
                name,
                schema,
                key,
            },
        }),
    })
}

/// A source or sink that doesn't say of which connector it is. An option that is nearly called so, or names one, is
/// meant.
fn no_connector(role: &str, name: &Name, options: &BTreeMap<String, String>, known: &[&str]) -> Error {
    let meant = nearest("connector", options.keys().map(String::as_str));
    let meant = meant.or_else(|| {
        let named = options.iter().find(|(_, value)| known.contains(&value.as_str()));
        named.map(|(key, _)| key.as_str())
    });
    if let Some(other) = meant {
        return Error::new(format!(
            "unknown option '{other}' of {role} '{}'; did you mean 'connector'?",
            name.value
        ));
    }
    let known: Vec<String> = known.iter().map(|known| format!("'{known}'")).collect();
    let message = format!(
        "{role} '{}' needs WITH (connector = {}, …)",
        name.value,
        known.join(" | ")
    );
    Error::at(message, name.place.0, name.place.1)
}

/// What a sink is given.
struct Delivered {
    follow: RelationId,
    query: Option<ViewSpec>,
    schema: SchemaRef,
    /// A key of its rows.
    unique: Option<Vec<usize>>,
    append_only: bool,
    depends_on: Vec<RelationId>,
}

/// Plans `CREATE SINK`.
pub fn sink(statement: &CreateSink, id: RelationId, catalog: &Catalog) -> Result<Relation> {
    let delivered = match &statement.input {
        SinkInput::As(query) => {
            let (view, depends_on) = super::sink_query(query, &statement.name.value, id, catalog)?;
            let output = view.graph.output().clone();
            Delivered {
                follow: id,
                query: Some(view),
                schema: output.schema,
                unique: output.key,
                append_only: output.append_only,
                depends_on,
            }
        }
        SinkInput::From(view) => {
            let relation = catalog.get(view)?;
            if relation.kind != RelationKind::MaterializedView {
                let (line, column) = view.place;
                let message = format!(
                    "'{}' is no materialized view; use CREATE SINK … AS SELECT * FROM it",
                    view.value
                );
                return Err(Error::at(message, line, column));
            }
            Delivered {
                follow: relation.id,
                query: None,
                schema: relation.schema.clone(),
                unique: relation.key.clone(),
                append_only: relation.append_only(),
                depends_on: vec![relation.id],
            }
        }
    };
    sink_of(statement, id, catalog, delivered).map_err(|error| statement.option_places.placed(error))
}

fn sink_of(statement: &CreateSink, id: RelationId, catalog: &Catalog, delivered: Delivered) -> Result<Relation> {
    let name = statement.name.value.clone();
    let Delivered {
        follow,
        query,
        schema,
        unique,
        append_only,
        depends_on,
    } = delivered;
    let mut options = statement.options.clone();
    let connector = options.remove("connector");
    let connector = connector.ok_or_else(|| no_connector("sink", &statement.name, &options, &connector::SINKS))?;
    connector::check_sink_name(&connector)?;
    let snapshot = match options.remove("snapshot").as_deref() {
        None | Some("true") => true,
        Some("false") => false,
        Some(other) => return Err(Error::new(format!("snapshot = '{other}' must be 'true' or 'false'"))),
    };
    if !snapshot && query.is_some() {
        return Err(Error::new(format!(
            "snapshot = 'false' of sink '{name}' leaves out what a view holds already, and a query of the sink's own \
             holds nothing yet; create a materialized view, and then a sink FROM it"
        )));
    }
    let key = match options.get("key") {
        Some(columns) => key_columns(columns, &schema)
            .map_err(|column| Error::new(format!("key column '{column}' is not in sink '{name}'")))?,
        None if statement.envelope == Envelope::Upsert => unique.clone().unwrap_or_default(),
        None => Vec::new(),
    };
    let graph = match &query {
        Some(view) => Some(&*view.graph),
        None => catalog.by_id(follow).and_then(|relation| relation.graph()),
    };
    let follows = |column: usize| {
        let mut starts = key.iter();
        graph.is_some_and(|graph| starts.any(|start| origin::end_follows(graph, *start, column)))
    };
    let is_in_key = |column: &usize| key.contains(column) || follows(*column);
    if statement.envelope == Envelope::Upsert && !unique.is_some_and(|unique| unique.iter().all(is_in_key)) {
        return Err(Error::new(format!(
            "FORMAT UPSERT of sink '{name}' needs key = '…' with columns that are unique in what it delivers"
        )));
    }
    let connector = ConnectorSpec { connector, options };
    let forced = connector
        .options
        .get("force_append_only")
        .is_some_and(|forced| forced == "true");
    if statement.envelope == Envelope::Plain && !append_only && !forced && !connector::takes_weights(&connector) {
        return Err(Error::new(format!(
            "FORMAT PLAIN of sink '{name}' can only add rows, but what it delivers also changes and deletes them; use \
             FORMAT UPSERT with a key, or force_append_only = 'true' to leave deletes out"
        )));
    }
    let sink = SinkSpec {
        name: name.clone(),
        connector,
        format: SinkFormat {
            envelope: statement.envelope,
            value: statement.value.clone(),
            key: statement.key.clone(),
        },
        schema: schema.clone(),
        key,
    };
    Ok(Relation {
        id,
        name,
        kind: RelationKind::Sink,
        sql: statement.text.clone(),
        schema,
        key: None,
        event_times: Vec::new(),
        depends_on,
        comment: None,
        paused: false,
        definition: Definition::Sink(SinkDefinition {
            follow,
            query,
            sink,
            snapshot,
        }),
    })
}
