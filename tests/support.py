"""What several tests need: template.yaml and the sample events as data, and checks of answers and of what is stored."""

import itertools
import json
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from functools import cache
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError, EndpointConnectionError

from rollcall.access.api_keys import SCOPES
from rollcall.access.gate import Gate, Principal
from rollcall.access.reach import ALL
from rollcall.core.batch import Batch, Delivery, make_batch
from rollcall.core.days import Calendar
from rollcall.core.events import Event, is_profile_call
from rollcall.core.limits import Allowance, Limit
from rollcall.core.projects import Project
from rollcall.counting.receipts import Receipt
from rollcall.files.progress import FilePart, ImportLog
from rollcall.questions.ledgers import Ledgers
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.keys import Tables, counted_source, counted_type, receipt_key, split_key
from rollcall.stack.queues import BatchQueue
from rollcall.stack.settings import IngestSettings
from scripts.local.deploy import template
from scripts.paths import ROOT

# The routes of what no other route has.
UNKNOWN = "/{proxy+}"
BELOW_VERSION = "/v1/{proxy+}"
NOW = datetime(2025, 9, 1, 12, tzinfo=UTC)
RECEIVED_AT = "2025-09-01T00:00:00.000Z"

# What Lambda and the template tell all functions, for a test to change.
SETTINGS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "POWERTOOLS_SERVICE_NAME": "rollcall",
    "POWERTOOLS_METRICS_NAMESPACE": "Rollcall",
    "REPORTING_TIMEZONE": "UTC",
    "FIRST_DAY": "1970-01-01",
    "NAMED_TYPES": "10000",
    "WEEK_START": "monday",
    "QUEUE_URL": "http://127.0.0.1:9/queue",
    "DEAD_LETTER_QUEUE_URL": "http://127.0.0.1:9/dead-letters",
    "IMPORT_QUEUE_URL": "http://127.0.0.1:9/parts",
    "UPLOAD_BUCKET": "uploads",
    "ARCHIVE": "true",
    "ARCHIVE_BUCKET": "archive",
    "HOT_DAYS": "0",
    "SEGMENTS_FUNCTION": "segments",
    "COMPACT_FUNCTION": "compact",
    "MEMORY_MEGABYTES": "512",
    "STORAGE_MEGABYTES": "512",
    "EVENTS_TABLE": "events",
    "STATS_TABLE": "stats",
    "USER_SHARDS": "1",
    "COUNTER_SHARDS": "1",
    "REMEMBERED_USER_DAYS": "0",
    "ACCESS_TABLE": "access",
    "SIGNING_KEY_PARAMETER": "/rollcall/signing-key",
    "KEY_RATE": "50",
    "KEY_BURST": "100",
    "LONG_REQUESTS_PER_KEY": "5",
    "CORS_ORIGINS": "",
    "DOCS": "true",
    "PAGE": "true",
    "FRAME_ANCESTORS": "",
    "UPLOAD_ORIGINS": "https://uploads.s3.us-east-1.amazonaws.com",
    "OPEN_REGISTRATION": "false",
    "ADDRESS_REQUESTS_PER_MINUTE": "20",
    "ADDRESS_BURST": "20",
    "LOGINS_PER_MINUTE": "2",
    "LOGIN_BURST": "10",
    "ACCOUNT_LOGINS_PER_HOUR": "36",
    "ACCOUNT_LOGIN_BURST": "50",
    "SESSION_DAYS": "90",
    "IMPORTS_PER_MINUTE": "10",
    "IMPORT_BURST": "30",
    "MAX_UPLOAD_MEGABYTES": "5000",
    "MAX_EXPANDED_MEGABYTES": "40000",
    "INGEST_PREFIX": "",
}

LAMBDA_CONTEXT = SimpleNamespace(
    function_name="rollcall-function",
    memory_limit_in_mb=1024,
    invoked_function_arn="arn:aws:lambda:us-east-1:000000000000:function:rollcall-function",
    aws_request_id="8f5f0d52-2bd1-4a5f-9e62-0f3f7c1d2e3a",
    get_remaining_time_in_millis=lambda: 60_000,
)

