//! What DataFusion's planner says of statements that are wrong, in the dialect's words: whose fault it is, and
//! what works instead.

use datafusion::logical_expr::TypeSignature;
use weir_engine::format::sql_words;

use crate::plan::{refuse, session};

/// A message of the planner in the dialect's words, if it is one of those that are known.
pub fn reworded(text: &str) -> Option<String> {
    clauses(text)
        .or_else(|| subqueries(text))
        .or_else(|| names(text))
        .or_else(|| kinds(text))
        .or_else(|| calls(text))
}

/// What stands between two texts.
fn between<'a>(text: &'a str, before: &str, behind: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    match behind {
        "" => Some(rest),
        behind => rest.split_once(behind).map(|(found, _)| found),
    }
}

fn begins(text: &str, beginning: &str, say: &str) -> Option<String> {
    text.starts_with(beginning).then(|| say.to_string())
}

/// Clauses that hold what they can't.
fn clauses(text: &str) -> Option<String> {
    if let Some(rest) = text.strip_prefix("Cannot create filter with non-boolean predicate ") {
        let (condition, kind) = rest.split_once(" returning ")?;
        let (condition, kind) = (condition.trim_matches('\''), sql_words(kind));
        return Some(format!(
            "a condition is true or false, and {condition} is {kind}; compare it with something"
        ));
    }
    if let Some(kind) = text.strip_prefix("Join condition must be boolean type, but got ") {
        return Some(format!(
            "the condition of a JOIN is true or false, and this one is {}",
            sql_words(kind)
        ));
    }
    if let Some(rest) = text.strip_prefix("Cannot infer common argument type for ") {
        let (_, operation) = rest.split_once(" operation ")?;
        return Some(format!(
            "there is no {}; CAST one side to the other's type",
            sql_words(operation)
        ));
    }
    if text.starts_with("Window function calls cannot be nested")
        || text.contains("cannot contain window function calls")
    {
        return Some(
            "a window function can't stand inside another, or in an aggregate: compute it in a query below".into(),
        );
    }
    for before in ["Unsupported Value ", "Unsupported value "] {
        if let Some(value) = text.strip_prefix(before) {
            let kind = value.trim_matches('\'').split(['(', ' ']).next()?;
            return Some(format!(
                "there is no constant of this kind ({kind}); there are numbers, 'text', E'…', $$…$$, X'…', TRUE, FALSE and NULL"
            ));
        }
    }
    if let Some(node) = text.strip_prefix("Unsupported ast node in sqltorel: ") {
        let name = node.split(['(', ' ', '{']).next()?;
        return Some(format!("expressions of this kind ({name}) are not there"));
    }
    if text.starts_with("Placeholder '") {
        return Some("a continuous query has no parameters: it is kept for everyone; write the value".to_string());
    }
    let text = &text.replace("must be >=0", "must be >= 0");
    if let Some(given) = between(text, "must be >= 0, '", "'") {
        let clause = text.split(' ').next()?;
        return Some(format!("{clause} takes a number of rows from 0 on, and not {given}"));
    }
    if let Some(given) = between(text, " to be an integer or null, but got ", "") {
        let clause = between(text, "Expected ", " to be")?;
        return Some(format!("{clause} takes a number of rows, and not {}", sql_words(given)));
    }
    if let Some(rest) = text.strip_prefix("Order by column out of bounds, specified: ") {
        let (place, columns) = rest.split_once(", max: ")?;
        return Some(format!(
            "ORDER BY {place} names no column: the SELECT list has {columns}"
        ));
    }
    if let Some(rest) = text.strip_prefix("Cannot find column with position ") {
        let (place, rest) = rest.split_once(' ')?;
        let columns = rest.rsplit(' ').next()?;
        return Some(format!(
            "GROUP BY {place} names no column: the SELECT list has {columns}"
        ));
    }
    if let Some(kind) = between(text, "", " queries have different number of columns") {
        return Some(format!("both sides of {kind} must have as many columns"));
    }
    if let Some(rest) = text.strip_prefix("Aggregate function calls cannot be nested: ") {
        let inner = between(rest, "'", "'")?;
        return Some(format!(
            "an aggregate can't stand inside another: compute {inner} in a query below, FROM (SELECT …)"
        ));
    }
    if let Some(rest) = text.strip_prefix("Argument ") {
        let (column, _) = rest.split_once(" to grouping function is not in grouping columns")?;
        return Some(format!("grouping({column}) needs {column} in GROUP BY"));
    }
    if let Some(rest) = text.strip_prefix("For SELECT DISTINCT, ORDER BY expressions ") {
        let (expr, _) = rest.split_once(" must appear in select list")?;
        return Some(format!(
            "SELECT DISTINCT is ordered by what it shows, and {expr} isn't in its list"
        ));
    }
    begins(
        text,
        "SELECT DISTINCT ON expressions must match",
        "the ORDER BY of SELECT DISTINCT ON (…) begins with what stands in ON",
    )
    .or_else(|| {
        begins(
            text,
            "Aggregate functions are not allowed in the WHERE clause",
            "an aggregate can't stand in WHERE, which is about single rows; filter groups with HAVING",
        )
    })
    .or_else(|| {
        begins(
            text,
            "QUALIFY clause requires window functions",
            "QUALIFY filters by window functions (OVER …), and there is none; use WHERE or HAVING",
        )
    })
    .or_else(|| {
        begins(
            text,
            "Non-recursive term and recursive term must have the same number",
            "both sides of UNION in WITH RECURSIVE must have as many columns",
        )
    })
    .or_else(|| {
        begins(
            text,
            "LATERAL syntax is not supported for FULL OUTER and RIGHT",
            "LATERAL looks at the rows before it, so it goes with JOIN, LEFT JOIN and CROSS JOIN; turn the sides around",
        )
    })
    .or_else(|| {
        begins(
            text,
            "Physical plan does not support logical expression WindowFunction",
            refuse::WINDOW_FIRST,
        )
    })
}

