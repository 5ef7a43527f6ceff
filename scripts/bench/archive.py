"""Measures the archive: bytes of an event, time and memory of compaction, and the time of a segment's answer.

    python -m scripts.bench.archive compact FOLDER         compact the batches in a folder, as the function does
    python -m scripts.bench.archive ask FOLDER QUESTIONS   ask for the daily actives of a segment, once with an empty
                                                           cache and then QUESTIONS times more

A folder takes the place of the bucket, and every batch counts as counted. So the measurements cover the functions' own
work; on AWS, each object also takes a request. Each step runs in its own process.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any, cast

from rollcall.archive.bucket import Archive, Stored, VolumeObjects, encode
from rollcall.core.batch import MAX_BATCH_EVENTS, make_batch
from rollcall.core.events import parse_event
from rollcall.core.projects import DEFAULT
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.keys import batch_object, batch_objects, day_object, day_objects, day_of_object
from scripts.bench.cold import environment
from scripts.bench.load import RECEIVED_AT
from scripts.bench.memory import peak_mb
from scripts.local import sample

DAYS = 30
LAST_DAY = date(2025, 8, 31)
SEGMENT = "properties.country:UA"
WARM_QUESTIONS = 20
MB = 1024 * 1024


@dataclass(frozen=True)
class ArchiveCosts:
    """The measurements for `events` events on `DAYS` days."""

    events: int
    batches: int
    batch_bytes: float
    """Bytes of an event in the batches' objects."""
    parquet_bytes: float
    """Bytes of an event in the days' files."""
    compaction_seconds: float
    compaction_peak_mb: float
    rows: int
    """The number of rows that compaction wrote."""
    cold_ms: float
    """From the start of a process with an empty cache to its first answer: a segment's daily actives of all days."""
    warm_p50_ms: float
    warm_p95_ms: float
    answer_peak_mb: float
    users: int
    """The sum of the daily actives in the answer."""

    def figures(self) -> dict[str, Any]:
        """All figures as data for JSON."""
        return asdict(self)


