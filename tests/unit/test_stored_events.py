"""The rows of files whose ids are taken: told by a dry run, listed after an import."""

import csv
import io
import json
import os
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import httpx2
import pytest
from botocore.exceptions import ClientError
from typer.testing import CliRunner

from rollcall.access.reach import Reach
from rollcall.core.days import Calendar
from rollcall.core.events import Event, parse_event
from rollcall.core.projects import DEFAULT, Project
from rollcall.files.rows import Row
from rollcall.stack.dynamo import Dynamo
from scripts.api import Api
from scripts.cli import app
from scripts.commands import events
from scripts.operate import send_file, stacks, stored_events
from scripts.operate.send_file import Reject
from scripts.operate.stored_events import Stored, StoredEvents

HEADER = "event_id,occurred_at,user_id,event_type,properties_json\n"
NOW = datetime(2025, 8, 1, tzinfo=UTC)
KEYS_OF_A_CALL = 100


def row(event_id: str, user: str = "u", properties: str = "") -> str:
    return f"{event_id},2024-05-01T00:00:00Z,{user},open,{properties}"


def stored(event_id: str, user: str = "u", properties: str = "{}") -> Event:
    return Event(event_id, "2024-05-01T00:00:00Z", user, "open", properties)


class Table:
    """An events table, as boto3's client reads it."""

    def __init__(self, *found: Event, denied: bool = False) -> None:
        self._denied = denied
        self.asked = 0
        self._items = {
            event.event_id: {
                name: {"S": text}
                for name, text in (
                    *event._asdict().items(),
                    ("batch", "b"),
                    ("fingerprint", event.fingerprint()),
                    ("received_at", "2024-05-01T00:00:00.000Z"),
                )
            }
            for event in found
        }

    def batch_get_item(self, RequestItems: dict[str, Any]) -> dict[str, Any]:  # noqa: N803 - boto3's name
        if self._denied:
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "BatchGetItem")
        ((name, request),) = RequestItems.items()
        ids = [key["event_id"]["S"] for key in request["Keys"]]
        assert len(ids) == len(set(ids)) <= KEYS_OF_A_CALL, "DynamoDB refuses such a call"
        self.asked += len(ids)
        return {"Responses": {name: [self._items[each] for each in ids if each in self._items]}, "UnprocessedKeys": {}}


def stack_of(table: Table) -> stacks.Stack:
    return stacks.Stack("some", lambda _service: table, {"EventsTableName": "events"}, {"ReportingTimezone": "UTC"})


# Under these ids, two rows have the stored content, two have other content, and the rest is as in a file of its own.
TABLE = (stored("same"), stored("other", "before"))
ROWS = (
    row("same"),
    row("other"),
    row("bad", "null"),
    row("new"),
    row("other", "third"),
    row("same"),
    row("new", "fourth"),
    row("new"),
)
CONFLICTS = [("3", "conflict", ROWS[1]), ("6", "conflict", ROWS[4])]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "some.csv"
    path.write_text(HEADER + "".join(f"{each}\n" for each in ROWS))
    return path


@pytest.fixture
def rejects(tmp_path: Path) -> Path:
    return tmp_path / "rejects.csv"


