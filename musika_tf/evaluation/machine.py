"""Where and when something was measured."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import pathlib
import platform
import time


def describe() -> dict[str, str | int]:
    """Processor, cores, versions and date, as JSON takes them."""
    return {
        "processor": _processor(),
        "n_cpu_cores": os.cpu_count() or 0,
        "python": platform.python_version(),
        "tensorflow": importlib.metadata.version("tensorflow"),
        "keras": importlib.metadata.version("keras"),
        "date": time.strftime("%Y-%m-%d"),
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
