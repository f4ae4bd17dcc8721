//! The rows of INSERT … VALUES, and other values that stand where a column's type is known.
//!
//! A literal is read as the column's type at once, so that `1.10` in a DECIMAL column is exactly
//! that, and what can't be read has its place in the text. Other expressions are converted when they
//! are computed.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{
    EmptyRelation, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Values, Volatility, cast, union,
};
use sqlparser::ast::{self, Spanned};

use super::assign;
use crate::catalog::{Catalog, Definition, Relation};
use crate::parse::is_default;
use crate::plan::{errors, expr, session, spelled};
use crate::statement::Expression;
use crate::walk::{Flow, Visitor, walk};
use crate::{Result, read};

/// The rows of a query that is nothing but VALUES.
pub fn of(query: &ast::Query) -> Option<&ast::Values> {
    match query.body.as_ref() {
        ast::SetExpr::Values(values)
            if query.with.is_none() && query.order_by.is_none() && query.limit_clause.is_none() =>
        {
            Some(values)
        }
        _ => None,
    }
}

/// The rows as a plan, its columns being the table's `columns`.
pub fn plan(values: &ast::Values, table: &Relation, columns: &[usize], catalog: &Catalog) -> Result<LogicalPlan> {
    let mut rows = Vec::with_capacity(values.rows.len());
    for (number, row) in values.rows.iter().enumerate() {
        let cells = &row.content;
        if cells.len() != columns.len() {
            let names = super::listed(&table.schema, columns);
            let message = format!(
                "row {} has {} values, and INSERT INTO '{}' wants {}: {names}",
                number + 1,
                cells.len(),
                table.name,
                columns.len()
            );
            let at = cells.get(columns.len()).or(cells.first()).map(|cell| cell.span().start);
            return Err(match at {
                Some(at) => errors::at(message, at),
                None => crate::Error::new(message),
            });
        }
        let cells = cells.iter().zip(columns);
        rows.push(
            cells
                .map(|(cell, column)| value(&meant(cell, table, *column), table, *column, catalog))
                .collect::<Result<Vec<_>>>()?,
        );
    }
    let fields: Vec<Field> = columns
        .iter()
        .map(|column| table.schema.field(*column).clone().with_nullable(true))
        .collect();
    let schema = DFSchema::from_unqualified_fields(fields.into(), Default::default()).map_err(read::error)?;
    if rows.iter().flatten().any(has_query) {
        return one_by_one(rows, &schema);
    }
    Ok(LogicalPlan::Values(Values {
        schema: Arc::new(schema),
        values: rows,
    }))
}

/// Rows that hold queries, each as a SELECT without FROM.
fn one_by_one(rows: Vec<Vec<Expr>>, schema: &DFSchema) -> Result<LogicalPlan> {
    let mut all: Option<LogicalPlan> = None;
    for row in rows {
        let nothing = LogicalPlan::EmptyRelation(EmptyRelation {
            produce_one_row: true,
            schema: Arc::new(DFSchema::empty()),
        });
        let named = row.into_iter().zip(schema.fields());
        let exprs = named.map(|(expr, field)| expr.alias(field.name()));
        let row = LogicalPlanBuilder::from(nothing)
            .project(exprs)
            .and_then(LogicalPlanBuilder::build)
            .map_err(read::error)?;
        all = Some(match all {
            Some(before) => union(before, row).map_err(read::error)?,
            None => row,
        });
    }
    all.ok_or_else(|| crate::Error::new("VALUES has no rows"))
}

/// A value as it is written, or that of the column, for which DEFAULT stands.
pub fn meant<'a>(cell: &'a ast::Expr, table: &'a Relation, column: usize) -> Cow<'a, ast::Expr> {
    if !is_default(cell) {
        return Cow::Borrowed(cell);
    }
    let default = match &table.definition {
        Definition::Table(definition) => definition.defaults.get(column).and_then(Option::as_ref),
        _ => None,
    };
    match default {
        Some(default) => Cow::Borrowed(default),
        None => Cow::Owned(ast::Expr::Value(ast::Value::Null.into())),
    }
}

