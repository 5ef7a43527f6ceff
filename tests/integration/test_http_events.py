import base64
import gzip
import io
import json
import random
import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import ModuleType
from typing import Any

import msgpack
import pytest
from aws_lambda_powertools import Logger, Metrics
from fastapi.testclient import TestClient

from rollcall.core.batch import Batch, Sender, decode
from rollcall.core.days import Calendar
from rollcall.core.events import Event
from rollcall.core.projects import Project
from rollcall.counting.receipts import Receipts
from rollcall.http.app import create_app
from rollcall.http.routes import events as ingest
from rollcall.http.services import provide
from rollcall.intake.intake import Intake, Taken
from rollcall.stack.queues import ATTEMPTS, BatchQueue
from tests.integration.conftest import Queue
from tests.support import (
    LAMBDA_CONTEXT,
    NOW,
    QUEUE_ERRORS,
    OpenGate,
    assert_problem,
    ingest_settings,
    pass_over,
    queued,
    sample_event,
)


@dataclass
class Clock:
    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


@dataclass
class RefusingClient:
    """SQS that answers for some messages, the first `tries` times that it sees them, that they failed."""

    client: Any
    refuses: Callable[[Batch], bool]
    tries: int = 1_000
    seen: dict[str, int] = field(default_factory=dict)

    def send_message_batch(self, **request: Any) -> dict[str, Any]:
        taken: list[dict[str, Any]] = []
        failed: list[dict[str, Any]] = []
        for entry in request["Entries"]:
            batch = decode(entry["MessageBody"])
            times = self.seen[batch.batch_id] = self.seen.get(batch.batch_id, 0) + 1
            (failed if self.refuses(batch) and times <= self.tries else taken).append(entry)
        if taken:
            self.client.send_message_batch(**{**request, "Entries": taken})
        return {"Failed": [{"Id": entry["Id"], "Code": "InternalError", "SenderFault": False} for entry in failed]}


@dataclass
class RaisingClient:
    """SQS that raises, the first `tries` times, for a call that brings a message which it refuses."""

    client: Any
    error: Exception
    refuses: Callable[[Batch], bool]
    tries: int = 1_000
    raised: int = 0

    def send_message_batch(self, **request: Any) -> Any:
        refused = any(self.refuses(decode(entry["MessageBody"])) for entry in request["Entries"])
        if refused and self.raised < self.tries:
            self.raised += 1
            raise self.error
        return self.client.send_message_batch(**request)


@dataclass
class FailingIntake(Intake):
    error: Exception

    def take(self, project: Project, raws: Iterable[object], sender: Sender, correlation_id: str) -> Taken:
        raise self.error


class StubReceipts(Receipts):
    """Takes every batch for announced."""

    def __init__(self) -> None:
        pass

    def announce(self, project: Project, batch_ids: Iterable[str]) -> None:
        pass


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client_of(queue: Queue, clock: Clock, logger: Logger) -> Callable[..., TestClient]:
    """Makes a client of an API that sends to the queue through the given client of SQS."""

    def make(sqs: Any, sleep: Callable[[float], None] = pass_over, timezone: str = "UTC") -> TestClient:
        return api(Intake(BatchQueue(sqs, queue.url, sleep), lambda _: Calendar(timezone), clock), logger)

    return make


@pytest.fixture
def client(queue: Queue, client_of: Callable[..., TestClient]) -> TestClient:
    return client_of(queue.client)


def api(intake: Intake, logger: Logger, hot_days: int = 0) -> TestClient:
    app = create_app(
        ingest.router,
        logger=logger,
        gate=OpenGate(),
        services=[
            Metrics(service="ingest", namespace="Rollcall"),
            intake,
            StubReceipts(),
            ingest_settings(hot_days),
        ],
    )
    return TestClient(app, raise_server_exceptions=False, headers={"X-API-Key": "key"})


def raw(number: int, **changes: Any) -> dict[str, Any]:
    event = {
        "event_id": f"event-{number}",
        "occurred_at": "2025-08-01T10:00:00Z",
        "user_id": f"user-{number % 100}",
        "event_type": "login",
        "properties": {"number": number},
    }
    return {**event, **changes}


def kept(event: dict[str, Any]) -> Event:
    properties = json.dumps(event["properties"], separators=(",", ":"))
    return Event(event["event_id"], event["occurred_at"], event["user_id"], event["event_type"], properties)


def as_json(document: object) -> bytes:
    return json.dumps(document).encode()


