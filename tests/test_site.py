"""The page's folder: what is in it, and when it is built."""

from __future__ import annotations

import json
import re

import pytest

from export.web import site


def test_folder_asks_no_other_host(page_folder):
    own = [p for p in page_folder.rglob("*") if p.suffix in (".js", ".html", ".css")]
    own = [p for p in own if "vendor" not in p.parts]
    assert len(own) > 10
    for path in own:
        assert not re.search(r"(https?:)?//[a-z0-9.-]+\.[a-z]", path.read_text()), path
    html = (page_folder / "index.html").read_text()
    assert "default-src 'none'" in html and "connect-src 'self'" in html


def test_folder_holds_licence_and_card(page_folder, page_weights):
    listed = json.loads((page_folder / "models.json").read_text())
    assert [m["name"] for m in listed] == ["random"]
    assert (page_folder / listed[0]["card"]).read_text() == (page_weights / "README.md").read_text()
    assert "Apache License" in (page_folder / "LICENSE.txt").read_text()


def test_names_and_what_is_no_model(tmp_path, page_weights):
    assert list(site.named(["models/piano/3", "weights/techno"])) == ["piano", "techno"]
    with pytest.raises(ValueError, match="both be called piano: rename"):
        site.named(["a/piano", "b/piano/1"])
    with pytest.raises(ValueError, match="no model"):
        site.named([])
    with pytest.raises(ValueError, match="holds no exported model and is no run"):
        site.build({"x": tmp_path}, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "there").mkdir()
    with pytest.raises(ValueError, match="--overwrite"):
        site.build({"x": page_weights}, tmp_path / "there")


def test_page_is_built_once(tmp_path, page_weights, monkeypatch):
    built = []
    monkeypatch.setattr(site, "build", lambda models, out: built.append(out) or out)
    first = site.kept({"random": page_weights}, tmp_path)
    first.mkdir()
    assert site.kept({"random": page_weights}, tmp_path) == first
    assert built == [first]
