"""What a body within the limits may take. These are the only tests that assert a duration: seconds of the processor, of
the best of a few tries, longer on a machine that is slow at the moment.
"""

import asyncio
import base64
import gzip
import json
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from random import Random
from typing import Any, cast

import msgpack
import pytest
from aws_lambda_powertools import Logger, Metrics

from rollcall.archive import bucket
from rollcall.core.batch import Batch, Sender, encode, make_batch
from rollcall.core.days import Calendar
from rollcall.core.events import Event, flaw
from rollcall.core.projects import DEFAULT
from rollcall.core.strict_json import MAX_VALUES
from rollcall.counting.claims import Applied, Claims
from rollcall.counting.consumer import Consumer
from rollcall.counting.receipts import Receipt
from rollcall.files import importer
from rollcall.files.rows import cut_file, read_rows
from rollcall.http.json_bodies import MAX_BYTES, json_body
from rollcall.http.problems import Refused
from rollcall.http.routes.auth import Registration
from rollcall.intake.bodies import MAX_EXPANDED_BYTES, MAX_SENT_BYTES, UnreadableBody, read_events
from rollcall.intake.intake import Intake
from rollcall.questions.segment import BadSegment, parse_segment
from rollcall.stack.dynamo import Dynamo, Setbacks
from rollcall.stack.queues import BatchQueue, DeadLetterQueue
from tests.measured import measured

SECONDS = 1.0
MEGABYTES = 200
ROW_SECONDS = 50e-6
TRIES = 3
NOW = datetime(2025, 9, 1, tzinfo=UTC)
KNOWN = json.dumps([{"a": number, "b": f"text {number}", "c": [1.5, None, True]} for number in range(20_000)])
KNOWN_SECONDS = 0.02
EMOJI = "🎉"  # makes Python keep each character of a text in four bytes


class Queue:
    """Takes everything, and keeps nothing."""

    def send(self, _bodies: object, _correlation_id: str) -> dict[int, str]:
        return {}


def slowness() -> float:
    """How many times longer than on a quiet core of 2.6 GHz something known takes at the moment, and at least 1."""
    began = time.process_time()
    json.loads(KNOWN)
    return max(1.0, (time.process_time() - began) / KNOWN_SECONDS)


def quickest(work: Callable[..., object], arguments: tuple[object, ...], seconds: float) -> float:
    """The seconds that the first try takes that is good enough, or the last."""
    took = seconds
    for _ in range(TRIES):
        slow = slowness()
        began = time.process_time()
        work(*arguments)
        took = (time.process_time() - began) / max(slow, slowness())
        if took < seconds:
            break
    return took


def assert_bounded(work: Callable[..., object], *arguments: object, seconds: float = SECONDS) -> None:
    """Check that a function of this module takes no longer than that, and no more memory than a body may."""
    took, megabytes = measured(quickest, work, arguments, seconds)
    assert took < seconds
    assert megabytes < MEGABYTES


def intake() -> Intake:
    return Intake(cast(BatchQueue, Queue()), lambda _: Calendar("UTC"), lambda: NOW)


def event(number: int, **fields: object) -> dict[str, object]:
    fixed = {"occurred_at": "2025-08-01T00:00:00Z", "user_id": "u", "event_type": "t"}
    return {"event_id": f"e{number}", **fixed, **fields}


