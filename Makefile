# make demo   the whole path on the built-in phantom
# make test   lint, types, import rules and tests
# make env    what both need: system packages, .venv with every extra, NNCF's compiled extension

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete
OUT ?= demo
export NNCF_EXTENSION_LOAD_TIMEOUT = 0

.PHONY: env demo test lint check clean

env: $(STAMP)

$(STAMP): pyproject.toml constraints.txt system-packages.txt
	PYTHON="$(PYTHON)" sh tools/make-env.sh $(VENV)
	touch $@

demo: $(STAMP)
	$(BIN)/edge-difom demo --out $(OUT) --force

test: lint
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --python-version 3.10 edge firmware_bridge
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) build dist
