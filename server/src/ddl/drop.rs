//! DROP: what others read stays, unless they go with it.

use std::collections::BTreeSet;

use weir_engine::relation::RelationId;
use weir_sql::statement::{Name, RelationKind};
use weir_state::WriteBatch;

use super::check_kind;
use crate::answer::Answer;
use crate::error::ErrorKind;
use crate::instance::{Instance, Known, kind_word};
use crate::{Error, Result, journal};

/// What is to go.
pub struct Target<'a> {
    pub kind: RelationKind,
    pub name: &'a Name,
    pub if_exists: bool,
    pub cascade: bool,
}

/// A relation, working or not, that goes.
#[derive(Debug, Clone)]
struct Victim {
    id: RelationId,
    name: String,
    kind: RelationKind,
}

/// Runs DROP.
pub fn drop(instance: &Instance, target: &Target<'_>, sql: &str) -> Result<Answer> {
    let tag = format!("DROP {}", kind_word(target.kind).to_uppercase());
    let _held = instance.hold_catalog();
    let known = instance.known();
    let name = target.name;
    let Some(first) = find(&known, &name.value) else {
        if target.if_exists {
            let notice = format!("'{}' does not exist, so there was nothing to drop", name.value);
            return Ok(Answer::done(tag).with_notices(vec![notice]));
        }
        let Err(error) = known.catalog.get(name) else {
            return Err(Error::at(
                ErrorKind::Invalid,
                format!("'{}' is a system relation and can't be dropped", name.value),
                name.place,
                sql,
            ));
        };
        return Err(Error::new(ErrorKind::NotFound, error.render(sql)));
    };
    check_kind(first.kind, target.kind, name, sql)?;
    let victims = with_dependents(&known, first);
    if victims.len() > 1 && !target.cascade {
        let above = &victims[..victims.len() - 1];
        let message = format!(
            "'{}' is read by {}; drop these first, or write CASCADE to drop them with it",
            name.value,
            named(above)
        );
        return Err(Error::at(ErrorKind::Conflict, message, name.place, sql));
    }
    remove(instance, &victims)?;
    let mut answer = Answer::done(tag);
    if let [above @ .., _] = &victims[..]
        && !above.is_empty()
    {
        answer.notices.push(format!("dropped with it: {}", named(above)));
    }
    Ok(answer)
}

fn named(victims: &[Victim]) -> String {
    let names: Vec<String> = victims
        .iter()
        .rev()
        .map(|victim| format!("{} '{}'", kind_word(victim.kind), victim.name))
        .collect();
    names.join(", ")
}

fn find(known: &Known, name: &str) -> Option<Victim> {
    all(known).find(|victim| victim.name == name)
}

fn all(known: &Known) -> impl Iterator<Item = Victim> + '_ {
    let working = known.catalog.iter().map(|relation| Victim {
        id: relation.id,
        name: relation.name.clone(),
        kind: relation.kind,
    });
    let broken = known.broken.values().map(|broken| Victim {
        id: broken.id,
        name: broken.name.clone(),
        kind: broken.kind,
    });
    working
        .filter(|victim| !crate::system::is_system(victim.id))
        .chain(broken)
}

/// A relation and all that rests on it, those that rest on others first.
fn with_dependents(known: &Known, first: Victim) -> Vec<Victim> {
    let mut order = Vec::new();
    visit(known, first, &mut BTreeSet::new(), &mut order);
    order
}

fn visit(known: &Known, victim: Victim, seen: &mut BTreeSet<RelationId>, order: &mut Vec<Victim>) {
    if !seen.insert(victim.id) {
        return;
    }
    let reads = |id: RelationId| -> bool {
        let working = known.catalog.by_id(id).map(|relation| &relation.depends_on);
        let broken = || {
            known
                .broken
                .values()
                .find(|broken| broken.id == id)
                .map(|broken| &broken.reads)
        };
        working.or_else(broken).is_some_and(|reads| reads.contains(&victim.id))
    };
    for dependent in all(known).filter(|other| reads(other.id)) {
        visit(known, dependent, seen, order);
    }
    order.push(victim);
}

/// Removes relations from the catalog, then stops them. A crash between the two leaves data that
/// the next start deletes.
fn remove(instance: &Instance, victims: &[Victim]) -> Result<()> {
    let mut batch = WriteBatch::new();
    for victim in victims {
        journal::remove(&mut batch, victim.id);
    }
    instance.engine().store().commit(batch)?;
    instance.publish(|known| {
        for victim in victims {
            known.catalog.remove(&victim.name);
            if known.broken.remove(&victim.name).is_some() {
                known.catalog.forget_broken(&victim.name);
            }
        }
    });
    let outcomes = victims.iter().map(|victim| {
        stop(instance, victim.id, victim.kind).map_err(|error| {
            let message = format!(
                "'{}' was dropped, but what it ran by could not be stopped: {}",
                victim.name, error.message
            );
            Error::new(error.kind, message)
        })
    });
    // One that doesn't stop keeps no other from it.
    let outcomes: Vec<Result<()>> = outcomes.collect();
    outcomes.into_iter().collect()
}

/// Stops a relation in the engine and deletes what it stored.
pub fn stop(instance: &Instance, id: RelationId, kind: RelationKind) -> Result<()> {
    let engine = instance.engine();
    match kind {
        RelationKind::Source => engine.drop_relation(id)?,
        RelationKind::Table => {
            // A statement that writes to it is over before, or finds it gone.
            let held = engine.begin_write();
            engine.drop_relation(id)?;
            std::mem::drop(held);
        }
        RelationKind::MaterializedView => engine.drop_view(id)?,
        RelationKind::Sink => {
            engine.drop_sink(id)?;
            engine.drop_view(id)?;
        }
        RelationKind::View => {}
    }
    Ok(())
}
