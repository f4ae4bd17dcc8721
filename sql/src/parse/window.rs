//! `TUMBLE`, `HOP`, `CUMULATE` and `SESSION` in FROM, rewritten into plain SQL.
//!
//! A window relation becomes a derived table whose last two columns are calls of marker functions
//! (the offset is an interval of zero where none is written):
//!
//! ```text
//! TUMBLE(t, c, size, offset) AS a
//!   (SELECT *, weir_window_start(c, size, offset) AS window_start,
//!              weir_window_end(c, size, offset) AS window_end
//!    FROM t WHERE c IS NOT NULL) AS a
//! HOP(t, c, slide, size, offset)             weir_hop_start(c, slide, size, offset), weir_hop_end(…)
//! CUMULATE(t, c, step, size, offset)         weir_cumulate_start(c, step, size, offset), weir_cumulate_end(…)
//! SESSION(t PARTITION BY k, l, c, gap)       weir_session_start(c, gap, k, l), weir_session_end(…)
//! ```
//!
//! The planner takes that projection for a window as a whole: a row of HOP or CUMULATE is in several
//! windows, and a session is made of several rows, so there the markers are no functions of a row.
//!
//! sqlparser reads the call as a table function. What it can't read in the first argument (an alias,
//! the word TABLE) and around the call (`TABLE(…)`) is taken out of the tokens first by [`prepare`],
//! and a comma put in place of PARTITION BY, so that its columns are arguments. `(VALUES …)` and what has an alias with
//! columns becomes a query: `(SELECT * FROM (VALUES …) AS v (id, at))`. What was there is
//! remembered under the place of the call; [`rewrite`] then finds it there. Names keep the places where the user
//! wrote them.

use std::collections::HashMap;

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Interval, ObjectName, ObjectNamePart,
    Query, SelectItem, Spanned, TableAlias, TableFactor, TableWithJoins, UnaryOperator, Value,
    WildcardAdditionalOptions,
};
use sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use super::cursor::folded;
use super::source::{closing, error_at, is_word, shown};
use super::syntax::{call, select};
use crate::error::{Error, Result};

const WINDOW_START: &str = "window_start";
const WINDOW_END: &str = "window_end";

/// What was taken out of window calls, by the place of the call.
pub(super) type TakenOut = HashMap<Location, Inner>;

/// What was taken out of one call.
#[derive(Default)]
pub(super) struct Inner {
    /// The alias behind the first argument.
    alias: Option<Ident>,
    /// The first argument had a PARTITION BY.
    partitioned: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tumble,
    Hop,
    Cumulate,
    Session,
}

const KINDS: [Kind; 4] = [Kind::Tumble, Kind::Hop, Kind::Cumulate, Kind::Session];

impl Kind {
    fn of(token: &Token) -> Option<Kind> {
        KINDS.into_iter().find(|kind| is_word(token, kind.name()))
    }

    fn of_name(name: &ObjectName) -> Option<(Kind, &Ident)> {
        let [ObjectNamePart::Identifier(ident)] = name.0.as_slice() else {
            return None;
        };
        let is_called = |kind: &Kind| ident.value.eq_ignore_ascii_case(kind.name());
        let kind = KINDS
            .into_iter()
            .find(is_called)
            .filter(|_| ident.quote_style.is_none());
        Some((kind?, ident))
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Tumble => "TUMBLE",
            Kind::Hop => "HOP",
            Kind::Cumulate => "CUMULATE",
            Kind::Session => "SESSION",
        }
    }

    /// The marker functions that give a window's start and end.
    fn markers(self) -> [&'static str; 2] {
        match self {
            Kind::Tumble => ["weir_window_start", "weir_window_end"],
            Kind::Hop => ["weir_hop_start", "weir_hop_end"],
            Kind::Cumulate => ["weir_cumulate_start", "weir_cumulate_end"],
            Kind::Session => ["weir_session_start", "weir_session_end"],
        }
    }

    /// How many lengths must and may be given.
    fn lengths(self) -> (usize, usize) {
        match self {
            Kind::Tumble => (1, 2),
            Kind::Hop | Kind::Cumulate => (2, 3),
            Kind::Session => (1, 1),
        }
    }

    fn usage(self) -> &'static str {
        match self {
            Kind::Tumble => "TUMBLE(relation, column, size [, offset])",
            Kind::Hop => "HOP(relation, column, slide, size [, offset])",
            Kind::Cumulate => "CUMULATE(relation, column, step, size [, offset])",
            Kind::Session => "SESSION(relation [PARTITION BY column, …], column, gap)",
        }
    }
}

