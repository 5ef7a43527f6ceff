from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcall.core.days import add_days
from rollcall.counting.counters import INLINE_BYTES, INLINE_TYPES, Increment, Part, Vocabulary, plan_part, tally
from rollcall.stack.keys import counted_type, type_attribute

DAY = "2025-08-01"
MAX_WRITES = 99


def increments_of(types_a_day: list[int]) -> list[Increment]:
    """For each day that many event types and its actives, as `tally` has them."""
    return [
        Increment(add_days(DAY, number), counter, 1 + (number + place) % 7)
        for number, types in enumerate(types_a_day)
        for place, counter in enumerate([*(f"#type {index:04d}" for index in range(types)), "dau"])
    ]


def empty(_: str) -> Vocabulary:
    return Vocabulary()


def half(_: str) -> Vocabulary:
    vocabulary = Vocabulary()
    for index in range(0, 200, 2):
        vocabulary.admit(f"type {index:04d}")
    return vocabulary


def full(_: str) -> Vocabulary:
    vocabulary = Vocabulary()
    index = 0
    while vocabulary.admit(f"{index}{'x' * 100}"):
        index += 1
    return vocabulary


def mixed(day: str) -> Vocabulary:
    return (empty, half, full)[int(day[-1]) % 3](day)


def plan(increments: list[Increment], stored: Callable[[str], Vocabulary]) -> list[Part]:
    parts: list[Part] = []
    start = 0
    days = {increment.day for increment in increments}
    while start < len(increments):
        parts.append(plan_part(increments, start, {day: stored(day) for day in days}))
        assert parts[-1].end > start
        start = parts[-1].end
    return parts


def writes(part: Part) -> int:
    return len(part.days) + len(part.overflow)


def applied(parts: list[Part]) -> Counter[tuple[str, str]]:
    """What a reader who sums everything finds."""
    counts: Counter[tuple[str, str]] = Counter()
    for part in parts:
        for day, additions in part.days.items():
            for attribute, count in additions.items():
                if attribute != "overflow":
                    counts[day, attribute] += count
        for increment in part.overflow:
            counts[increment.day, increment.counter] += increment.count
    return counts


def test_events_are_counted_by_type_source_and_time_and_new_actives_by_day() -> None:
    events = [("2025-08-02", "b"), ("2025-08-01", "b"), ("2025-08-02", "a"), ("2025-08-02", "b")]
    assert tally(events, ["2025-08-02", "2025-08-02", "2025-08-03"], "shop", 20) == [
        Increment("2025-08-01", "#b", 1),
        Increment("2025-08-01", "@shop", 1),
        Increment("2025-08-01", "processing_ms", 20),
        Increment("2025-08-02", "#a", 1),
        Increment("2025-08-02", "#b", 2),
        Increment("2025-08-02", "@shop", 3),
        Increment("2025-08-02", "dau", 2),
        Increment("2025-08-02", "processing_ms", 60),
        Increment("2025-08-03", "dau", 1),
    ]


def test_nothing_has_no_increments() -> None:
    assert tally([], [], "shop", 5) == []


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([DAY, "2025-08-02"]), st.sampled_from(["a", "dau", "#", "\0", "🎉"]))),
    st.lists(st.sampled_from([DAY, "2025-08-02", "2025-08-03"])),
    st.randoms(use_true_random=False),
)
def test_the_increments_do_not_depend_on_the_order_of_the_events(
    events: list[tuple[str, str]], actives: list[str], random: Random
) -> None:
    increments = tally(events, actives, "shop", 3)
    random.shuffle(events)
    random.shuffle(actives)
    assert tally(events, actives, "shop", 3) == increments
    assert sum(one.count for one in increments if counted_type(one.counter) is not None) == len(events)
    assert sum(one.count for one in increments if one.counter == "@shop") == len(events)
    assert sum(one.count for one in increments if one.counter == "dau") == len(actives)


def test_a_vocabulary_is_read_from_the_types_of_an_item() -> None:
    item = {
        "pk": {"S": "counts#0"},
        "sk": {"S": DAY},
        "dau": {"N": "7"},
        "overflow": {"N": "1"},
        "#login": {"N": "5"},
        "##": {"N": "1"},
        "#dau": {"N": "2"},
    }
    assert Vocabulary.of_item(item).types == {"login", "#", "dau"}


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 128), st.sampled_from(["x", "я", "🎉"]))
def test_a_vocabulary_keeps_the_item_small_and_what_it_has(length: int, character: str) -> None:
    vocabulary = Vocabulary()
    names = [f"{index:03d}{character * length}"[: max(3, length)] for index in range(INLINE_TYPES + 50)]
    admitted = {name for name in names if vocabulary.admit(name)}
    assert vocabulary.types == admitted
    assert 1 <= len(admitted) <= INLINE_TYPES
    assert sum(len(name.encode()) for name in admitted) <= INLINE_BYTES
    assert all(vocabulary.admit(name) for name in admitted)
    assert not vocabulary.admit("🎉" * 128)
    assert vocabulary.types == admitted


