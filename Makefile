# `make demo` and `make test` are all that a fresh clone needs: each makes its own virtual environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := --disable-pip-version-check --progress-bar off
# One more than there are processors: much of a test's time is spent waiting for servers that are silent on purpose.
# They take over tests from each other: the stories of the simulation are long, and come one after the other.
WORKERS ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))
# Real servers, and connections that are cut, keep their tests waiting for longer.
REST_WORKERS ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 3)))
# Keep bytecode, whatever the shell says: without it, each program that a test starts compiles all of actorsync again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test test-rest test-all check docs clean

demo: $(VENV)/demo
	$(BIN)/actorsync demo

# Minutes: everything that can break a promise, on embedded servers, sweeps in a short form. Run it before a commit.
test: check
	$(BIN)/pytest -n $(WORKERS) --dist worksteal -m 'not full'

# The rest, as CI runs it: real servers (.ci/install-servers), whole sweeps, many seeds.
test-rest: $(VENV)/servers
	ACTORSYNC_TESTS=all $(BIN)/pytest -n $(REST_WORKERS) --dist worksteal -m 'full or scaled'

test-all: test test-rest

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/installed
	$(BIN)/sphinx-build -W --keep-going -q docs docs/_build/html
	@echo docs/_build/html/index.html

# The demo needs a fraction of what the tests need, so it installs only that; pip names each package as it comes.
$(VENV)/demo: pyproject.toml
	@echo "making a virtual environment in $(VENV) and installing actorsync there: about half a minute"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP) --editable .
	touch $@

$(VENV)/installed: pyproject.toml
	@echo "making a virtual environment in $(VENV) and installing actorsync and its tools there: one to two minutes"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP) --editable '.[dev]'
	touch $@

# Servers written in Python, and clients of their protocols: only the tests against real servers need them.
$(VENV)/servers: $(VENV)/installed
	@echo "installing the servers that are written in Python: up to a minute"
	$(BIN)/python -m pip install $(PIP) --quiet --editable '.[dev,servers]'
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist docs/_build
