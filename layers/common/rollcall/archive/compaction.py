"""Compaction: what finished batches left in the archive becomes a file of Parquet for each day.

It may stop anywhere and begin again, and several may run at once: a day's file is replaced under the condition that it
is still the one that was read, rows that are there are not added again, and a batch's object is deleted once all its
days are written.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from rollcall.archive.bucket import Archive, Stored
from rollcall.archive.duck import connect, load_batches, merge_day
from rollcall.counting.receipts import finished
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.keys import batch_of_object, day_object

READERS = 16
# What is merged at a time: each day of it is read and written once.
GROUP_OBJECTS = 5_000
GROUP_BYTES = 128 * 1024 * 1024
# A group is not begun with less time left.
LEAST_MILLISECONDS = 240_000
# Of a function's memory, what DuckDB is not given.
OTHER_MEGABYTES = 300
ATTEMPTS = 10


class Contended(Exception):
    """A day's file was replaced by others again and again; what was to be added to it is still to be compacted."""


@dataclass
class Compacted:
    """What was done."""

    batches: int = 0
    rows: int = 0
    """Events that were added to the days."""
    days: int = 0
    """Files that were written, of whichever days."""
    conflicts: int = 0
    """Files that had to be made anew, because another compaction wrote the day meanwhile."""
    complete: bool = True
    """Whether there was time for all."""


class Compactor:
    """Compacts an archive, with so many megabytes for DuckDB."""

    def __init__(self, archive: Archive, dynamo: Dynamo, stats_table: str, megabytes: int) -> None:
        self._archive = archive
        self._dynamo = dynamo
        self._stats_table = stats_table
        self._megabytes = megabytes

    def run(self, milliseconds_left: Callable[[], int]) -> Compacted:
        """Compact what is finished, while there is time. Raises `Contended`.

        A GET and a read unit for each batch, a GET and a PUT for each day of each `GROUP_OBJECTS` batches.
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
        """Add rows, in the form of batches' objects, to their days."""
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
        """The objects of finished batches, some at a time."""
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
        """The files of objects, each with the version that it is of; without those that are gone."""

        def fetch(stored: Stored) -> tuple[Stored, Path] | None:
            path = folder / f"{batch_of_object(stored.key)}.json.gz"
            etag = self._archive.fetch(stored.key, path)
            return (stored._replace(etag=etag), path) if etag else None

        with ThreadPoolExecutor(READERS, thread_name_prefix="compaction") as readers:
            return [one for one in readers.map(fetch, group) if one]


class Compaction:
    """The function that compacts."""

    def __init__(self, compactor: Compactor, logger: Logger, metrics: Metrics) -> None:
        self._compactor = compactor
        self._logger = logger
        self._metrics = metrics

    def handle(self, milliseconds_left: Callable[[], int]) -> None:
        """Compact while there is time; what is left is left to the next run."""
        done = self._compactor.run(milliseconds_left)
        self._metrics.add_metric("BatchesCompacted", MetricUnit.Count, done.batches)
        self._metrics.add_metric("RowsCompacted", MetricUnit.Count, done.rows)
        self._metrics.add_metric("DaysWritten", MetricUnit.Count, done.days)
        self._metrics.add_metric("CompactionConflicts", MetricUnit.Count, done.conflicts)
        self._logger.info("archive compacted", extra=vars(done))
