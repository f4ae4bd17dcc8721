#!/usr/bin/env bash
# Formatting and clippy over all crates, tests and benches; warnings are errors.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo fmt --all --check
RUSTC_WORKSPACE_WRAPPER=$PWD/scripts/clippy-as-rustc.sh cargo build --release --locked --all-targets
