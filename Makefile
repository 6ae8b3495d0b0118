# make run: start the app in your browser.   make test: check everything.   make test-all: and all that is like it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test test-all coverage bench clean

run: $(VENV)/.run-ready
	$(BIN)/python app.py --open

PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile
CASES := not nightly
test-all: CASES := nightly or not nightly
test test-all: $(VENV)/.test-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	find ui -name '*.pyi' -delete  # by gradio, without types
	$(BIN)/mypy analysis models lab ui commands app.py cli.py
	$(BIN)/python -m tests.browser.chromium
	$(PYTEST) -m "$(CASES)" tests/unit tests/app
	$(BIN)/python -m pytest tests/browser  # by themselves: a starved page shows nothing but that

coverage: $(VENV)/.test-ready
	$(PYTEST) -m "$(CASES)" --cov --cov-report term:skip-covered tests/unit tests/app

bench: $(VENV)/.test-ready
	$(BIN)/python benchmarks/bench_latency.py
	$(BIN)/python benchmarks/bench_shift.py
	$(BIN)/python benchmarks/bench_train.py
	$(BIN)/python benchmarks/bench_learn.py
	$(BIN)/python benchmarks/bench_channels.py

$(VENV)/.run-ready: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -r requirements.txt
	touch $@

$(VENV)/.test-ready: requirements-dev.txt $(VENV)/.run-ready
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .gradio
