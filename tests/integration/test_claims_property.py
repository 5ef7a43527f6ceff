"""The claim protocol under random schedules.

A schedule is some consumers that take messages from one queue, one AWS call at a time in an order that Hypothesis
chooses, with messages delivered twice, bodies that clients send again, contents that overlap and contradict each other,
and a fault at any call: a crash before it, a crash after it, or throttling. When everything is delivered, the counters
have to equal a recount, and each message has to be in its key's ledger once.
"""

import itertools
import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any
from unittest import mock

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollcall.core.batch import Batch, make_batch
from rollcall.core.days import Calendar, days_between
from rollcall.core.events import Event, is_profile_call
from rollcall.core.projects import DEFAULT, Project
from rollcall.counting import counters
from rollcall.counting.claims import Claims
from rollcall.counting.receipts import Receipt, Receipts, UnknownBatch
from rollcall.questions.daily_actives import DailyActives
from rollcall.questions.from_counters import Counters
from rollcall.questions.retention import Retention
from rollcall.questions.top_events import TopEvents
from rollcall.stack import dynamo
from rollcall.stack.dynamo import Dynamo, Unavailable
from rollcall.stack.keys import Tables
from rollcall.stack.projects import Projects
from tests.support import (
    RECEIVED_AT,
    KeptDeadLetters,
    OnlyOf,
    Recount,
    assert_counters_equal_recount,
    assert_ledgers_tell_of_each_message,
    create_tables,
    delete_tables,
    delivered,
    scan,
)

SCHEDULES = int(os.environ.get("ROLLCALL_SCHEDULES", "240"))
FAULTS = ("crash before", "crash after", "throttle")
CALENDAR = Calendar("UTC")
DAYS = ("2025-07-31", "2025-08-01", "2025-08-02")
# Some are of profile calls, which are stored and in no number.
KINDS = ("t0", "t1", "t2", "t3", "$identify", "$set")

# 25 hours apart, so that no event has the same day in all of them, and one is named like the beginning of another.
PROJECTS = {
    DEFAULT: CALENDAR,
    Project("shop"): Calendar("Pacific/Kiritimati"),
    Project("shop-2"): Calendar("Pacific/Pago_Pago"),
}

# Limits that make a handful of events need several calls and several transactions, and the real ones.
LIMITS: dict[str, dict[tuple[ModuleType, str], int]] = {
    "small": {
        (counters, "MAX_WRITES"): 2,
        (counters, "INLINE_TYPES"): 1,
        (dynamo, "STATEMENTS_PER_CALL"): 2,
        (dynamo, "KEYS_PER_CALL"): 2,
    },
    "real": {},
}


class Crash(BaseException):
    """The process dies here: nothing may catch it."""


@dataclass(frozen=True)
class Schedule:
    batches: list[Batch]
    messages: list[Batch]
    """In the order of the queue: every batch at least once. Some come more often, in the same delivery, in others or in
    none; and deliveries without a batch."""
    consumers: int
    turns: list[tuple[int, str | None]]
    """Which of the consumers makes the next AWS call, and the fault it meets."""
    remember: int


@st.composite
def messages_of(draw: st.DrawFn, batches: list[Batch]) -> list[Batch]:
    """The messages that bring some batches."""
    numbers = itertools.count()
    rejections = st.dictionaries(st.sampled_from(["too_old", "missing_field"]), st.integers(1, 3), max_size=2)

    def brought(batch: Batch) -> Batch:
        if batch.events and draw(st.sampled_from([True, False, False, False])):
            # By an account, or of a version before there were ledgers.
            return batch
        return delivered(
            batch,
            next(numbers),
            draw(st.sampled_from(["a" * 16, "b" * 16])),
            day=draw(st.sampled_from(["2025-09-01", "2025-09-02"])),
            rejected=tuple(draw(rejections).items()),
            repeats=draw(st.integers(0, 2)),
        )

    alone = [make_batch(batch.project, (), "test", RECEIVED_AT) for batch in batches]
    sent = [brought(batch) for batch in [*batches, *draw(st.lists(st.sampled_from([*batches, *alone]), max_size=4))]]
    return draw(st.permutations([*sent, *draw(st.lists(st.sampled_from(sent), max_size=3))]))


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    event = st.builds(
        lambda number, user, day, kind: Event(f"e{number}", f"{DAYS[day]}T12:00:00Z", f"u{user}", kind, "{}"),
        st.integers(0, 7),
        st.integers(0, 3),
        st.integers(0, 2),
        st.sampled_from(KINDS),
    )
    contents = draw(st.lists(st.lists(event, min_size=1, max_size=7), min_size=1, max_size=4))
    batches = [make_batch(DEFAULT, content, "test", RECEIVED_AT) for content in contents]
    turn = st.tuples(st.integers(0, 2), st.one_of(st.none(), st.none(), st.sampled_from(FAULTS)))
    return Schedule(
        batches=batches,
        messages=draw(messages_of(batches)),
        consumers=draw(st.integers(1, 3)),
        turns=draw(st.lists(turn, max_size=60)),
        remember=draw(st.sampled_from([0, 2, 100])),
    )


