"""The server of the pages that drive the SDKs of browsers. Its origin is another one than the API's."""

import json
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from scripts.sdks.registry import HERE
from scripts.sdks.serving import Handler, Server

FOLDER = HERE / "browser"
TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8"}


class Pages(Server):
    """Serves one page with its load, takes its report, and tells it how many events were answered.

    `answered` waits until that many events were, or a few seconds.
    """

    def __init__(self, port: int, packages: Path, load: Mapping[str, Any], answered: Callable[[int], None]) -> None:
        self._packages = packages
        self._load = json.dumps(load).encode()
        self._answered = answered
        self._reported = threading.Event()
        self._report: Any = None
        pages = self

        class Page(Handler):
            def do_GET(self) -> None:  # noqa: N802 - the name is http.server's
                status, kind, content = pages.get(self.path)
                self._reply(status, kind, content)

            def do_POST(self) -> None:  # noqa: N802
                pages.take(self.rfile.read(int(self.headers["Content-Length"])))
                self._reply(HTTPStatus.NO_CONTENT, "text/plain", b"")

            def _reply(self, status: int, kind: str, content: bytes) -> None:
                self.send_response_only(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        super().__init__(Page, port)

    def get(self, path: str) -> tuple[int, str, bytes]:
        """What is under a path."""
        if path == "/load":
            return HTTPStatus.OK, "application/json", self._load
        if path.startswith("/answered/"):
            self._answered(int(path.removeprefix("/answered/")))
            return HTTPStatus.OK, "application/json", b"{}"
        in_packages = path.startswith("/packages/")
        folder = self._packages if in_packages else FOLDER
        file = (folder / path.removeprefix("/packages" if in_packages else "").lstrip("/")).resolve()
        if not file.is_relative_to(folder.resolve()) or not file.is_file():
            return HTTPStatus.NOT_FOUND, "text/plain", b""
        return HTTPStatus.OK, TYPES.get(file.suffix, "application/octet-stream"), file.read_bytes()

    def take(self, report: bytes) -> None:
        """Take the page's report."""
        self._report = json.loads(report)
        self._reported.set()

    def report(self, seconds: float) -> Any:
        """The report of the page; raises `TimeoutError`."""
        if not self._reported.wait(seconds):
            raise TimeoutError(f"the page did not report within {seconds:g} s")
        return self._report
