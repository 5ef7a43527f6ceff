"""What stands before MiniStack, in its process: the guard against web pages, and the API at `/v1`, as on AWS."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from urllib.parse import parse_qs, quote

from scripts.local.guard import App, Guard, Message, Receive, Scope, Send, answer, encoded, headers_of, say, values

STAGE = "v1"
# The resource's name in template.yaml.
API = "Api"
# The two forms of MiniStack, and the short one. No bucket can be named v1: names of buckets have three letters or more.
PATHS = re.compile(
    rf"/(?:_aws/execute-api/(?P<api>[^/]+)/{STAGE}|restapis/(?P<rest_api>[^/]+)/{STAGE}/_user_request_|{STAGE})"
    r"(?P<path>/.*)?",
    re.DOTALL,
)

# The page and its files, below the stage.
PAGE = re.compile(r"/(assets/.*)?")
# About what a process of a function takes to start.
PATIENCE_SECONDS = 1.0


def front(emulator: App, port: int, stack: str) -> Guard:
    """MiniStack's app behind the guard. `stack` names the stack whose API is at `/v1`."""
    return Guard(emulator, port, [Api(emulator, stack), Uploads(emulator)])


class Api:
    """The API of a stack. It has its own rules about pages, the parameter `CorsOrigins`."""

    def __init__(self, emulator: App, stack: str) -> None:
        self._emulator = emulator
        self._stack = stack
        # MiniStack starts a process for each request that finds the others busy. That takes longer than to answer all
        # files of the page, or some questions, one by one.
        self._page, self._questions = asyncio.Lock(), asyncio.Lock()

    async def takes(self, scope: Scope) -> bool:
        """Whether a request is for the API, at `/v1` or by MiniStack's own paths."""
        found = PATHS.fullmatch(scope["path"]) if scope["type"] == "http" else None
        if found is None:
            return False
        named = found["api"] or found["rest_api"]
        return named is None or named == await self._id()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the deployed API."""
        found, api = PATHS.fullmatch(scope["path"]), await self._id()
        if found is None or api is None:
            await say(send, 404, f"There is no stack {self._stack} with an API here yet.")
        else:
            path = f"/_aws/execute-api/{api}/{STAGE}{found['path'] or ''}"
            onward = {**scope, "path": path, "raw_path": quote(path).encode(), "headers": _typed(scope["headers"])}
            async with self._turn(scope["method"], found["path"] or "/"):
                await self._emulator(onward, receive, send)

    @asynccontextmanager
    async def _turn(self, method: str, path: str) -> AsyncIterator[None]:
        """Wait for the requests of the same kind that came before, but for long questions no longer than it pays."""
        if PAGE.fullmatch(path):
            lock, patience = self._page, None
        elif method == "GET":
            lock, patience = self._questions, PATIENCE_SECONDS
        else:
            yield
            return
        held = False
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                held = await lock.acquire()
        try:
            yield
        finally:
            if held:
                lock.release()

    async def _id(self) -> str | None:
        """The id of the API. Asked for each time, because a stack may be deleted and made again."""
        # Whoever makes a stack, or starts with one, has it loaded, which takes seconds.
        cloudformation = sys.modules.get("ministack.services.cloudformation")
        if cloudformation is None:
            return None
        asked = {"Action": ["DescribeStackResource"], "StackName": [self._stack], "LogicalResourceId": [API]}
        _, _, body = await cloudformation.handle_request("POST", "/", {}, b"", asked)
        found = re.search(r"<PhysicalResourceId>([^<]+)<", body if isinstance(body, str) else body.decode())
        return found[1] if found else None


def _typed(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Headers with a type of the body. Beacons of pages have none, and MiniStack reads such a body as text."""
    typed = list(headers)
    if not any(name.lower() == b"content-type" for name, _ in typed):
        typed.append((b"content-type", b"application/octet-stream"))
    return typed


class Uploads:
    """Presigned URLs of objects, for the pages that the bucket's own CORS rules let in."""

    def __init__(self, emulator: App) -> None:
        self._emulator = emulator

    async def takes(self, scope: Scope) -> bool:
        """Whether a page may send a request to a presigned URL, by the rules of the bucket."""
        return scope["type"] == "http" and self._allowed(scope) is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and let the page read what the rules say; MiniStack would let in all pages."""
        allowed = self._allowed(scope) or {}
        if scope["method"] == "OPTIONS":
            await answer(send, 200, allowed, b"")
            return

        async def send_with_rules(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [(name, value) for name, value in message["headers"] if not name.lower().startswith(b"access-")]
                message = {**message, "headers": [*kept, *encoded(allowed.items())]}
            await send(message)

        await self._emulator(scope, receive, send_with_rules)

    def _allowed(self, scope: Scope) -> Mapping[str, str] | None:
        """The headers of the answer, by the bucket's rules; None if they do not let the page in, or there is none."""
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        headers, path = {name.lower(): value for name, value in headers_of(scope)}, scope["path"]
        if "X-Amz-Signature" not in query or len(values(headers_of(scope), "origin")) != 1:
            return None
        from ministack.core.router import detect_service
        from ministack.services import s3

        if detect_service(scope["method"], path, headers, query) != "s3":
            return None
        bucket, _, key = path.removeprefix("/").partition("/")
        if scope["method"] != "OPTIONS":
            found: Mapping[str, str] = s3.cors_response_headers(bucket, scope["method"], headers)
            return found or None
        status, preflight, _ = s3.cors_preflight(bucket, key, headers)
        return preflight if status == 200 else None
