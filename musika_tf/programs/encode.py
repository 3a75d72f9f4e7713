"""Encodes waveform shards and their labels to latent shards; with --decode the other way to audio.

musika-encode --run_dir=runs/piano --data_dir=data/piano --latent_dir=data/piano_latents
musika-encode --decode --run_dir=runs/piano --latent_dir=data/piano_latents --out_dir=decoded
"""

from __future__ import annotations

from absl import flags

from flags import note_density, paths, workers
from musika_tf.data import encoding
from musika_tf.programs import common
from musika_tf.runs.run import Run

RUN_DIR = paths.define_model("run_dir", "Run folder with a trained autoencoder.", required=True)
DATA_DIR = paths.define("data_dir", "Waveform shards to encode.")
LATENT_DIR = paths.define(
    "latent_dir", "Latent shards: written, or with --decode read.", required=True
)
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace latent shards that are there.")
DECODE = flags.DEFINE_bool("decode", False, "Turn latents back to audio files.")
OUT_DIR = paths.define("out_dir", "With --decode: folder of the WAV files.")


@common.program()
def run() -> None:
    """Encodes, or decodes."""
    run_dir, latent_dir, scale = RUN_DIR.value, LATENT_DIR.value, note_density.MAX_ONSETS_PER_SECOND
    if DECODE.value:
        common.require(OUT_DIR, "where the audio files go")
        encoding.decode_shards(Run(run_dir), latent_dir, OUT_DIR.value)
    else:
        common.require(DATA_DIR, "the waveform shards to encode")
        max_onsets_per_second = scale.value if scale.present else None
        encoding.encode_shards(
            Run(run_dir),
            DATA_DIR.value,
            latent_dir,
            OVERWRITE.value,
            max_onsets_per_second,
            workers.workers(encoding.THIS_PROCESS),
        )


if __name__ == "__main__":
    run()
