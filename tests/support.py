"""What several tests need: tables as template.yaml has them, and a recount of what is stored."""

import itertools
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from rollcall.batch import Batch
from rollcall.claims import Receipt
from rollcall.days import Calendar
from rollcall.keys import Tables
from scripts.deploy import template

RECEIVED_AT = "2025-09-01T00:00:00.000Z"


def create_tables(client: Any, user_shards: int = 2, counter_shards: int = 2) -> Tables:
    """The two tables, as template.yaml describes them, under names of their own."""
    resources = _resources()
    unique = uuid.uuid4().hex[:12]
    names = {}
    for logical in ("EventsTable", "StatsTable"):
        names[logical] = f"{logical}-{unique}"
        properties = resources[logical]["Properties"]
        wanted = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
        client.create_table(
            TableName=names[logical], **{name: properties[name] for name in wanted if name in properties}
        )
    return Tables(names["EventsTable"], names["StatsTable"], user_shards, counter_shards)


@cache
def _resources() -> dict[str, Any]:
    found: dict[str, Any] = template()["Resources"]
    return found


def scan(client: Any, table: str) -> Iterator[dict[str, str]]:
    """Every item of a table, with its values as text."""
    for page in client.get_paginator("scan").paginate(TableName=table, ConsistentRead=True):
        for item in page["Items"]:
            yield {name: next(iter(value.values())) for name, value in item.items()}


@dataclass
class Recount:
    """What the counters have to say, counted from the stored events alone."""

    events: int = 0
    actives: dict[str, set[str]] = field(default_factory=dict)
    types: dict[str, Counter[str]] = field(default_factory=dict)
    first_days: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, client: Any, tables: Tables, calendar: Calendar) -> "Recount":
        recount = cls()
        for item in scan(client, tables.events):
            day, user = calendar.day_of(item["occurred_at"]), item["user_id"]
            recount.events += 1
            recount.actives.setdefault(day, set()).add(user)
            recount.types.setdefault(day, Counter())[item["event_type"]] += 1
            recount.first_days[user] = min(day, recount.first_days.get(user, day))
        return recount


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
    for item in items:
        if item["pk"].startswith("counts#"):
            actives[item["sk"]] += int(item.get("dau", 0))
            for name in item.keys() - {"pk", "sk", "dau", "overflow"}:
                types.setdefault(item["sk"], Counter())[name[1:]] += int(item[name])
        elif item["pk"].startswith("types#"):
            types.setdefault(item["pk"].split("#", 2)[2], Counter())[item["sk"]] += int(item["count"])
    assert dict(actives) == {day: len(users) for day, users in recount.actives.items()}
    assert {day: +counts for day, counts in types.items()} == recount.types
    first_days = {item["user_id"]: item["first_day"] for item in items if item["pk"].startswith("first#")}
    assert first_days == recount.first_days
    assert _inserted(items) == recount.events


def _inserted(items: list[dict[str, str]]) -> int:
    """The sum over the receipts, which have to be whole."""
    receipts: dict[str, list[dict[str, str]]] = {}
    for item in items:
        if item["pk"].startswith("batch#"):
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
