"""How many of a day's users came back?"""

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from rollcall.core.days import add_days, days_between
from rollcall.questions.daily_actives import DailyActives
from rollcall.questions.from_counters import Counters
from rollcall.questions.question import AsOf, Question

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
    later. A window that ends before `today` is complete. The answer is exact, and late events change it.

    Raises `OverflowError` where the last window ends after the year 9999.
    """

    name = "retention"

    day: str
    windows: int
    window_days: int
    new_users: bool
    today: str

    def __post_init__(self) -> None:
        """Refuse windows that have no end."""
        self._end(self.windows)

    def from_counters(self, counters: Counters) -> Retained:
        """Reads the counters of all these days, and their users up to `today` as `DayUsers` does.

        That is a GET for each large day that was read before. Any other day takes some 1,200 read units for each
        100,000 users, $0.00015 on demand. Memory holds the cohort, the users of `DAYS_AT_ONCE` days, and a byte for
        each user of the cohort and each window.
        """
        counted = {
            actives.date: actives.dau for actives in DailyActives(self.day, self._last()).from_counters(counters)
        }

        def active(day: str) -> set[str]:
            return counters.day_users.read(day, counted[day], over=day < self.today)

        cohort = list(counters.new_users(self.day) if self.new_users else active(self.day))

        def returned(day: str) -> int:
            """A byte for each user of the cohort, 1 where active on the day: 100,000 users take 100 KB."""
            return int.from_bytes(bytes(map(active(day).__contains__, cohort)), "little") if cohort else 0

        of_days = counters.day_users.map(returned, days_between(self._start(1), self._last()))
        retained = []
        for number in range(1, self.windows + 1):
            came_back = 0
            days = days_between(self._start(number), min(self._end(number), self.today))
            for of_day in islice(of_days, len(days)):
                came_back |= of_day
            retained.append(came_back.bit_count())
        return self._answer(len(cohort), retained)

    def from_archive(self, archived: "ArchivedEvents") -> AsOf[Retained]:
        """Reads the files of the days, with `new_users` of every day before them too: who is new is told by the
        segment's events."""
        as_of, rows = archived.query(
            "WITH user_days AS (SELECT DISTINCT day - CAST($start AS DATE) AS after, user_id FROM matching), "
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
        retained = [users.get(number, 0) for number in range(1, self.windows + 1)]
        return AsOf(as_of, self._answer(users.get(0, 0), retained))

    @staticmethod
    def decode(answer: Any) -> Retained:
        """The answer from its JSON."""
        size, windows = answer
        return Retained(size, [Window(*window) for window in windows])

    def _start(self, number: int) -> str:
        return add_days(self.day, number * self.window_days)

    def _end(self, number: int) -> str:
        return add_days(self.day, (number + 1) * self.window_days - 1)

    def _last(self) -> str:
        """The last day whose events matter."""
        return max(self.day, min(self._end(self.windows), self.today))

    def _answer(self, cohort_size: int, retained: list[int]) -> Retained:
        windows = [
            Window(number, self._start(number), users, complete=self._end(number) < self.today)
            for number, users in enumerate(retained, 1)
        ]
        return Retained(cohort_size, windows)
