//! INTERVALs are compared by how long they are: as in PostgreSQL a month counts 30 days, and a day 24 hours.
//!
//! An interval is kept as months, days and nanoseconds, and compared by these one after the other by
//! whoever compares. So where intervals are compared, grouped or ordered they are put into one form
//! first: less than 30 days, less than 24 hours, all with one sign. In it those that are equal are the
//! same, and the order is that of the parts.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, DataFusionError, Result, exec_datafusion_err};
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, ColumnarValue, Distinct, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;

use super::kinds::is_comparison;

/// Puts intervals into their one form where they are compared.
#[derive(Debug)]
pub struct Intervals;

impl AnalyzerRule for Intervals {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| {
            let node = sets_in_form(distinct_in_form(node)?)?;
            let schema = merge_schema(&node.inputs());
            let compares_all = matches!(
                node,
                LogicalPlan::Sort(_) | LogicalPlan::Join(_) | LogicalPlan::Aggregate(_)
            );
            let names = NamePreserver::new(&node);
            node.map_expressions(|expr| {
                let name = names.save(&expr);
                let mut done = expr.transform_up(|expr| compared(expr, &schema))?;
                if compares_all && !is_aggregate(&done.data) {
                    let formed = in_form(done.data, &schema)?;
                    done = Transformed::new(formed.data, done.transformed || formed.transformed, done.tnr);
                }
                Ok(done.update_data(|expr| name.restore(expr)))
            })
        })
        .map(|done| done.data)
    }

    fn name(&self) -> &str {
        "intervals"
    }
}

/// The columns of DISTINCT, in their form.
fn distinct_in_form(node: LogicalPlan) -> Result<LogicalPlan> {
    let LogicalPlan::Distinct(Distinct::All(input)) = &node else {
        return Ok(node);
    };
    match columns_in_form(input, |_| true)? {
        Some(formed) => LogicalPlanBuilder::from(formed).distinct()?.build(),
        None => Ok(node),
    }
}

/// The columns of GROUPING SETS, in their form before they are grouped.
fn sets_in_form(node: LogicalPlan) -> Result<LogicalPlan> {
    let LogicalPlan::Aggregate(aggregate) = &node else {
        return Ok(node);
    };
    let [sets @ Expr::GroupingSet(_)] = &aggregate.group_expr[..] else {
        return Ok(node);
    };
    let grouped = sets.column_refs();
    match columns_in_form(&aggregate.input, |column| grouped.contains(column))? {
        Some(formed) => {
            let (groups, calls) = (aggregate.group_expr.clone(), aggregate.aggr_expr.clone());
            Aggregate::try_new(formed.into(), groups, calls).map(LogicalPlan::Aggregate)
        }
        None => Ok(node),
    }
}

/// The plan with those of its columns in form that are intervals and wanted; none where no column is.
fn columns_in_form(plan: &LogicalPlan, wanted: impl Fn(&Column) -> bool) -> Result<Option<LogicalPlan>> {
    let mut is_changed = false;
    let exprs = plan.schema().iter().map(|(relation, field)| {
        let column = Column::from((relation, field));
        match is_interval(field.data_type()) && wanted(&column) {
            true => {
                is_changed = true;
                let formed = form().call(vec![Expr::Column(column)]);
                formed.alias_qualified(relation.cloned(), field.name())
            }
            false => Expr::Column(column),
        }
    });
    let exprs: Vec<Expr> = exprs.collect();
    match is_changed {
        true => LogicalPlanBuilder::from(plan.clone()).project(exprs)?.build().map(Some),
        false => Ok(None),
    }
}

fn is_aggregate(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(alias) => is_aggregate(&alias.expr),
        Expr::AggregateFunction(_) => true,
        _ => false,
    }
}

fn is_interval(kind: &DataType) -> bool {
    matches!(kind, DataType::Interval(_))
}

/// An interval in its form; any other expression as it is.
fn in_form(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::ScalarFunction(call) if call.func.inner().is::<Form>() => Ok(Transformed::no(Expr::ScalarFunction(call))),
        Expr::GroupingSet(sets) => Ok(Transformed::no(Expr::GroupingSet(sets))),
        expr if expr.get_type(schema).is_ok_and(|kind| is_interval(&kind)) => {
            Ok(Transformed::yes(form().call(vec![expr])))
        }
        expr => Ok(Transformed::no(expr)),
    }
}

fn all_in_form<'a>(exprs: impl IntoIterator<Item = &'a mut Expr>, schema: &DFSchema) -> Result<bool> {
    let mut changed = false;
    for expr in exprs {
        let done = in_form(std::mem::take(expr), schema)?;
        *expr = done.data;
        changed |= done.transformed;
    }
    Ok(changed)
}

