"""The claim protocol, case by case, against a real PartiQL."""

import random
from collections.abc import Iterator
from datetime import UTC as UTC_TIME
from datetime import datetime
from typing import Any
from unittest import mock

import pytest

from rollcall.core.batch import Batch, make_batch
from rollcall.core.days import LONGEST_WAY_DAYS, Calendar
from rollcall.core.events import PROFILE_TYPES, Event
from rollcall.core.projects import DEFAULT, Project
from rollcall.counting import claims, counters
from rollcall.counting.claims import Claims
from rollcall.counting.receipts import Receipt, Receipts, finished, receipts_of
from rollcall.questions.daily_actives import DailyActives
from rollcall.questions.from_counters import Counters
from rollcall.questions.ledgers import Ledgers, Line
from rollcall.questions.retention import Retention
from rollcall.questions.top_events import EventCount, TopEvents
from rollcall.stack.dynamo import Dynamo, Item
from rollcall.stack.keys import Tables, counts_key, shard_of
from rollcall.stack.layout import hold_layout
from rollcall.stack.settings import BadSetting
from tests.roles import Watch
from tests.support import (
    RECEIVED_AT,
    KeptDeadLetters,
    assert_counters_equal_recount,
    create_tables,
    delete_tables,
    delivered,
    rejected_alone,
    scan,
    settings_for,
)

UTC = Calendar("UTC")


class Stack:
    """Tables, and a consumer that counts the calls it makes."""

    def __init__(self, client: Any, calendar: Calendar = UTC) -> None:
        self.client = client
        self.calendar = calendar
        self.tables = create_tables(client)
        self.dead_letters = KeptDeadLetters()
        self.dynamo = Dynamo(client, lambda _: None)
        self.counters = Counters(self.dynamo, self.tables, DEFAULT, calendar)
        self.warm = self.consumer()

    def consumer(self) -> Claims:
        return Claims(self.dynamo, self.tables, lambda _: self.calendar, self.dead_letters)

    def check(self) -> None:
        assert_counters_equal_recount(self.client, self.tables, self.calendar)


@pytest.fixture
def stack(dynamodb: Any) -> Iterator[Stack]:
    made = Stack(dynamodb)
    yield made
    delete_tables(made.client, made.tables)


def event(number: int, user: str = "u", kind: str = "open", day: str = "2025-08-01", properties: str = "{}") -> Event:
    return Event(f"e{number}", f"{day}T12:00:00Z", user, kind, properties)


def batch(*events: Event, source: str = "test") -> Batch:
    return make_batch(DEFAULT, events, source, RECEIVED_AT)


def test_a_batch_delivered_again_is_recognised_by_its_receipt(stack: Stack) -> None:
    message = batch(event(1), event(2, "v"))
    first = stack.warm.apply(message)
    again = stack.consumer().apply(message)
    assert (first.repeated, again.repeated) == (False, True)
    assert first.receipt == again.receipt == Receipt(received=2, inserted=2, duplicates=0, conflicts=0, refused=0)
    stack.check()


def test_profile_calls_are_stored_and_are_in_no_number(stack: Stack) -> None:
    calls = [event(number, f"p{number}", kind) for number, kind in enumerate(sorted(PROFILE_TYPES), 100)]
    # Of users with events: before, on the same day, and as the first that is heard of them.
    others = [event(1, "u", "$identify", "2025-07-01"), event(2, "u", "$set"), event(3, "v", "$alias", "2025-07-31")]
    events = [event(4, "u"), event(5, "v", day="2025-08-02")]

    stored = len(calls) + 5
    assert stack.warm.apply(batch(*calls, *others, *events)).receipt == Receipt(stored, stored, 0, 0, 0)

    assert len([*scan(stack.client, stack.tables.events)]) == stored
    days = "2025-07-01", "2025-08-02"
    actives = {day.date: day.dau for day in DailyActives(*days).from_counters(stack.counters) if day.dau}
    assert actives == {"2025-08-01": 1, "2025-08-02": 1}
    assert TopEvents(*days, 10).from_counters(stack.counters) == [EventCount("open", 2)]
    assert stack.counters.new_users("2025-08-01") == {"u"}
    assert stack.counters.new_users("2025-08-02") == {"v"}
    returned = Retention("2025-08-01", 1, 1, new_users=False, today="2025-09-01").from_counters(stack.counters)
    assert (returned.cohort_size, returned.windows[0].retained_users) == (1, 0)
    kinds = {item["pk"].partition("#")[0] for item in scan(stack.client, stack.tables.stats) if "p100" in str(item)}
    assert kinds == set()
    stack.check()


