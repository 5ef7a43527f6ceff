"""The keys of everything in the tables and the buckets, and the choice of a shard.

No two things share a key, whatever characters they hold. Each kind of key has its own prefix, and the text that a
client wrote comes last in the key.
"""

import hashlib
import re
import zlib
from typing import NamedTuple

DAILY_ACTIVES = "dau"
OVERFLOW = "overflow"
PROCESSING = "processing_ms"
LAYOUT_KEY = "layout"
BUNDLING_KEY = "bundling"
PENDING = "pending"
REFUSED = "refused"
_TYPE_PREFIX = "#"
_SOURCE_PREFIX = "@"
API_KEYS_KEY = "keys"
BATCHES = "batches/"
BUNDLES = "bundles/"
# What the keys of batches and bundles, and no others, begin with: one LIST shows whether there are any.
WAITING = "b"
_BATCH_SUFFIX = ".json.gz"
ARCHIVED_DAYS = "events/day="
_DAY_SUFFIX = "/events.parquet"
VOLUMES = "volumes/"
_VOLUME_SUFFIX = "/events.parquet"
_CONTENTS_SUFFIX = "/days.json"

# What stays as it is in an attribute's name: ranges of characters that every Python takes for printable. Fixed, since
# what else is printable depends on the version of Unicode. All other characters are escaped.
_PRINTABLE = (
    " -~"  # ASCII
    "\u00a1-\u00ac\u00ae-\u024f"  # Latin
    "\u0388-\u038a\u038e-\u03a1\u03a3-\u03ff"  # Greek
    "\u0400-\u052f"  # Cyrillic
    "\u0531-\u0556\u0561-\u0587"  # Armenian
    "\u05d0-\u05ea"  # Hebrew
    "\u0620-\u064a\u0660-\u06d3"  # Arabic
    "\u0900-\u097f"  # Devanagari
    "\u0e01-\u0e3a\u0e3f-\u0e5b"  # Thai
    "\u10d0-\u10ff"  # Georgian
    "\u1e00-\u1eff"  # Latin of Vietnamese and others
    "\u2010-\u2027\u2030-\u205e\u20a0-\u20bf\u2190-\u23ff\u2500-\u27bf"  # punctuation, currencies, symbols
    "\u3001-\u303f\u3041-\u3096\u30a0-\u30ff\u3400-\u4dbf\u4e00-\u9ffc\uac00-\ud7a3\uff01-\uff5e"  # East Asia
    "\U0001f300-\U0001f64f\U0001f680-\U0001f6c5\U0001f900-\U0001f971"  # emoji
)
_ESCAPE = "~"
# `~` and the code point, in hex. A surrogate is no character, so nothing escapes one.
_ESCAPED = re.compile("~(?!d[89a-f]..;)(0|[1-9a-f][0-9a-f]{0,4}|10[0-9a-f]{4});")
# Of the escape characters, those alone that would be read as the beginning of an escaped character.
_TO_ESCAPE = re.compile(f"[^{_PRINTABLE}]|(?={_ESCAPED.pattern})~")
# Random in 64 bits by earlier versions, in 128 now.
_INVITED_KEY = re.compile(r"uploads/([0-9a-f]{16}){1,2}/[^/]+")


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
    """Partition of an account; the sort key is `-`, `session_key` for a session, `familiar_key` for an address."""
    return f"account#{account_id}"


def session_key(session_id: str) -> str:
    """Sort key of a session."""
    return f"session#{session_id}"


def familiar_key(digest: str) -> str:
    """Sort key of an address that an account has logged in from, by its hash."""
    return f"address#{digest}"


def invited_key(secret: str, name: str) -> str:
    """Key of an object that a client was invited to upload. `secret` is random, so nobody guesses the import's id."""
    return f"uploads/{secret}/{name}"


def is_invited_key(key: str) -> bool:
    """Whether `invited_key` made a key, or could have."""
    return _INVITED_KEY.fullmatch(key) is not None


def bucket_key(kind: str, digest: str) -> str:
    """Partition of a token bucket that is an item of its own, by an id or a hash; the sort key is `-`."""
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


def bundle_object(tier: int, name: str) -> str:
    """Key of a bundle in the archive. Keys of a later tier come later in a list."""
    return f"{BUNDLES}{tier:06d}/{name}{_BATCH_SUFFIX}"


def tier_of_object(key: str) -> int:
    """The tier in the key of a bundle, from 1 on; 0 for a batch's object."""
    return int(key.removeprefix(BUNDLES).partition("/")[0]) if key.startswith(BUNDLES) else 0


def day_object(day: str) -> str:
    """Key of the archive's object with the events of a day."""
    return f"{ARCHIVED_DAYS}{day}{_DAY_SUFFIX}"


def day_of_object(key: str) -> str:
    """The day in the key of an archive's object under `ARCHIVED_DAYS`."""
    return key.removeprefix(ARCHIVED_DAYS).removesuffix(_DAY_SUFFIX)


def volume_object(name: str) -> str:
    """Key of a volume's rows: those of many days."""
    return f"{VOLUMES}{name}{_VOLUME_SUFFIX}"


def contents_object(name: str) -> str:
    """Key of a volume's table of contents: which version of which days' files it holds."""
    return f"{VOLUMES}{name}{_CONTENTS_SUFFIX}"


def volume_of_object(key: str) -> str:
    """The name of the volume in the key of an archive's object under `VOLUMES`."""
    return key.removeprefix(VOLUMES).partition("/")[0]


def type_attribute(event_type: str) -> str:
    """The attribute of a day's counter item that counts an event type: printable, whatever the type holds."""
    return _TYPE_PREFIX + _escaped(event_type)


def source_attribute(source: str) -> str:
    """The attribute of a day's counter item that counts the events of a source: printable, whatever it holds."""
    return _SOURCE_PREFIX + _escaped(source)


def counted_source(attribute: str) -> str | None:
    """The source that an attribute of a day's counter item counts, or None for any other attribute."""
    return _unescaped(attribute[len(_SOURCE_PREFIX) :]) if attribute.startswith(_SOURCE_PREFIX) else None


def counted_type(attribute: str) -> str | None:
    """The event type that an attribute of a day's counter item counts, or None for any other attribute."""
    return _unescaped(attribute[len(_TYPE_PREFIX) :]) if attribute.startswith(_TYPE_PREFIX) else None


def _escaped(name: str) -> str:
    """A name with `~`, its code point in hex and `;` in place of each character that might not be printable."""
    # What most names are. Of ASCII, the same characters are printable for every Python.
    if name.isascii() and name.isprintable() and _ESCAPE not in name:
        return name
    return _TO_ESCAPE.sub(lambda found: f"~{ord(found[0]):x};", name)


def _unescaped(name: str) -> str:
    """The inverse of `_escaped`. A name that was stored before there were escapes is read as it is."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), name) if _ESCAPE in name else name
