"""What the consumer archives and for how long it keeps it besides, what compaction leaves, and what the audit finds."""

import gzip
import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import chain, count, repeat
from pathlib import Path
from typing import Any, cast

import pytest

from rollcall.archive import bucket, bundling, compaction, snapshots
from rollcall.archive.bucket import Archive
from rollcall.archive.bundling import Bundler
from rollcall.archive.compaction import ATTEMPTS, LEAST_MILLISECONDS_A_DAY, Compacted, Compactor, Contended
from rollcall.archive.duck import COLUMNS, connect, load_snapshot
from rollcall.archive.snapshots import Snapshots
from rollcall.core.batch import Batch, make_batch
from rollcall.core.days import Calendar
from rollcall.core.events import Event
from rollcall.core.projects import DEFAULT
from rollcall.counting import claims as claiming
from rollcall.counting.claims import Claims
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.keys import batch_object, day_object
from scripts.local.ministack import MiniStack
from scripts.operate.archive import StackArchive
from scripts.operate.audit import LEAST_AGE, Auditor
from tests.integration.test_audit import Killed, Killing
from tests.support import RECEIVED_AT, KeptDeadLetters, create_tables, delete_tables, pass_over, scan

CALENDAR = Calendar("Europe/Kyiv")
RECEIVED = datetime.fromisoformat(RECEIVED_AT)
NO_HURRY = 900_000