def test_a_batch_of_profile_calls_alone_has_a_whole_receipt_and_is_recognised_by_it(stack: Stack) -> None:
    message = batch(event(1, "u", "$identify"), event(2, "v", "$set"))
    receipts = Receipts(stack.dynamo, stack.tables)

    first, again = stack.warm.apply(message), stack.consumer().apply(message)

    whole = Receipt(2, 2, 0, 0, 0)
    assert (first.repeated, again.repeated) == (False, True)
    assert first.receipt == again.receipt == receipts.find(DEFAULT, message.batch_id) == whole
    assert receipts.wait(DEFAULT, [message.batch_id], 0)
    assert receipts_of(stack.dynamo, stack.tables.stats, DEFAULT, [message.batch_id]) == {message.batch_id: whole}
    assert finished(stack.dynamo, stack.tables.stats, DEFAULT, [message.batch_id]) == {message.batch_id}
    assert [item["pk"] for item in scan(stack.client, stack.tables.stats)] == [f"batch#{message.batch_id}"]
    stack.check()


def test_of_two_deliveries_of_profile_calls_at_once_one_puts_the_receipt(stack: Stack) -> None:
    message = batch(event(1, kind="$identify"))

    class Late(Claims):
        """A consumer that looked for the receipt before the other one put it."""

        def _first_part(self, project: Project, batch_id: str) -> None:
            return None

    stack.warm.apply(message)
    late = Late(stack.dynamo, stack.tables, lambda _: UTC, stack.dead_letters)

    assert late.apply(message).repeated
    stack.check()


def test_profile_calls_are_duplicates_and_conflicts_like_other_events(stack: Stack) -> None:
    stack.warm.apply(batch(event(1, kind="$set", properties='{"a":1}'), event(2)))
    # An id is taken whichever of the two has it.
    again = batch(event(1, kind="$set", properties='{"a":1}'), event(1), event(2, kind="$set"), event(3, kind="$set"))

    assert stack.warm.apply(again).receipt == Receipt(4, 1, 1, 2, 0)

    stored = {item["event_id"]: item["event_type"] for item in scan(stack.client, stack.tables.events)}
    assert stored == {"e1": "$set", "e2": "open", "e3": "$set"}
    stack.check()


def test_without_its_receipt_a_batch_would_be_counted_again(stack: Stack) -> None:
    message = batch(event(1))
    stack.warm.apply(message)
    receipt = {"pk": {"S": f"batch#{message.batch_id}"}, "sk": {"S": "0"}}
    stack.client.delete_item(TableName=stack.tables.stats, Key=receipt)
    stack.consumer().apply(message)
    assert [day.dau for day in DailyActives("2025-08-01", "2025-08-01").from_counters(stack.counters)] == [2]


def test_the_same_events_from_another_source_are_duplicates(stack: Stack) -> None:
    stack.warm.apply(batch(event(1), event(2)))
    assert stack.warm.apply(batch(event(1), event(2), source="import")).receipt == Receipt(2, 0, 2, 0, 0)
    stack.check()


def test_an_id_sent_again_with_other_content_is_a_conflict_and_the_first_stays(stack: Stack) -> None:
    stack.warm.apply(batch(event(1, properties='{"a":1}')))
    assert stack.warm.apply(batch(event(1, properties='{"a":2}'), event(2))).receipt == Receipt(2, 1, 0, 1, 0)
    stored = {item["event_id"]: item["properties"] for item in scan(stack.client, stack.tables.events)}
    assert stored == {"e1": '{"a":1}', "e2": "{}"}
    stack.check()


