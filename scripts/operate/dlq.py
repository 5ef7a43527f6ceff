"""The messages that could not be handled: those in the dead-letter queue and in the queue of failed imports.

SQS shows a message only when it is received, which hides it from other receivers. So this module receives messages
with a short visibility timeout, and makes them visible again as soon as it has read them.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote_plus

from rollcall.core.batch import Batch, UndecodableBatch, decode
from rollcall.core.events import Event
from scripts.operate.stacks import Stack
from scripts.terminal import as_json

# Long enough to read a queue and send its messages on. Short enough that an interrupted run does little harm.
HIDDEN_SECONDS = 120
MESSAGES_PER_CALL = 10

DEAD_LETTERS = "dead-letter"
FAILED_IMPORTS = "failed-imports"
QUEUES = {DEAD_LETTERS: "DeadLetterQueueUrl", FAILED_IMPORTS: "FailedImportsQueueUrl"}

_T = TypeVar("_T")


class Failure(NamedTuple):
    """A message that could not be handled."""

    message_id: str
    queue: str
    """One of `QUEUES`."""
    sent_at: str
    reason: str
    correlation_id: str | None
    batch: Batch | None
    """The batch in a dead letter; None if it cannot be decoded, or if the message is a failed import."""
    files: tuple[str, ...]
    """The files of a failed import, as bucket/key."""
    payload: dict[str, Any] | None
    """The notification of S3 about files that could not be read; None if the message came from the import queue."""
    body: str
    handle: str

    @property
    def undecodable(self) -> bool:
        """Whether this is a dead letter that no consumer can decode."""
        return self.queue == DEAD_LETTERS and self.batch is None

    @property
    def content(self) -> str:
        """A description of the content in a line."""
        if self.batch:
            count = len(self.batch.events)
            return f"batch {self.batch.batch_id}, {count} event{'s' * (count != 1)} from {self.batch.source}"
        if self.files:
            return ", ".join(self.files)
        return f"{len(self.body)} characters that are no batch" if self.undecodable else "part of an import"


class Summary(NamedTuple):
    """The line about a message in a list."""

    message_id: str
    queue: str
    sent_at: str
    content: str
    reason: str

    @classmethod
    def of(cls, failure: Failure) -> "Summary":
        """The summary of a message."""
        return cls(failure.message_id, failure.queue, failure.sent_at, failure.content, failure.reason)


@contextmanager
def received(stack: Stack, keep: Callable[[Failure], _T | None]) -> "Iterator[list[_T]]":
    """The results of `keep` for all messages in the queues, oldest first; a message for which it is None is left out.

    The messages are hidden from other receivers until the end of the block. Memory holds ten messages and the results.
    """
    sqs = stack.client("sqs")
    found: list[tuple[str, _T]] = []
    with ExitStack() as hidings:
        for queue, output in QUEUES.items():
            hidden = hidings.enter_context(_hiding(sqs, stack.output(output)))
            for message in _receive_all(sqs, stack.output(output), hidden):
                failure = _failure(queue, message)
                kept = keep(failure)
                if kept is not None:
                    found.append((failure.sent_at, kept))
        yield [kept for _, kept in sorted(found, key=lambda each: each[0])]


def redrive_all(stack: Stack, on_sent: Callable[[Failure], None], on_left: Callable[[Failure, str], None]) -> None:
    """Send the messages of the queues back, ten at a time, as `redrive` does.

    Leaves two kinds of messages in their queue, and makes them visible again at the end: those that no consumer can
    decode, and those that came after this began. A message that fails again at once would else be sent back for ever.
    """
    began = datetime.now(UTC)
    sqs = stack.client("sqs")
    for queue, output in QUEUES.items():
        url = stack.output(output)
        with _hiding(sqs, url) as hidden:
            for message in _receive_all(sqs, url, hidden):
                failure = _failure(queue, message)
                if failure.undecodable:
                    on_left(failure, failure.reason)
                elif _sent_at(message) > began:
                    on_left(failure, f"it came after this began: {failure.reason}")
                else:
                    redrive(stack, failure)
                    del hidden[failure.message_id]
                    on_sent(failure)


def redrive(stack: Stack, failure: Failure) -> None:
    """Send a message back to where it failed, and only then delete it.

    An interruption in between leaves the message in both queues. That does no harm: a batch is counted only once.
    """
    sqs = stack.client("sqs")
    body, origin = failure.body, "BatchQueueUrl" if failure.queue == DEAD_LETTERS else "ImportQueueUrl"
    if failure.payload is not None:
        body, origin = json.dumps(failure.payload), "UploadQueueUrl"
    attributes = {}
    if failure.correlation_id:
        attributes["correlation_id"] = {"DataType": "String", "StringValue": failure.correlation_id}
    sqs.send_message(QueueUrl=stack.output(origin), MessageBody=body, MessageAttributes=attributes)
    sqs.delete_message(QueueUrl=stack.output(QUEUES[failure.queue]), ReceiptHandle=failure.handle)


@contextmanager
def _hiding(sqs: Any, url: str) -> Iterator[dict[str, str]]:
    """A mapping of message id to receipt handle. At the end of the block, makes all messages in it visible again."""
    hidden: dict[str, str] = {}
    try:
        yield hidden
    finally:
        _show_again(sqs, url, hidden.values())


def _receive_all(sqs: Any, url: str, hidden: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Receive all messages, a few at a time, and add them to `hidden`. A caller that deletes one removes it there.

    In a long run, messages that were hidden at the beginning become visible again. Ends when it receives only those.
    """
    met_again = 0
    while met_again <= len(hidden):
        # With a wait, SQS asks all of its servers. Without one, it may miss messages.
        messages = sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=MESSAGES_PER_CALL,
            VisibilityTimeout=HIDDEN_SECONDS,
            WaitTimeSeconds=1,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        ).get("Messages", [])
        if not messages:
            return
        new = [message for message in messages if message["MessageId"] not in hidden]
        met_again = 0 if new else met_again + len(messages)
        # All of them before any is yielded, so that all are made visible again even if the caller fails.
        hidden.update((message["MessageId"], message["ReceiptHandle"]) for message in messages)
        yield from new


