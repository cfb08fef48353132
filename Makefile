# make demo: from a clone to a trained detector and its report.   make test: everything CI runs.
PYTHON ?= python3
BIN := .venv/bin
TEST_PROCESSES ?= 2

.PHONY: demo install test check lint types tests test-all test-kill test-gpu clean

demo: .venv/installed
	$(BIN)/vertebra demo detection

install: .venv/installed-dev

test: .venv/installed-dev check

check: lint types tests

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/mypy

# two processes by default; worksteal keeps the tests of a file, and so their fixtures, mostly in one of them
tests:
	$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist worksteal

test-all: .venv/installed-dev
	$(BIN)/python -m pytest -m "not gpu" --numprocesses $(TEST_PROCESSES) --dist worksteal

# random SIGKILLs in runs of every task, which are resumed and compared bit for bit; about half an hour
test-kill: .venv/installed-dev
	$(BIN)/python -m pytest -s -m slow tests/tools/test_kill.py

test-gpu:
	$(PYTHON) -m pytest -m gpu

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: setup.py | .venv/bin/python
	@echo "installing into .venv; torch is several GB, so the first time takes some minutes"
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/installed-dev: setup.py | .venv/bin/python
	@echo "installing into .venv; torch is several GB, so the first time takes some minutes"
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@ .venv/installed

clean:
	rm -rf .venv build ./*.egg-info .pytest_cache .mypy_cache .ruff_cache
