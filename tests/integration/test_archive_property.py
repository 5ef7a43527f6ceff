"""The archive under random schedules.

A schedule is some consumers, bundlers, compactions and readers that run side by side, one AWS call at a time in an
order that Hypothesis chooses, each of which may crash before or after any call and is begun again. A compaction may
run out of time at any day. Whatever a reader gets has to be whole batches, each row once, all that were counted before
it began; in the end the archive has what the table has.
"""

import os
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any
from unittest import mock

from botocore.exceptions import ClientError
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from rollcall.archive import binding, bucket, bundling, compaction, snapshots
from rollcall.archive.bucket import Archive
from rollcall.archive.bundling import Bundler
from rollcall.archive.compaction import Compactor
from rollcall.archive.duck import connect, load_snapshot
from rollcall.archive.snapshots import Snapshot, Snapshots
from rollcall.core.batch import Batch, make_batch
from rollcall.core.days import Calendar
from rollcall.core.events import Event
from rollcall.core.projects import DEFAULT
from rollcall.counting.claims import Claims
from rollcall.counting.receipts import finished
from rollcall.stack.dynamo import Dynamo, Unavailable
from rollcall.stack.keys import Tables
from scripts.local.ministack import MiniStack
from tests.integration.test_claims_property import FAULTS, Crash, FaultyClient, Queue, Turns
from tests.support import (
    RECEIVED_AT,
    KeptDeadLetters,
    assert_counters_equal_recount,
    create_tables,
    delete_tables,
    pass_over,
    scan,
)

SCHEDULES = int(os.environ.get("ROLLCALL_SCHEDULES", "240")) // 6
# A day begins three hours earlier here.
CALENDAR = Calendar("Europe/Kyiv")
MOMENTS = ("2025-08-01T12:00:00Z", "2025-08-01T20:59:59.999999Z", "2025-08-01T21:00:00Z", "2025-08-02T22:00:00Z")
MEGABYTES = 200
ROUNDS = 2

Row = tuple[str, str, str]


@dataclass(frozen=True)
class Schedule:
    batches: list[Batch]
    counted: int
    """How many of them are counted before it begins."""
    deliveries: list[int]
    """Of the others, some more often than once."""
    consumers: int
    bundlers: int
    compactions: int
    days: int
    """How many days a compaction has time for."""
    readers: int
    from_days: int
    """Of more days than these, a reader looks for volumes."""
    turns: list[tuple[int, str | None]]


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    event = st.builds(
        lambda number, user, moment, kind: Event(f"e{number}", MOMENTS[moment], f"u{user}", kind, '{"a":"\\n"}'),
        st.integers(0, 9),
        st.integers(0, 2),
        st.integers(0, len(MOMENTS) - 1),
        st.sampled_from(["t0", "t1", "$identify"]),
    )
    contents = draw(st.lists(st.lists(event, min_size=1, max_size=5), min_size=1, max_size=5))
    batches = [make_batch(DEFAULT, content, "test", RECEIVED_AT) for content in contents]
    counted = draw(st.integers(0, len(batches)))
    waiting = list(range(counted, len(batches)))
    again = draw(st.lists(st.sampled_from(waiting), max_size=3)) if waiting else []
    # In runs: what goes wrong between two calls of one takes many of another.
    run = st.tuples(
        st.integers(0, 5), st.integers(1, 12), st.one_of(st.none(), st.none(), st.none(), st.sampled_from(FAULTS))
    )
    runs = draw(st.lists(run, max_size=40))
    return Schedule(
        batches=batches,
        counted=counted,
        deliveries=draw(st.permutations([*waiting, *again])),
        consumers=draw(st.integers(1, 2)) if waiting else 0,
        bundlers=draw(st.integers(0, 2)),
        compactions=draw(st.integers(0, 2)),
        days=draw(st.sampled_from([1, 2, 100])),
        readers=draw(st.integers(0, 1)),
        from_days=draw(st.sampled_from([0, 1, 400])),
        turns=[turn for actor, length, fault in runs for turn in [*[(actor, None)] * (length - 1), (actor, fault)]],
    )


