"""The keys of everything in the tables and the buckets, and the choice of a shard.

No two things share a key, whatever characters they hold. Each kind of key has its own prefix, and the text that a
client wrote comes last in the key.

What belongs to a project has a key that is made with the project. The default project's keys do not name it. In a table
another's begin with its name and U+001F, which follows no name in a key of the default project: event ids hold no such
character, and all other keys begin with the name of their kind and `#`, or are that name. In a bucket a folder
`project=<name>/` has another's objects. Where objects are listed, it stands before the prefix that is listed, so that
no list of one project shows an object of another.
"""

import hashlib
import re
import zlib
from typing import NamedTuple

from rollcall.core.projects import DEFAULT, SEPARATOR, BadProject, Project

DAILY_ACTIVES = "dau"
# A number that grows whenever the first day of some of a day's users is moved to an earlier one.
LEFT = "left"
OVERFLOW = "overflow"
# What stands in the place of the day in the key of the object with the users of many days.
BUNDLE = "bundle"
PROCESSING = "processing_ms"
# The partition of the projects' records; their names are the sort keys.
PROJECTS_KEY = "projects"
# The partition of the leases of bundling, one for each project. A role may change this partition and no other.
BUNDLING_KEY = "bundling"
PENDING = "pending"
REFUSED = "refused"
_TYPE_PREFIX = "#"
_SOURCE_PREFIX = "@"
_REJECTED_PREFIX = "rejected#"
# The partitions of lists: their sort keys are the ids of all keys, shares and accounts.
API_KEYS_KEY = "keys"
SHARES_KEY = "shares"
ACCOUNTS_KEY = "accounts"
_BATCHES = "batches/"
_BUNDLES = "bundles/"
# What the keys of batches and bundles, and no others, begin with: one LIST shows whether there are any.
_WAITING = "b"
_BATCH_SUFFIX = ".json.gz"
# What the folders of other projects than the default one begin with.
PROJECT_FOLDERS = "project="
_PROJECT_FOLDER = re.compile(f"{PROJECT_FOLDERS}([a-z][a-z0-9-]{{0,31}})/")
_DAY_SUFFIX = "/events.parquet"
_VOLUMES = "volumes/"
_VOLUME_SUFFIX = "/events.parquet"
_REJECTS_SUFFIX = ".jsonl.gz"
_CONTENTS_SUFFIX = "/days.json"
_NAMED = re.compile(f"([a-z][a-z0-9-]{{0,31}}){SEPARATOR}", re.ASCII)

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
_INVITED_KEY = re.compile(r"uploads/(project=(?!default/)[a-z][a-z0-9-]{0,31}/)?([0-9a-f]{16}){1,2}/[^/]+")


class Tables(NamedTuple):
    """The names of the tables and their shard counts."""

    events: str
    stats: str
    user_shards: int
    counter_shards: int


def shard_of(text: str, shards: int) -> int:
    """The shard of a text, from 0 to `shards` - 1; always the same one."""
    return zlib.crc32(text.encode()) % shards


def split_key(key: str) -> tuple[Project, str]:
    """The project of a table's key, and the key that the same thing of the default project would have."""
    named = _NAMED.match(key)
    return (Project(named[1]), key[named.end() :]) if named else (DEFAULT, key)


def event_key(project: Project, event_id: str) -> str:
    """Partition of an event."""
    return _of(project, event_id)


def event_id_of(project: Project, key: str) -> str:
    """The id of an event, by its partition."""
    return _without(project, key)


def users_key(project: Project, day: str, shard: int) -> str:
    """Partition of one shard of a day's users; the sort key is the user id."""
    return _of(project, f"users#{day}#{shard}")


def counts_key(project: Project, shard: int) -> str:
    """Partition of one shard of all days' counters; the sort key is the day."""
    return _of(project, f"counts#{shard}")


def overflow_key(project: Project, day: str, shard: int) -> str:
    """Partition of the event types for which the day's counter item has no room; the sort key is the event type."""
    return _of(project, f"types#{shard}#{day}")


def first_day_key(project: Project, user_id: str) -> str:
    """Partition of a user's first day; the sort key is `-`."""
    return _of(project, f"first#{user_id}")


def indexed_day(project: Project, day: str) -> str:
    """What a user's item has as the first day. It is the partition of the index, and orders as the days do."""
    return _of(project, day)


def day_of_index(project: Project, indexed: str) -> str:
    """The day in what `indexed_day` made."""
    return _without(project, indexed)


def receipt_key(project: Project, batch_id: str) -> str:
    """Partition of a batch's receipt; the sort key is the part's number, `pending` or `refused`."""
    return _of(project, f"batch#{batch_id}")


def batch_of_receipt(project: Project, key: str) -> str:
    """The batch id in the partition of a receipt."""
    return key.removeprefix(receipt_key(project, ""))


