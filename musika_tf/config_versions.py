"""What earlier releases wrote of a config → what this one reads: the one converter.

Sections of a config lie in config.json and training.json of a run, in the metadata of shards and
in the metadata.json of an exported model. What says no version there is of version 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CONFIG_VERSION = 2

# Fields that version 1 called otherwise, by section.
_RENAMED_IN_2 = {"TrainingConfig": {"told_weight": "conditioning_weight"}}
# What version 1 need not say, because there was nothing else at first.
_IMPLIED_IN_1 = {
    "AutoencoderConfig": {"principal_path": False, "consistency_n_steps": 0},
    "TrainingConfig": {
        "final_learning_rate_share": 1.0,
        "adversarial_start_share": 0.0,
        "adversarial_period": 1,
    },
}


def upgraded(section: str, values: Mapping[str, Any], version: Any) -> dict[str, Any]:
    """The fields of a section as this version has them.

    Args:
      section: name of its dataclass.
      values: the fields as they were written.
      version: of what they were written in.

    Raises:
      ValueError: no version that this release reads.
    """
    if version == CONFIG_VERSION:
        return dict(values)
    if version != 1:
        raise ValueError(
            f"this config has version {version}; this program reads versions 1 and "
            f"{CONFIG_VERSION}: use the release that wrote it"
        )
    renamed = _RENAMED_IN_2.get(section, {})
    values = {renamed.get(name, name): value for name, value in values.items()}
    return {**_IMPLIED_IN_1.get(section, {}), **values}
