"""Labels: what a CSV file may hold, and the value that it gives at each latent step."""

import os

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from musika_tf.conditioning.labels import Labels
from musika_tf.conditioning.timeline import centres_seconds
from musika_tf.config import Config

AUDIO = Config().audio
STEP_N_SAMPLES = 4096


def write(tmp_path, text: str):
    path = tmp_path / "labels-x.csv"
    path.write_text(text, encoding="utf-8")
    return path


def values(labels, file, n_steps=6, before=0, maximum=30.0):
    """At 0.5, 1.5, ... s, or so much later."""
    return labels.values(file, np.arange(n_steps) + 0.5 - before, maximum)


def test_a_curve_is_read_in_order_of_time(tmp_path):
    text = "file,time_seconds,value\nb.ogg,2,5\na.ogg,1.5,-3e1\nb.ogg,0.5,4\n\n"
    labels = Labels.read("x", write(tmp_path, text))
    assert not labels.is_events
    np.testing.assert_array_equal(labels.of("a.ogg"), [[1.5, -30]])
    np.testing.assert_array_equal(labels.of("b.ogg"), [[0.5, 4], [2, 5]])


def test_events_are_read_in_order_of_time(tmp_path):
    labels = Labels.read("x", write(tmp_path, "file,time_seconds\na.ogg,2\na.ogg,0.25\na.ogg,2\n"))
    assert labels.is_events
    np.testing.assert_array_equal(labels.of("a.ogg"), [0.25, 2, 2])
    assert labels.of("nothing happens.ogg").shape == (0,)


@pytest.mark.parametrize("kind", ["time_seconds,value,confidence", "time_seconds,confidence"])
def test_confidence_is_kept_and_not_part_of_the_labels(tmp_path, kind):
    row = "1.0,2.0,0.75" if "value" in kind else "1.0,0.75"
    text = f"file,{kind}\na.ogg,{row}\n"
    labels = Labels.read("x", write(tmp_path, text))
    np.testing.assert_array_equal(np.ravel(labels.of("a.ogg")), [1, 2] if "value" in kind else [1])
    assert labels.to_csv() == text


def test_what_is_written_is_sorted_and_read_again(tmp_path):
    rng = np.random.default_rng(0)
    name = os.fsdecode(b'caf\xe9, "live".wav')  # No UTF-8, and it has to be quoted.
    tables = {"b.ogg": rng.uniform(0, 200, (50, 2)), name: rng.uniform(0, 200, (3, 2))}
    written = Labels("x", ("time_seconds", "value"), tables, "a test")
    path = write(tmp_path, written.to_csv())
    lines = path.read_text().splitlines()[1:]
    assert [line[:2] for line in lines] == ["b."] * 50 + ['"c'] * 3
    read = Labels.read("x", path)
    for file, table in tables.items():
        expected = table[table[:, 0].argsort()]
        np.testing.assert_array_equal(read.of(file), expected)
    assert read.only([name]).files == [r"caf\udce9, " + '"live".wav']


WRONG = {
    "": "line 1: the header begins with ''; it must begin with 'file'",
    "a.ogg,1,2\n": "line 1: the header begins with 'a.ogg'",
    "file,value\n": "line 1: the columns are file,value; they must be file,time_seconds,value",
    "file,value,time_seconds\n": "in this order",
    "file,time_seconds,value\na.ogg,1\n": "line 2: 2 fields; the header has 3",
    "file,time_seconds\na.ogg,1\n,1\n": "line 3: the name of the file is empty",
    "file,time_seconds\na.ogg,1\na.ogg,0:30\n": "line 3: time_seconds is '0:30'; it must be a num",
    "file,time_seconds,value\na.ogg,1,\n": "line 2: value is ''; it must be a number",
    "file,time_seconds,value\na.ogg,1,inf\n": "line 2: value is inf; it must be finite, or nan$",
    "file,time_seconds\na.ogg,-1\n": "line 2: time_seconds is -1; .* finite and not negative",
    "file,time_seconds\na.ogg,inf\n": "line 2: time_seconds is inf",
    'file,time_seconds\n"a.ogg,1\n': "line 2: unexpected end of data",
    "file,time_seconds,value\na.ogg,1,2\na.ogg,1.0,3\n": "'a.ogg' has two values at 1 s",
    "file,time_seconds,value\na.ogg,1,2\na.ogg,2,nan\n": "'a.ogg' has nan beside other values",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_label_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match=f"labels-x.csv.*{WRONG[text]}"):
        Labels.read("x", write(tmp_path, text))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ValueError, match="cannot read labels from .*none.csv: .*No such file"):
        Labels.read("x", tmp_path / "none.csv")
    path = tmp_path / "latin1.csv"
    path.write_bytes(b"file,time_seconds\ncaf\xe9.ogg,1\n")
    with pytest.raises(ValueError, match="latin1.csv: .*utf-8"):
        Labels.read("x", path)


