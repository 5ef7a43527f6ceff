"""`rollcall up`, as a user starts and stops it."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from scripts.local.ministack import free_port, listens
from scripts.paths import ROOT
from tests.e2e.conftest import wait_until

pytestmark = pytest.mark.targets("direct", reason="stacks of their own, as `rollcall up` deploys them")

START_SECONDS = 120.0


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


def test_it_answers_with_sample_data_and_keeps_it_for_the_next_start(tmp_path: Path) -> None:
    state, port = tmp_path / "state", str(free_port())
    answers = []
    for start, stop in (("first", signal.SIGINT), ("second", signal.SIGTERM)):
        with running(state, ROLLCALL_PORT=port) as (process, said):
            text = wait_for(process, said, r"^Ctrl-C stops it\.$")
            assert ("from an earlier start" in text) == (start == "second")
            assert "Daily active users" in text
            assert "Top events" in text
            assert "Retention of the" in text
            year = f"{api(text)}/stats/top-events?from=2000-01-01&to=2000-12-31"
            answers.append(httpx2.get(year, headers=key(text)).json()["data"])
            answers.append(re.findall(r"^\d{4}-\d\d-\d\d +\d+", text, re.MULTILINE))
            process.send_signal(stop)
            assert process.wait(60) == 0
    assert answers[:2] == answers[2:]
    assert len(answers[1]) == 7


def test_what_was_sent_before_the_stop_is_answered_after_the_start(tmp_path: Path) -> None:
    settings = {"ROLLCALL_PORT": str(free_port()), "ROLLCALL_SAMPLE": "0"}
    event = {"event_id": "kept", "occurred_at": "2015-01-01T00:00:00Z", "user_id": "u", "event_type": "kept"}
    with running(tmp_path / "state", **settings) as (process, said):
        text = wait_for(process, said, r"^Ctrl-C stops it\.$")
        assert httpx2.post(f"{api(text)}/events", json=[event], headers=key(text)).status_code == 202
        wait_for(process, said, r"^\d\d:\d\d:\d\d  1 event counted, 1 in all$")
    with running(tmp_path / "state", **settings) as (process, said):
        text = wait_for(process, said, r"^Ctrl-C stops it\.$")
        days = httpx2.get(f"{api(text)}/stats/dau?from=2015-01-01&to=2015-01-01", headers=key(text)).json()["data"]
        assert days == [{"date": "2015-01-01", "dau": 1}]


def test_a_sample_that_was_not_sent_to_its_end_is_sent_again(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "sample.json").write_text('{"last_day": "2025-08-31", "complete": false}')
    with running(state, ROLLCALL_PORT=str(free_port())) as (process, said):
        text = wait_for(process, said, r"^Ctrl-C stops it\.$")
    assert "6,000 sample events sent and counted" in text
    assert "2025-08-31" in text
    assert '"complete": true' in (state / "sample.json").read_text()


def test_when_it_is_killed_the_local_aws_saves_its_data_and_leaves_too(tmp_path: Path) -> None:
    port = free_port()
    with running(tmp_path / "state", ROLLCALL_PORT=str(port), ROLLCALL_SAMPLE="0") as (process, said):
        wait_for(process, said, r"^Ctrl-C stops it\.$")
        process.kill()
        wait_until(lambda: (tmp_path / "state/services/dynamodb.json").exists())
        wait_until(lambda: not listens(port))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ROLLCALL_PORT": "http"}, "ROLLCALL_PORT has to be a port"),
        ({"ROLLCALL_SAMPLE": "maybe"}, "ROLLCALL_SAMPLE has to be 0 or 1"),
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