THREE = [raw(number) for number in range(3)]
MANY: dict[str, bytes] = {
    "array": as_json(THREE),
    "indented array": json.dumps(THREE, indent=2).encode(),
    "array after a byte order mark": b"\xef\xbb\xbf" + as_json(THREE),
    "object": as_json({"events": THREE}),
    "ndjson": b"\n".join(map(as_json, THREE)) + b"\n",
    "ndjson with \\r\\n and empty lines": b"\r\n\r\n".join(map(as_json, THREE)),
    "msgpack array": msgpack.packb(THREE),
    "msgpack object": msgpack.packb({"events": THREE}),
}
ONE: dict[str, bytes] = {"single object": as_json(THREE[0]), "single msgpack object": msgpack.packb(THREE[0])}
ENCODINGS = [(name, body, THREE) for name, body in MANY.items()] + [
    (name, body, THREE[:1]) for name, body in ONE.items()
]


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize(("body", "expected"), [case[1:] for case in ENCODINGS], ids=[case[0] for case in ENCODINGS])
def test_every_encoding_is_told_by_its_bytes(
    client: TestClient, queue: Queue, body: bytes, expected: list[dict[str, Any]], compressed: bool
) -> None:
    content = gzip.compress(body) if compressed else body

    response = client.post("/events", content=content, headers={"Content-Type": "application/x-www-form-urlencoded"})

    assert response.status_code == 202
    assert response.json()["accepted"] == len(expected)
    assert queued(queue.batches()) == [kept(event) for event in expected]


@pytest.mark.parametrize("encoding", ["array", "ndjson", "msgpack array"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain;charset=UTF-8"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
        {"Content-Type": "application/msgpack"},
        {"Content-Type": "application/x-ndjson"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "not a type"},
    ],
    ids=str,
)
def test_headers_do_not_say_how_a_body_is_read(
    client: TestClient, queue: Queue, encoding: str, headers: dict[str, str]
) -> None:
    response = client.post("/events", content=MANY[encoding], headers=headers)

    assert response.status_code == 202
    assert queued(queue.batches()) == [kept(event) for event in THREE]


def test_gzip_in_several_members_is_one_body(client: TestClient, queue: Queue) -> None:
    body = MANY["array"]

    response = client.post("/events", content=gzip.compress(body[:100]) + gzip.compress(body[100:]))

    assert response.status_code == 202
    assert queued(queue.batches()) == [kept(event) for event in THREE]


def test_accepted_events_are_answered_with_the_batches_that_carry_them(client: TestClient, queue: Queue) -> None:
    response = client.post("/events", content=MANY["array"])

    (batch,) = queue.batches()
    assert response.status_code == 202
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "batch_ids": [batch.batch_id],
        "accepted": 3,
        "rejected": [],
        "duplicates_in_request": 0,
    }
    assert batch.source == "http"
    assert batch.received_at == "2025-09-01T12:00:00.000000Z"


BAD: dict[str, tuple[object, str | None, str, str]] = {
    "no event_id": ({"occurred_at": "2025-08-01T10:00:00Z"}, None, "missing_field", "event_id"),
    "no occurred_at": (raw(500, occurred_at=None), "event-500", "missing_field", "occurred_at"),
    "no user_id": (raw(500, user_id=None), "event-500", "missing_field", "user_id"),
    "no event_type": (raw(500, event_type=None), "event-500", "missing_field", "event_type"),
    "number as event_id": (raw(500, event_id=7), None, "invalid_event_id", "event_id"),
    "long event_id": (raw(500, event_id="x" * 129), "x" * 64, "invalid_event_id", "event_id"),
    "naive time": (raw(500, occurred_at="2025-08-01T10:00:00"), "event-500", "invalid_occurred_at", "occurred_at"),
    "date alone": (raw(500, occurred_at="2025-08-01"), "event-500", "invalid_occurred_at", "occurred_at"),
    "no such day": (
        raw(500, occurred_at="2025-02-30T10:00:00Z"),
        "event-500",
        "invalid_occurred_at",
        "occurred_at",
    ),
    "year 9999": (raw(500, occurred_at="9999-12-31T23:59:59Z"), "event-500", "occurred_in_future", "occurred_at"),
    "past the year 9999": (
        raw(500, occurred_at="9999-12-31T23:59:59-23:59"),
        "event-500",
        "invalid_occurred_at",
        "occurred_at",
    ),
    "six minutes ahead": (
        raw(500, occurred_at="2025-09-01T12:06:00Z"),
        "event-500",
        "occurred_in_future",
        "occurred_at",
    ),
    "boolean as user_id": (raw(500, user_id=True), "event-500", "invalid_user_id", "user_id"),
    "fraction as user_id": (raw(500, user_id=1.5), "event-500", "invalid_user_id", "user_id"),
    "placeholder as user_id": (raw(500, user_id="undefined"), "event-500", "invalid_user_id", "user_id"),
    "user_id of 257 bytes": (raw(500, user_id="é" * 128 + "x"), "event-500", "invalid_user_id", "user_id"),
    "empty event_type": (raw(500, event_type=""), "event-500", "invalid_event_type", "event_type"),
    "long event_type": (raw(500, event_type="x" * 129), "event-500", "invalid_event_type", "event_type"),
    "array as properties": (raw(500, properties=[]), "event-500", "invalid_properties", "properties"),
    "infinite number": (raw(500, properties={"a": float("inf")}), "event-500", "invalid_properties", "properties"),
    "half a character": (raw(500, user_id="\ud800"), "event-500", "invalid_unicode", "user_id"),
    "too large": (raw(500, properties={"a": "x" * 32_768}), "event-500", "event_too_large", "32768"),
    "no object": ("login", None, "not_an_object", "a string"),
    "null": (None, None, "not_an_object", "null"),
    "array": ([], None, "not_an_object", "an array"),
}