fn has_query(expr: &Expr) -> bool {
    let mut found = false;
    let _ = expr.apply(|expr| {
        found |= matches!(expr, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_));
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

/// One value, of the column's type.
fn value(cell: &ast::Expr, table: &Relation, column: usize, catalog: &Catalog) -> Result<Expr> {
    let field = table.schema.field(column);
    let at = cell.span().start;
    let cell = exact_literal(cell, field.data_type());
    let nothing = DFSchema::empty();
    let mut planned = session::scalar(&cell, &nothing, catalog)?;
    type_parameter(&mut planned, field);
    let planned = session::computed(planned, &nothing)?;
    if let Expr::Literal(literal, _) = &planned {
        let array = literal.to_array().map_err(read::error)?;
        assign::check(table, column, array.data_type(), Some(at))?;
        let array = assign::assign(table, column, &array).map_err(|error| errors::at(error.message, at))?;
        let literal = ScalarValue::try_from_array(&array, 0).map_err(read::error)?;
        return Ok(Expr::Literal(literal, None));
    }
    let kind = planned.get_type(&nothing).map_err(read::error)?;
    assign::check(table, column, &kind, Some(at))?;
    if kind == *field.data_type() {
        return Ok(planned);
    }
    Ok(cast(planned, field.data_type().clone()))
}

/// Refuses a table one of whose DEFAULTs can't be computed, or not as its column's type.
pub fn check_defaults(table: &Relation, catalog: &Catalog) -> Result<()> {
    let Definition::Table(definition) = &table.definition else {
        return Ok(());
    };
    for (column, expr) in definition.defaults.iter().enumerate() {
        let Some(expr) = expr else { continue };
        no_columns(expr)?;
        value(expr, table, column, catalog)
            .and_then(|planned| is_a_value(&planned))
            .map_err(|error| errors::placed_in(error, expr))?;
    }
    Ok(())
}

/// A DEFAULT is computed before there is a row.
fn no_columns(expr: &Expression) -> Result<()> {
    struct Names(Option<ast::Ident>);
    impl Visitor for Names {
        fn enter_expr(&mut self, expr: &mut ast::Expr) -> Flow {
            match expr {
                ast::Expr::Identifier(name) => self.0.get_or_insert(name.clone()),
                ast::Expr::CompoundIdentifier(parts) => self.0.get_or_insert(parts[0].clone()),
                _ => return ControlFlow::Continue(()),
            };
            ControlFlow::Continue(())
        }
    }
    let mut written: ast::Expr = (*expr).clone();
    // What is asked without parentheses, such as current_user, is no column.
    spelled::out(&mut written)?;
    let mut names = Names(None);
    let _ = walk(&mut written, &mut names);
    let Some(name) = names.0 else { return Ok(()) };
    let message = format!(
        "a DEFAULT sees no columns, as it is computed before the row is there, and '{0}' would be one; text stands in single \
         quotes, '{0}'",
        name.value
    );
    Err(errors::at(message, name.span.start))
}

/// Refuses what is no value of a row by itself, and a constant that can't be computed.
fn is_a_value(planned: &Expr) -> Result<()> {
    let mut wrong = None;
    let mut is_constant = true;
    let _ = planned.apply(|expr| {
        let name = match expr {
            Expr::AggregateFunction(call) => Some((call.func.name().to_string(), "sums rows up")),
            Expr::WindowFunction(call) => Some((call.fun.name().to_string(), "looks at other rows")),
            Expr::Unnest(_) => Some(("unnest".to_string(), "makes several rows")),
            Expr::ScalarFunction(call) => {
                is_constant &= call.func.signature().volatility == Volatility::Immutable;
                None
            }
            _ => None,
        };
        if let (None, Some((name, does))) = (&wrong, name) {
            wrong = Some(format!("{name}() {does}, and a DEFAULT is one value of one row"));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    if let Some(message) = wrong {
        return Err(crate::Error::new(message));
    }
    if !is_constant {
        return Ok(());
    }
    let nothing = DFSchema::empty();
    let one_row = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(nothing.inner().clone(), Vec::new(), &one_row);
    let row = row.map_err(|error| crate::Error::new(error.to_string()))?;
    let computed = expr::physical(planned, &nothing)?.evaluate(&row);
    computed.map(drop).map_err(errors::translate)
}

/// A column's DEFAULT.
pub fn default(table: &Relation, column: usize, default: &Expression, catalog: &Catalog) -> Result<Expr> {
    value(default, table, column, catalog)
}

/// A parameter that stands for a whole value has the column's type.
pub fn type_parameter(expr: &mut Expr, field: &Field) {
    if let Expr::Placeholder(placeholder) = expr
        && placeholder.field.is_none()
    {
        placeholder.field = Some(Arc::new(field.clone().with_nullable(true)));
    }
}

/// A number's literal for a DECIMAL column as text: read as a floating point number it would lose
/// digits.
pub fn exact_literal(expr: &ast::Expr, kind: &DataType) -> ast::Expr {
    if !matches!(kind, DataType::Decimal128(..) | DataType::Decimal256(..)) {
        return expr.clone();
    }
    let (sign, value) = match expr {
        ast::Expr::UnaryOp {
            op: ast::UnaryOperator::Minus,
            expr,
        } => ("-", expr.as_ref()),
        other => ("", other),
    };
    match value {
        ast::Expr::Value(literal) => match &literal.value {
            ast::Value::Number(digits, _) => {
                let text = ast::Value::SingleQuotedString(format!("{sign}{digits}"));
                ast::Expr::Value(ast::ValueWithSpan {
                    value: text,
                    span: literal.span,
                })
            }
            _ => expr.clone(),
        },
        _ => expr.clone(),
    }
}
