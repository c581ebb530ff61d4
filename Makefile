# Each target does all of its set-up: virtual environment, pinned packages, build. The second time it has nothing to set up.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check install --quiet --constraint constraints.txt
NATIVE := CMakeLists.txt $(wildcard graphnoise/kernels/*.cpp graphnoise/kernels/*.h)
DEMO ?= runs/demo

.PHONY: demo test lint format clean

demo: .venv/run
	$(BIN)/graphnoise data get cora
	$(BIN)/graphnoise bench nodes --dataset cora --method lp,sgc,gcn,gat,mlp --noise symmetric,pair,asymmetric \
	    --rate 0,0.1,0.2,0.3,0.4,0.5 --draws 10 --inits 1 --out $(DEMO)
	$(BIN)/graphnoise report $(DEMO) --plot $(DEMO)/accuracy.png

test: .venv/dev
	$(BIN)/pytest

lint: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: .venv/dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf .venv build

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/run: .venv/bin/python pyproject.toml constraints.txt $(NATIVE)
	$(PIP) --editable '.[plots]'
	touch $@

.venv/dev: .venv/run
	$(PIP) --editable '.[dev]'
	touch $@
