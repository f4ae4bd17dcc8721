//! Queries: the EMIT clause is cut from the tokens, sqlparser reads the rest, and the tree is
//! brought into the dialect's form.

use sqlparser::ast;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::as_of;
use super::cursor::{Cursor, string_value};
use super::form::{Subqueries, bring_into_form};
use super::history;
use super::options::duration_ms;
use super::source::{Source, closing, depths, error_at, is_word, shown, starts_with};
use super::window;
use crate::error::{Error, Result};
use crate::statement::{Emit, Query};

/// What may stand around a query.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A statement of its own: EMIT, and LIMIT before or behind it.
    Statement,
    /// In CREATE MATERIALIZED VIEW or CREATE SINK: EMIT at the end.
    Continuous,
    /// No EMIT; the text says why.
    Once(&'static str),
}

/// Reads `tokens` as one query. `after` is the token behind them, if they are a part of a
/// statement.
pub(super) fn query(
    source: &Source,
    tokens: &[TokenWithSpan],
    after: Option<&TokenWithSpan>,
    place: Place,
) -> Result<Query> {
    if let Place::Once(reason) = place {
        refuse_emit(tokens, reason)?;
    }
    let emit = find_emit(tokens)?;
    let (before, behind) = match &emit {
        Some(clause) => (&tokens[..clause.begin], &tokens[clause.end..]),
        None => (tokens, &[][..]),
    };
    if let Some(first) = behind.first() {
        check_behind_emit(first, place)?;
    }
    let text = match behind {
        [] => source.slice(before).into(),
        behind => format!("{} {}", source.slice(before), source.slice(behind)),
    };
    let kept = [before, behind].concat();
    let after = match (&emit, behind) {
        (Some(clause), []) => Some(&tokens[clause.begin]),
        _ => after,
    };
    let ast = tree(source, &kept, after, |parser| parser.parse_query())?;
    Ok(Query {
        ast,
        text,
        emit: emit.map(|clause| clause.emit),
    })
}

/// Reads all of `tokens` with sqlparser and brings the tree into the dialect's form.
pub(super) fn tree<T: ast::VisitMut>(
    source: &Source,
    tokens: &[TokenWithSpan],
    after: Option<&TokenWithSpan>,
    mut parse: impl FnMut(&mut sqlparser::parser::Parser) -> Result<T, sqlparser::parser::ParserError>,
) -> Result<T> {
    check_refused(tokens)?;
    let tokens = without_exclusion(tokens)?;
    let tokens = history::prepare(source, &tokens)?;
    let tokens = as_of::prepare(&tokens)?;
    let (tokens, taken) = window::prepare(&tokens)?;
    let mut cursor = Cursor::new(source, &tokens, after);
    let parsed = cursor.run(|parser| parse(parser)).and_then(|tree| {
        cursor.end("")?;
        Ok(tree)
    });
    let mut tree = match parsed {
        Ok(tree) => tree,
        Err(error) => return Err(error_in_subquery(source, &tokens).unwrap_or(error)),
    };
    bring_into_form(&mut tree, &tokens, &taken, Subqueries::Allowed)?;
    Ok(tree)
}

/// sqlparser tries a query in parentheses as something else when it fails, and then reports the
/// second failure. So each one is tried on its own, inner ones first.
fn error_in_subquery(source: &Source, tokens: &[TokenWithSpan]) -> Option<Error> {
    let begins = |index: usize| {
        tokens[index].token == Token::LParen
            && tokens.get(index + 1).is_some_and(|next| {
                ["SELECT", "WITH", "VALUES"]
                    .iter()
                    .any(|word| is_word(&next.token, word))
            })
    };
    (0..tokens.len()).rev().filter(|&open| begins(open)).find_map(|open| {
        let close = closing(tokens, open)?;
        let inner = &tokens[open + 1..close];
        let mut cursor = Cursor::new(source, inner, tokens.get(close));
        cursor
            .run(|parser| parser.parse_query())
            .and_then(|_| cursor.end(""))
            .err()
    })
}

struct EmitClause {
    begin: usize,
    end: usize,
    emit: Emit,
}

