"""`rollcall up`: the whole stack on this machine, with sample data and answers, until it is told to stop."""

import json
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import httpx2
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from scripts import deploy, sample, tables
from scripts.ministack import MiniStack

STACK = "rollcall"
SAMPLE_ROWS = 6_000
SAMPLE_USERS = 400
SAMPLE_DAYS = 30
SAMPLE_SEED = 1
EVENTS_PER_REQUEST = 500
REQUEST_SECONDS = 60.0
DRAIN_SECONDS = 120
POLL_SECONDS = 0.5


class CannotStart(Exception):
    """The local stack cannot start; the text says why and what to do."""


class Stopped(BaseException):
    """The user, or whoever runs this, wants it to end."""


@dataclass(frozen=True)
class LocalSettings:
    """Of the local stack."""

    port: int
    state: Path
    sample: bool

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "LocalSettings":
        """Raises `CannotStart` with the name of the setting."""
        port = environment.get("ROLLCALL_PORT") or "4566"
        if not port.isdecimal() or not 1 <= int(port) <= 65_535:
            raise CannotStart(f"ROLLCALL_PORT has to be a port from 1 to 65535, not {port!r}")
        wanted = environment.get("ROLLCALL_SAMPLE") or "1"
        if wanted not in ("0", "1"):
            raise CannotStart(f"ROLLCALL_SAMPLE has to be 0 or 1, not {wanted!r}")
        state = Path(environment.get("ROLLCALL_STATE") or deploy.ROOT / ".local").absolute()
        if state.exists() and not state.is_dir():
            raise CannotStart(f"ROLLCALL_STATE names {state}, which is not a folder")
        return cls(int(port), state, wanted == "1")


def up(settings: LocalSettings, console: Console) -> None:
    """Start, deploy, fill at the first start, answer, and stay until Ctrl-C or SIGTERM; the state is saved then.

    Raises `CannotStart` and `scripts.ministack.MiniStackError`.
    """
    _refuse_taken_port(settings.port)
    with _stoppable():
        stack = MiniStack(settings.port, settings.state / "ministack.log", settings.state)
        try:
            with console.status("Starting the local AWS"):
                stack.start()
            with console.status("Deploying template.yaml"):
                outputs = _deploy(stack)
            local = LocalStack(stack, outputs, console)
            console.print(f"API  {local.url}", soft_wrap=True, highlight=False)
            if settings.sample:
                last_day = local.fill(settings.state / "sample.json")
                local.show_answers(last_day)
            local.show_hints()
            local.watch()
        except Stopped:
            console.print("Stopping.")
        finally:
            stack.stop()
            console.print(f"The data is kept in {settings.state}.", soft_wrap=True, highlight=False)


