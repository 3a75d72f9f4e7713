"""Versions: found, loaded, swapped without losing a request, drained, unloaded, reported."""

from __future__ import annotations

import shutil
import time

import numpy as np
import pytest
import tensorflow as tf
import toy_model
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from export.serving import errors, warmup
from export.serving import versions as versions_lib
from export.serving.versions import State, Versions

MIB = 2**20
ONE = np.ones((1, 2), np.float32)


WAIT_SECONDS = 120


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
    """Nobody looks but the test."""
    failures = []
    versions = Versions(model_dir, MIB, on_failure=lambda: failures.append(1))
    versions.failures = failures
    versions.start(poll_seconds=10_000)
    yield versions
    versions.close()


def look(versions):
    # What is new is taken at the second sight.
    versions.look()
    versions.look()


def require_eventually(versions, expected):
    """What the thread of the versions does, it does in its own time."""
    deadline = time.monotonic() + WAIT_SECONDS
    while states(versions) != expected and time.monotonic() < deadline:
        time.sleep(0.02)
    assert states(versions) == expected


def factor(servable):
    return servable.signature("")({"x": ONE})["y"][0, 0]


def states(versions):
    return {version.number: version.state.name for version in versions.statuses()}


def test_newest_version_is_loaded(model_dir, saved):
    put(saved[3.0], model_dir / "10")
    (model_dir / "9").mkdir()
    (model_dir / "notes").mkdir()
    versions = Versions(model_dir, MIB)
    versions.start(poll_seconds=10_000)
    assert states(versions) == {10: "AVAILABLE"}
    with versions.lease(None) as servable:
        assert (servable.version, factor(servable)) == (10, 3)
    versions.close()
    assert states(versions) == {10: "END"}
    with pytest.raises(errors.ServingError) as error, versions.lease(None):
        pass
    assert error.value.code is errors.Code.UNAVAILABLE


def test_old_version_serves_its_requests_to_the_end(versions, model_dir, saved):
    with versions.lease(1) as old:
        put(saved[3.0], model_dir / "2")
        look(versions)
        assert states(versions) == {2: "AVAILABLE", 1: "UNLOADING"}
        assert versions.n_loaded == 2
        with versions.lease(None) as new:
            assert (factor(new), factor(old)) == (3, 2)
        with pytest.raises(errors.ServingError, match="version 1 .* is not served; version 2 is"):
            versions.lease(1).__enter__()
        look(versions)
        assert factor(old) == 2
    require_eventually(versions, {2: "AVAILABLE", 1: "END"})
    assert versions.n_loaded == 1


def test_version_is_taken_at_the_second_sight(versions, model_dir, saved):
    put(saved[3.0], model_dir / "2")
    versions.look()
    assert versions.current == 1
    (model_dir / "2" / "more").write_text("still being copied")
    versions.look()
    assert versions.current == 1
    versions.look()
    assert versions.current == 2


def test_broken_version_changes_nothing(versions, model_dir, saved):
    put(saved[3.0], model_dir / "2")
    shutil.rmtree(model_dir / "2" / "variables")
    look(versions)
    look(versions)
    assert states(versions) == {2: "END", 1: "AVAILABLE"}
    assert len(versions.failures) == 1
    (broken,) = versions.statuses(2)
    assert "variables" in str(broken.error)
    with versions.lease(None) as servable:
        assert factor(servable) == 2
    shutil.rmtree(model_dir / "2")
    put(saved[3.0], model_dir / "2")
    look(versions)
    assert states(versions) == {2: "AVAILABLE", 1: "END"}
    assert versions.statuses(2)[0].error is None


def test_garbage_is_a_broken_version(versions, model_dir):
    (model_dir / "2").mkdir()
    (model_dir / "2" / "saved_model.pb").write_bytes(b"garbage")
    look(versions)
    assert states(versions) == {2: "END", 1: "AVAILABLE"}


