//! The text of a parse: its tokens, its statements, its places.
//!
//! sqlparser counts lines and columns (in characters, from 1); the text itself is sliced by bytes.
//! [`Source`] keeps the way from one to the other, and reports what can be seen from the tokens
//! alone: broken literals, stray characters, parentheses that don't match, expressions too deep.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use super::dialect::{WeirDialect, without_foreign_keyword};
use crate::error::{Error, Result};

/// How tall a tree may become, in tokens: every two of a chain (`1 + 1 + …`) may be one level of it. A
/// tree is dropped, planned and evaluated by recursion; planning one of 500 levels fits the 2 MiB
/// of an ordinary thread's stack, one of 1,000 does not.
const MAX_HEIGHT: usize = 800;
/// What a UNION, INTERSECT or EXCEPT counts in it: combined queries are planned one within the other.
const COMBINED_HEIGHT: usize = 4;

/// The text of a parse.
pub(super) struct Source<'a> {
    text: &'a str,
    /// Byte offset at which each line begins.
    lines: Vec<usize>,
    pub(super) dialect: WeirDialect,
}

impl<'a> Source<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let lines = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(newline, _)| newline + 1))
            .collect();
        Source {
            text,
            lines,
            dialect: WeirDialect::default(),
        }
    }

    /// The tokens of each statement, without white space, comments and semicolons.
    pub(super) fn statements(&self) -> Result<Vec<Vec<TokenWithSpan>>> {
        let mut tokens = Vec::new();
        Tokenizer::new(&self.dialect, self.text)
            .tokenize_with_location_into_buf(&mut tokens)
            .map_err(|error| {
                let place = (error.location.line, error.location.column);
                Error::at(literal_message(&error.message), place.0.max(1), place.1.max(1))
            })?;
        let mut statements = vec![Vec::new()];
        for TokenWithSpan { token, span } in tokens {
            match token {
                Token::Whitespace(_) | Token::EOF => {}
                Token::SemiColon => statements.push(Vec::new()),
                Token::Char(stray) => return Err(stray_character(stray, span.start)),
                token => {
                    if let Some(statement) = statements.last_mut() {
                        statement.push(TokenWithSpan::new(without_foreign_keyword(token), span));
                    }
                }
            }
        }
        statements.retain(|statement| !statement.is_empty());
        for statement in &mut statements {
            check_brackets(statement)?;
            check_height(statement)?;
            json_operators(statement);
            number_placeholders(statement)?;
        }
        Ok(statements)
    }

    /// The text from the first to the last of `tokens`, as written.
    pub(super) fn slice(&self, tokens: &[TokenWithSpan]) -> &'a str {
        let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else {
            return "";
        };
        &self.text[self.offset(first.span.start)..self.offset(last.span.end)]
    }

    fn offset(&self, location: Location) -> usize {
        let line = (location.line as usize).saturating_sub(1);
        let Some(&begin) = self.lines.get(line) else {
            return self.text.len();
        };
        let column = (location.column as usize).saturating_sub(1);
        self.text[begin..]
            .char_indices()
            .nth(column)
            .map_or(self.text.len(), |(offset, _)| begin + offset)
    }
}

/// 1-based line and column of a token.
pub(super) fn place(token: &TokenWithSpan) -> (u64, u64) {
    (token.span.start.line, token.span.start.column)
}

/// An error at a token.
pub(super) fn error_at(message: impl Into<String>, token: &TokenWithSpan) -> Error {
    Error::at(message, token.span.start.line, token.span.start.column)
}

/// Whether `token` is the word `expected`, not quoted.
pub(super) fn is_word(token: &Token, expected: &str) -> bool {
    matches!(token, Token::Word(word)
        if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(expected))
}

/// Whether `tokens` begin with these words.
pub(super) fn starts_with(tokens: &[TokenWithSpan], words: &[&str]) -> bool {
    tokens.len() >= words.len()
        && words
            .iter()
            .zip(tokens)
            .all(|(word, token)| is_word(&token.token, word))
}

/// A token as an error shows it: as written, long literals cut.
pub(super) fn shown(token: &Token) -> String {
    const LONGEST: usize = 40;
    let text = token.to_string();
    if text.chars().count() <= LONGEST {
        return text;
    }
    text.chars().take(LONGEST).chain(['…']).collect()
}

