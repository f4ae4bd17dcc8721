#!/usr/bin/env bash
# Sees to what Weir needs from the system (Debian, Ubuntu and their kin), and says nothing when
# nothing is missing. What it may install (as root, or by a sudo that asks no password) it
# installs; otherwise it prints the command to type and ends with code 1.
#
#   scripts/setup.sh         what the build needs
#   scripts/setup.sh test    and what the test suite needs: Apache Kafka, and Python with an ADBC driver
#
# The build can't do without its part. The test suite can: suites whose part can't be had are
# skipped and say so, therefore `test` only tells what is missing and goes on.
set -euo pipefail
cd "$(dirname "$0")/.."

rust_at_least=1.94
cache=${WEIR_CACHE:-${HOME:-/nonexistent}/.cache/weir}

say() { echo "setup: $*" >&2; }

# --- the system's packages ------------------------------------------------------------------

missing=()
need() { # PACKAGE COMMAND…: the package is missing when the command fails
  local package=$1
  shift
  "$@" >/dev/null 2>&1 || missing+=("$package")
}
program() { command -v "$1"; }
any_file() { local f; for f in "$@"; do [ -e "$f" ] && return 0; done; return 1; }
# bindgen needs the library and, beside it, clang's own C headers.
libclang() {
  any_file ${LIBCLANG_PATH:+"$LIBCLANG_PATH"/libclang*.so*} /usr/lib/llvm-*/lib/libclang*.so* /usr/lib/*/libclang*.so* &&
    any_file ${LIBCLANG_PATH:+"$LIBCLANG_PATH"/clang/*/include/stddef.h} /usr/lib/llvm-*/lib/clang/*/include/stddef.h /usr/lib/clang/*/include/stddef.h
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}
may_install() {
  command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }
}

# apt-get with a bound on its time and on its wait for another apt-get, its output only when it fails.
apt_get() {
  local log
  log=$(mktemp)
  if ! as_root env DEBIAN_FRONTEND=noninteractive timeout 900 apt-get -o DPkg::Lock::Timeout=120 "$@" </dev/null >"$log" 2>&1; then
    tail -n 15 "$log" >&2
    rm -f "$log"
    return 1
  fi
  rm -f "$log"
}

# The lists of packages may be old or, in a fresh container, not there at all.
lists_are_fresh=
freshen_lists() {
  [ -n "$lists_are_fresh" ] || { lists_are_fresh=1; apt_get update || true; }
}

install() {
  say "installing $*"
  freshen_lists
  apt_get install -y --no-install-recommends "$@"
}

how_to_install() {
  if command -v apt-get >/dev/null; then
    echo "    sudo apt-get update && sudo apt-get install -y $*"
  else
    echo "    (your system's packages for what Debian calls: $*)"
  fi
}

build_packages() {
  missing=()
  need build-essential program cc
  need build-essential program c++
  need build-essential program make
  need cmake program cmake
  need pkg-config program pkg-config
  need libclang-dev libclang
  need libssl-dev pkg-config --exists libssl libcrypto
  need libcurl4-openssl-dev pkg-config --exists libcurl
  need zlib1g-dev pkg-config --exists zlib
}

