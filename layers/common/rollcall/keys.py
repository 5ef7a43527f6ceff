"""Where things lie in the tables, and which of a thing's shards is whose. Every prefix has its own separator-free
shape, and what a client wrote comes last, so that no two things share a key whatever characters they hold."""

import zlib
from typing import NamedTuple

DAILY_ACTIVES = "dau"
OVERFLOW = "overflow"
LAYOUT_KEY = "layout"
PENDING = "pending"
REFUSED = "refused"
_TYPE_PREFIX = "#"


class Tables(NamedTuple):
    """Names and fixed measures of the tables."""

    events: str
    stats: str
    user_shards: int
    counter_shards: int


def shard_of(text: str, shards: int) -> int:
    """The shard, 0 to `shards` - 1, that a text always falls into."""
    return zlib.crc32(text.encode()) % shards


def users_key(day: str, shard: int) -> str:
    """Partition of one day's users; the sort key is the user id."""
    return f"users#{day}#{shard}"


def counts_key(shard: int) -> str:
    """Partition of the days' counters; the sort key is the day."""
    return f"counts#{shard}"


def overflow_key(day: str, shard: int) -> str:
    """Partition of the event types that found no room in the day's counters; the sort key is the event type."""
    return f"types#{shard}#{day}"


def first_day_key(user_id: str) -> str:
    """Partition of a user's first day; the sort key is `-`."""
    return f"first#{user_id}"


def receipt_key(batch_id: str) -> str:
    """Partition of a batch's receipt; the sort key is the part's number, `pending` or `refused`."""
    return f"batch#{batch_id}"


def idempotency_key(source: str, digest: str) -> str:
    """Partition of an idempotency key, by its hash; the sort key is `-`."""
    return f"idempotency#{digest}#{source}"


def type_attribute(event_type: str) -> str:
    """The attribute of the day's counters that counts an event type."""
    return _TYPE_PREFIX + event_type


def counted_type(attribute: str) -> str | None:
    """The event type that an attribute of the day's counters counts, or None where it is another attribute."""
    return attribute[len(_TYPE_PREFIX) :] if attribute.startswith(_TYPE_PREFIX) else None
