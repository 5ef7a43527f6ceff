"""Consistent reading of the archive while it is bundled and compacted.

Compaction writes the days' files of some batches, one by one, and then deletes the objects with the batches' rows. A
reader lists the days, then reads the counted batches and the bundles tier after tier, then lists the days again. If the
days have not changed, the reader has every row of a batch that was counted before it began:

* A row that is in a day's file was there before the first list of days, since the days have not changed.
* Any other row is in an object all the time, and moves to later tiers only. If the reader does not meet it in one tier,
  it has moved to a later one before that tier is listed.

A batch that is counted meanwhile is whole, or is not there: none of its rows are in the days' files of the first list.
Rows that are in several objects, or in a day's file too, are recognised by their event id and batch.
"""

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rollcall.archive.bucket import READERS, Archive, Stored, counted
from rollcall.core.days import timestamp
from rollcall.stack.dynamo import Dynamo

ATTEMPTS = 5
# A part of a key that may be a file's name as it is.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9=._-]{0,99}")


class Moving(Exception):
    """Compaction changed the archive during each attempt to read it. The caller can try again."""


class Snapshot(NamedTuple):
    """Local files with the events of some days that were counted by one moment."""

    as_of: str
    """RFC 3339 in UTC. Events counted before are in the snapshot; events counted during the reading may be."""
    days: Sequence[Path]
    """Days' files in Parquet, each in a folder `day=<day>`, with a row for each event."""
    pending: Sequence[Path]
    """Batches' objects, and bundles. They may have rows of other days, rows that are in `days` too, and a row twice."""


class Snapshots:
    """Takes snapshots of an archive. Keeps up to `megabytes` of fetched files in `folder` for later snapshots.

    An attempt after the first one of a snapshot fetches only what has changed.
    """

    def __init__(
        self,
        archive: Archive,
        dynamo: Dynamo,
        stats_table: str,
        folder: Path,
        megabytes: int,
        clock: Callable[[], float] = time.time,
        attempts: int = ATTEMPTS,
    ) -> None:
        self._archive = archive
        self._dynamo = dynamo
        self._stats_table = stats_table
        self._folder = folder
        self._bytes = megabytes * 1024 * 1024
        self._clock = clock
        self._attempts = attempts

    def take(self, first: str = "", last: str = "~") -> Snapshot:
        """The events from day `first` to day `last`, both inclusive; raises `Moving`.

        Two LISTs for each 1,000 days, and those of `Archive.tiers`. One GET for each object that is not kept from an
        earlier snapshot, and one read unit if the object is a batch's.
        """
        for _ in range(self._attempts):
            before = self._archive.days(first, last)
            as_of = timestamp(self._clock())
            pending: list[Path] = []
            for tier in self._archive.tiers():
                # A batch's object that was put again since it was listed holds the same rows. A bundle's content never
                # changes.
                pending += self._fetch(self._counted([*tier]), exactly=False)
            days = self._fetch(before.values(), exactly=True)
            if len(days) == len(before) and self._archive.days(first, last) == before:
                self._trim({*days, *pending})
                return Snapshot(as_of, days, pending)
        raise Moving(f"the archive changed {self._attempts} times while it was read")

    def _counted(self, objects: list[Stored]) -> list[Stored]:
        """Those whose rows are counted. A batch whose object is kept locally was counted, and stays so."""
        kept = [one for one in objects if self._path(one).exists()]
        unknown = [one for one in objects if not self._path(one).exists()]
        return [*kept, *counted(self._dynamo, self._stats_table, unknown)]

    def _fetch(self, objects: Iterable[Stored], *, exactly: bool) -> list[Path]:
        """The local files of objects, without those that are gone and, if `exactly`, those whose ETag has changed."""
        with ThreadPoolExecutor(READERS, thread_name_prefix="archive") as readers:
            return [path for path in readers.map(partial(self._fetch_one, exactly=exactly), objects) if path]

    def _fetch_one(self, stored: Stored, *, exactly: bool) -> Path | None:
        path = self._path(stored)
        if path.exists():
            # `_trim` removes the files with the oldest times first.
            os.utime(path)
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"{path.name}.{os.getpid()}")
        if not self._archive.fetch(stored.key, unfinished, stored.etag if exactly else ""):
            return None
        unfinished.replace(path)
        return path

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
