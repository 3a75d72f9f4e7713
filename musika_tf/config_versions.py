"""What earlier releases wrote of a config → what this one reads: the one converter.

Sections of a config lie in config.json and training.json of a run, in the metadata of shards and
in the metadata.json of an exported model. What says no version there is of version 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CONFIG_VERSION = 5

# R1 was of the sum of the logits. Every preset had 8 of them, and the gradient of their sum is 8
# times that of their mean.
_R1_GAMMA_PER_WEIGHT = 8**2

# Fields that version 1 called otherwise, by section.
_RENAMED_IN_2 = {"TrainingConfig": {"told_weight": "conditioning_weight"}}
# What a version need not say, because there was nothing else before the next one.
_IMPLIED_IN_1 = {
    "AutoencoderConfig": {"principal_path": False, "consistency_n_steps": 0},
    "TrainingConfig": {
        "final_learning_rate_share": 1.0,
        "adversarial_start_share": 0.0,
        "adversarial_period": 1,
    },
}
_IMPLIED_IN_2 = {
    "GanConfig": {"normalisation": "patch", "dense_logit": False},
    "TrainingConfig": {"r1_period": 1, "r1_gamma_least_share": 1.0},
}
_IMPLIED_IN_3 = {
    "GanConfig": {"mid_side": False},
    "TrainingConfig": {"spliced_weight": 0.0},
}


def upgraded(section: str, values: Mapping[str, Any], version: Any) -> dict[str, Any]:
    """The fields of a section, a dataclass by its name, as this version has them.

    Raises:
      ValueError: no version that this release reads.
    """
    if version == CONFIG_VERSION:
        return dict(values)
    if version not in range(1, CONFIG_VERSION):
        raise ValueError(
            f"this config has version {version}; this program reads versions 1 to "
            f"{CONFIG_VERSION}: use the release that wrote it"
        )
    if version == 1:
        renamed = _RENAMED_IN_2.get(section, {})
        values = {renamed.get(name, name): value for name, value in values.items()}
        values = {**_IMPLIED_IN_1.get(section, {}), **values}
    if version <= 2:
        values = {**_IMPLIED_IN_2.get(section, {}), **values}
    if version <= 3:
        values = {**_IMPLIED_IN_3.get(section, {}), **values}
    if "r1_weight" in values:
        values["r1_gamma"] = _R1_GAMMA_PER_WEIGHT * values.pop("r1_weight")
    return values