@pytest.mark.parametrize(("bad", "event_id", "code", "named"), BAD.values(), ids=BAD.keys())
def test_one_bad_event_does_not_harm_the_999_around_it(
    client: TestClient, queue: Queue, bad: object, event_id: str | None, code: str, named: str
) -> None:
    events: list[object] = [raw(number) for number in range(1_000)]
    events[500] = bad
    # 1e999 is how JSON spells a number that is not finite.
    body = as_json(events).replace(b"Infinity", b"1e999")

    response = client.post("/events", content=body)

    answer = response.json()
    assert response.status_code == 202
    assert answer["accepted"] == 999
    (rejection,) = answer["rejected"]
    assert rejection.keys() == {"index", "event_id", "code", "message"}
    assert (rejection["index"], rejection["event_id"], rejection["code"]) == (500, event_id, code)
    assert named in rejection["message"]
    batches = queue.batches()
    assert [batch.batch_id for batch in batches] == answer["batch_ids"]
    assert queued(batches) == [kept(raw(number)) for number in range(1_000) if number != 500]


def pack(document: object) -> bytes:
    packed: bytes = msgpack.packb(document, unicode_errors="surrogateescape")
    return packed


HALVES: list[Any] = [
    pytest.param(as_json, "\ud800", rb'"\ud800"', id="json"),
    pytest.param(pack, "\udcff", b"\xa1\xff", id="msgpack"),
]


@pytest.mark.parametrize(("encode", "half", "sent"), HALVES)
@pytest.mark.parametrize(
    ("place", "others", "status"), [(0, [], 422), (1, THREE, 202)], ids=["alone", "beside good events"]
)
def test_half_a_character_as_event_id_is_rejected_in_its_place(
    client: TestClient,
    queue: Queue,
    encode: Callable[[object], bytes],
    half: str,
    sent: bytes,
    place: int,
    others: list[dict[str, Any]],
    status: int,
) -> None:
    body = encode([*others[:place], raw(9, event_id=half), *others[place:]])
    assert sent in body

    response = client.post("/events", content=body)

    answer = response.json()
    assert response.status_code == status
    assert answer["accepted"] == len(others)
    (rejection,) = answer["rejected"]
    assert (rejection["index"], rejection["event_id"], rejection["code"]) == (place, "?", "invalid_unicode")
    assert "event_id" in rejection["message"]
    assert queued(queue.batches()) == [kept(event) for event in others]


def test_an_unreadable_line_of_ndjson_is_rejected_in_its_place(client: TestClient, queue: Queue) -> None:
    response = client.post("/events", content=MANY["ndjson"] + b'{"event_id": \n')

    answer = response.json()
    assert response.status_code == 202
    assert [(rejection["index"], rejection["code"]) for rejection in answer["rejected"]] == [(3, "invalid_json")]
    assert queued(queue.batches()) == [kept(event) for event in THREE]


