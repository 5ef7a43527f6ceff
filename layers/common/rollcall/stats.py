"""Answers from the aggregates. What one costs depends on its days, shards and event types, never on the events."""

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rollcall.answers import DailyActives, EventCount, Retention, Window
from rollcall.days import Calendar, add_days, days_between
from rollcall.dynamo import Dynamo, Item
from rollcall.keys import (
    DAILY_ACTIVES,
    OVERFLOW,
    PROCESSING,
    Tables,
    counted_source,
    counted_type,
    counts_key,
    overflow_key,
    shard_of,
    users_key,
)
from rollcall.layout import check_layout

READERS = 16


class Stats:
    """Reads the stats table, which has to be laid out as `tables` and `calendar` say; else `BadSetting` is raised."""

    def __init__(self, dynamo: Dynamo, tables: Tables, calendar: Calendar) -> None:
        self._dynamo = dynamo
        self._tables = tables
        self._calendar = calendar
        self._checked = False
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="stats")

    def daily_actives(self, first: str, last: str) -> list[DailyActives]:
        """Daily actives of each day from `first` to `last`, both inclusive, days without events at 0.

        Reads one item for each day and counter shard, strongly consistent: a read unit for each 4 KB of a shard.
        """
        self._check_layout()
        actives: Counter[str] = Counter()
        for item in self._counters(first, last, [DAILY_ACTIVES]):
            if DAILY_ACTIVES in item:
                actives[item["sk"]["S"]] += int(item[DAILY_ACTIVES]["N"])
        return [DailyActives(day, actives[day]) for day in days_between(first, last)]

    def top_events(self, first: str, last: str, limit: int) -> list[EventCount]:
        """The `limit` most frequent event types from `first` to `last`, equals by name.

        Reads what `daily_actives` does, and besides one item for each event type that overflowed.
        """
        self._check_layout()
        counts: Counter[str] = Counter()
        overflowed: list[str] = []
        for item in self._counters(first, last):
            for attribute, value in item.items():
                event_type = counted_type(attribute)
                if event_type is not None:
                    counts[event_type] += int(value["N"])
            if OVERFLOW in item:
                shard = int(item["pk"]["S"].rpartition("#")[2])
                overflowed.append(overflow_key(item["sk"]["S"], shard))
        for items in self._readers.map(self._overflow, overflowed):
            for item in items:
                counts[item["sk"]["S"]] += int(item["count"]["N"])
        ranked = heapq.nsmallest(limit, counts.items(), key=lambda entry: (-entry[1], entry[0]))
        return [EventCount(*entry) for entry in ranked]

    def totals(self) -> tuple[Counter[str], float]:
        """All events ever counted, by source, and the seconds that they took from door to counter, added up.

        Reads one item for each day and counter shard, eventually consistent: half a read unit for each 4 KB of a shard.
        """
        self._check_layout()
        events: Counter[str] = Counter()
        milliseconds = 0
        for item in self._shards("pk = :counts", {}):
            milliseconds += int(item.get(PROCESSING, {"N": "0"})["N"])
            for attribute, value in item.items():
                source = counted_source(attribute)
                if source is not None:
                    events[source] += int(value["N"])
        return events, milliseconds / 1000

    def retention(self, day: str, windows: int, window_days: int, *, new_users: bool, today: str) -> Retention:
        """How many of a day's users came back in each window of `window_days` days after it.

        Window k begins k x `window_days` days after the cohort's day. The cohort is everyone active on that day, or
        with `new_users` everyone first seen on it. Exact, late events included. Raises `OverflowError` where the
        last window ends after the year 9999.

        Reads every (day, user) item of the cohort's day and of the windows' days up to `today`, in parallel over
        days and shards, eventually consistent: half a read unit for each 4 KB, at about 100 bytes an item. With
        100,000 users a day that is some 1,200 read units and 10 MB a day, $0.00015 on demand. Memory holds the
        cohort, its returned users of one window, and a page of 1 MB for each of the readers.
        """
        self._check_layout()
        cohort = self._new_users(day) if new_users else self._active_users(day)
        starts = [add_days(day, number * window_days) for number in range(1, windows + 1)]
        ends = [add_days(start, window_days - 1) for start in starts]
        answers = []
        for number, (start, end) in enumerate(zip(starts, ends, strict=True), 1):
            returned = self._returned(cohort, days_between(start, min(end, today)))
            answers.append(Window(number, start, returned, complete=end < today))
        return Retention(sum(map(len, cohort)), answers)

    def _check_layout(self) -> None:
        if not self._checked:
            check_layout(self._dynamo, self._tables, self._calendar)
            self._checked = True

    def _returned(self, cohort: list[set[str]], days: list[str]) -> int:
        """How many of the cohort were active on any of the days."""

        def active(place: tuple[str, int]) -> tuple[int, set[str]]:
            day, shard = place
            return shard, {user for user in self._users(day, shard) if user in cohort[shard]}

        returned: list[set[str]] = [set() for _ in cohort]
        places = [(day, shard) for day in days for shard, users in enumerate(cohort) if users]
        for shard, users in self._readers.map(active, places):
            returned[shard] |= users
        return sum(map(len, returned))

    def _active_users(self, day: str) -> list[set[str]]:
        """A day's users, by shard."""
        return list(self._readers.map(lambda shard: set(self._users(day, shard)), range(self._tables.user_shards)))

    def _new_users(self, day: str) -> list[set[str]]:
        """The users first seen on a day, by shard."""
        users: list[set[str]] = [set() for _ in range(self._tables.user_shards)]
        for page in self._dynamo.query(
            TableName=self._tables.stats,
            IndexName="first_day",
            KeyConditionExpression="first_day = :day",
            ProjectionExpression="user_id",
            ExpressionAttributeValues={":day": {"S": day}},
        ):
            for item in page:
                user_id = item["user_id"]["S"]
                users[shard_of(user_id, self._tables.user_shards)].add(user_id)
        return users

    def _users(self, day: str, shard: int) -> Iterator[str]:
        for page in self._dynamo.query(
            TableName=self._tables.stats,
            KeyConditionExpression="pk = :users",
            ProjectionExpression="sk",
            ExpressionAttributeValues={":users": {"S": users_key(day, shard)}},
        ):
            for item in page:
                yield item["sk"]["S"]

    def _counters(self, first: str, last: str, attributes: Sequence[str] = ()) -> Iterator[Item]:
        """The counter items of the days, with the named attributes (and their day) or all."""
        projection: dict[str, Any] = {}
        if attributes:
            names = {f"#{index}": name for index, name in enumerate(("sk", *attributes))}
            projection = {"ProjectionExpression": ",".join(names), "ExpressionAttributeNames": names}

        days = {":first": {"S": first}, ":last": {"S": last}}
        return self._shards("pk = :counts AND sk BETWEEN :first AND :last", days, ConsistentRead=True, **projection)

    def _shards(self, condition: str, values: Mapping[str, Any], **options: Any) -> Iterator[Item]:
        """The items of all counter shards that meet a condition on `:counts`, a shard's partition."""

        def read(shard: int) -> list[Item]:
            pages = self._dynamo.query(
                TableName=self._tables.stats,
                KeyConditionExpression=condition,
                ExpressionAttributeValues={":counts": {"S": counts_key(shard)}, **values},
                **options,
            )
            return [item for page in pages for item in page]

        for items in self._readers.map(read, range(self._tables.counter_shards)):
            yield from items

    def _overflow(self, key: str) -> list[Item]:
        pages = self._dynamo.query(
            TableName=self._tables.stats,
            KeyConditionExpression="pk = :types",
            ExpressionAttributeValues={":types": {"S": key}},
            ConsistentRead=True,
        )
        return [item for page in pages for item in page]
