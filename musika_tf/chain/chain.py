"""Audio → weights that play, in a given time: all stages one after the other, with their budget.

    RUNS_DIR/NAME/           the run, see musika_tf/runs/run.py, and beside its stages:
      data/, latents/        shards
      plan.json              what was asked, what is done, how long each training is
    WEIGHTS_DIR/NAME/        what is released in the end, with a card

A chain that was stopped goes on where it stood when the same is asked again.
"""

from __future__ import annotations

import functools
import pathlib
import re
import tempfile
import time
from collections.abc import Callable

import numpy as np

from musika_tf import progress
from musika_tf.chain.order import Order
from musika_tf.chain.plan import PLAN_FILE, TRAININGS, Plan
from musika_tf.data import encoding, preparation
from musika_tf.data.datasets import open_waveforms
from musika_tf.data.workers import LocalWorkers, sharing_machine
from musika_tf.evaluation import comparison, quality
from musika_tf.generation import Request
from musika_tf.runs import checkpoint, release, shipped
from musika_tf.runs.run import Run, require_same_encoder
from musika_tf.statistics import window_frechet
from musika_tf.training import budget, stage
from musika_tf.training.stage import StartedStage


class Chain:
    """All stages of an order; `run` does what is left of them."""

    def __init__(self, order: Order):
        """Checks what can be known before hours are spent.

        Raises:
          ValueError: something else was begun or lies there under this name, the GAN to begin with
            does not fit, or nothing estimates a signal.
        """
        self._order = order
        self._run = Run(pathlib.Path(order.runs_dir, order.name))
        self._weights_dir = pathlib.Path(order.weights_dir, order.name)
        self._data_dir, self._latent_dir = (self._run.folder / x for x in ("data", "latents"))
        trainings = TRAININGS if order.autoencoder is None else TRAININGS[-1:]
        self._stages: dict[str, Callable[[], None]] = {"prepare": self._prepare}
        self._stages |= {name: functools.partial(self._train, name) for name in trainings}
        # What the GAN learns comes before it, and after all others.
        train_gan = self._stages.pop("gan")
        self._stages |= {"encode": self._encode, "gan": train_gan, "release": self._release}
        path = self._run.folder / PLAN_FILE
        self._plan = Plan(path, order.asked, tuple(self._stages), order.hours)
        if self._plan.is_new:
            for folder in (self._run.folder, self._weights_dir):
                if folder.exists():
                    raise ValueError(f"{folder} is there already: give another --name")
        if order.init_from:
            self._require_fit(order.init_from)

    def run(self) -> pathlib.Path:
        """Does every stage that is not done, and returns the folder of the weights."""
        self._plan.save()
        seconds = {name: self._plan.seconds_of(name) for name in self._stages}
        with progress.Journey(self._order.name, seconds) as self._journey:
            for name, do in self._stages.items():
                if name in self._plan.done:
                    continue
                self._journey.begin(name)
                self._begun = time.monotonic()
                try:
                    do()
                    self._plan.done.append(name)
                finally:
                    # Whatever ends it, the time that it took is counted.
                    self._plan.spent_seconds += time.monotonic() - self._begun
                    self._plan.save()
        spent, given = self._plan.spent_seconds / 60, 60 * self._order.hours
        print(f"{self._weights_dir}: made in {spent:.0f} of {given:.0f} minutes")
        return self._weights_dir

    # Data

    def _prepare(self) -> None:
        order, config = self._order, self._order.config()
        with sharing_machine(order.n_workers):
            report = preparation.prepare(
                order.recordings,
                self._data_dir,
                config.audio,
                validation_share=order.validation_share,
                example_n_samples=config.anchor_hop_size,
                workers=LocalWorkers(order.n_workers),
                overwrite=True,
                stuck_after_seconds=order.stuck_after_seconds,
                annotators=order.annotators,
                labels=order.labels,
            )
        print(report.to_text())

    def _encode(self) -> None:
        encoding.encode_shards(
            self._source,
            self._data_dir,
            self._latent_dir,
            overwrite=True,
            max_onsets_per_second=self._order.config().conditioning.max_onsets_per_second,
        )

    @property
    def _source(self) -> Run:
        """Whose encoders make the latents."""
        return self._order.autoencoder or self._run

    # Training

    def _train(self, name: str) -> None:
        """A stage of training; its length is decided once, by what a step takes on this machine."""
        loop, seconds = self._plan.loops.get(name), self._plan.seconds_of(name)
        self._journey.begin(name, seconds)
        start = self._start_gan if name == "gan" else self._start_autoencoder
        started = start(name, loop.n_steps if loop else budget.TRIED_N_STEPS)
        if loop is None:
            left = seconds - (time.monotonic() - self._begun)
            loop = self._plan.loops[name] = budget.settings_within(started, left)
            self._plan.save()
            print(f"{name}: {loop.n_steps} steps in about {max(left, 0.0) / 60:.0f} minutes")
        started.train(loop)

    def _start_autoencoder(self, name: str, n_steps: int) -> StartedStage:
        level, phase = (int(digit) for digit in re.findall(r"\d", name))
        return stage.start_autoencoder(
            run=self._run,
            data_dir=self._data_dir,
            config=self._run.saved_config or self._order.config(),
            training=self._order.training,
            level=level,
            phase=phase,
            n_steps=n_steps,
            flags_text=self._order.flags_text,
        )

    def _start_gan(self, name: str, n_steps: int) -> StartedStage:
        init_from = self._init_from()
        return stage.start_gan(
            run=self._run,
            latent_dir=self._latent_dir,
            config=self._run.saved_config or self._order.config(init_from and init_from.config),
            training=self._order.training,
            n_steps=n_steps,
            adopted=self._order.autoencoder,
            init_from=init_from and init_from.folder,
            flags_text=self._order.flags_text,
        )

    # The GAN to begin with

    def _init_from(self) -> Run | None:
        if self._plan.init_from is None:
            found = self._order.init_from or self._nearest()
            self._plan.init_from = str(found) if found else ""
            self._plan.save()
            print(f"gan: begins with {found}" if found else "gan: begins with random weights")
        return Run(self._plan.init_from) if self._plan.init_from else None

    def _nearest(self) -> Run | None:
        """Of the GANs that ship and fit the one whose music is nearest to that of the folder.

        Of its training part: of a small folder little is held out, and the narrowest GAN would be
        nearest to that.
        """
        fitting = [run for run in map(Run, shipped.playable().values()) if self._fits(run)]
        if len(fitting) < 2:
            return next(iter(fitting), None)
        autoencoder = self._source.autoencoder()
        shards = open_waveforms(self._data_dir, autoencoder.config)
        training = quality.encoded(autoencoder, shards, "train")
        return min(fitting, key=lambda run: _distance(run, training))

    def _fits(self, run: Run) -> bool:
        try:
            self._require_fit(run)
        except ValueError:
            return False
        return True

    def _require_fit(self, other: Run) -> None:
        """Raises ValueError if a GAN cannot begin with that of another run."""
        if self._order.autoencoder is None:
            raise ValueError(
                "--init_from needs the encoders that its latents are of: leave out --from_scratch"
            )
        config = self._order.config(other.config)
        initial = self._run.initial_checkpoint("gan", other.folder, config)
        require_same_encoder(initial, self._order.autoencoder.encoder_fingerprint())

    # The end

    def _release(self) -> None:
        """The best GAN, or the newest where no best one is known; its card has it beside others."""
        with_best = checkpoint.best(self._run.stage_dir("gan")) is not None
        with tempfile.TemporaryDirectory() as folder:
            words = pathlib.Path(folder, release.CARD_FILE)
            words.write_text(self._words(), encoding="utf-8")
            release.release(self._run, self._weights_dir, words, with_best, overwrite=True)
        runs = {self._order.name: Run(self._weights_dir)}
        if self._plan.init_from:
            begun = Run(self._plan.init_from)
            runs[f"{begun.folder.name}, which it began with"] = begun
        figures = comparison.compare(runs, self._data_dir)
        release.add_to_card(self._weights_dir, f"## Figures\n\n{figures}")
        print(f"\n{figures}\n")

    def _words(self) -> str:
        """What the card begins with."""
        config = self._run.config
        shards = open_waveforms(self._data_dir, config)
        heard, held_out = (
            sum(source.n_rows for source in shards.split(split)) / config.audio.sample_rate_hz
            for split in ("train", "validation")
        )
        source, begun = self._order.autoencoder, self._plan.init_from
        autoencoder = f"that of {source.folder.name}" if source else "its own"
        gan = f"that of {Run(begun).folder.name}" if begun else "random weights"
        return (
            f"# {self._order.name}\n\n"
            f"    musika-generate --model_dir={self._weights_dir} --out=music.flac\n\n"
            f"Made by `musika-train` of {heard / 60:.0f} minutes of audio; {held_out / 60:.1f} "
            f"minutes more were held out. The autoencoder is {autoencoder}; the GAN began with "
            f"{gan}.\n\n"
            "**Data and licence**: to be told before it is given away.\n"
        )


def _distance(run: Run, music: np.ndarray) -> float:
    latents = quality.generated_latents(run.synthesizer(), Request())
    return window_frechet(music, latents, run.config.second_n_latents)
