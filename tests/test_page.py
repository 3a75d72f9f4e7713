"""The page in headless Chromium: the music of the Player, steered, shared, offline, on a phone."""

from __future__ import annotations

import http.server
import io
import itertools
import pathlib
import re
import time
import wave
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import browser
import numpy as np
import pytest
from browser import wait_for
from page_piece import RATE_HZ, music

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from playwright.sync_api import Page

PIECE = "model=random&seed=5.0&variety=2&style=5.0:1&note_density=0:0.5&tempo_bpm=0:120"


@pytest.fixture
def opened(chromium, page_address) -> Iterator[Callable[..., Page]]:
    """Opens the page at a fragment."""
    with browser.visits(chromium) as visit:

        def open_page(fragment: str, url: str = page_address, **options) -> Page:
            page = visit(f"{url}#{fragment}", **options)
            page.wait_for_selector("#play:not([disabled])", timeout=120_000)
            return page

        yield open_page


def wav(path: pathlib.Path) -> np.ndarray:
    with wave.open(io.BytesIO(path.read_bytes())) as file:
        assert (file.getframerate(), file.getnchannels()) == (RATE_HZ, 2)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2) / 32768


def at_sample(found: np.ndarray, expected: np.ndarray) -> int:
    """Where in `expected` the recording begins: recordings begin where a click fell."""
    head = found[:4096, 0]
    n = 2 ** int(np.ceil(np.log2(len(expected) + len(head))))
    products = np.fft.irfft(np.fft.rfft(expected[:, 0], n) * np.conj(np.fft.rfft(head, n)), n)
    power = np.convolve(np.square(expected[:, 0]), np.ones(len(head)), "valid")
    errors = power - 2.0 * products[: len(power)]
    return int(np.argmin(errors))


def heard_seconds(page: Page) -> int:
    hours, minutes, seconds = map(int, page.inner_text("#clock").split(":"))
    return 3600 * hours + 60 * minutes + seconds


def recorded(page: Page, during: Callable[[], None]) -> np.ndarray:
    """What plays meanwhile, from the WAV file that the page saves."""
    page.click("#record")
    during()
    with page.expect_download() as download:
        page.click("#record")
    return wav(pathlib.Path(download.value.path()))


# The page


def test_plays_what_the_player_plays(opened, page_player):
    page = opened(f"{PIECE}&time=0")
    page.click("#play")
    wait_for(lambda: heard_seconds(page) >= 1)
    found = recorded(page, lambda: wait_for(lambda: heard_seconds(page) >= 9))
    assert page.get_attribute("html", "data-underruns") == "0"
    expected = music(page_player, 14 * RATE_HZ)
    first = at_sample(found, expected)
    assert first > 0 and len(found) > 5 * RATE_HZ
    # 16 bits in the file.
    assert np.abs(found - expected[first : first + len(found)]).max() < 1.5 / 32768
    page.click("#play")
    paused = heard_seconds(page)
    time.sleep(1.5)
    assert heard_seconds(page) <= paused + 1
    assert page.get_attribute("#play", "aria-label") == "Play"


@pytest.mark.parametrize("control", ["tempo_bpm", "note_density", "variety", "pad"])
def test_what_is_steered_is_heard_soon(opened, page_player, control):
    page = opened(f"{PIECE}&time=0")
    page.click("#play")
    wait_for(lambda: heard_seconds(page) >= 1)
    page.evaluate(
        "addEventListener('keydown', () => (musika.asked ??= musika.player.position), true)"
    )

    def steer() -> None:
        time.sleep(1.0)
        if control == "pad":
            page.focus("#pad")
            page.keyboard.press("ArrowRight")
        else:
            selector = "#variety" if control == "variety" else f"input[name={control}]"
            page.focus(selector)
            page.keyboard.press("End")
        before = heard_seconds(page)
        wait_for(lambda: heard_seconds(page) >= before + 4)

    found = recorded(page, steer)
    assert page.get_attribute("html", "data-underruns") == "0"
    expected = music(page_player, 40 * RATE_HZ)
    first = at_sample(found, expected)
    differs = np.abs(found - expected[first : first + len(found)]).max(axis=1) > 3.0 / 32768
    changed = first + int(np.argmax(differs))
    assert differs.any()
    assert 0.0 < (changed - page.evaluate("musika.asked")) / RATE_HZ < 1.5


