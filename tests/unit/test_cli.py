import csv
import gc
import gzip
import io
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, cast
from unittest.mock import MagicMock

import duckdb
import httpx2
import pytest
from botocore.exceptions import ClientError, WaiterError
from rich.console import Console
from typer.testing import CliRunner

from rollcall.archive.compaction import Compacted
from rollcall.core.batch import Batch, Sender, encode, make_batch
from rollcall.core.days import Calendar
from rollcall.core.events import Event
from rollcall.core.projects import DEFAULT, Project
from rollcall.core.strict_json import MAX_VALUES, most_values
from rollcall.files.rows import Row, read_rows
from rollcall.files.uploads import plain_name
from rollcall.http.routes.imports import NewImport
from rollcall.intake.bodies import read_events
from rollcall.intake.intake import Intake
from rollcall.stack.dynamo import Unavailable
from rollcall.stack.projects import Projects
from scripts import show
from scripts.api import Api, ApiError, on_this_machine
from scripts.cli import app
from scripts.commands import archive as archive_commands
from scripts.commands import events, stats
from scripts.local import deploy, sample
from scripts.local.ministack import free_port
from scripts.operate import audit as auditing
from scripts.operate import dlq, send_file, stacks
from scripts.operate.audit import Audit, CannotRepair
from scripts.operate.send_file import HttpImport, Naming, Reject, Report, UploadImport
from tests.support import RECEIVED_AT, Noon, pass_over

DAY = "2024-05-10"
HEADER = "event_id,occurred_at,user_id,event_type,properties_json\n"
IN_APIA = stacks.Stack("apia", MagicMock(), {}, {"ReportingTimezone": "Pacific/Apia"})
GOOD = "{0},2024-05-01T10:00:00Z,u-{0},open,\n"


@pytest.fixture
def rollcall(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """Runs the command line where no stack is."""
    monkeypatch.setenv("ROLLCALL_PORT", str(free_port()))
    monkeypatch.setenv("ROLLCALL_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("ROLLCALL_KEY", raising=False)
    return lambda *arguments, **extra: CliRunner().invoke(app, [str(each) for each in arguments], **extra)


def test_the_help_says_each_command_in_a_sentence(rollcall: Callable[..., Any]) -> None:
    said = rollcall("--help", env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})
    assert said.exit_code == 0
    for command in ("up", "down", "status", "generate", "import", "stats", "keys", "dlq", "bench"):
        (line,) = (line for line in said.stdout.splitlines() if line.startswith(f"│ {command} "))
        assert line.rstrip("│ ").endswith((".", "retention."))


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.jsonl", "a.jsonl.gz"])
def test_the_same_options_generate_the_same_bytes(rollcall: Callable[..., Any], tmp_path: Path, name: str) -> None:
    files = [tmp_path / folder / name for folder in ("one", "two")]
    for file in files:
        file.parent.mkdir()
        done = rollcall("generate", file, "--rows", 300, "--users", 20, "--days", 5, "--last-day", DAY)
        assert (done.exit_code, done.stdout) == (0, "")
    assert files[0].read_bytes() == files[1].read_bytes()
    rows = list(read_rows([files[0].read_bytes()]))
    assert [row.event for row in rows] == sample.generate(300, 20, 5, date.fromisoformat(DAY), 1)
    assert files[0].read_bytes().startswith(b"\x1f\x8b") == name.endswith(".gz")


def test_a_dash_generates_to_standard_output(rollcall: Callable[..., Any]) -> None:
    done = rollcall("generate", "-", "--rows", 3, "--last-day", DAY)
    assert done.exit_code == 0
    assert len(list(csv.DictReader(io.StringIO(done.stdout)))) == 3


def test_events_that_other_options_generate_are_no_conflicts_of_these() -> None:
    one, other = (
        {event["event_id"] for event in sample.stream(rows, 20, 5, date(2024, 5, 10), 1)} for rows in (100, 200)
    )
    assert one.isdisjoint(other)


def test_events_are_made_as_they_are_written() -> None:
    assert next(sample.stream(10**12, 20, 5, date(2024, 5, 10), 1))["event_type"] in sample.EVENT_TYPES
    made = 0

    def events() -> Iterator[dict[str, Any]]:
        nonlocal made
        for event in sample.stream(10**12, 20, 5, date(2024, 5, 10), 1):
            made += 1
            yield event

    with pytest.raises(BrokenPipeError):
        sample.write(events(), io.BufferedWriter(Gone()), "-")
    assert made < 10_000


class Gone(io.RawIOBase):
    """A pipe whose reader has gone."""

    def writable(self) -> bool:
        return True

    def write(self, _data: object) -> int:
        raise BrokenPipeError


def file_of(tmp_path: Path, *rows: str) -> Path:
    file = tmp_path / "some.csv"
    file.write_text(HEADER + "".join(rows))
    return file


def test_a_dry_run_tells_what_a_file_holds_and_needs_no_stack(rollcall: Callable[..., Any], tmp_path: Path) -> None:
    file = file_of(tmp_path, GOOD.format(1), GOOD.format(2), "bad,2024-05-01,u,open,\n", GOOD.format(2), "b,,u,o,\n")
    done = rollcall("import", file, "--dry-run", "--rejects", tmp_path / "rejects.csv")
    assert done.exit_code == 0
    said = [line.split() for line in done.stdout.splitlines()]
    assert ["rows", "5"] in said
    assert ["good", "3"] in said
    assert ["duplicate", "in", "the", "file", "1"] in said
    assert ["conflict", "in", "the", "file", "0"] in said
    assert "Rejected rows" in done.stdout
    assert "Warning" not in done.stderr
    assert ["invalid_occurred_at", "1"] in said
    assert ["users", "2"] in said
    assert ["from", "2024-05-01"] in said
    assert ["4", "invalid_occurred_at"] in [line[:2] for line in said]
    assert ["6", "missing_field"] in [line[:2] for line in said]
    rejects = list(csv.DictReader(io.StringIO((tmp_path / "rejects.csv").read_text())))
    assert [(row["line"], row["code"], row["row"]) for row in rejects] == [
        ("4", "invalid_occurred_at", "bad,2024-05-01,u,open,"),
        ("6", "missing_field", "b,,u,o,"),
    ]


def test_a_dry_run_refuses_what_no_stack_takes_by_default(rollcall: Callable[..., Any], tmp_path: Path) -> None:
    file = file_of(tmp_path, GOOD.format(1), "old,1969-12-31T23:59:59Z,u,open,\n")
    done = rollcall("import", file, "--dry-run")
    assert ["too_old", "1"] in [line.split() for line in done.stdout.splitlines()]


def test_requests_of_an_import_never_hold_more_days_or_values_than_the_api_takes() -> None:
    naming = Naming(DEFAULT, "http", Calendar("UTC"))
    times = [f"{date(2020, 1, 1) + timedelta(days=day)}T00:00:00Z" for day in range(1_000)]
    fixed = {"user_id": "u", "event_type": "t"}
    rows = [Row(1, "", {"event_id": time, "occurred_at": time, **fixed}) for time in times]
    windows = list(HttpImport(cast(Any, None), naming, 5_000)._windows(rows))
    assert [len(window.rows) for window in windows] == [400, 400, 200]

    wide = {"event_id": "e", "occurred_at": times[0], **fixed, "properties": {"a": list(range(1_000))}}
    windows = list(HttpImport(cast(Any, None), naming, 5_000)._windows([Row(1, "", wide)] * 500))
    bodies = [b"[" + b",".join(window.bodies) + b"]" for window in windows]
    assert sum(len(read_events(body)) for body in bodies) == 500
    assert max(most_values(body.decode()) for body in bodies) <= MAX_VALUES


def test_a_dry_run_reads_no_more_of_a_file_than_a_stack(
    rollcall: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "bomb.csv.gz"
    file.write_bytes(gzip.compress((HEADER + GOOD.format(1)).encode() + b"\n" * 10_000_000))
    monkeypatch.setattr(events, "MOST_BYTES", 2_000_000)
    done = rollcall("import", file, "--dry-run")
    assert done.exit_code == 0
    said = [line.split() for line in done.stdout.splitlines()]
    assert ["good", "1"] in said
    assert ["file_too_large", "1"] in said
    assert "the file has more than 2,000,000 bytes" in done.stdout


def test_a_file_without_a_good_row_fails(rollcall: Callable[..., Any], tmp_path: Path) -> None:
    done = rollcall("import", file_of(tmp_path, "bad,2024-05-01,u,open,\n"), "--dry-run")
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (1, "rollcall: no row is accepted")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("import", "/no/such.csv"), 1, "/no/such.csv: No such file or directory"),
        (("import", "-", "--via", "s3"), 2, "Invalid value: standard input goes via http only"),
        (("import", "x.csv", "--batch-size", "5001"), 2, "Invalid value for '--batch-size'"),
        (("stats", "dau", "--json", "--csv"), 2, "Invalid value: --json and --csv exclude each other"),
        (("stats", "dau", "--from", "2024-02-30"), 2, "Invalid value for '--from': 2024-02-30 does not exist"),
        (("stats", "dau"), 1, "no local stack answers on port"),
        (("status",), 1, "no local stack answers on port"),
        (("down",), 1, "no rollcall up runs with the data in"),
        (("up", "--seed", "/no/such.csv"), 1, "there is no file /no/such.csv to begin with"),
        (("dlq", "redrive"), 2, "Invalid value: name messages by their ids, or all by --all"),
        (("nonsense",), 2, "No such command 'nonsense'"),
        (("generate", "-", "--last-day", "today"), 2, "Invalid value for '--last-day'"),
        (
            ("generate", "-", "--days", "10", "--last-day", "0001-01-05"),
            2,
            "Invalid value: --days 10 up to --last-day 0001-01-05 begin before the year 1",
        ),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    rollcall: Callable[..., Any], arguments: tuple[str, ...], status: int, said: str
) -> None:
    done = rollcall(*arguments)
    assert (done.exit_code, done.stdout) == (status, "")
    assert done.stderr.startswith(f"rollcall: {said}")
    assert done.stderr.count("\n") == 1


