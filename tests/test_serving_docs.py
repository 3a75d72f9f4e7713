"""docs/serving.md: that its limits are the server's, and its configuration is one."""

from __future__ import annotations

import dataclasses
import pathlib
import re

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from export.serving.settings import Settings

TEXT = (pathlib.Path(__file__).resolve().parent.parent / "docs" / "serving.md").read_text()


def test_limits_are_the_defaults():
    limits = dict(re.findall(r"^\| `--(\w+)=([\d.]+)` \|", TEXT, re.MULTILINE))
    defaults = {field.name: field.default for field in dataclasses.fields(Settings)}
    assert len(limits) == 7
    assert {name: float(value) for name, value in limits.items()} == {
        name: defaults[name] for name in limits
    }


def test_configuration_of_the_model_is_read_by_its_own_parser():
    block = re.search(r"^model_config_list \{.*?^\}$", TEXT, re.MULTILINE | re.DOTALL)[0]
    config = text_format.Parse(block, model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    assert model.name == "musika"
    assert model.model_version_policy.latest.num_versions == 1