/// How they are called, each with its name, as other functions have it.
pub(crate) fn listed() -> impl Iterator<Item = (String, String)> {
    KINDS.into_iter().map(|kind| {
        let called = kind.usage().replacen(kind.name(), &kind.name().to_lowercase(), 1);
        (kind.name().to_lowercase(), called)
    })
}

/// Takes from window calls what sqlparser doesn't read: `TABLE(…)` around a call; TABLE before, and
/// an alias and PARTITION BY behind the first argument.
pub(super) fn prepare(tokens: &[TokenWithSpan]) -> Result<(Vec<TokenWithSpan>, TakenOut)> {
    let mut taken = TakenOut::new();
    let mut dropped = vec![false; tokens.len()];
    let mut commas = Vec::new();
    let mut queries = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let opens = tokens.get(at + 1).is_some_and(|next| next.token == Token::LParen);
        // A relation may have such a name: `INSERT INTO session (…)`.
        let is_named = at > 0 && (tokens[at - 1].token == Token::Period || is_word(&tokens[at - 1].token, "INTO"));
        let Some(kind) = Kind::of(&token.token).filter(|_| opens && !is_named) else {
            continue;
        };
        let Some(close) = closing(tokens, at + 1) else {
            continue;
        };
        if let Some(wrap) = at.checked_sub(2)
            && is_word(&tokens[wrap].token, "TABLE")
            && tokens[wrap + 1].token == Token::LParen
        {
            match tokens.get(close + 1) {
                Some(after) if after.token == Token::RParen => {}
                after => {
                    let message = "expected ) after the window in TABLE(…)";
                    return Err(error_at(message, after.unwrap_or(&tokens[close])));
                }
            }
            dropped[wrap] = true;
            dropped[wrap + 1] = true;
            dropped[close + 1] = true;
        }
        let argument = first_argument(tokens, at + 2, close, kind)?;
        for index in argument.dropped {
            dropped[index] = true;
        }
        commas.extend(argument.by);
        queries.extend(argument.query);
        let partitioned = argument.by.is_some();
        let alias = argument.alias;
        taken.insert(token.span.start, Inner { alias, partitioned });
    }
    let mut tokens = tokens.to_vec();
    for at in commas {
        tokens[at].token = Token::Comma;
    }
    let mut kept = Vec::with_capacity(tokens.len());
    for (at, (token, dropped)) in tokens.into_iter().zip(dropped).enumerate() {
        for (begin, end) in &queries {
            let put = match (at == *begin, at == *end) {
                (true, _) => select_from(),
                (_, true) => vec![Token::RParen],
                _ => continue,
            };
            let span = token.span;
            kept.extend(put.into_iter().map(|token| TokenWithSpan { token, span }));
        }
        if !dropped {
            kept.push(token);
        }
    }
    Ok((kept, taken))
}

/// `(SELECT * FROM`
fn select_from() -> Vec<Token> {
    let word = |text| Token::make_word(text, None);
    vec![Token::LParen, word("SELECT"), Token::Mul, word("FROM")]
}

#[derive(Default)]
struct FirstArgument {
    dropped: Vec<usize>,
    alias: Option<Ident>,
    /// The BY of PARTITION BY.
    by: Option<usize>,
    /// Where what becomes a query begins and ends.
    query: Option<(usize, usize)>,
}

