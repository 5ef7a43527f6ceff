"""Which event types are the most frequent?"""

import heapq
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from rollcall.questions.from_counters import Counters
from rollcall.questions.question import AsOf, Question
from rollcall.stack.keys import OVERFLOW, counted_type

if TYPE_CHECKING:
    from rollcall.questions.from_archive import ArchivedEvents


class EventCount(NamedTuple):
    """Events of a type."""

    event_type: str
    events: int


@dataclass(frozen=True)
class TopEvents(Question[list[EventCount]]):
    """The `limit` event types with the most events from day `first` to day `last`, both inclusive.

    The most frequent type comes first. Types with as many events come in the order of their names.
    """

    name = "top_events"

    first: str
    last: str
    limit: int

    def from_counters(self, counters: Counters) -> list[EventCount]:
        """Reads what daily actives read, and one item for each event type that found no room in its day's item."""
        counts: Counter[str] = Counter()
        overflowed: list[tuple[str, int]] = []
        for item in counters.of_days(self.first, self.last):
            for attribute, value in item.items():
                event_type = counted_type(attribute)
                if event_type is not None:
                    counts[event_type] += int(value["N"])
            if OVERFLOW in item:
                overflowed.append((item["sk"]["S"], int(item["pk"]["S"].rpartition("#")[2])))
        for item in counters.overflow(overflowed):
            counts[item["sk"]["S"]] += int(item["count"]["N"])
        ranked = heapq.nsmallest(self.limit, counts.items(), key=lambda entry: (-entry[1], entry[0]))
        return [EventCount(*entry) for entry in ranked]

    def from_archive(self, archived: "ArchivedEvents") -> AsOf[list[EventCount]]:
        """Reads the files of the days."""
        as_of, rows = archived.query(
            "SELECT event_type, count(*) AS events FROM matching GROUP BY event_type "
            "ORDER BY events DESC, event_type LIMIT $limit",
            self.first,
            self.last,
            limit=self.limit,
        )
        return AsOf(as_of, self.decode(rows))

    @staticmethod
    def decode(answer: Any) -> list[EventCount]:
        """The answer from its JSON."""
        return [EventCount(*entry) for entry in answer]
