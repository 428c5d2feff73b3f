# `make demo` and `make test` are the two that matter; `make help` lists all.
#
# Everything is built in the release profile: gRPC's C core takes minutes to compile, once for each profile.

CARGO ?= cargo
TOOL = $(or $(CARGO_TARGET_DIR),target)/release/fabric-gossip
DENY = -- -D warnings
# The library, the tool and the C interface, with every feature. Each step of `make test` that needs the C core uses this
# selection: another one has other features of dependencies, and compiles the library again.
ALL = --workspace --features host-server

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help deps build demo test fmt fmt-check clippy doc rules examples readme conformance capi capi-sanitize sanitize miri hostile shuttle valgrind bench bench-layer nodes soak limits clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## Check for CMake, a C++ compiler, pkg-config and OpenSSL's headers; install what is missing if that is allowed
	@scripts/deps.sh

build: deps ## Build the tool: target/release/fabric-gossip
	$(CARGO) build --release -p fabric-gossip-cli

demo: build ## Build the tool and run its demonstration: peers on loopback, messages, acknowledgements, an impostor
	$(TOOL) demo

# What fails fast comes first; the full test run comes last, so that its summary lines end the output.
test: deps fmt-check clippy doc rules conformance examples readme limits shuttle capi ## Everything that must hold
	$(CARGO) test --release --no-default-features
	$(CARGO) test --release $(ALL)

fmt: ## Format the code
	$(CARGO) fmt --all

fmt-check: ## Check that the code is formatted
	@if $(CARGO) fmt --version >/dev/null 2>&1; then echo "$(CARGO) fmt --all --check"; $(CARGO) fmt --all --check; \
	else echo "SKIPPED: formatting, rustfmt is not installed (rustup component add rustfmt)"; fi

clippy: deps ## Lint everything, with and without the network; warnings are errors
	@if $(CARGO) clippy --version >/dev/null 2>&1; then set -ex; \
		$(CARGO) clippy --release --no-default-features --all-targets $(DENY); \
		$(CARGO) clippy --release --workspace --all-targets $(DENY); \
		$(CARGO) clippy --release $(ALL) --all-targets $(DENY); \
	else echo "SKIPPED: lints, clippy is not installed (rustup component add clippy)"; fi

doc: deps ## Build the documentation; warnings are errors
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --features host-server --lib --no-deps

rules: ## Check the house rules: no async runtime, unsafe code in src/rpc and capi/src only, dependencies for Rust 1.85
	@scripts/check-rules.sh

conformance: ## Hold the tests against the rows of docs/conformance.md
	@scripts/check-conformance.sh

examples: deps ## Run the examples and compare their output with what they say
	@scripts/check-examples.sh

limits: deps ## Run the tool and an example with too few threads and file descriptors: each works or says so
	@$(CARGO) build --release $(ALL) --bins --example two_peers
	@scripts/check-limits.sh

readme: build ## Run the README's block against a live peer
	@scripts/check-readme.sh

capi: deps ## Hold the C interface against its header, and run the C programs that use it
	@scripts/capi.sh

capi-sanitize: deps ## Run the C programs under AddressSanitizer and Valgrind (minutes)
	@scripts/capi.sh sanitize

sanitize: ## Run the tests over the network in memory under ThreadSanitizer and AddressSanitizer (nightly, minutes)
	@scripts/sanitize.sh thread
	@scripts/sanitize.sh address

valgrind: deps ## Run tests over gRPC under Valgrind: no error, nothing lost after the stop (minutes)
	@scripts/valgrind.sh

shuttle: ## Run the communication layer under a model checker that schedules its threads
	@scripts/shuttle.sh

miri: ## Run the unit tests without foreign code under Miri (nightly, minutes)
	@scripts/miri.sh

hostile: deps ## Measure what hostile peers cost in memory, threads and round trips: a table (minutes)
	@scripts/hostile.sh

# BENCH=--quick takes three minutes; docs/benchmark.md lists the other arguments.
bench: deps ## Measure threads beside async, the bare transport and plain TLS: target/bench/table.md (15 minutes)
	$(CARGO) bench --bench side_by_side -- $(BENCH)

bench-layer: deps ## Measure the communication layer beside the bare transport (minutes)
	$(CARGO) bench --bench comm

nodes: deps ## Run 60 nodes in three processes, kill a third of them and let them return (minutes)
	$(CARGO) bench --bench nodes

soak: deps ## Kill, freeze and restart nodes for MINUTES=60; fail if memory, threads or descriptors grow: target/soak
	$(CARGO) bench --bench soak -- --minutes $(or $(MINUTES),60)

clean: ## Remove what was built, the C core included: the next build takes its ten minutes again
	$(CARGO) clean
