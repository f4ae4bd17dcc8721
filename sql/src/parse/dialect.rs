//! What sqlparser is told about the dialect: PostgreSQL's words, literals and precedences, and a
//! bound on the work a statement may cause.
//!
//! sqlparser takes almost any word for a column's name, so that a missing expression is noticed late
//! and elsewhere (`WHERE GROUP BY a`). Here the words that PostgreSQL reserves begin no expression.
//!
//! sqlparser tries some words twice (as an expression's keyword, then as a name), which doubles
//! the work with every level of a nested expression that holds a mistake. Its depth is bounded, its
//! work is not, so this dialect counts the expressions that are begun and ends the attempt.

use std::any::TypeId;
use std::cell::Cell;

use sqlparser::ast::Expr;
use sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, Word};

/// Expressions a statement may begin for each of its tokens: a well-formed one needs a few.
const EXPRESSIONS_PER_TOKEN: usize = 100;

/// sqlparser's keywords that PostgreSQL doesn't have; here they are names like any other, so that
/// `max(price) AS top` and `FROM t start` work.
const FOREIGN_KEYWORDS: &[Keyword] = &[
    Keyword::CLUSTER,
    Keyword::CONNECT,
    Keyword::DISTRIBUTE,
    Keyword::DIV,
    Keyword::FORMAT,
    Keyword::GLOBAL,
    Keyword::MATCH,
    Keyword::MEMBER,
    Keyword::MINUS,
    Keyword::OPERATOR,
    Keyword::OVERLAPS,
    Keyword::PREWHERE,
    Keyword::REGEXP,
    Keyword::RLIKE,
    Keyword::SAMPLE,
    Keyword::SETTINGS,
    Keyword::SORT,
    Keyword::START,
    Keyword::TOP,
    Keyword::XOR,
];

/// Keywords that can't begin an expression.
const NO_EXPRESSION: &[Keyword] = &[
    Keyword::AND,
    Keyword::AS,
    Keyword::ASC,
    Keyword::BETWEEN,
    Keyword::DESC,
    Keyword::ELSE,
    Keyword::END,
    Keyword::EXCEPT,
    Keyword::FROM,
    Keyword::GROUP,
    Keyword::HAVING,
    Keyword::IN,
    Keyword::INTERSECT,
    Keyword::INTO,
    Keyword::IS,
    Keyword::JOIN,
    Keyword::LIKE,
    Keyword::LIMIT,
    Keyword::ON,
    Keyword::OR,
    Keyword::ORDER,
    Keyword::SELECT,
    Keyword::THEN,
    Keyword::UNION,
    Keyword::USING,
    Keyword::WHEN,
    Keyword::WHERE,
    Keyword::WITH,
];

/// The dialect of one parse.
#[derive(Debug, Default)]
pub(super) struct WeirDialect {
    /// Expressions that may still be begun.
    expressions_left: Cell<usize>,
}

impl WeirDialect {
    /// Grants the work for parsing `tokens` tokens once.
    pub(super) fn grant(&self, tokens: usize) {
        self.expressions_left.set((tokens + 100) * EXPRESSIONS_PER_TOKEN);
    }
}

/// Makes a plain name of a word that only sqlparser takes for a keyword.
pub(super) fn without_foreign_keyword(token: Token) -> Token {
    match token {
        Token::Word(word) if FOREIGN_KEYWORDS.contains(&word.keyword) => Token::Word(Word {
            keyword: Keyword::NoKeyword,
            ..word
        }),
        token => token,
    }
}

