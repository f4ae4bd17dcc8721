//! A place in a statement's tokens: the dialect's own grammar is read with it word by word, and
//! sqlparser is lent the same place for expressions, types and queries.
//!
//! The tokens hold no white space, so sqlparser's index is an index into them.

use sqlparser::ast::Ident;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::source::{Source, error_at, is_word, lower_first, place, shown};
use crate::error::{Error, Result};
use crate::statement::{Name, OptionPlaces};

/// Words that are no names unless quoted: PostgreSQL reserves them too, and taking one for a name
/// hides the mistake.
const RESERVED: &[&str] = &[
    "AND",
    "AS",
    "CASE",
    "CREATE",
    "DISTINCT",
    "ELSE",
    "END",
    "EXCEPT",
    "FALSE",
    "FROM",
    "GROUP",
    "HAVING",
    "IN",
    "INTERSECT",
    "INTO",
    "IS",
    "JOIN",
    "LIMIT",
    "NOT",
    "NULL",
    "ON",
    "OR",
    "ORDER",
    "SELECT",
    "TABLE",
    "THEN",
    "TRUE",
    "UNION",
    "USING",
    "WHEN",
    "WHERE",
    "WITH",
];

/// A place in tokens.
pub(super) struct Cursor<'a> {
    pub(super) source: &'a Source<'a>,
    tokens: &'a [TokenWithSpan],
    parser: Parser<'a>,
    /// What stands behind the tokens, where they are a part of a statement.
    after: Option<&'a TokenWithSpan>,
    /// Where the options stand that were read.
    pub(super) option_places: OptionPlaces,
}

impl<'a> Cursor<'a> {
    /// At the first of `tokens`. `after` is the token behind them, if they are a part.
    pub(super) fn new(source: &'a Source<'a>, tokens: &'a [TokenWithSpan], after: Option<&'a TokenWithSpan>) -> Self {
        source.dialect.grant(tokens.len());
        let parser = Parser::new(&source.dialect).with_tokens_with_locations(tokens.to_vec());
        Cursor {
            source,
            tokens,
            parser,
            after,
            option_places: OptionPlaces::default(),
        }
    }

    /// Index of the next token.
    pub(super) fn index(&self) -> usize {
        self.parser.index().min(self.tokens.len())
    }

