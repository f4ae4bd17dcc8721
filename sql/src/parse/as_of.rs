//! `ASOF JOIN` and `FOR SYSTEM_TIME AS OF`, rewritten into plain joins.
//!
//! What makes such a join goes into its ON, as a call of a marker function:
//!
//! ```text
//! a ASOF [LEFT] JOIN b MATCH_CONDITION (c) [ON k]          a [LEFT] JOIN b ON weir_nearest(c) [AND k]
//! a [LEFT] JOIN b FOR SYSTEM_TIME AS OF t [[AS] x] ON k    a [LEFT] JOIN b x ON weir_version(t) AND k
//! a [LEFT] JOIN b FOR SYSTEM_TIME AS OF PROCTIME() … ON k  a [LEFT] JOIN b … ON weir_at_once() AND k
//! ```
//!
//! `USING (k)` in the place of `ON` is a call there, too: `AND weir_using(k)`.
//!
//! This is done to the tokens, since sqlparser reads neither in full. The planner takes the markers out again
//! ([`crate::plan`]).

use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::source::{closing, depths, error_at, is_word, starts_with};
use super::syntax::USING;
use crate::error::Result;

const NEAREST: &str = "weir_nearest";
const VERSION: &str = "weir_version";
const AT_ONCE: &str = "weir_at_once";

/// What stands in the place of a token.
type Edits = Vec<Option<Vec<TokenWithSpan>>>;

/// The tokens with plain joins.
pub(super) fn prepare(tokens: &[TokenWithSpan]) -> Result<Vec<TokenWithSpan>> {
    let mut edits: Edits = vec![None; tokens.len()];
    let depths = depths(tokens);
    for at in 0..tokens.len() {
        let behind = &tokens[at..];
        let is_as_of = is_word(&tokens[at].token, "ASOF")
            && ["JOIN", "LEFT", "INNER", "RIGHT", "FULL"]
                .iter()
                .any(|word| behind.get(1).is_some_and(|next| is_word(&next.token, word)));
        if is_as_of {
            as_of(tokens, &depths, at, &mut edits)?;
        } else if starts_with(behind, &["FOR", "SYSTEM_TIME"]) {
            version(tokens, at, &mut edits)?;
        }
    }
    let edited = tokens.iter().zip(edits);
    Ok(edited
        .flat_map(|(token, edit)| edit.unwrap_or_else(|| vec![token.clone()]))
        .collect())
}

/// A word in the place of a token.
fn word(text: &str, place: &TokenWithSpan) -> TokenWithSpan {
    token(Token::make_word(text, None), place)
}

fn token(token: Token, place: &TokenWithSpan) -> TokenWithSpan {
    TokenWithSpan {
        token,
        span: place.span,
    }
}

fn as_of(tokens: &[TokenWithSpan], depths: &[usize], at: usize, edits: &mut Edits) -> Result<()> {
    if ["RIGHT", "FULL"]
        .iter()
        .any(|word| is_word(&tokens[at + 1].token, word))
    {
        return Err(error_at(
            "there are ASOF JOIN and ASOF LEFT JOIN: every row of the left side is joined with one of the right side",
            &tokens[at],
        ));
    }
    let usage = "write a ASOF JOIN b MATCH_CONDITION (a.time >= b.time) ON a.key = b.key";
    let ends = |word: &Token| {
        let ends = ["ON", "USING", "WHERE", "GROUP", "ORDER", "ASOF"];
        ends.iter().any(|end| is_word(word, end))
    };
    let mut condition = None;
    for place in at + 1..tokens.len() {
        if depths[place] == depths[at] && is_word(&tokens[place].token, "MATCH_CONDITION") {
            condition = Some(place);
        }
        if condition.is_some() || depths[place] == depths[at] && ends(&tokens[place].token) {
            break;
        }
    }
    let Some(condition) = condition else {
        return Err(error_at(
            format!("ASOF JOIN needs a MATCH_CONDITION: {usage}"),
            &tokens[at],
        ));
    };
    let open = tokens.get(condition + 1).filter(|next| next.token == Token::LParen);
    let Some(close) = open.and_then(|_| closing(tokens, condition + 1)) else {
        return Err(error_at(
            format!("expected a condition in parentheses behind MATCH_CONDITION: {usage}"),
            &tokens[condition],
        ));
    };
    edits[at] = Some(Vec::new());
    let place = &tokens[condition];
    edits[condition] = Some(vec![word("ON", place), word(NEAREST, place)]);
    match tokens.get(close + 1) {
        Some(next) if is_word(&next.token, "ON") => edits[close + 1] = Some(vec![word("AND", next)]),
        Some(next) if is_word(&next.token, "USING") => {
            check_using(tokens, close + 1)?;
            edits[close + 1] = Some(vec![word("AND", next), word(USING, next)]);
        }
        _ => {}
    }
    Ok(())
}

