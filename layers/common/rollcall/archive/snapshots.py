"""Consistent reading of the archive while it is compacted.

Compaction puts the days of some batches, one by one, and then deletes the batches' objects. Who lists the days, then
the finished batches, then the days again and finds them unchanged has every batch in one of the two: one whose object
is gone was put into all its days before it was deleted, and that was before the first list. A batch that has come into
some of its days only still has its object. Rows that are in both are known by their event and batch.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rollcall.archive.bucket import Archive, Stored
from rollcall.core.days import timestamp
from rollcall.counting.receipts import finished
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.keys import batch_of_object

READERS = 16
ATTEMPTS = 5


class Moving(Exception):
    """The archive is compacted so busily that no state of it could be read; try again."""


class Snapshot(NamedTuple):
    """Local files that hold the events of some days, as they were counted at one moment."""

    as_of: str
    """UTC, RFC 3339: what was counted until then is in it, and what was counted while it was read may be."""
    days: Sequence[Path]
    """Parquet, each under a folder `day=<day>`; a row for each event and batch."""
    pending: Sequence[Path]
    """Batches' objects; of any days, and perhaps with rows that are among the days' too."""


class Snapshots:
    """Takes snapshots of an archive. What it fetches stays in `folder`, up to some `megabytes`."""

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

    def take(self, first: str = "", last: str = "~") -> Snapshot:
        """The events from day `first` to day `last`, both inclusive; raises `Moving`.

        Two LISTs for each thousand days and one for each thousand batches that are not compacted; a GET and a read unit
        for each object that is not there from before.
        """
        for _ in range(ATTEMPTS):
            before = self._archive.days(first, last)
            as_of = timestamp(self._clock())
            # One that was put anew meanwhile holds the same rows.
            pending = self._fetch(self._finished(), exactly=False)
            days = self._fetch(before.values(), exactly=True)
            if len(days) == len(before) and self._archive.days(first, last) == before:
                self._trim({*days, *pending})
                return Snapshot(as_of, days, pending)
        raise Moving(f"the archive changed {ATTEMPTS} times while it was read")

    def _finished(self) -> list[Stored]:
        """The objects of batches that are counted; a batch that was so once stays so."""
        objects = list(self._archive.batches())
        unknown = [batch_of_object(one.key) for one in objects if not self._path(one).exists()]
        counted = finished(self._dynamo, self._stats_table, unknown)
        return [one for one in objects if self._path(one).exists() or batch_of_object(one.key) in counted]

    def _fetch(self, objects: Iterable[Stored], *, exactly: bool) -> list[Path]:
        """The files of objects, without those that are gone or not `exactly` those any more."""
        with ThreadPoolExecutor(READERS, thread_name_prefix="archive") as readers:
            return [path for path in readers.map(partial(self._fetch_one, exactly=exactly), objects) if path]

    def _fetch_one(self, stored: Stored, *, exactly: bool) -> Path | None:
        path = self._path(stored)
        if path.exists():
            # The last to be removed.
            os.utime(path)
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"{path.name}.{os.getpid()}")
        if not self._archive.fetch(stored.key, unfinished, stored.etag if exactly else ""):
            return None
        unfinished.replace(path)
        return path

    def _path(self, stored: Stored) -> Path:
        """Where a version of an object is kept: beside others of it, with its own ending."""
        folder, _, name = stored.key.rpartition("/")
        version = hashlib.sha256(stored.etag.encode()).hexdigest()[:16]
        return self._folder / folder / f"{version}-{name}"

    def _trim(self, used: set[Path]) -> None:
        """Remove what was not used for longest, as far as all of it is too much."""
        kept = {path: path.stat() for path in self._folder.rglob("*") if path.is_file()}
        excess = sum(stat.st_size for stat in kept.values()) - self._bytes
        for path, stat in sorted(kept.items(), key=lambda entry: entry[1].st_mtime):
            if excess <= 0:
                return
            if path not in used:
                path.unlink(missing_ok=True)
                excess -= stat.st_size
