//! A sample of cases on DuckDB, which shares nothing with Weir: neither parser nor planner nor
//! aggregates, so that what both of Weir's readings get wrong together is found.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use weir_suite::rows::Row;
use weir_suite::script::Script;
use weir_suite::stepped::{self, Desk};

use super::aggregates;
use super::case::{Case, Kind, Origin, Sessions, Step};
use super::render::{Speech, render, render_in};
use super::values::sql_type;

/// Whether DuckDB knows all that a case uses: it breaks ties as it happens, has other types or answers for some
/// aggregates, no clock that stands still and no windows that close. It also spells many types and casts otherwise.
pub fn knows(case: &Case) -> bool {
    let is_ours = |step: &Step| match step {
        Step::Now { .. } | Step::Drawn { .. } => true,
        Step::First { by, number, .. } => by / 4 == 1 && !number,
        Step::Over { is_total, .. } => !is_total,
        Step::Group { calls, .. } | Step::Sessions(Sessions { calls, .. }) => {
            calls.iter().any(|call| !aggregates::duckdb_knows(call))
        }
        _ => false,
    };
    const KINDS: [Kind; 8] = [
        Kind::Int,
        Kind::Small,
        Kind::Text,
        Kind::Decimal,
        Kind::Float,
        Kind::Bool,
        Kind::Date,
        Kind::Time,
    ];
    const OURS: [&str; 15] = [
        "named_struct",
        "string_to_array",
        "BIGINT[]",
        "+ INTERVAL '1 day'",
        "json",
        "AT TIME ZONE",
        "minutes' *",
        "BYTEA",
        "REAL",
        "TIMESTAMPTZ",
        "AS TIME)",
        " - TIMESTAMP",
        "NaN",
        "Infinity",
        "'-0'",
    ];
    let is_kind_ours = |kind: &Kind| !KINDS.contains(kind);
    if case.relations.iter().any(|relation| relation.origin == Origin::Upsert) {
        return false;
    }
    let text = render(case).script;
    if OURS.iter().any(|word| text.contains(word)) {
        return false;
    }
    !case
        .relations
        .iter()
        .any(|relation| relation.kinds.iter().any(is_kind_ours))
        && !case
            .views
            .iter()
            .any(|view| view.closing.is_some() || view.steps.iter().any(is_ours))
}

/// Runs a case and writes down its relations and views with their rows.
pub fn record(case: &Case) -> Result<Value, String> {
    let rendered = render(case);
    let script = Script::parse(Path::new("case"), &rendered.script)?;
    let desk = stepped::run(&script, &case.run.pace())?;
    let mut relations = Vec::new();
    for (name, kinds) in &rendered.relations {
        let types: Vec<&str> = kinds.iter().map(|kind| sql_type(*kind)).collect();
        relations.push(json!({ "name": name, "types": types, "rows": rows(&desk, name)? }));
    }
    let mut views = Vec::new();
    let theirs = render_in(case, Speech::DuckDb);
    for (name, sql) in &theirs.views {
        views.push(json!({ "name": name, "sql": sql, "rows": rows(&desk, name)? }));
    }
    Ok(json!({ "relations": relations, "views": views }))
}

fn rows(desk: &Desk, name: &str) -> Result<Value, String> {
    let rows = desk.rows(name)?;
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
