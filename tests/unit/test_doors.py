"""All doors agree about a file, however nasty it is.

The same file goes through each of these doors, in this process and with AWS in memory:

* the dry run: `rollcall import --dry-run`;
* the rows: `rollcall import`, which sends them through `POST /events`, in requests of any size;
* the upload: `rollcall import --via s3`, with its presigned URL, the planner, the importer and the file of rejects;
* the body: the file as it is, sent to `POST /events`.

They have to tell the same numbers and the same rejected rows (line, code, message, which names the field, and text),
and to store the same events. Which limits a door has on a whole file is its own: those of the test are beyond its
files. The body agrees where both it and a file can be read:

* `POST /events` takes no CSV. It refuses a body as a whole where gzip is damaged, where the first of its lines is no
  whole JSON, and where it has more bytes or events than a request may. Events of too many days it lists, to be sent
  again;
* a body of one JSON array or object holds events, while each line of a file holds one;
* a line of a file has at most `MAX_LINE_BYTES`.

The number of conflicts within a file is compared, and not which of them a list of rejected rows has: an upload lists
those of one window, the dry run lists all. A row that repeats a conflict is one too for the dry run and a body. For the
other doors it is a duplicate if both are in one request and the first row of their id is in an earlier one.

`make soak` sends 20,000 files. `ROLLCALL_FILES` is their number.
"""

import csv
import gzip
import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import httpx2
import pytest
from aws_lambda_powertools import Logger, Metrics
from botocore.response import StreamingBody
from fastapi.testclient import TestClient

from rollcall.access.buckets import Buckets
from rollcall.core.batch import decode
from rollcall.core.days import Calendar
from rollcall.core.events import Event, InvalidEvent, flaw, parse_event
from rollcall.core.limits import Allowance, Limit
from rollcall.core.projects import DEFAULT, Project
from rollcall.counting.receipts import Receipt, Receipts
from rollcall.files import importer, planner, rows
from rollcall.files.importer import Importer
from rollcall.files.planner import Planner
from rollcall.files.progress import ImportLog
from rollcall.files.rows import MOST_BYTES, Piece, Row, cut_file, read_piece, read_rows
from rollcall.files.task import KEPT_CHARACTERS_OF_A_REJECTED_ROW
from rollcall.files.uploads import Uploads
from rollcall.http.app import create_app
from rollcall.http.routes import events, imports
from rollcall.http.services import provide
from rollcall.intake.intake import CONFLICT, TOO_MANY_DAYS, Intake
from rollcall.stack.dynamo import Dynamo, Item
from rollcall.stack.keys import receipt_key
from rollcall.stack.projects import Projects
from rollcall.stack.queues import BatchQueue
from scripts.api import Api
from scripts.operate import send_file
from scripts.operate.send_file import HttpImport, Naming, Reject, RejectFile, UploadImport
from tests.nasty import NastyFile, nasty_file
from tests.support import KeptTasks, OpenGate, ingest_settings

FILES = int(os.environ.get("ROLLCALL_FILES", "200"))
# So many tests share the files.
SHARES = 4
# Every so many files, one has the limits of the package and rows beyond them, which take far longer.
LARGE_EVERY = 10
CALENDARS = {
    zone: Calendar(zone, first_day)
    for zone, first_day in (("UTC", "1970-01-01"), ("Pacific/Apia", "2011-12-20"), ("America/St_Johns", "2016-12-31"))
}


class Told(NamedTuple):
    """What a door tells of a file, and what it stores."""

    rows: int
    good: int
    inserted: int
    duplicates: int
    conflicts: int
    rejects: list[Reject]
    stored: Mapping[str, Event] | None
    """By id; None for the dry run."""


