//! SQL text into statements.
//!
//! sqlparser's tokenizer cuts the text, each statement's first words choose its reader, and
//! sqlparser's parser reads the expressions, types and queries in it. What sqlparser can't read is
//! read here ([`create`], [`options`]) or taken out of the tokens before ([`query`] for EMIT,
//! [`window`] for windows). Trees come out in one form ([`form`], [`types`]), so that whoever
//! plans them meets few shapes. Every error has the line and column of the token at fault, in the
//! text that was given.

use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::{Error, Result};
use crate::statement::{Name, RelationKind, Show, Statement, Subscribe};

mod as_of;
mod create;
mod cursor;
pub(crate) mod dialect;
mod dml;
mod form;
pub(crate) mod history;
mod options;
mod query;
mod source;
pub(crate) mod syntax;
#[cfg(test)]
mod tests;
mod types;
pub(crate) mod window;

use cursor::{Cursor, string_value};
pub(crate) use dml::is_default;
pub(crate) use options::duration_ms;
use query::Place;
use source::{Source, error_at, is_word, starts_with};

/// The statements that exist, by their first words; the error about others names them.
pub const STATEMENTS: &str = "SELECT, CREATE, DROP, ALTER, INSERT, UPDATE, DELETE, SHOW, DESCRIBE, EXPLAIN, \
     SUBSCRIBE TO, PAUSE, RESUME, SET, COMMENT ON, FLUSH, BEGIN, COMMIT, ROLLBACK";

/// Reads all statements of `text`, which semicolons separate; empty ones don't count.
pub fn parse(text: &str) -> Result<Vec<Statement>> {
    let source = Source::new(text);
    source
        .statements()?
        .iter()
        .map(|tokens| statement(&source, tokens))
        .collect()
}

/// Reads `text` as exactly one statement, with or without a semicolon behind it.
pub fn parse_one(text: &str) -> Result<Statement> {
    let source = Source::new(text);
    let statements = source.statements()?;
    match statements.as_slice() {
        [] => Err(Error::new("there is no statement")),
        [tokens] => statement(&source, tokens),
        [_, second, ..] => Err(match second.first() {
            Some(token) => error_at("expected one statement, found a second", token),
            None => Error::new("expected one statement"),
        }),
    }
}

/// How many statements the tokenizer sees.
#[cfg(test)]
pub(crate) fn count_statements(text: &str) -> Result<usize> {
    Ok(Source::new(text).statements()?.len())
}

fn statement(source: &Source, tokens: &[TokenWithSpan]) -> Result<Statement> {
    let statement = any_statement(source, tokens)?;
    let takes_parameters = match &statement {
        Statement::Query(query) => query.emit.is_none(),
        Statement::Dml(_) | Statement::Explain(_) => true,
        _ => false,
    };
    let parameter = tokens.iter().find(|token| matches!(token.token, Token::Placeholder(_)));
    match parameter {
        Some(parameter) if !takes_parameters => Err(error_at(
            "parameters stand in SELECT, INSERT, UPDATE and DELETE; what is kept or keeps running has none: write the \
             value itself",
            parameter,
        )),
        _ => Ok(statement),
    }
}

