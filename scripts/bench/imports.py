"""Measures the memory of an import and of a dry run by the size of the file, and the CPU time of a dry run.

    python -m scripts.bench.imports plan FILE TASKS     cut FILE as the planner does, and write the tasks to TASKS
    python -m scripts.bench.imports import FILE TASKS   take in the tasks in TASKS as the importer does
    python -m scripts.bench.imports dry FILE TASKS      check FILE as `rollcall import --dry-run` does

The memory is the peak resident set of a process that does one of these. A local file takes the place of S3. The queues
and the table discard what they get. So the memory measured is the functions' own.

The CPU time of a dry run is compared with that of a plain pass, which reads the same file with Python's `csv` and
parses the properties with its `json`. The process does both in turn, so a slow phase of the machine affects both. The
ratio is that of the medians.
"""

import csv
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from statistics import median
from typing import IO, Any, cast

from aws_lambda_powertools import Logger, Metrics

from rollcall.core.days import Calendar
from rollcall.core.projects import Project
from rollcall.files.importer import Importer
from rollcall.files.planner import Planner
from rollcall.files.progress import FilePart, ImportLog, Progress
from rollcall.files.rows import MOST_BYTES, read_rows
from rollcall.files.task import Task
from rollcall.intake.intake import Intake
from rollcall.stack.projects import Projects
from rollcall.stack.queues import BatchQueue
from scripts.bench.memory import peak_mb
from scripts.bench.report import Target
from scripts.local import sample
from scripts.operate.send_file import Survey, read_chunks, survey

MB = 1024 * 1024
KEY = "uploads/bench.csv"
# The average of the made-up events.
BYTES_A_ROW = 153
# The passes of a file whose median counts, plain and dry.
DRY_RUNS = 3


@dataclass(frozen=True)
class ImportMemory:
    """The memory of the import of a file."""

    megabytes: float
    rows: int
    parts: int
    plan_peak_mb: float
    plan_seconds: float
    import_peak_mb: float
    """Peak memory of one process that takes in all parts, one after the other."""
    import_seconds: float
    dry_run_peak_mb: float
    dry_run_seconds: float
    """CPU time."""
    dry_run_over_plain: float
    """The CPU time of a dry run, as a multiple of a plain pass."""


def dry_run_targets(found: Sequence[ImportMemory]) -> list[Target]:
    """The targets. They are for ratios, because times of different machines cannot be compared."""
    worst = max(one.dry_run_over_plain for one in found)
    return [Target("CPU of a dry run ÷ plain csv and json", worst, 4)]


def import_memory(file: Path) -> ImportMemory:
    """Cut a file in one process, take in all of its parts in another one, and check it in a third one."""
    tasks = file.with_suffix(".tasks")
    planned, imported, dry = (_run(step, file, tasks) for step in ("plan", "import", "dry"))
    return ImportMemory(
        megabytes=file.stat().st_size / MB,
        rows=imported["rows"],
        parts=imported["parts"],
        plan_peak_mb=planned["peak_mb"],
        plan_seconds=planned["seconds"],
        import_peak_mb=imported["peak_mb"],
        import_seconds=imported["seconds"],
        dry_run_peak_mb=dry["peak_mb"],
        dry_run_seconds=dry["seconds"],
        dry_run_over_plain=dry["over_plain"],
    )


def write_csv(file: Path, megabytes: int) -> None:
    """Write a CSV file of made-up events with about this size."""
    rows = megabytes * MB // BYTES_A_ROW
    with file.open("wb") as opened:
        sample.write(sample.stream(rows, 10_000, 30, date(2025, 8, 31), 1), opened, file.name)


