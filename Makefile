# Everything a newcomer or a maintainer runs. It needs Python >= 3.11, git and make; the rest it installs into .venv itself.
#
#   make demo            the kit's main job, end to end, on this machine
#   make test            the tests
#   make check           all that must hold before a change lands
#
# VENV=path chooses another virtual environment, PYTHON=path another interpreter.

VENV ?= .venv
BIN := $(VENV)/bin
SMOKE := $(VENV)-smoke

# The newest interpreter that the tests are run on, else any that is new enough. Each is tried, not only looked up: a version manager's
# stub is found and does not run, and some systems ship Python without venv.
USABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3.14 python3 python; do \
	if $$python -c '$(USABLE)' >/dev/null 2>&1; then echo $$python; break; fi; done)

INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt --build-constraint constraints.txt
# The tests start hundreds of processes: where the environment forbids bytecode each of them would compile the kit anew.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest
# Two workers: most machines have two cores to spare, and each worker collects all tests. `CI=1 make test` leaves nothing out.
# `make test PYTEST_ARGS='-k gate'` runs a selection in one process.
PYTEST_ARGS ?= --numprocesses 2 --dist worksteal

.NOTPARALLEL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- for users ---------------------------------------------------------------------------------------------------------------------

.PHONY: demo
demo: $(VENV)/.installed-demo ## play a tenant's story: license, plans, Stripe, webhooks, limits, an outage
	@$(BIN)/kuploy-saas-kit demo

.PHONY: test
test: $(VENV)/.installed-test ## run the tests
	$(PYTEST) $(PYTEST_ARGS)

# --- for maintainers ---------------------------------------------------------------------------------------------------------------

.PHONY: check
check: test gates ## everything that must hold: tests, lint, types, imports, docs, package

.PHONY: gates
gates: lint types imports docs smoke ## all of check but the tests

.PHONY: lint
lint: $(VENV)/.installed-dev ## ruff: rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

.PHONY: format
format: $(VENV)/.installed-dev ## let ruff mend what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: types
types: $(VENV)/.installed-dev ## mypy, strict
	$(BIN)/mypy

.PHONY: imports
imports: $(VENV)/.installed-dev ## import-linter: who may know whom
	$(BIN)/lint-imports --no-logo

.PHONY: coverage
coverage: $(VENV)/.installed-test ## branch coverage: all of the kit 95 %, the pure modules 100 %
	rm -f .coverage .coverage.*
	$(PYTEST) --cov --cov-report= --override-ini faulthandler_timeout=600 $(PYTEST_ARGS)
	$(BIN)/coverage report --fail-under=95
	$(BIN)/coverage report --fail-under=100 --include="$$($(BIN)/python tests/packaging/pure_modules.py)"

.PHONY: mutants
mutants: $(VENV)/.installed-test ## mutation testing of the pure modules of plans: some minutes
	$(INSTALL) --group mutation
	$(BIN)/mutmut run
	$(BIN)/mutmut results

.PHONY: contract
contract: ## hold the hub against its OpenAPI file with schemathesis
	$(MAKE) VENV=$(VENV)-contract $(VENV)-contract/.installed-contract
	$(VENV)-contract/bin/python -m pytest tests/hub/contract.py

.PHONY: fuzz-license
fuzz-license: $(VENV)/.installed-test ## try a million mutated license tokens
	$(BIN)/python -m tests.license.fuzz_tokens 1000000

.PHONY: fuzz-webhooks
fuzz-webhooks: $(VENV)/.installed-test ## try a million mutated webhook deliveries
	$(BIN)/python -m tests.stripe_provision.fuzz_webhooks 1000000

.PHONY: interleavings
interleavings: $(VENV)/.installed-test ## try every interleaving of two provisioning replicas: some minutes
	EXHAUSTIVE=1 $(PYTEST) -o faulthandler_timeout=0 --log-cli-level=INFO --log-disable=stripe -k test_every_interleaving tests/stripe_provision/test_interleavings.py