/// `[TABLE] name [[AS] alias [(column, …)]]` or `(query) [[AS] alias [(column, …)]]`, and for SESSION `[PARTITION BY
/// …]`, up to the comma before `close`.
fn first_argument(tokens: &[TokenWithSpan], begin: usize, close: usize, kind: Kind) -> Result<FirstArgument> {
    let mut argument = FirstArgument::default();
    let mut at = begin;
    if is_word(&tokens[at].token, "TABLE") && at + 1 < close {
        argument.dropped.push(at);
        at += 1;
    }
    let relation = at;
    if tokens[at].token == Token::LParen {
        at = closing(tokens, at).map_or(close, |end| end + 1);
        if is_word(&tokens[relation + 1].token, "VALUES") {
            argument.query = Some((relation, at));
        }
    } else if matches!(tokens[at].token, Token::Word(_)) {
        at += 1;
        while at + 1 < close && tokens[at].token == Token::Period && matches!(tokens[at + 1].token, Token::Word(_)) {
            at += 2;
        }
    } else {
        return Err(unexpected(
            &tokens[at],
            "a relation's name or a query in parentheses",
            kind,
        ));
    }
    if is_word(&tokens[at].token, "AS") {
        argument.dropped.push(at);
        at += 1;
        if !matches!(tokens[at].token, Token::Word(_)) {
            return Err(unexpected(&tokens[at], "an alias after AS", kind));
        }
    }
    if at < close
        && let Token::Word(word) = &tokens[at].token
        && !is_word(&tokens[at].token, "PARTITION")
    {
        argument.alias = Some(word.to_ident(tokens[at].span));
        argument.dropped.push(at);
        at += 1;
        if tokens[at].token == Token::LParen {
            // An alias with columns stays where it is.
            let named = if is_word(&tokens[at - 2].token, "AS") {
                at - 2
            } else {
                at - 1
            };
            argument.dropped.retain(|dropped| *dropped < named);
            at = closing(tokens, at).map_or(close, |end| end + 1);
            argument.query = Some((relation, at));
        }
    }
    if kind == Kind::Session && is_word(&tokens[at].token, "PARTITION") && is_word(&tokens[at + 1].token, "BY") {
        argument.dropped.push(at);
        argument.by = Some(at + 1);
        // The columns may stand in parentheses.
        let begin = at + 2;
        if tokens[begin].token == Token::LParen
            && let Some(end) = closing(tokens, begin)
            && tokens[end + 1].token == Token::Comma
        {
            argument.dropped.extend([begin, end]);
        }
    } else if at < close && tokens[at].token != Token::Comma {
        return Err(unexpected(&tokens[at], "a comma after the relation", kind));
    }
    Ok(argument)
}

fn unexpected(token: &TokenWithSpan, what: &str, kind: Kind) -> Error {
    let found = shown(&token.token);
    error_at(format!("expected {what}, found {found}: write {}", kind.usage()), token)
}

/// The error for a window function used as an expression.
pub(super) fn not_an_expression(name: &ObjectName) -> Option<Error> {
    let (kind, ident) = Kind::of_name(name)?;
    let at = ident.span.start;
    let message = format!(
        "a window stands in FROM and gives the columns {WINDOW_START} and {WINDOW_END}: write FROM {}",
        kind.usage()
    );
    Some(Error::at(message, at.line, at.column))
}

/// Replaces a window call by its derived table; leaves any other relation as it is.
pub(super) fn rewrite(factor: &mut TableFactor, taken: &TakenOut) -> Result<()> {
    let TableFactor::Table {
        name,
        alias,
        args: Some(args),
        ..
    } = factor
    else {
        return Ok(());
    };
    let Some((kind, call)) = Kind::of_name(name) else {
        return Ok(());
    };
    let inner = taken.get(&call.span.start);
    let call = Call {
        kind,
        place: call.span.start,
        inner: inner.and_then(|inner| inner.alias.clone()),
        partitioned: inner.is_some_and(|inner| inner.partitioned),
        outer: alias.take(),
    };
    let args = std::mem::take(&mut args.args);
    *factor = call.derived_table(args)?;
    Ok(())
}

struct Call {
    kind: Kind,
    place: Location,
    /// Alias inside the call.
    inner: Option<Ident>,
    /// The arguments behind the first are columns of a PARTITION BY.
    partitioned: bool,
    /// Alias behind the call.
    outer: Option<TableAlias>,
}

