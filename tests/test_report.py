"""The whole report by the program, twice, and its page in headless Chromium."""

from __future__ import annotations

import json
import re
import urllib.parse

import keras
import numpy as np
import processes
import pytest
import soundfile
import tensorflow as tf
from random_model import save_random_run, write_waveforms

from flags import system
from musika_tf.evaluation import embeddings, page, report
from musika_tf.evaluation.adherence import Settings as AdherenceSettings

pytestmark = pytest.mark.slow

PARTS = ("samples", "long_form", "distances", "adherence", "quality", "speed")
WORDS = (
    "--embeddings=", "--seconds=6", "--num_samples=1", "--num_walks=1", "--note_densities=0.3,0.6",
    "--long_seconds=12", "--num_long=2", "--stream_seconds=20", "--seed=3",
    "--onset_detector=librosa",
)  # fmt: skip


class Levels(tf.Module):
    """Level of each quarter of a second in two bands: stands for VGGish."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
    def __call__(self, waveform):
        windows = tf.signal.frame(waveform, 4000, 4000)
        both = tf.stack([windows[:, 1:], windows[:, 1:] - windows[:, :-1]], axis=1)
        return tf.math.reduce_std(both, axis=2)


@pytest.fixture(scope="module")
def made(parse_flags, tmp_path_factory):
    """The folder of the report of a random run that follows note density."""
    folder = tmp_path_factory.mktemp("report")
    keras.utils.set_random_seed(0)
    config = system.config(flag_values=parse_flags("--preset=tiny", "--conditioning=note_density"))
    save_random_run(folder / "run", config)
    write_waveforms(folder / "data")
    tf.saved_model.save(Levels(), str(folder / "vggish"))
    done = evaluate(folder, "out")
    (folder / "printed.txt").write_text(done.stdout)
    return folder


def evaluate(folder, out):
    paths = [f"--{n}={folder / n.partition('_')[0]}" for n in ("run_dir", "data_dir", "vggish_dir")]
    words = *paths, f"--out={folder / out}", *WORDS
    return processes.run("evaluate", *words, timeout_seconds=900.0)


def numbers(folder) -> dict:
    """All but speed, and when it was measured."""
    found = {name: json.loads((folder / f"{name}.json").read_text()) for name in PARTS[:-1]}
    for values in found.values():
        del values["created_utc"]
    return found


def test_everything_is_there_and_says_how_to_repeat_it(made):
    out = made / "out"
    found = numbers(out)
    assert found["distances"]["run"]["steps"] == {"level2_phase2": 7, "gan": 9}
    (vggish,) = found["distances"]["embeddings"].values()
    assert vggish["weights_sha256"] == embeddings.vggish(made / "vggish").weights_sha256
    kinds = ["real", "reconstructed", "generated", "note_density 0.3", "note_density 0.6"]
    kinds += ["note_density random walk:0.3:0.6", "untrained"]
    assert list(vggish["distances"]) == kinds
    assert {part["seed"] for part in found.values()} == {3}
    assert len({part["run"]["weights_sha256"] for k, part in found.items() if "run" in part}) == 1
    speed = json.loads((out / "speed.json").read_text())
    assert speed["speed"]["times_real_time"] > 0 and speed["machine"]["n_cpu_cores"] > 0
    results = (out / "results.md").read_text()
    assert (made / "printed.txt").read_text() == results + "\n"
    assert results.startswith("## run\n") and "![" not in results
    titles = re.findall("^### (.*)$", results, re.MULTILINE)
    first_words = [title.split()[0] for title in titles]
    assert first_words == ["Long", "Distances", "Adherence", "Quality", "Speed"]
    row = vggish["distances"]["generated"]
    assert f"| generated | {row['frechet']:.2f} | {row['frechet_at_infinity']:.2f} |" in results
    assert not list(out.glob("quality/real*"))


def test_commands_make_the_samples_again(made):
    text = (made / "out" / "samples.md").read_text()
    command = re.findall("`musika-generate (.*)`", text)[1]
    words = [w.replace("music.wav", str(made / "again.wav")) for w in command.split()]
    assert "--note_density=0.5" in words and "--seed=4" in words
    processes.run("generate", *words)
    again, rate_hz = soundfile.read(made / "again.wav")
    shown, _ = soundfile.read(made / "out" / "samples" / "seed-4.mp3")
    assert len(again) == 23 * rate_hz
    assert np.corrcoef(again[:, 0], shown[: len(again), 0])[0, 1] > 0.9


@pytest.mark.large
def test_two_runs_give_the_same_numbers(made):
    evaluate(made, "again")
    assert numbers(made / "again") == numbers(made / "out")


# The page


@pytest.mark.parametrize("width", [1280, 360])
def test_page_plays_and_every_link_answers(made, chromium, width):
    complaints, out = [], made / "out"
    shown = chromium.new_page(viewport={"width": width, "height": 800})
    shown.on("pageerror", lambda error: complaints.append(str(error)))
    # Of audio browsers give up requests whenever one seeks; each is seen to play.
    shown.on(
        "requestfailed",
        lambda request: request.resource_type == "media" or complaints.append(request.url),
    )
    shown.goto((out / page.NAME).as_uri())
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    players, pictures = shown.locator("audio").all(), shown.locator("img").all()
    # Samples, a long piece, one of each constant and a walk, and of quality what was generated.
    assert len(players) == 4 + 1 + 3 + 1
    assert len(pictures) == len(players) + 2
    for link in shown.locator("a").all():
        parts = urllib.parse.urlsplit(link.get_attribute("href"))
        assert (out / parts.path).exists()
        assert not parts.fragment or shown.locator(f"#{parts.fragment}").count() == 1
    for picture in pictures:
        picture.scroll_into_view_if_needed()
        assert picture.evaluate("p => p.decode().then(() => p.naturalWidth)") > 100
    played = """async (player) => {
        const until = (is) => new Promise((done) => {
            const timer = setInterval(() => is() && (clearInterval(timer), done()), 50);
        });
        player.muted = true;
        await player.play();
        await until(() => player.currentTime > 0.2);
        player.currentTime = player.duration / 2;
        await until(() => player.currentTime > player.duration / 2 + 0.1);
        player.pause();
        return player.duration;
    }"""
    seconds = [player.evaluate(played) for player in players]
    assert seconds[:5] == pytest.approx([23.0] * 4 + [12.0], abs=0.2)
    assert not complaints
    shown.close()


def test_names_are_shown_as_they_are(tmp_path):
    (tmp_path / "a.md").write_text("# A <b>\n\n![x](a/x.png)\n\n| n |\n| --- |\n| 1 |\n")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.wav").write_bytes(b"")
    page.write(tmp_path, "a & b", ["a", "b"])
    text = (tmp_path / page.NAME).read_text()
    assert "<title>a &amp; b</title>" in text and '<a href="#a">A &lt;b&gt;</a>' in text
    assert '<audio controls preload="metadata" src="a/x.wav"' in text
    assert text.count("<section") == text.count('<div class="wide"><table>') == 1


def test_mistakes_are_named(made):
    with pytest.raises(ValueError, match="1 long pieces of 240 s: give two or more"):
        report.Settings(AdherenceSettings(), n_long=1)
    done = processes.run(
        "evaluate", f"--run_dir={made}/run", f"--data_dir={made}/data", f"--out={made}/out",
        *WORDS[1:], f"--vggish_dir={made}/vggish", "--embeddings=", ok=False,
    )  # fmt: skip
    assert "has samples.md, samples.json, samples already: " in done.stderr
