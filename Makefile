# Kith. `make help` lists what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help

TOOLS := target/tools
CARGO_DENY := 0.20.2
CARGO_SBOM := 0.10.0

.PHONY: help run init build test check golden simulate torture bench bench-quick lint sbom fmt demo demo-live servers latency clean-tables

help: ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | column -t -s "$$(printf '\t')"

build: ## build `kith` in release mode, and the demo beside it
	cargo build --release --bin kith --bin kith-demo

run: build ## build and start the whole suite in one process under ./.kith/
	target/release/kith run

demo: build ## load a real social graph, show it, check it against a recount (starts the suite if it is not up)
	target/release/kith-demo run $(DEMO)

servers: ## fetch Apache Kafka and Apache Cassandra from Maven for the live tests
	tests/servers/fetch

# What runs under test, so that nothing is built a second time.
TESTED := TESTED_KITH=$(CURDIR)/target/release/kith TESTED_DEMO=$(CURDIR)/target/release/kith-demo
demo-live: build servers ## the same over five processes, a real Kafka and a real Cassandra
	$(TESTED) cargo run --release --quiet --bin live -- run $(DEMO)

latency: build servers ## print the time from a post's OK to a follower's home feed over Kafka and Cassandra
	$(TESTED) cargo run --release --quiet --bin live -- latency

MINUTES ?= 30
torture: build servers ## for MINUTES (30): a third simulated seeds and planted defects, the rest real faults; tables at the end
	@failed=0; $(MAKE) --no-print-directory simulate SEEDS=$$(($(MINUTES) * 1000 / 3)) || failed=1; \
	$(TESTED) cargo run --release --quiet --bin torture -- \
		--minutes $$(($(MINUTES) * 2 / 3)) $(TORTURE) || failed=1; exit $$failed

BENCH := $(TESTED) cargo run --release --quiet --bin bench --
bench: build servers ## ceilings of this machine and the suite beside them, embedded and over Kafka and Cassandra; BENCH_ARGS=--help
	$(BENCH) $(if $(BENCH_ARGS),$(BENCH_ARGS),--json target/bench.json --chart docs/bench/latest.svg)

bench-quick: build ## six rows of it, embedded, in under a minute once built
	$(BENCH) --quick $(BENCH_ARGS)

test: ## every test, with real Kafka and Cassandra where Java and Maven are there; the slowest at the end
	tests/slowest 20 --workspace --no-fail-fast

CHECK_SEEDS ?= 200
check: ## the inner loop, without Kafka and Cassandra: unit tests, contracts and journeys embedded, 200 simulated seeds
	LIVE_TESTS=no tests/slowest 10 --workspace --lib --bins --tests -- --skip simulation:: --skip torture::
	cargo run --quiet --bin simulate -- --seeds $(CHECK_SEEDS) --jobs $$(nproc)

golden: ## write anew what the folds make of recorded histories, for each group whose folds_version was raised, and docs/rpcs.md
	WRITE_GOLDEN=yes cargo test -p kith-tests --test suite -- golden rpc_table

SEEDS ?= 10000
simulate: ## the whole suite in one thread against an adversary, 10,000 seeds (SEEDS=…); then every planted defect
	cargo build --release --quiet --bin simulate
	target/release/simulate --seeds $(SEEDS) --jobs $$(nproc)
	target/release/simulate --seeds 240 --planted all

lint: ## formatting, clippy, dependency rules, protos, manifests
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	@$(MAKE) --no-print-directory deny
	@deploy/check

.PHONY: deny
deny: $(TOOLS)/bin/cargo-deny
	$(TOOLS)/bin/cargo-deny --log-level error check bans licenses sources

# Without its link-time optimisation, which takes longer than all of its runs here.
$(TOOLS)/bin/cargo-deny:
	CARGO_PROFILE_DEV_DEBUG=false cargo install --quiet --locked --debug --root $(TOOLS) --version $(CARGO_DENY) cargo-deny

sbom: $(TOOLS)/bin/cargo-sbom $(TOOLS)/bin/cargo-deny ## what the binary `kith` is made of (CycloneDX), and the licences of it
	$(TOOLS)/bin/cargo-sbom sbom --cargo-package kith --output-format cyclone_dx_json_1_6 > target/kith.cdx.json
	$(TOOLS)/bin/cargo-deny --log-level error list > target/licenses.txt
	@echo "target/kith.cdx.json, target/licenses.txt"

$(TOOLS)/bin/cargo-sbom:
	CARGO_PROFILE_DEV_DEBUG=false cargo install --quiet --locked --debug --root $(TOOLS) --version $(CARGO_SBOM) cargo-sbom

fmt: ## format everything
	cargo fmt --all
