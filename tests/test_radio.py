"""The radio: the model's own music, at the speed at which it is heard, whoever comes and goes."""

from __future__ import annotations

import concurrent.futures
import contextlib
import io
import os
import re
import shutil
import socket
import time

import numpy as np
import pytest
import requests
import serving_client
import soundfile
from browser import wait_for

from export.serving import server as server_lib
from export.serving.radio import _LEAD_SECONDS
from export.serving.radio_query import _CHUNK_SECONDS
from musika_tf.audio import to_int16
from musika_tf.conditioning import controls as controls_lib
from musika_tf.player import open_player

RATE_HZ = 22_050
WAIT_SECONDS = 60
HEADER_N_BYTES = 44
ASKED = {"seed": "5", "note_density": "0.3", "tempo_bpm": "125"}
N_LISTENERS = 4


@contextlib.contextmanager
def serving(model_dir, **options):
    with serving_client.new_server(model_dir, **options) as server:
        yield f"http://127.0.0.1:{server.rest_port}"


@pytest.fixture(scope="module")
def url(conditional_model):
    with serving(conditional_model.parent, max_listeners=N_LISTENERS) as url:
        yield url


@pytest.fixture(scope="module")
def conditional_player(conditional_model):
    return open_player(conditional_model)


@pytest.fixture(autouse=True)
def nobody_listens(url):
    yield
    wait_for(lambda: n_listeners(url) == 0)


def metric(url: str, name: str) -> float:
    return float(re.search(rf"^musika_serve_{name} (\S+)", page(url, "metrics").text, re.M)[1])


def n_listeners(url: str) -> int:
    return page(url, "radio").json()["listeners"]


def page(url: str, path: str, **query) -> requests.Response:
    return requests.get(f"{url}/{path}", params=query, timeout=WAIT_SECONDS)


def listen(url: str, suffix: str = "wav", **query) -> requests.Response:
    """A stream that is read little by little; it ends when it is closed."""
    return requests.get(
        f"{url}/radio/musika.{suffix}", params=query, stream=True, timeout=WAIT_SECONDS
    )


def heard(url: str, n_samples: int, **query) -> np.ndarray:
    """The first samples, int16 [n, 2]."""
    with listen(url, **query) as stream:
        data = stream.raw.read(HEADER_N_BYTES + 4 * n_samples)
    return np.frombuffer(data[HEADER_N_BYTES:], "<i2").reshape(-1, 2)


def music(player, n_samples, seed=(5, 0), truncation=2.0, start=0.0, **texts) -> np.ndarray:
    texts = {"note_density": ASKED["note_density"], "tempo_bpm": ASKED["tempo_bpm"]} | texts
    controls = controls_lib.parse_all(texts, player.config.conditioning.signals)
    return np.concatenate(list(player.stream(seed, truncation, controls, n_samples, start)))


@pytest.mark.parametrize(
    ("query", "piece"),
    [
        ({}, {}),
        ({"seed": "5.3"}, {"seed": (5, 3)}),
        ({"variety": "0.5"}, {"truncation": 0.5}),
        ({"start": "1:00:01.5"}, {"start": 3601.5}),
        ({"note_density": "0.9"}, {"note_density": "0.9"}),
        ({"tempo_bpm": "random_walk:120:130"}, {"tempo_bpm": "random_walk:120:130"}),
    ],
)
def test_what_is_asked_for_is_what_the_player_plays(url, conditional_player, query, piece):
    n_samples = 5 * RATE_HZ
    found = heard(url, n_samples, **ASKED | query)
    expected = to_int16(music(conditional_player, n_samples, **piece))
    # A sample in the middle between two values may be rounded either way.
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert found.std() > 10
    if query:
        assert np.abs(found.astype(int) - to_int16(music(conditional_player, n_samples))).max() > 3


