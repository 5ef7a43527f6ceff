"""The counters: what a batch adds to them, and how its additions are split into transactions."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rollcall.stack.keys import DAILY_ACTIVES, OVERFLOW, PROCESSING, counted_type, source_attribute, type_attribute

if TYPE_CHECKING:
    from rollcall.stack.dynamo import Item


# TransactWriteItems takes 100 writes; one puts the receipt.
MAX_WRITES = 99
# In a transaction, an update costs two write units for each KB of the whole item. So a counter item is kept small.
INLINE_BYTES = 3 * 1024
INLINE_TYPES = 150
# The size of an attribute without its name: a number of up to 10 digits, and DynamoDB's overhead.
_NUMBER_BYTES = 7


@dataclass(frozen=True)
class Increment:
    """What one batch adds to one counter."""

    day: str
    counter: str
    """The attribute of the day's counter item. An event type for which the item has no room gets an item of its own."""
    count: int


@dataclass
class Vocabulary:
    """The event types in one day's counter item, and their size in bytes."""

    types: set[str] = field(default_factory=set)
    size: int = 0

    @classmethod
    def of_item(cls, item: "Item") -> "Vocabulary":
        """The vocabulary of a stored counter item."""
        vocabulary = cls()
        for attribute in item:
            event_type = counted_type(attribute)
            if event_type is not None:
                vocabulary.admit(event_type)
        return vocabulary

    def admit(self, event_type: str) -> bool:
        """Add an event type if there is room; returns whether the vocabulary has it now."""
        if event_type in self.types:
            return True
        size = len(type_attribute(event_type).encode()) + _NUMBER_BYTES
        if len(self.types) >= INLINE_TYPES or self.size + size > INLINE_BYTES:
            return False
        self.types.add(event_type)
        self.size += size
        return True


@dataclass
class Part:
    """What one transaction applies: the increments up to `end`, exclusive, that earlier parts did not apply."""

    end: int
    days: dict[str, dict[str, int]] = field(default_factory=dict)
    """For each day, the number to add to each attribute."""
    overflow: list[Increment] = field(default_factory=list)
    """The increments of event types that have items of their own."""


def tally(
    events: Iterable[tuple[str, str]], new_actives: Iterable[str], source: str, milliseconds: int
) -> list[Increment]:
    """What a batch adds to the counters, sorted.

    Each event, given as (day, event type), adds 1 to its type, 1 to the source, and `milliseconds` to the processing
    time. Each of `new_actives`, the days of the new (day, user) pairs, adds 1 to the daily actives of its day. The
    counters in the list depend only on the events, so every delivery of a batch splits the same list.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for (day, event_type), count in Counter(events).items():
        counts[day, type_attribute(event_type)] += count
        counts[day, source_attribute(source)] += count
        counts[day, PROCESSING] += count * milliseconds
    counts.update((day, DAILY_ACTIVES) for day in new_actives)
    return [Increment(day, counter, count) for (day, counter), count in sorted(counts.items())]


def plan_part(
    increments: Sequence[Increment], start: int, vocabularies: Mapping[str, Vocabulary], others: int = 0
) -> Part:
    """As many increments from `start` on as fit in one transaction with `others` writes besides.

    `vocabularies` has the event types in each day's counter item; types that the part adds to an item are added to
    it. A type for which the item has no room gets an item of its own. The day's item then counts such additions under
    `overflow`, which tells readers to look for the other items.
    """
    part = Part(end=start)
    for increment in increments[start:]:
        day = part.days.get(increment.day)
        used = len(part.days) + len(part.overflow)
        event_type = counted_type(increment.counter)
        full = day is not None and len(day) >= INLINE_TYPES
        inline = event_type is None or (not full and vocabularies[increment.day].admit(event_type))
        if used + (day is None) + (not inline) > MAX_WRITES - others:
            break
        additions = part.days.setdefault(increment.day, {})
        if inline:
            additions[increment.counter] = increment.count
        else:
            additions[OVERFLOW] = additions.get(OVERFLOW, 0) + 1
            part.overflow.append(increment)
        part.end += 1
    return part
