//! Nexmark's queries as a user would run them: three sources, a sink or a view, until the events end.
//!
//! The benchmark measures this, and the test compares its answers with those of batch queries over
//! the same events. A checksum is the sum of each row's hash times its weight, so it is the same for
//! equal results in any order, and a row that is taken back leaves no trace.

use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::StreamExt;
use weir_engine::connector::blackhole;
use weir_engine::pipeline::{PipelineRow, ViewState};
use weir_engine::row::RowCodec;
use weir_engine::shard::hash_rows;
use weir_server::{Body, Instance, Session};

use crate::process;

/// The queries there are.
pub const QUERIES: [&str; 23] = [
    "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "q8", "q9", "q10", "q11", "q12", "q13", "q14", "q15", "q16", "q17",
    "q18", "q19", "q20", "q21", "q22",
];

const SCHEMA: &str = include_str!("../../benches/nexmark/schema.sql");
/// How often a run is looked at.
const GLANCE: Duration = Duration::from_millis(5);

/// A query's SQL.
///
/// # Panics
/// If there is none of this name.
pub fn sql(query: &str) -> &'static str {
    match query {
        "q0" => include_str!("../../benches/nexmark/q0.sql"),
        "q1" => include_str!("../../benches/nexmark/q1.sql"),
        "q2" => include_str!("../../benches/nexmark/q2.sql"),
        "q3" => include_str!("../../benches/nexmark/q3.sql"),
        "q4" => include_str!("../../benches/nexmark/q4.sql"),
        "q5" => include_str!("../../benches/nexmark/q5.sql"),
        "q6" => include_str!("../../benches/nexmark/q6.sql"),
        "q7" => include_str!("../../benches/nexmark/q7.sql"),
        "q8" => include_str!("../../benches/nexmark/q8.sql"),
        "q9" => include_str!("../../benches/nexmark/q9.sql"),
        "q10" => include_str!("../../benches/nexmark/q10.sql"),
        "q11" => include_str!("../../benches/nexmark/q11.sql"),
        "q12" => include_str!("../../benches/nexmark/q12.sql"),
        "q13" => include_str!("../../benches/nexmark/q13.sql"),
        "q14" => include_str!("../../benches/nexmark/q14.sql"),
        "q15" => include_str!("../../benches/nexmark/q15.sql"),
        "q16" => include_str!("../../benches/nexmark/q16.sql"),
        "q17" => include_str!("../../benches/nexmark/q17.sql"),
        "q18" => include_str!("../../benches/nexmark/q18.sql"),
        "q19" => include_str!("../../benches/nexmark/q19.sql"),
        "q20" => include_str!("../../benches/nexmark/q20.sql"),
        "q21" => include_str!("../../benches/nexmark/q21.sql"),
        "q22" => include_str!("../../benches/nexmark/q22.sql"),
        other => panic!("there is no query '{other}'; there are {}", QUERIES.join(", ")),
    }
}

/// The query as one over the present content of its sources.
pub fn batch_sql(query: &str) -> &'static str {
    sql(query)
        .trim_end()
        .trim_end_matches(';')
        .trim_end_matches("EMIT ON WINDOW CLOSE")
}

/// The same, where the clock stands at `time`, a TIMESTAMP.
pub fn batch_sql_at(query: &str, time: &str) -> String {
    batch_sql(query).replace("now()", &format!("TIMESTAMP '{time}'"))
}

/// Which events a run reads.
#[derive(Debug, Clone, Copy)]
pub struct Events {
    /// How many of all kinds together.
    pub count: u64,
    /// Events a second of event time; none: so that they span 10 s.
    pub rate: Option<u64>,
    /// Splits of each source.
    pub splits: usize,
}

/// Where the answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Changes to a sink that counts them.
    Blackhole,
    /// Rows of a materialized view.
    View,
}

/// What became of a query.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// From the statement to the commit of the last event, seconds.
    pub seconds: f64,
    /// CPU time of the whole process up to that commit, seconds.
    pub cpu_seconds: f64,
    /// Rows inserted and deleted that the sink got, or rows of the view.
    pub rows_out: u64,
    /// Commits.
    pub epochs: u64,
    /// The most that operators held in memory, bytes.
    pub state_bytes: u64,
    /// The sum of the rows' hashes, where asked for.
    pub checksum: Option<u64>,
}