def test_an_id_twice_in_one_batch_is_stored_and_counted_once(stack: Stack) -> None:
    assert stack.warm.apply(batch(event(1), event(1), event(2))).receipt == Receipt(3, 2, 1, 0, 0)
    stack.check()


def test_events_that_can_never_be_stored_go_to_the_dead_letters_alone(stack: Stack) -> None:
    bad = [event(number, user="") for number in range(40)]
    good = [event(number, f"u{number % 50}") for number in range(100, 500)]
    applied = stack.warm.apply(batch(*bad, *good))
    assert applied.receipt == Receipt(received=440, inserted=400, duplicates=0, conflicts=0, refused=40)
    assert [letter.events for letter, _ in stack.dead_letters.kept] == [(one,) for one in bad]
    assert {reason for _, reason in stack.dead_letters.kept} == {"user_id is empty or too long"}
    stack.check()


def test_a_redriven_event_is_a_dead_letter_again_until_it_can_be_stored(stack: Stack) -> None:
    message = batch(event(1))
    receipts = Receipts(stack.dynamo, stack.tables)
    with mock.patch.object(claims, "flaw", return_value="not yet"):
        for deliveries in (1, 2, 3):
            assert stack.consumer().apply(message).receipt == Receipt(1, 0, 0, 0, 1)
            assert [letter for letter, _ in stack.dead_letters.kept] == [message] * deliveries
    assert receipts.find(DEFAULT, message.batch_id) == Receipt(1, 0, 0, 0, 1)
    assert stack.consumer().apply(message).receipt == Receipt(1, 1, 0, 0, 0)
    assert receipts.find(DEFAULT, message.batch_id) == Receipt(1, 1, 0, 0, 0)
    stack.check()


def test_a_delivery_of_which_nothing_can_be_stored_is_in_the_ledger_once_and_its_redriven_events_are_not(
    stack: Stack,
) -> None:
    message = delivered(batch(event(1, user=""), event(2, kind="")), 1, rejected=(("too_old", 1),))
    for _ in range(2):
        stack.consumer().apply(message)
    for letter, _ in stack.dead_letters.kept[:2]:
        stack.consumer().apply(letter)
    assert line_of(stack) == Line(3, 2, 0, 0, 0, 2, {"too_old": 1})
    stack.consumer().apply(delivered(message, 2))
    assert line_of(stack) == Line(5, 4, 0, 0, 0, 4, {"too_old": 1})


def test_what_became_of_a_delivery_is_in_its_line(stack: Stack) -> None:
    stack.warm.apply(delivered(batch(event(1), event(2)), 1, "b" * 16))
    message = batch(event(1), event(2, kind="other"), event(3), event(3), event(4, user=""))
    stack.warm.apply(delivered(message, 2, repeats=3, rejected=(("missing_field", 1),)))
    assert line_of(stack) == Line(9, 8, 1, 2 + 3, 1, 1, {"missing_field": 1})
    stack.warm.apply(delivered(message, 3))
    assert line_of(stack) == Line(14, 13, 1, 2 + 3 + 3, 2, 2, {"missing_field": 1})
    assert line_of(stack, "b" * 16) == Line(2, 2, 2, 0, 0, 0, {})


def test_a_delivery_of_rejected_events_alone_counts_none_and_leaves_no_receipt(stack: Stack) -> None:
    message = rejected_alone(DEFAULT, 1, rejected=(("missing_field", 2),))
    assert [stack.consumer().apply(message).repeated for _ in range(2)] == [False, True]
    assert line_of(stack) == Line(2, 0, 0, 0, 0, 0, {"missing_field": 2})
    assert not [item for item in scan(stack.client, stack.tables.stats) if item["pk"].startswith("batch#")]


def test_a_project_of_which_all_was_rejected_is_not_laid_out_by_it(stack: Stack) -> None:
    def unasked(_: Project) -> Calendar:
        raise AssertionError("the project's timezone would be fixed")

    consumer = Claims(stack.dynamo, stack.tables, unasked, stack.dead_letters)
    assert not consumer.apply(rejected_alone(Project("shop"), 1, rejected=(("too_old", 1),))).repeated


