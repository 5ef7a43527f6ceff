"""Imports a local file: row by row through POST /events, or as a whole through the upload bucket."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice, repeat
from pathlib import Path
from typing import IO, Any, NamedTuple

import httpx2

from rollcall.access.api_keys import ApiKey, ApiKeys, key_id_of
from rollcall.access.reach import ALL
from rollcall.core.batch import cut
from rollcall.core.days import Calendar
from rollcall.core.events import MAX_DEPTH, MAX_EVENT_BYTES, Event, InvalidEvent, parse_event
from rollcall.core.nesting import is_deeper
from rollcall.core.projects import DEFAULT, Project
from rollcall.core.spreadsheets import escape_formula, unescape_formula
from rollcall.core.strict_json import MAX_VALUES, most_values
from rollcall.files.forms import COLUMNS
from rollcall.files.rows import Row
from rollcall.files.uploads import plain_name
from rollcall.intake.intake import CONFLICT, MAX_DAYS, TOO_MANY_DAYS, Contents
from rollcall.stack.dynamo import Dynamo
from scripts.api import Api, ApiError, checked, on_this_machine, reason
from scripts.csv_lines import csv_writer
from scripts.operate.distinct import Distinct, Repeats
from scripts.operate.stacks import Stack
from scripts.operate.stored_events import Check, Stored, StoredEvents
from scripts.waiting import in_order, poll

READ_BYTES = 256 * 1024
# Less than the API's limit of 4 MB.
REQUEST_BYTES = 3 * 1024 * 1024
REQUESTS_AT_ONCE = 4
# That a dry run reads before it checks them. Each has up to 2 MB of text.
ROWS_AT_ONCE = 32
# With these statuses, the API lists the rejected events of a request.
LISTING_STATUSES = frozenset({200, 202, 413, 422})
QUEUE_SECONDS = 120
COUNT_SECONDS = 600
UPLOAD_SECONDS = 3600.0
UPLOAD_TRIES = 3
PRECONDITION_FAILED = 412
# Another PUT to the same URL is at work, or S3 failed.
TRANSIENT_UPLOADS = frozenset({409, *range(500, 600)})
# The limit of S3 for one PUT.
MAX_UPLOAD_BYTES = 5 * 1024**3

_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class Reject(NamedTuple):
    """A row that was not taken in, or does not count."""

    line: int
    code: str
    message: str
    row: str


@dataclass
class Report:
    """The outcome of a file's rows. Each row is rejected or accepted. An accepted row has one of the other outcomes."""

    rows: int = 0
    accepted: int = 0
    inserted: int = 0
    duplicates: int = 0
    conflicts: int = 0
    refused: int = 0
    rejected: int = 0
    added_up: bool = True
    """Whether the outcomes of the accepted rows are known."""


@dataclass
class Survey:
    """The content of a file, found without sending it."""

    rows: int = 0
    duplicates: int = 0
    """Rows that repeat the first row with their id."""
    conflicts: int = 0
    """Rows with other content than the first row with their id."""
    asked: bool = False
    """Whether a stack was asked which ids are taken."""
    stored: Counter[Stored] = field(default_factory=Counter)
    """The number of rows whose id is taken, by what is stored. `duplicates` and `conflicts` do not count these."""
    users: int = 0
    """The number of different users."""
    days: set[str] = field(default_factory=set)
    """The days of the good rows, in the stack's timezone."""
    timezone: str = "UTC"
    bad: Counter[str] = field(default_factory=Counter)
    """The number of bad rows by error code."""

    @property
    def all_conflicts(self) -> int:
        """The number of rows with other content than an earlier row or a stored event."""
        return self.conflicts + self.stored[Stored.OTHER]

    @property
    def good(self) -> int:
        """The number of rows that are neither bad nor a conflict."""
        return self.rows - self.bad.total() - self.all_conflicts


def read_chunks(file: IO[bytes], advance: Callable[[int], None]) -> Iterator[bytes]:
    """The bytes of a file in chunks. Calls `advance` with the size of each chunk."""
    while chunk := file.read(READ_BYTES):
        yield chunk
        advance(len(chunk))


