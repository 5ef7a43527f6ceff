"""The functions behind API Gateway, by the model in tests/gateway.py: what a client on AWS receives."""

import gzip
import json
import re
import warnings
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from types import ModuleType
from typing import Any

import httpx2
import pytest

from rollcall.http.document import describe
from rollcall.intake.bodies import MAX_EXPANDED_BYTES, MAX_SENT_BYTES
from rollcall.intake.dialects.registry import routes as sdk_routes
from scripts.api import Api, ApiError
from tests.gateway import MOST_PAYLOAD_BYTES, Answered, FunctionThrottled, Gateway, Handler
from tests.integration.conftest import Queue, load_module
from tests.support import BELOW_VERSION, SETTINGS, UNKNOWN, assert_problem, pass_over, queued, routes

ORIGIN = "https://app.example.com"
# What no answer may repeat.
SENT = "do-not-repeat-this"
CREDENTIALS: dict[str, dict[str, str]] = {
    "nobody": {},
    "bearer": {"Authorization": f"Bearer {SENT}"},
    "basic": {"Authorization": f"Basic {SENT}"},
    "bare": {"Authorization": SENT},
    "key": {"X-API-Key": SENT},
    "signature": {
        "Authorization": f"AWS4-HMAC-SHA256 Credential={SENT}/x, SignedHeaders=host, Signature={SENT}",
    },
}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

SAYS_4_MB = re.compile(r"\b(4194304 are|4 MB are) allowed")


@pytest.fixture
def gateway(load_handler: Callable[[str], ModuleType]) -> Gateway:
    """Before functions that have an AWS; they are loaded as they are asked for."""
    handlers: dict[str, Handler] = {}

    def load(function: str) -> Handler:
        if function not in handlers:
            handlers[function] = load_handler(function).handler
        return handlers[function]

    return Gateway(load, clock=lambda: 0.0)


