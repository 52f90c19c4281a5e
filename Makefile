# The main targets are `make demo` and `make test`; both create .venv. They need Python 3.11+ with venv, and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Stamps of the environment: with the package, with the locked dependencies, with the tools of tests and checks.
READY := $(VENV)/.ready
LOCKED := $(VENV)/.locked
DEV_READY := $(VENV)/.dev-ready
# Separate home folders for demonstrations with synthetic bars and with price files.
# PostgreSQL does not run as root, and its user cannot enter a checkout in root's own folder.
DEMO = $(if $(filter 0,$(shell id -u)),/var/lib/strikecast/demo$(subst /,-,$(CURDIR)),$(CURDIR)/.strikecast)
DEMO_HOME = $(DEMO)/$(if $(PRICES),prices,sample)
# Options for pytest, such as PYTEST="-k backup".
PYTEST ?=
# Two processes more than there are CPUs: many tests mostly wait.
WORKERS ?= $(shell expr $$(nproc) + 2)

.PHONY: demo workers test test-fast check audit bench screenshots reference lock clean

demo: $(READY)
	@STRIKECAST_HOME="$(DEMO_HOME)" $(BIN)/strikecast demo $(if $(PRICES),--prices "$(PRICES)") $(if $(ONCE),--once) $(if $(PORT),--port $(PORT))

# What `strikecast worker`, and a host with workers, need in addition: docs/workers.md.
workers: $(READY)
	@$(PYTHON) .ci/install.py "$(VENV)" .ci/requirements-workers.lock

test: $(DEV_READY)
	@$(BIN)/python tests/support/programs.py install
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST)

# Linter, types and fast unit tests.
test-fast: $(DEV_READY)
	@.ci/check "$(BIN)" fast
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile tests/unit -m "not slow" $(PYTEST)

# All checks of CI except the tests.
check: $(DEV_READY)
	@.ci/check "$(BIN)"

# Known vulnerabilities of the locked packages. Asks PyPI; an answer that is missing is an error.
audit: $(DEV_READY)
	@$(BIN)/uv tool run pip-audit --strict --disable-pip --require-hashes --progress-spinner off --requirement .ci/requirements-workers.lock

bench: $(DEV_READY)
	@$(BIN)/python -m benchmarks

# The README's pictures, of a demonstration system in headless Chromium.
screenshots: $(DEV_READY)
	@$(BIN)/python tests/support/programs.py install
	@$(BIN)/python docs/screenshots.py

# docs/settings.md from the model of the settings, docs/strike-table.schema.json from that of strike tables,
# assets/table_columns.json from the schema of an embedded server.
reference: $(READY)
	@$(BIN)/python docs/settings_reference.py >docs/settings.md
	@$(BIN)/python docs/strike_table_schema.py >docs/strike-table.schema.json
	@$(BIN)/python docs/table_columns.py assets/table_columns.json

$(READY): $(LOCKED) pyproject.toml
	@"$(BIN)/uv" pip install --quiet --python "$(BIN)/python" --offline --no-deps --no-build-isolation --editable .
	@touch $(READY)

# A new environment, without packages that the lock no longer lists.
$(LOCKED): .ci/requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "strikecast needs Python 3.11 or newer, $(PYTHON) is " + sys.version.split()[0] + ": name another, as in make PYTHON=python3.12")'
	@echo "setting up $(VENV) (once)"
	@$(PYTHON) .ci/install.py --clear $(VENV) .ci/requirements.lock
	@touch $(LOCKED)

$(DEV_READY): $(READY) .ci/requirements-dev.lock .ci/requirements-workers.lock
	@$(PYTHON) .ci/install.py "$(VENV)" .ci/requirements-workers.lock .ci/requirements-dev.lock
	@touch $(DEV_READY)

# With hashes, but without URLs, so that the lock works with any package index.
LOCK = $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --quiet
lock: $(READY)
	@$(LOCK) pyproject.toml --group setup --output-file .ci/requirements.lock
	@$(LOCK) pyproject.toml --extra workers --constraint .ci/requirements.lock --output-file .ci/requirements-workers.lock
	@$(LOCK) --group dev --constraint .ci/requirements-workers.lock --output-file .ci/requirements-dev.lock

clean:
	rm -rf $(VENV) .strikecast "$(DEMO)"
