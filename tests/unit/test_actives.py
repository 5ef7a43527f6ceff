"""Active users of days, weeks and months against a recount of random visits in plain Python."""

from collections.abc import Callable, Iterable, Iterator
from datetime import date, timedelta
from typing import Any, ClassVar, TypeVar, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcall.core.days import Calendar, add_days, days_between
from rollcall.questions.actives import Actives, Period, Span
from rollcall.questions.day_users import Counted
from rollcall.questions.from_counters import Counters
from rollcall.questions.lifecycle import Lifecycle
from rollcall.questions.retention_table import RetentionTable
from rollcall.questions.stickiness import DayStickiness, Stickiness, average
from rollcall.stack.keys import DAILY_ACTIVES

T = TypeVar("T")
START = date(2011, 11, 25)
DAYS = days_between(START.isoformat(), (START + timedelta(days=90)).isoformat())
DAYS_BEFORE = days_between((START - timedelta(days=70)).isoformat(), DAYS[-1])
USERS = "abcdef"


class Visits(Counters):
    """Who came on which day."""

    def __init__(self, visits: Iterable[tuple[str, str]]) -> None:
        self.users_of: dict[str, set[str]] = {}
        for day, user in visits:
            self.users_of.setdefault(day, set()).add(user)

    def of_days(self, first: str, last: str, attributes: Any = ()) -> Iterator[Any]:
        for day, users in self.users_of.items():
            if first <= day <= last:
                yield {"sk": {"S": day}, DAILY_ACTIVES: {"N": str(len(users))}}

    def users(self, day: str, counted: int, *, over: bool) -> set[str]:
        assert counted == len(self.users_of.get(day, ()))
        return self.users_of.get(day, set())

    def remembered(self, day: str, counted: Counted, *, new: bool) -> None:
        """Nothing."""

    def map_days(self, work: Callable[[str], T], days: Iterable[str]) -> Iterator[T]:
        return map(work, days)

    def new_users(self, day: str) -> set[str]:
        return {
            user
            for user in USERS
            if min((day for day in self.users_of if user in self.users_of[day]), default="") == day
        }

    def first_seen(self, day: str, counted: Counted, *, over: bool) -> set[str]:
        assert counted.users == len(self.users_of.get(day, ()))
        return self.new_users(day)

    def in_span(self, span: Span, today: str) -> int:
        return len(self.users_in(span, today))

    def users_in(self, span: Span, today: str) -> set[str]:
        days = days_between(span.first, min(span.last, today))
        return set().union(*(self.users_of.get(day, set()) for day in days))

    def users_before(self, day: str) -> set[str]:
        return set().union(*(users for other, users in self.users_of.items() if other < day))


def visits_in(timezone: str) -> st.SearchStrategy[Visits]:
    days = list(filter(Calendar(timezone).is_day, DAYS))
    return st.lists(st.tuples(st.sampled_from(days), st.sampled_from(USERS)), max_size=40).map(Visits)


@settings(max_examples=60)
@given(
    data=st.data(),
    period=st.sampled_from(["day", "week", "month"]),
    rolling=st.sampled_from([0, 0, 7, 28, 30]),
    week_start=st.integers(0, 6),
    timezone=st.sampled_from(["UTC", "Pacific/Apia"]),
)
def test_actives_equal_a_recount(
    data: st.DataObject, period: Period, rolling: int, week_start: int, timezone: str
) -> None:
    counters = data.draw(visits_in(timezone))
    first, last = sorted(data.draw(st.tuples(st.sampled_from(DAYS), st.sampled_from(DAYS))))
    today = data.draw(st.sampled_from(DAYS))
    question = Actives(first, last, period, rolling, today, timezone, week_start)

    found = question.from_counters(counters)

    assert [(each.first, each.last) for each in found] == question.spans
    assert [each.active_users for each in found] == [counters.in_span(span, today) for span in question.spans]
    assert [each.complete for each in found] == [span.last < today for span in question.spans]


@settings(max_examples=60)
@given(
    data=st.data(),
    period=st.sampled_from(["day", "week", "month"]),
    week_start=st.integers(0, 6),
    timezone=st.sampled_from(["UTC", "Pacific/Apia"]),
)
def test_users_by_their_past_equal_a_recount_and_add_up(
    data: st.DataObject, period: Period, week_start: int, timezone: str
) -> None:
    counters = data.draw(visits_in(timezone))
    first, last = sorted(data.draw(st.tuples(st.sampled_from(DAYS), st.sampled_from(DAYS))))
    today = data.draw(st.sampled_from(DAYS))
    spans = Actives(first, last, period, 0, today, timezone, week_start).spans

    found = Lifecycle(first, last, period, today, timezone, week_start).from_counters(counters)

    assert [(each.first, each.last) for each in found] == spans
    for each, span in zip(found, spans, strict=True):
        users = counters.users_in(span, today)
        days = [day for day in DAYS_BEFORE if day < span.first and Calendar(timezone).is_day(day)]
        before = counters.users_in(Actives(days[-1], days[-1], period, 0, today, timezone, week_start).spans[0], today)
        seen = counters.users_before(span.first)
        assert (each.active_users, each.previous) == (len(users), len(before))
        assert (each.new, each.returning) == (len(users - seen), len(users & before))
        assert (each.resurrected, each.gone) == (len(users & seen - before), len(before - users))
        assert each.active_users == each.new + each.returning + each.resurrected
        assert each.active_users == each.previous + each.new + each.resurrected - each.gone
        assert each.complete == (span.last < today)


