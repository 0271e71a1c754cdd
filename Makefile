# `make help` says what there is to do. Each command works from a fresh clone, by itself.

.DEFAULT_GOAL := help
.NOTPARALLEL:

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
STRICT := _build/strict
ENGINES := autograd jax

# Which chapters `make notebooks` runs: make notebooks CHAPTERS=book/chapters/09_advi_gaussian.md
CHAPTERS ?=

# The tests run in two processes, a test file (or a chapter) each at a time; were BLAS to start
# threads in both, they would only wait for each other.
PYTEST := OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile

# A backend chosen for a terminal would keep the pictures out of the notebooks.
unexport MPLBACKEND

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ------------------------------------------------------------------ the two commands

.PHONY: book
book: $(INSTALLED) ## install everything, build the book, print where it is
	$(BIN)/jupyter-book build --quiet .
	@echo "The book: file://$(CURDIR)/_build/html/index.html"

.PHONY: test
test: lint types unit stale chapters fewer-instructions strict-book links ## install everything, check everything
	@echo "Everything was checked, and holds."

# ------------------------------------------------------------------- what `test` does

.PHONY: lint
lint: $(INSTALLED) ## style: ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: types
types: $(INSTALLED) ## types: mypy
	$(BIN)/mypy

.PHONY: unit
unit: $(INSTALLED) ## unit tests, on both engines
	$(PYTEST)

.PHONY: stale
stale: $(INSTALLED) ## is every notebook in step with its source?
	$(BIN)/python book/tools/notebooks.py --check

.PHONY: chapters $(ENGINES:%=chapters-%)
chapters: $(ENGINES:%=chapters-%) ## run every chapter on both engines; does it show what it showed?
$(ENGINES:%=chapters-%): chapters-%: $(INSTALLED)
	VI_LAB_ENGINE=$* $(PYTEST) book/chapters

# The notebooks were made on one processor; another rounds the last bits differently. x86-64
# processors have had SSE 4.2 since about 2010. (On others, this is a plain repetition.)
FEWER := SSE4_2
.PHONY: fewer-instructions
fewer-instructions: $(INSTALLED) ## what hangs on last bits once more, as on an older processor
	env $$($(BIN)/python book/tools/processor.py $(FEWER)) VI_LAB_ENGINE=jax \
	    $(PYTEST) $$(grep -l '"monte-carlo"' book/chapters/*.ipynb)
	env $$($(BIN)/python book/tools/processor.py $(FEWER)) $(PYTEST) -m bits

# --all, or a second build would not repeat the warnings of the first, and pass.
.PHONY: strict-book
strict-book: $(INSTALLED) ## the book again, every warning an error
	$(BIN)/jupyter-book build --quiet --all -W -n --keep-going --path-output $(STRICT) .

.PHONY: links
links: $(INSTALLED) ## do all links of that build lead somewhere?
	$(BIN)/python book/tools/links.py $(STRICT)/_build/html

# --------------------------------------------------------------------------- the rest

.PHONY: notebooks
notebooks: $(INSTALLED) ## run the chapters, and store the notebooks that the book shows
	$(BIN)/python book/tools/notebooks.py $(CHAPTERS)
	$(BIN)/python book/tools/readme_picture.py

# Each in an environment of its own, newly made. PYTHON3.13=/path/to/python says where one is.
VERSIONS := _build/versions
PYTHON3.11 ?= python3.11
PYTHON3.13 ?= python3.13

.PHONY: versions versions-lowest versions-3.11 versions-3.13
versions: versions-lowest versions-3.11 versions-3.13 ## unit tests: the lowest versions allowed, and the newest on Python 3.11 and 3.13

versions-lowest:
	mkdir -p $(VERSIONS)
	$(PYTHON3.11) tests/lowest.py > $(VERSIONS)/lowest.txt
	$(call UNIT_WITH,$(PYTHON3.11),--constraint $(VERSIONS)/lowest.txt)

# ArviZ itself, for the tests that ask it: before 1.0 on Python 3.11, since then on 3.13.
versions-3.11 versions-3.13: versions-%:
	$(call UNIT_WITH,$(PYTHON$*),arviz)

# $(1): which Python. $(2): what pip is told on top.
define UNIT_WITH
$(1) -m venv --clear $(VERSIONS)/$@
$(VERSIONS)/$@/bin/python -m pip install --quiet --disable-pip-version-check $(2) --editable '.[jax,arviz,book,dev]'
$(PYTEST:$(BIN)/%=$(VERSIONS)/$@/bin/%)
endef

.PHONY: bench
bench: $(VENV)/.bench ## time the library beside its peers
	$(BIN)/python -m benchmarks

# Which rooms of the library `make mutants` changes: make mutants ROOMS="nuts gradients"
ROOMS ?=

.PHONY: mutants
mutants: $(INSTALLED) ## change the library in small ways, and count what the tests notice
	$(BIN)/python tests/mutants.py $(ROOMS)

.PHONY: format
format: $(INSTALLED) ## put the code into the shape that `make lint` asks for
	$(BIN)/ruff check --fix --extend-exclude "*.ipynb" .
	$(BIN)/ruff format .

.PHONY: clean
clean: ## remove what was built; `make distclean` removes the environment too
	rm -rf _build build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean
	rm -rf $(VENV)

# ------------------------------------------------------------------- the environment

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	    "vi_lab needs Python 3.11 or later: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[jax,arviz,book,dev]'
	@touch $@

$(VENV)/.bench: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@
