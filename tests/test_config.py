"""The config: lengths that follow from it, what it refuses, how it travels."""

from __future__ import annotations

import dataclasses
import json

import pytest

from musika_tf.config import (
    AudioConfig,
    AutoencoderConfig,
    ConditioningConfig,
    Config,
    GanConfig,
    Signal,
)
from musika_tf.player import METADATA_FILE, open_player
from musika_tf.runs.run import CONFIG_FILE, Run
from musika_tf.sections import require_equal
from musika_tf.signals import KNOWN_SIGNALS
from musika_tf.training_config import TrainingConfig

TEMPO = Signal("tempo_bpm", "beats per minute", 60.0, 200.0, "piece")
ENERGY = Signal("energy", "share", 0.1, 1.0, "step")


def test_lengths_of_the_piano_system():
    config = Config()
    audio = config.audio
    assert (audio.n_bins, audio.overlap_size) == (513, 768)
    assert (config.level2_ratio, config.latent_hop_size) == (16, 4096)
    assert (config.excerpt_n_latents, config.stereo_latent_depth) == (4, 64)
    assert audio.excerpt_n_samples / audio.sample_rate_hz == pytest.approx(0.743, abs=1e-3)
    # Paper §3.2: a patch of 11.89 s, anchors 23.78 s apart.
    assert config.patch_n_samples / audio.sample_rate_hz == pytest.approx(11.89, abs=0.01)
    assert config.anchor_hop_size / audio.sample_rate_hz == pytest.approx(23.78, abs=0.01)


def test_windows_of_the_generator():
    sizes = GanConfig()
    assert (sizes.coarsest_n_steps, sizes.context_n_steps) == (16, 64)
    in_patches = dataclasses.replace(sizes, normalisation="patch")
    assert (in_patches.coarsest_n_steps, in_patches.context_n_steps) == (64, 0)


def test_windows_of_the_losses():
    assert AudioConfig().multi_scale_hop_sizes == (64, 128, 256, 512)
    assert AudioConfig().discriminator_window_size == 1536


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        (AudioConfig, {"sample_rate_hz": 0}, "sample_rate_hz=0 must be positive"),
        (AudioConfig, {"window_size": 1000}, "window_size=1000 must be a multiple of hop_size=256"),
        (AudioConfig, {"window_size": 512}, "at least 4 times as long"),
        (AudioConfig, {"excerpt_n_frames": 66}, r"66 must be a multiple of .* = 4"),
        (AudioConfig, {"window_size": 2048, "excerpt_n_frames": 12}, r"multiple of .* = 8"),
        (AutoencoderConfig, {"level1_encoder_widths": ()}, "level1_encoder_widths=.* positive"),
        (AutoencoderConfig, {"level2_encoder_widths": (8,)}, "one width for each"),
        (AutoencoderConfig, {"level2_decoder_widths": (8, 8)}, "one width more"),
        (GanConfig, {"style_depth": -1}, "style_depth=-1 must be positive"),
        (GanConfig, {"seq_len": 16}, "generator_widths holds 5 widths, so 16 steps"),
        (GanConfig, {"generator_widths": (8,), "seq_len": 7}, "latent_discriminator_widths"),
        (TrainingConfig, {"batch_size": 0}, "batch_size=0 must be positive"),
        (TrainingConfig, {"average_decay": 1.0}, "average_decay=1.0 must be at least 0 and below"),
        (TrainingConfig, {"r1_gamma": -1.0}, "r1_gamma=-1.0 must not be negative"),
        (TrainingConfig, {"r1_period": 0}, "r1_period=0 must be positive"),
        (
            TrainingConfig,
            {"r1_gamma_least_share": 0.0},
            "r1_gamma_least_share=0.0 must be above 0 and at most 1",
        ),
        (GanConfig, {"normalisation": "batch"}, "normalisation='batch' must be step or patch"),
        (ConditioningConfig, {"max_onsets_per_second": 0.0}, "max_onsets_per_second=0.0 must be"),
        (ConditioningConfig, {"signals": (TEMPO, TEMPO)}, "tempo_bpm, tempo_bpm: each name may"),
        (
            ConditioningConfig,
            {"signals": (TEMPO, KNOWN_SIGNALS["beats"])},
            "beats has a tempo, so tempo_bpm may not stand beside it",
        ),
    ],
)
def test_values_are_checked(section, changes, message):
    with pytest.raises(ValueError, match=message):
        section(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "Tempo"}, "signal name 'Tempo' must be small letters"),
        ({"name": "4beat"}, "begin with a letter"),
        ({"unit": ""}, "unit '' of tempo_bpm must be a word"),
        ({"unit": "a:b"}, "without colons and commas"),
        ({"minimum": 200.0}, "tempo_bpm ranges from 200.0 to 200.0: the minimum must be below"),
        ({"maximum": float("nan")}, "from 60.0 to nan"),
        ({"maximum": float("inf")}, "both must be finite"),
        ({"rate": "bar"}, "rate 'bar' of tempo_bpm must be step or piece or beats"),
        ({"rate": "beats"}, "tempo_bpm has the rate beats: the signal beats, and no other"),
        ({"name": "beats"}, "beats has the rate piece: the signal beats"),
        ({"name": "beats", "rate": "beats"}, "beats goes from 60 to 200; it must go from 0 to a"),
        (
            {"name": "beats", "rate": "beats", "minimum": 0.0, "maximum": 3.5},
            "beats goes from 0 to 3.5; it must go from 0 to a whole number",
        ),
        ({"response": ((60.0, 80.0),)}, "response=.* of tempo_bpm must be two points or more"),
        ({"response": ((60.0, 80.0), (200.0, 80.0))}, "given and heard, both rising"),
    ],
)
def test_signals_are_checked(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TEMPO, **changes)


