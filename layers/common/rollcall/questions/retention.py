"""How many of a day's users came back?"""

from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from rollcall.core.days import Calendar, add_days, days_between
from rollcall.questions.from_counters import Counters
from rollcall.questions.question import AsOf, Question
from rollcall.questions.user_sets import union

if TYPE_CHECKING:
    from rollcall.questions.from_archive import ArchivedEvents


class Window(NamedTuple):
    """A cohort's return in one window after its day."""

    number: int
    date: str
    """First day of the window."""
    retained_users: int
    complete: bool
    """Whether the window is over."""


class Retained(NamedTuple):
    """A cohort and its windows."""

    cohort_size: int
    windows: list[Window]


@dataclass(frozen=True)
class Retention(Question[Retained]):
    """How many users of the cohort of `day` were active in each of the `windows` windows after it.

    The cohort is everyone active on `day`, or with `new_users` everyone first seen on it. A window is `window_days`
    days long, and window k begins k x `window_days` days after `day`: window k of one day is the day exactly k days
    later. Days that the clocks of `timezone` skipped are not counted, so that day 1 is always the next that was. A
    window that ends before `today` is complete. The answer is exact, and late events change it.

    Raises `OverflowError` where the last window ends after the year 9999.
    """

    name = "retention"
    definition = "retention"
    store = "day-users"

    day: str
    windows: int
    window_days: int
    new_users: bool
    today: str
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        """Refuse windows that have no end."""
        self._days  # noqa: B018 - raises where it cannot be made

    def from_counters(self, counters: Counters) -> Retained:
        """Reads the counters of all these days, and their users up to `today` as `DayUsers` does.

        Memory holds each user once, and a bit for each user and day.
        """
        over = [self._over(number) for number in self._numbers()]
        of_days = counters.of_users([day for day in self._days if day <= self._last()], self.today)
        (cohort,) = of_days.first_seen([self.day]) if self.new_users else of_days.active([self.day])
        active = of_days.active(list(chain.from_iterable(over)))
        return self._answer(len(cohort), [len(cohort & union(islice(active, len(days)))) for days in over])

    def from_archive(self, archived: "ArchivedEvents") -> AsOf[Retained]:
        """Reads the files of the days, with `new_users` of every day before them too: who is new is told by the
        segment's events."""
        missing = sorted(set(days_between(self.day, self._days[-1])) - set(self._days))
        skipped = "".join(f" - CAST(day > DATE '{day}' AS INTEGER)" for day in missing)
        as_of, rows = archived.query(
            f"WITH user_days AS (SELECT DISTINCT day - CAST($start AS DATE){skipped} AS after, user_id FROM matching), "
            "cohort AS (SELECT user_id FROM user_days GROUP BY user_id HAVING bool_or(after = 0)"
            f"{' AND min(after) = 0' if self.new_users else ''}) "
            "SELECT after // $window_days AS number, count(DISTINCT user_id) "
            "FROM user_days SEMI JOIN cohort USING (user_id) WHERE after = 0 OR after >= $window_days GROUP BY number",
            "" if self.new_users else self.day,
            self._last(),
            start=self.day,
            window_days=self.window_days,
        )
        users = dict(rows)
        retained = [users.get(number, 0) for number in self._numbers()]
        return AsOf(as_of, self._answer(users.get(0, 0), retained))

    @staticmethod
    def decode(answer: Any) -> Retained:
        """The answer from its JSON."""
        size, windows = answer
        return Retained(size, [Window(*window) for window in windows])

    @cached_property
    def _days(self) -> list[str]:
        """The cohort's day and those after it, to the end of the last window."""
        after = (self.windows + 1) * self.window_days - 1
        return [self.day, *Calendar(self.timezone).days_from(add_days(self.day, 1), after)]

    def _numbers(self) -> range:
        return range(1, self.windows + 1)

    def _window(self, number: int) -> list[str]:
        return self._days[number * self.window_days : (number + 1) * self.window_days]

    def _over(self, number: int) -> list[str]:
        """The days of a window up to today."""
        return [day for day in self._window(number) if day <= self.today]

    def _last(self) -> str:
        """The last day whose events matter."""
        return max(self.day, min(self._days[-1], self.today))

    def _answer(self, cohort_size: int, retained: list[int]) -> Retained:
        windows = [
            Window(number, self._window(number)[0], users, complete=self._window(number)[-1] < self.today)
            for number, users in enumerate(retained, 1)
        ]
        return Retained(cohort_size, windows)
