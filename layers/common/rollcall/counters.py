"""The counters of days and event types: what a batch adds to them, and in which items of one transaction."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rollcall.keys import DAILY_ACTIVES, OVERFLOW, counted_type, type_attribute

if TYPE_CHECKING:
    from rollcall.dynamo import Item

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
    event_type: str | None
    """None for the day's actives."""
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


def tally(events: Iterable[tuple[str, str]], new_actives: Iterable[str]) -> list[Increment]:
    """The increments of (day, event type) for each event and of the day for each new (day, user), sorted.

    The order depends on nothing but the counts, so that every try of a batch cuts the same list.
    """
    counts: Counter[tuple[str, str | None]] = Counter(events)
    counts.update((day, None) for day in new_actives)
    return sorted(
        (Increment(day, event_type, count) for (day, event_type), count in counts.items()),
        key=lambda increment: (increment.day, increment.event_type is not None, increment.event_type or ""),
    )


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
        if increment.event_type is None:
            inline, attribute = True, DAILY_ACTIVES
        else:
            full = day is not None and len(day) > INLINE_TYPES
            inline = not full and vocabularies[increment.day].admit(increment.event_type)
            attribute = type_attribute(increment.event_type)
        if used + (day is None) + (not inline) > MAX_WRITES:
            break
        additions = part.days.setdefault(increment.day, {})
        if inline:
            additions[attribute] = increment.count
        else:
            additions[OVERFLOW] = additions.get(OVERFLOW, 0) + 1
            part.overflow.append(increment)
        part.end += 1
    return part
