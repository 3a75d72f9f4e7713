"""The versions of a model: found in a folder, loaded, swapped, drained, unloaded.

The newest version that can be loaded serves. A new one is loaded and warmed up beside it and takes
over in one step; the old one goes when the last request that runs on it is done. One that cannot
be loaded changes nothing but the status, and is tried again when its files change.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import enum
import gc
import os
import pathlib
import threading
from collections.abc import Callable, Iterator

from absl import logging

from export.serving import errors, warmup
from export.serving.servable import Servable

# Ended versions whose status is remembered.
_MAX_ENDED = 16
_MAX_MESSAGE_LENGTH = 1000
# Size and time of change of every file of a version.
Fingerprint = tuple[tuple[str, int, int], ...]


class State(enum.Enum):
    """As in TensorFlow Serving's GetModelStatus, values and all."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclasses.dataclass
class Version:
    """What is known about one version; changed under the lock of its `Versions` only.

    Attributes:
      number: its folder's name.
      state: where it is in its life.
      error: why it could not be loaded.
      n_users: requests that run on it or wait to.
    """

    number: int
    state: State = State.START
    error: errors.ServingError | None = None
    fingerprint: Fingerprint = ()
    servable: Servable | None = None
    n_users: int = 0


class Versions:
    """The versions of one model folder.

    Args:
      model_dir: folder of the versions.
      max_input_bytes: largest size of one input of a warm-up request.
      on_failure: called when a version could not be loaded.
    """

    def __init__(
        self,
        model_dir: str | os.PathLike,
        max_input_bytes: int,
        on_failure: Callable[[], None] = lambda: None,
    ):
        self._model_dir = pathlib.Path(model_dir)
        self._max_input_bytes = max_input_bytes
        self._on_failure = on_failure
        self._lock = threading.Lock()
        self._known: dict[int, Version] = {}
        self._current: Version | None = None
        self._seen: dict[int, Fingerprint] = {}
        self._stop = threading.Event()
        # Set when there may be something to unload.
        self._wake = threading.Event()
        self._watcher: threading.Thread | None = None

    # What requests use.

    @contextlib.contextmanager
    def lease(self, number: int | None) -> Iterator[Servable]:
        """Keeps a version in memory as long as it is used: the newest, or that of a number.

        Raises:
          ServingError: it is not there, or none is.
        """
        version = self._taken(number)
        try:
            yield version.servable
        finally:
            with self._lock:
                version.n_users -= 1
                is_done = version.n_users == 0 and version.state is State.UNLOADING
            if is_done:
                self._wake.set()

    def _taken(self, number: int | None) -> Version:
        with self._lock:
            version = self._current
            if version is None and number is None:
                raise errors.ServingError(
                    errors.Code.UNAVAILABLE, "no version of the model can be served at the moment"
                )
            if number is not None and (version is None or version.number != number):
                serving = f"; version {version.number} is served" if version else ""
                raise errors.ServingError(
                    errors.Code.NOT_FOUND, f"version {number} of the model is not served{serving}"
                )
            version.n_users += 1
            return version

    @property
    def current(self) -> int | None:
        """Number of the version that serves."""
        version = self._current
        return version.number if version else None

    @property
    def n_loaded(self) -> int:
        """Versions in memory."""
        with self._lock:
            return sum(version.servable is not None for version in self._known.values())

    def statuses(self, number: int | None = None) -> list[Version]:
        """Snapshots of all known versions, newest first, or of the one of a number.

        Raises:
          ServingError: there is no version of that number.
        """
        with self._lock:
            found = [
                dataclasses.replace(version, servable=None)
                for version in sorted(self._known.values(), key=lambda v: -v.number)
                if number in (None, version.number)
            ]
        if number is not None and not found:
            raise errors.ServingError(
                errors.Code.NOT_FOUND, f"version {number} of the model is unknown"
            )
        return found

    # The watcher.

    def start(self, poll_seconds: float) -> None:
        """Loads the newest version, then watches the folder in a thread.

        Raises:
          ValueError: there is none, or none can be loaded.
        """
        found = self._scan()
        if not found:
            raise ValueError(f"{self._model_dir} {self._what_is_wrong()}")
        self._seen = found
        self.look()
        if self._current is None:
            problems = [f"version {v.number}: {v.error}" for v in self.statuses()]
            raise ValueError(f"{self._model_dir}: {'; '.join(problems)}")
        self._watcher = threading.Thread(
            target=self._watch, args=(poll_seconds,), name="versions", daemon=True
        )
        self._watcher.start()

    def close(self) -> None:
        """Stops watching and unloads everything; no request may be under way."""
        self._stop.set()
        self._wake.set()
        if self._watcher is not None:
            self._watcher.join()
        self._retire(self._current)
        self._unload_drained()

    def _watch(self, poll_seconds: float) -> None:
        while not self._stop.is_set():
            self._wake.wait(poll_seconds)
            self._wake.clear()
            try:
                self._unload_drained()
                if not self._stop.is_set():
                    self.look()
            except Exception:  # A full disk or a vanished mount must not end the watching.
                logging.exception("looking at %s failed; going on", self._model_dir)

    def look(self) -> None:
        """Looks at the folder once: loads what is new, lets go what is gone.

        Once `start` was called, the thread of these versions does this.
        """
        found = self._scan()
        self._forget(found)
        # Files that still change are still being copied: a version is taken at the second sight.
        settled = {n: f for n, f in found.items() if self._seen.get(n) == f}
        self._seen = found
        for number in sorted(settled, reverse=True):
            if self._current is not None and number == self._current.number:
                break
            if self._is_worth_a_try(number, settled[number]) and self._load(
                number, settled[number]
            ):
                break
        else:
            # Only a version whose folder is gone leaves without another taking its place.
            is_alone = settled.keys() == found.keys()
            if self._current is not None and self._current.number not in found and is_alone:
                logging.warning("version %d is gone from the folder", self._current.number)
                self._replace_current(None)

    def _is_worth_a_try(self, number: int, fingerprint: Fingerprint) -> bool:
        known = self._known.get(number)
        if known is None:
            return True
        return known.state is State.END and not (known.error and known.fingerprint == fingerprint)

    def _load(self, number: int, fingerprint: Fingerprint) -> bool:
        """Loads a version and lets it serve; False if it cannot be loaded."""
        version = Version(number, State.LOADING, fingerprint=fingerprint)
        with self._lock:
            self._known[number] = version
        path, servable = self._model_dir / str(number), None
        try:
            servable = Servable(path, number)
            n_records = warmup.run(servable, path, self._max_input_bytes)
        except Exception as error:  # Whatever is wrong with it, the others go on.
            if servable is not None:
                servable.close()
            self._note_failure(version, error)
            return False
        logging.info("version %d is loaded, %d warm-up requests", number, n_records)
        with self._lock:
            version.servable, version.state = servable, State.AVAILABLE
        self._replace_current(version)
        return True

    def _note_failure(self, version: Version, error: Exception) -> None:
        text = str(error)[:_MAX_MESSAGE_LENGTH] or type(error).__name__
        code = error.code if isinstance(error, errors.ServingError) else errors.Code.INTERNAL
        with self._lock:
            version.error = errors.ServingError(code, text)
            version.state = State.END
        logging.error("version %d cannot be served: %s", version.number, text)
        self._on_failure()
        _give_memory_back()

    def _replace_current(self, version: Version | None) -> None:
        with self._lock:
            old, self._current = self._current, version
        self._retire(old)
        self._unload_drained()

    def _retire(self, version: Version | None) -> None:
        with self._lock:
            if version is not None:
                version.state = State.UNLOADING
            if version is self._current:
                self._current = None

    def _unload_drained(self) -> None:
        with self._lock:
            drained = [
                version
                for version in self._known.values()
                if version.state is State.UNLOADING and version.n_users == 0
            ]
            servables = [version.servable for version in drained]
            for version in drained:
                version.servable, version.state = None, State.END
        for servable in servables:
            servable.close()
            logging.info("version %d is unloaded", servable.version)
        if servables:
            del servables, servable
            _give_memory_back()

    def _forget(self, found: dict[int, Fingerprint]) -> None:
        """Drops the status of the oldest of many ended versions, once their folders are gone."""
        with self._lock:
            ended = sorted(n for n, v in self._known.items() if v.state is State.END)
            for number in ended[: max(0, len(ended) - _MAX_ENDED)]:
                if number not in found:
                    del self._known[number]

    # The folder.

    def _scan(self) -> dict[int, Fingerprint]:
        """Fingerprints of the versions in the folder."""
        try:
            folders = [path for path in self._model_dir.iterdir() if path.name.isdecimal()]
        except OSError:
            return {}
        found = {}
        for path in folders:
            if (path / "saved_model.pb").is_file():
                found[int(path.name)] = _fingerprint(path)
        return found

    def _what_is_wrong(self) -> str:
        if not self._model_dir.is_dir():
            return "is no folder"
        if (self._model_dir / "saved_model.pb").is_file():
            return f"is one version: give the folder it is in, {self._model_dir.resolve().parent}"
        return "holds no version, a SavedModel in a folder named by a number"


def _fingerprint(version_dir: pathlib.Path) -> Fingerprint:
    files = []
    for path in sorted(version_dir.rglob("*")):
        with contextlib.suppress(OSError):  # deleted meanwhile
            stat = path.stat()
            files.append((str(path.relative_to(version_dir)), stat.st_size, stat.st_mtime_ns))
    return tuple(files)


def _give_memory_back() -> None:
    """Returns what an unloaded version held to the system, not only to the allocator."""
    gc.collect()  # graphs refer to themselves
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)