def archive_costs(events: int, users: int) -> ArchiveCosts:
    """Archive made-up events in batches of 500, compact them, and ask for a segment."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        batches, batch_bytes = write_batches(folder, events, users)
        compacted = _run("compact", folder)
        parquet_bytes = sum(path.stat().st_size for path in folder.rglob("*.parquet"))
        asked = _run("ask", folder, str(WARM_QUESTIONS))
    first, *warm = asked["milliseconds"]
    return ArchiveCosts(
        events=events,
        batches=batches,
        batch_bytes=batch_bytes / events,
        parquet_bytes=parquet_bytes / events,
        compaction_seconds=compacted["seconds"],
        compaction_peak_mb=compacted["peak_mb"],
        rows=compacted["rows"],
        cold_ms=first,
        warm_p50_ms=median(warm),
        warm_p95_ms=quantiles(warm, n=20)[-1],
        answer_peak_mb=asked["peak_mb"],
        users=asked["users"],
    )


def write_batches(folder: Path, events: int, users: int) -> tuple[int, int]:
    """Write made-up events as the consumer archives them; returns the number of batches and of bytes."""
    now = datetime(2025, 9, 1, tzinfo=UTC)
    made = (parse_event(raw, now) for raw in sample.stream(events, users, DAYS, LAST_DAY, 1))
    (folder / batch_objects(DEFAULT)).mkdir(parents=True)
    count = size = 0
    while chunk := list(islice(made, MAX_BATCH_EVENTS)):
        batch = make_batch(DEFAULT, chunk, "bench", RECEIVED_AT)
        body = encode(batch, chunk, [event.occurred_at[:10] for event in chunk])
        (folder / batch_object(DEFAULT, batch.batch_id)).write_bytes(body)
        count, size = count + 1, size + len(body)
    return count, size


def _run(step: str, folder: Path, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "scripts.bench.archive", step, str(folder), *arguments]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env=environment("compact", "segments")
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


class FolderArchive(Archive):
    """An archive in a local folder, with the interface of the archive's bucket."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.project = DEFAULT

    def tiers(self) -> Iterator[Iterator[Stored]]:
        """The objects of all batches. Nothing is bundled here."""
        yield map(self._stored, sorted((self._folder / batch_objects(DEFAULT)).glob("*")))

    def days(self, first: str = "", last: str = "~") -> dict[str, Stored]:
        """The objects of the days, by day."""
        found = map(self._stored, sorted(self._folder.glob(f"{day_objects(DEFAULT)}*/*")))
        return {day: one for one in found if first <= (day := day_of_object(DEFAULT, one.key)) <= last}

    def fetch(self, key: str, path: Path, etag: str = "") -> str:  # noqa: ARG002
        """Copy an object. Ignores `etag`, because nothing else changes the folder."""
        source = self._folder / key
        if not source.exists():
            return ""
        shutil.copyfile(source, path)
        return self._stored(source).etag

    def replace_day(self, day: str, path: Path, etag: str) -> bool:  # noqa: ARG002
        """Replace a day's file. Ignores `etag`, because nothing else changes the folder."""
        target = self._folder / day_object(DEFAULT, day)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        return True

    def drop(self, objects: Sequence[Stored]) -> None:
        """Delete batches' objects."""
        for stored in objects:
            (self._folder / stored.key).unlink()

    def volumes(self) -> tuple[list[VolumeObjects], list[Stored]]:
        """None: the days are too few to bind."""
        return [], []

    def _stored(self, path: Path) -> Stored:
        stat = path.stat()
        etag = hashlib.sha256(f"{path} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()
        return Stored(str(path.relative_to(self._folder)), etag, stat.st_size)


class _Finished:
    """A stand-in for DynamoDB in which every batch has its receipt."""

    def get(self, _table: str, keys: Sequence[Any], *_: object, **__: object) -> Iterator[Any]:
        for key in keys:
            yield {"pk": key["pk"], "applied": {"N": "1"}, "total": {"N": "1"}}


def compact(folder: Path) -> dict[str, Any]:
    """Compact the batches in a folder; returns the measurements."""
    from rollcall.archive.compaction import OTHER_MEGABYTES, Compactor

    megabytes = _memory("CompactionMemory") - OTHER_MEGABYTES
    compactor = Compactor(FolderArchive(folder), cast(Dynamo, _Finished()), "stats", megabytes)
    done = compactor.run(lambda: 900_000)
    return {"rows": done.rows}


def ask(folder: Path, questions: int, started: float) -> dict[str, Any]:
    """Ask for a segment's daily actives, the first time with an empty cache; returns the measurements."""
    from rollcall.archive.snapshots import Snapshots
    from rollcall.questions.daily_actives import DailyActives
    from rollcall.questions.from_archive import ArchivedEvents
    from rollcall.questions.remote_handler import OTHER_MEGABYTES
    from rollcall.questions.segment import parse_segment

    milliseconds: list[float] = []
    users = 0
    with TemporaryDirectory() as cache:
        snapshots = Snapshots(FolderArchive(folder), cast(Dynamo, _Finished()), "stats", Path(cache), 2_048)
        question = DailyActives("2025-08-02", LAST_DAY.isoformat())
        archived = ArchivedEvents(snapshots, _memory("SegmentsMemory") - OTHER_MEGABYTES, [parse_segment(SEGMENT)])
        for _ in range(1 + questions):
            users = sum(day.dau for day in question.from_archive(archived).answer)
            ended = time.perf_counter()
            milliseconds.append(1000 * (ended - started))
            started = ended
    return {"milliseconds": milliseconds, "users": users}


def _memory(parameter: str) -> int:
    from scripts.local.deploy import template

    return int(template()["Parameters"][parameter]["Default"])


def main(step: str, folder: Path, *arguments: str) -> None:
    """Run one step and print its measurements as JSON."""
    started = time.perf_counter()
    result = compact(folder) if step == "compact" else ask(folder, int(arguments[0]), started)
    print(json.dumps({"peak_mb": peak_mb(), "seconds": time.perf_counter() - started, **result}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
