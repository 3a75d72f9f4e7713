"""Flags of the programs that work on many files: who does it."""

from __future__ import annotations

from absl import flags

from musika_tf.data.workers import Workers

_LOCAL = "local"
_SPARK = "spark"
_BEAM_RUNNERS = {
    "direct": "DirectRunner",
    "flink": "FlinkRunner",
    "dataflow": "DataflowRunner",
}

flags.DEFINE_enum(
    "runner",
    _LOCAL,
    [_LOCAL, _SPARK, *_BEAM_RUNNERS],
    "Who works: processes of this machine; a Spark cluster (`pip install '.[spark]'`); or Apache "
    "Beam (`pip install '.[scale]'`), on its direct runner, Flink or Dataflow. All "
    "machines must see the folders under the same paths.",
)
flags.DEFINE_multi_string(
    "runner_option",
    [],
    "An option for the runner; can be given several times. Spark: NAME=VALUE of its configuration, "
    "such as spark.master=spark://host:7077. Beam: as on its command line, such as "
    "--flink_master=host:8081.",
)


def workers(local: Workers) -> Workers:
    """Who the flags say, where that is this machine: `local`.

    Raises:
      ValueError: what the runner needs is not installed, or options without a runner.
    """
    runner, options = flags.FLAGS.runner, flags.FLAGS.runner_option
    if runner == _LOCAL:
        if options:
            raise ValueError("--runner_option goes with another --runner than local")
        return local
    try:
        if runner == _SPARK:
            from musika_tf.data.spark_workers import SparkWorkers

            return SparkWorkers(tuple(options))
        from musika_tf.data.beam_workers import BeamWorkers
    except ImportError as error:
        extra = "spark" if runner == _SPARK else "scale"
        raise ValueError(
            f"--runner={runner} cannot be used ({error}): pip install '.[{extra}]'"
        ) from error
    return BeamWorkers((f"--runner={_BEAM_RUNNERS[runner]}", *options))
