"""The page in headless Chromium: the music of the Player, steered, shared, offline, on a phone."""

from __future__ import annotations

import base64
import http.server
import io
import itertools
import json
import pathlib
import re
import threading
import time
import wave
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tensorflow as tf
from random_model import released_random_run

from export.web import site
from export.web.server import server
from musika_tf.conditioning import controls, timeline
from musika_tf.config import Config
from musika_tf.networks import coordinates
from musika_tf.player import Player, open_player

if TYPE_CHECKING:
    from playwright.sync_api import Page

RATE_HZ = 22_050
PIECE = "model=random&seed=5.0&variety=2&style=5.0:1&note_density=0:0.5&tempo_bpm=0:120"
COURSE = {
    "seed": [5, 0],
    "style": [{"seed": [5, 0], "weight": 1}],
    "truncation": 2,
    "controls": [{"points": [[0, 0.5]]}, {"points": [[0, 120]]}],
}
# Difference of waveforms that nobody hears: -70 dB.
MAX_DIFFERENCE_DB = -70.0


@pytest.fixture(scope="module")
def weights(tmp_path_factory, beats_config) -> pathlib.Path:
    return released_random_run(tmp_path_factory.mktemp("weights"), beats_config)


@pytest.fixture(scope="module")
def player(weights) -> Player:
    return open_player(weights)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, weights) -> pathlib.Path:
    return site.build(site.named([weights]), tmp_path_factory.mktemp("site") / "site")


@pytest.fixture(scope="module")
def address(folder) -> Iterator[str]:
    with serving(server(folder)) as url:
        yield url


class serving:  # noqa: N801
    """Runs a server in a thread; gives its address."""

    def __init__(self, of: http.server.ThreadingHTTPServer):
        self.of = of

    def __enter__(self) -> str:
        threading.Thread(target=self.of.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.of.server_port}/"

    def __exit__(self, *_) -> None:
        self.of.shutdown()
        self.of.server_close()


@pytest.fixture
def opened(browser, address) -> Iterator[Callable[..., Page]]:
    """Opens the page at a fragment; it must not complain and ask nobody else."""
    contexts, complaints, asked = [], [], []

    def open_page(fragment: str, url: str = address, **options) -> Page:
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda m: m.type == "error" and complaints.append(m.text))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{url}#{fragment}")
        page.wait_for_selector("#play:not([disabled])", timeout=120_000)
        return page

    yield open_page
    assert not complaints
    assert {url.split("/")[2].split(":")[0] for url in asked if url.startswith("http")} == {
        "127.0.0.1"
    }
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def modules(browser, address) -> Iterator[Callable]:
    """Evaluates what a module of the page exports: `call("draws.js", "uniform", …)`."""
    page = browser.new_page()
    page.goto(f"{address}models.json")

    def call(module: str, name: str, *arguments):
        code = """async ([module, name, given]) => {
            const found = await (await import(module))[name](...given);
            return ArrayBuffer.isView(found) ? [...found] : found;
        }"""
        return page.evaluate(code, [f"{address}{module}", name, list(arguments)])

    yield call
    page.close()


