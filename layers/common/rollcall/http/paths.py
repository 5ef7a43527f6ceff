"""Further paths of an app's routes: below a prefix, below `/v1`, and with a slash at the end."""

from collections.abc import MutableMapping
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

# SDKs add it by themselves. The API's stage, which no function sees in a path, is called so as well.
VERSION = "/v1"


class Paths:
    """An app that takes requests to another app's routes, and knows which route the last one was for.

    With a `prefix`, which may be empty, it takes them at the routes' further paths too. Without, at their own alone.
    """

    def __init__(self, app: ASGIApp, prefix: str | None) -> None:
        self._app = app
        self._prefix = prefix
        self.route: str | None = None
        """The route's path, with the names of its variables; None where there was no such route."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on under the path of its route."""
        inner: MutableMapping[str, Any] = dict(scope)
        if self._prefix is not None:
            inner["path"] = own_path(scope["path"], self._prefix)
        self.route = None
        try:
            await self._app(inner, receive, send)
        finally:
            self.route = getattr(inner.get("route"), "path", None)


def own_path(path: str, prefix: str) -> str:
    """A path without the prefix, then without one `/v1`, and without the slash at its end."""
    for before in (prefix, VERSION):
        if before and (path == before or path.startswith(f"{before}/")):
            path = path[len(before) :]
    if path.endswith("/") and path != "/":
        path = path[:-1]
    return path or "/"