/// Creates the three sources, and the one that values are looked up in.
pub async fn create_sources(session: &Session, events: Events) {
    let mut options = format!("events = '{}', splits = '{}'", events.count, events.splits);
    if let Some(rate) = events.rate {
        options.push_str(&format!(", rate = '{rate}'"));
    }
    for statement in SCHEMA.replace("${options}", &options).split_inclusive(';') {
        if statement.contains("CREATE") {
            run(session, statement).await;
        }
    }
}

/// Runs a query over the sources to the last event. `name` is that of the sink or view that is made.
pub async fn run_query(
    instance: &Instance,
    session: &Session,
    query: &str,
    name: &str,
    output: Output,
    check: bool,
) -> Outcome {
    blackhole::reset(name);
    let create = match output {
        Output::Blackhole => format!(
            "CREATE SINK {name} AS {} WITH (connector = 'blackhole', checksum = '{check}')",
            sql(query)
        ),
        Output::View => format!("CREATE MATERIALIZED VIEW {name} AS {}", sql(query)),
    };
    let begin = Instant::now();
    run(session, &create).await;
    let (row, state_bytes) = end_of(instance, name).await;
    let (seconds, cpu_seconds) = (begin.elapsed().as_secs_f64(), process::cpu_seconds());
    let (rows_out, checksum) = match output {
        Output::Blackhole => {
            let stats = blackhole::stats(name).expect("the sink was opened");
            (stats.inserts + stats.deletes, stats.checksum)
        }
        Output::View => {
            let rows = rows(session, &format!("SELECT * FROM {name}")).await;
            (rows.iter().map(|batch| batch.num_rows() as u64).sum(), checksum(&rows))
        }
    };
    Outcome {
        seconds,
        cpu_seconds,
        rows_out,
        epochs: row.epoch.0,
        state_bytes,
        checksum: check.then_some(checksum),
    }
}

/// Waits until all events of a view's or sink's pipeline are committed; gives what it then says,
/// and the most that its operators held in memory.
///
/// # Panics
/// If it fails, or doesn't move for two minutes.
pub async fn end_of(instance: &Instance, name: &str) -> (PipelineRow, u64) {
    let engine = instance.engine();
    let (mut state_bytes, mut epoch, mut moved) = (0, 0, Instant::now());
    loop {
        let row = engine.pipelines().into_iter().find(|row| row.name == name);
        state_bytes = state_bytes.max(engine.operators().iter().map(|row| row.state_bytes).sum());
        if let Some(row) = row {
            if let ViewState::Failed { cause, .. } = &row.state {
                panic!("'{name}' failed: {cause}");
            }
            if row.ended {
                return (row, state_bytes);
            }
            if row.epoch.0 != epoch {
                (epoch, moved) = (row.epoch.0, Instant::now());
            }
        }
        assert!(moved.elapsed() < Duration::from_secs(120), "'{name}' doesn't move");
        tokio::time::sleep(GLANCE).await;
    }
}

/// Runs a statement that gives no rows.
///
/// # Panics
/// With the statement and what is wrong with it.
pub async fn run(session: &Session, statement: &str) {
    if let Err(error) = session.run(statement).await {
        panic!("{}\n{statement}", error.message);
    }
}

/// All rows of a query.
///
/// # Panics
/// With the query and what is wrong with it.
pub async fn rows(session: &Session, query: &str) -> Vec<RecordBatch> {
    let answer = match session.run(query).await {
        Ok(answer) => answer,
        Err(error) => panic!("{}\n{query}", error.message),
    };
    let Body::Rows(mut rows) = answer.body else {
        panic!("no rows from\n{query}");
    };
    let mut batches = Vec::new();
    while let Some(batch) = rows.stream.next().await {
        match batch {
            Ok(batch) => batches.push(batch),
            Err(error) => panic!("{}\n{query}", error.message),
        }
    }
    batches
}

/// The checksum of rows that are each there once.
///
/// # Panics
/// If a column is of a type that no state can hold.
pub fn checksum(rows: &[RecordBatch]) -> u64 {
    let mut sum = 0u64;
    for batch in rows {
        let schema: SchemaRef = batch.schema();
        let codec = RowCodec::for_schema(&schema).expect("columns of a query");
        let rows = codec
            .encode(batch.columns(), batch.num_rows())
            .expect("rows of a query");
        sum = hash_rows(&rows).into_iter().fold(sum, u64::wrapping_add);
    }
    sum
}
