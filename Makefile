# `make demo` and `make test` are the two that matter; `make help` lists all.
#
# Everything is built in the release profile: gRPC's C core takes minutes to compile, once for each profile.
#
# The tool is built with the transport http2, or with TRANSPORT=c-core, which needs CMake and a C++ compiler in addition.

CARGO ?= cargo
XTASK = $(CARGO) xtask
# STRICT=1 turns every skipped check into a failure.
export STRICT
# Where `make install` puts its files: scripts/install.sh.
export PREFIX LIBDIR DESTDIR
TOOL = $(or $(CARGO_TARGET_DIR),target)/release/fabric-gossip
DENY = -- -D warnings
# The library, the tool and the C interface, with every feature. Each step of `make test` that needs the C core uses this
# selection: another one has other features of dependencies, and compiles the library again.
ALL = --workspace --features host-server,fabric-gossip-cli/c-core

# The transport that the tool of `make build` and `make demo` has, and uses in the demonstration.
TRANSPORT ?= http2
TOOL_FEATURES = $(if $(filter c-core,$(TRANSPORT)),--features c-core)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help deps deps-all check-deps check-deps-all build install package demo test fmt fmt-check clippy doc xtask rules notices versions surface examples readme book roles screenshots conformance header capi capi-sanitize sanitize miri hostile interop shuttle valgrind bench bench-layer bench-transports nodes soak limits clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## Install what the tool's build lacks: a C compiler, pkg-config, OpenSSL's headers (root, or sudo without password)
	@scripts/deps.sh $(TRANSPORT)

deps-all: ## Install what all other targets need as well: CMake and a C++ compiler
	@scripts/deps.sh c-core

check-deps: ## Name what is missing for the tool, with the command to type; install nothing
	@scripts/deps.sh --check $(TRANSPORT)

check-deps-all: ## Name what is missing for all other targets
	@scripts/deps.sh --check c-core

build: check-deps ## Build the tool: target/release/fabric-gossip; TRANSPORT=c-core adds the C core
	$(CARGO) build --release -p fabric-gossip-cli $(TOOL_FEATURES)

install: check-deps ## Install tool, libraries, headers, man pages: PREFIX=/usr/local DESTDIR= TRANSPORT=http2
	@TRANSPORT=$(TRANSPORT) scripts/install.sh

demo: deps build ## Build the tool and run real peers on loopback: messages, acknowledgements, an impostor; TRANSPORT=c-core
	$(TOOL) demo --transport $(TRANSPORT)

# Checks that fail fast come first; the full test run comes last, so that its summary lines end the output.
test: deps-all fmt-check clippy doc xtask rules notices versions conformance surface examples readme limits shuttle capi book ## Run every check and test
	$(CARGO) test --release --no-default-features
	$(CARGO) test --release $(ALL)

fmt: ## Format the code
	$(CARGO) fmt --all

fmt-check: ## Check that the code is formatted
	@if $(CARGO) fmt --version >/dev/null 2>&1; then set -x; $(CARGO) fmt --all --check; \
	else . scripts/skip.sh; skip "formatting" "rustfmt is not installed (rustup component add rustfmt)"; fi

clippy: check-deps-all ## Lint everything, with and without the network; warnings are errors
	@if $(CARGO) clippy --version >/dev/null 2>&1; then set -ex; \
		$(CARGO) clippy --package xtask --all-targets $(DENY); \
		$(CARGO) clippy --release --no-default-features --all-targets $(DENY); \
		$(CARGO) clippy --release --workspace --all-targets $(DENY); \
		$(CARGO) clippy --release $(ALL) --all-targets $(DENY); \
	else . scripts/skip.sh; skip "lints" "clippy is not installed (rustup component add clippy)"; fi

doc: check-deps-all ## Build the documentation; warnings are errors
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --features host-server,testing --lib --no-deps

xtask: ## Test the checks themselves
	$(CARGO) test --package xtask