def test_jump_and_shared_address(opened, page_player):
    page = opened(f"{PIECE}&time=0")
    page.fill("#time", "1000:00:00")
    page.click("#jump button")
    page.click("#play")
    wait_for(lambda: heard_seconds(page) >= 3_600_001)
    found = recorded(page, lambda: wait_for(lambda: heard_seconds(page) >= 3_600_004))
    expected = music(page_player, 20 * RATE_HZ, 3_600_000.0)
    first = at_sample(found, expected)
    assert np.abs(found - expected[first : first + len(found)]).max() < 1.5 / 32768
    page.click("#share")
    shared = page.url.split("#")[1]
    seconds = float(re.search(r"time=([0-9.]+)", shared)[1])
    assert 3_600_000 < seconds < 3_600_030
    other = opened(shared)
    other.click("#play")
    wait_for(lambda: heard_seconds(other) >= seconds + 1)
    found = recorded(other, lambda: wait_for(lambda: heard_seconds(other) >= seconds + 3))
    first = at_sample(found, expected := music(page_player, 20 * RATE_HZ, int(seconds)))
    assert np.abs(found - expected[first : first + len(found)]).max() < 1.5 / 32768


def test_saves_a_file(opened, page_player):
    page = opened(f"{PIECE}&time=7")
    page.fill("#seconds", "3")
    with page.expect_download() as download:
        page.click("#save button")
    found = wav(pathlib.Path(download.value.path()))
    expected = music(page_player, 3 * RATE_HZ, 7.0)
    np.testing.assert_allclose(found, expected, atol=1.5 / 32768)


def test_curve_drawn_by_hand(opened):
    page = opened(f"{PIECE}&time=0")
    box = page.locator("#lanes canvas").nth(1).bounding_box()
    # Right of now, from low to high.
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.9 * box["height"])
    page.mouse.down()
    for share in (0.75, 0.8, 0.85, 0.9):
        page.mouse.move(
            box["x"] + share * box["width"], box["y"] + (3.7 - 4 * share) * box["height"]
        )
        time.sleep(0.1)
    page.mouse.up()
    time.sleep(0.3)
    curve = re.search(r"tempo_bpm=([^&]+)", page.url)[1]
    points = [tuple(map(float, point.split(":"))) for point in curve.split(",")]
    assert points[0] == (0.0, 120.0)
    assert len(points) >= 5
    assert all(a < b for a, b in itertools.pairwise(points))
    assert points[-1][1] > 200


def test_phone_and_schemes(opened):
    ground = set()
    for scheme in ("dark", "light"):
        page = opened(
            f"{PIECE}&time=0", viewport={"width": 360, "height": 740}, color_scheme=scheme
        )
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        ground.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        # Large enough for a thumb.
        for button in page.locator("button:visible").all():
            assert button.bounding_box()["height"] >= 44
    assert len(ground) == 2


def test_works_offline_once_loaded(opened):
    page = opened(f"{PIECE}&time=0")
    wait_for(lambda: "without a network" in page.inner_text("#kept"))
    page.context.set_offline(True)
    page.reload()
    page.wait_for_selector("#play:not([disabled])", timeout=60_000)
    page.click("#play")
    wait_for(lambda: heard_seconds(page) >= 1)


def test_any_file_host_will_do(opened, page_folder):
    """Python's own, which sends no header that the page would need."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *given):
            super().__init__(*given, directory=str(page_folder))

        def log_message(self, *_):
            pass

    with browser.serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        page = opened(f"{PIECE}&time=0", url)
        page.click("#play")
        wait_for(lambda: heard_seconds(page) >= 1)
        page.context.close()
