import asyncio
import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from scripts.local.front import Api, front
from scripts.local.guard import Guard, Message, Part, Receive, Scope, Send

PORT = 4566
HOST = ("host", "127.0.0.1:4566")
FIREFOX = ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:89.0) Gecko/20100101 Firefox/89.0")
BOTO3 = ("User-Agent", "Boto3/1.43.106 md/Botocore#1.43.106")
Headers = Sequence[tuple[str, str]]


class Recorded:
    """An app, or a part of one, that answers everything it is asked."""

    def __init__(self, paths: Iterable[str] = ()) -> None:
        self.asked: list[Scope] = []
        self._paths = paths

    async def takes(self, scope: Scope) -> bool:
        return scope["path"] in self._paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def ask(guard: Guard, headers: Headers, kind: str = "http", path: str = "/2015-03-31/functions") -> list[Message]:
    """What the guard sends in answer to a request."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": kind, "method": "POST", "path": path, "query_string": b""}
    scope["headers"] = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    asyncio.run(guard(scope, receive, send))
    return sent


FOREIGN_HOSTS: dict[str, Headers] = {
    "another name": [("host", "evil.example:4566")],
    "a name that resolves to this machine": [("host", "localtest.example:4566")],
    "a name below localhost": [("host", "bucket.s3.localhost:4566")],
    "a name that begins like this machine's": [("host", "127.0.0.1.evil.example:4566")],
    "a name that ends like this machine's": [("host", "evil-localhost:4566")],
    "this machine's name with a dot": [("host", "localhost.:4566")],
    "another port": [("host", "127.0.0.1:3000")],
    "no port": [("host", "127.0.0.1")],
    "another spelling of the port": [("host", "127.0.0.1:04566")],
    "another address of this machine": [("host", "0.0.0.0:4566")],
    "another spelling of the address": [("host", "2130706433:4566")],
    "a user": [("host", "127.0.0.1:4566@evil.example")],
    "nothing": [("host", "")],
    "none": [],
    "this machine's and another one": [HOST, ("host", "evil.example:4566")],
    "this machine's twice": [HOST, HOST],
}
FOREIGN_PAGES: dict[str, Headers] = {
    "another origin": [("origin", "https://evil.example")],
    "another scheme": [("origin", "https://127.0.0.1:4566")],
    "another port of this machine": [("origin", "http://localhost:3000")],
    "an origin that begins like its own": [("origin", "http://127.0.0.1:4566.evil.example")],
    "an origin with a path": [("origin", "http://127.0.0.1:4566/")],
    "an origin that is kept secret": [("origin", "null")],
    "an empty origin": [("origin", "")],
    "its own origin and another one": [("origin", "http://127.0.0.1:4566"), ("origin", "https://evil.example")],
    "its own origin twice": [("origin", "http://127.0.0.1:4566"), ("origin", "http://127.0.0.1:4566")],
    "its own origin, from another site": [("origin", "http://127.0.0.1:4566"), ("sec-fetch-site", "cross-site")],
    "an image of another site": [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")],
    "an image of another port": [("sec-fetch-site", "same-site")],
    "an unknown site": [("sec-fetch-site", "elsewhere")],
    "two sites": [("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")],
    "an image in a browser that does not tell the site": [FIREFOX],
    "a form": [("origin", "https://evil.example"), ("content-type", "text/plain")],
}
OWN: dict[str, Headers] = {
    "an SDK": [HOST, BOTO3],
    "curl": [HOST, ("User-Agent", "curl/8.5.0")],
    "nobody in particular": [HOST],
    "localhost": [("HOST", "localhost:4566")],
    "capitals": [("Host", "LocalHost:4566")],
    "the address of IPv6": [("host", "[::1]:4566")],
    "the user, in a browser": [HOST, FIREFOX, ("Sec-Fetch-Site", "none")],
    "a page of its own": [HOST, FIREFOX, ("Origin", "http://127.0.0.1:4566"), ("Sec-Fetch-Site", "same-origin")],
    "a page of its own in an old browser": [HOST, FIREFOX, ("origin", "http://127.0.0.1:4566")],
}


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    "headers",
    [*FOREIGN_HOSTS.values(), *([HOST, *headers] for headers in FOREIGN_PAGES.values())],
    ids=[*FOREIGN_HOSTS, *FOREIGN_PAGES],
)
def test_a_request_of_a_foreign_page_or_for_a_foreign_host_is_refused(headers: Headers, kind: str) -> None:
    app = Recorded()
    answered = ask(Guard(app, PORT), headers, kind)
    assert app.asked == []
    if kind == "websocket":
        assert [message["type"] for message in answered] == ["websocket.close"]
    else:
        start, body = answered
        assert start["status"] == 403
        assert not [name for name, _ in start["headers"] if name.startswith(b"access-control-")]
        # Why, and nothing of what was sent.
        assert "evil" not in json.loads(body["body"])["message"]


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize("headers", OWN.values(), ids=OWN)
def test_a_request_of_this_machine_is_passed_on_as_it_is(headers: Headers, kind: str) -> None:
    app = Recorded()
    ask(Guard(app, PORT), headers, kind)
    assert [scope["headers"] for scope in app.asked] == [[(a.encode(), b.encode()) for a, b in headers]]


@pytest.mark.parametrize("path", ["http://evil.example/2015-03-31/functions", "*", ""])
def test_a_target_that_is_not_a_path_is_refused(path: str) -> None:
    app = Recorded()
    assert ask(Guard(app, PORT), [HOST], path=path)[0]["status"] == 403
    assert app.asked == []


def test_port_80_may_be_left_out() -> None:
    app = Recorded()
    guard = Guard(app, 80)
    ask(guard, [("host", "localhost"), ("origin", "http://localhost")])
    ask(guard, [("host", "localhost:80")])
    assert len(app.asked) == 2


@pytest.mark.parametrize("headers", FOREIGN_PAGES.values(), ids=FOREIGN_PAGES)
def test_a_part_with_its_own_rules_is_asked_whatever_page_asks(headers: Headers) -> None:
    app, part = Recorded(), Recorded(["/v1/events"])
    parts: list[Part] = [part]
    ask(Guard(app, PORT, parts), [HOST, *headers], path="/v1/events")
    ask(Guard(app, PORT, parts), [HOST, *headers], path="/v2/events")
    assert (app.asked, [scope["path"] for scope in part.asked]) == ([], ["/v1/events"])


@pytest.mark.parametrize("headers", FOREIGN_HOSTS.values(), ids=FOREIGN_HOSTS)
def test_a_part_with_its_own_rules_is_not_asked_for_a_foreign_host(headers: Headers) -> None:
    part = Recorded(["/v1/events"])
    assert ask(Guard(Recorded(), PORT, [part]), headers, path="/v1/events")[0]["status"] == 403
    assert part.asked == []


def test_the_start_and_the_end_of_the_server_are_passed_on() -> None:
    app = Recorded()
    scope: dict[str, Any] = {"type": "lifespan"}

    async def nothing(*_: Any) -> Any:
        return None

    asyncio.run(Guard(app, PORT)(scope, nothing, nothing))
    assert app.asked == [scope]


def test_without_a_stack_the_api_says_that_there_is_none() -> None:
    emulator = Recorded()
    for path in ("/v1", "/v1/events"):
        start, body = ask(front(emulator, PORT, "no-stack"), [HOST, *FOREIGN_PAGES["a form"]], path=path)
        assert (start["status"], "no-stack" in json.loads(body["body"])["message"]) == (404, True)
    assert emulator.asked == []


@pytest.mark.parametrize(
    ("sent", "passed_on"),
    [
        ([], [b"application/octet-stream"]),
        ([("Content-Type", "text/plain;charset=UTF-8")], [b"text/plain;charset=UTF-8"]),
    ],
    ids=["none", "text"],
)
def test_a_beacon_s_body_without_a_type_is_passed_on_as_bytes(
    monkeypatch: pytest.MonkeyPatch, sent: Headers, passed_on: list[bytes]
) -> None:
    async def found(_api: Api) -> str:
        return "api-id"

    monkeypatch.setattr(Api, "_id", found)
    emulator = Recorded()

    page = [HOST, FIREFOX, ("Origin", "https://app.example"), ("Sec-Fetch-Site", "cross-site")]
    ask(front(emulator, PORT, "stack"), [*page, *sent], path="/v1/t9/batch/")

    (asked,) = emulator.asked
    assert asked["path"] == "/_aws/execute-api/api-id/v1/t9/batch/"
    assert [value for name, value in asked["headers"] if name.lower() == b"content-type"] == passed_on


@pytest.mark.parametrize(
    ("method", "path", "patience", "most_at_once"),
    [
        ("GET", "/v1/stats/dau", 60, 1),
        # A question that takes longer than a function takes to start does not hold the others up.
        ("GET", "/v1/stats/dau", 0, 3),
        ("GET", "/v1/assets/0/main.js", 0, 1),
        ("POST", "/v1/events", 60, 3),
    ],
    ids=["questions", "long questions", "the page's files", "events"],
)
def test_what_a_process_of_a_function_can_answer_soon_does_not_start_another_one(
    monkeypatch: pytest.MonkeyPatch, method: str, path: str, patience: float, most_at_once: int
) -> None:
    asked, answered, at_once = 0, 0, []

    async def emulator(_scope: Scope, _receive: Receive, _send: Send) -> None:
        nonlocal asked, answered
        asked += 1
        at_once.append(asked - answered)
        # All that can come have come after some turns of the loop.
        for _ in range(100):
            await asyncio.sleep(0)
        answered += 1

    async def found(_api: Api) -> str:
        return "api-id"

    async def nothing(*_: Any) -> Any:
        return None

    async def ask_three() -> None:
        api = Api(emulator, "stack")
        scope = {"type": "http", "method": method, "path": path, "headers": []}
        await asyncio.gather(*(api(scope, nothing, nothing) for _ in range(3)))

    monkeypatch.setattr(Api, "_id", found)
    monkeypatch.setattr("scripts.local.front.PATIENCE_SECONDS", patience)
    asyncio.run(ask_three())

    assert (asked, answered, max(at_once)) == (3, 3, most_at_once)
