"""What all tests share: three tiers, one quiet and repeatable TensorFlow, tiny configs."""

from __future__ import annotations

import copy
import fcntl
import os
import pathlib
import random
import signal
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

# Read by TensorFlow when it is imported, which the test modules do after this file.
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["KERAS_BACKEND"] = "tensorflow"
# Values are checked against the CPU's; a device would answer in other roundings.
os.environ["CUDA_VISIBLE_DEVICES"] = ""
# What XLA compiles runs once or twice: compiling it well takes longer than it saves.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
# Each of several test processes takes its share of the cores.
_N_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_N_THREADS = str(max(1, (os.cpu_count() or 1) // _N_WORKERS))
for _name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
    os.environ[_name] = _N_THREADS

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from absl import flags  # noqa: E402

from flags import (  # noqa: E402
    audio,
    autoencoder,
    conditioning,
    gan,
    note_density,
    preset,
    system,
    training,
)
from musika_tf.config import Config  # noqa: E402
from musika_tf.training_config import TrainingConfig  # noqa: E402

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from export.schema import Signature
    from musika_tf.networks.autoencoder import Autoencoder
    from musika_tf.networks.codec import FileCodec
    from musika_tf.player import Player

FLAG_MODULES = (audio, autoencoder, gan, conditioning, note_density, training)


def pytest_addoption(parser):
    parser.addoption(
        "--run_slow",
        action="store_true",
        help="Run also the tests marked slow: some ten minutes in all.",
    )
    parser.addoption(
        "--run_large",
        action="store_true",
        help="Run also the tests marked slow or large; of the large ones each takes minutes.",
    )
    parser.addoption(
        "--jax_python",
        help="A Python with jax and safetensors, in which lowered steps are run.",
    )


def pytest_configure(config):
    # Shells let what they start in the background ignore it, and so would all that tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "slow: takes long; runs with --run_slow or --run_large")
    config.addinivalue_line("markers", "large: takes minutes; runs only with --run_large")


def pytest_collection_modifyitems(config, items):
    runs_large = config.getoption("--run_large")
    runs = {"slow": runs_large or config.getoption("--run_slow"), "large": runs_large}
    skips = {
        tier: pytest.mark.skip(reason=f"{tier}: runs with --run_{tier}")
        for tier, is_run in runs.items()
        if not is_run
    }
    for item in items:
        for tier in skips.keys() & item.keywords.keys():
            item.add_marker(skips[tier])


@pytest.fixture(scope="session")
def jax_python(request) -> str:
    """The interpreter of `--jax_python`: JAX needs another NumPy than TensorFlow does."""
    python = request.config.getoption("--jax_python")
    return python or pytest.skip("needs --jax_python=/path/to/python with jax and safetensors")


@pytest.fixture(autouse=True)
def _seeds():
    random.seed(0)
    np.random.seed(0)
    # Importing Keras takes seconds: tests that do not need it should not pay for it.
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)


@pytest.fixture(scope="session")
def parse_flags() -> Callable[..., flags.FlagValues]:
    """Parses command-line words with a fresh copy of the config flags."""

    def parse(*words: str) -> flags.FlagValues:
        flag_values = flags.FlagValues()
        by_module = flags.FLAGS.flags_by_module_dict()
        for module in FLAG_MODULES:
            for shared in by_module[module.__name__]:
                flag = copy.deepcopy(shared)
                flag.unparse()
                flags.DEFINE_flag(flag, flag_values, module_name=module.__name__)
        flag_values(["program", *preset.expand(words)])
        return flag_values

    return parse


@pytest.fixture(scope="session")
def tiny_config(parse_flags) -> Config:
    """The system of flags/presets/tiny.flags."""
    return system.config(flag_values=parse_flags("--preset=tiny"))


@pytest.fixture(scope="session")
def conditional_config(parse_flags) -> Config:
    """The tiny system, conditioned on note density and tempo."""
    words = ("--preset=tiny", "--conditioning=note_density,tempo_bpm:110:170")
    return system.config(flag_values=parse_flags(*words))


@pytest.fixture(scope="session")
def beats_config(parse_flags) -> Config:
    """The tiny system, conditioned on note density and musical time."""
    words = ("--preset=tiny", "--conditioning=note_density,beats")
    return system.config(flag_values=parse_flags(*words))


@pytest.fixture(scope="session")
def tiny_training(parse_flags) -> TrainingConfig:
    """The training of flags/presets/tiny.flags."""
    return training.config(flag_values=parse_flags("--preset=tiny"))


# What imports Keras comes in inside of these: tests that do not need it should not pay for it.


@pytest.fixture(scope="session")
def autoencoder(tiny_config) -> Autoencoder:
    """That of the tiny system with random weights: nothing may change them."""
    import keras

    from musika_tf.networks.autoencoder import Autoencoder

    keras.utils.set_random_seed(0)
    return Autoencoder(tiny_config)


@pytest.fixture(scope="module")
def no_samples():
    """For trainings of few steps, half of whose time would go into the sound and pictures in logs.

    test_loop.py, test_programs.py and those of trainers have them.
    """
    from musika_tf.training.autoencoder_trainer import AutoencoderTrainer
    from musika_tf.training.gan_trainer import GanTrainer
    from musika_tf.training.trainer import Samples

    with pytest.MonkeyPatch.context() as patch:
        for trainer in (AutoencoderTrainer, GanTrainer):
            patch.setattr(trainer, "sample", lambda self: Samples({}, 22_050))
        yield


@pytest.fixture
def codec(autoencoder) -> FileCodec:
    """It, for whole files."""
    from musika_tf.networks.codec import FileCodec

    return FileCodec(autoencoder)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory, tiny_config) -> pathlib.Path:
    """The tiny system with random weights, exported: version 1 in its model_dir, beside its run."""
    return _exported_once("tiny", tmp_path_factory, tiny_config)