def test_a_day_of_usual_traffic_is_one_write() -> None:
    increments = tally([(DAY, "login"), (DAY, "a#b"), (DAY, "login"), (DAY, "dau")], [DAY, DAY], "http", 1)
    vocabularies = {DAY: Vocabulary()}
    assert plan_part(increments, 0, vocabularies) == Part(
        end=6,
        days={DAY: {"dau": 2, "#a#b": 1, "#dau": 1, "#login": 2, "@http": 4, "processing_ms": 4}},
        overflow=[],
    )
    assert vocabularies[DAY].types == {"login", "a#b", "dau"}


def test_forty_types_of_a_day_are_one_write() -> None:
    (part,) = plan(increments_of([40]), empty)
    assert writes(part) == 1


def test_a_type_that_finds_no_room_has_an_item_of_its_own_that_the_day_tells_of() -> None:
    increments = tally([(DAY, "late"), (DAY, "later"), (DAY, "later")], [DAY], "http", 1)
    assert plan_part(increments, 0, {DAY: full(DAY)}) == Part(
        end=5,
        days={DAY: {"dau": 1, "overflow": 2, "@http": 3, "processing_ms": 3}},
        overflow=[Increment(DAY, "#late", 1), Increment(DAY, "#later", 2)],
    )


def test_a_type_that_the_item_has_stays_there_however_full_it_is() -> None:
    vocabulary = full(DAY)
    known = min(vocabulary.types)
    part = plan_part([Increment(DAY, f"#{known}", 3)], 0, {DAY: vocabulary})
    assert part == Part(end=1, days={DAY: {f"#{known}": 3}}, overflow=[])


@pytest.mark.parametrize(
    ("days", "ends"), [(1, [1]), (99, [99]), (100, [99, 100]), (198, [99, 198]), (366, [99, 198, 297, 366])]
)
def test_99_days_fit_a_transaction(days: int, ends: list[int]) -> None:
    assert [part.end for part in plan(increments_of([0] * days), empty)] == ends


def test_98_overflowing_types_and_their_day_fit_a_transaction() -> None:
    parts = plan(increments_of([200]), full)
    assert [part.end for part in parts] == [98, 196, 201]
    assert [writes(part) for part in parts] == [99, 99, 5]
    assert [part.days[DAY]["overflow"] for part in parts] == [98, 98, 4]


def test_a_day_and_a_type_that_overflows_are_not_parted_by_the_limit() -> None:
    increments = increments_of([0] * 98)
    increments.append(Increment("2026-08-01", "#late", 1))
    first, second = plan(increments, full)
    assert (first.end, second.end) == (98, 99)
    assert second.days == {"2026-08-01": {"overflow": 1}}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 250), max_size=6) | st.lists(st.integers(0, 2), min_size=80, max_size=130),
    st.sampled_from([empty, half, full, mixed]),
)
def test_the_parts_tile_the_increments_and_keep_their_sums(
    types_a_day: list[int], stored: Callable[[str], Vocabulary]
) -> None:
    increments = increments_of(types_a_day)
    parts = plan(increments, stored)
    assert all(writes(part) <= MAX_WRITES for part in parts)
    assert applied(parts) == {(one.day, one.counter): one.count for one in increments}
    start = 0
    for part in parts:
        assert applied([part]) == {(one.day, one.counter): one.count for one in increments[start : part.end]}
        overflown = Counter(one.day for one in part.overflow)
        assert {day: one["overflow"] for day, one in part.days.items() if "overflow" in one} == overflown
        start = part.end


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 250), max_size=6), st.sampled_from([empty, half, full, mixed]))
def test_every_try_of_a_batch_cuts_the_same_parts(types_a_day: list[int], stored: Callable[[str], Vocabulary]) -> None:
    increments = increments_of(types_a_day)
    assert plan(increments, stored) == plan(list(increments), stored)


@pytest.mark.parametrize("attribute", ["pk", "sk", "dau", "overflow", "layout", "batch", "first_day", ""])
def test_what_is_no_counter_of_a_type_is_not_taken_for_one(attribute: str) -> None:
    assert counted_type(attribute) is None


@settings(max_examples=100, deadline=None)
@given(st.text(min_size=1) | st.sampled_from(["dau", "overflow", "pk", "sk", "#", "\0"]))
def test_the_counter_of_a_type_tells_its_type_whatever_its_name(event_type: str) -> None:
    assert counted_type(type_attribute(event_type)) == event_type
