"""Idempotency keys: the same key may come again with the same body only."""

import hashlib
import time
from collections.abc import Callable

from rollcall.stack.dynamo import Dynamo
from rollcall.stack.keys import Tables, idempotency_key

MAX_KEY_CHARACTERS = 255
REMEMBERED_SECONDS = 7 * 86_400


class IdempotencyKeyReused(ValueError):
    """A key that came before with another body."""


class IdempotencyKeys:
    """Remembers keys with the hash of their body for seven days. `clock` is in seconds, as `time.time`."""

    def __init__(self, dynamo: Dynamo, tables: Tables, clock: Callable[[], float] = time.time) -> None:
        self._dynamo = dynamo
        self._table = tables.stats
        self._clock = clock

    def hold(self, caller: str, key: str, body: bytes) -> None:
        """Remember the key of a caller, or hold it to what is remembered; raises `IdempotencyKeyReused`.

        One write unit. A key is looked up by its hash, so that it may hold any characters.
        """
        digest = hashlib.sha256(body).hexdigest()
        item = {
            "pk": {"S": idempotency_key(caller, hashlib.sha256(key.encode()).hexdigest())},
            "sk": {"S": "-"},
            "body": {"S": digest},
            "expires_at": {"N": str(int(self._clock()) + REMEMBERED_SECONDS)},
        }
        if self._dynamo.put_if_absent(self._table, item)["body"]["S"] != digest:
            raise IdempotencyKeyReused(key)
