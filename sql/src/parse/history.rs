//! `relation FOR SYSTEM_TIME AS OF time`: a relation as it once was, rewritten into a query with a marker
//! function.
//!
//! ```text
//! v FOR SYSTEM_TIME AS OF t [[AS] x]     (SELECT * FROM v WHERE weir_as_it_was(CAST(t AS TIMESTAMPTZ))) AS x
//! ```
//!
//! The time is one for the whole statement. Behind JOIN a time of the left rows may stand there instead, which is
//! another join ([`super::as_of`]). Done to the tokens, as sqlparser's own form of this takes words like `at` from
//! names.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, SetExpr, TableAlias, TableFactor,
};
use sqlparser::keywords::RESERVED_FOR_TABLE_ALIAS;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::cursor::Cursor;
use super::source::{Source, depths, error_at, is_word, starts_with};
use crate::error::Result;
use crate::walk::{self, Flow, Visitor};

/// The marker function.
const AS_IT_WAS: &str = "weir_as_it_was";

const CLAUSE: [&str; 4] = ["FOR", "SYSTEM_TIME", "AS", "OF"];

/// The tokens with relations as they once were.
pub(super) fn prepare(source: &Source, tokens: &[TokenWithSpan]) -> Result<Vec<TokenWithSpan>> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        if starts_with(&tokens[at..], &CLAUSE)
            && let Some((name, end)) = relation(source, tokens, at)?
        {
            out.truncate(out.len() - (at - name));
            rewrite(tokens, (name, at, end), &mut out);
            at = end;
        } else {
            out.push(tokens[at].clone());
            at += 1;
        }
    }
    Ok(out)
}

/// Where the name before a clause begins, and where its time ends; `None` if it is a join's, with a time of
/// the left rows.
fn relation(source: &Source, tokens: &[TokenWithSpan], at: usize) -> Result<Option<(usize, usize)>> {
    let joined = is_joined(tokens, at);
    let Some(name) = name(tokens, at) else {
        if joined {
            return Ok(None);
        }
        return Err(error_at(
            "FOR SYSTEM_TIME AS OF stands behind the name of a relation, and its alias behind the time: FROM hot FOR \
             SYSTEM_TIME AS OF TIMESTAMP '2024-01-01 12:00' AS h",
            &tokens[at],
        ));
    };
    let begin = at + CLAUSE.len();
    let mut cursor = Cursor::new(source, &tokens[begin..], None);
    let mut time = match cursor.run(|parser| parser.parse_expr()) {
        Ok(time) => time,
        // The join says better what it takes.
        Err(_) if joined => return Ok(None),
        Err(error) => return Err(error),
    };
    let (of_rows, at_once) = (has_columns(&mut time), tokens.get(begin).is_some_and(is_proctime));
    match of_rows || at_once {
        true if joined => Ok(None),
        true => Err(error_at(
            "the time of FOR SYSTEM_TIME AS OF behind FROM is one for the whole statement, such as TIMESTAMP \
             '2024-01-01 12:00' or now() - INTERVAL '1 hour'; a time of other rows, or PROCTIME(), stands behind JOIN: FROM \
             orders AS o JOIN rates FOR SYSTEM_TIME AS OF o.time AS r ON o.key = r.key",
            &tokens[at],
        )),
        false => Ok(Some((name, begin + cursor.index()))),
    }
}

/// Where the relation's name begins that ends before `end`, if one stands there.
fn name(tokens: &[TokenWithSpan], end: usize) -> Option<usize> {
    let is_name = |at: usize| matches!(tokens[at].token, Token::Word(_));
    let mut name = end.checked_sub(1).filter(|name| is_name(*name))?;
    while name >= 2 && tokens[name - 1].token == Token::Period && is_name(name - 2) {
        name -= 2;
    }
    let before = &tokens[name.checked_sub(1)?].token;
    let begins = ["FROM", "JOIN", "USING", "LATERAL"];
    let is_place = matches!(before, Token::Comma | Token::LParen) || begins.iter().any(|word| is_word(before, word));
    is_place.then_some(name)
}

/// Whether what ends before `end` is the right side of a join.
fn is_joined(tokens: &[TokenWithSpan], end: usize) -> bool {
    let depths = depths(&tokens[..end]);
    let level = depths.last().copied().unwrap_or(0);
    let mut before = (0..end).rev().filter(|at| depths[*at] <= level);
    before
        .find_map(|at| match &tokens[at].token {
            token if is_word(token, "JOIN") => Some(true),
            Token::Comma => Some(false),
            Token::LParen if depths[at] < level => Some(false),
            token if is_word(token, "FROM") => Some(false),
            _ => None,
        })
        .unwrap_or(false)
}

fn is_proctime(token: &TokenWithSpan) -> bool {
    is_word(&token.token, "PROCTIME")
}

fn has_columns(time: &mut Expr) -> bool {
    struct Columns(bool);
    impl Visitor for Columns {
        fn enter_expr(&mut self, expr: &mut Expr) -> Flow {
            self.0 |= matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
            ControlFlow::Continue(())
        }
    }
    let mut columns = Columns(false);
    let _ = walk::walk(time, &mut columns);
    columns.0
}

/// Writes the query in the place of a name, a clause and its time.
fn rewrite(tokens: &[TokenWithSpan], (name, clause, end): (usize, usize, usize), out: &mut Vec<TokenWithSpan>) {
    let place = &tokens[clause];
    let put = |token: Token| TokenWithSpan {
        token,
        span: place.span,
    };
    let word = |text: &str| put(Token::make_word(text, None));
    out.extend([put(Token::LParen), word("SELECT"), put(Token::Mul), word("FROM")]);
    out.extend_from_slice(&tokens[name..clause]);
    out.extend([word("WHERE"), word(AS_IT_WAS), put(Token::LParen)]);
    out.extend([word("CAST"), put(Token::LParen)]);
    out.extend_from_slice(&tokens[clause + CLAUSE.len()..end]);
    out.extend([word("AS"), word("TIMESTAMPTZ")]);
    out.extend([Token::RParen, Token::RParen, Token::RParen].map(put));
    if !tokens.get(end).is_some_and(begins_alias) {
        out.extend([word("AS"), tokens[clause - 1].clone()]);
    }
}

