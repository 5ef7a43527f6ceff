"""How many users of each day, week or month came back in each later one?"""

from collections import Counter
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain, islice
from operator import or_
from typing import TYPE_CHECKING, Any, NamedTuple

from rollcall.core.days import days_between
from rollcall.questions.actives import Actives, Period, Span
from rollcall.questions.from_counters import Counters
from rollcall.questions.question import AsOf, Question
from rollcall.questions.user_sets import union

if TYPE_CHECKING:
    from rollcall.questions.from_archive import ArchivedEvents


class Cell(NamedTuple):
    """The users of a cohort who were active from `first` to `last`."""

    number: int
    """Periods after the cohort's own."""
    first: str
    last: str
    retained_users: int
    complete: bool
    """Whether these days are over."""


class PeriodCohort(NamedTuple):
    """The users of a period, and how many of them were active in it and in each later one."""

    first: str
    last: str
    cohort_size: int
    complete: bool
    """Whether the period is over."""
    retained: list[Cell]


@dataclass(frozen=True)
class RetentionTable(Question[list[PeriodCohort]]):
    """The retention of each day, week or month in which the days from `first` to `last` are.

    A period's cohort is everyone active in it, or with `new_users` everyone first seen in it. Cell k has the users of
    the cohort who were active in the period exactly k periods later, or with `or_after` in that one or any later one of
    the table. The periods are those of `Actives`, and so are those that are complete.

    Raises `OverflowError` as `Actives` does.
    """

    name = "retention_table"
    definition = "retention-of-every-cohort"
    store = "day-users"

    first: str
    last: str
    period: Period
    new_users: bool
    or_after: bool
    today: str
    timezone: str = "UTC"
    week_start: int = 0

    def __post_init__(self) -> None:
        """Refuse periods that cannot be."""
        self.spans  # noqa: B018 - raises where they cannot be made

    @cached_property
    def spans(self) -> list[Span]:
        """The periods."""
        return Actives(self.first, self.last, self.period, 0, self.today, self.timezone, self.week_start).spans

    def from_counters(self, counters: Counters) -> list[PeriodCohort]:
        """Reads the users of each day once, as `Actives` does, and with `new_users` those first seen on it.

        Memory holds each user once, and two bits for each user and day.
        """
        days = [self._over(span) for span in self.spans]
        of_days = counters.of_users(list(chain.from_iterable(days)), self.today)

        def of_periods(sets: Iterator[Set[str]]) -> list[Set[str]]:
            return [union(islice(sets, len(of_period))) for of_period in days]

        active = of_periods(of_days.active())
        cohorts = of_periods(of_days.first_seen()) if self.new_users else active
        if self.or_after:
            active = list(accumulate(reversed(active), or_))[::-1]
        return self._answer(
            list(map(len, cohorts)),
            {
                (place, later): len(cohort & active[later])
                for place, cohort in enumerate(cohorts)
                for later in range(place, len(active))
            },
        )

    def from_archive(self, archived: "ArchivedEvents") -> AsOf[list[PeriodCohort]]:
        """Reads the files of the days, with `new_users` of every day before them too: who is new is told by the
        segment's events."""
        numbers = {day: number for number, span in enumerate(self.spans) for day in days_between(*span)}
        # A range may be a single day that the clocks skipped.
        start = self.spans[0].first if self.spans else self.first
        last = min(self.spans[-1].last, self.today) if self.spans else start
        cohorts = (
            "SELECT place, user_id FROM (SELECT user_id, min(day) AS day FROM matching GROUP BY user_id) "
            "JOIN days USING (day)"
            if self.new_users
            else "SELECT place, user_id FROM users"
        )
        # Of a user who may come in any later period, the last one tells all.
        later = (
            "SELECT user_id, max(place) AS place FROM users GROUP BY user_id"
            if self.or_after
            else "SELECT user_id, place FROM users"
        )
        as_of, rows = archived.query(
            "WITH days AS (SELECT CAST(unnest($days) AS DATE) AS day, unnest($places) AS place), "
            "users AS (SELECT DISTINCT place, user_id FROM matching JOIN days USING (day)), "
            f"cohorts AS ({cohorts}), later AS ({later}) "
            "SELECT cohorts.place, later.place, count(*) FROM cohorts JOIN later USING (user_id) "
            "WHERE later.place >= cohorts.place GROUP BY cohorts.place, later.place",
            "" if self.new_users else start,
            last,
            days=list(numbers),
            places=list(numbers.values()),
        )
        retained = Counter({(place, later): users for place, later, users in rows})
        if self.or_after:
            for place in range(len(self.spans)):
                for number in range(len(self.spans) - 1, place, -1):
                    retained[place, number - 1] += retained[place, number]
        return AsOf(as_of, self._answer([retained[place, place] for place in range(len(self.spans))], retained))

    @staticmethod
    def decode(answer: Any) -> list[PeriodCohort]:
        """The answer from its JSON."""
        return [
            PeriodCohort(first, last, size, complete, [Cell(*cell) for cell in cells])
            for first, last, size, complete, cells in answer
        ]

    def _over(self, span: Span) -> list[str]:
        """The days of a period up to today."""
        return days_between(span.first, min(span.last, self.today))

    def _answer(self, sizes: list[int], retained: Mapping[tuple[int, int], int]) -> list[PeriodCohort]:
        spans, end = self.spans, self.spans[-1].last if self.spans else ""

        def cells(place: int) -> Iterator[Cell]:
            for later in range(place, len(spans)):
                first, last = spans[later].first, end if self.or_after else spans[later].last
                yield Cell(later - place, first, last, retained[place, later], complete=last < self.today)

        return [
            PeriodCohort(span.first, span.last, size, span.last < self.today, list(cells(place)))
            for place, (span, size) in enumerate(zip(spans, sizes, strict=True))
        ]