fn any_statement(source: &Source, tokens: &[TokenWithSpan]) -> Result<Statement> {
    let mut cursor = Cursor::new(source, tokens, None);
    let Some(first) = tokens.first() else {
        return Err(Error::new("there is no statement"));
    };
    let Token::Word(word) = &first.token else {
        if first.token == Token::LParen {
            return select(source, tokens);
        }
        return Err(cursor.expected(&format!("a statement ({STATEMENTS})")));
    };
    match word.value.to_ascii_uppercase().as_str() {
        "SELECT" | "WITH" | "VALUES" => select(source, tokens),
        "INSERT" | "UPDATE" | "DELETE" => dml::dml(source, tokens).map(|statement| Statement::Dml(Box::new(statement))),
        "CREATE" => create::create(&mut cursor),
        "DROP" => drop(&mut cursor),
        "ALTER" => alter(&mut cursor),
        "PAUSE" => named(&mut cursor).map(Statement::Pause),
        "RESUME" => named(&mut cursor).map(Statement::Resume),
        "SHOW" => show(&mut cursor),
        "DESCRIBE" | "DESC" => named(&mut cursor).map(Statement::Describe),
        "EXPLAIN" => explain(&mut cursor),
        "SUBSCRIBE" => subscribe(&mut cursor),
        "SET" => set(&mut cursor),
        "COMMENT" => comment(&mut cursor),
        "FLUSH" => {
            cursor.advance();
            cursor.end("")?;
            Ok(Statement::Flush)
        }
        "BEGIN" => transaction(&mut cursor, Statement::Begin),
        "START" if cursor.is_nth(1, "TRANSACTION") => transaction(&mut cursor, Statement::Begin),
        "COMMIT" | "END" => transaction(&mut cursor, Statement::Commit),
        "ROLLBACK" | "ABORT" => transaction(&mut cursor, Statement::Rollback),
        other => Err(unknown(other, first)),
    }
}

/// `BEGIN [TRANSACTION | WORK]`, `START TRANSACTION`, and what ends that.
fn transaction(cursor: &mut Cursor, statement: Statement) -> Result<Statement> {
    cursor.advance();
    if cursor.is("TRANSACTION") || cursor.is("WORK") {
        cursor.advance();
    }
    if cursor.is("ISOLATION") || cursor.is("READ") || cursor.is("AND") {
        return Err(cursor.here("a transaction has no options: it reads what was committed before its first change"));
    }
    cursor.end("")?;
    Ok(statement)
}

/// The error for a statement that doesn't exist.
fn unknown(word: &str, first: &TokenWithSpan) -> Error {
    let message = match word {
        "START" => "a transaction begins with BEGIN, or START TRANSACTION".into(),
        "SAVEPOINT" | "RELEASE" => format!("{word} is not there: a transaction commits or is rolled back as a whole"),
        "TRUNCATE" => "TRUNCATE is not there: write DELETE FROM table".into(),
        "COPY" => "COPY is not there: a source or a sink with connector = 'file' reads or writes files".into(),
        "MERGE" | "UPSERT" | "REPLACE" => {
            format!("{word} is not there yet: INSERT, UPDATE and DELETE are")
        }
        "USE" => "USE is not there: all relations are in one schema".into(),
        "FROM" | "TABLE" => "a query begins with SELECT: write SELECT * FROM …".into(),
        _ => format!(
            "there is no statement that begins with {}; those that exist: {STATEMENTS}",
            source::shown(&first.token)
        ),
    };
    error_at(message, first)
}

fn select(source: &Source, tokens: &[TokenWithSpan]) -> Result<Statement> {
    query::query(source, tokens, None, Place::Statement).map(Statement::Query)
}

/// A word and a relation's name: PAUSE, RESUME, DESCRIBE.
fn named(cursor: &mut Cursor) -> Result<Name> {
    cursor.advance();
    refuse_kind(cursor)?;
    let name = cursor.name("a relation's name")?;
    cursor.end("")?;
    Ok(name)
}

/// Names are unique among all kinds, so a kind before the name is left out; says so.
fn refuse_kind(cursor: &Cursor) -> Result<()> {
    let words = kind_words(cursor);
    let Some(Token::Word(name)) = cursor.rest().get(words).map(|token| &token.token) else {
        return Ok(());
    };
    if words == 0 {
        return Ok(());
    }
    Err(cursor.here(format!("leave out the kind, the name is enough: {}", name.value)))
}

/// How many words at the cursor name a kind of relation.
fn kind_words(cursor: &Cursor) -> usize {
    if cursor.is("MATERIALIZED") && cursor.is_nth(1, "VIEW") {
        2
    } else {
        let kinds = ["SOURCE", "TABLE", "VIEW", "SINK"];
        usize::from(kinds.iter().any(|kind| cursor.is(kind)))
    }
}

