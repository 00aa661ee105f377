# `make help` lists the targets. Everything runs from .venv, which is made on the first call.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
# More at a time than cores: most tests wait for something most of the time. Each has servers of its own.
PYTEST := $(BIN)/python -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder
# What fails beside others is asked once more, alone: a machine that is slow for a minute is no fault of what is tested.
# What fails twice is red, and the first time stays in the output.
tested = $(1) $(PYTEST) $(2) $(ARGS) || { [ $$? = 1 ] && echo "What failed, once more and alone:" && \
	$(1) $(BIN)/python -m pytest --last-failed --last-failed-no-failures none --exitfirst $(2) $(ARGS); }

.PHONY: help up test lint format bench chaos requirements clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

up: .venv/.run ## start the real thing on http://127.0.0.1:8000   (make up ARGS="--port 8010")
	@exec $(BIN)/python manage.py up $(ARGS)

test: .venv/.dev ## run the whole test suite against throw-away servers, and on a cluster of three nodes what knows of shards   (make test CLUSTER=1: all of it there)
	@$(BIN)/python -m tests.browser
ifdef CLUSTER
	$(call tested,NOTIFY_TEST_CLUSTER=3 NOTIFY_SHARDS=64)
else
	$(call tested,NOTIFY_SHARDS=1)
	$(call tested,NOTIFY_TEST_CLUSTER=3 NOTIFY_SHARDS=64,-m "not one_shard_is_enough")
endif

lint: .venv/.dev ## ruff, mypy --strict, import rules, missing migrations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run

format: .venv/.dev ## let ruff format and mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.dev .venv-bench/.done benchmarks/express/node_modules/.done ## everything that is measured, side by side   (make bench ARGS="--only worker,accept")
	$(BIN)/python -m benchmarks $(ARGS)

chaos: .venv/.dev ## break everything at random for ten minutes, then look for every 202   (make chaos MINUTES=3 SEED=7 CLUSTER=1)
	@$(BIN)/python -m tests.chaos $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(if $(CLUSTER),--cluster) $(ARGS)

requirements: .venv/.dev ## pin anew what requirements*.in ask for
	$(BIN)/pip install --quiet pip-tools
	CUSTOM_COMPILE_COMMAND="make requirements" $(BIN)/pip-compile --quiet --strip-extras --upgrade \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file requirements.txt requirements.in
	CUSTOM_COMPILE_COMMAND="make requirements" $(BIN)/pip-compile --quiet --strip-extras --upgrade \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file requirements-tracing.txt requirements-tracing.in
	CUSTOM_COMPILE_COMMAND="make requirements" $(BIN)/pip-compile --quiet --strip-extras --upgrade \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file requirements-dev.txt requirements-dev.in
	CUSTOM_COMPILE_COMMAND="make requirements" $(BIN)/pip-compile --quiet --strip-extras --upgrade \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file requirements-bench.txt requirements-bench.in

clean: ## remove .venv and caches; var/, the data, stays
	rm -rf .venv .venv-bench benchmarks/express/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Notify needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv

.venv/.run: requirements.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/.dev: requirements-dev.txt .venv/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

# Those whom `make bench` measures us against: in places of their own, so that nothing of theirs is where Notify runs.
.venv-bench/.done: requirements-bench.txt | .venv/bin/python
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-bench.txt
	@touch $@

# Without Node.js the benchmark leaves Express out, and says so.
benchmarks/express/node_modules/.done: benchmarks/express/package-lock.json
	@command -v npm >/dev/null && npm ci --silent --no-audit --no-fund --prefix benchmarks/express || mkdir -p $(@D)
	@touch $@
