//! Conditions on `now()`: rows that enter and leave by the clock.

use datafusion::common::DFSchema;
use datafusion::functions::core::expr_fn::{greatest, least};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, ExprSchemable};
use weir_engine::graph::{Exchange, Input, NodeKind, PresentSpec};

use super::{Builder, Built, Facts};
use crate::Result;
use crate::plan::errors;
use crate::plan::now::{self, Bounds};

impl Builder {
    /// The rows of `input` that pass a filter with conditions on `now()`.
    pub(super) fn present(&mut self, input: Built, predicate: &Expr) -> Result<Built> {
        let Bounds { others, enters, leaves } = now::bounds(predicate)?;
        let schema: DFSchema = input.schema.clone();
        let columns: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
        let input = self.visible(input)?;
        let input = match conjunction(others) {
            Some(others) => self.map(input, Some(&others), &columns, &schema)?,
            None => input,
        };
        let one = |times: Vec<Expr>, of: fn(Vec<Expr>) -> Expr| -> Result<Option<Expr>> {
            let times = times.into_iter().map(|time| time.cast_to(&now::TIME, &schema));
            let mut times = times.collect::<Result<Vec<_>, _>>().map_err(errors::translate)?;
            Ok(match times.len() {
                0 | 1 => times.pop(),
                _ => Some(of(times)),
            })
        };
        let (enters, leaves) = (one(enters, greatest)?, one(leaves, least)?);
        let exprs: Vec<&Expr> = enters.iter().chain(&leaves).collect();
        let (input, places) = self.with_columns(input, &exprs)?;
        let mut places_left = places.iter().copied();
        let spec = PresentSpec {
            enters: enters.as_ref().and_then(|_| places_left.next()),
            leaves: leaves.as_ref().and_then(|_| places_left.next()),
        };
        let below = self.graph.node(input.node);
        let facts = Facts {
            append_only: below.append_only && spec.leaves.is_none(),
            key: below.key.clone(),
            // What enters late is below any watermark.
            has_watermark: false,
            bound: Some(match (spec.enters, spec.leaves) {
                (_, Some(_)) => "until the clock takes a row away".to_string(),
                _ => "until the clock lets a row in".to_string(),
            }),
        };
        let node_schema = below.schema.clone();
        let node = self.push(
            NodeKind::Present(spec),
            vec![Input {
                node: input.node,
                exchange: Exchange::Hash(places.clone()),
            }],
            node_schema,
            facts,
        );
        let built = Built {
            node,
            time: vec![None; input.time.len()],
            dealt: Some(places),
            ..input
        };
        if built.schema.fields().len() == schema.fields().len() {
            return Ok(built);
        }
        self.map(built, None, &columns, &schema)
    }
}
