"""What the commands print steers no terminal, whatever a client sent."""

import ast
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import httpx2
import pytest
from typer.testing import CliRunner

from rollcall.access.api_keys import ApiKey
from rollcall.access.reach import ALL
from rollcall.core.batch import make_batch
from rollcall.core.days import Calendar
from rollcall.core.events import Event
from rollcall.core.projects import DEFAULT
from scripts import show
from scripts.api import Api, ApiError
from scripts.cli import app
from scripts.commands import stats
from scripts.commands.common import output, output_json, say
from scripts.local.stack import LocalStack
from scripts.operate import dlq, stacks
from scripts.operate.audit import Drift
from scripts.operate.dlq import Failure, Summary
from scripts.operate.send_file import Reject
from scripts.paths import ROOT
from scripts.terminal import SafeConsole, SafeTable, as_json, safe, write_csv
from tests.support import RECEIVED_AT

# Clears the screen, sets the title of the window, begins a hyperlink, as C1 too, rings, goes back, turns text around.
EVIL = "\x1b[2J\x1b]0;owned\x07\x1b]8;;http://evil.example\x1b\\\x9b31m\x9d0;x\x9c\b\r\x7f\u202e\u2066\u200f\u2028"
TURNING_OR_INVISIBLE = (
    "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u061c\u2028\u2029\ufeff\u200b"
)
CONTROLS = [
    *map(chr, (*range(0x20), *range(0x7F, 0xA0))),
    *TURNING_OR_INVISIBLE,
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def rollcall(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    monkeypatch.setenv("ROLLCALL_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("ROLLCALL_KEY", raising=False)
    return lambda *arguments: CliRunner().invoke(app, [str(each) for each in arguments])


def harmless(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_character_is_shown_by_its_escape(control: str) -> None:
    assert safe(f"a{control}b") == f"a{control.encode('unicode_escape').decode()}b"


@pytest.mark.parametrize("text", ["", "plain", "é", "日本", "🙂", "a\\b", "[red]x[/red]"])
def test_what_prints_is_shown_as_it_is(text: str) -> None:
    assert safe(text) == text


TABLES = {
    "daily actives": show.daily_actives({"timezone": EVIL, "data": [{"date": EVIL, "dau": 1}]}),
    "top events": show.top_events({"from": EVIL, "to": EVIL, "data": [{"event_type": EVIL, "count": 1}]}),
    "retention": show.retention(
        {
            "period": "day",
            "cohort": EVIL,
            "cohort_size": 1,
            "cohort_date": EVIL,
            "retention": [{"day": EVIL, "date": EVIL, "retained_users": 1, "retention_rate": 1.0, "complete": True}],
        }
    ),
    "keys": show.api_keys([ApiKey(EVIL, EVIL, (EVIL,), EVIL, ALL, None, EVIL, EVIL, EVIL, {EVIL: 1})]),
    "ledger": show.ledger(
        {
            "key_id": EVIL,
            "timezone": EVIL,
            "data": [
                {
                    "date": EVIL,
                    **dict.fromkeys(("received", "accepted", "counted", "duplicates", "conflicts", "refused"), 1),
                    "rejected": {EVIL: 1},
                }
            ],
        }
    ),
    "rejected events": show.rejected_events(
        {
            "data": [dict.fromkeys(("received_at", "dialect", "code", "message", "event_id", "item"), EVIL)],
            "next": EVIL,
        }
    ),
    "rejects": show.rejects([Reject(1, EVIL, EVIL, EVIL)], 0),
    "failures": show.failures([Summary(EVIL, EVIL, EVIL, EVIL, EVIL)]),
    "failure": show.failure(Failure(EVIL, EVIL, EVIL, EVIL, EVIL, None, (EVIL,), None, EVIL, EVIL)),
    "failed events": show.failed_events(
        Failure(
            "id",
            "queue",
            "then",
            "why",
            None,
            make_batch(DEFAULT, [Event(EVIL, EVIL, EVIL, EVIL, "{}")], EVIL, RECEIVED_AT),
            (),
            None,
            "",
            "",
        )
    ),
    "status": show.status(
        {
            "api": EVIL,
            "health": EVIL,
            "waiting": 1,
            "working": 1,
            "dead_letters": 1,
            "failed_imports": 1,
            "events": {EVIL: 1},
        }
    ),
    "drifts": show.drifts([Drift(EVIL, EVIL, EVIL, EVIL)]),
    "rows": show.rows([EVIL, "n"], [[EVIL, 1], [{"nested": EVIL}, 2]]),
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_no_table_hands_a_control_character_on(table: SafeTable) -> None:
    console = SafeConsole(file=io.StringIO(), width=2_000)
    console.print(table)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "u202e" in printed
    assert harmless(printed)


def test_lines_and_texts_hand_no_control_character_on(capsys: pytest.CaptureFixture[str]) -> None:
    say(EVIL)
    output(EVIL)
    output_json({EVIL: EVIL})
    said = capsys.readouterr()
    assert harmless(said.err)
    assert harmless(said.out)
    assert "owned" in said.err
    assert json.loads(said.out[said.out.index("{") :]) == {EVIL: EVIL}


def test_json_of_one_line_is_still_the_same_json() -> None:
    assert harmless(as_json(EVIL))
    assert json.loads(as_json(EVIL)) == EVIL
    assert harmless(dlq.as_json_line(Event(EVIL, EVIL, EVIL, EVIL, "{}")))


def test_markup_in_a_text_is_no_markup() -> None:
    console = SafeConsole(file=io.StringIO(), force_terminal=True, width=200)
    console.print("[link=http://evil.example]x[/link] [red]y :warning:")
    assert console.file.getvalue().strip() == "[link=http://evil.example]x[/link] [red]y :warning:"  # type: ignore[attr-defined]


def test_csv_is_exact_for_a_pipe_and_safe_for_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = []
    for stream in (io.StringIO(), Terminal()):
        monkeypatch.setattr(sys, "stdout", stream)
        write_csv(["a"], [[f"x{EVIL}"]], raw=True)
        printed.append(stream.getvalue())
    assert EVIL in printed[0]
    assert not harmless(printed[0])
    assert harmless(printed[1])
    assert printed[1].startswith("a\n")


@pytest.mark.parametrize(
    "failure",
    [ApiError(f"the API refuses it: {EVIL}"), stacks.NoStack(EVIL), OSError(2, EVIL, EVIL), TimeoutError(EVIL)],
)
def test_a_failure_that_quotes_an_answer_is_told_safely(
    rollcall: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    monkeypatch.setattr(stacks, "find", MagicMock(side_effect=failure))
    done = rollcall("stats", "dau")
    assert done.exit_code == 1
    assert harmless(done.stderr)
    assert "owned" in done.stderr


def test_a_refusal_that_quotes_what_the_api_says_is_told_safely(
    rollcall: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_utc = stacks.Stack("rollcall", MagicMock(), {}, {"ReportingTimezone": "UTC"})
    monkeypatch.setattr(stacks, "find", lambda _name: in_utc)
    transport = httpx2.MockTransport(lambda _request: httpx2.Response(422, json={"message": EVIL}))
    monkeypatch.setattr(stats, "api", lambda *_: Api("http://stack", None, transport=transport))
    done = rollcall("stats", "dau")
    assert (done.exit_code, harmless(done.stderr), "owned" in done.stderr) == (1, True, True)


@pytest.mark.parametrize(
    "arguments", [(EVIL,), ("import", EVIL), ("import", "x", f"--{EVIL}"), ("import", "x", "--via", EVIL)]
)
def test_what_was_typed_is_quoted_safely(rollcall: Callable[..., Any], arguments: tuple[str, ...]) -> None:
    done = rollcall(*arguments)
    assert done.exit_code in (1, 2)
    assert harmless(done.stderr)
    assert "owned" in done.stderr


def test_a_line_of_the_watch_hands_no_control_character_on(monkeypatch: pytest.MonkeyPatch) -> None:
    console = SafeConsole(file=io.StringIO(), width=2_000)
    told: list[Callable[[str], None]] = []
    monkeypatch.setattr("scripts.local.stack.consumer_of", MagicMock(return_value=(MagicMock(), 60)))
    monkeypatch.setattr("scripts.local.stack.Watch", lambda _depth, _counted, tell: told.append(tell))
    ministack = MagicMock()
    ministack.api_url = "http://127.0.0.1:1"
    LocalStack(ministack, MagicMock(), console, Calendar("UTC")).watch()
    told[0](EVIL)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert harmless(printed)
    assert "owned" in printed


# Reports of measurements, which are drawn by then, and tools that no data reaches.
OWN_WORDS = {
    "scripts/commands/bench.py",
    "scripts/commands/cost.py",
    "scripts/local/packages.py",
    "scripts/local/sam.py",
    "scripts/lock.py",
    "scripts/botocores.py",
    # Says to the suite, in JSON, what an SDK did.
    "scripts/sdks/python/driving.py",
}


PRINTS = {"print", "typer.echo", "typer.secho", "Console", "Table", "sys.stdout.write", "sys.stderr.write"}


def test_nothing_is_printed_but_by_what_makes_it_safe() -> None:
    places = []
    for path in sorted((ROOT / "scripts").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if name in OWN_WORDS or name.startswith("scripts/bench/"):
            continue
        calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
        for call in calls:
            called = ast.unparse(call.func)
            if called in (
                "print",
                "typer.echo",
                "typer.secho",
                "Console",
                "Table",
                "sys.stdout.write",
                "sys.stderr.write",
            ):
                places.append((name, called))
    assert places == [("scripts/commands/common.py", "typer.echo")] * 3
