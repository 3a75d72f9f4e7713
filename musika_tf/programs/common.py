"""What every program does alike: start, one-line errors, checks of its command line."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence

from absl import app, flags

from flags import saving

# What shells give to programs that Ctrl-C ended.
_INTERRUPTED = 130


def program(
    expand: Callable[[Sequence[str]], list[str]] = list,
) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Makes a function a program; mistakes of the user end it with one line and exit status 1.

    They are ValueError and OSError. MUSIKA_TRACEBACK=1 in the environment shows where they come
    from. `expand` is what is done to the command line before flags are read: `preset.expand` of
    those programs that take presets.
    """
    return lambda main: functools.partial(_run, main, expand)


def _run(main: Callable[[], None], expand: Callable[[Sequence[str]], list[str]]) -> None:
    _show_all_flags(main)
    with _mistakes_in_one_line():
        words = expand(sys.argv[1:])

    def guarded(argv: list[str]) -> None:
        with _mistakes_in_one_line():
            # Typos, or an indented comment of a flagfile.
            if len(argv) > 1:
                raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
            main()

    app.run(guarded, [sys.argv[0], *words])


@contextlib.contextmanager
def _mistakes_in_one_line() -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError, flags.Error) as error:
        if os.environ.get("MUSIKA_TRACEBACK"):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


@contextlib.contextmanager
def told_when_stopped(text: str) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the program, with this line; the exit status is 128 + the number."""

    def stop(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except SystemExit:
        print(text, flush=True)
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _show_all_flags(main: Callable[[], None]) -> None:
    """Makes `--help` say what the program does and list all flags of this project that it takes.

    By itself absl shows the docstring and the flags of the script that was started: of `python -m`
    that is the program without the flags of its flag modules, of a console script it is nothing.
    """
    sys.modules["__main__"].__doc__ = sys.modules[main.__module__].__doc__
    for module, module_flags in flags.FLAGS.flags_by_module_dict().items():
        if saving.is_own(module):
            for flag in module_flags:
                flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)


def require(flag: flags.FlagHolder, meaning: str) -> None:
    """Raises UsageError if a flag that this call needs was not given."""
    if flag.value is None:
        raise app.UsageError(f"--{flag.name} is missing: {meaning}")
