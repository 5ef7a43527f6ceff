"""What DynamoDB does and emulators do not: limits of tables and of keys, and conflicts between transactions.

`AwsLike` decides about requests, and never waits: its clock is handed to it. `Proxy` asks it in front of an emulator.
The limits are those of a new table on demand. A real table grows: it may do twice its former peak within 30 minutes,
and saves some minutes' unused units for bursts. Neither is promised, so neither is here.

A read is taken for one of up to 4 KB, and an update for one of up to 1 KB, since the stored item is not looked at.
"""

import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple

from scripts.bench.meter import write_units
from scripts.local.guard import Own

TARGET = "DynamoDB_20120810."
# As DynamoDB words them.
THROTTLED = "Throughput exceeds the current capacity of your table or index."
CONFLICT = "Transaction is ongoing for the item"

Body = dict[str, Any]
Answer = tuple[int, Body]
Forward = Callable[[Body], Answer]
_KEPT = ("Authorization", "Content-Type", "X-Amz-Target")
_WRITES = {"PutItem", "UpdateItem", "DeleteItem"}
_ASSIGNED = re.compile(r"'?\"?(\w+)\"?'?\s*[:=<>]+\s*\?")


@dataclass(frozen=True)
class Limits:
    """Units a second of a new table on demand, and how long a transaction holds its items."""

    table_writes: float = 4_000
    table_reads: float = 12_000
    key_writes: float = 1_000
    """For one value of a table's partition key, or of an index's."""
    key_reads: float = 3_000
    held_seconds: tuple[float, float] = (0.010, 0.015)


class Schema(NamedTuple):
    """The names of a table's keys, and of the partition key of its index."""

    keys: tuple[str, ...]
    index_key: str | None = None


class _Take(NamedTuple):
    """Units that a request takes from a table, an index, or a value of a partition key."""

    of: tuple[str, ...]
    units: float
    rate: float
    """Units a second that are there to be taken."""


class _Op(NamedTuple):
    """What a part of a request does to one item."""

    item: tuple[str, ...] | None
    """The item that is written; None for a read, which no transaction hinders."""
    takes: tuple[_Take, ...]


