# assetq: `make run` is all that a machine with Python 3.11+ needs; `make help` lists the rest.
#
# Paths are relative and every command runs in this directory, so that spaces in it do no harm.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup run test-fast test test-browser screenshots lint fix peers bench history days \
  soak fuzz chaos chaos-long outages lock clean

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
FOR ?=
PLAN ?=
WORKERS ?=
# Three processes: the tests wait for servers more than they compute. One that crashes ends the run:
# xdist would wait for ever for the rest of its file.
TEST_PROCESSES ?= 3
ARGS ?=

# The stamp names the directory it was made in: a virtual environment does not survive a move.
ifneq ($(shell cat '$(STAMP)' 2>/dev/null),$(CURDIR))
.PHONY: $(STAMP)
endif

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s%s\n", $$1, $$2 }' Makefile

# The first interpreter that is new enough, or the one named: make setup PYTHON=/path/to/python3
define find_python
	for python in $(if $(PYTHON),"$(PYTHON)",python3 python3.14 python3.13 python3.12 python3.11 \
	    /usr/bin/python3 /opt/homebrew/bin/python3 /usr/local/bin/python3); do \
	  if "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
	      2>/dev/null; then break; fi; \
	  python=; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "assetq needs Python 3.11 or newer with its venv module, and found:" \
	    "$$("$(or $(PYTHON),python3)" --version 2>&1 | head -1)." \
	    "Install one (Debian/Ubuntu: also python3-venv) or name it: make setup PYTHON=/path/to/python3" >&2; \
	  exit 1; \
	fi
endef

# Runs again when the lock changed, or when it was interrupted.
$(STAMP): requirements-dev.txt pyproject.toml
	@$(find_python); \
	if [ -s $(STAMP) ] && [ "$$(cat $(STAMP))" != "$$(pwd -P)" ]; then rm -rf $(VENV); fi; \
	if [ ! -x $(BIN)/python ] || ! $(BIN)/python -c '' 2>/dev/null; then \
	  echo "making $(VENV) with $$("$$python" --version)"; \
	  rm -rf $(VENV) && "$$python" -m venv $(VENV); \
	fi
	@echo "installing the pinned dependencies (once, about a minute)"
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet --require-hashes \
	  -r requirements-dev.txt
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps \
	  --no-build-isolation --no-index --editable .
	@pwd -P > $(STAMP)

setup: $(STAMP) ## make .venv from the pinned and hashed dependencies
	@echo "ready: make run"

run: $(STAMP) ## run everything on this machine until Ctrl-C (FOR=90: for 90 s; PLAN=, WORKERS=)
	@exec $(BIN)/assetq up $(if $(FOR),--for $(FOR)) $(if $(PLAN),--plan $(PLAN)) \
	  $(if $(WORKERS),--workers $(WORKERS))

PYTEST := $(BIN)/python -m pytest -n $(TEST_PROCESSES) --max-worker-restart 0

test-fast: $(STAMP) ## run the tests that need no server: the inner loop, under 30 s
	@exec $(PYTEST) --dist worksteal -m "not slow and not server" tests/unit tests/fundamentals \
	  $(ARGS)

test: $(STAMP) ## run all tests, on real servers that they start: the gate (ARGS=-x)
	@exec $(PYTEST) --dist loadfile $(ARGS)

test-browser: $(STAMP) ## run the tests of the pages in Chromium, 3 min (CHROMIUM=/path, ARGS=)
	@exec $(BIN)/python -m pytest -rs tests/browser $(ARGS)

screenshots: $(STAMP) ## take the pictures of the pages in docs/ anew
	@exec $(BIN)/python -m tests.browser.screenshots docs

fix: $(STAMP) ## format the code and mend what ruff can mend
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

lint: $(STAMP) ## check style, types, and that imports run downwards
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

SEED ?= 1
soak: SECONDS ?= 345
soak: $(STAMP) ## put the quota under kills, delays and flushes for 6 min (SECONDS=, SEED=)
	@exec $(BIN)/python -m tests.chaos.soak --seconds $(SECONDS) --seed $(SEED)

# Exit code 1, and the promises that were broken, if any were.
chaos: SECONDS ?= 120
chaos: $(STAMP) ## kill, freeze, cut and restart everything for 2 min (SECONDS=, SEED=)
	@exec $(BIN)/python -m tests.chaos.run --seconds $(SECONDS) --seed $(SEED)

CHAOS_SEEDS ?= 1 2 3 4 5 6 7 8 9 10
chaos-long: SECONDS ?= 300
chaos-long: $(STAMP) ## do that with ten seeds, five minutes each
	@failed=; for seed in $(CHAOS_SEEDS); do \
	  $(BIN)/python -m tests.chaos.run --seconds $(SECONDS) --seed $$seed || failed="$$failed $$seed"; \
	done; test -z "$$failed" || { echo "promises were broken with seed$$failed" >&2; exit 1; }

# Damaged answers of the provider, and random inputs of the command.
COUNT ?= 10000
fuzz: $(STAMP) ## feed 10,000 damaged answers and 10,000 random inputs (COUNT=, SEED=)
	@$(BIN)/python -m tests.chaos.fuzz_provider --count $(COUNT) --seed $(SEED)
	@exec $(BIN)/python -m tests.chaos.fuzz_inputs --count $(COUNT) --seed $(SEED)

PEERS := .venv-peers
peers: $(STAMP) ## make .venv-peers: the queues that `make bench` compares assetq with
	@[ -x $(PEERS)/bin/huey_consumer ] || { $(BIN)/python -m venv $(PEERS) && \
	  $(PEERS)/bin/python -m pip --disable-pip-version-check install --quiet -r bench/peers.txt; }

bench: peers ## measure, beside floors and peers, and write docs/benchmarks.md (10 min)
	@exec $(BIN)/python -m bench $(ARGS)

history: $(STAMP) ## fetch two years of 95 assets and compare every value (half an hour; ARGS=)
	@exec $(BIN)/python -m bench.history $(ARGS)

days: ASSETS ?= 5
days: $(STAMP) ## live through outages, restarts, holidays and repairs on a moved clock (ASSETS=)
	@exec $(BIN)/python -m tests.proofs --assets $(ASSETS) $(ARGS)

outages: $(STAMP) ## take servers away from all processes, and fail over by Redis Sentinel
	@OUTAGES=1 exec $(BIN)/python -m pytest -s tests/acceptance/test_outages.py \
	  tests/chaos/test_sentinel.py

# Needs uv (https://docs.astral.sh/uv/), which nothing else here does.
lock: ## pin the dependencies of pyproject.toml anew
	@command -v uv >/dev/null || { echo "make lock needs uv: pip install uv" >&2; exit 1; }
	UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile pyproject.toml --universal \
	  --generate-hashes --no-emit-index-url --python-version 3.11 --quiet -o requirements.txt
	UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile pyproject.toml --universal \
	  --generate-hashes --no-emit-index-url --python-version 3.11 --quiet --extra dev \
	  -o requirements-dev.txt

clean: ## forget everything a clone does not have, `make run`'s data included
	rm -rf $(VENV) $(PEERS) .data build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
