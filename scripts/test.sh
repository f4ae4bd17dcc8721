#!/usr/bin/env bash
# The whole test suite: format, lint, build, every test of every crate. The last line counts them,
# and the exit code is 0 only if all is well.
#
# A test that cannot run here (no Kafka, no Python driver) returns early and appends a line, its name
# and the reason, to the file that WEIR_SKIPPED names: such tests are counted as skipped, not as passed.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { echo "== $*" >&2; }

scripts/setup.sh test

step "format and lint"
scripts/lint.sh

step "build"
cargo build --release --locked --bins
cargo test --release --locked --no-run

step "tests"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export WEIR_SKIPPED=$work/skipped
: >"$WEIR_SKIPPED"

# Built, it takes twenty minutes at most; what hangs should say so long before CI gives up.
status=0
trap 'exit 130' INT
scripts/with-kafka.sh timeout --kill-after=30 40m \
  cargo test --release --locked --no-fail-fast 2>&1 | tee "$work/log" || status=$?

# Every test program ends in `test result: ok. 12 passed; 0 failed; 1 ignored; …`.
read -r passed failed skipped < <(awk '
  /^test result: / { for (i = 1; i < NF; i++) {
    if ($(i + 1) == "passed;") passed += $i
    if ($(i + 1) == "failed;") failed += $i
    if ($(i + 1) == "ignored;") ignored += $i } }
  END { print passed + 0, failed + 0, ignored + 0 }' "$work/log")
returned_early=$(wc -l <"$WEIR_SKIPPED")
if [ "$returned_early" -gt 0 ]; then
  step "skipped"
  cat "$WEIR_SKIPPED"
fi
[ "$status" -ne 124 ] || echo "The tests were stopped: they took more than 40 minutes."
# A test program that crashed prints no result.
[ "$status" -eq 0 ] || [ "$failed" -gt 0 ] || failed=1
[ "$((passed + failed))" -gt 0 ] || status=1

counts="$((passed - returned_early)) passed, $failed failed"
[ "$((skipped + returned_early))" -eq 0 ] || counts+=", $((skipped + returned_early)) skipped"
echo "$counts"
[ "$status" -eq 0 ] && [ "$failed" -eq 0 ]
