//! `FETCH FIRST n ROWS ONLY | WITH TIES`, in words that the planner knows.
//!
//! `ONLY` is a LIMIT. `WITH TIES` leaves the rows whose rank is no more than n, and of these the ones
//! behind the OFFSET: a QUALIFY. An order of the rows that are left stays where it was.

use sqlparser::ast::{self, BinaryOperator, Expr, LimitClause, OrderByKind, SelectItem, SetExpr, VisitMut};

use crate::parse::syntax::call;
use crate::walk::{Flow, Visitor, done, flow, walk};
use crate::{Error, Result};

/// Replaces every FETCH of a query, in subqueries too.
pub fn as_limits<T: VisitMut>(tree: &mut T) -> Result<()> {
    done(walk(tree, &mut Fetches))
}

/// As [`as_limits`], for a query whose rows have no order in the end: one that says only which are
/// the first goes.
pub fn as_limits_without_order(query: &mut ast::Query) -> Result<()> {
    let with_ties = query.fetch.as_ref().is_some_and(|fetch| fetch.with_ties);
    as_limits(query)?;
    if with_ties {
        query.order_by = None;
    }
    Ok(())
}

struct Fetches;

impl Visitor for Fetches {
    fn enter_query(&mut self, query: &mut ast::Query) -> Flow {
        flow(replace(query))
    }
}

fn replace(query: &mut ast::Query) -> Result<()> {
    let Some(fetch) = query.fetch.take() else {
        return Ok(());
    };
    if fetch.percent {
        return Err(Error::new(
            "FETCH FIRST … PERCENT is not supported; say a number of rows",
        ));
    }
    let offset = match query.limit_clause.take() {
        None => None,
        Some(LimitClause::LimitOffset {
            limit: None,
            offset,
            limit_by,
        }) if limit_by.is_empty() => offset,
        Some(_) => return Err(Error::new("LIMIT and FETCH FIRST say the same; leave one of them out")),
    };
    let one = Expr::Value(ast::Value::Number("1".to_string(), false).into());
    let rows = fetch.quantity.unwrap_or(one);
    if !fetch.with_ties {
        query.limit_clause = Some(LimitClause::LimitOffset {
            limit: Some(rows),
            offset,
            limit_by: Vec::new(),
        });
        return Ok(());
    }
    let passed_over = offset.map_or(Some(0), |offset| number(&offset.value));
    let (Some(rows), Some(passed_over)) = (number(&rows), passed_over) else {
        return Err(Error::new("FETCH FIRST … WITH TIES and its OFFSET take numbers"));
    };
    with_ties(query, rows, passed_over)
}

fn number(expr: &Expr) -> Option<u64> {
    match expr {
        Expr::Value(value) => match &value.value {
            ast::Value::Number(number, _) => number.parse().ok(),
            _ => None,
        },
        Expr::Nested(inner) => number(inner),
        _ => None,
    }
}

fn with_ties(query: &mut ast::Query, rows: u64, passed_over: u64) -> Result<()> {
    let Some(OrderByKind::Expressions(order)) = query.order_by.as_ref().map(|order| &order.kind) else {
        return Err(Error::new(
            "FETCH FIRST … WITH TIES needs an ORDER BY, which says what is a tie",
        ));
    };
    let items: &[SelectItem] = match query.body.as_ref() {
        SetExpr::Select(select) => &select.projection,
        _ => &[],
    };
    let order: Vec<ast::OrderByExpr> = order.iter().map(|by| by_expression(by, items)).collect();
    let compared = |function: &str, op: BinaryOperator, rows: u64| Expr::BinaryOp {
        left: Box::new(over(function, order.clone())),
        op,
        right: Box::new(Expr::Value(ast::Value::Number(rows.to_string(), false).into())),
    };
    let mut condition = compared("rank", BinaryOperator::LtEq, passed_over.saturating_add(rows));
    if passed_over > 0 {
        condition = Expr::BinaryOp {
            left: Box::new(condition),
            op: BinaryOperator::And,
            right: Box::new(compared("row_number", BinaryOperator::Gt, passed_over)),
        };
    }
    match query.body.as_mut() {
        SetExpr::Select(select) if select.distinct.is_none() && select.qualify.is_none() => {
            select.qualify = Some(condition);
            Ok(())
        }
        _ => Err(Error::new(
            "FETCH FIRST … WITH TIES goes with a plain SELECT; put what has DISTINCT, QUALIFY or UNION into a subquery: \
             SELECT * FROM (…) ORDER BY … FETCH FIRST n ROWS WITH TIES",
        )),
    }
}

/// `function() OVER (ORDER BY …)`.
fn over(function: &str, order_by: Vec<ast::OrderByExpr>) -> Expr {
    let mut ranked = call(function, Vec::new());
    if let Expr::Function(call) = &mut ranked {
        call.over = Some(ast::WindowType::WindowSpec(ast::WindowSpec {
            window_name: None,
            partition_by: Vec::new(),
            order_by,
            window_frame: None,
        }));
    }
    ranked
}

/// What is ordered by; a number is the column of that place.
fn by_expression(by: &ast::OrderByExpr, items: &[SelectItem]) -> ast::OrderByExpr {
    let mut by = by.clone();
    let item = number(&by.expr).and_then(|place| items.get(usize::try_from(place).ok()?.checked_sub(1)?));
    if let Some(SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item {
        by.expr = expr.clone();
    }
    by
}
