//! The rows of relations for one statement, from one snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::DataType;
use parking_lot::Mutex;
use weir_engine::pipeline::{Batches, PassedOver, Snapshot};
use weir_engine::relation::{RelationId, StoredRelation};
use weir_sql::catalog::{Definition, Relation};
use weir_sql::read::{Memory, Rows, column_as};
use weir_state::DmlCommit;

use crate::session::Context;
use crate::{Result, system};

/// Relations as one statement sees them.
pub struct SnapshotRows {
    context: Context,
    snapshot: Snapshot,
    /// Tables are shown as of this commit.
    tables_at: DmlCommit,
    /// What was passed over of sources, a count for each time that one is read.
    passed_over: Mutex<Vec<(String, Arc<Mutex<PassedOver>>)>>,
    /// Whether who asked has gone.
    gone: Option<Box<dyn Fn() -> bool + Send + Sync>>,
}

impl SnapshotRows {
    /// For a query that reads `reads`: tables are shown as of the commit at which the epoch of the
    /// views ends that rest on them, so that both agree. Views of several pipelines end at
    /// different commits; then it is the earliest of them.
    pub fn consistent(context: &Context, reads: &[RelationId]) -> Result<SnapshotRows> {
        let engine = context.instance.engine();
        let snapshot = engine.snapshot()?;
        let known = context.instance.known();
        let mut tables_at = snapshot.dml();
        for view in reads {
            let tables = known.tables_below(*view);
            if !tables.contains(view)
                && reads.iter().any(|read| tables.contains(read))
                && let Some(record) = snapshot.pipeline_of(*view)?
            {
                tables_at = tables_at.min(engine.dml_in(*view, &record));
            }
        }
        Ok(SnapshotRows {
            context: context.clone(),
            snapshot,
            tables_at,
            passed_over: Mutex::default(),
            gone: None,
        })
    }

    /// For a statement that holds the tables, or is in a transaction: they are shown as they are.
    pub fn present(context: &Context, snapshot: Snapshot) -> SnapshotRows {
        SnapshotRows {
            context: context.clone(),
            tables_at: snapshot.dml(),
            snapshot,
            passed_over: Mutex::default(),
            gone: None,
        }
    }

    /// The same, for a query that is of no use any more when `gone` says so.
    pub fn unless(self, gone: impl Fn() -> bool + Send + Sync + 'static) -> SnapshotRows {
        SnapshotRows {
            gone: Some(Box::new(gone)),
            ..self
        }
    }

    /// What is to be said once they were read: bad records that were passed over.
    pub fn notices(&self) -> Vec<String> {
        let mut notices = BTreeMap::new();
        for (source, passed_over) in self.passed_over.lock().iter() {
            let passed_over = passed_over.lock();
            if let Some(first) = &passed_over.first {
                let records = match passed_over.count {
                    1 => "1 bad record".to_string(),
                    count => format!("{count} bad records"),
                };
                // A source that is read twice passes over the same records again.
                notices.entry(source.clone()).or_insert(format!(
                    "source '{source}': {records} passed over (on_error = 'skip'), the first at {}:{}@{}: {}",
                    first.topic, first.partition, first.offset, first.cause
                ));
            }
        }
        notices.into_values().collect()
    }

    fn scan_source(&self, source: &Relation, columns: &[usize]) -> weir_sql::Result<Batches> {
        let passed_over = Arc::default();
        self.passed_over
            .lock()
            .push((source.name.clone(), Arc::clone(&passed_over)));
        let engine = self.context.instance.engine();
        Ok(engine.read_source(source.id, columns, passed_over)?)
    }
}

impl Rows for SnapshotRows {
    fn scan(&self, relation: &Arc<Relation>, columns: &[usize]) -> weir_sql::Result<Batches> {
        let batches = match &relation.definition {
            Definition::Source(_) => self.scan_source(relation, columns)?,
            Definition::Table(table) => self
                .snapshot
                .scan_table_at(&table.spec.stored(), columns, self.tables_at)?,
            Definition::MaterializedView(view) => self.snapshot.scan(&view.stored(), columns)?,
            Definition::System => {
                let rows = system::rows(&self.context, &self.snapshot, relation)?;
                let rows = rows.project(columns).map_err(weir_engine::Error::from)?;
                Box::new(std::iter::once(Ok(rows)))
            }
            Definition::View(_) | Definition::Sink(_) => return Err(unreadable(relation)),
        };
        Ok(batches)
    }

    fn memory(&self) -> Option<Memory> {
        Some(self.context.instance.memory())
    }

    fn are_wanted(&self) -> bool {
        !self.gone.as_ref().is_some_and(|gone| gone())
    }

    fn at(&self, at_us: i64) -> weir_sql::Result<Arc<dyn Rows>> {
        Ok(Arc::new(PastRows {
            snapshot: self.snapshot.clone(),
            at_us,
            now_us: self.context.instance.engine().now_us(),
        }))
    }

    fn get(&self, relation: &Arc<Relation>, keys: &[ArrayRef]) -> weir_sql::Result<Vec<RecordBatch>> {
        let rows = match &relation.definition {
            Definition::Table(table) => self.snapshot.get_table_at(&table.spec.stored(), keys, self.tables_at)?,
            Definition::MaterializedView(view) => self.snapshot.get(&view.stored(), keys)?,
            _ => return Err(unreadable(relation)),
        };
        Ok(rows)
    }
}

/// Views as they were at a moment.
struct PastRows {
    snapshot: Snapshot,
    at_us: i64,
    now_us: i64,
}

impl PastRows {
    /// The view's rows in the store, if the moment is one of its history.
    fn stored(&self, relation: &Relation) -> weir_sql::Result<StoredRelation> {
        let Definition::MaterializedView(view) = &relation.definition else {
            return Err(unreadable(relation));
        };
        let begins_us = self.snapshot.history_begins(relation.id)?;
        check_moment(relation, self.at_us, begins_us, self.now_us)?;
        Ok(view.stored())
    }
}

impl Rows for PastRows {
    fn scan(&self, relation: &Arc<Relation>, columns: &[usize]) -> weir_sql::Result<Batches> {
        Ok(self
            .snapshot
            .scan_view_at(&self.stored(relation)?, columns, self.at_us)?)
    }

    fn get(&self, relation: &Arc<Relation>, keys: &[ArrayRef]) -> weir_sql::Result<Vec<RecordBatch>> {
        Ok(self.snapshot.get_view_at(&self.stored(relation)?, keys, self.at_us)?)
    }
}

/// A view's past is known from some time on, and never ahead.
fn check_moment(relation: &Relation, at_us: i64, begins_us: Option<i64>, now_us: i64) -> weir_sql::Result<()> {
    let shown = |us: i64| {
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![us]));
        match column_as(&times, &DataType::Utf8) {
            Some(Ok(text)) => text.as_string::<i32>().value(0).to_string(),
            _ => us.to_string(),
        }
    };
    let name = &relation.name;
    let why = match begins_us {
        None => format!("the history of '{name}' has yet to begin: it begins with the view's first answer"),
        Some(begins_us) if at_us < begins_us => format!(
            "the history of '{name}' begins at {}, after {}",
            shown(begins_us),
            shown(at_us)
        ),
        Some(_) if at_us > now_us => format!("what '{name}' will be at {} isn't known yet", shown(at_us)),
        Some(_) => return Ok(()),
    };
    Err(weir_sql::Error::new(why))
}

fn unreadable(relation: &Relation) -> weir_sql::Error {
    weir_sql::Error::new(format!("'{}' has no rows of its own", relation.name))
}
