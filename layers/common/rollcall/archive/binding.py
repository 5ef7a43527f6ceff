"""Binding: copies days' small files into volumes, so that a reader of thousands of days has few objects to fetch.

A run that stops at any point loses nothing, and several may run at the same time: no answer depends on a volume.
"""

from contextlib import closing, nullcontext
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from rollcall.archive.bucket import Archive, Stored, VolumeObjects, groups
from rollcall.archive.duck import connect, write_volume
from rollcall.archive.volumes import Volume, days_in, read_volume
from rollcall.stack.keys import day_of_object

# A reader fetches so few days one by one. A stack whose events are of a day or two each hour binds once in days.
LEAST_DAYS = 200
# A larger file of a day stays alone: a reader gets as many bytes with each request as it is worth.
DAY_BYTES = 1024 * 1024
# The limits of what is bound at a time.
VOLUME_DAYS = 2_000
VOLUME_BYTES = 64 * 1024 * 1024


class Binder:
    """Binds the days of an archive. DuckDB may use `megabytes` of memory where it has no database open."""

    def __init__(self, archive: Archive, megabytes: int) -> None:
        self._archive = archive
        self._megabytes = megabytes

    def bind(self, connection: duckdb.DuckDBPyConnection | None = None) -> bool:
        """Make a volume of small days that are in none, if there are `LEAST_DAYS`; returns whether as many are left.

        What is still valid in volumes that have become thin goes along. Volumes without a valid day are deleted, and so
        is a half of one. So there are never many volumes, and all but one have half of `VOLUME_BYTES` at least.
        `connection` is a database that is open already, if there is one: two would take twice the memory.

        One LIST for each 1,000 days, one for each 500 volumes, and one GET for each volume. If there is something to
        bind, one GET for each day, two PUTs and a DELETE. Raises `rollcall.archive.bucket.ArchiveError` and botocore's
        errors.
        """
        with TemporaryDirectory() as name:
            folder = Path(name)
            stored = {day: one for day, one in self._archive.days().items() if one.size <= DAY_BYTES}
            whole, halves = self._archive.volumes()
            volumes = self._read(whole, folder)
            bound = days_in(volumes, {day: one.etag for day, one in stored.items()})
            empty = [volume.objects for volume, days in zip(volumes, bound, strict=True) if not days]
            self._archive.drop([*halves, *chain.from_iterable(empty)])
            loose = {day: stored[day] for day in sorted(stored.keys() - {day for days in bound for day in days})}
            if len(loose) < LEAST_DAYS:
                return False
            chosen = next(groups(loose.values(), VOLUME_DAYS, VOLUME_BYTES))
            thin = [pair for pair in zip(volumes, bound, strict=True) if _is_thin(*pair)]
            with nullcontext(connection) if connection else closing(connect(folder, self._megabytes)) as open_one:
                self._bind(open_one, chosen, thin, folder)
            return len(loose) - len(chosen) >= LEAST_DAYS

    def _read(self, objects: list[VolumeObjects], folder: Path) -> list[Volume]:
        fetched = {one.key: path for one, path in self._archive.fetch_all([one.contents for one in objects], folder)}
        return [read_volume(one, fetched[one.contents.key]) for one in objects if one.contents.key in fetched]

    def _bind(
        self,
        connection: duckdb.DuckDBPyConnection,
        loose: list[Stored],
        thin: list[tuple[Volume, list[str]]],
        folder: Path,
    ) -> None:
        """Put a volume of the files of days, and of what is valid in volumes; then delete those."""
        days = {
            path: (day_of_object(self._archive.project, one.key), one.etag)
            for one, path in self._archive.fetch_all(loose, folder)
        }
        if not days:
            return
        rows = {one.key: path for one, path in self._archive.fetch_all([one.objects.rows for one, _ in thin], folder)}
        kept = [(volume, valid) for volume, valid in thin if volume.objects.rows.key in rows]
        versions = {day: volume.versions[day] for volume, valid in kept for day in valid} | dict(days.values())
        made = folder / "volume.parquet"
        write_volume(
            connection,
            {path: day for path, (day, _) in days.items()},
            {rows[volume.objects.rows.key]: valid for volume, valid in kept},
            made,
        )
        self._archive.put_volume(made, versions)
        self._archive.drop([one for volume, _ in kept for one in volume.objects])


def _is_thin(volume: Volume, valid: list[str]) -> bool:
    """Whether what is valid in a volume has less than half the size of a full one."""
    return 0 < volume.objects.rows.size * len(valid) < VOLUME_BYTES / 2 * len(volume.versions)
