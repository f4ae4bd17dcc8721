//! What a subquery looks at outside of it, and whether DataFusion's rules make a right join of that.
//!
//! They take conditions on rows outside out of the subquery's filters, into the join's condition. That is
//! right where nothing stands above such a filter but columns under their own names, inner joins and one
//! aggregate that the condition is a key of. Anything else goes by [`super::dependent`].

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType, Result};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Distinct, Expr, ExprSchemable, Join, LogicalPlan, Operator};

use super::{may_have_rows, one_row};

/// What is asked of a subquery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Whether it has a row: EXISTS, IN and the like.
    Whether,
    /// Its one value.
    Value,
    /// All its rows: LATERAL.
    Rows,
}

/// The columns of `outer` that a plan looks at from within.
pub fn looked_at(plan: &LogicalPlan, outer: &DFSchema) -> Result<Vec<Column>> {
    let mut found = free(plan)?;
    found.retain(|column| outer.has_column(column));
    Ok(found)
}

/// The columns outside of a plan that it names. What a query within it names is looked for in the rows
/// around that query first.
fn free(plan: &LogicalPlan) -> Result<Vec<Column>> {
    let mut found: Vec<Column> = Vec::new();
    let mut add = |columns: Vec<Column>| {
        for column in columns {
            if !found.contains(&column) {
                found.push(column);
            }
        }
    };
    plan.apply_expressions(|expr| {
        expr.apply(|expr| {
            match (expr, query_of(expr)) {
                (Expr::OuterReferenceColumn(_, column), _) => add(vec![column.clone()]),
                (_, Some(query)) => add(passing(query, plan)?),
                _ => {}
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    for input in plan.inputs() {
        let mut columns = free(input)?;
        if let LogicalPlan::Join(join) = plan
            && is_lateral(input)
        {
            columns.retain(|column| !join.left.schema().has_column(column));
        }
        add(columns);
    }
    Ok(found)
}

/// What a query in an expression of `node` names outside of that node's rows.
pub fn passing(query: &LogicalPlan, node: &LogicalPlan) -> Result<Vec<Column>> {
    let mut columns = free(query)?;
    columns.retain(|column| !node.inputs().iter().any(|input| input.schema().has_column(column)));
    Ok(columns)
}

/// The query of an expression that is a subquery.
pub fn query_of(expr: &Expr) -> Option<&LogicalPlan> {
    match expr {
        Expr::ScalarSubquery(query) => Some(&query.subquery),
        Expr::InSubquery(found) => Some(&found.subquery.subquery),
        Expr::Exists(found) => Some(&found.subquery.subquery),
        Expr::SetComparison(found) => Some(&found.subquery.subquery),
        _ => None,
    }
}

/// Whether a side of a join is a query that looks at the other.
pub fn is_lateral(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Subquery(_) => true,
        LogicalPlan::SubqueryAlias(alias) => is_lateral(&alias.input),
        _ => false,
    }
}

/// Whether an expression names one of these columns outside, beside queries within it.
fn names(expr: &Expr, columns: &[Column]) -> bool {
    let is_one = |expr: &Expr| Ok(matches!(expr, Expr::OuterReferenceColumn(_, column) if columns.contains(column)));
    expr.exists(is_one).unwrap_or(false)
}

/// Whether the rules get a subquery right that looks at these columns of the rows outside. One of which a
/// value is asked for is counted first where it may have several rows.
pub fn is_simple(plan: &LogicalPlan, columns: &[Column], asked: Asked) -> Result<bool> {
    let counted = asked == Asked::Value && may_have_rows(plan);
    Simple { columns, asked }.is(plan, counted)
}

struct Simple<'a> {
    columns: &'a [Column],
    asked: Asked,
}

impl Simple<'_> {
    fn looks(&self, plan: &LogicalPlan) -> Result<bool> {
        Ok(free(plan)?.iter().any(|column| self.columns.contains(column)))
    }

    /// Whether a query in an expression of `node` looks past that node's rows at these columns.
    fn look_past(&self, expr: &Expr, node: &LogicalPlan) -> Result<bool> {
        let mut past = false;
        expr.apply(|expr| {
            if let Some(query) = query_of(expr) {
                past |= passing(query, node)?.iter().any(|column| self.columns.contains(column));
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(past)
    }

    /// Whether the rows below a node look outside, and a query in its expressions will be computed for all
    /// values of these rows: it looks further out then, too.
    fn is_copied(&self, node: &LogicalPlan) -> Result<bool> {
        let inputs = node.inputs();
        if !inputs
            .iter()
            .map(|input| self.looks(input))
            .collect::<Result<Vec<_>>>()?
            .contains(&true)
        {
            return Ok(false);
        }
        let in_filter = matches!(node, LogicalPlan::Filter(_));
        let mut is = false;
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                let Some(query) = query_of(expr) else {
                    return Ok(TreeNodeRecursion::Continue);
                };
                let mut columns = Vec::new();
                for input in &inputs {
                    columns.extend(looked_at(query, input.schema())?);
                }
                let stays = match expr {
                    _ if columns.is_empty() => true,
                    Expr::ScalarSubquery(_) => is_simple(query, &columns, Asked::Value)?,
                    Expr::Exists(_) => in_filter && is_simple(query, &columns, Asked::Whether)?,
                    _ => in_filter && !is_over_aggregate(query) && is_simple(query, &columns, Asked::Whether)?,
                };
                is |= !stays;
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        Ok(is)
    }

    fn is(&self, plan: &LogicalPlan, under_aggregate: bool) -> Result<bool> {
        if !self.looks(plan)? {
            return Ok(true);
        }
        let mut own = false;
        let mut past = false;
        plan.apply_expressions(|expr| {
            own |= names(expr, self.columns);
            past |= self.look_past(expr, plan)?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        if past || self.is_copied(plan)? {
            return Ok(false);
        }
        match plan {
            LogicalPlan::Filter(filter) => {
                let parts = split_conjunction(&filter.predicate);
                let outer = parts.into_iter().filter(|part| names(part, self.columns));
                let keys = outer.clone().all(|condition| is_key(condition, filter.input.schema()));
                let over_aggregate = is_over_aggregate(&filter.input);
                let having = over_aggregate && (own || one_row(&filter.input) && self.asked != Asked::Value);
                Ok((keys || !under_aggregate) && !having && self.is(&filter.input, under_aggregate)?)
            }
            _ if own => Ok(false),
            LogicalPlan::Projection(projection) => self.is(&projection.input, under_aggregate),
            LogicalPlan::Aggregate(aggregate) => {
                let groups = &aggregate.group_expr;
                let sets = groups.iter().any(|group| matches!(group, Expr::GroupingSet(_)));
                let one_value = self.asked != Asked::Value || groups.is_empty();
                Ok(!sets && !under_aggregate && one_value && self.is(&aggregate.input, true)?)
            }
            LogicalPlan::Distinct(Distinct::All(input)) => {
                Ok(self.asked == Asked::Whether && self.is(input, under_aggregate)?)
            }
            LogicalPlan::Join(join) => self.is_join(join, under_aggregate),
            _ => Ok(false),
        }
    }

    /// A condition may be taken out of a side whose rows the join only passes on or leaves out.
    fn is_join(&self, join: &Join, under_aggregate: bool) -> Result<bool> {
        use JoinType as Kind;
        // A query beside rows is computed for all values of them.
        if is_lateral(&join.right) && self.looks(&join.left)? {
            return Ok(false);
        }
        let (left, right) = match join.join_type {
            Kind::Inner => (true, true),
            Kind::Left => (true, false),
            Kind::Right => (false, true),
            // As written, those are set operations, which compare whole rows.
            _ => (false, false),
        };
        let side = |plan: &LogicalPlan, may: bool| -> Result<bool> {
            Ok(!self.looks(plan)? || may && self.is(plan, under_aggregate)?)
        };
        Ok(side(&join.left, left)? && side(&join.right, right)?)
    }
}

/// `column = something outside`: rows of different values outside have different groups then.
/// (Lengths of intervals are compared by a function of theirs, which the rules don't look through.)
fn is_key(condition: &Expr, schema: &DFSchema) -> bool {
    let Expr::BinaryExpr(BinaryExpr {
        left,
        op: Operator::Eq,
        right,
    }) = condition
    else {
        return false;
    };
    let is_column = |expr: &Expr| match expr {
        Expr::Cast(cast) => matches!(cast.expr.as_ref(), Expr::Column(_)),
        other => matches!(other, Expr::Column(_)),
    };
    let is_interval = |expr: &Expr| matches!(expr.get_type(schema), Ok(DataType::Interval(_)));
    if is_interval(left) || is_interval(right) {
        return false;
    }
    is_column(left) && !right.any_column_refs() || is_column(right) && !left.any_column_refs()
}

fn is_over_aggregate(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(_) => true,
        LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Filter(_) => {
            plan.inputs().into_iter().all(is_over_aggregate)
        }
        _ => false,
    }
}
