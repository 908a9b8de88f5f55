.DEFAULT_GOAL := help
.PHONY: help demo test test-deploy test-image test-long image unit fuzz check format lint generated docs deny workflows generate prerequisites
MAKEFLAGS += --no-print-directory
CARGO ?= cargo
CRD := crds/migrationlinks.yaml
SCHEMA := deploy/schemas/migrationlink.dev/migrationlink_v1alpha1.json

# The tests that need a control plane are two programs, tests/cluster and tests/deploy. Every other program under tests/ needs none.
programs := $(wildcard tests/*.rs simulator/tests/*.rs) $(patsubst %/main.rs,%,$(wildcard tests/*/main.rs simulator/tests/*/main.rs))
unit_tests := $(patsubst %,--test %,$(filter-out cluster deploy,$(basename $(notdir $(programs)))))

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: prerequisites ## the operator on a real API server, step by step; ends with Ctrl-C, or by itself with ONCE=1
	@demo/run

test: prerequisites ## every test, those on a real API server included
	@tests/controlplane/obtain >/dev/null
	$(CARGO) test --workspace --locked --no-fail-fast

test-deploy: prerequisites ## the tests of what is under deploy/: chart, manifests, documented commands
	@tests/controlplane/obtain >/dev/null
	@for tool in helm kubeconform; do tests/tools/obtain $$tool >/dev/null || exit 1; done
	$(CARGO) test --locked --test deploy

test-long: export MIGRATIONLINK_LONG = 1
test-long: test ## every test, those that search with far more cases: hours

unit: prerequisites ## the tests that need no API server
	$(CARGO) test --workspace --locked --lib --bins $(unit_tests)
	$(CARGO) test --workspace --locked --doc

image: ## the container image as an OCI archive, target/image/image.tar; no container tool takes part
	@deploy/image/build

test-image: prerequisites ## builds the image twice, compares the two and tests it; takes root
	@cd deploy/image && GOWORK=off CGO_ENABLED=0 go test ./...
	@tests/image/run

fuzz: ## the fuzzers, one after the other: a minute each, or SECONDS=600; TARGETS="challenge secret" for some of them
	@SECONDS_EACH=$(or $(SECONDS),60) .ci/fuzz $(TARGETS)

check: format lint generated docs deny workflows ## formatting, clippy, generated files, documentation, dependencies, workflow files

format:
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check

lint:
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

generated:
	@$(CARGO) run --quiet --locked -- crd | cmp - $(CRD) || { echo "$(CRD) is not what the code says: run 'make generate'" >&2; exit 1; }
	@$(CARGO) run --quiet --locked --example schema | cmp - $(SCHEMA) || { echo "$(SCHEMA) is not what the CRD says: run 'make generate'" >&2; exit 1; }

docs:
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --locked

deny:
	@.ci/deny

workflows:
	@"$$(tests/tools/obtain actionlint)" -color=false

generate: ## writes the files that are made from the code and from the chart
	@mkdir -p $(dir $(CRD))
	$(CARGO) run --quiet --locked -- crd > $(CRD).new
	@mv $(CRD).new $(CRD)
	@mkdir -p $(dir $(SCHEMA))
	$(CARGO) run --quiet --locked --example schema > $(SCHEMA).new
	@mv $(SCHEMA).new $(SCHEMA)
	MIGRATIONLINK_CAPTURE=1 $(CARGO) test --quiet --locked --lib captured
	MIGRATIONLINK_GENERATE=1 $(CARGO) test --quiet --locked --test deploy generated::what_is_made

prerequisites:
	@tests/controlplane/prerequisites