@pytest.fixture
def rollcall(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """Runs `rollcall import` against a stack with this table, whose API counts four rows and finds three conflicts."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET":
            counts = {"inserted": 1, "duplicates": 2, "conflicts": 3, "refused": 0}
            return httpx2.Response(200, json={"status": "done", "received": 6, **counts})
        sent = json.loads(request.content)
        bad = [index for index, event in enumerate(sent) if event["user_id"] == "null"]
        rejected = [{"index": index, "event_id": None, "code": "invalid_user_id", "message": "so"} for index in bad]
        taken = {"batch_ids": ["0" * 32], "accepted": 6, "rejected": rejected, "duplicates_in_request": 1}
        return httpx2.Response(202, json=taken)

    state = {
        "status": "done",
        "done": True,
        "rows": 8,
        "accepted": 6,
        "rejected": 1,
        "duplicates_in_file": 1,
        "counted": {"inserted": 1, "duplicates": 2, "conflicts": 3, "refused": 0, "pending_batches": 0},
        "rejects": "rejects/some.csv.csv",
    }
    in_bucket = [Reject(4, "invalid_user_id", "so", ROWS[2]), Reject(6, "conflict", "near", ROWS[4])]

    def run(table: Table, *arguments: object, reach: str | None = None) -> Any:
        used = SimpleNamespace(reach=Reach.read(reach)) if reach else None
        monkeypatch.setenv("ROLLCALL_STATE", str(tmp_path / "state"))
        monkeypatch.setattr(stacks, "find", lambda _name: stack_of(table))
        monkeypatch.setattr(events, "_naming", lambda *_: None)
        monkeypatch.setattr(send_file, "_api_key", lambda *_: used)
        monkeypatch.setattr(events, "api", lambda *_: Api("http://some", None, transport=httpx2.MockTransport(answer)))
        monkeypatch.setattr(send_file.UploadImport, "run", lambda *_: state)
        monkeypatch.setattr(send_file, "bucket_rejects", lambda *_: iter(in_bucket))
        return CliRunner().invoke(app, ["import", *map(str, arguments)])

    return run


def listed(rejects: Path) -> list[tuple[str, str, str]]:
    return [(each["line"], each["code"], each["row"]) for each in csv.DictReader(io.StringIO(rejects.read_text()))]


def figures(text: str) -> dict[str, str]:
    return {name.strip(): count for name, _, count in (line.rpartition(" ") for line in text.splitlines())}


@pytest.mark.parametrize(
    ("reach", "project", "of"),
    [("shop", None, "shop"), ("*", None, "default"), ("*", "blog", "blog"), (None, None, "default")],
)
def test_rows_are_compared_with_the_project_that_the_key_sends_to(
    monkeypatch: pytest.MonkeyPatch, reach: str | None, project: str | None, of: str
) -> None:
    used = SimpleNamespace(reach=Reach.read(reach)) if reach else None
    monkeypatch.setattr(send_file, "_api_key", lambda *_: used)
    assert send_file.project_of(stack_of(Table()), "a key", project) == Project(of)


BAD = ("4", "invalid_user_id", ROWS[2])


@pytest.mark.parametrize("way", ["http", "s3"])
def test_an_import_lists_the_rows_in_conflict_and_fails(
    rollcall: Callable[..., Any], file: Path, rejects: Path, way: str
) -> None:
    # What the import has stored since is there too.
    done = rollcall(Table(*TABLE, stored("new")), file, "--via", way, "--rejects", rejects)

    assert done.exit_code == 1
    assert done.stderr.endswith("rollcall: 3 rows are in conflict: other content has the event_id, and stays\n")
    assert "Rows that do not count" in done.stdout
    assert listed(rejects) == [BAD, *CONFLICTS, ("8", "conflict", ROWS[6])]
    assert "event_id" in rejects.read_text().splitlines()[2]


@pytest.mark.parametrize(("way", "known"), [("http", [BAD]), ("s3", [BAD, ("6", "conflict", ROWS[4])])])
def test_an_import_fails_for_conflicts_whose_rows_may_not_be_looked_up(
    rollcall: Callable[..., Any], file: Path, rejects: Path, way: str, known: list[tuple[str, str, str]]
) -> None:
    done = rollcall(Table(denied=True), file, "--via", way, "--rejects", rejects)
    assert done.exit_code == 1
    assert "which rows are in conflict is not known: An error occurred (AccessDeniedException)" in done.stderr
    assert "3 rows are in conflict" in done.stderr
    assert listed(rejects) == known


def test_an_import_fails_for_conflicts_in_what_can_be_read_only_once(
    rollcall: Callable[..., Any], tmp_path: Path, rejects: Path, file: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text(file.read_text()), daemon=True)
    writer.start()
    table = Table(*TABLE)
    done = rollcall(table, pipe, "--rejects", rejects)
    writer.join(60)
    assert done.exit_code == 1
    assert "which rows are in conflict is not known: the input can be read only once" in done.stderr
    assert "3 rows are in conflict" in done.stderr
    assert (listed(rejects), table.asked) == ([BAD], 0)


def test_a_dry_run_tells_which_ids_are_taken_and_fails_for_other_content(
    rollcall: Callable[..., Any], file: Path, rejects: Path
) -> None:
    done = rollcall(Table(*TABLE), file, "--dry-run", "--rejects", rejects)

    assert done.exit_code == 1
    assert done.stderr.endswith("rollcall: 3 rows are in conflict: other content has the event_id, and stays\n")
    told = figures(done.stdout)
    assert (told["rows"], told["good"], told["bad"], told["conflict"]) == ("8", "4", "1", "3")
    assert (told["duplicate in the file"], told["stored already"]) == ("1", "2")
    assert (told["conflict in the file"], told["id taken by a stored event"]) == ("1", "2")
    assert listed(rejects) == [CONFLICTS[0], BAD, CONFLICTS[1], ("8", "conflict", ROWS[6])]


def test_a_dry_run_of_what_is_stored_already_is_good(rollcall: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "again.csv"
    file.write_text(HEADER + f"{row('same')}\n{row('new')}\n")
    done = rollcall(Table(*TABLE), file, "--dry-run")
    told = figures(done.stdout)
    assert (done.exit_code, done.stderr) == (0, "Nothing was sent.\n")
    assert (told["good"], told["stored already"], told["conflict"]) == ("2", "1", "0")


def test_a_dry_run_looks_ids_up_in_the_project_that_the_key_sends_to_by_its_days(
    rollcall: Callable[..., Any], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []

    def calendar_of(_: stacks.Stack, project: str | None) -> Calendar:
        asked.append(project)
        return Calendar("UTC")

    monkeypatch.setattr(events, "calendar_of", calendar_of)
    # What is stored is in the default project.
    done = rollcall(Table(*TABLE), file, "--dry-run", reach="shop")
    assert asked == ["shop"]
    assert figures(done.stdout)["stored already"] == "0"


def test_a_dry_run_that_may_not_look_the_keys_project_up_says_so(
    rollcall: Callable[..., Any], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    denied = ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "Query")
    monkeypatch.setattr(send_file, "project_of", MagicMock(side_effect=denied))
    done = rollcall(Table(*TABLE), file, "--dry-run")
    assert "which ids are taken already is not known: An error occurred (AccessDeniedException)" in done.stderr
    assert "stored already" not in figures(done.stdout)


def test_a_dry_run_that_may_not_look_ids_up_says_so_and_tells_the_rest(
    rollcall: Callable[..., Any], file: Path
) -> None:
    done = rollcall(Table(*TABLE, denied=True), file, "--dry-run")
    assert "which ids are taken already is not known: An error occurred (AccessDeniedException)" in done.stderr
    told = figures(done.stdout)
    assert "stored already" not in told
    assert (told["conflict"], told["conflict in the file"]) == ("2", "2")


def test_a_dry_run_without_a_stack_says_that_none_was_asked(
    rollcall: Callable[..., Any], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = rollcall(Table(), file, "--dry-run")
    assert "No stack was asked" not in run.stderr
    monkeypatch.setattr(stacks, "find", MagicMock(side_effect=stacks.NoStack("none")))
    done = CliRunner().invoke(app, ["import", str(file), "--dry-run"])
    assert "No stack was asked: which ids are taken already is not known.\n" in done.stderr
    assert "stored already" not in figures(done.stdout)


def compared(table: Table, rows: Iterator[Row]) -> list[tuple[int, Stored]]:
    found = StoredEvents(Dynamo(table), "events", DEFAULT)  # type: ignore[arg-type]
    check = lambda row: parse_event(row.event, NOW, Calendar("UTC"))  # noqa: E731
    return [(row.line, stored) for row, _, stored in found.compare(rows, check)]


def raw(event_id: str, user: str = "u", **properties: object) -> dict[str, Any]:
    event = {"event_id": event_id, "occurred_at": "2024-05-01T00:00:00Z", "user_id": user, "event_type": "open"}
    return {**event, "properties": properties}


def test_rows_are_compared_in_their_order_a_few_thousand_at_a_time() -> None:
    table = Table(*(stored(f"e{number}", "u" if number % 3 else "v") for number in range(0, 6_000, 2)))
    taken_from = 0

    def rows() -> Iterator[Row]:
        nonlocal taken_from
        for taken_from in range(6_000):
            yield Row(taken_from, "", raw(f"e{taken_from}"))

    found = StoredEvents(Dynamo(table), "events", DEFAULT)  # type: ignore[arg-type]
    ahead = 0
    for number, (row, _, kind) in enumerate(found.compare(rows(), lambda row: parse_event(row.event, NOW))):
        assert row.line == number
        assert kind is (Stored.NOTHING if number % 2 else Stored.SAME if number % 3 else Stored.OTHER)
        ahead = max(ahead, taken_from - number)
    assert ahead <= stored_events.WINDOW_ROWS * (stored_events.WINDOWS_AT_ONCE + 1)
    assert number == 5_999


def test_long_rows_are_compared_fewer_at_a_time() -> None:
    text = "x" * (stored_events.WINDOW_CHARACTERS // 2)
    windows = stored_events._windows((Row(line, text, None), parse_event(raw("e"), NOW)) for line in range(5))
    assert [len(window) for window in windows] == [2, 2, 1]


def test_what_is_stored_with_equal_numbers_in_another_form_is_the_same() -> None:
    table = Table(stored("e", properties='{"price":100.0}'), stored("f", properties='{"price":100.5}'))
    rows = iter([Row(1, "", raw("e", price=100)), Row(2, "", raw("f", price=100)), Row(3, "", raw("e", price=101))])
    assert compared(table, rows) == [(1, Stored.SAME), (2, Stored.OTHER), (3, Stored.OTHER)]
