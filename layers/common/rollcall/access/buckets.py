"""Token buckets in DynamoDB. All instances share them, and they are exact however many requests come at once.

A bucket is stored as the moment at which it will be full again. To take a token, a request moves that moment later by
the time in which one token is added. It may do so if the new moment is no further away than the time in which an empty
bucket fills; else no token is left.

If the bucket is full already, the moment lies in the past and the request has to count from now. DynamoDB's
expressions have no `max` for that, so the moment has generations. A request that finds the bucket full writes to the
next generation. The first such request begins the generation at now, and all others that found the same full bucket add
to it. Each request needs one conditional write.
"""

import time
from collections.abc import Callable, Mapping
from math import ceil

from rollcall.core.limits import Allowance, Limit, TooFast
from rollcall.stack.dynamo import Dynamo, Item, Unavailable

_MICROSECONDS = 1_000_000
_ATTEMPTS = 20


class NoBucket(Exception):
    """The item that holds the bucket no longer exists."""


class Buckets:
    """The buckets in a table. `clock` gives seconds, as `time.time`."""

    def __init__(self, dynamo: Dynamo, table: str, clock: Callable[[], float] = time.time) -> None:
        self._dynamo = dynamo
        self._table = table
        self._clock = clock

    def take_for(self, pk: str, limit: Limit) -> Allowance:
        """Take a token from a bucket that is an item of its own; raises `TooFast`.

        The item expires once the bucket is full again. One read unit, and one write unit if a token is left.
        """
        now = self._now()
        found = self._dynamo.find(self._table, pk) or {}
        kept_until = int(self._clock() + limit.burst / limit.rate) + 60
        return self._take(pk, "-", found, limit, now, {"expires_at": kept_until})

    def take(self, found: Item, limit: Limit, now: int, count: str) -> Allowance:
        """Take a token from the bucket in `found`, an item that the caller has just read.

        Also adds 1 to the item's attribute `count`. `now` is in microseconds and was taken before the item was read.
        Raises `TooFast`, or `NoBucket` if the item was deleted in the meantime. One write unit if a token is left.
        """
        return self._take(found["pk"]["S"], found["sk"]["S"], found, limit, now, {}, count)

    def _now(self) -> int:
        return int(self._clock() * _MICROSECONDS)

    def _take(
        self, pk: str, sk: str, found: Item, limit: Limit, now: int, sets: Mapping[str, int], count: str = ""
    ) -> Allowance:
        token = max(1, round(_MICROSECONDS / limit.rate))
        for _ in range(_ATTEMPTS):
            # Taking the last token moves the moment from here to where an empty bucket would be full.
            latest = now + (limit.burst - 1) * token
            generation = int(found.get("generation", {"N": "0"})["N"])
            full_at = int(found.get(_name(generation), {"N": "0"})["N"])
            if full_at > latest:
                raise TooFast(Allowance(limit, 0, _seconds(full_at - latest)))
            full = full_at < now
            written, found = self._write(pk, sk, generation, now, latest, token, full, sets, count)
            if written:
                full_at = int(found[_name(generation + full)]["N"])
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
        """Move the moment later if the token is still there; returns whether it was, and what is stored."""
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