def moves_key(project: Project, batch_id: str) -> str:
    """Partition of the days from which a batch moves first days away; the sort key is `-`."""
    return _of(project, f"moves#{batch_id}")


def ledger_key(project: Project, key_id: str, shard: int) -> str:
    """Partition of one shard of an API key's ledger; the sort key is the day of receipt."""
    return _of(project, f"ledger#{shard}#{key_id}")


def delivery_key(project: Project, delivery_id: str) -> str:
    """Partition of the messages of a delivery that are in the ledger without a receipt; the sort key is their part."""
    return _of(project, f"delivery#{delivery_id}")


def rejections_key(shard: int) -> str:
    """Partition of one shard of the rejected events of all API keys, so that one query finds those of all projects."""
    return f"rejected#{shard}"


def rejection_key(project: Project, key_id: str = "") -> str:
    """Sort key of the rejected events of an API key; without one, what those of a project begin with, and no others."""
    return f"{project.name}#{key_id}"


def split_rejection_key(key: str) -> tuple[Project, str]:
    """The project and the API key in what `rejection_key` made."""
    name, _, key_id = key.partition("#")
    return Project(name), key_id


def idempotency_key(project: Project, caller: str, digest: str) -> str:
    """Partition of a caller's idempotency key, by its hash; the sort key is `-`."""
    return _of(project, f"idempotency#{digest}#{caller}")


def layout_key(project: Project) -> str:
    """Partition of the layout; the sort key is `-`."""
    return _of(project, "layout")


def lease_key(project: Project) -> str:
    """Sort key of the lease of bundling, in the partition `BUNDLING_KEY`."""
    return "-" if project == DEFAULT else project.name


def api_key_key(key_id: str) -> str:
    """Partition of an API key; the sort key is `-`."""
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


def share_key(share_id: str) -> str:
    """Partition of a share; the sort key is `-`."""
    return f"share#{share_id}"


def code_key(digest: str) -> str:
    """Partition of a code that signs in once, by its hash; the sort key is `-`."""
    return f"code#{digest}"


def invited_key(project: Project, secret: str, name: str) -> str:
    """Key of an object that a client was invited to upload. `secret` is random, so nobody guesses the import's id."""
    return f"uploads/{_folder(project)}{secret}/{name}"


def project_of_upload(key: str) -> Project:
    """The project that an uploaded object is imported into; raises `BadProject` where its folder names none.

    The default project has no folder, so that one that names it is refused: no file has two keys.
    """
    folder, slash, _ = key.removeprefix("uploads/").partition("/")
    if not slash or not folder.startswith(PROJECT_FOLDERS):
        return DEFAULT
    project = project_of_folder(folder)
    if project == DEFAULT:
        raise BadProject("a file of the default project is uploaded without a folder that names it")
    return project


def is_invited_key(key: str) -> bool:
    """Whether `invited_key` made a key, or could have."""
    return _INVITED_KEY.fullmatch(key) is not None


def bucket_key(kind: str, digest: str) -> str:
    """Partition of a token bucket that is an item of its own, by an id or a hash; the sort key is `-`."""
    return f"bucket#{kind}#{digest}"


def import_id_of(key: str) -> str:
    """The id of the import of an uploaded object."""
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def import_key(project: Project, import_id: str) -> str:
    """Partition of an import; the sort key is `-` or `import_part_key`. Read often, so it holds counts only."""
    return _of(project, f"import#{import_id}")


def import_part_key(run: str, number: int) -> str:
    """Sort key of a part of an import. A part belongs to one run of the import."""
    return f"{run}#{number:06d}"


def import_batches_key(project: Project, import_id: str) -> str:
    """Partition of the batch ids of an import; the sort key is `import_part_key`."""
    return _of(project, f"batches#{import_id}")


def kept_objects(project: Project) -> str:
    """What the keys of the objects with users of days begin with. The day follows. Later ones are of other projects."""
    return f"day-users/{_folder(project)}"


def day_of_kept_object(project: Project, key: str) -> str:
    """The day in the key of an object with users of a day."""
    return key.removeprefix(kept_objects(project)).partition("/")[0]


def day_users_object(project: Project, day: str, count: int) -> str:
    """Key of the object that holds the `count` users of a day."""
    return f"{kept_objects(project)}{day}/{count}"


def new_users_object(project: Project, day: str, count: int, left: int) -> str:
    """Key of the object that holds the new users of a day with `count` users, whose `LEFT` was `left`."""
    return f"{kept_objects(project)}{day}/new/{count}-{left}"


def bundled_users_object(project: Project) -> str:
    """Key of the object that holds the users of many days of a project. It comes after the keys of all days."""
    return f"{kept_objects(project)}{BUNDLE}"


def project_of_folder(folder: str) -> Project:
    """The project of a folder that stands at the beginning of a key."""
    return Project(folder.removeprefix(PROJECT_FOLDERS).removesuffix("/"))


