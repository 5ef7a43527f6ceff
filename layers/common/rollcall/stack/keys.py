"""The keys of everything in the tables and the buckets, and the choice of a shard.

No two things share a key, whatever characters they hold. Each kind of key has its own prefix, and the text that a
client wrote comes last in the key.
"""

import hashlib
import zlib
from typing import NamedTuple

DAILY_ACTIVES = "dau"
OVERFLOW = "overflow"
PROCESSING = "processing_ms"
LAYOUT_KEY = "layout"
PENDING = "pending"
REFUSED = "refused"
_TYPE_PREFIX = "#"
_SOURCE_PREFIX = "@"
API_KEYS_KEY = "keys"
BATCHES = "batches/"
_BATCH_SUFFIX = ".json.gz"
ARCHIVED_DAYS = "events/day="
_DAY_SUFFIX = "/events.parquet"


class Tables(NamedTuple):
    """The names of the tables and their shard counts."""

    events: str
    stats: str
    user_shards: int
    counter_shards: int


def shard_of(text: str, shards: int) -> int:
    """The shard of a text, from 0 to `shards` - 1; always the same one."""
    return zlib.crc32(text.encode()) % shards


def users_key(day: str, shard: int) -> str:
    """Partition of one shard of a day's users; the sort key is the user id."""
    return f"users#{day}#{shard}"


def counts_key(shard: int) -> str:
    """Partition of one shard of all days' counters; the sort key is the day."""
    return f"counts#{shard}"


def overflow_key(day: str, shard: int) -> str:
    """Partition of the event types for which the day's counter item has no room; the sort key is the event type."""
    return f"types#{shard}#{day}"


def first_day_key(user_id: str) -> str:
    """Partition of a user's first day; the sort key is `-`."""
    return f"first#{user_id}"


def receipt_key(batch_id: str) -> str:
    """Partition of a batch's receipt; the sort key is the part's number, `pending` or `refused`."""
    return f"batch#{batch_id}"


def idempotency_key(caller: str, digest: str) -> str:
    """Partition of a caller's idempotency key, by its hash; the sort key is `-`."""
    return f"idempotency#{digest}#{caller}"


def api_key_key(key_id: str) -> str:
    """Partition of an API key; the sort key is `-`. The partition `API_KEYS_KEY` lists the ids as its sort keys."""
    return f"key#{key_id}"


def account_key(account_id: str) -> str:
    """Partition of an account and its sessions; the sort key is `-`, or `session_key` for a session."""
    return f"account#{account_id}"


def session_key(session_id: str) -> str:
    """Sort key of a session."""
    return f"session#{session_id}"


def bucket_key(kind: str, digest: str) -> str:
    """Partition of the token bucket of a caller without a credential, by a hash; the sort key is `-`."""
    return f"bucket#{kind}#{digest}"


def import_id_of(key: str) -> str:
    """The id of the import of an uploaded object."""
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def import_key(import_id: str) -> str:
    """Partition of an import; the sort key is `-` or `import_part_key`. Read often, so it holds counts only."""
    return f"import#{import_id}"


def import_part_key(run: str, number: int) -> str:
    """Sort key of a part of an import. A part belongs to one run of the import."""
    return f"{run}#{number:06d}"


def import_batches_key(import_id: str) -> str:
    """Partition of the batch ids of an import; the sort key is `import_part_key`."""
    return f"batches#{import_id}"


def day_users_object(day: str, count: int) -> str:
    """Key of the object that holds the `count` users of a day."""
    return f"day-users/{day}/{count}"


def batch_object(batch_id: str) -> str:
    """Key of the archive's object with the events that a batch owns."""
    return f"{BATCHES}{batch_id}{_BATCH_SUFFIX}"


def batch_of_object(key: str) -> str:
    """The batch id in the key of an archive's object under `BATCHES`."""
    return key.removeprefix(BATCHES).removesuffix(_BATCH_SUFFIX)


def day_object(day: str) -> str:
    """Key of the archive's object with the events of a day."""
    return f"{ARCHIVED_DAYS}{day}{_DAY_SUFFIX}"


def day_of_object(key: str) -> str:
    """The day in the key of an archive's object under `ARCHIVED_DAYS`."""
    return key.removeprefix(ARCHIVED_DAYS).removesuffix(_DAY_SUFFIX)


def type_attribute(event_type: str) -> str:
    """The attribute of a day's counter item that counts an event type."""
    return _TYPE_PREFIX + event_type


def source_attribute(source: str) -> str:
    """The attribute of a day's counter item that counts the events of a source."""
    return _SOURCE_PREFIX + source


def counted_source(attribute: str) -> str | None:
    """The source that an attribute of a day's counter item counts, or None for any other attribute."""
    return attribute[len(_SOURCE_PREFIX) :] if attribute.startswith(_SOURCE_PREFIX) else None


def counted_type(attribute: str) -> str | None:
    """The event type that an attribute of a day's counter item counts, or None for any other attribute."""
    return attribute[len(_TYPE_PREFIX) :] if attribute.startswith(_TYPE_PREFIX) else None
