//! CREATE: planned, noted in the journal, started; or nothing of it.

use std::time::{Duration, Instant};

use weir_engine::relation::RelationId;
use weir_sql::catalog::{Catalog, Definition, Relation};
use weir_sql::statement::{CreateSink, Name, RelationKind, SinkInput, Statement};
use weir_sql::{dml, explain, plan};
use weir_state::WriteBatch;

use crate::answer::Answer;
use crate::error::ErrorKind;
use crate::instance::{Instance, Known, kind_word, sink_run};
use crate::session::Context;
use crate::{Error, Result, journal, read};

/// How long a CREATE waits for a view to catch up.
const PATIENCE: Duration = Duration::from_secs(30);

/// What all CREATE statements have.
struct Header<'a> {
    name: &'a Name,
    kind: RelationKind,
    if_not_exists: bool,
    or_replace: bool,
}

fn header(statement: &Statement) -> Option<Header<'_>> {
    let (name, kind, if_not_exists, or_replace) = match statement {
        Statement::CreateSource(s) => (&s.name, RelationKind::Source, s.if_not_exists, false),
        Statement::CreateTable(s) => (&s.name, RelationKind::Table, s.if_not_exists, false),
        Statement::CreateView(s) => (&s.name, RelationKind::View, s.if_not_exists, s.or_replace),
        Statement::CreateMaterializedView(s) => (&s.name, RelationKind::MaterializedView, s.if_not_exists, false),
        Statement::CreateSink(s) => (&s.name, RelationKind::Sink, s.if_not_exists, false),
        _ => return None,
    };
    Some(Header {
        name,
        kind,
        if_not_exists,
        or_replace,
    })
}

fn plan(statement: &Statement, id: RelationId, catalog: &Catalog) -> weir_sql::Result<Relation> {
    let relation = match statement {
        Statement::CreateSource(statement) => plan::source(statement, id, catalog),
        Statement::CreateTable(statement) => plan::table(statement, id, catalog).and_then(|table| {
            // Of a table that is there already, whoever inserts is told.
            dml::check_defaults(&table, catalog)?;
            Ok(table)
        }),
        Statement::CreateView(statement) => plan::view(statement, id, catalog),
        Statement::CreateMaterializedView(statement) => plan::materialized_view(statement, id, catalog),
        Statement::CreateSink(statement) => plan::sink(statement, id, catalog),
        _ => Err(weir_sql::Error::new("a CREATE statement was expected")),
    }?;
    plan::circles::refuse(&relation, catalog)?;
    Ok(relation)
}

/// Runs a CREATE statement.
pub fn create(context: &Context, statement: &Statement, sql: &str) -> Result<Answer> {
    let instance = &context.instance;
    let mut answer = planned_and_started(context, statement, sql)?;
    if let Statement::CreateSource(source) = statement
        && answer.notices.is_empty()
    {
        answer.notices.extend(out_of_reach(instance, &source.name));
    }
    Ok(answer)
}

/// What is said of a new source that can't be read at present. Others may change the catalog meanwhile.
fn out_of_reach(instance: &Instance, name: &Name) -> Option<String> {
    let known = instance.known();
    let Definition::Source(source) = &known.catalog.find(&name.value)?.definition else {
        return None;
    };
    let trouble = instance.engine().source_trouble(source)?;
    Some(format!(
        "source '{}' is created, and what reads it waits, for at present it can't be read: {trouble}",
        name.value
    ))
}

fn planned_and_started(context: &Context, statement: &Statement, sql: &str) -> Result<Answer> {
    let instance = &*context.instance;
    let Some(header) = header(statement) else {
        return Err(Error::internal("a CREATE statement was expected"));
    };
    let tag = format!("CREATE {}", kind_word(header.kind).to_uppercase());
    let place = |error: weir_sql::Error| Error::of_sql(&error, sql);
    if let Some((schema, _)) = header.name.value.split_once('.') {
        let message = format!("relations have no schema: leave out '{schema}.'");
        return Err(Error::at(ErrorKind::Invalid, message, header.name.place, sql));
    }
    let mut ids = instance.hold_catalog();
    let known = instance.known();
    if let Some(old) = taken(&known, &header, sql)? {
        return match old {
            Taken::Skip(notice) => Ok(Answer::done(tag).with_notices(vec![notice])),
            Taken::Replace(id) => {
                let relation = plan(statement, id, &known.catalog).map_err(place)?;
                replace_view(instance, &known, relation, header.name, sql)?;
                Ok(Answer::done(tag))
            }
        };
    }
    let mut batch = WriteBatch::new();
    let id = ids.allocate(&mut batch)?;
    let mut relation = plan(statement, id, &known.catalog).map_err(place)?;
    let notices = relation.graph().map(explain::notes).unwrap_or_default();
    if let Some(note) = notices.first()
        && context.state.settings.lock().strict_state
    {
        return Err(Error::invalid(format!("{note} (SET state = 'any' allows it)")));
    }
    let checked = match &mut relation.definition {
        Definition::Source(source) => instance.engine().fix_start(source),
        Definition::Sink(sink) => instance.engine().check_sink(&sink.sink),
        _ => Ok(()),
    };
    checked.map_err(|error| at_option(statement, error, sql))?;
    journal::put(&mut batch, &relation);
    instance.engine().store().commit(batch)?;
    if let Err(error) = start(instance, &relation) {
        take_back(instance, &relation)?;
        return Err(error);
    }
    instance.publish(|known| known.catalog.insert(relation));
    Ok(Answer::done(tag).with_notices(notices))
}