@st.composite
def shared_schedules(draw: st.DrawFn) -> Schedule:
    """Projects that share ids, users and contents. An id has one content, so that what has to be answered is known."""
    event = st.builds(
        lambda user, day, hour, kind: Event("", f"{DAYS[day]}T{hour:02}:30:00Z", f"u{user}", kind, "{}"),
        st.integers(0, 2),
        st.integers(0, 2),
        st.sampled_from([0, 9, 10, 23]),
        st.sampled_from(KINDS),
    )
    events = [
        one._replace(event_id=f"e{number}") for number, one in enumerate(draw(st.lists(event, min_size=6, max_size=6)))
    ]
    contents = draw(st.lists(st.lists(st.sampled_from(events), min_size=1, max_size=6), min_size=1, max_size=3))
    # Most of the contents are sent to several projects.
    wanted = st.lists(st.sampled_from([*PROJECTS]), min_size=1, max_size=3, unique=True)
    batches = [make_batch(project, content, "test", RECEIVED_AT) for content in contents for project in draw(wanted)]
    turn = st.tuples(st.integers(0, 2), st.one_of(st.none(), st.none(), st.sampled_from(FAULTS)))
    return Schedule(
        batches=batches,
        messages=draw(messages_of(batches)),
        consumers=draw(st.integers(1, 3)),
        turns=draw(st.lists(turn, max_size=60)),
        remember=draw(st.sampled_from([0, 2, 100])),
    )