/// The EMIT clause at the outermost level. A column or alias may be called `emit`: it is a clause
/// only where one of the clause's words, or nothing, follows.
fn find_emit(tokens: &[TokenWithSpan]) -> Result<Option<EmitClause>> {
    let mut found = None;
    for ((at, token), depth) in tokens.iter().enumerate().zip(depths(tokens)) {
        if !is_word(&token.token, "EMIT") {
            continue;
        }
        let behind = &tokens[at + 1..];
        let certain = starts_with(behind, &["CHANGES"])
            || starts_with(behind, &["FINAL"])
            || starts_with(behind, &["ON", "WINDOW"]);
        if depth > 0 {
            if certain {
                return Err(error_at(
                    "EMIT stands at the end of the whole statement, not in parentheses",
                    token,
                ));
            }
            continue;
        }
        let names_something = at > 0
            && (matches!(tokens[at - 1].token, Token::Comma | Token::Period)
                || ["SELECT", "AS", "BY", "DISTINCT"]
                    .iter()
                    .any(|word| is_word(&tokens[at - 1].token, word)));
        let unfinished = behind.is_empty() || starts_with(behind, &["ON", "CLOSE"]);
        if certain || (unfinished && !names_something) {
            if found.is_some() {
                return Err(error_at("there is a second EMIT clause", token));
            }
            found = Some(emit_clause(tokens, at)?);
        }
    }
    Ok(found)
}

/// Refuses an EMIT clause in `tokens` for a reason.
pub(super) fn refuse_emit(tokens: &[TokenWithSpan], reason: &str) -> Result<()> {
    match find_emit(tokens)? {
        Some(clause) => Err(error_at(reason, &tokens[clause.begin])),
        None => Ok(()),
    }
}

fn emit_clause(tokens: &[TokenWithSpan], begin: usize) -> Result<EmitClause> {
    let behind = &tokens[begin + 1..];
    let closes = Emit::OnWindowClose { timeout_ms: None };
    let (mut emit, words) = if starts_with(behind, &["CHANGES"]) {
        (Emit::Changes, 1)
    } else if starts_with(behind, &["FINAL"]) {
        (closes, 1)
    } else if starts_with(behind, &["ON", "WINDOW", "CLOSE"]) {
        (closes, 3)
    } else {
        let message = "EMIT is followed by CHANGES, ON WINDOW CLOSE or FINAL";
        return Err(error_at(message, &tokens[begin]));
    };
    let mut end = begin + 1 + words;
    let behind = &tokens[end..];
    if starts_with(behind, &["WITH", "TIMEOUT"]) {
        if emit == Emit::Changes {
            return Err(error_at(
                "WITH TIMEOUT closes windows: it stands behind EMIT ON WINDOW CLOSE",
                &behind[0],
            ));
        }
        let (timeout_ms, words) = timeout(&behind[1..])?;
        emit = Emit::OnWindowClose {
            timeout_ms: Some(timeout_ms),
        };
        end += 2 + words;
    }
    let behind = &tokens[end..];
    if starts_with(behind, &["LATE", "ROWS"]) {
        return Err(error_at(
            "LATE ROWS TO is not there yet: late rows are counted in weir.operators",
            &behind[0],
        ));
    }
    Ok(EmitClause { begin, end, emit })
}

/// The length of time behind TIMEOUT, which is the first token, in milliseconds; and its tokens.
fn timeout(tokens: &[TokenWithSpan]) -> Result<(u64, usize)> {
    const UNITS: [&str; 10] = [
        "MILLISECOND",
        "MILLISECONDS",
        "SECOND",
        "SECONDS",
        "MINUTE",
        "MINUTES",
        "HOUR",
        "HOURS",
        "DAY",
        "DAYS",
    ];
    let expected = |token: &TokenWithSpan| {
        error_at(
            "WITH TIMEOUT is followed by a length of time, as in WITH TIMEOUT INTERVAL '10' SECOND",
            token,
        )
    };
    let is_interval = tokens.get(1).is_some_and(|token| is_word(&token.token, "INTERVAL"));
    let place = 1 + usize::from(is_interval);
    let given = tokens.get(place).ok_or_else(|| expected(&tokens[0]))?;
    let text = string_value(&given.token).ok_or_else(|| expected(given))?;
    let unit = tokens.get(place + 1).filter(|_| is_interval);
    let unit = unit.and_then(|token| UNITS.iter().find(|unit| is_word(&token.token, unit)));
    let text = match unit {
        Some(unit) => format!("{text} {unit}"),
        None => text,
    };
    let ms = duration_ms("WITH TIMEOUT", &text).map_err(|error| error_at(error.message, given))?;
    if ms == 0 {
        return Err(error_at("WITH TIMEOUT is a length of time above 0", given));
    }
    Ok((ms, place + usize::from(unit.is_some())))
}

fn check_behind_emit(first: &TokenWithSpan, place: Place) -> Result<()> {
    match place {
        Place::Statement if is_word(&first.token, "LIMIT") => Ok(()),
        Place::Statement => Err(error_at(
            format!(
                "expected LIMIT or the end of the statement after EMIT, found {}",
                shown(&first.token)
            ),
            first,
        )),
        _ => Err(error_at(
            format!(
                "expected the end of the query after EMIT, found {}",
                shown(&first.token)
            ),
            first,
        )),
    }
}

