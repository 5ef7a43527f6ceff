"""How many users were active on each day?"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from rollcall.core.days import days_between
from rollcall.questions.from_counters import Counters
from rollcall.questions.question import AsOf, Question
from rollcall.stack.keys import DAILY_ACTIVES

if TYPE_CHECKING:
    from rollcall.questions.from_archive import ArchivedEvents


class ActiveUsers(NamedTuple):
    """Users active on a day."""

    date: str
    dau: int


@dataclass(frozen=True)
class DailyActives(Question[list[ActiveUsers]]):
    """The users with at least one event on a day, for each day from `first` to `last`, both inclusive.

    Days are those of the stack's reporting timezone. A day without events has 0.
    """

    name = "daily_actives"
    definition = "daily-active-users"
    store = "counters"

    first: str
    last: str

    def from_counters(self, counters: Counters) -> list[ActiveUsers]:
        """Reads one item for each day and counter shard, strongly consistent: a read unit for each 4 KB of a shard."""
        actives: Counter[str] = Counter()
        for item in counters.of_days(self.first, self.last, [DAILY_ACTIVES]):
            if DAILY_ACTIVES in item:
                actives[item["sk"]["S"]] += int(item[DAILY_ACTIVES]["N"])
        return self._of_each_day(actives)

    def from_archive(self, archived: "ArchivedEvents") -> AsOf[list[ActiveUsers]]:
        """Reads the files of the days."""
        as_of, rows = archived.query(
            "SELECT CAST(day AS VARCHAR), count(DISTINCT user_id) FROM matching GROUP BY day", self.first, self.last
        )
        return AsOf(as_of, self._of_each_day(Counter(dict(rows))))

    @staticmethod
    def decode(answer: Any) -> list[ActiveUsers]:
        """The answer from its JSON."""
        return [ActiveUsers(*day) for day in answer]

    def in_sum(self, answers: Iterable[list[ActiveUsers]]) -> list[ActiveUsers]:
        """What several projects answered, added up: who is active in two of them is two users."""
        actives: Counter[str] = Counter()
        for answer in answers:
            actives.update(dict(answer))
        return self._of_each_day(actives)

    def _of_each_day(self, actives: Counter[str]) -> list[ActiveUsers]:
        return [ActiveUsers(day, actives[day]) for day in days_between(self.first, self.last)]
