import csv
import gzip
import io
import json
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import islice
from random import Random
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import Mock, patch
from urllib.parse import quote_plus

import pytest
from aws_lambda_powertools import Logger, Metrics
from botocore.exceptions import ClientError
from botocore.response import StreamingBody

from rollcall.core.batch import Sender, decode
from rollcall.core.days import Calendar
from rollcall.core.events import Event
from rollcall.core.projects import DEFAULT, BadProject, Project
from rollcall.counting.receipts import Receipt
from rollcall.files import importer as imports
from rollcall.files import planner
from rollcall.files.importer import Importer
from rollcall.files.planner import Planner
from rollcall.files.progress import Counted, FilePart, ImportLog, UnknownImport
from rollcall.files.task import QueueUnavailable, Task
from rollcall.intake.intake import Intake, Taken
from rollcall.stack import objects
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.keys import import_id_of, import_key, import_part_key, receipt_key
from rollcall.stack.projects import ProjectArchived, Projects, UnknownProject
from rollcall.stack.queues import ATTEMPTS, BatchQueue
from tests.integration.conftest import Queue
from tests.support import (
    LAMBDA_CONTEXT,
    NOW,
    QUEUE_ERRORS,
    KeptTasks,
    create_tables,
    delete_tables,
    pass_over,
    queued,
    sample_event,
)

BUCKET = "rollcall-uploads-000000000000-us-east-1"
KEY = "uploads/5 o'clock+more.csv"
REJECTS_KEY = "rejects/uploads/5 o'clock+more.csv.csv"
HEADER = "event_id,occurred_at,user_id,event_type,properties_json"


@dataclass
class Bucket:
    client: Any

    def put(self, content: bytes | str, key: str = KEY) -> None:
        body = content.encode() if isinstance(content, str) else content
        self.client.put_object(Bucket=BUCKET, Key=key, Body=body)

    def objects(self) -> list[str]:
        """All but those of work in progress."""
        found = self.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return [item["Key"] for item in found if not item["Key"].startswith("staged/")]

    def rejects(self, key: str = REJECTS_KEY) -> list[dict[str, str]]:
        text = self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read().decode()
        return list(csv.DictReader(io.StringIO(text, newline="")))


@dataclass
class StubClient:
    """SQS that forgets what it takes, and from the given message on takes nothing."""

    taken: int = 0
    refuses_after: int = 1_000_000

    def send_message_batch(self, **request: Any) -> dict[str, Any]:
        failed = []
        for entry in request["Entries"]:
            if self.taken < self.refuses_after:
                self.taken += 1
            else:
                failed.append({"Id": entry["Id"], "Code": "InternalError", "SenderFault": False})
        return {"Failed": failed}


class Imported(NamedTuple):
    rows: int
    accepted: int
    rejected: int
    duplicates: int


@dataclass
class WholeImport:
    """Both functions and the queue between them, which delivers the tasks one by one."""

    planner: Planner
    importer: Importer
    log: ImportLog
    tasks: KeptTasks

    def handle(self, event: dict[str, Any]) -> None:
        self.planner.handle(event)
        self.work()

    def work(self) -> None:
        while self.tasks.waiting:
            self.importer.handle({"Records": [{"body": self.tasks.waiting.pop(0)}]})

    def import_object(self, bucket: str, key: str) -> Imported:
        self.planner.plan(bucket, key)
        self.work()
        progress = self.log.read(DEFAULT, import_id_of(key))
        assert progress.done
        return Imported(*(sum(getattr(part, name) for part in progress.parts) for name in Imported._fields))


@pytest.fixture
def bucket(aws: None, aws_clients: dict[str, Any]) -> Bucket:
    aws_clients["s3"].create_bucket(Bucket=BUCKET)
    return Bucket(aws_clients["s3"])


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    kept = Metrics(service="import", namespace="Rollcall")
    # All instances share what is not yet written.
    kept.clear_metrics()
    yield kept
    kept.clear_metrics()


@pytest.fixture
def import_log(aws: None, aws_clients: dict[str, Any]) -> Iterator[ImportLog]:
    client = aws_clients["dynamodb"]
    tables = create_tables(client)
    yield ImportLog(Dynamo(client), tables.stats, lambda: 1_756_728_000.0)
    delete_tables(client, tables)


@pytest.fixture
def projects(import_log: ImportLog, aws_clients: dict[str, Any]) -> Projects:
    return Projects(Dynamo(aws_clients["dynamodb"]), import_log._table, Calendar("UTC"))


@pytest.fixture
def make_importer(
    logger: Logger, metrics: Metrics, import_log: ImportLog, projects: Projects
) -> Callable[[Any, Any, str], WholeImport]:
    def make(s3: Any, sqs: Any, url: str) -> WholeImport:
        tasks = KeptTasks()
        intake = Intake(BatchQueue(sqs, url, pass_over), lambda _: Calendar("UTC"), lambda: NOW)
        planner = Planner(s3, tasks, import_log, logger, projects)
        return WholeImport(planner, Importer(s3, intake, import_log, logger, metrics), import_log, tasks)

    return make


@pytest.fixture
def importer(bucket: Bucket, queue: Queue, make_importer: Callable[[Any, Any, str], WholeImport]) -> WholeImport:
    return make_importer(bucket.client, queue.client, queue.url)


def notification(*keys: str) -> dict[str, Any]:
    return {
        "Records": [{"s3": {"bucket": {"name": BUCKET}, "object": {"key": quote_plus(key, safe="/")}}} for key in keys]
    }


