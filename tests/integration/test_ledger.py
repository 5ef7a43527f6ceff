"""GET /keys/{key_id}/ledger: what it answers, and to whom."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from aws_lambda_powertools import Logger
from fastapi.testclient import TestClient

from rollcall.access.api_keys import ApiKeys
from rollcall.access.gate import Principal
from rollcall.access.reach import ALL, Reach
from rollcall.core.batch import make_batch
from rollcall.core.days import Calendar
from rollcall.core.events import Event
from rollcall.core.limits import Allowance, Limit
from rollcall.core.projects import DEFAULT, Project
from rollcall.counting.claims import Claims
from rollcall.http.app import create_app
from rollcall.http.routes import ledger
from rollcall.questions.ledgers import Ledgers
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.projects import Projects
from tests.support import (
    RECEIVED_AT,
    KeptDeadLetters,
    OpenGate,
    assert_problem,
    create_access_table,
    create_tables,
    delete_tables,
    delivered,
    rejected_alone,
)

SHOP = Project("shop")
RANGE = {"from": "2025-08-31", "to": "2025-09-02"}


class GateOf(OpenGate):
    """Lets everybody in, for a project or all."""

    def __init__(self) -> None:
        self.reach = ALL

    def admit(self, *_: str, **__: str) -> tuple[Principal, Allowance]:
        return Principal("key k", frozenset({"read"}), "http", self.reach, None), Allowance(Limit(1, 1), 1, 0)


@dataclass
class Stack:
    client: TestClient
    gate: GateOf
    keys: ApiKeys
    claims: Claims

    def key(self, reach: Reach) -> str:
        return self.keys.create("key", ["ingest"], "http", reach=reach)[0].key_id

    def ask(self, key_id: str, reach: Reach = ALL, **asked: str) -> Any:
        self.gate.reach = reach
        return self.client.get(f"/keys/{key_id}/ledger", params=RANGE | asked, headers={"X-API-Key": "key"})


@pytest.fixture
def stack(dynamodb: Any, logger: Logger) -> Iterator[Stack]:
    tables, access_table, dynamo = create_tables(dynamodb), create_access_table(dynamodb), Dynamo(dynamodb)
    projects, keys, gate = Projects(dynamo, tables.stats, Calendar("UTC")), ApiKeys(dynamo, access_table), GateOf()
    projects.create(SHOP, "The shop", "Asia/Tokyo")
    services = [projects, keys, Ledgers(dynamo, tables)]
    client = TestClient(create_app(ledger.router, logger=logger, gate=gate, services=services))
    yield Stack(client, gate, keys, Claims(dynamo, tables, projects.calendar, KeptDeadLetters()))
    delete_tables(dynamodb, tables)
    dynamodb.delete_table(TableName=access_table)


def test_each_day_says_what_the_key_sent_and_what_became_of_it(stack: Stack) -> None:
    key_id = stack.key(Reach(DEFAULT))
    events = [Event(f"e{number}", "2025-08-01T12:00:00Z", "u", "t", "{}") for number in range(2)]
    message = make_batch(DEFAULT, events, "test", RECEIVED_AT)
    stack.claims.apply(delivered(message, 1, key_id, rejected=(("too_old", 3),), repeats=1))
    stack.claims.apply(delivered(message, 2, key_id, day="2025-09-02"))

    response = stack.ask(key_id)

    assert response.status_code == 200
    nothing = {"accepted": 0, "counted": 0, "duplicates": 0, "conflicts": 0, "refused": 0}
    assert response.json() == {
        "key_id": key_id,
        **RANGE,
        "timezone": "UTC",
        "data": [
            {"date": "2025-08-31", "received": 0, "rejected": {}, **nothing},
            {
                "date": "2025-09-01",
                "received": 6,
                "rejected": {"too_old": 3},
                **nothing,
                "accepted": 3,
                "counted": 2,
                "duplicates": 1,
            },
            {"date": "2025-09-02", "received": 2, "rejected": {}, **nothing, "accepted": 2, "duplicates": 2},
        ],
    }


def test_a_key_of_all_projects_has_a_ledger_in_each(stack: Stack) -> None:
    key_id = stack.key(ALL)
    for number, (project, count) in enumerate([(DEFAULT, 1), (SHOP, 2)]):
        stack.claims.apply(rejected_alone(project, number, key_id, rejected=(("too_old", count),)))

    def found(**asked: str) -> tuple[int, str]:
        answer = stack.ask(key_id, ALL, **asked).json()
        return sum(day["received"] for day in answer["data"]), answer["timezone"]

    assert found() == found(project="default") == (1, "UTC")
    assert found(project="shop") == (2, "Asia/Tokyo")
    assert_problem(stack.ask(key_id, project="nobodys"), 404, "unknown_project")


def test_the_project_of_a_key_of_one_project_need_not_be_named(stack: Stack) -> None:
    key_id = stack.key(Reach(SHOP))
    stack.claims.apply(rejected_alone(SHOP, 1, key_id, rejected=(("too_old", 1),)))

    for response in (stack.ask(key_id), stack.ask(key_id, project="shop"), stack.ask(key_id, Reach(SHOP))):
        answer = response.json()
        assert ([day["received"] for day in answer["data"]], answer["timezone"]) == ([0, 1, 0], "Asia/Tokyo")
    assert_problem(stack.ask(key_id, project="default"), 404, "unknown_key")


@pytest.mark.parametrize(
    "key_of",
    [
        lambda stack: stack.key(Reach(DEFAULT)),
        lambda stack: stack.key(ALL),
        lambda _: "0" * 16,
        lambda _: "nobody",
        lambda _: "%23",
    ],
    ids=["another project's", "one of all projects", "none", "no id", "a character of keys"],
)
def test_a_key_that_is_not_within_the_callers_reach_is_as_unknown_as_one_that_is_not_there(
    stack: Stack, key_of: Callable[[Stack], str]
) -> None:
    problem = assert_problem(stack.ask(key_of(stack), Reach(SHOP)), 404, "unknown_key")
    assert problem["message"] == "There is no such key."


def test_a_key_that_is_revoked_keeps_its_ledger(stack: Stack) -> None:
    key_id = stack.key(Reach(DEFAULT))
    stack.claims.apply(rejected_alone(DEFAULT, 1, key_id, rejected=(("too_old", 1),)))
    stack.keys.revoke(key_id, ALL)
    assert stack.ask(key_id).json()["data"][1]["received"] == 1


@pytest.mark.parametrize(
    ("asked", "parameter"),
    [
        ({"to": "2026-09-01"}, "to"),
        ({"from": "2025-09-03"}, "from"),
        ({"from": "yesterday"}, "from"),
        ({"day": "2025-09-01"}, "day"),
    ],
)
def test_a_range_that_is_none_is_refused_by_the_parameters_name(
    stack: Stack, asked: dict[str, str], parameter: str
) -> None:
    problem = assert_problem(stack.ask(stack.key(ALL), ALL, **asked), 422, "invalid_parameter")
    assert problem["parameter"] == parameter
