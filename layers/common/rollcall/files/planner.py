"""Cuts uploaded files into parts, between their rows, and queues a task for each part."""

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from aws_lambda_powertools import Logger

from rollcall.core.events import InvalidEvent
from rollcall.files.progress import ImportLog
from rollcall.files.rows import MOST_BYTES, Piece, Row, cut_file
from rollcall.files.task import KEPT_CHARACTERS_OF_A_REJECTED_ROW, QueueUnavailable, Task
from rollcall.stack.keys import import_id_of, project_of_upload
from rollcall.stack.objects import Gone, Reading, read_object
from rollcall.stack.projects import Projects
from rollcall.stack.queues import BatchQueue

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

PIECE_BYTES = 8 * 1024 * 1024
# A message holds 256 KB, and JSON takes up to twelve bytes for a character.
BROKEN_ROWS_A_TASK = 4


class Planner:
    """Cuts uploaded files into parts and queues a task for each part."""

    def __init__(
        self,
        s3: "S3Client",
        queue: BatchQueue,
        log: ImportLog,
        logger: Logger,
        projects: Projects,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._s3 = s3
        self._queue = queue
        self._log = log
        self._logger = logger
        self._projects = projects
        self._most_bytes = most_bytes

    def handle(self, event: dict[str, Any]) -> None:
        """Cut the objects that S3 tells of, in an SQS event or directly; raises the errors of `plan`."""
        for record in event["Records"]:
            told = json.loads(record["body"]) if "body" in record else {"Records": [record]}
            # S3 sends a notification without records when it is told of the queue.
            for each in told.get("Records", ()):
                self.plan(each["s3"]["bucket"]["name"], unquote_plus(each["s3"]["object"]["key"]))

    def plan(self, bucket: str, key: str) -> None:
        """Cut one object and queue its parts. Stops if the object is gone, and after `most_bytes` of it.

        An object in the folder of a project that there is not, or that is archived, stays where it is. So its message
        ends in the queue of failed imports, and can be sent back once there is such a project.

        Holds at most two pieces of `PIECE_BYTES` in memory, whatever the size of the file. Raises
        `rollcall.files.task.QueueUnavailable`, `rollcall.core.projects.BadProject`,
        `rollcall.stack.projects.UnknownProject`, `rollcall.stack.projects.ProjectArchived` and botocore's errors.
        """
        project = project_of_upload(key)
        self._projects.check_open(project)
        context = {"bucket": bucket, "key": key, "project": project.name, "import_id": import_id_of(key)}
        try:
            reading = read_object(self._s3, bucket, key)
        except Gone:
            self._logger.warning("the uploaded object is gone", extra=context)
            return
        run = self._log.begin(project, key, reading.size)
        try:
            parts = self._cut(Task(bucket, key, reading.etag.strip('"'), run, 0), reading)
        except Gone:
            self._logger.warning("the uploaded object was deleted or replaced while it was read", extra=context)
            self._log.lose(project, key, run)
            return
        self._logger.info("file planned", extra={**context, "parts": parts})

    def _cut(self, first: Task, reading: Reading) -> int:
        """Cut an object and queue its parts; returns their number."""
        last = first
        for number, part in enumerate(_gathered(cut_file(reading.chunks, PIECE_BYTES, self._most_bytes, first.key))):
            if number:
                self._send(last)
            last = self._task(first._replace(number=number), part)
        # Before the last part is queued, so that the importer that takes in the last part knows that it is the last.
        self._log.plan(project_of_upload(first.key), first.key, first.run, last.number + 1)
        self._send(last)
        return last.number + 1

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


def _gathered(parts: Iterable[Piece | Row]) -> Iterator[Piece | list[Row]]:
    """The pieces unchanged, and the rows that are in no piece in lists of up to `BROKEN_ROWS_A_TASK`."""
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


def _broken(row: Row) -> tuple[int, str, str, str]:
    if not isinstance(row.event, InvalidEvent):
        raise TypeError("a row that holds an event is in a piece")
    return row.line, row.text[:KEPT_CHARACTERS_OF_A_REJECTED_ROW], row.event.code, row.event.message