    /// All tokens.
    pub(super) fn tokens(&self) -> &'a [TokenWithSpan] {
        self.tokens
    }

    /// The tokens not read yet.
    pub(super) fn rest(&self) -> &'a [TokenWithSpan] {
        &self.tokens[self.index()..]
    }

    /// The next token, if there is one.
    pub(super) fn peek(&self) -> Option<&'a TokenWithSpan> {
        self.tokens.get(self.index())
    }

    /// Goes past the next token.
    pub(super) fn advance(&mut self) {
        if self.index() < self.tokens.len() {
            self.parser.advance_token();
        }
    }

    /// Whether the `n`th token from here is this word.
    pub(super) fn is_nth(&self, n: usize, word: &str) -> bool {
        self.tokens
            .get(self.index() + n)
            .is_some_and(|token| is_word(&token.token, word))
    }

    /// Whether the next token is this word.
    pub(super) fn is(&self, word: &str) -> bool {
        self.is_nth(0, word)
    }

    /// Goes past these words if they are next.
    pub(super) fn take(&mut self, words: &[&str]) -> bool {
        let found = (0..words.len()).all(|n| self.is_nth(n, words[n]));
        if found {
            words.iter().for_each(|_| self.advance());
        }
        found
    }

    /// Goes past this word, which must be next.
    pub(super) fn expect(&mut self, word: &str) -> Result<()> {
        if self.take(&[word]) {
            Ok(())
        } else {
            Err(self.expected(word))
        }
    }

    /// Whether the next token is this one.
    pub(super) fn is_token(&self, token: &Token) -> bool {
        self.peek().is_some_and(|next| next.token == *token)
    }

    /// Goes past this token if it is next.
    pub(super) fn take_token(&mut self, token: &Token) -> bool {
        let found = self.is_token(token);
        if found {
            self.advance();
        }
        found
    }

    /// Goes past this token, which must be next.
    pub(super) fn expect_token(&mut self, token: &Token) -> Result<()> {
        if self.take_token(token) {
            Ok(())
        } else {
            Err(self.expected(&token.to_string()))
        }
    }

    /// `( item, … )`, at least one.
    pub(super) fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        self.expect_token(&Token::LParen)?;
        let mut items = vec![item(self)?];
        while self.take_token(&Token::Comma) {
            items.push(item(self)?);
        }
        if !self.take_token(&Token::RParen) {
            return Err(self.expected(", or )"));
        }
        Ok(items)
    }

    /// A column's or relation's name without a schema.
    pub(super) fn ident(&mut self, what: &str) -> Result<Ident> {
        let Some(TokenWithSpan {
            token: Token::Word(word),
            span,
        }) = self.peek()
        else {
            return Err(self.expected(what));
        };
        if word.quote_style.is_none() {
            let reserved = RESERVED
                .iter()
                .any(|reserved| word.value.eq_ignore_ascii_case(reserved));
            if reserved {
                let folded = word.value.to_ascii_lowercase();
                return Err(self.here(format!(
                    "expected {what}, found {}, which is a name only in quotes: \"{folded}\"",
                    word.value
                )));
            }
        } else if word.value.is_empty() {
            return Err(self.here("a name can't be empty"));
        }
        let ident = word.to_ident(*span);
        self.advance();
        Ok(ident)
    }

    /// A relation's name: `name` or `schema.name`.
    pub(super) fn name(&mut self, what: &str) -> Result<Name> {
        let place = self.place();
        let mut parts = vec![self.ident(what)?];
        while self.take_token(&Token::Period) {
            if parts.len() == 2 {
                return Err(self.here(format!("{what} has at most two parts: schema.name")));
            }
            parts.push(self.ident("a name after the point")?);
        }
        if let Some(part) = parts.iter().find(|part| part.value.contains('.')) {
            let at = part.span.start;
            return Err(Error::at("a name can't contain a point", at.line, at.column));
        }
        let value = parts.iter().map(folded).collect::<Vec<_>>().join(".");
        Ok(Name { value, place })
    }

    /// A string literal's value.
    pub(super) fn string(&mut self, what: &str) -> Result<String> {
        match self.peek().and_then(|token| string_value(&token.token)) {
            Some(value) => {
                self.advance();
                Ok(value)
            }
            None => Err(self.expected(what)),
        }
    }

    /// Lends the place to sqlparser.
    pub(super) fn run<T>(&mut self, parse: impl FnOnce(&mut Parser<'a>) -> Result<T, ParserError>) -> Result<T> {
        parse(&mut self.parser).map_err(|error| self.rephrase(error))
    }

    /// Nothing may follow. `or` tells what else might have.
    pub(super) fn end(&self, or: &str) -> Result<()> {
        match (self.peek(), or) {
            (None, _) => Ok(()),
            (Some(_), "") => Err(self.expected("the end of the statement")),
            (Some(_), or) => Err(self.expected(&format!("{or} or the end of the statement"))),
        }
    }

    /// Line and column of the next token.
    pub(super) fn place(&self) -> (u64, u64) {
        match (self.peek().or(self.after), self.tokens.last()) {
            (Some(token), _) => place(token),
            (None, Some(last)) => (last.span.end.line, last.span.end.column),
            (None, None) => (1, 1),
        }
    }

    /// An error at the next token.
    pub(super) fn here(&self, message: impl Into<String>) -> Error {
        let (line, column) = self.place();
        Error::at(message, line, column)
    }

    /// The error that the next token isn't what it should be.
    pub(super) fn expected(&self, what: &str) -> Error {
        self.here(format!("expected {what}, found {}", self.found()))
    }

    fn found(&self) -> String {
        match self.peek().or(self.after) {
            Some(token) => shown(&token.token),
            None => "the end of the statement".into(),
        }
    }

    /// sqlparser's error in this crate's words and places.
    fn rephrase(&self, error: ParserError) -> Error {
        let message = match error {
            ParserError::RecursionLimitExceeded => {
                return self.here("this is nested too deeply: name a part of it in a view or a WITH");
            }
            ParserError::TokenizerError(message) | ParserError::ParserError(message) => message,
        };
        let (message, at) = split_place(&message);
        let expected = message
            .strip_prefix("Expected")
            .and_then(|message| message.rsplit_once(", found: "));
        if let Some((expected, found)) = expected {
            let expected = expected.trim_start_matches([':', ' ']);
            let expected = expected_words(expected);
            return match at {
                Some(at) if found != "EOF" => {
                    let token = self.tokens.iter().find(|token| place(token) == at);
                    let found = token.map_or(found.into(), |token| shown(&token.token));
                    Error::at(format!("expected {expected}, found {found}"), at.0, at.1)
                }
                _ => self.at_end(&expected),
            };
        }
        let message = lower_first(message);
        match at {
            Some((line, column)) => Error::at(message, line, column),
            None => self.here(message),
        }
    }

    /// The error that the tokens end too early.
    fn at_end(&self, expected: &str) -> Error {
        if let Some(after) = self.after {
            let message = format!("expected {expected}, found {}", shown(&after.token));
            return error_at(message, after);
        }
        let message = format!("expected {expected}, found the end of the statement");
        match self.tokens.last() {
            Some(last) => Error::at(message, last.span.end.line, last.span.end.column),
            None => Error::at(message, 1, 1),
        }
    }
}

/// A name as the catalog knows it: lower case unless quoted.
pub(super) fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_ascii_lowercase(),
    }
}

/// The value of a string literal.
pub(super) fn string_value(token: &Token) -> Option<String> {
    match token {
        Token::SingleQuotedString(value)
        | Token::EscapedStringLiteral(value)
        | Token::UnicodeStringLiteral(value)
        | Token::NationalStringLiteral(value) => Some(value.clone()),
        Token::DollarQuotedString(string) => Some(string.value.clone()),
        _ => None,
    }
}

/// Takes `at Line: l, Column: c` from the end of a message.
fn split_place(message: &str) -> (&str, Option<(u64, u64)>) {
    let parsed = message.rsplit_once(" at Line: ").and_then(|(front, place)| {
        let (line, column) = place.split_once(", Column: ")?;
        let (line, column) = (line.parse().ok()?, column.parse().ok()?);
        (line > 0).then_some((front, (line, column)))
    });
    match parsed {
        Some((front, place)) => (front, Some(place)),
        None => (message, None),
    }
}

/// What sqlparser expected, said for a reader.
fn expected_words(expected: &str) -> String {
    match expected {
        "identifier" => "a name".into(),
        "end of statement" => "the end of the statement".into(),
        "joined table" => "a JOIN in these parentheses".into(),
        "SELECT, VALUES, or a subquery in the query body" => "SELECT or VALUES".into(),
        other => lower_first(other),
    }
}
