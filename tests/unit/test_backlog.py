"""How many objects wait to be compacted under a steady load, with the real code of consumers, bundling and readers.

Time is simulated: requests to S3 take what is stated here, while batches go on to come.
"""

import io
import json
import math
import random
import tempfile
from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast
from unittest import mock

import pytest

from rollcall.archive import bucket
from rollcall.archive.backlog import EVERY_BATCHES, Backlog, asks_to_bundle
from rollcall.archive.bucket import Archive
from rollcall.archive.bundling import BUNDLE_BYTES, LEAST_BUNDLES, Bundler
from rollcall.archive.snapshots import Snapshots
from rollcall.core.projects import DEFAULT, Project
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.keys import batch_object, bundle_object, day_object, waiting_objects
from scripts.paths import ROOT

BATCHES_A_SECOND = 50
CONSUMERS = 10
# The longest time between two compactions is an hour, and the fifteen minutes that one may take. The last minutes of it
# are simulated, from what the others leave at worst.
MINUTES, MINUTES_BEFORE = 10, 65
BATCHES = BATCHES_A_SECOND * 60 * MINUTES
# As if every run were a cold start.
START_SECONDS = 2.0
LAMBDA_SECONDS = 900
LIST_SECONDS = 0.1
# Sixteen at a time, of 80 ms each.
GET_SECONDS = 0.005
PUT_SECONDS = 0.5
DELETE_SECONDS = 1.0
MEMORY = Path("/dev/shm")  # noqa: S108
MOST_DAYS = 366
MOST_GETS = 1_000
# A batch of 500 events takes about 30 KB. Here it takes 10 bytes, which are listed as so many more.
BATCH_BYTES, BYTES_A_BYTE = 10, 3_000


class World:
    """An archive to which batches come at a steady rate, the functions that are invoked for it, and their clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.most = 0
        self.batches = 0
        self._keys: list[str] = []
        self._bodies: dict[str, bytes] = {}
        self._invocations: list[float] = []
        self._backlogs = [Backlog(cast(Any, self), "compact") for _ in range(CONSUMERS)]
        self.bundler = Bundler(
            Archive(cast(Any, S3(self)), "b", DEFAULT), cast(Dynamo, Table()), "stats", lambda: self.now
        )

    def spend(self, seconds: float) -> None:
        """Let time pass, with all that happens in it."""
        end = self.now + seconds
        while True:
            next_batch = self.batches / BATCHES_A_SECOND if self.batches < BATCHES else math.inf
            next_run = self._invocations[0] if self._invocations else end
            if min(next_batch, next_run) >= end:
                break
            if next_run < next_batch:
                self.now = max(self.now, self._invocations.pop(0))
                self._run()
                end = max(end, self.now)
            else:
                self.now = max(self.now, next_batch)
                self._come()
        self.now = end

    def _run(self) -> None:
        end = self.now + LAMBDA_SECONDS
        self.bundler.run(lambda: int(1_000 * (end - self.now)))

    def _come(self) -> None:
        self.batches += 1
        self.put(batch_object(DEFAULT, f"{random.getrandbits(128):032x}"), b"%010d" % self.batches)
        random.choice(self._backlogs).grew(DEFAULT)

    def invoke(self, **request: str) -> None:
        assert request["InvocationType"] == "Event"
        assert asks_to_bundle(json.loads(request["Payload"])) == DEFAULT
        insort(self._invocations, self.now + START_SECONDS)

    def put(self, key: str, body: bytes) -> None:
        if key not in self._bodies:
            insort(self._keys, key)
        self._bodies[key] = body
        self.most = max(self.most, len(self._bodies))

    def get(self, key: str) -> bytes | None:
        return self._bodies.get(key)

    def delete(self, key: str) -> None:
        del self._bodies[key]
        self._keys.remove(key)

    def page(self, prefix: str, after: str) -> list[str]:
        found = self._keys[bisect_right(self._keys, after) :][:1_000]
        return [key for key in found if key.startswith(prefix)]

    def content(self) -> bytes:
        return b"".join(self._bodies.values())


class S3:
    """A client of S3 whose requests take time, if they do, and that counts what it gets."""

    def __init__(self, world: World, takes_time: bool = True) -> None:
        self.gets = 0
        self._world = world
        self._spend = world.spend if takes_time else lambda _: None

    def get_paginator(self, _: str) -> Any:
        return self

    def paginate(self, **request: str) -> Iterator[Any]:
        after = request["StartAfter"]
        while True:
            self._spend(LIST_SECONDS)
            keys = self._world.page(request["Prefix"], after)
            yield {
                "Contents": [
                    {"Key": key, "ETag": key, "Size": len(self._world.get(key) or b"") * BYTES_A_BYTE} for key in keys
                ]
            }
            if len(keys) < 1_000:
                return
            after = keys[-1]

    def get_object(self, **request: str) -> Any:
        self._spend(GET_SECONDS)
        self.gets += 1
        body = self._world.get(request["Key"])
        assert body is not None
        return {"ETag": request["Key"], "ContentLength": len(body), "Body": Body(body)}

    def put_object(self, **request: Any) -> None:
        self._spend(PUT_SECONDS)
        self._world.put(request["Key"], request["Body"].read())

    def delete_objects(self, **request: Any) -> Any:
        self._spend(DELETE_SECONDS)
        for one in request["Delete"]["Objects"]:
            self._world.delete(one["Key"])
        return {}


class Body(io.BytesIO):
    def iter_chunks(self, size: int) -> Iterator[bytes]:
        while chunk := self.read(size):
            yield chunk


class OneAfterTheOther(nullcontext[Any]):
    """In place of threads, whose time is in `GET_SECONDS`."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__(self)

    def map(self, call: Callable[[Any], Any], things: Iterable[Any]) -> Iterator[Any]:
        return map(call, things)


