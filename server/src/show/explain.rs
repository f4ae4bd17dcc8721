//! EXPLAIN and EXPLAIN ANALYZE.

use std::collections::BTreeMap;

use weir_engine::pipeline::OperatorRow;
use weir_sql::catalog::Definition;
use weir_sql::explain;
use weir_sql::plan;
use weir_sql::statement::{Name, Query};

use crate::cells::{Cell, Kind};
use crate::error::ErrorKind;
use crate::instance::{Known, kind_word};
use crate::session::Context;
use crate::{Error, Result, system};

pub const COLUMNS: &[(&str, Kind)] = &[("plan", Kind::Text)];

fn lines(text: &str) -> Vec<Vec<Cell>> {
    text.lines().map(|line| vec![line.into()]).collect()
}

/// How a query would be kept up to date.
pub fn query(known: &Known, query: &Query, sql: &str) -> Result<Vec<Vec<Cell>>> {
    let graph = plan::continuous(query, &known.catalog).map_err(|error| Error::of_sql(&error, sql))?;
    Ok(lines(&explain::explain(&graph)))
}

/// The plan of a running view or sink with its live numbers.
pub fn live(context: &Context, known: &Known, name: &Name, sql: &str) -> Result<Vec<Vec<Cell>>> {
    let relation = known
        .catalog
        .get(name)
        .map_err(|error| Error::new(ErrorKind::NotFound, error.render(sql)))?;
    let refuse = |message: String| Error::at(ErrorKind::Invalid, message, name.place, sql);
    let Some(graph) = relation.graph() else {
        return Err(match &relation.definition {
            Definition::Sink(sink) => refuse(format!(
                "sink '{}' has no query of its own; write EXPLAIN ANALYZE {}",
                name.value,
                known.name_of(sink.follow).unwrap_or_default()
            )),
            _ => refuse(format!(
                "'{}' is a {}: only materialized views and sinks with a query run by a plan",
                name.value,
                kind_word(relation.kind)
            )),
        });
    };
    let engine = context.instance.engine();
    let standing = system::standing(&context.instance, known, relation);
    let mut text = format!("{} '{}' {}", kind_word(relation.kind), relation.name, standing.state);
    if let Some(detail) = standing.detail {
        text.push_str(&format!(" ({detail})"));
    }
    if let Some(row) = engine.pipelines().into_iter().find(|row| row.view == relation.id) {
        text.push_str(&format!(" · epoch {}", row.epoch));
        if let Cell::Time(us) = Cell::watermark(row.watermark_us) {
            text.push_str(&format!(" · watermark {}", moment(us)));
        }
        if let Some(names) = system::waits_for(&row, known) {
            text.push_str(&format!(" · its event time waits for {names}"));
        }
    }
    text.push_str(&format!(" · {} bytes stored\n", engine.stored_bytes(relation.id)));
    let operators: BTreeMap<u32, OperatorRow> = engine
        .operators()
        .into_iter()
        .filter(|row| row.view == relation.id)
        .map(|row| (row.node, row))
        .collect();
    text.push_str(&explain::annotated(graph, &|node| operators.get(&node).map(numbers)));
    Ok(lines(&text))
}

/// One node's numbers.
fn numbers(row: &OperatorRow) -> String {
    let mut facts = vec![
        format!("rows in {} out {}", row.rows_in, row.rows_out),
        format!("busy {:.1} ms", row.busy_us as f64 / 1e3),
    ];
    if row.state_entries > 0 || row.state_bytes > 0 {
        facts.push(format!(
            "state {} entries, {} bytes",
            row.state_entries, row.state_bytes
        ));
    }
    let counted = [
        ("skipped", row.skipped),
        ("late applied", row.late_applied),
        ("late dropped", row.late_dropped),
        ("without event time", row.without_event_time),
    ];
    facts.extend(
        counted
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(what, count)| format!("{what} {count}")),
    );
    facts.join(" · ")
}

fn moment(us: i64) -> String {
    arrow::temporal_conversions::timestamp_us_to_datetime(us).map_or_else(
        || format!("{us} µs"),
        |time| time.format("%Y-%m-%d %H:%M:%S%.6f").to_string(),
    )
}