/// Columns in parentheses follow.
fn check_using(tokens: &[TokenWithSpan], at: usize) -> Result<()> {
    let open = tokens.get(at + 1).filter(|next| next.token == Token::LParen);
    match open.and_then(|_| closing(tokens, at + 1)) {
        Some(close) if close > at + 2 => Ok(()),
        _ => Err(error_at(
            "expected columns in parentheses behind USING: USING (key, …)",
            &tokens[at],
        )),
    }
}

fn version(tokens: &[TokenWithSpan], at: usize, edits: &mut Edits) -> Result<()> {
    let refuse = || {
        error_at(
            "FOR SYSTEM_TIME AS OF stands behind the right relation of a JOIN … ON, with a time of the left rows or \
             PROCTIME(): JOIN rates FOR SYSTEM_TIME AS OF o.time AS r ON o.key = r.key",
            &tokens[at],
        )
    };
    let begin = at + 4;
    if !starts_with(&tokens[at..], &["FOR", "SYSTEM_TIME", "AS", "OF"]) || begin >= tokens.len() {
        return Err(refuse());
    }
    let calls = |open: usize| tokens.get(open).is_some_and(|next| next.token == Token::LParen);
    let at_once = is_word(&tokens[begin].token, "PROCTIME") && calls(begin + 1);
    let end = match &tokens[begin].token {
        Token::Word(_) if at_once => closing(tokens, begin + 1).filter(|close| *close == begin + 2),
        Token::Word(_) => {
            let mut last = begin;
            while tokens.get(last + 1).is_some_and(|next| next.token == Token::Period) && last + 2 < tokens.len() {
                last += 2;
            }
            Some(last)
        }
        Token::LParen => closing(tokens, begin),
        _ => None,
    };
    let Some(end) = end else { return Err(refuse()) };
    let mut on = end + 1;
    if tokens.get(on).is_some_and(|next| is_word(&next.token, "AS")) {
        on += 1;
    }
    let is_alias = |token: &Token| {
        let clauses = ["ON", "USING", "JOIN", "LEFT", "WHERE"];
        matches!(token, Token::Word(_)) && !clauses.iter().any(|clause| is_word(token, clause))
    };
    if tokens.get(on).is_some_and(|next| is_alias(&next.token)) {
        on += 1;
    }
    let Some(next) = tokens.get(on) else {
        return Err(refuse());
    };
    let by_name = is_word(&next.token, "USING");
    if by_name {
        check_using(tokens, on)?;
    } else if !is_word(&next.token, "ON") {
        return Err(refuse());
    }
    edits[at..=end].fill(Some(Vec::new()));
    let of = &tokens[at];
    let mut condition = vec![word("ON", next)];
    condition.push(word(if at_once { AT_ONCE } else { VERSION }, of));
    condition.push(token(Token::LParen, of));
    if !at_once {
        condition.extend_from_slice(&tokens[begin..=end]);
    }
    condition.push(token(Token::RParen, of));
    condition.push(word("AND", next));
    if by_name {
        condition.push(word(USING, next));
    }
    edits[on] = Some(condition);
    Ok(())
}