/// The kind of relation at the cursor.
fn kind(cursor: &mut Cursor, behind: &str) -> Result<RelationKind> {
    let kind = match cursor.peek().map(|token| &token.token) {
        Some(token) if is_word(token, "SOURCE") => RelationKind::Source,
        Some(token) if is_word(token, "TABLE") => RelationKind::Table,
        Some(token) if is_word(token, "VIEW") => RelationKind::View,
        Some(token) if is_word(token, "SINK") => RelationKind::Sink,
        Some(token) if is_word(token, "MATERIALIZED") => RelationKind::MaterializedView,
        _ => {
            return Err(cursor.expected(&format!(
                "SOURCE, TABLE, VIEW, MATERIALIZED VIEW or SINK after {behind}"
            )));
        }
    };
    cursor.advance();
    if kind == RelationKind::MaterializedView {
        cursor.expect("VIEW")?;
    }
    Ok(kind)
}

/// `DROP kind [IF EXISTS] name [CASCADE | RESTRICT]`.
fn drop(cursor: &mut Cursor) -> Result<Statement> {
    cursor.advance();
    let kind = kind(cursor, "DROP")?;
    let if_exists = cursor.take(&["IF", "EXISTS"]);
    let name = cursor.name("a relation's name")?;
    if cursor.is_token(&Token::Comma) {
        return Err(cursor.here("DROP takes one name: write a second DROP"));
    }
    let cascade = cursor.take(&["CASCADE"]);
    if !cascade {
        cursor.take(&["RESTRICT"]);
    }
    cursor.end("CASCADE")?;
    Ok(Statement::Drop {
        kind,
        name,
        if_exists,
        cascade,
    })
}

/// `ALTER kind name RENAME TO name`.
fn alter(cursor: &mut Cursor) -> Result<Statement> {
    cursor.advance();
    if cursor.is("CONNECTION") || cursor.is("SYSTEM") {
        return Err(cursor.here("only relations can be altered: ALTER kind name RENAME TO name"));
    }
    let kind = kind(cursor, "ALTER")?;
    let name = cursor.name("a relation's name")?;
    let later = [
        (
            "SET",
            "ALTER … SET is not there yet: DROP and CREATE with the new options",
        ),
        (
            "ADD",
            "ALTER … ADD COLUMN is not there yet: DROP and CREATE with the new column",
        ),
        (
            "DROP",
            "ALTER … DROP COLUMN is not there: DROP and CREATE without the column",
        ),
        (
            "ALTER",
            "ALTER … ALTER COLUMN is not there: DROP and CREATE with the new column",
        ),
    ];
    if let Some((_, message)) = later.iter().find(|(word, _)| cursor.is(word)) {
        return Err(cursor.here(*message));
    }
    if cursor.is("RENAME") && cursor.is_nth(1, "COLUMN") {
        return Err(cursor.here("RENAME COLUMN is not there: rename it in a view, SELECT a AS b"));
    }
    if !cursor.take(&["RENAME", "TO"]) {
        return Err(cursor.expected("RENAME TO"));
    }
    let to = cursor.name("the new name")?;
    cursor.end("")?;
    Ok(Statement::Rename { kind, name, to })
}

