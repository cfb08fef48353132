# make demo: install, then train a detector on generated data and write its report.
# make test: install with development tools, then run lint, types and tests, as CI does (make check: without installing).
PYTHON ?= python3
BIN := .venv/bin
TEST_PROCESSES ?= 2

.PHONY: demo install test check lint types tests test-all test-kill test-gpu export-tables clean

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

# worksteal keeps most tests of a file in one process, so that module fixtures (trained runs) are made only once
tests:
	$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist worksteal

test-all: .venv/installed-dev
	$(BIN)/python -m pytest -m "not gpu" --numprocesses $(TEST_PROCESSES) --dist worksteal

# crash test: runs of every task are killed at random, resumed and compared bit for bit; about half an hour
test-kill: .venv/installed-dev
	$(BIN)/python -m pytest -s -m slow tests/tools/test_kill.py

# exports of every network, whose results are written into the tables of docs/export.md
export-tables: .venv/installed-dev
	EXPORT_TABLES=1 $(BIN)/python -m pytest -m slow tests/tools/test_export_matrix.py

# the system's Python: a GPU machine often has a torch build of its own. Only these files, since others need the peers
test-gpu:
	$(PYTHON) -m pytest -m gpu $$(grep -rl "mark\.gpu" tests --include="test_*.py")

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: setup.py | .venv/bin/python
	@echo "installing into .venv; torch is a download of several GB and takes some minutes"
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/installed-dev: setup.py | .venv/bin/python
	@echo "installing into .venv; torch is a download of several GB and takes some minutes"
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@ .venv/installed

clean:
	rm -rf .venv build ./*.egg-info .pytest_cache .mypy_cache .ruff_cache
