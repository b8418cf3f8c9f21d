# Entry points. `make test` is what continuous integration runs.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := check

CARGO ?= cargo
SECONDS ?= 30
FILTER ?=
# Worlds of the simulator: of `make worlds`, and of those that `make test` takes beside the fixed ones (0: none).
SEEDS ?= 10000
FRESH_SEEDS ?= 25
# How many times as long as in `make test` the chaos of `make chaos` is.
ROUNDS ?= 10
# What `make test` does, the cheap first; ALSO adds to it.
STEPS := tools redis fmt clippy doc no-std core tokio smol blocking world $(if $(filter-out 0,$(FRESH_SEEDS)),fresh)
ALSO ?=
FUZZ_TARGETS := core journal records redact responses
CLIPPY := $(CARGO) clippy --locked
DENY_WARNINGS := -- -D warnings

.PHONY: check test $(STEPS) fresh api chaos worlds sabotage package minimal cost limits demo bench oracle fuzz fuzz-build coverage mutants deny

## The inner loop: format, lints, unit and property tests of the core.
check: tools fmt
	$(CLIPPY) --workspace --all-targets $(DENY_WARNINGS)
	$(CARGO) test --locked -p guard-agent-proto --features std

## Everything that must hold before a change lands, with a table of what it took.
test:
	@MAKE="$(MAKE)" tests/steps/run $(STEPS) $(ALSO)

tools:
	@command -v cc >/dev/null || { echo "A C compiler is missing: sudo apt-get install -y gcc libc6-dev" >&2; exit 1; }
	@$(CARGO) fmt --version >/dev/null || { echo "rustfmt is missing: rustup component add rustfmt" >&2; exit 1; }
	@$(CARGO) clippy --version >/dev/null || { echo "clippy is missing: rustup component add clippy" >&2; exit 1; }

## Redis for the tests, from the system's packages.
redis:
	@for tool in redis-server redis-sentinel redis-cli; do command -v $$tool >/dev/null || missing=1; done; \
	if [ -n "$${missing:-}" ]; then \
		install="apt-get install -y --no-install-recommends redis-server redis-sentinel redis-tools"; \
		sudo=$$([ "$$(id -u)" = 0 ] || echo "sudo -n"); \
		{ command -v apt-get >/dev/null && $$sudo apt-get update -q && RUNLEVEL=1 $$sudo $$install; } || { \
			echo "redis-server, redis-sentinel and redis-cli are missing: sudo $$install" >&2; exit 1; }; \
	fi

fmt:
	$(CARGO) fmt --all --check

# `--workspace` unifies features, which hides what a crate forgot to ask for; so each one is also checked alone, without
# what only its tests ask for.
clippy:
	$(CLIPPY) --workspace --all-targets --all-features $(DENY_WARNINGS)
	$(CLIPPY) -p guard-agent-proto --all-targets $(DENY_WARNINGS)
	$(CLIPPY) -p guard-agent-proto --all-targets --features std $(DENY_WARNINGS)
	$(CLIPPY) -p guard-agent-proto --all-targets --features redis $(DENY_WARNINGS)
	$(CLIPPY) -p guard-agent-proto --no-default-features $(DENY_WARNINGS)
	for crate in tokio smol blocking; do \
		$(CLIPPY) -p guard-agent-$$crate $(DENY_WARNINGS) && \
		$(CLIPPY) -p guard-agent-$$crate --no-default-features $(DENY_WARNINGS) || exit 1; \
	done

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --all-features

# For tests that wait more than they compute: to optimize what is ours would take longer than they do.
PLAIN := --config 'profile.dev.package.guard-agent-proto.opt-level=0' \
	--config 'profile.dev.package.guard-agent-tests.opt-level=0'

## The core without std.
core:
	$(CARGO) test --locked -p guard-agent-proto $(PLAIN)

## Each runtime as it is built alone: `--workspace` would lend it the features of the others. Most of its tests wait for
# processes and for time to pass, so more of them run than there are processors.
tokio smol blocking:
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-6} $(CARGO) test --locked -p guard-agent-$@ --all-features $(PLAIN)

# One choice of packages for all that is built of the simulator, so that it is built once.
WORLD := $(CARGO) test --locked -p guard-agent-proto -p guard-agent-tests --all-features

## The core with everything, and the world around it.
world:
	PROPTEST_CASES=$${PROPTEST_CASES:-256} $(WORLD)

## Worlds that the commit chooses, beside those that every run goes through.
fresh:
	WORLD="$(WORLD)" tests/steps/worlds $(or $(filter-out 0,$(FRESH_SEEDS)),25)

## The simulator through many worlds: `make worlds SEEDS=10000`, from FIRST or from those that the commit chooses.
worlds:
	WORLD="$(WORLD)" tests/steps/worlds $(SEEDS) $(FIRST)

## The conformance list against agents, transports and stores that are wrong on purpose, after the same for the invariants
## of the simulator. A short form of both belongs to `make test`.
sabotage:
	SIM_SABOTAGE=20 $(WORLD) --test simulation planted -- --nocapture
	$(CARGO) run --locked -p guard-agent-tests --all-features --bin sabotage

