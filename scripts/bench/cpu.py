"""Measures the CPU time of an event from the door to the counters, in the functions' own code, without the network.

    python -m scripts.bench.cpu ROUNDS BATCHES PROFILE     run in the functions' environment; prints JSON

boto3's clients serialise, sign and parse as usual. Where a request would leave the process, a prepared answer takes its
place, and the time for making that answer is subtracted. Each round makes all measurements in turn, so a slow phase of
the machine affects all of them. The results are medians over the rounds, and each ratio compares one round's times.
"""

import base64
import cProfile
import gc
import json
import os
import pstats
import random
import subprocess
import sys
import time
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from operator import add, truediv
from pathlib import Path
from statistics import median
from typing import Any, cast

import boto3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders

from rollcall.archive.bucket import Archive
from rollcall.core.batch import cut, decode
from rollcall.core.events import parse_event
from rollcall.core.projects import DEFAULT
from rollcall.counting.claims import Claims
from rollcall.http.services import provide
from rollcall.stack import clients as aws
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.settings import ConsumerSettings
from scripts.bench.calling import CONTEXT, OpenGate
from scripts.bench.load import (
    DAY_SECONDS,
    EVENTS_PER_BATCH,
    FIRST_MOMENT,
    RECEIVED_AT,
    LiteralDesign,
    NoDeadLetters,
    made_raw,
)
from scripts.bench.report import Target
from scripts.paths import ROOT

INGEST_SIZES = (1, 10, 100, 500, 1_000, 5_000)
DOOR_SIZE = 500
# As many as Segment's SDKs send at once.
SDK_SIZE = 100
# The most requests in a round. Enough for a measurement of about a millisecond.
MOST_REQUESTS = 200
DUMPS = 20_000
PROFILE_LINES = 15
DAY = FIRST_MOMENT.date().isoformat()
# One event in this many has a new (day, user) pair; one in this many has a new user.
EVENTS_PER_NEW_USER_DAY = 10
EVENTS_PER_NEW_USER = 100
KNOWN_USERS = 4_500
PRIMES = KNOWN_USERS // EVENTS_PER_BATCH


@dataclass(frozen=True)
class IngestCost:
    """The CPU time of ingest, for requests of one size."""

    size: int
    microseconds: float
    """CPU microseconds an event."""

    @property
    def accepted_per_second(self) -> float:
        """The events that one core takes in each second."""
        return 1_000_000 / self.microseconds


@dataclass(frozen=True)
class ProfileLine:
    """A function in a profile."""

    share: float
    """The share of all time that is spent in the function itself."""
    calls_per_event: float
    where: str


