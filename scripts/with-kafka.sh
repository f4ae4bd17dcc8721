#!/usr/bin/env bash
# Runs a command with an Apache Kafka of its own beside it, and ends that Kafka after it.
#
#   scripts/with-kafka.sh COMMAND…
#
# The command finds in its environment
#   WEIR_KAFKA    host:port of the broker; not set when none can be had, then the Kafka suites are skipped
#   WEIR_PYTHON   a Python with an ADBC driver, Arrow and DuckDB; not set when none can be had
# KAFKA_BOOTSTRAP=host:port, if given, is the user's own Kafka: it is used, and left as it is.
# In CI (CI=true) both must be there: a suite that skips itself shows nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${WEIR_CACHE:-${HOME:-/nonexistent}/.cache/weir}
say() { echo "$*" >&2; }
missing() {
  say "$1"
  [ "${CI:-}" != true ] || { say "CI needs it."; exit 1; }
}

unset WEIR_KAFKA WEIR_PYTHON
if [ -n "${KAFKA_BOOTSTRAP:-}" ]; then
  export WEIR_KAFKA=$KAFKA_BOOTSTRAP
  say "Kafka: yours, at $WEIR_KAFKA"
elif scripts/kafka.sh java >/dev/null 2>&1 && scripts/kafka.sh fetched; then
  broker=$(mktemp -d "$cache/kafka-run.XXXXXX")
  trap 'scripts/kafka.sh remove --dir "$broker"' EXIT
  WEIR_KAFKA=$(scripts/kafka.sh start --dir "$broker" --max-minutes 75)
  export WEIR_KAFKA
  say "Kafka: $WEIR_KAFKA"
else
  missing "Kafka: none, its suites are skipped (what is missing: scripts/setup.sh test)"
fi

if [ -e "$cache/python/packages" ]; then
  export WEIR_PYTHON=$cache/python/bin/python
else
  missing "Python with an ADBC driver: none, its suites are skipped (what is missing: scripts/setup.sh test)"
fi

# The command gets a process group of its own, all of which ends with this script: a test program
# whose cargo was stopped would else go on without it.
set -m
"$@" </dev/null &
command=$!
trap 'kill -TERM -- "-$command" 2>/dev/null; wait "$command"; exit 130' INT TERM
wait "$command"
