//! CREATE SOURCE, TABLE, VIEW, MATERIALIZED VIEW and SINK.

use sqlparser::ast::{DataType, Expr, Ident};
use sqlparser::tokenizer::Token;
use weir_engine::format::EncodingKind;
use weir_engine::relation::Metadata;

use super::cursor::{Cursor, folded};
use super::form::{Subqueries, bring_into_form};
use super::options::{format, with_options};
use super::query::{Place, query};
use super::source::{depths, error_at, is_word, starts_with};
use super::types;
use super::window::TakenOut;
use crate::error::{Error, Result};
use crate::statement::{
    CreateSink, CreateSource, CreateTable, CreateView, Name, Query, SinkInput, SourceColumn, Statement,
};

/// Things other systems create, and what to write here.
const REFUSED: &[(&[&str], &str)] = &[
    (
        &["SECRET"],
        "CREATE SECRET is not there yet: give credentials in the source's or sink's WITH (…)",
    ),
    (
        &["CONNECTION"],
        "CREATE CONNECTION is not there yet: give properties.bootstrap.servers in WITH (…)",
    ),
    (
        &["STREAM"],
        "CREATE STREAM is not there: CREATE SOURCE reads a topic, CREATE MATERIALIZED VIEW keeps \
         a query's answer",
    ),
    (
        &["TEMP"],
        "temporary relations are not there: WITH name AS (…) names a query within a statement",
    ),
    (
        &["TEMPORARY"],
        "temporary relations are not there: WITH name AS (…) names a query within a statement",
    ),
    (
        &["EXTERNAL"],
        "CREATE EXTERNAL TABLE is not there: CREATE SOURCE reads files (connector = 'file')",
    ),
    (
        &["INDEX"],
        "CREATE INDEX is not there: a view's key is its index; group or order it by what you \
         look up",
    ),
    (
        &["FUNCTION"],
        "CREATE FUNCTION is not there yet: SHOW FUNCTIONS lists those that are",
    ),
    (
        &["SCHEMA"],
        "CREATE SCHEMA is not there: all relations are in one schema",
    ),
    (
        &["DATABASE"],
        "CREATE DATABASE is not there: a data directory is one database",
    ),
];

/// Reads a CREATE statement; the cursor stands at its first word.
pub(super) fn create(cursor: &mut Cursor) -> Result<Statement> {
    cursor.expect("CREATE")?;
    let at_replace =
        cursor.here("OR REPLACE is there for plain views only, yet: DROP the old one first; its readers are named");
    let or_replace = cursor.take(&["OR", "REPLACE"]);
    if or_replace && !cursor.is("VIEW") {
        return Err(at_replace);
    }
    if cursor.take(&["SOURCE"]) {
        create_source(cursor).map(|source| Statement::CreateSource(Box::new(source)))
    } else if cursor.take(&["TABLE"]) {
        create_table(cursor).map(Statement::CreateTable)
    } else if cursor.take(&["VIEW"]) {
        create_plain_view(cursor, or_replace).map(Statement::CreateView)
    } else if cursor.take(&["MATERIALIZED", "VIEW"]) {
        create_view(cursor, Place::Continuous).map(Statement::CreateMaterializedView)
    } else if cursor.take(&["SINK"]) {
        create_sink(cursor).map(Statement::CreateSink)
    } else {
        let refused = REFUSED.iter().find(|(words, _)| starts_with(cursor.rest(), words));
        Err(match refused {
            Some((_, message)) => cursor.here(*message),
            None => cursor.expected("SOURCE, TABLE, VIEW, MATERIALIZED VIEW or SINK after CREATE"),
        })
    }
}

/// `[IF NOT EXISTS] name`.
fn new_name(cursor: &mut Cursor, what: &str) -> Result<(bool, Name)> {
    let if_not_exists = cursor.take(&["IF", "NOT", "EXISTS"]);
    Ok((if_not_exists, cursor.name(what)?))
}

