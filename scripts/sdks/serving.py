"""A web server of the suite: on this machine alone, for as long as a run takes."""

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

# How soon it sees that it has to end.
LOOK_SECONDS = 0.02


class Handler(BaseHTTPRequestHandler):
    """Keeps connections open, and prints nothing: a path may hold a key."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Server:
    """Serves with `handler` on 127.0.0.1; port 0 stands for any."""

    def __init__(self, handler: type[Handler], port: int = 0) -> None:
        self._server = _Quiet(("127.0.0.1", port), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(LOOK_SECONDS,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def origin(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        # An SDK that ends closes its connections, and so does a browser.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)