def test_events_may_be_of_the_first_day_that_there_is(rollcall: Callable[..., Any]) -> None:
    done = rollcall("generate", "-", "--rows", 5, "--days", 5, "--last-day", "0001-01-05")
    assert done.stdout.count("0001-01-01T") == 1


@pytest.mark.parametrize("failure", [Unavailable, CannotRepair])
def test_what_the_tables_do_not_give_is_told_in_a_line(
    rollcall: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, failure: type[Exception]
) -> None:
    monkeypatch.setattr(stacks, "find", MagicMock(side_effect=failure("not\nnow")))
    done = rollcall("stats", "dau")
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", "rollcall: not now\n")


@pytest.mark.parametrize("way", [("--dry-run",), (), ("--via", "s3")])
@pytest.mark.parametrize("other_name", [Path.hardlink_to, Path.symlink_to, None])
def test_the_file_to_import_is_not_overwritten_with_its_rejects(
    rollcall: Callable[..., Any], tmp_path: Path, way: tuple[str, ...], other_name: Callable[[Path, Path], None] | None
) -> None:
    file = rejects = file_of(tmp_path, GOOD.format(1))
    content = file.read_bytes()
    if other_name:
        rejects = tmp_path / "other.csv"
        other_name(rejects, file)
    done = rollcall("import", file, "--rejects", rejects, *way)
    assert (done.exit_code, done.stderr) == (2, f"rollcall: Invalid value: --rejects {rejects} is the file to import\n")
    assert file.read_bytes() == content


@pytest.mark.parametrize("way", ["http", "s3"])
@pytest.mark.parametrize("found", [True, False])
def test_a_run_that_reads_no_row_leaves_older_rejects_alone(
    rollcall: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, way: str, found: bool
) -> None:
    monkeypatch.setattr(stacks, "find", MagicMock(side_effect=stacks.NoStack("there is no stack typo")))
    file, rejects = file_of(tmp_path, GOOD.format(1)), tmp_path / "rejects.csv"
    rejects.write_text("older")
    assert rollcall("import", file if found else "typo", "--via", way, "--rejects", rejects).exit_code == 1
    assert rejects.read_text() == "older"
    assert sorted(path.name for path in tmp_path.iterdir()) == [rejects.name, file.name]


def test_a_new_file_of_rejected_rows_is_its_owners_alone(rollcall: Callable[..., Any], tmp_path: Path) -> None:
    file, rejects = file_of(tmp_path, GOOD.format(1), "no event\n"), tmp_path / "rejects.csv"
    before = os.umask(0o022)
    try:
        assert rollcall("import", file, "--dry-run", "--rejects", rejects).exit_code == 0
    finally:
        os.umask(before)
    assert rejects.stat().st_mode & 0o777 == 0o600


def test_rejects_take_the_place_of_older_ones_under_the_same_name_and_rights(
    rollcall: Callable[..., Any], tmp_path: Path
) -> None:
    file, rejects, link = file_of(tmp_path, GOOD.format(1)), tmp_path / "rejects.csv", tmp_path / "link.csv"
    rejects.write_text("older")
    rejects.chmod(0o600)
    link.symlink_to(rejects)
    assert rollcall("import", file, "--dry-run", "--rejects", link).exit_code == 0
    assert (rejects.read_text(), rejects.stat().st_mode & 0o777) == ("line,code,message,row\n", 0o600)
    assert link.is_symlink()
    missing = tmp_path / "missing" / "rejects.csv"
    done = rollcall("import", file, "--dry-run", "--rejects", missing)
    assert (done.exit_code, done.stderr) == (1, f"rollcall: {missing}: No such file or directory\n")


