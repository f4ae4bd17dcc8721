//! Names of a result's columns.
//!
//! An expression without AS is called as it is written: `sum(price)`, `price * 2`. (The planner
//! would call it by its own form, `bids.price * Int64(2)`.) A query that is read once may give the
//! same name to several columns, which the planner can't: [`unique`] lends them names and tells which.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use sqlparser::ast::{self, Expr, Ident, ObjectNamePart, OrderByKind, SelectItem, SetExpr, TableFactor, VisitMut};
use weir_engine::relation::RelationId;

use crate::catalog::Catalog;
use crate::parse::history;
use crate::walk::{Flow, Visitor, walk};

/// An identifier's name: lower case unless quoted, as the parser and DataFusion fold it.
pub fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_ascii_lowercase(),
    }
}

/// Names every expression of a SELECT list as it is written, in subqueries too.
pub fn as_written<T: VisitMut>(tree: &mut T) {
    let _ = walk(tree, &mut Namer);
}

struct Namer;

impl Visitor for Namer {
    /// An ORDER BY of what the SELECT list shows goes by its name there. (For the planner, `score` in
    /// `SELECT sum(score) AS score … ORDER BY sum(score)` would be the sum.)
    fn enter_query(&mut self, query: &mut ast::Query) -> Flow {
        if let (SetExpr::Select(select), Some(order)) = (query.body.as_ref(), &mut query.order_by)
            && let OrderByKind::Expressions(exprs) = &mut order.kind
        {
            for by in exprs {
                let shown = select.projection.iter().find_map(|item| match item {
                    SelectItem::ExprWithAlias { expr, alias } if *expr == by.expr && !is_name(expr) => Some(alias),
                    _ => None,
                });
                if let Some(alias) = shown {
                    by.expr = Expr::Identifier(alias.clone());
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Before what is inside, whose names would stand in the text.
    fn enter_select(&mut self, select: &mut ast::Select) -> Flow {
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) = item
                && !is_name(expr)
            {
                *item = SelectItem::ExprWithAlias {
                    alias: Ident::with_quote('"', text(expr)),
                    expr: expr.clone(),
                };
            }
        }
        ControlFlow::Continue(())
    }

    /// What LATERAL shows of the rows beside it is called as there. (For the planner it is an expression.)
    fn enter_table_factor(&mut self, factor: &mut TableFactor) -> Flow {
        if let TableFactor::Derived {
            lateral: true,
            subquery,
            ..
        } = factor
            && let SetExpr::Select(select) = subquery.body.as_mut()
        {
            let names: Vec<String> = select.projection.iter().filter_map(last_name).map(folded).collect();
            for item in &mut select.projection {
                if let (SelectItem::UnnamedExpr(expr), Some(alias)) = (&*item, last_name(item).cloned())
                    && names.iter().filter(|name| **name == folded(&alias)).count() == 1
                {
                    let expr = expr.clone();
                    *item = SelectItem::ExprWithAlias { expr, alias };
                }
            }
        }
        ControlFlow::Continue(())
    }
}

/// What a column of a SELECT list is called.
fn last_name(item: &SelectItem) -> Option<&Ident> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias),
        SelectItem::UnnamedExpr(Expr::Identifier(ident)) => Some(ident),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => parts.last(),
        _ => None,
    }
}

fn is_name(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
}

/// An expression's text, functions in lower case.
pub fn text(expr: &Expr) -> String {
    let mut expr = expr.clone();
    let _ = walk(&mut expr, &mut LowerFunctions);
    // The parser has written out how many digits a time has.
    let text = expr.to_string();
    text.replace("TIMESTAMP(6) WITH TIME ZONE", "TIMESTAMPTZ")
        .replace("TIMESTAMP(6)", "TIMESTAMP")
}

struct LowerFunctions;

impl Visitor for LowerFunctions {
    fn enter_table_factor(&mut self, factor: &mut TableFactor) -> Flow {
        if let Some(written) = history::as_written(factor) {
            *factor = written;
        }
        ControlFlow::Continue(())
    }

