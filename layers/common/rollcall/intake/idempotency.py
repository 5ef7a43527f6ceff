"""Idempotency keys: a caller may use a key again only with the same body."""

import hashlib
import time
from collections.abc import Callable

from rollcall.core.projects import Project
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.keys import Tables, idempotency_key

MAX_KEY_CHARACTERS = 255
REMEMBERED_SECONDS = 7 * 86_400


class IdempotencyKeyReused(ValueError):
    """The caller used this key before with another body."""


class IdempotencyKeys:
    """Remembers keys and the hashes of their bodies for seven days. `clock` gives seconds, as `time.time`."""

    def __init__(self, dynamo: Dynamo, tables: Tables, clock: Callable[[], float] = time.time) -> None:
        self._dynamo = dynamo
        self._table = tables.stats
        self._clock = clock

    def hold(self, project: Project, caller: str, key: str, body: bytes) -> None:
        """Remember a caller's key with its body; raises `IdempotencyKeyReused` if it is remembered with another body.

        One write unit. The key is stored as a hash, so it may hold any characters.
        """
        digest = hashlib.sha256(body).hexdigest()
        item = {
            "pk": {"S": idempotency_key(project, caller, hashlib.sha256(key.encode()).hexdigest())},
            "sk": {"S": "-"},
            "body": {"S": digest},
            "expires_at": {"N": str(int(self._clock()) + REMEMBERED_SECONDS)},
        }
        if self._dynamo.put_if_absent(self._table, item)["body"]["S"] != digest:
            raise IdempotencyKeyReused(key)
