# Each target does its own set-up. `make demo` needs Python 3.11 or newer, and nothing else.
#
#   make demo     the portal with its own database, broker and target (PORT=8000, DEMO_DIR=.demo)
#   make test     all tests (ARGS="tests/domain -k name" for some; CLOCKS=30 with clocks that differ by
#                 30 ms)
#   make check    format, lint, types, layers, templates, migrations, deployment settings
#   make bench    the measured promises (ONLY=name for one)
#   make screenshots  pictures of every page in .screenshots/ (ONLY=word for some; FACES=1 the README's too)
#   make chaos    everything breaks during thousands of requests; what must hold is checked after (15 min)
#   make dev      as demo, with error pages and reload

PYTHON ?= python3
PY := .venv/bin/python
SETUP := @command -v $(PYTHON) >/dev/null || { echo "No $(PYTHON) here: install Python 3.11 or newer, or run make with PYTHON=/path/to/python3." >&2; exit 1; }; $(PYTHON) jitportal/embedded/install.py

# What a production process gets, so that the deployment checks see production's settings.
LIKE_PRODUCTION := env -u DEBUG -u DEMO \
	SECRET_KEY=$$($(PY) -c 'import secrets; print(secrets.token_urlsafe(64))') \
	DATABASE_URL=postgresql://jitportal_app@127.0.0.1:1/jitportal \
	BROKER_URL=redis://127.0.0.1:6379/0 \
	PORTAL_URL=https://access.example.com ALLOWED_HOSTS=access.example.com

.PHONY: demo test check bench chaos screenshots dev setup setup-dev
.DEFAULT_GOAL := demo

setup:
	$(SETUP) requirements.lock

setup-dev:
	$(SETUP) requirements-dev.lock

demo: setup
	@exec $(PY) manage.py demo

dev: setup-dev
	@DEBUG=1 exec $(PY) manage.py demo --reload

test: setup-dev
	@$(if $(CLOCKS),CLOCKS_DIFFER=$(CLOCKS) )$(PY) -m pytest -q -n 2 --dist loadfile $(ARGS)

check: setup-dev
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(LIKE_PRODUCTION) $(PY) -m mypy
	.venv/bin/lint-imports
	.venv/bin/djlint templates --lint --quiet
	$(LIKE_PRODUCTION) $(PY) manage.py makemigrations --check --dry-run
	$(LIKE_PRODUCTION) $(PY) manage.py check --deploy --fail-level WARNING

bench: setup-dev
	@$(PY) -m tests.bench $(if $(ONLY),--only $(ONLY))

screenshots: setup-dev
	@$(PY) -m tests.journeys.screenshots .screenshots $(if $(ONLY),--only $(ONLY)) $(if $(FACES),--faces docs/pictures)

chaos: setup-dev
	@$(PY) -m tests.chaos $(if $(MINUTES),--minutes $(MINUTES)) $(if $(OUTAGE),--outage $(OUTAGE)) $(if $(REQUESTS),--requests $(REQUESTS)) $(if $(SEED),--seed $(SEED))