class Turns:
    """Lets one thread at a time go on to its next AWS call. Threads wait here before each call."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._waiting: dict[int, str | None] = {}
        self._granted: dict[int, str | None] = {}
        self._live: set[int] = set()

    def join(self, consumer: int) -> None:
        self._live.add(consumer)

    def leave(self, consumer: int) -> None:
        with self._change:
            self._live.discard(consumer)
            self._change.notify_all()

    def wait(self, consumer: int) -> str | None:
        """Wait for a turn; returns the fault that comes with it."""
        with self._change:
            self._waiting[consumer] = None
            self._change.notify_all()
            self._change.wait_for(lambda: consumer in self._granted)
            return self._granted.pop(consumer)

    def run(self, turns: Iterator[tuple[int, str | None]]) -> None:
        """Give turns, as told and then in order, until every thread has left."""
        while True:
            with self._change:
                self._change.wait_for(lambda: self._live <= self._waiting.keys())
                if not self._live:
                    return
                choice, fault = next(turns, (0, None))
                consumer = sorted(self._live)[choice % len(self._live)]
                del self._waiting[consumer]
                self._granted[consumer] = fault
                self._change.notify_all()
                self._change.wait_for(lambda c=consumer: c in self._waiting or c not in self._live)  # type: ignore[misc]


class FaultyClient:
    """A DynamoDB client whose every call waits for its turn and meets the fault that comes with it."""

    def __init__(self, client: Any, turns: Turns, consumer: int) -> None:
        self._client = client
        self._turns = turns
        self._consumer = consumer

    def __getattr__(self, name: str) -> Any:
        def call(**request: Any) -> Any:
            fault = self._turns.wait(self._consumer)
            if fault == "crash before":
                raise Crash
            if fault == "throttle":
                return self._throttled(name, request)
            answer = getattr(self._client, name)(**request)
            if fault == "crash after":
                raise Crash
            return answer

        return call

    def _throttled(self, name: str, request: Any) -> Any:
        if name == "batch_execute_statement":
            first, *others = request["Statements"]
            throttled = {"Error": {"Code": "ThrottlingError", "Message": "slow down"}}
            answer = self._client.batch_execute_statement(Statements=[first])
            return {"Responses": [*answer["Responses"], *(throttled for _ in others)]}
        if name == "batch_get_item":
            ((table, asked),) = request["RequestItems"].items()
            first, *others = asked["Keys"]
            answer = self._client.batch_get_item(RequestItems={table: {**asked, "Keys": [first]}})
            return {**answer, "UnprocessedKeys": {table: {**asked, "Keys": others}} if others else {}}
        if name == "transact_write_items":
            reasons = [{"Code": "TransactionConflict"}, *({"Code": "None"} for _ in request["TransactItems"][1:])]
            error = {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": reasons}
            raise ClientError(error, name)  # type: ignore[arg-type]
        raise ClientError({"Error": {"Code": "ThrottlingException"}}, name)


class Queue:
    """Messages until they are handled; what a consumer could not finish comes again."""

    def __init__(self, messages: list[Batch]) -> None:
        self._messages = messages
        self._lock = threading.Lock()

    def take(self) -> Batch | None:
        with self._lock:
            return self._messages.pop(0) if self._messages else None

    def give_back(self, message: Batch) -> None:
        with self._lock:
            self._messages.append(message)


def consume(queue: Queue, client: FaultyClient, tables: Tables, remember: int, failures: list[BaseException]) -> None:
    def start() -> Claims:
        dynamo = Dynamo(client, lambda _: None)  # type: ignore[arg-type]
        projects = Projects(dynamo, tables.stats, CALENDAR)
        return Claims(dynamo, tables, partial(projects.lay_out, tables), KeptDeadLetters(), remember)

    claims = start()
    while message := queue.take():
        try:
            claims.apply(message)
        except Crash:
            queue.give_back(message)
            claims = start()
        except (ClientError, Unavailable):
            queue.give_back(message)
        except BaseException as error:
            failures.append(error)
            return


def run(schedule: Schedule, client: Any, tables: Tables) -> None:
    turns = Turns()
    queue = Queue(list(schedule.messages))
    failures: list[BaseException] = []

    def work(consumer: int) -> None:
        try:
            consume(queue, FaultyClient(client, turns, consumer), tables, schedule.remember, failures)
        finally:
            turns.leave(consumer)

    threads = [threading.Thread(target=work, args=(consumer,)) for consumer in range(schedule.consumers)]
    for consumer, _ in enumerate(threads):
        turns.join(consumer)
    for thread in threads:
        thread.start()
    turns.run(iter(schedule.turns))
    for thread in threads:
        thread.join()
    assert not failures, failures


@contextmanager
def limited(limits: dict[tuple[ModuleType, str], int]) -> Iterator[None]:
    with ExitStack() as stack:
        for (module, name), value in limits.items():
            stack.enter_context(mock.patch.object(module, name, value))
        yield


@pytest.mark.parametrize("limits", LIMITS)
def test_counters_equal_a_recount_after_any_schedule_of_crashes_and_repeats(dynamodb: Any, limits: str) -> None:
    @settings(
        max_examples=SCHEDULES // len(LIMITS),
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(schedule=schedules())
    def check(schedule: Schedule) -> None:
        tables = create_tables(dynamodb)
        try:
            with limited(LIMITS[limits]):
                run(schedule, dynamodb, tables)
            assert_counters_equal_recount(dynamodb, tables, CALENDAR)
            assert_first_content_won(dynamodb, tables, schedule)
            assert_receipts_tell_of_each_event(dynamodb, tables, schedule)
            assert_stats_answer_the_recount(dynamodb, tables)
            assert_ledgers_tell_of_each_message(dynamodb, tables, schedule.messages, {DEFAULT: CALENDAR})
        finally:
            delete_tables(dynamodb, tables)

    check()


@pytest.mark.parametrize("limits", LIMITS)
def test_each_projects_numbers_are_what_they_would_be_alone_after_any_schedule(dynamodb: Any, limits: str) -> None:
    @settings(
        max_examples=SCHEDULES // 8,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(schedule=shared_schedules())
    def check(schedule: Schedule) -> None:
        tables = create_tables(dynamodb)
        try:
            projects = Projects(Dynamo(dynamodb), tables.stats, CALENDAR)
            for project, calendar in PROJECTS.items():
                if project != DEFAULT:
                    projects.create(project, project.name, calendar.name)
            with limited(LIMITS[limits]):
                run(schedule, dynamodb, tables)
            for project, calendar in PROJECTS.items():
                assert_counters_equal_recount(OnlyOf(dynamodb, project), tables, calendar)
                assert_answers(dynamodb, tables, project, calendar, schedule)
            assert_receipts_are_the_projects_own(dynamodb, tables, schedule)
            assert_ledgers_tell_of_each_message(dynamodb, tables, schedule.messages, PROJECTS)
        finally:
            delete_tables(dynamodb, tables)

    check()


def assert_answers(client: Any, tables: Tables, project: Project, calendar: Calendar, schedule: Schedule) -> None:
    """The answers about a project, from what was sent to it alone."""
    sent = {
        event
        for batch in schedule.batches
        if batch.project == project
        for event in batch.events
        if not is_profile_call(event.event_type)
    }
    days = {event: calendar.day_of(event.occurred_at) for event in sent}
    users: dict[str, set[str]] = {}
    for event, day in days.items():
        users.setdefault(day, set()).add(event.user_id)
    counters = Counters(Dynamo(client), tables, DEFAULT, CALENDAR).of(project, calendar)
    asked = days_between("2025-07-30", "2025-08-03")
    found = DailyActives(asked[0], asked[-1]).from_counters(counters)
    assert [day.dau for day in found] == [len(users.get(day, ())) for day in asked]
    counted = TopEvents(asked[0], asked[-1], 1000).from_counters(counters)
    assert {row.event_type: row.events for row in counted} == Counter(event.event_type for event in sent)
    first_days = {
        user: min(day for day, of_day in users.items() if user in of_day) for user in set().union(*users.values())
    }
    for day in asked:
        assert counters.new_users(day) == {user for user, first in first_days.items() if first == day}
        returned = Retention(day, 1, 1, new_users=False, today="2025-09-01").from_counters(counters)
        assert returned.cohort_size == len(users.get(day, ()))


def assert_receipts_are_the_projects_own(client: Any, tables: Tables, schedule: Schedule) -> None:
    receipts = Receipts(Dynamo(client), tables)
    for batch in schedule.batches:
        found = receipts.find(batch.project, batch.batch_id)
        assert found is not None
        assert found.received == len(batch.events)
        for other in PROJECTS:
            if other != batch.project:
                with pytest.raises(UnknownBatch):
                    receipts.find(other, batch.batch_id)


def assert_first_content_won(client: Any, tables: Tables, schedule: Schedule) -> None:
    """Each id that was sent is stored once, whole, as the batch that owns it has it."""
    sent = {event.event_id for batch in schedule.batches for event in batch.events}
    batches = {batch.batch_id: batch for batch in schedule.batches}
    stored = list(scan(client, tables.events))
    assert {item["event_id"] for item in stored} == sent
    for item in stored:
        event = Event(*(item[name] for name in Event._fields))
        assert event in batches[item["batch"]].events
        assert item["fingerprint"] == event.fingerprint()


def assert_receipts_tell_of_each_event(client: Any, tables: Tables, schedule: Schedule) -> None:
    """What a receipt says of a batch is what is stored of each of its events."""
    stored = {item["event_id"]: item for item in scan(client, tables.events)}
    receipts = Receipts(Dynamo(client), tables)
    for batch in schedule.batches:
        other = sum(event.fingerprint() != stored[event.event_id]["fingerprint"] for event in batch.events)
        own = sum(
            stored[event_id]["batch"] == batch.batch_id for event_id in {event.event_id for event in batch.events}
        )
        expected = Receipt(len(batch.events), own, len(batch.events) - own - other, other, 0)
        assert receipts.find(DEFAULT, batch.batch_id) == expected
        outcome = receipts.outcome(DEFAULT, [batch])
        assert (len(outcome.inserted), len(outcome.duplicates), len(outcome.conflicts)) == expected[1:4]


def assert_stats_answer_the_recount(client: Any, tables: Tables) -> None:
    recount = Recount.of(client, tables, CALENDAR)
    counters = Counters(Dynamo(client), tables, DEFAULT, CALENDAR)
    actives = [len(recount.actives.get(day, ())) for day in DAYS]
    assert [day.dau for day in DailyActives(DAYS[0], DAYS[-1]).from_counters(counters)] == actives
    for day in DAYS:
        found = {row.event_type: row.events for row in TopEvents(day, day, 1000).from_counters(counters)}
        assert found == recount.types.get(day, {})
    for new_users in (False, True):
        cohort = {u for u in recount.actives.get(DAYS[0], ()) if not new_users or recount.first_days[u] == DAYS[0]}
        answer = Retention(DAYS[0], 2, 1, new_users=new_users, today="2025-09-01").from_counters(counters)
        assert answer.cohort_size == len(cohort)
        returned = [len(cohort & recount.actives.get(day, set())) for day in DAYS[1:]]
        assert [window.retained_users for window in answer.windows] == returned
