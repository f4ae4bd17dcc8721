//! A DOUBLE or REAL beside a DECIMAL: as in PostgreSQL both are DOUBLEs then. DataFusion would make both
//! DECIMALs, which have no room for most DOUBLEs.

use std::ops::ControlFlow;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::{Expr, ExprSchemable, Join, LogicalPlan, LogicalPlanBuilder, Union, cast};

use sqlparser::ast;

use super::kinds::is_comparison;
use super::{numbers, session};
use crate::catalog::Catalog;
use crate::walk::{Flow, Visitor, walk};

/// Functions whose arguments have one type, which is the result's or is compared.
const ALIKE: [&str; 6] = ["coalesce", "greatest", "least", "nullif", "nvl", "nvl2"];

fn is_float(kind: &DataType) -> bool {
    matches!(kind, DataType::Float32 | DataType::Float64)
}

/// Whether the types are DECIMALs and floats.
fn are_mixed<'a>(kinds: impl Iterator<Item = &'a DataType> + Clone) -> bool {
    kinds.clone().any(is_float) && kinds.clone().any(DataType::is_decimal)
}

/// Makes DECIMALs DOUBLEs where the expressions are to have one type and a float is among them.
fn alike(exprs: Vec<&mut Expr>, schema: &DFSchema) -> Result<()> {
    let kinds: Vec<DataType> = exprs.iter().filter_map(|expr| expr.get_type(schema).ok()).collect();
    if kinds.len() < exprs.len() || !are_mixed(kinds.iter()) {
        return Ok(());
    }
    for (expr, kind) in exprs.into_iter().zip(&kinds) {
        if kind.is_decimal() {
            *expr = cast(std::mem::take(expr), DataType::Float64);
        }
    }
    Ok(())
}

/// An expression whose parts of one type are so.
pub fn beside(mut expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match &mut expr {
        Expr::BinaryExpr(binary) if is_comparison(binary.op) => {
            alike(vec![&mut *binary.left, &mut *binary.right], schema)?;
        }
        Expr::Between(between) => {
            alike(vec![&mut *between.expr, &mut *between.low, &mut *between.high], schema)?;
        }
        Expr::InList(list) => {
            let all = std::iter::once(&mut *list.expr).chain(&mut list.list);
            alike(all.collect(), schema)?;
        }
        Expr::InSubquery(subquery) => {
            let inner = subquery.subquery.subquery.schema().field(0).data_type().clone();
            let outer = subquery.expr.get_type(schema)?;
            if is_float(&inner) && outer.is_decimal() {
                *subquery.expr = cast(std::mem::take(&mut *subquery.expr), DataType::Float64);
            } else if is_float(&outer) && inner.is_decimal() {
                let plan = subquery.subquery.subquery.as_ref().clone();
                subquery.subquery.subquery = doubles(plan, &[true])?.into();
            }
        }
        Expr::Case(case) => {
            if let Some(value) = &mut case.expr {
                let whens = case.when_then_expr.iter_mut().map(|(when, _)| &mut **when);
                alike(std::iter::once(&mut **value).chain(whens).collect(), schema)?;
            }
            let thens = case.when_then_expr.iter_mut().map(|(_, then)| &mut **then);
            let results = thens.chain(case.else_expr.as_deref_mut());
            alike(results.collect(), schema)?;
        }
        Expr::ScalarFunction(call) if ALIKE.contains(&call.func.name()) => {
            alike(call.args.iter_mut().collect(), schema)?;
        }
        _ => return Ok(Transformed::no(expr)),
    }
    Ok(Transformed::yes(expr))
}

/// The plan with these of its columns as DOUBLEs.
fn doubles(plan: LogicalPlan, wanted: &[bool]) -> Result<LogicalPlan> {
    let columns = plan.schema().columns().into_iter().zip(wanted).map(|(column, wanted)| {
        let (relation, name) = (column.relation.clone(), column.name.clone());
        match wanted {
            true => cast(Expr::Column(column), DataType::Float64).alias_qualified(relation, name),
            false => Expr::Column(column),
        }
    });
    let columns: Vec<Expr> = columns.collect();
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

/// Makes DECIMALs in VALUES DOUBLEs where a float is in their column. This is done to the text: the planner
/// makes values fit as it plans them.
pub fn in_values(query: &mut ast::Query, catalog: &Catalog) {
    let _ = walk(query, &mut InValues { catalog });
}

struct InValues<'a> {
    catalog: &'a Catalog,
}

