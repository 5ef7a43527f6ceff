"""Who is new in a day, week or month, who came back, and who did not?"""

from collections.abc import Iterable, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from rollcall.core.days import add_days, days_between
from rollcall.questions.actives import Actives, Period, Span
from rollcall.questions.from_counters import Counters
from rollcall.questions.question import AsOf, Question
from rollcall.questions.user_sets import union

if TYPE_CHECKING:
    from rollcall.questions.from_archive import ArchivedEvents


class PeriodUsers(NamedTuple):
    """The users of a period, which are `previous` + `new` + `resurrected` - `gone`."""

    first: str
    last: str
    active_users: int
    previous: int
    """The users of the period before."""
    new: int
    """Users first seen in the period."""
    returning: int
    """Users of the period before who are users of this one."""
    resurrected: int
    """Users who were seen before, but not in the period before."""
    gone: int
    """Users of the period before who are not users of this one."""
    complete: bool
    """Whether the period is over."""


@dataclass(frozen=True)
class Lifecycle(Question[list[PeriodUsers]]):
    """The users of the days, weeks or months in which the days from `first` to `last` are, by their past.

    The periods are those of `Actives`. Raises `OverflowError` as it does, also for the period before the first one.
    """

    name = "lifecycle"
    definition = "new-returning-resurrected-and-gone-users"
    store = "day-users"

    first: str
    last: str
    period: Period
    today: str
    timezone: str = "UTC"
    week_start: int = 0

    def __post_init__(self) -> None:
        """Refuse periods that cannot be."""
        self._spans  # noqa: B018 - raises where they cannot be made

    def from_counters(self, counters: Counters) -> list[PeriodUsers]:
        """Reads the users of the periods, and of the one before them, as `Actives` does, and their first days.

        The first days of today's users are in an index that is eventually consistent: somebody who was new a moment ago
        may be told as resurrected. Memory holds each user once, and two bits for each user and day.
        """
        of_days = counters.of_users(self._over(self._spans), self.today)
        active, first_seen = of_days.active(), of_days.first_seen(self._over(self._spans[1:]))
        before: Set[str] = frozenset()
        answer = []
        for place, span in enumerate(self._spans):
            days = len(self._over([span]))
            users = union(islice(active, days))
            if place:
                new, returning = users & union(islice(first_seen, days)), users & before
                answer.append(self._of(span, len(users), len(before), len(new), len(returning)))
            before = users
        return answer

    def from_archive(self, archived: "ArchivedEvents") -> AsOf[list[PeriodUsers]]:
        """Reads the files of every day up to the last one: who is new is told by the segment's events."""
        places = {day: place for place, span in enumerate(self._spans) for day in days_between(*span)}
        last = min(self._spans[-1].last, self.today) if self._spans else self.first
        as_of, rows = archived.query(
            "WITH seen AS (SELECT user_id, min(day) AS first_day FROM matching GROUP BY user_id), "
            "days AS (SELECT CAST(unnest($days) AS DATE) AS day, unnest($places) AS place), "
            "users AS (SELECT DISTINCT place, user_id FROM matching JOIN days USING (day)), "
            "told AS (SELECT place, lag(place) OVER (PARTITION BY user_id ORDER BY place) AS before, user_id "
            "FROM users), "
            "begins AS (SELECT place, min(day) AS first_day FROM days GROUP BY place) "
            "SELECT place, count(*), count(*) FILTER (seen.first_day >= begins.first_day), "
            "count(*) FILTER (before = place - 1) FROM told JOIN seen USING (user_id) JOIN begins USING (place) "
            "GROUP BY place",
            "",
            last,
            days=list(places),
            places=list(places.values()),
        )
        found = {place: numbers for place, *numbers in rows}
        nobody = [0, 0, 0]
        return AsOf(
            as_of,
            [
                self._of(span, users, found.get(place - 1, nobody)[0], new, returning)
                for place, span in enumerate(self._spans)
                if place
                for users, new, returning in [found.get(place, nobody)]
            ],
        )

    @staticmethod
    def decode(answer: Any) -> list[PeriodUsers]:
        """The answer from its JSON."""
        return [PeriodUsers(*period) for period in answer]

    @cached_property
    def _spans(self) -> list[Span]:
        """The period before the first one, and the periods. None where the clocks skipped all of their days."""
        spans = self._periods(self.first)
        day, before = self.first, spans
        # Clocks skipped one day at most, so that this ends.
        while spans and len(before) == len(spans):
            day = add_days(min(day, spans[0].first), -1)
            before = self._periods(day)
        return before

    def _periods(self, first: str) -> list[Span]:
        return Actives(first, self.last, self.period, 0, self.today, self.timezone, self.week_start).spans

    def _over(self, spans: Iterable[Span]) -> list[str]:
        """The days of some periods up to today."""
        return [day for span in spans for day in days_between(span.first, min(span.last, self.today))]

    def _of(self, span: Span, users: int, before: int, new: int, returning: int) -> PeriodUsers:
        return PeriodUsers(
            *span,
            active_users=users,
            previous=before,
            new=new,
            returning=returning,
            resurrected=users - new - returning,
            gone=before - returning,
            complete=span.last < self.today,
        )
