"""A proxy that records what an SDK sends and what it is answered. It changes neither, unless it is to lose answers."""

import base64
import binascii
import contextlib
import http.client
import re
import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.parse import unquote_plus, urlsplit

from scripts.sdks.serving import Handler, Server

REQUEST_SECONDS = 60
# What concerns one connection alone. Each side has its own.
HOP_BY_HOP = frozenset({"connection", "keep-alive", "proxy-connection", "trailer", "upgrade", "host"})
MOST_EXPANDED = 16 * 1024 * 1024
# What an SDK is answered where an answer is lost: that it may try again.
LOST = 503, [("Retry-After", "1"), ("Content-Type", "application/json")], b'{"code":"lost","message":"try again"}'
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{24,}={0,2}")


@dataclass(frozen=True)
class Exchange:
    """A request and the status of its answer."""

    method: str
    route: str
    """The path below the API's URL, without the query, which may hold a key."""
    status: int
    marks: Counter[str]
    """The marks of events that were sent in it."""
    barred: str = ""
    """The origin of the page that sent it, if the answer does not let that page in."""

    def __str__(self) -> str:
        return f"{self.method} {self.route}: {self.status}"


class Proxy(Server):
    """Listens on this machine alone, and passes on what comes to the host of `upstream`, the URL of an API.

    Where it is `losing` answers, an SDK that sends an event for the first time is told that the stack was not reached,
    though the stack took it in.
    """

    def __init__(self, upstream: str, pattern: re.Pattern[str], *, losing: bool = False) -> None:
        self._losing = losing
        self._upstream = urlsplit(upstream)
        self._pattern = pattern
        self._changed = threading.Condition()
        self._exchanges: list[Exchange] = []
        proxy = self

        class Relaying(_Handler):
            def relay(self) -> None:
                proxy.relay(self)

        super().__init__(Relaying)

    @property
    def url(self) -> str:
        """The URL of the API through the proxy."""
        return f"{self.origin}{self._upstream.path.rstrip('/')}"

    @property
    def exchanges(self) -> list[Exchange]:
        """What was sent so far, preflights included."""
        with self._changed:
            return list(self._exchanges)

    def wait(self, wanted: Counter[str], seconds: float) -> None:
        """Wait until all events were sent as often as `wanted`, or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: not wanted - self._seen(), seconds)

    def wait_for(self, events: int, seconds: float) -> None:
        """Wait until so many different events were sent, or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._seen()) >= events, seconds)

    def _seen(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for each in self._exchanges:
            found += each.marks
        return found

    def relay(self, asked: "_Handler") -> None:
        """Pass a request on, and its answer back."""
        body, chunked = asked.body()
        headers = {
            name: value
            for name, value in asked.headers.items()
            if name.lower() not in HOP_BY_HOP | {"content-length", "transfer-encoding"}
        }
        secure = self._upstream.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(self._upstream.netloc, timeout=REQUEST_SECONDS)
        try:
            if chunked:
                connection.request(asked.command, asked.path, iter([body]), headers, encode_chunked=True)
            else:
                connection.request(asked.command, asked.path, body or None, headers)
            answer = connection.getresponse()
            content, status, told = answer.read(), answer.status, answer.getheaders()
        except (OSError, http.client.HTTPException) as error:
            content, status, told = f"the stack does not answer: {error}".encode(), 502, []
        finally:
            connection.close()
        path, _, query = asked.path.partition("?")
        route = path.removeprefix(self._upstream.path.rstrip("/")) or "/"
        marks = marks_in(body, query, self._pattern)
        # Noted first: whoever has the answer may ask at once what was sent.
        with self._changed:
            if self._losing and 200 <= status < 300 and marks.keys() - self._seen().keys():
                allowed = [each for each in told if each[0].lower().startswith("access-control-")]
                status, told, content = LOST[0], [*allowed, *LOST[1]], LOST[2]
            self._exchanges.append(Exchange(asked.command, route, status, marks, _barred(asked.headers, told)))
            self._changed.notify_all()
        asked.reply(status, told, content)


class _Handler(Handler):
    timeout = REQUEST_SECONDS

    def relay(self) -> None:
        raise NotImplementedError

    def body(self) -> tuple[bytes, bool]:
        """The body, and whether it came in chunks."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0)), False
        parts = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts), True

    def reply(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        """Answer."""
        # The browser is gone, or the SDK did not wait.
        with contextlib.suppress(ConnectionError):
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in HOP_BY_HOP | {"content-length", "transfer-encoding"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    def __getattr__(self, name: str) -> Any:
        # Any method is passed on.
        if name.startswith("do_"):
            return self.relay
        raise AttributeError(name)


def _barred(asked: Message, told: list[tuple[str, str]]) -> str:
    origin = asked.get("Origin", "")
    allowed = {value for name, value in told if name.lower() == "access-control-allow-origin"}
    return "" if not origin or allowed & {"*", origin} else origin


def marks_in(body: bytes, query: str, pattern: re.Pattern[str]) -> Counter[str]:
    """How often each mark is in what was sent, whatever encoding it is in."""
    found: Counter[str] = Counter()
    for text in _readings(body, query):
        # The same events in another reading are the same events.
        found |= Counter(pattern.findall(text))
    return found


def _readings(body: bytes, query: str) -> Iterator[str]:
    """What was sent as text: as it is, and with each of the encodings of SDKs taken off."""
    for text in (_expanded(body).decode(errors="replace"), query):
        # Base64 in a form may stand there as it is, with a + that is no space.
        for plain in (text, unquote_plus(text)):
            yield plain
            yield "\n".join(_decoded(token) for token in _BASE64.findall(plain))


def _expanded(body: bytes) -> bytes:
    if not body.startswith(b"\x1f\x8b"):
        return body
    try:
        return zlib.decompressobj(wbits=31).decompress(body, MOST_EXPANDED)
    except zlib.error:
        return body


def _decoded(token: str) -> str:
    token = token.rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        return base64.b64decode(token + "=" * (-len(token) % 4)).decode(errors="replace")
    except binascii.Error:
        return ""
