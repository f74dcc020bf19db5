# nla: `make all` runs the series on the embedded model, `make test` checks it; `make` lists the rest.

MODEL ?= demo
STEPS ?= all
PYTHON ?= python3
COLAB_PYTHON ?= python3.13
NLA_BUILD ?= $(CURDIR)/build
export NLA_BUILD := $(NLA_BUILD)
export NLA_PDF := $(PDF)
export BENCH ?= small

# What is asked may hold anything: it goes to programs through the environment, as it stands, and files are made of names
# that nla/commands/targets.py makes of it. $(shell) has no environment of ours before make 4.4.
ASKED := MODEL STEPS SCHEDULER WORKERS REPOSITORY
$(foreach name,$(ASKED),$(eval override $(name) := $$(value $(name))))
export $(ASKED)
IN_SHELL = export $(foreach name,MODEL STEPS NLA_BUILD $(HUB),$(name)='$(subst ','\'',$(value $(name)))');
HUB := $(foreach name,HF_ENDPOINT HF_HOME HF_HUB_CACHE HF_HUB_OFFLINE HF_TOKEN,$(if $(filter command,$(origin $(name))),$(name)))
ON = --steps="$$STEPS" -- "$$MODEL"
ifneq ($(words $(NLA_BUILD)),1)
$(error nla: outputs go to a folder without spaces in its path, and NLA_BUILD is '$(NLA_BUILD)')
endif
NAMES := $(shell $(IN_SHELL) $(PYTHON) nla/commands/targets.py names "$$MODEL" "$$STEPS" 2>/dev/null)
OUT := $(NLA_BUILD)/$(or $(word 1,$(NAMES)),none)

# In Colab or an active environment that one is used; otherwise .venv is made here.
ifneq ($(VIRTUAL_ENV)$(CONDA_PREFIX)$(COLAB_RELEASE_TAG),)
BIN :=
PY := python3
SETUP := $(NLA_BUILD)/.setup
else
BIN := $(CURDIR)/.venv/bin/
PY := $(BIN)python
SETUP := .venv/.setup
endif

