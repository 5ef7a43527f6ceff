"""An import whose functions die anywhere, any number of times, ends as if they had not."""

import csv
import gzip
import io
import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from aws_lambda_powertools import Logger, Metrics

from rollcall.core.batch import decode
from rollcall.core.days import Calendar
from rollcall.core.projects import DEFAULT
from rollcall.counting.claims import Claims
from rollcall.files import importer as imports
from rollcall.files import planner
from rollcall.files.importer import Importer
from rollcall.files.planner import Planner
from rollcall.files.progress import ImportLog
from rollcall.files.task import Task
from rollcall.intake.intake import Intake
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.keys import Tables, import_id_of
from rollcall.stack.projects import Projects
from rollcall.stack.queues import BatchQueue
from scripts.local.ministack import MiniStack
from tests.support import (
    KeptDeadLetters,
    assert_counters_equal_recount,
    create_tables,
    delete_tables,
    pass_over,
    scan,
)

KEY = "uploads/killed.csv"
NOTIFIED = {"bucket": {"name": ""}, "object": {"key": KEY}}
CALENDAR = Calendar("UTC")


class Killed(BaseException):
    """The process is gone."""


class Mortal:
    """Clients of AWS under which the process may die before or after any call."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.risk = 0.0
        self.deaths = 0

    def client(self, real: Any) -> Any:
        mortal = self

        class Client:
            def __getattr__(self, name: str) -> Any:
                attribute = getattr(real, name)
                if not callable(attribute):
                    return attribute

                def call(*args: Any, **request: Any) -> Any:
                    mortal.face_death()
                    answer = attribute(*args, **request)
                    mortal.face_death()
                    return answer

                return call

        return Client()

    def face_death(self) -> None:
        if self._rng.random() < self.risk:
            self.deaths += 1
            raise Killed


class Stack:
    def __init__(self, dynamodb: Any, stack: MiniStack, mortal: Mortal) -> None:
        unique = uuid.uuid4().hex[:12]
        self.dynamodb, self.s3, self.sqs = dynamodb, stack.client("s3"), stack.client("sqs")
        self.tables: Tables = create_tables(self.dynamodb)
        self.bucket = f"uploads-{unique}"
        self.s3.create_bucket(Bucket=self.bucket)
        self.batches, self.parts = (
            self.sqs.create_queue(QueueName=f"{name}-{unique}")["QueueUrl"] for name in ("batches", "parts")
        )
        dynamodb, s3, sqs = (mortal.client(client) for client in (self.dynamodb, self.s3, self.sqs))
        log = ImportLog(Dynamo(dynamodb, pass_over), self.tables.stats)
        logger = Logger(service=unique, stream=io.StringIO())
        now = datetime(2025, 9, 1, tzinfo=UTC)
        intake = Intake(BatchQueue(sqs, self.batches, pass_over), lambda _: CALENDAR, lambda: now)
        metrics = Metrics(service="import", namespace="Rollcall")
        projects = Projects(Dynamo(dynamodb, pass_over), self.tables.stats, CALENDAR)
        self.planner = Planner(s3, BatchQueue(sqs, self.parts, pass_over), log, logger, projects)
        self.importer = Importer(s3, intake, log, logger, metrics)
        self.log = ImportLog(Dynamo(self.dynamodb), self.tables.stats)

    def plan(self) -> bool:
        """Notify the planner; whether it came to its end."""
        record = {"s3": {**NOTIFIED, "bucket": {"name": self.bucket}}}
        try:
            self.planner.handle({"Records": [record]})
        except Killed:
            return False
        return True

    def work(self) -> None:
        """Deliver every part until it is taken in."""
        tasks = [message["Body"] for message in self._messages(self.parts)]
        while tasks:
            task = tasks.pop(0)
            try:
                self.importer.take_in(Task.decode(task))
            except Killed:
                tasks.append(task)

    def consume(self) -> None:
        claims = Claims(Dynamo(self.dynamodb), self.tables, lambda _: CALENDAR, KeptDeadLetters())
        for message in self._messages(self.batches):
            claims.apply(decode(message["Body"]))

    def _messages(self, url: str) -> Iterator[dict[str, Any]]:
        while page := self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            yield from page


def content(rng: random.Random) -> tuple[bytes, set[str], list[str]]:
    """A file, the ids of its good rows, and the lines of its bad ones."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["event_id", "occurred_at", "user_id", "event_type", "properties"])
    good, bad, line = set(), [], 2
    for number in range(400):
        user = "" if rng.random() < 0.05 else f"user {rng.randrange(30)}"
        kind = rng.choice(["login", "two\nlines", 'a "quoted" one'])
        writer.writerow([f"e{number}", f"2025-08-{rng.randrange(1, 9):02}T10:00:00Z", user, kind, '{"a": 1}'])
        if user:
            good.add(f"e{number}")
        else:
            bad.append(str(line))
        line += 1 + kind.count("\n")
    return text.getvalue().encode(), good, bad


