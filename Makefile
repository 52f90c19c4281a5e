# The two commands are `make demo` and `make test`; each sets itself up. They need Python 3.11+ with venv, and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LOCKED := $(VENV)/.locked
# Demonstration data stays apart from yours, and generated bars apart from real ones.
DEMO_HOME = $(CURDIR)/.strikecast/$(if $(PRICES),prices,sample)

.PHONY: demo test check bench lock clean

demo: $(READY)
	@STRIKECAST_HOME="$(DEMO_HOME)" $(BIN)/strikecast demo $(if $(PRICES),--prices "$(PRICES)") $(if $(ONCE),--once) $(if $(PORT),--port $(PORT))

test: $(READY)
	@$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# Everything that CI checks besides the tests.
check: $(READY)
	@.ci/check $(BIN)

bench: $(READY)
	@$(BIN)/python -m benchmarks

$(READY): $(LOCKED) pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

$(LOCKED): requirements.lock
	@echo "setting up $(VENV) (once; a minute or two)"
	@$(PYTHON) -c 'import sys; sys.exit("strikecast needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@touch $(LOCKED)

# Hashes, but no addresses: the lock serves whichever index pip is set up with.
lock: $(READY)
	@$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
		--no-annotate --no-header --quiet --output-file requirements.lock

clean:
	rm -rf $(VENV) .strikecast
