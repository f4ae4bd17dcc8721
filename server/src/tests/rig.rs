//! An instance in memory, a session of it, and answers as text.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::StreamExt;
use tokio::runtime::Runtime;
use weir_state::{MemoryStore, Store};

use crate::{Answer, Body, EngineOptions, Error, Instance, InstanceOptions, PushKind, RowStream, Session};

/// An instance in memory with one session.
pub struct Rig {
    runtime: Arc<Runtime>,
    store: Arc<dyn Store>,
    pub instance: Arc<Instance>,
    pub session: Arc<Session>,
}

/// A push that runs.
pub struct Push {
    runtime: Arc<Runtime>,
    rows: RowStream,
    pub kind: PushKind,
    waiting: Vec<String>,
}

/// How the engine runs, unless a test needs it otherwise.
fn usual() -> EngineOptions {
    EngineOptions {
        checkpoint_interval: Duration::from_millis(20),
        changelog_limit: 512 << 10,
        ..EngineOptions::default()
    }
}

impl Rig {
    pub fn new() -> Rig {
        Rig::on(Arc::new(MemoryStore::new()), |_| {})
    }

    /// Over a store, with other options of the engine.
    pub fn on(store: Arc<dyn Store>, change: impl FnOnce(&mut EngineOptions)) -> Rig {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let mut engine = usual();
        change(&mut engine);
        Rig::over(Arc::new(runtime), store, engine)
    }

    fn over(runtime: Arc<Runtime>, store: Arc<dyn Store>, engine: EngineOptions) -> Rig {
        let durable = weir_state::Instance::on(store.clone()).unwrap();
        let options = InstanceOptions {
            engine,
            ..InstanceOptions::default()
        };
        let instance = Instance::on(durable, options).unwrap();
        let session = instance.session();
        Rig {
            runtime,
            store,
            instance,
            session,
        }
    }

    /// Shuts down, and starts again on the same store.
    pub fn restart(self) -> Rig {
        self.restart_over(|_| {})
    }

    /// The same, with something done to the store in between.
    pub fn restart_over(self, between: impl FnOnce(&dyn Store)) -> Rig {
        self.instance.shutdown();
        let (runtime, store) = (self.runtime.clone(), self.store.clone());
        drop(self);
        between(store.as_ref());
        Rig::over(runtime, store, usual())
    }

    /// Stops as in a crash, and starts again on the same store.
    pub fn crash(self) -> Rig {
        self.instance.crash();
        let (runtime, store) = (self.runtime.clone(), self.store.clone());
        drop(self);
        Rig::over(runtime, store, usual())
    }

    /// Runs a statement in another session.
    pub fn elsewhere(&self, sql: &str) -> Answer {
        let session = self.instance.session();
        self.runtime.block_on(session.run(sql)).unwrap()
    }

    pub fn try_run(&self, sql: &str) -> Result<Answer, Error> {
        self.runtime.block_on(self.session.run(sql))
    }

    /// What a future comes to.
    pub fn wait_for<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub fn run(&self, sql: &str) -> Answer {
        self.try_run(sql)
            .unwrap_or_else(|error| panic!("{sql}\n{}", error.message))
    }

    /// Runs a statement that answers a word, or a number of rows.
    pub fn done(&self, sql: &str) -> String {
        match self.run(sql).body {
            Body::Done(tag) | Body::Changed { tag, .. } => tag,
            other => panic!("{sql} answered {other:?}"),
        }
    }

    /// Runs statements, each ending with a semicolon at the end of a line.
    pub fn all(&self, statements: &str) {
        for sql in statements.split(";\n").map(str::trim).filter(|sql| !sql.is_empty()) {
            self.done(sql);
        }
    }

    /// The error of a statement, be it at once or in its rows.
    pub fn error(&self, sql: &str) -> Error {
        let outcome = self.try_run(sql).and_then(|answer| match answer.body {
            Body::Rows(rows) => self.runtime.block_on(rows.collect()).map(|_| ()),
            _ => Ok(()),
        });
        outcome.expect_err(sql)
    }

    /// Notices of a statement.
    pub fn notices(&self, sql: &str) -> Vec<String> {
        self.run(sql).notices
    }

    /// Rows of a query as text, in the order in which they come: `1|a|NULL`.
    pub fn rows(&self, sql: &str) -> Vec<String> {
        let Body::Rows(rows) = self.run(sql).body else {
            panic!("{sql} answers no rows");
        };
        let schema = rows.schema.clone();
        let batches = self.runtime.block_on(rows.collect());
        let batches = batches.unwrap_or_else(|error| panic!("{sql}\n{}", error.message));
        for batch in &batches {
            assert_eq!(batch.schema().fields(), schema.fields(), "{sql}");
        }
        batches.iter().flat_map(lines).collect()
    }

    /// The rows, sorted.
    pub fn sorted(&self, sql: &str) -> Vec<String> {
        let mut rows = self.rows(sql);
        rows.sort();
        rows
    }

    /// Asks until the answer is as expected. What ends in another way than it should hangs here
    /// only for so long.
    pub fn until(&self, sql: &str, expected: &[&str]) {
        let mut rows = Vec::new();
        for _ in 0..1000 {
            rows = self.sorted(sql);
            if rows == expected {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(rows, expected, "{sql}");
    }

    /// Starts a push.
    pub fn push(&self, sql: &str) -> Push {
        match self.run(sql).body {
            Body::Push(rows, kind) => Push {
                runtime: self.runtime.clone(),
                rows,
                kind,
                waiting: Vec::new(),
            },
            other => panic!("{sql} answered {other:?}"),
        }
    }

    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.instance.shutdown();
    }
}

impl Push {
    /// The next `count` rows.
    pub fn next(&mut self, count: usize) -> Vec<String> {
        while self.waiting.len() < count {
            let batch = self
                .batch()
                .unwrap_or_else(|| panic!("it ended with {:?}", self.waiting));
            let batch = batch.unwrap_or_else(|error| panic!("{}", error.message));
            self.waiting.extend(lines(&batch));
        }
        self.waiting.drain(..count).collect()
    }

    /// The next batch; none where the push has ended.
    pub fn batch(&mut self) -> Option<Result<RecordBatch, Error>> {
        let rows = &mut self.rows;
        let next = async { tokio::time::timeout(Duration::from_secs(60), rows.stream.next()).await };
        self.runtime.block_on(next).expect("nothing came for a minute")
    }

    /// The rest, up to the end.
    pub fn rest(&mut self) -> Vec<String> {
        while let Some(batch) = self.batch() {
            self.waiting.extend(lines(&batch.unwrap()));
        }
        std::mem::take(&mut self.waiting)
    }

    pub fn columns(&self) -> Vec<String> {
        let fields = self.rows.schema.fields();
        fields.iter().map(|field| field.name().clone()).collect()
    }
}

/// Each row of a batch as text.
pub fn lines(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<ArrayFormatter<'_>> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
        .collect();
    (0..batch.num_rows())
        .map(|row| {
            let cells: Vec<String> = columns.iter().map(|column| column.value(row).to_string()).collect();
            cells.join("|")
        })
        .collect()
}
