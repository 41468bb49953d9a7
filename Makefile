# One command each. As root on Debian nothing needs to be prepared: what is missing is installed first.
.DEFAULT_GOAL := help
.PHONY: help demo fuzz test test-day test-fast test-scale test-unit-all test-lab test-kernel bench bench-demo bench-scale bench-scenarios clean
MAKEFLAGS += --no-print-directory

VENV := .venv/dev
PYTHON := $(VENV)/bin/python
CHECKED := wgautomesh tests docs
LABS := 4# labs at a time: they mostly wait, and take a quarter of a processor each

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

demo: .venv/tools $(VENV)/ready  ## five nodes behind NATs become a mesh while you watch (root)
	@$(PYTHON) -m tests.lab.demo

test: test-fast test-scale test-unit-all test-lab test-kernel  ## everything there is to test (root)

test-fast: $(VENV)/ready  ## unit tests, types and style, in seconds
	@$(VENV)/bin/ruff check $(CHECKED)
	@$(VENV)/bin/ruff format --check $(CHECKED)
	@$(VENV)/bin/mypy
	@$(PYTHON) -m pytest -n auto -m "not long" tests/unit

test-day: $(VENV)/ready  ## two days of virtual time in which something breaks every few minutes
	@$(PYTHON) -m pytest -s tests/endurance

test-scale: $(VENV)/ready  ## a hundred simulated nodes, days of faults and the longer unit tests, in a minute or two
	@$(PYTHON) -m pytest -n auto -m long tests/unit tests/scale tests/endurance

test-unit-all: $(VENV)/ready  ## the unit tests on every other Python from 3.10 to 3.13 found here
	@tests/every_python.sh $(PYTHON)

test-lab: .venv/tools .venv/nix $(VENV)/ready  ## agents on real interfaces behind real NATs (root)
	@$(PYTHON) -m pytest -p no:cacheprovider --timeout 180 -n $(LABS) --dist worksteal -m "not alone" tests/nix tests/lab
	@$(PYTHON) -m pytest -p no:cacheprovider --timeout 180 -m alone tests/lab

test-kernel: .venv/tools .venv/kernel $(VENV)/ready  ## the same on the kernel's WireGuard, in a booted Debian kernel (root)
	@$(PYTHON) -m tests.kernel

fuzz: $(VENV)/ready  ## search each reader of foreign bytes for a minute (Python 3.11 to 3.13; findings: failures/fuzz)
	@$(PYTHON) -c 'import atheris' 2>/dev/null || $(VENV)/bin/pip install -q -e '.[fuzz]'
	@nice $(PYTHON) -m tests.fuzz $(SECONDS)

bench: bench-demo bench-scenarios  ## bench-demo and bench-scenarios

bench-demo: .venv/tools $(VENV)/ready  ## how fast and how big the demo's mesh is: a table and bench.json (root, three minutes)
	@$(PYTHON) -m tests.lab.bench

bench-scale: $(VENV)/ready  ## what meshes of 10 to 3,000 simulated members cost: docs/scale.md and its pictures (ten minutes, 17 GiB)
	@$(PYTHON) -m tests.scale.bench

bench-scenarios: .venv/tools $(VENV)/ready  ## scenarios ten times each, meshes of 5, 16, 48: bench-scenarios.json (root, 25 minutes)
	@$(PYTHON) -m tests.lab.bench_scenarios

clean:  ## remove what runs and tests left behind
	rm -rf .venv build dist failures bench.json bench-scenarios.json .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
	-@python3 -m tests.lab.shell

# The set-up runs again when its script or the dependencies change, and costs nothing otherwise.
$(VENV)/ready: pyproject.toml tests/setup.sh
	@tests/setup.sh venv $(VENV)

.venv/tools: tests/setup.sh
	@tests/setup.sh tools

.venv/nix: tests/setup.sh
	@tests/setup.sh nix

.venv/kernel: tests/setup.sh
	@tests/setup.sh kernel
