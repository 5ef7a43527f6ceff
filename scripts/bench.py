"""What the write path costs, by the kind of call: counted from the requests, as AWS bills them.

Write units: one for each KB of an item that is inserted or updated (a refused condition included), the same again in
an index that the item is in (twice for a changed index key), twice as many in a transaction. Read units: one for each
4 KB of an item, half where eventually consistent. What an emulator reports is not looked at.
"""

import json
import math
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rollcall.batch import Batch, cut
from rollcall.claims import Claims
from rollcall.days import Calendar
from rollcall.dynamo import Dynamo
from rollcall.events import Event, parse_event
from rollcall.keys import Tables

EVENT_TYPES = 20
FIRST_MOMENT = datetime(2025, 8, 1, tzinfo=UTC)
RECEIVED_AT = "2025-09-01T00:00:00.000Z"
EVENTS_PER_BATCH = 500
KB = 1024
# Of new user-days among events: what the target for requests is set at.
TARGET_SHARE = 0.5


@dataclass(frozen=True)
class Target:
    """A figure and what it is held to."""

    what: str
    figure: float
    bound: float
    at_least: bool = False
    """Whether more is better."""

    @property
    def met(self) -> bool:
        """Whether the figure is within the bound."""
        return self.figure >= self.bound if self.at_least else self.figure <= self.bound

    def figures(self) -> dict[str, Any]:
        """All of it as data."""
        return {**asdict(self), "met": self.met}


@dataclass(frozen=True)
class WritePath:
    """What storing and counting some events took."""

    events: int
    new_user_days: int
    new_users: int
    write_units: int
    read_units: float
    requests: dict[str, int]
    """By operation."""
    seconds: float

    @property
    def floor(self) -> int:
        """Write units that no design with these tables can do without."""
        return self.events + self.new_user_days + 2 * self.new_users

    @property
    def units_over_floor(self) -> float:
        """Write units as a multiple of the floor."""
        return self.write_units / self.floor

    @property
    def requests_per_thousand_events(self) -> float:
        """Requests to DynamoDB for each 1,000 events."""
        return 1000 * sum(self.requests.values()) / self.events

    @property
    def new_user_day_share(self) -> float:
        """New (day, user) pairs for each event."""
        return self.new_user_days / self.events

    def targets(self, share: float | None) -> list[Target]:
        """What it is held to; requests only where half of the events were asked to bring a new (day, user) pair."""
        targets = [Target("write units ÷ floor", self.units_over_floor, 1.05)]
        if share == TARGET_SHARE:
            targets.insert(0, Target("requests per 1,000 events", self.requests_per_thousand_events, 75))
        return targets

    def figures(self, share: float | None) -> dict[str, Any]:
        """All of it as data."""
        return {
            **asdict(self),
            "units_over_floor": self.units_over_floor,
            "requests_per_1000_events": self.requests_per_thousand_events,
            "new_user_day_share": self.new_user_day_share,
            "targets": [target.figures() for target in self.targets(share)],
        }


class Meter:
    """Counts the requests of a client and the units that AWS bills for them."""

    def __init__(self, client: Any, unmetered: Any) -> None:
        self.requests: Counter[str] = Counter()
        self.write_units = 0
        self.read_units = 0.0
        self._reader = unmetered
        # As it goes over the wire, whoever made it.
        client.meta.events.register_last("before-call.dynamodb", self._before)
        client.meta.events.register("after-call.dynamodb", self._after)
        self._params: Any = None

    def _before(self, params: Any, **_: Any) -> None:
        self._params = json.loads(params["body"])

    def _after(self, model: Any, parsed: Any, **_: Any) -> None:
        self.requests[model.name] += 1
        getattr(self, f"_{model.name}")(self._params, parsed)

    def _GetItem(self, params: Any, parsed: Any) -> None:  # noqa: N802
        self.read_units += _read_units(parsed.get("Item", {}), params.get("ConsistentRead", False))

    def _BatchGetItem(self, params: Any, parsed: Any) -> None:  # noqa: N802
        for table, asked in params["RequestItems"].items():
            consistent = asked.get("ConsistentRead", False)
            found = parsed["Responses"].get(table, [])
            self.read_units += sum(_read_units(item, consistent) for item in found)
            self.read_units += (len(asked["Keys"]) - len(found)) * _read_units({}, consistent)

    def _BatchExecuteStatement(self, params: Any, parsed: Any) -> None:  # noqa: N802
        for statement, response in zip(params["Statements"], parsed["Responses"], strict=True):
            size = sum(_size(value) for value in statement["Parameters"])
            written = "Error" not in response
            # Names are part of an item; in a statement they stand between quotes.
            size += sum(len(word) for word in statement["Statement"].split("'")[1::2])
            units = math.ceil(size / KB)
            if written and "first_day" in statement["Statement"]:
                units += 1 if statement["Statement"].startswith("INSERT") else 2
            self.write_units += units

    def _TransactWriteItems(self, params: Any, _parsed: Any) -> None:  # noqa: N802
        for write in params["TransactItems"]:
            if "Put" in write:
                item = write["Put"]["Item"]
            else:
                update = write["Update"]
                item = self._reader.get_item(TableName=update["TableName"], Key=update["Key"])["Item"]
            self.write_units += 2 * math.ceil(_item_size(item) / KB)


