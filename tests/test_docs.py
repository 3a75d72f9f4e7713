"""The documentation: its links lead somewhere, and the examples in it run."""

from __future__ import annotations

import doctest
import pathlib
import re
import urllib.parse

import pytest

import musika_tf

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = (".", "docs", "examples", "weights/*", "tests/data/*")
PAGES = [page for folder in FOLDERS for page in sorted(ROOT.glob(f"{folder}/*.md"))]


def anchors(page: pathlib.Path) -> set[str]:
    """Names of the headings of a page, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page: pathlib.Path, link: str) -> bool:
    """Whether a link of a page leads to no file, or to no heading of it."""
    parts = urllib.parse.urlsplit(link)
    if parts.scheme:
        return False
    target = (page.parent / parts.path).resolve() if parts.path else page
    if not target.exists() or ROOT not in target.parents:
        return True
    return bool(parts.fragment) and parts.fragment not in anchors(target)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    assert not [link for link in links if broken(page, link)]


def test_broken_links_are_found(tmp_path):
    page = ROOT / "README.md"
    assert broken(page, "docs/nothing.md")
    assert broken(page, "docs/conditioning.md#nothing")
    assert not broken(page, "docs/conditioning.md#a-signal-of-your-own-from-start-to-end")


def test_every_page_is_reached_from_the_readme():
    seen, left = set(), [ROOT / "README.md"]
    while left:
        page = left.pop()
        seen.add(page)
        links = re.findall(r"\]\(([^)#?\s]+)", page.read_text())
        found = {(page.parent / link).resolve() for link in links if "://" not in link}
        left += [target for target in found if target.suffix == ".md" and target not in seen]
    assert set(PAGES) <= seen


def test_files_to_open_are_there():
    table = (ROOT / "CONTRIBUTING.md").read_text().partition("## What to open")[2]
    names = re.findall(r"`([\w/]+\.py)`", table.partition("\n## ")[0])
    assert len(names) > 25
    assert not [n for n in names if not ((ROOT / n).exists() or (ROOT / "musika_tf" / n).exists())]


def test_samples_are_small():
    samples = (ROOT / "docs" / "samples").iterdir()
    assert 0 < sum(path.stat().st_size for path in samples) <= 8e6


def test_the_example_of_the_package_runs(tmp_path, monkeypatch):
    (tmp_path / "weights").symlink_to(ROOT / "weights")
    monkeypatch.chdir(tmp_path)
    # Its progress bar goes to stderr, which is no part of what a doctest compares.
    results = doctest.testmod(musika_tf)
    assert results.attempted > 5
    assert not results.failed


def test_the_package_offers_what_it_names():
    assert {name for name in musika_tf.__all__ if callable(getattr(musika_tf, name))} == {
        "Config",
        "Player",
        "Request",
        "Run",
        "generate",
        "open_player",
    }
    assert set(musika_tf.__all__) <= set(dir(musika_tf))
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = musika_tf.nothing_such
