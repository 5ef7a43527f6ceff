"""Sample events of a made-up product: users join, come back less and less, and like some features better."""

import random
import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

COUNTRIES = ("UA", "PL", "DE", "SE", "NL", "US", "BR")
# How often an event type is seen, and what comes with it.
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
# The chance that a user is active: on the day they join, and at least ever after.
FIRST_DAY_ACTIVITY = 0.9
LASTING_ACTIVITY = 0.15
HALVING_DAYS = 3.0


def generate(rows: int, users: int, days: int, last_day: date, seed: int) -> list[dict[str, Any]]:
    """`rows` raw events of at most `users` users over the `days` days up to `last_day` (UTC), in time order.

    The same arguments always make the same events.
    """
    rng = random.Random(seed)  # noqa: S311 - made-up data
    first_day = last_day - timedelta(days=days - 1)
    # Most users were there before the first day; the others join one by one.
    joined = [max(0, rng.randrange(-days, days)) for _ in range(users)]
    active_days = [
        (day, user)
        for user in range(users)
        for day in range(joined[user], days)
        if rng.random() < _chance(day - joined[user])
    ]
    if not active_days:
        active_days = [(0, 0)]
    events = [_event(rng, first_day, *active_days[_nth(rng, row, len(active_days))]) for row in range(rows)]
    return sorted(events, key=lambda event: (event["occurred_at"], event["event_id"]))


def _chance(days_since_joining: int) -> float:
    fading: float = 0.5 ** (days_since_joining / HALVING_DAYS)
    return max(LASTING_ACTIVITY, FIRST_DAY_ACTIVITY * fading)


def _nth(rng: random.Random, row: int, places: int) -> int:
    """Every active day gets an event while there are enough, the rest fall at random."""
    return row if row < places else rng.randrange(places)


def _event(rng: random.Random, first_day: date, day: int, user: int) -> dict[str, Any]:
    midnight = datetime.combine(first_day + timedelta(days=day), time(), UTC)
    event_type = _weighted(rng, EVENT_TYPES)
    properties: dict[str, Any] = {
        "country": COUNTRIES[user % len(COUNTRIES)],
        "session_id": f"{rng.getrandbits(32):08x}",
    }
    if event_type in ("view_item", "add_to_cart", "purchase"):
        properties |= {"item_id": f"SKU{rng.randrange(1000, 10000)}", "price": round(rng.uniform(3, 200), 2)}
    return {
        "event_id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
        "occurred_at": (midnight + timedelta(seconds=rng.randrange(86_400))).isoformat(),
        "user_id": str(user + 1),
        "event_type": event_type,
        "properties": properties,
    }


def _weighted(rng: random.Random, weights: dict[str, int]) -> str:
    names: Sequence[str] = list(weights)
    return rng.choices(names, weights=list(weights.values()))[0]
