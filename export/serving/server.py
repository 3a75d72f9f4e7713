"""A server: versions, engine, REST and gRPC together, from start to orderly end."""

from __future__ import annotations

import concurrent.futures
import contextlib
import socket
import threading

import grpc
import uvicorn
from absl import logging
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from export.serving import grpc_services, rest
from export.serving.engine import Engine
from export.serving.metrics import Metrics
from export.serving.settings import Settings
from export.serving.versions import Versions

# Threads for refusals, status and health while every other one waits for a prediction.
_N_SPARE_THREADS = 8
_MAX_CONNECTIONS = 1024
_KEEP_ALIVE_SECONDS = 75
_POLL_SECONDS = 0.05
# For answers that are made to be received.
_SEND_SECONDS = 30
_BACKLOG = 512


class Server:
    """Serves one model; a context manager.

    Example:
      with Server(Settings("models/piano", rest_port=0, grpc_port=0)) as server:
        requests.get(f"http://127.0.0.1:{server.rest_port}/v1/models/musika")

    Args:
      settings: what, where, and how much of it.
    """

    def __init__(self, settings: Settings):
        self.settings = settings
        self._stack = contextlib.ExitStack()
        self.rest_port = settings.rest_port
        self.grpc_port = settings.grpc_port

    @property
    def version(self) -> int | None:
        """The version that serves."""
        return self._versions.current

    @property
    def address(self) -> str:
        """What to tell people when it is ready."""
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        return f"REST http://{host}:{self.rest_port}, gRPC {host}:{self.grpc_port}"

    def __enter__(self) -> Server:
        """Loads the newest version and starts to listen.

        Raises:
          ValueError: no version can be served.
          OSError: a port is taken.
        """
        with contextlib.ExitStack() as stack:
            # Ports first: that they are taken should not be found out after the model is loaded.
            sockets = stack.enter_context(self._bound())
            self._versions = Versions(
                self.settings.model_dir,
                self.settings.max_body_bytes,
                on_failure=lambda: self._metrics.load_failures.inc(),
            )
            self._engine = Engine(self.settings, self._versions)
            self._metrics = self._new_metrics()
            stack.callback(self._versions.close)
            self._versions.start(self.settings.poll_seconds)
            stack.callback(self._engine.close)
            self._start_grpc(stack)
            self._start_rest(stack, sockets)
            self._stack = stack.pop_all()
        if not self.settings.is_loopback:
            logging.warning(
                "%s is not loopback: whoever reaches it can use the model, there is no "
                "authentication",
                self.settings.host,
            )
        return self

    def __exit__(self, *_) -> None:
        """Refuses new requests, answers those under way, stops."""
        self._health.enter_graceful_shutdown()
        if not self._engine.drain(self.settings.grace_seconds):
            logging.warning("requests are cut off after %g s", self.settings.grace_seconds)
        self._stack.close()

    def _new_metrics(self) -> Metrics:
        metrics = Metrics(
            n_running=lambda: self._engine.n_running,
            n_waiting=lambda: self._engine.n_waiting,
            n_loaded=lambda: self._versions.n_loaded,
        )
        metrics.current_version.set_function(lambda: self._versions.current or 0)
        return metrics

    # REST.

    @contextlib.contextmanager
    def _bound(self):
        family = socket.AF_INET6 if ":" in self.settings.host else socket.AF_INET
        # With the protocol named, or asyncio would not switch off Nagle's algorithm on what it
        # accepts, and every answer would wait 40 ms for an acknowledgement.
        with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((self.settings.host, self.settings.rest_port))
            except OSError as error:
                raise OSError(
                    f"REST cannot listen on {self.settings.host}:{self.settings.rest_port}: "
                    f"{error.strerror or error}"
                ) from None
            listener.listen(_BACKLOG)
            self.rest_port = listener.getsockname()[1]
            yield [listener]

    def _start_rest(self, stack: contextlib.ExitStack, sockets: list[socket.socket]) -> None:
        app = rest.RestApp(self.settings, self._versions, self._engine, self._metrics)
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            limit_concurrency=_MAX_CONNECTIONS,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_SEND_SECONDS,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": sockets}, name="rest", daemon=True
        )

        def stop() -> None:
            server.should_exit = True
            thread.join()

        thread.start()
        stack.callback(stop)
        while not server.started:
            thread.join(_POLL_SECONDS)
            if not thread.is_alive():
                raise OSError("the REST server did not start")

    # gRPC.

    def _start_grpc(self, stack: contextlib.ExitStack) -> None:
        n_threads = self.settings.max_concurrency + self.settings.max_queue + _N_SPARE_THREADS
        threads = concurrent.futures.ThreadPoolExecutor(n_threads, thread_name_prefix="grpc")
        server = grpc.server(
            threads,
            options=(
                ("grpc.max_receive_message_length", self.settings.max_body_bytes),
                ("grpc.max_send_message_length", -1),  # max_response_mib says how long
                ("grpc.so_reuseport", 0),
            ),
        )
        grpc_services.add_to(server, self.settings, self._versions, self._engine, self._metrics)
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        self._health.set("", health_pb2.HealthCheckResponse.SERVING)
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        try:
            self.grpc_port = server.add_insecure_port(f"{host}:{self.settings.grpc_port}")
        except RuntimeError:
            raise OSError(
                f"gRPC cannot listen on {self.settings.host}:{self.settings.grpc_port}: is "
                "another server running?"
            ) from None
        server.start()
        stack.callback(lambda: server.stop(_SEND_SECONDS).wait())