/// `SHOW list`, `SHOW CREATE name`, `SHOW setting`.
fn show(cursor: &mut Cursor) -> Result<Statement> {
    const LISTS: &[(&[&str], Show)] = &[
        (&["SOURCES"], Show::Sources),
        (&["TABLES"], Show::Tables),
        (&["VIEWS"], Show::Views),
        (&["MATERIALIZED", "VIEWS"], Show::MaterializedViews),
        (&["SINKS"], Show::Sinks),
        (&["PIPELINES"], Show::Pipelines),
        (&["FUNCTIONS"], Show::Functions),
        (&["TOPICS"], Show::Topics),
        (&["SETTINGS"], Show::Settings),
        (&["ALL"], Show::Settings),
    ];
    const WHAT: &str = "SOURCES, TABLES, VIEWS, MATERIALIZED VIEWS, SINKS, PIPELINES, FUNCTIONS, TOPICS, SETTINGS, \
         CREATE name or a setting's name after SHOW";
    cursor.advance();
    if cursor.take(&["CREATE"]) {
        refuse_kind(cursor)?;
        let name = cursor.name("a relation's name")?;
        cursor.end("")?;
        return Ok(Statement::ShowCreate(name));
    }
    if let Some((words, show)) = LISTS.iter().find(|(words, _)| cursor.take(words)) {
        if cursor.peek().is_some() {
            let list = words.join(" ");
            return Err(cursor.expected(&format!("the end of the statement after SHOW {list}")));
        }
        return Ok(Statement::Show(*show));
    }
    let elsewhere = ["DATABASES", "SCHEMAS", "COLUMNS", "STREAMS", "QUERIES", "JOBS"];
    if kind_words(cursor) > 0 || elsewhere.iter().any(|word| cursor.is(word)) {
        return Err(cursor.expected(WHAT));
    }
    if cursor.peek().is_none() {
        return Err(cursor.expected(WHAT));
    }
    let name = setting_name(cursor, WHAT)?;
    cursor.end("")?;
    Ok(Statement::ShowSetting(name))
}

fn setting_name(cursor: &mut Cursor, what: &str) -> Result<String> {
    Ok(cursor.name(what)?.value)
}

/// `EXPLAIN query`, also of a CREATE statement; `EXPLAIN ANALYZE name`.
fn explain(cursor: &mut Cursor) -> Result<Statement> {
    cursor.advance();
    if cursor.take(&["ANALYZE"]) {
        if cursor.is("SELECT") || cursor.is("WITH") || cursor.is("CREATE") {
            return Err(cursor.here("EXPLAIN ANALYZE takes the name of a running view or sink; EXPLAIN takes a query"));
        }
        refuse_kind(cursor)?;
        let name = cursor.name("the name of a running view or sink")?;
        cursor.end("")?;
        return Ok(Statement::ExplainAnalyze(name));
    }
    let rest = cursor.rest();
    if starts_with(rest, &["SELECT"])
        || starts_with(rest, &["WITH"])
        || starts_with(rest, &["VALUES"])
        || (cursor.is_token(&Token::LParen) && !rest.get(1).is_some_and(is_explain_option))
    {
        let query = query::query(cursor.source, rest, None, Place::Statement)?;
        return Ok(Statement::Explain(query));
    }
    if cursor.is("CREATE") {
        return explain_create(cursor);
    }
    if cursor.is_token(&Token::LParen) || cursor.is("VERBOSE") || cursor.is("FORMAT") {
        return Err(cursor.here("EXPLAIN takes no options: write EXPLAIN query or EXPLAIN ANALYZE name"));
    }
    if rest.len() == 1 && matches!(rest[0].token, Token::Word(_)) {
        let name = &rest[0].token;
        return Err(cursor.here(format!(
            "EXPLAIN takes a query: write EXPLAIN SELECT * FROM {name}, or EXPLAIN ANALYZE {name}"
        )));
    }
    Err(cursor.expected("a query, CREATE MATERIALIZED VIEW or ANALYZE name after EXPLAIN"))
}

/// PostgreSQL's `EXPLAIN (ANALYZE, FORMAT JSON) …`.
fn is_explain_option(token: &TokenWithSpan) -> bool {
    !["SELECT", "WITH", "VALUES"]
        .iter()
        .any(|word| is_word(&token.token, word))
        && token.token != Token::LParen
}

fn explain_create(cursor: &mut Cursor) -> Result<Statement> {
    let error = cursor.here("EXPLAIN takes a query, CREATE VIEW, CREATE MATERIALIZED VIEW or CREATE SINK … AS query");
    let mut created = Cursor::new(cursor.source, cursor.rest(), None);
    match create::create(&mut created)? {
        Statement::CreateMaterializedView(view) | Statement::CreateView(view) => Ok(Statement::Explain(view.query)),
        Statement::CreateSink(sink) => match sink.input {
            crate::statement::SinkInput::As(query) => Ok(Statement::Explain(query)),
            crate::statement::SinkInput::From(_) => Err(error),
        },
        _ => Err(error),
    }
}