def survey(
    rows: Iterable[Row],
    now: datetime,
    on_reject: Callable[[Reject], None],
    calendar: Calendar,
    stored_events: StoredEvents | None = None,
) -> Survey:
    """Check every row as the API of a stack with this calendar would. Reports bad rows and conflicts.

    Without `stored_events`, these are the conflicts within the file. Those of ids beyond the first 200,000 are reported
    last, and without their text. Memory does not grow with the number of events and users: what is beyond it goes to
    temporary files.
    """
    found = Survey(timezone=calendar.name, asked=stored_events is not None)
    check = _checking(now, calendar)
    # Python 3.11 takes half a microsecond to look up a member of an enumeration, which is much here.
    nothing = Stored.NOTHING
    with Repeats() as repeats, Distinct() as users:
        for row, event, stored in (
            stored_events.compare(rows, check) if stored_events else _checked(rows, check, nothing)
        ):
            found.rows += 1
            if isinstance(event, InvalidEvent):
                found.bad[event.code] += 1
                on_reject(Reject(row.line, event.code, event.message, row.text))
                continue
            if stored is not nothing:
                # What is stored decides about each row of its id, so that the rows are not compared with each other.
                found.stored[stored] += 1
                if stored is Stored.OTHER:
                    on_reject(_conflict_with_stored(row))
            elif repeats.add(event.event_id, _content(event), row.line):
                found.conflicts += 1
                on_reject(_conflict(row.line, row.text))
            users.add(event.user_id)
            found.days.add(calendar.day_of(event.occurred_at))
        for line in repeats.late_conflicts():
            found.conflicts += 1
            on_reject(_conflict(line, ""))
        found.duplicates = repeats.same
        found.users = users.count()
    return found


def stored_conflicts(
    rows: Iterable[Row], now: datetime, calendar: Calendar, stored_events: StoredEvents
) -> Iterator[Reject]:
    """The rows of a file that was imported whose id has other content in the stack."""
    for row, _, stored in stored_events.compare(rows, _checking(now, calendar)):
        if stored is Stored.OTHER:
            yield _conflict_with_stored(row)


def _checked(rows: Iterable[Row], check: Check, stored: Stored) -> Iterator[tuple[Row, Event | InvalidEvent, Stored]]:
    """Rows, what the checks make of them, and `stored`.

    Some rows are read before they are checked. To change between the two with each row takes a seventh longer: the
    caches of a processor are small for the code of both.
    """
    rows = iter(rows)
    while some := list(islice(rows, ROWS_AT_ONCE)):
        yield from zip(some, list(map(check, some)), repeat(stored))


def _checking(now: datetime, calendar: Calendar) -> Check:
    def check(row: Row) -> Event | InvalidEvent:
        try:
            return parse_event(row.event, now, calendar)
        except InvalidEvent as error:
            return error

    return check


def _content(event: Event) -> Hashable:
    """What tells an event from others with its id, by its hash too."""
    # Texts with the same bytes have the same hash, such as "ab" and U+6261, but not the same length.
    return event, len(event.user_id), len(event.event_type)


def _conflict(line: int, text: str) -> Reject:
    return Reject(line, CONFLICT, "an earlier one has this event_id and other content", text)


def _conflict_with_stored(row: Row) -> Reject:
    return Reject(row.line, CONFLICT, "a stored event has this event_id and other content, and stays", row.text)


def project_of(stack: Stack, key: str | None, project: str | None) -> Project:
    """The project of events that are sent to a stack with a key: `project`, or without it the key's.

    Raises `BadProject`.
    """
    return _project_of(None if project is not None else _api_key(stack, key), project)


def _project_of(used: ApiKey | None, project: str | None) -> Project:
    if project is not None:
        return Project(project)
    return (used.reach.project if used else None) or DEFAULT


def _api_key(stack: Stack, key: str | None) -> ApiKey | None:
    keys = ApiKeys(Dynamo(stack.client("dynamodb")), stack.output("AccessTableName")).all(ALL)
    return {each.key_id: each for each in keys}.get(key_id_of(key or "") or "")