class LocalStack:
    """A deployed local stack, as a user sees it."""

    def __init__(self, stack: MiniStack, outputs: Mapping[str, str], console: Console) -> None:
        self.url = stack.api_url(outputs)
        self._stack = stack
        self._outputs = outputs
        self._console = console
        self._sqs = stack.client("sqs")
        self._http = httpx2.Client(base_url=self.url, timeout=REQUEST_SECONDS, trust_env=False)

    def fill(self, note: Path) -> date:
        """Send the sample unless it is there; returns its last day. `note` remembers that day between starts."""
        noted_day, complete = _noted(note)
        last_day = noted_day or datetime.now(UTC).date() - timedelta(days=1)
        if complete and any(day["dau"] for day in self._get("/stats/dau", _range(last_day, SAMPLE_DAYS))["data"]):
            self._console.print("The sample data is there from an earlier start.")
            return last_day
        # Noted before the first event, so that a start that is interrupted is followed by the same events.
        note.write_text(json.dumps({"last_day": last_day.isoformat(), "complete": False}))
        events = sample.generate(SAMPLE_ROWS, SAMPLE_USERS, SAMPLE_DAYS, last_day, SAMPLE_SEED)
        started = time.monotonic()
        for start in range(0, len(events), EVENTS_PER_REQUEST):
            answer = self._http.post("/events", json=events[start : start + EVENTS_PER_REQUEST])
            answer.raise_for_status()
        self._drain()
        note.write_text(json.dumps({"last_day": last_day.isoformat(), "complete": True}))
        seconds = time.monotonic() - started
        self._console.print(f"{len(events):,} sample events sent and counted in {seconds:.1f} s.", highlight=False)
        return last_day

    def show_answers(self, last_day: date) -> None:
        """Print the three answers about the sample."""
        month = _range(last_day, SAMPLE_DAYS)
        cohort = {"start_date": (last_day - timedelta(days=SAMPLE_DAYS - 1)).isoformat(), "windows": "7"}
        self._console.print(tables.daily_actives(self._get("/stats/dau", _range(last_day, 7))))
        self._console.print(tables.top_events(self._get("/stats/top-events", {**month, "limit": "5"})))
        self._console.print(tables.retention(self._get("/stats/retention", cohort)))

    def show_hints(self) -> None:
        """Print what to try."""
        now = datetime.now(UTC)
        event = {
            "event_id": f"try-{now:%H%M%S}",
            "occurred_at": now.isoformat(timespec="seconds"),
            "user_id": "me",
            "event_type": "hello",
        }
        today = now.date().isoformat()
        for line in (
            "",
            "Try:",
            f"  curl -X POST '{self.url}/events' -d '[{json.dumps(event)}]'",
            f"  curl '{self.url}/stats/dau?from={today}&to={today}'",
            f"  curl -T FILE.csv '{self._stack.endpoint}/{self._outputs['UploadBucketName']}/uploads/FILE.csv'",
            f"Docs {self.url}/docs",
            "Ctrl-C stops it.",
        ):
            self._console.print(line, soft_wrap=True, highlight=False, markup=False)

    def watch(self) -> None:
        """Tell of the queue while it drains, until the stack ends; raises `scripts.local.CannotStart` if by itself."""
        shown = (0, 0)
        while self._stack.running():
            depth = self.depth()
            if depth != shown:
                waiting, working = depth
                text = f"{waiting} batches waiting, {working} being counted" if any(depth) else "all batches counted"
                self._console.print(f"{datetime.now(UTC):%H:%M:%S}  {text}", highlight=False)
                shown = depth
            time.sleep(POLL_SECONDS)
        raise CannotStart("the local AWS ended by itself; its log is beside its data")

    def depth(self) -> tuple[int, int]:
        """Batches that wait in the queue, and batches that a consumer has."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self._sqs.get_queue_attributes(QueueUrl=self._outputs["BatchQueueUrl"], AttributeNames=names)
        waiting, working = (int(found["Attributes"][name]) for name in names)
        return waiting, working

    def _drain(self) -> None:
        deadline = time.monotonic() + DRAIN_SECONDS
        with self._console.status("Counting") as status:
            while any(depth := self.depth()):
                if time.monotonic() > deadline:
                    raise CannotStart(f"the sample is not counted after {DRAIN_SECONDS} s; see the log beside the data")
                status.update(f"Counting: {depth[0]} batches waiting, {depth[1]} at work")
                time.sleep(POLL_SECONDS / 5)

    def _get(self, path: str, parameters: Mapping[str, str]) -> dict[str, Any]:
        answer = self._http.get(path, params=dict(parameters))
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


@contextmanager
def _stoppable() -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into `Stopped`, once: a second one does not interrupt the saving."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        for again in (signal.SIGINT, signal.SIGTERM):
            signal.signal(again, signal.SIG_IGN)
        raise Stopped

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _refuse_taken_port(port: int) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise CannotStart(f"port {port} is taken; name another one: ROLLCALL_PORT={port + 1} make run")


def _deploy(stack: MiniStack) -> dict[str, str]:
    try:
        return deploy.deploy(stack.client, STACK, {})
    except (deploy.DeploymentFailed, BotoCoreError, ClientError) as error:
        raise CannotStart(f"template.yaml cannot be deployed: {error}") from error


def _noted(note: Path) -> tuple[date | None, bool]:
    """The last day of the sample that was sent, and whether all of it was; None where there is no readable note."""
    try:
        noted = json.loads(note.read_text())
        return date.fromisoformat(noted["last_day"]), noted["complete"] is True
    except (OSError, ValueError, KeyError, TypeError):
        return None, False


def _range(last_day: date, days: int) -> dict[str, str]:
    return {"from": (last_day - timedelta(days=days - 1)).isoformat(), "to": last_day.isoformat()}
