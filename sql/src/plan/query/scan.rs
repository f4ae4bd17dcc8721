//! Relations as the graph's inputs.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, TableScan};
use weir_engine::format::Envelope;
use weir_engine::graph::{Exchange, Input, InputSpec, NodeKind, UpsertSpec};

use super::{Builder, Built, Facts, TimeBound, remap, with_hidden};
use crate::catalog::{Definition, Relation};
use crate::plan::errors;
use crate::plan::session::RelationSource;
use crate::{Error, Result};

impl Builder {
    pub(super) fn scan(&mut self, scan: &TableScan, want_hidden: bool) -> Result<Built> {
        if let Some(own) = self.own_rows(scan)? {
            return Ok(own);
        }
        let Some(source) = scan.source.downcast_ref::<RelationSource>() else {
            return Err(Error::new(format!("'{}' can't be read continuously", scan.table_name)));
        };
        let relation = &source.relation;
        if matches!(relation.definition, Definition::System) {
            return Err(Error::new(format!(
                "'{}' is a system relation: read it with SELECT; a continuous query reads sources, tables and \
                 materialized views",
                relation.name
            )));
        }
        self.reads.insert(relation.id);
        let mut columns: Vec<usize> = scan
            .projection
            .clone()
            .unwrap_or_else(|| (0..relation.schema.fields().len()).collect());
        if let Definition::Source(spec) = &relation.definition
            && spec.envelope == Envelope::Upsert
        {
            return self.scan_upsert(relation, scan, &mut columns);
        }
        let watermark = match &relation.definition {
            Definition::Source(spec) => spec.watermark.as_ref().map(|watermark| watermark.column),
            _ => None,
        };
        let hidden = want_hidden && watermark.is_some();
        let has_watermark = watermark.is_some() || relation.graph().is_some_and(|graph| graph.output().has_watermark);
        let key = relation
            .key
            .as_ref()
            .and_then(|key| remap(key, |c| columns.iter().position(|x| *x == c)));
        // What its own rows were judged by is not kept with a view: who reads it judges by its watermark.
        let of_view = |column: &usize| relation.event_times.get(*column).copied().flatten();
        let event = |column: &usize| (Some(*column) == watermark).then_some(TimeBound::Event);
        let time = columns.iter().map(|column| event(column).or(of_view(column))).collect();
        let node = self.push(
            NodeKind::Input(InputSpec {
                relation: relation.id,
                name: relation.name.clone(),
                columns: columns.clone(),
                with_watermark: hidden,
                timeout_us: self.timeout_us.filter(|_| has_watermark),
            }),
            vec![],
            with_hidden(scan.projected_schema.as_arrow(), hidden),
            Facts {
                append_only: relation.append_only(),
                key,
                has_watermark,
                bound: None,
            },
        );
        Ok(Built {
            node,
            schema: scan.projected_schema.as_ref().clone(),
            hidden,
            time,
            dealt: None,
        })
    }

    /// An UPSERT source: the records, then the last row by key.
    fn scan_upsert(&mut self, relation: &Arc<Relation>, scan: &TableScan, columns: &mut Vec<usize>) -> Result<Built> {
        let key = relation.key.clone().unwrap_or_default();
        let visible = columns.len();
        for column in &key {
            if !columns.contains(column) {
                columns.push(*column);
            }
        }
        let has_watermark = matches!(&relation.definition, Definition::Source(spec) if spec.watermark.is_some());
        let mut fields: Vec<Field> = columns
            .iter()
            .map(|c| relation.schema.field(*c).clone().with_nullable(true))
            .collect();
        let rows = Arc::new(Schema::new(fields.clone()));
        fields.push(Field::new("weir_tombstone", DataType::Boolean, true));
        let input = self.push(
            NodeKind::Input(InputSpec {
                relation: relation.id,
                name: relation.name.clone(),
                columns: columns.clone(),
                with_watermark: false,
                timeout_us: self.timeout_us.filter(|_| has_watermark),
            }),
            vec![],
            Arc::new(Schema::new(fields)),
            Facts {
                append_only: true,
                key: None,
                has_watermark,
                bound: None,
            },
        );
        let keys: Vec<usize> = remap(&key, |c| columns.iter().position(|x| *x == c)).unwrap_or_default();
        let names: Vec<&str> = key.iter().map(|c| relation.schema.field(*c).name().as_str()).collect();
        let node = self.push(
            NodeKind::Upsert(UpsertSpec { keys: keys.clone() }),
            vec![Input {
                node: input,
                exchange: Exchange::Hash(keys.clone()),
            }],
            rows.clone(),
            Facts {
                append_only: false,
                key: Some(keys.clone()),
                has_watermark,
                bound: Some(format!("grows with distinct {}", names.join(", "))),
            },
        );
        let mut qualified: Vec<_> = scan
            .projected_schema
            .iter()
            .map(|(q, f)| (q.cloned(), f.clone()))
            .collect();
        for column in &columns[visible..] {
            qualified.push((None, Arc::new(hidden_key_field(&relation.schema, *column))));
        }
        let all = DFSchema::new_with_metadata(qualified, Default::default()).map_err(errors::translate)?;
        let time = vec![None; columns.len()];
        let built = Built {
            node,
            schema: all,
            hidden: false,
            time,
            dealt: Some(keys),
        };
        if columns.len() == visible {
            return Ok(Built {
                schema: scan.projected_schema.as_ref().clone(),
                ..built
            });
        }
        let exprs: Vec<Expr> = scan.projected_schema.columns().into_iter().map(Expr::Column).collect();
        self.map(built, None, &exprs, scan.projected_schema.as_ref())
    }
}

fn hidden_key_field(schema: &Schema, column: usize) -> Field {
    let field = schema.field(column);
    Field::new(format!("weir_key_{}", field.name()), field.data_type().clone(), true)
}
