# Everything a fresh machine needs: Python 3.11 or newer with venv, a C++ compiler, and the package index.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test lint conformance clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt setup.py $(wildcard rwkv/ops/csrc/*)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch numpy setuptools wheel ninja
	$(BIN)/pip install --quiet --constraint constraints.txt --no-build-isolation --editable ".[dev]"
	touch $@

demo: install  ## the whole way on simulated learners, in rwkv-demo/
	$(BIN)/rwkv demo

test: install  ## all tests
	$(BIN)/pytest -n auto

lint: install  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

conformance: install  ## the vectors in RWKV_CONFORMANCE (default ../shared/conformance), with the largest differences
	$(BIN)/pytest tests/conformance

clean:  ## what install and demo made
	rm -rf .venv rwkv-demo build *.egg-info
