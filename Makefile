# make run    sets up .venv and does the main job: trace, dump, emit and evaluate a multi-modal network
# make test   sets up .venv and runs every check
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test check clean
run: .venv/.installed
	$(BIN)/mmsim run av_mnist --arch rtx_2080_ti --arch jetson_nano --out out/av_mnist

test: check
	$(BIN)/pytest -n 2

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
