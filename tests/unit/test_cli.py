import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import httpx2
import pytest
from rich.console import Console
from typer.testing import CliRunner

from rollcall.rows import Row, read_rows
from scripts import importing, sample, stacks, tables
from scripts.api import Api, ApiError
from scripts.cli import app
from scripts.commands import stats
from scripts.importing import HttpImport, Reject, Report
from scripts.ministack import free_port
from tests.support import pass_over

DAY = "2024-05-10"
HEADER = "event_id,occurred_at,user_id,event_type,properties_json\n"
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
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    rollcall: Callable[..., Any], arguments: tuple[str, ...], status: int, said: str
) -> None:
    done = rollcall(*arguments)
    assert (done.exit_code, done.stdout) == (status, "")
    assert done.stderr.startswith(f"rollcall: {said}")
    assert done.stderr.count("\n") == 1


DAU = {
    "from": "2024-05-01",
    "to": "2024-05-02",
    "timezone": "UTC",
    "data": [{"date": "2024-05-01", "dau": 4}, {"date": "2024-05-02", "dau": 0}],
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


@pytest.mark.parametrize(
    ("command", "answer", "as_csv"),
    [
        ("dau", DAU, "date,dau\n2024-05-01,4\n2024-05-02,0\n"),
        ("top-events", TOP, 'event_type,count\n"a ""b""\x1b[31m",1200\n'),
        ("top-events", {**TOP, "data": []}, "event_type,count\n"),
        (
            "retention",
            RETENTION,
            "week,date,retained_users,retention_rate,complete\n1,2024-05-08,2,50.0,False\n",
        ),
    ],
)
def test_answers_are_printed_as_json_and_csv(
    rollcall: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, command: str, answer: dict[str, Any], as_csv: str
) -> None:
    monkeypatch.setattr(stacks, "find", lambda _name: None)
    transport = httpx2.MockTransport(lambda _request: httpx2.Response(200, json=answer))
    monkeypatch.setattr(stats, "api", lambda *_: Api("http://stack", None, transport=transport))
    assert json.loads(rollcall("stats", command, "--json").stdout) == answer
    assert rollcall("stats", command, "--csv").stdout == as_csv
    for_people = rollcall("stats", command)
    assert for_people.exit_code == 0
    assert "\x1b" not in for_people.stdout


@pytest.mark.parametrize(("terminal", "coloured"), [(True, True), (False, False)])
def test_retention_is_shaded_by_heat_on_terminals_only(terminal: bool, coloured: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=terminal, color_system="truecolor" if terminal else None)
    console.print(tables.retention(RETENTION))
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


def test_a_batch_that_comes_twice_in_a_file_is_inserted_once() -> None:
    report, _ = FakeApi().run(HEADER + 3 * (row("a") + row("b")), 2)
    assert (report.rows, report.accepted, report.inserted, report.duplicates) == (6, 6, 2, 4)


def test_requests_are_bounded_by_size_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "REQUEST_BYTES", 1_000)
    api = FakeApi()
    api.run(HEADER + "".join(row(f"event-{number}") for number in range(100)), 500)
    assert all(len(json.dumps(events)) < 1_500 for events in api.requests)
    assert sum(map(len, api.requests)) == 100


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
