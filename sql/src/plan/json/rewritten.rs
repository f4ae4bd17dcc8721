//! Functions of JSON that are written with others, in the text of a query: aggregates, and sets of rows.
//!
//! - `json_agg(x …)` is `to_jsonb(array_agg(x …))`, with all that stands in the call, and `json_object_agg(k, v …)` an
//!   object of `array_agg` of both.
//! - `json_array_elements(j)` and the like are `UNNEST` of arrays, in FROM and as a column of its own in a SELECT list.
//! - `json_build_object()` without arguments is an empty object.

use sqlparser::ast::{self, Expr, Function, FunctionArguments, Ident, TableFactor};

use crate::parse::syntax::call;
use crate::plan::names::folded;
use crate::{Error, Result};

/// A set of rows: its name without `json_` or `jsonb_`, the arrays that are unnested, and the names of its columns
/// (where the alias doesn't name the one column).
const SETS: [(&str, &[&str], &[&str]); 5] = [
    ("array_elements", &["weir_json_elements"], &["value"]),
    ("array_elements_text", &["weir_json_element_texts"], &["value"]),
    ("object_keys", &["weir_json_keys"], &[]),
    ("each", &["weir_json_keys", "weir_json_values"], &["key", "value"]),
    (
        "each_text",
        &["weir_json_keys", "weir_json_value_texts"],
        &["key", "value"],
    ),
];

/// An aggregate: its name without `json_` or `jsonb_`, its arguments in words, and the function of an `array_agg` that
/// it becomes.
const AGGREGATES: [(&str, &[&str], &str); 2] = [
    ("agg", &["value"], "to_jsonb"),
    ("object_agg", &["name", "value"], "weir_json_pairs"),
];

/// These functions' names, each with its kind, how it is called, and what it gives.
pub fn listed() -> impl Iterator<Item = (String, &'static str, String, &'static str)> {
    let aggregates = AGGREGATES.iter().map(|(name, arguments, _)| {
        let gives = match arguments.len() {
            1 => "An array of all values.",
            _ => "An object of all names and values.",
        };
        (*name, "aggregate", arguments.join(", "), gives)
    });
    let sets = SETS.iter().map(|(name, arrays, _)| {
        let gives = match arrays.len() {
            1 => "A row for each.",
            _ => "A row for each, with columns key and value; stands in FROM.",
        };
        (*name, "table", "json".to_string(), gives)
    });
    let both = aggregates.chain(sets).collect::<Vec<_>>();
    both.into_iter().flat_map(|(name, kind, arguments, gives)| {
        ["json", "jsonb"].map(|prefix| {
            let name = format!("{prefix}_{name}");
            let called = format!("{name}({arguments})");
            (name, kind, called, gives)
        })
    })
}

fn about_json(name: &ast::ObjectName) -> Option<String> {
    let [part] = &name.0[..] else { return None };
    let name = folded(part.as_ident()?);
    let rest = name.strip_prefix("json_").or_else(|| name.strip_prefix("jsonb_"))?;
    Some(rest.to_string())
}

/// An aggregate in other words.
pub fn aggregate(function: &Function) -> Result<Option<Expr>> {
    let Some(name) = about_json(&function.name) else {
        return Ok(None);
    };
    let FunctionArguments::List(list) = &function.args else {
        return Ok(None);
    };
    match (name.as_str(), list.args.len()) {
        ("build_object", 0) => return Ok(Some(empty("{}"))),
        ("build_array", 0) => return Ok(Some(empty("[]"))),
        _ => {}
    }
    let Some((_, arguments, wrapper)) = AGGREGATES.iter().find(|(other, ..)| *other == name) else {
        return Ok(None);
    };
    if list.args.len() != arguments.len() {
        return Err(Error::new(format!(
            "{}() takes a {}",
            function.name,
            arguments.join(" and a ")
        )));
    }
    let wrapper = *wrapper;
    let mut inner = function.clone();
    inner.name = ast::ObjectName::from(vec![Ident::new("array_agg")]);
    if let (FunctionArguments::List(list), "weir_json_pairs") = (&mut inner.args, wrapper) {
        let pair = call("struct", list.args.iter().filter_map(plain).collect());
        list.args = vec![ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(pair))];
    }
    Ok(Some(call(wrapper, vec![Expr::Function(inner)])))
}

fn empty(text: &str) -> Expr {
    Expr::Cast {
        kind: ast::CastKind::Cast,
        expr: Box::new(crate::plan::operators::string(text)),
        data_type: ast::DataType::JSONB,
        array: false,
        format: None,
    }
}

fn plain(arg: &ast::FunctionArg) -> Option<Expr> {
    match arg {
        ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    }
}

/// A set of rows as a column of the SELECT list.
pub fn column(expr: &Expr) -> Result<Option<Expr>> {
    let Expr::Function(function) = expr else {
        return Ok(None);
    };
    let Some((_, arrays, _)) = set(&function.name) else {
        return Ok(None);
    };
    let FunctionArguments::List(list) = &function.args else {
        return Ok(None);
    };
    match arrays {
        [one] => {
            let array = call(one, list.args.iter().filter_map(plain).collect());
            Ok(Some(call("unnest", vec![array])))
        }
        _ => Err(Error::new(format!(
            "{0}() gives two columns, so it stands in FROM: FROM t, {0}(t.doc) AS e(key, value)",
            function.name
        ))),
    }
}

/// Whether a function of this name gives rows.
pub fn is_set(name: &str) -> bool {
    set(&ast::ObjectName::from(vec![Ident::new(name)])).is_some()
}

fn set(name: &ast::ObjectName) -> Option<&'static (&'static str, &'static [&'static str], &'static [&'static str])> {
    let name = about_json(name)?;
    SETS.iter().find(|(set, ..)| *set == name)
}

/// A set of rows in FROM, as an UNNEST.
pub fn in_from(factor: &mut TableFactor) {
    let (name, args, alias, with_ordinality) = match factor {
        TableFactor::Function {
            name,
            args,
            alias,
            with_ordinality,
            ..
        } => (&*name, &args[..], alias, *with_ordinality),
        TableFactor::Table {
            name,
            args: Some(args),
            alias,
            with_ordinality,
            ..
        } => (&*name, &args.args[..], alias, *with_ordinality),
        _ => return,
    };
    let Some((_, arrays, columns)) = set(name) else { return };
    let args: Vec<Expr> = args.iter().filter_map(plain).collect();
    let array_exprs = arrays.iter().map(|array| call(array, args.clone())).collect();
    let mut alias = alias.take().unwrap_or_else(|| ast::TableAlias {
        explicit: true,
        name: name
            .0
            .last()
            .and_then(|part| part.as_ident())
            .cloned()
            .unwrap_or_else(|| Ident::new("json")),
        columns: Vec::new(),
        at: None,
    });
    for column in columns.iter().skip(alias.columns.len()) {
        let name = Ident::new(*column);
        alias.columns.push(ast::TableAliasColumnDef { name, data_type: None });
    }
    *factor = TableFactor::UNNEST {
        alias: Some(alias),
        array_exprs,
        with_offset: false,
        with_offset_alias: None,
        with_ordinality,
    };
}
