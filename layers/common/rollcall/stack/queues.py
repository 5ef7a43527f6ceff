"""The two queues: batches on their way from the doors to the consumer, and the dead-letter queue."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from rollcall.core.batch import Batch, encode

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient
    from types_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

# SQS takes 10 messages and 256 KiB a call. AWS takes 1 MiB since 2025, emulators and some regions may not.
MESSAGES_PER_CALL = 10
BYTES_PER_CALL = 256 * 1024
ATTEMPTS = 4
FIRST_BACKOFF_SECONDS = 0.05


class BatchQueue:
    """The queue from the doors to the consumer. `sleep` takes seconds."""

    def __init__(self, client: "SQSClient", url: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self._client = client
        self._url = url
        self._sleep = sleep

    def send(self, bodies: Sequence[str], correlation_id: str) -> dict[int, str]:
        """Send message bodies; returns the error code, by position, of each body not taken in `ATTEMPTS` attempts."""
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


class DeadLetterQueue:
    """The queue of messages and events that can never be stored. The attribute `reason` of a message says why."""

    def __init__(self, client: "SQSClient", url: str) -> None:
        self._client = client
        self._url = url

    def send(self, batch: Batch, reason: str) -> None:
        """Send a batch, in the form in which a redrive can deliver it again; raises botocore's errors."""
        self.send_body(encode(batch), reason)

    def send_body(self, body: str, reason: str) -> None:
        """Send a message body unchanged; raises botocore's errors."""
        self._client.send_message(
            QueueUrl=self._url,
            MessageBody=body,
            # SQS takes no control characters in an attribute.
            MessageAttributes={"reason": {"DataType": "String", "StringValue": ascii(reason)[1:-1][:250]}},
        )
