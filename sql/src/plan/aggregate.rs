//! GROUP BY and DISTINCT.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::logical_expr::expr::AggregateFunction as Call;
use datafusion::logical_expr::{Aggregate, Expr};
use weir_engine::graph::{AggregateCall, AggregateFunction, AggregateSpec, Input, NodeKind};

use super::query::{Builder, Built, Facts, TimeBound, exchange_by, single, until};
use super::refuse;
use crate::{Error, Result, explain};

/// One aggregate call, with the expressions it needs as columns.
struct Wanted {
    function: AggregateFunction,
    argument: Option<Expr>,
    filter: Option<Expr>,
    distinct: bool,
}

impl Builder {
    pub(super) fn aggregate(&mut self, aggregate: &Aggregate) -> Result<Built> {
        if aggregate
            .group_expr
            .iter()
            .any(|expr| matches!(expr, Expr::GroupingSet(_)))
        {
            return Err(Error::new(
                "GROUPING SETS, CUBE and ROLLUP are not supported yet; write one view per grouping and UNION ALL them",
            ));
        }
        let input = self.build(&aggregate.input, false)?;
        refuse::subqueries(aggregate.group_expr.iter().chain(&aggregate.aggr_expr))?;
        let calls = aggregate.aggr_expr.iter().map(wanted).collect::<Result<Vec<_>>>()?;
        let mut exprs: Vec<&Expr> = aggregate.group_expr.iter().collect();
        for call in &calls {
            exprs.extend(call.argument.iter().chain(&call.filter));
        }
        let (input, places) = self.with_columns(input, &exprs)?;
        let groups = aggregate.group_expr.len();
        let (keys, mut rest) = (places[..groups].to_vec(), places[groups..].iter().copied());
        let specs = calls
            .iter()
            .enumerate()
            .map(|(index, call)| AggregateCall {
                function: call.function,
                argument: call.argument.as_ref().and_then(|_| rest.next()),
                distinct: call.distinct,
                filter: call.filter.as_ref().and_then(|_| rest.next()),
                output_type: aggregate.schema.field(groups + index).data_type().clone(),
            })
            .collect();
        self.push_aggregate(input, keys, specs, aggregate)
    }

    fn push_aggregate(
        &mut self,
        input: Built,
        keys: Vec<usize>,
        calls: Vec<AggregateCall>,
        aggregate: &Aggregate,
    ) -> Result<Built> {
        let below = self.graph.node(input.node);
        // The start of a window says as well as its end which one it is.
        let to_the_end_us = |column: &usize| match input.time[*column]? {
            TimeBound::WindowEnd => Some(0),
            TimeBound::WindowStart { size_us } => Some(size_us),
            TimeBound::Event => None,
        };
        let bounds = keys.iter().enumerate();
        let bounds = bounds.filter_map(|(position, column)| Some((to_the_end_us(column)?, position)));
        let window = bounds.min();
        let close = window.and_then(|(us, position)| self.closing.spec_after(position, us));
        // Only a grouping by the window as a whole stays bounded: of other columns an old value may
        // come again.
        let time = keys.iter().map(|column| match input.time[*column] {
            Some(TimeBound::Event) | None => None,
            bound => bound,
        });
        let time: Vec<_> = time.chain(calls.iter().map(|_| None)).collect();
        let names: Vec<String> = keys.iter().map(|c| below.schema.field(*c).name().clone()).collect();
        let bound = match (&close, window) {
            _ if names.is_empty() => "one group".to_string(),
            (Some(close), _) => until(&names[close.column], close.lateness_us),
            (None, Some(_)) => format!(
                "grows with distinct {}; every window stays correctable",
                names.join(", ")
            ),
            (None, None) => format!("grows with distinct {}", names.join(", ")),
        };
        let facts = Facts {
            append_only: calls.is_empty() && below.append_only && !keys.is_empty(),
            key: Some((0..keys.len()).collect()),
            has_watermark: below.has_watermark && !keys.is_empty(),
            bound: Some(bound),
        };
        let exchange = if keys.is_empty() {
            single(&input)
        } else {
            exchange_by(&keys, &input)
        };
        let dealt = Some((0..keys.len()).collect());
        let key_fields = keys
            .iter()
            .map(|column| below.schema.field(*column).clone().with_nullable(true));
        let call_fields = calls.iter().map(|call| {
            let name = explain::call_text(call, &below.schema);
            Field::new(name, call.output_type.clone(), true)
        });
        let schema = Arc::new(Schema::new(key_fields.chain(call_fields).collect::<Vec<_>>()));
        let node = self.push(
            NodeKind::Aggregate(AggregateSpec { keys, calls, close }),
            vec![Input {
                node: input.node,
                exchange,
            }],
            schema,
            facts,
        );
        Ok(Built {
            node,
            schema: aggregate.schema.as_ref().clone(),
            hidden: false,
            time,
            dealt,
        })
    }
}

fn wanted(expr: &Expr) -> Result<Wanted> {
    let call = match expr {
        Expr::Alias(alias) => return wanted(&alias.expr),
        Expr::AggregateFunction(call) => call,
        other => return Err(Error::new(format!("{other} is no aggregate"))),
    };
    let function = function(call)?;
    let argument = argument(call, function)?;
    Ok(Wanted {
        function,
        argument,
        filter: call.params.filter.as_ref().map(|filter| filter.as_ref().clone()),
        distinct: call.params.distinct,
    })
}

fn function(call: &Call) -> Result<AggregateFunction> {
    let name = call.func.name();
    if !call.params.order_by.is_empty() {
        return Err(Error::new(format!(
            "ORDER BY inside {name}() is not supported yet in a continuous query"
        )));
    }
    match name {
        "count" => Ok(AggregateFunction::Count),
        "sum" => Ok(AggregateFunction::Sum),
        "avg" | "mean" => Ok(AggregateFunction::Avg),
        "min" => Ok(AggregateFunction::Min),
        "max" => Ok(AggregateFunction::Max),
        other => Err(Error::new(format!(
            "{other}() is not supported yet in a continuous query; count, sum, avg, min and max are, each with \
             DISTINCT and FILTER"
        ))),
    }
}

fn argument(call: &Call, function: AggregateFunction) -> Result<Option<Expr>> {
    match &call.params.args[..] {
        // count(*) is planned as a count of a constant.
        [Expr::Literal(value, _)] if function == AggregateFunction::Count && !call.params.distinct => {
            if value.is_null() {
                Ok(Some(call.params.args[0].clone()))
            } else {
                Ok(None)
            }
        }
        [] if function == AggregateFunction::Count => Ok(None),
        [argument] => Ok(Some(argument.clone())),
        _ => Err(Error::new(format!(
            "{}() takes one argument in a continuous query",
            call.func.name()
        ))),
    }
}