fn create_source(cursor: &mut Cursor) -> Result<CreateSource> {
    let (if_not_exists, name) = new_name(cursor, "the source's name")?;
    if !cursor.is_token(&Token::LParen) {
        return Err(cursor.expected("the source's columns in parentheses"));
    }
    let mut definition = SourceDefinition::default();
    cursor.list(|cursor| definition.element(cursor))?;
    let mut included = Vec::new();
    while cursor.take(&["INCLUDE"]) {
        included.push(include(cursor)?);
    }
    let options = with_options(cursor)?;
    let format = format(cursor)?;
    end_of_clauses(cursor, &["INCLUDE", "WITH", "FORMAT", "ENCODE", "KEY"])?;
    for mut column in included {
        let as_bytes = format.key.as_ref().map(|key| key.kind) == Some(EncodingKind::Bytes);
        if column.metadata == Some(Metadata::Key) && as_bytes {
            column.data_type = DataType::Bytea;
        }
        definition.columns.push(column);
    }
    definition.check()?;
    Ok(CreateSource {
        name,
        if_not_exists,
        columns: definition.columns,
        watermark: definition.watermark,
        primary_key: definition.primary_key,
        options,
        envelope: format.envelope,
        value: format.value,
        key: format.key,
        option_places: std::mem::take(&mut cursor.option_places),
        text: cursor.source.slice(cursor.tokens()).into(),
    })
}

/// Nothing follows the clauses of a source or sink, least of all one of them.
fn end_of_clauses(cursor: &Cursor, clauses: &[&str]) -> Result<()> {
    if clauses.iter().any(|clause| cursor.is(clause)) {
        return Err(cursor.here(format!(
            "the clauses have an order and each stands once: {} ENCODE",
            clauses.join(", ")
        )));
    }
    cursor.end("")
}

/// What stands in the parentheses of CREATE SOURCE.
#[derive(Default)]
struct SourceDefinition {
    columns: Vec<SourceColumn>,
    watermark: Option<(Ident, Expr)>,
    primary_key: Vec<Ident>,
}

impl SourceDefinition {
    fn element(&mut self, cursor: &mut Cursor) -> Result<()> {
        if cursor.is("WATERMARK") && cursor.is_nth(1, "FOR") {
            if self.watermark.is_some() {
                return Err(cursor.here("a source has one watermark"));
            }
            cursor.take(&["WATERMARK", "FOR"]);
            let column = cursor.ident("the event-time column")?;
            cursor.expect("AS")?;
            self.watermark = Some((column, expression(cursor)?));
            return Ok(());
        }
        if at_key_constraint(cursor) {
            return key_constraint(cursor, &mut self.primary_key);
        }
        let column = self.column(cursor)?;
        self.columns.push(column);
        Ok(())
    }

    fn column(&mut self, cursor: &mut Cursor) -> Result<SourceColumn> {
        let mut column = SourceColumn {
            name: cursor.ident("a column's name")?,
            data_type: types::data_type(cursor)?,
            not_null: false,
            metadata: None,
            generated: None,
        };
        loop {
            if cursor.is("METADATA") || cursor.is("GENERATED") {
                if column.metadata.is_some() || column.generated.is_some() {
                    return Err(cursor.here("a column has one origin: METADATA or GENERATED"));
                }
                if cursor.take(&["METADATA"]) {
                    cursor.expect("FROM")?;
                    column.metadata = Some(metadata(cursor)?);
                } else {
                    column.generated = Some(generated(cursor)?);
                }
            } else if cursor.take(&["NOT", "NULL"]) {
                column.not_null = true;
            } else if cursor.is("PRIMARY") {
                column_key(cursor, &column.name, &mut self.primary_key)?;
            } else if cursor.is_token(&Token::Comma) || cursor.is_token(&Token::RParen) {
                return Ok(column);
            } else if cursor.is("DEFAULT") {
                return Err(cursor.here(
                    "a source's column has no DEFAULT: a missing field is NULL; use \
                     coalesce(…) in the view, or GENERATED ALWAYS AS (…)",
                ));
            } else if !cursor.take(&["NULL"]) {
                return Err(cursor.expected("METADATA FROM, GENERATED ALWAYS AS, NOT NULL, PRIMARY KEY, a comma or )"));
            }
        }
    }

    fn check(&self) -> Result<()> {
        check_names(self.columns.iter().map(|column| &column.name), &self.primary_key)?;
        if self.columns.is_empty() {
            return Err(Error::new("a source needs at least one column"));
        }
        let Some((time, _)) = &self.watermark else {
            return Ok(());
        };
        let declared = self.columns.iter().any(|column| folded(&column.name) == folded(time));
        if declared { Ok(()) } else { Err(not_declared(time)) }
    }
}

