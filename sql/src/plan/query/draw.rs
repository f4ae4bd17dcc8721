//! Values that are made once for each row.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::logical_expr::UserDefinedLogicalNodeCore;
use weir_engine::graph::{DrawSpec, Exchange, Input, NodeKind};

use super::{Builder, Built, Facts, exchange_by, single};
use crate::Result;
use crate::plan::drawn::DrawNode;

impl Builder {
    pub(super) fn draw(&mut self, draw: &DrawNode, want_hidden: bool) -> Result<Built> {
        let input = self.build(&draw.input, want_hidden)?;
        let keeps = !self.graph.node(input.node).append_only;
        // What is remembered are rows as they are seen.
        let input = if keeps { self.visible(input)? } else { input };
        let visible = input.schema.fields().len();
        let below = self.graph.node(input.node);
        let values = draw
            .values
            .iter()
            .map(|value| Arc::new(Field::new(value.text(), value.data_type(), true)));
        let fields: Vec<Arc<Field>> = below.schema.fields().iter().cloned().chain(values).collect();
        let all: Vec<usize> = (0..visible).collect();
        let facts = Facts {
            append_only: below.append_only,
            key: below.key.clone(),
            has_watermark: below.has_watermark,
            bound: keeps.then(|| "the rows that are there, with their values".to_string()),
        };
        let (exchange, dealt) = match (keeps, visible) {
            (false, _) => (Exchange::Local, input.dealt.clone()),
            (true, 0) => (single(&input), Some(Vec::new())),
            (true, _) => (exchange_by(&all, &input), Some(all)),
        };
        let width = fields.len();
        let node = self.push(
            NodeKind::Draw(DrawSpec {
                values: draw.values.clone(),
                keeps,
                number: draw.number,
            }),
            vec![Input {
                node: input.node,
                exchange,
            }],
            Arc::new(Schema::new(fields)),
            facts,
        );
        let mut time = input.time;
        time.resize(visible + draw.values.len(), None);
        let built = Built {
            node,
            schema: draw.schema().as_ref().clone(),
            hidden: false,
            time,
            dealt,
        };
        if !input.hidden {
            return Ok(built);
        }
        // The hidden column stands behind all others.
        let columns: Vec<usize> = (0..visible).chain(visible + 1..width).chain([visible]).collect();
        let built = self.select(built, &columns)?;
        Ok(Built { hidden: true, ..built })
    }
}
