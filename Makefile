# make demo     animate a portrait with the packaged weights; the videos land in outputs/demo/
# make test     run every test
# make install  make .venv with the `xnemo` command in it (demo and test do this by themselves)
# make weights  train every network anew from clips: make weights DATA=manifest.csv MINUTES=120 LANDMARKER=face_landmarker.task
#               (WEIGHTS=outputs/weights is where to, SETTINGS='key=value ...' are those of `xnemo train all`; given again,
#               it goes on where it was; docs/default-weights.md)
# make check    for developers: lint, types, fast tests
# make fuzz     for developers: 20,000 broken files into every reader; minutes
# make faults   for developers: kills, interruptions, full disks and more for long jobs; 20 minutes of processor time
# make audit    for developers: known weaknesses of the installed packages; asks the package index's database
# make clean    remove what the targets above made, the environment and the outputs included
#
# Python 3.11, 3.12 or 3.13 is needed; name another interpreter with `make install PYTHON=/path/to/python3.12`.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXTRAS := dev,train,ray,viewer
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

# The first interpreter on the path that suits; an environment that is already there keeps its own.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13; do \
	"$$p" -c "$(SUPPORTED)" 2>/dev/null && echo "$$p" && break; done)

.PHONY: install demo test weights check fuzz faults audit clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@if [ ! -x $(BIN)/python ]; then \
		if [ -z "$(PYTHON)" ] || ! "$(PYTHON)" -c "$(SUPPORTED)" 2>/dev/null; then \
			echo "error: Python 3.11, 3.12 or 3.13 is needed, and '$(if $(PYTHON),$(PYTHON),python3)' is none of them;" \
				"install one and name it: make install PYTHON=/path/to/python3.12" >&2; exit 1; fi; \
		echo "making $(VENV) with $(PYTHON)"; "$(PYTHON)" -m venv $(VENV); fi
	@$(BIN)/python -c "$(SUPPORTED)" || { \
		echo "error: $(VENV) was made with another Python than 3.11, 3.12 or 3.13; remove it (make clean) and try again" >&2; exit 1; }
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e '.[$(EXTRAS)]' -c constraints.txt
	@touch $@

demo: install
	$(BIN)/xnemo demo

test: install
	$(BIN)/python -m pytest -n auto --dist loadfile

MINUTES ?= 60
WEIGHTS ?= outputs/weights
LANDMARKER ?= face_landmarker.task
SETTINGS ?=

weights: install
	@if [ -z "$(DATA)" ]; then \
		echo "error: name a manifest or a folder of clips: make weights DATA=manifest.csv MINUTES=120" >&2; exit 2; fi
	$(BIN)/xnemo train all "$(DATA)" --minutes $(MINUTES) -o "$(WEIGHTS)" \
		"settings.prepare=['landmarker=$(LANDMARKER)']" $(SETTINGS)

check: install
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not slow"

fuzz: install
	$(BIN)/python -m tests.fuzz --cases 20000

faults: install
	$(BIN)/python -m tests.faults --moments 20 --others 2

audit: install
	$(BIN)/python -m pip install --disable-pip-version-check --quiet pip-audit
	$(BIN)/python -m pip_audit --local --skip-editable --strict

clean:
	rm -rf $(VENV) outputs build dist .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
