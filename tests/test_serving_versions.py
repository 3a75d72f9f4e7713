"""Versions: found, loaded, swapped without losing a request, unloaded, reported."""

from __future__ import annotations

import shutil
import weakref

import numpy as np
import pytest
import tensorflow as tf
import toy_model
from grpc import StatusCode
from prometheus_client import REGISTRY
from serving_client import predict_request
from tensorflow_serving.apis import prediction_log_pb2

from export.serving.errors import ServingError
from export.serving.versions import WARMUP_FILE, Versions

MIB = 2**20
ONE = np.ones((1, 2), np.float32)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Two versions by the factor that tells them apart."""
    root = tmp_path_factory.mktemp("saved")
    return {factor: toy_model.save(root / str(factor), factor) for factor in (2.0, 3.0)}


@pytest.fixture
def model_dir(tmp_path, saved):
    put(saved[2.0], tmp_path / "1")
    return tmp_path


def put(version, place):
    """As an exporter does: written elsewhere, renamed."""
    shutil.copytree(version, place.with_name(f".{place.name}"))
    place.with_name(f".{place.name}").rename(place)


@pytest.fixture
def versions(model_dir):
    return Versions(str(model_dir), MIB)


def factor(model):
    return model.signature("")({"x": ONE})["y"][0, 0]


def test_newest_version_serves(model_dir, saved):
    put(saved[3.0], model_dir / "10")
    (model_dir / "12").mkdir()
    for name in ("notes", "011", "-3"):
        shutil.copytree(saved[2.0], model_dir / name)
    versions = Versions(str(model_dir), MIB)
    assert versions.statuses() == {10: ""}
    assert (versions.model().version, factor(versions.model())) == (10, 3)
    assert versions.model(10) is versions.model("10") is versions.model()


@pytest.mark.slow
def test_old_version_serves_its_requests_to_the_end_and_goes(versions, model_dir, saved):
    old = versions.model(1)
    put(saved[3.0], model_dir / "2")
    versions.look()
    assert (factor(versions.model()), factor(old)) == (3, 2)
    assert versions.statuses() == {2: ""}
    with pytest.raises(ServingError, match="version 1 .* is not served; version 2 is") as error:
        versions.model(1)
    assert error.value.code is StatusCode.NOT_FOUND
    session = weakref.ref(old._session)
    assert session() is not None
    del old
    assert session() is None


def test_broken_version_changes_nothing_until_its_files_change(versions, model_dir, saved):
    put(saved[3.0], model_dir / "2")
    moved = (model_dir / "2" / "variables").rename(model_dir / "variables")
    versions.look()
    assert list(versions.statuses()) == [2, 1]
    assert "variables" in versions.statuses(2)[2]
    assert factor(versions.model()) == 2
    n_failures = REGISTRY.get_sample_value("musika_serve_load_failures_total")
    versions.look()
    assert REGISTRY.get_sample_value("musika_serve_load_failures_total") == n_failures
    moved.rename(model_dir / "2" / "variables")
    versions.look()
    assert versions.statuses() == {2: ""}
    assert factor(versions.model()) == 3


def test_version_that_is_gone_is_forgotten(versions, model_dir):
    (model_dir / "2").mkdir()
    (model_dir / "2" / "saved_model.pb").write_bytes(b"garbage")
    versions.look()
    assert list(versions.statuses()) == [2, 1]
    shutil.rmtree(model_dir / "2")
    versions.look()
    assert versions.statuses() == {1: ""}
    with pytest.raises(ServingError, match="version 2 of the model is unknown") as error:
        versions.statuses(2)
    assert error.value.code is StatusCode.NOT_FOUND


def test_withdrawn_version_gives_way_to_the_one_before(versions, model_dir, saved):
    put(saved[3.0], model_dir / "2")
    versions.look()
    shutil.rmtree(model_dir / "2")
    versions.look()
    assert (versions.statuses(), factor(versions.model())) == ({1: ""}, 2)


def test_last_version_serves_on_when_its_folder_is_gone(versions, model_dir, saved):
    shutil.rmtree(model_dir / "1")
    versions.look()
    assert factor(versions.model()) == 2
    shutil.rmtree(model_dir)
    versions.look()
    put(saved[3.0], model_dir / "7")
    versions.look()
    assert (versions.statuses(), factor(versions.model())) == ({7: ""}, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "is no folder: `musika-export --run_dir=RUN"),
        (lambda path: (path / "1").mkdir(parents=True), "holds no version.* `musika-export"),
    ],
)
def test_nothing_to_serve(tmp_path, make, message):
    make(tmp_path / "model")
    with pytest.raises(ValueError, match=message):
        Versions(str(tmp_path / "model"), MIB)


def test_folder_of_one_version_is_no_model_dir(model_dir):
    with pytest.raises(ValueError, match="is one version: give the folder it is in"):
        Versions(str(model_dir / "1"), MIB)


def test_only_broken_versions(model_dir):
    shutil.rmtree(model_dir / "1" / "variables")
    with pytest.raises(ValueError, match="version 1: .*variables"):
        Versions(str(model_dir), MIB)


def test_warmup_runs_before_a_version_serves(versions, model_dir, saved):
    record_warmup(saved[3.0], model_dir / "2", ("", {"x": ONE}), ("checked", {"x": -1.0}))
    versions.look()
    assert "`x` must be positive" in versions.statuses()[2]
    assert versions.model().version == 1
    record_warmup(saved[3.0], model_dir / "3", ("", {"x": ONE}), ("checked", {"x": 1.0}))
    versions.look()
    assert versions.model().version == 3


def record_warmup(version, place, *requests):
    path = place / WARMUP_FILE
    shutil.copytree(version, place)
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests:
            log = prediction_log_pb2.PredictLog(request=predict_request(inputs, signature))
            writer.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())
