"""The batch: the events of one queue message, under a content-addressed name."""

import base64
import binascii
import hashlib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import chain
from typing import NamedTuple

import msgpack

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


class Batch(NamedTuple):
    """Up to `MAX_BATCH_EVENTS` events of one project and source. The same of all three make the same `batch_id`."""

    project: Project
    batch_id: str
    source: str
    received_at: str
    """When a door took the events in: UTC, RFC 3339. `batch_id` does not depend on it."""
    events: tuple[Event, ...]

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


def cut(project: Project, events: Sequence[Event], source: str, received_at: str) -> Iterator[tuple[Batch, str]]:
    """Cut events, in the given order, into batches; yields each batch with its message body.

    A batch has at most `MAX_BATCH_EVENTS` events. A body has at most `MAX_ENCODED_BYTES` bytes, unless a single event
    takes more. Neighbours that share an id stay in one batch unless they exceed it alone. The same events are
    always cut in the same way, so a request sent again makes the same batches.
    """
    start = 0
    while start < len(events):
        full = start + MAX_BATCH_EVENTS
        end = next((place for place in range(full, start, -1) if _between_ids(events, place)), full)
        yield from _fit(project, events[start:end], source, received_at)
        start = end


def _fit(project: Project, events: Sequence[Event], source: str, received_at: str) -> Iterator[tuple[Batch, str]]:
    batch = make_batch(project, events, source, received_at)
    body = encode(batch)
    if len(body) <= MAX_ENCODED_BYTES or len(events) == 1:
        yield batch, body
        return
    # Halved until each part would fit, were the events of one size: to compress all of them after each halving takes
    # several times as long.
    halvings = (-(-len(body) // MAX_ENCODED_BYTES) - 1).bit_length()
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
    """
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
    return base64.b64encode(zlib.compress(packed, 1)).decode()


def decode(body: str) -> Batch:
    """Read a message body; raises `UndecodableBatch`, whose text gives the reason."""
    try:
        expander = zlib.decompressobj()
        packed = expander.decompress(base64.b64decode(body, validate=True), MAX_EXPANDED_BYTES)
        if not expander.eof:
            raise UndecodableBatch("the body is cut short or expands to more than a batch may have")
        message = unpack(packed, MAX_MESSAGE_VALUES)
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
    return batch
