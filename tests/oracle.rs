//! The oracle: for drawn relations, views and changes, what a view keeps is what its query answers.
//!
//! A case (`oracle/case.rs`) is rendered as a script: tables and sources, views on them and on each
//! other, inserts, deletes and updates, crashes and changes of parallelism, and `verify` between.
//! It compares each view with the batch answer of its query, which DataFusion computes over the
//! inputs at that moment, and the sum of the view's changes with its rows.
//!
//! Most cases go by hand (`support/stepped.rs`): planned and run as ever, but on one thread that draws where
//! steps, checkpoints, commits and crashes fall, so that a case takes some milliseconds and is the same
//! each time. Some run in a whole instance, whose store dies in the midst of many of them. And some are
//! answered by DuckDB, which shares nothing with Weir.
//!
//! What fails is shrunk by proptest, and kept as a script in `tests/slt/found/`, where every later
//! run of the scripts, and of this test, tries it again.
//!
//! ```text
//! WEIR_ORACLE_CASES=1000000 cargo test --release --locked --test oracle    a longer run
//! WEIR_ORACLE_SEED=7 …                                                     other cases; 'time' for always others
//! WEIR_ORACLE_FAILURES=20 …                                                goes on until so many have failed
//! WEIR_ORACLE_PACE=tasks=2,step=1,seed=17 …                                found scripts as a failure shows it
//! ```

use std::cell::Cell;
use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use proptest::prop_oneof;
use proptest::strategy::{BoxedStrategy, Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use weir_suite::program;
use weir_suite::rig::Settings;
use weir_suite::script::{self, Script};
use weir_suite::stepped::{self, Pace};

#[path = "oracle/aggregates.rs"]
mod aggregates;
#[path = "oracle/case.rs"]
mod case;
#[path = "oracle/draw.rs"]
mod draw;
#[path = "oracle/duckdb.rs"]
mod duckdb;
#[path = "oracle/render.rs"]
mod render;
#[path = "oracle/values.rs"]
mod values;

use case::Case;
use draw::{cases, meeting_cases, timed_cases};
use render::render;

// A case plans much and keeps little.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Cases by hand of a run without WEIR_ORACLE_CASES.
const CASES: u32 = 20_000;
/// Of a hundred such cases, so many more are of what meets by event time or as it comes, so many run in an instance,
/// and so many are answered by DuckDB.
const TIMED_PERCENT: u32 = 20;
const RUNNING_PERCENT: u32 = 6;
const DUCKDB_PERCENT: u32 = 5;
/// Failures that are none of the views', and why.
const PASSED_OVER: [(&str, &str); 3] = [
    (
        "constants never change",
        "a count of a single row is always 1, and never NULL: that is no query to keep",
    ),
    (
        "two pipelines can't follow each other",
        "a view over views apart was drawn that CREATE refuses",
    ),
    (
        "a subquery can't look from within",
        "a query within one was drawn that looks at rows with values of their own, which CREATE refuses",
    ),
];
/// Threads that draw cases of instances; they mostly wait.
const BESIDE: u32 = 4;
/// One case of an instance of so many is on RocksDB.
const ROCKS_EVERY: u32 = 50;
/// Plans are deep, and so is what walks them.
const STACK: usize = 64 << 20;
/// Paces in which each found script is run.
const PACES: u64 = 24;

fn number(variable: &str, default: u32) -> u32 {
    let given = env::var(variable).ok();
    given.map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is no number"))
    })
}

fn cases_wanted() -> u32 {
    number("WEIR_ORACLE_CASES", CASES)
}

/// The seed of all that is drawn, which is printed.
fn seed() -> u32 {
    let seed = match env::var("WEIR_ORACLE_SEED") {
        Err(_) => 1,
        Ok(text) if text == "time" => SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(1, |since| since.as_secs() as u32),
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("WEIR_ORACLE_SEED={text} is no number")),
    };
    println!("WEIR_ORACLE_SEED={seed}");
    seed
}

fn is_passed_over(failure: &str) -> bool {
    PASSED_OVER.iter().any(|(words, _)| failure.contains(words))
}