impl Call {
    fn derived_table(mut self, args: Vec<FunctionArg>) -> Result<TableFactor> {
        let mut expressions = Vec::new();
        for arg in args {
            match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => expressions.push(expr),
                other => {
                    return Err(self.error(format!(
                        "{other} is no argument of a window: write {}",
                        self.kind.usage()
                    )));
                }
            }
        }
        let partitions = self.count_partitions(expressions.len())?;
        let mut expressions = expressions.into_iter();
        let Some(relation) = expressions.next() else {
            return Err(self.error("a window needs a relation and a column"));
        };
        let relation = self.relation(relation)?;
        let mut columns = expressions
            .by_ref()
            .take(partitions + 1)
            .map(|column| self.column(column, &relation))
            .collect::<Result<Vec<_>>>()?;
        let Some(time) = columns.pop() else {
            return Err(self.error("a window needs a relation and a column"));
        };
        let mut arguments = expressions
            .map(|length| self.length(length))
            .collect::<Result<Vec<_>>>()?;
        let (_, most) = self.kind.lengths();
        if arguments.len() < most {
            arguments.push(zero());
        }
        arguments.extend(columns.into_iter().map(Expr::Identifier));
        let alias = self.alias(&relation);
        let from = self.from(relation);
        let subquery = windowed(self.kind, from, time, arguments);
        Ok(TableFactor::Derived {
            lateral: false,
            subquery: Box::new(subquery),
            alias,
            sample: None,
        })
    }

    /// How many of so many arguments are columns of a PARTITION BY.
    fn count_partitions(&self, arguments: usize) -> Result<usize> {
        let (least, most) = self.kind.lengths();
        let (least, most) = (least + 2, most + 2);
        if self.partitioned && arguments > least {
            return Ok(arguments - least);
        }
        if !self.partitioned && (least..=most).contains(&arguments) {
            return Ok(0);
        }
        let expected = match (self.partitioned, least == most) {
            (true, _) => format!("more than {least}"),
            (false, true) => least.to_string(),
            (false, false) => format!("{least} or {most}"),
        };
        Err(self.error(format!(
            "a window has {expected} arguments, not {arguments}: write {}",
            self.kind.usage()
        )))
    }

    fn error(&self, message: impl Into<String>) -> Error {
        Error::at(message, self.place.line, self.place.column)
    }

    /// An error at an expression, or at the call where the expression has no place.
    fn error_in(&self, expr: &Expr, message: impl Into<String>) -> Error {
        match expr.span().start {
            Location { line: 0, .. } => self.error(message),
            at => Error::at(message, at.line, at.column),
        }
    }

    fn relation(&self, expr: Expr) -> Result<Relation> {
        match expr {
            Expr::Identifier(ident) => Ok(Relation::Named(vec![ident])),
            Expr::CompoundIdentifier(parts) => Ok(Relation::Named(parts)),
            Expr::Subquery(query) => Ok(Relation::Query(query)),
            other => Err(self.error_in(
                &other,
                format!(
                    "the first argument of a window is a relation's name or a query in parentheses: \
                     write {}",
                    self.kind.usage()
                ),
            )),
        }
    }

    /// A column by its last name; what qualifies it must be the relation.
    fn column(&self, expr: Expr, relation: &Relation) -> Result<Ident> {
        let parts = match expr {
            Expr::Identifier(ident) => vec![ident],
            Expr::CompoundIdentifier(parts) => parts,
            Expr::Function(function) if is_descriptor(&function) => {
                return self.column(descriptor(function).map_err(|m| self.error(m))?, relation);
            }
            other => {
                return Err(self.error_in(
                    &other,
                    "a window is over a column: compute it in a query in parentheses as the first argument",
                ));
            }
        };
        let [qualifier @ .., column] = parts.as_slice() else {
            return Err(self.error("a window needs a column"));
        };
        let Some(qualifier) = qualifier.last() else {
            return Ok(column.clone());
        };
        let own = [
            self.inner.as_ref(),
            self.outer.as_ref().map(|alias| &alias.name),
            relation.last_name().filter(|_| self.inner.is_none()),
        ];
        if own.into_iter().flatten().any(|own| folded(own) == folded(qualifier)) {
            return Ok(column.clone());
        }
        let at = qualifier.span.start;
        Err(Error::at(
            format!("{} is not the relation of this window", qualifier.value),
            at.line,
            at.column,
        ))
    }

    /// A constant length of time.
    fn length(&self, expr: Expr) -> Result<Expr> {
        if is_interval(&expr) {
            return Ok(expr);
        }
        Err(self.error_in(
            &expr,
            format!(
                "a window's lengths are intervals, such as INTERVAL '10' SECOND: write {}",
                self.kind.usage()
            ),
        ))
    }

    /// The alias of the whole: as given outside, inside, or the relation's name.
    fn alias(&mut self, relation: &Relation) -> Option<TableAlias> {
        self.outer.take().or_else(|| {
            let name = self.inner.clone().or_else(|| relation.last_name().cloned())?;
            Some(plain_alias(name))
        })
    }

    fn from(&self, relation: Relation) -> TableFactor {
        let alias = self.inner.clone().map(plain_alias);
        match relation {
            Relation::Named(parts) => TableFactor::Table {
                name: ObjectName::from(parts),
                alias,
                args: None,
                with_hints: vec![],
                version: None,
                with_ordinality: false,
                partitions: vec![],
                json_path: None,
                sample: None,
                index_hints: vec![],
            },
            Relation::Query(subquery) => TableFactor::Derived {
                lateral: false,
                subquery,
                alias,
                sample: None,
            },
        }
    }
}

