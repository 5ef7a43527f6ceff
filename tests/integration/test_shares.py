"""Shares: who has the token sees one view of one project, with one segment and some days, and nothing else."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from rollcall.access.api_keys import SCOPES, ApiKeys
from rollcall.access.reach import Reach
from rollcall.access.shares import Shares
from rollcall.core.days import Calendar, timestamp
from rollcall.core.projects import DEFAULT, Project
from rollcall.http.document import describe
from rollcall.http.services import service
from rollcall.http.views import VIEWS
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.projects import Projects
from tests.integration.conftest import WholeApi
from tests.support import assert_problem, scan

SHOP = Project("shop")
SEGMENT = ["event_type:purchase", "properties.country:UA"]
PAGE = {"X-Rollcall-Page": "1"}
ROUTES = [(method.upper(), path) for path, operations in describe()["paths"].items() for method in operations]
PUBLIC = {path for path in describe()["paths"] if path.startswith(("/auth/session", "/health"))} | {
    f"/auth/{each}" for each in ("login", "refresh", "logout")
}
OF_RANGE = ["dau", "actives", "lifecycle", "stickiness", "top-events"]


@dataclass
class Sharing:
    """The whole API, and an admin who shares."""

    app: WholeApi
    key: str
    table: str
    dynamodb: Any

    def send(self, method: str, path: str, headers: dict[str, str], **arguments: Any) -> Response:
        return TestClient(self.app, raise_server_exceptions=False).request(method, path, headers=headers, **arguments)

    def asked(self, method: str, path: str, **arguments: Any) -> Response:
        """As the admin."""
        return self.send(method, path, {"X-API-Key": self.key}, **arguments)

    def created(self, **changes: object) -> dict[str, Any]:
        answer = self.asked("POST", "/shares", json=wanted(**changes))
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def open(self, token: str) -> Response:
        return self.send("POST", "/auth/session", PAGE, json={"share": token})

    def viewer(self, **changes: object) -> "Viewer":
        made = self.created(**changes)
        return Viewer(self, made["share_id"], self.open(made["token"]).json()["access_token"])

    def items(self) -> list[dict[str, str]]:
        return list(scan(self.dynamodb, self.table))


@dataclass
class Viewer:
    """Somebody who has a link."""

    sharing: Sharing
    share_id: str
    token: str

    def ask(self, path: str, method: str = "GET", **query: Any) -> Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        return self.sharing.send(method, path, headers, params={name.rstrip("_"): each for name, each in query.items()})


def wanted(**changes: object) -> dict[str, object]:
    """The body of a new share of August 2025."""
    body = {
        "name": "for the board",
        "view": "overview",
        "from": "2025-08-01",
        "to": "2025-08-31",
        "expires_at": timestamp(time.time() + 3_600),
    }
    return {name: value for name, value in {**body, **changes}.items() if value is not None}


def last_days(count: int) -> dict[str, object]:
    return {"from": None, "to": None, "days": count}


@pytest.fixture
def sharing(whole_api: WholeApi, api_key: str, access_table: str, dynamodb: Any) -> Sharing:
    service(whole_api.apps["auth"], Projects).create(SHOP, "Shop", "Pacific/Kiritimati")
    return Sharing(whole_api, api_key, access_table, dynamodb)


def test_a_share_opens_without_a_cookie_and_says_what_it_shows(sharing: Sharing) -> None:
    made = sharing.created(project="shop", segment=SEGMENT, period="week")

    answer = sharing.open(made["token"])

    share = {name: value for name, value in made.items() if name != "token"}
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    assert answer.json()["principal"] == {
        "name": "for the board",
        "kind": "share",
        "scopes": ["read"],
        "project": "shop",
        "share": share,
    }
    assert share.keys() == {
        *("share_id", "name", "view", "project", "segment", "from", "to", "days", "period", "created_at", "expires_at")
    }
    assert (share["segment"], share["from"], share["to"], share["days"]) == (SEGMENT, "2025-08-01", "2025-08-31", None)
    assert answer.json()["expires_in"] == 900
    assert made["token"] not in answer.text


def test_no_access_token_of_a_share_is_said_to_outlive_it(sharing: Sharing) -> None:
    made = sharing.created(expires_at=timestamp(time.time() + 300))

    assert 0 < sharing.open(made["token"]).json()["expires_in"] <= 300


@pytest.mark.parametrize(("method", "path"), [each for each in ROUTES if each[1] not in PUBLIC])
def test_a_share_is_refused_every_route_that_its_view_does_not_name(sharing: Sharing, method: str, path: str) -> None:
    viewer = sharing.viewer(**last_days(30))
    before = [item for item in sharing.items() if not item["pk"].startswith("bucket#")]

    answer = viewer.ask(re.sub(r"\{\w+\}", "0" * 16, path), method)

    # Those of the view ask for days, which are not named here.
    assert_problem(answer, 403, "not_shared")
    assert [item for item in sharing.items() if not item["pk"].startswith("bucket#")] == before


def test_a_view_names_no_route_but_such_as_only_read_numbers() -> None:
    named = {path for routes in VIEWS.values() for path in routes}

    assert named <= {path for method, path in ROUTES if method == "GET" and path.startswith("/stats/")}


def test_a_share_shows_the_retention_table_of_its_days_alone(sharing: Sharing) -> None:
    viewer = sharing.viewer()

    assert viewer.ask("/stats/retention/table", from_="2025-07-15", to="2025-08-31").status_code == 200
    for first, last in (("2025-06-30", "2025-07-31"), ("2025-08-15", "2025-09-01")):
        answer = viewer.ask("/stats/retention/table", from_=first, to=last)
        assert_problem(answer, 403, "not_shared")


@pytest.mark.parametrize("route", OF_RANGE)
def test_a_share_asks_about_its_days_and_those_of_the_period_before(sharing: Sharing, route: str) -> None:
    viewer = sharing.viewer(project="shop")

    for first, last, status in (
        ("2025-08-01", "2025-08-31", 200),
        ("2025-07-01", "2025-07-31", 200),
        ("2025-07-01", "2025-08-31", 200),
        ("2025-08-15", "2025-08-15", 200),
        ("2025-06-30", "2025-07-31", 403),
        ("2025-08-01", "2025-09-01", 403),
        ("2025-09-01", "2025-09-01", 403),
        ("2025-06-01", "2025-06-30", 403),
    ):
        answer = viewer.ask(f"/stats/{route}", from_=first, to=last)
        assert answer.status_code == status, (first, last, answer.text)
        assert status == 200 or answer.json()["code"] == "not_shared"
        assert viewer.ask(f"/stats/{route}", "HEAD", from_=first, to=last).status_code == status
        assert viewer.ask(f"/stats/{route}", from_date=first, to_date=last).status_code == status


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"from": "2025-08-01"},
        {"to": "2025-08-31"},
        {"from": "2025-08-01", "to": "garbage"},
        {"from": ["2025-08-01", "2025-01-01"], "to": "2025-08-31"},
        {"from": "2025-08-01", "from_date": "2025-01-01", "to": "2025-08-31"},
        {"from": "2025-08-01", "to": "2025-08-31", "to_date": "2026-08-31"},
        {"from": "2025-08-31", "to": "2025-08-01"},
        {"from": "20250801", "to": "2025-08-31"},
    ],
    ids=range(9),
)
def test_days_that_are_not_named_well_are_not_shared(sharing: Sharing, query: dict[str, Any]) -> None:
    viewer = sharing.viewer()

    for route in OF_RANGE:
        assert_problem(viewer.ask(f"/stats/{route}", **query), 403, "not_shared")


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("retention", {"start_date": "2025-08-28"}, 200),
        ("retention", {"start_date": "2025-08-29"}, 403),
        ("retention", {"start_date": "2025-07-01", "windows": "30"}, 200),
        ("retention", {"start_date": "2025-06-30"}, 403),
        ("retention", {"start_date": "2025-08-01", "windows": "31"}, 403),
        ("retention", {"start_date": "2025-08-01", "windows": "3", "period": "week"}, 200),
        ("retention", {"start_date": "2025-08-01", "windows": "4", "period": "week"}, 403),
        ("retention", {"start_date": "2025-08-01", "windows": "x"}, 403),
        ("retention", {"start_date": "2025-08-01", "windows": "-1"}, 403),
        ("retention", {"start_date": "2025-08-01", "windows": "9" * 20}, 403),
        ("retention", {"start_date": "2025-08-01", "period": "year"}, 403),
        ("retention", {"start_date": ["2025-08-01", "2025-01-01"]}, 403),
        ("cohort", {"start_date": "2025-07-01", "window": "7"}, 200),
        ("cohort", {"start_date": "2025-07-01"}, 403),
        ("cohort", {"start_date": "2025-08-01"}, 403),
        ("cohort", {"start_date": "2025-08-01", "window": "3"}, 200),
        ("cohort", {}, 403),
    ],
    ids=range(17),
)
def test_a_share_of_fixed_days_shows_no_window_that_ends_after_them(
    sharing: Sharing, path: str, query: dict[str, Any], status: int
) -> None:
    viewer = sharing.viewer()

    answer = viewer.ask(f"/stats/{path}", **query)

    assert answer.status_code == status, answer.text
    assert status == 200 or answer.json()["code"] == "not_shared"


@pytest.mark.parametrize("route", ["actives", "lifecycle", "retention/table"])
def test_a_share_of_fixed_days_shows_no_week_or_month_that_ends_after_them(sharing: Sharing, route: str) -> None:
    # A Wednesday.
    viewer = sharing.viewer(**{"from": "2025-08-20", "to": "2025-08-20"})
    of_month, of_last_days = sharing.viewer(), sharing.viewer(**last_days(30))
    today = str(datetime.now(UTC).date())

    for period, status in (("day", 200), ("week", 403), ("month", 403), (["day", "month"], 403)):
        answer = viewer.ask(f"/stats/{route}", from_="2025-08-20", to="2025-08-20", period=period)
        assert answer.status_code == status, (period, answer.text)
        assert status == 200 or answer.json()["code"] == "not_shared"
    for period in ("week", "month"):
        whole = of_month.ask(f"/stats/{route}", from_="2025-07-01", to="2025-08-31", period=period)
        assert whole.status_code == 200, whole.text
        of_today = of_last_days.ask(f"/stats/{route}", from_=today, to=today, period=period)
        assert of_today.status_code == 200, of_today.text


@pytest.mark.parametrize("project", ["default", "shop"])
def test_a_share_of_the_last_days_moves_with_the_days_of_its_project(sharing: Sharing, project: str) -> None:
    viewer = sharing.viewer(**last_days(7), project=project)
    zone = "UTC" if project == "default" else "Pacific/Kiritimati"
    today = datetime.fromisoformat(Calendar(zone).today(datetime.now(UTC))).date()

    def ask(first: int, last: int) -> int:
        days = {"from": str(today - timedelta(first)), "to": str(today - timedelta(last))}
        return viewer.ask("/stats/dau", **days).status_code

    # It may be another day by now.
    assert [ask(6, 0), ask(12, 7), ask(15, 7), ask(0, -2)] == [200, 200, 403, 403]
    retention = viewer.ask("/stats/retention", start_date=str(today - timedelta(1)), windows=7)
    assert retention.status_code == 200


@pytest.mark.parametrize("named", [None, "shop", "default", "*", "nothing", ["shop", "default"]], ids=str)
def test_a_share_asks_about_no_project_but_its_own(sharing: Sharing, named: str | list[str] | None) -> None:
    viewer = sharing.viewer(project="shop")
    query: dict[str, Any] = {} if named is None else {"project": named}

    answer = viewer.ask("/stats/dau", from_="2025-08-01", to="2025-08-31", **query)

    if named in (None, "shop"):
        assert answer.json()["timezone"] == "Pacific/Kiritimati"
    else:
        assert_problem(answer, 403, "not_shared")


@pytest.mark.parametrize(
    "segment",
    [[], SEGMENT[:1], [*SEGMENT, "event_type:login"], [SEGMENT[0], "properties.country:DE"], SEGMENT * 2],
    ids=["none", "less", "more", "another", "twice"],
)
def test_a_share_asks_with_exactly_its_segment(sharing: Sharing, segment: list[str]) -> None:
    viewer = sharing.viewer(segment=SEGMENT)
    days = {"from_": "2025-08-01", "to": "2025-08-31"}

    assert_problem(viewer.ask("/stats/dau", **days, segment=segment), 403, "not_shared")
    assert viewer.ask("/stats/dau", **days, segment=SEGMENT).status_code == 200
    assert viewer.ask("/stats/dau", **days, segment=SEGMENT[::-1]).status_code == 200


def test_a_share_without_a_segment_asks_about_all_events_alone(sharing: Sharing) -> None:
    viewer = sharing.viewer()

    answer = viewer.ask("/stats/dau", from_="2025-08-01", to="2025-08-31", segment=SEGMENT[:1])

    assert_problem(answer, 403, "not_shared")


def test_a_revoked_share_shows_nothing_from_the_next_request_on(sharing: Sharing) -> None:
    made = sharing.created()
    viewer = Viewer(sharing, made["share_id"], sharing.open(made["token"]).json()["access_token"])
    days = {"from_": "2025-08-01", "to": "2025-08-31"}
    assert viewer.ask("/stats/dau", **days).status_code == 200

    assert sharing.asked("DELETE", f"/shares/{made['share_id']}").status_code == 204

    assert_problem(viewer.ask("/stats/dau", **days), 401, "revoked")
    assert_problem(viewer.ask("/stats/actives", **days), 401, "revoked")
    assert_problem(sharing.open(made["token"]), 401, "wrong_credentials")
    assert_problem(sharing.asked("DELETE", f"/shares/{made['share_id']}"), 404, "unknown_share")
    assert sharing.asked("GET", "/shares").json() == {"shares": []}
    assert not [item for item in sharing.items() if item["pk"].startswith("share")]


def test_a_share_ends_at_its_end_whatever_the_table_still_has(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = sharing.created()
    viewer = Viewer(sharing, made["share_id"], sharing.open(made["token"]).json()["access_token"])
    now = time.time()
    item = next(item for item in sharing.items() if item["pk"] == f"share#{made['share_id']}")
    sharing.dynamodb.update_item(
        TableName=sharing.table,
        Key={name: {"S": item[name]} for name in ("pk", "sk")},
        UpdateExpression="SET expires_at = :now",
        ExpressionAttributeValues={":now": {"N": str(int(now))}},
    )

    assert_problem(viewer.ask("/stats/dau", from_="2025-08-01", to="2025-08-31"), 401, "revoked")
    assert_problem(sharing.open(made["token"]), 401, "wrong_credentials")
    assert sharing.asked("GET", "/shares").json() == {"shares": []}


@pytest.mark.parametrize(
    ("changes", "parameter"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\n"}, "name"),
        ({"name": "  "}, "name"),
        ({"view": "live"}, "view"),
        ({"project": "*"}, "project"),
        ({"project": "A"}, "project"),
        ({"segment": ["country:UA"]}, "segment"),
        ({"segment": [f"event_type:{each}" for each in range(6)]}, "segment"),
        ({"days": 7}, "days"),
        ({"to": None}, "to"),
        ({"from": None}, "from"),
        ({"from": None, "to": None}, "from"),
        ({"from": "2025-08-32"}, "from"),
        ({"from": "2025-09-01"}, "to"),
        ({"from": "2024-08-01", "to": "2025-08-02"}, "to"),
        ({**last_days(0)}, "days"),
        ({**last_days(367)}, "days"),
        ({"period": "year"}, "period"),
        ({"expires_at": None}, "expires_at"),
        ({"expires_at": "soon"}, "expires_at"),
        ({"expires_at": "2100-01-01"}, "expires_at"),
        ({"expires_at": "2100-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": "0001-01-01T00:00:00+14:00"}, "expires_at"),
        ({"expires_at": timestamp(time.time() + 3_600).replace("-", "").replace(":", "")}, "expires_at"),
        ({"expires_at": timestamp(time.time() + 3_600).replace("T", "x")}, "expires_at"),
        ({"expires_at": timestamp(time.time() + 3_600).replace("Z", "+00:00:30")}, "expires_at"),
        ({"expires_at": timestamp(time.time() - 1)}, "expires_at"),
        ({"expires_at": timestamp(time.time() + 367 * 86_400)}, "expires_at"),
        ({"first": "2025-08-01"}, "first"),
    ],
    ids=range(29),
)
def test_a_bad_field_of_a_share_is_a_422_that_names_it(
    sharing: Sharing, changes: dict[str, object], parameter: str
) -> None:
    answer = sharing.asked("POST", "/shares", json=wanted(**changes))

    assert assert_problem(answer, 422, "invalid_field")["parameter"] == parameter
    assert sharing.asked("GET", "/shares").json() == {"shares": []}


def test_the_end_of_a_share_is_taken_in_each_form_that_rfc_3339_has(sharing: Sharing) -> None:
    until = timestamp(time.time() + 3_600)

    for text in (until.lower(), until.replace("T", " "), until.replace("Z", ".5-00:00")):
        assert sharing.created(expires_at=text)["expires_at"] == until


def test_an_admin_of_one_project_shares_it_alone_and_sees_and_ends_no_other_share(sharing: Sharing) -> None:
    of_default = sharing.created()
    key = ApiKeys(Dynamo(sharing.dynamodb), sharing.table).create("shop", SCOPES, "web", reach=Reach(SHOP))[1]
    shop = Sharing(sharing.app, key, sharing.table, sharing.dynamodb)

    of_shop = shop.created()

    assert of_shop["project"] == "shop"
    assert [each["share_id"] for each in shop.asked("GET", "/shares").json()["shares"]] == [of_shop["share_id"]]
    assert len(sharing.asked("GET", "/shares").json()["shares"]) == 2
    assert "token" not in sharing.asked("GET", "/shares").text
    assert_problem(shop.asked("DELETE", f"/shares/{of_default['share_id']}"), 404, "unknown_share")
    assert_problem(shop.asked("POST", "/shares", json=wanted(project="default")), 403, "other_project")
    assert sharing.asked("DELETE", f"/shares/{of_shop['share_id']}").status_code == 204


def test_each_share_has_a_bucket_of_its_own(sharing: Sharing) -> None:
    first, second = sharing.viewer(), sharing.viewer()
    days = {"from_": "2025-08-01", "to": "2025-08-31"}

    answers = [viewer.ask("/stats/dau", **days) for viewer in (first, first, second)]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert all("ratelimit" in answer.headers for answer in answers)
    of_shares = {item["pk"] for item in sharing.items() if item["pk"].startswith("bucket#share#")}
    assert of_shares == {f"bucket#share#{viewer.share_id}" for viewer in (first, second)}


@pytest.fixture
def altered(sharing: Sharing) -> Callable[[str], str]:
    """Tokens that are none, by what is done to a good one."""
    good = sharing.created()["token"]
    return lambda name: {
        "another secret": good[:-48] + "0" * 48,
        "another share": good.replace(good[3:19], "0" * 16),
        "no secret": good[:19],
        "upper case": good.upper(),
        "garbage": "garbage",
        "empty": "",
    }[name]


@pytest.mark.parametrize("name", ["another secret", "another share", "no secret", "upper case", "garbage", "empty"])
def test_what_is_no_token_of_a_share_opens_nothing(sharing: Sharing, altered: Callable[[str], str], name: str) -> None:
    assert_problem(sharing.open(altered(name)), 401, "wrong_credentials")


def test_the_token_of_a_share_is_kept_as_a_hash_alone(sharing: Sharing) -> None:
    token = sharing.created()["token"]
    sharing.open(token)

    assert token.rpartition("_")[2] not in str(sharing.items())
    # It is no credential of the API either.
    answer = sharing.send("GET", "/stats/dau", {"Authorization": f"Bearer {token}"})
    assert_problem(answer, 401, "invalid_credential")


def test_a_share_is_there_without_whoever_made_it(sharing: Sharing) -> None:
    viewer = sharing.viewer()
    (share,) = service(sharing.app.apps["auth"], Shares).all(Reach(DEFAULT))
    keys = sharing.asked("GET", "/keys").json()["keys"]
    assert sharing.asked("DELETE", f"/keys/{keys[0]['key_id']}").status_code == 204

    assert share.share_id == viewer.share_id
    assert viewer.ask("/stats/dau", from_="2025-08-01", to="2025-08-31").status_code == 200
