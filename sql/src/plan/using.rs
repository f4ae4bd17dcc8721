//! Joins by the names of columns, USING and NATURAL, as joins ON.
//!
//! `a FULL JOIN b USING (g)` has one column g, which the planner would take from a alone. Here each such
//! join gets its condition, and g is written as what it means: `a.g`, of a RIGHT JOIN `b.g`, of a FULL
//! JOIN `coalesce(a.g, b.g)`. `*` becomes the columns that it shows, shared ones first, as PostgreSQL has
//! them. `a.g` and `b.g` are the sides' own, as they were.
//!
//! Where rows become JSON, as by `row_to_json(t)`, or JSON becomes rows, the name of a relation alone stands for its
//! row.
//!
//! So that names inside of subqueries are told from those around them, the columns of each FROM are
//! followed: of relations from the catalog, of queries from their SELECT lists.

use std::ops::ControlFlow;

use sqlparser::ast::{
    self, BinaryOperator, Distinct, Expr, Ident, JoinConstraint, JoinOperator, ObjectName, OrderBy, OrderByKind,
    Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableAlias, TableFactor, TableWithJoins, VisitMut,
    WildcardAdditionalOptions,
};

use super::names::{self, folded, relation_name};
use crate::catalog::Catalog;
use crate::parse::syntax::{USING, call, select};
use crate::walk::{Flow, Visitor, done, walk};
use crate::{Error, Result};

mod scope;

use scope::{Columns, Meaning, Scope};

/// Writes out every join by name of a query, in subqueries too.
pub fn spelled_out(query: &mut ast::Query, catalog: &Catalog) -> Result<()> {
    let mut found = Found::default();
    let _ = walk(query, &mut found);
    if !found.joins && !found.rows {
        return Ok(());
    }
    names::as_written(query);
    let mut writer = Writer {
        catalog,
        ctes: Vec::new(),
        scopes: Vec::new(),
        aside: Vec::new(),
        unnamed: 0,
        rows: found.rows,
    };
    writer.query(query).map(drop)
}

/// Whether there is something to write out.
#[derive(Default)]
struct Found {
    /// Joins by name.
    joins: bool,
    /// Functions of JSON, which take rows whole.
    rows: bool,
}

impl Visitor for Found {
    fn enter_expr(&mut self, expr: &mut Expr) -> Flow {
        self.rows |= matches!(expr, Expr::Function(function) if is_of_rows(&function.name));
        ControlFlow::Continue(())
    }

    fn enter_select(&mut self, select: &mut Select) -> Flow {
        self.joins |= select.from.iter().any(has_join_by_name);
        ControlFlow::Continue(())
    }

    fn enter_table_factor(&mut self, factor: &mut TableFactor) -> Flow {
        if let TableFactor::NestedJoin { table_with_joins, .. } = factor {
            self.joins |= has_join_by_name(table_with_joins);
        }
        ControlFlow::Continue(())
    }
}

/// Whether a function makes JSON of rows, or rows of JSON.
fn is_of_rows(name: &ObjectName) -> bool {
    let name = relation_name(name);
    let built = name
        .strip_prefix("json_build_")
        .or_else(|| name.strip_prefix("jsonb_build_"));
    matches!(name.as_str(), "to_json" | "to_jsonb" | "row_to_json")
        || matches!(built, Some("object" | "array"))
        || name.starts_with("weir_json_")
}

fn has_join_by_name(item: &TableWithJoins) -> bool {
    let by_name = |operator: &JoinOperator| match constraint(&mut operator.clone()) {
        Some((JoinConstraint::Using(_) | JoinConstraint::Natural, _)) => true,
        Some((JoinConstraint::On(on), _)) => named_in(on).is_some(),
        _ => false,
    };
    item.joins.iter().any(|join| by_name(&join.join_operator))
}

/// Which side's rows are always there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Left,
    Right,
    Both,
    /// And only the left side's columns are seen.
    LeftAlone,
    /// And only the right side's.
    RightAlone,
}

fn constraint(operator: &mut JoinOperator) -> Option<(&mut JoinConstraint, Kept)> {
    use JoinOperator as Op;
    Some(match operator {
        Op::Join(on) | Op::Inner(on) | Op::Left(on) | Op::LeftOuter(on) | Op::CrossJoin(on) => (on, Kept::Left),
        Op::StraightJoin(on) => (on, Kept::Left),
        Op::Right(on) | Op::RightOuter(on) => (on, Kept::Right),
        Op::FullOuter(on) => (on, Kept::Both),
        Op::Semi(on) | Op::LeftSemi(on) | Op::Anti(on) | Op::LeftAnti(on) => (on, Kept::LeftAlone),
        Op::RightSemi(on) | Op::RightAnti(on) => (on, Kept::RightAlone),
        Op::AsOf { .. } | Op::CrossApply | Op::OuterApply => return None,
        Op::ArrayJoin | Op::LeftArrayJoin | Op::InnerArrayJoin => return None,
    })
}