def write_path(client: Any, unmetered: Any, tables: Tables, events: int, users: int, days: int) -> WritePath:
    """Store and count made-up events in time order with the consumer's own code, on the tables of a client.

    `unmetered` is another client of the same tables, for the meter's own reads.
    """
    batches = list(_batches(events, users, days))
    stored = [event for batch in batches for event in batch.events]
    pairs = {(event.occurred_at[:10], event.user_id) for event in stored}
    claims = Claims(Dynamo(client), tables, Calendar("UTC"), _NoDeadLetters())
    meter = Meter(client, unmetered)
    started = time.perf_counter()
    for batch in batches:
        claims.apply(batch)
    return WritePath(
        events=len(stored),
        new_user_days=len(pairs),
        new_users=len({user for _, user in pairs}),
        write_units=meter.write_units,
        read_units=meter.read_units,
        requests=dict(sorted(meter.requests.items())),
        seconds=time.perf_counter() - started,
    )


def users_for(events: int, days: int, share: float) -> int:
    """How many users make about `share` of the events bring a new (day, user) pair, drawn evenly as they are."""
    a_day = events / days

    def expected(users: int) -> float:
        return float(users * (1 - (1 - 1 / users) ** a_day) / a_day)

    least, most = 1, 2
    while expected(most) < share and most < events * 1_000:
        most *= 2
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (middle, most) if expected(middle) < share else (least, middle)
    return most if abs(expected(most) - share) < abs(expected(least) - share) else least


class _NoDeadLetters:
    def send(self, _batch: Batch, reason: str) -> None:
        raise AssertionError(f"a made-up event cannot be stored: {reason}")


def _batches(events: int, users: int, days: int) -> Iterator[Batch]:
    made = _events(events, users, days)
    for start in range(0, events, EVENTS_PER_BATCH):
        for batch, _ in cut(made[start : start + EVENTS_PER_BATCH], "bench", RECEIVED_AT):
            yield batch


def _events(events: int, users: int, days: int) -> Sequence[Event]:
    rng = random.Random(11)  # noqa: S311 - made-up data
    now = FIRST_MOMENT + timedelta(days=days)
    moments = sorted(rng.randrange(days * 86_400) for _ in range(events))
    return [
        parse_event(
            {
                "event_id": f"{rng.getrandbits(128):032x}",
                "occurred_at": (FIRST_MOMENT + timedelta(seconds=moment)).isoformat(),
                "user_id": rng.randrange(users),
                "event_type": f"event_type_{rng.randrange(EVENT_TYPES)}",
                "properties": {
                    "country": "UA",
                    "session_id": f"{rng.getrandbits(32):08x}",
                    "price": rng.randrange(100),
                },
            },
            now,
        )
        for moment in moments
    ]


def _read_units(item: dict[str, Any], consistent: bool) -> float:
    return max(1, math.ceil(_item_size(item) / (4 * KB))) * (1 if consistent else 0.5)


def _item_size(item: dict[str, Any]) -> int:
    return sum(len(name.encode()) + _size(value) for name, value in item.items())


def _size(value: dict[str, str]) -> int:
    ((kind, text),) = value.items()
    # A number takes a byte for each two digits, and one besides.
    return len(text) // 2 + 2 if kind == "N" else len(text.encode())
