"""The archive of a stack from an operator's machine: compaction, and SQL over everything that was ever counted."""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from rollcall.archive import Archive
from rollcall.compaction import Compacted, Compactor
from rollcall.duck import connect, load_snapshot
from rollcall.dynamo import Dynamo
from rollcall.snapshots import Snapshots
from scripts.stacks import Stack

# Of a machine that somebody works at.
MEMORY_MEGABYTES = 2_048
CACHE_MEGABYTES = 20_480
NO_HURRY_MILLISECONDS = 3_600_000


@dataclass
class Figures:
    """What there is of each thing, by day and name."""

    actives: Counter[str] = field(default_factory=Counter)
    types: Counter[tuple[str, str]] = field(default_factory=Counter)
    sources: Counter[tuple[str, str]] = field(default_factory=Counter)
    first_days: dict[str, str] = field(default_factory=dict)


class StackArchive:
    """The archive of a stack; files that were read stay in `folder`."""

    def __init__(self, archive: Archive, dynamo: Dynamo, stats_table: str, folder: Path) -> None:
        self.archive = archive
        self._dynamo = dynamo
        self._stats_table = stats_table
        self._folder = folder

    @classmethod
    def of(cls, stack: Stack, folder: Path | None = None) -> "StackArchive":
        """Find it; the files are kept in the user's cache unless a folder is named."""
        bucket = stack.output("ArchiveBucketName")
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return cls(
            Archive(stack.client("s3"), bucket),
            Dynamo(stack.client("dynamodb")),
            stack.output("StatsTableName"),
            folder or cache / "rollcall" / bucket,
        )

    def compact(self) -> Compacted:
        """Compact all that is finished; raises `rollcall.compaction.Contended`."""
        compactor = Compactor(self.archive, self._dynamo, self._stats_table, MEMORY_MEGABYTES)
        return compactor.run(lambda: NO_HURRY_MILLISECONDS)

    @contextmanager
    def opened(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A database with the views `events` and `user_days` of all that is counted; raises
        `rollcall.snapshots.Moving`.
        """
        snapshots = Snapshots(self.archive, self._dynamo, self._stats_table, self._folder, CACHE_MEGABYTES)
        snapshot = snapshots.take()
        with TemporaryDirectory() as folder, closing(connect(Path(folder), MEMORY_MEGABYTES)) as connection:
            load_snapshot(connection, snapshot)
            yield connection

    def figures(self) -> Figures:
        """A recount of all of it."""
        with self.opened() as connection:

            def rows(columns: str, rest: str) -> list[tuple[Any, ...]]:
                return connection.execute(f"SELECT {columns} FROM events {rest}").fetchall()

            return Figures(
                actives=Counter(dict(rows("CAST(day AS VARCHAR), count(DISTINCT user_id)", "GROUP BY day"))),
                types=_by_day(rows("CAST(day AS VARCHAR), event_type, count(*)", "GROUP BY day, event_type")),
                sources=_by_day(rows("CAST(day AS VARCHAR), source, count(*)", "GROUP BY day, source")),
                first_days=dict(rows("user_id, CAST(min(day) AS VARCHAR)", "GROUP BY user_id")),
            )


def _by_day(rows: list[tuple[Any, ...]]) -> Counter[tuple[str, str]]:
    return Counter({(day, name): count for day, name, count in rows})
