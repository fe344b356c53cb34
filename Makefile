# Everything a checkout can do. Needs Python 3.11 or newer, make and git; the rest goes into .venv, pinned and by hash.

PYTHON ?= python3
CORES ?= 2

UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# What the targets start (pytest, snakemake) starts further programs of the environment by name.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup demo plan report test test-slurm lint notebooks ui server bench lock clean-light

help:  ## Show the targets
	@echo "make <target> [PYTHON=python3.12] [CORES=8]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(INSTALLED)  ## Install everything into .venv, as requirements.lock pins it

# --python: another environment that is active in the user's shell is left alone. --compile-bytecode: once here, and not
# in each of the many short jobs where Python may not write its caches.
$(INSTALLED): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "riskweave needs Python 3.11 or newer with venv, and '$(PYTHON)' is not:" \
	       "`$(PYTHON) --version 2>&1`. Install one and name it, as in: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/python -m uv pip sync --quiet --python $(BIN)/python --require-hashes --compile-bytecode requirements.lock
	$(BIN)/python -m uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup  ## Run the demo study from raw files to its report (no network needed)
	$(BIN)/snakemake --cores $(CORES)
	@$(MAKE) --no-print-directory report

plan: setup  ## What a run would do, what was done before and by whom, and what it will cost
	$(BIN)/snakemake --cores $(CORES) --quiet all -- plan

report: setup  ## Write report.html: figures and tables of the demo study, with their captions
	$(BIN)/snakemake --cores $(CORES) --report report.html
	@echo "Open report.html in a browser; compare the runs with: make ui"

test: setup  ## Run all tests, on two processes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --ignore tests/slurm

test-slurm: setup  ## Run a study through a Slurm started on this machine (needs root, slurm-wlm and munge)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -v tests/slurm

lint: setup  ## Check style and workflow
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/snakemake --lint
	$(BIN)/python -m riskweave.study.reference --check
	$(BIN)/python envs/update.py --check

notebooks: setup  ## Execute the notebooks on results/ into results/notebooks/
	@mkdir -p results/notebooks
	$(BIN)/jupyter execute --output "$(CURDIR)/results/notebooks/{notebook_name}" notebooks/*.ipynb

server: setup  ## Run the team's tracking server from STORE (docs/tracking.md)
	$(BIN)/python -m riskweave.tracking server --store "$(or $(STORE),$(error Name a folder: make server STORE=/srv/riskweave))" $(OPTIONS)

ui: setup  ## Open MLflow on all runs recorded under results/
	$(BIN)/python -m riskweave.tracking ui

bench: setup  ## Measure riskweave beside its peers
	@set -e; for script in benchmarks/*.py; do echo "$$script"; OMP_NUM_THREADS=1 $(BIN)/python "$$script"; done

lock: setup  ## Resolve requirements.in anew (UPGRADE=1: to the newest versions) and all that is made from it
	UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/python -m uv pip compile --quiet --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url $(if $(UPGRADE),--upgrade) --override requirements.override \
	  requirements.in --output-file requirements.lock
	$(BIN)/python envs/update.py

clean-light:  ## Remove caches; results, the environment and Snakemake's memory of what ran stay
	rm -rf .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
