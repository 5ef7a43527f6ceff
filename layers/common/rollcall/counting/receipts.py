"""Receipts: what the consumer did with each batch."""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from rollcall.core.batch import Batch
from rollcall.core.days import LONGEST_WAY_DAYS
from rollcall.core.events import Event, is_profile_call
from rollcall.core.numbers import with_canonical_numbers
from rollcall.core.projects import Project
from rollcall.stack.dynamo import Dynamo, Item
from rollcall.stack.keys import PENDING, REFUSED, Tables, batch_of_receipt, event_id_of, event_key, receipt_key

PENDING_SECONDS = LONGEST_WAY_DAYS * 86_400
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 0.5
# The attribute of a receipt that has the number of inserted events that are profile calls, where there are some.
PROFILES = "profiles"

_DIGIT = re.compile("[0-9]")
_BATCH_ID = re.compile(r"[0-9a-f]{32}")


class Receipt(NamedTuple):
    """The outcome of a batch. Each received event is either inserted, a duplicate, a conflict or refused."""

    received: int
    inserted: int
    """Profile calls among them are in no counter."""
    duplicates: int
    """Events that another batch had stored with the same content, or that this batch repeats."""
    conflicts: int
    """Events whose id an event with other content took before, or earlier in this batch. The first one stays."""
    refused: int
    """Events that can never be stored. The consumer sent them to the dead-letter queue."""

    @classmethod
    def of_item(cls, item: Item) -> "Receipt":
        """The receipt in a stored first part."""
        return cls(*(int(item[name]["N"]) for name in cls._fields))


def is_last(part: Item) -> bool:
    """Whether a part of a receipt is the last one. If it is, the whole batch is counted."""
    return "applied" in part and part["applied"] == part["total"]


class Standing(NamedTuple):
    """What is stored of an event: the batch that owns it, its fingerprint, and when that batch was received."""

    batch: str
    fingerprint: str
    received_at: str


def read_standing(dynamo: Dynamo, events_table: str, project: Project, event_ids: Iterable[str]) -> dict[str, Standing]:
    """What is stored of each event of a project that is, by id; one read unit for each 4 KB of an event."""
    items = dynamo.get(
        events_table,
        [{"event_id": {"S": event_key(project, event_id)}} for event_id in event_ids],
        ["event_id", *Standing._fields],
        consistent=True,
    )
    return {
        event_id_of(project, item["event_id"]["S"]): Standing(*(item[field]["S"] for field in Standing._fields))
        for item in items
    }


def told_otherwise(dynamo: Dynamo, events_table: str, project: Project, events: Iterable[Event]) -> set[Event]:
    """Those of some events that are stored with equal numbers in another form, and else the same content.

    Events that were stored before equal numbers were one text may have 100.0 where an event has 100 now. One read unit
    for each 4 KB of each event whose properties hold a digit. The events differ from the stored ones in fingerprint.
    """
    suspects = [event for event in events if _DIGIT.search(event.properties)]
    event_ids = dict.fromkeys(event.event_id for event in suspects)
    keys = [{"event_id": {"S": event_key(project, event_id)}} for event_id in event_ids]
    items = dynamo.get(events_table, keys, Event._fields, consistent=True)
    stored = {_in_one_form(stored_event(project, item)) for item in items}
    return {event for event in suspects if _in_one_form(event) in stored}


def stored_event(project: Project, item: Item) -> Event:
    """The event of a project in an item of the events table."""
    event = Event(*(item[field]["S"] for field in Event._fields))
    return event._replace(event_id=event_id_of(project, event.event_id))


def _in_one_form(event: Event) -> Event:
    return event._replace(properties=with_canonical_numbers(event.properties))


State = Literal["counted", "pending", "stored"]
"""Whether an event is in the numbers, will be, or never is because it is a profile call."""


class Trace(NamedTuple):
    """What is told of a stored event: neither its user nor its properties."""

    event_type: str
    occurred_at: str
    source: str
    received_at: str
    state: State


class UnknownBatch(LookupError):
    """No batch of this name was taken in, or its mark expired after `LONGEST_WAY_DAYS` days without a receipt."""


class Outcome(NamedTuple):
    """The ids of the events of some batches, by outcome. Refused events are in none of the lists."""

    inserted: list[str]
    duplicates: list[str]
    """Events that were stored before with the same content."""
    conflicts: list[str]
    """Events whose id was taken before by an event with other content. The first one stays."""


