"""Measures how many batches a second one counter shard takes, where transactions conflict as they do on AWS."""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

from rollcall.core.batch import make_batch
from rollcall.core.days import Calendar
from rollcall.core.events import Event
from rollcall.core.projects import DEFAULT
from rollcall.counting.claims import Claims
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.keys import Tables
from scripts.bench.load import RECEIVED_AT, NoDeadLetters
from scripts.bench.virtual import Client, Clock, stack_tables

CONSUMERS = (1, 2, 5, 10, 20, 50)
SECONDS = 10
PATIENCE_MILLISECONDS = 60_000


@dataclass(frozen=True)
class Shard:
    """What some consumers get into one shard."""

    consumers: int
    batches_per_second: float
    conflicts_per_batch: float

    def figures(self) -> dict[str, Any]:
        """All figures as data for JSON."""
        return asdict(self)


def shards(consumers: Sequence[int] = CONSUMERS, seconds: float = SECONDS) -> list[Shard]:
    """Have each number of consumers apply batches of one event, one after the other, to one shard of one day."""
    return [_measure(number, seconds) for number in consumers]


def _measure(consumers: int, seconds: float) -> Shard:
    # The pauses of `Dynamo` are random. Here they are the same each time.
    random.seed(1)
    clock = Clock()
    client = Client(clock, stack_tables())
    applied = [0] * consumers

    def consume(consumer: int) -> None:
        dynamo = Dynamo(cast(Any, client), clock.sleep)
        tables = Tables("EventsTable", "StatsTable", user_shards=1, counter_shards=1)
        claims = Claims(dynamo, tables, lambda _: Calendar("UTC"), NoDeadLetters())
        with dynamo.patient(lambda: PATIENCE_MILLISECONDS):
            while clock.now < seconds:
                name = f"{consumer}-{clock.now}"
                event = Event(name, "2025-08-01T12:00:00Z", f"user-{consumer}", "open", "{}")
                claims.apply(make_batch(DEFAULT, [event], "bench", RECEIVED_AT))
                applied[consumer] += clock.now < seconds

    clock.run([lambda consumer=consumer: consume(consumer) for consumer in range(consumers)])  # type: ignore[misc]
    answers = client.model.answers
    return Shard(consumers, sum(applied) / seconds, answers["conflicts"] / answers["transactions"])
