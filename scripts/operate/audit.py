"""Recounts the stored events, compares the result with the counters, and repairs unfinished batches.

An unfinished batch has stored events but no complete receipt, and may never be delivered again. The audit scans both
tables. If the stack has an archive, the audit also checks that it holds each counted event. If events expire from the
table, the audit recounts them in the archive. Profile calls are in no counter; of these, the audit checks that the
archive has what the table has. Those that were counted before there were profile calls are recounted as events. Memory
holds each (day, user), (day, event type) and first day, the name of each batch, and the events of unfinished batches.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from rollcall.core.batch import Batch
from rollcall.core.days import Calendar
from rollcall.core.events import is_profile_call
from rollcall.core.projects import Project
from rollcall.counting.claims import Claims
from rollcall.counting.receipts import PROFILES, is_last, stored_event
from rollcall.operation.monitor import queue_depth
from rollcall.stack.dynamo import Dynamo, Item
from rollcall.stack.keys import (
    DAILY_ACTIVES,
    Tables,
    counted_source,
    counted_type,
    day_of_index,
    event_key,
    split_key,
)
from rollcall.stack.projects import Projects
from scripts.operate.archive import Recount, StackArchive, consumer_of
from scripts.operate.stacks import Stack

# A younger batch may still be on its way, even if the queues seem empty.
LEAST_AGE = timedelta(hours=1)
MARGIN_SECONDS = 10


class CannotRepair(Exception):
    """A batch may still be delivered or worked on; the text says what to do first."""


class Drift(NamedTuple):
    """A counter that differs from the recount of the stored events."""

    what: str
    day: str
    counted: int | str | None
    """The value in the counters."""
    stored: int | str | None
    """The value in the recount."""


@dataclass
class Audit:
    """The result of an audit."""

    events: int
    days: int
    drifts: list[Drift]
    unfinished: dict[str, list[str]]
    """The ids of the stored events of each unfinished batch, by batch id."""
    moving: int = 0
    """The number of counters that changed during the audit, and so could not be compared."""


class _Batches(NamedTuple):
    """What receipts say of batches."""

    finished: set[str]
    apart: set[str]
    """Those of them whose profile calls were stored and not counted."""

    def counted_profiles(self, batch_id: str) -> bool:
        """Whether the profile calls of a batch were counted, by a version that knew none."""
        return batch_id in self.finished and batch_id not in self.apart


class Auditor:
    """Audits a project. Consumers time out after `consumer_seconds`, and events expire after `hot_days`."""

    def __init__(
        self,
        client: Any,
        tables: Tables,
        project: Project,
        calendar: Calendar,
        consumer_seconds: float,
        archive: StackArchive | None = None,
        hot_days: int = 0,
    ) -> None:
        self._consumer_seconds = consumer_seconds
        self._archive = archive
        self._hot_days = hot_days
        self._client = client
        self.tables = tables
        self._project = project
        self._calendar = calendar

    def audit(self, day: str | None = None) -> Audit:
        """Recount one day or all days, and compare.

        Events that are counted during the scan look like drift. So if anything differs, the audit reads all again.
        A difference that is the same in both passes is drift. A difference that has changed is in `moving`.
        """
        found = self._pass(day)
        if not found.drifts and not found.unfinished:
            return found
        again = self._pass(day)
        standing = [drift for drift in again.drifts if drift in found.drifts]
        return Audit(
            again.events,
            again.days,
            standing,
            {batch_id: events for batch_id, events in again.unfinished.items() if batch_id in found.unfinished},
            moving=len(again.drifts) - len(standing),
        )

    def _pass(self, day: str | None) -> Audit:
        counted, batches = self._counted()
        stored, unfinished = self._stored(batches)
        drifts: list[Drift] = []
        if self._archive:
            archived = self._archive.figures(batches.counted_profiles)
            if self._hot_days:
                stored = archived
            else:
                drifts += _differences("archived events of type", counted.types, archived.types)
                drifts += _differences("archived profile calls of type", stored.profiles, archived.profiles)
        drifts += _drifts(counted, stored)
        days = {event_day for event_day in stored.actives if day in (None, event_day)}
        return Audit(
            sum(count for (event_day, _), count in stored.types.items() if event_day in days),
            len(days),
            sorted((drift for drift in drifts if day in (None, drift.day, drift.counted)), key=str),
            unfinished,
        )

    def _counted(self) -> tuple[Recount, _Batches]:
        """What the counters and first days say, and what the receipts say of the batches."""
        counted, batches = Recount(), _Batches(set(), set())
        for item in self._scan(self.tables.stats):
            owner, key = split_key(item["pk"]["S"])
            if owner != self._project:
                continue
            kind, _, rest = key.partition("#")
            self._count_item(kind, rest, item, counted)
            if kind == "batch" and is_last(item):
                batches.finished.add(rest)
                if PROFILES in item:
                    batches.apart.add(rest)
        return counted, batches

    def _stored(self, batches: _Batches) -> tuple[Recount, dict[str, list[str]]]:
        """A recount of the stored events, and the ids of those of each unfinished batch."""
        stored = Recount()
        users: set[tuple[str, str]] = set()
        unfinished: dict[str, list[str]] = {}
        for item in self._scan(
            self.tables.events, "event_id", "occurred_at", "user_id", "event_type", "source", "batch"
        ):
            owner, event_id = split_key(item["event_id"]["S"])
            if owner != self._project:
                continue
            day, user_id = self._calendar.day_of(item["occurred_at"]["S"]), item["user_id"]["S"]
            event_type, batch_id = item["event_type"]["S"], item["batch"]["S"]
            if batch_id not in batches.finished:
                unfinished.setdefault(batch_id, []).append(event_id)
            if is_profile_call(event_type) and not batches.counted_profiles(batch_id):
                # The archive need not have those of unfinished batches.
                stored.profiles[day, event_type] += batch_id in batches.finished
                continue
            stored.first_days[user_id] = min(day, stored.first_days.get(user_id, day))
            users.add((day, user_id))
            stored.types[day, event_type] += 1
            stored.sources[day, item["source"]["S"]] += 1
        stored.actives.update(day for day, _ in users)
        return stored, unfinished

    def repair(self, found: Audit, wait: Callable[[float], None] = time.sleep, now: datetime | None = None) -> int:
        """Count the unfinished batches; returns their number. Raises `CannotRepair`.

        Gives the batches up first, so that no consumer begins to store events under their names. Then waits for the
        timeout of consumers that began earlier, reads the stored events again, and counts them.
        """
        now = now or datetime.now(UTC)
        archive = self._archive.archive if self._archive else None
        claims = Claims(
            Dynamo(self._client),
            self.tables,
            lambda _: self._calendar,
            _NoDeadLetters(),
            archive=archive,
            hot_days=self._hot_days,
        )
        batches = [self._stored_batch(batch_id, event_ids) for batch_id, event_ids in found.unfinished.items()]
        young = sum(batch.age(now) < LEAST_AGE for batch in batches)
        if young:
            raise CannotRepair(f"{young} unfinished batches are less than an hour old; try again later")
        for batch in batches:
            claims.give_up(self._project, batch.batch_id)
        wait(self._consumer_seconds + MARGIN_SECONDS)
        stored = self._pass(None).unfinished
        for batch_id in found.unfinished.keys() & stored.keys():
            claims.repair(self._stored_batch(batch_id, stored[batch_id]))
        return len(batches)

    def _stored_batch(self, batch_id: str, event_ids: list[str]) -> Batch:
        """A batch with its stored events."""
        keys = [{"event_id": {"S": event_key(self._project, event_id)}} for event_id in event_ids]
        items = list(Dynamo(self._client).get(self.tables.events, keys, consistent=True))
        return Batch(
            project=self._project,
            batch_id=batch_id,
            source=items[0]["source"]["S"],
            received_at=max(item["received_at"]["S"] for item in items),
            events=tuple(stored_event(self._project, item) for item in items),
        )

    def _count_item(self, kind: str, rest: str, item: Item, counted: Recount) -> None:
        if kind == "counts":
            day = item["sk"]["S"]
            for attribute, value in item.items():
                event_type, source = counted_type(attribute), counted_source(attribute)
                if attribute == DAILY_ACTIVES:
                    counted.actives[day] += int(value["N"])
                elif event_type is not None:
                    counted.types[day, event_type] += int(value["N"])
                elif source is not None:
                    counted.sources[day, source] += int(value["N"])
        elif kind == "types":
            counted.types[rest.partition("#")[2], item["sk"]["S"]] += int(item["count"]["N"])
        elif kind == "first":
            counted.first_days[item["user_id"]["S"]] = day_of_index(self._project, item["first_day"]["S"])

    def _scan(self, table: str, *attributes: str) -> Iterator[Item]:
        projection: dict[str, Any] = {}
        if attributes:
            names = {f"#{number}": name for number, name in enumerate(attributes)}
            projection = {"ProjectionExpression": ",".join(names), "ExpressionAttributeNames": names}
        for page in self._client.get_paginator("scan").paginate(TableName=table, ConsistentRead=True, **projection):
            yield from page["Items"]


def of_stack(stack: Stack, project: Project) -> Auditor:
    """The auditor of a project in a deployed stack, with the settings of the stack's functions."""
    settings, seconds = consumer_of(stack)
    archive = StackArchive.of(stack, project) if settings.archive_bucket else None
    client = stack.client("dynamodb")
    calendar = Projects(Dynamo(client), settings.tables.stats, settings.calendar).calendar(project)
    return Auditor(client, settings.tables, project, calendar, seconds, archive, settings.hot_days)


