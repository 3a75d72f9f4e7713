"""Adherence: models of clicks that do as requested, and models that do not listen."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable

import matplotlib.image
import numpy as np
import processes
import pytest
import scipy.stats
import soundfile

from musika_tf.conditioning import controls as controls_lib
from musika_tf.conditioning import note_density
from musika_tf.conditioning.timeline import centres_seconds
from musika_tf.config import KNOWN_SIGNALS, ConditioningConfig, Config, Signal
from musika_tf.evaluation import adherence, adherence_pictures, adherence_report
from musika_tf.evaluation.adherence import Settings, Task
from musika_tf.generation import Request

RATE_HZ = 22_050
DENSITY = KNOWN_SIGNALS["note_density"]
TEMPO = dataclasses.replace(KNOWN_SIGNALS["tempo_bpm"], minimum=110.0, maximum=170.0)
# A click: noise that dies away in 20 ms.
CLICK = 0.3 * np.random.default_rng(1).normal(size=2205) * np.exp(-np.arange(2205) / 441)

Speed = Callable[[np.ndarray, tuple[int, int]], np.ndarray]


class ClickModel:
    """Stands for an exported model: clicks, as fast as requested, or as it likes.

    Args:
      config: of the model.
      speed: conditioning of a piece [n_steps, n_signals] and seed → clicks a second [n_steps].
    """

    def __init__(self, config: Config, speed: Speed):
        self.config, self._speed = config, speed
        self.path = pathlib.Path("models/clicks/3")
        self.metadata = {
            "weights_sha256": "ab" * 32,
            "created_utc": "2026-01-01T00:00:00+00:00",
            "training": {"gan": {"step": 7}},
        }
        self.n_streams = 0

    def stream(self, seed, truncation, controls, n_samples):
        self.n_streams += 1
        n_patches, n_steps = 9, self.config.gan.seq_len
        conditioning = controls_lib.values(controls, self.config, seed, 0, n_patches * n_steps)
        speed = self._speed(conditioning, seed)
        centres = centres_seconds(self.config, 0, len(speed))
        n_made = n_patches * self.config.patch_n_samples
        rate = np.interp(np.arange(n_made) / RATE_HZ, centres, speed)
        # A click each time the integral of the rate reaches a whole number.
        begins = np.flatnonzero(np.diff(np.floor(np.cumsum(rate) / RATE_HZ + 0.5)))
        waveform = np.zeros(n_made + len(CLICK), np.float32)
        for begin in begins:
            waveform[begin : begin + len(CLICK)] += CLICK
        waveform = np.repeat(waveform[:n_samples, None], 2, axis=1)
        yield from np.array_split(waveform, 2)


def obedient(conditioning, seed):
    return note_density.unscale(conditioning[:, 0], 20.0)


def deaf(conditioning, seed):
    return np.full(len(conditioning), [2.0, 5.0, 1.0, 8.0][seed[1]])


def with_signals(config: Config, *signals_: Signal) -> Config:
    return dataclasses.replace(config, conditioning=ConditioningConfig(signals_, 20.0))


@pytest.fixture(scope="module")
def density_config(tiny_config):
    return with_signals(tiny_config, DENSITY)


@pytest.fixture(scope="module")
def tempo_config(tiny_config):
    return with_signals(tiny_config, TEMPO)


def settings(seconds=20.0, n_samples=2, n_walks=2, **values) -> Settings:
    request = Request(seconds=seconds, n_samples=n_samples, seed=5)
    return Settings(request=request, n_walks=n_walks, onset_detector="librosa", **values)


def measure(model, settings_):
    found = [sample for sample, _ in adherence.samples(model, settings_)]
    return adherence.results(model.config, settings_, found)


# Note density


@pytest.fixture(scope="module")
def followed(density_config):
    """Of a model that follows note density: its conditioning in each stream, and the result."""
    given = {}

    def listen(conditioning, seed):
        given.setdefault(seed, []).append(conditioning[:, 0])
        return obedient(conditioning, seed)

    (result,) = measure(ClickModel(density_config, listen), settings())
    return given, result


def test_a_model_that_follows_note_density(followed):
    _, result = followed
    assert list(result.constants) == [0.15, 0.30, 0.45, 0.60, 0.75]
    assert result.metrics["pearson_r"] > 0.99
    assert result.metrics["slope"] == pytest.approx(1.0, abs=0.1)
    assert result.metrics["mean_absolute_error"] < 0.03
    for value, group in result.constants.items():
        assert len(group) == 2
        wanted = note_density.unscale(value, 20.0)
        for sample in group:
            # Clicks counted in 17 s: one more or less at the ends.
            assert sample.details["onsets_per_second"] == pytest.approx(wanted, abs=1.01 / 17)
    assert len(result.walks) == 2
    assert result.walk_metrics["pearson_r"] > 0.9
    assert result.walk_metrics["mean_absolute_error"] < 0.05
    # Chance is far from it.
    assert result.chance["pearson_r"].high < 0.7 < result.metrics["pearson_r"]
    assert abs(result.chance["pearson_r"].mean) < 0.05
    assert result.chance["mean_absolute_error"].mean > 0.15
    assert abs(result.walk_chance["pearson_r"].mean) < 0.3
    assert result.walk_chance["mean_absolute_error"].mean > 0.1


def test_a_model_that_does_not_listen(density_config):
    (result,) = measure(ClickModel(density_config, deaf), settings(n_samples=4))
    assert abs(result.metrics["pearson_r"]) < 1e-6
    chance = result.chance["mean_absolute_error"]
    assert chance.low < result.metrics["mean_absolute_error"] < chance.high
    assert abs(result.walk_metrics["pearson_r"]) < 0.4


def test_a_model_that_does_the_opposite(density_config):
    def reversed_(conditioning, seed):
        return obedient(0.9 - conditioning, seed)

    (result,) = measure(ClickModel(density_config, reversed_), settings())
    assert result.metrics["pearson_r"] < -0.99
    assert result.walk_metrics["pearson_r"] < -0.8


def test_metrics_of_walks_are_means_of_scipys(followed):
    _, result = followed
    rs = [scipy.stats.pearsonr(walk.requested, walk.measured)[0] for walk in result.walks]
    assert result.walk_metrics["pearson_r"] == pytest.approx(np.mean(rs))
    errors = [np.abs(walk.requested - walk.measured).mean() for walk in result.walks]
    assert result.walk_metrics["mean_absolute_error"] == pytest.approx(np.mean(errors))


def test_steps_are_compared_at_their_time_away_from_the_ends(density_config):
    """A burst in the middle of one step is heard at that step, and the ends are left out."""
    step_seconds, first_seconds = 4096 / RATE_HZ, 768 / 2 / RATE_HZ
    mono = np.zeros(10 * RATE_HZ, np.float32)
    begin = round((first_seconds + 20.5 * step_seconds) * RATE_HZ)
    mono[begin : begin + len(CLICK)] = CLICK
    heard = adherence.hear_note_density(mono, density_config, "librosa")
    assert heard.steps[heard.values.argmax()] == 20
    times = first_seconds + (heard.steps + 0.5) * step_seconds
    assert times[0] - step_seconds < 1.5 <= times[0]
    assert times[-1] < 8.5 <= times[-1] + step_seconds
    # The peak of one kernel of half a second.
    peak = np.log1p(1 / (0.5 * np.sqrt(2 * np.pi))) / np.log1p(20.0)
    assert heard.values.max() == pytest.approx(peak, abs=0.002)
    assert heard.details["onsets_per_second"] == pytest.approx(1 / 7)


def test_requested_is_the_conditioning_of_the_model(followed, density_config):
    given, result = followed
    assert sorted(given) == [(5, 0), (5, 1)]
    for walk in result.walks:
        *constants, conditioning = given[5, walk.task.index]
        assert [values[0] for values in constants] == pytest.approx(list(result.constants))
        np.testing.assert_allclose(walk.requested, conditioning[walk.steps], atol=1e-6)
        times = centres_seconds(density_config, 0, len(conditioning))[walk.steps]
        np.testing.assert_array_equal(walk.times_seconds, times)


def test_other_walks_are_not_the_one_that_was_requested(followed, density_config):
    for walk in followed[1].walks:
        others = list(adherence._other_walks(density_config, settings(), walk))
        distances = [np.abs(other - walk.requested).max() for other in others]
        assert min(distances) > 0.02
        assert len({other[0] for other in others}) == len(others) == 200


def test_silence_follows_nothing(density_config):
    (result,) = measure(ClickModel(density_config, lambda t, _: 0.0 * t[:, 0]), settings(n_walks=1))
    assert result.metrics["pearson_r"] == 0.0
    assert result.metrics["mean_absolute_error"] == pytest.approx(0.45)
    assert result.walk_metrics["pearson_r"] == 0.0


# Tempo


def test_a_model_that_follows_tempo(tempo_config):
    model = ClickModel(tempo_config, lambda conditioning, _: conditioning[:, 0] / 60)
    made = settings(24.0, 1, tempos_bpm=(120, 125, 130, 135, 140, 145))
    (result,) = measure(model, made)
    assert result.metrics["share_within"] == 1.0
    assert result.metrics["share_within_octaves"] == 1.0
    assert result.metrics["pearson_r"] > 0.99
    assert result.metrics["mean_absolute_error"] < 1.0
    assert result.walks == () and result.walk_metrics is None
    for value, (sample,) in result.constants.items():
        np.testing.assert_array_equal(sample.requested, value)
        assert sample.measured_mean == pytest.approx(value, rel=0.01)
        assert 0.3 < sample.details["confidence"] <= 1.0
    # By chance: over all pairs of what was requested and what was measured.
    measured = [sample.measured_mean for (sample,) in result.constants.values()]
    pairs = np.divide.outer(measured, list(result.constants))
    wanted = np.mean(np.abs(pairs - 1) <= 0.04)
    assert 0.3 < wanted < 0.5
    assert result.chance["share_within"].mean == pytest.approx(wanted, abs=0.03)


def test_half_the_tempo_is_counted_apart(tempo_config):
    model = ClickModel(tempo_config, lambda conditioning, _: conditioning[:, 0] / 120)
    (result,) = measure(model, settings(24.0, 1, tempos_bpm=(150, 160, 170)))
    assert result.metrics["share_within"] == 0.0
    assert result.metrics["share_within_octaves"] == 1.0
    assert result.metrics["mean_absolute_error"] == pytest.approx(80, abs=2)
    assert result.metrics["slope"] == pytest.approx(0.5, abs=0.05)
    assert result.metrics["slope_octaves"] == pytest.approx(1.0, abs=0.1)
    assert result.metrics["mean_absolute_error_octaves"] < 1.0
    assert result.metrics["pearson_r_octaves"] > 0.99


# What is asked


def test_constants_out_of_range_are_left_out(tiny_config):
    config = with_signals(tiny_config, dataclasses.replace(TEMPO, maximum=128.0))
    asked = settings(n_samples=1, tempos_bpm=(120, 125, 130))
    values = [task.control.value for task in adherence.plan(config, asked)]
    assert values == [120.0, 125.0]


def test_other_signals_are_given_the_middle_and_unknown_ones_are_skipped(tiny_config):
    energy = Signal("energy", "any", -1.0, 3.0, "step")
    config = with_signals(tiny_config, TEMPO, energy, DENSITY)
    tasks = adherence.plan(config, settings(n_samples=2, n_walks=3))
    by_signal = [task.signal.name for task in tasks]
    assert by_signal == ["tempo_bpm"] * 18 + ["note_density"] * 13
    assert adherence.controls(config, tasks[0]) == (
        controls_lib.Constant(120),
        controls_lib.Constant(1.0),
        controls_lib.Constant(0.5),
    )
    assert adherence.controls(config, tasks[-1])[2] == controls_lib.RandomWalk(0.15, 0.75)
    names = [task.name for task in tasks]
    assert names[0] == "tempo_bpm-120-0"
    assert names[-4:-2] == ["note_density-0.75-1", "note_density-random_walk-0"]
    assert len(set(names)) == len(names)


def test_a_density_of_a_whole_piece_has_no_walks(tiny_config):
    config = with_signals(tiny_config, dataclasses.replace(DENSITY, rate="piece"))
    tasks = adherence.plan(config, settings())
    assert {type(task.control) for task in tasks} == {controls_lib.Constant}


@pytest.mark.parametrize(
    ("minimum", "maximum", "expected"),
    [(110, 170, [120, 125, 130, 135, 140, 145, 150, 155, 160]),
     (50, 130, [63, 70, 77, 83, 90, 97, 103, 110, 117])],
)  # fmt: skip
def test_tempos_lie_in_the_middle_of_the_range(minimum, maximum, expected):
    signal = dataclasses.replace(TEMPO, minimum=minimum, maximum=maximum)
    assert list(settings().constants(signal)) == expected


BAD_PLANS = {
    "unconditional": ((), {}, "unconditional, so there is nothing that it could follow"),
    "unknown": (
        (Signal("energy", "any", -1.0, 3.0, "step"),),
        {},
        "how to measure energy in music: adherence is measured of note_density and tempo_bpm",
    ),
    "out of range": (
        (dataclasses.replace(TEMPO, minimum=60, maximum=121),),
        {"tempos_bpm": (120, 125, 130)},
        r"of the constants 120, 125, .* 1 are inside the model's range, 60 to 121 \(beats",
    ),
    "short": ((DENSITY,), {"seconds": 3.0}, "seconds=3 is too short .* give at least 3.7"),
}


@pytest.mark.parametrize("what", BAD_PLANS)
def test_what_cannot_be_measured_is_named(tiny_config, tmp_path, what):
    signals_, values, message = BAD_PLANS[what]
    model = ClickModel(with_signals(tiny_config, *signals_), obedient)
    with pytest.raises(ValueError, match=message):
        adherence_report.evaluate(model, settings(**values), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_shortest_samples_can_be_measured(density_config):
    made = settings(3.75, note_densities=(0.5, 0.7), n_samples=1)
    (result,) = measure(ClickModel(density_config, obedient), made)
    assert min(len(walk.steps) for walk in result.walks) >= 3


def test_bad_settings():
    with pytest.raises(ValueError, match="n_walks=-1"):
        Settings(n_walks=-1)
    with pytest.raises(ValueError, match="onset detector 'ear'"):
        Settings(onset_detector="ear")


# Tables, numbers, pictures


@pytest.fixture(scope="module")
def both(tiny_config, tmp_path_factory):
    """An evaluation of a model with two signals and one that nobody can measure."""
    config = with_signals(tiny_config, DENSITY, TEMPO, Signal("energy", "any", 0, 1, "step"))
    model = ClickModel(config, obedient)
    made = settings(14.0, 2, 1, note_densities=(0.2, 0.6, 1.5), tempos_bpm=(120, 150))
    out = tmp_path_factory.mktemp("evaluation") / "out"
    text = adherence_report.evaluate(model, made, out, keep_audio=True)
    return model, made, out, text


def test_files(both):
    _, _, out, text = both
    assert sorted(path.name for path in out.iterdir()) == [
        "adherence",
        "adherence.json",
        "adherence.md",
    ]
    assert (out / "adherence.md").read_text() == text
    names = {path.name for path in (out / "adherence").iterdir()}
    pictures = {name for name in names if name.endswith(".png")}
    assert pictures == {
        "note_density-0.2-0.png",
        "note_density-0.6-0.png",
        "note_density-random_walk-0.png",
        "note_density-scatter.png",
        "tempo_bpm-120-0.png",
        "tempo_bpm-150-0.png",
        "tempo_bpm-scatter.png",
    }
    assert len(names - pictures) == 9
    for name in pictures:
        assert matplotlib.image.imread(out / "adherence" / name)[..., :3].std() > 0.02
        assert f"(adherence/{name})" in text


def test_audio_is_what_was_measured(both):
    model, made, out, _ = both
    ((sample, waveform),) = (
        pair for pair in adherence.samples(model, made) if pair[0].task.name == "note_density-0.6-1"
    )
    audio, rate_hz = soundfile.read(out / "adherence" / f"{sample.task.name}.wav")
    assert rate_hz == RATE_HZ
    np.testing.assert_allclose(audio, waveform, atol=1e-4)
    assert len(audio) == 14 * RATE_HZ


def test_tables(both):
    lines = both[3].splitlines()
    assert lines[0] == "# Adherence of clicks/3"
    assert (
        "Weights abababababab, GAN after 7 steps. 2 samples a constant, 14 s each, se" in lines[2]
    )
    assert "energy is skipped: nobody knows how to measure it in music." in lines
    assert "Not asked, as out of the model's range: 1.5." in lines
    assert "Onsets by librosa; density 1 is 20 onsets a second." in lines
    (row,) = (line for line in lines if line.startswith("| 0.6 |"))
    requested, measured, spread, steady, onsets = map(float, row.strip("|").split("|"))
    assert requested == 0.6
    assert measured == pytest.approx(0.6, abs=0.02)
    assert spread == 0.0
    assert onsets == pytest.approx(steady, abs=0.1)
    assert steady == pytest.approx(21**0.6 - 1, abs=0.01)
    assert "| random walk from 0.2 to 0.6 | Pearson r | slope | mean absolute error |" in lines
    first, second = (
        lines.index(f"| {title} | measured | by chance | 90 % of chance |")
        for title in ("all constants", "mean of all walks")
    )
    assert first < second
    _, r, chance, usual = (word.strip() for word in lines[first + 2].strip("|").split("|"))
    assert float(r) > 0.99 and abs(float(chance)) < 0.1
    low, high = map(float, usual.split(" to "))
    assert -1.0 <= low < 0.0 < high <= 1.0
    share = [line for line in lines if line.startswith("| share within 4 %, ×2 and ×½ allowed |")]
    assert len(share) == 1


def test_numbers(both):
    model, made, out, _ = both
    values = json.loads((out / "adherence.json").read_text())
    assert values["model"] == {
        "name": "clicks/3",
        "created_utc": "2026-01-01T00:00:00+00:00",
        "weights_sha256": "ab" * 32,
        "gan_step": 7,
    }
    assert (values["seconds"], values["seed"], values["onset_detector"]) == (14.0, 5, "librosa")
    assert values["skipped_signals"] == ["energy"]
    density = values["signals"]["note_density"]
    assert [row["requested"] for row in density["constants"]] == [0.2, 0.6]
    sample = density["constants"][1]["samples"][1]
    assert sample["name"] == "note_density-0.6-1"
    assert sample["measured_mean"] == pytest.approx(np.mean(sample["measured"]), abs=1e-4)
    pairs = [
        (row["requested"], sample["measured_mean"])
        for row in density["constants"]
        for sample in row["samples"]
    ]
    metrics = density["metrics"]
    assert metrics["pearson_r"] == pytest.approx(scipy.stats.pearsonr(*zip(*pairs, strict=True))[0])
    (walk,) = density["walks"]
    assert walk["pearson_r"] == pytest.approx(
        scipy.stats.pearsonr(walk["requested"], walk["measured"])[0], abs=1e-3
    )
    tempo = values["signals"]["tempo_bpm"]
    assert len(tempo["constants"][0]["samples"]) == 2
    assert 0.0 <= tempo["constants"][0]["share_within_octaves"] <= 1.0
    assert tempo["walks"] == [] and tempo["walk_metrics"] is None
    found = [sample for sample, _ in adherence.samples(model, made)]
    again = adherence_report.numbers(model, made, adherence.results(model.config, made, found))
    again = json.loads(json.dumps(again))
    assert values | {"created_utc": ""} == again | {"created_utc": ""}


def test_an_earlier_evaluation_is_replaced_only_on_demand(both, tmp_path):
    model, made, *_ = both
    made = dataclasses.replace(made, n_walks=0, note_densities=(0.2, 0.6))
    (tmp_path / "adherence").mkdir()
    (tmp_path / "adherence" / "old.png").touch()
    n_streams = model.n_streams
    with pytest.raises(ValueError, match="has adherence already: .* --overwrite"):
        adherence_report.evaluate(model, made, tmp_path)
    assert model.n_streams == n_streams
    adherence_report.evaluate(model, made, tmp_path, overwrite=True)
    names = {path.name for path in (tmp_path / "adherence").iterdir()}
    assert "old.png" not in names and "note_density-scatter.png" in names
    assert not any(name.endswith(".wav") for name in names)


def test_a_failure_leaves_what_was_there(density_config, tmp_path):
    def breaks(conditioning, seed):
        raise KeyboardInterrupt

    (tmp_path / "adherence.json").write_text("old")
    with pytest.raises(KeyboardInterrupt):
        model = ClickModel(density_config, breaks)
        adherence_report.evaluate(model, settings(), tmp_path, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["adherence.json"]
    assert (tmp_path / "adherence.json").read_text() == "old"


def test_picture_shows_both_curves_in_their_place():
    times = np.linspace(1.5, 8.5, 30)
    sample = adherence.Sample(
        task=Task(DENSITY, controls_lib.RandomWalk(0.0, 1.0), 2),
        times_seconds=times,
        requested=np.linspace(0.2, 0.8, 30),
        measured=np.linspace(0.3, 1.2, 30),
        details={},
        steps=np.arange(30),
    )
    waveform = np.random.default_rng(0).normal(size=(10 * RATE_HZ, 2)).astype(np.float32)
    mel, curves = adherence_pictures.picture(sample, waveform, RATE_HZ).axes
    assert tuple(mel.images[0].get_extent()) == (0, 10, 0, 1)
    requested, measured = curves.lines
    np.testing.assert_array_equal(requested.get_xydata().T, [times, sample.requested])
    np.testing.assert_array_equal(measured.get_xydata().T, [times, sample.measured])
    red, green, blue = matplotlib.colors.to_rgb(requested.get_color())
    assert green > 0.9 and green > 2 * max(red, blue)
    assert (requested.get_linestyle(), measured.get_linestyle()) == ("-", "--")
    assert curves.get_ylim()[0] < 0.0 and curves.get_ylim()[1] > 1.2
    assert curves.get_xlim() == (0, 10)


# The program


@pytest.fixture(scope="module")
def model_dir(conditional_model) -> pathlib.Path:
    return conditional_model.parent


@pytest.mark.slow
def test_program(model_dir, tmp_path):
    words = (f"--model_dir={model_dir}", "--adherence", "--seconds=4", "--num_samples=1")
    constants = ("--note_densities=0.2,0.6", "--tempos_bpm=120,150", "--num_walks=1")
    out = (f"--out={tmp_path}/out", "--onset_detector=librosa", "--seed=3")
    done = processes.run_plain("evaluate", *words, *constants, *out)
    assert done.stdout.startswith("# Adherence of model/1\n")
    assert " s of audio/s" in done.stderr and "note_density-random_walk-0" in done.stderr
    values = json.loads((tmp_path / "out" / "adherence.json").read_text())
    assert list(values["signals"]) == ["note_density", "tempo_bpm"]
    assert values["seed"] == 3 and values["onset_detector"] == "librosa"
    metadata = json.loads((model_dir / "1" / "metadata.json").read_text())
    assert values["model"]["weights_sha256"] == metadata["weights_sha256"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "error: the whole report needs --run_dir and --data_dir"),
        (("--adherence", "--tempos_bpm=fast"), "error: --tempos_bpm must be numbers between comm"),
    ],
)
def test_program_ends_with_one_line_on_a_mistake(tmp_path, words, message):
    places = (f"--model_dir={tmp_path}", f"--out={tmp_path}/out")
    done = processes.run("evaluate", *places, *words, ok=False)
    assert message in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()