def row(number: int, **changes: str) -> str:
    fields = {
        "event_id": f"event-{number}",
        "occurred_at": "2025-08-01T10:00:00Z",
        "user_id": f"user-{number % 100}",
        "event_type": "login",
        "properties_json": f'"{{""number"": {number}}}"',
    }
    return ",".join({**fields, **changes}.values())


def kept(number: int) -> Event:
    properties = f'{{"number":{number}}}'
    return Event(f"event-{number}", "2025-08-01T10:00:00Z", f"user-{number % 100}", "login", properties)


def file_of(*lines: str) -> str:
    return "".join(f"{line}\n" for line in (HEADER, *lines))


def test_an_uploaded_file_is_imported_from_its_notification(
    importer: WholeImport, bucket: Bucket, queue: Queue
) -> None:
    bucket.put(file_of(*(row(number) for number in range(700))))
    event = notification(KEY)
    assert event["Records"][0]["s3"]["object"]["key"] == "uploads/5+o%27clock%2Bmore.csv"

    importer.handle(event)

    messages = queue.messages()
    batches = [decode(message["Body"]) for message in messages]
    assert queued(batches) == [kept(number) for number in range(700)]
    assert {batch.source for batch in batches} == {"import"}
    assert {message["MessageAttributes"]["correlation_id"]["StringValue"] for message in messages} == {
        import_id_of(KEY)
    }


def test_a_file_may_have_any_number_of_days(importer: WholeImport, bucket: Bucket, queue: Queue) -> None:
    days = [f"{date(2020, 1, 1) + timedelta(days=day)}" for day in range(1_000)]
    repeat = row(1, occurred_at=f"{days[1]}T10:00:00Z")
    bucket.put(file_of(*(row(number, occurred_at=f"{day}T10:00:00Z") for number, day in enumerate(days)), repeat))

    imported = importer.import_object(BUCKET, KEY)

    # The last row repeats one that was taken with days of its own.
    assert imported.rows == 1_001
    assert imported.accepted + imported.duplicates == 1_001
    assert imported.rejected == 0
    batches = queue.batches()
    assert {event.occurred_at[:10] for event in queued(batches)} == {*days}
    assert max(len({event.occurred_at[:10] for event in batch.events}) for batch in batches) <= 400


def test_a_row_before_the_first_day_is_rejected(bucket: Bucket, queue: Queue, importer: WholeImport) -> None:
    importer.importer._intake = Intake(
        BatchQueue(queue.client, queue.url, pass_over), lambda _: Calendar("UTC", "2025-08-02"), lambda: NOW
    )
    bucket.put(file_of(row(1), row(2, occurred_at="2025-08-02T00:00:00Z")))

    assert importer.import_object(BUCKET, KEY) == Imported(rows=2, accepted=1, rejected=1, duplicates=0)
    assert [(reject["line"], reject["code"]) for reject in bucket.rejects()] == [("2", "too_old")]


def test_notifications_come_from_a_queue_and_the_first_one_names_no_file(
    importer: WholeImport, bucket: Bucket, queue: Queue
) -> None:
    bucket.put(file_of(row(1)), "uploads/1.csv")
    bucket.put(file_of(row(2)), "uploads/2.csv")
    test = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": BUCKET}

    bodies = [test, notification("uploads/1.csv"), notification("uploads/2.csv")]
    importer.handle({"Records": [{"body": json.dumps(body)} for body in bodies]})

    assert queued(queue.batches()) == [kept(1), kept(2)]


def test_every_object_of_a_notification_is_imported(importer: WholeImport, bucket: Bucket, queue: Queue) -> None:
    bucket.put(file_of(row(1)), "uploads/1.csv")
    bucket.put(file_of(row(2)), "uploads/2.csv")

    importer.handle(notification("uploads/1.csv", "uploads/2.csv"))

    assert queued(queue.batches()) == [kept(1), kept(2)]


def test_what_became_of_the_rows_is_returned_logged_and_measured(
    importer: WholeImport, bucket: Bucket, logs: io.StringIO, metrics: Metrics
) -> None:
    bucket.put(file_of(row(1), row(2), row(1), row(3, user_id="")))

    imported = importer.import_object(BUCKET, KEY)

    assert imported == Imported(rows=4, accepted=2, rejected=1, duplicates=1)
    planned, part, whole = (json.loads(line) for line in logs.getvalue().splitlines())
    assert {name: planned[name] for name in ("key", "parts")} == {"key": KEY, "parts": 1}
    assert {name: part[name] for name in ("key", "part", "batches")} == {"key": KEY, "part": 0, "batches": 1}
    for entry in (part, whole):
        assert {name: entry[name] for name in ("rows", "accepted", "rejected")} == {
            "rows": 4,
            "accepted": 2,
            "rejected": 1,
        }
        assert entry["import_id"] == import_id_of(KEY)
    measured: dict[str, Any] = {**metrics.serialize_metric_set()}
    assert (measured["RowsAccepted"], measured["RowsRejected"]) == ([2.0], [1.0])


def test_a_row_with_other_content_than_an_earlier_one_of_its_id_is_queued_behind_it_and_listed(
    importer: WholeImport, bucket: Bucket, queue: Queue
) -> None:
    bucket.put(file_of(row(1), row(2), row(1, user_id="other"), row(2), row(3, user_id=""), row(1, user_id="third")))

    assert importer.import_object(BUCKET, KEY) == Imported(rows=6, accepted=4, rejected=1, duplicates=1)

    first, second = kept(1), kept(2)
    others = [first._replace(user_id=user) for user in ("other", "third")]
    assert queued(queue.batches()) == [first, *others, second]
    assert [(reject["line"], reject["code"]) for reject in bucket.rejects()] == [
        ("4", "conflict"),
        ("6", "missing_field"),
        ("7", "conflict"),
    ]
    assert bucket.rejects()[0]["row"] == row(1, user_id="other")
    assert "event_id" in bucket.rejects()[0]["message"]