def test_rejects_go_into_a_pipe(rollcall: Callable[..., Any], tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    done = rollcall("import", file_of(tmp_path, GOOD.format(1), "b,,u,o,\n"), "--dry-run", "--rejects", pipe)
    reader.join(60)
    assert (done.exit_code, pipe.is_fifo()) == (0, True)
    assert [line.partition(",")[0] for line in read[0].splitlines()] == ["line", "3"]


@pytest.mark.parametrize(("taken", "kept"), [(0, "older"), (1, "line,code,message,row\n2,invalid_user_id,so,")])
def test_a_run_that_is_cut_short_keeps_the_rejects_that_it_was_told(
    rollcall: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, taken: int, kept: str
) -> None:
    fake = FakeApi()

    def answer(request: httpx2.Request) -> httpx2.Response:
        return fake(request) if len(fake.requests) < taken else httpx2.Response(403, json={"message": "no"})

    monkeypatch.setattr(send_file, "REQUESTS_AT_ONCE", 1)
    monkeypatch.setattr(stacks, "find", lambda _name: None)
    monkeypatch.setattr(events, "_naming", lambda *_: None)
    monkeypatch.setattr(events, "api", lambda *_: Api("http://stack", None, transport=httpx2.MockTransport(answer)))
    rejects = tmp_path / "rejects.csv"
    rejects.write_text("older")
    file = file_of(tmp_path, *(row(str(number), "bad") for number in range(9)))
    done = rollcall("import", file, "--batch-size", 1, "--rejects", rejects)
    assert (done.exit_code, done.stderr) == (1, "rollcall: the API refuses events (403): no\n")
    assert rejects.read_text().startswith(kept)
    assert sorted(path.name for path in tmp_path.iterdir()) == [rejects.name, file.name]


def test_more_than_s3_takes_at_once_is_not_sent(
    rollcall: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(stacks, "find", MagicMock(side_effect=stacks.NoStack("no stack was asked for before")))
    file = tmp_path / "huge.csv"
    for more, said in (
        (0, "no stack was asked for before"),
        (1, f"{file}: S3 takes 5 GB at once; gzip the file or cut it"),
    ):
        with file.open("wb") as sparse:
            sparse.truncate(send_file.MAX_UPLOAD_BYTES + more)
        done = rollcall("import", file, "--via", "s3")
        assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
        assert done.stderr.startswith(f"rollcall: {said}")


DAU = {
    "from": "2024-05-01",
    "to": "2024-05-02",
    "timezone": "UTC",
    "data": [
        {"date": "2024-05-01", "dau": 4, "complete": True},
        {"date": "2024-05-02", "dau": 0, "complete": False},
    ],
}
TOP = {**DAU, "limit": 10, "data": [{"event_type": 'a "b"\x1b[31m', "count": 1200}]}
RETENTION = {
    "cohort_date": "2024-05-01",
    "cohort_size": 4,
    "cohort": "active",
    "period": "week",
    "windows": 1,
    "timezone": "UTC",
    "retention": [
        {"week": 1, "date": "2024-05-08", "retained_users": 2, "retention_rate": 50.0, "complete": False},
    ],
}


RETAINED = {"from": "2024-05-06", "to": "2024-05-12", "retained_users": 1, "retention_rate": 33.33, "complete": False}
TABLE = {
    "from": "2024-05-01",
    "to": "2024-05-12",
    "timezone": "UTC",
    "period": "week",
    "week_start": "monday",
    "cohort": "active",
    "on": "exactly",
    "cohorts": [
        {
            "from": "2024-04-29",
            "to": "2024-05-05",
            "cohort_size": 3,
            "complete": True,
            "retained": [
                {
                    "number": 0,
                    "from": "2024-04-29",
                    "to": "2024-05-05",
                    "retained_users": 3,
                    "retention_rate": 100.0,
                    "complete": True,
                },
                {"number": 1, **RETAINED},
            ],
        },
        {
            "from": "2024-05-06",
            "to": "2024-05-12",
            "cohort_size": 0,
            "complete": False,
            "retained": [{**RETAINED, "number": 0, "retained_users": 0, "retention_rate": 0.0}],
        },
    ],
}


TYPES = {
    "from": "2024-05-01",
    "to": "2024-05-02",
    "timezone": "UTC",
    "data": [
        {"event_type": "open", "count": 3, "first_seen": "2024-05-01", "last_seen": "2024-05-02"}
        | {"condition": "event_type:open"},
        {"event_type": "$other", "count": 7, "first_seen": None, "last_seen": None, "condition": None},
    ],
}
PROPERTIES = {
    "from": "2024-05-01",
    "to": "2024-05-02",
    "timezone": "UTC",
    "event_type": None,
    "others": 0,
    "data": [
        {"property": "plan", "cut": False, "count": 5, "kinds": {"null": 1, "string": 4}}
        | {"first_seen": "2024-05-01", "last_seen": "2024-05-02"}
        | {
            "values": [
                {"value": "pro\x1b", "kind": "string", "count": 4, "cut": True, "condition": None},
            ]
        },
        {"property": "tags", "cut": False, "count": 1, "kinds": {"list": 1}, "values": []}
        | {"first_seen": "2024-05-01", "last_seen": "2024-05-01"},
    ],
}


@pytest.mark.parametrize(
    ("command", "answer", "as_csv"),
    [
        ("dau", DAU, "date,dau,complete\n2024-05-01,4,True\n2024-05-02,0,False\n"),
        (
            "dau",
            {
                **DAU,
                "data": [
                    {"date": "2011-12-30", "dau": 0, "complete": True, "no_day": True},
                    {"date": "2011-12-31", "dau": 0, "complete": True},
                ],
            },
            "date,dau,complete\n2011-12-30,,True\n2011-12-31,0,True\n",
        ),
        ("top-events", TOP, 'event_type,count\n"a ""b""\x1b[31m",1200\n'),
        ("top-events", {**TOP, "data": []}, "event_type,count\n"),
        (
            "retention",
            RETENTION,
            "week,date,retained_users,retention_rate,complete\n1,2024-05-08,2,50.0,False\n",
        ),
        (
            "event-types",
            TYPES,
            "event_type,count,first_seen,last_seen,condition\n"
            "open,3,2024-05-01,2024-05-02,event_type:open\n$other,7,,,\n",
        ),
        ("properties", PROPERTIES, "property,value,kind,count,condition\nplan,pro\x1b,string,4,\n"),
        (
            "retention-table",
            TABLE,
            "cohort,cohort_size,number,from,to,retained_users,retention_rate,complete\n"
            "2024-04-29,3,0,2024-04-29,2024-05-05,3,100.0,True\n"
            "2024-04-29,3,1,2024-05-06,2024-05-12,1,33.33,False\n"
            "2024-05-06,0,0,2024-05-06,2024-05-12,0,0.0,False\n",
        ),
    ],
)
def test_answers_are_printed_as_json_and_csv(
    rollcall: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, command: str, answer: dict[str, Any], as_csv: str
) -> None:
    monkeypatch.setattr(stacks, "find", lambda _name: IN_APIA)
    transport = httpx2.MockTransport(lambda _request: httpx2.Response(200, json=answer))
    monkeypatch.setattr(stats, "api", lambda *_: Api("http://stack", None, transport=transport))
    assert json.loads(rollcall("stats", command, "--json").stdout) == answer
    assert rollcall("stats", command, "--csv").stdout == as_csv
    for_people = rollcall("stats", command)
    assert for_people.exit_code == 0
    assert "\x1b" not in for_people.stdout


@pytest.mark.parametrize(
    ("command", "answer", "asked"),
    [
        ("dau", DAU, {"from": "2025-12-04", "to": "2026-01-02"}),
        ("top-events", TOP, {"from": "2025-12-04", "to": "2026-01-02"}),
        ("retention", RETENTION, {"start_date": "2025-12-04"}),
        ("retention-table", TABLE, {"from": "2025-12-04", "to": "2026-01-02", "period": "week"}),
    ],
)
def test_the_days_that_are_asked_about_by_default_are_those_of_the_stack(
    rollcall: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    answer: dict[str, Any],
    asked: dict[str, str],
) -> None:
    sent: list[httpx2.Request] = []

    def told(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(200, json=answer)

    monkeypatch.setattr(stats, "datetime", Noon)
    monkeypatch.setattr(stacks, "find", lambda _name: IN_APIA)
    transport = httpx2.MockTransport(told)
    monkeypatch.setattr(stats, "api", lambda *_: Api("http://stack", None, transport=transport))
    assert rollcall("stats", command, "--json").exit_code == 0
    assert asked.items() <= dict(sent[0].url.params).items()


LEDGER_DAY = {"received": 3, "accepted": 2, "counted": 1, "duplicates": 1, "conflicts": 0, "refused": 0}
LEDGER = {
    "key_id": "a" * 16,
    "timezone": "UTC",
    "data": [
        {"date": "2026-01-01", **LEDGER_DAY, "rejected": {"too_old": 1}},
        {"date": "2026-01-02", **LEDGER_DAY, "rejected": {"missing_field": 2}},
        {"date": "2026-01-03", **dict.fromkeys(LEDGER_DAY, 0), "rejected": {}},
    ],
}
REJECTS = {
    "data": [
        {
            "received_at": "2026-01-01T00:00:00Z",
            "dialect": "segment",
            "code": "too_old",
            "message": "userId",
            "event_id": None,
            "item": "{}",
        }
    ],
    "next": None,
}


@pytest.mark.parametrize(
    ("arguments", "answer", "path", "asked", "shown"),
    [
        (
            ("keys", "ledger", "a/b"),
            LEDGER,
            "/keys/a%2Fb/ledger",
            {},
            ["all days 6 4 2 2 0 0 2 missing_field, 1 too_old"],
        ),
        (
            ("rejects", "a" * 16, "--limit", "7"),
            REJECTS,
            "/rejects",
            {"key": "a" * 16, "limit": "7"},
            ["2026-01-01T00:00:00Z segment too_old userId {}"],
        ),
    ],
    ids=["ledger", "rejects"],
)
def test_what_became_of_a_keys_events_is_asked_and_shown(
    rollcall: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    answer: dict[str, Any],
    path: str,
    asked: dict[str, str],
    shown: list[str],
) -> None:
    sent: list[httpx2.Request] = []

    def told(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(200, json=answer)

    monkeypatch.setattr(stats, "datetime", Noon)
    monkeypatch.setattr(stacks, "find", lambda _name: IN_APIA)
    transport = httpx2.MockTransport(told)
    monkeypatch.setattr(stats, "api", lambda *_: Api("http://stack", None, transport=transport))
    done = rollcall(*arguments, env={"COLUMNS": "200"})
    assert done.exit_code == 0
    assert sent[0].url.raw_path.decode().partition("?")[0] == path
    assert {**asked, "from": "2025-12-04", "to": "2026-01-02"} == dict(sent[0].url.params)
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert set(shown) <= set(lines)
    # A day without events has no row.
    assert "2026-01-03" not in done.stdout


@pytest.mark.parametrize(("options", "first"), [((), "'=1+1"), (("--raw",), "=1+1")])
def test_an_event_type_in_csv_starts_a_formula_only_if_raw(
    rollcall: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], first: str
) -> None:
    monkeypatch.setattr(stacks, "find", lambda _name: IN_APIA)
    answer = {**TOP, "data": [{"event_type": "=1+1", "count": -5}]}
    transport = httpx2.MockTransport(lambda _request: httpx2.Response(200, json=answer))
    monkeypatch.setattr(stats, "api", lambda *_: Api("http://stack", None, transport=transport))
    assert rollcall("stats", "top-events", "--csv", *options).stdout == f"event_type,count\n{first},-5\n"


SQL = """SELECT '-1' AS "=id", -5 AS whole, -5.50 AS decimals, -1e3::double AS floating, INTERVAL '-1 day' AS span,
    json('{"a": -5}') -> '$.a' AS number, json('{"a": "-5"}') -> '$.a' AS quoted, NULL AS nothing"""


@pytest.mark.parametrize(
    ("options", "printed"),
    [
        ((), "'=id,whole,decimals,floating,span,number,quoted,nothing\n'-1,-5,-5.50,-1000.0,\"'-1 day, 0:00:00\",-5,"),
        (
            ("--raw",),
            '=id,whole,decimals,floating,span,number,quoted,nothing\n-1,-5,-5.50,-1000.0,"-1 day, 0:00:00",-5,',
        ),
    ],
)
def test_the_texts_of_a_query_start_no_formula_unless_raw_and_its_numbers_are_numbers(
    rollcall: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], printed: str
) -> None:
    monkeypatch.setattr(stacks, "find", lambda _name: MagicMock())
    archive = MagicMock()
    archive.opened.return_value.__enter__.return_value = duckdb.connect()
    monkeypatch.setattr(archive_commands, "StackArchive", MagicMock(of=MagicMock(return_value=archive)))
    done = rollcall("query", SQL, "--csv", *options)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith(printed)
    quoted, nothing = next(csv.reader([done.stdout.splitlines()[1]]))[-2:]
    assert (quoted, nothing) == ('"-5"' if options else '\'"-5"', "")


@pytest.mark.parametrize("command", [("compact",), ("compact", "--backfill"), ("query", "SELECT 1"), ("audit",)])
def test_a_command_about_an_archive_or_the_counters_is_about_one_project(
    rollcall: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    projects = Projects(cast(Any, MagicMock(find=lambda *_: None)), "stats", Calendar("UTC"))
    where = MagicMock(projects=projects)
    monkeypatch.setattr(stacks, "find", lambda _name: where)
    asked: list[Project] = []

    def of(_stack: object, project: Project, *_: object) -> Any:
        asked.append(project)
        made = MagicMock()
        made.compact.return_value = Compacted()
        made.opened.return_value.__enter__.return_value = duckdb.connect()
        made.audit.return_value = Audit(0, 0, [], {})
        return made

    monkeypatch.setattr(archive_commands, "StackArchive", MagicMock(of=of))
    monkeypatch.setattr(archive_commands, "consumer_of", lambda _stack: (MagicMock(), 60))
    monkeypatch.setattr(auditing, "of_stack", of)
    assert rollcall(*command).exit_code == 0
    assert asked == [DEFAULT]
    refused = rollcall(*command, "--project", "Shop")
    assert (refused.exit_code, asked) == (1, [DEFAULT])
    assert "a project's name has to be" in refused.stderr
    if command != ("audit",):
        monkeypatch.setattr(
            projects, "_dynamo", MagicMock(find=lambda *_: None, client=MagicMock(get_item=lambda **_: {}))
        )
        unknown = rollcall(*command, "--project", "nobody")
        assert (unknown.exit_code, asked) == (1, [DEFAULT])
        assert "there is no project nobody" in unknown.stderr


@pytest.mark.parametrize("command", [("query", "SELECT 1"), ("audit",)])
def test_one_project_and_all_projects_exclude_each_other(
    rollcall: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    where = MagicMock()
    where.projects.all.return_value = []
    monkeypatch.setattr(stacks, "find", lambda _name: where)
    monkeypatch.setattr(archive_commands, "StackArchive", MagicMock())
    monkeypatch.setattr(archive_commands, "opened_together", lambda _archives: closing(duckdb.connect()))

    refused = rollcall(*command, "--all-projects", "--project", "default")
    assert (refused.exit_code, where.mock_calls) == (2, [])
    assert "--project and --all-projects exclude each other" in refused.stderr
    # It is set for all commands, not for this one.
    monkeypatch.setenv("ROLLCALL_PROJECT", "shop")
    assert rollcall(*command, "--all-projects").exit_code == 0
    where.projects.all.assert_called_once_with()
    where.projects.find.assert_not_called()


IDS = ["=x", "-1", "+380501234567", "@me", "'=x", '"""=x"""', "plain"]


def test_rejected_rows_start_no_formula_and_raw_ones_are_the_rows_of_the_file(
    rollcall: Callable[..., Any], tmp_path: Path
) -> None:
    rows = [f"{event_id},2024-05-01,u,open," for event_id in IDS]
    file, rejects = file_of(tmp_path, *(f"{row}\n" for row in rows)), tmp_path / "rejects.csv"

    rollcall("import", file, "--dry-run", "--rejects", rejects)
    kept = [row["row"] for row in csv.DictReader(io.StringIO(rejects.read_text()))]
    assert kept == [*(f"'{row}" for row in rows[:-1]), rows[-1]]

    rollcall("import", file, "--dry-run", "--rejects", rejects, "--raw")
    raw = [row["row"] for row in csv.DictReader(io.StringIO(rejects.read_text()))]
    assert raw == rows
    mended = HEADER + "".join(f"{row}\n".replace("2024-05-01", "2024-05-01T10:00:00Z") for row in raw)
    ids = [row.event["event_id"] for row in read_rows([mended.encode()]) if isinstance(row.event, dict)]
    assert ids == ["=x", "-1", "+380501234567", "@me", "'=x", '"=x"', "plain"]


def test_a_rejected_row_with_a_carriage_return_is_one_row_of_the_rejects(
    rollcall: Callable[..., Any], tmp_path: Path
) -> None:
    file, rejects = tmp_path / "cr.jsonl", tmp_path / "rejects.csv"
    file.write_bytes(b"one\rtwo\r\n" + b"three\n")
    rollcall("import", file, "--dry-run", "--rejects", rejects)
    with rejects.open(newline="") as text:
        assert [row.row for row in send_file.read_rejects(text)] == ["one\rtwo", "three"]
    assert rejects.read_bytes().endswith(b",three\n")


def test_the_rejects_of_the_bucket_are_read_as_the_rows_of_the_file() -> None:
    rejected = [Reject(line, "code", "message", f"{event_id},2024-05-01,u,open,") for line, event_id in enumerate(IDS)]
    kept = io.StringIO(newline="")
    in_bucket = send_file.RejectFile(kept)
    for reject in rejected:
        in_bucket.add(reject)
    found = list(send_file.read_rejects(io.StringIO(kept.getvalue(), newline="")))
    assert found == rejected


@pytest.mark.parametrize(
    ("arguments", "about"),
    [(("import", "x.csv"), "--rejects"), (("stats", "dau", "--json"), "--csv"), (("query", "SELECT 1"), "--csv")],
)
def test_raw_without_csv_is_refused(rollcall: Callable[..., Any], arguments: tuple[str, ...], about: str) -> None:
    done = rollcall(*arguments, "--raw")
    assert (done.exit_code, done.stderr) == (2, f"rollcall: Invalid value: --raw is about {about}\n")


@pytest.mark.parametrize(("terminal", "coloured"), [(True, True), (False, False)])
def test_retention_is_shaded_by_heat_on_terminals_only(terminal: bool, coloured: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=terminal, color_system="truecolor" if terminal else None)
    console.print(show.retention(RETENTION))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "50.00 % so far" in text
    assert ("\x1b[38;2;" in text) == coloured


def test_a_request_is_sent_again_when_it_may_help_and_as_late_as_it_was_told() -> None:
    answers: list[httpx2.Response | Exception] = [
        httpx2.Response(429, headers={"Retry-After": "7"}, json={"message": "too fast"}),
        httpx2.Response(503),
        httpx2.ConnectError("nobody there"),
        httpx2.Response(200, json={"fine": True}),
    ]
    pauses: list[float] = []

    def answer(_request: httpx2.Request) -> httpx2.Response:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    api = Api("http://stack", None, sleep=pauses.append, transport=httpx2.MockTransport(answer))
    assert api.get("/stats/dau") == {"fine": True}
    assert pauses[0] == 7
    assert 0 < pauses[1] < pauses[2] <= 1
    assert answers == []


@pytest.mark.parametrize(
    ("status", "said"),
    [(503, "answers 503: out"), (401, "asks for a good key"), (404, "refuses it \\(404\\): out")],
)
def test_a_request_that_stays_refused_says_why(status: int, said: str) -> None:
    transport = httpx2.MockTransport(lambda _request: httpx2.Response(status, json={"message": "out"}))
    with pytest.raises(ApiError, match=said):
        Api("http://stack", None, patience=1, sleep=pass_over, transport=transport).get("/health")


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:4566/x", True),
        ("http://[::1]:4566", True),
        ("http://localhost:4566", True),
        ("http://bucket.localhost:4566", True),
        ("https://127.0.0.1.example.com", False),
        ("https://bucket.s3.eu-central-1.amazonaws.com/uploads/x", False),
    ],
)
def test_it_is_known_what_is_on_this_machine(url: str, local: bool) -> None:
    assert on_this_machine(url) == local


@contextmanager
def bucket() -> "Iterator[tuple[str, list[bytes]]]":
    """Where a file can be put, and what was."""
    put: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            put.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/file", put
        finally:
            server.shutdown()
            thread.join()


def upload(file: Path, *states: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    """Upload a file where the API tells these states, one after the other."""
    told = iter(states)
    with bucket() as (url, put):

        def answer(request: httpx2.Request) -> httpx2.Response:
            made = {"import_id": "7", "url": url, "headers": {"Content-Length": str(file.stat().st_size)}}
            return httpx2.Response(200, json=made if request.method == "POST" else next(told))

        api = Api("http://stack", None, transport=httpx2.MockTransport(answer))
        return UploadImport(api).run(file, lambda _bytes: None, lambda _status: None), put


STATE = {
    "status": "done",
    "done": True,
    "rows": 9,
    "accepted": 8,
    "duplicates_in_file": 1,
    "rejected": 0,
    "counted": {"inserted": 4, "duplicates": 2, "conflicts": 1, "refused": 1, "pending_batches": 0},
}


def test_a_file_is_uploaded_to_a_local_stack_past_any_proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    file = file_of(tmp_path, GOOD.format(1))
    status, put = upload(file, {**STATE, "done": False}, STATE)
    assert (status, put) == (STATE, [file.read_bytes()])


@pytest.mark.parametrize(
    ("statuses", "message"),
    [
        ([503, 412], None),
        ([409, 200], None),
        ([503, 409, 412], None),
        ([412], r"the bucket refuses the file \(412\)"),
        ([403], r"the bucket refuses the file \(403\)"),
        ([503, 503, 503], r"the bucket refuses the file \(503\)"),
    ],
)
def test_an_upload_whose_answer_failed_may_be_the_one_file_that_is_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, statuses: list[int], message: str | None
) -> None:
    put = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/file":
            put.append((request.read(), request.headers["If-None-Match"], request.headers["Content-Length"]))
            return httpx2.Response(statuses[len(put) - 1])
        assert json.loads(request.content) == {"name": "some.csv", "bytes": file.stat().st_size}
        headers = {"Content-Length": str(file.stat().st_size), "If-None-Match": "*"}
        return httpx2.Response(201, json={"import_id": "7", "url": "http://bucket/file", "headers": headers})

    transport = httpx2.MockTransport(answer)
    monkeypatch.setattr(
        httpx2, "put", lambda url, *, trust_env, **rest: httpx2.Client(transport=transport).put(url, **rest)
    )
    file = file_of(tmp_path, GOOD.format(1))
    importing = UploadImport(Api("http://stack", None, transport=transport))
    monkeypatch.setattr(send_file, "poll", lambda *_: STATE)
    if message:
        with pytest.raises(ApiError, match=message):
            importing.run(file, lambda _bytes: None, lambda _status: None)
    else:
        assert importing.run(file, lambda _bytes: None, lambda _status: None) == STATE
    assert put == [(file.read_bytes(), "*", str(file.stat().st_size))] * len(statuses)


def test_a_dry_run_lists_other_content_under_one_id_and_warns_of_ids_that_are_row_numbers(
    rollcall: Callable[..., Any], tmp_path: Path
) -> None:
    file = file_of(tmp_path, GOOD.format(1), GOOD.format(2), GOOD.format(3), row("2", "other"), GOOD.format(2))

    done = rollcall("import", file, "--dry-run", "--rejects", tmp_path / "rejects.csv")

    said = [line.split() for line in done.stdout.splitlines()]
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (
        1,
        "rollcall: 1 row is in conflict: other content has the event_id, and stays",
    )
    assert ["good", "4"] in said
    assert ["duplicate", "in", "the", "file", "1"] in said
    assert ["conflict", "in", "the", "file", "1"] in said
    assert "Rows that do not count" in done.stdout
    rejects = list(csv.DictReader(io.StringIO((tmp_path / "rejects.csv").read_text())))
    assert [(each["line"], each["code"], each["row"]) for each in rejects] == [
        ("5", "conflict", row("2", "other")[:-1])
    ]
    assert "Warning" not in done.stderr
    file = file_of(tmp_path, GOOD.format(1), GOOD.format(2), GOOD.format(3))
    done = rollcall("import", file, "--dry-run")
    assert "Warning: the event_ids of the file are 1, 2, 3, ...: the rows of any other file" in done.stderr


def test_the_batches_of_other_content_are_predicted() -> None:
    event = {"event_id": "a", "occurred_at": "2024-05-01T00:00:00Z", "user_id": "u", "event_type": "open"}
    events = [event, {**event, "event_id": "b"}, {**event, "occurred_at": "2024-04-01T00:00:00Z"}, event]
    door = Intake(cast(Any, MagicMock(send=lambda *_: {})), lambda _: Calendar("UTC"))
    taken = door.take(DEFAULT, events, Sender("http"), "-")
    assert Naming(DEFAULT, "http", Calendar("UTC")).names(events) == {batch.batch_id for batch in taken.batches}
    assert taken.accepted == 3


def test_every_row_of_an_upload_is_accounted_for() -> None:
    assert send_file.report_of(STATE) == Report(
        rows=9, accepted=9, inserted=4, duplicates=3, conflicts=1, refused=1, rejected=0
    )


def test_an_upload_whose_file_is_gone_is_not_waited_for(tmp_path: Path) -> None:
    gone = {**STATE, "status": "gone", "done": False, "counted": None}
    with pytest.raises(ApiError, match="import 7 has ended: its file was deleted or cannot be read any more; 8 rows"):
        upload(file_of(tmp_path, GOOD.format(1)), gone)


class FakeApi:
    """Takes events as the API does: refuses those of user `bad`, and at the first try those of user `later`."""

    def __init__(self) -> None:
        self.requests: list[list[dict[str, Any]]] = []
        self._known: dict[str, int] = {}

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET":
            batch_id = request.url.path.rpartition("/")[2]
            counts = {"inserted": self._known[batch_id], "duplicates": 0, "conflicts": 0, "refused": 0}
            return httpx2.Response(200, json={"status": "done", "received": self._known[batch_id], **counts})
        events = json.loads(request.content)
        again = any(event in earlier for earlier in self.requests for event in events)
        self.requests.append(events)
        rejected = [
            {"index": index, "event_id": None, "code": code, "message": "so"}
            for index, event in enumerate(events)
            for user, code in (("bad", "invalid_user_id"), ("later", "retry"))
            if event["user_id"] == user and not (code == "retry" and again)
        ]
        good = sorted(
            event["event_id"]
            for index, event in enumerate(events)
            if index not in {refusal["index"] for refusal in rejected}
        )
        batch_ids = ["-".join(good)] if good else []
        self._known |= {batch_id: len(good) for batch_id in batch_ids}
        said = {"batch_ids": batch_ids, "accepted": len(good), "rejected": rejected, "duplicates_in_request": 0}
        return httpx2.Response(202 if good else 422, json=said)

    def run(self, content: str, batch_size: int) -> tuple[Report, list[Reject]]:
        rejects: list[Reject] = []
        api = Api("http://stack", None, transport=httpx2.MockTransport(self))
        rows: Iterator[Row] = read_rows([content.encode("utf-8", "surrogateescape")])
        return HttpImport(api, None, batch_size).run(rows, rejects.append), rejects


def row(event_id: str, user: str = "u", properties: str = "") -> str:
    return f"{event_id},2024-05-01T00:00:00Z,{user},open,{properties}\n"


@pytest.mark.parametrize("batch_size", [1, 2, 3, 500])
def test_rejected_rows_are_named_by_their_lines_whoever_finds_them_bad(batch_size: int) -> None:
    lines = [
        row("a"),
        row("b", "bad"),
        '"c",2024-05-01T00:00:00Z,"u\nv",open,\n',
        row("d", "u", "{"),
        row("e", "bad"),
        row("f", "u", '"{""x"": {""y"": 1, ""y"": 2}}"'),
        row("g", "\udcff"),
        row("h", "u", '"{""x"": ""' + 40_000 * "x" + '""}"'),
        row("i"),
    ]
    report, rejects = FakeApi().run(HEADER + "".join(lines), batch_size)
    assert [(reject.line, reject.code) for reject in rejects] == [
        (3, "invalid_user_id"),
        (6, "invalid_properties"),
        (7, "invalid_user_id"),
        (8, "invalid_properties"),
        (9, "invalid_unicode"),
        (10, "event_too_large"),
    ]
    assert (report.rows, report.accepted, report.inserted, report.rejected) == (9, 3, 3, 6)


def test_events_that_the_queue_did_not_take_are_sent_again_alone() -> None:
    api = FakeApi()
    report, rejects = api.run(HEADER + row("a") + row("b", "later") + row("c", "bad"), 500)
    assert [[event["event_id"] for event in events] for events in api.requests] == [["a", "b", "c"], ["b"]]
    assert (report.accepted, report.inserted, [reject.line for reject in rejects]) == (2, 2, [4])


def test_what_is_sent_again_because_an_answer_was_lost_is_told_once() -> None:
    fake = FakeApi()
    lost = {"POST", "GET"}

    def answer(request: httpx2.Request) -> httpx2.Response:
        said = fake(request)
        if request.method in lost:
            lost.remove(request.method)
            raise httpx2.ReadTimeout("lost")
        return said

    api = Api("http://stack", None, sleep=pass_over, transport=httpx2.MockTransport(answer))
    rows = read_rows([(HEADER + row("a") + row("b") + row("c", "bad")).encode()])
    report = HttpImport(api, None, 500).run(rows, lambda _reject: None)
    assert len(fake.requests) == 2
    assert fake.requests[0] == fake.requests[1]
    assert report == Report(rows=3, accepted=2, inserted=2, rejected=1)


def test_a_batch_that_comes_twice_in_a_file_is_inserted_once() -> None:
    report, _ = FakeApi().run(HEADER + 3 * (row("a") + row("b")), 2)
    assert (report.rows, report.accepted, report.inserted, report.duplicates) == (6, 6, 2, 4)


def test_requests_are_bounded_by_size_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(send_file, "REQUEST_BYTES", 1_000)
    api = FakeApi()
    api.run(HEADER + "".join(row(f"event-{number}") for number in range(100)), 500)
    assert all(len(json.dumps(events)) < 1_500 for events in api.requests)
    assert sum(map(len, api.requests)) == 100


def test_a_row_that_nests_too_deep_does_not_fail_its_request() -> None:
    api = FakeApi()
    deep = '{"a":' * 400 + "1" + "}" * 400
    good, bad = (f'{{"event_id":"{name}","user_id":"u","properties":' for name in "ab")
    report, rejects = api.run(f"{good}null}}\n{bad}{deep}}}\n{'[' * 499}{']' * 499}\n", 500)
    assert [[event["event_id"] for event in events] for events in api.requests] == [["a"]]
    assert [(reject.line, reject.code) for reject in rejects] == [(2, "missing_field"), (3, "not_an_object")]
    assert (report.rows, report.accepted) == (3, 1)


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("august.csv", "august.csv"),
        ("события.jsonl", "file-------.jsonl"),
        (".ndjson", "file.ndjson"),
        ("_ a.JSONL.gz", "file_-a.JSONL.gz"),
        ("a" * 200 + ".jsonl", "a" * 90 + ".jsonl"),
        ("-" * 200 + ".jsonl", "file" + "-" * 90 + ".jsonl"),
        ("я", "file-"),
    ],
)
def test_an_upload_has_a_name_that_the_api_takes_and_the_ending_of_its_file(name: str, taken: str) -> None:
    assert plain_name(name) == taken
    NewImport(name=taken)