@pytest.fixture(scope="session")
def conditional_model(tmp_path_factory, conditional_config) -> pathlib.Path:
    """The same of the tiny system that is conditioned on note density and tempo."""
    return _exported_once("conditional", tmp_path_factory, conditional_config)


def _exported_once(name: str, tmp_path_factory, config: Config) -> pathlib.Path:
    """One export serves all test processes: nothing may change it."""
    from random_model import export_random_run

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with open(folder / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        version = folder / name / "model" / "1"
        if not version.exists():
            export_random_run(folder / name, config)
    return version


@pytest.fixture(scope="session")
def page_weights(tmp_path_factory, beats_config) -> pathlib.Path:
    """Released random weights of the system with a clock, which the page plays in tests."""
    from random_model import released_random_run

    return released_random_run(tmp_path_factory.mktemp("weights"), beats_config)


@pytest.fixture(scope="session")
def page_player(page_weights) -> Player:
    """Of `page_weights`."""
    from musika_tf.player import open_player

    return open_player(page_weights)


@pytest.fixture(scope="session")
def page_folder(tmp_path_factory, page_weights) -> pathlib.Path:
    """The page of `page_weights`."""
    from export.web import site

    return site.build(site.named([page_weights]), tmp_path_factory.mktemp("site") / "site")


@pytest.fixture(scope="session")
def page_address(page_folder) -> Iterator[str]:
    """Where it is served."""
    from browser import serving

    from export.web.server import server

    with serving(server(page_folder)) as url:
        yield url


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A headless browser."""
    import browser

    with browser.chromium() as started:
        yield started


@pytest.fixture(scope="session")
def toy_dir(tmp_path_factory) -> pathlib.Path:
    """Version 3 of a model of a few lines, for servers: nothing may change it."""
    import toy_model

    return toy_model.save(tmp_path_factory.mktemp("toy") / "3").parent


@pytest.fixture(scope="session")
def player(tiny_model) -> Player:
    """Of `tiny_model`."""
    from musika_tf.player import open_player

    return open_player(tiny_model)


@pytest.fixture(scope="session")
def contract(tiny_model) -> dict[str, Signature]:
    """The signatures of `tiny_model`, made of its run."""
    return _contract(tiny_model)


@pytest.fixture(scope="session")
def conditional_contract(conditional_model) -> dict[str, Signature]:
    """The signatures of `conditional_model`, made of its run."""
    return _contract(conditional_model)


def _contract(version: pathlib.Path) -> dict[str, Signature]:
    from export import signatures
    from musika_tf.runs.run import Run

    return signatures.contract(Run(version.parents[1] / "run").synthesizer())