def _run(step: str, file: Path, tasks: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "scripts.bench.imports", step, str(file), str(tasks)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


class _File:
    """A stand-in for S3 with one object, which is a local file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get_object(self, Key: str, Range: str = "", **_: object) -> dict[str, Any]:  # noqa: N803 - boto3's names
        size = self._path.stat().st_size
        start, end = map(int, Range.removeprefix("bytes=").split("-")) if Range else (0, size - 1)
        body = _Body(self._path.open("rb"), start, end + 1)
        return {"Body": body, "ETag": f'"{Key}"', "ContentLength": size}

    def delete_object(self, **_: object) -> None:
        """Do nothing: there is no rejects object."""


@dataclass
class _Body:
    file: IO[bytes]
    start: int
    end: int

    def iter_chunks(self, size: int) -> Iterator[bytes]:
        with self.file:
            self.file.seek(self.start)
            while (left := self.end - self.file.tell()) > 0:
                yield self.file.read(min(size, left))


class _Tasks(BatchQueue):
    """A stand-in for the queue of tasks: a file."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def send(self, bodies: Sequence[str], correlation_id: str) -> dict[int, str]:  # noqa: ARG002
        """Write the tasks to the file, one a line."""
        self._file.writelines(f"{body}\n" for body in bodies)
        return {}


class _Nothing(BatchQueue):
    """A stand-in for a queue that discards all messages."""

    def __init__(self) -> None:
        pass

    def send(self, bodies: Sequence[str], correlation_id: str) -> dict[int, str]:  # noqa: ARG002
        """Discard the messages; reports no failures."""
        return {}


class _Log:
    """A stand-in for the `ImportLog` that keeps nothing."""

    def begin(self, *_: object) -> str:
        """Return a name for the run."""
        return "run"

    def plan(self, *_: object) -> None:
        """Do nothing."""

    def finish_part(self, *_: object) -> None:
        """Do nothing."""

    def read(self, project: Project, import_id: str) -> Progress:
        """A progress that is never complete, so that no part is the last one."""
        return Progress(project, import_id, KEY, "run", 0, None, [], done=False, gone=False, started_at="")


def plain_pass(file: Path) -> int:
    """Read a CSV file and parse the properties of its rows, and check nothing; returns the number of rows."""
    rows = 0
    with file.open(newline="", encoding="utf-8") as opened:
        reader = csv.reader(opened)
        properties = next(reader).index("properties_json")
        for fields in reader:
            rows += 1
            if fields[properties]:
                json.loads(fields[properties])
    return rows


def dry_run(file: Path) -> Survey:
    """Check a file as `rollcall import --dry-run` does."""
    with file.open("rb") as opened:
        rows = read_rows(read_chunks(opened, lambda _: None), MOST_BYTES, file.name)
        return survey(rows, datetime.now(UTC), lambda _: None, Calendar("UTC"))


def compare_dry_run(file: Path) -> dict[str, float]:
    """Measure dry runs and plain passes of a file in turn."""
    plain, dry = [], []
    for _ in range(DRY_RUNS):
        rows, seconds = _timed(lambda: plain_pass(file))
        plain.append(seconds)
        found, seconds = _timed(lambda: dry_run(file))
        dry.append(seconds)
        if found.good != rows:
            raise AssertionError("a made-up event is not taken in")
    return {"peak_mb": peak_mb(), "seconds": median(dry), "over_plain": median(dry) / median(plain)}


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.process_time()
    made = work()
    return made, time.process_time() - started


def main(step: str, file: Path, tasks: Path) -> None:
    """Run one step and print its measurements as JSON."""
    if step == "dry":
        print(json.dumps(compare_dry_run(file)))
        return
    s3, log = cast(Any, _File(file)), cast(ImportLog, _Log())
    logger = Logger(service="bench", stream=io.StringIO(), level="ERROR")
    started = time.perf_counter()
    parts: list[FilePart] = []
    if step == "plan":
        projects = Projects(cast(Any, None), "stats", Calendar("UTC"))
        with tasks.open("w") as queue:
            Planner(s3, _Tasks(queue), log, logger, projects).plan("bench", KEY)
    else:
        intake = Intake(_Nothing(), lambda _: Calendar("UTC"))
        importer = Importer(s3, intake, log, logger, Metrics(service="bench", namespace="Rollcall"))
        with tasks.open() as queue:
            for line in queue:
                part = importer.take_in(Task.decode(line))
                if part:
                    parts.append(part)
    figures = {"peak_mb": peak_mb(), "seconds": time.perf_counter() - started}
    print(json.dumps({**figures, "rows": sum(part.rows for part in parts), "parts": len(parts)}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
