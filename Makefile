# `make demo` and `make test` do all the set-up they need, on any machine with Python 3.10 or later.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-peers
PYTEST_ARGS ?=
BENCH_ARGS ?=

INSTALLED := $(VENV)/.installed
PEERS_INSTALLED := $(PEERS)/.installed
SITE_PACKAGES := -c "import sysconfig; print(sysconfig.get_path('purelib'))"

.PHONY: help demo test check bench bench-peers clean
.DELETE_ON_ERROR:

help:
	@echo "make demo    serve an image classifier and ask it about three pictures (KEEP=1 leaves it up)"
	@echo "make test    run all tests (PYTEST_ARGS=...)"
	@echo "make check   format, lint, types and unit tests"
	@echo "make bench   compare throughput with other servers (BENCH_ARGS=...; see docs/performance.md)"
	@echo "make clean   remove environments and caches"

demo: $(INSTALLED)
	$(BIN)/python -m demo.run

test: $(INSTALLED)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/unit $(PYTEST_ARGS)

bench: $(INSTALLED) $(PEERS_INSTALLED)
	$(BIN)/python -m benchmarks.echo $(BENCH_ARGS)

bench-peers: $(PEERS_INSTALLED)

clean:
	rm -rf $(VENV) $(PEERS) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find src tests demo benchmarks -name __pycache__ -type d -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10) and 'Python 3.10 or later is needed: make PYTHON=...')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --constraint constraints.txt --editable . torch torchvision \
		--group test --group lint --group demo --group bench
	touch $@

# TorchServe's worker imports torch without requiring it: a .pth file lends it the one that is installed already.
$(PEERS_INSTALLED): benchmarks/peers/requirements.txt | $(INSTALLED)
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --requirement $<
	$(BIN)/python $(SITE_PACKAGES) > "$$($(PEERS)/bin/python $(SITE_PACKAGES))/torch.pth"
	touch $@