def test_the_mark_of_a_message_expires_when_no_queue_can_have_it(stack: Stack) -> None:
    now = datetime.now(UTC_TIME)
    consumer = Claims(stack.dynamo, stack.tables, lambda _: UTC, stack.dead_letters, now=lambda: now)
    consumer.apply(rejected_alone(DEFAULT, 1, rejected=(("too_old", 1),)))
    (mark,) = (item for item in scan(stack.client, stack.tables.stats) if item["pk"].startswith("delivery#"))
    assert int(mark["expires_at"]) == int(now.timestamp()) + LONGEST_WAY_DAYS * 86_400


def test_a_ledger_costs_two_write_units_a_batch_and_two_more_where_events_were_rejected(stack: Stack) -> None:
    found = []
    for number, rejected in enumerate([(), (("too_old", 1),)]):
        bare, message = batch(event(2 * number)), delivered(batch(event(2 * number + 1)), number, rejected=rejected)
        items = []
        for one in (bare, message):
            with mock.patch.object(stack.dynamo, "transact", wraps=stack.dynamo.transact) as transact:
                stack.warm.apply(one)
            ((writes,),) = (call.args for call in transact.call_args_list)
            items.append(len(writes))
        found.append(items[1] - items[0])
    # An item of less than a KB each, at two units in a transaction.
    assert found == [1, 2]
    lines = [item for item in scan(stack.client, stack.tables.stats) if item["pk"].startswith(("ledger#", "rejected#"))]
    assert all(sum(len(name) + len(value) for name, value in item.items()) < 512 for item in lines)


def test_a_batch_of_99_days_and_its_ledger_are_applied_in_transactions_that_dynamodb_takes(stack: Stack) -> None:
    days = [f"2024-{month:02}-{day:02}" for month in range(1, 5) for day in range(1, 26)][:99]
    message = batch(*(event(number, day=day) for number, day in enumerate(days)))
    with mock.patch.object(stack.dynamo, "transact", wraps=stack.dynamo.transact) as transact:
        stack.warm.apply(delivered(message, 1, rejected=(("too_old", 1),)))
    assert [len(call.args[0]) for call in transact.call_args_list] == [100, 1 + 2]
    assert line_of(stack) == Line(100, 99, 99, 0, 0, 0, {"too_old": 1})
    stack.check()


def line_of(stack: Stack, key_id: str = "a" * 16) -> Line:
    """A key's line of the day on which all deliveries came."""
    day = "2025-09-01"
    return Ledgers(stack.dynamo, stack.tables).read(DEFAULT, UTC, key_id, day, day)[day]


def test_an_id_twice_in_one_batch_with_other_content_is_a_conflict(stack: Stack) -> None:
    assert stack.warm.apply(batch(event(1), event(1, kind="other"))).receipt == Receipt(2, 1, 0, 1, 0)
    stack.check()


def test_all_contents_of_an_id_in_a_batch_are_compared_with_what_is_stored(stack: Stack) -> None:
    stack.warm.apply(batch(event(1, kind="stored")))
    again = event(1, kind="stored")
    message = batch(event(1), again, again, event(2), event(2, kind="other"), event(2))
    for consumer in (stack.warm, stack.consumer()):
        assert consumer.apply(message).receipt == Receipt(received=6, inserted=1, duplicates=3, conflicts=2, refused=0)
    stack.check()


def test_an_event_that_dynamodb_refuses_takes_the_others_of_its_id_to_the_dead_letters(stack: Stack) -> None:
    huge, other = event(1, properties="x" * 420_000), event(1)
    with mock.patch.object(claims, "flaw", return_value=None):
        applied = stack.warm.apply(batch(event(0), huge, other))
    assert applied.receipt == Receipt(received=3, inserted=1, duplicates=0, conflicts=0, refused=2)
    assert [letter.events for letter, _ in stack.dead_letters.kept] == [(huge,), (other,)]
    stack.check()


