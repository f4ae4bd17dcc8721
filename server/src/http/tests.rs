//! The page of metrics is read back by a small reader of the format; health is asked as a probe would.

use std::collections::{BTreeMap, BTreeSet};

use weir_engine::pipeline::{LagRow, OperatorRow, PipelineRow, SinkStatus, ViewState};
use weir_engine::relation::RelationId;
use weir_state::{Epoch, PipelineId};

use super::observation::{Observation, SinkRow, ViewRow};
use super::{healthy, metrics};
use crate::system::Standing;

fn standing(state: &'static str, detail: Option<&str>) -> Standing {
    Standing {
        state,
        detail: detail.map(str::to_string),
        retry_in_ms: (state == "FAILED").then_some(800),
    }
}

fn view(id: u32, name: &str, standing: Standing) -> ViewRow {
    let row = PipelineRow {
        pipeline: Some(PipelineId(1)),
        view: RelationId(id),
        name: name.into(),
        state: ViewState::Running,
        epoch: Epoch(7),
        ended: false,
        watermark_us: Some(1_700_000_000_500_000),
        waits_for: Vec::new(),
        last_progress_us: 1_700_000_001_000_000,
        trouble: None,
    };
    ViewRow { row, standing }
}

fn split(split: &str, end: Option<i64>) -> LagRow {
    LagRow {
        pipeline: PipelineId(1),
        source: RelationId(1),
        name: "bids \"hot\"\\\n".into(),
        split: split.into(),
        position: 90,
        end,
        watermark_us: None,
        unit: "records",
        lag_seconds: Some(1.25),
        rows: 180,
        waits: false,
        idle: false,
        skipped: 3,
    }
}

fn observation() -> Observation {
    Observation {
        views: vec![
            view(2, "hot", standing("RUNNING", None)),
            view(3, "cold", standing("FAILED", Some("a bad \"record\""))),
            view(4, "far", standing("WAITING", Some("source 'far': no answer"))),
        ],
        pushes: 1,
        lag: vec![split("bids:0", Some(100)), split("bids:1", None)],
        operators: vec![OperatorRow {
            view: RelationId(2),
            name: "hot".into(),
            node: 1,
            operator: "aggregate",
            rows_in: u64::from(u32::MAX) + 1,
            rows_out: 9,
            skipped: 4,
            late_applied: 1,
            late_dropped: 2,
            without_event_time: 3,
            state_bytes: 4096,
            state_entries: 5,
            busy_us: 1_500_000,
        }],
        sinks: vec![
            SinkRow {
                name: "out".into(),
                standing: standing("RUNNING", None),
                status: Some(SinkStatus {
                    delivered: Epoch(6),
                    rows: 12,
                    trouble: None,
                }),
            },
            SinkRow {
                name: "stopped".into(),
                standing: standing("PAUSED", None),
                status: None,
            },
        ],
        broken: vec![("old".into(), "its plan has changed".into())],
        stored: vec![("hot".into(), 1 << 40)],
        connections: 2,
    }
}