fn subqueries(text: &str) -> Option<String> {
    if let Some(columns) = between(text, "The subquery should only return one column: ", "") {
        return Some(format!(
            "a subquery in an expression has one column, and this one has {}: {columns}",
            columns.split(", ").count()
        ));
    }
    if let Some(rest) = text.strip_prefix("Physical plan does not support logical expression ") {
        let name = rest.split(['(', ' ', '{']).next()?;
        return [
            "ScalarSubquery",
            "InSubquery",
            "Exists",
            "SetComparison",
            "OuterReferenceColumn",
        ]
        .contains(&name)
        .then(|| refuse::dependent().message);
    }
    let correlated = text.starts_with("Correlated scalar subquery")
        || text.contains("Unsupported Subquery plan")
        || text.contains("scalar correlated subquery")
        || text.starts_with("In/Exist/SetComparison subquery can only be used in")
        || text.contains("Accessing outer reference columns is not allowed");
    if correlated {
        return Some(refuse::dependent().message);
    }
    begins(
        text,
        "Scalar subquery returned more than one row",
        "a subquery in an expression has several rows where it may have one; make it one row with an aggregate, or with \
         LIMIT 1",
    )
}

/// Names that are there twice, or not at all.
fn names(text: &str) -> Option<String> {
    if let Some(column) = between(text, "Schema contains duplicate qualified field name ", "") {
        let relation = column.split('.').next()?;
        return Some(format!(
            "relation '{relation}' is there twice; give one of them another name with AS"
        ));
    }
    if let Some(rest) = text.strip_prefix("Source table contains ") {
        let columns = rest.split(' ').next()?;
        let names = between(rest, "but only ", " names")?;
        return Some(format!("{names} column names for {columns} columns"));
    }
    if let Some(name) = between(text, "WITH query name \"", "\" specified more than once") {
        return Some(format!(
            "WITH gives the name '{name}' more than once, here or in a query around it; give each query its own"
        ));
    }
    if let Some(name) = text.strip_prefix("Invalid qualifier ") {
        return Some(format!("there is no relation '{name}' in FROM"));
    }
    begins(text, "SELECT * with no tables specified", "SELECT * needs a FROM")
}