/// How deep each token stands in parentheses and brackets; an opening or closing one stands
/// outside of what it encloses.
pub(super) fn depths(tokens: &[TokenWithSpan]) -> Vec<usize> {
    let mut depth = 0usize;
    tokens
        .iter()
        .map(|token| match token.token {
            Token::LParen | Token::LBracket => {
                depth += 1;
                depth - 1
            }
            Token::RParen | Token::RBracket => {
                depth = depth.saturating_sub(1);
                depth
            }
            _ => depth,
        })
        .collect()
}

/// Index of the parenthesis that closes the one at `open`.
pub(super) fn closing(tokens: &[TokenWithSpan], open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(index);
                }
            }
            _ => {}
        }
    }
    None
}

/// `?`, `?|` and `?&` between two values are operators of JSON, and no parameters.
fn json_operators(tokens: &mut Vec<TokenWithSpan>) {
    for at in (1..tokens.len()).rev() {
        if !matches!(&tokens[at].token, Token::Placeholder(name) if name == "?") || !ends_value(&tokens[at - 1].token) {
            continue;
        }
        let (operator, length) = match tokens.get(at + 1).map(|next| &next.token) {
            Some(Token::Pipe) => (Token::QuestionPipe, 2),
            Some(Token::Ampersand) => (Token::QuestionAnd, 2),
            _ => (Token::Question, 1),
        };
        let behind = tokens[at + length..].iter().map(|next| &next.token);
        let mut behind = behind.skip_while(|next| matches!(next, Token::Whitespace(_)));
        if behind.next().is_some_and(begins_value) {
            tokens[at].token = operator;
            tokens.drain(at + 1..at + length);
        }
    }
}

fn ends_value(token: &Token) -> bool {
    match token {
        Token::Word(word) => word.quote_style.is_some() || !NO_VALUE.contains(&word.keyword),
        Token::RParen | Token::RBracket | Token::SingleQuotedString(_) | Token::Placeholder(_) => true,
        _ => false,
    }
}

fn begins_value(token: &Token) -> bool {
    match token {
        Token::Word(word) => word.quote_style.is_some() || matches!(word.keyword, Keyword::NoKeyword | Keyword::ARRAY),
        Token::SingleQuotedString(_) | Token::Placeholder(_) | Token::LParen => true,
        _ => false,
    }
}

/// Words behind which a value begins, and so a parameter may stand.
const NO_VALUE: [Keyword; 24] = [
    Keyword::ALL,
    Keyword::AND,
    Keyword::ANY,
    Keyword::AS,
    Keyword::BETWEEN,
    Keyword::BY,
    Keyword::CASE,
    Keyword::DISTINCT,
    Keyword::ELSE,
    Keyword::FROM,
    Keyword::HAVING,
    Keyword::ILIKE,
    Keyword::IN,
    Keyword::LIKE,
    Keyword::LIMIT,
    Keyword::NOT,
    Keyword::OFFSET,
    Keyword::ON,
    Keyword::OR,
    Keyword::SELECT,
    Keyword::SET,
    Keyword::THEN,
    Keyword::WHEN,
    Keyword::WHERE,
];

/// Parameters as some drivers write them, `?`, become `$1`, `$2`, … in their order.
fn number_placeholders(tokens: &mut [TokenWithSpan]) -> Result<()> {
    let mut numbered = 0;
    let mut named = false;
    for token in tokens {
        let Token::Placeholder(name) = &mut token.token else {
            continue;
        };
        if name == "?" {
            numbered += 1;
            *name = format!("${numbered}");
        } else {
            named = true;
        }
        if named && numbered > 0 {
            let message = "parameters are either ? in their order, or $1, $2, …: not both in one statement";
            return Err(error_at(message, token));
        }
    }
    Ok(())
}

