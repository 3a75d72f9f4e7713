# Needs Python 3.11 and make; everything else is installed into VENV from requirements.lock.

PYTHON ?= python3.11
VENV ?= .venv
# Test processes; tests/conftest.py divides the cores between them.
TEST_PROCESSES ?= 2

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The venv's own interpreter starts every tool, so nothing depends on an activated environment.
PYTEST := $(BIN)/python -m pytest -q
# Tests of one file stay in one process: they share what TensorFlow has traced.
PARALLEL := -n $(TEST_PROCESSES) --dist loadfile

.PHONY: help setup test test-large lint format play demo lock clean

help:
	@echo "make setup       install everything into $(VENV)"
	@echo "make test        lint, then the default tests"
	@echo "make test-large  the default tests and the large ones"
	@echo "make lint        check style, formatting and who imports whom"
	@echo "make format      correct style and formatting"
	@echo "make demo        play the trained models, then run the whole chain on real audio; into demo/"
	@echo "make play        only play the trained models"
	@echo "make lock        renew requirements.lock from setup.py"
	@echo "make clean       remove $(VENV) and caches; data and runs stay"

setup: $(STAMP)

$(STAMP): requirements.lock setup.py
	@command -v $(PYTHON) >/dev/null || { \
		echo "$(PYTHON) was not found: install Python 3.11, or name it: make PYTHON=/path/to/python3.11"; \
		exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
		echo "$(PYTHON) is not Python 3.11, which tempocnn and keras both need"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: lint
	$(PYTEST) $(PARALLEL)

test-large: lint
	$(PYTEST) $(PARALLEL) --run_large

DEMO := demo
PLAYED := piano techno

play: setup
	@mkdir -p $(DEMO)
	@for name in $(PLAYED); do \
		$(BIN)/musika-generate --model_dir=weights/$$name --seconds=60 --seed=1 \
			--out=$(DEMO)/$$name.wav --picture || exit 1; \
	done
	@echo
	@echo "$(DEMO)/piano.wav, $(DEMO)/techno.wav    60 s of new music by the trained models in weights/;"
	@echo "                                 $(DEMO)/*.png show it"
	@echo

# The whole chain with few steps, so that it ends within minutes: it shows how everything is used,
# not how good it gets. Running it again goes on where it stopped.
DEMO_FLAGS := --flagfile=flags/presets/small.flags --batch_size=4 --learning_rate=4e-4
DEMO_TRAIN := $(BIN)/musika-train-autoencoder $(DEMO_FLAGS) \
	--run_dir=$(DEMO)/run --data_dir=$(DEMO)/data

demo: play
	$(BIN)/musika-prepare $(DEMO_FLAGS) --audio_dir=tests/data/piano --data_dir=$(DEMO)/data --overwrite
	$(DEMO_TRAIN) --level=1 --phase=1 --n_steps=1200
	$(DEMO_TRAIN) --level=1 --phase=2 --n_steps=500
	$(DEMO_TRAIN) --level=2 --phase=1 --n_steps=900
	$(DEMO_TRAIN) --level=2 --phase=2 --n_steps=250
	$(BIN)/musika-encode --run_dir=$(DEMO)/run --data_dir=$(DEMO)/data \
		--latent_dir=$(DEMO)/latents --overwrite
	$(BIN)/musika-train-gan $(DEMO_FLAGS) --run_dir=$(DEMO)/run --latent_dir=$(DEMO)/latents \
		--n_steps=1000 --batch_size=8 --r1_weight=10
	$(BIN)/musika-export --run_dir=$(DEMO)/run --model_dir=$(DEMO)/model
	$(BIN)/musika-generate --model_dir=$(DEMO)/model --seconds=30 --out=$(DEMO)/music.wav --picture
	@echo
	@echo "$(DEMO)/piano.wav      60 s of the trained piano model, and techno.wav of the techno model"
	@echo "$(DEMO)/music.wav      30 s of the model that was just trained, for minutes"
	@echo "$(DEMO)/*.png          their waveforms and log-mel spectrograms"
	@echo "$(DEMO)/model/         the SavedModel, a folder a version"
	@echo "$(DEMO)/run/           the training: $(BIN)/tensorboard --logdir=$(DEMO)/run shows and plays it"

# In an environment of its own: pip-tools is no part of the project's.
lock:
	scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && \
	$(PYTHON) -m venv "$$scratch" && "$$scratch/bin/pip" install --quiet pip-tools && \
	CUSTOM_COMPILE_COMMAND="make lock" "$$scratch/bin/pip-compile" --quiet --generate-hashes \
		--allow-unsafe --strip-extras --extra test --no-emit-index-url --no-emit-find-links \
		--no-emit-trusted-host --no-emit-options --output-file requirements.lock setup.py

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
