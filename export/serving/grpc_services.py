"""TensorFlow Serving's gRPC services, on its own stubs, and the standard one of health."""

from __future__ import annotations

import functools
from collections.abc import Callable

import grpc
import tensorflow as tf
from grpc_health.v1 import health, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from export.serving import errors, proto_tensors
from export.serving.engine import Call, Engine
from export.serving.errors import ServingError
from export.serving.model import Model
from export.serving.settings import Settings

_SIGNATURE_DEF = "signature_def"
_UNKNOWN = 2  # google.rpc's number, which the status carries


def _answering(method: Callable) -> Callable:
    """Turns errors into gRPC's; the message is for people."""

    @functools.wraps(method)
    async def answer(self, request, context: grpc.aio.ServicerContext):
        try:
            return await method(self, request, context)
        except ServingError as error:
            await context.abort(error.code, str(error))

    return answer


async def _not_served(self, request, context: grpc.aio.ServicerContext) -> None:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "this method is not served here")


class _Health(health.aio.HealthServicer):
    """The library's; clients whose `Watch` is not served take the server as healthy."""

    Watch = _not_served  # A stream without an end would hold up the end of the server.


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata."""

    Classify = Regress = MultiInference = _not_served

    def __init__(self, engine: Engine):
        self._engine = engine

    @_answering
    async def Predict(  # noqa: N802, the protocol's name
        self, request: predict_pb2.PredictRequest, context: grpc.aio.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Runs a signature."""
        number = _version(request.model_spec, self._engine.settings)

        def answer(model: Model, call: Call) -> predict_pb2.PredictResponse:
            signature = model.signature(request.model_spec.signature_name)
            if unknown := set(request.output_filter) - set(signature.outputs):
                raise errors.invalid(
                    f"output_filter: signature {signature.name!r} has no output "
                    f"{min(unknown)[:100]!r}, only {', '.join(signature.outputs)}"
                )
            limit = self._engine.settings.max_body_bytes
            outputs = call(signature, proto_tensors.arrays(request.inputs, signature, limit))
            response = predict_pb2.PredictResponse(
                model_spec=_spec(self._engine.settings, model, signature.name)
            )
            for name in request.output_filter or outputs:
                response.outputs[name].CopyFrom(tf.make_tensor_proto(outputs[name]))
            return response

        async with self._engine.admit("grpc", context.time_remaining()) as admitted:
            return await self._engine.run(admitted, number, answer)

    @_answering
    async def GetModelMetadata(  # noqa: N802, the protocol's name
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, _: grpc.aio.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Says which signatures there are, with names, types and shapes."""
        model = self._engine.versions.model(_version(request.model_spec, self._engine.settings))
        if set(request.metadata_field) != {_SIGNATURE_DEF}:
            raise errors.invalid(f"metadata_field must be [{_SIGNATURE_DEF!r}]")
        signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=model.definition)
        response = get_model_metadata_pb2.GetModelMetadataResponse(
            model_spec=_spec(self._engine.settings, model)
        )
        response.metadata[_SIGNATURE_DEF].Pack(signatures)
        return response


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus; the configuration cannot be changed from outside."""

    HandleReloadConfigRequest = _not_served

    def __init__(self, engine: Engine):
        self._engine = engine

    @_answering
    async def GetModelStatus(  # noqa: N802, the protocol's name
        self, request: get_model_status_pb2.GetModelStatusRequest, _: grpc.aio.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Says which version serves, and which cannot be loaded."""
        response = get_model_status_pb2.GetModelStatusResponse()
        number = _version(request.model_spec, self._engine.settings)
        for version, problem in self._engine.versions.statuses(number).items():
            state = "END" if problem else "AVAILABLE"
            entry = response.model_version_status.add(version=version, state=state)
            entry.status.error_code = _UNKNOWN if problem else 0
            entry.status.error_message = problem
        return response


def _version(spec: model_pb2.ModelSpec, settings: Settings) -> int | None:
    """The version that a request names, None for the newest.

    Raises:
      ServingError: it names another model, or a version by a label.
    """
    if spec.name != settings.model_name:
        raise ServingError(
            grpc.StatusCode.NOT_FOUND,
            f"model {spec.name[:100]!r} is not served, only {settings.model_name!r} is",
        )
    if spec.version_label:
        raise errors.invalid("version_label: versions have no labels here, only numbers")
    return spec.version.value if spec.HasField("version") else None


def _spec(settings: Settings, model: Model, signature_name: str = "") -> model_pb2.ModelSpec:
    """Which model, version and signature an answer comes from."""
    spec = model_pb2.ModelSpec(name=settings.model_name, signature_name=signature_name)
    spec.version.value = model.version
    return spec


def add_to(server: grpc.aio.Server, engine: Engine) -> None:
    """Registers the services with a gRPC server."""
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        PredictionService(engine), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(engine), server)
    health_pb2_grpc.add_HealthServicer_to_server(_Health(), server)
