# The table of contents. `make` alone prints it.
SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help demo demo-down test soak bench bench-mongo fmt lint deny crds chart clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## The main job on a real local cluster, from nothing to a synced status on screen (CLUSTER=current: on yours)
	@dev/demo

demo-down: ## Removes what the demo made
	@dev/demo-down

test: ## All tests, each requirement at least once, with the time of each suite (SUITES="store api": only those)
	@tests/run

soak: ## The long counts; figures for docs/soak.md
	@bench/soak

bench: ## Side by side and at scale; figures for docs/benchmarks.md
	@bench/run

bench-mongo: ## A standby beside a driver's loop, its distance, its activations
	@bench/mongo

fmt: ## Formats the code
	cargo fmt

lint: ## Formatting and clippy, as CI has them
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings

deny: ## Licences, banned crates and sources of all dependencies
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny --version 0.18.5
	cargo deny --offline check bans licenses sources

crds: ## Writes crds/ from the types in src/api
	cargo run --quiet --locked -- crds --dir crds

chart: crds ## Writes the chart's CRDs and the plain manifests in deploy/
	@charts/generate

clean: ## Removes builds; `make demo-down` removes what runs
	cargo clean
