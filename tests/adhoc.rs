//! Queries that are read once, and INSERT, UPDATE and DELETE, over rows in memory: what `sql` does
//! without a server.

#[path = "adhoc/changes.rs"]
mod changes;
#[path = "adhoc/database.rs"]
mod database;
#[path = "adhoc/queries.rs"]
mod queries;