def test_json_lines_are_sent_without_what_no_event_has() -> None:
    api = FakeApi()
    event = {"event_id": "a", "occurred_at": "2024-05-01T00:00:00Z", "user_id": 7, "event_type": "open"}
    api.run(json.dumps({**event, "more": 1, "properties": {"x": [1.5, None]}}) + "\n", 500)
    assert api.requests == [[{**event, "properties": {"x": [1.5, None]}}]]


def test_a_file_packed_by_gzip_is_generated_without_the_time_of_day() -> None:
    buffer = io.BytesIO()
    sample.write([], buffer, "x.csv.gz")
    assert gzip.decompress(buffer.getvalue()).decode().split(",") == [*sample.COLUMNS[:4], "properties_json\n"]
    assert buffer.getvalue()[4:8] == b"\0\0\0\0"


class FakeQueues:
    """A stack whose queues hold messages in memory. What is received is hidden for so many calls."""

    def __init__(self, hidden_calls: int = 10_000) -> None:
        self.messages: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in (*dlq.QUEUES.values(), BACK)}
        self.most_hidden = 0
        self.fail_again = False
        self._hidden: dict[str, int] = {}
        self._hidden_calls = hidden_calls
        self._now = 0
        self._added = 0

    def client(self, _service: str) -> "FakeQueues":
        return self

    def output(self, name: str) -> str:
        return name

    def add(self, body: str, queue: str = "DeadLetterQueueUrl", sent: datetime | None = None) -> str:
        self._added += 1
        name = f"{queue}-{self._added}"
        milliseconds = int((sent or datetime.now(UTC) - timedelta(hours=1)).timestamp() * 1000)
        attributes = {"SentTimestamp": str(milliseconds)}
        self.messages[queue][name] = {"MessageId": name, "Body": body, "ReceiptHandle": name, "Attributes": attributes}
        return name

    def hidden(self) -> list[str]:
        return [name for name, until in self._hidden.items() if until > self._now]

    def receive_message(self, QueueUrl: str, MaxNumberOfMessages: int, **_: object) -> dict[str, Any]:  # noqa: N803
        self._now += 1
        assert self._now < 1_000
        hidden = self.hidden()
        some = [each for name, each in self.messages[QueueUrl].items() if name not in hidden][:MaxNumberOfMessages]
        self._hidden |= {each["MessageId"]: self._now + self._hidden_calls for each in some}
        self.most_hidden = max(self.most_hidden, len(self.hidden()))
        return {"Messages": some} if some else {}

    def send_message(self, QueueUrl: str, MessageBody: str, **_: object) -> None:  # noqa: N803
        self.add(MessageBody, QueueUrl)
        if self.fail_again:
            self.add(MessageBody, sent=datetime.now(UTC) + timedelta(seconds=1))

    def delete_message(self, QueueUrl: str, ReceiptHandle: str) -> None:  # noqa: N803
        del self.messages[QueueUrl][ReceiptHandle], self._hidden[ReceiptHandle]

    def change_message_visibility_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> None:  # noqa: N803
        for entry in Entries:
            self._hidden.pop(entry["ReceiptHandle"], None)


