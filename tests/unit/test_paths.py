import asyncio
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from rollcall.http.paths import Paths, own_path


@pytest.mark.parametrize(
    "path",
    [
        "/events",
        "/events/",
        "/v1/events",
        "/v1/events/",
        "/t9/events",
        "/t9/events/",
        "/t9/v1/events",
        "/t9/v1/events/",
    ],
)
def test_a_route_is_found_below_the_prefix_and_the_version_with_and_without_a_slash_at_its_end(path: str) -> None:
    assert own_path(path, "/t9") == "/events"


@pytest.mark.parametrize(
    ("path", "own"),
    [
        ("/", "/"),
        ("/v1", "/"),
        ("/v1/", "/"),
        ("/t9", "/"),
        ("/t9/v1/", "/"),
        ("/v1/v1/events", "/v1/events"),
        ("/t9/t9/events", "/t9/events"),
        ("/v1/t9/events", "/t9/events"),
        ("/t90/events", "/t90/events"),
        ("/v10/events", "/v10/events"),
        ("/events/t9", "/events/t9"),
        ("/events//", "/events/"),
        ("/i/v1/analytics/events", "/i/v1/analytics/events"),
    ],
)
def test_no_more_is_taken_away_than_one_prefix_one_version_and_one_slash(path: str, own: str) -> None:
    assert own_path(path, "/t9") == own


def test_without_a_prefix_nothing_but_the_version_and_the_slash_is_taken_away() -> None:
    assert own_path("/v1/events/", "") == "/events"
    assert own_path("/t9/events", "") == "/t9/events"


segments = st.lists(st.text("abv19", min_size=1, max_size=3), min_size=1, max_size=4)


@given(segments.filter(lambda parts: parts[0] not in ("v1", "t9")), st.booleans(), st.booleans(), st.booleans())
def test_whatever_route_there_is_is_found_by_its_further_paths(
    parts: list[str], prefixed: bool, versioned: bool, slashed: bool
) -> None:
    path = "/" + "/".join(parts)

    further = f"{'/t9' * prefixed}{'/v1' * versioned}{path}{'/' * slashed}"

    assert own_path(further, "/t9") == path


def answered(paths: Paths, path: str, method: str = "GET") -> int:
    """The status of the answer to a request."""
    statuses = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": []}
    asyncio.run(paths(scope, receive, send))
    (status,) = statuses
    return int(status)


@pytest.fixture
def app() -> FastAPI:
    app = FastAPI(openapi_url=None, redirect_slashes=False)

    @app.get("/keys/{key_id}")
    def key(key_id: str) -> str:
        return key_id

    return app


def test_a_route_that_took_a_request_is_known_by_its_own_path_and_none_is_known_of_other_requests(app: FastAPI) -> None:
    paths = Paths(app, "/t9")

    assert (answered(paths, "/t9/v1/keys/secret/"), paths.route) == (200, "/keys/{key_id}")
    assert (answered(paths, "/nowhere/secret"), paths.route) == (404, None)
    assert (answered(paths, "/keys/secret"), paths.route) == (200, "/keys/{key_id}")


def test_without_further_paths_a_route_is_at_its_own_path_alone(app: FastAPI) -> None:
    paths = Paths(app, None)

    assert answered(paths, "/keys/a") == 200
    assert [answered(paths, path) for path in ("/v1/keys/a", "/keys/a/")] == [404, 404]
