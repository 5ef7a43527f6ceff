from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from rollcall.access.api_keys import ApiKeys
from rollcall.core.limits import Limit
from rollcall.core.projects import Project
from rollcall.http.app import serve
from rollcall.http.services import provide
from rollcall.questions.asking import Asking
from rollcall.questions.question import Answer, ArchiveQuestion, Told
from rollcall.stack.dynamo import Dynamo
from tests.integration.conftest import WholeApi
from tests.support import LAMBDA_CONTEXT, assert_problem, sample_event

ORIGIN = "https://app.example.com"
LOCAL_ORIGIN = "http://localhost:5173"
ORIGINS = (ORIGIN, LOCAL_ORIGIN)
STRANGERS = [
    "https://evil.example",
    "https://app.example.com.evil.example",
    "https://evil-app.example.com",
    "https://app.example.com:8443",
    "http://app.example.com",
    "HTTPS://app.example.com/",
    "null",
]
ANY = ("*",)


@pytest.fixture
def client_for(whole_api: WholeApi) -> Callable[[Sequence[str]], TestClient]:
    """Makes a client of the API for pages of some origins."""

    def make(origins: Sequence[str]) -> TestClient:
        return TestClient(WholeApi(whole_api.apps, origins), raise_server_exceptions=False)

    return make


class FailingAsking(Asking):
    def __init__(self) -> None:
        pass

    def ask(self, project: Project, question: ArchiveQuestion[Answer], segment: Sequence[str] = ()) -> Told[Answer]:
        raise RuntimeError("hunter2 is wrong")


def preflight(origin: str, method: str = "POST", headers: str = "") -> dict[str, str]:
    """What a browser sends before a request that a form could not make."""
    asked = {"Origin": origin, "Access-Control-Request-Method": method}
    return {**asked, "Access-Control-Request-Headers": headers} if headers else asked


def cors_headers(response: Response) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name.startswith("access-control-")}


def listed(value: str) -> set[str]:
    return {each.strip().lower() for each in value.split(",")}


def every_answer(
    client: TestClient, whole_api: WholeApi, api_key: str, slow_key: str, origin: str
) -> dict[int, Response]:
    """An answer of each kind, by its status."""
    client.headers.update({"Origin": origin})
    provide(whole_api.apps["retention"], FailingAsking())
    good, slow = {"X-API-Key": api_key}, {"X-API-Key": slow_key}
    client.get("/keys", headers=slow)
    start = {"start_date": "2025-08-01"}
    answers = {
        200: client.get("/health"),
        202: client.post("/events", headers=good, json=[]),
        400: client.post("/events", headers=good, content=b"{"),
        401: client.get("/stats/dau"),
        404: client.get(f"/batches/{'0' * 32}", headers=good),
        405: client.delete("/health"),
        422: client.get("/stats/dau", headers=good),
        429: client.get("/keys", headers=slow),
        500: client.get("/stats/retention", headers=good, params=start),
    }
    assert {status: response.status_code for status, response in answers.items()} == {each: each for each in answers}
    return answers


@pytest.fixture
def slow_key(access_table: str, aws_clients: dict[str, Any]) -> str:
    keys = ApiKeys(Dynamo(aws_clients["dynamodb"]), access_table)
    return keys.create("slow", ["admin"], "http", Limit(0.001, 1))[1]


def test_without_origins_no_answer_says_anything_to_browsers(
    client_for: Callable[[Sequence[str]], TestClient], whole_api: WholeApi, api_key: str, slow_key: str
) -> None:
    answers = every_answer(client_for(()), whole_api, api_key, slow_key, ORIGIN)

    assert {status: cors_headers(response) for status, response in answers.items()} == {each: {} for each in answers}


