"""The audit finds where counters and events disagree; its repair mends what a lost message left."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest

from rollcall.core.batch import Batch, make_batch
from rollcall.core.days import Calendar
from rollcall.core.events import Event
from rollcall.core.projects import DEFAULT, Project
from rollcall.counting import claims as claiming
from rollcall.counting.claims import Claims
from rollcall.questions.ledgers import Ledgers
from rollcall.stack.dynamo import Dynamo
from scripts.operate.audit import LEAST_AGE, Auditor, CannotRepair, Drift
from tests.support import (
    RECEIVED_AT,
    KeptDeadLetters,
    assert_counters_equal_recount,
    create_tables,
    delete_tables,
    delivered,
    pass_over,
    scan,
)

CALENDAR = Calendar("UTC")
LATER = datetime.fromisoformat(RECEIVED_AT) + LEAST_AGE + timedelta(seconds=1)
CALLS = ("get_item", "batch_execute_statement", "batch_get_item", "transact_write_items")


class Killed(BaseException):
    """The process is gone."""


class Killing:
    """A client under which the process dies before or after a call that changes something or tells of it."""

    def __init__(self, client: Any, call: int, after: bool) -> None:
        self._client = client
        self._call = call
        self._after = after
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._client, name)
        if name not in CALLS:
            return real

        def call(**request: Any) -> Any:
            self.calls += 1
            if self.calls == self._call and not self._after:
                raise Killed
            answer = real(**request)
            if self.calls == self._call:
                raise Killed
            return answer

        return call


class Stack:
    def __init__(self, client: Any) -> None:
        self.client = client
        self.tables = create_tables(client)
        self.auditor = Auditor(client, self.tables, DEFAULT, CALENDAR, 60)

    def apply(self, batch: Batch, client: Any = None) -> None:
        Claims(Dynamo(client or self.client), self.tables, lambda _: CALENDAR, KeptDeadLetters()).apply(batch)

    def check(self) -> None:
        assert_counters_equal_recount(self.client, self.tables, CALENDAR)
        assert self.auditor.audit().drifts == []


@pytest.fixture
def stack(dynamodb: Any) -> Iterator[Stack]:
    made = Stack(dynamodb)
    yield made
    delete_tables(made.client, made.tables)


def event(number: int, day: str = "2025-08-01") -> Event:
    return Event(f"e{number}", f"{day}T12:00:00Z", f"u{number % 7}", f"t{number % 3}", "{}")


def profile(number: int, day: str = "2025-08-01") -> Event:
    """A profile call, of a user without events."""
    return event(number, day)._replace(event_id=f"p{number}", user_id=f"p{number}", event_type="$identify")


def batch(*numbers: int, source: str = "test") -> Batch:
    days = ("2025-08-01", "2025-08-02")
    return make_batch(DEFAULT, [event(number, days[number % 2]) for number in numbers], source, RECEIVED_AT)


def test_counters_that_are_right_have_no_drift(stack: Stack) -> None:
    stack.apply(batch(*range(40)))
    stack.apply(batch(*range(30, 60), source="other"))

    found = stack.auditor.audit()

    assert (found.events, found.days, found.drifts, found.unfinished) == (60, 2, [], {})


@pytest.mark.parametrize(
    ("attribute", "what"), [("dau", "daily actives"), ("#t0", "event type t0"), ("@test", "source test")]
)
def test_a_counter_that_is_wrong_is_named_with_both_figures(stack: Stack, attribute: str, what: str) -> None:
    stack.apply(batch(0, 2, 4))
    (shard,) = {item["pk"] for item in scan(stack.client, stack.tables.stats) if item["pk"].startswith("counts#")}
    stack.client.update_item(
        TableName=stack.tables.stats,
        Key={"pk": {"S": shard}, "sk": {"S": "2025-08-01"}},
        UpdateExpression="ADD #counter :two",
        ExpressionAttributeNames={"#counter": attribute},
        ExpressionAttributeValues={":two": {"N": "2"}},
    )

    (drift,) = stack.auditor.audit().drifts

    assert (drift.what, drift.day) == (what, "2025-08-01")
    assert isinstance(drift.stored, int)
    assert drift.counted == drift.stored + 2
    assert stack.auditor.audit(day="2025-08-02").drifts == []


def test_a_first_day_that_is_wrong_is_named(stack: Stack) -> None:
    stack.apply(batch(0))
    stack.client.update_item(
        TableName=stack.tables.stats,
        Key={"pk": {"S": "first#u0"}, "sk": {"S": "-"}},
        UpdateExpression="SET first_day = :later",
        ExpressionAttributeValues={":later": {"S": "2025-08-09"}},
    )

    assert stack.auditor.audit().drifts == [Drift("first day of user u0", "2025-08-01", "2025-08-09", "2025-08-01")]


def test_an_event_that_is_not_stored_but_counted_is_drift(stack: Stack) -> None:
    stack.apply(batch(0))
    stack.client.delete_item(TableName=stack.tables.events, Key={"event_id": {"S": "e0"}})

    whats = {drift.what for drift in stack.auditor.audit().drifts}

    assert whats == {"daily actives", "event type t0", "source test", "first day of user u0"}


def test_profile_calls_are_neither_recounted_nor_drift(stack: Stack) -> None:
    stack.apply(make_batch(DEFAULT, [event(1), profile(1), profile(2, "2025-08-02")], "test", RECEIVED_AT))
    stack.apply(make_batch(DEFAULT, [profile(3)], "other", RECEIVED_AT))

    found = stack.auditor.audit()

    assert (found.events, found.days, found.drifts, found.unfinished) == (1, 1, [], {})


def test_profile_calls_that_were_counted_by_an_earlier_version_are_recounted(stack: Stack) -> None:
    with mock.patch.object(claiming, "is_profile_call", return_value=False):
        stack.apply(make_batch(DEFAULT, [event(1), profile(1), profile(2, "2025-07-01")], "test", RECEIVED_AT))
    stack.apply(make_batch(DEFAULT, [event(2), profile(3)], "test", RECEIVED_AT))

    found = stack.auditor.audit()

    assert (found.events, found.days, found.drifts) == (4, 2, [])


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_profile_calls_that_a_lost_message_left_get_their_receipt_from_the_repair(stack: Stack, after: bool) -> None:
    repaired = 0
    for call in range(1, 40):
        message = make_batch(DEFAULT, [profile(100 * call + number) for number in range(40)], "test", RECEIVED_AT)
        try:
            stack.apply(message, Killing(stack.client, call, after))
        except Killed:
            repaired += stack.auditor.repair(stack.auditor.audit(), pass_over, LATER)
        else:
            break
        stack.check()
        stack.apply(message)
        stack.check()
        assert stack.auditor.audit().unfinished == {}
    assert repaired >= 2
    assert stack.auditor.audit().events == 0


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_what_a_lost_message_left_is_counted_by_the_repair_wherever_its_consumer_died(
    stack: Stack, after: bool
) -> None:
    died = repaired = 0
    for call in range(1, 40):
        # Two calls' worth of events, some of them stored before by another batch.
        first = call * 1_000
        stack.apply(batch(*range(first, first + 3), source="other"))
        message = delivered(
            batch(*range(first, first + 40)), call, f"{call:016x}", rejected=(("too_old", 2),), repeats=1
        )
        killing = Killing(stack.client, call, after)
        try:
            stack.apply(message, killing)
        except Killed:
            died += 1
        else:
            break
        found = stack.auditor.audit()
        repaired += stack.auditor.repair(found, pass_over, LATER)
        stack.check()
        assert stack.auditor.repair(stack.auditor.audit(), pass_over, LATER) == 0
        # Somebody sends it again after all, and the lost message comes.
        again = delivered(message, 1_000 + call, f"{call:016x}")
        for late in (again, message, message, again):
            stack.apply(late)
            stack.check()
        line = Ledgers(Dynamo(stack.client), stack.tables).read(
            DEFAULT, CALENDAR, f"{call:016x}", "2025-09-01", "2025-09-01"
        )["2025-09-01"]
        assert (line.received, line.accepted, line.rejected) == (83, 81, {"too_old": 2})
        # What a repair counts is in no ledger, so that it is a duplicate of what comes later.
        by_repair = [
            int(item["inserted"])
            for item in scan(stack.client, stack.tables.stats)
            if item["pk"] == f"batch#{message.batch_id}" and "repaired" in item
        ]
        assert (line.counted, line.duplicates) == (37 - sum(by_repair), 81 - 37 + sum(by_repair))
        stored = {item["event_id"] for item in scan(stack.client, stack.tables.events)}
        assert {f"e{number}" for number in range(first, first + 40)} <= stored
    assert died >= 5
    assert repaired >= 3


def test_batches_that_may_be_on_their_way_are_not_repaired(stack: Stack) -> None:
    message = batch(0, 1)
    with pytest.raises(Killed):
        stack.apply(message, Killing(stack.client, 2, after=True))
    found = stack.auditor.audit()
    assert found.unfinished.keys() == {message.batch_id}

    with pytest.raises(CannotRepair, match="1 unfinished batches are less than an hour old"):
        stack.auditor.repair(found, pass_over, datetime.fromisoformat(RECEIVED_AT) + timedelta(minutes=59))

    assert stack.auditor.audit().unfinished == found.unfinished
    stack.apply(message)
    stack.check()


def test_a_batch_in_several_parts_is_repaired_from_where_it_came_to(stack: Stack) -> None:
    days = [f"2024-{month:02}-{day:02}" for month in range(1, 9) for day in range(1, 29)]
    message = make_batch(DEFAULT, [event(number, day) for number, day in enumerate(days)], "test", RECEIVED_AT)
    calls = Killing(stack.client, 0, after=False)
    other = Stack(stack.client)
    other.apply(message, calls)
    delete_tables(stack.client, other.tables)

    # Before the last of the transactions.
    with pytest.raises(Killed):
        stack.apply(message, Killing(stack.client, calls.calls, after=False))
    assert stack.auditor.audit().unfinished.keys() == {message.batch_id}

    assert stack.auditor.repair(stack.auditor.audit(), pass_over, LATER) == 1

    stack.check()
    stack.apply(message)
    stack.check()


def test_the_time_that_a_repair_takes_for_now_is_now(stack: Stack) -> None:
    with pytest.raises(Killed):
        stack.apply(batch(0)._replace(received_at=datetime.now(UTC).isoformat()), Killing(stack.client, 2, after=True))
    with pytest.raises(CannotRepair):
        stack.auditor.repair(stack.auditor.audit(), pass_over)


def test_what_a_consumer_stores_while_its_batch_is_given_up_is_counted_too(stack: Stack) -> None:
    message = batch(*range(60))
    with pytest.raises(Killed):
        # The first 25 are stored.
        stack.apply(message, Killing(stack.client, 2, after=True))
    found = stack.auditor.audit()
    assert len(found.unfinished[message.batch_id]) == 25
    waited = []

    class Late(Claims):
        """A consumer that looked for the receipt before the batch was given up."""

        def _first_part(self, project: Project, batch_id: str) -> None:
            return None

    def meanwhile(seconds: float) -> None:
        waited.append(seconds)
        late = Late(Dynamo(stack.client), stack.tables, lambda _: CALENDAR, KeptDeadLetters())
        with pytest.raises(RuntimeError, match="repaired while it was being applied"):
            late.apply(message)

    assert stack.auditor.repair(found, meanwhile, LATER) == 1

    assert waited == [70]
    stack.check()
    stack.apply(message)
    stack.check()
    assert stack.auditor.audit().events == 60


def test_a_batch_that_is_delivered_while_it_is_given_up_is_stored_and_counted_whole(stack: Stack) -> None:
    message = batch(*range(60))
    with pytest.raises(Killed):
        stack.apply(message, Killing(stack.client, 2, after=True))

    stack.auditor.repair(stack.auditor.audit(), lambda _: stack.apply(message), LATER)

    stack.check()
    assert stack.auditor.audit().events == 60


def test_what_is_counted_while_the_tables_are_read_is_no_drift(stack: Stack) -> None:
    stack.apply(batch(*range(10)))
    numbers = iter(range(1_000, 2_000, 10))
    scan_tables = stack.auditor._scan

    def scan_busily(table: str, *attributes: str) -> Iterator[Any]:
        if table == stack.tables.events:
            first = next(numbers)
            stack.apply(batch(*range(first, first + 6)))
        return scan_tables(table, *attributes)

    with mock.patch.object(stack.auditor, "_scan", scan_busily):
        assert stack.auditor._pass(None).drifts
        found = stack.auditor.audit()

    assert [drift for drift in found.drifts if "first day" not in drift.what] == []
    assert found.moving
    assert found.unfinished == {}
