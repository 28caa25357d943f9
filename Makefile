# Everything a newcomer needs: `make serve` and `make test`. Both install first; a second time that is instant.
# PYTHON=/path/to/python chooses the interpreter, ARGS="..." goes to `populace serve` or pytest.

.DEFAULT_GOAL := help
.PHONY: help install develop serve lint test test-engines test-faults test-release test-all ci tiers clients-page console-pictures mutants clean
.NOTPARALLEL:

# Nothing phones home, and no model hub is asked for anything.
export RAY_USAGE_STATS_ENABLED := 0
export VLLM_NO_USAGE_STATS := 1
export DO_NOT_TRACK := 1
export HF_HUB_OFFLINE := 1
# Tests compute beside each other: threads that spin while they wait would take the cores from the others.
export GOMP_SPINCOUNT := 2000
export PYTHON
# Each pytest would rewrite the assertions of 600 files anew if it might not keep them.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
# A command of the right name may be a version manager's stub, so each is run before it is believed.
FIND_PYTHON = for python in $(or $(PYTHON),python3.11 python3.12 python3.13 python3.14 python3); do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; python=; done; \
	if [ -z "$$python" ]; then \
	echo "Populace needs Python 3.11 or newer: install it, or set PYTHON=/path/to/python" >&2; exit 1; fi

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: ## make .venv with the built wheel, an engine and the test tools
	@$(FIND_PYTHON); "$$python" scripts/install.py

develop: ## the same, linked to the sources; again after adding a file
	@$(FIND_PYTHON); "$$python" scripts/install.py --editable

serve: install ## start everything and print how to talk to it
	@$(BIN)/populace serve $(ARGS)

lint: install ## ruff and pyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(SUPERVISED) --tier $@ $(BIN)/pyright

# Each test is in exactly one of four tiers, whatever its marks: tests/house/test_tiers.py.
PLAIN := (not engine and not ray and not browser and not fault and not slow and not client and not release) or smoke
ENGINES := (engine or ray or browser or client) and not fault and not slow and not release and not smoke
FAULTS := (fault or slow) and not release and not smoke
RELEASE := release and not smoke
# Of the release tier. random is no mark: it has the tests of hypothesis try ten times as much, from fresh seeds.
CHOSEN = $(if $(filter random,$(PART)),-m "$(PLAIN)" --examples-times 10,-m "$(RELEASE)" --part $(PART))
PARTS := benches clients cluster console documents engines learning memory random studies
# On two processes, and on one where there is one core; those that start engines and clusters on a third one, as they
# wait for 40 % of their time. One has all that shares a start: tests/conftest.py.
CORES := $(shell nproc 2>/dev/null || echo 2)
BESIDE = -n $(if $(filter 1,$(CORES)),1,$(1)) --dist loadscope --no-loadscope-reorder
# Ray's and vLLM's processes outlive a pytest that is interrupted; the supervisor ends them.
SUPERVISED := $(BIN)/python scripts/supervise.py

test: install ## the plain tests and one end-to-end path (vLLM, Ray, kill -9); the types are lint's
	$(SUPERVISED) --tier $@ $(BIN)/pytest $(call BESIDE,2) -m "$(PLAIN)" $(ARGS)

test-engines: install ## the tests that load language models, start engines, clusters or a browser
	$(SUPERVISED) --tier $@ $(BIN)/pytest $(call BESIDE,3) -m "$(ENGINES)" $(ARGS)

test-faults: install ## the torture in full, of which `make test` has a sample, and what is slow
	$(SUPERVISED) --tier $@ $(BIN)/pytest $(call BESIDE,2) -m "$(FAULTS)" $(ARGS)

test-release: install ## what is long, before a release and for what a change touches; PART=memory runs one part
	@$(if $(PART),:,status=0; for part in $(PARTS); do \
	    $(MAKE) --no-print-directory $@ PART=$$part || status=1; done; exit $$status)
	@$(if $(PART),set -x; $(SUPERVISED) --tier $@-$(PART) $(BIN)/pytest $(call BESIDE,2) $(CHOSEN) $(ARGS))
	@$(if $(PART),$(if $(ARGS),,$(BIN)/python scripts/tiers.py --record $(PART)))

ci: ## what CI runs, whatever fails: the tiers, and what each of them took
	@mkdir -p build; status=0; step="$(MAKE) --no-print-directory"; $$step test || status=1; \
	    $$step lint >build/lint.log 2>&1 & lint=$$!; $$step test-engines || status=1; \
	    wait $$lint || status=1; cat build/lint.log; \
	    $$step test-faults || status=1; $$step tiers || status=1; exit $$status

tiers: ## what the tiers of CI took in their last runs; fails if one did not run
	@$(FIND_PYTHON); "$$python" scripts/tiers.py test lint test-engines test-faults

clients-page: install ## run the clients, and write docs/clients.md and what is expected of them from this run
	$(SUPERVISED) $(BIN)/pytest tests/clients -m client --write-clients-page $(ARGS)

console-pictures: install ## write the pictures of the console in docs/console from the pages as they are
	$(SUPERVISED) $(BIN)/pytest tests/runtime/gateway/console -m browser --write-console-pictures $(ARGS)

test-all: ## all of these, whatever fails; CI runs all but the release's through .ci/run
	@$(MAKE) --no-print-directory --keep-going test lint test-engines test-faults test-release

mutants: install ## plant the faults that the promises forbid; each must turn a test red
	@$(BIN)/python -m scripts.mutants $(ARGS)

clean: ## remove .venv and everything built (not your data, not the base model)
	rm -rf .venv build dist populace.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
