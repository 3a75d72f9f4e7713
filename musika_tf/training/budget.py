"""How many steps a stage can take in a given time.

The learning rate and the discriminator follow the share of the steps that is done, so a stage has
to know its length before it begins. It is tried out for some seconds, at several places of its
schedule, put back to where it was, and given the number of steps that fits.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable

import tensorflow as tf

from musika_tf.training import devices, pipeline
from musika_tf.training.loop import LoopSettings
from musika_tf.training.stage import StartedStage

# Length of a stage that is tried out: its steps are dear where the schedule says so.
TRIED_N_STEPS = 10_000
# Places in it, and steps there: whole periods of what does not happen in every step.
_TRIED_SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
_TRIED_AT_ONCE = 4
# At most this share of the time goes to trying, up to so many seconds.
_TRIED_SHARE, _MAX_TRIED_SECONDS = 0.03, 20.0
# Machines slow down: what is left over is time for what follows.
_SAFETY = 0.93
# Of the time at most this share goes to validations, of which there are so many.
_VALIDATION_SHARE, _MIN_N_VALIDATIONS, _MAX_N_VALIDATIONS = 0.1, 3, 20
# Fewer steps are no training.
_LEAST_N_STEPS = 20
_CHECKPOINT_SECONDS = 300.0
# A call is not interrupted.
_CALL_SECONDS = 10.0


def settings_within(started: StartedStage, seconds: float) -> LoopSettings:
    """The loop of a stage that has not begun, so that it ends after about so many seconds.

    It leaves the trainer as it was, but for its length. Of too little time for 20 steps, 20 are
    taken.

    Args:
      started: with a length of `TRIED_N_STEPS`.
      seconds: what the stage may take from now on.
    """
    begun, trainer = time.monotonic(), started.trainer
    kept = {name: variable.numpy() for name, variable in trainer.named_variables().items()}
    try:
        compile_seconds, step_seconds = _tried(started, seconds)
        # The first time it is compiled.
        validation_seconds = min(
            _seconds_of(lambda: (trainer.validate(), trainer.sample())) for _ in range(2)
        )
    finally:
        for name, variable in trainer.named_variables().items():
            variable.assign(kept[name])
    # The step is compiled again, for its true length.
    left = seconds - (time.monotonic() - begun) - compile_seconds
    settings = _fitting(_SAFETY * left, step_seconds, validation_seconds)
    trainer.n_steps = settings.n_steps
    return settings


def _fitting(seconds: float, step_seconds: float, validation_seconds: float) -> LoopSettings:
    """What can be done in so many seconds."""
    affordable = int(_VALIDATION_SHARE * max(seconds, 0.0) / validation_seconds)
    n_validations = min(max(affordable, _MIN_N_VALIDATIONS), _MAX_N_VALIDATIONS)
    # One more before the first step.
    for_steps = seconds - (n_validations + 1) * validation_seconds
    n_steps = max(_LEAST_N_STEPS, int(for_steps / step_seconds))
    return LoopSettings(
        n_steps=n_steps,
        n_steps_per_call=_n_steps_in(_CALL_SECONDS, step_seconds, LoopSettings.n_steps_per_call),
        checkpoint_n_steps=_n_steps_in(_CHECKPOINT_SECONDS, step_seconds, n_steps),
        sample_n_steps=math.ceil(n_steps / n_validations),
    )


def _n_steps_in(seconds: float, step_seconds: float, most: int) -> int:
    return min(max(1, int(seconds / step_seconds)), most)


def _tried(started: StartedStage, seconds: float) -> tuple[float, float]:
    """Seconds that compiling takes, and those of a step, all places of the schedule alike."""
    step = started.trainer.state["step"]
    limit = min(_TRIED_SHARE * seconds, _MAX_TRIED_SECONDS) / len(_TRIED_SHARES)
    compile_begun = time.monotonic()
    take = _compiled(started)
    compile_seconds = time.monotonic() - compile_begun
    paces = []
    for share in _TRIED_SHARES:
        step.assign(round(share * TRIED_N_STEPS))
        begun, n_taken = time.monotonic(), 0
        while not n_taken or time.monotonic() - begun < limit:
            take(_TRIED_AT_ONCE)
            n_taken += _TRIED_AT_ONCE
        paces.append((time.monotonic() - begun) / n_taken)
    return compile_seconds, sum(paces) / len(paces)


def _compiled(started: StartedStage) -> Callable[[int], object]:
    """Takes so many steps; the first is behind it. Without XLA where XLA cannot compile them."""
    if devices.wants_xla(LoopSettings.xla):
        with contextlib.suppress(tf.errors.OpError):
            return _compiled_by(started, with_xla=True)
    return _compiled_by(started, with_xla=False)


def _compiled_by(started: StartedStage, with_xla: bool) -> Callable[[int], object]:
    iterator = pipeline.iterator(started.batches, 0)
    run_steps = devices.compile_steps(started.trainer.step, iterator, with_xla)
    run_steps(iterator, tf.constant(1))
    return lambda n_steps: run_steps(iterator, tf.constant(n_steps))


def _seconds_of(function: Callable[[], object]) -> float:
    begun = time.monotonic()
    function()
    return time.monotonic() - begun