/// Samples by name and labels as they stand, after checking each line against the format.
fn read(page: &str) -> BTreeMap<String, f64> {
    let mut kinds: BTreeMap<&str, &str> = BTreeMap::new();
    let mut helped: BTreeSet<&str> = BTreeSet::new();
    let mut samples = BTreeMap::new();
    let mut family = "";
    assert!(page.ends_with('\n'), "the last line must end");
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect(line);
            assert!(helped.insert(name) && !help.is_empty(), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect(line);
            assert!(helped.contains(name) && ["gauge", "counter"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(kinds.insert(name, kind).is_none(), "{line}");
            family = name;
        } else {
            let (series, value) = line.rsplit_once(' ').expect(line);
            let name = series.split('{').next().unwrap();
            assert_eq!(name, family, "samples of a family stand together: {line}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{line}");
            check_labels(&series[name.len()..]);
            let value: f64 = value.parse().expect(line);
            assert!(samples.insert(series.to_string(), value).is_none(), "twice: {line}");
        }
    }
    samples
}

/// `{name="content",…}`, with backslash, quote and newline escaped, or nothing.
fn check_labels(labels: &str) {
    let mut left = labels;
    let mut opening = '{';
    while !left.is_empty() && left != "}" {
        let (name, rest) = left
            .strip_prefix(opening)
            .and_then(|rest| rest.split_once("=\""))
            .expect(labels);
        assert!(!name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
        let mut end = None;
        let mut escape = false;
        for (at, c) in rest.char_indices() {
            match (escape, c) {
                (true, '\\' | '"' | 'n') => escape = false,
                (true, other) => panic!("\\{other} in {labels}"),
                (false, '\\') => escape = true,
                (false, '"') => {
                    end = Some(at);
                    break;
                }
                (false, _) => {}
            }
        }
        left = &rest[end.expect(labels) + 1..];
        opening = ',';
    }
}

#[test]
fn the_page_keeps_to_the_format_and_tells_all() {
    let samples = read(&metrics::exposition(&observation()));
    let source = r#"source="bids \"hot\"\\\n""#;
    let expected = [
        ("weir_connections".to_string(), 2.0),
        ("weir_push_queries".into(), 1.0),
        ("weir_pipelines".into(), 1.0),
        (r#"weir_views{state="running"}"#.into(), 1.0),
        (r#"weir_views{state="failed"}"#.into(), 2.0),
        (r#"weir_views{state="paused"}"#.into(), 0.0),
        (r#"weir_view_up{view="hot"}"#.into(), 1.0),
        (r#"weir_view_up{view="cold"}"#.into(), 0.0),
        (r#"weir_view_up{view="old"}"#.into(), 0.0),
        (r#"weir_views{state="waiting"}"#.into(), 1.0),
        (r#"weir_view_up{view="far"}"#.into(), 0.0),
        (r#"weir_view_watermark_seconds{view="hot"}"#.into(), 1_700_000_000.5),
        (
            format!(r#"weir_source_lag_records{{{source},split="bids:0",pipeline="1"}}"#),
            10.0,
        ),
        (
            format!(r#"weir_source_lag_seconds{{{source},split="bids:1",pipeline="1"}}"#),
            1.25,
        ),
        (
            format!(r#"weir_source_rows_total{{{source},split="bids:0",pipeline="1"}}"#),
            180.0,
        ),
        (
            format!(r#"weir_source_skipped_total{{{source},split="bids:1",pipeline="1"}}"#),
            3.0,
        ),
        (
            r#"weir_operator_rows_in_total{view="hot",node="1",operator="aggregate"}"#.into(),
            4_294_967_296.0,
        ),
        (
            r#"weir_operator_state_bytes{view="hot",node="1",operator="aggregate"}"#.into(),
            4096.0,
        ),
        (
            r#"weir_operator_busy_seconds_total{view="hot",node="1",operator="aggregate"}"#.into(),
            1.5,
        ),
        (r#"weir_sink_up{sink="out"}"#.into(), 1.0),
        (r#"weir_sink_up{sink="stopped"}"#.into(), 0.0),
        (r#"weir_sink_rows_total{sink="out"}"#.into(), 12.0),
        (r#"weir_stored_bytes{relation="hot"}"#.into(), (1u64 << 40) as f64),
    ];
    for (series, value) in expected {
        assert_eq!(samples.get(&series), Some(&value), "{series} in {samples:#?}");
    }
    let unknown_end = format!(r#"weir_source_lag_records{{{source},split="bids:1",pipeline="1"}}"#);
    assert!(!samples.contains_key(&unknown_end), "an end that isn't known is no lag");
}

#[test]
fn health_names_what_failed() {
    let health = healthy(&observation());
    assert_eq!(health["status"], "ok");
    assert_eq!(health["views"], 3);
    assert_eq!(
        health["failed"],
        serde_json::json!([
            { "name": "cold", "cause": "a bad \"record\"", "retry_in_ms": 800 },
            { "name": "old", "cause": "its plan has changed" },
        ])
    );
}
