# Two commands do everything: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
TESTED := $(VENV)/.installed-for-tests

.PHONY: demo test docs lint coverage dist test-install test-lowest clean

demo: $(READY)
	$(BIN)/rankfold demo --out runs/demo

# Tests start many processes, which would compile the package anew: bytecode is kept, whatever the environment says.
test coverage: export PYTHONDONTWRITEBYTECODE =

# A process for each processor core, and one thread in each: these networks are too small for more.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal

coverage: $(TESTED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal --cov

# The site, in build/site; warnings are errors, and nothing in it may be fetched from the network.
docs: $(TESTED)
	OMP_NUM_THREADS=1 NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	$(BIN)/python site_build/check.py build/site

lint: $(TESTED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# torch comes first and from the constraints file: a plain `pip install torch` may bring gigabytes of CUDA libraries.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rankfold needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

# What only tests need (Ray, ONNX, linters, the simulators that ours are checked against) stays out of the demo's way.
$(TESTED): $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# Wheel and sdist, whose descriptions are checked as the package index would.
dist: $(TESTED)
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/twine check --strict dist/*

# PYTHONS: of which an empty environment is made, each with the wheel alone.
PYTHONS ?= python3.11 python3.12 python3.13
test-install:
	test -d dist || $(MAKE) dist
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt scripts/test_install.sh $(PYTHONS)

# The lowest versions that pyproject.toml allows.
test-lowest:
	mkdir -p build
	$(PYTHON) scripts/lowest_versions.py > build/lowest.txt
	$(PYTHON) -m venv build/lowest
	build/lowest/bin/python -m pip install --quiet --constraint build/lowest.txt \
		--editable '.[search,channels,cluster,events,onnx]' pytest hypothesis
	build/lowest/bin/rankfold demo --epochs 1 --out build/lowest-demo
	OMP_NUM_THREADS=1 build/lowest/bin/python -m pytest -q -o filterwarnings= \
		tests/lowrank tests/plan tests/mapping tests/export/onnx

clean:
	rm -rf $(VENV) build dist .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