def difference_db(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape
    return 10.0 * np.log10(np.mean(np.square(found - expected)) / np.mean(np.square(expected)))


def music(player: Player, n_samples: int, start_seconds: float = 0.0, tempo=120.0) -> np.ndarray:
    """What the Player makes of `PIECE`."""
    asked = [controls.Constant(0.5), controls.Beats(controls.Constant(tempo))]
    return np.concatenate(list(player.stream((5, 0), 2.0, asked, n_samples, start_seconds)))


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


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Asks every 50 ms: the page forbids the code that playwright would wait with."""
    for _ in range(int(seconds / 0.05)):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen")


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


# A piece


@pytest.mark.parametrize("seed", [[5, 7], [0, 0], [-412061107, 3], [2**31 - 1, -1]])
def test_uniform_draws(modules, seed):
    expected = tf.random.stateless_uniform([37], seed, alg="philox").numpy()
    np.testing.assert_array_equal(modules("draws.js", "uniform", seed, 37), expected)


@pytest.mark.parametrize("truncation", [0.3, 2.0, 10.0])
def test_style_and_anchors(modules, truncation):
    seed, cut = [1, 4], tf.constant([truncation])
    expected = coordinates.draw_style(tf.constant([seed]), 64, cut)[0]
    found = modules("draws.js", "drawStyle", seed, 64, truncation)
    np.testing.assert_allclose(found, expected, atol=2e-6 * truncation)
    for index in (0, 1, 151_200):
        expected = coordinates.draw_anchors(tf.constant([seed]), index, 1, 64, cut)[0, 0]
        found = modules("draws.js", "drawAnchor", seed, index, 64, truncation)
        np.testing.assert_allclose(found, expected, atol=2e-6 * truncation)


def test_inverse_normal(modules):
    from scipy import special

    for p in (1e-30, 1e-8, 0.02, 0.3, 0.5, 0.8, 0.999, 1 - 1e-9):
        assert modules("draws.js", "inverseNormal", p) == pytest.approx(special.ndtri(p), rel=1e-12)
    for x in (0.0, 0.4, 1.4142, 2.6, 7.0):
        assert modules("draws.js", "erfc", x) == pytest.approx(special.erfc(x), rel=1e-9)


@pytest.mark.parametrize("step", [-64, -1, 0, 3, 77, 100_003])
def test_controls(modules, beats_config, step):
    config = json.loads(beats_config.to_json()) | {"level2_ratio": beats_config.level2_ratio}
    clock = {"name": "beats", "rate": "beats", "minimum": 0, "maximum": 4}
    times, tempi = (0.5, 2.0, 2.1, 30.0), (120.0, 90.0, 180.0, 60.0)
    control = {"points": list(zip(times, tempi, strict=True)), "beats": 1.25}
    found = modules("controls.js", "valueOf", clock, control, config, step)
    curve = controls.Curve(times, tempi)
    expected = controls.Beats(curve, 1.25).values(beats_config, [0], step, 1).item()
    assert found == pytest.approx(expected, abs=1e-8)
    density = {"name": "note_density", "rate": "step", "minimum": 0, "maximum": 150}
    found = modules("controls.js", "limitedValueOf", density, control, config, step)
    expected = curve.values(beats_config, [0], step, 1).item()
    assert found == pytest.approx(min(expected, 150.0), abs=1e-8)
    seconds = modules("controls.js", "centreSeconds", config, step)
    assert seconds == pytest.approx(timeline.centres_seconds(beats_config, step, 1).item())


# Music

RENDER = """async ([address, course, start, total, steering]) => {
    const { Player } = await import(`${address}player.js`);
    const player = new Player(), heard = (name) => new Promise((resolve, fail) => {
        player.addEventListener(name, ({ detail }) => resolve(detail), { once: true });
        player.addEventListener("error", ({ detail }) => fail(new Error(detail)));
    });
    player.load(`${address}models/random/`);
    await heard("ready");
    const rendered = heard("rendered");
    player.render(course, start, total);
    return (await rendered).map((channel) => {
        const bytes = new Uint8Array(channel.buffer);
        let text = "";
        for (const byte of bytes) text += String.fromCharCode(byte);
        return btoa(text);
    });
}"""


def rendered(page, address: str, course: dict, start: int, n_samples: int) -> np.ndarray:
    channels = page.evaluate(RENDER, [address, course, start, n_samples, None])
    return np.stack([np.frombuffer(base64.b64decode(c), np.float32) for c in channels], axis=-1)


def test_half_a_minute_is_the_players(browser, address, player):
    page = browser.new_page()
    page.goto(f"{address}models.json")
    n_samples = 30 * RATE_HZ
    found = rendered(page, address, COURSE, 0, n_samples)
    assert difference_db(found, music(player, n_samples)) < MAX_DIFFERENCE_DB
    # After eleven days, in the middle of an excerpt.
    start = int(999_990 * RATE_HZ) + 1234
    found = rendered(page, address, COURSE, start, 4 * RATE_HZ)
    expected = music(player, 4 * RATE_HZ, start / RATE_HZ)
    assert difference_db(found, expected) < MAX_DIFFERENCE_DB
    page.close()


STEERED = """async ([address, before, after, sample]) => {
    const [{ bytesOf, compiled }, { Stream }] = await Promise.all(
        ["graphs.js", "stream.js"].map((name) => import(`${address}${name}`)));
    const manifest = await (await fetch(`${address}models/random/manifest.json`)).json();
    // Graphs that are no networks: of what is given, enough that all of it counts.
    const graphs = {
        generator: async ({ coordinates, style, conditioning, start }) => {
            const [, n, depth] = manifest.graphs.generator.outputs.latents.shape;
            const context = manifest.context_n_latents, latents = new Float32Array(n * depth);
            const per = (a) => a.length / (n + 2 * context);
            for (let i = 0; i < n; i++) for (let c = 0; c < depth; c++) {
                const at = i + context;
                latents[i * depth + c] = [coordinates, style, conditioning].reduce(
                    (sum, a) => sum + a[at * per(a) + c % per(a)], (start[0] + i) / 1000);
            }
            return { latents };
        },
        decoder: async ({ latents }) => {
            given.push(...latents);
            const [two, frames, bins] = manifest.graphs.decoder.outputs.real.shape;
            const zeros = () => new Float32Array(two * frames * bins);
            return { real: zeros(), imaginary: zeros() };
        },
    };
    const given = [], stream = new Stream(manifest, graphs, before);
    for (let i = 0; i < 3; i++) await stream.read();
    const cut = stream.steer(after, sample);
    given.length = 0;
    for (let i = 0; i < 3; i++) await stream.read();
    return [cut, given];
}"""


def test_steering_is_the_players(browser, address, player, beats_config):
    """Steered back to the beginning of excerpt 2 after 3 were made; inputs as `Stream` has them."""
    style = [{"seed": [9, 0], "weight": 1}]
    changed = {
        **COURSE,
        "style": style,
        "controls": [{"points": [[0, 0.1]]}, {"points": [[0, 70]]}],
    }
    page = browser.new_page()
    page.goto(f"{address}models.json")
    excerpt = beats_config.audio.excerpt_n_samples
    cut, given = page.evaluate(STEERED, [address, COURSE, changed, excerpt + 1])
    page.close()
    assert cut == 2 * excerpt
    model = _Traceable(beats_config)
    asked = [controls.Constant(0.5), controls.Beats(controls.Constant(120.0))]
    stream = _stream(model, asked)
    for _ in range(2):
        next(stream)
    after = [controls.Constant(0.1), controls.Beats(controls.Constant(70.0))]
    stream.steer(style_seed=(9, 0), controls=after)
    model.given.clear()
    while sum(map(len, model.given)) < len(given):
        next(stream)
    expected = np.concatenate(model.given)[: len(given)]
    np.testing.assert_allclose(given, expected, atol=2e-5)


def _stream(model, asked):
    from musika_tf.stream import Stream

    seconds = model.config.audio.excerpt_n_samples / RATE_HZ
    return Stream(model, (5, 0), 2.0, asked, None, 0.0, 1.01 * seconds)


class _Traceable:
    """The graphs of `STEERED`."""

    def __init__(self, config: Config):
        self.config, self.given = config, []

    def latents(self, coordinates, style, conditioning, start):
        context, depth = self.config.gan.context_n_steps, self.config.stereo_latent_depth
        total = 0.0
        for given in (coordinates, style, conditioning):
            inside = given.numpy()[0, context : given.shape[1] - context]
            total = total + inside[:, np.arange(depth) % inside.shape[-1]]
        steps = start.numpy()[0] + np.arange(len(total))
        return tf.constant((total + steps[:, np.newaxis] / 1000)[np.newaxis])

    def decode(self, latents, overlap):
        self.given.append(latents.numpy().ravel())
        n_samples = latents.shape[1] * self.config.latent_hop_size
        return tf.zeros([1, n_samples, 2]), overlap


# The page


def test_plays_what_the_player_plays(opened, player):
    page = opened(f"{PIECE}&time=0")
    page.click("#play")
    wait_for(lambda: heard_seconds(page) >= 1)
    found = recorded(page, lambda: wait_for(lambda: heard_seconds(page) >= 9))
    assert page.get_attribute("html", "data-underruns") == "0"
    expected = music(player, 14 * RATE_HZ)
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
def test_what_is_steered_is_heard_soon(opened, player, control):
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
    expected = music(player, 40 * RATE_HZ)
    first = at_sample(found, expected)
    differs = np.abs(found - expected[first : first + len(found)]).max(axis=1) > 3.0 / 32768
    changed = first + int(np.argmax(differs))
    assert differs.any()
    assert 0.0 < (changed - page.evaluate("musika.asked")) / RATE_HZ < 1.5


def test_jump_and_shared_address(opened, player):
    page = opened(f"{PIECE}&time=0")
    page.fill("#time", "250:00:00")
    page.click("#jump button")
    page.click("#play")
    wait_for(lambda: heard_seconds(page) >= 900_001)
    found = recorded(page, lambda: wait_for(lambda: heard_seconds(page) >= 900_004))
    expected = music(player, 20 * RATE_HZ, 900_000.0)
    first = at_sample(found, expected)
    assert np.abs(found - expected[first : first + len(found)]).max() < 1.5 / 32768
    page.click("#share")
    shared = page.url.split("#")[1]
    seconds = float(re.search(r"time=([0-9.]+)", shared)[1])
    assert 900_000 < seconds < 900_030
    other = opened(shared)
    other.click("#play")
    wait_for(lambda: heard_seconds(other) >= seconds + 1)
    found = recorded(other, lambda: wait_for(lambda: heard_seconds(other) >= seconds + 3))
    first = at_sample(found, expected := music(player, 20 * RATE_HZ, int(seconds)))
    assert np.abs(found - expected[first : first + len(found)]).max() < 1.5 / 32768


def test_saves_a_file(opened, player):
    page = opened(f"{PIECE}&time=7")
    page.fill("#seconds", "3")
    with page.expect_download() as download:
        page.click("#save button")
    found = wav(pathlib.Path(download.value.path()))
    expected = music(player, 3 * RATE_HZ, 7.0)
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


def test_any_file_host_will_do(opened, folder):
    """Python's own, which sends no header that the page would need."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *given):
            super().__init__(*given, directory=str(folder))

        def log_message(self, *_):
            pass

    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        page = opened(f"{PIECE}&time=0", url)
        page.click("#play")
        wait_for(lambda: heard_seconds(page) >= 1)
        page.context.close()


# The folder


def test_folder_asks_no_other_host(folder):
    own = [p for p in folder.rglob("*") if p.suffix in (".js", ".html", ".css")]
    own = [p for p in own if "vendor" not in p.parts]
    assert len(own) > 10
    for path in own:
        assert not re.search(r"(https?:)?//[a-z0-9.-]+\.[a-z]", path.read_text()), path
    html = (folder / "index.html").read_text()
    assert "default-src 'none'" in html and "connect-src 'self'" in html


def test_folder_holds_licence_and_card(folder, weights):
    listed = json.loads((folder / "models.json").read_text())
    assert [m["name"] for m in listed] == ["random"]
    assert (folder / listed[0]["card"]).read_text() == (weights / "README.md").read_text()
    assert "Apache License" in (folder / "LICENSE.txt").read_text()


def test_names_and_what_is_no_model(tmp_path, weights):
    assert list(site.named(["models/piano/3", "weights/techno"])) == ["piano", "techno"]
    with pytest.raises(ValueError, match="both be called piano: rename"):
        site.named(["a/piano", "b/piano/1"])
    with pytest.raises(ValueError, match="no model"):
        site.named([])
    with pytest.raises(ValueError, match="holds no exported model and is no run"):
        site.build({"x": tmp_path}, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "there").mkdir()
    with pytest.raises(ValueError, match="--overwrite"):
        site.build({"x": weights}, tmp_path / "there")


def test_page_is_built_once(tmp_path, weights, monkeypatch):
    built = []
    monkeypatch.setattr(site, "build", lambda models, out: built.append(out) or out)
    first = site.kept({"random": weights}, tmp_path)
    first.mkdir()
    assert site.kept({"random": weights}, tmp_path) == first
    assert built == [first]