BACK = "BatchQueueUrl"


@pytest.fixture
def queues(monkeypatch: pytest.MonkeyPatch) -> FakeQueues:
    found = FakeQueues()
    monkeypatch.setattr(stacks, "find", lambda _name: found)
    return found


def letter(name: str) -> str:
    event = Event(name, "2024-05-01T00:00:00Z", name, "open", "{}")
    return encode(make_batch(DEFAULT, [event], "http", RECEIVED_AT))


def test_all_messages_are_sent_back_a_few_at_a_time(rollcall: Callable[..., Any], queues: FakeQueues) -> None:
    bodies = [letter(str(number)) for number in range(35)]
    for body in bodies:
        queues.add(body)
    done = rollcall("dlq", "redrive", "--all")
    assert (done.exit_code, done.stdout) == (0, "35 sent back, 0 left\n")
    assert [each["Body"] for each in queues.messages[BACK].values()] == bodies
    assert queues.most_hidden <= dlq.MESSAGES_PER_CALL


@pytest.mark.parametrize("hidden_calls", [2, 3, 10_000])
def test_what_stays_is_shown_again_and_told_once_however_soon_it_comes_again(
    rollcall: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, hidden_calls: int
) -> None:
    queues = FakeQueues(hidden_calls)
    monkeypatch.setattr(stacks, "find", lambda _name: queues)
    broken = [queues.add(f"broken {number}") for number in range(12)]
    for number in range(25):
        queues.add(letter(str(number)))
    done = rollcall("dlq", "redrive", "--all")
    assert sorted(line.split()[0] for line in done.stderr.splitlines() if " stays: " in line) == sorted(broken)
    assert list(queues.messages["DeadLetterQueueUrl"])[:12] == broken
    assert queues.hidden() == []
    assert done.stdout == "25 sent back, 12 left\n"


