"""Sample events of a made-up product: users join, come back less and less often, and use some features more."""

import csv
import gzip
import json
import random
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import date, datetime, timedelta
from io import TextIOWrapper
from itertools import accumulate, pairwise
from typing import IO, Any

from rollcall.core.days import Calendar

COUNTRIES = ("UA", "PL", "DE", "SE", "NL", "US", "BR")
# The relative frequency of each event type.
EVENT_TYPES = {
    "app_open": 30,
    "view_item": 24,
    "search": 16,
    "add_to_cart": 10,
    "login": 8,
    "share": 5,
    "purchase": 4,
    "logout": 3,
}
_TYPE_NAMES = list(EVENT_TYPES)
_TYPE_WEIGHTS = list(accumulate(EVENT_TYPES.values()))
# The probability that a user is active on the day of joining. Later it falls, but not below the second number.
FIRST_DAY_ACTIVITY = 0.9
LASTING_ACTIVITY = 0.15
HALVING_DAYS = 3.0
UTC_DAYS = Calendar("UTC")
COLUMNS = ("event_id", "occurred_at", "user_id", "event_type", "properties_json")


def generate(
    rows: int, users: int, days: int, last_day: date, seed: int, calendar: Calendar = UTC_DAYS
) -> list[dict[str, Any]]:
    """All events of `stream` in a list."""
    return list(stream(rows, users, days, last_day, seed, calendar))


def stream(
    rows: int, users: int, days: int, last_day: date, seed: int, calendar: Calendar = UTC_DAYS
) -> Iterator[dict[str, Any]]:
    """`rows` raw events of at most `users` users, over the `days` days that end with `last_day`, in time order.

    The same arguments always make the same events. Memory grows with `users`, not with `rows`.
    """
    first_day = last_day - timedelta(days=days - 1)
    # Different arguments make different ids. Else different events with the same id would be conflicts.
    name = f"{seed} {rows} {users} {days} {last_day}" + (calendar.name != "UTC") * f" {calendar.name}"
    # Most users were there before the first day; the others join one by one.
    rng = random.Random(f"{name} users")  # noqa: S311 - made-up data
    joined = [max(0, rng.randrange(-days, days)) for _ in range(users)]
    # A day's active users are drawn twice with the same seed, so that they need not be kept in memory.
    actives = list(accumulate((len(_active(name, joined, day)) for day in range(days)), initial=0))
    for day, (before, after) in enumerate(pairwise(actives)):
        # With this rounding, the days' rows add up to `rows`, and each active user gets an event if there are enough.
        count = rows * after // actives[-1] - rows * before // actives[-1] if actives[-1] else (day == 0) * rows
        of_day = (first_day + timedelta(days=day)).isoformat()
        start, seconds = calendar.start_of(of_day), calendar.seconds_of(of_day)
        rng = random.Random(f"{name} day {day}")  # noqa: S311 - made-up data
        yield from _day(rng, start, seconds, count, _active(name, joined, day) or [0])


def write(events: Iterable[dict[str, Any]], file: IO[bytes], name: str) -> None:
    """Write events in the format of a file's name: JSONL or CSV, gzip or plain.

    The same events always make the same bytes.
    """
    plain_name = name.removesuffix(".gz")
    with ExitStack() as stack:
        # Without a file name and a time in its header.
        packed = stack.enter_context(gzip.GzipFile("", "wb", 6, file, mtime=0)) if name.endswith(".gz") else file
        text = TextIOWrapper(packed, "utf-8", newline="")
        if plain_name.endswith((".jsonl", ".ndjson")):
            text.writelines(f"{json.dumps(event)}\n" for event in events)
        else:
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows([*list(event.values())[:4], json.dumps(event["properties"])] for event in events)
        # The caller closes the file.
        text.detach()


def _active(name: str, joined: list[int], day: int) -> list[int]:
    rng = random.Random(f"{name} active {day}")  # noqa: S311 - made-up data
    return [user for user, first in enumerate(joined) if rng.random() < _chance(day - first)]


def _chance(days_since_joining: int) -> float:
    if days_since_joining < 0:
        return 0.0
    fading: float = 0.5 ** (days_since_joining / HALVING_DAYS)
    return max(LASTING_ACTIVITY, FIRST_DAY_ACTIVITY * fading)


def _day(rng: random.Random, start: datetime, seconds: int, count: int, users: list[int]) -> Iterator[dict[str, Any]]:
    """`count` events of a day, in time order. Each user has at least one if `count` allows it."""
    unseen = users[:]
    rng.shuffle(unseen)
    left_of_day = 1.0
    for left in range(count, 0, -1):
        # Draws the earliest of `left` random moments in the rest of the day, so that no moments need sorting.
        left_of_day *= rng.random() ** (1 / left)
        moment = start + timedelta(seconds=min(seconds - 1, int(seconds * (1 - left_of_day))))
        new = rng.random() * left < len(unseen)
        yield _event(rng, moment, unseen.pop() if new else rng.choice(users))


def _event(rng: random.Random, moment: datetime, user: int) -> dict[str, Any]:
    (event_type,) = rng.choices(_TYPE_NAMES, cum_weights=_TYPE_WEIGHTS)
    properties: dict[str, Any] = {
        "country": COUNTRIES[user % len(COUNTRIES)],
        "session_id": f"{rng.getrandbits(32):08x}",
    }
    if event_type in ("view_item", "add_to_cart", "purchase"):
        properties |= {"item_id": f"SKU{rng.randrange(1000, 10000)}", "price": round(rng.uniform(3, 200), 2)}
    return {
        "event_id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
        "occurred_at": moment.isoformat(),
        "user_id": str(user + 1),
        "event_type": event_type,
        "properties": properties,
    }
