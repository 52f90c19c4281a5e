# The two commands are `make demo` and `make test`; each sets itself up. They need Python 3.11+ with venv, and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What the system needs to run, and what its tests need besides.
READY := $(VENV)/.ready
LOCKED := $(VENV)/.locked
DEV_READY := $(VENV)/.dev-ready
# Demonstration data stays apart from yours, and generated bars apart from real ones.
DEMO_HOME = $(CURDIR)/.strikecast/$(if $(PRICES),prices,sample)
# Options for pytest, such as PYTEST="-k backup".
PYTEST ?=
# Two processes more than there are processors: many tests mostly wait.
WORKERS ?= $(shell expr $$(nproc) + 2)

.PHONY: demo test test-fast check bench screenshots lock clean

demo: $(READY)
	@STRIKECAST_HOME="$(DEMO_HOME)" $(BIN)/strikecast demo $(if $(PRICES),--prices "$(PRICES)") $(if $(ONCE),--once) $(if $(PORT),--port $(PORT))

test: $(DEV_READY)
	@$(BIN)/python tests/support/programs.py install
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST)

# For the inner loop: linter, types and unit tests.
test-fast: $(DEV_READY)
	@.ci/check "$(BIN)" fast
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile tests/unit -m "not slow" $(PYTEST)

# Everything that CI checks besides the tests.
check: $(DEV_READY)
	@.ci/check "$(BIN)"

bench: $(DEV_READY)
	@$(BIN)/python -m benchmarks

# The README's pictures, of a demonstration system in headless Chromium.
screenshots: $(DEV_READY)
	@$(BIN)/python tests/support/programs.py install
	@$(BIN)/python docs/screenshots.py

$(READY): $(LOCKED) pyproject.toml
	@"$(BIN)/uv" pip install --quiet --python "$(BIN)/python" --offline --no-deps --no-build-isolation --editable .
	@touch $(READY)

# From nothing, so that what a lock no longer lists is gone.
$(LOCKED): .ci/requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "strikecast needs Python 3.11 or newer, $(PYTHON) is " + sys.version.split()[0] + ": name another, as in make PYTHON=python3.12")'
	@echo "setting up $(VENV) (once)"
	@$(PYTHON) .ci/install.py --clear $(VENV) .ci/requirements.lock
	@touch $(LOCKED)

$(DEV_READY): $(READY) .ci/requirements-dev.lock
	@$(PYTHON) .ci/install.py "$(VENV)" .ci/requirements-dev.lock
	@touch $(DEV_READY)

# Hashes, but no addresses: the lock serves whichever index pip is set up with.
LOCK = $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --quiet
lock: $(READY)
	@$(LOCK) pyproject.toml --group setup --output-file .ci/requirements.lock
	@$(LOCK) --group dev --constraint .ci/requirements.lock --output-file .ci/requirements-dev.lock

clean:
	rm -rf $(VENV) .strikecast
