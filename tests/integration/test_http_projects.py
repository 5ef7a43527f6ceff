"""Which project a request is about, and what admins do with projects and with keys and accounts of them."""

from collections.abc import Callable
from datetime import UTC, datetime
from types import ModuleType
from typing import Annotated, Any

import pytest
from aws_lambda_powertools import Logger
from fastapi import APIRouter, Security
from fastapi.testclient import TestClient

from rollcall.access.api_keys import ApiKeys
from rollcall.access.gate import Principal
from rollcall.access.reach import ALL, Reach
from rollcall.core.days import Calendar, add_days
from rollcall.core.limits import Allowance, Limit
from rollcall.core.projects import DEFAULT, Project
from rollcall.http.app import create_app
from rollcall.http.projects import project_of, taking_project
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.keys import counts_key
from rollcall.stack.projects import Projects, Record, UnknownProject
from tests.support import OpenGate, assert_problem

SHOP = Project("shop")
# Statuses and codes.
ELSEWHERE = (403, "other_project")
UNKNOWN = (404, "unknown_project")


class OneProject(Projects):
    """Knows the default project and another, and fails where the former is read."""

    def __init__(self, archived_at: str | None = None) -> None:
        self._archived_at = archived_at

    def known(self, project: Project) -> Record:
        assert project != DEFAULT
        if project != SHOP:
            raise UnknownProject(project)
        return Record(SHOP, "The shop", "UTC", "then", self._archived_at)


