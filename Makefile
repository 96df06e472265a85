# Short names for what scripts/ does; `make` alone lists them. Nothing is done here that scripts/ does not do.
.DEFAULT_GOAL := help
.PHONY: help demo stop test whole check reference dashboards site lock hooks

help: ## lists these
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 12

demo: ## starts the demo
	./scripts/dcctl start

stop: ## stops what runs
	./scripts/dcctl stop

test: ## style, types, every test
	./scripts/test

whole: ## torture, kills, soak: whole, for hours
	./scripts/test --long

check: ## style, types, house rules, documents: a minute
	./scripts/test tests/unit/test_tidy.py tests/unit/test_arrows.py tests/unit/docs

reference: ## writes the generated pages of docs/
	.venv/bin/python scripts/reference

dashboards: ## writes Prometheus' rules and Grafana's dashboards
	./scripts/dashboards

site: ## builds the documents' site, and shows it
	./scripts/site serve

lock: ## writes requirements.lock from pyproject.toml; wants uv
	./scripts/lock

hooks: ## a look at each commit before it is made
	.venv/bin/pre-commit install
