"""What memory an import takes, by the size of the file: peak resident sets of processes that do the functions' work.

    python -m scripts.bench.imports plan FILE TASKS     plan a file as the plan function does, its tasks into a file
    python -m scripts.bench.imports import FILE TASKS   take in the tasks of a file as the import function does

S3 is the file, the queues and the table forget what they are told, so that what is measured is the functions' own.
"""

import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import IO, Any, cast

from aws_lambda_powertools import Logger, Metrics

from rollcall.core.days import Calendar
from rollcall.files.importer import Importer
from rollcall.files.planner import Planner
from rollcall.files.progress import FilePart, ImportLog, Progress
from rollcall.files.task import Task
from rollcall.intake.intake import Intake
from rollcall.stack.queues import BatchQueue
from scripts.bench.memory import peak_mb
from scripts.local import sample

MB = 1024 * 1024
KEY = "uploads/bench.csv"
# Of the made-up events, on average.
BYTES_A_ROW = 153


@dataclass(frozen=True)
class ImportMemory:
    """What the import of a file took."""

    megabytes: float
    rows: int
    parts: int
    plan_peak_mb: float
    plan_seconds: float
    import_peak_mb: float
    """Of one process that takes in all parts, one after the other."""
    import_seconds: float


def import_memory(file: Path) -> ImportMemory:
    """Plan a file and take its parts in, each in a process of its own."""
    tasks = file.with_suffix(".tasks")
    planned, imported = (_run(step, file, tasks) for step in ("plan", "import"))
    return ImportMemory(
        megabytes=file.stat().st_size / MB,
        rows=imported["rows"],
        parts=imported["parts"],
        plan_peak_mb=planned["peak_mb"],
        plan_seconds=planned["seconds"],
        import_peak_mb=imported["peak_mb"],
        import_seconds=imported["seconds"],
    )


def write_csv(file: Path, megabytes: int) -> None:
    """Write made-up events of about that size."""
    rows = megabytes * MB // BYTES_A_ROW
    with file.open("wb") as opened:
        sample.write(sample.stream(rows, 10_000, 30, date(2025, 8, 31), 1), opened, file.name)


def _run(step: str, file: Path, tasks: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "scripts.bench.imports", step, str(file), str(tasks)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


class _File:
    """S3 with one object, which is a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get_object(self, Key: str, Range: str = "", **_: object) -> dict[str, Any]:  # noqa: N803 - boto3's names
        size = self._path.stat().st_size
        start, end = map(int, Range.removeprefix("bytes=").split("-")) if Range else (0, size - 1)
        body = _Body(self._path.open("rb"), start, end + 1)
        return {"Body": body, "ETag": f'"{Key}"', "ContentLength": size}

    def delete_object(self, **_: object) -> None:
        """There are no rejects."""


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
    """A queue of tasks that is a file."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def send(self, bodies: Sequence[str], correlation_id: str) -> dict[int, str]:  # noqa: ARG002
        """Keep them, one a line."""
        self._file.writelines(f"{body}\n" for body in bodies)
        return {}


class _Nothing(BatchQueue):
    """A queue that forgets what it is told."""

    def __init__(self) -> None:
        pass

    def send(self, bodies: Sequence[str], correlation_id: str) -> dict[int, str]:  # noqa: ARG002
        """Take them all."""
        return {}


class _Log:
    """Progress that nobody asks for."""

    def begin(self, *_: object) -> str:
        """A file is read."""
        return "run"

    def plan(self, *_: object) -> None:
        """It has been."""

    def finish_part(self, *_: object) -> None:
        """A part is done."""

    def read(self, import_id: str) -> Progress:
        """Never done."""
        return Progress(import_id, KEY, "run", 0, None, [], done=False, gone=False, started_at="")


def main(step: str, file: Path, tasks: Path) -> None:
    """Do one step and print what it took."""
    s3, log = cast(Any, _File(file)), cast(ImportLog, _Log())
    logger = Logger(service="bench", stream=io.StringIO(), level="ERROR")
    started = time.perf_counter()
    parts: list[FilePart] = []
    if step == "plan":
        with tasks.open("w") as queue:
            Planner(s3, _Tasks(queue), log, logger).plan("bench", KEY)
    else:
        intake = Intake(_Nothing(), Calendar("UTC"))
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
