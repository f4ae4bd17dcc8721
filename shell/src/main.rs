//! The `weir` binary. The shell, the server and the demo come next; until then it says so.

use std::process::ExitCode;

fn main() -> ExitCode {
    eprintln!("weir: the shell, `weir serve` and `weir demo` are not there yet; see README.md for what is");
    ExitCode::FAILURE
}
