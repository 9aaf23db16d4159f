# make help | bootstrap | certify | test | sensitivity | bench | clean
.DEFAULT_GOAL := help
TOPOLOGY ?= topologies/embedded.yaml
PYTHON ?= python3
export PYTHON

.PHONY: help bootstrap certify test sensitivity bench clean

help: ## show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1	\2/'

bootstrap: ## install what is missing (packages, .venv, libvirt); quick when nothing is
	@.ci/bootstrap

certify: bootstrap ## bring the embedded topology up, test the stack on it, write the certificate, take it down
	.venv/bin/lab run $(TOPOLOGY) $(ARGS)

test: bootstrap ## the project's own tests: style, types, imports, pytest; no machine is started
	@.ci/check $(ARGS)

sensitivity: bootstrap ## put seeded defects into the stack, one at a time, and see that the tests notice; no machine is started
	.venv/bin/lab sensitivity --fast $(ARGS)

bench: bootstrap ## ratios against what a person would do by hand; reports/out/bench.json
	.venv/bin/python -m lab.bench $(ARGS)

clean: ## remove caches and .venv; running labs (lab down), cached images and reports stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build *.egg-info
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
