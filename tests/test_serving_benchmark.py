"""The soak of benchmarks/serving.py, for a few seconds."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
KINDS = {
    "REST generate_wav",
    "REST metadata",
    "REST status",
    "gRPC decode",
    "gRPC latents",
    "gRPC metadata",
    "gRPC serving_default",
    "gRPC status",
    "stream: first audio",
}


@pytest.mark.large
def test_soak_loses_no_request(tiny_model, tmp_path):
    out = tmp_path / "soak.json"
    command = [sys.executable, "benchmarks/serving.py", f"--model_dir={tiny_model.parent}"]
    command += ["--minutes=0.3", "--change_seconds=2", "--seconds=1", f"--out={out}"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(out.read_text())
    assert report["failures"] == []
    assert report["kinds"].pop("new version serves")["n"] >= 1
    assert set(report["kinds"]) == KINDS
    for kind, numbers in report["kinds"].items():
        assert numbers["n"] > 5, kind
        assert numbers["n_refused"] == numbers["n_failed"] == 0
        assert 0 < numbers["p50_ms"] <= numbers["p95_ms"] <= numbers["p99_ms"]
    assert list(report["rss_mib"]) == ["25 %", "50 %", "100 %", "peak"]
    assert "| gRPC decode |" in out.with_suffix(".md").read_text()
    assert report["machine"]["n_cpu_cores"] == os.cpu_count()
