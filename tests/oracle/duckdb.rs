//! A sample of cases on DuckDB, which shares nothing with Weir: neither parser nor planner nor
//! aggregates, so that what both of Weir's readings get wrong together is found.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use weir_suite::rig::{Rig, Settings};
use weir_suite::rows::Row;
use weir_suite::script::{self, Script};

use super::aggregates;
use super::case::{Case, Step};
use super::render::{render, sql_type};

/// Whether DuckDB knows all that a case uses: it has no TUMBLE and its like, no MATCH_CONDITION, breaks ties as it happens, and
/// has other names, types or answers for some aggregates.
pub fn knows(case: &Case) -> bool {
    let is_ours = |step: &Step| match step {
        Step::Window { .. } | Step::AsOf { .. } | Step::Drawn { .. } => true,
        Step::Over { is_total, calls, .. } => !is_total || calls.iter().any(|call| call.nulls),
        Step::Group { calls, .. } => calls.iter().any(|call| !aggregates::duckdb_knows(call)),
        _ => false,
    };
    !case.views.iter().any(|view| view.steps.iter().any(is_ours))
}

/// Runs a case and writes down its relations and views with their rows.
pub fn record(case: &Case) -> Result<Value, String> {
    let rendered = render(case);
    let script = Script::parse(Path::new("case"), &rendered.script)?;
    let (mut rig, _) = script::run_on(&script, &Settings::default()).map_err(|failure| failure.to_string())?;
    let mut relations = Vec::new();
    for (name, kinds) in &rendered.relations {
        let types: Vec<&str> = kinds.iter().map(|kind| sql_type(*kind)).collect();
        relations.push(json!({ "name": name, "types": types, "rows": rows(&mut rig, name)? }));
    }
    let mut views = Vec::new();
    for (name, sql) in &rendered.views {
        views.push(json!({ "name": name, "sql": sql, "rows": rows(&mut rig, name)? }));
    }
    Ok(json!({ "relations": relations, "views": views }))
}

fn rows(rig: &mut Rig, name: &str) -> Result<Value, String> {
    let rows = rig
        .rows(&format!("SELECT * FROM {name}"))
        .map_err(|trouble| trouble.to_string())?;
    let cell = |cell: &String| match cell.as_str() {
        "NULL" => Value::Null,
        "(empty)" => json!(""),
        text => json!(text),
    };
    let row = |row: &Row| row.iter().map(cell).collect::<Vec<_>>();
    Ok(json!(rows.iter().map(row).collect::<Vec<_>>()))
}

/// Has Python ask DuckDB the same; says what differs.
pub fn compare(python: &str, cases: &[Value]) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let path = folder.path().join("cases.json");
    fs::write(&path, json!(cases).to_string()).map_err(|error| error.to_string())?;
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/duckdb_answers.py");
    let output = Command::new(python)
        .arg(&program)
        .arg(&path)
        .output()
        .map_err(|error| format!("{python}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let (said, wrong) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    Err(format!("{said}{wrong}"))
}