enum Relation {
    Named(Vec<Ident>),
    Query(Box<Query>),
}

impl Relation {
    fn last_name(&self) -> Option<&Ident> {
        match self {
            Relation::Named(parts) => parts.last(),
            Relation::Query(_) => None,
        }
    }
}

fn is_descriptor(function: &Function) -> bool {
    matches!(function.name.0.as_slice(), [ObjectNamePart::Identifier(ident)]
        if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("DESCRIPTOR"))
}

fn descriptor(function: Function) -> Result<Expr, &'static str> {
    let wrong = "DESCRIPTOR holds one column: DESCRIPTOR(column)";
    let FunctionArguments::List(list) = function.args else {
        return Err(wrong);
    };
    let mut args = list.args.into_iter();
    match (args.next(), args.next()) {
        (Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(column))), None)
            if matches!(column, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) =>
        {
            Ok(column)
        }
        _ => Err(wrong),
    }
}

fn is_interval(expr: &Expr) -> bool {
    match expr {
        Expr::Interval(_) => true,
        Expr::Cast { data_type, .. } => {
            matches!(data_type, sqlparser::ast::DataType::Interval { .. })
        }
        Expr::UnaryOp {
            op: UnaryOperator::Minus | UnaryOperator::Plus,
            expr,
        }
        | Expr::Nested(expr) => is_interval(expr),
        _ => false,
    }
}

/// `SELECT *, start, end FROM from WHERE column IS NOT NULL`.
fn windowed(kind: Kind, from: TableFactor, column: Ident, lengths: Vec<Expr>) -> Query {
    let time = Expr::Identifier(column);
    let args: Vec<Expr> = std::iter::once(time.clone()).chain(lengths).collect();
    let [start, end] = kind.markers();
    let projection = vec![
        SelectItem::Wildcard(WildcardAdditionalOptions::default()),
        aliased(call(start, args.clone()), WINDOW_START),
        aliased(call(end, args), WINDOW_END),
    ];
    let from = vec![TableWithJoins {
        relation: from,
        joins: vec![],
    }];
    select(projection, from, Some(Expr::IsNotNull(Box::new(time))))
}

fn zero() -> Expr {
    Expr::Interval(Interval {
        value: Box::new(Expr::value(Value::SingleQuotedString("0 seconds".into()))),
        leading_field: None,
        leading_precision: None,
        last_field: None,
        fractional_seconds_precision: None,
    })
}

fn aliased(expr: Expr, name: &str) -> SelectItem {
    SelectItem::ExprWithAlias {
        expr,
        alias: Ident::new(name),
    }
}

fn plain_alias(name: Ident) -> TableAlias {
    TableAlias {
        explicit: true,
        name,
        columns: vec![],
        at: None,
    }
}
