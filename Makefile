# `make demo` and `make test` are all the set-up there is; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# make test VENV=.venv-2.8 TORCH=2.8.0: with another torch than constraints.txt's, in an environment of its own
TORCH ?=
# make test JOBS=8: in so many processes
JOBS ?= 2
CONSTRAINTS := $(if $(TORCH),$(VENV)/constraints.txt,constraints.txt)
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -q -c $(CONSTRAINTS)
SPECS := pyproject.toml $(CONSTRAINTS) hatch_build.py $(wildcard src/scorefield/nets/*.c)

.PHONY: help demo test page system slow hostile parity speed lab notebook lint types format ci clean

help: ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 10

demo: $(VENV)/.with-demo ## set up, turn a prompt into a picture, say where it is
	@picture=$$($(BIN)/scorefield generate "a tree in the desert" --output outputs) && echo "the picture is $(CURDIR)/$$picture"

test: $(VENV)/.with-test ## set up with the test extra and run the suite, in two processes; JOBS=8 for more
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -q -m "not slow and not system" -n $(JOBS) --dist loadfile

page: ## build the page of the server from page/, with Node 20.19 or newer
	@npm --prefix page ci
	npm --prefix page run check
	npm --prefix page run build

system: $(VENV)/.with-system ## the tests that drive other programs: a browser (Debian: apt-get install chromium chromium-driver), Node
	@[ -d page/node_modules ] || npm --prefix page ci
	$(BIN)/python -m pytest -q -m "system and not slow"

slow: $(VENV)/.with-test ## the tests that take minutes, downloads or installations
	@$(BIN)/python -m pytest -q -m slow

hostile: $(VENV)/.with-test ## 2,100 hostile inputs at every door, with a report; SEED=7 for others than those of seed 0
	@$(BIN)/python -m tests.hostile --count $(or $(COUNT),300) --seed $(or $(SEED),0)

parity: $(VENV)/.with-test ## networks and pictures at the published sizes beside diffusers', with the figures; 14 GB of memory
	@$(BIN)/python -m pytest -q -m slow tests/test_zoo_stable_published.py
	@$(BIN)/python -m pytest -q -s -m slow tests/test_zoo_wan_whole.py

speed: $(VENV)/.with-test ## with a GPU: steps of SD 1.5, 2.1 and Wan beside diffusers', compiled too; MODE=reduce-overhead is sooner done
	@mkdir -p outputs/speed
	$(BIN)/scorefield bench --peer diffusers --model wan-vae --device cuda --repeats 20 | tee outputs/speed/wan-vae.txt
	for model in sd15 sd21 wan-1.3b; do
	  $(BIN)/scorefield bench --peer diffusers --model $$model --device cuda --compiled --repeats 20 $(MODE:%=--mode %) | tee outputs/speed/$$model.txt
	done

lab: $(VENV)/.with-test ## run every experiment of the lab and build docs/lab from what they found
	@$(BIN)/scorefield lab --all --output outputs/lab
	$(BIN)/python docs/make_lab.py outputs/lab

notebook: $(VENV)/.with-notebook ## take Stable Diffusion apart in Jupyter: SCOREFIELD_MODEL=/path/to/one, or small and random
	@if [ -z "$${SCOREFIELD_MODEL:-}" ]; then
	  export SCOREFIELD_MODEL="$(CURDIR)/outputs/tiny" SCOREFIELD_SIDE=64
	  $(BIN)/python docs/notebooks/tiny_stable.py "$$SCOREFIELD_MODEL"
	fi
	$(BIN)/jupyter lab docs/notebooks/stable-diffusion.ipynb

lint: $(VENV)/.with-test ## style and formatting
	@$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.with-test ## the strict type checker
	@$(BIN)/mypy

format: $(VENV)/.with-test ## rewrite the files in the one format
	@$(BIN)/ruff check --fix-only -q .
	$(BIN)/ruff format .

ci: lint types system test ## what .ci/run runs

clean: ## remove the environment and what the tools left behind
	@rm -rf $(VENV) build dist .pytest_cache .ruff_cache .mypy_cache

# The environment. A stamp in it says what is installed, so it goes with it, and nothing is installed twice.
$(VENV)/.made:
	@command -v "$(PYTHON)" >/dev/null \
	  || { echo 'scorefield needs Python 3.11, 3.12 or 3.13, and there is no "$(PYTHON)" here: make PYTHON=/path/to/python3 ...' >&2; exit 1; }
	"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "scorefield needs Python 3.11, 3.12 or 3.13; $(PYTHON) is $$("$(PYTHON)" -V 2>&1): make PYTHON=python3.12 ..." >&2; exit 1; }
	"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo 'this Python comes without venv; on Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	touch $@

$(VENV)/constraints.txt: $(VENV)/.made constraints.txt
	@sed -e 's/^torch==.*/torch==$(TORCH)/' -e '/^setuptools==/d' constraints.txt >$@  # of which each torch wants its own

$(VENV)/.with-demo: $(VENV)/.made $(SPECS)
	@echo 'installing scorefield into $(VENV) ...'
	$(INSTALL) -e '.[video]'
	touch $@

$(VENV)/.with-notebook: $(VENV)/.made $(SPECS)
	@echo 'installing scorefield and Jupyter into $(VENV) ...'
	$(INSTALL) -e '.[notebook]'
	touch $@ $(VENV)/.with-demo

# k-diffusion's and OpenCLIP's own requirements are training stacks that the comparison with their code does not touch.
$(VENV)/.with-test: $(VENV)/.made $(SPECS)
	@echo 'installing scorefield and its test tools into $(VENV) ...'
	$(INSTALL) -e '.[test]'
	$(INSTALL) --no-deps k-diffusion open-clip-torch
	touch $@ $(VENV)/.with-demo

$(VENV)/.with-system: $(VENV)/.with-test
	@echo 'installing what drives a browser into $(VENV) ...'
	$(INSTALL) -e '.[system]'
	touch $@
