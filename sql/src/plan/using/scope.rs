//! What a FROM clause shows: its columns by name, those that several relations share, and what `*` is.

use sqlparser::ast::{
    ExceptSelectItem, ExcludeSelectItem, Expr, Ident, ObjectName, SelectItem, SelectItemQualifiedWildcardKind,
    TableAlias, TableAliasColumnDef, WildcardAdditionalOptions,
};

use crate::parse::syntax::call;
use crate::plan::errors;
use crate::plan::names::folded;
use crate::plan::operators::string;
use crate::{Error, Result};

/// Names of a relation's columns, in order. Those of some relations aren't known before they are planned.
#[derive(Clone, Default)]
pub struct Columns {
    known: Vec<String>,
    complete: bool,
    /// What an UNNEST gives, which is no row of columns.
    is_element: bool,
}

impl Columns {
    /// All that there are.
    pub fn of(names: impl IntoIterator<Item = String>) -> Columns {
        Columns {
            known: names.into_iter().collect(),
            complete: true,
            is_element: false,
        }
    }

    /// Elements of arrays.
    pub fn of_elements() -> Columns {
        Columns {
            is_element: true,
            ..Columns::default()
        }
    }

    /// The same with other names for the first ones, as an alias gives them.
    pub fn called(mut self, names: &[TableAliasColumnDef]) -> Columns {
        for (place, column) in names.iter().enumerate() {
            let name = folded(&column.name);
            match self.known.get_mut(place) {
                Some(known) => *known = name,
                None => self.known.push(name),
            }
        }
        // An alias mostly names all of them.
        self.complete |= !names.is_empty();
        self
    }

    pub fn push(&mut self, name: String) {
        self.known.push(name);
    }

    pub fn extend(&mut self, more: Columns) {
        self.known.extend(more.known);
        self.complete &= more.complete;
    }

    /// Whether one has that name.
    pub fn has(&self, name: &str) -> bool {
        self.known.iter().any(|known| known == name)
    }
}

/// What a name without a qualifier means in a scope.
pub enum Meaning {
    /// A column that several relations share.
    Shared(Expr),
    /// All columns of a relation, as one value.
    Row(Expr),
    /// Something else that is there, or may be.
    Other,
    Nothing,
}

/// The columns that a FROM clause shows.
#[derive(Clone, Default)]
pub struct Scope {
    shown: Vec<Shown>,
    /// Each relation with all its columns.
    relations: Vec<(Vec<Ident>, Columns)>,
}

#[derive(Clone)]
enum Shown {
    Column {
        name: String,
        /// What it is written as.
        expr: Expr,
        /// Several relations share it.
        shared: bool,
    },
    /// Those of a relation that aren't known.
    All { relation: Vec<Ident>, without: Vec<Ident> },
}

impl Scope {
    /// One relation, under its alias or its own name.
    pub fn of(alias: Option<&TableAlias>, own: Vec<Ident>, columns: Columns) -> Scope {
        let relation = alias.map_or(own, |alias| vec![alias.name.clone()]);
        let columns = columns.called(alias.map_or(&[], |alias| &alias.columns));
        let shown = match columns.complete {
            true => columns.known.iter().map(|name| of_relation(&relation, name)).collect(),
            false => vec![Shown::All {
                relation: relation.clone(),
                without: Vec::new(),
            }],
        };
        Scope {
            shown,
            relations: vec![(relation, columns)],
        }
    }

    /// Puts the columns of `more` behind these.
    pub fn extend(&mut self, more: Scope) {
        self.shown.extend(more.shown);
        self.relations.extend(more.relations);
    }

    /// Puts a shared column behind these.
    pub fn share(&mut self, ident: &Ident, expr: Expr) {
        self.shown.push(Shown::Column {
            name: folded(ident),
            expr,
            shared: true,
        });
    }