class FaultyS3(FaultyClient):
    """A client of S3 whose lists come in pages of two, each a call that waits for its turn."""

    def __getattr__(self, name: str) -> Any:
        if name == "get_paginator":
            return lambda _operation: self
        return super().__getattr__(name)

    def paginate(self, **request: Any) -> Iterator[Any]:
        while True:
            page = self.list_objects_v2(MaxKeys=2, **request)
            yield page
            if not page["IsTruncated"]:
                return
            request["ContinuationToken"] = page["NextContinuationToken"]

    def _throttled(self, name: str, request: Any) -> Any:
        raise ClientError({"Error": {"Code": "SlowDown"}}, name)


class Stack:
    """The tables and the archive of one schedule."""

    def __init__(self, dynamodb: Any, stack: MiniStack, folder: Path) -> None:
        self.dynamodb, self.s3 = dynamodb, stack.client("s3")
        self.tables: Tables = create_tables(self.dynamodb)
        self.bucket = f"archive-{uuid.uuid4().hex[:12]}"
        self.s3.create_bucket(Bucket=self.bucket)
        self.folder = folder / self.bucket
        self.archive = Archive(self.s3, self.bucket, DEFAULT)
        self.compactor = Compactor(self.archive, Dynamo(self.dynamodb), self.tables.stats, MEGABYTES)
        self.snapshots = self.reading(self.archive, Dynamo(self.dynamodb), "last")

    def reading(self, archive: Archive, dynamo: Dynamo, name: str) -> Snapshots:
        return Snapshots(archive, dynamo, self.tables.stats, self.folder / name, 1)

    def finished(self, batches: list[Batch]) -> set[str]:
        return finished(
            Dynamo(self.dynamodb), self.tables.stats, DEFAULT, sorted({batch.batch_id for batch in batches})
        )

    def stored(self) -> Counter[Row]:
        """What the table has: event, batch and day."""
        return Counter(
            (item["event_id"], item["batch"], CALENDAR.day_of(item["occurred_at"]))
            for item in scan(self.dynamodb, self.tables.events)
        )

    def close(self) -> None:
        delete_tables(self.dynamodb, self.tables)
        while keys := self.s3.list_objects_v2(Bucket=self.bucket).get("Contents"):
            self.s3.delete_objects(Bucket=self.bucket, Delete={"Objects": [{"Key": one["Key"]} for one in keys]})
        self.s3.delete_bucket(Bucket=self.bucket)


def rows_of(snapshot: Snapshot, folder: Path) -> Counter[Row]:
    with closing(connect(folder, MEGABYTES)) as connection:
        load_snapshot(connection, snapshot)
        # All rows: each is in one of the two views.
        rows = "SELECT event_id, batch, CAST(day AS VARCHAR) FROM (FROM events UNION ALL FROM profiles)"
        return Counter(connection.execute(rows).fetchall())


@dataclass
class Reading:
    """What a reader got, between what was counted before and after."""

    before: set[str]
    rows: Counter[Row]
    after: set[str]