def test_conditioning_in_words():
    conditioning = ConditioningConfig((TEMPO, ENERGY))
    assert (conditioning.n_signals, conditioning.names) == (2, ("tempo_bpm", "energy"))
    assert ConditioningConfig().n_signals == 0
    clocked = ConditioningConfig((ENERGY, KNOWN_SIGNALS["beats"]))
    assert (conditioning.n_features, clocked.n_signals, clocked.n_features) == (2, 2, 7)
    assert [signal.name for signal in clocked.asked] == ["energy", "tempo_bpm"]
    assert TEMPO.range_text == "60 to 200 (beats per minute)"
    assert str(ENERGY) == "energy:share:0.1:1:step"


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"audio": AudioConfig(excerpt_n_frames=40)}, "level2_strides multiply to 16"),
        (
            {
                "audio": AudioConfig(excerpt_n_frames=4),
                "autoencoder": AutoencoderConfig(
                    level2_strides=(4,),
                    level2_encoder_widths=(8,),
                    level2_decoder_widths=(8, 8),
                    level1_decoder_widths=(8, 8, 8, 8),
                ),
            },
            "level1_decoder_widths halve the rate by 8",
        ),
        (
            {"autoencoder": AutoencoderConfig(level1_latent_depth=514)},
            "level1_latent_depth=514 must be at most 513, .* or principal_path must be off",
        ),
        (
            {"autoencoder": AutoencoderConfig(level1_latent_depth=1)},
            "level2_latent_depth=32 must be at most 16",
        ),
        (
            {"gan": GanConfig(34, 34, 34, generator_widths=(8,), latent_discriminator_widths=(8,))},
            "seq_len=34 must be a multiple of the 4 latents",
        ),
    ],
)
def test_sections_must_fit_each_other(sections, message):
    with pytest.raises(ValueError, match=message):
        Config(**sections)


# JSON


def edited(**changes) -> str:
    """A config as JSON text with top-level values replaced; None removes one."""
    values = json.loads(Config().to_json()) | changes
    return json.dumps({name: value for name, value in values.items() if value is not None})


def test_json_brings_the_same_config_back(tiny_config):
    conditional = Config(conditioning=ConditioningConfig((TEMPO, ENERGY), 12.5))
    for config in (Config(), tiny_config, conditional):
        assert Config.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (edited(version=99), "version 99; this program reads versions 1 to 5: use the release"),
        (edited(version=None), "version None"),
        (edited(conditioning=None), "this one has audio, autoencoder, gan: use the release"),
        (edited(gan=None), "sections audio, autoencoder, gan, .* has audio, autoencoder, cond.*:"),
        (edited(vocoder={}), "this one has audio, autoencoder, gan, conditioning, vocoder"),
        (edited(conditioning={"signals": [{"name": "a"}]}), "Signal lacks unit, minimum, maximum"),
        (edited(conditioning={"signals": ["a"]}), "Signal must be a JSON object"),
        (edited(audio={"bit_depth": 16}), "AudioConfig has no field named bit_depth"),
        (edited(audio=[1, 2]), r"AudioConfig must be a JSON object of its fields, not \[1, 2\]"),
        (edited(audio={"hop_size": 0}), "hop_size=0 must be positive"),
        ("[]", r"a config is a JSON object, not \[\]"),
        (Config().to_json()[:100], "line 5|Expecting|Unterminated"),
    ],
)
def test_json_of_something_else_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        Config.from_json(text)


@pytest.mark.parametrize("text", ["", "{", edited()[:200], edited(version=7), edited(gan=None)])
def test_a_bad_config_file_is_named(tmp_path, text):
    (tmp_path / CONFIG_FILE).write_text(text)
    with pytest.raises(ValueError, match="config.json") as raised:
        _ = Run(tmp_path).saved_config
    assert str(tmp_path) in str(raised.value)


@pytest.mark.parametrize("text", ["", '{"format_version": 1', "[]", '{"format_version": 99}'])
def test_a_bad_metadata_file_is_named(tmp_path, text):
    (tmp_path / METADATA_FILE).write_text(text)
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(ValueError, match=r"metadata\.json .*export again") as raised:
        open_player(tmp_path)
    assert str(tmp_path) in str(raised.value)


# Comparison


def test_every_difference_is_named_with_both_values():
    other = Config(
        audio=AudioConfig(sample_rate_hz=44_100),
        gan=dataclasses.replace(GanConfig(), style_depth=8, anchor_depth=16),
    )
    with pytest.raises(ValueError, match="^the run and the shards do not fit") as raised:
        require_equal(Config(), other, "the run", "the shards")
    listed = str(raised.value).split(": ", 1)[1].split("; ")
    assert listed == [
        "audio.sample_rate_hz is 22050 in the run and 44100 in the shards",
        "gan.anchor_depth is 64 in the run and 16 in the shards",
        "gan.style_depth is 64 in the run and 8 in the shards",
    ]


def test_different_signals_are_named_as_one_writes_them():
    ours = Config(conditioning=ConditioningConfig((TEMPO, ENERGY)))
    with pytest.raises(ValueError) as raised:
        require_equal(ours, Config(), "the run", "the command line")
    assert str(raised.value).endswith(
        "conditioning.signals is tempo_bpm:beats per minute:60:200:piece,energy:share:0.1:1:step "
        "in the run and none in the command line"
    )
