"""Token buckets in DynamoDB, the same for all instances and exact however many requests come at once.

A bucket is kept as the moment at which it is full again: taking a token moves that moment on by the time in which one
token comes in, and a token is there while the moment is not further off than a full bucket. A bucket that is full
already counts from now, which DynamoDB has no `max` for. The moment therefore has generations: who finds the bucket
full writes to the next generation, which begins at now if nobody has begun it. Of any number of requests that find the
same full bucket, one begins the generation and all others add to it, each with its one conditional write.
"""

import time
from collections.abc import Callable, Mapping
from math import ceil

from rollcall.core.limits import Allowance, Limit, TooFast
from rollcall.stack.dynamo import Dynamo, Item, Unavailable

_MICROSECONDS = 1_000_000
_ATTEMPTS = 20


class NoBucket(Exception):
    """The item that holds the bucket is gone."""


class Buckets:
    """The buckets of a table. `clock` is in seconds, as `time.time`."""

    def __init__(self, dynamo: Dynamo, table: str, clock: Callable[[], float] = time.time) -> None:
        self._dynamo = dynamo
        self._table = table
        self._clock = clock

    def take_for(self, pk: str, limit: Limit) -> Allowance:
        """Take a token from a bucket of its own, which is forgotten once it is full again; raises `TooFast`.

        A read unit, and a write unit where a token is there.
        """
        now = self._now()
        found = self._dynamo.find(self._table, pk) or {}
        kept_until = int(self._clock() + limit.burst / limit.rate) + 60
        return self._take(pk, "-", found, limit, now, {"expires_at": kept_until})

    def take(self, found: Item, limit: Limit, now: int, count: str) -> Allowance:
        """Take a token from the bucket in an item that was read just now, and count that under a name.

        `now` is in microseconds, from before the item was read. Raises `TooFast`, or `NoBucket` where the item was
        deleted since. A write unit where a token is there.
        """
        return self._take(found["pk"]["S"], found["sk"]["S"], found, limit, now, {}, count)

    def _now(self) -> int:
        return int(self._clock() * _MICROSECONDS)

    def _take(
        self, pk: str, sk: str, found: Item, limit: Limit, now: int, sets: Mapping[str, int], count: str = ""
    ) -> Allowance:
        token = max(1, round(_MICROSECONDS / limit.rate))
        for _ in range(_ATTEMPTS):
            # With the last token gone, the bucket is full again when all its tokens have come in.
            latest = now + (limit.burst - 1) * token
            generation = int(found.get("generation", {"N": "0"})["N"])
            full_at = int(found.get(_name(generation), {"N": "0"})["N"])
            if full_at > latest:
                raise TooFast(Allowance(limit, 0, _seconds(full_at - latest)))
            written, found = self._write(pk, sk, generation, now, latest, token, full_at < now, sets, count)
            if written:
                full_at = int(found[_name(int(found["generation"]["N"]))]["N"])
                remaining = max(0, (now + limit.burst * token - full_at) // token)
                return Allowance(limit, remaining, _seconds(full_at - (now if remaining else latest)))
            if count and not found:
                raise NoBucket
        raise Unavailable(f"a token bucket still changes under {_ATTEMPTS} tries")

    def _write(
        self,
        pk: str,
        sk: str,
        generation: int,
        now: int,
        latest: int,
        token: int,
        full: bool,
        sets: Mapping[str, int],
        count: str,
    ) -> tuple[bool, Item]:
        """Move the moment on; returns whether it stood as it was read, and the item."""
        names = {"#generation": "generation", "#this": _name(generation)}
        values = {":latest": latest, ":token": token}
        if full:
            names["#next"] = _name(generation + 1)
            values |= {":now": now, ":next": generation + 1}
            moves = ["#generation = :next", "#next = if_not_exists(#next, :now) + :token"]
            begins = "attribute_not_exists(#next) AND (attribute_not_exists(#generation) OR #this < :now)"
            condition = f"(#next BETWEEN :now AND :latest) OR ({begins})"
            rest = " REMOVE #this"
        else:
            moves, condition, rest = ["#this = #this + :token"], "#this <= :latest", ""
            del names["#generation"]
        for number, (name, value) in enumerate(sets.items()):
            names[f"#set{number}"], values[f":set{number}"] = name, value
            moves.append(f"#set{number} = :set{number}")
        if count:
            names |= {"#count": count, "#pk": "pk"}
            values[":one"] = 1
            rest += " ADD #count :one"
            condition = f"attribute_exists(#pk) AND ({condition})"
        return self._dynamo.update(
            self._table,
            pk,
            sk,
            UpdateExpression=f"SET {', '.join(moves)}{rest}",
            ConditionExpression=condition,
            ExpressionAttributeNames=names,
            ExpressionAttributeValues={name: {"N": str(value)} for name, value in values.items()},
        )


def _name(generation: int) -> str:
    return f"full_at_{generation}"


def _seconds(microseconds: int) -> int:
    return ceil(microseconds / _MICROSECONDS)