## Workers that are killed, suspended and replaced, for as long as it takes: `make chaos ROUNDS=10`.
chaos: tools redis
	for crate in tokio smol blocking; do \
		$(CARGO) build --locked -p guard-agent-$$crate --all-features $(PLAIN) --examples && \
		CHAOS_ROUNDS=$(ROUNDS) $(CARGO) test --locked -p guard-agent-$$crate --all-features $(PLAIN) --test 'chaos*' -- --nocapture || exit 1; \
	done

## The public API of each crate against what its public-api.txt lists.
api:
	tests/api/run

## The crates as they would be published, each built from its package.
package:
	$(CARGO) package --locked --workspace --exclude guard-agent-tests

## Each crate with the lowest versions of its own dependencies that it asks for. Needs the nightly toolchain.
minimal:
	@$(CARGO) +nightly --version >/dev/null 2>&1 || { \
		echo "make minimal: the nightly toolchain is missing; install it with: rustup toolchain install nightly" >&2; exit 1; }
	tests/minimal/run

## Each pipe while the system gives it no thread. Linux; as root it changes the user of the pipes.
limits:
	tests/limits/run

## What each runtime crate costs, as a table.
cost:
	tests/cost/run

no-std:
	tests/no-std/run

## A service, an attack, an outage and the accounting, on loopback.
demo: tools
	@echo "Building the demo; some two minutes the first time, on two cores."
	$(CARGO) build --locked -p guard-agent-tests --example demo
	@$(CARGO) run --locked --quiet -p guard-agent-tests --example demo

## Our own figures beside the peer's; `FILTER=name` runs some.
bench:
	@test -x tests/bench/run || { echo "make bench: tests/bench/run is not part of this checkout" >&2; exit 1; }
	FILTER="$(FILTER)" tests/bench/run

## Our requests, read by the reference agent.
oracle:
	@test -x tests/oracle/run || { echo "make oracle: tests/oracle/run is not part of this checkout" >&2; exit 1; }
	tests/oracle/run

fuzz-build:
	@$(CARGO) +nightly --version >/dev/null 2>&1 || { \
		echo "make fuzz: the nightly toolchain is missing; install it with: rustup toolchain install nightly" >&2; exit 1; }
	@$(CARGO) fuzz --version >/dev/null 2>&1 || { \
		echo "make fuzz: cargo-fuzz is missing; install it with: cargo install --locked cargo-fuzz" >&2; exit 1; }
	$(CARGO) +nightly fuzz build

## Every fuzz target, `SECONDS` each.
fuzz: fuzz-build
	for target in $(FUZZ_TARGETS); do \
		echo "fuzz $$target for $(SECONDS) s"; \
		$(CARGO) +nightly fuzz run $$target -- -max_total_time=$(SECONDS) -timeout=10 -max_len=65536 -print_final_stats=1; \
	done

## Line coverage of the workspace's tests.
coverage:
	@$(CARGO) llvm-cov --version >/dev/null 2>&1 || { \
		echo "make coverage: cargo-llvm-cov is missing; install it with: cargo install --locked cargo-llvm-cov" >&2; exit 1; }
	@test -n "$${LLVM_COV:-}" -a -n "$${LLVM_PROFDATA:-}" || rustup component list --installed | grep -q llvm-tools || { \
		echo "make coverage: set LLVM_COV and LLVM_PROFDATA to LLVM's tools of rustc's version, or: rustup component add llvm-tools" >&2; exit 1; }
	$(CARGO) llvm-cov --locked --workspace --all-features

## Mutants of the machines that decide, and which of them nothing notices. Hours; `make mutants SHARD=0/8` takes every
## eighth, `make mutants FILE=guard-agent-proto/src/backoff.rs` those of a file.
mutants:
	@$(CARGO) mutants --version >/dev/null 2>&1 || { \
		echo "make mutants: cargo-mutants is missing; install it with: cargo install --locked cargo-mutants" >&2; exit 1; }
	FILE="$(FILE)" SHARD="$(SHARD)" tests/steps/mutants

# Where `cargo deny fetch db` puts a copy of the RustSec database.
ADVISORIES ?= $(if $(CARGO_HOME),$(CARGO_HOME),$(HOME)/.cargo)/advisory-dbs

## Licences, sources and duplicates of the dependencies; known weaknesses too where there is a local copy of the database.
deny:
	@$(CARGO) deny --version >/dev/null 2>&1 || { \
		echo "make deny: cargo-deny is missing; install it with: cargo install --locked cargo-deny" >&2; exit 1; }
	$(CARGO) deny --locked check licenses bans sources
	@if ls -d "$(ADVISORIES)"/*/.git >/dev/null 2>&1; then \
		$(CARGO) deny --locked --offline check advisories; \
	else \
		echo "make deny: advisories were NOT checked: no copy of the RustSec database in $(ADVISORIES); make one with: cargo deny fetch db" >&2; \
	fi
