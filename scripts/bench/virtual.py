"""DynamoDB and its callers in a time of their own, which passes only while all of them wait.

What takes AWS minutes takes no longer here than its Python code, and is the same on any machine.
"""

import heapq
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

from botocore.exceptions import ClientError

from scripts.bench.aws_like import Answer, AwsLike, Body, Limits, Schema, schema_of
from scripts.local.deploy import template

# What a call within a region takes, there and back.
CALL_SECONDS = 0.005
_NAME = re.compile(r"'?(\w+)'?[:=>]\?")


class Clock:
    """A time that several threads share. One of them runs, and the others sleep."""

    def __init__(self) -> None:
        self.now = 0.0
        self._sleeping: list[tuple[float, int, threading.Event]] = []
        self._number = 0
        self._failures: list[BaseException] = []
        self._done = threading.Event()

    def sleep(self, seconds: float) -> None:
        """Sleep; another thread runs meanwhile."""
        awake = self._enter(seconds)
        self._wake_next()
        awake.wait()

    def run(self, works: Sequence[Callable[[], None]]) -> None:
        """Run each work in a thread until all are done; raises the first error of one."""
        threads = [threading.Thread(target=self._run, args=(work, self._enter(0)), daemon=True) for work in works]
        for thread in threads:
            thread.start()
        self._wake_next()
        self._done.wait()
        if self._failures:
            raise self._failures[0]

    def _run(self, work: Callable[[], None], awake: threading.Event) -> None:
        awake.wait()
        try:
            work()
        except BaseException as error:
            self._failures.append(error)
        self._wake_next()

    def _enter(self, seconds: float) -> threading.Event:
        awake = threading.Event()
        self._number += 1
        heapq.heappush(self._sleeping, (self.now + seconds, self._number, awake))
        return awake

    def _wake_next(self) -> None:
        if not self._sleeping:
            self._done.set()
            return
        self.now, _, awake = heapq.heappop(self._sleeping)
        awake.set()


class Tables:
    """As much of DynamoDB as the consumer asks for, in memory: items by table and key."""

    def __init__(self, schemas: Mapping[str, Schema]) -> None:
        self.schemas = schemas
        self.items: dict[str, dict[tuple[str, ...], Body]] = {table: {} for table in schemas}

    def answer(self, operation: str, body: Body) -> Answer:
        """The answer to a request."""
        answer: Body = getattr(self, f"_{operation}")(body)
        return (400 if "__type" in answer else 200), answer

    def _GetItem(self, body: Body) -> Body:  # noqa: N802
        item = self.items[body["TableName"]].get(self._key(body["TableName"], body["Key"]))
        return {"Item": item} if item else {}

    def _BatchGetItem(self, body: Body) -> Body:  # noqa: N802
        return {
            "Responses": {
                table: [
                    self.items[table][key]
                    for key in (self._key(table, each) for each in asked["Keys"])
                    if key in self.items[table]
                ]
                for table, asked in body["RequestItems"].items()
            }
        }

    def _BatchExecuteStatement(self, body: Body) -> Body:  # noqa: N802
        return {"Responses": [self._execute(**each) for each in body["Statements"]]}

    def _execute(self, Statement: str, Parameters: list[Body]) -> Body:  # noqa: N803
        table = Statement.split('"')[1]
        named = list(zip(_NAME.findall(Statement), Parameters, strict=True))
        key = self._key(table, dict(named))
        standing = self.items[table].get(key)
        if Statement.startswith("INSERT"):
            if standing:
                return {"Error": {"Code": "DuplicateItem"}}
            self.items[table][key] = dict(named)
            return {}
        # The one update there is sets a first day where the stored one is later.
        name, value = named[0]
        if not standing or standing[name]["S"] <= value["S"]:
            return {"Error": {"Code": "ConditionalCheckFailed"}}
        standing[name] = value
        return {}

    def _TransactWriteItems(self, body: Body) -> Body:  # noqa: N802
        put, *updates = body["TransactItems"]
        table = put["Put"]["TableName"]
        key = self._key(table, put["Put"]["Item"])
        if key in self.items[table]:
            reasons: list[Body] = [{"Code": "ConditionalCheckFailed", "Item": self.items[table][key]}]
            return {"__type": "#TransactionCanceledException", "CancellationReasons": reasons}
        self.items[table][key] = put["Put"]["Item"]
        for each in updates:
            update = each["Update"]
            item = self.items[table].setdefault(self._key(table, update["Key"]), dict(update["Key"]))
            for place, name in update["ExpressionAttributeNames"].items():
                more = int(update["ExpressionAttributeValues"][place.replace("#", ":")]["N"])
                item[name] = {"N": str(int(item.get(name, {"N": "0"})["N"]) + more)}
        return {}

    def _key(self, table: str, item: Body) -> tuple[str, ...]:
        return tuple(item[name]["S"] for name in self.schemas[table].keys)


class Client:
    """A DynamoDB client of tables in memory that are limited as AWS's are. Each call takes its time by the clock."""

    def __init__(self, clock: Clock, tables: Tables, limits: Limits | None = None) -> None:
        self.model = AwsLike(tables.schemas.__getitem__, lambda: clock.now, limits or Limits())
        self._clock = clock
        self._tables = tables

    def __getattr__(self, name: str) -> Callable[..., Any]:
        operation = "".join(word.capitalize() for word in name.split("_"))

        def call(**body: Any) -> Any:
            self._clock.sleep(CALL_SECONDS / 2)
            (status, answer), until = self.model.handle(operation, body, partial(self._tables.answer, operation))
            self._clock.sleep(max(0, until - self._clock.now) + CALL_SECONDS / 2)
            if status == 200:
                return answer
            code = answer.pop("__type").rpartition("#")[2]
            failure: Any = {**answer, "Error": {"Code": code, "Message": answer.get("message", "")}}
            raise ClientError(failure, operation)

        return call


def stack_tables() -> Tables:
    """The events and the stats table of template.yaml, under their names there, with nothing in them."""
    return Tables(_schemas())


@cache
def _schemas() -> dict[str, Schema]:
    resources = template()["Resources"]
    return {name: schema_of(resources[name]["Properties"]) for name in ("EventsTable", "StatsTable")}