class Receipts:
    """Marks batches as on their way to the consumer, and reads the receipts that the consumer puts.

    `clock` gives and `sleep` takes seconds, as `time.time` and `time.sleep`.
    """

    def __init__(
        self,
        dynamo: Dynamo,
        tables: Tables,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._dynamo = dynamo
        self._tables = tables
        self._clock = clock
        self._sleep = sleep

    def announce(self, project: Project, batch_ids: Iterable[str]) -> None:
        """Mark batches of a project as on their way to the consumer; one write unit each."""
        expires_at = str(int(self._clock()) + PENDING_SECONDS)
        self._dynamo.put(
            self._tables.stats,
            [
                {"pk": {"S": receipt_key(project, batch_id)}, "sk": {"S": PENDING}, "expires_at": {"N": expires_at}}
                for batch_id in dict.fromkeys(batch_ids)
            ],
        )

    def find(self, project: Project, batch_id: str) -> Receipt | None:
        """The receipt of a project's batch, or None while it is on its way; raises `UnknownBatch`.

        Usually one read unit.
        """
        if not _BATCH_ID.fullmatch(batch_id):
            raise UnknownBatch(batch_id)
        items = {item["sk"]["S"]: item for item in _read_parts(self._dynamo, self._tables.stats, project, batch_id)}
        if not items:
            raise UnknownBatch(batch_id)
        refused = items.pop(REFUSED, None)
        items.pop(PENDING, None)
        if any(map(is_last, items.values())):
            receipt = items["0"]
        elif refused and not items:
            receipt = refused
        else:
            return None
        return Receipt.of_item(receipt)

    def trace(self, project: Project, event_id: str) -> Trace | None:
        """What is stored under an id in its canonical form, or None.

        A read unit for each 4 KB of the event, and usually one more.
        """
        fields = [*Trace._fields[:-1], "batch"]
        key = {"event_id": {"S": event_key(project, event_id)}}
        item = self._dynamo.find_by(self._tables.events, key, fields)
        if item is None:
            return None
        found = {field: item[field]["S"] for field in fields}
        batch_id = found.pop("batch")
        # The last part says that all events with the batch's name are counted, by the consumer or by a repair.
        last = next(filter(is_last, _read_parts(self._dynamo, self._tables.stats, project, batch_id)), None)
        # Before there were profile calls, their types were counted.
        if is_profile_call(found["event_type"]) and (last is None or PROFILES in last):
            state: State = "stored"
        else:
            state = "counted" if last else "pending"
        return Trace(**found, state=state)

    def wait(self, project: Project, batch_ids: Sequence[str], seconds: float) -> bool:
        """Wait up to `seconds` until all batches have receipts; returns whether they do. Raises `UnknownBatch`."""
        deadline = self._clock() + seconds
        pause = FIRST_PAUSE_SECONDS
        waiting = list(batch_ids)
        while True:
            waiting = [batch_id for batch_id in waiting if self.find(project, batch_id) is None]
            left = deadline - self._clock()
            if not waiting or left <= 0:
                return not waiting
            self._sleep(min(pause, left))
            pause = min(LONGEST_PAUSE_SECONDS, 2 * pause)

    def outcome(self, project: Project, batches: Sequence[Batch]) -> Outcome:
        """The outcome of each event of a project's batches that have receipts; one read unit for each 4 KB of an event.

        An event that an earlier request had stored is a duplicate, also where that request made the same batch.
        """
        event_ids = dict.fromkeys(event.event_id for batch in batches for event in batch.events)
        standing = read_standing(self._dynamo, self._tables.events, project, event_ids)
        found = Outcome([], [], [])
        new: dict[str, None] = {}
        others: list[Event] = []
        for batch in batches:
            for event in batch.events:
                # An event that is not stored was refused, and is in the dead-letter queue.
                stored = standing.get(event.event_id)
                if stored is None:
                    continue
                if stored.fingerprint != event.fingerprint():
                    others.append(event)
                elif (stored.batch, stored.received_at) != (batch.batch_id, batch.received_at) or event.event_id in new:
                    # A body that is sent again makes the same batch. The event has the time of the one that stored it.
                    found.duplicates.append(event.event_id)
                else:
                    new[event.event_id] = None
        found.inserted.extend(new)
        same = told_otherwise(self._dynamo, self._tables.events, project, others)
        for event in others:
            (found.duplicates if event in same else found.conflicts).append(event.event_id)
        return found


def finished(dynamo: Dynamo, stats_table: str, project: Project, batch_ids: Sequence[str]) -> set[str]:
    """Those of a project's batches whose counting is complete.

    One read unit each, one more for a receipt of several parts.
    """
    keys = [{"pk": {"S": receipt_key(project, batch_id)}, "sk": {"S": "0"}} for batch_id in batch_ids]
    attributes = ["pk", "applied", "total"]
    firsts = dynamo.get(stats_table, keys, attributes, consistent=True)
    return {
        _batch_of(project, first)
        for first in firsts
        if _is_counted(dynamo, stats_table, project, first, consistent=True)
    }


def receipts_of(dynamo: Dynamo, stats_table: str, project: Project, batch_ids: Sequence[str]) -> dict[str, Receipt]:
    """The receipts of those of a project's batches that have one, by batch id.

    The reads are eventually consistent. One read unit a batch, half a unit more for a receipt of several parts.
    """
    keys = [
        {"pk": {"S": receipt_key(project, batch_id)}, "sk": {"S": sk}}
        for batch_id in batch_ids
        for sk in ("0", REFUSED)
    ]
    parts: dict[str, dict[str, Item]] = {}
    for item in dynamo.get(stats_table, keys):
        parts.setdefault(_batch_of(project, item), {})[item["sk"]["S"]] = item
    found = {}
    for batch_id, items in parts.items():
        if "0" not in items:
            found[batch_id] = Receipt.of_item(items[REFUSED])
        elif _is_counted(dynamo, stats_table, project, items["0"], consistent=False):
            found[batch_id] = Receipt.of_item(items["0"])
    return found


def _is_counted(dynamo: Dynamo, stats_table: str, project: Project, first: Item, *, consistent: bool) -> bool:
    """Whether the whole batch is counted. Reads the other parts of its receipt if `first` is not the last one."""
    return is_last(first) or any(
        map(is_last, _read_parts(dynamo, stats_table, project, _batch_of(project, first), consistent))
    )


def _batch_of(project: Project, part: Item) -> str:
    return batch_of_receipt(project, part["pk"]["S"])


def _read_parts(
    dynamo: Dynamo, stats_table: str, project: Project, batch_id: str, consistent: bool = True
) -> Iterator[Item]:
    """The parts of a batch's receipt, and the items that mark the batch as `PENDING` or `REFUSED`."""
    pages = dynamo.query(
        TableName=stats_table,
        KeyConditionExpression="pk = :batch",
        ExpressionAttributeValues={":batch": {"S": receipt_key(project, batch_id)}},
        ConsistentRead=consistent,
    )
    return (item for page in pages for item in page)
