//! The catalog: which relations there are, and what each is.
//!
//! In memory it is a value that is cheap to clone, so that planning works on one state of it while
//! others change it. Durably each relation is a small JSON document with its statement as written;
//! [`restore`] plans it again at start and compares the *shape* of its graph with the one noted,
//! so that state is never read under another plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use serde_json::{Value, json};
use weir_engine::connector::{Bound, SinkSpec, Start};
use weir_engine::near::nearest;
use weir_engine::relation::{RelationId, SourceSpec, StoredRelation, TableSpec, ViewSpec};

use crate::opaque::Opaque;
use crate::parse;
use crate::plan::TimeBound;
use crate::statement::{Expression, Name, Query, RelationKind, Statement};
use crate::{Error, Result, explain, plan};

/// A relation of the catalog.
#[derive(Clone)]
pub struct Relation {
    /// Its id, never used again.
    pub id: RelationId,
    /// Its name; system relations have `weir.` before it.
    pub name: String,
    /// What it is.
    pub kind: RelationKind,
    /// Its statement as written.
    pub sql: String,
    /// Its columns.
    pub schema: SchemaRef,
    /// Columns that are unique in it, if any.
    pub key: Option<Vec<usize>>,
    /// How event time bounds the columns of a materialized view; empty for other relations. A source
    /// says it by its watermark.
    pub event_times: Vec<Option<TimeBound>>,
    /// Relations whose rows it reads, and those that its statement names (plain views among them):
    /// none of these may go before it does.
    pub depends_on: Vec<RelationId>,
    /// `COMMENT ON`.
    pub comment: Option<String>,
    /// Stopped by PAUSE.
    pub paused: bool,
    /// What is needed to run it.
    pub definition: Definition,
}

/// What a relation needs to run.
#[derive(Clone)]
pub enum Definition {
    /// A source.
    Source(SourceSpec),
    /// A table.
    Table(TableDefinition),
    /// A named query.
    View(Opaque<Query>),
    /// A kept answer.
    MaterializedView(ViewSpec),
    /// A delivery.
    Sink(SinkDefinition),
    /// A relation that Weir itself provides.
    System,
}

/// A table.
#[derive(Clone)]
pub struct TableDefinition {
    /// For the engine.
    pub spec: TableSpec,
    /// DEFAULT of each column.
    pub defaults: Opaque<Vec<Option<Expression>>>,
    /// Columns declared NOT NULL, and the key's.
    pub not_null: Vec<usize>,
    /// INSERT alone changes it.
    pub append_only: bool,
}

/// A sink.
#[derive(Clone)]
pub struct SinkDefinition {
    /// The relation whose changes it delivers; its own id if it has a query.
    pub follow: RelationId,
    /// Its own query, with [`Storage::Changes`].
    pub query: Option<ViewSpec>,
    /// Where to.
    pub sink: SinkSpec,
    /// Begin with the present content.
    pub snapshot: bool,
}

impl Relation {
    /// How its rows are read from the store; `None` for those that have none there.
    pub fn stored(&self) -> Option<StoredRelation> {
        match &self.definition {
            Definition::Table(table) => Some(table.spec.stored()),
            Definition::MaterializedView(view) => Some(view.stored()),
            _ => None,
        }
    }

    /// The graph that keeps it up to date, if one does.
    pub fn graph(&self) -> Option<&weir_engine::graph::Graph> {
        match &self.definition {
            Definition::MaterializedView(view) => Some(&view.graph),
            Definition::Sink(SinkDefinition { query: Some(view), .. }) => Some(&view.graph),
            _ => None,
        }
    }

    /// True if rows of it are never changed or deleted.
    pub fn append_only(&self) -> bool {
        match &self.definition {
            Definition::Source(source) => source.envelope == weir_engine::format::Envelope::Plain,
            Definition::Table(table) => table.append_only,
            Definition::MaterializedView(view) => view.graph.output().append_only,
            _ => false,
        }
    }
}

impl std::fmt::Debug for Relation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {} ({})", self.kind, self.name, self.id)
    }
}

/// All relations. Cloning copies a map of pointers.
#[derive(Clone, Default)]
pub struct Catalog {
    relations: BTreeMap<String, Arc<Relation>>,
    /// Relations that could not be restored, with the cause.
    broken: BTreeMap<String, String>,
}

impl Catalog {
    /// A catalog without relations.
    pub fn new() -> Catalog {
        Catalog::default()
    }

    /// The relation of a name.
    pub fn find(&self, name: &str) -> Option<&Arc<Relation>> {
        self.relations.get(name)
    }

    /// The relation of a name as written, or an error at its place that names similar ones.
    pub fn get(&self, name: &Name) -> Result<&Arc<Relation>> {
        self.find(&name.value)
            .ok_or_else(|| Error::at(self.missing(&name.value), name.place.0, name.place.1))
    }

    /// What is to be said of a name that no working relation has: why, or what is called like it.
    pub fn missing(&self, name: &str) -> String {
        if let Some(cause) = self.broken.get(name) {
            return format!("relation '{name}' could not be restored: {cause}");
        }
        let hint = self
            .similar(name)
            .map(|other| format!("; did you mean '{other}'?"))
            .unwrap_or_default();
        format!("relation '{name}' does not exist{hint}")
    }

