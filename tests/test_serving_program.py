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

import numpy as np
import pytest
import requests
import serving_client
from serving_client import n_steps_of_a_second, slow

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).resolve().parent.parent
LINE = r"serving toy version (\d+): REST http://127\.0\.0\.1:(\d+), gRPC 127\.0\.0\.1:(\d+)\n"
WAIT_SECONDS = 120


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
    """A running server, its REST client and its port for gRPC."""
    flags = (f"--model_dir={model_dir}", "--model_name=toy", "--rest_port=0", "--grpc_port=0")
    process = start(*flags, *words)
    try:
        line = process.stdout.readline()
        match = re.fullmatch(LINE, line)
        assert match, line + process.stderr.read()
        yield process, serving_client.Rest(int(match[2]), "toy"), int(match[3])
    finally:
        process.kill()
        process.communicate()


def predict_text(rest):
    body = {"signature_name": "inverse", "instances": [0.3, 7.0, -1e-3]}
    return rest.predict(body).content


def n_running(rest):
    return float(re.search(r"requests_in_flight ([\d.]+)", rest.page("/metrics").text)[1])


def test_requests_under_way_are_answered_and_a_restart_gives_the_same_bytes(toy_dir):
    with serving(toy_dir) as (process, rest, grpc_port):
        first = predict_text(rest)
        n = 4 * n_steps_of_a_second(rest)
        request = serving_client.predict_request({"n": np.int32([n])}, "slow", "toy")
        stub = serving_client.prediction_stub(grpc_port)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            by_rest = pool.submit(serving_client.Rest(rest.port, "toy").predict, slow(n))
            by_grpc = pool.submit(stub.Predict, request)
            while n_running(rest) < 2:
                time.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            with pytest.raises(requests.ConnectionError):
                while True:
                    serving_client.Rest(rest.port).page("/healthz")
                    assert not by_rest.done()
            assert by_rest.result(WAIT_SECONDS).json() == {"outputs": [n]}
            assert by_grpc.result(WAIT_SECONDS).outputs["count"].int_val == [n]
        assert process.wait(WAIT_SECONDS) == 0
        rest_of_stdout, stderr = process.communicate()
        assert rest_of_stdout == ""
        assert "Traceback" not in stderr
    with serving(toy_dir) as (process, rest, _):
        assert predict_text(rest) == first
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_SECONDS) == 0


def test_requests_that_take_too_long_are_cut_off(toy_dir):
    with serving(toy_dir, "--grace_seconds=0.5", "--timeout_seconds=2") as (process, rest, _):
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            pool.submit(serving_client.Rest(rest.port, "toy").predict, slow(2**31 - 1))
            while n_running(rest) < 1:
                time.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            assert process.wait(WAIT_SECONDS) == 0


def test_without_the_extra_one_line_says_what_to_install(toy_dir):
    code = "import sys; sys.modules['uvicorn'] = None; from musika_tf.programs import serve; "
    process = start(f"--model_dir={toy_dir}", code=("-c", f"{code}serve.run()"))
    stdout, stderr = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 1
    assert stdout == ""
    lines = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert lines[0].endswith("pip install '.[serving]'")
    assert "Traceback" not in stderr
