# Every command here does its own set-up: Python 3.11 and a package index are all it needs.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export HF_HUB_OFFLINE ?= 1

.PHONY: quickstart cluster-demo test test-slow fuzz lint format bench lock clean

$(VENV)/.installed: requirements.lock pyproject.toml
	@echo "Installing into $(VENV): this takes a few minutes and prints nothing"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

quickstart: $(VENV)/.installed  ## mine hard negatives from the docs of the Python standard library
	$(BIN)/python -m pipelines.quickstart prepare
	$(BIN)/hardneg mine configs/quickstart.yaml
	$(BIN)/python -m pipelines.quickstart show

cluster-demo: $(VENV)/.installed  ## a job on three Ray nodes and an object store on this machine, watched and checked
	$(BIN)/python -m infra.local.demo

lint: $(VENV)/.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

test: lint  ## lint, types, all tests but the slow ones
	$(BIN)/pytest

test-slow: $(VENV)/.installed  ## the tests that take minutes
	$(BIN)/pytest -m slow

fuzz: $(VENV)/.installed  ## thousands of damaged inputs, with a fresh seed, against a brute-force oracle: half an hour
	$(BIN)/python -m tests.fuzz --cases 3000

format: $(VENV)/.installed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/.installed  ## side by side with sentence-transformers; needs ../shared
	$(BIN)/python -m benchmarks.texts

bench-%: $(VENV)/.installed  ## the others: bench-vectors, bench-growth, bench-overhead, bench-select
	$(BIN)/python -m benchmarks.$*

lock:  ## write requirements.lock anew, from pyproject.toml, in an environment of its own
	rm -rf $(VENV)-lock && $(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
	$(VENV)-lock/bin/pip install --quiet --disable-pip-version-check --upgrade setuptools wheel '.[dev]'
	{ sed -n '/^#/p' requirements.lock; $(VENV)-lock/bin/pip freeze --all --exclude hardneg --exclude pip | sed 's/+cpu$$//'; } > requirements.lock.new
	mv requirements.lock.new requirements.lock
	rm -rf $(VENV)-lock

clean:
	rm -rf $(VENV) runs build *.egg-info .mypy_cache .ruff_cache .pytest_cache
