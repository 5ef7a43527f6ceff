"""Answers from the archive against a recount of the same events in plain Python, and against the counters."""

import itertools
import json
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from rollcall.archive.bucket import Archive
from rollcall.archive.compaction import Compactor
from rollcall.archive.snapshots import Snapshots
from rollcall.core.batch import cut
from rollcall.core.days import Calendar, add_days, days_between
from rollcall.core.events import Event, parse_event
from rollcall.core.projects import DEFAULT
from rollcall.counting.claims import Claims
from rollcall.questions.actives import Actives, Span, SpanActives
from rollcall.questions.daily_actives import ActiveUsers, DailyActives
from rollcall.questions.event_types import EventTypes, SeenType
from rollcall.questions.from_archive import ArchivedEvents
from rollcall.questions.from_counters import Counters
from rollcall.questions.lifecycle import Lifecycle
from rollcall.questions.properties import MOST_PROPERTIES, MOST_VALUES, FoundProperties, Properties
from rollcall.questions.question import Question
from rollcall.questions.retention import Retention
from rollcall.questions.retention_table import RetentionTable
from rollcall.questions.segment import parse_segment
from rollcall.questions.stickiness import DayStickiness, Stickiness
from rollcall.questions.top_events import EventCount, TopEvents
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.keys import Tables
from scripts.local import sample
from scripts.local.ministack import MiniStack
from tests.support import RECEIVED_AT, KeptDeadLetters, create_tables, delete_tables

CALENDAR = Calendar("America/New_York")
FIRST, LAST = "2025-07-31", "2025-08-31"
TODAY = "2025-08-20"
ODD = {
    "country": "UA",
    "nul\0": "a\0b",
    "a/b~c": "x",
    "quote'\"": "o'clock",
    "yes": True,
    "no": False,
    "none": None,
    "list": ["UA"],
    "object": {"country": "UA"},
    "whole": 7,
    "long": 12345678901234567890123,
    "fraction": 118.64,
    "large": 1e22,
    "small": 1e-7,
    "hundred": 100.0,
    "zero": -0.0,
    "digits": "7",
    "empty": "",
}
SEGMENTS = [
    [],
    ["event_type:purchase"],
    ["event_type:nothing"],
    ["event_type:$identify"],
    ["event_type:#\0🦄"],
    ["properties.country:UA"],
    ["properties.country:UA", "event_type:purchase"],
    ["properties.country:UA", "properties.country:PL"],
    ["properties.country:' OR 1=1 --"],
    ["properties.nul\0:a\0b"],
    ["properties.a/b~c:x"],
    ["properties.quote'\":o'clock"],
    ["properties.yes:true"],
    ["properties.no:false"],
    ["properties.none:null"],
    ['properties.list:["UA"]'],
    ['properties.object:{"country":"UA"}'],
    ["properties.object.country:UA"],
    ["properties.whole:7"],
    ["properties.whole:7.0"],
    ["properties.long:12345678901234567890123"],
    ["properties.long:12345678901234567890124"],
    ["properties.fraction:118.640"],
    ["properties.large:1e+22"],
    ["properties.large:10000000000000000000000"],
    ["properties.small:1e-07"],
    ["properties.small:1.0E-7"],
    ["properties.hundred:100"],
    ["properties.hundred:100.0"],
    ["properties.hundred:1e2"],
    ["properties.zero:0"],
    ["properties.digits:7"],
    ["properties.empty:"],
    ["properties.absent:"],
]
NOWHERE = (
    "event_type:nothing",
    "event_type:$identify",
    "country:PL",
    "' OR 1=1",
    "none:",
    "list:",
    "object:",
    "object.country:",
    "124",
    "absent:",
)


@dataclass
class Stack:
    events: list[Event]
    counters: Counters
    snapshots: Snapshots
    compactor: Compactor

    def archived(self, segment: Sequence[str] = ()) -> ArchivedEvents:
        return ArchivedEvents(self.snapshots, 200, [parse_segment(text) for text in segment])


