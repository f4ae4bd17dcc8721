//! Joins.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::common::{DFSchema, JoinType, NullEquality};
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;
use weir_engine::graph::{Input, JoinKind, JoinSpec, NodeKind};

use super::{Builder, Built, Facts, TimeBound, exchange_by, single, until};
use crate::Result;
use crate::plan::expr::physical;
use crate::plan::{errors, refuse};

impl Builder {
    pub(super) fn join(&mut self, join: &datafusion::logical_expr::Join) -> Result<Built> {
        let kind = match join.join_type {
            JoinType::Inner => JoinKind::Inner,
            JoinType::Left | JoinType::Right => JoinKind::Left,
            other => return Err(refuse::join(other)),
        };
        if join.null_aware {
            return Err(refuse::join(JoinType::LeftAnti));
        }
        let swapped = join.join_type == JoinType::Right;
        let (left_plan, right_plan) = if swapped {
            (&join.right, &join.left)
        } else {
            (&join.left, &join.right)
        };
        let left = self.build(left_plan, false)?;
        let right = self.build(right_plan, false)?;
        let pick = |pair: &'_ (Expr, Expr), first: bool| {
            if first != swapped {
                pair.0.clone()
            } else {
                pair.1.clone()
            }
        };
        let left_exprs: Vec<Expr> = join.on.iter().map(|pair| pick(pair, true)).collect();
        let right_exprs: Vec<Expr> = join.on.iter().map(|pair| pick(pair, false)).collect();
        refuse::subqueries(left_exprs.iter().chain(&right_exprs).chain(join.filter.iter()))?;
        let (left, left_keys) = self.with_columns(left, &left_exprs.iter().collect::<Vec<_>>())?;
        let (right, right_keys) = self.with_columns(right, &right_exprs.iter().collect::<Vec<_>>())?;
        let both = left.schema.join(&right.schema).map_err(errors::translate)?;
        let residual = join.filter.as_ref().map(|filter| physical(filter, &both)).transpose()?;
        let built = self.push_join(
            kind,
            (&left, left_keys),
            (&right, right_keys),
            residual,
            join.null_equality,
            both,
        )?;
        let columns: Vec<Expr> = join.schema.columns().into_iter().map(Expr::Column).collect();
        self.map(built, None, &columns, join.schema.as_ref())
    }

    pub(super) fn push_join(
        &mut self,
        kind: JoinKind,
        (left, left_keys): (&Built, Vec<usize>),
        (right, right_keys): (&Built, Vec<usize>),
        residual: Option<Arc<dyn PhysicalExpr>>,
        null_equality: NullEquality,
        schema: DFSchema,
    ) -> Result<Built> {
        let (below_left, below_right) = (self.graph.node(left.node), self.graph.node(right.node));
        let shift = left.schema.fields().len();
        // A column stays bounded by event time only if the join makes it equal to a bounded column
        // of the other side: else a new row may meet an old one.
        let mut time = vec![None; shift + right.schema.fields().len()];
        let mut close = None;
        for (position, (l, r)) in left_keys.iter().zip(&right_keys).enumerate() {
            if let (Some(a), Some(b)) = (left.time[*l], right.time[*r])
                && a == b
            {
                time[*l] = Some(a);
                if kind == JoinKind::Inner {
                    time[shift + *r] = Some(a);
                }
                if a == TimeBound::WindowEnd {
                    close = self.closing.spec(position);
                }
            }
        }
        let key = joined_key(
            kind,
            (below_left.key.as_deref(), &left_keys),
            (below_right.key.as_deref(), &right_keys),
            shift,
        );
        let facts = Facts {
            append_only: kind == JoinKind::Inner && below_left.append_only && below_right.append_only,
            key,
            has_watermark: below_left.has_watermark || below_right.has_watermark,
            bound: Some(match &close {
                Some(close) => {
                    let column = below_left.schema.field(left_keys[close.column]).name();
                    format!("both sides {}", until(column, close.lateness_us))
                }
                None => "both sides, for ever".to_string(),
            }),
        };
        let exchange = |keys: &Vec<usize>, built: &Built| {
            if keys.is_empty() {
                single(built)
            } else {
                exchange_by(keys, built)
            }
        };
        let inputs = vec![
            Input {
                node: left.node,
                exchange: exchange(&left_keys, left),
            },
            Input {
                node: right.node,
                exchange: exchange(&right_keys, right),
            },
        ];
        let dealt = Some(left_keys.clone());
        let fields: Vec<Arc<Field>> = schema
            .fields()
            .iter()
            .map(|f| Arc::new(f.as_ref().clone().with_nullable(true)))
            .collect();
        let node = self.push(
            NodeKind::Join(JoinSpec {
                kind,
                left_keys,
                right_keys,
                null_equals_null: null_equality == NullEquality::NullEqualsNull,
                residual,
                close,
            }),
            inputs,
            Arc::new(Schema::new(fields)),
            facts,
        );
        Ok(Built {
            node,
            schema,
            hidden: false,
            time,
            dealt,
        })
    }
}

/// The key of a join's result. A row whose partners are equal in all of their key has one at most,
/// and its own key stays one.
fn joined_key(
    kind: JoinKind,
    (left_key, left_on): (Option<&[usize]>, &[usize]),
    (right_key, right_on): (Option<&[usize]>, &[usize]),
    shift: usize,
) -> Option<Vec<usize>> {
    let has_all = |key: Option<&[usize]>, on: &[usize]| key.is_some_and(|key| key.iter().all(|c| on.contains(c)));
    let shifted = |key: &[usize]| key.iter().map(|c| c + shift).collect::<Vec<_>>();
    if has_all(right_key, right_on) {
        return left_key.map(<[usize]>::to_vec);
    }
    // Of a LEFT join many rows may have no partner, and then NULLs there.
    if kind == JoinKind::Inner && has_all(left_key, left_on) {
        return right_key.map(shifted);
    }
    Some([left_key?, &shifted(right_key?)].concat())
}