/// A way to run cases.
#[derive(Clone, Copy)]
enum Way {
    ByHand,
    Running,
    /// By hand, of what meets by event time, or by when it comes.
    Timed,
}

impl Way {
    fn threads(self) -> u32 {
        match self {
            Way::ByHand | Way::Timed => thread::available_parallelism().map_or(2, |cores| cores.get() as u32),
            Way::Running => BESIDE,
        }
    }

    fn cases(self) -> BoxedStrategy<Case> {
        match self {
            Way::ByHand | Way::Running => cases().boxed(),
            Way::Timed => prop_oneof![4 => timed_cases(), 1 => meeting_cases()].boxed(),
        }
    }

    /// Runs a script of a case, as the case says.
    fn run(self, case: &Case, rocks: bool) -> Result<(), String> {
        let script = Script::parse(Path::new("case"), &render(case).script)?;
        match self {
            Way::ByHand | Way::Timed => by_hand(&script, &case.run.pace()),
            Way::Running => {
                let settings = Settings {
                    rocks,
                    ..case.run.settings()
                };
                let outcome = catch_unwind(AssertUnwindSafe(|| script::run(&script, &settings)));
                let failure = match outcome {
                    Ok(Ok(_)) => return Ok(()),
                    Ok(Err(failure)) if is_passed_over(&failure.message) => return Ok(()),
                    Ok(Err(failure)) => failure.to_string(),
                    Err(_) => "it panicked".to_string(),
                };
                Err(format!("{failure}\n  in the run WEIR_SLT_RUN={settings}"))
            }
        }
    }
}

fn by_hand(script: &Script, pace: &Pace) -> Result<(), String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| stepped::run(script, pace)));
    let failure = match outcome {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(failure)) if is_passed_over(&failure) => return Ok(()),
        Ok(Err(failure)) => failure,
        Err(_) => "it panicked".to_string(),
    };
    Err(format!("{failure}\n  by hand, WEIR_ORACLE_PACE={pace}"))
}

/// The same cases for the same numbers.
fn runner(config: Config, seed: u32, thread: u32) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&seed.to_le_bytes());
    bytes[4..8].copy_from_slice(&thread.to_le_bytes());
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// Draws cases. What fails is shrunk, written down and described; when `left` failures have been found, by
/// whichever thread, the rest is passed over.
fn draw(way: Way, thread: u32, cases_each: u32, seed: u32, left: &AtomicU32) -> Result<(), String> {
    let (iterations, milliseconds) = match way {
        Way::ByHand | Way::Timed => (4000, 30_000),
        Way::Running => (400, 120_000),
    };
    let config = Config {
        cases: cases_each,
        failure_persistence: None,
        max_shrink_iters: iterations,
        max_shrink_time: milliseconds,
        ..Config::default()
    };
    let (drawn, mut failures) = (Cell::new(0), Vec::new());
    // Each way and thread draws cases of its own.
    let mut runner = runner(config.clone(), seed, thread + 100 * way as u32);
    while drawn.get() < cases_each && left.load(Ordering::Relaxed) > 0 {
        let shrinking = Cell::new(false);
        let outcome = runner.run(&way.cases(), |case| {
            if !shrinking.get() && (left.load(Ordering::Relaxed) == 0 || drawn.get() >= cases_each) {
                return Ok(());
            }
            drawn.set(drawn.get() + u32::from(!shrinking.get()));
            let outcome = way.run(&case, drawn.get() % ROCKS_EVERY == 0);
            if outcome.is_err() && !shrinking.replace(true) {
                let _ = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            }
            outcome.map_err(TestCaseError::fail)
        });
        match outcome {
            Ok(()) => break,
            Err(TestError::Abort(reason)) => return Err(reason.to_string()),
            Err(TestError::Fail(reason, case)) => {
                let path = keep(&case, reason.message());
                failures.push(format!(
                    "{reason}\nkept as {}:\n\n{}",
                    path.display(),
                    render(&case).script
                ));
            }
        }
    }
    if failures.is_empty() {
        Ok(())
    } else {
        Err(failures.join("\n\n"))
    }
}

fn found() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slt/found")
}

