"""Questions about segments as the API answers them, on a Lambda that is played."""

import io
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from aws_lambda_powertools import Logger
from botocore.exceptions import ClientError, ReadTimeoutError
from fastapi.testclient import TestClient

from rollcall.core.days import Calendar, add_days
from rollcall.http.app import create_app
from rollcall.http.routes import meta, retention, stats
from rollcall.questions.asking import Asking
from rollcall.questions.from_counters import Counters
from rollcall.questions.remote import SegmentClient
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.projects import Projects
from rollcall.stack.settings import WeekSettings
from tests.support import OpenGate, assert_problem

AS_OF = "2025-09-01T00:00:00Z"
DAYS = {"from": "2025-08-01", "to": "2025-08-02"}


@dataclass
class PlayedLambda:
    """Answers what it was made with, and keeps what it was asked."""

    answer: Any = field(default_factory=list)
    error: str = ""
    raised: Exception | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)

    def invoke(self, FunctionName: str, Payload: str) -> dict[str, Any]:  # noqa: N803 - boto3's names
        assert FunctionName == "segments"
        self.asked.append(json.loads(Payload))
        if self.raised:
            raise self.raised
        said = {"errorType": "Failure", "errorMessage": self.error} if self.error else self.answer
        failed = {"FunctionError": "Unhandled"} if self.error else {}
        return {**failed, "Payload": io.BytesIO(json.dumps(said).encode())}


@pytest.fixture
def played() -> PlayedLambda:
    return PlayedLambda()


def client_of(segments: SegmentClient | None, logger: Logger) -> TestClient:
    projects = Projects(cast(Dynamo, None), "stats", Calendar("UTC"))
    services = [projects, WeekSettings(0), Asking(cast(Counters, None), projects.calendar, segments)]
    app = create_app(stats.router, retention.router, meta.router, logger=logger, gate=OpenGate(), services=services)
    return TestClient(app, raise_server_exceptions=False, headers={"X-API-Key": "key"})


@pytest.fixture
def client(played: PlayedLambda, logger: Logger) -> TestClient:
    return client_of(SegmentClient(cast(Any, played), "segments"), logger)


def test_daily_actives_of_a_segment_say_which_and_as_of_when(client: TestClient, played: PlayedLambda) -> None:
    played.answer = {"as_of": AS_OF, "answer": [["2025-08-01", 2], ["2025-08-02", 0]]}

    answer = client.get("/stats/dau", params={**DAYS, "segment": ["event_type:purchase", "properties.country:UA"]})

    assert answer.status_code == 200
    assert answer.json() == {
        **DAYS,
        "timezone": "UTC",
        "segment": ["event_type:purchase", "properties.country:UA"],
        "as_of": AS_OF,
        "definition": "daily-active-users",
        "from_store": "archive",
        "data": [
            {"date": "2025-08-01", "dau": 2, "complete": True},
            {"date": "2025-08-02", "dau": 0, "complete": True},
        ],
    }
    assert played.asked == [
        {
            "question": "daily_actives",
            "asked": {"first": "2025-08-01", "last": "2025-08-02"},
            "segment": ["event_type:purchase", "properties.country:UA"],
        }
    ]


def test_top_events_of_a_segment_are_answered(client: TestClient, played: PlayedLambda) -> None:
    played.answer = {"as_of": AS_OF, "answer": [["login", 7]]}

    answer = client.get("/stats/top-events", params={**DAYS, "segment": "properties.country:UA", "limit": 3}).json()

    assert (answer["as_of"], answer["limit"], answer["data"]) == (AS_OF, 3, [{"event_type": "login", "count": 7}])
    assert played.asked[0]["asked"]["limit"] == 3