def refuse_deliverable(stack: Stack) -> None:
    """Raise `CannotRepair` if a queue holds messages, because those may finish batches."""
    for queue, hint in (
        ("UploadQueueUrl", "wait until it is empty"),
        ("ImportQueueUrl", "wait until it is empty"),
        ("FailedImportsQueueUrl", "redrive it first"),
        ("BatchQueueUrl", "wait until it is empty"),
        ("DeadLetterQueueUrl", "redrive it first"),
    ):
        waiting = queue_depth(stack.client("sqs"), stack.output(queue))
        if waiting:
            raise CannotRepair(f"{queue.removesuffix('Url')} holds {waiting} messages that may finish batches; {hint}")


class _NoDeadLetters:
    def send(self, batch: Batch, reason: str) -> None:
        """Events that are stored were not refused, so this is never called."""
        raise RuntimeError(f"a stored event of batch {batch.batch_id} cannot be stored: {reason}")


def _drifts(counted: Recount, stored: Recount) -> Iterator[Drift]:
    for day in counted.actives.keys() | stored.actives.keys():
        if counted.actives[day] != stored.actives[day]:
            yield Drift("daily actives", day, counted.actives[day], stored.actives[day])
    yield from _differences("event type", counted.types, stored.types)
    yield from _differences("source", counted.sources, stored.sources)
    for user_id in counted.first_days.keys() | stored.first_days.keys():
        ours, theirs = counted.first_days.get(user_id), stored.first_days.get(user_id)
        if ours != theirs:
            yield Drift(f"first day of user {user_id}", theirs or ours or "", ours, theirs)


def _differences(what: str, counted: Counter[tuple[str, str]], stored: Counter[tuple[str, str]]) -> Iterator[Drift]:
    for day, name in counted.keys() | stored.keys():
        if counted[day, name] != stored[day, name]:
            yield Drift(f"{what} {name}", day, counted[day, name], stored[day, name])
