"""TensorFlow Serving's REST interface, beside `/metrics`, `/healthz` and the radio."""

from __future__ import annotations

from google.protobuf import json_format
from grpc import StatusCode
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from export.serving import json_tensors
from export.serving.engine import Call, Engine
from export.serving.errors import ServingError
from export.serving.model import Model
from export.serving.radio import Radio


def app(engine: Engine, radio: Radio) -> Starlette:
    """The ASGI application of one server; every error is JSON with the key `error`."""
    pages, name = _Pages(engine, radio), engine.settings.model_name
    model = f"/v1/models/{name}"
    routes = [Route("/healthz", _health), Route("/metrics", _metrics)]
    routes += [Route("/radio", pages.streams), Route(f"/radio/{name}.{{suffix}}", pages.stream)]
    for root in (model, f"{model}/versions/{{version}}"):
        routes += [
            Route(f"{root}:predict", pages.predict, methods=["POST"]),
            Route(f"{root}/metadata", pages.metadata),
            Route(root, pages.status),
        ]
    handlers = {
        ServingError: _serving_error,
        HTTPException: _http_error,
        ClientDisconnect: lambda request, error: Response(),  # which nobody reads
        Exception: lambda request, error: JSONResponse({"error": "internal error"}, 500),
    }
    return Starlette(routes=routes, exception_handlers=handlers)


async def _health(request: Request) -> Response:
    return JSONResponse({"status": "alive"})


async def _metrics(request: Request) -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


class _Pages:
    def __init__(self, engine: Engine, radio: Radio):
        self._engine, self._radio = engine, radio

    async def status(self, request: Request) -> Response:
        statuses = []
        for number, problem in self._engine.versions.statuses(_version(request)).items():
            code, state = ("UNKNOWN", "END") if problem else ("OK", "AVAILABLE")
            status = {"error_code": code, "error_message": problem}
            statuses.append({"version": str(number), "state": state, "status": status})
        return JSONResponse({"model_version_status": statuses})

    async def metadata(self, request: Request) -> Response:
        model = self._engine.versions.model(_version(request))
        signatures = {
            name: json_format.MessageToDict(definition, preserving_proto_field_name=True)
            for name, definition in model.definition.items()
        }
        name, version = self._engine.settings.model_name, str(model.version)
        return JSONResponse(
            {
                "model_spec": {"name": name, "signature_name": "", "version": version},
                # The second is a field of the message that is in the first.
                "metadata": {"signature_def": {"signature_def": signatures}},
            }
        )

    async def predict(self, request: Request) -> Response:
        async with self._engine.admit("rest") as admitted:
            body = await self._body(request)

            def answer(model: Model, call: Call) -> bytes:
                signature, inputs, in_rows = json_tensors.read(body, model)
                return json_tensors.answer(call(signature, inputs), in_rows)

            content = await self._engine.run(admitted, _version(request), answer)
        return Response(content, media_type="application/json")

    async def _body(self, request: Request) -> bytes:
        encoding = request.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise ServingError(
                StatusCode.INVALID_ARGUMENT,
                f"Content-Encoding {encoding[:50]!r} is not understood: send the body as it is",
                http_status=415,
            )
        limit = self._engine.settings.max_body_bytes
        body, n_bytes = bytearray(), 0
        async for chunk in request.stream():
            n_bytes += len(chunk)
            if n_bytes <= limit:
                body += chunk
            # Many clients look for an answer only after all is sent: read on for a while.
            elif n_bytes > 2 * limit:
                break
        if n_bytes > limit:
            raise ServingError(
                StatusCode.INVALID_ARGUMENT,
                f"the body is longer than {self._engine.settings.max_body_mib:g} MiB",
                http_status=413,
            )
        return bytes(body)

    async def streams(self, request: Request) -> Response:
        return JSONResponse(self._radio.listing())

    async def stream(self, request: Request) -> Response:
        response = self._radio.response(request.path_params["suffix"], request.query_params)
        if request.method == "HEAD":
            return StreamingResponse((), headers=response.headers)
        return response


def _version(request: Request) -> str | None:
    return request.path_params.get("version")


async def _serving_error(request: Request, error: ServingError) -> Response:
    headers = {"Retry-After": "1"} if error.http_status in (429, 503) else {}
    if error.http_status in (413, 504):
        # The body may not have been read to its end.
        headers["Connection"] = "close"
    return JSONResponse({"error": str(error)}, error.http_status, headers)


async def _http_error(request: Request, error: HTTPException) -> Response:
    message = f"{error.detail}: {request.method} {request.url.path[:200]}"
    return JSONResponse({"error": message}, error.status_code, error.headers)
