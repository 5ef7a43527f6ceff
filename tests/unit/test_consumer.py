import io
from typing import Any, cast

from aws_lambda_powertools import Logger, Metrics

from rollcall.core.batch import Batch, encode, make_batch
from rollcall.core.events import Event
from rollcall.counting.claims import Applied, Claims
from rollcall.counting.consumer import Consumer
from rollcall.counting.receipts import Receipt
from rollcall.stack.dynamo import LEAST_MILLISECONDS, Dynamo
from rollcall.stack.queues import DeadLetterQueue


class StubClaims:
    """Applies everything but the batches it is told to fail."""

    def __init__(self, failing: set[str]) -> None:
        self.failing = failing
        self.applied: list[str] = []

    def apply(self, batch: Batch) -> Applied:
        if batch.batch_id in self.failing:
            raise RuntimeError("it fails")
        self.applied.append(batch.batch_id)
        return Applied(Receipt(1, 1, 0, 0, 0), repeated=False)


def message(number: int) -> Batch:
    return make_batch([Event(f"e{number}", "2025-08-01T00:00:00Z", "u", "open", "{}")], "test", "now")


def consumer(claims: StubClaims) -> Consumer:
    logger = Logger(service="consumer", stream=io.StringIO())
    metrics = Metrics(namespace="t", service="t")
    return Consumer(cast(Claims, claims), Dynamo(cast(Any, None)), cast(DeadLetterQueue, None), logger, metrics)


def event(*batches: Batch) -> dict[str, Any]:
    return {"Records": [{"messageId": batch.batch_id, "body": encode(batch)} for batch in batches]}


def failures(answer: dict[str, list[dict[str, str]]]) -> list[str]:
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


def test_a_message_that_fails_is_reported_alone() -> None:
    batches = [message(number) for number in range(3)]
    claims = StubClaims(failing={batches[1].batch_id})
    answer = consumer(claims).handle(event(*batches), lambda: 60_000)
    assert failures(answer) == [batches[1].batch_id]
    assert claims.applied == [batches[0].batch_id, batches[2].batch_id]


def test_messages_there_is_no_time_for_are_left_to_another_consumer() -> None:
    batches = [message(number) for number in range(3)]
    claims = StubClaims(failing=set())
    left = iter([LEAST_MILLISECONDS, LEAST_MILLISECONDS - 1, 10])
    answer = consumer(claims).handle(event(*batches), lambda: next(left))
    assert failures(answer) == [batch.batch_id for batch in batches[1:]]
    assert claims.applied == [batches[0].batch_id]