    /// Notes that a relation could not be restored, so that errors can say why it is missing.
    pub fn note_broken(&mut self, name: &str, cause: &str) {
        self.broken.insert(name.to_string(), cause.to_string());
    }

    /// Forgets a relation that could not be restored.
    pub fn forget_broken(&mut self, name: &str) {
        self.broken.remove(name);
    }

    /// The relation of an id.
    pub fn by_id(&self, id: RelationId) -> Option<&Arc<Relation>> {
        self.relations.values().find(|relation| relation.id == id)
    }

    /// Adds a relation, or replaces the one of its name.
    pub fn insert(&mut self, relation: Relation) {
        self.relations.insert(relation.name.clone(), Arc::new(relation));
    }

    /// Removes a relation.
    pub fn remove(&mut self, name: &str) -> Option<Arc<Relation>> {
        self.relations.remove(name)
    }

    /// Relations by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Relation>> {
        self.relations.values()
    }

    /// Relations of one kind, by name.
    pub fn list(&self, kind: RelationKind) -> impl Iterator<Item = &Arc<Relation>> {
        self.relations
            .values()
            .filter(move |r| r.kind == kind && !matches!(r.definition, Definition::System))
    }

    /// Relations that read `id` directly.
    pub fn dependents(&self, id: RelationId) -> Vec<Arc<Relation>> {
        self.relations
            .values()
            .filter(|relation| relation.depends_on.contains(&id))
            .cloned()
            .collect()
    }

    /// `id` and everything that rests on it, those that rest on others first.
    pub fn with_dependents(&self, id: RelationId) -> Vec<Arc<Relation>> {
        let mut order: Vec<Arc<Relation>> = Vec::new();
        self.visit(id, &mut order);
        order
    }

    fn visit(&self, id: RelationId, order: &mut Vec<Arc<Relation>>) {
        if order.iter().any(|relation| relation.id == id) {
            return;
        }
        for dependent in self.dependents(id) {
            self.visit(dependent.id, order);
        }
        order.extend(self.by_id(id).cloned());
    }

    /// The name nearest to `name`, if one is near.
    pub fn similar(&self, name: &str) -> Option<&str> {
        nearest(name, self.relations.keys().map(String::as_str))
    }
}

/// A relation's durable form.
pub fn document(relation: &Relation) -> Value {
    let mut document = json!({
        "name": relation.name,
        "kind": relation.kind,
        "sql": relation.sql,
        "comment": relation.comment,
        "paused": relation.paused,
        "depends_on": relation.depends_on,
    });
    if let Definition::Source(source) = &relation.definition {
        document["start"] = json!(source.start);
        document["bound"] = json!(source.bound);
    }
    if let Some(graph) = relation.graph() {
        document["shape"] = json!(explain::shape(graph));
    }
    document
}

/// A relation from its durable form. Those that it reads (`depends_on`) must be in `catalog` already.
pub fn restore(document: &Value, id: RelationId, catalog: &Catalog) -> Result<Relation> {
    let text = |field: &str| document.get(field).and_then(Value::as_str);
    let sql = text("sql").ok_or_else(|| Error::new(format!("catalog entry {id} has no statement")))?;
    let mut relation = match parse::parse_one(sql)? {
        Statement::CreateSource(statement) => plan::source(&statement, id, catalog)?,
        Statement::CreateTable(statement) => plan::table(&statement, id, catalog)?,
        Statement::CreateView(statement) => plan::view(&statement, id, catalog)?,
        Statement::CreateMaterializedView(statement) => plan::materialized_view(&statement, id, catalog)?,
        Statement::CreateSink(statement) => plan::sink(&statement, id, catalog)?,
        _ => return Err(Error::new(format!("catalog entry {id} is no CREATE statement"))),
    };
    relation.sql = sql.to_string();
    relation.name = text("name").unwrap_or(&relation.name).to_string();
    relation.comment = text("comment").map(str::to_string);
    relation.paused = document.get("paused").and_then(Value::as_bool).unwrap_or(false);
    if let Definition::Source(source) = &mut relation.definition {
        let place = |error: serde_json::Error| Error::new(format!("catalog entry of '{}': {error}", source.name));
        if let Some(start) = document.get("start") {
            source.start = serde_json::from_value::<Start>(start.clone()).map_err(place)?;
        }
        if let Some(bound) = document.get("bound") {
            source.bound = serde_json::from_value::<Bound>(bound.clone())
                .map_err(|error| Error::new(format!("catalog entry of '{}': {error}", relation.name)))?;
        }
    }
    if let (Some(graph), Some(noted)) = (relation.graph(), text("shape")) {
        let shape = explain::shape(graph);
        if shape != noted {
            return Err(Error::new(format!(
                "'{}' is planned differently by this version, and its state can't be read under the new plan: it was\n\
                 {noted}\nand would be\n{shape}\ndrop it and create it anew, or start the version that made it",
                relation.name
            )));
        }
    }
    Ok(relation)
}