class Stack:
    def __init__(self, dynamodb: Any, stack: MiniStack, folder: Path) -> None:
        self.client, self.s3 = dynamodb, stack.client("s3")
        self.tables = create_tables(self.client)
        self.bucket = f"archive-{uuid.uuid4().hex[:12]}"
        self.s3.create_bucket(Bucket=self.bucket)
        self.archive = Archive(self.s3, self.bucket, DEFAULT)
        self.compactor = Compactor(self.archive, Dynamo(self.client), self.tables.stats, 200)
        self.bundler = Bundler(self.archive, Dynamo(self.client), self.tables.stats)
        self.whole = StackArchive(self.archive, Dynamo(self.client), self.tables.stats, folder / "cache")

    def claims(self, client: Any = None, hot_days: int = 0, archive: bool = True) -> Claims:
        return Claims(
            Dynamo(client or self.client),
            self.tables,
            lambda _: CALENDAR,
            KeptDeadLetters(),
            now=lambda: RECEIVED + timedelta(seconds=5),
            archive=self.archive if archive else None,
            hot_days=hot_days,
        )

    def auditor(self, hot_days: int = 0, archive: bool = True) -> Auditor:
        return Auditor(self.client, self.tables, DEFAULT, CALENDAR, 60, self.whole if archive else None, hot_days)

    def compact(self) -> tuple[int, int, int]:
        done = self.compactor.run(lambda: NO_HURRY)
        return done.batches, done.rows, done.days

    def bundle(self) -> tuple[int, int]:
        done = self.bundler.run(lambda: NO_HURRY)
        return done.objects, done.bundles

    def keys(self) -> list[str]:
        return [one["Key"] for one in self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", ())]

    def folders(self) -> list[str]:
        found = self.keys()
        return [key.rpartition("/")[0] for key in found]

    def rows(self, *columns: str) -> list[tuple[Any, ...]]:
        with self.whole.opened() as connection:
            return connection.execute(f"SELECT {', '.join(columns)} FROM events ORDER BY ALL").fetchall()

    def expire(self, *event_ids: str) -> None:
        for event_id in event_ids:
            self.client.delete_item(TableName=self.tables.events, Key={"event_id": {"S": event_id}})


@pytest.fixture
def stack(dynamodb: Any, ministack: MiniStack, tmp_path: Path) -> Iterator[Stack]:
    made = Stack(dynamodb, ministack, tmp_path)
    yield made
    delete_tables(made.client, made.tables)


def event(number: int, hour: int = 12, user: str = "u") -> Event:
    return Event(f"e{number}", f"2025-08-01T{hour:02}:00:00Z", user, "open", '{"a":"\\n"}')


def profile(number: int, user: str = "u") -> Event:
    return event(number, user=user)._replace(event_type="$identify")


def batch(*events: Event, source: str = "test") -> Batch:
    return make_batch(DEFAULT, events, source, RECEIVED_AT)


def test_a_batch_s_object_holds_what_it_owns_with_the_day_in_the_reporting_timezone(stack: Stack) -> None:
    stack.claims().apply(batch(event(1)))
    late = batch(event(1), event(2, hour=21))

    stack.claims().apply(late)

    stored = stack.s3.get_object(Bucket=stack.bucket, Key=batch_object(DEFAULT, late.batch_id))["Body"].read()
    (row,) = [json.loads(line) for line in gzip.decompress(stored).splitlines()]
    assert row == {
        **event(2, hour=21)._asdict(),
        "received_at": RECEIVED_AT,
        "source": "test",
        "batch": late.batch_id,
        "day": "2025-08-02",
    }


def test_a_batch_that_owns_nothing_is_not_archived(stack: Stack) -> None:
    stack.claims().apply(batch(event(1)))
    before = stack.keys()

    stack.claims().apply(batch(event(1), source="other"))

    assert stack.keys() == before


def test_nothing_is_archived_where_it_is_switched_off(stack: Stack) -> None:
    stack.claims(archive=False).apply(batch(event(1)))

    assert stack.keys() == []
    assert stack.auditor(archive=False).audit().drifts == []


def test_a_batch_is_not_counted_before_it_is_archived(stack: Stack) -> None:
    class Refusing:
        def keep(self, *_: object) -> None:
            raise OSError("the bucket is gone")

    claims = Claims(Dynamo(stack.client), stack.tables, lambda _: CALENDAR, KeptDeadLetters(), archive=Refusing())
    with pytest.raises(OSError, match="gone"):
        claims.apply(batch(event(1)))

    assert not [item for item in scan(stack.client, stack.tables.stats) if item["pk"].startswith("batch#")]


def test_compaction_leaves_a_file_for_each_day_and_no_finished_batch(stack: Stack) -> None:
    stack.claims().apply(batch(event(1), event(2, hour=21), event(3)))
    assert stack.compact() == (1, 3, 2)
    stack.claims().apply(batch(event(4)))
    with pytest.raises(Killed):
        stack.claims(Killing(stack.client, 4, after=False)).apply(batch(event(5), event(6)))

    assert stack.compact() == (1, 1, 1)

    unfinished = batch(event(5), event(6))
    assert stack.keys() == [
        batch_object(DEFAULT, unfinished.batch_id),
        day_object(DEFAULT, "2025-08-01"),
        day_object(DEFAULT, "2025-08-02"),
    ]
    assert [row[0] for row in stack.rows("event_id")] == ["e1", "e2", "e3", "e4"]
    assert stack.compact() == (0, 0, 0)


def test_an_object_that_a_late_twin_puts_again_is_merged_away(stack: Stack) -> None:
    late = batch(event(1))
    stack.claims().apply(late)
    stack.compact()

    stack.archive.keep(late._replace(received_at="2025-09-02T00:00:00Z"), late.events, ["2025-08-01"])

    assert stack.rows("event_id", "received_at") == [("e1", RECEIVED.replace(tzinfo=None))]
    assert stack.compact() == (1, 0, 0)
    assert stack.keys() == [day_object(DEFAULT, "2025-08-01")]


def test_a_time_of_arrival_that_is_none_is_kept_as_none(stack: Stack) -> None:
    stack.claims().apply(make_batch(DEFAULT, [event(1)], "test", "yesterday"))
    stack.compact()

    assert stack.rows("event_id", "received_at", "properties") == [("e1", None, '{"a":"\\n"}')]


def test_compaction_begins_nothing_without_the_time_to_end_it(stack: Stack) -> None:
    stack.claims().apply(batch(event(1)))

    done = stack.compactor.run(lambda: 1_000)

    assert (done.complete, done.batches) == (False, 0)
    assert len(stack.keys()) == 1


def test_compaction_merges_anew_what_another_one_wrote_meanwhile_and_gives_up_at_last(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.claims().apply(batch(event(1)))
    replace = Archive.replace_day
    lost = iter([True, False])

    def lose(archive: Archive, day: str, path: Path, etag: str) -> bool:
        if next(lost, always):
            return replace(archive, day, path, '"another"')
        return replace(archive, day, path, etag)

    monkeypatch.setattr(Archive, "replace_day", lose)
    always = True
    done = stack.compactor.run(lambda: NO_HURRY)
    assert (done.rows, done.conflicts) == (1, 1)

    stack.claims().apply(batch(event(2)))
    with pytest.raises(Contended, match=f"2025-08-01 was replaced by others {ATTEMPTS} times"):
        stack.compactor.run(lambda: NO_HURRY)
    assert [row[0] for row in stack.rows("event_id")] == ["e1", "e2"]


def test_an_audit_reads_on_while_compaction_writes_one_day_after_the_other(stack: Stack) -> None:
    number = 20
    stack.claims().apply(on_days(*range(number)))
    days = Archive.days

    class Busy(Archive):
        """An archive in which a compaction writes a day between any two lists of the days."""

        lists = 0

        def days(self, first: str = "", last: str = "~") -> dict[str, Any]:
            Busy.lists += 1
            stack.compactor.run(for_days(1))
            return days(self, first, last)

    stack.whole.archive = Busy(stack.s3, stack.bucket, DEFAULT)
    found = stack.auditor().audit()

    assert (found.days, found.drifts) == (number, [])
    assert Busy.lists == 3


def test_files_that_are_not_asked_for_are_removed_beyond_the_limit(stack: Stack, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        stack.claims().apply(batch(Event(f"e{number}", f"2025-08-0{number}T12:00:00Z", "u", "open", "{}")))
    stack.compact()
    folder = tmp_path / "small"
    snapshots = Snapshots(stack.archive, Dynamo(stack.client), stack.tables.stats, folder, 0)

    for day in ("2025-08-01", "2025-08-02", "2025-08-03"):
        snapshot = snapshots.take(day, day)
        assert [path.parent.name for path in snapshot.days] == [f"day={day}"]
        assert [path for path in folder.rglob("*") if path.is_file()] == list(snapshot.days)


def test_what_is_kept_of_the_archive_is_its_owners_alone(stack: Stack, tmp_path: Path) -> None:
    stack.claims().apply(batch(event(1)))
    stack.compact()
    stack.claims().apply(batch(event(2)))
    folder = tmp_path / "kept"
    earlier = folder / "events"
    earlier.mkdir(0o755, parents=True)
    (earlier / "old").write_text("of an earlier version")
    StackArchive(stack.archive, Dynamo(stack.client), stack.tables.stats, folder).figures(lambda _: False)
    found = [folder, *folder.rglob("*")]
    assert {path.suffix for path in found} >= {".parquet", ".gz"}
    assert [path for path in found if path.stat().st_mode & 0o077] == []


def test_events_expire_so_many_days_after_they_were_received(stack: Stack) -> None:
    stack.claims(hot_days=40).apply(batch(event(1)))
    stack.claims().apply(batch(event(2)))

    expiry = {item["event_id"]: item.get("expires_at") for item in scan(stack.client, stack.tables.events)}

    assert expiry == {"e1": str(int((RECEIVED + timedelta(days=40)).timestamp())), "e2": None}


def test_an_event_that_comes_again_after_it_expired_is_counted_again_and_archived_again(stack: Stack) -> None:
    claims, first = stack.claims(hot_days=40), batch(event(1))
    claims.apply(first)
    stack.compact()
    stack.expire("e1")

    assert claims.apply(first).repeated
    claims.apply(batch(event(1), event(2)))

    assert [row[0] for row in stack.rows("event_id")] == ["e1", "e1", "e2"]
    assert stack.auditor(hot_days=40).audit().drifts == []
    stack.compact()
    assert stack.auditor(hot_days=40).audit().drifts == []


def test_where_events_expire_the_audit_recounts_the_archive(stack: Stack) -> None:
    stack.claims(hot_days=40).apply(batch(event(1), event(2, hour=21), event(3, user="v")))
    stack.expire("e1", "e2")

    found = stack.auditor(hot_days=40).audit()

    assert (found.events, found.days, found.drifts) == (3, 2, [])
    assert {drift.what for drift in stack.auditor().audit().drifts} >= {"event type open", "source test"}


def test_an_event_that_is_counted_and_not_archived_is_drift(stack: Stack) -> None:
    stack.claims(archive=False).apply(batch(event(1)))
    stack.claims().apply(batch(event(2), event(3, hour=21)))

    (drift,) = stack.auditor().audit().drifts

    assert drift == ("archived events of type open", "2025-08-01", 2, 1)
    assert stack.auditor().audit(day="2025-08-02").drifts == []


def test_profile_calls_are_archived_in_a_view_of_their_own(stack: Stack) -> None:
    stack.claims().apply(batch(event(1), profile(2, "v")))
    stack.compact()
    stack.claims().apply(batch(event(3, user="w"), profile(4, "w"), profile(5, "x")))

    # Before and after all of it is compacted.
    for _ in range(2):
        assert [row[0] for row in stack.rows("event_id")] == ["e1", "e3"]
        with stack.whole.opened() as connection:
            assert connection.execute("SELECT event_id, event_type FROM profiles ORDER BY ALL").fetchall() == [
                ("e2", "$identify"),
                ("e4", "$identify"),
                ("e5", "$identify"),
            ]
            assert connection.execute("SELECT user_id FROM user_days ORDER BY ALL").fetchall() == [("u",), ("w",)]
            assert [column[0] for column in connection.execute("FROM profiles").description or ()] == [
                *COLUMNS,
                "day",
            ]
        stack.compact()


@pytest.mark.parametrize("hot_days", [0, 40])
def test_the_audit_of_an_archive_recounts_profile_calls_where_an_earlier_version_counted_them(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, hot_days: int
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(claiming, "is_profile_call", lambda _: False)
        stack.claims(hot_days=hot_days).apply(batch(event(1), profile(2, "v")))
    stack.claims(hot_days=hot_days).apply(batch(event(3), profile(4, "w")))
    stack.compact()
    stack.claims(hot_days=hot_days).apply(batch(profile(5, "x")))

    found = stack.auditor(hot_days).audit()

    assert (found.events, found.drifts) == (3, [])


def test_profile_calls_that_come_while_an_audit_reads_are_no_drift(stack: Stack) -> None:
    auditor = stack.auditor()
    scan_tables = auditor._scan
    numbers = count()

    def scan_busily(table: str, *attributes: str) -> Iterator[Any]:
        if table == stack.tables.events:
            stack.claims().apply(batch(profile(next(numbers))))
        return scan_tables(table, *attributes)

    auditor._scan = scan_busily  # type: ignore[method-assign]
    found = auditor.audit()

    assert (next(numbers), found.drifts, found.unfinished) == (2, [], {})


def test_a_profile_call_that_is_not_archived_is_drift_until_a_backfill(stack: Stack) -> None:
    stack.claims(archive=False).apply(batch(profile(1)))
    stack.claims().apply(batch(profile(2), event(3)))

    (drift,) = stack.auditor().audit().drifts

    assert drift == ("archived profile calls of type $identify", "2025-08-01", 2, 1)
    stack.whole.backfill(stack.tables.events, CALENDAR, Compacted())
    assert stack.auditor().audit().drifts == []


def test_what_was_counted_before_there_was_an_archive_is_added_by_a_backfill_once(stack: Stack) -> None:
    stack.claims(archive=False).apply(batch(event(1), event(2, hour=21)))
    stack.claims().apply(batch(event(3)))
    with pytest.raises(Killed):
        stack.claims(Killing(stack.client, 4, after=False), archive=False).apply(batch(event(4)))

    # The one that waits to be compacted is among them, and is merged away when it is.
    for rows in (3, 0):
        done = Compacted()
        stack.whole.backfill(stack.tables.events, CALENDAR, done)
        assert done.rows == rows

    assert [row[0] for row in stack.rows("event_id")] == ["e1", "e2", "e3"]
    assert not [drift for drift in stack.auditor().audit().drifts if "archived" in drift.what]


def test_a_backfill_that_dies_writes_no_day_again_when_it_is_repeated(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.claims(archive=False).apply(on_days(*range(5)))
    replace = Archive.replace_day
    written: list[str] = []

    def dying(archive: Archive, day: str, path: Path, etag: str) -> bool:
        written.append(day)
        if len(written) == 3:
            raise Killed
        return replace(archive, day, path, etag)

    monkeypatch.setattr(Archive, "replace_day", dying)
    with pytest.raises(Killed):
        stack.whole.backfill(stack.tables.events, CALENDAR, Compacted())
    stack.whole.backfill(stack.tables.events, CALENDAR, Compacted())

    assert written == [f"2024-01-0{day}" for day in (1, 2, 3, 3, 4, 5)]
    assert stack.auditor().audit().drifts == []


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_what_a_repair_counts_it_archives(stack: Stack, after: bool) -> None:
    died = 0
    for call in range(1, 40):
        first = call * 100
        message = batch(*(event(number) for number in range(first, first + 40)))
        try:
            stack.claims(Killing(stack.client, call, after)).apply(message)
        except Killed:
            died += 1
        else:
            break
        auditor = stack.auditor()
        auditor.repair(auditor.audit(), pass_over, RECEIVED + LEAST_AGE + timedelta(seconds=1))
        assert auditor.audit().drifts == []
        stack.claims().apply(message)
        assert auditor.audit().drifts == []
    assert died >= 5
    stack.compact()
    assert stack.auditor().audit().drifts == []


def for_days(days: int) -> Callable[[], int]:
    """What a run is told that has time for so many days."""
    left = chain([NO_HURRY] * days, repeat(LEAST_MILLISECONDS_A_DAY - 1))
    return lambda: next(left)


def on_days(*days: int, first: int = 0) -> Batch:
    """A batch with an event on each of these days of a year."""
    moments = [datetime(2024, 1, 1, 12, tzinfo=UTC) + timedelta(days=day) for day in days]
    events = [
        Event(f"e{first + number}", moment.isoformat().replace("+00:00", "Z"), "u", "open", "{}")
        for number, moment in enumerate(moments)
    ]
    return batch(*events)


def test_compaction_goes_on_where_its_time_ended_and_writes_no_day_again(stack: Stack) -> None:
    for number in range(3):
        stack.claims().apply(on_days(*range(12), first=100 * number))
    whole = stack.rows("event_id", "batch", "day")

    found = []
    for _ in range(3):
        done = stack.compactor.run(for_days(5))
        found.append((done.batches, done.rows, done.days, done.complete))
        assert len(stack.keys()) - len(stack.archive.days()) == (not done.complete)
        assert stack.rows("event_id", "batch", "day") == whole
        assert stack.auditor().audit().drifts == []

    assert found == [(0, 15, 5, False), (0, 15, 5, False), (3, 6, 2, True)]


def test_a_compaction_that_is_late_from_its_beginning_on_writes_a_day_at_least(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "GROUP_OBJECTS", 2)
    for number in range(4):
        stack.claims().apply(on_days(*range(3), first=100 * number))

    while True:
        done = stack.compactor.run(for_days(1))
        assert done.days > 0
        if done.complete:
            break

    assert [len(stack.rows("event_id")), len(stack.keys())] == [12, 3]


def test_the_days_with_most_events_are_compacted_first(stack: Stack) -> None:
    for number in range(3):
        stack.claims().apply(on_days(*range(number, 6), first=100 * number))

    stack.compactor.run(for_days(4))

    assert [*stack.archive.days()] == ["2024-01-03", "2024-01-04", "2024-01-05", "2024-01-06"]


def test_compaction_that_dies_goes_on_as_well(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.claims().apply(on_days(*range(6)))
    replace = Archive.replace_day
    written: list[str] = []

    def dying(archive: Archive, day: str, path: Path, etag: str) -> bool:
        if len(written) % 3 == 2:
            written.append("")
            raise Killed
        written.append(day)
        return replace(archive, day, path, etag)

    monkeypatch.setattr(Archive, "replace_day", dying)
    for _ in range(2):
        with pytest.raises(Killed):
            stack.compactor.run(lambda: NO_HURRY)
    stack.compact()

    assert written == ["2024-01-01", "2024-01-02", "", "2024-01-03", "2024-01-04", "", "2024-01-05", "2024-01-06"]
    assert len(stack.rows("event_id")) == 6


def test_what_waits_for_the_next_compaction_is_as_it_was(stack: Stack) -> None:
    odd = Event("e\u2028\U0001f600", "0001-01-03T23:59:59.000001Z", 'u"\\', "a\x00b\n", '{"a":"\\n\\u0000 \U0001f600"}')
    stack.claims().apply(make_batch(DEFAULT, [odd, event(1), event(2), event(3, hour=13)], "test", "yesterday"))
    columns = (*COLUMNS, "day")
    whole = stack.rows(*columns)

    assert not stack.compactor.run(for_days(1)).complete

    assert [*stack.archive.days()] == ["2025-08-01"]
    assert stack.rows(*columns) == whole
    stack.compact()
    assert stack.rows(*columns) == whole


@pytest.fixture
def small_bundles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundling, "LEAST_BATCHES", 3)
    monkeypatch.setattr(bundling, "LEAST_BUNDLES", 2)


@pytest.mark.usefixtures("small_bundles")
def test_counted_batches_become_a_bundle_and_bundles_a_larger_one(stack: Stack) -> None:
    def come(*numbers: int) -> None:
        for number in numbers:
            stack.claims().apply(batch(event(number), event(100 + number, hour=21)))

    come(1, 2)
    assert stack.bundle() == (0, 0)
    with pytest.raises(Killed):
        stack.claims(Killing(stack.client, 4, after=False)).apply(batch(event(5), event(6)))
    come(3)
    assert stack.bundle() == (3, 1)
    unfinished = batch_object(DEFAULT, batch(event(5), event(6)).batch_id)
    assert stack.folders() == ["batches", "bundles/000001"]
    assert stack.keys()[0] == unfinished
    come(7, 8, 9)
    assert stack.bundle() == (5, 2)

    assert stack.folders() == ["batches", "bundles/000002"]
    whole = [f"e{number}" for number in (1, 101, 102, 103, 107, 108, 109, 2, 3, 7, 8, 9)]
    assert [row[0] for row in stack.rows("event_id")] == whole
    assert not [drift for drift in stack.auditor().audit().drifts if "archived" in drift.what]
    assert stack.compact() == (6, 12, 2)
    assert stack.keys() == [unfinished, day_object(DEFAULT, "2025-08-01"), day_object(DEFAULT, "2025-08-02")]
    assert [row[0] for row in stack.rows("event_id")] == whole


class Interrupted:
    """A client before whose call of a number something else happens."""

    def __init__(self, client: Any, calls: Iterator[int], moment: int, what: Callable[[], object]) -> None:
        self._client = client
        self._calls = calls
        self._moment = moment
        self._what = what

    def __getattr__(self, name: str) -> Any:
        def call(**request: Any) -> Any:
            if next(self._calls) == self._moment:
                self._what()
            return getattr(self._client, name)(**request)

        return call

    def get_paginator(self, _: str) -> Any:
        return self

    def paginate(self, **request: Any) -> Iterator[Any]:
        yield self.list_objects_v2(**request)


@pytest.mark.usefixtures("small_bundles")
@pytest.mark.parametrize(
    "what",
    [
        (lambda stack: stack.bundle(),),
        (lambda stack: stack.bundle(), lambda stack: stack.compactor.run(for_days(1))),
        (lambda stack: stack.bundle(), lambda stack: stack.compact()),
    ],
    ids=["bundles", "bundles, one day", "bundles, all days"],
)
def test_a_reader_misses_nothing_whatever_happens_between_any_two_of_its_calls(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: Sequence[Callable[[Stack], object]]
) -> None:
    monkeypatch.setattr(bucket, "READERS", 1)
    monkeypatch.setattr(snapshots, "READERS", 1)
    monkeypatch.setattr(bundling, "LEAST_BATCHES", 2)
    for moment in count():
        for number in range(4):
            stack.claims().apply(on_days(*range(2), first=1_000 * moment + 100 * number))
            if number == 1:
                stack.bundle()
        whole = stack.rows("event_id", "batch", "day")
        calls = count()

        def happen() -> None:
            for each in what:
                each(stack)

        s3: Any = Interrupted(stack.s3, calls, moment, happen)
        dynamo: Any = Interrupted(stack.client, calls, moment, happen)
        reader = Snapshots(
            Archive(s3, stack.bucket, DEFAULT), Dynamo(dynamo), stack.tables.stats, tmp_path / str(moment), 1
        )
        snapshot = reader.take()
        with closing(connect(tmp_path, 200)) as connection:
            load_snapshot(connection, snapshot)
            assert connection.execute("SELECT event_id, batch, day FROM events ORDER BY ALL").fetchall() == whole
        if next(calls) <= moment:
            break
        stack.compact()
    assert moment > 10


def test_a_batch_that_is_counted_while_days_change_under_a_reader_is_whole_or_not_there(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "READERS", 1)
    monkeypatch.setattr(snapshots, "READERS", 1)
    sizes: dict[str, int] = {}
    for moment in count():
        for number in range(2):
            counted = on_days(0, 1, first=1_000 * moment + 100 * number)
            stack.claims().apply(counted)
            sizes[counted.batch_id] = len(counted.events)
            if number == 0:
                stack.compact()
        fresh = on_days(0, 1, 2, first=1_000 * moment + 200)

        def half_compacted(fresh: Batch = fresh) -> None:
            stack.claims().apply(fresh)
            stack.compactor.run(for_days(1))

        calls = count()
        # After the first list of days, all that is there is compacted, so that they change.
        changing: Any = Interrupted(stack.s3, count(), 1, stack.compact)
        s3: Any = Interrupted(changing, calls, moment, half_compacted)
        reader = Snapshots(
            Archive(s3, stack.bucket, DEFAULT), Dynamo(stack.client), stack.tables.stats, tmp_path / str(moment), 1
        )
        snapshot = reader.take()
        with closing(connect(tmp_path, 200)) as connection:
            load_snapshot(connection, snapshot)
            found = dict(connection.execute("SELECT batch, count(*) FROM events GROUP BY batch").fetchall())
        assert found in (sizes, {**sizes, fresh.batch_id: 3})
        if next(calls) <= moment:
            break
        sizes[fresh.batch_id] = 3
        stack.compact()
    assert moment > 5


def die() -> None:
    raise Killed


@pytest.mark.usefixtures("small_bundles")
@pytest.mark.parametrize("bundles", [True, False], ids=["bundling", "compaction"])
def test_a_run_that_dies_before_or_after_any_of_its_calls_loses_nothing(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, bundles: bool
) -> None:
    monkeypatch.setattr(bucket, "READERS", 1)
    monkeypatch.setattr(bundling, "LEASE_SECONDS", 0)
    for moment in count():
        for number in range(3):
            stack.claims().apply(on_days(*range(3), first=1_000 * moment + 100 * number))
        whole = stack.rows("event_id", "batch", "day")
        calls = count()
        archive = Archive(cast(Any, Interrupted(stack.s3, calls, moment, die)), stack.bucket, DEFAULT)
        dynamo = Dynamo(cast(Any, Interrupted(stack.client, calls, moment, die)))
        died = False
        try:
            if bundles:
                Bundler(archive, dynamo, stack.tables.stats).run(lambda: NO_HURRY)
            else:
                Compactor(archive, dynamo, stack.tables.stats, 200).run(for_days(2))
        except Killed:
            died = True
        assert stack.rows("event_id", "batch", "day") == whole
        if not died:
            break
        stack.compact()
        assert stack.rows("event_id", "batch", "day") == whole
    assert moment > 8


@pytest.mark.usefixtures("small_bundles")
def test_bundling_leaves_alone_what_compaction_had_no_time_for(stack: Stack) -> None:
    for number in (0, 1):
        stack.claims().apply(on_days(*range(5), first=100 * number))
        stack.compactor.run(for_days(1 + number))
    rest = next(key for key in reversed(stack.keys()) if key.startswith("bundles/"))
    for number in (2, 3, 4):
        stack.claims().apply(on_days(*range(5), first=100 * number))

    assert stack.bundle() == (3, 1)

    assert stack.keys()[1] == rest
    assert len(stack.rows("event_id")) == 25


@pytest.mark.usefixtures("small_bundles")
def test_one_run_bundles_at_a_time_until_its_lease_ends(stack: Stack) -> None:
    for number in range(3):
        stack.claims().apply(batch(event(number)))
    moment = 1_000.0
    bundlers = [Bundler(stack.archive, Dynamo(stack.client), stack.tables.stats, lambda: moment) for _ in range(2)]

    class Dying(Archive):
        def move(self, *_: Any) -> None:
            raise Killed

    with pytest.raises(Killed):
        Bundler(Dying(stack.s3, stack.bucket, DEFAULT), Dynamo(stack.client), stack.tables.stats, lambda: moment).run(
            lambda: NO_HURRY
        )
    moment += bundling.LEASE_SECONDS - 0.1
    assert bundlers[0].run(lambda: NO_HURRY).bundles == 0
    moment += 0.1
    assert bundlers[0].run(lambda: NO_HURRY).bundles == 1
    for number in range(3, 6):
        stack.claims().apply(batch(event(number)))
    assert bundlers[1].run(lambda: NO_HURRY).objects == 5
