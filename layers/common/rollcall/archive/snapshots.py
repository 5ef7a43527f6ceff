"""Consistent reading of the archive while it is bundled and compacted.

Compaction writes the days' files of some batches, one by one, and then deletes the objects with the batches' rows. A
reader lists the days, then reads the counted batches and the bundles tier after tier, then lists the days again. If the
days have not changed, the reader has every row of a batch that was counted before it began:

* A row that is in a day's file was there before the first list of days, since the days have not changed.
* Any other row is in an object all the time, and moves to later tiers only. If the reader does not meet it in one tier,
  it has moved to a later one before that tier is listed.

A batch that is counted meanwhile is whole, or is not there: none of its rows are in the days' files of the first list.
Rows that are in several objects, or in a day's file too, are recognised by their event id and batch.

If the days have changed, the reader does not begin anew, since they may change for as long as compaction runs. It reads
the days that have changed, then all tiers a second time, then the days that have changed again. Of all that it has read
it takes the batches that it had met, if only in part, before it read the tiers a second time:

* A batch that was counted before the reader began is among them. Each of its rows was in a tier all the time that these
  were read first, or has moved to a day's file before the days were listed after that.
* Each of them is whole. All its rows were stored when the second reading of the tiers began, since the object of a
  batch is put whole. Each was met in that reading, or has moved to a day's file before the days were listed last.
"""

import hashlib
import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from rollcall.archive.bucket import READERS, Archive, Stored
from rollcall.archive.volumes import days_in, read_volume
from rollcall.core.days import timestamp
from rollcall.stack.dynamo import Dynamo

# A reader of more days looks for volumes.
FROM_DAYS = 400
# A part of a key that may be a file's name as it is.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9=._-]{0,99}")


class Later(NamedTuple):
    """What a reader met when it read a second time. Of this, batches that it had not met before are not counted."""

    days: Sequence[Path]
    """The files of the days that have changed since, which are not among the snapshot's `days`."""
    former: Sequence[Path]
    """The files that these days had before."""
    pending: Sequence[Path]
    """Objects that are not among the snapshot's `pending`."""


class Snapshot(NamedTuple):
    """Local files with the events of some days that were counted by one moment."""

    as_of: str
    """RFC 3339 in UTC. Events counted before are in the snapshot; events counted during the reading may be."""
    days: Sequence[Path]
    """Days' files in Parquet, each in a folder `day=<day>`, with a row for each event."""
    pending: Sequence[Path]
    """Batches' objects, and bundles. They may have rows of other days, rows that are in `days` too, and a row twice."""
    volumes: Mapping[Path, Sequence[str]] = MappingProxyType({})
    """The rows of volumes, each with the days to take from it."""
    later: Later | None = None

    @property
    def files(self) -> set[Path]:
        """All its files; none where there is no event."""
        return {*self.days, *self.pending, *self.volumes, *(chain.from_iterable(self.later) if self.later else ())}


class _Day(NamedTuple):
    """What is held of a day."""

    etag: str
    file: Path
    in_volume: bool = False


