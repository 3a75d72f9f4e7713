"""A lowered step says all that is needed to run it, and what runs it gives TensorFlow's numbers."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess

import numpy as np
import pytest
import safetensors.numpy
import stage_process

from musika_tf.data import batches as batches_lib
from musika_tf.runs import checkpoint
from musika_tf.training import lowering

pytestmark = pytest.mark.slow

BEST_METRIC = "loop/best_metric/held_out/window_frechet"
ROOT = pathlib.Path(__file__).resolve().parent.parent


def lower(folder: pathlib.Path, config, stage: str, out: str = "lowered") -> pathlib.Path:
    if not (folder / "config.json").exists():
        stage_process.write_data(folder, config)
    words = stage, 0, folder / stage, f"--lower_to={folder / out}"
    stage_process.start(*words).succeed()
    return folder / out


def test_a_lowered_step_names_its_parameters(tmp_path, tiny_config):
    lowered = lower(tmp_path, tiny_config, "gan")
    manifest = json.loads((lowered / lowering.MANIFEST_FILE).read_text())
    state = safetensors.numpy.load_file(lowered / lowering.STATE_FILE)
    assert manifest["stage"] == "gan"
    assert state["state/step"] == 0 and BEST_METRIC in state
    # Every variable that the step changes is the parameter of an alias.
    changed = [manifest["parameters"][index].get("state") for index in manifest["aliases"].values()]
    assert len(set(changed)) == len(changed)
    frozen = {"discriminator/mixing/mix", "generator/output_scale/scale"}
    frozen |= {"generator/output_scale/shift"}
    wanted = {BEST_METRIC, *(f"networks/{name}" for name in frozen)}
    assert set(state) - set(changed) == wanted
    # The batches that it describes are those of the training.
    (batch,) = batches_lib.from_dict(manifest["batches"], tmp_path / "latents")(3)
    assert [{"shape": list(batch.shape), "dtype": batch.dtype.name}] == manifest["batch"]
    with pytest.raises(ValueError, match="is not empty"):
        lowering.lower(None, None, tmp_path / "gan", lowered)


@pytest.mark.large
@pytest.mark.parametrize("stage", stage_process.STAGES)
def test_jax_takes_the_same_steps(tmp_path, tiny_config, jax_python, stage):
    lowered = lower(tmp_path, tiny_config, stage)
    data = tmp_path / ("latents" if stage == "gan" else "waveforms")
    command = [jax_python, "-m", "musika_tf.training.lowered_step", lowered, f"--data_dir={data}"]
    words = [*command, f"--out={tmp_path / 'out'}", "--n_steps=2", "--log_n_steps=2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    subprocess.run(list(map(str, words)), env=environment, check=True, timeout=900)
    # TensorFlow's own kernels draw other random numbers than XLA.
    stage_process.start(stage, 2, tmp_path / "whole", "--xla=on").succeed()
    name = "checkpoint-00000002.safetensors"
    found, expected = (checkpoint._read(tmp_path / part / name) for part in ("out", "whole"))
    assert found.keys() == expected.keys()
    differences = []
    for key in expected:
        assert found[key].dtype == expected[key].dtype and found[key].shape == expected[key].shape
        if key.startswith(("networks/", "state/")):
            differences.append(np.abs(found[key] - expected[key]).ravel())
    # Where a gradient is as small as rounding, Adam's first steps may go another way.
    assert np.mean(np.concatenate(differences) > 1e-4) < 1e-2
    # What came back is a checkpoint, from which TensorFlow goes on.
    resumed = tmp_path / "resumed"
    resumed.mkdir()
    (tmp_path / "out" / name).rename(resumed / name)
    stage_process.start(stage, 4, resumed).succeed()
    assert checkpoint.latest(resumed).name == "checkpoint-00000004.safetensors"