class Naming:
    """Predicts the batches that the API makes of events, to tell batches that were counted before from new ones."""

    def __init__(self, project: Project, source: str, calendar: Calendar) -> None:
        self._project = project
        self._source = source
        self._calendar = calendar

    @classmethod
    def of(cls, stack: Stack, key: str | None, project: str | None = None) -> "Naming | None":
        """For events that are sent to a stack with a key; None if `key` is not an API key of the stack.

        They are of the `project`, or without it of the key's. Raises `BadProject` and `UnknownProject`.
        """
        used = _api_key(stack, key)
        if used is None:
            return None
        of = _project_of(used, project)
        return cls(of, used.source, stack.projects.calendar(of))

    def day_of(self, raw: object) -> str | None:
        """The day of an event that the API accepts, else None."""
        try:
            return self._calendar.day_of(parse_event(raw, datetime.now(UTC), self._calendar).occurred_at)
        except InvalidEvent:
            return None

    def names(self, raws: Iterable[object]) -> set[str]:
        """The ids of the batches, provided that the API accepts the same events."""
        now = datetime.now(UTC)
        contents = Contents(self._calendar)
        for index, raw in enumerate(raws):
            try:
                contents.add(index, parse_event(raw, now, self._calendar))
            except InvalidEvent:
                continue  # the API reports it
        ordered = [event for _, event in contents.in_order()]
        return {batch.batch_id for batch, _ in cut(self._project, ordered, self._source, "")}


class _Window(NamedTuple):
    """The rows of one request."""

    rows: list[Row]
    bodies: list[bytes]
    """The events as JSON, one for each row that is sent."""
    rejected: list[Reject]
    """Rows that cannot be sent in a request."""


class _Sent(NamedTuple):
    """The API's answer to a window."""

    rows: int
    batch_ids: list[str]
    counted_before: set[str]
    """The ids of batches that were counted before this request was sent."""
    accepted: int
    duplicates: int
    """The number of rows that repeat the id of an earlier row in the same request."""
    rejected: list[Reject]


