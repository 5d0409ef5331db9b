# `make demo` and `make test` do all the set-up themselves, in a virtual environment of their own.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt
# Scoring runs one thread a process; so do the tests. One of three processes mostly waits for NNI.
export OMP_NUM_THREADS := 1

.PHONY: demo test docs lint types clean

demo: $(VENV)/.demo
	$(BIN)/gennas search nasbench201 --trials 60 --sampler evolution --population 20 --workers 2 \
		--truth hpo-bench:cifar10 --truth hpo-bench:cifar100 --truth hpo-bench:imagenet16-120

test: $(VENV)/.test lint types
	$(BIN)/python -m pytest -n 3 --dist worksteal --durations 40 --durations-min 5

docs: $(VENV)/.docs
	$(BIN)/mkdocs build --strict

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test
	$(BIN)/mypy

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e ".[bench]"
	touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e ".[test]"
	touch $@

$(VENV)/.docs: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e ".[docs]"
	touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
