//! Plans as golden files: each statement of `plans/*.sql` and what EXPLAIN says of it, or the error,
//! stand in the `.plan` file of that name. `WEIR_PLANS=write` writes them anew; the differences are
//! then there to be looked at.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use weir_engine::relation::RelationId;
use weir_sql::catalog::Catalog;
use weir_sql::statement::{SinkInput, Statement};
use weir_sql::{Result, explain, parse, plan, split};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The statements of a file, as written.
fn statements(text: &str) -> Vec<&str> {
    let ranges = split::split(text).into_iter();
    let texts = ranges.map(|range| text[range].trim().trim_end_matches(';').trim_end());
    texts.filter(|text| !text.is_empty()).collect()
}

/// The relations that the cases read.
fn catalog() -> Catalog {
    let text = read(&folder().join("schema.sql"));
    let mut catalog = Catalog::new();
    for (number, sql) in statements(&text).into_iter().enumerate() {
        let id = RelationId(number as u32 + 1);
        let created = parse::parse_one(sql).and_then(|statement| match statement {
            Statement::CreateSource(statement) => plan::source(&statement, id, &catalog),
            Statement::CreateTable(statement) => plan::table(&statement, id, &catalog),
            Statement::CreateView(statement) => plan::view(&statement, id, &catalog),
            Statement::CreateMaterializedView(statement) => plan::materialized_view(&statement, id, &catalog),
            other => panic!("{other:?} is no part of a schema"),
        });
        catalog.insert(created.unwrap_or_else(|error| panic!("{}", error.render(sql))));
    }
    catalog
}

/// What EXPLAIN says of a statement, with what is noted when it is created.
fn explained(sql: &str, catalog: &Catalog) -> Result<String> {
    let id = RelationId(1000);
    let view = |relation: weir_sql::catalog::Relation| {
        let graph = relation
            .graph()
            .map(|graph| (explain::explain(graph), explain::notes(graph)));
        graph.unwrap_or_default()
    };
    let (text, notes) = match parse::parse_one(sql)? {
        Statement::CreateMaterializedView(statement) => view(plan::materialized_view(&statement, id, catalog)?),
        Statement::CreateSink(statement) if matches!(statement.input, SinkInput::As(_)) => {
            view(plan::sink(&statement, id, catalog)?)
        }
        Statement::Query(query) | Statement::Explain(query) => {
            let planned = plan::push_query(&query, catalog)?;
            (explain::explain(&planned.graph), explain::notes(&planned.graph))
        }
        Statement::CreateView(statement) => (format!("{:?}", plan::view(&statement, id, catalog)?), Vec::new()),
        Statement::CreateSink(statement) => (format!("{:?}", plan::sink(&statement, id, catalog)?), Vec::new()),
        other => panic!("{other:?} has no plan"),
    };
    let notes = notes.into_iter().map(|note| format!("note: {note}\n"));
    Ok(text + &notes.collect::<String>())
}

/// What the `.plan` file of a `.sql` file should hold.
fn expected(sql: &str, catalog: &Catalog) -> String {
    let mut text = String::new();
    for statement in statements(sql) {
        let plan = match explained(statement, catalog) {
            Ok(plan) => plan,
            Err(error) => format!("error: {}\n", error.render(statement)),
        };
        let _ = writeln!(text, "{statement};\n\n{}\n", plan.trim_end());
    }
    text
}

#[test]
fn plans_are_those_written_down() {
    let catalog = catalog();
    let write = std::env::var("WEIR_PLANS").is_ok_and(|value| value == "write");
    let mut cases: Vec<PathBuf> = fs::read_dir(folder())
        .expect("tests/plans is there")
        .map(|entry| entry.expect("tests/plans can be listed").path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "sql") && !path.ends_with("schema.sql"))
        .collect();
    cases.sort();
    assert!(!cases.is_empty(), "there are no cases in tests/plans");
    let mut differing = Vec::new();
    for case in cases {
        let plan = expected(&read(&case), &catalog);
        let golden = case.with_extension("plan");
        if write {
            fs::write(&golden, &plan).expect("a plan can be written");
        } else if fs::read_to_string(&golden).ok().as_deref() != Some(&plan) {
            differing.push(format!("---- {} should hold ----\n{plan}", golden.display()));
        }
    }
    assert!(
        differing.is_empty(),
        "{}\nplans differ; WEIR_PLANS=write writes them as they are now",
        differing.join("\n")
    );
}

/// A view's graph comes out the same each time it is planned: what is stored under it can be read.
#[test]
fn planning_is_repeatable() {
    let text = read(&folder().join("schema.sql"));
    let (one, other) = (catalog(), catalog());
    assert!(statements(&text).len() > 5);
    for relation in one.iter() {
        let again = other.find(&relation.name).expect("both have the same relations");
        let shape = |relation: &weir_sql::catalog::Relation| relation.graph().map(explain::shape);
        assert_eq!(shape(relation), shape(again), "{}", relation.name);
    }
}