/// `SUBSCRIBE TO name [AS OF epoch] [WITH (snapshot = …, progress = …)]`.
fn subscribe(cursor: &mut Cursor) -> Result<Statement> {
    cursor.advance();
    cursor.expect("TO")?;
    if cursor.is_token(&Token::LParen) || cursor.is("SELECT") {
        return Err(cursor.here(
            "SUBSCRIBE TO takes a view's or table's name: CREATE MATERIALIZED VIEW first, or write \
             SELECT … EMIT CHANGES",
        ));
    }
    refuse_kind(cursor)?;
    let name = cursor.name("a view's or table's name")?;
    let after = if cursor.take(&["AS", "OF"]) {
        Some(epoch(cursor)?)
    } else {
        None
    };
    let mut subscribe = Subscribe {
        name,
        after,
        snapshot: true,
        progress: false,
    };
    let at_options = cursor.place();
    for (key, value) in options::with_options(cursor)? {
        let switch = match key.as_str() {
            "snapshot" => &mut subscribe.snapshot,
            "progress" => &mut subscribe.progress,
            _ => {
                let message = format!("SUBSCRIBE has the options snapshot and progress, not {key}");
                return Err(Error::at(message, at_options.0, at_options.1));
            }
        };
        *switch = match value.to_ascii_lowercase().as_str() {
            "true" => true,
            "false" => false,
            _ => {
                let message = format!("{key} is 'true' or 'false', not '{value}'");
                return Err(Error::at(message, at_options.0, at_options.1));
            }
        };
    }
    cursor.end("AS OF, WITH")?;
    Ok(Statement::Subscribe(subscribe))
}

fn epoch(cursor: &mut Cursor) -> Result<u64> {
    const WHAT: &str = "an epoch's number, as weir_epoch shows it,";
    let error = cursor.expected(WHAT);
    let Some(Token::Number(number, _)) = cursor.peek().map(|token| &token.token) else {
        return Err(error);
    };
    cursor.advance();
    number.parse().map_err(|_| error)
}

/// `SET name = value` or `SET name TO value`.
fn set(cursor: &mut Cursor) -> Result<Statement> {
    cursor.advance();
    if (cursor.is("SESSION") || cursor.is("LOCAL") || cursor.is("TIME"))
        && !matches!(cursor.rest().get(1).map(|token| &token.token), Some(Token::Eq))
        && !cursor.is_nth(1, "TO")
    {
        return Err(cursor.here("write SET name = value, which holds for the session"));
    }
    let name = setting_name(cursor, "a setting's name")?;
    if !cursor.take_token(&Token::Eq) && !cursor.take(&["TO"]) {
        return Err(cursor.expected("= or TO"));
    }
    let sign = if cursor.take_token(&Token::Minus) { "-" } else { "" };
    let value = match cursor.peek().map(|token| &token.token) {
        Some(Token::Number(number, _)) => Some(format!("{sign}{number}")),
        Some(_) if !sign.is_empty() => None,
        Some(Token::Word(word)) => Some(word.value.to_ascii_lowercase()),
        Some(token) => string_value(token),
        None => None,
    };
    let Some(value) = value else {
        return Err(cursor.expected("a value"));
    };
    cursor.advance();
    cursor.end("")?;
    Ok(Statement::Set { name, value })
}

/// `COMMENT ON kind name IS 'text'`, or IS NULL.
fn comment(cursor: &mut Cursor) -> Result<Statement> {
    cursor.advance();
    cursor.expect("ON")?;
    if cursor.is("COLUMN") {
        return Err(cursor.here("COMMENT ON COLUMN is not there yet: comment on the relation"));
    }
    let kind = kind(cursor, "COMMENT ON")?;
    let name = cursor.name("a relation's name")?;
    cursor.expect("IS")?;
    let text = if cursor.take(&["NULL"]) {
        None
    } else {
        Some(cursor.string("the comment in quotes, or NULL")?)
    };
    cursor.end("")?;
    Ok(Statement::Comment { kind, name, text })
}