.PHONY: stripe-bounds
stripe-bounds: ## run the Stripe tests with the oldest and the newest package of the series that the kit accepts
	$(need-python)
	for wanted in 'stripe==16.0.0' 'stripe>=16,<17'; do \
		rm -rf $(VENV)-stripe && $(PYTHON) -m venv $(VENV)-stripe && \
		$(VENV)-stripe/bin/python -m pip install --quiet --upgrade 'pip>=25.3' && \
		grep -v '^stripe==' constraints.txt > $(VENV)-stripe/constraints.txt && \
		$(VENV)-stripe/bin/python -m pip install --quiet --constraint $(VENV)-stripe/constraints.txt --editable . --group test "$$wanted" && \
		$(VENV)-stripe/bin/python -m pip freeze | grep '^stripe==' && \
		$(VENV)-stripe/bin/python -m pytest $(PYTEST_ARGS) tests/stripe_provision tests/testing/stripe || exit 1; \
	done
	rm -rf $(VENV)-stripe

.PHONY: kill-license
kill-license: $(VENV)/.installed-test ## kill 400 processes per store while they write the license
	$(BIN)/python -m tests.license.kill_writes 400

OPERATIONS ?= 100000

.PHONY: soak-limits
soak-limits: $(VENV)/.installed-test ## 64 threads of 4 processes take and give back OPERATIONS times on each store (100,000)
	$(BIN)/python -m tests.adapters.soak $(OPERATIONS)

.PHONY: bench
bench: $(VENV)/.installed-test ## run the benchmarks
	@for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(BIN)/python "$$script" || exit 1; done

.PHONY: docs
docs: $(VENV)/.installed-dev ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

.PHONY: build
build: $(VENV)/.installed-dev ## build sdist and wheel into dist/
	rm -rf dist
	$(BIN)/python -m build --dependency-constraints-txt constraints.txt > $(VENV)/build.log 2>&1 || { cat $(VENV)/build.log; exit 1; }
	$(BIN)/twine check --strict dist/*

.PHONY: smoke
smoke: build ## try the built wheel in an empty environment
	rm -rf $(SMOKE)
	$(BIN)/python -m venv $(SMOKE)
	$(SMOKE)/bin/python -m pip install --quiet --constraint constraints.txt dist/*.whl
	$(SMOKE)/bin/python -I tests/packaging/import_guard.py kuploy_saas_kit kuploy_saas_kit.plans
	$(SMOKE)/bin/python -I -m kuploy_saas_kit --help > $(SMOKE)/help.txt
	$(SMOKE)/bin/kuploy-saas-kit --help | cmp - $(SMOKE)/help.txt
	rm -rf $(SMOKE)

# Every dependency group: dev holds most of them, some are installed only by a target of their own.
GROUPS = $(shell $(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"])')

.PHONY: constraints
constraints: ## resolve all extras and groups anew into constraints.txt
	$(need-python)
	$(PYTHON) -m venv $(VENV)-constraints
	$(VENV)-constraints/bin/python -m pip install --quiet uv
	echo '--editable .[all]' | $(VENV)-constraints/bin/uv pip compile - $(addprefix --group ,$(GROUPS)) --upgrade --universal \
		--python-version 3.11 --no-header --no-annotate --no-emit-package kuploy-saas-kit --quiet --output-file constraints.txt
	rm -rf $(VENV)-constraints

.PHONY: clean
clean: ## remove what the other targets made, and the virtual environment
	rm -rf $(VENV) $(SMOKE) $(VENV)-constraints $(VENV)-stripe build dist site .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache \
		.hypothesis benchmarks/out
	find src tests docs examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the virtual environment -------------------------------------------------------------------------------------------------------

define need-python
@[ -n "$(PYTHON)" ] || { echo "kuploy-saas-kit needs Python 3.11 or newer with venv; none was found. Try: make $@ PYTHON=/path/to/python3" >&2; exit 1; }
endef

# pip as it ships with Python 3.11 and 3.12 knows no --group.
$(VENV)/pyvenv.cfg:
	$(need-python)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.3'

# One stamp for each dependency group, so that a second run installs nothing.
$(VENV)/.installed-%: $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	$(INSTALL) --editable . --group $*
	@touch $@
