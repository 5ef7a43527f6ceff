"""Imports uploaded files. One function cuts a file into pieces between its rows, others take the pieces in, many at
once. Whatever is repeated or comes twice ends the same: a piece always makes the same batches, and writes what became
of it over what stands there.
"""

import csv
import io
import json
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote_plus

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from botocore.exceptions import ClientError

from rollcall import aws
from rollcall.dynamo import Dynamo
from rollcall.events import InvalidEvent
from rollcall.intake import BatchQueue, Intake, Rejection
from rollcall.keys import import_id_of
from rollcall.progress import ImportLog, Part, Progress
from rollcall.rows import Piece, Row, cut_file, read_piece
from rollcall.settings import ImportSettings, PlanSettings

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

SOURCE = "import"
REJECTS_PREFIX = "rejects/"
# Pieces of files that cannot be read from their middle, and the rejected rows of each piece.
STAGED_PREFIX = "staged/"
PIECE_BYTES = 8 * 1024 * 1024
# Rows that are sorted by day together before they are cut into batches.
ROWS_AT_A_TIME = 5_000
BYTES_AT_A_TIME = 8 * 1024 * 1024
READ_BYTES = 256 * 1024
KEPT_CHARACTERS_OF_A_REJECTED_ROW = 4_000
# A message holds 256 KB, and JSON may write a character as twelve.
BROKEN_ROWS_A_TASK = 4
REJECTS_IN_MEMORY_BYTES = 1024 * 1024
MAX_REJECTS_BYTES = 200 * 1024 * 1024
_REJECTS_HEADER = ["line", "code", "message", "row"]


class QueueUnavailable(Exception):
    """The queue did not take everything. Import it again: what it did take is counted once."""


class Task(NamedTuple):
    """A part of a file to take in: a piece of it, or rows that are in no piece because the file is broken there."""

    bucket: str
    key: str
    """Of the upload."""
    etag: str
    run: str
    number: int
    read_from: str | None = None
    """The key of the object that holds the piece, the upload or another; None for broken rows."""
    start: int = 0
    end: int = 0
    first_line: int = 1
    columns: int = 0
    """Of CSV; none for JSONL."""
    header: Mapping[str, int] | None = None
    """The places of the columns that an event has."""
    broken: Sequence[tuple[int, str, str, str]] = ()
    """Line, text, code and message of each."""

    def encode(self) -> str:
        """As a message's body."""
        return json.dumps(self._asdict())

    @classmethod
    def decode(cls, body: str) -> "Task":
        """Read a message's body."""
        return cls(**json.loads(body))

    def staged(self, what: str) -> str:
        """The key of something of this part."""
        return f"{STAGED_PREFIX}{import_id_of(self.key)}/{self.run}/{self.number:06d}.{what}"


class Planner:
    """Cuts uploaded files into tasks for a queue."""

    def __init__(self, s3: "S3Client", queue: BatchQueue, log: ImportLog, logger: Logger) -> None:
        self._s3 = s3
        self._queue = queue
        self._log = log
        self._logger = logger

    def handle(self, event: dict[str, Any]) -> None:
        """Plan the objects of an S3 notification."""
        for record in event["Records"]:
            self.plan(record["s3"]["bucket"]["name"], unquote_plus(record["s3"]["object"]["key"]))

    def plan(self, bucket: str, key: str) -> None:
        """Cut one object; nothing where it is gone. Raises `QueueUnavailable` and botocore's errors.

        Memory is bounded by two pieces, whatever the size of the file.
        """
        context = {"bucket": bucket, "key": key, "import_id": import_id_of(key)}
        try:
            answer = self._s3.get_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "NoSuchKey":
                raise
            self._logger.warning("the uploaded object is gone", extra=context)
            return
        etag = answer["ETag"].strip('"')
        run = self._log.begin(key, answer["ContentLength"])
        last = Task(bucket, key, etag, run, 0)
        for number, part in enumerate(_gathered(cut_file(answer["Body"].iter_chunks(READ_BYTES), PIECE_BYTES))):
            if number:
                self._send(last)
            last = self._task(Task(bucket, key, etag, run, number), part)
        # Known before the last part can be done, so that whoever does the last one knows.
        self._log.plan(key, run, last.number + 1)
        self._send(last)
        self._logger.info("file planned", extra={**context, "parts": last.number + 1})

    def _task(self, task: Task, part: Piece | list[Row]) -> Task:
        if isinstance(part, list):
            return task._replace(broken=[_broken(row) for row in part])
        read_from = task.key
        if part.content is not None:
            read_from = task.staged("piece")
            self._s3.put_object(Bucket=task.bucket, Key=read_from, Body=part.content)
        task = task._replace(read_from=read_from, start=part.start, end=part.end, first_line=part.first_line)
        if part.header is None:
            return task
        places = {name: place for place, name in enumerate(part.header) if name}
        return task._replace(columns=len(part.header), header=places)

    def _send(self, task: Task) -> None:
        failures = self._queue.send([task.encode()], import_id_of(task.key))
        if failures:
            raise QueueUnavailable(f"the queue did not take a part: {failures[0]}")


