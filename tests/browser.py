"""Headless Chromium for tests, and what they do with pages in it.

    with browser.chromium() as started, browser.serving(server) as url:
        with browser.visits(started) as visit:
            page = visit(url)

Needs playwright (of the test packages) and Chromium (`apt install chromium`); without one of them
the tests are skipped.
"""

from __future__ import annotations

import contextlib
import http.server
import shutil
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_NAMES = ("chromium", "chromium-browser")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser of its own; one at a time, and no event loop beside it in this thread."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs pip install playwright")
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if not path:
        pytest.skip("needs Chromium: apt install chromium")
    with playwright.sync_playwright() as started:
        yield started.chromium.launch(executable_path=path, args=["--no-sandbox"])


@contextlib.contextmanager
def serving(server: http.server.ThreadingHTTPServer) -> Iterator[str]:
    """Runs a server in a thread; gives its address."""
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@contextlib.contextmanager
def visits(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Gives `visit(url, **options)`, which opens a page in a context of its own.

    In the end none may have complained or asked another host than this machine.
    """
    contexts, complaints, asked = [], [], []

    def visit(url: str, **options) -> Page:
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda m: m.type == "error" and complaints.append(m.text))
        page.on("request", lambda request: asked.append(urllib.parse.urlsplit(request.url)))
        page.goto(url)
        return page

    yield visit
    assert not complaints
    assert {url.hostname for url in asked if url.scheme.startswith("http")} <= {"127.0.0.1"}
    for context in contexts:
        context.close()


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Asks every 50 ms: a page may forbid the code that playwright would wait with."""
    for _ in range(int(seconds / 0.05)):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen")
