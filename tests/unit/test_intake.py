from datetime import UTC, date, datetime, timedelta
from typing import Any, cast

from rollcall.core.batch import Delivery, Sender, decode
from rollcall.core.days import Calendar
from rollcall.core.projects import DEFAULT
from rollcall.intake.intake import MAX_DAYS, Intake, Taken
from rollcall.stack.queues import BatchQueue
from tests.support import KeptTasks

NOW = datetime(2025, 9, 1, tzinfo=UTC)


class Queue:
    """Takes everything."""

    def send(self, _bodies: object, _correlation_id: str) -> dict[int, str]:
        return {}


class Kept(Queue):
    """Takes every message but those of the first `refused` batches, and keeps it."""

    def __init__(self, refused: int = 0) -> None:
        self.refused = refused
        self.deliveries: list[tuple[int, Delivery | None]] = []

    def send(self, bodies: object, _correlation_id: str) -> dict[int, str]:
        unsent = {}
        for position, body in enumerate(cast(list[str], bodies)):
            batch = decode(body)
            if batch.events and self.refused:
                self.refused -= 1
                unsent[position] = "InternalError"
            else:
                self.deliveries.append((len(batch.events), batch.delivery))
        return unsent


KEY = Sender("http", "0123456789abcdef")


def kept(queue: Kept, raws: list[Any], sender: Sender = KEY, calendar: Calendar | None = None) -> list[Any]:
    """What the messages of a request tell the ledger: events, part, day, rejected events by code, and repeats."""
    door = Intake(cast(BatchQueue, queue), lambda _: calendar or Calendar("UTC"), lambda: NOW)
    door.take(DEFAULT, raws, sender, "-")
    assert {each.key_id for _, each in queue.deliveries if each} <= {KEY.key_id}
    assert len({each.delivery_id for _, each in queue.deliveries if each}) <= 1
    return [(events, *each[2:]) if each else (events, None) for events, each in queue.deliveries]


def test_the_first_batch_of_a_request_tells_the_ledger_what_makes_no_batch() -> None:
    raws = [on(1, 1), on(1, 1), {}, {**on(2, 1), "user_id": None}, {**on(3, 1), "event_type": ""}, on(4, 1)]

    told = kept(Kept(), raws)

    assert told == [(2, 0, "2025-09-01", (("invalid_event_type", 1), ("missing_field", 2)), 1)]


def test_a_request_of_bad_events_alone_tells_the_ledger_by_itself() -> None:
    assert kept(Kept(), [{}, {}]) == [(0, 0, "2025-09-01", (("missing_field", 2),), 0)]
    assert kept(Kept(), []) == []


