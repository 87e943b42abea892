# Every target sets itself up on a fresh clone: a virtual environment in .venv with exactly the versions of
# requirements.lock (hashes checked), then s4al itself, editable. A second call finds it done.

# The first of these that is new enough; or say `make test PYTHON=/path/to/python`.
PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11 python,\
	$(shell $(p) -c 'import sys; sys.version_info >= (3, 11) and print("$(p)")' 2>/dev/null)))
BIN := .venv/bin
INSTALLED := .venv/.installed
RUN ?= runs/demo
# Without those that train for hours: make bench BENCHMARKS="label_efficiency learners"
BENCHMARKS ?= $(filter-out __init__ record label_efficiency learners roundtrip%,$(basename $(notdir $(wildcard benchmarks/*.py))))

export OMP_NUM_THREADS ?= 2
# Threads that spin while they wait make a busy machine ten times slower, and an idle one no faster.
export OMP_WAIT_POLICY ?= passive

.DEFAULT_GOAL := help
.PHONY: help install demo test lint check format bench roundtrip lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' Makefile

install: $(INSTALLED) ## set up .venv (the other targets do this by themselves)

demo: $(INSTALLED) ## two cycles of active learning on the embedded street scenes; a few minutes on two cores
	$(BIN)/s4al train $(RUN) --preset demo

test: $(INSTALLED) ## all tests
	OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=2 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

lint: $(INSTALLED) ## lint, format, types and the import contract
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/basedpyright
	$(BIN)/lint-imports --no-logo

check: lint test ## what CI runs

format: $(INSTALLED) ## format the code and sort the imports
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(INSTALLED) ## measure again, into benchmarks/results/
	@for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python -m benchmarks.$$name || exit 1; done

roundtrip: $(INSTALLED) ## regions to the real Label Studio and to other tools' own code, and back; a few minutes, a gigabyte
	$(BIN)/python -m benchmarks.roundtrip
	$(BIN)/python -m benchmarks.roundtrip_datumaro

lock: $(INSTALLED) ## renew requirements.lock from pyproject.toml
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --group dev \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links pyproject.toml --output-file requirements.lock

clean: ## remove .venv, caches and build output, keep runs
	rm -rf .venv .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find s4al tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# An installation that was cut short leaves .venv/.installing behind and starts afresh. pip, which comes with Python,
# fetches only uv, by the hash that the lock file has for it; uv installs the rest.
$(INSTALLED): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "s4al needs Python 3.11 or newer and found none; name one: make PYTHON=/path/to/python" >&2; exit 1; }
	@echo "Setting up .venv (once; the CUDA build of torch is a few gigabytes)"
	@test ! -e .venv/.installing || rm -rf .venv
	@mkdir -p .venv && touch .venv/.installing
	@test -x $(BIN)/uv || $(PYTHON) -m venv .venv || { echo "Python has no venv module; on Debian: apt install python3-venv" >&2; exit 1; }
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > .venv/uv.lock
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --require-hashes --requirement .venv/uv.lock
	@$(BIN)/uv pip install --python $(BIN)/python --compile-bytecode --require-hashes --requirement requirements.lock
	@$(BIN)/uv pip install --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@rm .venv/.installing
	@touch $@