    /// Whether some columns are shared.
    pub fn shares(&self) -> bool {
        self.shown
            .iter()
            .any(|shown| matches!(shown, Shown::Column { shared: true, .. }))
    }

    /// The names that both have, as they come in this one.
    pub fn in_common(&self, other: &Scope) -> Result<Vec<Ident>> {
        let (here, there) = (self.columns(), other.columns());
        if !here.complete || !there.complete {
            return Err(Error::new(
                "NATURAL JOIN needs relations whose columns are known from the statement; write USING (column, …)",
            ));
        }
        let common = here.known.iter().filter(|name| there.has(name));
        Ok(common.map(|name| Ident::with_quote('"', name)).collect())
    }

    /// Takes a column out, to be shared. `side` is the scope's in the join.
    pub fn take(&mut self, ident: &Ident, side: &str) -> Result<Expr> {
        let name = folded(ident);
        let error = |message: String| errors::at(message, ident.span.start);
        let found: Vec<usize> = (0..self.shown.len()).filter(|at| self.shown[*at].is(&name)).collect();
        match found[..] {
            [at] => match self.shown.remove(at) {
                Shown::Column { expr, .. } => Ok(expr),
                Shown::All { .. } => unreachable!("it has no name"),
            },
            [] => {
                let mut open = self.shown.iter_mut().filter_map(|shown| match shown {
                    Shown::All { relation, without } if !relation.is_empty() => Some((relation, without)),
                    _ => None,
                });
                match (open.next(), open.next()) {
                    (Some((relation, without)), None) => {
                        without.push(ident.clone());
                        let parts = relation.iter().chain([ident]).cloned();
                        Ok(Expr::CompoundIdentifier(parts.collect()))
                    }
                    (Some(_), Some(_)) => Err(error(format!(
                        "it isn't known which relation on the {side} of this join has column '{name}'; write ON"
                    ))),
                    (None, _) => Err(error(format!(
                        "column '{name}' does not exist on the {side} of this join, which is by that name; there are: {}",
                        self.columns().known.join(", ")
                    ))),
                }
            }
            _ => Err(error(format!(
                "column '{name}' is there more than once on the {side} of this join, which is by that name; write ON"
            ))),
        }
    }

    /// What a name without a qualifier means here.
    pub fn meaning(&self, name: &str) -> Meaning {
        let mut found = self.shown.iter().filter(|shown| shown.is(name));
        match (found.next(), found.next()) {
            (Some(Shown::Column { expr, shared: true, .. }), None) => Meaning::Shared(expr.clone()),
            (Some(_), _) => Meaning::Other,
            (None, _) => match self.row(name) {
                Some(row) => Meaning::Row(row),
                None => self.nothing(),
            },
        }
    }

    /// What a name means that none of the known columns has.
    fn nothing(&self) -> Meaning {
        match self.columns().complete {
            true => Meaning::Nothing,
            false => Meaning::Other,
        }
    }

    /// The row of a relation by its name: a struct of its columns, or the only column of an UNNEST.
    fn row(&self, name: &str) -> Option<Expr> {
        let is_called = |(relation, _): &&(Vec<Ident>, Columns)| relation.last().map(folded).as_deref() == Some(name);
        let (relation, columns) = self.relations.iter().find(is_called)?;
        if !columns.complete {
            return None;
        }
        let column = |name: &String| {
            let column = Ident::with_quote('"', name);
            Expr::CompoundIdentifier(relation.iter().cloned().chain([column]).collect())
        };
        if let ([only], true) = (&columns.known[..], columns.is_element) {
            return Some(column(only));
        }
        let parts = columns.known.iter().flat_map(|name| [string(name), column(name)]);
        Some(call("named_struct", parts.collect()))
    }

    /// The columns of `*`.
    pub fn columns(&self) -> Columns {
        let mut columns = Columns::of([]);
        for shown in &self.shown {
            match shown {
                Shown::Column { name, .. } => columns.push(name.clone()),
                Shown::All { .. } => columns.complete = false,
            }
        }
        columns
    }

