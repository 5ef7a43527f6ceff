"""Imports an uploaded file: its rows go the way of all events, the rejected ones into a file of their own."""

import csv
import io
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote_plus

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from botocore.exceptions import ClientError

from rollcall import aws
from rollcall.intake import BatchQueue, Intake, Rejection
from rollcall.rows import Row, read_rows
from rollcall.settings import IngestSettings

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

SOURCE = "import"
REJECTS_PREFIX = "rejects/"
# Rows that are sorted by day together before they are cut into batches.
ROWS_AT_A_TIME = 5_000
BYTES_AT_A_TIME = 8 * 1024 * 1024
READ_BYTES = 256 * 1024
KEPT_CHARACTERS_OF_A_REJECTED_ROW = 4_000
REJECTS_IN_MEMORY_BYTES = 1024 * 1024
MAX_REJECTS_BYTES = 200 * 1024 * 1024


class QueueUnavailable(Exception):
    """The queue did not take everything. Import the file again: what it did take is counted once."""


class Imported(NamedTuple):
    """What became of a file's rows."""

    rows: int
    accepted: int
    rejected: int
    duplicates: int


class Importer:
    """Imports files from a bucket."""

    def __init__(self, s3: "S3Client", intake: Intake, logger: Logger, metrics: Metrics) -> None:
        self._s3 = s3
        self._intake = intake
        self._logger = logger
        self._metrics = metrics

    def handle(self, event: dict[str, Any], correlation_id: str) -> None:
        """Import the objects of an S3 notification."""
        for record in event["Records"]:
            bucket = record["s3"]["bucket"]["name"]
            key = unquote_plus(record["s3"]["object"]["key"])
            self.import_object(bucket, key, correlation_id)

    def import_object(self, bucket: str, key: str, correlation_id: str) -> Imported | None:
        """Import one object; None where it is gone. Raises `QueueUnavailable` and botocore's errors.

        Memory is bounded by a window of rows, whatever the size of the file.
        """
        try:
            body = self._s3.get_object(Bucket=bucket, Key=key)["Body"]
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "NoSuchKey":
                raise
            self._logger.warning("the uploaded object is gone", extra={"bucket": bucket, "key": key})
            return None
        with tempfile.SpooledTemporaryFile(REJECTS_IN_MEMORY_BYTES) as rejects:
            imported = self._import_rows(read_rows(body.iter_chunks(READ_BYTES)), rejects, correlation_id)
            self._keep_rejects(bucket, f"{REJECTS_PREFIX}{key}.csv", rejects, imported.rejected)
        self._logger.info("file imported", extra={"bucket": bucket, "key": key, **imported._asdict()})
        self._metrics.add_metric("RowsAccepted", MetricUnit.Count, imported.accepted)
        self._metrics.add_metric("RowsRejected", MetricUnit.Count, imported.rejected)
        return imported

    def _import_rows(self, rows: Iterator[Row], file: IO[bytes], correlation_id: str) -> Imported:
        rejects = _Rejects(file)
        total = Imported(0, 0, 0, 0)
        for window in _windows(rows):
            imported = self._import_window(window, rejects, correlation_id)
            total = Imported(*(before + more for before, more in zip(total, imported, strict=True)))
        rejects.finish()
        return total

    def _import_window(self, window: list[Row], rejects: "_Rejects", correlation_id: str) -> Imported:
        taken = self._intake.take((row.event for row in window), SOURCE, correlation_id)
        if taken.queue_errors:
            raise QueueUnavailable(f"the queue did not take all rows: {', '.join(taken.queue_errors)}")
        for rejection in taken.rejected:
            rejects.add(window[rejection.index], rejection)
        return Imported(len(window), taken.accepted, len(taken.rejected), taken.duplicates)

    def _keep_rejects(self, bucket: str, key: str, rejects: IO[bytes], count: int) -> None:
        if count:
            rejects.seek(0)
            self._s3.upload_fileobj(rejects, bucket, key, ExtraArgs={"ContentType": "text/csv; charset=utf-8"})
        else:
            # Those of an earlier upload under the same key would tell of rows that are mended.
            self._s3.delete_object(Bucket=bucket, Key=key)


class _Rejects:
    """The file of the rejected rows. Beyond its limit it counts them only: the disk of a function is small."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._text = io.TextIOWrapper(file, "utf-8", errors="backslashreplace", newline="", write_through=True)
        self._writer = csv.writer(self._text)
        self._writer.writerow(["line", "code", "message", "row"])
        self._left_out = 0

    def add(self, row: Row, rejection: Rejection) -> None:
        """Keep a row with the reason."""
        if self._file.tell() < MAX_REJECTS_BYTES:
            text = row.text[:KEPT_CHARACTERS_OF_A_REJECTED_ROW]
            self._writer.writerow([row.line, rejection.code, rejection.message, text])
        else:
            self._left_out += 1

    def finish(self) -> None:
        """Say how many were left out, and let go of the file."""
        if self._left_out:
            self._writer.writerow(["", "left_out", f"{self._left_out} more rows were rejected", ""])
        self._text.detach()


def build(settings: IngestSettings, logger: Logger, metrics: Metrics) -> Importer:
    """The importer of a stack."""
    intake = Intake(BatchQueue(aws.sqs(), settings.queue_url), settings.calendar)
    return Importer(aws.s3(), intake, logger, metrics)


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