class Items(Dynamo):
    """DynamoDB as far as imports and receipts need it."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], Item] = {}

    def put(self, table: str, items: Sequence[Item]) -> None:
        self.items |= {(item["pk"]["S"], item["sk"]["S"]): item for item in items}

    def find(self, table: str, pk: str, sk: str = "-") -> Item | None:
        return self.items.get((pk, sk))

    def get(self, table: str, keys: Sequence[Item], *_: Any, **__: Any) -> Iterator[Item]:
        found = (self.items.get((key["pk"]["S"], key["sk"]["S"])) for key in keys)
        return (item for item in found if item is not None)

    def update(self, table: str, pk: str, sk: str, **expressions: Any) -> tuple[bool, Item]:
        assert expressions["UpdateExpression"] == "SET #name = :value"
        values = expressions["ExpressionAttributeValues"]
        item = self.items[pk, sk]
        if item["run"] != values[":run"]:
            return False, item
        item[expressions["ExpressionAttributeNames"]["#name"]] = values[":value"]
        return True, item

    def query(self, **request: Any) -> Iterator[list[Item]]:
        pk, run = (request["ExpressionAttributeValues"][name]["S"] for name in (":import", ":run"))
        yield [item for (of, sk), item in sorted(self.items.items()) if of == pk and sk.startswith(run)]


class Counting(BatchQueue):
    """The queue and a consumer behind it, which counts each batch at once."""

    def __init__(self, dynamo: Items) -> None:
        self._dynamo = dynamo
        self.stored: dict[str, Event] = {}
        self.became: Counter[str] = Counter()

    def send(self, bodies: Sequence[str], correlation_id: str) -> dict[int, str]:
        for body in bodies:
            batch = decode(body)
            key = receipt_key(DEFAULT, batch.batch_id)
            if self._dynamo.find("stats", key, "0") is None:
                became = Counter(map(self._count, batch.events))
                self.became += became
                receipt = Receipt(len(batch.events), *(became[name] for name in Receipt._fields[1:]))
                counts = {name: {"N": str(value)} for name, value in receipt._asdict().items()}
                names = {"pk": {"S": key}, "sk": {"S": "0"}, "applied": {"N": "0"}, "total": {"N": "0"}}
                self._dynamo.put("stats", [{**names, **counts}])
        return {}

    def _count(self, event: Event) -> str:
        assert flaw(event) is None
        if event.event_id not in self.stored:
            self.stored[event.event_id] = event
            return "inserted"
        return "duplicates" if self.stored[event.event_id] == event else "conflicts"


class Objects:
    """S3, with one bucket."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def put_object(self, *, Bucket: str, Key: str, Body: bytes) -> None:  # noqa: N803 - boto3's names
        self.objects[Key] = Body

    def upload_fileobj(self, file: io.BytesIO, bucket: str, key: str, **_: Any) -> None:
        self.objects[key] = file.read()

    def delete_object(self, *, Bucket: str, Key: str) -> None:  # noqa: N803
        self.objects.pop(Key, None)

    def get_object(self, *, Key: str, Range: str = "", **_: Any) -> dict[str, Any]:  # noqa: N803
        content = self.objects[Key]
        if Range:
            first, last = map(int, Range.removeprefix("bytes=").split("-"))
            content = content[first : last + 1]
        body = StreamingBody(cast(Any, io.BytesIO(content)), len(content))
        return {"Body": body, "ETag": '"1"', "ContentLength": len(content)}

    def generate_presigned_url(self, _method: str, *, Params: Mapping[str, Any], **_: Any) -> str:  # noqa: N803
        return f"https://bucket/{Params['Key']}"


class NoLimits(Buckets):
    def __init__(self) -> None:
        """Keep nothing."""

    def take_for(self, pk: str, limit: Limit) -> Allowance:
        return Allowance(limit, 1, 0)


class NoMarks(Receipts):
    """Takes every batch for announced."""

    def __init__(self) -> None:
        """Keep nothing."""

    def announce(self, project: Project, batch_ids: Iterable[str]) -> None:
        """Keep nothing."""


class NoMetrics(Metrics):
    def add_metric(self, *_: Any, **__: Any) -> None:
        """Keep nothing."""


