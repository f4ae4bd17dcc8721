//! Transactions by Flight SQL's own calls, as drivers make them where autocommit is off.
//!
//! A connection is a session, and a session has one transaction at a time: BEGIN and COMMIT as
//! statements are the same as these calls.
//!
//! A driver takes an id for the transaction's until a COMMIT or ROLLBACK of it succeeds. A COMMIT that
//! fails ends the transaction all the same. So the id stays good, for the next one: it begins with the
//! next statement, and a ROLLBACK before that has nothing to do.

use arrow_flight::sql::EndTransaction;
use bytes::Bytes;
use tonic::Status;
use uuid::Uuid;

use super::connection::Connection;
use super::metadata::status;

/// Begins one; its id.
pub async fn begin(connection: &Connection) -> Result<Bytes, Status> {
    connection.session.run("BEGIN").await.map_err(status)?;
    let id = Bytes::from(Uuid::new_v4().to_string());
    *connection.transaction.lock() = Some(id.clone());
    Ok(id)
}

/// Ends the one of this id.
pub async fn end(connection: &Connection, id: &Bytes, action: i32) -> Result<(), Status> {
    let statement = match EndTransaction::try_from(action) {
        Ok(EndTransaction::Commit) => "COMMIT",
        Ok(EndTransaction::Rollback) => "ROLLBACK",
        _ => return Err(Status::invalid_argument("a transaction ends by a commit or a rollback")),
    };
    known(connection, id)?;
    connection.session.run(statement).await.map_err(status)?;
    *connection.transaction.lock() = None;
    Ok(())
}

/// Has a statement be part of the transaction of this id, if it names one.
pub async fn join(connection: &Connection, id: &Option<Bytes>) -> Result<(), Status> {
    let Some(id) = id.as_ref().filter(|id| !id.is_empty()) else {
        return Ok(());
    };
    known(connection, id)?;
    go_on(connection).await
}

/// Has what runs now be part of the transaction that the client has begun by a call, if it has: of the
/// next one, where a COMMIT has failed. A prepared statement names none, and may outlive the one in which
/// it was prepared.
pub async fn go_on(connection: &Connection) -> Result<(), Status> {
    let begun = connection.transaction.lock().is_some();
    if begun && !connection.session.in_transaction().await.map_err(status)? {
        connection.session.run("BEGIN").await.map_err(status)?;
    }
    Ok(())
}

/// Refuses the id of a transaction that isn't the connection's.
fn known(connection: &Connection, id: &Bytes) -> Result<(), Status> {
    if connection.transaction.lock().as_ref() == Some(id) {
        return Ok(());
    }
    Err(Status::failed_precondition(
        "this transaction has ended, or is another connection's; begin one anew",
    ))
}
