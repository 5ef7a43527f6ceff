"""Takes in the parts of uploaded files.

The planner cuts a file into parts between its rows. Importers take the parts in, many at the same time. Taking a part
in twice is safe: it makes the same batches again, and its outcome overwrites the same item.
"""

import csv
import io
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from aws_lambda_powertools import Logger, Metrics

from rollcall.core.batch import Sender
from rollcall.core.events import InvalidEvent
from rollcall.core.projects import Project
from rollcall.core.spreadsheets import escape_formula
from rollcall.core.strict_json import MAX_VALUES, most_values
from rollcall.files.numbering import Numbering
from rollcall.files.progress import FilePart, ImportLog, Progress
from rollcall.files.rows import MOST_BYTES, Row, read_piece, too_large
from rollcall.files.task import (
    KEPT_CHARACTERS_OF_A_REJECTED_ROW,
    SOURCE,
    QueueUnavailable,
    Task,
    rejects_key,
)
from rollcall.intake.intake import TOO_MANY_DAYS, Intake, Rejection
from rollcall.stack.keys import import_id_of, project_of_upload
from rollcall.stack.objects import Gone, read_object
from rollcall.stack.telemetry import add_count

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

# Rows that the intake sorts by day and cuts into batches together.
ROWS_AT_A_TIME = 5_000
BYTES_AT_A_TIME = 8 * 1024 * 1024
REJECTS_IN_MEMORY_BYTES = 1024 * 1024
MAX_REJECTS_BYTES = 200 * 1024 * 1024
_SENDER = Sender(SOURCE)
_REJECTS_HEADER = ["line", "code", "message", "row"]


