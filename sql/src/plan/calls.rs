//! Aggregate calls as the dialect means them, where DataFusion leaves something open.
//!
//! The answer of `array_agg`, `string_agg`, `first_value`, `last_value` and `nth_value` depends on the
//! order in which rows come. ORDER BY inside the call says which; where it leaves a tie, or isn't there,
//! the argument itself orders, ascending, NULLs last. So the answer is determined, and the same for a
//! query that is kept as for one that is read once. `any_value` is the first value that isn't NULL,
//! `count(DISTINCT a, b)` counts pairs without NULL, and WITHIN GROUP (ORDER BY x DESC) counts a
//! percentile from the other end. Functions that round on their way take the rows in the order of their arguments.
//! DISTINCT and ORDER BY work in every function ([`Folded`]).

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Result, plan_err};
use datafusion::functions::core;
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, NullTreatment};
use datafusion::logical_expr::{Expr, LogicalPlan, lit};
use datafusion::optimizer::AnalyzerRule;

use super::folds::Folded;
use super::rewrite;

const BY_ORDER: [&str; 5] = ["array_agg", "string_agg", "first_value", "last_value", "nth_value"];
/// Functions of floats whose last digits show the order.
const ROUNDING: [&str; 20] = [
    "approx_median",
    "approx_percentile_cont",
    "approx_percentile_cont_with_weight",
    "corr",
    "covar_pop",
    "covar_samp",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "stddev",
    "stddev_pop",
    "var",
    "var_pop",
    "var_samp",
];
/// Functions that take DISTINCT by themselves, and don't mind the order.
const IN_ANY_ORDER: [&str; 6] = ["count", "sum", "avg", "min", "max", "grouping"];

/// Spells out what such calls mean.
#[derive(Debug)]
pub struct MeantCalls;

impl AnalyzerRule for MeantCalls {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| {
            let LogicalPlan::Aggregate(_) = &node else {
                return Ok(Transformed::no(node));
            };
            rewrite::expressions(node, meant)
        })
        .map(|done| done.data)
    }

    fn name(&self) -> &str {
        "meant_calls"
    }
}

fn meant(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::AggregateFunction(mut call) = expr else {
        return Ok(Transformed::no(expr));
    };
    let plain = call.func.inner().downcast_ref::<Folded>().is_none();
    let name = call.func.name().to_string();
    match name.as_str() {
        _ if !plain => return Ok(Transformed::no(Expr::AggregateFunction(call))),
        "count" if call.params.distinct && call.params.args.len() > 1 => {
            return Ok(Transformed::yes(count_of_rows(call)));
        }
        name if IN_ANY_ORDER.contains(&name) => {
            call.params.order_by.clear();
            return Ok(Transformed::yes(Expr::AggregateFunction(call)));
        }
        "any_value" => {
            call.func = first_value_udaf();
            call.params.null_treatment = Some(NullTreatment::IgnoreNulls);
        }
        _ => {}
    }
    if call.func.supports_within_group_clause() {
        within_group(&mut call);
    }
    without_nulls(&mut call);
    let ordered = BY_ORDER.contains(&call.func.name());
    if !ordered {
        call.params.order_by.clear();
    }
    if ordered || call.params.distinct || ROUNDING.contains(&call.func.name()) {
        distinct_in_order(&call)?;
        call = Folded::call(call);
    }
    Ok(Transformed::yes(Expr::AggregateFunction(call)))
}

/// IGNORE NULLS as a FILTER.
fn without_nulls(call: &mut AggregateFunction) {
    let ignores = call.params.null_treatment.take() == Some(NullTreatment::IgnoreNulls);
    if let (Some(argument), true) = (call.params.args.first(), ignores) {
        let known = argument.clone().is_not_null();
        call.params.filter = Some(Box::new(match call.params.filter.take() {
            Some(filter) => known.and(*filter),
            None => known,
        }));
    }
}

/// The percentile from the other end, for an order from there. (The second argument but for a weight.)
fn within_group(call: &mut AggregateFunction) {
    let descending = call.params.order_by.first().is_some_and(|sort| !sort.asc);
    let percentile = usize::from(call.func.name().ends_with("with_weight")) + 1;
    if let (Some(percentile), true) = (call.params.args.get_mut(percentile), descending) {
        *percentile = lit(1.0) - percentile.clone();
    }
}

/// Of rows that are equal in the arguments one counts, and in anything else they may differ.
fn distinct_in_order(call: &AggregateFunction) -> Result<()> {
    let params = &call.params;
    if params.distinct && params.order_by.iter().any(|sort| !params.args.contains(&sort.expr)) {
        return plan_err!(
            "in {}(DISTINCT …) rows can be ordered by its arguments only: others may differ where those are equal",
            call.func.name()
        );
    }
    Ok(())
}

/// `count(DISTINCT a, b)` as a count of one value.
fn count_of_rows(mut call: AggregateFunction) -> Expr {
    let arguments = std::mem::take(&mut call.params.args);
    let without_null = arguments.iter().map(|argument| argument.clone().is_not_null());
    let filter = call.params.filter.take().map(|filter| *filter);
    let filter = without_null.chain(filter).reduce(Expr::and);
    call.params.filter = filter.map(Box::new);
    call.params.args = vec![core::r#struct().call(arguments)];
    Expr::AggregateFunction(call)
}
