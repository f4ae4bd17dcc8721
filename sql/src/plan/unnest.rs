//! UNNEST in FROM, beside the rows whose arrays it takes apart.
//!
//! `FROM t, UNNEST(t.tags) AS u(tag)` is planned as a join with a subquery that reads t's row. It is
//! the rows of t with their arrays unnested in place, and with LEFT JOIN those without elements too.
//! `WITH ORDINALITY` is one more array, of the numbers from 1.

use std::ops::ControlFlow;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinType, NullHandling, Result, ScalarValue};
use datafusion::logical_expr::{Expr, Filter, Join, LogicalPlan, Projection, Unnest};
use sqlparser::ast::{self, TableFactor, VisitMut};

use super::json::rewritten;
use crate::parse::syntax::call;
use crate::walk::{Flow, Visitor, walk};

/// Gives every `UNNEST … WITH ORDINALITY` the numbers of its elements. An array in brackets becomes a call,
/// for DataFusion's planner knows the columns of an outer row only there.
pub fn numbered<T: VisitMut>(tree: &mut T) {
    let _ = walk(tree, &mut Ordinals);
}

const SERIES: &str = "generate_series";

struct Ordinals;

impl Visitor for Ordinals {
    fn enter_expr(&mut self, expr: &mut ast::Expr) -> Flow {
        if let ast::Expr::Array(array) = expr {
            *expr = call("make_array", std::mem::take(&mut array.elem));
        }
        ControlFlow::Continue(())
    }

    fn enter_table_factor(&mut self, factor: &mut TableFactor) -> Flow {
        rewritten::in_from(factor);
        beside_by_itself(factor);
        series_and_values(factor);
        let TableFactor::UNNEST {
            array_exprs,
            with_ordinality,
            alias,
            ..
        } = factor
        else {
            return ControlFlow::Continue(());
        };
        if std::mem::take(with_ordinality) {
            let lengths: Vec<ast::Expr> = array_exprs.iter().map(length).collect();
            let longest = match &lengths[..] {
                [only] => only.clone(),
                _ => call("greatest", lengths),
            };
            array_exprs.push(call(SERIES, vec![one(), longest]));
            name_columns(alias, array_exprs.len());
        } else if let [_] = &array_exprs[..] {
            let alias = alias.get_or_insert_with(|| named("unnest"));
            if alias.columns.is_empty() {
                alias.columns.push(column(alias.name.clone()));
            }
        }
        ControlFlow::Continue(())
    }
}

/// What gives rows of the row beside it without reading any: `LATERAL (VALUES …)`, and `generate_series` of columns or
/// of times. (That of constant numbers is a relation of its own.)
fn series_and_values(factor: &mut TableFactor) {
    let (array_exprs, alias, with_ordinality) = match factor {
        TableFactor::Derived {
            lateral: true,
            subquery,
            alias,
            ..
        } => match subquery.body.as_ref() {
            ast::SetExpr::Values(values) if subquery.order_by.is_none() && subquery.limit_clause.is_none() => {
                let width = values.rows.first().map_or(0, |row| row.len());
                let of_column = |column: usize| values.rows.iter().filter_map(|row| row.get(column).cloned()).collect();
                let arrays = (0..width).map(|column| call("make_array", of_column(column)));
                (arrays.collect::<Vec<_>>(), alias, false)
            }
            _ => return,
        },
        TableFactor::Table {
            name,
            args: Some(args),
            alias,
            with_ordinality,
            ..
        } if name.to_string().eq_ignore_ascii_case(SERIES) => {
            let plain = |arg: &ast::FunctionArg| match arg {
                ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
                _ => None,
            };
            let args: Vec<ast::Expr> = args.args.iter().filter_map(plain).collect();
            let named = alias.get_or_insert_with(|| named(SERIES));
            if named.columns.is_empty() {
                named.columns.push(column(named.name.clone()));
            }
            if args.iter().all(is_number) && !*with_ordinality {
                return;
            }
            (vec![call(SERIES, args)], alias, *with_ordinality)
        }
        _ => return,
    };
    let mut alias = alias.take();
    if let (Some(alias), true) = (&mut alias, array_exprs.len() > 1) {
        for number in alias.columns.len()..array_exprs.len() {
            alias
                .columns
                .push(column(ast::Ident::new(format!("column{}", number + 1))));
        }
    }
    *factor = TableFactor::UNNEST {
        alias,
        array_exprs,
        with_offset: false,
        with_offset_alias: None,
        with_ordinality,
    };
}

fn is_number(expr: &ast::Expr) -> bool {
    match expr {
        ast::Expr::UnaryOp { expr, .. } | ast::Expr::Nested(expr) => is_number(expr),
        ast::Expr::Value(value) => matches!(value.value, ast::Value::Number(..) | ast::Value::Placeholder(_)),
        _ => false,
    }
}

/// `LATERAL UNNEST(…)`, which the parser takes for any function: without the word it means the same.
fn beside_by_itself(factor: &mut TableFactor) {
    if let TableFactor::Function {
        lateral: true,
        name,
        args,
        with_ordinality,
        alias,
    } = factor
        && name.to_string().eq_ignore_ascii_case("unnest")
    {
        let array = |arg: &ast::FunctionArg| match arg {
            ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(array)) => Some(array.clone()),
            _ => None,
        };
        let Some(array_exprs) = args.iter().map(array).collect() else {
            return;
        };
        *factor = TableFactor::UNNEST {
            alias: alias.take(),
            array_exprs,
            with_offset: false,
            with_offset_alias: None,
            with_ordinality: *with_ordinality,
        };
    }
}

