"""Measures the requests and units of the write path, and those of a design with one request for each write."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rollcall.core.batch import Batch
from rollcall.core.days import Calendar
from rollcall.counting.claims import Claims
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.keys import Tables
from scripts.bench.calling import dynamodb
from scripts.bench.load import LiteralDesign, NoDeadLetters, batches, made_events
from scripts.bench.meter import Meter
from scripts.bench.report import Target
from scripts.local.ministack import MiniStack

# The share of events with a new user-day for which the target for requests is set.
TARGET_SHARE = 0.5


@dataclass(frozen=True)
class WritePath:
    """The measurements of storing and counting events."""

    events: int
    new_user_days: int
    new_users: int
    write_units: int
    read_units: float
    requests: dict[str, int]
    """The number of requests by operation."""
    cpu_microseconds: float
    """CPU microseconds an event of the process that stores the events, network calls included."""

    @property
    def floor(self) -> int:
        """The least write units that any design with these tables needs."""
        return self.events + self.new_user_days + 2 * self.new_users

    @property
    def units_over_floor(self) -> float:
        """Write units as a multiple of the floor."""
        return self.write_units / self.floor

    @property
    def write_units_per_thousand_events(self) -> float:
        """Write units for each 1,000 events."""
        return 1000 * self.write_units / self.events

    @property
    def requests_per_thousand_events(self) -> float:
        """Requests to DynamoDB for each 1,000 events."""
        return 1000 * sum(self.requests.values()) / self.events

    @property
    def new_user_day_share(self) -> float:
        """New (day, user) pairs for each event."""
        return self.new_user_days / self.events

    def figures(self) -> dict[str, Any]:
        """All figures as data for JSON."""
        return {
            **asdict(self),
            "units_over_floor": self.units_over_floor,
            "write_units_per_1000_events": self.write_units_per_thousand_events,
            "requests_per_1000_events": self.requests_per_thousand_events,
            "new_user_day_share": self.new_user_day_share,
        }


@dataclass(frozen=True)
class Writes:
    """The measurements of the consumer and of the literal design, which gets the first of the same events."""

    ours: WritePath
    literal: WritePath

    def targets(self, share: float | None) -> list[Target]:
        """The targets for the consumer. Requests have a target only if `share` is `TARGET_SHARE`."""
        if share == TARGET_SHARE:
            return [Target("requests to DynamoDB per 1,000 events", self.ours.requests_per_thousand_events, 75)]
        return [Target("write units ÷ floor", self.ours.units_over_floor, 1.05)]

    def figures(self) -> dict[str, Any]:
        """All figures as data for JSON."""
        return {"ours": self.ours.figures(), "literal": self.literal.figures()}


def writes(stack: MiniStack, tables: Sequence[Tables], events: int, users: int, days: int) -> Writes:
    """Store and count made-up events, in time order, with the consumer's own code and with the literal design.

    The literal design gets the first tenth of the events and an unchanged boto3 client. `tables` are those of two
    stacks, the first for the consumer and the second for the literal design.
    """
    made = list(batches(made_events(events, users, days)))
    first = made[: max(1, len(made) // 10)]
    calendar = Calendar("UTC")
    ours, literal, reader = dynamodb(stack), stack.client("dynamodb"), stack.client("dynamodb")
    claims = Claims(Dynamo(ours), tables[0], lambda _: calendar, NoDeadLetters())
    design = LiteralDesign(literal, tables[1], calendar)
    return Writes(
        _measure(made, claims.apply, Meter(ours, reader), first_days=True),
        _measure(first, design.apply, Meter(literal, reader), first_days=False),
    )


def _measure(made: Sequence[Batch], apply: Callable[[Batch], Any], meter: Meter, *, first_days: bool) -> WritePath:
    started = time.process_time()
    for batch in made:
        apply(batch)
    took = time.process_time() - started - meter.seconds
    stored = [event for batch in made for event in batch.events]
    pairs = {(event.occurred_at[:10], event.user_id) for event in stored}
    return WritePath(
        events=len(stored),
        new_user_days=len(pairs),
        new_users=len({user for _, user in pairs}) if first_days else 0,
        write_units=meter.write_units,
        read_units=meter.read_units,
        requests=dict(sorted(meter.requests.items())),
        cpu_microseconds=1_000_000 * took / len(stored),
    )


def users_for(events: int, days: int, share: float) -> int:
    """The number of users with which about `share` of the events have a new (day, user) pair."""
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
