"""The versions of a model in a folder: the newest that can be loaded serves.

A new one is loaded and warmed up beside the old one and takes over by one assignment. The old one
goes when the last request that holds it lets go of it. One that cannot be loaded is reported, and
tried again when its files change.
"""

from __future__ import annotations

import contextlib
import gc
import pathlib

import tensorflow as tf
from absl import logging
from grpc import StatusCode
from tensorflow_serving.apis import prediction_log_pb2

from export.serving import metrics, proto_tensors
from export.serving.errors import ServingError
from export.serving.model import Model
from export.verification.checks import WARMUP_FILE

_MAX_MESSAGE_LENGTH = 1000
# Name, size and time of change of every file of a version.
_Files = frozenset[tuple[str, int, int]]


class Versions:
    """The versions of one model; `look` is called from one thread, all else from any.

    Args:
      max_input_bytes: largest size of one input of a warm-up request.

    Raises:
      ValueError: there is no version, or none can be loaded.
    """

    def __init__(self, model_dir: str, max_input_bytes: int):
        self._model_dir = pathlib.Path(model_dir)
        self._max_input_bytes = max_input_bytes
        self._current: Model | None = None
        # Versions that cannot be loaded: their files then, and why.
        self._failed: dict[int, tuple[_Files, str]] = {}
        if not self._numbers():
            raise ValueError(f"{model_dir} {self._what_is_wrong()}")
        self.look()
        if self._current is None:
            problems = [f"version {number}: {text}" for number, text in self.statuses().items()]
            raise ValueError(f"{model_dir}: {'; '.join(problems)}")

    def model(self, number: int | str | None = None) -> Model:
        """The version that serves, which stays in memory as long as it is held.

        Raises:
          ServingError: another version serves.
        """
        current = self._current
        if number is not None and str(number) != str(current.version):
            raise ServingError(
                StatusCode.NOT_FOUND,
                f"version {str(number)[:100]} of the model is not served; "
                f"version {current.version} is served",
            )
        return current

    def statuses(self, number: int | str | None = None) -> dict[int, str]:
        """The version that serves and those in the folder that cannot, newest first; or only that
        of a number.

        Returns:
          By their numbers, why they cannot be loaded; nothing of the one that serves.

        Raises:
          ServingError: there is no version of that number.
        """
        known = {n: text for n, (_, text) in self._failed.copy().items()}
        if self._current is not None:
            known[self._current.version] = ""
        if number is not None:
            known = {n: text for n, text in known.items() if str(n) == str(number)}
            if not known:
                raise ServingError(
                    StatusCode.NOT_FOUND, f"version {str(number)[:100]} of the model is unknown"
                )
        return dict(sorted(known.items(), reverse=True))

    def look(self) -> None:
        """Looks at the folder once and loads what is new."""
        numbers = self._numbers()
        self._failed = {n: failure for n, failure in self._failed.items() if n in numbers}
        for number in sorted(numbers, reverse=True):
            if self._current is not None and number == self._current.version:
                return
            if self._load(number):
                return

    def _load(self, number: int) -> bool:
        """Whether a version can be loaded and serves now."""
        path = self._model_dir / str(number)
        files = _files(path)
        if self._failed.get(number, (None,))[0] == files:
            return False
        try:
            self._current = self._warm(Model(path), path)
        except Exception as error:  # Whatever is wrong with it, the one before serves on.
            text = str(error)[:_MAX_MESSAGE_LENGTH] or type(error).__name__
            logging.error("version %d cannot be served: %s", number, text)
            metrics.LOAD_FAILURES.inc()
            self._failed[number] = files, text
            return False
        logging.info("version %d serves", number)
        metrics.CURRENT_VERSION.set(number)
        self._failed.pop(number, None)
        gc.collect()  # Graphs refer to themselves.
        return True

    def _warm(self, model: Model, path: pathlib.Path) -> Model:
        """The model, once it has answered the requests that it brings along."""
        if (path / WARMUP_FILE).is_file():
            for record in tf.data.TFRecordDataset(str(path / WARMUP_FILE)).as_numpy_iterator():
                request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
                signature = model.signature(request.model_spec.signature_name)
                signature(proto_tensors.arrays(request.inputs, signature, self._max_input_bytes))
        return model

    def _numbers(self) -> set[int]:
        """Versions in the folder; a name such as 007 is none."""
        with contextlib.suppress(OSError):
            folders = {path.parent.name for path in self._model_dir.glob("*/saved_model.pb")}
            return {int(name) for name in folders if name.isdecimal() and name == str(int(name))}
        return set()

    def _what_is_wrong(self) -> str:
        if (self._model_dir / "saved_model.pb").is_file():
            return f"is one version: give the folder it is in, {self._model_dir.resolve().parent}"
        missing = "holds no version, a SavedModel in a folder named by a number"
        if not self._model_dir.is_dir():
            missing = "is no folder"
        return (
            f"{missing}: `musika-export --run_dir=RUN --model_dir=models/NAME` makes what can be "
            "served of a run or of released weights"
        )


def _files(version_dir: pathlib.Path) -> _Files:
    files = set()
    for path in version_dir.rglob("*"):
        with contextlib.suppress(OSError):  # deleted meanwhile
            stat = path.stat()
            files.add((str(path), stat.st_size, stat.st_mtime_ns))
    return frozenset(files)
