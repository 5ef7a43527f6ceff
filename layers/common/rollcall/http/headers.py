"""The headers of every answer, errors included, and the answers to HEAD."""

from collections.abc import Mapping, Sequence

from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rollcall.http.fixed_headers import SECURITY_HEADERS

# What a page may send: headers that the API reads,
READ_HEADERS = (
    *("Authorization", "Content-Encoding", "Content-Type", "Idempotency-Key", "Prefer", "X-API-Key", "X-Write-Key"),
    "PostHog-Request-Timestamp",
)
# and headers that it passes over. Browser SDKs set them, of Segment (the first line), RudderStack (the next two),
# Snowplow, Jitsu and PostHog, and a browser does not send a request with a header that is not allowed.
PASSED_OVER_HEADERS = (
    "X-Retry-Count",
    *("AnonymousId", "RSA-Retry-Attempt", "RSA-Retry-Reason", "RSA-Since-First-Attempt", "RSA-Since-Last-Attempt"),
    "SentAt",
    "SP-Anonymous",
    "X-Enable-Debug",
    *("PostHog-Attempt", "PostHog-Request-Id", "PostHog-Sdk-Info"),
)


def add_headers(request: Request, headers: Mapping[str, str]) -> None:
    """Have the answer to a request, an error too, carry headers beside those that were added before."""
    request.state.headers = {**getattr(request.state, "headers", {}), **headers}


class Headers:
    """An app that adds headers to every answer of another one.

    It adds the headers in the request's `state.headers`, and each of `SECURITY_HEADERS` that the answer does not have
    yet. The latter keep a browser from caching an answer, framing it or guessing its type.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and add the headers to the answer."""
        state = scope.setdefault("state", {})

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(state.get("headers", {}))
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class Head:
    """An app that answers HEAD wherever it answers GET: the same, without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the app does to GET."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        # The state is shared: it has the headers of the answer.
        await self._app({**scope, "method": "GET"}, receive, send_without_body)


def with_headers(app: ASGIApp, cors_origins: Sequence[str]) -> ASGIApp:
    """The app with the headers of every answer, and with HEAD. Pages of the `cors_origins` may call it from browsers.

    A page sends its credential in a header that it sets itself. The origin `*` lets no page use another one's: the only
    routes that read a cookie ask for a header that is not allowed here (`pages.py`).
    """
    app = Head(app)
    if cors_origins:
        app = CORSMiddleware(
            app,
            allow_origins=cors_origins,
            allow_methods=["GET", "HEAD", "POST", "PATCH", "DELETE"],
            allow_headers=[*READ_HEADERS, *PASSED_OVER_HEADERS],
            expose_headers=["Preference-Applied", "RateLimit", "RateLimit-Policy", "Retry-After"],
            max_age=3600,
        )
    return Headers(app)