/// What compares, over intervals in their form.
fn compared(mut expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let sorted = |order: &mut Vec<Sort>| all_in_form(order.iter_mut().map(|sort| &mut sort.expr), schema);
    let changed = match &mut expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_comparison(*op) => {
            all_in_form([left.as_mut(), right.as_mut()], schema)?
        }
        Expr::Between(between) => all_in_form(
            [between.expr.as_mut(), between.low.as_mut(), between.high.as_mut()],
            schema,
        )?,
        Expr::InSubquery(subquery) => {
            let formed = columns_in_form(&subquery.subquery.subquery, |_| true)?;
            let changed = formed.is_some();
            if let Some(formed) = formed {
                subquery.subquery.subquery = formed.into();
            }
            all_in_form([subquery.expr.as_mut()], schema)? || changed
        }
        Expr::InList(list) => all_in_form(std::iter::once(list.expr.as_mut()).chain(&mut list.list), schema)?,
        Expr::Case(case) => match &mut case.expr {
            Some(value) => {
                let whens = case.when_then_expr.iter_mut().map(|(when, _)| when.as_mut());
                all_in_form(std::iter::once(value.as_mut()).chain(whens), schema)?
            }
            None => false,
        },
        Expr::ScalarFunction(call) if ["greatest", "least", "nullif"].contains(&call.func.name()) => {
            all_in_form(&mut call.args, schema)?
        }
        Expr::AggregateFunction(call) => {
            let compares = call.params.distinct || ["min", "max"].contains(&call.func.name());
            let args = compares && all_in_form(&mut call.params.args, schema)?;
            sorted(&mut call.params.order_by)? || args
        }
        Expr::WindowFunction(call) => {
            let compares = call.params.distinct || ["min", "max"].contains(&call.fun.name());
            let args = compares && all_in_form(&mut call.params.args, schema)?;
            let parts = all_in_form(&mut call.params.partition_by, schema)?;
            sorted(&mut call.params.order_by)? || args || parts
        }
        _ => false,
    };
    Ok(match changed {
        true => Transformed::yes(expr),
        false => Transformed::no(expr),
    })
}

/// The function that gives an interval its form.
pub fn form() -> ScalarUDF {
    ScalarUDF::from(Form {
        signature: Signature::exact(
            vec![DataType::Interval(IntervalUnit::MonthDayNano)],
            Volatility::Immutable,
        ),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Form {
    signature: Signature,
}

impl ScalarUDFImpl for Form {
    fn name(&self) -> &str {
        "weir_interval"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        Ok(given[0].clone())
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let column = args.args[0].to_array(args.number_rows)?;
        Ok(ColumnarValue::Array(all_formed(&column)?))
    }
}

/// Intervals in their one form.
///
/// # Errors
/// For one of more months than 32 bits can count.
pub fn all_formed(column: &ArrayRef) -> Result<ArrayRef> {
    let column = column.as_primitive::<IntervalMonthDayNanoType>();
    let formed = column.try_unary::<_, IntervalMonthDayNanoType, DataFusionError>(|interval| {
        formed(interval).ok_or_else(|| exec_datafusion_err!("an INTERVAL of more months than can be counted"))
    })?;
    Ok(Arc::new(formed))
}

fn formed(interval: IntervalMonthDayNano) -> Option<IntervalMonthDayNano> {
    const DAY_NS: i128 = 86_400_000_000_000;
    const MONTH_NS: i128 = 30 * DAY_NS;
    let whole =
        i128::from(interval.months) * MONTH_NS + i128::from(interval.days) * DAY_NS + i128::from(interval.nanoseconds);
    Some(IntervalMonthDayNano {
        months: i32::try_from(whole / MONTH_NS).ok()?,
        days: i32::try_from(whole % MONTH_NS / DAY_NS).ok()?,
        nanoseconds: i64::try_from(whole % DAY_NS).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_intervals_have_one_form_and_it_is_ordered() {
        const HOUR_NS: i64 = 3_600_000_000_000;
        let of = |months, days, hours: i64| formed(IntervalMonthDayNano::new(months, days, hours * HOUR_NS)).unwrap();
        assert_eq!(of(1, 0, 0), of(0, 30, 0));
        assert_eq!(of(0, 1, 0), of(0, 0, 24));
        assert_eq!(of(1, -1, 0), of(0, 29, 0));
        assert_eq!(of(0, -1, 25), of(0, 0, 1));
        assert_eq!(of(12, 0, 0), of(0, 360, 0));
        let ordered = [
            of(-1, 0, 0),
            of(0, -29, -1),
            of(0, 0, -1),
            of(0, 0, 0),
            of(0, 0, 23),
            of(0, 1, 0),
            of(1, 0, -1),
            of(0, 30, 0),
            of(0, 31, 0),
        ];
        assert!(ordered.is_sorted_by(|one, other| one < other));
        assert_eq!(formed(IntervalMonthDayNano::new(i32::MAX, i32::MAX, 0)), None);
    }
}
