//! INSERT, UPDATE and DELETE: sqlparser's trees, less what other databases add to them.
//!
//! What is left is INSERT INTO t [(columns)] query [ON CONFLICT …], UPDATE t SET column = expression
//! [FROM] [WHERE] and DELETE FROM t [USING] [WHERE].

use sqlparser::ast::{
    Assignment, AssignmentTarget, ConflictTarget, Delete, Expr, FromTable, Insert, OnConflict, OnConflictAction,
    OnInsert, SetExpr, Spanned, Statement, TableFactor, TableObject, TableWithJoins, Update, UpdateTableFromKind,
};
use sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use super::query::{refuse_emit, tree};
use super::source::{Source, depths, error_at, is_word, starts_with};
use crate::error::{Error, Result};

const ONCE: &str = "this statement runs once, without EMIT: CREATE MATERIALIZED VIEW and CREATE SINK keep \
     running";

/// Clauses at the outermost level that aren't there.
const REFUSED: &[(&[&str], &str)] = &[
    (
        &["ON", "DUPLICATE"],
        "ON DUPLICATE KEY is not there: write ON CONFLICT (key) DO UPDATE SET column = excluded.column",
    ),
    (
        &["RETURNING"],
        "RETURNING is not there yet: SELECT the rows afterwards, it waits for your own writes",
    ),
];

/// Reads the statement that `tokens` are.
pub(super) fn dml(source: &Source, tokens: &[TokenWithSpan]) -> Result<Statement> {
    refuse_emit(tokens, ONCE)?;
    for ((at, token), depth) in tokens.iter().enumerate().zip(depths(tokens)) {
        let refused = REFUSED
            .iter()
            .find(|(words, _)| depth == 0 && starts_with(&tokens[at..], words));
        if let Some((_, message)) = refused {
            return Err(error_at(*message, token));
        }
    }
    let statement = tree(source, tokens, None, |parser| {
        let first = parser.next_token();
        match &first.token {
            Token::Word(word) if word.value.eq_ignore_ascii_case("INSERT") => parser.parse_insert(first),
            Token::Word(word) if word.value.eq_ignore_ascii_case("UPDATE") => parser.parse_update(first),
            _ => parser.parse_delete(first),
        }
    })?;
    let at_first = |message: &str| match tokens.first() {
        Some(first) => error_at(message, first),
        None => Error::new(message),
    };
    match &statement {
        Statement::Insert(insert) => {
            check_insert(insert).map_err(|m| at_first(&m))?;
            if let Some(OnInsert::OnConflict(OnConflict {
                action: OnConflictAction::DoUpdate(update),
                ..
            })) = &insert.on
            {
                check_assignments(&update.assignments, at_first)?;
            }
        }
        Statement::Update(update) => check_update(update, at_first)?,
        Statement::Delete(delete) => check_delete(delete).map_err(|m| at_first(&m))?,
        _ => return Err(at_first("only INSERT INTO a table is there")),
    }
    let whole: Vec<Location> = whole_values(&statement)
        .filter(|value| is_default(value))
        .map(|value| value.span().start)
        .collect();
    let within = tokens.windows(2).find(|pair| {
        let [before, token] = pair else { return false };
        stands_as_value(before, token) && !whole.contains(&token.span.start)
    });
    match within {
        Some(pair) => Err(error_at(
            "DEFAULT stands for a whole value only: in the rows of INSERT … VALUES, and in SET column = DEFAULT",
            &pair[1],
        )),
        None => Ok(statement),
    }
}

/// DEFAULT where a value stands: behind `(`, a comma or `=`.
fn stands_as_value(before: &TokenWithSpan, token: &TokenWithSpan) -> bool {
    matches!(before.token, Token::LParen | Token::Comma | Token::Eq) && is_word(&token.token, "DEFAULT")
}

/// Whether a value is DEFAULT: that of its column.
pub(crate) fn is_default(value: &Expr) -> bool {
    matches!(value, Expr::Identifier(name) if name.quote_style.is_none() && name.value.eq_ignore_ascii_case("DEFAULT"))
}