@dataclass
class AwsLike:
    """Decides what DynamoDB would throttle or let conflict. Any thread may use it.

    `schema_of` gives the schema of a table. `clock` gives seconds.
    """

    schema_of: Callable[[str], Schema]
    clock: Callable[[], float]
    limits: Limits = field(default_factory=Limits)
    answers: Counter[str] = field(default_factory=Counter)
    """The number of `transactions` that were let through, of `conflicts`, and of parts of requests `throttled`."""

    def __post_init__(self) -> None:
        """Begin with full buckets, of a second each, and nothing held."""
        self._left: dict[tuple[str, ...], tuple[float, float]] = {}
        self._held: dict[tuple[str, ...], float] = {}
        self._random = random.Random(1)  # noqa: S311 - no secret
        self._lock = threading.Lock()

    def handle(self, operation: str, body: Body, forward: Forward) -> tuple[Answer, float]:
        """Answer a request, by `forward` for what is let through.

        Returns the answer, and the time by the clock before which DynamoDB would not give it.
        """
        if operation in _WRITES:
            return self._single(body, operation, forward), 0
        if operation in ("GetItem", "Query"):
            return self._read(body, forward), 0
        if operation == "BatchGetItem":
            return self._gets(body, forward), 0
        if operation == "BatchWriteItem":
            return self._puts(body, forward), 0
        if operation == "BatchExecuteStatement":
            return self._statements(body, forward), 0
        if operation == "TransactWriteItems":
            return self._transaction(body, forward)
        return forward(body), 0

    def _single(self, body: Body, operation: str, forward: Forward) -> Answer:
        failure = self._refusal(self._write(body["TableName"], body.get("Item") or body["Key"], operation == "PutItem"))
        if failure == "TransactionConflict":
            return _error("TransactionConflictException", CONFLICT)
        return _throttling() if failure else forward(body)

    def _read(self, body: Body, forward: Forward) -> Answer:
        table = body["TableName"] + (f"/{body['IndexName']}" if "IndexName" in body else "")
        key, *_ = (body.get("Key") or body["ExpressionAttributeValues"]).values()
        op = self._reading(table, key, consistent=body.get("ConsistentRead", False))
        return _throttling() if self._refusal(op) else forward(body)

    def _gets(self, body: Body, forward: Forward) -> Answer:
        passed: Body = {}
        refused: Body = {}
        for table, asked in body["RequestItems"].items():
            name, consistent = self.schema_of(table).keys[0], asked.get("ConsistentRead", False)
            lets, leaves = self._sorted_out(
                (key, self._reading(table, key[name], consistent=consistent)) for key in asked["Keys"]
            )
            passed |= {table: {**asked, "Keys": lets}} if lets else {}
            refused |= {table: {**asked, "Keys": leaves}} if leaves else {}
        return self._partly(body, passed, refused, forward, "UnprocessedKeys")

    def _puts(self, body: Body, forward: Forward) -> Answer:
        passed: Body = {}
        refused: Body = {}
        for table, asked in body["RequestItems"].items():
            lets, leaves = self._sorted_out((part, self._part(table, part)) for part in asked)
            passed |= {table: lets} if lets else {}
            refused |= {table: leaves} if leaves else {}
        return self._partly(body, passed, refused, forward, "UnprocessedItems")

    def _part(self, table: str, part: Body) -> _Op:
        ((verb, details),) = part.items()
        return self._write(table, details.get("Item") or details["Key"], verb.startswith("Put"))

    def _sorted_out(self, parts: Iterable[tuple[Body, _Op]]) -> tuple[list[Body], list[Body]]:
        """The parts of a request that are let through, and those that are refused."""
        lets: list[Body] = []
        leaves: list[Body] = []
        for part, op in parts:
            (leaves if self._refusal(op) else lets).append(part)
        return lets, leaves

    def _partly(self, body: Body, passed: Body, refused: Body, forward: Forward, left: str) -> Answer:
        """A batch of reads or writes: what is refused is handed back as `left` undone, unless it is all."""
        if not passed:
            return _throttling()
        status, answer = forward({**body, "RequestItems": passed})
        if refused and status == 200:
            # An emulator leaves nothing undone by itself.
            answer = {**answer, left: refused}
        return status, answer

    def _statements(self, body: Body, forward: Forward) -> Answer:
        statements = body["Statements"]
        failures = [self._refusal(self._statement(each)) for each in statements]
        passed = [each for each, failure in zip(statements, failures, strict=True) if not failure]
        status, answer = forward({**body, "Statements": passed}) if passed else (200, {"Responses": []})
        if status != 200:
            return status, answer
        done = iter(answer["Responses"])
        responses = [_statement_error(failure) if failure else next(done) for failure in failures]
        return 200, {**answer, "Responses": responses}

    def _transaction(self, body: Body, forward: Forward) -> tuple[Answer, float]:
        ops = []
        for each in body["TransactItems"]:
            (details,) = each.values()
            op = self._part(details["TableName"], each)
            ops.append(op._replace(takes=tuple(take._replace(units=2 * take.units) for take in op.takes)))
        with self._lock:
            failures = [self._refused(op) for op in ops]
            until = 0.0
            if not any(failures):
                until = self.clock() + self._random.uniform(*self.limits.held_seconds)
                self._held |= {op.item: until for op in ops if op.item}
                self.answers["transactions"] += 1
        if not any(failures):
            return forward(body), until
        reasons: list[Body] = [
            {"Code": failure, "Message": CONFLICT if failure == "TransactionConflict" else THROTTLED}
            if failure
            else {"Code": "None"}
            for failure in failures
        ]
        names = ", ".join(reason["Code"] for reason in reasons)
        message = f"Transaction cancelled, please refer cancellation reasons for specific reasons [{names}]"
        return _error("TransactionCanceledException", message, CancellationReasons=reasons), 0

    def _statement(self, statement: Body) -> _Op:
        text = statement["Statement"]
        table = text.split('"')[1]
        names = _ASSIGNED.findall(text.partition("VALUE")[2] or text.partition(" SET ")[2])
        item: Body = {}
        for name, value in zip(names, statement["Parameters"], strict=True):
            item.setdefault(name, value)
        return self._write(table, item, text.startswith("INSERT"))

    def _write(self, table: str, item: Body, whole: bool) -> _Op:
        """A write of an item, all of whose attributes are known if `whole`, else its key and perhaps its index's."""
        schema, limits = self.schema_of(table), self.limits
        key = tuple(item[name]["S"] for name in schema.keys)
        units = write_units(item) if whole else 1
        takes = [
            _Take(("write", table), units, limits.table_writes),
            _Take(("write", table, key[0]), units, limits.key_writes),
        ]
        if schema.index_key and schema.index_key in item:
            index = f"{table}/index"
            takes += [
                # A changed key of an index is a deletion and an insertion.
                _Take(("write", index), units if whole else 2, limits.table_writes),
                _Take(("write", index, item[schema.index_key]["S"]), units, limits.key_writes),
            ]
        return _Op((table, *key), tuple(takes))

    def _reading(self, table: str, key: Body, *, consistent: bool) -> _Op:
        units = 1 if consistent else 0.5
        takes = (
            _Take(("read", table), units, self.limits.table_reads),
            _Take(("read", table, key["S"]), units, self.limits.key_reads),
        )
        return _Op(None, takes)

    def _refusal(self, op: _Op) -> str | None:
        with self._lock:
            return self._refused(op)

    def _refused(self, op: _Op) -> str | None:
        """The code for what DynamoDB refuses, or None. Takes the units of what it does not refuse."""
        now = self.clock()
        if op.item and self._held.get(op.item, 0) > now:
            self.answers["conflicts"] += 1
            return "TransactionConflict"
        left = {}
        for take in op.takes:
            had, then = self._left.get(take.of, (take.rate, now))
            has = min(take.rate, had + take.rate * (now - then))
            if has < take.units:
                self.answers["throttled"] += 1
                return "ThrottlingError"
            left[take.of] = (has - take.units, now)
        self._left |= left
        return None