    /// The columns of `relation.*`.
    pub fn relation(&self, name: &ObjectName) -> Columns {
        let parts: Vec<String> = name.0.iter().filter_map(|part| part.as_ident()).map(folded).collect();
        let is_called = |relation: &[Ident]| relation.iter().map(folded).eq(parts.iter().cloned());
        let mut found = self.relations.iter().filter(|(relation, _)| is_called(relation));
        found.next().map(|(_, columns)| columns.clone()).unwrap_or_default()
    }

    /// `*`, written out.
    pub fn shown(&self, options: &WildcardAdditionalOptions) -> Result<Vec<SelectItem>> {
        let without = excluded(options)?;
        let left_out = |name: &str| without.iter().any(|ident| folded(ident) == name);
        let mut items = Vec::with_capacity(self.shown.len());
        for shown in &self.shown {
            match shown {
                Shown::Column { name, .. } if left_out(name) => {}
                Shown::Column {
                    expr: column @ Expr::CompoundIdentifier(_),
                    ..
                } => items.push(SelectItem::UnnamedExpr(column.clone())),
                Shown::Column { name, expr, .. } => items.push(SelectItem::ExprWithAlias {
                    expr: expr.clone(),
                    alias: Ident::with_quote('"', name),
                }),
                Shown::All { relation, .. } if relation.is_empty() => {
                    return Err(Error::new(
                        "* beside a join by name needs a name for each relation; write AS name behind it",
                    ));
                }
                Shown::All { relation, without: own } => items.push(all_of(relation, own, &without)),
            }
        }
        Ok(items)
    }
}

impl Shown {
    fn is(&self, wanted: &str) -> bool {
        matches!(self, Shown::Column { name, .. } if name == wanted)
    }
}

fn of_relation(relation: &[Ident], name: &str) -> Shown {
    let column = Ident::with_quote('"', name);
    let expr = match relation {
        [] => Expr::Identifier(column),
        _ => Expr::CompoundIdentifier(relation.iter().cloned().chain([column]).collect()),
    };
    Shown::Column {
        name: name.to_string(),
        expr,
        shared: false,
    }
}

/// `relation.* EXCLUDE (…)`
fn all_of(relation: &[Ident], own: &[Ident], without: &[Ident]) -> SelectItem {
    let names: Vec<ObjectName> = own.iter().chain(without).map(|ident| ident.clone().into()).collect();
    let options = WildcardAdditionalOptions {
        opt_exclude: (!names.is_empty()).then_some(ExcludeSelectItem::Multiple(names)),
        ..Default::default()
    };
    let relation = ObjectName::from(relation.to_vec());
    SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(relation), options)
}

/// The columns that `* EXCLUDE (…)` or `* EXCEPT (…)` leaves out.
fn excluded(options: &WildcardAdditionalOptions) -> Result<Vec<Ident>> {
    let others = options.opt_ilike.is_some()
        || options.opt_replace.is_some()
        || options.opt_rename.is_some()
        || options.opt_alias.is_some();
    if others {
        return Err(errors::at(
            "* beside a join by name takes EXCLUDE only; write the columns out",
            options.wildcard_token.0.span.start,
        ));
    }
    let mut names = Vec::new();
    match &options.opt_exclude {
        Some(ExcludeSelectItem::Single(name)) => names.extend(last(name)),
        Some(ExcludeSelectItem::Multiple(all)) => names.extend(all.iter().filter_map(last)),
        None => {}
    }
    if let Some(ExceptSelectItem {
        first_element,
        additional_elements,
    }) = &options.opt_except
    {
        names.push(first_element.clone());
        names.extend(additional_elements.iter().cloned());
    }
    Ok(names)
}

fn last(name: &ObjectName) -> Option<Ident> {
    name.0.last().and_then(|part| part.as_ident()).cloned()
}
