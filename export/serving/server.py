"""A server: versions, engine, REST and gRPC together, from start to orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import grpc
import uvicorn
from absl import logging
from anyio import from_thread
from starlette.applications import Starlette

from export.serving import grpc_services, rest
from export.serving.engine import Engine
from export.serving.radio import Radio
from export.serving.settings import Settings
from export.serving.versions import Versions

# For status and health while every place is taken.
_N_SPARE_CALLS = 64
_MAX_CONNECTIONS = 1024
_KEEP_ALIVE_SECONDS = 75
_START_SECONDS = 0.02
_BACKLOG = 512
# A connection that takes nothing for so long is cut: who stopped listening without a word.
_UNREAD_SECONDS = 30
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Server:
    """Serves one model in an event loop of its own; a context manager.

    Example:
      with Server(Settings("models/piano", rest_port=0, grpc_port=0)) as server:
        requests.get(f"http://127.0.0.1:{server.rest_port}/v1/models/musika")

    Attributes:
      rest_port, grpc_port: on which it listens.
    """

    def __init__(self, settings: Settings):
        self.settings = settings
        self.rest_port = settings.rest_port
        self.grpc_port = settings.grpc_port
        self._host = f"[{settings.host}]" if ":" in settings.host else settings.host
        self._stack = contextlib.ExitStack()

    @property
    def version(self) -> int:
        """The version that serves."""
        return self._versions.model().version

    @property
    def address(self) -> str:
        """What to tell people when it is ready."""
        return f"REST http://{self._host}:{self.rest_port}, gRPC {self._host}:{self.grpc_port}"

    def __enter__(self) -> Server:
        """Loads the newest version and starts to listen.

        Raises:
          ValueError: no version can be served.
          OSError: a port is taken.
        """
        if self.settings.host not in _LOOPBACK:
            logging.warning("whoever reaches %s can use the model: no password", self._host)
        with contextlib.ExitStack() as stack:
            # Before the model is loaded, which takes longer than to find a port taken.
            listener = stack.enter_context(self._listener())
            self._versions = Versions(self.settings.model_dir, self.settings.max_body_bytes)
            portal = stack.enter_context(from_thread.start_blocking_portal())
            stack.enter_context(portal.wrap_async_context_manager(self._serving(listener)))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_) -> None:
        """Takes no more requests, answers those under way, stops."""
        self._stack.close()

    @contextlib.asynccontextmanager
    async def _serving(self, listener: socket.socket) -> AsyncIterator[None]:
        what = self.settings, self._versions
        with contextlib.closing(Engine(*what)) as engine, contextlib.closing(Radio(*what)) as radio:
            grpc_server = await self._started_grpc(engine)
            rest_server = self._new_rest(rest.app(engine, radio))
            serving = asyncio.create_task(rest_server.serve(sockets=[listener]))
            watching = asyncio.create_task(self._watch())
            while not rest_server.started:
                await asyncio.sleep(_START_SECONDS)
            yield
            watching.cancel()
            rest_server.should_exit = True
            radio.close()
            await asyncio.gather(serving, grpc_server.stop(self.settings.grace_seconds))

    def _new_rest(self, app: Starlette) -> uvicorn.Server:
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            limit_concurrency=_MAX_CONNECTIONS,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=self.settings.grace_seconds,
        )
        return uvicorn.Server(config)

    async def _started_grpc(self, engine: Engine) -> grpc.aio.Server:
        settings = self.settings
        server = grpc.aio.server(
            options=(
                ("grpc.max_receive_message_length", settings.max_body_bytes),
                ("grpc.max_send_message_length", -1),  # max_response_mib says how long
                ("grpc.so_reuseport", 0),
            ),
            # Counted before a message is received, as `Engine.admit` counts what it lets in.
            maximum_concurrent_rpcs=settings.max_concurrency + settings.max_queue + _N_SPARE_CALLS,
        )
        grpc_services.add_to(server, engine)
        try:
            self.grpc_port = server.add_insecure_port(f"{self._host}:{settings.grpc_port}")
        except RuntimeError:
            raise OSError(
                f"gRPC cannot listen on {self._host}:{settings.grpc_port}: is another server "
                "running?"
            ) from None
        await server.start()
        return server

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self.settings.poll_seconds)
            try:
                await asyncio.to_thread(self._versions.look)
            except Exception:  # A full disk or a vanished mount must not end the watching.
                logging.exception("looking at %s failed; going on", self.settings.model_dir)

    def _listener(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.settings.host else socket.AF_INET
        address = (self.settings.host, self.settings.rest_port)
        listener = socket.create_server(address, family=family, backlog=_BACKLOG)
        # asyncio does not see that the sockets that come of it speak TCP, and would leave this to
        # them: every answer would wait 40 ms for an acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * _UNREAD_SECONDS)
        self.rest_port = listener.getsockname()[1]
        return listener