class Importer:
    """Takes in the parts of files that the planner queued."""

    def __init__(
        self,
        s3: "S3Client",
        intake: Intake,
        log: ImportLog,
        logger: Logger,
        metrics: Metrics,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._s3 = s3
        self._intake = intake
        self._log = log
        self._logger = logger
        self._metrics = metrics
        self._most_bytes = most_bytes

    def handle(self, event: dict[str, Any]) -> None:
        """Take in the parts in an SQS event; raises the errors of `take_in`."""
        for record in event["Records"]:
            self.take_in(Task.decode(record["body"]))

    def take_in(self, task: Task) -> FilePart | None:
        """Take in one part; returns its outcome, or None if the file was deleted or replaced.

        Holds one window of rows in memory: `ROWS_AT_A_TIME` rows or `BYTES_AT_A_TIME` of text. Raises
        `rollcall.files.task.QueueUnavailable` and botocore's errors.
        """
        project, import_id = project_of_upload(task.key), import_id_of(task.key)
        context = {"key": task.key, "project": project.name, "import_id": import_id, "part": task.number}
        with tempfile.SpooledTemporaryFile(REJECTS_IN_MEMORY_BYTES) as rejects:
            try:
                part, batch_ids = self._import_rows(project, task.number, self._rows(task), rejects, import_id)
            except Gone:
                self._logger.warning("the uploaded object is gone or another one", extra=context)
                self._log.lose(project, task.key, task.run)
                return None
            if part.rejected or part.conflicts:
                self._upload(rejects, task.bucket, task.staged("rejects"))
        self._log.finish_part(project, task.key, task.run, part, batch_ids)
        self._logger.info("part imported", extra={**context, **part._asdict(), "batches": len(batch_ids)})
        add_count(self._metrics, "RowsAccepted", part.accepted)
        add_count(self._metrics, "RowsRejected", part.rejected)
        progress = self._log.read(project, import_id)
        if progress.run == task.run and progress.taken_in and not progress.done:
            self._finish(task, progress)
            self._log.finish(project, task.key, task.run)
        return part

    def _rows(self, task: Task) -> Iterator[Row]:
        if task.read_from is None:
            return (Row(line, text, InvalidEvent(code, message)) for line, text, code, message in task.broken)
        if task.start >= self._most_bytes:
            # Planned before the limit was lowered.
            return iter([Row(task.first_line, "", too_large(self._most_bytes))])
        if task.read_from == task.key:
            reading = read_object(
                self._s3, task.bucket, task.key, start=task.start, end=task.end, etag=f'"{task.etag}"'
            )
        else:
            reading = read_object(self._s3, task.bucket, task.read_from)
        return read_piece(reading.chunks, _columns(task), task.first_line)

    def _import_rows(
        self, project: Project, number: int, rows: Iterator[Row], rejects: IO[bytes], correlation_id: str
    ) -> tuple[FilePart, list[str]]:
        """Queue the rows; returns the outcome of the part and the ids of its batches."""
        total = FilePart(number, 0, 0, 0, 0)
        batch_ids: list[str] = []
        numbering = Numbering()
        with _writer(rejects) as write:
            for window in _windows(numbering.watch(rows)):
                left = window
                while left:
                    taken = self._intake.take(project, (row.event for row in left), _SENDER, correlation_id)
                    if taken.queue_errors:
                        raise QueueUnavailable(f"the queue did not take all rows: {', '.join(taken.queue_errors)}")
                    of_later_days = [one for one in taken.rejected if one.code == TOO_MANY_DAYS]
                    rejected = [one for one in taken.rejected if one.code != TOO_MANY_DAYS]
                    for rejection in sorted([*rejected, *taken.conflicts]):
                        write(left[rejection.index], rejection)
                    total = FilePart(
                        number,
                        total.rows + len(left) - len(of_later_days),
                        total.accepted + taken.accepted,
                        total.rejected + len(rejected),
                        total.duplicates + taken.duplicates,
                        total.conflicts + len(taken.conflicts),
                    )
                    batch_ids += [batch.batch_id for batch in taken.batches]
                    left = [left[one.index] for one in of_later_days]
        return total._replace(numbered=int(numbering.found)), batch_ids

    def _finish(self, task: Task, progress: Progress) -> None:
        """Join the rejected and conflicting rows of all parts in one object. Repeating this writes the same object."""
        key = rejects_key(task.key)
        left = progress.listed
        if left:
            with tempfile.SpooledTemporaryFile(REJECTS_IN_MEMORY_BYTES) as rejects:
                rejects.write(",".join(_REJECTS_HEADER).encode() + b"\r\n")
                for part in progress.parts:
                    listed = part.rejected + part.conflicts
                    if listed and rejects.tell() < MAX_REJECTS_BYTES:
                        staged = task._replace(number=part.number).staged("rejects")
                        for chunk in read_object(self._s3, task.bucket, staged).chunks:
                            rejects.write(chunk)
                        left -= listed
                if left:
                    rejects.write(f",left_out,{left} more rows were rejected or conflict,\r\n".encode())
                self._upload(rejects, task.bucket, key)
        else:
            # An earlier upload under the same key may have left rejects that this file has corrected.
            self._s3.delete_object(Bucket=task.bucket, Key=key)
        counts = {
            name: sum(getattr(part, name) for part in progress.parts) for name in ("rows", "accepted", "rejected")
        }
        self._logger.info("file imported", extra={"key": task.key, "import_id": progress.import_id, **counts})

    def _upload(self, file: IO[bytes], bucket: str, key: str) -> None:
        file.seek(0)
        self._s3.upload_fileobj(file, bucket, key, ExtraArgs={"ContentType": "text/csv; charset=utf-8"})


@contextmanager
def _writer(file: IO[bytes]) -> Iterator[Callable[[Row, Rejection], None]]:
    """A function that writes rows with the reasons why they do not count, as CSV without a header."""
    text = io.TextIOWrapper(file, "utf-8", errors="backslashreplace", newline="", write_through=True)
    writer = csv.writer(text)

    def write(row: Row, rejection: Rejection) -> None:
        kept = row.text[:KEPT_CHARACTERS_OF_A_REJECTED_ROW]
        writer.writerow(map(escape_formula, (row.line, rejection.code, rejection.message, kept)))

    yield write
    text.detach()


def _columns(task: Task) -> list[str] | None:
    """The column names of a task's rows, or None for JSONL. The name of an unknown column is empty."""
    if task.header is None:
        return None
    names = {place: name for name, place in task.header.items()}
    return [names.get(place, "") for place in range(task.columns)]


def _windows(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Cut rows into windows of `ROWS_AT_A_TIME` rows, `BYTES_AT_A_TIME` characters or `MAX_VALUES` values."""
    window: list[Row] = []
    size = values = 0
    for row in rows:
        window.append(row)
        size += len(row.text)
        values += most_values(row.text)
        if len(window) == ROWS_AT_A_TIME or size >= BYTES_AT_A_TIME or values >= MAX_VALUES:
            yield window
            window, size, values = [], 0, 0
    if window:
        yield window
