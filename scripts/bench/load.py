"""Made-up events for the benchmarks, and a design with one request for each write to compare the consumer with."""

import random
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from rollcall.core.batch import Batch, cut
from rollcall.core.days import Calendar
from rollcall.core.events import Event, parse_event
from rollcall.core.projects import DEFAULT
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.keys import Tables, counts_key, shard_of, type_attribute, users_key

EVENT_TYPES = 20
EVENTS_PER_BATCH = 500
FIRST_MOMENT = datetime(2025, 8, 1, tzinfo=UTC)
DAY_SECONDS = 86_400
RECEIVED_AT = "2025-09-01T00:00:00.000Z"


class NoDeadLetters:
    """A dead-letter queue for made-up events, which can all be stored."""

    def send(self, _batch: Batch, reason: str) -> None:
        """Raise, because an event that cannot be stored means a bug."""
        raise AssertionError(f"a made-up event cannot be stored: {reason}")


class Uncollected(Dynamo):
    """Skips writes of items that a benchmark does not read, so that a table fills faster.

    Does not run statements that contain one of the texts `left_out`, the name of a table or an attribute. Reports such
    statements as successful.
    """

    def __init__(self, client: Any, *left_out: str) -> None:
        super().__init__(client)
        self._left_out = left_out

    def execute(self, statement: str, parameters: Sequence[Sequence[Any]]) -> tuple[dict[int, str], dict[int, str]]:
        """Run the statement, or report success without running it."""
        if any(name in statement for name in self._left_out):
            return {}, {}
        return super().execute(statement, parameters)


class LiteralDesign:
    """Stores and counts events with one request for each write.

    Makes a conditional put for each event, one for each new user-day, and an update for each counter. The design is
    given for free which user-days are new.
    """

    def __init__(
        self, client: Any, tables: Tables, calendar: Calendar, known: Collection[tuple[str, str]] = ()
    ) -> None:
        self._client = client
        self._tables = tables
        self._calendar = calendar
        self._known = set(known)

    def apply(self, batch: Batch) -> int:
        """Store and count a batch; returns the number of its events."""
        tables = self._tables
        for event in batch.events:
            day = self._calendar.day_of(event.occurred_at)
            item = {name: {"S": text} for name, text in event._asdict().items()}
            self._client.put_item(
                TableName=tables.events,
                Item={**item, "received_at": {"S": batch.received_at}, "source": {"S": batch.source}},
                ConditionExpression="attribute_not_exists(event_id)",
            )
            if (day, event.user_id) not in self._known:
                self._known.add((day, event.user_id))
                users = users_key(DEFAULT, day, shard_of(event.user_id, tables.user_shards))
                self._client.put_item(
                    TableName=tables.stats,
                    Item={"pk": {"S": users}, "sk": {"S": event.user_id}},
                    ConditionExpression="attribute_not_exists(pk)",
                )
            self._client.update_item(
                TableName=tables.stats,
                Key={"pk": {"S": counts_key(DEFAULT, 0)}, "sk": {"S": day}},
                UpdateExpression="ADD #type :one",
                ExpressionAttributeNames={"#type": type_attribute(event.event_type)},
                ExpressionAttributeValues={":one": {"N": "1"}},
            )
        return len(batch.events)


def batches(events: Iterable[Event], most: int = EVENTS_PER_BATCH) -> Iterator[Batch]:
    """Cut events, in the given order, into batches of at most `most` events."""
    iterator = iter(events)
    while some := list(islice(iterator, most)):
        yield from (batch for batch, _ in cut(DEFAULT, some, "bench", RECEIVED_AT))


def made_events(events: int, users: int, days: int) -> Iterator[Event]:
    """Made-up events in time order, spread evenly over the users and over the days from `FIRST_MOMENT` on."""
    now = FIRST_MOMENT + timedelta(days=days)
    for raw in made_raws(events, users, days):
        yield parse_event(raw, now)


def made_raws(events: int, users: int, days: int) -> Iterator[dict[str, Any]]:
    """The events of `made_events` as clients send them."""
    rng = random.Random(11)  # noqa: S311 - made-up data
    for second in sorted(rng.randrange(days * DAY_SECONDS) for _ in range(events)):
        yield made_raw(rng, rng.randrange(users), second)


def made_raw(rng: random.Random, user_id: str | int, second: int) -> dict[str, Any]:
    """A made-up event as a client sends it; it occurs `second` seconds after `FIRST_MOMENT`."""
    return {
        "event_id": str(uuid.UUID(int=rng.getrandbits(128))),
        "occurred_at": f"{FIRST_MOMENT + timedelta(seconds=second):%Y-%m-%dT%H:%M:%SZ}",
        "user_id": user_id,
        "event_type": f"event_type_{rng.randrange(EVENT_TYPES)}",
        "properties": {
            "country": "UA",
            "session_id": f"{rng.getrandbits(32):08x}",
            "price": rng.randrange(100),
        },
    }
