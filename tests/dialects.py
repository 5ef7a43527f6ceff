"""The routes of the dialects in this process, with a queue in memory, and events to send in each dialect."""

import asyncio
import gzip
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

from aws_lambda_powertools import Logger, Metrics
from botocore.exceptions import EndpointConnectionError
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient, Response
from hypothesis import strategies as st

from rollcall.access.gate import Principal, Unauthenticated
from rollcall.access.reach import Reach
from rollcall.core.batch import Batch, decode
from rollcall.core.days import Calendar
from rollcall.core.events import CLOCK_SKEW, MAX_EVENT_TYPE_CHARACTERS, OTHER_TYPES, Event, parse_event
from rollcall.core.limits import Allowance, Limit, TooFast
from rollcall.core.projects import DEFAULT, Project
from rollcall.counting import receipts
from rollcall.counting.receipts import Outcome
from rollcall.http.app import create_app
from rollcall.http.routes import dialects, events
from rollcall.intake.dialects.registry import routes
from rollcall.intake.idempotency import IdempotencyKeys
from rollcall.intake.intake import Intake
from rollcall.intake.rejects import Reject, Rejects
from rollcall.stack.dynamo import Dynamo, Item
from rollcall.stack.keys import Tables
from rollcall.stack.projects import ProjectArchived, Projects
from rollcall.stack.queues import BatchQueue
from tests.support import NOW, OpenGate, ingest_settings

LIMIT = Limit(10, 10)
# Good and bad keys, in the form of keys.
KEY = f"rc_{'a' * 16}_{'b' * 48}"
REVOKED = f"rc_{'c' * 16}_{'b' * 48}"
READS_ONLY = f"rc_{'d' * 16}_{'b' * 48}"
HURRIED = f"rc_{'e' * 16}_{'b' * 48}"
ARCHIVED = f"rc_{'f' * 16}_{'b' * 48}"
UNKNOWN = f"rc_{'0' * 16}_{'b' * 48}"
# What a request with a key is answered with.
REFUSALS = {REVOKED: 401, UNKNOWN: 401, READS_ONLY: 403, HURRIED: 429, ARCHIVED: 409}
OLD = Project("old")


class Gate(OpenGate):
    """Knows the keys above."""

    def admit(self, credential: str, method: str, route: str) -> tuple[Principal, Allowance]:  # type: ignore[override]
        assert ":" not in credential
        assert (route in routes() and method in routes()[route]) or route == "/events"
        if credential == HURRIED:
            raise TooFast(Allowance(LIMIT, 0, 7))
        if credential not in (KEY, READS_ONLY, ARCHIVED):
            raise Unauthenticated("revoked" if credential == REVOKED else "invalid_credential", "the key is not good")
        scopes = frozenset({"read"} if credential == READS_ONLY else {"ingest"})
        reach = Reach(OLD if credential == ARCHIVED else DEFAULT)
        return Principal(f"key {credential[3:19]}", scopes, "sdk", reach, None), Allowance(LIMIT, 1, 0)


class StubProjects(Projects):
    """One that is archived."""

    def __init__(self) -> None:
        pass

    def calendar(self, project: Project) -> Calendar:
        return Calendar("UTC")

    def check_open(self, project: Project) -> None:
        assert project == OLD
        raise ProjectArchived(project)


class KeptRejects(Rejects):
    """Keeps rejects in memory, as an object would have them."""

    def __init__(self) -> None:
        self.kept: list[Reject] = []
        self.fails = False

    def keep(
        self,
        project: Project,
        key_id: str | None,
        day: str,
        received_at: str,
        rejects: Sequence[Reject],
        credential: str,
    ) -> None:
        if self.fails:
            raise EndpointConnectionError(endpoint_url="https://s3.amazonaws.com")
        assert (project, key_id) == (DEFAULT, KEY[3:19])
        bodies: list[bytes] = []
        s3 = SimpleNamespace(put_object=lambda **put: bodies.append(put["Body"]))
        Rejects(cast(Any, s3), "archive").keep(project, key_id, day, received_at, rejects, credential)
        for body in bodies:
            _, *lines = gzip.decompress(body).decode().splitlines()
            self.kept += [Reject(*json.loads(line)) for line in lines]


class Kept(BatchQueue):
    """Keeps what it is sent; refuses the events that `refuses` says."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.refuses: Callable[[Event], bool] = lambda _: False

    def send(self, bodies: Sequence[str], correlation_id: str) -> dict[int, str]:
        failed = {}
        for number, body in enumerate(bodies):
            found = decode(body).events
            if any(map(self.refuses, found)):
                failed[number] = "InternalError"
            else:
                self.events += found
        return failed


class Receipts(receipts.Receipts):
    """Takes every batch for announced, and for counted whole."""

    def __init__(self) -> None:
        pass

    def announce(self, project: Project, batch_ids: Iterable[str]) -> None:
        pass

    def wait(self, project: Project, batch_ids: Sequence[str], seconds: float) -> bool:
        return True

    def outcome(self, project: Project, batches: Sequence[Batch]) -> Outcome:
        return Outcome([event.event_id for batch in batches for event in batch.events], [], [])


class Items(Dynamo):
    """Keeps in memory what is put."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}

    def put_if_absent(self, table: str, item: Item) -> Item:
        return self._items.setdefault(item["pk"]["S"], item)


