//! TUMBLE and HOP.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use weir_engine::graph::{Exchange, Input, NodeKind, WindowSpec};

use super::{Builder, Built, Facts, TimeBound, column_of};
use crate::plan::window::WindowNode;
use crate::{Error, Result};

impl Builder {
    pub(super) fn window(&mut self, window: &WindowNode) -> Result<Built> {
        let mut input = self.build(&window.input, true)?;
        let Some(time) = column_of(&window.time, &input.schema) else {
            return Err(Error::new(format!(
                "the time column of a window must be a column, not {}",
                window.time
            )));
        };
        let bounded = input.time[time] == Some(TimeBound::Event);
        if !bounded && input.hidden {
            // Another column's watermark says nothing of this one.
            input = self.visible(input)?;
        }
        let visible = input.schema.fields().len();
        let watermark = input.hidden.then_some(visible);
        let below = self.graph.node(input.node);
        let mut fields: Vec<Arc<Field>> = below.schema.fields().iter().cloned().collect();
        for name in ["window_start", "window_end"] {
            fields.push(Arc::new(Field::new(
                name,
                DataType::Timestamp(TimeUnit::Microsecond, None),
                true,
            )));
        }
        let tumbles = window.lengths.size_us == window.lengths.slide_us;
        let facts = Facts {
            append_only: below.append_only,
            // A row is in several windows of HOP.
            key: below.key.clone().map(|mut key| {
                if !tumbles {
                    key.push(fields.len() - 2);
                }
                key
            }),
            has_watermark: below.has_watermark,
            bound: None,
        };
        let width = fields.len();
        let node = self.push(
            NodeKind::Window(WindowSpec {
                time,
                size_us: window.lengths.size_us,
                slide_us: window.lengths.slide_us,
                offset_us: window.lengths.offset_us,
                watermark,
                drop_late_after_us: if watermark.is_some() {
                    self.closing.drop_late_after_us()
                } else {
                    None
                },
            }),
            vec![Input {
                node: input.node,
                exchange: Exchange::Local,
            }],
            Arc::new(Schema::new(fields)),
            facts,
        );
        let bound = |bound: TimeBound| bounded.then_some(bound);
        let mut time = input.time.clone();
        let size_us = window.lengths.size_us;
        time.extend([bound(TimeBound::WindowStart { size_us }), bound(TimeBound::WindowEnd)]);
        let schema = datafusion::logical_expr::UserDefinedLogicalNodeCore::schema(window)
            .as_ref()
            .clone();
        let columns: Vec<usize> = (0..visible).chain([width - 2, width - 1]).collect();
        let built = Built {
            node,
            schema,
            hidden: false,
            time,
            dealt: input.dealt,
        };
        if watermark.is_none() {
            Ok(built)
        } else {
            self.select(built, &columns)
        }
    }
}
