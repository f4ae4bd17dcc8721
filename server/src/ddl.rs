//! Statements that change the catalog.
//!
//! One at a time holds the catalog. A change is durable in the journal before anything runs by it,
//! and taken back there if it can't be started; what others see changes last.

use weir_sql::statement::{Name, RelationKind, Statement};

use crate::answer::Answer;
use crate::error::ErrorKind;
use crate::instance::{Known, kind_word};
use crate::session::Context;
use crate::{Error, Result};

mod alter;
mod create;
mod drop;

/// Runs a statement.
pub fn run(context: &Context, statement: &Statement, sql: &str) -> Result<Answer> {
    let instance = context.instance.as_ref();
    match statement {
        Statement::CreateSource(_)
        | Statement::CreateTable(_)
        | Statement::CreateView(_)
        | Statement::CreateMaterializedView(_) => create::create(context, statement, sql),
        Statement::CreateSink(sink) => {
            create::wait_for_content(context, sink)?;
            create::create(context, statement, sql)
        }
        Statement::Drop {
            kind,
            name,
            if_exists,
            cascade,
        } => {
            let target = drop::Target {
                kind: *kind,
                name,
                if_exists: *if_exists,
                cascade: *cascade,
            };
            drop::drop(instance, &target, sql)
        }
        Statement::Pause(name) => alter::pause(instance, name, sql),
        Statement::Resume(name) => alter::resume(instance, name, sql),
        Statement::Rename { kind, name, to } => alter::rename(instance, *kind, name, to, sql),
        Statement::Comment { kind, name, text } => alter::comment(instance, *kind, name, text.clone(), sql),
        _ => Err(Error::internal("a statement that isn't run here")),
    }
}

/// The error for a name of a relation that could not be restored.
fn broken(known: &Known, name: &Name, sql: &str) -> Option<Error> {
    let broken = known.broken.get(&name.value)?;
    let message = format!(
        "'{}' could not be restored, so all that can be done with it is to DROP it: {}",
        broken.name, broken.cause
    );
    Some(Error::at(ErrorKind::Unavailable, message, name.place, sql))
}

/// The error for a relation that is of another kind than the statement says.
fn check_kind(found: RelationKind, wanted: RelationKind, name: &Name, sql: &str) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    let message = format!(
        "'{}' is a {found}, not a {}; write {} instead",
        name.value,
        kind_word(wanted),
        kind_word(found).to_uppercase(),
        found = kind_word(found),
    );
    Err(Error::at(ErrorKind::Invalid, message, name.place, sql))
}