def test_without_a_query_it_plays_some_piece(url):
    first, second = (heard(url, RATE_HZ) for _ in range(2))
    assert first.std() > 10 and not np.array_equal(first, second)


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "tolerance"), [("flac", 0.0), ("ogg", 0.4), ("mp3", 0.4)])
def test_all_formats_hold_the_music(url, conditional_player, suffix, tolerance):
    data = b""
    with listen(url, suffix, **ASKED) as stream:
        assert stream.headers["Content-Type"].startswith("audio/")
        assert stream.headers["Cache-Control"] == "no-store"
        began = time.monotonic()
        while time.monotonic() < began + 2 or len(data) < 4096:
            data += stream.raw.read1(65536)
    file = soundfile.SoundFile(io.BytesIO(data))
    assert (file.samplerate, file.channels) == (RATE_HZ, 2)
    # However much has come by now; a busy machine sends less.
    found = file.read(3 * RATE_HZ, dtype="float32")
    expected = music(conditional_player, len(found))
    # Encoders of MP3 begin some frames later.
    delays = range(0, 2500) if suffix == "mp3" else [0]
    n = len(found) - 2500
    assert n > RATE_HZ
    errors = [np.std(found[d : d + n] - expected[:n]) for d in delays]
    # Of random weights it is noise, of which little is redundant; other noise would give 1.4.
    assert min(errors) <= tolerance * expected.std() + 1 / 32768


def test_listing_says_what_there_is(url):
    listed = page(url, "radio").json()
    assert {path.rpartition(".")[2] for path in listed["streams"]} == {"mp3", "ogg", "flac", "wav"}
    assert list(listed["query"]) == ["seed", "variety", "start", "note_density", "tempo_bpm"]
    assert listed["query"]["tempo_bpm"].startswith("110 to 170 (beats per minute), random_walk")
    assert listed["max_listeners"] == N_LISTENERS
    for path in listed["streams"]:
        head = requests.head(url + path, timeout=WAIT_SECONDS)
        assert head.status_code == 200 and "Content-Length" not in head.headers


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("seed=-1", "seed=-1 must be a whole number from 0 to 2147483647, or two"),
        ("seed=2147483648", "from 0 to 2147483647"),
        ("seed=", "seed= must be a whole number"),
        ("seed=1&seed=2", "seed is said twice, '1' and '2'"),
        ("variety=0", "variety=0.0 must be above 0 and at most 10"),
        ("variety=nan", "variety=nan must be above 0"),
        ("variety=much", "variety=much must be a number, like 2"),
        ("start=-1", "start=-1 must be seconds, like 90.5, or a time like"),
        (f"start={'9' * 99}", "must be from 0 to"),
        ("start=86401&note_density=random_walk", "note_density=random_walk needs a start of at"),
        ("note_density=1.1", "note_density=1.1 must be from 0 to 1"),
        ("note_density=/etc/passwd", "note_density=/etc/passwd must be a number from 0 to 1 "),
        ("tempo_bpm=random_walk:1", "must be random_walk or random_walk:MINIMUM:MAXIMUM"),
        ("tempo=120", "unknown 'tempo': a stream takes seed, variety, start, note_density, tempo"),
        (f"seed={'1' * 1000}", "seed is longer than 100 characters: 0 to 2147483647"),
    ],
)
def test_mistake_is_explained(url, query, message):
    answer = page(url, f"radio/musika.wav?{query}")
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"] and message in answer.json()["error"]


def test_other_formats_and_names_are_not_found(url):
    answer = page(url, "radio/musika.aac")
    assert answer.status_code == 404 and "mp3, ogg, flac, wav" in answer.json()["error"]
    assert page(url, "radio/other.wav").status_code == 404


def test_a_model_without_music_has_no_radio(toy_dir):
    with serving(toy_dir) as toy_url:
        for path in ("radio", "radio/musika.ogg"):
            answer = page(toy_url, path)
            assert answer.status_code == 404 and "metadata.json" in answer.json()["error"]