class Snapshots:
    """Takes snapshots of an archive. Keeps up to `megabytes` of fetched files in `folder` for later snapshots."""

    def __init__(
        self,
        archive: Archive,
        dynamo: Dynamo,
        stats_table: str,
        folder: Path,
        megabytes: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._archive = archive
        self._dynamo = dynamo
        self._stats_table = stats_table
        self._folder = folder
        self._bytes = megabytes * 1024 * 1024
        self._clock = clock

    def take(self, first: str = "", last: str = "~", used: Collection[Path] = ()) -> Snapshot:
        """The events from day `first` to day `last`, both inclusive. Keeps the files in `used`, which others read.

        Two LISTs for each 1,000 days, and those of `Archive.tiers`. One GET for each object that is not kept from an
        earlier snapshot, and one read unit if the object is a batch's. While compaction runs, one LIST for each 1,000
        days more, the tiers twice, and a GET or two for each day that has changed.
        """
        listed = self._archive.days(first, last)
        as_of = timestamp(self._clock())
        pending = self._read_tiers()
        days = self._read_days(listed, {})
        now = self._archive.days(first, last)
        later: Later | None = None
        if now != listed or not all(day in days and days[day].etag == one.etag for day, one in now.items()):
            former = self._read_days(now, days)
            new = [path for path in self._read_tiers() if path not in {*pending}]
            days = self._read_days(self._archive.days(first, last), former)
            changed = [day for day, held in days.items() if held.etag != (former[day].etag if day in former else "")]
            files = {former[day].file for day in changed if day in former}
            later = Later([days.pop(day).file for day in changed], [*files], new)
        volumes: dict[Path, list[str]] = {}
        for day, held in days.items():
            if held.in_volume:
                volumes.setdefault(held.file, []).append(day)
        files_of_days = [held.file for held in days.values() if not held.in_volume]
        snapshot = Snapshot(as_of, files_of_days, pending, volumes, later)
        self._trim(snapshot.files.union(used))
        return snapshot

    def _read_tiers(self) -> list[Path]:
        pending: list[Path] = []
        for tier in self._archive.tiers():
            # A batch's object that was put again since it was listed holds the same rows. A bundle's content never
            # changes.
            pending += self._fetch(self._counted([*tier]))
        return pending

    def _read_days(self, listed: Mapping[str, Stored], held: Mapping[str, _Day]) -> dict[str, _Day]:
        """What is held of the listed days, where it is of the listed version, and other days anew.

        A day whose file was replaced since is of a later version than listed, and one whose file is gone is left out.
        """
        found = {day: held[day] for day, one in listed.items() if day in held and held[day].etag == one.etag}
        missing = {day: one for day, one in listed.items() if day not in found}
        # Again where a volume was replaced before it was fetched.
        while not held and len(missing) > FROM_DAYS:
            volumes = self._read_volumes({day: one.etag for day, one in missing.items()})
            for volume, days in volumes:
                found |= {day: _Day(missing.pop(day).etag, volume, in_volume=True) for day in days}
            if not volumes:
                break
        with ThreadPoolExecutor(READERS, thread_name_prefix="archive") as readers:
            fetched = dict(zip(missing, readers.map(self._fetch_day, missing.values()), strict=True))
        return found | {day: one for day, one in fetched.items() if one}

    def _read_volumes(self, versions: Mapping[str, str]) -> list[tuple[Path, list[str]]]:
        """The rows of volumes that have some of these versions of days' files, each with the days to take from it."""
        objects, _ = self._archive.volumes()
        contents = [(one, self._fetch_one(one.contents)) for one in objects]
        volumes = [read_volume(one, path) for one, path in contents if path]
        taken = zip(volumes, days_in(volumes, versions), strict=True)
        rows = [(self._fetch_one(one.objects.rows), days) for one, days in taken if days]
        return [(path, days) for path, days in rows if path]

    def _counted(self, objects: list[Stored]) -> list[Stored]:
        """Those whose rows are counted. A batch whose object is kept locally was counted, and stays so."""
        kept = [one for one in objects if self._path(one).exists()]
        unknown = [one for one in objects if not self._path(one).exists()]
        return [*kept, *self._archive.counted(self._dynamo, self._stats_table, unknown)]

    def _fetch(self, objects: Iterable[Stored]) -> list[Path]:
        """The local files of objects, without those that are gone."""
        with ThreadPoolExecutor(READERS, thread_name_prefix="archive") as readers:
            return [path for path in readers.map(self._fetch_one, objects) if path]

    def _fetch_one(self, stored: Stored) -> Path | None:
        """The local file of an object of which all versions hold the same."""
        fetched = self._fetch_version(stored)
        return self._path(fetched) if fetched else None

    def _fetch_day(self, stored: Stored) -> _Day | None:
        fetched = self._fetch_version(stored)
        return _Day(fetched.etag, self._path(fetched)) if fetched else None

    def _fetch_version(self, stored: Stored) -> Stored | None:
        """The version of an object that is now in its local file: the listed one, or a later one."""
        path = self._path(stored)
        if path.exists():
            # `_trim` removes the files with the oldest times first.
            os.utime(path)
            return stored
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"{path.name}.{os.getpid()}")
        etag = self._archive.fetch(stored.key, unfinished)
        if not etag:
            return None
        fetched = stored._replace(etag=etag)
        unfinished.replace(self._path(fetched))
        return fetched

    def _path(self, stored: Stored) -> Path:
        """The local path of a version of an object, in the object's folder. The file's name begins with the version."""
        *folders, name = map(_file_name, stored.key.split("/"))
        version = hashlib.sha256(stored.etag.encode()).hexdigest()[:16]
        return self._folder.joinpath(*folders, f"{version}-{name}")

    def _trim(self, used: set[Path]) -> None:
        """Remove the least recently used files until the folder is within its size. Never removes files in `used`."""
        kept = {path: path.stat() for path in self._folder.rglob("*") if path.is_file()}
        excess = sum(stat.st_size for stat in kept.values()) - self._bytes
        for path, stat in sorted(kept.items(), key=lambda entry: entry[1].st_mtime):
            if excess <= 0:
                return
            if path not in used:
                path.unlink(missing_ok=True)
                excess -= stat.st_size


def _file_name(segment: str) -> str:
    """The name of a file or folder for a part of a key. No key leads out of the folder, whatever stands in it."""
    if _PLAIN.fullmatch(segment):
        return segment
    return hashlib.sha256(segment.encode("utf-8", "surrogatepass")).hexdigest()
