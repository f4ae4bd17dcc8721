//! TUMBLE, HOP and CUMULATE, and SESSION.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, UserDefinedLogicalNodeCore};
use weir_engine::graph::{CloseSpec, Exchange, Input, NodeKind, SessionSpec, WindowSpec};

use super::{Builder, Built, Closing, Facts, TimeBound, column_of, exchange_by, single, until};
use crate::plan::window::{Lengths, WindowNode, Windows};
use crate::{Error, Result};

impl Builder {
    pub(super) fn window(&mut self, window: &WindowNode, want_hidden: bool) -> Result<Built> {
        let mut input = self.build(&window.input, true)?;
        let Some(time) = column_of(&window.time, &input.schema) else {
            return Err(Error::new(format!(
                "the time column of a window must be a column, not {}",
                window.time
            )));
        };
        // A window over the end of other windows is complete when the watermark reaches its own end: by
        // then it has reached theirs.
        let bounded = matches!(input.time[time], Some(TimeBound::Event | TimeBound::WindowEnd));
        if !bounded && input.hidden {
            // Another column's watermark says nothing of this one.
            input = self.visible(input)?;
        }
        match &window.windows {
            Windows::Fixed(lengths) => self.fixed_window(input, time, bounded, *lengths, window.schema(), want_hidden),
            Windows::Session { gap_us, partition } => {
                let partition = self.partition(&input, partition)?;
                self.session(input, time, bounded, *gap_us, partition, window.schema())
            }
        }
    }

    pub(super) fn fixed_window(
        &mut self,
        input: Built,
        time: usize,
        bounded: bool,
        lengths: Lengths,
        schema: &DFSchema,
        want_hidden: bool,
    ) -> Result<Built> {
        let visible = input.schema.fields().len();
        let watermark = input.hidden.then_some(visible);
        let below = self.graph.node(input.node);
        let fields = with_bounds(&below.schema);
        let width = fields.len();
        // A row is in several windows of HOP, each with another start, and of CUMULATE, with another end.
        let differs = match (lengths.slide_us == lengths.size_us, lengths.step_us == lengths.size_us) {
            (true, true) => None,
            (false, _) => Some(width - 2),
            (true, false) => Some(width - 1),
        };
        let facts = Facts {
            append_only: below.append_only,
            key: below.key.clone().map(|key| key.into_iter().chain(differs).collect()),
            has_watermark: below.has_watermark,
            bound: None,
        };
        let node = self.push(
            NodeKind::Window(WindowSpec {
                time,
                size_us: lengths.size_us,
                slide_us: lengths.slide_us,
                step_us: lengths.step_us,
                offset_us: lengths.offset_us,
                watermark,
                drop_late_after_us: self.closing.drop_late_after_us().filter(|_| bounded),
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
        let size_us = lengths.size_us;
        time.extend([bound(TimeBound::WindowStart { size_us }), bound(TimeBound::WindowEnd)]);
        let hidden = want_hidden && input.hidden;
        let columns = (0..visible)
            .chain([width - 2, width - 1])
            .chain(hidden.then_some(visible));
        let built = Built {
            node,
            schema: schema.clone(),
            hidden: false,
            time,
            dealt: input.dealt,
        };
        if watermark.is_none() {
            return Ok(built);
        }
        let built = self.select(built, &columns.collect::<Vec<_>>())?;
        Ok(Built { hidden, ..built })
    }

    fn partition(&self, input: &Built, partition: &[Expr]) -> Result<Vec<usize>> {
        let mut columns = Vec::new();
        for expr in partition {
            let Some(column) = column_of(expr, &input.schema) else {
                return Err(Error::new(format!(
                    "PARTITION BY of SESSION takes columns, not {expr}; compute it in a query in parentheses"
                )));
            };
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
        Ok(columns)
    }

    fn session(
        &mut self,
        input: Built,
        time: usize,
        bounded: bool,
        gap_us: i64,
        partition: Vec<usize>,
        schema: &DFSchema,
    ) -> Result<Built> {
        let visible = input.schema.fields().len();
        let below = self.graph.node(input.node);
        let shown = Schema::new(below.schema.fields()[..visible].to_vec());
        let fields = with_bounds(&shown);
        let close = self.closing.drop_late_after_us().filter(|_| bounded);
        let close = close.map(|lateness_us| CloseSpec {
            column: visible + 1,
            emit_on_close: self.closing == Closing::Emit,
            lateness_us,
        });
        let facts = Facts {
            append_only: close.is_some_and(|close| close.emit_on_close),
            key: below.key.clone(),
            has_watermark: below.has_watermark,
            bound: Some(match (&close, bounded) {
                (Some(close), _) => until("window_end", close.lateness_us),
                (None, true) => "all rows; every session stays correctable".to_string(),
                (None, false) => "all rows".to_string(),
            }),
        };
        let exchange = match partition.is_empty() {
            true => single(&input),
            false => exchange_by(&partition, &input),
        };
        let dealt = Some(partition.clone());
        let node = self.push(
            NodeKind::Session(SessionSpec {
                time,
                partition,
                gap_us,
                watermark: input.hidden.then_some(visible),
                close,
                groups: None,
            }),
            vec![Input {
                node: input.node,
                exchange,
            }],
            Arc::new(Schema::new(fields)),
            facts,
        );
        // A row comes with its session, later than its own times, and changes with it; and how long a
        // session is nobody knows from its start.
        let mut time = vec![None; visible + 2];
        time[visible + 1] = bounded.then_some(TimeBound::WindowEnd);
        Ok(Built {
            node,
            schema: schema.clone(),
            hidden: false,
            time,
            dealt,
        })
    }
}

pub(super) fn with_bounds(schema: &Schema) -> Vec<Arc<Field>> {
    let bound = |name: &str| {
        let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
        Arc::new(Field::new(name, timestamp, true))
    };
    let columns = schema.fields().iter().cloned();
    columns.chain(["window_start", "window_end"].map(bound)).collect()
}