impl Dialect for WeirDialect {
    fn dialect(&self) -> TypeId {
        TypeId::of::<PostgreSqlDialect>()
    }

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        let left = self.expressions_left.get();
        self.expressions_left.set(left.saturating_sub(1));
        if left == 0 {
            return Some(Err(ParserError::RecursionLimitExceeded));
        }
        let [next, after, third] = parser.peek_tokens_ref();
        let is_values = |one: &Token, other: &Token| is_keyword(one, Keyword::VALUES) && *other == Token::LParen;
        match &next.token {
            // Queries in parentheses, of which sqlparser expects SELECT or WITH.
            Token::LParen if is_values(&after.token, &third.token) => {
                parser.advance_token();
                let query = parser.parse_query();
                Some(query.and_then(|query| {
                    parser.expect_token(&Token::RParen)?;
                    Ok(Expr::Subquery(query))
                }))
            }
            word if is_values(word, &after.token) && is_quantified(parser) => {
                Some(parser.parse_query().map(Expr::Subquery))
            }
            Token::Word(word) if NO_EXPRESSION.contains(&word.keyword) => {
                Some(parser.expected_ref("an expression", next))
            }
            _ => None,
        }
    }

    /// What IS DISTINCT FROM compares with ends before AND and OR. (The parser's own reading takes all
    /// of the rest.)
    fn parse_infix(&self, parser: &mut Parser, left: &Expr, precedence: u8) -> Option<Result<Expr, ParserError>> {
        const DISTINCT: &[Keyword] = &[Keyword::IS, Keyword::DISTINCT, Keyword::FROM];
        const NOT_DISTINCT: &[Keyword] = &[Keyword::IS, Keyword::NOT, Keyword::DISTINCT, Keyword::FROM];
        let distinct = parser.parse_keywords(DISTINCT);
        if !distinct && !parser.parse_keywords(NOT_DISTINCT) {
            return None;
        }
        let (left, right) = (Box::new(left.clone()), parser.parse_subexpr(precedence));
        Some(right.map(|right| match distinct {
            true => Expr::IsDistinctFrom(left, Box::new(right)),
            false => Expr::IsNotDistinctFrom(left, Box::new(right)),
        }))
    }

    fn identifier_quote_style(&self, _identifier: &str) -> Option<char> {
        Some('"')
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '"'
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        is_name_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        is_name_part(ch)
    }

    fn is_reserved_for_identifier(&self, keyword: Keyword) -> bool {
        // Whether the word is tried as a name when its own form fails; these never are one.
        const RESERVED: &[Keyword] = &[
            Keyword::ARRAY,
            Keyword::CASE,
            Keyword::CAST,
            Keyword::NOT,
            Keyword::TRY_CAST,
        ];
        RESERVED.contains(&keyword) || PostgreSqlDialect {}.is_reserved_for_identifier(keyword)
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        let [next, after] = parser.peek_tokens_ref();
        if is_keyword(&next.token, Keyword::NOT) && is_keyword(&after.token, Keyword::NULL) {
            // `DEFAULT 1 NOT NULL`: the constraint, not `IS NOT NULL`.
            return Some(Ok(self.prec_unknown()));
        }
        PostgreSqlDialect {}.get_next_precedence(parser)
    }

    fn prec_value(&self, precedence: Precedence) -> u8 {
        PostgreSqlDialect {}.prec_value(precedence)
    }

    fn supports_unicode_string_literal(&self) -> bool {
        true
    }

    fn supports_string_escape_constant(&self) -> bool {
        true
    }

    fn supports_numeric_literal_underscores(&self) -> bool {
        true
    }

    fn supports_nested_comments(&self) -> bool {
        true
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_window_clause_named_window_reference(&self) -> bool {
        true
    }

    fn supports_bitwise_shift_operators(&self) -> bool {
        true
    }

    fn supports_array_typedef_with_brackets(&self) -> bool {
        true
    }

    fn supports_struct_literal(&self) -> bool {
        true
    }

    fn supports_map_literal_with_angle_brackets(&self) -> bool {
        true
    }

    fn supports_interval_options(&self) -> bool {
        true
    }

    fn supports_insert_table_alias(&self) -> bool {
        true
    }

    fn supports_select_wildcard_exclude(&self) -> bool {
        true
    }

    fn supports_select_wildcard_except(&self) -> bool {
        true
    }

    fn supports_select_wildcard_replace(&self) -> bool {
        true
    }

    fn allow_extract_custom(&self) -> bool {
        true
    }

    fn allow_extract_single_quotes(&self) -> bool {
        true
    }
}

/// Whether the parser stands behind `ANY (` or `ALL (`.
fn is_quantified(parser: &Parser) -> bool {
    let quantifiers = [Keyword::ANY, Keyword::ALL, Keyword::SOME];
    let is_quantifier = |token: &Token| quantifiers.iter().any(|word| is_keyword(token, *word));
    parser.get_current_token().token == Token::LParen && is_quantifier(&parser.get_previous_token().token)
}

fn is_keyword(token: &Token, keyword: Keyword) -> bool {
    matches!(token, Token::Word(word) if word.keyword == keyword)
}

/// Whether a name written without quotes may begin with `ch`. Spaces and quotation marks from
/// word processors aren't letters, so that pasting them is noticed.
pub(crate) fn is_name_start(ch: char) -> bool {
    ch.is_alphabetic()
        || ch == '_'
        || (!ch.is_ascii() && !ch.is_whitespace() && !('\u{2000}'..='\u{206f}').contains(&ch))
}

/// Whether a name written without quotes may go on with `ch`.
pub(crate) fn is_name_part(ch: char) -> bool {
    is_name_start(ch) || ch.is_ascii_digit() || ch == '$'
}