/// Words in a row that begin something which isn't there, and what to write instead. sqlparser or
/// the planner would refuse these in their own words, or pass over them.
const REFUSED: &[(&[&str], &str)] = &[
    (
        &["WAIT", "FOR"],
        "WAIT FOR is not there yet: a SELECT waits for the session's own writes by itself",
    ),
    (
        &["FOR", "UPDATE"],
        "rows are not locked: a SELECT reads what is committed",
    ),
    (
        &["FOR", "SHARE"],
        "rows are not locked: a SELECT reads what is committed",
    ),
    (
        &["FOR", "NO", "KEY"],
        "rows are not locked: a SELECT reads what is committed",
    ),
    (
        &["FOR", "KEY", "SHARE"],
        "rows are not locked: a SELECT reads what is committed",
    ),
    (
        &["TABLESAMPLE", "BERNOULLI"],
        "TABLESAMPLE is not there: filter with random() < 0.1 in a SELECT, by a column's remainder in a view",
    ),
    (
        &["TABLESAMPLE", "SYSTEM"],
        "TABLESAMPLE is not there: filter with random() < 0.1 in a SELECT, by a column's remainder in a view",
    ),
    (&["LATERAL", "VIEW"], "LATERAL VIEW is not there: write UNNEST(…)"),
    (
        &["WINDOW", "TUMBLING"],
        "windows stand in FROM: write FROM TUMBLE(relation, column, size)",
    ),
    (
        &["WINDOW", "HOPPING"],
        "windows stand in FROM: write FROM HOP(relation, column, slide, size)",
    ),
    (
        &["WINDOW", "SESSION"],
        "windows stand in FROM: write FROM SESSION(relation PARTITION BY column, column, gap)",
    ),
];

/// Words that begin something that isn't there when a parenthesis follows.
const REFUSED_CALLS: &[(&str, &str)] = &[
    (
        "MATCH_RECOGNIZE",
        "MATCH_RECOGNIZE is not there: window functions over an order are",
    ),
    (
        "TABLESAMPLE",
        "TABLESAMPLE is not there: filter with random() < 0.1 in a SELECT, by a column's remainder in a view",
    ),
    ("PIVOT", "PIVOT is not there: aggregate with FILTER (WHERE …)"),
    ("UNPIVOT", "UNPIVOT is not there: write UNION ALL"),
];

/// The tokens without EXCLUDE NO OTHERS, which says of a frame what holds anyway; frames that leave rows out are not
/// there.
fn without_exclusion(tokens: &[TokenWithSpan]) -> Result<Vec<TokenWithSpan>> {
    const LEFT_OUT: [&[&str]; 4] = [&["CURRENT", "ROW"], &["GROUP"], &["TIES"], &["NO", "OTHERS"]];
    let mut kept = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let behind = &tokens[at + 1..];
        // It is the last of what stands in the parentheses of a window.
        let ends = |words: &[&str]| {
            starts_with(behind, words) && behind.get(words.len()).is_some_and(|next| next.token == Token::RParen)
        };
        match LEFT_OUT.iter().find(|words| ends(words)) {
            Some(words) if is_word(&token.token, "EXCLUDE") => {
                if words[0] != "NO" {
                    let words = words.join(" ");
                    let message = format!(
                        "EXCLUDE {words} is not there: a frame has all rows between its bounds, as with EXCLUDE NO OTHERS"
                    );
                    return Err(error_at(message, token));
                }
                at += 1 + words.len();
            }
            _ => {
                kept.push(token.clone());
                at += 1;
            }
        }
    }
    Ok(kept)
}

fn check_refused(tokens: &[TokenWithSpan]) -> Result<()> {
    for (at, token) in tokens.iter().enumerate() {
        let Token::Word(word) = &token.token else {
            continue;
        };
        if word.quote_style.is_some() {
            continue;
        }
        let behind = &tokens[at..];
        let refused = REFUSED.iter().find(|(words, _)| starts_with(behind, words));
        if let Some((_, message)) = refused {
            return Err(error_at(*message, token));
        }
        let called = tokens.get(at + 1).is_some_and(|next| next.token == Token::LParen);
        // A relation or a column may have such a name: `INSERT INTO session (…)`.
        let named = at > 0
            && (tokens[at - 1].token == Token::Period
                || ["INTO", "AS", "UPDATE"]
                    .iter()
                    .any(|word| is_word(&tokens[at - 1].token, word)));
        if !called || named {
            continue;
        }
        let refused = REFUSED_CALLS.iter().find(|(name, _)| is_word(&token.token, name));
        if let Some((_, message)) = refused {
            return Err(error_at(*message, token));
        }
    }
    Ok(())
}