NOTEBOOKS := $(sort $(wildcard notebooks/[0-9][0-9]_*.ipynb))
EXECUTED := $(NOTEBOOKS:notebooks/%=$(OUT)/%)
SOURCES := $(wildcard nla/*.py nla/*/*.py nla/*/*/*.py nla/studies/*/*.json)
QUIET := TQDM_DISABLE=1 HF_HUB_DISABLE_PROGRESS_BARS=1 TRANSFORMERS_VERBOSITY=error TOKENIZERS_PARALLELISM=false \
	PYTHONHASHSEED=0 PYDEVD_DISABLE_FILE_VALIDATION=1
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: help setup all audit scan tables bundle gallery colab-check floors-check notebooks figures test test-slow test-browser check bench lint demo report clean address lab
.DEFAULT_GOAL := help

help: ## list the targets
	@echo "make all [MODEL=demo|FOLDER|pythia-1b|ORG/NAME|'BASE>SFT>DPO'] [STEPS=all|log|k|a,b,c] [PDF=1] [WORKERS=n|SCHEDULER=tcp://…]"
	@echo "runs the series; make test checks the project"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(SETUP) ## make .venv/ with the pinned packages (PYTHON= chooses the interpreter)

.venv/.setup: requirements.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "nla: no $(PYTHON) here; name one: make setup PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("nla needs Python 3.11 or newer; name one: make setup PYTHON=python3.11")'
	@$(PYTHON) -m venv .venv >.venv.log 2>&1 || { rm -rf .venv .venv.log; \
		echo "nla: $(PYTHON) cannot make an environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@rm -f .venv.log
	@echo "making .venv with the packages of requirements.txt, a few minutes"
	@$(BIN)pip install --quiet --disable-pip-version-check --no-compile -r requirements.txt && \
		$(BIN)pip install --quiet --disable-pip-version-check --no-compile --no-deps -e . || \
		{ echo "nla: the packages could not be installed; pip says above why (it needs a network, or PIP_INDEX_URL, and 3 GB of disk)" >&2; exit 1; }
	@mkdir -p .venv/etc/ipython && echo "c.IPKernelApp.log_level = 50  # not: TCP without encryption, once a notebook" \
		>.venv/etc/ipython/ipython_kernel_config.py
	@touch $@

$(NLA_BUILD)/.setup: pyproject.toml
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[notebooks]'
	@mkdir -p $(@D) && touch $@

all: report ## run every notebook on MODEL: build/MODEL/, figures/MODEL/ and build/MODEL/report/index.html

audit: | $(SETUP) ## list which revisions of MODEL are missing, stale, duplicate or mixed; fetches nothing
	@$(PY) -m nla audit -- "$$MODEL"

scan: $(OUT)/.scanned ## measure every checkpoint of MODEL in one pass, with a progress bar

# What MODEL and STEPS are, said in one line before anything is written: an unknown name ends everything here.
SCANNED_STEPS := $(OUT)/.steps-$(word 2,$(NAMES))
$(SCANNED_STEPS): | $(SETUP)
	$(eval SAID := $$(shell $$(IN_SHELL) $(PY) -m nla check $$(ON) 2>&1))
	$(if $(filter-out 0,$(.SHELLSTATUS)),$(error $(SAID)),$(info $(SAID)))

# SCHEDULER=tcp://host:8786 lets a Dask cluster measure, WORKERS=n so many processes on this machine.
CLUSTER := $(if $(SCHEDULER),--scheduler="$$SCHEDULER") $(if $(WORKERS),--workers="$$WORKERS")

# Exit status 3: some checkpoints could not be had, and are named; the rest goes on, and the next run asks for them again.
$(OUT)/.scanned: $(SOURCES) $(SCANNED_STEPS) $(word 3,$(NAMES)) | $(SETUP)
	@$(PY) -m nla scan $(CLUSTER) $(ON) || [ $$? -eq 3 ]

# PDF=1 executes once more what was executed without it.
$(OUT)/.pdf: | $(SETUP)
	@mkdir -p $(@D) && touch $@

$(OUT)/%.ipynb: notebooks/%.ipynb $(OUT)/.scanned $(if $(PDF),$(OUT)/.pdf)
	@$(QUIET) $(PY) -m nla execute $(ON) $<

# As many notebooks side by side as there are cores and as memory holds, or as -j says. One that stops says why in three
# lines, the others go on, the report is made of those, and make ends in failure.
JOBS = $(patsubst -j%,--jobs %,$(filter-out -j,$(filter -j%,$(MFLAGS))))
$(OUT)/.executed: $(NOTEBOOKS) $(OUT)/.scanned $(if $(PDF),$(OUT)/.pdf) $(if $(filter-out $(wildcard $(EXECUTED)),$(EXECUTED)),again)
	@$(QUIET) $(PY) -m nla series $(JOBS) $(ON)

.PHONY: again

report: $(OUT)/report/index.html ## the executed notebooks of MODEL as HTML, with an index page

$(OUT)/report/index.html: $(OUT)/.executed
	@$(QUIET) $(PY) -m nla report -- "$$MODEL"

tables: $(OUT)/.scanned ## write every number of MODEL to build/MODEL/tables/: scalars.csv, scalars.parquet, dictionary.csv
	@$(PY) -m nla tables $(ON)

bundle: $(OUT)/.scanned ## the tables and spectra of MODEL as build/MODEL/bundle/, a MODEL without weights that travels
	@$(PY) -m nla bundle $(ON)

gallery: report ## all figures of MODEL on one page
	@echo '$(OUT)/report/gallery.html'

notebooks: | $(SETUP) ## refresh the committed outputs of notebooks/ and figures/demo/ (FULL=1: compute also what is stored)
	@printf '%s\n' $(NOTEBOOKS) | $(QUIET) $(ONE_THREAD) $(if $(FULL),NLA_FULL=1) xargs -n 1 -P "$$(getconf _NPROCESSORS_ONLN)" \
		$(BIN)jupyter nbconvert --log-level WARN --to notebook --execute --inplace \
		--ExecutePreprocessor.record_timing=False --ExecutePreprocessor.kernel_name=python3 \
		--ExecutePreprocessor.coalesce_streams=True

# A process for each core (conftest.py says how many), one BLAS thread in each; a file stays in one process.
PYTEST := $(QUIET) $(ONE_THREAD) NLA_FIGURES=$(NLA_BUILD)/check/figures \
	$(PY) -m pytest -p no:cacheprovider -n auto --dist loadfile --no-loadscope-reorder
NBVAL := --nbval-lax --nbval-current-env --nbval-kernel-startup-timeout 300

test: | $(SETUP) ## all tests and the committed notebooks, as many at once as there are cores
	$(PYTEST) tests $(NBVAL) $(NOTEBOOKS)

test-slow: | $(SETUP) ## the long tests, for the night
	$(PYTEST) tests -m slow

test-browser: | $(SETUP) ## the report in a real Chromium
	$(PYTEST) tests -m browser

check: | $(SETUP) ## nbval: run the committed notebooks and compare the numbers their prose cites
	$(PYTEST) $(NBVAL) $(NOTEBOOKS)

colab-check: ## run every notebook as Colab does: Colab's packages, one file in an empty folder (COLAB_PYTHON=, ONLY=00)
	$(COLAB_PYTHON) tests/colab_check.py $(NLA_BUILD)/colab $(ONLY)

floors-check: ## the same with the oldest version of every package that pyproject.toml admits (PYTHON=python3.11, ONLY=00)
	$(PYTHON) tests/colab_check.py $(NLA_BUILD)/floors --floors $(ONLY)

bench: | $(SETUP) ## speed and memory beside other ways to the same numbers (BENCH=small|full, ONLY="limit seed")
	@$(PY) -m tests.bench $(ONLY)

lint: | $(SETUP) ## ruff over code and notebooks, and what the rooms of nla/ may import
	$(BIN)ruff check .
	$(BIN)ruff format --check .
	$(BIN)lint-imports --no-cache

demo: | $(SETUP) ## train the embedded model and its stages again (about half an hour on 4 cores)
	$(PY) -m nla.demo.train
	$(PY) -m nla.demo.stages

lab: | $(SETUP) ## open the notebooks in JupyterLab
	$(BIN)jupyter lab notebooks

address: ## write the repository's address everywhere: make address REPOSITORY=you/nla
	@$(PYTHON) nla/commands/targets.py address "$$REPOSITORY"

clean: ## remove build/ of MODEL
	@$(PYTHON) nla/commands/targets.py clean "$$MODEL"