class HttpImport:
    """Sends rows to POST /events, several requests at a time, and adds up the receipts."""

    def __init__(self, api: Api, naming: Naming | None, batch_size: int) -> None:
        self._api = api
        self._naming = naming
        self._batch_size = batch_size

    def run(
        self,
        rows: Iterable[Row],
        on_reject: Callable[[Reject], None],
        on_sent: Callable[[int], None] = lambda _rows: None,
        on_counted: Callable[[int, int], None] = lambda _done, _all: None,
    ) -> Report:
        """Send all rows and wait until they are counted. Reports rejected rows in the order of the file.

        Raises `scripts.api.ApiError`, and `TimeoutError` if the rows are not counted in time. The caller may then run
        it again: nothing is counted twice.
        """
        report = Report()
        batches: dict[str, bool] = {}
        again: list[str] = []
        pool = ThreadPoolExecutor(REQUESTS_AT_ONCE)
        try:
            for sent in in_order(pool, REQUESTS_AT_ONCE, self._send, self._windows(rows)):
                report.rows += sent.rows
                report.accepted += sent.accepted
                report.duplicates += sent.duplicates
                report.rejected += len(sent.rejected)
                for reject in sent.rejected:
                    on_reject(reject)
                for batch_id in sent.batch_ids:
                    if batch_id in batches:
                        again.append(batch_id)
                    batches.setdefault(batch_id, batch_id in sent.counted_before)
                on_sent(report.rows)
            receipts = {}
            for batch_id, receipt in zip(batches, pool.map(self._receipt, batches), strict=True):
                receipts[batch_id] = receipt
                _add(report, receipt, repeated=batches[batch_id])
                on_counted(len(receipts), len(batches))
            for batch_id in again:
                _add(report, receipts[batch_id], repeated=True)
        finally:
            pool.shutdown(cancel_futures=True)
        return report

    def _windows(self, rows: Iterable[Row]) -> Iterator[_Window]:
        window, size, values = _Window([], [], []), 0, 0
        days: set[str | None] = set()
        for row in rows:
            body = _body(row.event)
            if isinstance(body, InvalidEvent):
                window.rejected.append(Reject(row.line, body.code, body.message, row.text))
            else:
                more = 1 + most_values(body.decode())
                day = self._naming.day_of(row.event) if self._naming else None
                if values + more > MAX_VALUES or len(days | {day}) > MAX_DAYS:
                    yield window
                    window, size, values = _Window([], [], []), 0, 0
                    days.clear()
                days.add(day)
                window.rows.append(row)
                window.bodies.append(body)
                size += len(body) + 1
                values += more
            if len(window.rows) + len(window.rejected) == self._batch_size or size >= REQUEST_BYTES:
                yield window
                window, size, values = _Window([], [], []), 0, 0
                days.clear()
        if window.rows or window.rejected:
            yield window

    def _send(self, window: _Window) -> _Sent:
        names = self._naming.names(row.event for row in window.rows) if self._naming else set()
        counted_before = {name for name in names if self._find(name)}
        accepted = duplicates = 0
        batch_ids: list[str] = []
        rejected = window.rejected[:]
        left = list(range(len(window.rows)))

        def send_the_rest() -> bool | None:
            nonlocal accepted, duplicates, left
            content = b"[" + b",".join(window.bodies[position] for position in left) + b"]"
            said = self._post(content)
            accepted += said["accepted"] + said["duplicates_in_request"]
            duplicates += said["duplicates_in_request"]
            batch_ids.extend(said["batch_ids"])
            waiting = []
            for refusal in said["rejected"]:
                position = left[refusal["index"]]
                if refusal["code"] in ("retry", TOO_MANY_DAYS):
                    waiting.append(position)
                else:
                    row = window.rows[position]
                    rejected.append(Reject(row.line, refusal["code"], refusal["message"], row.text))
            left = waiting
            return None if left else True

        if left:
            poll(send_the_rest, QUEUE_SECONDS, "the queue does not take all events")
        rows = len(window.rows) + len(window.rejected)
        return _Sent(rows, batch_ids, counted_before, accepted, duplicates, sorted(rejected))

    def _post(self, content: bytes) -> dict[str, Any]:
        answer = self._api.request("POST", "/events", content=content, headers={"Content-Type": "application/json"})
        if answer.status_code in LISTING_STATUSES:
            said: dict[str, Any] = answer.json()
            if "rejected" in said:
                return said
        raise ApiError(f"the API refuses events ({answer.status_code}): {reason(answer)}")

    def _receipt(self, batch_id: str) -> dict[str, int]:
        return poll(lambda: self._find(batch_id), COUNT_SECONDS, f"the batch {batch_id} is not counted")

    def _find(self, batch_id: str) -> dict[str, int] | None:
        answer = self._api.request("GET", f"/batches/{batch_id}")
        if answer.status_code == 404:
            return None
        said: dict[str, Any] = checked(answer).json()
        return said if said["status"] == "done" else None


def _add(report: Report, receipt: dict[str, int], *, repeated: bool) -> None:
    """Add the receipt of a batch. If the batch was counted before, its inserted events are duplicates now."""
    report.inserted += 0 if repeated else receipt["inserted"]
    report.duplicates += receipt["duplicates"] + (receipt["inserted"] if repeated else 0)
    report.conflicts += receipt["conflicts"]
    report.refused += receipt["refused"]


def _body(raw: object) -> bytes | InvalidEvent:
    """A raw event as JSON. Returns the API's `InvalidEvent` if JSON cannot hold the event or it is too large."""
    if isinstance(raw, InvalidEvent):
        return raw
    # The API ignores unknown fields, so they are not sent.
    kept = {name: raw[name] for name in (*COLUMNS, "properties") if name in raw} if isinstance(raw, dict) else raw
    try:
        text = _json(kept)
        body = text.encode()
    except (TypeError, ValueError):
        body = b""
    # One that nests too deep would have the API refuse the whole request.
    if not body or len(body) > MAX_EVENT_BYTES or is_deeper(text, MAX_DEPTH):
        try:
            parse_event(raw, datetime.now(UTC))
        except InvalidEvent as error:
            return error
    return body