@dataclass
class Door:
    """The routes of the dialects, and `POST /events`."""

    app: FastAPI
    runner: asyncio.Runner
    client: AsyncClient
    queue: Kept
    log: io.StringIO
    rejects: KeptRejects

    def post(self, path: str, **request: Any) -> Response:
        """Send a request. Checks what every answer has to be."""
        return self.ask("POST", path, **request)

    def ask(self, method: str, path: str, **request: Any) -> Response:
        """Send a request. Checks what every answer has to be."""
        # A TestClient would take three times as long.
        answer = self.runner.run(self.client.request(method, path, **request))
        assert answer.status_code != 202 or path == "/events"
        assert (answer.status_code in (429, 503)) == ("retry-after" in answer.headers)
        for key in (KEY, *REFUSALS):
            assert key not in answer.text
            assert key not in self.log.getvalue()
        return answer

    def taken(self) -> list[Event]:
        """The events that were queued since the last call."""
        found, self.queue.events = self.queue.events, []
        return found

    def kept(self) -> list[Reject]:
        """The events that were kept as bad since the last call."""
        found, self.rejects.kept = self.rejects.kept, []
        return found


@contextmanager
def door(now: datetime = NOW, timezone: str = "UTC") -> Iterator[Door]:
    """A door, where it is always `now`."""
    queue, log, rejects = Kept(), io.StringIO(), KeptRejects()
    app = create_app(
        dialects.router,
        events.router,
        logger=Logger(service="dialects", stream=log),
        gate=Gate(),
        services=[
            Metrics(service="dialects", namespace="Rollcall"),
            Intake(queue, lambda _: Calendar(timezone), lambda: now),
            StubProjects(),
            rejects,
            Receipts(),
            IdempotencyKeys(Items(), Tables("events", "stats", 1, 1)),
            ingest_settings(),
        ],
    )
    transport = ASGITransport(app, raise_app_exceptions=False)
    with asyncio.Runner() as runner:
        yield Door(app, runner, AsyncClient(transport=transport, base_url="http://stack"), queue, log, rejects)


def native(
    event_id: str,
    occurred_at: str = "2025-08-01T09:30:00Z",
    user_id: str = "u1",
    event_type: str = "login",
    properties: Mapping[str, Any] | None = None,
) -> Event:
    """The event that Rollcall makes of these values."""
    raw = {"event_id": event_id, "occurred_at": occurred_at, "user_id": user_id, "event_type": event_type}
    return parse_event({**raw, "properties": dict(properties or {})}, NOW)


@dataclass
class Meant:
    """An event that somebody wants counted, before an SDK encodes it."""

    id: str
    """A UUID, or an id of the dialect."""
    at: datetime
    """In UTC; to the millisecond, which every SDK can say."""
    user: str
    type: str
    properties: dict[str, Any] = field(default_factory=dict)

    def native(self, dialect: str) -> Event:
        """The event that a dialect has to make of it."""
        is_uuid = len(self.id) == 36 and self.id.count("-") == 4
        return native(
            self.id if is_uuid else f"{dialect}:{self.id}", self.at.isoformat(), self.user, self.type, self.properties
        )

    @property
    def milliseconds(self) -> int:
        """Since the epoch."""
        return (self.at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


_LETTERS = st.characters(exclude_categories=("Cs", "Cc", "Cf", "Zl", "Zp"))
_TEXT = st.text(_LETTERS, min_size=1, max_size=12)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(-1e6, 1e6, width=32) | st.text(_LETTERS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=5,
)


def meant(kinds: st.SearchStrategy[str] | None = None) -> st.SearchStrategy[Meant]:
    """Any event that an SDK can send. `kinds` are its types."""
    ids = st.uuids().map(str) | st.text("abcXYZ019-_.", min_size=1, max_size=60).filter(
        lambda text: len(text) not in (32, 34, 36, 38, 41, 43, 45, 47)
    )
    users = st.text("abcdefghij0123456789@é☕", min_size=1, max_size=20).map(lambda text: f"u{text}")
    types = _TEXT.filter(lambda text: len(text) <= MAX_EVENT_TYPE_CHARACTERS and text != OTHER_TYPES)
    milliseconds = st.integers(0, (NOW + CLOCK_SKEW - datetime(2020, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1))
    return st.builds(
        Meant,
        ids,
        milliseconds.map(lambda number: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(milliseconds=number)),
        users,
        kinds or types.filter(lambda text: not text.startswith("$")),
        st.dictionaries(_TEXT.map(lambda text: f"p{text}"), _VALUES, max_size=4),
    )


def loads(kinds: st.SearchStrategy[str] | None = None) -> st.SearchStrategy[list[Meant]]:
    """Some events, no two of which have one id."""
    return st.lists(meant(kinds), min_size=1, max_size=6, unique_by=lambda event: event.id.lower())
