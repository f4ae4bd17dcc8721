//! Sessions: one client's statements, its settings, and what it has written.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::common::ScalarValue;
use parking_lot::Mutex;
use weir_engine::relation::RelationId;
use weir_sql::opaque::Opaque;
use weir_sql::statement::Statement;
use weir_state::DmlCommit;

use crate::answer::{Answer, Prepared};
use crate::instance::Instance;
use crate::plan::{self, Plan};
use crate::settings::Settings;
use crate::transaction::{self, Transaction};
use crate::{Error, Result, ddl, push, read, show, stack, write};

/// One client's hold on an instance. Statements of one session may run at the same time.
pub struct Session {
    instance: Arc<Instance>,
    state: Arc<State>,
}

/// What a session remembers.
#[derive(Default)]
pub(crate) struct State {
    pub settings: Mutex<Settings>,
    /// The session's last commit to each table that it wrote.
    pub written: Mutex<BTreeMap<RelationId, DmlCommit>>,
    /// What a statement is waiting for.
    pub waiting: Mutex<Option<String>>,
    /// The transaction that is open. Held for as long as a change of it takes: only for threads that
    /// may block.
    pub transaction: Mutex<Option<Transaction>>,
}

/// A session as the threads of its statements have it.
#[derive(Clone)]
pub(crate) struct Context {
    pub instance: Arc<Instance>,
    pub state: Arc<State>,
}

impl Session {
    pub(crate) fn new(instance: Arc<Instance>) -> Arc<Session> {
        Arc::new(Session {
            instance,
            state: Arc::default(),
        })
    }

    /// The instance.
    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    /// Plans one statement; nothing has happened yet. Blocks for some milliseconds.
    ///
    /// # Errors
    /// If it makes no sense, with the line and a caret under the word.
    pub fn prepare(&self, sql: &str) -> Result<Prepared> {
        let known = self.instance.known();
        stack::wait_for(|| plan::prepare(sql, &known))
    }

    /// Runs a planned statement with the values of its parameters in order. Must be called inside
    /// a tokio runtime.
    ///
    /// # Errors
    /// What went wrong before the first row; the rest comes with the rows.
    pub async fn execute(&self, prepared: &Prepared, values: Vec<ScalarValue>) -> Result<Answer> {
        let wanted = prepared.parameters.len();
        if values.len() != wanted {
            return Err(Error::invalid(format!(
                "the statement has {wanted} parameters, and {} values were given",
                values.len()
            )));
        }
        let prepared = self.fresh(prepared).await?;
        let context = self.context();
        let sql = prepared.sql.clone();
        match prepared.plan {
            Plan::Read(plan) => {
                let plan = if wanted == 0 {
                    plan
                } else {
                    plan.bind(values).map_err(|error| Error::of_sql(&error, &sql))?
                };
                read::run(context, plan, sql).await
            }
            Plan::Dml(plan, verb) => write::run(context, plan, verb, values, sql).await,
            Plan::Push(plan) => {
                let here = context.clone();
                stack::call(move || transaction::refuse_within(&here, "a query that keeps running")).await?;
                push::run(context, plan).await
            }
            Plan::Table(statement) => {
                let schema = prepared.schema.clone();
                stack::call(move || show::run(&context, &statement, &sql, schema)).await
            }
            Plan::Command(statement) => self.command(statement, sql).await,
        }
    }

    /// Runs a planned INSERT … VALUES with many rows of parameters as one statement: all of its
    /// rows come or none. `None` for any other, which has to run once for each row.
    ///
    /// # Errors
    /// As [`Session::execute`].
    pub async fn execute_rows(&self, prepared: &Prepared, rows: Vec<Vec<ScalarValue>>) -> Result<Option<Answer>> {
        let prepared = self.fresh(prepared).await?;
        let Plan::Dml(plan, verb) = prepared.plan else {
            return Ok(None);
        };
        let sql = prepared.sql.clone();
        let bound = stack::call(move || plan.bind_rows(&rows).map_err(|error| Error::of_sql(&error, &sql))).await?;
        match bound {
            Some(plan) => write::run(self.context(), plan, verb, Vec::new(), prepared.sql)
                .await
                .map(Some),
            None => Ok(None),
        }
    }

    /// Plans and runs one statement.
    ///
    /// # Errors
    /// As [`Session::prepare`] and [`Session::execute`].
    pub async fn run(&self, sql: &str) -> Result<Answer> {
        let known = self.instance.known();
        let text = sql.to_string();
        let prepared = stack::call(move || plan::prepare(&text, &known)).await?;
        self.execute(&prepared, Vec::new()).await
    }

    /// What a statement of this session is waiting for at the moment, in words: `view 'v': 1200000
    /// records behind`.
    pub fn waiting(&self) -> Option<String> {
        self.state.waiting.lock().clone()
    }

    /// Whether a transaction is open. A change that it is making is waited for.
    ///
    /// # Errors
    /// If no thread can be had to wait on.
    pub async fn in_transaction(&self) -> Result<bool> {
        let state = self.state.clone();
        stack::call(move || Ok(state.transaction.lock().is_some())).await
    }

    /// The statement under the present catalog.
    async fn fresh(&self, prepared: &Prepared) -> Result<Prepared> {
        let known = self.instance.known();
        if prepared.version == known.version {
            return Ok(prepared.clone());
        }
        let sql = prepared.sql.clone();
        let fresh = stack::call(move || plan::prepare(&sql, &known)).await?;
        if fresh.schema != prepared.schema {
            return Err(Error::conflict(
                "the columns of this statement have changed since it was prepared; prepare it anew",
            ));
        }
        Ok(fresh)
    }

    async fn command(&self, statement: Opaque<Statement>, sql: Arc<str>) -> Result<Answer> {
        let context = self.context();
        match &*statement {
            Statement::Set { name, value } => {
                self.state.settings.lock().set(name, value)?;
                Ok(Answer::done("SET"))
            }
            Statement::Begin => stack::call(move || transaction::begin(&context)).await,
            Statement::Commit => stack::call(move || transaction::commit(&context)).await,
            Statement::Rollback => stack::call(move || Ok(transaction::rollback(&context))).await,
            Statement::Flush => read::flush(context).await,
            _ => {
                stack::call(move || {
                    transaction::refuse_within(&context, "a statement that changes the catalog or what runs")?;
                    let answer = ddl::run(&context, &statement, &sql)?;
                    Ok(answer.with_notices(transaction::is_beside(&context)))
                })
                .await
            }
        }
    }

    fn context(&self) -> Context {
        Context {
            instance: self.instance.clone(),
            state: self.state.clone(),
        }
    }
}
