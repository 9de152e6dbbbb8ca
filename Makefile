# make demo    run the whole workflow on embedded images; creates results/demo/report.html
# make resume  resume after a kill or power failure, if no other Snakemake is running here; ARGS: arguments of that run
# make paper-length LIMIT=50m   train the paper's configuration on a GPU, the most valuable first, and stop after 50 minutes;
#              the same command goes on from there; ARGS: --configfile with another overlay, arguments of Snakemake
# make test    run the tests
# make lint    run all checks to make before a commit
# make format  format the code, and regenerate files derived from the configuration's models
# make docs    build the documentation: site/index.html
# make bench   time the library against plain implementations: benchmarks/README.md
# make clean   remove only the environment
#
# Variables: PYTHON=python3.13, Python to use; VENV=DIR, folder of the environment, new or existing; CORES=8;
# TORCH=cpu, PyTorch's build without CUDA (or cu128, rocm6.4, ...: a folder of https://download.pytorch.org/whl/)
.DELETE_ON_ERROR:
.PHONY: demo resume paper-length test test-fast lint format docs bench clean

PYTHON ?= python3
VENV ?= .venv
CORES ?= all
BIN := $(VENV)/bin
TORCH ?=
TORCH_WHEELS ?= https://download.pytorch.org/whl

demo: $(VENV)/pipeline
	$(BIN)/snakemake --cores $(CORES)
	$(BIN)/snakemake --report results/demo/report.html

# a killed Snakemake leaves the folder locked
resume: $(VENV)/pipeline
	$(BIN)/snakemake --unlock $(ARGS)
	$(BIN)/snakemake --cores $(CORES) $(ARGS)

paper-length: $(VENV)/pipeline
	$(BIN)/python tools/paper_length.py $(LIMIT) --cores $(CORES) $(ARGS)

test: $(VENV)/test
	$(BIN)/pytest -n auto --dist loadgroup

test-fast: $(VENV)/test
	$(BIN)/pytest -n auto -m "not pipeline"

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/snakemake --lint

format: $(VENV)/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow
	$(BIN)/python -m lgg.pipeline.config config
	$(BIN)/python tools/drawings.py

# An environment with the extra of this name; each includes the previous one. A PyTorch that is already installed (in VENV,
# or with PYTHON, as in containers) is kept: torch.txt lists it, and overrides the pinned version.
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(VENV)/constraints.txt
$(VENV)/pipeline $(VENV)/test $(VENV)/dev: pyproject.toml envs/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lgg needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Run: make demo PYTHON=python3.12")'
	$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv $(VENV) \
	    $$($(PYTHON) -c 'from importlib.util import find_spec; print("--system-site-packages" if find_spec("torch") else "")')
	test -e $(VENV)/torch.txt || $(BIN)/python -m pip list --format=freeze | sed -n -E '/^torch(vision)?==/p' > $(VENV)/torch.txt
	sed -E "$$(test ! -s $(VENV)/torch.txt || echo '/^(torch|torchvision|triton|(nvidia|cuda)-.*)==/d')" \
	    envs/constraints.txt | cat - $(VENV)/torch.txt > $(VENV)/constraints.txt
	test -z '$(TORCH)' || $(PIP_INSTALL) --extra-index-url '$(TORCH_WHEELS)/$(TORCH)' torch torchvision
	$(PIP_INSTALL) -e '.[$(@F)]'
	touch $@

docs: $(VENV)/dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/pipeline
	set -e; for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(BIN)/python $$script; done

clean:
	rm -rf $(VENV)