see_to_packages() {
  build_packages
  [ ${#missing[@]} -eq 0 ] && return 0
  mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
  if may_install && install "${missing[@]}"; then
    build_packages
    [ ${#missing[@]} -eq 0 ] && return 0
  fi
  say "the build needs these packages: ${missing[*]}. Please type:"
  how_to_install "${missing[@]}" >&2
  exit 1
}

# --- Rust -----------------------------------------------------------------------------------

at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

see_to_rust() {
  local version
  if ! version=$(cargo --version 2>/dev/null); then
    say "cargo is missing: Weir is written in Rust. Install Rust $rust_at_least or newer (https://rustup.rs), open a new terminal, and try again."
    [ -x "${HOME:-}/.cargo/bin/cargo" ] && say "(there is one in ~/.cargo/bin: type  . ~/.cargo/env )"
    exit 1
  fi
  version=${version#cargo } version=${version%% *}
  if ! at_least "$rust_at_least" "$version"; then
    say "Rust $version is too old, Weir needs $rust_at_least. Please type:"
    echo "    rustup update stable" >&2
    exit 1
  fi
}

see_to_rust_checks() {
  cargo fmt --version >/dev/null 2>&1 && clippy-driver --version >/dev/null 2>&1 && return 0
  say "rustfmt or clippy is missing; the tests check with both"
  rustup component add rustfmt clippy </dev/null >&2 && return 0
  say "please type:"
  echo "    rustup component add rustfmt clippy" >&2
  exit 1
}

# --- what the test suite uses ---------------------------------------------------------------

# Whichever suitable Java this release of the system has.
java_package() {
  local package
  for package in openjdk-17-jre-headless openjdk-21-jre-headless openjdk-25-jre-headless; do
    if apt-cache show "$package" >/dev/null 2>&1; then
      echo "$package"
      return 0
    fi
  done
  echo openjdk-17-jre-headless
}

see_to_kafka() {
  # Somebody's own Kafka does as well.
  [ -n "${KAFKA_BOOTSTRAP:-}" ] && return 0
  local wanted=()
  if ! scripts/kafka.sh java >/dev/null 2>&1; then
    may_install && freshen_lists
    wanted+=("$(java_package)")
  fi
  scripts/kafka.sh fetched || program mvn >/dev/null || wanted+=(maven)
  if [ ${#wanted[@]} -gt 0 ] && ! { may_install && install "${wanted[@]}"; }; then
    say "Apache Kafka needs ${wanted[*]}; without them the Kafka suites are skipped. To run them:"
    how_to_install "${wanted[@]}" >&2
    return 0
  fi
  scripts/kafka.sh fetch || say "Apache Kafka could not be fetched; the Kafka suites are skipped"
}

python_packages=(adbc-driver-flightsql adbc-driver-manager pyarrow duckdb)

# A folder of its own for Python's packages. It keeps the list it was made from: with another
# list it is made anew.
see_to_python() {
  local venv=$cache/python python
  [ -x "$venv/bin/python" ] && [ "$(cat "$venv/packages" 2>/dev/null)" = "${python_packages[*]}" ] && return 0
  python=$(for p in python3 /usr/bin/python3; do "$p" -c 'import ensurepip, venv' 2>/dev/null && echo "$p" && break; done) || true
  if [ -z "$python" ]; then
    if may_install && install python3-venv; then
      python=/usr/bin/python3
    else
      say "Python's venv is missing; the tests with Python's ADBC driver are skipped. To run them:"
      how_to_install python3-venv >&2
      return 0
    fi
  fi
  say "making a Python environment in $venv (${python_packages[*]})"
  rm -rf "$venv"
  local log
  log=$(mktemp)
  if mkdir -p "$cache" && "$python" -m venv "$venv" >"$log" 2>&1 &&
    timeout 900 "$venv/bin/python" -m pip install -q "${python_packages[@]}" </dev/null >>"$log" 2>&1; then
    echo "${python_packages[*]}" >"$venv/packages"
  else
    tail -n 5 "$log" >&2
    rm -rf "$venv"
    say "Python's packages could not be fetched; the tests with Python's ADBC driver are skipped"
  fi
  rm -f "$log"
}

# Who waits should know for what.
announce_first_build() {
  any_file "${CARGO_TARGET_DIR:-target}"/release/deps/libdatafusion-*.rlib && return 0
  say "this first build compiles some 400 libraries, among them RocksDB, librdkafka and DataFusion:"
  say "about 40 minutes on 2 cores, less on more. After a change to Weir itself it takes a minute or less."
}

see_to_packages
see_to_rust
if [ "${1:-}" = test ]; then
  see_to_rust_checks
  see_to_kafka
  see_to_python
fi
announce_first_build
