//! Relations as they once were: `FROM v FOR SYSTEM_TIME AS OF time`.
//!
//! The parser writes a query over the relation with a marker function as its filter. Here that goes to the scans below
//! it, those of a plain view's too: each reads its materialized view as of that time. What the time is becomes known
//! when the query runs.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue, internal_err, plan_err};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, ScalarUDF, TableScan, Volatility};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;

use weir_engine::format::{sql_type, sql_words, without_origin};

use super::checked;
use super::marker;
use super::session::RelationSource;
use crate::catalog::{Definition, Relation};

const AS_IT_WAS: &str = "weir_as_it_was";

/// The marker function.
pub fn function() -> Arc<ScalarUDF> {
    marker::condition(AS_IT_WAS, 1, Volatility::Volatile)
}

/// Whether an expression is the marker.
pub fn is_marker(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.name() == AS_IT_WAS)
}

/// The plan with each time at the scans that it is about.
pub fn at_scans(plan: LogicalPlan) -> Result<LogicalPlan> {
    let done = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Filter(filter) if is_marker(&filter.predicate) => {
            let input = Arc::unwrap_or_clone(filter.input);
            dated(input, &filter.predicate).map(Transformed::yes)
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(done.data)
}

fn dated(plan: LogicalPlan, time: &Expr) -> Result<LogicalPlan> {
    let done = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::TableScan(mut scan) = node else {
            return Ok(Transformed::no(node));
        };
        let dated = scan.filters.iter().any(is_marker);
        if let (Some(source), false) = (scan.source.downcast_ref::<RelationSource>(), dated) {
            check(&source.relation)?;
            scan.filters.push(time.clone());
        }
        Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
    })?;
    Ok(done.data)
}

fn check(relation: &Relation) -> Result<()> {
    let name = &relation.name;
    let what = match &relation.definition {
        Definition::MaterializedView(view) if view.options.history_us.is_some() => return Ok(()),
        Definition::MaterializedView(_) => {
            return plan_err!(
                "materialized view '{name}' keeps no history; it would have to be created WITH (history = '7 days')"
            );
        }
        Definition::Source(_) => "a source",
        Definition::Table(_) => "a table",
        _ => "a relation of the system",
    };
    plan_err!(
        "'{name}' is {what}, which keeps no history: FOR SYSTEM_TIME AS OF a time reads materialized views that were created \
         WITH (history = '7 days')"
    )
}

/// The time, if it is one; a text is read as a moment.
fn is_time(time: Expr, nothing: &DFSchema) -> Result<Expr> {
    // The parser has put a CAST around it.
    let mut written = &time;
    while let Expr::Cast(cast) = written {
        let inner = cast.expr.as_ref();
        if let (Ok(kind), false) = (inner.get_type(nothing), matches!(inner, Expr::Cast(_)))
            && (kind.is_numeric() || matches!(kind, DataType::Boolean | DataType::Interval(_)))
        {
            return plan_err!(
                "the time of FOR SYSTEM_TIME AS OF is a TIMESTAMP, such as now() - INTERVAL '1 hour', and not {}",
                sql_type(&kind)
            );
        }
        written = inner;
    }
    if let Expr::ScalarSubquery(_) = written {
        return plan_err!("the time of FOR SYSTEM_TIME AS OF is no subquery: SELECT it first, and write what it gives");
    }
    let Expr::Literal(value, _) = written else {
        return Ok(time);
    };
    let Some(Some(text)) = value.try_as_str() else {
        return Ok(time);
    };
    let text: ArrayRef = Arc::new(StringArray::from(vec![text]));
    let moment = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    let read = checked::column_as(&text, &moment)
        .map_err(|error| DataFusionError::Plan(without_origin(&error.to_string()).to_string()))?;
    Ok(Expr::Literal(ScalarValue::try_from_array(&read, 0)?, None))
}

/// Takes the time as of which a scan reads out of its filters; microseconds since 1970. The statement has begun
/// when `state` says.
pub fn take_time(scan: &mut TableScan, state: &SessionState) -> Result<Option<i64>> {
    let Some(place) = scan.filters.iter().position(is_marker) else {
        return Ok(None);
    };
    let Expr::ScalarFunction(call) = scan.filters.remove(place) else {
        return internal_err!("{AS_IT_WAS} is no call");
    };
    let Some(time) = call.args.into_iter().next() else {
        return internal_err!("{AS_IT_WAS} without a time");
    };
    let nothing = DFSchema::empty();
    let time = checked::functions(is_time(time, &nothing)?, &nothing)?;
    let context = SimplifyContext::builder()
        .with_schema(Arc::new(nothing))
        .with_query_execution_start_time(state.execution_props().query_execution_start_time)
        .build();
    let kind = DataType::Timestamp(TimeUnit::Microsecond, None);
    match ExprSimplifier::new(context).simplify(time)? {
        Expr::Literal(value, _) if value.is_null() => plan_err!("the time of FOR SYSTEM_TIME AS OF is NULL"),
        Expr::Literal(value, _) => match value.cast_to(&kind)? {
            ScalarValue::TimestampMicrosecond(Some(at_us), _) => Ok(Some(at_us)),
            other => internal_err!("{other} as a time"),
        },
        other => Err(DataFusionError::Plan(format!(
            "the time of FOR SYSTEM_TIME AS OF is one for the whole statement, not {}",
            sql_words(&other.to_string())
        ))),
    }
}
