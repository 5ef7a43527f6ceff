"""API keys: random secrets with scopes. A secret is shown once; only its hash is kept."""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import NamedTuple

from rollcall.access.lists import entry, listed
from rollcall.access.reach import Reach, reach_of, unnamed
from rollcall.core.characters import holds_hidden
from rollcall.core.days import timestamp
from rollcall.core.limits import Limit
from rollcall.stack.dynamo import Dynamo, Item
from rollcall.stack.keys import API_KEYS_KEY, api_key_key

SCOPES = ("ingest", "read", "admin", "import")
LABEL = r"[a-z0-9][a-z0-9_.-]{0,31}"
# The sources of uploaded files and of accounts. No key may count its events under them.
RESERVED_SOURCES = frozenset({"account", "import"})
MAX_LIFETIME = timedelta(days=3_650)
MIN_RATE = 0.001
# Each request writes the key's item. DynamoDB writes an item up to 1,000 times a second, one over 1 KB less often.
MAX_RATE = 500
MAX_BURST = 5_000
MAX_GRACE_SECONDS = 7 * 86_400

_KEY_ID = re.compile(r"[0-9a-f]{16}")
_KEY = re.compile(r"rc_([0-9a-f]{16})_[0-9a-f]{48}")
_COUNT_PREFIX = "requests#"


class UnknownKey(LookupError):
    """No key has this id."""


class KeyRevoked(ValueError):
    """The key is revoked, so it cannot be rotated."""


class KeyChanged(ValueError):
    """Another request rotated the key at the same time."""


class BadKey(ValueError):
    """A field of a new key is not acceptable; the text names the field and the reason."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field} {reason}")
        self.field = field


class ApiKey(NamedTuple):
    """A key without its secret. Times are RFC 3339 in UTC."""

    key_id: str
    name: str
    scopes: tuple[str, ...]
    source: str
    """The label under which the key's events are counted."""
    reach: Reach
    limit: Limit | None
    """None if the stack's default limit applies."""
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    requests: dict[str, int]
    """Requests admitted, by method and route."""


class ApiKeys:
    """The keys in a table. `clock` gives seconds, as `time.time`."""

    def __init__(self, dynamo: Dynamo, table: str, clock: Callable[[], float] = time.time) -> None:
        self._dynamo = dynamo
        self._table = table
        self._clock = clock

    def create(
        self,
        name: str,
        scopes: Iterable[str],
        source: str,
        limit: Limit | None = None,
        lifetime: timedelta | None = None,
        reach: Reach | None = None,
    ) -> tuple[ApiKey, str]:
        """Make a key; returns it with the text that a caller authenticates with. Raises `BadKey`.

        Without a `reach`, the key is for all projects if it is an admin's, else for the default one. The caller has
        made sure that the project exists. The text is stored nowhere.

        Each source is a counter in every day's item, so a stack should have tens of sources, not thousands.
        """
        wanted = tuple(scope for scope in SCOPES if scope in set(scopes))
        _check(name, wanted, set(scopes), source, limit)
        if lifetime is not None and not timedelta() < lifetime <= MAX_LIFETIME:
            raise BadKey("lifetime", f"has to be up to {MAX_LIFETIME.days} days")
        reach = reach or unnamed(wanted)
        key_id = secrets.token_hex(8)
        text = _new_text(key_id)
        item: Item = {
            "pk": {"S": api_key_key(key_id)},
            "sk": {"S": "-"},
            "name": {"S": name},
            "scopes": {"SS": list(wanted)},
            "source": {"S": source},
            "hash": {"S": digest_of(text)},
            "created_at": {"S": timestamp(self._clock())},
            **reach.attribute,
        }
        if limit is not None:
            item |= {"rate": {"N": repr(limit.rate)}, "burst": {"N": str(limit.burst)}}
        if lifetime is not None:
            item["valid_until"] = {"N": str(int(self._clock() + lifetime.total_seconds()))}
        items = (item, entry(API_KEYS_KEY, key_id, reach))
        self._dynamo.transact([{"Put": {"TableName": self._table, "Item": each}} for each in items])
        return _shown(item), text

    def all(self, within: Reach) -> list[ApiKey]:
        """All keys within a reach, oldest first, revoked ones included. Reads these, and the list of all keys' ids."""
        keys = map(_shown, listed(self._dynamo, self._table, API_KEYS_KEY, api_key_key, within))
        return sorted(keys, key=lambda key: (key.created_at, key.key_id))

    def find(self, key_id: str, within: Reach) -> ApiKey:
        """A key within a reach; one read unit. Raises `UnknownKey`."""
        return _shown(self._find(key_id, within))

    def rotate(self, key_id: str, within: Reach, grace: timedelta = timedelta()) -> str:
        """Give a key a new secret; returns the new text. The present secret stays valid for `grace`.

        At most two secrets are valid: a second rotation within `grace` ends the oldest one. Raises `UnknownKey`,
        `KeyRevoked` or `KeyChanged`. A key that is not within the reach of who asks is unknown to them.
        """
        text = _new_text(key_id)
        found = self._find(key_id, within)
        until = int(self._clock() + grace.total_seconds())
        updated, standing = self._dynamo.update(
            self._table,
            api_key_key(key_id),
            "-",
            UpdateExpression="SET #hash = :new, previous_hash = :old, previous_until = :until",
            ConditionExpression="#hash = :old AND attribute_not_exists(revoked_at)",
            ExpressionAttributeNames={"#hash": "hash"},
            ExpressionAttributeValues={
                ":new": {"S": digest_of(text)},
                ":old": found["hash"],
                ":until": {"N": str(until)},
            },
        )
        # boto3 retries a write whose answer was lost, and then finds the hash of its own first try.
        if updated or standing.get("hash") == {"S": digest_of(text)}:
            return text
        if not standing:
            raise UnknownKey(key_id)
        if "revoked_at" in standing:
            raise KeyRevoked(key_id)
        raise KeyChanged(key_id)

    def revoke(self, key_id: str, within: Reach) -> None:
        """Refuse a key from now on; raises `UnknownKey`, as `rotate` does. A second call changes nothing."""
        self._find(key_id, within)
        self._dynamo.update(
            self._table,
            api_key_key(key_id),
            "-",
            UpdateExpression="SET revoked_at = if_not_exists(revoked_at, :now)",
            ConditionExpression="attribute_exists(pk)",
            ExpressionAttributeValues={":now": {"S": timestamp(self._clock())}},
        )

    def _find(self, key_id: str, within: Reach) -> Item:
        item = self._dynamo.find(self._table, api_key_key(key_id)) if _KEY_ID.fullmatch(key_id) else None
        if not item or not within.covers(reach_of(item)):
            raise UnknownKey(key_id)
        return item


