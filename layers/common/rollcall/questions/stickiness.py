"""Which share of a month's users comes on a day?"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from rollcall.questions.actives import Actives, SpanActives
from rollcall.questions.from_counters import Counters
from rollcall.questions.question import AsOf, Question

if TYPE_CHECKING:
    from rollcall.questions.from_archive import ArchivedEvents

MONTH_DAYS = 30


class DayStickiness(NamedTuple):
    """The users of a day, and of the 30 days that end with it."""

    date: str
    dau: int
    mau: int
    complete: bool
    """Whether the day is over."""

    @property
    def percent(self) -> float | None:
        """Daily ÷ monthly actives in percent, to two decimals; None where there are none of either."""
        return round(100 * self.dau / self.mau, 2) if self.mau else None


@dataclass(frozen=True)
class Stickiness(Question[list[DayStickiness]]):
    """For each day from `first` to `last`: its users, and those of the `MONTH_DAYS` days that end with it.

    Days that the clocks of `timezone` skipped are left out. A day before `today` is complete. Raises `OverflowError`
    where a month would begin before the year 1.
    """

    name = "stickiness"
    definition = "stickiness"
    store = "day-users"

    first: str
    last: str
    today: str
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        """Refuse days that have no month before them."""
        self._of(MONTH_DAYS)

    def from_counters(self, counters: Counters) -> list[DayStickiness]:
        """Reads what monthly actives of each day read."""
        return self._answer(*(self._of(days).from_counters(counters) for days in (1, MONTH_DAYS)))

    def from_archive(self, archived: "ArchivedEvents") -> AsOf[list[DayStickiness]]:
        """Reads the files of the days twice."""
        daily, monthly = (self._of(days).from_archive(archived) for days in (1, MONTH_DAYS))
        return AsOf(daily.as_of, self._answer(daily.answer, monthly.answer))

    @staticmethod
    def decode(answer: Any) -> list[DayStickiness]:
        """The answer from its JSON."""
        return [DayStickiness(*day) for day in answer]

    def _of(self, days: int) -> Actives:
        return Actives(self.first, self.last, "day", days, self.today, self.timezone)

    @staticmethod
    def _answer(daily: list[SpanActives], monthly: list[SpanActives]) -> list[DayStickiness]:
        return [
            DayStickiness(day.last, day.active_users, month.active_users, day.complete)
            for day, month in zip(daily, monthly, strict=True)
        ]


def average(days: list[DayStickiness]) -> float | None:
    """The mean of the shares of the days that are over and have users in their month; None where there is none."""
    shares = [day.dau / day.mau for day in days if day.complete and day.mau]
    return round(100 * sum(shares) / len(shares), 2) if shares else None
