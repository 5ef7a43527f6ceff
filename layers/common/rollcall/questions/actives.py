"""How many users were active in each day, week or month, or in the days up to each day?"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from rollcall.core.days import Calendar, add_days, days_between
from rollcall.questions.from_counters import Counters
from rollcall.questions.question import AsOf, Question
from rollcall.questions.user_sets import union

if TYPE_CHECKING:
    from rollcall.questions.from_archive import ArchivedEvents

Period = Literal["day", "week", "month"]


class Span(NamedTuple):
    """Consecutive days, both inclusive."""

    first: str
    last: str


class SpanActives(NamedTuple):
    """The users of a span."""

    first: str
    last: str
    active_users: int
    complete: bool
    """Whether the span is over."""


@dataclass(frozen=True)
class Actives(Question[list[SpanActives]]):
    """The users with at least one event in each of some spans of days. A user of several days of a span counts once.

    Without `rolling` the spans are the whole days, weeks or months in which the days from `first` to `last` are. Weeks
    begin on `week_start`, 0 for Monday. With `rolling` they are the last so many days up to each of these days. Days
    that the clocks of `timezone` skipped are in no span. A span that ends before `today` is complete.

    Raises `OverflowError` where a span would begin before the year 1 or end after the year 9999.
    """

    name = "actives"
    definition = "active-users-of-weeks-and-months"
    store = "day-users"

    first: str
    last: str
    period: Period
    rolling: int
    today: str
    timezone: str = "UTC"
    week_start: int = 0

    def __post_init__(self) -> None:
        """Refuse spans that cannot be."""
        self.spans  # noqa: B018 - raises where they cannot be made

    @cached_property
    def spans(self) -> list[Span]:
        """The spans. Both their first and their last days ascend."""
        if self.rolling:
            days = self._days
            return [
                Span(days[place - self.rolling + 1], days[place])
                for place in range(self.rolling - 1, len(days))
                if days[place] >= self.first
            ]
        return list(self._periods())

    def from_counters(self, counters: Counters) -> list[SpanActives]:
        """Reads the counters of all days of the spans, and their users up to `today` as `DayUsers` does.

        Memory holds each user once, and a bit for each user and day.
        """
        days = [day for day in self._days if day <= self.today]
        users = list(counters.of_users(days, self.today).active())
        return self._answer([len(union(users[first : last + 1])) for first, last in self._places(days)])

    def from_archive(self, archived: "ArchivedEvents") -> AsOf[list[SpanActives]]:
        """Reads the files of the days."""
        # A range may be a single day that the clocks skipped.
        days = self._days or [self.first]
        last = min(days[-1], self.today)
        if not self.rolling:
            places = {day: place for place, span in enumerate(self.spans) for day in days_between(*span)}
            as_of, rows = archived.query(
                "SELECT place, count(DISTINCT user_id) FROM matching JOIN (SELECT CAST(unnest($days) AS DATE) AS day, "
                "unnest($places) AS place) USING (day) GROUP BY place",
                days[0],
                last,
                days=list(places),
                places=list(places.values()),
            )
            users = dict(rows)
            return AsOf(as_of, self._answer([users.get(place, 0) for place in range(len(self.spans))]))
        # A user of a day is a user of the spans that end from that day on, for `rolling` days or until the user's next
        # day, whose spans follow.
        as_of, rows = archived.query(
            "SELECT CAST(day AS VARCHAR), CAST(next_day AS VARCHAR), count(*) FROM (SELECT day, lead(day) OVER "
            "(PARTITION BY user_id ORDER BY day) AS next_day FROM (SELECT DISTINCT day, user_id FROM matching)) "
            "GROUP BY day, next_day",
            days[0],
            last,
        )
        at = {day: place for place, day in enumerate(days)}
        changes = [0] * (len(days) + self.rolling)
        for day, next_day, number in rows:
            changes[at[day]] += number
            changes[min(at[day] + self.rolling, at.get(next_day, len(days)))] -= number
        numbers = dict(zip(days, accumulate(changes), strict=False))
        return AsOf(as_of, self._answer([numbers[span.last] for span in self.spans]))

    @staticmethod
    def decode(answer: Any) -> list[SpanActives]:
        """The answer from its JSON."""
        return [SpanActives(*span) for span in answer]

    @cached_property
    def _days(self) -> list[str]:
        """All days of the spans."""
        if not self.rolling:
            spans = list(self._periods())
            return self._that_were(spans[0].first, spans[-1].last) if spans else []
        days = self._that_were(self.first, self.last)
        before: list[str] = []
        # Where clocks skipped a day, another one is needed.
        start = self.first
        while len(before) < self.rolling - 1:
            start, end = add_days(start, len(before) - self.rolling + 1), add_days(start, -1)
            before = self._that_were(start, end) + before
        return before + days

    def _that_were(self, first: str, last: str) -> list[str]:
        return list(filter(Calendar(self.timezone).is_day, days_between(first, last)))

    def _periods(self) -> Iterator[Span]:
        start = date.fromisoformat(self.first)
        if self.period == "week":
            start -= timedelta(days=(start.weekday() - self.week_start) % 7)
        elif self.period == "month":
            start = start.replace(day=1)
        while start.isoformat() <= self.last:
            days = {"day": 1, "week": 7, "month": 31}[self.period]
            after = start + timedelta(days=days)
            if self.period == "month":
                after = after.replace(day=1)
            span = Span(start.isoformat(), (after - timedelta(days=1)).isoformat())
            if self.period != "day" or self._that_were(*span):
                yield span
            start = after

    def _places(self, days: list[str]) -> Iterator[tuple[int, int]]:
        """Where the spans begin and end among the days up to today. Later spans have no day of these."""
        at = {day: place for place, day in enumerate(days)}
        for span in self.spans:
            inside = [at[day] for day in days_between(*span) if day in at]
            if inside:
                yield inside[0], inside[-1]

    def _answer(self, numbers: list[int]) -> list[SpanActives]:
        later = [0] * (len(self.spans) - len(numbers))
        return [
            SpanActives(*span, number, complete=span.last < self.today)
            for span, number in zip(self.spans, [*numbers, *later], strict=True)
        ]