class Table:
    """DynamoDB where every batch is counted, with the lease of bundling."""

    def __init__(self) -> None:
        self._run, self._until = "", 0.0

    def get(self, _table: str, keys: Any, *_: object, **__: object) -> Iterator[Any]:
        for key in keys:
            yield {"pk": key["pk"], "applied": {"N": "1"}, "total": {"N": "1"}}

    def update(self, *_: str, **expressions: Any) -> tuple[bool, Any]:
        run, now, until = (next(iter(value.values())) for value in expressions["ExpressionAttributeValues"].values())
        held = run == self._run or self._until <= float(now)
        if held:
            self._run, self._until = run, float(until)
        return held, {}


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has temporary files made where they take no time, if there is such a place."""
    if MEMORY.is_dir():
        monkeypatch.setattr(tempfile, "tempdir", str(MEMORY))


@pytest.mark.usefixtures("in_memory")
def test_an_answer_takes_1_000_gets_at_most_while_50_batches_come_each_second(tmp_path: Path) -> None:
    random.seed(1)
    world = World()
    before = b"0" * (BATCHES_A_SECOND * 60 * MINUTES_BEFORE * BATCH_BYTES)
    full = -(-BUNDLE_BYTES // BYTES_A_BYTE)
    for number in range(0, len(before), full):
        world.put(bundle_object(DEFAULT, 4, f"{number:08}"), before[number : number + full])
    for tier in (1, 2, 3):
        for number in range(LEAST_BUNDLES - 1):
            world.put(bundle_object(DEFAULT, tier, f"{number:08}"), b"%10d" % (100 * tier + number))
    already = len(world.content())
    with mock.patch.object(bucket, "ThreadPoolExecutor", OneAfterTheOther):
        world.spend(60.0 * MINUTES)
    assert world.batches == BATCHES
    assert len(world.content()) == already + BATCH_BYTES * world.batches

    for day in range(MOST_DAYS):
        world.put(day_object(DEFAULT, f"2025-{day:03}"), b"")
    client = S3(world, takes_time=False)
    reader = Snapshots(Archive(cast(Any, client), "b", DEFAULT), cast(Dynamo, Table()), "stats", tmp_path, 1)
    snapshot = reader.take()

    waiting = world.page(waiting_objects(DEFAULT), "")
    assert client.gets == len(snapshot.days) + len(snapshot.pending) == MOST_DAYS + len(waiting)
    assert world.most + MOST_DAYS <= MOST_GETS


def test_a_consumer_asks_once_in_64_batches_and_one_that_ends_early_asks_as_often_for_each() -> None:
    class Functions:
        asked = 0

        def invoke(self, **request: str) -> None:
            assert request["FunctionName"] == "compact"
            Functions.asked += 1

    def asks(backlog: Backlog, batches: int) -> int:
        before = Functions.asked
        for _ in range(batches):
            backlog.grew(DEFAULT)
        return Functions.asked - before

    random.seed(1)
    for _ in range(100):
        assert [asks(Backlog(cast(Any, Functions()), "compact"), times * EVERY_BATCHES) for times in (1, 2, 3)] == [
            1,
            2,
            3,
        ]
    brief = sum(asks(Backlog(cast(Any, Functions()), "compact"), 1) for _ in range(100 * EVERY_BATCHES))
    assert brief == pytest.approx(100, abs=30)


def test_the_schedule_asks_to_compact() -> None:
    assert not asks_to_bundle(json.loads((ROOT / "events/compact.json").read_text()))
    assert not asks_to_bundle({})


@pytest.mark.parametrize("name", ["default", "shop"])
def test_a_consumer_asks_to_bundle_the_project_whose_batch_it_counted(name: str) -> None:
    asked: list[dict[str, Any]] = []

    class Functions:
        def invoke(self, **request: str) -> None:
            asked.append(json.loads(request["Payload"]))

    backlog = Backlog(cast(Any, Functions()), "compact")
    for _ in range(EVERY_BATCHES):
        backlog.grew(Project(name))
    assert [asks_to_bundle(event) for event in asked] == [Project(name)]
    # As a function of before there were projects knows it.
    assert name != "default" or asked == [{"bundle": True}]