class Importer:
    """Takes in the parts of files."""

    def __init__(self, s3: "S3Client", intake: Intake, log: ImportLog, logger: Logger, metrics: Metrics) -> None:
        self._s3 = s3
        self._intake = intake
        self._log = log
        self._logger = logger
        self._metrics = metrics

    def handle(self, event: dict[str, Any]) -> None:
        """Take in the parts of an SQS event."""
        for record in event["Records"]:
            self.take_in(Task.decode(record["body"]))

    def take_in(self, task: Task) -> Part | None:
        """Take in one part; None where its file is gone or another one by now. Raises `QueueUnavailable` and
        botocore's errors.

        Memory is bounded by a window of rows.
        """
        import_id = import_id_of(task.key)
        context = {"key": task.key, "import_id": import_id, "part": task.number}
        try:
            rows = self._rows(task)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") not in ("NoSuchKey", "PreconditionFailed"):
                raise
            self._logger.warning("the uploaded object is gone or another one", extra=context)
            self._log.lose(task.key, task.run)
            return None
        with tempfile.SpooledTemporaryFile(REJECTS_IN_MEMORY_BYTES) as rejects:
            part, batch_ids = self._import_rows(task.number, rows, rejects, import_id)
            if part.rejected:
                self._upload(rejects, task.bucket, task.staged("rejects"))
        self._log.finish_part(task.key, task.run, part, batch_ids)
        self._logger.info("part imported", extra={**context, **part._asdict(), "batches": len(batch_ids)})
        self._metrics.add_metric("RowsAccepted", MetricUnit.Count, part.accepted)
        self._metrics.add_metric("RowsRejected", MetricUnit.Count, part.rejected)
        progress = self._log.read(import_id)
        if progress.run == task.run and progress.taken_in and not progress.done:
            self._finish(task, progress)
            self._log.finish(task.key, task.run)
        return part

    def _rows(self, task: Task) -> Iterator[Row]:
        if task.read_from is None:
            return (Row(line, text, InvalidEvent(code, message)) for line, text, code, message in task.broken)
        request: dict[str, Any] = {"Bucket": task.bucket, "Key": task.read_from}
        if task.read_from == task.key:
            request |= {"Range": f"bytes={task.start}-{task.end - 1}", "IfMatch": f'"{task.etag}"'}
        body = self._s3.get_object(**request)["Body"]
        return read_piece(body.iter_chunks(READ_BYTES), _columns(task), task.first_line)

    def _import_rows(
        self, number: int, rows: Iterator[Row], rejects: IO[bytes], correlation_id: str
    ) -> tuple[Part, list[str]]:
        """What became of the rows, and the names of their batches."""
        total = Part(number, 0, 0, 0, 0)
        batch_ids: list[str] = []
        with _writer(rejects) as write:
            for window in _windows(rows):
                taken = self._intake.take((row.event for row in window), SOURCE, correlation_id)
                if taken.queue_errors:
                    raise QueueUnavailable(f"the queue did not take all rows: {', '.join(taken.queue_errors)}")
                for rejection in taken.rejected:
                    write(window[rejection.index], rejection)
                total = Part(
                    number,
                    total.rows + len(window),
                    total.accepted + taken.accepted,
                    total.rejected + len(taken.rejected),
                    total.duplicates + taken.duplicates,
                )
                batch_ids += [batch.batch_id for batch in taken.batches]
        return total, batch_ids

    def _finish(self, task: Task, progress: Progress) -> None:
        """Put the rejected rows of all parts together; the same again writes the same."""
        key = f"{REJECTS_PREFIX}{task.key}.csv"
        left = sum(part.rejected for part in progress.parts)
        if left:
            with tempfile.SpooledTemporaryFile(REJECTS_IN_MEMORY_BYTES) as rejects:
                rejects.write(",".join(_REJECTS_HEADER).encode() + b"\r\n")
                for part in progress.parts:
                    if part.rejected and rejects.tell() < MAX_REJECTS_BYTES:
                        staged = task._replace(number=part.number).staged("rejects")
                        for chunk in self._s3.get_object(Bucket=task.bucket, Key=staged)["Body"].iter_chunks():
                            rejects.write(chunk)
                        left -= part.rejected
                if left:
                    rejects.write(f",left_out,{left} more rows were rejected,\r\n".encode())
                self._upload(rejects, task.bucket, key)
        else:
            # Those of an earlier upload under the same key would tell of rows that are mended.
            self._s3.delete_object(Bucket=task.bucket, Key=key)
        counts = {
            name: sum(getattr(part, name) for part in progress.parts) for name in ("rows", "accepted", "rejected")
        }
        self._logger.info("file imported", extra={"key": task.key, "import_id": progress.import_id, **counts})

    def _upload(self, file: IO[bytes], bucket: str, key: str) -> None:
        file.seek(0)
        self._s3.upload_fileobj(file, bucket, key, ExtraArgs={"ContentType": "text/csv; charset=utf-8"})