/// Values of types that don't go together.
fn kinds(text: &str) -> Option<String> {
    if let Some((from, to)) = between(text, "Unsupported CAST from ", "").and_then(|rest| rest.split_once(" to ")) {
        return Some(format!(
            "there is no CAST from {} to {}",
            sql_words(from),
            sql_words(to)
        ));
    }
    if let Some(rest) = text.strip_prefix("Failed to coerce ")
        && rest.ends_with(" to common types in CASE WHEN expression")
    {
        let branches = rest.trim_end_matches(" to common types in CASE WHEN expression");
        return Some(format!(
            "the values of a CASE are of one type, and here they are {}; CAST them to one",
            sql_words(branches)
        ));
    }
    if let Some(rest) = text.strip_prefix("Field ")
        && let Some(field) = rest.strip_suffix(" not found in struct")
    {
        return Some(format!("the STRUCT has no field '{field}'"));
    }
    for before in [
        "Cannot get result type for temporal operation ",
        "Cannot infer common string type for string concat operation ",
    ] {
        if let Some(rest) = text.strip_prefix(before) {
            let operation = rest.split(": ").next()?;
            return Some(format!("operator does not exist: {}", sql_words(operation)));
        }
    }
    if let Some((from, to)) =
        between(text, "Cannot automatically convert ", "").and_then(|rest| rest.split_once(" to "))
    {
        return Some(format!(
            "{} stands where {} is wanted; CAST it where that makes sense",
            sql_words(from),
            sql_words(to)
        ));
    }
    if let Some(rest) = text.strip_prefix("Inconsistent data type across values list at row ") {
        let (row, rest) = rest.split_once(" column ")?;
        let (column, rest) = rest.split_once(". Was ")?;
        let (one, other) = rest.split_once(" but found ")?;
        let column = column.parse::<usize>().ok()? + 1;
        let row = row.parse::<usize>().ok()? + 1;
        return Some(format!(
            "a column of VALUES has one type: column {column} is {}, and {} in row {row}; CAST it there",
            sql_words(one),
            sql_words(other)
        ));
    }
    if let Some(kinds) = between(text, "Failed to unify argument types of make_array: [", "]") {
        return Some(format!(
            "the elements of an array are of one type, and here they are {}; CAST them to one",
            sql_words(kinds)
        ));
    }
    if text.contains("Encountered non UTF-8 data") {
        return Some(
            "bytes stand where a text is wanted, and are no characters of UTF8; CAST(… AS TEXT) shows them in hexadecimal \
             digits"
                .to_string(),
        );
    }
    if let Some(rest) = text.strip_prefix("regex parse error:") {
        let why = rest.rsplit("error: ").next()?;
        let pattern = rest.lines().find(|line| !line.trim().is_empty())?.trim();
        return Some(format!("'{pattern}' is no regular expression: {why}"));
    }
    if let Some(op) = between(text, "Operator ", " is not yet supported") {
        return Some(match op {
            "@?" | "@@" => format!("there is no {op}: parts of JSON are found by ->, #>, @> and json_array_elements()"),
            op => format!("there is no operator {op}"),
        });
    }
    if let Some(kind) = text.strip_prefix("Unary operator 'NOT' requires a boolean expression, got ") {
        let kind = sql_words(kind);
        return Some(format!(
            "NOT is of what is true or false, and not of {kind}; compare it with something"
        ));
    }
    if let Some(op) = between(text, "Unary operator '", "' only supports signed numeric") {
        return Some(format!(
            "{op} stands before numbers and intervals; CAST what is behind it"
        ));
    }
    if let Some(operation) = text.strip_prefix("Cannot infer common type for bitwise operation ") {
        let operation = sql_words(operation).replace("BIT_XOR", "#");
        return Some(format!("there is no {operation}; CAST one side to a whole number"));
    }
    let rest = text.strip_prefix("Incompatible inputs for Union: Previous inputs were of type ")?;
    let (one, rest) = rest.split_once(", but got incompatible type ")?;
    let (other, column) = rest.split_once(" on column ")?;
    Some(format!(
        "both sides of UNION have the same types, and {column} is {} on one and {} on the other; CAST one of them",
        sql_words(one),
        sql_words(other)
    ))
}

/// Whether a function may have so many arguments: then it is their types that don't fit.
fn takes_as_many(name: &str, given: usize) -> bool {
    fn takes(signature: &TypeSignature, given: usize) -> bool {
        match signature {
            TypeSignature::OneOf(several) => several.iter().any(|one| takes(one, given)),
            TypeSignature::Exact(kinds) => kinds.len() == given,
            TypeSignature::Coercible(kinds) => kinds.len() == given,
            TypeSignature::Uniform(count, _)
            | TypeSignature::Any(count)
            | TypeSignature::Comparable(count)
            | TypeSignature::Numeric(count)
            | TypeSignature::String(count) => *count == given,
            _ => false,
        }
    }
    let function = session::state().scalar_functions().get(name);
    function.is_some_and(|function| takes(&function.signature().type_signature, given))
}

