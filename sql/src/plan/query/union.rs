//! UNION ALL.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_expr::expressions as physical_exprs;
use weir_engine::graph::{Exchange, Input, Node, NodeKind};

use super::{Builder, Built, Facts, with_hidden};
use crate::Result;

impl Builder {
    pub(super) fn union(&mut self, inputs: &[Arc<LogicalPlan>], schema: &DFSchema, want_hidden: bool) -> Result<Built> {
        let parts = inputs.iter().map(|input| self.build(input, want_hidden));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        self.union_of(parts, schema)
    }

    /// All rows of parts that are built.
    pub(in crate::plan) fn union_of(&mut self, mut parts: Vec<Built>, schema: &DFSchema) -> Result<Built> {
        let hidden = parts.iter().any(|part| part.hidden);
        let columns = schema.fields().len();
        for part in &mut parts {
            *part = self.same_columns(part.clone(), schema, hidden)?;
        }
        let bound_everywhere = |column: usize| {
            let first = parts[0].time[column]?;
            parts
                .iter()
                .all(|part| part.time[column] == Some(first))
                .then_some(first)
        };
        let time = (0..columns).map(bound_everywhere).collect();
        let nodes: Vec<&Node> = parts.iter().map(|part| self.graph.node(part.node)).collect();
        let facts = Facts {
            append_only: nodes.iter().all(|node| node.append_only),
            key: None,
            has_watermark: nodes.iter().all(|node| node.has_watermark),
            bound: None,
        };
        let inputs = parts
            .iter()
            .map(|part| Input {
                node: part.node,
                exchange: Exchange::Local,
            })
            .collect();
        let dealt = parts[0]
            .dealt
            .clone()
            .filter(|first| parts.iter().all(|p| p.dealt.as_ref() == Some(first)));
        // As the first part calls them, for people.
        let named = schema.fields().iter().zip(nodes[0].schema.fields());
        let named = named.map(|(field, first)| field.as_ref().clone().with_name(first.name()));
        let named = Schema::new(named.collect::<Vec<_>>());
        let node = self.push(NodeKind::Union, inputs, with_hidden(&named, hidden), facts);
        Ok(Built {
            node,
            schema: schema.clone(),
            hidden,
            time,
            dealt,
        })
    }

    /// Brings a part of a union to the union's types and names, and to its hidden column: a part without
    /// one has no split watermarks, so none of its rows is late.
    pub(super) fn same_columns(&mut self, part: Built, schema: &DFSchema, hidden: bool) -> Result<Built> {
        let same = part
            .schema
            .as_arrow()
            .fields()
            .iter()
            .zip(schema.fields())
            .all(|(a, b)| a.data_type() == b.data_type() && a.name() == b.name());
        if same && part.hidden == hidden {
            return Ok(part);
        }
        let exprs: Vec<Expr> = part
            .schema
            .columns()
            .into_iter()
            .zip(schema.fields())
            .map(|(column, field)| {
                let current = part
                    .schema
                    .index_of_column(&column)
                    .map(|index| part.schema.field(index).data_type().clone());
                match current {
                    Ok(current) if current == *field.data_type() => Expr::Column(column),
                    _ => datafusion::logical_expr::cast(Expr::Column(column), field.data_type().clone()),
                }
            })
            .collect();
        let had = part.hidden;
        let mut built = self.map(part, None, &exprs, schema)?;
        if hidden && !had {
            let mut node = self.graph.node(built.node).clone();
            if let NodeKind::Map(spec) = &mut node.kind {
                let null = ScalarValue::TimestampMicrosecond(None, None);
                spec.exprs.push(Arc::new(physical_exprs::Literal::new(null)));
            }
            node.schema = with_hidden(schema.as_arrow(), true);
            built.node = self.graph.push(node);
            built.hidden = true;
        }
        Ok(built)
    }
}