rules: ## Check the house rules: no async runtime, the place of unsafe code, the Rust version, the direction of imports
	@$(XTASK) rules

notices: ## Check that THIRD-PARTY.txt lists the code of others in the binaries, and that its licences are allowed
	@$(XTASK) notices --check

versions: ## Check that all files have the same version
	@scripts/release.sh check

conformance: ## Check that every row of docs/conformance.md has a test, and that the tests named in docs/ exist
	@$(XTASK) conformance

surface: check-deps-all ## Check that docs/public-api.txt lists the public items of the library
	@$(XTASK) surface --check

examples: check-deps-all ## Run the examples and compare their output with what they say
	@$(XTASK) examples

limits: check-deps-all ## Run the tool and an example with too few threads and file descriptors: each works or says so
	@$(CARGO) build --release $(ALL) --bins --example two_peers
	@$(XTASK) limits

package: check-deps ## Make what is distributed, and use each part in an empty prefix, root or environment (minutes)
	@scripts/package.sh

readme: build ## Compile the README's programs outside of the repository, and run its block against a live peer
	@$(XTASK) readme

# After `capi`, whose library the pages for other languages use; they are skipped without it. JAVA_HOME names a Java.
book: build ## Check the documentation site, and run the programs and commands of its guide
	@$(XTASK) book

roles: ## Follow the quick start of each role from a fresh clone in an empty home, without the C core (minutes)
	@$(XTASK) roles

screenshots: build ## Take the pictures in docs/images: the page of survey, and the tool on a terminal (Chromium)
	@scripts/screenshots.sh

header: ## Generate the C header from the doc comments of the C interface
	@$(XTASK) header

capi: check-deps-all ## Compare the C interface with its header, and run the C programs that use it
	@scripts/capi.sh

capi-sanitize: check-deps-all ## Run the C programs under AddressSanitizer and Valgrind (minutes)
	@scripts/capi.sh sanitize

sanitize: ## Run tests in memory and over HTTP/2 under ThreadSanitizer and AddressSanitizer (nightly, minutes)
	@scripts/sanitize.sh thread
	@scripts/sanitize.sh address

valgrind: check-deps-all ## Run tests over each transport under Valgrind: no error, nothing lost after the stop (minutes)
	@scripts/valgrind.sh

shuttle: ## Run the communication layer and HTTP/2 under a model checker that schedules its threads
	@scripts/shuttle.sh

miri: ## Run the unit tests without foreign code under Miri (nightly, minutes)
	@scripts/miri.sh

hostile: check-deps-all ## Measure what hostile peers cost in memory, threads and round trips: a table (minutes)
	@scripts/hostile.sh

interop: ## Run grpc-go's interoperability cases and h2spec against the HTTP/2 transport (Go, minutes)
	@scripts/interop.sh

# BENCH=--quick takes four minutes; docs/benchmark.md lists the other arguments.
bench: check-deps-all ## Measure threads beside async, bare transports and plain TLS: target/bench/table.md (20 minutes)
	$(CARGO) bench --bench side_by_side -- $(BENCH)

bench-layer: check-deps-all ## Measure the communication layer beside the bare transport (minutes)
	$(CARGO) bench --bench comm

bench-transports: check-deps-all ## Measure the transports alone, in turns: http2 against the C core (minutes)
	$(CARGO) bench --bench transports

# The library without the C core uses http2.
OVER = $(if $(filter c-core,$(TRANSPORT)),,--no-default-features --features http2)

nodes: check-deps ## Run 60 nodes in three processes, kill a third of them and let them return (minutes); TRANSPORT=c-core
	$(CARGO) bench $(OVER) --bench nodes

soak: check-deps ## Kill, freeze and restart nodes for MINUTES=60; fail if memory, threads or descriptors grow: target/soak
	$(CARGO) bench $(OVER) --bench soak -- --minutes $(or $(MINUTES),60)

clean: ## Remove what was built, the C core included: the next build takes its ten minutes again
	$(CARGO) clean
