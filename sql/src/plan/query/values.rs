//! Rows that stand in the query, and rows that are there several times.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, Expr, UserDefinedLogicalNodeCore};
use weir_engine::graph::{Exchange, Input, NodeKind, RepeatSpec, ValuesSpec};

use super::{Builder, Built, Facts};
use crate::Result;
use crate::plan::errors;
use crate::plan::expr::physical;
use crate::plan::multiset::RepeatNode;

impl Builder {
    /// VALUES, or the one row of a SELECT without FROM.
    pub(super) fn values(&mut self, rows: &[Vec<Expr>], schema: &DFSchema) -> Result<Built> {
        let fields = schema
            .fields()
            .iter()
            .map(|field| field.as_ref().clone().with_nullable(true));
        let arrow = Arc::new(Schema::new(fields.collect::<Vec<Field>>()));
        let columns = (0..schema.fields().len()).map(|column| -> Result<ArrayRef> {
            let kind = schema.field(column).data_type();
            if rows.is_empty() {
                return Ok(arrow::array::new_empty_array(kind));
            }
            let cells = rows
                .iter()
                .map(|row| constant(&row[column])?.cast_to(kind).map_err(errors::translate));
            let cells = cells.collect::<Result<Vec<ScalarValue>>>()?;
            ScalarValue::iter_to_array(cells).map_err(errors::translate)
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let batch = RecordBatch::try_new_with_options(arrow.clone(), columns, &options)
            .map_err(|error| errors::translate(error.into()))?;
        let facts = Facts {
            append_only: true,
            key: (rows.len() <= 1).then(Vec::new),
            has_watermark: false,
            bound: Some("whether they have been given".to_string()),
        };
        let node = self.push(NodeKind::Values(ValuesSpec { rows: batch }), vec![], arrow, facts);
        Ok(Built {
            node,
            schema: schema.clone(),
            hidden: false,
            time: vec![None; schema.fields().len()],
            // They are task 0's.
            dealt: Some(Vec::new()),
        })
    }

    pub(super) fn repeat(&mut self, repeat: &RepeatNode) -> Result<Built> {
        let input = self.build(&repeat.input, false)?;
        let below = self.graph.node(input.node);
        let times = below.schema.fields().len() - 1;
        let schema = Schema::new(below.schema.fields()[..times].to_vec());
        let facts = Facts {
            append_only: false,
            key: None,
            has_watermark: below.has_watermark,
            bound: None,
        };
        let dealt = input.dealt.clone().filter(|dealt| !dealt.contains(&times));
        let node = self.push(
            NodeKind::Repeat(RepeatSpec { times }),
            vec![Input {
                node: input.node,
                exchange: Exchange::Local,
            }],
            Arc::new(schema),
            facts,
        );
        Ok(Built {
            node,
            schema: repeat.schema().as_ref().clone(),
            hidden: false,
            time: input.time[..times].to_vec(),
            dealt,
        })
    }
}

/// The value of an expression without columns.
fn constant(expr: &Expr) -> Result<ScalarValue> {
    let nothing = DFSchema::empty();
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)
        .map_err(|error| errors::translate(error.into()))?;
    let value = physical(expr, &nothing)?.evaluate(&row).map_err(errors::translate)?;
    match value {
        ColumnarValue::Scalar(value) => Ok(value),
        ColumnarValue::Array(array) => ScalarValue::try_from_array(&array, 0).map_err(errors::translate),
    }
}
