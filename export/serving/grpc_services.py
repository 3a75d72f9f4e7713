"""TensorFlow Serving's gRPC services, on its own stubs: Predict, metadata, model status."""

from __future__ import annotations

import concurrent.futures
import contextlib
from collections.abc import Callable, Iterator

import grpc
from absl import logging
from google.protobuf import message
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from export.serving import errors, model_info, proto_tensors
from export.serving.engine import Engine, Ticket
from export.serving.errors import Code, ServingError
from export.serving.metrics import Metrics, Tracked
from export.serving.servable import Servable, Signature
from export.serving.settings import Settings
from export.serving.versions import Versions


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata; Classify, Regress and MultiInference are not served."""

    def __init__(self, settings: Settings, versions: Versions, engine: Engine, metrics: Metrics):
        self._settings = settings
        self._versions = versions
        self._engine = engine
        self._metrics = metrics

    def Predict(  # noqa: N802, the protocol's name
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Runs a signature."""
        with _answering(context), self._metrics.request("grpc") as tracked:
            response = self._predict(request, context, tracked)
            self._metrics.response_bytes.labels("grpc").inc(response.ByteSize())
            return response

    def _predict(
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext, tracked: Tracked
    ) -> predict_pb2.PredictResponse:
        number = _version_number(request.model_spec, self._settings)
        with self._engine.admit() as ticket:
            ticket.limit(context.time_remaining())

            def work(servable: Servable) -> predict_pb2.PredictResponse:
                return self._run(request, servable, ticket, tracked)

            future = ticket.start(number, work)
            # A client that went away is told nothing; its request need not start any more.
            context.add_callback(future.cancel)
            try:
                return future.result(ticket.remaining_seconds)
            except concurrent.futures.TimeoutError:
                future.cancel()
                raise ticket.timeout() from None
            except concurrent.futures.CancelledError:
                raise ServingError(Code.CANCELLED, "the request was cancelled") from None

    def _run(
        self,
        request: predict_pb2.PredictRequest,
        servable: Servable,
        ticket: Ticket,
        tracked: Tracked,
    ) -> predict_pb2.PredictResponse:
        signature = servable.signature(request.model_spec.signature_name)
        tracked.signature = signature.name
        wanted = _filtered(signature, request.output_filter)
        arrays = proto_tensors.arrays(request.inputs, signature, self._settings.max_body_bytes)
        outputs = signature(arrays, ticket.remaining_seconds)
        outputs = self._engine.checked({name: outputs[name] for name in wanted})
        return predict_pb2.PredictResponse(
            model_spec=model_info.spec_of(self._settings, servable, signature.name),
            outputs=proto_tensors.protos(outputs),
        )

    def GetModelMetadata(  # noqa: N802, the protocol's name
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Says which signatures there are, with names, types and shapes."""
        with _answering(context):
            number = _version_number(request.model_spec, self._settings)
            fields = set(request.metadata_field)
            if fields != {model_info.SIGNATURE_DEF}:
                raise errors.invalid(f"metadata_field must be [{model_info.SIGNATURE_DEF!r}]")
            with self._versions.lease(number) as servable:
                spec, signatures = model_info.metadata(self._settings, servable)
            response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=spec)
            response.metadata[model_info.SIGNATURE_DEF].Pack(signatures)
            return response

    def Classify(self, request: message.Message, context: grpc.ServicerContext) -> None:  # noqa: N802
        _abort_unimplemented("Classify", context)

    def Regress(self, request: message.Message, context: grpc.ServicerContext) -> None:  # noqa: N802
        _abort_unimplemented("Regress", context)

    def MultiInference(self, request: message.Message, context: grpc.ServicerContext) -> None:  # noqa: N802
        _abort_unimplemented("MultiInference", context)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus; the configuration cannot be changed from outside."""

    def __init__(self, settings: Settings, versions: Versions):
        self._settings = settings
        self._versions = versions

    def GetModelStatus(  # noqa: N802, the protocol's name
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Says in which state the versions are."""
        with _answering(context):
            number = _version_number(request.model_spec, self._settings)
            return model_info.status(self._versions, number)

    def HandleReloadConfigRequest(  # noqa: N802
        self, request: message.Message, context: grpc.ServicerContext
    ) -> None:
        _abort_unimplemented("HandleReloadConfigRequest", context)


def _abort_unimplemented(method: str, context: grpc.ServicerContext) -> None:
    context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{method} is not served here")


@contextlib.contextmanager
def _answering(context: grpc.ServicerContext) -> Iterator[None]:
    """Turns errors into gRPC's; the message is for people."""
    try:
        yield
    except ServingError as error:
        context.abort(grpc.StatusCode[error.code.name], str(error))
    except Exception:
        logging.exception("answering a gRPC request failed")
        context.abort(grpc.StatusCode.INTERNAL, "internal error")


def _version_number(spec: model_pb2.ModelSpec, settings: Settings) -> int | None:
    """The version that a request names, None for the newest.

    Raises:
      ServingError: it names another model, or a version by a label.
    """
    model_info.check_name(spec.name, settings)
    if spec.WhichOneof("version_choice") == "version_label":
        raise errors.invalid(f"version_label: {model_info.NO_LABELS}")
    return spec.version.value if spec.HasField("version") else None


def _filtered(signature: Signature, names: list[str]) -> list[str]:
    """The outputs that a request asks for."""
    if unknown := set(names) - set(signature.outputs):
        raise errors.invalid(
            f"output_filter: signature {signature.name!r} has no output "
            f"{sorted(unknown)[0][:100]!r}, only {', '.join(signature.outputs)}"
        )
    return list(dict.fromkeys(names)) or list(signature.outputs)


def add_to(
    server: grpc.Server,
    settings: Settings,
    versions: Versions,
    engine: Engine,
    metrics: Metrics,
) -> None:
    """Registers the services with a gRPC server."""
    add: Callable = prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server
    add(PredictionService(settings, versions, engine, metrics), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(
        ModelService(settings, versions), server
    )