/// The columns in the USING of a join as of a time, which stands behind what says of which ([`crate::parse`]).
fn named_in(on: &Expr) -> Option<Vec<Ident>> {
    let Expr::BinaryOp {
        op: BinaryOperator::And,
        right,
        ..
    } = on
    else {
        return None;
    };
    let Expr::Function(function) = right.as_ref() else {
        return None;
    };
    let ast::FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let name = |arg: &ast::FunctionArg| match arg {
        ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(Expr::Identifier(name))) => Some(name.clone()),
        _ => None,
    };
    (function.name.to_string() == USING).then(|| list.args.iter().map(name).collect())?
}

struct Writer<'a> {
    catalog: &'a Catalog,
    /// Queries that WITH names, the nearest last.
    ctes: Vec<(String, Columns)>,
    /// The FROM clauses that a name may come from, the nearest last.
    scopes: Vec<Scope>,
    /// Queries within the expression that is being walked: they are done, and taken out meanwhile.
    aside: Vec<ast::Query>,
    /// Relations that were given a name.
    unnamed: usize,
    /// A relation's name alone stands for its row.
    rows: bool,
}

impl Writer<'_> {
    /// Does a query, and says what its columns are called.
    fn query(&mut self, query: &mut ast::Query) -> Result<Columns> {
        let before = self.ctes.len();
        if let Some(with) = &mut query.with {
            for cte in &mut with.cte_tables {
                let name = folded(&cte.alias.name);
                if with.recursive {
                    let columns = Columns::default().called(&cte.alias.columns);
                    self.ctes.push((name.clone(), columns));
                }
                let columns = self.query(&mut cte.query)?.called(&cte.alias.columns);
                if with.recursive {
                    self.ctes.pop();
                }
                self.ctes.push((name, columns));
            }
        }
        let columns = self.body(&mut query.body, query.order_by.as_mut());
        self.ctes.truncate(before);
        columns
    }

    fn body(&mut self, body: &mut SetExpr, order: Option<&mut OrderBy>) -> Result<Columns> {
        match body {
            SetExpr::Select(select) => self.select(select, order),
            SetExpr::Query(query) => self.query(query),
            SetExpr::SetOperation { left, right, .. } => {
                let columns = self.body(left, None)?;
                self.body(right, None)?;
                Ok(columns)
            }
            SetExpr::Values(values) => {
                self.expressions(values)?;
                let width = values.rows.first().map_or(0, |row| row.len());
                Ok(Columns::of((1..=width).map(|number| format!("column{number}"))))
            }
            _ => Ok(Columns::default()),
        }
    }

    fn select(&mut self, select: &mut Select, order: Option<&mut OrderBy>) -> Result<Columns> {
        let mut scope = Scope::default();
        for item in &mut select.from {
            let shown = self.joined(item, &scope)?;
            scope.extend(shown);
        }
        self.scopes.push(scope);
        let columns = self.clauses(select, order);
        self.scopes.pop();
        columns
    }

    /// One part of FROM, beside those `before` it, which only LATERAL sees.
    fn joined(&mut self, item: &mut TableWithJoins, before: &Scope) -> Result<Scope> {
        if has_join_by_name(item) {
            let joined = item.joins.iter_mut().map(|join| &mut join.relation);
            std::iter::once(&mut item.relation)
                .chain(joined)
                .for_each(|factor| self.give_name(factor));
        }
        let mut left = self.factor(&mut item.relation, before)?;
        for join in &mut item.joins {
            let mut seen = before.clone();
            seen.extend(left.clone());
            let mut right = self.factor(&mut join.relation, &seen)?;
            let Some((constraint, kept)) = constraint(&mut join.join_operator) else {
                left.extend(right);
                continue;
            };
            let mut condition: Option<Expr> = None;
            let shared: Vec<Ident> = match constraint {
                JoinConstraint::Using(names) => names.iter().map(simple).collect::<Result<_>>()?,
                JoinConstraint::Natural => left.in_common(&right)?,
                JoinConstraint::On(on) => {
                    let names = named_in(on);
                    let mut both = left.clone();
                    both.extend(right.clone());
                    self.scopes.push(both);
                    let done = self.expressions(on);
                    self.scopes.pop();
                    done?;
                    let (Some(names), Expr::BinaryOp { left: moment, .. }) = (names, on) else {
                        left = side_by_side(kept, left, right);
                        continue;
                    };
                    condition = Some(moment.as_ref().clone());
                    names
                }
                JoinConstraint::None => {
                    left = side_by_side(kept, left, right);
                    continue;
                }
            };
            let mut both = Scope::default();
            for name in &shared {
                let (l, r) = (left.take(name, "left")?, right.take(name, "right")?);
                let equal = binary(l.clone(), BinaryOperator::Eq, r.clone());
                condition = Some(match condition {
                    Some(before) => binary(before, BinaryOperator::And, equal),
                    None => equal,
                });
                let meaning = match kept {
                    Kept::Left | Kept::LeftAlone => l,
                    Kept::Right | Kept::RightAlone => r,
                    Kept::Both => call("coalesce", vec![l, r]),
                };
                both.share(name, meaning);
            }
            let always = || Expr::value(ast::Value::Boolean(true));
            *constraint = JoinConstraint::On(condition.unwrap_or_else(always));
            both.extend(side_by_side(kept, left, right));
            left = both;
        }
        Ok(left)
    }

    /// A query in FROM needs no name, but one that is joined by name is written with one.
    fn give_name(&mut self, factor: &mut TableFactor) {
        let (TableFactor::Derived { alias, .. } | TableFactor::UNNEST { alias, .. }) = factor else {
            return;
        };
        if alias.is_none() {
            *alias = Some(named(&format!("weir_unnamed_{}", self.unnamed)));
            self.unnamed += 1;
        }
    }

    fn factor(&mut self, factor: &mut TableFactor, before: &Scope) -> Result<Scope> {
        match factor {
            TableFactor::Table { name, alias, args, .. } => {
                let columns = match args {
                    None => self.columns_of(name),
                    Some(_) => Columns::default(),
                };
                let own: Vec<Ident> = name.0.iter().filter_map(|part| part.as_ident()).cloned().collect();
                Ok(Scope::of(alias.as_ref(), own, columns))
            }
            TableFactor::Derived {
                lateral,
                subquery,
                alias,
                ..
            } => {
                if *lateral {
                    self.scopes.push(before.clone());
                }
                let columns = self.query(subquery);
                if *lateral {
                    self.scopes.pop();
                }
                Ok(Scope::of(alias.as_ref(), Vec::new(), columns?))
            }
            TableFactor::NestedJoin {
                table_with_joins,
                alias,
            } => {
                let inner = self.joined(table_with_joins, before)?;
                let Some(alias) = alias.clone() else {
                    return Ok(inner);
                };
                let columns = inner.columns();
                if inner.shares() {
                    let items = inner.shown(&WildcardAdditionalOptions::default())?;
                    let from = table_with_joins.as_ref().clone();
                    *factor = TableFactor::Derived {
                        lateral: false,
                        subquery: Box::new(select(items, vec![from], None)),
                        alias: Some(alias.clone()),
                        sample: None,
                    };
                }
                Ok(Scope::of(Some(&alias), Vec::new(), columns))
            }
            TableFactor::UNNEST { alias, array_exprs, .. } => {
                self.scopes.push(before.clone());
                let done = self.expressions(array_exprs);
                self.scopes.pop();
                done?;
                Ok(Scope::of(alias.as_ref(), Vec::new(), Columns::of_elements()))
            }
            TableFactor::Function { alias, .. } => Ok(Scope::of(alias.as_ref(), Vec::new(), Columns::default())),
            _ => Ok(Scope::of(None, Vec::new(), Columns::default())),
        }
    }

    fn columns_of(&self, name: &ObjectName) -> Columns {
        let name = relation_name(name);
        if let Some((_, columns)) = self.ctes.iter().rev().find(|(cte, _)| *cte == name) {
            return columns.clone();
        }
        match self.catalog.find(&name) {
            Some(relation) => Columns::of(relation.schema.fields().iter().map(|field| field.name().clone())),
            None => Columns::default(),
        }
    }

    /// Everything of a SELECT but FROM, and the ORDER BY beside it.
    fn clauses(&mut self, select: &mut Select, order: Option<&mut OrderBy>) -> Result<Columns> {
        let columns = self.list(select)?;
        if let Some(Distinct::On(on)) = &mut select.distinct {
            for expr in on {
                self.by_result(expr, &columns)?;
            }
        }
        self.expressions(&mut select.selection)?;
        self.expressions(&mut select.group_by)?;
        self.expressions(&mut select.having)?;
        self.expressions(&mut select.qualify)?;
        self.expressions(&mut select.named_window)?;
        if let Some(OrderByKind::Expressions(order)) = order.map(|order| &mut order.kind) {
            for by in order {
                self.by_result(&mut by.expr, &columns)?;
            }
        }
        Ok(columns)
    }

    /// The SELECT list.
    fn list(&mut self, select: &mut Select) -> Result<Columns> {
        let mut items = Vec::with_capacity(select.projection.len());
        let mut columns = Columns::of([]);
        for mut item in std::mem::take(&mut select.projection) {
            let scope = self.scopes.last().expect("a SELECT has a scope");
            match item {
                SelectItem::Wildcard(options) if scope.shares() => {
                    columns.extend(scope.columns());
                    items.extend(scope.shown(&options)?);
                    continue;
                }
                SelectItem::Wildcard(_) => columns.extend(scope.columns()),
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(ref name), _) => {
                    columns.extend(scope.relation(name));
                }
                SelectItem::UnnamedExpr(Expr::Identifier(ref ident)) => {
                    columns.push(folded(ident));
                    item = match self.meaning(ident) {
                        Some(Expr::CompoundIdentifier(parts)) if parts.last().map(folded) == Some(folded(ident)) => {
                            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts))
                        }
                        Some(expr) => SelectItem::ExprWithAlias {
                            alias: ident.clone(),
                            expr,
                        },
                        None => item,
                    };
                }
                SelectItem::ExprWithAlias {
                    ref mut expr,
                    ref alias,
                } => {
                    columns.push(folded(alias));
                    self.expressions(expr)?;
                }
                SelectItem::UnnamedExpr(Expr::CompoundIdentifier(ref parts)) => {
                    columns.extend(Columns::of(parts.last().map(folded)));
                }
                _ => columns.extend(Columns::default()),
            }
            items.push(item);
        }
        select.projection = items;
        Ok(columns)
    }

    /// What stands in ORDER BY or DISTINCT ON: a name alone is the result's column, if it has one.
    fn by_result(&mut self, expr: &mut Expr, columns: &Columns) -> Result<()> {
        match expr {
            Expr::Identifier(ident) if columns.has(&folded(ident)) => Ok(()),
            _ => self.expressions(expr),
        }
    }

    /// The names in expressions, and in queries within them.
    fn expressions<T: VisitMut>(&mut self, tree: &mut T) -> Result<()> {
        done(walk(tree, self))
    }

    /// What a name means, if several relations share it.
    fn meaning(&self, ident: &Ident) -> Option<Expr> {
        let name = folded(ident);
        let mut found = self.scopes.iter().rev().map(|scope| scope.meaning(&name));
        match found.find(|found| !matches!(found, Meaning::Nothing)) {
            Some(Meaning::Shared(expr)) => Some(expr),
            Some(Meaning::Row(row)) if self.rows => Some(row),
            _ => None,
        }
    }
}