/// Writes a failed case down as a script.
fn keep(case: &Case, reason: &str) -> PathBuf {
    let script = render(case).script;
    let mut hasher = DefaultHasher::new();
    script.hash(&mut hasher);
    let path = found().join(format!("oracle_{:08x}.slt", hasher.finish() as u32));
    let comment: Vec<String> = reason.lines().map(|line| format!("# {line}\n")).collect();
    let text = format!("# Found by the oracle:\n{}\n{script}", comment.concat());
    fs::create_dir_all(found()).expect("the folder of found scripts can be made");
    fs::write(&path, text).expect("the folder of found scripts can be written");
    path
}

/// Runs `work` on so many threads with deep stacks, each of which knows its number.
fn beside(threads: u32, work: impl Fn(u32) -> Result<(), String> + Sync) {
    let failures: Vec<String> = thread::scope(|scope| {
        let work = &work;
        let spawn = |thread| {
            let builder = thread::Builder::new().stack_size(STACK);
            builder.spawn_scoped(scope, move || work(thread)).expect("a thread")
        };
        let threads: Vec<_> = (0..threads).map(spawn).collect();
        let ended = threads
            .into_iter()
            .map(|thread| thread.join().expect("panics are caught"));
        ended.filter_map(Result::err).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

fn draw_all(way: Way, cases: u32) {
    let (seed, left) = (seed(), AtomicU32::new(number("WEIR_ORACLE_FAILURES", 1)));
    let threads = way.threads();
    beside(threads, |thread| {
        draw(way, thread, cases.div_ceil(threads), seed, &left)
    });
}

#[test]
fn views_are_what_their_queries_answer() {
    draw_all(Way::ByHand, cases_wanted());
}

#[test]
fn what_meets_at_a_time_is_what_its_query_answers() {
    draw_all(Way::Timed, (cases_wanted() * TIMED_PERCENT).div_ceil(100));
}

#[test]
fn views_of_an_instance_are_what_their_queries_answer() {
    draw_all(Way::Running, (cases_wanted() * RUNNING_PERCENT).div_ceil(100));
}

#[test]
fn what_was_found_is_mended() {
    let given: Option<Pace> = env::var("WEIR_ORACLE_PACE")
        .ok()
        .map(|text| text.parse().unwrap_or_else(|error| panic!("WEIR_ORACLE_PACE: {error}")));
    let paces: Vec<Pace> = match given {
        Some(pace) => vec![pace],
        None => (0..PACES).map(pace).collect(),
    };
    let entries = fs::read_dir(found()).expect("the folder of found scripts can be read");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry of a folder").path())
        .collect();
    paths.retain(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("oracle_"))
    });
    beside(1, |_| {
        for path in &paths {
            let script = Script::open(path)?;
            paces.iter().try_for_each(|pace| by_hand(&script, pace))?;
        }
        Ok(())
    });
}

/// Paces as unlike each other as can be, chosen by a number.
fn pace(number: u64) -> Pace {
    Pace {
        tasks: 1 + number as usize % 3,
        step_rows: [1, 50_000, 2, 5][number as usize % 4],
        entry_budget: (number.is_multiple_of(2)).then_some(1 + number as usize / 2 % 4),
        seed: number,
    }
}

#[test]
fn views_are_what_duckdb_answers() {
    let test = "oracle: views_are_what_duckdb_answers";
    let Some(python) = program::variable("WEIR_PYTHON", test, "there is no Python with DuckDB") else {
        return;
    };
    let wanted = (cases_wanted() * DUCKDB_PERCENT).div_ceil(100) as usize;
    let seed = seed();
    beside(1, |_| {
        // A thread number of its own: other cases than the other tests'.
        let mut runner = runner(Config::default(), seed, 1000);
        let mut recorded = Vec::new();
        while recorded.len() < wanted {
            let case = cases().new_tree(&mut runner).expect("a case can be drawn").current();
            if !duckdb::knows(&case) {
                continue;
            }
            match duckdb::record(&case) {
                Ok(record) => recorded.push(record),
                Err(failure) if is_passed_over(&failure) => {}
                Err(failure) => return Err(format!("{failure}\n{}", render(&case).script)),
            }
        }
        duckdb::compare(&python, &recorded)
    });
}
