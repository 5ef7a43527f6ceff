"""The batch: the events of one queue message, under a content-addressed name."""

import base64
import binascii
import hashlib
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, NamedTuple

import msgpack

from rollcall.core.days import parse_day
from rollcall.core.events import MAX_EVENT_BYTES, Event
from rollcall.core.message_pack import BadMessagePack, unpack
from rollcall.core.projects import DEFAULT, BadProject, Project
from rollcall.core.strict_json import TooManyValues

MAX_BATCH_EVENTS = 500
MAX_ENCODED_BYTES = 200 * 1024
# As much as the most and largest events take. A message that expands to more, or holds more values, was not made by
# `encode`.
MAX_EXPANDED_BYTES = MAX_BATCH_EVENTS * (MAX_EVENT_BYTES + 64)
MAX_MESSAGE_VALUES = 6 + MAX_BATCH_EVENTS * (1 + len(Event._fields))
VERSION = 1
# A delivery beside its batch. One that expands to more, or holds more values, was not made by `encode`.
MAX_DELIVERY_BYTES = 4 * 1024
_MAX_DELIVERY_VALUES = 6 + 64
_MAX_COUNT = 10**9
_KEY_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
_DELIVERY_ID = re.compile(r"[0-9a-f]{32}")
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")


class Sender(NamedTuple):
    """Who brings events to a door."""

    source: str
    """The label under which the events are counted."""
    key_id: str | None = None
    """The API key in whose ledger they are; None for an account and for a file."""


class Delivery(NamedTuple):
    """What a message has besides its events of the request that brought them: a line of the sender's ledger.

    The first message of a request has the events of the request that make no batch; the others have only their own.
    """

    key_id: str
    delivery_id: str
    """The request's alone: a body that is sent again is another delivery of the same batches."""
    part: int
    """Which of the request's messages it is, from 0."""
    day: str
    """The day of receipt, in the project's timezone."""
    rejected: tuple[tuple[str, int], ...] = ()
    """The codes of rejected events, each with their number."""
    repeats: int = 0
    """The number of events that were dropped since they repeat another one of the request."""

    @property
    def has_own(self) -> bool:
        """Whether there are events that make no batch."""
        return bool(self.rejected or self.repeats)

    def of_part(self, part: int) -> "Delivery":
        """What another message of the request has."""
        return self if part == self.part else Delivery(self.key_id, self.delivery_id, part, self.day)


class Batch(NamedTuple):
    """Up to `MAX_BATCH_EVENTS` events of one project and source. The same of all three make the same `batch_id`."""

    project: Project
    batch_id: str
    source: str
    received_at: str
    """When a door took the events in: UTC, RFC 3339. `batch_id` does not depend on it."""
    events: tuple[Event, ...]
    delivery: Delivery | None = None
    """None where no ledger has the events. `batch_id` does not depend on it."""

    def age(self, now: datetime) -> timedelta:
        """The time since a door took the batch in. Zero if the door's clock is ahead or `received_at` is unreadable."""
        try:
            return max(timedelta(), now - datetime.fromisoformat(self.received_at))
        except (TypeError, ValueError):
            return timedelta()


class UndecodableBatch(ValueError):
    """A message body that is not a batch of this version. Delivering it again will not help."""


def make_batch(project: Project, events: Iterable[Event], source: str, received_at: str) -> Batch:
    """Make a batch. Its `batch_id` is the first 128 bits of the SHA-256 of source and events, in hex.

    The project is hashed too, unless it is the default one: batches of before there were projects keep their names.
    """
    kept = tuple(events)
    named = [] if project == DEFAULT else [project.name]
    digest = hashlib.sha256(msgpack.packb([source, kept, *named])).hexdigest()
    return Batch(project, digest[:32], source, received_at, kept)


def cut(
    project: Project, events: Sequence[Event], source: str, received_at: str, delivery: Delivery | None = None
) -> Iterator[tuple[Batch, str]]:
    """Cut events, in the given order, into batches; yields each batch with its message body.

    A batch has at most `MAX_BATCH_EVENTS` events. A body has at most `MAX_ENCODED_BYTES` bytes, unless a single event
    takes more; those of the delivery come on top. Neighbours that share an id stay in one batch unless they exceed it
    alone. The same events are always cut in the same way, so a request sent again makes the same batches.
    """
    start = part = 0
    while start < len(events):
        full = start + MAX_BATCH_EVENTS
        end = next((place for place in range(full, start, -1) if _between_ids(events, place)), full)
        for batch, compressed in _fit(project, events[start:end], source, received_at):
            delivered = batch._replace(delivery=delivery and delivery.of_part(part))
            yield delivered, _body(compressed, delivered.delivery)
            part += 1
        start = end


