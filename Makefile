# Two commands matter: `make run` and `make test`. Both set up what they need under .tools and say so.
.DEFAULT_GOAL := help
SHELL := /bin/bash
CARGO ?= cargo
TOOLS := $(CURDIR)/.tools
export PATH := $(TOOLS)/bin:$(PATH)

.PHONY: help
help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: setup build ## start a whole cluster on regtest, show a peg-in and a peg-out, stay up until Ctrl-C
	@target/debug/alys-demo --stay

.PHONY: demo
demo: setup build ## the same, but ends: 0 when every balance on both chains is exactly right
	@target/debug/alys-demo

.PHONY: test
test: setup setup-test ## unit, core-table, property and end-to-end tests over real processes
	@echo "== building the binaries the tests start"
	@$(CARGO) build --locked --bin alys --bin alys-demo
	@echo "== running all tests"
	@RUST_LIB_BACKTRACE=0 $(CARGO) nextest run --locked --workspace

.PHONY: generate
generate: ## write deploy/systemd and deploy/kubernetes anew from deploy/topology
	@$(CARGO) build --locked --bin alys
	@rm -rf deploy/systemd deploy/kubernetes
	@target/debug/alys generate systemd $(addprefix --topology ,$(wildcard deploy/topology/*.toml)) --out deploy/systemd
	@target/debug/alys generate kubernetes $(addprefix --topology ,$(wildcard deploy/topology/*.toml)) --out deploy/kubernetes

.PHONY: release-schema
RELEASE ?= HEAD
release-schema: ## on a release: keep the schema of the messages at commit RELEASE, which the next release must still read
	@set -e; folder=$$(mktemp -d); trap 'rm -r "$$folder"' EXIT; git archive $(RELEASE) proto/proto | tar -x -C "$$folder"; \
	ALYS_RELEASE_SCHEMA="$$folder/proto/proto" $(CARGO) nextest run --locked -p alys-proto --test compatibility everything_that_was_released_is_still_there

.PHONY: lint
lint: ## formatting and clippy, warnings are errors
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

.PHONY: fuzz
FUZZ_SECONDS ?= 600
fuzz: ## search every decoder of foreign bytes for a broken promise, FUZZ_SECONDS (600) each
	@tests/tools/fuzz.sh $(FUZZ_SECONDS)

.PHONY: bench
bench: setup ## figures of docs/benchmarks.md, ratios against baselines of the same run
	@$(CARGO) build --locked --bin alys --bin alys-demo --bin alys-bench
	@target/debug/alys-bench

.PHONY: build
build: ## build the binary and the demonstration
	@echo "== building (the first time: about 15 minutes on 2 cores, mostly dependencies)"
	@$(CARGO) build --locked --bin alys --bin alys-demo

.PHONY: setup
setup: ## install a Bitcoin regtest node into .tools, unless there is one
	@tests/tools/install-bitcoind.sh

.PHONY: setup-test
setup-test: ## install what only the tests need into .tools: cargo-nextest, wallet tools, schemas, a small Debian
	@tests/tools/install-test-tools.sh

.PHONY: clean
clean: ## remove build results and run data; keeps .tools
	@rm -rf target .run
