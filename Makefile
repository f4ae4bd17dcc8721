# Weir's commands. What they do stands in scripts/; CARGO_TARGET_DIR, WEIR_CACHE (default
# ~/.cache/weir) and KAFKA_BOOTSTRAP are respected.

.PHONY: help setup build demo test tpcds lint bench

help:
	@echo 'make demo                      set up, build, and show live views over an embedded broker'
	@echo 'make demo BOOTSTRAP=host:port  the same over your own Kafka'
	@echo 'make build                     only build: the binary is $(binary)'
	@echo 'make test                      format, lint, and all tests (with Apache Kafka, fetched and started by itself)'
	@echo 'make tpcds                     the 99 queries of TPC-DS as views through changes and crashes, held against DuckDB'
	@echo 'make bench                     all benchmarks'
	@echo 'make lint                      format and lint only'

binary = $(or $(CARGO_TARGET_DIR),target)/release/weir

setup:
	@scripts/setup.sh

# No `-p weir`: with a part of the workspace cargo chooses other features for the dependencies, and
# compiles DataFusion a second time when the tests come.
build: setup
	cargo build --release --locked --bins

demo: build
	@$(binary) demo $(if $(BOOTSTRAP),--bootstrap '$(BOOTSTRAP)')

test:
	@scripts/test.sh

tpcds: build
	@scripts/tpcds.sh '$(binary)'

lint: setup
	@scripts/lint.sh

bench:
	@scripts/setup.sh test
	@scripts/with-kafka.sh cargo bench --locked