/// `'key'`, `'header:name'`, `'headers'`, `'topic'`, `'partition'`, `'offset'`, `'timestamp'`.
fn metadata(cursor: &mut Cursor) -> Result<Metadata> {
    const WHAT: &str = "'key', 'header:<name>', 'headers', 'topic', 'partition', 'offset' or 'timestamp'";
    let error = cursor.expected(WHAT);
    let written = cursor.string(WHAT)?;
    Ok(match written.as_str() {
        "key" => Metadata::Key,
        "headers" => Metadata::Headers,
        "topic" => Metadata::Topic,
        "partition" => Metadata::Partition,
        "offset" => Metadata::Offset,
        "timestamp" => Metadata::Timestamp,
        other => match other.strip_prefix("header:") {
            Some(name) if !name.is_empty() => Metadata::Header(name.into()),
            _ => return Err(error),
        },
    })
}

/// `GENERATED ALWAYS AS (expression) [STORED]`.
fn generated(cursor: &mut Cursor) -> Result<Expr> {
    for word in ["GENERATED", "ALWAYS", "AS"] {
        cursor.expect(word)?;
    }
    cursor.expect_token(&Token::LParen)?;
    let expr = expression(cursor)?;
    cursor.expect_token(&Token::RParen)?;
    // PostgreSQL makes people write it; it says nothing here.
    cursor.take(&["STORED"]);
    Ok(expr)
}

/// `INCLUDE key | header 'name' | headers | topic | partition | offset | timestamp [AS name]`.
fn include(cursor: &mut Cursor) -> Result<SourceColumn> {
    let word = cursor.ident("key, header 'name', headers, topic, partition, offset or timestamp")?;
    let (metadata, data_type) = match folded(&word).as_str() {
        "key" => (Metadata::Key, DataType::Text),
        "header" => {
            let name = cursor.string("the header's name in quotes (INCLUDE headers takes all)")?;
            (Metadata::Header(name), DataType::Text)
        }
        "headers" => {
            let map = DataType::Map(Box::new(DataType::Text), Box::new(DataType::Bytea));
            (Metadata::Headers, map)
        }
        "topic" => (Metadata::Topic, DataType::Text),
        "partition" => (Metadata::Partition, DataType::Int(None)),
        "offset" => (Metadata::Offset, DataType::BigInt(None)),
        "timestamp" => (Metadata::Timestamp, types::timestamp()),
        _ => {
            let at = word.span.start;
            return Err(Error::at(
                format!(
                    "INCLUDE takes key, header 'name', headers, topic, partition, offset or \
                     timestamp, not {}",
                    word.value
                ),
                at.line,
                at.column,
            ));
        }
    };
    let name = if cursor.take(&["AS"]) {
        cursor.ident("a column's name")?
    } else {
        match &metadata {
            Metadata::Header(name) => Ident::with_quote_and_span('"', word.span, name.clone()),
            _ => word,
        }
    };
    Ok(SourceColumn {
        name,
        data_type: types::canonical(data_type).map_err(|message| cursor.here(message))?,
        not_null: false,
        metadata: Some(metadata),
        generated: None,
    })
}

fn create_table(cursor: &mut Cursor) -> Result<CreateTable> {
    let (if_not_exists, name) = new_name(cursor, "the table's name")?;
    if cursor.is("AS") {
        return Err(cursor.here("CREATE TABLE … AS is not there: CREATE TABLE with columns, then INSERT INTO … SELECT"));
    }
    if !cursor.is_token(&Token::LParen) {
        return Err(cursor.expected("the table's columns in parentheses"));
    }
    let mut columns = Vec::new();
    let mut primary_key = Vec::new();
    cursor.list(|cursor| {
        if at_key_constraint(cursor) {
            key_constraint(cursor, &mut primary_key)
        } else {
            columns.push(table_column(cursor, &mut primary_key)?);
            Ok(())
        }
    })?;
    if cursor.is("WITH") {
        return Err(cursor.here(
            "CREATE TABLE … WITH (…) is not there yet: CREATE SOURCE reads a connector, a \
             materialized view keeps its rows",
        ));
    }
    let append_only = cursor.take(&["APPEND", "ONLY"]);
    cursor.end("APPEND ONLY")?;
    check_names(columns.iter().map(|(name, ..)| name), &primary_key)?;
    Ok(CreateTable {
        name,
        if_not_exists,
        columns,
        primary_key,
        append_only,
        text: cursor.source.slice(cursor.tokens()).into(),
    })
}

