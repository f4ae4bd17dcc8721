//! Recursions against paths that a naive model walks.

use std::slice;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::logical_expr::Operator as Sign;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column};
use proptest::prelude::*;

use super::*;
use crate::graph::{Exchange, Graph, Input, JoinKind, JoinSpec, MapSpec, NodeId, NodeKind};
use crate::operator::trial::{Bag, Domain, Record, Row, Subject, acts, add, input, node, sum};

const STEP_LIMIT: u32 = 20;

fn reads(mut node: Node, inputs: &[u32]) -> Node {
    let edge = |node: &u32| Input {
        node: NodeId(*node),
        exchange: Exchange::Local,
    };
    node.inputs = inputs.iter().map(edge).collect();
    node
}

/// Where edges lead from what was reached; `upward` takes those only that lead to a greater number.
fn term(upward: bool) -> Arc<Graph> {
    let number = DataType::Int64;
    let column = |name: &str, at: usize| Arc::new(Column::new(name, at)) as Arc<dyn PhysicalExpr>;
    let rises = Arc::new(BinaryExpr::new(column("c1", 1), Sign::Lt, column("c2", 2))) as Arc<dyn PhysicalExpr>;
    let join = JoinSpec {
        kind: JoinKind::Inner,
        left_keys: vec![0],
        right_keys: vec![0],
        null_equals_null: vec![false],
        residual: None,
        close: None,
        interval: None,
        at_once: false,
    };
    let pair = [number.clone(), number.clone()];
    let triple = [number.clone(), number.clone(), number.clone()];
    let map = MapSpec {
        filter: upward.then_some(rises),
        exprs: vec![column("c2", 2)],
    };
    let mut graph = Graph::default();
    graph.push(reads(node(NodeKind::Port(0), &pair[..1], false), &[]));
    graph.push(reads(node(NodeKind::Port(1), &pair, false), &[]));
    graph.push(reads(node(NodeKind::Join(join), &triple, false), &[0, 1]));
    graph.push(reads(node(NodeKind::Map(map), &pair[..1], false), &[2]));
    Arc::new(graph)
}

fn subject(distinct: bool, entry_budget: Option<usize>) -> Subject {
    let spec = RecurseSpec {
        inner: term(!distinct),
        distinct,
        max_iterations: STEP_LIMIT,
    };
    let number = DataType::Int64;
    Subject {
        node: node(NodeKind::Recurse(spec), slice::from_ref(&number), false),
        inputs: vec![
            input(slice::from_ref(&number), false),
            input(&[number.clone(), number], false),
        ],
        keys: vec![vec![], vec![]],
        domains: vec![Domain::new(&[5], true), Domain::new(&[5, 5], true)],
        entry_budget,
    }
}

/// What follows, derivation by derivation; as a set where `distinct`.
fn followed(history: &[Record], distinct: bool) -> Bag {
    let mut reached = Bag::new();
    let mut last = sum(history, 0);
    let edges = sum(history, 1);
    while !last.is_empty() {
        let mut next = Bag::new();
        for (row, weight) in last {
            if distinct && reached.contains_key(&row) {
                continue;
            }
            add(&mut reached, row.clone(), if distinct { 1 } else { weight });
            for (edge, times) in &edges {
                let leads_on = row[0].is_some() && edge[0] == row[0];
                // As in SQL: NULL is less than nothing.
                let rises = matches!((edge[0], edge[1]), (Some(from), Some(to)) if from < to);
                if leads_on && (distinct || rises) {
                    add(&mut next, vec![edge[1]], weight * times);
                }
            }
        }
        last = next;
    }
    reached
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_set_is_what_can_be_reached(
        entry_budget in prop_oneof![Just(None), Just(Some(3))],
        acts in acts(2, 2, true),
    ) {
        subject(true, entry_budget).run(&acts, |history| followed(history, true))?;
    }

    #[test]
    fn each_way_to_a_row_counts(
        entry_budget in prop_oneof![Just(None), Just(Some(3))],
        acts in acts(2, 2, true),
    ) {
        subject(false, entry_budget).run(&acts, |history| followed(history, false))?;
    }
}

fn edge(from: i64, to: i64, weight: i64) -> (Row, i64) {
    (vec![Some(from), Some(to)], weight)
}

#[test]
fn rows_that_support_only_each_other_leave() {
    let subject = subject(true, None);
    let mut operator = subject.operator();
    let start = (vec![Some(1)], 1);
    let edges = [edge(1, 2, 1), edge(2, 3, 1), edge(3, 2, 1)];
    let came = subject.step(operator.as_mut(), 0, &[&[start], &edges]).unwrap();
    assert_eq!(
        came,
        Bag::from([(vec![Some(1)], 1), (vec![Some(2)], 1), (vec![Some(3)], 1)])
    );
    let left = subject.step(operator.as_mut(), 0, &[&[], &[edge(1, 2, -1)]]).unwrap();
    assert_eq!(left, Bag::from([(vec![Some(2)], -1), (vec![Some(3)], -1)]));
}

#[test]
fn what_never_ends_is_an_error() {
    let mut subject = subject(false, None);
    let NodeKind::Recurse(spec) = &mut subject.node.kind else {
        unreachable!()
    };
    spec.inner = term(false);
    let mut operator = subject.operator();
    let edges = [edge(1, 2, 1), edge(2, 1, 1)];
    let failed = subject.step(operator.as_mut(), 0, &[&[(vec![Some(1)], 1)], &edges]);
    assert!(failed.unwrap_err().to_string().contains("after 20 rounds"));
}