def key_id_of(text: str) -> str | None:
    """The key id in the text of a key, or None if the text is not a key."""
    match = _KEY.fullmatch(text)
    return match[1] if match else None


def digest_of(text: str) -> str:
    """What is kept of the text of a key."""
    # A secret of 192 random bits cannot be guessed, so the hash need not be slow.
    return hashlib.sha256(text.encode()).hexdigest()


def belongs(digest: str, item: Item, now: float) -> bool:
    """Whether `digest` is of the present text of the key in `item`, or of the previous one within its grace.

    `now` is in seconds.
    """
    present = hmac.compare_digest(digest, item["hash"]["S"])
    previous = "previous_hash" in item and hmac.compare_digest(digest, item["previous_hash"]["S"])
    return present or (previous and now < int(item["previous_until"]["N"]))


def is_name(text: str) -> bool:
    """Whether text may be the name of a key or a share: 1 to 100 characters that can be seen."""
    return 1 <= len(text) <= 100 and not text.isspace() and not holds_hidden(text)


def count_name(method: str, route: str) -> str:
    """The attribute of a key's item that counts its requests to a route."""
    return f"{_COUNT_PREFIX}{method} {route}"


def limit_of(item: Item) -> Limit | None:
    """The limit of the key in `item`, or None if it has no limit of its own."""
    return Limit(float(item["rate"]["N"]), int(item["burst"]["N"])) if "rate" in item else None


def _check(name: str, wanted: tuple[str, ...], asked: set[str], source: str, limit: Limit | None) -> None:
    if not is_name(name):
        raise BadKey("name", "has to have 1 to 100 characters that can be seen")
    if not wanted or len(wanted) != len(asked):
        raise BadKey("scopes", f"has to name some of {', '.join(SCOPES)}")
    if not re.fullmatch(LABEL, source):
        raise BadKey("source", "has to be 1 to 32 of a-z, 0-9, '.', '_' and '-', a letter or digit first")
    if source in RESERVED_SOURCES:
        raise BadKey("source", f"may not be {source!r}, which others than API keys are the source of")
    if limit is not None and not MIN_RATE <= limit.rate <= MAX_RATE:
        raise BadKey("rate", f"has to be from {MIN_RATE} to {MAX_RATE} requests a second")
    if limit is not None and not 1 <= limit.burst <= MAX_BURST:
        raise BadKey("burst", f"has to be from 1 to {MAX_BURST} requests")


def _new_text(key_id: str) -> str:
    return f"rc_{key_id}_{secrets.token_hex(24)}"


def _shown(item: Item) -> ApiKey:
    return ApiKey(
        key_id=item["pk"]["S"].partition("#")[2],
        name=item["name"]["S"],
        scopes=tuple(scope for scope in SCOPES if scope in item["scopes"]["SS"]),
        source=item["source"]["S"],
        reach=reach_of(item),
        limit=limit_of(item),
        created_at=item["created_at"]["S"],
        expires_at=timestamp(int(item["valid_until"]["N"])) if "valid_until" in item else None,
        revoked_at=item.get("revoked_at", {}).get("S"),
        requests={
            name.removeprefix(_COUNT_PREFIX): int(value["N"])
            for name, value in item.items()
            if name.startswith(_COUNT_PREFIX)
        },
    )
