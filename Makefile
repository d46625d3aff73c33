# Everything this project does on one machine. `make help` lists it.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run run-scale demo test test-services test-all e2e lint generate torture bench bench-search bench-operator soak \
  bench-kafka kafka kafka-down run-kafka images push cluster cluster-down deploy programs lock dist clean

PYTHON ?= python3
BIN := .venv/bin
# `make run TORCH_BACKEND=cpu` takes PyTorch from PyTorch's own index, without hashes: the lock's are the CUDA build's.
TORCH_BACKEND ?=
# Other tests, and extra options for them, as in `make test TESTS=tests/unit ARGS='-k plan -x'`.
TESTS ?=
ARGS ?=
# The first tier of tests needs no service; the second has whole runs, a control plane, Kafka, Spark and wheels; the third
# real pods.
ALONE := tests/unit tests/repo tests/train tests/data_sources tests/local
# Of the second tier those with a control plane go first, by themselves: each process of pytest keeps what it has started
# to its end, and control planes are never idle.
CONTROL_PLANE := tests/cluster tests/chart
SERVICES := tests/browser tests/kafka tests/spark tests/install tests/mlflow
# Files stay whole, in their order.
SIDE_BY_SIDE := --dist loadfile --no-loadscope-reorder
UV_VERSION := 0.13.9
# Some machines forbid bytecode files; every start would then compile the project again.
unexport PYTHONDONTWRITEBYTECODE
export UV_COMPILE_BYTECODE := 1

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: .venv/run.stamp ## Run examples/search.yaml here: 18 trials on S&P 500 data
	$(BIN)/python -m trainer run examples/search.yaml

run-scale: .venv/run.stamp ## Find where memory runs out here: 1x to 200x, held in memory and streamed
	$(BIN)/python -m trainer run examples/scaletest.yaml
	$(BIN)/python -m trainer run examples/scaletest-streaming.yaml

demo: .venv/run.stamp ## Run a search and a scale test here, and say where their pages are
	$(BIN)/python -m trainer run examples/search.yaml
	$(BIN)/python -m trainer run examples/scaletest.yaml
	@printf '\nTwo pages to open in a browser:\n'; printf '  file://%s/runs/%s/report.html\n' "$$PWD" sp500-grid "$$PWD" sp500-scale

test: .venv/dev.stamp ## Test all that needs no service: minutes, without Go, Java or root
	$(BIN)/python -m pytest $(or $(TESTS),$(ALONE)) -m "not slow" --numprocesses 2 $(SIDE_BY_SIDE) $(ARGS)

test-services: .venv/dev.stamp .mlflow/mlflow.stamp programs ## Test whole runs, wheels, and with a control plane, Kafka, Spark and MLflow (Go, Java)
	$(BIN)/python -m pytest $(or $(TESTS),$(CONTROL_PLANE)) -m "service or slow" --numprocesses 4 $(SIDE_BY_SIDE) $(ARGS)
	$(if $(TESTS),,$(BIN)/python -m pytest $(SERVICES) $(ALONE) -m "service or slow" --numprocesses 3 $(SIDE_BY_SIDE) $(ARGS))

test-all: test test-services ## Test everything but real pods (make e2e)

generate: .lint/lint.stamp ## Write what follows from the models: crds/, the tables of docs/reference.md, the JSON Schema
	PYTHONPATH=.:operator .lint/bin/python -m scripts.generate

lint: .lint/lint.stamp ## Check style, types, the import arrows and generated files; needs no torch
	.lint/bin/ruff format --check .
	.lint/bin/ruff check .
	.lint/bin/mypy
	PYTHONPATH=.:operator .lint/bin/lint-imports
	PYTHONPATH=.:operator .lint/bin/python -m scripts.generate --check

torture: .venv/dev.stamp programs ## Run the long sweeps in full
	TRIALRUN_TORTURE=1 $(BIN)/python -m pytest -m torture $(ARGS)

bench: .venv/bench.stamp ## Compare speed side by side with plain loops and other systems
	$(BIN)/python -m benchmarks

bench-search: .venv/bench.stamp ## Measure searches that learn and stop early; one question by ARGS=stopping
	$(BIN)/python -m benchmarks.search $(ARGS)

