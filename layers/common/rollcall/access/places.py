"""Places in DynamoDB: how many requests of one caller may keep a function busy for long at once, over all instances.

All places of a caller are one item. An attribute of it, `place_N`, is the moment until which that place is taken. To
take a place, a request writes its own moment there, on condition that the stored one is past; so exactly one of two
requests gets it. A request that ends gives its place back. A function that dies leaves a place that is free again at
its moment.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rollcall.stack.dynamo import Dynamo, Item, Unavailable
from rollcall.stack.keys import bucket_key

_MICROSECONDS = 1_000_000
# How much longer than it said a request may take, until its place is another's.
GRACE_SECONDS = 5
# An item without a taken place is of no use. It is kept for longer than any place in it may be taken.
_KEPT_SECONDS = 3_600


class Places:
    """The places of all callers in a table, `count` for each. `clock` gives seconds, as `time.time`."""

    def __init__(self, dynamo: Dynamo, table: str, count: int, clock: Callable[[], float] = time.time) -> None:
        self._dynamo = dynamo
        self._table = table
        self._count = count
        self._clock = clock

    @contextmanager
    def hold(self, caller: str, seconds: float) -> Iterator[bool]:
        """Hold a place within the block, for at most so many seconds. Yields whether the caller had one left.

        One read unit, and two write units if there is a place.
        """
        pk = bucket_key("places", caller)
        until = int((self._clock() + seconds + GRACE_SECONDS) * _MICROSECONDS)
        place = self._take(pk, until)
        try:
            yield place is not None
        finally:
            if place is not None:
                self._give_back(pk, place, until)

    def _take(self, pk: str, until: int) -> str | None:
        found: Item = self._dynamo.find(self._table, pk) or {}
        # Each try that fails finds a place taken that seemed to be free.
        for _ in range(self._count + 1):
            now = int(self._clock() * _MICROSECONDS)
            names = (f"place_{number}" for number in range(self._count))
            free = [name for name in names if int(found.get(name, {"N": "0"})["N"]) <= now]
            if not free:
                return None
            # Requests that come at once are not to want the same place.
            place = random.choice(free)  # noqa: S311 - no secret
            taken, found = self._dynamo.update(
                self._table,
                pk,
                "-",
                UpdateExpression="SET #place = :until, expires_at = :kept",
                ConditionExpression="attribute_not_exists(#place) OR #place <= :now",
                ExpressionAttributeNames={"#place": place},
                ExpressionAttributeValues={
                    ":until": {"N": str(until)},
                    ":now": {"N": str(now)},
                    ":kept": {"N": str(until // _MICROSECONDS + _KEPT_SECONDS)},
                },
            )
            if taken:
                return place
        raise Unavailable(f"the places of a caller still change under {self._count + 1} tries")

    def _give_back(self, pk: str, place: str, until: int) -> None:
        # If another request has it by now, it stays that one's.
        self._dynamo.update(
            self._table,
            pk,
            "-",
            UpdateExpression="REMOVE #place",
            ConditionExpression="#place = :until",
            ExpressionAttributeNames={"#place": place},
            ExpressionAttributeValues={":until": {"N": str(until)}},
        )
