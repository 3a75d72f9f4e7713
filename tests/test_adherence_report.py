"""The report of adherence: its tables, numbers and pictures, and the program that writes it."""

from __future__ import annotations

import dataclasses
import json

import matplotlib.image
import numpy as np
import processes
import pytest
import scipy.stats
import soundfile
from click_model import DENSITY, RATE_HZ, TEMPO, ClickModel, obedient, settings, with_signals

from musika_tf.conditioning import controls as controls_lib
from musika_tf.config import Signal
from musika_tf.evaluation import adherence, adherence_pictures, adherence_report
from musika_tf.evaluation.adherence import Task


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


def test_a_failure_leaves_what_was_there(tiny_config, tmp_path):
    def breaks(conditioning, seed):
        raise KeyboardInterrupt

    (tmp_path / "adherence.json").write_text("old")
    with pytest.raises(KeyboardInterrupt):
        model = ClickModel(with_signals(tiny_config, DENSITY), breaks)
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


@pytest.mark.slow
def test_program(conditional_model, tmp_path):
    model_dir = f"--model_dir={conditional_model.parent}"
    words = (model_dir, "--adherence", "--seconds=4", "--num_samples=1")
    constants = ("--note_densities=0.2,0.6", "--tempos_bpm=120,150", "--num_walks=1")
    out = (f"--out={tmp_path}/out", "--onset_detector=librosa", "--seed=3")
    done = processes.run_plain("evaluate", *words, *constants, *out)
    assert done.stdout.startswith("# Adherence of model/1\n")
    assert " s of audio/s" in done.stderr and "note_density-random_walk-0" in done.stderr
    values = json.loads((tmp_path / "out" / "adherence.json").read_text())
    assert list(values["signals"]) == ["note_density", "tempo_bpm"]
    assert values["seed"] == 3 and values["onset_detector"] == "librosa"
    metadata = json.loads((conditional_model / "metadata.json").read_text())
    assert values["model"]["weights_sha256"] == metadata["weights_sha256"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "error: the whole report needs --run_dir and --data_dir"),
        (("--adherence", "--tempos_bpm=fast"), "error: --tempos_bpm must be numbers between comm"),
        (("--adherence", "--calibrate"), "in the config of a run or of released weights: give bo"),
    ],
)
def test_program_ends_with_one_line_on_a_mistake(tmp_path, words, message):
    places = (f"--model_dir={tmp_path}", f"--out={tmp_path}/out")
    done = processes.run("evaluate", *places, *words, ok=False)
    assert message in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()