@pytest.mark.parametrize("path", ["/events", "/stats/dau", "/stats/cohort", "/auth/login", "/keys", "/health"])
def test_without_origins_a_preflight_is_a_method_that_no_route_has(
    client_for: Callable[[Sequence[str]], TestClient], path: str
) -> None:
    response = client_for(()).options(path, headers=preflight(ORIGIN))

    assert_problem(response, 405, "method_not_allowed")
    assert cors_headers(response) == {}


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize(
    ("path", "method", "headers"),
    [
        ("/events", "POST", "authorization,content-type,idempotency-key,prefer,x-api-key"),
        ("/events", "POST", "X-API-Key"),
        ("/events", "POST", ""),
        ("/stats/dau", "GET", "Authorization"),
        ("/keys/0", "DELETE", "X-API-Key"),
        ("/auth/login", "POST", "content-type"),
        # Segment's, RudderStack's, Jitsu's, PostHog's and Snowplow's SDKs.
        ("/t", "POST", "authorization,x-retry-count"),
        ("/track", "POST", "anonymousid,authorization,content-type,sentat"),
        (
            "/identify",
            "POST",
            "anonymousid,authorization,content-type,rsa-retry-attempt,rsa-retry-reason,rsa-since-first-attempt,"
            "rsa-since-last-attempt,sentat",
        ),
        ("/api/s/track", "POST", "content-type,x-enable-debug,x-write-key"),
        ("/batch", "POST", "content-encoding,content-type"),
        (
            "/i/v1/analytics/events",
            "POST",
            "authorization,content-type,posthog-attempt,posthog-request-id,posthog-request-timestamp,posthog-sdk-info",
        ),
        ("/com.snowplowanalytics.snowplow/tp2", "POST", "content-type,sp-anonymous"),
    ],
)
def test_a_page_of_a_listed_origin_may_send_what_the_api_reads(
    client_for: Callable[[Sequence[str]], TestClient], origin: str, path: str, method: str, headers: str
) -> None:
    response = client_for(ORIGINS).options(path, headers=preflight(origin, method, headers))

    allowed = cors_headers(response)
    assert response.status_code == 200
    assert allowed["access-control-allow-origin"] == origin
    assert method.lower() in listed(allowed["access-control-allow-methods"])
    assert listed(headers) - {""} <= listed(allowed["access-control-allow-headers"])
    assert int(allowed["access-control-max-age"]) > 0
    assert "origin" in listed(response.headers["vary"])


@pytest.mark.parametrize("origin", STRANGERS)
def test_a_page_of_another_origin_is_not_let_in(
    client_for: Callable[[Sequence[str]], TestClient], api_key: str, origin: str
) -> None:
    client = client_for(ORIGINS)

    asked = client.options("/events", headers=preflight(origin, "POST", "x-api-key"))
    called = client.get("/keys", headers={"Origin": origin, "X-API-Key": api_key})

    assert asked.status_code == 400
    assert "access-control-allow-origin" not in asked.headers
    assert "access-control-allow-origin" not in called.headers


@pytest.mark.parametrize(("method", "headers"), [("PUT", ""), ("POST", "X-Other")])
def test_a_page_may_not_send_what_the_api_does_not_read(
    client_for: Callable[[Sequence[str]], TestClient], method: str, headers: str
) -> None:
    response = client_for(ORIGINS).options("/events", headers=preflight(ORIGIN, method, headers))

    assert response.status_code == 400


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [(ORIGINS, ORIGIN, ORIGIN), (ORIGINS, LOCAL_ORIGIN, LOCAL_ORIGIN), (ANY, ORIGIN, "*")],
)
def test_every_answer_may_be_read_by_the_page_with_what_it_says_of_the_limits(
    client_for: Callable[[Sequence[str]], TestClient],
    whole_api: WholeApi,
    api_key: str,
    slow_key: str,
    origins: Sequence[str],
    origin: str,
    allowed: str,
) -> None:
    answers = every_answer(client_for(origins), whole_api, api_key, slow_key, origin)

    for response in answers.values():
        found = cors_headers(response)
        assert found["access-control-allow-origin"] == allowed
        assert {"ratelimit", "ratelimit-policy", "retry-after"} <= listed(found["access-control-expose-headers"])
        assert "access-control-allow-credentials" not in found
    assert answers[429].headers["retry-after"]
    assert answers[422].headers["ratelimit"]