def test_conflicts_are_listed_though_no_row_is_rejected_and_those_beyond_the_limit_are_counted(
    importer: WholeImport, bucket: Bucket
) -> None:
    bucket.put(file_of(row(1), row(1, user_id="other")))
    importer.import_object(BUCKET, KEY)
    assert [(reject["line"], reject["code"]) for reject in bucket.rejects()] == [("3", "conflict")]

    with patch.object(imports, "MAX_REJECTS_BYTES", 0):
        importer.import_object(BUCKET, KEY)
    assert [(reject["code"], reject["message"]) for reject in bucket.rejects()] == [
        ("left_out", "1 more rows were rejected or conflict")
    ]


def test_bad_rows_go_to_a_file_of_rejects_and_the_others_are_queued(
    importer: WholeImport, bucket: Bucket, queue: Queue
) -> None:
    quoted = row(5, properties_json='"{""text"":\n""two lines""}"', user_id="")
    lines = [
        row(1),
        row(2, user_id="null"),
        row(3, occurred_at="2025-08-01"),
        row(4),
        quoted,
        row(6, properties_json="{"),
        row(7, event_type="é" * 129),
        "event-8",
        row(9) + ",more",
        row(10),
    ]
    bucket.put(file_of(*lines))

    importer.handle(notification(KEY))

    assert queued(queue.batches()) == [kept(1), kept(4), kept(10)]
    rejects = bucket.rejects()
    assert [(reject["line"], reject["code"], reject["row"]) for reject in rejects] == [
        ("3", "invalid_user_id", lines[1]),
        ("4", "invalid_occurred_at", lines[2]),
        # Its properties hold a line break, and so the rows after it are a line further down.
        ("6", "missing_field", quoted),
        ("8", "invalid_properties", lines[5]),
        ("9", "invalid_event_type", lines[6]),
        ("10", "missing_field", lines[7]),
        ("11", "invalid_csv", lines[8]),
    ]
    assert all(reject.keys() == {"line", "code", "message", "row"} for reject in rejects)
    named = ["user_id", "occurred_at", "user_id", "properties", "event_type", "occurred_at", "columns"]
    assert [name in reject["message"] for name, reject in zip(named, rejects, strict=True)] == [True] * len(named)


def test_bytes_that_are_no_text_reach_the_rejects_as_escapes(importer: WholeImport, bucket: Bucket) -> None:
    bucket.put(file_of(row(1)).encode() + row(2, user_id="caf?").encode().replace(b"?", b"\xe9") + b"\n")

    importer.handle(notification(KEY))

    (reject,) = bucket.rejects()
    assert (reject["line"], reject["code"]) == ("3", "invalid_unicode")
    assert reject["row"] == row(2, user_id="caf\\udce9")


def test_rejected_rows_of_an_upload_start_no_formula(importer: WholeImport, bucket: Bucket) -> None:
    lines = [row(number, event_id=event_id, user_id="") for number, event_id in enumerate(("=x", "-1", "'=x", "plain"))]
    bucket.put(file_of(*lines))

    importer.handle(notification(KEY))

    assert [reject["row"] for reject in bucket.rejects()] == [*(f"'{line}" for line in lines[:3]), lines[3]]


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_a_file_over_the_limit_is_planned_up_to_it_and_says_so(
    importer: WholeImport, bucket: Bucket, queue: Queue, compress: Callable[[bytes], bytes]
) -> None:
    whole = file_of(*(row(number) for number in range(9))).encode()
    importer.planner._most_bytes = len(whole) - 1
    bucket.put(compress(whole))

    assert importer.import_object(BUCKET, KEY) == Imported(rows=9, accepted=8, rejected=1, duplicates=0)

    (reject,) = bucket.rejects()
    assert (reject["code"], reject["line"]) == ("file_too_large", "10")
    assert "MaxExpandedMegabytes" in reject["message"]
    assert queued(queue.batches()) == [kept(number) for number in range(8)]


def test_a_part_beyond_the_limit_is_rejected_unread(
    importer: WholeImport, bucket: Bucket, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "PIECE_BYTES", 300)
    bucket.put(file_of(*(row(number) for number in range(9))))
    importer.importer._most_bytes = 300

    imported = importer.import_object(BUCKET, KEY)

    assert {reject["code"] for reject in bucket.rejects()} == {"file_too_large"}
    assert 0 < imported.accepted < 9
    assert len(queued(queue.batches())) == imported.accepted


def test_a_file_without_the_columns_of_events_is_rejected_as_a_whole(
    importer: WholeImport, bucket: Bucket, queue: Queue
) -> None:
    bucket.put("event_id,when,user_id\n" + row(1) + "\n")

    assert importer.import_object(BUCKET, KEY) == Imported(rows=1, accepted=0, rejected=1, duplicates=0)

    (reject,) = bucket.rejects()
    assert (reject["line"], reject["code"]) == ("1", "invalid_header")
    assert "occurred_at, event_type" in reject["message"]
    assert queue.messages() == []


def test_rejects_beyond_the_limit_of_their_file_are_counted(
    importer: WholeImport, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "MAX_REJECTS_BYTES", 200)
    monkeypatch.setattr(planner, "PIECE_BYTES", 300)
    bucket.put(file_of(*(row(number, user_id="") for number in range(20)), row(20)))

    imported = importer.import_object(BUCKET, KEY)

    assert imported == Imported(rows=21, accepted=1, rejected=20, duplicates=0)
    *kept, last = bucket.rejects()
    assert 1 <= len(kept) < 20
    assert (last["code"], last["message"]) == ("left_out", f"{20 - len(kept)} more rows were rejected or conflict")