/// The clause that was rewritten into this, for texts that users see.
pub(crate) fn as_written(factor: &TableFactor) -> Option<TableFactor> {
    let TableFactor::Derived { subquery, alias, .. } = factor else {
        return None;
    };
    let SetExpr::Select(select) = subquery.body.as_ref() else {
        return None;
    };
    let (Some(Expr::Function(marker)), [from]) = (&select.selection, &select.from[..]) else {
        return None;
    };
    let (TableFactor::Table { name, .. }, FunctionArguments::List(list)) = (&from.relation, &marker.args) else {
        return None;
    };
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Cast { expr: time, .. }))] = &list.args[..] else {
        return None;
    };
    if marker.name.to_string() != AS_IT_WAS {
        return None;
    }
    let mut written = from.relation.clone();
    if let TableFactor::Table {
        name: shown,
        alias: own,
        ..
    } = &mut written
    {
        let clause = format!("{name} {} {time}", CLAUSE.join(" "));
        let is_own = |alias: &TableAlias| name.0.last().and_then(|part| part.as_ident()) == Some(&alias.name);
        *own = alias.clone().filter(|alias| !is_own(alias));
        *shown = ObjectName::from(vec![Ident::new(clause)]);
    }
    Some(written)
}

fn begins_alias(token: &TokenWithSpan) -> bool {
    match &token.token {
        Token::Word(word) if word.quote_style.is_some() => true,
        Token::Word(word) => !RESERVED_FOR_TABLE_ALIAS.contains(&word.keyword) && !is_word(&token.token, "ASOF"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::statement::Statement;

    fn read(sql: &str) -> std::result::Result<String, String> {
        match crate::parse::parse_one(sql).map_err(|error| error.message)? {
            Statement::Query(query) => Ok(query.ast.to_string()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_relation_as_it_was_is_a_query() {
        let was =
            |time: &str| format!("(SELECT * FROM v WHERE weir_as_it_was(CAST({time} AS TIMESTAMP(6) WITH TIME ZONE)))");
        let time = "TIMESTAMP(6) '2024-01-01'";
        for (sql, expected) in [
            (
                "SELECT * FROM v FOR SYSTEM_TIME AS OF TIMESTAMP '2024-01-01'",
                format!("SELECT * FROM {} AS v", was(time)),
            ),
            (
                "SELECT x.a FROM v FOR SYSTEM_TIME AS OF now() - INTERVAL '1' HOUR x WHERE x.a > 1",
                format!("SELECT x.a FROM {} x WHERE x.a > 1", was("now() - INTERVAL '1' HOUR")),
            ),
            (
                "SELECT 1 FROM v JOIN v FOR SYSTEM_TIME AS OF $1 AS w ON v.a = w.a",
                format!("SELECT 1 FROM v JOIN {} AS w ON v.a = w.a", was("$1")),
            ),
            (
                "SELECT 1 FROM v FOR SYSTEM_TIME AS OF '2024-01-01' ORDER BY a LIMIT 1",
                format!("SELECT 1 FROM {} AS v ORDER BY a LIMIT 1", was("'2024-01-01'")),
            ),
        ] {
            assert_eq!(read(sql).unwrap(), expected, "{sql}");
        }
    }

    #[test]
    fn a_column_is_called_as_it_is_written() {
        for (sql, name) in [
            (
                "SELECT (SELECT max(a) FROM v FOR SYSTEM_TIME AS OF now())",
                "(SELECT max(a) FROM v FOR SYSTEM_TIME AS OF now())",
            ),
            (
                "SELECT EXISTS (SELECT 1 FROM v FOR SYSTEM_TIME AS OF now() AS h WHERE h.a > 1)",
                "EXISTS (SELECT 1 FROM v FOR SYSTEM_TIME AS OF now() AS h WHERE h.a > 1)",
            ),
        ] {
            let Statement::Query(mut query) = crate::parse::parse_one(sql).unwrap() else {
                panic!("{sql}")
            };
            crate::plan::names::as_written(&mut query.ast);
            let named = query.ast.to_string();
            assert!(named.ends_with(&format!("AS \"{name}\"")), "{named}");
        }
    }

    #[test]
    fn a_time_of_other_rows_is_a_joins() {
        let sql = "SELECT 1 FROM o JOIN v FOR SYSTEM_TIME AS OF o.ts AS r ON o.a = r.a";
        assert!(read(sql).unwrap().contains("weir_version(o.ts)"));
        let sql = "SELECT 1 FROM o JOIN (SELECT a FROM v) r FOR SYSTEM_TIME AS OF o.ts ON o.a = r.a";
        assert!(read(sql).unwrap().contains("weir_version(o.ts)"));
        for (sql, said) in [
            (
                "SELECT 1 FROM v FOR SYSTEM_TIME AS OF ts",
                "one for the whole statement",
            ),
            (
                "SELECT 1 FROM v FOR SYSTEM_TIME AS OF PROCTIME()",
                "one for the whole statement",
            ),
            (
                "SELECT 1 FROM (SELECT 1) FOR SYSTEM_TIME AS OF now()",
                "behind the name of a relation",
            ),
            (
                "SELECT 1 FROM v AS x FOR SYSTEM_TIME AS OF now()",
                "its alias behind the time",
            ),
        ] {
            let error = read(sql).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
