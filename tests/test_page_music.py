"""What the page computes: draws, controls and music are those of the Player, value by value."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import tensorflow as tf
from page_piece import RATE_HZ, music

from musika_tf.conditioning import controls, timeline
from musika_tf.config import Config
from musika_tf.networks import coordinates
from musika_tf.stream import Stream

pytestmark = pytest.mark.slow

COURSE = {
    "seed": [5, 0],
    "style": [{"seed": [5, 0], "weight": 1}],
    "truncation": 2,
    "controls": [{"points": [[0, 0.5]]}, {"points": [[0, 120]]}],
}
# Difference of waveforms that nobody hears: -70 dB.
MAX_DIFFERENCE_DB = -70.0


@pytest.fixture(scope="module")
def page(chromium, page_address) -> Iterator:
    """Of the page's host, but without it."""
    page = chromium.new_page()
    page.goto(f"{page_address}models.json")
    yield page
    page.close()


@pytest.fixture(scope="module")
def modules(page, page_address) -> Callable:
    """Evaluates what a module of the page exports: `call("draws.js", "uniform", …)`."""

    def call(module: str, name: str, *arguments):
        code = """async ([module, name, given]) => {
            const found = await (await import(module))[name](...given);
            return ArrayBuffer.isView(found) ? [...found] : found;
        }"""
        return page.evaluate(code, [f"{page_address}{module}", name, list(arguments)])

    return call


def difference_db(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape
    return 10.0 * np.log10(np.mean(np.square(found - expected)) / np.mean(np.square(expected)))


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
    for index in (0, 1, 151_200, 604_800):
        expected = coordinates.draw_anchors(tf.constant([seed]), index, 1, 64, cut)[0, 0]
        found = modules("draws.js", "drawAnchor", seed, index, 64, truncation)
        np.testing.assert_allclose(found, expected, atol=2e-6 * truncation)


def test_inverse_normal(modules):
    from scipy import special

    for p in (1e-30, 1e-8, 0.02, 0.3, 0.5, 0.8, 0.999, 1 - 1e-9):
        assert modules("draws.js", "inverseNormal", p) == pytest.approx(special.ndtri(p), rel=1e-12)
    for x in (0.0, 0.4, 1.4142, 2.6, 7.0):
        assert modules("draws.js", "erfc", x) == pytest.approx(special.erfc(x), rel=1e-9)


@pytest.mark.parametrize("step", [-64, -1, 0, 3, 77, 19_380_003])
def test_controls(modules, beats_config, step):
    config = json.loads(beats_config.to_json()) | {"level2_ratio": beats_config.level2_ratio}
    clock = {"name": "beats", "rate": "beats", "minimum": 0, "maximum": 4}
    times, tempi = (0.5, 2.0, 2.1, 30.0), (120.0, 90.0, 180.0, 60.0)
    control = {"points": list(zip(times, tempi, strict=True)), "beats": 1.25}
    found = modules("controls.js", "valueOf", clock, control, config, step)
    curve = controls.Curve(times, tempi)
    expected = controls.Beats(curve, 1.25).values(beats_config, [0], step, 1).item()
    assert found == pytest.approx(expected, rel=1e-13, abs=1e-8)
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


def test_half_a_minute_is_the_players(page, page_address, page_player):
    n_samples = 30 * RATE_HZ
    found = rendered(page, page_address, COURSE, 0, n_samples)
    assert difference_db(found, music(page_player, n_samples)) < MAX_DIFFERENCE_DB
    # After a thousand hours, in the middle of an excerpt.
    start = 3_600_000 * RATE_HZ + 1234
    found = rendered(page, page_address, COURSE, start, 4 * RATE_HZ)
    expected = music(page_player, 4 * RATE_HZ, start / RATE_HZ)
    assert difference_db(found, expected) < MAX_DIFFERENCE_DB


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


def test_steering_is_the_players(page, page_address, beats_config):
    """Steered back to the beginning of excerpt 2 after 3 were made; inputs as `Stream` has them."""
    style = [{"seed": [9, 0], "weight": 1}]
    changed = {
        **COURSE,
        "style": style,
        "controls": [{"points": [[0, 0.1]]}, {"points": [[0, 70]]}],
    }
    excerpt = beats_config.audio.excerpt_n_samples
    cut, given = page.evaluate(STEERED, [page_address, COURSE, changed, excerpt + 1])
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
