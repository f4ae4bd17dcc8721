//! Statements of the dialect as data.

use std::collections::BTreeMap;

use sqlparser::ast;
use weir_engine::format::{Encoding, Envelope};
use weir_engine::relation::Metadata;

mod places;

pub use places::OptionPlaces;

/// An expression of the dialect, as parsed.
pub type Expression = ast::Expr;

/// A parsed statement.
#[derive(Debug, Clone)]
pub enum Statement {
    /// `CREATE SOURCE`.
    CreateSource(Box<CreateSource>),
    /// `CREATE TABLE`.
    CreateTable(CreateTable),
    /// `CREATE VIEW`: a named query.
    CreateView(CreateView),
    /// `CREATE MATERIALIZED VIEW`.
    CreateMaterializedView(CreateView),
    /// `CREATE SINK`.
    CreateSink(CreateSink),
    /// `DROP kind [IF EXISTS] name [CASCADE]`.
    Drop {
        kind: RelationKind,
        name: Name,
        if_exists: bool,
        cascade: bool,
    },
    /// `PAUSE name`.
    Pause(Name),
    /// `RESUME name`.
    Resume(Name),
    /// `SHOW SOURCES | TABLES | …`.
    Show(Show),
    /// `DESCRIBE name`.
    Describe(Name),
    /// `SHOW CREATE name`.
    ShowCreate(Name),
    /// `EXPLAIN query` (or of a `CREATE MATERIALIZED VIEW … AS query`).
    Explain(Query),
    /// `EXPLAIN ANALYZE name`.
    ExplainAnalyze(Name),
    /// `INSERT`, `UPDATE`, `DELETE`.
    Dml(Box<ast::Statement>),
    /// `SELECT …`; with `EMIT CHANGES` a push query.
    Query(Query),
    /// `SUBSCRIBE TO view`.
    Subscribe(Subscribe),
    /// `SET name = value`.
    Set { name: String, value: String },
    /// `SHOW name` of a setting.
    ShowSetting(String),
    /// `COMMENT ON kind name IS '…'` (`None` removes it).
    Comment {
        kind: RelationKind,
        name: Name,
        text: Option<String>,
    },
    /// `ALTER … name RENAME TO name`.
    Rename { kind: RelationKind, name: Name, to: Name },
    /// `FLUSH`.
    Flush,
    /// `BEGIN`.
    Begin,
    /// `COMMIT`.
    Commit,
    /// `ROLLBACK`.
    Rollback,
}

impl Statement {
    /// Where its options stand, if it can have any.
    pub fn option_places(&self) -> Option<&OptionPlaces> {
        match self {
            Statement::CreateSource(source) => Some(&source.option_places),
            Statement::CreateMaterializedView(view) => Some(&view.option_places),
            Statement::CreateSink(sink) => Some(&sink.option_places),
            _ => None,
        }
    }
}

/// A relation's name as written (folded to lower case unless quoted), and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// `name`, or `schema.name` for system relations.
    pub value: String,
    /// 1-based line and column.
    pub place: (u64, u64),
}

/// Kinds of relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelationKind {
    /// External input.
    Source,
    /// Stored, changed by DML.
    Table,
    /// A named query.
    View,
    /// A kept answer.
    MaterializedView,
    /// External output.
    Sink,
}

/// A query, its text and how it emits.
#[derive(Debug, Clone)]
pub struct Query {
    /// The query without its EMIT clause.
    pub ast: Box<ast::Query>,
    /// Its text without its EMIT clause, as written.
    pub text: String,
    /// How it emits; `None` where nothing was said.
    pub emit: Option<Emit>,
}

/// EMIT clauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emit {
    /// `EMIT CHANGES`.
    Changes,
    /// `EMIT ON WINDOW CLOSE`, `EMIT FINAL`; `WITH TIMEOUT`: what is open closes, too, when nothing has
    /// come for so long.
    OnWindowClose { timeout_ms: Option<u64> },
}