def _error(code: str, message: str, **more: Any) -> Answer:
    return 400, {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": message, **more}


def _throttling() -> Answer:
    return _error("ThrottlingException", THROTTLED)


def _statement_error(code: str) -> Body:
    return {"Error": {"Code": code, "Message": CONFLICT if code == "TransactionConflict" else THROTTLED}}


class Proxy:
    """Stands before the DynamoDB of an emulator, whose `port` is one of 127.0.0.1, and answers as `AwsLike` says.

    `clock` gives and `sleep` takes seconds.
    """

    def __init__(
        self,
        port: int,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._port = port
        self._clock = clock
        self._sleep = sleep
        self._schemas: dict[str, Schema] = {}
        self.model = AwsLike(self._schema_of, clock, limits or Limits())
        self._server = _Server(self)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "Proxy":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, headers: Mapping[str, str], content: bytes) -> tuple[int, bytes]:
        """The answer to a request, no sooner than DynamoDB would give it."""
        operation = headers.get("X-Amz-Target", "").removeprefix(TARGET)

        def forward(body: Body) -> Answer:
            return self._send(headers, json.dumps(body).encode())

        (status, answer), until = self.model.handle(operation, json.loads(content), forward)
        if until > self._clock():
            self._sleep(until - self._clock())
        return status, json.dumps(answer).encode()

    def _send(self, headers: Mapping[str, str], content: bytes) -> Answer:
        emulator = HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            # The emulator checks no signatures, so a body may be another one than was signed.
            emulator.request("POST", "/", content, {name: headers[name] for name in _KEPT if name in headers})
            answer = emulator.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            emulator.close()

    def _schema_of(self, table: str) -> Schema:
        if table not in self._schemas:
            headers = {
                "Content-Type": "application/x-amz-json-1.0",
                "X-Amz-Target": f"{TARGET}DescribeTable",
                "Authorization": "AWS4-HMAC-SHA256 Credential=test/20250101/us-east-1/dynamodb/aws4_request",
            }
            _, answer = self._send(headers, json.dumps({"TableName": table}).encode())
            self._schemas[table] = schema_of(answer["Table"])
        return self._schemas[table]


def schema_of(table: Mapping[str, Any]) -> Schema:
    """The schema in the description of a table, by DynamoDB or by CloudFormation."""
    hashes = [
        key["AttributeName"]
        for index in table.get("GlobalSecondaryIndexes") or ()
        for key in index["KeySchema"]
        if key["KeyType"] == "HASH"
    ]
    return Schema(tuple(key["AttributeName"] for key in table["KeySchema"]), *hashes)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Each environment of a function has connections of its own.
    request_queue_size = 128

    def __init__(self, proxy: Proxy) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.proxy = proxy


class _Request(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    # Else an answer goes out in two pieces, and the second one waits for the first one's receipt.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """Answer a request."""
        refusal = Own(self.server.server_port).refusal(self.headers.items())
        if refusal is not None:
            self.close_connection = True
            self.send_error(403, refusal)
            return
        content = self.rfile.read(int(self.headers["Content-Length"]))
        status, answer = self.server.proxy.answer(dict(self.headers), content)
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def handle(self) -> None:
        """Answer the requests of a connection; a client may hang up without a word."""
        with suppress(ConnectionError):
            super().handle()

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the name that the server passes
        """Log nothing."""
