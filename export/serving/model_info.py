"""What a server says about its model, for REST and gRPC alike: names, status, metadata."""

from __future__ import annotations

from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2

from export.serving.errors import Code, ServingError
from export.serving.servable import Servable
from export.serving.settings import Settings
from export.serving.versions import Versions

NO_LABELS = "versions have no labels here: name one by its number, or none for the newest"
SIGNATURE_DEF = "signature_def"
# google.rpc's numbers, which the status carries.
_ERROR_CODES = {
    Code.INVALID_ARGUMENT: 3,
    Code.RESOURCE_EXHAUSTED: 8,
    Code.UNIMPLEMENTED: 12,
    Code.INTERNAL: 13,
    Code.UNAVAILABLE: 14,
}


def check_name(name: str, settings: Settings) -> None:
    """Raises ServingError unless it is the name of the model that is served."""
    if name != settings.model_name:
        raise ServingError(
            Code.NOT_FOUND,
            f"model {name[:100]!r} is not served, only {settings.model_name!r} is",
        )


def status(versions: Versions, number: int | None) -> get_model_status_pb2.GetModelStatusResponse:
    """States of all versions, or of one.

    Raises:
      ServingError: there is no version of that number.
    """
    response = get_model_status_pb2.GetModelStatusResponse()
    for version in versions.statuses(number):
        entry = response.model_version_status.add(version=version.number, state=version.state.value)
        entry.status.SetInParent()
        if version.error:
            entry.status.error_code = _ERROR_CODES.get(version.error.code, 2)
            entry.status.error_message = str(version.error)
    return response


def spec_of(
    settings: Settings, servable: Servable, signature_name: str = ""
) -> model_pb2.ModelSpec:
    """Which model, version and signature an answer comes from."""
    spec = model_pb2.ModelSpec(name=settings.model_name, signature_name=signature_name)
    spec.version.value = servable.version
    return spec


def metadata(
    settings: Settings, servable: Servable
) -> tuple[model_pb2.ModelSpec, get_model_metadata_pb2.SignatureDefMap]:
    """The version and its signatures."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for name, definition in servable.definition.items():
        signatures.signature_def[name].CopyFrom(definition)
    return spec_of(settings, servable), signatures
