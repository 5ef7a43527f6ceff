"""Tables that are as new as on AWS: what a first large import meets, and who waits how long. Time is the test's own."""

import io
import random
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import pytest
from aws_lambda_powertools import Logger, Metrics
from botocore.exceptions import ClientError

from rollcall.core.batch import Batch, encode, make_batch
from rollcall.core.days import Calendar
from rollcall.core.events import Event
from rollcall.core.projects import DEFAULT
from rollcall.counting.claims import Applied, Claims
from rollcall.counting.consumer import Consumer
from rollcall.counting.receipts import Receipt
from rollcall.stack import dynamo
from rollcall.stack.dynamo import ATTEMPTS, LEAST_MILLISECONDS, Dynamo, Unavailable
from rollcall.stack.keys import Tables
from rollcall.stack.queues import DeadLetterQueue
from scripts.bench.aws_like import Limits
from scripts.bench.shards import shards
from scripts.bench.virtual import Client, Clock, stack_tables
from tests.support import RECEIVED_AT, KeptDeadLetters

NAMES = Tables("EventsTable", "StatsTable", user_shards=4, counter_shards=4)
# As template.yaml has them.
CONSUMERS, MESSAGES_AT_ONCE, TIMEOUT, VISIBILITY = 10, 10, 60, 360
# A batch has a fortieth of its 500 events here, and a new table a fortieth of its units.
SCALE = 40
NEW_TABLE = Limits(4_000 / SCALE, 12_000 / SCALE, 1_000 / SCALE, 3_000 / SCALE)


@pytest.fixture(autouse=True)
def same_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamo, "random", random.Random(1))


