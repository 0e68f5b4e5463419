# Tuff's commands for people. Each sets up what it needs first (tools/setup) and says what it does.
# Only the release profile is used, so that nothing is compiled twice and what is tested is what is served.

TARGET := $(or $(CARGO_TARGET_DIR),target)
TUFF := $(TARGET)/release/tuff
CONF ?= conf/tuff.conf

.PHONY: help run build test check compare check-dashboard measure-cold measure-calm measure-memory measure-contention measure-messages measure-start measure-cycles
.DEFAULT_GOAL := help

help:
	@echo "make run       build Tuff and run it in the foreground with conf/tuff.conf (CONF=... for another)"
	@echo "make build     build $(TUFF)"
	@echo "make test      every test: unit, integration against a real Redis, clients in Python and Node"
	@echo "make check     formatting and lints, as CI wants them"
	@echo "make compare   Tuff and Redis side by side: rates and CPU per command (ARGS=... for tools/compare, see --help)"
	@echo "make measure-cold, measure-calm, measure-memory, measure-contention, measure-messages, measure-start, measure-cycles  one measurement each: see docs/performance.md (ARGS=...)"
	@echo "make check-dashboard  every panel of grafana/tuff.json has data, by a real Prometheus that scrapes a Tuff under load"

build:
	@tools/setup
	@echo "make: building Tuff (cargo build --release)"
	@tools/cargo build --release --locked

run: build
	@echo "make: running $(TUFF) server $(CONF); end it with Ctrl-C"
	@exec $(TUFF) server $(CONF)

test:
	@tools/setup --test
	@echo "make: running the Rust tests (cargo test --release)"
	@tools/cargo test --release --locked
	@echo "make: building Tuff for the client tests (cargo build --release)"
	@tools/cargo build --release --locked
	@echo "make: running the client tests (tools/test-clients)"
	@tools/test-clients

check:
	@tools/setup
	@echo "make: checking the formatting (cargo fmt --check)"
	@tools/cargo fmt --check
	@echo "make: checking the lints (cargo clippy)"
	@tools/cargo clippy --release --locked --all-targets -- -D warnings

compare: build
	@tools/setup --test
	@tools/compare $(ARGS)

check-dashboard: build
	@tools/setup --prometheus
	@tools/check-dashboard $(ARGS)

measure-cold measure-calm measure-memory measure-start measure-cycles: build
	@tools/$@ $(ARGS)

measure-contention measure-messages: build
	@tools/setup --test
	@tools/$@ $(ARGS)
