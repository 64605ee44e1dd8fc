# `make demo`: sets everything up on a fresh machine and runs the main job on real input.
# `make test`: sets everything up and runs every check.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SHELL := /bin/bash

SEED ?= 1

.PHONY: demo test search check format docs bench chaos clean

demo: $(VENV)/.installed-demo
	$(BIN)/batchmill run examples/identifiability.yaml
	$(BIN)/batchmill models pull smollm2
	$(BIN)/batchmill run examples/documents.yaml
	$(BIN)/batchmill export documents --shape files --format markdown

# without the weights, tests of the embedded model are skipped and say so
test: check
	-$(BIN)/batchmill models pull smollm2
	$(BIN)/python -m pytest -n 2 --randomly-seed=$(SEED) tests
	$(BIN)/python -m chaos --seconds 20 --seed 1
	$(BIN)/python -m chaos --llm --requests 200 --kills 3 --seed 1
	$(BIN)/python -m chaos --lanes --kills 2 --seed 1

# The properties again, in another order and on examples that no run has seen: for finding, not for gating.
search: $(VENV)/.installed-dev
	HYPOTHESIS_PROFILE=search $(BIN)/python -m pytest -n 2 tests

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check src tests benchmarks chaos examples
	$(BIN)/ruff check src tests benchmarks chaos examples
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev
	$(BIN)/ruff format src tests benchmarks chaos examples
	$(BIN)/ruff check --fix src tests benchmarks chaos examples

docs: $(VENV)/.installed-dev
	$(BIN)/python -m tests.docs.generate

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks

chaos: $(VENV)/.installed-dev
	$(BIN)/python -m chaos --seconds 120
	$(BIN)/python -m chaos --llm
	$(BIN)/python -m chaos --lanes --kills 12

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Batchmill needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[identifiability,documents,local,ocr]'
	$(BIN)/python -m compileall -q src
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	$(BIN)/python -m compileall -q src
	@touch $@ $(VENV)/.installed-demo

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
