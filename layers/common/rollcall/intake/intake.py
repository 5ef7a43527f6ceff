"""The steps that every door takes with raw events: check, drop repeats, sort by day, cut into batches, queue."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from rollcall.core.batch import Batch, cut
from rollcall.core.characters import readable
from rollcall.core.days import Calendar
from rollcall.core.events import Event, InvalidEvent, parse_event
from rollcall.stack.queues import BatchQueue

MAX_DAYS = 400
TOO_MANY_DAYS = "too_many_days"


@dataclass(frozen=True, order=True)
class Rejection:
    """An event that was not taken in. `index` is its position in the call, from 0."""

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
    """The number of events that were dropped because an earlier event of the same call has their id."""
    queue_errors: list[str]
    """The error codes of the batches that the queue did not take."""

    @property
    def accepted(self) -> int:
        """The number of events that were queued."""
        return sum(len(batch.events) for batch in self.batches)

    @property
    def unavailable(self) -> bool:
        """Whether the queue took none of the batches, and there were some."""
        return bool(self.queue_errors) and not self.batches


class Intake:
    """The way from the doors to the queue.

    Events before the first day of `calendar` are rejected, and events too far after `now`, which gives an aware
    datetime.
    """

    def __init__(
        self, queue: BatchQueue, calendar: Calendar, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._queue = queue
        self._calendar = calendar
        self._now = now

    def take(self, raws: Iterable[object], source: str, correlation_id: str) -> Taken:
        """Check events as clients sent them, and queue the good ones.

        Bad events, and events that the queue does not take, are in `rejected`; they raise nothing. The code of an event
        that the queue did not take is `retry`. Of events of more than `MAX_DAYS` days, those of the first days to come
        are taken, and the code of the others is `TOO_MANY_DAYS`: another call takes them.
        """
        now = self._now()
        positions: dict[str, int] = {}
        days: set[str] = set()
        events: list[Event] = []
        rejected: list[Rejection] = []
        duplicates = 0
        for index, raw in enumerate(raws):
            try:
                event = parse_event(raw, now, self._calendar)
            except InvalidEvent as error:
                rejected.append(Rejection(index, _readable_id(raw), error.code, error.message))
                continue
            if event.event_id in positions:
                duplicates += 1
                continue
            day = self._calendar.day_of(event.occurred_at)
            if day not in days and len(days) == MAX_DAYS:
                message = f"the events before it have {MAX_DAYS} different days; send it in another request"
                rejected.append(Rejection(index, _readable_id(raw), TOO_MANY_DAYS, message))
                continue
            days.add(day)
            positions[event.event_id] = index
            events.append(event)

        # A batch with fewer days updates fewer counter items.
        events.sort(key=lambda event: self._calendar.day_of(event.occurred_at))
        received_at = now.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
        batches = list(cut(events, source, received_at))
        unsent = self._queue.send([body for _, body in batches], correlation_id)
        for number in unsent:
            rejected.extend(
                Rejection(
                    positions[event.event_id], event.event_id, "retry", "the queue did not take it; send it again"
                )
                for event in batches[number][0].events
            )
        sent: list[Batch] = [batch for number, (batch, _) in enumerate(batches) if number not in unsent]
        return Taken(
            batches=sent,
            rejected=sorted(rejected),
            duplicates=duplicates,
            queue_errors=sorted(set(unsent.values())),
        )


def _readable_id(raw: object) -> str | None:
    """A rejected event's id as answers and logs can hold it; None if it has no id."""
    event_id = raw.get("event_id") if isinstance(raw, dict) else None
    return readable(event_id) if isinstance(event_id, str) else None
