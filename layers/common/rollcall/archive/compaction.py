"""Compaction: moves the rows of counted batches in the archive to a Parquet file for each day.

A compaction may stop at any point and begin again, and several may run at the same time. A day's file is replaced only
if it is still the version that was read. Rows that the file has are not added again. The objects with a batch's rows
are deleted only once all of its days are written, or once a bundle has the rows of those that are not.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
from aws_lambda_powertools import Logger, Metrics

from rollcall.archive.binding import Binder
from rollcall.archive.bucket import FIRST_TIER_OF_RESTS, Archive, Stored, groups
from rollcall.archive.duck import connect, count_batches, keep_days, load_batches, merge_day, write_batches
from rollcall.core.projects import Project
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.keys import day_object
from rollcall.stack.telemetry import add_count

# The limits of a group of objects that is merged at a time. Each day in a group is read and written once.
GROUP_OBJECTS = 5_000
GROUP_BYTES = 128 * 1024 * 1024
# With less time left, no further group is begun.
LEAST_MILLISECONDS = 240_000
# With less time left, no further day of a group is begun, and the rest of the group becomes a bundle. It takes seconds
# to write that, and a day of the size that fits on the disk takes about two minutes.
LEAST_MILLISECONDS_A_DAY = 180_000
# The part of a function's memory that DuckDB may not use.
OTHER_MEGABYTES = 300
ATTEMPTS = 10
# Days are bound once in so many that are written, so that a reader never has many more to fetch one by one.
BIND_DAYS = 500


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

    def __add__(self, other: "Compacted") -> "Compacted":
        """The outcome of both."""
        return Compacted(
            self.batches + other.batches,
            self.rows + other.rows,
            self.days + other.days,
            self.conflicts + other.conflicts,
            self.complete and other.complete,
        )


class Compactor:
    """Compacts an archive. DuckDB may use `megabytes` of memory."""

    def __init__(self, archive: Archive, dynamo: Dynamo, stats_table: str, megabytes: int) -> None:
        self._archive = archive
        self._dynamo = dynamo
        self._stats_table = stats_table
        self._megabytes = megabytes
        self._binder = Binder(archive, megabytes)

    @property
    def project(self) -> Project:
        """The project whose archive this compacts."""
        return self._archive.project

    def run(self, milliseconds_left: Callable[[], int]) -> Compacted:
        """Compact what is counted, as long as at least `LEAST_MILLISECONDS` are left.

        Each run writes a day at least, whatever there is, and leaves only what is not written to the next run. One GET
        for each object, one read unit for each batch that is not bundled, and one GET and one PUT for each day in each
        group of up to `GROUP_OBJECTS` objects; and those of `Binder.bind`, once in `BIND_DAYS` days. Raises
        `Contended`, `rollcall.archive.bucket.ArchiveError`, `rollcall.stack.dynamo.Unavailable` and botocore's errors.
        """
        done = Compacted()
        with TemporaryDirectory() as name:
            group: list[tuple[Stored, Path]] = []
            for objects in self._groups():
                if _is_full([*(stored for stored, _ in group), *objects]):
                    self._move(group, milliseconds_left, done)
                    group = []
                if milliseconds_left() < LEAST_MILLISECONDS:
                    done.complete = False
                    break
                group += self._archive.fetch_all(objects, Path(name))
            self._move(group, milliseconds_left, done)
        # Runs that write few days bind as often for each, without a memory of how many there were.
        if random.random() * BIND_DAYS < done.days % BIND_DAYS:  # noqa: S311 - no secret
            self._binder.bind()
        return done

    def merge(self, files: list[Path], done: Compacted) -> None:
        """Add the rows in local copies of objects to their days' files, and to the numbers in `done`."""
        with self._loaded(files) as (connection, folder):
            for day in _days(connection):
                self._merge_day(connection, day, folder, done)

    def _groups(self) -> Iterator[list[Stored]]:
        """The objects whose rows are counted, in groups of one tier."""
        for tier in self._archive.tiers():
            for group in groups(tier, GROUP_OBJECTS, GROUP_BYTES):
                if kept := self._archive.counted(self._dynamo, self._stats_table, group):
                    yield kept

    def _move(self, group: list[tuple[Stored, Path]], milliseconds_left: Callable[[], int], done: Compacted) -> None:
        """Merge fetched objects into the days' files, as far as there is time, and delete the objects."""
        if not group:
            return
        objects = [stored for stored, _ in group]
        with self._loaded([path for _, path in group]) as (connection, folder):
            done.batches += count_batches(connection, "fresh")
            days = _days(connection)
            for number, day in enumerate(days):
                if number and milliseconds_left() < LEAST_MILLISECONDS_A_DAY:
                    done.complete = False
                    keep_days(connection, "fresh", days[number:])
                    done.batches -= count_batches(connection, "fresh")
                    rest = folder / "rest.json.gz"
                    write_batches(connection, "fresh", rest)
                    self._archive.move(objects, rest, FIRST_TIER_OF_RESTS)
                    break
                self._merge_day(connection, day, folder, done)
            else:
                self._archive.drop(objects)
        for _, path in group:
            path.unlink()

    @contextmanager
    def _loaded(self, files: list[Path]) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
        """A database with the rows of files in the table `fresh`, and a folder that is removed with it."""
        with TemporaryDirectory() as name:
            folder = Path(name)
            with closing(connect(folder, self._megabytes, str(folder / "rows.duckdb"))) as connection:
                load_batches(connection, "fresh", files)
                yield connection, folder

    def _merge_day(self, connection: duckdb.DuckDBPyConnection, day: str, folder: Path, done: Compacted) -> None:
        for _ in range(ATTEMPTS):
            with TemporaryDirectory(dir=folder) as name:
                former, merged = Path(name) / "former.parquet", Path(name) / "merged.parquet"
                etag = self._archive.fetch(day_object(self._archive.project, day), former)
                added = merge_day(connection, "fresh", day, former if etag else None, merged)
                if not added:
                    return
                if self._archive.replace_day(day, merged, etag):
                    done.rows += added
                    done.days += 1
                    if done.days % BIND_DAYS == 0:
                        self._binder.bind(connection)
                    return
            done.conflicts += 1
        raise Contended(f"{day} was replaced by others {ATTEMPTS} times")