class Uploads:
    """Where clients put files to import."""

    def __init__(self, s3: "S3Client", bucket: str, log: ImportLog) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._log = log

    def invite(self, name: str, seconds: int) -> tuple[str, str, str]:
        """Make room for a file; returns the import's id, the object's key, and a URL that takes a PUT for a time."""
        key = f"uploads/{secrets.token_hex(8)}/{name}"
        url = self._s3.generate_presigned_url(
            "put_object", Params={"Bucket": self._bucket, "Key": key}, ExpiresIn=seconds
        )
        return self._log.expect(key), key, url


def build_planner(settings: PlanSettings, logger: Logger) -> Planner:
    """The planner of a stack."""
    log = ImportLog(Dynamo(aws.dynamodb()), settings.stats_table)
    return Planner(aws.s3(), BatchQueue(aws.sqs(), settings.import_queue_url), log, logger)


def build_importer(settings: ImportSettings, logger: Logger, metrics: Metrics) -> Importer:
    """The importer of a stack."""
    log = ImportLog(Dynamo(aws.dynamodb()), settings.stats_table)
    intake = Intake(BatchQueue(aws.sqs(), settings.queue_url), settings.calendar)
    return Importer(aws.s3(), intake, log, logger, metrics)


@contextmanager
def _writer(file: IO[bytes]) -> Iterator[Callable[[Row, Rejection], None]]:
    """Writes rejected rows with their reasons as CSV without a header."""
    text = io.TextIOWrapper(file, "utf-8", errors="backslashreplace", newline="", write_through=True)
    writer = csv.writer(text)

    def write(row: Row, rejection: Rejection) -> None:
        kept = row.text[:KEPT_CHARACTERS_OF_A_REJECTED_ROW]
        writer.writerow([row.line, rejection.code, rejection.message, kept])

    yield write
    text.detach()


def _gathered(parts: Iterable[Piece | Row]) -> Iterator[Piece | list[Row]]:
    """Pieces as they are, and rows that are in none a few at a time."""
    rows: list[Row] = []
    for part in parts:
        if isinstance(part, Row):
            rows.append(part)
        if rows and (isinstance(part, Piece) or len(rows) == BROKEN_ROWS_A_TASK):
            yield rows
            rows = []
        if isinstance(part, Piece):
            yield part
    if rows:
        yield rows


def _columns(task: Task) -> list[str] | None:
    """The columns of a task's rows, those without a name that an event has as empty."""
    if task.header is None:
        return None
    names = {place: name for name, place in task.header.items()}
    return [names.get(place, "") for place in range(task.columns)]


def _broken(row: Row) -> tuple[int, str, str, str]:
    if not isinstance(row.event, InvalidEvent):
        raise TypeError("a row that holds an event is in a piece")
    return row.line, row.text[:KEPT_CHARACTERS_OF_A_REJECTED_ROW], row.event.code, row.event.message


def _windows(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Cut rows into windows bounded by number and size."""
    window: list[Row] = []
    size = 0
    for row in rows:
        window.append(row)
        size += len(row.text)
        if len(window) == ROWS_AT_A_TIME or size >= BYTES_AT_A_TIME:
            yield window
            window, size = [], 0
    if window:
        yield window
