"""What became of a batch: receipts, waiting for them, and idempotency keys, on the tables of template.yaml."""

import gzip
import io
import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast
from unittest import mock

import msgpack
import pytest
from aws_lambda_powertools import Logger, Metrics
from botocore.exceptions import ClientError
from fastapi.testclient import TestClient

from rollcall.core.batch import Batch, decode, make_batch
from rollcall.core.days import Calendar
from rollcall.core.events import Event
from rollcall.core.projects import DEFAULT, SEPARATOR, Project
from rollcall.counting import counters
from rollcall.counting.claims import Claims
from rollcall.counting.receipts import Outcome, Receipt, Receipts, UnknownBatch
from rollcall.http.app import create_app
from rollcall.http.routes import arrivals, batches
from rollcall.http.routes import events as ingest
from rollcall.intake.idempotency import IdempotencyKeyReused, IdempotencyKeys
from rollcall.intake.intake import Intake
from rollcall.stack.dynamo import Dynamo, Item
from rollcall.stack.keys import event_key, receipt_key
from rollcall.stack.projects import Projects
from rollcall.stack.queues import BatchQueue
from tests.support import (
    RECEIVED_AT,
    KeptDeadLetters,
    OpenGate,
    assert_problem,
    create_tables,
    delete_tables,
    ingest_settings,
    scan,
)

ONE = {"event_id": "e1", "occurred_at": "2025-08-01T00:00:00Z", "user_id": "u", "event_type": "open"}
CALENDAR = Calendar("Asia/Tokyo")
TWO = {**ONE, "event_id": "e2"}


class KeptBatches(BatchQueue):
    """A queue that keeps the batches in a list."""

    def __init__(self) -> None:
        self.kept: list[Batch] = []

    def send(self, bodies: Sequence[str], correlation_id: str) -> dict[int, str]:
        self.kept += map(decode, bodies)
        return {}


class OnePart(Dynamo):
    """A DynamoDB that is gone after one transaction."""

    done = False

    def transact(self, writes: Sequence[Mapping[str, Any]]) -> Item | None:
        if self.done:
            raise RuntimeError
        self.done = True
        return super().transact(writes)


