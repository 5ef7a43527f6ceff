"""Compaction: moves the rows of counted batches in the archive to a Parquet file for each day.

A compaction may stop at any point and begin again, and several may run at the same time. A day's file is replaced only
if it is still the version that was read. Rows that the file has are not added again. A batch's object is deleted only
once all of its days are written.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
from aws_lambda_powertools import Logger, Metrics

from rollcall.archive.bucket import Archive, Stored
from rollcall.archive.duck import connect, load_batches, merge_day
from rollcall.counting.receipts import finished
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.keys import batch_of_object, day_object
from rollcall.stack.telemetry import add_count

READERS = 16
# The limits of a group of batches that is merged at a time. Each day in a group is read and written once.
GROUP_OBJECTS = 5_000
GROUP_BYTES = 128 * 1024 * 1024
# With less time left, no further group is begun.
LEAST_MILLISECONDS = 240_000
# The part of a function's memory that DuckDB may not use.
OTHER_MEGABYTES = 300
ATTEMPTS = 10


class Contended(Exception):
    """Other compactions replaced a day's file `ATTEMPTS` times in a row. The next run compacts the group's batches."""


@dataclass
class Compacted:
    """The outcome of a compaction."""

    batches: int = 0
    rows: int = 0
    """Events that were added to the days' files."""
    days: int = 0
    """Files that were written. A day counts once for each group that adds to it."""
    conflicts: int = 0
    """Files that were made but not written, because another compaction had replaced the day's file."""
    complete: bool = True
    """Whether there was time for all batches."""


class Compactor:
    """Compacts an archive. DuckDB may use `megabytes` of memory."""

    def __init__(self, archive: Archive, dynamo: Dynamo, stats_table: str, megabytes: int) -> None:
        self._archive = archive
        self._dynamo = dynamo
        self._stats_table = stats_table
        self._megabytes = megabytes

    def run(self, milliseconds_left: Callable[[], int]) -> Compacted:
        """Compact the batches that are counted, as long as at least `LEAST_MILLISECONDS` are left.

        One GET and one read unit for each batch; one GET and one PUT for each day in each group of `GROUP_OBJECTS`
        batches. Raises `Contended`, `rollcall.archive.bucket.ArchiveError`, `rollcall.stack.dynamo.Unavailable` and
        botocore's errors.
        """
        done = Compacted()
        for group in self._groups():
            if milliseconds_left() < LEAST_MILLISECONDS:
                done.complete = False
                break
            with TemporaryDirectory() as folder:
                fetched = self._fetch(group, Path(folder))
                self.merge([path for _, path in fetched], done)
            self._archive.drop([stored for stored, _ in fetched])
            done.batches += len(fetched)
        return done

    def merge(self, files: list[Path], done: Compacted) -> None:
        """Add the rows in local copies of batches' objects to their days' files, and to the numbers in `done`."""
        with TemporaryDirectory() as name:
            folder = Path(name)
            with closing(connect(folder, self._megabytes, str(folder / "rows.duckdb"))) as connection:
                load_batches(connection, "fresh", files)
                days = connection.execute("SELECT DISTINCT CAST(day AS VARCHAR) FROM fresh ORDER BY 1").fetchall()
                for (day,) in days:
                    self._merge_day(connection, day, folder, done)

    def _merge_day(self, connection: duckdb.DuckDBPyConnection, day: str, folder: Path, done: Compacted) -> None:
        for _ in range(ATTEMPTS):
            with TemporaryDirectory(dir=folder) as name:
                former, merged = Path(name) / "former.parquet", Path(name) / "merged.parquet"
                etag = self._archive.fetch(day_object(day), former)
                added = merge_day(connection, "fresh", day, former if etag else None, merged)
                if not added:
                    return
                if self._archive.replace_day(day, merged, etag):
                    done.rows += added
                    done.days += 1
                    return
            done.conflicts += 1
        raise Contended(f"{day} was replaced by others {ATTEMPTS} times")

    def _groups(self) -> Iterator[list[Stored]]:
        """The objects of counted batches, in groups."""
        group: list[Stored] = []
        size = 0
        for stored in self._archive.batches():
            group.append(stored)
            size += stored.size
            if len(group) == GROUP_OBJECTS or size >= GROUP_BYTES:
                yield from self._finished(group)
                group, size = [], 0
        yield from self._finished(group)

    def _finished(self, group: list[Stored]) -> Iterator[list[Stored]]:
        counted = finished(self._dynamo, self._stats_table, [batch_of_object(one.key) for one in group])
        kept = [one for one in group if batch_of_object(one.key) in counted]
        if kept:
            yield kept

    def _fetch(self, group: list[Stored], folder: Path) -> list[tuple[Stored, Path]]:
        """Fetch objects; returns each fetched version and its file. Leaves out objects that are gone."""

        def fetch(stored: Stored) -> tuple[Stored, Path] | None:
            path = folder / f"{batch_of_object(stored.key)}.json.gz"
            etag = self._archive.fetch(stored.key, path)
            return (stored._replace(etag=etag), path) if etag else None

        with ThreadPoolExecutor(READERS, thread_name_prefix="compaction") as readers:
            return [one for one in readers.map(fetch, group) if one]


class Compaction:
    """The handler of the function that compacts."""

    def __init__(self, compactor: Compactor, logger: Logger, metrics: Metrics) -> None:
        self._compactor = compactor
        self._logger = logger
        self._metrics = metrics

    def handle(self, milliseconds_left: Callable[[], int]) -> None:
        """Compact while there is time. The next run compacts the rest."""
        done = self._compactor.run(milliseconds_left)
        add_count(self._metrics, "BatchesCompacted", done.batches)
        add_count(self._metrics, "RowsCompacted", done.rows)
        add_count(self._metrics, "DaysWritten", done.days)
        add_count(self._metrics, "CompactionConflicts", done.conflicts)
        self._logger.info("archive compacted", extra=vars(done))
