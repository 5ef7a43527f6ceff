"""Which event types are the most frequent?"""

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from rollcall.core.events import OTHER_TYPES
from rollcall.questions.from_counters import Counters, Overflow, Place
from rollcall.questions.question import AsOf, Question
from rollcall.stack.dynamo import Item
from rollcall.stack.keys import OVERFLOW, counted_source, counted_type

if TYPE_CHECKING:
    from rollcall.questions.from_archive import ArchivedEvents


class EventCount(NamedTuple):
    """Events of a type."""

    event_type: str
    events: int


@dataclass(frozen=True)
class TopEvents(Question[list[EventCount]]):
    """The `limit` event types with the most events from day `first` to day `last`, both inclusive.

    The most frequent type comes first. Types with as many events come in the order of their names. From the counters,
    the types beyond a stack's `NamedTypes` come last, together, as `OTHER_TYPES`.
    """

    name = "top_events"
    definition = "top-events"
    store = "counters"

    first: str
    last: str
    limit: int

    def from_counters(self, counters: Counters) -> list[EventCount]:
        """Reads what daily actives read, and up to `named_types` counters of the types that found no room there.

        Every number is exact. Where there are more types, those whose counters were not all read come last, together,
        as `OTHER_TYPES`.
        """
        found = count_types(counters, counters.of_days(self.first, self.last))
        return ranked(found.counts, found.others, self.limit)

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

    def in_sum(self, answers: Iterable[list[EventCount]]) -> list[EventCount]:
        """What several projects answered to a question with a limit that no answer reaches, added up.

        Events of a type that one project names and another does not are in `OTHER_TYPES` as far as the latter counted
        them.
        """
        counts: Counter[str] = Counter()
        for answer in answers:
            counts.update(dict(answer))
        others = counts.pop(OTHER_TYPES, 0)
        return ranked(counts, others, self.limit)

    @staticmethod
    def decode(answer: Any) -> list[EventCount]:
        """The answer from its JSON."""
        return [EventCount(*entry) for entry in answer]


class CountedTypes(NamedTuple):
    """What counters say of event types."""

    counts: Counter[str]
    """The types of which every counter was read."""
    others: int
    """The events of all other types."""
    beyond: list[tuple[str, str]]
    """Each type that found no room in the counter item of a day, with the day, as far as these were read."""


def count_types(counters: Counters, items: Iterable[Item]) -> CountedTypes:
    """The numbers of events by type in the counter items of some days, and in what found no room there."""
    counts: Counter[str] = Counter()
    events = 0
    overflowed: list[Place] = []
    for item in items:
        for attribute, value in item.items():
            event_type = counted_type(attribute)
            if event_type is not None:
                counts[event_type] += int(value["N"])
            elif counted_source(attribute) is not None:
                events += int(value["N"])
        if OVERFLOW in item:
            overflowed.append((item["sk"]["S"], int(item["pk"]["S"].rpartition("#")[2])))
    if not overflowed:
        return CountedTypes(counts, 0, [])
    found = counters.overflow(overflowed, max(1, counters.named_types // len(overflowed)))
    counts, looked_up = _exact(counters, counts, found)
    beyond = [(event_type, each.place[0]) for each in found for event_type in each.counts]
    beyond += [(event_type, day) for (day, _), event_type in looked_up]
    # Consumers may have counted some events since the days' items were read.
    others = 0 if all(one.whole for one in found) else max(0, events - counts.total())
    return CountedTypes(counts, others, beyond)


def ranked(counts: Counter[str], others: int, limit: int) -> list[EventCount]:
    """The `limit` most frequent types, and the number of the others."""
    first = heapq.nsmallest(limit, counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return [EventCount(*entry) for entry in first] + ([EventCount(OTHER_TYPES, others)] if others else [])


def _exact(
    counters: Counters, inline: Counter[str], found: Sequence[Overflow]
) -> tuple[Counter[str], list[tuple[Place, str]]]:
    """The types of which every counter is read, with their numbers, and where those were that had to be looked up.
    `inline` has what the days' own items say.

    The types of an overflow are read in the order of their names, so that all of those up to the first name at which
    any reading stopped are read. Of the further ones, the most frequent as far as they are known are looked up where
    they may be.
    """
    counts = inline.copy()
    for overflow in found:
        counts.update(overflow.counts)
    ends = [(overflow.place, max(overflow.counts)) for overflow in found if not overflow.whole]
    if not ends:
        return counts, []
    read_to = min(end for _, end in ends)
    exact = Counter({event_type: count for event_type, count in counts.items() if event_type <= read_to})
    further = heapq.nsmallest(
        counters.named_types // len(ends),
        ((event_type, count) for event_type, count in counts.items() if event_type > read_to),
        key=lambda entry: (-entry[1], entry[0]),
    )
    exact.update(dict(further))
    looked_up = counters.overflow_of(
        (place, event_type) for event_type, _ in further for place, end in ends if event_type > end
    )
    for (_, event_type), count in looked_up.items():
        exact[event_type] += count
    # A type of this name was stored before there was another meaning to it.
    exact.pop(OTHER_TYPES, None)
    return exact, list(looked_up)