# What a call of SQS raises, by the name that it is logged under.
QUEUE_ERRORS: dict[str, Exception] = {
    "RequestThrottled": ClientError({"Error": {"Code": "RequestThrottled", "Message": ""}}, "SendMessageBatch"),
    "unknown": ClientError({}, "SendMessageBatch"),
    "EndpointConnectionError": EndpointConnectionError(endpoint_url="https://sqs.us-east-1.amazonaws.com"),
}


def create_buckets(s3: Any) -> None:
    """The buckets that the settings name."""
    for name in ("UPLOAD_BUCKET", "ARCHIVE_BUCKET"):
        s3.create_bucket(Bucket=SETTINGS[name])


def settings_for(tables: Tables, access_table: str, queue_url: str) -> dict[str, str]:
    """The settings of functions whose tables and queues are there."""
    return SETTINGS | {
        "QUEUE_URL": queue_url,
        "DEAD_LETTER_QUEUE_URL": queue_url,
        "EVENTS_TABLE": tables.events,
        "STATS_TABLE": tables.stats,
        "USER_SHARDS": str(tables.user_shards),
        "COUNTER_SHARDS": str(tables.counter_shards),
        "ACCESS_TABLE": access_table,
        "POWERTOOLS_SERVICE_NAME": uuid.uuid4().hex,
    }


def create_tables(client: Any, user_shards: int = 2, counter_shards: int = 2) -> Tables:
    """The two tables, as template.yaml describes them, under names of their own."""
    resources = _resources()
    unique = uuid.uuid4().hex[:12]
    names = {}
    for logical in ("EventsTable", "StatsTable"):
        names[logical] = f"{logical}-{unique}"
        properties = dict(resources[logical]["Properties"])
        if "GlobalSecondaryIndexes" in properties:
            properties["GlobalSecondaryIndexes"] = [
                {name: value for name, value in index.items() if name != "WarmThroughput"}
                for index in properties["GlobalSecondaryIndexes"]
            ]
        wanted = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
        client.create_table(
            TableName=names[logical], **{name: properties[name] for name in wanted if name in properties}
        )
    return Tables(names["EventsTable"], names["StatsTable"], user_shards, counter_shards)


def create_access_table(client: Any) -> str:
    """The table of who may call, as template.yaml describes it, under a name of its own."""
    properties = _resources()["AccessTable"]["Properties"]
    name = f"AccessTable-{uuid.uuid4().hex[:12]}"
    wanted = ("BillingMode", "AttributeDefinitions", "KeySchema")
    client.create_table(TableName=name, **{each: properties[each] for each in wanted})
    return name


def ingest_settings(hot_days: int = 0) -> IngestSettings:
    """Settings of the HTTP door."""
    return IngestSettings.read(SETTINGS | {"HOT_DAYS": str(hot_days)})


class OpenGate(Gate):
    """Lets everybody in, as the key `test` with every scope."""

    def __init__(self) -> None:
        """Know nobody."""

    def admit(self, *_: str, **__: str) -> tuple[Principal, Allowance]:
        limit = Limit(1, 1)
        return Principal("key test", frozenset(SCOPES), "http", ALL, None), Allowance(limit, 1, 0)

    def hold(self, *_: object) -> AbstractContextManager[bool]:
        return nullcontext(True)


def delete_tables(client: Any, tables: Tables) -> None:
    for table in (tables.events, tables.stats):
        client.delete_table(TableName=table)


@cache
def _resources() -> dict[str, Any]:
    found: dict[str, Any] = template()["Resources"]
    return found


def routes(function: str | None = None) -> set[tuple[str, str]]:
    """The paths and methods of the API, of one function's folder or of all. The method `any` is all methods."""
    return {
        (event["Properties"]["Path"], event["Properties"]["Method"])
        for resource in _resources().values()
        if function is None or resource["Properties"].get("CodeUri") == f"functions/{function}"
        for event in resource["Properties"].get("Events", {}).values()
        if event["Type"] == "Api"
    }


def whole_import(log: ImportLog, project: Project, key: str, part: FilePart) -> None:
    """Have a file taken in whole, in one part."""
    run = log.begin(project, key, 175)
    log.plan(project, key, run, 1)
    log.finish_part(project, key, run, part, [])
    log.finish(project, key, run)


def sample_event(name: str, key: str = "YOUR-API-KEY") -> dict[str, Any]:
    """One of events/*.json, with the text of an API key in its place."""
    event: dict[str, Any] = json.loads((ROOT / f"events/{name}.json").read_text().replace("YOUR-API-KEY", key))
    return event