bench-operator: .venv/dev.stamp programs ## Measure the operator with 5,000 trials on a real API server
	PYTHONPATH=.:operator:tests $(BIN)/python -m benchmarks.operator $(ARGS)

soak: .venv/dev.stamp programs ## Run experiments for an hour on a control plane, and see whether the operator's memory grows
	PYTHONPATH=.:operator:tests $(BIN)/python -m benchmarks.soak $(ARGS)

bench-kafka: .venv/dev.stamp ## Compare loading from a topic with a plain consume loop, on a broker of its own
	PYTHONPATH=.:tests $(BIN)/python -m benchmarks.kafka

kafka: .venv/dev.stamp ## Start a Kafka broker on 127.0.0.1:9092 (Java and Maven), until make kafka-down
	PYTHONPATH=tests $(BIN)/python -m kafka up

kafka-down: .venv/dev.stamp ## End it; nothing of it stays
	PYTHONPATH=tests $(BIN)/python -m kafka down

run-kafka: kafka ## Measure there how fast each format and compression loads: 120 trials of three workers
	$(BIN)/python -m trainer data publish examples/kafka-loading.yaml --replace
	$(BIN)/python -m trainer run examples/kafka-loading.yaml

images: ## Build both images with docker, podman or buildah (REGISTRY, BUILDER, BASE=stand-in: see scripts/images)
	scripts/images build

push: ## Push both images to REGISTRY
	scripts/images push

cluster: .venv/dev.stamp ## Start a Kubernetes with what runs jobs, and the chart: kind, or a node of our own
	PYTHONPATH=tests $(BIN)/python -m node up

cluster-down: .venv/dev.stamp ## End it; nothing of it stays
	PYTHONPATH=tests $(BIN)/python -m node down

deploy: ## Install on an existing cluster what is missing: training operator, volumes, chart (see scripts/deploy)
	scripts/deploy $(ARGS)

e2e: .venv/dev.stamp ## Test with real pods, on the cluster of `make cluster` or ARGS='--kubeconfig FILE'
	$(BIN)/python -m pytest tests/node --numprocesses 3 $(SIDE_BY_SIDE) $(ARGS)

programs: .venv/dev.stamp ## Build the Kubernetes programs that the tests need (Go, once, minutes)
	$(BIN)/python tests/cluster/programs/build.py

lock: .venv/uv.stamp ## Resolve requirements/*.txt anew from pyproject.toml
	scripts/lock

clean: ## Delete what make and the tests made
	rm -rf .venv .lint .mlflow dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# A wheel of the project, for `pip install dist/trialrun-*.whl`, with [trainer] to train.
dist: .venv/build.stamp ## Make a wheel in dist/ that needs no clone
	$(BIN)/python -m hatchling build --target wheel

.SECONDARY: .venv/uv.stamp .lint/uv.stamp .mlflow/uv.stamp .venv/build.stamp

%/uv.stamp:
	$(PYTHON) -m venv $*
	$*/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	touch $@

ifeq ($(TORCH_BACKEND),)
INSTALL = $(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r $<
else
PINS = sed -e '/--hash=/d' -e 's/ *\\$$//' -e '/^\(nvidia\|triton\|cuda\)/d' $<
INSTALL = $(PINS) | $(BIN)/uv pip install --quiet --python $(BIN)/python --torch-backend $(TORCH_BACKEND) -r -
endif

.venv/build.stamp: requirements/build.txt .venv/uv.stamp
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r $<
	touch $@

# The project is installed from where it is: `trialrun`, `python -m trainer` and `import trainer` work in any folder.
.venv/%.stamp: requirements/%.txt pyproject.toml .venv/build.stamp
	$(INSTALL)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -q trainer operator
	touch $@

.lint/%.stamp: requirements/%.txt .lint/uv.stamp
	.lint/bin/uv pip install --quiet --python .lint/bin/python --require-hashes -r $<
	touch $@

# MLflow's server, for tests; by itself, as it would hold other packages back.
.mlflow/%.stamp: requirements/%.txt .mlflow/uv.stamp
	.mlflow/bin/uv pip install --quiet --python .mlflow/bin/python --require-hashes -r $<
	touch $@