@pytest.mark.parametrize("origin", [ORIGIN, "https://evil.example", "null"])
def test_with_a_star_any_page_may_call_and_none_with_the_browsers_own_credentials(
    client_for: Callable[[Sequence[str]], TestClient], api_key: str, origin: str
) -> None:
    client = client_for(ANY)
    called = {"Origin": origin, "X-API-Key": api_key, "Cookie": "session=1"}

    asked = client.options("/keys", headers=preflight(origin, "GET", "x-api-key"))
    answered = client.get("/keys", headers=called)

    assert (asked.status_code, answered.status_code) == (200, 200)
    assert asked.headers["access-control-allow-origin"] == "*"
    for response in (asked, answered):
        assert response.headers["access-control-allow-origin"] in ("*", origin)
        assert "access-control-allow-credentials" not in response.headers


@pytest.mark.parametrize("path", ["/batch", "/i", "/api/s/track", "/nowhere", "/v1/batch/", "/i/v0/e"])
def test_a_page_may_read_what_an_sdk_is_answered_and_that_there_is_no_such_route(
    whole_api: WholeApi, path: str
) -> None:
    event = gateway_event("ingest", "POST", {"Origin": ORIGIN}) | {"path": path, "resource": "/{proxy+}"}
    del event["headers"]["X-API-Key"], event["multiValueHeaders"]["X-API-Key"]

    answer = serve(whole_api.apps["ingest"], ORIGINS, "")(event, LAMBDA_CONTEXT)

    assert answer["statusCode"] in (400, 401, 404)
    assert answered_headers(answer)["access-control-allow-origin"] == ORIGIN


def gateway_event(sample: str, method: str, headers: dict[str, str]) -> dict[str, Any]:
    """What API Gateway calls a function with."""
    event = sample_event(sample)
    event["httpMethod"] = event["requestContext"]["httpMethod"] = method
    event["headers"] |= headers
    event["multiValueHeaders"] |= {name: [value] for name, value in headers.items()}
    return event


def answered_headers(answer: dict[str, Any]) -> dict[str, str]:
    single = {name.lower(): value for name, value in (answer.get("headers") or {}).items()}
    several = {name.lower(): ", ".join(values) for name, values in (answer.get("multiValueHeaders") or {}).items()}
    return {**single, **several}


@pytest.mark.parametrize(("origin", "status", "allowed"), [(ORIGIN, 200, ORIGIN), ("https://evil.example", 400, None)])
def test_a_preflight_comes_through_api_gateway(
    whole_api: WholeApi, origin: str, status: int, allowed: str | None
) -> None:
    event = gateway_event("ingest", "OPTIONS", preflight(origin, "POST", "x-api-key,idempotency-key"))

    answer = serve(whole_api.apps["ingest"], ORIGINS)(event, LAMBDA_CONTEXT)

    assert answer["statusCode"] == status
    assert answered_headers(answer).get("access-control-allow-origin") == allowed


@pytest.mark.parametrize("function", ["auth", "ingest", "retention", "stats"])
@pytest.mark.parametrize(
    ("setting", "status", "allowed"), [(f"{LOCAL_ORIGIN}, {ORIGIN}", 200, ORIGIN), ("*", 200, "*"), ("", 405, None)]
)
def test_every_function_takes_its_origins_from_its_environment(
    load_handler: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    setting: str,
    status: int,
    allowed: str | None,
) -> None:
    monkeypatch.setenv("CORS_ORIGINS", setting)
    handler = load_handler(function).handler
    method = sample_event(function)["httpMethod"]

    asked = handler(gateway_event(function, "OPTIONS", preflight(ORIGIN, method, "x-api-key")), LAMBDA_CONTEXT)
    called = handler(gateway_event(function, method, {"Origin": ORIGIN}), LAMBDA_CONTEXT)

    assert (asked["statusCode"], called["statusCode"]) == (status, 401)
    for answer in (asked, called):
        assert answered_headers(answer).get("access-control-allow-origin") == allowed
