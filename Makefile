# Everything runs inside .venv, which the first target makes. Needs Python ≥3.11, a C compiler and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-peers
REFERENCE := $(or $(RECSYS_REFERENCE),../shared)
READY := $(VENV)/.ready
CLIENTS ?= 5000
RUN_DIR ?= demo-run
DEMO_DATABASE_URL ?= sqlite:///$(RUN_DIR)/operator.db
PORT ?= 8080
KEPT := $(wildcard $(RUN_DIR)/data)

.DEFAULT_GOAL := help
.PHONY: help demo test browser check format bench bench-quality soak docs pictures clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name it with: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[training,serving,dev]'
	@touch $@

# Not those of the shell: they may be a real operator's, and the demo's companies are made up.
demo: export RECSYS_DATABASE_URL := $(DEMO_DATABASE_URL)
demo: export RECSYS_JOURNAL_DIR := $(RUN_DIR)/journal
demo: export RECSYS_TIME_ZONE ?= Europe/Moscow
demo: $(READY) $(RUN_DIR)/bundles $(RUN_DIR)/.loaded ## simulate, train, load and serve the made-up operator; prints the portal's address
	@$(if $(KEPT),echo "Using the data and models kept in $(RUN_DIR)$(if $(filter-out file default,$(origin CLIENTS)),; CLIENTS=$(CLIENTS) counts in a new run only). To begin anew: rm -r $(RUN_DIR)")
	$(BIN)/recsys-serve run --bundles $(RUN_DIR)/bundles --port $(PORT) --portal

# Each step of the demo is kept.
$(RUN_DIR)/data: | $(READY)
	$(BIN)/recsys-train simulate --catalogue datasets/demo --world datasets/demo/worlds/typical.toml --out $@ --clients $(CLIENTS)

$(RUN_DIR)/bundles: | $(RUN_DIR)/data
	$(BIN)/recsys-train fit --data $(RUN_DIR)/data --config default --as-of 2026-11-01 --out $@

$(RUN_DIR)/.loaded: | $(RUN_DIR)/data
	$(BIN)/recsys-serve migrate
	$(BIN)/recsys-serve load $(RUN_DIR)/data
	@touch $@

# Tests start many processes: each reads compiled modules.
test: export PYTHONDONTWRITEBYTECODE =
test: $(READY) browser ## the whole test suite
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; \
	  else echo "The browser tests need Chromium; on Debian: sudo apt-get install chromium"; fi

check: $(READY) ## format, lint, types, import directions, known vulnerabilities
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/audit.py

format: $(READY) ## put the code in order
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench-quality: $(READY) $(PEERS)/.ready ## ours against open peers and against the truth of the made-up operator
	@[ -d "$(REFERENCE)/data" ] || echo "no public data at $(REFERENCE) (RECSYS_REFERENCE): the made-up operator alone"; \
	for name in $(if $(wildcard $(REFERENCE)/data),online-retail gov-site-services) demo; do echo "== $$name"; \
	  $(BIN)/python benchmarks/quality.py --dataset $$name --peers-python $(PEERS)/bin/python || exit 1; done

# RecTools pins NumPy 1: the peers have an environment of their own, and only files cross the border.
$(PEERS)/.ready: benchmarks/peers/requirements.txt benchmarks/peers/constraints.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -c benchmarks/peers/constraints.txt -r benchmarks/peers/requirements.txt
	@touch $@

bench: $(READY) ## every benchmark; each prints one JSON object as its last line
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

soak: $(READY) browser ## the long fault, fuzz and simulation runs
	$(BIN)/python -m pytest -q -m soak

docs: $(READY) ## write the reference of the code into build/reference
	$(BIN)/pdoc --docformat google --output-directory build/reference recsys training serving

pictures: $(READY) ## draw the pictures of docs/worlds.md anew and print its tables
	$(BIN)/python docs/draw_worlds.py

clean: ## remove the environment and the demo's data
	rm -rf $(VENV) $(PEERS) $(RUN_DIR)
