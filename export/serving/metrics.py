"""What Prometheus is told about a server."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import prometheus_client
from prometheus_client import CONTENT_TYPE_LATEST

from export.serving import errors

# From a decode of one excerpt to minutes of music.
_LATENCY_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
OTHER = "other"


class Tracked:
    """One request while it is answered; the labels become known on the way.

    Attributes:
      signature: name, once it is known to be one; else `other`, so that requests cannot make up
        endless series.
      code: gRPC's name of the outcome.
    """

    def __init__(self):
        self.signature = OTHER
        self.code = "OK"


class Metrics:
    """The series of one server, in a registry of its own.

    Args:
      n_running: tells how many requests run now.
      n_waiting: tells how many wait.
      n_loaded: tells how many versions are in memory.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(
        self,
        n_running: Callable[[], int],
        n_waiting: Callable[[], int],
        n_loaded: Callable[[], int],
    ):
        self._registry = registry = prometheus_client.CollectorRegistry()
        prometheus_client.ProcessCollector(registry=registry)
        prometheus_client.PlatformCollector(registry=registry)
        prometheus_client.GCCollector(registry=registry)
        self._requests = prometheus_client.Counter(
            "musika_serve_requests",
            "Predict requests answered.",
            ("api", "signature", "code"),
            registry=registry,
        )
        self._seconds = prometheus_client.Histogram(
            "musika_serve_request_seconds",
            "From the arrival of a predict request to its answer, in seconds.",
            ("api", "signature"),
            buckets=_LATENCY_SECONDS,
            registry=registry,
        )
        self.response_bytes = prometheus_client.Counter(
            "musika_serve_response_bytes", "Bytes of answers.", ("api",), registry=registry
        )
        self.load_failures = prometheus_client.Counter(
            "musika_serve_load_failures", "Versions that could not be loaded.", registry=registry
        )
        self.current_version = prometheus_client.Gauge(
            "musika_serve_current_version", "Version that is served, 0 if none.", registry=registry
        )
        for name, about, value in (
            ("requests_in_flight", "Requests that run now.", n_running),
            ("queue_length", "Requests that wait to run.", n_waiting),
            ("loaded_versions", "Versions in memory, those being drained too.", n_loaded),
        ):
            gauge = prometheus_client.Gauge(f"musika_serve_{name}", about, registry=registry)
            gauge.set_function(value)

    @contextlib.contextmanager
    def request(self, api: str) -> Iterator[Tracked]:
        """Counts and times one predict request of `rest` or `grpc`, whatever its outcome."""
        tracked, start_seconds = Tracked(), time.monotonic()
        try:
            yield tracked
        except errors.ServingError as error:
            tracked.code = error.code.name
            raise
        except BaseException:
            tracked.code = errors.Code.INTERNAL.name
            raise
        finally:
            self._requests.labels(api, tracked.signature, tracked.code).inc()
            seconds = time.monotonic() - start_seconds
            self._seconds.labels(api, tracked.signature).observe(seconds)

    def page(self) -> bytes:
        """All series in Prometheus' text format."""
        return prometheus_client.generate_latest(self._registry)