    fn enter_expr(&mut self, expr: &mut Expr) -> Flow {
        if let Expr::Function(call) = expr {
            for part in &mut call.name.0 {
                if let ObjectNamePart::Identifier(ident) = part {
                    ident.value = folded(ident);
                }
            }
        }
        ControlFlow::Continue(())
    }
}

/// The query with another name for each column of its result whose name occurs before, and what
/// those columns are called.
pub fn unique(query: &ast::Query) -> (ast::Query, BTreeMap<String, String>) {
    let mut query = query.clone();
    as_written(&mut query);
    let mut lent = BTreeMap::new();
    unique_in(&mut query.body, &mut lent);
    (query, lent)
}

fn unique_in(body: &mut SetExpr, lent: &mut BTreeMap<String, String>) {
    match body {
        SetExpr::Select(select) => unique_items(&mut select.projection, lent),
        SetExpr::Query(query) => unique_in(&mut query.body, lent),
        SetExpr::SetOperation { left, right, .. } => {
            unique_in(left, lent);
            unique_in(right, lent);
        }
        _ => {}
    }
}

fn unique_items(items: &mut [SelectItem], lent: &mut BTreeMap<String, String>) {
    let mut seen: Vec<(String, Expr)> = Vec::new();
    for item in items {
        let (name, expr) = match item {
            SelectItem::UnnamedExpr(expr) => match expr {
                Expr::Identifier(ident) => (folded(ident), expr.clone()),
                Expr::CompoundIdentifier(parts) if !parts.is_empty() => (folded(&parts[parts.len() - 1]), expr.clone()),
                _ => continue,
            },
            SelectItem::ExprWithAlias { expr, alias } => (folded(alias), expr.clone()),
            _ => continue,
        };
        // `a.id` and `b.id` are two columns for the planner, too.
        let qualified = |expr: &Expr| matches!(expr, Expr::CompoundIdentifier(_));
        let clashes = |(other, before): &(String, Expr)| {
            *other == name && (before == &expr || !qualified(before) || !qualified(&expr))
        };
        let clash = seen.iter().any(clashes);
        seen.push((name.clone(), expr.clone()));
        if !clash {
            continue;
        }
        let alias = format!("weir_repeated_{}", lent.len());
        lent.insert(alias.clone(), name);
        *item = SelectItem::ExprWithAlias {
            expr,
            alias: Ident::with_quote('"', alias),
        };
    }
}

/// A relation's name in the catalog.
pub fn relation_name(name: &ast::ObjectName) -> String {
    let parts: Vec<String> = name.0.iter().filter_map(|part| part.as_ident()).map(folded).collect();
    match &parts[..] {
        [schema, name] if schema == "public" => name.clone(),
        _ => parts.join("."),
    }
}

/// The relations that a query names, plain views among them.
pub fn named_relations(query: &ast::Query, catalog: &Catalog) -> BTreeSet<RelationId> {
    let mut names = Names::default();
    let _ = walk(&mut query.clone(), &mut names);
    let outside = names.relations.difference(&names.within);
    outside
        .filter_map(|name| catalog.find(name))
        .map(|relation| relation.id)
        .collect()
}

#[derive(Default)]
struct Names {
    relations: BTreeSet<String>,
    /// Names that WITH gives.
    within: BTreeSet<String>,
}

impl Visitor for Names {
    fn enter_query(&mut self, query: &mut ast::Query) -> Flow {
        let ctes = query.with.iter().flat_map(|with| &with.cte_tables);
        self.within.extend(ctes.map(|cte| folded(&cte.alias.name)));
        ControlFlow::Continue(())
    }

    fn enter_relation(&mut self, relation: &mut ast::ObjectName) -> Flow {
        self.relations.insert(relation_name(relation));
        ControlFlow::Continue(())
    }
}
