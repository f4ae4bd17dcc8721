//! A case as a script, which the script runner runs and a reader can read.

use std::fmt::Write;

use super::aggregates::{Grouping, group};
use super::case::{Action, Case, Kind, Origin, Over, Relation, Step, View};

#[path = "joins.rs"]
mod joins;

/// A relation or view that queries may read: its columns are c0, c1, ….
struct Known {
    name: String,
    kinds: Vec<Kind>,
}

/// A query that is being built.
pub struct Query {
    pub sql: String,
    pub kinds: Vec<Kind>,
}

/// The SQL of a case.
pub struct Rendered {
    pub script: String,
    /// Name and query of each view.
    pub views: Vec<(String, String)>,
    /// Names of tables and sources, with their columns' kinds.
    pub relations: Vec<(String, Vec<Kind>)>,
}

/// A view with more columns than this isn't widened.
const WIDE: usize = 8;

pub fn render(case: &Case) -> Rendered {
    let mut known: Vec<Known> = Vec::new();
    let mut script = String::new();
    for (number, relation) in case.relations.iter().enumerate() {
        let name = match relation.origin {
            Origin::Source => format!("s{number}"),
            _ => format!("t{number}"),
        };
        let mut kinds = vec![Kind::Int];
        kinds.extend(&relation.kinds);
        create(&mut script, &name, relation, &kinds);
        known.push(Known { name, kinds });
    }
    let relations = known
        .iter()
        .map(|known| (known.name.clone(), known.kinds.clone()))
        .collect();
    let mut views = Vec::new();
    let mut waiting = case.views.iter().peekable();
    let mut serial = 0;
    for (number, action) in case.actions.iter().enumerate() {
        while let Some(view) = waiting.next_if(|view| usize::from(view.at) <= number) {
            views.push(create_view(&mut script, view, &mut known, views.len()));
        }
        act(&mut script, action, case, &mut serial);
    }
    for view in waiting {
        views.push(create_view(&mut script, view, &mut known, views.len()));
    }
    script.push_str("verify\n");
    Rendered {
        script,
        views,
        relations,
    }
}

fn create(script: &mut String, name: &str, relation: &Relation, kinds: &[Kind]) {
    let mut columns = Vec::new();
    for (number, kind) in kinds.iter().enumerate() {
        let key = number == 0 && relation.origin == Origin::KeyedTable;
        columns.push(format!(
            "c{number} {}{}",
            sql_type(*kind),
            if key { " PRIMARY KEY" } else { "" }
        ));
    }
    let columns = columns.join(", ");
    let _ = match relation.origin {
        Origin::Source => write!(
            script,
            "topic {name}\n\nstatement ok\nCREATE SOURCE {name} ({columns})\n\
             WITH (connector = 'memory', topic = '{name}')\n\n"
        ),
        _ => write!(script, "statement ok\nCREATE TABLE {name} ({columns})\n\n"),
    };
}

/// A kind's type, in SQL that DuckDB speaks too.
pub fn sql_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Int => "BIGINT",
        Kind::Text => "TEXT",
        Kind::Decimal => "DECIMAL(12, 2)",
        Kind::Float => "DOUBLE",
        Kind::Time => "TIMESTAMP",
    }
}

fn create_view(script: &mut String, view: &View, known: &mut Vec<Known>, number: usize) -> (String, String) {
    let name = format!("v{number}");
    let base = pick(known, view.base);
    let mut query = Query {
        sql: format!("SELECT {} FROM {}", columns("", base.kinds.len()), base.name),
        kinds: base.kinds.clone(),
    };
    for (number, step) in view.steps.iter().enumerate() {
        query = apply(query, step, known, number + 1 == view.steps.len());
    }
    let with = if view.apart { " WITH (pipeline = 'apart')" } else { "" };
    let _ = write!(
        script,
        "statement ok\nCREATE MATERIALIZED VIEW {name}{with} AS\n{}\n\n",
        query.sql
    );
    known.push(Known {
        name: name.clone(),
        kinds: query.kinds,
    });
    (name, query.sql)
}

fn pick<T>(among: &[T], number: u8) -> &T {
    &among[usize::from(number) % among.len()]
}