def as_json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def filled(unit: str, count: int) -> bytes:
    """An array of `count` units, or of as many as a body may hold."""
    return b"[" + ",".join([unit] * min(count, MAX_EXPANDED_BYTES // (len(unit.encode()) + 1) - 1)).encode() + b"]"


def nested(unit: str, count: int) -> bytes:
    """The same within the properties of an event."""
    head = as_json(event(1))[:-1] + b',"properties":{"a":'
    return b"[" + head + filled(unit, count)[: MAX_EXPANDED_BYTES - 200] + b"}}]"


def array(count: int, values: bytes) -> bytes:
    return b"\xdd" + count.to_bytes(4, "big") + values


def numbered(count: int) -> bytes:
    """A map whose keys are numbers."""
    return (
        b"\xdf" + count.to_bytes(4, "big") + b"".join(msgpack.packb(number << 40) + b"\xc0" for number in range(count))
    )


def names(count: int) -> str:
    return ",".join(f'"{number:06x}я":"{number}я"' for number in range(count))


ALL = 10_000_000  # more than fit
SOME = MAX_VALUES - 2_000

JSON: dict[str, Callable[[], bytes]] = {
    "ordinary events": lambda: as_json([event(n, properties={"a": n, "b": "x", "c": 1.5}) for n in range(5_000)]),
    "wide events": lambda: as_json(
        [event(n, properties={f"n{i}": f"value {n} {i}" for i in range(33)}) for n in range(5_000)]
    ),
    "largest events": lambda: as_json([event(n, properties={"a": EMOJI + "x" * 32_600}) for n in range(256)]),
    "events that hardly compress": lambda: as_json(
        [event(n, properties={"a": base64.b64encode(Random(n).randbytes(11_700)).decode()}) for n in range(260)]
    ),
    "too large events": lambda: as_json([event(n, properties={"a": "x" * 33_000}) for n in range(250)]),
    "arrays": lambda: filled("[]", ALL),
    "objects": lambda: filled("{}", ALL),
    "objects of a field": lambda: filled('{"a":1}', ALL),
    "objects that repeat a field": lambda: filled('{"a":1,"a":2}', ALL),
    "some objects that repeat a field": lambda: nested('{"a":1,"a":2}', SOME // 3),
    "some objects of a field": lambda: nested('{"a":1}', SOME // 2),
    "some arrays": lambda: nested("[]", SOME // 2),
    "chains of objects": lambda: filled('{"":' * 500 + "1" + "}" * 500, ALL),
    "some chains of objects": lambda: filled('{"":' * 500 + "1" + "}" * 500, SOME // 501),
    "an array that opens for ever": lambda: b"[" * MAX_EXPANDED_BYTES,
    "an object that opens for ever": lambda: b'{"a":' * (MAX_EXPANDED_BYTES // 5),
    "names": lambda: f'[{{{names(SOME)},"z":"{EMOJI}"}}]'.encode(),
    "names, read as lines too": lambda: f'[{{{names(SOME)},"z":"{EMOJI}"}}]\nx'.encode(),
    "names and a long integer, read as lines too": lambda: (
        f'[{{{names(SOME)},"y":{"1" * 5_000},"z":"{EMOJI}"}}]\nx'.encode()
    ),
    "short strings": lambda: filled(f'"я{EMOJI}"', ALL),
    "strings of commas": lambda: filled('","', ALL),
    "empty strings": lambda: filled('""', ALL),
    "numbers": lambda: filled("1", ALL),
    "fractions": lambda: filled("0.1", ALL),
    "integers of 1,000 digits": lambda: filled("7" * 1_000, ALL),
    "integers of 1,000 digits in properties": lambda: (
        b"["
        + b",".join(
            as_json(event(n))[:-1] + b',"properties":{"a":' + filled("7" * 1_000, 28) + b"}}" for n in range(290)
        )
        + b"]"
    ),
    "an integer of 8 million digits": lambda: filled("1" * 8_000_000, 1),
    "a fraction of 8 million digits": lambda: filled("1" * 8_000_000 + ".0", 1),
    "escapes": lambda: filled('"' + "\\n" * 4_000_000 + '"', 1),
    "backslashes": lambda: filled('"' + "\\\\" * 4_000_000 + '"', 1),
    "halves of surrogate pairs": lambda: filled('"' + "\\ud83d" * 1_300_000 + '"', 1),
    "a user id of 8 MB": lambda: as_json([{**event(1), "user_id": " " * 8_000_000 + EMOJI}]),
    "empty lines": lambda: b"\n" * MAX_EXPANDED_BYTES,
    "lines": lambda: b"{}\n" * (MAX_EXPANDED_BYTES // 3),
    "lines of arrays": lambda: b"\n".join([filled("[]", 38)] * 5_000),
    "lines that are not JSON": lambda: b"\n".join([filled("[]", 38) + b"x"] * 5_000),
    "lines that open for ever": lambda: b"\n".join([b"[" * 39] * 5_000),
    "quotes": lambda: b'"' * MAX_EXPANDED_BYTES,
}
MESSAGE_PACK: dict[str, Callable[[], bytes]] = {
    "ordinary events": lambda: msgpack.packb([event(n, properties={"a": n, "b": "x"}) for n in range(5_000)]),
    "numbers for names": lambda: b"\x91" + numbered(57_000),
    "objects of two bytes": lambda: array(8_000, (b"\x81\xc0" * 500 + b"\xc0") * 8_000),
    "objects of an empty name": lambda: array(8_000, (b"\x81\xa0" * 500 + b"\xc0") * 8_000),
    "some objects of an empty name": lambda: array(SOME // 501, (b"\x81\xa0" * 500 + b"\xc0") * (SOME // 501)),
    "some objects that repeat a field": lambda: array(SOME // 3, b"\x82\xa1a\xc0\xa1a\xc0" * (SOME // 3)),
    "some objects that numbers name": lambda: array(SOME // 3, b"\x82\x01\xc0\xa1a\xc0" * (SOME // 3)),
    "arrays": lambda: array(8_000_000, b"\x90" * 8_000_000),
    "arrays that say they are long": lambda: b"\xdd\x00\x00\x7f\xff" * 500,
    "objects that say they are long": lambda: b"\xdf\x00\x00\x7f\xff\xa0" * 500,
    "times": lambda: array(SOME, b"\xd6\xff\x00\x00\x00\x01" * SOME),
    "extensions": lambda: array(SOME, b"\xd4\x01a" * SOME),
    "bytes": lambda: array(SOME, b"\xc4\x02ab" * SOME),
    "text that is not UTF-8": lambda: b"\x91\xdb" + (8_000_000).to_bytes(4, "big") + b"\xff" * 8_000_000,
    "names": lambda: (
        b"\x91\xdf"
        + SOME.to_bytes(4, "big")
        + b"".join(msgpack.packb(f"{n:06x}{EMOJI}") + b"\xa1a" for n in range(SOME))
    ),
}
BODIES = {f"JSON: {name}": make for name, make in JSON.items()}
BODIES |= {f"MessagePack: {name}": make for name, make in MESSAGE_PACK.items()}


def take_in(sent: bytes) -> None:
    with suppress(UnreadableBody):
        intake().take(DEFAULT, read_events(sent), Sender("http"), "-")


@pytest.mark.parametrize("make", BODIES.values(), ids=BODIES.keys())
def test_any_body_of_events_takes_bounded_time_and_memory(make: Callable[[], bytes]) -> None:
    body = make()
    assert len(body) <= MAX_EXPANDED_BYTES
    sent = gzip.compress(body, 6) if len(body) > MAX_SENT_BYTES else body
    assert len(sent) <= MAX_SENT_BYTES

    assert_bounded(take_in, sent)


@pytest.mark.parametrize("member", [gzip.compress(b""), gzip.compress(b" ")], ids=["empty", "of a byte"])
def test_a_body_of_as_many_members_as_fit_takes_bounded_time_and_memory(member: bytes) -> None:
    body = member * ((MAX_SENT_BYTES - 100) // len(member)) + gzip.compress(b"[]")
    assert_bounded(read_events, body)


def message(packed: bytes) -> str:
    return base64.b64encode(zlib.compress(packed, 9)).decode()


def stored(number: int, properties: str) -> Event:
    return Event(f"e{number}", "2025-08-01T00:00:00Z", "u", "t", properties)


MESSAGES: dict[str, Callable[[], str]] = {
    "the largest batch": lambda: encode(
        make_batch(DEFAULT, [stored(n, EMOJI + "x" * 32_600) for n in range(500)], "s", "r")
    ),
    "one event of 16 MB": lambda: encode(make_batch(DEFAULT, [stored(1, EMOJI + "x" * 16_300_000)], "s", "r")),
    "arrays": lambda: message(array(16_000_000, b"\x90" * 16_000_000)),
    "objects of two bytes": lambda: message(array(16_000, (b"\x81\xa0" * 500 + b"\xc0") * 16_000)),
    "numbers for names": lambda: message(b"\x91" + numbered(57_000)),
    "arrays that say they are long": lambda: message(b"\xdd\x00\x00\x0b\xb0" * 500),
    "events of empty texts": lambda: message(
        msgpack.packb({"version": 1, "batch": "b", "source": "s", "received_at": "r", "events": [[""] * 5] * 1_000_000})
    ),
    "zeros": lambda: message(bytes(100 * 1024 * 1024)),
}


class Archiving:
    """Claims whose archive is all that takes memory."""

    def apply(self, batch: Batch) -> Applied:
        events = [one for one in batch.events if flaw(one) is None]
        for one in events:
            one.fingerprint()
        bucket.encode(batch, events, ["2025-08-01"] * len(events))
        return Applied(Receipt(0, 0, 0, 0, 0), repeated=False)


class Calm:
    """A DynamoDB that throttles nothing."""

    def setbacks(self) -> Setbacks:
        return Setbacks(0, 0)


class Dead:
    """Keeps the bodies that were sent to it."""

    def __init__(self) -> None:
        self.bodies: list[str] = []

    def send_message(self, **asked: Any) -> None:
        self.bodies.append(asked["MessageBody"])


def consume(body: str, claims: Archiving | None) -> list[str]:
    """Returns the dead letters."""
    dead = Dead()
    consumer = Consumer(
        cast(Claims, claims),
        cast(Dynamo, Calm()),
        DeadLetterQueue(cast(Any, dead), "url"),
        Logger("bounds"),
        Metrics("bounds", "bounds"),
    )
    consumer._consume(body)
    return dead.bodies


@pytest.mark.parametrize("make", MESSAGES.values(), ids=MESSAGES.keys())
def test_any_message_of_the_queue_takes_bounded_time_and_memory(make: Callable[[], str]) -> None:
    assert_bounded(consume, make(), Archiving())


@pytest.mark.parametrize("name", ["arrays", "objects of two bytes", "events of empty texts", "zeros"])
def test_a_message_over_the_bounds_goes_to_the_dead_letter_queue_as_it_is(name: str) -> None:
    body = MESSAGES[name]()
    assert consume(body, None) == [body]


ROWS: dict[str, Callable[[], bytes]] = {
    "properties of arrays": lambda: _csv(filled("[]", 5_000).decode(), 60),
    "properties of more values than an event has": lambda: _csv(filled("[]", 100_000).decode(), 26),
    "properties that nest": lambda: _csv('{"":' * 500 + "1" + "}" * 500, 300),
    "JSONL of arrays": lambda: b"\n".join([b'{"a":' + filled("[]", 5_000) + b"}"] * 60),
    "JSONL of more values than an event has": lambda: b"\n".join([b'{"a":' + filled("[]", 600_000) + b"}"] * 4),
    "JSONL of objects that repeat a field": lambda: b"\n".join([b'{"a":' + filled('{"a":1,"a":2}', 4_000) + b"}"] * 15),
    "a row that does not end": lambda: b"event_id,occurred_at,user_id,event_type\n" + b'"a' + b'\n","' * 540_000,
    "commas": lambda: b"event_id,occurred_at,user_id,event_type\n" + b"," * 8_000_000,
    "members of gzip": lambda: (
        gzip.compress(b"") * 50_000 + gzip.compress(b"event_id,occurred_at,user_id,event_type\n")
    ),
}


def _csv(properties: str, rows: int) -> bytes:
    quoted = properties.replace('"', '""')
    row = f'e,2025-08-01T00:00:00Z,u,t,"{quoted}"\n'
    return b"event_id,occurred_at,user_id,event_type,properties_json\n" + row.encode() * rows


def chunks(data: bytes) -> Iterator[bytes]:
    """A file as S3 hands it out."""
    size = 256 * 1024
    return (data[start : start + size] for start in range(0, len(data), size))


def take_in_file(data: bytes) -> None:
    for window in importer._windows(read_rows(chunks(data))):
        intake().take(DEFAULT, (row.event for row in window), Sender("import"), "-")


def cut_up(data: bytes) -> None:
    for _ in cut_file(chunks(data), 8 * 1024 * 1024):
        pass


@pytest.mark.parametrize("make", ROWS.values(), ids=ROWS.keys())
def test_any_file_takes_time_for_its_rows_and_bytes_alone_and_bounded_memory(make: Callable[[], bytes]) -> None:
    data = make()
    seconds = SECONDS * max(1, len(data) / 1024**2) + ROW_SECONDS * data.count(b"\n")

    assert_bounded(take_in_file, data, seconds=seconds)
    assert_bounded(cut_up, data, seconds=seconds)


def parse(body: bytes) -> None:
    with suppress(Refused):
        asyncio.run(json_body(Registration)(body))


@pytest.mark.parametrize("unit", ["[]", "{}", '{"a":1,"a":2}', '""', "7" * 4_000, '"\\ud83d"', "0.1"])
@pytest.mark.parametrize("wrap", [b"%s", b'{"email":%s}', b'{"email":"a@example.com","password":"x","scopes":%s}'])
def test_any_body_of_one_object_takes_bounded_time_and_memory(unit: str, wrap: bytes) -> None:
    assert_bounded(parse, wrap % filled(unit, (MAX_BYTES - 100) // (len(unit) + 1)))


def parse_condition(text: str) -> None:
    with suppress(BadSegment):
        condition = parse_segment(text)
        assert condition.literal()
        condition.numbers()
        condition.pointer()


@pytest.mark.parametrize("value", ["1" * 10_000, "[" * 10_000, "1." + "1" * 10_000, "1e" + "9" * 10_000, '"' * 10_000])
def test_any_condition_of_a_segment_takes_bounded_time_and_memory(value: str) -> None:
    assert_bounded(parse_condition, f"properties.{value}:{value}")
