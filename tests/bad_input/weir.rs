//! An instance in this process and one session, for tests that wait for answers.

use std::sync::Arc;

use tokio::runtime::Runtime;
use weir_server::{Body, Instance, InstanceOptions, Session};
use weir_state::Store;
use weir_suite::{rows, server};

/// An instance and a session.
pub struct Weir {
    runtime: Runtime,
    instance: Arc<Instance>,
    session: Arc<Session>,
}

impl Weir {
    pub fn in_memory() -> Weir {
        Weir::on(Arc::new(weir_state::MemoryStore::new()))
    }

    pub fn on(store: Arc<dyn Store>) -> Weir {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let durable = weir_state::Instance::on(store).expect("a store");
        let instance = Instance::on(durable, InstanceOptions::default()).expect("an instance");
        Weir {
            runtime: runtime.expect("a runtime"),
            session: instance.session(),
            instance,
        }
    }

    /// The answer's rows, as lines of commas; empty for commands.
    fn answer(&self, sql: &str) -> Result<String, weir_server::Error> {
        self.runtime.block_on(async {
            match self.session.run(sql).await?.body {
                Body::Rows(rows) => {
                    let batches = rows.collect().await?;
                    let rows = batches.iter().flat_map(rows::of_batch);
                    Ok(rows.map(|row| row.join(",")).collect::<Vec<_>>().join("\n"))
                }
                _ => Ok(String::new()),
            }
        })
    }

    pub fn run(&self, sql: &str) {
        self.csv(sql);
    }

    pub fn csv(&self, sql: &str) -> String {
        self.answer(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Why a statement is refused.
    pub fn refused(&self, sql: &str) -> String {
        match self.answer(sql) {
            Err(error) => error.message,
            Ok(rows) => panic!("{sql} was not refused: {rows}"),
        }
    }

    /// Waits until a query gives this.
    pub fn comes_to(&self, sql: &str, expected: &str) {
        server::until(sql, || self.csv(sql) == expected);
    }

    /// What `weir.pipelines` says of a view's trouble.
    pub fn detail(&self, view: &str) -> String {
        let detail = self.csv(&format!("SELECT detail FROM weir.pipelines WHERE name = '{view}'"));
        if detail == "NULL" { String::new() } else { detail }
    }

    pub fn close(self) {
        self.instance.shutdown();
    }
}
