"""Headers that all answers have, whichever route they come from and whether or not it succeeded."""

from collections.abc import Sequence

from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
}


class Headers:
    """An app whose every answer, errors included, has what keeps browsers from doing with it what nobody means them
    to do, unless it set that itself, and what the request's state has as `headers`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the app does."""
        state = scope.setdefault("state", {})

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(state.get("headers", {}))
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def with_headers(app: ASGIApp, cors_origins: Sequence[str]) -> ASGIApp:
    """The app with all headers; pages of the origins may call it from browsers.

    Credentials are headers that a page sets itself. Cookies are never asked for, so that `*` gives nothing away.
    """
    if cors_origins:
        app = CORSMiddleware(
            app,
            allow_origins=cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Prefer", "X-API-Key"],
            expose_headers=["Preference-Applied", "RateLimit", "RateLimit-Policy", "Retry-After"],
            max_age=3600,
        )
    return Headers(app)