def test_a_reader_of_another_layout_is_refused(stack: Stack) -> None:
    hold_layout(stack.dynamo, stack.tables, DEFAULT, UTC)
    other = Counters(stack.dynamo, stack.tables._replace(counter_shards=1), DEFAULT, UTC)
    with pytest.raises(BadSetting, match=r"^COUNTER_SHARDS is 1, but the stored data was laid out with 2"):
        DailyActives("2025-08-01", "2025-08-01").from_counters(other)
    with pytest.raises(BadSetting, match=r"^REPORTING_TIMEZONE"):
        TopEvents("2025-08-01", "2025-08-01", 1).from_counters(
            Counters(stack.dynamo, stack.tables, DEFAULT, Calendar("Asia/Tokyo"))
        )


def test_an_event_that_dynamodb_refuses_goes_to_the_dead_letters_and_its_neighbours_are_stored(stack: Stack) -> None:
    huge = event(1, properties="x" * 420_000)
    applied = stack.warm.apply(batch(event(0), huge, event(2)))
    assert applied.receipt == Receipt(received=3, inserted=2, duplicates=0, conflicts=0, refused=1)
    assert [letter.events for letter, _ in stack.dead_letters.kept] == [(huge,)]
    stack.check()


def test_a_call_that_fails_for_one_statement_is_narrowed_down_to_it(stack: Stack) -> None:
    class Fussy:
        """Fails a whole call for one of its statements, as DynamoDB does with what it cannot even parse."""

        def __getattr__(self, name: str) -> Any:
            return getattr(stack.client, name)

        def batch_execute_statement(self, **request: Any) -> Any:
            if any(statement["Parameters"][0] == {"S": "e13"} for statement in request["Statements"]):
                return stack.client.batch_execute_statement(Statements=[{"Statement": "SELECT"}] * 26)
            return stack.client.batch_execute_statement(**request)

    consumer = Claims(Dynamo(Fussy(), lambda _: None), stack.tables, lambda _: UTC, stack.dead_letters)  # type: ignore[arg-type]
    applied = consumer.apply(batch(*(event(number) for number in range(20))))
    assert applied.receipt == Receipt(received=20, inserted=19, duplicates=0, conflicts=0, refused=1)
    assert [letter.events[0].event_id for letter, _ in stack.dead_letters.kept] == ["e13"]
    stack.check()


def test_ten_thousand_good_events_follow_forty_that_cannot_be_written(stack: Stack) -> None:
    for number in range(40):
        stack.warm.apply(batch(event(number, kind="")))
    for start in range(0, 10_000, 500):
        stack.warm.apply(batch(*(event(1_000 + n, f"u{n % 700}", f"t{n % 9}") for n in range(start, start + 500))))
    assert len(stack.dead_letters.kept) == 40
    assert [day.dau for day in DailyActives("2025-08-01", "2025-08-01").from_counters(stack.counters)] == [700]
    assert sum(row.events for row in TopEvents("2025-08-01", "2025-08-01", 100).from_counters(stack.counters)) == 10_000
    stack.check()


def test_event_types_of_any_characters_are_counted_apart(stack: Stack) -> None:
    kinds = ["a#b", "#", "dau", "overflow", "pk", "\0", "a\0b", "🎉", "é", "e\u0301", " ", "sk", "%", ":0", "x" * 128]
    kinds += ["~0;", "~", "\u200b", "\n"]
    stack.warm.apply(batch(*(event(number, kind=kind) for number, kind in enumerate(kinds))))
    found = {
        row.event_type: row.events for row in TopEvents("2025-08-01", "2025-08-01", 100).from_counters(stack.counters)
    }
    assert found == dict.fromkeys(kinds, 1)
    assert all(name.isprintable() for item in scan(stack.client, stack.tables.stats) for name in item)
    stack.check()


def test_a_type_that_was_counted_before_names_were_escaped_goes_on_from_there(stack: Stack) -> None:
    for shard in range(stack.tables.counter_shards):
        item = {"pk": {"S": counts_key(DEFAULT, shard)}, "sk": {"S": "2025-08-01"}, "#\0": {"N": "20"}}
        stack.client.put_item(TableName=stack.tables.stats, Item=item)
    stack.warm.apply(batch(event(1, kind="\0")))
    counted = TopEvents("2025-08-01", "2025-08-01", 5).from_counters(stack.counters)
    assert counted == [("\0", 20 * stack.tables.counter_shards + 1)]


