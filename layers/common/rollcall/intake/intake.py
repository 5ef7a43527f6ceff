"""The steps that every door takes with raw events: check, drop repeats, sort by day, cut into batches, queue."""

import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import NamedTuple

from rollcall.core.batch import Batch, Delivery, Sender, cut, encode, make_batch
from rollcall.core.characters import readable
from rollcall.core.days import Calendar
from rollcall.core.events import Event, InvalidEvent, parse_event
from rollcall.core.projects import Project
from rollcall.stack.queues import BatchQueue

MAX_DAYS = 400
TOO_MANY_DAYS = "too_many_days"
CONFLICT = "conflict"


@dataclass(frozen=True, order=True)
class Rejection:
    """An event that was not taken in, or will not count. `index` is its position in the call, from 0."""

    index: int
    event_id: str | None
    code: str
    message: str


class Taken(NamedTuple):
    """The outcome of one call of `Intake.take`."""

    batches: list[Batch]
    """The batches that were queued."""
    rejected: list[Rejection]
    """Sorted by index."""
    duplicates: int
    """The number of events that were dropped because the first event of the call with their id has their content."""
    queue_errors: list[str]
    """The error codes of the batches that the queue did not take."""
    conflicts: Sequence[Rejection] = ()
    """The queued events whose id an earlier event of the call has with other content; sorted by index."""
    ledger_errors: Sequence[str] = ()
    """The error codes of the queue where the ledger lacks the rejected events and the duplicates of the call."""

    @property
    def accepted(self) -> int:
        """The number of events that were queued."""
        return sum(len(batch.events) for batch in self.batches)

    @property
    def unavailable(self) -> bool:
        """Whether the queue took none of the batches, and there were some."""
        return bool(self.queue_errors) and not self.batches


class Contents:
    """The events of one call: of each id the first one, and all with other content."""

    def __init__(self, calendar: Calendar) -> None:
        self._calendar = calendar
        self._firsts: dict[str, tuple[int, Event]] = {}
        self._others: dict[str, list[tuple[int, Event]]] = {}

    def __contains__(self, event_id: str) -> bool:
        return event_id in self._firsts

    def add(self, index: int, event: Event) -> bool:
        """Add the event at a position in the call; returns False, and adds nothing, if it repeats the first one."""
        first = self._firsts.setdefault(event.event_id, (index, event))
        if first[0] == index:
            return True
        if first[1] == event:
            return False
        self._others.setdefault(event.event_id, []).append((index, event))
        return True

    def is_first(self, index: int, event: Event) -> bool:
        """Whether the event at a position is the first of its id."""
        return self._firsts[event.event_id][0] == index

    def in_order(self) -> list[tuple[int, Event]]:
        """The events with their positions, sorted by day. Those with other content follow the first of their id."""
        # A batch with fewer days updates fewer counter items.
        firsts = sorted(self._firsts.values(), key=lambda each: self._calendar.day_of(each[1].occurred_at))
        if not self._others:
            return firsts
        return [each for first in firsts for each in (first, *self._others.get(first[1].event_id, ()))]


class Intake:
    """The way from the doors to the queue.

    `calendars` gives the days of a project. Events before their first day are rejected, and events too far after `now`,
    which gives the time of receipt as an aware datetime.
    """

    def __init__(
        self,
        queue: BatchQueue,
        calendars: Callable[[Project], Calendar],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._queue = queue
        self._calendars = calendars
        self.now = now

    def take(self, project: Project, raws: Iterable[object], sender: Sender, correlation_id: str) -> Taken:
        """Check events of a project as clients sent them, and queue the good ones.

        Bad events, and events that the queue does not take, are in `rejected`; they raise nothing. The code of an event
        that the queue did not take is `retry`. Of events of more than `MAX_DAYS` days, those of the first days to come
        are taken, and the code of the others is `TOO_MANY_DAYS`: another call takes them.

        An event that repeats an earlier one is dropped. One with the id of an earlier event and other content is queued
        behind that one, so that the consumer finds it a conflict.

        What an API key brings is in its ledger, but for events of the codes `retry` and `TOO_MANY_DAYS`, which are to
        come again. Rejected events travel with the first batch, and alone where there is none.
        """
        now, calendar = self.now(), self._calendars(project)
        contents = Contents(calendar)
        days: set[str] = set()
        put_off: set[str] = set()
        rejected: list[Rejection] = []
        duplicates = 0
        for index, raw in enumerate(raws):
            try:
                event = parse_event(raw, now, calendar)
            except InvalidEvent as error:
                rejected.append(Rejection(index, _readable_id(raw), error.code, error.message))
                continue
            if event.event_id in contents:
                duplicates += not contents.add(index, event)
                continue
            day = calendar.day_of(event.occurred_at)
            if event.event_id in put_off or (day not in days and len(days) == MAX_DAYS):
                # The id's later events too, so that the first one stays the first.
                put_off.add(event.event_id)
                message = f"the events before it have {MAX_DAYS} different days; send it in another request"
                rejected.append(Rejection(index, _readable_id(raw), TOO_MANY_DAYS, message))
                continue
            days.add(day)
            contents.add(index, event)

        ordered = contents.in_order()
        received_at = now.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
        delivery = _delivery(sender, calendar.day_of(received_at), rejected, duplicates)
        batches = list(cut(project, [event for _, event in ordered], sender.source, received_at, delivery))
        unsent = self._queue.send([body for _, body in batches], correlation_id)
        ledger_errors: set[str] = set()
        lost = 0 in unsent and len(unsent) < len(batches)
        if delivery and delivery.has_own and (lost or not batches):
            alone = make_batch(project, (), sender.source, received_at)._replace(
                delivery=delivery._replace(part=len(batches))
            )
            ledger_errors = set(self._queue.send([encode(alone)], correlation_id).values())
        sent: list[Batch] = []
        conflicts: list[Rejection] = []
        positions = iter(ordered)
        for number, (batch, _) in enumerate(batches):
            here = list(islice(positions, len(batch.events)))
            if number in unsent:
                message = "the queue did not take it; send it again"
                rejected.extend(Rejection(index, event.event_id, "retry", message) for index, event in here)
                continue
            sent.append(batch)
            conflicts.extend(
                Rejection(index, event.event_id, CONFLICT, "an earlier one has this event_id and other content")
                for index, event in here
                if not contents.is_first(index, event)
            )
        return Taken(
            batches=sent,
            rejected=sorted(rejected),
            duplicates=duplicates,
            queue_errors=sorted(set(unsent.values())),
            conflicts=sorted(conflicts),
            ledger_errors=sorted(ledger_errors),
        )


def _delivery(sender: Sender, day: str, rejected: Sequence[Rejection], repeats: int) -> Delivery | None:
    """What the ledger gets of a call beside the events of its batches."""
    if sender.key_id is None:
        return None
    codes = Counter(one.code for one in rejected if one.code != TOO_MANY_DAYS)
    return Delivery(sender.key_id, secrets.token_hex(16), 0, day, tuple(sorted(codes.items())), repeats)


def _readable_id(raw: object) -> str | None:
    """A rejected event's id as answers and logs can hold it; None if it has no id."""
    event_id = raw.get("event_id") if isinstance(raw, dict) else None
    return readable(event_id) if isinstance(event_id, str) else None