/// `c0, c1, …` with a prefix.
fn columns(prefix: &str, count: usize) -> String {
    (0..count)
        .map(|c| format!("{prefix}c{c}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// A column of one of these kinds, if there is one.
pub fn of_kind(kinds: &[Kind], number: u8, wanted: &[Kind]) -> Option<usize> {
    let fit: Vec<usize> = (0..kinds.len())
        .filter(|column| wanted.contains(&kinds[*column]))
        .collect();
    (!fit.is_empty()).then(|| *pick(&fit, number))
}

/// Does a step to a query; `last` if it is the view's last.
fn apply(query: Query, step: &Step, known: &[Known], last: bool) -> Query {
    let from = format!("(\n{}\n) q", indented(&query.sql));
    let kinds = query.kinds.clone();
    let all = columns("", kinds.len());
    match step {
        Step::Filter { column, test, value } => Query {
            sql: format!(
                "SELECT {all} FROM {from} WHERE {}",
                predicate("", &kinds, *column, *test, *value)
            ),
            kinds,
        },
        Step::Project { columns } => project(&from, &kinds, columns),
        Step::Group {
            keys,
            sets,
            calls,
            having,
        } => {
            let grouping = Grouping {
                keys,
                sets: *sets,
                calls,
                having: *having,
            };
            group(&from, &kinds, &grouping, last)
        }
        Step::FirstOn { on, order } => first_on(&from, kinds, on, order),
        Step::Distinct => Query {
            sql: format!("SELECT DISTINCT {all} FROM {from}"),
            kinds,
        },
        Step::Join {
            other,
            kind,
            on,
            compare,
            residual,
        } => joins::join(query, pick(known, *other), *kind, *on, *compare, *residual),
        Step::AsOf {
            other,
            on,
            by,
            compare,
            outer,
        } => joins::as_of(query, pick(known, *other), *on, *by, *compare, *outer),
        Step::Subquery {
            other,
            form,
            columns,
            correlated,
            negated,
        } => joins::subquery(query, pick(known, *other), *form, *columns, *correlated, *negated),
        Step::Set { other, operator } => joins::set(query, pick(known, *other), *operator),
        Step::Constants { column, among, values } => joins::constants(query, *column, *among, values),
        Step::First {
            partition,
            order,
            rows,
            number,
            by,
        } => {
            let is_total = by % 4 < 2;
            let sorted = sorted(&kinds, partition, order, is_total);
            first(&from, kinds, &sorted, 1 + rows % 3, *number, *by)
        }
        Step::Over {
            calls,
            partition,
            order,
            is_total,
            filter,
        } => over(
            &from,
            kinds,
            calls,
            &sorted(&query.kinds, partition, order, *is_total),
            *filter,
        ),
        Step::Window { column, size, slide } => match of_kind(&kinds, *column, &[Kind::Time]) {
            Some(column) if kinds.len() < WIDE => window(&from, kinds, column, *size, *slide),
            _ => query,
        },
        Step::Drawn { form } if kinds.len() < WIDE => drawn(&from, kinds, *form),
        Step::Drawn { .. } => query,
        Step::Union { other } => union(query, pick(known, *other)),
    }
}

pub fn indented(sql: &str) -> String {
    sql.lines()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// A condition on a column; `test` chooses among those that its kind knows.
pub fn predicate(prefix: &str, kinds: &[Kind], column: u8, test: u8, number: u8) -> String {
    let column = usize::from(column) % kinds.len();
    let name = format!("{prefix}c{column}");
    let value = literal(kinds[column], number, false);
    match test % 6 {
        0 => format!("{name} = {value}"),
        1 => format!("{name} > {value}"),
        2 => format!("{name} <= {value}"),
        3 => format!("{name} IS NULL"),
        4 => format!("{name} IS NOT NULL"),
        _ => format!("({name} <> {value} OR {name} IS NULL)"),
    }
}

fn project(from: &str, kinds: &[Kind], chosen: &[(u8, u8)]) -> Query {
    let mut parts = Vec::new();
    let mut result = Vec::new();
    for (number, (column, how)) in chosen.iter().enumerate() {
        let column = usize::from(*column) % kinds.len();
        let kind = kinds[column];
        let name = format!("c{column}");
        let expr = match (kind, how % 4) {
            (Kind::Int, 1) => format!("{name} + 1"),
            (Kind::Int, 2) => format!("CASE WHEN {name} > 1 THEN {name} END"),
            (Kind::Int, 3) => format!("coalesce({name}, 0)"),
            (Kind::Text, 1) => format!("{name} || 'x'"),
            (Kind::Text, 2) => format!("upper({name})"),
            (Kind::Text, 3) => format!("coalesce({name}, 'none')"),
            (Kind::Float, 1) => format!("{name} * 2"),
            (Kind::Float, 2) => format!("{name} - 1"),
            (Kind::Time, 1) => format!("{name} + INTERVAL '1' HOUR"),
            (Kind::Time, 2) => format!("date_trunc('hour', {name})"),
            _ => name,
        };
        parts.push(format!("{expr} AS c{number}"));
        result.push(kind);
    }
    Query {
        sql: format!("SELECT {} FROM {from}", parts.join(", ")),
        kinds: result,
    }
}

/// DISTINCT ON, by what else there is as far as the order leaves ties.
fn first_on(from: &str, kinds: Vec<Kind>, on: &[u8], order: &[(u8, bool, bool)]) -> Query {
    let column = |number: u8| usize::from(number) % kinds.len();
    let mut keys: Vec<usize> = Vec::new();
    on.iter().map(|number| column(*number)).for_each(|key| {
        if !keys.contains(&key) {
            keys.push(key);
        }
    });
    let mut by: Vec<(usize, bool, bool)> = keys.iter().map(|key| (*key, false, false)).collect();
    by.extend(
        order
            .iter()
            .map(|(number, desc, nulls)| (column(*number), *desc, *nulls)),
    );
    by.extend((0..kinds.len()).map(|column| (column, false, false)));
    let on: Vec<String> = keys.iter().map(|key| format!("c{key}")).collect();
    let sql = format!(
        "SELECT DISTINCT ON ({}) {} FROM {from} ORDER BY {}",
        on.join(", "),
        columns("", kinds.len()),
        order_text(&by)
    );
    Query {
        sql: format!("SELECT {} FROM (\n{}\n) d", columns("", kinds.len()), indented(&sql)),
        kinds,
    }
}

fn order_text(order: &[(usize, bool, bool)]) -> String {
    let parts: Vec<String> = order
        .iter()
        .map(|(column, descending, nulls_first)| {
            let direction = if *descending { "DESC" } else { "ASC" };
            let nulls = if *nulls_first { "FIRST" } else { "LAST" };
            format!("c{column} {direction} NULLS {nulls}")
        })
        .collect();
    parts.join(", ")
}

/// `PARTITION BY …` and `ORDER BY …`, or nothing of either.
struct Sorted {
    partition: Option<String>,
    order: Option<String>,
    /// Kinds of what it is ordered by.
    by: Vec<Kind>,
}

impl Sorted {
    fn over(&self) -> String {
        let parts = [&self.partition, &self.order].into_iter().flatten();
        parts.cloned().collect::<Vec<_>>().join(" ")
    }
}

fn sorted(kinds: &[Kind], partition: &[u8], order: &[(u8, bool, bool)], is_total: bool) -> Sorted {
    let any = |number: u8| usize::from(number) % kinds.len();
    let partition: Vec<String> = partition.iter().map(|column| format!("c{}", any(*column))).collect();
    let mut order: Vec<(usize, bool, bool)> = order
        .iter()
        .map(|(column, descending, nulls_first)| (any(*column), *descending, *nulls_first))
        .collect();
    if is_total {
        order.extend((0..kinds.len()).map(|column| (column, false, false)));
    }
    let keys = order_text(&order);
    Sorted {
        partition: (!partition.is_empty()).then(|| format!("PARTITION BY {}", partition.join(", "))),
        order: (!keys.is_empty()).then(|| format!("ORDER BY {keys}")),
        by: order.iter().map(|(column, ..)| kinds[*column]).collect(),
    }
}

/// The first rows of all, or of each partition; or the first ranks.
fn first(from: &str, mut kinds: Vec<Kind>, sorted: &Sorted, rows: u8, number: bool, by: u8) -> Query {
    let all = columns("", kinds.len());
    if sorted.partition.is_none() && !number && by % 4 < 2 {
        let order = sorted.order.clone().unwrap_or_default();
        let offset = if by % 2 == 1 { " OFFSET 1" } else { "" };
        return Query {
            sql: format!("SELECT {all} FROM {from} {order} LIMIT {rows}{offset}"),
            kinds,
        };
    }
    let ranking = match by % 4 {
        2 => "RANK",
        3 => "DENSE_RANK",
        _ => "ROW_NUMBER",
    };
    let inner = format!("SELECT {all}, {ranking}() OVER ({}) AS n FROM {from}", sorted.over());
    let shown = if number && kinds.len() < WIDE {
        kinds.push(Kind::Int);
        format!("{all}, CAST(n AS BIGINT) AS c{}", kinds.len() - 1)
    } else {
        all
    };
    Query {
        sql: format!("SELECT {shown} FROM (\n{}\n) r WHERE n <= {rows}", indented(&inner)),
        kinds,
    }
}

/// Window functions over the rows, and maybe a filter on them.
fn over(from: &str, mut kinds: Vec<Kind>, calls: &[Over], sorted: &Sorted, filter: Option<(u8, u8, u8)>) -> Query {
    let mut parts = vec![columns("", kinds.len())];
    let below = kinds.clone();
    for call in calls.iter().take(WIDE.saturating_sub(kinds.len())) {
        let (function, kind, framed) = window_function(&below, call);
        let mut within = sorted.over();
        if let Some(frame) = framed.then(|| frame(call, sorted)).flatten() {
            within = format!("{within} {frame}");
        }
        let value = format!("{function} OVER ({})", within.trim());
        parts.push(match kind {
            Kind::Int => format!("CAST({value} AS BIGINT) AS c{}", kinds.len()),
            _ => format!("{value} AS c{}", kinds.len()),
        });
        kinds.push(kind);
    }
    let sql = format!("SELECT {} FROM {from}", parts.join(", "));
    let Some((column, test, value)) = filter else {
        return Query { sql, kinds };
    };
    let condition = predicate("", &kinds, column, test, value);
    Query {
        sql: format!(
            "SELECT {} FROM (\n{}\n) o WHERE {condition}",
            columns("", kinds.len()),
            indented(&sql)
        ),
        kinds,
    }
}

/// A window function, what it gives, and whether it has a frame.
fn window_function(kinds: &[Kind], call: &Over) -> (String, Kind, bool) {
    let any = usize::from(call.column) % kinds.len();
    let number = of_kind(kinds, call.column, &[Kind::Int, Kind::Decimal]);
    let nulls = if call.nulls { " IGNORE NULLS" } else { "" };
    let far = call.bounds.0 % 3;
    match (call.function % 16, number) {
        (1, _) => ("RANK()".to_string(), Kind::Int, false),
        (2, _) => ("DENSE_RANK()".to_string(), Kind::Int, false),
        (3, _) => ("PERCENT_RANK()".to_string(), Kind::Float, false),
        (4, _) => ("CUME_DIST()".to_string(), Kind::Float, false),
        (5, _) => (format!("NTILE({})", 1 + far), Kind::Int, false),
        (6, _) => (format!("LAG(c{any}, {far}){nulls}"), kinds[any], false),
        (7, _) => (format!("LEAD(c{any}, {far}){nulls}"), kinds[any], false),
        (8, _) => (format!("FIRST_VALUE(c{any}){nulls}"), kinds[any], true),
        (9, _) => (format!("LAST_VALUE(c{any}){nulls}"), kinds[any], true),
        (10, _) => (format!("NTH_VALUE(c{any}, {})", 1 + far), kinds[any], true),
        (11, Some(column)) => (format!("SUM(c{column})"), kinds[column], true),
        (12, _) => (format!("COUNT(c{any})"), Kind::Int, true),
        (13, _) => (format!("MIN(c{any})"), kinds[any], true),
        (14, _) => (format!("MAX(c{any})"), kinds[any], true),
        (15, _) => ("COUNT(*)".to_string(), Kind::Int, true),
        _ => ("ROW_NUMBER()".to_string(), Kind::Int, false),
    }
}

fn frame(call: &Over, sorted: &Sorted) -> Option<String> {
    let by_number = matches!(&sorted.by[..], [Kind::Int | Kind::Decimal | Kind::Float]);
    let (units, measured) = match call.frame % 4 {
        0 => return None,
        1 => ("ROWS", true),
        2 => ("RANGE", by_number),
        // GROUPS counts groups of an order.
        _ if sorted.order.is_some() => ("GROUPS", true),
        _ => return None,
    };
    let (first, last) = call.bounds;
    let start = match first % 4 {
        0 => "UNBOUNDED PRECEDING".to_string(),
        1 if measured => format!("{} PRECEDING", last % 3),
        _ => "CURRENT ROW".to_string(),
    };
    let end = match last % 4 {
        0 => "UNBOUNDED FOLLOWING".to_string(),
        1 if measured => format!("{} FOLLOWING", first % 3),
        _ => "CURRENT ROW".to_string(),
    };
    Some(format!("{units} BETWEEN {start} AND {end}"))
}

fn window(from: &str, mut kinds: Vec<Kind>, column: usize, size: u8, slide: u8) -> Query {
    let all = columns("q.", kinds.len());
    let bound = if size % 2 == 0 { "window_start" } else { "window_end" };
    let size = 1 + size % 3;
    let offset = match slide / 6 % 3 {
        0 => "",
        1 => ", INTERVAL '40' MINUTE",
        _ => ", -INTERVAL '1' HOUR",
    };
    let by = usize::from(slide / 6) % kinds.len();
    let call = match slide % 6 {
        0 => format!("TUMBLE({from}, q.c{column}, INTERVAL '{size}' HOUR{offset})"),
        1 => format!("HOP({from}, q.c{column}, INTERVAL '2' HOUR, INTERVAL '{size}' HOUR{offset})"),
        2 => format!("HOP({from}, q.c{column}, INTERVAL '1' HOUR, INTERVAL '{size}' HOUR{offset})"),
        3 => format!("CUMULATE({from}, q.c{column}, INTERVAL '1' HOUR, INTERVAL '{size}' HOUR{offset})"),
        4 => format!("SESSION({from}, q.c{column}, INTERVAL '{size}' HOUR)"),
        _ => format!("SESSION({from} PARTITION BY q.c{by}, q.c{column}, INTERVAL '{size}' HOUR)"),
    };
    kinds.push(Kind::Time);
    Query {
        sql: format!("SELECT {all}, {bound} AS c{} FROM {call}", kinds.len() - 1),
        kinds,
    }
}

/// A column, or a condition, that is the same whatever was drawn.
fn drawn(from: &str, mut kinds: Vec<Kind>, form: u8) -> Query {
    let all = columns("q.", kinds.len());
    let column = match form % 4 {
        0 => "CASE WHEN random() < 2 THEN length(uuid()) ELSE 0 END",
        1 => "CASE WHEN now() > TIMESTAMP '2000-01-01 00:00:00' THEN length(uuid()) ELSE 0 END",
        2 => "CASE WHEN current_date > DATE '2000-01-01' AND random() <> random() THEN 36 ELSE 0 END",
        _ => {
            return Query {
                sql: format!("SELECT {all} FROM {from} WHERE random() < 2"),
                kinds,
            };
        }
    };
    kinds.push(Kind::Int);
    Query {
        sql: format!(
            "SELECT {all}, CAST({column} AS BIGINT) AS c{} FROM {from}",
            kinds.len() - 1
        ),
        kinds,
    }
}

/// The query with the rows of another relation.
fn union(query: Query, other: &Known) -> Query {
    Query {
        sql: format!(
            "SELECT {} FROM (\n{}\n) u\nUNION ALL\n{}",
            columns("", query.kinds.len()),
            indented(&query.sql),
            like(&query.kinds, other)
        ),
        kinds: query.kinds,
    }
}

/// Another relation's rows with columns of these kinds: those that it has, pairwise; where it has
/// none, NULL.
fn like(kinds: &[Kind], other: &Known) -> String {
    let mut taken = vec![false; other.kinds.len()];
    let mut parts = Vec::new();
    for (column, kind) in kinds.iter().enumerate() {
        let found = (0..other.kinds.len()).find(|c| !taken[*c] && other.kinds[*c] == *kind);
        parts.push(match found {
            Some(c) => {
                taken[c] = true;
                format!("c{c} AS c{column}")
            }
            None => format!("CAST(NULL AS {}) AS c{column}", sql_type(*kind)),
        });
    }
    format!("SELECT {} FROM {}", parts.join(", "), other.name)
}

fn act(script: &mut String, action: &Action, case: &Case, serial: &mut u64) {
    let relation = |number: &u8| {
        let number = usize::from(*number) % case.relations.len();
        let relation = &case.relations[number];
        let letter = if relation.origin == Origin::Source { 's' } else { 't' };
        (format!("{letter}{number}"), relation)
    };
    let _ = match action {
        Action::Insert { relation: to, rows } => {
            let (name, to) = relation(to);
            insert(script, &name, to, rows, serial)
        }
        Action::Delete {
            relation: from,
            column,
            value,
        } => {
            let (name, from) = relation(from);
            match condition(from, *column, *value) {
                Some(condition) => write!(script, "statement ok\nDELETE FROM {name} WHERE {condition}\n\n"),
                None => Ok(()),
            }
        }
        Action::Update {
            relation: of,
            column,
            value,
            to: (set, number),
        } => {
            let (name, of) = relation(of);
            let set = usize::from(*set) % of.kinds.len();
            let new = literal(of.kinds[set], *number, true);
            match condition(of, *column, *value) {
                Some(condition) => write!(
                    script,
                    "statement ok\nUPDATE {name} SET c{} = {new} WHERE {condition}\n\n",
                    set + 1
                ),
                None => Ok(()),
            }
        }
        Action::Verify => write!(script, "verify\n\n"),
        Action::Crash => write!(script, "crash\n\n"),
        Action::Restart { tasks } => write!(script, "tasks {}\n\n", 1 + tasks % 3),
    };
}

/// Which rows a DELETE or UPDATE means; none of a source.
fn condition(relation: &Relation, column: u8, value: u8) -> Option<String> {
    if relation.origin == Origin::Source {
        return None;
    }
    let column = usize::from(column) % relation.kinds.len();
    let kind = relation.kinds[column];
    let name = format!("c{}", column + 1);
    Some(match literal(kind, value, true).as_str() {
        "NULL" => format!("{name} IS NULL"),
        value => format!("{name} = {value}"),
    })
}

fn insert(
    script: &mut String,
    name: &str,
    relation: &Relation,
    rows: &[Vec<u8>],
    serial: &mut u64,
) -> std::fmt::Result {
    let source = relation.origin == Origin::Source;
    let mut lines = Vec::new();
    for row in rows {
        *serial += 1;
        // Without a key rows may be there twice.
        let first = if relation.origin == Origin::KeyedTable {
            *serial
        } else {
            *serial % 3
        };
        let cells = relation.kinds.iter().zip(row);
        lines.push(if source {
            let fields = cells
                .enumerate()
                .map(|(c, (kind, number))| format!("\"c{}\": {}", c + 1, json(*kind, *number)));
            format!("{{\"c0\": {first}, {}}}", fields.collect::<Vec<_>>().join(", "))
        } else {
            let values = cells.map(|(kind, number)| literal(*kind, *number, true));
            format!("({first}, {})", values.collect::<Vec<_>>().join(", "))
        });
    }
    if source {
        write!(script, "feed {name}\n{}\n\n", lines.join("\n"))
    } else {
        write!(
            script,
            "statement ok\nINSERT INTO {name} VALUES {}\n\n",
            lines.join(", ")
        )
    }
}

/// A value of a kind, of few, so that rows meet; NULL among them where it may.
fn literal(kind: Kind, number: u8, nullable: bool) -> String {
    let number = number % 6;
    if nullable && number == 5 {
        return "NULL".to_string();
    }
    match kind {
        Kind::Int => format!("{}", i64::from(number % 5) - 1),
        Kind::Text => format!("'{}'", ["a", "", "b", "ab", "ü"][usize::from(number % 5)]),
        Kind::Decimal => format!(
            "CAST({} AS DECIMAL(12, 2))",
            ["0", "1.5", "-2.25", "0.01", "100"][usize::from(number % 5)]
        ),
        Kind::Float => format!(
            "CAST({} AS DOUBLE)",
            ["0", "0.5", "-0.25", "1024", "3"][usize::from(number % 5)]
        ),
        Kind::Time => format!("TIMESTAMP '2024-01-01 0{}:{}0:00'", number % 5, number),
    }
}

/// The same value in a record.
fn json(kind: Kind, number: u8) -> String {
    let number = number % 6;
    if number == 5 {
        return "null".to_string();
    }
    match kind {
        Kind::Int => format!("{}", i64::from(number) - 1),
        Kind::Text => format!("\"{}\"", ["a", "", "b", "ab", "ü"][usize::from(number)]),
        Kind::Decimal => ["0", "1.5", "-2.25", "0.01", "100"][usize::from(number)].to_string(),
        Kind::Float => ["0", "0.5", "-0.25", "1024", "3"][usize::from(number)].to_string(),
        Kind::Time => format!("\"2024-01-01 0{number}:{number}0:00\""),
    }
}
