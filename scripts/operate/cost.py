"""What a load costs on AWS: on demand, without the free tier, at the prices in `prices.json`.

The billed units follow from the code; comments name the file and function. A number that the code does not show is a
constant with a comment. The estimate assumes that the archive is on, that every event is new and sound, that each batch
has events of one day, and that the load is steady over the day. It leaves out data transfer of the answers, storage of
the logs, cold starts, logins and reads of the archive: under a steady load, each is less than a fiftieth of the rest.
No key of KMS is billed: the tables and queues are encrypted by keys that AWS owns, the buckets by those of S3.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from rollcall.archive.backlog import EVERY_BATCHES
from rollcall.archive.bundling import LEAST_BATCHES
from rollcall.core.batch import MAX_BATCH_EVENTS, encode, make_batch
from rollcall.core.events import parse_event
from rollcall.core.projects import DEFAULT
from rollcall.counting.counters import MAX_WRITES, Vocabulary
from rollcall.files.planner import PIECE_BYTES
from rollcall.stack.dynamo import FIRST_BACKOFF_SECONDS, KEYS_PER_CALL, STATEMENTS_PER_CALL
from rollcall.stack.queues import BYTES_PER_CALL, MESSAGES_PER_CALL
from scripts.local import deploy, sample

PRICES_FILE = Path(__file__).parent / "prices.json"
MILLION = 1_000_000
KB = 1024
GB = 1024**3
# A twelfth of a year. Prices are by the month, and months differ in length by a tenth.
DAYS_A_MONTH = 365 / 12
HOURS_A_MONTH = DAYS_A_MONTH * 24
MINUTES_A_MONTH = HOURS_A_MONTH * 60
SECONDS_A_DAY = 24 * 60 * 60

# SQS bills each 64 KB of a request's payload as one request (Amazon SQS Pricing).
SQS_CHUNK_BYTES = 64 * KB
# Lambda polls a queue with five pollers, for 20 seconds at a time. It would use two for a mapping without
# MaximumConcurrency, but ours have one (AWS Lambda Developer Guide, scaling of SQS event source mappings).
POLLERS = 5
POLLS_A_MINUTE = 3

# CPU on a whole core. Ingest was measured at 14 on x86_64: to check, cut and encode 500 events of JSON.
INGEST_MICROSECONDS = 20.0
CONSUMER_MICROSECONDS = 40.0
# Compaction takes 15 to read an event once, and 2.5 to sort and write it again in each later run of the same day
# (measured on x86_64). A run that finds no batches only starts, lists and ends.
COMPACTION_MICROSECONDS = 45.0
COMPACTION_RUN_SECONDS = 2.0
# To get a batch's object and write it to a file (measured on x86_64). The threads share a core.
COMPACTED_BATCH_MICROSECONDS = 3_000.0
# A run of bundling starts and lists the batches, and mostly ends there. A guess.
BUNDLING_RUN_SECONDS = 0.2
# For each bundle: a LIST of the batches, one for each of three tiers, and a PUT. The lease is taken, kept and returned.
PUTS_A_BUNDLE = 5
LEASE_WRITES_A_BUNDLE = 3
# The line of the key's day, of less than a KB.
LEDGER_UNITS = 2
# How long a run waits for S3 for each bundle: to get its objects, 16 at a time, and for the requests above. A guess.
BUNDLE_SECONDS = 1.0
# The objects in an answer to a LIST (Amazon S3 API Reference).
KEYS_PER_LIST = 1_000
# For FastAPI and Mangum, for a request of any size. A high guess.
REQUEST_CPU_MICROSECONDS = 3_000.0
# A function with this many MB has a whole core. One with less has a proportional share (AWS Lambda Developer Guide).
MEGABYTES_A_CORE = 1_769
# How long a function waits for an answer of DynamoDB or SQS. Reads take about 5 ms; batches of 25 writes and
# transactions take about 15. They are made one after the other, so waiting takes most of an invocation, not the CPU.
WAIT_MILLISECONDS = 15.0
# How long the consumer waits for S3 to put a batch's object. A guess: small PUTs take some tens of milliseconds.
PUT_MILLISECONDS = 30.0
# The largest share of the time that a shard's counter item may be held by a transaction. Retries keep up no longer if
# it is more, so that a stack with more batches gets more shards.
MOST_BUSY = 0.5
# If messages come faster than the consumers take them, Lambda delivers several at a time, which is cheaper.
MESSAGES_AN_INVOCATION = 1
# For GET /stats/*, which reads with 16 threads.
READ_MILLISECONDS = 50.0

# Measured: the lines that a handler writes with Powertools' Logger and Metrics, with names and ids of a real stack.
REQUEST_LINE_BYTES = 500
INGEST_METRICS_BYTES = 210
BATCH_LINE_BYTES = 600
BUNDLING_LINE_BYTES = 420
CONSUMER_METRICS_BYTES = 330
# What the run that keeps days reads of a stack without events: its projects, and how each is laid out.
KEEPING_READ_UNITS = 4
COMPACTION_LINE_BYTES = 450
# The lines platform.start and platform.report in JSON, which Lambda writes for each invocation if `SystemLogLevel` is
# INFO. At WARN it writes only about what fails (AWS Lambda Developer Guide, log-level filtering).
LAMBDA_LINES_BYTES = 360
# CloudWatch bills a metric for the hours in which it is emitted. Each has one dimension. The functions emit no zeros.
# In an hour with a request: by ingest, then by the consumer.
METRICS_OF_EVENTS = ("EventsAccepted", "BatchAge", "BatchesApplied", "EventsInserted")
# In an hour after it.
METRICS_OF_COMPACTION = ("BatchesCompacted", "RowsCompacted", "DaysWritten")
METRICS_OF_UPLOADS = ("RowsAccepted",)
METRICS_OF_CONFLICTS = ("TransactionConflicts",)
# In an hour in which something is not as the estimate assumes; it leaves them out.
OTHER_METRICS = (
    *("EventsRejected", "RowsRejected", "EventsDuplicates", "EventsConflicts", "EventsRefused", "BatchesRepeated"),
    *("ClaimRetries", "CompactionConflicts", "MessagesFailed", "MessagesUndecodable"),
)

# Sizes of stored items, measured on sample events. DynamoDB adds 100 bytes to each (Developer Guide, item sizes).
ITEM_OVERHEAD_BYTES = 100
EVENT_BYTES = 275
USER_DAY_BYTES = 64
FIRST_DAY_BYTES = 47
RECEIPT_BYTES = 118
PENDING_BYTES = 66
# The size of an event in the archive after compaction, as `rollcall bench archive` measures it.
ARCHIVED_BYTES = 36
# The size of a day's counter item without the event types: key, daily actives, processing time and source.
OTHER_COUNTERS_BYTES = 100
TYPE_NAME_BYTES = 16

# The share of a day's users who are new. A product with this share replaces its users within some weeks.
NEW_USER_SHARE = 0.05
# The days that `rollcall stats` asks for, and that a scrape of GET /metrics reads.
READ_DAYS = 30
SCRAPED_DAYS = 365


class UnknownPrice(LookupError):
    """The table has no price of this name."""


class Part(StrEnum):
    """What a line of the estimate pays for."""

    INTAKE = "taking in"
    """Paid once for each event, from the request to the counters."""
    READS = "reading"
    STORAGE = "keeping"
    """Paid each month, for storing the events of one month."""
    STANDING = "standing"
    """Paid each month, however many events come."""


@dataclass(frozen=True)
class Price:
    """A price: `per` units cost `dollars`. `page` is the AWS page, and `checked` the date it was read."""

    dollars: float
    per: float
    unit: str
    page: str
    checked: str


@dataclass(frozen=True)
class Prices:
    """The prices of one region on one date."""

    date: str
    region: str
    table: Mapping[str, Price]

    def __getitem__(self, name: str) -> Price:
        try:
            return self.table[name]
        except KeyError:
            raise UnknownPrice(f"there is no price {name}") from None

    @classmethod
    def read(cls, path: Path = PRICES_FILE) -> "Prices":
        """Read the prices in a file."""
        whole = json.loads(path.read_text())
        return cls(whole["date"], whole["region"], {name: Price(**price) for name, price in whole["prices"].items()})


@dataclass(frozen=True)
class Stack:
    """The properties of template.yaml that affect the cost."""

    memory: Mapping[str, int]
    """Memory in MB, by function."""
    consumers: int
    """The most consumers that run at the same time."""
    counter_shards: int
    upload_days: int
    polled_queues: int
    alarm_metrics: int
    dashboards: int
    lambda_lines: bool
    """Whether Lambda logs each invocation."""

    @classmethod
    def of_template(cls, template: Mapping[str, Any]) -> "Stack":
        """The stack of a template, with the defaults of its parameters."""
        defaults = {name: parameter.get("Default") for name, parameter in template["Parameters"].items()}
        functions = _of_type(template, "AWS::Serverless::Function")
        memory = template["Globals"]["Function"]["MemorySize"]
        return cls(
            memory={
                name: int(_default(properties.get("MemorySize", memory), defaults))
                for name, properties in functions.items()
            },
            consumers=int(defaults["ConsumerConcurrency"]),
            counter_shards=int(defaults["CounterShards"]),
            upload_days=int(defaults["UploadRetentionDays"]),
            polled_queues=sum(
                source["Type"] == "SQS"
                for properties in functions.values()
                for source in properties.get("Events", {}).values()
            ),
            # An alarm on a computed value is billed for each metric in the computation.
            alarm_metrics=sum(
                sum("MetricStat" in metric for metric in alarm.get("Metrics", ())) or 1
                for alarm in _of_type(template, "AWS::CloudWatch::Alarm").values()
            ),
            dashboards=len(_of_type(template, "AWS::CloudWatch::Dashboard")),
            lambda_lines=defaults["SystemLogLevel"] != "WARN",
        )


def _default(value: Any, defaults: Mapping[str, Any]) -> Any:
    """A value in the template; for a parameter, its default."""
    return defaults[value["Ref"]] if isinstance(value, dict) else value


def _of_type(template: Mapping[str, Any], kind: str) -> dict[str, Mapping[str, Any]]:
    return {
        name: resource["Properties"] for name, resource in template["Resources"].items() if resource["Type"] == kind
    }


@dataclass(frozen=True)
class Load:
    """What a stack has to do on a day. A load without events, requests and uploads is an idle stack's.

    Events come by POST /events, `batch_size` in a request. Each user has at least one event. The microseconds are CPU
    time for an event.
    """

    events: int
    users: int
    """Users who are active on the day. Each makes a new (day, user) pair."""
    batch_size: int = 500
    event_types: int = 20
    requests: int = 0
    """Requests to GET /stats/*."""
    scrapes: int = 0
    """Requests to GET /metrics."""
    uploaded_gb: float = 0.0
    """Gigabytes of uploaded files. Their events are included in `events`."""
    ingest_microseconds: float = INGEST_MICROSECONDS
    consumer_microseconds: float = CONSUMER_MICROSECONDS


@dataclass(frozen=True)
class BatchUnits:
    """The billed units of one POST /events, from the request to the counters and the archive's file of the day."""

    write_units: float
    read_units: float
    sqs_requests: int
    ingest_gb_seconds: float
    consumer_gb_seconds: float
    invocations: float
    log_bytes: float
    s3_puts: float
    s3_gets: float
    compaction_gb_seconds: float


@dataclass(frozen=True)
class Line:
    """A line of an estimate: the `quantity` of units in a month."""

    service: str
    what: str
    part: Part
    quantity: float
    price: Price

    @property
    def dollars(self) -> float:
        """Dollars a month."""
        return self.quantity * self.price.dollars / self.price.per


@dataclass(frozen=True)
class Estimate:
    """The estimate for a month."""

    lines: list[Line]
    events: float = 0.0
    """The number of events in the month; 0 for an idle stack."""

    def dollars(self, *parts: Part, service: str | None = None) -> float:
        """Dollars a month, for the given parts or for all."""
        return sum(
            line.dollars
            for line in self.lines
            if line.part in (parts or tuple(Part)) and service in (None, line.service)
        )

    def per_million(self, *parts: Part, service: str | None = None) -> float:
        """Dollars for each million events, for the given parts or for all."""
        return self.dollars(*parts, service=service) / self.events * MILLION

    def services(self, *parts: Part) -> dict[str, float]:
        """Dollars a month by service, the dearest first."""
        names = dict.fromkeys(line.service for line in self.lines)
        found = {name: self.dollars(*parts, service=name) for name in names}
        return dict(sorted(found.items(), key=lambda entry: -entry[1]))

    def dearest(self) -> Line:
        """The line that costs most."""
        return max(self.lines, key=lambda line: line.dollars)


def estimate(load: Load, stack: Stack, prices: Prices) -> Estimate:
    """The estimate for a month in which each day has this load."""
    if load.users > load.events:
        raise ValueError("a user who is active on a day has at least one event; there are more users than events")
    events = load.events * DAYS_A_MONTH
    return Estimate(
        [
            *(_intake(load, stack, prices) if events else ()),
            *_reads(load, stack, prices),
            *_storage(load, stack, prices),
            Line("CloudWatch", "custom metrics", Part.STANDING, metric_months(load, stack), prices["custom_metrics"]),
            *_standing(load, stack, prices),
        ],
        events,
    )


def idle(stack: Stack, prices: Prices) -> Estimate:
    """The estimate for a month without requests, for a stack that stores nothing."""
    return Estimate([line for line in estimate(Load(0, 0), stack, prices).lines if line.quantity])


def metric_months(load: Load, stack: Stack) -> float:
    """The custom metrics that a load has emitted, each for the share of the hours in which it is emitted."""
    if not load.events:
        return 0.0
    requests_an_hour = load.events / load.batch_size / 24
    conflicts_an_hour = requests_an_hour * len(_messages(load.batch_size)) * conflicts(load, stack)
    metrics = len(METRICS_OF_EVENTS) + len(METRICS_OF_COMPACTION) + len(METRICS_OF_UPLOADS) * (load.uploaded_gb > 0)
    return metrics * min(1.0, requests_an_hour) + len(METRICS_OF_CONFLICTS) * min(1.0, conflicts_an_hour)


def conflicts(load: Load, stack: Stack) -> float:
    """The transactions of a batch, on average, that DynamoDB cancels since another one holds the day's counter item.

    Transactions of a steady load come at random. So one is cancelled with the probability that its shard's item is
    held, and so is each retry.
    """
    batches = load.events / load.batch_size * len(_messages(load.batch_size))
    busy = batches / SECONDS_A_DAY * WAIT_MILLISECONDS / 1000 / stack.counter_shards
    busy = min(MOST_BUSY, busy)
    return busy / (1 - busy)


def _intake(load: Load, stack: Stack, prices: Prices) -> Iterator[Line]:
    requests = load.events * DAYS_A_MONTH / load.batch_size
    units = batch_units(load, stack)

    def line(service: str, what: str, quantity: float, price: str) -> Line:
        return Line(service, what, Part.INTAKE, requests * quantity, prices[price])

    yield line("API Gateway", "requests", 1, "api_gateway_requests")
    yield line("Lambda", "ingest", units.ingest_gb_seconds, "lambda_gb_seconds")
    yield line("Lambda", "consumer", units.consumer_gb_seconds, "lambda_gb_seconds")
    yield line("Lambda", "invocations", units.invocations, "lambda_requests")
    yield line("SQS", "send, receive, delete", units.sqs_requests, "sqs_requests")
    yield line("DynamoDB", "writes", units.write_units, "dynamodb_write_units")
    yield line("DynamoDB", "reads", units.read_units, "dynamodb_read_units")
    yield line("CloudWatch Logs", "ingestion", units.log_bytes / GB, "log_ingestion")
    yield line("S3", "archive, PUT and LIST", units.s3_puts, "s3_puts")
    yield line("S3", "compaction, GET", units.s3_gets, "s3_gets")
    yield line("Lambda", "compaction", units.compaction_gb_seconds, "lambda_gb_seconds")


def batch_units(load: Load, stack: Stack) -> BatchUnits:
    """The billed units of one POST /events of a load, with the consumer's work on its events."""
    sizes = _messages(load.batch_size)
    user_days = load.users / load.events
    # Each consumer reads a pair once, when it first meets the pair (claims.py, _claim_pairs). A pair's events reach the
    # consumers at random, so on average this many consumers meet it. That all consumers run is the dearest case.
    met_by = stack.consumers * (1 - (1 - 1 / stack.consumers) ** (1 / user_days))
    new_users = user_days * NEW_USER_SHARE
    cancelled = conflicts(load, stack)
    consumer_seconds = 0.0
    for size in sizes:
        unknown, new = size * user_days * met_by, size * user_days
        # The receipt, the events, the pairs, the first days, the transaction (claims.py).
        answers = (
            2
            + math.ceil(size / STATEMENTS_PER_CALL)
            + _calls(unknown, KEYS_PER_CALL)
            + _calls(new, STATEMENTS_PER_CALL)
            + _calls(new, KEYS_PER_CALL)
            + _calls(size * new_users, STATEMENTS_PER_CALL)
            # The archive (bucket.py), and the transactions that are cancelled, each with its pause (dynamo.py).
            + PUT_MILLISECONDS / WAIT_MILLISECONDS
            + cancelled * (1 + FIRST_BACKOFF_SECONDS * 1000 / 2 / WAIT_MILLISECONDS)
        )
        consumer_seconds += seconds(size * load.consumer_microseconds, answers, stack.memory["ConsumerFunction"])
    sends = _sends([_encoded_bytes(size) for size in sizes])
    # Two of the gate (gate.py), those of the queue, and the pending marks (receipts.py).
    ingest_cpu = REQUEST_CPU_MICROSECONDS + load.batch_size * load.ingest_microseconds
    ingest_seconds = seconds(ingest_cpu, 3 + len(sends), stack.memory["IngestFunction"])
    consumed = len(sizes) / MESSAGES_AN_INVOCATION
    # That every batch is bundled is the dearest case: with fewer than `LEAST_BATCHES` an hour, none is.
    bundling_runs, bundles = len(sizes) / EVERY_BATCHES, len(sizes) / LEAST_BATCHES
    compaction_cpu = load.batch_size * COMPACTION_MICROSECONDS + len(sizes) * COMPACTED_BATCH_MICROSECONDS
    compaction_memory = stack.memory["CompactFunction"]
    compaction_seconds = seconds(compaction_cpu, 0, compaction_memory)
    compaction_seconds += bundling_runs * BUNDLING_RUN_SECONDS + bundles * BUNDLE_SECONDS
    lambda_lines = LAMBDA_LINES_BYTES if stack.lambda_lines else 0
    return BatchUnits(
        # The gate takes a token (gate.py). A write unit is for 1 KB; an event has a quarter of that.
        write_units=1
        + load.batch_size * (1 + user_days + 2 * new_users)
        # The mark, the transaction with the line of the ledger (ledger.py), and those before it that were cancelled:
        # AWS does not say that they are free.
        + sum(1 + (1 + cancelled) * (transaction_units(size, load.event_types) + LEDGER_UNITS) for size in sizes)
        + bundles * LEASE_WRITES_A_BUNDLE,
        # 1 for the gate; 1 for the receipt of each batch (claims.py, _first_part), and 1 when it is bundled or
        # compacted (receipts.py, finished); a half for each pair that a consumer does not remember; a half for the
        # first day of each new pair.
        read_units=1 + 2 * len(sizes) + load.batch_size * user_days * (met_by + 1) / 2,
        # A message is received with its body, and deleted without it.
        sqs_requests=sum(map(_chunks, sends)) + sum(_chunks(_encoded_bytes(size)) + 1 for size in sizes),
        ingest_gb_seconds=ingest_seconds * stack.memory["IngestFunction"] / KB,
        consumer_gb_seconds=consumer_seconds * stack.memory["ConsumerFunction"] / KB,
        invocations=1 + consumed + bundling_runs,
        log_bytes=REQUEST_LINE_BYTES
        + INGEST_METRICS_BYTES
        + lambda_lines
        + len(sizes) * BATCH_LINE_BYTES
        + consumed * (CONSUMER_METRICS_BYTES + lambda_lines)
        + bundles * BUNDLING_LINE_BYTES
        + bundling_runs * lambda_lines,
        # An object for each batch (claims.py), which bundling or compaction lists and gets (bundling.py,
        # compaction.py); and each bundle, which is got twice, for a larger one and for the days. Deleting is free.
        s3_puts=len(sizes) * (1 + 1 / KEYS_PER_LIST) + bundling_runs + bundles * PUTS_A_BUNDLE,
        s3_gets=len(sizes) + 2 * bundles,
        compaction_gb_seconds=compaction_seconds * compaction_memory / KB,
    )


def transaction_units(events: int, event_types: int) -> int:
    """The write units of the transactions that count a batch of one day, as counters.py splits them.

    Two for the receipt, two for each KB of the day's counter item, and two for each event type that has an item of its
    own.
    """
    size, inline = _counters(event_types)
    overflow = min(event_types - inline, events)
    # Each transaction updates the day's item, which counts the types that overflow.
    transactions = max(1, math.ceil(overflow / (MAX_WRITES - 1)))
    return transactions * (2 + 2 * math.ceil(size / KB)) + 2 * overflow


def _counters(event_types: int) -> tuple[int, int]:
    """The size of a day's counter item in bytes, and the number of event types in it."""
    vocabulary = Vocabulary()
    inline = sum(vocabulary.admit(f"{number:0{TYPE_NAME_BYTES}}") for number in range(event_types))
    return OTHER_COUNTERS_BYTES + vocabulary.size + inline, inline


def _reads(load: Load, stack: Stack, prices: Prices) -> Iterator[Line]:
    size, _ = _counters(load.event_types)
    # A query for each shard: strongly consistent for answers, eventually consistent for scrapes (from_counters.py).
    read_units = stack.counter_shards * math.ceil(READ_DAYS * size / (4 * KB))
    scrape_units = stack.counter_shards * math.ceil(SCRAPED_DAYS * size / (4 * KB)) / 2
    requests = load.requests + load.scrapes
    taken = READ_MILLISECONDS / 1000 + seconds(REQUEST_CPU_MICROSECONDS, 2, stack.memory["StatsFunction"])
    gb_seconds = taken * stack.memory["StatsFunction"] / KB
    log_bytes = REQUEST_LINE_BYTES + (LAMBDA_LINES_BYTES if stack.lambda_lines else 0)

    def line(service: str, what: str, quantity: float, price: str) -> Line:
        return Line(service, what, Part.READS, quantity * DAYS_A_MONTH, prices[price])

    yield line("API Gateway", "requests", requests, "api_gateway_requests")
    yield line("Lambda", "stats", requests * gb_seconds, "lambda_gb_seconds")
    yield line("Lambda", "invocations", requests, "lambda_requests")
    # The units of the gate, which every route takes.
    yield line("DynamoDB", "writes", requests, "dynamodb_write_units")
    asked = requests + load.requests * read_units + load.scrapes * scrape_units
    yield line("DynamoDB", "reads", asked, "dynamodb_read_units")
    yield line("CloudWatch Logs", "ingestion", requests * log_bytes / GB, "log_ingestion")
    # At most one for each scrape: asked for only while batches wait (monitor.py).
    yield line("CloudWatch", "metrics asked for", load.scrapes, "metrics_read")


def _storage(load: Load, stack: Stack, prices: Prices) -> Iterator[Line]:
    requests = load.events / load.batch_size
    items = (
        (load.events, EVENT_BYTES),
        (load.users, USER_DAY_BYTES),
        (load.users * NEW_USER_SHARE, FIRST_DAY_BYTES),
        (requests * len(_messages(load.batch_size)), RECEIPT_BYTES + PENDING_BYTES + ITEM_OVERHEAD_BYTES),
    )
    stored = sum(count * (size + ITEM_OVERHEAD_BYTES) for count, size in items) * DAYS_A_MONTH / GB
    # Point-in-time recovery is billed for the tables without their indexes (Developer Guide).
    yield Line("DynamoDB", "storage", Part.STORAGE, stored, prices["dynamodb_storage"])
    # The index `first_day` has all four attributes of a user's item: the table's keys and its own.
    index = load.users * NEW_USER_SHARE * (FIRST_DAY_BYTES + ITEM_OVERHEAD_BYTES) * DAYS_A_MONTH / GB
    yield Line("DynamoDB", "index's storage", Part.STORAGE, index, prices["dynamodb_storage"])
    yield Line("DynamoDB", "recovery", Part.STORAGE, stored, prices["dynamodb_recovery"])
    kept = load.uploaded_gb * stack.upload_days
    yield Line("S3", "uploads", Part.STORAGE, kept, prices["s3_storage"])
    archived = load.events * DAYS_A_MONTH * ARCHIVED_BYTES / GB
    yield Line("S3", "archive", Part.STORAGE, archived, prices["s3_storage"])
    # The planner puts the expanded parts of a gzip file in S3. That all files are gzip is the dearest case.
    pieces = load.uploaded_gb * DAYS_A_MONTH * GB / PIECE_BYTES
    yield Line("S3", "requests", Part.STORAGE, pieces, prices["s3_puts"])


def _standing(load: Load, stack: Stack, prices: Prices) -> Iterator[Line]:
    polls = stack.polled_queues * POLLERS * POLLS_A_MINUTE * MINUTES_A_MONTH
    yield Line("SQS", "polling by Lambda", Part.STANDING, polls, prices["sqs_requests"])
    # Compaction runs each hour, batches or none. It lists them, and after an hour with events it gets and puts the
    # day's file.
    days = HOURS_A_MONTH * min(1.0, load.events / load.batch_size / 24)
    gb_seconds = HOURS_A_MONTH * COMPACTION_RUN_SECONDS * stack.memory["CompactFunction"] / KB
    log_bytes = COMPACTION_LINE_BYTES + (LAMBDA_LINES_BYTES if stack.lambda_lines else 0)
    for service, what, quantity, price in (
        ("Lambda", "compaction, each hour", gb_seconds, "lambda_gb_seconds"),
        ("Lambda", "compaction, invocations", HOURS_A_MONTH, "lambda_requests"),
        ("S3", "compaction, LIST and PUT", HOURS_A_MONTH + days, "s3_puts"),
        ("S3", "compaction, GET", days, "s3_gets"),
        ("DynamoDB", "keeping days, projects", HOURS_A_MONTH * KEEPING_READ_UNITS, "dynamodb_read_units"),
        ("CloudWatch Logs", "ingestion of compaction", HOURS_A_MONTH * log_bytes / GB, "log_ingestion"),
    ):
        yield Line(service, what, Part.STANDING, quantity, prices[price])
    yield Line("CloudWatch", "alarms", Part.STANDING, stack.alarm_metrics, prices["alarm_metrics"])
    yield Line("CloudWatch", "dashboard", Part.STANDING, stack.dashboards, prices["dashboards"])


def of_batch_size(batch_size: int, stack: Stack, prices: Prices) -> Estimate:
    """The estimate for a million events a day, `batch_size` in a request, with a new (day, user) pair for each 10."""
    return estimate(Load(MILLION, MILLION // 10, batch_size), stack, prices)


def stack_of_this_version() -> Stack:
    """The stack of template.yaml in the checkout."""
    return Stack.of_template(deploy.template())


def _messages(events: int) -> list[int]:
    """The number of events in each message of a request."""
    whole, rest = divmod(events, MAX_BATCH_EVENTS)
    return [MAX_BATCH_EVENTS] * whole + [rest] * bool(rest)


@cache
def _encoded_bytes(events: int) -> int:
    """The measured size of a message body with this number of sample events."""
    day = date(2026, 11, 21)
    now = datetime.fromisoformat("2026-11-22T00:00:00+00:00")
    made = sample.generate(events, max(1, events // 10), 1, day, 1)
    received_at = (now + timedelta(microseconds=1)).isoformat(timespec="microseconds")
    return len(encode(make_batch(DEFAULT, [parse_event(raw, now) for raw in made], "http", received_at)))


def _sends(sizes: list[int]) -> list[int]:
    """The bytes in each call that sends messages of these sizes, as queues.py fills the calls."""
    calls: list[list[int]] = []
    for size in sizes:
        if calls and len(calls[-1]) < MESSAGES_PER_CALL and sum(calls[-1]) + size <= BYTES_PER_CALL - 10 * KB:
            calls[-1].append(size)
        else:
            calls.append([size])
    return [sum(call) for call in calls]


def _chunks(size: int) -> int:
    return math.ceil(size / SQS_CHUNK_BYTES)


def _calls(expected: float, size: int) -> float:
    """The calls for `expected` things, `size` in a call. If fewer than 1 is expected, there is often no call."""
    return expected if expected < 1 else math.ceil(expected / size)


def seconds(cpu_microseconds: float, answers: float, megabytes: int) -> float:
    """Seconds of an invocation that waits for `answers`, one after the other."""
    cores = min(1.0, megabytes / MEGABYTES_A_CORE)
    return cpu_microseconds / cores / MILLION + answers * WAIT_MILLISECONDS / 1000