@pytest.mark.parametrize(
    ("path", "parameters", "window_days", "new_users"),
    [
        ("/stats/retention", {"windows": 1}, 1, False),
        ("/stats/retention", {"windows": 1, "period": "week", "cohort": "new"}, 7, True),
        ("/stats/cohort", {"window": 1}, 7, True),
    ],
)
def test_retention_of_a_segment_is_answered(
    client: TestClient,
    played: PlayedLambda,
    path: str,
    parameters: dict[str, Any],
    window_days: int,
    new_users: bool,
) -> None:
    played.answer = {"as_of": AS_OF, "answer": [3, [[1, "2025-08-08", 2, True]]]}

    asked = {"start_date": "2025-08-01", "segment": "event_type:a", **parameters}
    answer = client.get(path, params=asked).json()

    assert (answer["cohort_size"], answer["as_of"], answer["segment"]) == (3, AS_OF, ["event_type:a"])
    assert answer["from_store"] == "archive"
    assert [(window["retained_users"], window["retention_rate"]) for window in answer["retention"]] == [(2, 66.67)]
    assert (played.asked[0]["asked"]["window_days"], played.asked[0]["asked"]["new_users"]) == (window_days, new_users)


def test_event_types_of_a_segment_are_answered_with_their_conditions(client: TestClient, played: PlayedLambda) -> None:
    played.answer = {"as_of": AS_OF, "answer": [["a:b", 7, "2025-08-01", "2025-08-02"]]}

    answer = client.get("/meta/event-types", params={**DAYS, "segment": "properties.country:UA"}).json()

    assert answer["data"] == [
        {"event_type": "a:b", "count": 7, "first_seen": "2025-08-01", "last_seen": "2025-08-02"}
        | {"condition": "event_type:a:b"}
    ]
    assert (answer["definition"], answer["from_store"], answer["complete"]) == ("event-types", "archive", True)


def test_properties_are_asked_of_the_archive_without_a_segment_too(client: TestClient, played: PlayedLambda) -> None:
    value = ["pro", "string", 4, False, "properties.plan:pro"]
    of_plan = ["plan", False, 5, {"null": 1, "string": 4}, "2025-08-01", "2025-08-02", [value]]
    played.answer = {"as_of": AS_OF, "answer": [[of_plan], 2]}

    answer = client.get("/meta/properties", params=DAYS).json()
    of_type = client.get("/meta/properties", params={**DAYS, "event_type": "a:b", "segment": "properties.x:1"}).json()

    assert answer == {
        **DAYS,
        "definition": "properties",
        "as_of": AS_OF,
        "from_store": "archive",
        "timezone": "UTC",
        "event_type": None,
        "complete": True,
        "data": [
            {
                "property": "plan",
                "cut": False,
                "count": 5,
                "kinds": {"null": 1, "string": 4},
                "first_seen": "2025-08-01",
                "last_seen": "2025-08-02",
                "values": [
                    {"value": "pro", "kind": "string", "count": 4, "cut": False, "condition": "properties.plan:pro"}
                ],
            }
        ],
        "others": 2,
    }
    assert (of_type["event_type"], of_type["segment"]) == ("a:b", ["properties.x:1"])
    assert [each["segment"] for each in played.asked] == [[], ["properties.x:1", "event_type:a:b"]]


@pytest.mark.parametrize("given", [{}, {"to": "2025-08-31"}, {"from": "2025-08-02", "to": "2025-08-31"}])
def test_names_and_values_are_those_of_30_days_unless_a_range_is_given(
    client: TestClient, played: PlayedLambda, given: dict[str, str]
) -> None:
    played.answer = {"as_of": AS_OF, "answer": [[], 0]}
    today = Calendar("UTC").today(datetime.now(UTC))

    answer = client.get("/meta/properties", params=given).json()

    last = given.get("to", answer["to"])
    assert (answer["from"], answer["to"]) == (add_days(last, -29), last)
    assert answer["to"] >= min(today, last)
    assert answer["complete"] == (last < today)


@pytest.mark.parametrize(
    ("params", "parameter"),
    [
        ({"from": "9999-01-01"}, "from"),
        ({"to": "today"}, "to"),
        ({"to_date": "today"}, "to_date"),
        ({"from": "2025-08-02", "to": "2025-08-01"}, "from"),
        ({"event_type": ""}, "event_type"),
    ],
)
def test_what_names_and_values_cannot_be_asked_for_is_named(
    client: TestClient, played: PlayedLambda, params: dict[str, str], parameter: str
) -> None:
    problem = assert_problem(client.get("/meta/properties", params=params), 422, "invalid_parameter")

    assert problem["parameter"] == parameter
    assert played.asked == []