class Import:
    """The messages of a file whose events are all of new users, in the queue, and how often each is received."""

    def __init__(self, messages: int, days: int) -> None:
        self.clock = Clock()
        self.tables = stack_tables()
        self.client = Client(self.clock, self.tables, NEW_TABLE)
        self.bodies: dict[str, str] = {}
        for number in range(messages):
            day = f"2025-08-{1 + number % days:02d}"
            names = [f"{number}-{one}" for one in range(500 // SCALE)]
            events = [Event(f"e{name}", f"{day}T12:00:00Z", f"u{name}", "open", "{}") for name in names]
            batch = make_batch(DEFAULT, events, "import", RECEIVED_AT)
            self.bodies[batch.batch_id] = encode(batch)
        self.events = messages * (500 // SCALE)
        self.received: Counter[str] = Counter()
        self._queue = [(0.0, name) for name in self.bodies]
        self._unfinished = messages

    def run(self) -> None:
        self.clock.run(CONSUMERS * [self._consume])

    def _consume(self) -> None:
        dynamo = Dynamo(cast(Any, self.client), self.clock.sleep)
        claims = Claims(dynamo, NAMES, lambda _: Calendar("UTC"), KeptDeadLetters())
        consumer = consumer_of(claims, dynamo)
        while self._unfinished:
            taken = sorted(each for each in self._queue if each[0] <= self.clock.now)[:MESSAGES_AT_ONCE]
            if not taken:
                self.clock.sleep(1)
                continue
            self._queue = [each for each in self._queue if each not in taken]
            self.received.update(name for _, name in taken)
            records = [{"messageId": name, "body": self.bodies[name]} for _, name in taken]
            started = self.clock.now
            answer = consumer.handle(
                {"Records": records},
                lambda: int(1_000 * (started + TIMEOUT - self.clock.now)),  # noqa: B023
            )
            failed = [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]
            self._queue += [(started + VISIBILITY, name) for name in failed]
            self._unfinished -= len(taken) - len(failed)


def consumer_of(claims: Any, dynamo: Dynamo) -> Consumer:
    logger = Logger(service="consumer", stream=io.StringIO())
    return Consumer(claims, dynamo, cast(DeadLetterQueue, None), logger, Metrics(namespace="t", service="t"))


def test_a_first_large_import_has_every_message_counted_at_its_first_delivery() -> None:
    large = Import(messages=100, days=10)

    large.run()

    # Faster than a new table takes it.
    assert large.client.model.answers["throttled"] > large.events
    assert set(large.received.values()) == {1}
    assert len(large.tables.items["EventsTable"]) == large.events
    counts = [item for key, item in large.tables.items["StatsTable"].items() if key[0].startswith("counts#")]
    assert sum(int(item["dau"]["N"]) for item in counts) == large.events


class Refusing:
    """DynamoDB that refuses each call with a code, for ever or for so many times, and then does it."""

    def __init__(self, code: str, times: int | None = None) -> None:
        self.code = code
        self.calls = 0
        self._times = times

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(**_: Any) -> Any:
            self.calls += 1
            if self._times is not None and self.calls > self._times:
                return {"Responses": [{}] if name == "batch_execute_statement" else {"table": []}, "Items": []}
            raise ClientError({"Error": {"Code": self.code, "Message": ""}}, name)

        return call


CALLS: dict[str, Callable[[Dynamo], object]] = {
    "execute": lambda dynamo: dynamo.execute("INSERT", [[]]),
    "get": lambda dynamo: list(dynamo.get("table", [{}])),
    "put": lambda dynamo: dynamo.put("table", [{}]),
    "find": lambda dynamo: dynamo.find("table", "pk"),
    "query": lambda dynamo: list(dynamo.query(TableName="table")),
    "delete": lambda dynamo: dynamo.delete("table", "pk", "sk"),
    "transact": lambda dynamo: dynamo.transact([]),
}
CODES = ["ThrottlingException", "ProvisionedThroughputExceededException", "RequestLimitExceeded", "InternalServerError"]


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_is_throttled_as_a_whole_is_made_again_while_there_is_time(call: str, code: str) -> None:
    client = Refusing(code, times=2 * ATTEMPTS)
    patient = Dynamo(cast(Any, client), lambda _: None)

    with patient.patient(lambda: 60_000):
        CALLS[call](patient)

    assert client.calls == 2 * ATTEMPTS + 1
    assert patient.setbacks().retries == 2 * ATTEMPTS


@pytest.mark.parametrize("call", CALLS)
def test_somebody_who_waits_is_told_at_once_that_a_call_is_throttled(call: str) -> None:
    client = Refusing("ThrottlingException")

    with pytest.raises(ClientError):
        CALLS[call](Dynamo(cast(Any, client), lambda _: None))

    assert client.calls == 1


@pytest.mark.parametrize("code", ["AccessDeniedException", "ResourceNotFoundException"])
def test_what_no_waiting_cures_is_not_waited_for(code: str) -> None:
    client = Refusing(code)
    patient = Dynamo(cast(Any, client), lambda _: None)

    with patient.patient(lambda: 60_000), pytest.raises(ClientError):
        patient.find("table", "pk")

    assert client.calls == 1


def test_a_patient_one_gives_up_with_some_seconds_left_and_is_patient_no_more_afterwards() -> None:
    clock = Clock()
    client = Refusing("ThrottlingException")
    patient = Dynamo(cast(Any, client), clock.sleep)
    left: list[float] = []

    def work() -> None:
        with patient.patient(lambda: int(60_000 - 1_000 * clock.now)), pytest.raises(Unavailable):
            patient.find("table", "pk")
        left.append(60_000 - 1_000 * clock.now)
        client.calls = 0
        with pytest.raises(ClientError):
            patient.find("table", "pk")

    clock.run([work])

    assert LEAST_MILLISECONDS <= left[0] < LEAST_MILLISECONDS + 2_000
    assert client.calls == 1


def test_a_message_that_meets_a_hot_key_leaves_time_for_those_behind_it() -> None:
    clock = Clock()
    batches = [
        make_batch(DEFAULT, [Event(f"e{n}", "2025-08-01T00:00:00Z", "u", "o", "{}")], "test", "now") for n in range(3)
    ]
    client = Refusing("ThrottlingException")
    dynamo = Dynamo(cast(Any, client), clock.sleep)
    began: list[float] = []

    class HotClaims:
        def apply(self, batch: Batch) -> Applied:
            began.append(clock.now)
            if batch.batch_id != batches[1].batch_id:
                dynamo.find("table", "pk")
            return Applied(Receipt(1, 1, 0, 0, 0), repeated=False)

    answers: list[Any] = []

    def work() -> None:
        event = {"Records": [{"messageId": batch.batch_id, "body": encode(batch)} for batch in batches]}
        answers.append(consumer_of(HotClaims(), dynamo).handle(event, lambda: int(60_000 - 1_000 * clock.now)))

    clock.run([work])

    assert [failure["itemIdentifier"] for failure in answers[0]["batchItemFailures"]] == [
        batches[0].batch_id,
        batches[2].batch_id,
    ]
    half = (60 - LEAST_MILLISECONDS / 1_000) / 2
    assert began[1] == began[2]
    assert half - 2 < began[1] <= half


def test_a_counter_shard_takes_about_50_batches_a_second() -> None:
    one, few, many = shards([1, 10, 50], seconds=3)

    assert one.conflicts_per_batch == 0
    assert 0 < few.conflicts_per_batch < many.conflicts_per_batch
    for found in (few, many):
        assert 40 < found.batches_per_second < 70