@dataclass(frozen=True)
class CpuCosts:
    """CPU microseconds an event: medians over the rounds. A ratio is the median of each round's ratio."""

    rounds: int
    consumer_events: int
    """The number of events that the consumer counts in a round."""
    literal_events: int
    consumer: float
    consumer_unarchived: float
    """The consumer without an archive."""
    consumer_unremembered: float
    """A consumer that remembers no (day, user) pair, and so has to read all of them."""
    literal: float
    ingest: list[IngestCost]
    segment: float
    """The time to take in an event in a batch of `SDK_SIZE`, as Segment's SDK for Python sends it."""
    json_dumps: float
    literal_over_consumer: float
    """The time of a design with one request for each write, as a multiple of the consumer's."""
    door_to_counter_in_dumps: float
    """The time to take in and count an event, as a multiple of one `json.dumps` of the event."""
    segment_over_ingest: float
    """The time to take in such a batch, as a multiple of that for as many events in the native form."""
    consumer_requests: dict[str, int]
    """The number of requests in a round, by operation."""
    literal_requests: dict[str, int]
    consumer_profile: list[ProfileLine]
    ingest_profile: list[ProfileLine]

    @classmethod
    def of_json(cls, text: str) -> "CpuCosts":
        """The results in the output of the measuring process."""
        found = json.loads(text)
        found["ingest"] = [IngestCost(**one) for one in found["ingest"]]
        for name in ("consumer_profile", "ingest_profile"):
            found[name] = [ProfileLine(**line) for line in found[name]]
        return cls(**found)

    @property
    def ingest_of_500(self) -> float:
        """The time to take in an event in a request of 500."""
        return next(one.microseconds for one in self.ingest if one.size == DOOR_SIZE)

    @property
    def door_to_counter(self) -> float:
        """The time to take in and count an event."""
        return self.ingest_of_500 + self.consumer

    @property
    def targets(self) -> list[Target]:
        """The targets. They are for ratios, because times of different machines cannot be compared."""
        return [
            Target("literal design ÷ consumer", self.literal_over_consumer, 20, at_least=True),
            Target("door to counter, µs an event, where json.dumps takes 3", 3 * self.door_to_counter_in_dumps, 60),
            Target(f"Segment batch ÷ native events, {SDK_SIZE} in a request", self.segment_over_ingest, 1.5),
        ]

    def figures(self) -> dict[str, Any]:
        """All figures as data for JSON."""
        ingest = [{**asdict(one), "accepted_per_second": one.accepted_per_second} for one in self.ingest]
        return {
            **asdict(self),
            "ingest": ingest,
            "door_to_counter": self.door_to_counter,
            "targets": [target.figures() for target in self.targets],
        }


def cpu(environment: Mapping[str, str], rounds: int, batches: int, *, profile: bool) -> CpuCosts:
    """Measure in a new process, which loads only what the functions load."""
    command = [sys.executable, "-m", "scripts.bench.cpu", str(rounds), str(batches), str(int(profile))]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=dict(environment))
    return CpuCosts.of_json(done.stdout)


class Socket:
    """Answers in place of DynamoDB, SQS and S3, as if every request succeeds."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.seconds = 0.0
        """CPU time for making the answers."""

    def answer(self, request: AWSPreparedRequest, event_name: str, **_: object) -> AWSResponse:
        """Answer a request: a handler of botocore's event `before-send`."""
        started = time.process_time()
        operation = event_name.rpartition(".")[2]
        self.requests[operation] += 1
        sent = request.body
        if operation == "PutObject":
            # A body with a trailing checksum, which is computed while the body is read.
            sent = b"".join(cast(Iterable[bytes], sent))
        if not isinstance(sent, bytes):
            raise AssertionError(f"botocore sends {operation} as {type(sent).__name__}")
        body = _ANSWERS[operation](sent)
        headers = HTTPHeaders()
        headers["Content-Type"] = "application/x-amz-json-1.0"
        headers["Content-Length"] = str(len(body))
        headers["x-amzn-RequestId"] = "VCM2JC4G2QCI6JPLS0M3LN2MD3VV4KQNSO5AEMVJF66Q9ASUAAJG"
        headers["x-amz-crc32"] = str(zlib.crc32(body))
        response = AWSResponse(request.url, 200, headers, _Raw(body))
        self.seconds += time.process_time() - started
        return response


class _Raw:
    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, **_: object) -> Iterator[bytes]:
        yield self._body


def _batch_execute_statement(body: bytes) -> bytes:
    return b'{"Responses":[' + b",".join([b'{"TableName":"EventsTable"}'] * body.count(b'"Statement":')) + b"]}"


def _batch_get_item(body: bytes) -> bytes:
    responses = {}
    for table, asked in json.loads(body)["RequestItems"].items():
        items = (_stored(key["pk"]["S"], key["sk"]["S"]) for key in asked["Keys"])
        responses[table] = [item for item in items if item]
    return json.dumps({"Responses": responses, "UnprocessedKeys": {}}, separators=(",", ":")).encode()


