"""`musika-serve` as a process: its line, its end, its errors, the same bytes after a restart."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest
import requests
import serving_client
import toy_model

ROOT = pathlib.Path(__file__).resolve().parent.parent
LINE = r"serving toy version (\d+): REST http://127\.0\.0\.1:(\d+), gRPC 127\.0\.0\.1:(\d+)\n"
WAIT_SECONDS = 120


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    model_dir = tmp_path_factory.mktemp("model")
    toy_model.save(model_dir / "1")
    return model_dir


def start(*words, code=()):
    return subprocess.Popen(
        [sys.executable, *(code or ("-m", "musika_tf.programs.serve")), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@contextlib.contextmanager
def serving(model_dir, *words):
    """A running server and its REST client."""
    flags = (f"--model_dir={model_dir}", "--model_name=toy", "--rest_port=0", "--grpc_port=0")
    process = start(*flags, *words)
    try:
        line = process.stdout.readline()
        match = re.fullmatch(LINE, line)
        assert match, line + process.stderr.read()
        yield process, serving_client.Rest(int(match[2]), "toy")
    finally:
        process.kill()
        process.communicate()


def predict_text(rest):
    body = {"signature_name": "inverse", "instances": [0.3, 7.0, -1e-3]}
    return rest.predict(body).content


def is_running(rest):
    return "musika_serve_requests_in_flight 1.0" in rest.page("/metrics").text


def test_request_under_way_is_answered_and_a_restart_gives_the_same_bytes(model_dir):
    with serving(model_dir) as (process, rest):
        first = predict_text(rest)
        n, seconds = 20_000, 0.0
        while seconds < 0.5:
            n *= 2
            seconds = rest.predict(
                {"signature_name": "slow", "inputs": [n]}
            ).elapsed.total_seconds()
        n *= 3
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            slow = pool.submit(rest.predict, {"signature_name": "slow", "inputs": [n]})
            while not is_running(other := serving_client.Rest(int(rest.root[-5:]), "toy")):
                time.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            while other.page("/readyz").status_code == 200:
                time.sleep(0.01)
            refused = other.predict({"instances": [[1, 2]]})
            assert refused.status_code == 503
            assert refused.json() == {"error": "the server is shutting down"}
            assert slow.result(WAIT_SECONDS).json() == {"outputs": [n]}
        assert process.wait(WAIT_SECONDS) == 0
        rest_of_stdout, stderr = process.communicate()
        assert rest_of_stdout == ""
        assert "Traceback" not in stderr
        with pytest.raises(requests.ConnectionError):
            rest.page("/healthz")
    with serving(model_dir) as (process, rest):
        assert predict_text(rest) == first
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_SECONDS) == 0


def test_without_the_extra_one_line_says_what_to_install(model_dir):
    code = "import sys; sys.modules['uvicorn'] = None; from musika_tf.programs import serve; "
    process = start(f"--model_dir={model_dir}", code=("-c", f"{code}serve.run()"))
    stdout, stderr = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 1
    assert stdout == ""
    lines = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert lines[0].endswith("pip install 'musika_tf[serving]'")
    assert "Traceback" not in stderr