def test_music_comes_at_the_speed_of_time(url):
    n_bytes, began, seconds = 0, time.monotonic(), 8.0
    with listen(url, **ASKED) as stream:
        while time.monotonic() < began + seconds:
            n_bytes += len(stream.raw.read1(65536))
    n_seconds = n_bytes / 4 / RATE_HZ
    assert seconds < n_seconds < seconds + _LEAD_SECONDS + 2 * _CHUNK_SECONDS


def test_too_many_are_refused_until_one_leaves(url):
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(listen(url)) for _ in range(N_LISTENERS)]
        assert n_listeners(url) == metric(url, "listeners") == N_LISTENERS
        refused = listen(url)
        assert refused.status_code == 503 and refused.headers["Retry-After"] == "1"
        assert f"{N_LISTENERS} are listening already" in refused.json()["error"]
        streams[0].close()
        wait_for(lambda: n_listeners(url) == N_LISTENERS - 1)
        assert stack.enter_context(listen(url)).status_code == 200


@pytest.mark.slow
def test_a_hundred_that_leave_at_once_leave_no_trace(conditional_model):
    with serving(conditional_model.parent, max_listeners=100) as url, listen(url, **ASKED) as other:
        n_files = len(os.listdir("/proc/self/fd"))
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            streams = list(pool.map(lambda _: listen(url, "ogg"), range(99)))
        assert [stream.status_code for stream in streams] == [200] * 99
        assert n_listeners(url) == 100
        for stream in streams:
            stream.close()
        wait_for(lambda: n_listeners(url) == 1)
        wait_for(lambda: len(os.listdir("/proc/self/fd")) <= n_files)
        assert len(other.raw.read(4 * 10 * RATE_HZ)) == 4 * 10 * RATE_HZ


@pytest.mark.slow
def test_who_takes_nothing_is_cut_and_holds_nobody(conditional_model, monkeypatch):
    monkeypatch.setattr(server_lib, "_UNREAD_SECONDS", 2)
    with serving(conditional_model.parent) as url, socket.socket() as stuck:
        # What the connection itself holds is soon full.
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        stuck.sendall(b"GET /radio/musika.wav HTTP/1.1\r\nHost: x\r\n\r\n")
        with listen(url, **ASKED) as other:
            wait_for(lambda: n_listeners(url) == 2)
            late = metric(url, "radio_late_chunks_total")
            wait_for(lambda: other.raw.read1(65536) and n_listeners(url) == 1)
            assert metric(url, "radio_late_chunks_total") == late


@pytest.mark.slow
def test_a_server_that_stops_ends_its_streams(conditional_model):
    with serving(conditional_model.parent) as url:
        stream = listen(url, **ASKED)
        stream.raw.read(4 * RATE_HZ)
        began = time.monotonic()
    assert time.monotonic() - began < 20
    # It is a whole answer, which ends.
    assert stream.raw.read()


@pytest.mark.large
def test_streams_outlive_a_version_but_not_another_system(
    conditional_model, tiny_model, conditional_player, tmp_path
):
    shutil.copytree(conditional_model, tmp_path / "1")
    with serving(tmp_path, poll_seconds=0.1) as url, listen(url, **ASKED) as stream:
        data = stream.raw.read(HEADER_N_BYTES + 4 * RATE_HZ)[HEADER_N_BYTES:]
        for number, other in ((2, conditional_model), (3, tiny_model)):
            shutil.copytree(other, tmp_path / "unfinished")
            (tmp_path / "unfinished").rename(tmp_path / str(number))
            wait_for(lambda number=number: metric(url, "current_version") == number)
            if number == 2:
                data += stream.raw.read(4 * 14 * RATE_HZ)
        # It ends.
        data += stream.raw.read()
    found = np.frombuffer(data, "<i2").reshape(-1, 2)
    assert len(found) >= 15 * RATE_HZ
    expected = to_int16(music(conditional_player, len(found)))
    assert np.abs(found.astype(int) - expected).max() <= 1
