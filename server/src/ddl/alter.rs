//! PAUSE, RESUME, ALTER … RENAME and COMMENT ON.

use std::sync::Arc;

use weir_engine::pipeline::ViewState;
use weir_engine::relation::RelationId;
use weir_sql::catalog::{Definition, Relation};
use weir_sql::parse;
use weir_sql::statement::{Name, RelationKind, Statement};
use weir_state::WriteBatch;

use super::{broken, check_kind};
use crate::answer::Answer;
use crate::error::ErrorKind;
use crate::instance::{Instance, Known, kind_word};
use crate::{Error, Result, journal, system};

/// PAUSE: noted first, so that a restart finds it paused.
pub fn pause(instance: &Instance, name: &Name, sql: &str) -> Result<Answer> {
    let _held = instance.hold_catalog();
    let known = instance.known();
    let relation = runs(&known, name, sql, "paused")?;
    let answer = Answer::done("PAUSE");
    if relation.paused {
        let notice = format!("'{}' is paused already", name.value);
        return Ok(answer.with_notices(vec![notice]));
    }
    change(instance, &relation, |relation| relation.paused = true)?;
    instance.engine().pause(relation.id)?;
    let above: Vec<String> = known
        .catalog
        .dependents(relation.id)
        .iter()
        .map(|other| format!("'{}'", other.name))
        .collect();
    if above.is_empty() {
        return Ok(answer);
    }
    let notice = format!("what reads '{}' waits meanwhile: {}", name.value, above.join(", "));
    Ok(answer.with_notices(vec![notice]))
}

/// RESUME, of a paused relation or one that has failed, and of one that waits to try something again.
pub fn resume(instance: &Instance, name: &Name, sql: &str) -> Result<Answer> {
    let _held = instance.hold_catalog();
    let known = instance.known();
    let relation = runs(&known, name, sql, "resumed")?;
    let answer = Answer::done("RESUME");
    let engine = instance.engine();
    let runs = match engine.view_state(relation.id) {
        None | Some(ViewState::Running) => Some("runs"),
        // A failed view that is tried again by itself is one of these meanwhile.
        Some(ViewState::Attaching { .. }) => Some("has started again, and catches up"),
        Some(_) => None,
    };
    if let (false, Some(runs)) = (relation.paused, runs) {
        let standing = system::standing(instance, &known, &relation);
        let detail = standing.detail.unwrap_or_default();
        let notice = match (standing.state, detail.as_str()) {
            ("WAITING", _) => {
                engine.resume(relation.id)?;
                format!(
                    "'{}' is not paused: what it waits for is tried again now ({detail})",
                    name.value
                )
            }
            (_, "") => format!("'{}' is not paused: it {runs}", name.value),
            _ => format!("'{}' is not paused: it {runs} ({detail})", name.value),
        };
        return Ok(answer.with_notices(vec![notice]));
    }
    change(instance, &relation, |relation| relation.paused = false)?;
    engine.resume(relation.id)?;
    Ok(answer)
}

/// The relation of a name, if it is one that runs.
fn runs(known: &Known, name: &Name, sql: &str, verb: &str) -> Result<Arc<Relation>> {
    let relation = existing(known, name, sql)?;
    match relation.kind {
        RelationKind::MaterializedView | RelationKind::Sink => Ok(relation),
        kind => {
            let message = format!(
                "'{}' is a {}: only materialized views and sinks run, and can be {verb}",
                name.value,
                kind_word(kind)
            );
            Err(Error::at(ErrorKind::Invalid, message, name.place, sql))
        }
    }
}

fn existing(known: &Known, name: &Name, sql: &str) -> Result<Arc<Relation>> {
    if let Some(error) = broken(known, name, sql) {
        return Err(error);
    }
    let relation = known
        .catalog
        .get(name)
        .map_err(|error| Error::new(ErrorKind::NotFound, error.render(sql)))?;
    if matches!(relation.definition, Definition::System) {
        let message = format!("'{}' is a system relation and stays as it is", name.value);
        return Err(Error::at(ErrorKind::Invalid, message, name.place, sql));
    }
    Ok(relation.clone())
}

/// Changes what is noted of a relation, durably and then for everyone.
fn change(instance: &Instance, old: &Relation, edit: impl FnOnce(&mut Relation)) -> Result<()> {
    let mut relation = old.clone();
    edit(&mut relation);
    let mut batch = WriteBatch::new();
    journal::put(&mut batch, &relation);
    instance.engine().store().commit(batch)?;
    instance.publish(|known| {
        known.catalog.remove(&old.name);
        known.catalog.insert(relation);
    });
    Ok(())
}

/// COMMENT ON.
pub fn comment(
    instance: &Instance,
    kind: RelationKind,
    name: &Name,
    text: Option<String>,
    sql: &str,
) -> Result<Answer> {
    let _held = instance.hold_catalog();
    let relation = existing(&instance.known(), name, sql)?;
    check_kind(relation.kind, kind, name, sql)?;
    change(instance, &relation, |relation| relation.comment = text)?;
    Ok(Answer::done("COMMENT"))
}