impl Visitor for Writer<'_> {
    fn enter_query(&mut self, query: &mut ast::Query) -> Flow {
        if let Err(error) = self.query(query) {
            return ControlFlow::Break(Box::new(error));
        }
        let done = std::mem::replace(query, select(Vec::new(), Vec::new(), None));
        self.aside.push(done);
        ControlFlow::Continue(())
    }

    fn leave_query(&mut self, query: &mut ast::Query) -> Flow {
        *query = self.aside.pop().expect("it was put there");
        ControlFlow::Continue(())
    }

    fn enter_expr(&mut self, expr: &mut Expr) -> Flow {
        if let Expr::Identifier(ident) = expr
            && let Some(meaning) = self.meaning(ident)
        {
            *expr = meaning;
        }
        ControlFlow::Continue(())
    }
}

fn side_by_side(kept: Kept, left: Scope, right: Scope) -> Scope {
    match kept {
        Kept::LeftAlone => left,
        Kept::RightAlone => right,
        _ => {
            let mut both = left;
            both.extend(right);
            both
        }
    }
}

fn simple(name: &ObjectName) -> Result<Ident> {
    match &name.0[..] {
        [part] if part.as_ident().is_some() => Ok(part.as_ident().cloned().unwrap_or_else(|| Ident::new(""))),
        _ => Err(Error::new(format!(
            "USING takes names of columns, which both sides have, and not {name}"
        ))),
    }
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp {
        left: Box::new(left),
        op,
        right: Box::new(right),
    }
}

fn named(name: &str) -> TableAlias {
    TableAlias {
        explicit: true,
        name: Ident::new(name),
        columns: Vec::new(),
        at: None,
    }
}