class Stack:
    """Tables, a door and a consumer that works when it is told to. Time passes by sleeping only."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.tables = create_tables(client)
        self.dynamo = Dynamo(client, lambda _: None)
        self.now = 1_000_000.0
        self.on_sleep: Callable[[], object] = lambda: None
        self.receipts = Receipts(self.dynamo, self.tables, lambda: self.now, self.sleep)
        self.keys = IdempotencyKeys(self.dynamo, self.tables, lambda: self.now)
        self.queue = KeptBatches()
        self.logs = io.StringIO()
        logger = Logger(service=uuid.uuid4().hex, stream=self.logs)
        self.http = TestClient(
            create_app(
                ingest.router,
                batches.router,
                arrivals.router,
                logger=logger,
                gate=OpenGate(),
                services=[
                    Metrics(service="ingest", namespace="Rollcall"),
                    Intake(self.queue, lambda _: CALENDAR),
                    self.receipts,
                    self.keys,
                    Projects(self.dynamo, self.tables.stats, CALENDAR),
                    ingest_settings(),
                ],
            ),
            headers={"X-API-Key": "key"},
        )

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.on_sleep()

    def consume(self) -> None:
        while self.queue.kept:
            self.apply(self.queue.kept.pop(0))

    def apply(self, message: Batch) -> None:
        self.claims().apply(message)

    def claims(self) -> Claims:
        return Claims(self.dynamo, self.tables, lambda _: CALENDAR, KeptDeadLetters())

    def arrival(self, event_id: str, **query: str) -> Any:
        return self.http.get("/events", params={"event_id": event_id, **query})

    def state(self, event_id: str) -> str:
        answer = self.arrival(event_id)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["state"])

    def post(self, *events: object, headers: dict[str, Any] | None = None, query: str = "") -> Any:
        return self.http.post(f"/events{query}", content=json.dumps(events), headers=headers)


@pytest.fixture
def stack(dynamodb: Any) -> Iterator[Stack]:
    made = Stack(dynamodb)
    yield made
    delete_tables(made.client, made.tables)


def event(number: int, kind: str = "open", properties: str = "{}") -> Event:
    return Event(f"e{number}", "2025-08-01T12:00:00Z", "u", kind, properties)


def batch(*events: Event, source: str = "test") -> Batch:
    return make_batch(DEFAULT, events, source, RECEIVED_AT)


def test_a_batch_is_unknown_then_pending_then_done(stack: Stack) -> None:
    message = batch(event(1), event(2))
    with pytest.raises(UnknownBatch):
        stack.receipts.find(DEFAULT, message.batch_id)
    stack.receipts.announce(DEFAULT, [message.batch_id])
    assert stack.receipts.find(DEFAULT, message.batch_id) is None
    stack.apply(message)
    assert stack.receipts.find(DEFAULT, message.batch_id) == Receipt(2, 2, 0, 0, 0)
    stack.receipts.announce(DEFAULT, [message.batch_id])
    assert stack.receipts.find(DEFAULT, message.batch_id) == Receipt(2, 2, 0, 0, 0)


def test_a_batch_of_which_a_part_is_applied_is_pending(stack: Stack) -> None:
    message = batch(*(event(number, f"t{number}") for number in range(6)))

    class Interrupted(Exception):
        pass

    def transact_once(writes: Any) -> None:
        Dynamo.transact(stack.dynamo, writes)
        raise Interrupted

    with mock.patch.object(counters, "MAX_WRITES", 2), mock.patch.object(counters, "INLINE_TYPES", 1):
        with mock.patch.object(stack.dynamo, "transact", transact_once), pytest.raises(Interrupted):
            stack.apply(message)
        assert stack.receipts.find(DEFAULT, message.batch_id) is None
        stack.apply(message)
    assert stack.receipts.find(DEFAULT, message.batch_id) == Receipt(6, 6, 0, 0, 0)


def test_the_mark_of_a_pending_batch_expires_and_its_receipt_does_not(stack: Stack) -> None:
    message = batch(event(1))
    stack.receipts.announce(DEFAULT, [message.batch_id])
    stack.apply(message)
    items = [item for item in scan(stack.client, stack.tables.stats) if item["pk"].startswith("batch#")]
    expiring = {item["sk"]: item.get("expires_at") for item in items}
    assert expiring == {"pending": str(1_000_000 + 40 * 86_400), "0": None}


def test_waiting_ends_when_the_last_receipt_is_there(stack: Stack) -> None:
    messages = [batch(event(1)), batch(event(2))]
    stack.receipts.announce(DEFAULT, [message.batch_id for message in messages])
    left = [*messages]

    def apply_one() -> None:
        if left:
            stack.apply(left.pop())

    stack.on_sleep = apply_one
    assert stack.receipts.wait(DEFAULT, [message.batch_id for message in messages], 10)
    assert not left
    assert stack.now < 1_000_001


def test_waiting_ends_when_the_time_is_over(stack: Stack) -> None:
    stack.receipts.announce(DEFAULT, ["a" * 32])
    assert not stack.receipts.wait(DEFAULT, ["a" * 32], 3)
    assert stack.now == pytest.approx(1_000_003)


def test_the_outcome_tells_inserted_duplicates_and_conflicts_apart(stack: Stack) -> None:
    stack.apply(batch(event(1), event(2)))
    message = batch(event(1), event(2, properties='{"a":1}'), event(3))
    stack.apply(message)
    assert stack.receipts.outcome(DEFAULT, [message]) == Outcome(inserted=["e3"], duplicates=["e1"], conflicts=["e2"])


def test_an_event_that_was_stored_before_equal_numbers_were_one_is_a_duplicate_when_it_comes_again(
    stack: Stack,
) -> None:
    before = '{"a":"1.0","price":100.0}'
    stack.apply(batch(event(1, properties=before), event(2, properties=before), event(3, properties='{"a":"x"}')))
    changed = (
        event(1, properties='{"a":"1.0","price":100}'),
        event(2, properties='{"a":"1","price":100}'),
        event(3, properties='{"a":"y"}'),
    )
    message = batch(*changed)
    stack.apply(message)
    assert stack.receipts.outcome(DEFAULT, [message]) == Outcome(inserted=[], duplicates=["e1"], conflicts=["e2", "e3"])
    assert stack.receipts.find(DEFAULT, message.batch_id) == Receipt(3, 0, 1, 2, 0)


def test_equal_numbers_are_one_event_however_they_are_sent(stack: Stack) -> None:
    stack.on_sleep = stack.consume
    prices = ["100", "100.0", "1e2"]
    bodies = [json.dumps([ONE])[:-2] + f', "properties": {{"price": {price}}}}}]' for price in prices]
    packed = msgpack.packb([{**ONE, "properties": {"price": 100.0}}])
    answers = [stack.http.post("/events?wait=5", content=body).json() for body in (*bodies, packed)]
    assert len({answer["batch_ids"][0] for answer in answers}) == 1
    assert [answer["conflicts"] for answer in answers] == [[]] * 4


def test_a_request_that_waits_is_answered_with_what_became_of_its_events(stack: Stack) -> None:
    stack.on_sleep = stack.consume
    stack.post(TWO)
    stack.consume()
    answer = stack.post(ONE, {**TWO, "event_type": "other"}, {**ONE, "user_id": None}, headers={"Prefer": "wait=5"})
    assert answer.status_code == 200
    assert answer.headers["Preference-Applied"] == "wait=5"
    found = answer.json()
    assert {name: found[name] for name in ("accepted", "inserted", "duplicates", "conflicts")} == {
        "accepted": 2,
        "inserted": ["e1"],
        "duplicates": [],
        "conflicts": ["e2"],
    }
    assert [rejection["index"] for rejection in found["rejected"]] == [2]
    assert stack.post(TWO, {**ONE}, query="?wait=5").json()["duplicates"] == ["e2", "e1"]


def test_other_content_under_one_id_in_one_request_is_a_conflict_in_the_answer_and_in_the_receipt(
    stack: Stack,
) -> None:
    stack.on_sleep = stack.consume
    # On an earlier day, and with a full batch in between.
    events = [ONE, *({**ONE, "event_id": f"x{number}"} for number in range(600)), ONE]
    events.append({**ONE, "occurred_at": "2025-07-01T00:00:00Z"})

    said = stack.post(*events, query="?wait=5").json()

    assert (said["accepted"], said["duplicates_in_request"]) == (602, 1)
    assert (len(said["inserted"]), said["duplicates"], said["conflicts"]) == (601, [], ["e1"])
    receipts = [stack.http.get(f"/batches/{batch_id}").json() for batch_id in said["batch_ids"]]
    assert [sum(receipt[name] for receipt in receipts) for name in ("received", "inserted", "conflicts")] == [
        602,
        601,
        1,
    ]
    stored = {item["event_id"]: item["occurred_at"] for item in scan(stack.client, stack.tables.events)}
    assert stored["e1"] == ONE["occurred_at"]
    again = stack.post(*events, query="?wait=5").json()
    assert again["batch_ids"] == said["batch_ids"]
    assert (again["inserted"], len(again["duplicates"]), again["conflicts"]) == ([], 601, ["e1"])


def test_the_same_body_sent_again_is_answered_with_duplicates(stack: Stack) -> None:
    stack.on_sleep = stack.consume
    first, again, third = (stack.post(ONE, TWO, query="?wait=5").json() for _ in range(3))
    assert (first["inserted"], first["duplicates"]) == (["e1", "e2"], [])
    assert first["batch_ids"] == again["batch_ids"] == third["batch_ids"]
    for answer in (again, third):
        assert (answer["inserted"], answer["duplicates"], answer["conflicts"]) == ([], ["e1", "e2"], [])


def test_of_two_equal_bodies_at_once_the_one_whose_events_were_stored_says_inserted(stack: Stack) -> None:
    one, two = (batch(event(1), event(2))._replace(received_at=f"2025-09-01T00:00:00.00{n}Z") for n in (1, 2))
    # The first delivery dies half-way, and the second request's one stores the rest.
    stack.apply(batch(event(1))._replace(batch_id=one.batch_id, received_at=one.received_at))
    stack.client.delete_item(
        TableName=stack.tables.stats, Key={"pk": {"S": receipt_key(DEFAULT, one.batch_id)}, "sk": {"S": "0"}}
    )
    stack.apply(two)
    assert stack.receipts.outcome(DEFAULT, [one]) == Outcome(inserted=["e1"], duplicates=["e2"], conflicts=[])
    assert stack.receipts.outcome(DEFAULT, [two]) == Outcome(inserted=["e2"], duplicates=["e1"], conflicts=[])


@pytest.mark.parametrize(
    ("headers", "query", "seconds"),
    [
        ({"Prefer": "wait=2"}, "", 2),
        ({"Prefer": "respond-async, wait=3"}, "", 3),
        ({"Prefer": "wait=600"}, "", 10),
        ({}, "?wait=4", 4),
        ({"Prefer": "wait=0010"}, "", 10),
        ({"Prefer": f"wait={'9' * 5_000}"}, "", 10),
        ({"Prefer": 'Wait = "2"'}, "", 2),
        ({"Prefer": "wait=2"}, "?wait=4", 4),
        ({"Prefer": "wait=soon"}, "", 0),
        ({"Prefer": "wait=-1"}, "", 0),
        ({"Prefer": "wait=\u0665".encode()}, "", 0),
        ({"Prefer": "await=9"}, "", 0),
        ({}, "?wait=0", 0),
        ({}, "", 0),
    ],
)
def test_a_request_whose_time_runs_out_is_accepted_all_the_same(
    stack: Stack, headers: dict[str, Any], query: str, seconds: int
) -> None:
    answer = stack.post(ONE, headers=headers, query=query)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 1)
    assert stack.now == pytest.approx(1_000_000 + seconds)


def test_the_preferences_of_several_lines_are_read_together(stack: Stack) -> None:
    body = json.dumps([ONE])
    answer = stack.http.post("/events", content=body, headers=[("Prefer", "respond-async"), ("Prefer", "wait=3")])
    assert answer.status_code == 202
    assert stack.now == pytest.approx(1_000_003)


@pytest.mark.parametrize(
    ("headers", "query", "applied"),
    [
        ({"Prefer": 'respond-async, WAIT="3"'}, "", "wait=3"),
        ({"Prefer": "wait=600"}, "", "wait=10"),
        ({"Prefer": "wait=3"}, "?wait=5", None),
        ({}, "?wait=5", None),
    ],
)
def test_an_answer_names_the_preference_that_it_followed(
    stack: Stack, headers: dict[str, Any], query: str, applied: str | None
) -> None:
    stack.on_sleep = stack.consume
    answer = stack.post(ONE, headers=headers, query=query)
    assert answer.status_code == 200
    assert answer.headers.get("Preference-Applied") == applied


@pytest.mark.parametrize("wait", ["11", "-1", "x", str(10**23)])
def test_a_wait_that_is_not_from_0_to_10_is_refused_by_name(stack: Stack, wait: str) -> None:
    answer = stack.post(ONE, query=f"?wait={wait}")
    assert (answer.status_code, answer.json()["parameter"]) == (422, "wait")
    assert stack.queue.kept == []


def test_a_request_of_bad_events_does_not_wait(stack: Stack) -> None:
    assert stack.post({}, query="?wait=10").status_code == 422
    assert stack.now == 1_000_000


def test_the_route_tells_unknown_pending_and_done(stack: Stack) -> None:
    unknown = stack.http.get("/batches/nothing")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_batch")
    (batch_id,) = stack.post(ONE, TWO).json()["batch_ids"]
    assert stack.http.get(f"/batches/{batch_id}").json() == {"batch_id": batch_id, "status": "pending"}
    stack.consume()
    assert stack.http.get(f"/batches/{batch_id}").json() == {
        "batch_id": batch_id,
        "status": "done",
        "received": 2,
        "inserted": 2,
        "duplicates": 0,
        "conflicts": 0,
        "refused": 0,
    }


def test_an_idempotency_key_may_come_again_with_the_same_body_however_compressed(stack: Stack) -> None:
    headers = {"Idempotency-Key": "order-17"}
    first = stack.post(ONE, headers=headers).json()
    body = json.dumps([ONE]).encode()
    again = stack.http.post("/events", content=gzip.compress(body), headers=headers).json()
    assert first == again


def test_an_idempotency_key_with_another_body_is_refused_and_nothing_is_queued(stack: Stack) -> None:
    headers = {"Idempotency-Key": "order-17"}
    stack.post(ONE, headers=headers)
    refused = stack.post(TWO, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")
    assert stack.post(TWO, headers={"Idempotency-Key": "order-18"}).status_code == 202
    assert [one.event_id for kept in stack.queue.kept for one in kept.events] == ["e1", "e2"]


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_an_idempotency_key_of_a_wrong_length_is_refused(stack: Stack, key: str) -> None:
    refused = stack.post(ONE, headers={"Idempotency-Key": key})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_parameter")


def test_idempotency_keys_of_two_sources_are_two_keys(stack: Stack) -> None:
    stack.keys.hold(DEFAULT, "a", "key", b"1")
    stack.keys.hold(DEFAULT, "b", "key", b"2")
    with pytest.raises(IdempotencyKeyReused):
        stack.keys.hold(DEFAULT, "a", "key", b"2")


def test_a_request_whose_key_cannot_be_checked_is_to_be_sent_again(stack: Stack) -> None:
    error = ClientError({"Error": {"Code": "ThrottlingException"}}, "PutItem")
    with mock.patch.object(stack.dynamo, "put_if_absent", side_effect=error):
        answer = stack.post(ONE, headers={"Idempotency-Key": "order-17"})
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert stack.queue.kept == []


def test_events_are_accepted_although_the_receipts_cannot_be_reached(stack: Stack) -> None:
    error = ClientError({"Error": {"Code": "AccessDeniedException"}}, "BatchWriteItem")
    with mock.patch.object(stack.receipts, "announce", side_effect=error):
        answer = stack.post(ONE, query="?wait=5")
    assert (answer.status_code, len(stack.queue.kept)) == (202, 1)
    logged = cast(dict[str, Any], json.loads(stack.logs.getvalue()))
    assert (logged["level"], logged["message"]) == ("ERROR", "the receipts cannot be reached")


def test_an_event_is_told_without_its_user_and_properties_which_are_not_read(stack: Stack) -> None:
    event_id = "7b5ed1eb-83df-4255-a283-87fd4140b95e"
    sent = Event(event_id, "2025-08-01T15:30:00Z", "whose", "login", '{"city":"Lviv"}')
    stack.apply(batch(sent, source="shop"))

    with mock.patch.object(stack.client, "get_item", wraps=stack.client.get_item) as read:
        answer = stack.arrival(f"{{{event_id.upper()}}}")

    assert answer.status_code == 200
    assert answer.json() == {
        "event_id": event_id,
        "event_type": "login",
        # By the clocks of Tokyo.
        "day": "2025-08-02",
        "occurred_at": "2025-08-01T15:30:00Z",
        "received_at": RECEIVED_AT,
        "source": "shop",
        "state": "counted",
    }
    (asked,) = [call.kwargs for call in read.call_args_list]
    assert asked["Key"] == {"event_id": {"S": event_id}}
    assert asked["ConsistentRead"]
    assert set(asked["ProjectionExpression"].split(",")) == asked["ExpressionAttributeNames"].keys()
    assert not {"user_id", "properties"} & set(asked["ExpressionAttributeNames"].values())


def test_an_event_is_pending_until_its_batch_is_counted_to_the_last_part(stack: Stack) -> None:
    types = [event(number, f"type {number}") for number in range(6)]
    with mock.patch.object(Claims, "_count", side_effect=RuntimeError), pytest.raises(RuntimeError):
        stack.apply(batch(*types))
    assert stack.state("e0") == "pending"

    with mock.patch.object(counters, "MAX_WRITES", 2), mock.patch.object(counters, "INLINE_TYPES", 1):
        with pytest.raises(RuntimeError):
            Claims(OnePart(stack.client), stack.tables, lambda _: CALENDAR, KeptDeadLetters()).apply(batch(*types))
        assert stack.state("e0") == "pending"
        assert stack.http.get(f"/batches/{batch(*types).batch_id}").json()["status"] == "pending"

        stack.apply(batch(*types))
    assert stack.state("e0") == "counted"


def test_the_events_of_a_batch_that_was_given_up_are_pending_until_it_is_repaired_or_delivered(stack: Stack) -> None:
    stored, late = event(1), event(2)
    message = batch(stored, late)
    partly = message._replace(events=(stored,))
    with mock.patch.object(Claims, "_count", side_effect=RuntimeError), pytest.raises(RuntimeError):
        stack.apply(partly)
    stack.claims().give_up(DEFAULT, message.batch_id)
    assert stack.state("e1") == "pending"
    assert stack.arrival("e2").status_code == 404

    # Under the name that a batch has after its repair, which is not yet.
    stack.apply(message)
    assert (stack.state("e1"), stack.state("e2")) == ("pending", "counted")

    stack.claims().repair(partly)
    assert (stack.state("e1"), stack.state("e2")) == ("counted", "counted")


def test_a_profile_call_is_stored_and_not_counted_unless_it_was_before_there_were_any(stack: Stack) -> None:
    message = batch(event(1, "$identify"), event(2))
    with mock.patch.object(Claims, "_count", side_effect=RuntimeError), pytest.raises(RuntimeError):
        stack.apply(message)
    assert stack.state("e1") == "stored"
    stack.apply(message)
    assert (stack.state("e1"), stack.state("e2")) == ("stored", "counted")

    # As a receipt was before.
    key = {"pk": {"S": receipt_key(DEFAULT, message.batch_id)}, "sk": {"S": "0"}}
    stack.client.update_item(TableName=stack.tables.stats, Key=key, UpdateExpression="REMOVE profiles")
    assert stack.state("e1") == "counted"


def test_an_event_that_is_not_stored_is_a_404_that_says_what_that_may_mean(stack: Stack) -> None:
    stack.post(ONE)
    problem = assert_problem(stack.arrival("e1"), 404, "unknown_event")
    assert problem["parameter"] == "event_id"
    for word in ("queue", "rejected", "another project", "HotDays"):
        assert word in problem["message"]

    stack.consume()
    assert stack.state("e1") == "counted"


def test_an_event_of_another_project_is_not_found_by_any_id(stack: Stack) -> None:
    shop = Project("shop")
    Projects(stack.dynamo, stack.tables.stats, CALENDAR).create(shop, "Shop", "Europe/Kyiv")
    stack.apply(make_batch(shop, [event(1)], "test", RECEIVED_AT))
    stack.apply(batch(event(2)))

    assert_problem(stack.arrival("e1"), 404, "unknown_event")
    smuggled = stack.arrival(event_key(shop, "e1"))
    assert SEPARATOR in event_key(shop, "e1")
    assert assert_problem(smuggled, 422, "invalid_parameter")["parameter"] == "event_id"
    assert_problem(stack.arrival("e2", project="shop"), 404, "unknown_event")
    assert stack.arrival("e1", project="shop").json()["event_id"] == "e1"


@pytest.mark.parametrize("query", ["", "?event_id=", f"?event_id={'e' * 129}", "?event_id=%00"])
def test_what_is_no_event_id_is_a_422_that_names_it(stack: Stack, query: str) -> None:
    problem = assert_problem(stack.http.get(f"/events{query}"), 422, "invalid_parameter")
    assert problem["parameter"] == "event_id"
