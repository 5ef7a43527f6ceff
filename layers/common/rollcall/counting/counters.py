"""The counters of days and event types: what a batch adds to them, and in which items of one transaction."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rollcall.stack.keys import DAILY_ACTIVES, OVERFLOW, PROCESSING, counted_type, source_attribute, type_attribute

if TYPE_CHECKING:
    from rollcall.stack.dynamo import Item


# TransactWriteItems takes 100; one is the receipt.
MAX_WRITES = 99
# An update costs two write units for each KB of the whole item, so that the item is kept small.
INLINE_BYTES = 3 * 1024
INLINE_TYPES = 150
# A name, a number of up to 10 digits, and what DynamoDB adds to them.
_NUMBER_BYTES = 8


@dataclass(frozen=True)
class Increment:
    """What one batch adds to one counter."""

    day: str
    counter: str
    """The attribute of the day's item that it is added to, unless that is a type that finds no room there."""
    count: int


@dataclass
class Vocabulary:
    """The event types that one day's counter item holds, and their size in bytes."""

    types: set[str] = field(default_factory=set)
    size: int = 0

    @classmethod
    def of_item(cls, item: "Item") -> "Vocabulary":
        """Read it from a counter item as it is stored."""
        vocabulary = cls()
        for attribute in item:
            event_type = counted_type(attribute)
            if event_type is not None:
                vocabulary.admit(event_type)
        return vocabulary

    def admit(self, event_type: str) -> bool:
        """Take an event type in, if it is there already or finds room."""
        if event_type in self.types:
            return True
        size = len(event_type.encode()) + _NUMBER_BYTES
        if len(self.types) >= INLINE_TYPES or self.size + size > INLINE_BYTES:
            return False
        self.types.add(event_type)
        self.size += size
        return True


@dataclass
class Part:
    """What one transaction applies: the increments from wherever it began up to, not including, `end`."""

    end: int
    days: dict[str, dict[str, int]] = field(default_factory=dict)
    """Day to attribute to what is added to it."""
    overflow: list[Increment] = field(default_factory=list)
    """Event types with items of their own."""


def tally(
    events: Iterable[tuple[str, str]], new_actives: Iterable[str], source: str, milliseconds: int
) -> list[Increment]:
    """What a batch adds: for each event of (day, event type) to the type, the source and the time that it took to be
    counted, for each new (day, user) to the day's actives; sorted.

    Which counters there are depends on nothing but the events, so that every try of a batch cuts the same list.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for (day, event_type), count in Counter(events).items():
        counts[day, type_attribute(event_type)] += count
        counts[day, source_attribute(source)] += count
        counts[day, PROCESSING] += count * milliseconds
    counts.update((day, DAILY_ACTIVES) for day in new_actives)
    return [Increment(day, counter, count) for (day, counter), count in sorted(counts.items())]


def plan_part(increments: Sequence[Increment], start: int, vocabularies: Mapping[str, Vocabulary]) -> Part:
    """As many increments from `start` on as fit one transaction.

    `vocabularies` holds what each day's counter item counts; types that find no room overflow into items of their
    own, and the day's item keeps their number under `overflow`, so that readers know to look. Types taken in are
    added to `vocabularies`.
    """
    part = Part(end=start)
    for increment in increments[start:]:
        day = part.days.get(increment.day)
        used = len(part.days) + len(part.overflow)
        event_type = counted_type(increment.counter)
        full = day is not None and len(day) >= INLINE_TYPES
        inline = event_type is None or (not full and vocabularies[increment.day].admit(event_type))
        if used + (day is None) + (not inline) > MAX_WRITES:
            break
        additions = part.days.setdefault(increment.day, {})
        if inline:
            additions[increment.counter] = increment.count
        else:
            additions[OVERFLOW] = additions.get(OVERFLOW, 0) + 1
            part.overflow.append(increment)
        part.end += 1
    return part