def test_there_is_no_file_of_rejects_where_no_row_is_bad(importer: WholeImport, bucket: Bucket) -> None:
    bucket.put(file_of(row(1)))

    importer.handle(notification(KEY))

    assert bucket.objects() == [KEY]


def test_the_rejects_of_an_earlier_upload_are_removed_once_its_rows_are_mended(
    importer: WholeImport, bucket: Bucket
) -> None:
    bucket.put("", "rejects/uploads/other.csv.csv")
    bucket.put(file_of(row(1, user_id="")))
    importer.handle(notification(KEY))
    assert REJECTS_KEY in bucket.objects()

    bucket.put(file_of(row(1)))
    importer.handle(notification(KEY))

    assert bucket.objects() == ["rejects/uploads/other.csv.csv", KEY]


def test_the_rejects_of_an_earlier_upload_are_replaced(importer: WholeImport, bucket: Bucket) -> None:
    bucket.put(file_of(row(1, user_id=""), row(2, user_id="")))
    importer.handle(notification(KEY))
    bucket.put(file_of(row(1), row(2, user_id="")))
    importer.handle(notification(KEY))

    assert [reject["line"] for reject in bucket.rejects()] == ["3"]


def json_line(number: int) -> str:
    event = kept(number)._asdict()
    return json.dumps({**event, "properties": json.loads(event["properties"])})


JSON_LINES = "".join(f"{json_line(number)}\n" for number in range(3))
FORMS: dict[str, bytes] = {
    "csv": file_of(*(row(number) for number in range(3))).encode(),
    "csv after a byte order mark": b"\xef\xbb\xbf" + file_of(*(row(number) for number in range(3))).encode(),
    "csv with \\r\\n": file_of(*(row(number) for number in range(3))).replace("\n", "\r\n").encode(),
    "csv without its last line break": file_of(*(row(number) for number in range(3))).rstrip("\n").encode(),
    "csv in another order": (
        "user_id,properties,note,event_type,event_id,occurred_at\n"
        + "".join(
            f'user-{number},"{{""number"": {number}}}",ignored,login,event-{number},2025-08-01T10:00:00Z\n'
            for number in range(3)
        )
    ).encode(),
    "jsonl": JSON_LINES.encode(),
    "jsonl after a byte order mark": b"\xef\xbb\xbf" + JSON_LINES.encode(),
}


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_a_file_is_told_by_its_bytes(
    importer: WholeImport, bucket: Bucket, queue: Queue, form: str, compress: Callable[[bytes], bytes]
) -> None:
    bucket.put(compress(FORMS[form]))

    importer.handle(notification(KEY))

    assert queued(queue.batches()) == [kept(number) for number in range(3)]
    assert bucket.objects() == [KEY]