def project_waiting_in(folder: str) -> Project | None:
    """The project that has batches or bundles where there is such a folder at the top of the archive, or None."""
    if folder.startswith(_WAITING):
        return DEFAULT
    of_project = _PROJECT_FOLDER.fullmatch(folder)
    return Project(of_project[1]) if of_project else None


def waiting_objects(project: Project) -> str:
    """What the keys of the archive's batches and bundles begin with, and no others."""
    return f"{_folder(project)}{_WAITING}"


def batch_objects(project: Project) -> str:
    """What the keys of the archive's batches begin with, and no others."""
    return f"{_folder(project)}{_BATCHES}"


def batch_object(project: Project, batch_id: str) -> str:
    """Key of the archive's object with the events that a batch owns."""
    return f"{batch_objects(project)}{batch_id}{_BATCH_SUFFIX}"


def batch_of_object(project: Project, key: str) -> str:
    """The batch id in the key of an archive's object of a batch."""
    return key.removeprefix(batch_objects(project)).removesuffix(_BATCH_SUFFIX)


def bundle_object(project: Project, tier: int, name: str) -> str:
    """Key of a bundle in the archive. Keys of a later tier come later in a list."""
    return f"{_folder(project)}{_BUNDLES}{tier:06d}/{name}{_BATCH_SUFFIX}"


def tier_of_object(project: Project, key: str) -> int:
    """The tier in the key of a bundle, from 1 on; 0 for a batch's object."""
    bundles = f"{_folder(project)}{_BUNDLES}"
    return int(key.removeprefix(bundles).partition("/")[0]) if key.startswith(bundles) else 0


def day_objects(project: Project) -> str:
    """What the keys of the archive's days begin with, and no others. The day follows."""
    return f"events/{_folder(project)}day="


def day_object(project: Project, day: str) -> str:
    """Key of the archive's object with the events of a day."""
    return f"{day_objects(project)}{day}{_DAY_SUFFIX}"


def day_of_object(project: Project, key: str) -> str:
    """The day in the key of an archive's object of a day."""
    return key.removeprefix(day_objects(project)).removesuffix(_DAY_SUFFIX)


def volume_objects(project: Project) -> str:
    """What the keys of the archive's volumes begin with, and no others."""
    return f"{_folder(project)}{_VOLUMES}"


def volume_object(project: Project, name: str) -> str:
    """Key of a volume's rows: those of many days."""
    return f"{volume_objects(project)}{name}{_VOLUME_SUFFIX}"


def contents_object(project: Project, name: str) -> str:
    """Key of a volume's table of contents: which version of which days' files it holds."""
    return f"{volume_objects(project)}{name}{_CONTENTS_SUFFIX}"


def volume_of_object(project: Project, key: str) -> str:
    """The name of the volume in the key of an archive's object of a volume."""
    return key.removeprefix(volume_objects(project)).partition("/")[0]


def rejects_objects(project: Project, key_id: str) -> str:
    """What the keys of the objects with the events of an API key that were not accepted begin with. The day follows."""
    return f"rejects/{_folder(project)}key={key_id}/day="


def rejects_object(project: Project, key_id: str, day: str, digest: str) -> str:
    """Key of the object with the events of a request that were not accepted."""
    return f"{rejects_objects(project, key_id)}{day}/{digest}{_REJECTS_SUFFIX}"


def split_rejects_object(project: Project, key_id: str, key: str) -> tuple[str, str]:
    """The day and the digest in what `rejects_object` made."""
    day, _, name = key.removeprefix(rejects_objects(project, key_id)).partition("/")
    return day, name.removesuffix(_REJECTS_SUFFIX)


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


def rejected_attribute(code: str) -> str:
    """The attribute that counts the events that were rejected with a code."""
    return f"{_REJECTED_PREFIX}{code}"


def rejected_code(attribute: str) -> str | None:
    """The code whose rejected events an attribute counts, or None for any other attribute."""
    return attribute.removeprefix(_REJECTED_PREFIX) if attribute.startswith(_REJECTED_PREFIX) else None


def _of(project: Project, key: str) -> str:
    return key if project.name == DEFAULT.name else f"{project.name}{SEPARATOR}{key}"


def _without(project: Project, key: str) -> str:
    return key if project.name == DEFAULT.name else key.removeprefix(f"{project.name}{SEPARATOR}")


def _folder(project: Project) -> str:
    return "" if project == DEFAULT else f"{PROJECT_FOLDERS}{project.name}/"


def _escaped(name: str) -> str:
    """A name with `~`, its code point in hex and `;` in place of each character that might not be printable."""
    # What most names are. Of ASCII, the same characters are printable for every Python.
    if name.isascii() and name.isprintable() and _ESCAPE not in name:
        return name
    return _TO_ESCAPE.sub(lambda found: f"~{ord(found[0]):x};", name)


def _unescaped(name: str) -> str:
    """The inverse of `_escaped`. A name that was stored before there were escapes is read as it is."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), name) if _ESCAPE in name else name
