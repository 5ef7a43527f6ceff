"""`rollcall projects`, and `--project` of other commands."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner, Result

from rollcall.access.reach import ALL
from scripts.api import Api
from scripts.cli import app
from scripts.commands import stats
from scripts.operate import stacks
from tests.support import Noon, create_tables, delete_tables

Rollcall = Callable[..., Result]

DAU = {
    "from": "2025-12-04",
    "to": "2026-01-02",
    "timezone": "Pacific/Apia",
    "data": [{"date": "2026-01-02", "dau": 1, "complete": False}],
}


@pytest.fixture
def rollcall(access_table: str, aws_clients: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Rollcall]:
    """Runs the command line about a stack of UTC that has its tables."""
    dynamodb = aws_clients["dynamodb"]
    tables = create_tables(dynamodb)
    outputs = {"AccessTableName": access_table, "StatsTableName": tables.stats}
    found = stacks.Stack("here", lambda _service: dynamodb, outputs, {"ReportingTimezone": "UTC"})
    monkeypatch.setattr(stacks, "find", lambda _name: found)
    for name in ("ROLLCALL_KEY", "ROLLCALL_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    yield lambda *arguments, **extra: CliRunner().invoke(app, list(arguments), **extra)
    delete_tables(dynamodb, tables)


def listed(rollcall: Rollcall, what: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(rollcall(what, "list", "--json").stdout)
    return found


def test_projects_are_made_listed_renamed_and_archived(rollcall: Rollcall) -> None:
    assert rollcall("projects", "create", "shop", "--timezone", "Europe/Warsaw").exit_code == 0
    assert rollcall("projects", "create", "app", "--name", "The app").exit_code == 0
    assert rollcall("projects", "rename", "shop", "The shop").exit_code == 0
    assert rollcall("projects", "archive", "shop").exit_code == 0

    default, made, archived = listed(rollcall, "projects")
    assert (default["name"], default["timezone"], default["created_at"]) == ("default", "UTC", None)
    assert (made["name"], made["display_name"], made["timezone"]) == ("app", "The app", "UTC")
    assert (archived["name"], archived["display_name"]) == ("shop", "The shop")
    assert archived["timezone"] == "Europe/Warsaw"
    assert archived["archived_at"] >= archived["created_at"]
    assert "archived 20" in rollcall("projects", "list").stdout
    assert rollcall("projects", "archive", "shop", "--undo").exit_code == 0
    assert listed(rollcall, "projects")[2]["archived_at"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "default"), "there is a project default"),
        (("create", "Shop"), "a project's name has to be"),
        (("create", "shop", "--timezone", "Mars"), "timezone "),
        (("create", "shop", "--name", ""), "display_name "),
        (("rename", "nobodys", "a"), "there is no project nobodys"),
        (("archive", "nobodys"), "there is no project nobodys"),
        (("archive", "default"), "archived cannot be"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(rollcall: Rollcall, arguments: tuple[str, ...], said: str) -> None:
    done = rollcall("projects", *arguments)

    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"rollcall: {said}")
    assert len(listed(rollcall, "projects")) == 1


@pytest.mark.parametrize(
    ("options", "environment", "expected"),
    [
        (("--scope", "ingest"), {}, "default"),
        (("--scope", "ingest", "--scope", "admin"), {}, "*"),
        (("--scope", "admin", "--project", "shop"), {}, "shop"),
        (("--scope", "ingest", "--project", "*"), {}, "*"),
        (("--scope", "ingest"), {"ROLLCALL_PROJECT": "shop"}, "shop"),
        (("--scope", "ingest", "--project", "default"), {"ROLLCALL_PROJECT": "shop"}, "default"),
    ],
)
def test_a_key_is_for_the_project_that_is_named(
    rollcall: Rollcall, options: tuple[str, ...], environment: dict[str, str], expected: str
) -> None:
    rollcall("projects", "create", "shop")

    assert rollcall("keys", "create", "test", *options, env=environment).exit_code == 0
    (key,) = listed(rollcall, "keys")
    assert key["project"] == expected
    assert "reach" not in key


def test_no_key_is_made_for_a_project_that_is_not_there(rollcall: Rollcall) -> None:
    for name in ("nobodys", "Shop"):
        assert rollcall("keys", "create", "test", "--scope", "read", "--project", name).exit_code == 1
    assert listed(rollcall, "keys") == []


@pytest.mark.parametrize(
    ("options", "environment", "asked"),
    [
        ((), {}, {"to": "2026-01-01"}),
        (("--project", "apia"), {}, {"to": "2026-01-02", "project": "apia"}),
        ((), {"ROLLCALL_PROJECT": "apia"}, {"to": "2026-01-02", "project": "apia"}),
        (("--project", "default"), {}, {"to": "2026-01-01", "project": "default"}),
        (("--project", str(ALL)), {}, {"to": "2026-01-01", "project": "*"}),
    ],
)
def test_answers_are_about_the_project_that_is_named_and_its_days(
    rollcall: Rollcall,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    environment: dict[str, str],
    asked: dict[str, str],
) -> None:
    sent: list[dict[str, str]] = []

    def told(request: httpx2.Request) -> httpx2.Response:
        sent.append(dict(request.url.params))
        return httpx2.Response(200, json=DAU)

    def api(_found: object, _stack: object, key: str | None, patience: float, project: str | None) -> Api:
        return Api("http://stack", key, patience, transport=httpx2.MockTransport(told), project=project)

    rollcall("projects", "create", "apia", "--timezone", "Pacific/Apia")
    monkeypatch.setattr(stats, "datetime", Noon)
    monkeypatch.setattr(stats, "api", api)

    assert rollcall("stats", "dau", *options, env=environment).exit_code == 0
    assert asked.items() <= sent[0].items()
    assert sent[0].keys() - {"from", "to"} == asked.keys() - {"to"}


def test_every_request_of_an_import_is_about_the_project() -> None:
    sent: list[str] = []

    def told(request: httpx2.Request) -> httpx2.Response:
        sent.append(str(request.url.params))
        return httpx2.Response(200, json={})

    api = Api("http://stack/v1", None, transport=httpx2.MockTransport(told), project="shop")
    api.request("POST", "/events", content=b"[]")
    api.request("POST", "/imports", json={})
    api.get("/batches/b")

    assert sent == ["project=shop"] * 3
