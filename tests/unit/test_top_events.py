"""Which event types are counted by name where there are very many, and that what is told is exact."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcall.core.days import Calendar
from rollcall.core.events import OTHER_TYPES, InvalidEvent, parse_event
from rollcall.core.projects import DEFAULT
from rollcall.questions.event_types import EventTypes, SeenType
from rollcall.questions.from_counters import Counters
from rollcall.questions.top_events import EventCount, TopEvents
from rollcall.stack.dynamo import Dynamo, Item
from rollcall.stack.keys import OVERFLOW, Tables, counts_key, overflow_key, source_attribute, type_attribute
from tests.support import NOW

DAYS = ("2025-08-01", "2025-08-02")
SHARDS = 2
TABLES = Tables("events", "stats", 1, SHARDS)
ALL = 1_000

Types = dict[str, int]


class Stats(Dynamo):
    """A stats table of some counters, which counts the items that are read of event types without room."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], Item] = {}
        self.read = 0

    def add(self, day: str, shard: int, inline: Types, overflow: Types) -> None:
        """What consumers make of the events of a day and shard."""
        counts = {type_attribute(name): count for name, count in inline.items()}
        counts[source_attribute("http")] = inline_and(overflow, inline).total()
        if overflow:
            counts[OVERFLOW] = len(overflow)
        self._put(counts_key(DEFAULT, shard), day, counts)
        for name, count in overflow.items():
            self._put(overflow_key(DEFAULT, day, shard), name, {"count": count})

    def query(self, **request: Any) -> Iterator[list[Item]]:
        values = {name: value["S"] for name, value in request["ExpressionAttributeValues"].items()}
        if ":types" in values:
            found = [self.items[key] for key in sorted(self.items) if key[0] == values[":types"]]
            # DynamoDB may end a page anywhere.
            for item in found:
                self.read += 1
                yield [item]
            return
        first, last = values[":first"], values[":last"]
        yield [item for (pk, sk), item in self.items.items() if pk == values[":counts"] and first <= sk <= last]

    def get(self, table: str, keys: Sequence[Item], attributes: Sequence[str] = (), **_: Any) -> Iterator[Item]:
        for key in keys:
            self.read += 1
            item = self.items.get((key["pk"]["S"], key["sk"]["S"]))
            if item:
                yield {name: item[name] for name in attributes}

    def _put(self, pk: str, sk: str, numbers: Types) -> None:
        self.items[pk, sk] = {"pk": {"S": pk}, "sk": {"S": sk}} | {
            name: {"N": str(number)} for name, number in numbers.items()
        }


def inline_and(*types: Types) -> Counter[str]:
    counted: Counter[str] = Counter()
    for each in types:
        counted.update(each)
    return counted


def counters_of(stats: Stats, named_types: int) -> Counters:
    counters = Counters(stats, TABLES, DEFAULT, Calendar("UTC"), cast(Any, object()), named_types)
    counters._checked = {DEFAULT}
    return counters


def asked(stats: Stats, named_types: int, limit: int = ALL) -> list[EventCount]:
    return TopEvents(DAYS[0], DAYS[-1], limit).from_counters(counters_of(stats, named_types))


names = st.text("abcdeя🎉~", min_size=1, max_size=2)
numbers = st.dictionaries(names, st.integers(1, 9), max_size=12)


@settings(max_examples=200, deadline=None)
@given(st.tuples(*[st.tuples(numbers, numbers) for _ in range(SHARDS * len(DAYS))]), st.integers(1, 30))
def test_each_number_is_exact_and_all_together_are_all_events(
    places: tuple[tuple[Types, Types], ...], named_types: int
) -> None:
    stats, counted = Stats(), Counter[str]()
    for place, (inline, rest) in enumerate(places):
        overflow = {name: count for name, count in rest.items() if name not in inline}
        stats.add(DAYS[place // SHARDS], place % SHARDS, inline, overflow)
        counted += inline_and(inline, overflow)

    answer = asked(stats, named_types)

    named = [row for row in answer if row.event_type != OTHER_TYPES]
    assert all(row.events == counted[row.event_type] for row in named)
    assert sum(row.events for row in answer) == counted.total()
    assert named == sorted(named, key=lambda row: (-row.events, row.event_type))
    assert answer[: len(named)] == named
    # One more of each place tells whether there are more.
    assert stats.read <= 2 * max(named_types, len(places)) + len(places)
    wide = max(len(overflow) for _, overflow in places)
    if wide * len(places) <= named_types:
        assert {row.event_type: row.events for row in answer} == dict(counted)


@settings(max_examples=100, deadline=None)
@given(st.tuples(*[st.tuples(numbers, numbers) for _ in range(SHARDS * len(DAYS))]), st.integers(1, 30))
def test_event_types_are_the_top_events_with_the_days_on_which_they_were_seen(
    places: tuple[tuple[Types, Types], ...], named_types: int
) -> None:
    stats, seen = Stats(), dict[str, list[str]]()
    for place, (inline, rest) in enumerate(places):
        day = DAYS[place // SHARDS]
        overflow = {name: count for name, count in rest.items() if name not in inline}
        stats.add(day, place % SHARDS, inline, overflow)
        for name in (*inline, *overflow):
            seen.setdefault(name, []).append(day)
    types = asked(stats, named_types, limit=5)

    found = EventTypes(DAYS[0], DAYS[-1], 5).from_counters(counters_of(stats, named_types))

    assert found == [
        SeenType(*each, None, None)
        if each.event_type == OTHER_TYPES
        else SeenType(*each, min(seen[each.event_type]), max(seen[each.event_type]))
        for each in types
    ]


def test_what_an_answer_reads_does_not_grow_with_the_number_of_types() -> None:
    for types in (1_000, 80_000):
        stats = Stats()
        for shard in range(SHARDS):
            stats.add(DAYS[0], shard, {"open": 5}, {f"junk-{number:06d}": 1 for number in range(types)})
        answer = asked(stats, 100, limit=2)
        assert stats.read < 400
        assert answer[0] == EventCount("open", 10)
        assert answer[-1] == EventCount(OTHER_TYPES, 2 * types - 100)


def test_a_frequent_type_is_named_although_a_shard_had_no_room_for_it_and_junk_comes_first() -> None:
    stats = Stats()
    junk = {f"a{number}": 1 for number in range(5_000)}
    stats.add(DAYS[0], 0, {"purchase": 70}, junk)
    stats.add(DAYS[0], 1, {}, junk | {"purchase": 7})
    stats.add(DAYS[1], 0, {}, {"purchase": 7})

    assert asked(stats, 30, limit=1) == [EventCount("purchase", 84), EventCount(OTHER_TYPES, 10_000 - 2 * 10)]


def test_a_wide_day_without_more_types_than_are_named_has_no_others() -> None:
    stats = Stats()
    stats.add(DAYS[0], 0, {"open": 1}, {f"type-{number}": 1 for number in range(100)})
    answer = asked(stats, 100)
    assert len(answer) == 101
    assert OTHER_TYPES not in [row.event_type for row in answer]


def test_no_event_has_the_type_of_all_others() -> None:
    raw = {"event_id": "e", "occurred_at": "2025-08-01T00:00:00Z", "user_id": "u", "event_type": OTHER_TYPES}
    with pytest.raises(InvalidEvent) as caught:
        parse_event(raw, NOW)
    assert (caught.value.code, OTHER_TYPES in caught.value.message) == ("invalid_event_type", True)
