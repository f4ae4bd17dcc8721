//! The oracle: for drawn relations, views and changes, what a view keeps is what its query answers.
//!
//! A case (`oracle/case.rs`) is rendered as a script: tables and sources, views on them and on each
//! other, inserts, deletes and updates, crashes and changes of parallelism, and `verify` between.
//! It compares each view with the batch answer of its query, which DataFusion computes over the
//! inputs at that moment, and the sum of what a subscription sent with the view's rows. The store
//! dies in the midst of many cases.
//!
//! What fails is shrunk by proptest, and kept as a script in `tests/slt/found/`, where every later
//! run of the scripts tries it again.
//!
//! ```text
//! WEIR_ORACLE_CASES=100000 cargo test --release --locked --test oracle     a longer run
//! WEIR_ORACLE_SEED=7 …                                                     other cases
//! ```

use std::cell::Cell;
use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use weir_suite::program;
use weir_suite::rig::Settings;
use weir_suite::script::{self, Script};

#[path = "oracle/aggregates.rs"]
mod aggregates;
#[path = "oracle/case.rs"]
mod case;
#[path = "oracle/duckdb.rs"]
mod duckdb;
#[path = "oracle/render.rs"]
mod render;

use case::{Case, cases};
use render::render;

/// Cases of a run without WEIR_ORACLE_CASES.
const CASES: u32 = 1200;
/// Cases that DuckDB is asked about.
const DUCKDB_CASES: usize = 150;
/// Failures that are none of the views', and why.
const PASSED_OVER: [(&str, &str); 2] = [
    (
        "constants never change",
        "a count of a single row is always 1, and never NULL: that is no query to keep",
    ),
    (
        "two pipelines can't follow each other",
        "a view over views apart was drawn that CREATE refuses",
    ),
];
/// Threads that draw cases; they mostly wait.
const BESIDE: u32 = 4;
/// One case of so many is on RocksDB.
const ROCKS_EVERY: u32 = 50;

fn number(variable: &str, default: u32) -> u32 {
    let given = env::var(variable).ok();
    given.map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is no number"))
    })
}

fn is_passed_over(failure: &str) -> bool {
    PASSED_OVER.iter().any(|(words, _)| failure.contains(words))
}

/// A script of a case, run as the case says.
fn run(case: &Case, rocks: bool) -> Result<(), String> {
    let script = Script::parse(Path::new("case"), &render(case).script)?;
    let settings = Settings {
        rocks,
        ..case.run.settings()
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| script::run(&script, &settings)));
    match outcome {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(failure)) if is_passed_over(&failure.message) => Ok(()),
        Ok(Err(failure)) => Err(format!("{failure}\n  in the run WEIR_SLT_RUN={settings}")),
        Err(_) => Err(format!("it panicked in the run WEIR_SLT_RUN={settings}")),
    }
}

/// The same cases for the same numbers.
fn runner(config: Config, seed: u32, thread: u32) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&seed.to_le_bytes());
    bytes[4..8].copy_from_slice(&thread.to_le_bytes());
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// Draws cases until one fails, which is shrunk, written down and described.
fn draw(thread: u32, cases_each: u32, seed: u32) -> Result<(), String> {
    let config = Config {
        cases: cases_each,
        failure_persistence: None,
        max_shrink_iters: 400,
        max_shrink_time: 120_000,
        ..Config::default()
    };
    let mut runner = runner(config, seed, thread);
    let drawn = Cell::new(0);
    let outcome = runner.run(&cases(), |case| {
        drawn.set(drawn.get() + 1);
        run(&case, drawn.get() % ROCKS_EVERY == 0).map_err(TestCaseError::fail)
    });
    match outcome {
        Ok(()) => Ok(()),
        Err(TestError::Abort(reason)) => Err(reason.to_string()),
        Err(TestError::Fail(reason, case)) => {
            let path = keep(&case, reason.message());
            Err(format!(
                "{reason}\nkept as {}:\n\n{}",
                path.display(),
                render(&case).script
            ))
        }
    }
}

/// Writes a failed case down as a script.
fn keep(case: &Case, reason: &str) -> PathBuf {
    let script = render(case).script;
    let mut hasher = DefaultHasher::new();
    script.hash(&mut hasher);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slt/found");
    let path = folder.join(format!("oracle_{:08x}.slt", hasher.finish() as u32));
    let comment: Vec<String> = reason.lines().map(|line| format!("# {line}\n")).collect();
    let text = format!("# Found by the oracle:\n{}\n{script}", comment.concat());
    fs::create_dir_all(&folder).expect("the folder of found scripts can be made");
    fs::write(&path, text).expect("the folder of found scripts can be written");
    path
}

#[test]
fn views_are_what_their_queries_answer() {
    let (cases, seed) = (number("WEIR_ORACLE_CASES", CASES), number("WEIR_ORACLE_SEED", 1));
    let failures: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> = (0..BESIDE)
            .map(|thread| scope.spawn(move || draw(thread, cases.div_ceil(BESIDE), seed)))
            .collect();
        let ended = threads
            .into_iter()
            .map(|thread| thread.join().expect("panics are caught"));
        ended.filter_map(Result::err).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn views_are_what_duckdb_answers() {
    let test = "oracle: views_are_what_duckdb_answers";
    let Some(python) = program::variable("WEIR_PYTHON", test, "there is no Python with DuckDB") else {
        return;
    };
    // A thread number of its own: other cases than the other test's.
    let mut runner = runner(Config::default(), number("WEIR_ORACLE_SEED", 1), BESIDE);
    let mut recorded = Vec::new();
    while recorded.len() < DUCKDB_CASES {
        let case = cases().new_tree(&mut runner).expect("a case can be drawn").current();
        if !duckdb::knows(&case) {
            continue;
        }
        match duckdb::record(&case) {
            Ok(record) => recorded.push(record),
            Err(failure) if is_passed_over(&failure) => {}
            Err(failure) => panic!("{failure}\n{}", render(&case).script),
        }
    }
    if let Err(differences) = duckdb::compare(&python, &recorded) {
        panic!("{differences}");
    }
}
