"""Flags of the programs that work on many files: who does it."""

from __future__ import annotations

from absl import flags

from musika_tf.data.workers import Workers

_LOCAL = "local"
_RUNNERS = {
    "direct": "DirectRunner",
    "flink": "FlinkRunner",
    "spark": "SparkRunner",
    "dataflow": "DataflowRunner",
}

flags.DEFINE_enum(
    "runner",
    _LOCAL,
    [_LOCAL, *_RUNNERS],
    "Who works: processes of this machine; or Apache Beam, from the extra 'musika_tf[scale]', on "
    "its direct runner or a cluster. All machines must see the folders under the same paths.",
)
flags.DEFINE_multi_string(
    "beam_option",
    [],
    "An option for Beam, such as --beam_option=--flink_master=host:8081; can be given several "
    "times.",
)


def workers(local: Workers) -> Workers:
    """Who the flags say, where that is this machine: `local`.

    Raises:
      ValueError: Beam is not installed, or options for it without it.
    """
    runner, options = flags.FLAGS.runner, flags.FLAGS.beam_option
    if runner == _LOCAL:
        if options:
            raise ValueError("--beam_option goes with another --runner than local")
        return local
    try:
        from musika_tf.data.beam_workers import BeamWorkers
    except ImportError as error:
        raise ValueError(
            f"--runner={runner} needs Apache Beam ({error}): pip install 'musika_tf[scale]'"
        ) from error
    return BeamWorkers((f"--runner={_RUNNERS[runner]}", *options))