def pass_over(_seconds: float) -> None:
    """Take no pause."""


def queued(batches: Iterable[Batch]) -> list[Event]:
    """The events of some batches, in their order."""
    return [event for batch in batches for event in batch.events]


def assert_problem(response: Any, status: int, code: str) -> dict[str, Any]:
    """Check that an answer is a problem, and return it."""
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["status"] == status
    assert problem["code"] == code
    assert problem["title"]
    assert problem["type"]
    assert problem["message"]
    return problem


def scan(client: Any, table: str) -> Iterator[dict[str, str]]:
    """Every item of a table, with its values as text."""
    for page in client.get_paginator("scan").paginate(TableName=table, ConsistentRead=True):
        for item in page["Items"]:
            yield {name: next(iter(value.values())) for name, value in item.items()}


class OnlyOf:
    """A client that scans a project's items alone, with the keys that they would have were no other project there."""

    def __init__(self, client: Any, project: Project) -> None:
        self._client = client
        self._project = project

    def get_paginator(self, _: str) -> "OnlyOf":
        return self

    def paginate(self, **request: Any) -> Iterator[dict[str, Any]]:
        for page in self._client.get_paginator("scan").paginate(**request):
            yield {"Items": [mine for item in page["Items"] if (mine := self._alone(item))]}

    def _alone(self, item: dict[str, Any]) -> dict[str, Any] | None:
        plain = dict(item)
        for name in ("pk", "event_id", "first_day"):
            if name in item:
                owner, key = split_key(item[name]["S"])
                if owner != self._project:
                    return None
                plain[name] = {"S": key}
        return plain


@dataclass
class Recount:
    """What the counters have to say, counted from the stored events alone."""

    events: int = 0
    """All of them, the profile calls too, which are in none of the others."""
    actives: dict[str, set[str]] = field(default_factory=dict)
    types: dict[str, Counter[str]] = field(default_factory=dict)
    sources: Counter[str] = field(default_factory=Counter)
    first_days: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, client: Any, tables: Tables, calendar: Calendar) -> "Recount":
        recount = cls()
        for item in scan(client, tables.events):
            day, user = calendar.day_of(item["occurred_at"]), item["user_id"]
            recount.events += 1
            if is_profile_call(item["event_type"]):
                continue
            recount.actives.setdefault(day, set()).add(user)
            recount.types.setdefault(day, Counter())[item["event_type"]] += 1
            recount.sources[item["source"]] += 1
            recount.first_days[user] = min(day, recount.first_days.get(user, day))
        return recount


