//! A catalog and its relations' rows, in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, take_record_batch};
use datafusion::physical_plan::common::collect;
use datafusion::scalar::ScalarValue;
use weir_engine::change::{ChangeBatch, consolidate};
use weir_engine::pipeline::Batches;
use weir_engine::relation::RelationId;
use weir_engine::row::RowCodec;
use weir_sql::catalog::{Catalog, Relation};
use weir_sql::dml::{self, Dml};
use weir_sql::read::{self, ReadPlan, Rows};
use weir_sql::statement::Statement;
use weir_sql::{Error, Result, parse, plan};
use weir_suite::rows::{Row, of_batch};

/// Relations, their rows, and how these were read.
#[derive(Default)]
pub struct Database {
    catalog: Catalog,
    rows: Arc<Stored>,
}

#[derive(Default)]
struct Stored {
    rows: Mutex<BTreeMap<RelationId, RecordBatch>>,
    /// The columns of each scan, and `None` for each read by key.
    reads: Mutex<Vec<Option<Vec<usize>>>>,
}

impl Database {
    /// A database of these relations.
    pub fn of(statements: &[&str]) -> Database {
        let mut database = Database::default();
        for statement in statements {
            database.create(statement).expect("the relation can be created");
        }
        database
    }

    pub fn create(&mut self, sql: &str) -> Result<()> {
        let id = RelationId(self.catalog.iter().count() as u32 + 1);
        let relation = match parse::parse_one(sql)? {
            Statement::CreateTable(statement) => plan::table(&statement, id, &self.catalog)?,
            Statement::CreateView(statement) => plan::view(&statement, id, &self.catalog)?,
            Statement::CreateMaterializedView(statement) => plan::materialized_view(&statement, id, &self.catalog)?,
            Statement::CreateSource(statement) => plan::source(&statement, id, &self.catalog)?,
            other => panic!("{other:?} creates no relation"),
        };
        self.catalog.insert(relation);
        Ok(())
    }

    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Puts rows into a relation that nobody writes.
    pub fn put(&self, name: &str, columns: Vec<ArrayRef>) {
        let relation = self.catalog.find(name).expect("the relation is there");
        let rows = RecordBatch::try_new(relation.schema.clone(), columns).expect("the columns are the relation's");
        self.rows.rows.lock().unwrap().insert(relation.id, rows);
    }

    /// Plans a statement of DML.
    pub fn plan_change(&self, sql: &str) -> Result<Dml> {
        match parse::parse_one(sql)? {
            Statement::Dml(statement) => dml::plan(&statement, &self.catalog),
            other => panic!("{other:?} is no DML"),
        }
    }

    /// Makes a planned change; returns the number of rows concerned.
    pub fn apply(&self, change: &Dml) -> Result<u64> {
        let (changes, count) = run(change.changes(self.rows.clone()))?;
        let table = change.table();
        let mut all = self.rows.rows.lock().unwrap();
        let before = all.remove(&table.id).map(ChangeBatch::inserts);
        let before = before.unwrap_or_else(|| ChangeBatch::empty(table.schema.clone()));
        let after = consolidate(&[before, changes])?;
        let repeated = (0..after.num_rows()).flat_map(|row| {
            let weight = after.weight(row);
            assert!(weight > 0, "a row was taken away that wasn't there");
            std::iter::repeat_n(row as u32, weight as usize)
        });
        let rows =
            take_record_batch(after.rows(), &UInt32Array::from_iter_values(repeated)).expect("rows can be taken");
        all.insert(table.id, rows);
        Ok(count)
    }

    /// Runs a statement of DML; returns the number of rows concerned.
    pub fn change(&self, sql: &str) -> Result<u64> {
        self.apply(&self.plan_change(sql)?)
    }

    /// The error of a statement of DML, with the place.
    pub fn refused(&self, sql: &str) -> String {
        match self.change(sql) {
            Ok(count) => panic!("{sql} changed {count} rows"),
            Err(error) => error.render(sql),
        }
    }

    /// Plans a query.
    pub fn plan_query(&self, sql: &str) -> Result<ReadPlan> {
        match parse::parse_one(sql)? {
            Statement::Query(query) => read::plan(&query, &self.catalog),
            other => panic!("{other:?} is no query"),
        }
    }

    /// A planned query's rows.
    pub fn rows(&self, plan: &ReadPlan) -> Result<Vec<Row>> {
        let batches = run(async {
            let stream = plan.execute(self.rows.clone()).await?;
            assert_eq!(stream.schema(), plan.schema());
            collect(stream).await.map_err(read::error)
        })?;
        Ok(batches.iter().flat_map(of_batch).collect())
    }

    /// A query's rows, a line each with the columns parted by spaces.
    pub fn query(&self, sql: &str) -> Result<Vec<String>> {
        let rows = self.rows(&self.plan_query(sql)?)?;
        Ok(rows.iter().map(|row| row.join(" ")).collect())
    }

    /// A query's rows, whatever their order.
    pub fn sorted(&self, sql: &str) -> Vec<String> {
        let mut rows = self.query(sql).unwrap_or_else(|error| panic!("{}", error.render(sql)));
        rows.sort();
        rows
    }

    /// The error of a query, with the place.
    pub fn query_error(&self, sql: &str) -> String {
        match self.query(sql) {
            Ok(rows) => panic!("{sql} gave {rows:?}"),
            Err(error) => error.render(sql),
        }
    }

    /// How the relations were read since this was asked last.
    pub fn reads(&self) -> Vec<Option<Vec<usize>>> {
        std::mem::take(&mut self.rows.reads.lock().unwrap())
    }
}

/// Values for parameters.
pub fn values<const N: usize>(values: [ScalarValue; N]) -> Vec<ScalarValue> {
    values.to_vec()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime starts").block_on(future)
}

impl Rows for Stored {
    fn scan(&self, relation: &Arc<Relation>, columns: &[usize]) -> Result<Batches> {
        self.reads.lock().unwrap().push(Some(columns.to_vec()));
        let rows = self.rows.lock().unwrap().get(&relation.id).cloned();
        let rows = rows.unwrap_or_else(|| RecordBatch::new_empty(relation.schema.clone()));
        let projected = rows.project(columns).map_err(weir_engine::Error::from)?;
        let half = projected.num_rows() / 2;
        let parts = [
            projected.slice(0, half),
            projected.slice(half, projected.num_rows() - half),
        ];
        Ok(Box::new(parts.into_iter().map(Ok)))
    }

    fn get(&self, relation: &Arc<Relation>, keys: &[ArrayRef]) -> Result<Vec<RecordBatch>> {
        self.reads.lock().unwrap().push(None);
        let key = relation.key.as_ref().ok_or_else(|| Error::new("no key"))?;
        let Some(rows) = self.rows.lock().unwrap().get(&relation.id).cloned() else {
            return Ok(vec![]);
        };
        let types: Vec<_> = key
            .iter()
            .map(|column| relation.schema.field(*column).data_type().clone())
            .collect();
        let codec = RowCodec::for_types(&types)?;
        let of_rows: Vec<ArrayRef> = key.iter().map(|column| rows.column(*column).clone()).collect();
        let wanted = codec.encode(keys, keys[0].len())?;
        let present = codec.encode(&of_rows, rows.num_rows())?;
        let found: BooleanArray = present
            .iter()
            .map(|row| Some(wanted.iter().any(|key| key == row)))
            .collect();
        Ok(vec![
            filter_record_batch(&rows, &found).map_err(weir_engine::Error::from)?,
        ])
    }
}
