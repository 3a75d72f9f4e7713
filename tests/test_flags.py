"""Flags, presets, and what a saved config does to them."""

from __future__ import annotations

import dataclasses
import pathlib
import re

import pytest
from absl import flags
from conftest import FLAG_MODULES

from flags import audio, autoencoder, gan, saving, system, training
from musika_tf import sections
from musika_tf.config import (
    AudioConfig,
    AutoencoderConfig,
    ConditioningConfig,
    Config,
    GanConfig,
    Signal,
)
from musika_tf.signals import KNOWN_SIGNALS
from musika_tf.training_config import TrainingConfig

PRESETS_DIR = pathlib.Path(__file__).resolve().parent.parent / "flags" / "presets"
PRESETS = sorted(path.stem for path in PRESETS_DIR.glob("*.flags"))
PAPER_SIZE_R = {
    "piano": 4096,
    "piano_note_density": 4096,
    "small": 4096,
    "small_techno": 2048,
    "techno": 2048,
    "techno_tempo": 2048,
    "classical": 2048,
    "universal": 2048,
    "piano_44khz": 8192,
    "techno_44khz": 4096,
    "classical_44khz": 4096,
}
SECTIONS = [
    (audio, AudioConfig),
    (autoencoder, AutoencoderConfig),
    (gan, GanConfig),
    (training, TrainingConfig),
]


@pytest.mark.parametrize(("module", "section"), SECTIONS)
def test_each_field_has_one_flag_with_its_default(module, section):
    defined = flags.FLAGS.flags_by_module_dict()[module.__name__]
    defaults = {flag.name: flag.default for flag in defined}
    assert defaults == dataclasses.asdict(section())


@pytest.mark.parametrize("module", FLAG_MODULES)
def test_each_flag_has_a_full_sentence(module):
    for flag in flags.FLAGS.flags_by_module_dict()[module.__name__]:
        # absl puts the choices of an enumeration before its help: `<a|b>: …`.
        assert re.fullmatch(r"(<.+>: )?[A-Z].{20,}\.", flag.help, re.DOTALL), flag.name


@pytest.mark.parametrize("words", [(), ("--preset=piano",)])
def test_no_flags_and_piano_give_the_default_config(words, parse_flags):
    flag_values = parse_flags(*words)
    assert system.config(flag_values=flag_values) == Config()
    assert training.config(flag_values=flag_values) == TrainingConfig()


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_builds(preset, parse_flags):
    flag_values = parse_flags(f"--preset={preset}")
    config = system.config(flag_values=flag_values)
    training.config(flag_values=flag_values)
    assert preset in PAPER_SIZE_R or preset == "tiny", "a new preset needs its r in PAPER_SIZE_R"
    if preset in PAPER_SIZE_R:
        assert config.latent_hop_size == PAPER_SIZE_R[preset]
        # Paper, section 3.2: a patch lasts 11.89 s, anchors are 23.78 s apart.
        patch_s = config.patch_n_samples / config.audio.sample_rate_hz
        assert patch_s == pytest.approx(11.89, abs=0.01)
        anchor_hop_s = config.anchor_hop_size / config.audio.sample_rate_hz
        assert anchor_hop_s == pytest.approx(23.78, abs=0.01)
        excerpt_s = config.audio.excerpt_n_samples / config.audio.sample_rate_hz
        assert excerpt_s == pytest.approx(0.743, abs=0.001)


@pytest.mark.parametrize(
    ("preset", "base", "signal"),
    [
        ("piano_note_density", "piano", "note_density:share of the densest:0:1:step"),
        ("techno_tempo", "techno", "tempo_bpm:beats per minute:110:170:piece"),
    ],
)
def test_conditional_preset_is_its_base_with_a_signal(preset, base, signal, parse_flags):
    ours, theirs = (
        system.config(flag_values=parse_flags(f"--preset={name}")) for name in (preset, base)
    )
    assert [str(found) for found in ours.conditioning.signals] == [signal]
    assert dataclasses.replace(ours, conditioning=ConditioningConfig()) == theirs


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_says_what_it_is_and_how_to_run_it(preset):
    text = (PRESETS_DIR / f"{preset}.flags").read_text()
    first = text.splitlines()[0]
    assert first.startswith("# ")
    assert re.search(r"§|project page|not in the paper", first)
    assert f"--preset={preset}" in text
    # absl takes an indented or trailing comment for a value.
    assert not [line for line in text.splitlines() if "#" in line[1:] and line[0] != "#"]


@pytest.mark.parametrize(
    ("words", "batch_size"),
    [
        (["--preset=tiny", "--batch_size=3"], 3),
        (["--batch_size=3", "--preset=tiny"], 4),
        (["--preset=tiny"], 4),
    ],
)
def test_last_value_wins(words, batch_size, parse_flags):
    assert training.config(flag_values=parse_flags(*words)).batch_size == batch_size


def test_tuple_flags(parse_flags):
    flag_values = parse_flags("--level2_strides=8", "--generator_widths= 64, 32 ,16")
    assert flag_values.level2_strides == (8,)
    assert flag_values.generator_widths == (64, 32, 16)


