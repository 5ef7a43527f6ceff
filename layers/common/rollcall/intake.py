"""What every door does with the events that came in: check, drop repeats, sort, cut into batches, queue."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from rollcall.batch import Batch, cut
from rollcall.days import Calendar
from rollcall.events import Event, InvalidEvent, parse_event

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient
    from types_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

# SQS takes ten messages and 256 KiB a call (1 MiB since 2025; emulators and other regions may lag).
MESSAGES_PER_CALL = 10
BYTES_PER_CALL = 256 * 1024
ATTEMPTS = 4
SHOWN_ID_CHARACTERS = 64
FIRST_BACKOFF_SECONDS = 0.05


@dataclass(frozen=True, order=True)
class Rejection:
    """An event that was not taken in."""

    index: int
    event_id: str | None
    code: str
    message: str


class Taken(NamedTuple):
    """What became of some events at the door."""

    batches: list[Batch]
    """Those that were queued."""
    rejected: list[Rejection]
    """By index."""
    duplicates: int
    """Events dropped because an earlier one of the same call has their id."""
    queue_errors: list[str]
    """Why the queue did not take some of it."""

    @property
    def accepted(self) -> int:
        """Events that were queued."""
        return sum(len(batch.events) for batch in self.batches)

    @property
    def unavailable(self) -> bool:
        """Nothing could be queued, although there was something to queue."""
        return bool(self.queue_errors) and not self.batches


class BatchQueue:
    """The queue between the doors and the consumer. `sleep` takes seconds."""

    def __init__(self, client: "SQSClient", url: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self._client = client
        self._url = url
        self._sleep = sleep

    def send(self, bodies: Sequence[str], correlation_id: str) -> dict[int, str]:
        """Send message bodies; returns those that are still not taken after some tries: position and error code."""
        failures = dict.fromkeys(range(len(bodies)), "")
        for attempt in range(ATTEMPTS):
            if attempt:
                self._sleep(FIRST_BACKOFF_SECONDS * 2**attempt)
            waiting, failures = list(failures), {}
            for positions in _calls(bodies, waiting):
                failures |= self._send(bodies, positions, correlation_id)
            if not failures:
                break
        return failures

    def _send(self, bodies: Sequence[str], positions: list[int], correlation_id: str) -> dict[int, str]:
        entries: list[SendMessageBatchRequestEntryTypeDef] = [
            {
                "Id": str(position),
                "MessageBody": bodies[position],
                "MessageAttributes": {"correlation_id": {"DataType": "String", "StringValue": correlation_id}},
            }
            for position in positions
        ]
        try:
            answer = self._client.send_message_batch(QueueUrl=self._url, Entries=entries)
        except ClientError as error:
            return dict.fromkeys(positions, error.response.get("Error", {}).get("Code", "unknown"))
        except BotoCoreError as error:
            return dict.fromkeys(positions, type(error).__name__)
        return {int(failure["Id"]): failure["Code"] for failure in answer.get("Failed", ())}


class Intake:
    """The way in, shared by all doors. `now` gives the aware time that events are judged against."""

    def __init__(
        self, queue: BatchQueue, calendar: Calendar, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._queue = queue
        self._calendar = calendar
        self._now = now

    def take(self, raws: Iterable[object], source: str, correlation_id: str) -> Taken:
        """Check events as clients sent them and queue the good ones.

        Raises neither for bad events nor for what the queue does not take: those are rejected with the code `retry`.
        """
        now = self._now()
        positions: dict[str, int] = {}
        events: list[Event] = []
        rejected: list[Rejection] = []
        duplicates = 0
        for index, raw in enumerate(raws):
            try:
                event = parse_event(raw, now)
            except InvalidEvent as error:
                rejected.append(Rejection(index, _readable_id(raw), error.code, error.message))
                continue
            if event.event_id in positions:
                duplicates += 1
            else:
                positions[event.event_id] = index
                events.append(event)

        # Fewer days in a batch are fewer counters in its transaction.
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


def _calls(bodies: Sequence[str], positions: Iterable[int]) -> Iterable[list[int]]:
    call: list[int] = []
    size = 0
    for position in positions:
        length = len(bodies[position])
        if call and (len(call) == MESSAGES_PER_CALL or size + length > BYTES_PER_CALL - 10 * 1024):
            yield call
            call, size = [], 0
        call.append(position)
        size += length
    if call:
        yield call


def _readable_id(raw: object) -> str | None:
    """The id of a rejected event, as far as it can be shown."""
    event_id = raw.get("event_id") if isinstance(raw, dict) else None
    if not isinstance(event_id, str):
        return None
    return "".join(c if c.isprintable() else "?" for c in event_id[:SHOWN_ID_CHARACTERS])
