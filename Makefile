# make demo    set up, and run the main job with a customer, a destination and mail
# make test    set up, and run every test            (ARGS="-k dialogue" for some)
# make check   lint, formatting, types
# make bench   figures beside their targets          (ARGS="ratio --rounds 3" for some)
# make clean   remove what these made; mail that was archived stays
#
# PYTHON names the interpreter (3.11 or later) that the virtual environment is made with. The
# system's own goes before another one on the PATH: it is what operators run, and Debian builds it
# with profile-guided optimisation, which most others are without (a fifth of a message's cost).

PYTHON ?= $(shell /usr/bin/python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' \
	2>/dev/null && echo /usr/bin/python3 || echo python3)
ARGS ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PACKAGING := setup.py pyproject.toml
# A file's tests stay together, since they share what is slow to start.
WORKERS := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo test check bench clean

demo: .venv/product
	$(BIN)/python demo/run.py $(ARGS)

test: .venv/test
	$(BIN)/python -m pytest $(WORKERS) $(ARGS)

check: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict mail6m twisted/plugins bench demo

bench: .venv/product
	$(BIN)/python -m bench.run $(ARGS)

# compat: twistd looks for plugins along the path, and setuptools' other editable mode leaves them
# off it.
.venv/product: $(PACKAGING)
	@echo "Installing Mail6M into .venv ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(PIP) --config-settings editable_mode=compat --editable .
	@touch $@

.venv/test: .venv/product
	@echo "Installing the test tools into .venv ..."
	@$(PIP) --config-settings editable_mode=compat --editable '.[test]'
	@touch $@

clean:
	rm -rf tests/browser/node_modules
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f twisted/plugins/dropin.cache
	find mail6m tests bench demo twisted -name __pycache__ -prune -exec rm -rf {} +
