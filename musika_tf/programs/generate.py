"""Makes music of any length with a trained model; streams it to WAV or FLAC files.

    musika-generate --list
    musika-generate --model_dir=piano --out=music/piano.wav
    musika-generate --model_dir=models/piano --seconds=240 --seed=1 --num_samples=3 \
        --out=music/piano.flac
    musika-generate --model_dir=piano --tempo_bpm=80 --note_density=random_walk \
        --out=music/piano.flac
    musika-generate --model_dir=models/piano --seed=1 --start=1:00:00 --out=music/second_hour.flac

Ctrl-C ends early and leaves a complete file of what was made so far.
"""

from __future__ import annotations

from flags import generate as generate_flags
from musika_tf import generation
from musika_tf.conditioning.controls import untold
from musika_tf.player import open_player
from musika_tf.programs import common
from musika_tf.runs import shipped


@common.program()
def run() -> None:
    """Generates what the flags ask for."""
    if generate_flags.LIST.value:
        print(shipped.listing())
        return
    request = generate_flags.request()
    out, with_picture = generate_flags.OUT.value, generate_flags.PICTURE.value
    player = open_player(generate_flags.MODEL_DIR.value, generate_flags.JIT_COMPILE.value)
    for line in untold(request.controls, player.config.conditioning.signals):
        print(line, flush=True)
    for report in generation.generate(player, request, out, with_picture):
        print(report, flush=True)
        if not report.is_complete:
            raise KeyboardInterrupt


if __name__ == "__main__":
    run()