@settings(max_examples=60)
@given(
    data=st.data(),
    period=st.sampled_from(["day", "week", "month"]),
    new_users=st.booleans(),
    or_after=st.booleans(),
    week_start=st.integers(0, 6),
    timezone=st.sampled_from(["UTC", "Pacific/Apia"]),
)
def test_retention_of_every_cohort_equals_a_recount(
    data: st.DataObject, period: Period, new_users: bool, or_after: bool, week_start: int, timezone: str
) -> None:
    counters = data.draw(visits_in(timezone))
    first, last = sorted(data.draw(st.tuples(st.sampled_from(DAYS), st.sampled_from(DAYS))))
    today = data.draw(st.sampled_from(DAYS))
    spans = Actives(first, last, period, 0, today, timezone, week_start).spans

    found = RetentionTable(first, last, period, new_users, or_after, today, timezone, week_start).from_counters(
        counters
    )

    assert [(each.first, each.last) for each in found] == spans
    for place, (cohort, span) in enumerate(zip(found, spans, strict=True)):
        users = counters.users_in(span, today)
        if new_users:
            users -= counters.users_before(span.first)
        assert (cohort.cohort_size, cohort.complete) == (len(users), span.last < today)
        assert [cell.number for cell in cohort.retained] == list(range(len(spans) - place))
        for cell, later in zip(cohort.retained, spans[place:], strict=True):
            days = Span(later.first, spans[-1].last if or_after else later.last)
            assert (cell.first, cell.last, cell.complete) == (*days, days.last < today)
            assert cell.retained_users == len(users & counters.users_in(days, today))


def test_a_table_of_retention_reads_each_day_once() -> None:
    class Counted(Visits):
        read: ClassVar[list[str]] = []

        def users(self, day: str, counted: int, *, over: bool) -> set[str]:
            self.read.append(day)
            return super().users(day, counted, over=over)

    RetentionTable(DAYS[0], DAYS[-1], "week", True, True, DAYS[-1]).from_counters(Counted([(DAYS[5], "a")]))

    assert Counted.read
    assert len(Counted.read) == len(set(Counted.read))


@pytest.mark.parametrize(
    ("period", "week_start", "spans"),
    [
        ("day", 0, [("2025-08-31", "2025-08-31"), ("2025-09-01", "2025-09-01")]),
        ("week", 0, [("2025-08-25", "2025-08-31"), ("2025-09-01", "2025-09-07")]),
        ("week", 6, [("2025-08-31", "2025-09-06")]),
        ("month", 0, [("2025-08-01", "2025-08-31"), ("2025-09-01", "2025-09-30")]),
    ],
)
def test_periods_are_whole(period: Period, week_start: int, spans: list[tuple[str, str]]) -> None:
    question = Actives("2025-08-31", "2025-09-01", period, 0, "2025-09-15", "UTC", week_start)

    assert question.spans == spans


def test_a_rolling_period_has_as_many_days_as_there_were() -> None:
    # The clocks of Apia skipped 2011-12-30.
    question = Actives("2011-12-29", "2012-01-01", "day", 7, "2012-02-01", "Pacific/Apia")

    assert question.spans == [
        ("2011-12-23", "2011-12-29"),
        ("2011-12-24", "2011-12-31"),
        ("2011-12-25", "2012-01-01"),
    ]


def test_a_day_that_clocks_skipped_is_no_period() -> None:
    question = Actives("2011-12-30", "2011-12-30", "day", 0, "2012-02-01", "Pacific/Apia")

    assert question.from_counters(Visits([])) == []


@pytest.mark.parametrize(
    ("first", "last", "period", "rolling"),
    [("0001-01-03", "0001-01-03", "day", 7), ("9999-12-31", "9999-12-31", "month", 0)],
)
def test_periods_beyond_the_calendar_are_refused(first: str, last: str, period: Period, rolling: int) -> None:
    with pytest.raises(OverflowError):
        Actives(first, last, period, rolling, "2025-09-01")


def test_stickiness_is_daily_by_monthly_actives() -> None:
    day = "2011-12-31"
    visits = Visits([(day, "a"), (add_days(day, -29), "b"), (add_days(day, -30), "c"), (add_days(day, 1), "a")])

    found = Stickiness(day, add_days(day, 2), add_days(day, 2)).from_counters(cast(Counters, visits))

    assert found == [
        DayStickiness(day, 1, 2, complete=True),
        DayStickiness(add_days(day, 1), 1, 1, complete=True),
        DayStickiness(add_days(day, 2), 0, 1, complete=False),
    ]
    assert [each.percent for each in found] == [50.0, 100.0, 0.0]
    assert average(found) == 75.0
    assert average(found[2:]) is None
