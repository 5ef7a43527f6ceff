"""How an archive of very many days is read: from volumes, which save requests and change no answer."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rollcall.archive import binding, bucket, compaction, snapshots
from rollcall.archive.binding import Binder
from rollcall.archive.bucket import Archive
from rollcall.archive.snapshots import Snapshots
from rollcall.core.events import Event
from rollcall.core.projects import DEFAULT
from rollcall.questions.from_archive import ArchivedEvents
from rollcall.questions.retention import Retained, Retention
from rollcall.questions.segment import parse_segment
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.keys import volume_objects
from scripts.local.ministack import MiniStack
from tests.integration.test_archive import Interrupted, Stack, batch, on_days
from tests.support import delete_tables

DAYS = 24
DAY = "2024-03-01"


@pytest.fixture
def stack(dynamodb: Any, ministack: MiniStack, tmp_path: Path) -> Iterator[Stack]:
    made = Stack(dynamodb, ministack, tmp_path)
    yield made
    delete_tables(made.client, made.tables)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """As few days as thousands are otherwise."""
    monkeypatch.setattr(binding, "LEAST_DAYS", 4)
    monkeypatch.setattr(binding, "VOLUME_DAYS", 8)
    monkeypatch.setattr(compaction, "BIND_DAYS", 5)
    monkeypatch.setattr(compaction, "random", SimpleNamespace(random=lambda: 0.0))
    monkeypatch.setattr(snapshots, "FROM_DAYS", 5)


class Counting:
    """A client of S3 that counts what it is asked for."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.gets: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def get_object(self, **request: Any) -> Any:
        self.gets.append(request["Key"])
        return self._client.get_object(**request)


def reader(stack: Stack, folder: Path, s3: Any = None) -> Snapshots:
    return Snapshots(
        Archive(s3 or stack.s3, stack.bucket, DEFAULT), Dynamo(stack.client), stack.tables.stats, folder, 100
    )


def new_users(snapshots: Snapshots, segment: str = "event_type:open") -> Retained:
    archived = ArchivedEvents(snapshots, 200, [parse_segment(segment)])
    return Retention(DAY, 1, 1, new_users=True, today="2024-04-01").from_archive(archived).answer


def on_day(number: int, user: str, kind: str = "open", day: str = DAY) -> Event:
    return Event(f"n{number}", f"{day}T12:00:00Z", user, kind, "{}")


def bind(stack: Stack) -> None:
    while Binder(stack.archive, 200).bind():
        pass


def volumes(stack: Stack) -> list[str]:
    return [
        one["Key"]
        for one in stack.s3.list_objects_v2(Bucket=stack.bucket, Prefix=volume_objects(DEFAULT)).get("Contents", ())
    ]


def test_a_new_cohort_takes_few_requests_however_many_days_were_before_it(stack: Stack, tmp_path: Path) -> None:
    # A user of each day before, who comes again on the cohort's day, and one who is new then.
    stack.claims().apply(on_days(*range(DAYS)))
    stack.claims().apply(batch(on_day(1, "u"), on_day(2, "new"), on_day(3, "new", day="2024-03-02")))
    stack.compact()
    bind(stack)

    s3 = Counting(stack.s3)
    found = new_users(reader(stack, tmp_path / "reader", s3))

    assert (found.cohort_size, found.windows[0].retained_users) == (1, 1)
    alone = [key for key in s3.gets if not key.startswith(volume_objects(DEFAULT))]
    assert len(alone) < binding.LEAST_DAYS
    assert len(s3.gets) - len(alone) < DAYS / 2
    assert new_users(reader(stack, tmp_path / "again"), "event_type:close").cohort_size == 0


def test_what_comes_late_to_a_day_in_a_volume_is_in_the_next_answer(stack: Stack, tmp_path: Path) -> None:
    stack.claims().apply(on_days(*range(DAYS)))
    stack.claims().apply(batch(on_day(1, "ada"), on_day(2, "ben")))
    stack.compact()
    bind(stack)
    assert new_users(reader(stack, tmp_path)).cohort_size == 2

    stack.claims().apply(batch(on_day(3, "ada", day="2024-01-05")))

    # Counted, then compacted, then bound.
    for _ in range(3):
        assert new_users(reader(stack, tmp_path)).cohort_size == 1
        stack.compact()


def test_volumes_whose_days_have_changed_give_way_to_few_new_ones(stack: Stack) -> None:
    for number in range(3):
        stack.claims().apply(on_days(*range(DAYS), first=100 * number))
        stack.compact()
        assert len(stack.rows("event_id")) == (number + 1) * DAYS

    bind(stack)

    # All of them together are thin, so that each that is made takes the others' place.
    assert len(volumes(stack)) == 2
    assert len(stack.archive.volumes()[0]) == 1


def test_a_day_of_many_events_is_in_no_volume(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.claims().apply(on_days(*range(DAYS)))
    stack.compact()
    for key in volumes(stack):
        stack.s3.delete_object(Bucket=stack.bucket, Key=key)
    monkeypatch.setattr(binding, "DAY_BYTES", 1)

    assert not Binder(stack.archive, 200).bind()

    assert volumes(stack) == []


@pytest.mark.parametrize("half", ["events.parquet", "days.json"])
def test_half_a_volume_is_none(stack: Stack, tmp_path: Path, half: str) -> None:
    stack.claims().apply(on_days(*range(DAYS)))
    stack.claims().apply(batch(on_day(1, "u"), on_day(2, "new")))
    stack.compact()
    bind(stack)
    for key in volumes(stack):
        if key.endswith(half):
            stack.s3.delete_object(Bucket=stack.bucket, Key=key)

    assert new_users(reader(stack, tmp_path)).cohort_size == 1
    bind(stack)
    whole, halves = stack.archive.volumes()
    assert (len(whole) > 0, halves) == (True, [])
    assert new_users(reader(stack, tmp_path / "again")).cohort_size == 1


def test_a_reader_of_volumes_misses_nothing_whatever_happens_between_any_two_of_its_calls(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "READERS", 1)
    monkeypatch.setattr(snapshots, "READERS", 1)
    days = range(6)
    for moment in count():
        stack.claims().apply(on_days(*days, first=1_000 * moment))
        stack.compact()
        stack.claims().apply(on_days(*days, first=1_000 * moment + 100))
        whole = stack.rows("event_id", "batch", "day")
        calls = count()
        s3: Any = Interrupted(stack.s3, calls, moment, stack.compact)
        stack.whole.archive = Archive(s3, stack.bucket, DEFAULT)
        assert stack.rows("event_id", "batch", "day") == whole
        stack.whole.archive = stack.archive
        if next(calls) <= moment:
            break
    assert moment > 4