def test_every_file_of_a_curve_needs_a_row(tmp_path):
    labels = Labels.read("x", write(tmp_path, "file,time_seconds,value\na.ogg,0,1\n"))
    labels.require(["a.ogg"])
    with pytest.raises(ValueError, match="no row for 1 of 2 files, such as 'b.ogg'"):
        labels.require(["a.ogg", "b.ogg"])
    with pytest.raises(ValueError, match=r"labels-x.csv has no row for .*such as 'b.ogg'"):
        labels.of("b.ogg")


def test_some_file_needs_an_event(tmp_path):
    labels = Labels.read("x", write(tmp_path, "file,time_seconds\na.ogg,0\n"))
    labels.require(["a.ogg", "b.ogg"])
    with pytest.raises(ValueError, match="no row for 2 of 2 files.* rows for 1, such as 'a.ogg'"):
        labels.require(["folder/a.ogg", "folder/b.ogg"])


def test_labels_of_other_files_are_named_early(tmp_path):
    labels = Labels.read("x", write(tmp_path, "file,time_seconds,value\na.ogg,0,1\n"))
    labels.require_some(["a.ogg", "b.ogg"])
    with pytest.raises(ValueError, match="no row for 1 of 1 files, such as 'b.ogg'"):
        labels.require_some(["b.ogg"])


def test_a_curve_is_cut_with_its_file():
    labels = Labels("x", ("time_seconds", "value"), {"a": [[2, 20], [4, 40], [6, 0]]}, "a test")
    parts = labels.split("a", "a (end)", 5.0)
    np.testing.assert_array_equal(parts.of("a"), [[2, 20], [4, 40], [5, 20]])
    np.testing.assert_array_equal(parts.of("a (end)"), [[0, 20], [1, 0]])
    whole, first = (values(part, "a") for part in (labels, parts))
    end = values(parts, "a (end)")
    np.testing.assert_allclose(first[:5], whole[:5])
    np.testing.assert_allclose(end[0], whole[5])
    # Given parts stay what they are, and so do labels without the file.
    assert parts.split("a", "a (end)", 1.0) is parts
    assert labels.split("b", "b (end)", 1.0) is labels


@pytest.mark.parametrize("seconds", [1.0, 3.0, 9.0])
def test_a_constant_is_the_same_in_both_parts(seconds):
    labels = Labels(
        "x", ("time_seconds", "value", "confidence"), {"a": np.array([[3, 128, 0.9]])}, "a test"
    ).split("a", "a (end)", seconds)
    for part in ("a", "a (end)"):
        np.testing.assert_array_equal(labels.of(part)[:, 1], 128)
    rows = labels.to_csv().splitlines()[1:]
    assert all(row.endswith(",128.0,0.9") for row in rows)


def test_a_clock_goes_on_beyond_its_points_and_through_a_cut():
    tables = {"a": [[2, 4], [3, 5.5], [4, 8]], "b": [[0, np.nan]]}
    labels = Labels("beats", ("time_seconds", "value"), tables, "a test")
    expected = [1.75, 3.25, 4.75, 6.75, 9.25, 11.75]
    np.testing.assert_allclose(values(labels, "a"), expected)
    for seconds in (1.0, 3.0, 5.0):
        parts = labels.split("a", "a (end)", seconds)
        n_first = int(seconds)  # whose centres lie before the cut
        np.testing.assert_allclose(values(parts, "a")[:n_first], expected[:n_first])
        end = values(parts, "a (end)", before=seconds)
        np.testing.assert_allclose(end[n_first:], expected[n_first:])
        # Read again from files, each part holds.
        Labels("beats", parts.columns, {f: parts.of(f) for f in parts.files}, "a test")
    unknown = labels.split("b", "b (end)", 5.0)
    for file in ("b", "b (end)"):
        np.testing.assert_array_equal(unknown.of(file), [[0, np.nan]])
        np.testing.assert_array_equal(values(unknown, file), [np.nan] * 6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,time_seconds\na,1\n", "beats need a value: the columns must be"),
        ("file,time_seconds,value\na,0,1\n", "'a' must have two points or more, with beats that"),
        ("file,time_seconds,value\na,0,1\na,2,1\n", ".*or the single row 0,nan if it has no"),
    ],
)
def test_what_is_no_clock_is_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=f"labels-x.csv: {message}"):
        Labels.read("beats", write(tmp_path, text))