class Actors:
    """The work of each thread, done again after every crash."""

    def __init__(self, stack: Stack, schedule: Schedule, turns: Turns) -> None:
        self.stack = stack
        self.schedule = schedule
        self.turns = turns
        claims = Claims(
            Dynamo(stack.dynamodb), stack.tables, lambda _: CALENDAR, KeptDeadLetters(), archive=stack.archive
        )
        for batch in schedule.batches[: schedule.counted]:
            claims.apply(batch)
        self.queue = Queue([schedule.batches[position] for position in schedule.deliveries])
        self.readings: list[Reading] = []
        self.failures: list[BaseException] = []

    def clients(self, actor: int) -> tuple[Dynamo, Archive]:
        dynamo: Any = FaultyClient(self.stack.dynamodb, self.turns, actor)
        s3: Any = FaultyS3(self.stack.s3, self.turns, actor)
        return Dynamo(dynamo, pass_over), Archive(s3, self.stack.bucket, DEFAULT)

    def consume(self, actor: int) -> None:
        while message := self.queue.take():
            dynamo, archive = self.clients(actor)
            claims = Claims(dynamo, self.stack.tables, lambda _: CALENDAR, KeptDeadLetters(), archive=archive)
            if not self.survives(lambda c=claims, m=message: c.apply(m)):  # type: ignore[misc]
                self.queue.give_back(message)

    def compact(self, actor: int) -> None:
        for _ in range(ROUNDS):
            dynamo, archive = self.clients(actor)
            compactor = Compactor(archive, dynamo, self.stack.tables.stats, MEGABYTES)
            # It asks once before it begins, and then after each day.
            left = chain([900_000] * self.schedule.days, repeat(compaction.LEAST_MILLISECONDS_A_DAY - 1))
            self.survives(lambda c=compactor, left=left: c.run(lambda: next(left)))  # type: ignore[misc]

    def bundle(self, actor: int) -> None:
        for _ in range(ROUNDS):
            dynamo, archive = self.clients(actor)
            bundler = Bundler(archive, dynamo, self.stack.tables.stats)
            self.survives(lambda b=bundler: b.run(lambda: 900_000))  # type: ignore[misc]

    def read(self, actor: int) -> None:
        dynamo, archive = self.clients(actor)
        reading = self.stack.reading(archive, dynamo, f"reader {actor}")
        for _ in range(2 * ROUNDS):
            self.survives(lambda: self.read_once(reading))

    def read_once(self, reading: Snapshots) -> None:
        before = self.stack.finished(self.schedule.batches)
        snapshot = reading.take()
        after = self.stack.finished(self.schedule.batches)
        self.readings.append(Reading(before, rows_of(snapshot, self.stack.folder), after))

    def survives(self, work: Callable[[], object]) -> bool:
        try:
            work()
        except (Crash, ClientError, Unavailable):
            return False
        return True

    def run(self) -> None:
        work = [
            *[self.consume] * self.schedule.consumers,
            *[self.bundle] * self.schedule.bundlers,
            *[self.compact] * self.schedule.compactions,
            *[self.read] * self.schedule.readers,
        ]

        def live(actor: int) -> None:
            try:
                work[actor](actor)
            except BaseException as error:
                self.failures.append(error)
            finally:
                self.turns.leave(actor)

        threads = [threading.Thread(target=live, args=(actor,)) for actor in range(len(work))]
        for actor, _ in enumerate(threads):
            self.turns.join(actor)
        for thread in threads:
            thread.start()
        self.turns.run(iter(self.schedule.turns))
        for thread in threads:
            thread.join()
        assert not self.failures, self.failures


def test_no_schedule_of_crashes_loses_a_row_doubles_one_or_shows_half_a_batch(
    dynamodb: Any, ministack: MiniStack, tmp_path: Path
) -> None:
    @settings(
        max_examples=SCHEDULES,
        deadline=None,
        database=None,
        # A schedule takes half a second, and shrinking one hundreds of them.
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )
    @given(schedule=schedules())
    def check(schedule: Schedule) -> None:
        stack = Stack(dynamodb, ministack, tmp_path)
        try:
            actors = Actors(stack, schedule, Turns())
            # One call at a time of each; more than one group of objects, and several tiers; and a lease that keeps
            # no other bundler away.
            with (
                mock.patch.object(bucket, "READERS", 1),
                mock.patch.multiple(snapshots, READERS=1, FROM_DAYS=schedule.from_days),
                mock.patch.multiple(binding, LEAST_DAYS=1, VOLUME_DAYS=2),
                mock.patch.multiple(compaction, GROUP_OBJECTS=2, BIND_DAYS=1),
                mock.patch.multiple(bundling, LEAST_BATCHES=2, LEAST_BUNDLES=2, BUNDLE_OBJECTS=2, LEASE_SECONDS=0),
            ):
                actors.run()
            assert_counters_equal_recount(stack.dynamodb, stack.tables, CALENDAR)
            stored = stack.stored()
            for reading in actors.readings:
                assert_whole_batches(reading, stored)
            assert rows_of(stack.snapshots.take(), stack.folder) == stored
            stack.compactor.run(lambda: 900_000)
            assert list(stack.archive.tiers()) == []
            assert rows_of(stack.snapshots.take(), stack.folder) == stored
        finally:
            stack.close()

    check()


def assert_whole_batches(reading: Reading, stored: Counter[Row]) -> None:
    read = {batch for _, batch, _ in reading.rows}
    owning = {batch for _, batch, _ in stored}
    assert reading.before & owning <= read <= reading.after
    assert reading.rows == Counter({row: count for row, count in stored.items() if row[1] in read})