def _fit(project: Project, events: Sequence[Event], source: str, received_at: str) -> Iterator[tuple[Batch, bytes]]:
    batch = make_batch(project, events, source, received_at)
    compressed = _compress(batch)
    size = -(-len(compressed) // 3) * 4
    if size <= MAX_ENCODED_BYTES or len(events) == 1:
        yield batch, compressed
        return
    # Halved until each part would fit, were the events of one size: to compress all of them after each halving takes
    # several times as long.
    halvings = (-(-size // MAX_ENCODED_BYTES) - 1).bit_length()
    parts = list(_halved(events, halvings))
    if len(parts) == 1:
        parts = [events[: len(events) // 2], events[len(events) // 2 :]]
    for part in parts:
        yield from _fit(project, part, source, received_at)


def _halved(events: Sequence[Event], halvings: int) -> Iterator[Sequence[Event]]:
    half = len(events) // 2
    places = chain(range(half, 0, -1), range(half + 1, len(events)))
    middle = next((place for place in places if _between_ids(events, place)), 0)
    if not halvings or not middle:
        yield events
        return
    yield from _halved(events[:middle], halvings - 1)
    yield from _halved(events[middle:], halvings - 1)


def _between_ids(events: Sequence[Event], place: int) -> bool:
    """Whether events can be cut before a place. Were one id in two batches, its later event could be stored first."""
    return place >= len(events) or events[place - 1].event_id != events[place].event_id


def encode(batch: Batch) -> str:
    """The message body of a batch: MessagePack, compressed with zlib, in base64.

    It names the project unless that is the default one, so that consumers of before there were projects can read it.
    The delivery follows, compressed by itself: consumers of before there were ledgers read no further than the batch,
    and refuse one with more values than a batch had.
    """
    return _body(_compress(batch), batch.delivery)


def _body(compressed: bytes, delivery: Delivery | None) -> str:
    if delivery is not None:
        key_id, delivery_id, part, day, rejected, repeats = delivery
        packed = msgpack.packb([key_id, delivery_id, part, day, dict(rejected), repeats])
        compressed += zlib.compress(packed, 1)
    return base64.b64encode(compressed).decode()


def _compress(batch: Batch) -> bytes:
    named = {} if batch.project == DEFAULT else {"project": batch.project.name}
    packed = msgpack.packb(
        {
            "version": VERSION,
            "batch": batch.batch_id,
            "source": batch.source,
            "received_at": batch.received_at,
            "events": batch.events,
            **named,
        }
    )
    # Level 1 halves the bytes in a tenth of the time that the default level takes.
    return zlib.compress(packed, 1)


def decode(body: str) -> Batch:
    """Read a message body; raises `UndecodableBatch`, whose text gives the reason."""
    try:
        packed, behind = _expand(base64.b64decode(body, validate=True), MAX_EXPANDED_BYTES, "a batch")
        message = unpack(packed, MAX_MESSAGE_VALUES)
        delivery = _delivery(behind) if behind else None
    except TooManyValues as error:
        raise UndecodableBatch(f"the message {error}") from error
    except (binascii.Error, zlib.error, BadMessagePack, ValueError) as error:
        if isinstance(error, UndecodableBatch):
            raise
        raise UndecodableBatch(f"the body is not base64 of zlib of MessagePack: {error}") from error
    if not isinstance(message, dict) or message.get("version") != VERSION:
        raise UndecodableBatch(f"the message is not of version {VERSION}")
    try:
        batch_id, source, received_at = (message[name] for name in ("batch", "source", "received_at"))
        events = tuple(Event(*fields) for fields in message["events"])
        project = Project(message.get("project", DEFAULT.name))
    except BadProject as error:
        raise UndecodableBatch(str(error)) from error
    except (KeyError, TypeError) as error:
        raise UndecodableBatch("the message lacks a field of a batch") from error
    if {*map(type, (batch_id, source, received_at, *chain.from_iterable(events)))} != {str}:
        raise UndecodableBatch("a field of the batch is not text")
    batch = make_batch(project, events, source, received_at)
    if batch.batch_id != batch_id:
        # Under another batch's name, the consumer could drop these events as a repeat of that batch.
        raise UndecodableBatch("the batch's name does not belong to its events")
    return batch._replace(delivery=delivery)


def _expand(compressed: bytes, most: int, what: str) -> tuple[bytes, bytes]:
    """What a compressed document expands to, and the bytes behind it."""
    expander = zlib.decompressobj()
    expanded = expander.decompress(compressed, most)
    if not expander.eof:
        raise UndecodableBatch(f"the body is cut short or expands to more than {what} may have")
    return expanded, expander.unused_data


def _delivery(compressed: bytes) -> Delivery:
    packed, behind = _expand(compressed, MAX_DELIVERY_BYTES, "a delivery")
    fields = unpack(packed, _MAX_DELIVERY_VALUES)
    if behind or not isinstance(fields, list) or len(fields) != len(Delivery._fields):
        raise UndecodableBatch("what follows the batch is no delivery")
    key_id, delivery_id, part, day, rejected, repeats = fields
    good = (
        _is_named(_KEY_ID, key_id)
        and _is_named(_DELIVERY_ID, delivery_id)
        and _is_count(part)
        and isinstance(day, str)
        and isinstance(rejected, dict)
        and all(_is_named(_CODE, code) and _is_count(count) for code, count in rejected.items())
        and _is_count(repeats)
    )
    if not good:
        raise UndecodableBatch("a field of the delivery is not what it has to be")
    return Delivery(key_id, delivery_id, part, parse_day(day), tuple(rejected.items()), repeats)


def _is_named(pattern: re.Pattern[str], text: Any) -> bool:
    return isinstance(text, str) and pattern.fullmatch(text) is not None


def _is_count(number: Any) -> bool:
    return type(number) is int and 0 <= number <= _MAX_COUNT