/// `CREATE SOURCE`.
#[derive(Debug, Clone)]
pub struct CreateSource {
    /// Its name.
    pub name: Name,
    /// `IF NOT EXISTS`.
    pub if_not_exists: bool,
    /// Declared columns in order.
    pub columns: Vec<SourceColumn>,
    /// `WATERMARK FOR column AS expression`.
    pub watermark: Option<(ast::Ident, ast::Expr)>,
    /// `PRIMARY KEY (…)`, by name.
    pub primary_key: Vec<ast::Ident>,
    /// `WITH (…)`, lower-case keys.
    pub options: BTreeMap<String, String>,
    /// `FORMAT`; PLAIN where not given.
    pub envelope: Envelope,
    /// `ENCODE`; JSON where not given.
    pub value: Encoding,
    /// `KEY ENCODE`.
    pub key: Option<Encoding>,
    /// Where all its options stand.
    pub option_places: OptionPlaces,
    /// The statement as written.
    pub text: String,
}

/// A declared column of a source.
#[derive(Debug, Clone)]
pub struct SourceColumn {
    /// Its name.
    pub name: ast::Ident,
    /// Its type.
    pub data_type: ast::DataType,
    /// `NOT NULL`.
    pub not_null: bool,
    /// `METADATA FROM '…'`, or an INCLUDE clause.
    pub metadata: Option<Metadata>,
    /// `GENERATED ALWAYS AS (…)`.
    pub generated: Option<ast::Expr>,
}

/// `CREATE TABLE`.
#[derive(Debug, Clone)]
pub struct CreateTable {
    /// Its name.
    pub name: Name,
    /// `IF NOT EXISTS`.
    pub if_not_exists: bool,
    /// Columns: name, type, NOT NULL, DEFAULT.
    pub columns: Vec<(ast::Ident, ast::DataType, bool, Option<ast::Expr>)>,
    /// Key columns by name.
    pub primary_key: Vec<ast::Ident>,
    /// `APPEND ONLY`: its rows are never changed or deleted.
    pub append_only: bool,
    /// The statement as written.
    pub text: String,
}

/// `CREATE [MATERIALIZED] VIEW`.
#[derive(Debug, Clone)]
pub struct CreateView {
    /// Its name.
    pub name: Name,
    /// `IF NOT EXISTS`.
    pub if_not_exists: bool,
    /// `OR REPLACE` (plain views only).
    pub or_replace: bool,
    /// Column names in parentheses after the name, if given.
    pub columns: Vec<ast::Ident>,
    /// `WITH (…)`.
    pub options: BTreeMap<String, String>,
    /// Where they stand.
    pub option_places: OptionPlaces,
    /// The query.
    pub query: Query,
    /// The statement as written.
    pub text: String,
}

/// `CREATE SINK`.
#[derive(Debug, Clone)]
pub struct CreateSink {
    /// Its name.
    pub name: Name,
    /// `IF NOT EXISTS`.
    pub if_not_exists: bool,
    /// What it delivers.
    pub input: SinkInput,
    /// `WITH (…)`.
    pub options: BTreeMap<String, String>,
    /// `FORMAT`; PLAIN where not given.
    pub envelope: Envelope,
    /// `ENCODE`; JSON where not given.
    pub value: Encoding,
    /// `KEY ENCODE`.
    pub key: Option<Encoding>,
    /// Where all its options stand.
    pub option_places: OptionPlaces,
    /// The statement as written.
    pub text: String,
}

/// What a sink delivers.
#[derive(Debug, Clone)]
pub enum SinkInput {
    /// `FROM view`.
    From(Name),
    /// `AS SELECT …`.
    As(Query),
}

/// `SUBSCRIBE TO view [AS OF epoch] [WITH (…)]`.
#[derive(Debug, Clone)]
pub struct Subscribe {
    /// The view or table.
    pub name: Name,
    /// Resume after this epoch.
    pub after: Option<u64>,
    /// Begin with the present content.
    pub snapshot: bool,
    /// Send epochs that changed nothing, too.
    pub progress: bool,
}

/// `SHOW …` lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// Sources.
    Sources,
    /// Tables.
    Tables,
    /// Views.
    Views,
    /// Materialized views.
    MaterializedViews,
    /// Sinks.
    Sinks,
    /// Pipelines.
    Pipelines,
    /// Functions.
    Functions,
    /// Topics of a broker (of the sources' brokers).
    Topics,
    /// Settings.
    Settings,
}