def test_user_ids_of_any_characters_are_users_apart(stack: Stack) -> None:
    users = ["1", "01", "a#b", "a", "b", "\0", "-", "x" * 256, "🎉", " x"]
    stack.warm.apply(batch(*(event(number, user) for number, user in enumerate(users))))
    assert DailyActives("2025-08-01", "2025-08-01").from_counters(stack.counters)[0].dau == len(users)
    stack.check()


def test_a_wide_vocabulary_overflows_into_items_of_its_own(stack: Stack) -> None:
    for start in range(0, 2_400, 400):
        stack.warm.apply(batch(*(event(n, f"u{n}", f"type-{n}") for n in range(start, start + 400))))
    biggest = max(len(item) for item in scan(stack.client, stack.tables.stats) if item["pk"].startswith("counts#"))
    assert biggest <= counters.INLINE_TYPES + len(("pk", "sk", "dau", "overflow", "@test", "processing_ms"))
    assert len(TopEvents("2025-08-01", "2025-08-01", 5_000).from_counters(stack.counters)) == 2_400
    few = Counters(stack.dynamo, stack.tables, DEFAULT, UTC, named_types=100)
    answer = TopEvents("2025-08-01", "2025-08-01", 5_000).from_counters(few)
    assert {row.events for row in answer[:-1]} == {1}
    assert answer[-1] == EventCount("$other", 2_401 - len(answer))
    stack.check()


def test_a_batch_over_many_days_is_applied_in_parts_and_each_part_once(stack: Stack) -> None:
    days = [f"2024-{month:02}-{day:02}" for month in range(1, 13) for day in range(1, 29)]
    rng = random.Random(3)
    message = batch(*(event(n, f"u{rng.randrange(40)}", f"t{n % 7}", rng.choice(days)) for n in range(500)))
    stack.warm.apply(message)
    parts = [item for item in scan(stack.client, stack.tables.stats) if item["pk"] == f"batch#{message.batch_id}"]
    assert len(parts) > 2
    stack.check()
    assert stack.consumer().apply(message).repeated
    stack.check()


def test_a_later_try_goes_on_where_the_earlier_one_came_to_though_it_would_have_cut_elsewhere(stack: Stack) -> None:
    message = batch(*(event(number, kind=f"t{number}") for number in range(6)))
    shard = shard_of(message.batch_id, stack.tables.counter_shards)

    class Interrupted(Exception):
        pass

    def transact_once(writes: Any) -> Item | None:
        assert Dynamo.transact(stack.dynamo, writes) is None
        raise Interrupted

    with mock.patch.object(counters, "MAX_WRITES", 3), mock.patch.object(counters, "INLINE_TYPES", 2):
        with mock.patch.object(stack.dynamo, "transact", transact_once), pytest.raises(Interrupted):
            stack.consumer().apply(message)
        # Another batch has meanwhile found room for a type that overflowed in the first try.
        stack.client.update_item(
            TableName=stack.tables.stats,
            Key={"pk": {"S": counts_key(DEFAULT, shard)}, "sk": {"S": "2025-08-01"}},
            UpdateExpression="ADD #t :none",
            ExpressionAttributeNames={"#t": "#t3"},
            ExpressionAttributeValues={":none": {"N": "0"}},
        )
        stack.consumer().apply(message)
    stack.check()


def test_late_events_bring_the_first_day_down_and_never_up(stack: Stack) -> None:
    for number, day in enumerate(["2025-08-05", "2025-08-09", "2025-08-02", "2025-08-03"]):
        stack.warm.apply(batch(event(number, day=day)))
    firsts = [item["first_day"] for item in scan(stack.client, stack.tables.stats) if item["pk"] == "first#u"]
    assert firsts == ["2025-08-02"]
    stack.check()


