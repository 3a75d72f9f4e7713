"""What a server is told: its model, its ports and its limits."""

from __future__ import annotations

import dataclasses
import ipaddress
import math
import re

# A gRPC message cannot be longer than protobuf's 2 GiB; an answer in JSON is some three times as
# long as its tensors.
_LARGEST_MIB = 1024
_N_PORTS = 65536


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of one server.

    Attributes:
      model_dir: folder of the versions, each a SavedModel in a folder named by a whole number.
      model_name: name under which clients ask for the model; no `/` and no `:`.
      host: address to listen on. There is no authentication: others than this machine should come
        through something that has it.
      rest_port, grpc_port: 0 takes a free one.
      max_concurrency: requests that run at the same time.
      max_queue: requests that may wait for one of those; one more is refused at once.
      max_body_mib: longest request, and longest gRPC message received.
      max_response_mib: largest answer, in MiB of tensor values.
      timeout_seconds: from the arrival of a request to its answer, waiting included.
      poll_seconds: how often the folder is looked at for new versions.
      grace_seconds: how long a server that was told to stop waits for requests under way.
    """

    model_dir: str
    model_name: str = "musika"
    host: str = "127.0.0.1"
    rest_port: int = 8501
    grpc_port: int = 8500
    max_concurrency: int = 2
    max_queue: int = 32
    max_body_mib: float = 64
    max_response_mib: float = 512
    timeout_seconds: float = 120
    poll_seconds: float = 1
    grace_seconds: float = 120

    def __post_init__(self):
        if not re.fullmatch(r"[^/:\s]+", self.model_name):
            raise ValueError(
                f"model_name must be one word without / and :, not {self.model_name!r}"
            )
        for name in ("rest_port", "grpc_port"):
            if not 0 <= getattr(self, name) < _N_PORTS:
                raise ValueError(f"{name} must be from 0 to 65535, not {getattr(self, name)}")
        if self.rest_port == self.grpc_port != 0:
            raise ValueError(f"rest_port and grpc_port are both {self.rest_port}")
        if self.max_concurrency < 1:
            raise ValueError(f"max_concurrency must be at least 1, not {self.max_concurrency}")
        if self.max_queue < 0:
            raise ValueError(f"max_queue must be at least 0, not {self.max_queue}")
        for name in ("max_body_mib", "max_response_mib"):
            if not 0 < getattr(self, name) <= _LARGEST_MIB:
                raise ValueError(
                    f"{name} must be above 0 and at most {_LARGEST_MIB}, not {getattr(self, name)}"
                )
        for name in ("timeout_seconds", "poll_seconds"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        if not 0 <= self.grace_seconds < math.inf:
            raise ValueError(f"grace_seconds must be at least 0, not {self.grace_seconds}")

    @property
    def max_body_bytes(self) -> int:
        return int(self.max_body_mib * 2**20)

    @property
    def max_response_bytes(self) -> int:
        return int(self.max_response_mib * 2**20)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"
