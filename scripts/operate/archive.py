"""A stack's archive, used from an operator's machine: compaction, backfill, and SQL over all counted events."""

import gzip
import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from rollcall.archive.bucket import Archive
from rollcall.archive.compaction import Compacted, Compactor
from rollcall.archive.duck import COLUMNS, IS_PROFILE_CALL, connect, load_snapshot
from rollcall.archive.snapshots import Snapshot, Snapshots
from rollcall.core.days import Calendar
from rollcall.core.projects import DEFAULT, Project
from rollcall.counting.receipts import finished
from rollcall.stack.dynamo import Dynamo, Item
from rollcall.stack.keys import split_key
from rollcall.stack.settings import ConsumerSettings
from scripts import private
from scripts.operate.stacks import Stack

# For DuckDB, on a machine that somebody also works on.
MEMORY_MEGABYTES = 2_048
CACHE_MEGABYTES = 20_480
NO_HURRY_MILLISECONDS = 3_600_000


@dataclass
class Recount:
    """A recount of the archive, by day and name."""

    actives: Counter[str] = field(default_factory=Counter)
    types: Counter[tuple[str, str]] = field(default_factory=Counter)
    sources: Counter[tuple[str, str]] = field(default_factory=Counter)
    first_days: dict[str, str] = field(default_factory=dict)
    profiles: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Profile calls, which are in no other figure, by day and type."""


class StackArchive:
    """The archive of a project in a stack. Keeps fetched files in `folder` for later use."""

    def __init__(self, archive: Archive, dynamo: Dynamo, stats_table: str, folder: Path) -> None:
        self.archive = archive
        self._dynamo = dynamo
        self._stats_table = stats_table
        self._folder = folder

    @classmethod
    def of(cls, stack: Stack, project: Project, folder: Path | None = None) -> "StackArchive":
        """The archive of a project in `stack`. Without a `folder`, the files are kept in the user's cache folder."""
        (found,) = cls.of_each(stack, [project], folder)
        return found

    @classmethod
    def of_each(cls, stack: Stack, projects: Iterable[Project], folder: Path | None = None) -> list["StackArchive"]:
        """The archives of several projects, as `of` has them. They share their clients."""
        bucket, stats_table = stack.output("ArchiveBucketName"), stack.output("StatsTableName")
        s3, dynamo = stack.client("s3"), Dynamo(stack.client("dynamodb"))
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        kept = folder or cache / "rollcall" / bucket
        return [cls(Archive(s3, bucket, project), dynamo, stats_table, kept) for project in projects]

    def compact(self) -> Compacted:
        """Compact all counted batches; raises `rollcall.archive.compaction.Contended`."""
        return self._compactor().run(lambda: NO_HURRY_MILLISECONDS)

    def backfill(self, events_table: str, calendar: Calendar, done: Compacted) -> None:
        """Add the counted events in the table that the archive lacks: those from before the stack had an archive.

        Scans the whole table. The local disk needs room for all of its events. Raises
        `rollcall.archive.compaction.Contended`.
        """
        counted: dict[str, bool] = {}
        with TemporaryDirectory() as folder:
            file = Path(folder) / "rows.json.gz"
            with gzip.open(file, "wt", 1, encoding="utf-8") as lines:
                for page in self._dynamo.client.get_paginator("scan").paginate(TableName=events_table):
                    rows = [row for item in page["Items"] if (row := _row(self.archive.project, item))]
                    unknown = sorted({row["batch"] for row in rows} - counted.keys())
                    whole = finished(self._dynamo, self._stats_table, self.archive.project, unknown)
                    counted |= {batch: batch in whole for batch in unknown}
                    for row in rows:
                        if counted[row["batch"]]:
                            lines.write(json.dumps({**row, "day": calendar.day_of(row["occurred_at"])}) + "\n")
            self._compactor().merge([file], done)

    @contextmanager
    def opened(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A database with the views `events`, `user_days` and `profiles` of all counted batches."""
        snapshot = self.take()
        with _database() as connection:
            load_snapshot(connection, snapshot)
            yield connection

    def take(self, used: Collection[Path] = ()) -> Snapshot:
        """All counted events. Keeps the local files in `used`, which others read."""
        snapshots = Snapshots(self.archive, self._dynamo, self._stats_table, self._folder, CACHE_MEGABYTES)
        private.make_folder(self._folder)
        # Earlier versions made what is in it as the umask said.
        private.tighten(self._folder)
        with private.umask():
            return snapshots.take(used=used)

    def _compactor(self) -> Compactor:
        return Compactor(self.archive, self._dynamo, self._stats_table, MEMORY_MEGABYTES)

    def figures(self, counted_profiles: Callable[[str], bool]) -> Recount:
        """Recount the whole archive. `counted_profiles` says of a batch whether its profile calls were counted."""
        with self.opened() as connection:
            calling = connection.execute("SELECT DISTINCT batch FROM profiles").fetchall()
            counted = [batch for (batch,) in calling if counted_profiles(batch)]
            connection.execute("CREATE TABLE counted AS SELECT unnest(?::VARCHAR[]) AS batch", [counted])
            is_apart = f"({IS_PROFILE_CALL} AND batch NOT IN (SELECT batch FROM counted))"

            def rows(columns: str, rest: str, which: str = f"NOT {is_apart}") -> list[tuple[Any, ...]]:
                return connection.execute(f"SELECT {columns} FROM stored WHERE {which} {rest}").fetchall()

            of_types = "CAST(day AS VARCHAR), event_type, count(*)", "GROUP BY day, event_type"
            return Recount(
                actives=Counter(dict(rows("CAST(day AS VARCHAR), count(DISTINCT user_id)", "GROUP BY day"))),
                types=_by_day(rows(*of_types)),
                sources=_by_day(rows("CAST(day AS VARCHAR), source, count(*)", "GROUP BY day, source")),
                first_days=dict(rows("user_id, CAST(min(day) AS VARCHAR)", "GROUP BY user_id")),
                profiles=_by_day(rows(*of_types, is_apart)),
            )


@contextmanager
def opened_together(archives: Iterable[StackArchive]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database with the views of several projects' archives, in which `project` is the first column.

    Each project's events are those that were counted when its snapshot was taken, one after the other. The archive of a
    project without events costs three LISTs.
    """
    snapshots: dict[Project, Snapshot] = {}
    used: set[Path] = set()
    for each in archives:
        snapshot = each.take(used)
        used |= snapshot.files
        snapshots[each.archive.project] = snapshot
    # The views are there where no project has events, too.
    shown = [project for project, snapshot in snapshots.items() if snapshot.files or project == DEFAULT]
    with _database() as connection:
        for project in shown:
            # A view finds what it was made of in its own schema.
            connection.execute(f"CREATE SCHEMA {_schema(project)}")
            connection.execute(f"USE {_schema(project)}")
            load_snapshot(connection, snapshots[project])
        connection.execute("USE main")
        for view in ("events", "user_days", "profiles"):
            rows = (f"SELECT '{project.name}' AS project, * FROM {_schema(project)}.{view}" for project in shown)
            connection.execute(f"CREATE VIEW {view} AS {' UNION ALL '.join(rows)}")
        yield connection


def _schema(project: Project) -> str:
    """The schema of a project's views: none that DuckDB has by itself, whatever the project's name."""
    return f'"project={project.name}"'


@contextmanager
def _database() -> Iterator[duckdb.DuckDBPyConnection]:
    with TemporaryDirectory() as folder, closing(connect(Path(folder), MEMORY_MEGABYTES)) as connection:
        yield connection


def _row(project: Project, item: Item) -> dict[str, str] | None:
    """An item of the events table as a row of the archive; None if it is another project's."""
    owner, event_id = split_key(item["event_id"]["S"])
    return {name: item[name]["S"] for name in COLUMNS} | {"event_id": event_id} if owner == project else None


def consumer_of(stack: Stack) -> tuple[ConsumerSettings, int]:
    """The settings of a stack's consumer, and its timeout in seconds."""
    consumer = stack.client("lambda").get_function_configuration(FunctionName=stack.output("ConsumerFunctionName"))
    return ConsumerSettings.read(consumer["Environment"]["Variables"]), consumer["Timeout"]


def _by_day(rows: list[tuple[Any, ...]]) -> Counter[tuple[str, str]]:
    return Counter({(day, name): count for day, name, count in rows})
