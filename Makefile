# make demo   the whole path on the built-in phantom
# make test   lint, types, import rules and tests
# make env    what both need: system packages, .venv with every extra, NNCF's compiled extension, .venv-tflite
# make test-firmware   the controller's firmware: checked, fuzzed, and run in an emulator against this host
# make test-vm         what needs a kernel of its own: a camera, a hung kernel, sectors that cannot be read (x86_64), the unit under systemd
# make test-arm        the device's wheel on emulated aarch64, masks compared with those of this machine
# make test-packages   a wheelhouse, made from the package index and installed offline (a network)
# make test-images     the Debian package and the container images, built and run (root, Debian, a network)
# make fuzz MINUTES=5  coverage-guided fuzzing of everything that reads bytes from outside; a record as JSON
# make failures        docs/failures.md, from what the tests above left in build/rows
# make pages           the other generated pages: README's table, results, command line, configuration, Python, requirements
# make docs            the documentation as a site in build/site; a broken link fails

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete
OLD_VENV := .venv-tflite
OLD_STAMP := $(OLD_VENV)/.complete
OUT ?= demo
MINUTES ?= 5
export NNCF_EXTENSION_LOAD_TIMEOUT = 0

.PHONY: env demo test test-firmware test-vm test-arm test-packages test-images fuzz failures pages docs lint clean

env: $(STAMP) $(OLD_STAMP)

$(STAMP): pyproject.toml constraints.txt system-packages.txt
	PYTHON="$(PYTHON)" sh tools/make-env.sh $(VENV)
	touch $@

$(OLD_STAMP): pyproject.toml constraints.txt tools/make-env-tflite.sh | $(STAMP)
	sh tools/make-env-tflite.sh $(OLD_VENV) $(VENV)

demo: $(STAMP) $(OLD_STAMP)
	$(BIN)/edge-difom demo --out $(OUT) --force

# Tests that measure time or count on a core of their own run alone, behind the others.
test: lint $(OLD_STAMP)
	$(BIN)/python -m pytest -m "not booted and not alone" -n auto --maxprocesses 4 --dist loadfile --failure-rows=build/rows/suite.json
	$(BIN)/python -m pytest -m "alone and not booted" --failure-rows=build/rows/alone.json

test-firmware: $(STAMP)
	sh tools/test-firmware.sh $(BIN)/python --failure-rows=build/rows/firmware.json

test-vm: $(STAMP)
	$(BIN)/python -m tests.machines.vm --rows build/rows/vm.json
	$(BIN)/python -m pytest -m booted --failure-rows=build/rows/booted.json

test-arm: $(STAMP)
	$(BIN)/python -m tests.machines.arm --rows build/rows/arm.json

test-packages: $(STAMP)
	EDGE_DIFOM_WHEELHOUSE=1 $(BIN)/python -m pytest tests/install/test_packaging.py

test-images: $(STAMP)
	$(BIN)/python -m tests.machines.images

# Not in the environment of the tests: atheris has wheels for few systems.
fuzz: $(STAMP)
	$(BIN)/python -m pip install --quiet --group fuzz
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES)

failures:
	$(BIN)/python tools/failures.py build/rows docs/failures.md

pages: $(STAMP)
	$(BIN)/python -m benchmarks table
	$(BIN)/python tools/cli_page.py docs/cli.md
	$(BIN)/python tools/config_page.py docs/configuration.md
	$(BIN)/python tools/python_page.py docs/python.md
	$(BIN)/python tools/requirements_page.py docs/requirements.md

docs: $(STAMP)
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet --fresh-env -b html docs build/site

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --python-version 3.10 edge firmware_bridge
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) $(OLD_VENV) .venv-zcbor build dist