type TableColumn = (Ident, DataType, bool, Option<Expr>);

fn table_column(cursor: &mut Cursor, primary_key: &mut Vec<Ident>) -> Result<TableColumn> {
    let name = cursor.ident("a column's name")?;
    let data_type = types::data_type(cursor)?;
    let (mut not_null, mut default) = (false, None);
    loop {
        if cursor.is("DEFAULT") {
            if default.is_some() {
                return Err(cursor.here("a column has one DEFAULT"));
            }
            cursor.advance();
            default = Some(expression(cursor)?);
        } else if cursor.take(&["NOT", "NULL"]) {
            not_null = true;
        } else if cursor.is("PRIMARY") {
            column_key(cursor, &name, primary_key)?;
        } else if cursor.is_token(&Token::Comma) || cursor.is_token(&Token::RParen) {
            return Ok((name, data_type, not_null, default));
        } else if cursor.is("METADATA") || cursor.is("GENERATED") {
            return Err(
                cursor.here("METADATA and GENERATED columns belong to CREATE SOURCE; a table's rows come from INSERT")
            );
        } else if ["UNIQUE", "REFERENCES", "CHECK"].iter().any(|word| cursor.is(word)) {
            return Err(cursor.here("UNIQUE, REFERENCES and CHECK are not there: NOT NULL and PRIMARY KEY are checked"));
        } else if !cursor.take(&["NULL"]) {
            return Err(cursor.expected("DEFAULT, NOT NULL, PRIMARY KEY, a comma or )"));
        }
    }
}

/// Whether a key over several columns, or a constraint that isn't there, is next.
fn at_key_constraint(cursor: &Cursor) -> bool {
    (cursor.is("PRIMARY") && cursor.is_nth(1, "KEY")) || (cursor.is("CONSTRAINT") && cursor.is_nth(2, "PRIMARY"))
}

/// `[CONSTRAINT name] PRIMARY KEY (column, …)`.
fn key_constraint(cursor: &mut Cursor, primary_key: &mut Vec<Ident>) -> Result<()> {
    if cursor.take(&["CONSTRAINT"]) {
        cursor.ident("the constraint's name")?;
    }
    if !primary_key.is_empty() {
        return Err(cursor.here("there is a second PRIMARY KEY"));
    }
    cursor.expect("PRIMARY")?;
    cursor.expect("KEY")?;
    *primary_key = cursor.list(|cursor| cursor.ident("a column's name"))?;
    Ok(())
}

/// `PRIMARY KEY` behind a column.
fn column_key(cursor: &mut Cursor, column: &Ident, primary_key: &mut Vec<Ident>) -> Result<()> {
    if !primary_key.is_empty() {
        return Err(cursor.here("there is a second PRIMARY KEY: write PRIMARY KEY (a, b) for a key of several columns"));
    }
    cursor.expect("PRIMARY")?;
    cursor.expect("KEY")?;
    primary_key.push(column.clone());
    Ok(())
}

/// No column twice, and the key's columns among them.
fn check_names<'a>(columns: impl Iterator<Item = &'a Ident>, primary_key: &[Ident]) -> Result<()> {
    let mut seen = std::collections::HashSet::new();
    for column in columns {
        if !seen.insert(folded(column)) {
            return Err(twice(column, "the column"));
        }
    }
    let mut key = std::collections::HashSet::new();
    for column in primary_key {
        if !seen.contains(&folded(column)) {
            return Err(not_declared(column));
        }
        if !key.insert(folded(column)) {
            return Err(twice(column, "the key column"));
        }
    }
    Ok(())
}

fn twice(column: &Ident, what: &str) -> Error {
    let at = column.span.start;
    Error::at(format!("{what} {} is there twice", folded(column)), at.line, at.column)
}