/// What the engine says of a source or sink, at the option that it is about.
fn at_option(statement: &Statement, error: weir_engine::Error, sql: &str) -> Error {
    let said = weir_sql::Error::new(error.to_string());
    let placed = match statement.option_places() {
        Some(places) => places.placed_or_at_connector(said),
        None => said,
    };
    Error::new(Error::from(error).kind, placed.render(sql))
}

/// A sink that leaves out the present content begins behind it, so that content must be there
/// first: it is waited for as before a SELECT, but not for ever.
pub fn wait_for_content(context: &Context, sink: &CreateSink) -> Result<()> {
    let SinkInput::From(name) = &sink.input else {
        return Ok(());
    };
    let known = context.instance.known();
    let view = known.catalog.find(&name.value);
    let Some(view) = view.filter(|_| sink.options.get("snapshot").is_some_and(|snapshot| snapshot == "false")) else {
        return Ok(());
    };
    let until = Instant::now() + PATIENCE;
    match read::until_ready(context, &[view.id], &|| Instant::now() >= until) {
        Err(error) if error.kind == ErrorKind::Cancelled => Err(Error::unavailable(format!(
            "view '{}' is still catching up, so snapshot = 'false' has nothing to begin behind yet; create the sink \
             when the view is RUNNING in weir.pipelines, or leave snapshot out",
            name.value
        ))),
        ready => ready.map(drop),
    }
}

/// What becomes of a CREATE whose name is taken.
enum Taken {
    Skip(String),
    Replace(RelationId),
}

fn taken(known: &Known, header: &Header<'_>, sql: &str) -> Result<Option<Taken>> {
    let name = &header.name.value;
    let found = known
        .catalog
        .find(name)
        .map(|relation| (relation.kind, Some(relation.id)))
        .or_else(|| known.broken.get(name).map(|broken| (broken.kind, None)));
    let Some((kind, id)) = found else {
        return Ok(None);
    };
    if header.if_not_exists && kind == header.kind {
        return Ok(Some(Taken::Skip(format!(
            "{} '{name}' exists already, and was left as it is",
            kind_word(kind)
        ))));
    }
    if let (true, Some(id)) = (header.or_replace && kind == RelationKind::View, id) {
        return Ok(Some(Taken::Replace(id)));
    }
    let hint = match kind {
        _ if header.or_replace => "only plain views can be replaced",
        RelationKind::View => "CREATE OR REPLACE VIEW replaces a view",
        _ => "choose another name, or DROP it first",
    };
    let message = format!("{} '{name}' exists already; {hint}", kind_word(kind));
    Err(Error::at(ErrorKind::Conflict, message, header.name.place, sql))
}

/// Starts what was created.
fn start(instance: &Instance, relation: &Relation) -> Result<()> {
    let engine = instance.engine();
    match &relation.definition {
        Definition::Source(source) => engine.add_source(source.clone()),
        Definition::Table(table) => engine.add_table(table.spec.clone()),
        Definition::MaterializedView(view) => engine.create_view(view.clone())?,
        Definition::Sink(sink) => {
            if let Some(run) = sink_run(relation) {
                engine.create_sink(run, sink.query.clone())?;
            }
        }
        Definition::View(_) | Definition::System => {}
    }
    Ok(())
}

/// Takes back what could not be started.
fn take_back(instance: &Instance, relation: &Relation) -> Result<()> {
    super::drop::stop(instance, relation.id, relation.kind)?;
    let mut batch = WriteBatch::new();
    journal::remove(&mut batch, relation.id);
    Ok(instance.engine().store().commit(batch)?)
}

/// Puts a new query under the name of a plain view. Views that read it are planned anew; what runs
/// by its old query would go on by that, so it stands in the way.
fn replace_view(instance: &Instance, known: &Known, relation: Relation, name: &Name, sql: &str) -> Result<()> {
    let id = relation.id;
    let mut above = known.catalog.with_dependents(id);
    above.retain(|other| other.id != id);
    let running: Vec<String> = above
        .iter()
        .filter(|other| other.kind != RelationKind::View)
        .map(|other| format!("{} '{}'", kind_word(other.kind), other.name))
        .collect();
    let refuse = |message: String| Error::at(ErrorKind::Conflict, message, name.place, sql);
    if !running.is_empty() {
        return Err(refuse(format!(
            "'{}' can't be replaced: {} run by its present query; drop these first",
            name.value,
            running.join(", ")
        )));
    }
    if relation.depends_on.contains(&id) || above.iter().any(|other| relation.depends_on.contains(&other.id)) {
        return Err(refuse(format!("'{}' would read itself", name.value)));
    }
    let mut catalog = known.catalog.clone();
    let mut batch = WriteBatch::new();
    let mut relation = relation;
    relation.comment = known.catalog.by_id(id).and_then(|old| old.comment.clone());
    journal::put(&mut batch, &relation);
    catalog.insert(relation);
    // Those that rest on others come first: the other way round each is planned over what is new.
    for other in above.iter().rev() {
        let replanned = replan(other, &catalog).map_err(|error| {
            refuse(format!(
                "'{}' can't be replaced: view '{}' would no longer work: {}",
                name.value, other.name, error.message
            ))
        })?;
        journal::put(&mut batch, &replanned);
        catalog.insert(replanned);
    }
    instance.engine().store().commit(batch)?;
    instance.publish(|known| known.catalog = catalog);
    Ok(())
}

fn replan(relation: &Relation, catalog: &Catalog) -> weir_sql::Result<Relation> {
    weir_sql::catalog::restore(&weir_sql::catalog::document(relation), relation.id, catalog)
}
