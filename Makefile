# speechunits: every step of the pipeline is a target. `make help` explains each.
#
#   make demo                                the whole pipeline on the embedded synthetic corpus
#   make pretrain RECIPE=recipes/mboshi.yaml CORPUS=path/manifest.tsv
#
# Variables: RECIPE, CORPUS (a manifest), SIZE=smoke, TORCH_INDEX (an index that has the torch build you want),
# PYTHON, OVERRIDES (key=value pairs handed to the stage).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV ?= .venv
SIZE ?=
RECIPE ?= recipes/demo$(if $(SIZE),-$(SIZE)).yaml
CORPUS ?=
OVERRIDES ?=
TORCH_INDEX ?=

# The comparison of objectives: defaults that finish in about two hours on one idle core; at full size
# `make objectives ENCODER=small BUDGET=40`, and `BUDGET=10 SEEDS=3`.
RECIPES ?= $(wildcard recipes/objectives/*.yaml)
BUDGET ?= 2
ENCODER ?= nano
SEEDS ?= 1
MINUTES ?=
OUT ?= results/objectives/$(if $(CORPUS),$(shell basename "$$(dirname '$(CORPUS)')"),synthetic)-$(ENCODER)-$(BUDGET)h
# Make's own functions for paths know no spaces.
PHONES = $(shell phones="$$(dirname '$(CORPUS)')/phones.tsv"; if [ -e "$$phones" ]; then echo "$$phones"; else echo null; fi)

SPEECHUNITS := $(VENV)/bin/speechunits
STAGE := $(RECIPE) $(if $(CORPUS),'corpus.manifest=$(CORPUS)') $(OVERRIDES)
INSTALLED := $(VENV)/.installed

# Tests multiply tiny matrices: a second thread gains nothing there, and waits wherever a core is busy.
TEST_THREADS := OMP_NUM_THREADS=1

.PHONY: help demo test test-slow check data pretrain units pseudotext transcribe finetune reduction report summary objectives evaluate bench gpu-check clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\nVariables: RECIPE=%s CORPUS=manifest.tsv SIZE=smoke TORCH_INDEX=URL OVERRIDES="key=value …"\n' '$(RECIPE)'

# The stamp depends on pyproject.toml: a second run starts at once, a changed dependency installs again.
$(INSTALLED): pyproject.toml
	@if [ -z "$(PYTHON)" ] || ! $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))'; then \
	  echo 'Python 3.11 or 3.12 is missing; on Debian or Ubuntu: sudo apt-get install python3 python3-venv' >&2; exit 2; fi
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo 'the venv module is missing; on Debian or Ubuntu: sudo apt-get install python3-venv' >&2; exit 2; fi
	@echo 'Installing into $(VENV) (torch is large: some minutes the first time)…'
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) \
	  --editable '.[units,train,synthetic,report,dev]'
	@touch $@

demo: $(INSTALLED)  ## synth → pretrain → units → pseudo-text → recogniser → reduction factor (SIZE=smoke: minutes)
	@$(SPEECHUNITS) run $(STAGE)

data: $(INSTALLED)  ## the recipe's corpus: synthesised, or checked where it lies
	@$(SPEECHUNITS) run $(STAGE) --only data

pretrain: $(INSTALLED)  ## pretrain the encoder on unlabelled speech (resumes by itself)
	@$(SPEECHUNITS) pretrain $(STAGE)

units: $(INSTALLED)  ## fit units on the encoder (and on MFCC), and score them where phones are known
	@$(SPEECHUNITS) run $(STAGE) --only units

pseudotext: $(INSTALLED)  ## fit the sentencepiece model over units
	@$(SPEECHUNITS) run $(STAGE) --only pseudotext

transcribe: $(INSTALLED)  ## write the units of the dev recordings (text, JSONL, TextGrid)
	@$(SPEECHUNITS) run $(STAGE) --only transcribe

finetune: $(INSTALLED)  ## fine-tune one recogniser at the headline budget and write asr.safetensors
	@$(SPEECHUNITS) finetune $(STAGE)

reduction: $(INSTALLED)  ## the sweep over label budgets, its curve, and the reduction factor
	@$(SPEECHUNITS) reduction $(STAGE)

report: $(INSTALLED)  ## the run as one HTML file: curves, factor, heat map, recordings to hear
	@$(SPEECHUNITS) run $(STAGE) --only report

summary: $(INSTALLED)  ## show the results of a finished run again
	@$(SPEECHUNITS) run $(STAGE) --only summary

objectives: $(INSTALLED)  ## every learner at one budget: table, figure (RECIPES, BUDGET in audio-hours, ENCODER, SEEDS, MINUTES, OUT; resumes)
	@$(if $(CORPUS),,$(SPEECHUNITS) run $(firstword $(RECIPES)) $(OVERRIDES) --only data)
	@$(SPEECHUNITS) compare $(RECIPES) $(if $(CORPUS),'corpus.manifest=$(CORPUS)' 'corpus.phones=$(PHONES)') pretrain.budget.hours=$(BUDGET) \
	  pretrain.encoder.size=$(ENCODER) $(OVERRIDES) --seeds $(SEEDS) $(if $(MINUTES),--minutes $(MINUTES)) --out '$(OUT)'

evaluate: $(INSTALLED)  ## units of MFCC, untrained, codebook and k-means side by side, both corpora (what a run holds)
	@$(VENV)/bin/python -m benchmarks.evaluate

test: $(INSTALLED)  ## linters, types and the fast tests (< 6 minutes)
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(TEST_THREADS) $(VENV)/bin/python -m pytest -q

test-slow: $(INSTALLED)  ## the slow tests: whole stages, kill -9, two ranks
	@$(TEST_THREADS) $(VENV)/bin/python -m pytest -q -m slow

check: test test-slow  ## everything that continuous integration runs

bench: $(INSTALLED)  ## this project beside its peers: tables, and JSON in runs/benchmarks (idle machine!)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@$(VENV)/bin/python -m benchmarks.limits
	@$(VENV)/bin/python -m benchmarks.pretrain
	@$(VENV)/bin/python -m benchmarks.finetune
	@$(VENV)/bin/python -m benchmarks.transcribe
	@$(VENV)/bin/python -m benchmarks.kmeans

gpu-check: $(INSTALLED)  ## tests that need a GPU, then its throughput beside the peers (< 8 minutes)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@$(VENV)/bin/python -m benchmarks.gpu_check

clean:  ## remove the virtual environment (runs/ stays)
	rm -rf $(VENV)