impl Visitor for InValues<'_> {
    fn enter_query(&mut self, query: &mut ast::Query) -> Flow {
        self.body(&mut query.body);
        ControlFlow::Continue(())
    }
}

impl InValues<'_> {
    fn body(&self, body: &mut ast::SetExpr) {
        match body {
            ast::SetExpr::Values(values) => {
                let width = values.rows.iter().map(|row| row.content.len()).max().unwrap_or(0);
                (0..width).for_each(|column| self.column(values, column));
            }
            ast::SetExpr::SetOperation { left, right, .. } => {
                self.body(left);
                self.body(right);
            }
            _ => {}
        }
    }

    fn column(&self, values: &mut ast::Values, column: usize) {
        let mut cells: Vec<&mut ast::Expr> = values
            .rows
            .iter_mut()
            .filter_map(|row| row.content.get_mut(column))
            .collect();
        // A float is no plain number ([`numbers`]).
        if cells.iter().all(|cell| matches!(cell, ast::Expr::Value(_))) {
            return;
        }
        let kinds: Vec<DataType> = cells.iter().map(|cell| self.kind(cell)).collect();
        if !are_mixed(kinds.iter()) {
            return;
        }
        for (cell, kind) in cells.iter_mut().zip(&kinds) {
            if kind.is_decimal() {
                **cell = numbers::double(cell.clone());
            }
        }
    }

    /// What a cell is, as far as that matters here.
    fn kind(&self, cell: &ast::Expr) -> DataType {
        if let ast::Expr::Value(value) = cell {
            return match &value.value {
                ast::Value::Number(number, _) if number.contains('.') => DataType::Decimal128(38, 10),
                _ => DataType::Null,
            };
        }
        let nothing = DFSchema::empty();
        let planned = session::scalar(cell, &nothing, self.catalog);
        let kind = planned.ok().and_then(|planned| planned.get_type(&nothing).ok());
        kind.unwrap_or(DataType::Null)
    }
}

/// Columns of one type in a UNION, and keys of a join.
pub fn of_node(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match node {
        LogicalPlan::Union(union) => columns(union),
        LogicalPlan::Join(join) => keys(join),
        other => Ok(Transformed::no(other)),
    }
}

fn columns(union: Union) -> Result<Transformed<LogicalPlan>> {
    let width = union.inputs.first().map_or(0, |input| input.schema().fields().len());
    let kind = |input: &LogicalPlan, column: usize| input.schema().field(column).data_type().clone();
    let mixed = |column: usize| {
        let kinds: Vec<DataType> = union.inputs.iter().map(|input| kind(input, column)).collect();
        are_mixed(kinds.iter())
    };
    let mixed: Vec<bool> = (0..width).map(mixed).collect();
    if !mixed.contains(&true) {
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    }
    let inputs = union.inputs.iter().map(|input| {
        let wanted: Vec<bool> = (0..width)
            .map(|column| mixed[column] && kind(input, column).is_decimal())
            .collect();
        match wanted.contains(&true) {
            true => Ok(doubles(input.as_ref().clone(), &wanted)?.into()),
            false => Ok(input.clone()),
        }
    });
    let union = Union::try_new_with_loose_types(inputs.collect::<Result<_>>()?)?;
    Ok(Transformed::yes(LogicalPlan::Union(union)))
}

fn keys(mut join: Join) -> Result<Transformed<LogicalPlan>> {
    let mut changed = false;
    for (left, right) in &mut join.on {
        let kinds = (left.get_type(join.left.schema())?, right.get_type(join.right.schema())?);
        for (key, kind, other) in [(left, &kinds.0, &kinds.1), (right, &kinds.1, &kinds.0)] {
            if kind.is_decimal() && is_float(other) {
                *key = cast(std::mem::take(key), DataType::Float64);
                changed = true;
            }
        }
    }
    let join = LogicalPlan::Join(join);
    Ok(if changed {
        Transformed::yes(join)
    } else {
        Transformed::no(join)
    })
}
