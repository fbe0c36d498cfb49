# make run    sets up .venv and does the main job: trace, dump, emit and evaluate a multi-modal network
# make test   sets up .venv and runs lint, types and the quick tests; make test-all adds the slow ones (minutes)
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test test-all check clean
run: .venv/.installed
	$(BIN)/mmsim run av_mnist --arch rtx_2080_ti --arch jetson_nano --out out/av_mnist

test: check
	$(BIN)/pytest -n 2

test-all: check
	$(BIN)/pytest -n 2 -m "slow or not slow"

check: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[test]"
	touch $@

clean:
	rm -rf .venv out build *.egg-info
