"""Keeps web pages away from a server of this machine.

A browser lets any page send requests to 127.0.0.1, and a page whose host name resolves to 127.0.0.1 may also read the
answers. The local AWS runs code for whoever asks it to.
"""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import Any, Protocol

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Sequence[tuple[str, str]]

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
HTTP_PORT = 80
# What browsers say of a request that a page of this server made, or the user alone. Other ports are the same site.
OWN_SITES = frozenset({"same-origin", "none"})
# How the User-Agent of every browser begins.
BROWSER = "mozilla/"


class Own:
    """What tells the requests of this machine's programs from those of web pages, for a server on a port."""

    def __init__(self, port: int) -> None:
        self._names = [f"{name}:{port}" for name in LOOPBACK_NAMES]
        if port == HTTP_PORT:
            self._names += LOOPBACK_NAMES
        self._origins = {f"http://{name}" for name in self._names}

    def refusal(self, headers: Headers) -> str | None:
        """Why a request is refused; None if it is not."""
        return self.misdirected(headers) or self.foreign(headers)

    def misdirected(self, headers: Headers) -> str | None:
        """Why a request is not for this machine, by the name that it was sent to."""
        hosts = values(headers, "host")
        if len(hosts) == 1 and hosts[0].lower() in self._names:
            return None
        return f"The header Host has to be one of {', '.join(self._names)}."

    def foreign(self, headers: Headers) -> str | None:
        """Why a request may be of a page of another origin."""
        origins, sites = values(headers, "origin"), values(headers, "sec-fetch-site")
        if len(origins) > 1 or not self._origins.issuperset(origins):
            return "No page of another origin may call the local AWS."
        if len(sites) > 1 or not OWN_SITES.issuperset(sites):
            return "No page of another site or port may call the local AWS."
        # An image of a page needs no Origin, and browsers that are not up to date do not tell its site.
        browser = any(agent.lower().startswith(BROWSER) for agent in values(headers, "user-agent"))
        if browser and not origins and not sites:
            return "This browser does not tell which page asks, so it may not call the local AWS."
        return None


class Part(Protocol):
    """A part of the server with its own rules about pages."""

    async def takes(self, scope: Scope) -> bool:
        """Whether a request is for this part."""
        ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        ...


class Guard:
    """An app that passes on to another one only what names this machine, and no page of another origin asks for.

    The requests that a `Part` takes go to the part, whatever page asks for them, if they name this machine. `port` is
    the one that the server listens on.
    """

    def __init__(self, app: App, port: int, parts: Sequence[Part] = ()) -> None:
        self._app = app
        self._own = Own(port)
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it with a 403 that says why."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = headers_of(scope)
        reason = self._own.misdirected(headers)
        # A target that names a host itself comes before the header.
        if reason is None and not scope["path"].startswith("/"):
            reason = "The target of the request has to be a path."
        if reason is None:
            for part in self._parts:
                if await part.takes(scope):
                    await part(scope, receive, send)
                    return
            reason = self._own.foreign(headers)
        if reason is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            # Before the connection is accepted, this is a 403.
            await send({"type": "websocket.close", "code": 1008})
        else:
            await say(send, 403, reason)


def headers_of(scope: Scope) -> Headers:
    """The headers of a request."""
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]


def values(headers: Headers, name: str) -> list[str]:
    """The values of all headers with a name."""
    return [value for each, value in headers if each.lower() == name]


async def answer(send: Send, status: int, headers: Mapping[str, str | Sequence[str]], body: bytes) -> None:
    """Send an answer. A header with several values is sent several times."""
    lines = [(name, value) for name, each in headers.items() for value in ([each] if isinstance(each, str) else each)]
    lines = [line for line in lines if line[0].lower() != "content-length"]
    lines.append(("content-length", str(len(body))))
    await send({"type": "http.response.start", "status": status, "headers": encoded(lines)})
    await send({"type": "http.response.body", "body": body})


async def say(send: Send, status: int, message: str) -> None:
    """Send an answer that says something to people."""
    await answer(send, status, {"content-type": "application/json"}, json.dumps({"message": message}).encode())


def encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI has them."""
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