/// What the tokenizer says, in this crate's tone.
fn literal_message(message: &str) -> String {
    if message.contains("comment") {
        "this comment is never closed: it needs */".into()
    } else if message.contains("close delimiter") {
        "this quoted name is never closed: it needs a second \"".into()
    } else if message.contains("dollar") {
        "this dollar-quoted string is never closed".into()
    } else if message.contains("ncoded") {
        "this E'…' string is never closed, or holds an escape that is none".into()
    } else if message.contains("nterminated") {
        "this string is never closed: it needs a second '".into()
    } else {
        lower_first(message)
    }
}

/// `message` with its first letter in lower case, unless it begins with a word in capitals.
pub(super) fn lower_first(message: &str) -> String {
    let mut chars = message.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            first.to_lowercase().chain([second]).chain(chars).collect()
        }
        _ => message.into(),
    }
}

fn stray_character(stray: char, at: Location) -> Error {
    let hint = match stray {
        '‘' | '’' => ": strings stand in straight quotes, 'like this'",
        '“' | '”' => ": names stand in straight quotes, \"like this\"",
        '`' => ": names stand in double quotes, \"like this\"",
        _ => "",
    };
    let shown = stray.escape_debug();
    Error::at(format!("unexpected character {shown}{hint}"), at.line, at.column)
}

fn check_brackets(tokens: &[TokenWithSpan]) -> Result<()> {
    let mut open: Vec<&TokenWithSpan> = Vec::new();
    for token in tokens {
        let opening = match token.token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                open.push(token);
                continue;
            }
            Token::RParen => Token::LParen,
            Token::RBracket => Token::LBracket,
            Token::RBrace => Token::LBrace,
            _ => continue,
        };
        if open.pop().map(|token| &token.token) != Some(&opening) {
            let message = format!("this {} has no {opening} that it closes", shown(&token.token));
            return Err(error_at(message, token));
        }
    }
    match open.last() {
        Some(token) => Err(error_at(format!("this {} is never closed", shown(&token.token)), token)),
        None => Ok(()),
    }
}

/// Words at which an expression ends and another, beside it in the tree, begins.
const BESIDE: &[&str] = &[
    "SELECT", "FROM", "WHERE", "JOIN", "ON", "HAVING", "QUALIFY", "WHEN", "THEN", "ELSE",
];
/// Words that put one query beside another, and both one level down.
const COMBINING: &[&str] = &["UNION", "INTERSECT", "EXCEPT"];

/// What is known of the tokens between two parentheses.
#[derive(Default)]
struct Level {
    /// Height of the expression that is being read.
    current: usize,
    /// Height of the tallest one before it.
    tallest: usize,
    /// UNION, INTERSECT and EXCEPT so far.
    combined: usize,
}

impl Level {
    fn height(&self) -> usize {
        self.tallest.max(self.current) + COMBINED_HEIGHT * self.combined
    }

    fn next_expression(&mut self) {
        self.tallest = self.tallest.max(self.current);
        self.current = 0;
    }

    fn read(&mut self, token: &Token) {
        let is_one_of = |words: &[&str]| words.iter().any(|word| is_word(token, word));
        if *token == Token::Comma || is_one_of(BESIDE) {
            self.next_expression();
        } else if is_one_of(COMBINING) {
            self.next_expression();
            self.combined += 1;
        } else if is_word(token, "END") {
            // What follows a CASE stands above all of it.
            self.current = self.tallest.max(self.current) + 1;
        } else {
            self.current += 1;
        }
    }
}

/// Refuses what would become too tall a tree. sqlparser bounds how deep parentheses go, but not how
/// long a chain is, and chains within chains add up.
fn check_height(tokens: &[TokenWithSpan]) -> Result<()> {
    let mut outer: Vec<Level> = Vec::new();
    let mut level = Level::default();
    for token in tokens {
        match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => outer.push(std::mem::take(&mut level)),
            Token::RParen | Token::RBracket | Token::RBrace => {
                let inner = std::mem::replace(&mut level, outer.pop().unwrap_or_default());
                level.current = level.current.max(inner.height()) + 1;
            }
            token => level.read(token),
        }
        if level.height() > MAX_HEIGHT {
            return Err(error_at(
                "this is chained too long: write IN (…) for many ORs, VALUES for many UNION ALLs, or name a part \
                 of it in WITH or a view",
                token,
            ));
        }
    }
    Ok(())
}
