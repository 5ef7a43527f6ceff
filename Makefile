.DEFAULT_GOAL := help
PYTHON ?= python3
# That of the functions' runtime: sam build asks for it.
PYTHON313 ?= python3.13
TARGET ?= direct
VENV := .venv
BIN := $(VENV)/bin
# The page's chart library, taken out of its wheel as in a build for AWS.
CHARTS := functions/page/vendor/echarts.min.js
# Nothing is installed but the files whose hashes the requirements name.
LOCKED := install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement

.PHONY: help run import test test-dynamodb test-botocore e2e e2e-localstack sam-local check-build bench figures sdks screenshots soak lint lint-sam format lock

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.run $(CHARTS) ## Run the whole stack on this machine, with sample data (or ROLLCALL_SEED=FILE), until Ctrl-C
	@exec $(BIN)/rollcall up

import: $(VENV)/.run ## Import a CSV or JSONL file into the stack that runs here: make import FILE=...
	@test -n "$(FILE)" || { echo "name the file: make import FILE=events.csv" >&2; exit 2; }
	@$(BIN)/rollcall import "$(FILE)"

test: $(VENV)/.test $(VENV)/.sdks $(CHARTS) ## Run all tests
	$(BIN)/pytest -n auto --dist loadgroup

test-dynamodb: $(VENV)/.test ## Run the integration tests against another DynamoDB: DYNAMODB=http://127.0.0.1:8000
	@test -n "$(DYNAMODB)" || { echo "name the endpoint: make test-dynamodb DYNAMODB=http://127.0.0.1:8000" >&2; exit 2; }
	ROLLCALL_TEST_DYNAMODB="$(DYNAMODB)" $(BIN)/pytest -n auto --dist loadgroup tests/integration

test-botocore: $(VENV)/.test ## Run the tests of the AWS clients on the oldest supported, the pinned and the newest botocore
	@$(BIN)/python -m scripts.botocores

e2e: $(VENV)/.test $(VENV)/.sdks $(CHARTS) ## Run the end-to-end tests: make e2e TARGET=direct, sam or sam-local
	@test "$(TARGET)" = direct || $(MAKE) $(VENV)/.sam
	$(BIN)/pytest tests/e2e --target=$(TARGET)

e2e-localstack: $(VENV)/.test $(VENV)/.sdks $(VENV)/.sam ## Run the end-to-end tests on a LocalStack in a container
	trap 'docker compose down' EXIT; docker compose up --detach --wait && $(BIN)/pytest tests/e2e --target=localstack

sam-local: $(VENV)/.run $(VENV)/.sam ## Serve the API from containers, on the tables of the stack that runs here
	@exec $(BIN)/python -m scripts.local.sam

check-build: $(VENV)/.run $(VENV)/.sam ## Build for arm64 and check what is shipped: processors, sizes, bytecode
	PATH="$(CURDIR)/$(VENV)/sam/bin:$$PATH" SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1 \
		$(VENV)/sam/bin/sam build --build-dir .aws-sam/arm64 --parameter-overrides Architecture=arm64
	$(BIN)/python -m scripts.local.packages arm64 .aws-sam/arm64

bench: $(VENV)/.run ## Measure everything: about half an hour
	@$(BIN)/rollcall bench all

figures: $(VENV)/.run ## Measure everything, and write the figures into the documents
	@$(BIN)/rollcall bench all --into docs/figures
	@$(BIN)/python -m scripts.bench.documents

sdks: $(VENV)/.run $(VENV)/.sdks ## Run other services' SDKs, unchanged, against a local stack, and compare what is counted
	@$(BIN)/rollcall sdks

screenshots: $(VENV)/.test $(CHARTS) ## Make the pictures of the page in docs/images
	@$(BIN)/python -m scripts.screenshots

soak: $(VENV)/.test ## Drive 10,000 random schedules through the claim protocol, and 20,000 nasty files through all doors
	ROLLCALL_SCHEDULES=10000 ROLLCALL_FILES=20000 $(BIN)/pytest -n auto \
		tests/integration/test_claims_property.py tests/unit/test_doors.py

lint: $(VENV)/.test ## Check style, types, spelling, the template, the page and the pinned dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/cfn-lint template.yaml
	$(BIN)/python -m scripts.lock --check
	$(BIN)/deno check --quiet --no-remote --no-npm functions/page/site/*.js
	$(BIN)/deno lint --quiet
	$(BIN)/deno fmt --quiet --check

lint-sam: $(VENV)/.test $(VENV)/.sam ## Check the template with the SAM CLI and by this project's own rules
	SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1 $(VENV)/sam/bin/sam validate --lint
	$(BIN)/cfn-lint template.yaml
	$(BIN)/pytest --quiet tests/unit/test_template.py tests/unit/test_observability.py

format: $(VENV)/.test ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/deno fmt --quiet

lock: $(VENV)/.test ## Resolve the dependencies anew and pin them
	$(BIN)/python -m scripts.lock

$(VENV)/.run: scripts/requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Rollcall needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip $(LOCKED) $<
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.test: tests/requirements.txt $(VENV)/.run
	$(BIN)/pip $(LOCKED) $<
	@touch $@

$(CHARTS): functions/page/charts-requirements.txt | $(VENV)/.run
	@$(MAKE) --no-print-directory --silent -C functions/page -f ../../scripts/package/x86_64/Makefile \
		vendor/echarts.min.js PYTHON="$(CURDIR)/$(BIN)/python"

# The SAM CLI, and beside it what runs the functions that it built: a MiniStack with nothing that they could borrow.
$(VENV)/.sam: scripts/sam-requirements.txt scripts/runtime-requirements.txt
	$(PYTHON313) -m venv $(VENV)/sam
	$(VENV)/sam/bin/pip $(LOCKED) $<
	$(PYTHON313) -m venv $(VENV)/runtime
	$(VENV)/runtime/bin/pip $(LOCKED) scripts/runtime-requirements.txt
	@touch $@

# The SDKs of other services, which may need other releases of what this project uses itself.
$(VENV)/.sdks: scripts/sdks-requirements.txt $(VENV)/.run
	$(PYTHON) -m venv $(VENV)/sdks
	$(VENV)/sdks/bin/pip $(LOCKED) $<
	@touch $@
