"""The consumer: takes batches from the queue, stores and counts them, one by one."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from rollcall import aws
from rollcall.batch import Batch, UndecodableBatch, decode, encode
from rollcall.claims import Claims
from rollcall.dynamo import Dynamo
from rollcall.layout import hold_layout
from rollcall.settings import ConsumerSettings

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient


# A function that runs out of time takes down with it the messages that it has finished.
LEAST_MILLISECONDS = 5_000


class DeadLetterQueue:
    """The queue of what can never be stored. Each message says why in its attribute `reason`."""

    def __init__(self, client: "SQSClient", url: str) -> None:
        self._client = client
        self._url = url

    def send(self, batch: Batch, reason: str) -> None:
        """Keep a batch, in the form that a redrive can deliver again."""
        self.send_body(encode(batch), reason)

    def send_body(self, body: str, reason: str) -> None:
        """Keep a message as it came; botocore's errors where it cannot be kept."""
        self._client.send_message(
            QueueUrl=self._url,
            MessageBody=body,
            # An attribute takes no control characters.
            MessageAttributes={"reason": {"DataType": "String", "StringValue": ascii(reason)[1:-1][:250]}},
        )


class Consumer:
    """Handles the records of an SQS event; a message that fails is reported alone and comes again."""

    def __init__(self, claims: Claims, dead_letters: DeadLetterQueue, logger: Logger, metrics: Metrics) -> None:
        self._claims = claims
        self._dead_letters = dead_letters
        self._logger = logger
        self._metrics = metrics

    def handle(self, event: dict[str, Any], milliseconds_left: Callable[[], int]) -> dict[str, list[dict[str, str]]]:
        """The partial batch response: the messages to deliver again, those included that there is no time to begin."""
        failed = [
            record["messageId"]
            for record in event["Records"]
            if milliseconds_left() < LEAST_MILLISECONDS or not self._handle_record(record)
        ]
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}

    def _handle_record(self, record: dict[str, Any]) -> bool:
        correlation = record.get("messageAttributes", {}).get("correlation_id", {}).get("stringValue")
        context = {"message_id": record["messageId"], "correlation_id": correlation}
        try:
            try:
                batch = decode(record["body"])
            except UndecodableBatch as error:
                self._logger.error("undecodable message", extra={**context, "reason": str(error)})
                self._dead_letters.send_body(record["body"], str(error))
                self._metrics.add_metric("MessagesUndecodable", MetricUnit.Count, 1)
                return True
            applied = self._claims.apply(batch)
        except Exception:
            self._logger.exception("message failed", extra=context)
            self._metrics.add_metric("MessagesFailed", MetricUnit.Count, 1)
            return False
        receipt = applied.receipt._asdict()
        self._logger.info(
            "batch applied", extra={**context, "batch": batch.batch_id, "repeated": applied.repeated, **receipt}
        )
        self._metrics.add_metric("BatchesRepeated" if applied.repeated else "BatchesApplied", MetricUnit.Count, 1)
        if not applied.repeated:
            for name, count in receipt.items():
                self._metrics.add_metric(f"Events{name.capitalize()}", MetricUnit.Count, count)
        return True


def build(settings: ConsumerSettings, logger: Logger, metrics: Metrics) -> Consumer:
    """The consumer of a stack; raises `rollcall.settings.BadSetting` where the stack was laid out otherwise."""
    dynamo = Dynamo(aws.dynamodb())
    hold_layout(dynamo, settings.tables, settings.calendar)
    dead_letters = DeadLetterQueue(aws.sqs(), settings.dead_letter_queue_url)
    claims = Claims(dynamo, settings.tables, settings.calendar, dead_letters, settings.remembered_user_days)
    return Consumer(claims, dead_letters, logger, metrics)
