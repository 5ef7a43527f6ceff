import hashlib
import io
import json
import logging
import re
import tracemalloc
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import urljoin

import pytest
from aws_lambda_powertools import Logger
from fastapi import FastAPI
from fastapi.testclient import TestClient

from rollcall.core.days import Calendar, add_days
from rollcall.core.projects import Project
from rollcall.http.app import create_app, serve
from rollcall.http.routes import docs, metrics, retention, stats
from rollcall.http.routes import health as health_routes
from rollcall.http.services import provide
from rollcall.operation.health import Health
from rollcall.questions.asking import Asking
from rollcall.questions.daily_actives import ActiveUsers, DailyActives
from rollcall.questions.question import Answer, ArchiveQuestion, Question, Told
from rollcall.questions.retention import Retained, Retention, Window
from rollcall.questions.top_events import EventCount, TopEvents
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.projects import Projects
from rollcall.stack.settings import DocsSettings, WeekSettings
from tests.support import LAMBDA_CONTEXT, UNKNOWN, OpenGate, assert_problem, routes, sample_event

KYIV = Calendar("Europe/Kyiv")
AS_OF = "2025-09-01T00:00:00Z"


@dataclass
class StubAsking(Asking):
    """Answers what it was made with, and keeps what it was asked."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)
    cohort_size: int = 3
    retained: list[int] = field(default_factory=lambda: [2, 1, 0])
    error: Exception | None = None
    actives: list[ActiveUsers] = field(
        default_factory=lambda: [ActiveUsers("2025-08-01", 2), ActiveUsers("2025-08-02", 0)]
    )

    def ask(self, project: Project, question: ArchiveQuestion[Answer], segment: Sequence[str] = ()) -> Told[Answer]:
        assert not segment
        if self.error:
            raise self.error
        self.calls.append(astuple(question))
        assert isinstance(question, Question)
        answer: Any
        match question:
            case DailyActives():
                answer = self.actives
            case TopEvents():
                answer = [EventCount("login", 7), EventCount("#\0🦄", 3)]
            case Retention(day, windows, window_days):
                retained = zip(range(1, windows + 1), self.retained, strict=False)
                answer = Retained(
                    self.cohort_size,
                    [
                        Window(number, add_days(day, number * window_days), returned, complete=number < windows)
                        for number, returned in retained
                    ],
                )
        return Told(AS_OF, question.store, answer)


def projects_of(calendar: Calendar) -> Projects:
    """A stack with the default project alone."""
    return Projects(cast(Dynamo, None), "stats", calendar)


@dataclass
class StubHealth(Health):
    failures: dict[str, str | None]

    def check(self) -> dict[str, str | None]:
        return self.failures


@pytest.fixture
def asked() -> StubAsking:
    return StubAsking()


@pytest.fixture
def health() -> StubHealth:
    return StubHealth({"events_table": None, "queue": None})


@pytest.fixture
def app(asked: StubAsking, health: StubHealth, logger: Logger) -> FastAPI:
    routers = (stats.router, retention.router, health_routes.router, metrics.router, docs.router)
    return create_app(
        *routers,
        logger=logger,
        gate=OpenGate(),
        services=[asked, projects_of(KYIV), health, DocsSettings(shown=True), WeekSettings(0)],
    )


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    return TestClient(app, raise_server_exceptions=False, headers={"X-API-Key": "key"})


def test_daily_actives_are_answered_in_the_contract_shape(client: TestClient, asked: StubAsking) -> None:
    response = client.get("/stats/dau", params={"from": "2025-08-01", "to": "2025-08-02"})

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "from": "2025-08-01",
        "to": "2025-08-02",
        "timezone": "Europe/Kyiv",
        "definition": "daily-active-users",
        "as_of": AS_OF,
        "from_store": "counters",
        "data": [
            {"date": "2025-08-01", "dau": 2, "complete": True},
            {"date": "2025-08-02", "dau": 0, "complete": True},
        ],
    }
    assert asked.calls == [("2025-08-01", "2025-08-02")]


def test_top_events_are_answered_in_the_contract_shape(client: TestClient, asked: StubAsking) -> None:
    response = client.get("/stats/top-events", params={"from": "2025-08-01", "to": "2025-08-02", "limit": 2})

    assert response.status_code == 200
    assert response.json() == {
        "from": "2025-08-01",
        "to": "2025-08-02",
        "limit": 2,
        "complete": True,
        "timezone": "Europe/Kyiv",
        "definition": "top-events",
        "as_of": AS_OF,
        "from_store": "counters",
        "data": [{"event_type": "login", "count": 7}, {"event_type": "#\0🦄", "count": 3}],
    }
    assert asked.calls == [("2025-08-01", "2025-08-02", 2)]


def test_a_range_that_is_not_over_is_not_complete(client: TestClient, asked: StubAsking) -> None:
    # Tomorrow, so that midnight in Kyiv does no harm.
    days = [add_days(KYIV.today(datetime.now(UTC)), offset) for offset in (-2, 1)]
    asked.actives = [ActiveUsers(day, 1) for day in days]
    params = {"from": days[0], "to": days[1]}

    assert [day["complete"] for day in client.get("/stats/dau", params=params).json()["data"]] == [True, False]
    assert client.get("/stats/top-events", params=params).json()["complete"] is False
    assert client.get("/stats/retention", params={"start_date": days[1]}).json()["cohort_complete"] is False


def test_ten_top_events_are_listed_unless_told_otherwise(client: TestClient, asked: StubAsking) -> None:
    response = client.get("/stats/top-events", params={"from": "2025-08-01", "to": "2025-08-01"})

    assert response.json()["limit"] == 10
    assert asked.calls == [("2025-08-01", "2025-08-01", 10)]


@pytest.mark.parametrize("limit", ["1", "1000"])
def test_limits_up_to_a_thousand_are_accepted(client: TestClient, asked: StubAsking, limit: str) -> None:
    response = client.get("/stats/top-events", params={"from": "2025-08-01", "to": "2025-08-01", "limit": limit})

    assert response.status_code == 200
    assert asked.calls == [("2025-08-01", "2025-08-01", int(limit))]


@pytest.mark.parametrize("path", ["/stats/dau", "/stats/top-events"])
@pytest.mark.parametrize(
    "params",
    [
        {"from_date": "2025-08-01", "to_date": "2025-08-02"},
        {"from": "2025-08-01", "to_date": "2025-08-02"},
        {"from_date": "2025-08-01", "to": "2025-08-02"},
    ],
    ids=" ".join,
)
def test_ranges_are_read_from_the_aliases_too(
    client: TestClient, asked: StubAsking, path: str, params: dict[str, str]
) -> None:
    response = client.get(path, params=params)

    assert response.status_code == 200
    assert (response.json()["from"], response.json()["to"]) == ("2025-08-01", "2025-08-02")
    assert asked.calls[0][:2] == ("2025-08-01", "2025-08-02")


@pytest.mark.parametrize("path", ["/stats/dau", "/stats/top-events"])
@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("2024-01-01", "2024-12-31"),
        ("2025-01-01", "2026-01-01"),
        ("2024-02-29", "2024-02-29"),
        ("0001-01-01", "0001-01-01"),
        ("9999-12-31", "9999-12-31"),
    ],
)
def test_ranges_of_up_to_366_days_are_accepted(
    client: TestClient, asked: StubAsking, path: str, first: str, last: str
) -> None:
    assert client.get(path, params={"from": first, "to": last}).status_code == 200
    assert asked.calls[0][:2] == (first, last)


GOOD_DAY = "2025-08-01"
RANGE = {"from": GOOD_DAY, "to": GOOD_DAY}
BAD_DAYS = ["2025-02-30", "2025-02-29", "2025-13-01", "2025-00-10", "1690000000", "2025-8-1", "20250801", "2025-W31-5"]
BAD_DAYS += [
    "",
    " ",
    "today",
    "2025-08-01T00:00:00Z",
    " 2025-08-01",
    "2025-08-01\n",
    "\N{ARABIC-INDIC DIGIT TWO}025-08-01",
    "0000-01-01",
]
HUGE = str(10**23)

RANGE_REFUSALS: list[tuple[dict[str, str], str]] = [
    ({}, "from"),
    ({"to": GOOD_DAY}, "from"),
    ({"from": GOOD_DAY}, "to"),
    ({"from": "2025-08-02", "to": "2025-08-01"}, "from"),
    ({"from": "2024-01-01", "to": "2025-01-01"}, "to"),
    ({"from": "1970-01-01", "to": "2025-08-01"}, "to"),
    ({"from": "0001-01-01", "to": "9999-12-31"}, "to"),
    ({"from_date": GOOD_DAY}, "to"),
    ({"to_date": GOOD_DAY}, "from"),
    ({"from_date": "2025-02-30", "to": GOOD_DAY}, "from_date"),
    ({"from_date": "", "to_date": GOOD_DAY}, "from_date"),
    ({"from": GOOD_DAY, "to_date": "2025-02-30"}, "to_date"),
    ({"from_date": GOOD_DAY, "to_date": ""}, "to_date"),
    ({"from_date": "2025-08-02", "to": "2025-08-01"}, "from_date"),
    ({"from_date": "2025-08-02", "to_date": "2025-08-01"}, "from_date"),
    ({"from": "2025-08-02", "to_date": "2025-08-01"}, "from"),
    ({"from": "2024-01-01", "to_date": "2025-01-01"}, "to_date"),
    # The short names go before the long ones.
    ({"from": "today", "from_date": GOOD_DAY, "to": GOOD_DAY}, "from"),
    ({"from": GOOD_DAY, "from_date": GOOD_DAY, "to": GOOD_DAY}, "from_date"),
    ({"from": GOOD_DAY, "to": GOOD_DAY, "to_date": GOOD_DAY}, "to_date"),
    ({"from": GOOD_DAY, "to": "today", "to_date": GOOD_DAY}, "to"),
    *(({"from": day, "to": GOOD_DAY}, "from") for day in BAD_DAYS),
    *(({"from": GOOD_DAY, "to": day}, "to") for day in BAD_DAYS),
]
REFUSALS: list[tuple[str, dict[str, str], str]] = [
    *(("/stats/dau", params, parameter) for params, parameter in RANGE_REFUSALS),
    *(("/stats/top-events", params, parameter) for params, parameter in RANGE_REFUSALS),
    *(
        ("/stats/top-events", {**RANGE, "limit": limit}, "limit")
        for limit in ("0", "-1", "1001", HUGE, "9" * 5_000, "abc", "1.5", "", "1e2")
    ),
    ("/stats/retention", {}, "start_date"),
    ("/stats/cohort", {}, "start_date"),
    *(("/stats/retention", {"start_date": day}, "start_date") for day in BAD_DAYS),
    *(("/stats/cohort", {"start_date": day}, "start_date") for day in BAD_DAYS),
    *(
        ("/stats/retention", {"start_date": GOOD_DAY, "windows": windows}, "windows")
        for windows in ("0", "-1", "91", "10000", HUGE, "9" * 5_000, "abc", "1.5", "")
    ),
    *(
        ("/stats/retention", {"start_date": GOOD_DAY, "period": "week", "windows": windows}, "windows")
        for windows in ("0", "53", "90", HUGE)
    ),
    *(
        ("/stats/cohort", {"start_date": GOOD_DAY, "window": windows}, "window")
        for windows in ("0", "-1", "53", "10000", HUGE, "abc", "")
    ),
    *(
        ("/stats/retention", {"start_date": GOOD_DAY, "period": period}, "period")
        for period in ("month", "Day", "7", "")
    ),
    *(("/stats/retention", {"start_date": GOOD_DAY, "cohort": cohort}, "cohort") for cohort in ("all", "NEW", "")),
    *(("/stats/retention/table", params, parameter) for params, parameter in RANGE_REFUSALS),
    *(("/stats/retention/table", {**RANGE, "period": period}, "period") for period in ("year", "")),
    *(("/stats/retention/table", {**RANGE, "on": on}, "on") for on in ("or-after", "")),
    # 61 days; and a week that ends after the year 9999.
    ("/stats/retention/table", {"from": "2025-07-01", "to": "2025-08-30"}, "to"),
    ("/stats/retention/table", {"from": "9999-12-31", "to": "9999-12-31", "period": "week"}, "from"),
]


def refusal_id(refusal: tuple[str, dict[str, str], str]) -> str:
    path, params, _ = refusal
    return ascii(" ".join([path, *(f"{name}={value[:30]}" for name, value in params.items())]))


@pytest.mark.parametrize(("path", "params", "parameter"), REFUSALS, ids=map(refusal_id, REFUSALS))
def test_bad_parameters_are_a_422_that_names_them(
    client: TestClient, asked: StubAsking, path: str, params: dict[str, str], parameter: str
) -> None:
    response = client.get(path, params=params)

    problem = assert_problem(response, 422, "invalid_parameter")
    assert problem["parameter"] == parameter
    assert re.search(rf"\b{parameter}\b", problem["message"])
    assert asked.calls == []


@pytest.mark.parametrize("path", ["/stats/dau", "/stats/top-events"])
@pytest.mark.parametrize("first_name", ["from", "from_date"])
@pytest.mark.parametrize("last_name", ["to", "to_date"])
def test_a_range_of_the_wrong_order_is_told_by_the_names_that_were_sent(
    client: TestClient, path: str, first_name: str, last_name: str
) -> None:
    response = client.get(path, params={first_name: "2025-08-02", last_name: "2025-08-01"})

    problem = assert_problem(response, 422, "invalid_parameter")
    assert problem["message"] == f"{first_name} is 2025-08-02, after {last_name}, which is 2025-08-01"


@pytest.mark.parametrize("path", ["/stats/dau", "/stats/top-events"])
@pytest.mark.parametrize(("first_name", "last_name"), [("from", "to"), ("from_date", "to_date")])
def test_a_range_of_all_time_is_refused_by_its_limit_and_without_listing_its_days(
    client: TestClient, path: str, first_name: str, last_name: str
) -> None:
    params = {first_name: "0001-01-01", last_name: "9999-12-31"}
    client.get(path, params=params)

    tracemalloc.start()
    response = client.get(path, params=params)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    problem = assert_problem(response, 422, "invalid_parameter")
    assert problem["parameter"] == last_name
    assert problem["message"] == f"{last_name} is more than 365 days after {first_name}: a range has 366 days at most"
    # Its 3.65 million days would take some 200 MB.
    assert peak < 10 * 1024**2


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/stats/retention", {"start_date": "9999-12-31"}),
        ("/stats/retention", {"start_date": "9999-12-30", "windows": "2"}),
        ("/stats/cohort", {"start_date": "9999-12-31"}),
    ],
)
def test_windows_past_the_end_of_the_calendar_are_a_422_that_names_the_start(
    client: TestClient, path: str, params: dict[str, str]
) -> None:
    problem = assert_problem(client.get(path, params=params), 422, "invalid_parameter")

    assert problem["parameter"] == "start_date"
    assert "start_date" in problem["message"]


def test_retention_is_answered_in_the_contract_shape(client: TestClient, asked: StubAsking) -> None:
    before = KYIV.today(datetime.now(UTC))
    response = client.get("/stats/retention", params={"start_date": "2025-08-01"})
    after = KYIV.today(datetime.now(UTC))

    assert response.status_code == 200
    assert response.json() == {
        "cohort_date": "2025-08-01",
        "cohort_size": 3,
        "cohort_complete": True,
        "definition": "retention",
        "as_of": AS_OF,
        "from_store": "day-users",
        "cohort": "active",
        "period": "day",
        "windows": 3,
        "timezone": "Europe/Kyiv",
        "retention": [
            {"day": 1, "date": "2025-08-02", "retained_users": 2, "retention_rate": 66.67, "complete": True},
            {"day": 2, "date": "2025-08-03", "retained_users": 1, "retention_rate": 33.33, "complete": True},
            {"day": 3, "date": "2025-08-04", "retained_users": 0, "retention_rate": 0.0, "complete": False},
        ],
    }
    (call,) = asked.calls
    assert call[:4] == ("2025-08-01", 3, 1, False)
    assert before <= call[4] <= after


def test_weeks_are_counted_under_their_own_name(client: TestClient, asked: StubAsking) -> None:
    params = {"start_date": "2025-08-01", "period": "week", "cohort": "new", "windows": "2"}
    answer = client.get("/stats/retention", params=params).json()

    assert (answer["period"], answer["cohort"], answer["windows"]) == ("week", "new", 2)
    assert answer["retention"] == [
        {"week": 1, "date": "2025-08-08", "retained_users": 2, "retention_rate": 66.67, "complete": True},
        {"week": 2, "date": "2025-08-15", "retained_users": 1, "retention_rate": 33.33, "complete": False},
    ]
    assert asked.calls[0][:4] == ("2025-08-01", 2, 7, True)


@pytest.mark.parametrize(("params", "windows"), [({}, 8), ({"window": "1"}, 1), ({"window": "52"}, 52)])
def test_a_cohort_is_the_weekly_retention_of_new_users(
    client: TestClient, asked: StubAsking, params: dict[str, str], windows: int
) -> None:
    answer = client.get("/stats/cohort", params={"start_date": "2025-08-01", **params}).json()

    assert answer.keys() == {
        "cohort_date",
        "cohort_size",
        "cohort_complete",
        "cohort",
        "period",
        "windows",
        "timezone",
        "retention",
        "definition",
        "as_of",
        "from_store",
    }
    assert answer["definition"] == "cohort"
    assert (answer["period"], answer["cohort"], answer["windows"]) == ("week", "new", windows)
    assert answer["retention"][0]["week"] == 1
    assert asked.calls[0][:4] == ("2025-08-01", windows, 7, True)


@pytest.mark.parametrize(
    ("period", "windows", "window_days"), [("day", 1, 1), ("day", 90, 1), ("week", 1, 7), ("week", 52, 7)]
)
def test_windows_up_to_their_limit_are_accepted(
    client: TestClient, asked: StubAsking, period: str, windows: int, window_days: int
) -> None:
    params: dict[str, str | int] = {"start_date": "2025-08-01", "period": period, "windows": windows}

    assert client.get("/stats/retention", params=params).status_code == 200
    assert asked.calls[0][:4] == ("2025-08-01", windows, window_days, False)


@pytest.mark.parametrize(
    ("cohort_size", "retained", "rate"),
    [(0, 0, 0.0), (7, 7, 100.0), (6, 1, 16.67), (8, 1, 12.5), (30_000, 1, 0.0), (3, 2, 66.67)],
)
def test_rates_are_percentages_with_two_decimals(
    client: TestClient, asked: StubAsking, cohort_size: int, retained: int, rate: float
) -> None:
    asked.cohort_size, asked.retained = cohort_size, [retained]

    answer = client.get("/stats/retention", params={"start_date": "2025-08-01", "windows": 1}).json()

    assert answer["cohort_size"] == cohort_size
    assert answer["retention"][0]["retention_rate"] == rate


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/stats/dau", RANGE),
        ("/stats/top-events", RANGE),
        ("/stats/retention", {"start_date": GOOD_DAY}),
        ("/stats/cohort", {"start_date": GOOD_DAY}),
    ],
)
def test_an_unexpected_failure_is_a_500_that_tells_the_logs_alone_why(
    client: TestClient, asked: StubAsking, logs: io.StringIO, path: str, params: dict[str, str]
) -> None:
    asked.error = RuntimeError("hunter2 is wrong")

    response = client.get(path, params=params)

    assert_problem(response, 500, "internal_error")
    assert "hunter2" not in response.text
    assert "RuntimeError: hunter2 is wrong" in json.loads(logs.getvalue())["exception"]


def test_health_is_answered_without_asking_a_dependency(client: TestClient, health: StubHealth) -> None:
    health.failures = {"queue": "AccessDenied"}

    response = client.get("/health")

    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_healthz_is_ok_where_every_dependency_answers(client: TestClient) -> None:
    response = client.get("/healthz")

    assert response.status_code == 200
    assert response.json() == {"status": "ok", "dependencies": {"events_table": "ok", "queue": "ok"}}
    del client.headers["X-API-Key"]
    assert client.get("/healthz").json() == {"status": "ok"}


def test_healthz_is_a_503_that_tells_the_logs_and_an_admin_which_dependency_is_down_and_why(
    client: TestClient, health: StubHealth, logs: io.StringIO
) -> None:
    health.failures["queue"] = "AWS.SimpleQueueService.NonExistentQueue"

    response = client.get("/healthz")

    assert response.status_code == 503
    assert response.json() == {
        "status": "unavailable",
        "dependencies": {"events_table": "ok", "queue": "AWS.SimpleQueueService.NonExistentQueue"},
    }
    del client.headers["X-API-Key"]
    answered = client.get("/healthz")
    assert (answered.status_code, answered.json()) == (503, {"status": "unavailable"})
    logged = [json.loads(line) for line in logs.getvalue().splitlines()]
    assert [line["dependencies"] for line in logged] == [{"queue": "AWS.SimpleQueueService.NonExistentQueue"}] * 2


def test_the_description_lists_every_route_of_the_template_and_no_other(client: TestClient) -> None:
    described = {
        (path, method) for path, item in client.get("/openapi.json").json()["paths"].items() for method in item
    }
    undescribed = {"/docs", "/docs/{asset}", "/openapi.json", "/", "/assets/{version}/{name}", UNKNOWN}

    assert described
    # Browsers ask by OPTIONS whether a page may call. HEAD is GET without the body.
    # The page's own routes are for no other page.
    implied = {(path, "options") for path, _ in described if not path.startswith("/auth/session")} | {
        (path, "head") for path, method in described if method == "get"
    }
    # The SDKs' routes have all methods in the template, of which the function takes some.
    some = {path for path, method in routes() if method == "any"}
    assert {place for place in described | implied if place[0] not in some} == {
        (path, method) for path, method in routes() if path not in undescribed | some
    }


def test_every_reference_of_the_description_leads_somewhere(client: TestClient) -> None:
    text = client.get("/openapi.json").text
    document = json.loads(text)
    references = set(re.findall(r'"\$ref":"([^"]+)"', text))

    assert references
    for reference in references:
        target = document
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/stats/dau", {"from", "to", "from_date", "to_date", "segment", "project"}),
        ("/stats/top-events", {"from", "to", "from_date", "to_date", "limit", "segment", "project"}),
        ("/stats/retention", {"start_date", "windows", "period", "cohort", "segment", "project"}),
        ("/events", {"event_id", "project"}),
        ("/live", {"project"}),
        ("/stats/cohort", {"start_date", "window", "segment", "project"}),
        (
            "/stats/retention/table",
            {"from", "to", "from_date", "to_date", "period", "cohort", "on", "segment", "project"},
        ),
    ],
)
def test_the_description_lists_every_parameter(client: TestClient, path: str, names: set[str]) -> None:
    parameters = client.get("/openapi.json").json()["paths"][path]["get"]["parameters"]

    assert {parameter["name"] for parameter in parameters} == names


@pytest.mark.parametrize("base", ["https://api.example/v1/", "https://api.example/", "http://localhost/a/b/v1/"])
def test_the_documentation_needs_nothing_but_what_is_served_beside_it(client: TestClient, base: str) -> None:
    page = client.get("/docs")
    references = re.findall(r"""(?:src|href)=["']([^"']+)|url: *["']([^"']+)""", page.text)
    addresses = [urljoin(f"{base}docs", link or url) for link, url in references]

    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "//" not in page.text
    # Each asset is named with a hash of its content.
    assert [re.sub(r"\.[0-9a-f]{16}\.", ".HASH.", address) for address in sorted(addresses)] == [
        f"{base}{path}"
        for path in (
            "docs/favicon.HASH.png",
            "docs/swagger-ui-bundle.HASH.js",
            "docs/swagger-ui.HASH.css",
            "openapi.json",
        )
    ]
    for address in addresses:
        assert client.get(f"/{address.removeprefix(base)}").status_code == 200
    (server,) = client.get("/openapi.json").json()["servers"]
    assert urljoin(f"{base}openapi.json", server["url"]) == base


@pytest.mark.parametrize(
    ("asset", "media_type", "opening"),
    [
        ("swagger-ui.css", "text/css", b".swagger-ui"),
        ("swagger-ui-bundle.js", "text/javascript", b"/*! For license information"),
        ("favicon.png", "image/png", b"\x89PNG"),
    ],
)
def test_assets_are_served_as_what_they_are(client: TestClient, asset: str, media_type: str, opening: bytes) -> None:
    response = client.get(f"/docs/{asset}")

    assert response.status_code == 200
    assert response.headers["content-type"].split(";")[0] == media_type
    assert response.content.startswith(opening)


@pytest.mark.parametrize("asset", ["swagger-ui.css", "swagger-ui-bundle.js", "favicon.png"])
def test_an_asset_is_kept_for_a_year_under_the_name_with_its_hash_and_not_at_all_without(
    client: TestClient, asset: str
) -> None:
    stem, suffix = asset.rsplit(".", 1)
    (hashed,) = re.findall(rf"docs/({re.escape(stem)}\.[0-9a-f]+\.{suffix})", client.get("/docs").text)

    kept, plain = client.get(f"/docs/{hashed}"), client.get(f"/docs/{asset}")

    assert hashlib.sha256(kept.content).hexdigest().startswith(hashed.split(".")[1])
    assert kept.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert (plain.content, plain.headers.get("cache-control")) == (kept.content, None)
    assert_problem(client.get(f"/docs/{stem}.{'0' * 16}.{suffix}"), 404, "not_found")


@pytest.mark.parametrize("path", ["/docs", "/docs/swagger-ui.css", "/openapi.json"])
def test_a_stack_that_shows_no_documentation_answers_as_if_the_route_were_not_there(
    app: FastAPI, client: TestClient, path: str
) -> None:
    provide(app, DocsSettings(shown=False))

    hidden = client.get(path)

    assert_problem(hidden, 404, "not_found")
    assert hidden.content == client.get("/nowhere").content


@pytest.mark.parametrize(
    "path",
    [
        "/docs/redoc.js",
        "/docs/..%2F__init__.py",
        "/docs/%2Fetc%2Fpasswd",
        "/",
        "/stats",
        "/stats/unknown",
        "/redoc",
        "/events",
        "/stats/dau/",
        "/health/",
    ],
)
def test_what_is_not_there_is_a_404_problem(client: TestClient, path: str) -> None:
    assert_problem(client.get(path, follow_redirects=False), 404, "not_found")


def test_a_method_that_a_route_does_not_have_is_a_405_problem(client: TestClient) -> None:
    response = client.post("/stats/dau")

    assert_problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "GET"


@pytest.mark.parametrize(
    ("sample", "call"),
    [("stats", ("2025-08-01", "2025-08-31")), ("retention", ("2025-08-01", 3, 1, False))],
)
def test_the_sample_events_are_answered(
    app: FastAPI, asked: StubAsking, event_loop_of_lambda: None, sample: str, call: tuple[object, ...]
) -> None:
    answer = serve(app, ())(sample_event(sample), LAMBDA_CONTEXT)

    assert answer["statusCode"] == 200
    assert asked.calls[0][: len(call)] == call


def test_an_unexpected_failure_is_logged_once(
    app: FastAPI, asked: StubAsking, event_loop_of_lambda: None, logs: io.StringIO, caplog: pytest.LogCaptureFixture
) -> None:
    asked.error = RuntimeError("hunter2 is wrong")
    caplog.set_level(logging.DEBUG)
    # As it is in a fresh process: serving sets the level for the whole process.
    caplog.set_level(logging.NOTSET, logger="mangum")

    answer = serve(app, ())(sample_event("stats"), LAMBDA_CONTEXT)

    assert answer["statusCode"] == 500
    assert json.loads(answer["body"])["code"] == "internal_error"
    error, request = [json.loads(line) for line in logs.getvalue().splitlines()]
    assert "hunter2" in error["exception"]
    assert (request["message"], request["status"]) == ("request answered", 500)
    assert [record for record in caplog.records if record.name.startswith("mangum")] == []


@pytest.fixture
def in_apia(asked: StubAsking, health: StubHealth, logger: Logger) -> TestClient:
    app = create_app(
        stats.router,
        retention.router,
        logger=logger,
        gate=OpenGate(),
        services=[asked, projects_of(Calendar("Pacific/Apia"))],
    )
    return TestClient(app, raise_server_exceptions=False, headers={"X-API-Key": "key"})


@pytest.mark.parametrize(
    ("path", "parameters"), [("/stats/retention", {"windows": "1"}), ("/stats/cohort", {"window": "1"})]
)
def test_a_cohort_of_a_day_that_clocks_skipped_is_refused(
    in_apia: TestClient, asked: StubAsking, path: str, parameters: dict[str, str]
) -> None:
    response = in_apia.get(path, params={"start_date": "2011-12-30", **parameters})
    problem = assert_problem(response, 422, "invalid_parameter")
    assert problem["parameter"] == "start_date"
    assert problem["message"] == "start_date is 2011-12-30, which the clocks of Pacific/Apia skipped"
    assert asked.calls == []


def test_retention_is_asked_for_by_the_days_of_the_stack(in_apia: TestClient, asked: StubAsking) -> None:
    assert in_apia.get("/stats/retention", params={"start_date": "2011-12-29"}).status_code == 200
    assert asked.calls[0][-1] == "Pacific/Apia"


def test_daily_actives_mark_a_day_that_clocks_skipped(in_apia: TestClient, asked: StubAsking) -> None:
    asked.actives = [ActiveUsers("2011-12-29", 2), ActiveUsers("2011-12-30", 0), ActiveUsers("2011-12-31", 0)]
    response = in_apia.get("/stats/dau", params={"from": "2011-12-29", "to": "2011-12-31"})
    assert response.json()["data"] == [
        {"date": "2011-12-29", "dau": 2, "complete": True},
        {"date": "2011-12-30", "dau": 0, "complete": True, "no_day": True},
        {"date": "2011-12-31", "dau": 0, "complete": True},
    ]
