//! The binary under test, run as a user runs it; and the parts that a machine may not have.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What a program did.
#[derive(Debug)]
pub struct Outcome {
    /// It ended with code 0.
    pub success: bool,
    /// The code that it ended with; none where a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// The binary `weir` that was built beside this test.
///
/// # Panics
/// If it isn't there.
pub fn weir() -> PathBuf {
    let test = std::env::current_exe().expect("this test's path");
    let release = test.parent().and_then(|deps| deps.parent()).expect("a target folder");
    let weir = release.join("weir");
    assert!(
        weir.exists(),
        "there is no {}: cargo build --release --bins",
        weir.display()
    );
    weir
}

/// Runs a program to its end, without standard input.
///
/// # Panics
/// If it can't be started, or takes longer than `patience`.
pub fn run(command: &mut Command, patience: Duration) -> Outcome {
    run_with(command, "", patience)
}

/// Runs a program to its end, with `input` as its standard input.
///
/// # Panics
/// If it can't be started, or takes longer than `patience`.
pub fn run_with(command: &mut Command, input: &str, patience: Duration) -> Outcome {
    let command = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_owned();
    // A program need not read its input, so that writing may fail.
    thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let stdout = child.stdout.take().map(read_all);
    let stderr = child.stderr.take().map(read_all);
    let deadline = Instant::now() + patience;
    let status = loop {
        match child.try_wait().expect("a child") {
            Some(status) => break Some(status),
            None if Instant::now() > deadline => break None,
            None => thread::sleep(Duration::from_millis(20)),
        }
    };
    if status.is_none() {
        child.kill().expect("a child that runs");
        child.wait().expect("a child that was killed");
    }
    let text = |reader: Option<thread::JoinHandle<String>>| {
        reader.map_or(String::new(), |reader| reader.join().expect("a reader"))
    };
    let outcome = Outcome {
        success: status.is_some_and(|status| status.success()),
        code: status.and_then(|status| status.code()),
        stdout: text(stdout),
        stderr: text(stderr),
    };
    assert!(
        status.is_some(),
        "{command:?} did not end within {patience:?}: {outcome:?}"
    );
    outcome
}

fn read_all(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).expect("a pipe");
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// The Kafka to test with; where there is none, `test` is noted as skipped.
///
/// # Panics
/// If the note can't be written.
pub fn kafka(test: &str) -> Option<String> {
    variable("WEIR_KAFKA", test, "there is no Kafka")
}

/// An environment variable that says where a part is; where it isn't set, `test` is noted as skipped.
///
/// # Panics
/// If the note can't be written.
pub fn variable(name: &str, test: &str, missing: &str) -> Option<String> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        skip(test, &format!("{missing} ({name} is not set)"));
    }
    value
}

/// Notes that a test can't run here, and why: it is then counted as skipped.
///
/// # Panics
/// If the note can't be written.
pub fn skip(test: &str, why: &str) {
    if let Some(list) = std::env::var_os("WEIR_SKIPPED") {
        let mut list = OpenOptions::new()
            .append(true)
            .open(list)
            .expect("the list of skipped tests");
        // In one write: other tests write there at the same time.
        let line = format!("{test}: {why}\n");
        list.write_all(line.as_bytes()).expect("the list of skipped tests");
    }
}
