"""Which event types are there, and when were they seen?"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from rollcall.core.events import OTHER_TYPES
from rollcall.questions.from_counters import Counters
from rollcall.questions.question import AsOf, Question
from rollcall.questions.top_events import count_types, ranked
from rollcall.stack.keys import counted_type

if TYPE_CHECKING:
    from rollcall.questions.from_archive import ArchivedEvents


class SeenType(NamedTuple):
    """An event type, and the first and the last day of the range with an event of it."""

    event_type: str
    events: int
    first_seen: str | None
    """None for `OTHER_TYPES`, which are many."""
    last_seen: str | None


@dataclass(frozen=True)
class EventTypes(Question[list[SeenType]]):
    """The `limit` event types with the most events from day `first` to day `last`, and when they were seen in between.

    Which types these are, and what comes last as `OTHER_TYPES`, is as in `TopEvents`.
    """

    name = "event_types"
    definition = "event-types"
    store = "counters"

    first: str
    last: str
    limit: int

    def from_counters(self, counters: Counters) -> list[SeenType]:
        """Reads what `TopEvents` reads. Memory holds the counters of all days."""
        items = list(counters.of_days(self.first, self.last))
        found = count_types(counters, items)
        types = ranked(found.counts, found.others, self.limit)
        days: dict[str, list[str]] = {each.event_type: [] for each in types}
        seen = [(counted_type(attribute), item["sk"]["S"]) for item in items for attribute in item]
        for event_type, day in [*seen, *found.beyond]:
            if event_type in days:
                days[event_type].append(day)
        # No event is of the type that stands for the others. One that was stored before is not among the named ones.
        days.pop(OTHER_TYPES, None)
        return [
            SeenType(*each, min(days[each.event_type]), max(days[each.event_type]))
            if each.event_type in days
            else SeenType(*each, None, None)
            for each in types
        ]

    def from_archive(self, archived: "ArchivedEvents") -> AsOf[list[SeenType]]:
        """Reads the files of the days."""
        as_of, rows = archived.query(
            "SELECT event_type, count(*) AS events, CAST(min(day) AS VARCHAR), CAST(max(day) AS VARCHAR) FROM matching "
            "GROUP BY event_type ORDER BY events DESC, event_type LIMIT $limit",
            self.first,
            self.last,
            limit=self.limit,
        )
        return AsOf(as_of, [SeenType(*row) for row in rows])

    @staticmethod
    def decode(answer: Any) -> list[SeenType]:
        """The answer from its JSON."""
        return [SeenType(*each) for each in answer]
