# Two commands on a fresh machine: `make demo` and `make test`. Both make the environment in .venv first.
PYTHON ?= python3
BIN := .venv/bin
# The real data files of development and CI, where they are; the product does without them.
ifneq ($(wildcard ../shared/data),)
export STACKED_DAE_DATA ?= $(abspath ../shared/data)
endif
# One thread and one instruction set: the same bits on every x86-64 processor with AVX2, for tests/integration/test_golden.py.
PORTABLE_BITS := ATEN_CPU_CAPABILITY=avx2 MKL_CBWR=COMPATIBLE OMP_NUM_THREADS=1

.PHONY: help demo test slow check

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

demo: .venv/.done ## pre-train on real digits, fine-tune with 10 labels per class, compare with the control
	$(BIN)/python benchmarks/demo.py

test: .venv/.done ## the fast tests
	$(PORTABLE_BITS) $(BIN)/python -m pytest -m "not slow" -n auto --maxprocesses 8 --dist loadscope

slow: .venv/.done ## the slow tests on two workers, then the benchmarks alone
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "slow and not speed" -n 2 --dist loadscope --no-loadscope-reorder --durations 20
	$(BIN)/python -m pytest -m speed --durations 5

check: .venv/.done ## ruff (lint and format) and mypy (strict)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@
