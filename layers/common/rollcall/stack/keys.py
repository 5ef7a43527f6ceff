"""Where things lie in the tables, and which of a thing's shards is whose. Every prefix has its own separator-free
shape, and what a client wrote comes last, so that no two things share a key whatever characters they hold."""

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


def idempotency_key(caller: str, digest: str) -> str:
    """Partition of an idempotency key, by its hash; the sort key is `-`."""
    return f"idempotency#{digest}#{caller}"


def api_key_key(key_id: str) -> str:
    """Partition of an API key; the sort key is `-`. All ids are the sort keys of the partition `API_KEYS_KEY`."""
    return f"key#{key_id}"


def account_key(account_id: str) -> str:
    """Partition of an account and its sessions; the sort key is `-` or one of `session_key`."""
    return f"account#{account_id}"


def session_key(session_id: str) -> str:
    """Sort key of a session."""
    return f"session#{session_id}"


def bucket_key(kind: str, digest: str) -> str:
    """Partition of the token bucket of someone without a credential, by a hash; the sort key is `-`."""
    return f"bucket#{kind}#{digest}"


def import_id_of(key: str) -> str:
    """The id of the import of an uploaded object."""
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def import_key(import_id: str) -> str:
    """Partition of an import; the sort key is `-`, or one of `import_part_key`. Holds counts alone, read often."""
    return f"import#{import_id}"


def import_part_key(run: str, number: int) -> str:
    """Sort key of a part of an import, which belongs to one run of it."""
    return f"{run}#{number:06d}"


def import_batches_key(import_id: str) -> str:
    """Partition of the names of an import's batches; the sort keys are those of its parts."""
    return f"batches#{import_id}"


def day_users_object(day: str, count: int) -> str:
    """Key of the object that holds the users of a day, of which there are `count`."""
    return f"day-users/{day}/{count}"


def batch_object(batch_id: str) -> str:
    """Key of the archive's object of the events that a batch owns."""
    return f"{BATCHES}{batch_id}{_BATCH_SUFFIX}"


def batch_of_object(key: str) -> str:
    """The batch of one of the archive's objects under `BATCHES`."""
    return key.removeprefix(BATCHES).removesuffix(_BATCH_SUFFIX)


def day_object(day: str) -> str:
    """Key of the archive's object of the events of a day."""
    return f"{ARCHIVED_DAYS}{day}{_DAY_SUFFIX}"


def day_of_object(key: str) -> str:
    """The day of one of the archive's objects under `ARCHIVED_DAYS`."""
    return key.removeprefix(ARCHIVED_DAYS).removesuffix(_DAY_SUFFIX)


def type_attribute(event_type: str) -> str:
    """The attribute of the day's counters that counts an event type."""
    return _TYPE_PREFIX + event_type


def source_attribute(source: str) -> str:
    """The attribute of the day's counters that counts the events of a source."""
    return _SOURCE_PREFIX + source


def counted_source(attribute: str) -> str | None:
    """The source that an attribute of the day's counters counts, or None where it is another attribute."""
    return attribute[len(_SOURCE_PREFIX) :] if attribute.startswith(_SOURCE_PREFIX) else None


def counted_type(attribute: str) -> str | None:
    """The event type that an attribute of the day's counters counts, or None where it is another attribute."""
    return attribute[len(_TYPE_PREFIX) :] if attribute.startswith(_TYPE_PREFIX) else None