@pytest.mark.parametrize(
    "body",
    [
        b"[\n" + b",\n".join(map(as_json, THREE)) + b"\n",
        as_json(THREE[0]) + b",\n" + as_json(THREE[1]),
        b'{"events": [\n' + b"\n".join(map(as_json, THREE)),
        json.dumps(THREE, indent=2).encode()[:-2],
        b'{"event_id": \n' + b"\n".join(map(as_json, THREE)),
    ],
    ids=["array", "no array", "wrapped", "pretty", "first line"],
)
def test_json_that_was_cut_is_a_400_of_which_nothing_is_queued(client: TestClient, queue: Queue, body: bytes) -> None:
    assert_problem(client.post("/events", content=body), 400, "invalid_json")
    assert queue.messages() == []


def test_bad_events_are_listed_in_the_order_of_the_request(client: TestClient) -> None:
    events = [raw(number, user_id="" if number % 2 else "42") for number in range(6)]

    answer = client.post("/events", content=as_json(events)).json()

    assert [rejection["index"] for rejection in answer["rejected"]] == [1, 3, 5]


@pytest.mark.parametrize("single", [False, True], ids=["array", "single object"])
def test_a_request_of_bad_events_alone_is_a_422_with_the_same_body(
    client: TestClient, queue: Queue, single: bool
) -> None:
    bad = raw(0, event_type=None)

    response = client.post("/events", content=as_json(bad if single else [bad]))

    assert response.status_code == 422
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "batch_ids": [],
        "accepted": 0,
        "rejected": [{"index": 0, "event_id": "event-0", "code": "missing_field", "message": "event_type is missing"}],
        "duplicates_in_request": 0,
    }
    # Its line of the key's ledger alone.
    assert queued(queue.batches()) == []


UNREADABLE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "invalid_json"),
    "white space": (b" \r\n ", "invalid_json"),
    "text": (b"event_id=1&user_id=2", "invalid_json"),
    "markup": (b"<events/>", "invalid_json"),
    "cut short": (as_json(THREE)[:-20], "invalid_json"),
    "trailing comma": (b"[1,]", "invalid_json"),
    "NaN": (b'[{"event_id": NaN}]', "invalid_json"),
    "too deep": (b"[" * 100_000, "invalid_json"),
    "latin-1": ('["é"]'.encode("latin-1"), "invalid_json"),
    "utf-16": ("[]".encode("utf-16"), "invalid_json"),
    "a number": (b"42", "not_a_list"),
    "null": (b"null", "not_a_list"),
    "events that are no list": (b'{"events": {}}', "not_a_list"),
    "msgpack cut short": (msgpack.packb(THREE)[:-1], "invalid_msgpack"),
    "msgpack with a tail": (msgpack.packb(THREE) + b"\0", "invalid_msgpack"),
    "msgpack too deep": (b"\x91" * 100_000, "invalid_msgpack"),
    "gzip cut short": (gzip.compress(as_json(THREE))[:-9], "invalid_gzip"),
    "gzip damaged": (gzip.compress(as_json(THREE))[:-8] + b"\1" * 8, "invalid_gzip"),
    "gzip of text": (gzip.compress(b"hello"), "invalid_json"),
}


@pytest.mark.parametrize(("body", "code"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_body_without_a_list_of_events_is_a_400(client: TestClient, queue: Queue, body: bytes, code: str) -> None:
    response = client.post("/events", content=body, headers={"Content-Type": "application/json"})

    assert_problem(response, 400, code)
    assert queue.messages() == []


def padded(size: int) -> bytes:
    return as_json(THREE).ljust(size)


@pytest.mark.parametrize(
    ("body", "limit"),
    [
        pytest.param(as_json([raw(number) for number in range(5_001)]), "5000", id="events"),
        pytest.param(msgpack.packb([0] * 5_001), "5000", id="events in msgpack"),
        pytest.param(padded(4 * 1024**2 + 1), str(4 * 1024**2), id="bytes sent"),
        pytest.param(gzip.compress(padded(8 * 1024**2 + 1)), str(8 * 1024**2), id="bytes expanded"),
        pytest.param(
            gzip.compress(padded(8 * 1024**2)) + gzip.compress(b" "), str(8 * 1024**2), id="bytes expanded by members"
        ),
    ],
)
def test_a_breach_of_a_limit_is_a_413_that_names_it(client: TestClient, queue: Queue, body: bytes, limit: str) -> None:
    response = client.post("/events", content=body)

    assert limit in assert_problem(response, 413, "too_large")["message"]
    assert queue.messages() == []


def test_an_event_beyond_its_limit_is_a_413_that_names_it(client: TestClient, queue: Queue) -> None:
    response = client.post("/events", content=as_json(raw(0, properties={"a": "x" * 32 * 1024})))

    assert response.status_code == 413
    assert str(32 * 1024) in response.text
    assert queued(queue.batches()) == []


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(padded(4 * 1024**2), id="bytes sent"),
        pytest.param(gzip.compress(padded(8 * 1024**2)), id="bytes expanded"),
    ],
)
def test_a_body_at_its_limit_is_taken(client: TestClient, queue: Queue, body: bytes) -> None:
    assert client.post("/events", content=body).status_code == 202
    assert queued(queue.batches()) == [kept(event) for event in THREE]