@pytest.mark.parametrize("text", ["", "4,", "4;4", "4.5,4", "4,four", "(4,4)"])
def test_tuple_flag_rejects_what_is_no_list_of_integers(text, parse_flags):
    with pytest.raises(flags.IllegalFlagValueError, match=r"level2_strides.*like 512,768"):
        parse_flags(f"--level2_strides={text}")


# Conditioning


def signals(flag_values) -> tuple[Signal, ...]:
    return system.config(flag_values=flag_values).conditioning.signals


def test_known_signals_and_their_ranges(parse_flags):
    assert signals(parse_flags()) == ()
    assert signals(parse_flags("--conditioning=")) == ()
    both = signals(parse_flags("--conditioning=note_density, tempo_bpm:110:170"))
    assert both == (
        Signal("note_density", "share of the densest", 0, 1, "step"),
        Signal("tempo_bpm", "beats per minute", 110, 170, "piece"),
    )
    assert signals(parse_flags("--conditioning=tempo_bpm")) == (KNOWN_SIGNALS["tempo_bpm"],)
    assert signals(parse_flags("--conditioning=beats:0:3")) == (
        Signal("beats", "beats", 0, 3, "beats"),
    )


def test_signals_of_ones_own(parse_flags):
    found = signals(parse_flags("--conditioning=brightness:share above 2 kHz:0.05:1e3:step"))
    assert found == (Signal("brightness", "share above 2 kHz", 0.05, 1000.0, "step"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("loudness", "'loudness' is no signal: write note_density or tempo_bpm or beats, one"),
        ("tempo_bpm:110", "'tempo_bpm:110' is no signal"),
        ("tempo_bpm:fast:170", "could not convert string to float: 'fast'"),
        ("tempo_bpm:170:110", "tempo_bpm ranges from 170.0 to 110.0: the minimum must be below"),
        ("a:share:0:1:bar", "'a:share:0:1:bar': rate 'bar' of a must be step or piece or beats"),
        ("A:share:0:1:step", "signal name 'A' must be small letters"),
        ("a::0:1:step", "unit '' of a must be a word"),
    ],
)
def test_what_is_no_signal_is_rejected(text, message, parse_flags):
    with pytest.raises(flags.IllegalFlagValueError, match=f"--conditioning.*{message}"):
        parse_flags(f"--conditioning={text}")


def test_conditioning_follows_the_saved_config(tiny_config, parse_flags):
    conditioning_ = ConditioningConfig((KNOWN_SIGNALS["tempo_bpm"],), max_onsets_per_second=7.0)
    saved = dataclasses.replace(tiny_config, conditioning=conditioning_)
    assert system.config(saved=saved, flag_values=parse_flags()) == saved
    changed = system.config(saved=saved, flag_values=parse_flags("--conditioning="))
    assert changed.conditioning == ConditioningConfig((), 7.0)


def test_set_flags_stand_against_the_saved_config(tiny_config, parse_flags):
    flag_values = parse_flags("--generator_widths=8,8,8")
    config = system.config(saved=tiny_config, flag_values=flag_values)
    expected_gan = dataclasses.replace(tiny_config.gan, generator_widths=(8, 8, 8))
    assert config == dataclasses.replace(tiny_config, gan=expected_gan)
    with pytest.raises(ValueError, match=r"gan\.generator_widths is \(8, 8, 8\)"):
        sections.require_equal(config, tiny_config, "the command line", "the run")


def test_flag_set_to_its_default_stands_against_the_saved_config(tiny_config, parse_flags):
    config = system.config(saved=tiny_config, flag_values=parse_flags("--anchor_depth=64"))
    assert tiny_config.gan.anchor_depth != 64
    assert config.gan.anchor_depth == 64


def test_saved_flags_give_the_same_configs_again(tmp_path, parse_flags):
    words = ("--learning_rate=3e-5", "--conditioning=note_density:0:0.1,a:b c:-1:2:step")
    flag_values = parse_flags("--preset=techno_44khz", *words)
    path = tmp_path / "saved.flags"
    path.write_text(saving.flags_into_string(flag_values))
    again = parse_flags(f"--flagfile={path}")
    for module in (system, training):
        assert module.config(flag_values=again) == module.config(flag_values=flag_values)


def test_only_own_flags_are_saved(parse_flags):
    flag_values = parse_flags()
    for name, value, module in (
        ("verbosity", "1", "absl.logging"),
        ("out", "a b", "musika_tf.programs.encode"),
        ("run_dir", None, "musika_tf.programs.encode"),
    ):
        flags.DEFINE_string(name, value, "", flag_values=flag_values, module_name=module)
    lines = saving.flags_into_string(flag_values).splitlines()
    names = [line for line in lines if line and not line.startswith("#")]
    sections = [*(section for _, section in SECTIONS), ConditioningConfig]
    assert len(names) == sum(len(dataclasses.fields(section)) for section in sections) + 1
    assert "--out=a b" in names
    assert "--level2_strides=4,4" in names
