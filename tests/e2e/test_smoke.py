"""`rollcall smoke`, on a stack that works and through a door that does not."""

import json
import re
from collections.abc import Callable

import httpx2
import pytest

from rollcall.access.reach import ALL
from scripts.api import Api
from scripts.operate import smoke, stacks
from tests.e2e.conftest import DeployedStack, rollcall_process

pytestmark = pytest.mark.xdist_group("stack")


def test_a_stack_that_works_passes_and_the_key_and_the_file_are_taken_back(stack: DeployedStack) -> None:
    done = rollcall_process(("smoke", "--stack", "rollcall"), stack.environment)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^[\w ]+(?=:)", done.stdout, re.MULTILINE)[:5] == [
        "health",
        "concurrency",
        "events",
        "an event sent again",
        "upload",
    ]
    keys = [key for key in stack.api_keys.all(ALL) if key.name == "smoke test"]
    assert keys
    assert all(key.revoked_at for key in keys)
    listing = stack.client("s3").list_objects_v2(Bucket=stack.outputs["UploadBucketName"], Prefix="uploads/")
    assert [each["Key"] for each in listing.get("Contents", []) if "smoke-test" in each["Key"]] == []


Send = Callable[[httpx2.Request], httpx2.Response]


def unwell(request: httpx2.Request, send: Send) -> httpx2.Response:
    """Says of itself that a dependency is down."""
    return httpx2.Response(503, text="queue: down") if request.url.path.endswith("/healthz") else send(request)


def forgetful(request: httpx2.Request, send: Send) -> httpx2.Response:
    """Loses the last one of the events that it is sent."""
    if not request.url.path.endswith("/events"):
        return send(request)
    headers = {"X-API-Key": request.headers["X-API-Key"], "Host": request.headers["Host"]}
    return send(httpx2.Request("POST", request.url, headers=headers, json=json.loads(request.read())[:-1]))


def doubling(request: httpx2.Request, send: Send) -> httpx2.Response:
    """Counts every user twice."""
    answer = send(request)
    if not request.url.path.endswith("/stats/dau"):
        return answer
    said = json.loads(answer.read())
    for day in said["data"]:
        day["dau"] *= 2
    return httpx2.Response(200, json=said)


class Door(httpx2.HTTPTransport):
    """Does something to what passes it."""

    def __init__(self, tamper: Callable[[httpx2.Request, Send], httpx2.Response]) -> None:
        super().__init__()
        self._tamper = tamper

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return self._tamper(request, super().handle_request)


@pytest.mark.parametrize(
    ("tamper", "step"), [(unwell, "health: 503"), (forgetful, "events: "), (doubling, "stats of 19")]
)
def test_a_stack_that_does_not_work_fails_at_the_step_that_shows_it(
    stack: DeployedStack, tamper: Callable[[httpx2.Request, Send], httpx2.Response], step: str
) -> None:
    parameters = {"ConsumerConcurrency": "2", "ImportConcurrency": "2", "ReportingTimezone": "UTC"}
    deployed = stacks.Stack("rollcall", stack.client, stack.outputs, parameters)
    url = str(stack.http.base_url).removesuffix("/")
    with Door(tamper) as door, pytest.raises(smoke.Wrong, match=f"^{step}"):
        smoke.run(deployed, Api(url, stack.key, transport=door), lambda _step: None, patience=1)