/// Calls of functions with what they don't take.
fn calls(text: &str) -> Option<String> {
    if let Some(name) = between(text, "Function '", "'")
        && let Some(rest) = between(text, "' expects ", "")
        && let Some((wanted, rest)) = rest.split_once(" arguments but received ")
    {
        let given: String = rest.chars().take_while(char::is_ascii_digit).collect();
        if given.parse().is_ok_and(|given| takes_as_many(name, given)) {
            let known = session::state().scalar_functions().get(name);
            let call = known.and_then(|known| Some(known.documentation()?.syntax_example.clone()));
            let call = call.map_or("CAST them".to_string(), |call| format!("it is {call}"));
            return Some(format!("{name}() does not take values of these types; {call}"));
        }
        return Some(format!("{name}() takes {wanted} arguments, and not {given}"));
    }
    if text.contains("Nested comparison: ") {
        return Some("values of STRUCT and MAP can't be compared here; compare their fields".to_string());
    }
    if text.starts_with("Unnest should be rewritten") {
        return Some(
            "unnest() makes rows, so it stands in FROM, or as a column of its own in a SELECT list".to_string(),
        );
    }
    if let Some(name) = between(text, "Invalid function '", "'")
        && session::state().window_functions().contains_key(name)
    {
        return Some(format!(
            "{name}() is a window function: write {name}(…) OVER (PARTITION BY … ORDER BY …)"
        ));
    }
    if let Some(rest) = text.strip_prefix("[return_type] ") {
        let (name, kind) = rest.split_once(" not supported for ")?;
        let name = name.to_ascii_lowercase();
        return Some(match kind {
            "Null" => format!("{name}() takes a value; * is for count() alone"),
            kind => format!(
                "{name}() does not take {}; CAST it to a type that it takes",
                sql_words(kind)
            ),
        });
    }
    if text.starts_with("Argument #") && text.contains("must be an INTEGER") && text.contains("got Column") {
        return Some(
            "generate_series() in FROM takes constants; for each row beside it write UNNEST(generate_series(first, last))"
                .to_string(),
        );
    }
    if let Some(rest) = text.strip_prefix("Cannot access field at argument ") {
        let kind = sql_words(between(rest, "type ", " is not")?);
        if kind == "JSONB" {
            return Some(
                "JSONB has no fields behind a point: a member is doc -> 'name', and as text doc ->> 'name'".into(),
            );
        }
        return Some(format!(
            "{kind} has no fields: a name behind a column and a point is a field of a STRUCT"
        ));
    }
    if let Some(part) = between(text, "Date part '", "' not supported") {
        return Some(format!(
            "there is no part '{part}' of a time; there are year, quarter, month, week, day, dow, doy, hour, minute, \
             second, millisecond, microsecond and epoch"
        ));
    }
    if text.contains("coerce") && text.contains(" in LIKE expression") {
        return Some("LIKE compares texts; CAST the other side to TEXT".to_string());
    }
    if text.starts_with("DATE_BIN only supports literal values for the origin") {
        return Some("the origin of date_bin() is a constant".to_string());
    }
    if text == "Expected an integer value" {
        return Some("how far lag() and lead() look is a whole number".to_string());
    }
    begins(
        text,
        "Substring without for/from",
        "substr() takes a text and where to begin, from 1: substr(text, from [, length])",
    )
    .or_else(|| {
        begins(
            text,
            "There is only support Literal types",
            "how far lag(), lead() and nth_value() look, and what stands for a row that isn't there, are constants",
        )
    })
    .or_else(|| {
        begins(
            text,
            "Expected a signed integer literal for the second argument of nth_value",
            "nth_value() takes a value and a number: nth_value(value, n) OVER (…)",
        )
    })
    .or_else(|| {
        begins(
            text,
            "unnest() can only be applied to array",
            "UNNEST takes an array; to make one write ARRAY[…] or array_agg(…)",
        )
    })
}