/// ALTER … RENAME TO. Others name what they read in their own statements, so a relation that is
/// read keeps its name.
pub fn rename(instance: &Instance, kind: RelationKind, name: &Name, to: &Name, sql: &str) -> Result<Answer> {
    let tag = format!("ALTER {}", kind_word(kind).to_uppercase());
    let _held = instance.hold_catalog();
    let known = instance.known();
    let relation = existing(&known, name, sql)?;
    check_kind(relation.kind, kind, name, sql)?;
    if let Some((schema, _)) = to.value.split_once('.') {
        let message = format!("relations have no schema: leave out '{schema}.'");
        return Err(Error::at(ErrorKind::Invalid, message, to.place, sql));
    }
    if known.catalog.find(&to.value).is_some() || known.broken.contains_key(&to.value) {
        let message = format!("'{}' exists already; choose another name", to.value);
        return Err(Error::at(ErrorKind::Conflict, message, to.place, sql));
    }
    let readers: Vec<String> = known
        .catalog
        .dependents(relation.id)
        .iter()
        .map(|other| format!("{} '{}'", kind_word(other.kind), other.name))
        .chain(
            known
                .broken
                .values()
                .filter(|broken| broken.reads.contains(&relation.id))
                .map(|broken| format!("{} '{}'", kind_word(broken.kind), broken.name)),
        )
        .collect();
    if !readers.is_empty() {
        let message = format!(
            "'{}' can't be renamed: it is named in the statements of {}; drop these first",
            name.value,
            readers.join(", ")
        );
        return Err(Error::at(ErrorKind::Conflict, message, name.place, sql));
    }
    let statement = renamed(&relation.sql, &to.value)?;
    change(instance, &relation, |relation| {
        relation.name = to.value.clone();
        relation.sql = statement;
        set_inner_name(relation);
    })?;
    tell_engine(instance, relation.id, &to.value)?;
    Ok(Answer::done(tag))
}

/// A CREATE statement with another name in the place of its own.
fn renamed(sql: &str, to: &str) -> Result<String> {
    let statement = parse::parse_one(sql).map_err(|error| Error::of_sql(&error, sql))?;
    let Some(name) = created(&statement) else {
        return Err(Error::internal("the catalog holds a statement that isn't CREATE"));
    };
    let (line, column) = name.place;
    let line_start: usize = sql.split_inclusive('\n').take(line as usize - 1).map(str::len).sum();
    let rest = &sql[line_start..];
    let start = line_start
        + rest
            .chars()
            .take(column as usize - 1)
            .map(char::len_utf8)
            .sum::<usize>();
    let end = start + name_length(&sql[start..]);
    let with = |name: &str| format!("{}{name}{}", &sql[..start], &sql[end..]);
    let plain = with(to);
    // In quotes where it would read as something else without.
    let reads = parse::parse_one(&plain).is_ok_and(|read| created(&read).is_some_and(|name| name.value == to));
    Ok(if reads {
        plain
    } else {
        with(&format!("\"{}\"", to.replace('"', "\"\"")))
    })
}

/// The name that a CREATE statement gives.
fn created(statement: &Statement) -> Option<&Name> {
    match statement {
        Statement::CreateSource(s) => Some(&s.name),
        Statement::CreateTable(s) => Some(&s.name),
        Statement::CreateView(s) | Statement::CreateMaterializedView(s) => Some(&s.name),
        Statement::CreateSink(s) => Some(&s.name),
        _ => None,
    }
}

/// Bytes of the name that `text` begins with.
fn name_length(text: &str) -> usize {
    if let Some(quoted) = text.strip_prefix('"') {
        let mut chars = quoted.char_indices().peekable();
        while let Some((at, char)) = chars.next() {
            if char == '"' {
                match chars.peek() {
                    Some((_, '"')) => {
                        chars.next();
                    }
                    _ => return at + 2,
                }
            }
        }
        return text.len();
    }
    text.find(|char: char| !(char.is_alphanumeric() || char == '_' || char == '$'))
        .unwrap_or(text.len())
}

fn set_inner_name(relation: &mut Relation) {
    let name = relation.name.clone();
    match &mut relation.definition {
        Definition::Source(source) => source.name = name,
        Definition::Table(table) => table.spec.name = name,
        Definition::MaterializedView(view) => view.name = name,
        Definition::Sink(sink) => sink.sink.name = name,
        Definition::View(_) | Definition::System => {}
    }
}

/// What the engine says of a relation, in errors or of what it waits for, names it.
fn tell_engine(instance: &Instance, id: RelationId, name: &str) -> Result<()> {
    let known = instance.known();
    match known.catalog.find(name).map(|relation| &relation.definition) {
        Some(Definition::Source(source)) => instance.engine().add_source(source.clone()),
        Some(Definition::Table(table)) => instance.engine().add_table(table.spec.clone()),
        _ => instance.engine().rename(id, name)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_takes_another_name() {
        let cases = [
            ("CREATE TABLE t (a INT)", "CREATE TABLE u (a INT)"),
            ("create view\n  \"T x\" AS SELECT 1", "create view\n  u AS SELECT 1"),
            (
                "CREATE TABLE IF NOT EXISTS t(t INT)",
                "CREATE TABLE IF NOT EXISTS u(t INT)",
            ),
            ("CREATE TABLE \"a\"\"b\" (t INT)", "CREATE TABLE u (t INT)"),
        ];
        for (before, after) in cases {
            assert_eq!(renamed(before, "u").unwrap(), after);
        }
        for name in ["A b", "select", "T"] {
            let text = format!("CREATE TABLE \"{name}\" (a INT)");
            assert_eq!(renamed("CREATE TABLE t (a INT)", name).unwrap(), text);
        }
    }
}
