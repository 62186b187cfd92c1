# What people type. Everything it does is in deploy/ and can be run by hand.
.DEFAULT_GOAL := help
.PHONY: help demo demo-down demo-env test bench fmt lint

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## a fleet on this machine: simulator, coordinator, five lab servers (LOCAL=1: no root, no Docker)
	@LOCAL=$(LOCAL) deploy/demo/up.sh

demo-down: ## ends the demo and removes what it made
	@deploy/demo/down.sh

demo-env: ## lines for the shell: eval "$(make -s demo-env)"
	@deploy/demo/env.sh

test: ## everything: format, lints, unit, property, wire, conformance, the lab end to end
	@deploy/test.sh

bench: ## figures of BENCHMARKS.md, measured on this machine
	@deploy/bench.sh

fmt: ## formats the code
	cargo fmt --all

lint: ## format, clippy, licences, contract and shell scripts, without any test
	@deploy/test.sh --only lint
