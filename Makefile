# What people do with this repository. `make` alone prints it.
#
# Two variables move what is kept between calls: RIG_CACHE (the built control plane and tools, by default
# ~/.cache/everstep) and CARGO_TARGET_DIR (what cargo builds, by default target).

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo

.PHONY: help
help: ## print this
	@echo "make TARGET, where TARGET is one of:"
	@sed -nE 's/^([a-z-]+):.*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

.PHONY: deps
deps: ## install what is missing here: PostgreSQL's programs, Prometheus, a C compiler
	@.ci/deps

.PHONY: controlplane
controlplane: deps ## build etcd, kube-apiserver, kube-controller-manager and kubectl, once
	@e2e/controlplane/build >/dev/null

# The bench is built first: whatever its feature leaves behind, `everstep` is the one with the default features.
.PHONY: build
build: ## build release/everstep and release/everstep-bench in the target directory
	$(CARGO) build --locked --release --features bench --bin everstep-bench
	$(CARGO) build --locked --release --bin everstep

.PHONY: test
test: deps controlplane helm health-judge ## run all tests; PostgreSQL servers and control planes are started and stopped by them
	$(CARGO) test --locked

.PHONY: crds
crds: ## write crds/ and the chart's templates of them from the Rust types
	UPDATE_CRDS=1 $(CARGO) test --locked --test crds

.PHONY: helm
helm: deps ## build helm, once
	@e2e/tools/helm/build >/dev/null

.PHONY: health-judge
health-judge: deps ## build what judges health as Argo CD and Flux do, once
	@e2e/tools/health/build >/dev/null

.PHONY: image
image: deps ## build the image's static binary and check it; with a container engine, build the image
	@.ci/image

.PHONY: demo
demo: ## show the whole system at work on this machine; KEEP=1 leaves it up and says how to use it
	@e2e/demo/run

.PHONY: advisories
advisories: ## check the dependencies against the advisory database; needs a network beyond the package registries
	@.ci/run advisories
