# `make help` lists the targets. Everything is installed into .venv.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
GDINO := $(BIN)/gdino
TORCH_INDEX ?=
SOURCE ?=
ROOT ?= data/facemask
CONFIG ?= configs/facemask.yaml
CKPT ?= best
LOGDIR ?= runs
NANO_LAST = $(firstword $(shell ls -t runs/pretrain_nano*/checkpoints/last.ckpt 2>/dev/null))

.PHONY: help setup demo prepare train pretrain-nano evaluate tensorboard test lint types imports unit docs format clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

setup: $(VENV)/.installed ## install into .venv (TORCH_INDEX=url for another torch build)

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v[:2] <= (3, 13) else f"Python 3.11 to 3.13 is needed, {v[0]}.{v[1]} was found: make setup PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	@$(BIN)/python -c 'import torch; print("torch", torch.__version__, "| CUDA found:", torch.cuda.is_available())'
	@touch $@

demo: setup ## draw the sample dataset, score, fine-tune the miniature, test, see what it forgot (10 minutes on 2 cores)
	$(GDINO) sample --root data/sample-source
	$(GDINO) prepare --source data/sample-source --root data/sample
	@echo; echo '== zero-shot: the test split, before fine-tuning =='
	$(GDINO) test --config configs/sample.yaml
	@echo; echo '== fine-tuning =='
	$(GDINO) fit --config configs/sample.yaml
	@echo; echo '== fine-tuned: the test split, by the best checkpoint =='
	$(GDINO) test --ckpt_path best
	@echo; echo '== forgetting: drawn scenes that both were asked about, before and after =='
	$(GDINO) world --weights nano runs/latest --num_images 100
	@echo; echo "look at $$(readlink -f runs/latest)/report/report.html"

prepare: setup ## make the tables: make prepare SOURCE=archive.zip [ROOT=data/facemask]
	@test -n '$(SOURCE)' || { echo 'make prepare needs SOURCE=path/to/archive.zip or a folder with images/ and annotations/'; exit 2; }
	$(GDINO) prepare --source '$(SOURCE)' --root '$(ROOT)'

train: setup ## fine-tune: make train [CONFIG=configs/facemask.yaml]
	$(BIN)/lightning fit --config '$(CONFIG)'

pretrain-nano: setup ## train the miniature's weights on the drawn world; stopped, the same command goes on
	$(GDINO) pretrain $(if $(NANO_LAST),--ckpt_path $(NANO_LAST),--config configs/pretrain_nano.yaml)
	$(BIN)/python -m benchmarks.nano_weights "$$(ls -t runs/pretrain_nano*/checkpoints/last.ckpt | head -1)"

evaluate: setup ## score the best checkpoint of the newest run on the test split: make evaluate [CKPT=path]
	$(GDINO) test --ckpt_path '$(CKPT)'

tensorboard: setup ## show the curves: make tensorboard [LOGDIR=runs]
	$(BIN)/tensorboard --logdir '$(LOGDIR)'

test: lint types imports unit ## everything that decides whether a change lands

lint: setup ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## mypy, strict
	$(BIN)/mypy

imports: setup ## the one-way rule between rooms
	$(BIN)/lint-imports

unit: setup ## the tests, on every processor
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal

docs: setup ## the documentation site, into build/site; links are checked
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo build/site/index.html

format: setup ## rewrite files in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove caches, not data, runs or .venv
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist *.egg-info
