# `make book` and `make test` need Python 3.11 or newer and nothing else: each sets up .venv itself.
TIER ?= cpu
NAMES ?=
SECTIONS ?=
TESTS ?= tests
NOTEBOOKS ?= notebooks
PYTHON ?= $(shell command -v python3.11 || command -v python3 || command -v python)
BIN := .venv/bin
STAMP := .venv/saebook-stamp

.PHONY: book pdf check test rehearse browser bench interop subject hooks clean help setup

help:
	@echo "make book [TIER=cpu] [NAMES=...]       run the notebooks of a tier and render the book (default: cpu)"
	@echo "make pdf                               print the rendered book into _build/book.pdf (needs Chromium)"
	@echo "make check                             lint, format and types: ruff and pyright (a minute)"
	@echo "make test [TESTS=...] [NOTEBOOKS=...]  run the tests, and nbval over the notebooks"
	@echo "make rehearse                          run every notebook of the paper tier by a stand-in for the model hub"
	@echo "make browser                           test the rendered book in a headless Chromium, after make book"
	@echo "make bench [SECTIONS=...]              time training against other libraries (installs them once)"
	@echo "make interop                           round trips of SAEs through other libraries (installs them once)"
	@echo "make hooks                             run ruff and nbstripout before every commit of yours"
	@echo "make subject NAME=...                  train an embedded subject model again"
	@echo "make clean                             remove what can be made again: .venv, _build, caches, stored runs"

setup: $(STAMP)

# The stamp is rewritten only when the lock or the package's own description changed.
$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "saebook: no Python found: install Python 3.11 or newer, or name one with PYTHON=..." >&2; exit 2; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "saebook: $(PYTHON) is too old: install Python 3.11 or newer, or name one with PYTHON=..." >&2; exit 2; }
	@echo "saebook: setting up .venv from requirements.lock (once; a few minutes)"
	@test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

book: $(STAMP)
	@$(BIN)/saebook book --tier $(TIER) $(NAMES)

pdf: $(STAMP)
	@$(BIN)/saebook pdf

check: $(STAMP)
	@$(BIN)/ruff check --no-cache .
	@$(BIN)/ruff format --no-cache --check .
	@$(BIN)/nbstripout --keep-id --verify notebooks/*/*.ipynb
	@$(BIN)/pyright --warnings

# The notebooks and then the tests of the book run beside all other tests, one thread each: on two cores that halves the time.
# Their report comes last.
BESIDE := $(if $(filter tests,$(TESTS)),tests/book)
test: $(STAMP)
	@report=$$(mktemp); export OMP_NUM_THREADS=1; \
	{ $(BIN)/python -m pytest -q -p no:cacheprovider --nbval-lax --nbval-current-env --nbval-cell-timeout 300 $(NOTEBOOKS); status=$$?; \
	$(if $(BESIDE),$(BIN)/python -m pytest -q -p no:cacheprovider $(BESIDE) || status=$$?;) exit $$status; } > $$report 2>&1 & notebooks=$$!; \
	$(BIN)/python -m pytest -q -p no:cacheprovider $(TESTS) $(addprefix --ignore=,$(BESIDE)); status=$$?; \
	wait $$notebooks || status=$$?; cat $$report; rm -f $$report; exit $$status

rehearse: $(STAMP)
	@SAEBOOK_DRY_RUN=all $(BIN)/python -m pytest -q -p no:cacheprovider tests/test_paper_tier.py

# axe-core comes in a package whose own dependencies are not needed. Its visits at one of two widths take half of the time.
browser: $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps axe-playwright-python==0.1.8
	@report=$$(mktemp); export SAEBOOK_RENDERED=_build/html; \
	$(BIN)/python -m pytest -q -p no:cacheprovider tests/browser -k "every_page and 1280" > $$report 2>&1 & wide=$$!; \
	$(BIN)/python -m pytest -q -p no:cacheprovider tests/browser -k "not (every_page and 1280)"; status=$$?; \
	wait $$wide || status=$$?; cat $$report; rm -f $$report; exit $$status

bench: $(STAMP)
	@$(BIN)/python benchmarks/run.py $(SECTIONS)

interop: $(STAMP)
	@$(BIN)/python interop/run.py

hooks: $(STAMP)
	@$(BIN)/pre-commit install

subject: $(STAMP)
	@$(BIN)/saebook subject train $(NAME)

clean:
	rm -rf .venv _build data/cache data/runs
