import io
from typing import Any, cast

import pytest
from aws_lambda_powertools import Logger, Metrics
from botocore.exceptions import ClientError, EndpointConnectionError

from rollcall.core.batch import Batch, encode, make_batch
from rollcall.core.events import Event
from rollcall.core.projects import DEFAULT, Project
from rollcall.counting.claims import Applied, Claims
from rollcall.counting.consumer import ArchiveBacklog, Consumer
from rollcall.counting.receipts import Receipt
from rollcall.stack.dynamo import LEAST_MILLISECONDS, Dynamo
from rollcall.stack.queues import DeadLetterQueue


class StubClaims:
    """Applies everything but the batches it is told to fail."""

    def __init__(self, failing: set[str], repeated: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        self.failing = failing
        self.repeated = repeated
        self.applied: list[str] = []

    def apply(self, batch: Batch) -> Applied:
        if batch.batch_id in self.failing:
            raise RuntimeError("it fails")
        self.applied.append(batch.batch_id)
        return Applied(Receipt(1, 1, 0, 0, 0), repeated=batch.batch_id in self.repeated)


def message(number: int) -> Batch:
    return make_batch(DEFAULT, [Event(f"e{number}", "2025-08-01T00:00:00Z", "u", "open", "{}")], "test", "now")


def consumer(claims: StubClaims, backlog: ArchiveBacklog | None = None) -> Consumer:
    logger = Logger(service="consumer", stream=io.StringIO())
    metrics = Metrics(namespace="t", service="t")
    dynamo, dead_letters = Dynamo(cast(Any, None)), cast(DeadLetterQueue, None)
    return Consumer(cast(Claims, claims), dynamo, dead_letters, logger, metrics, backlog=backlog)


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


class CountingBacklog:
    def __init__(self, error: Exception | None = None) -> None:
        self.batches = 0
        self.error = error

    def grew(self, project: Project) -> None:
        self.batches += 1
        if self.error:
            raise self.error


def test_the_archive_s_backlog_is_told_of_each_batch_that_is_counted_and_of_no_other() -> None:
    batches = [message(number) for number in range(4)]
    backlog = CountingBacklog()
    claims = StubClaims(failing={batches[1].batch_id}, repeated={batches[2].batch_id})
    consumer(claims, backlog).handle(event(*batches), lambda: 60_000)
    assert backlog.batches == 2


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "TooManyRequestsException"}}, "Invoke"),
        EndpointConnectionError(endpoint_url="https://lambda"),
    ],
    ids=["throttled", "away"],
)
def test_a_batch_is_counted_and_not_delivered_again_where_bundling_cannot_be_asked_for(error: Exception) -> None:
    backlog = CountingBacklog(error)
    answer = consumer(StubClaims(failing=set()), backlog).handle(event(message(0), message(1)), lambda: 60_000)
    assert failures(answer) == []
    assert backlog.batches == 2