def _stored(pk: str, sk: str) -> dict[str, dict[str, str]] | None:
    kind, _, name = pk.partition("#")
    if kind == "users" and sk.startswith("known"):
        return {"pk": {"S": pk}, "sk": {"S": sk}, "batch": {"S": "0" * 32}}
    if kind == "first" and not name.startswith("new"):
        return {"user_id": {"S": name}, "first_day": {"S": "2025-07-01"}}
    return None


def _send_message_batch(body: bytes) -> bytes:
    entries = body.count(b'"MessageBody":')
    sent = [{"Id": str(i), "MessageId": str(uuid.UUID(int=i)), "MD5OfMessageBody": 32 * "0"} for i in range(entries)]
    return json.dumps({"Successful": sent}).encode()


_ANSWERS: dict[str, Callable[[bytes], bytes]] = {
    "BatchExecuteStatement": _batch_execute_statement,
    "BatchGetItem": _batch_get_item,
    "BatchWriteItem": lambda _: b'{"UnprocessedItems":{}}',
    "GetItem": lambda _: b"{}",
    "PutItem": lambda _: b"{}",
    "PutObject": lambda _: b"",
    "SendMessageBatch": _send_message_batch,
    "TransactWriteItems": lambda _: b"{}",
    "UpdateItem": lambda _: b"{}",
}


