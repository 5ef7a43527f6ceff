"""`rollcall up`, as a user starts and stops it."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from rollcall.access.api_keys import SCOPES
from scripts.local.ministack import free_port, listens
from scripts.paths import ROOT
from tests.e2e.conftest import rollcall_here, rollcall_process, wait_until

pytestmark = pytest.mark.targets("direct", reason="stacks of their own, as `rollcall up` deploys them")

START_SECONDS = 120.0
HINTS = r"^Ctrl-C stops it\.$"


@contextmanager
def running(state: Path, **settings: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    said = state.parent / f"{state.name}.said"
    with said.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "scripts.cli", "up"],
            cwd=ROOT,
            env=os.environ | {"ROLLCALL_STATE": str(state)} | settings,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process, said
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(START_SECONDS)


def wait_for(process: "subprocess.Popen[bytes]", said: Path, pattern: str) -> str:
    """Wait until it says something; returns all it said."""

    def heard() -> bool:
        assert process.poll() is None, said.read_text()
        return re.search(pattern, said.read_text(), re.MULTILINE) is not None

    wait_until(heard, START_SECONDS)
    return said.read_text()


def api(text: str) -> str:
    (url,) = re.findall(r"^API  (http://127\.0\.0\.1:\S+)$", text, re.MULTILINE)
    return str(url)


def key(text: str) -> dict[str, str]:
    (found,) = re.findall(r"^Key  (rc_\S+)$", text, re.MULTILINE)
    return {"X-API-Key": found}


@dataclass(frozen=True)
class Start:
    """What a start said, what its link was answered twice, what its API answered about two days, and how it ended."""

    text: str
    signed_in: list[httpx2.Response]
    top_events: Any
    other_day: Any
    status: int


@pytest.fixture(scope="session")
def starts(tmp_path_factory: pytest.TempPathFactory) -> list[Start]:
    """Two starts with the same data, and an event of another day sent to the first."""
    folder, port = tmp_path_factory.mktemp("starts"), str(free_port())
    today = datetime.now(UTC).date()
    event = {"event_id": "kept", "occurred_at": "2015-01-01T00:00:00Z", "user_id": "u", "event_type": "kept"}
    found: list[Start] = []
    for stop in (signal.SIGINT, signal.SIGTERM):
        with running(folder / "state", ROLLCALL_PORT=port) as (process, said):
            text = wait_for(process, said, HINTS)
            assert api(text) == f"http://127.0.0.1:{port}/v1"
            with httpx2.Client(base_url=api(text), headers=key(text)) as client:
                if not found:
                    assert client.post("/events", json=[event]).status_code == 202
                    wait_for(process, said, r"^\d\d:\d\d:\d\d  1 event counted, 6,001 in all$")
                days = {"from": str(today - timedelta(days=60)), "to": str(today)}
                top_events = client.get("/stats/top-events", params=days).json()["data"]
                other = {"from": "2015-01-01", "to": "2015-01-01"}
                other_day = client.get("/stats/dau", params=other).json()["data"]
            (code,) = re.findall(rf"^Page  {re.escape(api(text))}/#code=(\S+) \(signs in once\)$", text, re.MULTILINE)
            page = {"X-Rollcall-Page": "1", "Origin": f"http://127.0.0.1:{port}"}
            url = f"{api(text)}/auth/session"
            signed_in = [httpx2.post(url, json={"code": code}, headers=page) for _ in range(2)]
            process.send_signal(stop)
            found.append(Start(text, signed_in, top_events, other_day, process.wait(START_SECONDS)))
    return found


@pytest.mark.xdist_group("starts")
def test_it_answers_with_sample_data_and_keeps_it_for_the_next_start(starts: list[Start]) -> None:
    for start in starts:
        assert ("from an earlier start" in start.text) == (start is starts[1])
        assert "Daily active users" in start.text
        assert "Top events" in start.text
        assert "Retention of the" in start.text
        assert start.status == 0
    first, second = starts
    assert first.top_events == second.top_events
    assert sum(row["count"] for row in first.top_events) == 6_000
    figures = [re.findall(r"^\d{4}-\d\d-\d\d +\d+", start.text, re.MULTILINE) for start in starts]
    assert figures[0] == figures[1]
    assert len(figures[0]) == 7


@pytest.mark.xdist_group("starts")
def test_what_was_sent_before_the_stop_is_answered_after_the_start(starts: list[Start]) -> None:
    _, second = starts
    assert second.other_day == [{"date": "2015-01-01", "dau": 1, "complete": True}]


@pytest.mark.xdist_group("starts")
def test_the_link_that_a_start_prints_signs_in_once(starts: list[Start]) -> None:
    for start in starts:
        first, second = start.signed_in
        assert (first.status_code, second.status_code) == (200, 401)
        assert first.json()["principal"]["scopes"] == list(SCOPES)
        cookie = first.headers["set-cookie"]
        assert cookie.endswith("; Path=/v1/auth/session; HttpOnly; SameSite=Strict")


@dataclass(frozen=True)
class Killed:
    """A start after one that did not come to its end, itself killed when it had said all."""

    text: str
    port: int
    state: Path


@pytest.fixture(scope="session")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    state, port = tmp_path_factory.mktemp("killed") / "state", free_port()
    state.mkdir(0o755)
    (state / "sample.json").write_text('{"last_day": "2025-08-31", "complete": false}')
    with running(state, ROLLCALL_PORT=str(port)) as (process, said):
        text = wait_for(process, said, HINTS)
        process.kill()
    return Killed(text, port, state)


@pytest.mark.xdist_group("killed")
def test_a_sample_that_was_not_sent_to_its_end_is_sent_again(killed: Killed) -> None:
    assert "6,000 sample events sent and counted" in killed.text
    assert "2025-08-31" in killed.text
    assert '"complete": true' in (killed.state / "sample.json").read_text()


@pytest.mark.xdist_group("killed")
def test_the_data_of_a_local_stack_is_its_owners_alone_what_an_earlier_version_left_too(killed: Killed) -> None:
    wait_until(lambda: (killed.state / "services/dynamodb.json").exists())
    wait_until(lambda: not listens(killed.port))
    kept = {path.relative_to(killed.state).parts[0] for path in killed.state.rglob("*")}
    assert {"key", "ministack.log", "s3", "sample.json", "services", "up.json"} <= kept
    open_to_others = [path for path in (killed.state, *killed.state.rglob("*")) if path.stat().st_mode & 0o077]
    assert open_to_others == []


@pytest.mark.xdist_group("killed")
def test_when_it_is_killed_the_local_aws_saves_its_data_and_leaves_too(killed: Killed) -> None:
    wait_until(lambda: (killed.state / "services/dynamodb.json").exists())
    wait_until(lambda: not listens(killed.port))


def test_a_local_stack_begins_with_a_file_and_is_stopped(tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    header = "event_id,occurred_at,user_id,event_type,properties_json\n"
    file.write_text(header + "own-1,2010-10-01T00:00:00Z,own,open,\n" + "own-2,2010-10-02,own,open,\n")
    with file.open("a") as more:
        more.write("own-1,2010-10-01T00:00:00Z,own,shut,\n")
    state, port, seed = tmp_path / "state", str(free_port()), {"ROLLCALL_SEED": str(file)}
    # In Apia, it was still the day before.
    first = seed | {"ROLLCALL_PORT": port, "ROLLCALL_TIMEZONE": "Pacific/Apia"}
    # All but the first start know the port and the timezone from the state folder.
    environment = {name: value for name, value in os.environ.items() if name not in first}
    environment |= seed | {"ROLLCALL_STATE": str(state)}
    for start, settings in (("first", first), ("second", seed)):
        with running(state, **settings) as (process, said):
            text = wait_for(process, said, HINTS)
            assert api(text) == f"http://127.0.0.1:{port}/v1"
            assert ("1 own.csv events sent and counted" in text) == (start == "first")
            assert ("1 of 3 rows are rejected" in text) == (start == "first")
            assert ("1 of 3 rows are in conflict" in text) == (start == "first")
            assert ("own.csv data is there from an earlier start" in text) == (start == "second")
            assert "Retention of the 1 active users of 2010-09-30" in text
            answer = rollcall_here(("stats", "dau", "--from", "2010-09-30", "--to", "2010-09-30", "--csv"), environment)
            assert answer.stdout == "date,dau,complete\n2010-09-30,1,True\n"
            for its_port in ({}, {"ROLLCALL_PORT": str(free_port())}):
                other = rollcall_process(("up",), environment | its_port)
                assert (other.returncode, "another rollcall up has the data" in other.stderr) == (1, True)
            wrong = rollcall_process(("down",), environment | {"ROLLCALL_PORT": str(free_port())})
            assert (wrong.returncode, f"port {port}" in wrong.stderr) == (1, True)
            assert rollcall_process(("down",), environment).returncode == 0
            assert process.wait(60) == 0
    other_days = rollcall_process(("up", "--timezone", "UTC"), environment)
    assert (other_days.returncode, "counted by the days of Pacific/Apia" in other_days.stderr) == (1, True)
    stopped = rollcall_process(("down",), environment)
    assert (stopped.returncode, stopped.stderr.startswith("rollcall: no rollcall up runs")) == (1, True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ROLLCALL_PORT": "http"}, "ROLLCALL_PORT has to be a port"),
        ({"ROLLCALL_SAMPLE": "maybe"}, "ROLLCALL_SAMPLE has to be 0 or 1"),
        ({"ROLLCALL_TIMEZONE": "Nowhere"}, "ROLLCALL_TIMEZONE: 'Nowhere' is not an IANA timezone"),
        ({"ROLLCALL_STATE": "/dev/null"}, "ROLLCALL_STATE names /dev/null, which is not a folder"),
    ],
)
def test_a_bad_setting_is_named(tmp_path: Path, settings: dict[str, str], message: str) -> None:
    with running(tmp_path / "state", **settings) as (process, said):
        assert process.wait(60) == 1
    assert message in said.read_text()


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with running(tmp_path / "state", ROLLCALL_PORT=port) as (process, said):
            assert process.wait(60) == 1
    assert f"port {port} is taken" in said.read_text()