def test_the_readable_part_of_a_damaged_file_is_imported_and_the_damage_reported(
    importer: WholeImport, bucket: Bucket, queue: Queue
) -> None:
    whole = gzip.compress(file_of(*(row(number) for number in range(5_000))).encode())
    bucket.put(whole[: len(whole) // 2])

    importer.handle(notification(KEY))

    events = queued(queue.batches())
    assert 100 < len(events) < 5_000
    assert events == [kept(number) for number in range(len(events))]
    assert bucket.rejects()[-1]["code"] == "invalid_gzip"


@pytest.mark.parametrize(
    "content",
    [b"", b"\n\n", HEADER.encode(), gzip.compress(b"")],
    ids=["nothing", "empty lines", "a header", "gzip of nothing"],
)
def test_a_file_without_rows_queues_nothing_and_rejects_nothing(
    importer: WholeImport, bucket: Bucket, queue: Queue, content: bytes
) -> None:
    bucket.put(content)

    assert importer.import_object(BUCKET, KEY) == Imported(0, 0, 0, 0)
    assert bucket.objects() == [KEY]
    assert queue.messages() == []


def test_the_same_upload_makes_the_same_batches_again(importer: WholeImport, bucket: Bucket, queue: Queue) -> None:
    days = ["2025-08-03", "2025-08-01", "2025-08-02"]
    content = file_of(*(row(number, occurred_at=f"{days[number % 3]}T10:00:00Z") for number in range(6_000)))
    ids = []
    for _ in range(2):
        bucket.put(content)
        importer.handle(notification(KEY))
        ids.append([batch.batch_id for batch in queue.batches()])

    assert len(set(ids[0])) == len(ids[0]) >= 12
    assert ids[1] == ids[0]


def test_rows_are_sorted_by_day_before_they_are_cut_into_batches(
    importer: WholeImport, bucket: Bucket, queue: Queue
) -> None:
    days = ["2025-08-02", "2025-08-01"]
    bucket.put(file_of(*(row(number, occurred_at=f"{days[number % 2]}T10:00:00Z") for number in range(1_000))))

    importer.handle(notification(KEY))

    assert [{event.occurred_at[:10] for event in batch.events} for batch in queue.batches()] == [
        {"2025-08-01"},
        {"2025-08-02"},
    ]


def test_an_object_that_is_gone_is_no_failure(
    importer: WholeImport, bucket: Bucket, queue: Queue, logs: io.StringIO
) -> None:
    bucket.put(file_of(row(1)), "uploads/there.csv")

    importer.handle(notification(KEY, "uploads/there.csv"))

    assert queued(queue.batches()) == [kept(1)]
    assert json.loads(logs.getvalue().splitlines()[0])["level"] == "WARNING"


def test_a_bucket_that_is_not_there_is_a_failure(importer: WholeImport) -> None:
    with pytest.raises(ClientError, match="NoSuchBucket"):
        importer.planner.plan("no-such-bucket", KEY)


class BreakingBucket:
    """S3, whose answers break after some bytes, some of them before the first one."""

    def __init__(self, client: Any, most: int) -> None:
        self._client = client
        self._random = Random(most)
        self._most = most
        self.broken = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def get_object(self, **request: Any) -> Any:
        answer = self._client.get_object(**request)
        content = answer["Body"].read()
        some = content[: self._random.randint(0, self._most)]
        self.broken += len(some) < len(content)
        return {**answer, "Body": StreamingBody(io.BytesIO(some), len(content))}


@pytest.mark.parametrize("form", ["plain", "gzip"])
def test_a_file_is_imported_whole_although_connections_break(
    bucket: Bucket,
    queue: Queue,
    make_importer: Callable[[Any, Any, str], WholeImport],
    monkeypatch: pytest.MonkeyPatch,
    form: str,
) -> None:
    monkeypatch.setattr(objects, "FIRST_PAUSE_SECONDS", 0)
    monkeypatch.setattr(planner, "PIECE_BYTES", 5_000)
    s3 = BreakingBucket(bucket.client, 1_500)
    importer = make_importer(s3, queue.client, queue.url)
    content = file_of(
        *(row(number, user_id="" if number % 50 == 0 else f"u{number}") for number in range(300))
    ).encode()
    bucket.put(gzip.compress(content) if form == "gzip" else content)

    imported = importer.import_object(BUCKET, KEY)

    assert imported == Imported(rows=300, accepted=294, rejected=6, duplicates=0)
    assert sorted(one.event_id for one in queued(queue.batches())) == sorted(
        f"event-{number}" for number in range(300) if number % 50
    )
    assert [reject["line"] for reject in bucket.rejects()] == [str(number + 2) for number in range(0, 300, 50)]
    assert s3.broken > 5


def test_a_file_that_is_replaced_while_its_connection_is_broken_is_left_to_the_new_one(
    bucket: Bucket, queue: Queue, make_importer: Callable[[Any, Any, str], WholeImport], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "FIRST_PAUSE_SECONDS", 0)

    class ReplacedBucket(BreakingBucket):
        def get_object(self, **request: Any) -> Any:
            answer = super().get_object(**request)
            bucket.put(file_of(row(2)))
            return answer

    bucket.put(file_of(*(row(number) for number in range(50))))
    importer = make_importer(ReplacedBucket(bucket.client, 100), queue.client, queue.url)

    importer.planner.plan(BUCKET, KEY)

    assert importer.log.read(DEFAULT, import_id_of(KEY)).gone
    assert importer.tasks.waiting == []


@pytest.mark.parametrize("taken", [0, 1])
def test_a_queue_that_refuses_rows_fails_the_import_so_that_it_comes_again(
    bucket: Bucket, make_importer: Callable[[Any, Any, str], WholeImport], taken: int
) -> None:
    importer = make_importer(bucket.client, StubClient(refuses_after=taken), "url")
    bucket.put(file_of(row(0, user_id=""), *(row(number) for number in range(1_000))))
    bucket.put("stale", REJECTS_KEY)

    with pytest.raises(QueueUnavailable):
        importer.handle(notification(KEY))

    assert bucket.client.get_object(Bucket=BUCKET, Key=REJECTS_KEY)["Body"].read() == b"stale"


@pytest.mark.parametrize("code", QUEUE_ERRORS)
def test_an_import_that_the_queue_fails_says_with_which_error(
    bucket: Bucket, make_importer: Callable[[Any, Any, str], WholeImport], code: str
) -> None:
    raising = Mock(**{"send_message_batch.side_effect": QUEUE_ERRORS[code]})
    bucket.put(file_of(row(1)))

    with pytest.raises(QueueUnavailable, match=rf"\b{code}\b"):
        make_importer(bucket.client, raising, "url").handle(notification(KEY))

    assert raising.send_message_batch.call_count == ATTEMPTS


def test_an_import_that_the_queue_refuses_says_with_which_error(
    bucket: Bucket, make_importer: Callable[[Any, Any, str], WholeImport]
) -> None:
    bucket.put(file_of(row(1)))

    with pytest.raises(QueueUnavailable, match=r"\bInternalError\b"):
        make_importer(bucket.client, StubClient(refuses_after=0), "url").handle(notification(KEY))


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of rows that are taken in together."""
    sizes: list[int] = []
    take = Intake.take

    def counted(intake: Intake, project: Project, raws: Iterable[object], sender: Sender, correlation_id: str) -> Taken:
        window = [*raws]
        sizes.append(len(window))
        return take(intake, project, window, sender, correlation_id)

    monkeypatch.setattr(Intake, "take", counted)
    return sizes


@pytest.mark.parametrize(
    ("limit", "value", "sizes"),
    [("ROWS_AT_A_TIME", 4, [4, 4, 2]), ("ROWS_AT_A_TIME", 10, [10]), ("BYTES_AT_A_TIME", 1, [1] * 10)],
)
def test_rows_are_taken_in_by_windows_within_both_limits(
    importer: WholeImport,
    bucket: Bucket,
    queue: Queue,
    windows: list[int],
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    value: int,
    sizes: list[int],
) -> None:
    monkeypatch.setattr(imports, limit, value)
    rows = [row(number) for number in range(10)]
    rows[6] = row(6, user_id="null")
    bucket.put(file_of(*rows))

    assert importer.import_object(BUCKET, KEY) == Imported(rows=10, accepted=9, rejected=1, duplicates=0)

    assert windows == sizes
    assert queued(queue.batches()) == [kept(number) for number in range(10) if number != 6]
    assert [(reject["line"], reject["code"]) for reject in bucket.rejects()] == [("8", "invalid_user_id")]


def generated(rows: int) -> Iterator[bytes]:
    yield f"{HEADER}\n".encode()
    text = "x" * 4_000
    for number in range(rows):
        yield row(number, properties_json=f'"{{""text"": ""{text}""}}"').encode() + b"\n"


@dataclass
class StreamedObject:
    """S3 that makes an object's bytes while they are read, and forgets what is put."""

    chunks: Iterable[bytes]

    def get_object(self, **_: str) -> dict[str, Any]:
        body = SimpleNamespace(iter_chunks=lambda _size: iter(self.chunks))
        return {"Body": body, "ETag": '"etag"', "ContentLength": 1}

    def put_object(self, **_: object) -> None:
        pass


def peak_of(work: Callable[[], object]) -> int:
    tracemalloc.start()
    work()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
def test_the_memory_to_plan_a_file_does_not_grow_with_it(
    make_importer: Callable[[Any, Any, str], WholeImport], monkeypatch: pytest.MonkeyPatch, compressed: bool
) -> None:
    monkeypatch.setattr(planner, "PIECE_BYTES", 1024**2)
    peaks = []
    for rows in (2_100, 8_400):
        # So many equal letters fit one chunk of a compressed file.
        chunks = [gzip.compress(b"".join(generated(rows)))] if compressed else generated(rows)
        importer = make_importer(StreamedObject(chunks), StubClient(), "url")
        peaks.append(peak_of(lambda importer=importer: importer.planner.plan(BUCKET, KEY)))  # type: ignore[misc]
        assert len(importer.tasks.waiting) > rows // 300

    assert peaks[1] < 1.5 * peaks[0]
    assert peaks[1] < 16 * 1024**2


def test_the_memory_to_take_a_piece_in_does_not_grow_with_it(
    make_importer: Callable[[Any, Any, str], WholeImport],
) -> None:
    columns = {name: place for place, name in enumerate(HEADER.split(","))}
    peaks = []
    for rows in (2_100, 8_400):
        importer = make_importer(StreamedObject(islice(generated(rows), 1, None)), StubClient(), "url")
        run = importer.log.begin(DEFAULT, KEY, 1)
        task = Task(BUCKET, KEY, "etag", run, 0, KEY, 0, 1, 1, len(columns), columns)
        peaks.append(peak_of(lambda importer=importer, task=task: importer.importer.take_in(task)))  # type: ignore[misc]

    assert peaks[1] < 1.5 * peaks[0]
    assert peaks[1] < 60 * 1024**2


def many_rows(importer: WholeImport, bucket: Bucket, content: bytes, key: str = KEY) -> Imported:
    bucket.put(content, key)
    return importer.import_object(BUCKET, key)


@pytest.mark.parametrize("form", ["csv", "gzip", "jsonl"])
def test_a_file_in_many_parts_has_the_events_and_rejects_of_the_whole(
    importer: WholeImport, bucket: Bucket, queue: Queue, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    lines = [row(number, event_type='"two\nlines"') for number in range(300)]
    lines[7] = row(7, user_id="")
    lines[250] = row(250, occurred_at="yesterday")
    content = file_of(*lines).encode()
    if form == "jsonl":
        rows = [json_line(number).encode() for number in range(300)]
        rows[7] = rows[250] = b"{"
        content = b"\n".join(rows)
    monkeypatch.setattr(planner, "PIECE_BYTES", 2_000)

    imported = many_rows(importer, bucket, gzip.compress(content) if form == "gzip" else content)

    assert imported == Imported(300, 298, 2, 0)
    progress = importer.log.read(DEFAULT, import_id_of(KEY))
    assert progress.planned == len(progress.parts) > 10
    assert {event.event_id for event in queued(queue.batches())} == {
        f"event-{number}" for number in range(300) if number not in (7, 250)
    }
    expected = ["8", "251"] if form == "jsonl" else ["16", "501"]
    assert [reject["line"] for reject in bucket.rejects()] == expected


def test_parts_may_be_done_in_any_order_and_more_than_once(
    importer: WholeImport, bucket: Bucket, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "PIECE_BYTES", 1_000)
    bucket.put(file_of(*(row(number, user_id="" if number % 10 == 3 else "u") for number in range(100))))
    importer.planner.handle(notification(KEY))
    tasks = importer.tasks.waiting
    assert len(tasks) > 5
    once = importer.import_object(BUCKET, KEY)
    rejects = bucket.rejects()
    batches = {batch.batch_id for batch in queue.batches()}

    for _ in range(2):
        importer.planner.handle(notification(KEY))
        importer.tasks.waiting = importer.tasks.waiting[::-1] + importer.tasks.waiting[:3]
        importer.work()

    assert importer.import_object(BUCKET, KEY) == once == Imported(100, 90, 10, 0)
    assert bucket.rejects() == rejects
    assert {batch.batch_id for batch in queue.batches()} <= batches


def test_progress_tells_what_is_done_and_when_all_is(
    importer: WholeImport, bucket: Bucket, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "PIECE_BYTES", 1_000)
    import_id = importer.log.expect(DEFAULT, KEY)
    waiting = importer.log.read(DEFAULT, import_id)
    assert (waiting.run, waiting.planned, waiting.parts, waiting.done) == (None, None, [], False)
    content = file_of(*(row(number) for number in range(100)))
    bucket.put(content)
    importer.planner.plan(BUCKET, KEY)
    total = len(importer.tasks.waiting)
    for done in range(total):
        progress = importer.log.read(DEFAULT, import_id)
        assert (progress.size, progress.planned, len(progress.parts)) == (len(content), total, done)
        assert not progress.done
        importer.importer.take_in(Task.decode(importer.tasks.waiting.pop(0)))
    progress = importer.log.read(DEFAULT, import_id)
    assert progress.done
    assert importer.log.counted(progress) == Counted(0, 0, 0, 0, len(set(map(str, queue.batches()))))


def test_a_batch_that_a_file_has_twice_has_its_conflicts_twice(import_log: ImportLog) -> None:
    batch_id, run = "a" * 32, import_log.begin(DEFAULT, KEY, 100)
    numbers = {
        **Receipt(received=9, inserted=4, duplicates=2, conflicts=3, refused=0)._asdict(),
        "applied": 1,
        "total": 1,
    }
    receipt = {name: {"N": str(value)} for name, value in numbers.items()}
    import_log._dynamo.put(
        import_log._table, [{"pk": {"S": receipt_key(DEFAULT, batch_id)}, "sk": {"S": "0"}, **receipt}]
    )
    for number in range(2):
        import_log.finish_part(DEFAULT, KEY, run, FilePart(number, 9, 9, 0, 0), [batch_id])

    counted = import_log.counted(import_log.read(DEFAULT, import_id_of(KEY)))

    assert counted == Counted(inserted=4, duplicates=8, conflicts=6, refused=0, pending_batches=0)


def test_a_part_that_was_taken_in_before_conflicts_were_listed_has_none(import_log: ImportLog) -> None:
    run = import_log.begin(DEFAULT, KEY, 100)
    counts = {name: {"N": "1"} for name in ("rows", "accepted", "rejected", "duplicates")}
    key = {"pk": {"S": import_key(DEFAULT, import_id_of(KEY))}, "sk": {"S": import_part_key(run, 0)}}
    import_log._dynamo.put(import_log._table, [{**key, **counts}])

    assert import_log.read(DEFAULT, import_id_of(KEY)).parts == [FilePart(0, 1, 1, 1, 1, conflicts=0, numbered=0)]


def test_an_import_that_nobody_began_is_unknown(import_log: ImportLog) -> None:
    with pytest.raises(UnknownImport):
        import_log.read(DEFAULT, import_id_of("uploads/nothing.csv"))


def test_an_id_that_is_longer_than_a_key_of_dynamodb_may_be_is_that_of_no_import(dynamodb: Any) -> None:
    tables = create_tables(dynamodb)
    with pytest.raises(UnknownImport):
        ImportLog(Dynamo(dynamodb), tables.stats).read(DEFAULT, "a" * 3_000)
    delete_tables(dynamodb, tables)


def test_a_part_of_a_file_that_was_replaced_is_left_to_the_new_one(
    importer: WholeImport, bucket: Bucket, queue: Queue
) -> None:
    bucket.put(file_of(row(1)))
    importer.planner.plan(BUCKET, KEY)
    bucket.put(file_of(row(2)))
    (task,) = [Task.decode(body) for body in importer.tasks.waiting]

    assert importer.importer.take_in(task) is None
    importer.tasks.waiting.clear()
    importer.handle(notification(KEY))

    assert queued(queue.batches()) == [kept(2)]
    assert importer.log.read(DEFAULT, import_id_of(KEY)).done


def test_a_part_of_a_file_that_was_deleted_is_no_failure(importer: WholeImport, bucket: Bucket, queue: Queue) -> None:
    bucket.put(file_of(row(1)))
    importer.planner.plan(BUCKET, KEY)
    bucket.client.delete_object(Bucket=BUCKET, Key=KEY)

    importer.work()

    assert queue.messages() == []


def test_many_rows_outside_of_all_pieces_are_rejected_with_their_lines(
    importer: WholeImport, bucket: Bucket, queue: Queue
) -> None:
    broken = '"a"b,c\n' * 9

    assert many_rows(importer, bucket, (broken + file_of(row(1))).encode()) == Imported(10, 1, 9, 0)

    assert [(reject["line"], reject["code"]) for reject in bucket.rejects()] == [
        (str(line), "invalid_csv") for line in range(1, 10)
    ]
    assert queued(queue.batches()) == [kept(1)]


def test_a_task_fits_a_message_whatever_it_holds(importer: WholeImport, bucket: Bucket) -> None:
    wild = "\U0001f984\0" * 5_000
    columns = ",".join([HEADER, *(f"column {number} {'x' * 50}" for number in range(2_000))])
    bucket.put("".join(f'"{wild}"b\n' for _ in range(9)) + f"{columns}\n{row(1)}\n")

    importer.planner.plan(BUCKET, KEY)

    assert len(importer.tasks.waiting) == 4
    assert max(map(len, importer.tasks.waiting)) < 256 * 1024
    part = importer.importer.take_in(Task.decode(importer.tasks.waiting[-1]))
    assert part is not None
    assert (part.number, part.rows, part.accepted) == (3, 1, 1)


def test_the_handlers_import_the_sample_notification(
    load_handler: Callable[[str], ModuleType],
    bucket: Bucket,
    queue: Queue,
    aws_clients: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = aws_clients["sqs"].create_queue(QueueName="parts")["QueueUrl"]
    monkeypatch.setenv("IMPORT_QUEUE_URL", url)
    bucket.put(file_of(row(1)), "uploads/august events.csv")

    load_handler("import_csv").handler(sample_event("import_csv"), LAMBDA_CONTEXT)
    (task,) = Queue(aws_clients["sqs"], url).messages()
    load_handler("import_part").handler({"Records": [{"body": task["Body"]}]}, LAMBDA_CONTEXT)

    (message,) = queue.messages()
    assert decode(message["Body"]).events == (kept(1),)
    assert message["MessageAttributes"]["correlation_id"]["StringValue"] == import_id_of("uploads/august events.csv")


class Killed(BaseException):
    """The process is gone."""


def test_an_import_is_not_done_before_its_rejects_are_there(importer: WholeImport, bucket: Bucket) -> None:
    bucket.put(file_of(row(1, user_id="")))
    assert importer.import_object(BUCKET, KEY).rejected == 1
    bucket.put(file_of(row(1), row(2, user_id="")))
    importer.planner.plan(BUCKET, KEY)
    (task,) = importer.tasks.waiting
    with patch.object(Importer, "_finish", side_effect=Killed), pytest.raises(Killed):
        importer.work()

    progress = importer.log.read(DEFAULT, import_id_of(KEY))
    assert (progress.taken_in, progress.done) == (True, False)

    importer.tasks.waiting.append(task)
    importer.work()
    assert importer.log.read(DEFAULT, import_id_of(KEY)).done
    assert [reject["line"] for reject in bucket.rejects()] == ["3"]


def test_a_file_that_is_notified_again_is_done_again_only_when_all_its_parts_are(
    importer: WholeImport, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "PIECE_BYTES", 1_000)
    finished = Mock(wraps=Importer._finish)
    monkeypatch.setattr(Importer, "_finish", lambda *arguments: finished(*arguments))
    bucket.put(file_of(*(row(number) for number in range(100))))
    importer.planner.plan(BUCKET, KEY)
    late = importer.tasks.waiting.pop(0)
    importer.work()

    importer.planner.plan(BUCKET, KEY)
    # Of the first run, whose other parts are done.
    importer.importer.take_in(Task.decode(late))
    assert not importer.log.read(DEFAULT, import_id_of(KEY)).done
    assert finished.call_count == 0
    again = importer.tasks.waiting[0]
    importer.work()
    assert importer.log.read(DEFAULT, import_id_of(KEY)).done
    importer.importer.take_in(Task.decode(again))
    assert finished.call_count == 1


@pytest.mark.parametrize("zipped", [False, True])
def test_an_upload_that_is_deleted_before_it_is_taken_in_is_said_to_be_gone(
    importer: WholeImport, bucket: Bucket, zipped: bool
) -> None:
    content = file_of(row(1)).encode()
    bucket.put(gzip.compress(content) if zipped else content)
    importer.planner.plan(BUCKET, KEY)
    for item in bucket.client.list_objects_v2(Bucket=BUCKET)["Contents"]:
        bucket.client.delete_object(Bucket=BUCKET, Key=item["Key"])
    importer.work()
    progress = importer.log.read(DEFAULT, import_id_of(KEY))
    assert (progress.gone, progress.done) == (True, False)


def test_a_header_of_very_many_columns_fits_a_message(importer: WholeImport, bucket: Bucket, queue: Queue) -> None:
    bucket.put(f"{HEADER}{',' * 70_000}\n{row(1)}{',' * 70_000}\n")
    importer.planner.plan(BUCKET, KEY)
    assert max(map(len, importer.tasks.waiting)) < 1_000
    importer.work()
    assert queued(queue.batches()) == [kept(1)]


def test_a_file_in_a_projects_folder_is_imported_into_the_project(
    importer: WholeImport, bucket: Bucket, queue: Queue, projects: Projects
) -> None:
    shop = Project("shop")
    projects.create(shop, "The shop", "UTC")
    plain, of_shop = "uploads/august.csv", "uploads/project=shop/august.csv"
    for key in (plain, of_shop):
        bucket.put(file_of(row(1), row(2)), key)
        importer.planner.plan(BUCKET, key)
        importer.work()
    assert importer.log.read(DEFAULT, import_id_of(plain)).done
    assert importer.log.read(shop, import_id_of(of_shop)).done
    for project, key in ((DEFAULT, of_shop), (shop, plain)):
        with pytest.raises(UnknownImport):
            importer.log.read(project, import_id_of(key))
    batches = queue.batches()
    assert [batch.project for batch in batches] == [DEFAULT, shop]
    assert batches[0].events == batches[1].events


@pytest.mark.parametrize(
    ("folder", "error"),
    [
        ("project=nobody", UnknownProject),
        ("project=closed", ProjectArchived),
        ("project=Shop", BadProject),
        ("project=default", BadProject),
    ],
)
def test_a_file_of_no_project_that_takes_events_is_left_to_be_sent_back(
    importer: WholeImport, bucket: Bucket, projects: Projects, folder: str, error: type[Exception]
) -> None:
    projects.create(Project("closed"), "Closed", "UTC")
    projects.change(Project("closed"), archived=True)
    bucket.put(file_of(row(1)), f"uploads/{folder}/august.csv")
    with pytest.raises(error):
        importer.planner.plan(BUCKET, f"uploads/{folder}/august.csv")
    assert not importer.tasks.waiting


def test_a_name_that_only_looks_like_a_projects_folder_is_the_default_projects(
    importer: WholeImport, bucket: Bucket
) -> None:
    bucket.put(file_of(row(1)), "uploads/project=shop")
    assert importer.import_object(BUCKET, "uploads/project=shop").accepted == 1
