"""The way from a fresh stack to a first event and a first login, by the command line and the deployed API."""

import json
from collections.abc import Callable

import httpx2
import pytest

from tests.e2e.conftest import DeployedStack, Done, rollcall_here

pytestmark = pytest.mark.xdist_group("stack")

Rollcall = Callable[..., Done]


@pytest.fixture
def rollcall(stack: DeployedStack) -> Rollcall:
    """Runs the command line as an operator."""
    return lambda *arguments: rollcall_here((*arguments, "--stack", "rollcall"), stack.environment)


def test_a_fresh_stack_takes_a_first_event_and_a_first_login(stack: DeployedStack, rollcall: Rollcall) -> None:
    scopes = ("--scope", "ingest", "--scope", "read", "--scope", "admin")
    made = rollcall("keys", "create", "first key", *scopes, "--source", "first-steps")
    # The key alone, so that a shell can take it.
    key = {"X-API-Key": made.stdout.removesuffix("\n")}
    event = {"event_id": "first", "occurred_at": "2012-01-01T00:00:00Z", "user_id": 7, "event_type": "login"}
    person = {"email": "grace@example.com", "password": "nine green bottles"}
    day = {"from": "2012-01-01", "to": "2012-01-01"}

    taken = stack.http.post("/events", params={"wait": 10}, json=[event], headers=key)
    assert (taken.status_code, taken.json()["inserted"]) == (200, ["first"])
    assert stack.http.post("/auth/register", json={**person, "scopes": ["read"]}, headers=key).status_code == 201
    tokens = httpx2.post(stack.http.base_url.join("auth/login"), json=person).json()
    answer = httpx2.get(
        stack.http.base_url.join("stats/dau"),
        params=day,
        headers={"Authorization": f"Bearer {tokens['access_token']}"},
    )
    assert answer.json()["data"] == [{"date": "2012-01-01", "dau": 1, "complete": True}]
    metrics = stack.http.get("/metrics", headers=key).text
    assert 'events_total{project="default",source="first-steps"} 1.0' in metrics
    assert stack.client("ssm").get_parameter(Name=stack.outputs["SigningKeyParameter"])["Parameter"]["Type"] == (
        "SecureString"
    )


def test_a_key_is_rotated_without_a_gap_and_revoked_at_once(stack: DeployedStack, rollcall: Rollcall) -> None:
    first = rollcall("keys", "create", "in use", "--scope", "read").stdout.strip()
    (key_id,) = [
        key["key_id"] for key in json.loads(rollcall("keys", "list", "--json").stdout) if key["name"] == "in use"
    ]
    second = rollcall("keys", "rotate", key_id).stdout.strip()
    third = rollcall("keys", "rotate", key_id, "--grace-hours", "0").stdout.strip()

    def status(key: str) -> int:
        return stack.http.get("/stats/dau", params={"from": "2012-01-01"}, headers={"X-API-Key": key}).status_code

    assert [status(key) for key in (first, second, third)] == [401, 401, 422]
    fourth = rollcall("keys", "rotate", key_id).stdout.strip()
    assert [status(key) for key in (third, fourth)] == [422, 422]
    assert rollcall("keys", "revoke", key_id).returncode == 0
    assert [status(key) for key in (third, fourth)] == [401, 401]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("keys", "create", "key", "--scope", "all"), "scopes has to name some of ingest, read, admin, import"),
        (("keys", "create", "key", "--scope", "read", "--source", "import"), "source may not be 'import'"),
        (("keys", "rotate", "nobody"), "there is no key nobody"),
        (("keys", "revoke", "nobody"), "there is no key nobody"),
        (("accounts", "disable", "nobody@example.com"), "there is no account of this email"),
        (("accounts", "end", "nobody@example.com"), "there is no account of this email"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(rollcall: Rollcall, arguments: tuple[str, ...], said: str) -> None:
    done = rollcall(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"rollcall: {said}")
    assert done.stderr.count("\n") == 1


def test_an_operator_sees_and_ends_the_sessions_of_an_account_and_disables_it(
    stack: DeployedStack, rollcall: Rollcall
) -> None:
    person = {"email": "edsger@example.com", "password": "nine green bottles"}
    assert stack.http.post("/auth/register", json=person).status_code == 201

    def login() -> httpx2.Response:
        return httpx2.post(stack.http.base_url.join("auth/login"), json=person)

    def status(login: httpx2.Response) -> int:
        token = {"Authorization": f"Bearer {login.json()['access_token']}"}
        return httpx2.get(
            stack.http.base_url.join("stats/dau"), params={"from": "2012-01-01"}, headers=token
        ).status_code

    first, second = login(), login()
    shown = json.loads(rollcall("accounts", "show", "Edsger@example.com", "--json").stdout)
    assert (shown["email"], shown["disabled_at"], len(shown["sessions"])) == ("edsger@example.com", None, 2)
    ended = first.json()["refresh_token"].split("_")[2]
    assert rollcall("accounts", "end", person["email"], "--session", ended).returncode == 0
    assert [status(first), status(second)] == [401, 422]
    assert rollcall("accounts", "disable", person["email"]).returncode == 0
    assert [status(second), login().status_code] == [401, 401]
    assert "disabled" in rollcall("accounts", "show", person["email"]).stdout
    (listed,) = (
        each for each in json.loads(rollcall("accounts", "list", "--json").stdout) if each["email"] == person["email"]
    )
    assert listed["disabled_at"]
    assert person["email"] in rollcall("accounts", "list").stdout
    assert rollcall("accounts", "enable", person["email"]).returncode == 0
    third = login()
    assert status(third) == 422
    assert rollcall("accounts", "end", person["email"]).returncode == 0
    assert status(third) == 401
