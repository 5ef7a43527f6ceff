"""Reads the ledgers of API keys, which `rollcall.counting.ledger` adds to."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from rollcall.core.days import Calendar, days_between
from rollcall.core.projects import Project
from rollcall.stack.dynamo import Dynamo, Item
from rollcall.stack.keys import (
    Tables,
    ledger_key,
    rejected_code,
    rejection_key,
    rejections_key,
    split_rejection_key,
)
from rollcall.stack.layout import check_layout


class Line(NamedTuple):
    """The events that a key delivered on a day."""

    received: int
    accepted: int
    counted: int
    """Events that this key's deliveries stored."""
    duplicates: int
    """Events that were stored before with the same content, or that a request repeats."""
    conflicts: int
    """Events whose id an event with other content took before. The first one stays."""
    refused: int
    """Events that can never be stored. The consumer sent them to the dead-letter queue."""
    rejected: dict[str, int]
    """Events that a door rejected, by code."""


class Ledgers:
    """Reads the ledgers of API keys."""

    def __init__(self, dynamo: Dynamo, tables: Tables) -> None:
        self._dynamo = dynamo
        self._tables = tables

    def read(self, project: Project, calendar: Calendar, key_id: str, first: str, last: str) -> dict[str, Line]:
        """A key's lines of each day from `first` to `last` in a project whose days `calendar` has.

        Half a read unit for each 4 KB of each shard's lines, and half a one more. Raises
        `rollcall.stack.settings.BadSetting` if there is another number of shards than the data was laid out with.
        """
        check_layout(self._dynamo, self._tables, project, calendar)
        lines = {day: Line(0, 0, 0, 0, 0, 0, {}) for day in days_between(first, last)}
        for shard in range(self._tables.counter_shards):
            for item in self._query(
                KeyConditionExpression="pk = :ledger AND sk BETWEEN :first AND :last",
                ExpressionAttributeValues={
                    ":ledger": {"S": ledger_key(project, key_id, shard)},
                    ":first": {"S": first},
                    ":last": {"S": last},
                },
            ):
                day = item["sk"]["S"]
                lines[day] = _sum(lines[day], item)
        return lines

    def rejections(self, project: Project | None) -> dict[tuple[Project, str], Counter[str]]:
        """All events that were ever rejected, by project, key and code; of one project, or of all.

        One query for each counter shard, eventually consistent: half a read unit for each 4 KB of its keys' sums.
        """
        found: dict[tuple[Project, str], Counter[str]] = {}
        for shard in range(self._tables.counter_shards):
            condition, values = "pk = :shard", {":shard": {"S": rejections_key(shard)}}
            if project is not None:
                condition += " AND begins_with(sk, :project)"
                values[":project"] = {"S": rejection_key(project)}
            for item in self._query(KeyConditionExpression=condition, ExpressionAttributeValues=values):
                found.setdefault(split_rejection_key(item["sk"]["S"]), Counter()).update(_rejected(item))
        return found

    def _query(self, **request: Any) -> Iterable[Item]:
        pages = self._dynamo.query(TableName=self._tables.stats, **request)
        return (item for page in pages for item in page)


def _sum(line: Line, item: Item) -> Line:
    counts = {name: getattr(line, name) + int(item.get(name, {"N": "0"})["N"]) for name in Line._fields[:-1]}
    return Line(**counts, rejected=dict(Counter(line.rejected) + _rejected(item)))


def _rejected(item: Item) -> Counter[str]:
    return Counter({code: int(value["N"]) for name, value in item.items() if (code := rejected_code(name))})
