"""The consumer: takes batches from the queue and stores and counts them, one by one."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from rollcall.core.batch import UndecodableBatch, decode
from rollcall.counting.claims import Applied, Claims
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.queues import DeadLetterQueue

# If the function runs out of time, SQS delivers all of its messages again, the finished ones too.
LEAST_MILLISECONDS = 5_000


class Consumer:
    """Handles SQS events. Reports each failed message alone, so that SQS delivers only that message again.

    `dynamo` is the one that `claims` uses.
    """

    def __init__(
        self,
        claims: Claims,
        dynamo: Dynamo,
        dead_letters: DeadLetterQueue,
        logger: Logger,
        metrics: Metrics,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._claims = claims
        self._dynamo = dynamo
        self._dead_letters = dead_letters
        self._logger = logger
        self._metrics = metrics
        self._now = now

    def handle(self, event: dict[str, Any], milliseconds_left: Callable[[], int]) -> dict[str, list[dict[str, str]]]:
        """The partial batch response: the messages to deliver again, including those that there was no time for."""
        failed = [
            record["messageId"]
            for record in event["Records"]
            if milliseconds_left() < LEAST_MILLISECONDS or not self._handle_record(record)
        ]
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}

    def _handle_record(self, record: dict[str, Any]) -> bool:
        correlation = record.get("messageAttributes", {}).get("correlation_id", {}).get("stringValue")
        with self._logger.append_context_keys(message_id=record["messageId"], correlation_id=correlation):
            try:
                self._consume(record["body"])
            except Exception:
                self._logger.exception("message failed")
                self._metrics.add_metric("MessagesFailed", MetricUnit.Count, 1)
                return False
            finally:
                self._measure_setbacks()
        return True

    def _consume(self, body: str) -> None:
        try:
            batch = decode(body)
        except UndecodableBatch as error:
            self._logger.error("undecodable message", extra={"reason": str(error)})
            self._dead_letters.send_body(body, str(error))
            self._metrics.add_metric("MessagesUndecodable", MetricUnit.Count, 1)
            return
        self._metrics.add_metric("BatchAge", MetricUnit.Seconds, batch.age(self._now()).total_seconds())
        applied = self._claims.apply(batch)
        self._logger.info(
            "batch applied",
            extra={"batch": batch.batch_id, "repeated": applied.repeated, **applied.receipt._asdict()},
        )
        self._measure(applied)

    def _measure(self, applied: Applied) -> None:
        if applied.repeated:
            self._metrics.add_metric("BatchesRepeated", MetricUnit.Count, 1)
            return
        receipt = applied.receipt
        self._metrics.add_metric("BatchesApplied", MetricUnit.Count, 1)
        self._metrics.add_metric("EventsInserted", MetricUnit.Count, receipt.inserted)
        self._metrics.add_metric("EventsDuplicates", MetricUnit.Count, receipt.duplicates)
        self._metrics.add_metric("EventsConflicts", MetricUnit.Count, receipt.conflicts)
        self._metrics.add_metric("EventsRefused", MetricUnit.Count, receipt.refused)

    def _measure_setbacks(self) -> None:
        setbacks = self._dynamo.setbacks()
        self._metrics.add_metric("ClaimRetries", MetricUnit.Count, setbacks.retries)
        self._metrics.add_metric("TransactionConflicts", MetricUnit.Count, setbacks.conflicts)