def test_what_fails_again_at_once_is_not_sent_for_ever(rollcall: Callable[..., Any], queues: FakeQueues) -> None:
    queues.add(letter("a"))
    queues.fail_again = True
    done = rollcall("dlq", "redrive", "--all")
    assert (done.exit_code, done.stdout) == (0, "1 sent back, 1 left\n")
    assert " stays: it came after this began" in done.stderr
    assert queues.hidden() == []


def test_what_is_not_sent_back_because_of_a_failure_is_shown_again(
    rollcall: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, queues: FakeQueues
) -> None:
    for number in range(15):
        queues.add(letter(str(number)))
    refused = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "SendMessage")
    monkeypatch.setattr(queues, "send_message", MagicMock(side_effect=[None, refused]))
    assert rollcall("dlq", "redrive", "--all").exit_code == 1
    assert (len(queues.messages["DeadLetterQueueUrl"]), queues.hidden()) == (14, [])


def test_a_list_of_messages_holds_none_of_their_batches(
    rollcall: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, queues: FakeQueues
) -> None:
    names = [queues.add(letter(str(number))) for number in range(25)]
    batches = []
    table = show.failures

    def counted(found: list[dlq.Summary]) -> object:
        batches.append(sum(type(each) in (Batch, dlq.Failure) for each in gc.get_objects()))
        return table(found)

    monkeypatch.setattr(show, "failures", counted)
    before = sum(type(each) in (Batch, dlq.Failure) for each in gc.get_objects())
    done = rollcall("dlq", "list")
    assert all(f"{name} " in done.stdout for name in names)
    # That of the last message may still be somebody's variable.
    assert batches[0] - before <= 4
    assert queues.hidden() == []
    assert [each["message_id"] for each in json.loads(rollcall("dlq", "list", "--json").stdout)] == names


