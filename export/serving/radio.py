"""Music without end over HTTP, at the speed at which it is heard.

A listener gets some seconds at once and then what time takes away from them. Nothing is computed
that a connection does not take: who is slow waits alone.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import pathlib
import time
from collections.abc import AsyncIterator, Iterator, Mapping

import tensorflow as tf
from absl import logging
from grpc import StatusCode
from starlette.datastructures import QueryParams
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from export.serving import encoders, errors, metrics, radio_query
from export.serving.settings import Settings
from export.serving.versions import Versions
from musika_tf.config import Config
from musika_tf.player import Player, Signature, player_of_version
from musika_tf.stream import Stream

# So much is sent before it is heard.
_LEAD_SECONDS = 5.0


class Radio:
    """The streams of one server; all but the work itself happens in one event loop.

    The work has threads of its own, as many as requests have: a long request makes no gap.

    Args:
      settings: how many may listen, and how many threads there are.
      versions: whose newest version plays. A stream goes on with the next one if its config is the
        same, or ends.
    """

    def __init__(self, settings: Settings, versions: Versions):
        self._settings, self._versions = settings, versions
        self._threads = concurrent.futures.ThreadPoolExecutor(settings.max_concurrency, "radio")
        self._known: tuple[int, Player] | None = None
        self._n_listeners = 0
        self._over = asyncio.Event()

    def listing(self) -> dict:
        """What can be heard, for JSON.

        Raises:
          ServingError: the version that serves is no model of music.
        """
        name, formats = self._settings.model_name, encoders.FORMATS.items()
        return {
            "streams": {f"/radio/{name}.{suffix}": format_.text for suffix, format_ in formats},
            "query": radio_query.described(self._player().config),
            "listeners": self._n_listeners,
            "max_listeners": self._settings.max_listeners,
        }

    def response(self, suffix: str, query: QueryParams) -> StreamingResponse:
        """The stream that a request asks for.

        Raises:
          ServingError: another format, a query that says what cannot be, or too many listen.
        """
        if suffix not in encoders.FORMATS:
            known = ", ".join(encoders.FORMATS)
            message = f"there is no stream of format {suffix[:20]!r}: it may be {known}"
            raise errors.ServingError(StatusCode.NOT_FOUND, message)
        limit = self._settings.max_listeners
        if self._n_listeners >= limit:
            message = f"{limit} are listening already, as many as may: try again later"
            raise errors.ServingError(StatusCode.UNAVAILABLE, message)
        player = self._player()
        try:
            stream = radio_query.stream(player, query)
        except ValueError as error:
            raise errors.invalid(str(error)) from None
        chunks = self._chunks(stream, player.config, suffix)
        return _Response(self._listening(), chunks, encoders.FORMATS[suffix].media_type)

    def close(self) -> None:
        """Ends all streams."""
        self._over.set()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _player(self) -> Player:
        """Plays the version that serves, and whichever of the same config serves later."""
        version = self._versions.model().version
        if self._known is None or self._known[0] != version:
            path = pathlib.Path(self._settings.model_dir, str(version))
            calls = (self._signature(name) for name in ("latents", "decode"))
            try:
                self._known = version, player_of_version(path, *calls)
            except (ValueError, OSError) as error:
                raise errors.ServingError(StatusCode.NOT_FOUND, f"no radio: {error}") from None
        return self._known[1]

    def _signature(self, name: str) -> Signature:
        # The version is asked for every time: none stays in memory because somebody listens.
        def call(**inputs: tf.Tensor) -> Mapping[str, tf.Tensor]:
            signature = self._versions.model().signature(name)
            outputs = signature({key: value.numpy() for key, value in inputs.items()})
            return {key: tf.constant(value) for key, value in outputs.items()}

        return call

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        self._n_listeners += 1
        try:
            with metrics.LISTENERS.track_inprogress():
                yield
        finally:
            self._n_listeners -= 1

    async def _chunks(self, stream: Stream, config: Config, suffix: str) -> AsyncIterator[bytes]:
        """Chunk after chunk, never further ahead of time than the lead."""
        encoder = encoders.Encoder(suffix, config.audio.sample_rate_hz)
        pace = _Pace()

        def next_chunk() -> tuple[bytes, float]:
            waveform = next(stream)
            return encoder.encode(waveform), len(waveform) / config.audio.sample_rate_hz

        try:
            while not await self._is_over_after(pace.ahead_seconds - _LEAD_SECONDS):
                if self._player().config != config:
                    return
                pace.begin()
                loop = asyncio.get_running_loop()
                data, seconds = await loop.run_in_executor(self._threads, next_chunk)
                pace.end(seconds)
                yield data
        except Exception:  # The head was sent: all there is left to do is to end.
            logging.exception("a stream failed inside the server")

    async def _is_over_after(self, seconds: float) -> bool:
        """Whether the server is told to stop before so much time has passed."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), max(0.0, seconds))
        return self._over.is_set()


class _Pace:
    """How far what was sent to a listener is ahead of what they have heard."""

    def __init__(self):
        self._heard_until, self._has_music = 0.0, False

    @property
    def ahead_seconds(self) -> float:
        """Below 0: they have nothing to hear, because they took nothing or because it is late."""
        return self._heard_until - time.monotonic()

    def begin(self) -> None:
        """The next chunk is begun."""
        self._has_music = self.ahead_seconds > 0.0

    def end(self, seconds: float) -> None:
        """It is there, and so long. What was missed is heard later: nobody hurries to make up."""
        if self._has_music and self.ahead_seconds < 0.0:
            metrics.LATE_CHUNKS.inc()
        metrics.PLAYED_SECONDS.inc(seconds)
        self._heard_until = max(self._heard_until, time.monotonic()) + seconds


class _Response(StreamingResponse):
    """Counts as a listener from the first to the last moment, however it ends."""

    def __init__(
        self,
        listening: contextlib.AbstractContextManager,
        chunks: AsyncIterator[bytes],
        media_type: str,
    ):
        super().__init__(chunks, headers={"Cache-Control": "no-store"}, media_type=media_type)
        self._listening = listening

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._listening:
            await super().__call__(scope, receive, send)