@pytest.mark.parametrize("seed", range(8))
def test_a_killed_import_that_is_notified_again_loses_nothing_and_counts_nothing_twice(
    dynamodb: Any, ministack: MiniStack, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(planner, "PIECE_BYTES", 3_000)
    rng = random.Random(seed)
    mortal = Mortal(rng)
    stack = Stack(dynamodb, ministack, mortal)
    body, good, bad = content(rng)
    stack.s3.put_object(Bucket=stack.bucket, Key=KEY, Body=gzip.compress(body) if seed % 2 else body)

    mortal.risk = 0.02
    while not stack.plan():
        # Some of the parts are there already.
        stack.work()
    stack.work()
    # S3 notifies at least once.
    mortal.risk = 0.0
    assert stack.plan()
    stack.work()
    stack.consume()

    progress = stack.log.read(DEFAULT, import_id_of(KEY))
    assert mortal.deaths
    assert progress.done
    assert progress.planned is not None
    assert progress.planned > 5
    assert sum(part.accepted for part in progress.parts) == len(good)
    assert {item["event_id"] for item in scan(stack.dynamodb, stack.tables.events)} == good
    assert_counters_equal_recount(stack.dynamodb, stack.tables, CALENDAR)
    rejects = stack.s3.get_object(Bucket=stack.bucket, Key=f"rejects/{KEY}.csv")["Body"].read().decode()
    assert [row["line"] for row in csv.DictReader(io.StringIO(rejects, newline=""))] == bad
    counted = stack.log.counted(progress)
    assert counted is not None
    assert (counted.inserted, counted.pending_batches) == (len(good), 0)
    delete_tables(stack.dynamodb, stack.tables)


def test_rows_of_many_days_and_rows_that_come_again_are_all_accounted_for(
    dynamodb: Any, ministack: MiniStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "ROWS_AT_A_TIME", 250)
    stack = Stack(dynamodb, ministack, Mortal(random.Random(1)))
    rows = [f"h{n},20{n // 100:02}-{n % 9 + 1:02}-{n % 28 + 1:02}T00:00:00Z,u{n % 5},open\n" for n in range(250)]
    body = "event_id,occurred_at,user_id,event_type\n" + "".join(rows) * 2
    stack.s3.put_object(Bucket=stack.bucket, Key=KEY, Body=body.encode())

    assert stack.plan()
    stack.work()
    stack.consume()

    progress = stack.log.read(DEFAULT, import_id_of(KEY))
    parts = [item for item in scan(stack.dynamodb, stack.tables.stats) if item["pk"].startswith("batch#")]
    assert len(parts) > 1
    assert sum(part.accepted for part in progress.parts) == 500
    assert stack.log.counted(progress) == (250, 250, 0, 0, 0)
    delete_tables(stack.dynamodb, stack.tables)
