//! What a statement is before it runs, and what it answers.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, SchemaRef};
use futures::stream::{BoxStream, StreamExt};
use parking_lot::Mutex;
use weir_sql::secrets;

use crate::plan::Plan;
use crate::{Error, Result};

/// Key of the schema metadata that says which push a stream of rows is: [`PushKind::word`].
pub const PUSH_METADATA: &str = "weir.push";
/// Key of the schema metadata that says in which order the rows of a push are meant to be read: a
/// JSON list of `[column, descending, nulls first]`. There is none where the query has none.
pub const ORDER_METADATA: &str = "weir.order";
/// The column behind the rows of an updating push or a subscription: how often each row is added,
/// or taken back where it is negative.
pub const WEIGHT_COLUMN: &str = "weir_weight";
/// The column behind the rows of a subscription: the epoch that changed them.
pub const EPOCH_COLUMN: &str = "weir_epoch";

/// A planned statement. Cheap to clone; may be executed any number of times.
#[derive(Clone)]
pub struct Prepared {
    pub(crate) sql: Arc<str>,
    pub(crate) kind: PreparedKind,
    pub(crate) schema: Option<SchemaRef>,
    pub(crate) parameters: Arc<[Field]>,
    pub(crate) plan: Plan,
    /// The catalog's version that it was planned under.
    pub(crate) version: u64,
}

/// What a statement will answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreparedKind {
    /// A word: [`Body::Done`].
    Command,
    /// A number of rows: [`Body::Changed`].
    Update,
    /// Rows that end: [`Body::Rows`]. SHOW, DESCRIBE and EXPLAIN are these, too.
    Query,
    /// Rows as they change: [`Body::Push`].
    Push,
}

impl Prepared {
    /// What it will answer.
    pub fn kind(&self) -> PreparedKind {
        self.kind
    }

    /// Columns of the rows that it will answer, for queries and pushes.
    pub fn schema(&self) -> Option<SchemaRef> {
        self.schema.clone()
    }

    /// Its parameters `$1`, `$2`, … in order.
    pub fn parameters(&self) -> &[Field] {
        &self.parameters
    }

    /// The statement as written.
    pub fn sql(&self) -> &str {
        &self.sql
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.kind, secrets::hidden(&self.sql))
    }
}

/// What a statement answered.
#[derive(Debug)]
pub struct Answer {
    /// What the user should know besides.
    pub notices: Vec<String>,
    /// The answer itself.
    pub body: Body,
}

impl Answer {
    pub(crate) fn done(tag: impl Into<String>) -> Answer {
        Answer {
            notices: Vec::new(),
            body: Body::Done(tag.into()),
        }
    }

    pub(crate) fn rows(rows: RowStream) -> Answer {
        Answer {
            notices: Vec::new(),
            body: Body::Rows(rows),
        }
    }

    pub(crate) fn with_notices(mut self, notices: Vec<String>) -> Answer {
        self.notices.extend(notices);
        self
    }
}

/// The answer itself.
#[derive(Debug)]
pub enum Body {
    /// A command was carried out: `CREATE SOURCE`.
    Done(String),
    /// Rows were changed: `INSERT 3`.
    Changed {
        /// How many.
        rows: u64,
        /// In words.
        tag: String,
    },
    /// Rows that end.
    Rows(RowStream),
    /// Rows as they change. The stream ends when its inputs have ended or LIMIT was reached;
    /// dropping it ends the query.
    Push(RowStream, PushKind),
}

/// Which columns stand behind the rows of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushKind {
    /// None: rows are only added.
    Append,
    /// [`WEIGHT_COLUMN`].
    Updating,
    /// [`EPOCH_COLUMN`], then [`WEIGHT_COLUMN`]. With `progress`, an epoch that changed nothing is
    /// a row of NULLs with its epoch and weight 0.
    Subscription,
}

impl PushKind {
    /// Its word in schema metadata under [`PUSH_METADATA`].
    pub fn word(&self) -> &'static str {
        match self {
            PushKind::Append => "append",
            PushKind::Updating => "updating",
            PushKind::Subscription => "subscription",
        }
    }

    /// The kind of a word.
    pub fn of_word(word: &str) -> Option<PushKind> {
        [PushKind::Append, PushKind::Updating, PushKind::Subscription]
            .into_iter()
            .find(|kind| kind.word() == word)
    }
}

/// Rows as they come. Dropping it stops the work for the rest.
pub struct RowStream {
    /// Columns of every batch.
    pub schema: SchemaRef,
    /// The batches.
    pub stream: BoxStream<'static, Result<RecordBatch>>,
    /// What is to be said when all of them were taken.
    pub late: LateNotices,
}

/// What the user should know of rows besides, as far as it is known only when they were read.
#[derive(Debug, Clone, Default)]
pub struct LateNotices(Arc<Mutex<Vec<String>>>);

impl LateNotices {
    pub(crate) fn add(&self, notices: Vec<String>) {
        self.0.lock().extend(notices);
    }

    /// What there is to say; nothing more the next time.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock())
    }
}

impl RowStream {
    /// Rows that are there already.
    pub fn of(batch: RecordBatch) -> RowStream {
        RowStream {
            schema: batch.schema(),
            stream: futures::stream::iter([Ok(batch)]).boxed(),
            late: LateNotices::default(),
        }
    }

    /// Waits for all rows.
    ///
    /// # Errors
    /// The stream's first.
    pub async fn collect(mut self) -> Result<Vec<RecordBatch>, Error> {
        let mut batches = Vec::new();
        while let Some(batch) = self.stream.next().await {
            batches.push(batch?);
        }
        Ok(batches)
    }
}

impl fmt::Debug for RowStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rows of {}", self.schema)
    }
}
