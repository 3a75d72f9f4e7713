"""What a server is asked for: its model, its ports and its limits."""

from __future__ import annotations

import dataclasses
import re

# A gRPC message cannot be longer than protobuf's 2 GiB; an answer in JSON is some three times as
# long as its tensors.
_LARGEST_MIB = 1024
# Least and greatest value of each number.
_RANGES = {
    "rest_port": (0, 65535),
    "grpc_port": (0, 65535),
    "max_concurrency": (1, 1024),
    "max_queue": (0, 65536),
    "max_listeners": (0, 512),
    "max_body_mib": (2**-10, _LARGEST_MIB),
    "max_response_mib": (2**-10, _LARGEST_MIB),
    "timeout_seconds": (0.001, 86400),
    "poll_seconds": (0.001, 86400),
    "grace_seconds": (0, 86400),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of one server.

    Attributes:
      model_dir: folder of the versions, each a SavedModel in a folder named by a whole number.
      model_name: name under which clients ask for the model: letters, digits and `._-`.
      host: address to listen on. There is no authentication: others than this machine should come
        through something that has it.
      rest_port, grpc_port: 0 takes a free one.
      max_concurrency: requests that run at the same time.
      max_queue: requests that may wait for one of those; one more is refused at once.
      max_listeners: streams of the radio at the same time.
      max_body_mib: longest request, and largest input.
      max_response_mib: largest answer, in MiB of tensor values.
      timeout_seconds: from the arrival of a request to its answer, waiting included.
      poll_seconds: how often the folder is looked at for new versions.
      grace_seconds: how long a server that is stopped waits for requests under way.
    """

    model_dir: str
    model_name: str = "musika"
    host: str = "127.0.0.1"
    rest_port: int = 8501
    grpc_port: int = 8500
    max_concurrency: int = 2
    max_queue: int = 32
    max_listeners: int = 32
    max_body_mib: float = 64
    max_response_mib: float = 512
    timeout_seconds: float = 120
    poll_seconds: float = 1
    grace_seconds: float = 120

    def __post_init__(self):
        if not re.fullmatch(r"[\w.-]+", self.model_name):
            raise ValueError(f"model_name must be letters, digits and ._-, not {self.model_name!r}")
        for name, (least, greatest) in _RANGES.items():
            value = getattr(self, name)
            if not least <= value <= greatest:
                raise ValueError(f"{name} must be from {least:g} to {greatest:g}, not {value:g}")
        if self.rest_port == self.grpc_port != 0:
            raise ValueError(f"rest_port and grpc_port are both {self.rest_port}")

    @property
    def max_body_bytes(self) -> int:
        return int(self.max_body_mib * 2**20)

    @property
    def max_response_bytes(self) -> int:
        return int(self.max_response_mib * 2**20)
