# Every target works from a fresh checkout: the environment is made when it is missing.
PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.installed
TESTS  ?= tests
# Errors only: on a machine with local wheels pip warns of each package that an index lacks.
PIP    := $(BIN)/pip install -qq --constraint constraints.txt
# Two spinning numeric thread pools beside each other are many times slower than one thread each.
export OMP_NUM_THREADS ?= 1

.PHONY: help demo evaluate evaluation-figures test test-slow lint check format serve chaos bench bench-batching bench-stores bench-dynamics bench-encoders bench-index eval-encoders audit clean
.DEFAULT_GOAL := help

help:
	@echo "make demo       store, recall and generate on the sample memory; results in out/"
	@echo "make evaluate   measure recall and generation; report in evaluation/"
	@echo "make evaluation-figures  make docs/figures/evaluation*.json and the tables of docs/evaluation.md anew"
	@echo "make test       run the tests"
	@echo "make test-slow  run the slow tests"
	@echo "make audit      ask for known vulnerabilities of the dependencies; says so when there is no answer"
	@echo "make check      format, lint, types, tests"
	@echo "make serve      start the service on http://127.0.0.1:8000"
	@echo "make bench      beside a chroma server and raw FAISS; FULL=1 takes half an hour"
	@echo "make chaos      kill the service 200 times, and prove that nothing is lost"
	@echo "make bench-stores  durable stores alone, from many connections, in batches, beside bare SQLite"
	@echo "make bench-batching  requests per second with and without encoding together"
	@echo "make eval-encoders  recall of the bundled encoders; builds the training collection first"
	@echo "make bench-dynamics  recall on a stream of topics, with decay, strength and priming"
	@echo "make bench-index  print recall, time and memory of large indexes beside raw FAISS"
	@echo "make bench-encoders  print the speed of the encoders beside torch, start and memory"

$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed (set PYTHON=...)"; exit 1; }
	@echo "Installing into $(VENV); a minute or more, mostly for torch ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --upgrade pip
	@$(PIP) --editable ".[dev]"
	@touch $@

demo: $(READY)
	@$(BIN)/memory-service demo --out out

evaluate: $(READY)
	$(BIN)/memory-service evaluate --out evaluation

evaluation-figures: $(READY)
	$(BIN)/python scripts/evaluation_figures.py

test: $(READY)
	$(BIN)/python -m pytest $(TESTS) -n 2

test-slow: $(READY)
	$(BIN)/python -m pytest $(TESTS) -m slow

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

audit: $(READY)
	$(BIN)/python scripts/audit_dependencies.py

check: lint test

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

serve: $(READY)
	$(BIN)/memory-service serve

bench: $(READY)
	$(BIN)/python -m benchmarks.peers.run $(if $(FULL),--full)

chaos: $(READY)
	$(BIN)/python -m benchmarks.chaos.run

bench-stores: $(READY)
	$(BIN)/python -m benchmarks.stores

bench-batching: $(READY)
	$(BIN)/python -m benchmarks.batching

collection/summary.json: | $(READY)
	$(PIP) --editable ".[training]"
	$(BIN)/python -m encoders.training.data

eval-encoders: collection/summary.json
	$(BIN)/python -m encoders.training.evaluate

bench-dynamics: $(READY)
	$(BIN)/python -m benchmarks.dynamics

bench-index: $(READY)
	$(BIN)/python -m benchmarks.large_index

bench-encoders: $(READY)
	$(BIN)/python -m benchmarks.encoders

clean:
	rm -rf $(VENV) out evaluation
