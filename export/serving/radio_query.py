"""What the address of a stream says of its music: `?seed=5&start=1:00:00&tempo_bpm=130`."""

from __future__ import annotations

import re
import secrets

from starlette.datastructures import QueryParams

from musika_tf.conditioning import controls
from musika_tf.conditioning.controls import RANDOM_WALK, Control
from musika_tf.config import Config, Signal
from musika_tf.generation import MAX_SEED, parse_time
from musika_tf.networks import coordinates
from musika_tf.player import Player
from musika_tf.stream import MAX_START_SECONDS, Seed, Stream, require_start

_DEFAULT_VARIETY = 2.0
_MAX_LENGTH = 100
# A part of a walk takes all that lies before it: milliseconds after a day, seconds after a year.
_MAX_WALK_START_SECONDS = 86_400.0
# Of a longer chunk the first sample would wait for the last.
_CHUNK_SECONDS = 3.0


def described(config: Config) -> dict[str, str]:
    """By name what a query may say to a model."""
    return {
        "seed": f"0 to {MAX_SEED}, or two of them, like 5.1: the piece; without it, any",
        "variety": f"above 0, to {coordinates.MAX_TRUNCATION:g}: where anchors and style are cut; "
        f"without it {_DEFAULT_VARIETY:g}",
        "start": f"seconds or h:mm:ss, to {MAX_START_SECONDS:g} s: where in the piece to begin",
    } | {
        asked.name: f"{asked.range_text}, {RANDOM_WALK}, or {RANDOM_WALK}:MINIMUM:MAXIMUM; without "
        f"it {asked.middle:g}"
        for asked in config.conditioning.asked
    }


def stream(player: Player, query: QueryParams) -> Stream:
    """The stream that a query asks for.

    Raises:
      ValueError: it says what a stream does not know, twice the same, or a value out of range.
    """
    given = _texts(query, described(player.config))
    seed = _seed(given.pop("seed", str(secrets.randbelow(MAX_SEED + 1))))
    variety = _variety(given.pop("variety", str(_DEFAULT_VARIETY)))
    start_seconds = parse_time(given.pop("start", "0"))
    require_start(start_seconds)
    following = _controls(given, player.config.conditioning.signals, start_seconds)
    audio = player.config.audio
    chunk_seconds = max(_CHUNK_SECONDS, audio.excerpt_n_samples / audio.sample_rate_hz)
    return player.stream(
        seed, variety, following, start_seconds=start_seconds, max_chunk_seconds=chunk_seconds
    )


def _texts(query: QueryParams, known: dict[str, str]) -> dict[str, str]:
    texts = dict(query.multi_items())
    for name, text in query.multi_items():
        if name not in known:
            raise ValueError(f"unknown {name[:_MAX_LENGTH]!r}: a stream takes {', '.join(known)}")
        if len(text) > _MAX_LENGTH:
            raise ValueError(f"{name} is longer than {_MAX_LENGTH} characters: {known[name]}")
        if text != texts[name]:
            raise ValueError(f"{name} is said twice, {text!r} and {texts[name]!r}: say it once")
    return texts


def _seed(text: str) -> Seed:
    numbers = [int(word) for word in text.split(".")] if re.fullmatch(r"\d+(\.\d+)?", text) else []
    if not numbers or max(numbers) > MAX_SEED:
        raise ValueError(
            f"seed={text} must be a whole number from 0 to {MAX_SEED}, or two with a point between "
            "them, like 5.1"
        )
    return numbers[0], numbers[1] if len(numbers) > 1 else 0


def _variety(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"variety={text} must be a number, like 2") from None
    coordinates.require_truncation(value, "variety")
    return value


def _controls(
    given: dict[str, str], signals: tuple[Signal, ...], start_seconds: float
) -> tuple[Control, ...]:
    for name, text in given.items():
        if text.startswith(RANDOM_WALK) and start_seconds > _MAX_WALK_START_SECONDS:
            raise ValueError(
                f"{name}={text} needs a start of at most {_MAX_WALK_START_SECONDS:g} s, not "
                f"{start_seconds:g} s: give {name} a number, or begin earlier"
            )
    return controls.parse_all(given, signals, with_files=False)