class RejectFile:
    """Writes rejected rows in the format of the rejects files in the upload bucket. If `raw`, escapes no formulas."""

    def __init__(self, file: IO[str], *, raw: bool = False) -> None:
        self.count = 0
        self._raw = raw
        self._writer = csv_writer(file)
        self._writer.writerow(Reject._fields)

    def add(self, reject: Reject) -> None:
        """Write a rejected row."""
        self.count += 1
        self._writer.writerow(reject if self._raw else map(escape_formula, reject))


def read_rejects(lines: Iterable[str]) -> Iterator[Reject]:
    """The rejected rows in a rejects file of the upload bucket."""
    for fields in csv.DictReader(lines):
        code, message, row = (unescape_formula(fields[name]) for name in ("code", "message", "row"))
        yield Reject(int(fields["line"] or 0), code, message, row)


class UploadImport:
    """Uploads a whole file to a presigned URL, and waits until it is imported and counted."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def run(
        self, path: Path, on_uploaded: Callable[[int], None], on_status: Callable[[dict[str, Any]], None]
    ) -> dict[str, Any]:
        """Upload a file; returns the import's last status. Raises `scripts.api.ApiError`, `OSError`, `TimeoutError`."""
        wanted = {"name": plain_name(path.name), "bytes": path.stat().st_size}
        made = checked(self._api.request("POST", "/imports", json=wanted)).json()
        self._upload(path, made["url"], made["headers"], on_uploaded)

        def finished() -> dict[str, Any] | None:
            status: dict[str, Any] = self._api.get(f"/imports/{made['import_id']}")
            on_status(status)
            if status["status"] == "gone":
                raise ApiError(
                    f"the import {made['import_id']} has ended: its file was deleted or cannot be read any more; "
                    f"{status['accepted']:,} rows were accepted before"
                )
            counted = status["counted"]
            return status if status["done"] and (counted is None or not counted["pending_batches"]) else None

        return poll(finished, UPLOAD_SECONDS, f"the import {made['import_id']} is not done")

    def _upload(self, path: Path, url: str, headers: Mapping[str, str], on_uploaded: Callable[[int], None]) -> None:
        tried = False
        for left in reversed(range(UPLOAD_TRIES)):
            with path.open("rb") as file:
                # The presigned URL is the credential, and names the headers that it is good for.
                answer = httpx2.put(
                    url,
                    content=read_chunks(file, on_uploaded),
                    headers=headers,
                    timeout=UPLOAD_SECONDS,
                    trust_env=not on_this_machine(url),
                )
            # The URL takes one file. If an earlier try failed, it may be that one that is there.
            if answer.is_success or (tried and answer.status_code == PRECONDITION_FAILED):
                return
            tried = True
            if answer.status_code not in TRANSIENT_UPLOADS or not left:
                raise ApiError(f"the bucket refuses the file ({answer.status_code}): {answer.reason_phrase}")


def report_of(status: dict[str, Any]) -> Report:
    """The status of an import as a report."""
    counted = status["counted"] or {"inserted": 0, "duplicates": 0, "conflicts": 0, "refused": 0}
    return Report(
        rows=status["rows"],
        accepted=status["accepted"] + status["duplicates_in_file"],
        inserted=counted["inserted"],
        duplicates=counted["duplicates"] + status["duplicates_in_file"],
        conflicts=counted["conflicts"],
        # The API of an older stack does not report `refused`.
        refused=counted.get("refused", 0),
        rejected=status["rejected"],
        added_up=status["counted"] is not None,
    )


def bucket_rejects(stack: Stack, keys: Sequence[str]) -> Iterator[Reject]:
    """The rejected rows of an import, from the upload bucket."""
    for key in keys:
        body = stack.client("s3").get_object(Bucket=stack.output("UploadBucketName"), Key=key)["Body"]
        yield from read_rejects(line.decode() for line in body.iter_lines(keepends=True))