class Bench:
    """The measurements of a round. Each method returns CPU microseconds an event."""

    def __init__(self, batches: int) -> None:
        self.batches = batches
        self.literal_batches = max(1, batches // 5)
        self.socket = Socket()
        boto3.setup_default_session()
        session = boto3.DEFAULT_SESSION
        if session is None:
            raise AssertionError("boto3 has set no session up")
        for service in ("dynamodb", "s3", "sqs"):
            session.events.register(f"before-send.{service}", self.socket.answer)  # type: ignore[arg-type]
        # Imported here, because the handler reads the environment and boto3's session when it is imported.
        from functions.ingest import handler

        provide(handler.app, OpenGate())
        self._ingest: Callable[[dict[str, Any], Any], dict[str, Any]] = handler.handler
        self._settings = ConsumerSettings.read(os.environ)
        self._dynamo = Dynamo(aws.dynamodb())
        bucket = self._settings.archive_bucket
        self._archive = Archive(aws.s3(), bucket, DEFAULT) if bucket else None
        self._plain = boto3.client("dynamodb")
        self._rng = random.Random(11)  # noqa: S311 - made-up data
        self._requests = {size: self._api_events(size) for size in INGEST_SIZES}
        self._batches = self._api_events(SDK_SIZE, segment=True)
        self.consumer_requests: Counter[str] = Counter()
        self.literal_requests: Counter[str] = Counter()

    def consumer(
        self, *, remember: bool = True, archive: bool = True, profiler: cProfile.Profile | None = None
    ) -> float:
        """Decode, store, archive and count batches. One event in ten has a new (day, user) pair."""
        claims = Claims(
            self._dynamo,
            self._settings.tables,
            lambda _: self._settings.calendar,
            NoDeadLetters(),
            self._settings.remembered_user_days if remember else 0,
            archive=self._archive if archive else None,
        )
        for start in range(0, KNOWN_USERS, EVENTS_PER_BATCH):
            users = [f"known-{number}" for number in range(start, start + EVENTS_PER_BATCH)]
            claims.apply(decode(self._message(users)))
        bodies = self._messages(self.batches)

        def work() -> int:
            return sum(claims.apply(decode(body)).receipt.inserted for body in bodies)

        self.socket.requests.clear()
        took = self._measure(work, profiler)
        self.consumer_requests = self.socket.requests.copy()
        return took

    def literal(self) -> float:
        """Store and count the same batches with one request for each write, by an unchanged boto3 client."""
        bodies = self._messages(self.literal_batches)
        known = {(DAY, f"known-{number}") for number in range(KNOWN_USERS)}
        design = LiteralDesign(self._plain, self._settings.tables, self._settings.calendar, known)
        self.socket.requests.clear()
        took = self._measure(lambda: sum(design.apply(decode(body)) for body in bodies))
        self.literal_requests = self.socket.requests.copy()
        return took

    def ingest(self, size: int, profiler: cProfile.Profile | None = None) -> float:
        """Take in requests of `size` events."""
        return self._take_in(self._requests[size], size, 202, profiler)

    def segment(self, profiler: cProfile.Profile | None = None) -> float:
        """Take in batches of Segment's SDK for Python."""
        return self._take_in(self._batches, SDK_SIZE, 200, profiler)

    def _take_in(
        self, requests: Sequence[dict[str, Any]], size: int, status: int, profiler: cProfile.Profile | None
    ) -> float:
        def work() -> int:
            for request in requests:
                if self._ingest(request, CONTEXT)["statusCode"] != status:
                    raise AssertionError("a made-up event is not taken in")
            return size * len(requests)

        return self._measure(work, profiler)

    def json_dumps(self) -> float:
        """Encode one event with `json.dumps`."""
        event = self._raw("known-1")

        def work() -> int:
            for _ in range(DUMPS):
                json.dumps(event)
            return DUMPS

        return self._measure(work)

    def _measure(self, work: Callable[[], int], profiler: cProfile.Profile | None = None) -> float:
        gc.collect()
        left_out = self.socket.seconds
        started = time.process_time()
        events = profiler.runcall(work) if profiler else work()
        took = time.process_time() - started - (self.socket.seconds - left_out)
        return 1_000_000 * took / events

    def _messages(self, count: int) -> list[str]:
        return [self._message(self._users()) for _ in range(count)]

    def _users(self) -> Iterator[str]:
        known = iter(self._rng.sample(range(KNOWN_USERS), EVENTS_PER_BATCH))
        for number in range(EVENTS_PER_BATCH):
            if number % EVENTS_PER_NEW_USER == 0:
                yield f"new-{self._rng.getrandbits(64)}"
            elif number % EVENTS_PER_NEW_USER_DAY == 0:
                yield f"back-{self._rng.getrandbits(64)}"
            else:
                yield f"known-{next(known)}"

    def _message(self, users: Iterable[str]) -> str:
        now = datetime.now(UTC)
        ((_, body),) = cut(DEFAULT, [parse_event(self._raw(user), now) for user in users], "bench", RECEIVED_AT)
        return body

    def _raw(self, user: str) -> dict[str, Any]:
        return made_raw(self._rng, user, self._rng.randrange(DAY_SECONDS))

    def _api_events(self, size: int, *, segment: bool = False) -> list[dict[str, Any]]:
        sample = json.loads((ROOT / "events/ingest.json").read_text())
        made = []
        for _ in range(max(1, min(MOST_REQUESTS, self.batches * EVENTS_PER_BATCH // size))):
            raws = [self._raw(f"known-{number}") for number in range(size)]
            body = json.dumps(_segment_batch(raws) if segment else raws).encode()
            made.append({**sample, "body": base64.b64encode(body).decode(), "isBase64Encoded": True})
        if segment:
            made = [{**each, "resource": "/batch", "path": "/batch"} for each in made]
        return made


def _segment_batch(raws: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return {
        "batch": [
            {
                "integrations": {},
                "anonymousId": None,
                "properties": raw["properties"],
                # The SDK says the time to the microsecond.
                "timestamp": raw["occurred_at"].replace("Z", ".123456+00:00"),
                "context": {"library": {"name": "analytics-python", "version": "2.4.0"}},
                "userId": raw["user_id"],
                "type": "track",
                "event": raw["event_type"],
                "messageId": raw["event_id"],
            }
            for raw in raws
        ],
        "sentAt": datetime.now(UTC).isoformat(),
        "writeKey": "YOUR-API-KEY",
    }


def profile_lines(profiler: cProfile.Profile, events: int) -> list[ProfileLine]:
    """The functions with the most own time, without those of this benchmark."""
    stats: dict[tuple[str, int, str], tuple[int, int, float, float, Any]] = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    clock = "<built-in method time.process_time>"
    lines = {key: (calls, own) for key, (_, calls, own, *_) in stats.items() if key[0] != __file__ and key[2] != clock}
    total = sum(own for _, own in lines.values())
    most = sorted(lines.items(), key=lambda line: -line[1][1])[:PROFILE_LINES]
    return [ProfileLine(own / total, calls / events, _where(*key)) for key, (calls, own) in most]


def _where(file: str, line: int, name: str) -> str:
    if file == "~":
        return name
    place = Path(file)
    if place.is_relative_to(ROOT):
        place = place.relative_to(ROOT)
    # Leave out the folders in which Python is installed.
    return f"{'/'.join(place.parts[-3:])}:{line} {name}"


def _after_json_dumps(size: int) -> tuple[bool, bool]:
    """Sorts the sizes: the one that is compared with `json.dumps` first, the one compared with Segment's last."""
    return size != DOOR_SIZE, size == SDK_SIZE


def measure(rounds: int, batches: int, *, profile: bool) -> CpuCosts:
    """Measure in this process, which must have the functions' environment."""
    bench = Bench(batches)
    measurements: dict[object, Callable[[], float]] = {
        "consumer_unremembered": partial(bench.consumer, remember=False),
        "consumer_unarchived": partial(bench.consumer, archive=False),
        "literal": bench.literal,
        "consumer": bench.consumer,
        "json_dumps": bench.json_dumps,
        # Measurements that are compared follow each other.
        **{size: partial(bench.ingest, size) for size in sorted(INGEST_SIZES, key=_after_json_dumps)},
        "segment": bench.segment,
    }
    took: dict[object, list[float]] = {name: [] for name in measurements}
    for _ in range(rounds):
        for name, one in measurements.items():
            took[name].append(one())
    door_to_counter = map(add, took["consumer"], took[DOOR_SIZE])
    of_consumer, of_ingest = [], []
    consumer_requests = bench.consumer_requests
    if profile:
        profiler = cProfile.Profile()
        bench.consumer(profiler=profiler)
        of_consumer = profile_lines(profiler, batches * EVENTS_PER_BATCH)
        profiler = cProfile.Profile()
        bench.ingest(DOOR_SIZE, profiler)
        of_ingest = profile_lines(profiler, batches * EVENTS_PER_BATCH)
    return CpuCosts(
        rounds=rounds,
        consumer_events=batches * EVENTS_PER_BATCH,
        literal_events=bench.literal_batches * EVENTS_PER_BATCH,
        consumer=median(took["consumer"]),
        consumer_unarchived=median(took["consumer_unarchived"]),
        consumer_unremembered=median(took["consumer_unremembered"]),
        literal=median(took["literal"]),
        ingest=[IngestCost(size, median(took[size])) for size in INGEST_SIZES],
        segment=median(took["segment"]),
        json_dumps=median(took["json_dumps"]),
        literal_over_consumer=median(map(truediv, took["literal"], took["consumer"])),
        door_to_counter_in_dumps=median(map(truediv, door_to_counter, took["json_dumps"])),
        segment_over_ingest=median(map(truediv, took["segment"], took[SDK_SIZE])),
        consumer_requests=dict(sorted(consumer_requests.items())),
        literal_requests=dict(sorted(bench.literal_requests.items())),
        consumer_profile=of_consumer,
        ingest_profile=of_ingest,
    )


def main(arguments: Sequence[str]) -> None:
    """Measure and print the results as JSON."""
    rounds, batches, profile = map(int, arguments)
    # Discard the functions' logs and metrics.
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        found = measure(rounds, batches, profile=bool(profile))
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    main(sys.argv[1:])
