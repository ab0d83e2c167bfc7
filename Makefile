PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
CDK    := cdk/node_modules/.package-lock.json
# The virtual environment carries Node, which the CDK and its Python bindings look up on the PATH.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONDONTWRITEBYTECODE := 1

.DEFAULT_GOAL := help
.PHONY: help install demo test check format synth bench openapi lock clean

help:  ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

install: $(READY) $(CDK)  ## build .venv with pinned versions and install the CDK CLI

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "stream-redrive needs Python 3.11 or newer; run make with PYTHON=python3.x")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(CDK): cdk/package.json cdk/package-lock.json $(READY)
	cd cdk && npm ci --no-progress --loglevel=error
	@touch $@

demo: install  ## run the main job: real flights through a local cloud, failures healed, poison quarantined
	$(BIN)/redrive lab run flights

test: install  ## run every test
	$(BIN)/python -m pytest

check: install  ## check format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: install  ## format and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

synth: install  ## write the CloudFormation templates to cdk.out
	cdk/node_modules/.bin/cdk synth --quiet

bench: install  ## measure the figures that the design promises
	$(BIN)/python -m tests.bench

openapi: install  ## write the description of the cases API again
	PYTHONPATH=functions $(BIN)/python -m stream_redrive.api.openapi > docs/openapi.json

lock:  ## resolve the versions again (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --upgrade --extra dev --quiet --output-file requirements.lock pyproject.toml
	cd cdk && npm install --package-lock-only

clean:  ## remove what the targets above made
	rm -rf $(VENV) cdk/node_modules cdk.out .lab dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