def _show_again(sqs: Any, url: str, handles: Iterable[str]) -> None:
    """Make messages visible. SQS ignores those that have been deleted."""
    left = iter(handles)
    while some := list(islice(left, MESSAGES_PER_CALL)):
        sqs.change_message_visibility_batch(
            QueueUrl=url,
            Entries=[
                {"Id": str(number), "ReceiptHandle": handle, "VisibilityTimeout": 0}
                for number, handle in enumerate(some)
            ],
        )


def _sent_at(message: dict[str, Any]) -> datetime:
    return datetime.fromtimestamp(int(message["Attributes"]["SentTimestamp"]) / 1000, UTC)


def _failure(queue: str, message: dict[str, Any]) -> Failure:
    attributes = {
        name: attribute.get("StringValue") for name, attribute in message.get("MessageAttributes", {}).items()
    }
    read: Callable[[str], tuple[str, dict[str, Any]]] = _dead_letter if queue == DEAD_LETTERS else _failed_import
    reason, holds = read(message["Body"])
    return Failure(
        message_id=message["MessageId"],
        queue=queue,
        sent_at=_sent_at(message).isoformat(timespec="seconds").removesuffix("+00:00") + "Z",
        reason=attributes.get("reason") or reason,
        correlation_id=attributes.get("correlation_id"),
        body=message["Body"],
        handle=message["ReceiptHandle"],
        **{"batch": None, "files": (), "payload": None, **holds},
    )


def _dead_letter(body: str) -> tuple[str, dict[str, Any]]:
    """The reason to show if the message names none, and the fields of a `Failure`."""
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
    if "Records" in record:
        return unknown, {"payload": record, "files": tuple(_files(record))}
    # As Lambda kept it in earlier versions, when S3 invoked the function.
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
    """An event as a line of JSON that a client could send."""
    return as_json({**event._asdict(), "properties": json.loads(event.properties)})
