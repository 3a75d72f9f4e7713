"""One page of all evaluations in a folder, index.html: it opens from the disk, and on a phone."""

from __future__ import annotations

import html
import os
import pathlib
import re
import string
from collections.abc import Sequence

import markdown

from musika_tf import files

NAME = "index.html"
_AUDIO_SUFFIXES = (".mp3", ".wav")
_PICTURE = re.compile(r'<img alt="([^"]*)" src="([^"]*)\.png" />')

_PAGE = string.Template("""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; }
body { margin: 0 auto; padding: 0 1rem 4rem; max-width: 60rem; font: 1rem/1.5 sans-serif; }
nav { position: sticky; z-index: 1; top: 0; display: flex; gap: 0 1rem; background: Canvas; }
nav, .wide, p > code:only-child { overflow-x: auto; white-space: nowrap; }
nav a { padding: .8rem 0; }
section { scroll-margin-top: 4rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; border-bottom: 1px solid GrayText; }
th, td { text-align: right; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 1.5rem 0; }
img, audio { display: block; width: 100%; height: auto; }
audio { height: 3rem; margin-top: .3rem; }
p > code:only-child { display: block; }
</style>
<h1>$title</h1>
<nav>$links</nav>
$sections
</html>
""")


def write(out: str | os.PathLike, title: str, names: Sequence[str]) -> None:
    """Writes the page of those evaluations that are there, in their order.

    A picture gets a player where a file of the same name is beside it that browsers play.
    """
    out = pathlib.Path(out)
    paths = {name: out / f"{name}.md" for name in names if (out / f"{name}.md").exists()}
    texts = {name: path.read_text("utf-8") for name, path in paths.items()}
    titles = {name: text.partition("\n")[0].removeprefix("# ") for name, text in texts.items()}
    sections = [_section(out, name, text) for name, text in texts.items()]
    links = [f'<a href="#{name}">{html.escape(text)}</a>' for name, text in titles.items()]
    page = _PAGE.substitute(
        title=html.escape(title), links="\n".join(links), sections="\n".join(sections)
    )
    files.write_text(out / NAME, page)


def _section(out: pathlib.Path, name: str, text: str) -> str:
    """An evaluation, its titles one level lower than in its own file."""
    body = markdown.markdown(lowered(text, 1), extensions=["tables"])
    body = body.replace("<table>", '<div class="wide"><table>').replace(
        "</table>", "</table></div>"
    )
    body = _PICTURE.sub(lambda found: _figure(out, *found.groups()), body)
    return f'<section id="{name}">\n{body}\n</section>'


def _figure(out: pathlib.Path, title: str, stem: str) -> str:
    """A picture that opens in its full size, and perhaps a player under it."""
    there = [suffix for suffix in _AUDIO_SUFFIXES if (out / (stem + suffix)).exists()]
    player = [
        f'<audio controls preload="metadata" src="{stem}{suffix}" aria-label="{title}"></audio>'
        for suffix in there[:1]
    ]
    picture = f'<a href="{stem}.png"><img alt="{title}" src="{stem}.png" loading="lazy"></a>'
    return f"<figure>{picture}{''.join(player)}</figure>"


def lowered(text: str, n_levels: int) -> str:
    """Markdown whose titles are so many levels lower."""
    return re.sub(r"^#", "#" * (n_levels + 1), text, flags=re.MULTILINE)


def without_pictures(text: str) -> str:
    """Markdown without its pictures, nor the titles and commands that have only these."""
    kept = [
        p for p in text.strip().split("\n\n") if not p.startswith(("![", "`musika-", "## Pict"))
    ]
    return "\n\n".join(kept) + "\n"
