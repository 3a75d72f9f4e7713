"""Serves a page on this machine, with the headers that a careful host would send."""

from __future__ import annotations

import functools
import http.server
import os

# The page asks no other host for anything, and runs no code but its own files'.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; worker-src 'self'; manifest-src 'self'; "
    "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class _Handler(http.server.SimpleHTTPRequestHandler):
    # Not what the system's tables say: browsers run modules of this type alone.
    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {
        ".js": "text/javascript",
        ".wasm": "application/wasm",
        ".tflite": "application/octet-stream",
        ".gz": "application/octet-stream",
        ".md": "text/plain; charset=utf-8",
    }

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args) -> None:
        """Says nothing: whoever listens to music does not read logs."""


def server(folder: str | os.PathLike, port: int = 0) -> http.server.ThreadingHTTPServer:
    """A server of a folder on the loopback address; `serve_forever` runs it. Port 0 is a free one,
    see `server_port`.

    Raises:
      OSError: the port is taken.
    """
    handler = functools.partial(_Handler, directory=os.fspath(folder))
    return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
