# Two commands on a fresh machine: `make demo` and `make test`. Both set up everything by themselves.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(BIN)/uv
READY  := $(VENV)/.ready
ARGS   ?=
# No address in the locks: each machine asks the registry that it knows.
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --custom-compile-command "make lock"
TESTS  ?= tests/unit tests/integration tests/acceptance tests/chaos

.DEFAULT_GOAL := help
.PHONY: help demo up check test faults browser fmt lint docs audit lock clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## set up, start the embedded servers, run a mixed workload and check it (ARGS="--jobs 5000 --json")
	@$(BIN)/trivet demo $(ARGS)

up: $(READY) ## the whole stack in the foreground, until Ctrl-C
	@$(BIN)/trivet up $(ARGS)

# They start some hundred processes: each would compile our modules anew.
test faults browser: export PYTHONDONTWRITEBYTECODE :=

test: $(READY) ## every ring of tests, on real servers (TESTS=tests/unit to choose)
	@$(BIN)/pytest -n 3 $(ARGS) $(TESTS)

faults: $(READY) ## nodes, processes and Redis killed, frozen and cut off, and whole stacks, and all that is generated: half an hour
	@$(BIN)/pytest $(ARGS) tests/long tests/faults
	@TRIVET_TEST_TIMES=5 $(BIN)/pytest $(ARGS) -m generated tests/integration

browser: $(READY) ## Flower in a real Chromium: needs Debian's packages chromium and chromium-driver
	@SCREENSHOTS="$(SCREENSHOTS)" $(BIN)/pytest $(ARGS) tests/browser

check: $(READY) lint ## format, lint, types, layers, reference pages in step
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m docs.generate --check

lint: $(READY)
	@$(BIN)/ruff format --check --quiet || { echo "run: make fmt"; exit 1; }
	@$(BIN)/ruff check --quiet

fmt: $(READY) ## format the code and fix what can be fixed
	@$(BIN)/ruff check --fix --quiet || true
	@$(BIN)/ruff format --quiet

docs: $(READY) ## write the reference pages from the code
	@$(BIN)/python -m docs.generate

audit: $(READY) ## look the locked packages up in the vulnerability database (needs the network)
	@$(BIN)/pip-audit --require-hashes --disable-pip --requirement requirements.lock

lock: $(READY) ## renew both lock files from pyproject.toml
	@$(COMPILE) --upgrade --extra embedded --extra dev pyproject.toml -o requirements.lock
	@$(COMPILE) --constraint requirements.lock pyproject.toml -o requirements-runtime.lock

clean: ## stop the embedded servers and remove everything that was set up
	@test ! -x $(BIN)/trivet || $(BIN)/trivet dev stop
	@rm -rf $(VENV) .trivet

# The environment is made again when the lock or the project file changes.
$(READY): requirements.lock pyproject.toml
	@echo "setting up $(VENV) (first time: about a minute)"
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	  || { echo "Trivet needs Python 3.11 to 3.13; choose one with: make PYTHON=python3.12 ..." >&2; exit 1; }
	@test -x $(UV) || { $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9; }
	@$(UV) pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@