def test_events_are_cut_with_their_file():
    labels = Labels("x", ("time_seconds",), {"a": np.array([[2.0], [5.0], [6.5]])}, "a test")
    parts = labels.split("a", "a (end)", 5.0)
    np.testing.assert_array_equal(parts.of("a"), [2])
    np.testing.assert_array_equal(parts.of("a (end)"), [0, 1.5])
    assert labels.split("a", "a (end)", 7.0).files == ["a"]


def test_a_curve_is_linear_between_points_and_held_outside(tmp_path):
    labels = Labels("x", ("time_seconds", "value"), {"a": [[1.5, 10], [3.5, 30]]}, "a test")
    np.testing.assert_allclose(values(labels, "a"), [10, 10, 20, 30, 30, 30])
    # A second of the timeline lies before the file: the same values come one step later.
    np.testing.assert_allclose(values(labels, "a", before=1), [10, 10, 10, 20, 30, 30])
    assert values(labels, "a").dtype == np.float32


def test_events_give_the_scaled_density():
    onsets = np.random.default_rng(0).uniform(0, 600, 2000)
    labels = Labels("x", ("time_seconds",), {"a": onsets[:, None]}, "a test")
    times = np.arange(600) + 0.5
    density = stats.gaussian_kde(onsets, 0.004)(times) * 2000
    expected = np.log(1 + density) / np.log(31)
    result = values(labels, "a", n_steps=600)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
    assert 0.0 < result.min() < 0.3 < 0.5 < result.max() < 0.8
    np.testing.assert_array_equal(values(labels, "silent"), np.zeros(6))
    np.testing.assert_array_equal(values(labels, "a", maximum=0.5), np.ones(6))


def latents_touched(sample: int, n_samples: int) -> np.ndarray:
    """How much each latent of an encoded file sees of a click: its energy in the latent's frames.

    The geometry is that of musika_tf/networks/codec.py, computed with the project's own STFT.
    """
    from musika_tf import spectral

    waveform = np.zeros(n_samples, np.float32)
    waveform[sample] = 1.0
    padded = np.pad(waveform, (AUDIO.overlap_size, -n_samples % AUDIO.excerpt_n_samples))
    spectrum = spectral.stft(tf.constant(padded), AUDIO.window_size, AUDIO.hop_size)
    frames = spectral.power(spectrum).numpy().sum(axis=1)
    return frames[: len(frames) // 16 * 16].reshape(-1, 16).sum(axis=1)


@pytest.mark.parametrize("sample", [*range(5 * 4096, 6 * 4096, 517)])
def test_a_click_lands_in_the_latent_that_sees_it(sample):
    """The step that has an event is the one whose latent holds it, up to the edges."""
    n_samples, rate = 16 * 4096, AUDIO.sample_rate_hz
    seen = latents_touched(sample, n_samples)
    centres = centres_seconds(Config(), 0, len(seen), AUDIO.overlap_size)
    step = np.abs(centres - sample / rate).argmin()
    share = seen / seen.sum()
    assert share[step] > 0.49
    # What latents see of the click is centred within half a step of where it is said to be.
    assert abs(np.sum(share * np.arange(len(share))) - step) <= 0.52


def test_no_other_first_sample_aligns_better():
    samples = np.arange(4 * 4096, 8 * 4096, 64)
    shares = np.array([latents_touched(sample, 16 * 4096) for sample in samples])
    centres_of_energy = shares @ np.arange(shares.shape[1]) / shares.sum(axis=1)
    # Step number as a function of the sample: (sample - first_sample) / step - 1/2.
    implied = samples.mean() - (centres_of_energy.mean() + 0.5) * STEP_N_SAMPLES
    centre_of_0 = centres_seconds(Config(), 0, 1, AUDIO.overlap_size)[0] * AUDIO.sample_rate_hz
    first = centre_of_0 - STEP_N_SAMPLES / 2
    assert first == pytest.approx(-384)
    assert abs(implied - first) <= 32
