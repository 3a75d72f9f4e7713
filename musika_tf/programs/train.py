"""Makes a model that plays of a folder of audio, in a given time.

    musika-train --audio_dir=~/Music/mine --name=mine --hours=8
    musika-generate --model_dir=mine --seconds=240 --out=mine.flac

The audio is prepared and encoded by an autoencoder that ships; the GAN is trained, begun with one
that ships if one fits; the best of it becomes weights/NAME, with a card on which it stands beside
what it began with, measured on music that was held out. Ctrl-C leaves everything so that the same
command goes on.

    musika-train --audio_dir=~/Music/mine --name=mine --hours=8 --conditioning=beats
    musika-train --audio_dir=~/Music/mine --name=mine --hours=100 --from_scratch

With conditioning, beats are found first and the music follows a tempo. From scratch the autoencoder
is trained too.
"""

from __future__ import annotations

from collections.abc import Sequence

from flags import preset
from flags import train as train_flags
from musika_tf.programs import common


def _expand(words: Sequence[str]) -> list[str]:
    preset.set_defaults(train_flags.PRESET)
    return preset.expand(words)


@common.program(_expand)
def run() -> None:
    """Trains what the flags ask for."""
    # Not at the start: workers import this module again, and have no use for TensorFlow.
    from musika_tf.chain.chain import Chain

    with common.told_when_stopped("stopped; the same command goes on from here"):
        weights_dir = Chain(train_flags.order()).run()
    print(f"play it: musika-generate --model_dir={weights_dir} --seconds=240 --out=music.flac")


if __name__ == "__main__":
    run()
