import io
import json
import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aws_lambda_powertools import Logger, Metrics
from botocore.exceptions import ClientError
from fastapi.testclient import TestClient

from rollcall.archive.compaction import Compacted, Compaction, Compactor
from rollcall.core.batch import Batch, Sender, encode, make_batch
from rollcall.core.events import Event
from rollcall.core.projects import DEFAULT, Project
from rollcall.counting.claims import Applied, Claims
from rollcall.counting.consumer import Consumer
from rollcall.counting.receipts import Receipt, Receipts
from rollcall.http.app import create_app
from rollcall.http.routes import events as ingest
from rollcall.intake.intake import Intake, Rejection, Taken
from rollcall.stack.dynamo import ATTEMPTS, Dynamo, Setbacks, Unavailable
from rollcall.stack.queues import DeadLetterQueue
from rollcall.stack.telemetry import add_count
from scripts.operate import cost
from tests.support import OpenGate, ingest_settings, pass_over

NOW = datetime(2025, 9, 1, 12, tzinfo=UTC)
SECRET = "nobody-is-to-see-this"
RECEIPT = Receipt(received=10, inserted=4, duplicates=3, conflicts=2, refused=1)

Measured = dict[str, tuple[str, list[float]]]


class ScriptedClient:
    """DynamoDB that gives one answer after the other, or raises it."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)

    def answer(self, **_request: Any) -> Any:
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    batch_execute_statement = batch_get_item = batch_write_item = transact_write_items = answer


def dynamo_that_answers(*answers: Any) -> Dynamo:
    return Dynamo(cast(Any, ScriptedClient(*answers)), pass_over)


def canceled(*codes: str) -> ClientError:
    reasons = [{"Code": code} for code in codes]
    answer: Any = {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": reasons}
    return ClientError(answer, "TransactWriteItems")


class StubClaims:
    """Does what it is told to for each batch."""

    def __init__(self, *does: Callable[[], Applied]) -> None:
        self._does = list(does)

    def apply(self, _batch: Batch) -> Applied:
        return self._does.pop(0)()


class StubDeadLetters:
    def send_body(self, body: str, reason: str) -> None:
        pass


class StubIntake(Intake):
    """Takes everything in as it is told to."""

    def __init__(self, taken: Taken) -> None:
        self._taken = taken

    def take(self, project: Project, raws: Iterable[object], sender: Sender, correlation_id: str) -> Taken:
        return self._taken


class StubReceipts(Receipts):
    def __init__(self) -> None:
        pass

    def announce(self, project: Project, batch_ids: Iterable[str]) -> None:
        pass


def applied() -> Applied:
    return Applied(RECEIPT, repeated=False)


def repeated() -> Applied:
    return Applied(RECEIPT, repeated=True)


def failing() -> Applied:
    raise RuntimeError("it fails")


def batch_of(age: timedelta = timedelta(), number: int = 0) -> Batch:
    event = Event(f"{SECRET}-{number}", "2025-08-01T00:00:00Z", SECRET, SECRET, json.dumps({SECRET: SECRET}))
    return make_batch(DEFAULT, [event], "test", (NOW - age).isoformat())


def records(*bodies: str) -> dict[str, Any]:
    return {
        "Records": [
            {
                "messageId": f"message-{number}",
                "body": body,
                "messageAttributes": {"correlation_id": {"stringValue": f"request-{number}", "dataType": "String"}},
            }
            for number, body in enumerate(bodies)
        ]
    }


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    kept = Metrics(service="stack", namespace="Rollcall")
    # They are those of the whole process.
    kept.clear_metrics()
    yield kept
    kept.clear_metrics()


@pytest.fixture
def logs() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def logger(logs: io.StringIO) -> Logger:
    return Logger(service=uuid.uuid4().hex, stream=logs)


@pytest.fixture
def measured(metrics: Metrics, capsys: pytest.CaptureFixture[str]) -> Callable[[], Measured]:
    """Unit and values of each metric, as CloudWatch reads them from what the function prints."""

    def read() -> Measured:
        metrics.flush_metrics()
        (line,) = capsys.readouterr().out.splitlines()
        assert SECRET not in line
        document = json.loads(line)
        (described,) = document.pop("_aws")["CloudWatchMetrics"]
        assert (described["Namespace"], described["Dimensions"]) == ("Rollcall", [["service"]])
        assert document.pop("service") == "stack"
        units = {metric["Name"]: metric["Unit"] for metric in described["Metrics"]}
        assert units.keys() == document.keys()
        return {name: (units[name], values) for name, values in document.items()}

    return read


@pytest.fixture
def consume(metrics: Metrics, logger: Logger) -> Callable[..., None]:
    """Has a consumer handle message bodies."""

    def handle(claims: StubClaims, *bodies: str, dynamo: Dynamo | None = None) -> None:
        dead_letters = cast(DeadLetterQueue, StubDeadLetters())
        consumer = Consumer(
            cast(Claims, claims), dynamo or dynamo_that_answers(), dead_letters, logger, metrics, lambda: NOW
        )
        consumer.handle(records(*bodies), lambda: 60_000)

    return handle


def test_what_became_of_a_batch_s_events_is_measured(
    consume: Callable[..., None], measured: Callable[[], Measured]
) -> None:
    consume(StubClaims(applied), encode(batch_of()))

    assert measured() == {
        "BatchAge": ("Seconds", [0.0]),
        "BatchesApplied": ("Count", [1.0]),
        "EventsInserted": ("Count", [4.0]),
        "EventsDuplicates": ("Count", [3.0]),
        "EventsConflicts": ("Count", [2.0]),
        "EventsRefused": ("Count", [1.0]),
    }


def test_a_sound_batch_has_the_metrics_emitted_that_the_estimate_of_the_cost_has(
    consume: Callable[..., None],
    metrics: Metrics,
    logger: Logger,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def emitted() -> str:
        metrics.flush_metrics()
        metrics.clear_metrics()
        return capsys.readouterr().out

    client_that_takes(Taken([batch_of()], [], 0, []), metrics, logger).post("/events", json=[{}])
    ingest_line = emitted()
    consume(StubClaims(lambda: Applied(Receipt(500, 500, 0, 0, 0), repeated=False)), encode(batch_of()))
    consumer_line = emitted()
    stub = SimpleNamespace(run=lambda _: Compacted(batches=1, rows=500, days=1))
    Compaction(lambda: [cast(Compactor, stub)], logger, metrics).handle(lambda: 900_000)
    compaction_line = emitted()

    names = [name for line in (ingest_line, consumer_line) for name in json.loads(line) if name[0].isupper()]
    assert names == [*cost.METRICS_OF_EVENTS]
    assert [name for name in json.loads(compaction_line) if name[0].isupper()] == [*cost.METRICS_OF_COMPACTION]
    assert len(ingest_line) == pytest.approx(cost.INGEST_METRICS_BYTES, rel=0.05)
    assert len(consumer_line) == pytest.approx(cost.CONSUMER_METRICS_BYTES, rel=0.05)


def test_a_compaction_of_nothing_measures_nothing(metrics: Metrics, logger: Logger) -> None:
    stub = SimpleNamespace(run=lambda _: Compacted())

    Compaction(lambda: [cast(Compactor, stub)], logger, metrics).handle(lambda: 900_000)

    assert metrics.metric_set == {}


@pytest.mark.parametrize("name", ["EventsDuplicates", "ClaimRetries"])
def test_a_count_of_nothing_is_not_emitted_since_an_hour_with_it_is_billed(metrics: Metrics, name: str) -> None:
    add_count(metrics, name, 0)
    assert metrics.metric_set == {}

    add_count(metrics, name, 1)
    assert metrics.metric_set.keys() == {name}


def test_the_events_of_a_batch_that_came_again_are_not_measured_again(
    consume: Callable[..., None], measured: Callable[[], Measured]
) -> None:
    consume(StubClaims(repeated), encode(batch_of()))

    assert measured() == {"BatchAge": ("Seconds", [0.0]), "BatchesRepeated": ("Count", [1.0])}


def test_a_message_that_fails_is_measured(consume: Callable[..., None], measured: Callable[[], Measured]) -> None:
    consume(StubClaims(failing), encode(batch_of()))

    assert measured() == {"BatchAge": ("Seconds", [0.0]), "MessagesFailed": ("Count", [1.0])}


def test_a_message_that_cannot_be_decoded_is_measured(
    consume: Callable[..., None], measured: Callable[[], Measured]
) -> None:
    consume(StubClaims(), SECRET)

    assert measured() == {"MessagesUndecodable": ("Count", [1.0])}


@pytest.mark.parametrize(
    ("age", "seconds"),
    [(timedelta(minutes=1, milliseconds=250), 60.25), (timedelta(days=14), 1_209_600.0), (timedelta(seconds=-5), 0.0)],
    ids=["a minute", "redriven", "of a clock that is ahead"],
)
def test_a_batch_s_age_is_measured_in_seconds_since_a_door_took_it_in(
    consume: Callable[..., None], measured: Callable[[], Measured], age: timedelta, seconds: float
) -> None:
    consume(StubClaims(applied), encode(batch_of(age)))

    assert measured()["BatchAge"] == ("Seconds", [seconds])


@pytest.mark.parametrize("received_at", ["now", "2025-09-01T12:00:00"])
def test_a_batch_whose_arrival_cannot_be_told_is_as_old_as_none(received_at: str) -> None:
    assert batch_of()._replace(received_at=received_at).age(NOW) == timedelta()


def test_setbacks_are_measured_for_each_message(consume: Callable[..., None], measured: Callable[[], Measured]) -> None:
    dynamo = dynamo_that_answers(canceled("None", "TransactionConflict"), canceled("ThrottlingError"), {}, {})

    def transact() -> Applied:
        dynamo.transact([])
        return applied()

    consume(StubClaims(transact, transact), encode(batch_of()), encode(batch_of(number=1)), dynamo=dynamo)

    found = measured()
    assert found["ClaimRetries"] == ("Count", [1.0])
    assert found["TransactionConflicts"] == ("Count", [1.0])


def test_setbacks_of_a_message_that_fails_are_measured(
    consume: Callable[..., None], measured: Callable[[], Measured]
) -> None:
    dynamo = dynamo_that_answers(*ATTEMPTS * [canceled("TransactionConflict")])

    def transact() -> Applied:
        dynamo.transact([])
        return applied()

    consume(StubClaims(transact), encode(batch_of()), dynamo=dynamo)

    found = measured()
    assert found["MessagesFailed"] == ("Count", [1.0])
    assert found["TransactionConflicts"] == ("Count", [float(ATTEMPTS)])


THROTTLED: dict[str, Any] = {"Responses": [{"Error": {"Code": "ThrottlingError"}}]}
DONE: dict[str, Any] = {"Responses": [{}]}
UNREAD: dict[str, Any] = {"Responses": {"table": []}, "UnprocessedKeys": {"table": {"Keys": [{}]}}}
READ: dict[str, Any] = {"Responses": {"table": [{}]}}
UNWRITTEN: dict[str, Any] = {"UnprocessedItems": {"table": [{}]}}
VERBS: dict[str, tuple[Callable[[Dynamo], object], list[Any], Setbacks]] = {
    "execute": (lambda dynamo: dynamo.execute("INSERT", [[]]), [THROTTLED, THROTTLED, DONE], Setbacks(2, 0)),
    "get": (lambda dynamo: list(dynamo.get("table", [{}])), [UNREAD, READ], Setbacks(1, 0)),
    "put": (lambda dynamo: dynamo.put("table", [{}]), [UNWRITTEN, UNWRITTEN, UNWRITTEN, {}], Setbacks(3, 0)),
    "transact, throttled": (lambda dynamo: dynamo.transact([]), [canceled("ThrottlingError"), {}], Setbacks(1, 0)),
    "transact, in conflict": (
        lambda dynamo: dynamo.transact([]),
        [canceled("TransactionConflict", "None", "TransactionConflict"), {}],
        Setbacks(0, 2),
    ),
    "transact, both": (
        lambda dynamo: dynamo.transact([]),
        [canceled("TransactionConflict", "ProvisionedThroughputExceeded"), {}],
        Setbacks(1, 1),
    ),
    "transact, refused": (
        lambda dynamo: dynamo.transact([]),
        [canceled("ConditionalCheckFailed", "TransactionConflict")],
        Setbacks(0, 0),
    ),
}


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_tried_again_is_counted_until_it_is_asked_for(verb: str) -> None:
    call, answers, setbacks = VERBS[verb]
    dynamo = dynamo_that_answers(*answers)

    call(dynamo)

    assert dynamo.setbacks() == setbacks
    assert dynamo.setbacks() == Setbacks(0, 0)


def test_what_is_given_up_is_counted_too() -> None:
    dynamo = dynamo_that_answers(*ATTEMPTS * [THROTTLED])

    with pytest.raises(Unavailable):
        dynamo.execute("INSERT", [[]])

    assert dynamo.setbacks() == Setbacks(ATTEMPTS, 0)


def test_every_log_line_about_a_message_names_it_and_its_request(
    consume: Callable[..., None], logger: Logger, logs: io.StringIO
) -> None:
    def noisy() -> Applied:
        logger.warning("something is said in between")
        return applied()

    consume(StubClaims(noisy, failing), encode(batch_of()), SECRET, encode(batch_of(number=1)))
    logger.info("nothing about a message")

    *lines, last = [json.loads(line) for line in logs.getvalue().splitlines()]
    assert [(line["message"], line["message_id"], line["correlation_id"]) for line in lines] == [
        ("something is said in between", "message-0", "request-0"),
        ("batch applied", "message-0", "request-0"),
        ("undecodable message", "message-1", "request-1"),
        ("message failed", "message-2", "request-2"),
    ]
    assert not {"message_id", "correlation_id"} & last.keys()
    assert SECRET not in logs.getvalue()


def client_that_takes(taken: Taken, metrics: Metrics, logger: Logger) -> TestClient:
    app = create_app(
        ingest.router,
        logger=logger,
        gate=OpenGate(),
        services=[metrics, StubIntake(taken), StubReceipts(), ingest_settings()],
    )
    return TestClient(app, headers={"X-API-Key": "key"})


REJECTIONS = [Rejection(index, SECRET, "invalid_user_id", SECRET) for index in range(3)]


@pytest.mark.parametrize(
    ("taken", "status", "accepted", "rejected"),
    [
        (Taken([batch_of()], REJECTIONS, 2, []), 202, 1, 3),
        (Taken([batch_of(), batch_of(number=1)], [], 0, []), 202, 2, 0),
        (Taken([], REJECTIONS, 0, []), 422, 0, 3),
        (Taken([], REJECTIONS, 0, ["InternalError"]), 503, 0, 3),
    ],
    ids=["some", "all", "none", "the queue takes none"],
)
def test_the_events_that_a_request_brings_are_measured(
    measured: Callable[[], Measured],
    metrics: Metrics,
    logger: Logger,
    logs: io.StringIO,
    taken: Taken,
    status: int,
    accepted: int,
    rejected: int,
) -> None:
    answer = client_that_takes(taken, metrics, logger).post("/events", json=[{}])

    assert answer.status_code == status
    counts = {"EventsAccepted": accepted, "EventsRejected": rejected}
    assert measured() == {name: ("Count", [float(number)]) for name, number in counts.items() if number}
    assert SECRET not in logs.getvalue()
