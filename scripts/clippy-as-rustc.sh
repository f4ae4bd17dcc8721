#!/usr/bin/env bash
# Clippy in rustc's place for the crates of this workspace: `scripts/lint.sh` has cargo call it.
#
# `cargo clippy` would do the same, but it checks the dependencies too, in a mode of its own: some
# 340 packages a second time, minutes on a fresh clone. (RocksDB's C++ and other build scripts it
# would share.) Under `cargo build` the dependencies are the ones that demo and tests use; ours
# need only be looked at, so whatever cargo wants linked, only metadata is made. What cargo would
# otherwise have found newly built stays missing, so each run lints our crates anew, which takes
# seconds; their real builds have other names and are left alone.
set -euo pipefail

shift # rustc's own path
looks_only=
arguments=()
for argument in "$@"; do
  case $argument in
    # A program that cargo runs while it builds.
    build_script_*) looks_only=no ;;
    --emit=*link*) looks_only=${looks_only:-yes} argument=--emit=dep-info,metadata ;;
    # A crate of ours, of which there is only metadata.
    *=*.rlib) [ -e "${argument#*=}" ] || argument=${argument%.rlib}.rmeta ;;
  esac
  arguments+=("$argument")
done

if [ "$looks_only" = yes ]; then
  exec clippy-driver rustc "${arguments[@]}" -D warnings
fi
exec clippy-driver rustc "$@"