/// PostgreSQL's names of the columns, where they have none: as the alias says, and `ordinality`.
fn name_columns(alias: &mut Option<ast::TableAlias>, columns: usize) {
    let alias = alias.get_or_insert_with(|| named("unnest"));
    if alias.columns.is_empty() && columns == 2 {
        alias.columns.push(column(alias.name.clone()));
    }
    if alias.columns.len() + 1 == columns {
        alias.columns.push(column(ast::Ident::new("ordinality")));
    }
}

/// As PostgreSQL calls a function's rows that have no alias.
fn named(function: &str) -> ast::TableAlias {
    ast::TableAlias {
        explicit: true,
        name: ast::Ident::new(function),
        columns: Vec::new(),
        at: None,
    }
}

fn column(name: ast::Ident) -> ast::TableAliasColumnDef {
    ast::TableAliasColumnDef { name, data_type: None }
}

fn one() -> ast::Expr {
    ast::Expr::Value(ast::Value::Number("1".to_string(), false).into())
}

/// `CAST(array_length(array) AS BIGINT)`
fn length(array: &ast::Expr) -> ast::Expr {
    ast::Expr::Cast {
        kind: ast::CastKind::Cast,
        expr: Box::new(call("array_length", vec![array.clone()])),
        data_type: ast::DataType::BigInt(None),
        array: false,
        format: None,
    }
}

/// The plan with the rows of each UNNEST right beside those that its arrays come from.
pub fn beside_rows(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join) => match beside(&join)? {
            Some(plan) => Ok(Transformed::yes(plan)),
            None => Ok(Transformed::no(LogicalPlan::Join(join))),
        },
        other => Ok(Transformed::no(other)),
    })
    .map(|done| done.data)
}

/// An UNNEST in FROM: what it shows, of what is unnested, of what is computed for it.
struct Taken<'a> {
    shown: Vec<Expr>,
    unnest: &'a Unnest,
    arrays: &'a [Expr],
}

fn taken(right: &LogicalPlan) -> Option<Taken<'_>> {
    match right {
        LogicalPlan::SubqueryAlias(alias) => taken(&alias.input),
        LogicalPlan::Subquery(subquery) => taken(&subquery.subquery),
        LogicalPlan::Projection(projection) => match projection.input.as_ref() {
            LogicalPlan::Unnest(unnest) => Some(Taken {
                shown: projection.expr.clone(),
                unnest,
                arrays: arrays_of(unnest)?,
            }),
            below => {
                let inner = taken(below)?;
                let shown = projection.expr.iter().map(|expr| shown_by(expr, below, &inner.shown));
                let shown = shown.collect::<Option<_>>()?;
                Some(Taken { shown, ..inner })
            }
        },
        _ => None,
    }
}

/// What is computed for an UNNEST that reads no rows of its own.
fn arrays_of(unnest: &Unnest) -> Option<&[Expr]> {
    let LogicalPlan::Projection(arrays) = unnest.input.as_ref() else {
        return None;
    };
    match arrays.input.as_ref() {
        LogicalPlan::EmptyRelation(empty) if empty.produce_one_row => Some(&arrays.expr),
        _ => None,
    }
}

/// An expression over the columns of `below` as one over what these are.
fn shown_by(expr: &Expr, below: &LogicalPlan, shown: &[Expr]) -> Option<Expr> {
    let replaced = expr.clone().transform_up(|expr| match &expr {
        Expr::Column(column) => {
            let at = below.schema().index_of_column(column)?;
            Ok(Transformed::yes(shown[at].clone().unalias()))
        }
        _ => Ok(Transformed::no(expr)),
    });
    replaced.ok().map(|done| done.data)
}

fn beside(join: &Join) -> Result<Option<LogicalPlan>> {
    let Some(Taken { shown, unnest, arrays }) = taken(&join.right) else {
        return Ok(None);
    };
    let is_true = |filter: &Expr| matches!(filter, Expr::Literal(ScalarValue::Boolean(Some(true)), _));
    let filter = join.filter.as_ref().filter(|filter| !is_true(filter));
    let null_handling = match (join.join_type, filter) {
        (JoinType::Inner, _) => NullHandling::Drop,
        (JoinType::Left, None) => NullHandling::PreserveAndExpandEmpty,
        _ => return Ok(None),
    };
    if !join.on.is_empty() {
        return Ok(None);
    }
    let rows: Vec<Expr> = join.left.schema().columns().into_iter().map(Expr::Column).collect();
    let mut computed = rows.clone();
    for array in arrays {
        computed.push(of_row(array.clone())?);
    }
    let computed = LogicalPlan::Projection(Projection::try_new(computed, join.left.clone())?);
    let options = unnest.options.clone().with_null_handling(null_handling);
    let unnested = Unnest::try_new(computed.into(), unnest.exec_columns.clone(), options)?;
    let mut exprs = rows;
    let columns = join.right.schema().iter();
    for (expr, (qualifier, field)) in shown.iter().zip(columns) {
        exprs.push(expr.clone().unalias().alias_qualified(qualifier.cloned(), field.name()));
    }
    let plan = LogicalPlan::Projection(Projection::try_new(exprs, LogicalPlan::Unnest(unnested).into())?);
    Ok(Some(match filter {
        Some(filter) => LogicalPlan::Filter(Filter::try_new(filter.clone(), plan.into())?),
        None => plan,
    }))
}

/// An expression over the outer row as one over the row.
fn of_row(expr: Expr) -> Result<Expr> {
    let inner = |expr: Expr| match expr {
        Expr::OuterReferenceColumn(_, column) => Ok(Transformed::yes(Expr::Column(column))),
        other => Ok(Transformed::no(other)),
    };
    expr.transform_up(inner).map(|done| done.data)
}
