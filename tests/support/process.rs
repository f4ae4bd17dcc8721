//! What a process has taken of the machine, as Linux counts it.

use std::fs;

/// Clock ticks a second in which Linux tells CPU time to programs, on every architecture.
const TICKS: f64 = 100.0;

/// CPU time of this process so far, user and system, all threads, in seconds.
///
/// # Panics
/// Where there is no `/proc`.
pub fn cpu_seconds() -> f64 {
    cpu_seconds_of("self")
}

/// The same of another process.
///
/// # Panics
/// If there is no such process.
pub fn cpu_seconds_of(pid: &str) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process's CPU time");
    // The name, in brackets, may hold anything; user and system time are the 12th and 13th after it.
    let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
    let ticks = |nth: usize| {
        fields
            .split_whitespace()
            .nth(nth)
            .and_then(|text| text.parse::<f64>().ok())
    };
    (ticks(11).expect("user time") + ticks(12).expect("system time")) / TICKS
}

/// The most memory that this process ever had resident, in bytes.
///
/// # Panics
/// Where there is no `/proc`.
pub fn peak_rss_bytes() -> u64 {
    status("self", "VmHWM:")
}

/// The memory that another process has resident now, in bytes.
///
/// # Panics
/// If there is no such process.
pub fn rss_bytes_of(pid: &str) -> u64 {
    status(pid, "VmRSS:")
}

/// A line of a process's status that is a size in kB, in bytes.
fn status(pid: &str, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process's status");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .expect("the line");
    let kilobytes = line.trim().trim_end_matches("kB").trim().parse::<u64>();
    kilobytes.expect("a number of kB") * 1024
}
