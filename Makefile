# One environment in .venv, made from the lock files. Its stamps carry their checksum: a later run has nothing to do.

.DEFAULT_GOAL := help
.PHONY: help demo test test-hot-path lint bench bench-console reference screenshots venv compiled plain components lock clean

BIN := .venv/bin
SUM := $(shell cat requirements.lock requirements-dev.lock pyproject.toml | cksum | tr ' ' '-')
RUN := .venv/.run-$(SUM)
DEV := .venv/.dev-$(SUM)
PIP = PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip --quiet
# The distribution's own build first where it has venv: Debian's relays 5 % more than one built without its options.
PYTHON ?= $(shell for name in /usr/bin/python3 python3 python3.11 python3.12 python3.13 python3.14; do \
	$$name -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
ARGS ?=
# What the compiled hot path is made from, and the tests of it.
AGENT := $(shell find agent -name '*.py') agent/pyproject.toml
COMPILED := build/compiled/done
OF_THE_HOT_PATH := $(addprefix tests/agent/,intake delivery scheduling spool outcome) $(wildcard tests/agent/test_*.py) \
	tests/integration
# One more than there are processors, at most 4: half of the tests' time is waiting for processes.
WORKERS := $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$((n < 3 ? n + 1 : 4)))

help: ## say what can be made
	@sed -n 's/^\([a-z-]*\):[^#]*## /make \1@/p' $(MAKEFILE_LIST) | tr @ '\t' | expand -t 20

demo: $(RUN) $(wildcard $(COMPILED)) ## start the loopback fleet and open the console
	@exec $(BIN)/mailctl demo $(ARGS)

test: components lint $(wildcard $(COMPILED)) ## lint, types, import contract and all tests; ARGS go to pytest
	$(BIN)/pytest --numprocesses $(WORKERS) --dist worksteal $(ARGS)

test-hot-path: components $(DEV) $(wildcard $(COMPILED)) ## only the tests of what `compiled` compiles, and of whole agents
	$(BIN)/pytest --numprocesses $(WORKERS) --dist worksteal $(OF_THE_HOT_PATH) $(ARGS)

lint: $(DEV) ## ruff, mypy and the import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench-console: $(DEV) ## measure the console: hosts, keys, start, drain, status, replay, stopped; ARGS=keys picks
	$(BIN)/python -m bench.console $(ARGS)

bench: $(DEV) $(COMPILED) ## measure rates beside Postfix, latency, a million waiting, a Postfix queue, idling; ARGS=relay picks
	$(BIN)/python -m bench $(ARGS)

reference: $(RUN) ## write docs/reference-fleet-file.md again, from the structs
	$(BIN)/python -m mailagent.config.reference > docs/reference-fleet-file.md

screenshots: $(DEV) ## draw the screens again
	$(BIN)/python screenshots/make.py $(ARGS)

venv: $(RUN) ## make .venv with what running needs

compiled: $(COMPILED) ## compile the hot path of the agent: for hosts that send much

plain: ## remove what `compiled` made
	@rm -rf build/compiled && find agent -name '*.so' -delete

$(COMPILED): $(DEV) $(AGENT)
	@command -v cc >/dev/null && test -e "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" \
		|| { echo "a C compiler or Python's headers are missing: apt-get install gcc libc6-dev python3-dev" >&2; exit 1; }
	@echo "compiling the hot path; this takes a minute, and is needed again when it changes"
	@mkdir -p $(@D) && $(BIN)/python agent/hatch_build.py >$(@D)/log 2>&1 || { tail -30 $(@D)/log >&2; exit 1; }
	@find agent -name '*.so' -exec touch {} + && touch $@

$(RUN):
	@test -n "$(PYTHON)" \
		|| { echo "Python 3.11 or newer with venv is missing: apt-get install python3 python3-venv" >&2; exit 1; }
	@echo "making .venv; this is needed once"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@# twice quiet: dkimpy has no wheel, and how pip builds it is no warning to who installs it; errors are still told
	@$(PIP) --quiet install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@rm -f .venv/.run-* .venv/.dev-* && touch $@

$(DEV): $(RUN)
	@echo "adding what tests need"
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

components: # system programs that tests use; without CI a test that lacks one is skipped and says so
	@test "$(CI)" != true || .ci/components

lock: ## pin all dependencies again; ARGS=--upgrade takes newer ones
	@command -v uv >/dev/null || { echo "uv is missing: pipx install uv" >&2; exit 1; }
	uv pip compile $(LOCK) --group build -o requirements.lock pyproject.toml $(ARGS)
	uv pip compile $(LOCK) --group dev -c requirements.lock -o requirements-dev.lock pyproject.toml $(ARGS)

# Names, versions and hashes only: where packages come from is the reader's own business.
LOCK := --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links

clean: ## remove what was made
	find agent -name '*.so' -delete
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