def _is_full(group: Sequence[Stored]) -> bool:
    return len(group) > GROUP_OBJECTS or sum(one.size for one in group) > GROUP_BYTES


def _days(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """The days of the loaded rows. Those with most rows come first, so that the fewest rows are left if time ends."""
    days = "SELECT CAST(day AS VARCHAR) FROM fresh GROUP BY day ORDER BY count(*) DESC, day"
    return [day for (day,) in connection.execute(days).fetchall()]


class Compaction:
    """The handler of the function that compacts. `compactors` gives those of the projects to compact, in turn."""

    def __init__(self, compactors: Callable[[], Iterable[Compactor]], logger: Logger, metrics: Metrics) -> None:
        self._compactors = compactors
        self._logger = logger
        self._metrics = metrics

    def handle(self, milliseconds_left: Callable[[], int]) -> None:
        """Compact while there is time. The next run compacts the rest.

        A project that fails keeps no other from being compacted. What such projects raised is logged with their names,
        and raised together at the end.
        """
        done = Compacted()
        failures: list[Exception] = []
        for compactor in self._compactors():
            if milliseconds_left() < LEAST_MILLISECONDS:
                done.complete = False
            if not done.complete:
                break
            try:
                done += compactor.run(milliseconds_left)
            except Exception as error:
                failures.append(error)
                self._logger.exception("project not compacted", extra={"project": compactor.project.name})
        add_count(self._metrics, "BatchesCompacted", done.batches)
        add_count(self._metrics, "RowsCompacted", done.rows)
        add_count(self._metrics, "DaysWritten", done.days)
        add_count(self._metrics, "CompactionConflicts", done.conflicts)
        self._logger.info("archive compacted", extra=vars(done))
        if failures:
            raise ExceptionGroup(f"{len(failures)} projects could not be compacted", failures)
