# What a person types. `make help` lists it.
.DEFAULT_GOAL := help
CARGO ?= cargo

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | awk -F'\t' '{ printf "  make %-13s %s\n", $$1, $$2 }'

.PHONY: run
run: ## Show what scalegate does: the walkthrough admitted, the broken manifests refused
	$(CARGO) run --quiet -- try deploy/walkthrough
	$(CARGO) run --quiet -- try --expect-denied deploy/broken

.PHONY: demo
demo: ## Label a Deployment and see it scale, on a real control plane (6 minutes; needs Go). ENGINE=vllm: genuine vLLM
	ENGINE='$(ENGINE)' $(CARGO) test --test demo

.PHONY: test
test: ## Run every test
	$(CARGO) test

.PHONY: soak
soak: ## Rotate certificates and restart replicas under load, the long form of a release build (some minutes)
	SCALEGATE_TEST_SOAK=1 $(CARGO) test --release --test cluster rotation:: -- --test-threads=1 --nocapture

.PHONY: scale
scale: ## Label 10,000 Deployments on a real API server and measure a release build (needs some 15 minutes and 4 GB)
	$(CARGO) test --release --test scale

.PHONY: control-plane
control-plane: ## Build the control plane that the tests run against (once, some 8 minutes; needs Go)
	$(CARGO) test --quiet --test cluster -- --exact harness::assets::every_binary_of_the_control_plane_is_there

.PHONY: lint
lint: ## Clippy and rustdoc, warnings denied
	$(CARGO) clippy --all-targets -- -D warnings
	$(CARGO) clippy --test demo --test scale -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --no-deps

.PHONY: fmt
fmt: ## Format the code
	$(CARGO) fmt

.PHONY: doc
doc: ## Build the documentation of the code
	$(CARGO) doc --no-deps

.PHONY: bless
bless: ## Rewrite the golden files and the generated files after a change that was meant
	BLESS=1 $(CARGO) test

.PHONY: install-yaml
install-yaml: ## Rewrite deploy/install.yaml from the chart (needs helm, or Go to build it)
	deploy/render.sh

.PHONY: bench
bench: ## Count the instructions of one admission (needs valgrind)
	$(CARGO) bench