@pytest.fixture(scope="module")
def stack(dynamodb: Any, ministack: MiniStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    s3 = ministack.client("s3")
    tables: Tables = create_tables(dynamodb)
    bucket = f"archive-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=bucket)
    archive, dynamo = Archive(s3, bucket, DEFAULT), Dynamo(dynamodb)
    now = datetime(2025, 9, 1, tzinfo=UTC)
    raws: list[Any] = sample.generate(3_000, 90, 31, date(2025, 8, 31), 7)
    odd = {"user_id": "odd 'user'\0", "event_type": "#\0🦄", "properties": ODD}
    raws += [{**odd, "event_id": f"odd-{day}", "occurred_at": f"2025-08-{day:02}T02:00:00Z"} for day in (1, 3, 4, 9)]
    events = [parse_event(raw, now) for raw in raws]
    # Of users of the sample on other days, and of others. They are no events of the answers.
    profiles = [
        event._replace(event_id=f"profile-{event.event_id}", event_type=kind, user_id=user, occurred_at=moment)
        for event, kind, user, moment in (
            (events[0], "$identify", events[0].user_id, "2025-07-31T12:00:00Z"),
            (events[1], "$set", events[1].user_id, "2025-08-30T12:00:00Z"),
            (events[2], "$alias", "nobody", "2025-08-02T12:00:00Z"),
            (events[-1]._replace(properties='{"country":"UA"}'), "$group", "nobody", "2025-08-05T12:00:00Z"),
        )
    ]
    claims = Claims(dynamo, tables, lambda _: CALENDAR, KeptDeadLetters(), archive=archive)
    compactor = Compactor(archive, dynamo, tables.stats, 200)
    middle = len(events) // 2
    for batch, _ in cut(DEFAULT, [*profiles[:2], *events[:middle]], "test", RECEIVED_AT):
        claims.apply(batch)
    # Half of them are compacted, the others are not; some of these come to days that are.
    compactor.run(lambda: 900_000)
    for batch, _ in cut(DEFAULT, [*profiles[2:], *events[middle:], *events[:200]], "other", RECEIVED_AT):
        claims.apply(batch)
    snapshots = Snapshots(archive, dynamo, tables.stats, tmp_path_factory.mktemp("archive"), 100)
    yield Stack(events, Counters(dynamo, tables, DEFAULT, CALENDAR), snapshots, compactor)
    delete_tables(dynamodb, tables)


def has(properties: dict[str, Any], name: str, text: str) -> bool:
    value = properties.get(name)
    if isinstance(value, str):
        return value == text
    if isinstance(value, bool):
        return json.dumps(value) == text
    if isinstance(value, int | float):
        try:
            return bool(json.loads(text) == value)
        except ValueError:
            return False
    return False


def meets(event: Event, segment: list[str]) -> bool:
    for condition in segment:
        field, _, value = condition.partition(":")
        if field == "event_type":
            met = event.event_type == value
        else:
            met = has(json.loads(event.properties), field.removeprefix("properties."), value)
        if not met:
            return False
    return True


@dataclass
class Recount:
    actives: dict[str, set[str]]
    types: Counter[str]

    @classmethod
    def of(cls, events: list[Event], segment: list[str]) -> "Recount":
        recount = cls({}, Counter())
        for event in events:
            if meets(event, segment):
                recount.actives.setdefault(CALENDAR.day_of(event.occurred_at), set()).add(event.user_id)
                recount.types[event.event_type] += 1
        return recount

    def retained(self, day: str, windows: int, window_days: int, new_users: bool) -> tuple[int, list[int]]:
        cohort = set(self.actives.get(day, ()))
        if new_users:
            cohort -= {user for before, users in self.actives.items() if before < day for user in users}
        counts = []
        for number in range(1, windows + 1):
            start = add_days(day, number * window_days)
            days = days_between(start, min(TODAY, add_days(start, window_days - 1)))
            counts.append(len(cohort & {user for one in days for user in self.actives.get(one, ())}))
        return len(cohort), counts

    def active_in(self, span: Span) -> SpanActives:
        days = days_between(span.first, min(span.last, TODAY))
        users = {user for day in days for user in self.actives.get(day, ())}
        return SpanActives(*span, len(users), complete=span.last < TODAY)


@pytest.fixture(scope="module", params=["half compacted", "compacted"])
def asked(request: pytest.FixtureRequest, stack: Stack) -> Stack:
    if request.param == "compacted":
        stack.compactor.run(lambda: 900_000)
    return stack


@pytest.mark.parametrize("segment", SEGMENTS, ids=" ".join)
def test_a_segment_s_answers_equal_a_recount(asked: Stack, segment: list[str]) -> None:
    archived = asked.archived(segment)
    recount = Recount.of(asked.events, segment)
    assert bool(recount.types) is not any(text in condition for text in NOWHERE for condition in segment)

    _, actives = DailyActives(FIRST, LAST).from_archive(archived)
    _, types = TopEvents(FIRST, LAST, 1_000).from_archive(archived)

    assert actives == [ActiveUsers(day, len(recount.actives.get(day, ()))) for day in days_between(FIRST, LAST)]
    ranked = sorted(recount.types.items(), key=lambda entry: (-entry[1], entry[0]))
    assert types == [EventCount(*entry) for entry in ranked]


@pytest.mark.parametrize("new_users", [False, True], ids=["active", "new"])
@pytest.mark.parametrize(("windows", "window_days"), [(5, 1), (3, 7)], ids=["days", "weeks"])
@pytest.mark.parametrize("segment", [[], ["event_type:purchase"], ["properties.country:UA"]], ids=" ".join)
def test_a_segment_s_retention_equals_a_recount(
    asked: Stack, segment: list[str], windows: int, window_days: int, new_users: bool
) -> None:
    recount = Recount.of(asked.events, segment)
    day = "2025-08-02"

    question = Retention(day, windows, window_days, new_users, TODAY)
    _, found = question.from_archive(asked.archived(segment))

    size, retained = recount.retained(day, windows, window_days, new_users)
    assert (found.cohort_size, [window.retained_users for window in found.windows]) == (size, retained)
    assert size


@pytest.mark.parametrize("segment", [[], ["event_type:purchase"]], ids=" ".join)
@pytest.mark.parametrize(
    ("period", "rolling"),
    [("day", 0), ("week", 0), ("month", 0), ("day", 7), ("day", 30)],
    ids=lambda value: str(value),
)
def test_actives_equal_a_recount(asked: Stack, segment: list[str], period: Any, rolling: int) -> None:
    recount = Recount.of(asked.events, segment)
    question = Actives("2025-08-05", LAST, period, rolling, TODAY, CALENDAR.name)
    expected = [recount.active_in(span) for span in question.spans]

    assert question.from_archive(asked.archived(segment)).answer == expected
    if not segment:
        assert question.from_counters(asked.counters) == expected
    assert any(each.active_users for each in expected)
    assert not all(each.complete for each in expected)


@pytest.mark.parametrize("segment", [[], ["event_type:purchase"]], ids=" ".join)
@pytest.mark.parametrize("period", ["day", "week", "month"])
def test_users_by_their_past_equal_a_recount(asked: Stack, segment: list[str], period: Any) -> None:
    recount = Recount.of(asked.events, segment)
    question = Lifecycle("2025-08-05", LAST, period, TODAY, CALENDAR.name)
    spans = Actives(add_days("2025-08-05", -40), LAST, period, 0, TODAY).spans

    def users(span: Span) -> set[str]:
        days = days_between(span.first, min(span.last, TODAY))
        return {user for day in days for user in recount.actives.get(day, ())}

    expected = []
    for before, span in itertools.pairwise(spans):
        seen = {user for day, of_day in recount.actives.items() if day < span.first for user in of_day}
        new, back = users(span) - seen, users(span) & users(before)
        expected.append((len(users(span)), len(users(before)), len(new), len(back)))
    told = [(each.active_users, each.previous, each.new, each.returning) for each in _answer(asked, question, segment)]
    assert told == expected[-len(told) :]
    if not segment:
        assert question.from_counters(asked.counters) == question.from_archive(asked.archived()).answer


@pytest.mark.parametrize("segment", [[], ["event_type:purchase"]], ids=" ".join)
@pytest.mark.parametrize("period", ["day", "week", "month"])
@pytest.mark.parametrize("new_users", [False, True], ids=["active", "new"])
@pytest.mark.parametrize("or_after", [False, True], ids=["exactly", "or after"])
def test_retention_of_every_cohort_equals_a_recount(
    asked: Stack, segment: list[str], period: Any, new_users: bool, or_after: bool
) -> None:
    recount = Recount.of(asked.events, segment)
    question = RetentionTable("2025-08-08", "2025-08-22", period, new_users, or_after, TODAY, CALENDAR.name)

    def users(first: str, last: str) -> set[str]:
        days = days_between(first, min(last, TODAY))
        return {user for day in days for user in recount.actives.get(day, ())}

    expected = []
    for place, span in enumerate(question.spans):
        cohort = users(*span)
        if new_users:
            cohort -= {user for day, of_day in recount.actives.items() if day < span.first for user in of_day}
        ends = [(question.spans[-1] if or_after else later).last for later in question.spans[place:]]
        retained = [
            len(cohort & users(later.first, end)) for later, end in zip(question.spans[place:], ends, strict=True)
        ]
        expected.append((len(cohort), retained))
    told = [
        (each.cohort_size, [cell.retained_users for cell in each.retained])
        for each in _answer(asked, question, segment)
    ]
    assert told == expected
    assert any(size for size, _ in told)
    if not segment:
        assert question.from_counters(asked.counters) == question.from_archive(asked.archived()).answer


@pytest.mark.parametrize("segment", [[], ["properties.country:UA"]], ids=" ".join)
def test_event_types_equal_a_recount(asked: Stack, segment: list[str]) -> None:
    days: dict[str, list[str]] = {}
    for event in asked.events:
        day = CALENDAR.day_of(event.occurred_at)
        if meets(event, segment) and "2025-08-05" <= day <= "2025-08-20":
            days.setdefault(event.event_type, []).append(day)
    types = [SeenType(name, len(seen), min(seen), max(seen)) for name, seen in days.items()]
    expected = sorted(types, key=lambda each: (-each.events, each.event_type))
    question = EventTypes("2025-08-05", "2025-08-20", 100)

    assert question.from_archive(asked.archived(segment)).answer == expected
    if not segment:
        assert question.from_counters(asked.counters) == expected


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    names = {str: "string", int: "number", float: "number", type(None): "null", dict: "object", list: "list"}
    return names[type(value)]


@pytest.mark.parametrize("segment", [[], ["event_type:#\0🦄"], ["event_type:purchase"]], ids=ascii)
def test_properties_equal_a_recount(asked: Stack, segment: list[str]) -> None:
    first, last = "2025-08-02", "2025-08-20"
    days: dict[str, list[str]] = {}
    kinds: dict[str, Counter[str]] = {}
    texts: dict[str, Counter[tuple[str, str]]] = {}
    for event in asked.events:
        day = CALENDAR.day_of(event.occurred_at)
        if not meets(event, segment) or not first <= day <= last:
            continue
        for name, value in json.loads(event.properties).items():
            days.setdefault(name, []).append(day)
            kinds.setdefault(name, Counter())[_kind(value)] += 1
            of_name = texts.setdefault(name, Counter())
            if _kind(value) in ("boolean", "number"):
                of_name[json.dumps(value), _kind(value)] += 1
            elif isinstance(value, str):
                of_name[value, "string"] += 1

    found = Properties(first, last).from_archive(asked.archived(segment)).answer

    assert found.others == 0
    assert {each.name: each.kinds for each in found.properties} == kinds
    assert {each.name: (each.first_seen, each.last_seen) for each in found.properties} == {
        name: (min(seen), max(seen)) for name, seen in days.items()
    }
    assert [each.name for each in found.properties] == sorted(days, key=lambda name: (-len(days[name]), name))
    for each in found.properties:
        counts = sorted((count for count in texts[each.name].values()), reverse=True)
        assert [value.events for value in each.values] == counts[:MOST_VALUES]
        for value in each.values:
            if value.kind != "number":
                assert texts[each.name][value.text, value.kind] == value.events


def test_each_value_s_condition_finds_the_events_that_have_it(asked: Stack) -> None:
    found = Properties(FIRST, LAST).from_archive(asked.archived(["event_type:#\0🦄"])).answer
    conditions = [value.condition for each in found.properties for value in each.values]

    assert {each.name for each in found.properties if each.values} == ODD.keys() - {"none", "list", "object"}
    # Each of these events has all the properties, and each property one value.
    for condition in conditions:
        assert condition
        of_type = asked.archived(["event_type:#\0🦄", condition])
        assert TopEvents(FIRST, LAST, 5).from_archive(of_type).answer == [EventCount("#\0🦄", 4)]


@pytest.mark.parametrize(
    ("properties", "named", "values"),
    [
        ({"a:b": "x"}, ("a:b", False), [("x", False, None)]),
        ({"": "x"}, ("", False), [("x", False, None)]),
        ({"n" * 101: "x"}, ("n" * 100, True), [("x", False, None)]),
        ({"é" * 100: ""}, ("é" * 100, False), [("", False, f"properties.{'é' * 100}:")]),
        ({"a": "🦄" * 101}, ("a", False), [("🦄" * 100, True, None)]),
        ({"a": "🦄" * 100}, ("a", False), [("🦄" * 100, False, f"properties.a:{'🦄' * 100}")]),
    ],
    ids=["colon", "no name", "long name", "name", "long value", "value"],
)
def test_what_no_condition_can_name_has_none_and_what_is_long_is_cut(
    dynamodb: Any,
    ministack: MiniStack,
    tmp_path: Path,
    properties: dict[str, str],
    named: tuple[str, bool],
    values: list[tuple[str, bool, str | None]],
) -> None:
    found = properties_of(dynamodb, ministack, tmp_path, [properties])
    (each,) = found.properties
    assert (each.name, each.cut) == named
    assert [(value.text, value.cut, value.condition) for value in each.values] == values


def test_properties_and_values_are_bounded(dynamodb: Any, ministack: MiniStack, tmp_path: Path) -> None:
    of_events = [{"common": f"{number:03d}", f"of {number:03d}": number} for number in range(MOST_PROPERTIES + 4)]
    found = properties_of(dynamodb, ministack, tmp_path, of_events)

    assert len(found.properties) == MOST_PROPERTIES
    assert found.others == 5
    assert [each.name for each in found.properties[:2]] == ["common", "of 000"]
    assert [value.text for value in found.properties[0].values] == [f"{number:03d}" for number in range(MOST_VALUES)]


def properties_of(
    dynamodb: Any, ministack: MiniStack, folder: Path, of_events: list[dict[str, Any]]
) -> FoundProperties:
    """What is told of an archive with some events."""
    s3, bucket, tables = ministack.client("s3"), f"archive-{uuid.uuid4().hex[:12]}", create_tables(dynamodb)
    s3.create_bucket(Bucket=bucket)
    archive, dynamo = Archive(s3, bucket, DEFAULT), Dynamo(dynamodb)
    raws = [
        {
            "event_id": f"e{number}",
            "occurred_at": f"{FIRST}T12:00:00Z",
            "user_id": "u",
            "event_type": "t",
            "properties": one,
        }
        for number, one in enumerate(of_events)
    ]
    events = [parse_event(raw, datetime(2025, 9, 1, tzinfo=UTC)) for raw in raws]
    claims = Claims(dynamo, tables, lambda _: CALENDAR, KeptDeadLetters(), archive=archive)
    for batch, _ in cut(DEFAULT, events, "test", RECEIVED_AT):
        claims.apply(batch)
    snapshots = Snapshots(archive, dynamo, tables.stats, folder, 100)
    found = Properties(FIRST, FIRST).from_archive(ArchivedEvents(snapshots, 100, [])).answer
    delete_tables(dynamodb, tables)
    return found


def _answer(asked: Stack, question: Question[Any], segment: list[str]) -> Any:
    return question.from_archive(asked.archived(segment)).answer


def test_stickiness_equals_a_recount(asked: Stack) -> None:
    recount = Recount.of(asked.events, [])
    question = Stickiness("2025-08-15", "2025-08-22", TODAY, CALENDAR.name)
    expected = [
        DayStickiness(
            day,
            recount.active_in(Span(day, day)).active_users,
            recount.active_in(Span(add_days(day, -29), day)).active_users,
            complete=day < TODAY,
        )
        for day in days_between("2025-08-15", "2025-08-22")
    ]

    assert question.from_counters(asked.counters) == expected
    assert question.from_archive(asked.archived()).answer == expected


def test_with_no_segment_the_archive_answers_what_the_counters_do(asked: Stack) -> None:
    questions: list[Question[Any]] = [DailyActives(FIRST, LAST), TopEvents(FIRST, LAST, 3)]
    for new_users in (False, True):
        for windows, window_days in ((10, 1), (4, 7)):
            questions.append(Retention("2025-08-05", windows, window_days, new_users, TODAY))
    for question in questions:
        assert question.from_archive(asked.archived()).answer == question.from_counters(asked.counters)


TO_COME = "2025-08-22", "2025-08-25"


@pytest.mark.parametrize(
    "question",
    [
        *(Actives(*TO_COME, period, 0, TODAY) for period in ("day", "week", "month")),
        *(Actives(*TO_COME, "day", rolling, TODAY) for rolling in (7, 30)),
        *(Lifecycle(*TO_COME, period, TODAY) for period in ("day", "week", "month")),
        *(RetentionTable(*TO_COME, "day", new, later, TODAY) for new in (False, True) for later in (False, True)),
        Stickiness(*TO_COME, TODAY),
    ],
    ids=range(13),
)
def test_days_to_come_are_in_no_number_whatever_answers(asked: Stack, question: Question[Any]) -> None:
    """An event may be minutes ahead of its time, and so of a day that has not begun."""
    assert question.from_archive(asked.archived()).answer == question.from_counters(asked.counters)


def test_an_empty_archive_answers_with_nothing(dynamodb: Any, ministack: MiniStack, tmp_path: Path) -> None:
    s3, bucket = ministack.client("s3"), f"archive-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=bucket)
    snapshots = Snapshots(Archive(s3, bucket, DEFAULT), Dynamo(dynamodb), "no-table", tmp_path, 1)
    archived = ArchivedEvents(snapshots, 100, [])
    of_segment = ArchivedEvents(snapshots, 100, [parse_segment("event_type:x")])

    assert DailyActives(FIRST, FIRST).from_archive(archived).answer == [ActiveUsers(FIRST, 0)]
    assert TopEvents(FIRST, LAST, 5).from_archive(of_segment).answer == []
    found = Retention(FIRST, 1, 1, new_users=True, today=TODAY).from_archive(archived).answer
    assert (found.cohort_size, found.windows[0].retained_users) == (0, 0)


@pytest.mark.parametrize("new_users", [False, True], ids=["active", "new"])
@pytest.mark.parametrize(
    ("day", "window_days", "expected"),
    [
        ("2011-12-28", 1, [("2011-12-29", 2, True), ("2011-12-31", 1, True), ("2012-01-01", 0, True)]),
        ("2011-12-29", 1, [("2011-12-31", 1, True), ("2012-01-01", 0, True), ("2012-01-02", 0, True)]),
        ("2011-12-28", 7, [("2012-01-05", 2, True), ("2012-01-12", 0, True), ("2012-01-19", 0, False)]),
    ],
    ids=["the day before", "the day", "weeks"],
)
def test_retention_counts_the_days_that_were(
    dynamodb: Any,
    ministack: MiniStack,
    tmp_path: Path,
    day: str,
    window_days: int,
    expected: list[tuple[str, int, bool]],
    new_users: bool,
) -> None:
    """The clocks of Apia skipped 2011-12-30."""
    s3 = ministack.client("s3")
    tables, bucket, apia = create_tables(dynamodb), f"archive-{uuid.uuid4().hex[:12]}", Calendar("Pacific/Apia")
    s3.create_bucket(Bucket=bucket)
    archive, dynamo = Archive(s3, bucket, DEFAULT), Dynamo(dynamodb)
    # At noon in Apia; ten hours behind UTC before, fourteen ahead after.
    active = {
        "ann": ["2011-12-28T22:00:00Z", "2011-12-29T22:00:00Z", "2011-12-30T22:00:00Z", "2012-01-10T22:00:00Z"],
        "bob": ["2011-12-28T22:00:00Z", "2011-12-29T22:00:00Z", "2012-01-04T22:00:00Z"],
    }
    if day == "2011-12-29":
        active = {user: moments[1:] for user, moments in active.items()}
    events = [
        Event(f"{user}-{moment}", moment, user, "open", "{}") for user, moments in active.items() for moment in moments
    ]
    claims = Claims(dynamo, tables, lambda _: apia, KeptDeadLetters(), archive=archive)
    for batch, _ in cut(DEFAULT, sorted(events, key=lambda event: event.occurred_at), "test", RECEIVED_AT):
        claims.apply(batch)
    question = Retention(day, 3, window_days, new_users, "2012-01-20", apia.name)
    answers = [
        question.from_counters(Counters(dynamo, tables, DEFAULT, apia)),
        question.from_archive(ArchivedEvents(Snapshots(archive, dynamo, tables.stats, tmp_path, 100), 200, [])).answer,
    ]
    delete_tables(dynamodb, tables)
    for found in answers:
        assert found.cohort_size == 2
        assert [(window.date, window.retained_users, window.complete) for window in found.windows] == expected