class World:
    """A stack in memory, with nothing in it."""

    def __init__(self, calendar: Calendar, client: TestClient, services: Callable[..., None]) -> None:
        self.calendar = calendar
        self.dynamo = Items()
        self.queue = Counting(self.dynamo)
        self.s3 = Objects()
        self.tasks = KeptTasks()
        self.log = ImportLog(self.dynamo, "stats")
        intake = Intake(self.queue, lambda _: calendar)
        logger, metrics = Logger(service="doors", level="CRITICAL"), NoMetrics()
        projects = Projects(self.dynamo, "stats", calendar)
        self.planner = Planner(cast(Any, self.s3), self.tasks, self.log, logger, projects)
        self.importer = Importer(cast(Any, self.s3), intake, self.log, logger, metrics)
        self._client = client
        services(intake, self.log, Uploads(cast(Any, self.s3), "bucket", self.log))

    def api(self) -> Api:
        return Api("http://stack", None, 0, transport=httpx2.MockTransport(self._answer))

    def upload(self, url: str, *, content: Iterable[bytes], **_: Any) -> httpx2.Response:
        key = url.removeprefix("https://bucket/")
        self.s3.put_object(Bucket="bucket", Key=key, Body=b"".join(content))
        self.planner.plan("bucket", key)
        while self.tasks.waiting:
            self.importer.handle({"Records": [{"body": self.tasks.waiting.pop(0)}]})
        return httpx2.Response(200)

    def post(self, body: bytes) -> Any:
        return self._client.post("/events", content=body)

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        _, _, batch_id = request.url.path.partition("/batches/")
        if not batch_id:
            answer = self._client.request(request.method, request.url.path, content=request.read())
            return httpx2.Response(answer.status_code, content=answer.content)
        item = self.dynamo.find("stats", receipt_key(DEFAULT, batch_id), "0")
        if item is None:
            return httpx2.Response(404)
        return httpx2.Response(200, json={"status": "done", **Receipt.of_item(item)._asdict()})


@pytest.fixture
def make_world() -> Iterator[Callable[[Calendar], World]]:
    logger = Logger(service="doors", level="CRITICAL")
    app = create_app(events.router, imports.router, logger=logger, gate=OpenGate())

    def services(*more: object) -> None:
        provide(app, ingest_settings(), NoMetrics(), NoLimits(), NoMarks(), *more)

    with TestClient(app, raise_server_exceptions=False, headers={"X-API-Key": "key"}) as client:
        yield lambda calendar: World(calendar, client, services)


@pytest.fixture
def field_limit() -> Iterator[None]:
    before = csv.field_size_limit()
    yield
    csv.field_size_limit(before)