/// What a statement has for values of columns.
fn whole_values(statement: &Statement) -> impl Iterator<Item = &Expr> {
    let (rows, assignments) = match statement {
        Statement::Insert(insert) => {
            let rows = insert.source.as_ref().and_then(|source| match source.body.as_ref() {
                SetExpr::Values(values) => Some(&values.rows[..]),
                _ => None,
            });
            let assignments = match &insert.on {
                Some(OnInsert::OnConflict(OnConflict {
                    action: OnConflictAction::DoUpdate(update),
                    ..
                })) => &update.assignments[..],
                _ => &[],
            };
            (rows.unwrap_or_default(), assignments)
        }
        Statement::Update(update) => (&[][..], &update.assignments[..]),
        _ => (&[][..], &[][..]),
    };
    let of_rows = rows.iter().flat_map(|row| &row.content);
    of_rows.chain(assignments.iter().map(|assignment| &assignment.value))
}

fn check_insert(insert: &Insert) -> Result<(), String> {
    let plain = insert.into
        && insert.or.is_none()
        && !insert.ignore
        && !insert.overwrite
        && insert.assignments.is_empty()
        && insert.partitioned.is_none()
        && insert.output.is_none()
        && !insert.has_table_keyword
        && insert.table_alias.is_none()
        && matches!(insert.table, TableObject::TableName(_));
    if !plain {
        return Err("write INSERT INTO table [(columns)] VALUES … or SELECT …".into());
    }
    if let Some(OnInsert::OnConflict(OnConflict { conflict_target, .. })) = &insert.on
        && matches!(conflict_target, Some(ConflictTarget::OnConstraint(_)))
    {
        return Err(
            "constraints have no names: write ON CONFLICT (column, …) with the columns of the PRIMARY KEY".into(),
        );
    }
    let Some(source) = &insert.source else {
        return Err("INSERT needs VALUES (…) or a SELECT".into());
    };
    match *source.body {
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
            Err("INSERT needs VALUES (…) or a SELECT".into())
        }
        _ => Ok(()),
    }
}

fn check_update(update: &Update, at_first: impl Fn(&str) -> Error) -> Result<()> {
    if !is_plain_table(&update.table) || update.or.is_some() || update.output.is_some() {
        return Err(at_first(
            "write UPDATE table SET column = expression [FROM relation, …] [WHERE condition]",
        ));
    }
    if matches!(update.from, Some(UpdateTableFromKind::BeforeSet(_))) {
        return Err(at_first(
            "FROM stands behind SET: UPDATE table SET column = expression FROM relation",
        ));
    }
    if update.limit.is_some() || !update.order_by.is_empty() {
        return Err(at_first("UPDATE has no ORDER BY and no LIMIT"));
    }
    check_assignments(&update.assignments, at_first)
}

fn check_assignments(assignments: &[Assignment], at_first: impl Fn(&str) -> Error) -> Result<()> {
    for assignment in assignments {
        if let AssignmentTarget::Tuple(columns) = &assignment.target {
            let message = "assign one column at a time: SET a = 1, b = 2";
            return Err(match columns.first().map(|column| column.span().start) {
                Some(at) => Error::at(message, at.line, at.column),
                None => at_first(message),
            });
        }
    }
    Ok(())
}

fn check_delete(delete: &Delete) -> Result<(), String> {
    let plain = match &delete.from {
        FromTable::WithFromKeyword(from) => {
            matches!(from.as_slice(), [table] if is_plain_table(table))
        }
        FromTable::WithoutKeyword(_) => false,
    };
    if !plain || !delete.tables.is_empty() || delete.output.is_some() {
        return Err("write DELETE FROM table [USING relation, …] [WHERE condition]".into());
    }
    if delete.limit.is_some() || !delete.order_by.is_empty() {
        return Err("DELETE has no ORDER BY and no LIMIT".into());
    }
    Ok(())
}

fn is_plain_table(table: &TableWithJoins) -> bool {
    let named = matches!(&table.relation, TableFactor::Table { args: None, .. });
    named && table.joins.is_empty()
}