def test_the_first_days_of_the_calendar_are_fewer_than_30(client: TestClient, played: PlayedLambda) -> None:
    played.answer = {"as_of": AS_OF, "answer": [[], 0]}

    assert client.get("/meta/properties", params={"to": "0001-01-05"}).json()["from"] == "0001-01-01"


def test_a_table_of_retention_of_a_segment_is_answered(client: TestClient, played: PlayedLambda) -> None:
    span = ["2025-07-28", "2025-08-03"]
    played.answer = {"as_of": AS_OF, "answer": [[*span, 3, True, [[0, *span, 2, True]]]]}

    asked = {**DAYS, "period": "week", "cohort": "new", "on": "or_after", "segment": "event_type:a"}
    answer = client.get("/stats/retention/table", params=asked).json()

    cell = {"number": 0, "retained_users": 2, "retention_rate": 66.67}
    named = {"from": span[0], "to": span[1], "complete": True}
    assert answer["cohorts"] == [{**named, "cohort_size": 3, "retained": [{**named, **cell}]}]
    told = {name: answer[name] for name in ("period", "week_start", "cohort", "on", "segment", "as_of")}
    assert told == {
        "period": "week",
        "week_start": "monday",
        "cohort": "new",
        "on": "or_after",
        "segment": ["event_type:a"],
        "as_of": AS_OF,
    }
    question = played.asked[0]["asked"]
    assert (question["period"], question["new_users"], question["or_after"]) == ("week", True, True)


@pytest.mark.parametrize("segment", ["purchase", "user_id:7", "properties.:x", ["event_type:a"] * 6])
@pytest.mark.parametrize(
    ("path", "parameters"), [("/stats/dau", DAYS), ("/stats/retention", {"start_date": "2025-08-01"})]
)
def test_a_segment_that_cannot_be_read_is_a_422_that_names_it(
    client: TestClient, played: PlayedLambda, path: str, parameters: dict[str, str], segment: Any
) -> None:
    problem = assert_problem(client.get(path, params={**parameters, "segment": segment}), 422, "invalid_parameter")

    assert problem["parameter"] == "segment"
    assert played.asked == []


def test_a_stack_without_an_archive_refuses_segments_and_names_its_parameter(logger: Logger) -> None:
    answer = client_of(None, logger).get("/stats/dau", params={**DAYS, "segment": "event_type:a"})

    problem = assert_problem(answer, 409, "no_archive")
    assert "parameter Archive is false" in problem["message"]
    without = assert_problem(client_of(None, logger).get("/meta/properties", params=DAYS), 409, "no_archive")
    assert without["message"].startswith("properties are answered from the archive")


def test_windows_past_the_end_of_the_calendar_are_refused_before_anything_is_asked(
    client: TestClient, played: PlayedLambda
) -> None:
    asked = {"start_date": "9999-12-31", "segment": "event_type:a"}

    problem = assert_problem(client.get("/stats/retention", params=asked), 422, "invalid_parameter")

    assert problem["parameter"] == "start_date"
    assert played.asked == []


@pytest.mark.parametrize("raised", [True, False], ids=["no answer", "timed out"])
def test_an_answer_that_takes_too_long_is_a_504(client: TestClient, played: PlayedLambda, raised: bool) -> None:
    if raised:
        played.raised = ReadTimeoutError(endpoint_url="https://lambda")
    else:
        played.error = "2025-09-01 8f5f0d52 Task timed out after 25.00 seconds"

    problem = assert_problem(client.get("/stats/dau", params={**DAYS, "segment": "event_type:a"}), 504, "too_slow")

    assert "fewer days" in problem["message"]


@pytest.mark.parametrize("throttled", [True, False])
def test_a_function_that_fails_is_a_503_that_tells_nothing_of_it(
    client: TestClient, played: PlayedLambda, throttled: bool
) -> None:
    if throttled:
        played.raised = ClientError({"Error": {"Code": "TooManyRequestsException"}}, "Invoke")
    else:
        played.error = "secret"

    answer = client.get("/stats/dau", params={**DAYS, "segment": "event_type:a"})

    assert_problem(answer, 503, "unavailable")
    assert "secret" not in answer.text