fn not_declared(column: &Ident) -> Error {
    let at = column.span.start;
    Error::at(
        format!("{} is none of the columns declared here", folded(column)),
        at.line,
        at.column,
    )
}

/// An expression over a row's own columns.
fn expression(cursor: &mut Cursor) -> Result<Expr> {
    let begin = cursor.index();
    let mut expr = cursor.run(|parser| parser.parse_expr())?;
    let tokens = &cursor.tokens()[begin..cursor.index()];
    bring_into_form(&mut expr, tokens, &TakenOut::new(), Subqueries::Refused)?;
    Ok(expr)
}

fn create_plain_view(cursor: &mut Cursor, or_replace: bool) -> Result<CreateView> {
    let view = create_view(
        cursor,
        Place::Once(
            "a plain view is a named query without EMIT: the materialized view or the query that \
             reads it says how it emits",
        ),
    )?;
    Ok(CreateView { or_replace, ..view })
}

/// `[IF NOT EXISTS] name [(columns)] [WITH (…)] AS query`.
fn create_view(cursor: &mut Cursor, place: Place) -> Result<CreateView> {
    let (if_not_exists, name) = new_name(cursor, "the view's name")?;
    let columns = if cursor.is_token(&Token::LParen) {
        cursor.list(|cursor| cursor.ident("a column's name"))?
    } else {
        vec![]
    };
    check_names(columns.iter(), &[])?;
    if cursor.is("WITH") && matches!(place, Place::Once(_)) {
        return Err(cursor.here("a plain view takes no options: it is a named query, nothing is kept"));
    }
    let options = with_options(cursor)?;
    cursor.expect("AS")?;
    if cursor.peek().is_none() {
        return Err(cursor.expected("a query"));
    }
    let query = query(cursor.source, cursor.rest(), None, place)?;
    Ok(CreateView {
        name,
        if_not_exists,
        or_replace: false,
        columns,
        options,
        option_places: std::mem::take(&mut cursor.option_places),
        query,
        text: cursor.source.slice(cursor.tokens()).into(),
    })
}

/// `[IF NOT EXISTS] name FROM relation | AS query WITH (…) [FORMAT …]`.
fn create_sink(cursor: &mut Cursor) -> Result<CreateSink> {
    let (if_not_exists, name) = new_name(cursor, "the sink's name")?;
    let input = if cursor.take(&["FROM"]) {
        SinkInput::From(cursor.name("the view's or table's name")?)
    } else if cursor.take(&["AS"]) {
        SinkInput::As(sink_query(cursor)?)
    } else {
        return Err(cursor.expected("FROM a view or AS a query"));
    };
    if !cursor.is("WITH") {
        return Err(cursor.expected("WITH (connector = …)"));
    }
    let options = with_options(cursor)?;
    let format = format(cursor)?;
    end_of_clauses(cursor, &["WITH", "FORMAT", "ENCODE", "KEY"])?;
    Ok(CreateSink {
        name,
        if_not_exists,
        input,
        options,
        envelope: format.envelope,
        value: format.value,
        key: format.key,
        option_places: std::mem::take(&mut cursor.option_places),
        text: cursor.source.slice(cursor.tokens()).into(),
    })
}

/// The query up to the sink's own `WITH (`, which no query has at its outermost level.
fn sink_query(cursor: &mut Cursor) -> Result<Query> {
    let tokens = cursor.rest();
    let ends = tokens
        .iter()
        .zip(depths(tokens))
        .zip(tokens.iter().skip(1))
        .position(|((token, depth), next)| depth == 0 && is_word(&token.token, "WITH") && next.token == Token::LParen);
    let Some(ends) = ends else {
        // The query's own mistakes come first.
        query(cursor.source, tokens, None, Place::Continuous)?;
        return Err(match tokens.last() {
            Some(last) => {
                let end = last.span.end;
                Error::at(
                    "a sink needs WITH (connector = …) behind its query",
                    end.line,
                    end.column,
                )
            }
            None => cursor.expected("a query"),
        });
    };
    if ends == 0 {
        return Err(error_at("expected a query, found WITH (", &tokens[0]));
    }
    let query = query(cursor.source, &tokens[..ends], tokens.get(ends), Place::Continuous)?;
    (0..ends).for_each(|_| cursor.advance());
    Ok(query)
}