class Noon(datetime):
    """A class of times whose present is noon of 2026-01-01, UTC."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "Noon":
        """The present."""
        return cls(2026, 1, 1, 12, tzinfo=UTC).astimezone(tz)


class KeptTasks(BatchQueue):
    """A queue of tasks, in a list."""

    def __init__(self) -> None:
        self.waiting: list[str] = []

    def send(self, bodies: Sequence[str], correlation_id: str) -> dict[int, str]:
        self.waiting += bodies
        return {}


class KeptDeadLetters:
    """Dead letters in a list."""

    def __init__(self) -> None:
        self.kept: list[tuple[Batch, str]] = []

    def send(self, batch: Batch, reason: str) -> None:
        self.kept.append((batch, reason))


def assert_counters_equal_recount(client: Any, tables: Tables, calendar: Calendar) -> None:
    """Every counter, first day and receipt against the stored events."""
    recount = Recount.of(client, tables, calendar)
    items = list(scan(client, tables.stats))
    actives: Counter[str] = Counter()
    types: dict[str, Counter[str]] = {}
    sources: Counter[str] = Counter()
    for item in items:
        if item["pk"].startswith("counts#"):
            actives[item["sk"]] += int(item.get("dau", 0))
            for name in item.keys() - {"pk", "sk", "dau", "left", "overflow", "processing_ms"}:
                source = counted_source(name)
                if source is None:
                    types.setdefault(item["sk"], Counter())[str(counted_type(name))] += int(item[name])
                else:
                    sources[source] += int(item[name])
        elif item["pk"].startswith("types#"):
            types.setdefault(item["pk"].split("#", 2)[2], Counter())[item["sk"]] += int(item["count"])
    assert dict(actives) == {day: len(users) for day, users in recount.actives.items()}
    assert {day: +counts for day, counts in types.items()} == recount.types
    assert sources == recount.sources
    first_days = {item["user_id"]: item["first_day"] for item in items if item["pk"].startswith("first#")}
    assert first_days == recount.first_days
    assert _inserted(items) == recount.events


def delivered(batch: Batch, number: int, key_id: str = "a" * 16, **more: Any) -> Batch:
    """A batch as a request brings it; each number is a request."""
    more = {"day": "2025-09-01", "rejected": (), "repeats": 0, **more}
    return batch._replace(delivery=Delivery(key_id, f"{number:032x}", 0, **more))


def rejected_alone(project: Project, number: int, key_id: str = "a" * 16, **more: Any) -> Batch:
    """What a request brings of which nothing was accepted."""
    return delivered(make_batch(project, (), "test", RECEIVED_AT), number, key_id, **more)


def assert_ledgers_tell_of_each_message(
    client: Any, tables: Tables, messages: Iterable[Batch], calendars: Mapping[Project, Calendar]
) -> None:
    """Each message is in its key's ledger once, with what its receipt says, and nothing else is."""
    first_parts = {item["pk"]: item for item in scan(client, tables.stats) if item["sk"] == "0"}
    expected: dict[tuple[Project, str, str], Counter[str]] = {}
    rejected: dict[tuple[Project, str], Counter[str]] = {}
    for message in {(one.delivery.delivery_id, one.delivery.part): one for one in messages if one.delivery}.values():
        assert message.delivery
        key_id, delivery_id, _, day, codes, repeats = message.delivery
        accepted = len(message.events) + repeats
        receipt = first_parts.get(receipt_key(message.project, message.batch_id), {})
        found = {name: int(receipt.get(name, 0)) for name in Receipt._fields}
        counted = found["inserted"] if receipt.get("delivery") == delivery_id else 0
        line = expected.setdefault((message.project, key_id, day), Counter())
        line.update(
            {
                "received": accepted + sum(count for _, count in codes),
                "accepted": accepted,
                "counted": counted,
                "duplicates": repeats + found["duplicates"] + found["inserted"] - counted,
                "conflicts": found["conflicts"],
                "refused": found["refused"],
            }
        )
        line.update({f"rejected {code}": count for code, count in codes})
        rejected.setdefault((message.project, key_id), Counter()).update(dict(codes))
    ledgers = Ledgers(Dynamo(client), tables)
    for (project, key_id, day), line in expected.items():
        read = ledgers.read(project, calendars[project], key_id, day, day)[day]
        assert read.received == read.accepted + sum(read.rejected.values())
        assert read.accepted == read.counted + read.duplicates + read.conflicts + read.refused
        shown = read._asdict() | {f"rejected {code}": count for code, count in read.rejected.items()}
        assert {name: count for name, count in shown.items() if name != "rejected" and count} == +line
    assert ledgers.rejections(None) == {key: +codes for key, codes in rejected.items() if +codes}
    for of in calendars:
        mine = {key: +codes for key, codes in rejected.items() if key[0] == of and +codes}
        assert ledgers.rejections(of) == mine
    lines = {
        (split_key(item["pk"])[0], item["pk"].rpartition("#")[2], item["sk"])
        for item in scan(client, tables.stats)
        if split_key(item["pk"])[1].startswith("ledger#")
    }
    assert lines == expected.keys()


def _inserted(items: list[dict[str, str]]) -> int:
    """The sum over the receipts, which have to be whole."""
    receipts: dict[str, list[dict[str, str]]] = {}
    for item in items:
        if item["pk"].startswith("batch#") and item["sk"] not in ("pending", "refused"):
            receipts.setdefault(item["pk"], []).append(item)
    inserted = 0
    for parts in receipts.values():
        parts.sort(key=lambda part: int(part["sk"]))
        assert [part["sk"] for part in parts] == [str(number) for number in range(len(parts))]
        assert all(int(before["applied"]) < int(after["applied"]) for before, after in itertools.pairwise(parts))
        first = {name: int(parts[0][name]) for name in Receipt._fields}
        assert parts[-1]["applied"] == parts[-1]["total"]
        assert first.pop("received") == sum(first.values())
        inserted += first["inserted"]
    return inserted