@pytest.fixture(scope="module")
def loaded() -> Iterator[Callable[[str, str, str, str], Handler]]:
    """Loads handlers that reach no AWS, by the function and its CorsOrigins, Docs and IngestPrefix."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        nowhere = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}
        for name, value in (SETTINGS | nowhere).items():
            monkeypatch.setenv(name, value)

        @cache
        def load(function: str, origins: str, docs: str, prefix: str) -> Handler:
            monkeypatch.setenv("CORS_ORIGINS", origins)
            monkeypatch.setenv("DOCS", docs)
            monkeypatch.setenv("INGEST_PREFIX", prefix)
            handler: Handler = load_module(function).handler
            return handler

        yield load


@pytest.fixture
def offline(loaded: Callable[[str, str, str, str], Handler], event_loop_of_lambda: None) -> Callable[..., Gateway]:
    """Makes gateways before functions that reach no AWS."""
    # As a function does when it is loaded, which an earlier test may have done.
    warnings.filterwarnings("ignore", "No application metrics to publish")

    def make(origins: str = "", docs: str = "true", prefix: str = "") -> Gateway:
        # The tests send more than the stage lets through.
        limits = {"PublicBurst": "1000", "PageBurst": "1000", "ThrottlingBurst": "1000"}
        parameters = {"CorsOrigins": origins, "Docs": docs, "IngestPrefix": prefix, **limits}
        return Gateway(lambda function: loaded(function, origins, docs, prefix), parameters, lambda: 0.0)

    return make


def failing(error: Exception | None = None, answer: Any = None) -> Callable[[str], Handler]:
    """Functions that all fail in one way, or answer one thing."""

    def handler(_event: dict[str, Any], _context: Any) -> Any:
        if error:
            raise error
        return answer

    return lambda _function: handler


def events_of(size: int) -> bytes:
    """A body of so many bytes with one good event, which compresses well."""
    event = {"event_id": "e", "occurred_at": "2025-08-01T00:00:00Z", "user_id": "u", "event_type": "t"}
    body = json.dumps([event]).encode()
    return body + b" " * (size - len(body))


def post_events(gateway: Gateway, key: str, content: bytes, **headers: str) -> Answered:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return gateway.request("POST", "/events", {"X-API-Key": key, **named}, content)


# What is sent under a Content-Encoding.


def test_a_body_that_the_gateway_expands_is_taken_in_up_to_4_mb_expanded(
    gateway: Gateway, api_key: str, queue: Queue
) -> None:
    body = events_of(1_000)
    codings = {"gzip": gzip.compress(body), "GZIP": gzip.compress(body), "deflate": zlib.compress(body)}
    taken = [post_events(gateway, api_key, encoded, Content_Encoding=coding) for coding, encoded in codings.items()]
    sizes = (MAX_SENT_BYTES, MAX_SENT_BYTES + 1, 5 * 1024**2, 11 * 1024**2)
    largest, *refused = (
        post_events(gateway, api_key, gzip.compress(events_of(size), 1), Content_Encoding="gzip") for size in sizes
    )

    for answer in (*taken, largest):
        assert (answer.status_code, answer.json()["accepted"]) == (202, 1)
    for answer in refused:
        assert SAYS_4_MB.search(assert_problem(answer, 413, "too_large")["message"])
    assert {event.event_id for event in queued(queue.batches())} == {"e"}


def test_without_content_encoding_the_function_reads_a_body_as_it_was_sent(gateway: Gateway, api_key: str) -> None:
    bodies = [
        gzip.compress(events_of(MAX_EXPANDED_BYTES), 1),
        gzip.compress(events_of(MAX_EXPANDED_BYTES + 1), 1),
        gzip.compress(b"[]")[:-4],
    ]

    taken, large, damaged = (post_events(gateway, api_key, body) for body in bodies)

    assert taken.status_code == 202
    assert_problem(large, 413, "too_large")
    assert_problem(damaged, 400, "invalid_gzip")


def test_a_plain_body_over_the_limit_is_a_413_whoever_refuses_it(gateway: Gateway, api_key: str) -> None:
    for size in (MAX_SENT_BYTES + 1, 4_800_000, 11 * 1024**2):
        answer = post_events(gateway, api_key, events_of(size))

        assert SAYS_4_MB.search(assert_problem(answer, 413, "too_large")["message"]), size


def test_base64_leaves_room_for_every_body_that_a_function_takes() -> None:
    # Headers have at most 10,240 bytes, and are in the payload twice.
    overhead = 30_000

    assert 4 * MAX_SENT_BYTES / 3 + overhead < MOST_PAYLOAD_BYTES


@pytest.mark.parametrize(
    ("coding", "content"),
    [
        ("gzip", b"[]"),
        ("gzip", gzip.compress(b"[]")[:-4]),
        ("gzip", gzip.compress(b"[]")[:-8] + bytes(8)),
        ("deflate", b"[]"),
        ("br", b"[]"),
    ],
    ids=["not gzip", "ends early", "wrong sum", "not deflate", "unknown"],
)
def test_what_is_not_in_the_encoding_that_it_names_is_a_415(coding: str, content: bytes) -> None:
    answer = Gateway(failing()).request("POST", "/events", {"Content-Encoding": coding}, content)

    assert "Content-Encoding" in assert_problem(answer, 415, "invalid_encoding")["message"]


# What Lambda fails with.


def test_a_function_without_an_instance_left_is_a_503_that_says_when_to_try_again() -> None:
    answer = Gateway(failing(FunctionThrottled())).request("POST", "/events", {}, b"[]")

    assert_problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"].isdecimal()


@pytest.mark.parametrize(
    ("load", "status", "code"),
    [
        (failing(TimeoutError()), 504, "too_slow"),
        (failing(MemoryError(SENT)), 502, "internal_error"),
        (failing(answer="text"), 502, "internal_error"),
        (failing(answer={"statusCode": "200"}), 502, "internal_error"),
        (failing(answer={"statusCode": 200, "body": "x" * MOST_PAYLOAD_BYTES}), 502, "internal_error"),
    ],
    ids=["slow", "dead", "no object", "no status", "too large"],
)
def test_a_function_that_fails_is_a_problem(load: Callable[[str], Handler], status: int, code: str) -> None:
    answer = Gateway(load).request("GET", "/health")

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert SENT not in answer.text


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_the_command_line_tries_again_what_api_gateway_answers_while_lambda_cannot(status: int) -> None:
    answers = [httpx2.Response(status), httpx2.Response(200, json={"status": "ok"})]
    pauses: list[float] = []
    transport = httpx2.MockTransport(lambda _request: answers.pop(0))

    answer = Api("http://stack", None, sleep=pauses.append, transport=transport).get("/health")

    assert (answer, answers, len(pauses)) == ({"status": "ok"}, [], 1)
    assert pauses[0] > 0


def test_the_command_line_passes_the_gateway_s_throttling_on_where_it_lasts() -> None:
    gateway = Gateway(failing(FunctionThrottled()))

    def send(request: httpx2.Request) -> httpx2.Response:
        answer = gateway.request(request.method, request.url.path)
        return httpx2.Response(answer.status_code, headers=answer.headers, content=answer.content)

    transport = httpx2.MockTransport(send)
    with pytest.raises(ApiError, match=r"answers 503: .*try again"):
        Api("http://stack", None, patience=1, sleep=pass_over, transport=transport).get("/health")


# Routes that are not there, and methods.


@pytest.mark.parametrize("headers", CREDENTIALS.values(), ids=CREDENTIALS)
def test_an_unknown_route_is_a_404_of_one_text_whatever_credential_comes_with_it(
    offline: Callable[..., Gateway], headers: dict[str, str]
) -> None:
    gateway = offline()
    for path in ("/nowhere", "/stats/nothing/at/all", "/auth", f"/{SENT}"):
        answers = {method: gateway.request(method, path, headers) for method in METHODS}

        assert answers.pop("HEAD").content == b""
        assert len({answer.content for answer in answers.values()}) == 1
        for answer in answers.values():
            assert_problem(answer, 404, "not_found")
            assert SENT not in answer.text + str(answer.headers)


def test_a_method_that_a_route_does_not_take_is_a_404_or_405_and_a_problem(offline: Callable[..., Gateway]) -> None:
    gateway = offline()
    # API Gateway leaves it to the function which methods the SDKs' routes have.
    taken = {(path, method) for path, methods in sdk_routes().items() for method in methods}
    # And which those have that share, and make codes.
    taken |= {(path, method.upper()) for path, item in describe()["paths"].items() for method in item}
    taken |= {(path, "HEAD") for path, method in taken if method == "GET"}
    taken |= {(path, method.upper()) for path, method in routes() if path not in (UNKNOWN, BELOW_VERSION)}
    paths = {path for path, _ in taken}
    others = [(path, method) for path in paths for method in METHODS if (path, method) not in taken]

    answers = {
        (path, method): gateway.request(method, path, {"Authorization": f"Bearer {SENT}"}) for path, method in others
    }

    assert len(answers) > len(paths)
    for place, answer in answers.items():
        assert answer.status_code in (404, 405), place
        assert answer.headers["content-type"] == "application/problem+json", place
        assert SENT not in answer.text
    codes = {answer.json()["code"] for (_, method), answer in answers.items() if method != "HEAD"}
    assert codes == {"not_found", "method_not_allowed"}


# Further paths of the routes that take in events.


@pytest.mark.parametrize("before", ["", "/v1", "/t9", "/t9/v1"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_what_takes_in_events_is_below_the_prefix_and_the_version_too(
    offline: Callable[..., Gateway], before: str, slash: str
) -> None:
    gateway = offline(prefix="/t9")
    sdks = [(path, method) for path, methods in sdk_routes().items() for method in methods]

    for route, method in [("/events", "POST"), *sdks]:
        path, body = route.replace("{type}", "track"), b"{}" if method == "POST" else b""
        sent = f"{before}{path}{slash}"
        answer, here = (gateway.request(method, each, {}, body) for each in (sent, path))

        # Only who has found the route is asked for a key, or told what the body lacks.
        assert (answer.status_code in (400, 401), answer.content) == (True, here.content), sent


@pytest.mark.parametrize(
    "path",
    [
        *("/t9", "/t9/", "/v1", "/v1/", "/t9/v1", "/t9/nowhere", "/v1/nowhere", "/t9/t9/events", "/v1/v1/events"),
        *("/t9/stats/dau", "/v1/stats/dau", "/t9/keys", "/v1/keys", "/t9/auth/login", "/t9/health", "/v1/docs"),
    ],
)
def test_what_takes_in_no_events_is_not_below_the_prefix_or_the_version(
    offline: Callable[..., Gateway], path: str
) -> None:
    gateway = offline(prefix="/t9")

    for method in METHODS:
        answer = gateway.request(method, path, {"X-API-Key": SENT, "Authorization": f"Bearer {SENT}"})

        assert answer.status_code == 404, method
        assert answer.headers["content-type"] == "application/problem+json"
        assert method == "HEAD" or answer.json()["code"] == "not_found"


def test_without_a_prefix_there_is_nothing_below_it(offline: Callable[..., Gateway]) -> None:
    assert_problem(offline().request("POST", "/t9/events", {}, b"[]"), 404, "not_found")
    assert offline().request("POST", "/v1/events", {}, b"[]").status_code == 401


def test_below_the_prefix_the_stage_lets_through_as_much_as_to_other_routes_and_without_one_little() -> None:
    limits = {"PublicBurst": "2", "ThrottlingBurst": "5"}
    answering = failing(answer={"statusCode": 204})

    def through(prefix: str, method: str, path: str) -> int:
        return let_through(Gateway(answering, {**limits, "IngestPrefix": prefix}, lambda: 0.0), method, path)

    assert [through("/t9", method, "/t9/batch") for method in ("POST", "GET", "OPTIONS")] == [5, 5, 5]
    assert [through("", method, "/t9/batch") for method in ("POST", "GET", "OPTIONS")] == [2, 2, 2]
    assert [through("/t9", method, "/t9/batch") for method in ("PUT", "HEAD", "DELETE", "PATCH")] == [2, 2, 2, 2]
    for prefix in ("", "/t9"):
        assert [through(prefix, "POST", path) for path in ("/v1/batch", "/batch", "/batch/", "/events")] == [5, 5, 5, 5]


def test_the_log_names_the_route_whatever_path_a_request_came_by_and_nothing_else_of_the_path(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INGEST_PREFIX", "/t9")
    monkeypatch.setenv("CORS_ORIGINS", ORIGIN)
    preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}

    gateway.request("POST", f"/t9/api/s/{SENT}/", {}, b"{}")
    gateway.request("OPTIONS", f"/t9/api/s/{SENT}", preflight)
    gateway.request("POST", "/v1/events/", {}, b"[]")
    gateway.request("POST", f"/t9/{SENT}", {}, b"{}")
    gateway.request("GET", f"/v1/imports/{SENT}")
    gateway.request("PUT", "/t9/batch")

    logged = capsys.readouterr().out
    lines = [line for line in map(json.loads, logged.splitlines()) if line.get("message") == "request answered"]
    assert [(line["method"], line["route"], line["status"]) for line in lines] == [
        ("POST", "/api/s/{type}", 401),
        ("OPTIONS", "/{proxy+}", 200),
        ("POST", "/events", 401),
        ("POST", "/{proxy+}", 404),
        ("GET", "/imports/{import_id}", 401),
        ("PUT", "/batch", 405),
    ]
    assert SENT not in logged


def test_no_text_of_the_gateway_s_own_repeats_what_the_caller_sent() -> None:
    # Methods that nothing takes: the gateway answers by itself.
    gateway = Gateway(failing())

    for headers in CREDENTIALS.values():
        answer = gateway.request("POST", "/", headers)

        assert_problem(answer, 404, "not_found")
        assert SENT not in answer.text


def test_head_is_answered_as_get_without_the_body(gateway: Gateway, api_key: str) -> None:
    paths = {path for path, method in routes() if method == "get" and path not in (UNKNOWN, "/healthz")}
    named = ("/batches/none", "/imports/none", "/keys", "/stats/dau", "/stats/retention")
    requests: list[tuple[str, dict[str, str]]] = [(path.replace("{asset}", "swagger-ui.css"), {}) for path in paths]
    requests += [(path, {"X-API-Key": api_key}) for path in named]
    statuses = set()

    for path, headers in requests:
        got, asked = gateway.request("GET", path, headers), gateway.request("HEAD", path, headers)

        statuses.add(got.status_code)
        assert (asked.status_code, asked.content) == (got.status_code, b""), path
        assert got.content
        for name in ("content-type", "cache-control", "content-security-policy"):
            assert asked.headers[name] == got.headers[name], path
    assert statuses == {200, 401, 404, 422}


# Pages of other origins.


def gateway_answers(make: Callable[[Callable[[str], Handler]], Gateway]) -> dict[str, Answered]:
    """An answer of each kind that the gateway gives without a function."""
    answers = {
        "throttled function": make(failing(FunctionThrottled())).request("GET", "/health", {"Origin": ORIGIN}),
        "dead function": make(failing(MemoryError())).request("GET", "/health", {"Origin": ORIGIN}),
        "slow function": make(failing(TimeoutError())).request("GET", "/health", {"Origin": ORIGIN}),
        "large body": make(failing()).request("POST", "/events", {"Origin": ORIGIN}, bytes(11 * 1024**2)),
        "bad encoding": make(failing()).request("POST", "/events", {"Origin": ORIGIN, "Content-Encoding": "br"}),
        "root": make(failing()).request("POST", "/", {"Origin": ORIGIN}),
        "root with a token": make(failing()).request("POST", "/", {"Origin": ORIGIN, "Authorization": "Bearer x"}),
    }
    busy = make(failing(answer={"statusCode": 204}))
    while (answer := busy.request("GET", "/health", {"Origin": ORIGIN})).status_code == 204:
        pass
    return {**answers, "throttled": answer}


@pytest.mark.parametrize("origins", [ORIGIN, f"https://other.example, {ORIGIN}", "*"])
def test_where_pages_may_call_they_may_read_what_the_gateway_answers(origins: str) -> None:
    answers = gateway_answers(lambda load: Gateway(load, {"CorsOrigins": origins}, lambda: 0.0))

    for kind, answer in answers.items():
        assert answer.headers["access-control-allow-origin"] == "*", kind
        assert answer.headers["access-control-expose-headers"] == "Retry-After", kind
        assert "access-control-allow-credentials" not in answer.headers
        # So that every page may read it, it is the same for every caller.
        assert ORIGIN not in answer.text


def test_where_no_page_may_call_the_gateway_says_nothing_to_browsers() -> None:
    answers = gateway_answers(lambda load: Gateway(load, {}, lambda: 0.0))

    for kind, answer in answers.items():
        assert answer.status_code >= 400, kind
        assert not [name for name in answer.headers if name.startswith("access-control-")], kind


def test_a_page_may_ask_by_head(offline: Callable[..., Gateway]) -> None:
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "HEAD", "Access-Control-Request-Headers": "x-api-key"}

    answer = offline(ORIGIN).request("OPTIONS", "/stats/dau", asked)

    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN


# Throttling by the stage.


def let_through(gateway: Gateway, method: str, path: str, most: int = 20) -> int:
    """How many requests at once are not a 429, up to `most`."""
    statuses = [gateway.request(method, path).status_code for _ in range(most)]
    return sum(status != 429 for status in statuses)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/docs"),
        ("GET", "/docs/swagger-ui-bundle.js"),
        ("GET", "/openapi.json"),
        ("HEAD", "/health"),
        ("GET", "/healthz"),
        ("POST", "/auth/login"),
        ("POST", "/auth/refresh"),
        ("OPTIONS", "/auth/login"),
        ("GET", "/nowhere"),
        ("PUT", "/events"),
    ],
)
def test_what_asks_for_no_key_has_a_low_limit_of_its_own(method: str, path: str) -> None:
    gateway = Gateway(failing(answer={"statusCode": 204}), {"PublicBurst": "2", "ThrottlingBurst": "5"}, lambda: 0.0)

    assert let_through(gateway, method, path) == 2
    assert let_through(gateway, "POST", "/events") == 5
    refused = gateway.request(method, path)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")


def test_the_limits_of_the_stage_are_for_each_method_of_each_route() -> None:
    parameters = {"ThrottlingBurst": "3", "ThrottlingRate": "1"}
    now = [0.0]
    gateway = Gateway(failing(answer={"statusCode": 204}), parameters, lambda: now[0])

    assert [let_through(gateway, *place) for place in (("GET", "/stats/dau"), ("GET", "/keys"), ("POST", "/keys"))] == [
        3,
        3,
        3,
    ]
    now[0] = 2.0
    assert let_through(gateway, "GET", "/keys") == 2


# What is sent back.


def test_a_large_answer_is_compressed_for_who_asks_for_it(offline: Callable[..., Gateway]) -> None:
    gateway, script = offline(), "/docs/swagger-ui-bundle.js"

    plain = gateway.request("GET", script)
    compressed = gateway.request("GET", script, {"Accept-Encoding": "gzip, deflate, br"})
    small = gateway.request("GET", "/health", {"Accept-Encoding": "gzip"})

    assert compressed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(compressed.content) == plain.content
    assert len(compressed.content) < len(plain.content) / 2
    assert "content-encoding" not in plain.headers
    assert "content-encoding" not in small.headers


def test_what_the_page_loads_is_kept_for_a_year(offline: Callable[..., Gateway]) -> None:
    gateway = offline()
    page = gateway.request("GET", "/docs")
    names = re.findall(r"docs/[\w.-]+\.(?:js|css|png)", page.text)

    kept = [gateway.request("GET", f"/{name}") for name in names]

    assert page.headers["cache-control"] == "no-store"
    assert [answer.status_code for answer in kept] == [200, 200, 200]
    assert {answer.headers["cache-control"] for answer in kept} == {"public, max-age=31536000, immutable"}


def test_without_docs_the_documentation_is_an_unknown_route(offline: Callable[..., Gateway]) -> None:
    gateway = offline(docs="false")

    answers = [gateway.request("GET", path) for path in ("/docs", "/docs/swagger-ui.css", "/openapi.json", "/nowhere")]

    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1


def test_the_challenge_of_a_401_comes_under_another_name(offline: Callable[..., Gateway]) -> None:
    answer = offline().request("GET", "/keys")

    assert answer.status_code == 401
    assert answer.headers["x-amzn-remapped-www-authenticate"] == "Bearer"