def test_what_the_first_batch_has_to_tell_is_sent_alone_where_the_queue_takes_others_only() -> None:
    raws = [*(on(number, number // 500) for number in range(1_500)), {}, on(7, 0)]
    bare = ((), 0)
    lost = (0, 3, "2025-09-01", (("missing_field", 1),), 1)
    assert kept(Kept(1), raws) == [(500, 1, "2025-09-01", *bare), (500, 2, "2025-09-01", *bare), lost]
    # Of a request that is answered by 503 nothing was received.
    assert kept(Kept(3), raws) == []


def test_events_that_are_to_come_again_are_not_in_the_ledger_before() -> None:
    raws = [on(day, day) for day in range(MAX_DAYS + 3)]
    assert kept(Kept(), raws) == [(MAX_DAYS, 0, "2025-09-01", (), 0)]


def test_the_day_of_the_ledger_is_that_of_the_receipt_in_the_projects_timezone() -> None:
    # NOW is midnight of 2025-09-01 in UTC.
    assert kept(Kept(), [{}], calendar=Calendar("America/New_York")) == [
        (0, 0, "2025-08-31", (("missing_field", 1),), 0)
    ]


def test_nothing_is_told_to_a_ledger_where_no_key_sends() -> None:
    assert kept(Kept(), [on(1, 1), {}], Sender("import")) == [(1, None)]
    assert kept(Kept(), [{}], Sender("account")) == []


def test_a_body_that_is_sent_again_is_another_delivery_of_the_same_batches() -> None:
    queue = KeptTasks()
    door = Intake(queue, lambda _: Calendar("UTC"), lambda: NOW)
    for _ in range(2):
        door.take(DEFAULT, [on(1, 1)], KEY, "the same id")
    one, again = map(decode, queue.waiting)
    assert one.delivery
    assert again.delivery
    assert one.batch_id == again.batch_id
    assert one.delivery.delivery_id != again.delivery.delivery_id


def test_equal_bodies_that_come_in_one_millisecond_are_told_apart_by_the_time_of_receipt() -> None:
    # By it a request knows whether the events of their one batch were stored for it or for another request.
    queue = KeptTasks()
    moments = (NOW + timedelta(microseconds=number) for number in range(2))
    door = Intake(queue, lambda _: Calendar("UTC"), lambda: next(moments))
    for _ in range(2):
        door.take(DEFAULT, [on(1, 1)], KEY, "-")
    one, other = map(decode, queue.waiting)
    assert one.batch_id == other.batch_id
    assert one.received_at != other.received_at


def intake(calendar: Calendar) -> Intake:
    return Intake(cast(BatchQueue, Queue()), lambda _: calendar, lambda: NOW)


def event(number: int, occurred_at: str) -> dict[str, Any]:
    return {"event_id": f"e{number}", "occurred_at": occurred_at, "user_id": "u", "event_type": "t"}


def on(number: int, day: int) -> dict[str, Any]:
    return event(number, f"{date(2020, 1, 1) + timedelta(days=day)}T12:00:00Z")


def test_an_event_before_the_first_day_is_refused_alone() -> None:
    raws = [event(1, "2024-12-31T23:59:59Z"), event(2, "2025-01-01T00:00:00Z"), event(3, "0001-01-03T00:00:00Z")]

    taken = intake(Calendar("UTC", "2025-01-01")).take(DEFAULT, raws, Sender("http"), "-")

    assert [one.event_id for batch in taken.batches for one in batch.events] == ["e2"]
    assert [(one.index, one.event_id, one.code) for one in taken.rejected] == [
        (0, "e1", "too_old"),
        (2, "e3", "too_old"),
    ]
    assert "occurred_at" in taken.rejected[0].message
    assert "2025-01-01" in taken.rejected[0].message


def test_the_first_day_begins_in_the_timezone_of_the_stack() -> None:
    for zone, first in (("Pacific/Kiritimati", "2024-12-31T10:00:00Z"), ("Pacific/Pago_Pago", "2025-01-01T11:00:00Z")):
        before = (datetime.fromisoformat(first) - timedelta(seconds=1)).isoformat()
        taken = intake(Calendar(zone, "2025-01-01")).take(
            DEFAULT, [event(1, before), event(2, first)], Sender("http"), "-"
        )
        assert [one.index for one in taken.rejected] == [0]
        assert taken.accepted == 1


def test_events_of_400_days_are_taken_at_once_and_those_of_further_days_are_listed() -> None:
    raws = [on(day, day) for day in range(MAX_DAYS + 3)]
    # Neither another event of a day that is taken nor a repeat is too many.
    raws += [on(1_000, 7), on(3, 3)]

    taken = intake(Calendar("UTC")).take(DEFAULT, raws, Sender("http"), "-")

    assert (taken.accepted, taken.duplicates) == (MAX_DAYS + 1, 1)
    assert [(one.index, one.code) for one in taken.rejected] == [
        (MAX_DAYS + extra, "too_many_days") for extra in range(3)
    ]
    assert "400" in taken.rejected[0].message


def test_events_that_were_of_too_many_days_are_taken_when_they_come_again() -> None:
    raws = [on(day, day) for day in range(MAX_DAYS + 3)]
    door = intake(Calendar("UTC"))

    rejected = door.take(DEFAULT, raws, Sender("http"), "-").rejected

    again = door.take(DEFAULT, [raws[one.index] for one in rejected], Sender("http"), "-")
    assert (again.accepted, again.rejected) == (3, [])


def test_the_id_of_a_rejected_event_is_listed_whole_and_half_of_one_that_is_too_long() -> None:
    ids = ["i" * 128, "i" * 129, "a\x00\u2028\ud800b"]
    raws = [{**event(1, "never"), "event_id": each} for each in ids]

    taken = intake(Calendar("UTC")).take(DEFAULT, raws, Sender("http"), "-")

    assert [one.event_id for one in taken.rejected] == ["i" * 128, "i" * 64, "a???b"]


def content(taken: Taken) -> list[list[tuple[str, str]]]:
    return [[(one.event_id, one.user_id) for one in batch.events] for batch in taken.batches]


def test_the_same_content_again_is_dropped_and_other_content_follows_the_first_of_its_id() -> None:
    raws = [on(1, 5), on(2, 3), {**on(1, 1), "user_id": "v"}, on(1, 5), {**on(1, 5), "user_id": "w"}, on(3, 3)]

    taken = intake(Calendar("UTC")).take(DEFAULT, raws, Sender("http"), "-")

    # A conflict never has an earlier place than the first of its id, though its day may be earlier.
    assert content(taken) == [[("e2", "u"), ("e3", "u"), ("e1", "u"), ("e1", "v"), ("e1", "w")]]
    assert (taken.accepted, taken.duplicates, taken.rejected) == (5, 1, [])
    assert [(one.index, one.event_id, one.code) for one in taken.conflicts] == [
        (2, "e1", "conflict"),
        (4, "e1", "conflict"),
    ]


def test_other_content_is_in_the_batch_of_the_first_of_its_id_however_many_events_are_between() -> None:
    raws = [on(number, number // 500) for number in range(1_200)]
    raws += [{**on(number, 0), "user_id": "v"} for number in (0, 499, 500, 1_199)]

    taken = intake(Calendar("UTC")).take(DEFAULT, raws, Sender("http"), "-")

    firsts = [{event_id for event_id, user in batch if user == "u"} for batch in content(taken)]
    others = [{event_id for event_id, user in batch if user == "v"} for batch in content(taken)]
    assert all(other <= first for first, other in zip(firsts, others, strict=True))
    assert set.union(*others) == {"e0", "e499", "e500", "e1199"}
    assert taken.accepted == 1_204


def test_an_id_that_is_put_off_for_its_day_keeps_its_first_content() -> None:
    door = intake(Calendar("UTC"))
    raws = [on(day, day) for day in range(MAX_DAYS + 1)]
    raws.append({**on(MAX_DAYS, 0), "user_id": "v"})

    taken = door.take(DEFAULT, raws, Sender("http"), "-")

    assert [one.index for one in taken.rejected] == [MAX_DAYS, MAX_DAYS + 1]
    again = door.take(DEFAULT, [raws[one.index] for one in taken.rejected], Sender("http"), "-")
    assert content(again) == [[(f"e{MAX_DAYS}", "u"), (f"e{MAX_DAYS}", "v")]]


def test_other_content_that_the_queue_does_not_take_is_sent_again_with_the_first() -> None:
    class Full(Queue):
        def send(self, bodies: object, _correlation_id: str) -> dict[int, str]:
            return dict.fromkeys(range(len(cast(list[str], bodies))), "InternalError")

    door = Intake(cast(BatchQueue, Full()), lambda _: Calendar("UTC"), lambda: NOW)

    taken = door.take(DEFAULT, [on(1, 1), on(2, 2), {**on(1, 1), "user_id": "v"}], Sender("http"), "-")

    assert [(one.index, one.code) for one in taken.rejected] == [(0, "retry"), (1, "retry"), (2, "retry")]
    assert (taken.batches, taken.conflicts) == ([], [])
