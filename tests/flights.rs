//! The analyses of `examples/flights` give what batch queries over the same files give.

use std::path::Path;

use tokio::runtime::Runtime;
use weir_engine::pipeline::EngineOptions;
use weir_server::{Instance, InstanceOptions};
use weir_sql::parse;
use weir_sql::statement::Statement;
use weir_suite::nexmark;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/flights");

/// The statements of the file, reading the data from where it is.
fn statements() -> Vec<(String, Statement)> {
    let path = Path::new(FOLDER).join("4-analyses.sql");
    let text = std::fs::read_to_string(path).expect("the example is there");
    let text = text.replace("path = '", &format!("path = '{FOLDER}/"));
    let ranges = weir_sql::split::split(&text).into_iter();
    let texts = ranges.map(|range| text[range].trim().trim_end_matches(';').to_string());
    texts
        .filter(|text| !text.is_empty())
        .map(|text| match parse::parse_one(&text) {
            Ok(statement) => (text, statement),
            Err(error) => panic!("{}", error.render(&text)),
        })
        .collect()
}

#[test]
fn each_view_is_what_its_query_answers() {
    let runtime = Runtime::new().expect("a runtime");
    let options = InstanceOptions {
        engine: EngineOptions {
            tasks: 2,
            ..EngineOptions::default()
        },
        ..InstanceOptions::default()
    };
    let inside = runtime.enter();
    let instance = Instance::open(options).unwrap_or_else(|error| panic!("{}", error.message));
    drop(inside);
    let compared = runtime.block_on(async {
        let session = instance.session();
        let mut views = Vec::new();
        for (text, statement) in statements() {
            nexmark::run(&session, &text).await;
            if let Statement::CreateMaterializedView(view) = statement {
                views.push((view.name.value, view.query.text));
            }
        }
        for (name, query) in &views {
            nexmark::end_of(&instance, name).await;
            let kept = nexmark::rows(&session, &format!("SELECT * FROM {name}")).await;
            let batch = nexmark::rows(&session, query).await;
            let count = |rows: &[arrow::array::RecordBatch]| rows.iter().map(|batch| batch.num_rows()).sum::<usize>();
            assert!(count(&kept) > 0, "{name}: a view without rows shows nothing");
            assert_eq!(
                count(&kept),
                count(&batch),
                "{name}: not as many rows as its query gives"
            );
            assert_eq!(
                nexmark::checksum(&kept),
                nexmark::checksum(&batch),
                "{name}: not the rows that its query gives"
            );
        }
        views.len()
    });
    instance.shutdown();
    assert!(compared >= 8, "only {compared} views");
}