@pytest.mark.parametrize("share", range(SHARES))
def test_all_doors_tell_the_same_of_a_file_and_store_the_same_events(
    share: int,
    make_world: Callable[[Calendar], World],
    field_limit: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outcomes: Counter[str] = Counter()
    for number in range(share, FILES, SHARES):
        large = number // SHARES % LARGE_EVERY == 0
        file = nasty_file(number, large=large)
        rng = Random(f"doors of file {number}")
        with monkeypatch.context() as patched:
            _set_limits(patched, rng, large=large)
            try:
                outcomes += _compare(file, rng, make_world, tmp_path, patched)
            except AssertionError as error:
                error.add_note(f"file {number}, {file.name}: {file.content[:2_000]!r}")
                raise
    # That the doors agree means nothing if they refuse everything.
    files = len(range(share, FILES, SHARES))
    assert outcomes["inserted"] > files
    assert outcomes["rejected"] > files
    assert outcomes["duplicates"] > 0
    assert outcomes["conflicts"] > 0
    assert outcomes["bodies"] > 0


def _set_limits(patched: pytest.MonkeyPatch, rng: Random, *, large: bool) -> None:
    if not large:
        patched.setattr(rows, "MAX_FIELD_CHARACTERS", 5_000)
        patched.setattr(rows, "MAX_LINE_BYTES", rng.choice([6_000, 16_000]))
        patched.setattr(planner, "PIECE_BYTES", rng.choice([1, 100, 1_000, 1_000_000]))
        patched.setattr(importer, "ROWS_AT_A_TIME", rng.choice([1, 2, 5, 5_000, 5_000]))
        patched.setattr(send_file, "READ_BYTES", rng.choice([1, 7, 100, 256 * 1024]))
    # What fails here fails again.
    for name in ("QUEUE_SECONDS", "COUNT_SECONDS", "UPLOAD_SECONDS"):
        patched.setattr(send_file, name, 0)
    # So that the batches of requests are counted in the order of the file.
    patched.setattr(send_file, "REQUESTS_AT_ONCE", 1)


def _compare(
    file: NastyFile,
    rng: Random,
    make_world: Callable[[Calendar], World],
    folder: Path,
    patched: pytest.MonkeyPatch,
) -> Counter[str]:
    """Send a file through all doors; returns how many rows had which outcome."""
    calendar = CALENDARS[rng.choice([*CALENDARS])]
    path = folder / file.name
    path.write_bytes(file.content)
    told = _by_rows(path, make_world(calendar), rng.choice([1, 3, 500, 500, 500]))
    assert told.stored is not None

    read = list(read_rows(_chunks(path), name=file.name))
    repeated = _repeated_conflicts(read, calendar)

    dry = _by_dry_run(path, calendar)
    _assert_alike(dry, told._replace(stored=None), repeated)

    uploaded = _by_upload(path, make_world(calendar), patched)
    _assert_alike(uploaded, told, repeated)

    pieces, by_pieces = _by_pieces(file, rng.choice([1, 2, 50, 500]))
    assert list(map(_comparable, by_pieces)) == list(map(_comparable, read))

    bodies = 0
    if any(piece.header is None for piece in pieces):
        # A body is one request.
        of_one = told._replace(duplicates=dry.duplicates, conflicts=dry.conflicts)
        bodies = _compare_body(file, make_world(calendar), of_one)
    return Counter(
        inserted=told.inserted,
        duplicates=told.duplicates,
        conflicts=told.conflicts,
        rejected=len(told.rejects),
        bodies=bodies,
    )


def _repeated_conflicts(read: Iterable[Row], calendar: Calendar) -> int:
    """How many rows repeat an earlier row that has other content than the first row of their id."""
    now = datetime.now(UTC)
    firsts: dict[str, Event] = {}
    conflicts: Counter[Event] = Counter()
    for row in read:
        with suppress(InvalidEvent):
            event = parse_event(row.event, now, calendar)
            conflicts[event] += firsts.setdefault(event.event_id, event) != event
    return sum(count - 1 for count in conflicts.values() if count)


def _assert_alike(one: Told, other: Told, repeated_conflicts: int) -> None:
    assert one.duplicates + one.conflicts == other.duplicates + other.conflicts
    assert abs(one.conflicts - other.conflicts) <= repeated_conflicts
    assert one._replace(duplicates=0, conflicts=0) == other._replace(duplicates=0, conflicts=0)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from send_file.read_chunks(file, lambda _: None)


def _by_dry_run(path: Path, calendar: Calendar) -> Told:
    rejects = Rejects()
    found = send_file.survey(read_rows(_chunks(path), MOST_BYTES, path.name), datetime.now(UTC), rejects.add, calendar)
    told = rejects.told()
    assert found.bad == Counter(reject.code for reject in told)
    accepted = found.good + found.conflicts
    return Told(found.rows, accepted, found.good - found.duplicates, found.duplicates, found.conflicts, told, None)


def _by_rows(path: Path, world: World, batch_size: int) -> Told:
    rejects = Rejects()
    sender = HttpImport(world.api(), Naming(DEFAULT, "http", world.calendar), batch_size)
    report = sender.run(read_rows(_chunks(path), name=path.name), rejects.add)
    return _told(report, rejects.told(), world)


def _by_upload(path: Path, world: World, patched: pytest.MonkeyPatch) -> Told:
    patched.setattr(httpx2, "put", world.upload)
    status = UploadImport(world.api()).run(path, lambda _: None, lambda _: None)
    stack: Any = SimpleNamespace(client=lambda _: world.s3, output=lambda _: "bucket")
    rejects = _lost(send_file.bucket_rejects(stack, [status["rejects"]] if status["rejects"] else []))
    return _told(send_file.report_of(status), rejects, world)


def _told(report: send_file.Report, told: list[Reject], world: World) -> Told:
    assert report.rows == report.accepted + report.rejected
    assert report.accepted == report.inserted + report.duplicates + report.conflicts
    assert report.rejected == len(told)
    assert report.inserted == len(world.queue.stored)
    assert not report.refused
    return Told(
        report.rows,
        report.accepted,
        report.inserted,
        report.duplicates,
        report.conflicts,
        told,
        world.queue.stored,
    )


class Rejects:
    """Rejected rows, written to a file and read from it, as the command line and the importer write them."""

    def __init__(self) -> None:
        self._bytes = io.BytesIO()
        self._text = io.TextIOWrapper(self._bytes, "utf-8", errors="backslashreplace", newline="", write_through=True)
        self._file = RejectFile(self._text)

    def add(self, reject: Reject) -> None:
        # The upload's file keeps no more of a row.
        self._file.add(reject._replace(row=reject.row[:KEPT_CHARACTERS_OF_A_REJECTED_ROW]))

    def told(self) -> list[Reject]:
        self._bytes.seek(0)
        return _lost(send_file.read_rejects(self._text))


def _lost(rejects: Iterable[Reject]) -> list[Reject]:
    """Rejected rows without those that are taken in and then conflict with others, which `Told.conflicts` counts."""
    return [reject for reject in rejects if reject.code != CONFLICT]


def _comparable(row: Row) -> tuple[int, str, str]:
    # What is refused within an event is equal to itself alone.
    return row.line, row.text, repr(row.event)


def _by_pieces(file: NastyFile, piece_bytes: int) -> tuple[list[Piece], list[Row]]:
    """The pieces of a file that is cut, and the rows of each piece read by itself."""
    found: list[Row] = []
    pieces: list[Piece] = []
    for part in cut_file([file.content], piece_bytes, name=file.name):
        if isinstance(part, Row):
            found.append(part)
            continue
        pieces.append(part)
        content = file.content[part.start : part.end] if part.content is None else part.content
        found += read_piece([content], part.header, part.first_line)
    return pieces, found


def _compare_body(file: NastyFile, world: World, told: Told) -> bool:
    """Send JSONL as a body; returns whether it can be compared with a file."""
    codes = {reject.code for reject in told.rejects}
    if codes & {"line_too_long", "invalid_gzip", "file_too_large"}:
        return False
    answer = world.post(file.content)
    said = answer.json()
    if "rejected" not in said:
        assert answer.status_code in (400, 413)
        return False
    content = gzip.decompress(file.content) if file.content.startswith(b"\x1f\x8b") else file.content
    lines = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape").split("\n")
    numbers = [number for number, line in enumerate(lines, 1) if line.strip()]
    if len(numbers) < 2 or any(refusal["code"] == TOO_MANY_DAYS for refusal in said["rejected"]):
        return False
    rejects = [(numbers[refusal["index"]], refusal["code"], refusal["message"]) for refusal in said["rejected"]]
    assert rejects == [(reject.line, reject.code, reject.message) for reject in told.rejects]
    assert said["accepted"] + said["duplicates_in_request"] == told.good
    assert said["duplicates_in_request"] + world.queue.became["duplicates"] == told.duplicates
    assert world.queue.became["conflicts"] == told.conflicts
    assert world.queue.stored == told.stored
    return True
