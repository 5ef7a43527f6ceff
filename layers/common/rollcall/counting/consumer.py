"""The consumer: takes batches from the queue and stores and counts them, one by one."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from botocore.exceptions import BotoCoreError, ClientError

from rollcall.core.batch import UndecodableBatch, decode
from rollcall.core.projects import Project
from rollcall.counting.claims import Applied, Claims
from rollcall.stack.dynamo import LEAST_MILLISECONDS, Dynamo
from rollcall.stack.queues import DeadLetterQueue
from rollcall.stack.telemetry import add_count


class ArchiveBacklog(Protocol):
    """What is told of each batch that was counted, and may raise botocore's errors."""

    def grew(self, project: Project) -> None:
        """A batch of a project was counted."""


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
        backlog: ArchiveBacklog | None = None,
    ) -> None:
        self._claims = claims
        self._dynamo = dynamo
        self._dead_letters = dead_letters
        self._logger = logger
        self._metrics = metrics
        self._now = now
        self._backlog = backlog

    def handle(self, event: dict[str, Any], milliseconds_left: Callable[[], int]) -> dict[str, list[dict[str, str]]]:
        """The partial batch response: the messages to deliver again, including those that there was no time for.

        While DynamoDB throttles, a message is retried here, because each delivery counts against the queue's limit of
        receives, and a new or hot table may throttle for minutes. A message may take half of the time that is left, so
        that one that meets a hot key leaves time for the others; the last one may take all of it.
        """
        failed = []
        records = event["Records"]
        for position, record in enumerate(records, 1):
            left = milliseconds_left()
            for_others = (left - LEAST_MILLISECONDS) // 2 if position < len(records) else 0
            with self._dynamo.patient(milliseconds_left, for_others):
                # If the function ran out of time, SQS would deliver all of its messages again, the finished ones too.
                if left < LEAST_MILLISECONDS or not self._handle_record(record):
                    failed.append(record["messageId"])
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}

    def _handle_record(self, record: dict[str, Any]) -> bool:
        correlation = record.get("messageAttributes", {}).get("correlation_id", {}).get("stringValue")
        with self._logger.append_context_keys(message_id=record["messageId"], correlation_id=correlation):
            try:
                self._consume(record["body"])
            except Exception:
                self._logger.exception("message failed")
                add_count(self._metrics, "MessagesFailed", 1)
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
            add_count(self._metrics, "MessagesUndecodable", 1)
            return
        self._metrics.add_metric("BatchAge", MetricUnit.Seconds, batch.age(self._now()).total_seconds())
        applied = self._claims.apply(batch)
        self._logger.info(
            "batch applied",
            extra={
                "project": batch.project.name,
                "batch": batch.batch_id,
                "repeated": applied.repeated,
                **applied.receipt._asdict(),
            },
        )
        if not batch.events:
            return
        self._measure(applied)
        if self._backlog and not applied.repeated:
            try:
                self._backlog.grew(batch.project)
            except (BotoCoreError, ClientError) as error:
                # The batch is counted. The next consumer that asks asks for all batches.
                self._logger.warning("bundling was not asked for", extra={"reason": str(error)})

    def _measure(self, applied: Applied) -> None:
        if applied.repeated:
            add_count(self._metrics, "BatchesRepeated", 1)
            return
        receipt = applied.receipt
        add_count(self._metrics, "BatchesApplied", 1)
        add_count(self._metrics, "EventsInserted", receipt.inserted)
        add_count(self._metrics, "EventsDuplicates", receipt.duplicates)
        add_count(self._metrics, "EventsConflicts", receipt.conflicts)
        add_count(self._metrics, "EventsRefused", receipt.refused)

    def _measure_setbacks(self) -> None:
        setbacks = self._dynamo.setbacks()
        add_count(self._metrics, "ClaimRetries", setbacks.retries)
        add_count(self._metrics, "TransactionConflicts", setbacks.conflicts)
