"""What Prometheus counts of the server of this process, in the library's own registry."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator

from grpc import StatusCode
from prometheus_client import Counter, Gauge, Histogram

from export.serving.errors import ServingError

# From a decode of one excerpt to minutes of music.
_LATENCY_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)

_REQUESTS = Counter(
    "musika_serve_requests", "Predict requests answered.", ("api", "signature", "code")
)
_SECONDS = Histogram(
    "musika_serve_request_seconds",
    "From the arrival of a predict request to its answer, in seconds.",
    ("api", "signature"),
    buckets=_LATENCY_SECONDS,
)
RUNNING = Gauge("musika_serve_requests_in_flight", "Requests that run now.")
ADMITTED = Gauge("musika_serve_requests_admitted", "Requests that run, wait or are received.")
CURRENT_VERSION = Gauge("musika_serve_current_version", "Version that is served.")
LISTENERS = Gauge("musika_serve_listeners", "Streams that somebody listens to.")
PLAYED_SECONDS = Counter("musika_serve_radio_seconds", "Music made for listeners, in seconds.")
LATE_CHUNKS = Counter(
    "musika_serve_radio_late_chunks", "Chunks that were ready only after they were to be heard."
)
LOAD_FAILURES = Counter("musika_serve_load_failures", "Versions that could not be loaded.")


@dataclasses.dataclass
class Tracked:
    """One request while it is answered.

    Attributes:
      signature: name, once it is known to be one, so that requests cannot make up endless series.
    """

    signature: str = "other"


@contextlib.contextmanager
def tracked(api: str) -> Iterator[Tracked]:
    """Counts and times one predict request of `rest` or `grpc`, whatever its outcome."""
    request, code, start_seconds = Tracked(), StatusCode.OK, time.monotonic()
    try:
        yield request
    except ServingError as error:
        code = error.code
        raise
    except BaseException:
        code = StatusCode.CANCELLED  # Nobody waits for an answer any more.
        raise
    finally:
        _REQUESTS.labels(api, request.signature, code.name).inc()
        _SECONDS.labels(api, request.signature).observe(time.monotonic() - start_seconds)
