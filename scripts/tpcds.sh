#!/usr/bin/env bash
# All queries of TPC-DS as views, held against DuckDB: scripts/tpcds.sh <the weir binary>
# Data and queries come from DuckDB's extension, which is fetched once with the DuckDB that it fits.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=${WEIR_CACHE:-$HOME/.cache/weir}/tpcds
version=1.5.5
if [ "$(cat "$venv/version" 2>/dev/null)" != "$version" ]; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/python" -m pip install -q "duckdb==$version" "duckdb-extension-tpcds==$version"
  echo "$version" >"$venv/version"
fi
exec "$venv/bin/python" tests/tpcds/tpcds.py "$1"
