"""The messages that could not be handled: the dead-letter queue and the queue of failed imports.

SQS shows a message only by receiving it, which hides it for a time. So they are received with a short visibility
timeout and shown again at once after that.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from rollcall.batch import Batch, UndecodableBatch, decode
from rollcall.events import Event
from scripts.stacks import Stack

# Long enough to read a queue and send its messages on, short enough not to matter where that is interrupted.
HIDDEN_SECONDS = 120
MESSAGES_PER_CALL = 10

DEAD_LETTERS = "dead-letter"
FAILED_IMPORTS = "failed-imports"
QUEUES = {DEAD_LETTERS: "DeadLetterQueueUrl", FAILED_IMPORTS: "FailedImportsQueueUrl"}


class Failure(NamedTuple):
    """A message that could not be handled."""

    message_id: str
    queue: str
    """One of `QUEUES`."""
    sent_at: str
    reason: str
    correlation_id: str | None
    batch: Batch | None
    """What a dead letter holds, if it can be decoded."""
    files: tuple[str, ...]
    """What a failed import would have imported, as bucket/key."""
    payload: dict[str, Any] | None
    """The invocation that failed; None where the message is one of the import queue's own."""
    body: str
    handle: str

    @property
    def undecodable(self) -> bool:
        """Whether it is a dead letter that no consumer can read."""
        return self.queue == DEAD_LETTERS and self.batch is None

    @property
    def content(self) -> str:
        """What it is, in a line."""
        if self.batch:
            count = len(self.batch.events)
            return f"batch {self.batch.batch_id}, {count} event{'s' * (count != 1)} from {self.batch.source}"
        if self.files:
            return ", ".join(self.files)
        return f"{len(self.body)} characters that are no batch" if self.undecodable else "part of an import"


@contextmanager
def received(stack: Stack) -> "Iterator[list[Failure]]":
    """All messages of the queues, oldest first, hidden from others until the end of the block."""
    sqs = stack.client("sqs")
    found: dict[str, list[Failure]] = {}
    try:
        for queue, output in QUEUES.items():
            found[queue] = []
            for message in _receive_all(sqs, stack.output(output)):
                found[queue].append(_failure(queue, message))
        yield sorted((each for queue in found.values() for each in queue), key=lambda each: each.sent_at)
    finally:
        for queue, failures in found.items():
            _show_again(sqs, stack.output(QUEUES[queue]), [failure.handle for failure in failures])


def redrive(stack: Stack, failure: Failure) -> None:
    """Send a message back to where it came from, and only then delete it.

    If this ends between the two, both are there: what is counted under a batch's name is not counted again.
    """
    sqs = stack.client("sqs")
    if failure.payload is not None:
        stack.client("lambda").invoke(
            FunctionName=stack.output("PlanFunctionName"),
            InvocationType="Event",
            Payload=json.dumps(failure.payload),
        )
    else:
        origin = "BatchQueueUrl" if failure.queue == DEAD_LETTERS else "ImportQueueUrl"
        attributes = {}
        if failure.correlation_id:
            attributes["correlation_id"] = {"DataType": "String", "StringValue": failure.correlation_id}
        sqs.send_message(QueueUrl=stack.output(origin), MessageBody=failure.body, MessageAttributes=attributes)
    sqs.delete_message(QueueUrl=stack.output(QUEUES[failure.queue]), ReceiptHandle=failure.handle)


def _receive_all(sqs: Any, url: str) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()
    while True:
        # With a wait SQS asks all its servers; without one it may miss messages.
        messages = sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=MESSAGES_PER_CALL,
            VisibilityTimeout=HIDDEN_SECONDS,
            WaitTimeSeconds=1,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        ).get("Messages", [])
        new = [message for message in messages if message["MessageId"] not in seen]
        yield from new
        if not new:
            return
        seen.update(message["MessageId"] for message in new)


def _show_again(sqs: Any, url: str, handles: Sequence[str]) -> None:
    """Make messages visible; those that were deleted since are passed over by SQS."""
    for start in range(0, len(handles), MESSAGES_PER_CALL):
        sqs.change_message_visibility_batch(
            QueueUrl=url,
            Entries=[
                {"Id": str(number), "ReceiptHandle": handle, "VisibilityTimeout": 0}
                for number, handle in enumerate(handles[start : start + MESSAGES_PER_CALL])
            ],
        )


def _failure(queue: str, message: dict[str, Any]) -> Failure:
    attributes = {
        name: attribute.get("StringValue") for name, attribute in message.get("MessageAttributes", {}).items()
    }
    read: Callable[[str], tuple[str, dict[str, Any]]] = _dead_letter if queue == DEAD_LETTERS else _failed_import
    reason, holds = read(message["Body"])
    sent = datetime.fromtimestamp(int(message["Attributes"]["SentTimestamp"]) / 1000, UTC)
    return Failure(
        message_id=message["MessageId"],
        queue=queue,
        sent_at=sent.isoformat(timespec="seconds").removesuffix("+00:00") + "Z",
        reason=attributes.get("reason") or reason,
        correlation_id=attributes.get("correlation_id"),
        body=message["Body"],
        handle=message["ReceiptHandle"],
        **{"batch": None, "files": (), "payload": None, **holds},
    )


def _dead_letter(body: str) -> tuple[str, dict[str, Any]]:
    """The reason, where the message does not name one, and what it holds."""
    try:
        batch = decode(body)
    except UndecodableBatch as error:
        return str(error), {}
    return "every try failed; the consumer's log says why", {"batch": batch}


def _failed_import(body: str) -> tuple[str, dict[str, Any]]:
    unknown = "every try failed; the import's log says why"
    try:
        record = json.loads(body)
    except ValueError:
        return unknown, {}
    if not isinstance(record, dict):
        return unknown, {}
    payload = record.get("requestPayload")
    if not isinstance(payload, dict):
        named = "bucket" in record and "key" in record
        return unknown, {"files": (f"{record['bucket']}/{record['key']}",)} if named else {}
    said = record.get("responsePayload")
    condition = (record.get("requestContext") or {}).get("condition")
    error = said.get("errorMessage") if isinstance(said, dict) else None
    return str(error or condition or unknown), {"payload": payload, "files": tuple(_files(payload))}


def _files(notification: dict[str, Any]) -> Iterator[str]:
    for record in notification.get("Records", []):
        s3 = record.get("s3", {})
        yield f"{s3.get('bucket', {}).get('name')}/{unquote_plus(s3.get('object', {}).get('key', ''))}"


def as_json_line(event: Event) -> str:
    """An event as a client would have sent it."""
    return json.dumps({**event._asdict(), "properties": json.loads(event.properties)})
