# `make demo` and `make test` are all a fresh machine with Python 3.11+ and make needs.
PYTHON ?= python3
ARCHIVE ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.from-lock
RANGE := from market_data.settings import load_settings; from market_data.sessions import sessions_between; \
  w = load_settings(); d = sessions_between(w.window_start, w.window_end); print(f"{d[0].date()}...{d[-1].date()}")
export DAGSTER_HOME := $(CURDIR)

.PHONY: help demo test test-long test-browser test-clients lint bench ui venv clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 10

venv: $(STAMP) ## make .venv from the pinned, hashed lock

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else "Python 3.11 to 3.13 is needed; name one: make PYTHON=python3.12 ...")'
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: venv ## five years of the whole universe, synthetic; or of a real archive with ARCHIVE=path
	$(BIN)/market-data demo $(if $(ARCHIVE),--archive "$(ARCHIVE)")
	@echo "now the same through Dagster, which asks for nothing again, so that the UI shows it (log: runtime/demo-dagster.log)"
	@$(if $(ARCHIVE),true,$(BIN)/dagster asset materialize --select corporate_actions -m market_data.definitions \
	  > runtime/demo-dagster.log 2>&1) || { tail -n 20 runtime/demo-dagster.log; exit 1; }
	@$(if $(ARCHIVE),MARKET_DATA_ARCHIVE="$(ARCHIVE)") $(BIN)/dagster asset materialize --select 'group:daily_prices or key:features_daily' \
	  --partition-range "$$($(BIN)/python -c '$(RANGE)')" -m market_data.definitions > runtime/demo-dagster.log 2>&1 \
	  && echo "done; next: $(if $(ARCHIVE),,$(BIN)/market-data plot NKE, )$(BIN)/market-data report --format html, make ui" || { tail -n 20 runtime/demo-dagster.log; exit 1; }

test: venv ## the test suite, but for what takes long or needs a browser or another client
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not long and not browser and not clients"

test-long: venv ## months played through, kills by the dozen, 249 symbols over faulty vendors
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m long

test-browser: venv ## the Dagster UI and the report, driven in Chromium (Debian: apt-get install chromium)
	$(BIN)/python -m pytest -m browser

test-clients: venv ## zipline and qlib read what is exported, each in an environment of its own (once 5 minutes, 2 GB)
	$(BIN)/python -m pytest -m clients

lint: venv ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: venv ## speed and memory beside a plain DuckDB bulk load of the same files
	$(BIN)/python -m market_data_tests.benchmarks

ui: venv ## the Dagster UI on http://127.0.0.1:3000
	$(BIN)/dagster dev --host 127.0.0.1 --port 3000

clean: ## remove .venv and caches; runtime/ is kept
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache build *.egg-info
