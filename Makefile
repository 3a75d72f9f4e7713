# Needs Python 3.11 and make; everything else is installed into VENV from requirements.lock.
# musika_tf itself runs on Python 3.11 to 3.13: pip install '.[serving]'.

PYTHON ?= python3.11
VENV ?= .venv
# More than the default tests: --run_slow, as continuous integration does, or --run_large.
TIERS ?=
# Test processes; tests/conftest.py divides the cores between them.
TEST_PROCESSES ?= 2

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The venv's own interpreter starts every tool, so nothing depends on an activated environment.
PYTEST := $(BIN)/python -m pytest -q
# Tests of one file stay in one process: they share what TensorFlow has traced.
PARALLEL := -n $(TEST_PROCESSES) --dist loadfile

# For the newest packages: the first interpreter of these that runs, and a venv of its own.
NEWEST_PYTHON ?= $(shell for python in python3.13 $(HOME)/.pyenv/versions/3.13.*/bin/python \
	python3.12 $(HOME)/.pyenv/versions/3.12.*/bin/python; do \
	"$$python" -c "" 2>/dev/null && echo "$$python" && break; done)
NEWEST_VENV ?= .venv-newest
# Mathematics, a step of training, the player, gRPC, and the weights that ship.
NEWEST_TESTS := $(addprefix tests/test_,spectral.py losses.py coordinates.py autoencoder.py \
	gan.py critics.py gan_trainer.py::test_step_changes_all_networks_but_not_what_is_fixed \
	lowering.py::test_step_lowers_to_one_program[level1_phase1] player.py serving_grpc.py weights.py)

.PHONY: help setup test test-newest test-large lint format play page demo results samples lock clean

help:
	@echo "make setup       install everything into $(VENV)"
	@echo "make test        lint, then the default tests"
	@echo "make test-newest core tests with the newest TensorFlow, on Python 3.13 or 3.12"
	@echo "make test-large  all tests; make test TIERS=--run_slow: all but those that take minutes each"
	@echo "make lint        check style, formatting and who imports whom"
	@echo "make format      correct style and formatting"
	@echo "make demo        play the trained models, then run the whole chain on real audio; into demo/"
	@echo "make play        only play the trained models"
	@echo "make page        play and steer them in the browser; Ctrl-C ends it"
	@echo "make results     measure the trained models anew: reports/*/index.html, docs/results.md; needs DATA=folder"
	@echo "make samples     take docs/samples from these reports"
	@echo "make lock        renew requirements.lock from setup.py"
	@echo "make clean       remove $(VENV), $(NEWEST_VENV) and caches; data and runs stay"

setup: $(STAMP)

$(STAMP): requirements.lock setup.py
	@command -v $(PYTHON) >/dev/null || { \
		echo "$(PYTHON) was not found: install Python 3.11, or name it: make PYTHON=/path/to/python3.11"; \
		exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
		echo "$(PYTHON) is not Python 3.11, which requirements.lock is for"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@# Its files alone: what it requires is of 2019, and nothing of it is imported.
	$(BIN)/python -m pip install --quiet --no-deps musicnn==0.1.0
	@touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: lint
	$(PYTEST) $(PARALLEL) $(TIERS)

test-newest:
	@python="$(NEWEST_PYTHON)"; if [ -z "$$python" ]; then \
		echo "no Python 3.13 or 3.12 runs here: nothing was tested with the newest TensorFlow"; exit; \
	fi; set -ex; \
	"$$python" -m venv $(NEWEST_VENV); \
	$(NEWEST_VENV)/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager -e ".[serving,test]"; \
	$(NEWEST_VENV)/bin/python -m pytest -q $(NEWEST_TESTS)

test-large:
	$(MAKE) test TIERS=--run_large

DEMO := demo
PLAYED := piano techno orchestral
# What those that follow something are told.
piano_FLAGS := --tempo_bpm=80 --note_density=0.4
techno_FLAGS := --tempo_bpm=128

play: setup
	@mkdir -p $(DEMO)
	@$(foreach name,$(PLAYED),$(BIN)/musika-generate --model_dir=$(name) --seconds=60 --seed=1 \
		$($(name)_FLAGS) --out=$(DEMO)/$(name).wav --picture &&) true
	@echo
	@echo "$(DEMO)/*.wav    60 s of new music by each trained model in weights/: $(PLAYED); $(DEMO)/*.png show it"
	@echo

page: setup
	$(BIN)/musika-play

# The whole chain in 12 minutes: it shows how everything is used, not how good it gets. Running it
# again goes on where it stopped.
demo: play
	$(BIN)/musika-train --preset=small --batch_size=4 --learning_rate=4e-4 --from_scratch \
		--audio_dir=tests/data/piano --name=music --hours=0.2 \
		--runs_dir=$(DEMO)/runs --weights_dir=$(DEMO)/weights
	$(BIN)/musika-generate --model_dir=$(DEMO)/weights/music --seconds=30 --out=$(DEMO)/music.wav \
		--picture
	@echo
	@echo "$(DEMO)/piano.wav      60 s of the trained piano model, and others: $(PLAYED)"
	@echo "$(DEMO)/music.wav      30 s of the model that was just trained, for minutes"
	@echo "$(DEMO)/*.png          their waveforms and log-mel spectrograms"
	@echo "$(DEMO)/weights/music/ the weights, with a card that says how far they are from real music"
	@echo "$(DEMO)/runs/music/    the training: $(BIN)/tensorboard --logdir=$(DEMO)/runs shows and plays it"

# Each model beside shards of music that it was not trained on, $(DATA)/piano_test and so on.
REPORTS := reports

results: setup
	@test -d "$(DATA)" || { echo "make results DATA=folder: of shards NAME_test, as musika-prepare makes them"; exit 1; }
	@for name in $(PLAYED); do \
		$(BIN)/musika-evaluate --run_dir=weights/$$name --data_dir=$(DATA)/$${name}_test \
			--out=$(REPORTS)/$$name --overwrite || exit 1; \
	done
	@{ printf '# Results\n\nWritten by `make results`; [evaluation.md](evaluation.md) says what was done.\n'; \
		for name in $(PLAYED); do echo; cat $(REPORTS)/$$name/results.md; done; } > docs/results.md

samples:
	@for name in $(PLAYED); do for end in mp3 png; do \
		cp $(REPORTS)/$$name/samples/seed-1.$$end docs/samples/$$name.$$end || exit 1; \
	done; done

# In an environment of its own: pip-tools is no part of the project's.
lock:
	scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && \
	$(PYTHON) -m venv "$$scratch" && "$$scratch/bin/pip" install --quiet pip-tools && \
	CUSTOM_COMPILE_COMMAND="make lock" "$$scratch/bin/pip-compile" --quiet --generate-hashes \
		--allow-unsafe --strip-extras --extra serving --extra tempo --extra test \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options \
		--output-file requirements.lock setup.py

clean:
	rm -rf $(VENV) $(NEWEST_VENV) .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