def test_an_event_at_its_limit_is_taken(client: TestClient, queue: Queue) -> None:
    empty = kept(raw(0, properties={"a": ""}))
    largest = raw(0, properties={"a": "x" * (32 * 1024 - len("".join(empty)))})

    assert client.post("/events", content=as_json(largest)).status_code == 202
    assert queued(queue.batches()) == [kept(largest)]


def test_a_gzip_bomb_is_not_expanded(client: TestClient) -> None:
    bomb = gzip.compress(bytes(128 * 1024**2), 9)
    client.post("/events", content=b"[]")

    tracemalloc.start()
    response = client.post("/events", content=bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert_problem(response, 413, "too_large")
    assert peak < 40 * 1024**2


@pytest.mark.parametrize("count", [2_000, 5_000])
def test_thousands_of_events_go_in_one_request(client: TestClient, queue: Queue, count: int) -> None:
    events = [raw(number) for number in range(count)]

    response = client.post("/events", content=as_json(events))

    batches = queue.batches()
    assert response.status_code == 202
    assert response.json() == {
        "batch_ids": [batch.batch_id for batch in batches],
        "accepted": count,
        "rejected": [],
        "duplicates_in_request": 0,
    }
    assert [len(batch.events) for batch in batches] == [500] * (count // 500)
    assert queued(batches) == [kept(event) for event in events]


@pytest.mark.parametrize(
    ("first", "second"),
    [("order-1", "order-1"), ("7b5ed1eb-83df-4255-a283-87fd4140b95e", "{7B5ED1EB-83DF-4255-A283-87FD4140B95E}")],
    ids=["text", "uuid in two spellings"],
)
def test_the_first_of_two_events_with_one_id_and_content_is_taken(
    client: TestClient, queue: Queue, first: str, second: str
) -> None:
    events = [raw(0, event_id=first), raw(1), {**raw(0), "event_id": second}]

    response = client.post("/events", content=as_json(events))

    (batch,) = queue.batches()
    assert response.status_code == 202
    assert response.json() == {
        "batch_ids": [batch.batch_id],
        "accepted": 2,
        "rejected": [],
        "duplicates_in_request": 1,
    }
    assert list(batch.events) == [kept(events[0]), kept(events[1])]


@pytest.mark.parametrize(
    "body",
    [b"[]", b'{"events":[]}', msgpack.packb([]), gzip.compress(b"[]")],
    ids=["array", "object", "msgpack", "gzip"],
)
def test_an_empty_list_is_taken_and_queues_nothing(client: TestClient, queue: Queue, body: bytes) -> None:
    response = client.post("/events", content=body)

    assert response.status_code == 202
    assert response.json() == {"batch_ids": [], "accepted": 0, "rejected": [], "duplicates_in_request": 0}
    assert queue.messages() == []


@pytest.mark.parametrize("event_type", ["\0", "#", "🦄", "a#b\0c\n", "#" * 128, " "], ids=ascii)
@pytest.mark.parametrize("encode", [as_json, msgpack.packb], ids=["json", "msgpack"])
def test_an_event_type_may_hold_any_character(
    client: TestClient, queue: Queue, event_type: str, encode: Callable[[object], bytes]
) -> None:
    response = client.post("/events", content=encode([raw(0, event_type=event_type)]))

    assert response.status_code == 202
    assert [event.event_type for event in queued(queue.batches())] == [event_type]


@pytest.mark.parametrize(
    ("sent", "stored"),
    [(2**40, "1099511627776"), (0, "0"), (-7, "-7"), (2**64 - 1, "18446744073709551615"), ("007", "007")],
)
@pytest.mark.parametrize("encode", [as_json, msgpack.packb], ids=["json", "msgpack"])
def test_a_whole_number_as_user_id_is_its_decimal_text(
    client: TestClient, queue: Queue, sent: object, stored: str, encode: Callable[[object], bytes]
) -> None:
    client.post("/events", content=encode([raw(0, user_id=sent)]))

    assert [event.user_id for event in queued(queue.batches())] == [stored]


def test_the_same_events_make_the_same_batches_whenever_and_however_they_are_sent(
    client: TestClient, queue: Queue, clock: Clock
) -> None:
    events = [raw(number) for number in range(1_200)]

    first = client.post("/events", content=as_json(events)).json()
    clock.now += timedelta(days=1)
    again = client.post("/events", content=as_json(events)).json()
    packed = client.post("/events", content=gzip.compress(msgpack.packb({"events": events}))).json()

    assert len(set(first["batch_ids"])) == 3
    assert again == first
    assert packed == first
    assert [batch.batch_id for batch in queue.batches()] == first["batch_ids"] * 3


def test_other_events_make_other_batches(client: TestClient) -> None:
    first = client.post("/events", content=as_json([raw(0)])).json()
    other = client.post("/events", content=as_json([raw(0, user_id="other")])).json()

    assert first["batch_ids"] != other["batch_ids"]


@pytest.mark.parametrize(
    ("timezone", "times"),
    [
        ("UTC", ("2025-08-02T00:00:00Z", "2025-08-01T23:59:59Z")),
        ("Europe/Kyiv", ("2025-08-01T21:00:00Z", "2025-08-01T20:59:59Z")),
    ],
)
def test_events_are_sorted_by_reported_day_before_they_are_cut_into_batches(
    queue: Queue, client_of: Callable[..., TestClient], timezone: str, times: tuple[str, str]
) -> None:
    client = client_of(queue.client, timezone=timezone)
    events = [raw(number, occurred_at=times[number % 2]) for number in range(1_000)]

    client.post("/events", content=as_json(events))

    assert [{event.occurred_at for event in batch.events} for batch in queue.batches()] == [{times[1]}, {times[0]}]


def holds(event_id: str) -> Callable[[Batch], bool]:
    return lambda batch: any(event.event_id == event_id for event in batch.events)


def everything(_: Batch) -> bool:
    return True


def test_events_that_the_queue_keeps_refusing_come_back_to_be_sent_again(
    queue: Queue, client_of: Callable[..., TestClient]
) -> None:
    refusing = RefusingClient(queue.client, refuses=holds("event-700"))
    pauses: list[float] = []
    client = client_of(refusing, pauses.append)
    # The days are out of order, so that the places in the request are not those in the queue.
    days = ["2025-08-02", "2025-08-01", "2025-08-03"]
    events = [raw(number, occurred_at=f"{days[number // 500]}T10:00:00Z") for number in range(1_500)]
    bad = {3, 1_200}
    for number in bad:
        events[number] = raw(number, user_id=None)

    response = client.post("/events", content=as_json(events))

    answer = response.json()
    batches = queue.batches()
    assert response.status_code == 202
    assert answer["accepted"] == 998
    # What the batch that the queue refuses would have told the ledger comes alone.
    told = [(len(batch.events), batch.delivery and batch.delivery.rejected) for batch in batches]
    assert told == [(500, ()), (498, ()), (0, (("missing_field", 2),))]
    assert [rejection["index"] for rejection in answer["rejected"]] == [3, *range(500, 1_000), 1_200]
    assert [rejection["event_id"] for rejection in answer["rejected"]] == [
        f"event-{rejection['index']}" for rejection in answer["rejected"]
    ]
    assert [rejection["code"] for rejection in answer["rejected"]] == [
        "missing_field",
        *["retry"] * 500,
        "missing_field",
    ]
    assert answer["batch_ids"] == [batch.batch_id for batch in batches if batch.events]
    assert sorted(event.event_id for event in queued(batches)) == sorted(
        f"event-{number}" for number in range(1_500) if number not in bad and not 500 <= number < 1_000
    )
    assert sorted(refusing.seen.values()) == [1, 1, 1, ATTEMPTS]
    assert len(pauses) == ATTEMPTS - 1
    assert pauses == sorted(set(pauses))


@pytest.mark.parametrize(("hot_days", "said"), [(0, {}), (40, {"dedupe_days": 40})])
def test_for_how_long_an_id_is_taken_is_said_where_it_is_not_for_ever(
    queue: Queue, clock: Clock, logger: Logger, hot_days: int, said: dict[str, int]
) -> None:
    intake = Intake(BatchQueue(queue.client, queue.url, pass_over), lambda _: Calendar("UTC"), clock)

    answer = api(intake, logger, hot_days).post("/events", json=[raw(1), {"event_id": None}])

    assert answer.status_code == 202
    assert {name: value for name, value in answer.json().items() if name == "dedupe_days"} == said
    assert answer.json()["rejected"][0]["event_id"] is None


def test_events_that_the_queue_takes_at_a_later_try_are_accepted(
    queue: Queue, client_of: Callable[..., TestClient]
) -> None:
    refusing = RefusingClient(queue.client, refuses=everything, tries=2)
    client = client_of(refusing)

    response = client.post("/events", content=MANY["array"])

    assert response.status_code == 202
    assert (response.json()["accepted"], response.json()["rejected"]) == (3, [])
    assert queued(queue.batches()) == [kept(event) for event in THREE]


@pytest.mark.parametrize("others", [[], [raw(9, user_id=None)]], ids=["good events", "a bad one besides"])
def test_a_queue_that_takes_nothing_is_a_503_that_says_when_to_try_again(
    queue: Queue, client_of: Callable[..., TestClient], others: list[dict[str, Any]]
) -> None:
    refusing = RefusingClient(queue.client, refuses=everything)
    client = client_of(refusing)

    response = client.post("/events", content=as_json([*THREE, *others]))

    assert_problem(response, 503, "queue_unavailable")
    assert int(response.headers["retry-after"]) > 0
    assert queue.messages() == []


@pytest.mark.parametrize("code", QUEUE_ERRORS)
def test_a_queue_whose_every_call_raises_is_a_503_whose_reason_is_logged(
    queue: Queue, client_of: Callable[..., TestClient], logs: io.StringIO, code: str
) -> None:
    raising = RaisingClient(queue.client, QUEUE_ERRORS[code], refuses=everything)
    pauses: list[float] = []
    client = client_of(raising, pauses.append)

    response = client.post("/events", content=MANY["array"])

    assert_problem(response, 503, "queue_unavailable")
    assert int(response.headers["retry-after"]) > 0
    assert code not in response.text
    assert raising.raised == ATTEMPTS
    assert len(pauses) == ATTEMPTS - 1
    (entry,) = [json.loads(line) for line in logs.getvalue().splitlines()]
    assert (entry["level"], entry["queue_errors"]) == ("ERROR", [code])
    assert queue.messages() == []


@pytest.mark.parametrize("code", QUEUE_ERRORS)
def test_the_events_of_a_call_that_keeps_raising_come_back_to_be_sent_again(
    queue: Queue, client_of: Callable[..., TestClient], logs: io.StringIO, code: str
) -> None:
    raising = RaisingClient(queue.client, QUEUE_ERRORS[code], refuses=holds("event-20"))
    pauses: list[float] = []
    client = client_of(raising, pauses.append)
    # Hex of random bytes hardly shrinks: eight of these events fill a message, and one message a call.
    noise = random.Random(0)
    events = [raw(number, properties={"noise": noise.randbytes(14_000).hex()}) for number in range(32)]

    response = client.post("/events", content=as_json(events))

    answer = response.json()
    batches = queue.batches()
    assert response.status_code == 202
    assert answer["accepted"] == 24
    assert [(rejection["index"], rejection["event_id"], rejection["code"]) for rejection in answer["rejected"]] == [
        (number, f"event-{number}", "retry") for number in range(16, 24)
    ]
    assert answer["batch_ids"] == [batch.batch_id for batch in batches]
    assert queued(batches) == [kept(event) for event in [*events[:16], *events[24:]]]
    assert raising.raised == ATTEMPTS
    assert len(pauses) == ATTEMPTS - 1
    (entry,) = [json.loads(line) for line in logs.getvalue().splitlines()]
    assert (entry["level"], entry["queue_errors"]) == ("ERROR", [code])


@pytest.mark.parametrize("code", QUEUE_ERRORS)
def test_a_call_that_stops_raising_before_the_last_try_is_no_failure(
    queue: Queue, client_of: Callable[..., TestClient], logs: io.StringIO, code: str
) -> None:
    client = client_of(RaisingClient(queue.client, QUEUE_ERRORS[code], refuses=everything, tries=ATTEMPTS - 1))

    response = client.post("/events", content=MANY["array"])

    assert response.status_code == 202
    assert (response.json()["accepted"], response.json()["rejected"]) == (3, [])
    assert queued(queue.batches()) == [kept(event) for event in THREE]
    assert logs.getvalue() == ""


def test_bad_events_alone_are_no_failure_of_the_queue(
    queue: Queue, client_of: Callable[..., TestClient], logs: io.StringIO
) -> None:
    refusing = RefusingClient(queue.client, refuses=everything)
    client = client_of(refusing)

    response = client.post("/events", content=as_json([raw(0, user_id=None)]))

    assert response.status_code == 422
    assert list(refusing.seen.values()) == [ATTEMPTS]
    assert "the ledger lacks events" in logs.getvalue()


def test_an_unexpected_failure_is_a_500_that_tells_the_logs_alone_why(logs: io.StringIO, logger: Logger) -> None:
    client = api(FailingIntake(RuntimeError("hunter2 is wrong")), logger)

    response = client.post("/events", content=MANY["array"])

    assert_problem(response, 500, "internal_error")
    for told in ("hunter2", "RuntimeError", "Traceback", ".py"):
        assert told not in response.text
    (entry,) = [json.loads(line) for line in logs.getvalue().splitlines()]
    assert entry["level"] == "ERROR"
    assert "RuntimeError: hunter2 is wrong" in entry["exception"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/events", 405, "method_not_allowed"),
        ("DELETE", "/events", 405, "method_not_allowed"),
        ("POST", "/event", 404, "not_found"),
        ("GET", "/openapi.json", 404, "not_found"),
    ],
)
def test_other_routes_are_problems(client: TestClient, method: str, path: str, status: int, code: str) -> None:
    assert_problem(client.request(method, path), status, code)


def test_a_slash_after_the_route_is_a_404_and_leads_nowhere(client: TestClient, queue: Queue) -> None:
    response = client.post("/events/", content=MANY["array"], follow_redirects=False)

    assert_problem(response, 404, "not_found")
    assert "location" not in response.headers
    assert queue.messages() == []


def test_a_405_says_which_method_is_allowed(client: TestClient) -> None:
    assert client.get("/events").headers["allow"] == "POST"


def test_the_handler_queues_the_sample_events_under_the_request_id(
    load_handler: Callable[[str], ModuleType], queue: Queue, api_key: str
) -> None:
    event = sample_event("ingest", api_key)

    answer = load_handler("ingest").handler(event, LAMBDA_CONTEXT)

    (message,) = queue.messages()
    batch = decode(message["Body"])
    assert answer["statusCode"] == 202
    assert json.loads(answer["body"]) == {
        "batch_ids": [batch.batch_id],
        "accepted": 3,
        "rejected": [],
        "duplicates_in_request": 0,
    }
    assert len(batch.events) == 3
    assert message["MessageAttributes"]["correlation_id"]["StringValue"] == event["requestContext"]["requestId"]


def test_the_handler_measures_the_events_and_logs_who_sent_them_under_the_request_id(
    load_handler: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str], api_key: str
) -> None:
    event = sample_event("ingest", api_key)

    load_handler("ingest").handler(event, LAMBDA_CONTEXT)

    request, measured = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert request["principal"].startswith("key ")
    assert request["principal"].removeprefix("key ") in api_key
    assert request["correlation_id"] == event["requestContext"]["requestId"]
    assert (request["method"], request["route"], request["status"]) == ("POST", "/events", 202)
    assert measured["EventsAccepted"] == [3]
    assert "EventsRejected" not in measured


def test_a_request_that_is_refused_measures_nothing(
    load_handler: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    answer = load_handler("ingest").handler(sample_event("ingest"), LAMBDA_CONTEXT)

    (request,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert answer["statusCode"] == request["status"] == 401
    assert "principal" not in request


def test_the_handler_answers_an_unexpected_failure_with_a_problem(
    load_handler: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str], api_key: str
) -> None:
    handler = load_handler("ingest")
    provide(handler.app, FailingIntake(RuntimeError("hunter2 is wrong")))

    answer = handler.handler(sample_event("ingest", api_key), LAMBDA_CONTEXT)

    body = base64.b64decode(answer["body"]) if answer["isBase64Encoded"] else answer["body"].encode()
    assert answer["statusCode"] == 500
    assert answer["headers"]["content-type"] == "application/problem+json"
    assert json.loads(body)["code"] == "internal_error"
    assert b"hunter2" not in body
    entry, request = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert entry["level"] == "ERROR"
    assert "hunter2" in entry["exception"]
    assert request["message"] == "request answered"