def test_withdrawn_version_gives_way_to_the_one_before(versions, model_dir, saved):
    put(saved[3.0], model_dir / "2")
    look(versions)
    shutil.rmtree(model_dir / "2")
    look(versions)
    assert states(versions) == {2: "END", 1: "AVAILABLE"}
    with versions.lease(None) as servable:
        assert factor(servable) == 2


def test_last_version_goes_with_its_folder(versions, model_dir, saved):
    shutil.rmtree(model_dir / "1")
    look(versions)
    assert versions.n_loaded == 0
    with pytest.raises(errors.ServingError, match="no version"), versions.lease(None):
        pass
    put(saved[3.0], model_dir / "7")
    look(versions)
    assert versions.current == 7


def test_version_in_another_place_does_not_leave_a_gap(versions, model_dir, saved):
    put(saved[3.0], model_dir / "2")
    shutil.rmtree(model_dir / "1")
    versions.look()
    assert versions.current == 1
    versions.look()
    assert versions.current == 2


def test_folder_is_watched(model_dir, saved):
    versions = Versions(model_dir, MIB)
    versions.start(poll_seconds=0.02)
    put(saved[3.0], model_dir / "2")
    require_eventually(versions, {2: "AVAILABLE", 1: "END"})
    versions.close()


def test_many_versions_are_forgotten(versions, model_dir, monkeypatch):
    monkeypatch.setattr(versions_lib, "_MAX_ENDED", 2)
    for number in range(2, 7):
        (model_dir / str(number)).mkdir()
        (model_dir / str(number) / "saved_model.pb").write_bytes(b"garbage")
        look(versions)
        shutil.rmtree(model_dir / str(number))
    look(versions)
    assert states(versions) == {6: "END", 5: "END", 1: "AVAILABLE"}


def test_unknown_version_has_no_status(versions):
    with pytest.raises(errors.ServingError, match="version 5 of the model is unknown") as error:
        versions.statuses(5)
    assert error.value.code is errors.Code.NOT_FOUND


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "is no folder"),
        (lambda path: path.mkdir(), "holds no version"),
        (lambda path: (path / "1").mkdir(parents=True), "holds no version"),
    ],
)
def test_nothing_to_serve(tmp_path, make, message):
    make(tmp_path / "model")
    with pytest.raises(ValueError, match=message):
        Versions(tmp_path / "model", MIB).start(1)


def test_folder_of_one_version_is_no_model_dir(model_dir):
    with pytest.raises(ValueError, match="is one version: give the folder it is in"):
        Versions(model_dir / "1", MIB).start(1)


def test_only_broken_versions(model_dir):
    shutil.rmtree(model_dir / "1" / "variables")
    with pytest.raises(ValueError, match="version 1: .*variables"):
        Versions(model_dir, MIB).start(1)


# Warm-up


def record_warmup(version_dir, *requests):
    path = version_dir / warmup.WARMUP_FILE
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests:
            request = predict_pb2.PredictRequest()
            request.model_spec.signature_name = signature
            for name, value in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            log = prediction_log_pb2.PredictLog(request=request)
            writer.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())


def test_warmup_runs_before_a_version_serves(model_dir, versions):
    record_warmup(model_dir / "1", ("", {"x": ONE}), ("checked", {"x": 1.0}))
    with versions.lease(None) as servable:
        assert warmup.run(servable, model_dir / "1", MIB) == 2


def test_failing_warmup_fails_the_version(versions, model_dir, saved):
    put(saved[3.0], model_dir / "2")
    record_warmup(model_dir / "2", ("", {"x": ONE}), ("checked", {"x": -1.0}))
    look(versions)
    assert states(versions) == {2: "END", 1: "AVAILABLE"}
    (broken,) = versions.statuses(2)
    assert "`x` must be positive" in str(broken.error)
    assert broken.error.code is errors.Code.INVALID_ARGUMENT
    assert broken.state is State.END
