"""TensorFlow Serving's REST interface, beside `/metrics`, `/healthz` and `/readyz`."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.parse
from collections.abc import Awaitable, Callable

from absl import logging
from google.protobuf import json_format
from google.protobuf import message as message_lib
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from export.serving import errors, json_tensors, model_info
from export.serving.engine import Engine, Ticket
from export.serving.errors import Code, ServingError
from export.serving.metrics import Metrics, Tracked
from export.serving.servable import Servable
from export.serving.settings import Settings
from export.serving.versions import Versions

_PATH = re.compile(
    r"/v1/models/(?P<name>[^/:]+)"
    r"(?:/versions/(?P<version>[^/:]*)|/labels/(?P<label>[^/:]*))?"
    r"(?:(?P<metadata>/metadata)|:(?P<verb>[^/:]*))?"
)
_VERBS_NOT_HERE = ("classify", "regress")
_MAX_VERSION = 2**63 - 1
_RETRY_AFTER_SECONDS = "1"


class RestApp:
    """The ASGI application of one server.

    Args:
      settings: name of the model and limits.
      versions, engine, metrics: of the server.
    """

    def __init__(self, settings: Settings, versions: Versions, engine: Engine, metrics: Metrics):
        self._settings = settings
        self._versions = versions
        self._engine = engine
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one HTTP request; every error is JSON with the key `error`."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            response = await self._route(request)
        except ServingError as error:
            response = _error_response(error)
        except ClientDisconnect:
            return
        except Exception:
            logging.exception("answering %s failed", request.url.path)
            response = _error_response(ServingError(Code.INTERNAL, "internal error"))
        await response(scope, receive, send)

    async def _route(self, request: Request) -> Response:
        path = request.scope["path"]
        if path in self._PAGES:
            _require_method(request, "GET")
            return self._PAGES[path](self)
        match = _PATH.fullmatch(request.scope.get("raw_path", path.encode()).decode("latin-1"))
        if match is None:
            raise ServingError(Code.NOT_FOUND, f"there is nothing at {path[:200]}")
        verb, number = match["verb"], None
        if verb is not None and verb != "predict":
            known = f"{verb} is not served, only predict" if verb in _VERBS_NOT_HERE else ""
            code = Code.UNIMPLEMENTED if known else Code.NOT_FOUND
            raise ServingError(code, known or f"there is no {verb[:100]!r}, only predict")
        _require_method(request, "GET" if verb is None else "POST")
        model_info.check_name(urllib.parse.unquote(match["name"]), self._settings)
        if match["label"] is not None:
            raise errors.invalid(model_info.NO_LABELS)
        if match["version"] is not None:
            number = _version_number(match["version"])
        if verb is not None:
            return await self._predict(request, number)
        return self._metadata(number) if match["metadata"] else self._status(number)

    # Pages.

    def _live(self) -> Response:
        return JSONResponse({"status": "alive"})

    def _ready(self) -> Response:
        if not self._engine.is_accepting or self._versions.current is None:
            raise ServingError(Code.UNAVAILABLE, "not ready")
        return JSONResponse({"status": "ready", "version": str(self._versions.current)})

    def _metrics_page(self) -> Response:
        return Response(self._metrics.page(), media_type=self._metrics.content_type)

    _PAGES: dict[str, Callable[[RestApp], Response]] = {
        "/healthz": _live,
        "/readyz": _ready,
        "/metrics": _metrics_page,
    }

    def _status(self, number: int | None) -> Response:
        return JSONResponse(_as_dict(model_info.status(self._versions, number)))

    def _metadata(self, number: int | None) -> Response:
        with self._versions.lease(number) as servable:
            spec, signatures = model_info.metadata(self._settings, servable)
        return JSONResponse(
            {
                "model_spec": _as_dict(spec),
                "metadata": {"signature_def": _as_dict(signatures)},
            }
        )

    # Predictions.

    async def _predict(self, request: Request, number: int | None) -> Response:
        with self._metrics.request("rest") as tracked, self._engine.admit() as ticket:
            body = await self._body(request, ticket)
            content = await self._answer(request, ticket, number, body, tracked)
        self._metrics.response_bytes.labels("rest").inc(len(content))
        return Response(content, media_type="application/json")

    async def _body(self, request: Request, ticket: Ticket) -> bytes:
        encoding = request.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise ServingError(
                Code.INVALID_ARGUMENT,
                f"Content-Encoding {encoding[:50]!r} is not understood: send the body as it is",
                http_status=415,
            )
        try:
            async with asyncio.timeout(ticket.remaining_seconds):
                return await self._limited_body(request)
        except TimeoutError:
            raise ServingError(
                Code.DEADLINE_EXCEEDED,
                f"the body did not arrive within {self._settings.timeout_seconds:g} s",
                http_status=408,
            ) from None

    async def _limited_body(self, request: Request) -> bytes:
        limit = self._settings.max_body_bytes
        announced = request.headers.get("content-length", "0")
        body, n_bytes = bytearray(), int(announced) if announced.isdecimal() else 0
        is_too_long = n_bytes > limit
        n_bytes = 0
        async for chunk in request.stream():
            n_bytes += len(chunk)
            is_too_long = is_too_long or n_bytes > limit
            if not is_too_long:
                body += chunk
            else:
                # Read on for a while: many clients look for an answer only after all is sent.
                body.clear()
                if n_bytes > 2 * limit:
                    break
        if is_too_long:
            raise ServingError(
                Code.INVALID_ARGUMENT,
                f"the body is longer than {self._settings.max_body_mib:g} MiB",
                http_status=413,
            )
        return bytes(body)

    async def _answer(
        self, request: Request, ticket: Ticket, number: int | None, body: bytes, tracked: Tracked
    ) -> bytes:
        def work(servable: Servable) -> bytes:
            parsed = json_tensors.parse(body)
            signature = servable.signature(parsed.signature_name)
            tracked.signature = signature.name
            arrays = parsed.arrays(signature)
            outputs = self._engine.checked(signature(arrays, ticket.remaining_seconds))
            return json_tensors.answer(outputs, parsed.in_rows)

        future = asyncio.wrap_future(ticket.start(number, work))
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait(
                (future, gone),
                timeout=ticket.remaining_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if future.done():
                return future.result()
            # One that runs already runs on, and keeps its place; one that waits never starts.
            future.cancel()
            if gone.done():
                raise ServingError(Code.CANCELLED, "the client went away")
            raise ticket.timeout()
        finally:
            gone.cancel()


async def _disconnected(request: Request) -> None:
    """Returns when the client is gone; the body must have been read."""
    receive: Callable[[], Awaitable[dict]] = request.receive
    while (await receive())["type"] != "http.disconnect":
        pass


def _require_method(request: Request, method: str) -> None:
    if request.method != method and not (method == "GET" and request.method == "HEAD"):
        raise ServingError(
            Code.INVALID_ARGUMENT,
            f"{request.method} is not allowed here, only {method}",
            http_status=405,
        )


def _version_number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text[:20]) > _MAX_VERSION:
        raise errors.invalid(f"a version is a whole number, not {text[:50]!r}")
    return int(text)


def _as_dict(message: message_lib.Message) -> dict:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, including_default_value_fields=True
    )


def _error_response(error: ServingError) -> Response:
    headers = {}
    if error.http_status in (429, 503):
        headers["Retry-After"] = _RETRY_AFTER_SECONDS
    if error.http_status == 405:
        headers["Allow"] = str(error).rpartition(" ")[2]
    if error.http_status in (408, 413):
        headers["Connection"] = "close"
    # The message may repeat what the client wrote, which need not be proper text.
    content = json.dumps({"error": str(error)}, ensure_ascii=False).encode(errors="replace")
    return Response(content, error.http_status, headers, media_type="application/json")