def cloud(status: str | None) -> MagicMock:
    """A client of all services, where the stack is in a state; it is CREATE_COMPLETE once it is created."""
    client = MagicMock()

    def describe(StackName: str) -> dict[str, Any]:  # noqa: N803
        created = client.create_stack.called
        if not created and (status is None or client.delete_stack.called):
            raise ClientError({"Error": {"Code": "ValidationError", "Message": "does not exist"}}, "DescribeStacks")
        return {"Stacks": [{"StackStatus": "CREATE_COMPLETE" if created else status, "Outputs": []}]}

    client.describe_stacks.side_effect = describe
    return client


def calls(client: MagicMock) -> list[str]:
    """What was done to the stack, and what was waited for."""
    named = [(name, arguments) for name, arguments, _ in client.method_calls]
    return [
        arguments[0] if name == "get_waiter" else name
        for name, arguments in named
        if name == "get_waiter" or name.endswith("_stack")
    ]


CREATED = ["create_stack", "stack_create_complete"]


@pytest.mark.parametrize(
    ("status", "done"),
    [
        (None, CREATED),
        ("ROLLBACK_COMPLETE", ["delete_stack", "stack_delete_complete", *CREATED]),
        ("ROLLBACK_FAILED", ["delete_stack", "stack_delete_complete", *CREATED]),
        ("CREATE_COMPLETE", ["update_stack", "stack_update_complete"]),
        # Of a stack that was there before, and is again what it was.
        ("UPDATE_ROLLBACK_COMPLETE", ["update_stack", "stack_update_complete"]),
    ],
)
def test_a_stack_that_was_never_there_is_deleted_and_created_anew(status: str | None, done: list[str]) -> None:
    client = cloud(status)
    deploy.deploy(lambda _service: client, "some", {})
    assert calls(client) == done


def test_a_stack_that_cannot_be_deleted_is_not_created() -> None:
    client = cloud("ROLLBACK_COMPLETE")
    client.get_waiter.return_value.wait.side_effect = WaiterError("StackDeleteComplete", "stuck", {})
    client.describe_stack_events.return_value = {"StackEvents": []}
    with pytest.raises(deploy.DeploymentFailed, match="stuck"):
        deploy.deploy(lambda _service: client, "some", {})
    assert calls(client) == ["delete_stack", "stack_delete_complete"]


def test_a_dry_run_tells_the_days_of_the_stack(
    rollcall: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(stacks, "find", lambda _name: IN_APIA)
    done = rollcall("import", file_of(tmp_path, GOOD.format(1) + "2,2024-05-01T12:00:00Z,u,open,\n"), "--dry-run")
    said = [line.split() for line in done.stdout.splitlines()]
    assert ["days", "(Pacific/Apia)", "2"] in said
    assert ["to", "2024-05-02"] in said