class GateOf(OpenGate):
    """Lets everybody in with a reach."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    def admit(self, *_: str, **__: str) -> tuple[Principal, Allowance]:
        return Principal("key k", frozenset({"read"}), "http", self._reach, None), Allowance(Limit(1, 1), 1, 0)


@pytest.mark.parametrize(
    ("reach", "query", "expected"),
    [
        (ALL, "", "default"),
        (ALL, "?project=default", "default"),
        (ALL, "?project=shop", "shop"),
        (ALL, "?project=nobodys", UNKNOWN),
        (ALL, "?project=", UNKNOWN),
        (ALL, "?project=Shop", UNKNOWN),
        (ALL, "?project=*", UNKNOWN),
        (ALL, "?project=shop&project=shop", (422, "invalid_parameter")),
        (Reach(SHOP), "", "shop"),
        (Reach(SHOP), "?project=shop", "shop"),
        (Reach(SHOP), "?project=default", ELSEWHERE),
        (Reach(SHOP), "?project=sho", ELSEWHERE),
        (Reach(SHOP), "?project=shop-2", ELSEWHERE),
        (Reach(SHOP), "?project=*", ELSEWHERE),
        (Reach(SHOP), "?project=", ELSEWHERE),
        (Reach(DEFAULT), "", "default"),
        (Reach(DEFAULT), "?project=shop", ELSEWHERE),
        (Reach(DEFAULT), "?project=nobodys", ELSEWHERE),
    ],
    ids=str,
)
def test_the_credential_says_which_project_a_request_is_about(
    logger: Logger, reach: Reach, query: str, expected: Any
) -> None:
    router = APIRouter()

    @router.get("/about")
    def about(project: Annotated[Project, Security(project_of, scopes=["read"])]) -> str:
        return project.name

    app = create_app(router, logger=logger, gate=GateOf(reach), services=[OneProject()])

    answer = TestClient(app).get(f"/about{query}", headers={"X-API-Key": "k"})

    if isinstance(expected, str):
        assert (answer.status_code, answer.json()) == (200, expected)
    else:
        assert assert_problem(answer, *expected)["parameter"] == "project"


@pytest.mark.parametrize(
    ("reach", "query", "taken", "read"),
    [
        (ALL, "", True, True),
        (ALL, "?project=shop", False, True),
        (Reach(SHOP), "", False, True),
        (Reach(SHOP), "?project=shop", False, True),
        (Reach(DEFAULT), "", True, True),
        (ALL, "?project=nobodys", False, False),
        (Reach(SHOP), "?project=nobodys", False, False),
    ],
    ids=str,
)
def test_an_archived_project_is_read_and_takes_in_nothing(
    logger: Logger, reach: Reach, query: str, taken: bool, read: bool
) -> None:
    router = APIRouter()

    @router.get("/about")
    def about(project: Annotated[Project, Security(project_of, scopes=["read"])]) -> str:
        return project.name

    @router.post("/about")
    def take(project: Annotated[Project, Security(taking_project, scopes=["read"])]) -> str:
        return project.name

    app = create_app(router, logger=logger, gate=GateOf(reach), services=[OneProject("then")])
    client = TestClient(app, headers={"X-API-Key": "k"})

    assert client.get(f"/about{query}").is_success == read
    answer = client.post(f"/about{query}")
    assert answer.is_success == taken
    if read and not taken:
        assert_problem(answer, 409, "project_archived")


@pytest.fixture
def call(load_handler: Callable[[str], ModuleType], access_table: str, aws_clients: dict[str, Any]) -> Any:
    """Calls the routes of the auth function with a key of an admin for all projects, or for one."""
    client = TestClient(load_handler("auth").app)
    keys = ApiKeys(Dynamo(aws_clients["dynamodb"]), access_table)

    def call(method: str, path: str, body: Any = None, reach: Reach = ALL) -> Any:
        key = keys.create("test", ["admin"], "http", reach=reach)[1]
        return client.request(method, path, json=body, headers={"X-API-Key": key})

    return call


def test_an_admin_for_all_makes_lists_renames_and_archives_projects(call: Any) -> None:
    made = call("POST", "/projects", {"name": "shop", "display_name": "The shop", "timezone": "Europe/Warsaw"})
    changed = call("PATCH", "/projects/shop", {"display_name": "Old shop", "archived": True})
    taken_up = call("PATCH", "/projects/shop", {"archived": False, "timezone": "Europe/Warsaw"})

    shown = {"name": "shop", "display_name": "The shop", "timezone": "Europe/Warsaw", "archived_at": None}
    default = {"name": "default", "display_name": "default", "timezone": "UTC", "created_at": None, "archived_at": None}
    assert (made.status_code, made.json()) == (201, shown | {"created_at": made.json()["created_at"]})
    assert changed.status_code == 200
    assert changed.json()["archived_at"] >= made.json()["created_at"]
    assert taken_up.json() == made.json() | {"display_name": "Old shop"}
    assert call("GET", "/projects").json() == {"projects": [default, taken_up.json()]}
    assert call("GET", "/projects/shop").json() == taken_up.json()


def test_an_admin_of_one_project_sees_it_and_changes_none(call: Any) -> None:
    for name in ("shop", "other"):
        call("POST", "/projects", {"name": name})

    shop = call("GET", "/projects/shop", reach=Reach(SHOP))

    assert shop.json()["name"] == "shop"
    assert call("GET", "/projects", reach=Reach(SHOP)).json() == {"projects": [shop.json()]}
    for name in ("other", "nobodys", "default", "Shop"):
        assert_problem(call("GET", f"/projects/{name}", reach=Reach(SHOP)), 404, "unknown_project")
    for name in ("shop", "other", "nobodys"):
        refused = call("PATCH", f"/projects/{name}", {"display_name": "Mine"}, reach=Reach(SHOP))
        assert_problem(refused, 403, "all_projects_required")
    assert_problem(call("POST", "/projects", {"name": "new"}, Reach(SHOP)), 403, "all_projects_required")
    assert [each["display_name"] for each in call("GET", "/projects").json()["projects"]] == [
        "default",
        "other",
        "shop",
    ]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code", "parameter"),
    [
        ("POST", "/projects", {"name": "Shop"}, 422, "invalid_field", "name"),
        ("POST", "/projects", {"name": "*"}, 422, "invalid_field", "name"),
        ("POST", "/projects", {}, 422, "invalid_field", "name"),
        ("POST", "/projects", {"name": "a", "archived": True}, 422, "invalid_field", "archived"),
        ("POST", "/projects", {"name": "a", "timezone": "Mars"}, 422, "invalid_field", "timezone"),
        ("POST", "/projects", {"name": "a", "display_name": ""}, 422, "invalid_field", "display_name"),
        ("POST", "/projects", {"name": "default"}, 409, "project_exists", "name"),
        ("PATCH", "/projects/default", {"archived": True}, 422, "invalid_field", "archived"),
        ("PATCH", "/projects/default", {"timezone": "Europe/Warsaw"}, 409, "timezone_fixed", "timezone"),
        ("PATCH", "/projects/default", {"name": "other"}, 422, "invalid_field", "name"),
        ("PATCH", "/projects/nobodys", {"display_name": "a"}, 404, "unknown_project", "name"),
        ("PATCH", "/projects/NOBODYS", {"display_name": "a"}, 404, "unknown_project", "name"),
        ("GET", "/projects/nobodys", None, 404, "unknown_project", "name"),
        ("GET", "/projects/*", None, 404, "unknown_project", "name"),
    ],
)
def test_what_cannot_be_done_is_refused_and_the_field_is_named(
    call: Any, method: str, path: str, body: Any, status: int, code: str, parameter: str
) -> None:
    assert assert_problem(call(method, path, body), status, code)["parameter"] == parameter
    assert len(call("GET", "/projects").json()["projects"]) == 1


@pytest.mark.parametrize(
    ("creator", "wanted", "scopes", "expected"),
    [
        (ALL, None, ["read"], "default"),
        (ALL, None, ["read", "admin"], "*"),
        (ALL, "shop", ["admin"], "shop"),
        (ALL, "*", ["read"], "*"),
        (ALL, "default", ["admin"], "default"),
        (ALL, "nobodys", ["read"], UNKNOWN),
        (ALL, "Shop", ["read"], (422, "invalid_field")),
        (Reach(SHOP), "Shop", ["read"], ELSEWHERE),
        (Reach(SHOP), None, ["admin"], "shop"),
        (Reach(SHOP), "shop", ["read"], "shop"),
        (Reach(SHOP), "*", ["read"], ELSEWHERE),
        (Reach(SHOP), "default", ["read"], ELSEWHERE),
        (Reach(SHOP), "nobodys", ["read"], ELSEWHERE),
        (Reach(DEFAULT), None, ["admin"], "default"),
        (Reach(DEFAULT), "*", ["admin"], ELSEWHERE),
    ],
    ids=str,
)
def test_who_makes_a_credential_gives_it_no_project_but_their_own(
    call: Any, creator: Reach, wanted: str | None, scopes: list[str], expected: Any
) -> None:
    call("POST", "/projects", {"name": "shop"})
    of = {} if wanted is None else {"project": wanted}
    email = "ada@example.com"

    key = call("POST", "/keys", {"name": "new", "scopes": scopes, **of}, creator)
    account = call(
        "POST", "/auth/register", {"email": email, "password": "nine green bottles", "scopes": scopes, **of}, creator
    )

    if isinstance(expected, str):
        assert (key.json()["project"], account.json()["project"]) == (expected, expected)
        assert {each["project"] for each in call("GET", "/keys").json()["keys"] if each["name"] == "new"} == {expected}
        assert call("GET", f"/accounts?email={email}").json()["project"] == expected
    else:
        for refused in (key, account):
            assert assert_problem(refused, *expected)["parameter"] == "project"
        assert_problem(call("GET", f"/accounts?email={email}"), 404, "unknown_account")


@pytest.fixture
def counted(load_handler: Callable[[str], ModuleType], aws_clients: dict[str, Any], api_key: str) -> Any:
    """Asks with a key for all about three projects: two with counters, 14 hours apart, and one without."""
    dynamodb = aws_clients["dynamodb"]
    module = load_handler("stats")
    tables = module.settings.tables
    projects = Projects(Dynamo(dynamodb), tables.stats, Calendar("UTC"))
    projects.create(SHOP, "The shop", "Pacific/Kiritimati")
    projects.create(Project("shop-2"), "Nothing yet", "UTC")
    projects.lay_out(tables, SHOP)
    for project, day, users, types in (
        (DEFAULT, "2025-08-01", 3, {"open": 5, "buy": 2}),
        (DEFAULT, "2025-08-02", 1, {"open": 1}),
        (SHOP, "2025-08-01", 2, {"open": 1, "close": 7}),
    ):
        counts = {"dau": users, "@http": sum(types.values())} | {f"#{name}": count for name, count in types.items()}
        item = {"pk": {"S": counts_key(project, 0)}, "sk": {"S": day}}
        dynamodb.put_item(TableName=tables.stats, Item=item | {name: {"N": str(n)} for name, n in counts.items()})
    client = TestClient(module.app, headers={"X-API-Key": api_key})

    def ask(path: str, **query: Any) -> Any:
        days = {"from": "2025-08-01", "to": "2025-08-02"} if path.startswith("/stats") else {}
        return client.get(path, params={**days, **query})

    return ask


def test_actives_of_all_projects_are_told_side_by_side_and_in_sum(counted: Any) -> None:
    answer = counted("/stats/dau", project="*").json()

    def days(*numbers: int) -> list[dict[str, Any]]:
        return [{"date": f"2025-08-0{number}", "dau": dau, "complete": True} for number, dau in enumerate(numbers, 1)]

    assert answer.pop("as_of") > "2025-08"
    assert answer == {
        "definition": "daily-active-users",
        "from_store": "counters",
        "from": "2025-08-01",
        "to": "2025-08-02",
        "project": "*",
        "data": days(5, 1),
        "projects": [
            {"project": "default", "display_name": "default", "timezone": "UTC", "data": days(3, 1)},
            {"project": "shop", "display_name": "The shop", "timezone": "Pacific/Kiritimati", "data": days(2, 0)},
            {"project": "shop-2", "display_name": "Nothing yet", "timezone": "UTC", "data": days(0, 0)},
        ],
    }
    for each in answer["projects"]:
        alone = counted("/stats/dau", project=each["project"]).json()
        assert (alone["data"], alone["timezone"]) == (each["data"], each["timezone"])


def test_a_sum_of_projects_is_complete_once_the_day_is_over_for_all_of_them(counted: Any) -> None:
    # It is over in Kiritimati up to fourteen hours before it is in UTC.
    tomorrow = add_days(Calendar("Pacific/Kiritimati").today(datetime.now(UTC)), 1)
    days = {"from": add_days(tomorrow, -4), "to": tomorrow}
    answers = [counted(path, project="*", **days).json() for path in ("/stats/dau", "/stats/top-events")]

    for answer in [answers[0], *answers[0]["projects"]]:
        assert [answer["data"][place]["complete"] for place in (0, -1)] == [True, False]
    assert answers[0]["data"][2]["complete"] == all(each["data"][2]["complete"] for each in answers[0]["projects"])
    assert not any(each["complete"] for each in [answers[1], *answers[1]["projects"]])


def test_top_events_of_all_projects_are_added_up_before_they_are_cut(counted: Any) -> None:
    answer = counted("/stats/top-events", project="*", limit=1).json()

    assert answer["data"] == [{"event_type": "close", "count": 7}]
    assert (answer["definition"], answer["from_store"], answer["complete"]) == ("top-events", "counters", True)
    assert all(each["complete"] for each in answer["projects"])
    assert [each["data"] for each in answer["projects"]] == [
        [{"event_type": "open", "count": 6}],
        [{"event_type": "close", "count": 7}],
        [],
    ]
    assert counted("/stats/top-events", project="*").json()["data"] == [
        {"event_type": "close", "count": 7},
        {"event_type": "open", "count": 7},
        {"event_type": "buy", "count": 2},
    ]
    assert counted("/stats/top-events").json()["data"] == [
        {"event_type": "open", "count": 6},
        {"event_type": "buy", "count": 2},
    ]


def test_what_cannot_be_told_of_all_projects_at_once_is_refused(counted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = counted("/stats/dau", project="*", segment="event_type:open")
    assert assert_problem(segment, 422, "invalid_parameter")["parameter"] == "segment"
    monkeypatch.setattr("rollcall.http.routes.stats.MAX_ROWS", 5)
    for path in ("/stats/dau", "/stats/top-events"):
        assert assert_problem(counted(path, project="*"), 422, "invalid_parameter")["parameter"] == "project"
    monkeypatch.setattr("rollcall.http.routes.stats.MAX_ROWS", 6)
    assert counted("/stats/dau", project="*").status_code == 200


def test_metrics_tell_the_events_of_each_project(counted: Any) -> None:
    text = counted("/metrics").text

    assert 'events_total{project="default",source="http"} 8.0' in text
    assert 'events_total{project="shop",source="http"} 8.0' in text
