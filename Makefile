# make demo   the whole path on the built-in phantom
# make test   lint, types, import rules and tests
# make env    what both need: system packages, .venv with every extra, NNCF's compiled extension, .venv-tflite

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete
OLD_VENV := .venv-tflite
OLD_STAMP := $(OLD_VENV)/.complete
OUT ?= demo
export NNCF_EXTENSION_LOAD_TIMEOUT = 0

.PHONY: env demo test lint check clean

env: $(STAMP) $(OLD_STAMP)

$(STAMP): pyproject.toml constraints.txt system-packages.txt
	PYTHON="$(PYTHON)" sh tools/make-env.sh $(VENV)
	touch $@

$(OLD_STAMP): pyproject.toml constraints.txt tools/make-env-tflite.sh | $(STAMP)
	sh tools/make-env-tflite.sh $(OLD_VENV) $(VENV)

demo: $(STAMP) $(OLD_STAMP)
	$(BIN)/edge-difom demo --out $(OUT) --force

test: lint $(OLD_STAMP)
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --python-version 3.10 edge firmware_bridge
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) $(OLD_VENV) build dist
