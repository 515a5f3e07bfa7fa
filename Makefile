# The only doors: setup, check, test, lab, demo, sim, fuzz, soak, bench. CI calls the same recipes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Words are hashed the same in each run, so that nothing depends on the order of a set.
export PYTHONHASHSEED := 0
JOBS ?= 2

SECONDS ?= 20
MINUTES ?= 30

.PHONY: setup check test demo sim bench lab incus fuzz soak clean

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".[postgres]" --group dev
	touch $(READY)

setup: $(READY)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/pytest -q tests/arch

test: $(READY)
	$(BIN)/pytest -q -n $(JOBS) --dist worksteal

lab: $(READY)
	$(BIN)/pytest -q -m lab

# The Incus daemon of Debian sid with its LINSTOR driver: fetched once from Debian's mirror, needs root.
incus: $(READY)
	BOLLARD_INCUS=1 $(BIN)/pytest -q -n0 tests/contract/test_incus.py

demo: $(READY)
	$(BIN)/bollard demo

sim: $(READY)
	$(BIN)/bollard sim --histories 2000

fuzz: $(READY)
	$(BIN)/python -m fuzz --seconds $(SECONDS)

soak: $(READY)
	$(BIN)/python -m fuzz.soak --minutes $(MINUTES)

bench: $(READY)
	$(BIN)/python -m bench

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