def test_days_are_those_of_the_reporting_timezone(dynamodb: Any) -> None:
    stack = Stack(dynamodb, Calendar("Europe/Kyiv"))
    moments = ["2025-07-31T20:59:59Z", "2025-07-31T21:00:00Z", "2025-12-31T21:59:59Z", "2025-12-31T22:00:00Z"]
    stack.warm.apply(batch(*(Event(f"e{n}", at, "u", "open", "{}") for n, at in enumerate(moments))))
    days = {"2025-07-31": 1, "2025-08-01": 1, "2025-12-31": 1, "2026-01-01": 1}
    found = {
        day.date: day.dau for day in DailyActives("2025-07-31", "2026-01-01").from_counters(stack.counters) if day.dau
    }
    assert found == days
    stack.check()
    delete_tables(stack.client, stack.tables)


def test_weekly_retention_counts_a_user_once_a_week_and_follows_late_events(stack: Stack) -> None:
    days = ["2025-08-01", "2025-08-08", "2025-08-14", "2025-08-15", "2025-08-22"]
    stack.warm.apply(batch(*(event(n, "a", day=day) for n, day in enumerate(days))))
    stack.warm.apply(batch(event(10, "b"), event(11, "b", day="2025-08-20")))

    def weeks(*, new_users: bool) -> tuple[int, list[int]]:
        found = Retention("2025-08-01", 3, 7, new_users=new_users, today="2025-09-30").from_counters(stack.counters)
        return found.cohort_size, [window.retained_users for window in found.windows]

    assert weeks(new_users=False) == (2, [1, 2, 1])
    stack.warm.apply(batch(event(20, "a", day="2025-07-01")))
    assert weeks(new_users=True) == (1, [0, 1, 0])
    assert weeks(new_users=False) == (2, [1, 2, 1])


def test_a_window_is_complete_once_its_last_day_is_over(stack: Stack) -> None:
    found = Retention("2025-08-01", 3, 7, new_users=False, today="2025-08-22").from_counters(stack.counters)
    assert [(window.date, window.complete) for window in found.windows] == [
        ("2025-08-08", True),
        ("2025-08-15", True),
        ("2025-08-22", False),
    ]


def test_a_repeated_batch_costs_one_read(stack: Stack) -> None:
    message = batch(*(event(number) for number in range(100)))
    stack.warm.apply(message)
    calls: list[str] = []
    stack.client.meta.events.register("before-call.dynamodb", lambda model, **_: calls.append(model.name))
    stack.consumer().apply(message)
    assert calls == ["GetItem"]


def test_a_changed_layout_is_refused_by_the_name_of_the_setting(stack: Stack) -> None:
    tables: Tables = stack.tables
    hold_layout(stack.dynamo, tables, DEFAULT, UTC)
    hold_layout(stack.dynamo, tables, DEFAULT, UTC)
    with pytest.raises(BadSetting, match=r"^USER_SHARDS is 3, but the stored data was laid out with 2"):
        hold_layout(stack.dynamo, tables._replace(user_shards=3), DEFAULT, UTC)
    with pytest.raises(BadSetting, match=r"^REPORTING_TIMEZONE is Europe/Kyiv"):
        hold_layout(stack.dynamo, tables, DEFAULT, Calendar("Europe/Kyiv"))


def test_a_consumer_needs_what_its_role_allows_and_nothing_else(stack: Stack) -> None:
    watch = Watch("consumer", settings_for(stack.tables, "access", "queue"))
    watch.register(stack.client.meta.events)
    hold_layout(stack.dynamo, stack.tables, DEFAULT, UTC)
    for number, day in enumerate(["2025-08-05", "2025-07-02"]):
        message = batch(event(0), event(1, user=""), event(2 + number, day=day, kind=f"t{number}"))
        with mock.patch.object(counters, "INLINE_TYPES", 1):
            stack.warm.apply(message)
            stack.consumer().apply(message)
    stack.warm.apply(batch(event(9, user="")))
    watch.unregister(stack.client.meta.events)
    assert watch.needed == {(action, of) for action, of in watch.allowed if action.startswith("dynamodb:")}
