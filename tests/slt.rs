//! The main tests: scripts in `tests/slt/`, which read like sessions, each run many times.
//!
//! First a script runs undisturbed. Then it must give the same answers with 2 and 3 tasks, with
//! steps of a row or two, with room for three entries in each state table; and with a crash after
//! every single commit that the first run made. Scripts run beside each other: they mostly wait.
//!
//! ```text
//! cargo test --release --locked --test slt [-- NAME …]     scripts whose path has one of the names
//! WEIR_REWRITE=1 …                                         writes what came into the scripts
//! WEIR_SLT_RUN=tasks=2,step=1,lives=7 …                    one run as a failure shows it
//! WEIR_SLT_CRASHES=1000 …                                  that many crashes per script at most
//! ```

use std::collections::VecDeque;
use std::env;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use weir_suite::rig::Settings;
use weir_suite::script::{Came, Script, observe, run};

/// Crashes per script, unless `WEIR_SLT_CRASHES` says more. A script with more commits is crashed at
/// this many of them, evenly.
const CRASHES: u64 = 18;
/// Scripts at a time.
const BESIDE: usize = 4;
/// One run of so many is on RocksDB.
const ROCKS_EVERY: u64 = 50;

fn main() -> ExitCode {
    let begun = Instant::now();
    let names: Vec<String> = env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slt");
    let mut paths = Vec::new();
    scripts(&root, &mut paths);
    let asked_for = |path: &PathBuf| {
        let path = path.to_string_lossy();
        names.is_empty() || names.iter().any(|name| path.contains(name.as_str()))
    };
    let queue: Mutex<VecDeque<PathBuf>> = Mutex::new(paths.into_iter().filter(asked_for).collect());
    let failures: Mutex<Vec<String>> = Mutex::default();
    let passed: Mutex<usize> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..BESIDE {
            scope.spawn(|| {
                while let Some(path) = { queue.lock().unwrap().pop_front() } {
                    let name = path.strip_prefix(&root).unwrap_or(&path).with_extension("");
                    match test(&path) {
                        Ok(what) => {
                            println!("test {} ... ok ({what})", name.display());
                            *passed.lock().unwrap() += 1;
                        }
                        Err(failure) => {
                            println!("test {} ... FAILED", name.display());
                            failures.lock().unwrap().push(failure);
                        }
                    }
                }
            });
        }
    });
    let (failures, passed) = (failures.into_inner().unwrap(), passed.into_inner().unwrap());
    for failure in &failures {
        println!("\n{failure}");
    }
    let word = if failures.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {passed} passed; {} failed; 0 ignored; finished in {:.2}s",
        failures.len(),
        begun.elapsed().as_secs_f64()
    );
    if failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn scripts(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).expect("the folder of scripts can be read");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry of a folder").path())
        .collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            scripts(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "slt") {
            found.push(path);
        }
    }
}

/// All runs of one script; says how many there were, or how one failed.
fn test(path: &Path) -> Result<String, String> {
    let script = Script::open(path)?;
    if env::var_os("WEIR_REWRITE").is_some() {
        let mut came = Came::new();
        let observed = observe(&script, &mut came);
        script.rewrite(&came)?;
        return observed
            .map(|_| "rewritten".to_string())
            .map_err(|failure| failure.to_string());
    }
    if let Ok(settings) = env::var("WEIR_SLT_RUN") {
        return once(&script, &settings.parse()?).map(|_| "one run".to_string());
    }
    let begun = Instant::now();
    let (commits, _) = once(&script, &Settings::default())?;
    let (mut runs, mut crashes) = (1, 0);
    for settings in variants(&script, commits) {
        crashes += once(&script, &settings)?.1;
        runs += 1;
    }
    let seconds = begun.elapsed().as_secs_f64();
    Ok(format!("{runs} runs, {crashes} crashes, {seconds:.1}s"))
}

/// One run; gives its commits and deaths.
fn once(script: &Script, settings: &Settings) -> Result<(u64, usize), String> {
    let ran = catch_unwind(AssertUnwindSafe(|| run(script, settings)));
    match ran {
        Ok(Ok(passed)) => Ok((passed.commits, passed.deaths)),
        Ok(Err(failure)) => Err(format!("{failure}\n  in the run WEIR_SLT_RUN={settings}")),
        Err(_) => Err(format!(
            "{}: the run WEIR_SLT_RUN={settings} panicked",
            script.path.display()
        )),
    }
}

/// The other runs of a script whose first run made so many commits.
fn variants(script: &Script, commits: u64) -> Vec<Settings> {
    let most = env::var("WEIR_SLT_CRASHES")
        .ok()
        .and_then(|most| most.parse().ok())
        .unwrap_or(CRASHES);
    let mut all = vec![varied(1, Vec::new()), varied(2, Vec::new())];
    let crashes = commits.min(most).max(1);
    for crash in 0..crashes {
        let at = 1 + crash * commits / crashes;
        // Every third run dies a second time, while the first recovery is still fresh.
        let lives = if crash % 3 == 2 {
            vec![at, 2 + crash % 5]
        } else {
            vec![at]
        };
        all.push(varied(crash, lives));
    }
    let seed = script
        .path
        .to_string_lossy()
        .bytes()
        .fold(0, |sum, byte| sum + u64::from(byte));
    for (number, settings) in all.iter_mut().enumerate() {
        settings.rocks = (seed + number as u64).is_multiple_of(ROCKS_EVERY);
    }
    all
}

/// Settings as unlike each other as can be, chosen by a number.
fn varied(number: u64, lives: Vec<u64>) -> Settings {
    Settings {
        tasks: 1 + number as usize % 3,
        step_rows: [1, 50_000, 2, 7][number as usize % 4],
        entry_budget: number.is_multiple_of(2).then_some(3),
        checkpoint_interval: Duration::from_millis([1, 500][number as usize / 2 % 2]),
        lives,
        ..Settings::default()
    }
}
